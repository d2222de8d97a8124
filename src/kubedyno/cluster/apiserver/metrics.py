"""/metrics: what the server has done, under the names that the real one has.

Every answer is counted once, whatever it is about, so that the sum over `apiserver_request_total` is the number of
requests that clients have sent.
"""

from bisect import bisect_left
from collections.abc import Callable
from http import HTTPStatus

from kubedyno.cluster.apiserver.exposition import Page
from kubedyno.cluster.apiserver.routes import Route
from kubedyno.cluster.registry.kind import Kind
from kubedyno.http.messages import Headers, Responder, Stream, Tunnel
from kubedyno.http.passing import PassingResponder, PassingStream
from kubedyno.stats.histogram import Histogram

# Those of the real server's apiserver_request_duration_seconds.
BOUNDS_S = (
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60,
)  # fmt: skip
# The real server names these verbs so; a watch has no duration there.
_VERBS = {"create": "POST", "update": "PUT", "deletecollection": "DELETECOLLECTION"}
# Paths that are told apart; others are one.
_PATHS = frozenset(
    {"/", "/api", "/apis", "/healthz", "/livez", "/readyz", "/metrics", "/openapi/v2", "/openapi/v3", "/version"}
)
_OBJECT, _NAMESPACE, _CLUSTER = "resource", "namespace", "cluster"

# Answers to these are measured, as in the real server; its buckets.
SIZED = frozenset({"get", "list"})
READING = frozenset({"get", "list", "watch"})
SIZE_BOUNDS = tuple(10.0**power for power in range(3, 10))

_COMPONENT = {"component": "apiserver"}

Now = Callable[[], float]
Close = Callable[[], None] | None
_Key = tuple[str, int, str, str, int, str]


class _Cell:
    """Answers of one kind, and how long they took."""

    __slots__ = ("buckets", "count", "seconds")

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0
        self.buckets = [0] * (len(BOUNDS_S) + 1)


