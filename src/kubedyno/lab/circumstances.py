"""Gathers what surrounds a run: the host, events of its namespaces, pods over time, what the API server says of its requests.

In: a run under way and its cluster. Out: documents. Nothing here may fail a run: what cannot be had is a line that says so.
"""

import asyncio
import os
import platform
import resource
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
import orjson

from kubedyno import __version__
from kubedyno.advisor import host
from kubedyno.advisor.facts import ClusterFacts
from kubedyno.advisor.walls import node_fills
from kubedyno.base import aio
from kubedyno.base.clock import Clock
from kubedyno.base.errors import KubedynoError
from kubedyno.base.times import rfc3339
from kubedyno.client.api import Client
from kubedyno.documents.circumstances import (
    NEVER,
    ApiDocument,
    EventDocument,
    HostDocument,
    NodeDocument,
    PodsDocument,
)
from kubedyno.kube.status import StatusError
from kubedyno.load.measurements.pods import PodStart
from kubedyno.load.result import Options, RunResult
from kubedyno.promql.errors import ExpositionError
from kubedyno.promql.exposition import Sample, labels_of, read

# Of warnings, and of other events: enough to see what happened, not a copy of etcd.
MAX_EVENTS = 5_000
MAX_MESSAGE = 1_000
# What is gathered when a run has ended must not keep its user waiting.
_LIMIT_S = 20.0
_PACKAGES = ("msgspec", "orjson", "uvloop", "hpack")
_BUCKETS = "apiserver_request_duration_seconds_bucket"
# They last as long as somebody looks: no latencies.
_LONG = frozenset({"WATCH", "WATCHLIST", "CONNECT", "PROXY"})

T = TypeVar("T")


@dataclass(slots=True)
class Gathered:
    """What was had, and a line for each that was not."""

    host: HostDocument | None = None
    events: list[EventDocument] = field(default_factory=list)
    pods: list[PodsDocument] = field(default_factory=list)
    api: list[ApiDocument] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


class Gathering:
    """Follows one run.

    Args:
        client: Of its cluster.
        options: Of the run.
        clock: Stamps.
    """

    def __init__(self, client: Client, options: Options, clock: Clock) -> None:
        self.gathered = Gathered()
        self._client = client
        self._options = options
        self._clock = clock
        self._load = os.getloadavg()
        self._cpu_s = _cpu_s()
        self._before: Mapping[str, Mapping[float, float]] | None = None

    async def begin(self) -> None:
        """Note where the API server's counters stand."""
        self._before = await self._try("API latency of all requests by verb", api_counters(self._client))

    async def end(self, result: RunResult) -> Gathered:
        """Gather all; to be called before the run's namespaces are removed."""
        found, options = self.gathered, self._options
        if self._before is not None:
            after = await self._try("API latency of all requests by verb", api_counters(self._client))
            if after is not None:
                found.api = api_documents(self._before, after, options.uuid)
        tracked = [
            (job.plan.spec.name, list(job.pods.tracker.pods.values())) for job in result.jobs if job.pods is not None
        ]
        names = {pod.namespace for _, pods in tracked for pod in pods}
        events = await self._try("events", self._events(names))
        found.events = events or []
        found.pods = [
            pods_document(pods, name, options.uuid, result.started_at) for name, pods in _once(tracked) if pods
        ]
        found.host = HostDocument(
            uuid=options.uuid,
            timestamp=rfc3339(self._clock.now()),
            kernel=platform.release(),
            machine=platform.machine(),
            cpus=len(os.sched_getaffinity(0)),
            memory_bytes=host.memory_b(),
            load_begin=self._load,
            load_end=os.getloadavg(),
            cpu_s=round(_cpu_s() - self._cpu_s, 3),
            versions=versions(),
        )
        return found

    async def _try(self, what: str, work: Awaitable[T]) -> T | None:
        try:
            async with aio.timeout(_LIMIT_S):
                return await work
        except TimeoutError:
            self._miss(f"{what}: no answer within {_LIMIT_S:g} s")
        except StatusError as error:
            self._miss(f"{what}: {error.message}")
        except (KubedynoError, OSError, ExpositionError) as error:
            self._miss(f"{what}: {error}")
        return None

    def _miss(self, line: str) -> None:
        if line not in self.gathered.missing:
            self.gathered.missing.append(line)

    async def _events(self, names: set[str]) -> list[EventDocument]:
        """Return the events of the run's namespaces, the warnings first to be kept."""
        selector = quote(f"kube-burner.io/runid={self._options.runid}")
        listed = await self._client.list_all(f"/api/v1/namespaces?labelSelector={selector}")
        names = names | {item["metadata"]["name"] for item in listed}
        found: list[EventDocument] = []
        if not names:
            return found
        for sort, field_selector in (("warnings", "type=Warning"), ("normal events", "type!=Warning")):
            count = 0
            async for items, _ in self._client.list_pages(f"/api/v1/events?fieldSelector={quote(field_selector)}"):
                for raw in items:
                    event = orjson.loads(memoryview(raw))
                    if event["metadata"].get("namespace") in names:
                        count += 1
                        if count <= MAX_EVENTS:
                            found.append(event_document(event, self._options.uuid))
                if count > MAX_EVENTS:
                    self._miss(f"{sort} beyond the first {MAX_EVENTS}")
                    break
        found.sort(key=lambda event: event.timestamp)
        return found


