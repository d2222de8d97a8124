"""Sprig on defaults, choices and types."""

from collections.abc import Callable
from typing import Any

from kubedyno.load.plan.gotemplate.errors import FunctionError
from kubedyno.load.plan.gotemplate.gofmt import type_name
from kubedyno.load.plan.gotemplate.sprig.values import empty, kind_of, same, strval


def _default(fallback: Any, *given: Any) -> Any:
    value = given[0] if given else None
    return fallback if empty(value) else value


def _ternary(yes: Any, no: Any, test: Any) -> Any:
    if not isinstance(test, bool):
        raise FunctionError(f"wrong type for value; expected bool; got {type_name(test)}")
    return yes if test else no


def _fail(message: Any) -> None:
    raise FunctionError(strval(message))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "default": _default,
    "empty": empty,
    "coalesce": lambda *v: next((x for x in v if not empty(x)), None),
    "all": lambda *v: not any(empty(x) for x in v),
    "any": lambda *v: any(not empty(x) for x in v),
    "ternary": _ternary,
    "fail": _fail,
    "kindOf": kind_of,
    "kindIs": lambda k, v: kind_of(v) == k,
    "typeOf": type_name,
    "typeIs": lambda t, v: type_name(v) == t,
    "typeIsLike": lambda t, v: type_name(v) in {t, f"*{t}"},
    "deepEqual": same,
}
