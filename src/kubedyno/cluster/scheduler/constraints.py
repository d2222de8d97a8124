"""What a pod asks of nodes and of other pods, beyond its facts: affinity and spreading, parsed from its body.

Equal constraints of pods in one namespace are one object, so they can be compared and counted by identity.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from kubedyno.cluster.registry.kinds.podfacts import PodSpecFacts
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.kube.selectors import LabelSelector, Requirement

NamespaceLabels = Callable[[str], Mapping[str, str]]

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!", "Gt": "gt", "Lt": "lt"}
_NAME_FIELD = "metadata.name"
# Different constraints, and specs that have them, that are remembered.
_CACHE_SIZE = 4096


@dataclass(frozen=True, slots=True)
class NodeTerm:
    """One nodeSelectorTerm: all requirements on labels and on the name must hold; an empty one matches nothing."""

    labels: tuple[Requirement, ...]
    names: tuple[Requirement, ...]

    def matches(self, name: str, labels: Mapping[str, str]) -> bool:
        """Say whether a node satisfies the term."""
        if not self.labels and not self.names:
            return False
        if self.names and not all(term.matches({_NAME_FIELD: name}) for term in self.names):
            return False
        return all(term.matches(labels) for term in self.labels)


@dataclass(frozen=True, slots=True)
class PodTerm:
    """One pod (anti-)affinity term.

    Attributes:
        selector: Of the other pods' labels.
        namespaces: Where the other pods may be.
        namespace_selector: More namespaces, by their labels; None for no more.
        topology_key: The node label whose value says what "together" means.
        weight: Of a preferred term, 1 … 100; 0 for a required one.
    """

    selector: LabelSelector
    namespaces: frozenset[str]
    namespace_selector: LabelSelector | None
    topology_key: str
    weight: int

    def matches(self, pod: StoredObject, namespace_labels: NamespaceLabels) -> bool:
        """Say whether another pod is meant."""
        if pod.namespace not in self.namespaces:
            selector = self.namespace_selector
            if selector is None or not (selector.empty or selector.matches(namespace_labels(pod.namespace))):
                return False
        return self.selector.matches(pod.labels)


@dataclass(frozen=True, slots=True)
class Spread:
    """One topologySpreadConstraint."""

    max_skew: int
    topology_key: str
    selector: LabelSelector
    min_domains: int
    honor_affinity: bool
    honor_taints: bool


@dataclass(frozen=True, slots=True, eq=False)
class Constraints:
    """All constraints of a pod; `key` is the JSON of those on nodes alone."""

    key: bytes = b""
    node_terms: tuple[NodeTerm, ...] | None = None
    node_preferred: tuple[tuple[int, NodeTerm], ...] = ()
    affinity: tuple[PodTerm, ...] = ()
    anti_affinity: tuple[PodTerm, ...] = ()
    affinity_preferred: tuple[PodTerm, ...] = ()
    anti_affinity_preferred: tuple[PodTerm, ...] = ()
    spread: tuple[Spread, ...] = ()
    spread_preferred: tuple[Spread, ...] = ()

    @property
    def pod_terms(self) -> tuple[PodTerm, ...]:
        """All terms about other pods."""
        return self.affinity + self.anti_affinity + self.affinity_preferred + self.anti_affinity_preferred

    @property
    def target_namespaces(self) -> tuple[str, ...]:
        """The namespaces that terms about other pods name, and "" when one chooses them by labels."""
        names = {name for term in self.pod_terms for name in term.namespaces}
        if any(term.namespace_selector is not None for term in self.pod_terms):
            names.add("")
        return tuple(sorted(names))

    @property
    def relative(self) -> bool:
        """True when a node cannot be judged by itself: other pods or other nodes' scores matter."""
        return bool(self.node_preferred or self.spread or self.spread_preferred or self.pod_terms)


UNCONSTRAINED = Constraints()


