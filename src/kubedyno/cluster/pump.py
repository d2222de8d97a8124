"""The pump: all background work of the cluster, in bounded slices on one event loop.

Controllers, scheduler and kubelets are workers: plain functions that do at most `limit` items and say
whether more is waiting. The pump gives them turns round robin for a few milliseconds, then lets the loop
serve requests, and is armed again only while somebody has work. Nothing here awaits, so a worker's step is
atomic with respect to requests and to other workers.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any

from kubedyno.base.clock import Clock
from kubedyno.base.log import logger
from kubedyno.reconciler.execute import text_of
from kubedyno.reconciler.health import Health
from kubedyno.reconciler.keyed import KeyedReconciler

# Items a worker may do in one turn: small enough that a turn stays under a millisecond.
TURN_ITEMS = 16
# A slice while nobody asks for anything, and while somebody does.
SLICE_S = 0.005
BUSY_SLICE_S = 0.001

Step = Callable[[int], bool]


class Worker:
    """One reconciler's place in the pump. `wake` is cheap and idempotent."""

    __slots__ = ("_pump", "health", "name", "queued", "step")

    def __init__(self, pump: "Pump", name: str, step: Step, health: Health) -> None:
        self._pump = pump
        self.name = name
        self.step = step
        self.health = health
        self.queued = False

    def wake(self) -> None:
        """Say that there is work: the worker gets a turn soon."""
        if not self.queued:
            self.queued = True
            self._pump.enqueue(self)


class Timer:
    """A call due at a time; `cancel` is O(1), the heap forgets it when it comes up."""

    __slots__ = ("call", "due_s")

    def __init__(self, due_s: float, call: Callable[[], None]) -> None:
        self.due_s = due_s
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None


class Pump:
    """Runs workers and timers in slices.

    Args:
        clock: `monotonic` must be the loop's own time.
        in_use: Says whether somebody waits for an answer, or may ask again soon; slices are short then.
        slice_items: Instead of a time limit, at most this many items a slice (simulated time needs it).

    Attributes:
        health: How the cluster's parts are; a worker whose turn failed is degraded until one goes well.
        reconcilers: All reconcilers that run here, in the order in which they were made.
    """

    def __init__(
        self, clock: Clock, in_use: Callable[[], bool] = lambda: False, slice_items: int | None = None
    ) -> None:
        self.clock = clock
        self.in_use = in_use
        self._slice_items = slice_items
        self._ready: deque[Worker] = deque()
        self._timers: list[tuple[float, int, Timer]] = []
        self._ids = count()
        self._armed = False
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_due_s = 0.0
        self._stopped = False
        self.health = Health()
        self.reconcilers: list[KeyedReconciler[Any]] = []
        self._failing: set[Worker] = set()

    def worker(self, name: str, step: Step, health: Health | None = None) -> Worker:
        """Register a worker; it sleeps until `wake`.

        Args:
            name: Unique; for logs and health.
            step: Does at most so many items; says whether more is waiting.
            health: Where its health is told; below "workers" if None.
        """
        if health is None:
            health = self.health.part("workers").part(name)
            health.ok()
        return Worker(self, name, step, health)

    def enqueue(self, worker: Worker) -> None:
        self._ready.append(worker)
        self._arm()

    def call_at(self, due_s: float, call: Callable[[], None]) -> Timer:
        """Call `call` once at that monotonic time, never earlier. An exception in it is logged, not raised."""
        timer = Timer(due_s, call)
        heapq.heappush(self._timers, (due_s, next(self._ids), timer))
        if self._timers[0][2] is timer:
            self._set_alarm()
        return timer

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Timer:
        return self.call_at(self.clock.monotonic() + delay_s, call)

    @property
    def idle(self) -> bool:
        """True when no worker waits for a turn (timers may still be due later)."""
        return not self._ready

    def stop(self) -> None:
        """Drop all workers and timers; nothing runs after this."""
        self._stopped = True
        self.health.stop_all()
        self._ready.clear()
        self._timers.clear()
        if self._alarm is not None:
            self._alarm.cancel()

    def _arm(self) -> None:
        if not self._armed and not self._stopped:
            self._armed = True
            asyncio.get_running_loop().call_soon(self._slice)

    def _set_alarm(self) -> None:
        if not self._timers or self._stopped:
            return
        due_s = self._timers[0][0]
        if self._alarm is not None:
            if self._alarm_due_s <= due_s:
                return
            self._alarm.cancel()
        self._alarm_due_s = due_s
        self._alarm = asyncio.get_running_loop().call_at(due_s, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._arm()

    def _slice(self) -> None:
        self._armed = False
        monotonic = self.clock.monotonic
        start_s = monotonic()
        end_s = start_s + (BUSY_SLICE_S if self.in_use() else SLICE_S)
        items_left = self._slice_items
        ready = self._ready
        timers = self._timers
        now_s = start_s
        while True:
            # Timers first: they are what readiness and back-off are made of, and each is one item.
            turns = TURN_ITEMS
            while timers and timers[0][0] <= now_s and turns:
                call = heapq.heappop(timers)[2].call
                if call is not None:
                    turns -= 1
                    try:
                        call()
                    except Exception:  # noqa: BLE001 - logged; the other timers are nobody's fault
                        logger(__name__).exception("a timer of the pump failed")
            if not ready and not (timers and timers[0][0] <= now_s):
                break
            if ready:
                worker = ready.popleft()
                worker.queued = False
                try:
                    more = worker.step(TURN_ITEMS)
                except Exception as error:  # noqa: BLE001 - logged with its traceback
                    # One worker's fault must not stop the others; the worker keeps its place.
                    logger(__name__).exception("worker %s failed", worker.name)
                    more = False
                    self._failing.add(worker)
                    worker.health.degraded(text_of(error))
                else:
                    if self._failing and worker in self._failing:
                        self._failing.discard(worker)
                        worker.health.ok()
                if more:
                    worker.wake()
            now_s = monotonic()
            if items_left is not None:
                items_left -= TURN_ITEMS
                if items_left <= 0:
                    break
            elif now_s >= end_s:
                break
        if ready or (timers and timers[0][0] <= now_s):
            self._arm()
        elif timers:
            self._set_alarm()
