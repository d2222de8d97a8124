"""ResourceQuotas: their status says what their namespace uses. What may come is decided at admission, from the same sums."""

from kubedyno.cluster.controllers.feeds import Feeds
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.resources import RESOURCEQUOTAS, Resource


class ResourceQuotas:
    """The quota controller.

    Args:
        trusted: Where it writes.
        pump: Gives turns.
        feeds: Gives changes.
    """

    def __init__(self, trusted: Trusted, pump: Pump, feeds: Feeds) -> None:
        self._trusted = trusted
        self._feeds = feeds
        self._queue: WorkQueue[str] = WorkQueue(pump, "resource-quota", self._reconcile)
        # Namespace → keys of its quotas.
        self._by_namespace: dict[str, set[str]] = {}
        # Resources that some quota counts: the others need not be followed.
        self._followed: set[str] = set()
        feeds.follow(RESOURCEQUOTAS, self._changed, self._gone)
        trusted.store.on_added(self._added)

    def _changed(self, record: ObjectRecord) -> None:
        self._by_namespace.setdefault(record.obj.namespace, set()).add(record.key)
        self._queue.add(record.key)

    def _gone(self, record: ObjectRecord) -> None:
        keys = self._by_namespace.get(record.obj.namespace, set())
        keys.discard(record.key)
        if not keys:
            self._by_namespace.pop(record.obj.namespace, None)
        self._queue.forget(record.key)

    def _added(self, resource: Resource) -> None:
        """Look at all quotas again: one may count what is served only now."""
        _ = resource
        for keys in self._by_namespace.values():
            for key in keys:
                self._queue.add(key)

    def _used(self, record: ObjectRecord) -> None:
        for key in self._by_namespace.get(record.obj.namespace, ()):
            self._queue.add(key)

    def _reconcile(self, key: str, budget: int) -> int:
        _ = budget
        record = self._trusted.store.get(RESOURCEQUOTAS, key)
        if record is None:
            return 1
        quota = self._trusted.store.encode_dict(RESOURCEQUOTAS, record)
        quotas = self._trusted.registry.rules.quotas
        for resource in quotas.resources_of(quota["spec"].get("hard", {})):
            if resource.group_resource not in self._followed:
                self._followed.add(resource.group_resource)
                self._feeds.follow(resource, self._used, self._used)
        self._trusted.replace_status(RESOURCEQUOTAS, record, quotas.status_of(quota))
        return 1
