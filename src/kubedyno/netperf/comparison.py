"""Pods against hosts, and the CSV, as k8s-netperf (cloud-bulldozer) has them, so that its users' scripts go on. Pure."""

import csv
import io
from collections.abc import Iterator, Sequence
from statistics import fmean

from kubedyno.netperf.plan import Options
from kubedyno.netperf.tables import Result, interval_of

_HEADER = (
    "Driver", "Profile", "Same node", "Host Network", "VM mode", "Service", "External Server", "UDN Info",
    "Bridge Info", "SR-IOV Info", "Macvlan Info", "Localnet Info", "Duration", "Parallelism", "# of Samples",
    "Message Size", "Burst", "Confidence metric - low", "Confidence metric - high", "Avg Throughput",
    "Throughput Metric", "99%tile Observed Latency", "Latency Metric",
)  # fmt: skip
_COMPARED = "TCP_STREAM"
_SAME = "same-node"


def csv_of(options: Options, results: Sequence[Result]) -> str:
    """Return a line for each test of each pair of ends: the mean over its samples, with its 95 % interval.

    What this tool has no notion of (virtual machines, secondary networks) is "false" or empty; the interval of one sample
    is 0 to 0, as the original writes it.
    """
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(_HEADER)
    for group in _groups(results):
        action = group[0].action
        values = [(one.figures.per_s if action.is_latency else (one.figures.bps or 0.0) / 1e6) or 0.0 for one in group]
        low, high = interval_of(values) if len(values) > 1 else (0.0, 0.0)
        multi = action.test.endswith("_MULTI")
        udp = action.test.startswith("UDP_STREAM")
        lines.writerow(
            (
                options.tool,
                action.test.removesuffix("_MULTI"),
                _flag(action.node == _SAME),
                _flag(action.scenario == "host-to-host"),
                "false",
                _flag(action.scenario.endswith("-service")),
                "false", "", "", "", "", "",
                f"{options.duration_s:g}",
                options.streams if multi else 1,
                len(values),
                options.msg_size if udp else options.messages or "",
                0,
                f"{low:f}", f"{high:f}", f"{fmean(values):f}",
                "OP/s" if action.is_latency else "Mb/s",
                f"{fmean(one.figures.p99_us or 0.0 for one in group):f}",
                "usec",
            )
        )  # fmt: skip
    return text.getvalue()


def verdicts_of(results: Sequence[Result], tolerance_percent: float) -> list[tuple[bool, str]]:
    """Return for each placement whether pods reach what hosts reach, by k8s-netperf's rule, and the line that says so.

    The difference is of TCP_STREAM with one stream, in percent of the mean of both; pods that are faster pass.
    """
    means: dict[tuple[str, str], float] = {}
    for group in _groups(results):
        action = group[0].action
        if action.test == _COMPARED:
            means[action.node, action.scenario] = fmean(one.figures.bps or 0.0 for one in group)
    found = []
    for node in dict.fromkeys(node for node, _ in means):
        host, pod = means.get((node, "host-to-host")), means.get((node, "pod-to-pod"))
        if host is None or pod is None or not host + pod:
            continue
        percent = (host - pod) / ((host + pod) / 2) * 100
        passed = percent <= tolerance_percent
        mark, side = ("✅", "within") if passed else ("❌", "beyond")
        rates = f"host {host / 1e6:.2f} Mb/s, pod {pod / 1e6:.2f} Mb/s"
        line = f"{mark} {_COMPARED} {node}: {rates}, difference {percent:.1f} % {side} {tolerance_percent:g} %"
        found.append((passed, line))
    return found


def _groups(results: Sequence[Result]) -> Iterator[list[Result]]:
    """Yield the samples of each test between two ends, in the order of the first ones."""
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for one in results:
        groups.setdefault((one.action.scenario, one.action.node, one.action.test), []).append(one)
    yield from groups.values()


def _flag(value: object) -> str:
    return "true" if value else "false"
