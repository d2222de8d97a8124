"""Evictions: deletions that a PodDisruptionBudget may refuse, and that are counted against it.

The rules are the real server's eviction subresource's; who keeps the budget's status is a controller.
"""

from typing import Any

import orjson

from kubedyno.base.times import rfc3339
from kubedyno.cluster.registry.registry import Registry
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube.resources import DISRUPTIONBUDGETS, PODS
from kubedyno.kube.selectors import LabelSelector
from kubedyno.kube.status import StatusError, TooManyRequests, forbidden, not_found

_REFUSED = "Cannot evict pod as it would violate the pod's disruption budget."
_SEVERAL = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
_UNCHECKED = frozenset({"Succeeded", "Failed", "Pending"})
_RETRY_S = 10


def budgets_of(registry: Registry, pod: ObjectRecord) -> list[ObjectRecord]:
    """Return the PodDisruptionBudgets that select a pod."""
    found = []
    for record in registry.store.list(DISRUPTIONBUDGETS, pod.obj.namespace):
        selector = orjson.loads(b"{" + record.obj.body + b"}")["spec"].get("selector")
        if LabelSelector.of(selector).matches(pod.obj.labels):
            found.append(record)
    return found


def evict(registry: Registry, namespace: str, name: str, options: dict[str, Any], *, dry_run: bool = False) -> None:
    """Delete a pod, unless its budget forbids.

    Args:
        registry: Deletes.
        namespace: Of the pod.
        name: Of the pod.
        options: DeleteOptions.
        dry_run: Only say whether it may go.

    Raises:
        StatusError: It may not go now, is not there, or has several budgets.
    """
    pod = registry.store.get(PODS, f"{namespace}/{name}")
    if pod is None:
        raise not_found(PODS, name)
    if pod.obj.facts.phase not in _UNCHECKED and not pod.obj.deletion_s:
        budgets = budgets_of(registry, pod)
        if len(budgets) > 1:
            raise StatusError(_SEVERAL, code=500, reason="")
        if budgets:
            _take(registry, pod, budgets[0], dry_run=dry_run)
            if not dry_run:
                _mark(registry, pod)
    registry.delete(PODS, namespace, name, {**options, "dryRun": ["All"]} if dry_run else options)


def _take(registry: Registry, pod: ObjectRecord, record: ObjectRecord, *, dry_run: bool) -> None:
    """Count an eviction against a budget."""
    budget = registry.store.encode_dict(DISRUPTIONBUDGETS, record)
    status: dict[str, Any] = budget["status"]
    name, allowed = record.obj.name, status.get("disruptionsAllowed", 0)
    if not pod.obj.facts.ready:
        policy = budget["spec"].get("unhealthyPodEvictionPolicy", "IfHealthyBudget")
        enough = status["currentHealthy"] >= status["desiredHealthy"] > 0
        if policy == "AlwaysAllow" or enough:
            return
    if status.get("observedGeneration", 0) < record.obj.generation:
        cause = {
            "reason": "DisruptionBudget",
            "message": f"The disruption budget {name} is still being processed by the server.",
        }
        raise TooManyRequests(
            _REFUSED, {"causes": [cause], "retryAfterSeconds": _RETRY_S}, headers=(("Retry-After", str(_RETRY_S)),)
        )
    if allowed < 0:
        raise forbidden(DISRUPTIONBUDGETS, name, "pdb disruptions allowed is negative")
    if allowed == 0:
        text = f"The disruption budget {name} does not allow evicting pods currently"
        failed = [
            c
            for c in status.get("conditions", ())
            if (c["type"], c.get("reason")) == ("DisruptionAllowed", "SyncFailed")
        ]
        if failed:
            text += f" because it failed sync: {failed[0].get('message', '')}"
        elif status["currentHealthy"] <= status["desiredHealthy"]:
            text = (
                f"The disruption budget {name} needs {status['desiredHealthy']} healthy pods and has "
                f"{status['currentHealthy']} currently"
            )
        raise TooManyRequests(_REFUSED, {"causes": [{"reason": "DisruptionBudget", "message": text}]})
    if dry_run:
        return
    now = rfc3339(registry.clock.now())
    status["disruptionsAllowed"] = allowed - 1
    status["disruptedPods"] = {**status.get("disruptedPods", {}), pod.obj.name: now}
    if allowed == 1:
        _disallow(status, record.obj.generation, now)
    registry.update(DISRUPTIONBUDGETS, record.obj.namespace, name, budget, subresource="status")


def _disallow(status: dict[str, Any], generation: int, now: str) -> None:
    """Say in a budget's conditions that nothing more may go."""
    conditions = status.setdefault("conditions", [])
    condition = next((c for c in conditions if c["type"] == "DisruptionAllowed"), None)
    if condition is None:
        condition = {"type": "DisruptionAllowed", "message": ""}
        conditions.append(condition)
    if condition.get("status") != "False":
        condition["lastTransitionTime"] = now
    condition.update(status="False", reason="InsufficientPods", observedGeneration=generation)


def _mark(registry: Registry, pod: ObjectRecord) -> None:
    """Say in a pod's conditions why it goes."""
    obj = registry.store.encode_dict(PODS, pod)
    conditions = [c for c in obj["status"].get("conditions", ()) if c["type"] != "DisruptionTarget"]
    conditions.append({
        "type": "DisruptionTarget", "status": "True", "lastProbeTime": None,
        "lastTransitionTime": rfc3339(registry.clock.now()), "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
    })  # fmt: skip
    obj["status"]["conditions"] = conditions
    registry.update(PODS, pod.obj.namespace, pod.obj.name, obj, subresource="status")
