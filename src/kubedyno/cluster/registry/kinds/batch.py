"""Job and CronJob: pods that end, once or by the clock."""

import re
from typing import Any

from kubedyno.base.times import epoch_of, human_duration
from kubedyno.cluster.registry.cells import NONE, age, containers_of, selector_text, since
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.kinds.cronschedule import parse_schedule
from kubedyno.cluster.registry.kinds.jobstatusvalidation import job_status_causes
from kubedyno.cluster.registry.kinds.jobvalidation import (
    generated_selector_causes,
    host_causes,
    job_causes,
    job_update_causes,
    template_causes,
)
from kubedyno.cluster.registry.kinds.podspec import default_pod_spec
from kubedyno.cluster.registry.kinds.podwarnings import name_warnings, template_warnings
from kubedyno.cluster.registry.kinds.rules import not_negative, one_of
from kubedyno.cluster.registry.metadata import changed_metadata_causes
from kubedyno.kube.names import problems_of_dns1123_subdomain
from kubedyno.kube.status import BadRequest, Cause, invalid_value, not_supported, required

_MAX_INT32 = 2**31 - 1
# What a CronJob's name leaves for the suffix of its Jobs.
_MAX_CRON_NAME = 52
_INNER = "spec.jobTemplate.spec"
_ZONED = (
    "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see "
    "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
)
_ZONE_PART = re.compile(r"(?!-)[A-Za-z.\-_0-9+]{1,14}\Z")
UID_LABELS = ("batch.kubernetes.io/controller-uid", "controller-uid")
NAME_LABELS = ("batch.kubernetes.io/job-name", "job-name")
_STATES = (
    ("Complete", "Complete"),
    ("Failed", "Failed"),
    ("", "Terminating"),
    ("Suspended", "Suspended"),
    ("FailureTarget", "FailureTarget"),
    ("SuccessCriteriaMet", "SuccessCriteriaMet"),
)


def default_template(spec: Object) -> Object:
    """Fill in a Job spec's pod template and return it."""
    template: Object = spec.setdefault("template", {})
    template.setdefault("metadata", {})
    default_pod_spec(template.setdefault("spec", {}), pod=False)
    return template


def _default_conditions(spec: Object) -> None:
    for rule in spec.get("podFailurePolicy", {}).get("rules", ()):
        for condition in rule.get("onPodConditions", ()):
            condition["status"] = condition.get("status") or "True"


