"""The client against a small API server over TLS."""

import asyncio
import base64
import json
import sys
from contextlib import asynccontextmanager

import pytest

from kubedyno.base.errors import KubedynoError
from kubedyno.client.api import Client, Unreachable
from kubedyno.client.kubeconfig import ExecPlugin, Target, User
from kubedyno.kube.status import Conflict, Forbidden, NotFound, StatusError
from ports import refusing_port
from unit.http.wire import AUTHORITY, server_of


def pod(name, version=1, **more):
    return {"metadata": {"name": name, "namespace": "n", "uid": name, "resourceVersion": str(version)}, **more}


def status(code, reason, message="no"):
    return json.dumps({"kind": "Status", "code": code, "reason": reason, "message": message}).encode()


class Api:
    """Keeps requests; `answers` maps a path to a function of the request and the responder."""

    def __init__(self, **answers):
        self.requests = []
        self.watches = []
        self.answers = answers

    def __call__(self, request, responder):
        self.requests.append(request)
        answer = self.answers[request.path.strip("/").replace("/", "_")]
        answer(request, responder)

    def watch(self, responder):
        stream = responder.start(200, "application/json")
        self.watches.append(stream)
        return stream


def event(kind, item):
    return json.dumps({"type": kind, "object": item}).encode() + b"\n"


def reply(content, code=200, headers=()):
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return lambda _, responder: responder.send(code, "application/json", body, headers)


@asynccontextmanager
async def client_of(app, user=None, **more):
    async with server_of(app) as server:
        target = Target(f"https://127.0.0.1:{server.port}", "c", ca=AUTHORITY.certificate, user=user or User(), **more)
        async with Client(target) as client:
            yield client


def run(coroutine):
    asyncio.run(asyncio.wait_for(coroutine, 60))


async def until(true):
    while not true():  # noqa: ASYNC110 - what it waits for has no event
        await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (404, "NotFound", NotFound),
        (409, "Conflict", Conflict),
        (403, "Forbidden", Forbidden),
        (418, "Teapot", StatusError),
    ],
)
def test_a_refusal_is_the_status_error_of_its_reason(code, reason, kind):
    async def main():
        async with client_of(Api(x=reply(status(code, reason, "why"), code))) as client:
            with pytest.raises(kind, match="why") as raised:
                await client.get("/x")
            assert raised.value.code == code

    run(main())


def test_a_port_that_closes_connections_is_said():
    async def main():
        server = await asyncio.start_server(lambda _reader, writer: writer.transport.abort(), "127.0.0.1", 0)
        where = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server, Client(Target(where, ca=AUTHORITY.certificate)) as client:
            with pytest.raises(Unreachable, match=f"{where}: closes the connection unanswered"):
                await client.get("/x")

    run(main())


def test_no_answer_is_one_line_that_names_the_server():
    async def main():
        async with Client(Target(f"https://127.0.0.1:{port}", ca=AUTHORITY.certificate)) as client:
            with pytest.raises(Unreachable, match=rf"https://127\.0\.0\.1:{port}: nothing listens there"):
                await client.get("/x")

    with refusing_port() as port:
        run(main())


def test_an_untrusted_server_is_one_line():
    async def main():
        async with server_of(Api()) as server:
            target = Target(f"https://127.0.0.1:{server.port}", ca=type(AUTHORITY)().certificate)
            async with Client(target) as client:
                with pytest.raises(Unreachable, match="is not trusted"):
                    await client.get("/x")

    run(main())


def test_credentials_base_path_and_content_type_reach_the_server():
    async def main():
        api = Api(base_x=reply({}))
        user = User(token="t", impersonate=(("Impersonate-User", "ann"), ("Impersonate-Group", "g")))
        async with server_of(api) as server:
            target = Target(f"https://127.0.0.1:{server.port}/base", ca=AUTHORITY.certificate, user=user)
            async with Client(target) as client:
                await client.patch("/x", {"a": 1})
        headers = api.requests[0].headers
        assert (headers["authorization"], headers["impersonate-user"], headers["impersonate-group"]) == (
            "Bearer t",
            "ann",
            "g",
        )
        assert headers["content-type"] == "application/strategic-merge-patch+json"

    run(main())


