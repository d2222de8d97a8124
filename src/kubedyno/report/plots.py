"""What a report draws of a run's documents: percentiles, latency over time, the API's verbs, nodes, warnings, host.

Pure: documents in, HTML out. Whatever was recorded, a picture has at most `BINS` points a line.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from kubedyno.documents.circumstances import NEVER, Circumstances, NodeDocument, PodsDocument
from kubedyno.documents.run import JobDocument
from kubedyno.kube import yaml
from kubedyno.report import svg
from kubedyno.report.escaping import escape
from kubedyno.report.jobs import sample_words
from kubedyno.stats.quantiles import summary_of

BINS = 400
# A time of so much of the whole in which no pod was made is a gap in a line.
_GAP_SHARE = 0.05
MOST_NODES = 40
MOST_REASONS = 20
MOST_CONFIG = 64 * 1024


def timeline(entries: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], float]:
    """Return at most `BINS` entries of a timeline, rates averaged, pods as at the end; and the seconds of each."""
    size = -(-len(entries) // BINS) or 1
    if size == 1:
        return list(entries), 1.0
    found = []
    for start in range(0, len(entries), size):
        part = entries[start : start + size]
        one: dict[str, Any] = {
            name: sum(entry.get(name, 0) for entry in part) / len(part)
            for name in ("sent", "accepted", "failed", "asked")
        }
        found.append(one | {"second": part[0].get("second", start), "pods": part[-1].get("pods", {})})
    return found, float(size)


def percentiles(job: JobDocument) -> str:
    """Return the HDR percentile plot of a job's requests, "" without histograms."""
    series = {}
    for name, pairs in job.hdr_us.items():
        if points := _percentile_points(pairs):
            series[sample_words(name)] = points
    if not series:
        return ""
    right = max(points[-1][0] for points in series.values())
    marks = [(0.0, "0"), (1.0, "90 %"), (2.0, "99 %"), (3.0, "99.9 %"), (4.0, "99.99 %"), (5.0, "99.999 %")]
    picture = svg.curve("latency by percentile", "ms", series, [mark for mark in marks if mark[0] <= max(right, 1.0)])
    return f"<h4>Latency by percentile</h4>{picture}"


def _percentile_points(pairs: Sequence[tuple[int, int]]) -> list[tuple[float, float]]:
    """Return (number of nines, ms): where the line stands says how many requests were faster."""
    total, seen = sum(count for _, count in pairs), 0
    points: list[tuple[float, float]] = []
    for value, count in sorted(pairs):
        # The middle of what is in the bucket: the last one would be at infinity.
        nines = -math.log10(1 - (seen + count / 2) / total) if total else 0.0
        seen += count
        if not points or nines - points[-1][0] >= 5 / BINS or seen == total:
            points.append((nines, value / 1000))
    return points


def over_time(documents: Sequence[PodsDocument]) -> str:
    """Return how long pods took to be Ready, by when they were created; "" without any."""
    pairs = [
        (created / 1000, float(ready - created))
        for document in documents
        for created, ready in zip(document.created, document.ready, strict=True)
        if ready != NEVER
    ]
    if not pairs:
        return ""
    last = max(at for at, _ in pairs)
    width = max(last / BINS, 0.25)
    bins: dict[int, list[float]] = {}
    for at, took in pairs:
        bins.setdefault(int(at / width), []).append(took)
    series: dict[str, list[tuple[float, float]]] = {"P50": [], "P99": [], "max": []}
    for number in sorted(bins):
        found, x = summary_of(bins[number]), number * width
        for name, value in (("P50", found.p50), ("P99", found.p99), ("max", found.maximum)):
            series[name].append((x, value))
    marks = [(second, f"{second:g} s") for second in svg.ticks_to(last) if second <= last] or [(0.0, "0 s")]
    picture = svg.curve("created to Ready by time of creation", "ms", series, marks, gap=last * _GAP_SHARE)
    return f"<h4>Created → Ready, by when pods were created</h4>{picture}"


