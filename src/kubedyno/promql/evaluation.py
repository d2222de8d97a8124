"""Evaluates a syntax tree: every part of an expression for all steps at once, as rows of one value a step.

A query over n steps asks the store once for each selector and then works on whole columns.
"""

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from promql_parser import (
    AggregateExpr,
    BinaryExpr,
    Call,
    MatrixSelector,
    NumberLiteral,
    ParenExpr,
    StringLiteral,
    UnaryExpr,
    VectorSelector,
)

from kubedyno.promql import aggregations, binary, functions, histograms, mathematics, windows
from kubedyno.promql.errors import QueryError
from kubedyno.promql.labelfunctions import joined, replaced
from kubedyno.promql.language import is_constant, unwrapped
from kubedyno.promql.limits import Budget, EngineOptions
from kubedyno.promql.rows import INF, Grid, Labels, Row, Scalar, Value, Values, bare, number, unique
from kubedyno.promql.selection import Samples, Selection, milliseconds
from kubedyno.promql.windows import Window


class Evaluation:
    """One query under way.

    Args:
        selection: What its selectors choose.
        options: Limits and language.
        budget: What it may take.
    """

    def __init__(self, selection: Selection, options: EngineOptions, budget: Budget) -> None:
        self._selection = selection
        self._options = options
        self._budget = budget
        self._calls: dict[str, Callable[[list[Any], Grid], Value]] = {
            "absent": self._absent,
            "absent_over_time": self._absent_over_time,
            "clamp": lambda a, grid: self._clamped(a[0], self._scalar(a[1], grid), self._scalar(a[2], grid), grid),
            "clamp_max": lambda a, grid: self._clamped(a[0], [-INF] * grid.count, self._scalar(a[1], grid), grid),
            "clamp_min": lambda a, grid: self._clamped(a[0], self._scalar(a[1], grid), [INF] * grid.count, grid),
            "histogram_quantile": lambda a, grid: histograms.quantiles(
                self._scalar(a[0], grid), self._vector(a[1], grid), grid
            ),
            "label_join": self._label_join,
            "label_replace": self._label_replace,
            "pi": lambda _a, grid: Scalar([3.141592653589793] * grid.count),
            "round": self._round,
            "scalar": lambda a, grid: functions.scalar_of(self._vector(a[0], grid), grid),
            "sort": lambda a, grid: functions.by_value(self._vector(a[0], grid), grid, largest=False),
            "sort_desc": lambda a, grid: functions.by_value(self._vector(a[0], grid), grid, largest=True),
            "sort_by_label": lambda a, grid: self._by_label(a, grid, reverse=False),
            "sort_by_label_desc": lambda a, grid: self._by_label(a, grid, reverse=True),
            "time": lambda _a, grid: Scalar([time / 1000 for time in grid.times()]),
            "timestamp": self._timestamp,
            "vector": lambda a, grid: [Row({}, self._scalar(a[0], grid))],
            # Of native histograms, which no exposition that we read has.
            "histogram_count": self._nothing,
            "histogram_sum": self._nothing,
            "histogram_fraction": self._nothing,
        }

    def value(self, tree: Any, grid: Grid) -> Value:
        """Return the value of an expression at each step."""
        self._budget.check(grid)
        if isinstance(tree, VectorSelector):
            return self._selection.current(tree, grid, lambda _time, value: value)
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
            return functions.mapped(inner, lambda value: -value)
        raise QueryError(f"an expression of type {type(tree).__name__} has no value here")

    def _vector(self, tree: Any, grid: Grid) -> list[Row]:
        value = self.value(tree, grid)
        assert isinstance(value, list)
        return value

    def _scalar(self, tree: Any, grid: Grid) -> Values:
        value = self.value(tree, grid)
        assert isinstance(value, Scalar)
        return value.values

    def _texts(self, trees: list[Any], grid: Grid) -> list[str]:
        return [str(self.value(tree, grid)) for tree in trees]

    # --- spans -------------------------------------------------------------------------------------------------

    def spans(self, tree: Any, grid: Grid) -> Iterator[tuple[Labels, list[Window | None]]]:
        """Yield each series of a range vector with its samples at each step; None where there are none."""
        tree = unwrapped(tree)
        if isinstance(tree, MatrixSelector):
            source: Any = tree.vector_selector
            samples = partial(self._selection.samples, source)
        else:
            source, samples = tree, partial(self._subquery, tree)
        return self._selection.windows(source, milliseconds(tree.range), grid, samples)

    def _subquery(self, tree: Any, start_ms: int, end_ms: int) -> Iterator[Samples]:
        step_ms = milliseconds(tree.step) or self._options.subquery_step_ms
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
                self._budget.spend(len(present))
                yield row.labels, [time for time, _ in present], [v for _, v in present]

    # --- functions ---------------------------------------------------------------------------------------------

    def _called(self, call: Any, grid: Grid) -> Value:
        name, arguments = call.func.name, call.args
        special = self._calls.get(name)
        if special is not None:
            return special(arguments, grid)
        if name in mathematics.SIMPLE:
            return functions.mapped(self._vector(arguments[0], grid), mathematics.SIMPLE[name])
        if name in mathematics.DATES:
            if arguments:
                return functions.mapped(self._vector(arguments[0], grid), mathematics.DATES[name])
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
                return windows.predicted(window, number(numbers[0][step]))

        elif name == "double_exponential_smoothing":
            numbers = [self._scalar(argument, grid) for argument in arguments[1:]]

            def function(window: Window, step: int) -> float | None:
                return windows.smoothed(window, number(numbers[0][step]), number(numbers[1][step]))

        elif name == "quantile_over_time":
            numbers = [self._scalar(arguments[0], grid)]

            def function(window: Window, step: int) -> float | None:
                return windows.quantile_of(number(numbers[0][step]), window.values)

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

    def _absent(self, arguments: list[Any], grid: Grid) -> list[Row]:
        return functions.absent(arguments[0], (row.values for row in self._vector(arguments[0], grid)), grid)

    def _absent_over_time(self, arguments: list[Any], grid: Grid) -> list[Row]:
        return functions.absent(arguments[0], (found for _, found in self.spans(arguments[0], grid)), grid)

    def _clamped(self, tree: Any, lows: Values, highs: Values, grid: Grid) -> list[Row]:
        return functions.clamped(self._vector(tree, grid), lows, highs)

    def _label_join(self, arguments: list[Any], grid: Grid) -> list[Row]:
        rows, texts = self._vector(arguments[0], grid), self._texts(arguments[1:], grid)
        return unique(joined(rows, texts[0], texts[1], texts[2:], self._budget))

    def _label_replace(self, arguments: list[Any], grid: Grid) -> list[Row]:
        rows = self._vector(arguments[0], grid)
        target, replacement, source, pattern = self._texts(arguments[1:], grid)
        return unique(replaced(rows, target, replacement, source, pattern, self._budget))

    def _round(self, arguments: list[Any], grid: Grid) -> list[Row]:
        to: Values = self._scalar(arguments[1], grid) if len(arguments) > 1 else [1.0] * grid.count
        return functions.rounded(self._vector(arguments[0], grid), to)

    def _by_label(self, arguments: list[Any], grid: Grid, *, reverse: bool) -> list[Row]:
        rows, names = self._vector(arguments[0], grid), self._texts(arguments[1:], grid)
        return functions.by_label(rows, names, reverse=reverse)

    def _timestamp(self, arguments: list[Any], grid: Grid) -> list[Row]:
        inner = unwrapped(arguments[0])
        if isinstance(inner, VectorSelector):
            rows = self._selection.current(inner, grid, lambda time, _value: time / 1000)
            return unique(Row(bare(row.labels), row.values) for row in rows)
        return functions.timestamps(self._vector(inner, grid), grid)

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
            self._budget.spend(len(members))
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
        self._budget.spend(grid.count)
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