def test_too_many_requests_is_obeyed_and_tried_again(monkeypatch):
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    async def main():
        tries = []

        def answer(_, responder):
            tries.append(1)
            busy = len(tries) < 3
            responder.send(429 if busy else 200, "application/json", b"{}", (("Retry-After", "7"),) if busy else ())

        async with client_of(Api(x=answer)) as client:
            monkeypatch.setattr("kubedyno.client.api.aio.sleep", sleep)
            assert await client.get("/x") == {}
            monkeypatch.undo()

    run(main())
    assert waits.count(7.0) == 2


def test_a_list_is_read_by_pages_and_again_when_its_continuation_has_expired():
    async def main():
        def answer(request, responder):
            if "continue=" in request.query:
                responder.send(410, "application/json", status(410, "Expired"))
            elif "limit=" in request.query:
                page = {"metadata": {"resourceVersion": "5", "continue": "a&b"}, "items": [pod("a"), pod("gone")]}
                responder.send(200, "application/json", json.dumps(page).encode())
            else:
                page = {"metadata": {"resourceVersion": "9"}, "items": [pod("a", 8), pod("b")]}
                responder.send(200, "application/json", json.dumps(page).encode())

        api = Api(pods=answer)
        async with client_of(api) as client:
            assert await client.list_all("/pods?labelSelector=x") == [pod("a", 8), pod("b")]
        assert [request.query for request in api.requests] == [
            "labelSelector=x&limit=500",
            "labelSelector=x&limit=500&continue=a%26b",
            "labelSelector=x",
        ]

    run(main())


def test_submit_calls_back_once_with_the_answer():
    async def main():
        results = []
        async with client_of(Api(x=reply({"a": 1}, 201))) as client:
            client.submit("POST", "/x", b"{}", results.append)
            assert results == []
            await until(lambda: results)
        assert (results[0].status, results[0].body, results[0].error) == (201, b'{"a": 1}', None)
        assert len(results) == 1

    run(main())


def listing(api, version, *items):
    """Return an answer for a collection: a list, or a watch that `api` keeps."""

    def answer(request, responder):
        if "watch=true" in request.query:
            api.watch(responder)
        else:
            page = {"metadata": {"resourceVersion": str(version)}, "items": list(items)}
            responder.send(200, "application/json", json.dumps(page).encode())

    return answer


def test_a_watch_resumes_after_the_last_event_or_bookmark():
    async def main():
        api = Api()
        api.answers["pods"] = listing(api, 5, pod("a"))
        async with client_of(api) as client, client.list_watch("/pods", "q=1") as events:
            assert [await anext(aiter(events)) for _ in range(2)] == [
                ("ADDED", json.dumps(pod("a")).encode()),
                ("SYNCED", None),
            ]
            waiting = asyncio.ensure_future(anext(aiter(events)))
            await until(lambda: api.watches)
            whole = event("MODIFIED", pod("a", 6)) + event("BOOKMARK", pod("", 9))
            # Cut in the middle of a line: pieces are no events.
            api.watches[0].write(whole[:20])
            await api.watches[0].drain(0)
            api.watches[0].write(whole[20:])
            kind, raw = await waiting
            assert (kind, json.loads(raw)) == ("MODIFIED", pod("a", 6))
            api.watches[0].close()
            waiting = asyncio.ensure_future(anext(aiter(events)))
            await until(lambda: len(api.watches) == 2)
            api.watches[1].abort()
            await until(lambda: len(api.watches) == 3)
            api.watches[2].write(event("DELETED", pod("a", 12)))
            assert (await waiting)[0] == "DELETED"
        watches = [request.query for request in api.requests if "watch" in request.query]
        assert [query.rpartition("=")[2] for query in watches] == ["5", "9", "9"]
        assert all(query.startswith("q=1&watch=true&allowWatchBookmarks=true") for query in watches)

    run(main())


