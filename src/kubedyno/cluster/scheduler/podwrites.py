"""What the scheduler writes to a pod that it does not bind: events, conditions, the nominated node."""

from typing import Any

import orjson

from kubedyno.base.times import rfc3339
from kubedyno.cluster.registry.featuregates import OBSERVED_GENERATION, gates_on
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube.resources import PODS

UNSCHEDULABLE = "Unschedulable"
SCHEDULER_ERROR = "SchedulerError"


class PodWrites:
    """Writes about pods.

    Args:
        trusted: The door for writes.
        settings: Version and gates, and the node that the scheduler runs on.
    """

    def __init__(self, trusted: Trusted, settings: ClusterSettings) -> None:
        self._trusted = trusted
        self._observes_generation = OBSERVED_GENERATION in gates_on(settings.minor, settings.feature_gates)
        self._host = settings.nodes[0].name

    def event(self, record: ObjectRecord, type: str, reason: str, message: str, action: str) -> None:
        """Record an event about a pod, as the profile that the pod asked for."""
        component = record.obj.facts.spec.scheduler_name
        self._trusted.event(
            PODS, record, type=type, reason=reason, message=message, component=component, host=self._host, action=action
        )

    def unscheduled(self, record: ObjectRecord, reason: str, message: str, nominated: str) -> ObjectRecord:
        """Say that a pod has no node, and why."""
        fields = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
        return self._status(record, fields, nominated)

    def disrupted(self, record: ObjectRecord, by: str) -> ObjectRecord:
        """Say that a pod has to go for one that the profile `by` placed."""
        fields = {
            "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
            "message": f"{by}: preempting to accommodate a higher priority pod",
        }  # fmt: skip
        return self._status(record, fields, None)

    def _condition(self, obj: StoredObject, fields: dict[str, Any], old: dict[str, Any] | None) -> dict[str, Any]:
        """Return a condition as the scheduler writes it; its transition is the old one's while its status stays."""
        stamp = rfc3339(self._trusted.registry.clock.now())
        if old is not None and old.get("status") == fields["status"]:
            stamp = old.get("lastTransitionTime") or stamp
        generation = {"observedGeneration": obj.generation} if self._observes_generation else {}
        return {
            "type": fields["type"],
            **generation,
            "status": fields["status"],
            "lastProbeTime": None,
            "lastTransitionTime": stamp,
            "reason": fields["reason"],
            "message": fields["message"],
        }

    def _status(self, record: ObjectRecord, fields: dict[str, Any], nominated: str | None) -> ObjectRecord:
        """Set a condition, and the nominated node unless None; nothing is written when nothing changes."""
        obj = record.obj
        status: dict[str, Any] = orjson.loads(obj.status)
        conditions: list[dict[str, Any]] = status.get("conditions", [])
        at = next((i for i, c in enumerate(conditions) if c.get("type") == fields["type"]), len(conditions))
        old = conditions[at] if at < len(conditions) else None
        new = self._condition(obj, fields, old)
        if old == new and (nominated is None or status.get("nominatedNodeName", "") == nominated):
            return record
        kept = status.pop("nominatedNodeName", "") if nominated is None else nominated
        # Members in the API's order, as far as a pod without a node has them.
        changed: dict[str, Any] = {"phase": status.pop("phase", "Pending")}
        changed["conditions"] = [*conditions[:at], new, *conditions[at + 1 :]]
        changed |= {name: value for name, value in status.items() if name not in {"conditions", "nominatedNodeName"}}
        if kept:
            changed["nominatedNodeName"] = kept
        return self._trusted.replace_status(PODS, record, changed, obj.facts)
