"""A run of the network lab → lines for the terminal and one self-contained HTML page. Needs no network."""

from collections.abc import Sequence

from kubedyno.documents.net import ENOUGH, NetFinding, NetLabRun, Ratio, Row
from kubedyno.report.escaping import escape
from kubedyno.report.html import _STYLE
from kubedyno.report.svg import COLOURS
from kubedyno.report.text import table

_INTRODUCTION = (
    "Two nodes with pods are network namespaces on this machine. Every round measures each datapath once, next to the host "
    "itself; a ratio is of the same round, its interval is that of the median, and a ratio whose interval holds 1, or with "
    "too few rounds, is not resolved. Proven means that the kernel's counters show the packets on that path."
)
_WIDTH, _BAR, _LEFT, _RIGHT = 760, 20, 190, 130
_LATENCY = ("DATAPATH", "P50 us", "P90", "P99", "OP/s", "P50 TO HOST", "INTERVAL", "PROVEN")
_THROUGHPUT = (
    "DATAPATH", "Gbit/s", "CPU s/GB", "LOST %", "JITTER us", "CPU TO HOST", "INTERVAL", "Gbit/s TO 64K", "PROVEN",
)  # fmt: skip


def _groups(rows: Sequence[Row]) -> dict[tuple[str, str, int, int], list[Row]]:
    groups: dict[tuple[str, str, int, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.test, row.place, row.family, row.mtu), []).append(row)
    return groups


def _is_latency(row: Row) -> bool:
    return row.test.endswith("rr")


def _ratio(row: Row, figure: str, to: str) -> Ratio | None:
    return next((ratio for ratio in row.ratios.get(figure, []) if ratio.to == to), None)


def _ratio_cells(ratio: Ratio | None) -> tuple[str, str]:
    if ratio is None:
        return "", ""
    span = f"{ratio.low:.2f}-{ratio.high:.2f}"
    if ratio.resolved:
        return f"x{ratio.median:.2f}", span
    return ("few rounds" if ratio.confidence < ENOUGH else "not resolved"), span


def _proven(row: Row) -> str:
    rounds = [one.proofs for one in row.rounds if not one.error]
    if not rounds:
        return "-"
    if not all(proofs[0].held for proofs in rounds):
        return "NO"
    return "yes" if all(proof.held for proofs in rounds for proof in proofs) else "path, not BIG TCP"


def _cells(row: Row) -> tuple[str, ...]:
    def number(name: str, digits: int, scale: float = 1.0) -> str:
        if name not in row.median:
            return ""
        value = row.median[name] / scale
        # A megabit of datagrams is not nothing.
        return f"{value:.{digits}f}" if value >= 0.1 or not value else f"{value:.{digits + 3}f}"

    if _is_latency(row):
        host = _ratio_cells(_ratio(row, "p50_us", "host"))
        figures = (number("p50_us", 1), number("p90_us", 1), number("p99_us", 1), number("per_s", 0))
        return (row.variant, *figures, *host, _proven(row))
    return (
        row.variant,
        number("bps", 2, 1e9),
        number("cpu_s_per_gb", 3),
        number("lost_percent", 2),
        number("jitter_us", 1),
        *_ratio_cells(_ratio(row, "cpu_s_per_gb", "host")),
        _ratio_cells(_ratio(row, "bps", "64 KiB"))[0],
        _proven(row),
    )


