import asyncio
import gc
import socket
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubedyno.http.frames import Code, frame, reset_frame, settings_frame, window_frame
from kubedyno.http.h2_server import ServerConnection
from kubedyno.http.messages import Limits, Peer
from kubedyno.http.server import Server
from unit.http.wire import FakeTransport, Requests, echo, frames_of, pool_of, server_of


def connected(app=echo, limits=None, peer_settings=None):
    """Return a server's connection in memory whose client has said hello, and the client."""
    connection = ServerConnection(Server(app, limits or Limits()), Peer(1, "test"))
    transport = FakeTransport()
    connection.connection_made(transport)
    client = Requests()
    connection.data_received(client.opening(peer_settings))
    transport.take()
    return connection, transport, client


def in_loop(test):
    """Run a test's coroutine function in an event loop."""

    def run(*arguments, **options):
        asyncio.run(test(*arguments, **options))

    run.__name__ = test.__name__
    return run


def body_of(data, stream_id):
    return b"".join(payload for kind, _, found, payload in frames_of(data) if kind == 0 and found == stream_id)


def goaway_code(data):
    codes = [int.from_bytes(p[4:8], "big") for kind, _, _, p in frames_of(data) if kind == 7]
    return codes[-1] if codes else None


@in_loop
async def test_answers_of_one_read_leave_in_one_write():
    connection, transport, client = connected()
    transport.writes = 0
    connection.data_received(b"".join(client.request(i, "POST", f"/{i}", b"x" * i) for i in range(1, 41, 2)))
    assert transport.writes == 1
    data = transport.take()
    assert body_of(data, 39) == b"POST /39? 39"
    assert connection.server.pending == connection.open == 0


@in_loop
async def test_byte_by_byte_equals_all_at_once():
    client = Requests()
    requests = client.opening() + client.headers(1, "POST", "/a?b=c", end=False) + frame(0, 8, 1, b"\x02xy\0\0")
    requests += frame(0, 1, 1, b"z") + client.request(3, extra=[("x-y", "z")]) + frame(6, 0, 0, b"12345678")
    answers = []
    for step in (1, 7, len(requests)):
        connection = ServerConnection(Server(echo, Limits()), Peer(1, "test"))
        transport = FakeTransport()
        connection.connection_made(transport)
        for start in range(0, len(requests), step):
            connection.data_received(requests[start : start + step])
        await asyncio.sleep(0)
        answers.append(transport.take())
    assert answers[0] == answers[1] == answers[2]
    assert body_of(answers[0], 1) == b"POST /a?b=c 3"


@settings(max_examples=60)
@given(
    sizes=st.lists(st.integers(0, 40_000), min_size=1, max_size=4),
    initial=st.integers(0, 30_000),
    credits=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 50_000)), max_size=30),
    smaller=st.integers(0, 30_000),
)
def test_no_window_is_ever_exceeded_and_with_enough_credit_everything_arrives(sizes, initial, credits, smaller):
    async def check():
        def app(request, responder):
            responder.send(200, "text/plain", b"x" * int(request.path[1:]))

        connection, transport, client = connected(app, peer_settings={4: initial})
        ids = [2 * n + 1 for n in range(len(sizes))]
        window = {0: 65535, **dict.fromkeys(ids, initial)}
        got = dict.fromkeys(ids, 0)
        ended = set()

        def account():
            for kind, flags, stream_id, payload in frames_of(transport.take()):
                if kind == 0:
                    window[0] -= len(payload)
                    window[stream_id] -= len(payload)
                    got[stream_id] += len(payload)
                    if payload:
                        assert min(window[0], window[stream_id]) >= 0
                if kind in {0, 1} and flags & 1:
                    ended.add(stream_id)

        for stream_id, size in zip(ids, sizes, strict=True):
            connection.data_received(client.request(stream_id, path=f"/{size}"))
            account()
        connection.data_received(settings_frame({4: smaller}))
        for stream_id in ids:
            window[stream_id] += smaller - initial
        account()
        for which, credit in credits:
            stream_id = 0 if which == 0 or which > len(ids) else ids[which - 1]
            if stream_id in ended:
                continue
            window[stream_id] += credit
            connection.data_received(window_frame(stream_id, credit))
            account()
        for stream_id in [0, *ids]:
            if stream_id not in ended:
                window[stream_id] += 1 << 20
                connection.data_received(window_frame(stream_id, 1 << 20))
                account()
        assert got == dict(zip(ids, sizes, strict=True))
        assert ended == set(ids)
        assert connection.open == 0

    asyncio.run(check())


