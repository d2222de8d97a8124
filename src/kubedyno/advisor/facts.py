"""What the rules judge by: a cluster's nodes, pods and events at one moment.

The only module of the package that reads a cluster; everything else is pure.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kubedyno.client.api import Client
from kubedyno.kube.status import StatusError

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """Raw API objects, as listed.

    Attributes:
        nodes: All nodes; empty when listing them is forbidden (`missing` then says so).
        pods: All pods of the cluster, or of the namespaces that may be read.
        events: Warnings that regard pods, ReplicaSets and other makers of pods, oldest first.
        replicasets: Those that lack pods, for pods that were never made.
        embedded: Name of the embedded cluster, None for a real one: commands differ.
        missing: What could not be read and why, a line each.
    """

    nodes: tuple[Json, ...] = ()
    pods: tuple[Json, ...] = ()
    events: tuple[Json, ...] = ()
    replicasets: tuple[Json, ...] = ()
    embedded: str | None = None
    missing: tuple[str, ...] = field(default=())


# A loaded cluster has normal events for everything that went well, four a pod: the server keeps them to itself.
_WARNINGS = "/api/v1/events?fieldSelector=type%21%3DNormal"


def _lacks_pods(replicaset: Json) -> bool:
    return bool(replicaset.get("spec", {}).get("replicas", 0) > replicaset.get("status", {}).get("replicas", 0))


async def read(client: Client, *, embedded: str | None = None) -> ClusterFacts:
    """List what the rules need. What is forbidden is left out and named in `missing`."""
    missing: list[str] = []

    async def items(path: str, what: str, keep: Callable[[Json], bool] | None = None) -> tuple[Json, ...]:
        try:
            return tuple(await client.list_all(path, keep))
        except StatusError as error:
            if error.code not in {401, 403, 404}:
                raise
            missing.append(f"{what}: not read ({error.message})")
            return ()

    return ClusterFacts(
        nodes=await items("/api/v1/nodes", "nodes"),
        pods=await items("/api/v1/pods", "pods"),
        events=await items(_WARNINGS, "events"),
        replicasets=await items("/apis/apps/v1/replicasets", "replicasets", _lacks_pods),
        embedded=embedded,
        missing=tuple(missing),
    )
