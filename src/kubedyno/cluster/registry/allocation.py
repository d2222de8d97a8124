"""Addresses and node ports of Services: handed out at random from a range, taken back when the Service goes."""

import ipaddress
from collections.abc import Iterable

from kubedyno.base.random import Random
from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.storage.store import ObjectRecord, Store
from kubedyno.kube.resources import SERVICES
from kubedyno.kube.status import InternalError, invalid, invalid_value

NODE_PORTS = range(30000, 32768)
# Random picks before a full scan: a free one is found at once unless the range is nearly full.
_PICKS = 32
_EXTERNAL = frozenset({"NodePort", "LoadBalancer"})


class Allocator:
    """Cluster addresses and node ports in use.

    Args:
        store: Where the Services are; what they hold is learnt from it on first use.
        random: Picks.
        subnet: CIDR of ClusterIPs.
    """

    def __init__(self, store: Store, random: Random, subnet: str) -> None:
        self._store = store
        self._random = random
        self._network = ipaddress.ip_network(subnet)
        self._addresses: dict[str, str] = {}
        self._ports: dict[tuple[str, int], str] = {}
        self._learnt = False

    def allocate(self, service: Object, uid: str, *, dry_run: bool) -> None:
        """Fill in a valid Service's addresses and ports, in place, and take them.

        Args:
            service: Defaulted and valid; its own earlier allocations stay.
            uid: Whose they become.
            dry_run: Take nothing.

        Raises:
            Invalid: What the client asked for is taken, or outside the range.
            InternalError: The range is used up.
        """
        self._learn()
        spec = service["spec"]
        if spec["type"] == "ExternalName":
            return
        name = service["metadata"].get("name", "")
        self._check_families(spec, name)
        self._allocate_address(spec, uid, name, dry_run=dry_run)
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        if spec["type"] in _EXTERNAL and (
            spec["type"] == "NodePort" or spec.get("allocateLoadBalancerNodePorts", True)
        ):
            self._allocate_ports(spec, uid, name, dry_run=dry_run)

    def _check_families(self, spec: Object, name: str) -> None:
        """Refuse families that the cluster's one service subnet does not have."""
        family = f"IPv{self._network.version}"
        causes = [
            invalid_value(f"spec.ipFamilies[{i}]", asked, "not configured on this cluster")
            for i, asked in enumerate(spec.get("ipFamilies", ()))
            if asked != family
        ]
        if spec.get("ipFamilyPolicy") == "RequireDualStack":
            text = "this cluster is not configured for dual-stack services"
            causes.append(invalid_value("spec.ipFamilyPolicy", "RequireDualStack", text))
        if causes:
            raise invalid(SERVICES, name, causes)
        spec["ipFamilies"] = [family]

    def _allocate_address(self, spec: Object, uid: str, name: str, *, dry_run: bool) -> None:
        asked = spec.get("clusterIP") or (spec.get("clusterIPs") or [""])[0]
        if asked == "None":
            spec["clusterIP"], spec["clusterIPs"] = "None", ["None"]
            return
        if asked:
            why = self._refusal(asked, uid, dry_run=dry_run)
            if why:
                text = f"failed to allocate IP {asked}: {why}"
                raise invalid(SERVICES, name, [invalid_value("spec.clusterIPs", [asked], text)])
            address = asked
        else:
            address = self._free_address()
        if not dry_run:
            self._addresses[address] = uid
        spec["clusterIP"], spec["clusterIPs"] = address, [address]

    def _refusal(self, asked: str, uid: str, *, dry_run: bool) -> str:
        if ipaddress.ip_address(asked) not in self._network:
            return f"the provided IP ({asked}) is not in the valid range. The range of valid IPs is {self._network}"
        taken = self._addresses.get(asked, uid) != uid and not dry_run
        return "provided IP is already allocated" if taken else ""

    def _free_address(self) -> str:
        network = self._network
        first, count = int(network.network_address) + 1, network.num_addresses - 2
        for _ in range(_PICKS):
            address = str(ipaddress.ip_address(first + self._random.randrange(count)))
            if address not in self._addresses:
                return address
        for number in range(first, first + count):
            address = str(ipaddress.ip_address(number))
            if address not in self._addresses:
                return address
        raise InternalError("failed to allocate a serviceIP: range is full")

    def _allocate_ports(self, spec: Object, uid: str, name: str, *, dry_run: bool) -> None:
        taken: dict[tuple[str, int], str] = {}
        for i, port in enumerate(spec.get("ports", ())):
            protocol, asked = port.get("protocol", "TCP"), port.get("nodePort")
            if asked:
                path = f"spec.ports[{i}].nodePort"
                if asked not in NODE_PORTS and not dry_run:
                    text = f"provided port is not in the valid range. The range of valid ports is {NODE_PORTS[0]}-{NODE_PORTS[-1]}"
                    raise invalid(SERVICES, name, [invalid_value(path, asked, text)])
                if self._ports.get((protocol, asked), uid) != uid and not dry_run:
                    text = "provided port is already allocated"
                    raise invalid(SERVICES, name, [invalid_value(path, asked, text)])
            else:
                asked = port["nodePort"] = self._free_port(protocol, taken)
            taken[protocol, asked] = uid
        if spec["type"] == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local":
            port = spec.get("healthCheckNodePort") or self._free_port("TCP", taken)
            spec["healthCheckNodePort"] = port
            taken["TCP", port] = uid
        if not dry_run:
            self._ports.update(taken)

    def _free_port(self, protocol: str, taken: dict[tuple[str, int], str]) -> int:
        def free(port: int) -> bool:
            return (protocol, port) not in self._ports and (protocol, port) not in taken

        for _ in range(_PICKS):
            port = self._random.choice(NODE_PORTS)
            if free(port):
                return port
        for port in NODE_PORTS:
            if free(port):
                return port
        raise InternalError("failed to allocate a nodePort: range is full")

    def release(self, service: Object) -> None:
        """Take a deleted Service's addresses and ports back."""
        uid = service["metadata"].get("uid", "")
        for address in service.get("spec", {}).get("clusterIPs", ()):
            if self._addresses.get(address) == uid:
                del self._addresses[address]
        for port in service.get("spec", {}).get("ports", ()):
            key = (port.get("protocol", "TCP"), port.get("nodePort", 0))
            if self._ports.get(key) == uid:
                del self._ports[key]
        health = ("TCP", service.get("spec", {}).get("healthCheckNodePort", 0))
        if self._ports.get(health) == uid:
            del self._ports[health]

    def _learn(self) -> None:
        """Take what the Services that were stored without this allocator hold."""
        if self._learnt:
            return
        self._learnt = True
        self._hold(self._store.list(SERVICES))

    def _hold(self, records: Iterable[ObjectRecord]) -> None:
        for record in records:
            spec = self._store.encode_dict(SERVICES, record)["spec"]
            for address in spec.get("clusterIPs", ()):
                if address != "None":
                    self._addresses[address] = record.obj.uid
            for port in spec.get("ports", ()):
                if port.get("nodePort"):
                    self._ports[port.get("protocol", "TCP"), port["nodePort"]] = record.obj.uid
            if spec.get("healthCheckNodePort"):
                self._ports["TCP", spec["healthCheckNodePort"]] = record.obj.uid
