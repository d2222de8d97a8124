"""rtnetlink: links, addresses, routes, neighbours, queueing disciplines and tc filters of one namespace.

In: names, indices, addresses as text. Out: `Link` with its limits and counters. The functions that end in `_body`
are pure; `Rtnetlink` sends what they make.
"""

import socket
import struct
from dataclasses import dataclass
from enum import IntEnum

from kubedyno.kernel.netlink import (
    CREATE,
    EXCLUSIVE,
    REPLACE,
    NetlinkSocket,
    attribute,
    attributes_of,
    nested,
    text,
    u32,
)


class Message(IntEnum):
    """Message types."""

    NEWLINK, DELLINK, GETLINK, SETLINK, NEWADDR = 16, 17, 18, 19, 20
    NEWROUTE, NEWNEIGH, NEWQDISC, DELQDISC, NEWTFILTER = 24, 28, 36, 37, 44


class Ifla(IntEnum):
    """Attributes of a link, by their names in the kernel's headers."""

    ADDRESS, IFNAME, MTU, LINK, MASTER, LINKINFO, STATS64, NET_NS_FD = 1, 3, 4, 5, 10, 18, 23, 28
    GSO_MAX_SIZE, GRO_MAX_SIZE, TSO_MAX_SIZE, GSO_IPV4_MAX_SIZE, GRO_IPV4_MAX_SIZE = 41, 58, 59, 63, 64


_IFI = struct.Struct("=BxHiII")
_UP = 1
_INFO_KIND, _INFO_DATA, _PEER = 1, 2, 1
_PERMANENT, _NODAD = 0x80, 0x02
_TABLE_MAIN, _PROTOCOL_STATIC, _UNICAST = 254, 4, 1
_SCOPE_UNIVERSE, _SCOPE_LINK = 0, 253
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC = 1, 4, 5, 7
_TBF_PARMS, _TBF_RATE64, _TBF_BURST = 1, 4, 6
_LINKLAYER_ETHERNET = 1
# So long may a packet wait in a bucket's queue (as the CNI plugin bandwidth has it).
_BUCKET_S = 0.025
_CLSACT_PARENT, _CLSACT_INGRESS, _CLSACT_HANDLE = 0xFFFFFFF1, 0xFFFFFFF2, 0xFFFF0000
_ROOT, _ETH_P_ALL_BE = 0xFFFFFFFF, 0x0300
_BPF_FD, _BPF_NAME, _BPF_FLAGS, _BPF_DIRECT_ACTION = 6, 7, 8, 1
_NETKIT_PEER_INFO, _NETKIT_POLICY, _NETKIT_PEER_POLICY, _NETKIT_MODE = 1, 3, 4, 5
NETKIT_L2, NETKIT_L3 = 0, 1
_NETKIT_PASS = 0
LOOPBACK_INDEX = 1


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """What may be set on a link, at its creation or later. None leaves a value as it is; sizes are bytes."""

    mtu: int | None = None
    master: int | None = None
    gso_max_size: int | None = None
    gro_max_size: int | None = None
    gso_ipv4_max_size: int | None = None
    gro_ipv4_max_size: int | None = None

    def encoded(self) -> bytes:
        """Return the attributes; IPv6's sizes before IPv4's, which the kernel resets with them."""
        pairs = (
            (Ifla.MTU, self.mtu),
            (Ifla.MASTER, self.master),
            (Ifla.GSO_MAX_SIZE, self.gso_max_size),
            (Ifla.GRO_MAX_SIZE, self.gro_max_size),
            (Ifla.GSO_IPV4_MAX_SIZE, self.gso_ipv4_max_size),
            (Ifla.GRO_IPV4_MAX_SIZE, self.gro_ipv4_max_size),
        )
        return b"".join(attribute(kind, u32(value)) for kind, value in pairs if value is not None)


DEFAULT_SETTINGS = LinkSettings()