@in_loop
async def test_stalled_streams_share_a_small_connection_window_in_turns():
    connection, transport, client = connected(
        lambda _, responder: responder.send(200, "text/plain", b"x" * 200_000), peer_settings={4: 1 << 20}
    )
    connection.data_received(client.request(1) + client.request(3))
    transport.take()
    connection.data_received(window_frame(0, 64 << 10))
    data = transport.take()
    assert len(body_of(data, 1)) == len(body_of(data, 3)) == 32 << 10


@in_loop
async def test_a_full_transport_holds_bytes_back_where_buffered_counts_them():
    streams = []
    connection, transport, client = connected(
        lambda _, responder: streams.append(responder.start(200, "text/plain")), peer_settings={4: 1 << 24}
    )
    connection.data_received(client.request(1) + window_frame(0, 1 << 24))
    connection.pause_writing()
    streams[0].write(b"x" * 1000)
    waiter = asyncio.ensure_future(streams[0].drain(500))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (streams[0].buffered, waiter.done()) == (1000, False)
    connection.resume_writing()
    await waiter
    assert streams[0].buffered == 0
    streams[0].close()
    connection.flush()
    assert len(body_of(transport.take(), 1)) == 1000


@in_loop
async def test_a_reset_ends_the_stream_and_tells_the_application_once():
    streams, closed = [], []

    def app(request, responder):
        stream = responder.start(200, "text/plain")
        stream.on_close = lambda: closed.append(request.path)
        streams.append(stream)

    connection, transport, client = connected(app)
    connection.data_received(client.request(1, path="/w"))
    connection.data_received(reset_frame(1, Code.CANCEL))
    transport.take()
    streams[0].write(b"late")
    streams[0].close()
    connection.connection_lost(None)
    assert (closed, transport.take(), connection.server.pending) == (["/w"], b"", 0)


class Application:
    """Answers, and knows the way back, which knows it: a circle, unless somebody lets go."""

    def __init__(self, request, responder, ways):
        self.responder = responder
        responder.on_close = self.gone
        if request.path == "/streamed":
            stream = responder.start(200, "text/plain")
            stream.on_close = self.gone
            stream.write(b"x")
            stream.close()
        else:
            responder.send(200, "text/plain", b"x")
        ways.append(weakref.ref(self))

    def gone(self):
        pass


@in_loop
async def test_what_is_answered_is_let_go_without_a_collection():
    ways = []
    connection, _, client = connected(lambda request, responder: Application(request, responder, ways) and None)
    gc.disable()
    try:
        connection.data_received(client.request(1) + client.request(3, path="/streamed") + client.request(5, "HEAD"))
        assert [way() for way in ways] == [None] * 3
    finally:
        gc.enable()


@in_loop
async def test_a_request_that_nobody_answers_is_pending_until_its_client_leaves():
    connection, _, client = connected(lambda _, responder: None)
    connection.data_received(client.request(1))
    assert connection.server.pending == 1
    connection.connection_lost(None)
    assert connection.server.pending == 0


@in_loop
async def test_a_server_is_in_use_while_somebody_waits_and_for_a_moment_afterwards():
    ways = []
    connection, _, client = connected(lambda _, responder: ways.append(responder))
    server = connection.server
    server.last_request_s -= 1
    assert not server.in_use()
    connection.data_received(client.request(1))
    server.last_request_s -= 1
    assert server.in_use()
    ways[0].send(200, "text/plain", b"")
    assert not server.in_use()
    connection.data_received(client.request(3))
    ways[1].send(200, "text/plain", b"")
    assert server.in_use()


