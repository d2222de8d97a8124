"""The fast path: for pods that only ask a node for itself, the best node in O(log n).

Pods that ask for the same have one shape. A shape keeps a heap of the nodes that can take it, by rank. A node that
changed is judged again when its shape is next asked, and its old entry is dropped when it comes up: so a heap's top
is the node that a scan of all would choose. What a node's images are worth depends on how many nodes have them; so
nodes that have the same of a shape's images have a heap of their own, and only the heaps' tops are compared.
"""

import heapq
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

from kubedyno.cluster.registry.kinds.podfacts import PodSpecFacts
from kubedyno.cluster.scheduler.constraints import Constraints
from kubedyno.cluster.scheduler.filters import Filters
from kubedyno.cluster.scheduler.nodeinfo import Cluster, NodeInfo
from kubedyno.cluster.scheduler.scores import Rank, Scoring, image_names, image_points

# Shapes that keep their heap; others are ordered anew when they come back.
_MAX_SHAPES = 64
# A heap with more entries than this many a node is made anew.
_MAX_ENTRIES_PER_NODE = 4


Heap = list[tuple[Rank, int, NodeInfo]]


def shape_key(spec: PodSpecFacts, constraints: Constraints, images: Hashable = ()) -> Hashable:
    """Return what pods of one shape have in common; images only as far as any node has them."""
    return (
        spec.cpu_milli, spec.memory_bytes, len(spec.containers), spec.extra_requests, spec.node_selector,
        spec.tolerations, spec.host_ports, constraints.key, images,
    )  # fmt: skip


class Shape:
    """Nodes that can take pods of one shape, the best first.

    `failure` is whatever the owner remembers of a failure at `failed_at`, a generation.
    """

    __slots__ = (
        "_cluster", "_constraints", "_filters", "_heaps", "_images", "_names", "_rank", "_scoring", "_seen", "_spec",
        "failed_at", "failure",
    )  # fmt: skip

    def __init__(
        self, cluster: Cluster, filters: Filters, scoring: Scoring, spec: PodSpecFacts, constraints: Constraints,
        images: list[str],
    ) -> None:  # fmt: skip
        self._cluster = cluster
        self._filters = filters
        self._scoring = scoring
        self._spec = spec
        self._constraints = constraints
        self._rank = scoring.rank(spec)
        # Of all containers, and the different ones.
        self._images = images
        self._names = frozenset(images)
        # Images that a node has, of the shape's, with their sizes → (rank, version, node): an entry is valid while the
        # node has that version.
        self._heaps: dict[tuple[tuple[str, int], ...], Heap] = {(): []}
        self._seen = -1
        self.failed_at = -1
        self.failure: Any = None

    def best(self) -> NodeInfo | None:
        """Return the best node, None when no node can take a pod. Amortised O(changed nodes · log n)."""
        cluster = self._cluster
        if self._seen != cluster.generation:
            behind = cluster.generation - self._seen
            if (
                self._seen < cluster.log_start
                or behind > len(cluster.nodes)
                or sum(map(len, self._heaps.values())) > _MAX_ENTRIES_PER_NODE * len(cluster.nodes) + 64
            ):
                self._heaps = {(): []}
                for node in cluster.nodes.values():
                    entry = self._entry(node)
                    if entry is not None:
                        self._heap_of(node).append(entry)
                for heap in self._heaps.values():
                    heapq.heapify(heap)
            elif behind == 1:
                self._push(cluster.log[-1])
            else:
                changed = {node.index: node for node in cluster.log[self._seen - cluster.log_start :]}
                for node in changed.values():
                    self._push(node)
            self._seen = cluster.generation
        heaps = self._heaps
        if len(heaps) == 1:
            return _top(heaps[()])
        return self._best_of_tops()

    def _best_of_tops(self) -> NodeInfo | None:
        shares, weight = self._cluster.image_shares(self._names), self._scoring.images
        best: tuple[Rank, NodeInfo] | None = None
        for images, heap in self._heaps.items():
            node = _top(heap)
            if node is not None:
                points, share, index = heap[0][0]
                rank = (points - weight * image_points(self._images, dict(images), shares), share, index)
                if best is None or rank < best[0]:
                    best = rank, node
        return None if best is None else best[1]

    def _heap_of(self, node: NodeInfo) -> Heap:
        names = self._names
        if not names or not node.facts.images:
            return self._heaps[()]
        return self._heaps.setdefault(tuple(image for image in node.facts.images if image[0] in names), [])

    def _entry(self, node: NodeInfo) -> tuple[Rank, int, NodeInfo] | None:
        if not node.present or self._filters.check(self._spec, self._constraints, "", node) is not None:
            return None
        return (self._rank(node), node.version, node)

    def _push(self, node: NodeInfo) -> None:
        entry = self._entry(node)
        if entry is not None:
            heap = self._heap_of(node)
            # Mostly it is the node that was chosen last, and its old entry is on top.
            if heap and heap[0][2] is node:
                heapq.heapreplace(heap, entry)
            else:
                heapq.heappush(heap, entry)


def _top(heap: Heap) -> NodeInfo | None:
    """Drop entries that are not valid any more; return the first node that is left."""
    while heap:
        _, version, node = heap[0]
        if node.version == version:
            return node
        heapq.heappop(heap)
    return None


class Shapes:
    """The shapes in use."""

    def __init__(self, cluster: Cluster, filters: Filters, scoring: Scoring) -> None:
        self._cluster = cluster
        self._filters = filters
        self._scoring = scoring
        self._shapes: OrderedDict[Hashable, Shape] = OrderedDict()
        self._last_spec: PodSpecFacts | None = None
        self._last_constraints: Constraints | None = None
        self._last_images = -1
        self._last: Shape | None = None

    def of(self, spec: PodSpecFacts, constraints: Constraints) -> Shape:
        """Return the shape of pods with that spec."""
        if (
            self._last is not None
            and spec is self._last_spec
            and constraints is self._last_constraints
            and self._cluster.images_version == self._last_images
        ):
            return self._last
        known = self._cluster.image_nodes
        # Of images that no node has nothing depends.
        images = image_names(spec) if known and self._scoring.images else []
        if not any(image in known for image in images):
            images = []
        key = shape_key(spec, constraints, tuple(images))
        found = self._shapes.get(key)
        if found is None:
            shape = Shape(self._cluster, self._filters, self._scoring, spec, constraints, images)
            found = self._shapes[key] = shape
            if len(self._shapes) > _MAX_SHAPES:
                self._shapes.popitem(last=False)
        else:
            self._shapes.move_to_end(key)
        self._last_spec, self._last_constraints, self._last = spec, constraints, found
        self._last_images = self._cluster.images_version
        return found
