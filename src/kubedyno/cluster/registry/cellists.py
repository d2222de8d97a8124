"""Functions of lists in CEL that the evaluator has not, or without a limit: isSorted, sum, min, max, indexOf, range.

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
_CALL = re.compile(rf"\b(isSorted|sum|min|max|indexOf|lastIndexOf|transformMap|transformMapEntry){_SPACE}\(")
_OPTIONAL = re.compile(rf"\boptional\b|\bopt(?:Flat)?Map\b|[.\[]{_SPACE}\?|\b(?:first|last){_SPACE}\(")
# Lists as long as somebody says: no limit of costs holds the evaluator's own.
_RANGE = re.compile(rf"\blists{_SPACE}\.{_SPACE}range{_SPACE}\(")
# The evaluator's own are of texts alone, and nothing can be added to them.
_PLACE = re.compile(rf"\.{_SPACE}(indexOf|lastIndexOf){_SPACE}\(")
# Items of all ranges of one evaluation: what more of them cost is beyond any limit.
_MAX_RANGED = 1_000_000
COST_EXCEEDED = "operation cancelled: actual cost limit exceeded"
_MIN_INT, _MAX_INT = -(1 << 63), (1 << 63) - 1
_NO_OVERLOAD = "no such overload"


def beside_optionals(text: str) -> str:
    """Return the function of lists that an expression with optionals names, "" when there is none."""
    found = _CALL.search(text)
    return found[1] if found is not None and _OPTIONAL.search(text) else ""


def own(text: str) -> str:
    """Return an expression whose `lists.range`, `indexOf` and `lastIndexOf` are ours."""
    if "ndexOf" in text:
        text = _PLACE.sub(lambda found: f".k8s{found[1][0].upper()}{found[1][1:]}(", text)
    return _RANGE.sub("k8sRange(", text) if "range" in text else text


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


class _Ranges:
    """Makes the lists of `lists.range`, and counts their items: the evaluator keeps all of them till it is done."""

    def __init__(self) -> None:
        self._left = _MAX_RANGED

    def begin(self) -> None:
        """Count anew."""
        self._left = _MAX_RANGED

    def make(self, count: int) -> list[int]:
        self._left -= max(count, 0)
        if self._left < 0:
            raise ValueError(COST_EXCEEDED)
        return list(range(count))


_ranges = _Ranges()


def begin_evaluation() -> None:
    """Grant the items that the ranges of one evaluation may have together; evaluations are not within each other."""
    _ranges.begin()


def _found_from(text: str, part: str, start: int) -> int:
    if not 0 <= start <= len(text):
        raise ValueError(f"index out of range: {start}")
    return text.find(part, start)


def _found_before(text: str, part: str, last: int) -> int:
    if not 0 <= last <= len(text):
        raise ValueError(f"index out of range: {last}")
    return text.rfind(part, 0, last + len(part))


def _place(values: list[Any], item: Any) -> int:
    return next((i for i, value in enumerate(values) if _equal(value, item)), -1)


def _last_place(values: list[Any], item: Any) -> int:
    return next((len(values) - 1 - i for i, value in enumerate(reversed(values)) if _equal(value, item)), -1)


def _equal(a: Any, b: Any) -> bool:
    # True is no number.
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def _least(name: str, choose: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
    def does(values: list[Any]) -> Any:
        if not values:
            raise ValueError(f"{name} called on empty list")
        return choose(_of_one_type(values))

    return does


_ITEM_TYPES = "sidb"
FUNCTIONS: dict[str, Overloads] = {
    "k8sRange": (("i>n", "list", _ranges.make),),
    "k8sIndexOf": (
        ("s.s>i", "text", str.find),
        ("s.si>i", "text", _found_from),
        *((f"l.{item}>i", "list", _place) for item in _ITEM_TYPES),
    ),
    "k8sLastIndexOf": (
        ("s.s>i", "text", str.rfind),
        ("s.si>i", "text", _found_before),
        *((f"l.{item}>i", "list", _last_place) for item in _ITEM_TYPES),
    ),
    "isSorted": (("l.>b", "list", _is_sorted),),
    "sum": (("l.>a", "list", _sum),),
    "min": (("l.>a", "list", _least("min", min)),),
    "max": (("l.>a", "list", _least("max", max)),),
}
