"""Where other pods are, as one pod's spreading and affinity ask: counted once a pod, then asked for each node.

Semantics of pkg/scheduler/framework/plugins/{podtopologyspread,interpodaffinity}.
"""

import math
from collections.abc import Iterable, Sequence

from kubedyno.cluster.registry.kinds.podfacts import PodSpecFacts
from kubedyno.cluster.scheduler.constraints import Constraints, NamespaceLabels, PodTerm, Spread
from kubedyno.cluster.scheduler.filters import POD_AFFINITY, SPREAD, Rejection, selected, untolerated
from kubedyno.cluster.scheduler.nodeinfo import Cluster, NodeInfo
from kubedyno.cluster.settings import SchedulerProfile
from kubedyno.cluster.storage.objects import StoredObject

_DEFAULT = SchedulerProfile()
MAX_SCORE = 100
_HOSTNAME = "kubernetes.io/hostname"

NO_TOPOLOGY = Rejection(
    SPREAD, ("node(s) didn't match pod topology spread constraints (missing required label)",), resolvable=False
)
SKEWED = Rejection(SPREAD, ("node(s) didn't match pod topology spread constraints",), resolvable=True)
NOT_TOGETHER = Rejection(POD_AFFINITY, ("node(s) didn't match pod affinity rules",), resolvable=False)
NOT_APART = Rejection(POD_AFFINITY, ("node(s) didn't match pod anti-affinity rules",), resolvable=True)
NOT_WELCOME = Rejection(POD_AFFINITY, ("node(s) didn't satisfy existing pods anti-affinity rules",), resolvable=True)

Pair = tuple[str, str]


def wanted_by_others(cluster: Cluster, pod: StoredObject, namespace_labels: NamespaceLabels) -> bool:
    """Say whether a term of any pod on a node is about this pod. O(different terms about its namespace)."""
    for namespace in (pod.namespace, ""):
        for constraints in cluster.term_groups.get(namespace, ()):
            for term in constraints.pod_terms:
                if term.matches(pod, namespace_labels):
                    return True
    return False