@dataclass(frozen=True, slots=True)
class Link:
    """One device. A size that this kernel does not know is 0."""

    index: int
    name: str
    kind: str
    mac: bytes
    mtu: int
    gso_max_size: int
    gro_max_size: int
    gso_ipv4_max_size: int
    gro_ipv4_max_size: int
    tso_max_size: int
    rx_packets: int
    tx_packets: int
    rx_bytes: int
    tx_bytes: int


def address_bytes(address: str) -> bytes:
    """Return an IPv4 or IPv6 address in network order."""
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def _family(address: bytes) -> int:
    return socket.AF_INET if len(address) == 4 else socket.AF_INET6


def link_body(
    name: str, kind: str, data: bytes = b"", settings: LinkSettings = DEFAULT_SETTINGS, *, up: bool = False
) -> bytes:
    """Return the body that creates a link of a kind; `data` are the kind's own attributes."""
    flags = _UP if up else 0
    information = attribute(_INFO_KIND, kind.encode()) + (nested(_INFO_DATA, data) if data else b"")
    return (
        _IFI.pack(0, 0, 0, flags, flags)
        + attribute(Ifla.IFNAME, text(name))
        + settings.encoded()
        + nested(Ifla.LINKINFO, information)
    )


def _peer_body(name: str, namespace: int | None, settings: LinkSettings) -> bytes:
    # IFF_UP for the peer is refused (ENOTCONN): it is set up afterwards, in its own namespace.
    where = b"" if namespace is None else attribute(Ifla.NET_NS_FD, u32(namespace))
    return _IFI.pack(0, 0, 0, 0, 0) + attribute(Ifla.IFNAME, text(name)) + settings.encoded() + where


def veth_body(name: str, peer: str, peer_namespace: int | None, settings: LinkSettings) -> bytes:
    """Return the body that creates both ends of a veth, the peer at once in its namespace, both with `settings`."""
    return link_body(name, "veth", attribute(_PEER, _peer_body(peer, peer_namespace, settings)), settings, up=True)


def netkit_body(name: str, peer: str, peer_namespace: int | None, settings: LinkSettings, mode: int) -> bytes:
    """Return the body that creates a netkit pair; packets pass where no program decides otherwise."""
    data = (
        attribute(_NETKIT_PEER_INFO, _peer_body(peer, peer_namespace, settings))
        + attribute(_NETKIT_POLICY, u32(_NETKIT_PASS))
        + attribute(_NETKIT_PEER_POLICY, u32(_NETKIT_PASS))
        + attribute(_NETKIT_MODE, u32(mode))
    )
    return link_body(name, "netkit", data, settings, up=True)


def vxlan_body(name: str, vni: int, local: str, remote: str, device: int, port: int, settings: LinkSettings) -> bytes:
    """Return the body that creates a point-to-point VXLAN without learning."""
    data = (
        attribute(1, u32(vni))
        + attribute(2, address_bytes(remote))
        + attribute(3, u32(device))
        + attribute(4, address_bytes(local))
        + attribute(7, b"\0")
        + attribute(15, struct.pack(">H", port))
    )
    return link_body(name, "vxlan", data, settings)


def set_link_body(index: int, settings: LinkSettings, *, up: bool | None = None) -> bytes:
    """Return the body that changes a link."""
    return _IFI.pack(0, 0, index, _UP if up else 0, 0 if up is None else _UP) + settings.encoded()


def address_body(index: int, cidr: str) -> bytes:
    """Return the body that gives a link an address, permanent and without duplicate detection."""
    host, _, length = cidr.partition("/")
    address = address_bytes(host)
    flags = b"" if len(address) == 4 else attribute(8, u32(_NODAD | _PERMANENT))
    head = struct.pack("=BBBBi", _family(address), int(length), 0, 0, index)
    return head + attribute(1, address) + attribute(2, address) + flags


