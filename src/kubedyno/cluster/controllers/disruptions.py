"""PodDisruptionBudgets: their status says how many of the pods that they select may be evicted now."""

from typing import Any

import orjson

from kubedyno.base.times import epoch_of, rfc3339
from kubedyno.cluster.controllers.feeds import Feeds
from kubedyno.cluster.controllers.podstates import metadata_of
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.kinds.podfacts import ENDED
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.resources import DISRUPTIONBUDGETS, PODS
from kubedyno.kube.selectors import LabelSelector

_COMPONENT = "controllermanager"
# An eviction whose deletion is not seen within this time has not come about.
DELETION_TIMEOUT_S = 120.0


class Disruptions:
    """The disruption controller.

    Args:
        trusted: Where it writes.
        pump: Gives turns and time.
        feeds: Gives changes.
    """

    def __init__(self, trusted: Trusted, pump: Pump, feeds: Feeds) -> None:
        self._queue: WorkQueue[str] = WorkQueue(pump, "disruption", self._reconcile)
        self._trusted = trusted
        self._store = trusted.store
        self._clock = pump.clock
        # Namespace → budget's key → (its body, its selector).
        self._budgets: dict[str, dict[str, tuple[bytes, LabelSelector]]] = {}
        feeds.follow(DISRUPTIONBUDGETS, self._changed, self._gone)
        feeds.follow(PODS, self._pod_changed, self._pod_changed)

    def _changed(self, record: ObjectRecord) -> None:
        obj = record.obj
        budgets = self._budgets.setdefault(obj.namespace, {})
        if obj.key not in budgets or budgets[obj.key][0] is not obj.body:
            selector = orjson.loads(b"{" + obj.body + b"}")["spec"].get("selector")
            budgets[obj.key] = obj.body, LabelSelector.of(selector)
        self._queue.add(obj.key)

    def _gone(self, record: ObjectRecord) -> None:
        budgets = self._budgets[record.obj.namespace]
        budgets.pop(record.key, None)
        if not budgets:
            del self._budgets[record.obj.namespace]
        self._queue.forget(record.key)

    def _pod_changed(self, record: ObjectRecord) -> None:
        budgets = self._budgets.get(record.obj.namespace)
        if budgets is None:
            return
        for key, (_, selector) in budgets.items():
            if selector.matches(record.obj.labels):
                self._queue.add(key)

    def _reconcile(self, key: str, budget: int) -> int:
        _ = budget
        record = self._store.get(DISRUPTIONBUDGETS, key)
        if record is None:
            return 1
        spec = orjson.loads(b"{" + record.obj.body + b"}")["spec"]
        selector = LabelSelector.of(spec.get("selector"))
        pods = [
            pod for pod in self._store.list(PODS, record.obj.namespace)
            if pod.obj.facts.phase not in ENDED and selector.matches(pod.obj.labels)
        ]  # fmt: skip
        if not pods:
            self._event(record, "Normal", "NoPods", "No matching pods found")
        expected, desired = self._expected(spec, pods)
        status: dict[str, Any] = orjson.loads(record.obj.status or b"{}")
        disrupted = self._disrupted(record, status.get("disruptedPods", {}), pods)
        healthy = sum(
            bool(pod.obj.facts.ready) and not pod.obj.deletion_s and pod.obj.name not in disrupted for pod in pods
        )
        allowed = max(healthy - desired, 0) if expected > 0 else 0
        new: dict[str, Any] = {"observedGeneration": record.obj.generation}
        if disrupted:
            new["disruptedPods"] = disrupted
        new |= {
            "disruptionsAllowed": allowed, "currentHealthy": healthy, "desiredHealthy": desired,
            "expectedPods": expected, "conditions": self._conditions(record, status, allowed),
        }  # fmt: skip
        self._trusted.replace_status(DISRUPTIONBUDGETS, record, new)
        self._queue.forget(key)
        return 1 + len(pods) // 16

    def _expected(self, spec: dict[str, Any], pods: list[ObjectRecord]) -> tuple[int, int]:
        """Return how many pods there should be, and how many of them must be healthy."""
        if "maxUnavailable" in spec:
            expected = self._wanted(pods)
            return expected, max(expected - _part(spec["maxUnavailable"], expected), 0)
        least = spec.get("minAvailable", 0)
        if isinstance(least, int):
            return len(pods), least
        expected = self._wanted(pods)
        return expected, _part(least, expected)

    def _wanted(self, pods: list[ObjectRecord]) -> int:
        """Return how many pods the owners of these want."""
        scales: dict[str, int] = {}
        for pod in pods:
            uid, count = self._owner_scale(pod)
            if uid:
                scales[uid] = count
        return sum(scales.values())

    def _owner_scale(self, record: ObjectRecord, resource: Any = PODS) -> tuple[str, int]:
        """Return the uid and the scale of the workload at the top of an object's owners; ("", 0) without one."""
        registry = self._trusted.registry
        reference = next(
            (r for r in metadata_of(record.obj).get("ownerReferences", ()) if r.get("controller")), None
        )  # fmt: skip
        owner_resource = None if reference is None else registry.resource_of(reference["apiVersion"], reference["kind"])
        if reference is not None and owner_resource is not None:
            owner = self._store.get(owner_resource, f"{record.obj.namespace}/{reference['name']}")
            if owner is not None and owner.obj.uid == reference["uid"]:
                return self._owner_scale(owner, owner_resource)
        if resource is PODS or not any(part.name == "scale" for part in resource.subresources):
            return "", 0
        scale = registry.kind(resource).scale(self._store.encode_dict(resource, record))
        return record.obj.uid, scale[0]

    def _disrupted(
        self, record: ObjectRecord, before: dict[str, str], pods: list[ObjectRecord]
    ) -> dict[str, str]:  # fmt: skip
        """Return the evictions whose deletion has not been seen yet."""
        now_s, kept = self._clock.now(), {}
        by_name = {pod.obj.name: pod for pod in pods}
        for name, since in before.items():
            pod = by_name.get(name)
            if pod is None or pod.obj.deletion_s:
                continue
            left_s = epoch_of(since) + DELETION_TIMEOUT_S - now_s
            if left_s > 0:
                kept[name] = since
                self._queue.add_after(record.key, left_s)
        return kept

    def _conditions(self, record: ObjectRecord, status: dict[str, Any], allowed: int) -> list[dict[str, Any]]:
        conditions = status.get("conditions", [])
        old = next((c for c in conditions if c["type"] == "DisruptionAllowed"), None)
        state = "True" if allowed else "False"
        since = rfc3339(self._clock.now())
        if old is not None and old["status"] == state:
            since = old["lastTransitionTime"]
        new = {
            "type": "DisruptionAllowed", "status": state, "observedGeneration": record.obj.generation,
            "lastTransitionTime": since, "reason": "SufficientPods" if allowed else "InsufficientPods", "message": "",
        }  # fmt: skip
        return [*(c for c in conditions if c["type"] != "DisruptionAllowed"), new]

    def _event(self, record: ObjectRecord, type: str, reason: str, message: str) -> None:
        self._trusted.event(
            DISRUPTIONBUDGETS, record, type=type, reason=reason, message=message, component=_COMPONENT
        )  # fmt: skip


def _part(value: int | str, of: int) -> int:
    """Return a number, or a percentage of one, rounded up."""
    return value if isinstance(value, int) else -(-of * int(value.removesuffix("%")) // 100)
