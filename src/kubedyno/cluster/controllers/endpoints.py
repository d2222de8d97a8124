"""Endpoints, the older form of EndpointSlices: one object a Service, and for each of those that people write, slices."""

import ipaddress
from typing import Any

import orjson

from kubedyno.base.times import rfc3339
from kubedyno.cluster.controllers.endpointslices import MANAGED_BY, MAX_ENDPOINTS, SERVICE_NAME
from kubedyno.cluster.controllers.feeds import Feeds
from kubedyno.cluster.controllers.podstates import metadata_of
from kubedyno.cluster.controllers.refusals import is_terminating
from kubedyno.cluster.controllers.serviceendpoints import HEADLESS, TRIGGER_TIME, Port, ServiceEndpoints, ServiceRow
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.templates import owner_reference
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.gohash import print_hash, printed
from kubedyno.kube.resources import ENDPOINTS, ENDPOINTSLICES, NODES, SERVICES
from kubedyno.kube.status import StatusError

_MANAGED_BY = "endpoints.kubernetes.io/managed-by"
_MANAGER = "endpoint-controller"
_OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
_MAX_ADDRESSES = 1000
_MIRROR = "endpointslicemirroring-controller.k8s.io"
_SKIP_MIRROR = "endpointslice.kubernetes.io/skip-mirror"
_LEADER = "control-plane.alpha.kubernetes.io/leader"
_CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
_API_KEY = "default/kubernetes"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class EndpointsController:
    """Keeps an Endpoints object for each Service that selects pods.

    Args:
        trusted: Where it writes.
        pump: Gives turns.
        feeds: Tells when one was deleted.
        services: Knows the pods behind each Service.
    """

    def __init__(self, trusted: Trusted, pump: Pump, feeds: Feeds, services: ServiceEndpoints) -> None:
        self._queue: WorkQueue[str] = WorkQueue(pump, "endpoints", self._reconcile)
        self._trusted = trusted
        self._clock = pump.clock
        self._services = services
        self._table = trusted.store.table(ENDPOINTS)
        services.listeners.append(self._changed)
        services.gone.append(self._service_gone)
        feeds.follow(ENDPOINTS, gone=self._gone)

    def _changed(self, row: ServiceRow, key: str) -> None:
        _ = key
        self._queue.add(row.key)

    def _service_gone(self, row: ServiceRow) -> None:
        self._queue.add(row.key)

    def _gone(self, record: ObjectRecord) -> None:
        self._queue.add(record.key)

    def _reconcile(self, key: str, budget: int) -> int:
        _ = budget
        service, record = self._trusted.store.get(SERVICES, key), self._table.get(key)
        row = None if service is None else self._services.row(service.obj.uid)
        if service is None:
            if record is not None and _MANAGED_BY in record.obj.labels:
                self._trusted.delete(ENDPOINTS, key, uid=record.obj.uid)
            self._queue.forget(key)
            return 1
        if row is None or service.obj.deletion_s:
            return 1
        labels = {**row.labels, _MANAGED_BY: _MANAGER}
        if row.headless:
            labels[HEADLESS] = ""
        labels = dict(sorted(labels.items()))
        subsets, truncated = _subsets(row)
        body = {"subsets": subsets} if subsets else {}
        annotations = {TRIGGER_TIME: rfc3339(self._clock.now())}
        if truncated:
            annotations[_OVER_CAPACITY] = "truncated"
        try:
            if record is None:
                metadata = {"name": row.name, "labels": labels, "annotations": annotations}
                self._trusted.create(ENDPOINTS, row.namespace, {"metadata": metadata, **body})
            elif record.obj.body != orjson.dumps(body)[1:-1] or record.obj.labels != labels:
                self._trusted.replace(ENDPOINTS, record, body=body, labels=labels, annotations=annotations)
        except StatusError as error:
            if not is_terminating(error):
                raise
        self._queue.forget(key)
        return 1 + len(row.endpoints) // 64


