"""Runs as Markdown, for a pull request, and as JUnit, for a CI system."""

from collections.abc import Mapping, Sequence

from kubedyno.documents.run import FindingDocument, JobDocument, RunDocument
from kubedyno.report import escaping
from kubedyno.report.figures import Breach
from kubedyno.report.jobs import asked_rate, cluster, rate, requests, startup, took
from kubedyno.stats.comparison import Comparison, Verdict


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table, the first column left, the others right."""
    lines = [f"| {' | '.join(header)} |", f"|:--{'|--:' * (len(header) - 1)}|"]
    return lines + [f"| {' | '.join(escaping.markdown(value) for value in row)} |" for row in rows]


def markdown(runs: Sequence[RunDocument], breached: Sequence[Breach] = ()) -> str:
    """Return all runs as one document."""
    lines = ["# kubedyno", ""]
    for run in runs:
        state = "ended well" if run.exit_code == 0 else f"exit code {run.exit_code}"
        lines += [f"## Run {escaping.markdown(run.uuid)}: {state}", ""]
        lines += [
            f"{escaping.markdown(cluster(run.target))}, {escaping.markdown(run.started)}",
            "",
        ]
        lines += [*(f"- {escaping.markdown(error)}" for error in run.errors), *([""] if run.errors else [])]
        header = ("job", "asked", "accepted", "given up", "qps", "reached", "pods ready", "took, s")
        lines += [*markdown_table(header, [_job_row(job) for job in run.jobs]), ""]
        rows = [row for job in run.jobs for row in _latency_rows(job)]
        if rows:
            lines += [*markdown_table(("latency, ms", "P50", "P95", "P99", "max", "n"), rows), ""]
        for finding in run.findings:
            lines += [*_finding(finding), ""]
        if run.not_measured:
            lines += [f"Not measured: {escaping.markdown('; '.join(run.not_measured))}.", ""]
    if breached:
        lines += ["## Limits not kept", "", *(f"- {escaping.markdown(breach.line)}" for breach in breached), ""]
    return "\n".join(lines)


def _job_row(job: JobDocument) -> tuple[str, ...]:
    return (
        job.name,
        *requests(job),
        asked_rate(job),
        rate(job),
        f"{job.pods_ready}/{job.pods_seen}",
        took(job),
    )


def _latency_rows(job: JobDocument) -> list[tuple[str, ...]]:
    samples = [(f"{job.name}: created to {name}", figures) for name, figures in startup(job).items()]
    if job.accept_ms is not None:
        samples.append((f"{job.name}: sent to accepted", job.accept_ms))
    return [(name, *(f"{v:.1f}" for v in (f.p50, f.p95, f.p99, f.max)), str(f.count)) for name, f in samples]


def _finding(finding: FindingDocument) -> list[str]:
    lines = [f"**{escaping.markdown(finding.title)}**", ""]
    lines += [f"- seen: {escaping.code(line)}" for line in finding.evidence]
    lines += [f"- do: {escaping.code(line)}" for line in finding.remedy]
    return lines + ([f"- next wall: {escaping.markdown(finding.next_wall)}"] if finding.next_wall else [])


def junit(runs: Sequence[RunDocument], breached: Sequence[Breach] = ()) -> str:
    """Return a test suite a run: a case for each job, one for the run as a whole, and one a limit that is not kept."""
    suites = []
    for run in runs:
        cases = [_case(job.name, job.elapsed_s, _job_failure(job)) for job in run.jobs]
        cases.append(_case("run", 0.0, "; ".join(run.errors) if run.exit_code else ""))
        cases += [_case(breach.name, 0.0, breach.line) for breach in breached if breach.uuid == run.uuid]
        failures = sum("<failure" in case for case in cases)
        suites.append(
            f'<testsuite name={_attribute(f"kubedyno {run.uuid}")} tests="{len(cases)}" failures="{failures}" '
            f"timestamp={_attribute(run.started)}>{''.join(cases)}</testsuite>"
        )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>{"".join(suites)}</testsuites>\n'


def junit_of_comparison(found: Mapping[str, Comparison], breached: Sequence[Breach] = ()) -> str:
    """Return a test suite: a case for each figure, failed where it is worse, skipped where nothing can be said of it."""
    cases = []
    for name, c in found.items():
        change = "" if c.change is None else f" ({c.change:+.1%})"
        line = (
            f"{c.verdict.value}: {c.before:.6g} before, {c.after:.6g} after{change}, {c.runs[0]} and {c.runs[1]} runs"
        )
        unsaid = c.verdict in {Verdict.UNCLEAR, Verdict.TOO_FEW}
        cases.append(_case(name, 0.0, line if c.verdict is Verdict.WORSE else "", line if unsaid else ""))
    cases += [_case(breach.name, 0.0, breach.line) for breach in breached]
    failures, skipped = (sum(word in case for case in cases) for word in ("<failure", "<skipped"))
    suite = (
        f'<testsuite name="kubedyno compare" tests="{len(cases)}" failures="{failures}" skipped="{skipped}">'
        f"{''.join(cases)}</testsuite>"
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>{suite}</testsuites>\n'


def _job_failure(job: JobDocument) -> str:
    if job.failed:
        return f"{sum(job.failed.values())} requests given up: " + ", ".join(f"{n} {r}" for r, n in job.failed.items())
    missing = job.pods_seen - job.pods_ready
    return f"{missing} of {job.pods_seen} pods not Ready" if missing and job.type == "create" else ""


def _attribute(text: str) -> str:
    return f'"{escaping.xml(text)}"'


def _case(name: str, seconds: float, failure: str, skipped: str = "") -> str:
    inner = f"<failure message={_attribute(failure)}>{escaping.xml(failure)}</failure>" if failure else ""
    inner += f"<skipped message={_attribute(skipped)}/>" if skipped else ""
    return f'<testcase name={_attribute(name)} time="{seconds:.3f}">{inner}</testcase>'
