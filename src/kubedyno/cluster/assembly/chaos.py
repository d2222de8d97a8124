"""Faults on purpose, in front of the API server: what a client has to survive, by seeded rules with an end.

A rule says what goes wrong (see `Rule`), for which verbs and resources, how often and for how long. Without rules
nothing stands between the HTTP server and the API server. Requests for documents, health and the control endpoint are
left alone.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Literal

import msgspec
import orjson

from kubedyno.base.clock import Clock
from kubedyno.base.random import Random
from kubedyno.cluster.apiserver.flowcontrol.requestinfo import attributes_of
from kubedyno.cluster.apiserver.queries import parameters
from kubedyno.cluster.storage.store import Store
from kubedyno.http.messages import App, Headers, Request, Responder, Stream, Tunnel
from kubedyno.http.passing import PassingResponder
from kubedyno.kube.status import (
    BadRequest,
    InternalError,
    MethodNotAllowed,
    NotFound,
    ServiceUnavailable,
    StatusError,
    Timeout,
    TooManyRequests,
)

_JSON = "application/json"
_CODES: dict[int, type[StatusError]] = {500: InternalError, 503: ServiceUnavailable, 504: Timeout}
# Rules at once, and how finely and how far back revisions are remembered for stale reads.
_MAX_RULES = 100
_MARK_EVERY_S = 0.02
_MARKS = 30_000


class Rule(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What goes wrong.

    Attributes:
        fault: "latency": requests wait for `latency_ms` and up to `jitter_ms` more before anything is done.
            "reject": 429 with Retry-After. "error": `code`; with `applied` the request is acted on and only its answer
            lost. "drop": watches are cut `after_ms`, as by a broken connection, or ended properly with `clean`.
            "stale": lists are answered as of `lag_s` ago. "skew": the cluster's clock is off by `skew_s`.
        verbs: get, list, watch, create, update, patch, delete, deletecollection; empty: all.
        resources: E.g. "pods", "pods/log", "deployments.apps"; empty: all.
        probability: Of each request's being hit.
        duration_s: After which the rule goes by itself; 0 never.
        seed: Of its decisions: the same requests in the same order are hit alike.
    """

    fault: Literal["latency", "reject", "error", "drop", "stale", "skew"]
    verbs: list[str] = []
    resources: list[str] = []
    probability: float = 1.0
    duration_s: float = 0.0
    seed: int = 1
    latency_ms: float = 100.0
    jitter_ms: float = 0.0
    retry_after_s: int = 1
    code: int = 500
    applied: bool = False
    after_ms: float = 1000.0
    clean: bool = False
    lag_s: float = 2.0
    skew_s: float = 0.0

    def check(self) -> None:
        """Refuse values that make no sense.

        Raises:
            BadRequest: One does.
        """
        if not 0 <= self.probability <= 1:
            raise BadRequest(f"probability {self.probability:g}: must be between 0 and 1")
        if self.code not in _CODES:
            raise BadRequest(f"code {self.code}: must be one of {', '.join(map(str, _CODES))}")
        for name in ("duration_s", "latency_ms", "jitter_ms", "retry_after_s", "after_ms", "lag_s"):
            if getattr(self, name) < 0:
                raise BadRequest(f"{name} {getattr(self, name):g}: must not be negative")
        if self.fault == "skew" and (self.verbs or self.resources):
            raise BadRequest("skew: it is the whole cluster's clock; leave verbs and resources out")


class SkewedClock:
    """A clock whose wall time may be put off; `now` is the other's own function while it is not."""

    __slots__ = ("_base", "monotonic", "now")

    def __init__(self, base: Clock) -> None:
        self._base = base
        self.now: Callable[[], float] = base.now
        self.monotonic: Callable[[], float] = base.monotonic

    def skew(self, seconds: float) -> None:
        """Put it off by so many seconds, forward or back."""
        base = self._base.now
        self.now = (lambda: base() + seconds) if seconds else base


class _Active:
    """A rule in force."""

    __slots__ = ("hits", "id", "random", "resources", "rule", "until_s", "verbs")

    def __init__(self, number: int, rule: Rule, now_s: float) -> None:
        self.id = number
        self.rule = rule
        self.random = Random(rule.seed)
        self.hits = 0
        self.until_s = now_s + rule.duration_s if rule.duration_s else 0.0
        self.verbs = frozenset(rule.verbs)
        self.resources = frozenset(rule.resources)

    def hit(self, what: "Asked") -> bool:
        if self.verbs and what.verb not in self.verbs:
            return False
        if self.resources and not self.resources & what.names:
            return False
        if self.rule.probability < 1 and self.random.random() >= self.rule.probability:
            return False
        self.hits += 1
        return True


