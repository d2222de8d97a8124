"""The database: tables, transactions over several of them, snapshots, and one revision for all.

One writer at a time; readers take no lock. Every effective write takes the next revision, so the order of
revisions is the order of commits over all tables (Kubernetes' resourceVersion).
"""

import weakref
from collections.abc import Callable, Sequence
from threading import RLock
from types import TracebackType
from typing import Generic, Self, TypeVar

from kubedyno.base.clock import SYSTEM_CLOCK, Clock
from kubedyno.statedb.errors import (
    ObjectNotFoundError,
    RevisionNotEqualError,
    TableNotLockedError,
    TransactionClosedError,
)
from kubedyno.statedb.table import AnyTable, History, Index, Record, Table, Tombstone

T = TypeVar("T")

# Records that a commit drops from old history at most: bounds its pause.
COMPACT_PER_COMMIT = 4


class DB:
    """A database.

    Args:
        clock: Stamps records, for the age of history.
        revision: Where to start counting.
    """

    def __init__(self, clock: Clock = SYSTEM_CLOCK, revision: int = 0) -> None:
        self.clock = clock
        self.revision = revision
        self.tables: dict[str, AnyTable] = {}
        self._lock = RLock()
        self._snapshots: weakref.WeakSet[Snapshot] = weakref.WeakSet()

    def table(
        self,
        name: str,
        primary_key: Callable[[T], str],
        indexes: Sequence[Index[T]] = (),
        history: History | None = None,
    ) -> Table[T]:
        """Add a table.

        Raises:
            ValueError: The name is taken.
        """
        if name in self.tables:
            raise ValueError(f"table {name} exists")
        table = Table(name, primary_key, indexes, history or History())
        table.floor = table.revision = self.revision
        self.tables[name] = table
        return table

    def read(self) -> "Snapshot":
        """Return a snapshot of the last commit. O(1); keeps the history that it needs while it lives."""
        snapshot = Snapshot(self, self.revision)
        self._snapshots.add(snapshot)
        return snapshot

    def write(self, *tables: AnyTable) -> "WriteTxn":
        """Begin a write transaction over those tables; blocks while another one is open."""
        return WriteTxn(self, tables)

    def put(self, table: Table[T], obj: T) -> Record[T]:
        """Insert one object in a transaction of its own: the fast path."""
        with self._lock:
            revision = self.revision + 1
            record = table.insert(obj, revision, self.clock.monotonic())
            self.revision = revision
            self._compact(table)
        for call in table.subscribers:
            call()
        return record

    def remove(self, table: Table[T], key: str) -> Record[T] | None:
        """Delete one object in a transaction of its own; returns its tombstone, None when it was not there."""
        with self._lock:
            revision = self.revision + 1
            record = table.delete(key, revision, self.clock.monotonic())
            if record is None:
                return None
            self.revision = revision
            self._compact(table)
        for call in table.subscribers:
            call()
        return record

    def subscribe(self, table: AnyTable, call: Callable[[], None]) -> Callable[[], None]:
        """Have `call` called after each commit that wrote the table; returns what ends that.

        It runs inside the writer's call and must only note that there is news.
        """
        table.subscribers.append(call)

        def unsubscribe() -> None:
            if call in table.subscribers:
                table.subscribers.remove(call)

        return unsubscribe

    def compact(self, limit: int = 1000) -> bool:
        """Drop old history of all tables, at most `limit` records of each; True when more is left."""
        more = False
        with self._lock:
            now_s, needed = self.clock.monotonic(), self._oldest_needed()
            for table in self.tables.values():
                more = table.compact(limit, needed, now_s) or more
        return more

    def _compact(self, table: AnyTable) -> None:
        log = table.log
        if len(log) - table.start > table.history.records or (
            len(log) > table.start and (log[table.start].created_s < self.clock.monotonic() - table.history.seconds)
        ):
            table.compact(COMPACT_PER_COMMIT, self._oldest_needed(), self.clock.monotonic())

    def _oldest_needed(self) -> int:
        return min((snapshot.revision for snapshot in self._snapshots), default=self.revision)

    @property
    def lock(self) -> RLock:  # type: ignore[valid-type]
        return self._lock


