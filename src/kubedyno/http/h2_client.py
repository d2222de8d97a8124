"""The client's side of an HTTP/2 connection.

Our SETTINGS forbid the server a dynamic table, so once it has acknowledged them a header block stands for itself:
the status is read from its first bytes and the rest is decoded only if somebody asks.
"""

import asyncio
from typing import TYPE_CHECKING

from kubedyno.http.exchange import ConnectionLost, Exchange, fields_of, joined
from kubedyno.http.frames import (
    DEFAULT_TABLE_SIZE,
    DEFAULT_WINDOW,
    MAX_WINDOW,
    PING,
    PREFACE,
    SETTINGS_ENABLE_PUSH,
    SETTINGS_HEADER_TABLE_SIZE,
    SETTINGS_INITIAL_WINDOW_SIZE,
    SETTINGS_MAX_FRAME_SIZE,
    Code,
    code_name,
    frame,
    reset_frame,
    settings_frame,
    window_frame,
)
from kubedyno.http.h2 import ConnectionFault, H2Connection, H2Stream
from kubedyno.http.hpack_codec import Decoder, HeaderError

if TYPE_CHECKING:
    from kubedyno.http.client import Pool

# What the server may send ahead on one stream: a slow reader of a watch holds at most this much.
_STREAM_WINDOW = 4 << 20
_FRAME = 64 << 10
_MAX_BLOCK = 1 << 20
_LAST_STREAM_ID = 2**31 - 1
# A silent connection with requests under way is asked whether it lives, as client-go does.
_PING_AFTER_S = 30.0
_PING_TIMEOUT_S = 15.0
_MAX_NUISANCES = 20_000
_NUISANCE_WINDOW_S = 10.0

_INDEXED_STATUS = {0x88: 200, 0x89: 204, 0x8A: 206, 0x8B: 304, 0x8C: 400, 0x8D: 404, 0x8E: 500}
# Literal first fields seen, e.g. b"\x08\x03201" and its Huffman form; there are few.
_literal_status: dict[bytes, int] = {}
_MAX_LITERALS = 4096


def status_of(block: bytes) -> int:
    """Return the status of an answer's header block that needs no dynamic table.

    Raises:
        HeaderError: It is malformed, or has no status.
    """
    start = 1 if block[:1] == b"\x20" else 0
    if len(block) < start + 2:
        status = _INDEXED_STATUS.get(block[start]) if len(block) > start else None
        if status is None:
            raise HeaderError("an answer without a status")
        return status
    first = block[start]
    if first & 0x80:
        status = _INDEXED_STATUS.get(first)
        if status is not None:
            return status
    key = block[start : start + 2 + (block[start + 1] & 0x7F)]
    status = _literal_status.get(key)
    if status is None:
        text = fields_of(block).get(":status", "")
        if len(text) != 3 or not text.isdigit():
            raise HeaderError("an answer without a status")
        status = int(text)
        # Names 8 to 14 of the static table are `:status`, in each of the three literal forms.
        if len(_literal_status) < _MAX_LITERALS and 8 <= first & 0x0F <= 14 and first >> 4 in {0, 1, 4}:
            _literal_status[key] = status
    return status


