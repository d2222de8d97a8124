"""What selectors choose of a store: each series' current sample at each step, or its samples in a span before it.

Markers of ended series end here; offsets and @ move the instants, and 2.x and 3 differ in where a span begins.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from kubedyno.promql.errors import QueryError
from kubedyno.promql.language import matchers_of
from kubedyno.promql.limits import Budget, EngineOptions
from kubedyno.promql.rows import Grid, Labels, Row, Values, is_stale
from kubedyno.promql.store import SeriesStore
from kubedyno.promql.windows import Window

# A series, the times of its samples, and their values.
Samples = tuple[Labels, list[int], list[float]]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


def milliseconds(duration: timedelta | None) -> int:
    """Return a duration that a query names, 0 when it names none."""
    return 0 if duration is None else duration // _MS


class Selection:
    """The selectors of one query.

    Args:
        store: The series.
        options: Limits and language.
        budget: Of the query.
        start_ms: What `@ start()` names.
        end_ms: What `@ end()` names.
    """

    def __init__(self, store: SeriesStore, options: EngineOptions, budget: Budget, start_ms: int, end_ms: int) -> None:
        self._store = store
        self._options = options
        self._budget = budget
        self._start_ms = start_ms
        self._end_ms = end_ms

    def _fixed(self, at: Any, offset_ms: int) -> int | None:
        """Return the instant that an @ modifier names, less the offset."""
        if at is None:
            return None
        kind = str(at.type).rpartition(".")[2]
        if kind == "Start":
            return self._start_ms - offset_ms
        if kind == "End":
            return self._end_ms - offset_ms
        return int((at.at - _EPOCH) // _MS) - offset_ms

    def _slices(self, selector: Any, start_ms: int, end_ms: int) -> Iterator[Samples]:
        """Yield series with their samples in a span; stale markers among them."""
        limit = self._options.max_series
        slices = self._store.select(matchers_of(selector), start_ms, end_ms, limit, lambda: self._budget.spend(0))
        if len(slices) > limit:
            raise QueryError(f"a selector chooses more than {limit} series")
        for piece in slices:
            self._budget.spend(len(piece.times))
            yield piece.labels, list(piece.times), list(piece.values)

    def current(self, selector: Any, grid: Grid, take: Callable[[int, float], float]) -> list[Row]:
        """Return the current sample of each series at each step, as `take` has it of its time and value."""
        # A sample that is exactly that old still counts in 2.x.
        reach_ms = self._options.lookback_ms - int(self._options.later)
        offset_ms = milliseconds(selector.offset)
        fixed = self._fixed(selector.at, offset_ms)
        if fixed is not None:
            instants: Sequence[int] = (fixed,)
        elif grid.count == 1:
            instants = (grid.start_ms - offset_ms,)
        else:
            first = grid.start_ms - offset_ms
            instants = range(first, first + grid.step_ms * grid.count, grid.step_ms)
        rows: list[Row] = []
        for labels, times, values in self._slices(selector, instants[0] - reach_ms, instants[-1]):
            found: Values = []
            at = 0
            for instant in instants:
                at = bisect_right(times, instant, at)
                if at and times[at - 1] >= instant - reach_ms:
                    value = values[at - 1]
                    # Only a NaN can be a marker.
                    if value == value or not is_stale(value):  # noqa: PLR0124 - the test for NaN
                        found.append(take(times[at - 1], value))
                        continue
                found.append(None)
            if fixed is not None:
                found *= grid.count
            self._budget.spend(grid.count)
            if any(value is not None for value in found):
                rows.append(Row(labels, found))
        return rows

    def samples(self, selector: Any, start_ms: int, end_ms: int) -> Iterator[Samples]:
        """Yield series with their samples in a span."""
        for labels, times, values in self._slices(selector, start_ms, end_ms):
            marks = [i for i, value in enumerate(values) if value != value and is_stale(value)]  # noqa: PLR0124 - NaN
            for i in reversed(marks):
                del times[i]
                del values[i]
            if times:
                yield labels, times, values

    def windows(
        self, selector: Any, range_ms: int, grid: Grid, samples: Callable[[int, int], Iterator[Samples]]
    ) -> Iterator[tuple[Labels, list[Window | None]]]:
        """Yield each series with its samples in the span before each step; None where there are none.

        Args:
            selector: Or subquery: what has an offset and an @.
            range_ms: Length of the spans.
            grid: The steps.
            samples: Yields the series between two instants.
        """
        offset_ms = milliseconds(selector.offset)
        fixed = self._fixed(selector.at, offset_ms)
        now = list(grid.times())
        ends = [fixed] * grid.count if fixed is not None else [time - offset_ms for time in now]
        # 2.x spans include the instant at which they begin.
        first_of = bisect_right if self._options.later else bisect_left
        for labels, times, values in samples(ends[0] - range_ms, ends[-1]):
            found: list[Window | None] = []
            low = high = 0
            for time, end in zip(now, ends, strict=True):
                start = end - range_ms
                low = first_of(times, start, low)
                high = bisect_right(times, end, high)
                found.append(Window(times[low:high], values[low:high], start, end, time) if high > low else None)
            self._budget.spend(grid.count)
            yield labels, found
