"""Pods that wait for a node: ready to be tried, backing off, or unschedulable until something changes.

By priority, then by the time at which they became ready. A pod that could not be scheduled waits in the pool until a
change that may help moves it on; its back-off doubles with each failure. As since 1.33, pods that back off after
having been unschedulable are tried at once when no other pod is ready; those that back off after an error never are.
"""

import heapq
import math
from collections.abc import Callable
from enum import Enum
from itertools import count

from kubedyno.cluster.registry.kinds.podfacts import PodSpecFacts
from kubedyno.cluster.storage.objects import StoredObject

# podInitialBackoffSeconds and podMaxBackoffSeconds of the default configuration.
INITIAL_BACKOFF_S = 1.0
MAX_BACKOFF_S = 10.0
# Pods that nothing moved are tried again after this time (podMaxInUnschedulablePodsDuration).
MAX_UNSCHEDULABLE_S = 300.0


class Place(Enum):
    """Where a waiting pod is."""

    READY = "ready"
    BACKOFF = "backoff"
    ERROR_BACKOFF = "error backoff"
    POOL = "pool"
    TAKEN = "taken"
    GONE = "gone"


class Waiting:
    """A pod that waits.

    Attributes:
        obj: Its newest version that the scheduler has seen.
        added_s: When its first one came.
        attempts: How often it was unschedulable.
        plugins: Which plugins rejected it last.
        since_s: When it entered the pool.
        ticket: Of its one valid entry in a heap.
        told: What its condition was last set to, and the status that made.
    """

    __slots__ = (
        "added_s",
        "attempts",
        "backoff_until_s",
        "errors",
        "obj",
        "place",
        "plugins",
        "since_s",
        "ticket",
        "told",
    )

    def __init__(self, obj: StoredObject, added_s: float = 0.0) -> None:
        self.obj = obj
        self.added_s = added_s
        self.place = Place.GONE
        self.attempts = 0
        self.errors = 0
        self.plugins: frozenset[str] = frozenset()
        self.backoff_until_s = 0.0
        self.since_s = 0.0
        self.ticket = 0
        self.told: tuple[str, bytes] = ("", b"")


Heap = list[tuple[float, int, int, Waiting]]


def backoff_s(failures: int, initial_s: float = INITIAL_BACKOFF_S, max_s: float = MAX_BACKOFF_S) -> float:
    """Return for how long a pod backs off after so many failures in a row."""
    return min(initial_s * 2.0 ** max(min(failures, 16) - 1, 0), max_s)


