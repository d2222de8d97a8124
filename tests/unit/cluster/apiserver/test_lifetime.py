"""Requests that take too long, over real sockets."""

from contextlib import asynccontextmanager

import orjson
import pytest

from kubedyno.base import aio
from kubedyno.cluster.apiserver.lifetime import Lifetimes
from kubedyno.http.answers import Stamps
from kubedyno.http.client import Endpoint, Pool, PoolLimits
from kubedyno.http.exchange import ConnectionLost
from kubedyno.http.messages import Peer, Request
from kubedyno.http.server import serve
from kubedyno.http.tls import Authority, client_context, server_context

AUTHORITY = Authority("test")
PAIR = AUTHORITY.server(("127.0.0.1",))
PODS = "/api/v1/namespaces/x/pods"


class Slow:
    """Answers when it is told to."""

    def __init__(self):
        self.kept = []

    def app(self, request, responder):
        if request.query.startswith("stream"):
            self.kept.append(responder.start(200, "text/plain"))
            self.kept[-1].write(b"begun")
        else:
            self.kept.append(responder)


@asynccontextmanager
async def world(alpn):
    slow, ended = Slow(), []
    lifetimes = Lifetimes(
        lambda: slow.app, lambda request, status: ended.append((request.method, request.path, status))
    )
    server = await serve(lifetimes.app, "127.0.0.1", 0, server_context(PAIR))
    server.stamps = Stamps(lambda: 1_795_000_000.0, "3f2a0000-0000-4000-8000-00000000000f")
    context = client_context(AUTHORITY.certificate, alpn=(alpn,))
    pool = Pool(Endpoint("127.0.0.1", server.port, f"127.0.0.1:{server.port}", context), PoolLimits(timeout_s=20))
    try:
        yield slow, ended, pool
    finally:
        lifetimes.stop()
        await pool.close()
        await server.close(0.0)


@pytest.mark.parametrize("alpn", ["h2", "http/1.1"])
def test_what_takes_longer_than_it_may_gets_the_real_504_and_a_late_answer_is_dropped(alpn):
    async def inside():
        async with world(alpn) as (slow, ended, pool):
            result = await pool.request("GET", f"{PODS}?timeout=300ms")
            assert result.status == 504
            assert orjson.loads(result.body) == {
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Timeout", "details": {},
                "message": "Timeout: request did not complete within the allotted timeout", "code": 504,
            }  # fmt: skip
            assert ended == [("GET", PODS, 504)]
            assert slow.kept[0].closed
            slow.kept[0].send(200, "text/plain", b"late")
            assert slow.kept[0].start(200, "text/plain") is not None

    aio.run(inside())


def test_a_stream_that_takes_too_long_is_cut_and_a_watch_never():
    async def inside():
        async with world("h2") as (slow, _, pool):
            with pytest.raises(ConnectionLost):
                await pool.request("POST", f"{PODS}?stream=1&timeout=200ms")
            watch = await pool.open_stream("GET", f"{PODS}?stream=1&watch=1&timeout=200ms")
            with pytest.raises(ConnectionLost):
                await pool.request("POST", f"{PODS}?stream=1&timeout=400ms")
            assert not slow.kept[1].closed
            watch.close()

    aio.run(inside())


def test_a_timeout_that_is_none_is_a_bad_request():
    async def inside():
        async with world("h2") as (slow, ended, pool):
            result = await pool.request("GET", f"{PODS}?timeout=soon")
            assert result.status == 400
            text = 'invalid timeout specified in the request URL - time: invalid duration "soon"'
            assert orjson.loads(result.body)["message"] == text
            assert (slow.kept, ended) == ([], [("GET", PODS, 400)])

    aio.run(inside())


@pytest.mark.parametrize("alpn", ["h2", "http/1.1"])
def test_each_answer_has_a_date_and_an_id_of_its_own_or_the_requests(alpn):
    async def inside():
        async with world(alpn) as (_, _, pool):
            answers = [
                await pool.request("GET", f"{PODS}?timeout=x", headers) for headers in ((), (), (("audit-id", "mine"),))
            ]
            assert [answer.headers["audit-id"] for answer in answers] == [
                "3f2a0000-0000-4000-8000-000000000010", "3f2a0000-0000-4000-8000-000000000011", "mine",
            ]  # fmt: skip
            assert {answer.headers["date"] for answer in answers} == {"Wed, 18 Nov 2026 11:06:40 GMT"}

    aio.run(inside())


def test_what_was_answered_is_forgotten_before_the_next_sweep():
    async def inside():
        slow = Slow()
        lifetimes = Lifetimes(lambda: slow.app, lambda _, __: None)

        class Late:
            answer_id = ""
            closed = False

            def expire(self, *_):
                raise AssertionError("it was answered")

        for _ in range(1000):
            late = Late()
            lifetimes.app(Request("POST", PODS, "", {}, b"{}", Peer(1, "")), late)
            late.closed = True
        kept = len(lifetimes._waiting)
        lifetimes.stop()
        assert 0 < kept <= 64

    aio.run(inside())
