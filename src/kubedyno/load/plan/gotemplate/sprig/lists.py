"""Sprig on lists; none is changed in place."""

from collections.abc import Callable
from typing import Any

from kubedyno.load.plan.gotemplate.errors import FunctionError
from kubedyno.load.plan.gotemplate.sprig.values import among, empty, list_of, to_int


def _uniq(values: Any) -> list[Any]:
    found: list[Any] = []
    for value in list_of(values, "uniq"):
        if not among(value, found):
            found.append(value)
    return found


def _slice(values: Any, *bounds: Any) -> list[Any]:
    items = list_of(values, "slice")
    if not items:
        return []
    start = to_int(bounds[0]) if bounds else 0
    end = to_int(bounds[1]) if len(bounds) > 1 else len(items)
    if start < 0 or end > len(items) or start > end:
        raise FunctionError("reflect.Value.Slice: slice index out of bounds")
    return items[start:end]


def _chunk(size: Any, values: Any) -> list[list[Any]]:
    items, n = list_of(values, "chunk"), to_int(size)
    if n <= 0:
        raise FunctionError("runtime error: makeslice: len out of range")
    return [items[i : i + n] for i in range(0, len(items), n)]


def _has(needle: Any, values: Any) -> bool:
    if values is None:
        return False
    return among(needle, list_of(values, "find has"))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "list": lambda *v: list(v),
    "tuple": lambda *v: list(v),
    "first": lambda v: next(iter(list_of(v, "find first")), None),
    "last": lambda v: (list_of(v, "find last") or [None])[-1],
    "rest": lambda v: list_of(v, "find rest")[1:],
    "initial": lambda v: list_of(v, "find initial")[:-1],
    "append": lambda v, x: [*list_of(v, "push"), x],
    "push": lambda v, x: [*list_of(v, "push"), x],
    "prepend": lambda v, x: [x, *list_of(v, "prepend")],
    "concat": lambda *v: [x for items in v for x in list_of(items, "concat")],
    "reverse": lambda v: list_of(v, "find reverse")[::-1],
    "uniq": _uniq,
    "without": lambda v, *x: [item for item in list_of(v, "find without") if not among(item, x)],
    "has": _has,
    "compact": lambda v: [item for item in list_of(v, "compact") if not empty(item)],
    "slice": _slice,
    "mustSlice": _slice,
    "chunk": _chunk,
}
