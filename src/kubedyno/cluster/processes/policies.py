"""NetworkPolicies between real pods: a packet filter in each pod's own namespace, which nothing in the pod can change.

In policies, pods and namespaces, out what each pod accepts and sends, by addresses (Verdicts, comparable); and the rules for
that. Replies to what was allowed pass; a pod's own node always reaches it. A service's address is allowed to whom one of
its endpoints is: it is translated on the node, behind this filter. Where the datapath masquerades translated connections
(bridge, eBPF), those come from the node, and so pass.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

from kubedyno.cluster.processes.services import PROTOCOLS, ServicePort
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.kernel import nftables
from kubedyno.kernel.netns import Namespace
from kubedyno.kernel.nftables import Chain, CtState, Family, Hook, Verdict
from kubedyno.kube.selectors import LabelSelector

TABLE = "kubedyno-policies"
_EVERYWHERE = "0.0.0.0/0"
# (protocol, first port, last port); None is every port of every protocol.
PortRange = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Allowance:
    """Packets that one rule of a policy lets pass.

    Attributes:
        networks: CIDRs of the other side.
        excluded: CIDRs within them that are not meant.
        ports: Of the packet's destination; None: all.
    """

    networks: tuple[str, ...]
    excluded: tuple[str, ...]
    ports: tuple[PortRange, ...] | None


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What a pod accepts and sends; None: everything, because no policy selects it for that direction."""

    ingress: tuple[Allowance, ...] | None = None
    egress: tuple[Allowance, ...] | None = None