@in_loop
async def test_a_body_over_the_limit_is_answered_413_and_the_next_request_is_served():
    connection, transport, client = connected(limits=Limits(max_body=10))
    connection.data_received(client.headers(1, "POST", end=False) + frame(0, 0, 1, b"x" * 11))
    connection.data_received(frame(0, 1, 1, b"x" * 11) + client.request(3, path="/next"))
    data = transport.take()
    statuses = {sid: dict(client.decoder.decode(p))[":status"] for kind, _, sid, p in frames_of(data) if kind == 1}
    assert statuses == {1: "413", 3: "200"}
    assert connection.open == 0


@in_loop
async def test_streams_past_the_limit_are_refused_and_header_state_survives():
    connection, transport, client = connected(lambda _, responder: None, Limits(max_streams=2))
    connection.data_received(b"".join(client.request(i, extra=[("x-n", str(i))]) for i in (1, 3, 5)))
    assert frames_of(transport.take()) == [(3, 0, 5, Code.REFUSED_STREAM.to_bytes(4, "big"))]
    assert connection.open == 2


async def turns_until(done):
    for _ in range(200):
        if done():
            return
        await asyncio.sleep(0)


def crowd(most_put_off, count=2):
    """Return a server that answers /calm at once and nothing else, what it has begun, and connections with their clients."""
    begun = []

    def app(request, responder):
        begun.append(request.path)
        if request.path == "/calm":
            responder.send(200, "text/plain", b"")

    server = Server(app, Limits())
    server.most_put_off = lambda: most_put_off
    made = []
    for i in range(count):
        connection, transport, client = ServerConnection(server, Peer(i, "test")), FakeTransport(), Requests()
        connection.connection_made(transport)
        connection.data_received(client.opening())
        transport.take()
        made.append((connection, transport, client))
    return server, begun, made


@in_loop
async def test_what_one_client_sends_at_once_does_not_keep_others_from_being_heard():
    _, begun, ((flood, _, client), _) = crowd(16)
    sent = b"".join(client.request(i, path=f"/{i}") for i in range(1, 81, 2))
    flood.data_received(sent[:-5])
    assert len(begun) == 16
    flood.data_received(sent[-5:])
    assert len(begun) == 16
    await turns_until(lambda: len(begun) == 40)
    assert begun == [f"/{i}" for i in range(1, 81, 2)]


@in_loop
async def test_clients_who_are_ahead_share_a_turn_of_the_loop_and_who_is_not_is_heard_at_once():
    _, begun, ((one, _, first), (two, _, second), (calm, transport, third)) = crowd(3, 3)
    one.data_received(first.request(1, path="/one"))
    two.data_received(second.request(1, path="/two"))
    await asyncio.sleep(0)
    one.data_received(b"".join(first.request(i, path="/one") for i in range(3, 23, 2)))
    two.data_received(b"".join(second.request(i, path="/two") for i in range(3, 23, 2)))
    assert begun == ["/one", "/two", *["/one"] * 3]
    calm.data_received(third.request(1, path="/calm"))
    assert begun[-1] == "/calm"
    assert transport.writes
    del begun[:]
    await turns_until(lambda: len(begun) == 17)
    assert begun[:12] == [*["/one"] * 3, *["/two"] * 3] * 2
    assert sorted(begun) == ["/one"] * 7 + ["/two"] * 10


@in_loop
async def test_a_connection_that_fails_when_it_is_heard_again_keeps_no_other_from_it():
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    _, begun, ((broken, _, first), (other, _, second)) = crowd(1)
    broken.data_received(first.request(1, path="/a") + first.request(3, path="/b"))
    other.data_received(second.request(1, path="/c"))
    other.data_received(second.request(3, path="/d"))

    def fail():
        raise OSError("disk full")

    broken.go_on = fail
    await turns_until(lambda: len(begun) == 3)
    assert begun == ["/a", "/c", "/d"]


