"""What passes between a server's framing and its application: request, peer, responder, stream.

The application is one plain function `app(request, responder)`. It answers at once, or keeps the responder and
answers later; it never blocks. HTTP/1.1 and HTTP/2 look the same from here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Certificate:
    """A client certificate that the server's CA signed: its subject, and the SHA-256 of the whole in hexadecimal."""

    common_name: str
    organizations: tuple[str, ...]
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a connection.

    Attributes:
        id: Number of the connection within its server, from 1.
        address: e.g. "127.0.0.1:40122".
        certificate: None when the client showed none.
    """

    id: int
    address: str
    certificate: Certificate | None = None


class Request:
    """One request, complete with its body.

    Attributes:
        path: As sent, without the query, still percent-encoded.
        query: As sent, without the question mark.
        headers: Lower-case names; repeated ones are joined with ", ". Requests with equal headers on one connection
            may share one mapping, so it must never be changed, and may be used as a key by identity while it lives.
    """

    __slots__ = ("body", "headers", "method", "path", "peer", "query")

    def __init__(self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes, peer: Peer) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.body = body
        self.peer = peer


class Stream(Protocol):
    """The body of an answer that is written in pieces: a watch, a long list, a log.

    Attributes:
        on_close: Called once when the peer or the connection ends the stream, or `abort` does; not after `close`.
    """

    on_close: Callable[[], None] | None

    @property
    def closed(self) -> bool:
        """True when nothing written would arrive any more."""
        ...

    @property
    def buffered(self) -> int:
        """Bytes written that the peer's window or the transport has not taken yet."""
        ...

    def write(self, data: bytes) -> None:
        """Send a piece; sent with whatever else the connection has in this turn of the loop. Never blocks."""
        ...

    def close(self) -> None:
        """End the body as complete."""
        ...

    def abort(self) -> None:
        """End the body as broken: the peer sees an error, not an end."""
        ...

    async def drain(self, limit: int) -> None:
        """Let the loop turn once, then return when at most `limit` bytes are buffered, or the stream is closed."""
        ...


class Tunnel(Stream, Protocol):
    """A connection that speaks another protocol from here on, both ways.

    Attributes:
        on_data: Called with what arrives. What came before it was set waits for it.
    """

    on_data: Callable[[bytes], None] | None

    def pause_input(self) -> None:
        """Read no more from the peer, which then waits; what has been read may still come. Its end is not seen either."""
        ...

    def resume_input(self) -> None:
        """Read again; nothing when it is being read."""
        ...


class Responder(Protocol):
    """The way back of one request. Exactly one of `send`, `start` and `upgrade` is called, once."""

    on_close: Callable[[], None] | None

    @property
    def closed(self) -> bool:
        """True when the peer is gone, or the answer complete: calls then do nothing."""
        ...

    def send(self, status: int, content_type: bytes | str, body: bytes, headers: Headers = ()) -> None:
        """Answer completely."""
        ...

    def start(self, status: int, content_type: bytes | str, headers: Headers = ()) -> Stream:
        """Begin an answer whose body follows in pieces. The head leaves at once."""
        ...

    def upgrade(self, headers: Headers) -> Tunnel | None:
        """Answer 101 with these headers, Upgrade and Connection among them; None: this connection cannot.

        A caller that gets None answers in another way. HTTP/2 cannot (its requests have no Upgrade header), nor can
        HTTP/1.0.
        """
        ...


@runtime_checkable
class Exchange(Protocol):
    """A responder as a server makes it, before anybody wraps it."""

    @property
    def answer_id(self) -> str:
        """Id that the answer carries (`answers.Stamps`), "" when answers carry none."""
        ...

    def expire(self, status: int, content_type: bytes | str, body: bytes, headers: Headers = ()) -> None:
        """Answer in place of an application that takes too long; what that one says later is dropped.

        An answer that has begun is cut off instead.
        """
        ...


App = Callable[[Request, Responder], None]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server grants to one connection. The sizes are bytes.

    Attributes:
        max_body: Of a request; kube-apiserver's is 3 MiB.
        max_header_bytes: Of a request's head, as sent and as decoded; net/http's is 1 MiB, ours smaller.
        max_streams: Requests under way on one HTTP/2 connection; net/http's default.
        max_unread: Bodies that are still arriving, all streams of a connection together.
        max_nuisances: Resets, pings, settings and empty frames in `nuisance_window_s`, past which the peer is told to
            calm down (CVE-2023-44487 and its relatives).
        head_timeout_s: For a preface, an HTTP/1.1 head, a header block in several frames.
        request_timeout_s: From a request's head to the end of its body.
        idle_timeout_s: A connection without a request under way is closed after so long.
        too_large: Content type and body of the 413 that a larger body gets.
    """

    max_body: int = 3 << 20
    max_header_bytes: int = 64 << 10
    max_streams: int = 250
    max_unread: int = 32 << 20
    max_nuisances: int = 2000
    nuisance_window_s: float = 10.0
    head_timeout_s: float = 30.0
    request_timeout_s: float = 60.0
    idle_timeout_s: float = 180.0
    too_large: tuple[str, bytes] = ("text/plain; charset=utf-8", b"request body too large\n")
