"""What makes a Job, or a CronJob's template of one, invalid."""

import re
from typing import Any

from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.kinds.conditions import is_true
from kubedyno.cluster.registry.kinds.gostruct import go_pod_spec, go_selector, go_success_policy, go_template
from kubedyno.cluster.registry.kinds.podvalidation import validate_template
from kubedyno.cluster.registry.kinds.rules import (
    IMMUTABLE,
    domain_path,
    not_negative,
    one_of,
    repeated,
    unchanged,
    unchanged_struct,
)
from kubedyno.cluster.registry.metadata import selector_causes
from kubedyno.kube.gostructs import ordered
from kubedyno.kube.names import problems_of_dns1123_label, problems_of_qualified_name
from kubedyno.kube.selectors import LabelSelector
from kubedyno.kube.status import Cause, duplicate, invalid_value, not_supported, required

_MAX_INDEXED_PARALLELISM = 100_000
_MAX_RULES = 20
_MAX_EXIT_CODES = 255
_MAX_CONDITIONS = 20
_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_OPERATORS = ("In", "NotIn")
_MAX_SUCCEEDED_INDEXES = 64 * 1024
_INDEXED_ONLY = "requires indexed completion mode"
_MAX_FAILED_INDEXES = 100_000
# With more completions than this and a limit of failures an index, less may run and fail.
_MANY_COMPLETIONS = 100_000
_MANY_COMPLETIONS_LIMIT = 10_000


def generated_selector_causes(
    job: Object, uid_labels: tuple[str, ...], name_labels: tuple[str, ...], *, prefixed: bool = True
) -> list[Cause]:
    """Return what is wrong with a selector that was to be generated; `prefixed`: labels with a prefix are asked for, too."""
    spec, metadata = job["spec"], job["metadata"]
    selector = spec.get("selector")
    if spec.get("manualSelector") or selector is None:
        return []
    causes: list[Cause] = []
    labels = spec["template"]["metadata"].get("labels", {})
    expected = {
        **dict.fromkeys(uid_labels[1:], metadata["uid"]),
        **dict.fromkeys(name_labels[1:], metadata.get("name", "")),
        **({uid_labels[0]: metadata["uid"], name_labels[0]: metadata.get("name", "")} if prefixed else {}),
    }
    for key, value in expected.items():
        path = f"spec.template.metadata.labels[{key}]"
        if key not in labels:
            causes.append(required(path, f"must be '{value}'"))
        elif labels[key] != value:
            causes.append(invalid_value("spec.template.metadata.labels", labels, f"must be '{value}'"))
    if not selector_causes(selector, "") and not LabelSelector.of(selector).matches(expected):
        causes.append(invalid_value("spec.selector", go_selector(selector), "`selector` not auto-generated"))
    return causes


def job_causes(spec: Object, path: str) -> list[Cause]:
    """Return what is wrong with a Job's spec (ValidateJobSpec)."""
    causes = template_causes(spec, path)
    selector, labels = spec.get("selector"), spec["template"]["metadata"].get("labels", {})
    if selector is None:
        causes.append(required(f"{path}.selector"))
    else:
        causes += selector_causes(selector, f"{path}.selector")
    if selector is None or (
        not any(c.field.startswith(f"{path}.selector.") for c in causes)
        and not LabelSelector.of(selector).matches(labels)
    ):
        text = "`selector` does not match template `labels`"
        found = ordered("", spec["template"]["metadata"].get("labels"))
        causes.append(invalid_value(f"{path}.template.metadata.labels", found, text))
    return causes


def host_causes(job: Object) -> list[Cause]:
    """Return what is wrong with the name of a Job whose pods get hosts' names of it."""
    spec, name = job["spec"], job["metadata"].get("name", "")
    completions = spec.get("completions") or 0
    if spec.get("completionMode") != "Indexed" or completions <= 0:
        return []
    host = f"{name}-{completions - 1}"
    text = f"will not able to create pod with invalid DNS label: {host}"
    return [invalid_value("metadata.name", name, text)] if problems_of_dns1123_label(host) else []


