"""Connections to one server: requests go to one with room, wait for it in a bounded queue, or open another.

HTTP/2 where the server offers it (ALPN), else HTTP/1.1. What the server certainly did not act on (refused streams,
streams beyond a GOAWAY) is sent again; what it may have acted on is not, unless it only reads.
"""

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from kubedyno.base import aio
from kubedyno.base.log import logger
from kubedyno.http.exchange import (
    ConnectionLost,
    Done,
    Exchange,
    Overloaded,
    Profile,
    RequestTimeout,
    Result,
    StreamExchange,
)
from kubedyno.http.h1_client import Http1ClientConnection
from kubedyno.http.h2_client import ClientConnection
from kubedyno.http.messages import Headers

log = logger(__name__)

Connection = ClientConnection | Http1ClientConnection

# How long a server may take to end a connection that we close.
_GOODBYE_S = 0.25
_SWEEP_S = 0.25
# Sending again what was not acted on: so often, after 10, 20, 40 … ms.
_MAX_TRIES = 6
_RETRY_S = 0.01
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_MEMO_PROFILES = 256


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server is.

    Attributes:
        authority: What requests name as host, e.g. "127.0.0.1:6443".
        ssl_context: None for plain HTTP.
        server_name: Name that the server's certificate must carry, when it is not `host`.
        dial: Makes the connected sockets, where not by looking up `host`; raises OSError.
        speaks_h2: It speaks HTTP/2 without ALPN, as gRPC in clear text does.
    """

    host: str
    port: int
    authority: str
    ssl_context: ssl.SSLContext | None = None
    server_name: str | None = None
    dial: Callable[[], Awaitable[socket.socket]] | None = None
    speaks_h2: bool = False


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Bounds of a pool.

    Attributes:
        max_streams: Requests under way on one HTTP/2 connection, if the server allows as many.
        max_connections: HTTP/2 connections; more than two cost more than they bring.
        max_http1: HTTP/1.1 connections.
        max_queue: Requests that wait for room.
        max_body: Of an answer that is not streamed, bytes.
        connect_timeout_s: Name look-up, TCP and TLS.
        timeout_s: From `submit` to the complete answer, or to a streamed answer's head.
    """

    max_streams: int = 100
    max_connections: int = 4
    max_http1: int = 64
    max_queue: int = 100_000
    max_body: int = 1 << 30
    connect_timeout_s: float = 15.0
    timeout_s: float = 60.0


