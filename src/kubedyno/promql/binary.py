"""Operators between two sides: arithmetic, comparisons, sets; and which series of one side meet which of the other."""

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kubedyno.promql.errors import QueryError
from kubedyno.promql.mathematics import divided, power, remainder
from kubedyno.promql.rows import NAME, Labels, Row, Values, all_present, bare, key_of, overlaid, text_of, unique

Calculate = Callable[[float, float], float]
Compare = Callable[[float, float], bool]

ARITHMETIC: dict[str, Calculate] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": divided,
    "%": remainder,
    "^": power,
    "atan2": math.atan2,
}
COMPARISONS: dict[str, Compare] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}
SETS = frozenset({"and", "or", "unless"})


@dataclass(frozen=True, slots=True)
class Matching:
    """Which series of two sides belong together.

    Attributes:
        labels: Those that have to agree, or must not be looked at.
        on: They have to agree.
        include: Labels that the one side gives to the result.
        many: The side with several series a match: "" (one to one), "left" or "right".
    """

    labels: tuple[str, ...] = ()
    on: bool = False
    include: tuple[str, ...] = ()
    many: str = ""

    def signature(self, labels: Labels) -> object:
        """Return what has to be equal."""
        if self.on:
            return tuple([labels.get(name, "") for name in self.labels])
        ignored = {*self.labels, NAME}
        return frozenset([item for item in labels.items() if item[0] not in ignored])


def scalars(op: str, left: Values, right: Values) -> Values:
    """Return the outcome of an operator on two numbers at each step; comparisons say 1 or 0."""
    calculate = ARITHMETIC.get(op)
    if calculate is None:
        compare = COMPARISONS[op]
        return [float(compare(a, b)) for a, b in zip(left, right, strict=True)]  # type: ignore[arg-type]
    return _calculated(calculate, left, right)


def _calculated(calculate: Calculate, left: Values, right: Values) -> Values:
    if all_present(left) and all_present(right):
        return list(map(calculate, left, right))  # type: ignore[arg-type]
    return [None if a is None or b is None else calculate(a, b) for a, b in zip(left, right, strict=True)]


def _compared(compare: Compare, left: Values, right: Values, kept: Values, *, as_bool: bool) -> Values:
    """Return what a comparison leaves: values of `kept` where it holds, or 1 and 0."""
    found: Values = []
    for a, b, value in zip(left, right, kept, strict=True):
        if a is None or b is None:
            found.append(None)
        elif as_bool:
            found.append(1.0 if compare(a, b) else 0.0)
        else:
            found.append(value if compare(a, b) else None)
    return found


def with_scalar(
    op: str, rows: list[Row], scalar: Values, *, swapped: bool, as_bool: bool, drop_name: bool
) -> list[Row]:
    """Return the outcome of an operator between a vector and a number.

    Args:
        op: The operator.
        rows: The vector.
        scalar: The number at each step.
        swapped: The number stands on the left.
        as_bool: A comparison says 1 or 0 instead of choosing.
        drop_name: The outcome is another metric.
    """
    calculate = ARITHMETIC.get(op)
    found: list[Row] = []
    for row in rows:
        left, right = (scalar, row.values) if swapped else (row.values, scalar)
        if calculate is not None:
            values = _calculated(calculate, left, right)
        else:
            values = _compared(COMPARISONS[op], left, right, row.values, as_bool=as_bool)
        found.append(Row(bare(row.labels) if drop_name else row.labels, values))
    return unique(found)


def sets(op: str, left: list[Row], right: list[Row], matching: Matching) -> list[Row]:
    """Return what `and`, `or` and `unless` leave, step by step."""
    others, kept = (left, right) if op == "or" else (right, left)
    present: dict[object, list[bool]] = {}
    for row in others:
        signature = matching.signature(row.labels)
        flags = [value is not None for value in row.values]
        known = present.get(signature)
        present[signature] = flags if known is None else list(map(operator.or_, known, flags))
    wanted = op == "and"
    found: list[Row] = list(left) if op == "or" else []
    for row in kept:
        known = present.get(matching.signature(row.labels))
        if known is None:
            if not wanted:
                found.append(row)
            continue
        values: Values = [value if there is wanted else None for value, there in zip(row.values, known, strict=True)]
        found.append(Row(row.labels, values))
    return unique(Row(row.labels, row.values) for row in found)