def template_causes(spec: Object, path: str) -> list[Cause]:
    """Return what is wrong with a Job's spec apart from its selector."""
    causes: list[Cause] = []
    for name in (
        "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
    ):  # fmt: skip
        causes += not_negative(f"{path}.{name}", spec.get(name))
    causes += _failed_indexes(spec, path)
    if "managedBy" in spec:
        causes += domain_path(f"{path}.managedBy", spec["managedBy"])
        if len(spec["managedBy"]) > 63:
            causes.append(Cause("FieldValueTooLong", f"{path}.managedBy", "Too long: may not be more than 63 bytes"))
    causes += _mode(spec, path)
    policy = spec.get("podFailurePolicy")
    if policy is not None:
        causes += _failure_policy(spec, policy, f"{path}.podFailurePolicy")
    if "successPolicy" in spec:
        causes += _success_policy(spec, f"{path}.successPolicy")
    replacement = spec.get("podReplacementPolicy")
    if replacement is not None:
        allowed = ("Failed",) if policy is not None else ("Failed", "TerminatingOrFailed")
        causes += one_of(f"{path}.podReplacementPolicy", replacement, allowed)
    causes += validate_template(spec["template"], f"{path}.template")
    restart, where = spec["template"]["spec"].get("restartPolicy"), f"{path}.template.spec.restartPolicy"
    if restart == "Always":
        causes.append(required(where, 'valid values: "OnFailure", "Never"'))
    elif restart not in {"OnFailure", "Never"}:
        causes.append(not_supported(where, restart, ("OnFailure", "Never")))
    elif policy is not None and restart != "Never":
        causes.append(invalid_value(where, restart, 'only "Never" is supported when podFailurePolicy is specified'))
    return causes


