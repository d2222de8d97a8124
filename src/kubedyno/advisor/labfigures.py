"""A network lab's own figures in the place of published ones: what a change gave on this very kernel.

In: documents of `kubedyno net lab`, findings. Out: the findings, those whose change the lab has measured with its ratio as
the expected effect. Rounds are paired, and one counts only if the kernel's counters proved the way of its packets.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from kubedyno.advisor.tuning import Advice
from kubedyno.base.errors import KubedynoError
from kubedyno.datapath.compare import ratio_of
from kubedyno.documents.net import FILE_NAME, NetLabRun, Ratio, Row


@dataclass(frozen=True, slots=True)
class _Measure:
    """What a rule's change gives: a figure of one path, test and MTU against that of another one; None: any."""

    figure: str
    words: str
    ours: str
    theirs: str
    tests: tuple[str, str]
    places: tuple[str, ...] = ("other-node",)
    family: int | None = None
    mtus: tuple[int, int] | None = None


_BOTH = ("same-node", "other-node")
_ROUND_TRIP = ("tcp-rr", "tcp-rr")
_STREAM = ("tcp", "tcp")
_BPS, _CPU = "bulk throughput", "CPU seconds a GB"
_HOST_ROUTING = (
    _Measure("p50_us", "round trips of 1 byte (P50)", "ebpf", "route-nft", _ROUND_TRIP, _BOTH),
    _Measure("cpu_s_per_gb", _CPU, "ebpf", "route-nft", _STREAM),
)
# Rule → what it changes, as the lab measures it.
_MEASURES: dict[str, tuple[_Measure, ...]] = {
    "host-routing": _HOST_ROUTING,
    "masquerade-host-routing": _HOST_ROUTING,
    "netkit": (_Measure("p50_us", "round trips of 1 byte (P50)", "netkit", "ebpf", _ROUND_TRIP, _BOTH),),
    "ipv4-big-tcp": (
        _Measure("bps", _BPS, "ebpf big-tcp-192k", "ebpf", _STREAM, family=4),
        _Measure("cpu_s_per_gb", _CPU, "ebpf big-tcp-192k", "ebpf", _STREAM, family=4),
    ),
    "ipv6-big-tcp": (
        _Measure("bps", _BPS, "ebpf big-tcp-192k", "ebpf", _STREAM, family=6),
        _Measure("cpu_s_per_gb", _CPU, "ebpf big-tcp-192k", "ebpf", _STREAM, family=6),
    ),
    "big-tcp-legacy-routing": (
        _Measure("bps", "IPv6 BIG TCP by eBPF: bulk throughput", "ebpf big-tcp-192k", "ebpf", _STREAM, family=6),
        _Measure("bps", "by legacy routing", "route big-tcp-192k", "route", _STREAM, family=6),
    ),
    "bbr": (_Measure("bps", "bulk throughput within one machine", "ebpf", "ebpf", ("tcp-bbr", "tcp")),),
    "mtu": (_Measure("bps", _BPS, "ebpf", "ebpf", _STREAM, mtus=(9000, 1500)),),
}
_UNRESOLVED = "not resolved"


def read(path: Path) -> NetLabRun:
    """Return the last run of a network lab that a metrics directory, or the file in it, holds.

    Raises:
        KubedynoError: There is none, or it is damaged.
    """
    file = path / f"{FILE_NAME}.json" if path.is_dir() else path
    try:
        runs = msgspec.json.decode(file.read_bytes(), type=list[NetLabRun])
    except FileNotFoundError:
        raise KubedynoError(f"{path}: no {FILE_NAME}.json in it; name the metrics directory of a net lab") from None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise KubedynoError(f"{file}: cannot be read as a net lab's document ({error})") from error
    if not runs:
        raise KubedynoError(f"{file}: holds no run")
    return runs[-1]


def with_figures(found: Iterable[Advice], run: NetLabRun, kernel: str | None) -> list[Advice]:
    """Return findings with the lab's ratios as expected effects, where it has measured what they change.

    Args:
        found: In their order, which stays.
        run: Of the lab.
        kernel: Release of the nodes' kernel; None: not known.
    """
    return [_with_figures(one, run, kernel) for one in found]


def _with_figures(one: Advice, run: NetLabRun, kernel: str | None) -> Advice:
    parts, rounds = [], 0
    for measure in _MEASURES.get(one.rule, ()):
        for place in measure.places:
            ratio = _ratio(run.rows, measure, place)
            if ratio is not None:
                where = {"same-node": "on one node", "other-node": "between nodes"}[place]
                parts.append(f"{measure.words} {_shown(ratio)} {where}")
                rounds = max(rounds, ratio.rounds)
    if not parts:
        return one
    here = "this kernel" if kernel == run.kernel else "another kernel than the nodes'" if kernel else "that kernel"
    source = (
        f"measured by kubedyno net lab on {here} ({run.kernel}), {rounds} paired rounds, started {run.started}; ratios,"
        " no absolutes"
    )
    return replace(one, effect="; ".join(parts), effect_source=source)


def _ratio(rows: list[Row], measure: _Measure, place: str) -> Ratio | None:
    """Return how many times theirs ours is, in the first family and MTU that has both."""
    mtus = measure.mtus
    for row in rows:
        if (row.variant, row.test, row.place) != (measure.ours, measure.tests[0], place):
            continue
        if measure.family not in {None, row.family} or (mtus is not None and row.mtu != mtus[0]):
            continue
        wanted = (measure.theirs, measure.tests[1], place, row.family, mtus[1] if mtus else row.mtu)
        other = next((o for o in rows if (o.variant, o.test, o.place, o.family, o.mtu) == wanted), None)
        if other is None or other is row:
            continue
        found = ratio_of(measure.theirs, _figures(row, measure.figure), _figures(other, measure.figure))
        if found is not None:
            return found
    return None


def _figures(row: Row, figure: str) -> dict[int, float]:
    return {
        one.round: one.figures[figure]
        for one in row.rounds
        if figure in one.figures and not one.error and all(proof.held for proof in one.proofs)
    }


def _shown(ratio: Ratio) -> str:
    sure = "" if ratio.resolved else f", {_UNRESOLVED}"
    return f"x{ratio.median:.2f} [{ratio.low:.2f}-{ratio.high:.2f}{sure}]"
