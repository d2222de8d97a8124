"""Following a table from a coroutine: its changes as an async iterator, and tables derived from tables.

Both sleep on the table's watch channel and cost nothing while nothing changes.
"""

from collections.abc import AsyncGenerator, Callable
from enum import Enum
from typing import Generic, TypeVar

from kubedyno.statedb.db import DB
from kubedyno.statedb.records import Record, Tombstone
from kubedyno.statedb.table import Table
from kubedyno.statedb.watch import WatchSet

In = TypeVar("In")
Out = TypeVar("Out")

# Changes handed over at once: bounds what a slow consumer is behind within one turn of the loop.
BATCH_RECORDS = 1000


async def observe(
    table: Table[In], since: int = 0, limit: int = BATCH_RECORDS, *, full: bool = False
) -> AsyncGenerator[list[Record[In]], None]:
    """Yield what changes, in batches, until closed: all there is first, then each commit's changes.

    Args:
        table: What to follow.
        since: Revision after which changes are wanted: the last one seen, to resume; 0 is from the start.
        limit: Records in a batch at most.
        full: Every version, as far as the table's history goes, instead of the newest of each key.

    Raises:
        ExpiredError: The consumer has fallen so far behind that changes were given up: begin anew.
    """
    cursor = table.changes(since)
    try:
        while True:
            watch = table.watch(since=cursor.revision)
            records = cursor.next_full(limit) if full else cursor.next(limit)
            if records:
                yield records
            elif not cursor.behind:
                await watch.wait()
    finally:
        cursor.close()


class Verb(Enum):
    """What a derived table does with an object that its function returned."""

    INSERT = "insert"
    """Put it there, or replace it."""
    UPDATE = "update"
    """Replace it if it is there."""
    DELETE = "delete"
    """Remove the object with its key."""
    SKIP = "skip"
    """Nothing."""


class Derived(Generic[In, Out]):
    """Keeps one table what a function makes of another.

    The output table is complete (`initialized`) once the input is and all of that has passed. Nobody else may write
    the output's objects.

    Args:
        db: The database of both.
        source: The input.
        target: The output.
        make: (object, deleted) → (object of the output, verb); must depend on its arguments alone.
    """

    def __init__(
        self, db: DB, source: Table[In], target: Table[Out], make: Callable[[In, bool], tuple[Out | None, Verb]]
    ) -> None:
        self._db = db
        self._source = source
        self._target = target
        self._make = make
        self._cursor = source.changes()
        self._complete: Callable[[], None] | None = target.initializer(f"derive-{source.name}")

    def step(self, limit: int = BATCH_RECORDS) -> bool:
        """Bring the output up to at most `limit` changes of the input, in one transaction; True when more wait.

        Raises:
            ExpiredError: The input has changed more than is kept since the last step.
        """
        # Looked at before the changes: what it says then holds for what they bring.
        initialized = self._source.initialized
        records = self._cursor.next(limit)
        if records:
            with self._db.write(self._target, handle=f"derive-{self._target.name}") as txn:
                for record in records:
                    made, verb = self._make(record.obj, type(record) is Tombstone)
                    if made is None or verb is Verb.SKIP:
                        continue
                    key = self._target.primary_key(made)
                    if verb is Verb.DELETE:
                        txn.delete(self._target, key)
                    elif verb is Verb.INSERT or txn.get(self._target, key) is not None:
                        txn.insert(self._target, made)
        if self._cursor.behind:
            return True
        if initialized and self._complete is not None:
            self._complete()
            self._complete = None
        return False

    async def run(self) -> None:
        """Follow the input until cancelled."""
        while True:
            watch = self._source.watch(since=self._cursor.revision)
            complete = self._source.initializers.watch()
            if self.step():
                continue
            if self._complete is None:
                await watch.wait()
            else:
                # The last commit may have come before the word that it was the last.
                await WatchSet((watch, complete)).wait()

    def close(self) -> None:
        """Stop holding back the input's tombstones."""
        self._cursor.close()
