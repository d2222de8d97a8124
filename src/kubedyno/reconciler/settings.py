"""How a reconciler paces itself. Its `settings` may be replaced while it runs: it looks at them each round."""

from dataclasses import dataclass

# Defaults of Cilium's reconciler.
ROUND_SIZE = 1000
ROUNDS_PER_S = 1000.0
RETRY_MIN_S = 0.1
RETRY_MAX_S = 60.0
REFRESH_INTERVAL_S = 30 * 60.0
REFRESH_PER_S = 100.0
PRUNE_INTERVAL_S = 60 * 60.0
OPERATION_TIMEOUT_S = 60.0
# Errors named in a health report.
REPORTED_ERRORS = 10


@dataclass(frozen=True, slots=True)
class ReconcilerSettings:
    """The pace.

    Attributes:
        round_size: Objects in a round at most.
        rounds_per_s: Rounds a second at most.
        retry_min_s: Back-off after the first failure; it doubles with each.
        retry_max_s: Back-off at most.
        refresh_interval_s: Age at which a done object is done again; None never.
        refresh_per_s: Objects so refreshed a second at most.
        prune_interval_s: Between full prunes; the first comes when the table is initialized. None never.
        operation_timeout_s: How long one call of an operation that waits may take.
        concurrency: Waiting operations in flight at most; those of one object never overlap.
    """

    round_size: int = ROUND_SIZE
    rounds_per_s: float = ROUNDS_PER_S
    retry_min_s: float = RETRY_MIN_S
    retry_max_s: float = RETRY_MAX_S
    refresh_interval_s: float | None = REFRESH_INTERVAL_S
    refresh_per_s: float = REFRESH_PER_S
    prune_interval_s: float | None = PRUNE_INTERVAL_S
    operation_timeout_s: float = OPERATION_TIMEOUT_S
    concurrency: int = 1

    def __post_init__(self) -> None:
        if self.round_size < 1 or self.concurrency < 1 or self.rounds_per_s <= 0 or self.refresh_per_s <= 0:
            raise ValueError("sizes, rates and concurrency are above zero")
        if not 0 < self.retry_min_s <= self.retry_max_s:
            raise ValueError("0 < retry_min_s ≤ retry_max_s does not hold")
