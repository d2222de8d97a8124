"""Whether a node by itself can take a pod, in the order and with the words of the real plugins.

What depends on other nodes' pods (spreading, pod affinity) is in `topology`.
"""

from dataclasses import dataclass

from kubedyno.cluster.registry.kinds.podfacts import PodSpecFacts, Toleration
from kubedyno.cluster.scheduler.constraints import Constraints, NodeTerm
from kubedyno.cluster.scheduler.nodeinfo import NodeInfo

NODE_UNSCHEDULABLE = "NodeUnschedulable"
TAINTS = "TaintToleration"
NODE_AFFINITY = "NodeAffinity"
NODE_PORTS = "NodePorts"
RESOURCES = "NodeResourcesFit"
SPREAD = "PodTopologySpread"
POD_AFFINITY = "InterPodAffinity"

_CORDONED = ("node.kubernetes.io/unschedulable", "", "NoSchedule")
_HARD_EFFECTS = frozenset({"NoSchedule", "NoExecute"})
# From this minor version on the reason does not name the taint, so that reasons can be counted together.
_SHORT_TAINT_REASON_MINOR = 35


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a node cannot take a pod.

    Attributes:
        plugin: The plugin that said no.
        reasons: Its words, one or more.
        resolvable: Removing other pods might help.
    """

    plugin: str
    reasons: tuple[str, ...]
    resolvable: bool


CORDONED = Rejection(NODE_UNSCHEDULABLE, ("node(s) were unschedulable",), resolvable=False)
NOT_SELECTED = Rejection(NODE_AFFINITY, ("node(s) didn't match Pod's node affinity/selector",), resolvable=False)
NOT_ADDED = Rejection(
    NODE_AFFINITY, ("node(s) didn't match scheduler-enforced node affinity",), resolvable=False
)  # fmt: skip
PORTS_TAKEN = Rejection(NODE_PORTS, ("node(s) didn't have free ports for the requested pod ports",), resolvable=True)
NOT_PINNED = Rejection(NODE_AFFINITY, ("node(s) didn't satisfy plugin(s) [NodeAffinity]",), resolvable=False)
TOO_MANY_PODS = Rejection(RESOURCES, ("Too many pods",), resolvable=True)
_TAINTED = Rejection(TAINTS, ("node(s) had untolerated taint(s)",), resolvable=False)


def tolerates(tolerations: tuple[Toleration, ...], taint: tuple[str, str, str]) -> bool:
    """Say whether one of the tolerations is for that (key, value, effect)."""
    key, value, effect = taint
    for wanted_key, operator, wanted_value, wanted_effect, _ in tolerations:
        if wanted_effect and wanted_effect != effect:
            continue
        if wanted_key and wanted_key != key:
            continue
        if operator == "Exists" or (operator in {"", "Equal"} and wanted_value == value):
            return True
    return False


def untolerated(tolerations: tuple[Toleration, ...], node: NodeInfo) -> tuple[str, str, str] | None:
    """Return the first taint that keeps a pod off a node."""
    for taint in node.facts.taints:
        if taint[2] in _HARD_EFFECTS and not tolerates(tolerations, taint):
            return taint
    return None


def soft_taints(tolerations: tuple[Toleration, ...], node: NodeInfo) -> int:
    """Return how many taints make a node less welcome for a pod."""
    return sum(taint[2] == "PreferNoSchedule" and not tolerates(tolerations, taint) for taint in node.facts.taints)


def selected(spec: PodSpecFacts, constraints: Constraints, node: NodeInfo) -> bool:
    """Say whether a node matches a pod's node selector and required node affinity."""
    labels = node.labels
    for key, value in spec.node_selector:
        if labels.get(key) != value:
            return False
    terms = constraints.node_terms
    return terms is None or any(term.matches(node.name, labels) for term in terms)


