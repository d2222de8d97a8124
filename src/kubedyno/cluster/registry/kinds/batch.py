"""Job and CronJob: pods that end, once or by the clock."""

from typing import Any

from kubedyno.base.times import epoch_of, human_duration
from kubedyno.cluster.registry.cells import NONE, age, containers_of, selector_text, since
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.kinds.cronschedule import parse_schedule
from kubedyno.cluster.registry.kinds.jobvalidation import (
    generated_selector_causes,
    job_causes,
    job_update_causes,
    template_causes,
)
from kubedyno.cluster.registry.kinds.podspec import default_pod_spec
from kubedyno.cluster.registry.kinds.podwarnings import name_warnings, template_warnings
from kubedyno.cluster.registry.kinds.rules import not_negative, one_of
from kubedyno.kube.names import problems_of_dns1123_subdomain
from kubedyno.kube.status import BadRequest, Cause, invalid_value, not_supported, required

_MAX_INT32 = 2**31 - 1
# What a CronJob's name leaves for the suffix of its Jobs.
_MAX_CRON_NAME = 52
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


class Jobs(Kind):
    """batch/v1 Job."""

    metadata_checks = "wu"
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
        for rule in spec.get("podFailurePolicy", {}).get("rules", ()):
            for condition in rule.get("onPodConditions", ()):
                condition["status"] = condition.get("status") or "True"

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
        return generated_selector_causes(obj, UID_LABELS, NAME_LABELS) + job_causes(obj["spec"], "spec")

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        # All of it is looked at twice.
        return 2 * job_causes(obj["spec"], "spec") + job_update_causes(obj["spec"], old, "spec")

    def warnings(self, obj: Object) -> list[str]:
        return name_warnings(obj["metadata"].get("name", "")) + self.warnings_of_change(obj, obj)

    def warnings_of_change(self, obj: Object, old: Object) -> list[str]:
        _ = old
        warnings = template_warnings(obj["spec"]["template"], "spec.template")
        completions, parallelism = obj["spec"].get("completions"), obj["spec"].get("parallelism")
        if obj["spec"]["completionMode"] == "Indexed" and (completions or 0) > 100_000 and (parallelism or 0) > 10_000:
            warnings.append(
                "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, "
                "Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
            )
        return warnings

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
        default_template(template.setdefault("spec", {}))

    def validate(self, obj: Object) -> list[Cause]:
        spec = obj["spec"]
        causes = _schedule(spec)
        zone = spec.get("timeZone")
        if zone is not None:
            causes += _zone(zone)
        causes += not_negative("spec.startingDeadlineSeconds", spec.get("startingDeadlineSeconds"))
        causes += one_of(
            "spec.concurrencyPolicy", spec["concurrencyPolicy"], ("Allow", "Forbid", "Replace"), needed=True
        )
        inner = spec["jobTemplate"]["spec"]
        causes += template_causes(inner, "spec.jobTemplate.spec")
        if inner.get("manualSelector"):
            causes.append(not_supported("spec.jobTemplate.spec.manualSelector", True, ("nil", "false")))
        for name in ("successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
            causes += not_negative(f"spec.{name}", spec[name])
        return causes

    def warnings(self, obj: Object) -> list[str]:
        return name_warnings(obj["metadata"].get("name", "")) + self.warnings_of_change(obj, obj)

    def warnings_of_change(self, obj: Object, old: Object) -> list[str]:
        _ = old
        return template_warnings(obj["spec"]["jobTemplate"]["spec"]["template"], "spec.jobTemplate.spec.template")

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        spec, status = obj["spec"], obj.get("status", {})
        last = status.get("lastScheduleTime")
        inner = spec["jobTemplate"]["spec"]
        return [
            obj["metadata"]["name"],
            spec["schedule"],
            spec.get("timeZone", NONE),
            str(bool(spec.get("suspend"))),
            len(status.get("active", ())),
            since(last, now_s) if last else NONE,
            age(obj, now_s),
            *containers_of(inner["template"]),
            selector_text(inner.get("selector")),
        ]


def _schedule(spec: Object) -> list[Cause]:
    schedule = spec["schedule"]
    if not schedule:
        return [required("spec.schedule")]
    causes = []
    if "TZ" in schedule:
        text = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        causes.append(invalid_value("spec.schedule", schedule, text))
        schedule = schedule.partition(" ")[2] if "=" in schedule.partition(" ")[0] else schedule
    try:
        parse_schedule(schedule)
    except ValueError as error:
        causes.append(invalid_value("spec.schedule", spec["schedule"], str(error)))
    return causes


def _zone(zone: str) -> list[Cause]:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # noqa: PLC0415 - few CronJobs name one

    if not zone:
        return [invalid_value("spec.timeZone", zone, "timeZone must be nil or non-empty string")]
    if zone.lower() == "local":
        return [invalid_value("spec.timeZone", zone, "timeZone must be an explicit time zone as defined in "
                              "https://www.iana.org/time-zones")]  # fmt: skip
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return [invalid_value("spec.timeZone", zone, f"unknown time zone {zone}")]
    return []
