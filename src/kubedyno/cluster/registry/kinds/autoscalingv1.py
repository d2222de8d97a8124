"""How autoscaling/v1 writes what it has no member for: metrics, their values and behaviour as texts of annotations.

The forms are those of an older version: flat, with the number that is wanted or found in a member of its own.
"""

from typing import Any

from kubedyno.cluster.registry.kind import Object
from kubedyno.kube.gostructs import shown

_BEHAVIOR = "autoscaling.v2.HorizontalPodAutoscalerBehavior"
# Kind of metric → member of a metric.
SOURCES = {
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
    "ContainerResource": "containerResource",
    "External": "external",
}


def metric_to_v1(metric: Object) -> Object:
    """Return a metric that is wanted in v1's form."""
    return _flat(metric, "target", "target")


def metric_from_v1(metric: Object) -> Object:
    """Return a metric that is wanted from v1's form."""
    return _nested(metric, "target", "target", with_type=True)


def status_to_v1(metric: Object) -> Object:
    """Return a metric that was found in v1's form."""
    return _flat(metric, "current", "current")


def status_from_v1(metric: Object) -> Object:
    """Return a metric that was found from v1's form."""
    return _nested(metric, "current", "current", with_type=False)


def behavior_to_v1(behavior: Object) -> Any:
    """Return a behaviour with the internal struct's members, as it is kept."""
    return shown(_BEHAVIOR, behavior)


def behavior_from_v1(behavior: Any) -> Any:
    """Return a behaviour whose members were kept by Go's names."""
    if isinstance(behavior, dict):
        return {
            name[:1].lower() + name[1:]: behavior_from_v1(value)
            for name, value in behavior.items()
            if value is not None
        }
    return [behavior_from_v1(item) for item in behavior] if isinstance(behavior, list) else behavior


def _flat(metric: Object, member: str, prefix: str) -> Object:
    """Return a metric with the number of its `member` beside its name; what has to be there is "0"."""
    kind = metric.get("type", "")
    source = metric.get(SOURCES.get(kind, ""))
    if source is None:
        return metric
    number = source.get(member, {})
    average, value = number.get("averageValue"), number.get("value")
    found = member == "current"
    flat: Object
    if kind == "Object":
        flat = {
            "target": source.get("describedObject", {}),
            "metricName": _name(source),
            f"{prefix}Value": value or "0",
        }
        _put(flat, selector=_selector(source), averageValue=average)
    elif kind == "Pods":
        flat = {"metricName": _name(source), f"{prefix}AverageValue": average or "0"}
        _put(flat, selector=_selector(source))
    elif kind == "External":
        flat = {"metricName": _name(source)}
        shown_value = value or "0" if found else value
        _put(flat, **{"metricSelector": _selector(source), f"{prefix}Value": shown_value})
        _put(flat, **{f"{prefix}AverageValue": average})
    else:
        flat = {"name": source.get("name", "")}
        shown_average = average or "0" if found else average
        _put(flat, **{f"{prefix}AverageUtilization": number.get("averageUtilization")})
        _put(flat, **{f"{prefix}AverageValue": shown_average, "container": source.get("container")})
    return {"type": kind, SOURCES[kind]: flat}


def _nested(metric: Object, member: str, prefix: str, *, with_type: bool) -> Object:
    kind = metric.get("type", "")
    flat = metric.get(SOURCES.get(kind, ""))
    if flat is None:
        return metric
    number: Object = {}
    average = flat.get(f"{prefix}AverageValue", flat.get("averageValue"))
    # What only had to be there says nothing.
    value = flat.get(f"{prefix}Value")
    _put(number, value=value if value != "0" or average is None else None, averageValue=average)
    _put(number, averageUtilization=flat.get(f"{prefix}AverageUtilization"))
    if with_type:
        order = (("averageUtilization", "Utilization"), ("averageValue", "AverageValue"), ("value", "Value"))
        number = {"type": next((kind_of for name, kind_of in order if name in number), "Value"), **number}
    source: Object = {member: number}
    if kind in {"Resource", "ContainerResource"}:
        source["name"] = flat.get("name", "")
        _put(source, container=flat.get("container"))
    else:
        source["metric"] = {"name": flat.get("metricName", "")}
        _put(source["metric"], selector=flat.get("metricSelector" if kind == "External" else "selector"))
    if kind == "Object":
        source["describedObject"] = flat.get("target", {})
    return {"type": kind, SOURCES[kind]: source}


def _name(source: Object) -> str:
    return str(source.get("metric", {}).get("name", ""))


def _selector(source: Object) -> Any:
    return source.get("metric", {}).get("selector")


def _put(into: Object, **members: Any) -> None:
    into.update({name: value for name, value in members.items() if value is not None})
