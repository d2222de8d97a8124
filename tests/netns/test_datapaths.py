"""Each datapath carries real packets, and the kernel's counters prove which way they went."""

import shutil
import subprocess
from pathlib import Path as FilePath

import pytest

from kubedyno.datapath import measure, tests
from kubedyno.datapath.topology import Hook, Path, Place, Topology, Variant, reaches

TOOLS = measure.Tools(iperf3="", iperf3_version="", processor=None)
RR, STREAM = tests.TESTS["tcp-rr"], tests.TESTS["tcp"]


def run(topology, test=RR, place=Place.SAME, family=4, seconds=0.05, tools=TOOLS):
    return measure.run(topology, test, place, family, seconds, tools, 0)


@pytest.mark.parametrize("path", list(Path))
@pytest.mark.parametrize("mtu", [1500, 9000])
def test_a_datapath_is_proven_everywhere(path, mtu, needs):
    needs(path)
    with Topology(Variant(path, mtu)) as topology:
        for place in Place:
            for family in (4, 6):
                done = run(topology, place=place, family=family)
                assert not done.error
                assert [(proof.claim, proof.held) for proof in done.proofs if not proof.held] == []
                assert done.figures["count"] > 0
                law = done.figures["per_s"] * done.figures["mean_us"] / 1e6
                assert law == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("hook", list(Hook))
def test_detached_programs_fail_the_proof_though_packets_still_arrive(hook, needs):
    needs(Path.EBPF)
    with Topology(Variant(Path.EBPF, hook=hook), forwarding=True) as topology:
        assert run(topology, place=Place.OTHER).proofs[0].held
        topology.detach()
        done = run(topology, place=Place.OTHER)
        assert not done.error  # the nodes forward: only the counters tell
        assert not done.proofs[0].held
        assert "redirected too few packets" in done.proofs[0].claim


def test_without_forwarding_nothing_arrives_once_the_programs_are_gone(needs):
    needs(Path.EBPF)
    with Topology(Variant(Path.EBPF)) as topology:
        ends = topology.ends(Place.OTHER, 4)
        assert reaches(ends.client, ends.address)
        topology.detach()
        assert not reaches(ends.client, ends.address, timeout_s=0.2)


def test_a_bridge_is_no_route_and_a_route_no_bridge(needs):
    needs(Path.BRIDGE, Path.ROUTE)
    with Topology(Variant(Path.ROUTE)) as topology:
        forwarded = run(topology).proofs[0].counters["a.ip.forwarded"]
    with Topology(Variant(Path.BRIDGE)) as topology:
        assert run(topology).proofs[0].counters["a.ip.forwarded"] < forwarded / 100


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("size", [196_608, 524_280])
def test_big_tcp_sends_packets_above_64_kib(family, size, needs, features):
    needs(Path.EBPF)
    if not features[f"big_tcp_ipv{family}"].works:
        pytest.skip(features[f"big_tcp_ipv{family}"].why)
    with Topology(Variant(Path.EBPF, gso=size)) as topology:
        assert {pod["gso_max_size"] for pod in topology.gso_sizes().values()} == {size}
        assert {pod["gso_ipv4_max_size"] for pod in topology.gso_sizes().values()} == {size}
        done = run(topology, STREAM, Place.OTHER, family, 0.2)
    path, big = done.proofs
    assert path.held
    assert big.held
    assert big.counters["largest packet seen by eBPF (bytes)"] > 65_536
    assert done.figures["mean_packet_bytes"] > 65_536


def test_without_big_tcp_no_packet_is_above_64_kib(needs):
    needs(Path.EBPF)
    with Topology(Variant(Path.EBPF)) as topology:
        run(topology, STREAM, Place.OTHER, 4, 0.2)
        counters = topology.counters(Place.OTHER, 4)
    assert counters["a.bpf.big"] == 0
    assert 30_000 < counters["a.bpf.largest"] <= 65_550


def test_ipv6_big_tcp_is_too_big_for_the_kernels_forwarding(needs, features):
    needs(Path.ROUTE)
    if not features["big_tcp_ipv6"].works:
        pytest.skip(features["big_tcp_ipv6"].why)
    with Topology(Variant(Path.ROUTE, gso=196_608)) as topology:
        assert run(topology, STREAM, Place.OTHER, 6, 0.2).figures["ip_too_big"] > 0
        assert run(topology, STREAM, Place.OTHER, 4, 0.2).figures["ip_too_big"] == 0


