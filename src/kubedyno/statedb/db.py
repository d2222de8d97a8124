"""The database: tables, write transactions over several of them, snapshots, and one revision for all.

One writer at a time; readers take no lock. Every effective write takes the next revision, so the order of revisions
is the order of commits over all tables (Kubernetes' resourceVersion). A commit is published by one attribute store.
"""

import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import RLock
from typing import TypeVar

from kubedyno.base.clock import SYSTEM_CLOCK, Clock
from kubedyno.statedb.compaction import MAX_PINNED_RECORDS, compact
from kubedyno.statedb.metrics import Metrics
from kubedyno.statedb.records import History, Index, Record
from kubedyno.statedb.snapshot import Pin, Snapshot
from kubedyno.statedb.table import AnyTable, Table
from kubedyno.statedb.txn import COMPACT_RECORDS, WriteTxn

T = TypeVar("T")

# Resolution of a history's seconds.
MARK_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Reader:
    """A snapshot in use.

    Attributes:
        age_s: Since it was taken.
        revision: Of its state.
        pins: Superseded versions and tombstones newer than it, in all tables: what it may be keeping alive.
    """

    age_s: float
    revision: int
    pins: int


class DB:
    """A database.

    Args:
        clock: For the age of history and of snapshots.
        revision: Where to start counting.
        metrics: Where transactions report to; without it they cost nothing.
        max_pinned: Superseded versions that snapshots, and tombstones that cursors, may hold back in one table;
            beyond it they expire.
    """

    def __init__(
        self,
        clock: Clock = SYSTEM_CLOCK,
        revision: int = 0,
        metrics: Metrics | None = None,
        max_pinned: int = MAX_PINNED_RECORDS,
    ) -> None:
        self.clock = clock
        self.metrics = metrics
        self.max_pinned = max_pinned
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

    def write(self, *tables: AnyTable, handle: str = "") -> WriteTxn:
        """Begin a write transaction over those tables; waits while another thread has one.

        Args:
            tables: What may be written.
            handle: Who writes, for the metrics.

        Raises:
            TransactionOpenError: This thread has one open already.
        """
        return WriteTxn(self, tables, handle)

    def put(self, table: Table[T], obj: T) -> Record[T]:
        """Insert one object in a transaction of its own."""
        with WriteTxn(self, (table,)) as txn:
            return txn.insert(table, obj)

    def remove(self, table: Table[T], key: str) -> Record[T] | None:
        """Delete one object in a transaction of its own; returns its tombstone, None when it was not there."""
        with WriteTxn(self, (table,)) as txn:
            return txn.delete(table, key)

    def begin_at(self, revision: int) -> None:
        """Say that the tables hold all that is known of the time up to a revision, as after a restart.

        What changed before it cannot be asked for: cursors of readers that have seen less are expired.

        Raises:
            ValueError: It lies before what was written.
        """
        with self.lock:
            if revision < self.revision:
                raise ValueError(f"revision {revision} lies before {self.revision}")
            for table in self.tables.values():
                table.revision = revision
                table._swept = table._floor = table._grave_floor = table._expired = revision
            self.revision = revision

    def compact(self, max_items: int = COMPACT_RECORDS) -> bool:
        """Give up what no reader and no history needs, a slice at a time; True when more is left.

        Commits do it by the way; an idle database with a history in seconds wants a call now and then.
        """
        with self.lock:
            if self._txn is not None:
                return False
            if self.metrics is None:
                return self._compact(max_items)
            began_s = self.clock.monotonic()
            try:
                return self._compact(max_items)
            finally:
                self.metrics.cleaned(self.clock.monotonic() - began_s)

    def _compact(self, max_items: int) -> bool:
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
            left -= compact(table, left, pinned, self._too_old(table, by_age))
            if left <= 0:
                return True
        return False

    def _mark(self) -> float:
        now_s, marks = self.clock.monotonic(), self._marks
        if not marks or now_s - marks[-1][0] >= MARK_EVERY_S:
            marks.append((now_s, self.revision))
            longest_s = max(
                (t.history.seconds for t in self.tables.values() if t.history is not None and t.history.seconds),
                default=0,
            )
            while len(marks) > 1 and marks[1][0] <= now_s - longest_s:
                marks.popleft()
        return now_s

    def _too_old(self, table: AnyTable, now_s: float) -> int:
        if table.history is None or table.history.seconds is None:
            return 0
        limit_s = now_s - table.history.seconds
        revision = 0
        for at_s, reached in self._marks:
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

    def readers(self) -> list[Reader]:
        """Return the snapshots in use, the oldest first: who holds memory, and how much at most."""
        now_s = self.clock.monotonic()
        found = []
        for pin in sorted((pin for pin in list(self._pins.values()) if pin.revision), key=lambda pin: pin.opened_s):
            kept = sum(table.superseded(pin.revision) for table in self.tables.values())
            found.append(Reader(now_s - pin.opened_s, pin.revision, kept))
        return found

    def _unpin(self, pin: weakref.ref[Snapshot]) -> None:
        self._pins.pop(id(pin), None)
