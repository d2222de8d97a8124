"""Pods that nobody else removes: those whose node is gone, once it has been so for a while.

Those that are being deleted on a node that is out of service; and those that have ended, beyond the many that are kept.
"""

from itertools import islice

import orjson

from kubedyno.base.times import rfc3339
from kubedyno.cluster.controllers.feeds import Feeds
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.kinds.podfacts import ENDED
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.resources import NODES, PODS

# kube-controller-manager's quarantine (pkg/controller/podgc): a node may only be registering anew.
QUARANTINE_S = 40.0
# --terminated-pod-gc-threshold, and how often it is looked at.
KEPT_ENDED = 12_500
PERIOD_S = 20.0
# The taint by which an operator says that a machine is off for good (since 1.28).
_OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"


class PodGarbage:
    """The pod garbage collector.

    Args:
        trusted: Where it writes.
        pump: Gives turns and time.
        feeds: Gives changes.
        kept: How many pods that have ended are kept.
    """

    def __init__(self, trusted: Trusted, pump: Pump, feeds: Feeds, *, kept: int = KEPT_ENDED) -> None:
        self._trusted = trusted
        self._clock = pump.clock
        self._nodes = trusted.store.table(NODES)
        self._pods = trusted.store.table(PODS)
        # Names of nodes that are gone.
        self._queue: WorkQueue[str] = WorkQueue(pump, "pod-garbage", self._reconcile)
        # Keys of pods that have ended, the first first.
        self._ended: dict[str, None] = {}
        self._kept = kept
        self._excess: WorkQueue[str] = WorkQueue(pump, "ended-pods", self._reduce)
        # Names of nodes that are out of service.
        self._served: WorkQueue[str] = WorkQueue(pump, "out-of-service", self._release)
        feeds.follow(NODES, self._node_changed, self._node_gone)
        feeds.follow(PODS, self._pod_changed, self._pod_gone)

    def _pod_changed(self, record: ObjectRecord) -> None:
        if record.obj.facts.phase in ENDED:
            self._ended[record.key] = None
            if len(self._ended) > self._kept:
                self._excess.add_after("", PERIOD_S)

    def _pod_gone(self, record: ObjectRecord) -> None:
        self._ended.pop(record.key, None)

    def _reduce(self, key: str, budget: int) -> int:
        """Remove those that have ended first, where there are too many."""
        excess = len(self._ended) - self._kept
        for old in list(islice(self._ended, max(min(excess, budget), 0))):
            pod = self._pods.get(old)
            if pod is not None and pod.obj.facts.phase in ENDED:
                self._trusted.delete(PODS, old, 0, uid=pod.obj.uid)
            self._ended.pop(old, None)
        if excess > budget:
            self._excess.add(key)
        return budget

    def _node_changed(self, record: ObjectRecord) -> None:
        if any(key == _OUT_OF_SERVICE for key, _, _ in record.obj.facts.taints):
            self._served.add_after(record.key, PERIOD_S)

    def _release(self, node: str, budget: int) -> int:
        """Remove what is being deleted on a node that is out of service, and not ready."""
        record = self._nodes.get(node)
        if record is None or not any(key == _OUT_OF_SERVICE for key, _, _ in record.obj.facts.taints):
            return 1
        self._served.add_after(node, PERIOD_S)
        if _is_ready(record):
            return 1
        pods = [pod for pod in self._pods.by_index("node", node) if pod.obj.deletion_s]
        for pod in pods[:budget]:
            self._trusted.delete(PODS, pod.key, 0, uid=pod.obj.uid)
        return max(len(pods[:budget]), 1)

    def _node_gone(self, record: ObjectRecord) -> None:
        self._queue.add_after(record.key, QUARANTINE_S)

    def _reconcile(self, node: str, budget: int) -> int:
        if self._nodes.get(node) is not None:
            return 1
        pods = self._pods.by_index("node", node)
        for pod in pods[:budget]:
            self._remove_orphan(pod)
        if len(pods) > budget:
            self._queue.add(node)
        return budget

    def _remove_orphan(self, pod: ObjectRecord) -> None:
        """Say of a pod that it has failed with its node, and remove it."""
        if pod.obj.facts.phase not in ENDED:
            status = orjson.loads(pod.obj.status or b"{}")
            conditions = [c for c in status.get("conditions", ()) if c["type"] != "DisruptionTarget"]
            conditions.append({
                "type": "DisruptionTarget", "status": "True", "observedGeneration": pod.obj.generation,
                "lastProbeTime": None, "lastTransitionTime": rfc3339(self._clock.now()), "reason": "DeletionByPodGC",
                "message": "PodGC: node no longer exists",
            })  # fmt: skip
            self._trusted.replace_status(PODS, pod, {**status, "phase": "Failed", "conditions": conditions})
        self._trusted.delete(PODS, pod.key, 0, uid=pod.obj.uid)


def _is_ready(node: ObjectRecord) -> bool:
    conditions = orjson.loads(node.obj.status or b"{}").get("conditions", ())
    return any(c["type"] == "Ready" and c.get("status") == "True" for c in conditions)
