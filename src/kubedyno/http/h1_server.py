"""The server's side of an HTTP/1.1 connection (RFC 9112).

One request at a time: what a client sends ahead waits in a bounded buffer until the answer before it is complete.
Whatever two parsers could read in two ways (a length and a chunked body, two lengths, folded lines) is refused,
and the connection with it. An upgrade makes the rest of a connection a tunnel of bytes, which is its last answer.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import TYPE_CHECKING, cast

from kubedyno.base import aio
from kubedyno.base.log import logger
from kubedyno.http.answers import bodiless, head_of, switching_head
from kubedyno.http.frames import PREFACE
from kubedyno.http.h2 import FLUSH_BYTES, TRANSPORT_BYTES
from kubedyno.http.h2_server import ServerConnection
from kubedyno.http.messages import Headers, Peer, Request, Stream, Tunnel

if TYPE_CHECKING:
    from kubedyno.http.server import Server

log = logger(__name__)

_WORD = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rf"({_WORD}) ([\x21-\x7e\x80-\xff]+) HTTP/(\d)\.(\d)")
# Scheme and authority of an absolute form.
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
_FIELD = re.compile(rf"({_WORD}):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?")
# A chunk's size line with its extensions.
_MAX_CHUNK_LINE = 1024
# Read ahead of the request under way; past this the connection is not read.
_MAX_AHEAD = 64 << 10
# After a refusal the rest of a request is read and dropped for so long, so that the answer is not lost to a reset.
_LINGER_S = 2.0
_PLAIN = b"text/plain; charset=utf-8"


class _State(Enum):
    HEAD = auto()
    BODY = auto()
    CHUNK_SIZE = auto()
    CHUNK = auto()
    TRAILERS = auto()
    ANSWERING = auto()
    TUNNEL = auto()
    CLOSING = auto()


# Nothing of a request is read in these.
_WITHOUT_REQUEST = frozenset({_State.ANSWERING, _State.TUNNEL, _State.CLOSING})


class _Refused(Exception):
    """The request is not acted on; the connection ends after this answer."""

    def __init__(self, status: int, text: str, content_type: bytes | str = _PLAIN, body: bytes | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.content_type = content_type
        self.body = f"{status}: {text}\n".encode() if body is None else body


class _Exchange:
    """One request's answer: what the application sees as Responder, then as Stream."""

    __slots__ = (
        "_answered",
        "_chunked",
        "_closed",
        "_connection",
        "_drains",
        "_fields",
        "_http10",
        "_id",
        "_keep",
        "_method",
        "_on_data",
        "held",
        "held_bytes",
        "on_close",
    )

    def __init__(
        self, connection: "Http1Connection", method: str, fields: Mapping[str, str], *, http10: bool, keep: bool
    ) -> None:
        self._connection = connection
        self._method = method
        self._fields = fields
        self._id = b""
        self._http10 = http10
        self._keep = keep
        self._answered = False
        self._chunked = False
        self._closed = False
        self._drains: list[tuple[int, asyncio.Future[None]]] = []
        # Written while the transport was full. Invariant: held_bytes is what `held` weighs.
        self.held: list[bytes] = []
        self.held_bytes = 0
        self.on_close: Callable[[], None] | None = None
        self._on_data: Callable[[bytes], None] | None = None

    @property
    def on_data(self) -> Callable[[bytes], None] | None:
        return self._on_data

    @on_data.setter
    def on_data(self, call: Callable[[bytes], None] | None) -> None:
        self._on_data = call
        if call is not None:
            self._connection.deliver_soon()

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def buffered(self) -> int:
        return self.held_bytes

    @property
    def waiting(self) -> bool:
        return not self._answered and not self._closed

    def expire(self, status: int, content_type: bytes | str, body: bytes, headers: Headers = ()) -> None:
        if self._answered:
            self.abort()
        elif not self._closed:
            self.send(status, content_type, body, headers)
            # What comes now is too late, and no mistake.
            self._answered = False

    @property
    def answer_id(self) -> str:
        self._stamp()
        return self._id.decode()

    def _stamp(self) -> bytes:
        """Return the fields that no two answers share."""
        stamps = self._connection.server.stamps
        if stamps is None:
            return b""
        self._id = self._id or stamps.id_of(self._fields)
        return stamps.lines(self._id)

    def _begin(self) -> bool:
        if self._answered:
            raise RuntimeError("a request is answered twice")
        if self._closed:
            return False
        self._answered = True
        self._connection.server.pending -= 1
        return True

    def _connection_field(self) -> bytes:
        if not self._keep:
            return b"Connection: close\r\n\r\n"
        return b"Connection: keep-alive\r\n\r\n" if self._http10 else b"\r\n"

    def send(self, status: int, content_type: bytes | str, body: bytes, headers: Headers = ()) -> None:
        if not self._begin():
            return
        self._closed = True
        head = head_of(status, content_type, len(body), headers) + self._stamp() + self._connection_field()
        if self._method == "HEAD" or bodiless(status):
            body = b""
        self._connection.emit(head + body)
        self._connection.answered(self._keep)

    def start(self, status: int, content_type: bytes | str, headers: Headers = ()) -> Stream:
        if self._begin():
            head = head_of(status, content_type, -1, headers) + self._stamp()
            empty = self._method == "HEAD" or bodiless(status)
            if self._http10:
                # Its end is the connection's end.
                self._keep = False
            elif not bodiless(status):
                self._chunked = not empty
                head += b"Transfer-Encoding: chunked\r\n"
            self._connection.emit(head + self._connection_field())
            if empty:
                self._closed = True
                self._connection.answered(self._keep)
        return self

    def upgrade(self, headers: Headers) -> Tunnel | None:
        if self._http10 or not self._begin():
            return None
        # Its end is the connection's end.
        self._keep = False
        self._connection.emit(switching_head(headers))
        self._connection.tunnel()
        return self

    def write(self, data: bytes) -> None:
        if self._closed or not data:
            return
        self._put(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def _put(self, data: bytes) -> None:
        if self._connection.paused or self.held:
            self.held.append(data)
            self.held_bytes += len(data)
        else:
            self._connection.emit(data)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._chunked:
            self._put(b"0\r\n\r\n")
        if not self.held:
            self._connection.answered(self._keep)

    def resume(self) -> None:
        """Write what was held back, as far as the transport takes it."""
        taken = 0
        for data in self.held:
            if self._connection.paused:
                break
            taken += 1
            self.held_bytes -= len(data)
            self._connection.emit(data)
        del self.held[:taken]
        self._wake()
        if self._closed and not self.held:
            self._connection.answered(self._keep)

    def _wake(self) -> None:
        still = []
        for limit, future in self._drains:
            if self.held_bytes > limit and not self._closed:
                still.append((limit, future))
            elif not future.done():
                future.set_result(None)
        self._drains = still

    def abort(self) -> None:
        if not self._closed:
            self._connection.abort()

    async def drain(self, limit: int) -> None:
        await aio.sleep(0)
        if self.held_bytes > limit and not self._closed:
            future = asyncio.get_running_loop().create_future()
            self._drains.append((limit, future))
            await future

    def lost(self) -> None:
        self.held.clear()
        self.held_bytes = 0
        if not self._closed:
            self._closed = True
            if not self._answered:
                self._connection.server.pending -= 1
            call = self.on_close
            if call is not None:
                self.on_close = None
                call()
        self._wake()


class Http1Connection(asyncio.Protocol):
    """One client's connection.

    Args:
        may_upgrade: An HTTP/2 preface turns this into an HTTP/2 connection.
    """

    def __init__(self, server: "Server", peer: Peer, *, may_upgrade: bool) -> None:
        self.server = server
        self.peer = peer
        self.paused = False
        self._limits = server.limits
        self._loop = asyncio.get_running_loop()
        self._may_upgrade = may_upgrade
        self._transport: asyncio.Transport
        self._buffer = bytearray()
        self._state = _State.HEAD
        self._since_s = self._loop.time()
        self._exchange: _Exchange | None = None
        self._parsing = False
        self._reading = True
        self._shutting_down = False
        self._closed = False
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._armed = False
        # Of the request that is arriving.
        self._scanned = 0
        self._method = self._target = ""
        self._fields: dict[str, str] = {}
        self._http10 = self._keep = False
        self._need = 0
        self._body = bytearray()

    # -- asyncio's side ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the interface, not the base class.
        transport = cast("asyncio.Transport", transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=TRANSPORT_BYTES)
        self.server.add(self)

    def data_received(self, data: bytes) -> None:
        if self._state is _State.CLOSING:
            return
        if self._may_upgrade and self._upgrade(data):
            return
        if self._state is _State.HEAD and not self._buffer:
            self._since_s = self._loop.time()
        self._buffer += data
        self._armed = True
        try:
            if self._state is _State.TUNNEL:
                self._deliver()
            else:
                self._parse()
        finally:
            self.flush()

    def eof_received(self) -> bool:
        # A client that has sent its request and shut its half down still gets its answer.
        return self._state is _State.ANSWERING

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self._exchange is not None:
            self._exchange.resume()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._closed = True
        self._state = _State.CLOSING
        self.server.remove(self)
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.lost()

    def _upgrade(self, data: bytes) -> bool:
        """Hand over to HTTP/2 once its preface is complete; True while that is possible."""
        seen = bytes(self._buffer) + data
        if not PREFACE.startswith(seen[: len(PREFACE)]):
            self._may_upgrade = False
            return False
        if len(seen) < len(PREFACE):
            self._buffer += data
            return True
        self.server.remove(self)
        protocol = ServerConnection(self.server, self.peer)
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        protocol.data_received(seen)
        return True

    # -- sending -------------------------------------------------------------------------------------------------

    def emit(self, data: bytes) -> None:
        """Write with the rest of this turn of the loop."""
        self._out.append(data)
        self._out_bytes += len(data)
        if self._out_bytes >= FLUSH_BYTES:
            self.flush()
        elif not self._armed:
            self._armed = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        self._armed = False
        out = self._out
        if out:
            self._out = []
            self._out_bytes = 0
            if self.server.before_write is not None:
                self.server.before_write()
            if not self._closed:
                self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    def answered(self, keep: bool) -> None:
        """The answer is complete: go on with the next request, or close."""
        self._exchange = None
        self._since_s = self._loop.time()
        if not keep or self._shutting_down:
            self._close()
            return
        self._state = _State.HEAD
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()
        if self._buffer and not self._parsing:
            # Not from inside the application's call.
            self._loop.call_soon(self._parse)

    # -- a tunnel ------------------------------------------------------------------------------------------------

    def tunnel(self) -> None:
        """The protocol has been switched: what arrives is the exchange's from now on."""
        self._state = _State.TUNNEL

    def deliver_soon(self) -> None:
        """Somebody takes what has arrived, though not from inside the application's call."""
        if self._buffer:
            self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        """Give what has arrived to the tunnel's user, or keep a little until there is one."""
        exchange, buffer = self._exchange, self._buffer
        if self._state is not _State.TUNNEL or exchange is None:
            return
        call = exchange.on_data
        if call is None:
            if len(buffer) > _MAX_AHEAD:
                self.abort()
            return
        if buffer:
            data = bytes(buffer)
            buffer.clear()
            try:
                call(data)
            except Exception:
                log.exception("a tunnel failed")
                self.abort()

    def _close(self) -> None:
        self.flush()
        self._state = _State.CLOSING
        if not self._closed:
            self._closed = True
            self._transport.close()

    def _refuse(self, refused: _Refused) -> None:
        log.debug("request refused: %s", refused)
        head = head_of(refused.status, refused.content_type, len(refused.body), ())
        self.emit(head + b"Connection: close\r\n\r\n" + refused.body)
        self._state = _State.CLOSING
        self._since_s = self._loop.time()
        self._buffer.clear()

    # -- parsing -------------------------------------------------------------------------------------------------

    def _parse(self) -> None:
        """Act on what is in the buffer, until a request is with the application or more bytes are needed."""
        if self._parsing:
            return
        self._parsing = True
        try:
            while self._state not in _WITHOUT_REQUEST:
                if not self._step():
                    break
        except _Refused as refused:
            self._refuse(refused)
        finally:
            self._parsing = False
        if self._state is _State.ANSWERING and len(self._buffer) > _MAX_AHEAD and self._reading:
            self._reading = False
            self._transport.pause_reading()

    def _step(self) -> bool:
        """Take one thing out of the buffer; False when it is not complete yet."""
        buffer = self._buffer
        state = self._state
        if state is _State.HEAD:
            return self._step_head()
        if state is _State.BODY:
            if len(buffer) < self._need:
                return False
            self._body = buffer[: self._need]
            del buffer[: self._need]
            self._dispatch()
            return True
        if state is _State.CHUNK:
            if len(buffer) < self._need + 2:
                return False
            if buffer[self._need : self._need + 2] != b"\r\n":
                raise _Refused(400, "a chunk that is longer than it says")
            self._body += buffer[: self._need]
            del buffer[: self._need + 2]
            self._state = _State.CHUNK_SIZE
            return True
        end = buffer.find(b"\r\n", 0, _MAX_CHUNK_LINE)
        if end < 0:
            if len(buffer) > _MAX_CHUNK_LINE:
                raise _Refused(400, "a chunk size or trailer that is too long")
            return False
        line = bytes(buffer[:end])
        del buffer[: end + 2]
        if state is _State.TRAILERS:
            self._need += len(line)
            if self._need > self._limits.max_header_bytes:
                raise _Refused(431, "trailers that are too long")
            if not line:
                self._dispatch()
            return True
        match = _CHUNK_SIZE.fullmatch(line)
        if match is None:
            raise _Refused(400, "a chunk size that is no number")
        self._need = int(match[1], 16)
        if len(self._body) + self._need > self._limits.max_body:
            raise self._too_large()
        if self._need:
            self._state = _State.CHUNK
        else:
            self._state = _State.TRAILERS
        return True

    def _too_large(self) -> _Refused:
        content_type, body = self._limits.too_large
        return _Refused(413, "a body that is too large", content_type, body)

    def _step_head(self) -> bool:
        buffer = self._buffer
        # Empty lines before a request are ignored (RFC 9112 §2.2).
        while buffer.startswith(b"\r\n"):
            del buffer[:2]
            self._scanned = 0
        end = buffer.find(b"\r\n\r\n", max(0, self._scanned - 3))
        if end < 0 or end > self._limits.max_header_bytes:
            self._scanned = len(buffer)
            if max(end, len(buffer)) > self._limits.max_header_bytes:
                raise _Refused(431, "a head that is too long")
            return False
        self._scanned = 0
        head = buffer[:end].decode("latin-1")
        del buffer[: end + 4]
        line, *rest = head.split("\r\n")
        self._take_head(line, rest)
        return True

    def _take_head(self, line: str, lines: list[str]) -> None:
        match = _REQUEST_LINE.fullmatch(line)
        if match is None:
            raise _Refused(400, "a malformed request line")
        method, target, major, minor = match.groups()
        if major != "1":
            raise _Refused(505, "only HTTP/1.1 and HTTP/2 are spoken here")
        if target[:1] != "/" and target != "*" and not _ABSOLUTE.match(target):
            raise _Refused(400, "a malformed request target")
        fields: dict[str, str] = {}
        for text in lines:
            field = _FIELD.fullmatch(text)
            if field is None:
                raise _Refused(400, "a malformed header")
            name = field[1].lower()
            value = field[2].rstrip(" \t")
            if name in fields:
                if name in {"content-length", "host", "transfer-encoding"}:
                    raise _Refused(400, f"{name} is given twice")
                value = fields[name] + ("; " if name == "cookie" else ", ") + value
            fields[name] = value
        self._http10 = minor == "0"
        if not self._http10 and "host" not in fields:
            raise _Refused(400, "no host")
        tokens = {token.strip().lower() for token in fields.get("connection", "").split(",")}
        self._keep = "close" not in tokens and (not self._http10 or "keep-alive" in tokens)
        self._method = method
        self._target = target
        self._fields = fields
        self._body = bytearray()
        self._take_framing(fields)

    def _take_framing(self, fields: dict[str, str]) -> None:
        """Find out how the body ends."""
        coding = fields.get("transfer-encoding")
        length = fields.get("content-length")
        if coding is not None:
            if length is not None or self._http10:
                raise _Refused(400, "transfer-encoding beside a content-length, or in HTTP/1.0")
            if coding.lower() != "chunked":
                raise _Refused(501, "a transfer-encoding other than chunked")
            self._state = _State.CHUNK_SIZE
        elif length is not None:
            if not (length.isascii() and length.isdigit()) or len(length) > 15:
                raise _Refused(400, "a content-length that is no number")
            self._need = int(length)
            if self._need > self._limits.max_body:
                raise self._too_large()
            if not self._need:
                self._dispatch()
                return
            self._state = _State.BODY
        else:
            self._dispatch()
            return
        expectation = fields.get("expect")
        if expectation is not None:
            if expectation.lower() != "100-continue":
                raise _Refused(417, "an expectation that cannot be met")
            if not self._buffer:
                self.emit(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _dispatch(self) -> None:
        target = self._target
        if target[:1] != "/" and target != "*":
            # A proxy's absolute form (RFC 9112 §3.2.2).
            target = _ABSOLUTE.sub("", target)
            target = target if target[:1] == "/" else f"/{target}"
        path, _, query = target.partition("?")
        body = bytes(self._body)
        self._body = bytearray()
        self._state = _State.ANSWERING
        self._since_s = self._loop.time()
        exchange = self._exchange = _Exchange(self, self._method, self._fields, http10=self._http10, keep=self._keep)
        server = self.server
        server.pending += 1
        server.last_request_s = self._since_s
        try:
            server.app(Request(self._method, path, query, self._fields, body, self.peer), exchange)
        except Exception:
            log.exception("%s %s failed", self._method, path)
            if exchange.waiting:
                exchange.send(500, _PLAIN, b"internal error\n")
            else:
                exchange.abort()

    # -- the server's side ---------------------------------------------------------------------------------------

    @property
    def open(self) -> int:
        """Requests under way: one, or none."""
        return int(self._exchange is not None)

    def shut_down(self) -> None:
        self._shutting_down = True
        if self._exchange is None:
            self._close()

    def abort(self) -> None:
        """Close at once; an answer under way is cut off."""
        self._state = _State.CLOSING
        self._closed = True
        self._transport.abort()

    def sweep(self, now_s: float) -> None:
        limits = self._limits
        waited_s = now_s - self._since_s
        state = self._state
        if state is _State.HEAD:
            if waited_s > (limits.head_timeout_s if self._buffer else limits.idle_timeout_s):
                self._close()
        elif state is _State.CLOSING:
            if waited_s > _LINGER_S:
                self._close()
        elif state not in _WITHOUT_REQUEST and waited_s > limits.request_timeout_s:
            self._refuse(_Refused(408, "the body did not arrive in time"))
