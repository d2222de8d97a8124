"""One scheduling cycle: a pod and the cluster in, a node or the reasons against all of them out. Writes nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from kubedyno.cluster.registry import featuregates
from kubedyno.cluster.registry.kinds.podfacts import PodSpecFacts
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.scheduler import messages
from kubedyno.cluster.scheduler.claims import DYNAMIC_RESOURCES, ClaimNeed, Claims
from kubedyno.cluster.scheduler.constraints import UNCONSTRAINED, Constraints, NamespaceLabels, Parser, node_terms
from kubedyno.cluster.scheduler.devices import ClaimFault
from kubedyno.cluster.scheduler.filters import NODE_AFFINITY, NOT_PINNED, ChosenFilters, Filters, Rejection
from kubedyno.cluster.scheduler.nodeinfo import Cluster, NodeInfo
from kubedyno.cluster.scheduler.preemption import Budget, Candidate, budgets_of, choose, victims_on
from kubedyno.cluster.scheduler.refusal import Refusal
from kubedyno.cluster.scheduler.scores import Scoring, image_names
from kubedyno.cluster.scheduler.shapes import Shape, Shapes
from kubedyno.cluster.scheduler.topology import Topology, wanted_by_others
from kubedyno.cluster.scheduler.volumes import VolumeNeed, Volumes
from kubedyno.cluster.settings import ClusterSettings, SchedulerProfile
from kubedyno.cluster.storage.objects import StoredObject

_NEVER = b'"preemptionPolicy":"Never"'
_PREEMPTED = b'"PreemptionByScheduler"'
# A scan ends at so many feasible nodes: all of a small cluster, 46 % of 500, 10 % of 5,000, at least 5 % and 100
# (numFeasibleNodesToFind with percentageOfNodesToScore at its default). The next one starts where it ended.
_MIN_FEASIBLE = 100
_MIN_PERCENT = 5


def feasible_to_find(nodes: int, percentage: int = 0) -> int:
    """Return after how many feasible nodes a scan may end in a cluster of so many.

    Args:
        nodes: How many there are.
        percentage: percentageOfNodesToScore; 0: by the cluster's size.
    """
    if nodes < _MIN_FEASIBLE:
        return nodes
    percent = percentage or max(50 - nodes // 125, _MIN_PERCENT)
    return max(nodes * percent // 100, _MIN_FEASIBLE)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a pod has no node.

    Attributes:
        message: Of event and condition; "" for a pod that is not tried yet, of which nothing is said.
        plugins: Those that rejected it on some node.
        preempt: The node on which room can be made, and by whom leaving; None when there is none.
        keeps_nomination: Preemption was not tried: a node that was cleared for it stays its own.
        deallocate: The claim whose devices are to be taken from it, "" for none.
        is_error: Something is wrong with what it asks for: it is tried again after a back-off.
    """

    message: str
    plugins: frozenset[str]
    preempt: Candidate | None = None
    keeps_nomination: bool = False
    deallocate: str = ""
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Needs:
    """What a pod needs of its node beyond resources: volumes, devices."""

    volumes: VolumeNeed | None = None
    devices: ClaimNeed | None = None

    @property
    def judges(self) -> bool:
        """False when any node will do."""
        return self.devices is not None or (self.volumes is not None and self.volumes.judges)


NOTHING = Needs()


