"""The reconciler: follows a table, does what is pending, writes back what became of it, and tries again what failed.

Each round takes a bounded number of changes and due retries, runs their operations, and commits all statuses in one
transaction. A status is written only if the object is still the one that was worked on; if it changed meanwhile,
the newer version has its own turn. Refreshes and prunes happen in between.
"""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from kubedyno.base import aio
from kubedyno.base.clock import Clock
from kubedyno.reconciler.execute import Executor, text_of
from kubedyno.reconciler.health import Health
from kubedyno.reconciler.metrics import ReconcilerMetrics
from kubedyno.reconciler.operations import BatchOperations, Entry, Operations
from kubedyno.reconciler.progress import Progress, Reached
from kubedyno.reconciler.retries import Retries, Retry
from kubedyno.reconciler.settings import REPORTED_ERRORS, ReconcilerSettings
from kubedyno.reconciler.status import DONE, ERROR, PENDING, REFRESHING, Status
from kubedyno.reconciler.upkeep import Upkeep
from kubedyno.statedb.db import DB
from kubedyno.statedb.errors import ExpiredError
from kubedyno.statedb.records import Record, Tombstone
from kubedyno.statedb.table import Table
from kubedyno.statedb.txn import WriteTxn
from kubedyno.statedb.watch import Watch, WatchSet, close_all

T = TypeVar("T")


