"""Whether a DaemonSet's pod belongs on a node: node selector, required affinity, taints.

The same questions as the scheduler's, without resources: a daemon is wanted on each node that its spec allows.
"""

from collections.abc import Mapping, Sequence
from typing import Any

Taint = tuple[str, str, str]

_EVICTING = "NoExecute"
_REPELLING = frozenset({"NoSchedule", "NoExecute"})
_PREFIX = "node.kubernetes.io/"


def daemon_tolerations(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the tolerations of a DaemonSet's pods: the template's and those that its controller adds."""
    added = [
        {"key": _PREFIX + name, "operator": "Exists", "effect": effect}
        for name, effect in (
            ("not-ready", "NoExecute"), ("unreachable", "NoExecute"), ("disk-pressure", "NoSchedule"),
            ("memory-pressure", "NoSchedule"), ("pid-pressure", "NoSchedule"), ("unschedulable", "NoSchedule"),
        )
    ]  # fmt: skip
    if spec.get("hostNetwork"):
        added.append({"key": _PREFIX + "network-unavailable", "operator": "Exists", "effect": "NoSchedule"})
    own = list(spec.get("tolerations", ()))
    # One with the same key, operator, value and effect is replaced by the controller's.
    kept = [t for t in own if not any(_same(t, other) for other in added)]
    return [*kept, *added]


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(one.get(name, "") == other.get(name, "") for name in ("key", "operator", "value", "effect"))


def selects(spec: Mapping[str, Any], name: str, labels: Mapping[str, str]) -> bool:
    """Say whether a pod spec's nodeName, nodeSelector and required node affinity allow a node."""
    if spec.get("nodeName", name) != name:
        return False
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    return any(_term(term, name, labels) for term in required.get("nodeSelectorTerms") or ())


def _term(term: Mapping[str, Any], name: str, labels: Mapping[str, str]) -> bool:
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    return all(_requirement(e, labels) for e in expressions) and all(
        _requirement(f, {"metadata.name": name}) for f in fields
    )


def _requirement(requirement: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    operator, values = requirement["operator"], list(requirement.get("values") or [])
    value = labels.get(requirement["key"])
    if operator == "In":
        return value in values
    if operator == "NotIn":
        return value not in values
    if operator == "Exists":
        return value is not None
    if operator == "DoesNotExist":
        return value is None
    try:
        number, bound = int(value or ""), int(values[0])
    except (ValueError, IndexError):
        return False
    return number > bound if operator == "Gt" else number < bound


def untolerated(tolerations: Sequence[Mapping[str, Any]], taints: Sequence[Taint], *, evicting: bool) -> bool:
    """Say whether one of a node's taints is not tolerated.

    Args:
        tolerations: Of the pod.
        taints: (key, value, effect) each.
        evicting: Look only at those that make pods leave, not at those that keep them away.
    """
    effects = {_EVICTING} if evicting else _REPELLING
    return any(taint[2] in effects and not any(_tolerates(t, taint) for t in tolerations) for taint in taints)


def _tolerates(toleration: Mapping[str, Any], taint: Taint) -> bool:
    key, value, effect = taint
    if toleration.get("effect", "") not in {"", effect}:
        return False
    if toleration.get("key", "") not in {"", key}:
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return True
    return bool(toleration.get("key")) and toleration.get("value", "") == value
