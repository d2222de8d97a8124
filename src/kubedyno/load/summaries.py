"""`jobSummary` documents: what each job was, when it ran, and whether the run passed."""

from typing import Any

from kubedyno.base.times import rfc3339_micro
from kubedyno.load.result import EXIT_OK, EXIT_TIMEOUT, JobResult, Options, RunResult


def summary(job: JobResult, options: Options, result: RunResult) -> dict[str, Any]:
    """Return the jobSummary document of a job."""
    record = job.record
    document: dict[str, Any] = {"timestamp": rfc3339_micro(record.started_at)}
    document["endTimestamp"] = rfc3339_micro(record.ended_at)
    if record.churn_started_at:
        document["churnStartTimestamp"] = rfc3339_micro(record.churn_started_at)
        document["churnEndTimestamp"] = rfc3339_micro(record.churn_ended_at)
    document |= {
        "elapsedTime": round(record.ended_s - record.started_s),
        "uuid": options.uuid,
        "metricName": "jobSummary",
        "version": options.version,
        # One code for the whole run: one failing job fails every summary, as in the original.
        "passed": result.exit_code == EXIT_OK,
        "jobConfig": (
            {"name": job.plan.spec.name, "churnConfig": {}, "gc": False}
            if job.plan.spec.job_type == "gc"
            else job.plan.spec.summary_document(options.compat)
        ),
    }
    if job.step:
        document["incrementalLoadUUID"] = job.step
    if result.exit_code == EXIT_TIMEOUT:
        document["executionErrors"] = ", ".join(result.errors)
    elif job.alerts:
        document["executionErrors"] = ", ".join(job.alerts)
    if options.compat == 1:
        elapsed_s = record.ended_s - record.started_s
        rate = round(record.accepted / elapsed_s, 3) if elapsed_s else 0
        if rate:
            document["achievedQps"] = rate
    return {**document, **options.metadata}
