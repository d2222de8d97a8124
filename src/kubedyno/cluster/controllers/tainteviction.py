"""Taints that evict: pods leave a node with a NoExecute taint at once, or when what they tolerate is over."""

from collections.abc import Iterable

import orjson

from kubedyno.base.times import rfc3339
from kubedyno.cluster.controllers.feeds import Feeds
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.kinds.podfacts import ENDED, Toleration
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.resources import NODES, PODS

_COMPONENT = "taint-eviction-controller"
_Taint = tuple[str, str, str]


class TaintEviction:
    """The taint eviction controller.

    Args:
        trusted: Where it writes.
        pump: Gives turns and time.
        feeds: Gives changes.
    """

    def __init__(self, trusted: Trusted, pump: Pump, feeds: Feeds) -> None:
        self._queue: WorkQueue[str] = WorkQueue(pump, "taint-eviction", self._reconcile)
        self._trusted = trusted
        self._clock = pump.clock
        self._pods = trusted.store.table(PODS)
        # Node → its taints that evict, where it has any.
        self._tainted: dict[str, tuple[_Taint, ...]] = {}
        # Node → pod's uid → (since when, when it has to go).
        self._due: dict[str, dict[str, tuple[float, float]]] = {}
        feeds.follow(NODES, self._node_changed, self._node_gone)
        feeds.follow(PODS, self._pod_changed)

    def _node_changed(self, record: ObjectRecord) -> None:
        taints = tuple(taint for taint in record.obj.facts.taints if taint[2] == "NoExecute")
        if taints == self._tainted.get(record.key, ()):
            return
        if taints:
            self._tainted[record.key] = taints
        else:
            self._tainted.pop(record.key, None)
        self._queue.add(record.key)

    def _node_gone(self, record: ObjectRecord) -> None:
        self._tainted.pop(record.key, None)
        self._due.pop(record.key, None)
        self._queue.forget(record.key)

    def _pod_changed(self, record: ObjectRecord) -> None:
        if self._tainted and record.obj.facts.node_name in self._tainted:
            self._queue.add(record.obj.facts.node_name)

    def _reconcile(self, node: str, budget: int) -> int:
        taints, now_s = self._tainted.get(node, ()), self._clock.now()
        before, due = self._due.pop(node, {}), {}
        pods = self._pods.by_index("node", node)
        done = 0
        for pod in pods:
            obj = pod.obj
            if obj.deletion_s or obj.facts.phase in ENDED:
                continue
            stays_s = tolerated_s(obj.facts.spec.tolerations, taints)
            since_s, end_s = before.get(obj.uid, (now_s, 0.0))
            if stays_s is None:
                if end_s:
                    self._event(pod, f"Cancelling deletion of Pod {obj.key}")
                continue
            due_s = since_s + stays_s
            if due_s > now_s:
                due[obj.uid] = since_s, due_s
            elif done < budget:
                self._evict(pod)
                done += 1
            else:
                self._queue.add(node)
        if due:
            self._due[node] = due
            self._queue.add_after(node, min(end_s for _, end_s in due.values()) - now_s)
        self._queue.forget(node)
        return done + 1 + len(pods) // 64

    def _evict(self, pod: ObjectRecord) -> None:
        self._event(pod, f"Marking for deletion Pod {pod.obj.key}")
        status = orjson.loads(pod.obj.status or b"{}")
        conditions = [c for c in status.get("conditions", ()) if c["type"] != "DisruptionTarget"]
        conditions.append({
            "type": "DisruptionTarget", "status": "True", "lastProbeTime": None,
            "lastTransitionTime": rfc3339(self._clock.now()), "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
        })  # fmt: skip
        self._trusted.replace_status(PODS, pod, {**status, "conditions": conditions})
        self._trusted.delete(PODS, pod.key, uid=pod.obj.uid)

    def _event(self, pod: ObjectRecord, message: str) -> None:
        self._trusted.event(
            PODS, pod, type="Normal", reason="TaintManagerEviction", message=message, component=_COMPONENT
        )  # fmt: skip


def tolerated_s(tolerations: Iterable[Toleration], taints: Iterable[_Taint]) -> float | None:
    """Return how long a pod may stay on a node with these taints; None for ever."""
    least: float | None = None
    tolerations = tuple(tolerations)
    for taint in taints:
        fitting = [toleration for toleration in tolerations if _tolerates(toleration, taint)]
        if not fitting:
            return 0.0
        for seconds in (toleration[4] for toleration in fitting):
            if seconds is not None:
                least = max(float(seconds), 0.0) if least is None else min(least, max(float(seconds), 0.0))
    return least


def _tolerates(toleration: Toleration, taint: _Taint) -> bool:
    key, operator, value, effect, _ = toleration
    if effect not in {"", taint[2]} or key not in {"", taint[0]}:
        return False
    return operator == "Exists" or bool(key and value == taint[1])