class Asked(msgspec.Struct, frozen=True):
    """What a request is about.

    Attributes:
        verb: As RBAC has it.
        table: E.g. "deployments.apps".
        names: What a rule may call it.
    """

    verb: str
    table: str
    names: frozenset[str]


def asked_of(request: Request) -> Asked | None:
    """Return what a request is about, None when that is no resource."""
    asked = attributes_of(request)
    if asked.path:
        return None
    resource, part = asked.resource, asked.subresource
    table = f"{resource}.{asked.group}" if asked.group else resource
    names = {f"{name}/{part}" for name in (resource, table)} if part else {resource, table}
    return Asked(asked.verb, table, frozenset(names))


class Chaos:
    """The faults of a cluster.

    Args:
        app: The API server's.
        store: Whose revisions stale reads go back to.
        clock: What skew acts on.
    """

    def __init__(self, app: App, store: Store, clock: SkewedClock) -> None:
        self._inner = app
        self._store = store
        self._clock = clock
        self._rules: list[_Active] = []
        self._last_id = 0
        self._marks: deque[tuple[float, int]] = deque(maxlen=_MARKS)
        self._marker: asyncio.TimerHandle | None = None
        self._ends: list[asyncio.TimerHandle] = []
        # What the HTTP server is to call now.
        self.app: App = app

    # --- rules -------------------------------------------------------------------------------------------------

    def control(self, request: Request, responder: Responder, parts: list[str]) -> None:
        """Answer /kubedyno/chaos: GET lists, POST adds a `Rule`, DELETE clears all or one by its id.

        Raises:
            StatusError: The rule makes no sense, or there is none of that id.
        """
        if request.method == "POST" and not parts:
            self.add(_rule_of(request.body))
        elif request.method == "DELETE":
            self.clear(parts[0] if parts else "")
        elif request.method != "GET" or parts:
            raise MethodNotAllowed(f"{request.path} takes GET, POST and DELETE only")
        responder.send(200, _JSON, orjson.dumps({"rules": self.listed()}))

    def add(self, rule: Rule) -> int:
        """Put a rule in force; returns its id."""
        if len(self._rules) >= _MAX_RULES:
            raise BadRequest(f"there are {_MAX_RULES} rules already; clear some")
        self._last_id += 1
        active = _Active(self._last_id, rule, self._clock.monotonic())
        self._rules.append(active)
        if rule.duration_s:
            loop = asyncio.get_running_loop()
            self._ends.append(loop.call_later(rule.duration_s, self._expire, active))
        self._changed()
        return active.id

    def clear(self, number: str = "") -> None:
        """Take one rule away, or all.

        Raises:
            NotFound: There is none of that id.
        """
        kept = [active for active in self._rules if number and str(active.id) != number]
        if number and len(kept) == len(self._rules):
            raise NotFound(f"there is no chaos rule {number}")
        self._rules = kept
        self._changed()

    def listed(self) -> list[dict[str, Any]]:
        """Return the rules in force, with how many requests each has hit and how long it lasts."""
        now_s = self._clock.monotonic()
        return [
            {
                "id": active.id,
                "hits": active.hits,
                "left_s": round(active.until_s - now_s, 3) if active.until_s else None,
                **msgspec.to_builtins(active.rule),
            }
            for active in self._rules
        ]

    def close(self) -> None:
        """Take all away."""
        self.clear()
        for timer in self._ends:
            timer.cancel()

    def _expire(self, active: _Active) -> None:
        if active in self._rules:
            self._rules.remove(active)
            self._changed()

    def _changed(self) -> None:
        self._clock.skew(sum(active.rule.skew_s for active in self._rules if active.rule.fault == "skew"))
        self.app = self._faulty if any(active.rule.fault != "skew" for active in self._rules) else self._inner
        stale = any(active.rule.fault == "stale" for active in self._rules)
        if stale and self._marker is None:
            self._mark()
        elif not stale and self._marker is not None:
            self._marker.cancel()
            self._marker = None
            self._marks.clear()

    # --- faults ------------------------------------------------------------------------------------------------

    def _faulty(self, request: Request, responder: Responder) -> None:
        asked = asked_of(request)
        if asked is None:
            self._inner(request, responder)
            return
        wait_ms, error, applied = 0.0, None, False
        for active in self._rules:
            rule = active.rule
            if (
                rule.fault == "skew"
                or (rule.fault == "drop" and asked.verb != "watch")
                or (rule.fault == "stale" and asked.verb != "list")
                or not active.hit(asked)
            ):
                continue
            if rule.fault == "latency":
                wait_ms += rule.latency_ms + rule.jitter_ms * active.random.random()
            elif rule.fault == "drop":
                responder = _Cut(responder, rule.after_ms / 1000, clean=rule.clean)
            elif rule.fault == "stale":
                request = self._stale(request, asked, rule.lag_s)
            elif error is None:
                error, applied = _error_of(active), rule.applied
        if wait_ms:
            loop = asyncio.get_running_loop()
            loop.call_later(wait_ms / 1000, self._go_on, request, responder, error, applied)
        else:
            self._go_on(request, responder, error, applied)

    def _go_on(self, request: Request, responder: Responder, error: StatusError | None, applied: bool) -> None:
        if responder.closed:
            # Nobody waits any more; what was not begun is not begun.
            return
        if error is None:
            self._inner(request, responder)
        elif applied:
            self._inner(request, _Lost(responder, error))
        else:
            responder.send(error.code, _JSON, error.body(), error.headers)

    # --- stale reads -------------------------------------------------------------------------------------------

    def _mark(self) -> None:
        self._marks.append((self._clock.monotonic(), self._store.revision))
        self._marker = asyncio.get_running_loop().call_later(_MARK_EVERY_S, self._mark)

    def _stale(self, request: Request, asked: Asked, lag_s: float) -> Request:
        """Return a list's request as of a while ago, as far back as is remembered; others as they are."""
        given = parameters(request.query)
        table = self._store.db.tables.get(asked.table)
        if table is None or given.get("continue") or given.get("resourceVersion", "0") not in {"", "0"}:
            return request
        wanted_s = self._clock.monotonic() - lag_s
        revision = next((revision for at_s, revision in reversed(self._marks) if at_s <= wanted_s), self._marks[0][1])
        parts = [part for part in request.query.split("&") if part and not part.startswith("resourceVersion")]
        parts += [f"resourceVersion={max(revision, table.floor)}", "resourceVersionMatch=Exact"]
        return Request(request.method, request.path, "&".join(parts), request.headers, request.body, request.peer)


