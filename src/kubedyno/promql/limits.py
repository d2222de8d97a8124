"""How queries are evaluated, and how much one of them may take."""

from dataclasses import dataclass

from kubedyno.base.clock import Clock
from kubedyno.promql.errors import QueryError, QueryTimeoutError
from kubedyno.promql.rows import Grid


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How queries are evaluated.

    Attributes:
        lookback_ms: A sample counts as current for so long.
        subquery_step_ms: Of subqueries that name none; Prometheus' evaluation_interval.
        max_samples: Values that one query may load or make.
        max_series: Series that one selector may choose.
        max_steps: Steps of one query, those of its subqueries too.
        timeout_s: How long one query may take.
        later: Prometheus 3's language: spans without their first instant, its functions.
    """

    lookback_ms: int = 300_000
    subquery_step_ms: int = 60_000
    max_samples: int = 20_000_000
    max_series: int = 200_000
    max_steps: int = 500_000
    timeout_s: float = 60.0
    later: bool = False


class Budget:
    """What one query under way may still take; its time begins when this is made."""

    def __init__(self, options: EngineOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._deadline_s = clock.monotonic() + options.timeout_s
        self._samples = 0

    def spend(self, samples: int) -> None:
        """Count samples that are loaded or made; raises QueryError when they or the time are too many."""
        self._samples += samples
        if self._samples > self._options.max_samples:
            raise QueryError(
                f"query processing would load too many samples into memory in query execution: more than "
                f"{self._options.max_samples}"
            )
        if self._clock.monotonic() > self._deadline_s:
            raise QueryTimeoutError(f"query timed out in expression evaluation: {self._options.timeout_s:g} s")

    def check(self, grid: Grid) -> None:
        """Raise QueryError when there are too many steps."""
        if grid.count > self._options.max_steps:
            raise QueryError(f"{grid.count} steps to evaluate: at most {self._options.max_steps} are taken")
