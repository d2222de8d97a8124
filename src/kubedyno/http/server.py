"""The server loop: listens, chooses HTTP/2 or HTTP/1.1 for each connection, and sweeps up what takes too long.

ALPN decides under TLS; on plain connections HTTP/2's preface does ("prior knowledge"), and anything else is HTTP/1.1.
"""

import asyncio
import hashlib
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

from kubedyno.base import aio
from kubedyno.base.errors import KubedynoError
from kubedyno.http.answers import Stamps
from kubedyno.http.h1_server import Http1Connection
from kubedyno.http.h2_server import ServerConnection
from kubedyno.http.messages import App, Certificate, Limits, Peer, Request

_SWEEP_S = 1.0
_HANDSHAKE_TIMEOUT_S = 15.0
_BACKLOG = 1024


# What the kernel keeps of a connection's bytes until they are read. uvloop goes on reading from one socket for as long as it
# fills a buffer of 256 KiB, 32 times: 8 MiB of one client's bodies, in 5 ms, before another one is heard.
_RECEIVE_BUFFER = 64 << 10
# Who has asked so lately is thought to ask again: one request after another is the rule.
_IN_USE_S = 0.25
# Requests that are begun and have to wait in one turn of the loop, however many have come; see `Server.most_put_off`.
_PUT_OFF = 64
_OWN_NAMES = frozenset({"127.0.0.1", "localhost"})


class Connection(Protocol):
    """What the server asks of a connection of either kind."""

    @property
    def open(self) -> int: ...

    def flush(self) -> None: ...

    def sweep(self, now_s: float) -> None: ...

    def shut_down(self) -> None: ...

    def abort(self) -> None: ...


