"""What is wrong with a query, where, in Prometheus' words: `1:16: parse error: unclosed left parenthesis`.

In: a text. Out: the first complaint that Prometheus 2.42 has of it, None where it has none. The grammar is read here once
more because the parser that makes the trees says of most errors neither where nor what, and takes what came with Prometheus 3.
Only the first error counts, so nothing is recovered from; types are looked at in what reads well.
"""

import math
import re
from dataclasses import dataclass, field

from kubedyno.base.goquote import go_quote
from kubedyno.promql.errors import BadQueryError
from kubedyno.promql.matching import EMPTY_SELECTOR, Matcher, Operator
from kubedyno.promql.rows import NAME
from kubedyno.promql.signatures import SIGNATURES, Signature
from kubedyno.promql.tokens import ComplaintError, Token, Tokens, value_of

# Deeper ones are refused elsewhere.
_DEEPEST = 160
_LEVELS = (
    {"or"},
    {"and", "unless"},
    {"==", "!=", "<=", "<", ">=", ">"},
    {"+", "-"},
    {"*", "/", "%", "atan2"},
    {"^"},
)
_LEVEL = {word: level for level, words in enumerate(_LEVELS, 1) for word in words}
_COMPARISONS, _SETS = _LEVELS[2], _LEVELS[0] | _LEVELS[1]
_POWER = 6
# Words of the language that may name a metric, or a label in a grouping.
_METRICS = frozenset({"and", "or", "unless", "by", "offset", "without", "start", "end"})
_LABELS = frozenset(
    {
        "and",
        "or",
        "unless",
        "atan2",
        "bool",
        "by",
        "group_left",
        "group_right",
        "ignoring",
        "offset",
        "on",
        "start",
        "end",
    }
)
_WITH_PARAMETER = {"topk": "scalar", "bottomk": "scalar", "quantile": "scalar", "count_values": "string"}
_DECIMAL = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|0[xX][0-9a-fA-F]+|inf|nan", re.IGNORECASE)
_DURATION = re.compile(r"(?:\d+y)?(?:\d+w)?(?:\d+d)?(?:\d+h)?(?:\d+m)?(?:\d+s)?(?:\d+ms)?")
_PART = re.compile(r"(\d+)(ms|[smhdwy])")
_HOUR_MS = 3_600_000
_UNITS_MS = {
    "ms": 1, "s": 1000, "m": 60_000, "h": _HOUR_MS, "d": 24 * _HOUR_MS, "w": 168 * _HOUR_MS, "y": 8760 * _HOUR_MS,
}  # fmt: skip
# Go counts nanoseconds in 64 bits.
_MOST_MS = (2**63 - 1) // 1_000_000
# A number of as many is out of range, whatever follows.
_MOST_DIGITS = 20
_DOCUMENTED = {"vector": "instant vector", "matrix": "range vector"}
_MOST_SECONDS = 2**63
_MODIFIED = "an instant vector selector or range vector selector or a subquery"
_OPERATORS: dict[str, Operator] = {"=": "=", "!=": "!=", "=~": "=~", "!~": "!~"}


class _TooDeepError(Exception):
    """Not looked at any further."""


@dataclass(slots=True)
class _Node:
    """A part of a query: what it is, where it begins, what its value is."""

    what: str
    at: int
    type: str
    parts: list["_Node"] = field(default_factory=list)
    name: str = ""
    matchers: list[Matcher] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    included: list[str] = field(default_factory=list)
    operator_at: int = 0
    bool_: bool = False
    on: bool = False
    grouped: bool = False
    offset: bool = False
    fixed: bool = False


def complaint(text: str, *, later: bool = False, selector: bool = False) -> str | None:
    """Return what Prometheus says of a text that is no query, None if it says nothing or reads too deep.

    Args:
        text: The text.
        later: Prometheus 3's language.
        selector: It has to be a selector alone.
    """
    reader = _Reader(text, later=later)
    try:
        if selector:
            reader.selector_alone()
        else:
            _check(reader.whole(), 0)
    except ComplaintError as error:
        before = text[: error.at]
        line, _, column = before.rpartition("\n")
        number = line.count("\n") + 2 if "\n" in before else 1
        return f"{number}:{len(column.encode()) + 1}: parse error: {error.words}"
    except _TooDeepError:
        return None
    return None


