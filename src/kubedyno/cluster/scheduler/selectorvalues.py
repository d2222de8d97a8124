"""What operators and functions of CEL do with the values of a device selector, and why some cannot be evaluated."""

import operator as operator_
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kubedyno.cluster.registry import schemacel
from kubedyno.kube.quantity import Quantity
from kubedyno.kube.semver import Version

# Items that `exists` and `all` look at: an attribute holds no more than a few.
_MAX_ITEMS = 1000
# CEL's integers.
_LEAST, _MOST = -(1 << 63), (1 << 63) - 1

Env = Mapping[str, Any]
Node = Callable[[Env], Any]


class Unsupported(ValueError):
    """The expression is none, or none of the part of CEL that is understood here."""


class Fault(ValueError):
    """The expression cannot be evaluated for a device: a member is missing, or types do not go together."""


@dataclass(frozen=True, slots=True)
class _Optional:
    has: bool
    value: Any = None


class Domains(dict[str, Any]):
    """A device's attributes by domain: of a domain that a device has nothing of, nothing is known, which is no fault."""

    def __missing__(self, key: str) -> dict[str, Any]:
        return {}


def constant(value: Any) -> Node:
    """Return what has this value for every device."""
    return lambda env: value  # noqa: ARG005 - the same for every device


def kind_of(value: Any) -> str:
    """Return the name of a value's type."""
    names = {bool: "bool", int: "int", float: "double", str: "string", Quantity: "quantity", Version: "semver"}
    return "null" if value is None else names.get(type(value), type(value).__name__.lstrip("_").lower())


def boolean(value: Any) -> bool:
    """Return a boolean; raises Fault when it is none."""
    if not isinstance(value, bool):
        raise Fault(f"{kind_of(value)} is used as bool")
    return value


def logical(parts: list[Node], *, decisive: bool) -> Node:
    """Return && or ||: a part that decides does so even when another one cannot be evaluated."""

    def evaluate(env: Env) -> bool:
        fault = None
        for part in parts:
            try:
                if boolean(part(env)) is decisive:
                    return decisive
            except Fault as error:
                fault = fault or error
        if fault is not None:
            raise fault
        return not decisive

    return evaluate


def _same_kind(left: Any, right: Any) -> bool:
    numbers = (int, float)
    if isinstance(left, bool) or isinstance(right, bool):
        return isinstance(left, bool) and isinstance(right, bool)
    return type(left) is type(right) or (isinstance(left, numbers) and isinstance(right, numbers))


def compare(operator: str, left: Any, right: Any) -> bool:
    """Return what an operator of comparison, or `in`, says."""
    if operator == "in":
        if not isinstance(right, list | dict):
            raise Fault(f"`in` wants a list or a map, not {kind_of(right)}")
        return any(_same_kind(left, item) and left == item for item in right)
    same = _same_kind(left, right)
    if operator in {"==", "!="}:
        if same and isinstance(left, Quantity):
            # Equal amounts are equal in whatever units they are written.
            return (not left < right and not right < left) is (operator == "==")
        return (same and left == right) is (operator == "==")
    if not same or isinstance(left, list | dict) or left is None:
        raise Fault(f"no such overload: {kind_of(left)} {operator} {kind_of(right)}")
    if operator == "<":
        return bool(left < right)
    if operator == ">":
        return bool(right < left)
    return bool(not right < left) if operator == "<=" else bool(not left < right)


def arithmetic(operator: str, left: Node, right: Node) -> Node:
    """Return a sum, a difference, a product, a quotient or a remainder."""

    def evaluate(env: Env) -> Any:
        a, b = left(env), right(env)
        if operator == "+" and isinstance(a, str) and isinstance(b, str):
            return a + b
        if isinstance(a, bool) or not isinstance(a, int | float) or not _same_kind(a, b):
            raise Fault(f"no such overload: {kind_of(a)} {operator} {kind_of(b)}")
        if operator in "/%" and not b:
            raise Fault("division by zero")
        value = _ARITHMETIC[operator](a, b)
        if isinstance(value, int) and not _LEAST <= value <= _MOST:
            raise Fault("integer overflow")
        return value

    return evaluate


def _quotient(a: float, b: float) -> float:
    """Return a quotient; that of integers is cut off towards zero."""
    if isinstance(a, float) or isinstance(b, float):
        return a / b
    whole = abs(a) // abs(b)
    return whole if (a < 0) is (b < 0) else -whole


