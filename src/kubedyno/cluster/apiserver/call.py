"""One request under way: what it names, who asks, and how to answer it."""

import re
from itertools import accumulate
from typing import Any

from kubedyno.base import aio
from kubedyno.cluster.apiserver.authentication import User
from kubedyno.cluster.apiserver.flowcontrol.gate import Ticket
from kubedyno.cluster.apiserver.flowcontrol.requestinfo import COLLECTED, named_by
from kubedyno.cluster.apiserver.messages import has_messages
from kubedyno.cluster.apiserver.metrics import READING, SIZED, MeasuredStream, RequestCounts
from kubedyno.cluster.apiserver.negotiation import MEDIA, Form, form_of, is_routed
from kubedyno.cluster.apiserver.routes import Route
from kubedyno.cluster.registry.customresources import CustomResource
from kubedyno.cluster.registry.kind import Kind
from kubedyno.http.messages import Headers, Request, Responder, Stream, Tunnel

HEADERS: Headers = (("Cache-Control", "no-cache, private"),)
NO_SNIFF: Headers = (("X-Content-Type-Options", "nosniff"),)
# Media types of applies begin so.
_APPLY = "application/apply-patch"
# Characters that all warnings of a response may have before each is cut to so many (k8s.io/apiserver's filters).
_WARNINGS_LENGTH, _WARNING_LENGTH = 4096, 256
_YAML_LEAD = re.compile(r"\A(error converting YAML to JSON: )?yaml: unmarshal errors:\n")
# Subresources whose handlers know no columns.
_WITHOUT_TABLE = frozenset({
    ("pods", "ephemeralcontainers"), ("pods", "resize"), ("certificatesigningrequests", "approval"),
    ("apiservices", "status"), ("customresourcedefinitions", "status"), ("resourceclaims", "status"),
    ("namespaces", "finalize"),
})  # fmt: skip
# No header may hold these.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Call:
    """See the module.

    Attributes:
        request: What came.
        responder: The way back.
        user: Who asks.
        route: What the path names.
        verb: "get", "list", "watch", "create", …
        warnings: Become Warning headers.
        watched: Of a path that asks for a watch the name of the object that it means, "" for all; None for any other path.
        gate: Its way through admission (`admission`), once something is about it.
    """

    __slots__ = ("_began_s", "_counts", "gate", "request", "responder", "route", "user", "verb", "warnings", "watched")

    def __init__(
        self, request: Request, responder: Responder, user: User, route: Route[Kind], verb: str, counts: RequestCounts
    ) -> None:
        self.request = request
        self.responder = responder
        self.user = user
        self.route = route
        self.verb = verb
        self.warnings: list[str] = [route.kind.deprecation] if route.kind.deprecation else []
        self.watched: str | None = None
        self.gate: Any = None
        self._counts = counts
        self._began_s = counts.now_s()

    def form(self, pretty: str | None = None, *, route: tuple[str, ...] = MEDIA) -> Form:
        """Return the form in which the client wants objects of the route's kind.

        Args:
            pretty: The query parameter, None when not given.
            route: What the path's route says that it has.

        Raises:
            NotAcceptable: None will do.
        """
        kind = self.route.kind
        messages = has_messages(kind.resource.api_version, kind.resource.kind)
        route = () if isinstance(kind, CustomResource) else route
        tables = (kind.resource.plural, self.route.subresource) not in _WITHOUT_TABLE
        headers = self.request.headers
        if not is_routed(headers.get("accept", ""), route):
            # It reaches no handler that could warn.
            self.warnings.clear()
        return form_of(headers, pretty, route=route, messages=messages, tables=tables)

    def begin_anew(self) -> None:
        """Forget what was warned of: the request is looked at once more."""
        deprecation = self.route.kind.deprecation
        self.warnings[:] = [deprecation] if deprecation else []

    def answer(self, status: int, media: str, body: bytes, headers: Headers = ()) -> None:
        """Answer completely."""
        self._count(status)
        if self.verb in SIZED:
            self._counts.sized(self.verb, self.route, len(body))
        self.responder.send(status, media, body, self._headers(headers))

    def start(self, status: int, media: str, headers: Headers = ()) -> Stream:
        """Begin an answer in pieces."""
        self._count(status)
        stream = self.responder.start(status, media, self._headers(headers))
        if self.verb not in SIZED:
            return stream
        return MeasuredStream(stream, lambda size: self._counts.sized(self.verb, self.route, size))

    async def turn(self) -> None:
        """Let the loop turn, and others have theirs: between two parts of a long answer."""
        responder = self.responder
        await (responder.turn() if type(responder) is Ticket else aio.sleep(0))

    def upgrade(self, headers: Headers) -> Tunnel | None:
        """Switch to another protocol; None when the connection cannot."""
        tunnel = self.responder.upgrade(headers)
        if tunnel is not None:
            self._count(101)
        return tunnel

    def _count(self, status: int) -> None:
        counts = self._counts
        if counts.is_overdue(self.request):
            return
        # A watch and a switched connection end when their peer likes.
        endless = self.verb == "watch" or status == 101
        took_s = None if endless else counts.now_s() - self._began_s
        # Only of what has no effect is the parameter looked at: a query is rare with writes.
        query = self.request.query
        dry = named = False
        verb = self.verb
        if query:
            dry = "dryRun=All" in query and verb not in READING
            named = verb in COLLECTED and bool(named_by(query))
        if verb == "patch" and self.request.headers.get("content-type", "").startswith(_APPLY):
            verb = "apply"
        counts.add(verb, self.route, status, took_s, "All" if dry else "", named=named)

    def _headers(self, more: Headers) -> Headers:
        if not self.warnings:
            return HEADERS + more if more else HEADERS
        escaped = (text.replace("\\", "\\\\").replace('"', '\\"') for text in _shortened(_lines(self.warnings)))
        return (*HEADERS, *more, *(("Warning", f'299 - "{text}"') for text in escaped))


def _lines(warnings: list[str]) -> list[str]:
    """Return each warning once: what YAML's decoder lists is several, and what has control characters is none."""
    lines: list[str] = []
    for text in warnings:
        listed, lead = _YAML_LEAD.subn("", text)
        lines += [line.strip() for line in listed.split("\n")] if lead else [text]
    return [line for line in dict.fromkeys(lines) if not _CONTROL.search(line)]


def _shortened(warnings: list[str]) -> list[str]:
    """Return the warnings that a response has room for, each of them cut where all are too long together."""
    ends = list(accumulate(map(len, warnings)))
    whole = sum(end <= _WARNINGS_LENGTH for end in ends)
    if whole == len(warnings):
        return warnings
    found = [text[:_WARNING_LENGTH] for text in warnings[: whole + 1]]
    written = sum(map(len, found))
    for text in warnings[whole + 1 :]:
        if written >= _WARNINGS_LENGTH:
            break
        found.append(text[:_WARNING_LENGTH])
        written += len(found[-1])
    return found
