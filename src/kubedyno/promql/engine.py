"""Queries in, answers out: a text is parsed, evaluated at an instant or over steps, and its rows become series.

An instant query is one of a single step. The language is that of Prometheus 2.42, its range boundaries included;
`EngineOptions.later` chooses 3's.
"""

from dataclasses import dataclass

from promql_parser import MatrixSelector, StringLiteral, SubqueryExpr

from kubedyno.base.clock import SYSTEM_CLOCK, Clock
from kubedyno.promql.errors import BadQueryError
from kubedyno.promql.evaluation import Evaluation
from kubedyno.promql.language import parsed, unwrapped
from kubedyno.promql.limits import Budget, EngineOptions
from kubedyno.promql.rows import Grid, Labels, Row, Scalar, number, order_of, unique
from kubedyno.promql.selection import Selection
from kubedyno.promql.store import SeriesStore


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
            return Answer("scalar", [Series({}, [(time_ms, number(value.values[0]))])])
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

    def _evaluation(self, grid: Grid, end_ms: int | None = None) -> Evaluation:
        budget = Budget(self.options, self._clock)
        end = grid.end_ms if end_ms is None else end_ms
        selection = Selection(self.store, self.options, budget, grid.start_ms, end)
        return Evaluation(selection, self.options, budget)
