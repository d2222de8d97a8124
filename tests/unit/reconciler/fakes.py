"""A table of desired objects and a target that fails when it is told to."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from operator import attrgetter

from kubedyno.base import aio
from kubedyno.reconciler.reconciler import Reconciler
from kubedyno.reconciler.settings import ReconcilerSettings
from kubedyno.reconciler.status import Status, StatusSet, pending, pending_set
from kubedyno.statedb.db import DB


@dataclass(frozen=True, slots=True)
class Item:
    name: str
    value: int
    status: Status


@dataclass(frozen=True, slots=True)
class Shared:
    """An object of several reconcilers."""

    name: str
    value: int
    statuses: StatusSet


def set_status(item, status):
    return replace(item, status=status)


@dataclass
class Target:
    """What was reconciled: name → value. `fail(verb, name)` says whether a call fails; `slow_s` how long it takes."""

    fail: object = lambda _verb, _name: False
    slow_s: float = 0.0
    state: dict = field(default_factory=dict)
    calls: list = field(default_factory=list)
    pruned: list = field(default_factory=list)
    clock: object = None

    async def call(self, verb, record):
        name = record.obj.name
        self.calls.append((verb, name, self.clock() if self.clock else 0.0))
        if self.slow_s:
            await aio.sleep(self.slow_s)
        if self.fail(verb, name):
            raise OSError(f"no {verb} of {name}\n now")
        if verb == "update":
            self.state[name] = record.obj.value
        else:
            self.state.pop(name, None)

    async def update(self, _snapshot, record):
        await self.call("update", record)

    async def delete(self, _snapshot, record):
        await self.call("delete", record)

    def prune(self, _snapshot, records):
        if self.fail("prune", ""):
            raise OSError("no prune")
        self.pruned.append([record.key for record in records])
        for name in [name for name in self.state if name not in {record.key for record in records}]:
            del self.state[name]


class BatchTarget(Target):
    """The same, many at a time."""

    async def update_batch(self, _snapshot, entries):
        self.calls.append(("batch", len(entries), 0.0))
        if self.fail("batch", ""):
            raise OSError("no batch")
        for entry in entries:
            try:
                await self.call("delete" if entry.deleted else "update", entry.record)
            except OSError as error:
                entry.error = error

    delete_batch = update_batch


@dataclass
class World:
    """A reconciler at work."""

    db: DB
    table: object
    target: Target
    reconciler: Reconciler
    task: asyncio.Task

    def put(self, name, value):
        return self.db.put(self.table, Item(name, value, pending(self.db.clock.now()))).revision

    def remove(self, name):
        return self.db.remove(self.table, name)

    def status(self, name):
        return self.table.get(name).obj.status

    @property
    def desired(self):
        return {record.key: record.obj.value for record in self.table.all()}


@asynccontextmanager
async def world(target=None, *, batch=False, settings=None, **options):
    """Run a reconciler on the simulated loop."""
    loop = asyncio.get_running_loop()
    db = DB(loop)
    table = db.table("items", attrgetter("name"))
    target = target or Target()
    target.clock = loop.time
    reconciler = Reconciler(
        db, table, target, attrgetter("status"), set_status,
        batch=target if batch else None, settings=settings or ReconcilerSettings(refresh_interval_s=None), **options,
    )  # fmt: skip
    task = asyncio.create_task(reconciler.run())
    made = World(db, table, target, reconciler, task)
    try:
        yield made
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def shared(name, value, now_s):
    return Shared(name, value, pending_set(now_s))
