"""Aggregations: rows of a group become one, or the chosen ones of them."""

import math
from collections.abc import Callable, Sequence

from kubedyno.promql.errors import QueryError
from kubedyno.promql.rows import NAME, NAN, Grid, Labels, Row, Values, all_present, key_of, plain
from kubedyno.promql.windows import mean_of, quantile_of

Reduce = Callable[[Sequence[float]], float]
_INT64 = 1 << 63


def grouped(rows: list[Row], labels: Sequence[str], *, without: bool) -> list[tuple[Labels, list[Row]]]:
    """Return rows by what they have in common: the given labels, or all but those and the name."""
    groups: dict[object, tuple[Labels, list[Row]]] = {}
    if not without and not labels:
        return [({}, rows)] if rows else []
    dropped = {*labels, NAME}
    for row in rows:
        of = row.labels
        if without:
            kept = {name: value for name, value in of.items() if name not in dropped}
            key: object = key_of(kept)
            group = groups.get(key)
        else:
            key = tuple([of.get(name) for name in labels])
            group = groups.get(key)
            kept = {} if group else {name: of[name] for name in labels if name in of}
        if group is None:
            groups[key] = (kept, [row])
        else:
            group[1].append(row)
    return list(groups.values())


def _variance(values: Sequence[float]) -> float:
    # The first is its own mean, whatever it is: of one infinity or NaN it is 0.
    mean, squares = values[0], 0.0
    for number, value in enumerate(values[1:], 2):
        delta = value - mean
        mean += delta / number
        squares += delta * (value - mean)
    return squares / len(values)


def _largest(values: Sequence[float]) -> float:
    return max((value for value in values if not math.isnan(value)), default=NAN)


def _smallest(values: Sequence[float]) -> float:
    return min((value for value in values if not math.isnan(value)), default=NAN)


REDUCTIONS: dict[str, Reduce] = {
    "sum": sum,
    "avg": mean_of,
    "min": _smallest,
    "max": _largest,
    "count": lambda values: float(len(values)),
    "group": lambda _values: 1.0,
    "stdvar": _variance,
    "stddev": lambda values: math.sqrt(found) if (found := _variance(values)) >= 0 else NAN,
}


def reduced(rows: list[Row], reduce: Reduce) -> Values:
    """Return one value a step of all rows that have one."""
    if all(all_present(row.values) for row in rows):
        return [float(reduce(column)) for column in zip(*(row.values for row in rows), strict=True)]
    found: Values = []
    for column in zip(*(row.values for row in rows), strict=True):
        present = [value for value in column if value is not None]
        found.append(float(reduce(present)) if present else None)
    return found


def quantiled(rows: list[Row], shares: Values) -> Values:
    """Return a quantile of all rows at each step."""
    found: Values = []
    for share, column in zip(shares, zip(*(row.values for row in rows), strict=True), strict=True):
        present = [value for value in column if value is not None]
        found.append(quantile_of(NAN if share is None else share, present) if present else None)
    return found


def chosen(rows: list[Row], counts: Values, grid: Grid, *, largest: bool) -> list[Row]:
    """Return the k rows with the largest or smallest values at each step, in that order where there is one step.

    Raises:
        QueryError: k is no number that fits.
    """
    wanted = [_whole(count) for count in counts]
    kept: list[Values] = [[None] * grid.count for _ in rows]
    order = list(range(len(rows)))
    for step in range(grid.count):
        present = [i for i, row in enumerate(rows) if row.values[step] is not None]
        # NaN is never among the first; of equal ones the earlier stay.
        ranked = sorted(present, key=lambda i: _rank(rows[i].values[step], largest=largest))[: max(wanted[step], 0)]
        for i in ranked:
            kept[i][step] = rows[i].values[step]
        if grid.count == 1:
            order = ranked
    return [Row(rows[i].labels, kept[i]) for i in order if any(value is not None for value in kept[i])]


def _rank(value: float | None, *, largest: bool) -> tuple[bool, float]:
    assert value is not None
    if math.isnan(value):
        return True, 0.0
    return False, -value if largest else value


def _whole(count: float | None) -> int:
    if count is None or math.isnan(count) or not -_INT64 <= count < _INT64:
        raise QueryError(f"Scalar value {plain(NAN if count is None else count)} overflows int64")
    return int(count)


def counted_values(label: str, rows: list[Row], labels: Sequence[str], grid: Grid, *, without: bool) -> list[Row]:
    """Return for each value how many rows have it, the value as a label.

    The label is there before rows are grouped, so it may be one of those that the groups are made by.
    """
    found: dict[frozenset[tuple[str, str]], tuple[Labels, Values]] = {}
    for row in rows:
        columns: dict[str, Values] = {}
        for step, value in enumerate(row.values):
            if value is not None:
                text = plain(value)
                of = columns.get(text)
                if of is None:
                    labelled = {**row.labels, label: text}
                    if without:
                        kept = {name: v for name, v in labelled.items() if name not in labels and name != NAME}
                    else:
                        kept = {name: v for name, v in labelled.items() if name in labels or name == label}
                    _, of = found.setdefault(key_of(kept), (kept, [None] * grid.count))
                    columns[text] = of
                of[step] = (of[step] or 0.0) + 1.0
    return [Row(kept, counts) for kept, counts in found.values()]
