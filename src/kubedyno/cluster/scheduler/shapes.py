"""The fast path: for pods that only ask a node for itself, the best node in O(log n).

Pods that ask for the same have one shape. A shape keeps a heap of the nodes that can take it, by rank. A node that
changed is judged again when its shape is next asked, and its old entry is dropped when it comes up: so a heap's top
is the node that a scan of all would choose.
"""

import heapq
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

from kubedyno.cluster.registry.kinds.podfacts import PodSpecFacts
from kubedyno.cluster.scheduler.constraints import Constraints
from kubedyno.cluster.scheduler.filters import Filters
from kubedyno.cluster.scheduler.nodeinfo import Cluster, NodeInfo
from kubedyno.cluster.scheduler.scores import Rank, resource_rank

# Shapes that keep their heap; others are ordered anew when they come back.
_MAX_SHAPES = 64
# A heap with more entries than this many a node is made anew.
_MAX_ENTRIES_PER_NODE = 4


def shape_key(spec: PodSpecFacts, constraints: Constraints) -> Hashable:
    """Return what pods of one shape have in common."""
    return (
        spec.cpu_milli, spec.memory_bytes, len(spec.containers), spec.extra_requests, spec.node_selector,
        spec.tolerations, spec.host_ports, constraints.key,
    )  # fmt: skip


class Shape:
    """Nodes that can take pods of one shape, the best first.

    `failure` is whatever the owner remembers of a failure at `failed_at`, a generation.
    """

    __slots__ = ("_cluster", "_constraints", "_filters", "_heap", "_rank", "_seen", "_spec", "failed_at", "failure")

    def __init__(self, cluster: Cluster, filters: Filters, spec: PodSpecFacts, constraints: Constraints) -> None:
        self._cluster = cluster
        self._filters = filters
        self._spec = spec
        self._constraints = constraints
        self._rank = resource_rank(spec)
        # (rank, version, node): an entry is valid while the node has that version.
        self._heap: list[tuple[Rank, int, NodeInfo]] = []
        self._seen = -1
        self.failed_at = -1
        self.failure: Any = None

    def best(self) -> NodeInfo | None:
        """Return the best node, None when no node can take a pod. Amortised O(changed nodes · log n)."""
        cluster = self._cluster
        heap = self._heap
        if self._seen != cluster.generation:
            behind = cluster.generation - self._seen
            if (
                self._seen < cluster.log_start
                or behind > len(cluster.nodes)
                or len(heap) > _MAX_ENTRIES_PER_NODE * len(cluster.nodes) + 64
            ):
                entries = (self._entry(node) for node in cluster.nodes.values())
                heap = self._heap = [entry for entry in entries if entry is not None]
                heapq.heapify(heap)
            elif behind == 1:
                self._push(cluster.log[-1])
            else:
                changed = {node.index: node for node in cluster.log[self._seen - cluster.log_start :]}
                for node in changed.values():
                    self._push(node)
            self._seen = cluster.generation
        while heap:
            _, version, node = heap[0]
            if node.version == version:
                return node
            heapq.heappop(heap)
        return None

    def _entry(self, node: NodeInfo) -> tuple[Rank, int, NodeInfo] | None:
        if not node.present or self._filters.check(self._spec, self._constraints, "", node) is not None:
            return None
        return (self._rank(node), node.version, node)

    def _push(self, node: NodeInfo) -> None:
        entry = self._entry(node)
        if entry is not None:
            heap = self._heap
            # Mostly it is the node that was chosen last, and its old entry is on top.
            if heap and heap[0][2] is node:
                heapq.heapreplace(heap, entry)
            else:
                heapq.heappush(heap, entry)


class Shapes:
    """The shapes in use."""

    def __init__(self, cluster: Cluster, filters: Filters) -> None:
        self._cluster = cluster
        self._filters = filters
        self._shapes: OrderedDict[Hashable, Shape] = OrderedDict()
        self._last_spec: PodSpecFacts | None = None
        self._last_constraints: Constraints | None = None
        self._last: Shape | None = None

    def of(self, spec: PodSpecFacts, constraints: Constraints) -> Shape:
        """Return the shape of pods with that spec."""
        if self._last is not None and spec is self._last_spec and constraints is self._last_constraints:
            return self._last
        key = shape_key(spec, constraints)
        found = self._shapes.get(key)
        if found is None:
            found = self._shapes[key] = Shape(self._cluster, self._filters, spec, constraints)
            if len(self._shapes) > _MAX_SHAPES:
                self._shapes.popitem(last=False)
        else:
            self._shapes.move_to_end(key)
        self._last_spec, self._last_constraints, self._last = spec, constraints, found
        return found