class Snapshot:
    """The database as of one commit. Answers never change while it lives (or it raises `ExpiredError`)."""

    __slots__ = ("__weakref__", "_db", "revision")

    def __init__(self, db: DB, revision: int) -> None:
        self._db = db
        self.revision = revision

    def get(self, table: Table[T], key: str) -> Record[T] | None:
        """Return a key's record as of this snapshot."""
        return table.at(self.revision, key)

    def all(self, table: Table[T]) -> list[Record[T]]:
        """Return all records in key order."""
        return self._visible(table, table._order())

    def prefix(self, table: Table[T], prefix: str) -> list[Record[T]]:
        """Return the records whose key starts with `prefix`, in key order."""
        from kubedyno.statedb.table import _prefix_end, bisect_left  # noqa: PLC0415

        keys = table._order()
        return self._visible(table, keys[bisect_left(keys, prefix) : _prefix_end(keys, prefix)])

    def range(
        self, table: Table[T], lo: str, hi: str | None = None, limit: int | None = None, *, reverse: bool = False
    ) -> list[Record[T]]:
        """Return records with lo ≤ key < hi in key order, or in reverse, at most `limit`."""
        from kubedyno.statedb.table import bisect_left  # noqa: PLC0415

        keys = table._order()
        chosen = keys[bisect_left(keys, lo) : len(keys) if hi is None else bisect_left(keys, hi)]
        if reverse:
            chosen.reverse()
        if limit is None:
            return self._visible(table, chosen)
        found: list[Record[T]] = []
        for key in chosen:
            record = table.at(self.revision, key)
            if record is not None:
                found.append(record)
                if len(found) == limit:
                    break
        return found

    def by_index(self, table: Table[T], name: str, index_key: str) -> list[Record[T]]:
        """Return the records that had the index key then, in key order. O(result + changes since)."""
        postings = table.by_name[name]
        candidates = set(postings.post.get(index_key, ()))
        if table.revision > self.revision:
            candidates.update(record.key for record in table.log[table.changed_after(self.revision) :])
        found = []
        for key in sorted(candidates):
            record = table.at(self.revision, key)
            if record is not None and index_key in postings.keys(record.obj):
                found.append(record)
        return found

    def count(self, table: AnyTable) -> int:
        """Return how many records there are."""
        return table.count if table.revision <= self.revision else len(self.all(table))

    def _visible(self, table: Table[T], keys: Sequence[str]) -> list[Record[T]]:
        if table.revision <= self.revision:
            return table._live(keys)
        revision = self.revision
        if revision < table.floor:
            table.changed_after(revision)
        head, found = table.head, []
        for key in keys:
            record = head.get(key)
            while record is not None and record.revision > revision:
                record = record.prev
            if record is not None and type(record) is not Tombstone:
                found.append(record)
        return found


