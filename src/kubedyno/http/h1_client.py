"""The client's side of an HTTP/1.1 connection: one request at a time, for servers without HTTP/2."""

import asyncio
import re
from typing import TYPE_CHECKING, cast

from kubedyno.http.exchange import ConnectionLost, Exchange, joined
from kubedyno.http.h2 import TRANSPORT_BYTES

if TYPE_CHECKING:
    from kubedyno.http.client import Pool

_STATUS_LINE = re.compile(r"HTTP/1\.([01]) (\d{3})(?: [^\r\n]*)?")
_MAX_HEAD = 1 << 20
_MAX_LINE = 4096
# A slow reader of a stream holds about this much; the socket is not read meanwhile.
_MAX_UNREAD = 4 << 20


class _Malformed(Exception):
    """The server does not speak HTTP/1.1."""


class Http1ClientConnection(asyncio.Protocol):
    """One connection to a server."""

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool
        self._transport: asyncio.Transport
        self._exchange: Exchange | None = None
        self._buffer = bytearray()
        self.closed = False
        # Of the answer that is arriving: bytes of the body or chunk to come, -1 until the connection ends.
        self._head = True
        self._chunked = False
        self._trailers = False
        self._need = 0
        self._keep = True
        self._reading = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the interface, not the base class.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=TRANSPORT_BYTES)
        asyncio.get_running_loop().call_soon(self._pool.ready, self)

    # -- the pool's side -----------------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        return 0 if self.closed or self._exchange is not None else 1

    @property
    def alive(self) -> bool:
        return not self.closed

    @property
    def open(self) -> int:
        return int(self._exchange is not None)

    def exchanges(self) -> list[Exchange]:
        return [] if self._exchange is None else [self._exchange]

    def begin(self, exchange: Exchange) -> None:
        """Send a request; there must be room."""
        self._exchange = exchange
        exchange.carrier = self
        self._head = True
        body = exchange.body
        length = b"Content-Length: %d\r\n" % len(body) if body or exchange.method in {"POST", "PUT", "PATCH"} else b""
        line = f"{exchange.method} {exchange.path} HTTP/1.1\r\n".encode()
        self._transport.write(b"%b%b%b\r\n%b" % (line, exchange.profile.headers, length, body))

    def cancel(self, exchange: Exchange, error: OSError) -> None:
        # There is no way to take a request back but to close.
        if self._exchange is exchange:
            self._exchange = None
            self._abort()
            exchange.finish(error)

    def read_on(self, exchange: Exchange, size: int) -> None:
        exchange.unread -= size
        if not self._reading and exchange.unread < _MAX_UNREAD and not self.closed:
            self._reading = True
            self._transport.resume_reading()

    def sweep(self, now_s: float) -> None:
        """HTTP/1.1 has no ping: time-outs of requests are all there is."""

    def close(self) -> None:
        self._abort()

    def abort(self) -> None:
        """Close at once, also when closing."""
        self.closed = True
        self._transport.abort()

    def _abort(self) -> None:
        if not self.closed:
            self.closed = True
            self._transport.abort()
            self._pool.gone(self)

    # -- the answer ----------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self.closed:
            return
        exchange = self._exchange
        if exchange is None:
            # Bytes that nobody asked for: whatever they are, the next answer could be mistaken.
            self._abort()
            return
        self._buffer += data
        try:
            while self._step(exchange):
                pass
        except (_Malformed, ValueError) as fault:
            self.cancel(exchange, ConnectionLost(f"the server does not speak HTTP/1.1 ({fault})"))

    def _step(self, exchange: Exchange) -> bool:
        """Take one thing out of the buffer; False when it is not complete yet, or the answer is."""
        if self._head:
            return self._step_head(exchange)
        if self._chunked and not self._need:
            return self._step_chunk_line(exchange)
        buffer = self._buffer
        if not buffer:
            return False
        size = len(buffer) if self._need < 0 else min(self._need, len(buffer))
        if self._chunked and self._need <= 2:
            # The line end after a chunk's data.
            del buffer[:size]
            self._need -= size
            return bool(buffer)
        if self._chunked:
            size = min(size, self._need - 2)
        data = bytes(buffer[:size])
        del buffer[:size]
        if self._need > 0:
            self._need -= size
        exchange.unread += size
        exchange.on_body(data)
        if self._exchange is None:
            return False
        if not self._need and not self._chunked:
            self._finish(exchange)
            return False
        if exchange.streaming and exchange.unread > _MAX_UNREAD and self._reading:
            self._reading = False
            self._transport.pause_reading()
        return bool(buffer)

    def _step_chunk_line(self, exchange: Exchange) -> bool:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            if len(self._buffer) > _MAX_LINE:
                raise _Malformed("a chunk's size is too long")
            return False
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        if self._trailers:
            if not line:
                self._finish(exchange)
                return False
            return True
        size = int(line.partition(b";")[0], 16)
        if size < 0:
            raise _Malformed("a negative chunk")
        if size:
            # With the line end that follows it.
            self._need = size + 2
        else:
            self._trailers = True
        return True

    def _step_head(self, exchange: Exchange) -> bool:
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(buffer) > _MAX_HEAD:
                raise _Malformed("a head that is too long")
            return False
        line, *rest = buffer[:end].decode("latin-1").split("\r\n")
        del buffer[: end + 4]
        match = _STATUS_LINE.fullmatch(line)
        if match is None:
            raise _Malformed(f"it began with {line[:60]!r}")
        pairs = [text.partition(":") for text in rest]
        fields = joined([(name.strip().lower(), value.strip()) for name, _, value in pairs])
        status = int(match[2])
        if status < 200:
            return True
        tokens = fields.get("connection", "").lower()
        self._keep = "close" not in tokens and (match[1] == "1" or "keep-alive" in tokens)
        self._head = self._trailers = False
        self._chunked = fields.get("transfer-encoding", "").lower() == "chunked"
        self._need = 0
        exchange.on_head(status, fields)
        if exchange.method == "HEAD" or status in {204, 304}:
            self._finish(exchange)
            return False
        if not self._chunked:
            length = fields.get("content-length")
            if length is None:
                self._need = -1
                self._keep = False
            elif not length.isdigit():
                raise _Malformed("a content-length that is no number")
            else:
                self._need = int(length)
                if not self._need:
                    self._finish(exchange)
                    return False
        return True

    def _finish(self, exchange: Exchange) -> None:
        self._exchange = None
        if self._buffer or not self._keep:
            self._abort()
        elif not self._reading:
            self._reading = True
            self._transport.resume_reading()
        exchange.finish()
        if not self.closed:
            self._pool.ready(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._pool.lost(self)
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        if not self._head and self._need < 0 and exc is None:
            # A body that ends with its connection.
            exchange.finish()
            return
        error = ConnectionLost(f"connection lost ({exc})" if exc else "connection closed by the server")
        self._pool.failed(exchange, error, unprocessed=False)