def route_body(cidr: str, device: int, via: str | None = None, source: str | None = None) -> bytes:
    """Return the body that adds a route in the main table, through a gateway or on the link itself.

    Args:
        cidr: Of the destinations.
        device: Where to.
        via: Next hop.
        source: What packets of this host come from that name no address themselves.
    """
    host, _, length = cidr.partition("/")
    address = address_bytes(host)
    scope = _SCOPE_LINK if via is None and len(address) == 4 else _SCOPE_UNIVERSE
    family = _family(address)
    head = struct.pack("=BBBBBBBBI", family, int(length), 0, 0, _TABLE_MAIN, _PROTOCOL_STATIC, scope, _UNICAST, 0)
    return (
        head
        + (attribute(_RTA_DST, address) if int(length) else b"")
        + (attribute(_RTA_GATEWAY, address_bytes(via)) if via is not None else b"")
        + (attribute(_RTA_PREFSRC, address_bytes(source)) if source is not None else b"")
        + attribute(_RTA_OIF, u32(device))
    )


def neighbour_body(index: int, address: str, mac: bytes) -> bytes:
    """Return the body of a permanent neighbour."""
    raw = address_bytes(address)
    head = struct.pack("=BxxxiHBB", _family(raw), index, _PERMANENT, 0, 0)
    return head + attribute(1, raw) + attribute(2, mac)


def qdisc_body(index: int, kind: str) -> bytes:
    """Return the body that adds a queueing discipline: clsact at its own hook, another as root."""
    clsact = kind == "clsact"
    handle, parent = (_CLSACT_HANDLE, _CLSACT_PARENT) if clsact else (0x10000, _ROOT)
    return struct.pack("=BxxxiIII", 0, index, handle, parent, 0) + attribute(1, text(kind))


