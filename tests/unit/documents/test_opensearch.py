"""Runs that a team keeps in an OpenSearch: written after the connections were closed, and listed again."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest

from kubedyno.cli.main import main
from kubedyno.documents.opensearch import OpenSearchIndexer
from kubedyno.documents.run import FILE_NAME, RunDocument, Target

pytest.importorskip("opensearchpy", reason="opensearch-py is an extra")


@pytest.fixture
def server():
    """A server of one index that searches by the words of metricName, a page of one hit at a time."""
    stored = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, status, content):
            raw = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(raw)

        def do_HEAD(self):
            self.answer(200, {})

        def do_DELETE(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.answer(200, {"succeeded": True})

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            path = self.path.partition("?")[0]
            if path.endswith("_bulk"):
                lines = [json.loads(line) for line in body.splitlines()]
                stored.extend(lines[1::2])
                items = [
                    {"index": {"_id": one["index"]["_id"], "status": 201, "result": "created"}} for one in lines[::2]
                ]
                return self.answer(200, {"errors": False, "items": items})
            if path.startswith("/missing"):
                return self.answer(404, {"error": {"type": "index_not_found_exception"}, "status": 404})
            at = int(json.loads(body)["scroll_id"]) if path == "/_search/scroll" else 0
            hits = [{"_id": str(n), "_source": one} for n, one in enumerate(stored)][at : at + 1]
            shards = {"total": 1, "successful": 1, "skipped": 0, "failed": 0}
            return self.answer(200, {"_scroll_id": str(at + 1), "_shards": shards, "hits": {"hits": hits}})

        def log_message(self, *_):
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    made.server_close()


def run_of(uuid, started):
    target = Target("https://s", "c", "v1", 1)
    return msgspec.to_builtins(RunDocument(uuid, "0", target, started, "2026-01-03T00:00:00Z", 0, [], [], [], []))


def test_runs_are_written_after_a_close_and_listed_oldest_first(server, capsys):
    indexer = OpenSearchIndexer([server], "runs", insecure=True)
    indexer.close()
    indexer.write(FILE_NAME, [run_of("late", "2026-01-02T00:00:00Z"), run_of("early", "2026-01-01T00:00:00Z")])
    indexer.write("other", [{"metricName": f"{FILE_NAME} of another kind"}])
    indexer.close()
    words = ["runs", "list", "--es-server", server, "--es-index", "runs", "-o", "json"]
    assert main(words) == 0
    assert [one["uuid"] for one in json.loads(capsys.readouterr().out)] == ["early", "late"]
    assert main([*words, "--since", "2026-01-01T12:00:00Z"]) == 0
    assert [one["uuid"] for one in json.loads(capsys.readouterr().out)] == ["late"]


def test_what_cannot_be_read_is_a_line_without_the_login(server, capsys):
    login = server.replace("http://", "http://user:hush@")
    assert main(["runs", "list", "--es-server", login, "--es-index", "missing"]) == 1
    error = capsys.readouterr().err
    assert "index missing cannot be read" in error
    assert "hush" not in error
    assert main(["runs", "list", "--es-server", server]) == 1
    assert main(["runs", "list", "--es-server", server, "--es-index", "i", "--tag", "x"]) == 1
