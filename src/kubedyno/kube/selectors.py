"""Label and field selectors: parse, match, print, with the real server's error texts."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from kubedyno.kube.names import problems_of_label_value, problems_of_qualified_name

_TOKEN = re.compile(r"\s*(==|!=|=|!|\(|\)|,|>|<|[^\s=!(),<>]+|$)")
_OPERATORS = {"=", "==", "!=", "in", "notin", ">", "<"}
# What stands for itself: neither a key nor a value.
_NO_IDENTIFIER = _OPERATORS - {"in", "notin"} | {"(", ")", ",", "", "!"}
# What stands between commas that no backslash hides, and the first operator in it.
_FIELD_TERM = re.compile(r"(?:[^\\,]|\\.|\\\Z)+", re.DOTALL)
_FIELD_OPERATOR = re.compile(r"!=|==|=")
# Requirement operators by the token that stands for them.
_NAMES = {"=": "=", "==": "==", "!=": "!=", "in": "in", "notin": "notin", ">": "gt", "<": "lt"}


@dataclass(frozen=True, slots=True)
class Requirement:
    """One term; `operator` is "=", "==", "!=", "in", "notin", "exists", "!", "gt" or "lt"."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Say whether labels satisfy the term."""
        operator = self.operator
        value = labels.get(self.key)
        if operator in {"=", "==", "in"}:
            return value in self.values
        if operator in {"!=", "notin"}:
            return value is None or value not in self.values
        if operator == "exists":
            return value is not None
        if operator == "!":
            return value is None
        try:
            number, bound = int(value or ""), int(self.values[0])
        except ValueError:
            return False
        return number > bound if operator == "gt" else number < bound

    def __str__(self) -> str:
        if self.operator == "!":
            return f"!{self.key}"
        if self.operator == "exists":
            return self.key
        if self.operator in {"in", "notin"}:
            return f"{self.key} {self.operator} ({','.join(sorted(self.values))})"
        return f"{self.key}{ {'gt': '>', 'lt': '<'}.get(self.operator, self.operator) }{self.values[0]}"


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """All terms must hold; no terms match everything, `nothing` matches nothing."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False

    @staticmethod
    def parse(text: str) -> "LabelSelector":
        """Return the selector of a query parameter.

        Raises:
            ValueError: It is none; the text is Go's.
        """
        return _parse(text)

    @staticmethod
    def of(selector: Mapping[str, Any] | None) -> "LabelSelector":
        """Return the selector of a metav1.LabelSelector; None matches nothing, {} everything.

        Raises:
            ValueError: An operator or a set of values is wrong.
        """
        if selector is None:
            return LabelSelector(nothing=True)
        terms = [Requirement(k, "=", (v,)) for k, v in sorted((selector.get("matchLabels") or {}).items())]
        for expression in selector.get("matchExpressions") or ():
            operator, values = expression["operator"], tuple(expression.get("values") or ())
            name = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}.get(operator)
            if name is None:
                raise ValueError(f'"{operator}" is not a valid label selector operator')
            if name in {"in", "notin"} and not values:
                raise ValueError("values: Invalid value: null: for 'in', 'notin' operators, values set can't be empty")
            terms.append(Requirement(expression["key"], name, values))
        for term in terms:
            problems = problems_of_qualified_name(term.key)
            if problems:
                raise ValueError(f"key: Invalid value: {_quoted(term.key)}: {'; '.join(problems)}")
        return LabelSelector(tuple(sorted(terms, key=lambda term: term.key)))

    @property
    def empty(self) -> bool:
        """True when it matches everything."""
        return not self.requirements and not self.nothing

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        """Say whether labels satisfy every term."""
        if self.nothing:
            return False
        known = labels or {}
        return all(term.matches(known) for term in self.requirements)

    def __str__(self) -> str:
        return ",".join(str(term) for term in self.requirements)


@lru_cache(maxsize=512)
def _parse(text: str) -> LabelSelector:
    tokens = _tokens(text)
    position = 0
    terms: list[Requirement] = []

    def peek() -> str:
        return tokens[position] if position < len(tokens) else ""

    def fail(found: str, wanted: str) -> ValueError:
        return ValueError(f"unable to parse requirement: found '{found}', expected: {wanted}")

    while position < len(tokens):
        negated = peek() == "!"
        if peek() in _NO_IDENTIFIER and not negated:
            # Go words it so outside of a requirement.
            wanted = "identifier after ','" if terms else "!, identifier, or 'end of string'"
            raise ValueError(f"found '{peek()}', expected: {wanted}")
        if negated:
            position += 1
        key = peek()
        if key in _NO_IDENTIFIER:
            raise fail(key, "identifier")
        position += 1
        _check_key(key)
        operator = peek()
        if negated or operator in {"", ","}:
            terms.append(Requirement(key, "!" if negated else "exists"))
        else:
            if operator not in _OPERATORS:
                raise fail(operator, "in, notin, =, ==, !=, gt, lt")
            position += 1
            if operator in {"in", "notin"}:
                values, position = _values(tokens, position, fail)
            else:
                value = peek()
                if value in {"", ","}:
                    value = ""
                elif value in _NO_IDENTIFIER:
                    raise fail(value, "identifier")
                else:
                    position += 1
                values = (value,)
                if operator in {">", "<"}:
                    _check_integer(key, value)
            for value in values:
                _check_value(key, value)
            terms.append(Requirement(key, _NAMES[operator], values))
        if position < len(tokens):
            if tokens[position] != ",":
                raise ValueError(f"found '{tokens[position]}', expected: ',' or 'end of string'")
            position += 1
            if position == len(tokens):
                raise ValueError("found '', expected: identifier after ','")
    return LabelSelector(tuple(sorted(terms, key=lambda term: term.key)))


def _tokens(text: str) -> list[str]:
    tokens = []
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None or not found[1]:
            break
        tokens.append(found[1])
        position = found.end()
    return tokens


def _values(tokens: list[str], position: int, fail: Callable[[str, str], ValueError]) -> tuple[tuple[str, ...], int]:
    """Read "(a, b)"; an empty place between commas is the empty value."""

    def at(i: int) -> str:
        return tokens[i] if i < len(tokens) else ""

    if at(position) != "(":
        # Without a comma in Go too.
        raise ValueError(f"unable to parse requirement: found '{at(position)}' expected: '('")
    position += 1
    values: list[str] = []
    pending = True
    while at(position) != ")":
        item = at(position)
        if not item:
            raise fail("", "',', ')' or identifier" if pending else "',' or ')'")
        if item == ",":
            if pending:
                values.append("")
            pending = True
        else:
            if not pending:
                raise fail(item, "',' or ')'")
            values.append(item)
            pending = False
        position += 1
    if pending:
        values.append("")
    return tuple(sorted(set(values))), position + 1


def _check_key(key: str) -> None:
    problems = problems_of_qualified_name(key)
    if problems:
        raise ValueError(f"unable to parse requirement: <nil>: Invalid value: {_quoted(key)}: {'; '.join(problems)}")


def _quoted(text: str) -> str:
    """Return Go's %q, as far as it is JSON's."""
    return json.dumps(text, ensure_ascii=False)


def _check_value(key: str, value: str) -> None:
    problems = problems_of_label_value(value)
    if problems:
        raise ValueError(
            f"unable to parse requirement: values[0][{key}]: Invalid value: {_quoted(value)}: {'; '.join(problems)}"
        )


_MAX_INT = 1 << 63


def _check_integer(_key: str, value: str) -> None:
    try:
        number = int(value)
    except ValueError:
        number = _MAX_INT
    if not -_MAX_INT <= number < _MAX_INT:
        raise ValueError(
            f"unable to parse requirement: values[0]: Invalid value: {_quoted(value)}: for 'Gt', 'Lt' operators, "
            "the value must be an integer"
        )


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """Terms of (field path, "=" or "!=", value), all of which must hold."""

    terms: tuple[tuple[str, str, str], ...] = ()

    @staticmethod
    def parse(text: str) -> "FieldSelector":
        """Return the selector of a query parameter.

        Raises:
            ValueError: It is none; the text is Go's.
        """
        terms = []
        for part in sorted(part for part in _FIELD_TERM.findall(text) if part):
            found = _FIELD_OPERATOR.search(part)
            if found is None:
                raise ValueError(f"invalid selector: '{text}'; can't understand '{part}'")
            operator = "!=" if found[0] == "!=" else "="
            field, value = part[: found.start()], _unescape(part[found.end() :])
            if field or value:
                terms.append((field, operator, value))
        return FieldSelector(tuple(terms))

    def value_of(self, field: str) -> str:
        """Return the value that is asked of one field, "" when none is."""
        return next((value for name, operator, value in self.terms if name == field and operator == "="), "")

    def matches(self, get: Callable[[str], str | None]) -> bool:
        """Say whether an object, whose fields `get` returns, satisfies every term."""
        return all((get(field) == value) is (operator == "=") for field, operator, value in self.terms)

    def __str__(self) -> str:
        return ",".join(f"{field}{operator}{value}" for field, operator, value in self.terms)


def value_in(text: str, field: str) -> str:
    """Return the value that a field selector asks of one field, "" when it asks for none or is no selector."""
    try:
        return FieldSelector.parse(text).value_of(field)
    except ValueError:
        return ""


def _unescape(value: str) -> str:
    def plain(found: re.Match[str]) -> str:
        if found[0] in {"=", ","}:
            raise ValueError(f"invalid field selector: unescaped character in value: {ord(found[0])}")
        if found[1] not in {"\\", ",", "="}:
            raise ValueError(f"invalid field selector: invalid escape sequence: {found[0]}")
        return found[1]

    return re.sub(r"\\(.|\Z)|[=,]", plain, value, flags=re.DOTALL)