class ClientConnection(H2Connection):
    """One connection to a server, up to `max_streams` requests at once."""

    def __init__(self, pool: "Pool", max_streams: int) -> None:
        super().__init__(
            receive_window=MAX_WINDOW,
            max_frame=_FRAME,
            max_block=_MAX_BLOCK,
            max_nuisances=_MAX_NUISANCES,
            nuisance_window_s=_NUISANCE_WINDOW_S,
        )
        self._pool = pool
        self._max_streams = max_streams
        self._streams: dict[int, Exchange] = {}
        self._next_id = 1
        self._draining = False
        self._decoder: Decoder[dict[str, str]] | None = Decoder(joined, DEFAULT_TABLE_SIZE, _MAX_BLOCK)
        self._ping_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        settings = {
            SETTINGS_HEADER_TABLE_SIZE: 0,
            SETTINGS_ENABLE_PUSH: 0,
            SETTINGS_INITIAL_WINDOW_SIZE: _STREAM_WINDOW,
            SETTINGS_MAX_FRAME_SIZE: _FRAME,
        }
        self.emit(PREFACE + settings_frame(settings) + window_frame(0, MAX_WINDOW - DEFAULT_WINDOW))

    # -- the pool's side -----------------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """How many more requests it takes now."""
        # Before its SETTINGS nobody knows how many streams the server takes.
        if self._draining or self.closed or not self._settled:
            return 0
        return min(self._max_streams, self.peer_streams) - len(self._streams)

    @property
    def alive(self) -> bool:
        """False when it takes no more requests, ever."""
        return not (self._draining or self.closed)

    @property
    def open(self) -> int:
        """Requests under way."""
        return len(self._streams)

    def exchanges(self) -> list[Exchange]:
        """Return what is under way."""
        return list(self._streams.values())

    def begin(self, exchange: Exchange) -> None:
        """Send a request; there must be room."""
        stream_id = self._next_id
        self._next_id = stream_id + 2
        if self._next_id > _LAST_STREAM_ID:
            self._draining = True
        exchange.id = stream_id
        exchange.send_window = self.peer_window
        exchange.carrier = self
        self._streams[stream_id] = exchange
        block = exchange.profile.block(exchange.method, exchange.path)
        body = exchange.body
        size = len(body)
        if (
            0 < size <= 16384
            and size <= self.send_window
            and size <= exchange.send_window
            and not self.paused
            and not self.first_block
            and len(block) <= 16384
        ):
            # The common request in one piece: HEADERS, and DATA with END_STREAM.
            self.send_window -= size
            id4 = stream_id.to_bytes(4, "big")
            self.emit(
                b"%b\1\4%b%b%b\0\1%b%b"
                % (len(block).to_bytes(3, "big"), id4, block, size.to_bytes(3, "big"), id4, body)
            )
            exchange.ended = True
            return
        self.send_headers(exchange, block, end=not size)
        if size:
            self.send_data(exchange, body, end=True)

    def cancel(self, exchange: Exchange, error: OSError) -> None:
        if self._streams.pop(exchange.id, None) is not None:
            self.emit(reset_frame(exchange.id, Code.CANCEL))
            exchange.drop_queue()
            exchange.finish(error)
            self._after()

    def read_on(self, exchange: Exchange, size: int) -> None:
        exchange.unread += size
        if exchange.unread > _STREAM_WINDOW >> 1 and exchange.id in self._streams:
            self.emit(window_frame(exchange.id, exchange.unread))
            exchange.unread = 0

    def sweep(self, now_s: float) -> None:
        """Ask a silent server whether it lives."""
        if self.closed or not self._streams:
            return
        if self._ping_s:
            if self.read_s >= self._ping_s:
                self._ping_s = 0.0
            elif now_s - self._ping_s > _PING_TIMEOUT_S:
                self._lose(ConnectionLost("the server has stopped answering"))
        elif now_s - self.read_s > _PING_AFTER_S:
            self._ping_s = now_s
            self.emit(frame(PING, 0, 0, b"kubedyno"))

    def close(self) -> None:
        """Close; what is under way is lost."""
        self.end(Code.NO_ERROR)

    def abort(self) -> None:
        """Close at once, also when closing."""
        self.closed = True
        self.transport.abort()

    # -- hooks ---------------------------------------------------------------------------------------------------

    def find_stream(self, stream_id: int) -> H2Stream | None:
        return self._streams.get(stream_id)

    def open_streams(self) -> list[H2Stream]:
        return list(self._streams.values())

    def on_settings(self) -> None:
        self._pool.ready(self)

    def on_settings_ack(self) -> None:
        self._decoder = None

    def on_headers(self, stream_id: int, block: bytes, end: bool) -> None:
        exchange = self._streams.get(stream_id)
        fields: bytes | dict[str, str] = block
        try:
            if self._decoder is not None:
                # Until the server knows our table size, blocks may depend on one another: all must be decoded.
                fields = self._decoder.decode(block)
            if exchange is None:
                return
            if not exchange.status:
                status = status_of(block) if isinstance(fields, bytes) else int(fields.get(":status", ""))
                if status < 200:
                    return
                exchange.on_head(status, fields)
        except (HeaderError, ValueError) as error:
            raise ConnectionFault(Code.COMPRESSION_ERROR, str(error)) from error
        if end:
            self._finish(exchange)

    def on_data(self, stream_id: int, data: bytes, counted: int, end: bool) -> None:
        exchange = self._streams.get(stream_id)
        if exchange is None:
            return
        if not exchange.status:
            self.cancel(exchange, ConnectionLost("an answer whose body comes before its head"))
            return
        if end and not exchange.streaming and exchange.chunks is None:
            # The common case: the whole body in one frame.
            exchange.chunks = [data]
            self._finish(exchange)
            return
        # Padding is credited at once: nobody will read it.
        exchange.unread += counted - len(data)
        exchange.on_body(data)
        if end:
            self._finish(exchange)

    def _finish(self, exchange: Exchange) -> None:
        if self._streams.pop(exchange.id, None) is None:
            return
        if not exchange.ended or exchange.queued:
            # Answered before the request was sent completely: it is not needed any more.
            exchange.drop_queue()
            exchange.ended = False
            self.emit(reset_frame(exchange.id, Code.NO_ERROR))
        exchange.finish()
        self._after()

    def _after(self) -> None:
        """Use the room that an exchange has left."""
        if self._draining:
            if not self._streams:
                self.loop.call_soon(self.end, Code.NO_ERROR)
        else:
            self._pool.ready(self)

    def on_sent(self, stream: H2Stream) -> None:
        """The request has left completely; its answer is awaited."""

    def on_reset(self, stream_id: int, code: int) -> None:
        exchange = self._streams.pop(stream_id, None)
        if exchange is None:
            return
        exchange.drop_queue()
        error = ConnectionLost(f"the server has reset the request ({code_name(code)})")
        self._pool.failed(exchange, error, unprocessed=code == Code.REFUSED_STREAM)
        self._after()

    def on_goaway(self, last_stream_id: int, code: int, text: str) -> None:
        self._draining = True
        self._pool.gone(self)
        error = ConnectionLost(f"the server is going away ({code_name(code)}{', ' if text else ''}{text})")
        for stream_id in [found for found in self._streams if found > last_stream_id]:
            exchange = self._streams.pop(stream_id)
            exchange.drop_queue()
            self._pool.failed(exchange, error, unprocessed=True)
        self._after()

    def _lose(self, error: OSError) -> None:
        """Give the connection up at once."""
        self.closed = True
        self.transport.abort()
        self._fail_all(error)

    def _fail_all(self, error: OSError) -> None:
        self._pool.gone(self)
        lost = list(self._streams.values())
        self._streams.clear()
        for exchange in lost:
            exchange.drop_queue()
            self._pool.failed(exchange, error, unprocessed=False)

    def on_lost(self, error: Exception | None) -> None:
        self._pool.lost(self)
        self._fail_all(ConnectionLost(f"connection lost ({error})" if error else "connection closed by the server"))
