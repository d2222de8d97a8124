"""CEL as device selectors use it: an expression about `device` to a function that says yes or no.

Operators, literals, members, indexes, `in`, `has`, `size`, `exists`, `all`, `cel.bind`, optional members, and the
functions of strings, quantities and semantic versions. What is beyond that is an `Unsupported` that names it; `matches`
needs the extra cel, whose engine takes linear time. Expressions and devices are whatever a user wrote: sizes and depth
are bounded.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from kubedyno.cluster.registry import schemacel
from kubedyno.kube.quantity import Quantity
from kubedyno.kube.semver import Version

_MAX_LENGTH = 10 * 1024
_MAX_DEPTH = 60
# Items that `exists` and `all` look at: an attribute holds no more than a few.
_MAX_ITEMS = 1000

Env = Mapping[str, Any]
Node = Callable[[Env], Any]

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>\d+\.\d+|\d+u?)|(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')"""
    r"""|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<op>&&|\|\||==|!=|<=|>=|\.\?|\[\?|[-+*/%<>!?:.,()\[\]]))"""
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'", "`": "`", "?": "?"}


class Unsupported(ValueError):
    """The expression is none, or none of the part of CEL that is understood here."""


class Fault(ValueError):
    """The expression cannot be evaluated for a device: a member is missing, or types do not go together."""


@dataclass(frozen=True, slots=True)
class _Optional:
    has: bool
    value: Any = None


class _Domains(dict[str, Any]):
    """Attributes by domain: of a domain that a device has nothing of, nothing is known, which is no fault."""

    def __missing__(self, key: str) -> dict[str, Any]:
        return {}