@pytest.mark.parametrize("how", ["event", "status"])
def test_an_expired_version_lists_again(how):
    async def main():
        api = Api()
        lists = [listing(api, 5, pod("a"), pod("b")), listing(api, 50, pod("b", 40), pod("c", 41))]

        def answer(request, responder):
            if "watch=true" in request.query and "resourceVersion=5&" not in request.query + "&":
                api.watch(responder)
            elif "watch=true" in request.query and how == "status":
                responder.send(410, "application/json", status(410, "Expired"))
            elif "watch=true" in request.query:
                stream = responder.start(200, "application/json")
                stream.write(event("ERROR", json.loads(status(410, "Expired"))))
                stream.close()
            else:
                lists.pop(0)(request, responder)

        api.answers["pods"] = answer
        told = []

        async def follow():
            async with client.list_watch("/pods", "", json.loads) as events:
                async for kind, item in events:
                    told.append((kind, item and item["metadata"]["name"]))

        async with client_of(api) as client:
            task = asyncio.ensure_future(follow())
            await until(lambda: api.watches)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        first = [("ADDED", "a"), ("ADDED", "b"), ("SYNCED", None)]
        assert told == [*first, ("RELIST", None), ("ADDED", "b"), ("ADDED", "c"), ("SYNCED", None)]

    run(main())


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")], ids=["as Go writes it", "spaced"])
def test_what_comes_together_is_told_together_and_before_an_error(separators):
    async def main():
        api = Api()
        api.answers["pods"] = listing(api, 5)
        changed = {"type": "MODIFIED", "object": pod("a", 6)}
        gone = {"object": pod("b", 7), "type": "DELETED"}
        error = {"type": "ERROR", "object": json.loads(status(403, "Forbidden"))}
        lines = [json.dumps(each, separators=separators).encode() + b"\n" for each in (changed, gone, error)]
        async with client_of(api) as client, client.list_watch("/pods") as follower:
            assert await anext(follower.together) == [("SYNCED", None)]
            waiting = asyncio.ensure_future(anext(follower.together))
            await until(lambda: api.watches)
            api.watches[0].write(b"".join(lines))
            told = [(kind, json.loads(raw)) for kind, raw in await waiting]
            assert told == [("MODIFIED", pod("a", 6)), ("DELETED", pod("b", 7))]
            with pytest.raises(Forbidden):
                await anext(follower.together)

    run(main())


def test_a_watch_may_be_read_at_turns_and_says_when_what_is_told_has_come():
    async def main():
        api = Api()
        api.answers["pods"] = listing(api, 5)
        loop = asyncio.get_running_loop()

        def line(name, version):
            return json.dumps({"type": "MODIFIED", "object": pod(name, version)}).encode() + b"\n"

        async with client_of(api) as client, client.list_watch("/pods", patience=10_000) as follower:
            assert await anext(follower.together) == [("SYNCED", None)]
            waiting = asyncio.ensure_future(anext(follower.together))
            await until(lambda: api.watches)
            came_s = []
            for version, part in enumerate((line("a", 6), line("b", 7)), 6):
                came_s.append(loop.time())
                api.watches[0].write(part)
                await asyncio.sleep(0.05)
                assert not waiting.done(), version
            turned_s = loop.time()
            follower.turn()
            for expected_s, name in zip(came_s, "ab", strict=True):
                ((kind, raw),) = await asyncio.wait_for(waiting, 60)
                assert (kind, json.loads(raw)["metadata"]["name"]) == ("MODIFIED", name)
                assert expected_s <= follower.came_s < turned_s
                waiting = asyncio.ensure_future(anext(follower.together))
            api.watches[0].write(b"".join(line("c", version) for version in range(8, 400)))
            assert len(await asyncio.wait_for(waiting, 60)) > 50
            waiting = asyncio.ensure_future(anext(follower.together))
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)

    run(main())


def test_a_watch_that_is_forbidden_says_so():
    async def main():
        async with client_of(Api(pods=reply(status(403, "Forbidden"), 403))) as client:
            with pytest.raises(Forbidden):
                await anext(client.watch("/pods"))

    run(main())


