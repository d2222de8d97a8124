"""The way back of one HTTP/1.1 request: an answer in one piece, in chunks, or a tunnel; held back while its reader is slow."""

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from kubedyno.base import aio
from kubedyno.http.answers import bodiless, head_of, switching_head
from kubedyno.http.messages import Headers, Stream, Tunnel

if TYPE_CHECKING:
    from kubedyno.http.h1_server import Http1Connection


class Http1Exchange:
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
        # Forgotten as soon as nothing would call it, so that who set it and this one do not keep each other.
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
        self.on_close = None
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
                self.on_close = None
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

    def pause_input(self) -> None:
        if not self._closed:
            self._connection.pause_input()

    def resume_input(self) -> None:
        if not self._closed:
            self._connection.resume_input()

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
        self.on_close = None
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