def _rule_of(body: bytes) -> Rule:
    try:
        rule = msgspec.json.decode(body, type=Rule)
    except msgspec.DecodeError as error:
        raise BadRequest(f"chaos rule: {error}") from error
    rule.check()
    return rule


def _error_of(active: _Active) -> StatusError:
    rule = active.rule
    text = f"a fault on purpose (chaos rule {active.id})"
    if rule.fault == "reject":
        details = {"retryAfterSeconds": rule.retry_after_s}
        return TooManyRequests(text, details, headers=(("Retry-After", str(rule.retry_after_s)),))
    return _CODES[rule.code](f"Internal error occurred: {text}" if rule.code == InternalError.code else text)


class _Cut(PassingResponder):
    """A responder whose stream is cut after a while."""

    def __init__(self, inner: Responder, after_s: float, *, clean: bool) -> None:
        super().__init__(inner)
        self._after_s = after_s
        self._clean = clean

    def start(self, status: int, content_type: bytes | str, headers: Headers = ()) -> Stream:
        stream = self._inner.start(status, content_type, headers)
        asyncio.get_running_loop().call_later(self._after_s, self._cut, stream)
        return stream

    def _cut(self, stream: Stream) -> None:
        if stream.closed:
            return
        if not self._clean:
            stream.abort()
            return
        told, stream.on_close = stream.on_close, None
        stream.close()
        # To whoever writes the stream it is as if the peer had gone.
        if told is not None:
            told()


class _Lost:
    """A responder that answers an error whatever the answer is."""

    def __init__(self, inner: Responder, error: StatusError) -> None:
        self._inner = inner
        self._error = error
        self.on_close: Callable[[], None] | None = None

    @property
    def closed(self) -> bool:
        return self._inner.closed

    @property
    def buffered(self) -> int:
        return 0

    def send(self, status: int, content_type: bytes | str, body: bytes, headers: Headers = ()) -> None:
        _ = status, content_type, body, headers
        error = self._error
        self._inner.send(error.code, _JSON, error.body(), error.headers)

    def start(self, status: int, content_type: bytes | str, headers: Headers = ()) -> Stream:
        self.send(status, content_type, b"", headers)
        return self

    def upgrade(self, headers: Headers) -> Tunnel | None:
        _ = headers
        return None

    def write(self, data: bytes) -> None:
        """Lose it."""

    def close(self) -> None:
        """The answer was complete at once."""

    def abort(self) -> None:
        """The answer was complete at once."""

    async def drain(self, limit: int) -> None:
        """Nothing is ever buffered."""
