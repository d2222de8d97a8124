"""Two nodes with pods as network namespaces, joined by a wire, on one of the datapaths.

In: a `Variant`. Out: a `Topology` that says where a client and a server stand and what the kernel counted on the way.
Pods a1 and a2 are on node a, b1 on node b; every device has its neighbours set, so nothing is resolved while measuring.
"""

import errno
import socket
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.base.errors import KubedynoError
from kubedyno.datapath import services
from kubedyno.kernel import hostrouting, rtnetlink
from kubedyno.kernel.bpf import Attachment, AttachType, Program
from kubedyno.kernel.hostrouting import Maps, Slot
from kubedyno.kernel.netns import Namespace
from kubedyno.kernel.rtnetlink import LOOPBACK_INDEX, Link, LinkSettings, Rtnetlink

DEFAULT_GSO_BYTES = 65_536
VXLAN_OVERHEAD_BYTES = 50
VXLAN_PORT, VXLAN_VNI = 8472, 7
# Where clients' ports begin: above every port a server of ours listens on.
FIRST_CLIENT_PORT = 20_000
READY_TIMEOUT_S = 5.0
_REFUSED_PORT = 9
_CONNECT_TIMEOUT_S = 0.3


class Path(StrEnum):
    """The datapaths."""

    HOST = "host"
    BRIDGE = "bridge"
    ROUTE = "route"
    ROUTE_NFT = "route-nft"
    VXLAN = "vxlan"
    EBPF = "ebpf"
    NETKIT = "netkit"


class Place(StrEnum):
    """Where the server is, seen from the client."""

    SAME = "same-node"
    OTHER = "other-node"


class Hook(StrEnum):
    """How a classifier program is attached."""

    TCX = "tcx"
    CLSACT = "clsact"


@dataclass(frozen=True, slots=True)
class Variant:
    """A datapath with its sizes. `gso` (bytes) is the largest packet the stack builds, 65536 without BIG TCP."""

    path: Path
    mtu: int = 1500
    gso: int = DEFAULT_GSO_BYTES
    hook: Hook = Hook.TCX

    @property
    def name(self) -> str:
        """E.g. "ebpf", "ebpf mtu9000 big-tcp-192k"."""
        mtu = f" mtu{self.mtu}" if self.mtu != 1500 else ""
        big = f" big-tcp-{self.gso // 1024 if self.gso < 524_280 else 512}k" if self.gso > DEFAULT_GSO_BYTES else ""
        hook = f" {self.hook}" if self.hook is not Hook.TCX and self.path in {Path.EBPF, Path.NETKIT} else ""
        return f"{self.path}{mtu}{big}{hook}"


@dataclass(frozen=True, slots=True)
class Ends:
    """Where a test runs: the client's and the server's namespace, the server's address, the address to connect to."""

    client: Namespace
    server: Namespace
    listen: str
    address: str
    client_device: str


@dataclass(slots=True)
class Pod:
    """A pod: its namespace and addresses, and the device that its node sees."""

    space: Namespace
    address4: str
    address6: str
    inner: Link
    host: Link

    def address(self, family: int) -> str:
        """Return the address of family 4 or 6."""
        return self.address4 if family == 4 else self.address6


@dataclass(slots=True)
class Node:
    """A node: a namespace with a wire to the other one, and pods."""

    number: int
    name: str
    space: Namespace
    wire: Link
    bridge: int | None = None
    pods: list[Pod] = field(default_factory=list)
    maps: Maps | None = None
    attachments: list[Attachment] = field(default_factory=list)
    filtered: list[int] = field(default_factory=list)

    @property
    def address4(self) -> str:
        """On the wire."""
        return f"192.168.77.{self.number}"

    @property
    def address6(self) -> str:
        """On the wire."""
        return f"fd00:77::{self.number}"

    @property
    def cidr4(self) -> str:
        """The node's pods."""
        return f"10.244.{self.number}.0/24"

    @property
    def cidr6(self) -> str:
        """The node's pods."""
        return f"fd00:244:{self.number}::/64"

    @property
    def gateway4(self) -> str:
        """The pods' next hop."""
        return f"10.244.{self.number}.254"

    @property
    def gateway6(self) -> str:
        """The pods' next hop."""
        return f"fd00:244:{self.number}::fffe"