def cordoned(spec: PodSpecFacts, node: NodeInfo) -> bool:
    """Say whether spec.unschedulable keeps a pod off a node."""
    return node.facts.unschedulable and not tolerates(spec.tolerations, _CORDONED)


def fits(spec: PodSpecFacts, node: NodeInfo) -> Rejection | None:
    """Return what a node lacks, None when the pod fits."""
    facts = node.facts
    reasons = []
    resolvable = True
    if len(node.pods) >= facts.pods:
        reasons.append("Too many pods")
    cpu, memory = spec.cpu_milli, spec.memory_bytes
    if cpu and cpu > facts.cpu_milli - node.cpu_milli:
        reasons.append("Insufficient cpu")
        resolvable = cpu <= facts.cpu_milli
    if memory and memory > facts.memory_bytes - node.memory_bytes:
        reasons.append("Insufficient memory")
        resolvable = resolvable and memory <= facts.memory_bytes
    for name, amount in spec.extra_requests:
        allocatable = node.extra.get(name, 0)
        if amount and amount > allocatable - node.used_extra.get(name, 0):
            reasons.append(f"Insufficient {name}")
            resolvable = resolvable and amount <= allocatable
    if not reasons:
        return None
    if reasons == ["Too many pods"]:
        return TOO_MANY_PODS
    return Rejection(RESOURCES, tuple(reasons), resolvable)


class Filters:
    """The filters of one version.

    Args:
        minor: Kubernetes' minor version, e.g. 33.
    """

    def __init__(self, minor: int) -> None:
        self._names_taint = minor < _SHORT_TAINT_REASON_MINOR

    def tainted(self, taint: tuple[str, str, str]) -> Rejection:
        """Return the answer because of a taint."""
        if self._names_taint:
            return Rejection(TAINTS, (f"node(s) had untolerated taint {{{taint[0]}: {taint[1]}}}",), resolvable=False)
        return _TAINTED

    def check(self, spec: PodSpecFacts, constraints: Constraints, pinned: str, node: NodeInfo) -> Rejection | None:
        """Return the first plugin's answer that is no, None when a node can take a pod."""
        facts = node.facts
        if facts.unschedulable and cordoned(spec, node):
            return CORDONED
        if facts.taints:
            taint = untolerated(spec.tolerations, node)
            if taint is not None:
                return self.tainted(taint)
        if pinned and pinned != node.name:
            return NOT_SELECTED
        if (spec.node_selector or constraints.node_terms is not None) and not selected(spec, constraints, node):
            return NOT_SELECTED
        if spec.host_ports and not node.has_ports(spec.host_ports):
            return PORTS_TAKEN
        return fits(spec, node)


class ChosenFilters(Filters):
    """The filters of a profile that differs from the default one.

    Args:
        minor: Kubernetes' minor version.
        off: Plugins that it does without.
        added: Its added affinity: one of these terms must hold for a node; None for none.
    """

    def __init__(self, minor: int, off: frozenset[str], added: tuple[NodeTerm, ...] | None) -> None:
        super().__init__(minor)
        self._off = off
        self._added = added

    def check(self, spec: PodSpecFacts, constraints: Constraints, pinned: str, node: NodeInfo) -> Rejection | None:
        """Return the first plugin's answer that is no, None when a node can take a pod."""
        off = self._off
        if NODE_UNSCHEDULABLE not in off and cordoned(spec, node):
            return CORDONED
        if TAINTS not in off:
            taint = untolerated(spec.tolerations, node)
            if taint is not None:
                return self.tainted(taint)
        if NODE_AFFINITY not in off:
            added = self._added
            if added is not None and not any(term.matches(node.name, node.labels) for term in added):
                return NOT_ADDED
            if (pinned and pinned != node.name) or not selected(spec, constraints, node):
                return NOT_SELECTED
        if NODE_PORTS not in off and spec.host_ports and not node.has_ports(spec.host_ports):
            return PORTS_TAKEN
        return None if RESOURCES in off else fits(spec, node)
