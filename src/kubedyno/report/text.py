"""A run's summary as plain lines for the terminal and the log."""

from collections.abc import Sequence

from kubedyno.base.terminal import printable
from kubedyno.documents.run import Figures, FindingDocument, JobDocument, RunDocument
from kubedyno.report import jobs as told


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return aligned lines: the first column left, the others right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    return [
        "  ".join(cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in (header, *rows)
    ]  # fmt: skip


def summary(run: RunDocument) -> list[str]:
    """Return the lines that end a run: a table of jobs, their pods' latencies, and the walls."""
    lines = table(
        ("JOB", "TYPE", "ASKED", "ACCEPTED", "GIVEN UP", "QPS", "REACHED", "PODS READY", "TOOK"),
        [_job_row(job) for job in run.jobs],
    )
    lines += [line for job in run.jobs for line in rate_notes(job)]
    latencies = [
        _latency_row(f"{job.name}: created → {name}", figures)
        for job in run.jobs
        for name, figures in told.startup(job).items()
    ]
    for job in run.jobs:
        latencies += [_latency_row(f"{job.name}: {what}", figures) for what, figures in job.requests()]
    if latencies:
        lines += ["", *table((f"LATENCY (ms, {told.clock_of(run.jobs)})", "P50", "P95", "P99", "MAX", "N"), latencies)]
    lines += clock_lines(run)
    for finding in run.findings:
        if finding.at_end:
            lines += ["", *finding_lines(finding)]
    # Names and messages are the cluster's: none of them writes anywhere else on the terminal.
    return [printable(line) for line in lines]


def clock_lines(run: RunDocument) -> list[str]:
    """Return how far the server's clock is from ours: what server stamps and our own have between them."""
    if run.clock_ms is None:
        return []
    ahead, off = run.clock_ms
    where = "ahead of" if ahead >= 0 else "behind"
    return ["", f"clocks: the server's is {abs(ahead):.0f} ms {where} ours, give or take {off:.0f} ms"]


def rate_notes(job: JobDocument) -> list[str]:
    """Return what the two rates of a job mean where they are easily misread."""
    if job.sent > 1 and told.within_burst(job):
        return [
            f"{job.name}: all {job.sent} requests fitted into the burst of {job.burst}, so qps {job.qps:g} limited none"
        ]
    return []


def finding_lines(finding: FindingDocument) -> list[str]:
    """Return one finding, its title first, the rest indented."""
    return [
        finding.title,
        *(f"  seen: {line}" for line in finding.evidence),
        *(f"  do: {line}" for line in finding.remedy),
        *([f"  next wall: {finding.next_wall}"] if finding.next_wall else []),
    ]


def _job_row(job: JobDocument) -> tuple[str, ...]:
    return (
        job.name,
        job.type,
        *told.requests(job),
        told.asked_rate(job),
        told.rate(job),
        f"{job.pods_ready}/{job.pods_seen}",
        f"{took}s" if (took := told.took(job)) != "-" else took,
    )


def _latency_row(name: str, figures: Figures) -> tuple[str, ...]:
    return (
        name,
        *(f"{value:.1f}" for value in (figures.p50, figures.p95, figures.p99, figures.max)),
        str(figures.count),
    )
