"""Where a watch's events go when that is no plain answer: a WebSocket, a message an event; or nowhere, when nobody can show them.

What goes in are pieces of whole events as `Encoder.event` makes them, several in one piece.
"""

import re
from collections.abc import Callable, Iterator

from kubedyno.cluster.apiserver.call import Call
from kubedyno.http.messages import Headers, Stream, Tunnel
from kubedyno.http.passing import PassingStream
from kubedyno.http.websocket import VERSION, CloseCode, Opcode, WebSocket, accept_key, close_frame, frame

# A client that reads none of its events is not answered either, so that its pings fill no memory.
_MAX_UNREAD_BYTES = 64 << 10
# An event as protobuf stands behind its length, in so many bytes.
_LENGTH_BYTES = 4
_ERROR = re.compile(rb'{"type":"ERROR"|.{4}\n\x05ERROR', re.DOTALL)
# Of Go's url.ParseRequestURI: a path from the root, or a scheme.
_ORIGIN = re.compile(r"/|[A-Za-z][A-Za-z0-9+.-]*:")


class NothingShown(PassingStream):
    """A watch whose objects cannot be shown in the shape that was asked for: it ends with its first event."""

    __slots__ = ("on_close",)

    def __init__(self, inner: Stream) -> None:
        super().__init__(inner)
        self.on_close: Callable[[], None] | None = None
        inner.on_close = self._lost

    def _lost(self) -> None:
        call, self.on_close = self.on_close, None
        if call is not None:
            call()

    def write(self, data: bytes) -> None:
        """End instead; what is no object of the collection can be shown."""
        if _ERROR.match(data):
            self._inner.write(data)
            return
        self._lost()
        self._inner.close()


class WatchSocket(PassingStream):
    """A watch on a WebSocket: what its client says is not heeded, but for pings and its leave.

    Args:
        tunnel: The connection behind its handshake.
        text: Events are JSON, not protobuf.
    """

    __slots__ = ("_socket", "_text", "_tunnel")

    def __init__(self, tunnel: Tunnel, *, text: bool) -> None:
        super().__init__(tunnel)
        self._tunnel = tunnel
        self._text = text
        self._socket = WebSocket()
        tunnel.on_data = self._heard

    @property
    def on_close(self) -> Callable[[], None] | None:
        return self._tunnel.on_close

    @on_close.setter
    def on_close(self, call: Callable[[], None] | None) -> None:
        self._tunnel.on_close = call

    def write(self, data: bytes) -> None:
        """Send a piece, each of its events as a message of its own."""
        if self._text:
            framed = [frame(Opcode.TEXT, event) for event in data.splitlines(keepends=True)]
        else:
            framed = [frame(Opcode.BINARY, event) for event in _unframed(data)]
        self._inner.write(b"".join(framed))

    def close(self) -> None:
        """Say that it ends, and end it."""
        self._leave(CloseCode.NORMAL)

    def _leave(self, code: int) -> None:
        self._inner.write(close_frame(code))
        self._inner.close()

    def _heard(self, data: bytes) -> None:
        messages, error = self._socket.receive(data)
        for message in messages:
            if message.opcode is Opcode.PING and self.buffered < _MAX_UNREAD_BYTES:
                self._inner.write(frame(Opcode.PONG, message.data))
        if error is not None or any(message.opcode is Opcode.CLOSE for message in messages):
            call, self._tunnel.on_close = self._tunnel.on_close, None
            self._leave(CloseCode.NORMAL if error is None else error.code)
            if call is not None:
                call()


def _unframed(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        end = at + _LENGTH_BYTES + int.from_bytes(data[at : at + _LENGTH_BYTES], "big")
        yield data[at + _LENGTH_BYTES : end]
        at = end


def opened_socket(call: Call, *, text: bool) -> Stream | None:
    """Switch a watch's connection to WebSocket.

    Args:
        call: The request, a handshake.
        text: Its events are JSON.

    Returns:
        Where its events go; None when the handshake has been refused (by golang.org/x/net/websocket's rules and words).
    """
    given = call.request.headers
    key, protocol = given.get("sec-websocket-key", ""), given.get("sec-websocket-protocol", "").strip()
    if not key:
        _refuse(call, 400, b"mismatch challenge/response")
        return None
    if given.get("sec-websocket-version") != VERSION:
        _refuse(call, 400, b"missing or bad WebSocket Version", (("Sec-WebSocket-Version", VERSION),))
        return None
    if not _ORIGIN.match(given.get("origin", "")):
        _refuse(call, 403)
        return None
    if "," in protocol:
        _refuse(call, 400)
        return None
    answer: Headers = (("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept_key(key)))
    if protocol:
        answer = (*answer, ("Sec-WebSocket-Protocol", protocol))
    tunnel = call.upgrade(answer)
    return None if tunnel is None else WatchSocket(tunnel, text=text)


def _refuse(call: Call, status: int, text: bytes = b"", headers: Headers = ()) -> None:
    # Go writes these by hand, past everything that adds headers.
    call.warnings.clear()
    call.answer(status, "", text, headers)
