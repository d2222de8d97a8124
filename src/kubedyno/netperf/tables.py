"""Results as `cilium connectivity perf` prints and files them: two tables, and perfdash's JSON. Pure."""

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any, NamedTuple

import msgspec
import orjson

from kubedyno.base.times import go_duration
from kubedyno.netperf.plan import Action
from kubedyno.netperf.results import Figures

_LATENCY_RULER, _THROUGHPUT_RULER = "-" * 200, "-" * 88
_LATENCY_WIDTHS = (15, 10, *[15] * 8)
_THROUGHPUT_WIDTHS = (15, 10, 18, 15)
# Student's t at 0.975, by degrees of freedom from 1.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
_T_MANY = 1.96


class Result(NamedTuple):
    """A run and what it measured."""

    action: Action
    figures: Figures


def values_of(figures: Figures) -> dict[str, float]:
    """Return the figures that there are, by name."""
    return {name: float(value) for name, value in msgspec.structs.asdict(figures).items() if value is not None}


def lines_of(namespace: str, results: list[Result], duration_s: float) -> list[str]:
    """Return the printed summary."""
    duration = go_duration(round(duration_s * 1e9))
    lines = [f"🔥 Network Performance Test Summary [{namespace}]:"]
    latency = [result for result in results if result.action.is_latency]
    if latency:
        names = ("Scenario", "Node", "Test", "Duration", "Min", "Mean", "Max", "P50", "P90", "P99")
        lines += [_LATENCY_RULER, _row([*_padded(names, _LATENCY_WIDTHS), "Transaction rate OP/s"]), _LATENCY_RULER]
        for action, figures in latency:
            times = (
                figures.min_us, figures.mean_us, figures.max_us, figures.p50_us, figures.p90_us, figures.p99_us,
            )  # fmt: skip
            words = [action.scenario, action.node, action.test, duration, *(_time(value) for value in times)]
            lines.append(_row([*_padded(words, _LATENCY_WIDTHS), f"{figures.per_s or 0.0:<12.2f}"]))
        lines.append(_LATENCY_RULER)
    streams = [result for result in results if not result.action.is_latency]
    if streams:
        head = [*_padded(("Scenario", "Node", "Test", "Duration"), _THROUGHPUT_WIDTHS), "Throughput Mb/s"]
        lines += [_THROUGHPUT_RULER, _row(head), _THROUGHPUT_RULER]
        for action, figures in streams:
            rate = (figures.bps or 0.0) / 1e6
            words = _padded((action.scenario, action.node, action.test, duration), _THROUGHPUT_WIDTHS)
            lines.append(_row([*words, f"{rate:<12.2f}"]))
        lines.append(_THROUGHPUT_RULER)
    return lines


def _padded(words: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [f"{word:<{width}}" for word, width in zip(words, widths, strict=True)]


def _row(words: list[str]) -> str:
    return "📋 " + " | ".join(words)


def _time(value_us: float | None) -> str:
    return go_duration(round((value_us or 0.0) * 1000))


def intervals_of(results: list[Result]) -> list[str]:
    """Return the mean over samples with its 95 % interval (Student's t), where there are several."""
    groups: dict[tuple[str, str, str], list[float]] = {}
    for action, figures in results:
        value = figures.mean_us if action.is_latency else figures.bps
        if value is not None:
            groups.setdefault((action.scenario, action.node, action.test), []).append(value)
    lines = []
    for (scenario, node, test), values in groups.items():
        if len(values) < 2:
            continue
        scale, unit = (1.0, "us mean latency") if test.endswith("RR") else (1e6, "Mb/s")
        mean = fmean(values)
        low, high = (value / scale for value in interval_of(values))
        verdict = "" if resolved(low, high) else f": not resolved by {len(values)} samples"
        lines.append(f"{scenario} {node} {test}: {mean / scale:.2f} {unit}, 95% {low:.2f} to {high:.2f}{verdict}")
    return lines


def interval_of(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the mean of two values or more (Student's t)."""
    t = _T[len(values) - 2] if len(values) - 2 < len(_T) else _T_MANY
    mean, half = fmean(values), t * stdev(values) / len(values) ** 0.5
    return mean - half, mean + half


def resolved(low: float, high: float) -> bool:
    """Say whether an interval is narrower than its mean: a wider one says no more than an order of magnitude."""
    return high - low < (low + high) / 2


def perfdash_of(results: list[Result]) -> bytes:
    """Return perfdash's document: one item for each figure of each sample, indented by two."""
    items: list[dict[str, Any]] = []

    def add(action: Action, metric: str, unit: str, data: dict[str, float]) -> None:
        labels = {
            "metric": metric, "scenario": action.scenario, "node": action.node, "test_type": f"netperf-{action.test}",
        }  # fmt: skip
        items.append({"data": data, "unit": unit, "labels": labels})

    for action, figures in results:
        if action.is_latency:
            latency = {
                "Perc50": figures.p50_us or 0.0, "Perc90": figures.p90_us or 0.0, "Perc99": figures.p99_us or 0.0,
            }  # fmt: skip
            add(action, "Latency", "us", latency)
            add(action, "TransactionRate", "ops/s", {"Throughput": figures.per_s or 0.0})
        else:
            add(action, "Throughput", "Mb/s", {"Throughput": (figures.bps or 0.0) / 1e6})
    return orjson.dumps({"version": "v1", "dataItems": items}, option=orjson.OPT_INDENT_2) + b"\n"
