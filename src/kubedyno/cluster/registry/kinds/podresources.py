"""What is wrong with requests and limits of a pod as a whole, beside those of its containers."""

from collections.abc import Iterator

from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.kinds.resourcevalidation import validate_resources
from kubedyno.kube.quantity import Quantity
from kubedyno.kube.status import Cause, forbidden_field, invalid_value

_HUGE = "hugepages-"


def pod_resource_causes(spec: Object, path: str) -> list[Cause]:
    """Return what is wrong with the resources of a pod; `path` is theirs."""
    if spec.get("os", {}).get("name") == "windows":
        return [forbidden_field(path, "may not be set for a windows pod")]
    resources = spec["resources"]
    causes: list[Cause] = []
    if "claims" in resources:
        causes.append(forbidden_field(f"{path}.claims", "claims may not be set for Resources at pod-level"))
    causes += validate_resources(resources, path, of_pod=True)
    requests, limits = resources.get("requests", {}), resources.get("limits", {})
    for name, text in sorted(requests.items()):
        least = together(spec, "requests", name)
        if least is not None and Quantity.parse(text) < least:
            why = f"must be greater than or equal to aggregate container requests of {least}"
            causes.append(invalid_value(f"{path}.requests[{name}]", text, why))
    for name, text in sorted(limits.items()):
        least = together(spec, "limits", name) if name.startswith(_HUGE) else None
        if least is not None and Quantity.parse(text) < least:
            why = f"must be greater than or equal to aggregate container limits of {least}"
            causes.append(invalid_value(f"{path}.limits[{name}]", text, why))
    for i, container in enumerate(spec.get("containers", ())):
        for name, text in sorted(container.get("resources", {}).get("limits", {}).items()):
            if name in limits and Quantity.parse(limits[name]) < Quantity.parse(text):
                why = f"must be less than or equal to pod limits of {limits[name]}"
                causes.append(invalid_value(f"{path}.containers[{i}][{name}].limits", text, why))
    return causes


def named_resources(spec: Object, kind: str) -> set[str]:
    """Return the names of what any container of a pod asks for; `kind` is "requests" or "limits"."""
    groups = (spec.get("containers", ()), spec.get("initContainers", ()))
    return {name for group in groups for c in group for name in c.get("resources", {}).get(kind, {})}


def together(spec: Object, kind: str, name: str) -> Quantity | None:
    """Return what a pod's containers ask for together, or its init containers at most; None when nobody asks."""
    running = list(_amounts(spec.get("containers", ()), kind, name))
    sidecars: list[Quantity] = []
    largest: list[Quantity] = []
    for container in spec.get("initContainers", ()):
        own = list(_amounts((container,), kind, name))
        if container.get("restartPolicy") == "Always":
            sidecars += own
            largest += [_total(sidecars)] if sidecars else []
        elif own or sidecars:
            largest.append(_total([*own, *sidecars]))
    at_once = [*running, *sidecars]
    largest += [_total(at_once)] if at_once else []
    return max(largest) if largest else None


def _total(amounts: list[Quantity]) -> Quantity:
    return sum(amounts[1:], start=amounts[0])


def _amounts(containers: list[Object] | tuple[Object, ...], kind: str, name: str) -> Iterator[Quantity]:
    for container in containers:
        text = container.get("resources", {}).get(kind, {}).get(name)
        if text is not None:
            yield Quantity.parse(text)