class _Reader:
    """Reads the grammar; each method takes the words of one rule and returns its node."""

    def __init__(self, text: str, *, later: bool) -> None:
        self._tokens = Tokens(text, later=later)
        self._later = later
        self._ahead: Token | None = None
        # An error anywhere within an aggregation's parentheses is one "in aggregation".
        self._aggregations = 0
        self._depth = 0

    def _peek(self) -> Token:
        if self._ahead is None:
            self._ahead = self._tokens.next()
        return self._ahead

    def _take(self) -> Token:
        token = self._peek()
        self._ahead = None
        return token

    def _is(self, *texts: str) -> bool:
        token = self._peek()
        return token.kind not in {"string", "identifier"} and token.word in texts

    def _unexpected(self, context: str | None = None, expected: str = "") -> ComplaintError:
        token = self._peek()
        where = context if context is not None else "aggregation" if self._aggregations else ""
        # 2.42 has no word for this one, and shows a number of its own before it.
        unnamed = '"<Item 57385>" ' if token.kind == "operator" and token.text == "@" and not self._later else ""
        words = f"unexpected {unnamed}{token.described}" + (f" in {where}" if where else "")
        return ComplaintError(token.at, words + (f", expected {expected}" if expected else ""))

    def _expect(self, text: str) -> Token:
        if not self._is(text):
            raise self._unexpected()
        return self._take()

    def whole(self) -> _Node:
        if self._peek().kind == "end":
            raise ComplaintError(0, "no expression found in input")
        found = self._expression(1)
        if self._peek().kind != "end":
            raise self._unexpected()
        return found

    def selector_alone(self) -> None:
        token = self._peek()
        if not (self._is("{") or self._names_metric(token)):
            raise self._unexpected()
        self._selector()
        if self._peek().kind != "end":
            raise self._unexpected()

    # --- expressions ---

    def _expression(self, level: int) -> _Node:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _TooDeepError
        left = self._signed()
        while self._peek().kind == "operator" and _LEVEL.get(self._peek().word, 0) >= level:
            operator = self._take()
            at = _LEVEL[operator.word]
            node = _Node("binary", left.at, "vector", name=operator.word, operator_at=operator.at)
            self._matching(node)
            right = self._expression(at if at == _POWER else at + 1)
            node.parts = [left, right]
            if left.type == right.type == "scalar":
                node.type = "scalar"
            left = node
        self._depth -= 1
        return left

    def _matching(self, node: _Node) -> None:
        if self._is("bool"):
            self._take()
            node.bool_ = True
        if not self._is("on", "ignoring"):
            return
        node.on = self._take().word == "on"
        node.labels = self._grouping()
        if self._is("group_left", "group_right"):
            self._take()
            node.grouped = True
            if self._is("(") or not self._begins_expression():
                node.included = self._grouping()

    def _signed(self) -> _Node:
        signs: list[Token] = []
        while self._is("+", "-"):
            signs.append(self._take())
        if not signs:
            return self._modified(self._primary())
        inner = self._expression(_POWER)
        # A number with a sign is one; of many signs in a row only the outermost counts.
        what = "number" if inner.what == "number" and len(signs) == 1 else "unary"
        parts = [inner] if what == "unary" else []
        return _Node(what, signs[0].at, inner.type, parts, operator_at=signs[-1].at)

    def _primary(self) -> _Node:
        token = self._peek()
        if token.kind == "number" or (self._later and token.kind == "duration"):
            self._number(self._take())
            return _Node("number", token.at, "scalar")
        if token.kind == "string":
            self._take()
            return _Node("string", token.at, "string")
        if self._is("("):
            self._take()
            inner = self._expression(1)
            self._expect(")")
            return _Node("paren", token.at, inner.type, [inner])
        if self._is("{"):
            return self._selector()
        if token.kind == "aggregator":
            self._take()
            if self._is("(", "by", "without"):
                return self._aggregation(token)
            return self._selector(token)
        if token.kind == "identifier":
            self._take()
            return self._call(token) if self._is("(") else self._selector(token)
        if self._names_metric(token):
            return self._selector()
        raise self._unexpected()

    def _names_metric(self, token: Token) -> bool:
        return token.kind in {"identifier", "metric identifier", "aggregator"} or (
            token.kind in {"keyword", "operator", "mark"} and token.word in _METRICS
        )

    def _number(self, token: Token) -> float:
        text = token.text
        if token.kind == "duration":
            return 0.0
        hexadecimal = text[:2] in {"0x", "0X"}
        # Go has no larger ones without an exponent.
        if not _DECIMAL.fullmatch(text) or (hexadecimal and int(text, 16) >= _MOST_SECONDS):
            raise ComplaintError(
                token.at, f"error parsing number: strconv.ParseFloat: parsing {go_quote(text)}: invalid syntax"
            )
        if hexadecimal:
            return float(int(text, 16))
        value = float(text)
        if math.isinf(value) and "i" not in text.lower():
            raise ComplaintError(
                token.at, f"error parsing number: strconv.ParseFloat: parsing {go_quote(text)}: value out of range"
            )
        return value

    def _arguments(self) -> list[_Node]:
        self._expect("(")
        found: list[_Node] = []
        if self._is(")"):
            self._take()
            return found
        while True:
            found.append(self._expression(1))
            if not self._is(","):
                break
            comma = self._take()
            if not self._begins_expression():
                raise ComplaintError(comma.at, "trailing commas not allowed in function call args")
        self._expect(")")
        return found

    def _begins_expression(self) -> bool:
        token = self._peek()
        return (
            token.kind in {"number", "string"}
            or self._is("(", "{", "+", "-")
            or self._names_metric(token)
            or (self._later and token.kind == "duration")
        )

    def _call(self, token: Token) -> _Node:
        found = self._arguments()
        signature = SIGNATURES.get(token.text)
        if signature is None or signature.later > self._later or (token.text == "holt_winters" and self._later):
            raise ComplaintError(token.at, f"unknown function with name {go_quote(token.text)}")
        return _Node("call", token.at, signature.returns, found, name=token.text)

    def _aggregation(self, token: Token) -> _Node:
        self._aggregations += 1
        modified = self._is("by", "without")
        if modified:
            self._take()
            self._grouping()
        found = self._arguments()
        self._aggregations -= 1
        if not modified and self._is("by", "without"):
            self._take()
            self._grouping()
        if not found:
            raise ComplaintError(token.at, "no arguments for aggregate expression provided")
        wanted = 2 if token.word in _WITH_PARAMETER else 1
        if len(found) != wanted:
            words = f"wrong number of arguments for aggregate expression provided, expected {wanted}, got {len(found)}"
            raise ComplaintError(token.at, words)
        return _Node("aggregation", token.at, "vector", found, name=token.word)

    def _grouping(self) -> list[str]:
        context = "grouping opts"
        if not self._is("("):
            raise self._unexpected(context, '"("')
        self._take()
        labels: list[str] = []
        while not self._is(")"):
            token = self._peek()
            names = token.kind in {"identifier", "aggregator"} or (
                token.kind in {"keyword", "operator", "mark"} and token.word in _LABELS
            )
            if not names:
                raise self._unexpected(context, "label")
            labels.append(self._take().text)
            if self._is(","):
                self._take()
            elif not self._is(")"):
                raise self._unexpected(context, '"," or ")"')
        self._take()
        return labels

    # --- selectors and what comes after them ---

    def _selector(self, name: Token | None = None) -> _Node:
        if name is None and not self._is("{"):
            name = self._take()
        node = _Node("vector", (name or self._peek()).at, "vector", name=name.text if name else "")
        if self._is("{"):
            self._take()
            self._matchers(node)
        return node

    def _matchers(self, node: _Node) -> None:
        context = "label matching"
        while not self._is("}"):
            label = self._peek()
            if label.kind != "identifier" and not (self._later and label.kind == "string"):
                raise self._unexpected(context, 'identifier or "}"')
            self._take()
            if self._is("=", "!=", "=~", "!~"):
                operator = self._take()
                if self._peek().kind != "string":
                    raise self._unexpected(context, "string")
                name = value_of(label) if label.kind == "string" else label.text
                node.matchers.append(_matcher(name, operator.text, value_of(self._take()), label.at))
            elif label.kind == "string":
                node.matchers.append(Matcher(NAME, "=", value_of(label)))
            else:
                raise self._unexpected(context, "label matching operator")
            if self._is(","):
                self._take()
            elif not self._is("}"):
                raise self._unexpected(context, '"," or "}"')
        self._take()

    def _modified(self, node: _Node) -> _Node:
        while True:
            if self._is("["):
                node = self._range(node)
            elif self._is("offset"):
                self._take()
                if self._is("-") or (self._later and self._is("+")):
                    self._take()
                self._duration("offset", "duration")
                node = self._once(node, "offset", "offset modifier", "offset")
            elif self._is("@"):
                self._take()
                self._moment(node)
                node = self._once(node, "fixed", "@ modifier", "@ <timestamp>")
            else:
                return node

    def _once(self, node: _Node, flag: str, what: str, short: str) -> _Node:
        if node.what not in {"vector", "matrix", "subquery"}:
            raise ComplaintError(node.at, f"{what} must be preceded by {_MODIFIED}")
        if getattr(node, flag):
            raise ComplaintError(node.at, f"{short} may not be set multiple times")
        setattr(node, flag, True)
        return node

    def _moment(self, node: _Node) -> None:
        context, expected = "@", "timestamp"
        if self._is("start", "end"):
            self._take()
            for mark in "()":
                if not self._is(mark):
                    raise self._unexpected(context, expected)
                self._take()
            return
        sign = -1.0 if self._is("-") else 1.0
        if self._is("+", "-"):
            self._take()
        if self._peek().kind != "number":
            raise self._unexpected(context, expected)
        value = sign * self._number(self._take())
        if not abs(value) < _MOST_SECONDS:
            shown = "NaN" if math.isnan(value) else f"{value:+}".title() if math.isinf(value) else f"{value:f}"
            raise ComplaintError(node.at, f"timestamp out of bounds for @ modifier: {shown}")

    def _duration(self, context: str, expected: str) -> None:
        token = self._peek()
        if token.kind == "number" and self._later:
            self._take()
            return
        if token.kind != "duration":
            raise self._unexpected(context, expected)
        self._take()
        if not _DURATION.fullmatch(token.text):
            raise ComplaintError(token.at, f"not a valid duration string: {go_quote(token.text)}")
        length_ms = sum(
            int(number.lstrip("0")[:_MOST_DIGITS] or 0) * _UNITS_MS[unit] for number, unit in _PART.findall(token.text)
        )
        if length_ms > _MOST_MS:
            raise ComplaintError(token.at, "duration out of range")
        if not length_ms:
            raise ComplaintError(token.at, "duration must be greater than 0")

    def _range(self, node: _Node) -> _Node:
        bracket = self._take()
        self._duration("subquery selector", "duration")
        if self._is("]"):
            self._take()
            wrong = (
                "ranges only allowed for vector selectors" if node.what != "vector"
                else "no offset modifiers allowed before range" if node.offset
                else "no @ modifiers allowed before range" if node.fixed
                else ""
            )  # fmt: skip
            if wrong:
                raise ComplaintError(bracket.at, wrong)
            return _Node("matrix", node.at, "matrix", [node])
        if not self._colon():
            raise self._unexpected("subquery or range", '":" or "]"')
        self._take()
        if not self._is("]"):
            self._duration("subquery selector", 'duration or "]"')
            if not self._is("]"):
                raise self._unexpected("subquery selector", '"]"')
        self._take()
        return _Node("subquery", node.at, "matrix", [node])

    def _colon(self) -> bool:
        """Say whether a subquery's colon is next; within brackets any letter passes for one."""
        token = self._peek()
        return token.kind == "mark" and token.text not in {"]", "[", "(", ")", "{", ",", "="}


