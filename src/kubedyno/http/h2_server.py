"""The server's side of an HTTP/2 connection: streams become requests, responders write answers."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from kubedyno.base.log import logger
from kubedyno.http.answers import block_of
from kubedyno.http.frames import (
    DEFAULT_TABLE_SIZE,
    DEFAULT_WINDOW,
    PREFACE,
    SETTINGS_INITIAL_WINDOW_SIZE,
    SETTINGS_MAX_CONCURRENT_STREAMS,
    SETTINGS_MAX_HEADER_LIST_SIZE,
    Code,
    goaway_frame,
    reset_frame,
    settings_frame,
    window_frame,
)
from kubedyno.http.h2 import ConnectionFault, H2Connection, H2Stream
from kubedyno.http.h2_exchange import Head, ServerStream
from kubedyno.http.hpack_codec import Decoder, Fields, HeaderError
from kubedyno.http.messages import Peer, Request

if TYPE_CHECKING:
    from kubedyno.http.server import Server

log = logger(__name__)

# Bytes of a client that is not heard for now which are read all the same.
_MOST_UNHEARD = 256 << 10
# What a stream may send past the largest body, so that a body that is a little too large gets its 413 at once.
_WINDOW_SLACK = 64 << 10
_MEMO_HEADERS = 256
# After a refusal the rest of a body is read and dropped for so long.
_LINGER_S = 2.0
# Fields that belong to a connection, which HTTP/2 frames itself (RFC 9113 §8.2.2).
_CONNECTION_FIELDS = frozenset({"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"})


class ServerConnection(H2Connection):
    """One client's connection."""

    def __init__(self, server: "Server", peer: Peer) -> None:
        limits = server.limits
        super().__init__(
            receive_window=limits.max_unread,
            max_block=limits.max_header_bytes,
            max_nuisances=limits.max_nuisances,
            nuisance_window_s=limits.nuisance_window_s,
        )
        self.server = server
        self.peer = peer
        self._limits = limits
        self._streams: dict[int, ServerStream] = {}
        self._last_id = 0
        self._unread = 0
        # Its last request had to wait: it sends more than is done, and others are heard first.
        self._ahead = False
        self._silenced = False
        self._draining = False
        self._preface = True
        self._shared_headers: dict[tuple[tuple[str, str], ...], Mapping[str, str]] = {}
        self._decoder = Decoder(self._head_of, DEFAULT_TABLE_SIZE, limits.max_header_bytes)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.server.add(self)
        limits = self._limits
        settings = {
            SETTINGS_MAX_CONCURRENT_STREAMS: limits.max_streams,
            SETTINGS_INITIAL_WINDOW_SIZE: limits.max_body + _WINDOW_SLACK,
            SETTINGS_MAX_HEADER_LIST_SIZE: limits.max_header_bytes,
        }
        self.emit(settings_frame(settings) + window_frame(0, limits.max_unread - DEFAULT_WINDOW))

    def data_received(self, data: bytes) -> None:
        if self._preface:
            data = self._buffer + data
            self._buffer = b""
            if not PREFACE.startswith(data[:24]):
                self.closed = True
                self.transport.abort()
                return
            if len(data) < 24:
                self._buffer = data
                return
            self._preface = False
            data = data[24:]
        if self._ahead and not self.resting and not self.server.hears:
            self.rest()
        super().data_received(data)
        if self.resting and len(self._buffer) > _MOST_UNHEARD:
            self._silenced = True
            self.transport.pause_reading()

    def rest(self) -> None:
        self.resting = True
        self.server.hear_later(self)

    def go_on(self) -> None:
        super().go_on()
        if self._silenced and not self.resting and not self.closed:
            self._silenced = False
            self.transport.resume_reading()

    def flush_soon(self) -> None:
        self.server.flush_soon(self)

    @property
    def open(self) -> int:
        """Streams that are open."""
        return len(self._streams)

    def flush(self) -> None:
        if self.server.before_write is not None:
            self.server.before_write()
        super().flush()

    def find_stream(self, stream_id: int) -> H2Stream | None:
        return self._streams.get(stream_id)

    def open_streams(self) -> list[H2Stream]:
        return list(self._streams.values())

    def last_stream_id(self) -> int:
        return self._last_id

    # -- requests ------------------------------------------------------------------------------------------------

    def _head_of(self, fields: Fields) -> Head:
        """Make a head of decoded fields; what is wrong with it is said in `malformed`."""
        method = path = scheme = authority = ""
        malformed = ""
        others: Fields = []
        for field in fields:
            name, value = field
            if name[:1] == ":":
                if others:
                    malformed = "a pseudo-header after a field"
                elif name == ":method" and not method:
                    method = value
                elif name == ":path" and not path:
                    path = value
                elif name == ":scheme" and not scheme:
                    scheme = value
                elif name == ":authority" and not authority:
                    authority = value
                else:
                    malformed = f"the pseudo-header {name}"
            elif not name or name != name.lower():
                malformed = "an upper-case or empty field name"
            elif name in _CONNECTION_FIELDS or (name == "te" and value != "trailers"):
                malformed = f"the field {name}"
            else:
                others.append(field)
        if not malformed and (not method or not path or not scheme):
            malformed = "no method, path or scheme"
        elif not malformed and path[0] != "/" and path != "*":
            # As net/http has it; "*" is what OPTIONS asks about the server itself.
            malformed = "a path that does not begin with a slash"
        if authority:
            others.append(("host", authority))
        key = tuple(others)
        headers = self._shared_headers.get(key)
        if headers is None:
            joined: dict[str, str] = {}
            for name, value in others:
                if name in joined:
                    if name != "host":
                        joined[name] += ("; " if name == "cookie" else ", ") + value
                    else:
                        joined[name] = value
                else:
                    joined[name] = value
            headers = joined
            if len(self._shared_headers) >= _MEMO_HEADERS:
                self._shared_headers.clear()
            self._shared_headers[key] = headers
        length = -1
        text = headers.get("content-length")
        if text is not None:
            if text.isascii() and text.isdigit() and len(text) < 16:
                length = int(text)
            else:
                malformed = "a content-length that is no number"
        path, _, query = path.partition("?")
        return Head(method, path, query, headers, length, malformed)

    def on_headers(self, stream_id: int, block: bytes, end: bool) -> None:
        try:
            head = self._decoder.decode(block)
        except HeaderError as error:
            raise ConnectionFault(Code.COMPRESSION_ERROR, str(error)) from error
        if stream_id <= self._last_id:
            # Trailers end a body; their fields mean nothing to an API server.
            stream = self._streams.get(stream_id)
            if stream is not None and not stream.started and not stream.refused:
                if not end:
                    raise ConnectionFault(Code.PROTOCOL_ERROR, "a second HEADERS that does not end its stream")
                self._dispatch(stream)
            else:
                self.nuisance()
            return
        if not stream_id & 1:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "an even stream id from a client")
        if self._draining:
            # Beyond the last stream that GOAWAY named: the client knows that it was not acted on.
            return
        self._last_id = stream_id
        if len(self._streams) >= self._limits.max_streams:
            self.nuisance()
            self.emit(reset_frame(stream_id, Code.REFUSED_STREAM))
            return
        if head.malformed:
            self.nuisance()
            self.emit(reset_frame(stream_id, Code.PROTOCOL_ERROR))
            return
        stream = ServerStream(self, stream_id, head)
        self._streams[stream_id] = stream
        if end:
            self._dispatch(stream)
        elif head.length > self._limits.max_body:
            self._refuse_body(stream)
        elif "expect" in head.headers and head.headers["expect"].lower() == "100-continue":
            block = block_of(100, b"", -1, ())
            self.send_headers(stream, block, end=False)

    def on_data(self, stream_id: int, data: bytes, counted: int, end: bool) -> None:  # noqa: ARG002 - the hook's signature
        stream = self._streams.get(stream_id)
        if stream is None or stream.started or stream.refused:
            if stream is not None and end and stream.ended and not stream.queued:
                self._streams.pop(stream_id, None)
            if stream_id > self._last_id and not self._draining:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "DATA on a stream that is not open")
            # Sent before the peer heard of our answer or reset.
            return
        if end and not stream.received:
            # The common case: the whole body in one frame.
            stream.received = len(data)
            if stream.received > self._limits.max_body:
                self._refuse_body(stream)
            else:
                self._dispatch(stream, data)
            return
        stream.add(data)
        self._unread += len(data)
        if stream.received > self._limits.max_body:
            self._refuse_body(stream)
        elif end:
            self._unread -= stream.received
            self._dispatch(stream, stream.body())
        elif self._unread > self._limits.max_unread:
            self._unread -= stream.received
            self.reset(stream, Code.ENHANCE_YOUR_CALM)

    def _refuse_body(self, stream: ServerStream) -> None:
        if stream.received and stream._chunks is not None:
            self._unread -= stream.received
        stream.body()
        stream.refused = True
        stream.opened_s = self.read_s
        content_type, body = self._limits.too_large
        stream.send(413, content_type, body)

    def _dispatch(self, stream: ServerStream, body: bytes | None = None) -> None:
        head = stream.head
        if body is None:
            self._unread -= stream.received if stream._chunks is not None else 0
            body = stream.body()
        if head.length >= 0 and head.length != len(body):
            self.reset(stream, Code.PROTOCOL_ERROR)
            return
        stream.started = True
        server = self.server
        server.pending += 1
        server.last_request_s = self.read_s
        try:
            server.app(Request(head.method, head.path, head.query, head.headers, body, self.peer), stream)
        except Exception:
            # The application's fault must not end the other streams of this connection.
            log.exception("%s %s failed", head.method, head.path)
            if stream.waiting:
                stream.send(500, b"text/plain; charset=utf-8", b"internal error\n")
            else:
                stream.abort()
        self._ahead = stream.waiting
        if self._ahead and not server.put_off():
            # Other sockets are looked at before the rest of what this client has sent at once.
            self.sated = True

    # -- ends ----------------------------------------------------------------------------------------------------

    def on_sent(self, stream: H2Stream) -> None:
        assert isinstance(stream, ServerStream)
        stream.wake_drains()
        if not stream.started:
            # Answered before the request was complete. A reset at once would hide the answer from some clients
            # (curl), so the rest is dropped for a while first; `sweep` ends it.
            return
        self._streams.pop(stream.id, None)
        if self._draining and not self._streams:
            self.loop.call_soon(self.end, Code.NO_ERROR, "", self._last_id)

    def on_reset(self, stream_id: int, code: int) -> None:  # noqa: ARG002 - the hook's signature
        stream = self._streams.pop(stream_id, None)
        if stream is not None:
            self._forget(stream)
        elif stream_id > self._last_id:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "RST_STREAM on a stream that is not open")

    def reset(self, stream: ServerStream, code: Code) -> None:
        """End a stream with an error."""
        if self._streams.pop(stream.id, None) is not None:
            self.emit(reset_frame(stream.id, code))
            self._forget(stream)

    def _forget(self, stream: ServerStream) -> None:
        if stream._chunks is not None:
            self._unread -= stream.received
        stream.lost()
        if self._draining and not self._streams:
            self.loop.call_soon(self.end, Code.NO_ERROR, "", self._last_id)

    def on_goaway(self, last_stream_id: int, code: int, text: str) -> None:
        """The client opens no more streams; it closes when it has its answers."""

    def on_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - the hook's signature
        self.server.remove(self)
        streams = list(self._streams.values())
        self._streams.clear()
        for stream in streams:
            stream.lost()

    def shut_down(self) -> None:
        """Take no new requests; close when those under way are answered."""
        if self.closed or self._draining:
            return
        self._draining = True
        self.emit(goaway_frame(self._last_id, Code.NO_ERROR, "shutting down"))
        if not self._streams:
            self.loop.call_soon(self.end, Code.NO_ERROR, "", self._last_id)

    def abort(self) -> None:
        """Close at once."""
        if not self.closed:
            self.end(Code.NO_ERROR, "", self._last_id)
            self.transport.abort()

    def sweep(self, now_s: float) -> None:
        """End what takes too long; called once in a while."""
        limits = self._limits
        if not self._settled or self._block is not None:
            if now_s - (self.block_s if self._settled else self.opened_s) > limits.head_timeout_s:
                self.end(Code.SETTINGS_TIMEOUT, "no complete head in time", self._last_id)
            return
        if not self._streams:
            if now_s - self.read_s > limits.idle_timeout_s:
                self.end(Code.NO_ERROR, "idle", self._last_id)
            return
        waiting = [stream for stream in self._streams.values() if not stream.started]
        for stream in waiting:
            age_s = now_s - stream.opened_s
            if stream.refused:
                if age_s > _LINGER_S:
                    self.reset(stream, Code.NO_ERROR)
                continue
            if age_s <= limits.request_timeout_s:
                continue
            stream.refused = True
            stream.opened_s = now_s
            stream.send(408, b"text/plain; charset=utf-8", b"the request's body did not arrive in time\n")