FREE = Verdicts()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What policies are resolved against.

    Attributes:
        pods: All pods with addresses.
        namespaces: Name → labels.
        services: Ports of services with addresses.
        dns_address: Of the DNS service, which stands for the pods labelled k8s-app=kube-dns.
        named_port: A pod and the name of a port of it → its number, 0 for none.
    """

    pods: list[StoredObject]
    namespaces: dict[str, dict[str, str]]
    services: list[ServicePort]
    dns_address: str
    named_port: Callable[[StoredObject, str], int]


def verdicts_of(pod: StoredObject, policies: Iterable[tuple[str, dict[str, Any]]], around: Surroundings) -> Verdicts:
    """Return what a pod accepts and sends.

    Args:
        pod: The pod.
        policies: Namespace and spec of each.
        around: Pods, namespaces, services.
    """
    ingress: list[Allowance] | None = None
    egress: list[Allowance] | None = None
    for namespace, spec in policies:
        if namespace != pod.namespace or not LabelSelector.of(spec.get("podSelector") or {}).matches(pod.labels):
            continue
        types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if "egress" in spec else [])]
        if "Ingress" in types:
            ingress = ingress if ingress is not None else []
            ingress += [_allowance(rule, "from", namespace, [pod], around) for rule in spec.get("ingress") or ()]
        if "Egress" in types:
            egress = egress if egress is not None else []
            for rule in spec.get("egress") or ():
                one = _allowance(rule, "to", namespace, None, around)
                egress += [one, *_services(one, around.services)]
    return Verdicts(None if ingress is None else tuple(ingress), None if egress is None else tuple(egress))


def _allowance(
    rule: dict[str, Any], direction: str, namespace: str, targets: list[StoredObject] | None, around: Surroundings
) -> Allowance:
    peers = rule.get(direction)
    networks: list[str] = []
    excluded: list[str] = []
    reached: list[StoredObject] = []
    for peer in peers or ():
        block = peer.get("ipBlock")
        if block is not None:
            networks.append(block["cidr"])
            excluded += block.get("except", ())
            continue
        found = list(_matching(peer, namespace, around))
        reached += found
        networks += [f"{pod.facts.pod_ip}/32" for pod in found]
        if any(pod.labels.get("k8s-app") == "kube-dns" for pod in found):
            networks.append(f"{around.dns_address}/32")
    if not peers:
        networks = [_EVERYWHERE]
    named = targets if targets is not None else reached
    return Allowance(tuple(dict.fromkeys(networks)), tuple(excluded), _ports(rule.get("ports"), named, around))


def _matching(peer: dict[str, Any], namespace: str, around: Surroundings) -> Iterable[StoredObject]:
    spaces = {namespace}
    if "namespaceSelector" in peer:
        selector = LabelSelector.of(peer["namespaceSelector"])
        spaces = {name for name, labels in around.namespaces.items() if selector.matches(labels)}
    pods = LabelSelector.of(peer.get("podSelector") or {})
    return (pod for pod in around.pods if pod.namespace in spaces and pods.matches(pod.labels))


def _ports(
    ports: list[dict[str, Any]] | None, named: list[StoredObject], around: Surroundings
) -> tuple[PortRange, ...] | None:
    if not ports:
        return None
    found: list[PortRange] = []
    for port in ports:
        protocol, number = port.get("protocol", "TCP"), port.get("port")
        if number is None:
            found.append((protocol, 0, 65535))
        elif isinstance(number, int):
            found.append((protocol, number, port.get("endPort", number)))
        else:
            numbers = {around.named_port(pod, number) for pod in named} - {0}
            found += [(protocol, one, one) for one in sorted(numbers)]
    return tuple(found)


def _services(allowance: Allowance, services: list[ServicePort]) -> list[Allowance]:
    """Return what lets packets to services pass whose endpoints are allowed."""
    nets = [IPv4Network(cidr) for cidr in allowance.networks if ":" not in cidr and cidr != _EVERYWHERE]
    hosts = {str(net.network_address) for net in nets if net.prefixlen == 32}
    wide = [net for net in nets if net.prefixlen != 32]
    found = []
    for service in services:
        for address, port in service.endpoints:
            inside = address in hosts or any(IPv4Network(address).subnet_of(net) for net in wide)
            fits = allowance.ports is None or any(
                protocol == service.protocol and first <= port <= last for protocol, first, last in allowance.ports
            )
            if inside and fits:
                ports = ((service.protocol, service.port, service.port),)
                found.append(Allowance(tuple(f"{address}/32" for address in service.addresses), (), ports))
                break
    return found


# --- rules -----------------------------------------------------------------------------------------------------------


def rules_of(verdicts: Verdicts, node_address: str, gateway: str) -> dict[Chain, list[list[bytes]]]:
    """Return the chains of a pod's own namespace.

    Args:
        verdicts: What it accepts and sends.
        node_address: Of its node.
        gateway: Its node's other address, from which translated connections come on some datapaths.
    """
    accept = nftables.verdict(Verdict.ACCEPT)
    known = [*nftables.ct_state(CtState.ESTABLISHED | CtState.RELATED), *accept]
    local = [*nftables.on_loopback(), *accept]
    found: dict[Chain, list[list[bytes]]] = {}
    if verdicts.ingress is not None:
        chain = Chain("input", "filter", Hook.INPUT, nftables.PRIORITY_FILTER, Verdict.DROP)
        own = [[*nftables.source(address), *accept] for address in (node_address, gateway)]
        found[chain] = [known, local, *own, *_lines(verdicts.ingress, outgoing=False)]
    if verdicts.egress is not None:
        chain = Chain("output", "filter", Hook.OUTPUT, nftables.PRIORITY_FILTER, Verdict.DROP)
        own = [[*nftables.destination(node_address), *accept]]
        found[chain] = [known, [*nftables.to_loopback(), *accept], *own, *_lines(verdicts.egress, outgoing=True)]
    return found


def _lines(allowances: Iterable[Allowance], *, outgoing: bool) -> list[list[bytes]]:
    lines = []
    for one in allowances:
        inverted = [
            match for cidr in one.excluded for match in nftables.network(cidr, outgoing=outgoing, inverted=True)
        ]
        for cidr in one.networks:
            if ":" in cidr:
                continue
            where = [*nftables.network(cidr, outgoing=outgoing), *inverted]
            ranges = [[]] if one.ports is None else [
                nftables.destination_ports(PROTOCOLS[protocol], first, last) for protocol, first, last in one.ports
            ]  # fmt: skip
            lines += [[*where, *ports, *nftables.counter(), *nftables.verdict(Verdict.ACCEPT)] for ports in ranges]
    return lines


def install(space: Namespace, verdicts: Verdicts, node_address: str, gateway: str) -> None:
    """Put a pod's filter in the place of the one before.

    Raises:
        NetlinkError: The kernel has no nftables or conntrack.
    """
    space.nftables.replace(Family.IPV4, TABLE, rules_of(verdicts, node_address, gateway))
