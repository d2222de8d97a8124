"""SPDY/3.1's framing without I/O, as Kubernetes' clients speak it: for exec, attach and port forwarding.

Bytes go into `Framer.receive` and come out as frames; the `…_frame` methods return bytes to send. Header blocks are
one zlib stream for each direction, so a framer belongs to one connection, and its frames are made in the order in
which they are sent. Whatever the other end does wrong is one `SpdyError`.

https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/
"""

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

VERSION = 3
_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _HEADERS, _WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
_CONTROL = 0x80
_FIN, _UNIDIRECTIONAL = 0x01, 0x02
_ID = 0x7FFFFFFF
# Of one frame's payload: a data frame of Kubernetes' clients is a few kilobytes, its length field holds 16 MiB.
MAX_FRAME = 1 << 20
# Of a header block, compressed and not; 64 KiB is what HTTP requests get too.
MAX_HEADERS = 64 << 10

# The words that every compressor begins with (§2.6.10.1), each after its length in four bytes …
_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status"
)
_MORE_WORDS = ("200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin")
# … and a text of what is frequent.
_TEXT = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden"
    "404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,"
    "publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = (
    b"".join(struct.pack(">I", len(word)) + word.encode() for word in (*_WORDS.split(), *_MORE_WORDS)) + _TEXT.encode()
)


class ResetCode(IntEnum):
    """Why a stream is reset (§2.6.3)."""

    PROTOCOL_ERROR = 1
    INVALID_STREAM = 2
    REFUSED_STREAM = 3
    UNSUPPORTED_VERSION = 4
    CANCEL = 5
    INTERNAL_ERROR = 6
    FLOW_CONTROL_ERROR = 7
    STREAM_IN_USE = 8
    STREAM_ALREADY_CLOSED = 9
    FRAME_TOO_LARGE = 11


class SpdyError(Exception):
    """The other end broke the protocol, or a limit: the connection ends."""


@dataclass(frozen=True, slots=True)
class SynStream:
    """The other end begins a stream."""

    stream_id: int
    headers: Mapping[str, str] = field(default_factory=dict)
    fin: bool = False
    unidirectional: bool = False
    associated_id: int = 0
    priority: int = 0


@dataclass(frozen=True, slots=True)
class SynReply:
    """The other end accepts a stream."""

    stream_id: int
    headers: Mapping[str, str] = field(default_factory=dict)
    fin: bool = False


@dataclass(frozen=True, slots=True)
class HeadersFrame:
    """More headers of a stream."""

    stream_id: int
    headers: Mapping[str, str] = field(default_factory=dict)
    fin: bool = False


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of a stream."""

    stream_id: int
    data: bytes
    fin: bool = False


@dataclass(frozen=True, slots=True)
class Reset:
    """A stream ends broken."""

    stream_id: int
    code: int


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings by their number."""

    values: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Ping:
    """To be sent back as it is."""

    ping_id: int


@dataclass(frozen=True, slots=True)
class GoAway:
    """The other end begins no more streams, and takes none."""

    last_stream_id: int
    code: int


@dataclass(frozen=True, slots=True)
class WindowUpdate:
    """The other end takes so many bytes more; stream 0 is the connection."""

    stream_id: int
    delta: int


Frame = SynStream | SynReply | HeadersFrame | Data | Reset | Settings | Ping | GoAway | WindowUpdate


