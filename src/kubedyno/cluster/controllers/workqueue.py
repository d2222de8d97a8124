"""A controller's queue: keys to reconcile, each at most once, with back-off for those that failed.

The queue is a worker of the pump. One failing key never stops the others: it is logged and tried again later.
"""

from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from kubedyno.base.log import logger
from kubedyno.cluster.pump import Pump, Timer
from kubedyno.kube.status import StatusError

K = TypeVar("K", bound=Hashable)
_logger = logger(__name__)

# client-go's DefaultTypedControllerRateLimiter: 5 ms doubled with each failure, at most 1,000 s.
_BASE_DELAY_S = 0.005
_MAX_DELAY_S = 1000.0
_MAX_DOUBLINGS = 18


class WorkQueue(Generic[K]):
    """Keys waiting for their turn.

    Args:
        pump: Gives turns and timers.
        name: For logs.
        reconcile: (key, budget) → items done. It may do up to `budget` writes or so, and adds the key again when
            something is left.
    """

    def __init__(self, pump: Pump, name: str, reconcile: Callable[[K, int], int]) -> None:
        self.name = name
        self._pump = pump
        self._reconcile = reconcile
        self._keys: deque[K] = deque()
        self._queued: set[K] = set()
        self._failures: dict[K, int] = {}
        # One timer a key: the earliest asked for.
        self._timers: dict[K, Timer] = {}
        self._worker = pump.worker(name, self._step)

    def add(self, key: K) -> None:
        """Have a key reconciled soon."""
        if key not in self._queued:
            self._queued.add(key)
            self._keys.append(key)
            self._worker.wake()

    def add_after(self, key: K, delay_s: float) -> None:
        """Have a key reconciled after a time, or earlier if that was asked before."""
        due_s = self._pump.clock.monotonic() + delay_s
        timer = self._timers.get(key)
        if timer is not None:
            if timer.due_s <= due_s:
                return
            timer.cancel()
        self._timers[key] = self._pump.call_at(due_s, lambda: self._due(key))

    def retry(self, key: K) -> None:
        """Have a key reconciled again after its back-off, which grows until `forget`."""
        failures = self._failures.get(key, 0)
        self._failures[key] = min(failures + 1, _MAX_DOUBLINGS)
        self.add_after(key, min(_BASE_DELAY_S * 2**failures, _MAX_DELAY_S))

    def forget(self, key: K) -> None:
        """Say that a key went well, or is gone."""
        if self._failures:
            self._failures.pop(key, None)

    def _due(self, key: K) -> None:
        del self._timers[key]
        self.add(key)

    def _step(self, limit: int) -> bool:
        keys, queued, reconcile = self._keys, self._queued, self._reconcile
        while keys and limit > 0:
            key = keys.popleft()
            queued.remove(key)
            try:
                limit -= max(reconcile(key, limit), 1)
            except StatusError as error:
                _logger.debug("%s: %s: %s", self.name, key, error)
                self.retry(key)
                limit -= 1
            except Exception:
                _logger.exception("%s: %s failed", self.name, key)
                self.retry(key)
                limit -= 1
        return bool(keys)
