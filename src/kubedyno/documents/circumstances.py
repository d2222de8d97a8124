"""What a run's directory has beside its measurements: the configuration as it acted, the host, nodes, events, pods over time.

One JSON array a kind, as all documents; a report uses what is there and does without the rest.
"""

from pathlib import Path
from typing import Any, TypeVar

import msgspec

CONFIG, HOST, NODES, EVENTS, PODS, API = (
    "kubedynoConfig", "kubedynoHost", "kubedynoNodes", "kubedynoEvents", "kubedynoPods", "kubedynoApi",
)  # fmt: skip
# What goes into directories alone: one document may hold a whole run, with names of fields without end.
UNINDEXED = frozenset({CONFIG, NODES, EVENTS, PODS, API})
# A time that never came, in a column of milliseconds.
NEVER = -1

T = TypeVar("T")


class ConfigDocument(msgspec.Struct, frozen=True):
    """The configuration as it acted: rendered, with what `--set` changed, without passwords."""

    uuid: str
    path: str
    digest: str
    configuration: dict[str, Any]
    metricName: str = CONFIG


class HostDocument(msgspec.Struct, frozen=True):
    """The machine that made the load.

    Attributes:
        kernel: Its release.
        machine: Architecture.
        cpus: That this process may use.
        memory_bytes: Of the machine.
        load_begin: Load averages of 1, 5 and 15 minutes when the run began.
        load_end: Likewise at its end.
        cpu_s: That the load itself used.
        versions: Of kubedyno, Python and the packages that carry the load.
    """

    uuid: str
    timestamp: str
    kernel: str
    machine: str
    cpus: int
    memory_bytes: int
    load_begin: tuple[float, float, float]
    load_end: tuple[float, float, float]
    cpu_s: float
    versions: dict[str, str]
    metricName: str = HOST


class NodeDocument(msgspec.Struct, frozen=True):
    """One node and how full it was.

    Attributes:
        max_pods: Its allocatable pods.
        others: Pods of others that counted at the end of the run.
        most: The run's own pods, when they were most.
        addresses: That its PodCIDR has for pods, None without one.
    """

    uuid: str
    name: str
    max_pods: int
    others: int
    most: int
    cidr: str
    addresses: int | None
    metricName: str = NODES


class EventDocument(msgspec.Struct, frozen=True):
    """One event in a namespace of the run; `count` events of the same kind are one."""

    uuid: str
    timestamp: str
    type: str
    reason: str
    kind: str
    namespace: str
    name: str
    message: str
    count: int
    metricName: str = EVENTS


class PodsDocument(msgspec.Struct, frozen=True):
    """The pods of a job over time, one column a moment, one row a pod; milliseconds since the run began, `NEVER`: not seen.

    Attributes:
        started: Of the run, RFC 3339.
        job: Its name.
        nodes: Names.
        node: Index of each pod's node, -1 while it has none.
        created: First seen.
        scheduled: PodScheduled seen.
        ready: Ready seen.
        gone: Seen to be deleted.
    """

    uuid: str
    started: str
    job: str
    nodes: list[str]
    node: list[int]
    created: list[int]
    scheduled: list[int]
    ready: list[int]
    gone: list[int]
    metricName: str = PODS


class ApiDocument(msgspec.Struct, frozen=True):
    """What the API server itself says of the requests of one verb during the run, of all clients.

    Attributes:
        requests: How many.
        p50_ms: Within the histogram's buckets; likewise the others.
        buckets: Upper bound in seconds (0: no bound) → requests in that bucket.
    """

    uuid: str
    verb: str
    requests: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    buckets: list[tuple[float, int]]
    metricName: str = API


class Circumstances(msgspec.Struct, frozen=True):
    """All that a directory has of one run; what is missing or damaged is empty and told in `missing`."""

    config: ConfigDocument | None = None
    host: HostDocument | None = None
    nodes: list[NodeDocument] = []
    events: list[EventDocument] = []
    pods: list[PodsDocument] = []
    api: list[ApiDocument] = []
    missing: list[str] = []


def read(directory: Path, uuid: str) -> Circumstances:
    """Return what a directory has of a run; never raises, a directory of half a run still says what it can."""
    missing: list[str] = []

    def those(name: str, kind: type[T]) -> list[T]:
        path = directory / f"{name}.json"
        try:
            found: list[Any] = msgspec.json.decode(path.read_bytes(), type=list[kind])  # type: ignore[valid-type]
        except FileNotFoundError:
            missing.append(f"no {path.name}")
            return []
        except (OSError, msgspec.DecodeError) as error:
            missing.append(f"{path.name} cannot be read ({error})")
            return []
        return [document for document in found if document.uuid == uuid]

    configs, hosts = those(CONFIG, ConfigDocument), those(HOST, HostDocument)
    pods = []
    for document in those(PODS, PodsDocument):
        columns = (document.node, document.created, document.scheduled, document.ready, document.gone)
        if len({len(column) for column in columns}) != 1:
            missing.append(f"{PODS}.json: the columns of job {document.job} differ in length")
        elif any(not -1 <= number < len(document.nodes) for number in document.node):
            missing.append(f"{PODS}.json: job {document.job} has pods on nodes that it does not name")
        else:
            pods.append(document)
    return Circumstances(
        configs[-1] if configs else None,
        hosts[-1] if hosts else None,
        those(NODES, NodeDocument),
        those(EVENTS, EventDocument),
        pods,
        those(API, ApiDocument),
        missing,
    )
