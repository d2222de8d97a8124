"""How long a request may take: a minute, or less if it says so (`?timeout=`); watches and streams are exempt.

Nearly every request is answered when its handler returns, and costs one look here. The others are swept once a second;
what is overdue gets the real server's 504, and what its handler says later is dropped.
"""

import asyncio
from collections.abc import Callable

from kubedyno.base.times import duration_ns_of
from kubedyno.cluster.apiserver.call import HEADERS
from kubedyno.cluster.apiserver.flowcontrol.requestinfo import is_long_running, sort_of
from kubedyno.cluster.apiserver.negotiation import JSON
from kubedyno.cluster.apiserver.queries import parameters
from kubedyno.http.messages import App, Headers, Request, Responder
from kubedyno.kube.status import BadRequest, Timeout

# kube-apiserver's --request-timeout.
MOST_S = 60.0
_SWEEP_S = 1.0
# So many are remembered before those that were answered since are forgotten, with their bodies.
_MANY = 64
# See `Exchange.expire`.
Expire = Callable[[int, str, bytes, Headers], None]
_OVERDUE = Timeout("Timeout: request did not complete within the allotted timeout", {}).body() + b"\n"


class Lifetimes:
    """Ends requests that take too long.

    Args:
        app: What comes behind; looked up for each request, so that it may change.
        count: Takes a request that was ended, and with which status.
    """

    def __init__(self, app: Callable[[], App], count: Callable[[Request, int], None]) -> None:
        self._app = app
        self._count = count
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[float, Request, Responder, Expire]] = []
        self._prune_at = _MANY
        self._sweeper: asyncio.TimerHandle | None = None

    def app(self, request: Request, responder: Responder) -> None:
        """Answer a request, now or later, or end it."""
        limit_s = MOST_S
        if "timeout=" in request.query:
            try:
                limit_s = self._limit_s(request)
            except BadRequest as error:
                self._count(request, error.code)
                responder.send(error.code, JSON, error.body() + b"\n", HEADERS)
                return
        self._app()(request, responder)
        if responder.closed:
            return
        # To ask whether it is an `Exchange` would take longer than all the rest here.
        expire: Expire | None = getattr(responder, "expire", None)
        if expire is not None:
            asked = sort_of(request)
            if asked.verb != "watch" and not is_long_running(asked):
                self._waiting.append((self._loop.time() + limit_s, request, responder, expire))
                if len(self._waiting) >= self._prune_at:
                    self._waiting = [entry for entry in self._waiting if not entry[2].closed]
                    self._prune_at = max(2 * len(self._waiting), _MANY)
                if self._sweeper is None:
                    self._sweeper = self._loop.call_later(min(_SWEEP_S, limit_s), self._sweep)

    def stop(self) -> None:
        """End nothing any more."""
        if self._sweeper is not None:
            self._sweeper.cancel()

    def _limit_s(self, request: Request) -> float:
        text = parameters(request.query).get("timeout", "")
        if not text:
            return MOST_S
        try:
            given_s = duration_ns_of(text) / 1e9
        except ValueError as error:
            raise BadRequest(f"invalid timeout specified in the request URL - {error}") from None
        return min(given_s, MOST_S) if given_s > 0 else MOST_S

    def _sweep(self) -> None:
        self._sweeper = None
        now_s = self._loop.time()
        waiting, self._waiting = self._waiting, []
        for entry in waiting:
            deadline_s, request, responder, expire = entry
            if responder.closed:
                continue
            if deadline_s > now_s:
                self._waiting.append(entry)
                continue
            self._count(request, 504)
            expire(504, JSON, _OVERDUE, HEADERS)
        if self._waiting:
            nearest_s = min(deadline_s for deadline_s, *_ in self._waiting)
            self._sweeper = self._loop.call_later(min(_SWEEP_S, max(nearest_s - now_s, 0.0)), self._sweep)
