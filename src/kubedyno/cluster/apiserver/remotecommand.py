"""The two ways in which a client talks to a remote command: channels in WebSocket messages, or streams of SPDY.

A `Session` hides the difference: what the command writes, what it is told, how it ended. Protocols are Kubernetes'
v5.channel.k8s.io and v4.channel.k8s.io, where a Status on the error channel tells the end, and over WebSocket their
first one too.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import orjson

from kubedyno.base import aio
from kubedyno.http.messages import Request, Tunnel
from kubedyno.http.spdy import ResetCode, SpdyError
from kubedyno.http.spdy_streams import SpdyConnection, SpdyStream
from kubedyno.http.websocket import CloseCode, Message, Opcode, WebSocket, close_frame, frame

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
PROTOCOLS = (V5, V4)
# WebSocket's first protocol, and what a client speaks that names none: errors are texts there, and success is silence.
V1 = "channel.k8s.io"
SPDY = "SPDY/3.1"
_CLOSE_CHANNEL = 255
# Kept of what a command is told on stdin: enough for a script's ${STDIN}; the rest is read and dropped.
MAX_STDIN = 1 << 20
# Written and not taken by the client yet; past this a command waits.
BUFFER_BYTES = 256 << 10
# For the streams of a SPDY session to arrive, as the real server waits.
STREAMS_TIMEOUT_S = 30.0
# After the end, for the client to close first: closing with bytes unread would take the answer back.
LINGER_S = 5.0


class Channel(IntEnum):
    """What a message or stream carries."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2
    ERROR = 3
    RESIZE = 4


_STREAM_TYPES = {channel.name.lower(): channel for channel in Channel}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which streams a client asks for."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False

    def channels(self) -> frozenset[Channel]:
        """Return the channels of such a session."""
        found = {Channel.ERROR}
        found |= {Channel.STDIN} if self.stdin else set()
        found |= {Channel.STDOUT} if self.stdout else set()
        found |= {Channel.STDERR} if self.stderr else set()
        found |= {Channel.RESIZE} if self.tty else set()
        return frozenset(found)


class Session:
    """One client's side of a remote command.

    Attributes:
        wanted: Which streams it asked for.
        stdin: What came on it and was not passed on; past `MAX_STDIN` the client waits, or the rest is dropped.
        stdin_ended: Set when no more will come.
        size: (columns, rows) of the client's terminal; None until it said so.
        sized: Set once it has.
        ready: Set when the command may begin.
        closed: Set when the client is gone.
        on_close: Called then, while the command runs.
    """

    _on_stdin: Callable[[bytes], None] | None = None
    _on_size: Callable[[int, int], None] | None = None

    def __init__(self, tunnel: Tunnel, wanted: Wanted) -> None:
        self.wanted = wanted
        self.stdin = bytearray()
        self.stdin_ended = asyncio.Event()
        self.size: tuple[int, int] | None = None
        self.sized = asyncio.Event()
        self.ready = asyncio.Event()
        self.closed = asyncio.Event()
        self.on_close: Callable[[], None] | None = None
        self._tunnel = tunnel
        self._channels = wanted.channels()
        self._finished = False
        self._skims = False
        tunnel.on_close = self._lost

    def write(self, channel: Channel, data: bytes) -> None:
        """Send output; what the client didn't ask for is dropped, and a terminal has stdout alone."""
        if channel is Channel.STDERR and self.wanted.tty:
            channel = Channel.STDOUT
        if data and channel in self._channels and not self._finished:
            self._send(channel, data)

    @property
    def buffered(self) -> int:
        """Bytes written that the client has not taken yet."""
        return self._tunnel.buffered

    def listen(
        self, on_stdin: Callable[[bytes], None], on_end: Callable[[], None], on_size: Callable[[int, int], None]
    ) -> None:
        """Pass on what the client says from now on, and what it has said, instead of keeping it.

        Args:
            on_stdin: Gets input.
            on_end: Called when no more of it will come.
            on_size: Gets the terminal's columns and rows.
        """
        if self.size is not None:
            on_size(*self.size)
        if self.stdin:
            on_stdin(bytes(self.stdin))
            self.stdin.clear()
        self._on_stdin, self._on_size = on_stdin, on_size
        self.release()
        waiting = asyncio.ensure_future(self.stdin_ended.wait())
        waiting.add_done_callback(lambda _: on_end())

    def hold(self) -> None:
        """Let the client wait with what it says."""
        self._tunnel.pause_input()

    def release(self) -> None:
        """Hear the client again."""
        self._tunnel.resume_input()

    def skim(self) -> None:
        """Keep `MAX_STDIN` of the input, which nobody listens to, and drop the rest."""
        self._skims = True
        del self.stdin[MAX_STDIN:]
        self.release()

    async def drain(self) -> None:
        """Wait until the client has taken most of what was written."""
        await self._tunnel.drain(BUFFER_BYTES)

    async def finish(self, status: dict[str, Any]) -> None:
        """Tell how the command ended, and end the connection once the client has read that."""
        if not self._finished and not self.closed.is_set():
            self._send(Channel.ERROR, self._told(status))
            self._finished = True
            self.on_close = None
            self.skim()
            self._end()
            with suppress(TimeoutError):
                await aio.wait_for(self.closed.wait(), LINGER_S)
            self._tunnel.close()

    def _told(self, status: dict[str, Any]) -> bytes:
        """Return how an end is put."""
        return orjson.dumps(status)

    def _received(self, channel: Channel, data: bytes) -> None:
        if channel is Channel.STDIN:
            if self._on_stdin is not None:
                self._on_stdin(data)
            else:
                self.stdin += data
                if len(self.stdin) > MAX_STDIN:
                    self.skim() if self._skims else self.hold()
        elif channel is Channel.RESIZE:
            self._resize(data)

    def _resize(self, data: bytes) -> None:
        try:
            # Go's encoder ends a value with a line; the last one is what counts.
            size = orjson.loads(data.strip().rsplit(b"\n", 1)[-1])
            self.size = (int(size["Width"]), int(size["Height"]))
            self.sized.set()
            if self._on_size is not None:
                self._on_size(*self.size)
        except (ValueError, KeyError, TypeError):
            # The real server stops listening to sizes; the command goes on.
            pass

    def _lost(self) -> None:
        self.stdin_ended.set()
        self.closed.set()
        call, self.on_close = self.on_close, None
        if call is not None:
            call()

    def _send(self, channel: Channel, data: bytes) -> None:
        raise NotImplementedError

    def _end(self) -> None:
        raise NotImplementedError