def _columns(rows: Sequence[Row]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return head and cells, without the columns that no row fills."""
    header = _LATENCY if _is_latency(rows[0]) else _THROUGHPUT
    cells = [_cells(row) for row in rows]
    kept = [i for i in range(len(header)) if any(row[i] for row in cells)]
    return tuple(header[i] for i in kept), [tuple(row[i] for i in kept) for row in cells]


def _title(key: tuple[str, str, int, int], rows: Sequence[Row]) -> str:
    test, place, family, mtu = key
    tool = rows[0].tool
    return f"{test}, {place}, IPv{family}, MTU {mtu} ({tool}, {len(rows[0].rounds)} rounds)"


def lines(run: NetLabRun) -> list[str]:
    """Return the tables, what was missing, the findings and the warnings."""
    found: list[str] = []
    for key, rows in _groups(run.rows).items():
        found += [_title(key, rows), *table(*_columns(rows)), ""]
    if run.gso_sizes:
        sizes = [
            (variant, pod, *(str(limits[name]) for name in _LIMITS))
            for variant, pods in run.gso_sizes.items()
            for pod, limits in pods.items()
        ]
        found += [
            "Largest packets of each pod (bytes), before and after BIG TCP",
            *table(("DATAPATH", "POD", *_LIMITS), sizes),
            "",
        ]
    for missing in run.missing:
        found += [f"not measured: {missing.what}", *(f"  {line}" for line in missing.why)]
    if run.missing:
        found.append("")
    for finding in run.findings:
        found += finding_lines(finding)
    found += [f"warning: {line}" for line in run.warnings]
    return found


_LIMITS = ("gso_max_size", "gro_max_size", "gso_ipv4_max_size", "gro_ipv4_max_size")


def finding_lines(finding: NetFinding) -> list[str]:
    """Return one finding, its title first, the rest indented."""
    return [
        finding.title,
        *(f"  seen: {line}" for line in finding.evidence if line),
        *(f"  do: {line}" for line in finding.remedy),
    ]


def page(run: NetLabRun) -> str:
    """Return the whole page."""
    title = "Network datapaths on this kernel"
    machine = " · ".join(f"{name} {value}" for name, value in run.machine.items())
    parts = [
        "<!doctype html><html lang=en><head><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width,initial-scale=1">',
        "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>",
        f"<p class=small>kernel {escape(run.kernel)} · {escape(machine)}<br>run {escape(run.uuid)}, {escape(run.started)} to ",
        f"{escape(run.ended)}, kubedyno {escape(run.kubedyno)}</p>",
        f"<p>{_INTRODUCTION}</p>",
    ]
    parts += [f'<div class="wall passing">{escape(line)}</div>' for line in run.warnings]
    if run.findings:
        parts.append("<h2>What was found</h2>")
        parts += [_finding(finding) for finding in run.findings]
    parts.append("<h2>Figures</h2>")
    for key, rows in _groups(run.rows).items():
        parts.append(f"<h3>{escape(_title(key, rows))}</h3>")
        figure, unit, scale = ("p50_us", "µs", 1.0) if _is_latency(rows[0]) else ("bps", "Gbit/s", 1e9)
        parts += [_bars(rows, figure, unit, scale), _html_table(rows)]
    parts += [_sizes(run), _missing(run), _proofs(run), "</body></html>\n"]
    return "\n".join(parts)


def _finding(finding: NetFinding) -> str:
    parts = [f'<div class="wall passing"><b>{escape(finding.title)}</b><dl>']
    for name, lines_ in (("Seen", finding.evidence), ("Do", finding.remedy)):
        if any(lines_):
            parts.append(f"<dt>{name}</dt>" + "".join(f"<dd>{escape(line)}</dd>" for line in lines_ if line))
    return "".join([*parts, "</dl></div>"])


def _html_table(rows: Sequence[Row]) -> str:
    header, lines_ = _columns(rows)
    parts = ["<table><tr>", *(f"<th>{escape(name)}</th>" for name in header), "</tr>"]
    for line in lines_:
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in line)
        parts.append(f"<tr>{cells}</tr>")
    commands = {row.command for row in rows if row.command}
    parts.append("</table>" + "".join(f"<p class=small><code>{escape(one)}</code></p>" for one in sorted(commands)[:1]))
    return "".join(parts)


def _bars(rows: Sequence[Row], figure: str, unit: str, scale: float) -> str:
    """Draw a bar for each row's median, and a line from its lowest to its highest round."""
    drawn = [(row, sorted(one.figures[figure] for one in row.rounds if figure in one.figures)) for row in rows]
    drawn = [(row, values) for row, values in drawn if values]
    if not drawn:
        return ""
    top = max(values[-1] for _, values in drawn) or 1.0
    height = _BAR * len(drawn) + 6

    def x(value: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * value / top

    label = f"{figure} by datapath"
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(label)}" xmlns="http://www.w3.org/2000/svg">'
    ]
    for number, (row, values) in enumerate(drawn):
        y = 4 + _BAR * number
        median = row.median[figure]
        middle = y + 7
        parts.append(f'<text class="tick" x="0" y="{y + 11}">{escape(row.variant)}</text>')
        colour = COLOURS[0] if row.datapath != "host" else COLOURS[7]
        parts.append(
            f'<rect x="{_LEFT}" y="{y}" width="{x(median) - _LEFT:.1f}" height="14" fill="{colour}" fill-opacity="0.8"/>'
        )
        parts.append(
            f'<line x1="{x(values[0]):.1f}" x2="{x(values[-1]):.1f}" y1="{middle}" y2="{middle}" stroke="currentColor" stroke-width="2"/>'
        )
        text = f"{median / scale:.1f} {unit}"
        parts.append(f'<text class="tick" x="{_WIDTH - _RIGHT + 8}" y="{y + 11}">{escape(text)}</text>')
    return "".join([*parts, "</svg>"])


def _sizes(run: NetLabRun) -> str:
    if not run.gso_sizes:
        return ""
    parts = ["<h2>Largest packets of each pod, before and after BIG TCP</h2><table><tr><th>datapath</th><th>pod</th>"]
    parts += [f"<th>{name}</th>" for name in _LIMITS]
    for variant, pods in run.gso_sizes.items():
        for pod, limits in pods.items():
            cells = "".join(f"<td>{limits[name]}</td>" for name in _LIMITS)
            parts.append(f"</tr><tr><td>{escape(variant)}</td><td>{escape(pod)}</td>{cells}")
    return "".join([*parts, "</tr></table>"])


def _missing(run: NetLabRun) -> str:
    if not run.missing:
        return ""
    parts = ["<h2>Not measured</h2>"]
    for one in run.missing:
        why = "".join(f"<dd>{escape(line)}</dd>" for line in one.why)
        parts.append(f'<div class="wall"><b>{escape(one.what)}</b><dl>{why}</dl></div>')
    return "".join(parts)


def _proofs(run: NetLabRun) -> str:
    parts = ["<h2>Proof</h2><p>Counters of each row's first round; the documents have those of all.</p><table>"]
    for row in run.rows:
        for proof in row.rounds[0].proofs if row.rounds else ():
            counters = ", ".join(f"{name} {value}" for name, value in proof.counters.items() if value)
            style = "ok" if proof.held else "bad"
            name = f"{row.variant}, {row.place}, IPv{row.family}, {row.test}"
            parts.append(
                f"<tr><td>{escape(name)}</td><td style='text-align:left'><b class={style}>{escape(proof.claim)}</b>"
                f"<br><span class=small>{escape(counters)}</span></td></tr>"
            )
    return "".join([*parts, "</table>"])
