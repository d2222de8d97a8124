"""Evaluates queries: every part of an expression for all steps at once, as rows of one value a step.

A query over n steps asks the store once for each selector and then works on whole columns; an instant query is one of a
single step. The language is that of Prometheus 2.42, its range boundaries included; `later` chooses 3's.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from promql_parser import (
    AggregateExpr,
    BinaryExpr,
    Call,
    MatrixSelector,
    NumberLiteral,
    ParenExpr,
    StringLiteral,
    SubqueryExpr,
    UnaryExpr,
    VectorSelector,
)

from kubedyno.base.clock import SYSTEM_CLOCK, Clock
from kubedyno.promql import aggregations, binary, histograms, mathematics, windows
from kubedyno.promql.errors import BadQueryError, QueryError, QueryTimeoutError
from kubedyno.promql.labelfunctions import joined, replaced
from kubedyno.promql.language import is_constant, matchers_of, parsed, unwrapped
from kubedyno.promql.matching import Matcher
from kubedyno.promql.rows import NAME, NAN, Grid, Labels, Row, Values, bare, is_stale, order_of, unique
from kubedyno.promql.store import SeriesStore
from kubedyno.promql.windows import Window

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


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


@dataclass(frozen=True, slots=True)
class Series:
    """A series of an answer: labels, and (milliseconds, value) in order of time."""

    labels: Labels
    points: list[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a query found.

    Attributes:
        type: "vector", "matrix", "scalar" or "string".
        series: Of a vector or matrix; a scalar's is one without labels.
        text: Of a string.
    """

    type: str
    series: list[Series]
    text: str = ""


@dataclass(frozen=True, slots=True)
class Scalar:
    """One number a step."""

    values: Values


Value = list[Row] | Scalar | str


