"""Kubernetes' functions of lists in CEL that the evaluator has not: isSorted, sum, min, max.

They get whole lists from the evaluator, which cannot hand over a map that holds an optional: it would end the process.
So expressions that name such a function and can make optionals are found by their text (`beside_optionals`), and are not
evaluated.
"""

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

# (signature, what it is, implementation), as `celfunctions.function` takes them.
Overloads = tuple[tuple[str, str, Callable[..., Any]], ...]

_SPACE = r"(?:\s|//[^\n]*\n)*"
_CALL = re.compile(rf"\b(isSorted|sum|min|max|transformMap|transformMapEntry){_SPACE}\(")
_OPTIONAL = re.compile(rf"\boptional\b|\bopt(?:Flat)?Map\b|[.\[]{_SPACE}\?|\b(?:first|last){_SPACE}\(")
# Lists as long as somebody says: memory that no limit of costs holds.
_UNEVALUATED = re.compile(rf"\blists{_SPACE}\.{_SPACE}(range)\b")
_MIN_INT, _MAX_INT = -(1 << 63), (1 << 63) - 1
_NO_OVERLOAD = "no such overload"


def beside_optionals(text: str) -> str:
    """Return the function of lists that an expression with optionals names, "" when there is none."""
    found = _CALL.search(text)
    return found[1] if found is not None and _OPTIONAL.search(text) else ""


def unevaluated(text: str) -> str:
    """Return what an expression names that is never evaluated here, "" when there is nothing."""
    found = _UNEVALUATED.search(text)
    return "" if found is None else f"lists.{found[1]}"


def _of_one_type(values: list[Any]) -> list[Any]:
    """Return values that can be compared.

    Raises:
        ValueError: They cannot.
    """
    types = {type(value) for value in values}
    if types == {int, float}:
        return [float(value) for value in values]
    if len(types) > 1 or types & {list, dict, type(None)}:
        raise ValueError(_NO_OVERLOAD)
    return values


def _is_sorted(values: list[Any]) -> bool:
    return all(a <= b for a, b in pairwise(_of_one_type(values)))


def _sum(values: list[Any]) -> Any:
    numbers = _of_one_type(values)
    if any(type(number) not in {int, float} for number in numbers[:1]):
        raise ValueError(_NO_OVERLOAD)
    total = sum(numbers)
    if isinstance(total, int) and not _MIN_INT <= total <= _MAX_INT:
        raise ValueError("integer overflow")
    return total


def _least(name: str, choose: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
    def does(values: list[Any]) -> Any:
        if not values:
            raise ValueError(f"{name} called on empty list")
        return choose(_of_one_type(values))

    return does


FUNCTIONS: dict[str, Overloads] = {
    "isSorted": (("l.>b", "list", _is_sorted),),
    "sum": (("l.>a", "list", _sum),),
    "min": (("l.>a", "list", _least("min", min)),),
    "max": (("l.>a", "list", _least("max", max)),),
}
