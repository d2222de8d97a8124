"""Series in memory: two columns each, times and values, found by name and matchers.

Samples come in time order; what is older than the retention goes. Readers get copies of the slices they ask for, taken
under the store's lock, so that a query may run in another thread than the recorder.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TypeVar

from kubedyno.promql.errors import StoreFullError
from kubedyno.promql.matching import Matcher
from kubedyno.promql.rows import NAME, STALE, Labels, is_stale

# Times of the first trim of a column: freeing by the sample would move the rest each time.
_TRIM_LEAST = 64
# Series or names that a pattern is tried on between two looks at the time.
_TICK_EACH = 64

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """What a store takes at most.

    Attributes:
        retention_ms: Age at which samples go.
        max_series: Label sets at once; a load test makes many that live for a minute.
    """

    retention_ms: int = 6 * 3600_000
    max_series: int = 500_000


class Column:
    """One series. Invariant: `times` ascends strictly, `values` is as long."""

    __slots__ = ("ended", "labels", "stale", "times", "values")

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self.times = array("q")
        self.values = array("d")
        # There are stale markers in it; the last sample is one.
        self.stale = False
        self.ended = False


@dataclass(frozen=True, slots=True)
class Slice:
    """Samples of a series in a span of time."""

    labels: Labels
    times: Sequence[int]
    values: Sequence[float]
    stale: bool


@dataclass(frozen=True, slots=True)
class Metadata:
    """What an exposition says of a metric."""

    type: str = "unknown"
    help: str = ""
    unit: str = ""


class SeriesStore:
    """All series of a recorder.

    Args:
        limits: What it takes at most.
    """

    def __init__(self, limits: StoreLimits | None = None) -> None:
        self.limits = limits or StoreLimits()
        self.metadata: dict[str, Metadata] = {}
        self._by_name: dict[str, dict[frozenset[tuple[str, str]], Column]] = {}
        self._count = 0
        self._lock = Lock()
        self.refused = 0

    def __len__(self) -> int:
        return self._count

    @property
    def samples(self) -> int:
        """How many samples there are; O(series)."""
        with self._lock:
            return sum(len(column.times) for columns in self._by_name.values() for column in columns.values())

    def counts(self) -> dict[str, int]:
        """Return how many series each name has."""
        with self._lock:
            return {name: len(columns) for name, columns in self._by_name.items()}

    def column(self, labels: Labels) -> Column:
        """Return the series of some labels, a new one if need be.

        Raises:
            StoreFullError: It would be one too many.
        """
        with self._lock:
            columns = self._by_name.setdefault(labels.get(NAME, ""), {})
            key = frozenset(labels.items())
            column = columns.get(key)
            if column is None:
                if self._count >= self.limits.max_series:
                    self.refused += 1
                    raise StoreFullError(
                        f"metrics: {self._count} series are recorded and no more are taken; record fewer names, "
                        "or raise --max-series"
                    )
                column = columns[key] = Column(labels)
                self._count += 1
            return column

    def append(self, column: Column, time_ms: int, value: float) -> bool:
        """Add a sample; one that is not later than the last is left out, as Prometheus does without its TSDB's window.

        Returns:
            Whether it was taken.
        """
        with self._lock:
            if column.times and time_ms <= column.times[-1]:
                return False
            column.times.append(time_ms)
            column.values.append(value)
            column.ended = is_stale(value)
            column.stale = column.stale or column.ended
            return True

    def append_all(self, columns: Sequence[Column], time_ms: int, values: Sequence[float]) -> None:
        """Add one sample of one time to each of some series; as `append`."""
        with self._lock:
            for column, value in zip(columns, values, strict=True):
                times = column.times
                if times and time_ms <= times[-1]:
                    continue
                times.append(time_ms)
                column.values.append(value)
                if value != value:  # noqa: PLR0124 - only a NaN can be a marker
                    column.ended = is_stale(value)
                    column.stale = column.stale or column.ended
                else:
                    column.ended = False

    def add(self, labels: Labels, time_ms: int, value: float) -> bool:
        """Add a sample to the series of some labels; raises as `column`."""
        return self.append(self.column(labels), time_ms, value)

    def end(self, columns: Iterable[Column], time_ms: int) -> None:
        """Mark that series have ended."""
        for column in columns:
            if column.times and not column.ended:
                self.append(column, time_ms, STALE)

    def trim(self, now_ms: int) -> None:
        """Forget what is older than the retention; O(series)."""
        oldest = now_ms - self.limits.retention_ms
        with self._lock:
            for name, columns in list(self._by_name.items()):
                for key, column in list(columns.items()):
                    if not column.times or column.times[-1] < oldest:
                        # Whoever holds the column sees by this that it is out, and asks for it again.
                        column.times, column.values = array("q"), array("d")
                        del columns[key]
                        self._count -= 1
                        continue
                    at = bisect_left(column.times, oldest)
                    if at >= _TRIM_LEAST and at * 4 >= len(column.times):
                        column.times = column.times[at:]
                        column.values = column.values[at:]
                if not columns:
                    del self._by_name[name]

    def select(
        self,
        matchers: Sequence[Matcher],
        start_ms: int,
        end_ms: int,
        limit: int | None = None,
        tick: Callable[[], None] | None = None,
    ) -> list[Slice]:
        """Return the series that meet all matchers, with their samples from start to end, both included.

        Args:
            matchers: Conditions.
            start_ms: First instant.
            end_ms: Last instant.
            limit: Stop after so many series; the caller looks at the count.
            tick: Called now and then while patterns are tried; raises what ends it.
        """
        found: list[Slice] = []
        with self._lock:
            for column in self._matching(matchers, tick):
                low = bisect_left(column.times, start_ms)
                high = bisect_right(column.times, end_ms, low)
                if high > low:
                    found.append(Slice(column.labels, column.times[low:high], column.values[low:high], column.stale))
                    if limit is not None and len(found) > limit:
                        break
        return found

    def series(
        self, matchers: Sequence[Matcher], start_ms: int, end_ms: int, tick: Callable[[], None] | None = None
    ) -> list[Labels]:
        """Return the label sets that meet all matchers and have a sample from start to end; see `select`."""
        with self._lock:
            return [
                column.labels
                for column in self._matching(matchers, tick)
                if bisect_right(column.times, end_ms) > bisect_left(column.times, start_ms)
            ]

    def _matching(self, matchers: Sequence[Matcher], tick: Callable[[], None] | None) -> Iterable[Column]:
        on_name = [matcher for matcher in matchers if matcher.name == NAME]
        # The cheap ones first.
        rest = sorted((m for m in matchers if m.name != NAME), key=lambda m: m.op not in {"=", "!="})
        tests = [(matcher.name, matcher.test) for matcher in rest]
        exact = next((matcher.value for matcher in on_name if matcher.op == "="), None)
        names = [exact] if exact is not None else list(self._by_name)
        slow = tick is not None and any(matcher.op in {"=~", "!~"} for matcher in matchers)
        for name in _ticking(names, tick) if slow and tick else names:
            columns = self._by_name.get(name)
            if columns and all(matcher.test(name) for matcher in on_name):
                for column in _ticking(columns.values(), tick) if slow and tests and tick else columns.values():
                    labels = column.labels
                    for label, test in tests:
                        if not test(labels.get(label, "")):
                            break
                    else:
                        yield column


def _ticking(items: Iterable[T], tick: Callable[[], None]) -> Iterator[T]:
    """Yield items, with a tick before each so many."""
    for number, item in enumerate(items):
        if not number % _TICK_EACH:
            tick()
        yield item
