"""A run of the reconciler experiment → lines for the terminal and one self-contained HTML page with its plots."""

from kubedyno.documents.reconciler import Phase, ReconcilerRun
from kubedyno.report import svg
from kubedyno.report.escaping import escape
from kubedyno.report.html import _STYLE
from kubedyno.report.text import table

_HEADER = (
    "PHASE", "SERVICES", "ROWS WANTED", "PRESSURE", "ROWS IN MAP", "DONE", "ERROR", "IN PART", "PROBES", "DROPS", "HEALTH",
    "TOOK",
)  # fmt: skip
_INTRODUCTION = (
    "Desired services stand in StateDB; a reconciler writes each as one master row and one row a backend into a hash map, "
    "whole or not at all. Pressure is rows wanted by map size. A probe looks a random service up as the datapath does, master "
    "row first, then a backend's; where it finds none, Cilium's datapath drops the packet as “Service backend not found”."
)


def _where(run: ReconcilerRun) -> str:
    what = f"BPF hash map of {run.map_size} entries"
    if run.kernel:
        return f"{what} in this kernel ({run.kernel})"
    return f"MODELLED {what}, not the kernel's: {run.why_model}"


def _cells(phase: Phase) -> tuple[str, ...]:
    share = f" ({phase.drops / phase.probes:.0%})" if phase.drops else ""
    level = phase.health.partition(":")[0]
    numbers = (phase.services, phase.wanted_rows)
    states = (phase.rows, phase.done, phase.failing, phase.torn, phase.probes)
    return (
        phase.name,
        *map(str, numbers),
        f"{phase.pressure:.2f}",
        *map(str, states),
        f"{phase.drops}{share}",
        level,
        f"{phase.took_s:.2f}s",
    )


def lines(run: ReconcilerRun) -> list[str]:
    """Return the table, the health of each phase, and what was shown."""
    found = [f"{_where(run)}, {run.backends} backend(s) a service", ""]
    found += table(_HEADER, [_cells(phase) for phase in run.phases])
    found.append("")
    for phase in run.phases:
        if phase.failing:
            found.append(f"{phase.name}: {phase.failing} service(s) with status Error: {phase.error}")
            found.append(f"  health {phase.health[:200]}{'…' if len(phase.health) > 200 else ''}")
    found += [f"{'shown' if held else 'NOT SHOWN'}: {what}" for what, held in run.checks.items()]
    if all(phase.pressure <= 1 for phase in run.phases):
        found.append("the map never was too small: more --services or a smaller --map-size fill it past its size")
    found.append(f"operations on the map: {run.attempts}, of which failed {run.errors}")
    return found


def page(run: ReconcilerRun) -> str:
    """Return the whole page."""
    title = "A full BPF map, and how a reconciler gets over it"
    size = run.map_size
    pressure = {
        "wanted": [sample.wanted_rows / size for sample in run.samples],
        "in the map": [sample.rows / size for sample in run.samples],
    }
    drops = {
        "drops": [100 * sample.drops / sample.probes if sample.probes else 0.0 for sample in run.samples],
        "degraded": [100.0 * sample.degraded for sample in run.samples],
    }
    failing = {"services": [float(sample.failing) for sample in run.samples]}
    parts = [
        "<!doctype html><html lang=en><head><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width,initial-scale=1">',
        "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>",
        f"<p class=small>{escape(_where(run))} · {run.backends} backend(s) a service<br>",
        f"{escape(run.started)}, kubedyno {escape(run.kubedyno)}</p>",
        f"<p>{_INTRODUCTION}</p>",
    ]
    if run.why_model:
        parts.append(f'<div class="wall passing">The map is modelled: {escape(run.why_model)}</div>')
    parts += [
        "<h2>Map pressure: rows by map size</h2>",
        svg.steps("Rows by map size over time", "", pressure, run.every_s),
        "<h2>Services with status Error</h2>",
        svg.steps("Services with status Error over time", "", failing, run.every_s),
        "<h2>Lookups that find no backend</h2>",
        svg.steps("Share of probes that drop, and times of degraded health", "%", drops, run.every_s),
        "<h2>Phases</h2>",
        '<div style="overflow-x:auto"><table class=small><tr>'
        + "".join(f"<th>{escape(name.lower())}</th>" for name in _HEADER)
        + "</tr>",
    ]
    for phase in run.phases:
        parts.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in _cells(phase)) + "</tr>")
    parts.append("</table></div>")
    for phase in run.phases:
        if phase.failing:
            parts.append(
                f'<div class="wall"><b>{escape(phase.name)}: {phase.failing} services fail</b><dl>'
                f"<dt>The first error</dt><dd><code>{escape(phase.error)}</code></dd>"
                f"<dt>Health</dt><dd>{escape(phase.health)}</dd></dl></div>"
            )
    parts.append("<h2>What was to be shown</h2><ul>")
    for what, held in run.checks.items():
        parts.append(
            f"<li><b class={'ok' if held else 'bad'}>{'shown' if held else 'not shown'}</b> {escape(what)}</li>"
        )
    parts.append(f"</ul><p class=small>Operations on the map: {run.attempts}, of which failed {run.errors}.</p>")
    parts.append("</body></html>\n")
    return "\n".join(parts)
