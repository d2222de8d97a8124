"""What makes a new status of a Job invalid: what does not fit together, and what may not be taken back.

Only what a write changes is looked at, so that a status that was wrong before can be mended step by step.
"""

from collections.abc import Callable
from typing import Any

from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.kinds.conditions import is_true
from kubedyno.cluster.registry.kinds.jobvalidation import count_indexes, index_interval
from kubedyno.cluster.registry.kinds.rules import IMMUTABLE, not_negative
from kubedyno.kube.gostructs import shown
from kubedyno.kube.status import Cause, duplicate, invalid_value, required

_CONDITIONS = "status.conditions"


def job_status_causes(job: Object, old: Object) -> list[Cause]:
    """Return what is wrong with a Job's new status; both are whole Jobs with the same spec."""
    spec, status, before = job["spec"], job.get("status", {}), old.get("status", {})
    changed = _changes(status, before)
    return [
        *_numbers(status),
        *_uncounted(status.get("uncountedTerminatedPods", {})),
        *_complete(status, changed),
        *_finished(spec, status, changed),
        *_indexes(spec, status, changed),
        *_counters(status, changed),
        *_success(spec, status),
        *_taken_back(spec, status, before),
    ]


def _changes(status: Object, before: Object) -> Callable[..., bool]:
    """Return what says whether any of some members, or conditions with a capital letter, is another than before."""

    def value_of(of: Object, name: str) -> Any:
        if name == "Finished":
            return _is(of, "Complete") or _is(of, "Failed")
        return _is(of, name) if name[0].isupper() else of.get(name)

    return lambda *names: any(value_of(status, name) != value_of(before, name) for name in names)


def _is(status: Object, kind: str) -> bool:
    return is_true(status.get("conditions", ()), kind)


def _conditions(text: str) -> Cause:
    return Cause("FieldValueInvalid", _CONDITIONS, f"Invalid value: {text}")


def _numbers(status: Object) -> list[Cause]:
    return [
        cause
        for name in ("active", "succeeded", "failed", "ready", "terminating")
        for cause in not_negative(f"status.{name}", status.get(name))
    ]


def _uncounted(pods: Object) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for group in ("succeeded", "failed"):
        for i, uid in enumerate(pods.get(group, ())):
            path = f"status.uncountedTerminatedPods.{group}[{i}]"
            if not uid:
                causes.append(invalid_value(path, uid, "must not be empty"))
            elif uid in seen:
                causes.append(duplicate(path, uid))
            seen.add(uid)
    return causes


def _complete(status: Object, changed: Callable[..., bool]) -> list[Cause]:
    """Return what is wrong with the end of a Job: its conditions and its time."""
    causes: list[Cause] = []
    complete, failed = _is(status, "Complete"), _is(status, "Failed")
    started, ended = status.get("startTime"), status.get("completionTime")
    if complete and failed and changed("Complete", "Failed"):
        causes.append(_conditions("cannot set Complete=True and Failed=true conditions"))
    if complete and _is(status, "FailureTarget") and changed("Complete", "FailureTarget"):
        causes.append(_conditions("cannot set Complete=True and FailureTarget=true conditions"))
    path = "status.completionTime"
    if changed("Complete", "completionTime"):
        if ended and not complete:
            text = "cannot set completionTime when there is no Complete=True condition"
            causes.append(invalid_value(path, ended, text))
        if not ended and complete:
            causes.append(required(path, "completionTime is required for Complete jobs"))
    if started and ended and ended < started and changed("startTime", "completionTime"):
        causes.append(invalid_value(path, ended, "must be equal to or after `startTime`"))
    if failed and not _is(status, "FailureTarget") and changed("Failed", "failedIndexes"):
        causes.append(_conditions("cannot set Failed=True condition without the FailureTarget=true condition"))
    if complete and not _is(status, "SuccessCriteriaMet") and changed("Complete", "SuccessCriteriaMet"):
        causes.append(_conditions("cannot set Complete=True condition without the SuccessCriteriaMet=true condition"))
    return causes


def _finished(spec: Object, status: Object, changed: Callable[..., bool]) -> list[Cause]:
    """Return what is wrong with the pods of a Job that ended."""
    if not (_is(status, "Complete") or _is(status, "Failed")):
        return []
    causes: list[Cause] = []
    active, pods = status.get("active", 0), status.get("uncountedTerminatedPods", {})
    if active > 0 and changed("Finished", "active"):
        causes.append(invalid_value("status.active", active, "active>0 is invalid for finished job"))
    idle = spec.get("suspend") and spec.get("completions") == 0
    if not status.get("startTime") and changed("Finished", "startTime") and not idle:
        causes.append(required("status.startTime", "startTime is required for finished job"))
    if (pods.get("succeeded") or pods.get("failed")) and changed("Finished", "uncountedTerminatedPods"):
        told = shown("batch.v1.UncountedTerminatedPods", pods)
        causes.append(invalid_value("status.uncountedTerminatedPods", told, "must be empty for finished job"))
    return causes