def _matcher(name: str, operator: str, value: str, at: int) -> Matcher:
    try:
        return Matcher(name, _OPERATORS[operator], value)
    except BadQueryError as error:
        raise ComplaintError(at, str(error)) from error


# --- types --------------------------------------------------------------------------------------------------------


def _documented(kind: str) -> str:
    return _DOCUMENTED.get(kind, kind)


def _check(node: _Node, depth: int) -> None:
    """Raise the first complaint about what a query's parts are."""
    if depth > _DEEPEST:
        raise _TooDeepError
    match node.what:
        case "vector":
            _check_selector(node)
        case "call":
            _check_call(node, SIGNATURES[node.name], depth)
        case "aggregation":
            *parameter, inner = node.parts
            _expect(inner, "vector", "aggregation expression", depth)
            for one in parameter:
                _expect(one, _WITH_PARAMETER[node.name], "aggregation parameter", depth)
        case "binary":
            _check_binary(node, depth)
        case _:
            for part in node.parts:
                _check(part, depth + 1)
            if node.what == "unary" and node.type not in {"scalar", "vector"}:
                shown = go_quote(_documented(node.type))
                raise ComplaintError(
                    node.operator_at,
                    f"unary expression only allowed on expressions of type scalar or instant vector, got {shown}",
                )
            if node.what == "subquery" and node.parts[0].type != "vector":
                raise ComplaintError(
                    node.at, f"subquery is only allowed on instant vector, got {node.parts[0].type} instead"
                )


