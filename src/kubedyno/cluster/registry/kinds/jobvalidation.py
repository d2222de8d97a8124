"""What makes a Job, or a CronJob's template of one, invalid."""

import re
from typing import Any

from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.kinds.gostruct import go_success_policy, go_template
from kubedyno.cluster.registry.kinds.podvalidation import validate_template
from kubedyno.cluster.registry.kinds.rules import IMMUTABLE, domain_path, not_negative, one_of, unchanged
from kubedyno.cluster.registry.metadata import selector_causes
from kubedyno.kube.names import problems_of_qualified_name
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
# What may change of the template while a Job is suspended and has not started.
_DIRECTIVES = ("affinity", "nodeSelector", "tolerations", "schedulingGates")


def generated_selector_causes(job: Object, uid_labels: tuple[str, ...], name_labels: tuple[str, ...]) -> list[Cause]:
    """Return what is wrong with a selector that was to be generated."""
    spec, metadata = job["spec"], job["metadata"]
    selector = spec.get("selector")
    if spec.get("manualSelector") or selector is None:
        return []
    causes: list[Cause] = []
    labels = spec["template"]["metadata"].get("labels", {})
    expected = {
        **dict.fromkeys(uid_labels[1:], metadata["uid"]),
        **dict.fromkeys(name_labels[1:], metadata.get("name", "")),
        uid_labels[0]: metadata["uid"],
        name_labels[0]: metadata.get("name", ""),
    }
    for key, value in expected.items():
        path = f"spec.template.metadata.labels[{key}]"
        if key not in labels:
            causes.append(required(path, f"must be '{value}'"))
        elif labels[key] != value:
            causes.append(invalid_value("spec.template.metadata.labels", labels, f"must be '{value}'"))
    if selector != {"matchLabels": {uid_labels[0]: metadata["uid"]}}:
        causes.append(invalid_value("spec.selector", selector, "`selector` not auto-generated"))
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
        causes.append(invalid_value(f"{path}.template.metadata.labels", labels or None, text))
    return causes


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
    limit, completions = spec.get("maxFailedIndexes"), spec.get("completions")
    if limit is None:
        return []
    causes = not_negative(f"{path}.maxFailedIndexes", limit)
    if "backoffLimitPerIndex" not in spec:
        causes.append(required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    if completions is not None and limit > completions:
        text = "must be less than or equal to completions"
        causes.append(invalid_value(f"{path}.maxFailedIndexes", limit, text))
    return causes


def _mode(spec: Object, path: str) -> list[Cause]:
    mode = spec.get("completionMode")
    causes: list[Cause] = []
    if mode is not None and mode not in {"NonIndexed", "Indexed"}:
        causes.append(not_supported(f"{path}.completionMode", mode, ("NonIndexed", "Indexed")))
    if mode == "Indexed":
        if spec.get("completions") is None:
            causes.append(required(f"{path}.completions", f"when completion mode is {mode}"))
        if (spec.get("parallelism") or 0) > _MAX_INDEXED_PARALLELISM:
            text = f"must be less than or equal to {_MAX_INDEXED_PARALLELISM} when completion mode is {mode}"
            causes.append(invalid_value(f"{path}.parallelism", spec["parallelism"], text))
    else:
        causes += [
            invalid_value(f"{path}.{name}", spec[name], _INDEXED_ONLY)
            for name in ("backoffLimitPerIndex", "maxFailedIndexes")
            if name in spec
        ]
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
    action, codes, conditions = rule.get("action", ""), rule.get("onExitCodes"), rule.get("onPodConditions")
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
    operator, values, container = codes.get("operator", ""), codes.get("values", []), codes.get("containerName")
    causes: list[Cause] = []
    if not operator:
        causes.append(required(f"{path}.operator", 'valid values: ["In" "NotIn"]'))
    elif operator not in _OPERATORS:
        causes.append(not_supported(f"{path}.operator", operator, _OPERATORS))
    if container is not None and container not in containers:
        text = "must be one of the container or initContainer names in the pod template"
        causes.append(invalid_value(f"{path}.containerName", container, text))
    if not values:
        causes.append(invalid_value(f"{path}.values", values, "at least one value is required"))
    elif len(values) > _MAX_EXIT_CODES:
        text = f"Too many: {len(values)}: must have at most {_MAX_EXIT_CODES} items"
        causes.append(Cause("FieldValueTooMany", f"{path}.values", text))
    ordered = True
    for i, value in enumerate(values):
        if operator == "In" and value == 0:
            causes.append(invalid_value(f"{path}.values[{i}]", value, "must not be 0 for the In operator"))
        if value in values[:i]:
            causes.append(duplicate(f"{path}.values[{i}]", value))
        ordered = ordered and (i == 0 or value >= values[i - 1])
    if not ordered:
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
            try:
                total = _count_indexes(indexes, completions)
            except ValueError as error:
                causes.append(invalid_value(field, indexes, f"error parsing succeededIndexes: {error}"))
        if count is not None:
            causes += not_negative(f"{where}.succeededCount", count)
            if count > completions:
                text = "must be less than or equal to " + f"{completions} (the number of specified completions)"
                causes.append(invalid_value(f"{where}.succeededCount", count, text))
            elif count > total:
                text = f"must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
                causes.append(invalid_value(f"{where}.succeededCount", count, text))
    return causes


def _count_indexes(text: str, completions: int) -> int:
    """Return how many indexes "1,3-5" names.

    Raises:
        ValueError: It is malformed, out of order, or names one that there is not.
    """
    total, last = 0, -1
    for part in text.split(","):
        ends = part.split("-")
        if len(ends) > 2:
            raise ValueError(f'the fragment "{part}" violates the requirement that an index interval can have at most '
                             "two parts separated by '-'")  # fmt: skip
        numbers = []
        for end in ends:
            if not re.fullmatch(r"[+-]?\d+", end):
                raise ValueError(f'cannot convert string to integer for index: "{end}"')
            if int(end) >= completions:
                raise ValueError(f'too large index: "{end}"')
            numbers.append(int(end))
        if numbers[-1] < numbers[0] or (len(numbers) == 2 and numbers[0] == numbers[1]):
            raise ValueError(f"non-increasing order, previous: {numbers[0]}, current: {numbers[-1]}")
        if numbers[0] <= last:
            raise ValueError(f"non-increasing order, previous: {last}, current: {numbers[0]}")
        last = numbers[-1]
        total += numbers[-1] - numbers[0] + 1
    return total


def job_update_causes(spec: Object, old: Object, path: str) -> list[Cause]:
    """Return what a new version of a Job changes that may not change."""
    before = old["spec"]
    causes: list[Cause] = []
    elastic = before.get("completionMode") == "Indexed"
    if spec.get("completions") != before.get("completions"):
        if not elastic:
            causes += unchanged(f"{path}.completions", spec.get("completions"), before.get("completions"))
        elif spec.get("completions") != spec.get("parallelism") or before.get("completions") != before.get(
            "parallelism"
        ):
            text = "can only be modified in tandem with spec.parallelism"
            causes.append(invalid_value(f"{path}.completions", spec.get("completions"), text))
    causes += unchanged(f"{path}.selector", spec.get("selector"), before.get("selector"))
    template = _pinned(spec, before, old)
    if template != before["template"]:
        causes.append(invalid_value(f"{path}.template", go_template(template), IMMUTABLE))
    for name in (
        "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy",
    ):  # fmt: skip
        causes += unchanged(f"{path}.{name}", spec.get(name), before.get(name))
    return causes


def _pinned(spec: Object, before: Object, old: Object) -> Object:
    """Return the new template with the parts that may change as they were."""
    template: Object = spec["template"]
    if not before.get("suspend") or old.get("status", {}).get("startTime"):
        return template
    after, earlier = dict(template["spec"]), before["template"]["spec"]
    for name in _DIRECTIVES:
        after.pop(name, None)
        if name in earlier:
            after[name] = earlier[name]
    metadata = dict(template["metadata"])
    for name in ("labels", "annotations"):
        metadata.pop(name, None)
        if name in before["template"]["metadata"]:
            metadata[name] = before["template"]["metadata"][name]
    return {**template, "metadata": metadata, "spec": after}
