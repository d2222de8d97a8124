"""Functions over whole vectors: what they make of rows and of the numbers at each step."""

import re
from collections.abc import Callable, Iterable
from typing import Any

from promql_parser import MatrixSelector, VectorSelector

from kubedyno.promql import mathematics
from kubedyno.promql.language import matchers_of, unwrapped
from kubedyno.promql.rows import NAME, NAN, Grid, Labels, Row, Scalar, Values, bare, number, order_of, unique


def mapped(rows: Iterable[Row], function: Callable[[float], float]) -> list[Row]:
    """Return rows with a function's values."""
    return unique(
        Row(bare(row.labels), [None if value is None else function(value) for value in row.values]) for row in rows
    )


def _absent_labels(tree: Any) -> Labels:
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


def absent(tree: Any, present: Iterable[Iterable[Any]], grid: Grid) -> list[Row]:
    """Return 1 at each step at which no series is present.

    Args:
        tree: What was looked for.
        present: Of each series and step: None where it is not.
        grid: The steps.
    """
    missing: Values = [1.0] * grid.count
    for found in present:
        missing = [None if value is not None else flag for value, flag in zip(found, missing, strict=True)]
    return [Row(_absent_labels(tree), missing)]


def clamped(rows: Iterable[Row], lows: Values, highs: Values) -> list[Row]:
    """Return rows within bounds, which each step has of its own."""
    result: list[Row] = []
    for row in rows:
        values: Values = []
        for value, low, high in zip(row.values, lows, highs, strict=True):
            low_is, high_is = number(low), number(high)
            if value is None or high_is < low_is:
                values.append(None)
            else:
                values.append(mathematics.larger(low_is, mathematics.smaller(high_is, value)))
        result.append(Row(bare(row.labels), values))
    return unique(result)


def rounded(rows: Iterable[Row], to: Values) -> list[Row]:
    """Return rows rounded to the nearest multiple of each step's unit."""
    return unique(
        Row(
            bare(row.labels),
            [
                None if value is None else mathematics.rounded(value, number(unit))
                for value, unit in zip(row.values, to, strict=True)
            ],
        )
        for row in rows
    )


def timestamps(rows: Iterable[Row], grid: Grid) -> list[Row]:
    """Return the time of each step where there is a value."""
    instants = [time / 1000 for time in grid.times()]
    return unique(
        Row(
            bare(row.labels),
            [None if value is None else instant for value, instant in zip(row.values, instants, strict=True)],
        )
        for row in rows
    )


def scalar_of(rows: list[Row], grid: Grid) -> Scalar:
    """Return the value of the one series that there is at a step, NaN when there are none or more."""
    found: Values = []
    for step in range(grid.count):
        present = [row.values[step] for row in rows if row.values[step] is not None]
        found.append(present[0] if len(present) == 1 else NAN)
    return Scalar(found)


def by_value(rows: list[Row], grid: Grid, *, largest: bool) -> list[Row]:
    """Return rows sorted, those of NaN last; over more than one step as they are."""
    if grid.count > 1:
        return rows

    def rank(row: Row) -> tuple[bool, float]:
        value = number(row.values[0])
        return (True, 0.0) if value != value else (False, -value if largest else value)  # noqa: PLR0124 - NaN

    return sorted(rows, key=rank)


def by_label(rows: list[Row], names: list[str], *, reverse: bool) -> list[Row]:
    """Return rows sorted by labels, numbers within them by their value."""

    def rank(row: Row) -> list[Any]:
        return [[_natural(row.labels.get(name, "")) for name in names], order_of(row.labels)]

    return sorted(rows, key=rank, reverse=reverse)


def _natural(text: str) -> list[tuple[bool, int, str]]:
    """Return what texts with numbers in them are sorted by."""
    return [
        (not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"([0-9]+)", text) if part
    ]