class Parser:
    """Parses constraints, each only once."""

    def __init__(self) -> None:
        self._by_text: OrderedDict[tuple[str, bytes], Constraints] = OrderedDict()
        # By identity of the facts, which a template's pods share; kept so that the identity stays theirs.
        self._by_facts: OrderedDict[tuple[int, str], tuple[PodSpecFacts, Constraints]] = OrderedDict()

    def of(self, pod: StoredObject) -> Constraints:
        """Return a pod's constraints, without the node that it is pinned to. O(1) for a known spec."""
        spec: PodSpecFacts = pod.facts.spec
        if not spec.has_affinity:
            return UNCONSTRAINED
        key = (id(spec), pod.namespace)
        # Pods that share facts may still be pinned to different nodes.
        shared = not pod.facts.pinned_node
        if shared and key in self._by_facts:
            self._by_facts.move_to_end(key)
            return self._by_facts[key][1]
        body = orjson.loads(b"{" + pod.body + b"}")["spec"]
        affinity, spread = body.get("affinity") or {}, body.get("topologySpreadConstraints") or []
        text = (pod.namespace, orjson.dumps([affinity, spread], option=orjson.OPT_SORT_KEYS))
        found = self._by_text.get(text)
        if found is None:
            found = _parsed(pod.namespace, affinity, spread)
            _keep(self._by_text, text, found)
        if shared:
            _keep(self._by_facts, key, (spec, found))
        return found


def _keep(cache: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    cache[key] = value
    if len(cache) > _CACHE_SIZE:
        cache.popitem(last=False)


def _parsed(namespace: str, affinity: dict[str, Any], spread: list[dict[str, Any]]) -> Constraints:
    node = affinity.get("nodeAffinity") or {}
    together, apart = affinity.get("podAffinity") or {}, affinity.get("podAntiAffinity") or {}
    required = node.get(_REQUIRED)
    return Constraints(
        orjson.dumps(node) if node else b"",
        None if required is None else node_terms(required),
        tuple((t["weight"], _node_term(t.get("preference") or {})) for t in node.get(_PREFERRED) or ()),
        _pod_terms(namespace, together.get(_REQUIRED)),
        _pod_terms(namespace, apart.get(_REQUIRED)),
        _preferred_terms(namespace, together.get(_PREFERRED)),
        _preferred_terms(namespace, apart.get(_PREFERRED)),
        tuple(_spread(s) for s in spread if s.get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule"),
        tuple(_spread(s) for s in spread if s.get("whenUnsatisfiable") == "ScheduleAnyway"),
    )


def _requirements(expressions: list[dict[str, Any]] | None) -> tuple[Requirement, ...]:
    return tuple(
        Requirement(e["key"], _OPERATORS[e["operator"]], tuple(e.get("values") or ())) for e in expressions or ()
    )


def _node_term(term: dict[str, Any]) -> NodeTerm:
    return NodeTerm(_requirements(term.get("matchExpressions")), _requirements(term.get("matchFields")))


def node_terms(selector: dict[str, Any]) -> tuple[NodeTerm, ...]:
    """Return the terms of a NodeSelector in JSON, one of which must hold."""
    return tuple(_node_term(term) for term in selector.get("nodeSelectorTerms") or ())


def _pod_terms(namespace: str, terms: list[dict[str, Any]] | None, weight: int = 0) -> tuple[PodTerm, ...]:
    return tuple(_pod_term(namespace, term, weight) for term in terms or ())


def _preferred_terms(namespace: str, terms: list[dict[str, Any]] | None) -> tuple[PodTerm, ...]:
    return tuple(_pod_term(namespace, term["podAffinityTerm"], term["weight"]) for term in terms or ())


def _pod_term(namespace: str, term: dict[str, Any], weight: int) -> PodTerm:
    named, selector = frozenset(term.get("namespaces") or ()), term.get("namespaceSelector")
    if not named and selector is None:
        named = frozenset((namespace,))
    return PodTerm(
        LabelSelector.of(term.get("labelSelector")),
        named,
        None if selector is None else LabelSelector.of(selector),
        term["topologyKey"],
        weight,
    )


def _spread(constraint: dict[str, Any]) -> Spread:
    return Spread(
        constraint["maxSkew"],
        constraint["topologyKey"],
        LabelSelector.of(constraint.get("labelSelector")),
        constraint.get("minDomains") or 1,
        constraint.get("nodeAffinityPolicy", "Honor") == "Honor",
        constraint.get("nodeTaintsPolicy", "Ignore") == "Honor",
    )
