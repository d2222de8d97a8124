"""The network of real pods: nodes and pods as namespaces, joined by a switch that is one too.

No device of the machine is in any of them, so that no packet of a pod can reach one. Each node has a wire to the switch;
a pod has a veth to its node. On the route datapath the node's stack routes between them; on the bridge datapath a node's
pods share a bridge; on the eBPF datapath a program takes packets from a pod's veth straight into another's, or onto the
wire. All is dropped by the kernel when its descriptors close, also after kill -9.
"""

from contextlib import suppress
from ipaddress import IPv4Network
from typing import NamedTuple

from kubedyno.kernel import hostrouting, rtnetlink
from kubedyno.kernel.bpf import Attachment, AttachType, Program
from kubedyno.kernel.hostrouting import Maps
from kubedyno.kernel.netns import Namespace
from kubedyno.kernel.rtnetlink import LOOPBACK_INDEX, Link, LinkSettings, address_bytes

ROUTE, BRIDGE, EBPF = "route", "bridge", "ebpf"
DATAPATHS = (ROUTE, BRIDGE, EBPF)
_NODE_PREFIX = 16
_MTU = LinkSettings(mtu=1500)
# MAC addresses that nobody makes: unicast, locally administered.
_LOCAL_MAC = b"\x0a\x58"


class Bandwidth(NamedTuple):
    """What a pod may send and be sent, bytes a second; 0 for no limit."""

    egress: int = 0
    ingress: int = 0


_UNLIMITED = Bandwidth()


class Device(NamedTuple):
    """A pod's network: its namespace, both ends of its veth, its address."""

    space: Namespace
    inner: Link
    host: Link
    address: str


class NodeNetwork:
    """A node's namespace and its pods' devices.

    Args:
        name: The node's.
        address: Its InternalIP.
        cidr: Its pods' range.
        datapath: One of DATAPATHS.
    """

    def __init__(self, name: str, address: str, cidr: str, datapath: str) -> None:
        self.name = name
        self.address = address
        self.cidr = cidr
        self.space = Namespace()
        self.devices: dict[str, Device] = {}
        self._datapath = datapath
        self._count = 0
        self._bridge: int | None = None
        self._maps: Maps | None = None
        self._program: Program | None = None
        self._attached: dict[str, Attachment] = {}
        self.gateway = str(IPv4Network(cidr)[1])
        self.wire: Link | None = None

    def build(self, switch: Namespace, port: int, bridge: int) -> None:
        """Connect the node to the switch and set it up.

        Raises:
            OSError: The kernel refuses a part.
        """
        netlink = self.space.rtnetlink
        switch.rtnetlink.create(rtnetlink.veth_body(f"node{port}", "eth0", self.space.descriptor, _MTU))
        switch.rtnetlink.set_link(switch.rtnetlink.link(f"node{port}").index, LinkSettings(master=bridge))
        _quieten(self.space)
        self.space.set_sysctl("ipv4/ip_forward", 1)
        self.wire = netlink.link("eth0")
        netlink.set_link(self.wire.index, up=True)
        netlink.add_address(self.wire.index, f"{self.address}/{_NODE_PREFIX}")
        if self._datapath == BRIDGE:
            # Else the bridge would translate frames itself, and send replies past the node's stack.
            with suppress(FileNotFoundError):
                self.space.set_sysctl("bridge/bridge-nf-call-iptables", 0)
            netlink.create(rtnetlink.link_body("br0", "bridge", settings=_MTU))
            own = netlink.link("br0")
            self._bridge = own.index
            # A bridge takes its ports' lowest address, which changes with them, unless it was given one.
            netlink.set_address(own.index, own.mac)
            netlink.set_link(self._bridge, up=True)
            netlink.add_address(self._bridge, f"{self.gateway}/{IPv4Network(self.cidr).prefixlen}")
        else:
            netlink.add_address(LOOPBACK_INDEX, f"{self.gateway}/32")
        if self._datapath == EBPF:
            self._maps = Maps.made()
            self._program = hostrouting.loaded(self._maps)
            self._attach("", self.wire.index)

    def meet(self, other: "NodeNetwork") -> None:
        """Learn of another node: its pods are behind it, and its wire's address needs no asking."""
        assert self.wire is not None
        assert other.wire is not None
        self.space.rtnetlink.set_neighbour(self.wire.index, other.address, other.wire.mac)
        self.space.rtnetlink.add_route(other.cidr, self.wire.index, other.address)
        if self._maps is not None:
            self._maps.add_range(other.cidr, self.wire.index)

    def add(self, key: str, address: str, bandwidth: Bandwidth = _UNLIMITED) -> Device:
        """Make a pod's namespace with its address.

        Raises:
            OSError: The kernel refuses a part.
        """
        space = Namespace()
        try:
            return self._add(key, address, space, bandwidth)
        except OSError:
            space.close()
            raise

    def _add(self, key: str, address: str, space: Namespace, bandwidth: Bandwidth) -> Device:
        netlink, own = self.space.rtnetlink, space.rtnetlink
        self._count += 1
        name = f"pod{self._count}"
        netlink.create(rtnetlink.veth_body(name, "eth0", space.descriptor, _MTU))
        if self._bridge is not None:
            # By its address, as who has asked for that before remembers the answer, also when the pod is another.
            own.set_address(own.link("eth0").index, _LOCAL_MAC + address_bytes(address))
        host, inner = netlink.link(name), own.link("eth0")
        _quieten(space)
        own.set_link(inner.index, up=True)
        if self._bridge is not None:
            netlink.set_link(host.index, LinkSettings(master=self._bridge))
            own.add_address(inner.index, f"{address}/{IPv4Network(self.cidr).prefixlen}")
            own.add_route("0.0.0.0/0", inner.index, self.gateway)
        else:
            own.add_address(inner.index, f"{address}/32")
            own.add_route(f"{self.gateway}/32", inner.index)
            own.set_neighbour(inner.index, self.gateway, host.mac)
            own.add_route("0.0.0.0/0", inner.index, self.gateway)
            # The veth has no address: without a source the kernel would take one of lo's, as the first device's.
            # A removed pod's veth may still have the address's route.
            netlink.replace_route(f"{address}/32", host.index, source=self.address)
            netlink.set_neighbour(host.index, address, inner.mac)
        if bandwidth.egress:
            own.add_bucket(inner.index, bandwidth.egress)
        if bandwidth.ingress:
            netlink.add_bucket(host.index, bandwidth.ingress)
        if self._maps is not None:
            if not bandwidth.ingress:
                # What the program hands to a pod passes no queue of the node: the stack delivers to one with a limit.
                self._maps.add_pod(address, host.index, inner.mac, host.mac)
            self._attach(key, host.index)
        device = self.devices[key] = Device(space, inner, host, address)
        return device

    def _attach(self, key: str, index: int) -> None:
        assert self._program is not None
        with self.space.inside():
            self._attached[key] = Attachment(self._program, index, AttachType.TCX_INGRESS)

    def remove(self, key: str) -> None:
        """Take a pod's devices away.

        They go with its namespace, soon after its last process: to wait for the kernel takes 30 ms a device.
        """
        device = self.devices.pop(key)
        attached = self._attached.pop(key, None)
        if attached is not None:
            attached.close()
        if self._maps is not None:
            with suppress(FileNotFoundError):
                self._maps.remove_pod(device.address)
        if self._bridge is not None:
            # Until its namespace is gone, the bridge would send it what is for the next pod of its address.
            self.space.rtnetlink.set_link(device.host.index, LinkSettings(master=0))
        device.space.close()

    def counted(self) -> dict[str, int]:
        """Return what proves the datapath: packets that the eBPF program took, or that the node's stack forwarded."""
        if self._maps is not None:
            return {slot.name.lower(): count for slot, count in self._maps.counted().items()}
        lines = [line.split() for line in self.space.proc_net("snmp").splitlines() if line.startswith("Ip:")]
        return {"forwarded": int(dict(zip(lines[0][1:], lines[1][1:], strict=True))["ForwDatagrams"])}

    def close(self) -> None:
        """Give everything up."""
        for key in list(self.devices):
            self.devices.pop(key).space.close()
        for attached in self._attached.values():
            attached.close()
        if self._program is not None:
            self._program.close()
        if self._maps is not None:
            self._maps.close()
        self.space.close()


