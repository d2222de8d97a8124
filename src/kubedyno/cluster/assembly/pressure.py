"""How many requests may be under way: the API server's max-in-flight limits, where priority and fairness is off.

Most requests are answered before the next is looked at, and count for nothing. What waits (a long list for a slow
reader, a write for a webhook, a latency on purpose) counts until it is answered; watches and streams never do.
"""

from collections.abc import Callable

from kubedyno.cluster.apiserver.authentication import User
from kubedyno.cluster.apiserver.queries import asks_for
from kubedyno.http.messages import App, Headers, Request, Responder
from kubedyno.kube.status import StatusError

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_STREAMS = ("/exec", "/attach", "/portforward", "/proxy")
# Who always gets an answer, as with the real server.
_PRIVILEGED = "system:masters"
_TEXT = "text/plain; charset=utf-8"
_REFUSAL = b"Too many requests, please try again later.\n"
_RETRY: Headers = (("Retry-After", "1"), ("X-Content-Type-Options", "nosniff"))


def is_long_running(request: Request) -> bool:
    """Say whether a request is one that is expected to stay: a watch, a followed log, a stream."""
    if request.path.endswith(_STREAMS):
        return True
    return request.method in _READING and any(asks_for(request.query, name) for name in ("watch", "follow"))


class Pressure:
    """The limits.

    Args:
        app: What comes behind; looked up for each request, so that it may change.
        user_of: Whose a request is.
        reading: Requests that read and may be under way at once; 0: no limit.
        mutating: The same of those that write.
    """

    def __init__(
        self, app: Callable[[], App], user_of: Callable[[Request], User], *, reading: int, mutating: int
    ) -> None:
        self._app = app
        self._user_of = user_of
        self._limits = (reading, mutating)
        # Requests that waited when their handler had returned; those that were answered since are among them.
        self._waiting: tuple[list[Responder], list[Responder]] = ([], [])
        self.refused = 0
        self.on_refused: Callable[[Request, int], None] = lambda _, __: None

    def in_flight(self) -> tuple[int, int]:
        """Return how many requests that read, and that write, are under way."""
        reading, mutating = (self._open(sort) for sort in (0, 1))
        return reading, mutating

    def app(self, request: Request, responder: Responder) -> None:
        """Answer a request, now or later, or refuse it."""
        sort = request.method not in _READING
        limit = self._limits[sort]
        if (
            limit
            and len(self._waiting[sort]) >= limit
            and self._open(sort) >= limit
            and not is_long_running(request)
            and not self._is_privileged(request)
        ):
            self.refused += 1
            self.on_refused(request, 429)
            responder.send(429, _TEXT, _REFUSAL, _RETRY)
            return
        self._app()(request, responder)
        if limit and not responder.closed and not is_long_running(request):
            self._waiting[sort].append(responder)

    def stop(self) -> None:
        """Let nothing run any more: nothing here does by itself."""

    def _open(self, sort: int) -> int:
        waiting = self._waiting[sort]
        waiting[:] = [responder for responder in waiting if not responder.closed]
        return len(waiting)

    def _is_privileged(self, request: Request) -> bool:
        try:
            return _PRIVILEGED in self._user_of(request).groups
        except StatusError:
            return False
