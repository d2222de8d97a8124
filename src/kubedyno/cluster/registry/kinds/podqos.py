"""A pod's quality-of-service class from its requests and limits."""

from typing import Any

from kubedyno.kube.quantity import value_of

_RESOURCES = ("cpu", "memory")


def qos_class(spec: dict[str, Any]) -> str:
    """Return "Guaranteed", "Burstable" or "BestEffort" (k8s.io/kubernetes qos.ComputePodQOS)."""
    parts = (
        [spec] if spec.get("resources") is not None else [*spec.get("containers", ()), *spec.get("initContainers", ())]
    )
    any_set, guaranteed = False, True
    for part in parts:
        resources = part.get("resources") or {}
        requests, limits = resources.get("requests", {}), resources.get("limits", {})
        for name in _RESOURCES:
            request, limit = requests.get(name), limits.get(name)
            if (request and value_of(request)) or (limit and value_of(limit)):
                any_set = True
            if not limit or (request or limit) != limit:
                guaranteed = False
    if not any_set:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"