class Jobs(Kind):
    """batch/v1 Job."""

    metadata_checks = "w|u"
    orphans = True
    deletion_warning = (
        "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or "
        "set propagationPolicy=Orphan to suppress this warning"
    )
    has_status = True
    has_generation = True
    field_paths = ("status.successful",)

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        labels = default_template(spec)["metadata"].get("labels")
        if spec.get("completions") is None and spec.get("parallelism") is None:
            spec["completions"] = 1
        spec.setdefault("parallelism", 1)
        spec.setdefault("backoffLimit", _MAX_INT32 if "backoffLimitPerIndex" in spec else 6)
        if labels and not obj["metadata"].get("labels"):
            # One map, as in Go: what the selector adds to the template's labels is the Job's too.
            obj["metadata"]["labels"] = labels
        spec.setdefault("completionMode", "NonIndexed")
        spec.setdefault("suspend", False)
        spec.setdefault("manualSelector", False)
        spec.setdefault("podReplacementPolicy", "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed")
        _default_conditions(spec)

    def prepare_create(self, obj: Object) -> None:
        obj["status"] = {}
        spec, metadata = obj["spec"], obj["metadata"]
        if spec["manualSelector"]:
            return
        labels = spec["template"]["metadata"].setdefault("labels", {})
        for name in NAME_LABELS:
            labels.setdefault(name, metadata.get("name", ""))
        for name in UID_LABELS:
            labels.setdefault(name, metadata["uid"])
        # In Go's order, in place: the map may be shared.
        ordered = sorted(labels.items())
        labels.clear()
        labels.update(ordered)
        selector = spec.setdefault("selector", {})
        wanted = {**selector.get("matchLabels", {}), UID_LABELS[0]: metadata["uid"]}
        selector["matchLabels"] = dict(sorted(wanted.items()))

    def complete(self, obj: Object) -> None:
        labels = obj["spec"]["template"]["metadata"].get("labels")
        if labels and not obj["metadata"].get("labels"):
            obj["metadata"]["labels"] = dict(labels)

    def validate(self, obj: Object) -> list[Cause]:
        generated = generated_selector_causes(obj, UID_LABELS, NAME_LABELS)
        return generated + job_causes(obj["spec"], "spec") + host_causes(obj)

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        # All of it is looked at twice.
        spec = job_causes(obj["spec"], "spec")
        had = old["spec"]["template"]["metadata"].get("labels", {})
        prefixed = UID_LABELS[0] in had and NAME_LABELS[0] in had
        generated = generated_selector_causes(obj, UID_LABELS, NAME_LABELS, prefixed=prefixed)
        changed = changed_metadata_causes(self, obj["metadata"], old["metadata"])
        return generated + spec + host_causes(obj) + changed + spec + job_update_causes(obj["spec"], old, "spec")

    def validate_status(self, obj: Object, old: Object) -> list[Cause]:
        return job_status_causes(obj, old)

    def warnings(self, obj: Object) -> list[str]:
        return name_warnings(obj["metadata"].get("name", "")) + job_warnings(obj["spec"], "spec")

    def warnings_of_change(self, obj: Object, old: Object) -> list[str]:
        return [] if obj["spec"] == old["spec"] else job_warnings(obj["spec"], "spec")

    def check_field(self, name: str) -> None:
        if not self.supports_field(name):
            raise BadRequest(f'field label "{name}" not supported for Job')

    def field_of(self, obj: Object, name: str) -> str:
        if name == "status.successful":
            return str(obj.get("status", {}).get("succeeded", 0))
        return super().field_of(obj, name)

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        spec, status = obj["spec"], obj.get("status", {})
        completions, parallelism = spec.get("completions"), spec.get("parallelism", 0)
        wanted = str(completions) if completions is not None else "1"
        if completions is None and parallelism > 1:
            wanted = f"1 of {parallelism}"
        started, ended = status.get("startTime"), status.get("completionTime")
        duration = ""
        if started:
            duration = human_duration((epoch_of(ended) if ended else now_s) - epoch_of(started))
        return [
            obj["metadata"]["name"],
            _state(obj),
            f"{status.get('succeeded', 0)}/{wanted}",
            duration,
            age(obj, now_s),
            *containers_of(spec["template"]),
            selector_text(spec.get("selector")),
        ]


def job_warnings(spec: Object, path: str) -> list[str]:
    """Return the warnings for the spec of a Job, or of a template of one."""
    warnings = []
    completions, parallelism = spec.get("completions") or 0, spec.get("parallelism") or 0
    if spec.get("completionMode") == "Indexed" and completions > 100_000 and parallelism > 10_000:
        text = (
            "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, "
            "Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
        )
        warnings.append(f"{path}: {text}")
    return warnings + template_warnings(spec["template"], f"{path}.template")


def _state(job: Object) -> str:
    true = {c.get("type") for c in job.get("status", {}).get("conditions", ()) if c.get("status") == "True"}
    for condition, text in _STATES:
        if condition in true or (not condition and job["metadata"].get("deletionTimestamp")):
            return text
    return "Running"


def _cron_name_problems(name: str) -> list[str]:
    problems = problems_of_dns1123_subdomain(name)
    if len(name) > _MAX_CRON_NAME:
        problems.append(f"must be no more than {_MAX_CRON_NAME} characters")
    return problems


