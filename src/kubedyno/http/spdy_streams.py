"""The server's streams of one SPDY/3.1 connection, on whatever carries its bytes: no I/O of its own.

`receive` takes bytes and calls the streams' callbacks; what is to be sent goes to `send`. What a peer sends is given
back to its window at once. Its own windows are not waited for: Kubernetes' clients never open them again.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from kubedyno.http.spdy import (
    Data,
    Frame,
    Framer,
    GoAway,
    HeadersFrame,
    Ping,
    Reset,
    ResetCode,
    SpdyError,
    SynReply,
    SynStream,
    WindowUpdate,
)

# Streams that are open at once; a forwarded connection takes two.
MAX_STREAMS = 256
# Of one stream whose user does not take them yet.
MAX_EARLY_BYTES = 64 << 10
_PIECE_BYTES = 16 << 10
_GOAWAY_OK, _GOAWAY_PROTOCOL_ERROR = 0, 1


class Carrier(Protocol):
    """Takes the bytes of a connection."""

    def __call__(self, data: bytes) -> None: ...


class SpdyStream:
    """One stream that the client began.

    Attributes:
        headers: What it began with.
        on_data: Called with its bytes; what comes before it is set waits for it, up to `MAX_EARLY_BYTES`.
        on_end: Called once when the client sends no more, or the stream is reset.
        is_reset: It has been reset, by either side.
    """

    __slots__ = (
        "_connection",
        "_early",
        "_on_data",
        "ended_there",
        "headers",
        "is_reset",
        "on_end",
        "sent_end",
        "stream_id",
    )

    def __init__(self, connection: "SpdyConnection", stream_id: int, headers: Mapping[str, str]) -> None:
        self._connection = connection
        self.stream_id = stream_id
        self.headers = headers
        self._on_data: Callable[[bytes], None] | None = None
        self._early = bytearray()
        self.on_end: Callable[[], None] | None = None
        self.ended_there = False
        self.sent_end = False
        self.is_reset = False

    @property
    def on_data(self) -> Callable[[bytes], None] | None:
        return self._on_data

    @on_data.setter
    def on_data(self, call: Callable[[bytes], None] | None) -> None:
        self._on_data = call
        if call is not None and self._early:
            early, self._early = bytes(self._early), bytearray()
            call(early)

    def received(self, data: bytes) -> None:
        """Take bytes of the client."""
        if self._on_data is not None:
            self._on_data(data)
        elif len(self._early) + len(data) > MAX_EARLY_BYTES:
            self.reset(ResetCode.FLOW_CONTROL_ERROR)
        else:
            self._early += data

    def write(self, data: bytes) -> None:
        """Send bytes; after `end` or a reset nothing is sent."""
        for at in range(0, len(data), _PIECE_BYTES):
            if not self.sent_end:
                self._connection.send(Data(self.stream_id, data[at : at + _PIECE_BYTES]))

    def end(self) -> None:
        """Say that no more will be sent."""
        if not self.sent_end:
            self.sent_end = True
            self._connection.send(Data(self.stream_id, b"", fin=True))
            self._connection.forget_ended(self)

    def reset(self, code: ResetCode) -> None:
        """End the stream as broken."""
        if not (self.is_reset or (self.sent_end and self.ended_there)):
            self._connection.send(Reset(self.stream_id, code))
            self._connection.drop(self)


class SpdyConnection:
    """See the module.

    Args:
        send: Takes bytes.
        on_stream: Called with each stream that begins, before any of its bytes; says whether it is wanted.

    Attributes:
        closed: Nothing is sent or read any more.
    """

    def __init__(self, send: Carrier, on_stream: Callable[[SpdyStream], bool]) -> None:
        self._send = send
        self._on_stream = on_stream
        self._framer = Framer()
        self._streams: dict[int, SpdyStream] = {}
        self._last_id = 0
        self.closed = False

    @property
    def open_streams(self) -> int:
        """Streams that one side or both still send on."""
        return len(self._streams)

    def send(self, frame: Frame) -> None:
        if not self.closed:
            self._send(self._framer.encode(frame))

    def receive(self, data: bytes) -> None:
        """Take bytes from the client.

        Raises:
            SpdyError: It broke the protocol; it has been told, and the carrier should be closed.
        """
        if self.closed:
            return
        frames, error = self._framer.receive(data)
        try:
            for frame in frames:
                self._take(frame)
            if error is not None:
                raise error
        except SpdyError:
            self._finish(_GOAWAY_PROTOCOL_ERROR)
            raise

    def go_away(self) -> None:
        """Say that the connection ends; the carrier may be closed after this."""
        self._finish(_GOAWAY_OK)

    def lost(self) -> None:
        """The carrier is gone: streams end."""
        self.closed = True
        for stream in list(self._streams.values()):
            self.drop(stream)

    def _finish(self, code: int) -> None:
        self.send(GoAway(self._last_id, code))
        self.lost()

    def forget_ended(self, stream: SpdyStream) -> None:
        """Forget a stream on which nobody sends any more."""
        if stream.sent_end and stream.ended_there:
            self._streams.pop(stream.stream_id, None)

    def drop(self, stream: SpdyStream) -> None:
        """Forget a stream that broke off, and tell its user."""
        self._streams.pop(stream.stream_id, None)
        stream.is_reset = stream.sent_end = True
        self._end(stream)

    def _end(self, stream: SpdyStream) -> None:
        if not stream.ended_there:
            stream.ended_there = True
            if stream.on_end is not None:
                stream.on_end()

    def _take(self, frame: Frame) -> None:
        match frame:
            case SynStream():
                self._begin(frame)
            case Data():
                self._data(frame)
            case Reset():
                stream = self._streams.get(frame.stream_id)
                if stream is not None:
                    self.drop(stream)
            case Ping():
                # Even numbers would be answers to pings of ours; there are none.
                if frame.ping_id % 2:
                    self.send(frame)
            case HeadersFrame():
                self._fin(frame.stream_id, fin=frame.fin)
            case SynReply():
                raise SpdyError("a reply to a stream that was never begun")
            case _:
                # Windows are not waited for, settings have no use here, and who goes away closes the carrier.
                pass

    def _begin(self, frame: SynStream) -> None:
        stream_id = frame.stream_id
        if stream_id % 2 == 0 or stream_id <= self._last_id:
            raise SpdyError(f"stream {stream_id} after {self._last_id}: a client's numbers are odd and grow")
        self._last_id = stream_id
        if len(self._streams) >= MAX_STREAMS:
            self.send(Reset(stream_id, ResetCode.REFUSED_STREAM))
            return
        stream = self._streams[stream_id] = SpdyStream(self, stream_id, frame.headers)
        stream.sent_end = frame.unidirectional
        if not self._on_stream(stream):
            self._streams.pop(stream_id, None)
            self.send(Reset(stream_id, ResetCode.REFUSED_STREAM))
            return
        if not frame.unidirectional:
            self.send(SynReply(stream_id))
        self._fin(stream_id, fin=frame.fin)

    def _data(self, frame: Data) -> None:
        stream = self._streams.get(frame.stream_id)
        size = len(frame.data)
        if size:
            self.send(WindowUpdate(0, size))
        if stream is None or stream.ended_there:
            if frame.stream_id > self._last_id or frame.stream_id % 2 == 0:
                self.send(Reset(frame.stream_id, ResetCode.INVALID_STREAM))
            # Else it has ended here already; what was on its way is dropped.
            return
        if size:
            self.send(WindowUpdate(frame.stream_id, size))
            stream.received(frame.data)
        self._fin(frame.stream_id, fin=frame.fin)

    def _fin(self, stream_id: int, *, fin: bool) -> None:
        stream = self._streams.get(stream_id)
        if fin and stream is not None:
            self._end(stream)
            self.forget_ended(stream)
