"""One scheduling cycle: a pod and the cluster in, a node or the reasons against all of them out. Writes nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kubedyno.cluster.registry.kinds.podfacts import PodSpecFacts
from kubedyno.cluster.scheduler import messages
from kubedyno.cluster.scheduler.constraints import UNCONSTRAINED, Constraints, NamespaceLabels, Parser
from kubedyno.cluster.scheduler.filters import NODE_AFFINITY, NOT_PINNED, Filters, Rejection
from kubedyno.cluster.scheduler.nodeinfo import Cluster, NodeInfo
from kubedyno.cluster.scheduler.preemption import Candidate, choose, victims_on
from kubedyno.cluster.scheduler.scores import best_of
from kubedyno.cluster.scheduler.shapes import Shape, Shapes
from kubedyno.cluster.scheduler.topology import Topology, wanted_by_others
from kubedyno.cluster.storage.objects import StoredObject

_NEVER = b'"preemptionPolicy":"Never"'
_PREEMPTED = b'"PreemptionByScheduler"'
# Nodes that preemption looks for before it chooses: a tenth of all, at least so many (its default arguments).
_MIN_CANDIDATES = 100
# A scan ends at so many feasible nodes: all of a small cluster, 46 % of 500, 10 % of 5,000, at least 5 % and 100
# (numFeasibleNodesToFind with percentageOfNodesToScore at its default). The next one starts where it ended.
_MIN_FEASIBLE = 100
_MIN_PERCENT = 5


def feasible_to_find(nodes: int) -> int:
    """Return after how many feasible nodes a scan may end in a cluster of so many."""
    if nodes < _MIN_FEASIBLE:
        return nodes
    percent = max(50 - nodes // 125, _MIN_PERCENT)
    return max(nodes * percent // 100, _MIN_FEASIBLE)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a pod has no node.

    Attributes:
        message: Of event and condition.
        plugins: Those that rejected it on some node.
        preempt: The node on which room can be made, and by whom leaving; None when there is none.
        keeps_nomination: Victims are leaving the node that was cleared for it: that stays its own.
    """

    message: str
    plugins: frozenset[str]
    preempt: Candidate | None = None
    keeps_nomination: bool = False


