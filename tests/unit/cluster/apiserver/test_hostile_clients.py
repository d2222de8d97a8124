"""Clients that want more than their share, or nothing good, at a whole API server behind its framing."""

import asyncio
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubedyno.base import aio
from kubedyno.cluster.apiserver import watchchannel
from kubedyno.cluster.apiserver.flowcontrol.gate import GROUP, FlowControl
from kubedyno.cluster.apiserver.server import LIMITS
from kubedyno.cluster.registry.bootstrapobjects import bootstrap_objects
from kubedyno.http.frames import Code, frame, window_frame
from kubedyno.http.h2_server import ServerConnection
from kubedyno.http.messages import Limits, Peer
from kubedyno.http.server import Server, serve
from kubedyno.kube.resources import CONFIGMAPS, by_kind
from unit.cluster.apiserver.harness import NS, TOKEN, Answer, Api, running
from unit.http.wire import FakeTransport, Requests, frames_of

PATH = f"/api/v1/namespaces/{NS}/configmaps"
AUTHORIZED = [("authorization", f"Bearer {TOKEN}")]
MUTATED = st.sampled_from(
    ["\\", "%00", "%2e%2e", "//", "?", "#", "*", "\x7f", "%", "watch=1", "&limit=-1", "&continue=x", "namespaces", "~"]
)


def connect(api: Api, app: Any = None) -> tuple[ServerConnection, FakeTransport, Requests]:
    connection = ServerConnection(Server(app or api.server.app, LIMITS), Peer(1, "test"))
    transport = FakeTransport()
    connection.connection_made(transport)
    client = Requests()
    connection.data_received(client.opening())
    transport.take()
    return connection, transport, client


def fairly(api: Api) -> FlowControl:
    for document in bootstrap_objects():
        resource = by_kind(document["apiVersion"], document["kind"])
        if resource is not None and resource.group == GROUP:
            api.registry.create(resource, "", document)
    return FlowControl(lambda: api.server.app, api.server.user_of, api.store, seats=600, now_s=time.monotonic)


def create(api: Api, name: str, size: int = 10) -> None:
    api.registry.create(CONFIGMAPS, NS, {"metadata": {"name": name}, "data": {"a": "x" * size}})


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(20)
)


@pytest.mark.parametrize(
    ("method", "target", "media"),
    [
        ("POST", PATH, "application/yaml"),
        ("PUT", f"{PATH}/c", "application/yaml"),
        ("PATCH", f"{PATH}/c?fieldManager=m", "application/apply-patch+yaml"),
    ],
)
def test_yaml_whose_aliases_would_multiply_it_is_refused_at_once(method: str, target: str, media: str) -> None:
    async def scene() -> None:
        async with running() as api:
            create(api, "c")
            begun_s = time.process_time()
            answer = api.call(method, target, BOMB.encode(), {"content-type": media})
            assert answer.status == 400
            assert "excessive aliasing" in answer.json["message"]
            assert time.process_time() - begun_s < 2

    aio.run(scene())


def test_a_watch_that_is_not_read_is_cut_and_its_connection_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchchannel, "MAX_UNREAD_BYTES", 20_000)

    async def scene() -> None:
        async with running() as api:
            connection, transport, client = connect(api)
            version = api.store.revision
            target = f"{PATH}?watch=true&resourceVersion={version}"
            # Window enough for the connection; none of the watch's own is ever given back.
            connection.data_received(window_frame(0, 1 << 24) + client.request(1, path=target, extra=AUTHORIZED))
            for i in range(100):
                create(api, f"c{i}", 2000)
                await asyncio.sleep(0)
            for _ in range(5):
                await asyncio.sleep(0)
            resets = [(stream, payload) for kind, _, stream, payload in frames_of(transport.take()) if kind == 3]
            assert resets == [(1, Code.INTERNAL_ERROR.to_bytes(4, "big"))]
            assert api.server.watchers == 0
            connection.data_received(client.request(3, path=f"{PATH}/c7", extra=AUTHORIZED))
            await asyncio.sleep(0)
            assert b'"name":"c7"' in transport.take()
            assert not transport.closing

    aio.run(scene())


@pytest.mark.parametrize("fair", [True, False])
def test_pings_are_answered_before_a_flood_is(fair: bool) -> None:
    async def scene() -> None:
        async with running() as api:
            for i in range(200):
                create(api, f"c{i}", 500)
            app = fairly(api).app if fair else api.server.app
            connection, transport, client = connect(api, app)
            calm, calm_transport, _ = connect(api, app)
            calm.server = connection.server
            flood = b"".join(client.request(i, path=PATH, extra=AUTHORIZED) for i in range(1, 401, 2))
            connection.data_received(window_frame(0, 1 << 30) + flood + frame(6, 0, 0, b"in flood"))
            calm.data_received(frame(6, 0, 0, b"in calm."))
            assert frame(6, 1, 0, b"in calm.") in calm_transport.take()
            # Not behind the answers that are still to be made: there are many more turns to come.
            seen = bytes(transport.written)
            for _ in range(3):
                await asyncio.sleep(0)
                seen = bytes(transport.written)
            assert frame(6, 1, 0, b"in flood") in seen
            connection.abort()
            await asyncio.sleep(0)

    aio.run(scene())


def test_heads_that_never_end_cost_their_own_connection_only() -> None:
    async def scene() -> None:
        async with running() as api:
            server = await serve(api.server.app, "127.0.0.1", 0, None, Limits(head_timeout_s=2.0))
            slow = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(50)]
            end_s = time.monotonic() + 60
            try:
                for _, writer in slow:
                    writer.write(b"GET /api/v1/pods HTTP/1.1\r\nHost: x\r\nX-A: ")
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.write(f"GET {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
                assert (await aio.wait_for(reader.readline(), 60)).startswith(b"HTTP/1.1 200")
                writer.close()
                while server.connections and time.monotonic() < end_s:
                    for _, writer in slow:
                        # A byte now and then does not make it a request.
                        if not writer.is_closing():
                            writer.write(b"a")
                    await asyncio.sleep(0.05)
                assert not server.connections
            finally:
                for _, writer in slow:
                    writer.close()
                await server.close(0.1)

    aio.run(scene())


@settings(max_examples=200, derandomize=True)
@given(st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "FOO", "HEAD"]),
       st.lists(st.tuples(st.integers(0, 60), MUTATED), max_size=4),
       st.sampled_from([b"", b"{", b"[]", b"null", b'{"metadata":{}}', b"\xff\xfe", b"k8s\x00\x0a", b"- op: x"]),
       st.sampled_from(["", "application/json", "application/yaml", "application/vnd.kubernetes.protobuf",
                        "application/json-patch+json", "application/merge-patch+json", "application/cbor", "x/y"]))  # fmt: skip
def test_any_request_gets_an_answer_that_is_no_fault(
    method: str, edits: list[tuple[int, str]], body: bytes, media: str
) -> None:
    target = f"{PATH}/c0?pretty=1"
    for where, come in edits:
        at = where % len(target)
        target = target[:at] + come + target[at:]

    async def scene() -> None:
        async with running() as api:
            create(api, "c0")
            answer: Answer = api.call(method, target, body, {"content-type": media} if media else {})
            await asyncio.sleep(0)
            assert answer.status
            assert answer.status != 500 or b"strconv.ParseUint" in answer.body, answer.body

    aio.run(scene())
