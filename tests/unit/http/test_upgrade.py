"""HTTP/1.1 connections that become tunnels."""

import asyncio

from kubedyno.http.h1_server import Http1Connection
from kubedyno.http.messages import Limits, Peer
from kubedyno.http.server import Server
from unit.http.wire import FakeTransport

ASK = b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
HEADERS = (("Upgrade", "echo"), ("Connection", "Upgrade"))
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n"


class Echo:
    """Sends back what comes, in capitals; keeps its tunnel."""

    def __init__(self, late=False):
        self.late = late
        self.closed = 0
        self.tunnel = None

    def app(self, request, responder):
        self.tunnel = responder.upgrade(HEADERS)
        if self.tunnel is None:
            responder.send(400, "text/plain", b"no")
            return
        self.tunnel.on_close = self.on_close
        if not self.late:
            self.tunnel.on_data = self.on_data

    def on_data(self, data):
        if data == b"fail":
            raise ValueError(data)
        self.tunnel.write(data.upper())

    def on_close(self):
        self.closed += 1


def play(script, app=None, limits=None):
    async def run():
        echo = app or Echo()
        server = Server(echo.app, limits or Limits())
        connection = Http1Connection(server, Peer(1, "test"), may_upgrade=False)
        transport = FakeTransport()
        connection.connection_made(transport)
        await script(echo, connection, transport)
        return server

    return asyncio.run(run())


async def turns(count=4):
    for _ in range(count):
        await asyncio.sleep(0)


def test_bytes_flow_both_ways_and_what_came_ahead_is_not_lost():
    async def script(echo, connection, transport):
        connection.data_received(ASK + b"first ")
        await turns()
        connection.data_received(b"second\r\n\r\n")
        await turns()
        assert transport.take() == SWITCHED + b"FIRST SECOND\r\n\r\n"
        assert connection.open == 1
        echo.tunnel.close()
        await turns()
        assert transport.closing
        connection.data_received(b"late")
        connection.connection_lost(None)
        assert (echo.closed, transport.take()) == (0, b"")

    assert play(script).pending == 0


def test_a_client_that_goes_is_told_to_the_tunnels_user_once():
    async def script(echo, connection, transport):
        connection.data_received(ASK)
        assert not connection.eof_received()
        connection.connection_lost(None)
        assert (echo.closed, echo.tunnel.closed) == (1, True)
        echo.tunnel.write(b"x")
        await turns()
        assert transport.take() == SWITCHED

    play(script)


def test_what_nobody_takes_is_kept_up_to_a_bound():
    async def script(echo, connection, transport):
        connection.data_received(ASK)
        connection.data_received(b"x" * 1000)
        echo.tunnel.on_data = echo.on_data
        await turns()
        assert transport.take() == SWITCHED + b"X" * 1000
        echo.tunnel.on_data = None
        connection.data_received(b"x" * (65 << 10))
        assert transport.closing

    play(script, Echo(late=True))


def test_a_tunnel_outlives_the_time_limits_of_requests():
    async def script(echo, connection, transport):
        connection.data_received(ASK)
        connection.sweep(asyncio.get_running_loop().time() + 3600)
        await turns()
        assert not transport.closing

    play(script)


def test_a_fault_of_its_user_cuts_the_connection():
    async def script(echo, connection, transport):
        connection.data_received(ASK)
        connection.data_received(b"fail")
        await turns()
        assert transport.closing

    play(script)


def test_http_1_0_cannot_be_upgraded():
    async def script(echo, connection, transport):
        connection.data_received(ASK.replace(b"HTTP/1.1", b"HTTP/1.0"))
        await turns()
        assert transport.take().startswith(b"HTTP/1.1 400 ")

    play(script)


def test_what_a_slow_client_does_not_take_is_held_and_then_sent():
    async def script(echo, connection, transport):
        connection.data_received(ASK)
        connection.pause_writing()
        connection.data_received(b"abc")
        assert echo.tunnel.buffered == 3
        echo.tunnel.close()
        assert not transport.closing
        connection.resume_writing()
        await turns()
        assert transport.take() == SWITCHED + b"ABC"
        assert transport.closing

    play(script)


def test_who_is_to_wait_is_not_read_until_all_is_heard_again():
    async def script(echo, connection, transport):
        connection.data_received(ASK)
        for call, reading in (("pause", False), ("pause", False), ("resume", True), ("resume", True)):
            getattr(echo.tunnel, f"{call}_input")()
            assert transport.reading is reading
        echo.tunnel.pause_input()
        connection.connection_lost(None)
        echo.tunnel.resume_input()
        assert not transport.reading

    play(script)