def _settings(variant: Variant) -> LinkSettings:
    if variant.gso <= DEFAULT_GSO_BYTES:
        return LinkSettings(mtu=variant.mtu)
    size = variant.gso
    return LinkSettings(variant.mtu, None, size, size, size, size)


def _without_mtu(settings: LinkSettings) -> LinkSettings:
    return LinkSettings(
        gso_max_size=settings.gso_max_size,
        gro_max_size=settings.gro_max_size,
        gso_ipv4_max_size=settings.gso_ipv4_max_size,
        gro_ipv4_max_size=settings.gro_ipv4_max_size,
    )


class Topology:
    """Nodes and pods of one variant. Use as a context manager, or `close` it; the kernel does it after kill -9.

    Args:
        variant: What to build.
        forwarding: Whether the nodes' stacks forward; None as the datapath needs it.
        families: 4, 6 or both; a kernel without IPv6 has no addresses to give.

    Raises:
        OSError: The kernel refuses a part; NetlinkError and BpfError carry its words.
        KubedynoError: A pod is not reached although all was set up.
    """

    def __init__(self, variant: Variant, *, forwarding: bool | None = None, families: tuple[int, ...] = (4, 6)) -> None:
        self.variant = variant
        self.families = families
        self._stack = ExitStack()
        self._program: Program | None = None
        self._settings = _settings(variant)
        needs = variant.path in {Path.ROUTE, Path.ROUTE_NFT, Path.VXLAN}
        self._forwarding = needs if forwarding is None else forwarding
        try:
            self._build()
            self._wait_until_reachable()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Detach programs, close maps and namespaces."""
        self.detach()
        self._stack.close()

    def detach(self) -> None:
        """Take the eBPF programs off the devices; packets then go wherever the node's stack sends them."""
        for node in getattr(self, "nodes", ()):
            for one in node.attachments:
                one.close()
            node.attachments.clear()
            for index in node.filtered:
                node.space.rtnetlink.delete_qdisc(index, "clsact")
            node.filtered.clear()

    # --- building ------------------------------------------------------------------------------------------

    def _namespace(self) -> Namespace:
        space = Namespace()
        self._stack.callback(space.close)
        space.set_sysctl("ipv4/ip_local_port_range", f"{FIRST_CLIENT_PORT} 65535")
        # Connect-and-close tests run out of ports within seconds otherwise.
        space.set_sysctl("ipv4/tcp_tw_reuse", 1)
        if 6 in self.families:
            space.set_sysctl("ipv6/conf/default/dad_transmits", 0)
        for which in ("all", "default"):
            space.set_sysctl(f"ipv4/conf/{which}/rp_filter", 0)
        space.rtnetlink.set_link(LOOPBACK_INDEX, _without_mtu(self._settings), up=True)
        return space

    def _wants(self, address: str) -> bool:
        return (6 if ":" in address else 4) in self.families

    def _address(self, netlink: Rtnetlink, index: int, cidr: str) -> None:
        if self._wants(cidr):
            netlink.add_address(index, cidr)

    def _route(self, netlink: Rtnetlink, cidr: str, device: int, via: str | None = None) -> None:
        if self._wants(cidr):
            netlink.add_route(cidr, device, via)

    def _neighbour(self, netlink: Rtnetlink, index: int, address: str, mac: bytes) -> None:
        if self._wants(address):
            netlink.set_neighbour(index, address, mac)

    def _build(self) -> None:
        first, second = self._namespace(), self._namespace()
        first.rtnetlink.create(rtnetlink.veth_body("wire", "wire", second.descriptor, self._settings))
        self.nodes = [
            Node(number, name, space, space.rtnetlink.link("wire"))
            for number, name, space in ((1, "a", first), (2, "b", second))
        ]
        a, b = self.nodes
        for node, other in ((a, b), (b, a)):
            self._build_node(node, other)
        for node, number in ((a, 1), (a, 2), (b, 1)):
            self._build_pod(node, number)
        for node, other in ((a, b), (b, a)):
            self._connect(node, other)
        self._introduce()
        if self.variant.path in {Path.EBPF, Path.NETKIT}:
            for node, other in ((a, b), (b, a)):
                self._attach(node, other)
        if self.variant.path is Path.ROUTE_NFT:
            for node in (a, b):
                targets = {services.SAME_NODE: a.pods[1], services.OTHER_NODE: b.pods[0]}
                for family in self.families:
                    services.install(
                        node.space.nftables, family, {number: pod.address(family) for number, pod in targets.items()}
                    )

    def _build_node(self, node: Node, other: Node) -> None:
        space, netlink = node.space, node.space.rtnetlink
        netlink.set_link(node.wire.index, up=True)
        space.set_sysctl("ipv4/ip_forward", int(self._forwarding))
        if 6 in self.families:
            space.set_sysctl("ipv6/conf/all/forwarding", int(self._forwarding))
        if self.variant.path is Path.BRIDGE:
            netlink.create(rtnetlink.link_body("br0", "bridge"))
            node.bridge = netlink.link("br0").index
            netlink.set_link(node.wire.index, LinkSettings(master=node.bridge))
            # Only now: a bridge without a port refuses more than 64 KiB.
            netlink.set_link(node.bridge, _without_mtu(self._settings), up=True)
            return
        self._address(netlink, node.wire.index, f"{node.address4}/24")
        self._address(netlink, node.wire.index, f"{node.address6}/64")
        self._address(netlink, LOOPBACK_INDEX, f"{node.gateway4}/32")
        self._address(netlink, LOOPBACK_INDEX, f"{node.gateway6}/128")
        self._neighbour(netlink, node.wire.index, other.address4, other.wire.mac)
        self._neighbour(netlink, node.wire.index, other.address6, other.wire.mac)

    def _build_pod(self, node: Node, number: int) -> None:
        space, netlink = self._namespace(), node.space.rtnetlink
        settings = self._settings
        if self.variant.path is Path.VXLAN:
            settings = LinkSettings(
                self.variant.mtu - VXLAN_OVERHEAD_BYTES,
                None,
                settings.gso_max_size,
                settings.gro_max_size,
                settings.gso_ipv4_max_size,
                settings.gro_ipv4_max_size,
            )
        name = f"pod{number}"
        if self.variant.path is Path.NETKIT:
            netlink.create(rtnetlink.netkit_body(name, "eth0", space.descriptor, settings, rtnetlink.NETKIT_L3))
        else:
            netlink.create(rtnetlink.veth_body(name, "eth0", space.descriptor, settings))
        inner = space.rtnetlink.link("eth0")
        space.rtnetlink.set_link(inner.index, up=True)
        pod = Pod(
            space, f"10.244.{node.number}.{number}", f"fd00:244:{node.number}::{number}", inner, netlink.link(name)
        )
        node.pods.append(pod)
        if node.bridge is not None:
            # One segment over both nodes.
            self._address(space.rtnetlink, inner.index, f"{pod.address4}/16")
            self._address(space.rtnetlink, inner.index, f"{pod.address6}/32")
            netlink.set_link(pod.host.index, LinkSettings(master=node.bridge))
            return
        self._address(space.rtnetlink, inner.index, f"{pod.address4}/32")
        self._address(space.rtnetlink, inner.index, f"{pod.address6}/128")
        for gateway, length, everything in ((node.gateway4, 32, "0.0.0.0/0"), (node.gateway6, 128, "::/0")):
            self._route(space.rtnetlink, f"{gateway}/{length}", inner.index)
            self._neighbour(space.rtnetlink, inner.index, gateway, pod.host.mac)
            self._route(space.rtnetlink, everything, inner.index, gateway)
        for address, length in ((pod.address4, 32), (pod.address6, 128)):
            self._route(netlink, f"{address}/{length}", pod.host.index)
            self._neighbour(netlink, pod.host.index, address, inner.mac)

    def _connect(self, node: Node, other: Node) -> None:
        path, netlink = self.variant.path, node.space.rtnetlink
        if path in {Path.ROUTE, Path.ROUTE_NFT, Path.EBPF, Path.NETKIT}:
            self._route(netlink, other.cidr4, node.wire.index, other.address4)
            self._route(netlink, other.cidr6, node.wire.index, other.address6)
        elif path is Path.VXLAN:
            mtu = LinkSettings(mtu=self.variant.mtu - VXLAN_OVERHEAD_BYTES)
            netlink.create(
                rtnetlink.vxlan_body("vx0", VXLAN_VNI, node.address4, other.address4, node.wire.index, VXLAN_PORT, mtu)
            )
            tunnel = netlink.link("vx0").index
            # At its creation a tunnel refuses more than 64 KiB.
            netlink.set_link(tunnel, _without_mtu(self._settings), up=True)
            self._address(netlink, tunnel, f"10.255.0.{node.number}/24")
            self._address(netlink, tunnel, f"fd00:255::{node.number}/64")
            self._route(netlink, other.cidr4, tunnel, f"10.255.0.{other.number}")
            self._route(netlink, other.cidr6, tunnel, f"fd00:255::{other.number}")

    def _introduce(self) -> None:
        """Set the neighbours that only exist once both nodes do; resolving them would take up to a second."""
        pods = [pod for node in self.nodes for pod in node.pods]
        if self.variant.path is Path.BRIDGE:
            for pod in pods:
                for other in pods:
                    if other is not pod:
                        self._neighbour(pod.space.rtnetlink, pod.inner.index, other.address4, other.inner.mac)
                        self._neighbour(pod.space.rtnetlink, pod.inner.index, other.address6, other.inner.mac)
        elif self.variant.path is Path.VXLAN:
            a, b = ((node, node.space.rtnetlink.link("vx0")) for node in self.nodes)
            for (node, tunnel), (remote, far) in ((a, b), (b, a)):
                self._neighbour(node.space.rtnetlink, tunnel.index, f"10.255.0.{remote.number}", far.mac)
                self._neighbour(node.space.rtnetlink, tunnel.index, f"fd00:255::{remote.number}", far.mac)

    def _attach(self, node: Node, other: Node) -> None:
        node.maps = Maps.made()
        self._stack.callback(node.maps.close)
        for pod in node.pods:
            for address in (pod.address4, pod.address6):
                node.maps.add_pod(address, pod.host.index, pod.inner.mac, pod.host.mac)
        node.maps.add_range(other.cidr4, node.wire.index)
        node.maps.add_range(other.cidr6, node.wire.index)
        program = hostrouting.loaded(node.maps)
        self._stack.callback(program.close)
        netkit = self.variant.path is Path.NETKIT
        pods_at = AttachType.NETKIT_PEER if netkit else AttachType.TCX_INGRESS
        targets = [(pod.host.index, pods_at) for pod in node.pods] + [(node.wire.index, AttachType.TCX_INGRESS)]
        for index, where in targets:
            if self.variant.hook is Hook.CLSACT and where is AttachType.TCX_INGRESS:
                node.space.rtnetlink.add_qdisc(index, "clsact")
                node.space.rtnetlink.add_bpf_filter(index, program.descriptor, "host_routing")
                node.filtered.append(index)
                continue
            with node.space.inside():
                node.attachments.append(Attachment(program, index, where))

    # --- using ---------------------------------------------------------------------------------------------

    def ends(self, place: Place, family: int) -> Ends:
        """Return where a test between two pods runs (for `host`: in the nodes themselves)."""
        a, b = self.nodes
        same = place is Place.SAME
        if self.variant.path is Path.HOST:
            node = a if same else b
            address = node.address4 if family == 4 else node.address6
            return Ends(a.space, node.space, address, address, "lo" if same else "wire")
        server = a.pods[1] if same else b.pods[0]
        address = server.address(family)
        target = address
        if self.variant.path is Path.ROUTE_NFT:
            target = services.address(services.SAME_NODE if same else services.OTHER_NODE, family)
        return Ends(a.pods[0].space, server.space, address, target, "eth0")

    def _wait_until_reachable(self) -> None:
        end_s = SYSTEM_CLOCK.monotonic() + READY_TIMEOUT_S
        for place in Place:
            for family in self.families:
                ends = self.ends(place, family)
                while not reaches(ends.client, ends.address):
                    if SYSTEM_CLOCK.monotonic() > end_s:
                        raise KubedynoError(
                            f"datapath {self.variant.name}: {ends.address} ({place}) is not reached within "
                            f"{READY_TIMEOUT_S:g} s of setting it up; a packet filter of the kernel's own may drop it"
                        )

    def gso_sizes(self) -> dict[str, dict[str, int]]:
        """Return each pod's limits in bytes, as its own device has them now."""
        found = {}
        for node in self.nodes:
            for number, pod in enumerate(node.pods, 1):
                link = pod.space.rtnetlink.link("eth0")
                found[f"{node.name}{number}"] = {
                    "gso_max_size": link.gso_max_size,
                    "gro_max_size": link.gro_max_size,
                    "gso_ipv4_max_size": link.gso_ipv4_max_size,
                    "gro_ipv4_max_size": link.gro_ipv4_max_size,
                    "tso_max_size": link.tso_max_size,
                }
        return found

    def counters(self, place: Place, family: int) -> dict[str, int]:
        """Return what the kernel has counted so far, by name: `<node>.<layer>.<what>`, all sums but `largest`."""
        found: dict[str, int] = {}
        for node in self.nodes:
            prefix = node.name
            found |= {f"{prefix}.{name}": value for name, value in stack_counters(node.space, family).items()}
            wire = node.space.rtnetlink.link("wire")
            found[f"{prefix}.wire.tx_packets"], found[f"{prefix}.wire.tx_bytes"] = wire.tx_packets, wire.tx_bytes
            if node.bridge is not None:
                ports = [node.space.rtnetlink.link(pod.host.name) for pod in node.pods]
                found[f"{prefix}.bridge.port_rx_packets"] = sum(port.rx_packets for port in ports)
                found[f"{prefix}.bridge.port_tx_packets"] = sum(port.tx_packets for port in ports)
            if self.variant.path is Path.VXLAN:
                found[f"{prefix}.vxlan.tx_packets"] = node.space.rtnetlink.link("vx0").tx_packets
            if node.maps is not None:
                counted = node.maps.counted()
                # A packet that is handed to the pod by redirect_peer never leaves through the host's end.
                ports = [node.space.rtnetlink.link(pod.host.name) for pod in node.pods]
                found[f"{prefix}.pods.tx_packets"] = sum(port.tx_packets for port in ports)
                found |= {f"{prefix}.bpf.{slot.name.lower()}": counted[slot] for slot in Slot}
            if self.variant.path is Path.ROUTE_NFT:
                counts = services.counts(node.space.nftables, family)
                found |= {f"{prefix}.nft.{name}": value for name, value in counts.items()}
        ends = self.ends(place, family)
        device = ends.client.rtnetlink.link(ends.client_device)
        found["client.tx_packets"], found["client.tx_bytes"] = device.tx_packets, device.tx_bytes
        found["client.retransmits"] = _table(ends.client, "snmp", "Tcp").get("RetransSegs", 0)
        return found


