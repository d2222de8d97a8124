"""Write transactions: one at a time, over the tables they name, whole or not at all."""

from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Self, TypeVar

from kubedyno.statedb.errors import (
    ObjectNotFoundError,
    RevisionNotEqualError,
    TableNotLockedError,
    TransactionClosedError,
    TransactionOpenError,
)
from kubedyno.statedb.metrics import Metrics
from kubedyno.statedb.records import Record, Tombstone
from kubedyno.statedb.snapshot import Snapshot
from kubedyno.statedb.table import AnyTable, Table
from kubedyno.statedb.watch import Watch, close_all
from kubedyno.statedb.writes import move, undo

if TYPE_CHECKING:
    from kubedyno.statedb.db import DB

T = TypeVar("T")

# After so many writes a commit compacts for at most so many records: a tenth of a millisecond, half of which is for
# looking at fifty tables, and twice as fast as garbage can come.
COMPACT_EVERY_WRITES = 256
COMPACT_RECORDS = 512


class WriteTxn:
    """A write transaction: reads its own writes, commits whole or not at all.

    As a context manager it commits at the end and aborts on an exception. `abort` after `commit` does nothing.
    """

    __slots__ = ("_began_s", "_db", "_handle", "_starts", "revision")

    def __init__(self, db: "DB", tables: Sequence[AnyTable], handle: str = "") -> None:
        metrics = db.metrics
        if metrics is None:
            db.lock.acquire()
        else:
            asked_s = db.clock.monotonic()
            db.lock.acquire()
            self._handle, self._began_s = handle, db.clock.monotonic()
            metrics.acquired(handle, tables, self._began_s - asked_s)
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

    def scan(
        self,
        table: Table[T],
        name: str,
        lo: str = "",
        hi: str | None = None,
        limit: int | None = None,
        *,
        reverse: bool = False,
        after: tuple[str, str] | None = None,
    ) -> list[tuple[str, Record[T]]]:
        """Return (index key, record) of a range of index keys; see `Snapshot.scan`."""
        return table.scan(name, lo, hi, limit, reverse=reverse, after=after)

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
            move(table, key, obj, prev, revision)
        self.revision = revision
        record = Record(key, obj, revision, prev)
        head[key] = record
        table.log.tail.append(record)
        if prev is None:
            table._count += 1
            return record
        if type(prev) is Tombstone:
            table._count += 1
        if prev.revision > self._db.revision and key not in table.overwritten:
            table.overwritten[key] = prev.prev
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

    def delete_many(self, table: Table[T], keys: Iterable[str]) -> int:
        """Delete by keys, in order; returns how many were there."""
        return sum(self.delete(table, key) is not None for key in keys)

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
        if prev.revision > self._db.revision and key not in table.overwritten:
            table.overwritten[key] = prev.prev
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

    # --- following an outside revision -------------------------------------------------------------------------------

    def apply(self, table: Table[T], revision: int, obj: T) -> Record[T]:
        """Insert or replace an object at a given revision: what another store has decided.

        Raises:
            ValueError: The revision is not above all before it.
        """
        before = self.revision
        self.advance(revision - 1)
        try:
            return self.insert(table, obj)
        except BaseException:
            self.revision = before
            raise

    def apply_delete(self, table: Table[T], revision: int, key: str) -> Record[T] | None:
        """Delete a key at a given revision, which is reached even when it was not there; see `apply`."""
        self.advance(revision - 1)
        grave = self.delete(table, key)
        self.revision = revision
        return grave

    def advance(self, revision: int) -> None:
        """Let the database's revision become at least that one, as a bookmark of an outside store says.

        Raises:
            ValueError: It lies before one already taken.
        """
        if self._db._txn is not self:
            raise TransactionClosedError("the transaction was committed or aborted")
        if revision < self.revision:
            raise ValueError(f"revision {revision + 1} is not above {self.revision}")
        self.revision = revision

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
            undo(table, length, count, db.revision)
            table._txn = None
            if table.overwritten:
                table.overwritten = {}
        db._txn = None
        if db.metrics is not None:
            self._report(db.metrics)
        db.lock.release()

    def _report(self, metrics: Metrics) -> None:
        now_s = self._db.clock.monotonic()
        metrics.released(self._handle, [table for table, _, _ in self._starts], now_s, now_s - self._began_s)

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
        for table, _, _ in written:
            if table.overwritten:
                table.overwritten = {}
        taken = Snapshot(db) if snapshot else None
        watches: list[Watch] = []
        for table, tail, length in written:
            registry = table._watches
            if registry is not None and (len(tail) - length > 1 or registry.broad or tail[-1].key in registry.exact):
                watches += registry.take(tail[length:], table.postings)
        if db._writes >= COMPACT_EVERY_WRITES:
            db.compact(COMPACT_RECORDS)
        if db.metrics is not None:
            self._report(db.metrics)
        db.lock.release()
        if watches:
            close_all(watches)
        for table, _, _ in written:
            for call in table.subscribers:
                call()
        return taken
