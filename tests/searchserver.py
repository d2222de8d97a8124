"""An OpenSearch of sorts, on loopback: bulk requests, searches by the words of a member, indices and their mappings."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# What `failing` gives for a connection that is cut.
CUT = (0, "")


def refusal(status):
    """Return what is wrong with a document that gets this status."""
    return status, {"type": "refused", "reason": f"because {status}"}


class SearchServer:
    """One server, whose indices all hold the same.

    Attributes:
        documents: `_id` → document.
        mappings: (path, body) of each PUT.
        absent: Indices that are not there yet.
        login: Status of whoever asks for an index, where it is not the index's own.
        bulks: How many bulk requests came.
        refusing: Says (status, error) of a document that is not taken, None of others.
        failing: Says (status, content) of a POST that fails as a whole, None of others.
    """

    def __init__(self, *, absent=(), login=200):
        self.documents = {}
        self.mappings = []
        self.absent = set(absent)
        self.login = login
        self.bulks = 0
        self.refusing = lambda _document: None
        self.failing = lambda: None

    def act(self, lines):
        items, at = [], iter(lines)
        for line in at:
            ((verb, where),) = line.items()
            item = {"_id": where["_id"], "status": 200, "result": "updated"}
            if verb == "delete":
                found = self.documents.pop(where["_id"], None)
                item |= {"result": "deleted"} if found else {"status": 404, "result": "not_found"}
            elif wrong := self.refusing(document := next(at)):
                item = {"_id": where["_id"], "status": wrong[0], "error": wrong[1]}
            else:
                if where["_id"] not in self.documents:
                    item |= {"status": 201, "result": "created"}
                self.documents[where["_id"]] = document
            items.append({verb: item})
        return {"errors": any(one["status"] > 201 for item in items for one in item.values()), "items": items}

    def search(self, query, without):
        """Return what has all words of a text, as an analysed field finds it."""
        ((member, wanted),) = query["match"].items()
        words = set(wanted["query"].replace("-", " ").split())
        return [
            (key, {name: value for name, value in one.items() if name not in without})
            for key, one in self.documents.items()
            if words <= set(str(one.get(member)).replace("-", " ").split())
        ]

    @contextmanager
    def serving(self, context=None):
        """Yield the URL; a page of a search has one hit. `/old` has a mapping already, and says no to another."""
        outer, scroll = self, []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # One segment an answer: the second of two waits for an acknowledgement.
            wbufsize = -1

            def answer(self, status, content):
                # The security plugin says no in plain text.
                text = isinstance(content, str)
                raw = (content if text else json.dumps(content)).encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/plain" if text else "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(raw)

            def body(self):
                return self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()

            def do_HEAD(self):
                found = 404 if self.path.strip("/") in outer.absent else 200
                self.answer(found if outer.login == 200 else outer.login, {})

            def do_DELETE(self):
                self.body()
                self.answer(200, {"succeeded": True})

            def do_PUT(self):
                outer.mappings.append((self.path, json.loads(self.body() or "null")))
                if self.path == "/old/_mapping":
                    reason = "the [enabled] parameter can't be updated for the object mapping [jobs]"
                    return self.answer(500, {"error": {"type": "mapper_exception", "reason": reason}, "status": 500})
                outer.absent.discard(self.path.strip("/"))
                return self.answer(200, {"acknowledged": True})

            def do_POST(self):
                body, path = self.body(), self.path.partition("?")[0]
                outer.bulks += path.endswith("_bulk")
                failure = outer.failing()
                if failure == CUT:
                    self.close_connection = True
                    return None
                if failure:
                    return self.answer(*failure)
                if path.endswith("_bulk"):
                    return self.answer(200, outer.act([json.loads(line) for line in body.splitlines()]))
                if path.startswith("/missing"):
                    error = {"type": "index_not_found_exception", "reason": "no such index [missing]"}
                    return self.answer(404, {"error": error, "status": 404})
                if path != "/_search/scroll":
                    without = self.path.partition("_source_excludes=")[2].partition("&")[0].split("%2C")
                    scroll[:] = outer.search(json.loads(body)["query"], without)
                hits = [{"_id": key, "_source": one} for key, one in scroll[:1]]
                del scroll[:1]
                shards = {"total": 1, "successful": 1, "skipped": 0, "failed": 0}
                return self.answer(200, {"_scroll_id": "s", "_shards": shards, "hits": {"hits": hits}})

            def log_message(self, *_):
                pass

        made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if context is not None:
            made.socket = context.wrap_socket(made.socket, server_side=True)
        threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http{'' if context is None else 's'}://127.0.0.1:{made.server_port}"
        finally:
            made.shutdown()
            made.server_close()
