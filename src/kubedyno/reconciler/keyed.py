"""The level-triggered reconciler: keys instead of table rows, for targets that are looked up anew each time.

Somebody says `add(key)` whenever something about a key may have changed; `reconcile(key, budget)` compares what is with
what should be and does what is missing. Nothing here waits: the owner gives turns (`step`) after each `wake`, so it
runs wherever there is a loop of plain functions. A key is queued at most once; one that fails is tried again with
back-off while the others go on. Only failures are kept by key; what went well is counted.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from functools import partial
from itertools import islice
from typing import Generic, Protocol, TypeVar

from kubedyno.base.clock import Clock
from kubedyno.base.log import logger
from kubedyno.reconciler.execute import text_of
from kubedyno.reconciler.health import Health
from kubedyno.reconciler.metrics import ReconcilerMetrics
from kubedyno.reconciler.progress import Progress, Reached
from kubedyno.reconciler.retries import Retries
from kubedyno.reconciler.settings import REPORTED_ERRORS, RETRY_MAX_S, RETRY_MIN_S
from kubedyno.reconciler.status import ERROR, PENDING, Status

K = TypeVar("K", bound=Hashable)
_logger = logger(__name__)


class Timer(Protocol):
    """A call to come."""

    due_s: float

    def cancel(self) -> None:
        """Have it not come."""


class Postponed(Exception):
    """A key's work waits for something that takes its time: it is done anew when that is there.

    Args:
        then: Takes what is to be called once it is there.
    """

    def __init__(self, then: Callable[[Callable[[], None]], None]) -> None:
        super().__init__()
        self.then = then


# How many turns are under way, one in another.
_turns = [0]


def in_turn() -> bool:
    """Say whether a key is being reconciled: what is called may postpone it."""
    return _turns[0] > 0


class KeyedReconciler(Generic[K]):
    """Keys waiting for their turn.

    Args:
        name: For metrics, health and logs.
        reconcile: (key, budget) → items done. It may do up to `budget` items or so, and adds the key again when
            something is left. It fails by raising, or, when it has to go on all the same, by calling `retry`.
        clock: Of its timers and statuses.
        wake: Called when there is work; the owner then calls `step`.
        call_at: (monotonic seconds, call) → a timer that calls it then, once.
        health: Where to report; a tree of its own if None.
        retry_min_s: Back-off after the first failure; it doubles with each.
        retry_max_s: Back-off at most.
        refusals: Errors that are the target's way to say no; all others are logged with their traceback.
        name_of: Key → its name in reports.
    """

    def __init__(
        self,
        name: str,
        reconcile: Callable[[K, int], int],
        *,
        clock: Clock,
        wake: Callable[[], None],
        call_at: Callable[[float, Callable[[], None]], Timer],
        health: Health | None = None,
        retry_min_s: float = RETRY_MIN_S,
        retry_max_s: float = RETRY_MAX_S,
        refusals: type[Exception] | tuple[type[Exception], ...] = (),
        name_of: Callable[[K], str] = str,
    ) -> None:
        self.name = name
        self.metrics = ReconcilerMetrics(name)
        self.health = (health or Health()).part(name)
        self.health.ok()
        self._reconcile = reconcile
        self._clock = clock
        self._monotonic = clock.monotonic
        self._wake = wake
        self._call_at = call_at
        self._retry_min_s = retry_min_s
        self._retry_max_s = retry_max_s
        self._refusals = refusals
        self._name_of = name_of
        # In order; and when each was asked for.
        self._keys: deque[K] = deque()
        self._asked_s: dict[K, float] = {}
        # How many keys were taken from the queue, ever: the "revision" of this reconciler.
        self._taken = 0
        self._retries: Retries[K] = Retries()
        # In hand, and whether `retry` was called for it.
        self._running: K | None = None
        self._failed = False
        self._retry_timer: Timer | None = None
        # One timer a key: the earliest asked for.
        self._timers: dict[K, Timer] = {}
        self._progress: Progress | None = None

    # --- asking -------------------------------------------------------------------------------------------------

    def add(self, key: K) -> None:
        """Have a key reconciled soon."""
        if key not in self._asked_s:
            self._asked_s[key] = self._monotonic()
            self._keys.append(key)
            self._wake()

    def add_after(self, key: K, delay_s: float) -> None:
        """Have a key reconciled after a time, or earlier if that was asked before."""
        due_s = self._monotonic() + delay_s
        timer = self._timers.get(key)
        if timer is not None:
            if timer.due_s <= due_s:
                return
            timer.cancel()
        self._timers[key] = self._call_at(due_s, lambda: self._due(key))

    def retry(self, key: K, error: str) -> None:
        """Say that a key has failed, and why: it comes again after its back-off, which grows until it succeeds."""
        if key == self._running:
            self._failed = True
        self.metrics.errors += 1
        self._retries.add(key, key, self._taken, error, self._monotonic(), self._retry_min_s, self._retry_max_s)
        self._set_retry_timer()
        if self._running is None:
            # Else the turn reports when it ends.
            self._report()

    def forget(self, key: K) -> None:
        """Say that a key is gone, or well: no more of its failures."""
        if len(self._retries) and self._retries.get(key) is not None:
            self._retries.clear(key)
            self._report()

    # --- telling ------------------------------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """How many keys wait for their turn."""
        return len(self._keys)

    @property
    def failing(self) -> int:
        """How many keys fail now."""
        return len(self._retries)

    @property
    def done(self) -> int:
        """How many reconciliations have gone well, ever."""
        return self.metrics.latency.count

    def status(self, key: K) -> Status | None:
        """Return a key's status: Error, Pending, or None when nothing is known of it: done, or never asked for."""
        retry = self._retries.get(key)
        if retry is not None:
            return Status(ERROR, self._wall_s(retry.failed_s), retry.error)
        asked_s = self._asked_s.get(key)
        return None if asked_s is None else Status(PENDING, self._wall_s(asked_s))

    def statuses(self) -> Iterator[tuple[str, Status]]:
        """Yield (name, status) of all keys that fail, then of those that wait for their first turn."""
        for retry in list(self._retries):
            yield self._name_of(retry.item), Status(ERROR, self._wall_s(retry.failed_s), retry.error)
        for key, asked_s in list(self._asked_s.items()):
            if self._retries.get(key) is None:
                yield self._name_of(key), Status(PENDING, self._wall_s(asked_s))

    @property
    def asked(self) -> int:
        """How many keys were put into the queue, ever; what `wait_until_reconciled` counts with."""
        return self._taken + len(self._keys)

    @property
    def reached(self) -> Reached:
        """How far it has come, in keys; `failing` is the lowest that still fails."""
        return Reached(self._taken, self._retries.low_watermark())

    async def wait_until_reconciled(self, timeout_s: float, *, success: bool = False) -> Reached:
        """Wait until all that was asked for until now was attempted, or has gone well.

        Raises:
            TimeoutError: It takes longer.
        """
        if self._progress is None:
            self._progress = Progress()
        progress, until = self._progress, self.asked
        progress.move(self._taken, self._retries.low_watermark())
        return await progress.wait(until, timeout_s, success=success)

    def is_failing(self, key: K) -> bool:
        """True when the last attempt at a key has failed."""
        return len(self._retries) > 0 and self._retries.get(key) is not None

    # --- turns --------------------------------------------------------------------------------------------------

    def step(self, limit: int) -> bool:
        """Do at most about `limit` items; True when more is waiting."""
        keys = self._keys
        if not keys:
            return False
        asked_s, reconcile, retries = self._asked_s, self._reconcile, self._retries
        failing, errors = len(retries), self.metrics.errors
        began_s = self._monotonic()
        waited_s, asked_sum_s, taken, failed = 0.0, 0.0, 0, 0
        _turns[0] += 1
        try:
            while keys and limit > 0:
                key = self._running = keys.popleft()
                since_s = asked_s.pop(key)
                asked_sum_s += since_s
                self._taken += 1
                taken += 1
                try:
                    limit -= max(reconcile(key, limit), 1)
                except Postponed as postponed:
                    postponed.then(partial(self.add, key))
                    limit -= 1
                except Exception as error:
                    if isinstance(error, self._refusals):
                        _logger.debug("%s: %s: %s", self.name, key, error)
                    else:
                        _logger.exception("%s: %s failed", self.name, key)
                    self.retry(key, text_of(error))
                    limit -= 1
                if self._failed:
                    self._failed = False
                    failed += 1
                else:
                    waited_s += since_s
                    if len(retries):
                        retries.clear(key)
        finally:
            self._running = None
            _turns[0] -= 1
        now_s = self._monotonic()
        metrics = self.metrics
        metrics.rounds += 1
        metrics.update.seconds += now_s - began_s
        metrics.update.count += taken
        metrics.works.add((now_s - began_s) / taken, taken)
        # One that was asked for within this turn has not waited.
        metrics.waits.add(max(0.0, began_s - asked_sum_s / taken), taken)
        done = taken - failed
        metrics.latency.seconds += done * now_s - waited_s
        metrics.latency.count += done
        if failing or metrics.errors != errors:
            self._report()
        if self._progress is not None:
            self._progress.move(self._taken, retries.low_watermark())
        return bool(keys)

    def _due(self, key: K) -> None:
        del self._timers[key]
        self.add(key)

    def _set_retry_timer(self) -> None:
        due_s = self._retries.next_due_s()
        timer = self._retry_timer
        if due_s is None or (timer is not None and timer.due_s <= due_s):
            return
        if timer is not None:
            timer.cancel()
        self._retry_timer = self._call_at(due_s, self._retry_due)

    def _retry_due(self) -> None:
        self._retry_timer = None
        for retry in self._retries.take_due(self._monotonic(), len(self._retries)):
            self.add(retry.item)
        self._set_retry_timer()

    def _wall_s(self, monotonic_s: float) -> float:
        return self._clock.now() - (self._monotonic() - monotonic_s)

    def _report(self) -> None:
        self.metrics.current_errors = failing = len(self._retries)
        if not failing:
            self.health.ok()
            return
        named = (f"{self._name_of(retry.item)}: {retry.error}" for retry in islice(self._retries, REPORTED_ERRORS))
        self.health.degraded(f"{failing} error(s): {'; '.join(named)}")
