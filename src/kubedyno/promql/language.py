"""A query's text to its syntax tree, by `promql-parser`; what that parser takes beyond the chosen version is refused.

The parser speaks Prometheus 3's language. Ours is 2.42's unless 3's is asked for: `complaints` says what that does not take,
and where. Texts that could exhaust the parser never reach it.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import promql_parser
from promql_parser import (
    AggregateExpr,
    BinaryExpr,
    Call,
    MatrixSelector,
    NumberLiteral,
    ParenExpr,
    StringLiteral,
    SubqueryExpr,
    UnaryExpr,
    VectorSelector,
)

from kubedyno.promql import mathematics
from kubedyno.promql.complaints import complaint
from kubedyno.promql.errors import BadQueryError
from kubedyno.promql.matching import Matcher, Operator, check_selective
from kubedyno.promql.rows import NAME
from kubedyno.promql.signatures import SIGNATURES
from kubedyno.promql.tokens import AGGREGATORS

MAX_LENGTH = 64 << 10
MAX_DEPTH = 150
# The parser takes a third of a millisecond each, and its stack ends at some thousands that follow each other.
MAX_OPERATORS = 500
_OPERATOR_WORDS = frozenset({"and", "or", "unless", "atan2"})
_OPERATOR_MARKS = frozenset("*/%=<>")
# What a failed assertion in the parser becomes: no subclass of Exception.
_PANIC = "PanicException"
# Their values depend on the step even where those of their arguments do not.
_OF_THE_STEP = frozenset({*mathematics.DATES, "predict_linear", "time", "timestamp"})
# Strings as they are; what the parser writes of a selector without conditions, and of a grouping.
_WRITTEN = re.compile(r'"(?:\\.|[^"\\])*"|(?<=[\w:])(\{\})|(\b(?:by|without) \([^()]*\))(?=\()')
_SMOOTHING = re.compile(r"holt_winters(?=\s*\()")
# What is not a name, a number or a blank: strings, comments, brackets.
_TOKEN = re.compile(
    r"""(?P<double>"(?:[^"\\\n]|\\.)*")|(?P<single>'(?:[^'\\\n]|\\.)*')|(?P<raw>`[^`]*`)|(?P<comment>\#[^\n]*)"""
    r"""|(?P<word>[a-zA-Z_:][\w:]*)|(?P<open>[(\[{])|(?P<close>[)\]}])|(?P<sign>[-+^])|(?P<other>.)""",
    re.DOTALL | re.VERBOSE,
)
_OPERATORS: dict[str, Operator] = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}


@lru_cache(maxsize=256)
def parsed(text: str, *, later: bool = False) -> Any:
    """Return a query's syntax tree.

    Args:
        text: The query.
        later: Prometheus 3's language.

    Raises:
        BadQueryError: It is none, or takes more than it may.
    """
    _check_length(text)
    prepared = _prepared(text, later=later)
    # The parser takes numbers for durations, and more that came later; some of it makes it panic.
    if not later and (wrong := complaint(text)):
        raise BadQueryError(wrong)
    try:
        tree = promql_parser.parse(prepared)
        _check(tree)
    except BadQueryError as error:
        # What nothing is said of there is beyond our own limits.
        raise BadQueryError(complaint(text, later=later) or str(error)) from error
    except ValueError as error:
        raise BadQueryError(complaint(text, later=later) or f"parse error: {error}") from error
    except BaseException as error:
        if type(error).__name__ != _PANIC:
            raise
        raise BadQueryError(f"parse error: {error}") from error
    return tree


def parsed_selector(text: str, *, later: bool = False) -> Any:
    """Return the tree of a selector, which has to be alone; raises as `parsed`."""
    _check_length(text)
    if wrong := complaint(text, later=later, selector=True):
        raise BadQueryError(wrong)
    return parsed(text, later=later)


def _check_length(text: str) -> None:
    if len(text) > MAX_LENGTH:
        raise BadQueryError(f"a query of {len(text)} characters: at most {MAX_LENGTH} are taken")


def _prepared(text: str, *, later: bool) -> str:
    """Return a text that the parser reads as Prometheus reads the given one."""
    parts: list[str] = []
    depth = operators = 0
    matching = False
    for found in _TOKEN.finditer(text):
        kind, token = found.lastgroup, found[0]
        if kind == "raw":
            # The parser takes escapes in raw strings for escapes.
            body = token[1:-1].replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
            token = f'"{body}"'
        elif kind == "word":
            operators += token.lower() in _OPERATOR_WORDS
            if token == "holt_winters" and not later and _SMOOTHING.match(text, found.start()):  # noqa: S105 - a name
                token = "double_exponential_smoothing"  # noqa: S105 - a function's name
        elif kind == "comment":
            token = " "  # noqa: S105 - a blank
        elif kind == "open":
            depth += 1
            matching = token == "{"  # noqa: S105 - a bracket
        elif kind == "close":
            depth -= 1
            matching = False
        elif kind == "sign":
            operators += 1
        elif kind == "other":
            operators += not matching and token in _OPERATOR_MARKS
        if operators > MAX_OPERATORS:
            raise BadQueryError(f"parse error: more than {MAX_OPERATORS} operators")
        if depth > MAX_DEPTH:
            raise BadQueryError(f"parse error: nested more than {MAX_DEPTH} deep")
        parts.append(token)
    return "".join(parts)


