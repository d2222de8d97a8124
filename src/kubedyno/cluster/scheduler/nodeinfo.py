"""Nodes as the scheduler sees them: what they have, who is on them, what that leaves.

Fed by changes of the tables and by the scheduler's own bindings. Each change of a node raises `Cluster.generation`
and is logged, so that orders of nodes can be kept up instead of being made anew.
"""

from collections.abc import Iterable, Iterator, Mapping

from kubedyno.cluster.registry.kinds.nodes import NodeFacts
from kubedyno.cluster.registry.kinds.podfacts import PodSpecFacts
from kubedyno.cluster.scheduler.constraints import Constraints, Parser
from kubedyno.cluster.storage.objects import StoredObject

# What a container without a request is taken for in scores (pkg/scheduler/util: DefaultMilliCPURequest, …).
DEFAULT_CPU_MILLI = 100
DEFAULT_MEMORY_BYTES = 200 << 20
_NOTHING = NodeFacts(
    ready=False, unschedulable=False, taints=(), pod_cidr="", cpu_milli=0, memory_bytes=0, pods=0, extra=(),
    addresses=(),
)  # fmt: skip
_ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - what an empty hostIP means
# Changes that are remembered for orders that lag behind, at least.
_MIN_LOG = 4096

Port = tuple[str, str, int]


def scored_requests(spec: PodSpecFacts) -> tuple[int, int]:
    """Return (CPU thousandths, memory bytes) that scores count for a pod: a default where it asks for nothing."""
    containers = len(spec.containers) or 1
    return (
        spec.cpu_milli or containers * DEFAULT_CPU_MILLI,
        spec.memory_bytes or containers * DEFAULT_MEMORY_BYTES,
    )


class NodeInfo:
    """One node; `present` is False while only pods name it.

    Attributes:
        facts: Of the node object.
        labels: Its labels.
        pods: The pods that hold a place here, by key.
        nominated: Pods for which room is being made here, by key.
        extra: What is allocatable of other resources.
        used_extra: What is taken of them.
        scored_cpu_milli: CPU with defaults for pods without requests; so `scored_memory_bytes`.
        version: `Cluster.generation` of its last change.
    """

    __slots__ = (
        "cpu_milli", "extra", "facts", "index", "labels", "memory_bytes", "name", "nominated", "pods", "ports",
        "present", "scored_cpu_milli", "scored_memory_bytes", "used_extra", "version",
    )  # fmt: skip

    def __init__(self, name: str, index: int) -> None:
        self.name = name
        self.index = index
        self.present = False
        self.facts = _NOTHING
        self.labels: Mapping[str, str] = {}
        self.extra: dict[str, int] = {}
        self.pods: dict[str, StoredObject] = {}
        self.nominated: dict[str, StoredObject] = {}
        self.ports: dict[Port, int] = {}
        self.cpu_milli = 0
        self.memory_bytes = 0
        self.scored_cpu_milli = 0
        self.scored_memory_bytes = 0
        self.used_extra: dict[str, int] = {}
        self.version = 0

    def count(self, spec: PodSpecFacts, sign: int) -> None:
        """Take (sign 1) or give back (sign -1) what a pod asks for."""
        self.cpu_milli += sign * spec.cpu_milli
        self.memory_bytes += sign * spec.memory_bytes
        cpu_milli, memory_bytes = scored_requests(spec)
        self.scored_cpu_milli += sign * cpu_milli
        self.scored_memory_bytes += sign * memory_bytes
        for name, amount in spec.extra_requests:
            self.used_extra[name] = self.used_extra.get(name, 0) + sign * amount
        for port in spec.host_ports:
            left = self.ports.get(port, 0) + sign
            if left:
                self.ports[port] = left
            else:
                self.ports.pop(port, None)

    def has_ports(self, wanted: Iterable[Port]) -> bool:
        """Say whether host ports are free; an unspecified address conflicts with every address."""
        for protocol, address, port in wanted:
            for used_protocol, used_address, used_port in self.ports:
                if port != used_port or protocol != used_protocol:
                    continue
                mine, theirs = address or _ANY_ADDRESS, used_address or _ANY_ADDRESS
                if mine == theirs or _ANY_ADDRESS in {mine, theirs}:
                    return False
        return True

    def with_pods(self, pods: Iterable[StoredObject]) -> "NodeInfo":
        """Return the same node holding only these pods."""
        other = NodeInfo(self.name, self.index)
        other.present, other.facts, other.labels, other.extra = self.present, self.facts, self.labels, self.extra
        for pod in pods:
            other.pods[pod.key] = pod
            other.count(pod.facts.spec, 1)
        return other