class Engine:
    """Answers queries from a store.

    Args:
        store: The series.
        options: Limits and language.
        clock: For the time limit.
    """

    def __init__(self, store: SeriesStore, options: EngineOptions | None = None, clock: Clock = SYSTEM_CLOCK) -> None:
        self.store = store
        self.options = options or EngineOptions()
        self._clock = clock

    def instant(self, query: str, time_ms: int) -> Answer:
        """Answer a query at one instant.

        Raises:
            QueryError: It is wrong, has no answer, or takes too much.
        """
        tree = parsed(query, later=self.options.later)
        grid = Grid(time_ms, 0, 1)
        evaluation = self._evaluation(grid)
        inner = unwrapped(tree)
        if isinstance(inner, MatrixSelector | SubqueryExpr):
            found = [
                Series(labels, list(zip(span.times, span.values, strict=True)))
                for labels, spans in evaluation.spans(inner, grid)
                for span in spans
                if span is not None
            ]
            return Answer("matrix", sorted(found, key=lambda series: order_of(series.labels)))
        value = evaluation.value(tree, grid)
        if isinstance(value, str):
            return Answer("string", [], value)
        if isinstance(value, Scalar):
            return Answer("scalar", [Series({}, [(time_ms, _number(value.values[0]))])])
        points = [(row.labels, row.values[0]) for row in value]
        return Answer("vector", [Series(labels, [(time_ms, v)]) for labels, v in points if v is not None])

    def range(self, query: str, start_ms: int, end_ms: int, step_ms: int) -> Answer:
        """Answer a query at each step from start to end; raises as `instant`."""
        tree = parsed(query, later=self.options.later)
        inner = unwrapped(tree)
        if isinstance(inner, MatrixSelector | SubqueryExpr | StringLiteral):
            what = "string" if isinstance(inner, StringLiteral) else "range vector"
            raise BadQueryError(f'invalid expression type "{what}" for range query, must be Scalar or instant Vector')
        if step_ms <= 0:
            raise BadQueryError("zero or negative query resolution step widths are not accepted")
        if end_ms < start_ms:
            raise BadQueryError("end timestamp must not be before start time")
        grid = Grid(start_ms, step_ms, (end_ms - start_ms) // step_ms + 1)
        value = self._evaluation(grid, end_ms).value(tree, grid)
        assert not isinstance(value, str)
        rows = [Row({}, value.values)] if isinstance(value, Scalar) else unique(value)
        times = grid.times()
        found: list[Series] = []
        for row in rows:
            points = [(time, v) for time, v in zip(times, row.values, strict=True) if v is not None]
            if points:
                found.append(Series(row.labels, points))
        found.sort(key=lambda series: order_of(series.labels))
        return Answer("matrix", found)

    def _evaluation(self, grid: Grid, end_ms: int | None = None) -> "_Evaluation":
        deadline_s = self._clock.monotonic() + self.options.timeout_s
        end = grid.end_ms if end_ms is None else end_ms
        return _Evaluation(self.store, self.options, self._clock, deadline_s, grid.start_ms, end)


def _number(value: float | None) -> float:
    return NAN if value is None else value


def _ms(duration: timedelta | None) -> int:
    return 0 if duration is None else duration // _MS


class _Evaluation:
    """One query under way."""

    def __init__(
        self,
        store: SeriesStore,
        options: EngineOptions,
        clock: Clock,
        deadline_s: float,
        start_ms: int,
        end_ms: int,
    ) -> None:
        self._store = store
        self._options = options
        self._clock = clock
        self._deadline_s = deadline_s
        self._start_ms = start_ms
        self._end_ms = end_ms
        self._samples = 0
        self._matchers: dict[int, list[Matcher]] = {}
        self._calls: dict[str, Callable[[list[Any], Grid], Value]] = {
            "absent": self._absent,
            "absent_over_time": self._absent_over_time,
            "clamp": self._clamp,
            "clamp_max": self._clamp_max,
            "clamp_min": self._clamp_min,
            "histogram_quantile": self._histogram_quantile,
            "label_join": self._label_join,
            "label_replace": self._label_replace,
            "pi": lambda _arguments, grid: Scalar([3.141592653589793] * grid.count),
            "round": self._round,
            "scalar": self._scalar_of,
            "sort": lambda arguments, grid: self._sorted(arguments, grid, largest=False),
            "sort_desc": lambda arguments, grid: self._sorted(arguments, grid, largest=True),
            "sort_by_label": lambda arguments, grid: self._by_label(arguments, grid, reverse=False),
            "sort_by_label_desc": lambda arguments, grid: self._by_label(arguments, grid, reverse=True),
            "time": lambda _arguments, grid: Scalar([time / 1000 for time in grid.times()]),
            "timestamp": self._timestamp,
            "vector": lambda arguments, grid: [Row({}, self._scalar(arguments[0], grid))],
            # Of native histograms, which no exposition that we read has.
            "histogram_count": self._nothing,
            "histogram_sum": self._nothing,
            "histogram_fraction": self._nothing,
        }

    # --- limits ------------------------------------------------------------------------------------------------

    def _spend(self, samples: int) -> None:
        self._samples += samples
        if self._samples > self._options.max_samples:
            raise QueryError(
                f"query processing would load too many samples into memory in query execution: more than "
                f"{self._options.max_samples}"
            )
        if self._clock.monotonic() > self._deadline_s:
            raise QueryTimeoutError(f"query timed out in expression evaluation: {self._options.timeout_s:g} s")

    def _check(self, grid: Grid) -> None:
        if grid.count > self._options.max_steps:
            raise QueryError(f"{grid.count} steps to evaluate: at most {self._options.max_steps} are taken")

    # --- expressions -------------------------------------------------------------------------------------------

    def value(self, tree: Any, grid: Grid) -> Value:
        """Return the value of an expression at each step."""
        self._check(grid)
        if isinstance(tree, VectorSelector):
            return self._selected(tree, grid, lambda _time, value: value)
        if isinstance(tree, AggregateExpr):
            return self._aggregated(tree, grid)
        if isinstance(tree, Call):
            return self._called(tree, grid)
        if isinstance(tree, BinaryExpr):
            return self._combined(tree, grid)
        if isinstance(tree, ParenExpr):
            return self.value(tree.expr, grid)
        if isinstance(tree, NumberLiteral):
            return Scalar([float(tree.val)] * grid.count)
        if isinstance(tree, StringLiteral):
            return str(tree.val)
        if isinstance(tree, UnaryExpr):
            inner = self.value(tree.expr, grid)
            if isinstance(inner, Scalar):
                return Scalar([None if value is None else -value for value in inner.values])
            assert isinstance(inner, list)
            return self._mapped(inner, lambda value: -value)
        raise QueryError(f"an expression of type {type(tree).__name__} has no value here")

    def _vector(self, tree: Any, grid: Grid) -> list[Row]:
        value = self.value(tree, grid)
        assert isinstance(value, list)
        return value

    def _scalar(self, tree: Any, grid: Grid) -> Values:
        value = self.value(tree, grid)
        assert isinstance(value, Scalar)
        return value.values

    @staticmethod
    def _mapped(rows: Sequence[Row], function: Callable[[float], float]) -> list[Row]:
        return unique(
            Row(bare(row.labels), [None if value is None else function(value) for value in row.values]) for row in rows
        )

    # --- selectors ---------------------------------------------------------------------------------------------

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

    def _matchers_of(self, selector: Any) -> list[Matcher]:
        return matchers_of(selector)

    def _slices(self, selector: Any, start_ms: int, end_ms: int) -> Iterator[tuple[Labels, list[int], list[float]]]:
        """Yield series with their samples in a span; stale markers among them."""
        limit = self._options.max_series
        slices = self._store.select(self._matchers_of(selector), start_ms, end_ms, limit)
        if len(slices) > limit:
            raise QueryError(f"a selector chooses more than {limit} series")
        for piece in slices:
            self._spend(len(piece.times))
            yield piece.labels, list(piece.times), list(piece.values)

    def _selected(self, selector: Any, grid: Grid, take: Callable[[int, float], float]) -> list[Row]:
        """Return the current sample of each series at each step."""
        # A sample that is exactly that old still counts in 2.x.
        reach_ms = self._options.lookback_ms - int(self._options.later)
        offset_ms = _ms(selector.offset)
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
            self._spend(grid.count)
            if any(value is not None for value in found):
                rows.append(Row(labels, found))
        return rows

    def spans(self, tree: Any, grid: Grid) -> Iterator[tuple[Labels, list[Window | None]]]:
        """Yield each series of a range vector with its samples at each step; None where there are none."""
        tree = unwrapped(tree)
        range_ms = _ms(tree.range)
        source = tree.vector_selector if isinstance(tree, MatrixSelector) else tree
        offset_ms = _ms(source.offset)
        fixed = self._fixed(source.at, offset_ms)
        now = list(grid.times())
        ends = [fixed] * grid.count if fixed is not None else [time - offset_ms for time in now]
        if isinstance(tree, MatrixSelector):
            pieces = self._unmarked(self._slices(source, ends[0] - range_ms, ends[-1]))
        else:
            pieces = self._subquery(tree, ends[0] - range_ms, ends[-1])
        # 2.x spans include the instant at which they begin.
        first_of = bisect_right if self._options.later else bisect_left
        for labels, times, values in pieces:
            found: list[Window | None] = []
            low = high = 0
            for time, end in zip(now, ends, strict=True):
                start = end - range_ms
                low = first_of(times, start, low)
                high = bisect_right(times, end, high)
                found.append(Window(times[low:high], values[low:high], start, end, time) if high > low else None)
            self._spend(grid.count)
            yield labels, found

    @staticmethod
    def _unmarked(
        pieces: Iterator[tuple[Labels, list[int], list[float]]],
    ) -> Iterator[tuple[Labels, list[int], list[float]]]:
        for labels, times, values in pieces:
            marks = [i for i, value in enumerate(values) if value != value and is_stale(value)]  # noqa: PLR0124 - NaN
            for i in reversed(marks):
                del times[i]
                del values[i]
            if times:
                yield labels, times, values

    def _subquery(self, tree: Any, start_ms: int, end_ms: int) -> Iterator[tuple[Labels, list[int], list[float]]]:
        step_ms = _ms(tree.step) or self._options.subquery_step_ms
        # Its instants are multiples of its step, whatever the query's are.
        first = -(-start_ms // step_ms) * step_ms
        if self._options.later and first == start_ms:
            first += step_ms
        if first > end_ms:
            return
        grid = Grid(first, step_ms, (end_ms - first) // step_ms + 1)
        value = self.value(tree.expr, grid)
        assert not isinstance(value, str)
        rows = [Row({}, value.values)] if isinstance(value, Scalar) else unique(value)
        instants = grid.times()
        for row in rows:
            present = [(time, v) for time, v in zip(instants, row.values, strict=True) if v is not None]
            if present:
                self._spend(len(present))
                yield row.labels, [time for time, _ in present], [v for _, v in present]

    # --- functions ---------------------------------------------------------------------------------------------

    def _called(self, call: Any, grid: Grid) -> Value:
        name, arguments = call.func.name, call.args
        special = self._calls.get(name)
        if special is not None:
            return special(arguments, grid)
        if name in mathematics.SIMPLE:
            return self._mapped(self._vector(arguments[0], grid), mathematics.SIMPLE[name])
        if name in mathematics.DATES:
            if arguments:
                return self._mapped(self._vector(arguments[0], grid), mathematics.DATES[name])
            return [Row({}, [mathematics.DATES[name](time / 1000) for time in grid.times()])]
        return self._over_time(name, arguments, grid)

    def _over_time(self, name: str, arguments: list[Any], grid: Grid) -> list[Row]:
        later = self._options.later
        numbers: list[Values] = []
        function: Callable[[Window, int], float | None]
        if name in {"rate", "increase", "delta"}:
            counter, per_second = name != "delta", name == "rate"

            def function(window: Window, step: int) -> float | None:
                _ = step
                return windows.rate(window, counter=counter, per_second=per_second, zero_last=later)

        elif name == "predict_linear":
            numbers = [self._scalar(arguments[1], grid)]

            def function(window: Window, step: int) -> float | None:
                return windows.predicted(window, _number(numbers[0][step]))

        elif name == "double_exponential_smoothing":
            numbers = [self._scalar(argument, grid) for argument in arguments[1:]]

            def function(window: Window, step: int) -> float | None:
                return windows.smoothed(window, _number(numbers[0][step]), _number(numbers[1][step]))

        elif name == "quantile_over_time":
            numbers = [self._scalar(arguments[0], grid)]

            def function(window: Window, step: int) -> float | None:
                return windows.quantile_of(_number(numbers[0][step]), window.values)

        else:
            simple = windows.SIMPLE[name]

            def function(window: Window, step: int) -> float | None:
                _ = step
                return simple(window)

        span = arguments[1] if name == "quantile_over_time" else arguments[0]
        rows: list[Row] = []
        for labels, found in self.spans(span, grid):
            values: Values = [None if window is None else function(window, step) for step, window in enumerate(found)]
            rows.append(Row(labels if name == "last_over_time" else bare(labels), values))
        return unique(rows)

    def _absent_labels(self, tree: Any) -> Labels:
        """Return the labels that a selector asks for by name and value."""
        tree = unwrapped(tree)
        selector = tree.vector_selector if isinstance(tree, MatrixSelector) else tree
        if not isinstance(selector, VectorSelector):
            return {}
        found: Labels = {}
        seen: set[str] = set()
        for matcher in matchers_of(selector):
            if matcher.name == NAME:
                continue
            if matcher.op == "=" and matcher.name not in seen:
                seen.add(matcher.name)
                if matcher.value:
                    found[matcher.name] = matcher.value
            else:
                found.pop(matcher.name, None)
        return found

    def _absent(self, arguments: list[Any], grid: Grid) -> list[Row]:
        rows = self._vector(arguments[0], grid)
        missing: Values = [1.0] * grid.count
        for row in rows:
            missing = [None if value is not None else flag for value, flag in zip(row.values, missing, strict=True)]
        return [Row(self._absent_labels(arguments[0]), missing)]

    def _absent_over_time(self, arguments: list[Any], grid: Grid) -> list[Row]:
        missing: Values = [1.0] * grid.count
        for _, found in self.spans(arguments[0], grid):
            missing = [None if window else flag for window, flag in zip(found, missing, strict=True)]
        return [Row(self._absent_labels(arguments[0]), missing)]

    def _clamped(self, tree: Any, lows: Values, highs: Values, grid: Grid) -> list[Row]:
        rows: list[Row] = []
        for row in self._vector(tree, grid):
            values: Values = []
            for value, low, high in zip(row.values, lows, highs, strict=True):
                low_is, high_is = _number(low), _number(high)
                if value is None or high_is < low_is:
                    values.append(None)
                else:
                    values.append(mathematics.larger(low_is, mathematics.smaller(high_is, value)))
            rows.append(Row(bare(row.labels), values))
        return unique(rows)

    def _clamp(self, arguments: list[Any], grid: Grid) -> list[Row]:
        low, high = self._scalar(arguments[1], grid), self._scalar(arguments[2], grid)
        return self._clamped(arguments[0], low, high, grid)

    def _clamp_max(self, arguments: list[Any], grid: Grid) -> list[Row]:
        least: Values = [float("-inf")] * grid.count
        return self._clamped(arguments[0], least, self._scalar(arguments[1], grid), grid)

    def _clamp_min(self, arguments: list[Any], grid: Grid) -> list[Row]:
        most: Values = [float("inf")] * grid.count
        return self._clamped(arguments[0], self._scalar(arguments[1], grid), most, grid)

    def _histogram_quantile(self, arguments: list[Any], grid: Grid) -> list[Row]:
        return histograms.quantiles(self._scalar(arguments[0], grid), self._vector(arguments[1], grid), grid)

    def _label_join(self, arguments: list[Any], grid: Grid) -> list[Row]:
        rows = self._vector(arguments[0], grid)
        texts = [str(self.value(argument, grid)) for argument in arguments[1:]]
        return unique(joined(rows, texts[0], texts[1], texts[2:]))

    def _label_replace(self, arguments: list[Any], grid: Grid) -> list[Row]:
        rows = self._vector(arguments[0], grid)
        target, replacement, source, pattern = (str(self.value(argument, grid)) for argument in arguments[1:])
        return unique(replaced(rows, target, replacement, source, pattern))

    def _round(self, arguments: list[Any], grid: Grid) -> list[Row]:
        to: Values = self._scalar(arguments[1], grid) if len(arguments) > 1 else [1.0] * grid.count
        rows: list[Row] = []
        for row in self._vector(arguments[0], grid):
            values: Values = [
                None if value is None else mathematics.rounded(value, _number(unit))
                for value, unit in zip(row.values, to, strict=True)
            ]
            rows.append(Row(bare(row.labels), values))
        return unique(rows)

    def _scalar_of(self, arguments: list[Any], grid: Grid) -> Scalar:
        rows = self._vector(arguments[0], grid)
        found: Values = []
        for step in range(grid.count):
            present = [row.values[step] for row in rows if row.values[step] is not None]
            found.append(present[0] if len(present) == 1 else NAN)
        return Scalar(found)

    def _sorted(self, arguments: list[Any], grid: Grid, *, largest: bool) -> list[Row]:
        rows = self._vector(arguments[0], grid)
        if grid.count > 1:
            return rows

        def rank(row: Row) -> tuple[bool, float]:
            value = _number(row.values[0])
            return (True, 0.0) if value != value else (False, -value if largest else value)  # noqa: PLR0124 - NaN

        return sorted(rows, key=rank)

    def _by_label(self, arguments: list[Any], grid: Grid, *, reverse: bool) -> list[Row]:
        rows = self._vector(arguments[0], grid)
        names = [str(self.value(argument, grid)) for argument in arguments[1:]]

        def rank(row: Row) -> list[Any]:
            return [[_natural(row.labels.get(name, "")) for name in names], order_of(row.labels)]

        return sorted(rows, key=rank, reverse=reverse)

    def _timestamp(self, arguments: list[Any], grid: Grid) -> list[Row]:
        inner = unwrapped(arguments[0])
        if isinstance(inner, VectorSelector):
            rows = self._selected(inner, grid, lambda time, _value: time / 1000)
            return unique(Row(bare(row.labels), row.values) for row in rows)
        instants = [time / 1000 for time in grid.times()]
        return unique(
            Row(
                bare(row.labels),
                [None if value is None else instant for value, instant in zip(row.values, instants, strict=True)],
            )
            for row in self._vector(inner, grid)
        )

    def _nothing(self, arguments: list[Any], grid: Grid) -> list[Row]:
        self._vector(arguments[-1], grid)
        return []

    # --- aggregations and operators ----------------------------------------------------------------------------

    def _aggregated(self, tree: Any, grid: Grid) -> list[Row]:
        op = str(tree.op)
        modifier = tree.modifier
        labels: list[str] = list(modifier.labels) if modifier is not None else []
        without = modifier is not None and str(modifier.type).endswith("Without")
        parameter: Value = Scalar([]) if tree.param is None else self.value(tree.param, grid)
        if isinstance(parameter, Scalar) and not self._options.later and is_constant(tree.expr):
            # What is the same at each step 2.x evaluates once, and with it the parameter: that of the first step.
            parameter = Scalar(parameter.values[:1] * grid.count)
        rows = self._vector(tree.expr, grid)
        if op == "count_values":
            label = str(parameter)
            if re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", label) is None:
                raise QueryError(f'invalid label name "{label}"')
            return aggregations.counted_values(label, rows, labels, grid, without=without)
        found: list[Row] = []
        for common, members in aggregations.grouped(rows, labels, without=without):
            self._spend(len(members))
            if op in {"topk", "bottomk"}:
                assert isinstance(parameter, Scalar)
                found += aggregations.chosen(members, parameter.values, grid, largest=op == "topk")
            elif op == "quantile":
                assert isinstance(parameter, Scalar)
                found.append(Row(common, aggregations.quantiled(members, parameter.values)))
            else:
                found.append(Row(common, aggregations.reduced(members, aggregations.REDUCTIONS[op])))
        return found if op in {"topk", "bottomk"} else unique(found)

    def _combined(self, tree: Any, grid: Grid) -> Value:
        op = str(tree.op)
        left, right = self.value(tree.lhs, grid), self.value(tree.rhs, grid)
        modifier = tree.modifier
        as_bool = modifier is not None and bool(modifier.return_bool)
        # 2.42 forgot atan2 among the operators whose outcome is another metric.
        drop_name = as_bool or (op in binary.ARITHMETIC and (op != "atan2" or self._options.later))
        self._spend(grid.count)
        if isinstance(left, Scalar):
            if isinstance(right, Scalar):
                return Scalar(binary.scalars(op, left.values, right.values))
            assert isinstance(right, list)
            return binary.with_scalar(op, right, left.values, swapped=True, as_bool=as_bool, drop_name=drop_name)
        assert isinstance(left, list)
        if isinstance(right, Scalar):
            return binary.with_scalar(op, left, right.values, swapped=False, as_bool=as_bool, drop_name=drop_name)
        assert isinstance(right, list)
        matching = _matching(modifier)
        if op in binary.SETS:
            return binary.sets(op, left, right, matching)
        return binary.vectors(op, left, right, matching, as_bool=as_bool, drop_name=drop_name)


def _matching(modifier: Any) -> binary.Matching:
    if modifier is None:
        return binary.Matching()
    many = {"ManyToOne": "left", "OneToMany": "right"}.get(str(modifier.card).rpartition(".")[2], "")
    matching = modifier.matching
    return binary.Matching(
        labels=tuple(matching.labels) if matching is not None else (),
        on=matching is not None and str(matching.type).endswith("Include"),
        include=tuple(modifier.group_labels or ()),
        many=many,
    )


def _natural(text: str) -> list[tuple[bool, int, str]]:
    """Return what texts with numbers in them are sorted by."""
    return [
        (not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"([0-9]+)", text) if part
    ]
