"""Chapters in, one self-contained HTML page out: no network, every string escaped; the only script is the replay's own."""

from collections.abc import Sequence

from kubedyno.documents.kubeburner import KIND
from kubedyno.documents.run import Chapter, FindingDocument, JobDocument, RunDocument
from kubedyno.report import jobs as told
from kubedyno.report import plots, replay, svg
from kubedyno.report.escaping import escape

PHASES = ("Running", "Starting", "Pending", "Succeeded", "Failed", "Terminating")

_STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8882}
body{font:15px/1.5 system-ui,sans-serif;max-width:860px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{margin-top:2.5rem;border-bottom:1px solid var(--line)}h3{margin-bottom:.3rem}
table{border-collapse:collapse;margin:.6rem 0}td,th{padding:.15rem .7rem;text-align:right;border-bottom:1px solid var(--soft)}
td:first-child,th:first-child{text-align:left;padding-left:0}
@media(max-width:700px){table{display:block;overflow-x:auto}}
.wall{border-left:4px solid #d55e00;background:var(--soft);padding:.4rem .9rem;margin:.8rem 0}
.wall.passing{border-color:#e69f00}.wall dt{font-weight:600;margin-top:.4rem}.wall dd{margin:0 0 .2rem 0}
code{font-size:.9em;overflow-wrap:anywhere}.ok{color:#009e73}.bad{color:#d55e00}.small{font-size:.85em;opacity:.8}
canvas{display:block;margin-top:.5rem;max-width:100%}.replay input{width:50%;vertical-align:middle}
.key i{display:inline-block;width:.75em;height:.75em;margin:0 .3em 0 .8em}.key i:first-child{margin-left:0}
.key .ready{background:#0072b2}.key .starting{background:#e69f00}.key .pending{background:#999}
pre{overflow:auto;font-size:.85em}svg{width:100%;height:auto}svg .tick{font:11px system-ui,sans-serif;fill:currentColor}svg .grid{stroke:var(--line)}
"""


def page(title: str, chapters: Sequence[Chapter]) -> str:
    """Return the whole page."""
    replays = [chapter.around.pods for chapter in chapters if chapter.around is not None and chapter.around.pods]
    scripts = replay.policy() if replays else "'none'"
    parts = [
        "<!doctype html><html lang=en><head><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width,initial-scale=1">',
        (
            "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'; "
            f"script-src {scripts}; base-uri 'none'; form-action 'none'\">"
        ),
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>",
    ]
    for chapter in chapters:
        parts.append(f"<h2>{escape(chapter.title)}</h2>")
        parts += [f"<p>{escape(line)}</p>" for line in chapter.text]
        if chapter.table:
            parts.append(plots.table(chapter.table))
        for chart in chapter.charts:
            parts.append(
                f"<h4>{escape(chart.title)}</h4>{svg.intervals(chart.title, chart.unit, chart.labels, chart.series)}"
            )
        if chapter.run is not None:
            parts.append(_run(chapter.run))
        if chapter.around is not None:
            if chapter.around.pods:
                parts += [plots.over_time(chapter.around.pods), "<h3>Replay</h3>", replay.box()]
            parts.append(plots.around(chapter.around))
    if replays:
        parts.append(replay.data_block([replay.data_of(documents) for documents in replays]))
    parts.append("</body></html>\n")
    return "\n".join(parts)


def _run(run: RunDocument) -> str:
    verdict = "ended well" if run.exit_code == 0 else f"exit code {run.exit_code}"
    style = "ok" if run.exit_code == 0 else "bad"
    if run.kind == KIND:
        by = "kube-burner, by its own documents"
    else:
        by = f"kubedyno {run.kubedyno}" if run.kubedyno else "kubedyno, by what it had written"
    parts = [
        f"<p><b class={style}>{escape(verdict)}</b> · {escape(told.cluster(run.target))}<br>",
        f"<span class=small>run {escape(run.uuid)}, {escape(run.started)} to {escape(run.ended)},",
        f"{escape(by)}</span></p>",
    ]
    if run.errors:
        parts.append("<ul>" + "".join(f"<li>{escape(line)}</li>" for line in run.errors[:20]) + "</ul>")
    parts += [_job(job) for job in run.jobs]
    if run.findings:
        parts.append("<h3>What stopped pods</h3>")
        parts += [_finding(finding) for finding in run.findings]
    if run.clock_ms is not None:
        parts.append(
            f"<p class=small>The server's clock is {abs(run.clock_ms[0]):.0f} ms "
            f"{'ahead of' if run.clock_ms[0] >= 0 else 'behind'} ours, give or take {run.clock_ms[1]:.0f} ms.</p>"
        )
    if run.not_measured:
        parts.append(f"<p class=small>Not measured: {escape('; '.join(run.not_measured))}.</p>")
    return "\n".join(parts)


def _job(job: JobDocument) -> str:
    failed = ", ".join(f"{count} {reason}" for reason, count in job.failed.items()) or "none"
    asked, accepted, _ = told.requests(job)
    rows = [
        ("requests asked / accepted / given up", f"{asked} / {accepted} / {failed if job.counted else '-'}"),
        ("rate asked (qps, burst) / reached", f"{job.qps:g}/s, {job.burst} / {_reached(job)}"),
        ("pods seen / Ready at the end", f"{job.pods_seen} / {job.pods_ready}"),
        ("took", f"{told.took(job)} s"),
    ]
    parts = [f"<h3>Job {escape(job.name)} ({escape(job.type)}, {job.iterations} iterations)</h3><table>"]
    parts += [f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in rows]
    parts.append("</table>")
    parts.append(_latencies(job))
    if len(job.timeline) > 1:
        entries, every_s = plots.timeline(job.timeline)
        parts.append("<h4>Requests a second</h4>")
        parts.append(
            svg.steps(
                "requests a second over time",
                "1/s",
                {
                    "sent": [entry["sent"] for entry in entries],
                    "accepted": [entry["accepted"] for entry in entries],
                    "asked": [entry.get("asked", job.qps if entry["sent"] else 0) for entry in entries],
                },
                every_s,
            )
        )
        phases = [name for name in PHASES if any(entry["pods"].get(name) for entry in entries)]
        if phases:
            parts.append("<h4>Pods of the run by phase</h4>")
            series = {name: [entry["pods"].get(name, 0) for entry in entries] for name in phases}
            parts.append(svg.stacked("pods by phase over time", "pods", series, every_s))
    parts.append(plots.percentiles(job))
    return "\n".join(parts)


def _reached(job: JobDocument) -> str:
    if not job.reached_qps:
        return "not known from one request" if job.counted else "not known"
    return "all within the burst: qps limited none" if told.within_burst(job) else f"{job.reached_qps:.1f}/s"


def _latencies(job: JobDocument) -> str:
    what = "pod created" if job.counted else "created"
    rows = [(f"{what} → {name}", figures) for name, figures in told.startup(job).items()]
    rows += [(f"request {what}", figures) for what, figures in job.requests()]
    if not rows:
        return ""
    by = "" if job.counted else f" ({told.BY_STAMPS})"
    parts = [f"<table><tr><th>latency, ms{by}</th><th>P50</th><th>P95</th><th>P99</th><th>max</th><th>n</th></tr>"]
    for name, f in rows:
        cells = "".join(f"<td>{value:.1f}</td>" for value in (f.p50, f.p95, f.p99, f.max))
        parts.append(f"<tr><td>{escape(name)}</td>{cells}<td>{f.count}</td></tr>")
    parts.append("</table>")
    return "".join(parts)


def _finding(finding: FindingDocument) -> str:
    style = "wall" if finding.permanent else "wall passing"
    when = "at the end" if finding.at_end else f"after {finding.second:.0f} s"
    parts = [f'<div class="{style}"><b>{escape(finding.title)}</b> <span class=small>({when})</span><dl>']
    if finding.evidence:
        parts.append("<dt>Seen</dt>" + "".join(f"<dd><code>{escape(line)}</code></dd>" for line in finding.evidence))
    if finding.remedy:
        parts.append("<dt>Do</dt>" + "".join(f"<dd><code>{escape(line)}</code></dd>" for line in finding.remedy))
    if finding.next_wall:
        parts.append(f"<dt>Next wall</dt><dd>{escape(finding.next_wall)}</dd>")
    if finding.pods:
        shown = ", ".join(finding.pods[:5]) + (" …" if len(finding.pods) > 5 else "")
        parts.append(f"<dt>Pods ({len(finding.pods)})</dt><dd class=small>{escape(shown)}</dd>")
    parts.append("</dl></div>")
    return "".join(parts)
