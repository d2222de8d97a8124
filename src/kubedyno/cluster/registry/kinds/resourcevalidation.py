"""What is wrong with requests and limits of a container: names, amounts, and how the two go together."""

from collections.abc import Set as AbstractSet
from decimal import Decimal, InvalidOperation
from functools import lru_cache

from kubedyno.cluster.registry.kind import Object
from kubedyno.kube.names import problems_of_dns1123_label, problems_of_qualified_name
from kubedyno.kube.quantity import Quantity
from kubedyno.kube.status import (
    Cause,
    duplicate,
    forbidden_field,
    invalid_value,
    not_found_field,
    not_supported,
    required,
)

_NOT_NEGATIVE = "must be greater than or equal to 0"
_STANDARD_RESOURCES = frozenset({"cpu", "memory", "ephemeral-storage"})
# Resources that are standard, but not of containers.
_COUNTED = frozenset({
    "pods", "resourcequotas", "services", "replicationcontrollers", "secrets", "configmaps", "persistentvolumeclaims",
    "services.nodeports", "services.loadbalancers",
})  # fmt: skip
_OTHER_STANDARD_RESOURCES = _COUNTED | {
    "storage", "requests.cpu", "requests.memory", "requests.ephemeral-storage", "requests.storage", "limits.cpu",
    "limits.memory", "limits.ephemeral-storage",
}  # fmt: skip
_HUGE = "hugepages-"
# What a pod may ask for as a whole.
_OF_POD = ("cpu", _HUGE, "memory")
# Amounts whose faults are remembered, mostly none: few differ, as most come of templates. Long ones are no honest ones.
_AMOUNTS, _SHORT_AMOUNT = 4096, 128


def validate_resources(
    resources: Object, path: str, claims: AbstractSet[str] = frozenset(), *, of_pod: bool = False
) -> list[Cause]:
    """Return what is wrong with requests and limits.

    Args:
        resources: They.
        path: Of them.
        claims: The pod's on devices, by name.
        of_pod: They are of a pod as a whole, not of a container.
    """
    causes: list[Cause] = []
    limits, requests = resources.get("limits", {}), resources.get("requests", {})
    for name, text in limits.items():
        causes += _amount(name, text, f"{path}.limits[{name}]", of_pod=of_pod)
    for name, text in requests.items():
        causes += _amount(name, text, f"{path}.requests[{name}]", of_pod=of_pod)
        request = Quantity.parse(text)
        if name in limits:
            limit = Quantity.parse(limits[name])
            extended = _is_extended(name)
            if extended and request.amount != limit.amount:
                causes.append(
                    invalid_value(f"{path}.requests", text, f"must be equal to {name} limit of {limits[name]}")
                )
            elif not extended and limit < request:
                text_ = f"must be less than or equal to {name} limit of {limits[name]}"
                causes.append(invalid_value(f"{path}.requests", text, text_))
        elif _is_extended(name):
            causes.append(required(f"{path}.limits", "Limit must be set for non overcommitable resources"))
    names = {*limits, *requests}
    if any(name.startswith(_HUGE) for name in names) and not names & {"cpu", "memory"}:
        causes.append(forbidden_field(path, "HugePages require cpu or memory"))
    return causes + _claims(resources["claims"], f"{path}.claims", claims) if "claims" in resources else causes


def _claims(wanted: list[Object], path: str, known: AbstractSet[str]) -> list[Cause]:
    """Return what is wrong with what a container takes of its pod's claims on devices."""
    causes: list[Cause] = []
    taken: set[str] = set()
    for i, claim in enumerate(wanted):
        where, name, request = f"{path}[{i}]", claim.get("name", ""), claim.get("request", "")
        if not name:
            causes.append(required(where))
            continue
        if name in taken:
            # All of that claim is taken already.
            causes.append(duplicate(where, name))
        else:
            key = f"{name}/{request}" if request else name
            if request:
                causes += [invalid_value(f"{where}.request", request, p) for p in problems_of_dns1123_label(request)]
            if key in taken:
                causes.append(duplicate(where, key))
            elif not request:
                causes += [duplicate(where, name) for other in taken if other.partition("/")[0] == name]
            taken.add(key)
        if name not in known:
            cause = not_found_field(where, name)
            listed = f": {', '.join(sorted(known))}" if known else " which is empty"
            detail = f": must be one of the names in pod.spec.resourceClaims{listed}"
            causes.append(Cause(cause.reason, cause.field, cause.message + detail))
    return causes


