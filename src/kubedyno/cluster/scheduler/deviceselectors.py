"""CEL as device selectors use it: an expression about `device` to a function that says yes or no.

Operators, literals, members, indexes, `in`, `has`, `size`, `exists`, `all`, `cel.bind`, optional members, and the
functions of strings, quantities and semantic versions. What is beyond that is an `Unsupported` that names it; `matches`
needs the extra cel, whose engine takes linear time. Expressions and devices are whatever a user wrote: sizes and depth
are bounded.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from kubedyno.cluster.scheduler.selectorvalues import (
    FUNCTIONS,
    METHODS,
    Domains,
    Fault,
    Node,
    Unsupported,
    arithmetic,
    boolean,
    call,
    compare,
    constant,
    has,
    index,
    kind_of,
    logical,
    quantified,
    version,
)
from kubedyno.kube.quantity import Quantity
from kubedyno.kube.strconv import parse_int

_MAX_LENGTH = 10 * 1024
_MAX_DEPTH = 60
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'", "`": "`", "?": "?"}

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>\d+\.\d+|\d+u?)|(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')"""
    r"""|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<op>&&|\|\||==|!=|<=|>=|\.\?|\[\?|[-+*/%<>!?:.,()\[\]]))"""
)


def device_of(driver: str, device: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `device` is in an expression.

    Args:
        driver: Of its slice; attributes without a domain are in this one.
        device: As it stands in a ResourceSlice.
    """
    attributes, capacity = Domains(), Domains()
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
        return version(str(value["version"]))
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
        raise Fault(f"result is {kind_of(result)}, must be bool")
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
        return lambda env: yes(env) if boolean(test(env)) else no(env)

    def _chain(self, depth: int, names: frozenset[str], operator: str) -> Node:
        below = self._relation if operator == "&&" else lambda d, n: self._chain(d, n, "&&")
        parts = [below(depth, names)]
        while self._take(operator):
            parts.append(below(depth, names))
        return parts[0] if len(parts) == 1 else logical(parts, decisive=operator == "||")

    def _relation(self, depth: int, names: frozenset[str]) -> Node:
        left = self._sum(depth, names)
        operator = self._take("==", "!=", "<=", ">=", "<", ">", "in")
        if operator is None:
            return left
        right = self._sum(depth, names)
        return lambda env: compare(operator, left(env), right(env))

    def _sum(self, depth: int, names: frozenset[str]) -> Node:
        node = self._product(depth, names)
        while (operator := self._take("+", "-")) is not None:
            node = arithmetic(operator, node, self._product(depth, names))
        return node

    def _product(self, depth: int, names: frozenset[str]) -> Node:
        node = self._unary(depth, names)
        while (operator := self._take("*", "/", "%")) is not None:
            node = arithmetic(operator, node, self._unary(depth, names))
        return node

    def _unary(self, depth: int, names: frozenset[str]) -> Node:
        if depth > _MAX_DEPTH:
            raise Unsupported("is nested too deeply")
        if self._take("!"):
            node = self._unary(depth + 1, names)
            return lambda env: not boolean(node(env))
        if self._take("-"):
            zero: Node = lambda env: 0  # noqa: ARG005, E731 - what is subtracted from
            return arithmetic("-", zero, self._unary(depth + 1, names))
        return self._postfix(depth, names)

    def _postfix(self, depth: int, names: frozenset[str]) -> Node:
        node = self._primary(depth, names)
        while (operator := self._take(".", ".?", "[", "[?")) is not None:
            if operator in {"[", "[?"}:
                key = self.ternary(depth + 1, names)
                self._need("]")
                node = index(node, key, optional=operator == "[?")
                continue
            kind, name = self._peek()
            if kind != "name":
                raise Unsupported(f"has {name!r} where a member's name is expected")
            self._at += 1
            if operator == "." and self._take("("):
                node = self._method(name, node, depth, names)
            else:
                node = index(node, constant(name), optional=operator == ".?")
        return node

    def _method(self, name: str, node: Node, depth: int, names: frozenset[str]) -> Node:
        if name in {"exists", "all"}:
            variable = self._peek()[1]
            self._at += 1
            self._need(",")
            test = self.ternary(depth + 1, names | {variable})
            self._need(")")
            return quantified(name, node, variable, test)
        arguments = self._arguments(depth, names)
        if name not in METHODS:
            raise Unsupported(f"calls {name}(), which is not understood here")
        function = METHODS[name]
        return lambda env: call(name, function, node(env), *(argument(env) for argument in arguments))

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
            try:
                return constant(float(text) if "." in text else parse_int(text.rstrip("u")))
            except ValueError as error:
                raise Unsupported("has a number that is beyond 64 bits") from error
        if kind == "string":
            return constant(_unquoted(text))
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
            return constant(name == "true")
        if name == "null":
            return constant(None)
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
                return lambda env: has(node, env)
            arguments = self._arguments(depth, names)
            if name not in FUNCTIONS:
                raise Unsupported(f"calls {name}(), which is not understood here")
            function = FUNCTIONS[name]
            return lambda env: call(name, function, *(argument(env) for argument in arguments))
        if name not in names:
            raise Unsupported(f"names {name}, which there is not: only device is")
        return lambda env: env[name]


def _unquoted(text: str) -> str:
    def escaped(found: re.Match[str]) -> str:
        if found[1] not in _ESCAPES:
            raise Unsupported(f"has the escape \\{found[1]}, which is not understood here")
        return _ESCAPES[found[1]]

    return re.sub(r"\\(.)", escaped, text[1:-1])