class Cluster:
    """All nodes and the pods on them."""

    def __init__(self, parser: Parser) -> None:
        self._parser = parser
        self.infos: dict[str, NodeInfo] = {}
        # Those whose object exists, in the order they came.
        self.nodes: dict[str, NodeInfo] = {}
        # Namespace → pod key → node.
        self.places: dict[str, dict[str, NodeInfo]] = {}
        # Namespace that terms of pods on nodes are about, "" for one chosen by labels → constraints → how many pods.
        self.term_groups: dict[str, dict[Constraints, int]] = {}
        # Keys of those pods, with their constraints and nodes.
        self.with_terms: dict[str, tuple[Constraints, NodeInfo]] = {}
        # Priority → pods on nodes.
        self.priorities: dict[int, int] = {}
        # Nodes with a taint of effect PreferNoSchedule, and pods that nodes are being cleared for.
        self.soft_tainted = 0
        # Image → nodes that have it.
        self.image_nodes: dict[str, int] = {}
        # Counts up when an image comes to the first node or leaves the last one.
        self.images_version = 0
        self.nominations: dict[str, NodeInfo] = {}
        self.generation = 0
        self.log: list[NodeInfo] = []
        self.log_start = 0
        self._indexes = 0

    # --- nodes ---------------------------------------------------------------------------------------------------

    def info(self, name: str) -> NodeInfo:
        """Return a node's info, made when needed."""
        found = self.infos.get(name)
        if found is None:
            self._indexes += 1
            found = self.infos[name] = NodeInfo(name, self._indexes)
        return found

    def touch(self, node: NodeInfo) -> None:
        """Note that a node changed."""
        self.generation += 1
        node.version = self.generation
        log = self.log
        log.append(node)
        if len(log) > _MIN_LOG and len(log) > 4 * len(self.nodes):
            half = len(log) // 2
            del log[:half]
            self.log_start += half

    def put_node(self, obj: StoredObject) -> tuple[NodeInfo, bool, NodeFacts, Mapping[str, str]] | None:
        """Take over a node's new version.

        Returns:
            The node, whether it is new, and its facts and labels before; None when nothing of interest changed.
        """
        node = self.info(obj.name)
        facts, labels, was_new = node.facts, node.labels, not node.present
        new: NodeFacts = obj.facts
        if not was_new and labels == obj.labels and (facts is new or _same(facts, new)):
            node.facts = new
            return None
        self.soft_tainted += _soft(new) - _soft(facts)
        if facts.images != new.images:
            self._count_images(facts, -1)
            self._count_images(new, 1)
        node.facts, node.labels, node.present = new, obj.labels, True
        node.extra = dict(new.extra)
        self.nodes[node.name] = node
        self.touch(node)
        return node, was_new, facts, labels

    def remove_node(self, name: str) -> None:
        """Forget a node's object; pods that are still on it keep their place."""
        node = self.nodes.pop(name, None)
        if node is None:
            return
        self.soft_tainted -= _soft(node.facts)
        self._count_images(node.facts, -1)
        node.present, node.facts, node.labels, node.extra = False, _NOTHING, {}, {}
        self.touch(node)
        self._drop_empty(node)

    def _count_images(self, facts: NodeFacts, sign: int) -> None:
        counts = self.image_nodes
        for name, _ in facts.images:
            left = counts.get(name, 0) + sign
            if not left or name not in counts:
                self.images_version += 1
            if left:
                counts[name] = left
            else:
                del counts[name]

    def image_shares(self, images: Iterable[str]) -> dict[str, float]:
        """Return which share of all nodes has an image, of those images that any node has."""
        counts, total = self.image_nodes, len(self.nodes)
        return {image: counts[image] / total for image in images if image in counts} if counts else {}

    def _drop_empty(self, node: NodeInfo) -> None:
        if not node.present and not node.pods and not node.nominated:
            self.infos.pop(node.name, None)

    # --- pods ----------------------------------------------------------------------------------------------------

    def node_of(self, pod: StoredObject) -> NodeInfo | None:
        """Return where a pod is counted."""
        found = self.places.get(pod.namespace)
        return None if found is None else found.get(pod.key)

    def add_pod(self, pod: StoredObject, name: str) -> NodeInfo:
        """Count a pod that is not counted yet on a node."""
        node = self.info(name)
        spec: PodSpecFacts = pod.facts.spec
        node.pods[pod.key] = pod
        node.count(spec, 1)
        self.places.setdefault(pod.namespace, {})[pod.key] = node
        self.priorities[spec.priority] = self.priorities.get(spec.priority, 0) + 1
        if spec.has_affinity:
            constraints = self._parser.of(pod)
            if constraints.pod_terms:
                self.with_terms[pod.key] = (constraints, node)
                for namespace in constraints.target_namespaces:
                    group = self.term_groups.setdefault(namespace, {})
                    group[constraints] = group.get(constraints, 0) + 1
        self.touch(node)
        return node

    def remove_pod(self, pod: StoredObject) -> NodeInfo | None:
        """Stop counting a pod; returns where it was."""
        places = self.places.get(pod.namespace)
        node = None if places is None else places.pop(pod.key, None)
        if node is None or places is None:
            return None
        if not places:
            del self.places[pod.namespace]
        counted = node.pods.pop(pod.key)
        spec: PodSpecFacts = counted.facts.spec
        node.count(spec, -1)
        left = self.priorities[spec.priority] - 1
        if left:
            self.priorities[spec.priority] = left
        else:
            del self.priorities[spec.priority]
        if pod.key in self.with_terms:
            constraints, _ = self.with_terms.pop(pod.key)
            for namespace in constraints.target_namespaces:
                group = self.term_groups[namespace]
                group[constraints] -= 1
                if not group[constraints]:
                    del group[constraints]
                    if not group:
                        del self.term_groups[namespace]
        self.touch(node)
        self._drop_empty(node)
        return node

    def pods_in(self, namespaces: Iterable[str] | None) -> Iterator[tuple[StoredObject, NodeInfo]]:
        """Yield the pods of some namespaces, or of all, with their nodes."""
        places = self.places
        for namespace in list(places) if namespaces is None else namespaces:
            for key, node in places.get(namespace, {}).items():
                yield node.pods[key], node

    def nominate(self, pod: StoredObject, node: NodeInfo | None) -> None:
        """Note for which pod room is being made on a node; None: for none (any more)."""
        before = self.nominations.pop(pod.key, None)
        if before is not None:
            before.nominated.pop(pod.key, None)
            self.touch(before)
            self._drop_empty(before)
        if node is not None:
            self.nominations[pod.key] = node
            node.nominated[pod.key] = pod
            self.touch(node)


def _soft(facts: NodeFacts) -> int:
    return int(any(taint[2] == "PreferNoSchedule" for taint in facts.taints))


def _same(old: NodeFacts, new: NodeFacts) -> bool:
    return (
        old.unschedulable is new.unschedulable
        and old.taints == new.taints
        and old.pods == new.pods
        and old.cpu_milli == new.cpu_milli
        and old.memory_bytes == new.memory_bytes
        and old.extra == new.extra
        and old.images == new.images
    )
