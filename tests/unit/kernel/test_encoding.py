"""Netlink, rtnetlink and nftables messages against bytes that were checked field by field, and accepted by Linux 6.18."""

import struct

import pytest

from kubedyno.kernel import netlink, nftables, rtnetlink
from kubedyno.kernel.netlink import attribute, attribute_list, attributes_of, nested
from kubedyno.kernel.rtnetlink import LinkSettings

pytestmark = pytest.mark.skipif(struct.pack("=H", 1) != b"\1\0", reason="golden bytes of a little-endian machine")


def hexed(text: str) -> bytes:
    return bytes.fromhex(text.replace(" ", ""))


def test_an_attribute_is_padded_to_four_bytes():
    assert attribute(3, b"lo\0") == hexed("0700 0300 6c6f00 00")
    assert attribute(1, b"") == hexed("0400 0100")


def test_a_message_has_its_length_and_its_padding():
    assert netlink.message(16, 0x605, 7, b"abc") == hexed("13000000 1000 0506 07000000 00000000 616263 00")


@pytest.mark.parametrize("cut", range(12))
def test_cut_attributes_never_raise(cut):
    whole = attribute(1, b"abcd") + attribute(2, b"ef")
    found = attributes_of(whole[:cut])
    assert all(found[kind] == {1: b"abcd", 2: b"ef"}[kind] for kind in found)


def test_repeated_attributes_stay_in_order():
    assert attribute_list(attribute(1, b"aaaa") + attribute(1, b"bbbb")) == [(1, b"aaaa"), (1, b"bbbb")]


def test_the_kernels_own_sentence_is_the_error():
    text = netlink.error_of(95, {1: b"Unknown device type\0"}).strerror
    assert text == "ENOTSUP: Unknown device type"
    assert netlink.error_of(1, {}).strerror == "EPERM: Operation not permitted"


def test_a_veth_carries_its_peer_and_both_ends_limits():
    body = rtnetlink.veth_body("v0", "v1", 9, LinkSettings(mtu=9000, gso_max_size=196608))
    assert body == hexed(
        "00 00 0000 00000000 01000000 01000000"  # up
        "0700 0300 763000 00"  # IFLA_IFNAME v0
        "0800 0400 28230000 0800 2900 00000300"  # mtu, gso_max_size
        "4400 1280"  # IFLA_LINKINFO
        "0800 0100 76657468"  # kind veth
        "3800 0280 3400 0100"  # data, VETH_INFO_PEER
        "00 00 0000 00000000 00000000 00000000"
        "0700 0300 763100 00 0800 0400 28230000 0800 2900 00000300"
        "0800 1c00 09000000"  # IFLA_NET_NS_FD
    )


def test_a_netkit_pair_has_mode_policies_and_peer():
    body = rtnetlink.netkit_body("n0", "eth0", 9, LinkSettings(), rtnetlink.NETKIT_L3)
    information = attributes_of(attributes_of(body[16:])[rtnetlink.Ifla.LINKINFO])
    data = attributes_of(information[2])
    assert information[1] == b"netkit"
    assert {kind: value for kind, value in data.items() if kind != 1} == {
        3: b"\0\0\0\0",  # policy: pass
        4: b"\0\0\0\0",  # the peer's
        5: b"\1\0\0\0",  # L3
    }
    assert attributes_of(data[1][16:])[rtnetlink.Ifla.IFNAME] == b"eth0\0"


def test_ipv6_limits_come_before_those_of_ipv4_which_they_reset():
    settings = LinkSettings(gso_ipv4_max_size=1, gro_ipv4_max_size=1, gso_max_size=2, gro_max_size=2)
    assert [kind for kind, _ in attribute_list(settings.encoded())] == [41, 58, 63, 64]


def test_addresses_routes_and_neighbours():
    assert rtnetlink.address_body(5, "10.0.0.1/32") == hexed(
        "02 20 00 00 05000000 0800 0100 0a000001 0800 0200 0a000001"
    )
    assert rtnetlink.route_body("0.0.0.0/0", 3, "10.0.0.9") == hexed(
        "02 00 00 00 fe 04 00 01 00000000 0800 0500 0a000009 0800 0400 03000000"
    )
    assert rtnetlink.route_body("10.0.0.9/32", 3) == hexed(
        "02 20 00 00 fe 04 fd 01 00000000 0800 0100 0a000009 0800 0400 03000000"
    )
    assert rtnetlink.neighbour_body(3, "10.0.0.9", b"\2\0\0\0\0\1") == hexed(
        "02000000 03000000 8000 00 00 0800 0100 0a000009 0a00 0200 020000000001 0000"
    )


def test_a_direct_action_filter_sits_at_the_clsact_ingress():
    assert rtnetlink.bpf_filter_body(4, 11, "p") == hexed(
        "00000000 04000000 01000000 f2ffffff 00030100"
        "0800 0100 62706600"  # kind bpf
        "1c00 0280 0800 0600 0b000000 0600 0700 7000 0000 0800 0800 01000000"  # program, name, direct action
    )


def test_a_link_is_read_back():
    body = (
        struct.pack("=BxHiII", 0, 1, 7, 1, 0)
        + attribute(3, b"eth0\0")
        + attribute(4, struct.pack("=I", 1500))
        + attribute(63, struct.pack("=I", 196608))
        + attribute(23, struct.pack("=4Q", 1, 2, 3, 4) + bytes(160))
        + nested(18, attribute(1, b"veth\0"))
    )
    link = rtnetlink.link_of(body)
    assert (link.index, link.name, link.kind, link.mtu, link.gso_ipv4_max_size) == (7, "eth0", "veth", 1500, 196608)
    assert (link.rx_packets, link.tx_packets, link.rx_bytes, link.tx_bytes) == (1, 2, 3, 4)
    assert link.gso_max_size == 0  # not said: unknown to this kernel


def test_rules_of_the_packet_filter():
    assert b"".join(nftables.counter()) == hexed(
        "2c00 0180 0c00 0100 636f756e74657200 1c00 0280 0c00 0100 0000000000000000 0c00 0200 0000000000000000"
    )
    accept = nftables.verdict(nftables.Verdict.ACCEPT)[0]
    assert accept == hexed(
        "3000 0180 0e00 0100 696d6d65646961746500 0000"
        "1c00 0280 0800 0100 00000000 1000 0280 0c00 0280 0800 0100 00000001"
    )


def test_a_rules_count_is_read_back():
    expressions = [*nftables.destination("10.0.0.1"), nftables.expression(
        "counter", attribute(1, (500).to_bytes(8, "big")), attribute(2, (3).to_bytes(8, "big"))
    )]  # fmt: skip
    body = nftables.rule_body(nftables.Family.IPV4, "t", "c", expressions)
    assert nftables.count_of(body) == nftables.Count(packets=3, bytes=500)
    assert nftables.count_of(nftables.rule_body(nftables.Family.IPV4, "t", "c", nftables.destination("::1"))) is None
