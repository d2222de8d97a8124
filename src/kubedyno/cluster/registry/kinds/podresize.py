"""In-place resize of a pod (its subresource resize): what a request may change, and what is wrong with it.

Only requests, limits and resizePolicy of containers and sidecars are taken from a request; texts are the real server's
(ValidatePodResize).
"""

from typing import Any

from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.kinds.podqos import qos_class
from kubedyno.cluster.registry.kinds.podvalidation import MIRROR_ANNOTATION, validate_pod_spec
from kubedyno.kube.quantity import Quantity
from kubedyno.kube.status import Cause, forbidden_field, invalid_value

_LISTS = ("containers", "initContainers")
_TAKEN = ("resources", "resizePolicy")
_MEMORY, _RESTART = "memory", "RestartContainer"
_RESIZABLE = ("cpu", _MEMORY)
_ONLY = "only cpu and memory resources are mutable"


def resized_spec(new: Object, old: Object) -> Object:
    """Return a pod's spec with what a resize may change taken from the request.

    Args:
        new: The spec of the request.
        old: The present one.
    """
    if any(len(new.get(name, ())) != len(old.get(name, ())) for name in _LISTS):
        # Validation says what is wrong.
        return new
    spec = dict(old)
    for name in _LISTS:
        if name in old:
            spec[name] = _resized(new[name], old[name])
    return spec


def _resized(new: list[Object], old: list[Object]) -> list[Object]:
    if any(a.get("name") != b.get("name") for a, b in zip(new, old, strict=True)):
        return new
    return [
        {
            **{name: value for name, value in before.items() if name not in _TAKEN},
            **{name: container[name] for name in _TAKEN if name in container},
        }
        for container, before in zip(new, old, strict=True)
    ]


def resize_causes(pod: Object, old: Object, *, memory_shrinks: bool = True) -> list[Cause]:
    """Return what is wrong with a resize.

    Args:
        pod: With the spec of `resized_spec`.
        old: The pod as it is.
        memory_shrinks: Memory limits may be lowered without a restart.
    """
    new, before = pod["spec"], old["spec"]
    causes = validate_pod_spec(new, "spec", pod=pod["metadata"].get("name", ""))
    if (new.get("resources") or before.get("resources")) and any(
        (of.get("resources") or {}).get(kind) for of in (new, before) for kind in ("requests", "limits")
    ):
        return [forbidden_field("", "pods with pod-level resources cannot be resized")]
    if MIRROR_ANNOTATION in old["metadata"].get("annotations", {}):
        return [forbidden_field("", "static pods cannot be resized")]
    if before.get("os", {}).get("name") == "windows":
        return [forbidden_field("", "windows pods cannot be resized")]
    for name in _LISTS:
        if len(new.get(name, ())) != len(before.get(name, ())):
            text = f"{name} may not be added or removed on resize"
            return [*causes, forbidden_field(f"spec.{name}", text)]
    renamed = [
        forbidden_field(f"spec.{name}[{i}].name", f"{name} may not be renamed or reordered on resize")
        for name in _LISTS
        for i, (a, b) in enumerate(zip(new.get(name, ()), before.get(name, ()), strict=True))
        if a.get("name") != b.get("name")
    ]
    if renamed:
        return causes + renamed
    quality = qos_class(new)
    had = old.get("status", {}).get("qosClass") or qos_class(before)
    if quality != had:
        causes.append(invalid_value("spec", had, "Pod QOS Class may not change as a result of resizing"))
    for name in reversed(_LISTS):
        pairs = list(zip(new.get(name, ()), before.get(name, ()), strict=True))
        for i, (container, was) in enumerate(pairs):
            if name == "containers" or _is_sidecar(was):
                causes += _removals(container, was, f"spec.{name}[{i}].resources")
                if not memory_shrinks:
                    causes += _memory_causes(container, was, f"spec.{name}[{i}].resources")
    for container, was in zip(new["containers"], before["containers"], strict=True):
        if _others(container) != _others(was):
            causes.append(forbidden_field("spec", _ONLY))
    for container, was in zip(new.get("initContainers", ()), before.get("initContainers", ()), strict=True):
        if not _is_sidecar(was):
            if _resources(container) != _resources(was):
                text = "resources for non-sidecar init containers are immutable"
                causes.append(forbidden_field("spec", text))
        elif _others(container) != _others(was):
            text = "only cpu and memory resources for sidecar containers are mutable"
            causes.append(forbidden_field("spec", text))
    return causes


def _is_sidecar(container: Object) -> bool:
    return bool(container.get("restartPolicy") == "Always")


def _resources(container: Object) -> dict[str, dict[str, Any]]:
    """Return requests and limits as amounts, so that 1000m is 1."""
    resources = container.get("resources") or {}
    return {
        kind: {name: Quantity.parse(str(text)).amount for name, text in (resources.get(kind) or {}).items()}
        for kind in ("requests", "limits")
    }


def _others(container: Object) -> Any:
    """Return what a resize may not change: amounts of other resources, claims, and the policies."""
    amounts = {
        kind: {name: amount for name, amount in of.items() if name not in _RESIZABLE}
        for kind, of in _resources(container).items()
    }
    return amounts, (container.get("resources") or {}).get("claims"), container.get("resizePolicy")


def _removals(container: Object, was: Object, path: str) -> list[Cause]:
    new, before = _resources(container), _resources(was)
    return [
        forbidden_field(f"{path}.{kind}", f"resource {kind} cannot be removed")
        for kind in ("requests", "limits")
        if before[kind].keys() - new[kind].keys()
    ]


def _memory_causes(container: Object, was: Object, path: str) -> list[Cause]:
    """Return what says that memory is not taken from a container that is not restarted for it."""
    policies = {each.get("resourceName"): each.get("restartPolicy") for each in was.get("resizePolicy") or ()}
    if policies.get(_MEMORY) == _RESTART:
        return []
    new, before = (_resources(of)["limits"].get(_MEMORY) for of in (container, was))
    if new is None or (before is not None and new >= before):
        return []
    text = f"memory limits cannot be {'added' if before is None else 'decreased'} unless resizePolicy is {_RESTART}"
    return [forbidden_field(f"{path}.limits[{_MEMORY}]", text)]
