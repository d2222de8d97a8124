"""eBPF host routing: from a pod's veth straight into another pod's, or onto the wire, past the node's IP stack.

In: maps of this node's pods and of the other nodes' pod ranges. Out: one classifier program, the same on every pod's
device and on the wire. A destination that is a pod of this node goes through bpf_redirect_peer into the pod; one in
another node's range through bpf_redirect_neigh to the wire; all else to the node's stack, which need not forward.
The time to live is decremented on both, as any router does.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

from kubedyno.kernel.assembler import LITTLE_ENDIAN, R0, R1, R2, R3, R4, R6, R7, R8, R9, R10, Assembler
from kubedyno.kernel.bpf import NO_PREALLOC, TCX_NEXT, Helper, Map, MapType, Program, ProgramType
from kubedyno.kernel.rtnetlink import address_bytes


class Slot(IntEnum):
    """What the program counts, in packets; LARGEST is the largest packet's bytes, BIG those above 64 KiB."""

    PEER, NEIGH, PASS, BIG, LARGEST = range(5)


BIG_BYTES = 65_536
# Offsets in struct __sk_buff and in an Ethernet frame with an IPv4 or IPv6 header.
_SKB_LEN, _SKB_PROTOCOL, _SKB_DATA, _SKB_DATA_END = 0, 16, 76, 80
_ETHERNET, _IPV4_END, _IPV6_END = 14, 34, 54
_IPV4_TTL, _IPV4_CHECKSUM, _IPV4_DESTINATION = 22, 24, 30
_IPV6_HOP_LIMIT, _IPV6_DESTINATION = 21, 38
# The program's own stack.
_KEY_IPV4, _KEY_IPV6, _KEY_COUNTER = -4, -16, -32
_KEY_RANGE4, _KEY_RANGE6 = -8, -20
# struct endpoint: ifindex, the pod's MAC (destination), the host end's MAC (source).
_ENDPOINT = struct.Struct("=I6s6s")


def _protocol(number: int) -> int:
    return number if not LITTLE_ENDIAN else (number & 0xFF) << 8 | number >> 8


_IPV4, _IPV6 = _protocol(0x0800), _protocol(0x86DD)


@dataclass(frozen=True, slots=True)
class Maps:
    """The program's tables of one node."""

    pods4: Map
    pods6: Map
    ranges4: Map
    ranges6: Map
    counters: Map

    @classmethod
    def made(cls) -> "Maps":
        """Create them empty.

        Raises:
            BpfError: As `Map`.
        """
        return cls(
            Map(MapType.HASH, 4, _ENDPOINT.size, 1024, name="pods4"),
            Map(MapType.HASH, 16, _ENDPOINT.size, 1024, name="pods6"),
            Map(MapType.LPM_TRIE, 8, 4, 256, NO_PREALLOC, "ranges4"),
            Map(MapType.LPM_TRIE, 20, 4, 256, NO_PREALLOC, "ranges6"),
            Map(MapType.ARRAY, 4, 8, len(Slot), name="counters"),
        )

    def add_pod(self, address: str, index: int, pod_mac: bytes, host_mac: bytes) -> None:
        """Tell of a pod of this node: the host end's index, and both ends' MAC addresses."""
        key = address_bytes(address)
        (self.pods4 if len(key) == 4 else self.pods6).update(key, _ENDPOINT.pack(index, pod_mac, host_mac))

    def remove_pod(self, address: str) -> None:
        """Forget a pod."""
        key = address_bytes(address)
        (self.pods4 if len(key) == 4 else self.pods6).delete(key)

    def add_range(self, cidr: str, wire: int) -> None:
        """Tell of another node's pods behind a device; the node's routes name the next hop."""
        host, _, length = cidr.partition("/")
        key = address_bytes(host)
        trie = self.ranges4 if len(key) == 4 else self.ranges6
        trie.update(struct.pack("=I", int(length)) + key, struct.pack("=I", wire))

    def counted(self) -> dict[Slot, int]:
        """Return the counters."""
        found = {}
        for slot in Slot:
            value = self.counters.lookup(struct.pack("=I", slot))
            assert value is not None, "an array map has every key"
            found[slot] = struct.unpack("=Q", value)[0]
        return found

    def close(self) -> None:
        """Close the maps; attached programs keep them alive until they go."""
        for one in (self.pods4, self.pods6, self.ranges4, self.ranges6, self.counters):
            one.close()