def _once(tracked: Sequence[tuple[str, list[PodStart]]]) -> Iterable[tuple[str, list[PodStart]]]:
    """Give each pod to the first job that saw it: later jobs may follow the same ones."""
    seen: set[str] = set()
    for name, pods in tracked:
        yield name, [pod for pod in pods if pod.uid not in seen]
        seen.update(pod.uid for pod in pods)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def versions() -> dict[str, str]:
    """Return what carried the load."""
    found = {"kubedyno": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def event_document(event: Mapping[str, Any], uuid: str) -> EventDocument:
    """Return the document of an Event of either API group."""
    about = event.get("involvedObject") or event.get("regarding") or {}
    series = event.get("series") or {}
    stamp = event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or ""
    return EventDocument(
        uuid,
        str(stamp),
        str(event.get("type") or ""),
        str(event.get("reason") or ""),
        str(about.get("kind") or ""),
        str(about.get("namespace") or event["metadata"].get("namespace") or ""),
        str(about.get("name") or ""),
        str(event.get("message") or event.get("note") or "")[:MAX_MESSAGE],
        int(series.get("count") or event.get("count") or 1),
    )


def pods_document(pods: Sequence[PodStart], job: str, uuid: str, started_s: float) -> PodsDocument:
    """Return the columns of a job's pods, in order of their first sight."""

    def ms(at_s: float | None) -> int:
        return NEVER if at_s is None else max(round((at_s - started_s) * 1000), 0)

    ordered = sorted(pods, key=lambda pod: pod.seen_created_s)
    names = sorted({pod.node for pod in ordered if pod.node})
    numbers = {name: number for number, name in enumerate(names)}
    return PodsDocument(
        uuid=uuid,
        started=rfc3339(started_s),
        job=job,
        nodes=names,
        node=[numbers.get(pod.node, -1) for pod in ordered],
        created=[ms(pod.seen_created_s) for pod in ordered],
        scheduled=[ms(pod.seen_s.get("PodScheduled")) for pod in ordered],
        ready=[ms(pod.seen_s.get("Ready")) for pod in ordered],
        gone=[ms(pod.gone_s) for pod in ordered],
    )


def most_pods(documents: Sequence[PodsDocument]) -> dict[str, int]:
    """Return the most pods of a run that each node had at one time."""
    changes: dict[str, list[tuple[int, int]]] = {}
    for document in documents:
        for number, created, scheduled, gone in zip(
            document.node, document.created, document.scheduled, document.gone, strict=True
        ):
            if number >= 0:
                there = changes.setdefault(document.nodes[number], [])
                there.append((scheduled if scheduled != NEVER else created, 1))
                if gone != NEVER:
                    there.append((gone, -1))
    found = {}
    for name, there in changes.items():
        now = most = 0
        for _, change in sorted(there):
            now += change
            most = max(most, now)
        found[name] = most
    return found


def node_documents(
    facts: ClusterFacts, documents: Sequence[PodsDocument], own: Mapping[str, int], uuid: str
) -> list[NodeDocument]:
    """Return how full nodes were.

    Args:
        facts: At the end.
        documents: The run's pods.
        own: How many pods of the run are in `facts`, by node.
        uuid: Of the run.
    """
    most = most_pods(documents)
    return [
        NodeDocument(
            uuid, fill.name, fill.max_pods, max(fill.pods - own.get(fill.name, 0), 0), most.get(fill.name, 0),
            fill.cidr, fill.addresses,
        )
        for fill in node_fills(facts)
    ]  # fmt: skip


# --- the API server's own histograms -------------------------------------------------------------------------------


async def api_counters(client: Client) -> dict[str, dict[float, float]]:
    """Return verb → upper bound in seconds → cumulative requests, over all resources.

    Raises:
        KubedynoError: The API server has no such page for us.
    """
    answer = await client.request("GET", "/metrics")
    if answer.status != 200:
        try:
            error = StatusError.from_response(answer.status, answer.body)
        except ValueError:
            raise KubedynoError(f"GET /metrics answers {answer.status}") from None
        raise error
    return await asyncio.to_thread(counters_of, answer.body.decode(errors="replace"))


def counters_of(text: str) -> dict[str, dict[float, float]]:
    """Return the counters of a page; raises ExpositionError when it is none."""
    found: dict[str, dict[float, float]] = {}
    lines = "\n".join(line for line in text.split("\n") if line.startswith(_BUCKETS))
    for item in read(lines):
        if isinstance(item, Sample):
            labels = labels_of(item.series)
            verb = labels.get("verb", "")
            if verb and verb not in _LONG and "le" in labels:
                bounds = found.setdefault(verb, {})
                bound = float(labels["le"])
                bounds[bound] = bounds.get(bound, 0.0) + item.value
    return found


def api_documents(
    before: Mapping[str, Mapping[float, float]], after: Mapping[str, Mapping[float, float]], uuid: str
) -> list[ApiDocument]:
    """Return what verbs took between two looks; verbs without requests are left out."""
    documents = []
    for verb in sorted(after):
        bounds = sorted(after[verb])
        grown = [max(after[verb][bound] - before.get(verb, {}).get(bound, 0.0), 0.0) for bound in bounds]
        counts = [round(now - last) for now, last in zip(grown, [0.0, *grown], strict=False)]
        total = sum(counts)
        if total <= 0 or min(counts) < 0:
            continue
        p50, p95, p99 = (round(_quantile(share, bounds, counts) * 1000, 3) for share in (0.5, 0.95, 0.99))
        buckets = [(0.0 if bound == float("inf") else bound, n) for bound, n in zip(bounds, counts, strict=True) if n]
        documents.append(ApiDocument(uuid, verb, total, p50, p95, p99, buckets))
    return documents


def _quantile(share: float, bounds: Sequence[float], counts: Sequence[int]) -> float:
    """Return a quantile as PromQL's histogram_quantile has it: evenly spread within a bucket."""
    rank, seen, low = share * sum(counts), 0.0, 0.0
    for bound, count in zip(bounds, counts, strict=True):
        if seen + count >= rank and count:
            return low if bound == float("inf") else low + (bound - low) * (rank - seen) / count
        seen += count
        low = bound
    return low


def encoded(documents: Sequence[msgspec.Struct]) -> list[Any]:
    """Return documents as an indexer takes them."""
    return [msgspec.to_builtins(document) for document in documents]