class WriteTxn:
    """A write transaction: reads its own writes, commits whole or not at all.

    As a context manager it commits at the end and aborts on an exception. `abort` after `commit` does nothing.
    """

    __slots__ = ("_closed", "_db", "_revision", "_start", "_tables")

    def __init__(self, db: DB, tables: Sequence[AnyTable]) -> None:
        db.lock.acquire()
        self._db = db
        self._tables = tables
        self._start = [(len(table.log), table.revision) for table in tables]
        self._revision = db.revision
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
        else:
            self.abort()

    def _check(self, table: AnyTable) -> None:
        if self._closed:
            raise TransactionClosedError("the transaction was committed or aborted")
        if table not in self._tables:
            raise TableNotLockedError(f"table {table.name} is not part of the transaction")

    def get(self, table: Table[T], key: str) -> Record[T] | None:
        """Return a key's record, this transaction's own writes included."""
        return table.get(key)

    def insert(self, table: Table[T], obj: T) -> Record[T]:
        """Insert or replace an object; returns its record, `.prev` is the old one.

        Raises:
            UniqueIndexError: A unique secondary key is taken; nothing was written.
        """
        self._check(table)
        record = table.insert(obj, self._revision + 1, self._db.clock.monotonic())
        self._revision += 1
        return record

    def delete(self, table: Table[T], key: str) -> Record[T] | None:
        """Delete by key; returns the tombstone, None when there is nothing (no revision is taken then)."""
        self._check(table)
        record = table.delete(key, self._revision + 1, self._db.clock.monotonic())
        if record is not None:
            self._revision += 1
        return record

    def compare_and_swap(self, table: Table[T], revision: int, obj: T) -> Record[T]:
        """Replace an object if its revision is still that one.

        Raises:
            ObjectNotFoundError: It is not there.
            RevisionNotEqualError: It has changed.
        """
        current = table.get(table.primary_key(obj))
        if current is None:
            raise ObjectNotFoundError(f"table {table.name}: {table.primary_key(obj)!r}")
        if current.revision != revision:
            raise RevisionNotEqualError(f"table {table.name}: {current.key!r} is at {current.revision}, not {revision}")
        return self.insert(table, obj)

    def compare_and_delete(self, table: Table[T], revision: int, key: str) -> Record[T] | None:
        """Delete an object if its revision is still that one; an absent one is no error.

        Raises:
            RevisionNotEqualError: It has changed.
        """
        current = table.get(key)
        if current is None:
            return None
        if current.revision != revision:
            raise RevisionNotEqualError(f"table {table.name}: {key!r} is at {current.revision}, not {revision}")
        return self.delete(table, key)

    def commit(self) -> Snapshot:
        """Publish the writes and return a snapshot of exactly that state; then tell the tables' subscribers."""
        if self._closed:
            raise TransactionClosedError("the transaction was committed or aborted")
        self._closed = True
        db = self._db
        db.revision = self._revision
        snapshot = db.read()
        for table in self._tables:
            db._compact(table)
        db.lock.release()
        for table, (position, _) in zip(self._tables, self._start, strict=True):
            if len(table.log) > position or (table.log and table.log[-1].revision > self._start[0][1]):
                for call in table.subscribers:
                    call()
        return snapshot

    def abort(self) -> None:
        """Take the writes back; does nothing after commit or abort."""
        if self._closed:
            return
        self._closed = True
        for table, (position, revision) in zip(self._tables, self._start, strict=True):
            table.undo(position, revision)
        self._db.lock.release()


class Changes(Generic[T]):
    """A cursor over a table's changes; an integer, so it holds nothing and needs no lock to open.

    Args:
        table: What to follow.
        since: Revision after which changes are wanted; 0 means from the start: all live objects first.
    """

    __slots__ = ("_table", "revision")

    def __init__(self, table: Table[T], since: int) -> None:
        self._table = table
        self.revision = since

    def next(self, limit: int | None = None) -> list[Record[T]]:
        """Return the newest state of each key that changed, tombstones included, in revision order.

        What was created and deleted between two calls comes as its tombstone alone.

        Raises:
            ExpiredError: The cursor lies before the kept history.
        """
        records = self.next_full(limit)
        head = self._table.head
        return [record for record in records if head.get(record.key) is record]

    def next_full(self, limit: int | None = None) -> list[Record[T]]:
        """Return every change, one record each, in revision order.

        Raises:
            ExpiredError: The cursor lies before the kept history.
        """
        table = self._table
        if table.revision <= self.revision:
            return []
        position = table.changed_after(self.revision)
        records = table.log[position:] if limit is None else table.log[position : position + limit]
        if records:
            self.revision = records[-1].revision
        return records

    @property
    def behind(self) -> bool:
        """True when there is something new."""
        return self._table.revision > self.revision


def changes(table: Table[T], since: int) -> Changes[T]:
    """Open a cursor over the changes after a revision; see `Changes`."""
    return Changes(table, since)