class RequestCounts:
    """Answers by verb, resource, subresource, scope and status.

    Args:
        now_s: Returns monotonic seconds.
    """

    def __init__(self, now_s: Now) -> None:
        self.now_s = now_s
        self._cells: dict[_Key, _Cell] = {}
        self._kinds: dict[int, Kind] = {}
        # Bytes of answers by verb, kind, subresource and scope.
        self._sizes: dict[tuple[str, int, str, str], Histogram] = {}
        # (verb, path, status) of what is no resource.
        self._others: dict[tuple[str, str, int], _Cell] = {}

    def add(self, verb: str, route: Route[Kind], status: int, seconds: float | None = None, dry_run: str = "") -> None:
        """Count one answer; `seconds` is None for one that does not end, a watch; `dry_run` as it was asked for."""
        scope = _scope_of(route)
        key = (verb, id(route.kind), route.subresource, scope, status, dry_run)
        cell = self._cells.get(key)
        if cell is None:
            self._kinds[id(route.kind)] = route.kind
            cell = self._cells[key] = _Cell()
        cell.count += 1
        if seconds is not None:
            cell.seconds += seconds
            cell.buckets[bisect_left(BOUNDS_S, seconds)] += 1

    def sized(self, verb: str, route: Route[Kind], size: int) -> None:
        """Count the bytes of one answer."""
        key = (verb, id(route.kind), route.subresource, _scope_of(route))
        sizes = self._sizes.get(key)
        if sizes is None:
            self._kinds[id(route.kind)] = route.kind
            sizes = self._sizes[key] = Histogram(SIZE_BOUNDS)
        sizes.add(size)

    def add_path(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count one answer that is about no resource."""
        shown = path.rstrip("/") or "/"
        if shown not in _PATHS:
            shown = "/" + shown.removeprefix("/").partition("/")[0]
        cell = self._others.setdefault((method, shown, status), _Cell())
        cell.count += 1
        cell.seconds += seconds
        cell.buckets[bisect_left(BOUNDS_S, seconds)] += 1

    @property
    def total(self) -> int:
        """All answers."""
        return sum(cell.count for cell in (*self._cells.values(), *self._others.values()))

    @property
    def reads(self) -> int:
        """Answers to gets and lists of resources, none of which had to ask anything but memory."""
        return sum(cell.count for (verb, *_), cell in self._cells.items() if verb in {"get", "list"})

    def write(self, page: Page) -> None:
        """Add counters and histograms to a page."""
        counted: dict[tuple[tuple[str, str], ...], int] = {}
        timed: dict[tuple[tuple[str, str], ...], _Cell] = {}
        ended: dict[tuple[tuple[str, str], ...], int] = {}
        for (verb, kind, subresource, scope, status, dry_run), cell in self._cells.items():
            labels = {**self._labels(verb, kind, subresource, scope), "dry_run": dry_run}
            _gather(labels, status, cell, counted, timed)
            # Refused by priority and fairness; evictions are by their budget.
            if status == HTTPStatus.TOO_MANY_REQUESTS and subresource != "eviction":
                refused = tuple(sorted({**self._labels(verb, kind, subresource, scope), "code": "429"}.items()))
                ended[refused] = ended.get(refused, 0) + cell.count
        about = "Requests that the server ended in self-defence."
        for key, count in sorted(ended.items()):
            page.add("apiserver_request_terminations_total", "counter", about, {**dict(key), **_COMPONENT}, count)
        self._deprecated(page)
        for (method, path, status), cell in self._others.items():
            labels = {"verb": method, "group": "", "version": "", "resource": "", "subresource": path, "scope": ""}
            _gather(labels, status, cell, counted, timed)
        about = "Answers by verb, group, version, resource, subresource, scope and code."
        for key in sorted(counted):
            page.add("apiserver_request_total", "counter", about, dict(key), counted[key])
        for name, about in (
            ("apiserver_request_duration_seconds", "Seconds from a request's arrival to its answer."),
            ("apiserver_request_sli_duration_seconds", "The same, without what webhooks took; there are none."),
        ):
            for key in sorted(timed):
                cell = timed[key]
                if any(cell.buckets):
                    page.histogram(name, about, dict(key), BOUNDS_S, cell.buckets, cell.seconds)

        for (verb, kind, subresource, scope), sizes in self._sizes.items():
            labels = {**self._labels(verb, kind, subresource, scope), "component": "apiserver"}
            page.spread("apiserver_response_sizes", "Bytes of answers to gets and lists.", labels, sizes)

    def _labels(self, verb: str, kind: int, subresource: str, scope: str) -> dict[str, str]:
        resource = self._kinds[kind].resource
        return {
            "verb": _VERBS.get(verb, verb.upper()),
            "group": resource.group,
            "version": resource.version,
            "resource": resource.plural,
            "subresource": subresource,
            "scope": scope,
        }

    def _deprecated(self, page: Page) -> None:
        asked = sorted({
            (kind.resource.group, kind.resource.version, kind.resource.plural, subresource)
            for (_, number, subresource, *_) in self._cells
            if (kind := self._kinds[number]).deprecation
        })  # fmt: skip
        for group, version, resource, subresource in asked:
            labels = {"group": group, "removed_release": "", "resource": resource, "subresource": subresource}
            about = "1 for a deprecated API that was asked for."
            page.add("apiserver_requested_deprecated_apis", "gauge", about, {**labels, "version": version}, 1)


def _scope_of(route: Route[Kind]) -> str:
    return _OBJECT if route.name else _NAMESPACE if route.namespace else _CLUSTER


def _gather(
    labels: dict[str, str],
    status: int,
    cell: _Cell,
    counted: dict[tuple[tuple[str, str], ...], int],
    timed: dict[tuple[tuple[str, str], ...], _Cell],
) -> None:
    """Add what was counted by status to what is shown by code, and without."""
    labels = {"dry_run": "", **labels, "component": "apiserver"}
    key = tuple(sorted(labels.items()))
    by_code = tuple(sorted({**labels, "code": str(status)}.items()))
    counted[by_code] = counted.get(by_code, 0) + cell.count
    whole = timed.setdefault(key, _Cell())
    whole.seconds += cell.seconds
    whole.buckets = [a + b for a, b in zip(whole.buckets, cell.buckets, strict=True)]


class MeasuredStream(PassingStream):
    """A stream that tells how many bytes were written once it is closed as complete.

    Args:
        inner: The stream.
        told: Called once with the bytes.
    """

    __slots__ = ("_size", "_told")

    def __init__(self, inner: Stream, told: Callable[[int], None]) -> None:
        super().__init__(inner)
        self._told = told
        self._size = 0

    @property
    def on_close(self) -> Close:
        return self._inner.on_close

    @on_close.setter
    def on_close(self, call: Close) -> None:
        self._inner.on_close = call

    def write(self, data: bytes) -> None:
        self._size += len(data)
        self._inner.write(data)

    def close(self) -> None:
        self._told(self._size)
        self._inner.close()


class Counted(PassingResponder):
    """A responder whose answer, about no resource, is counted.

    Args:
        inner: The way back.
        counts: Where.
        method: Of the request.
        path: Of the request.
    """

    __slots__ = ("_began_s", "_counts", "_method", "_path")

    def __init__(self, inner: Responder, counts: RequestCounts, method: str, path: str) -> None:
        super().__init__(inner)
        self._counts = counts
        self._method = method
        self._path = path
        self._began_s = counts.now_s()

    def send(self, status: int, content_type: bytes | str, body: bytes, headers: Headers = ()) -> None:
        self._count(status)
        self._inner.send(status, content_type, body, headers)

    def start(self, status: int, content_type: bytes | str, headers: Headers = ()) -> Stream:
        self._count(status)
        return self._inner.start(status, content_type, headers)

    def upgrade(self, headers: Headers) -> Tunnel | None:
        tunnel = self._inner.upgrade(headers)
        if tunnel is not None:
            self._count(101)
        return tunnel

    def _count(self, status: int) -> None:
        self._counts.add_path(self._method, self._path, status, self._counts.now_s() - self._began_s)