def _failed_indexes(spec: Object, path: str) -> list[Cause]:
    limit = spec.get("maxFailedIndexes")
    if limit is None:
        return []
    causes = not_negative(f"{path}.maxFailedIndexes", limit)
    if "backoffLimitPerIndex" not in spec:
        causes.append(required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    return causes


def _mode(spec: Object, path: str) -> list[Cause]:
    mode = spec.get("completionMode")
    causes: list[Cause] = []
    if mode is not None and mode not in {"NonIndexed", "Indexed"}:
        causes.append(not_supported(f"{path}.completionMode", mode, ("NonIndexed", "Indexed")))
    if mode == "Indexed":
        causes += _indexed(spec, path)
    if mode is None or mode == "NonIndexed":
        causes += [
            invalid_value(f"{path}.{name}", spec[name], _INDEXED_ONLY)
            for name in ("backoffLimitPerIndex", "maxFailedIndexes")
            if name in spec
        ]
    return causes


def _indexed(spec: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    completions, parallelism, limit = (
        spec.get(name) for name in ("completions", "parallelism", "maxFailedIndexes")
    )  # fmt: skip
    if completions is None:
        causes.append(required(f"{path}.completions", "when completion mode is Indexed"))
    if (parallelism or 0) > _MAX_INDEXED_PARALLELISM:
        text = f"must be less than or equal to {_MAX_INDEXED_PARALLELISM} when completion mode is Indexed"
        causes.append(invalid_value(f"{path}.parallelism", parallelism, text))
    where = f"{path}.maxFailedIndexes"
    if completions is not None and limit is not None and limit > completions:
        causes.append(invalid_value(where, limit, "must be less than or equal to completions"))
    if limit is not None and limit > _MAX_FAILED_INDEXES:
        causes.append(invalid_value(where, limit, f"must be less than or equal to {_MAX_FAILED_INDEXES}"))
    if (completions or 0) > _MANY_COMPLETIONS and "backoffLimitPerIndex" in spec:
        if limit is None:
            causes.append(required(where, f"must be specified when completions is above {_MANY_COMPLETIONS}"))
        text = (
            f"must be less than or equal to {_MANY_COMPLETIONS_LIMIT} when completions are above {_MANY_COMPLETIONS} and "
            "used with backoff limit per index"
        )
        for name, value in (("parallelism", parallelism), ("maxFailedIndexes", limit)):
            if value is not None and value > _MANY_COMPLETIONS_LIMIT:
                causes.append(invalid_value(f"{path}.{name}", value, text))
    return causes


def _failure_policy(spec: Object, policy: Object, path: str) -> list[Cause]:
    rules = policy.get("rules", [])
    causes: list[Cause] = []
    if len(rules) > _MAX_RULES:
        text = f"Too many: {len(rules)}: must have at most {_MAX_RULES} items"
        causes.append(Cause("FieldValueTooMany", f"{path}.rules", text))
    names = {c.get("name") for kind in ("containers", "initContainers") for c in spec["template"]["spec"].get(kind, ())}
    for i, rule in enumerate(rules):
        causes += _failure_rule(spec, rule, f"{path}.rules[{i}]", names)
    return causes


def _failure_rule(spec: Object, rule: Object, path: str, containers: set[Any]) -> list[Cause]:
    action, codes, conditions = rule.get("action", ""), rule.get("onExitCodes"), rule.get("onPodConditions") or None
    causes: list[Cause] = []
    if not action:
        causes.append(required(f"{path}.action", 'valid values: ["Count" "FailIndex" "FailJob" "Ignore"]'))
    elif action == "FailIndex":
        if "backoffLimitPerIndex" not in spec:
            text = "requires the backoffLimitPerIndex to be set"
            causes.append(invalid_value(f"{path}.action", action, text))
    elif action not in _ACTIONS:
        causes.append(not_supported(f"{path}.action", action, _ACTIONS))
    if codes is not None:
        causes += _exit_codes(codes, f"{path}.onExitCodes", containers)
    if conditions is not None:
        causes += _pod_conditions(conditions, f"{path}.onPodConditions")
    if codes is not None and conditions is not None:
        causes.append(_bare(path, "specifying both OnExitCodes and OnPodConditions is not supported"))
    elif codes is None and conditions is None:
        causes.append(_bare(path, "specifying one of OnExitCodes and OnPodConditions is required"))
    return causes


def _bare(path: str, text: str) -> Cause:
    """Return an "Invalid value" that does not show the value."""
    return Cause("FieldValueInvalid", path, f"Invalid value: {text}")


def _exit_codes(codes: Object, path: str, containers: set[Any]) -> list[Cause]:
    operator, values, container = codes.get("operator", ""), codes.get("values"), codes.get("containerName")
    causes: list[Cause] = []
    if not operator:
        causes.append(required(f"{path}.operator", 'valid values: ["In" "NotIn"]'))
    elif operator not in _OPERATORS:
        causes.append(not_supported(f"{path}.operator", operator, _OPERATORS))
    if container is not None and container not in containers:
        text = "must be one of the container or initContainer names in the pod template"
        causes.append(invalid_value(f"{path}.containerName", container, text))
    if not values:
        return [*causes, invalid_value(f"{path}.values", values, "at least one value is required")]
    if len(values) > _MAX_EXIT_CODES:
        text = f"Too many: {len(values)}: must have at most {_MAX_EXIT_CODES} items"
        causes.append(Cause("FieldValueTooMany", f"{path}.values", text))
    again = {i for i, _ in repeated(values)}
    increasing = True
    for i, value in enumerate(values):
        if operator == "In" and value == 0:
            causes.append(invalid_value(f"{path}.values[{i}]", value, "must not be 0 for the In operator"))
        if i in again:
            causes.append(duplicate(f"{path}.values[{i}]", value))
        increasing = increasing and (i == 0 or value >= values[i - 1])
    if not increasing:
        causes.append(invalid_value(f"{path}.values", values, "must be ordered"))
    return causes


def _pod_conditions(conditions: list[Object], path: str) -> list[Cause]:
    causes: list[Cause] = []
    if len(conditions) > _MAX_CONDITIONS:
        text = f"Too many: {len(conditions)}: must have at most {_MAX_CONDITIONS} items"
        causes.append(Cause("FieldValueTooMany", path, text))
    for i, condition in enumerate(conditions):
        kind, status = condition.get("type", ""), condition.get("status", "")
        causes += [invalid_value(f"{path}[{i}].type", kind, p) for p in problems_of_qualified_name(kind)]
        if not status:
            causes.append(required(f"{path}[{i}].status", 'valid values: ["False" "True" "Unknown"]'))
        elif status not in {"False", "True", "Unknown"}:
            causes.append(not_supported(f"{path}[{i}].status", status, ("False", "True", "Unknown")))
    return causes


def _success_policy(spec: Object, path: str) -> list[Cause]:
    rules = spec["successPolicy"].get("rules", [])
    if spec.get("completionMode") != "Indexed":
        return [invalid_value(path, go_success_policy(spec["successPolicy"]), _INDEXED_ONLY)]
    causes: list[Cause] = []
    if not rules:
        causes.append(
            required(f"{path}.rules", "at least one rules must be specified when the successPolicy is specified")
        )
    if len(rules) > _MAX_RULES:
        text = f"Too many: {len(rules)}: must have at most {_MAX_RULES} items"
        causes.append(Cause("FieldValueTooMany", f"{path}.rules", text))
    completions = spec.get("completions") or 0
    for i, rule in enumerate(rules):
        where = f"{path}.rules[{i}]"
        count, indexes = rule.get("succeededCount"), rule.get("succeededIndexes")
        if count is None and indexes is None:
            causes.append(required(where, "at least one of succeededCount or succeededIndexes must be specified"))
        total = completions
        if indexes is not None:
            field = f"{where}.succeededIndexes"
            if len(indexes) > _MAX_SUCCEEDED_INDEXES:
                text = f"Too long: may not be more than {_MAX_SUCCEEDED_INDEXES} bytes"
                causes.append(Cause("FieldValueTooLong", field, text))
            total = 0
            try:
                total = count_indexes(indexes, completions)
            except ValueError as error:
                causes.append(invalid_value(field, indexes, f"error parsing succeededIndexes: {error}"))
        if count is not None:
            causes += not_negative(f"{where}.succeededCount", count)
            if count > completions:
                text = "must be less than or equal to " + f"{completions} (the number of specified completions)"
                causes.append(invalid_value(f"{where}.succeededCount", count, text))
            if indexes is not None and count > total:
                text = f"must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
                causes.append(invalid_value(f"{where}.succeededCount", count, text))
    return causes


def count_indexes(text: str, completions: int) -> int:
    """Return how many indexes "1,3-5" names.

    Raises:
        ValueError: It is malformed, out of order, or names one that there is not.
    """
    total, last = 0, -1
    for part in text.split(",") if text else ():
        first, end = index_interval(part, completions)
        if total and last >= first:
            raise ValueError(f"non-increasing order, previous: {last}, current: {first}")
        last = end
        total += end - first + 1
    return total


def index_interval(text: str, completions: int) -> tuple[int, int]:
    """Return the first and last index of "3-5" or "3".

    Raises:
        ValueError: It is malformed, out of order, or names one that there is not.
    """
    ends = text.split("-")
    if len(ends) > 2:
        why = "violates the requirement that an index interval can have at most two parts separated by '-'"
        raise ValueError(f'the fragment "{text}" {why}')
    numbers = []
    for end in ends:
        if not re.fullmatch(r"[+-]?[0-9]+", end):
            raise ValueError(f'cannot convert string to integer for index: "{end}"')
        if int(end) >= completions:
            raise ValueError(f'too large index: "{end}"')
        numbers.append(int(end))
    if len(numbers) == 2 and numbers[0] >= numbers[1]:
        raise ValueError(f"non-increasing order, previous: {numbers[0]}, current: {numbers[1]}")
    return numbers[0], numbers[-1]


def job_update_causes(spec: Object, old: Object, path: str) -> list[Cause]:
    """Return what a new version of a Job changes that may not change."""
    before = old["spec"]
    causes: list[Cause] = []
    completions = spec.get("completions")
    if spec.get("completionMode") != "Indexed":
        causes += unchanged(f"{path}.completions", completions, before.get("completions"))
    elif completions not in {None, before.get("completions"), spec.get("parallelism")}:
        text = "can only be modified in tandem with spec.parallelism"
        causes.append(invalid_value(f"{path}.completions", completions, text))
    causes += unchanged(f"{path}.selector", go_selector(spec.get("selector")), go_selector(before.get("selector")))
    causes += _template_changes(spec["template"], old, f"{path}.template")
    causes += unchanged(f"{path}.completionMode", spec.get("completionMode"), before.get("completionMode"))
    for name, struct in (
        ("podFailurePolicy", "batch.v1.PodFailurePolicy"),
        ("backoffLimitPerIndex", ""),
        ("managedBy", ""),
        ("successPolicy", "batch.v1.SuccessPolicy"),
    ):
        after, earlier = spec.get(name), before.get(name)
        where = f"{path}.{name}"
        causes += unchanged_struct(where, struct, after, earlier) if struct else unchanged(where, after, earlier)
    return causes


def _template_changes(template: Object, old: Object, path: str) -> list[Cause]:
    """Return the cause of a changed template: of a suspended Job without pods, where to run and resources may change."""
    before = old["spec"]["template"]
    status = old.get("status", {})
    if not (
        old["spec"].get("suspend") and is_true(status.get("conditions", ()), "Suspended") and not status.get("active")
    ):
        return [] if template == before else [invalid_value(path, go_template(template), IMMUTABLE)]
    allowed = _with_directives(before["spec"], template["spec"])
    for group in ("containers", "initContainers"):
        earlier, later = allowed.get(group, ()), template["spec"].get(group, ())
        if earlier and len(earlier) == len(later):
            allowed[group] = [
                {**a, "resources": b.get("resources", {})} if a.get("name") == b.get("name") else a
                for a, b in zip(earlier, later, strict=True)
            ]
    if template["spec"] == allowed:
        return []
    return [invalid_value(f"{path}.spec", go_pod_spec(template["spec"]), IMMUTABLE)]


def _with_directives(before: Object, after: Object) -> Object:
    """Return a template's spec with what another one says of where pods are to run."""
    allowed = dict(before)
    for name in ("nodeSelector", "tolerations", "schedulingGates"):
        allowed.pop(name, None)
        if name in after:
            allowed[name] = after[name]
    affinity = {name: value for name, value in before.get("affinity", {}).items() if name != "nodeAffinity"}
    if "nodeAffinity" in after.get("affinity", {}):
        affinity["nodeAffinity"] = after["affinity"]["nodeAffinity"]
    allowed.pop("affinity", None)
    if affinity or ("affinity" in before and "affinity" in after) or after.get("affinity") == {}:
        allowed["affinity"] = affinity
    return allowed
