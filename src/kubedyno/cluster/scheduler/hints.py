"""Queueing hints: which unschedulable pods a change may help, plugin by plugin."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

from kubedyno.cluster.registry.kinds.nodes import NodeFacts
from kubedyno.cluster.registry.kinds.podfacts import PodSpecFacts
from kubedyno.cluster.scheduler import volumes
from kubedyno.cluster.scheduler.claims import DYNAMIC_RESOURCES
from kubedyno.cluster.scheduler.constraints import Constraints, NamespaceLabels, Parser
from kubedyno.cluster.scheduler.filters import (
    NODE_AFFINITY,
    NODE_PORTS,
    NODE_UNSCHEDULABLE,
    POD_AFFINITY,
    RESOURCES,
    SPREAD,
    TAINTS,
    cordoned,
    fits,
    selected,
    untolerated,
)
from kubedyno.cluster.scheduler.nodeinfo import NodeInfo
from kubedyno.cluster.scheduler.queue import Waiting
from kubedyno.cluster.scheduler.shapes import shape_key
from kubedyno.cluster.storage.objects import StoredObject

_NOWHERE: frozenset[str] = frozenset()
# Plugins that say no because of pods on a node; and because of where a node is.
_BY_OTHER_PODS = frozenset({volumes.RESTRICTIONS, volumes.LIMITS})
_BY_PLACE = frozenset({volumes.BINDING, volumes.ZONE, volumes.LIMITS, DYNAMIC_RESOURCES})


@dataclass(frozen=True, slots=True)
class NodeChange:
    """A node's new version, and what it was before."""

    node: NodeInfo
    is_new: bool
    facts: NodeFacts
    labels: Mapping[str, str]

    def grew(self) -> bool:
        """Say whether more is allocatable than before."""
        old, new = self.facts, self.node.facts
        before = dict(old.extra)
        return (
            self.is_new
            or new.pods > old.pods
            or new.cpu_milli > old.cpu_milli
            or new.memory_bytes > old.memory_bytes
            or any(amount > before.get(name, 0) for name, amount in new.extra)
        )


@dataclass(slots=True)
class News:
    """What happened since unschedulable pods were last looked at."""

    freed: list[StoredObject] = field(default_factory=list)
    placed: list[StoredObject] = field(default_factory=list)
    nodes: list[NodeChange] = field(default_factory=list)
    node_gone: bool = False
    # Plugin → namespaces in which something changed that it looks at, "" for what has none.
    others: dict[str, set[str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.freed or self.placed or self.nodes or self.node_gone or self.others)


class Hints:
    """Answers for one batch of news.

    Args:
        news: What happened.
        parser: Of constraints.
        namespace_labels: A namespace's labels by name.
    """

    def __init__(self, news: News, parser: Parser, namespace_labels: NamespaceLabels) -> None:
        self._news = news
        self._parser = parser
        self._namespace_labels = namespace_labels
        self._freed_ports = {port for pod in news.freed for port in pod.facts.spec.host_ports}
        # Pods of one shape that failed alike need one answer, unless it depends on other pods.
        self._known: dict[Hashable, bool] = {}

    def may_help(self, waiting: Waiting) -> bool:
        """Say whether a pod should be tried again."""
        plugins, pod = waiting.plugins, waiting.obj
        if not plugins:
            return bool(self._news.nodes)
        spec: PodSpecFacts = pod.facts.spec
        others = self._news.others
        if others and any(not others.get(p, _NOWHERE).isdisjoint((pod.namespace, "")) for p in plugins):
            return True
        if self._by_freed(spec, plugins):
            return True
        if SPREAD in plugins or POD_AFFINITY in plugins:
            return self._by_pods(waiting) or self._by_nodes(pod, spec, plugins)
        if not self._news.nodes:
            return False
        key = (shape_key(spec, self._parser.of(pod)), plugins, pod.facts.pinned_node)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._by_nodes(pod, spec, plugins)
        return found

    def _by_freed(self, spec: PodSpecFacts, plugins: frozenset[str]) -> bool:
        if RESOURCES in plugins and self._news.freed:
            return True
        if self._news.freed and not plugins.isdisjoint(_BY_OTHER_PODS):
            return True
        if NODE_PORTS in plugins and self._freed_ports:
            freed = {(protocol, port) for protocol, _, port in self._freed_ports}
            return any((protocol, port) in freed for protocol, _, port in spec.host_ports)
        return False

    def _by_pods(self, waiting: Waiting) -> bool:
        pod, plugins = waiting.obj, waiting.plugins
        constraints = self._parser.of(pod)
        changed = self._news.freed + self._news.placed
        if SPREAD in plugins:
            here = [other for other in changed if other.namespace == pod.namespace]
            if any(spread.selector.matches(other.labels) for other in here for spread in constraints.spread):
                return True
            if self._news.node_gone:
                return True
        return POD_AFFINITY in plugins and any(self._about(pod, constraints, other) for other in changed)

    def _about(self, pod: StoredObject, constraints: Constraints, other: StoredObject) -> bool:
        labels_of = self._namespace_labels
        if any(term.matches(other, labels_of) for term in constraints.affinity + constraints.anti_affinity):
            return True
        theirs = self._parser.of(other)
        return any(term.matches(pod, labels_of) for term in theirs.anti_affinity)

    def _by_nodes(self, pod: StoredObject, spec: PodSpecFacts, plugins: frozenset[str]) -> bool:
        return any(self._by_node(pod, spec, plugins, change) for change in self._news.nodes)

    def _by_node(self, pod: StoredObject, spec: PodSpecFacts, plugins: frozenset[str], change: NodeChange) -> bool:
        node, is_new = change.node, change.is_new
        taints_changed = is_new or change.facts.taints != node.facts.taints
        labels_changed = is_new or change.labels != node.labels
        if RESOURCES in plugins and change.grew() and fits(spec, node.with_pods(())) is None:
            return True
        if TAINTS in plugins and taints_changed and untolerated(spec.tolerations, node) is None:
            return True
        if NODE_UNSCHEDULABLE in plugins and (is_new or change.facts.unschedulable) and not cordoned(spec, node):
            return True
        if NODE_AFFINITY in plugins and labels_changed:
            pinned = pod.facts.pinned_node
            if pinned in {"", node.name} and selected(spec, self._parser.of(pod), node):
                return True
        if NODE_PORTS in plugins and is_new:
            return True
        if labels_changed and not plugins.isdisjoint(_BY_PLACE):
            return True
        return bool(plugins & {SPREAD, POD_AFFINITY}) and (labels_changed or taints_changed)
