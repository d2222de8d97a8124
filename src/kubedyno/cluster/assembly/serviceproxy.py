"""kube-proxy as far as it can be seen: the changes it follows and the rounds in which it would write its rules.

Changes of Services and EndpointSlices gather for a second at least, as with kube-proxy's minSyncPeriod, then come to rest
in one round. No rules are written; a round takes what following the changes took.
"""

from kubedyno.cluster.pump import Pump
from kubedyno.cluster.storage.store import Store
from kubedyno.kube.resources import ENDPOINTSLICES, SERVICES
from kubedyno.statedb.errors import ExpiredError
from kubedyno.stats.histogram import Histogram

# kube-proxy's iptables.minSyncPeriod.
_PERIOD_S = 1.0
_BATCH = 256
SYNC_BOUNDS_S = tuple(0.001 * 2**power for power in range(15))
# kube-proxy's: by quarters, seconds, five seconds, half minutes.
PROGRAMMING_BOUNDS_S = (
    0.25, 0.5, *(float(second) for second in range(1, 60)), *(60.0 + 5 * step for step in range(12)),
    *(120.0 + 30 * step for step in range(7)),
)  # fmt: skip


class ServiceProxy:
    """What one node's kube-proxy has seen; all nodes see the same.

    Args:
        store: What it follows.
        pump: Turns and time.

    Attributes:
        changes: Followed so far: "services" and "endpoints".
        pending: Of them, those of the round that is to come.
        rounds: Rounds by how long they took.
        programmed: Endpoints' changes by how long they waited for their round.
        last_s: Epoch seconds of the last round's end.
        asked_s: Epoch seconds of the last change.
    """

    def __init__(self, store: Store, pump: Pump) -> None:
        self._pump = pump
        self._tables = {"services": store.table(SERVICES), "endpoints": store.table(ENDPOINTSLICES)}
        self._cursors = {name: table.changes() for name, table in self._tables.items()}
        self._worker = pump.worker("kube-proxy", self._step)
        self._due = False
        self._next_s = 0.0
        self._waiting: list[tuple[float, int]] = []
        self.changes = dict.fromkeys(self._tables, 0)
        self.pending = dict.fromkeys(self._tables, 0)
        self.rounds = Histogram(SYNC_BOUNDS_S)
        self.programmed = Histogram(PROGRAMMING_BOUNDS_S)
        self._spent_s = 0.0
        self.last_s = 0.0
        self.asked_s = 0.0

    def start(self) -> None:
        """Follow from now on; what is there counts as changed."""
        for table in self._tables.values():
            table.subscribe(self._worker.wake)
        self._worker.wake()

    def _step(self, limit: int) -> bool:
        _ = limit
        clock = self._pump.clock
        began_s = clock.monotonic()
        more = False
        for name, table in self._tables.items():
            cursor = self._cursors[name]
            try:
                seen = len(cursor.next(_BATCH))
            except ExpiredError:
                cursor = self._cursors[name] = table.changes()
                seen, more = 0, True
            more = more or cursor.behind
            if seen:
                self.changes[name] += seen
                self.pending[name] += seen
                self.asked_s = clock.now()
                if name == "endpoints":
                    self._waiting.append((began_s, seen))
        ended_s = clock.monotonic()
        self._spent_s += ended_s - began_s
        if any(self.pending.values()) and not self._due:
            self._due = True
            self._pump.call_at(max(self._next_s, ended_s), self._sync)
        return more

    def _sync(self) -> None:
        clock = self._pump.clock
        began_s = clock.monotonic()
        self._due, self._next_s = False, began_s + _PERIOD_S
        self.pending = dict.fromkeys(self._tables, 0)
        waiting, self._waiting = self._waiting, []
        for since_s, count in waiting:
            self.programmed.add(began_s - since_s, count)
        took_s = self._spent_s + clock.monotonic() - began_s
        self._spent_s = 0.0
        self.rounds.add(took_s)
        self.last_s = clock.now()
