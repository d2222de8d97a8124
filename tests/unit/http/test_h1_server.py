import asyncio

import pytest

from kubedyno.http.h1_server import Http1Connection
from kubedyno.http.messages import Limits, Peer
from kubedyno.http.server import Server
from unit.http.wire import FakeTransport, echo


def exchange(data, app=echo, step=None, limits=None, turns=5):
    """Send bytes to a connection in memory; return what came back and whether it closed."""

    async def run():
        connection = Http1Connection(Server(app, limits or Limits()), Peer(1, "test"), may_upgrade=False)
        transport = FakeTransport()
        connection.connection_made(transport)
        for start in range(0, len(data), step or len(data)):
            connection.data_received(data[start : start + (step or len(data))])
        for _ in range(turns):
            await asyncio.sleep(0)
        connection.sweep(asyncio.get_running_loop().time() + 3)
        return transport.take(), transport.closing

    return asyncio.run(run())


GET = b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;e=1\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: x\r\n\r\n"


def test_byte_by_byte_equals_all_at_once():
    data = GET + CHUNKED + b"POST /l HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nabcd" + GET
    whole, _ = exchange(data)
    assert whole == exchange(data, step=1)[0] == exchange(data, step=7)[0]
    assert [line for line in whole.split(b"\r\n") if b"?" in line] != []
    assert whole.count(b"HTTP/1.1 200 OK") == 4
    assert b"POST /c? 13" in whole
    assert b"POST /l? 4" in whole


def test_pipelined_requests_are_answered_in_order_one_at_a_time():
    kept = []

    def app(request, responder):
        kept.append(request.path)
        asyncio.get_running_loop().call_soon(responder.send, 200, "text/plain", request.path.encode())

    data, _ = exchange(b"".join(GET.replace(b"/a?b=c", b"/%d" % n) for n in range(5)), app, turns=40)
    assert kept == ["/0", "/1", "/2", "/3", "/4"]
    assert [data.index(b"\r\n\r\n/%d" % n) for n in range(5)] == sorted(
        data.index(b"\r\n\r\n/%d" % n) for n in range(5)
    )


REFUSED = {
    "length and chunked": (
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
    ),
    "two lengths": (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", 400),
    "negative length": (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -3\r\n\r\n", 400),
    "signed length": (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\n", 400),
    "space before colon": (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
    "folded line": (b"GET / HTTP/1.1\r\nHost: x\r\n y\r\n\r\n", 400),
    "bare line feed": (b"GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "odd coding": (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
    "chunk size": (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", 400),
    "chunk end": (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", 400),
    "HTTP/2 without preface": (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
    "garbage": (b"\x16\x03\x01\r\n\r\n", 400),
    "body too large": (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n\r\n", 413),
    "chunks too large": (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n", 413),
    "head too long": (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 2000, 431),
    "target without a slash": (b"GET a/b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "expectation": (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: 42\r\n\r\n", 417),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_could_be_read_in_two_ways_is_refused_with_the_connection(case):
    data, status = REFUSED[case]
    seen = []
    answer, closed = exchange(
        data + GET, lambda request, _: seen.append(request), limits=Limits(max_body=100, max_header_bytes=1000)
    )
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"Content-Length:") == 1
    assert closed
    assert seen == []


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        (b"/a?b", b"/a?b"),
        (b"*", b"*?"),
        (b"http://h/a?b", b"/a?b"),
        (b"http://h", b"/?"),
        (b"http://h?c=/d", b"/?c=/d"),
    ],
)
def test_every_form_of_a_target_is_a_path(target, shown):
    answer, _ = exchange(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % target)
    assert answer.endswith(b"GET %b 0" % shown)


def test_a_client_that_waits_for_100_continue_gets_it():
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    assert exchange(head)[0] == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert exchange(head + b"abc")[0].startswith(b"HTTP/1.1 200")


def test_a_streamed_answer_is_chunked_and_to_http_1_0_ends_with_the_connection():
    def app(_, responder):
        stream = responder.start(200, "text/plain")
        stream.write(b"abc")
        stream.write(b"0123456789")
        stream.close()

    answer, closed = exchange(GET, app)
    assert answer.endswith(b"\r\n\r\n3\r\nabc\r\na\r\n0123456789\r\n0\r\n\r\n")
    assert not closed
    answer, closed = exchange(b"GET / HTTP/1.0\r\n\r\n", app)
    assert answer.endswith(b"Connection: close\r\n\r\nabc0123456789")
    assert closed


def test_head_has_the_length_and_no_body_and_keeps_the_connection():
    answer, closed = exchange(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n" + GET)
    assert b"Content-Length: 9\r\n\r\nHTTP/1.1 200" in answer
    assert not closed


def test_header_values_cannot_end_their_line():
    answer, _ = exchange(GET, lambda _, r: r.send(200, "text/plain", b"", (("Warning", 'a\r\nSet-Cookie: "b"'),)))
    assert b"\nSet-Cookie" not in answer
