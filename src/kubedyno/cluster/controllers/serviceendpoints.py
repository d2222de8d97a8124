"""Which pods are behind which Service: one row a Service with a selector, kept up to date from the pods' changes.

Services of a namespace are found by one pair of their selector, so that a pod's change costs as much as it has labels,
and nothing where no Service selects anything.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from kubedyno.cluster.controllers.feeds import Feeds
from kubedyno.cluster.registry.kinds.podfacts import ENDED
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube.resources import NODES, PODS, SERVICES

TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"
HEADLESS = "service.kubernetes.io/headless"
ZONE = "topology.kubernetes.io/zone"
# (namespace, label, its value)
_Pair = tuple[str, str, str]


class Port(NamedTuple):
    """A port of a Service, as a pod serves it."""

    name: str
    protocol: str
    port: int
    app_protocol: str | None


class Endpoint(NamedTuple):
    """A pod behind a Service.

    Attributes:
        ip: Its address.
        serving: It is ready.
        terminating: It is being deleted.
        node: Where it runs.
        zone: Of the node, "" if it has none.
        hostname: Its own name below the Service's, "" for none.
        name: The pod's.
        uid: The pod's.
        ports: What it serves.
    """

    ip: str
    serving: bool
    terminating: bool
    node: str
    zone: str
    hostname: str
    name: str
    uid: str
    ports: tuple[Port, ...]


class ServiceRow:
    """A Service and the pods behind it, by their keys."""

    __slots__ = (
        "distribution", "endpoints", "families", "headless", "key", "labels", "name", "namespace", "pair", "ports",
        "publishes_all", "selector", "states", "uid",
    )  # fmt: skip

    def __init__(self, obj: StoredObject, spec: dict[str, Any]) -> None:
        self.key, self.namespace, self.name, self.uid = obj.key, obj.namespace, obj.name, obj.uid
        self.labels: dict[str, str] = obj.labels
        self.selector: dict[str, str] = spec["selector"]
        self.ports: list[dict[str, Any]] = spec.get("ports", [])
        self.headless = spec.get("clusterIP") == "None"
        self.publishes_all = bool(spec.get("publishNotReadyAddresses"))
        self.distribution = spec.get("trafficDistribution", "")
        self.families: list[str] = spec.get("ipFamilies") or ["IPv4"]
        self.pair: _Pair = ("", "", "")
        self.endpoints: dict[str, Endpoint] = {}
        # What was seen of each pod that is selected: the same again changes nothing.
        self.states: dict[str, tuple[Any, ...]] = {}

    def is_ready(self, endpoint: Endpoint) -> bool:
        """Say whether a pod gets connections."""
        return self.publishes_all or (endpoint.serving and not endpoint.terminating)


Listener = Callable[[ServiceRow, str], None]


class ServiceEndpoints:
    """Services by uid.

    Attributes:
        listeners: Called with (row, key of a pod) when an endpoint came, changed or went, and with (row, "") when the
            Service itself did.
        gone: Called with the row of a Service that is no more, or selects nothing any more.
    """

    def __init__(self, trusted: Trusted, feeds: Feeds) -> None:
        self.listeners: list[Listener] = []
        self.gone: list[Callable[[ServiceRow], None]] = []
        self._store = trusted.store
        self._pods = trusted.store.table(PODS)
        self._nodes = trusted.store.table(NODES)
        self._rows: dict[str, ServiceRow] = {}
        self._bodies: dict[str, tuple[bytes, Any]] = {}
        self._by_pair: dict[_Pair, dict[str, ServiceRow]] = {}
        self._namespaces: dict[str, int] = {}
        # Pod → the rows that select it.
        self._of_pod: dict[str, list[ServiceRow]] = {}
        self._zones: dict[str, str] = {}
        # The named ports of the newest pod: all pods of a template share them.
        self._named: tuple[Any, dict[tuple[str, str], int]] = (None, {})
        feeds.follow(NODES, self._node_changed)
        feeds.follow(SERVICES, self._service_changed, self._service_gone)
        feeds.follow(PODS, self._pod_changed, self._pod_gone)

    # --- Services --------------------------------------------------------------------------------------------------

    def _service_changed(self, record: ObjectRecord) -> None:
        obj = record.obj
        if self._bodies.get(obj.uid) == (obj.body, obj.labels):
            return
        self._bodies[obj.uid] = obj.body, obj.labels
        self._remove(obj.uid, replaced=True)
        spec = orjson.loads(b"{" + obj.body + b"}").get("spec", {})
        if not spec.get("selector") or spec.get("type") == "ExternalName":
            return
        row = self._rows[obj.uid] = ServiceRow(obj, spec)
        pairs = [(obj.namespace, label, value) for label, value in row.selector.items()]
        row.pair = min(pairs, key=lambda pair: len(self._by_pair.get(pair, ())))
        self._by_pair.setdefault(row.pair, {})[row.uid] = row
        self._namespaces[obj.namespace] = self._namespaces.get(obj.namespace, 0) + 1
        for pod in self._pods.prefix(obj.namespace + "/"):
            if row.selector.items() <= pod.obj.labels.items():
                self._of_pod.setdefault(pod.key, []).append(row)
                self._note(row, pod.obj, tell=False)
        self._tell(row, "")

    def _service_gone(self, record: ObjectRecord) -> None:
        self._bodies.pop(record.obj.uid, None)
        self._remove(record.obj.uid, replaced=False)

    def _remove(self, uid: str, *, replaced: bool) -> None:
        row = self._rows.pop(uid, None)
        if row is None:
            return
        del self._by_pair[row.pair][uid]
        if not self._by_pair[row.pair]:
            del self._by_pair[row.pair]
        self._namespaces[row.namespace] -= 1
        if not self._namespaces[row.namespace]:
            del self._namespaces[row.namespace]
        for key in row.states:
            self._forget(key, row)
        if not replaced:
            for call in self.gone:
                call(row)

    def row(self, uid: str) -> ServiceRow | None:
        """Return a Service's row as it is now, None when it selects nothing."""
        return self._rows.get(uid)

    def _tell(self, row: ServiceRow, key: str) -> None:
        for call in self.listeners:
            call(row, key)

    # --- pods ------------------------------------------------------------------------------------------------------

    def _pod_changed(self, record: ObjectRecord) -> None:
        obj = record.obj
        if obj.namespace not in self._namespaces:
            return
        labels = obj.labels
        found: list[ServiceRow] = []
        for label, value in labels.items():
            for row in self._by_pair.get((obj.namespace, label, value), {}).values():
                if row.selector.items() <= labels.items():
                    found.append(row)
                    self._note(row, obj)
        before = self._of_pod.get(obj.key)
        if before is not None and before != found:
            for row in before:
                if row not in found:
                    self._drop(row, obj.key)
        if found:
            self._of_pod[obj.key] = found
        elif before is not None:
            del self._of_pod[obj.key]

    def _pod_gone(self, record: ObjectRecord) -> None:
        for row in self._of_pod.pop(record.key, ()):
            self._drop(row, record.key)

    def _forget(self, key: str, row: ServiceRow) -> None:
        rows = self._of_pod.get(key)
        if rows is not None:
            left = [other for other in rows if other is not row]
            if left:
                self._of_pod[key] = left
            else:
                del self._of_pod[key]

    def _drop(self, row: ServiceRow, key: str) -> None:
        row.states.pop(key, None)
        if row.endpoints.pop(key, None) is not None:
            self._tell(row, key)

    def _note(self, row: ServiceRow, obj: StoredObject, *, tell: bool = True) -> None:
        facts, key = obj.facts, obj.key
        state = (facts.pod_ip, facts.ready, facts.node_name, bool(obj.deletion_s), facts.phase in ENDED, obj.uid)
        if row.states.get(key) == state:
            return
        row.states[key] = state
        old = row.endpoints.get(key)
        if not facts.pod_ip or facts.phase in ENDED or _family_of(facts.pod_ip) not in row.families:
            if old is None:
                return
            del row.endpoints[key]
        else:
            new = Endpoint(
                facts.pod_ip, facts.ready, bool(obj.deletion_s), facts.node_name, self._zones.get(facts.node_name, ""),
                _hostname(row, obj), obj.name, obj.uid, self._ports(row, obj),
            )  # fmt: skip
            if new == old:
                return
            row.endpoints[key] = new
        if tell:
            self._tell(row, key)

    def _ports(self, row: ServiceRow, obj: StoredObject) -> tuple[Port, ...]:
        ports = []
        for port in row.ports:
            protocol, target = port.get("protocol", "TCP"), port.get("targetPort", port.get("port", 0))
            if isinstance(target, str):
                target = self._named_ports(obj).get((target, protocol))
                if target is None:
                    continue
            ports.append(Port(port.get("name", ""), protocol, target, port.get("appProtocol")))
        return tuple(ports)

    def _named_ports(self, obj: StoredObject) -> dict[tuple[str, str], int]:
        shared = obj.facts.spec
        if self._named[0] is not shared:
            spec = orjson.loads(b"{" + obj.body + b"}")["spec"]
            containers = [
                *(c for c in spec.get("initContainers", ()) if c.get("restartPolicy") == "Always"),
                *spec.get("containers", ()),
            ]
            named = {
                (port["name"], port.get("protocol", "TCP")): port["containerPort"]
                for container in reversed(containers)
                for port in container.get("ports", ())
                if port.get("name")
            }
            self._named = shared, named
        return self._named[1]

    # --- nodes -----------------------------------------------------------------------------------------------------

    def _node_changed(self, record: ObjectRecord) -> None:
        zone = record.obj.labels.get(ZONE, "")
        if self._zones.get(record.key, "") == zone:
            return
        self._zones[record.key] = zone
        for pod in self._pods.by_index("node", record.key):
            for row in self._of_pod.get(pod.key, ()):
                row.states.pop(pod.key, None)
                self._note(row, pod.obj)


def _family_of(address: str) -> str:
    return "IPv6" if ":" in address else "IPv4"


def _hostname(row: ServiceRow, obj: StoredObject) -> str:
    """Return the name of a pod below its Service: only pods that name the Service as their subdomain have one."""
    if b'"subdomain"' not in obj.body:
        return ""
    spec = orjson.loads(b"{" + obj.body + b"}")["spec"]
    return str(spec.get("hostname", "")) if spec.get("subdomain") == row.name else ""