def around(found: Circumstances) -> str:
    """Return what surrounds a run."""
    parts = [_api(found), _nodes(found.nodes), _warnings(found), _host(found), _config(found)]
    if found.missing:
        parts.append(f"<p class=small>Not in the directory: {escape('; '.join(found.missing))}.</p>")
    return "\n".join(part for part in parts if part)


def _api(found: Circumstances) -> str:
    if not found.api:
        return ""
    rows = [
        [each.verb, str(each.requests), *(f"{v:.1f}" for v in (each.p50_ms, each.p95_ms, each.p99_ms))]
        for each in found.api
    ]
    picture = svg.bars(
        "P99 of the API server by verb", "ms", [(each.verb, (each.p99_ms,), 0.0) for each in found.api], ("P99",)
    )
    return f"<h3>API latency by verb, of all clients</h3>{table([['verb', 'requests', 'P50, ms', 'P95, ms', 'P99, ms'], *rows])}{picture}"


def _nodes(nodes: Sequence[NodeDocument]) -> str:
    if not nodes:
        return ""
    parts = ("pods of others", "pods of the run, when most")
    if len(nodes) <= MOST_NODES:
        rows = [(n.name, (float(n.others), float(n.most)), float(_limit(n))) for n in nodes]
        picture = svg.bars("pods a node", "pods", rows, parts)
    else:
        tenths = Counter(min(int(10 * (n.others + n.most) / _limit(n)), 10) if _limit(n) else 0 for n in nodes)
        labels = [f"{10 * tenth} to {10 * tenth + 10} % full" for tenth in range(10)] + ["full"]
        picture = svg.bars(
            "nodes by fill", "nodes", [(labels[t], (float(tenths[t]),), 0.0) for t in range(11)], ("nodes",)
        )
    return f"<h3>Node fill</h3>{picture}<p class=small>The limit is the smaller of maxPods and the addresses of the PodCIDR.</p>"


def _limit(node: NodeDocument) -> int:
    return node.max_pods if node.addresses is None else min(node.max_pods, node.addresses)


def _warnings(found: Circumstances) -> str:
    counts: Counter[tuple[str, str]] = Counter()
    for event in found.events:
        if event.type == "Warning":
            counts[event.reason, event.kind] += event.count
    example = {(event.reason, event.kind): event.message for event in found.events if event.type == "Warning"}
    if not counts:
        return ""
    rows = [
        [reason, kind, str(n), example[reason, kind][:200]] for (reason, kind), n in counts.most_common(MOST_REASONS)
    ]
    return f"<h3>Warnings in the run's namespaces</h3>{table([['reason', 'of', 'times', 'the last'], *rows])}"


def _host(found: Circumstances) -> str:
    host = found.host
    if host is None:
        return ""
    loads = f"{', '.join(f'{v:.2f}' for v in host.load_begin)} → {', '.join(f'{v:.2f}' for v in host.load_end)}"
    rows: Mapping[str, str] = {
        "kernel": f"{host.kernel} {host.machine}",
        "CPUs, memory": f"{host.cpus}, {host.memory_bytes / 2**30:.1f} GiB",
        "load averages": loads,
        "CPU of the load side": f"{host.cpu_s:.1f} s",
        "versions": ", ".join(f"{name} {version}" for name, version in host.versions.items()),
    }
    return f"<h3>The machine that made the load</h3>{table([['fact', ''], *([k, v] for k, v in rows.items())])}"


def _config(found: Circumstances) -> str:
    if found.config is None:
        return ""
    text = yaml.dump(found.config.configuration)
    cut = "" if len(text) <= MOST_CONFIG else "\n… (the rest is in the directory)"
    head = f"Configuration as it acted: {found.config.path}, SHA-256 {found.config.digest[:12]}"
    return f"<details><summary>{escape(head)}</summary><pre>{escape(text[:MOST_CONFIG] + cut)}</pre></details>"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return a table; the first row is its head."""
    head, *body = rows
    parts = ["<table><tr>", *(f"<th>{escape(cell)}</th>" for cell in head), "</tr>"]
    for row in body:
        parts += ["<tr>", *(f"<td>{escape(cell)}</td>" for cell in row), "</tr>"]
    return "".join([*parts, "</table>"])
