"""The WebSocket protocol (RFC 6455): handshake, frames and messages, without I/O.

Bytes go into `WebSocket.receive` and come out as messages and control frames; what is to be sent is returned as
bytes. Whatever the other end does wrong is one `WebSocketError` that says with which code to close.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from kubedyno.http.messages import Headers

VERSION = "13"
# RFC 6455 §1.3.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MAX_CONTROL = 125
_FIN, _RESERVED, _MASKED = 0x80, 0x70, 0x80
# Codes that may stand in a close frame: the registered ones, libraries' and applications' (§7.4).
_CLOSE_CODES = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})
# Of one message, its fragments together. Terminals and port forwarding send a few kilobytes.
MAX_MESSAGE = 1 << 20


class Opcode(IntEnum):
    """Kinds of frames."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class CloseCode(IntEnum):
    """Why a connection is closed, as far as this side says so."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    BAD_DATA = 1007
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011


class WebSocketError(Exception):
    """The other end broke the protocol, or a limit; close with `code`."""

    def __init__(self, code: CloseCode, text: str) -> None:
        super().__init__(text)
        self.code = code


class HandshakeError(Exception):
    """The request is no proper WebSocket handshake; answer with 400 and this text, and these headers."""

    def __init__(self, text: str, headers: Headers = ()) -> None:
        super().__init__(text)
        self.headers = headers


@dataclass(frozen=True, slots=True)
class Message:
    """A whole message, or a control frame.

    Attributes:
        opcode: TEXT, BINARY, CLOSE, PING or PONG.
        data: The payload; of CLOSE the reason alone.
        code: Of CLOSE; 1005 when none was given.
    """

    opcode: Opcode
    data: bytes
    code: int = 0


def is_handshake(headers: Mapping[str, str]) -> bool:
    """Say whether a request asks for WebSocket."""
    return headers.get("upgrade", "").lower() == "websocket" and _has_token(headers, "upgrade")


def _has_token(headers: Mapping[str, str], wanted: str) -> bool:
    return wanted in {token.strip().lower() for token in headers.get("connection", "").split(",")}


def accept_key(key: str) -> str:
    """Return what proves that the handshake was understood (§4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()  # noqa: S324 - the RFC's own choice


def accept(method: str, headers: Mapping[str, str], protocols: Sequence[str]) -> tuple[str, Headers]:
    """Check a handshake and choose a subprotocol.

    Args:
        method: Of the request.
        headers: Of the request, names in lower case.
        protocols: What the server speaks; the client's first one among them is chosen.

    Returns:
        The subprotocol, "" when the client named none, and the headers of the 101.

    Raises:
        HandshakeError: It is malformed, or names no protocol that is spoken here.
    """
    if method != "GET":
        raise HandshakeError("a WebSocket handshake is a GET")
    if not is_handshake(headers):
        raise HandshakeError("no WebSocket handshake")
    if headers.get("sec-websocket-version") != VERSION:
        raise HandshakeError("only version 13 of WebSocket is spoken", (("Sec-WebSocket-Version", VERSION),))
    key = headers.get("sec-websocket-key", "")
    try:
        proper = len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        proper = False
    if not proper:
        raise HandshakeError("Sec-WebSocket-Key is not 16 bytes in base64")
    wanted = [name for part in headers.get("sec-websocket-protocol", "").split(",") if (name := part.strip())]
    answer: Headers = (
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", accept_key(key)),
    )
    if not wanted:
        return "", answer
    chosen = next((name for name in wanted if name in protocols), None)
    if chosen is None:
        raise HandshakeError(f"no protocol in common: client asks for {wanted}, server speaks {list(protocols)}")
    return chosen, (*answer, ("Sec-WebSocket-Protocol", chosen))


def masked(data: bytes | bytearray, mask: bytes) -> bytes:
    """Mask, or unmask, with the four bytes of a mask (§5.3)."""
    size = len(data)
    repeated = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")


def frame(opcode: int, data: bytes, *, fin: bool = True, mask: bytes = b"") -> bytes:
    """Return one frame.

    Args:
        opcode: Of the frame.
        data: Payload.
        fin: It is a message's last.
        mask: Four bytes in frames of clients, none in those of servers.
    """
    size = len(data)
    bit = _MASKED if mask else 0
    if size < 126:
        head = bytes((opcode | (_FIN if fin else 0), bit | size))
    elif size < 1 << 16:
        head = bytes((opcode | (_FIN if fin else 0), bit | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((opcode | (_FIN if fin else 0), bit | 127)) + size.to_bytes(8, "big")
    return head + mask + masked(data, mask) if mask else head + data


def close_frame(code: int, reason: str = "", *, mask: bytes = b"") -> bytes:
    """Return a close frame; a reason that is too long is cut at a character."""
    text = reason.encode()[: _MAX_CONTROL - 2].decode(errors="ignore").encode()
    return frame(Opcode.CLOSE, code.to_bytes(2, "big") + text, mask=mask)


class WebSocket:
    """What arrives on one connection after the handshake.

    Args:
        server: This is the server's end: frames that arrive are masked.
        max_message: Bytes of a message, its fragments together.
    """

    __slots__ = ("_buffer", "_closed", "_failed", "_kind", "_max", "_server", "_whole")

    def __init__(self, *, server: bool = True, max_message: int = MAX_MESSAGE) -> None:
        self._server = server
        self._max = max_message
        self._buffer = bytearray()
        self._closed = False
        self._failed: WebSocketError | None = None
        # Of the message that is arriving in fragments; None and empty between messages.
        self._kind: Opcode | None = None
        self._whole = bytearray()

    def receive(self, data: bytes) -> tuple[list[Message], WebSocketError | None]:
        """Take bytes from the network.

        Returns:
            What is complete now, and what went wrong after that, if anything did. After an error, and after a CLOSE,
            nothing arrives any more. Answering PING and CLOSE is the caller's.
        """
        found: list[Message] = []
        if self._closed:
            return found, self._failed
        self._buffer += data
        try:
            while (messages := self._next()) is not None:
                found += messages
        except WebSocketError as error:
            self._failed = error
            self._closed = True
        if self._closed:
            self._buffer.clear()
            self._whole.clear()
        return found, self._failed

    def _next(self) -> tuple[Message, ...] | None:
        """Take one frame out of the buffer: nothing yet, a fragment (empty), or what is complete with it."""
        buffer = self._buffer
        if self._closed or len(buffer) < 2:
            return None
        first, second = buffer[0], buffer[1]
        fin, number, size = bool(first & _FIN), first & 0x0F, second & 0x7F
        if first & _RESERVED:
            raise WebSocketError(CloseCode.PROTOCOL_ERROR, "reserved bits without an extension")
        try:
            opcode = Opcode(number)
        except ValueError:
            raise WebSocketError(CloseCode.PROTOCOL_ERROR, f"an unknown opcode: {number}") from None
        if bool(second & _MASKED) is not self._server:
            raise WebSocketError(CloseCode.PROTOCOL_ERROR, "clients mask their frames, and servers don't")
        if opcode >= Opcode.CLOSE and (not fin or size > _MAX_CONTROL):
            raise WebSocketError(CloseCode.PROTOCOL_ERROR, "a control frame that is too long, or in fragments")
        at = 2
        if size >= 126:
            wide = 2 if size == 126 else 8
            if len(buffer) < 2 + wide:
                return None
            size = int.from_bytes(buffer[2 : 2 + wide], "big")
            at += wide
            if size < (126 if wide == 2 else 1 << 16):
                raise WebSocketError(CloseCode.PROTOCOL_ERROR, "a length that is longer than it has to be")
        if opcode < Opcode.CLOSE:
            self._check(opcode, size)
        mask = b""
        if self._server:
            mask = bytes(buffer[at : at + 4])
            at += 4
        if len(buffer) < at + size:
            return None
        data = masked(buffer[at : at + size], mask) if mask else bytes(buffer[at : at + size])
        del buffer[: at + size]
        if opcode >= Opcode.CLOSE:
            return (self._control(opcode, data),)
        return self._joined(opcode, data, fin=fin)

    def _check(self, opcode: Opcode, size: int) -> None:
        """Refuse a data frame that has no place here, before its payload is waited for."""
        if (opcode is Opcode.CONTINUATION) is (self._kind is None):
            raise WebSocketError(CloseCode.PROTOCOL_ERROR, "a fragment outside of its message")
        if len(self._whole) + size > self._max:
            raise WebSocketError(CloseCode.TOO_BIG, f"a message of more than {self._max} bytes")

    def _joined(self, opcode: Opcode, data: bytes, *, fin: bool) -> tuple[Message, ...]:
        if self._kind is None:
            self._kind = opcode
        self._whole += data
        if not fin:
            return ()
        kind, whole = self._kind, bytes(self._whole)
        self._kind = None
        self._whole.clear()
        if kind is Opcode.TEXT:
            _check_text(whole)
        return (Message(kind, whole),)

    def _control(self, opcode: Opcode, data: bytes) -> Message:
        if opcode is not Opcode.CLOSE:
            return Message(opcode, data)
        self._closed = True
        if not data:
            return Message(opcode, b"", 1005)
        code = int.from_bytes(data[:2], "big")
        if len(data) == 1 or not (code in _CLOSE_CODES or 3000 <= code < 5000):
            raise WebSocketError(CloseCode.PROTOCOL_ERROR, "a close code that may not be sent")
        _check_text(data[2:])
        return Message(opcode, data[2:], code)


def _check_text(data: bytes) -> None:
    try:
        data.decode()
    except UnicodeDecodeError:
        raise WebSocketError(CloseCode.BAD_DATA, "a text that is not UTF-8") from None
