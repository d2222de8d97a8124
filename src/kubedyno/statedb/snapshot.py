"""Snapshots: the whole database as of one commit, read without locks, for as long as wanted."""

import weakref
from typing import TYPE_CHECKING, TypeVar

from kubedyno.statedb.postings import scan
from kubedyno.statedb.records import Record
from kubedyno.statedb.table import AnyTable, Table
from kubedyno.statedb.view import View, prefix_end
from kubedyno.statedb.watch import Watch

if TYPE_CHECKING:
    from kubedyno.statedb.db import DB

T = TypeVar("T")


class Pin(weakref.ref["Snapshot"]):
    """What keeps a snapshot's versions from being compacted: gone when the snapshot is."""

    __slots__ = ("opened_s", "revision")

    # 0, which holds everything back, until the snapshot has taken its revision.
    revision: int
    opened_s: float


class Snapshot:
    """The database as of one commit. Answers never change while it lives.

    Every method that reads raises `ExpiredError` when so much was written since that the versions it needs were
    given up (the database's `max_pinned` of a table, or `MAX_STEPS` of one key).
    """

    __slots__ = ("__weakref__", "_db", "_views", "revision")

    def __init__(self, db: "DB") -> None:
        self._db = db
        self._views: dict[AnyTable, View] = {}
        # Pinned first, then the revision is read: a compaction between the two waits for it.
        pin = Pin(self, db._unpin)
        pin.revision = 0
        pin.opened_s = db.clock.monotonic()
        db._pins[id(pin)] = pin
        self.revision = pin.revision = db.revision

    def get(self, table: Table[T], key: str) -> Record[T] | None:
        """Return a key's record. O(versions of the key since)."""
        record = table.head.get(key)
        # The newest version, if it is old enough, is right whatever was compacted.
        if type(record) is Record and record.revision <= self.revision:
            return record
        return table.at(self.revision, key)

    def all(self, table: Table[T]) -> list[Record[T]]:
        """Return all records in key order."""
        return self._view(table).all()

    def prefix(self, table: Table[T], prefix: str) -> list[Record[T]]:
        """Return the records whose key starts with `prefix`, in key order."""
        return self._view(table).prefix(prefix)

    def range(
        self, table: Table[T], lo: str, hi: str | None = None, limit: int | None = None, *, reverse: bool = False
    ) -> list[Record[T]]:
        """Return records with lo ≤ key < hi in key order, or in reverse from the high end, at most `limit`.

        To continue, pass the last key + chr(0) as `lo`, or in reverse the last key as `hi`.
        """
        return self._view(table).range(lo, hi, limit, reverse=reverse)

    def by_index(self, table: Table[T], name: str, index_key: str) -> list[Record[T]]:
        """Return the records that had the index key then, in key order. O(result + what left it since)."""
        postings = table.by_name[name]
        found = []
        for key in postings.candidates(index_key):
            record = table.at(self.revision, key)
            if record is not None and index_key in postings.keys(record.obj):
                found.append(record)
        if self.revision < table._expired:
            table.expired(self.revision)
        return found

    def by_revision(self, table: Table[T], since: int = 0, limit: int | None = None) -> list[Record[T]]:
        """Return live records with a revision of at least `since`, in revision order, at most `limit`.

        To continue, pass the last revision + 1 as `since`. O(result + versions superseded among it).
        """
        found: list[Record[T]] = []
        position = since - 1
        step = None if limit is None else max(limit, 256)
        while True:
            records = table.log.between(position, self.revision, step)
            found += [record for record in records if table.at(self.revision, record.key) is record]
            if self.revision < table._expired:
                table.expired(self.revision)
            if limit is not None and len(found) >= limit:
                return found[:limit]
            if step is None or len(records) < step:
                return found
            position = records[-1].revision

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
        """Return (index key, record) with lo ≤ index key < hi, ordered by index key and then by key.

        An object with several index keys in the range comes once, with the first in the direction of the scan.

        Args:
            table: The table.
            name: Of the index.
            lo: The lower bound.
            hi: The upper bound, not included; None is none.
            limit: How many at most.
            reverse: From the high end.
            after: (index key, key) of the last of the page before, to continue with the same bounds.
        """
        revision = self.revision

        def get(key: str) -> Record[T] | None:
            return table.at(revision, key)

        found = scan(table.by_name[name], get, lo, hi, limit, reverse=reverse, after=after, past=True)
        if revision < table._expired:
            table.expired(revision)
        return found

    def by_index_prefix(
        self,
        table: Table[T],
        name: str,
        prefix: str,
        limit: int | None = None,
        *,
        reverse: bool = False,
        after: tuple[str, str] | None = None,
    ) -> list[tuple[str, Record[T]]]:
        """Return (index key, record) whose index key starts with `prefix`; see `scan`."""
        return self.scan(table, name, prefix, prefix_end(prefix), limit, reverse=reverse, after=after)

    def count(self, table: AnyTable) -> int:
        """Return how many records there are."""
        return self._view(table).count

    def initialized(self, table: AnyTable) -> bool:
        """True when the table was complete in this snapshot's state."""
        return table.initializers.complete_at(self.revision)

    def watch(
        self,
        table: AnyTable,
        *,
        key: str | None = None,
        prefix: str | None = None,
        index: tuple[str, str] | None = None,
    ) -> Watch:
        """Return a channel that closes when what this snapshot says of the query is no longer so."""
        return table.watch(key=key, prefix=prefix, index=index, since=self.revision)

    def _view(self, table: AnyTable) -> View:
        view = self._views.get(table)
        if view is None:
            view = self._views[table] = table.view_at(self.revision)
        return view
