"""Jobs: pods that are run until enough of them have succeeded, or too many have failed.

Each pod carries a finalizer until it is counted, so that none is lost and none counted twice: first the status names
it as uncounted, then the finalizer goes, then it is a number. A reconciliation looks at the pods that are not counted
yet, never at those that are.
"""

from collections.abc import Iterable
from operator import attrgetter
from typing import Any

import orjson

from kubedyno.base.times import epoch_of, rfc3339
from kubedyno.cluster.controllers.feeds import Feeds
from kubedyno.cluster.controllers.jobindexes import text_of
from kubedyno.cluster.controllers.jobpolicies import action_on, finished_s, restarts_of, success_met
from kubedyno.cluster.controllers.jobrows import (
    Look,
    Row,
    Verdict,
    backoff_s,
    condition_of,
    index_of,
    is_final,
    victims,
)
from kubedyno.cluster.controllers.jobspec import (
    CONTROLLER,
    FAILURES_KEY,
    IGNORED_FAILURES_KEY,
    INDEX_KEY,
    TRACKING,
    stamped_template,
)
from kubedyno.cluster.controllers.podrows import PodRows
from kubedyno.cluster.controllers.podstates import metadata_of
from kubedyno.cluster.controllers.refusals import is_terminating
from kubedyno.cluster.controllers.workloadrows import WorkloadRows
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.kinds.podfacts import ENDED
from kubedyno.cluster.registry.templates import PodTemplate
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.resources import JOBS, PODS
from kubedyno.kube.status import StatusError

_COMPONENT = "job-controller"
# How long changes of pods are gathered before the Job is looked at.
BATCH_S = 1.0
# The condition that says how a Job will end, while its pods are stopped → the one that says that it has.
_FINAL = {"SuccessCriteriaMet": "Complete", "FailureTarget": "Failed"}


