"""What reconcilers count, under the names of Cilium's."""

from dataclasses import dataclass, field
from itertools import accumulate, repeat

from kubedyno.statedb.metrics import Sample, Sum
from kubedyno.stats.histogram import Histogram

# Those of client-go's work queues: 10 ns, and ten times as much each.
SPREAD_BOUNDS_S = tuple(accumulate(repeat(10, 9), lambda bound, factor: bound * factor, initial=10e-9))


@dataclass(slots=True)
class ReconcilerMetrics:
    """The figures of one reconciler.

    Attributes:
        name: The value of the label "module".
        rounds: Rounds that did something.
        update: Operations that update, a batch as one.
        delete: Operations that delete, a batch as one.
        errors: Operations that failed, ever.
        current_errors: Objects that fail now.
        prune: Prunes.
        prune_errors: Prunes that failed, ever.
        prune_failing: True while the last prune has failed.
        latency: From the request of a status to Done.
        waits: From a key's request to its turn; of a keyed reconciler, as the mean of each turn's keys.
        works: What a key took in its turn; likewise.
    """

    name: str
    rounds: int = 0
    update: Sum = field(default_factory=Sum)
    delete: Sum = field(default_factory=Sum)
    errors: int = 0
    current_errors: int = 0
    prune: Sum = field(default_factory=Sum)
    prune_errors: int = 0
    prune_failing: bool = False
    latency: Sum = field(default_factory=Sum)
    waits: Histogram = field(default_factory=lambda: Histogram(SPREAD_BOUNDS_S))
    works: Histogram = field(default_factory=lambda: Histogram(SPREAD_BOUNDS_S))

    def samples(self) -> list[Sample]:
        """Return the figures; durations in seconds."""
        module = (("module", self.name),)
        found = [
            Sample("reconciliation_count", module, self.rounds),
            Sample("reconciliation_total_errors", module, self.errors),
            Sample("reconciliation_current_errors", module, self.current_errors),
            Sample("prune_count", module, self.prune.count),
            Sample("prune_total_errors", module, self.prune_errors),
            Sample("prune_current_errors", module, float(self.prune_failing)),
        ]
        for name, labels, total in (
            ("reconciliation_duration", (*module, ("op", "update")), self.update),
            ("reconciliation_duration", (*module, ("op", "delete")), self.delete),
            ("reconciliation_latency", module, self.latency),
            ("prune_duration", module, self.prune),
        ):
            found.append(Sample(f"{name}_seconds_sum", labels, total.seconds))
            found.append(Sample(f"{name}_seconds_count", labels, total.count))
        return found