def _expect(node: _Node, wanted: str, context: str, depth: int) -> None:
    _check(node, depth + 1)
    if node.type != wanted:
        words = f"expected type {_documented(wanted)} in {context}, got {_documented(node.type)}"
        raise ComplaintError(node.at, words)


def _check_selector(node: _Node) -> None:
    if node.name:
        for matcher in node.matchers:
            if matcher.name == NAME:
                names = f"{go_quote(node.name)} or {go_quote(matcher.value)}"
                raise ComplaintError(node.at, f"metric name must not be set twice: {names}")
    elif all(matcher.test("") for matcher in node.matchers):
        raise ComplaintError(node.at, EMPTY_SELECTOR)


def _check_call(node: _Node, signature: Signature, depth: int) -> None:
    given, name = len(node.parts), go_quote(node.name)
    if not signature.least <= given <= signature.most:
        if signature.least == signature.most:
            wanted = f"expected {signature.least}"
        elif given < signature.least:
            wanted = f"expected at least {signature.least}"
        else:
            wanted = f"expected at most {signature.most}"
        raise ComplaintError(node.at, f"{wanted} argument(s) in call to {name}, got {given}")
    for number, part in enumerate(node.parts):
        kind = signature.arguments[min(number, len(signature.arguments) - 1)]
        _expect(part, kind, f"call to function {name}", depth)


