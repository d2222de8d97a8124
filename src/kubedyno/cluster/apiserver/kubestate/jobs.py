"""Jobs and CronJobs."""

from kubedyno.base.times import epoch_of
from kubedyno.cluster.apiserver.kubestate.samples import Object, Samples
from kubedyno.cluster.registry.kinds.cronschedule import parse_schedule
from kubedyno.cluster.registry.kinds.crontimes import next_s, zone_of

_FAILURES = ("BackoffLimitExceeded", "DeadlineExceeded", "Evicted")


def job(add: Samples, meta: Object, obj: Object) -> None:
    """Say what there is of a Job."""
    spec, status = obj["spec"], obj.get("status") or {}
    conditions = status.get("conditions") or ()
    add.add("kube_job_info")
    add.fields(
        "kube_job_spec_", spec,
        parallelism="parallelism", completions="completions", active_deadline_seconds="activeDeadlineSeconds",
    )  # fmt: skip
    add.counts("kube_job_status_", status, succeeded="succeeded", active="active", ready="ready")
    failed = status.get("failed") or 0
    reasons = [condition.get("reason") for condition in conditions if condition["type"] == "Failed"] if failed else []
    for reason in reasons:
        add.states("kube_job_status_failed", reason, _FAILURES, "reason")
    if not failed:
        add.add("kube_job_status_failed", 0)
    elif not set(reasons) & set(_FAILURES):
        add.add("kube_job_status_failed", failed, reason="")
    for condition in conditions:
        family = {"Complete": "kube_job_complete", "Failed": "kube_job_failed"}.get(condition["type"])
        if family:
            add.verdict(family, condition["status"], "condition")
        elif condition["type"] == "Suspended":
            add.add("kube_job_status_suspended", float(condition["status"] == "True"))
    add.times("kube_job_status_", status, start_time="startTime", completion_time="completionTime")
    add.owners("kube_job_owner", meta)


def cron_job(add: Samples, meta: Object, obj: Object) -> None:
    """Say what there is of a CronJob."""
    spec, status = obj["spec"], obj.get("status") or {}
    zone = spec.get("timeZone")
    labels = {"schedule": spec["schedule"], "concurrency_policy": spec.get("concurrencyPolicy", "")}
    add.add("kube_cronjob_info", **labels, timezone=zone or "local")
    add.add("kube_cronjob_status_active", len(status.get("active") or ()))
    add.times(
        "kube_cronjob_status_", status,
        last_schedule_time="lastScheduleTime", last_successful_time="lastSuccessfulTime",
    )  # fmt: skip
    add.add("kube_cronjob_spec_suspend", float(bool(spec.get("suspend"))))
    add.fields(
        "kube_cronjob_spec_", spec,
        starting_deadline_seconds="startingDeadlineSeconds", successful_job_history_limit="successfulJobsHistoryLimit",
        failed_job_history_limit="failedJobsHistoryLimit",
    )  # fmt: skip
    add.add("kube_cronjob_metadata_resource_version", float(meta["resourceVersion"]))
    if not spec.get("suspend"):
        since_s = epoch_of(status.get("lastScheduleTime") or meta["creationTimestamp"])
        following_s = next_s(parse_schedule(spec["schedule"]), since_s, zone_of(zone))
        if following_s is not None:
            add.add("kube_cronjob_next_schedule_time", following_s)
