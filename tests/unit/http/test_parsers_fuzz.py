"""Sessions of both protocols with bytes changed at random, in pieces: nothing is raised, and nothing waits for ever."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from kubedyno.http.frames import frame
from kubedyno.http.h1_server import Http1Connection
from kubedyno.http.h2_server import ServerConnection
from kubedyno.http.messages import Limits, Peer
from kubedyno.http.server import Server
from unit.http.wire import FakeTransport, Requests, echo

H1 = (
    b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n"
    b"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;e=1\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: x\r\n\r\n"
    b"POST /l HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\nabcd"
    b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a\r\n\r\n"
)
_client = Requests()
H2 = (
    _client.opening({4: 1 << 20})
    + _client.request(1, "POST", "/a", b"abc")
    + _client.headers(3, "POST", "/b?c=d", end=False, extra=[("x-y", "z" * 50)])
    + frame(0, 8, 3, b"\x02xy\0\0")
    + frame(8, 0, 0, b"\0\0\x10\0")
    + frame(6, 0, 0, b"12345678")
    + frame(0, 1, 3, b"z")
    + _client.request(5)
    + frame(3, 0, 5, b"\0\0\0\x08")
    + _client.request(7, extra=[("cookie", "a=b")])
)
TOKENS = [
    b"\r\n", b"\n", b"\r", b" ", b":", b"\0", b"\xff", b"0\r\n\r\n", b"Content-Length: 5\r\n", b"Content-Length: -1\r\n",
    b"Transfer-Encoding: chunked\r\n", b"HTTP/9.9", b"f" * 20, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"a" * 70_000,
    b"\x7f\xff\xff\xff", frame(9, 0, 1, b"x"), frame(1, 0, 9, b"\x82"), frame(5, 4, 1, b"\0\0\0\x02"),
    frame(4, 0, 0, b"\0\4\xff\xff\xff\xff"), frame(7, 0, 0, b"\0" * 8), frame(0, 0, 3, b"x" * 16_384),
]  # fmt: skip
EDITS = st.lists(
    st.tuples(st.integers(0, 1 << 16), st.integers(0, 12), st.sampled_from(TOKENS) | st.binary(max_size=4)),
    min_size=1,
    max_size=5,
)
QUICK = settings(max_examples=300, derandomize=True)
LONG_S = 10_000.0


def damaged(data, edits):
    for where, gone, come in edits:
        at = where % (len(data) + 1)
        data = data[:at] + come + data[at + gone :]
    return data


async def fed(connection, data, step):
    """Give a connection its bytes in pieces, and then no more for a long time; return its transport."""
    raised = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: raised.append(context))
    transport = FakeTransport()
    connection.connection_made(transport)
    for start in range(0, len(data), step):
        if transport.closing:
            break
        # After an upgrade to HTTP/2 another protocol has the connection.
        getattr(transport, "protocol", connection).data_received(data[start : start + step])
        await asyncio.sleep(0)
    protocol = getattr(transport, "protocol", connection)
    for turn in (1, 2, 3):
        await asyncio.sleep(0)
        protocol.sweep(loop.time() + turn * LONG_S)
    await asyncio.sleep(0)
    assert not raised
    return transport, protocol


@QUICK
@given(EDITS, st.sampled_from([1, 7, 100, 1 << 20]))
def test_damaged_http_1_raises_nothing_and_does_not_hang(edits, step):
    data = damaged(H1, edits)

    async def check():
        connection = Http1Connection(Server(echo, Limits()), Peer(1, "test"), may_upgrade=True)
        # A byte at a time takes long for what is long.
        transport, protocol = await fed(connection, data, max(step, len(data) // 1000))
        assert transport.closing
        assert not protocol.server.pending

    asyncio.run(check())


@QUICK
@given(EDITS, st.sampled_from([1, 7, 100, 1 << 20]))
def test_damaged_http_2_raises_nothing_and_does_not_hang(edits, step):
    data = damaged(H2, edits)

    async def check():
        connection = ServerConnection(Server(echo, Limits()), Peer(1, "test"))
        transport, _ = await fed(connection, data, max(step, len(data) // 1000))
        assert not connection.server.pending
        # Open is only what was answered and the peer gives no window for.
        assert transport.closing or connection.open

    asyncio.run(check())


def test_the_sessions_are_answered_when_they_are_whole():
    async def check():
        h1 = Http1Connection(Server(echo, Limits()), Peer(1, "test"), may_upgrade=False)
        transport, _ = await fed(h1, H1, 1 << 20)
        assert transport.take().count(b"HTTP/1.1 200 OK") == 4
        h2 = ServerConnection(Server(echo, Limits()), Peer(1, "test"))
        transport, _ = await fed(h2, H2, 1 << 20)
        data = transport.take()
        assert b"POST /a? 3" in data
        assert b"POST /b?c=d 3" in data

    asyncio.run(check())