class Reconciler(Generic[T]):
    """One target of one table.

    Args:
        db: The database.
        table: The desired state.
        operations: The target.
        get_status: Object → its status for this reconciler.
        set_status: (object, status) → the same object with that status.
        batch: The target for many objects at once; `operations` then only prunes.
        settings: The pace.
        name: For metrics and health; the table's if empty.
        health: Where to report; a tree of its own if None.
    """

    def __init__(
        self,
        db: DB,
        table: Table[T],
        operations: Operations[T],
        get_status: Callable[[T], Status],
        set_status: Callable[[T, Status], T],
        *,
        batch: BatchOperations[T] | None = None,
        settings: ReconcilerSettings | None = None,
        name: str = "",
        health: Health | None = None,
    ) -> None:
        self.name = name or table.name
        self.settings = settings or ReconcilerSettings()
        self.metrics = ReconcilerMetrics(self.name)
        self.health = (health or Health()).part(self.name)
        self._db = db
        self._table = table
        self._get_status = get_status
        self._set_status = set_status
        self._clock: Clock = db.clock
        self._executor = Executor(operations, batch, db.clock, self.metrics)
        self._retries: Retries[Record[T]] = Retries()
        self._upkeep: Upkeep[T] = Upkeep(db, table, self._executor, get_status, set_status, self.name)
        self._progress = Progress()
        self._cursor = table.changes()
        # Closed by `prune`, to wake the loop.
        self._poke = Watch()
        self._next_round_s = 0.0

    # --- for others ---------------------------------------------------------------------------------------------

    def prune(self) -> None:
        """Ask for a full prune now; it comes once the table is initialized. May be called from any thread."""
        self._upkeep.prune_wanted = True
        close_all((self._poke,))

    @property
    def reached(self) -> Reached:
        """How far it has come."""
        return self._progress.reached

    @property
    def failing(self) -> int:
        """How many objects fail now."""
        return len(self._retries)

    async def wait_until_reconciled(self, revision: int, timeout_s: float) -> Reached:
        """Wait until all changes of the table up to a revision were attempted, deletions among them.

        Raises:
            TimeoutError: It takes longer.
        """
        return await self._progress.wait(min(revision, self._table.revision), timeout_s, success=False)

    async def wait_until_done(self, timeout_s: float, revision: int | None = None) -> Reached:
        """Wait until all changes up to a revision, by default all until now, were reconciled with success.

        Raises:
            TimeoutError: It takes longer.
        """
        until = self._table.revision if revision is None else min(revision, self._table.revision)
        return await self._progress.wait(until, timeout_s, success=True)

    # --- the loop -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Reconcile until cancelled."""
        self.health.ok("starting")
        try:
            while True:
                watch = self._table.watch(since=self._cursor.revision)
                initialized = self._table.initializers.watch()
                self._poke = Watch()
                if await self._round():
                    # Operations that never wait must not keep everybody else from the loop.
                    await aio.sleep(0)
                    continue
                await self._sleep(watch, initialized)
        except Exception as error:
            self.health.stopped(text_of(error))
            raise
        except asyncio.CancelledError:
            self.health.stopped()
            raise
        finally:
            self._cursor.close()

    async def _sleep(self, watch: Watch, initialized: Watch) -> None:
        """Wait for news, or for the next thing that is due."""
        dues = [self._retries.next_due_s(), *self._upkeep.dues(self.settings)]
        due_s = min((due for due in dues if due is not None), default=None)
        waits = WatchSet((watch, self._poke))
        if not initialized.closed and self.settings.prune_interval_s is not None:
            waits.add(initialized)
        if due_s is None:
            await waits.wait()
            return
        try:
            async with aio.timeout(max(due_s - self._clock.monotonic(), 0.0)):
                await waits.wait()
        except TimeoutError:
            return

    async def _round(self) -> bool:
        """Do one round; True when there may be more to do at once."""
        settings = self.settings
        try:
            changes = self._cursor.next(settings.round_size)
        except ExpiredError:
            # Deletions were lost: begin anew, and have what is too much pruned.
            self._cursor.close()
            self._cursor = self._table.changes()
            self._upkeep.prune_wanted = True
            return True
        entries = self._wanted(changes)
        room = settings.round_size - len(entries)
        due = [entry for retry in self._due(room) if (entry := self._again(retry)) is not None]
        entries += due
        if entries:
            await self._pace()
            snapshot = self._db.read()
            await self._executor.run(snapshot, entries, settings.operation_timeout_s, settings.concurrency)
            del snapshot
            self._write_back(entries)
            self.metrics.rounds += 1
        if entries or changes or self._progress.reached.revision < self._cursor.revision:
            self._progress.move(self._cursor.revision, self._retries.low_watermark())
        await self._upkeep.prune_if_due(settings)
        self._upkeep.refresh_if_due(settings)
        self._report()
        return bool(changes or entries)

    async def _pace(self) -> None:
        now_s = self._clock.monotonic()
        if self._next_round_s > now_s:
            await aio.sleep(self._next_round_s - now_s)
        self._next_round_s = max(self._next_round_s, now_s) + 1 / self.settings.rounds_per_s

    def _wanted(self, changes: list[Record[T]]) -> list[Entry[T]]:
        """Return the work in changes: what is pending or refreshing, and what was deleted."""
        entries: list[Entry[T]] = []
        get_status, retries = self._get_status, self._retries
        for record in changes:
            if type(record) is Tombstone:
                retries.clear(record.key)
                entries.append(Entry(record, deleted=True))
                continue
            kind = get_status(record.obj).kind
            if kind is PENDING or kind is REFRESHING:
                # A new version begins with a clean record; its back-off too.
                retries.clear(record.key)
                entries.append(Entry(record, deleted=False))
            elif kind is DONE:
                retries.clear(record.key)
        return entries

    def _due(self, room: int) -> list[Retry[Record[T]]]:
        return self._retries.take_due(self._clock.monotonic(), room) if room > 0 and len(self._retries) else []

    def _again(self, retry: Retry[Record[T]]) -> Entry[T] | None:
        """Return the work of a retry, None when something newer has taken its place."""
        key = retry.item.key
        current = self._table.get(key)
        if retry.deleted:
            if current is not None:
                self._retries.clear(key)
                return None
            return Entry(retry.item, deleted=True)
        if current is None or self._get_status(current.obj).kind is not ERROR:
            # Its change brings it, or has.
            self._retries.clear(key)
            return None
        # Another reconciler may have written its own status.
        return Entry(current, deleted=False)

    def _write_back(self, entries: list[Entry[T]]) -> None:
        """Commit the statuses, and put what failed among the retries."""
        now_s, wall_s = self._clock.monotonic(), self._clock.now()
        settings, retries = self.settings, self._retries
        updated = [entry for entry in entries if not entry.deleted]
        written: dict[str, Record[T]] = {}
        if updated:
            with self._db.write(self._table, handle=self.name) as txn:
                for entry in updated:
                    status = self._write_status(txn, entry, wall_s)
                    if status is not None:
                        written[entry.record.key] = status
        for entry in entries:
            record = entry.record if entry.deleted else written.get(entry.record.key)
            if entry.error is None or record is None:
                retries.clear(entry.record.key)
                continue
            self.metrics.errors += 1
            retries.add(
                record.key, record, entry.record.revision, text_of(entry.error), now_s, settings.retry_min_s,
                settings.retry_max_s, deleted=entry.deleted,
            )  # fmt: skip

    def _write_status(self, txn: WriteTxn, entry: Entry[T], wall_s: float) -> Record[T] | None:
        """Return the record with the status, None when the object is not the one that was worked on any more."""
        record = entry.record
        asked = self._get_status(record.obj)
        current = txn.get(self._table, record.key)
        if current is None:
            return None
        obj = record.obj if entry.obj is None else entry.obj
        if current.revision != record.revision:
            status = self._get_status(current.obj)
            if status.id != asked.id or status.kind is not asked.kind:
                return None
            # Only somebody else's status has changed.
            obj = current.obj
        if entry.error is None:
            self.metrics.latency.add(max(wall_s - asked.updated_s, 0.0))
            return txn.insert(self._table, self._set_status(obj, Status(DONE, wall_s, "", asked.id)))
        failed = Status(ERROR, wall_s, text_of(entry.error), asked.id)
        return txn.insert(self._table, self._set_status(obj, failed))

    # --- health ---------------------------------------------------------------------------------------------------

    def _report(self) -> None:
        self.metrics.current_errors = failing = len(self._retries)
        prune_error = self._upkeep.prune_error
        problems = [f"prune: {prune_error}"] if prune_error else []
        if not failing and not problems:
            self.health.ok(f"{self._table.count} object(s)")
            return
        problems += self._retries.errors(REPORTED_ERRORS)
        self.health.degraded(f"{failing + bool(prune_error)} error(s): {'; '.join(problems)}")
