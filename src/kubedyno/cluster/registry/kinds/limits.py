"""LimitRange and ResourceQuota: what a namespace's pods may ask for, each and together."""

from typing import Any

from kubedyno.cluster.registry.cells import age
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.kinds.rules import unchanged
from kubedyno.kube.names import problems_of_qualified_name
from kubedyno.kube.quantity import Quantity
from kubedyno.kube.status import Cause, duplicate, forbidden_field, invalid_value, required

_COMPUTE = ("cpu", "memory", "ephemeral-storage")
_STANDARD = frozenset({
    *_COMPUTE, *(f"requests.{name}" for name in (*_COMPUTE, "storage")), *(f"limits.{name}" for name in _COMPUTE),
    "pods", "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps", "persistentvolumeclaims",
    "storage", "services.nodeports", "services.loadbalancers",
})  # fmt: skip
# Standard, but of single pods or claims only.
_NOT_FOR_QUOTA = frozenset({"storage"})
_WHOLE = frozenset({
    "pods", "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps", "persistentvolumeclaims",
    "services.nodeports", "services.loadbalancers",
})  # fmt: skip
_SCOPES = frozenset({
    "Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
})  # fmt: skip
_OF_PODS = frozenset({
    "pods", *(f"{prefix}{name}" for prefix in ("", "requests.", "limits.") for name in ("cpu", "memory")),
})  # fmt: skip
# Scope → the resources that have it.
_SCOPED = {
    **dict.fromkeys(
        ("Terminating", "NotTerminating", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity"), _OF_PODS
    ),
    "BestEffort": frozenset({"pods"}),
    "VolumeAttributesClass": frozenset({"persistentvolumeclaims", "requests.storage"}),
}
_PREFIXES = ("hugepages-", "requests.hugepages-", "limits.hugepages-", "count/")
_LIMIT_TYPES = frozenset({"Container", "PersistentVolumeClaim", "Pod"})
_MAPS = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")


def _resource_causes(path: str, name: str, *, quota: bool) -> list[Cause]:
    """Return what is wrong with a resource's name."""
    causes = [invalid_value(path, name, problem) for problem in problems_of_qualified_name(name)]
    if "/" not in name and not name.startswith(_PREFIXES):
        if name not in _STANDARD:
            causes.append(invalid_value(path, name, "must be a standard resource type or fully qualified"))
        if quota and (name not in _STANDARD or name in _NOT_FOR_QUOTA):
            causes.append(invalid_value(path, name, "must be a standard resource for quota"))
    return causes


class LimitRanges(Kind):
    """core/v1 LimitRange."""

    metadata_checks = "w"
    rows_null = True
    create_on_update = True
    names_itself = True

    def default(self, obj: Object) -> None:
        for item in obj.setdefault("spec", {}).setdefault("limits", None) or ():
            if item.get("type") != "Container":
                continue
            for source, target in (("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")):
                for name, amount in item.get(source, {}).items():
                    item.setdefault(target, {}).setdefault(name, amount)

    def validate(self, obj: Object) -> list[Cause]:
        causes: list[Cause] = []
        seen: set[str] = set()
        for i, item in enumerate(obj["spec"]["limits"] or ()):
            path, kind = f"spec.limits[{i}]", item.get("type", "")
            problems = problems_of_qualified_name(kind)
            if not problems and "/" not in kind and kind not in _LIMIT_TYPES:
                problems = ["must be a standard limit type or fully qualified"]
            causes += [invalid_value(f"{path}.type", kind, p) for p in problems]
            if kind in seen:
                causes.append(duplicate(f"{path}.type", kind))
            seen.add(kind)
            causes += _names(item, ("max", "min"), path)
            if kind == "Pod":
                for member in ("default", "defaultRequest"):
                    if item.get(member):
                        text = "may not be specified when `type` is 'Pod'"
                        causes.append(forbidden_field(f"{path}.{member}", text))
            else:
                causes += _names(item, ("default", "defaultRequest"), path)
            if kind == "PersistentVolumeClaim" and "storage" not in {**item.get("min", {}), **item.get("max", {})}:
                text = "either minimum or maximum storage value is required, but neither was provided"
                causes.append(required(f"{path}.limits", text))
            causes += _names(item, ("maxLimitRequestRatio",), path)
            causes += _consistency(item, path)
        return causes

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        _ = now_s
        return [obj["metadata"]["name"], obj["metadata"].get("creationTimestamp", "")]


def _names(item: Object, members: tuple[str, ...], path: str) -> list[Cause]:
    """Return what is wrong with the resources that an item of a LimitRange names."""
    causes: list[Cause] = []
    for member in members:
        for name in item.get(member, {}):
            where = f"{path}.{member}[{name}]"
            causes += _resource_causes(where, name, quota=False)
            plain = "/" not in name and not name.startswith("hugepages-")
            if item.get("type") in {"Container", "Pod"} and plain and name not in _COMPUTE:
                causes.append(invalid_value(where, name, "must be a standard resource for containers"))
    return causes


def _consistency(item: Object, path: str) -> list[Cause]:
    """Return where an item's numbers contradict each other."""
    causes: list[Cause] = []
    parsed = {member: {k: Quantity.parse(v) for k, v in item.get(member, {}).items()} for member in _MAPS}
    for name in sorted({key for member in parsed.values() for key in member}):
        top, low, default, request, ratio = (parsed[member].get(name) for member in _MAPS)
        checks = (
            (low, top, "min", low, "min value %s is greater than max value %s"),
            (low, request, "defaultRequest", request, "min value %s is greater than default request value %s"),
            (request, top, "defaultRequest", request, "default request value %s is greater than max value %s"),
            (request, default, "defaultRequest", request,
             "default request value %s is greater than default limit value %s"),
            (low, default, "default", low, "min value %s is greater than default value %s"),
            (default, top, "default", top, "default value %s is greater than max value %s"),
        )  # fmt: skip
        for smaller, larger, member, shown, text in checks:
            if smaller is not None and larger is not None and smaller > larger:
                causes.append(invalid_value(f"{path}.{member}[{name}]", str(shown), text % (smaller, larger)))
        if ratio is not None and ratio < Quantity.parse("1"):
            causes.append(
                invalid_value(f"{path}.maxLimitRequestRatio[{name}]", str(ratio), f"ratio {ratio} is less than 1")
            )
        if ratio is not None and low is not None and top is not None:
            most, least = top.milli_value(), low.milli_value()
            limit = most / least if least else float("inf") if most else float("nan")
            if ratio.milli_value() / 1000 > limit:
                text = f"ratio {ratio} is greater than max/min = {limit:f}"
                causes.append(invalid_value(f"{path}.maxLimitRequestRatio[{name}]", str(ratio), text))
        alone = ("/" in name and "kubernetes.io/" not in name) or name.startswith("hugepages-")
        if alone and default is not None and request is not None and default != request:
            text = f"default value {default} must equal to defaultRequest value {request} in {name}"
            causes.append(invalid_value(f"{path}.defaultRequest[{name}]", str(request), text))
    return causes


class ResourceQuotas(Kind):
    """core/v1 ResourceQuota."""

    has_status = True
    returns_deleted = True

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {})

    def validate(self, obj: Object) -> list[Cause]:
        spec = obj["spec"]
        causes = _amounts(spec.get("hard", {}), "spec.hard")
        return causes + _scope_causes(spec) + _scope_selector(spec)

    def warnings(self, obj: Object) -> list[str]:
        hard, warnings = obj["spec"].get("hard", {}), list[str]()
        for name in ("cpu", "memory", "storage", "ephemeral-storage"):
            asked = f"requests.{name}"
            if asked not in hard and name in {"cpu", "memory"}:
                asked = name
            limit = f"limits.{name}"
            if asked in hard and limit in hard and Quantity.parse(hard[limit]) < Quantity.parse(hard[asked]):
                text = f"ResourceQuota {asked} ({hard[asked]}) should be less than {limit} ({hard[limit]})"
                warnings.append(text)
        return warnings

    def warnings_of_change(self, obj: Object, old: Object) -> list[str]:
        _ = obj, old
        return []

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        causes = self.validate(obj)
        new, before = obj["spec"].get("scopes"), old["spec"].get("scopes")
        return causes + (unchanged("spec.scopes", new, before) if set(new or ()) != set(before or ()) else [])

    def validate_status(self, obj: Object, old: Object) -> list[Cause]:
        _ = old
        status = obj.get("status", {})
        return _amounts(status.get("hard", {}), "status.hard") + _amounts(status.get("used", {}), "status.used")

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        status = obj.get("status", {})
        requests: list[str] = []
        limits: list[str] = []
        hard, used = status.get("hard", {}), status.get("used", {})
        for name in sorted(hard):
            (limits if name.startswith("limits") else requests).append(f"{name}: {used.get(name, '0')}/{hard[name]}")
        return [obj["metadata"]["name"], ", ".join(requests), ", ".join(limits), age(obj, now_s)]