class Server:
    """A listening server; made by `serve`.

    Attributes:
        pending: Requests that wait for an answer now. An answer that has begun (a watch) waits no more.
        last_request_s: When the last request was complete, in the event loop's seconds; the start before any.
        stamps: Puts date and id on each answer; None: answers have neither.
        other_ports: Ports of this machine that lead here too, as a name in a request may have them.
        before_write: Called before any bytes of answers leave; while it raises, none do.
        most_put_off: Says how many requests may be begun in one turn of the loop that have to wait: what else is read of
            clients who send more than is done is looked at in the next ones, and who sends little is heard in between.
        hears: False once that many are.
    """

    def __init__(self, app: App, limits: Limits) -> None:
        self.app = app
        self.limits = limits
        self.pending = 0
        self.port = 0
        self.other_ports: frozenset[str] = frozenset()
        self.before_write: Callable[[], None] | None = None
        self.stamps: Stamps | None = None
        self.most_put_off: Callable[[], int] = lambda: _PUT_OFF
        self.hears = True
        self._put_off = 0
        self._resting: deque[ServerConnection] = deque()
        self._hearing = False
        # Connections with answers that leave before the loop turns.
        self._unsent: list[Connection] = []
        self._sending = False
        self._loop = asyncio.get_running_loop()
        self.last_request_s = self._loop.time()
        self._connections: dict[Connection, None] = {}
        self._peers = 0
        self._listeners: list[asyncio.Server] = []
        self._sweeper: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Future[None] | None = None

    @property
    def connections(self) -> int:
        """Connections that are open."""
        return len(self._connections)

    @property
    def open_streams(self) -> int:
        """Requests and streamed answers under way."""
        return sum(connection.open for connection in self._connections)

    def in_use(self) -> bool:
        """Say whether somebody waits for an answer, or asked a moment ago."""
        return bool(self.pending) or self._loop.time() - self.last_request_s < _IN_USE_S

    async def listen(
        self, host: str, port: int, ssl_context: ssl.SSLContext | None, given: Sequence[socket.socket] = ()
    ) -> None:
        """Begin to accept connections: at an address, or on the sockets that are given."""
        options: dict[str, Any] = {"ssl": ssl_context, "ssl_handshake_timeout": _HANDSHAKE_TIMEOUT_S}
        if not given and not 0 <= port <= 65535:
            # uvloop would take its lower 16 bits.
            raise KubedynoError(f"port {port}: must be between 0 and 65535")
        places: list[dict[str, Any]] = [{"sock": one} for one in given] or [{"host": host, "port": port}]
        try:
            for place in places:
                self._listeners.append(
                    await self._loop.create_server(
                        lambda: _Accepted(self), backlog=_BACKLOG, **place, **(options if ssl_context else {})
                    )
                )
        except OSError as error:
            raise KubedynoError(
                f"{host}:{port}: cannot listen ({error.strerror or error}); choose another port, or 0 for a free one"
            ) from error
        self.port = self._listeners[0].sockets[0].getsockname()[1]
        self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)

    def is_named_by(self, request: Request) -> bool:
        """Say whether a request names this server as this machine does: no page of another site can, by a name of its own."""
        name, _, port = request.headers.get("host", "").rpartition(":")
        return name in _OWN_NAMES and port in {str(self.port), *self.other_ports}

    def next_peer(self, transport: asyncio.BaseTransport) -> Peer:
        """Return who is at the other end of a new connection."""
        self._peers += 1
        name = transport.get_extra_info("peername")
        address = f"{name[0]}:{name[1]}" if isinstance(name, tuple) else str(name or "")
        tls = transport.get_extra_info("ssl_object")
        return Peer(self._peers, address, _certificate_of(tls) if tls is not None else None)

    def add(self, connection: Connection) -> None:
        self._connections[connection] = None

    def remove(self, connection: Connection) -> None:
        self._connections.pop(connection, None)
        if not self._connections and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    # -- turns of the loop ---------------------------------------------------------------------------------------

    def put_off(self) -> bool:
        """Count a request that is begun and has to wait; say whether more of them may be begun before the loop turns."""
        self._put_off += 1
        if not self._hearing:
            self._hearing = True
            self._loop.call_soon(self._hear)
        self.hears = self._put_off < self.most_put_off()
        return self.hears

    def hear_later(self, connection: ServerConnection) -> None:
        """Let a connection go on after the others that rest."""
        self._resting.append(connection)
        if not self._hearing:
            self._hearing = True
            self._loop.call_soon(self._hear)

    def _hear(self) -> None:
        self._hearing = False
        self._put_off = 0
        self.hears = True
        for _ in range(len(self._resting)):
            if not self.hears:
                # `put_off` has seen to it that this is called again.
                break
            try:
                self._resting.popleft().go_on()
            finally:
                # Whatever became of it, the others are heard.
                if self._resting and not self._hearing:
                    self._hearing = True
                    self._loop.call_soon(self._hear)

    def flush_soon(self, connection: Connection) -> None:
        """Have a connection's answers sent with those of others: by `flush`, or when the loop turns."""
        self._unsent.append(connection)
        if not self._sending:
            self._sending = True
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        self._sending = False
        self.flush()

    def flush(self) -> None:
        """Send what is there of answers, before the loop looks at its sockets again."""
        unsent = self._unsent
        if not unsent:
            return
        self._unsent = []
        for done, connection in enumerate(unsent, 1):
            try:
                connection.flush()
            except BaseException:
                # The others are not sent either before somebody has heard of it.
                for other in unsent[done:]:
                    self.flush_soon(other)
                raise

    # -- the end -------------------------------------------------------------------------------------------------

    def stop_listening(self) -> None:
        """Accept no more connections, and no more requests on those that are open."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        for connection in list(self._connections):
            connection.shut_down()

    async def close(self, grace_s: float = 1.0) -> None:
        """Stop: requests under way may end within `grace_s`, then their connections are cut."""
        self.stop_listening()
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._connections:
            self._emptied = self._loop.create_future()
            try:
                await aio.wait_for(self._emptied, grace_s)
            except TimeoutError:
                for connection in list(self._connections):
                    connection.abort()
        # Transports close in the loop's next turn.
        await aio.sleep(0)

    def _sweep(self) -> None:
        now_s = self._loop.time()
        for connection in list(self._connections):
            connection.sweep(now_s)
        self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)


class _Accepted(asyncio.Protocol):
    """A new connection, until it is known what it speaks."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the interface, not the base class.
        transport = cast("asyncio.Transport", transport)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        peer = self._server.next_peer(transport)
        tls = transport.get_extra_info("ssl_object")
        protocol: asyncio.Protocol
        if tls is not None and tls.selected_alpn_protocol() == "h2":
            protocol = ServerConnection(self._server, peer)
        else:
            protocol = Http1Connection(self._server, peer, may_upgrade=tls is None)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)


def _certificate_of(tls: Any) -> Certificate | None:
    """Return a verified client certificate."""
    found = tls.getpeercert()
    if not found:
        return None
    pairs = [pair for group in found.get("subject", ()) for pair in group]
    names = [value for key, value in pairs if key == "commonName"]
    organizations = tuple(value for key, value in pairs if key == "organizationName")
    digest = hashlib.sha256(tls.getpeercert(binary_form=True) or b"").hexdigest()
    return Certificate(names[-1] if names else "", organizations, digest)


async def serve(
    app: App,
    host: str,
    port: int,
    ssl_context: ssl.SSLContext | None,
    limits: Limits | None = None,
    given: Sequence[socket.socket] = (),
) -> Server:
    """Start a server.

    Args:
        app: Answers the requests.
        port: 0 picks a free one; `Server.port` says which.
        ssl_context: From `tls.server_context`; None serves plain HTTP.
        given: Sockets of one port that are bound already, taken instead of host and port.

    Raises:
        KubedynoError: The address is in use, or may not be used.
    """
    server = Server(app, limits or Limits())
    await server.listen(host, port, ssl_context, given)
    return server
