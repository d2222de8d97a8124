"""What a database counts: times of transactions as they end, and the state of its tables when somebody asks.

The names are those of Cilium's StateDB. A database without a `Metrics` measures nothing and pays nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kubedyno.statedb.db import DB
    from kubedyno.statedb.table import Table

# Waiting longer than this for the write lock is contention: an uncontended acquisition takes a microsecond.
CONTENTION_S = 50e-6


@dataclass(slots=True)
class Sum:
    """A sum of durations and how many they were."""

    seconds: float = 0.0
    count: int = 0

    def add(self, seconds: float) -> None:
        """Count one more."""
        self.seconds += seconds
        self.count += 1


@dataclass(frozen=True, slots=True)
class LastWrite:
    """The last transaction over a table: who, when (monotonic seconds), and how long it held the lock."""

    handle: str
    at_s: float
    held_s: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One figure; durations come as two, `…_seconds_sum` and `…_seconds_count`."""

    name: str
    labels: tuple[tuple[str, str], ...]
    value: float


class Metrics:
    """Collects the times of write transactions; subclass it to pass them on. Called with the write lock held."""

    def __init__(self) -> None:
        self.acquisition: dict[tuple[str, str], Sum] = {}
        self.duration: dict[tuple[str, str], Sum] = {}
        self.contention: dict[str, Sum] = {}
        self.cleaning = Sum()
        self.last_writes: dict[str, LastWrite] = {}

    def acquired(self, handle: str, tables: "Sequence[Table[Any]]", waited_s: float) -> None:
        """Count the wait for the write lock."""
        self.acquisition.setdefault((handle, _names(tables)), Sum()).add(waited_s)
        if waited_s > CONTENTION_S:
            for table in tables:
                self.contention.setdefault(table.name, Sum()).add(waited_s)

    def released(self, handle: str, tables: "Sequence[Table[Any]]", now_s: float, held_s: float) -> None:
        """Count a transaction that has ended, committed or aborted."""
        self.duration.setdefault((handle, _names(tables)), Sum()).add(held_s)
        last = LastWrite(handle, now_s, held_s)
        for table in tables:
            self.last_writes[table.name] = last

    def cleaned(self, seconds: float) -> None:
        """Count a slice of compaction."""
        self.cleaning.add(seconds)


def samples(db: "DB") -> list[Sample]:
    """Return the figures of a database and its tables, in order of name and labels."""
    found: list[Sample] = []
    metrics = db.metrics
    if metrics is not None:
        for name, sums in (("write_txn_acquisition", metrics.acquisition), ("write_txn_duration", metrics.duration)):
            for (handle, tables), total in sorted(sums.items()):
                found += _of(name, (("handle", handle), ("tables", tables)), total)
        for table_name, total in sorted(metrics.contention.items()):
            found += _of("lock_contention", (("table", table_name),), total)
        found += _of("graveyard_cleaning_duration", (), metrics.cleaning)
    for name, table in sorted(db.tables.items()):
        labels = (("table", name),)
        found += [
            Sample("object_count", labels, table.count),
            Sample("graveyard_object_count", labels, table.graveyard),
            Sample("graveyard_low_watermark", labels, table.low_watermark()),
            Sample("delete_tracker_count", labels, table.trackers),
            Sample("revision", labels, table.revision),
        ]
    oldest = db.oldest_snapshot()
    found.append(Sample("oldest_snapshot_age_seconds", (), 0.0 if oldest is None else oldest[0]))
    return found


def text(found: Sequence[Sample], prefix: str = "statedb_") -> str:
    """Return figures in Prometheus' text format."""
    lines = []
    for sample in found:
        labels = ",".join(f'{key}="{_escaped(value)}"' for key, value in sample.labels)
        lines.append(f"{prefix}{sample.name}{'{' + labels + '}' if labels else ''} {sample.value:g}\n")
    return "".join(lines)


def _names(tables: "Sequence[Table[Any]]") -> str:
    return "+".join(sorted(table.name for table in tables))


def _of(name: str, labels: tuple[tuple[str, str], ...], total: Sum) -> list[Sample]:
    return [
        Sample(f"{name}_seconds_sum", labels, total.seconds),
        Sample(f"{name}_seconds_count", labels, total.count),
    ]


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
