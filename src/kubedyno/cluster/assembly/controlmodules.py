"""The cluster's own state as tables: the health of its parts, its reconcilers, and the keys they have not done.

They are a database beside that of the API objects, so that looking at them takes no resourceVersion. The parts know
nothing of it: `refresh` compares what they say with the rows and writes what differs, when somebody looks.
"""

from itertools import islice
from typing import TypeVar

import msgspec

from kubedyno.base.clock import Clock
from kubedyno.base.times import rfc3339
from kubedyno.cluster.pump import Pump
from kubedyno.reconciler.health import Level
from kubedyno.statedb.db import DB
from kubedyno.statedb.metrics import Sample
from kubedyno.statedb.records import Index
from kubedyno.statedb.table import Table
from kubedyno.statedb.txn import WriteTxn

T = TypeVar("T")

# Keys of one reconciler shown at most: those that fail come first.
MAX_KEYS = 1_000


class HealthRow(msgspec.Struct, frozen=True):
    """How one part is.

    Attributes:
        module: Dotted name.
        level: OK, Degraded or Stopped.
        message: Why, for those that are not OK.
    """

    module: str
    level: str
    message: str


class ReconcilerRow(msgspec.Struct, frozen=True):
    """One reconciler.

    Attributes:
        name: Unique.
        pending: Keys that wait for their turn.
        failing: Keys whose last attempt failed.
        done: Reconciliations that went well, ever.
        errors: Those that failed, ever.
        rounds: Turns that did something.
        busySeconds: Spent in reconciliations.
        latencySeconds: Mean time from being asked to being done; 0 when nothing was done.
    """

    name: str
    pending: int
    failing: int
    done: int
    errors: int
    rounds: int
    busySeconds: float
    latencySeconds: float


class StatusRow(msgspec.Struct, frozen=True):
    """A key that is not done.

    Attributes:
        reconciler: Whose.
        key: Its name.
        status: Pending or Error.
        error: Why, "" when pending.
        updated: Since when.
    """

    reconciler: str
    key: str
    status: str
    error: str
    updated: str


def _module(row: HealthRow) -> str:
    return row.module


def _name(row: ReconcilerRow) -> str:
    return row.name


def _status_key(row: StatusRow) -> str:
    return f"{row.reconciler}/{row.key}"


class Modules:
    """See the module.

    Args:
        clock: Of the cluster.
        pump: Where the parts run.
    """

    def __init__(self, clock: Clock, pump: Pump) -> None:
        self._pump = pump
        self.db = DB(clock)
        self.health: Table[HealthRow] = self.db.table("health", _module, [Index("level", lambda row: (row.level,))])
        self.reconcilers: Table[ReconcilerRow] = self.db.table("reconcilers", _name)
        self.statuses: Table[StatusRow] = self.db.table(
            "reconciler-statuses",
            _status_key,
            [Index("status", lambda row: (row.status,)), Index("reconciler", lambda row: (row.reconciler,))],
        )

    def refresh(self) -> None:
        """Bring the tables up to what the parts say now. O(parts + keys that are not done)."""
        with self.db.write(self.health, self.reconcilers, self.statuses, handle="refresh") as txn:
            reports = self._pump.health.reports()
            _put(txn, self.health, {name: HealthRow(name, level.value, text) for name, level, text in reports})
            _put(txn, self.reconcilers, {row.name: row for row in self._reconcilers()})
            _put(txn, self.statuses, {_status_key(row): row for row in self._statuses()})

    def _reconcilers(self) -> list[ReconcilerRow]:
        rows = []
        for one in self._pump.reconcilers:
            metrics, latency = one.metrics, one.metrics.latency
            mean_s = round(latency.seconds / latency.count, 6) if latency.count else 0.0
            busy_s = round(metrics.update.seconds, 6)
            figures = (one.pending, one.failing, one.done, metrics.errors, metrics.rounds)
            rows.append(ReconcilerRow(one.name, *figures, busy_s, mean_s))
        return rows

    def _statuses(self) -> list[StatusRow]:
        return [
            StatusRow(one.name, key, status.kind.name.capitalize(), status.error, rfc3339(status.updated_s))
            for one in self._pump.reconcilers
            for key, status in islice(one.statuses(), MAX_KEYS)
        ]

    def summary(self) -> dict[str, int]:
        """Return how many parts are Stopped, Degraded and OK."""
        levels = [level for _, level, _ in self._pump.health.reports()]
        return {level.value: levels.count(level) for level in Level}

    def troubles(self) -> list[dict[str, str]]:
        """Return the parts that are not OK, each with its reason."""
        return [
            {"module": name, "level": level.value, "message": text}
            for name, level, text in self._pump.health.reports()
            if level is not Level.OK
        ]

    def samples(self) -> list[Sample]:
        """Return the reconcilers' figures."""
        return [sample for one in self._pump.reconcilers for sample in one.metrics.samples()]


def _put(txn: WriteTxn, table: Table[T], rows: dict[str, T]) -> None:
    for record in txn.all(table):
        row = rows.get(record.key)
        if row is None:
            txn.delete(table, record.key)
        elif row == record.obj:
            del rows[record.key]
    for row in rows.values():
        txn.insert(table, row)
