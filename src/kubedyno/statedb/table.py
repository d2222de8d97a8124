"""Tables: versioned records, one append-only log, secondary indexes, order on demand.

A write is one dictionary store and one list append. The newest record of a key hangs in `head`, older versions
hang on it by `prev`; the log holds every record of the kept history in revision order and serves as revision
index, change feed, graveyard and undo log at once. A reader at revision R takes the newest record with a
revision of at most R: it needs no lock, and a write under way is invisible to it because its revision is larger.

Compaction walks the log from its old end, a few records a call. A record that leaves the log cuts its `prev`, so
version chains never grow beyond the history and are always freed one link at a time: freeing a chain of more than
about 100,000 links at once would overflow the C stack of CPython.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Generic, TypeVar

import msgspec

from kubedyno.statedb.errors import ExpiredError, UniqueIndexError

T = TypeVar("T")

# Records that a table's history may hold whatever their age: bounds memory and the length of version chains.
MAX_HISTORY_RECORDS = 60_000
DEFAULT_HISTORY_S = 300.0

_revision = attrgetter("revision")


class Record(msgspec.Struct, Generic[T], gc=False):
    """One version of an object; never changed after its transaction committed, except that `prev` is cut."""

    key: str
    obj: T
    revision: int
    prev: "Record[T] | None"
    created_s: float


class Tombstone(Record[T], Generic[T], gc=False):
    """The version that says "deleted"; `obj` is the last live object."""


@dataclass(frozen=True, slots=True)
class Index(Generic[T]):
    """A secondary index.

    Attributes:
        name: Unique in its table.
        keys: Object → its keys in this index: none (partial), one or many. Must depend on the object alone.
        unique: Two live objects must never share a key.
    """

    name: str
    keys: Callable[[T], Iterable[str]]
    unique: bool = False


@dataclass(frozen=True, slots=True)
class History:
    """How much of the past a table keeps for cursors and snapshots."""

    seconds: float = DEFAULT_HISTORY_S
    records: int = MAX_HISTORY_RECORDS

    def __post_init__(self) -> None:
        if not 0 < self.records <= MAX_HISTORY_RECORDS:
            raise ValueError(f"history of {self.records} records: must be between 1 and {MAX_HISTORY_RECORDS}")


class _Postings(Generic[T]):
    """One secondary index at head: index key → primary keys, in insertion order."""

    __slots__ = ("index", "keys", "post")

    def __init__(self, index: Index[T]) -> None:
        self.index = index
        self.keys = index.keys
        self.post: dict[str, dict[str, None]] = {}


class Table(Generic[T]):
    """A table; made by `DB.table`, written through `DB.write` or `DB.put`.

    The attributes' order matters when a table is dropped: `head` must go before `log`, so that chains are freed
    along the log, one link at a time.
    """

    __slots__ = (
        "_ghosts",
        "_sorted",
        "_unsorted",
        "by_name",
        "count",
        "floor",
        "head",
        "history",
        "log",
        "name",
        "postings",
        "primary_key",
        "revision",
        "start",
        "subscribers",
    )  # fmt: skip

    def __init__(
        self, name: str, primary_key: Callable[[T], str], indexes: Sequence[Index[T]], history: History
    ) -> None:
        self.name = name
        self.primary_key = primary_key
        self.history = history
        self.head: dict[str, Record[T]] = {}
        self.log: list[Record[T]] = []
        # Position of the oldest record still kept: the dead front of `log` is dropped in large pieces.
        self.start = 0
        self.postings = tuple(_Postings(index) for index in indexes)
        self.by_name = {postings.index.name: postings for postings in self.postings}
        if len(self.by_name) != len(self.postings):
            raise ValueError(f"table {name}: two indexes of one name")
        self.count = 0
        self.revision = 0
        # Changes at or before this revision are no longer known.
        self.floor = 0
        self.subscribers: list[Callable[[], None]] = []
        self._sorted: list[str] = []
        self._unsorted: list[str] = []
        self._ghosts = 0

    # --- reads at head ---------------------------------------------------------------------------------------

    def get(self, key: str) -> Record[T] | None:
        """Return the newest record of a key, None when there is none or it was deleted. O(1)."""
        record = self.head.get(key)
        return None if record is None or type(record) is Tombstone else record

    def by_index(self, name: str, key: str) -> list[Record[T]]:
        """Return the live records with that index key, in key order. O(result)."""
        keys = self.by_name[name].post.get(key)
        if not keys:
            return []
        head = self.head
        return [head[k] for k in sorted(keys)]

    def changes(self, since: int = 0) -> "Changes[T]":
        """Open a cursor over what changes after a revision."""
        from kubedyno.statedb.db import Changes  # noqa: PLC0415

        return Changes(self, since)

    def subscribe(self, call: Callable[[], None]) -> Callable[[], None]:
        """Have `call` called after each commit that wrote the table; returns what ends that."""
        self.subscribers.append(call)
        return lambda: self.subscribers.remove(call)

    def index_count(self, name: str, key: str) -> int:
        """Return how many live records have that index key. O(1)."""
        return len(self.by_name[name].post.get(key, ()))

    def all(self) -> list[Record[T]]:
        """Return all live records in key order. O(n), plus a sort of what is new since the last ordered read."""
        head = self.head
        return [r for r in map(head.get, self._order()) if r is not None and type(r) is not Tombstone]

    def prefix(self, prefix: str) -> list[Record[T]]:
        """Return the live records whose key starts with `prefix`, in key order."""
        keys = self._order()
        return self._live(keys[bisect_left(keys, prefix) : _prefix_end(keys, prefix)])

    def _live(self, keys: Iterable[str]) -> list[Record[T]]:
        return [r for r in map(self.head.get, keys) if r is not None and type(r) is not Tombstone]

    def values(self) -> Iterator[Record[T]]:
        """Iterate the live records in no particular order; the table must not be written meanwhile."""
        return (r for r in self.head.values() if type(r) is not Tombstone)

    def _order(self) -> list[str]:
        """Return all keys that `head` holds, sorted; dead ones among them until compaction drops them."""
        if self._ghosts * 4 > len(self._sorted):
            head = self.head
            self._sorted = [key for key in self._sorted if key in head]
            self._ghosts = 0
        if self._unsorted:
            # A copy, so that an iteration of the list handed out before stays whole; timsort merges the two runs.
            merged = self._sorted + sorted(set(self._unsorted))
            merged.sort()
            self._sorted = merged
            self._unsorted = []
        return self._sorted

    # --- reads at a revision ---------------------------------------------------------------------------------

    def at(self, revision: int, key: str) -> Record[T] | None:
        """Return the record of a key as of a revision, None when it was not there.

        Raises:
            ExpiredError: The past of this key reaches back beyond the kept history.
        """
        record = self.head.get(key)
        while record is not None and record.revision > revision:
            if record.prev is None and record.revision <= self.floor:
                break
            record = record.prev
        if record is None and revision < self.floor:
            raise ExpiredError(f"table {self.name}: revision {revision} is older than {self.floor}")
        return None if record is None or type(record) is Tombstone else record

    def changed_after(self, revision: int) -> int:
        """Return the position in the log of the first record after a revision.

        Raises:
            ExpiredError: That far back the log is not kept.
        """
        if revision < self.floor:
            raise ExpiredError(f"table {self.name}: revision {revision} is older than {self.floor}")
        return bisect_right(self.log, revision, lo=self.start, key=_revision)

    # --- writes, called by transactions that hold the database's lock --------------------------------------------

    def insert(self, obj: T, revision: int, now_s: float) -> Record[T]:
        """Store a version. The caller holds the lock and has taken the revision."""
        key = self.primary_key(obj)
        head = self.head
        prev = head.get(key)
        record = Record(key, obj, revision, prev, now_s)
        if self.postings:
            self._move_postings(key, obj, prev)
        head[key] = record
        self.log.append(record)
        if prev is None:
            self._unsorted.append(key)
            self.count += 1
        elif type(prev) is Tombstone:
            self.count += 1
        self.revision = revision
        return record

    def delete(self, key: str, revision: int, now_s: float) -> Record[T] | None:
        """Store a tombstone; None when there is nothing to delete."""
        prev = self.head.get(key)
        if prev is None or type(prev) is Tombstone:
            return None
        record: Record[T] = Tombstone(key, prev.obj, revision, prev, now_s)
        for postings in self.postings:
            for index_key in postings.keys(prev.obj):
                _drop(postings.post, index_key, key)
        self.head[key] = record
        self.log.append(record)
        self.count -= 1
        self.revision = revision
        return record

    def undo(self, position: int, revision: int) -> None:
        """Take back every write after that position of the log: what an abort does."""
        log, head = self.log, self.head
        while len(log) > position:
            record = log.pop()
            key, prev = record.key, record.prev
            dead = type(record) is Tombstone
            if not dead:
                for postings in self.postings:
                    for index_key in postings.keys(record.obj):
                        _drop(postings.post, index_key, key)
                self.count -= 1
            if prev is None:
                del head[key]
                self._forget(key)
            else:
                head[key] = prev
                if type(prev) is not Tombstone:
                    self.count += 1
                    for postings in self.postings:
                        for index_key in postings.keys(prev.obj):
                            postings.post.setdefault(index_key, {})[key] = None
        self.revision = revision

    def _forget(self, key: str) -> None:
        """A key left `head`: out of the unsorted ones at once if it is the last of them, else later as a ghost."""
        if self._unsorted and self._unsorted[-1] == key:
            self._unsorted.pop()
        else:
            self._ghosts += 1

    def _move_postings(self, key: str, obj: T, prev: Record[T] | None) -> None:
        old_obj = None if prev is None or type(prev) is Tombstone else prev.obj
        for postings in self.postings:
            new = tuple(postings.keys(obj))
            old = () if old_obj is None else tuple(postings.keys(old_obj))
            if new == old:
                continue
            post = postings.post
            if postings.index.unique:
                for index_key in new:
                    if any(k != key for k in post.get(index_key, ())):
                        raise UniqueIndexError(f"table {self.name}: {postings.index.name} {index_key!r} is taken")
            for index_key in old:
                if index_key not in new:
                    _drop(post, index_key, key)
            for index_key in new:
                entry = post.get(index_key)
                if entry is None:
                    post[index_key] = {key: None}
                else:
                    entry[key] = None

    # --- compaction ------------------------------------------------------------------------------------------

    def compact(self, limit: int, oldest_needed: int, now_s: float) -> bool:
        """Drop history that is too old or too much, at most `limit` records; True when more is left to drop.

        Args:
            limit: Bounds the pause.
            oldest_needed: Revision of the oldest snapshot in use; its records stay, within the count's bound.
            now_s: Seconds on the clock that stamped the records.
        """
        log, head = self.log, self.head
        position, end = self.start, len(self.log)
        oldest_s = now_s - self.history.seconds
        dropped = 0
        while position < end and dropped < limit:
            record = log[position]
            too_many = end - position > self.history.records
            too_old = record.created_s < oldest_s and record.revision <= oldest_needed
            if not (too_many or too_old):
                break
            record.prev = None
            self.floor = record.revision
            if type(record) is Tombstone and head.get(record.key) is record:
                del head[record.key]
                self._forget(record.key)
            position += 1
            dropped += 1
        self.start = position
        if position * 2 > end and position > 256:
            del log[:position]
            self.start = 0
        return dropped == limit


def _drop(post: dict[str, dict[str, None]], index_key: str, key: str) -> None:
    entry = post.get(index_key)
    if entry is not None:
        entry.pop(key, None)
        if not entry:
            del post[index_key]


def _prefix_end(keys: Sequence[str], prefix: str) -> int:
    """Return the position after the last key with that prefix."""
    if not prefix:
        return len(keys)
    return bisect_left(keys, True, key=lambda key: key > prefix and not key.startswith(prefix))


AnyTable = Table[Any]
