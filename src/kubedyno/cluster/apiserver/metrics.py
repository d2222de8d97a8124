"""/metrics: what the server has done, under the names that the real one has.

Every answer is counted once, whatever it is about, so that the sum over `apiserver_request_total` is the number of
requests that clients have sent.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable

from kubedyno.cluster.apiserver.exposition import Page
from kubedyno.cluster.apiserver.routes import Route
from kubedyno.cluster.registry.kind import Kind
from kubedyno.http.messages import Headers, Request, Responder, Stream, Tunnel
from kubedyno.http.passing import PassingResponder, PassingStream
from kubedyno.stats.histogram import Histogram

# Those of the real server's apiserver_request_duration_seconds.
BOUNDS_S = (
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60,
)  # fmt: skip
# Its objectives are not about the first two.
_SLI_FROM = 2
# The real server names these verbs so; a watch has no duration there.
_VERBS = {"create": "POST", "update": "PUT", "deletecollection": "DELETECOLLECTION"}
# Anybody may send a method, or ask for a path, that nobody knows: those are one, so that counts stay few.
_OTHER = "other"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"})
_KNOWN_VERBS = frozenset({
    "get", "list", "watch", "create", "update", "patch", "apply", "delete", "deletecollection", "options", "connect", "trace",
})  # fmt: skip
# Paths that are told apart, and how the real server names them; others are one.
_PATHS = {
    **{path: path for path in ("/", "/healthz", "/livez", "/readyz", "/metrics", "/openapi/v2", "/version")},
    "/api": "api",
    "/apis": "apis",
    "/openapi/v3": "openapi/v3",
}
_BELOW = {
    "/api": "api", "/apis": "apis", "/openapi": "openapi/v3/",
    **{path: path for path in (
        "/healthz", "/livez", "/readyz", "/metrics", "/version", "/index.html", "/.well-known", "/debug", "/flagz", "/statusz",
        "/kubedyno",
    )},
}  # fmt: skip
_UNKNOWN_PATH = ""
# What is served by the same part as resources are.
_DISCOVERED = frozenset({"api", "apis"})
_OBJECT, _NAMESPACE, _CLUSTER = "resource", "namespace", "cluster"

# Answers to these are measured, as in the real server; its buckets.
SIZED = frozenset({"get", "list"})
READING = frozenset({"get", "list", "watch"})
SIZE_BOUNDS = tuple(10.0**power for power in range(3, 10))

# Requests that were ended and may yet be answered; beyond that the oldest are.
_MOST_OVERDUE = 1000
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
        # Those that were ended in self-defence, by verb, kind, subresource, scope and status.
        self._ended: Counter[tuple[str, int, str, str, int]] = Counter()
        # Requests that were ended and whose handlers have yet to see that: their answers come too late, and count no more.
        self._overdue: dict[int, Request] = {}
        # Lists by kind and index: how many, and how many objects were looked at and returned.
        self._lists: dict[tuple[int, str], list[int]] = {}
        # (verb, path, status) of what is no resource.
        self._others: dict[tuple[str, str, int], _Cell] = {}

    def add(
        self, verb: str, route: Route[Kind], status: int, seconds: float | None = None, dry_run: str = "",
        *, named: bool = False,
    ) -> None:  # fmt: skip
        """Count one answer.

        Args:
            verb: "get", "create", "apply" …
            route: What it is about.
            status: Of the answer.
            seconds: None for one that does not end, a watch.
            dry_run: As it was asked for.
            named: It is about one object of a collection, by a field selector.
        """
        scope = _OBJECT if named else _scope_of(route, verb)
        key = (verb, id(route.kind), route.subresource, scope, status, dry_run)
        cell = self._cells.get(key)
        if cell is None:
            self._kinds[id(route.kind)] = route.kind
            cell = self._cells.setdefault((_known(verb), *key[1:]), _Cell())
        cell.count += 1
        if seconds is not None:
            cell.seconds += seconds
            cell.buckets[bisect_left(BOUNDS_S, seconds)] += 1

    def end(self, verb: str, route: Route[Kind], status: int, *, named: bool = False) -> None:
        """Count one that was refused, or ended before its answer, in self-defence."""
        self.add(verb, route, status, named=named)
        scope = _OBJECT if named else _scope_of(route, verb)
        self._ended[_known(verb), id(route.kind), route.subresource, scope, status] += 1

    def forget(self, request: Request) -> None:
        """Count no answer to a request: it has had one."""
        while len(self._overdue) >= _MOST_OVERDUE:
            del self._overdue[next(iter(self._overdue))]
        self._overdue[id(request)] = request

    def is_overdue(self, request: Request) -> bool:
        """Say whether a request has had its answer, once."""
        return bool(self._overdue) and self._overdue.pop(id(request), None) is not None

    def listed(self, kind: Kind, index: str, fetched: int, returned: int) -> None:
        """Count a list: how many objects it looked at by an index, "" for none, and how many it returned."""
        sums = self._lists.get((id(kind), index))
        if sums is None:
            self._kinds[id(kind)] = kind
            sums = self._lists[id(kind), index] = [0, 0, 0]
        sums[0] += 1
        sums[1] += fetched
        sums[2] += returned

    def sized(self, verb: str, route: Route[Kind], size: int) -> None:
        """Count the bytes of one answer."""
        key = (verb, id(route.kind), route.subresource, _scope_of(route, verb))
        sizes = self._sizes.get(key)
        if sizes is None:
            self._kinds[id(route.kind)] = route.kind
            sizes = self._sizes[key] = Histogram(SIZE_BOUNDS)
        sizes.add(size)

    def add_path(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count one answer that is about no resource."""
        whole = path.rstrip("/") or "/"
        shown = _PATHS.get(whole)
        if shown is None:
            first = "/" + whole.removeprefix("/").partition("/")[0]
            shown = _BELOW.get(first, _UNKNOWN_PATH)
        key = (method if method in _METHODS else _OTHER, shown, status)
        cell = self._others.setdefault(key, _Cell())
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
        for (verb, kind, subresource, scope, status, dry_run), cell in self._cells.items():
            labels = {**self._labels(verb, kind, subresource, scope), "dry_run": dry_run}
            _gather(labels, status, cell, counted, timed)
        about = "[ALPHA] Number of requests which apiserver terminated in self-defense."
        for (verb, kind, subresource, scope, status), count in self._ended.items():
            labels = {**self._labels(verb, kind, subresource, scope), "code": str(status), **_COMPONENT}
            page.add("apiserver_request_terminations_total", "counter", about, labels, count)
        self._deprecated(page)
        for (method, path, status), cell in self._others.items():
            labels = {"verb": method, "group": "", "version": "", "resource": "", "subresource": path, "scope": ""}
            _gather(labels, status, cell, counted, timed, "apiserver" if path in _DISCOVERED else "")
        about = (
            "[STABLE] Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, "
            "scope, component, and HTTP response code."
        )
        for key in sorted(counted):
            page.add("apiserver_request_total", "counter", about, dict(key), counted[key])
        about = (
            "[STABLE] Response latency distribution in seconds for each verb, dry run value, group, version, resource, "
            "subresource, scope and component."
        )
        objectives: dict[tuple[tuple[str, str], ...], _Cell] = {}
        for key in sorted(timed):
            cell = timed[key]
            if any(cell.buckets):
                page.histogram(
                    "apiserver_request_duration_seconds", about, dict(key), BOUNDS_S, cell.buckets, cell.seconds
                )
                _merge(objectives, tuple(pair for pair in key if pair[0] != "dry_run"), cell)
        about = (
            "[ALPHA] Response latency distribution (not counting webhook duration and priority & fairness queue wait "
            "times) in seconds for each verb, group, version, resource, subresource, scope and component."
        )
        for key, cell in objectives.items():
            first, *others = (sum(cell.buckets[: _SLI_FROM + 1]), *cell.buckets[_SLI_FROM + 1 :])
            page.histogram(
                "apiserver_request_sli_duration_seconds", about, dict(key), BOUNDS_S[_SLI_FROM:], [first, *others],
                cell.seconds,
            )  # fmt: skip

        about = (
            "[STABLE] Response size distribution in bytes for each group, version, verb, resource, subresource, scope and "
            "component."
        )
        for (verb, kind, subresource, scope), sizes in self._sizes.items():
            labels = {**self._labels(verb, kind, subresource, scope), "component": "apiserver"}
            page.spread("apiserver_response_sizes", about, labels, sizes)

    def write_lists(self, page: Page) -> None:
        """Add what lists looked at: all are answered from memory, as by the real server from its watch cache."""
        returned: Counter[tuple[str, str]] = Counter()
        for (number, index), (lists, fetched, given) in self._lists.items():
            resource = self._kinds[number].resource
            labels = {"group": resource.group, "index": index, "resource": resource.plural}
            about = "[ALPHA] Number of LIST requests served from watch cache"
            page.add("apiserver_cache_list_total", "counter", about, labels, lists)
            about = "[ALPHA] Number of objects read from watch cache in the course of serving a LIST request"
            page.add("apiserver_cache_list_fetched_objects_total", "counter", about, labels, fetched)
            returned[resource.group, resource.plural] += given
        about = "[ALPHA] Number of objects returned for a LIST request from watch cache"
        for (group, plural), count in returned.items():
            labels = {"group": group, "resource": plural}
            page.add("apiserver_cache_list_returned_objects_total", "counter", about, labels, count)

    def _labels(self, verb: str, kind: int, subresource: str, scope: str) -> dict[str, str]:
        resource = self._kinds[kind].resource
        return {
            "verb": _VERBS.get(verb) or (verb if verb == _OTHER else verb.upper()),
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
            about = (
                "[STABLE] Gauge of deprecated APIs that have been requested, broken out by API group, version, resource, "
                "subresource, and removed_release."
            )
            page.add("apiserver_requested_deprecated_apis", "gauge", about, {**labels, "version": version}, 1)


def _known(verb: str) -> str:
    return verb if verb in _KNOWN_VERBS else _OTHER


def _scope_of(route: Route[Kind], verb: str) -> str:
    return _OBJECT if route.name or verb == "create" else _NAMESPACE if route.namespace else _CLUSTER


def _gather(
    labels: dict[str, str],
    status: int,
    cell: _Cell,
    counted: dict[tuple[tuple[str, str], ...], int],
    timed: dict[tuple[tuple[str, str], ...], _Cell],
    component: str = "apiserver",
) -> None:
    """Add what was counted by status to what is shown by code, and without."""
    labels = {"dry_run": "", **labels, "component": component}
    key = tuple(sorted(labels.items()))
    by_code = tuple(sorted({**labels, "code": str(status)}.items()))
    counted[by_code] = counted.get(by_code, 0) + cell.count
    _merge(timed, key, cell)


def _merge(cells: dict[tuple[tuple[str, str], ...], _Cell], key: tuple[tuple[str, str], ...], cell: _Cell) -> None:
    whole = cells.setdefault(key, _Cell())
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