def _quieten(space: Namespace) -> None:
    """Bring `lo` up; let packets come back another way than they went; no IPv6 that nobody configured."""
    for which in ("all", "default"):
        space.set_sysctl(f"ipv4/conf/{which}/rp_filter", 0)
        # On a bridge a translated packet leaves where it came in: a redirect would have the pod send past the rules.
        space.set_sysctl(f"ipv4/conf/{which}/send_redirects", 0)
    # Ports below 1024 are for the capability to give; 0 is what containerd sets for pods.
    space.set_sysctl("ipv4/ip_unprivileged_port_start", 0)
    try:
        space.set_sysctl("ipv4/ping_group_range", "0 2147483647")
    except OSError:
        # A user namespace of one group has no other.
        space.set_sysctl("ipv4/ping_group_range", "0 0")
    space.rtnetlink.set_link(LOOPBACK_INDEX, up=True)


class Network:
    """The nodes' networks, made when a node's first pod is.

    Args:
        datapath: One of DATAPATHS.
    """

    def __init__(self, datapath: str) -> None:
        self.datapath = datapath
        self.nodes: dict[str, NodeNetwork] = {}
        self._switch: Namespace | None = None
        self._bridge = 0
        # Never used twice: what is left of a node that could not be made goes later.
        self._port = 0

    def node(self, name: str, address: str, cidr: str) -> tuple[NodeNetwork, bool]:
        """Return a node's network, and whether it was made just now.

        Raises:
            OSError: The kernel refuses a part.
        """
        known = self.nodes.get(name)
        if known is not None:
            return known, False
        if self._switch is None:
            self._switch = Namespace()
            self._switch.rtnetlink.create(rtnetlink.link_body("switch", "bridge", settings=_MTU))
            self._bridge = self._switch.rtnetlink.link("switch").index
            self._switch.rtnetlink.set_link(self._bridge, up=True)
        node = NodeNetwork(name, address, cidr, self.datapath)
        self._port += 1
        try:
            node.build(self._switch, self._port, self._bridge)
            port = self._switch.rtnetlink.link(f"node{self._port}")
            self._switch.rtnetlink.set_link(port.index, up=True)
        except OSError:
            node.close()
            raise
        for other in self.nodes.values():
            other.meet(node)
            node.meet(other)
        self.nodes[name] = node
        return node, True

    def close(self) -> None:
        """Give everything up."""
        for node in self.nodes.values():
            node.close()
        self.nodes.clear()
        if self._switch is not None:
            self._switch.close()
            self._switch = None
