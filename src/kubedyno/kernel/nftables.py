"""nftables over netlink: tables, chains and rules made of expressions, and their counters.

In: rules as lists of expressions (pure functions of this module). Out: packets and bytes that each rule saw. No `nft`
needed. Only what a lab needs is here: match an address or a conntrack state, count, translate, accept or drop.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from kubedyno.kernel.netlink import (
    ACK,
    APPEND,
    CREATE,
    DUMP,
    NetlinkSocket,
    attribute,
    attribute_list,
    attributes_of,
    be32,
    nested,
    text,
)
from kubedyno.kernel.rtnetlink import address_bytes

_NETLINK_NETFILTER = 12
_SUBSYSTEM = 10
_NEWTABLE, _DELTABLE, _NEWCHAIN, _NEWRULE, _GETRULE = (_SUBSYSTEM << 8 | n for n in (0, 2, 3, 6, 7))
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_BATCH_BODY = struct.pack(">BBH", 0, 0, _SUBSYSTEM)
_REGISTER_VERDICT, _REGISTER_1, _REGISTER_2 = 0, 1, 2
_META_MARK, _META_INPUT_NAME, _META_OUTPUT_NAME, _META_PROTOCOL, _META_RANDOM = 3, 6, 7, 16, 24
_NAME_BYTES = 16
_CT_STATUS, _STATUS_DESTINATION_NAT = 2, 1 << 5
_LESS, _NOT_GREATER, _NOT_LESS = 2, 3, 5
_TCP = 6
_REJECT_ICMP, _REJECT_RESET = 0, 1
_PORT_UNREACHABLE = 3


class Family(IntEnum):
    """Which packets a table sees."""

    IPV4 = 2
    IPV6 = 10


class Hook(IntEnum):
    """Where a base chain is called."""

    PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = range(5)


class Verdict(IntEnum):
    """What becomes of a packet."""

    DROP, ACCEPT = 0, 1


class CtState(IntEnum):
    """Bits of `ct state`."""

    INVALID, ESTABLISHED, RELATED, NEW = 1, 2, 4, 8


PRIORITY_DSTNAT, PRIORITY_FILTER, PRIORITY_SRCNAT = -100, 0, 100


@dataclass(frozen=True, slots=True)
class Chain:
    """A base chain; `type` is "filter" or "nat"."""

    name: str
    type: str
    hook: Hook
    priority: int
    policy: Verdict = Verdict.ACCEPT


@dataclass(frozen=True, slots=True)
class Count:
    """What a rule's counter says."""

    packets: int
    bytes: int


def expression(name: str, *attributes: bytes) -> bytes:
    """Return one expression."""
    return nested(1, attribute(1, text(name)), nested(2, *attributes))


def counter() -> list[bytes]:
    """Count what comes this far."""
    return [expression("counter", attribute(1, bytes(8)), attribute(2, bytes(8)))]


def _compare(value: bytes, operator: int = 0) -> bytes:
    return expression(
        "cmp", attribute(1, be32(_REGISTER_1)), attribute(2, be32(operator)), nested(3, attribute(1, value))
    )


def _payload(base: int, offset: int, value: bytes) -> list[bytes]:
    load = expression(
        "payload",
        attribute(1, be32(_REGISTER_1)),
        attribute(2, be32(base)),
        attribute(3, be32(offset)),
        attribute(4, be32(len(value))),
    )
    return [load, _compare(value)]


def destination(address: str) -> list[bytes]:
    """Go on only for packets to an address."""
    value = address_bytes(address)
    return _payload(1, 16 if len(value) == 4 else 24, value)


def source(address: str) -> list[bytes]:
    """Go on only for packets from an address."""
    value = address_bytes(address)
    return _payload(1, 12 if len(value) == 4 else 8, value)


def destination_port(protocol: int, port: int) -> list[bytes]:
    """Go on only for packets of a transport protocol (6 TCP, 17 UDP, 132 SCTP) to a port."""
    load = expression("meta", attribute(1, be32(_REGISTER_1)), attribute(2, be32(_META_PROTOCOL)))
    return [load, _compare(bytes([protocol])), *_payload(2, 2, port.to_bytes(2, "big"))]


