"""The database: tables, write transactions over several of them, snapshots, and one revision for all.

One writer at a time; readers take no lock. Every effective write takes the next revision, so the order of revisions
is the order of commits over all tables (Kubernetes' resourceVersion). A commit is published by one attribute store.
"""

import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from threading import RLock
from types import TracebackType
from typing import NoReturn, Self, TypeVar

from kubedyno.base.clock import SYSTEM_CLOCK, Clock
from kubedyno.statedb.errors import (
    ObjectNotFoundError,
    RevisionNotEqualError,
    TableNotLockedError,
    TransactionClosedError,
    TransactionOpenError,
)
from kubedyno.statedb.records import History, Index, Record, Tombstone
from kubedyno.statedb.snapshot import Pin, Snapshot
from kubedyno.statedb.table import AnyTable, Table
from kubedyno.statedb.watch import Watch, close_all

T = TypeVar("T")

# After so many writes a commit compacts for at most so many records: half a millisecond at worst, and twice as
# fast as garbage can come.
COMPACT_EVERY_WRITES = 1024
COMPACT_RECORDS = 2048
# Resolution of a history's seconds.
MARK_EVERY_S = 1.0


class DB:
    """A database.

    Args:
        clock: For the age of history and of snapshots.
        revision: Where to start counting.
    """

    def __init__(self, clock: Clock = SYSTEM_CLOCK, revision: int = 0) -> None:
        self.clock = clock
        # Of the last commit. Its store is what makes a commit visible.
        self.revision = revision
        self.tables: dict[str, AnyTable] = {}
        self.lock = RLock()
        self._txn: WriteTxn | None = None
        self._pins: dict[int, Pin] = {}
        self._writes = 0
        # (monotonic seconds, revision reached by then), oldest first.
        self._marks: deque[tuple[float, int]] = deque()
        self._turn = 0

    def table(
        self,
        name: str,
        primary_key: Callable[[T], str],
        indexes: Sequence[Index[T]] = (),
        history: History[T] | None = None,
    ) -> Table[T]:
        """Add a table.

        Args:
            primary_key: Object → its key.
            indexes: Secondary indexes.
            history: What to keep for cursors that want every version; None keeps what open readers need.

        Raises:
            ValueError: The name is taken, or two indexes have one name.
        """
        with self.lock:
            if name in self.tables:
                raise ValueError(f"table {name} exists")
            table = self.tables[name] = Table(self, name, primary_key, indexes, history)
        return table

    def read(self) -> Snapshot:
        """Return a snapshot of the last commit. O(1), never waits; holds back compaction while it lives."""
        return Snapshot(self)

    def write(self, *tables: AnyTable) -> "WriteTxn":
        """Begin a write transaction over those tables; waits while another thread has one.

        Raises:
            TransactionOpenError: This thread has one open already.
        """
        return WriteTxn(self, tables)

    def put(self, table: Table[T], obj: T) -> Record[T]:
        """Insert one object in a transaction of its own."""
        with WriteTxn(self, (table,)) as txn:
            return txn.insert(table, obj)

    def remove(self, table: Table[T], key: str) -> Record[T] | None:
        """Delete one object in a transaction of its own; returns its tombstone, None when it was not there."""
        with WriteTxn(self, (table,)) as txn:
            return txn.delete(table, key)

    def compact(self, max_items: int = COMPACT_RECORDS) -> bool:
        """Give up what no reader and no history needs, a slice at a time; True when more is left.

        Commits do it by the way; an idle database with a history in seconds wants a call now and then.
        """
        with self.lock:
            if self._txn is not None:
                return False
            self._writes = 0
            by_age = self._mark()
            # The revision first, then the pins: see Snapshot.
            pinned = self.revision
            pinned = min((pin.revision for pin in list(self._pins.values())), default=pinned)
            tables = list(self.tables.values())
            left = max_items
            for _ in tables:
                self._turn = (self._turn + 1) % len(tables)
                table = tables[self._turn]
                left -= table.compact(left, pinned, self._too_old(table, by_age))
                if left <= 0:
                    return True
        return False

    def _mark(self) -> float:
        now_s, marks = self.clock.monotonic(), self._marks
        if not marks or now_s - marks[-1][0] >= MARK_EVERY_S:
            marks.append((now_s, self.revision))
        return now_s

    def _too_old(self, table: AnyTable, now_s: float) -> int:
        if table.history is None or table.history.seconds is None:
            return 0
        marks, limit_s = self._marks, now_s - table.history.seconds
        longest_s = max(
            (t.history.seconds for t in self.tables.values() if t.history is not None and t.history.seconds), default=0
        )
        while len(marks) > 1 and marks[1][0] <= now_s - longest_s:
            marks.popleft()
        revision = 0
        for at_s, reached in marks:
            if at_s > limit_s:
                break
            revision = reached
        return revision

    def oldest_snapshot(self) -> tuple[float, int] | None:
        """Return the age in seconds of the oldest snapshot in use and its revision; None when there is none."""
        pins = [pin for pin in list(self._pins.values()) if pin.revision]
        if not pins:
            return None
        oldest = min(pins, key=lambda pin: pin.opened_s)
        return self.clock.monotonic() - oldest.opened_s, oldest.revision

    def _unpin(self, pin: weakref.ref[Snapshot]) -> None:
        self._pins.pop(id(pin), None)


