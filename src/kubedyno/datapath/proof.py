"""Counters before and after a run → whether the packets took the path they were meant to. Pure.

Two sides to it: what the path counts must have seen enough packets, and what other paths count must not.
"""

from collections.abc import Callable, Mapping

from kubedyno.datapath.topology import DEFAULT_GSO_BYTES, Path, Place, Variant
from kubedyno.documents.net import Proof

# Neighbour discovery, multicast reports and the handshakes of the tools.
BACKGROUND_PACKETS = 64


def difference(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """Return how much each counter grew; the largest packet is no sum and stays as it is."""
    return {name: value if name.endswith(".largest") else value - before.get(name, 0) for name, value in after.items()}


def prove(
    variant: Variant, place: Place, grown: Mapping[str, int], *, transactions: int, payload_bytes: int, forward: bool
) -> list[Proof]:
    """Judge one run.

    Args:
        variant: What was asked for.
        place: Where the server was.
        grown: What the counters grew by.
        transactions: That were completed, 0 for throughput tests.
        payload_bytes: That arrived, 0 for latency tests.
        forward: Whether payload went from the client to the server over TCP (BIG TCP is then provable at the client).

    Returns:
        The path's proof first; one of BIG TCP where it was asked for.
    """
    needed = max(1, transactions, payload_bytes // max(variant.gso, DEFAULT_GSO_BYTES) // 2)
    few = max(BACKGROUND_PACKETS, needed // 100)

    def total(suffix: str) -> int:
        return sum(value for name, value in grown.items() if name[1:] == f".{suffix}")

    proofs = [_PROVERS[variant.path](place, grown, total, needed, few)]
    if variant.gso > DEFAULT_GSO_BYTES and payload_bytes and forward:
        proofs.append(_big(grown, total))
    return proofs


_Total = Callable[[str], int]


def _proof(claim: str, grown: Mapping[str, int], conditions: Mapping[str, bool], names: tuple[str, ...]) -> Proof:
    counters = {name: value for name, value in grown.items() if name.startswith(names)}
    failed = [text for text, good in conditions.items() if not good]
    return Proof(claim if not failed else f"{claim}; but {'; '.join(failed)}", not failed, counters)


def _host(place: Place, grown: Mapping[str, int], total: _Total, needed: int, few: int) -> Proof:
    if place is Place.SAME:
        conditions = {"lo carried too few packets": grown["client.tx_packets"] >= needed}
        return _proof("over lo of node a", grown, conditions, ("client.",))
    conditions = {
        "the wire carried too few packets": total("wire.tx_packets") >= needed,
        "packets were forwarded": total("ip.forwarded") <= few,
    }
    return _proof("from node to node over the wire", grown, conditions, ("a.wire", "b.wire", "a.ip", "b.ip"))


def _bridge(place: Place, grown: Mapping[str, int], total: _Total, needed: int, few: int) -> Proof:
    del place
    conditions = {
        "the bridge's ports carried too few packets": total("bridge.port_rx_packets") >= needed,
        "the nodes' IP stack forwarded packets": total("ip.forwarded") <= few,
    }
    return _proof("through the bridge, not through the nodes' IP stack", grown, conditions, ("a.", "b.bridge", "b.ip"))


def _route(place: Place, grown: Mapping[str, int], total: _Total, needed: int, few: int) -> Proof:
    del few
    conditions = {"the nodes' IP stack forwarded too few packets": total("ip.forwarded") >= needed}
    if place is Place.OTHER:
        conditions["node b forwarded too few packets"] = grown["b.ip.forwarded"] >= needed
    return _proof("forwarded by the nodes' IP stack", grown, conditions, ("a.ip", "b.ip", "a.wire"))


def _route_nft(place: Place, grown: Mapping[str, int], total: _Total, needed: int, few: int) -> Proof:
    base = _route(place, grown, total, needed, few)
    conditions = {
        "too few packets were forwarded": base.held,
        "no connection was translated to the pod": grown["a.nft.translated"] >= 1,
        "conntrack's rule saw too few packets": total("nft.established") + total("nft.new") >= needed,
    }
    return _proof(
        "forwarded by the nodes' IP stack, through conntrack, to the service's address", grown, conditions,
        ("a.ip", "b.ip", "a.nft", "b.nft"),
    )  # fmt: skip


def _vxlan(place: Place, grown: Mapping[str, int], total: _Total, needed: int, few: int) -> Proof:
    if place is Place.SAME:
        return _route(place, grown, total, needed, few)
    conditions = {
        "the tunnel carried too few packets": total("vxlan.tx_packets") >= needed,
        "the nodes' IP stack forwarded too few packets": total("ip.forwarded") >= needed,
    }
    return _proof("forwarded into the VXLAN tunnel", grown, conditions, ("a.", "b.vxlan", "b.ip"))


def _ebpf(place: Place, grown: Mapping[str, int], total: _Total, needed: int, few: int) -> Proof:
    conditions = {
        "the eBPF program redirected too few packets into pods": total("bpf.peer") >= needed,
        "packets entered pods through the host's end and not by redirect_peer": total("pods.tx_packets") <= few,
        "the nodes' IP stack received packets": total("ip.received") <= few,
        "the nodes' IP stack forwarded packets": total("ip.forwarded") <= few,
    }
    if place is Place.OTHER:
        conditions["the eBPF program redirected too few packets to the wire"] = total("bpf.neigh") >= needed
    return _proof(
        "redirected by the eBPF program, past the nodes' IP stack",
        grown,
        conditions,
        ("a.bpf", "b.bpf", "a.ip", "b.ip", "a.pods", "b.pods"),
    )


def _big(grown: Mapping[str, int], total: _Total) -> Proof:
    packets = max(1, grown["client.tx_packets"])
    mean = grown["client.tx_bytes"] // packets
    counters = {"mean packet of the client (bytes)": mean, "retransmits": grown.get("client.retransmits", 0)}
    largest = max((value for name, value in grown.items() if name.endswith(".largest")), default=0)
    if largest:
        counters |= {
            "largest packet seen by eBPF (bytes)": largest,
            "packets above 64 KiB seen by eBPF": total("bpf.big"),
        }
    counters["packets too big for the stack"] = total("ip.too_big")
    held = mean > DEFAULT_GSO_BYTES
    return Proof(
        f"BIG TCP: packets of {mean} bytes on average{'' if held else ', no more than without it'}", held, counters
    )


_PROVERS: dict[Path, Callable[[Place, Mapping[str, int], _Total, int, int], Proof]] = {
    Path.HOST: _host,
    Path.BRIDGE: _bridge,
    Path.ROUTE: _route,
    Path.ROUTE_NFT: _route_nft,
    Path.VXLAN: _vxlan,
    Path.EBPF: _ebpf,
    Path.NETKIT: _ebpf,
}
