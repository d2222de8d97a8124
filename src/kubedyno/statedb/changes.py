"""Cursors over a table's changes: a number, the revision up to which the reader has seen.

Opening one takes no lock. While it is open, tombstones that it has not passed stay (up to a bound: a cursor that lags
too far expires instead of holding memory for ever); superseded versions stay as the table's history says.
"""

import weakref
from typing import TYPE_CHECKING, Generic, TypeVar

from kubedyno.statedb.records import Record, Tombstone

if TYPE_CHECKING:
    from kubedyno.statedb.table import Table

T = TypeVar("T")

# Records looked at between two checks of the limit.
_STEP = 256


class Changes(Generic[T]):
    """A cursor; `close` it, or drop it.

    Args:
        table: What to follow.
        since: Revision after which changes are wanted; 0 is from the start: all live objects first, in revision
            order, without deletions from before.
    """

    __slots__ = ("__weakref__", "_table", "born", "revision")

    def __init__(self, table: "Table[T]", since: int = 0) -> None:
        self._table = table
        # All that changed up to here was handed out.
        self.revision = since
        # Deletions up to here need not be told: nothing was handed out before.
        self.born = 0 if since else table.revision
        cursors, key = table._cursors, id(self)
        cursors[key] = weakref.ref(self, lambda _: cursors.pop(key, None))

    @property
    def behind(self) -> bool:
        """True when a commit has come that was not handed out."""
        return self._table.revision > self.revision

    def next(self, limit: int | None = None) -> list[Record[T]]:
        """Return the newest committed state of each key that changed, tombstones included, in revision order.

        What was created and deleted between two calls comes as its tombstone alone. With a limit the rest comes
        with the next call; keys that changed again meanwhile come later, once.

        Raises:
            ExpiredError: Deletions after the cursor are no longer known.
        """
        table = self._table
        # Of another thread's commit the tables learn one by one, before the database does.
        until = min(table.revision, table.db.revision)
        if until <= self.revision:
            return []
        head = table.head
        found: list[Record[T]] = []
        position = self.revision
        while True:
            step = None if limit is None else max(_STEP, limit)
            records = table.log.between(position, until, step)
            if max(position, self.born) < table._grave_floor:
                table.expired(position)
            for record in records:
                newest = head.get(record.key)
                if newest is not record:
                    # Superseded, unless only by something newer than this call looks at.
                    if newest is None or newest.revision <= until:
                        continue
                    if table._older(newest, until) is not record:
                        continue
                if record.revision <= self.born and type(record) is Tombstone:
                    continue
                found.append(record)
                if len(found) == limit:
                    self.revision = record.revision
                    return found
            if step is None or len(records) < step:
                self.revision = until
                return found
            position = records[-1].revision

    def next_full(self, limit: int | None = None) -> list[Record[T]]:
        """Return every committed change, one record each, in revision order.

        Raises:
            ExpiredError: The table's history does not reach back to the cursor.
        """
        table = self._table
        until = min(table.revision, table.db.revision)
        if until <= self.revision:
            return []
        records = table.log.between(self.revision, until, limit)
        if self.revision < table._floor:
            table.expired(self.revision)
        self.revision = until if limit is None or len(records) < limit else records[-1].revision
        return records

    def close(self) -> None:
        """Let go of the tombstones that it has not passed."""
        self._table._cursors.pop(id(self), None)
