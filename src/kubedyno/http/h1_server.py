"""The server's side of an HTTP/1.1 connection (RFC 9112).

One request at a time: what a client sends ahead waits in a bounded buffer until the answer before it is complete.
Whatever two parsers could read in two ways (a length and a chunked body, two lengths, folded lines) is refused,
and the connection with it. An upgrade makes the rest of a connection a tunnel of bytes, which is its last answer.
"""

import asyncio
import re
from enum import Enum, auto
from typing import TYPE_CHECKING, cast

from kubedyno.base.log import logger
from kubedyno.http.answers import head_of
from kubedyno.http.frames import PREFACE
from kubedyno.http.h1_exchange import Http1Exchange
from kubedyno.http.h2 import FLUSH_BYTES, TRANSPORT_BYTES
from kubedyno.http.h2_server import ServerConnection
from kubedyno.http.messages import Peer, Request

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
        self._exchange: Http1Exchange | None = None
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
            self.server.flush_soon(self)

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
            self.resume_input()
        if self._buffer and not self._parsing:
            # Not from inside the application's call.
            self._loop.call_soon(self._parse)

    def pause_input(self) -> None:
        """Let the client wait with what it sends."""
        if self._reading:
            self._reading = False
            self._transport.pause_reading()

    def resume_input(self) -> None:
        """Read on, if that was paused."""
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()

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
        if self._state is _State.ANSWERING and len(self._buffer) > _MAX_AHEAD:
            self.pause_input()

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
        exchange = self._exchange = Http1Exchange(
            self, self._method, self._fields, http10=self._http10, keep=self._keep
        )
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