class Queue:
    """All waiting pods.

    Args:
        pops_early: Pods that back off may be taken when none is ready (SchedulerPopFromBackoffQ).
        initial_backoff_s: podInitialBackoffSeconds.
        max_backoff_s: podMaxBackoffSeconds.
    """

    def __init__(
        self,
        *,
        pops_early: bool = True,
        initial_backoff_s: float = INITIAL_BACKOFF_S,
        max_backoff_s: float = MAX_BACKOFF_S,
    ) -> None:
        self._pops_early = pops_early
        self._initial_s = initial_backoff_s
        self._max_s = max_backoff_s
        self._tickets = count(1)
        self.pods: dict[str, Waiting] = {}
        # (time due, -priority, ticket, pod), time 0 for those that are ready; valid while the pod has that ticket.
        self._ready: Heap = []
        self._backoff: Heap = []
        self._errors: Heap = []
        self.pool: dict[str, Waiting] = {}

    def add(self, obj: StoredObject, now_s: float = 0.0) -> None:
        """Take in a pod that is new here."""
        waiting = self.pods[obj.key] = Waiting(obj, now_s)
        self._make_ready(waiting)

    def remove(self, key: str) -> bool:
        """Forget a pod; False when it is not here."""
        waiting = self.pods.pop(key, None)
        if waiting is None:
            return False
        self.pool.pop(key, None)
        waiting.place, waiting.ticket = Place.GONE, 0
        return True

    def take(self, now_s: float) -> Waiting | None:
        """Return the pod to be tried next, None when there is none."""
        self._end_backoff(self._backoff, now_s)
        self._end_backoff(self._errors, now_s)
        waiting = _pop(self._ready)
        if waiting is None and self._pops_early:
            waiting = _pop(self._backoff)
        if waiting is not None:
            waiting.place, waiting.ticket = Place.TAKEN, 0
        return waiting

    def has_ready(self, now_s: float) -> bool:
        """Say whether `take` would return a pod."""
        due_s = self.next_due_s()
        return bool(
            _top(self._ready) or (self._pops_early and _top(self._backoff)) or (due_s is not None and due_s <= now_s)
        )

    def next_due_s(self) -> float | None:
        """Return when the next back-off ends that has to be waited for."""
        heaps = (self._errors,) if self._pops_early else (self._backoff, self._errors)
        return min((heap[0][0] for heap in heaps if _top(heap)), default=None)

    def put_back(self, waiting: Waiting, plugins: frozenset[str], now_s: float) -> None:
        """Put a pod that was taken and is unschedulable into the pool."""
        waiting.attempts += 1
        waiting.errors = 0
        waiting.plugins = plugins
        waiting.backoff_until_s = self._end_of(now_s + backoff_s(waiting.attempts, self._initial_s, self._max_s))
        waiting.since_s = now_s
        waiting.place = Place.POOL
        # Last in, last out: the pool is in the order of time, for `flush`.
        self.pool[waiting.obj.key] = waiting

    def put_back_after_error(self, waiting: Waiting, now_s: float) -> None:
        """Try a pod again that was taken and could not be bound, after its back-off."""
        waiting.errors += 1
        waiting.backoff_until_s = self._end_of(now_s + backoff_s(waiting.errors, self._initial_s, self._max_s))
        self._push(self._errors, waiting, waiting.backoff_until_s, Place.ERROR_BACKOFF)

    def _end_of(self, due_s: float) -> float:
        """Return when a back-off ends: by whole seconds, so that among those of one second priority decides."""
        return math.floor(due_s) if self._pops_early else due_s

    def move(self, now_s: float, chosen: Callable[[Waiting], bool]) -> bool:
        """Move the pods of the pool that `chosen` says on; True when there was one. O(pool)."""
        moved = [waiting for waiting in self.pool.values() if chosen(waiting)]
        for waiting in moved:
            self._leave_pool(waiting, now_s)
        return bool(moved)

    def flush(self, now_s: float) -> None:
        """Move on the pods that were in the pool for too long."""
        overdue = []
        for waiting in self.pool.values():
            if waiting.since_s + MAX_UNSCHEDULABLE_S > now_s:
                break
            overdue.append(waiting)
        for waiting in overdue:
            self._leave_pool(waiting, now_s)

    def updated(self, waiting: Waiting, now_s: float) -> None:
        """Move a pod on whose own spec or labels changed so that it may fit now."""
        if waiting.place is Place.POOL:
            self._leave_pool(waiting, now_s)

    def _leave_pool(self, waiting: Waiting, now_s: float) -> None:
        del self.pool[waiting.obj.key]
        if waiting.backoff_until_s > now_s:
            self._push(self._backoff, waiting, waiting.backoff_until_s, Place.BACKOFF)
        else:
            self._make_ready(waiting)

    def _make_ready(self, waiting: Waiting) -> None:
        self._push(self._ready, waiting, 0.0, Place.READY)

    def _push(self, heap: Heap, waiting: Waiting, due_s: float, place: Place) -> None:
        spec: PodSpecFacts = waiting.obj.facts.spec
        waiting.place, waiting.ticket = place, next(self._tickets)
        heapq.heappush(heap, (due_s, -spec.priority, waiting.ticket, waiting))

    def _end_backoff(self, heap: Heap, now_s: float) -> None:
        while heap and heap[0][0] <= now_s:
            _, _, ticket, waiting = heapq.heappop(heap)
            if waiting.ticket == ticket:
                self._make_ready(waiting)


def _top(heap: Heap) -> bool:
    """Drop invalid entries from the top; True when a valid one is there."""
    while heap and heap[0][3].ticket != heap[0][2]:
        heapq.heappop(heap)
    return bool(heap)


def _pop(heap: Heap) -> Waiting | None:
    return heapq.heappop(heap)[3] if _top(heap) else None