def _subsets(row: ServiceRow) -> tuple[list[dict[str, Any]], bool]:
    """Return the subsets, addresses in order, and whether some had to be left out."""
    groups: dict[tuple[Port, ...], tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {}
    chosen = sorted(
        (endpoint for endpoint in row.endpoints.values() if row.publishes_all or not endpoint.terminating),
        key=lambda endpoint: (not row.is_ready(endpoint), ipaddress.ip_address(endpoint.ip).packed),
    )
    for endpoint in chosen[:_MAX_ADDRESSES]:
        if not endpoint.ports and not row.headless:
            continue
        address: dict[str, Any] = {"ip": endpoint.ip}
        if endpoint.hostname:
            address["hostname"] = endpoint.hostname
        if endpoint.node:
            address["nodeName"] = endpoint.node
        address["targetRef"] = {
            "kind": "Pod", "namespace": row.namespace, "name": endpoint.name, "uid": endpoint.uid,
        }  # fmt: skip
        groups.setdefault(endpoint.ports, ([], []))[not row.is_ready(endpoint)].append(address)
    subsets = []
    for ports, (ready, waiting) in groups.items():
        subset: dict[str, Any] = {}
        if ready:
            subset["addresses"] = ready
        if waiting:
            subset["notReadyAddresses"] = waiting
        if ports:
            subset["ports"] = sorted((_port_json(port) for port in ports), key=_place)
        subsets.append(subset)
    return subsets, len(chosen) > _MAX_ADDRESSES


def _place(port: dict[str, Any]) -> int:
    """Return what ports are ordered by: a hash of Go's print."""
    return print_hash(printed("core.v1.EndpointPort", port))


def _port_json(port: Port) -> dict[str, Any]:
    made: dict[str, Any] = {"name": port.name} if port.name else {}
    made |= {"port": port.port, "protocol": port.protocol}
    if port.app_protocol is not None:
        made["appProtocol"] = port.app_protocol
    return made


class SliceMirroring:
    """Keeps EndpointSlices for Endpoints that people write for a Service without a selector.

    Args:
        trusted: Where it writes.
        pump: Gives turns.
        feeds: Gives changes.
    """

    def __init__(self, trusted: Trusted, pump: Pump, feeds: Feeds) -> None:
        self._queue: WorkQueue[str] = WorkQueue(pump, "endpointslice-mirroring", self._reconcile)
        self._trusted = trusted
        self._table = trusted.store.table(ENDPOINTSLICES)
        feeds.follow(SERVICES, self._changed, self._changed)
        feeds.follow(ENDPOINTS, self._changed, self._changed)

    def _changed(self, record: ObjectRecord) -> None:
        self._queue.add(record.key)

    def _reconcile(self, key: str, budget: int) -> int:
        _ = budget
        store = self._trusted.store
        endpoints, service = store.get(ENDPOINTS, key), store.get(SERVICES, key)
        wanted: list[dict[str, Any]] = []
        if endpoints is not None and service is not None and self._mirrors(endpoints, service):
            whole = store.encode_dict(ENDPOINTS, endpoints)
            wanted = _mirrored(whole)
        owned = [] if endpoints is None else self._table.by_index("owner", endpoints.obj.uid)
        slices = [s for s in owned if s.obj.labels.get(MANAGED_BY) == _MIRROR]
        try:
            self._write(endpoints, slices, wanted)
        except StatusError as error:
            if not is_terminating(error):
                raise
        self._queue.forget(key)
        return 1 + len(wanted)

    def _mirrors(self, endpoints: ObjectRecord, service: ObjectRecord) -> bool:
        labels = endpoints.obj.labels
        if endpoints.obj.deletion_s or labels.get(_SKIP_MIRROR) == "true" or _MANAGED_BY in labels:
            return False
        if _LEADER in metadata_of(endpoints.obj).get("annotations", {}):
            return False
        spec = orjson.loads(b"{" + service.obj.body + b"}").get("spec", {})
        return not spec.get("selector")

    def _write(
        self, endpoints: ObjectRecord | None, slices: list[ObjectRecord], wanted: list[dict[str, Any]]
    ) -> None:  # fmt: skip
        for number, new in enumerate(wanted):
            assert endpoints is not None
            metadata = metadata_of(endpoints.obj)
            labels = {**metadata.get("labels", {}), MANAGED_BY: _MIRROR, SERVICE_NAME: endpoints.obj.name}
            labels = dict(sorted(labels.items()))
            annotations = {k: v for k, v in metadata.get("annotations", {}).items() if k != _LAST_APPLIED}
            if number < len(slices):
                old = slices[number]
                body = {**new}
                if old.obj.body != orjson.dumps(body)[1:-1] or old.obj.labels != labels:
                    self._trusted.replace(ENDPOINTSLICES, old, body=body, labels=labels, annotations=annotations)
                continue
            own: dict[str, Any] = {
                "generateName": endpoints.obj.name + "-", "labels": labels,
                "ownerReferences": [owner_reference("v1", "Endpoints", endpoints.obj.name, endpoints.obj.uid)],
            }  # fmt: skip
            if annotations:
                own["annotations"] = annotations
            self._trusted.create(ENDPOINTSLICES, endpoints.obj.namespace, {"metadata": own, **new})
        for old in slices[len(wanted) :]:
            self._trusted.delete(ENDPOINTSLICES, old.key, uid=old.obj.uid)


def _mirrored(endpoints: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the bodies of the slices: by subset, address family, and a hundred each."""
    bodies = []
    for subset in endpoints.get("subsets", ()):
        ports = [
            {"name": p.get("name", ""), "protocol": p.get("protocol", "TCP"), "port": p["port"]}
            | ({"appProtocol": p["appProtocol"]} if "appProtocol" in p else {})
            for p in subset.get("ports", ())
        ]
        families: dict[str, list[dict[str, Any]]] = {}
        for member, ready in (("addresses", True), ("notReadyAddresses", False)):
            for address in subset.get(member, ())[:_MAX_ADDRESSES]:
                made: dict[str, Any] = {"addresses": [address["ip"]], "conditions": {"ready": ready}}
                for name in ("hostname", "targetRef", "nodeName"):
                    if address.get(name):
                        made[name] = address[name]
                families.setdefault("IPv6" if ":" in address["ip"] else "IPv4", []).append(made)
        for family, addresses in families.items():
            for start in range(0, len(addresses), MAX_ENDPOINTS):
                piece = addresses[start : start + MAX_ENDPOINTS]
                bodies.append({"addressType": family, "endpoints": piece, "ports": ports or None})
    return bodies


class ApiEndpoints:
    """Where the API server is: the Endpoints and the EndpointSlice named `kubernetes`, kept by the server itself.

    Args:
        trusted: Where it writes.
        pump: Gives turns.
        feeds: Tells of nodes, and of what was deleted.
    """

    def __init__(self, trusted: Trusted, pump: Pump, feeds: Feeds) -> None:
        self._queue: WorkQueue[str] = WorkQueue(pump, "kubernetes-endpoints", self._reconcile)
        self._trusted = trusted
        # Control-plane nodes → addresses.
        self._addresses: dict[str, str] = {}
        feeds.follow(NODES, self._node_changed, self._node_gone)
        feeds.follow(SERVICES, self._touched)
        feeds.follow(ENDPOINTS, gone=self._touched)
        feeds.follow(ENDPOINTSLICES, gone=self._touched)

    def _node_changed(self, record: ObjectRecord) -> None:
        if _CONTROL_PLANE not in record.obj.labels or record.key in self._addresses:
            return
        status = orjson.loads(record.obj.status or b"{}")
        for address in status.get("addresses", ()):
            if address["type"] == "InternalIP":
                self._addresses[record.key] = address["address"]
                self._queue.add(_API_KEY)
                return

    def _node_gone(self, record: ObjectRecord) -> None:
        if self._addresses.pop(record.key, None) is not None:
            self._queue.add(_API_KEY)

    def _touched(self, record: ObjectRecord) -> None:
        if record.key == _API_KEY:
            self._queue.add(_API_KEY)

    def _reconcile(self, key: str, budget: int) -> int:
        _ = budget
        addresses = sorted(self._addresses.values())
        store = self._trusted.store
        service = store.get(SERVICES, key)
        if service is None or not addresses:
            return 1
        spec = orjson.loads(b"{" + service.obj.body + b"}")["spec"]
        port = spec["ports"][0]
        number, protocol = port["targetPort"], port.get("protocol", "TCP")
        subset = {
            "addresses": [{"ip": ip} for ip in addresses],
            "ports": [{"name": "https", "port": number, "protocol": protocol}],
        }
        piece = {
            "addressType": "IPv6" if ":" in addresses[0] else "IPv4",
            "endpoints": [{"addresses": [ip], "conditions": {"ready": True}} for ip in addresses],
            "ports": [{"name": "https", "protocol": protocol, "port": number}],
        }
        for resource, labels, body in (
            (ENDPOINTS, {_SKIP_MIRROR: "true"}, {"subsets": [subset]}),
            (ENDPOINTSLICES, {SERVICE_NAME: "kubernetes"}, piece),
        ):
            record = store.get(resource, key)
            if record is None:
                metadata = {"name": "kubernetes", "labels": labels}
                self._trusted.create(resource, "default", {"metadata": metadata, **body})
            elif record.obj.body != orjson.dumps(body)[1:-1]:
                self._trusted.replace(resource, record, body=body)
        self._queue.forget(key)
        return 2