def _is_extended(name: str) -> bool:
    """Say whether a resource is an extended one or huge pages, which cannot be overcommitted."""
    return name.startswith(_HUGE) or ("/" in name and "kubernetes.io/" not in name)


def container_resource_causes(name: str, path: str) -> list[Cause]:
    """Return what is wrong with the name of a resource that a container may ask for."""
    causes = [invalid_value(path, name, p) for p in problems_of_qualified_name(name)]
    if "/" not in name:
        if name not in _STANDARD_RESOURCES and not name.startswith(_HUGE):
            if not causes and name not in _OTHER_STANDARD_RESOURCES:
                causes.append(invalid_value(path, name, "must be a standard resource type or fully qualified"))
            causes.append(invalid_value(path, name, "must be a standard resource for containers"))
    elif "kubernetes.io/" not in name and (
        name.startswith("requests.") or problems_of_qualified_name(f"requests.{name}")
    ):
        causes.append(invalid_value(path, name, "doesn't follow extended resource name standard"))
    return causes


def _pod_resource_causes(name: str, path: str) -> list[Cause]:
    """Return what is wrong with the name of a resource that a pod may ask for as a whole."""
    causes = [invalid_value(path, name, p) for p in problems_of_qualified_name(name)]
    if causes or name in {"cpu", "memory"} or name.startswith(_HUGE):
        return causes
    if "/" not in name and name not in _STANDARD_RESOURCES | _OTHER_STANDARD_RESOURCES:
        return [invalid_value(path, name, "must be a standard resource type or fully qualified")]
    return [not_supported(path, name, _OF_POD)]


def _amount(name: str, text: str, path: str, *, of_pod: bool) -> tuple[Cause, ...]:
    if len(name) + len(text) > _SHORT_AMOUNT:
        return _amount_causes(name, text, path, of_pod=of_pod)
    # Mostly nothing is wrong: that is asked by what is written alone, not by where.
    if not _remembered_amount(name, text, "", of_pod=of_pod):
        return ()
    return _amount_causes(name, text, path, of_pod=of_pod)


def _amount_causes(name: str, text: str, path: str, *, of_pod: bool) -> tuple[Cause, ...]:
    amount = Quantity.parse(text).amount
    causes = (_pod_resource_causes if of_pod else container_resource_causes)(name, path)
    if amount < 0:
        causes.append(invalid_value(path, text, _NOT_NEGATIVE))
    if (name in _COUNTED or ("/" in name and "kubernetes.io/" not in name)) and amount != amount.to_integral_value():
        causes.append(invalid_value(path, text, "must be an integer"))
    if name.startswith(_HUGE) and not _is_multiple(amount, _page_of(name)):
        causes.append(invalid_value(path, text, f"{text} is not positive integer multiple of {name}"))
    return tuple(causes)


def _page_of(name: str) -> Decimal:
    """Return the size of a huge page by its resource's name; 0 for a name that tells none."""
    try:
        return Quantity.parse(name[len(_HUGE) :]).amount
    except ValueError:
        return Decimal(0)


_remembered_amount = lru_cache(maxsize=_AMOUNTS)(_amount_causes)


def _is_multiple(amount: Decimal, of: Decimal) -> bool:
    try:
        return of > 0 and amount % of == 0
    except InvalidOperation:
        # More digits than decimals are worked out with: nobody has so much.
        return False
