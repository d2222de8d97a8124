"""One request under way: what it names, who asks, and how to answer it."""

from typing import Any

from kubedyno.cluster.apiserver.authentication import User
from kubedyno.cluster.apiserver.metrics import RequestCounts
from kubedyno.cluster.apiserver.routes import Route
from kubedyno.cluster.registry.kind import Kind
from kubedyno.http.messages import Headers, Request, Responder, Stream, Tunnel

HEADERS: Headers = (("Cache-Control", "no-cache, private"),)
NO_SNIFF: Headers = (("X-Content-Type-Options", "nosniff"),)


class Call:
    """See the module.

    Attributes:
        request: What came.
        responder: The way back.
        user: Who asks.
        route: What the path names.
        verb: "get", "list", "watch", "create", …
        warnings: Become Warning headers.
        gate: Its way through admission (`admission`), once something is about it.
    """

    __slots__ = ("_began_s", "_counts", "gate", "request", "responder", "route", "user", "verb", "warnings")

    def __init__(
        self, request: Request, responder: Responder, user: User, route: Route[Kind], verb: str, counts: RequestCounts
    ) -> None:
        self.request = request
        self.responder = responder
        self.user = user
        self.route = route
        self.verb = verb
        self.warnings: list[str] = [route.kind.deprecation] if route.kind.deprecation else []
        self.gate: Any = None
        self._counts = counts
        self._began_s = counts.now_s()

    def begin_anew(self) -> None:
        """Forget what was warned of: the request is looked at once more."""
        deprecation = self.route.kind.deprecation
        self.warnings[:] = [deprecation] if deprecation else []

    def answer(self, status: int, media: str, body: bytes, headers: Headers = ()) -> None:
        """Answer completely."""
        self._count(status)
        self.responder.send(status, media, body, self._headers(headers))

    def start(self, status: int, media: str, headers: Headers = ()) -> Stream:
        """Begin an answer in pieces."""
        self._count(status)
        return self.responder.start(status, media, self._headers(headers))

    def upgrade(self, headers: Headers) -> Tunnel | None:
        """Switch to another protocol; None when the connection cannot."""
        tunnel = self.responder.upgrade(headers)
        if tunnel is not None:
            self._count(101)
        return tunnel

    def _count(self, status: int) -> None:
        counts = self._counts
        # A watch and a switched connection end when their peer likes.
        endless = self.verb == "watch" or status == 101
        counts.add(self.verb, self.route, status, None if endless else counts.now_s() - self._began_s)

    def _headers(self, more: Headers) -> Headers:
        if not self.warnings:
            return HEADERS + more if more else HEADERS
        texts = (text.replace("\\", "\\\\").replace('"', '\\"') for text in dict.fromkeys(self.warnings))
        return (*HEADERS, *more, *(("Warning", f'299 - "{text}"') for text in texts))