def _check_binary(node: _Node, depth: int) -> None:
    left, right = node.parts
    _check(left, depth + 1)
    _check(right, depth + 1)
    if node.bool_ and node.name not in _COMPARISONS:
        raise ComplaintError(node.operator_at, "bool modifier can only be used on comparison operators")
    if node.name in _COMPARISONS and not node.bool_ and left.type == right.type == "scalar":
        raise ComplaintError(node.operator_at, "comparisons between scalars must use BOOL modifier")
    for label in node.labels if node.on else ():
        if label in node.included:
            words = f"label {go_quote(label)} must not occur in ON and GROUP clause at once"
            raise ComplaintError(node.operator_at, words)
    for side in node.parts:
        if side.type not in {"scalar", "vector"}:
            raise ComplaintError(side.at, "binary expression must contain only scalar and instant vector types")
    vectors = left.type == right.type == "vector"
    if not vectors and node.labels:
        raise ComplaintError(node.at, "vector matching only allowed between instant vectors")
    if vectors and node.name in _SETS and node.grouped:
        raise ComplaintError(node.at, f"no grouping allowed for {go_quote(node.name)} operation")
    if not vectors and node.name in _SETS:
        raise ComplaintError(node.at, f"set operator {go_quote(node.name)} not allowed in binary scalar expression")