class Cycle:
    """Decides, for the pods of one profile.

    Args:
        trusted: Store, and the door for writes of volumes and claims that come with a decision.
        cluster: Nodes and pods.
        parser: Of constraints.
        settings: Version and gates.
        profile: The profile.
        claims: Who has which device.
        namespace_labels: A namespace's labels by name.

    Attributes:
        looked_at: Nodes that were looked at for the last pod: what its turn cost.
        needs: What the last pod needs beyond resources.
    """

    def __init__(
        self,
        trusted: Trusted,
        cluster: Cluster,
        parser: Parser,
        settings: ClusterSettings,
        profile: SchedulerProfile,
        claims: Claims,
        namespace_labels: NamespaceLabels,
    ) -> None:
        self._store = trusted.store
        self._cluster = cluster
        self._parser = parser
        self._profile = profile
        self.off = off = frozenset(profile.filters_off)
        self._filters = Filters(settings.minor)
        if off or profile.added_affinity:
            required = orjson.loads(profile.added_affinity or "{}").get(
                "requiredDuringSchedulingIgnoredDuringExecution"
            )
            added = None if required is None else node_terms(required)
            self._filters = ChosenFilters(settings.minor, off, added)
        self._scoring = Scoring(profile)
        self._shapes = Shapes(cluster, self._filters, self._scoring)
        self._with_claims = DYNAMIC_RESOURCES not in off and featuregates.DYNAMIC_RESOURCES in featuregates.gates_on(
            settings.minor, settings.feature_gates
        )
        self.volumes = Volumes(trusted, cluster, settings.minor, off)
        self.claims = claims
        self._namespace_labels = namespace_labels
        self._start = 0
        self.looked_at = 0
        self.needs = NOTHING

    def node_for(self, pod: StoredObject) -> NodeInfo | Failure:
        """Return the node for a pod, or why there is none."""
        facts, cluster = pod.facts, self._cluster
        spec: PodSpecFacts = facts.spec
        constraints = self._parser.of(pod) if spec.has_affinity else UNCONSTRAINED
        self.looked_at = 1
        self.needs = NOTHING
        if (spec.attached or spec.claims_devices) and cluster.nodes:
            needs = self._needs_of(pod)
            if isinstance(needs, Refusal):
                return self._refused(pod, needs)
            self.needs = needs
        if not (
            facts.pinned_node
            or constraints.relative
            or cluster.soft_tainted
            or cluster.nominations
            or (self.needs is not NOTHING and self.needs.judges)
            or (cluster.term_groups and wanted_by_others(cluster, pod, self._namespace_labels))
        ):
            shape = self._shapes.of(spec, constraints)
            return shape.best() or self._failure_of(shape, pod, spec, constraints)
        try:
            return self.scan(pod)
        except ClaimFault as fault:
            message = f'running "{DYNAMIC_RESOURCES}" filter plugin: {fault}'
            return Failure(message, frozenset({DYNAMIC_RESOURCES}), is_error=True)

    def _needs_of(self, pod: StoredObject) -> Needs | Refusal:
        spec: PodSpecFacts = pod.facts.spec
        volumes: VolumeNeed | Refusal | None = None
        devices: ClaimNeed | Refusal | None = None
        if spec.claims_devices and self._with_claims:
            devices = self.claims.need_of(pod)
            # Before it is tried at all, its claims must have been made.
            if isinstance(devices, Refusal) and not devices.message:
                return devices
        if spec.attached:
            volumes = self.volumes.need_of(pod)
        if isinstance(volumes, Refusal):
            return volumes
        if isinstance(devices, Refusal):
            return devices
        return NOTHING if volumes is None and devices is None else Needs(volumes, devices)

    def _refused(self, pod: StoredObject, refusal: Refusal) -> Failure:
        """Return the failure of a pod that was refused before any node was looked at."""
        if not refusal.message:
            return Failure("", frozenset({refusal.plugin}))
        total = len(self._cluster.nodes)
        first = messages.refused(total, refusal.message)
        claims = ""
        if self._with_claims:
            claims = messages.UNKNOWN_POD if refusal.before_claims else messages.NO_CLAIMS
        preemption = ""
        if self._profile.preempts:
            preemption = messages.NEVER_PREEMPTS if _NEVER in pod.body else ""
            preemption = preemption or messages.available(total, {messages.NOT_HELPFUL: total})
        return Failure(messages.unschedulable(first, preemption, claims), frozenset({refusal.plugin}))

    def scan(self, pod: StoredObject) -> NodeInfo | Failure:
        """Do the same by looking at every node that the pod may be for.

        Raises:
            ClaimFault: A claim on devices is wrong.
        """
        cluster = self._cluster
        if not cluster.nodes:
            return Failure(messages.NO_NODES, frozenset())
        facts = pod.facts
        spec: PodSpecFacts = facts.spec
        constraints = self._parser.of(pod)
        topology = None
        if constraints.relative or cluster.with_terms:
            topology = Topology(cluster, pod, constraints, self._namespace_labels, profile=self._profile)
        check = self._checker(pod, constraints, topology)
        nominated = cluster.nominations.get(pod.key)
        if nominated is not None and nominated.present and check(nominated) is None:
            return nominated
        feasible = []
        rejected: list[tuple[NodeInfo, Rejection]] = []
        pinned = facts.pinned_node
        if pinned and NODE_AFFINITY not in self.off:
            nodes = [cluster.nodes[pinned]] if pinned in cluster.nodes else []
        else:
            nodes = list(cluster.nodes.values())
            start = self._start % len(nodes)
            nodes = nodes[start:] + nodes[:start]
        enough = feasible_to_find(len(nodes), self._profile.percentage)
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
            shares = cluster.image_shares(image_names(spec)) if cluster.image_nodes else {}
            return self._scoring.best_of(spec, constraints, topology, feasible, shares)
        return self._failure(pod, constraints, rejected)

    def _checker(
        self, pod: StoredObject, constraints: Constraints, topology: Topology | None
    ) -> Callable[[NodeInfo], Rejection | None]:
        pinned = pod.facts.pinned_node
        filters, spec = self._filters, pod.facts.spec
        volumes, devices = self.needs.volumes, self.needs.devices

        def check(node: NodeInfo) -> Rejection | None:
            rejection = filters.check(spec, constraints, pinned, self._with_nominated(pod, node, node))
            if rejection is None and volumes is not None:
                rejection = volumes.check(node)
            if rejection is None and topology is not None:
                rejection = topology.check(node)
            if rejection is None and devices is not None:
                rejection = devices.check(node)
            return rejection

        return check

    def _with_nominated(self, pod: StoredObject, node: NodeInfo, view: NodeInfo) -> NodeInfo:
        """Return a view of a node in which room that is made for a pod at least as important is taken already."""
        if not node.nominated:
            return view
        others = [
            other
            for other in node.nominated.values()
            if other.key != pod.key and other.facts.spec.priority >= pod.facts.spec.priority
        ]
        return view.with_pods([*view.pods.values(), *others]) if others else view

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
        claims = deallocate = ""
        if self._with_claims:
            devices = self.needs.devices
            claims = messages.NO_CLAIMS
            if devices is not None:
                deallocate = devices.to_deallocate()
                claims = messages.DEALLOCATED if deallocate else messages.STILL_NOT
        preempt: Candidate | None = None
        said: str | None = ""
        if self._profile.preempts:
            preempt, said = self._preemption(pod, constraints, rejected)
        return Failure(
            messages.unschedulable(first, said, claims),
            frozenset(plugins),
            preempt,
            said in {messages.VICTIMS_LEAVING, messages.NEVER_PREEMPTS},
            deallocate,
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
            profile = self._profile
            enough = min(max(total * profile.min_candidates_percent // 100, profile.min_candidates, 1), total)
            found = []
            budgets: list[Budget] = budgets_of(self._store)
            for node in potential:
                self.looked_at += len(node.pods)
                result = victims_on(node, spec.priority, self._checker_without(pod, constraints), budgets)
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

        volumes, devices = self.needs.volumes, self.needs.devices

        def check(node: NodeInfo) -> Rejection | None:
            topology = None
            if constraints.spread or constraints.affinity or constraints.anti_affinity or cluster.with_terms:
                topology = Topology(cluster, pod, constraints, self._namespace_labels, node, profile=self._profile)
            view = self._with_nominated(pod, cluster.infos[node.name], node)
            rejection = self._filters.check(pod.facts.spec, constraints, pod.facts.pinned_node, view)
            if rejection is None and volumes is not None:
                rejection = volumes.check(node)
            if rejection is None and topology is not None:
                rejection = topology.check(node)
            return devices.check(node) if rejection is None and devices is not None else rejection

        return check