def _scope_causes(spec: Object) -> list[Cause]:
    """Return what is wrong with scopes: unknown ones, ones that a resource has not, ones that exclude each other."""
    scopes, causes = spec.get("scopes", []), list[Cause]()
    for scope in scopes:
        if scope not in _SCOPES:
            causes.append(invalid_value("spec.scopes", scopes, "unsupported scope"))
        known = _SCOPED.get(scope, _STANDARD)
        for name in sorted(spec.get("hard", {})):
            huge = name.startswith(("hugepages-", "requests.hugepages-"))
            standard = huge or (name in _STANDARD and name not in _NOT_FOR_QUOTA)
            if standard and scope in _SCOPED and name not in known:
                causes.append(invalid_value("spec.scopes", scopes, "unsupported scope applied to resource"))
    for pair in (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")):
        if set(pair) <= set(scopes):
            causes.append(invalid_value("spec.scopes", scopes, "conflicting scopes"))
    return causes


def _amounts(amounts: dict[str, str], path: str) -> list[Cause]:
    causes: list[Cause] = []
    for name, amount in amounts.items():
        where = f"{path}[{name}]"
        causes += _resource_causes(where, name, quota=True)
        quantity = Quantity.parse(amount)
        if quantity < Quantity.parse("0"):
            causes.append(invalid_value(where, amount, "must be greater than or equal to 0"))
        if (name in _WHOLE or name.startswith("count/")) and quantity != Quantity.parse(str(quantity.value())):
            causes.append(invalid_value(where, amount, "must be an integer"))
    return causes


def _scope_selector(spec: Object) -> list[Cause]:
    causes: list[Cause] = []
    # Go leaves the position out of these.
    path = "spec.scopeSelector.matchExpressions"
    for expression in spec.get("scopeSelector", {}).get("matchExpressions", ()):
        scope, operator = expression.get("scopeName", ""), expression.get("operator", "")
        values = expression.get("values", [])
        if scope not in _SCOPES:
            causes.append(invalid_value(f"{path}.scopeName", scope, "unsupported scope"))
        if scope in {"BestEffort", "NotBestEffort", "Terminating", "NotTerminating"} and operator != "Exists":
            text = "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
            causes.append(invalid_value(f"{path}.operator", operator, text))
        if operator in {"In", "NotIn"}:
            if not values:
                text = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
                causes.append(required(f"{path}.values", text))
        elif operator in {"Exists", "DoesNotExist"}:
            if values:
                text = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
                causes.append(invalid_value(f"{path}.values", values, text))
        else:
            causes.append(invalid_value(f"{path}.operator", operator, "not a valid selector operator"))
    return causes
