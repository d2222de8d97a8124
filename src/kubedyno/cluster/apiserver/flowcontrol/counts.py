"""What became of requests: numbers and histograms behind the apiserver_flowcontrol_* series."""

from kubedyno.stats.histogram import Histogram

# Those of the real server.
_WAIT_BOUNDS_S = (0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30)
_WIDTH_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 100)


class Counts:
    """What became of a schema's requests at a level.

    Attributes:
        dispatched: Got their seats.
        executing: Have them now, and how many.
        waiting: Are in queues, and how many seats they need.
        rejected: By reason.
        waits: Seconds in queues, by whether a request got its seats then.
        executions: Seconds with seats, of watches (until they are set up) and of others.
        single: Needed one seat.
        wider: How many seats others needed.
    """

    __slots__ = (
        "dispatched",
        "executing",
        "executing_seats",
        "executions",
        "rejected",
        "single",
        "waiting",
        "waiting_seats",
        "waits",
        "wider",
    )

    def __init__(self) -> None:
        self.dispatched = 0
        self.executing = 0
        self.executing_seats = 0
        self.waiting = 0
        self.waiting_seats = 0
        self.rejected: dict[str, int] = {}
        self.waits = {executed: Histogram(_WAIT_BOUNDS_S) for executed in (True, False)}
        self.executions = {watch: Histogram(_WAIT_BOUNDS_S) for watch in (True, False)}
        self.single = 0
        self.wider = Histogram(_WIDTH_BOUNDS)

    def reject(self, why: str) -> None:
        """Count one that is not served."""
        self.rejected[why] = self.rejected.get(why, 0) + 1
