"""HTTP/2 connection (RFC 9113): what a server's and a client's have in common.

Bytes come in through `data_received`, are cut into frames and handed to hooks that the two sides implement. What
goes out within one turn of the event loop is collected and leaves in one write: that, not parsing, is what makes
HTTP/2 cheap here. Sending obeys both windows; what they or the transport hold back waits in its stream's queue,
and streams with something to send take turns by frames.
"""

import asyncio
import struct
from collections import deque
from typing import TYPE_CHECKING, cast

from kubedyno.base.log import logger
from kubedyno.http.frames import (
    ACK,
    CONTINUATION,
    DATA,
    DEFAULT_FRAME_SIZE,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HAS_PRIORITY,
    HEADERS,
    MAX_FRAME_SIZE,
    MAX_WINDOW,
    PADDED,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    SETTINGS_ACK,
    SETTINGS_INITIAL_WINDOW_SIZE,
    SETTINGS_MAX_CONCURRENT_STREAMS,
    SETTINGS_MAX_FRAME_SIZE,
    WINDOW_UPDATE,
    Code,
    frame,
    goaway_frame,
    header_frames,
    reset_frame,
    window_frame,
)

log = logger(__name__)

# A turn's output is written early once it is this large, so that the transport can say that it is full.
FLUSH_BYTES = 256 << 10
# The transport holds at most about this much; what is beyond waits in its stream, where `buffered` counts it.
TRANSPORT_BYTES = 256 << 10
# Streams take turns by at most this much, even when the peer accepts larger frames.
TURN_BYTES = 64 << 10
# "Our table is empty": opens the first block of a connection, so that no later change of the peer's limit matters.
EMPTY_TABLE = b"\x20"


