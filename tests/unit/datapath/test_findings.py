"""Each rule is given rows that it must speak of, and rows of which it must be silent."""

import pytest

from kubedyno.datapath.findings import Seen, findings_of, missing_of
from kubedyno.datapath.topology import Path
from kubedyno.documents.net import Proof, Round, Row
from kubedyno.kernel.probe import Feature, Features

NAMES = (
    "veth", "bridge", "vxlan", "netkit", "bpf", "redirect_peer", "redirect_neigh", "tcx", "clsact", "fq", "nftables",
    "big_tcp_ipv6", "big_tcp_ipv4", "ipv6", "bbr",
)  # fmt: skip
ALL = Features("6.18", root=True, found={name: Feature(works=True) for name in NAMES})


def without(**why: str) -> Features:
    return Features(
        "6.18", root=True, found=ALL.found | {name: Feature(works=False, why=text) for name, text in why.items()}
    )


def row(path="ebpf", test="tcp-rr", family=4, gso=65536, place="other-node", held=True, **figures: list[float]) -> Row:
    count = len(next(iter(figures.values())))
    rounds = [
        Round(i, {name: values[i] for name, values in figures.items()}, [Proof("path", held, {})]) for i in range(count)
    ]
    medians = {name: sorted(values)[count // 2] for name, values in figures.items()}
    return Row("u", "t", path, path, place, family, 1500, gso, test, "kubedyno", "", rounds, medians, {})


def titles(*rows: Row, features: Features = ALL, congestion_control: str = "cubic") -> list[str]:
    return [finding.title for finding in findings_of(Seen(rows, features, congestion_control))]


def test_the_gain_of_ebpf_is_told_when_the_rounds_agree():
    found = titles(row("ebpf", p50_us=[8.0] * 6), row("route", p50_us=[10.0] * 6))
    assert found[0].startswith("eBPF host routing against kernel routing, other-node, IPv4, tcp-rr: 20 % less")


def test_what_the_rounds_disagree_on_is_not_resolved():
    found = titles(row("ebpf", p50_us=[8.0, 12, 9, 11, 8, 12]), row("route", p50_us=[10.0] * 6))
    assert "not resolved" in found[0]


def test_a_collapse_of_big_tcp_is_told_with_its_counters():
    rows = [
        row("route", "tcp", 6, bps=[50e9] * 5, ip_too_big=[0.0] * 5),
        row("route", "tcp", 6, gso=196_608, bps=[3e9] * 5, ip_too_big=[70.0] * 5, retransmits=[3000.0] * 5),
    ]
    finding = findings_of(Seen(rows, ALL, "cubic"))[0]
    assert finding.title.startswith("IPv6 BIG TCP (196608 bytes) collapses on route")
    assert "3000 retransmits; too big for the nodes: 70 (Ip6InTooBigErrors)" in finding.evidence
    assert "eBPF host routing" in finding.remedy[0]


def test_the_gain_of_big_tcp_is_told_too():
    rows = [row("ebpf", "tcp", bps=[50e9] * 5), row("ebpf", "tcp", gso=196_608, bps=[80e9] * 5)]
    assert "BIG TCP (196608 bytes) on ebpf, other-node, IPv4: x1.60" in titles(*rows)[0]


def test_a_row_whose_packets_went_elsewhere_is_the_first_finding():
    found = titles(row("ebpf", p50_us=[8.0] * 6, held=False), row("route", p50_us=[10.0] * 6))
    assert found[0].startswith("ebpf, other-node, IPv4, tcp-rr: the packets did not take this path in 6 of 6 rounds")


@pytest.mark.parametrize(("rate", "holds"), [(100_000.0, True), (50_000.0, False)])
def test_the_law_of_rate_and_mean(rate, holds):
    found = titles(row("host", p50_us=[10.0], mean_us=[10.0], per_s=[rate]))
    assert any("holds in all 1" in title for title in found) == holds
    assert any("is broken in 1 of 1" in title for title in found) != holds


def test_bbr_without_fq_is_compared_with_cubic():
    rows = [row("host", "tcp", bps=[60e9] * 5), row("host", "tcp-bbr", bps=[18e9] * 5)]
    found = titles(*rows, features=without(fq="ENOENT"), congestion_control="bbr")
    assert found[-2] == "bbr without the fq queueing discipline, host, other-node, IPv4: x0.30 of cubic's throughput"
    assert "default congestion control is bbr" in found[-1]
    assert not any("bbr" in title for title in titles(*rows, congestion_control="bbr"))


def test_netkit_is_missing_with_the_kernels_and_ciliums_words():
    missing = missing_of(without(netkit="ENOTSUP: Unknown device type"), list(Path))
    assert list(missing) == [Path.NETKIT]
    assert missing[Path.NETKIT].why == [
        "netkit: ENOTSUP: Unknown device type",
        'this kernel is 6.18; Cilium says on such a node: "netkit devices need kernel 6.7.0 or newer and CONFIG_NETKIT"',
    ]


def test_clsact_is_enough_where_tcx_is_missing():
    assert not missing_of(without(tcx="EINVAL"), [Path.EBPF])
    assert missing_of(without(tcx="EINVAL", clsact="ENOENT"), [Path.EBPF])
    assert missing_of(without(redirect_peer="unknown func"), [Path.EBPF, Path.ROUTE])[Path.EBPF].why == [
        "redirect_peer: unknown func"
    ]
