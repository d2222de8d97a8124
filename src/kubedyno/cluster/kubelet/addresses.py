"""Pod addresses of one node, handed out as the CNI plugins do.

host-local (under ptp, as kindnet writes it): the range is the PodCIDR from .1 to the last but one, .1 is the gateway
and stays out, and the search goes round from the address that was handed out last. Cilium's host-scope IPAM: all but
network and broadcast, one of them taken by the node's own router.
"""

from ipaddress import IPv4Network

PTP = "ptp"
CILIUM = "cilium-cni"


class AddressPool:
    """The addresses of a PodCIDR.

    Args:
        cidr: E.g. "10.244.0.0/24".
        plugin: PTP or CILIUM.
    """

    __slots__ = ("_base", "_end", "_last", "_reserved", "_used", "cidr", "free", "plugin")

    def __init__(self, cidr: str, plugin: str = PTP) -> None:
        network = IPv4Network(cidr)
        self.cidr = cidr
        self.plugin = plugin
        self._base = int(network.network_address)
        # Offsets 1 … end - 1 are addresses; the one at `end` is the broadcast address.
        self._end = network.num_addresses - 1
        self._used = bytearray(self._end)
        self._used[0] = 1
        # The gateway's, or the router's, own address.
        self._reserved = 1
        self._used[self._reserved] = 1
        self._last = self._reserved
        self.free = self._end - 2

    @property
    def capacity(self) -> int:
        """How many pods can have an address: 253 for a /24."""
        return self._end - 2

    def allocate(self) -> str:
        """Return an address, "" when none is free. O(size) at worst, a scan in C."""
        if not self.free:
            return ""
        offset = self._used.find(0, self._last + 1)
        if offset < 0:
            offset = self._used.find(0)
        self._used[offset] = 1
        self._last = offset
        self.free -= 1
        value = self._base + offset
        return f"{value >> 24}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"

    def take(self, address: str) -> bool:
        """Hand out a certain address; False when it is none of the range's, or taken."""
        offset = _value(address) - self._base
        if not 0 < offset < self._end or self._used[offset]:
            return False
        self._used[offset] = 1
        self._last = max(self._last, offset)
        self.free -= 1
        return True

    def holds(self, address: str) -> bool:
        """Say whether an address of the range is handed out."""
        offset = _value(address) - self._base
        return 0 < offset < self._end and offset != self._reserved and bool(self._used[offset])

    def release(self, address: str) -> None:
        """Take an address back.

        Raises:
            ValueError: It isn't handed out.
        """
        offset = _value(address) - self._base
        if not 0 < offset < self._end or offset == self._reserved or not self._used[offset]:
            raise ValueError(f"{address} is not an allocated address of {self.cidr}")
        self._used[offset] = 0
        self.free += 1

    def exhausted(self, sandbox: str) -> str:
        """Return the kubelet's message when no address is free.

        Args:
            sandbox: Id of the sandbox that was to be made.
        """
        if self.plugin == CILIUM:
            why = (
                'plugin type="cilium-cni" failed (add): unable to allocate IP via local cilium agent: '
                '[POST /ipam][502] postIpamFailure "range is full"'
            )
        else:
            first, last = (_text(self._base + offset) for offset in (1, self._end - 1))
            why = (
                'plugin type="ptp" failed (add): failed to allocate for range 0: no IP addresses available in range '
                f"set: {first}-{last}"
            )
        return (
            "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox "
            f'"{sandbox}": {why}'
        )


def _value(address: str) -> int:
    a, b, c, d = address.split(".")
    return (int(a) << 24) + (int(b) << 16) + (int(c) << 8) + int(d)


def _text(value: int) -> str:
    return f"{value >> 24}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"
