"""Heads of answers, encoded once: an API server says the same few things for ever.

Status, content type and length determine the head of nearly every answer, so whole heads are remembered, bounded
and forgotten all at once.
"""

from collections.abc import Callable, Mapping
from email.utils import formatdate

from kubedyno.http.hpack_codec import encode_field
from kubedyno.http.messages import Headers

_MEMO_HEADS = 8192
_MAX_ID = 64
_ID = "audit-id"
# HPACK literals that no table keeps: `date` by its place in the static table, `audit-id` by its name.
_DATE_FIELD, _ID_FIELD = b"\x0f\x12", b"\x00\x08audit-id"

_REASONS = {
    100: "Continue",
    101: "Switching Protocols",
    200: "OK",
    201: "Created",
    202: "Accepted",
    204: "No Content",
    301: "Moved Permanently",
    302: "Found",
    304: "Not Modified",
    307: "Temporary Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    408: "Request Timeout",
    409: "Conflict",
    410: "Gone",
    413: "Request Entity Too Large",
    415: "Unsupported Media Type",
    417: "Expectation Failed",
    422: "Unprocessable Entity",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
}

_LINE_ENDS = {ord(c): " " for c in "\r\n\0"}

_blocks: dict[tuple[int, bytes | str, int, Headers], bytes] = {}
_heads: dict[tuple[int, bytes | str, int, Headers], bytes] = {}


class Stamps:
    """What differs in each answer: the date, and the id by which an audit log knows the request.

    It is put behind the remembered head, so that heads stay remembered.

    Args:
        now: Epoch seconds.
        uid: A random UUID; its last part is counted on.
    """

    __slots__ = ("_base", "_block", "_lines", "_now", "_number", "_second")

    def __init__(self, now: Callable[[], float], uid: str) -> None:
        self._now = now
        base, _, digits = uid.rpartition("-")
        self._base = base.encode() + b"-"
        self._number = int(digits, 16)
        self._second = -1
        self._block = self._lines = b""

    def id_of(self, headers: Mapping[str, str]) -> bytes:
        """Return a request's id: its own, if it brings one, else a new one."""
        given = headers.get(_ID)
        if given:
            return given[:_MAX_ID].encode("ascii", "replace")
        self._number = (self._number + 1) & 0xFFFF_FFFF_FFFF
        return b"%b%012x" % (self._base, self._number)

    def block(self, request_id: bytes) -> bytes:
        """Return both fields for HPACK."""
        self._tick()
        return b"%b%c%b%b" % (_ID_FIELD, len(request_id), request_id, self._block)

    def lines(self, request_id: bytes) -> bytes:
        """Return both fields for HTTP/1.1."""
        self._tick()
        return b"Audit-Id: %b\r\n%b" % (request_id, self._lines)

    def _tick(self) -> None:
        second = int(self._now())
        if second != self._second:
            self._second = second
            text = formatdate(second, usegmt=True).encode()
            self._block = b"%b%c%b" % (_DATE_FIELD, len(text), text)
            self._lines = b"Date: %b\r\n" % text


def bodiless(status: int) -> bool:
    """Say whether answers of this status never have a body, nor a length."""
    return status in {204, 304} or status < 200


def block_of(status: int, content_type: bytes | str, length: int, headers: Headers) -> bytes:
    """Return the HPACK block of an answer; a negative length is an unknown one."""
    key = (status, content_type, length, headers)
    found = _blocks.get(key)
    if found is None:
        parts = [encode_field(":status", str(status))]
        if content_type:
            parts.append(encode_field("content-type", _text(content_type)))
        if length >= 0 and not bodiless(status):
            parts.append(encode_field("content-length", str(length)))
        parts += [encode_field(name.lower(), _one_line(value)) for name, value in headers]
        found = b"".join(parts)
        if len(_blocks) >= _MEMO_HEADS:
            _blocks.clear()
        _blocks[key] = found
    return found


def head_of(status: int, content_type: bytes | str, length: int, headers: Headers) -> bytes:
    """Return status line and fields of an HTTP/1.1 answer, without the empty line that ends them."""
    key = (status, content_type, length, headers)
    found = _heads.get(key)
    if found is None:
        lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}\r\n"]
        if content_type:
            lines.append(f"Content-Type: {_text(content_type)}\r\n")
        if length >= 0 and not bodiless(status):
            lines.append(f"Content-Length: {length}\r\n")
        lines += [f"{name}: {_one_line(value)}\r\n" for name, value in headers]
        found = "".join(lines).encode()
        if len(_heads) >= _MEMO_HEADS:
            _heads.clear()
        _heads[key] = found
    return found


def switching_head(headers: Headers) -> bytes:
    """Return the whole 101 that switches to another protocol. Never remembered: handshakes differ."""
    lines = "".join(f"{name}: {_one_line(value)}\r\n" for name, value in headers)
    return f"HTTP/1.1 101 {_REASONS[101]}\r\n{lines}\r\n".encode()


def _text(value: bytes | str) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _one_line(value: str) -> str:
    """Return a value that cannot end its line: warnings quote what users wrote."""
    return value.translate(_LINE_ENDS)