def _indexes(spec: Object, status: Object, changed: Callable[..., bool]) -> list[Cause]:
    completions, done, failed = spec.get("completions"), status.get("completedIndexes", ""), status.get("failedIndexes")
    limited, causes = "backoffLimitPerIndex" in spec, list[Cause]()
    if completions is not None:
        if changed("completedIndexes"):
            causes += _format("completedIndexes", done, completions)
        if changed("failedIndexes") and limited and failed is not None:
            causes += _format("failedIndexes", failed, completions)
    if done and spec.get("completionMode") != "Indexed" and changed("completedIndexes"):
        text = "cannot set non-empty completedIndexes when non-indexed completion mode"
        causes.append(invalid_value("status.completedIndexes", done, text))
    if failed is not None and not limited and changed("failedIndexes"):
        text = "cannot set non-null failedIndexes when backoffLimitPerIndex is null"
        causes.append(invalid_value("status.failedIndexes", failed, text))
    if completions is not None and failed and done and changed("completedIndexes", "failedIndexes"):
        at = _overlap(done, failed, completions)
        if at is not None:
            text = f"failedIndexes and completedIndexes overlap at index: {at}"
            causes.append(invalid_value("status.failedIndexes", failed, text))
    return causes


def _format(name: str, text: str, completions: int) -> list[Cause]:
    try:
        count_indexes(text, completions)
    except ValueError as error:
        return [invalid_value(f"status.{name}", text, f"error parsing {name}: {error}")]
    return []


def _overlap(done: str, failed: str, completions: int) -> int | None:
    """Return the first index of both, None when there is none; intervals that are none are passed over."""

    def intervals(text: str) -> list[tuple[int, int]]:
        found = []
        for part in text.split(","):
            try:
                found.append(index_interval(part, completions))
            except ValueError:
                continue
        return found

    ours, theirs = intervals(done), intervals(failed)
    i = j = 0
    while i < len(ours) and j < len(theirs):
        (a, b), (c, d) = ours[i], theirs[j]
        if a <= d and c <= b:
            return max(a, c)
        if a <= c:
            i += 1
        else:
            j += 1
    return None


def _counters(status: Object, changed: Callable[..., bool]) -> list[Cause]:
    causes: list[Cause] = []
    terminating, ready, active = status.get("terminating") or 0, status.get("ready"), status.get("active", 0)
    finished = _is(status, "Complete") or _is(status, "Failed")
    if terminating > 0 and finished and changed("Finished", "terminating"):
        causes.append(invalid_value("status.terminating", terminating, "terminating>0 is invalid for finished job"))
    if ready is not None and ready > active and changed("ready", "active"):
        causes.append(invalid_value("status.ready", ready, "cannot set more ready pods than active"))
    return causes


def _success(spec: Object, status: Object) -> list[Cause]:
    causes: list[Cause] = []
    met = _is(status, "SuccessCriteriaMet")
    for other, word in (("Failed", "Failed"), ("FailureTarget", "FailureTarget")):
        if met and _is(status, other):
            causes.append(_conditions(f"cannot set SuccessCriteriaMet=True and {word}=true conditions"))
    if "successPolicy" in spec and not met and _is(status, "Complete"):
        causes.append(_conditions("cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True"))
    return causes


def _taken_back(spec: Object, status: Object, before: Object) -> list[Cause]:
    causes = [
        _conditions(f"cannot disable the terminal {kind}=True condition")
        for kind in ("Failed", "Complete", "FailureTarget")
        if _is(before, kind) and not _is(status, kind)
    ]
    names = ["failed"]
    if spec.get("completionMode") != "Indexed" or spec.get("completions") != spec.get("parallelism"):
        names.append("succeeded")
    for name in names:
        count = status.get(name, 0)
        if count < before.get(name, 0):
            causes.append(invalid_value(f"status.{name}", count, f"cannot decrease the {name} counter"))
    started, ended = "startTime", "completionTime"
    if status.get(ended) and before.get(ended) and status[ended] != before[ended]:
        causes.append(invalid_value(f"status.{ended}", status[ended], IMMUTABLE))
    resumes = _is(before, "Suspended") and any(
        condition.get("type") == "Suspended" and condition.get("status") == "False"
        for condition in status.get("conditions", ())
    )
    if before.get(started) and status.get(started) != before[started] and not spec.get("suspend") and not resumes:
        text = "field is immutable for unsuspended job once set"
        causes.append(invalid_value(f"status.{started}", status.get(started), text))
    met = _is(status, "SuccessCriteriaMet")
    if _is(before, "SuccessCriteriaMet") and not met:
        causes.append(_conditions("cannot disable the SuccessCriteriaMet=True condition"))
    elif _is(before, "Complete") and not _is(before, "SuccessCriteriaMet") and met:
        causes.append(_conditions("cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions"))
    return causes