def test_leaving_a_list_watch_ends_its_request():
    async def main():
        api = Api()
        api.answers["pods"] = listing(api, 5)
        async with client_of(api) as client:
            async with client.list_watch("/pods", skip_list=True) as events:
                assert await anext(aiter(events)) == ("SYNCED", None)
                waiting = asyncio.ensure_future(anext(aiter(events)))
                await until(lambda: api.watches)
                api.watches[0].write(event("ADDED", pod("a", 6)))
                await waiting
            await until(lambda: api.watches[0].closed)
        assert "limit=1" in api.requests[0].query

    run(main())


def plugin(tmp_path, text):
    script = tmp_path / "login.py"
    script.write_text("import json, os, sys\n" + text)
    return ExecPlugin(
        "client.authentication.k8s.io/v1", sys.executable, (str(script),), (("FILE", str(tmp_path / "n")),)
    )


PRINT = """
n = int(open(os.environ["FILE"]).read() or 0) if os.path.exists(os.environ["FILE"]) else 0
open(os.environ["FILE"], "w").write(str(n + 1))
info = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
assert info["kind"] == "ExecCredential" and info["spec"]["interactive"] is False
print(json.dumps({"apiVersion": info["apiVersion"], "kind": "ExecCredential", "status": {"token": f"t{n}"}}))
"""


def test_a_plugins_token_is_renewed_when_the_server_has_had_enough_of_it(tmp_path):
    async def main():
        def answer(request, responder):
            good = request.headers["authorization"] == "Bearer t1"
            responder.send(200 if good else 401, "application/json", b"{}" if good else status(401, "Unauthorized"))

        results = []
        async with client_of(Api(x=answer), User(exec=plugin(tmp_path, PRINT))) as client:
            for _ in range(5):
                client.submit("POST", "/x", b"{}", results.append)
            await until(lambda: len(results) == 5)
            assert await client.get("/x") == {}
        assert [result.status for result in results] == [200] * 5
        assert (tmp_path / "n").read_text() == "2"

    run(main())


def test_a_plugins_certificate_is_shown_to_the_server(tmp_path):
    pair = AUTHORITY.client("ann")
    given = {"clientCertificateData": pair.certificate.decode(), "clientKeyData": pair.key.decode()}
    document = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": given}

    async def main():
        api = Api(x=reply({}))
        async with client_of(api, User(exec=plugin(tmp_path, f"print({json.dumps(document)!r})"))) as client:
            await client.get("/x")
        assert api.requests[0].peer.certificate.common_name == "ann"

    run(main())


BROKEN = {
    "sys.exit(3)": "failed with code 3",
    "print('nonsense')": "is no ExecCredential",
    "sys.exit('log in first')": "log in first",
    'print(\'{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {}}\')': (
        "neither a token nor a certificate"
    ),
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_plugin_that_gives_nothing_is_one_line(tmp_path, text):
    async def main():
        with pytest.raises(KubedynoError, match=BROKEN[text]):
            await Client(Target("https://127.0.0.1:1", user=User(exec=plugin(tmp_path, text)))).__aenter__()

    run(main())


def test_a_missing_plugin_shows_its_install_hint():
    async def main():
        user = User(exec=ExecPlugin("client.authentication.k8s.io/v1", "no-such-login", install_hint="get it there"))
        with pytest.raises(KubedynoError, match="no-such-login: there is no such command; get it there"):
            await Client(Target("https://127.0.0.1:1", user=user)).__aenter__()

    run(main())


def test_basic_authentication_and_token_files(tmp_path):
    async def main():
        api = Api(x=reply({}))
        async with client_of(api, User(username="u", password="p")) as client:
            await client.get("/x")
        (tmp_path / "token").write_text("abc\n")
        async with client_of(api, User(token_file=tmp_path / "token")) as client:
            await client.get("/x")
        assert [r.headers["authorization"] for r in api.requests] == [
            f"Basic {base64.b64encode(b'u:p').decode()}",
            "Bearer abc",
        ]

    run(main())