class Jobs:
    """The Job controller.

    Args:
        trusted: Where it writes.
        pump: Gives turns.
        feeds: Gives changes.
        rows: Hands it its pods.
        settings: Of the cluster.
    """

    def __init__(self, trusted: Trusted, pump: Pump, feeds: Feeds, rows: PodRows, settings: ClusterSettings) -> None:
        self._queue: WorkQueue[Row] = WorkQueue(pump, "job", self._reconcile, name_of=attrgetter("key"))
        # Keys of pods whose Job is gone.
        self._orphans: WorkQueue[str] = WorkQueue(pump, "job-orphans", self._release_orphan)
        self._trusted = trusted
        self._clock = pump.clock
        self._batch_s = BATCH_S / settings.speed if settings.speed else 0.0
        self._table = trusted.store.table(JOBS)
        self._pods = trusted.store.table(PODS)
        self.rows: WorkloadRows[Row] = WorkloadRows(self._table, rows, self._queue)
        feeds.follow(JOBS, self._changed, self._gone)
        feeds.follow(PODS, self._pod_changed)

    # --- news ----------------------------------------------------------------------------------------------------

    def _changed(self, record: ObjectRecord) -> None:
        obj = record.obj
        row = self.rows.get(obj.uid)
        if row is None:
            row = Row(self, obj)
            if row.spec.managedBy != CONTROLLER:
                return
            if row.spec.backoffLimitPerIndex is not None:
                self._recall_failures(row)
            self.rows.add(row)
        elif row.generation == obj.generation and not obj.deletion_s:
            return
        self._queue.add(row)

    def _recall_failures(self, row: Row) -> None:
        """Learn from pods that were counted before, as after a restart, how often each index has failed."""
        for pod in self._pods.by_index("owner", row.uid):
            if pod.obj.facts.phase == "Failed" and TRACKING not in pod.obj.finalizers:
                action, _ = action_on(row.spec.podFailurePolicy, pod.obj)
                self._note_index_failure(row, pod, action, finished_s(pod.obj, self._clock.now()))

    def _gone(self, record: ObjectRecord) -> None:
        row = self.rows.gone(record)
        if row is not None:
            for key in row.pods:
                self._orphans.add(key)

    def pods_changed(self, row: Row) -> None:
        """Have a Job looked at once more of its pods may have changed."""
        if self._batch_s:
            self._queue.add_after(row, self._batch_s)
        else:
            self._queue.add(row)

    def _pod_changed(self, record: ObjectRecord) -> None:
        obj = record.obj
        if obj.finalizers and TRACKING in obj.finalizers and (not obj.owners or obj.owners[0] not in self.rows):
            self._orphans.add(obj.key)

    def _release_orphan(self, key: str, budget: int) -> int:
        _ = budget
        pod = self._pods.get(key)
        if pod is not None and TRACKING in pod.obj.finalizers and self._is_orphan(pod.obj):
            self._release(pod)
        return 1

    def _is_orphan(self, obj: StoredObject) -> bool:
        for reference in metadata_of(obj).get("ownerReferences", ()):
            if reference.get("controller") and reference["kind"] == "Job":
                job = self._table.get(f"{obj.namespace}/{reference['name']}")
                return job is None or job.obj.uid != reference["uid"]
        return True

    def _release(self, pod: ObjectRecord) -> ObjectRecord:
        left = [name for name in pod.obj.finalizers if name != TRACKING]
        return self._trusted.replace(PODS, pod, finalizers=left)

    # --- reconciling ---------------------------------------------------------------------------------------------

    def _reconcile(self, row: Row, budget: int) -> int:
        record = self.rows.newest(row)
        if record is None:
            return 1
        if row.generation != record.obj.generation:
            row.read(record.obj)
        look = Look(record, orjson.loads(record.obj.status or b"{}"), self._clock.now())
        final = next((c for c in look.status.get("conditions", ()) if is_final(c)), None)
        if final is not None:
            return self._after_end(row, look, final)
        self._sort(row, look)
        self._judge_failures(row, look)
        verdict = self._interim(look) or self._ends(row, look)
        error = ""
        if record.obj.deletion_s:
            look.uncounted += look.active
            look.active = []
        elif verdict is not None:
            self._stop_all(row, look, verdict)
        else:
            error = self._manage(row, look, budget)
            verdict = self._completes(row, look)
        self._write(row, look, verdict)
        if error:
            self._queue.retry(row, error)
        else:
            self._queue.forget(row)
        return look.done

    def _after_end(self, row: Row, look: Look, final: dict[str, Any]) -> int:
        """Let go of pods that are left, and of the Job itself when its time has come."""
        for key in list(row.pods):
            pod = self._pods.get(key)
            if pod is not None and TRACKING in pod.obj.finalizers:
                self._release(pod)
        ttl_s = row.spec.ttlSecondsAfterFinished
        if ttl_s is not None and not look.record.obj.deletion_s:
            wait_s = epoch_of(final["lastTransitionTime"]) + ttl_s - look.now_s
            if wait_s > 0:
                self._queue.add_after(row, wait_s)
            else:
                self._trusted.delete(JOBS, row.key, uid=row.uid, policy="Foreground")
        self._queue.forget(row)
        return 1

    def _sort(self, row: Row, look: Look) -> None:
        """Look at the pods: who runs, who is to be counted."""
        early = not row.spec.replaces_failed_only or bool(look.record.obj.deletion_s)
        for key in list(row.pods):
            pod = self._pods.get(key)
            if pod is None:
                del row.pods[key]
                continue
            obj, tracked = pod.obj, TRACKING in pod.obj.finalizers
            phase = obj.facts.phase
            if phase not in ENDED:
                if not obj.deletion_s:
                    look.active.append(pod)
                    continue
                look.terminating += 1
                if tracked and early:
                    look.failed.append(pod)
            elif tracked:
                (look.succeeded if phase == "Succeeded" else look.failed).append(pod)
            else:
                del row.pods[key]
        if row.spec.indexed:
            self._sort_indexes(row, look)

    def _sort_indexes(self, row: Row, look: Look) -> None:
        """Note new indexes that have succeeded; only one pod of an index may run, and only of one that is wanted."""
        completions = row.spec.completions or 0
        for pod in look.succeeded:
            index = index_of(pod)
            if 0 <= index < completions:
                row.succeeded_indexes.add(index)
        if len(row.succeeded_indexes) and max(row.succeeded_indexes) >= completions:
            row.succeeded_indexes = {index for index in row.succeeded_indexes if index < completions}
        seen: set[int] = set()
        for pod in list(look.active):
            index = index_of(pod)
            if index in seen or index in row.succeeded_indexes or not 0 <= index < completions:
                look.active.remove(pod)
                self._stop(row, look, pod)
            seen.add(index)

    def _judge_failures(self, row: Row, look: Look) -> None:
        """Apply the policy to each pod that has failed, and learn from it when the next may be made."""
        ended = [(finished_s(pod.obj, look.now_s), pod) for pod in look.failed]
        if look.succeeded and not ended:
            row.failures = 0
        elif look.succeeded:
            last_s = max(finished_s(pod.obj, look.now_s) for pod in look.succeeded)
            row.failures = 0
            row.failures_s = last_s
        counted = []
        for when_s, pod in sorted(ended, key=lambda pair: pair[0]):
            action, why = action_on(row.spec.podFailurePolicy, pod.obj)
            if action == "FailJob" and not look.policy:
                look.policy = why
            if row.spec.backoffLimitPerIndex is not None:
                self._note_index_failure(row, pod, action, when_s)
            if not look.succeeded or when_s >= row.failures_s:
                row.failures += 1
                row.failures_s = when_s
            if action == "Ignore":
                look.uncounted.append(pod)
            else:
                counted.append(pod)
        look.failed = counted

    def _note_index_failure(self, row: Row, pod: ObjectRecord, action: str, when_s: float) -> None:
        index = index_of(pod)
        annotations = metadata_of(pod.obj).get("annotations", {})
        counted = int(annotations.get(FAILURES_KEY, 0)) + (action != "Ignore")
        ignored = int(annotations.get(IGNORED_FAILURES_KEY, 0)) + (action == "Ignore")
        if row.index_failures.get(index, (0, 0, 0.0)) < (counted, ignored, when_s):
            row.index_failures[index] = counted, ignored, when_s
        limit = row.spec.backoffLimitPerIndex
        if limit is not None and (counted > limit or action == "FailIndex") and index not in row.succeeded_indexes:
            row.failed_indexes.add(index)

    # --- how it ends ---------------------------------------------------------------------------------------------

    def _interim(self, look: Look) -> Verdict | None:
        for condition in look.status.get("conditions", ()):
            if condition["type"] in _FINAL and condition["status"] == "True":
                return Verdict(condition["type"], condition.get("reason", ""), condition.get("message", ""))
        return None

    def _ends(self, row: Row, look: Look) -> Verdict | None:
        """Say whether the Job ends now for another reason than that all is done."""
        spec = row.spec

        def failed(reason: str, message: str) -> Verdict:
            return Verdict("FailureTarget", reason, message)

        if look.policy:
            return failed("PodFailurePolicy", look.policy)
        failures = look.status.get("failed", 0) + len(look.waiting("failed"))
        if failures > spec.backoffLimit or self._restarts_exceed(row, look):
            return failed("BackoffLimitExceeded", "Job has reached the specified backoff limit")
        if spec.activeDeadlineSeconds is not None and "startTime" in look.status and not spec.suspend:
            wait_s = epoch_of(look.status["startTime"]) + spec.activeDeadlineSeconds - look.now_s
            if wait_s <= 0:
                return failed("DeadlineExceeded", "Job was active longer than specified deadline")
            self._queue.add_after(row, wait_s)
        if spec.indexed:
            wrong = len(row.failed_indexes)
            if spec.maxFailedIndexes is not None and wrong > spec.maxFailedIndexes:
                text = "Job has exceeded the specified maximal number of failed indexes"
                return failed("MaxFailedIndexesExceeded", text)
            if wrong and wrong + len(row.succeeded_indexes) >= (spec.completions or 0):
                return failed("FailedIndexes", "Job has failed indexes")
            why = success_met(spec.successPolicy, row.succeeded_indexes, spec.completions or 0)
            if why:
                return Verdict("SuccessCriteriaMet", "SuccessPolicy", why)
        return None

    def _restarts_exceed(self, row: Row, look: Look) -> bool:
        """Say whether containers that are restarted in their pods have failed too often."""
        if row.spec.template["spec"].get("restartPolicy") != "OnFailure":
            return False
        restarts = sum(restarts_of(pod.obj) for pod in look.active)
        return restarts > 0 if row.spec.backoffLimit == 0 else restarts >= row.spec.backoffLimit

    def _completes(self, row: Row, look: Look) -> Verdict | None:
        wanted, succeeded = row.spec.completions, self._succeeded(row, look)
        if row.spec.suspend and wanted != 0:
            return None
        complete = succeeded > 0 if wanted is None else succeeded >= wanted
        if not complete or look.active:
            return None
        return Verdict("SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods")

    def _succeeded(self, row: Row, look: Look) -> int:
        if row.spec.indexed:
            return len(row.succeeded_indexes)
        return int(look.status.get("succeeded", 0)) + len(look.waiting("succeeded"))

    # --- pods ----------------------------------------------------------------------------------------------------

    def _manage(self, row: Row, look: Look, budget: int) -> str:
        """Make or stop pods; returns why no more could be made, "" if they could."""
        spec, active = row.spec, len(look.active)
        if spec.suspend:
            wanted = 0
        elif spec.completions is None:
            wanted = active if self._succeeded(row, look) else spec.parallelism
        else:
            left = spec.completions - self._succeeded(row, look) - len(row.failed_indexes)
            wanted = max(min(left, spec.parallelism), 0)
        if active > wanted:
            for pod in victims(look.active, active - wanted):
                look.active.remove(pod)
                self._stop(row, look, pod)
            return ""
        missing = wanted - active
        if spec.replaces_failed_only:
            missing -= look.terminating
        if missing <= 0:
            return ""
        if spec.backoffLimitPerIndex is None and row.failures:
            wait_s = row.failures_s + backoff_s(row.failures) - look.now_s
            if wait_s > 0:
                self._queue.add_after(row, wait_s)
                return ""
        return self._create(row, look, missing, budget)

    def _create(self, row: Row, look: Look, missing: int, budget: int) -> str:
        indexes: Iterable[int] = self._free_indexes(row, look, missing) if row.spec.indexed else [-1] * missing
        left = missing
        try:
            if row.template is None:
                row.template = self._trusted.pod_template(stamped_template(row.spec))
            for index in indexes:
                if look.done > budget:
                    self._queue.add(row)
                    return ""
                look.active.append(self._create_one(row, look, row.template, index))
                left -= 1
        except StatusError as error:
            if is_terminating(error):
                return ""
            self._event(look.record, "Warning", "FailedCreate", f"Error creating: {error.message}")
            return error.message
        return ""

    def _create_one(self, row: Row, look: Look, template: PodTemplate, index: int) -> ObjectRecord:
        if index < 0:
            pod = self._trusted.create_pod(row.namespace, template, row.owner, generate_name=row.name + "-")
        else:
            name, text = f"{row.name}-{index}", str(index)
            annotations = {INDEX_KEY: text}
            if row.spec.backoffLimitPerIndex is not None:
                counted, ignored, _ = row.index_failures.get(index, (0, 0, 0.0))
                annotations[FAILURES_KEY] = str(counted)
                if ignored:
                    annotations[IGNORED_FAILURES_KEY] = str(ignored)
            pod = self._trusted.create_pod(
                row.namespace, template, row.owner, generate_name=name + "-", labels={INDEX_KEY: text},
                annotations=annotations, hostname=name,
            )  # fmt: skip
        row.pods[pod.key] = None
        look.done += 1
        self._event(look.record, "Normal", "SuccessfulCreate", f"Created pod: {pod.obj.name}")
        return pod

    def _free_indexes(self, row: Row, look: Look, count: int) -> list[int]:
        """Return the lowest indexes that have no pod, have not ended, and whose back-off is over."""
        taken = {index_of(pod) for pod in look.active}
        if row.spec.replaces_failed_only:
            stopping = (self._pods.get(key) for key in row.pods)
            taken |= {index_of(pod) for pod in stopping if pod is not None and pod.obj.facts.phase not in ENDED}
        found: list[int] = []
        for index in range(row.spec.completions or 0):
            if len(found) >= count:
                break
            if index in taken or index in row.succeeded_indexes or index in row.failed_indexes:
                continue
            counted, ignored, failed_s = row.index_failures.get(index, (0, 0, 0.0))
            if counted + ignored:
                wait_s = failed_s + backoff_s(counted + ignored) - look.now_s
                if wait_s > 0:
                    self._queue.add_after(row, wait_s)
                    continue
            found.append(index)
        return found

    def _stop(self, row: Row, look: Look, pod: ObjectRecord) -> None:
        """Delete a pod that nobody counts."""
        if TRACKING in pod.obj.finalizers:
            pod = self._release(pod)
        if self._trusted.delete(PODS, pod.key, uid=pod.obj.uid) is None:
            return
        look.done += 1
        if self._pods.get(pod.key) is None:
            row.pods.pop(pod.key, None)
        else:
            look.terminating += 1
        self._event(look.record, "Normal", "SuccessfulDelete", f"Deleted pod: {pod.obj.name}")

    def _stop_all(self, row: Row, look: Look, verdict: Verdict) -> None:
        """Delete the pods of a Job that ends; they have failed, unless it succeeds."""
        for pod in look.active:
            self._trusted.delete(PODS, pod.key, uid=pod.obj.uid)
            current = self._pods.get(pod.key)
            look.done += 1
            if current is None:
                row.pods.pop(pod.key, None)
            else:
                look.terminating += current.obj.facts.phase not in ENDED
                (look.uncounted if verdict.good else look.failed).append(current)
            self._event(look.record, "Normal", "SuccessfulDelete", f"Deleted pod: {pod.obj.name}")
        look.active = []

    # --- status --------------------------------------------------------------------------------------------------

    def _write(self, row: Row, look: Look, verdict: Verdict | None) -> None:
        """Count pods, in the steps that make it safe, and write the conditions."""
        now = rfc3339(look.now_s)
        conditions = self._conditions(row, look, verdict, now)
        old = look.status
        succeeded = old.get("succeeded", 0) if not row.spec.indexed else len(row.succeeded_indexes)
        failed = old.get("failed", 0)
        waiting = {
            "succeeded": [] if row.spec.indexed else look.waiting("succeeded"),
            "failed": look.waiting("failed"),
        }
        record = self.rows.newest(row)
        if record is None:
            return
        if any(waiting.values()):
            pending = {name: uids for name, uids in waiting.items() if uids}
            status = self._status(row, look, conditions, (succeeded, failed), pending)
            record = self._trusted.replace_status(JOBS, record, status)
        for pod in (*look.succeeded, *look.failed, *look.uncounted):
            self._count(row, pod)
        counts = succeeded + len(waiting["succeeded"]), failed + len(waiting["failed"])
        ended = verdict is not None and not look.terminating and not look.active
        completed = ""
        if verdict is not None and ended:
            conditions = [*conditions, condition_of(_FINAL[verdict.type], verdict.reason, verdict.message, now)]
            completed = now if verdict.good else ""
        record = self._trusted.replace_status(
            JOBS, record, self._status(row, look, conditions, counts, {}, completed=completed)
        )
        if verdict is not None and ended:
            if verdict.good:
                self._event(record, "Normal", "Completed", "Job completed")
            else:
                self._event(record, "Warning", verdict.reason, verdict.message)
            self._queue.add(row)

    def _count(self, row: Row, pod: ObjectRecord) -> None:
        """Let go of a pod that is counted."""
        current = self._pods.get(pod.key)
        if current is None or current.obj.uid != pod.obj.uid:
            row.pods.pop(pod.key, None)
            return
        if TRACKING in current.obj.finalizers:
            self._release(current)
        if current.obj.facts.phase in ENDED:
            row.pods.pop(pod.key, None)

    def _conditions(self, row: Row, look: Look, verdict: Verdict | None, now: str) -> list[dict[str, Any]]:
        conditions: list[dict[str, Any]] = list(look.status.get("conditions", ()))
        if verdict is not None:
            if not any(c["type"] == verdict.type for c in conditions):
                conditions.append(condition_of(verdict.type, verdict.reason, verdict.message, now))
            return conditions
        if look.record.obj.deletion_s:
            return conditions
        old = next((c for c in conditions if c["type"] == "Suspended"), None)
        if row.spec.suspend and (old is None or old["status"] != "True"):
            new = condition_of("Suspended", "JobSuspended", "Job suspended", now)
            self._event(look.record, "Normal", "Suspended", "Job suspended")
            look.status.pop("startTime", None)
        elif not row.spec.suspend and old is not None and old["status"] == "True":
            new = condition_of("Suspended", "JobResumed", "Job resumed", now, status="False")
            self._event(look.record, "Normal", "Resumed", "Job resumed")
            look.status["startTime"] = now
            self._queue.add(row)
        else:
            return conditions
        return [c for c in conditions if c["type"] != "Suspended"] + [new]

    def _status(
        self, row: Row, look: Look, conditions: list[dict[str, Any]], counts: tuple[int, int],
        waiting: dict[str, list[str]], *, completed: str = "",
    ) -> dict[str, Any]:  # fmt: skip
        """Return the whole status, in Go's order."""
        started = look.status.get("startTime")
        if started is None and not row.spec.suspend:
            started = look.status["startTime"] = rfc3339(look.now_s)
            if row.spec.activeDeadlineSeconds is not None:
                self._queue.add_after(row, row.spec.activeDeadlineSeconds)
        ready = sum(bool(pod.obj.facts.ready) for pod in look.active)
        members: dict[str, Any] = {
            "conditions": conditions or None, "startTime": started, "completionTime": completed or None,
            "active": len(look.active) or None, "succeeded": counts[0] or None, "failed": counts[1] or None,
            "terminating": look.terminating,
            "completedIndexes": text_of(row.succeeded_indexes) or None,
            "failedIndexes": text_of(row.failed_indexes) if row.spec.backoffLimitPerIndex is not None else None,
            "uncountedTerminatedPods": waiting, "ready": ready,
        }  # fmt: skip
        return {name: value for name, value in members.items() if value is not None}

    def _event(self, record: ObjectRecord, type: str, reason: str, message: str) -> None:
        self._trusted.event(JOBS, record, type=type, reason=reason, message=message, component=_COMPONENT)
