"""Deployments: a ReplicaSet a template, and pods moved from the old ones to the new one at the pace that is allowed.

Each reconciliation takes one step, as its numbers allow (`rollout`); the ReplicaSets' changes bring the next.
"""

from operator import attrgetter

from kubedyno.cluster.controllers.deployrows import Child, DeploymentRow
from kubedyno.cluster.controllers.deploysync import DeploymentSync
from kubedyno.cluster.controllers.feeds import Feeds
from kubedyno.cluster.pump import Pump, Timer
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.resources import DEPLOYMENTS, REPLICASETS

# What a reconciliation counts as in a turn: a ReplicaSet, an event and a status or two.
_ITEMS = 4
# Between two looks for rollouts that are late.
_DEADLINE_GRAIN_S = 1.0


class Deployments:
    """The Deployment controller.

    Args:
        trusted: Where it writes.
        pump: Gives turns.
        feeds: Gives changes.
        settings: Of the cluster.
    """

    def __init__(self, trusted: Trusted, pump: Pump, feeds: Feeds, settings: ClusterSettings) -> None:
        self.queue: WorkQueue[DeploymentRow] = WorkQueue(pump, "deployment", self._reconcile, name_of=attrgetter("key"))
        self._trusted = trusted
        self._sync = DeploymentSync(trusted, pump.clock, settings)
        self._table = trusted.store.table(DEPLOYMENTS)
        self._sets = trusted.store.table(REPLICASETS)
        self._rows: dict[str, DeploymentRow] = {}
        self._pump = pump
        # Rollouts under way → monotonic seconds when they are late.
        self._deadlines: dict[DeploymentRow, float] = {}
        self._timer: Timer | None = None
        # Namespace → keys of ReplicaSets that nobody owns.
        self._orphans: dict[str, dict[str, None]] = {}
        feeds.follow(DEPLOYMENTS, self._changed, self._gone)
        feeds.follow(REPLICASETS, self._set_changed, self._set_gone)

    # --- news ----------------------------------------------------------------------------------------------------

    def _changed(self, record: ObjectRecord) -> None:
        obj = record.obj
        row = self._rows.get(obj.uid)
        if row is None:
            row = self._rows[obj.uid] = DeploymentRow(obj)
            for child in self._sets.by_index("owner", obj.uid):
                row.children[child.key] = Child(child.obj)
            for key in list(self._orphans.get(obj.namespace, ())):
                orphan = self._sets.get(key)
                if orphan is not None:
                    self._adopt(row, orphan)
        elif obj.status == row.status_bytes and row.generation == obj.generation and obj.meta == row.meta:
            return
        self.queue.add(row)

    def _gone(self, record: ObjectRecord) -> None:
        row = self._rows.pop(record.obj.uid, None)
        if row is not None:
            self._deadlines.pop(row, None)
            self.queue.forget(row)

    def _set_changed(self, record: ObjectRecord) -> None:
        obj = record.obj
        if not obj.owners:
            self._orphans.setdefault(obj.namespace, {})[obj.key] = None
            for row in self._rows.values():
                if row.namespace == obj.namespace:
                    if row.children.pop(obj.key, None) is not None:
                        self.queue.add(row)
                    self._adopt(row, record)
            return
        if obj.namespace in self._orphans:
            self._forget_orphan(obj.namespace, obj.key)
        owner = self._rows.get(obj.owners[0])
        if owner is not None:
            child = owner.children.get(obj.key)
            if child is None or child.uid != obj.uid:
                owner.children[obj.key] = Child(obj)
            else:
                child.read(obj)
            self.queue.add(owner)

    def _set_gone(self, record: ObjectRecord) -> None:
        obj = record.obj
        if not obj.owners:
            self._forget_orphan(obj.namespace, obj.key)
            return
        row = self._rows.get(obj.owners[0])
        if row is not None and row.children.pop(obj.key, None) is not None:
            self.queue.add(row)

    def _forget_orphan(self, namespace: str, key: str) -> None:
        orphans = self._orphans.get(namespace)
        if orphans is not None:
            orphans.pop(key, None)
            if not orphans:
                del self._orphans[namespace]

    def _adopt(self, row: DeploymentRow, record: ObjectRecord) -> None:
        """Make a ReplicaSet that nobody owns one of a Deployment's, if it is selected."""
        current = self._table.get(row.key)
        if current is None or current.obj.uid != row.uid or current.obj.deletion_s:
            return
        if self._sets.get(record.key) is not record or record.obj.owners or record.obj.deletion_s:
            return
        if row.selector.matches(record.obj.labels):
            self._trusted.replace(REPLICASETS, record, owners=[row.reference()])

    # --- reconciling ---------------------------------------------------------------------------------------------

    def _reconcile(self, row: DeploymentRow, budget: int) -> int:
        _ = budget
        record = self._table.get(row.key)
        if record is None or record.obj.uid != row.uid:
            return 1
        if row.generation != record.obj.generation:
            row.read(record.obj)
        row.read_metadata(record.obj)
        row.read_status(record.obj.status)
        late_in_s = self._sync.run(row, record)
        if late_in_s is None:
            self._deadlines.pop(row, None)
        else:
            self._watch_deadline(row, self._pump.clock.monotonic() + late_in_s)
        if self._sync.refused:
            self.queue.retry(row, self._sync.refused)
        return _ITEMS

    # --- deadlines -----------------------------------------------------------------------------------------------

    def _watch_deadline(self, row: DeploymentRow, due_s: float) -> None:
        """Look at a rollout when it would be late. One timer for all: most rollouts end long before."""
        self._deadlines[row] = due_s
        timer = self._timer
        if timer is None or due_s < timer.due_s:
            if timer is not None:
                timer.cancel()
            self._timer = self._pump.call_at(due_s, self._look_for_late)

    def _look_for_late(self) -> None:
        self._timer = None
        now_s = self._pump.clock.monotonic()
        for row in [row for row, due_s in self._deadlines.items() if due_s <= now_s]:
            del self._deadlines[row]
            self.queue.add(row)
        if self._deadlines:
            next_s = max(min(self._deadlines.values()), now_s + _DEADLINE_GRAIN_S)
            self._timer = self._pump.call_at(next_s, self._look_for_late)