class WriteTxn:
    """A write transaction: reads its own writes, commits whole or not at all.

    As a context manager it commits at the end and aborts on an exception. `abort` after `commit` does nothing.
    """

    __slots__ = ("_db", "_starts", "revision")

    def __init__(self, db: DB, tables: Sequence[AnyTable]) -> None:
        db.lock.acquire()
        if db._txn is not None:
            db.lock.release()
            raise TransactionOpenError("this thread has a write transaction open: they do not nest")
        db._txn = self
        self._db = db
        # Of the last write.
        self.revision = db.revision
        if len(tables) > 1:
            tables = tuple(dict.fromkeys(tables))
        starts = []
        for table in tables:
            table._txn = self
            starts.append((table, len(table.log.tail), table._count))
        self._starts = starts

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._db._txn is self:
            if kind is None:
                self._publish(snapshot=False)
            else:
                self.abort()

    def _refuse(self, table: AnyTable) -> NoReturn:
        if self._db._txn is not self:
            raise TransactionClosedError("the transaction was committed or aborted")
        raise TableNotLockedError(f"table {table.name} is not part of the transaction")

    # --- reads: the transaction's own writes included ---------------------------------------------------------------

    def get(self, table: Table[T], key: str) -> Record[T] | None:
        """Return a key's record."""
        return table.get(key)

    def all(self, table: Table[T]) -> list[Record[T]]:
        """Return all records in key order."""
        return table.newest_view().all()

    def prefix(self, table: Table[T], prefix: str) -> list[Record[T]]:
        """Return the records whose key starts with `prefix`, in key order."""
        return table.newest_view().prefix(prefix)

    def by_index(self, table: Table[T], name: str, index_key: str) -> list[Record[T]]:
        """Return the records with that index key, in key order."""
        return table.by_index(name, index_key)

    # --- writes ----------------------------------------------------------------------------------------------------

    def insert(self, table: Table[T], obj: T) -> Record[T]:
        """Insert or replace an object; returns its record, whose `prev` is the old one, a tombstone, or None.

        Raises:
            UniqueIndexError: A unique secondary key is taken; nothing was written, the transaction goes on.
            TypeError: The primary key is not text.
        """
        if table._txn is not self:
            self._refuse(table)
        key = table.primary_key(obj)
        if type(key) is not str:
            raise TypeError(f"table {table.name}: key {key!r} is not a str")
        head = table.head
        prev = head.get(key)
        revision = self.revision + 1
        if table.postings:
            table.move(key, obj, prev, revision)
        self.revision = revision
        record = Record(key, obj, revision, prev)
        head[key] = record
        table.log.tail.append(record)
        if prev is None or type(prev) is Tombstone:
            table._count += 1
        return record

    def insert_many(self, table: Table[T], objs: Iterable[T]) -> list[Record[T]]:
        """Insert or replace objects in order; the same as a loop of `insert`, faster without secondary indexes."""
        objs = list(objs)
        if table._txn is not self:
            self._refuse(table)
        keys = list(map(table.primary_key, objs))
        if table.postings or len(set(keys)) != len(keys) or not all(type(key) is str for key in keys):
            return [self.insert(table, obj) for obj in objs]
        head = table.head
        prevs = list(map(head.get, keys))
        first = self.revision + 1
        self.revision += len(keys)
        records = list(map(Record, keys, objs, range(first, first + len(keys)), prevs))
        head.update(zip(keys, records, strict=True))
        table.log.tail.extend(records)
        table._count += sum(prev is None or type(prev) is Tombstone for prev in prevs)
        return records

    def modify(self, table: Table[T], key: str, change: Callable[[T | None], T]) -> Record[T]:
        """Insert what `change` makes of the object, or of None when there is none."""
        current = table.get(key)
        return self.insert(table, change(None if current is None else current.obj))

    def delete(self, table: Table[T], key: str) -> Record[T] | None:
        """Delete by key; returns the tombstone, None when there is nothing (no revision is taken then)."""
        if table._txn is not self:
            self._refuse(table)
        prev = table.head.get(key)
        if prev is None or type(prev) is Tombstone:
            return None
        self.revision = revision = self.revision + 1
        record: Record[T] = Tombstone(key, prev.obj, revision, prev)
        for postings in table.postings:
            for index_key in postings.keys(prev.obj):
                postings.leave(index_key, key, revision)
        table.head[key] = record
        table.log.tail.append(record)
        table._count -= 1
        return record

    def compare_and_swap(self, table: Table[T], revision: int, obj: T) -> Record[T]:
        """Replace an object if its revision is still that one.

        Raises:
            ObjectNotFoundError: It is not there.
            RevisionNotEqualError: It has changed.
        """
        key = table.primary_key(obj)
        current = table.get(key)
        if current is None:
            raise ObjectNotFoundError(f"table {table.name}: {key!r} is not there")
        if current.revision != revision:
            raise RevisionNotEqualError(f"table {table.name}: {key!r} is at {current.revision}, not {revision}")
        return self.insert(table, obj)

    def compare_and_delete(self, table: Table[T], revision: int, key: str) -> Record[T] | None:
        """Delete an object if its revision is still that one; an absent one is no error.

        Raises:
            RevisionNotEqualError: It has changed.
        """
        current = table.get(key)
        if current is not None and current.revision != revision:
            raise RevisionNotEqualError(f"table {table.name}: {key!r} is at {current.revision}, not {revision}")
        return self.delete(table, key)

    # --- end -------------------------------------------------------------------------------------------------------

    def commit(self) -> Snapshot:
        """Publish the writes and return a snapshot of exactly that state; then tell who follows the tables.

        Raises:
            TransactionClosedError: It was committed or aborted.
        """
        if self._db._txn is not self:
            raise TransactionClosedError("the transaction was committed or aborted")
        snapshot = self._publish(snapshot=True)
        assert snapshot is not None
        return snapshot

    def abort(self) -> None:
        """Take the writes back; does nothing after commit or abort."""
        db = self._db
        if db._txn is not self:
            return
        for table, length, count in self._starts:
            table.undo(length, count, db.revision)
            table._txn = None
        db._txn = None
        db.lock.release()

    def _publish(self, *, snapshot: bool) -> Snapshot | None:
        db = self._db
        written = []
        for table, length, _ in self._starts:
            table._txn = None
            tail = table.log.tail
            if len(tail) > length:
                table.revision = tail[-1].revision
                written.append((table, tail, length))
        db._txn = None
        db._writes += self.revision - db.revision
        db.revision = self.revision
        taken = Snapshot(db) if snapshot else None
        watches: list[Watch] = []
        for table, tail, length in written:
            if table._watches is not None:
                watches += table._watches.take(tail[length:], table.postings)
        if db._writes >= COMPACT_EVERY_WRITES:
            db.compact(COMPACT_RECORDS)
        db.lock.release()
        if watches:
            close_all(watches)
        for table, _, _ in written:
            for call in table.subscribers:
                call()
        return taken
