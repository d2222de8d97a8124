"""Services between real pods: nftables rules in each node, as kube-proxy writes them in spirit.

In Services and what is behind them, out one table a node: a connection to a service's address and port, to a node port or
to a pod's host port goes to one of its endpoints by equal chance. Where replies would not pass the node's stack (bridge,
eBPF), translated connections come from the node's own address instead; elsewhere only those of a pod to itself, and those
that came by a node port, whose endpoint may be on another node. A second table refuses what no rule translated.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from kubedyno.kernel import nftables
from kubedyno.kernel.netns import Namespace
from kubedyno.kernel.nftables import Chain, Family, Hook, Verdict

TABLE = "kubedyno-services"
_UNSERVED = "kubedyno-unserved"
PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
_PREROUTING = Chain("prerouting", "nat", Hook.PREROUTING, nftables.PRIORITY_DSTNAT)
_OUTPUT = Chain("output", "nat", Hook.OUTPUT, nftables.PRIORITY_DSTNAT)
_POSTROUTING = Chain("postrouting", "nat", Hook.POSTROUTING, nftables.PRIORITY_SRCNAT)
_FORWARD = Chain("forward", "filter", Hook.FORWARD, nftables.PRIORITY_FILTER)
_SENT = Chain("sent", "filter", Hook.OUTPUT, nftables.PRIORITY_FILTER)
# kube-proxy's own mark of what is to be masqueraded.
_BY_NODE_PORT = 0x4000


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A port of a service.

    Attributes:
        addresses: The ClusterIP, and the addresses that a load balancer or the service itself names.
        protocol: "TCP", "UDP" or "SCTP".
        port: The service's.
        endpoints: (address, port) of each ready endpoint.
        node_port: On every node's own address, 0 for none.
        local: externalTrafficPolicy Local: a node port leads to endpoints of its own node only.
    """

    addresses: tuple[str, ...]
    protocol: str
    port: int
    endpoints: tuple[tuple[str, int], ...]
    node_port: int = 0
    local: bool = False


@dataclass(frozen=True, slots=True)
class HostPort:
    """A container's port on its node's address.

    Attributes:
        node: Name of the node.
        protocol: "TCP", "UDP" or "SCTP".
        port: On the node.
        endpoint: The pod's address and the container's port.
    """

    node: str
    protocol: str
    port: int
    endpoint: tuple[str, int]


@dataclass(frozen=True, slots=True)
class Node:
    """The node that rules are for: its name, its own address, its pods' range."""

    name: str
    address: str
    cidr: str

    def has(self, address: str) -> bool:
        """Say whether an endpoint is on this node."""
        return address == self.address or IPv4Address(address) in IPv4Network(self.cidr)


def rules(
    ports: Sequence[ServicePort], hosts: Sequence[HostPort], node: Node, *, masquerade_all: bool
) -> dict[Chain, list[list[bytes]]]:
    """Return the table's chains.

    Args:
        ports: All services'.
        hosts: All host ports; those of other nodes are left out.
        node: Whose table it is.
        masquerade_all: Replies don't pass the node's stack by themselves.
    """
    translate: list[list[bytes]] = []
    for port in ports:
        for address in port.addresses:
            translate += _spread(address, port.protocol, port.port, port.endpoints, [])
        if port.node_port:
            reached = tuple(one for one in port.endpoints if not port.local or node.has(one[0]))
            mark = [] if port.local else nftables.set_mark(_BY_NODE_PORT)
            translate += _spread(node.address, port.protocol, port.node_port, reached, mark)
    for host in hosts:
        if host.node == node.name:
            translate += _spread(node.address, host.protocol, host.port, (host.endpoint,), [])
    if masquerade_all:
        back = [[*nftables.translated(), *nftables.counter(), *nftables.masquerade()]]
    else:
        own = dict.fromkeys(address for port in ports for address, _ in port.endpoints)
        own |= dict.fromkeys(host.endpoint[0] for host in hosts if host.node == node.name)
        back = [[*nftables.marked(_BY_NODE_PORT), *nftables.counter(), *nftables.masquerade()]]
        # A service that leads back to who asked. What talks to itself without one keeps its address: a UDP server answers
        # from the address that its route to the asking one prefers, which is then another than the one that was asked.
        back += [
            [
                *nftables.translated(), *nftables.source(address), *nftables.destination(address),
                *nftables.counter(), *nftables.masquerade(),
            ]
            for address in own
        ]  # fmt: skip
    return {_PREROUTING: translate, _OUTPUT: translate, _POSTROUTING: back}


def _spread(
    address: str, protocol: str, port: int, endpoints: tuple[tuple[str, int], ...], mark: list[bytes]
) -> Iterator[list[bytes]]:
    """Yield a rule for each endpoint: the first one takes one connection in n, the next one in n - 1, the last all."""
    for left, (target, number) in zip(range(len(endpoints), 0, -1), endpoints, strict=True):
        yield [
            *nftables.destination(address),
            *nftables.destination_port(PROTOCOLS[protocol], port),
            *nftables.one_in(left),
            *mark,
            *nftables.counter(),
            *nftables.destination_nat(target, number),
        ]


def install(
    space: Namespace, ports: Sequence[ServicePort], hosts: Sequence[HostPort], node: Node, *, masquerade_all: bool
) -> None:
    """Put a node's table in the place of the one before.

    Raises:
        NetlinkError: The kernel has no nftables, conntrack or translation.
    """
    space.nftables.replace(Family.IPV4, TABLE, rules(ports, hosts, node, masquerade_all=masquerade_all))


def refuse_unserved(space: Namespace, subnet: str) -> None:
    """Have a node refuse packets to addresses and ports of services that nothing is behind, or not yet.

    Were they let out instead, conntrack would remember the connection as one that is not translated: what the client
    sends again would not be translated either, however soon the rules come.

    Raises:
        NetlinkError: The kernel has no nftables or cannot refuse.
    """
    still = nftables.network(subnet, outgoing=True)
    refused = [[*still, *nftables.reset()], [*still, *nftables.unreachable()]]
    # The DNS service's address is the node's own.
    own = [*nftables.to_loopback(), *nftables.verdict(Verdict.ACCEPT)]
    space.nftables.replace(Family.IPV4, _UNSERVED, {_FORWARD: refused, _SENT: [own, *refused]})


def translations(space: Namespace) -> int:
    """Return how many connections were sent to endpoints, from pods and from the node itself."""
    counted = [
        count for chain in (_PREROUTING, _OUTPUT) for count in space.nftables.counts(Family.IPV4, TABLE, chain.name)
    ]
    return sum(count.packets for count in counted if count)
