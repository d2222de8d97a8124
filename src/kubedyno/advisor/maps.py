"""Cilium 1.18's BPF map sizes: from memory, ratio and CPUs to entries, and back.

In: bytes of memory, the ratio, the number of possible CPUs, flags given by hand. Out: every map's entries and payload
bytes. The arithmetic is the agent's own, integer division included, so that the entries are those that its log and
`cilium status --verbose` show.

Sources: pkg/option/config.go and pkg/loadbalancer of Cilium 1.18.1 (constants, formula, texts); element sizes of the
sum from the agent's configuration; key and value sizes of IPv4 maps from a bpftool listing of an agent.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from kubedyno.base.errors import KubedynoError

CT_TCP_DEFAULT = 524_288
CT_ANY_DEFAULT = 262_144
NAT_DEFAULT = (CT_TCP_DEFAULT + CT_ANY_DEFAULT) * 2 // 3
SOCK_REV_DEFAULT = 262_144
CT_TCP_AUTO_MIN = 131_072
CT_ANY_AUTO_MIN = 65_536
NAT_AUTO_MIN = 131_072
SOCK_REV_AUTO_MIN = 65_536
LIMIT_MIN = 1_024
LIMIT_MAX = 16_777_216
LB_DEFAULT = 65_536
# Key plus value, bytes, as the agent counts them (the IPv6 sizes).
CT_ELEMENT_B = NAT_ELEMENT_B = 94
NEIGH_ELEMENT_B = 24
SOCK_REV_ELEMENT_B = 52
DEFAULT_RATIO = 0.0025
# All scaled maps at their defaults.
TOTAL_B = (
    CT_TCP_DEFAULT * CT_ELEMENT_B
    + CT_ANY_DEFAULT * CT_ELEMENT_B
    + NAT_DEFAULT * NAT_ELEMENT_B
    + NAT_DEFAULT * NEIGH_ELEMENT_B
    + SOCK_REV_DEFAULT * SOCK_REV_ELEMENT_B
)
# kube-proxy: conntrack.maxPerCore and conntrack.min of its configuration.
KUBE_PROXY_MIN = 131_072
KUBE_PROXY_PER_CORE = 32_768
SOURCE = "Cilium 1.18.1 pkg/option"

# vCPUs, memory GiB, kube-proxy's entries, Cilium's TCP entries as the documentation's table has them.
DOCUMENTED = (
    (1, 3.75, 131_072, 131_072),
    (2, 7.5, 131_072, 131_072),
    (4, 15.0, 131_072, 131_072),
    (8, 30.0, 262_144, 284_560),
    (16, 60.0, 524_288, 569_120),
    (32, 120.0, 1_048_576, 1_138_240),
    (64, 240.0, 2_097_152, 2_276_480),
    (96, 360.0, 3_145_728, 4_552_960),
)

FLAGS = {
    "bpf-ct-global-tcp-max": "TCP connection tracking",
    "bpf-ct-global-any-max": "Non-TCP connection tracking",
    "bpf-nat-global-max": "NAT",
    "bpf-neigh-global-max": "Neighbor table",
    "bpf-sock-rev-map-max": "Sock reverse NAT",
    "bpf-policy-map-max": "Endpoint policy",
    "bpf-auth-map-max": "Auth",
    "bpf-fragments-map-max": "IPv4 fragmentation",
    "bpf-lb-map-max": "load balancing",
    "bpf-lb-service-map-max": "IPv4 service",
    "bpf-lb-service-backend-map-max": "IPv4 service backend",
    "bpf-lb-rev-nat-map-max": "IPv4 service reverse NAT",
    "bpf-lb-affinity-map-max": "Session affinity",
}
_BOUNDS = {
    "bpf-policy-map-max": (256, 65_536),
    "bpf-auth-map-max": (256, 16_777_216),
    "bpf-fragments-map-max": (256, 65_536),
}
HELM = {
    "bpf-ct-global-tcp-max": "bpf.ctTcpMax",
    "bpf-ct-global-any-max": "bpf.ctAnyMax",
    "bpf-nat-global-max": "bpf.natMax",
    "bpf-neigh-global-max": "bpf.neighMax",
    "bpf-policy-map-max": "bpf.policyMapMax",
    "bpf-auth-map-max": "bpf.authMapMax",
    "bpf-lb-map-max": "bpf.lbMapMax",
}


@dataclass(frozen=True, slots=True)
class Dynamic:
    """Entries of the maps that follow memory."""

    ct_tcp: int
    ct_any: int
    nat: int
    neigh: int
    sock_rev: int


@dataclass(frozen=True, slots=True)
class MapRow:
    """One row of `cilium status --verbose`'s table.

    Attributes:
        name: As there.
        maps: Names in the kernel, without the prefix "cilium_".
        entries: Maximum.
        element_b: Key plus value of one entry, bytes (the larger of the families'), None when not known.
        per_cpu: There is one value a CPU.
        how: "dynamic", "flag" or "fixed".
    """

    name: str
    maps: tuple[str, ...]
    entries: int
    element_b: int | None
    how: str
    per_cpu: bool = False

    def payload_b(self, cpus: int) -> int | None:
        """Return entries times element for each of its maps, bytes; the kernel's overhead comes on top."""
        if self.element_b is None:
            return None
        return self.entries * self.element_b * len(self.maps) * (cpus if self.per_cpu else 1)


@dataclass(frozen=True, slots=True)
class Sizing:
    """What was asked, and every map's size."""

    memory_b: int
    ratio: float
    cpus: int
    distributed_lru: bool
    dynamic: Dynamic
    rows: tuple[MapRow, ...]
    warnings: tuple[str, ...]

    @property
    def available_b(self) -> int:
        """Bytes that the ratio gives to the scaled maps."""
        return int(self.memory_b * self.ratio)

    @property
    def kube_proxy(self) -> int:
        """Entries of the connection tracking table that kube-proxy would set."""
        return max(KUBE_PROXY_MIN, KUBE_PROXY_PER_CORE * self.cpus)

    def entries(self, name: str) -> int:
        """Return a row's entries."""
        return next(row.entries for row in self.rows if row.name == name)


def scaled(default: int, minimum: int, maximum: int, available_b: int, cpus: int) -> int:
    """Return the entries of one map: its share of the memory, a multiple of `cpus`, within limits.

    Args:
        default: Entries at the reference size.
        minimum: The least that dynamic sizing gives.
        maximum: The most.
        available_b: Bytes for all scaled maps together.
        cpus: Possible CPUs with the distributed LRU, else 1: the kernel rounds such a map up to a multiple, and the
            agent would replace it at every start if it asked for another size.
    """
    entries = default * available_b // TOTAL_B
    entries = _round_up(entries, cpus)
    if entries < minimum:
        return _round_up(minimum, cpus)
    if entries > maximum:
        return maximum // cpus * cpus
    return entries


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def dynamic(
    memory_b: int, ratio: float, cpus: int, *, distributed_lru: bool = False, given: Mapping[str, int] | None = None
) -> tuple[Dynamic, tuple[str, ...]]:
    """Return the scaled maps' entries, and what the agent would warn of.

    Args:
        memory_b: Total memory of the node, bytes.
        ratio: In (0, 1], or 0: no dynamic sizing.
        cpus: Possible CPUs.
        distributed_lru: Whether the LRU lists are one a CPU.
        given: Agent flag → entries, left alone.

    Raises:
        KubedynoError: The agent would refuse the values; the texts are its.
    """
    flags = dict(given or {})
    if memory_b <= 0:
        raise KubedynoError(f"memory: must be more than 0 bytes, not {memory_b}")
    if cpus <= 0:
        raise KubedynoError(f"CPUs: must be 1 or more, not {cpus}")
    if math.isnan(ratio) or ratio < 0:
        raise KubedynoError(f"specified dynamic map size ratio {ratio:f} must be > 0.0")
    if ratio > 1:
        raise KubedynoError(f"specified dynamic map size ratio {ratio:f} must be \u2264 1.0")
    if distributed_lru and not ratio:
        raise KubedynoError("distributed LRU is only valid with a specified dynamic map size ratio")
    _check(flags)
    available = int(memory_b * ratio)
    step = cpus if distributed_lru else 1

    def size(flag: str, default: int, minimum: int) -> int:
        if flags.get(flag):
            return flags[flag]
        return scaled(default, minimum, LIMIT_MAX, available, step) if ratio else default

    tcp = size("bpf-ct-global-tcp-max", CT_TCP_DEFAULT, CT_TCP_AUTO_MIN)
    other = size("bpf-ct-global-any-max", CT_ANY_DEFAULT, CT_ANY_AUTO_MIN)
    nat = size("bpf-nat-global-max", NAT_DEFAULT, NAT_AUTO_MIN)
    warnings: list[str] = []
    if nat > tcp + other:
        if "bpf-nat-global-max" in flags:
            raise KubedynoError(
                f"specified NAT tables size {nat} must not exceed maximum CT table size {tcp + other}"
                " (bpf-ct-global-tcp-max + bpf-ct-global-any-max)"
            )
        nat = (tcp + other) * 2 // 3
        warnings.append(
            f"option bpf-nat-global-max would exceed maximum determined by CT table sizes, capping to {nat}"
        )
    neigh = flags.get("bpf-neigh-global-max") or nat
    sock_rev = size("bpf-sock-rev-map-max", SOCK_REV_DEFAULT, SOCK_REV_AUTO_MIN)
    return Dynamic(tcp, other, nat, neigh, sock_rev), tuple(warnings)


def _check(flags: Mapping[str, int]) -> None:
    for flag, value in flags.items():
        if flag not in FLAGS:
            raise KubedynoError(f"{flag}: unknown map flag; known are {', '.join(FLAGS)}")
        low, high = _BOUNDS.get(flag, (LIMIT_MIN, LIMIT_MAX))
        if value and not low <= value <= high:
            if flag == "bpf-nat-global-max":
                bound = f"must be greater or equal to {low}" if value < low else f"must not exceed maximum {high}"
                size = "table size" if value < low else "tables size"
                raise KubedynoError(f"specified NAT {size} {value} {bound}")
            bound = f"must be greater or equal to {low}" if value < low else f"must not exceed maximum {high}"
            raise KubedynoError(f"{flag}: specified size {value} {bound}")


def sizing(
    memory_b: int,
    ratio: float = DEFAULT_RATIO,
    cpus: int = 1,
    *,
    distributed_lru: bool = False,
    given: Mapping[str, int] | None = None,
) -> Sizing:
    """Return every map's size; see `dynamic` for the arguments and errors."""
    flags = {flag: value for flag, value in (given or {}).items() if value}
    found, warnings = dynamic(memory_b, ratio, cpus, distributed_lru=distributed_lru, given=flags)

    def how(flag: str) -> str:
        return "flag" if flag in flags else "dynamic" if ratio else "fixed"

    def fixed(name: str, maps: tuple[str, ...], flag: str, default: int, element_b: int | None) -> MapRow:
        lb = flags.get("bpf-lb-map-max") if flag.startswith("bpf-lb-") else None
        return MapRow(
            name, maps, flags.get(flag) or lb or default, element_b, "flag" if flag in flags or lb else "fixed"
        )

    rows = (
        fixed("Auth", ("auth_map",), "bpf-auth-map-max", 524_288, 20),
        MapRow(
            "Non-TCP connection tracking",
            ("ct_any4_global", "ct_any6_global"),
            found.ct_any,
            CT_ELEMENT_B,
            how("bpf-ct-global-any-max"),
        ),
        MapRow(
            "TCP connection tracking",
            ("ct4_global", "ct6_global"),
            found.ct_tcp,
            CT_ELEMENT_B,
            how("bpf-ct-global-tcp-max"),
        ),
        MapRow("Endpoints", ("lxc",), 65_535, 68, "fixed"),
        MapRow("IP cache", ("ipcache",), 512_000, 36, "fixed"),
        MapRow("IPv4 masquerading agent", ("ipmasq_v4",), 16_384, 9, "fixed"),
        MapRow("IPv6 masquerading agent", ("ipmasq_v6",), 16_384, 21, "fixed"),
        fixed("IPv4 fragmentation", ("ipv4_frag_datagrams",), "bpf-fragments-map-max", 8_192, 16),
        fixed("IPv4 service", ("lb4_services_v2",), "bpf-lb-service-map-max", LB_DEFAULT, 24),
        fixed("IPv6 service", ("lb6_services_v2",), "bpf-lb-service-map-max", LB_DEFAULT, 36),
        fixed("IPv4 service backend", ("lb4_backends_v3",), "bpf-lb-service-backend-map-max", LB_DEFAULT, 16),
        fixed("IPv6 service backend", ("lb6_backends_v3",), "bpf-lb-service-backend-map-max", LB_DEFAULT, 28),
        fixed("IPv4 service reverse NAT", ("lb4_reverse_nat",), "bpf-lb-rev-nat-map-max", LB_DEFAULT, 8),
        fixed("IPv6 service reverse NAT", ("lb6_reverse_nat",), "bpf-lb-rev-nat-map-max", LB_DEFAULT, 20),
        MapRow("Metrics", ("metrics",), 1_024, 24, "fixed", per_cpu=True),
        MapRow("Ratelimit metrics", ("ratelimit_metrics",), 64, 12, "fixed"),
        MapRow("NAT", ("snat_v4_external", "snat_v6_external"), found.nat, NAT_ELEMENT_B, how("bpf-nat-global-max")),
        MapRow(
            "Neighbor table",
            ("nodeport_neigh4", "nodeport_neigh6"),
            found.neigh,
            NEIGH_ELEMENT_B,
            how("bpf-neigh-global-max"),
        ),
        fixed("Endpoint policy", ("policy_v2_ENDPOINT",), "bpf-policy-map-max", 16_384, 20),
        MapRow("Policy stats", ("policystats",), 65_536, 28, "fixed", per_cpu=True),
        fixed("Session affinity", ("lb4_affinity", "lb6_affinity"), "bpf-lb-affinity-map-max", LB_DEFAULT, 40),
        MapRow(
            "Sock reverse NAT",
            ("lb4_reverse_sk", "lb6_reverse_sk"),
            found.sock_rev,
            SOCK_REV_ELEMENT_B,
            how("bpf-sock-rev-map-max"),
        ),
    )
    return Sizing(memory_b, ratio, cpus, distributed_lru, found, rows, warnings)


def ratio_for(connections: int, memory_b: int, cpus: int = 1, *, distributed_lru: bool = False) -> float:
    """Return the least ratio (to six decimals, as the agent prints it) that gives so many TCP connections.

    Raises:
        KubedynoError: No ratio up to 1 does; the line says what is the most.
    """
    if connections <= 0:
        raise KubedynoError(f"connections: must be 1 or more, not {connections}")

    def entries(ratio: float) -> int:
        return dynamic(memory_b, ratio, cpus, distributed_lru=distributed_lru)[0].ct_tcp

    top = entries(1.0)
    if top < connections:
        limit = "the hard maximum of a table" if top >= LIMIT_MAX - cpus else "all of this memory"
        raise KubedynoError(f"{connections} TCP connections: at most {top} fit ({limit})")
    steps = 1_000_000
    low, high = 1, steps
    while low < high:
        middle = (low + high) // 2
        if entries(middle / steps) >= connections:
            high = middle
        else:
            low = middle + 1
    return low / steps


def grade(pressure: float) -> str:
    """Grade a map's pressure, the ratio of wanted to configured entries.

    Bounds: 0.9 is clusterloader2's gate for `cilium_bpf_map_pressure`; at 1 an entry is refused (or, in an LRU map,
    another one is thrown out).
    """
    if math.isnan(pressure) or pressure < 0:
        raise ValueError(f"a pressure cannot be {pressure}")
    if pressure >= 1:
        return "full"
    if pressure >= 0.9:
        return "critical"
    return "warning" if pressure >= 0.7 else "ok"


# --- load balancing -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Demand:
    """Entries that services need of the load-balancing maps, all families together."""

    services: int
    backends: int
    reverse_nat: int

    def pressures(self, entries: int = LB_DEFAULT) -> dict[str, float]:
        """Return each map's pressure at so many configured entries."""
        return {
            "IPv4 service": self.services / entries,
            "IPv4 service backend": self.backends / entries,
            "IPv4 service reverse NAT": self.reverse_nat / entries,
        }


def demand(frontends: Mapping[str, int], backends: int) -> Demand:
    """Return what frontends need: one entry for each, one for each of its backends, one reverse NAT.

    Args:
        frontends: Frontend (address, port and protocol) → number of its backends.
        backends: Distinct backends of all of them.
    """
    return Demand(
        services=sum(1 + count for count in frontends.values()),
        backends=backends,
        reverse_nat=len(frontends),
    )


# --- cilium status ------------------------------------------------------------------------------------------------

_STATUS_HEAD = re.compile(r"^BPF Maps:\s+dynamic sizing: (?:on \(ratio: ([0-9.]+)\)|off)", re.MULTILINE)
_STATUS_ROW = re.compile(r"^ {2}(\S.*?)\s{2,}(\d+)\s*$")


@dataclass(frozen=True, slots=True)
class Status:
    """The map table of a `cilium status --verbose`; `ratio` is None without dynamic sizing."""

    ratio: float | None
    sizes: dict[str, int]


@dataclass(frozen=True, slots=True)
class Difference:
    """A row whose size is not what the formula gives."""

    name: str
    shown: int
    computed: int


def parse_status(text: str, path: str) -> Status:
    """Return the map table of a status output; rows that are not there are left out.

    Raises:
        KubedynoError: There is no table in it.
    """
    head = _STATUS_HEAD.search(text)
    if head is None:
        raise KubedynoError(f'{path}: no "BPF Maps:" section; take the output of: cilium-dbg status --verbose')
    sizes: dict[str, int] = {}
    for line in text[head.end() :].splitlines()[1:]:
        found = _STATUS_ROW.match(line)
        if found:
            sizes[found[1]] = int(found[2])
        elif line and not line.startswith(" "):
            break
    if not sizes:
        raise KubedynoError(f'{path}: the "BPF Maps:" section has no rows: the output is cut off')
    return Status(float(head[1]) if head[1] else None, sizes)


def compare(status: Status, computed: Sizing) -> tuple[list[Difference], list[str]]:
    """Return rows that differ, and names of rows that the status does not have."""
    differences = [
        Difference(row.name, status.sizes[row.name], row.entries)
        for row in computed.rows
        if row.name in status.sizes and status.sizes[row.name] != row.entries
    ]
    return differences, [row.name for row in computed.rows if row.name not in status.sizes]


def memory_of_status(status: Status, cpus: int = 1) -> tuple[int, int] | None:
    """Return the range of memory, bytes, that gives a status' TCP table; None when it stands at a limit."""
    tcp = status.sizes.get("TCP connection tracking")
    if tcp is None or not status.ratio or tcp <= CT_TCP_AUTO_MIN + cpus or tcp >= LIMIT_MAX - cpus:
        return None
    low = -(-(tcp - cpus + 1) * TOTAL_B // CT_TCP_DEFAULT)
    high = (tcp + 1) * TOTAL_B // CT_TCP_DEFAULT
    return int(low / status.ratio), int(high / status.ratio)
