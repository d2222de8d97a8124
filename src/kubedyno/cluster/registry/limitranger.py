"""LimitRange at admission: the requests and limits that a namespace gives pods, and the bounds it sets them."""

from collections.abc import Iterator, Sequence
from typing import Any

from kubedyno.cluster.registry.kind import Object
from kubedyno.kube.quantity import Quantity

ANNOTATION = "kubernetes.io/limit-ranger"
_ZERO = Quantity.parse("0")
Amounts = dict[str, Quantity]


def _items(ranges: Sequence[Object], kind: str) -> Iterator[Object]:
    for limits in ranges:
        yield from (item for item in (limits["spec"].get("limits") or ()) if item.get("type") == kind)


def apply_defaults(pod: Object, ranges: Sequence[Object]) -> None:
    """Give a pod's containers the requests and limits that they lack, in place, and note that in an annotation.

    Args:
        pod: Defaulted.
        ranges: The LimitRanges of its namespace; each fills in what those before it left.
    """
    for item in ranges:
        _apply(pod, [item])


def _apply(pod: Object, ranges: Sequence[Object]) -> None:
    requests: dict[str, str] = {}
    limits: dict[str, str] = {}
    for item in _items(ranges, "Container"):
        requests.update(item.get("defaultRequest", {}))
        limits.update(item.get("default", {}))
    if not requests and not limits:
        return
    notes: list[str] = []
    for member, what in (("containers", "container"), ("initContainers", "init container")):
        for container in pod["spec"].get(member, ()):
            resources = container.setdefault("resources", {})
            for kind, defaults in (("request", requests), ("limit", limits)):
                given = dict(resources.get(f"{kind}s", {}))
                lacking = sorted(set(defaults) - set(given))
                if lacking:
                    resources[f"{kind}s"] = {**given, **{name: defaults[name] for name in lacking}}
                    notes.append(f"{', '.join(lacking)} {kind} for {what} {container.get('name', '')}")
    if notes:
        annotations = pod["metadata"].setdefault("annotations", {})
        annotations[ANNOTATION] = f"LimitRanger plugin set: {'; '.join(notes)}"


def _amounts(resources: Object, member: str) -> Amounts:
    return {name: Quantity.parse(text) for name, text in resources.get(member, {}).items()}


def _sum(containers: Sequence[Object], member: str) -> Amounts:
    total: Amounts = {}
    for container in containers:
        for name, amount in _amounts(container.get("resources", {}), member).items():
            total[name] = total[name] + amount if name in total else amount
    return total


def pod_amounts(spec: Object, member: str) -> Amounts:
    """Return a pod's requests or limits: its containers', and what its RuntimeClass costs.

    Args:
        spec: Of the pod.
        member: "requests" or "limits".
    """
    total = container_amounts(spec, member)
    for name, text in spec.get("overhead", {}).items():
        if member == "requests" or name in total:
            total[name] = total[name] + Quantity.parse(text) if name in total else Quantity.parse(text)
    return total


def container_amounts(spec: Object, member: str) -> Amounts:
    """Return the requests or limits of all containers together, or of the largest init container where that is more.

    What the pod says as a whole stands above its containers'.
    """
    inits = spec.get("initContainers", ())
    sidecars = [c for c in inits if c.get("restartPolicy") == "Always"]
    total = _sum([*spec.get("containers", ()), *sidecars], member)
    for i, container in enumerate(inits):
        before = [c for c in inits[:i] if c.get("restartPolicy") == "Always"]
        for name, amount in _sum([*before, container], member).items():
            if name not in total or total[name] < amount:
                total[name] = amount
    total.update(_amounts(spec.get("resources", {}), member))
    return total


def pod_problems(pod: Object, ranges: Sequence[Object]) -> str:
    """Return what a pod asks for beyond the LimitRanges of its namespace, "" when nothing."""
    spec = pod["spec"]
    for limits in ranges:
        problems: list[str] = []
        for item in limits["spec"].get("limits") or ():
            kind = item.get("type", "")
            if kind == "Container":
                for container in (*spec.get("containers", ()), *spec.get("initContainers", ())):
                    resources = container.get("resources", {})
                    problems += _bounds(item, kind, _amounts(resources, "requests"), _amounts(resources, "limits"))
            elif kind == "Pod":
                amounts = [container_amounts(spec, member) for member in ("requests", "limits")]
                problems += _bounds(item, kind, *amounts)
        if problems:
            return _joined(problems)
    return ""


def claim_problems(claim: Object, ranges: Sequence[Object]) -> str:
    """Return what a PersistentVolumeClaim asks for beyond the LimitRanges of its namespace, "" when nothing."""
    requests = _amounts(claim["spec"].get("resources", {}), "requests")
    for limits in ranges:
        problems: list[str] = []
        for item in _items([limits], "PersistentVolumeClaim"):
            for name, bound in sorted(_amounts(item, "min").items()):
                if name not in requests or requests[name] < bound:
                    problems.append(
                        _text("minimum", name, "PersistentVolumeClaim", bound, "request", requests.get(name))
                    )
            for name, bound in sorted(_amounts(item, "max").items()):
                if name not in requests or requests[name] > bound:
                    problems.append(
                        _text("maximum", name, "PersistentVolumeClaim", bound, "request", requests.get(name))
                    )
        if problems:
            return _joined(problems)
    return ""


def _joined(problems: list[str]) -> str:
    """Return errors as Go's aggregate prints them."""
    distinct = list(dict.fromkeys(problems))
    return distinct[0] if len(distinct) == 1 else f"[{', '.join(distinct)}]"


def _text(which: str, name: str, kind: str, bound: Any, what: str, given: Any) -> str:
    head = f"{which} {name} usage per {kind} is {bound}"
    return f"{head}.  No {what} is specified" if given is None else f"{head}, but {what} is {given}"


def _bounds(item: Object, kind: str, requests: Amounts, limits: Amounts) -> list[str]:
    problems: list[str] = []
    for name, bound in sorted(_amounts(item, "min").items()):
        request, limit = requests.get(name), limits.get(name)
        if request is None or request < bound:
            problems.append(_text("minimum", name, kind, bound, "request", request))
        elif limit is not None and limit < bound:
            problems.append(_text("minimum", name, kind, bound, "limit", limit))
    for name, bound in sorted(_amounts(item, "max").items()):
        request, limit = requests.get(name), limits.get(name)
        if limit is None or limit > bound:
            problems.append(_text("maximum", name, kind, bound, "limit", limit))
        elif request is not None and request > bound:
            problems.append(_text("maximum", name, kind, bound, "request", request))
    for name, ratio in sorted(_amounts(item, "maxLimitRequestRatio").items()):
        problems += _ratio(name, kind, ratio, requests.get(name), limits.get(name))
    return problems


def _ratio(name: str, kind: str, ratio: Quantity, request: Quantity | None, limit: Quantity | None) -> list[str]:
    head = f"{name} max limit to request ratio per {kind} is {ratio}, but"
    if request is None or request == _ZERO:
        return [f"{head} no request is specified or request is 0"]
    if limit is None or limit == _ZERO:
        return [f"{head} no limit is specified or limit is 0"]
    given = limit.milli_value() / request.milli_value()
    return [f"{head} provided ratio is {given:f}"] if given * 1000 > ratio.milli_value() else []
