"""The rows of one kind of workload by uid: which there are, whose newest version is which, and which are still wanted.

A row is what a controller knows of one object. Its object may be gone, or another one of the same name have come: only
the uid says whether they belong together.
"""

from typing import Protocol, TypeVar

from kubedyno.cluster.controllers.podrows import PodOwner, PodRows
from kubedyno.cluster.storage.store import ObjectRecord, ObjectTable
from kubedyno.cluster.workqueue import WorkQueue


class WorkloadRow(PodOwner, Protocol):
    """A row that is queued, and owns pods."""

    key: str

    def __hash__(self) -> int:
        """Rows are told apart by identity."""


R = TypeVar("R", bound=WorkloadRow)


class WorkloadRows(dict[str, R]):
    """Rows by uid.

    Args:
        table: Of their objects.
        pods: Hands each row its pods.
        queue: Forgets the rows that are gone.
    """

    def __init__(self, table: ObjectTable, pods: PodRows, queue: WorkQueue[R]) -> None:
        super().__init__()
        self._table = table
        self._pods = pods
        self._queue = queue

    def add(self, row: R) -> None:
        """Take in a row, and hand it its pods."""
        self[row.uid] = row
        self._pods.add(row)

    def gone(self, record: ObjectRecord) -> R | None:
        """Let go of the row of an object that is gone; returns it, None when there was none."""
        row = self.pop(record.obj.uid, None)
        if row is not None:
            self._pods.remove(row.uid)
            self._queue.forget(row)
        return row

    def newest(self, row: R) -> ObjectRecord | None:
        """Return a row's object as it is now, None when it is gone."""
        record = self._table.get(row.key)
        return record if record is not None and record.obj.uid == row.uid else None

    def is_live(self, row: R) -> bool:
        """Say whether a row's object exists and is not being deleted."""
        record = self.newest(row)
        return record is not None and not record.obj.deletion_s
