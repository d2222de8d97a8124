"""Tables: the newest record of each key, the log of all, secondary indexes, and views in key order on demand.

A write is one dictionary store and one list append. Older versions hang on the newest by `prev`: a reader at
revision R takes the newest record with a revision of at most R. It needs no lock, and a write under way is
invisible to it because its revision is larger.
"""

import weakref
from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from kubedyno.statedb.errors import ExpiredError
from kubedyno.statedb.initializers import Initializers
from kubedyno.statedb.log import Log
from kubedyno.statedb.postings import Postings, scan
from kubedyno.statedb.records import History, Index, Record, Tombstone
from kubedyno.statedb.view import View
from kubedyno.statedb.watch import Registry, Watch

if TYPE_CHECKING:
    from kubedyno.statedb.changes import Changes
    from kubedyno.statedb.db import DB
    from kubedyno.statedb.txn import WriteTxn

T = TypeVar("T")

_MAKING = Lock()
# Versions of one key that a read in the past walks at most: under a millisecond. Beyond it the snapshot expires.
MAX_STEPS = 16_384


class Table(Generic[T]):
    """A table; made by `DB.table`, written through `DB.write`.

    The methods here read the newest versions, an open transaction's own included: they are for the thread that
    also writes. Other threads, and whoever wants several answers of one state, take a `Snapshot`.
    """

    __slots__ = (
        "__weakref__",
        "_count",
        "_cursors",
        "_expired",
        "_floor",
        "_grave_floor",
        "_graves",
        "_swept",
        "_txn",
        "_view",
        "_watches",
        "by_name",
        "db",
        "head",
        "history",
        "initializers",
        "log",
        "name",
        "overwritten",
        "postings",
        "primary_key",
        "revision",
        "subscribers",
    )  # fmt: skip

    def __init__(
        self,
        db: "DB",
        name: str,
        primary_key: Callable[[T], str],
        indexes: Sequence[Index[T]] = (),
        history: History[T] | None = None,
    ) -> None:
        self.db = db
        self.name = name
        self.primary_key = primary_key
        self.history = history
        # Key → newest record: uncommitted ones and tombstones among them.
        self.head: dict[str, Record[T]] = {}
        self.log = Log()
        self.postings = tuple(Postings(index) for index in indexes)
        self.by_name = {postings.name: postings for postings in self.postings}
        if len(self.by_name) != len(self.postings):
            raise ValueError(f"table {name}: two indexes of one name")
        # Of the last commit that wrote the table.
        self.revision = db.revision
        # Called after each commit that wrote the table.
        self.subscribers: list[Callable[[], None]] = []
        self._count = 0
        self._txn: WriteTxn | None = None
        # Keys that the open transaction has written more than once → their committed record, if any.
        self.overwritten: dict[str, Record[T] | None] = {}
        self._view: View | None = None
        self._watches: Registry | None = None
        self.initializers = Initializers()
        # Compaction: swept up to here; superseded versions up to here, and tombstones up to here, are gone;
        # snapshots older than this were overtaken.
        self._swept = self._floor = self._grave_floor = self._expired = db.revision
        self._graves: deque[Record[T]] = deque()
        self._cursors: dict[int, weakref.ref[Changes[T]]] = {}

    def __del__(self) -> None:
        # Also when __init__ raised before there was a log.
        if (log := getattr(self, "log", None)) is not None:
            log.destroy()

    # --- reads of the newest versions ----------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """How many live records there are."""
        return self._count

    def get(self, key: str) -> Record[T] | None:
        """Return the record of a key, None when there is none or it was deleted. O(1)."""
        record = self.head.get(key)
        return None if record is None or type(record) is Tombstone else record

    def scan(
        self,
        name: str,
        lo: str = "",
        hi: str | None = None,
        limit: int | None = None,
        *,
        reverse: bool = False,
        after: tuple[str, str] | None = None,
    ) -> list[tuple[str, Record[T]]]:
        """Return (index key, live record) with lo ≤ index key < hi; see `Snapshot.scan`."""
        head = self.head
        return scan(self.by_name[name], head.get, lo, hi, limit, reverse=reverse, after=after)

    def by_index(self, name: str, index_key: str) -> list[Record[T]]:
        """Return the live records with that index key, in key order. O(result)."""
        head = self.head
        return [head[key] for key in self.by_name[name].at_head(index_key)]

    def index_count(self, name: str, index_key: str) -> int:
        """Return how many live records have that index key. O(1)."""
        entry = self.by_name[name].post.get(index_key)
        return 0 if entry is None else 1 if type(entry) is str else len(entry)

    def all(self) -> list[Record[T]]:
        """Return all live records in key order."""
        return self.newest_view().all()

    def prefix(self, prefix: str) -> list[Record[T]]:
        """Return the live records whose key starts with `prefix`, in key order."""
        return self.newest_view().prefix(prefix)

    def range(
        self, lo: str, hi: str | None = None, limit: int | None = None, *, reverse: bool = False
    ) -> list[Record[T]]:
        """Return live records with lo ≤ key < hi in key order, or in reverse, at most `limit`."""
        return self.newest_view().range(lo, hi, limit, reverse=reverse)

    def newest_view(self) -> View:
        """Return the view of the newest versions. O(changes since the last ordered read)."""
        txn = self._txn
        return self.view_at(self.revision if txn is None else txn.revision)

    # --- following ---------------------------------------------------------------------------------------------

    @property
    def floor(self) -> int:
        """Revision after which every change is known, each record with its `prev`."""
        return self._swept

    def changes(self, since: int = 0) -> "Changes[T]":
        """Open a cursor over what changes after a revision; needs no lock and may be resumed by its number."""
        from kubedyno.statedb.changes import Changes  # noqa: PLC0415 - the two know each other

        return Changes(self, since)

    def subscribe(self, call: Callable[[], None]) -> Callable[[], None]:
        """Have `call` called after each commit that wrote the table; returns what ends that.

        It runs in the writer's call, when the commit is visible, and must only note that there is news.
        """
        # A copy each time: a commit may be walking the old list.
        self.subscribers = [*self.subscribers, call]

        def unsubscribe() -> None:
            self.subscribers = [other for other in self.subscribers if other is not call]

        return unsubscribe

    def watch(
        self, *, key: str | None = None, prefix: str | None = None, index: tuple[str, str] | None = None, since: int
    ) -> Watch:
        """Return a channel that closes when a key, a prefix, an index key or (none given) the table changes.

        Args:
            since: Revision of the state that the caller has seen; what changed after it closes the watch at once.
        """
        registry = self._watches
        if registry is None:
            # Never the database's lock: a reader does not wait for a writer.
            with _MAKING:
                registry = self._watches = self._watches or Registry()
        if key is not None:
            watch = registry.key(key)
        elif prefix is not None:
            watch = registry.prefix(prefix)
        elif index is not None:
            watch = registry.index(*index)
        else:
            watch = registry.whole()
        # Registered first, then looked: a commit between is seen by one of the two.
        revision = self.revision
        if revision > since:
            missed = since < self._floor or (key is None and prefix is None and index is None)
            for record in () if missed else self.log.between(since, revision):
                # An index key may have been left by any change: such a watch may close without need, never too late.
                if record.key == key or index or (prefix is not None and record.key.startswith(prefix)):
                    missed = True
                    break
            if missed:
                return Watch(closed=True)
        return watch

    @property
    def initialized(self) -> bool:
        """True when no initializer is pending: the table holds all that it should hold at first."""
        return not self.initializers.pending

    def initializer(self, name: str) -> Callable[[], None]:
        """Say that the table is incomplete until the returned function is called (after the commit that completes it).

        Raises:
            ValueError: One of that name is pending.
        """
        return self.initializers.begin(self, name)

    # --- reads at a revision -------------------------------------------------------------------------------------

    def at(self, revision: int, key: str) -> Record[T] | None:
        """Return the record of a key as of a revision, None when it was not there. O(versions since).

        Raises:
            ExpiredError: That far back is not kept.
        """
        found: Record[T] | None = None
        while True:
            newest = record = self.head.get(key)
            if record is not None and record.revision > revision:
                record = self._older(record, revision)
            if record is not None:
                found = None if type(record) is Tombstone else record
                break
            # An abort under way cuts the chains that it takes back, but puts the head right before.
            if newest is None or self.head.get(key) is newest:
                break
        if revision < self._expired:
            self.expired(revision)
        return found

    def _older(self, record: Record[T] | None, revision: int) -> Record[T] | None:
        committed, steps = self.db.revision, 0
        if record is not None and record.revision > committed:
            # A transaction that writes one key over and over: no walk through all that.
            record = self.overwritten.get(record.key, record)
        while record is not None and record.revision > revision:
            if record.revision <= committed:
                steps += 1
                if steps > MAX_STEPS:
                    self.expired(revision)
            record = record.prev
        return record

    def superseded(self, since: int) -> int:
        """Return how many versions after a revision are kept that are not the newest of a live object. O(segments)."""
        log = self.log
        kept = sum(len(s.records) - s.dead for s in log.segments if not s.records or s.records[-1].revision > since)
        return min(max(len(log) - self._count, 0), kept)

    @property
    def graveyard(self) -> int:
        """How many tombstones are kept for cursors and readers."""
        return len(self._graves)

    @property
    def trackers(self) -> int:
        """How many cursors are open."""
        return len(self._cursors)

    def low_watermark(self) -> int:
        """Return the revision that every open cursor has passed."""
        cursors = [cursor for reference in list(self._cursors.values()) if (cursor := reference()) is not None]
        return min((max(cursor.revision, cursor.born) for cursor in cursors), default=self.revision)

    def expired(self, revision: int) -> NoReturn:
        raise ExpiredError(f"table {self.name}: revision {revision} is older than the history that is kept")

    def view_at(self, revision: int) -> View:
        """Return the records in key order as of a revision. O(changes between it and the last ordered read).

        Raises:
            ExpiredError: That far back is not kept.
        """
        committed = self.revision
        own = revision > committed and self._txn is not None
        target = revision if own else min(revision, committed)
        view = self._view
        if view is None or view.revision < self._grave_floor:
            view = self._build(target)
        elif target > view.revision:
            changed: dict[str, Record[T] | None] = {}
            for record in self.log.between(view.revision, target):
                changed[record.key] = None if type(record) is Tombstone else record
            if view.revision < self._grave_floor or len(changed) * 3 > view.count + 1000:
                view = self._build(target)
            elif changed:
                view = view.patched(target, changed)
        elif target < view.revision:
            keys = {record.key: None for record in self.log.between(target, view.revision)}
            view = view.patched(target, {key: self.at(target, key) for key in keys})
        current = self._view
        if not own and (current is None or current.revision < view.revision):
            self._view = view
        if target < self._expired:
            self.expired(revision)
        return view

    def _build(self, revision: int) -> View:
        found = []
        for record in list(self.head.values()):
            if record.revision > revision:
                older = self.at(revision, record.key)
                if older is not None:
                    found.append(older)
            elif type(record) is not Tombstone:
                found.append(record)
        return View.of(revision, found)


AnyTable = Table[Any]
