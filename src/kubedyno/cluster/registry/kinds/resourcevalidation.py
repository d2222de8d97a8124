"""What is wrong with requests and limits of a container: names, amounts, and how the two go together."""

from decimal import Decimal, InvalidOperation
from functools import lru_cache

from kubedyno.cluster.registry.kind import Object
from kubedyno.kube.names import problems_of_qualified_name
from kubedyno.kube.quantity import Quantity
from kubedyno.kube.status import Cause, forbidden_field, invalid_value, not_found_field, required

_NOT_NEGATIVE = "must be greater than or equal to 0"
_STANDARD_RESOURCES = frozenset({"cpu", "memory", "ephemeral-storage"})
# Resources that are standard, but not of containers.
_OTHER_STANDARD_RESOURCES = frozenset(
    {"storage", "pods", "services", "secrets", "configmaps", "persistentvolumeclaims"}
)
_HUGE = "hugepages-"
# Amounts whose faults are remembered, mostly none: few differ, as most come of templates. Long ones are no honest ones.
_AMOUNTS, _SHORT_AMOUNT = 4096, 128


def validate_resources(resources: Object, path: str, spec: Object) -> list[Cause]:
    """Return what is wrong with a container's requests and limits."""
    causes: list[Cause] = []
    limits, requests = resources.get("limits", {}), resources.get("requests", {})
    claims = {claim.get("name") for claim in spec.get("resourceClaims", ())}
    for name, text in limits.items():
        causes += _amount(name, text, f"{path}.limits")
    for name, text in requests.items():
        causes += _amount(name, text, f"{path}.requests")
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
    for i, claim in enumerate(resources.get("claims", ())):
        name = claim.get("name", "")
        if name not in claims:
            cause = not_found_field(f"{path}.claims[{i}]", name)
            known = "is empty" if not claims else "are: " + ", ".join(sorted(map(str, claims)))
            detail = f": must be one of the names in pod.spec.resourceClaims which {known}"
            causes.append(Cause(cause.reason, cause.field, cause.message + detail))
    return causes


def _is_extended(name: str) -> bool:
    """Say whether a resource is an extended one or huge pages, which cannot be overcommitted."""
    return name.startswith(_HUGE) or ("/" in name and "kubernetes.io/" not in name)


def container_resource_causes(name: str, path: str) -> list[Cause]:
    """Return what is wrong with the name of a resource that a container may ask for."""
    causes = [invalid_value(path, name, p) for p in problems_of_qualified_name(name)]
    if "/" not in name and name not in _STANDARD_RESOURCES and not name.startswith(_HUGE):
        if not causes and name not in _OTHER_STANDARD_RESOURCES:
            causes.append(invalid_value(path, name, "must be a standard resource type or fully qualified"))
        causes.append(invalid_value(path, name, "must be a standard resource for containers"))
    return causes


def _amount(name: str, text: str, path: str) -> tuple[Cause, ...]:
    if len(name) + len(text) > _SHORT_AMOUNT:
        return _amount_causes(name, text, path)
    return _remembered_amount(name, text, path)


def _amount_causes(name: str, text: str, path: str) -> tuple[Cause, ...]:
    amount = Quantity.parse(text).amount
    where = f"{path}[{name}]"
    causes = [invalid_value(path, name, p) for p in problems_of_qualified_name(name)]
    if "/" not in name and name not in _STANDARD_RESOURCES and not name.startswith(_HUGE):
        if name not in _OTHER_STANDARD_RESOURCES:
            causes.append(invalid_value(where, name, "must be a standard resource type or fully qualified"))
        causes.append(invalid_value(where, name, "must be a standard resource for containers"))
    if amount < 0:
        causes.append(invalid_value(where, text, _NOT_NEGATIVE))
    if _is_extended(name) and amount != amount.to_integral_value():
        causes.append(invalid_value(where, text, "must be an integer"))
    if name.startswith(_HUGE) and not _is_multiple(amount, Quantity.parse(name[len(_HUGE) :]).amount):
        causes.append(invalid_value(where, text, f"{text} is not positive integer multiple of {name}"))
    return tuple(causes)


_remembered_amount = lru_cache(maxsize=_AMOUNTS)(_amount_causes)


def _is_multiple(amount: Decimal, of: Decimal) -> bool:
    try:
        return amount % of == 0
    except InvalidOperation:
        # More digits than decimals are worked out with: nobody has so much.
        return False
