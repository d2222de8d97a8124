"""HorizontalPodAutoscaler: kept as autoscaling/v2, served as v1 too."""

from typing import Any

import orjson

from kubedyno.cluster.registry.cells import NONE, age
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.kinds.autoscalingv1 import (
    behavior_from_v1,
    behavior_to_v1,
    metric_from_v1,
    metric_to_v1,
    status_from_v1,
    status_to_v1,
)
from kubedyno.cluster.registry.kinds.resourcevalidation import container_resource_causes
from kubedyno.cluster.registry.kinds.rules import NOT_NEGATIVE, named, not_negative, one_of
from kubedyno.kube.gostructs import json_members_of
from kubedyno.kube.names import problems_of_dns1123_label, problems_of_path_segment
from kubedyno.kube.quantity import Quantity, value_of
from kubedyno.kube.status import Cause, forbidden_field, invalid_value, not_supported, required

_DEFAULT_CPU_PERCENT = 80
_SOURCES = {
    "ContainerResource": "containerResource", "External": "external", "Object": "object", "Pods": "pods",
    "Resource": "resource",
}  # fmt: skip
# In the order in which the real server looks for them: the first one is checked.
_CHECKED = ("object", "external", "pods", "resource", "containerResource")
_NAMED = frozenset({"external", "object", "pods"})
_AT_LEAST_1 = "must be greater than or equal to 1"
_PER_POD = "for metric or a per-pod target"
_SHOWN = 2
_UNSET = "<unset>"
_UNKNOWN = "<unknown>"
_METRICS, _STATUSES, _CONDITIONS, _BEHAVIOR = (
    f"autoscaling.alpha.kubernetes.io/{name}" for name in ("metrics", "current-metrics", "conditions", "behavior")
)
_UP = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ],
}
_DOWN = {"selectPolicy": "Max", "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}
_CONDITION = "autoscaling.v2.HorizontalPodAutoscalerCondition"
_MAX_WINDOW_S = 3600
_MAX_PERIOD_S = 1800


def _cpu_metric(percent: int) -> Object:
    target = {"type": "Utilization", "averageUtilization": percent}
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


class HorizontalPodAutoscalers(Kind):
    """autoscaling/v2 HorizontalPodAutoscaler."""

    has_status = True

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("scaleTargetRef", {})
        spec.setdefault("minReplicas", 1)
        spec.setdefault("maxReplicas", 0)
        if not spec.get("metrics"):
            spec["metrics"] = [_cpu_metric(_DEFAULT_CPU_PERCENT)]
        behavior = spec.get("behavior")
        if behavior is not None:
            for name, defaults in (("scaleUp", _UP), ("scaleDown", _DOWN)):
                rules = behavior.setdefault(name, {})
                for member, value in defaults.items():
                    if member not in rules:
                        rules[member] = orjson.loads(orjson.dumps(value))

    def prepare_create(self, obj: Object) -> None:
        obj["status"] = {"desiredReplicas": 0, "currentMetrics": None}

    def prepare_status(self, obj: Object, old: Object) -> Object:
        new = super().prepare_status(obj, old)
        new["status"].setdefault("desiredReplicas", 0)
        new["status"].setdefault("currentMetrics", None)
        return new

    def validate(self, obj: Object) -> list[Cause]:
        return self._spec_causes(obj["spec"], {})

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        return self._spec_causes(obj["spec"], old["spec"])

    def validate_status(self, obj: Object, old: Object) -> list[Cause]:
        _ = old
        status = obj.get("status", {})
        return [
            cause
            for name in ("currentReplicas", "desiredReplicas")
            for cause in not_negative(f"status.{name}", status.get(name))
        ]

    def _spec_causes(self, spec: Object, old: Object) -> list[Cause]:
        low, high, metrics = spec["minReplicas"], spec["maxReplicas"], spec["metrics"]
        causes: list[Cause] = []
        if low < 1:
            causes.append(invalid_value("spec.minReplicas", low, _AT_LEAST_1))
        if not high:
            causes.append(required("spec.maxReplicas", "must be set and greater than 0"))
        elif high < 0:
            causes.append(invalid_value("spec.maxReplicas", high, _AT_LEAST_1))
        if low > high:
            text = "must be greater than or equal to `minReplicas`"
            causes.append(invalid_value("spec.maxReplicas", high, text))
        causes += _reference(spec["scaleTargetRef"], "spec.scaleTargetRef", old.get("scaleTargetRef"))
        for i, metric in enumerate(metrics):
            causes += _metric(metric, f"spec.metrics[{i}]")
        if low == 0 and not any(m.get("type") in {"Object", "External"} for m in metrics):
            text = "must specify at least one Object or External metric to support scaling to zero replicas"
            causes.append(forbidden_field("spec.metrics", text))
        for name in ("scaleUp", "scaleDown"):
            rules = spec.get("behavior", {}).get(name)
            if rules is not None:
                causes += _rules(rules, f"spec.behavior.{name}")
        return causes

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        spec, status = obj.get("spec", {}), obj.get("status", {})
        target = spec.get("scaleTargetRef", {})
        low = spec.get("minReplicas")
        return [
            obj["metadata"]["name"],
            f"{target.get('kind', '')}/{target.get('name', '')}",
            _targets(spec.get("metrics") or [], status.get("currentMetrics") or []),
            _UNSET if low is None else str(low),
            spec.get("maxReplicas", 0),
            status.get("currentReplicas", 0),
            age(obj, now_s),
        ]


def _reference(target: Object, path: str, old: Object | None) -> list[Cause]:
    """Return what is wrong with what is scaled; a version and kind that are stored already are not looked at."""
    causes = named(f"{path}.kind", target.get("kind", ""), problems_of_path_segment)
    causes += named(f"{path}.name", target.get("name", ""), problems_of_path_segment)
    if old is not None and all(old.get(name) == target.get(name) for name in ("apiVersion", "kind")):
        return causes
    ungrouped = target.get("kind") == "ReplicationController"
    return causes + _version(target.get("apiVersion", ""), f"{path}.apiVersion", ungrouped=ungrouped)


def _version(version: str, path: str, *, ungrouped: bool) -> list[Cause]:
    """Return what is wrong with a reference's apiVersion, which only with `ungrouped` may be of no group."""
    if version.count("/") > 1:
        return [invalid_value(path, version, f"unexpected GroupVersion string: {version}")]
    if not ungrouped and not version.partition("/")[0 if "/" in version else 1]:
        return [invalid_value(path, version, "apiVersion must specify API group")]
    return []


def _metric(metric: Object, path: str) -> list[Cause]:
    kind = metric.get("type", "")
    causes = [] if kind else [required(f"{path}.type", "must specify a metric source type")]
    unknown = not_supported(f"{path}.type", kind, tuple(_SOURCES))
    if kind not in _SOURCES:
        causes.append(unknown)
    present = [member for member in _CHECKED if metric.get(member) is not None]
    if present:
        causes += _source(present[0], metric[present[0]], f"{path}.{present[0]}")
    if kind not in _SOURCES:
        # Found by two checks of the real server, so listed twice.
        causes.append(unknown)
    elif _SOURCES[kind] not in present:
        where = f"{path}.{_SOURCES[kind]}"
        causes.append(required(where, "must populate information for the given metric source"))
    if len(present) != 1:
        causes += [
            forbidden_field(f"{path}.{member}", "must populate the given metric source only")
            for member in present
            if member != _SOURCES.get(kind)
        ]
    return causes


def _source(member: str, source: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    if member == "object":
        causes += _described(source.get("describedObject", {}), f"{path}.describedObject")
    if member in _NAMED:
        identifier = source.get("metric", {})
        causes += named(
            f"{path}.metric.name", identifier.get("name", ""), problems_of_path_segment, "must specify a metric name"
        )
    else:
        causes += _resource_name(member, source.get("name", ""), f"{path}.name")
    if member == "containerResource":
        container = source.get("container", "")
        causes += named(f"{path}.container", container, problems_of_dns1123_label, "must specify a container")
    return causes + _metric_target(member, source.get("target", {}), f"{path}.target")


def _described(described: Object, path: str) -> list[Cause]:
    causes = [
        cause
        for name in ("kind", "name")
        for cause in named(f"{path}.{name}", described.get(name, ""), problems_of_path_segment)
    ]
    return causes + _version(described.get("apiVersion", ""), f"{path}.apiVersion", ungrouped=True)


def _resource_name(member: str, name: str, path: str) -> list[Cause]:
    if not name:
        return [required(path, "must specify a resource name")]
    return container_resource_causes(name, path) if member == "containerResource" else []


def _metric_target(member: str, target: Object, path: str) -> list[Cause]:
    target_type = target.get("type", "")
    causes = [] if target_type else [required(f"{path}.type", "must specify a metric target type")]
    if target_type not in {"AverageValue", "Utilization", "Value"}:
        causes.append(invalid_value(f"{path}.type", target_type, "must be either Utilization, Value, or AverageValue"))
    zero = Quantity.parse("0")
    causes += [
        invalid_value(f"{path}.{name}", target[name], "must be positive")
        for name in ("value", "averageValue")
        if name in target and Quantity.parse(target[name]) <= zero
    ]
    percent = target.get("averageUtilization")
    if percent is not None and percent < 1:
        causes.append(invalid_value(f"{path}.averageUtilization", percent, "must be greater than 0"))
    given = [name for name in ("value", "averageValue", "averageUtilization") if name in target]
    if member in {"resource", "containerResource"}:
        if not {"averageUtilization", "averageValue"} & set(given):
            text = "must set either a target raw value or a target utilization"
            causes.append(required(f"{path}.averageUtilization", text))
        if {"averageUtilization", "averageValue"} <= set(given):
            text = "may not set both a target raw value and a target utilization"
            causes.append(forbidden_field(f"{path}.averageValue", text))
    elif member == "pods":
        if "averageValue" not in target:
            causes.append(required(f"{path}.averageValue", "must specify a positive target averageValue"))
    elif not {"value", "averageValue"} & set(given):
        text = "must set either a target value " + ("or averageValue" if member == "object" else _PER_POD)
        causes.append(required(f"{path}.averageValue", text))
    elif {"value", "averageValue"} <= set(given) and member == "external":
        text = "may not set both a target value for metric and a per-pod target"
        causes.append(forbidden_field(f"{path}.value", text))
    return causes


def _rules(rules: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    window = rules.get("stabilizationWindowSeconds")
    if window is not None:
        if window < 0:
            text = "must be greater than or equal to zero"
            causes.append(invalid_value(f"{path}.stabilizationWindowSeconds", window, text))
        elif window > _MAX_WINDOW_S:
            text = f"must be less than or equal to {_MAX_WINDOW_S}"
            causes.append(invalid_value(f"{path}.stabilizationWindowSeconds", window, text))
    causes += one_of(f"{path}.selectPolicy", rules.get("selectPolicy"), ("Disabled", "Max", "Min"))
    policies = rules.get("policies", [])
    if not policies:
        causes.append(required(f"{path}.policies", "must specify at least one Policy"))
    for i, policy in enumerate(policies):
        where = f"{path}.policies[{i}]"
        causes += one_of(f"{where}.type", policy.get("type", ""), ("Percent", "Pods"))
        value, period = policy.get("value", 0), policy.get("periodSeconds", 0)
        if value <= 0:
            causes.append(invalid_value(f"{where}.value", value, "must be greater than zero"))
        if period <= 0:
            causes.append(invalid_value(f"{where}.periodSeconds", period, "must be greater than zero"))
        elif period > _MAX_PERIOD_S:
            text = f"must be less than or equal to {_MAX_PERIOD_S}"
            causes.append(invalid_value(f"{where}.periodSeconds", period, text))
    if "tolerance" in rules and value_of(rules["tolerance"]) < 0:
        causes.append(invalid_value(f"{path}.tolerance", rules["tolerance"], NOT_NEGATIVE))
    return causes


def _targets(metrics: list[Object], current: list[Object]) -> str:
    """Return kubectl's TARGETS: what is and what is wanted, of the first two metrics."""
    texts = []
    for i, metric in enumerate(metrics):
        member = _SOURCES.get(metric.get("type", ""), "")
        source = metric.get(member, {})
        now = current[i].get(member, {}).get("current", {}) if i < len(current) and member in current[i] else {}
        texts.append(_target_text(metric["type"], source, now))
    if not texts:
        return NONE
    more = len(texts) - _SHOWN
    return ", ".join(texts[:_SHOWN]) + (f" + {more} more..." if more > 0 else "")


def _target_text(kind: str, source: Object, now: Object) -> str:
    target = source.get("target", {})
    name = f"{source.get('name', '')}: " if kind in {"Resource", "ContainerResource"} else ""
    if "averageValue" in target:
        average = " (avg)" if kind in {"External", "Object"} else ""
        return f"{name}{now.get('averageValue', _UNKNOWN)}/{target['averageValue']}{average}"
    if "averageUtilization" in target:
        percent = now.get("averageUtilization")
        return f"{name}{_UNKNOWN if percent is None else f'{percent}%'}/{target['averageUtilization']}%"
    return f"{name}{now.get('value', _UNKNOWN)}/{target.get('value', _UNKNOWN)}"


# --- autoscaling/v1 ----------------------------------------------------------------------------------------------


def to_v2(obj: Object) -> None:
    """Turn a v1 autoscaler into a v2 one, in place; a v2 one stays as it is."""
    spec, status = obj.get("spec", {}), obj.get("status", {})
    annotations = obj["metadata"].get("annotations", {})
    metrics = list(spec.get("metrics", ()))
    metrics += [metric_from_v1(metric) for metric in orjson.loads(annotations.pop(_METRICS, "[]"))]
    percent = spec.pop("targetCPUUtilizationPercentage", None)
    if percent is not None:
        metrics.append(_cpu_metric(percent))
    if metrics:
        spec["metrics"] = metrics
    if _BEHAVIOR in annotations:
        spec["behavior"] = behavior_from_v1(orjson.loads(annotations.pop(_BEHAVIOR)))
    if _STATUSES in annotations:
        status["currentMetrics"] = [status_from_v1(each) for each in orjson.loads(annotations.pop(_STATUSES))]
    if _CONDITIONS in annotations:
        status["conditions"] = orjson.loads(annotations.pop(_CONDITIONS))
    current = status.pop("currentCPUUtilizationPercentage", None)
    if current is not None and "currentMetrics" not in status:
        metric = {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": current}}}
        status["currentMetrics"] = [metric]
    if "annotations" in obj["metadata"] and not annotations:
        del obj["metadata"]["annotations"]


def _is_cpu(metric: Object, member: str) -> bool:
    resource = metric.get("resource", {})
    return bool(resource.get("name") == "cpu" and "averageUtilization" in resource.get(member, {}))


def to_v1(obj: Object) -> Object:
    """Return a v2 autoscaler in v1's form: what v1 has no member for goes into annotations."""
    spec, status, kept = obj.get("spec", {}), obj.get("status", {}), {}
    others = []
    for metric in spec.pop("metrics", ()):
        if _is_cpu(metric, "target") and "targetCPUUtilizationPercentage" not in spec:
            spec["targetCPUUtilizationPercentage"] = metric["resource"]["target"]["averageUtilization"]
        else:
            others.append(metric)
    if others:
        kept[_METRICS] = [metric_to_v1(metric) for metric in others]
    if "behavior" in spec:
        kept[_BEHAVIOR] = behavior_to_v1(spec.pop("behavior"))
    for metric in status.get("currentMetrics") or ():
        if _is_cpu(metric, "current"):
            status["currentCPUUtilizationPercentage"] = metric["resource"]["current"]["averageUtilization"]
    if status.get("currentMetrics"):
        kept[_STATUSES] = [status_to_v1(metric) for metric in status["currentMetrics"]]
    status.pop("currentMetrics", None)
    if status.get("conditions"):
        kept[_CONDITIONS] = [
            {name: each[name] for name in json_members_of(_CONDITION) if name in each} for each in status["conditions"]
        ]
    status.pop("conditions", None)
    if status:
        status.setdefault("currentReplicas", 0)
    if kept:
        annotations = obj["metadata"].setdefault("annotations", {})
        annotations.update({name: orjson.dumps(value).decode() for name, value in kept.items()})
    return obj


class HorizontalPodAutoscalersV1(HorizontalPodAutoscalers):
    """autoscaling/v1 HorizontalPodAutoscaler: the same objects."""

    cells_of_stored = True

    def default(self, obj: Object) -> None:
        to_v2(obj)
        super().default(obj)

    def from_stored(self, obj: Object) -> Object:
        return to_v1(obj)
