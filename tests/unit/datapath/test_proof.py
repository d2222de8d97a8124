"""The judge of the counters, given counters of every kind: each fault must be seen."""

import pytest

from kubedyno.datapath import proof
from kubedyno.datapath.topology import Path, Place, Variant

QUIET = {
    f"{node}.{name}": 0
    for node in "ab"
    for name in (
        "ip.received", "ip.forwarded", "ip.too_big", "wire.tx_packets", "wire.tx_bytes", "bpf.peer", "bpf.neigh", "bpf.pass",
        "bpf.big", "bpf.largest", "bridge.port_rx_packets", "bridge.port_tx_packets", "vxlan.tx_packets", "nft.translated",
        "pods.tx_packets", "nft.invalid", "nft.established", "nft.new",
    )
} | {"client.tx_packets": 0, "client.tx_bytes": 0, "client.retransmits": 0}  # fmt: skip
GOOD = {
    Path.HOST: {"client.tx_packets": 1000, "a.wire.tx_packets": 1000, "b.wire.tx_packets": 1000},
    Path.BRIDGE: {"a.bridge.port_rx_packets": 1000},
    Path.ROUTE: {"a.ip.forwarded": 2000, "b.ip.forwarded": 2000},
    Path.ROUTE_NFT: {"a.ip.forwarded": 2000, "b.ip.forwarded": 2000, "a.nft.translated": 1, "a.nft.established": 2000},
    Path.VXLAN: {"a.ip.forwarded": 2000, "b.ip.forwarded": 2000, "a.vxlan.tx_packets": 1000},
    Path.EBPF: {"a.bpf.peer": 1000, "a.bpf.neigh": 1000, "b.bpf.peer": 1000, "b.bpf.neigh": 1000},
}
GOOD[Path.NETKIT] = GOOD[Path.EBPF]


def judged(path, grown, place=Place.OTHER):
    return proof.prove(Variant(path), place, QUIET | grown, transactions=1000, payload_bytes=0, forward=False)[0]


@pytest.mark.parametrize("path", list(Path))
def test_a_path_that_counts_its_packets_is_proven(path):
    assert judged(path, GOOD[path]).held


@pytest.mark.parametrize("path", [path for path in Path if path is not Path.HOST])
@pytest.mark.parametrize("other", [Path.BRIDGE, Path.ROUTE, Path.EBPF])
def test_the_counters_of_another_path_prove_nothing(path, other):
    alike = {
        Path.ROUTE: {Path.ROUTE},
        Path.BRIDGE: {Path.BRIDGE},
        Path.EBPF: {Path.EBPF},
        Path.NETKIT: {Path.EBPF},
    }.get(path, set())
    assert judged(path, GOOD[other]).held == (other in alike)


@pytest.mark.parametrize("path", list(Path))
def test_no_packets_prove_nothing(path):
    found = judged(path, {})
    assert not found.held
    assert "; but " in found.claim


def test_packets_that_leak_into_the_nodes_stack_spoil_the_proof_of_ebpf():
    found = judged(Path.EBPF, GOOD[Path.EBPF] | {"a.ip.received": 500})
    assert not found.held
    assert "received packets" in found.claim


def test_packets_that_were_not_handed_over_by_redirect_peer_spoil_it_too():
    found = judged(Path.EBPF, GOOD[Path.EBPF] | {"a.pods.tx_packets": 1000})
    assert not found.held
    assert "redirect_peer" in found.claim


def test_big_tcp_is_proven_by_the_size_of_packets():
    variant = Variant(Path.EBPF, gso=196_608)
    grown = QUIET | GOOD[Path.EBPF] | {"client.tx_packets": 100, "client.tx_bytes": 17_000_000}
    assert [
        p.held for p in proof.prove(variant, Place.OTHER, grown, transactions=0, payload_bytes=10**7, forward=True)
    ] == [
        True,
        True,
    ]
    small = grown | {"client.tx_bytes": 3_000_000}
    proofs = proof.prove(variant, Place.OTHER, small, transactions=0, payload_bytes=10**7, forward=True)
    assert [p.held for p in proofs] == [True, False]


def test_growth_is_a_difference_but_for_the_largest_packet():
    assert proof.difference({"a.x": 3, "a.bpf.largest": 9}, {"a.x": 10, "a.bpf.largest": 9, "b.x": 2}) == {
        "a.x": 7,
        "a.bpf.largest": 9,
        "b.x": 2,
    }