class WebSocketSession(Session):
    """Channels in the messages of a WebSocket: the first byte of each is its channel."""

    def __init__(self, tunnel: Tunnel, wanted: Wanted, protocol: str) -> None:
        super().__init__(tunnel, wanted)
        self._socket = WebSocket()
        self._v5 = protocol == V5
        self._v1 = protocol in {V1, ""}
        self._said_close = False
        tunnel.on_data = self._on_data
        self.ready.set()
        # As the real server does, so that clients know at once that they are connected.
        first = next(c for c in (Channel.STDOUT, Channel.STDERR, Channel.ERROR) if c in self._channels)
        self._send(first, b"")

    def _told(self, status: dict[str, Any]) -> bytes:
        return status.get("message", "").encode() if self._v1 else super()._told(status)

    def _send(self, channel: Channel, data: bytes) -> None:
        self._tunnel.write(frame(Opcode.BINARY, bytes((channel,)) + data))

    def _end(self) -> None:
        self._close(CloseCode.NORMAL)

    def _close(self, code: int, reason: str = "") -> None:
        if not self._said_close:
            self._said_close = True
            self._tunnel.write(close_frame(code, reason))

    def _on_data(self, data: bytes) -> None:
        messages, error = self._socket.receive(data)
        for message in messages:
            self._take(message)
        if error is not None:
            self._close(error.code, str(error))
            self._hang_up()

    def _hang_up(self) -> None:
        self._lost()
        self._tunnel.close()

    def _take(self, message: Message) -> None:
        match message.opcode:
            case Opcode.PING:
                if not self._said_close:
                    self._tunnel.write(frame(Opcode.PONG, message.data))
            case Opcode.CLOSE:
                self._close(CloseCode.NORMAL if message.code == 1005 else message.code)
                self._hang_up()
            case Opcode.BINARY | Opcode.TEXT if message.data:
                self._channel(message.data[0], message.data[1:])
            case _:
                pass

    def _channel(self, number: int, data: bytes) -> None:
        if self._v5 and number == _CLOSE_CHANNEL:
            if data[:1] == bytes((Channel.STDIN,)):
                self.stdin_ended.set()
            return
        if number in (Channel.STDIN, Channel.RESIZE) and Channel(number) in self._channels:
            self._received(Channel(number), data)


class SpdySession(Session):
    """Streams of a SPDY connection: the header `streamtype` of each is its channel."""

    def __init__(self, tunnel: Tunnel, wanted: Wanted) -> None:
        super().__init__(tunnel, wanted)
        self._streams: dict[Channel, SpdyStream] = {}
        self._connection = SpdyConnection(tunnel.write, self._on_stream)
        tunnel.on_data = self._on_data

    def _send(self, channel: Channel, data: bytes) -> None:
        self._streams[channel].write(data)

    def _end(self) -> None:
        for channel in (Channel.STDOUT, Channel.STDERR, Channel.ERROR):
            if channel in self._streams:
                self._streams[channel].end()
        if Channel.STDIN in self._streams:
            self._streams[Channel.STDIN].end()

    def _lost(self) -> None:
        self._connection.lost()
        super()._lost()

    def _on_data(self, data: bytes) -> None:
        try:
            self._connection.receive(data)
        except SpdyError:
            self._lost()
            self._tunnel.close()

    def _on_stream(self, stream: SpdyStream) -> bool:
        channel = _STREAM_TYPES.get(stream.headers.get("streamtype", "").lower())
        if channel not in self._channels or channel in self._streams:
            return False
        self._streams[channel] = stream
        if channel in {Channel.STDIN, Channel.RESIZE}:
            stream.on_data = lambda data: self._received(channel, data)
        if channel is Channel.STDIN:
            stream.on_end = self.stdin_ended.set
        if len(self._streams) == len(self._channels):
            self.ready.set()
        return True

    def refuse(self) -> None:
        """End a session whose streams never came."""
        for stream in self._streams.values():
            stream.reset(ResetCode.CANCEL)
        self._connection.go_away()
        self._lost()
        self._tunnel.close()


def spdy_protocol(request: Request, spoken: tuple[str, ...]) -> str | None:
    """Return the first protocol of X-Stream-Protocol-Version that is spoken; None when there is none."""
    offered = request.headers.get("x-stream-protocol-version", "")
    return next((name for part in offered.split(",") if (name := part.strip()) in spoken), None)


def success() -> dict[str, Any]:
    """Return the Status of a command that ended well."""
    return {"metadata": {}, "status": "Success"}


def failure(words: list[str], exit_code: int) -> dict[str, Any]:
    """Return the Status of a command that ended with another code than 0, as containerd and the kubelet word it."""
    shown = " ".join(words)
    return {
        "metadata": {},
        "status": "Failure",
        "message": "command terminated with non-zero exit code: "
        f"error executing command [{shown}], exit code {exit_code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(exit_code)}]},
    }
