"""ClusterIP services between real pods: nftables rules in each node, as kube-proxy writes them in spirit.

In Services and what is behind them, out one table a node: a connection to a service's address and port goes to one of its
endpoints by equal chance. Where replies would not pass the node's stack (bridge, eBPF), translated connections come from
the node's own address instead; elsewhere only those of a pod to itself. A second table refuses what no rule translated.
"""

from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A port of a service.

    Attributes:
        address: The ClusterIP.
        protocol: "TCP", "UDP" or "SCTP".
        port: The service's.
        endpoints: (address, port) of each ready endpoint.
    """

    address: str
    protocol: str
    port: int
    endpoints: tuple[tuple[str, int], ...]


def rules(ports: list[ServicePort], *, masquerade_all: bool) -> dict[Chain, list[list[bytes]]]:
    """Return the table's chains.

    Args:
        ports: All services'.
        masquerade_all: Replies don't pass the node's stack by themselves.
    """
    translate = []
    for port in ports:
        left = len(port.endpoints)
        for address, number in port.endpoints:
            translate.append(
                [
                    *nftables.destination(port.address),
                    *nftables.destination_port(PROTOCOLS[port.protocol], port.port),
                    *nftables.one_in(left),
                    *nftables.counter(),
                    *nftables.destination_nat(address, number),
                ]
            )
            left -= 1
    if masquerade_all:
        back = [[*nftables.translated(), *nftables.counter(), *nftables.masquerade()]]
    else:
        own = dict.fromkeys(address for port in ports for address, _ in port.endpoints)
        back = [
            [*nftables.source(address), *nftables.destination(address), *nftables.counter(), *nftables.masquerade()]
            for address in own
        ]
    return {_PREROUTING: translate, _OUTPUT: translate, _POSTROUTING: back}


def install(space: Namespace, ports: list[ServicePort], *, masquerade_all: bool) -> None:
    """Put a node's table in the place of the one before.

    Raises:
        NetlinkError: The kernel has no nftables, conntrack or translation.
    """
    space.nftables.replace(Family.IPV4, TABLE, rules(ports, masquerade_all=masquerade_all))


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