class CronJobs(Kind):
    """batch/v1 CronJob."""

    has_status = True
    has_generation = True
    name_problems = staticmethod(_cron_name_problems)

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("schedule", "")
        spec.setdefault("concurrencyPolicy", "Allow")
        spec.setdefault("suspend", False)
        spec.setdefault("successfulJobsHistoryLimit", 3)
        spec.setdefault("failedJobsHistoryLimit", 1)
        template = spec.setdefault("jobTemplate", {})
        template.setdefault("metadata", {})
        inner = template.setdefault("spec", {})
        default_template(inner)
        _default_conditions(inner)

    def validate(self, obj: Object) -> list[Cause]:
        return self._causes(obj, None)

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        return self._causes(obj, old["spec"])

    def _causes(self, obj: Object, before: Object | None) -> list[Cause]:
        spec = obj["spec"]
        causes = _schedule(spec, zoned=before is not None and "TZ" in before["schedule"])
        causes += not_negative("spec.startingDeadlineSeconds", spec.get("startingDeadlineSeconds"))
        zone = spec.get("timeZone")
        if zone is not None and (before is None or zone != before.get("timeZone")):
            causes += _zone(zone)
        causes += one_of(
            "spec.concurrencyPolicy", spec["concurrencyPolicy"], ("Allow", "Forbid", "Replace"), needed=True
        )
        inner = spec["jobTemplate"]["spec"]
        causes += template_causes(inner, "spec.jobTemplate.spec")
        if "selector" in inner:
            text = "`selector` will be auto-generated"
            causes.append(invalid_value("spec.jobTemplate.spec.selector", inner["selector"], text))
        if inner.get("manualSelector"):
            causes.append(not_supported("spec.jobTemplate.spec.manualSelector", True, ("nil", "false")))
        for name in ("successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
            causes += not_negative(f"spec.{name}", spec[name])
        return causes

    def warnings(self, obj: Object) -> list[str]:
        return name_warnings(obj["metadata"].get("name", "")) + job_warnings(obj["spec"]["jobTemplate"]["spec"], _INNER)

    def warnings_of_change(self, obj: Object, old: Object) -> list[str]:
        warnings = [] if obj["spec"] == old["spec"] else job_warnings(obj["spec"]["jobTemplate"]["spec"], _INNER)
        return warnings + ([_ZONED] if "TZ" in obj["spec"]["schedule"] else [])

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        spec, status = obj["spec"], obj.get("status", {})
        last = status.get("lastScheduleTime")
        inner = spec["jobTemplate"]["spec"]
        return [
            obj["metadata"]["name"],
            spec["schedule"],
            spec.get("timeZone", NONE),
            "<unset>" if spec.get("suspend") is None else str(spec["suspend"]),
            len(status.get("active", ())),
            since(last, now_s) if last else NONE,
            age(obj, now_s),
            *containers_of(inner["template"]),
            selector_text(inner.get("selector")),
        ]


def _schedule(spec: Object, *, zoned: bool) -> list[Cause]:
    """Return what is wrong with a schedule; `zoned`: the one before named a time zone, so that this one may."""
    schedule = spec["schedule"]
    if not schedule:
        return [required("spec.schedule")]
    causes = []
    bare = schedule
    if schedule.startswith(("TZ=", "CRON_TZ=")):
        zone, _, bare = schedule.partition("=")[2].partition(" ")
        if not _is_zone(zone):
            why = f"provided bad location {zone}: unknown time zone {zone}"
            causes.append(invalid_value("spec.schedule", schedule, why))
    try:
        if not causes:
            parse_schedule(bare.strip())
    except ValueError as error:
        causes.append(invalid_value("spec.schedule", schedule, str(error)))
    if "TZ" in schedule and not zoned:
        text = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        causes.append(invalid_value("spec.schedule", schedule, text))
    elif "TZ" in schedule and "timeZone" in spec:
        text = "cannot use both timeZone field and TZ or CRON_TZ in schedule"
        causes.append(invalid_value("spec.schedule", schedule, text))
    return causes


def _zone(zone: str) -> list[Cause]:
    if not zone:
        return [invalid_value("spec.timeZone", zone, "timeZone must be nil or non-empty string")]
    if zone.lower() == "local":
        return [invalid_value("spec.timeZone", zone, "timeZone must be an explicit time zone as defined in "
                              "https://www.iana.org/time-zones")]  # fmt: skip
    fine = all(_ZONE_PART.match(part) and part not in {".", ".."} for part in zone.split("/")) and _is_zone(zone)
    return [] if fine else [invalid_value("spec.timeZone", zone, f"unknown time zone {zone}")]


def _is_zone(zone: str) -> bool:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # noqa: PLC0415 - few CronJobs name one

    try:
        return not zone or bool(ZoneInfo(zone))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
