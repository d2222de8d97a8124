"""Cluster addresses and node ports of Services: handed out at random from their ranges, taken back with the Service.

An address is taken while there is an IPAddress object of that name; node ports are kept here.
"""

import ipaddress
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from socket import AF_INET, AF_INET6, inet_ntop

import orjson

from kubedyno.base.clock import Clock
from kubedyno.base.random import Random
from kubedyno.base.times import rfc3339
from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.nodeports import NODE_PORTS, NodePorts
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.cluster.storage.store import Store
from kubedyno.kube.resources import SERVICES, built_in
from kubedyno.kube.status import Cause, InternalError, invalid, invalid_value

_IPADDRESSES = built_in("networking.k8s.io", "ipaddresses")
_SERVICECIDRS = built_in("networking.k8s.io", "servicecidrs")
IPADDRESSES, SERVICECIDRS = _IPADDRESSES, _SERVICECIDRS
_LABELS = {
    family: {
        "ipaddress.kubernetes.io/ip-family": family,
        "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
    }
    for family in ("IPv4", "IPv6")
}
# Random picks before a full scan: a free one is found at once unless the range is nearly full.
_PICKS = 32
# The lower part of a range is for addresses that are asked for by name: a sixteenth of it, between these bounds.
_MIN_STATIC, _MAX_STATIC = 16, 256
_OTHER = {"IPv4": "IPv6", "IPv6": "IPv4"}
_DUAL = frozenset({"PreferDualStack", "RequireDualStack"})

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def family_of(text: str) -> str:
    """Return the family of an address or a subnet."""
    return "IPv6" if ":" in text else "IPv4"


