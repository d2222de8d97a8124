"""Figures → what is worth knowing, in words, with the evidence and what to do. Pure: one rule a function.

In: the rows of a run, what the kernel can do, its settings. Out: findings. Nothing is said that the run did not see.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kubedyno.datapath.compare import ratio_of
from kubedyno.datapath.topology import DEFAULT_GSO_BYTES, Path, Place
from kubedyno.documents.net import Missing, NetFinding, Ratio, Row
from kubedyno.kernel.probe import Features

# Cilium's own words when it is asked for netkit on a kernel without it.
CILIUM_NETKIT = "netkit devices need kernel 6.7.0 or newer and CONFIG_NETKIT"
CILIUM_BIG_TCP = "Could not modify IPv4 gro_max_size and gso_max_size, disabling BIG TCP"
# BIG TCP is meant to gain; less than this of the throughput without it is a collapse and no noise.
_COLLAPSE = 0.7
# OP/s x mean µs / 1e6: a request is sent as soon as the one before is answered, so it is 1 but for what lies between.
LAW_TOLERANCE = 0.05


@dataclass(frozen=True, slots=True)
class Seen:
    """What the rules look at."""

    rows: Sequence[Row]
    features: Features
    congestion_control: str

    def row(self, path: Path, like: Row, gso: int | None = None, test: str = "") -> Row | None:
        """Return the row of a path (and size, and test) with everything else as in `like`."""
        wanted = (path, like.place, like.family, like.mtu, gso or like.gso_max_size, test or like.test)
        for row in self.rows:
            if (row.datapath, row.place, row.family, row.mtu, row.gso_max_size, row.test) == wanted:
                return row
        return None


def by_round(row: Row, figure: str) -> dict[int, float]:
    """Return a figure of each round that has it."""
    return {one.round: one.figures[figure] for one in row.rounds if figure in one.figures}


def findings_of(seen: Seen) -> list[NetFinding]:
    """Return everything that the rules find, the most telling first."""
    return [finding for rule in _RULES for finding in rule(seen)]


def _percent(ratio: Ratio) -> str:
    change = 100 * (ratio.median - 1)
    word = "less" if change < 0 else "more"
    span = f"x{ratio.low:.2f} to x{ratio.high:.2f} in {ratio.rounds} rounds, {100 * ratio.confidence:.0f} % interval"
    return f"{abs(change):.0f} % {word} ({span})"


def _where(row: Row) -> str:
    return f"{row.place}, IPv{row.family}{'' if row.mtu == 1500 else f', MTU {row.mtu}'}"


def _unproven(seen: Seen) -> Iterator[NetFinding]:
    for row in seen.rows:
        failed = [proof for one in row.rounds for proof in one.proofs if not proof.held and not one.error]
        path = [proof for proof in failed if not proof.claim.startswith("BIG TCP")]
        if path:
            yield NetFinding(
                f"{row.variant}, {_where(row)}, {row.test}: the packets did not take this path in {len(path)} of "
                f"{len(row.rounds)} rounds; its figures are another path's",
                sorted({proof.claim for proof in path}),
                ["do not use this row; see the counters in the documents"],
            )


def _errors(seen: Seen) -> Iterator[NetFinding]:
    for row in seen.rows:
        errors = sorted({one.error for one in row.rounds if one.error})
        if errors:
            count = sum(bool(one.error) for one in row.rounds)
            yield NetFinding(
                f"{row.variant}, {_where(row)}, {row.test}: {count} of {len(row.rounds)} rounds failed", errors, []
            )


def _big_tcp(seen: Seen) -> Iterator[NetFinding]:
    for row in seen.rows:
        if row.gso_max_size <= DEFAULT_GSO_BYTES or "bps" not in row.median:
            continue
        without = seen.row(Path(row.datapath), row, DEFAULT_GSO_BYTES)
        ratio = ratio_of("64 KiB", by_round(row, "bps"), by_round(without, "bps")) if without else None
        if ratio is None:
            continue
        too_big = row.median.get("ip_too_big", 0)
        if ratio.median < _COLLAPSE:
            assert without is not None, "there is no ratio without it"
            counted = "Ip6InTooBigErrors" if row.family == 6 else "FragFails"
            evidence = [
                f"{row.median['bps'] / 1e9:.1f} Gbit/s against {without.median['bps'] / 1e9:.1f} without BIG TCP",
                *_sizes(row),
                f"{row.median.get('retransmits', 0):.0f} retransmits; too big for the nodes: {too_big:.0f} ({counted})",
            ]
            forwarded = row.datapath in {Path.ROUTE, Path.ROUTE_NFT, Path.VXLAN}
            yield NetFinding(
                f"IPv{row.family} BIG TCP ({row.gso_max_size} bytes) collapses on {row.datapath}, {_where(row)}: "
                f"x{ratio.median:.2f} of the throughput without it",
                evidence,
                ["the kernel's forwarding does not take such packets: use eBPF host routing, which goes past it, or no BIG TCP"]
                if forwarded
                else ["do not set gso_max_size above 65536 on this path"],
            )  # fmt: skip
        elif ratio.resolved:
            yield NetFinding(
                f"IPv{row.family} BIG TCP ({row.gso_max_size} bytes) on {row.datapath}, {_where(row)}: "
                f"x{ratio.median:.2f} of the throughput without it",
                [f"x{ratio.low:.2f} to x{ratio.high:.2f} in {ratio.rounds} rounds", *_sizes(row)],
                [],
            )


def _sizes(row: Row) -> list[str]:
    mean = row.median.get("mean_packet_bytes")
    return [f"packets of {mean:.0f} bytes on average left the client"] if mean else []


def _against(seen: Seen, path: Path, other: Path, words: str) -> Iterator[NetFinding]:
    for row in seen.rows:
        if row.datapath != path or row.gso_max_size > DEFAULT_GSO_BYTES:
            continue
        if path is Path.VXLAN and row.place == Place.SAME:
            continue  # on one node there is no tunnel to go through
        theirs = seen.row(other, row)
        figure = "p50_us" if "p50_us" in row.median else "cpu_s_per_gb"
        ratio = ratio_of(other, by_round(row, figure), by_round(theirs, figure)) if theirs else None
        if ratio is None:
            continue
        what = "latency (P50)" if figure == "p50_us" else "CPU per GB"
        if ratio.resolved:
            yield NetFinding(f"{words}, {_where(row)}, {row.test}: {_percent(ratio)} {what}", [], [])
        else:
            yield NetFinding(
                f"{words}, {_where(row)}, {row.test}: {what} not resolved "
                f"(x{ratio.low:.2f} to x{ratio.high:.2f} in {ratio.rounds} rounds)",
                [],
                ["more rounds (--rounds), or a quieter machine"],
            )


def _ebpf(seen: Seen) -> Iterator[NetFinding]:
    yield from _against(seen, Path.EBPF, Path.ROUTE, "eBPF host routing against kernel routing")
    yield from _against(
        seen, Path.EBPF, Path.ROUTE_NFT, "eBPF host routing against routing with conntrack and service rules"
    )


def _vxlan(seen: Seen) -> Iterator[NetFinding]:
    yield from _against(seen, Path.VXLAN, Path.ROUTE, "VXLAN against kernel routing")


def _better_than_host(seen: Seen) -> Iterator[NetFinding]:
    rows = [
        row
        for row in seen.rows
        for ratio in row.ratios.get("bps", [])
        if ratio.to == "host"
        and ratio.median > 1
        and row.gso_max_size <= DEFAULT_GSO_BYTES
        and row.datapath != Path.HOST
    ]
    if rows:
        yield NetFinding(
            "A path that beats the host itself in throughput is noise, or differs in how packets are batched",
            [f"{row.variant}, {_where(row)}, {row.test}: x{row.ratios['bps'][0].median:.2f}" for row in rows],
            ["trust latency and CPU per GB; throughput over one or two shared processors says little"],
        )


def _law(seen: Seen) -> Iterator[NetFinding]:
    off = []
    count = 0
    for row in seen.rows:
        for one in row.rounds:
            if "per_s" not in one.figures or row.test == "tcp-crr":
                continue
            count += 1
            law = one.figures["per_s"] * one.figures["mean_us"] / 1e6
            if abs(law - 1) > LAW_TOLERANCE:
                off.append(f"{row.variant}, {_where(row)}, {row.test}, round {one.round}: {law:.3f}")
    if off:
        yield NetFinding(
            f"The law transactions/s x mean = 1 is broken in {len(off)} of {count} runs: requests were lost or the "
            "client was stopped",
            off[:10],
            ["do not use these rounds"],
        )
    elif count:
        yield NetFinding(
            f"The law transactions/s x mean latency = 1 holds in all {count} request/response runs", [], []
        )


def _congestion_control(seen: Seen) -> Iterator[NetFinding]:
    if not seen.features["bbr"].works or seen.features["fq"].works:
        return
    for row in seen.rows:
        cubic = seen.row(Path(row.datapath), row, test="tcp") if row.test == "tcp-bbr" else None
        ratio = ratio_of("cubic", by_round(row, "bps"), by_round(cubic, "bps")) if cubic else None
        if ratio is not None:
            said = f"x{ratio.median:.2f} of cubic's throughput{'' if ratio.resolved else ' (not resolved)'}"
            yield NetFinding(
                f"bbr without the fq queueing discipline, {row.datapath}, {_where(row)}: {said}",
                [
                    f"x{ratio.low:.2f} to x{ratio.high:.2f} in {ratio.rounds} rounds",
                    f"fq: {seen.features['fq'].why}",
                ],
                ["set net.core.default_qdisc=fq on a kernel that has it, or use cubic"],
            )
    if seen.congestion_control == "bbr":
        yield NetFinding(
            "This system's default congestion control is bbr, and its kernel has no fq queueing discipline",
            [f"fq: {seen.features['fq'].why}"],
            ["the tests set congestion control on each socket (cubic unless told) and never take the system's"],
        )


_RULES: tuple[Callable[[Seen], Iterator[NetFinding]], ...] = (
    _unproven,
    _errors,
    _big_tcp,
    _ebpf,
    _vxlan,
    _better_than_host,
    _law,
    _congestion_control,
)


def missing_of(features: Features, asked: Sequence[Path]) -> dict[Path, Missing]:
    """Return the datapaths that cannot be built here, with exactly why.

    Args:
        features: Of this kernel, under the rights of this process.
        asked: Datapaths in question.
    """
    found = {}
    for path in asked:
        lacking = [(name, features[name].why) for name in _needs(features)[path] if not features[name].works]
        if not lacking:
            continue
        # Without bpf(2) nothing built on it works, for the same reason.
        why = list({text: f"{name}: {text}" for name, text in reversed(lacking)}.values())[::-1]
        if path is Path.NETKIT and not features["netkit"].works:
            why.append(f'this kernel is {features.kernel}; Cilium says on such a node: "{CILIUM_NETKIT}"')
        if any(name in {"bpf", "tcx", "clsact"} for name, _ in lacking) and not features.root:
            why.append("eBPF needs root: a user namespace may make devices and routes, but load no programs")
        found[path] = Missing(f"datapath {path}", why)
    return found


def _needs(features: Features) -> Mapping[Path, tuple[str, ...]]:
    # tcx, or clsact on kernels before 6.6: one of them is enough.
    hook = "tcx" if features["tcx"].works or not features["clsact"].works else "clsact"
    ebpf = ("veth", "bpf", "redirect_peer", "redirect_neigh", hook)
    return {
        Path.HOST: ("veth",),
        Path.BRIDGE: ("veth", "bridge"),
        Path.ROUTE: ("veth",),
        Path.ROUTE_NFT: ("veth", "nftables"),
        Path.VXLAN: ("veth", "vxlan"),
        Path.EBPF: ebpf,
        Path.NETKIT: ("netkit", *ebpf[1:]),
    }