@in_loop
async def test_a_client_that_is_not_heard_is_not_read_for_ever():
    _, begun, ((flood, transport, client), _) = crowd(1)
    sent = b"".join(client.request(i, "POST", "/f", bytes(16_000)) for i in range(1, 81, 2))
    flood.data_received(sent)
    assert not transport.reading
    await turns_until(lambda: len(begun) == 40)
    assert transport.reading


@in_loop
async def test_answers_leave_before_the_loop_turns_when_somebody_says_so():
    ways = []
    connection, transport, client = connected(lambda request, responder: ways.append(responder))
    connection.data_received(client.request(1) + client.request(3))
    transport.writes = 0
    for way in ways:
        way.send(200, "text/plain", b"x")
    assert transport.writes == 0
    connection.server.flush()
    assert (transport.writes, body_of(transport.take(), 3)) == (1, b"x")
    await asyncio.sleep(0)
    assert transport.writes == 1


@in_loop
async def test_an_answer_that_cannot_leave_keeps_no_other_from_leaving_later():
    server, _, made = crowd(100)
    ways = []
    server.app = lambda request, responder: ways.append(responder)
    for connection, transport, client in made:
        connection.data_received(client.request(1))
        transport.writes = 0
    for way in ways:
        way.send(200, "text/plain", b"x")
    faults = [OSError("the disk is full")]

    def fail_once():
        if faults:
            raise faults.pop()

    server.before_write = fail_once
    with pytest.raises(OSError, match="full"):
        server.flush()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert made[1][1].writes == 1


FAULTS = {
    "rapid reset": (
        lambda c: b"".join(c.request(i) + reset_frame(i, Code.CANCEL) for i in range(1, 241, 2)),
        Code.ENHANCE_YOUR_CALM,
    ),
    "settings flood": (lambda c: settings_frame({}) * 101, Code.ENHANCE_YOUR_CALM),
    "ping flood": (lambda c: frame(6, 0, 0, b"12345678") * 101, Code.ENHANCE_YOUR_CALM),
    "endless continuation": (
        lambda c: frame(1, 0, 1, b"\x82") + frame(9, 0, 1, b"\0" * 16000) * 5,
        Code.ENHANCE_YOUR_CALM,
    ),
    "frame between HEADERS and CONTINUATION": (
        lambda c: frame(1, 0, 1, b"\x82") + frame(6, 0, 0, b"12345678"),
        Code.PROTOCOL_ERROR,
    ),
    "even stream": (lambda c: c.request(2), Code.PROTOCOL_ERROR),
    "data before headers": (lambda c: frame(0, 0, 7, b"x"), Code.PROTOCOL_ERROR),
    "window beyond 2^31": (lambda c: window_frame(0, 2**31 - 1), Code.FLOW_CONTROL_ERROR),
    "huge frame": (lambda c: b"\xff\xff\xff\0\0\0\0\0\1", Code.FRAME_SIZE_ERROR),
    "padding longer than its frame": (
        lambda c: c.headers(1, end=False) + frame(0, 8, 1, b"\x09x"),
        Code.PROTOCOL_ERROR,
    ),
    "broken header block": (lambda c: frame(1, 5, 1, b"\xff\xff\xff\xff\xff\xff"), Code.COMPRESSION_ERROR),
    "short ping": (lambda c: frame(6, 0, 0, b"1"), Code.FRAME_SIZE_ERROR),
    "headers that unpack to too much": (
        lambda c: c.request(1, extra=[("x", "y" * 4000)] * 20),
        Code.COMPRESSION_ERROR,
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_peer_that_breaks_the_protocol_is_sent_away(fault):
    async def check():
        make, code = FAULTS[fault]
        connection, transport, client = connected(lambda _, responder: None, Limits(max_nuisances=100))
        connection.data_received(make(client))
        await turns_until(lambda: transport.closing)
        assert goaway_code(transport.take()) == code
        assert transport.closing

    asyncio.run(check())


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 255), st.integers(0, 9), st.binary(max_size=30)), max_size=8)
)
def test_arbitrary_frames_never_raise(frames):
    async def check():
        connection, _, client = connected()
        connection.data_received(client.request(1))
        for kind, flags, stream_id, payload in frames:
            connection.data_received(frame(kind, flags, stream_id, payload))

    asyncio.run(check())


