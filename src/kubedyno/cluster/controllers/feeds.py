"""One cursor a table for all controllers: each change is read once and handed to those who follow the kind.

Controllers register before `start`; what is in the tables then comes as changes, tables in the order of their
registration, so that owners are known before what they own.
"""

from collections.abc import Callable

from kubedyno.base.log import logger
from kubedyno.cluster.pump import Pump, Worker
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.cluster.storage.store import ObjectRecord, ObjectTable, Store
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.resources import EVENTS, Resource
from kubedyno.statedb.changes import Changes
from kubedyno.statedb.errors import ExpiredError
from kubedyno.statedb.records import Tombstone

_logger = logger(__name__)
Handler = Callable[[ObjectRecord], None]

# Changes handed out in one turn: some hundred microseconds.
_BATCH = 256


class _Feed:
    """One table's cursor and its followers. Made when the first follower comes, reads from `start` on."""

    def __init__(
        self, pump: Pump, resource: Resource, table: ObjectTable, failed: Callable[[Handler, ObjectRecord], None]
    ) -> None:
        self.changed: list[Handler] = []
        self.gone: list[Handler] = []
        self._table = table
        self._failed = failed
        self._changes: Changes[StoredObject] | None = None
        # What was handed out and is not known to be gone, by key: who is too far behind to be told of a deletion finds
        # it by this. Not of events, which are the most by far, and nobody's owner or part.
        self._known: dict[str, ObjectRecord] | None = None if resource is EVENTS else {}
        self.worker: Worker = pump.worker(f"feed-{resource.plural}", self._step)

    def start(self) -> None:
        self._changes = self._table.changes()
        self._table.subscribe(self.worker.wake)
        self.worker.wake()

    def _step(self, limit: int) -> bool:
        _ = limit
        changes = self._changes
        if changes is None:
            return False
        try:
            records = changes.next(_BATCH)
        except ExpiredError:
            _logger.warning("%s: too far behind, starting over", self.worker.name)
            self._changes = self._table.changes()
            self._hand_out(self._missed())
            return True
        self._hand_out(records)
        return changes.behind

    def _hand_out(self, records: list[ObjectRecord]) -> None:
        changed, gone, known = self.changed, self.gone, self._known
        for record in records:
            is_gone = type(record) is Tombstone
            if known is not None:
                if is_gone:
                    known.pop(record.key, None)
                else:
                    known[record.key] = record
            for handler in gone if is_gone else changed:
                try:
                    handler(record)
                except Exception:
                    _logger.exception("%s: %s failed", self.worker.name, record.key)
                    self._failed(handler, record)

    def _missed(self) -> list[ObjectRecord]:
        """Return the deletions of which nothing was heard, as client-go's informers find them in a new list."""
        get, revision = self._table.get, self._table.revision
        return [
            Tombstone(old.key, old.obj, revision, None)
            for old in (self._known or {}).values()
            if (now := get(old.key)) is None or now.obj.uid != old.obj.uid
        ]


class Feeds:
    """Hands out changes; one that a follower fails over is handed to it again, and shown among what fails.

    Args:
        store: Whose tables are followed.
        pump: Gives turns.
    """

    def __init__(self, store: Store, pump: Pump) -> None:
        self._store = store
        self._pump = pump
        self._feeds: dict[str, _Feed] = {}
        self._started = False
        self._again: WorkQueue[tuple[int, str]] = WorkQueue(pump, "feeds", self._hand_again, name_of=lambda key: key[1])
        # (follower, its table and the object's key) → what it has failed over.
        self._missed: dict[tuple[int, str], tuple[Handler, ObjectTable, ObjectRecord]] = {}

    def follow(self, resource: Resource, changed: Handler | None = None, gone: Handler | None = None) -> None:
        """Have handlers called in the pump.

        Args:
            resource: What is followed.
            changed: Called with an object's newest record when it was created or changed.
            gone: Called with the tombstone when it was deleted.
        """
        feed = self._feeds.get(resource.group_resource)
        if feed is None:
            table = self._store.table(resource)

            def failed(handler: Handler, record: ObjectRecord) -> None:
                where = id(handler), f"{table.name} {record.key}"
                self._missed[where] = handler, table, record
                self._again.retry(where, "a follower failed over this change; the log has its traceback")

            feed = self._feeds[resource.group_resource] = _Feed(self._pump, resource, table, failed)
            if self._started:
                feed.start()
        if changed is not None:
            feed.changed.append(changed)
        if gone is not None:
            feed.gone.append(gone)

    def start(self) -> None:
        """Hand out what is there, then what changes; what is followed later is handed out at once."""
        self._started = True
        for feed in self._feeds.values():
            feed.start()

    def _hand_again(self, where: tuple[int, str], budget: int) -> int:
        """Hand an object to a follower that has failed over it: as it is now, or its tombstone."""
        _ = budget
        handler, table, record = self._missed[where]
        if type(record) is not Tombstone:
            current = table.get(record.key)
            if current is None:
                # Its deletion was handed out.
                del self._missed[where]
                return 1
            record = current
        handler(record)
        del self._missed[where]
        return 1
