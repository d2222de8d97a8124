"""The way back of one HTTP/2 request: an answer in one piece or streamed; what is beyond a window waits with its stream."""

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from kubedyno.base import aio
from kubedyno.http.answers import Stamps, block_of, bodiless
from kubedyno.http.frames import Code
from kubedyno.http.h2 import H2Stream
from kubedyno.http.messages import Headers, Stream, Tunnel

if TYPE_CHECKING:
    from kubedyno.http.h2_server import ServerConnection


class Head:
    """What a header block says; shared by all requests with the same block."""

    __slots__ = ("headers", "length", "malformed", "method", "path", "query")

    def __init__(
        self, method: str, path: str, query: str, headers: Mapping[str, str], length: int, malformed: str
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        # -1 when not said.
        self.length = length
        self.malformed = malformed


class ServerStream(H2Stream):
    """One request and its answer: what the application sees as Responder, then as Stream."""

    __slots__ = (
        "_answered",
        "_chunks",
        "_closed",
        "_id",
        "connection",
        "head",
        "on_close",
        "opened_s",
        "received",
        "refused",
        "started",
    )

    def __init__(self, connection: "ServerConnection", stream_id: int, head: Head) -> None:
        super().__init__(stream_id, connection.peer_window)
        self.connection = connection
        self.head = head
        self.opened_s = connection.read_s
        self.received = 0
        self._chunks: list[bytes] | None = None
        # Forgotten as soon as nothing would call it: mostly it is a method of who has this stream, and the two would
        # keep each other until the next collection.
        self.on_close: Callable[[], None] | None = None
        # The application has the request; `_answered`: it has called `send` or `start`.
        self.started = False
        # Answered before its body was complete: what still arrives is dropped.
        self.refused = False
        self._answered = False
        self._closed = False
        self._id = b""

    @property
    def answer_id(self) -> str:
        stamps = self.connection.server.stamps
        if not self._id and stamps is not None:
            self._id = stamps.id_of(self.head.headers)
        return self._id.decode()

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def buffered(self) -> int:
        return self.queued

    @property
    def waiting(self) -> bool:
        """True while the application owes an answer."""
        return self.started and not self._answered and not self._closed

    def add(self, data: bytes) -> None:
        """Keep a piece of the request's body."""
        if self._chunks is None:
            self._chunks = []
        self._chunks.append(data)
        self.received += len(data)

    def body(self) -> bytes:
        """Return the request's body and forget it."""
        chunks = self._chunks
        self._chunks = None
        if chunks is None:
            return b""
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def send(self, status: int, content_type: bytes | str, body: bytes, headers: Headers = ()) -> None:
        if not self._begin():
            return
        self._closed = True
        self.on_close = None
        connection = self.connection
        size = len(body)
        block = block_of(status, content_type, size, headers)
        if connection.server.stamps is not None:
            block += self._stamp(connection.server.stamps)
        if not size or bodiless(status) or self.head.method == "HEAD":
            connection.send_headers(self, block, end=True)
        elif (
            size <= 16384
            and size <= connection.send_window
            and size <= self.send_window
            and not connection.paused
            and len(block) <= 16384
            and not connection.first_block
        ):
            # The common answer in one piece: HEADERS, and DATA with END_STREAM.
            connection.send_window -= size
            id4 = self.id.to_bytes(4, "big")
            connection.emit(
                b"%b\1\4%b%b%b\0\1%b%b"
                % (len(block).to_bytes(3, "big"), id4, block, size.to_bytes(3, "big"), id4, body)
            )
            self.ended = True
            connection.on_sent(self)
        else:
            connection.send_headers(self, block, end=False)
            connection.send_data(self, body, end=True)

    def start(self, status: int, content_type: bytes | str, headers: Headers = ()) -> Stream:
        if self._begin():
            end = self.head.method == "HEAD" or bodiless(status)
            self._closed = end
            if end:
                self.on_close = None
            block = block_of(status, content_type, -1, headers)
            if self.connection.server.stamps is not None:
                block += self._stamp(self.connection.server.stamps)
            self.connection.send_headers(self, block, end=end)
        return self

    def expire(self, status: int, content_type: bytes | str, body: bytes, headers: Headers = ()) -> None:
        if self._answered:
            self.abort()
        elif not self._closed:
            self.send(status, content_type, body, headers)
            # What comes now is too late, and no mistake.
            self._answered = False

    def _stamp(self, stamps: Stamps) -> bytes:
        return stamps.block(self._id or stamps.id_of(self.head.headers))

    def upgrade(self, headers: Headers) -> Tunnel | None:  # noqa: ARG002 - HTTP/1.1's alone
        return None

    def _begin(self) -> bool:
        """Return False when the peer is gone; a second answer is our own mistake."""
        if self._answered:
            raise RuntimeError(f"{self.head.method} {self.head.path} is answered twice")
        if self._closed:
            return False
        self._answered = True
        if self.started:
            self.connection.server.pending -= 1
        return True

    def write(self, data: bytes) -> None:
        if not self._closed and data:
            self.connection.send_data(self, data, end=False)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.on_close = None
            self.connection.send_data(self, b"", end=True)

    def abort(self) -> None:
        if not self._closed:
            self.connection.reset(self, Code.INTERNAL_ERROR)

    async def drain(self, limit: int) -> None:
        await aio.sleep(0)
        if self.queued > limit and not self._closed:
            future = asyncio.get_running_loop().create_future()
            if self.drains is None:
                self.drains = []
            self.drains.append((limit, future))
            await future

    def lost(self) -> None:
        """The peer or the connection has ended the stream."""
        self._chunks = None
        self.drop_queue()
        if self._closed:
            return
        if self.started and not self._answered:
            self.connection.server.pending -= 1
        self._closed = True
        self.wake_drains()
        call = self.on_close
        if call is not None:
            self.on_close = None
            call()