@in_loop
async def test_an_application_that_raises_costs_one_answer_only():
    def app(request, responder):
        if request.path == "/bad":
            raise ValueError("planted")
        echo(request, responder)

    connection, transport, client = connected(app)
    connection.data_received(client.request(1, path="/bad") + client.request(3))
    data = transport.take()
    assert body_of(data, 1) == b"internal error\n"
    assert body_of(data, 3) == b"GET /? 0"


@in_loop
async def test_shutting_down_waits_for_answers_and_takes_no_new_requests():
    kept = []
    connection, transport, client = connected(lambda _, responder: kept.append(responder))
    connection.data_received(client.request(1))
    connection.shut_down()
    connection.data_received(client.request(3))
    assert len(kept) == 1
    assert not transport.closing
    kept[0].send(200, "text/plain", b"done")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert transport.closing
    assert body_of(transport.take(), 1) == b"done"


@in_loop
async def test_slow_preface_idle_and_slow_bodies_end():
    limits = Limits(head_timeout_s=5, idle_timeout_s=10, request_timeout_s=7)
    silent = ServerConnection(Server(echo, limits), Peer(1, "test"))
    silent.connection_made(FakeTransport())
    now_s = silent.read_s
    silent.sweep(now_s + 4)
    assert not silent.closed
    silent.sweep(now_s + 6)
    assert silent.closed
    idle, transport, client = connected(limits=limits)
    idle.sweep(idle.read_s + 11)
    assert idle.closed
    slow, transport, client = connected(limits=limits)
    slow.data_received(client.headers(1, "POST", end=False))
    transport.take()
    slow.sweep(slow.read_s + 8)
    slow.flush()
    assert b"did not arrive" in transport.take()
    assert not slow.closed


@in_loop
async def test_a_stream_cannot_be_switched_to_another_protocol_and_is_answered_otherwise():
    def app(request, responder):
        assert responder.upgrade((("Upgrade", "x"),)) is None
        responder.send(400, "text/plain", b"no")

    connection, transport, client = connected(app)
    connection.data_received(client.request(1))
    assert body_of(transport.take(), 1) == b"no"


@in_loop
async def test_a_path_without_a_slash_is_no_request():
    connection, transport, client = connected()
    connection.data_received(client.request(1, path="api") + client.request(3, "OPTIONS", "*") + client.request(5))
    data = transport.take()
    assert [(stream, payload) for kind, _, stream, payload in frames_of(data) if kind == 3] == [
        (1, Code.PROTOCOL_ERROR.to_bytes(4, "big"))
    ]
    assert body_of(data, 3) == b"OPTIONS *? 0"
    assert body_of(data, 5) == b"GET /? 0"


@pytest.mark.parametrize("secure", [False, True])
def test_the_kernel_keeps_less_of_a_clients_bytes_than_the_loop_reads_at_once(secure):
    async def check():
        transports = []
        async with server_of(echo, secure=secure) as server, pool_of(server.port, secure=secure) as pool:
            next_peer = server.next_peer
            server.next_peer = lambda transport: transports.append(transport) or next_peer(transport)
            assert (await pool.request("GET", "/")).status == 200
            (transport,) = transports
            room = transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
            # Linux doubles what it is asked for; uvloop reads 256 KiB, and on at once if it got as much.
            assert room < 256 << 10

    asyncio.run(check())
