"""Runs the operations of one round: singly or as batches, with a time limit, errors kept with their objects."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from kubedyno.base import aio
from kubedyno.base.clock import Clock
from kubedyno.reconciler.metrics import ReconcilerMetrics
from kubedyno.reconciler.operations import BatchOperations, Entry, Operations
from kubedyno.statedb.metrics import Sum
from kubedyno.statedb.snapshot import Snapshot

T = TypeVar("T")


class Executor(Generic[T]):
    """See the module."""

    def __init__(
        self,
        operations: Operations[T],
        batch: BatchOperations[T] | None,
        clock: Clock,
        metrics: ReconcilerMetrics,
    ) -> None:
        self._operations = operations
        self._batch = batch
        self._clock = clock
        self._metrics = metrics

    async def run(self, snapshot: Snapshot, entries: Sequence[Entry[T]], timeout_s: float, concurrency: int) -> None:
        """Do the work of entries, of different objects each; what fails is left in the entry."""
        if self._batch is not None:
            deletes = [entry for entry in entries if entry.deleted]
            updates = [entry for entry in entries if not entry.deleted]
            await self._run_batch(self._batch.delete_batch, snapshot, deletes, timeout_s, self._metrics.delete)
            await self._run_batch(self._batch.update_batch, snapshot, updates, timeout_s, self._metrics.update)
            return
        todo = iter(entries)
        if concurrency == 1:
            await self._work(todo, snapshot, timeout_s)
            return
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(entries))):
                group.create_task(self._work(todo, snapshot, timeout_s))

    async def _work(self, todo: Iterator[Entry[T]], snapshot: Snapshot, timeout_s: float) -> None:
        operations, monotonic, metrics = self._operations, self._clock.monotonic, self._metrics
        for entry in todo:
            began_s = monotonic()
            try:
                if entry.deleted:
                    done: Any = operations.delete(snapshot, entry.record)
                else:
                    done = operations.update(snapshot, entry.record)
                if done is not None and isinstance(done, Awaitable):
                    async with aio.timeout(timeout_s):
                        done = await done
                if not entry.deleted:
                    entry.obj = done
            except Exception as error:  # noqa: BLE001 - one object's failure becomes its status and a retry
                entry.error = _worded(error, timeout_s)
            (metrics.delete if entry.deleted else metrics.update).add(monotonic() - began_s)

    async def _run_batch(
        self,
        operation: Callable[[Snapshot, Sequence[Entry[T]]], Awaitable[None] | None],
        snapshot: Snapshot,
        entries: Sequence[Entry[T]],
        timeout_s: float,
        total: Sum,
    ) -> None:
        if not entries:
            return
        began_s = self._clock.monotonic()
        try:
            done = operation(snapshot, entries)
            if done is not None:
                async with aio.timeout(timeout_s):
                    await done
        except Exception as error:  # noqa: BLE001 - the batch's failure becomes the status of each of its objects
            for entry in entries:
                entry.error = entry.error or _worded(error, timeout_s)
        total.add(self._clock.monotonic() - began_s)

    async def prune(self, snapshot: Snapshot, records: Sequence[Any], timeout_s: float) -> str:
        """Prune the target; returns the error, "" when there is none."""
        began_s = self._clock.monotonic()
        error_text = ""
        try:
            done = self._operations.prune(snapshot, records)
            if done is not None:
                async with aio.timeout(timeout_s):
                    await done
        except Exception as error:  # noqa: BLE001 - a failed prune is reported and tried again
            error_text = text_of(_worded(error, timeout_s))
            self._metrics.prune_errors += 1
        self._metrics.prune.add(self._clock.monotonic() - began_s)
        self._metrics.prune_failing = bool(error_text)
        return error_text


def _worded(error: Exception, timeout_s: float) -> Exception:
    if isinstance(error, TimeoutError) and not str(error):
        return TimeoutError(f"no answer within {timeout_s:g} s")
    return error


def text_of(error: BaseException) -> str:
    """Return an error in one line, its class when it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__