class Allocator:
    """What Services are given.

    Args:
        store: Where Services, IPAddresses and ServiceCIDRs are; node ports in use are learnt from it on first use.
        clock: Stamps IPAddresses.
        random: Picks.
        subnets: CIDRs of ClusterIPs, one a family; the first is the one of Services that do not say.

    Attributes:
        allocations: Addresses given so far, by family, and whether they were asked for ("static", else "dynamic").
    """

    def __init__(self, store: Store, clock: Clock, random: Random, subnets: tuple[str, ...]) -> None:
        self._store = store
        self._clock = clock
        self._random = random
        self._subnets = {family_of(subnet): ipaddress.ip_network(subnet) for subnet in subnets}
        self._default = family_of(subnets[0])
        self._table = store.table(IPADDRESSES)
        self._networks: dict[str, list[Network]] = {}
        store.table(SERVICECIDRS).subscribe(self._networks.clear)
        self._ports = NodePorts(random)
        self._learnt = False
        self.allocations: Counter[tuple[str, str]] = Counter()

    def usage(self) -> list[tuple[str, str, int, int]]:
        """Return (CIDR, family, addresses that Services have, addresses in all) of each subnet."""
        found = []
        for family in self._subnets:
            networks = self._of_family(family)
            taken = [record.key for record in self._table.all() if family_of(record.key) == family]
            for network in networks:
                # Nearly always there is one, and then none has to be parsed.
                inside = sum(ipaddress.ip_address(each) in network for each in taken) if networks[1:] else len(taken)
                found.append((str(network), family, inside, _usable(network)))
        return found

    @property
    def node_ports(self) -> tuple[int, int]:
        """How many node ports Services have, and how many there are."""
        self._learn()
        return len(self._ports), len(NODE_PORTS)

    def allocate(self, service: Object, old: Object | None, uid: str, *, dry_run: bool) -> None:
        """Fill in a valid Service's families, addresses and ports, in place, and take them; what `old` gave up is free.

        Args:
            service: Defaulted and valid.
            old: Its version until now, None for a new one.
            uid: Whose they become.
            dry_run: Take nothing.

        Raises:
            Invalid: What the client asked for is taken, outside the range, or not of this cluster's families.
            InternalError: The range is used up.
        """
        self._learn()
        spec, before = service["spec"], old["spec"] if old is not None else {}
        if spec["type"] != "ExternalName":
            self._settle_families(service, spec, before)
            taken = self._allocate_addresses(service, spec, before, dry_run=dry_run)
        else:
            taken = []
        try:
            self._ports.allocate(service, before, uid, dry_run=dry_run)
        except Exception:
            for address in taken:
                self._store.remove(IPADDRESSES, address)
            raise
        if not dry_run and old is not None:
            kept = set(spec.get("clusterIPs", ()))
            self._release(old, [address for address in before.get("clusterIPs", ()) if address not in kept])

    def release(self, service: Object) -> None:
        """Take a deleted Service's addresses and ports back."""
        spec = service.get("spec", {})
        self._release(service, spec.get("clusterIPs", []))
        self._ports.release(spec, service["metadata"].get("uid", ""))

    def _release(self, service: Object, addresses: list[str]) -> None:
        for address in addresses:
            record = self._store.get(IPADDRESSES, address)
            if record is not None:
                parent = self._store.encode_dict(IPADDRESSES, record)["spec"].get("parentRef")
                if parent == _parent(service):
                    self._store.remove(IPADDRESSES, address)

    # --- families ----------------------------------------------------------------------------------------------

    def _settle_families(self, service: Object, spec: Object, before: Object) -> None:
        """Decide which families a Service has, from its policy and addresses and what the cluster has.

        Raises:
            Invalid: They contradict each other, or the cluster does not have them.
        """
        if spec.get("ipFamilyPolicy") == before.get("ipFamilyPolicy") == "PreferDualStack" and all(
            spec.get(name) == before.get(name) for name in ("clusterIPs", "ipFamilies")
        ):
            # Such a Service neither gains nor loses an address by itself.
            return
        bare = spec.get("clusterIP") == "None" and not spec.get("selector")
        if "ipFamilyPolicy" not in spec:
            spec["ipFamilyPolicy"] = before.get("ipFamilyPolicy") or ("RequireDualStack" if bare else "SingleStack")
        policy = spec["ipFamilyPolicy"]
        addresses, families = list(spec.get("clusterIPs", ())), list(spec.get("ipFamilies", ()))
        path, causes = "spec.ipFamilyPolicy", list[Cause]()
        if policy == "SingleStack":
            # The policy alone says that the second of each is to go.
            if len(addresses) > 1 and addresses == before.get("clusterIPs"):
                del addresses[1:]
            if len(families) > 1 and families == before.get("ipFamilies"):
                del families[1:]
            for of, what in ((addresses, "cluster IPs"), (families, "IP families")):
                if len(of) > 1:
                    text = f"must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
                    causes.append(invalid_value(path, policy, text))
        elif before.get("type", "ExternalName") != "ExternalName":
            for name, of, what in (("clusterIPs", addresses, "cluster IP"), ("ipFamilies", families, "IP family")):
                if 0 < len(of) < len(before.get(name, ())):
                    text = f"must be 'SingleStack' to release the secondary {what}"
                    causes.append(invalid_value(path, policy, text))
        for i, address in enumerate(addresses[len(families) :], len(families)):
            if address == "None":
                break
            if (family := family_of(address)) in self._subnets:
                families.append(family)
            else:
                text = f"{family} is not configured on this cluster"
                causes.append(invalid_value(f"spec.clusterIPs[{i}]", addresses, text))
        if not causes and not bare:
            if policy == "RequireDualStack" and len(self._subnets) == 1:
                causes.append(invalid_value(path, policy, "this cluster is not configured for dual-stack services"))
            for i, family in enumerate(families):
                if family not in self._subnets:
                    causes.append(invalid_value(f"spec.ipFamilies[{i}]", family, "not configured on this cluster"))
        if causes:
            raise invalid(SERVICES, service["metadata"].get("name", ""), causes)
        families = families or [self._default]
        if policy in _DUAL and len(families) == 1 and (bare or len(self._subnets) > 1):
            families.append(_OTHER[families[0]])
        spec["ipFamilies"] = families
        if addresses:
            spec["clusterIPs"] = addresses

    # --- addresses ---------------------------------------------------------------------------------------------

    def _allocate_addresses(self, service: Object, spec: Object, before: Object, *, dry_run: bool) -> list[str]:
        """Give a Service an address of each of its families; returns those that it had not."""
        if spec.get("clusterIP") == "None":
            spec["clusterIPs"] = ["None"]
            return []
        addresses = spec.setdefault("clusterIPs", [])
        had, taken = set(before.get("clusterIPs", ())), list[str]()
        try:
            for i, family in enumerate(spec["ipFamilies"]):
                if i < len(addresses) and addresses[i] in had:
                    continue
                scope = "static" if i < len(addresses) else "dynamic"
                if scope == "static":
                    address = str(ipaddress.ip_address(addresses[i]))
                    self._check_asked(service, addresses[i], dry_run=dry_run)
                else:
                    address = self._free_address(family, dry_run=dry_run)
                    addresses.append(address)
                if not dry_run:
                    self._take(address, service)
                    taken.append(address)
                    self.allocations[family, scope] += 1
        except Exception:
            for address in taken:
                self._store.remove(IPADDRESSES, address)
            raise
        spec["clusterIP"] = addresses[0]
        return taken

    def _take(self, address: str, service: Object) -> None:
        """Make the IPAddress that says whose an address is. Names are valid by now: nothing in them is escaped."""
        uid, metadata = self._random.uid(), service["metadata"]
        labels = _LABELS[family_of(address)]
        meta = (
            f'"name":"{address}","uid":"{uid}","creationTimestamp":"{rfc3339(self._clock.now())}","labels":'
        ).encode() + orjson.dumps(labels)
        namespace, name = metadata.get("namespace", ""), metadata.get("name", "")
        body = f'"spec":{{"parentRef":{{"resource":"services","namespace":"{namespace}","name":"{name}"}}}}'.encode()
        self._store.put_in(
            self._table, StoredObject(address, "", address, uid, 0, labels, (), 0.0, (), meta, b"", body, b"", None)
        )

    def _check_asked(self, service: Object, asked: str, *, dry_run: bool) -> None:
        """Refuse an address that a Service cannot have.

        Raises:
            Invalid: It is taken, or in no range.
        """
        address = ipaddress.ip_address(asked)
        networks = self._of_family(family_of(asked))
        within = next((network for network in networks if address in network), None)
        if within is None and not dry_run:
            why = "the provided network does not match the current range"
        elif within is None or address == within.network_address or _is_broadcast(address, within):
            shown = within or networks[0]
            why = f"the provided IP ({asked}) is not in the valid range. The range of valid IPs is {shown}"
        elif not dry_run and self._store.get(IPADDRESSES, str(address)) is not None:
            why = "provided IP is already allocated"
        else:
            return
        text = f"failed to allocate IP {asked}: {why}"
        name = service["metadata"].get("name", "")
        raise invalid(SERVICES, name, [invalid_value("spec.clusterIPs", service["spec"]["clusterIPs"], text)])

    def _of_family(self, family: str) -> list[Network]:
        """Return the subnets of a family: the cluster's own, then those that ServiceCIDRs add."""
        if not self._networks:
            for known, subnet in self._subnets.items():
                self._networks[known] = [subnet]
            for record in self._store.list(SERVICECIDRS):
                if record.obj.deletion_s:
                    continue
                for cidr in self._store.encode_dict(SERVICECIDRS, record)["spec"].get("cidrs", ()):
                    of = self._networks.get(family_of(cidr), [])
                    network = ipaddress.ip_network(cidr)
                    if network not in of:
                        of.append(network)
        return self._networks[family]

    def _free_address(self, family: str, *, dry_run: bool) -> str:
        networks = self._of_family(family)
        if dry_run:
            # A real one looks for none either.
            return str(networks[0].network_address)
        for network in networks:
            for address in self._candidates(network):
                if self._table.get(address) is None:
                    return address
        raise InternalError("Internal error occurred: failed to allocate a serviceIP: range is full")

    def _candidates(self, network: Network) -> Iterator[str]:
        """Yield a subnet's addresses: some of the upper part at random, then all of that part, then the lower."""
        first = int(network.network_address) + 1
        count = _usable(network)
        if count <= 0:
            return
        static = 0 if count < _MIN_STATIC else min(max(_MIN_STATIC, count // 16), _MAX_STATIC)
        size, family = (4, AF_INET) if network.version == 4 else (16, AF_INET6)
        picks = (static + self._random.randrange(count - static) for _ in range(_PICKS))
        for offset in chain(picks, range(static, count), range(static)):
            yield inet_ntop(family, (first + offset).to_bytes(size))

    # --- what is there already ---------------------------------------------------------------------------------

    def _learn(self) -> None:
        """Take what the Services that were stored without this allocator hold."""
        if self._learnt:
            return
        self._learnt = True
        for record in self._store.list(SERVICES):
            service = self._store.encode_dict(SERVICES, record)
            self._ports.hold(service["spec"], record.obj.uid)
            for address in service["spec"].get("clusterIPs", ()):
                if address != "None" and self._store.get(IPADDRESSES, address) is None:
                    self._take(address, service)


def _usable(network: Network) -> int:
    """Return how many addresses of a subnet there are to be had."""
    return network.num_addresses - (2 if network.version == 4 else 1)


def _parent(service: Object) -> Object:
    metadata = service["metadata"]
    return {"resource": "services", "namespace": metadata.get("namespace", ""), "name": metadata.get("name", "")}


def _is_broadcast(address: ipaddress.IPv4Address | ipaddress.IPv6Address, network: Network) -> bool:
    return network.version == 4 and address == network.broadcast_address
