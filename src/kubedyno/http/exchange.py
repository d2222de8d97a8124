"""A client's request and what became of it: the state that travels between pool and connections.

An `Exchange` collects its whole answer and calls back once. A `StreamExchange` hands the answer's body out in
pieces as they arrive, and lets the server send on only as they are read.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Protocol

from kubedyno.base.log import logger
from kubedyno.http.h2 import H2Stream
from kubedyno.http.hpack_codec import Decoder, Fields, encode_field, encode_string
from kubedyno.http.messages import Headers

log = logger(__name__)

_MAX_HEADER_LIST = 1 << 20


class ConnectionLost(ConnectionError):
    """The connection ended before the answer was complete: whether the request was acted on is not known."""


class RequestTimeout(TimeoutError):
    """No complete answer in time."""


class Overloaded(ConnectionError):
    """More requests wait for a connection than the pool may queue."""


class AnswerTooLarge(ConnectionError):
    """An answer's body is larger than the client accepts."""


def fields_of(block: bytes) -> dict[str, str]:
    """Return the fields of a header block that needs no dynamic table; repeated ones joined with ", "."""
    return Decoder(joined, 0, _MAX_HEADER_LIST).decode(block)


def joined(fields: Fields) -> dict[str, str]:
    """Return fields as a mapping; repeated ones joined with ", "."""
    found: dict[str, str] = {}
    for name, value in fields:
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


class Result:
    """How a request ended: an answer, or `error`."""

    __slots__ = ("_fields", "body", "error", "status")

    def __init__(
        self, status: int, body: bytes, error: OSError | None = None, fields: bytes | dict[str, str] = b""
    ) -> None:
        self.status = status
        self.body = body
        # ConnectionLost, RequestTimeout, ssl.SSLError and other OSErrors; None for any answer, 500 included.
        self.error = error
        self._fields = fields

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in lower case; decoded when asked for."""
        if isinstance(self._fields, bytes):
            self._fields = fields_of(self._fields) if self._fields else {}
        return self._fields

    @property
    def retry_after_s(self) -> float:
        """How long the server asks to wait, 0.0 when it does not."""
        if self.status not in {429, 503}:
            return 0.0
        text = self.headers.get("retry-after", "")
        return float(text) if text.isascii() and text.isdigit() else 0.0


Done = Callable[[Result], None]


class Profile:
    """The fields that many requests share, encoded once for both protocols."""

    __slots__ = ("_after", "_before", "headers", "scheme_authority")

    def __init__(self, scheme: str, authority: str, headers: Headers) -> None:
        self.scheme_authority = encode_field(":scheme", scheme) + encode_field(":authority", authority)
        self.headers = f"Host: {authority}\r\n".encode() + b"".join(
            f"{name}: {value}\r\n".encode() for name, value in headers
        )
        self._before: dict[str, bytes] = {}
        self._after = b"".join(encode_field(name.lower(), value) for name, value in headers)

    def block(self, method: str, path: str) -> bytes:
        """Return a request's HPACK block; 4 is the static table's index of `:path`."""
        before = self._before.get(method)
        if before is None:
            before = self._before[method] = encode_field(":method", method) + self.scheme_authority + b"\x04"
        return b"%b%b%b" % (before, encode_string(path.encode()), self._after)


class Carrier(Protocol):
    """The connection that an exchange is on."""

    def cancel(self, exchange: "Exchange", error: OSError) -> None:
        """Give the exchange up and tell the server so, if the protocol can."""
        ...

    def read_on(self, exchange: "Exchange", size: int) -> None:
        """That many bytes of the body have been used: the server may send as many more."""
        ...


class Exchange(H2Stream):
    """One request; its answer is collected and given to `done`."""

    __slots__ = (
        "body",
        "carrier",
        "chunks",
        "deadline_s",
        "done",
        "fields",
        "max_body",
        "method",
        "path",
        "profile",
        "received",
        "status",
        "tries",
        "unread",
    )
    streaming = False

    def __init__(
        self, method: str, path: str, profile: Profile, body: bytes, done: Done, deadline_s: float, max_body: int
    ) -> None:
        super().__init__(0, 0)
        self.method = method
        self.path = path
        self.profile = profile
        self.body = body
        self.done = done
        self.deadline_s = deadline_s
        self.max_body = max_body
        self.tries = 0
        self.carrier: Carrier | None = None
        self.status = 0
        self.fields: bytes | dict[str, str] = b""
        self.chunks: list[bytes] | None = None
        self.received = 0
        # Received and not given back to the server's window yet.
        self.unread = 0

    def reset(self) -> None:
        """Forget what came back, to be sent again."""
        self.drop_queue()
        self.ended = False
        self.status = 0
        self.chunks = None
        self.received = self.unread = 0

    def on_head(self, status: int, fields: bytes | dict[str, str]) -> None:
        """Take the answer's head."""
        self.status = status
        self.fields = fields

    def on_body(self, data: bytes) -> None:
        """Take a piece of the answer's body."""
        self.received += len(data)
        if self.received > self.max_body:
            if self.carrier is not None:
                self.carrier.cancel(self, AnswerTooLarge(f"an answer of more than {self.max_body} bytes"))
            return
        if self.chunks is None:
            self.chunks = [data]
        else:
            self.chunks.append(data)
        if self.carrier is not None:
            self.carrier.read_on(self, len(data))

    def finish(self, error: OSError | None = None) -> None:
        """Call back; the exchange is over."""
        chunks = self.chunks
        self.carrier = None
        body = b"" if chunks is None else chunks[0] if len(chunks) == 1 else b"".join(chunks)
        try:
            self.done(Result(self.status, body, error, self.fields))
        except Exception:
            # The caller's fault must not end the other exchanges of this connection.
            log.exception("the callback of %s %s failed", self.method, self.path)


