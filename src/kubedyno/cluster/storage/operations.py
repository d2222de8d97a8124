"""What the store was asked to do and how long it took, by operation and table: `etcd_request_duration_seconds`.

A real API server measures its requests to etcd; here they are function calls of microseconds.
"""

from kubedyno.stats.histogram import Histogram

# Those of the real server's etcd_request_duration_seconds.
BOUNDS_S = (
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60,
)  # fmt: skip
CREATE, UPDATE, DELETE = "create", "update", "delete"


class Operations:
    """Counts operations, by (operation, table)."""

    def __init__(self) -> None:
        self.cells: dict[tuple[str, str], Histogram] = {}

    def cell(self, operation: str, table: str) -> Histogram:
        """Return where one operation on one table is counted."""
        cell = self.cells.get((operation, table))
        if cell is None:
            cell = self.cells[operation, table] = Histogram(BOUNDS_S)
        return cell

    def count(self, *operations: str) -> int:
        """Return how many there were of some operations; of all without any."""
        return sum(cell.count for (name, _), cell in self.cells.items() if not operations or name in operations)

    @property
    def slow(self) -> int:
        """Those beyond the first bucket, 5 ms."""
        return sum(sum(cell.counts[1:]) for cell in self.cells.values())

    @property
    def seconds(self) -> float:
        """The time that all of them took."""
        return sum(cell.total for cell in self.cells.values())