class ConnectionFault(Exception):
    """The peer broke the protocol: the connection ends with this code."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code


class H2Stream:
    """The sending half of one stream."""

    __slots__ = ("drains", "ended", "id", "in_ring", "queue", "queued", "send_window")

    def __init__(self, stream_id: int, send_window: int) -> None:
        self.id = stream_id
        self.send_window = send_window
        self.queue: deque[memoryview] | None = None
        # Invariant: queued is the number of bytes in `queue`.
        self.queued = 0
        # No more will be written; END_STREAM leaves with the last byte.
        self.ended = False
        self.in_ring = False
        self.drains: list[tuple[int, asyncio.Future[None]]] | None = None

    def wake_drains(self) -> None:
        """Let those go on who wait for the queue to shrink."""
        if self.drains is not None:
            still = []
            for limit, future in self.drains:
                if self.queued > limit:
                    still.append((limit, future))
                elif not future.done():
                    future.set_result(None)
            self.drains = still or None

    def drop_queue(self) -> None:
        """Forget what was not sent: the stream is over."""
        self.queue = None
        self.queued = 0
        self.wake_drains()


class H2Connection(asyncio.Protocol):
    """One connection; `ServerConnection` and `ClientConnection` add what is theirs.

    Args:
        receive_window: Bytes a peer may send before we credit them, for the connection as a whole.
        max_frame: Largest frame we take.
        max_block: Largest header block we take, as sent.
        max_nuisances: See `Limits`.
        nuisance_window_s: See `Limits`.
    """

    if TYPE_CHECKING:
        transport: asyncio.Transport

    def __init__(
        self,
        *,
        receive_window: int,
        max_frame: int = DEFAULT_FRAME_SIZE,
        max_block: int,
        max_nuisances: int,
        nuisance_window_s: float,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._time = self.loop.time
        self.read_s = self.opened_s = self._time()
        self.closed = False
        self.paused = False
        self._buffer = b""
        # `sated`: enough was begun in this call; the rest of what was read has its turn later, and is not looked at before.
        self.sated = False
        self.resting = False
        self._out: list[bytes | memoryview] = []
        self._out_bytes = 0
        self._armed = False
        # Sending.
        self.send_window = DEFAULT_WINDOW
        self.peer_window = DEFAULT_WINDOW
        self.peer_streams = MAX_WINDOW
        self.peer_frame = DEFAULT_FRAME_SIZE
        self._turn = DEFAULT_FRAME_SIZE
        self._ring: deque[H2Stream] = deque()
        self.first_block = EMPTY_TABLE
        # Receiving.
        self._receive_window = receive_window
        self._unacknowledged = 0
        self._max_frame = max_frame
        self._max_block = max_block
        self._block: bytearray | None = None
        self._block_stream = 0
        self.block_s = 0.0
        self._block_flags = 0
        self._settled = False
        self._max_nuisances = max_nuisances
        self._nuisance_window_s = nuisance_window_s
        self._nuisances = 0
        self._nuisances_since_s = self.read_s

    # -- hooks ---------------------------------------------------------------------------------------------------

    def find_stream(self, stream_id: int) -> H2Stream | None:
        """Return an open stream."""
        raise NotImplementedError

    def open_streams(self) -> list[H2Stream]:
        raise NotImplementedError

    def on_headers(self, stream_id: int, block: bytes, end: bool) -> None:
        """Take a complete header block, in the order of arrival."""
        raise NotImplementedError

    def on_data(self, stream_id: int, data: bytes, counted: int, end: bool) -> None:
        """Take body bytes; `counted` is what they weigh in the windows."""
        raise NotImplementedError

    def on_reset(self, stream_id: int, code: int) -> None:
        raise NotImplementedError

    def on_goaway(self, last_stream_id: int, code: int, text: str) -> None:
        raise NotImplementedError

    def on_sent(self, stream: H2Stream) -> None:
        """Our half of a stream is through, END_STREAM and all."""
        raise NotImplementedError

    def on_settings(self) -> None:
        """The peer's settings have been applied."""

    def on_settings_ack(self) -> None:
        """The peer applies our settings from here on."""

    def on_ping_ack(self) -> None:
        """The peer answered a ping."""

    def on_lost(self, error: Exception | None) -> None:
        """The connection is over; called once."""
        raise NotImplementedError

    def on_window(self) -> None:
        """The connection's send window has grown."""

    # -- sending -------------------------------------------------------------------------------------------------

    def emit(self, data: bytes) -> None:
        """Send frames with the rest of this turn of the loop."""
        self._out.append(data)
        if not self._armed:
            self._armed = True
            self.flush_soon()

    def flush_soon(self) -> None:
        """Have `flush` called before the loop turns."""
        self.loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what has been collected."""
        self._armed = False
        out = self._out
        if out:
            self._out = []
            self._out_bytes = 0
            if not self.closed:
                self.transport.write(out[0] if len(out) == 1 else b"".join(out))

    def send_headers(self, stream: H2Stream, block: bytes, *, end: bool) -> None:
        if self.first_block:
            block = self.first_block + block
            self.first_block = b""
        self.emit(header_frames(stream.id, block, end_stream=end, max_frame=self.peer_frame))
        if end:
            stream.ended = True
            self.on_sent(stream)

    def send_data(self, stream: H2Stream, data: bytes, end: bool) -> None:
        """Send body bytes now, or as the windows and the transport allow."""
        size = len(data)
        if (
            size <= self._turn
            and size <= self.send_window
            and size <= stream.send_window
            and not self.paused
            and not stream.in_ring
            and not stream.queued
        ):
            self.send_window -= size
            stream.send_window -= size
            self.emit(b"%b\0%c%b" % (size.to_bytes(3, "big"), end, stream.id.to_bytes(4, "big")))
            self._out.append(data)
            if end:
                stream.ended = True
                self.on_sent(stream)
            return
        if size:
            if stream.queue is None:
                stream.queue = deque()
            stream.queue.append(memoryview(data))
            stream.queued += size
        stream.ended = end
        self._enter_ring(stream)
        self._resume()

    def _enter_ring(self, stream: H2Stream) -> None:
        if not stream.in_ring:
            stream.in_ring = True
            self._ring.append(stream)

    def _resume(self) -> None:
        """Send what waits, one frame a turn for each stream, until a window or the transport is full."""
        ring = self._ring
        while ring and not self.paused and not self.closed:
            stream = ring[0]
            if stream.queued:
                if self.send_window <= 0:
                    return
                if stream.send_window <= 0:
                    # It comes back with its WINDOW_UPDATE.
                    ring.popleft()
                    stream.in_ring = False
                    continue
            ring.popleft()
            if stream.queued or stream.ended:
                self._send_turn(stream)
            if stream.queued:
                ring.append(stream)
            else:
                stream.in_ring = False

    def _send_turn(self, stream: H2Stream) -> None:
        piece: memoryview | None = None
        size = 0
        if stream.queued:
            assert stream.queue is not None
            room = min(self.send_window, stream.send_window, self._turn)
            head = stream.queue[0]
            size = len(head)
            if size <= room:
                piece = stream.queue.popleft()
            else:
                size = room
                piece = head[:room]
                stream.queue[0] = head[room:]
            self.send_window -= size
            stream.send_window -= size
            stream.queued -= size
        last = stream.ended and not stream.queued
        self.emit(b"%b\0%c%b" % (size.to_bytes(3, "big"), last, stream.id.to_bytes(4, "big")))
        if piece is not None:
            self._out.append(piece)
            self._out_bytes += size
            if self._out_bytes >= FLUSH_BYTES:
                self.flush()
            stream.wake_drains()
        if last:
            self.on_sent(stream)

    def credit(self, counted: int) -> None:
        """Count received body bytes, and give them back to the peer in large steps."""
        self._unacknowledged += counted
        if self._unacknowledged > self._receive_window:
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "more data than the connection's window")
        if self._unacknowledged > self._receive_window >> 1:
            self.emit(window_frame(0, self._unacknowledged))
            self._unacknowledged = 0

    def nuisance(self) -> None:
        """Count a frame that costs us more than the peer; too many in a while end the connection."""
        self._nuisances += 1
        if self._nuisances > self._max_nuisances:
            if self.read_s - self._nuisances_since_s < self._nuisance_window_s:
                raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "too many control frames")
            self._nuisances = 0
            self._nuisances_since_s = self.read_s

    # -- asyncio's side ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the interface, not the base class.
        transport = cast("asyncio.Transport", transport)
        self.transport = transport
        transport.set_write_buffer_limits(high=TRANSPORT_BYTES)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self._resume()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed:
            self.closed = True
        self._ring.clear()
        self._out.clear()
        self.on_lost(exc)

    def end(self, code: int, text: str = "", last_stream_id: int = 0) -> None:
        """Say goodbye and close. Streams that are open are lost."""
        if self.closed:
            return
        self._out.append(goaway_frame(last_stream_id, code, text))
        self.flush()
        self.closed = True
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        if self.closed:
            return
        self.read_s = self._time()
        if self._buffer:
            data = self._buffer + data
        if self.resting:
            self._buffer = data
        else:
            self._act(data)

    def _act(self, data: bytes) -> None:
        # What the frames cause to be sent leaves at the end of this call.
        self._armed = True
        try:
            position = self._take(data)
            self._buffer = data[position:] if position < len(data) else b""
            if self.sated:
                self.sated = False
                if self._buffer:
                    self.rest()
        except ConnectionFault as fault:
            log.debug("connection ends: %s (%s)", fault, fault.code.name)
            self.end(fault.code, str(fault), self.last_stream_id())
        finally:
            self.flush()

    def rest(self) -> None:
        """Act on nothing more before `go_on` is called."""
        self.resting = True
        self.loop.call_soon(self.go_on)

    def go_on(self) -> None:
        """Act on what has been read meanwhile."""
        self.resting = False
        if not self.closed:
            data, self._buffer = self._buffer, b""
            self._act(data)

    def last_stream_id(self) -> int:
        """Return the last stream of the peer's that we acted on."""
        return 0

    def _take(self, data: bytes, position: int = 0) -> int:
        """Act on the complete frames in `data`; return where the rest begins."""
        size = len(data)
        while size - position >= 9:
            length = data[position] << 16 | data[position + 1] << 8 | data[position + 2]
            if length > self._max_frame:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
            start = position + 9
            end = start + length
            if end > size:
                break
            kind = data[position + 3]
            flags = data[position + 4]
            stream_id = int.from_bytes(data[position + 5 : start], "big") & MAX_WINDOW
            position = end
            if self._block is not None and (kind != CONTINUATION or stream_id != self._block_stream):
                raise ConnectionFault(Code.PROTOCOL_ERROR, "a frame between HEADERS and its CONTINUATION")
            if not self._settled and kind != SETTINGS:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "the first frame is not SETTINGS")
            if kind == DATA:
                if not stream_id:
                    raise ConnectionFault(Code.PROTOCOL_ERROR, "DATA on the connection")
                if flags & PADDED:
                    if not length or data[start] >= length:
                        raise ConnectionFault(Code.PROTOCOL_ERROR, "padding longer than its frame")
                    end -= data[start]
                    start += 1
                if not length and not flags & END_STREAM:
                    self.nuisance()
                self.credit(length)
                self.on_data(stream_id, data[start:end], length, flags & END_STREAM != 0)
            elif kind == HEADERS:
                if not stream_id:
                    raise ConnectionFault(Code.PROTOCOL_ERROR, "HEADERS on the connection")
                if flags & PADDED:
                    if not length or data[start] >= length:
                        raise ConnectionFault(Code.PROTOCOL_ERROR, "padding longer than its frame")
                    end -= data[start]
                    start += 1
                if flags & HAS_PRIORITY:
                    start += 5
                if start > end:
                    raise ConnectionFault(Code.PROTOCOL_ERROR, "a truncated HEADERS frame")
                if flags & END_HEADERS:
                    self.on_headers(stream_id, data[start:end], flags & END_STREAM != 0)
                else:
                    self._block = bytearray(data[start:end])
                    self._block_stream = stream_id
                    self.block_s = self.read_s
                    self._block_flags = flags
            elif kind == WINDOW_UPDATE:
                self._take_window(stream_id, data[start:end])
            elif kind == CONTINUATION:
                self._take_continuation(flags, data[start:end])
            else:
                self._take_control(kind, flags, stream_id, data[start:end])
            if self.closed:
                return size
            if self.sated:
                break
        return position

    def _take_continuation(self, flags: int, payload: bytes) -> None:
        block = self._block
        if block is None:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        block += payload
        if not payload:
            self.nuisance()
        if len(block) > self._max_block:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, f"headers of more than {self._max_block} bytes")
        if flags & END_HEADERS:
            self._block = None
            self.on_headers(self._block_stream, bytes(block), self._block_flags & END_STREAM != 0)

    def _take_window(self, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "WINDOW_UPDATE of a wrong size")
        credit = int.from_bytes(payload, "big") & MAX_WINDOW
        if not stream_id:
            if not credit:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
            self.send_window += credit
            if self.send_window > MAX_WINDOW:
                raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "a window beyond 2^31 - 1")
            if self._ring:
                self._resume()
            self.on_window()
            return
        stream = self.find_stream(stream_id)
        if stream is None:
            self.nuisance()
            return
        if not credit or stream.send_window + credit > MAX_WINDOW:
            code = Code.FLOW_CONTROL_ERROR if credit else Code.PROTOCOL_ERROR
            self.emit(reset_frame(stream_id, code))
            self.on_reset(stream_id, code)
            return
        stream.send_window += credit
        if stream.queued and stream.send_window > 0:
            self._enter_ring(stream)
            self._resume()

    def _take_control(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind == SETTINGS:
            self._take_settings(flags, stream_id, payload)
        elif kind == PING:
            if len(payload) != 8:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, "PING of a wrong size")
            if stream_id:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "PING on a stream")
            if flags & ACK:
                self.on_ping_ack()
            else:
                self.nuisance()
                self.emit(frame(PING, ACK, 0, payload))
        elif kind == RST_STREAM:
            if len(payload) != 4:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, "RST_STREAM of a wrong size")
            if not stream_id:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "RST_STREAM on the connection")
            self.nuisance()
            self.on_reset(stream_id, int.from_bytes(payload, "big"))
        elif kind == GOAWAY:
            if stream_id or len(payload) < 8:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "a malformed GOAWAY")
            last = int.from_bytes(payload[:4], "big") & MAX_WINDOW
            self.on_goaway(last, int.from_bytes(payload[4:8], "big"), payload[8:].decode("utf-8", "replace"))
        elif kind == PUSH_PROMISE:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "PUSH_PROMISE although push is off")
        elif kind == PRIORITY:
            self.nuisance()
        # Unknown kinds are ignored (RFC 9113 §4.1).

    def _take_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & ACK:
            if payload:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, "a SETTINGS acknowledgement with a payload")
            self.on_settings_ack()
            return
        if len(payload) % 6:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "SETTINGS of a wrong size")
        if self._settled:
            self.nuisance()
        self._settled = True
        for key, value in struct.iter_unpack(">HI", payload):
            if key == SETTINGS_INITIAL_WINDOW_SIZE:
                if value > MAX_WINDOW:
                    raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "an initial window beyond 2^31 - 1")
                self._change_peer_window(value)
            elif key == SETTINGS_MAX_FRAME_SIZE:
                if not DEFAULT_FRAME_SIZE <= value <= MAX_FRAME_SIZE:
                    raise ConnectionFault(Code.PROTOCOL_ERROR, f"a maximal frame size of {value}")
                self.peer_frame = value
                self._turn = min(value, TURN_BYTES)
            elif key == SETTINGS_MAX_CONCURRENT_STREAMS:
                self.peer_streams = value
        self.emit(SETTINGS_ACK)
        self.on_settings()
        self._resume()

    def _change_peer_window(self, value: int) -> None:
        """Apply a new initial window to the streams that are open: theirs may become negative (RFC 9113 §6.9.2)."""
        change = value - self.peer_window
        self.peer_window = value
        for stream in self.open_streams():
            stream.send_window += change
            if stream.send_window > MAX_WINDOW:
                raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "a window beyond 2^31 - 1")
            if stream.queued and stream.send_window > 0:
                self._enter_ring(stream)
