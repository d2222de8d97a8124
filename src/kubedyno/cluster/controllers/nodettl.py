"""Nodes' annotation of how long their kubelets may go on with Secrets and ConfigMaps that they have read.

The more nodes, the longer. Nodes come by the thousand, so each has its annotation brought up to date only when the size of
the cluster has left the step that it was written at.
"""

from kubedyno.cluster.controllers.feeds import Feeds
from kubedyno.cluster.controllers.podstates import metadata_of
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.resources import NODES

TTL = "node.alpha.kubernetes.io/ttl"
# (fewest nodes, most nodes, seconds): the steps overlap, so that one node more or less does not rewrite them all
# (pkg/controller/ttl).
STEPS = ((0, 100, 0), (90, 500, 15), (450, 1000, 30), (900, 2000, 60), (1800, 1 << 31, 300))
# Nodes that come together are written once, when all of them are there.
_SETTLE_S = 1.0


class NodeTTL:
    """The TTL controller.

    Args:
        trusted: Where it writes.
        pump: Gives turns and time.
        feeds: Gives changes.
    """

    def __init__(self, trusted: Trusted, pump: Pump, feeds: Feeds) -> None:
        self._trusted = trusted
        self._nodes = trusted.store.table(NODES)
        self._queue: WorkQueue[str] = WorkQueue(pump, "node-ttl", self._reconcile)
        self._known: set[str] = set()
        self._step = 0
        feeds.follow(NODES, self._changed, self._gone)

    def _changed(self, record: ObjectRecord) -> None:
        if record.key not in self._known:
            self._known.add(record.key)
            self._queue.add_after(record.key, _SETTLE_S)
            self._count()

    def _gone(self, record: ObjectRecord) -> None:
        self._known.discard(record.key)
        self._queue.forget(record.key)
        self._count()

    def _count(self) -> None:
        step = step_of(len(self._known), self._step)
        if step != self._step:
            self._step = step
            for key in self._known:
                self._queue.add_after(key, _SETTLE_S)

    def _reconcile(self, key: str, budget: int) -> int:
        _ = budget
        record = self._nodes.get(key)
        if record is None:
            return 1
        annotations = metadata_of(record.obj).get("annotations", {})
        wanted = str(STEPS[self._step][2])
        if annotations.get(TTL) != wanted:
            self._trusted.replace(NODES, record, annotations={**annotations, TTL: wanted})
        return 1


def step_of(nodes: int, step: int) -> int:
    """Return the index of the step that holds for so many nodes, after another one held."""
    while nodes > STEPS[step][1]:
        step += 1
    while nodes < STEPS[step][0]:
        step -= 1
    return step
