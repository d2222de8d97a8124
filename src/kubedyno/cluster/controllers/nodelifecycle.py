"""Node lifecycle: taints by condition, nodes that are no longer heard of, and the readiness of their pods.

A node's row says when it was last heard of, by its status or its lease. Taints that only keep pods away follow each
change of the node at once; what evicts, and what is concluded from silence, comes with the monitor's tick.
"""

from typing import Any

import orjson

from kubedyno.base.times import rfc3339
from kubedyno.cluster.controllers.feeds import Feeds
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.resources import LEASES, NODES, PODS

_COMPONENT = "node-controller"
_LEASE_NAMESPACE = "kube-node-lease"
# kube-controller-manager's --node-monitor-period, --node-monitor-grace-period (since 1.32), --node-startup-grace-period.
PERIOD_S = 5.0
GRACE_S = 50.0
STARTUP_GRACE_S = 60.0
_PREFIX = "node.kubernetes.io/"
_NOT_READY, _UNREACHABLE, _UNSCHEDULABLE = _PREFIX + "not-ready", _PREFIX + "unreachable", _PREFIX + "unschedulable"
# Condition type → status → taint (NoSchedule).
_TAINTS = {
    "Ready": {"False": _NOT_READY, "Unknown": _UNREACHABLE},
    "MemoryPressure": {"True": _PREFIX + "memory-pressure"},
    "DiskPressure": {"True": _PREFIX + "disk-pressure"},
    "PIDPressure": {"True": _PREFIX + "pid-pressure"},
    "NetworkUnavailable": {"True": _PREFIX + "network-unavailable"},
}
_MANAGED = frozenset({taint for by_status in _TAINTS.values() for taint in by_status.values()} | {_UNSCHEDULABLE})
# What is unknown of a node that is silent.
_SILENT_TYPES = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")


class _Row:
    """What is known of a node."""

    __slots__ = ("body", "heard_s", "ready", "status", "was_ready")

    def __init__(self, now_s: float) -> None:
        self.heard_s = now_s
        self.status = b""
        self.body = b""
        self.ready = ""
        # It was ready since the last tick that found it not to be.
        self.was_ready = False