class Topology:
    """One pod's view of where the others are.

    Args:
        cluster: Nodes and pods.
        pod: The one that wants a node.
        constraints: Its constraints.
        namespace_labels: A namespace's labels by name.
        substitute: A node to look at instead of the one of that name: it with fewer pods.
        profile: Whose plugins count.
    """

    def __init__(
        self,
        cluster: Cluster,
        pod: StoredObject,
        constraints: Constraints,
        namespace_labels: NamespaceLabels,
        substitute: NodeInfo | None = None,
        *,
        profile: SchedulerProfile = _DEFAULT,
    ) -> None:
        self._cluster = cluster
        self._hard_weight = profile.hard_pod_affinity_weight
        self._spreads = SPREAD not in profile.filters_off
        self._minds_others = POD_AFFINITY not in profile.filters_off
        self._pod = pod
        self._constraints = constraints
        self._namespace_labels = namespace_labels
        self._substitute = substitute
        self._spread = [self._counted(spread, constraints.spread) for spread in constraints.spread]
        self._lowest = [
            0 if len(counts) < spread.min_domains else min(counts.values(), default=0)
            for spread, counts in zip(constraints.spread, self._spread, strict=True)
        ]
        self._self_matches = [int(spread.selector.matches(pod.labels)) for spread in constraints.spread]
        # Topology pairs at which terms hold: all of ours at once, each of ours against, others' against us.
        self._together: set[Pair] = set()
        self._apart: set[Pair] = set()
        self._unwelcome: set[Pair] = set()
        self._points: dict[Pair, int] = {}
        self._count_terms()
        terms = constraints.affinity
        self._first_of_group = (
            bool(terms) and not self._together and all(t.matches(pod, namespace_labels) for t in terms)
        )

    # --- counting ------------------------------------------------------------------------------------------------

    def _pods(self, namespaces: Iterable[str] | None) -> Iterable[tuple[StoredObject, NodeInfo]]:
        substitute = self._substitute
        for pod, node in self._cluster.pods_in(namespaces):
            if substitute is not None and node.name == substitute.name:
                if pod.key in substitute.pods:
                    yield pod, substitute
            else:
                yield pod, node

    def _eligible(self, node: NodeInfo, spread: Spread, keys: Iterable[str]) -> bool:
        """Say whether a node's pods count for a constraint."""
        if any(key not in node.labels for key in keys):
            return False
        spec: PodSpecFacts = self._pod.facts.spec
        if spread.honor_affinity and not selected(spec, self._constraints, node):
            return False
        return not (spread.honor_taints and untolerated(spec.tolerations, node) is not None)

    def _counted(self, spread: Spread, group: Sequence[Spread]) -> dict[str, int]:
        """Return the pods that match, by topology value of the nodes that count."""
        key = spread.topology_key
        keys = [other.topology_key for other in group]
        counts: dict[str, int] = {}
        eligible = set()
        for node in self._cluster.nodes.values():
            if self._eligible(node, spread, keys):
                counts.setdefault(node.labels[key], 0)
                eligible.add(node.name)
        for pod, node in self._pods((self._pod.namespace,)):
            if node.name in eligible and not pod.deletion_s and spread.selector.matches(pod.labels):
                counts[node.labels[key]] += 1
        return counts

    def _count_terms(self) -> None:
        constraints, cluster = self._constraints, self._cluster
        ours = constraints.pod_terms
        if ours:
            everywhere = any(term.namespace_selector is not None for term in ours)
            namespaces = None if everywhere else sorted({name for term in ours for name in term.namespaces})
            for pod, node in self._pods(namespaces):
                self._count_ours(pod, node)
        me, labels_of, substitute = self._pod, self._namespace_labels, self._substitute
        for key, (theirs, node) in cluster.with_terms.items():
            if substitute is not None and node.name == substitute.name and key not in substitute.pods:
                continue
            for term in theirs.anti_affinity:
                if term.matches(me, labels_of):
                    _note(self._unwelcome, term, node)
            for term in theirs.affinity:
                if term.matches(me, labels_of):
                    self._score(term, node, self._hard_weight)
            for term in theirs.affinity_preferred:
                if term.matches(me, labels_of):
                    self._score(term, node, term.weight)
            for term in theirs.anti_affinity_preferred:
                if term.matches(me, labels_of):
                    self._score(term, node, -term.weight)

    def _count_ours(self, pod: StoredObject, node: NodeInfo) -> None:
        constraints, labels_of = self._constraints, self._namespace_labels
        if constraints.affinity and all(term.matches(pod, labels_of) for term in constraints.affinity):
            for term in constraints.affinity:
                _note(self._together, term, node)
        for term in constraints.anti_affinity:
            if term.matches(pod, labels_of):
                _note(self._apart, term, node)
        for term in constraints.affinity_preferred:
            if term.matches(pod, labels_of):
                self._score(term, node, term.weight)
        for term in constraints.anti_affinity_preferred:
            if term.matches(pod, labels_of):
                self._score(term, node, -term.weight)

    def _score(self, term: PodTerm, node: NodeInfo, points: int) -> None:
        value = node.labels.get(term.topology_key)
        if value is not None:
            pair = (term.topology_key, value)
            self._points[pair] = self._points.get(pair, 0) + points

    # --- filters -------------------------------------------------------------------------------------------------

    def check(self, node: NodeInfo) -> Rejection | None:
        """Return why a node is wrong for the pod, None when it is not."""
        return (self._check_spread(node) if self._spreads else None) or (
            self._check_others(node) if self._minds_others else None
        )

    def _check_spread(self, node: NodeInfo) -> Rejection | None:
        labels = node.labels
        for i, spread in enumerate(self._constraints.spread):
            value = labels.get(spread.topology_key)
            if value is None:
                return NO_TOPOLOGY
            count = self._spread[i].get(value, 0)
            if count + self._self_matches[i] - self._lowest[i] > spread.max_skew:
                return SKEWED
        return None

    def _check_others(self, node: NodeInfo) -> Rejection | None:
        labels = node.labels
        for term in self._constraints.affinity:
            value = labels.get(term.topology_key)
            if value is None:
                return NOT_TOGETHER
            if (term.topology_key, value) not in self._together and not self._first_of_group:
                return NOT_TOGETHER
        for term in self._constraints.anti_affinity:
            if (term.topology_key, labels.get(term.topology_key)) in self._apart:
                return NOT_APART
        if self._unwelcome and not self._unwelcome.isdisjoint(labels.items()):
            return NOT_WELCOME
        return None

    @property
    def has_wishes(self) -> bool:
        """True when preferred terms, ours or others', make a difference anywhere."""
        return bool(self._points)

    # --- scores --------------------------------------------------------------------------------------------------

    def spread_scores(self, nodes: Sequence[NodeInfo]) -> list[int]:
        """Return 0 … 100 a node for the constraints that are only wished for; the emptier the better."""
        group = self._constraints.spread_preferred
        keys = [spread.topology_key for spread in group]
        raw: list[float | None] = [None if any(k not in n.labels for k in keys) else 0.0 for n in nodes]
        for spread in group:
            counts = self._counted(spread, group)
            key = spread.topology_key
            values = {node.labels[key] for node, points in zip(nodes, raw, strict=True) if points is not None}
            size = sum(p is not None for p in raw) if key == _HOSTNAME else len(values)
            weight = math.log(size + 2)
            for i, node in enumerate(nodes):
                points = raw[i]
                if points is not None:
                    raw[i] = points + counts.get(node.labels[key], 0) * weight + spread.max_skew - 1
        rounded = [None if points is None else round(points) for points in raw]
        known = [points for points in rounded if points is not None]
        if not known:
            return [0] * len(nodes)
        low, high = min(known), max(known)
        return [
            0 if points is None else MAX_SCORE if not high else MAX_SCORE * (high + low - points) // high
            for points in rounded
        ]

    def affinity_scores(self, nodes: Sequence[NodeInfo]) -> list[int]:
        """Return 0 … 100 a node for wishes about other pods, ours and theirs."""
        points = self._points
        raw = [sum(points.get(pair, 0) for pair in node.labels.items()) for node in nodes]
        low, high = min(raw), max(raw)
        return [MAX_SCORE * (value - low) // (high - low) if high > low else 0 for value in raw]


def _note(pairs: set[Pair], term: PodTerm, node: NodeInfo) -> None:
    value = node.labels.get(term.topology_key)
    if value is not None:
        pairs.add((term.topology_key, value))
