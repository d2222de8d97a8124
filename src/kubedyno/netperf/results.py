"""What the generators print → figures of one run. Pure.

netperf: lines of nine comma-separated fields, those that begin with a digit; iperf3: `-J`; our own: one JSON object.
"""

from typing import Any

import msgspec
import orjson

from kubedyno.base.errors import KubedynoError
from kubedyno.datapath import iperf3
from kubedyno.datapath.iperf3 import Throughput
from kubedyno.netperf.plan import Tool

_FIELDS = 9
_MEGABITS = "10^6bits/s"


class Figures(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of one run; None is what the test does not measure. Latencies are µs, throughput is bits a second."""

    min_us: float | None = None
    mean_us: float | None = None
    max_us: float | None = None
    p50_us: float | None = None
    p90_us: float | None = None
    p99_us: float | None = None
    per_s: float | None = None
    bps: float | None = None
    retransmits: int | None = None
    lost_percent: float | None = None
    jitter_us: float | None = None


def figures_of(tool: Tool, test: str, streams: int, output: bytes) -> Figures:
    """Return the figures of a run.

    Args:
        tool: What made the traffic.
        test: E.g. "TCP_STREAM_MULTI".
        streams: Of a *_MULTI test.
        output: Its standard output.

    Raises:
        KubedynoError: The output is not what the tool prints.
    """
    if tool is Tool.NETPERF:
        return netperf(test, streams if test.endswith("_MULTI") else 1, output.decode(errors="replace"))
    if tool is Tool.IPERF3:
        return of_iperf3(iperf3.parse(output))
    return own(output)


def of_iperf3(found: Throughput) -> Figures:
    """Return the figures of what iperf3 said."""
    return Figures(
        bps=found.bps, retransmits=found.retransmits, lost_percent=found.lost_percent, jitter_us=found.jitter_us
    )


def netperf(test: str, expected: int, text: str) -> Figures:
    """Return the figures of netperf's lines.

    Raises:
        KubedynoError: There are more or fewer lines than expected, or one is no result of such a test.
    """
    lines = [line for line in text.splitlines() if line[:1].isdigit()]
    if len(lines) != expected:
        raise KubedynoError(f"Unable to process netperf result: expected {expected}, got {len(lines)}")
    rows = [line.strip().split(",") for line in lines]
    for row in rows:
        if len(row) != _FIELDS:
            raise KubedynoError(f"Unable to process netperf result: expected {_FIELDS} fields, got {len(row)}: {row}")
    try:
        values = [[float(word) for word in row[:8]] for row in rows]
    except ValueError as error:
        raise KubedynoError(f"Unable to process netperf result: {error}") from error
    if test.endswith("RR"):
        low, mean, high, p50, p90, p99, rate, _ = values[0]
        return Figures(low, mean, high, p50, p90, p99, rate)
    for row in rows:
        if row[8] != _MEGABITS:
            raise KubedynoError(f"Unable to process netperf result: unit {row[8]}, must be {_MEGABITS}")
    return Figures(bps=sum(row[7] for row in values) * 1e6)


def own(output: bytes) -> Figures:
    """Return the figures of our own generators.

    Raises:
        KubedynoError: The output is none of theirs.
    """
    try:
        document: dict[str, Any] = orjson.loads(output)
        driven, served = document["drive"], document["serve"]
        if "latency" in driven:
            names = ("min_us", "mean_us", "max_us", "p50_us", "p90_us", "p99_us", "per_s")
            return msgspec.convert({name: driven["latency"][name] for name in names}, Figures)
        if "streams" in driven:
            received = [one for one in served["streams"] if not one["sends"]]
            return Figures(bps=sum(one["bytes"] * 8 / one["seconds"] for one in received))
        arrived = served["received"]
        asked = arrived["asked"] or arrived["datagrams"]
        return Figures(
            bps=arrived["bytes"] * 8 / arrived["seconds"],
            lost_percent=100 * arrived["lost"] / asked if asked else 0.0,
            jitter_us=arrived["jitter_us"],
        )
    except (orjson.JSONDecodeError, msgspec.ValidationError, KeyError, TypeError, ZeroDivisionError) as error:
        start = output[:200].decode(errors="replace").strip()
        raise KubedynoError(f"no result of the generator in {start!r} ({error})") from error


def law_error_percent(figures: Figures) -> float | None:
    """Return by how much the rate of a request/response test differs from 1e6 / mean latency, None for others."""
    if not figures.per_s or not figures.mean_us:
        return None
    return abs(figures.per_s * figures.mean_us / 1e6 - 1) * 100