class NodeLifecycle:
    """The node lifecycle controller.

    Args:
        trusted: Where it writes.
        pump: Gives turns and time.
        feeds: Gives changes.
    """

    def __init__(self, trusted: Trusted, pump: Pump, feeds: Feeds) -> None:
        self._trusted = trusted
        self._pump = pump
        self._clock = pump.clock
        self._nodes = trusted.store.table(NODES)
        self._pods = trusted.store.table(PODS)
        self._rows: dict[str, _Row] = {}
        self._queue: WorkQueue[str] = WorkQueue(pump, "node-lifecycle", self._reconcile)
        # Nodes whose pods are to be marked not ready.
        self._stopped: WorkQueue[str] = WorkQueue(pump, "node-pods", self._mark_pods)
        self._last_tick_s = 0.0
        feeds.follow(NODES, self._changed, self._gone)
        feeds.follow(LEASES, self._lease)

    def start(self) -> None:
        """Begin to monitor."""
        self._last_tick_s = self._clock.monotonic()
        self._pump.call_later(PERIOD_S, self._tick)

    # --- news ----------------------------------------------------------------------------------------------------

    def _changed(self, record: ObjectRecord) -> None:
        obj = record.obj
        row = self._rows.get(obj.name)
        if row is None:
            row = self._rows[obj.name] = _Row(self._clock.monotonic())
            self._event(record, "RegisteredNode", f"Node {obj.name} event: Registered Node {obj.name} in Controller")
        if obj.status != row.status:
            row.status = obj.status
            row.heard_s = self._clock.monotonic()
        elif obj.body == row.body:
            return
        row.body = obj.body
        self._queue.add(obj.name)

    def _gone(self, record: ObjectRecord) -> None:
        name = record.obj.name
        if self._rows.pop(name, None) is not None:
            self._event(record, "RemovingNode", f"Node {name} event: Removing Node {name} from Controller")
            self._queue.forget(name)

    def _lease(self, record: ObjectRecord) -> None:
        if record.obj.namespace == _LEASE_NAMESPACE:
            row = self._rows.get(record.obj.name)
            if row is not None:
                row.heard_s = self._clock.monotonic()

    # --- taints that follow the conditions -----------------------------------------------------------------------

    def _reconcile(self, name: str, budget: int) -> int:
        _ = budget
        record, row = self._nodes.get(name), self._rows.get(name)
        if record is None or row is None:
            return 1
        conditions = _conditions(record)
        row.ready = conditions.get("Ready", "")
        wanted = {taint for type_, status in conditions.items() if (taint := _TAINTS.get(type_, {}).get(status))}
        if not row.ready:
            # Nothing heard yet: it stays as tainted as it came.
            wanted |= {
                key for key, _, effect in record.obj.facts.taints if key == _NOT_READY and effect == "NoSchedule"
            }
        if record.obj.facts.unschedulable:
            wanted.add(_UNSCHEDULABLE)
        taints = _taints(record)
        new = [
            t for t in taints if not (t["key"] in _MANAGED and t["effect"] == "NoSchedule" and t["key"] not in wanted)
        ]
        there = {t["key"] for t in new if t["effect"] == "NoSchedule"}
        now = rfc3339(self._clock.now())
        new += [{"key": key, "effect": "NoSchedule", "timeAdded": now} for key in sorted(wanted - there)]
        if row.ready == "True":
            new = [t for t in new if not _evicts(t)]
            row.was_ready = True
        self._write_taints(record, taints, new)
        self._queue.forget(name)
        return 2

    def _write_taints(self, record: ObjectRecord, old: list[dict[str, Any]], new: list[dict[str, Any]]) -> None:
        if new == old:
            return
        body = orjson.loads(b"{" + record.obj.body + b"}")
        spec = body.setdefault("spec", {})
        if new:
            spec["taints"] = new
        else:
            spec.pop("taints", None)
        self._trusted.replace(NODES, record, body=body)

    # --- the monitor -----------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Look at all nodes: who is silent, and who is to be evicted from."""
        now_s = self._clock.monotonic()
        late = now_s - self._last_tick_s > 2 * PERIOD_S
        self._last_tick_s = now_s
        self._pump.call_later(PERIOD_S, self._tick)
        if late:
            # Nobody could be heard while the whole process stood still.
            for row in self._rows.values():
                row.heard_s = now_s
        any_ready = any(row.ready == "True" for row in self._rows.values())
        for name, row in list(self._rows.items()):
            record = self._nodes.get(name)
            if record is None:
                continue
            silent_s = now_s - row.heard_s
            if row.ready != "Unknown" and silent_s > (GRACE_S if row.ready else STARTUP_GRACE_S):
                record = self._silence(record, row)
            if row.ready == "True":
                continue
            if row.was_ready and row.ready == "Unknown":
                # A kubelet that says itself that it is not ready has said so of itself, and looks after its pods.
                self._event(record, "NodeNotReady", f"Node {name} status is now: NodeNotReady")
                self._stopped.add(name)
            row.was_ready = False
            self._evict(record, row, any_ready=any_ready)

    def _silence(self, record: ObjectRecord, row: _Row) -> ObjectRecord:
        """Write that nothing is known of a node any more."""
        status = orjson.loads(record.obj.status or b"{}")
        now = rfc3339(self._clock.now())
        never = not row.ready
        reason = "NodeStatusNeverUpdated" if never else "NodeStatusUnknown"
        text = "Kubelet never posted node status." if never else "Kubelet stopped posting node status."
        conditions = status.setdefault("conditions", [])
        known = {condition["type"]: condition for condition in conditions}
        for type_ in _SILENT_TYPES:
            condition = known.get(type_)
            if condition is None:
                condition = {"type": type_, "lastHeartbeatTime": None}
                conditions.append(condition)
            if condition.get("status") != "Unknown":
                condition.update(status="Unknown", lastTransitionTime=now, reason=reason, message=text)
        new = self._trusted.replace_status(NODES, record, status)
        row.status = new.obj.status
        row.ready = "Unknown"
        self._queue.add(record.obj.name)
        return new

    def _evict(self, record: ObjectRecord, row: _Row, *, any_ready: bool) -> None:
        """Taint a node that is not ready so that its pods leave; none while no node at all is ready."""
        taints = _taints(record)
        wanted = {"False": _NOT_READY, "Unknown": _UNREACHABLE}.get(row.ready) if any_ready else None
        new = [t for t in taints if not _evicts(t) or t["key"] == wanted]
        if wanted is not None and not any(_evicts(t) for t in new):
            new.append({"key": wanted, "effect": "NoExecute", "timeAdded": rfc3339(self._clock.now())})
        self._write_taints(record, taints, new)

    def _mark_pods(self, name: str, budget: int) -> int:
        """Say of a silent node's pods that they are not ready."""
        pods = [pod for pod in self._pods.by_index("node", name) if pod.obj.facts.ready and not pod.obj.deletion_s]
        row = self._rows.get(name)
        if row is None or row.ready == "True":
            return 1
        now = rfc3339(self._clock.now())
        for pod in pods[:budget]:
            status = orjson.loads(pod.obj.status)
            for condition in status.get("conditions", ()):
                if condition.get("type") == "Ready":
                    condition.update(status="False", lastTransitionTime=now)
            self._trusted.replace_status(PODS, pod, status)
            self._trusted.event(
                PODS, pod, type="Warning", reason="NodeNotReady", message="Node is not ready", component=_COMPONENT
            )  # fmt: skip
        if len(pods) > budget:
            self._stopped.add(name)
        return budget

    def _event(self, record: ObjectRecord, reason: str, message: str) -> None:
        self._trusted.event(
            NODES, record, type="Normal", reason=reason, message=message, component=_COMPONENT
        )  # fmt: skip


def _evicts(taint: dict[str, Any]) -> bool:
    return taint["key"] in {_NOT_READY, _UNREACHABLE} and taint["effect"] == "NoExecute"


def _conditions(record: ObjectRecord) -> dict[str, str]:
    """Return a node's conditions, type → status."""
    status = orjson.loads(record.obj.status or b"{}")
    return {condition["type"]: condition.get("status", "") for condition in status.get("conditions", ())}


def _taints(record: ObjectRecord) -> list[dict[str, Any]]:
    if b'"taints":' not in record.obj.body:
        return []
    spec = orjson.loads(b"{" + record.obj.body + b"}").get("spec", {})
    return list(spec.get("taints", []))