class Framer:
    """Both directions of one connection."""

    __slots__ = ("_buffer", "_deflate", "_failed", "_inflate", "_max_frame")

    def __init__(self, *, max_frame: int = MAX_FRAME) -> None:
        self._buffer = bytearray()
        self._failed: SpdyError | None = None
        self._max_frame = max_frame
        self._deflate = zlib.compressobj(zdict=DICTIONARY)
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)

    # --- what arrives ------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> tuple[list[Frame], SpdyError | None]:
        """Take bytes from the network.

        Returns:
            The frames that are complete now, and what went wrong after them, if anything did; after an error nothing
            arrives any more. Frames of a kind that SPDY/3.1 doesn't know are passed over, as it asks.
        """
        found: list[Frame] = []
        if self._failed is not None:
            return found, self._failed
        buffer = self._buffer
        buffer += data
        at = 0
        try:
            while len(buffer) - at >= 8:
                size = int.from_bytes(buffer[at + 5 : at + 8], "big")
                if size > self._max_frame:
                    raise SpdyError(f"a frame of {size} bytes")
                if len(buffer) - at < 8 + size:
                    break
                head = bytes(buffer[at : at + 8])
                payload = bytes(buffer[at + 8 : at + 8 + size])
                at += 8 + size
                frame = self._frame(head, payload)
                if frame is not None:
                    found.append(frame)
        except SpdyError as error:
            self._failed = error
            at = len(buffer)
        del buffer[:at]
        return found, self._failed

    def _frame(self, head: bytes, payload: bytes) -> Frame | None:
        flags = head[4]
        if not head[0] & _CONTROL:
            stream_id = int.from_bytes(head[:4], "big")
            if not stream_id:
                raise SpdyError("data without a stream")
            return Data(stream_id, payload, bool(flags & _FIN))
        version, kind = int.from_bytes(head[:2], "big") & 0x7FFF, int.from_bytes(head[2:4], "big")
        if version != VERSION:
            raise SpdyError(f"version {version} of SPDY")
        fin = bool(flags & _FIN)
        if kind == _SYN_STREAM:
            stream_id, associated_id, priority = _unpacked(">IIBx", payload)
            if not stream_id & _ID:
                raise SpdyError("stream 0 begins")
            headers = self._headers(payload[10:])
            one_way = bool(flags & _UNIDIRECTIONAL)
            return SynStream(stream_id & _ID, headers, fin, one_way, associated_id & _ID, priority >> 5)
        if kind in {_SYN_REPLY, _HEADERS}:
            (stream_id,) = _unpacked(">I", payload)
            of = SynReply if kind == _SYN_REPLY else HeadersFrame
            return of(stream_id & _ID, self._headers(payload[4:]), fin)
        if kind == _SETTINGS:
            return _settings(payload)
        if kind == _PING:
            return Ping(_unpacked(">I", payload, exact=True)[0])
        if kind not in {_RST_STREAM, _GOAWAY, _WINDOW_UPDATE}:
            return None
        stream_id, number = _unpacked(">II", payload, exact=True)
        if kind == _WINDOW_UPDATE:
            return WindowUpdate(stream_id & _ID, number & _ID)
        return Reset(stream_id & _ID, number) if kind == _RST_STREAM else GoAway(stream_id & _ID, number)

    def _headers(self, block: bytes) -> dict[str, str]:
        """Decompress a header block: number of pairs, then each name and value after its length."""
        if len(block) > MAX_HEADERS:
            raise SpdyError("a header block that is too long")
        try:
            plain = self._inflate.decompress(block, MAX_HEADERS)
        except zlib.error as error:
            raise SpdyError(f"a header block that cannot be decompressed: {error}") from None
        if len(plain) >= MAX_HEADERS or self._inflate.unconsumed_tail or self._inflate.unused_data or self._inflate.eof:
            raise SpdyError("a header block that is too long, or ends the compression")
        headers: dict[str, str] = {}
        (count,) = _unpacked(">I", plain)
        at = 4
        for _ in range(count):
            name, at = _text(plain, at)
            value, at = _text(plain, at)
            if not name or name != name.lower() or name in headers:
                raise SpdyError(f"a header that is empty, in capitals or there twice: {name!r}")
            headers[name] = value
        if at != len(plain):
            raise SpdyError("a header block that is longer than it says")
        return headers

    # --- what is sent ------------------------------------------------------------------------------------------

    def encode(self, frame: Frame) -> bytes:
        """Return a frame's bytes. Those with headers change the compressor: they have to be sent, in this order."""
        match frame:
            case Data():
                head = struct.pack(">II", frame.stream_id, (_FIN if frame.fin else 0) << 24 | len(frame.data))
                return head + frame.data
            case SynStream():
                flags = (_FIN if frame.fin else 0) | (_UNIDIRECTIONAL if frame.unidirectional else 0)
                start = struct.pack(">IIBx", frame.stream_id, frame.associated_id, frame.priority << 5)
                return _control(_SYN_STREAM, flags, start + self._block(frame.headers))
            case SynReply() | HeadersFrame():
                kind = _SYN_REPLY if isinstance(frame, SynReply) else _HEADERS
                payload = struct.pack(">I", frame.stream_id) + self._block(frame.headers)
                return _control(kind, _FIN if frame.fin else 0, payload)
            case Reset():
                return _control(_RST_STREAM, 0, struct.pack(">II", frame.stream_id, frame.code))
            case Settings():
                pairs = b"".join(struct.pack(">II", number, value) for number, value in frame.values.items())
                return _control(_SETTINGS, 0, struct.pack(">I", len(frame.values)) + pairs)
            case Ping():
                return _control(_PING, 0, struct.pack(">I", frame.ping_id))
            case GoAway():
                return _control(_GOAWAY, 0, struct.pack(">II", frame.last_stream_id, frame.code))
            case WindowUpdate():
                return _control(_WINDOW_UPDATE, 0, struct.pack(">II", frame.stream_id, frame.delta))

    def _block(self, headers: Mapping[str, str]) -> bytes:
        plain = bytearray(struct.pack(">I", len(headers)))
        for name, value in headers.items():
            for text in (name.lower().encode("latin-1"), value.encode("latin-1", "replace")):
                plain += struct.pack(">I", len(text)) + text
        return self._deflate.compress(plain) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


def _control(kind: int, flags: int, payload: bytes) -> bytes:
    return struct.pack(">HHI", _CONTROL << 8 | VERSION, kind, flags << 24 | len(payload)) + payload


def _unpacked(form: str, payload: bytes, *, exact: bool = False) -> tuple[int, ...]:
    size = struct.calcsize(form)
    if len(payload) < size or (exact and len(payload) != size):
        raise SpdyError("a frame of the wrong length")
    return struct.unpack_from(form, payload)


def _text(plain: bytes, at: int) -> tuple[str, int]:
    (size,) = _unpacked(">I", plain[at : at + 4])
    end = at + 4 + size
    if end > len(plain):
        raise SpdyError("a header that is longer than its block")
    return plain[at + 4 : end].decode("latin-1"), end


def _settings(payload: bytes) -> Settings:
    (count,) = _unpacked(">I", payload)
    if len(payload) != 4 + 8 * count:
        raise SpdyError("settings of the wrong length")
    # The first byte of a pair holds its flags.
    return Settings({number & 0xFFFFFF: value for number, value in struct.iter_unpack(">II", payload[4:])})
