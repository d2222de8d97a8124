"""Pods that nobody else removes: those whose node is gone, once it has been so for a while.

And those that have ended, beyond the many that are kept.
"""

from itertools import islice

from kubedyno.cluster.controllers.feeds import Feeds
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.resources import NODES, PODS

# kube-controller-manager's quarantine (pkg/controller/podgc): a node may only be registering anew.
QUARANTINE_S = 40.0
# --terminated-pod-gc-threshold, and how often it is looked at.
KEPT_ENDED = 12_500
PERIOD_S = 20.0
_ENDED = frozenset({"Succeeded", "Failed"})


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
        self._nodes = trusted.store.table(NODES)
        self._pods = trusted.store.table(PODS)
        # Names of nodes that are gone.
        self._queue: WorkQueue[str] = WorkQueue(pump, "pod-garbage", self._reconcile)
        # Keys of pods that have ended, the first first.
        self._ended: dict[str, None] = {}
        self._kept = kept
        self._excess: WorkQueue[str] = WorkQueue(pump, "ended-pods", self._reduce)
        feeds.follow(NODES, gone=self._node_gone)
        feeds.follow(PODS, self._pod_changed, self._pod_gone)

    def _pod_changed(self, record: ObjectRecord) -> None:
        if record.obj.facts.phase in _ENDED:
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
            if pod is not None and pod.obj.facts.phase in _ENDED:
                self._trusted.delete(PODS, old, 0, uid=pod.obj.uid)
            self._ended.pop(old, None)
        if excess > budget:
            self._excess.add(key)
        return budget

    def _node_gone(self, record: ObjectRecord) -> None:
        self._queue.add_after(record.key, QUARANTINE_S)

    def _reconcile(self, node: str, budget: int) -> int:
        if self._nodes.get(node) is not None:
            return 1
        pods = self._pods.by_index("node", node)
        for pod in pods[:budget]:
            self._trusted.delete(PODS, pod.key, 0, uid=pod.obj.uid)
        if len(pods) > budget:
            self._queue.add(node)
        return budget
