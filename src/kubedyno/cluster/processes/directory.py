"""Which services there are, what is behind them, and what names they have: read from the store.

The endpoints of a service with a selector are the ready pods that it selects; of one without, those of its EndpointSlices.
"""

from collections.abc import Iterator
from typing import Any

import orjson

from kubedyno.cluster.processes.policies import Surroundings
from kubedyno.cluster.processes.services import HostPort, ServicePort
from kubedyno.cluster.runtime import Place
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.cluster.storage.store import ObjectRecord, Store
from kubedyno.kube.resources import NAMESPACES, NODES, PODS, SERVICES, Resource

_SLICES, _POLICIES = "endpointslices", "networkpolicies"
_SERVICE_NAME = "kubernetes.io/service-name"
_NONE = "None"
_API_SERVICE = "default/kubernetes"


class Directory:
    """Services and names of a cluster.

    Args:
        store: What there is.
        dns_address: Of the DNS service, which real pods have from elsewhere.
    """

    def __init__(self, store: Store, dns_address: str) -> None:
        self._store = store
        self._dns_address = dns_address
        self._services = store.table(SERVICES)
        self._pods = store.table(PODS)
        self._namespaces = store.table(NAMESPACES)
        self.slices: Resource | None = next((r for r in store.resources if r.plural == _SLICES), None)
        self.policies: Resource | None = next((r for r in store.resources if r.plural == _POLICIES), None)

    def ports(self) -> list[ServicePort]:
        """Return all ports of services with an address. O(services times pods of a namespace)."""
        found = []
        for record in self._services.all():
            spec = _spec_of(record.obj)
            address = spec.get("clusterIP", "")
            if not address or address == _NONE or ":" in address or address == self._dns_address:
                continue
            balanced = [one.get("ip", "") for one in _status_of(record.obj).get("loadBalancer", {}).get("ingress", ())]
            others = [one for one in (*spec.get("externalIPs", ()), *balanced) if one and ":" not in one]
            addresses = tuple(dict.fromkeys((address, *others)))
            local = spec.get("externalTrafficPolicy") == "Local"
            for port in spec.get("ports", ()):
                endpoints = tuple(self._endpoints(record, spec, port))
                protocol, node_port = port.get("protocol", "TCP"), port.get("nodePort", 0)
                found.append(ServicePort(addresses, protocol, port["port"], endpoints, node_port, local))
        return found

    def host_ports(self) -> list[HostPort]:
        """Return the host ports of pods that have an address of their own. O(pods)."""
        found = []
        for record in self._pods.all():
            facts = record.obj.facts
            if facts.spec.host_ports and facts.pod_ip and _lives(record.obj):
                for container in _spec_of(record.obj)["containers"]:
                    found += [
                        HostPort(
                            facts.node_name,
                            port.get("protocol", "TCP"),
                            port["hostPort"],
                            (facts.pod_ip, port["containerPort"]),
                        )
                        for port in container.get("ports", ())
                        if port.get("hostPort")
                    ]
        return found

    def policy_specs(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the namespace and spec of each NetworkPolicy."""
        if self.policies is None:
            return []
        return [(record.obj.namespace, _spec_of(record.obj)) for record in self._store.table(self.policies).all()]

    def surroundings(self, ports: list[ServicePort]) -> Surroundings:
        """Return what policies are resolved against. O(pods)."""
        return Surroundings(
            [record.obj for record in self._pods.all() if record.obj.facts.pod_ip and _lives(record.obj)],
            {record.obj.name: record.obj.labels for record in self._namespaces.all()},
            ports,
            self._dns_address,
            _named_port,
        )

    def pod(self, key: str) -> StoredObject | None:
        """Return a pod by "ns/name"."""
        record = self._pods.get(key)
        return record.obj if record is not None else None

    def api_endpoints(self) -> list[tuple[str, int]]:
        """Return where the API server is said to be, by the slices of the service `kubernetes`."""
        record = self._services.get(_API_SERVICE)
        if record is None:
            return []
        ports = _spec_of(record.obj).get("ports", ())
        return list(dict.fromkeys(one for port in ports for one in self._sliced(record.obj, port)))

    def place_of(self, address: str) -> Place | None:
        """Return the node with an address, None when there is none, or none with a range for pods."""
        for record in self._store.table(NODES).all():
            cidr = _spec_of(record.obj).get("podCIDR", "")
            known = (one["address"] for one in _status_of(record.obj).get("addresses", ()))
            if cidr and address in known:
                return Place(record.obj.name, address, cidr)
        return None

    def allocatable(self, node: str) -> dict[str, str]:
        """Return what a node can give its pods: "allocatable.cpu", … → a quantity."""
        record = self._store.table(NODES).get(node)
        known = _status_of(record.obj).get("allocatable", {}) if record is not None else {}
        return {f"allocatable.{name}": str(amount) for name, amount in known.items()}

    def variables(self, namespace: str, *, links: bool = True) -> dict[str, str]:
        """Return the variables that tell a pod of the API server and of other services (envvars.FromServices).

        Args:
            namespace: The pod's.
            links: enableServiceLinks: of its namespace's services too.
        """
        found: dict[str, str] = {}
        own = self._services.prefix(f"{namespace}/") if links else ()
        first = self._services.get(_API_SERVICE)
        for record in (*([first] if first is not None else ()), *own):
            spec = _spec_of(record.obj)
            address, ports = spec.get("clusterIP", ""), spec.get("ports", ())
            if not address or address == _NONE or not ports:
                continue
            name = record.obj.name.upper().replace("-", "_")
            found |= {f"{name}_SERVICE_HOST": address, f"{name}_SERVICE_PORT": str(ports[0]["port"])}
            for port in ports:
                if port.get("name"):
                    found[f"{name}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
                number, protocol = port["port"], port.get("protocol", "TCP")
                link, url = f"{name}_PORT_{number}_{protocol}", f"{protocol.lower()}://{address}:{number}"
                if port is ports[0]:
                    found[f"{name}_PORT"] = url
                found |= {
                    link: url,
                    f"{link}_PROTO": protocol.lower(),
                    f"{link}_PORT": str(number),
                    f"{link}_ADDR": address,
                }
        return found

    def lookup(self, labels: tuple[str, ...]) -> list[str] | None:
        """Return the addresses of a name within the cluster's domain, None when there is no such name."""
        if len(labels) < 3:
            return [] if labels in {(), ("svc",), ("pod",)} else None
        *rest, name, namespace, kind = labels
        if kind == "pod" and not rest:
            return [name.replace("-", ".")] if name.count("-") == 3 else None
        record = self._services.get(f"{namespace}/{name}") if kind == "svc" else None
        if record is None:
            return None
        spec = _spec_of(record.obj)
        address = spec.get("clusterIP", "")
        if address and address != _NONE:
            return [address] if not rest else None
        found = list(self._selected(record, spec))
        if rest:
            host = rest[-1]
            found = [pod for pod in found if host in {_hostname(pod, name), _dashed(pod.facts.pod_ip)}]
        return [pod.facts.pod_ip for pod in found] or None

    def srv(self, labels: tuple[str, ...]) -> list[tuple[int, tuple[str, ...]]] | None:
        """Return (port, name) of a service's named port, e.g. ("_http", "_tcp", "web", "default", "svc"), None for none.

        A service with an address is one target, one without has each of its pods.
        """
        if len(labels) != 5 or labels[4] != "svc":
            return None
        port_name, protocol, name, namespace, _ = labels
        record = self._services.get(f"{namespace}/{name}")
        spec = _spec_of(record.obj) if record is not None else {}
        wanted = [
            port
            for port in spec.get("ports", ())
            if f"_{port.get('name', '')}" == port_name and f"_{port.get('protocol', 'TCP').lower()}" == protocol
        ]
        if record is None or not wanted:
            return None
        own = (name, namespace, "svc")
        if spec.get("clusterIP", "") != _NONE:
            return [(port["port"], own) for port in wanted]
        found: list[tuple[int, tuple[str, ...]]] = []
        for port in wanted:
            target = port.get("targetPort", port["port"])
            for pod in self._selected(record, spec):
                number = target if isinstance(target, int) else _named_port(pod, target)
                if number:
                    found.append((number, (_hostname(pod, name) or _dashed(pod.facts.pod_ip), *own)))
        return found or None

    def name_of(self, address: str) -> tuple[str, ...] | None:
        """Return the name of a service's address, or of a pod behind a service without one, None for others. O(pods)."""
        for record in self._services.all():
            spec = _spec_of(record.obj)
            own = (record.obj.name, record.obj.namespace, "svc")
            if spec.get("clusterIP") == address:
                return own
            if spec.get("clusterIP") == _NONE:
                for pod in self._selected(record, spec):
                    if pod.facts.pod_ip == address:
                        return (_hostname(pod, record.obj.name) or _dashed(address), *own)
        return None

    def _selected(self, record: ObjectRecord, spec: dict[str, Any]) -> Iterator[StoredObject]:
        selector = spec.get("selector")
        if not selector:
            return
        every = spec.get("publishNotReadyAddresses", False)
        wanted = selector.items()
        for pod in self._pods.prefix(f"{record.obj.namespace}/"):
            facts = pod.obj.facts
            if (
                wanted <= pod.obj.labels.items()
                and facts.pod_ip
                and (facts.ready or every)
                and not pod.obj.deletion_s
                and facts.phase not in {"Succeeded", "Failed"}
            ):
                yield pod.obj

    def _endpoints(
        self, record: ObjectRecord, spec: dict[str, Any], port: dict[str, Any]
    ) -> Iterator[tuple[str, int]]:  # fmt: skip
        if not spec.get("selector"):
            yield from self._sliced(record.obj, port)
            return
        target = port.get("targetPort", port["port"])
        for pod in self._selected(record, spec):
            number = target if isinstance(target, int) else _named_port(pod, target)
            if number:
                yield pod.facts.pod_ip, number

    def _sliced(self, service: StoredObject, port: dict[str, Any]) -> Iterator[tuple[str, int]]:
        if self.slices is None:
            return
        for record in self._store.list(self.slices, service.namespace):
            if record.obj.labels.get(_SERVICE_NAME) != service.name:
                continue
            body = _body_of(record.obj)
            numbers = [p["port"] for p in body.get("ports") or () if p.get("name", "") == port.get("name", "")]
            for endpoint in body.get("endpoints") or ():
                if (endpoint.get("conditions") or {}).get("ready", True):
                    yield from ((address, number) for address in endpoint["addresses"][:1] for number in numbers)


def _lives(pod: StoredObject) -> bool:
    return pod.facts.phase not in {"Succeeded", "Failed"} and not pod.facts.spec.host_network


def _body_of(obj: StoredObject) -> dict[str, Any]:
    return dict(orjson.loads(b"{" + obj.body + b"}"))


def _spec_of(obj: StoredObject) -> dict[str, Any]:
    return dict(_body_of(obj).get("spec", {}))


def _status_of(obj: StoredObject) -> dict[str, Any]:
    return dict(orjson.loads(obj.status or b"{}"))


def _named_port(pod: StoredObject, name: str) -> int:
    spec = _spec_of(pod)
    ports = (port for container in spec["containers"] for port in container.get("ports", ()))
    return next((int(port["containerPort"]) for port in ports if port.get("name") == name), 0)


def _dashed(address: str) -> str:
    return address.replace(".", "-")


def _hostname(pod: StoredObject, service: str) -> str:
    spec = _spec_of(pod)
    return str(spec.get("hostname", "")) if spec.get("subdomain") == service else ""
