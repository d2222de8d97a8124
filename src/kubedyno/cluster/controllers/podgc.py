"""Pods whose node is gone: nobody will ever stop them, so they are removed once the node has been gone for a while."""

from kubedyno.cluster.controllers.feeds import Feeds
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.resources import NODES, PODS

# kube-controller-manager's quarantine (pkg/controller/podgc): a node may only be registering anew.
QUARANTINE_S = 40.0


class PodGarbage:
    """The pod garbage collector.

    Args:
        trusted: Where it writes.
        pump: Gives turns and time.
        feeds: Gives changes.
    """

    def __init__(self, trusted: Trusted, pump: Pump, feeds: Feeds) -> None:
        self._trusted = trusted
        self._nodes = trusted.store.table(NODES)
        self._pods = trusted.store.table(PODS)
        # Names of nodes that are gone.
        self._queue: WorkQueue[str] = WorkQueue(pump, "pod-garbage", self._reconcile)
        feeds.follow(NODES, gone=self._node_gone)

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
