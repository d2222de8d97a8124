"""CronJobs: Jobs by the clock, named after the minute that they are for."""

from datetime import datetime, tzinfo
from typing import Any

import orjson

from kubedyno.base.times import epoch_of, rfc3339
from kubedyno.cluster.controllers.feeds import Feeds
from kubedyno.cluster.controllers.podstates import metadata_of
from kubedyno.cluster.controllers.refusals import is_terminating
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.kinds.cronschedule import Schedule, parse_schedule
from kubedyno.cluster.registry.kinds.crontimes import missed_s, next_s, zone_of
from kubedyno.cluster.registry.templates import owner_reference
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.resources import CRONJOBS, JOBS
from kubedyno.kube.status import AlreadyExists, StatusError

_COMPONENT = "cronjob-controller"
_SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
_MANY_MISSED = 100
# The real one waits this much longer than the minute, so that clocks that differ a little do no harm.
_SLACK_S = 0.1


class CronJobs:
    """The CronJob controller.

    Args:
        trusted: Where it writes.
        pump: Gives turns and time.
        feeds: Gives changes.
    """

    def __init__(self, trusted: Trusted, pump: Pump, feeds: Feeds) -> None:
        self._queue: WorkQueue[str] = WorkQueue(pump, "cronjob", self._reconcile)
        self._trusted = trusted
        self._clock = pump.clock
        self._table = trusted.store.table(CRONJOBS)
        self._jobs = trusted.store.table(JOBS)
        # CronJob's uid → its key; and the generation that was looked at.
        self._keys: dict[str, str] = {}
        self._generations: dict[str, int] = {}
        feeds.follow(CRONJOBS, self._changed, self._gone)
        feeds.follow(JOBS, self._job_changed, self._job_changed)

    def _changed(self, record: ObjectRecord) -> None:
        self._keys[record.obj.uid] = record.key
        if self._generations.get(record.obj.uid) != record.obj.generation:
            self._generations[record.obj.uid] = record.obj.generation
            self._queue.add(record.key)

    def _gone(self, record: ObjectRecord) -> None:
        self._keys.pop(record.obj.uid, None)
        self._generations.pop(record.obj.uid, None)
        self._queue.forget(record.key)

    def _job_changed(self, record: ObjectRecord) -> None:
        if record.obj.owners and record.obj.owners[0] in self._keys:
            self._queue.add(self._keys[record.obj.owners[0]])

    def _reconcile(self, key: str, budget: int) -> int:
        _ = budget
        record = self._table.get(key)
        if record is None:
            return 1
        spec = orjson.loads(b"{" + record.obj.body + b"}")["spec"]
        status: dict[str, Any] = orjson.loads(record.obj.status or b"{}")
        jobs = [job for job in self._jobs.by_index("owner", record.obj.uid) if not job.obj.deletion_s]
        self._follow_jobs(record, status, jobs)
        self._clean(record, spec, jobs)
        if not record.obj.deletion_s and not spec.get("suspend"):
            self._schedule(record, spec, status)
        current = self._table.get(key)
        if current is not None and current.obj.uid == record.obj.uid:
            ordered = ("active", "lastScheduleTime", "lastSuccessfulTime")
            self._trusted.replace_status(CRONJOBS, current, {m: status[m] for m in ordered if status.get(m)})
        self._queue.forget(key)
        return 1 + len(jobs)

    # --- Jobs that are there -----------------------------------------------------------------------------------------

    def _follow_jobs(self, record: ObjectRecord, status: dict[str, Any], jobs: list[ObjectRecord]) -> None:
        """Bring the list of active Jobs up to date."""
        by_uid = {job.obj.uid: job for job in jobs}
        active = list(status.get("active", ()))
        known = {reference["uid"] for reference in active}
        for job in jobs:
            ended, when = _end_of(job)
            # Also of those that somebody else made of its template.
            if ended == "Complete" and when > status.get("lastSuccessfulTime", ""):
                status["lastSuccessfulTime"] = when
            if job.obj.uid not in known:
                if not ended:
                    self._event(record, "Warning", "UnexpectedJob",
                                f"Saw a job that the controller did not create or forgot: {job.obj.name}")  # fmt: skip
                continue
            if ended:
                active = [reference for reference in active if reference["uid"] != job.obj.uid]
                text = f"Saw completed job: {job.obj.name}, condition: {ended}"
                self._event(record, "Normal", "SawCompletedJob", text)
        for reference in list(active):
            if reference["uid"] not in by_uid:
                active.remove(reference)
                self._event(record, "Normal", "MissingJob", f"Active job went missing: {reference['name']}")
        status["active"] = active

    def _clean(self, record: ObjectRecord, spec: dict[str, Any], jobs: list[ObjectRecord]) -> None:
        """Delete the oldest Jobs that have ended, beyond what is to be kept."""
        for wanted, limit in (("Complete", "successfulJobsHistoryLimit"), ("Failed", "failedJobsHistoryLimit")):
            ended = [job for job in jobs if _end_of(job)[0] == wanted]
            keep = spec.get(limit)
            if keep is None:
                continue
            ended.sort(key=lambda job: (_started(job), job.obj.name))
            for job in ended[: max(len(ended) - keep, 0)]:
                self._delete_job(record, job)

    def _delete_job(self, record: ObjectRecord, job: ObjectRecord) -> None:
        if self._trusted.delete(JOBS, job.key, uid=job.obj.uid, policy="Background") is not None:
            self._event(record, "Normal", "SuccessfulDelete", f"Deleted job {job.obj.name}")

    # --- the clock ---------------------------------------------------------------------------------------------------

    def _schedule(self, record: ObjectRecord, spec: dict[str, Any], status: dict[str, Any]) -> None:
        """Start the Job that is due, and come back when the next one is."""
        now_s, zone, schedule = self._clock.now(), zone_of(spec.get("timeZone")), parse_schedule(spec["schedule"])
        due_s = self._due(record, spec, status, schedule)
        if due_s is not None:
            self._start(record, spec, status, due_s)
        following = next_s(schedule, now_s, zone)
        if schedule.every_s:
            since_s = due_s if due_s is not None else self._since_s(record, spec, status)
            following = since_s + schedule.every_s
            while following <= now_s:
                following += schedule.every_s
        if following is not None:
            self._queue.add_after(record.key, following - now_s + _SLACK_S)

    def _since_s(self, record: ObjectRecord, spec: dict[str, Any], status: dict[str, Any]) -> float:
        """Return since when times may have been missed."""
        last = status.get("lastScheduleTime")
        since_s = epoch_of(last or metadata_of(record.obj)["creationTimestamp"])
        deadline_s = spec.get("startingDeadlineSeconds")
        if deadline_s is not None:
            since_s = max(since_s, self._clock.now() - deadline_s)
        return since_s

    def _due(
        self, record: ObjectRecord, spec: dict[str, Any], status: dict[str, Any], schedule: Schedule
    ) -> float | None:
        now_s, zone = self._clock.now(), zone_of(spec.get("timeZone"))
        since_s = self._since_s(record, spec, status)
        last = status.get("lastScheduleTime")
        if schedule.every_s and last:
            since_s = epoch_of(last)
        due_s, count = missed_s(schedule, since_s, now_s, zone)
        if count > _MANY_MISSED:
            text = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
            self._event(record, "Warning", "TooManyMissedTimes", text)
        return due_s

    def _start(self, record: ObjectRecord, spec: dict[str, Any], status: dict[str, Any], due_s: float) -> None:
        name = f"{record.obj.name}-{int(due_s) // 60}"
        active = status["active"]
        existing = self._jobs.get(f"{record.obj.namespace}/{name}")
        if existing is not None and status.get("lastScheduleTime") == rfc3339(due_s):
            return
        policy = spec.get("concurrencyPolicy", "Allow")
        if active and policy == "Forbid":
            text = "Not starting job because prior execution is running and concurrency policy is Forbid"
            self._event(record, "Normal", "JobAlreadyActive", text)
            return
        if policy == "Replace":
            for reference in list(active):
                job = self._jobs.get(f"{record.obj.namespace}/{reference['name']}")
                if job is not None and job.obj.uid == reference["uid"]:
                    self._delete_job(record, job)
                active.remove(reference)
        self._create(record, spec, status, name, due_s)

    def _create(
        self, record: ObjectRecord, spec: dict[str, Any], status: dict[str, Any], name: str, due_s: float
    ) -> None:
        template = spec["jobTemplate"]
        metadata = template.get("metadata", {})
        zone = zone_of(spec.get("timeZone"))
        owner = owner_reference("batch/v1", "CronJob", record.obj.name, record.obj.uid)
        job = {
            "metadata": {
                "name": name,
                "labels": dict(metadata.get("labels", {})),
                "annotations": {**metadata.get("annotations", {}), _SCHEDULED: _stamp(due_s, zone)},
                "ownerReferences": [owner],
            },
            "spec": template["spec"],
        }
        try:
            made = self._trusted.registry.create(JOBS, record.obj.namespace, job)
        except AlreadyExists:
            return
        except StatusError as error:
            if is_terminating(error):
                return
            self._event(record, "Warning", "FailedCreate", f"Error creating job: {error.message}")
            raise
        self._event(record, "Normal", "SuccessfulCreate", f"Created job {name}")
        status["active"].append({
            "kind": "Job", "namespace": made.obj.namespace, "name": name, "uid": made.obj.uid,
            "apiVersion": "batch/v1", "resourceVersion": str(made.revision),
        })  # fmt: skip
        status["lastScheduleTime"] = rfc3339(due_s)

    def _event(self, record: ObjectRecord, type: str, reason: str, message: str) -> None:
        self._trusted.event(CRONJOBS, record, type=type, reason=reason, message=message, component=_COMPONENT)


def _stamp(due_s: float, zone: tzinfo) -> str:
    text = datetime.fromtimestamp(due_s, zone).isoformat()
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text


def _end_of(job: ObjectRecord) -> tuple[str, str]:
    """Return how a Job has ended, and when; ("", "") while it has not."""
    if b'"conditions"' not in job.obj.status:
        return "", ""
    status = orjson.loads(job.obj.status)
    for condition in status["conditions"]:
        if condition["type"] in {"Complete", "Failed"} and condition["status"] == "True":
            return condition["type"], status.get("completionTime", condition["lastTransitionTime"])
    return "", ""


def _started(job: ObjectRecord) -> str:
    return str(orjson.loads(job.obj.status).get("startTime", ""))