def _ignore(result: Result) -> None:
    """Do nothing: a streamed answer is read, not called back."""


class StreamExchange(Exchange):
    """One request whose answer is read in pieces while it arrives.

    `async for piece in stream` ends with the body, and raises what broke it.

    Attributes:
        patience: So many bytes may lie here before the reader is woken; `nudge` wakes it earlier. Each wake-up of a
            process that sleeps costs more than a piece of the body does.
    """

    __slots__ = ("_error", "_loop", "_lying", "_over", "_pieces", "_waiter", "opened", "patience")
    streaming = True

    def __init__(self, method: str, path: str, profile: Profile, body: bytes, deadline_s: float) -> None:
        super().__init__(method, path, profile, body, _ignore, deadline_s, 0)
        self._loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = self._loop.create_future()
        self.patience = 0
        # Each with the loop's time at which it came.
        self._pieces: deque[tuple[float, bytes]] = deque()
        self._lying = 0
        self._waiter: asyncio.Future[None] | None = None
        self._over = False
        self._error: OSError | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        if isinstance(self.fields, bytes):
            self.fields = fields_of(self.fields)
        return self.fields

    def on_head(self, status: int, fields: bytes | dict[str, str]) -> None:
        super().on_head(status, fields)
        # From here on the answer may take as long as it likes.
        self.deadline_s = float("inf")
        if not self.opened.done():
            self.opened.set_result(None)

    def on_body(self, data: bytes) -> None:
        if data:
            self._pieces.append((self._loop.time(), data))
            self._lying += len(data)
            if self._lying > self.patience:
                self._wake()

    def nudge(self) -> None:
        """Wake the reader, if anything lies here."""
        if self._pieces:
            self._wake()

    def finish(self, error: OSError | None = None) -> None:
        self.carrier = None
        self._over = True
        self._error = error
        if not self.opened.done():
            self.opened.set_exception(error or ConnectionLost("the answer has no head"))
            # Nobody may be waiting any more.
            self.opened.exception()
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        pieces = await self.pieces()
        if not pieces:
            raise StopAsyncIteration
        return pieces[0][1] if len(pieces) == 1 else b"".join([data for _, data in pieces])

    async def pieces(self) -> list[tuple[float, bytes]]:
        """Return what has come of the body since the last call, each piece with the loop's time; [] at its end.

        Raises:
            OSError: What broke it, after all that came before.
        """
        while not self._pieces:
            if self._over:
                if self._error is not None:
                    raise self._error
                return []
            self._waiter = self._loop.create_future()
            await self._waiter
        pieces = list(self._pieces)
        self._pieces.clear()
        size, self._lying = self._lying, 0
        if self.carrier is not None:
            self.carrier.read_on(self, size)
        return pieces

    async def read(self) -> bytes:
        """Return what is left of the body."""
        return b"".join([piece async for piece in self])

    def close(self) -> None:
        """Read no more; the server is told."""
        if self.carrier is not None:
            self.carrier.cancel(self, ConnectionLost("closed by its reader"))
