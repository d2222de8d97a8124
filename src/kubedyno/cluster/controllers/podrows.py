"""Pods' changes, handed to the row of the workload that owns each; and pods without an owner, offered for adoption."""

from typing import Any, Protocol

from kubedyno.cluster.controllers.feeds import Feeds
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube.resources import PODS


class PodOwner(Protocol):
    """A workload's row."""

    uid: str
    namespace: str

    def pod(self, record: ObjectRecord, *, gone: bool) -> None:
        """Take note of a pod that it owns or owned."""

    def owns(self, key: str) -> bool:
        """Say whether it counts the pod with that key among its own."""

    def adopts(self, obj: StoredObject) -> bool:
        """Say whether it wants a pod that nobody owns."""

    def reference(self) -> dict[str, Any]:
        """Return the owner reference that its pods get."""


class PodRows:
    """Workloads by uid.

    Args:
        trusted: Adopts.
        feeds: Gives the pods' changes.
    """

    def __init__(self, trusted: Trusted, feeds: Feeds) -> None:
        self._trusted = trusted
        self._pods = trusted.store.table(PODS)
        self._rows: dict[str, PodOwner] = {}
        self._by_namespace: dict[str, dict[str, PodOwner]] = {}
        # Namespace → key → labels of pods that nobody owns.
        self._orphans: dict[str, dict[str, Any]] = {}
        self._feeds = feeds

    def follow(self) -> None:
        """Begin with the pods: after the workloads, so that owners are known first."""
        self._feeds.follow(PODS, self._changed, self._gone)

    def add(self, row: PodOwner) -> None:
        """Hand a row what is known of its pods, and from now on their changes."""
        self._rows[row.uid] = row
        self._by_namespace.setdefault(row.namespace, {})[row.uid] = row
        for record in self._pods.by_index("owner", row.uid):
            row.pod(record, gone=False)
        for key in list(self._orphans.get(row.namespace, ())):
            record_ = self._pods.get(key)
            if record_ is not None:
                self._offer(record_, row)

    def remove(self, uid: str) -> None:
        """Forget a workload that is gone."""
        row = self._rows.pop(uid, None)
        if row is not None:
            rows = self._by_namespace[row.namespace]
            del rows[uid]
            if not rows:
                del self._by_namespace[row.namespace]

    def _changed(self, record: ObjectRecord) -> None:
        obj = record.obj
        if obj.owners:
            row = self._rows.get(obj.owners[0])
            if row is not None:
                row.pod(record, gone=False)
            if obj.namespace in self._orphans:
                self._forget(obj)
            return
        orphans = self._orphans.setdefault(obj.namespace, {})
        if orphans.get(obj.key) is obj.labels:
            return
        orphans[obj.key] = obj.labels
        for other in list(self._by_namespace.get(obj.namespace, {}).values()):
            if other.owns(obj.key):
                other.pod(record, gone=True)
            elif self._offer(record, other):
                break

    def _gone(self, record: ObjectRecord) -> None:
        obj = record.obj
        row = self._rows.get(obj.owners[0]) if obj.owners else None
        if row is not None:
            row.pod(record, gone=True)
        elif obj.namespace in self._orphans:
            self._forget(obj)

    def _forget(self, obj: StoredObject) -> None:
        orphans = self._orphans[obj.namespace]
        orphans.pop(obj.key, None)
        if not orphans:
            del self._orphans[obj.namespace]

    def _offer(self, record: ObjectRecord, row: PodOwner) -> bool:
        """Let a row adopt a pod; its change then comes as any other."""
        if record.obj.owners or record.obj.deletion_s or not row.adopts(record.obj):
            return False
        if self._pods.get(record.key) is not record:
            return False
        self._trusted.replace(PODS, record, owners=[row.reference()])
        return True