def device_of(driver: str, device: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `device` is in an expression.

    Args:
        driver: Of its slice; attributes without a domain are in this one.
        device: As it stands in a ResourceSlice.
    """
    attributes, capacity = _Domains(), _Domains()
    for name, value in (device.get("attributes") or {}).items():
        domain, _, own = name.rpartition("/")
        attributes.setdefault(domain or driver, {})[own] = _attribute(value)
    for name, value in (device.get("capacity") or {}).items():
        domain, _, own = name.rpartition("/")
        capacity.setdefault(domain or driver, {})[own] = Quantity.parse(str(value.get("value", "0")))
    return {
        "driver": driver, "attributes": attributes, "capacity": capacity,
        "allowMultipleAllocations": bool(device.get("allowMultipleAllocations")),
    }  # fmt: skip


def _attribute(value: Mapping[str, Any]) -> Any:
    if "version" in value:
        return _version(str(value["version"]))
    return next((value[kind] for kind in ("string", "int", "bool") if kind in value), None)


def matches(expression: str, device: Mapping[str, Any]) -> bool:
    """Say whether an expression holds for a device.

    Args:
        expression: CEL.
        device: From `device_of`.

    Raises:
        Unsupported: It is not understood.
        Fault: It cannot be evaluated for this device.
    """
    result = compiled(expression)({"device": device})
    if not isinstance(result, bool):
        raise Fault(f"result is {_kind(result)}, must be bool")
    return result


@lru_cache(maxsize=1024)
def compiled(expression: str) -> Node:
    """Return an expression's function; O(length).

    Raises:
        Unsupported: It is not understood.
    """
    if len(expression) > _MAX_LENGTH:
        raise Unsupported(f"is longer than {_MAX_LENGTH} characters")
    parser = _Parser(_tokens(expression))
    node = parser.ternary(0, frozenset({"device"}))
    parser.end()
    return node


def _tokens(text: str) -> list[tuple[str, str]]:
    found, at = [], 0
    while at < len(text.rstrip()):
        token = _TOKEN.match(text, at)
        if token is None or token.lastgroup is None:
            raise Unsupported(f"has {text[at : at + 10]!r} at {at}, which is not understood here")
        found.append((token.lastgroup, token[token.lastgroup]))
        at = token.end()
    return found


class _Parser:
    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._at = 0

    # --- tokens --------------------------------------------------------------------------------------------------

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "its end")

    def _take(self, *texts: str) -> str | None:
        kind, text = self._peek()
        if text in texts and kind in {"op", "name"}:
            self._at += 1
            return text
        return None

    def _need(self, text: str) -> None:
        if self._take(text) is None:
            raise Unsupported(f"has {self._peek()[1]!r} where {text!r} is expected")

    def end(self) -> None:
        """Raise unless all was read."""
        if self._at < len(self._tokens):
            raise Unsupported(f"has {self._peek()[1]!r} after its end")

    # --- grammar -------------------------------------------------------------------------------------------------

    def ternary(self, depth: int, names: frozenset[str]) -> Node:
        """Parse a whole expression."""
        if depth > _MAX_DEPTH:
            raise Unsupported("is nested too deeply")
        test = self._chain(depth, names, "||")
        if self._take("?") is None:
            return test
        yes = self.ternary(depth + 1, names)
        self._need(":")
        no = self.ternary(depth + 1, names)
        return lambda env: yes(env) if _boolean(test(env)) else no(env)

    def _chain(self, depth: int, names: frozenset[str], operator: str) -> Node:
        below = self._relation if operator == "&&" else lambda d, n: self._chain(d, n, "&&")
        parts = [below(depth, names)]
        while self._take(operator):
            parts.append(below(depth, names))
        return parts[0] if len(parts) == 1 else _logical(parts, decisive=operator == "||")

    def _relation(self, depth: int, names: frozenset[str]) -> Node:
        left = self._sum(depth, names)
        operator = self._take("==", "!=", "<=", ">=", "<", ">", "in")
        if operator is None:
            return left
        right = self._sum(depth, names)
        return lambda env: _compare(operator, left(env), right(env))

    def _sum(self, depth: int, names: frozenset[str]) -> Node:
        node = self._product(depth, names)
        while (operator := self._take("+", "-")) is not None:
            node = _arithmetic(operator, node, self._product(depth, names))
        return node

    def _product(self, depth: int, names: frozenset[str]) -> Node:
        node = self._unary(depth, names)
        while (operator := self._take("*", "/", "%")) is not None:
            node = _arithmetic(operator, node, self._unary(depth, names))
        return node

    def _unary(self, depth: int, names: frozenset[str]) -> Node:
        if depth > _MAX_DEPTH:
            raise Unsupported("is nested too deeply")
        if self._take("!"):
            node = self._unary(depth + 1, names)
            return lambda env: not _boolean(node(env))
        if self._take("-"):
            zero: Node = lambda env: 0  # noqa: ARG005, E731 - what is subtracted from
            return _arithmetic("-", zero, self._unary(depth + 1, names))
        return self._postfix(depth, names)

    def _postfix(self, depth: int, names: frozenset[str]) -> Node:
        node = self._primary(depth, names)
        while (operator := self._take(".", ".?", "[", "[?")) is not None:
            if operator in {"[", "[?"}:
                key = self.ternary(depth + 1, names)
                self._need("]")
                node = _index(node, key, optional=operator == "[?")
                continue
            kind, name = self._peek()
            if kind != "name":
                raise Unsupported(f"has {name!r} where a member's name is expected")
            self._at += 1
            if operator == "." and self._take("("):
                node = self._method(name, node, depth, names)
            else:
                node = _index(node, _constant(name), optional=operator == ".?")
        return node

    def _method(self, name: str, node: Node, depth: int, names: frozenset[str]) -> Node:
        if name in {"exists", "all"}:
            variable = self._peek()[1]
            self._at += 1
            self._need(",")
            test = self.ternary(depth + 1, names | {variable})
            self._need(")")
            return _quantified(name, node, variable, test)
        arguments = self._arguments(depth, names)
        if name not in _METHODS:
            raise Unsupported(f"calls {name}(), which is not understood here")
        function = _METHODS[name]
        return lambda env: _call(name, function, node(env), *(argument(env) for argument in arguments))

    def _arguments(self, depth: int, names: frozenset[str]) -> list[Node]:
        arguments: list[Node] = []
        if self._take(")"):
            return arguments
        while True:
            arguments.append(self.ternary(depth + 1, names))
            if self._take(")"):
                return arguments
            self._need(",")

    def _primary(self, depth: int, names: frozenset[str]) -> Node:
        kind, text = self._peek()
        self._at += 1
        if kind == "number":
            return _constant(float(text) if "." in text else int(text.rstrip("u")))
        if kind == "string":
            return _constant(_unquoted(text))
        if kind == "op" and text == "(":
            node = self.ternary(depth + 1, names)
            self._need(")")
            return node
        if kind == "op" and text == "[":
            items: list[Node] = []
            while not self._take("]"):
                items.append(self.ternary(depth + 1, names))
                if self._peek()[1] != "]":
                    self._need(",")
            return lambda env: [item(env) for item in items]
        if kind == "name":
            return self._named(text, depth, names)
        raise Unsupported(f"has {text!r} where a value is expected")

    def _named(self, name: str, depth: int, names: frozenset[str]) -> Node:
        if name in {"true", "false"}:
            return _constant(name == "true")
        if name == "null":
            return _constant(None)
        if name == "cel" and self._take("."):
            self._need("bind")
            self._need("(")
            variable = self._peek()[1]
            self._at += 1
            self._need(",")
            value = self.ternary(depth + 1, names)
            self._need(",")
            body = self.ternary(depth + 1, names | {variable})
            self._need(")")
            return lambda env: body({**env, variable: value(env)})
        if self._take("("):
            if name == "has":
                node = self.ternary(depth + 1, names)
                self._need(")")
                return lambda env: _has(node, env)
            arguments = self._arguments(depth, names)
            if name not in _FUNCTIONS:
                raise Unsupported(f"calls {name}(), which is not understood here")
            function = _FUNCTIONS[name]
            return lambda env: _call(name, function, *(argument(env) for argument in arguments))
        if name not in names:
            raise Unsupported(f"names {name}, which there is not: only device is")
        return lambda env: env[name]


# --- evaluation ------------------------------------------------------------------------------------------------------


def _constant(value: Any) -> Node:
    return lambda env: value  # noqa: ARG005 - the same for every device


def _unquoted(text: str) -> str:
    def escaped(found: re.Match[str]) -> str:
        if found[1] not in _ESCAPES:
            raise Unsupported(f"has the escape \\{found[1]}, which is not understood here")
        return _ESCAPES[found[1]]

    return re.sub(r"\\(.)", escaped, text[1:-1])


def _kind(value: Any) -> str:
    names = {bool: "bool", int: "int", float: "double", str: "string", Quantity: "quantity", Version: "semver"}
    return "null" if value is None else names.get(type(value), type(value).__name__.lstrip("_").lower())


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Fault(f"{_kind(value)} is used as bool")
    return value


def _logical(parts: list[Node], *, decisive: bool) -> Node:
    """Return && or ||: a part that decides does so even when another one cannot be evaluated."""

    def evaluate(env: Env) -> bool:
        fault = None
        for part in parts:
            try:
                if _boolean(part(env)) is decisive:
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


def _compare(operator: str, left: Any, right: Any) -> bool:
    if operator == "in":
        if not isinstance(right, list | dict):
            raise Fault(f"`in` wants a list or a map, not {_kind(right)}")
        return any(_same_kind(left, item) and left == item for item in right)
    same = _same_kind(left, right)
    if operator in {"==", "!="}:
        if same and isinstance(left, Quantity):
            # Equal amounts are equal in whatever units they are written.
            return (not left < right and not right < left) is (operator == "==")
        return (same and left == right) is (operator == "==")
    if not same or isinstance(left, list | dict) or left is None:
        raise Fault(f"no such overload: {_kind(left)} {operator} {_kind(right)}")
    if operator == "<":
        return bool(left < right)
    if operator == ">":
        return bool(right < left)
    return bool(not right < left) if operator == "<=" else bool(not left < right)


def _arithmetic(operator: str, left: Node, right: Node) -> Node:
    def evaluate(env: Env) -> Any:
        a, b = left(env), right(env)
        if operator == "+" and isinstance(a, str) and isinstance(b, str):
            return a + b
        if isinstance(a, bool) or not isinstance(a, int | float) or not _same_kind(a, b):
            raise Fault(f"no such overload: {_kind(a)} {operator} {_kind(b)}")
        if operator in "/%" and not b:
            raise Fault("division by zero")
        if operator == "+":
            return a + b
        if operator == "-":
            return a - b
        if operator == "*":
            return a * b
        if operator == "%":
            return a - b * int(a / b)
        return a / b if isinstance(a, float) or isinstance(b, float) else int(a / b)

    return evaluate


def _index(node: Node, key: Node, *, optional: bool) -> Node:
    def evaluate(env: Env) -> Any:
        value, wanted = node(env), key(env)
        lenient = optional
        if isinstance(value, _Optional):
            if not value.has:
                return value
            value, lenient = value.value, True
        if isinstance(value, dict):
            if wanted in value or (isinstance(value, _Domains) and not lenient):
                return _Optional(has=True, value=value[wanted]) if lenient else value[wanted]
        elif isinstance(value, list) and isinstance(wanted, int) and not isinstance(wanted, bool):
            if 0 <= wanted < len(value):
                return _Optional(has=True, value=value[wanted]) if lenient else value[wanted]
        else:
            raise Fault(f"{_kind(value)} has no members")
        if lenient:
            return _Optional(has=False)
        raise Fault(f"no such key: {wanted}")

    return evaluate


def _has(node: Node, env: Env) -> bool:
    try:
        node(env)
    except Fault as fault:
        if str(fault).startswith("no such key"):
            return False
        raise
    return True


def _quantified(name: str, node: Node, variable: str, test: Node) -> Node:
    def evaluate(env: Env) -> bool:
        items = node(env)
        if not isinstance(items, list | dict):
            raise Fault(f"{name}() wants a list or a map, not {_kind(items)}")
        if len(items) > _MAX_ITEMS:
            raise Fault(f"{name}() over more than {_MAX_ITEMS} items")
        parts: list[Node] = [lambda env, item=item: test({**env, variable: item}) for item in items]  # type: ignore[misc]
        return bool(_logical(parts, decisive=name == "exists")(env))

    return evaluate


def _call(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except (TypeError, AttributeError) as error:
        kinds = ", ".join(map(_kind, arguments))
        raise Fault(f"no such overload: {name}({kinds})") from error


def _quantity(text: str) -> Quantity:
    try:
        return Quantity.parse(text)
    except ValueError as error:
        raise Fault(str(error)) from error


def _version(text: str) -> Version:
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


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "quantity": _quantity,
    "semver": _version,
    "size": _size,
    "string": lambda value: str(value).lower() if isinstance(value, bool) else str(value),
    "int": int,
}
_METHODS: dict[str, Callable[..., Any]] = {
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
