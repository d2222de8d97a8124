"""A span for each request, named as kube-apiserver names them, with the verb's own span below it.

It stands behind the audit log, so that both have the id of the answer. The trace of a client is gone on with where the user
is one of those that may decide what is sampled; for all others the span begins a trace, with a link to theirs.
"""

from collections.abc import Callable

from kubedyno.cluster.apiserver.audit import EndingStream, EndingTunnel, Event, Identify
from kubedyno.cluster.apiserver.authentication import MASTERS, User
from kubedyno.cluster.apiserver.authorization import Attributes
from kubedyno.cluster.apiserver.flowcontrol.requestinfo import attributes_of
from kubedyno.cluster.tracing import Spans
from kubedyno.http.messages import App, Exchange, Headers, Request, Responder, Stream, Tunnel
from kubedyno.kube.status import StatusError

# Groups whose trace context is gone on with (apiserver/pkg/endpoints/filters: WithTracing).
_TRUSTED = frozenset({MASTERS, "system:monitoring"})
_VERBS = {
    "create": "Create", "get": "Get", "list": "List", "update": "Update", "patch": "Patch", "delete": "Delete",
    "deletecollection": "Delete",
}  # fmt: skip
_SERVER_ERROR = 500


class TracedRequests:
    """Traces what is asked.

    Args:
        app: What comes behind; looked up for each request.
        spans: Where spans go.
        identify: Says who asks.
        now: Epoch seconds.
    """

    def __init__(self, app: Callable[[], App], spans: Spans, identify: Identify, now: Callable[[], float]) -> None:
        self._app = app
        self._spans = spans
        self._identify = identify
        self.now = now

    def app(self, request: Request, responder: Responder) -> None:
        """Answer a request, and trace it."""
        self._app()(request, _Traced(self._spans, request, responder, self._is_trusted(request), self.now))

    def _is_trusted(self, request: Request) -> bool:
        if "traceparent" not in request.headers:
            return False
        try:
            user, _ = self._identify(request)
        except StatusError:
            user = User("")
        return not _TRUSTED.isdisjoint(user.groups)


class _Traced:
    """One request and its answer, as its responder."""

    def __init__(
        self, spans: Spans, request: Request, inner: Responder, trusted: bool, now: Callable[[], float]
    ) -> None:
        asked = attributes_of(request)
        uri = request.path + (f"?{request.query}" if request.query else "")
        self._inner = inner
        self._spans = spans
        self._now = now
        self._over = False
        self.on_close: Callable[[], None] | None = None
        inner.on_close = self._gone
        begun_s = now()
        about = {
            "http.request.method": request.method, "url.path": request.path, "http.target": uri,
            "audit-id": self.answer_id, "user_agent.original": request.headers.get("user-agent", ""),
        }  # fmt: skip
        self._span = spans.begin(
            span_name(request.method, request.path, asked), begun_s, about, server=True,
            remote=request.headers.get("traceparent", ""), trusted=trusted,
        )  # fmt: skip
        verb = _VERBS.get(asked.verb) if asked.resource else None
        more = {"audit-id": self.answer_id, "resource": asked.resource}
        self._verb = spans.begin(verb, begun_s, more, above=self._span) if verb else None

    def _end(self, status: int) -> None:
        if self._over:
            return
        self._over = True
        now_s = self._now()
        if self._verb is not None:
            self._spans.end(self._verb, now_s)
        failure = "" if status >= _SERVER_ERROR or not status else None
        self._spans.end(self._span, now_s, failure, http__response__status_code=status)

    def _gone(self) -> None:
        """The client went before it was answered."""
        self._end(0)
        if self.on_close is not None:
            self.on_close()

    @property
    def closed(self) -> bool:
        return self._inner.closed

    @property
    def answer_id(self) -> str:
        return self._inner.answer_id if isinstance(self._inner, Exchange | Event) else ""

    def send(self, status: int, content_type: bytes | str, body: bytes, headers: Headers = ()) -> None:
        """See `Responder`."""
        self._end(status)
        self._inner.send(status, content_type, body, headers)

    def expire(self, status: int, content_type: bytes | str, body: bytes, headers: Headers = ()) -> None:
        """See `Exchange`."""
        self._end(status)
        if isinstance(self._inner, Exchange):
            self._inner.expire(status, content_type, body, headers)

    def start(self, status: int, content_type: bytes | str, headers: Headers = ()) -> Stream:
        """See `Responder`."""
        return EndingStream(self._inner.start(status, content_type, headers), lambda: self._end(status))

    def upgrade(self, headers: Headers) -> Tunnel | None:
        """See `Responder`."""
        tunnel = self._inner.upgrade(headers)
        return None if tunnel is None else EndingTunnel(tunnel, lambda: self._end(101))


def span_name(method: str, path: str, asked: Attributes) -> str:
    """Return what a request's span is called: no names of objects, so that alike requests are one."""
    if not asked.resource:
        return method
    parts = path.split("/")
    base = "/".join(parts[:4] if parts[1] == "apis" else parts[:3])
    namespace = "/namespaces/{:namespace}" if asked.namespace else ""
    name = "/{:name}" if asked.name else ""
    subresource = f"/{asked.subresource}" if asked.subresource else ""
    return f"{method} {base}{namespace}/{asked.resource}{name}{subresource}"