def bucket_body(index: int, bytes_s: int) -> bytes:
    """Return the body that adds a token bucket (tbf) as root: so many bytes a second, with a burst of 10 ms or 128 KiB."""
    burst = max(bytes_s // 100, 128 << 10)
    limit = int(bytes_s * _BUCKET_S) + burst
    small = min(bytes_s, 0xFFFFFFFF)
    # tc_ratespec: cell_log, linklayer, overhead, cell_align, mpu, rate; then peakrate, limit, buffer, mtu.
    parameters = struct.pack("=BBHhHI12xIII", 0, _LINKLAYER_ETHERNET, 0, 0, 0, small, limit, 0, 0)
    options = attribute(_TBF_PARMS, parameters) + attribute(_TBF_BURST, u32(burst))
    if bytes_s > small:
        options += attribute(_TBF_RATE64, struct.pack("=Q", bytes_s))
    head = struct.pack("=BxxxiIII", 0, index, 0x10000, _ROOT, 0)
    return head + attribute(1, text("tbf")) + nested(2, options)


def bpf_filter_body(index: int, program: int, name: str) -> bytes:
    """Return the body of a direct-action BPF filter at the clsact ingress hook, for every protocol."""
    options = (
        attribute(_BPF_FD, u32(program))
        + attribute(_BPF_NAME, text(name))
        + attribute(_BPF_FLAGS, u32(_BPF_DIRECT_ACTION))
    )
    head = struct.pack("=BxxxiIII", 0, index, 1, _CLSACT_INGRESS, (1 << 16) | _ETH_P_ALL_BE)
    return head + attribute(1, text("bpf")) + nested(2, options)


def link_of(body: bytes) -> Link:
    """Return the link that an RTM_NEWLINK body describes."""
    values = attributes_of(body[_IFI.size :])

    def number(kind: Ifla) -> int:
        return int.from_bytes(values[kind][:4], "little" if struct.pack("=H", 1)[0] else "big") if kind in values else 0

    counters = struct.unpack_from("=4Q", values[Ifla.STATS64]) if Ifla.STATS64 in values else (0, 0, 0, 0)
    information = attributes_of(values.get(Ifla.LINKINFO, b""))
    return Link(
        index=struct.unpack_from("=i", body, 4)[0],
        name=values[Ifla.IFNAME].rstrip(b"\0").decode(),
        kind=information.get(_INFO_KIND, b"").rstrip(b"\0").decode(),
        mac=values.get(Ifla.ADDRESS, b""),
        mtu=number(Ifla.MTU),
        gso_max_size=number(Ifla.GSO_MAX_SIZE),
        gro_max_size=number(Ifla.GRO_MAX_SIZE),
        gso_ipv4_max_size=number(Ifla.GSO_IPV4_MAX_SIZE),
        gro_ipv4_max_size=number(Ifla.GRO_IPV4_MAX_SIZE),
        tso_max_size=number(Ifla.TSO_MAX_SIZE),
        rx_packets=counters[0],
        tx_packets=counters[1],
        rx_bytes=counters[2],
        tx_bytes=counters[3],
    )


class Rtnetlink(NetlinkSocket):
    """The calling thread's namespace, for as long as this is open. Every call may raise NetlinkError."""

    def __init__(self) -> None:
        super().__init__(socket.NETLINK_ROUTE if hasattr(socket, "NETLINK_ROUTE") else 0)

    def create(self, body: bytes) -> None:
        """Create the link of a `*_body`."""
        self.call(Message.NEWLINK, CREATE | EXCLUSIVE, body)

    def set_link(self, index: int, settings: LinkSettings = DEFAULT_SETTINGS, *, up: bool | None = None) -> None:
        """Change a link's settings and state."""
        self.call(Message.NEWLINK, 0, set_link_body(index, settings, up=up))

    def set_address(self, index: int, mac: bytes) -> None:
        """Give a link a hardware address, to keep from then on."""
        self.call(Message.NEWLINK, 0, _IFI.pack(0, 0, index, 0, 0) + attribute(Ifla.ADDRESS, mac))

    def delete_link(self, index: int) -> None:
        """Delete a link; of a pair both ends go."""
        self.call(Message.DELLINK, 0, _IFI.pack(0, 0, index, 0, 0))

    def link(self, name: str) -> Link:
        """Return a link by name, with its counters of this moment."""
        return link_of(self.call(Message.GETLINK, 0, _IFI.pack(0, 0, 0, 0, 0) + attribute(Ifla.IFNAME, text(name)))[0])

    def add_address(self, index: int, cidr: str) -> None:
        """Give a link an address."""
        self.call(Message.NEWADDR, CREATE | EXCLUSIVE, address_body(index, cidr))

    def add_route(self, cidr: str, device: int, via: str | None = None, source: str | None = None) -> None:
        """Add a route; see `route_body`."""
        self.call(Message.NEWROUTE, CREATE | EXCLUSIVE, route_body(cidr, device, via, source))

    def replace_route(self, cidr: str, device: int, via: str | None = None, source: str | None = None) -> None:
        """Add a route in the place of the one to the same destinations, if there is one; see `route_body`."""
        self.call(Message.NEWROUTE, CREATE | REPLACE, route_body(cidr, device, via, source))

    def set_neighbour(self, index: int, address: str, mac: bytes) -> None:
        """Set a permanent neighbour, so that nothing has to be resolved."""
        self.call(Message.NEWNEIGH, CREATE | REPLACE, neighbour_body(index, address, mac))

    def add_qdisc(self, index: int, kind: str) -> None:
        """Add a queueing discipline."""
        self.call(Message.NEWQDISC, CREATE | EXCLUSIVE, qdisc_body(index, kind))

    def add_bucket(self, index: int, bytes_s: int) -> None:
        """Let a link send no more than so many bytes a second."""
        self.call(Message.NEWQDISC, CREATE | EXCLUSIVE, bucket_body(index, bytes_s))

    def delete_qdisc(self, index: int, kind: str) -> None:
        """Delete a queueing discipline with its filters."""
        self.call(Message.DELQDISC, 0, qdisc_body(index, kind))

    def add_bpf_filter(self, index: int, program: int, name: str) -> None:
        """Attach a program at the ingress of a link that has a clsact qdisc; it stays until link or filter goes."""
        self.call(Message.NEWTFILTER, CREATE | EXCLUSIVE, bpf_filter_body(index, program, name))
