"""What the scheduler has done: attempts by their result, and how long pods waited until they were bound."""

from itertools import accumulate, repeat

from kubedyno.stats.histogram import Histogram

# As kube-scheduler's: 1 ms doubled 14 times; 10 ms doubled 19 times.
ATTEMPT_BOUNDS_S = tuple(accumulate(repeat(2.0, 14), lambda bound, factor: bound * factor, initial=0.001))
# 0.1 ms doubled 11 times.
STEP_BOUNDS_S = tuple(accumulate(repeat(2.0, 11), lambda bound, factor: bound * factor, initial=0.0001))
WAIT_BOUNDS_S = tuple(accumulate(repeat(2.0, 19), lambda bound, factor: bound * factor, initial=0.01))
TRIES_BOUNDS = (1, 2, 4, 8, 16)
SCHEDULED, UNSCHEDULABLE, ERROR = "scheduled", "unschedulable", "error"
# More are one label, as in kube-scheduler.
_MANY_TRIES = 15


class Counts:
    """The scheduler's figures.

    Attributes:
        attempts: By result: how long each took.
        waits: By number of attempts, "15+" for more: from a pod's arrival to its binding.
        tries: Attempts that a pod took until it was bound.
        incoming: Pods that came into a queue, by queue and event.
        binds: How long each binding took, its event included.
        preemptions: Attempts that evicted others.
        victims: How many each of them evicted.
        busy_s: Time spent in attempts.
    """

    def __init__(self) -> None:
        self.attempts = {result: Histogram(ATTEMPT_BOUNDS_S) for result in (SCHEDULED, UNSCHEDULABLE, ERROR)}
        self.waits: dict[str, Histogram] = {}
        self.tries = Histogram(TRIES_BOUNDS)
        self.incoming: dict[tuple[str, str], int] = {}
        self.binds = Histogram(STEP_BOUNDS_S)
        self.preemptions = 0
        self.victims = Histogram((1, 2, 4, 8, 16, 32, 64))
        self.busy_s = 0.0

    def tried(self, result: str, seconds: float) -> None:
        """Count an attempt."""
        self.attempts[result].add(seconds)
        self.busy_s += seconds

    def bound(self, tries: int, waited_s: float) -> None:
        """Count a pod that has its node.

        Args:
            tries: Attempts that it took.
            waited_s: Since it was first seen.
        """
        label = str(tries) if tries <= _MANY_TRIES else f"{_MANY_TRIES}+"
        waits = self.waits.get(label)
        if waits is None:
            waits = self.waits[label] = Histogram(WAIT_BOUNDS_S)
        waits.add(max(0.0, waited_s))
        self.tries.add(tries)

    def came(self, queue: str, event: str, pods: int = 1) -> None:
        """Count pods that came into a queue."""
        if pods:
            key = (queue, event)
            self.incoming[key] = self.incoming.get(key, 0) + pods