def destination_ports(protocol: int, first: int, last: int) -> list[bytes]:
    """Go on only for packets of a transport protocol to a port in a range, both ends of it included."""
    if first == last:
        return destination_port(protocol, first)
    load = expression("meta", attribute(1, be32(_REGISTER_1)), attribute(2, be32(_META_PROTOCOL)))
    port, low = _payload(2, 2, first.to_bytes(2, "big"))[0], _compare(first.to_bytes(2, "big"), _NOT_LESS)
    return [load, _compare(bytes([protocol])), port, low, _compare(last.to_bytes(2, "big"), _NOT_GREATER)]


def network(cidr: str, *, outgoing: bool, inverted: bool = False) -> list[bytes]:
    """Go on only for packets to (outgoing) or from an IPv4 network, or for all but those when inverted."""
    host, _, length = cidr.partition("/")
    bits = int(length or 32)
    mask = ((1 << 32) - (1 << (32 - bits))).to_bytes(4, "big")
    value = bytes(a & b for a, b in zip(address_bytes(host), mask, strict=True))
    masked = expression(
        "bitwise",
        attribute(1, be32(_REGISTER_1)),
        attribute(2, be32(_REGISTER_1)),
        attribute(3, be32(4)),
        nested(4, attribute(1, mask)),
        nested(5, attribute(1, bytes(4))),
    )
    return [_payload(1, 16 if outgoing else 12, value)[0], masked, _compare(value, operator=int(inverted))]


def on_loopback() -> list[bytes]:
    """Go on only for packets that came in by `lo`."""
    return _device(_META_INPUT_NAME)


def to_loopback() -> list[bytes]:
    """Go on only for packets that leave by `lo`."""
    return _device(_META_OUTPUT_NAME)


def _device(key: int) -> list[bytes]:
    load = expression("meta", attribute(1, be32(_REGISTER_1)), attribute(2, be32(key)))
    return [load, _compare(b"lo".ljust(_NAME_BYTES, b"\0"))]


