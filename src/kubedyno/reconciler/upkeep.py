"""What a reconciler does besides changes: full prunes of the target, and refreshes of what was done long ago."""

from collections.abc import Callable
from typing import Generic, TypeVar

from kubedyno.reconciler.execute import Executor
from kubedyno.reconciler.settings import ReconcilerSettings
from kubedyno.reconciler.status import DONE, Status, refreshing
from kubedyno.statedb.db import DB
from kubedyno.statedb.records import Record
from kubedyno.statedb.table import Table

T = TypeVar("T")

# Objects marked for refresh at once.
REFRESH_BATCH = 100


class Upkeep(Generic[T]):
    """See the module; the reconciler calls it each round and sleeps until the next of its `dues`.

    Attributes:
        prune_wanted: A prune was asked for.
        prune_error: Why the last prune failed; "" when it did not.
    """

    def __init__(
        self,
        db: DB,
        table: Table[T],
        executor: Executor[T],
        get_status: Callable[[T], Status],
        set_status: Callable[[T, Status], T],
        name: str,
    ) -> None:
        self.prune_wanted = False
        self.prune_error = ""
        self._db = db
        self._table = table
        self._executor = executor
        self._get_status = get_status
        self._set_status = set_status
        self._name = name
        self._clock = db.clock
        self._pruned = False
        self._prune_due_s: float | None = None
        self._prune_failures = 0
        # Objects up to this revision are not due for a refresh before a later revision of theirs is.
        self._refreshed = 0
        self._refresh_due_s = 0.0

    def dues(self, settings: ReconcilerSettings) -> tuple[float | None, float | None]:
        """Return when the next prune and the next refresh are due, None for never."""
        return self._next_prune_s(settings), None if settings.refresh_interval_s is None else self._refresh_due_s

    def _next_prune_s(self, settings: ReconcilerSettings) -> float | None:
        """Return when a prune is due; None while the table is not initialized, or when none ever is."""
        if not self._table.initialized:
            return None
        if self.prune_wanted:
            return self._clock.monotonic()
        if self._prune_due_s is None:
            return None if settings.prune_interval_s is None or self._pruned else self._clock.monotonic()
        return self._prune_due_s

    async def prune_if_due(self, settings: ReconcilerSettings) -> None:
        """Prune the target if it is time."""
        due_s = self._next_prune_s(settings)
        if due_s is None or due_s > self._clock.monotonic():
            return
        self.prune_wanted = False
        snapshot = self._db.read()
        records = snapshot.all(self._table)
        self.prune_error = await self._executor.prune(snapshot, records, settings.operation_timeout_s)
        self._pruned = True
        now_s = self._clock.monotonic()
        if self.prune_error:
            back_off_s = settings.retry_min_s * 2.0 ** min(self._prune_failures, 64)
            self._prune_failures += 1
            self._prune_due_s = now_s + min(back_off_s, settings.retry_max_s)
        else:
            self._prune_failures = 0
            self._prune_due_s = None if settings.prune_interval_s is None else now_s + settings.prune_interval_s

    def refresh_if_due(self, settings: ReconcilerSettings) -> None:
        """Mark a few done objects that are old enough as to be done again, those done longest ago first."""
        now_s = self._clock.monotonic()
        interval_s = settings.refresh_interval_s
        if interval_s is None or now_s < self._refresh_due_s:
            return
        wall_s = self._clock.now()
        batch = max(1, min(REFRESH_BATCH, int(settings.refresh_per_s)))
        records = self._db.read().by_revision(self._table, self._refreshed + 1, batch)
        old: list[Record[T]] = []
        # What is done from now on is not due before that.
        due_s = now_s if len(records) == batch else now_s + interval_s
        for record in records:
            status = self._get_status(record.obj)
            if status.kind is DONE:
                age_s = wall_s - status.updated_s
                if age_s < interval_s:
                    due_s = now_s + interval_s - age_s
                    break
                old.append(record)
            self._refreshed = record.revision
        if old:
            with self._db.write(self._table, handle=self._name) as txn:
                for record in old:
                    current = txn.get(self._table, record.key)
                    if current is not None and current.revision == record.revision:
                        txn.insert(self._table, self._set_status(record.obj, refreshing(wall_s)))
        self._refresh_due_s = max(due_s, now_s + len(old) / settings.refresh_per_s)