@pytest.mark.parametrize("name", [name for name, test in tests.TESTS.items() if name != "tcp-30"])
def test_every_test_gives_figures_with_our_own_generator(name, needs, features):
    needs(Path.ROUTE)
    if name == "tcp-bbr" and not features["bbr"].works:
        pytest.skip(features["bbr"].why)
    with Topology(Variant(Path.ROUTE)) as topology:
        done = run(topology, tests.TESTS[name], Place.OTHER, seconds=0.1)
    assert not done.error
    assert done.proofs[0].held
    assert done.figures.get("bps", done.figures.get("p50_us")) > 0
    if name.startswith("udp") and not name.endswith("rr"):
        assert 0 <= done.figures["lost_percent"] <= 100
        assert done.figures["jitter_us"] >= 0


def test_thirty_streams_are_thirty(needs):
    needs(Path.ROUTE)
    with Topology(Variant(Path.ROUTE)) as topology:
        assert run(topology, tests.TESTS["tcp-30"], seconds=0.1).figures["bps"] > 0


@pytest.mark.skipif(shutil.which("iperf3") is None, reason="iperf3 is not installed")
@pytest.mark.parametrize("name", ["tcp", "tcp-bidir", "udp"])
def test_iperf3_gives_the_same_kinds_of_figures(name, needs):
    needs(Path.ROUTE)
    with Topology(Variant(Path.ROUTE)) as topology:
        done = run(topology, tests.TESTS[name], Place.OTHER, seconds=1, tools=measure.found_tools())
    assert not done.error
    assert done.proofs[0].held
    assert done.figures["bps"] > 1e6
    assert done.figures["cpu_s_per_gb"] > 0
    assert ("lost_percent" in done.figures) == (name == "udp")
    assert ("reverse_bps" in done.figures) == (name == "tcp-bidir")


def test_a_test_that_cannot_run_is_an_error_of_its_round_alone(needs):
    needs(Path.ROUTE)
    broken = measure.Tools(iperf3="", iperf3_version="", processor=None, congestion_control="nosuch")
    with Topology(Variant(Path.ROUTE)) as topology:
        done = run(topology, tools=broken)
        assert "No such file" in done.error
        assert (done.figures, done.proofs) == ({}, [])
        assert not run(topology).error


@pytest.mark.skipif(shutil.which("ip") is None, reason="iproute2 is not installed")
def test_iproute2_reads_what_we_set(needs):
    needs(Path.EBPF)
    with Topology(Variant(Path.EBPF, gso=196_608)) as topology:
        pod = topology.nodes[0].pods[0]
        with pod.space.inside():
            said = subprocess.run(
                ["ip", "-d", "address", "show", "eth0"], capture_output=True, text=True, check=True
            ).stdout
        with topology.nodes[0].space.inside():
            routes = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout
    assert "gso_max_size 196608" in said
    assert f"inet {pod.address4}/32" in said
    assert "veth" in said
    assert "10.244.2.0/24 via 192.168.77.2 dev wire proto static" in routes


@pytest.mark.skipif(shutil.which("nft") is None, reason="nft is not installed")
def test_nft_reads_the_rules_as_they_are_meant(needs):
    needs(Path.ROUTE_NFT)
    with Topology(Variant(Path.ROUTE_NFT)) as topology:
        run(topology)
        with topology.nodes[0].space.inside():
            said = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    assert "type nat hook prerouting priority dstnat; policy accept;" in said
    assert "ip daddr 10.96.0.20 counter packets" in said
    assert "dnat to 10.244.1.2" in said
    assert "dnat to fd00:244:1::2" in said
    assert "type filter hook forward priority filter; policy drop;" in said
    assert "ct state established,related counter packets" in said


def _devices() -> set[str]:
    lines = FilePath("/proc/net/dev").read_text().splitlines()[2:]
    return {line.partition(":")[0].strip() for line in lines}


def test_no_namespace_has_a_device_of_the_machine():
    before = _devices()
    with Topology(Variant(Path.ROUTE)) as topology:
        assert _devices() == before
        for node in topology.nodes:
            for space in (node.space, *(pod.space for pod in node.pods)):
                names = {line.partition(":")[0].strip() for line in space.proc_net("dev").splitlines()[2:]}
                assert names <= {"lo", "wire", "eth0", "pod1", "pod2"}
    assert _devices() == before