def one_in(count: int) -> list[bytes]:
    """Go on for one packet in `count` by chance, for every packet when that is 1."""
    if count == 1:
        return []
    load = expression("meta", attribute(1, be32(_REGISTER_1)), attribute(2, be32(_META_RANDOM)))
    # Registers compare as byte strings; a random one is as random in any order.
    return [load, _compare(be32(2**32 // count), operator=_LESS)]


def translated() -> list[bytes]:
    """Go on only for packets of connections whose destination was translated."""
    return _ct_bits(_CT_STATUS, _STATUS_DESTINATION_NAT)


def set_mark(mark: int) -> list[bytes]:
    """Give the packet a mark, which stays with it on its way through this machine."""
    value = struct.pack("=I", mark)
    return [
        expression("immediate", attribute(1, be32(_REGISTER_1)), nested(2, attribute(1, value))),
        expression("meta", attribute(2, be32(_META_MARK)), attribute(3, be32(_REGISTER_1))),
    ]


def marked(mark: int) -> list[bytes]:
    """Go on only for packets with a mark."""
    load = expression("meta", attribute(1, be32(_REGISTER_1)), attribute(2, be32(_META_MARK)))
    return [load, _compare(struct.pack("=I", mark))]


def masquerade() -> list[bytes]:
    """Send the connection from the outgoing device's own address instead."""
    return [expression("masq")]


def ct_state(bits: int) -> list[bytes]:
    """Go on only for packets whose connection is in one of the states."""
    return _ct_bits(0, bits)


def _ct_bits(key: int, bits: int) -> list[bytes]:
    load = expression("ct", attribute(1, be32(_REGISTER_1)), attribute(2, be32(key)))
    # The register holds the state in the machine's own order.
    masked = expression(
        "bitwise",
        attribute(1, be32(_REGISTER_1)),
        attribute(2, be32(_REGISTER_1)),
        attribute(3, be32(4)),
        nested(4, attribute(1, struct.pack("=I", bits))),
        nested(5, attribute(1, bytes(4))),
    )
    return [load, masked, _compare(bytes(4), operator=1)]


def destination_nat(address: str, port: int | None = None) -> list[bytes]:
    """Send the connection to another address instead, and to another port where one is given."""
    value = address_bytes(address)
    family = Family.IPV4 if len(value) == 4 else Family.IPV6
    loads = [expression("immediate", attribute(1, be32(_REGISTER_1)), nested(2, attribute(1, value)))]
    to_port = b""
    if port is not None:
        raw = port.to_bytes(2, "big")
        loads.append(expression("immediate", attribute(1, be32(_REGISTER_2)), nested(2, attribute(1, raw))))
        to_port = attribute(5, be32(_REGISTER_2))
    translate = expression(
        "nat", attribute(1, be32(1)), attribute(2, be32(family)), attribute(3, be32(_REGISTER_1)), to_port
    )
    return [*loads, translate]


def verdict(code: Verdict) -> list[bytes]:
    """End with a verdict."""
    decided = nested(2, nested(2, attribute(1, be32(code))))
    return [expression("immediate", attribute(1, be32(_REGISTER_VERDICT)), decided)]


def _head(family: Family) -> bytes:
    return struct.pack(">BBH", family, 0, 0)


def reset() -> list[bytes]:
    """End TCP packets with a reset to who sent them; go on for all others."""
    load = expression("meta", attribute(1, be32(_REGISTER_1)), attribute(2, be32(_META_PROTOCOL)))
    return [load, _compare(bytes([_TCP])), expression("reject", attribute(1, be32(_REJECT_RESET)))]


def unreachable() -> list[bytes]:
    """End with an ICMP message to the sender that the port is unreachable."""
    return [expression("reject", attribute(1, be32(_REJECT_ICMP)), attribute(2, bytes([_PORT_UNREACHABLE])))]


def table_body(family: Family, table: str) -> bytes:
    """Return the body that creates a table."""
    return _head(family) + attribute(1, text(table))


def chain_body(family: Family, table: str, chain: Chain) -> bytes:
    """Return the body that creates a base chain."""
    return (
        _head(family)
        + attribute(1, text(table))
        + attribute(3, text(chain.name))
        + nested(4, attribute(1, be32(chain.hook)), attribute(2, be32(chain.priority)))
        + attribute(5, be32(chain.policy))
        + attribute(7, text(chain.type))
    )


def rule_body(family: Family, table: str, chain: str, expressions: list[bytes]) -> bytes:
    """Return the body that appends a rule."""
    return _head(family) + attribute(1, text(table)) + attribute(2, text(chain)) + nested(4, *expressions)


def count_of(body: bytes) -> Count | None:
    """Return the counter of a dumped rule, None for a rule without one."""
    rule = attributes_of(body[4:])
    for _, element in attribute_list(rule.get(4, b"")):
        parts = attributes_of(element)
        if parts.get(1, b"").rstrip(b"\0") == b"counter":
            values = attributes_of(parts[2])
            return Count(packets=int.from_bytes(values[2], "big"), bytes=int.from_bytes(values[1], "big"))
    return None


class Nftables(NetlinkSocket):
    """The packet filter of the calling thread's namespace. Every call may raise NetlinkError."""

    _BEGIN: ClassVar[bytes] = be32(_BATCH_BEGIN) + _BATCH_BODY
    _END: ClassVar[bytes] = be32(_BATCH_END) + _BATCH_BODY

    def __init__(self) -> None:
        super().__init__(_NETLINK_NETFILTER)

    def install(self, family: Family, table: str, rules: dict[Chain, list[list[bytes]]]) -> None:
        """Create a table with chains and rules, whole or not at all.

        Args:
            family: Which packets.
            table: Its name.
            rules: Chain → rules, each a list of expressions.
        """
        self.call_batch(self._messages(family, table, rules), self._BEGIN, self._END)

    def replace(self, family: Family, table: str, rules: dict[Chain, list[list[bytes]]]) -> None:
        """Put a table in the place of the one of that name, if there is one, in one step; connections stay as they are."""
        gone = [(_NEWTABLE, CREATE, table_body(family, table)), (_DELTABLE, ACK, table_body(family, table))]
        self.call_batch([*gone, *self._messages(family, table, rules)], self._BEGIN, self._END)

    @staticmethod
    def _messages(family: Family, table: str, rules: dict[Chain, list[list[bytes]]]) -> list[tuple[int, int, bytes]]:
        messages = [(_NEWTABLE, CREATE, table_body(family, table))]
        for chain, lines in rules.items():
            messages.append((_NEWCHAIN, CREATE, chain_body(family, table, chain)))
            messages += [(_NEWRULE, CREATE | APPEND, rule_body(family, table, chain.name, line)) for line in lines]
        return messages

    def counts(self, family: Family, table: str, chain: str) -> list[Count | None]:
        """Return each rule's counter, in the rules' order."""
        asked = _head(family) + attribute(1, text(table)) + attribute(2, text(chain))
        return [count_of(body) for body in self.call(_GETRULE, DUMP, asked)]