def host_routing(maps: Maps) -> Assembler:
    """Return the program. R6 is the packet's context, R7 and R8 its data and end, R9 what a table said."""
    a = Assembler()
    a.copy(R6, R1).load(4, R7, R6, _SKB_DATA).load(4, R8, R6, _SKB_DATA_END).load(4, R3, R6, _SKB_PROTOCOL)
    a.jump_if(R3, "==", _IPV4, "ipv4").jump_if(R3, "!=", _IPV6, "pass")

    _within(a, _IPV6_END)
    for word in range(0, 16, 4):
        a.load(4, R1, R7, _IPV6_DESTINATION + word).store(4, R10, _KEY_IPV6 + word, R1)
    _lookup(a, maps.pods6, _KEY_IPV6, "range6")
    _hop_limit(a)
    _to_pod(a, maps)
    a.label("range6").store_value(4, R10, _KEY_RANGE6, 128)
    _lookup(a, maps.ranges6, _KEY_RANGE6, "pass")
    _hop_limit(a)
    _to_wire(a, maps)

    a.label("ipv4")
    _within(a, _IPV4_END)
    a.load(4, R1, R7, _IPV4_DESTINATION).store(4, R10, _KEY_IPV4, R1)
    _lookup(a, maps.pods4, _KEY_IPV4, "range4")
    _time_to_live(a)
    _to_pod(a, maps)
    a.label("range4").store_value(4, R10, _KEY_RANGE4, 32)
    _lookup(a, maps.ranges4, _KEY_RANGE4, "pass")
    _time_to_live(a)
    _to_wire(a, maps)

    a.label("pass")
    _count(a, maps, Slot.PASS)
    return a.mov(R0, TCX_NEXT).exit()


def loaded(maps: Maps) -> Program:
    """Load the program.

    Raises:
        BpfError: With the verifier's log.
    """
    return Program(host_routing(maps).code(), ProgramType.SCHED_CLS, "host_routing")


def _within(a: Assembler, end: int) -> None:
    # The verifier lets nothing be read before this comparison.
    a.copy(R2, R7).add(R2, end).jump_if_register(R2, ">", R8, "pass")


def _lookup(a: Assembler, table: Map, key: int, otherwise: str) -> None:
    a.copy(R2, R10).add(R2, key).load_map(R1, table.descriptor).call(Helper.MAP_LOOKUP_ELEM)
    a.jump_if(R0, "==", 0, otherwise).copy(R9, R0)


def _hop_limit(a: Assembler) -> None:
    a.load(1, R1, R7, _IPV6_HOP_LIMIT).jump_if(R1, "<=", 1, "pass").add(R1, -1).store(1, R7, _IPV6_HOP_LIMIT, R1)


def _time_to_live(a: Assembler) -> None:
    # RFC 1624: one less in the upper byte of a word is one more in its ones' complement sum, carried around.
    kept = a.fresh("kept")
    a.load(1, R1, R7, _IPV4_TTL).jump_if(R1, "<=", 1, "pass").add(R1, -1).store(1, R7, _IPV4_TTL, R1)
    a.load(2, R2, R7, _IPV4_CHECKSUM).add(R2, 1 if LITTLE_ENDIAN else 0x100)
    a.jump_if(R2, "<", 0xFFFF, kept).add(R2, 1).label(kept).store(2, R7, _IPV4_CHECKSUM, R2)


def _to_pod(a: Assembler, maps: Maps) -> None:
    # Both MAC addresses lie behind each other in the endpoint as in the frame.
    for at in (0, 4, 8):
        a.load(4, R1, R9, 4 + at).store(4, R7, at, R1)
    _count(a, maps, Slot.PEER)
    a.load(4, R1, R9, 0).mov(R2, 0).call(Helper.REDIRECT_PEER).exit()


def _to_wire(a: Assembler, maps: Maps) -> None:
    _count(a, maps, Slot.NEIGH)
    a.load(4, R1, R9, 0).mov(R2, 0).mov(R3, 0).mov(R4, 0).call(Helper.REDIRECT_NEIGH).exit()


def _count(a: Assembler, maps: Maps, slot: Slot) -> None:
    def counter(which: Slot, done: str) -> None:
        a.store_value(4, R10, _KEY_COUNTER, which).copy(R2, R10).add(R2, _KEY_COUNTER)
        a.load_map(R1, maps.counters.descriptor).call(Helper.MAP_LOOKUP_ELEM).jump_if(R0, "==", 0, done)

    done = a.fresh("counted")
    counter(slot, done)
    a.mov(R1, 1).atomic_add(R0, 0, R1).label(done)
    if slot is Slot.PASS:
        return
    # Two processors may lose a maximum to each other, never a large one to a small one for long.
    small = a.fresh("small")
    a.load(4, R1, R6, _SKB_LEN).jump_if(R1, "<=", BIG_BYTES + _ETHERNET, small)
    counter(Slot.BIG, small)
    a.mov(R1, 1).atomic_add(R0, 0, R1).label(small)
    known = a.fresh("known")
    counter(Slot.LARGEST, known)
    a.load(4, R1, R6, _SKB_LEN).load(8, R2, R0, 0).jump_if_register(R1, "<=", R2, known).store(8, R0, 0, R1)
    a.label(known)