class Pool:
    """Connections to one server, opened when needed."""

    def __init__(self, endpoint: Endpoint, limits: PoolLimits | None = None) -> None:
        self.endpoint = endpoint
        self.limits = limits or PoolLimits()
        self._loop = asyncio.get_running_loop()
        self._connections: list[Connection] = []
        # Also those that take no more requests, until their sockets are closed.
        self._open: set[Connection] = set()
        self._queue: deque[Exchange] = deque()
        self._connecting: set[asyncio.Task[None]] = set()
        self._http1 = False
        self._profiles: dict[Headers, Profile] = {}
        self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)
        self._closed = False
        self._filling = False

    # -- requests ------------------------------------------------------------------------------------------------

    def profile(self, headers: Headers) -> Profile:
        """Return headers as requests carry them, encoded once."""
        found = self._profiles.get(headers)
        if found is None:
            if len(self._profiles) >= _MEMO_PROFILES:
                self._profiles.clear()
            scheme = "https" if self.endpoint.ssl_context else "http"
            found = self._profiles[headers] = Profile(scheme, self.endpoint.authority, headers)
        return found

    def submit(
        self, method: str, path: str, headers: Headers, body: bytes, done: Done, timeout_s: float | None = None
    ) -> None:
        """Send a request with the rest of this turn of the loop, or when there is room.

        Args:
            path: With its query, percent-encoded.
            done: Called once with the result, never from within this call.
            timeout_s: Instead of the pool's.
        """
        deadline_s = self._loop.time() + (self.limits.timeout_s if timeout_s is None else timeout_s)
        profile = self._profiles.get(headers) or self.profile(headers)
        self._start(Exchange(method, path, profile, body, done, deadline_s, self.limits.max_body))

    async def request(
        self, method: str, path: str, headers: Headers = (), body: bytes = b"", timeout_s: float | None = None
    ) -> Result:
        """Send a request and wait for its answer.

        Raises:
            OSError: There is none: ConnectionLost, RequestTimeout, ssl.SSLError and others.
        """
        future: asyncio.Future[Result] = self._loop.create_future()

        def done(result: Result) -> None:
            if not future.done():
                future.set_result(result)

        deadline_s = self._loop.time() + (self.limits.timeout_s if timeout_s is None else timeout_s)
        exchange = Exchange(method, path, self.profile(headers), body, done, deadline_s, self.limits.max_body)
        self._start(exchange)
        try:
            result = await future
        except asyncio.CancelledError:
            self._cancel(exchange, ConnectionLost("cancelled"))
            raise
        if result.error is not None:
            raise result.error
        return result

    async def open_stream(
        self, method: str, path: str, headers: Headers = (), body: bytes = b"", timeout_s: float | None = None
    ) -> StreamExchange:
        """Send a request and return its answer as soon as its head is there; the caller must `close` it.

        Raises:
            OSError: As `request`.
        """
        deadline_s = self._loop.time() + (self.limits.timeout_s if timeout_s is None else timeout_s)
        exchange = StreamExchange(method, path, self.profile(headers), body, deadline_s)
        self._start(exchange)
        try:
            await asyncio.shield(exchange.opened)
        except asyncio.CancelledError:
            self._cancel(exchange, ConnectionLost("cancelled"))
            raise
        return exchange

    @property
    def waiting(self) -> int:
        """Requests that wait for room."""
        return len(self._queue)

    @property
    def under_way(self) -> int:
        """Requests sent and not answered, streams included."""
        return sum(connection.open for connection in self._connections)

    @property
    def connections(self) -> int:
        """Connections that take requests."""
        return len(self._connections)

    async def close(self) -> None:
        """Close all connections; what is under way fails."""
        self._closed = True
        self._sweeper.cancel()
        for task in self._connecting:
            task.cancel()
        await asyncio.gather(*self._connecting, return_exceptions=True)
        error = ConnectionLost("the client is closed")
        queue, self._queue = self._queue, deque()
        for exchange in queue:
            exchange.finish(error)
        for connection in list(self._open):
            connection.close()
        # TLS says goodbye and hears it; a server that says nothing is not waited for.
        with contextlib.suppress(TimeoutError):
            async with aio.timeout(_GOODBYE_S):
                while self._open:
                    await aio.sleep(0.001)
        for connection in list(self._open):
            connection.abort()
        # Transports that were aborted close in the loop's next turns.
        await aio.sleep(0)
        await aio.sleep(0)

    def _start(self, exchange: Exchange) -> None:
        if not self._queue:
            for connection in self._connections:
                if connection.room > 0:
                    connection.begin(exchange)
                    return
        if self._closed:
            self._loop.call_soon(exchange.finish, ConnectionLost("the client is closed"))
            return
        if len(self._queue) >= self.limits.max_queue:
            self._loop.call_soon(exchange.finish, Overloaded(f"more than {self.limits.max_queue} requests wait"))
            return
        self._queue.append(exchange)
        self._grow()

    def _cancel(self, exchange: Exchange, error: OSError) -> None:
        if exchange.carrier is not None:
            exchange.carrier.cancel(exchange, error)
        elif exchange in self._queue:
            self._queue.remove(exchange)

    # -- connections ---------------------------------------------------------------------------------------------

    def _grow(self) -> None:
        """Open another connection if what waits needs it."""
        most = self.limits.max_http1 if self._http1 else self.limits.max_connections
        # Nothing is known of a server before its first answer: one connection finds out what it speaks.
        wanted = min(len(self._queue), most) if self._connections and self._http1 else min(1, len(self._queue))
        if len(self._connecting) < wanted and len(self._connections) + len(self._connecting) < most:
            task = self._loop.create_task(self._connect())
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _connect(self) -> None:
        endpoint = self.endpoint
        connection: Connection | None = None
        try:
            async with aio.timeout(self.limits.connect_timeout_s):
                place: dict[str, Any] = {"host": endpoint.host, "port": endpoint.port}
                if endpoint.dial is not None:
                    place = {"sock": await endpoint.dial()}
                _, chooser = await self._loop.create_connection(
                    lambda: _Chooser(self),
                    ssl=endpoint.ssl_context,
                    server_hostname=(endpoint.server_name or endpoint.host) if endpoint.ssl_context else None,
                    **place,
                )
                connection = chooser.chosen
        except OSError as error:
            self._connected()
            self._unreachable(error)
            return
        self._connected()
        if connection is None or self._closed:
            if connection is not None:
                connection.close()
            return
        self._http1 = isinstance(connection, Http1ClientConnection)
        self._connections.append(connection)
        self._fill(connection)

    def _connected(self) -> None:
        """This task tries no more: who hears of its end and asks at once must not wait for it."""
        task = asyncio.current_task()
        if task is not None:
            self._connecting.discard(task)

    def _unreachable(self, error: OSError) -> None:
        log.debug("%s: %s", self.endpoint.authority, error)
        if self._connections:
            # Others serve the queue; a second connection is only for speed.
            return
        if isinstance(error, TimeoutError) and not str(error):
            error = RequestTimeout(f"no connection within {self.limits.connect_timeout_s:g} s")
        queue, self._queue = self._queue, deque()
        for exchange in queue:
            exchange.finish(error)

    def ready(self, connection: Connection) -> None:
        """A connection has room: give it what waits."""
        if self._queue and not self._filling:
            self._fill(connection)

    def _fill(self, connection: Connection) -> None:
        self._filling = True
        try:
            queue = self._queue
            while queue and connection.room > 0:
                connection.begin(queue.popleft())
        finally:
            self._filling = False
        if queue:
            self._grow()

    def gone(self, connection: Connection) -> None:
        """A connection takes no more requests."""
        if connection in self._connections:
            self._connections.remove(connection)
            if self._queue and not self._closed:
                self._grow()

    def opened(self, connection: Connection) -> None:
        """A connection has a socket."""
        self._open.add(connection)

    def lost(self, connection: Connection) -> None:
        """A connection's socket is closed."""
        self._open.discard(connection)
        self.gone(connection)

    def failed(self, exchange: Exchange, error: OSError, *, unprocessed: bool) -> None:
        """An exchange came to nothing: send it again, or give it up."""
        exchange.carrier = None
        again = unprocessed or (exchange.method in _SAFE and not (exchange.streaming and exchange.status))
        exchange.tries += 1
        if self._closed or not again or exchange.tries >= (_MAX_TRIES if unprocessed else 2):
            exchange.finish(error)
            return
        exchange.reset()
        self._loop.call_later(_RETRY_S * 2 ** (exchange.tries - 1), self._start, exchange)

    def _sweep(self) -> None:
        now_s = self._loop.time()
        self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)
        for connection in list(self._connections):
            connection.sweep(now_s)
            for exchange in connection.exchanges():
                if exchange.deadline_s < now_s and exchange.carrier is not None:
                    exchange.carrier.cancel(exchange, RequestTimeout("no complete answer in time"))
        if self._queue and self._queue[0].deadline_s < now_s:
            late = [exchange for exchange in self._queue if exchange.deadline_s < now_s]
            self._queue = deque(exchange for exchange in self._queue if exchange.deadline_s >= now_s)
            for exchange in late:
                exchange.finish(RequestTimeout("no connection had room in time"))


class _Chooser(asyncio.Protocol):
    """A new connection, until ALPN has said what it speaks."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.chosen: Connection | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        tls = transport.get_extra_info("ssl_object")
        if self._pool.endpoint.speaks_h2 or (tls is not None and tls.selected_alpn_protocol() == "h2"):
            self.chosen = ClientConnection(self._pool, self._pool.limits.max_streams)
        else:
            self.chosen = Http1ClientConnection(self._pool)
        self._pool.opened(self.chosen)
        transport.set_protocol(self.chosen)
        self.chosen.connection_made(transport)