def vectors(
    op: str, left: list[Row], right: list[Row], matching: Matching, *, as_bool: bool, drop_name: bool
) -> list[Row]:
    """Return the outcome of an arithmetic or comparing operator between two vectors.

    Raises:
        QueryError: A match is not one to one, and not said to be otherwise.
    """
    many, one = (right, left) if matching.many == "right" else (left, right)
    side = "left" if matching.many == "right" else "right"
    ones: dict[object, list[Row]] = {}
    for row in one:
        ones.setdefault(matching.signature(row.labels), []).append(row)
    # A step at which the other side has nothing is never looked at.
    met = [any(values) for values in zip(*([v is not None for v in row.values] for row in many), strict=True)]
    for signature, rows in ones.items():
        if len(rows) > 1 and many:
            _refuse_duplicates(rows, side, signature, matching, met)
    calculate = ARITHMETIC.get(op)
    found: dict[object, list[Row]] = {}
    for row in many:
        signature = matching.signature(row.labels)
        for other in ones.get(signature, ()):
            a, b = (other.values, row.values) if matching.many == "right" else (row.values, other.values)
            if calculate is not None:
                values = _calculated(calculate, a, b)
            else:
                values = _compared(COMPARISONS[op], a, b, a, as_bool=as_bool)
            labels = _result_labels(row.labels, other.labels, matching, drop_name=drop_name)
            found.setdefault(signature, []).append(Row(labels, values))
    results: list[Row] = []
    for rows in found.values():
        if len(rows) > 1:
            _refuse_multiple(rows, matching)
        results += rows
    return unique(results)


def _refuse_duplicates(
    rows: Sequence[Row], side: str, signature: object, matching: Matching, met: Sequence[bool]
) -> None:
    seen: list[Row | None] = [None] * len(rows[0].values)
    for row in rows:
        for step, value in enumerate(row.values):
            if value is None or not met[step]:
                continue
            other = seen[step]
            if other is not None:
                raise QueryError(
                    f"found duplicate series for the match group {_group_text(signature, matching)} on the {side} "
                    f"hand-side of the operation: [{text_of(row.labels)}, {text_of(other.labels)}]"
                    ";many-to-many matching not allowed: matching labels must be unique on one side"
                )
            seen[step] = row


def _group_text(signature: object, matching: Matching) -> str:
    if isinstance(signature, tuple):
        return text_of({name: value for name, value in zip(matching.labels, signature, strict=True) if value})
    assert isinstance(signature, frozenset)
    return text_of(dict(signature))


def _refuse_multiple(rows: Sequence[Row], matching: Matching) -> None:
    if not matching.many:
        before = rows[0].values
        for row in rows[1:]:
            before = overlaid(
                before,
                row.values,
                lambda: "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
            )
        return
    merged: dict[frozenset[tuple[str, str]], Values] = {}
    for row in rows:
        key = key_of(row.labels)
        known = merged.get(key)
        merged[key] = (
            row.values
            if known is None
            else overlaid(
                known,
                row.values,
                lambda: "multiple matches for labels: grouping labels must ensure unique matches",
            )
        )


def _result_labels(labels: Labels, other: Labels, matching: Matching, *, drop_name: bool) -> Labels:
    if not matching.many:
        if matching.on:
            kept = {name: labels[name] for name in matching.labels if name in labels}
            if drop_name:
                kept.pop(NAME, None)
            return kept
        ignored = {*matching.labels, NAME} if drop_name else set(matching.labels)
        return {name: value for name, value in labels.items() if name not in ignored}
    found = labels.copy()
    if drop_name:
        found.pop(NAME, None)
    for name in matching.include:
        value = other.get(name, "")
        if value:
            found[name] = value
        else:
            found.pop(name, None)
    return found
