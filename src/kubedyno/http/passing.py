"""Ways back that pass everything on: whoever wraps a responder or its stream overrides what it cares for."""

from collections.abc import Callable

from kubedyno.http.messages import Headers, Responder, Stream, Tunnel


class PassingStream:
    """A stream behind another one; who hears of its close is the subclass's own."""

    __slots__ = ("_inner",)

    def __init__(self, inner: Stream) -> None:
        self._inner = inner

    @property
    def closed(self) -> bool:
        return self._inner.closed

    @property
    def buffered(self) -> int:
        return self._inner.buffered

    def write(self, data: bytes) -> None:
        self._inner.write(data)

    def close(self) -> None:
        self._inner.close()

    def abort(self) -> None:
        self._inner.abort()

    async def drain(self, limit: int) -> None:
        await self._inner.drain(limit)


class PassingResponder:
    """A responder behind another one."""

    __slots__ = ("_inner",)

    def __init__(self, inner: Responder) -> None:
        self._inner = inner

    @property
    def on_close(self) -> Callable[[], None] | None:
        return self._inner.on_close

    @on_close.setter
    def on_close(self, call: Callable[[], None] | None) -> None:
        self._inner.on_close = call

    @property
    def closed(self) -> bool:
        return self._inner.closed

    def send(self, status: int, content_type: bytes | str, body: bytes, headers: Headers = ()) -> None:
        self._inner.send(status, content_type, body, headers)

    def start(self, status: int, content_type: bytes | str, headers: Headers = ()) -> Stream:
        return self._inner.start(status, content_type, headers)

    def upgrade(self, headers: Headers) -> Tunnel | None:
        return self._inner.upgrade(headers)