_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator_.add,
    "-": operator_.sub,
    "*": operator_.mul,
    "/": _quotient,
    "%": lambda a, b: a - b * int(_quotient(a, b)),
}


def index(node: Node, key: Node, *, optional: bool) -> Node:
    """Return a member of a map or an item of a list."""

    def evaluate(env: Env) -> Any:
        value, wanted = node(env), key(env)
        lenient = optional
        if isinstance(value, _Optional):
            if not value.has:
                return value
            value, lenient = value.value, True
        if isinstance(value, dict):
            if wanted in value or (isinstance(value, Domains) and not lenient):
                return _Optional(has=True, value=value[wanted]) if lenient else value[wanted]
        elif isinstance(value, list) and isinstance(wanted, int) and not isinstance(wanted, bool):
            if 0 <= wanted < len(value):
                return _Optional(has=True, value=value[wanted]) if lenient else value[wanted]
        else:
            raise Fault(f"{kind_of(value)} has no members")
        if lenient:
            return _Optional(has=False)
        raise Fault(f"no such key: {wanted}")

    return evaluate


def has(node: Node, env: Env) -> bool:
    """Say whether a member is there."""
    try:
        node(env)
    except Fault as fault:
        if str(fault).startswith("no such key"):
            return False
        raise
    return True


def quantified(name: str, node: Node, variable: str, test: Node) -> Node:
    """Return `exists` or `all` over the items of a list or the keys of a map."""

    def evaluate(env: Env) -> bool:
        items = node(env)
        if not isinstance(items, list | dict):
            raise Fault(f"{name}() wants a list or a map, not {kind_of(items)}")
        if len(items) > _MAX_ITEMS:
            raise Fault(f"{name}() over more than {_MAX_ITEMS} items")
        parts: list[Node] = [lambda env, item=item: test({**env, variable: item}) for item in items]  # type: ignore[misc]
        return bool(logical(parts, decisive=name == "exists")(env))

    return evaluate


def call(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function; raises Fault when it does not take such values."""
    try:
        return function(*arguments)
    except (TypeError, AttributeError) as error:
        kinds = ", ".join(map(kind_of, arguments))
        raise Fault(f"no such overload: {name}({kinds})") from error


def quantity(text: str) -> Quantity:
    """Return a quantity; raises Fault when the text is none."""
    try:
        return Quantity.parse(text)
    except ValueError as error:
        raise Fault(str(error)) from error


def version(text: str) -> Version:
    """Return a semantic version; raises Fault when the text is none."""
    try:
        return Version.parse(text)
    except ValueError as error:
        raise Fault(str(error)) from error


def _ordered(left: Any, right: Any) -> int:
    if isinstance(left, Quantity) and isinstance(right, Quantity):
        return (right < left) - (left < right)
    if isinstance(left, Version) and isinstance(right, Version):
        return (right < left) - (left < right)
    raise TypeError


def _found(text: Any, pattern: Any) -> bool:
    if not isinstance(text, str) or not isinstance(pattern, str):
        raise TypeError
    if not schemacel.available():
        raise Fault("matches() needs the extra cel: pip install 'kubedyno[cel]'")
    found = schemacel.matches(pattern, text)
    if found is None:
        raise Fault(f"{pattern!r} is no pattern")
    return found


def _value(optional: _Optional) -> Any:
    if not optional.has:
        raise Fault("optional.none() dereference")
    return optional.value


def _size(value: Any) -> int:
    if not isinstance(value, str | list | dict):
        raise TypeError
    return len(value)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "quantity": quantity,
    "semver": version,
    "size": _size,
    "string": lambda value: str(value).lower() if isinstance(value, bool) else str(value),
    "int": int,
}
METHODS: dict[str, Callable[..., Any]] = {
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "contains": str.__contains__,
    "matches": _found,
    "lowerAscii": str.lower,
    "size": _size,
    "compareTo": _ordered,
    "isGreaterThan": lambda left, right: _ordered(left, right) > 0,
    "isLessThan": lambda left, right: _ordered(left, right) < 0,
    "major": lambda version: version.numbers[0],
    "minor": lambda version: version.numbers[1],
    "patch": lambda version: version.numbers[2],
    "orValue": lambda optional, other: optional.value if optional.has else other,
    "hasValue": lambda optional: optional.has,
    "value": _value,
}
