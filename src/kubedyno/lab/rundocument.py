"""What is kept of a run that has ended: its jobs' figures, what stood in its way, what could not be measured."""

from array import array
from collections.abc import Iterable, Sequence

from kubedyno import __version__
from kubedyno.advisor.why import Finding
from kubedyno.base.times import rfc3339
from kubedyno.client import clockgap
from kubedyno.documents.run import Figures, FindingDocument, JobDocument, RunDocument, Target
from kubedyno.load.engine.record import JobRecord
from kubedyno.load.measurements.latency import quantiles, watched_summary
from kubedyno.load.result import JobResult, Options, RunResult
from kubedyno.stats.hdr import Hdr
from kubedyno.stats.quantiles import Summary, summary_of


def document_of(
    result: RunResult,
    options: Options,
    target: Target,
    last: Sequence[Finding],
    left: Sequence[str] = (),
    gap: clockgap.Gap | None = None,
    missing: Sequence[str] = (),
) -> RunDocument:
    """Return the document of a run.

    Args:
        result: What came of it.
        options: As it was asked for.
        target: What was loaded.
        last: What still stood in the way at its end.
        left: Namespaces that it left behind.
        gap: Between the server's clock and ours.
        missing: What could not be measured, and why.
    """
    seen: dict[tuple[str, str], FindingDocument] = {}
    for second, reason in result.reasons:
        if isinstance(reason, Finding) and reason.permanent:
            # The last sight of a cause says most: pods pile up while a run waits.
            seen[reason.cause, reason.title.split(" on ")[-1]] = _finding(reason, second, at_end=False)
    span_s = result.ended_at - result.started_at
    findings = _latest(seen.values()) + [_finding(finding, span_s, at_end=True) for finding in last]
    troubles = [line for job in result.jobs for line in job.troubles]
    return RunDocument(
        uuid=options.uuid,
        kubedyno=__version__,
        target=target,
        started=rfc3339(result.started_at),
        ended=rfc3339(result.ended_at),
        exit_code=result.exit_code,
        errors=list(result.errors),
        jobs=[_job(job) for job in result.jobs if not job.frame],
        findings=findings,
        not_measured=[
            "resource use of nodes and control plane",
            *missing,
            *troubles,
        ],
        left=list(left),
        clock_ms=(round(gap.middle_s * 1000, 1), round(gap.half_s * 1000, 1))
        if gap is not None and gap.known
        else None,
    )


def _latest(findings: Iterable[FindingDocument]) -> list[FindingDocument]:
    """Keep the last finding of each cause."""
    by_cause: dict[str, FindingDocument] = {}
    for finding in findings:
        by_cause[finding.cause] = finding
    return list(by_cause.values())


def _finding(finding: Finding, second: float, *, at_end: bool) -> FindingDocument:
    return FindingDocument(
        finding.cause,
        finding.title,
        list(finding.pods),
        list(finding.evidence),
        list(finding.remedy),
        finding.next_wall,
        finding.permanent,
        round(second, 3),
        at_end,
    )


def _figures(summary: Summary) -> Figures:
    return Figures(
        summary.count,
        *(round(v, 3) for v in (summary.p50, summary.p95, summary.p99, summary.minimum, summary.maximum, summary.average)),
    )  # fmt: skip


def _samples(record: JobRecord) -> list[tuple[str, "array[float]"]]:
    """Return the samples of a job's requests that are kept as histograms, in ms."""
    seen = [(f"seen {kind}", values) for kind, values in record.seen_ms.items()]
    return [("accepted", record.accept_ms), ("corrected", record.corrected_ms), ("late", record.late_ms), *seen]


def _job(job: JobResult) -> JobDocument:
    record, spec = job.record, job.plan.spec
    tracker = job.pods.tracker if job.pods is not None else None
    pods = list(tracker.pods.values()) if tracker is not None else []
    return JobDocument(
        name=spec.name,
        type=spec.job_type,
        iterations=spec.job_iterations,
        qps=record.qps,
        burst=record.burst,
        asked=record.asked,
        sent=record.sent,
        accepted=record.accepted,
        retried=record.retried,
        failed=dict(record.failed),
        reached_qps=round(record.reached_qps, 3),
        elapsed_s=round(record.ended_s - record.started_s, 3),
        pods_seen=len(pods),
        pods_ready=tracker.came_up if tracker is not None else 0,
        accept_ms=_figures(summary_of(record.accept_ms)) if record.accept_ms else None,
        late_ms=_figures(summary_of(record.late_ms)) if record.late_ms else None,
        start_ms={name: _figures(s) for name, s in watched_summary(tracker).items()} if tracker is not None else {},
        start_server_ms={name: _figures(s) for name, s in quantiles(pods, 2).items()},
        timeline=record.timeline(),
        corrected_ms=_figures(summary_of(record.corrected_ms)) if record.corrected_ms else None,
        seen_ms={kind: _figures(summary_of(values)) for kind, values in record.seen_ms.items()},
        hdr_us={name: Hdr(int(ms * 1000) for ms in values).pairs() for name, values in _samples(record) if values},
    )