class Cycle:
    """Decides.

    Args:
        cluster: Nodes and pods.
        parser: Of constraints.
        minor: Kubernetes' minor version.
        gates: Feature gates that differ from its defaults.
        namespace_labels: A namespace's labels by name.
    """

    def __init__(
        self, cluster: Cluster, parser: Parser, minor: int, gates: dict[str, bool], namespace_labels: NamespaceLabels
    ) -> None:
        self._cluster = cluster
        self._parser = parser
        self._filters = Filters(minor)
        self._shapes = Shapes(cluster, self._filters)
        self._claims = messages.dynamic_resources(minor, gates)
        self._namespace_labels = namespace_labels
        self._start = 0
        # Nodes that were looked at for the last pod: what its turn cost.
        self.looked_at = 0

    def node_for(self, pod: StoredObject) -> NodeInfo | Failure:
        """Return the node for a pod, or why there is none."""
        facts, cluster = pod.facts, self._cluster
        spec: PodSpecFacts = facts.spec
        constraints = self._parser.of(pod) if spec.has_affinity else UNCONSTRAINED
        self.looked_at = 1
        if not (
            facts.pinned_node
            or constraints.relative
            or cluster.soft_tainted
            or cluster.nominations
            or (cluster.term_groups and wanted_by_others(cluster, pod, self._namespace_labels))
        ):
            shape = self._shapes.of(spec, constraints)
            return shape.best() or self._failure_of(shape, pod, spec, constraints)
        return self.scan(pod)

    def scan(self, pod: StoredObject) -> NodeInfo | Failure:
        """Do the same by looking at every node that the pod may be for."""
        cluster = self._cluster
        if not cluster.nodes:
            return Failure(messages.NO_NODES, frozenset())
        facts = pod.facts
        spec: PodSpecFacts = facts.spec
        constraints = self._parser.of(pod)
        topology = None
        if constraints.relative or cluster.with_terms:
            topology = Topology(cluster, pod, constraints, self._namespace_labels)
        check = self._checker(pod, constraints, topology)
        nominated = cluster.nominations.get(pod.key)
        if nominated is not None and nominated.present and check(nominated) is None:
            return nominated
        feasible = []
        rejected: list[tuple[NodeInfo, Rejection]] = []
        pinned = facts.pinned_node
        if pinned:
            nodes = [cluster.nodes[pinned]] if pinned in cluster.nodes else []
        else:
            nodes = list(cluster.nodes.values())
            start = self._start % len(nodes)
            nodes = nodes[start:] + nodes[:start]
        enough = feasible_to_find(len(nodes))
        for node in nodes:
            rejection = check(node)
            if rejection is not None:
                rejected.append((node, rejection))
                continue
            feasible.append(node)
            if len(feasible) == enough:
                break
        looked_at = len(feasible) + len(rejected)
        self.looked_at = len(nodes) if topology is not None else looked_at
        if looked_at < len(nodes):
            self._start += looked_at
        if feasible:
            return best_of(spec, constraints, topology, feasible)
        return self._failure(pod, constraints, rejected)

    def _checker(
        self, pod: StoredObject, constraints: Constraints, topology: Topology | None
    ) -> Callable[[NodeInfo], Rejection | None]:
        spec: PodSpecFacts = pod.facts.spec
        filters, pinned = self._filters, pod.facts.pinned_node

        def check(node: NodeInfo) -> Rejection | None:
            view = node
            if node.nominated:
                # Room that is being made for a pod at least as important is taken already.
                others = [
                    other
                    for other in node.nominated.values()
                    if other.key != pod.key and other.facts.spec.priority >= spec.priority
                ]
                if others:
                    view = node.with_pods([*node.pods.values(), *others])
            rejection = filters.check(spec, constraints, pinned, view)
            if rejection is None and topology is not None:
                rejection = topology.check(node)
            return rejection

        return check

    # --- failure -------------------------------------------------------------------------------------------------

    def _failure_of(self, shape: Shape, pod: StoredObject, spec: PodSpecFacts, constraints: Constraints) -> Failure:
        """Return a shape's failure: the same for all its pods, unless preemption may help some."""
        cluster = self._cluster
        if not cluster.nodes:
            return Failure(messages.NO_NODES, frozenset())
        shared = not self._outranks(spec) and _NEVER not in pod.body
        if shared and shape.failed_at == cluster.generation:
            known: Any = shape.failure
            return known  # type: ignore[no-any-return]
        self.looked_at = len(cluster.nodes)
        rejected = []
        for node in cluster.nodes.values():
            rejection = self._filters.check(spec, constraints, "", node)
            assert rejection is not None, "the heap of a shape lost a node that fits"
            rejected.append((node, rejection))
        failure = self._failure(pod, constraints, rejected)
        if shared:
            shape.failed_at, shape.failure = cluster.generation, failure
        return failure

    def _outranks(self, spec: PodSpecFacts) -> bool:
        return min(self._cluster.priorities, default=spec.priority) < spec.priority

    def _failure(
        self, pod: StoredObject, constraints: Constraints, rejected: list[tuple[NodeInfo, Rejection]]
    ) -> Failure:
        total = len(self._cluster.nodes)
        reasons = messages.counted(rejection.reasons for _, rejection in rejected)
        plugins = {rejection.plugin for _, rejection in rejected}
        absent = total - len(rejected)
        if absent:
            reasons[NOT_PINNED.reasons[0]] = absent
            plugins.add(NODE_AFFINITY)
        first = messages.available(total, reasons)
        preempt, said = self._preemption(pod, constraints, rejected)
        return Failure(
            messages.unschedulable(first, said, claims=self._claims),
            frozenset(plugins),
            preempt,
            said == messages.VICTIMS_LEAVING,
        )

    def _preemption(
        self, pod: StoredObject, constraints: Constraints, rejected: list[tuple[NodeInfo, Rejection]]
    ) -> tuple[Candidate | None, str | None]:
        """Return where room can be made, or what is said because it can't."""
        spec: PodSpecFacts = pod.facts.spec
        if _NEVER in pod.body:
            return None, messages.NEVER_PREEMPTS
        cluster = self._cluster
        nominated = cluster.nominations.get(pod.key)
        if nominated is not None and any(
            other.deletion_s and other.facts.spec.priority < spec.priority and _PREEMPTED in other.status
            for other in nominated.pods.values()
        ):
            return None, messages.VICTIMS_LEAVING
        total = len(cluster.nodes)
        potential = [node for node, rejection in rejected if rejection.resolvable]
        candidates: list[Candidate] = []
        reasons: dict[str, int] = {}
        if potential and not self._outranks(spec):
            reasons[messages.NO_VICTIMS] = len(potential)
        elif potential:
            enough = min(max(total // 10, _MIN_CANDIDATES), total)
            found = []
            for node in potential:
                self.looked_at += len(node.pods)
                result = victims_on(node, spec.priority, self._checker_without(pod, constraints))
                if isinstance(result, Candidate):
                    candidates.append(result)
                    if len(candidates) >= enough:
                        break
                else:
                    found.append(result)
            reasons = messages.counted(found)
        if candidates:
            return choose(candidates), None
        if total > len(potential):
            reasons[messages.NOT_HELPFUL] = total - len(potential)
        return None, messages.available(total, reasons)

    def _checker_without(self, pod: StoredObject, constraints: Constraints) -> Callable[[NodeInfo], Rejection | None]:
        """Return a check for a node some of whose pods are thought away."""
        cluster = self._cluster

        def check(node: NodeInfo) -> Rejection | None:
            topology = None
            if constraints.spread or constraints.affinity or constraints.anti_affinity or cluster.with_terms:
                topology = Topology(cluster, pod, constraints, self._namespace_labels, node)
            real = cluster.infos[node.name]
            others = [
                other
                for other in real.nominated.values()
                if other.key != pod.key and other.facts.spec.priority >= pod.facts.spec.priority
            ]
            view = node.with_pods([*node.pods.values(), *others]) if others else node
            rejection = self._filters.check(pod.facts.spec, constraints, pod.facts.pinned_node, view)
            return topology.check(node) if rejection is None and topology is not None else rejection

        return check