def stack_counters(space: Namespace, family: int) -> dict[str, int]:
    """Return what a namespace's IP stack received, forwarded and found too big."""
    if family == 4:
        table = _table(space, "snmp", "Ip")
        return {
            "ip.received": table["InReceives"],
            "ip.forwarded": table["ForwDatagrams"],
            "ip.too_big": table["FragFails"],
        }
    lines = dict(line.split() for line in space.proc_net("snmp6").splitlines())
    return {
        "ip.received": int(lines["Ip6InReceives"]),
        "ip.forwarded": int(lines["Ip6OutForwDatagrams"]),
        "ip.too_big": int(lines["Ip6InTooBigErrors"]),
    }


def _table(space: Namespace, name: str, prefix: str) -> dict[str, int]:
    rows = [line.split() for line in space.proc_net(name).splitlines() if line.startswith(f"{prefix}:")]
    return dict(zip(rows[0][1:], map(int, rows[1][1:]), strict=True))


def reaches(space: Namespace, address: str, *, timeout_s: float = _CONNECT_TIMEOUT_S) -> bool:
    """Say whether a connection from a namespace is refused by its target: the way there and back works."""
    with space.inside():
        attempt = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    with attempt:
        attempt.settimeout(timeout_s)
        try:
            attempt.connect((address, _REFUSED_PORT))
        except ConnectionRefusedError:
            return True
        except OSError as error:
            if error.errno not in {None, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL}:
                raise
            return False
    return False