def formatted(tree: Any) -> str:
    """Return an expression's text as Prometheus writes it, on one line."""

    def write(found: re.Match[str]) -> str:
        if found[1] is not None:
            return ""
        return f"{found[0]} " if found[2] is not None else found[0]

    return _WRITTEN.sub(write, str(tree))


def children(tree: Any) -> Iterator[Any]:
    """Yield the parts of an expression."""
    if isinstance(tree, Call):
        yield from tree.args
    elif isinstance(tree, AggregateExpr):
        if tree.param is not None:
            yield tree.param
        yield tree.expr
    elif isinstance(tree, BinaryExpr):
        yield tree.lhs
        yield tree.rhs
    elif isinstance(tree, ParenExpr | UnaryExpr | SubqueryExpr):
        yield tree.expr
    elif isinstance(tree, MatrixSelector):
        yield tree.vector_selector


def unwrapped(tree: Any) -> Any:
    """Return an expression without the parentheses around it."""
    while isinstance(tree, ParenExpr):
        tree = tree.expr
    return tree


def is_scalar(tree: Any) -> bool:
    """Say whether an expression is one number, not a vector."""
    while isinstance(tree, ParenExpr | UnaryExpr):
        tree = tree.expr
    if isinstance(tree, BinaryExpr):
        # A chain of operators leans to the left: one side at a time is deep.
        return is_scalar(tree.rhs) and is_scalar(tree.lhs)
    return isinstance(tree, NumberLiteral) or (isinstance(tree, Call) and str(tree.func.return_type).endswith("Scalar"))


def _check(tree: Any) -> None:
    waiting = [(tree, 1)]
    while waiting:
        node, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise BadQueryError(f"parse error: nested more than {MAX_DEPTH} deep")
        if isinstance(node, VectorSelector | SubqueryExpr):
            _check_moment(node)
        if isinstance(node, VectorSelector):
            matchers_of(node)
        elif isinstance(node, Call):
            if node.func.name not in SIGNATURES:
                raise BadQueryError(f'parse error: unknown function with name "{node.func.name}"')
        elif isinstance(node, SubqueryExpr):
            if is_scalar(node.expr):
                raise BadQueryError("parse error: subquery is only allowed on instant vector, got scalar instead")
        elif isinstance(node, AggregateExpr):
            if str(node.op) not in AGGREGATORS:
                raise BadQueryError(f'parse error: unknown aggregation "{node.op}"')
        elif isinstance(node, BinaryExpr) and node.modifier is not None and node.modifier.fill_values is not None:
            fill = node.modifier.fill_values
            if fill.lhs is not None or fill.rhs is not None:
                raise BadQueryError("parse error: fill modifiers are not taken")
        waiting += [(child, depth + 1) for child in children(node)]


def _check_moment(node: Any) -> None:
    """Refuse a time that the parser cannot tell: it has those of the years 1 to 9999."""
    try:
        _ = node.at and node.at.at
    except (ValueError, OverflowError) as error:
        raise BadQueryError(f"parse error: timestamp out of bounds for @ modifier: {error}") from error


def matchers_of(selector: Any) -> list[Matcher]:
    """Return a selector's conditions, the metric's name among them.

    Raises:
        BadQueryError: They select everything, or a pattern is not taken.
    """
    if selector.matchers.or_matchers:
        raise BadQueryError("parse error: matchers joined by `or` are not taken")
    found = [
        Matcher(given.name, _OPERATORS[str(given.op).rpartition(".")[2]], given.value)
        for given in selector.matchers.matchers
    ]
    if selector.name and not any(matcher.name == NAME and matcher.op == "=" for matcher in found):
        found.insert(0, Matcher(NAME, "=", selector.name))
    check_selective(found)
    return found


def is_constant(tree: Any) -> bool:
    """Say whether Prometheus takes an expression as the same at each step: it has @ wherever it selects, and no time."""
    if isinstance(tree, NumberLiteral | StringLiteral):
        return True
    if isinstance(tree, VectorSelector | SubqueryExpr):
        return tree.at is not None
    if isinstance(tree, MatrixSelector):
        return tree.vector_selector.at is not None
    if isinstance(tree, AggregateExpr | ParenExpr | UnaryExpr):
        return is_constant(tree.expr)
    if isinstance(tree, BinaryExpr):
        return is_constant(tree.lhs) and is_constant(tree.rhs)
    return isinstance(tree, Call) and tree.func.name not in _OF_THE_STEP and all(map(is_constant, tree.args))
