"""A query's text in words, as Prometheus takes it apart, and its complaint about what is none.

In: the text. Out: `Token`s, one at a time, only when asked for: a complaint about a word comes no earlier than whoever reads
them gets there. What a character means depends on the bracket that is open.
"""

import re
from dataclasses import dataclass

from kubedyno.base.goquote import go_quote, go_quote_rune

AGGREGATORS = frozenset(
    {
        "sum", "avg", "count", "min", "max", "group", "stddev", "stdvar", "topk", "bottomk", "count_values", "quantile",
    }
)  # fmt: skip
_OPERATOR_WORDS = frozenset({"and", "or", "unless", "atan2"})
_KEYWORDS = frozenset({"offset", "by", "without", "on", "ignoring", "group_left", "group_right", "bool"})
_NUMBERS = frozenset({"inf", "nan"})
# What `desc` shows of a word that is long and neither a name nor an operator.
_SHOWN = 10
_BLANK = " \t\n\r"
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORD = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*")
_ALPHANUMERIC = re.compile(r"[A-Za-z0-9_]")
_NUMBER = re.compile(
    r"0[xX][0-9a-fA-F]*(?:\.[0-9a-fA-F]*)?(?:[eE][+-]?[0-9]*)?|[0-9]*(?:\.[0-9]*)?(?:[eE][+-]?[0-9]*)?"
)
# A duration's first unit may be a year; a unit may be followed by "s", of which only "ms" means something.
_UNITS = re.compile(r"[smhdwy]s?(?:[0-9]+[smhdw]s?)*")
_UNITS_BY_HALF = re.compile(r"(?:[smhdwy]s?(?:[0-9]+[smhdw]s?)*(?:[0-9]+)?)?")
_DOUBLE = {"==": "==", "!=": "!=", "<=": "<=", ">=": ">="}
_ESCAPES = {"x": (2, 16), "u": (4, 16), "U": (8, 16)}
_LAST_RUNE, _SURROGATES = 0x10FFFF, range(0xD800, 0xE000)


class ComplaintError(Exception):
    """What is wrong with a query, and where.

    Attributes:
        at: Index into the text.
        words: What Prometheus says, without the position.
    """

    def __init__(self, at: int, words: str) -> None:
        super().__init__(words)
        self.at = at
        self.words = words


@dataclass(frozen=True, slots=True)
class Token:
    """A word of a query.

    Attributes:
        kind: end, identifier, metric identifier, number, duration, string, operator, keyword, aggregator or mark.
        text: As it is written.
        at: Index into the query.
    """

    kind: str
    text: str
    at: int

    @property
    def word(self) -> str:
        """The text of what is written in any case."""
        return self.text.lower()

    @property
    def described(self) -> str:
        """How a complaint calls it."""
        match self.kind:
            case "end":
                return "end of input"
            case "operator":
                return f"<op:{self.text}>"
            case "keyword":
                return f"<{self.text}>"
            case "aggregator":
                return f"<aggr:{self.text}>"
            case "mark":
                return go_quote(self.text)
            case "identifier" | "metric identifier":
                return f"{self.kind} {go_quote(self.text)}"
        cut = len(self.text.encode()) > _SHOWN
        return f"{self.kind} {go_quote(self.text[:_SHOWN])}..." if cut else f"{self.kind} {go_quote(self.text)}"


class Tokens:
    """The words of a query, one after another.

    Args:
        text: The query.
        later: Prometheus 3's language: durations and numbers are one.
    """

    def __init__(self, text: str, *, later: bool = False) -> None:
        self._text = text
        self._later = later
        self._at = 0
        self._parentheses = 0
        self._brace = self._bracket = self._colon = self._duration = False

    def next(self) -> Token:
        """Return the next word; the last one is of kind "end", again and again.

        Raises:
            ComplaintError: There is none here.
        """
        while True:
            self._skip_blanks()
            if self._text[self._at : self._at + 1] != "#" or self._duration:
                break
            end = self._text.find("\n", self._at)
            self._at = len(self._text) if end < 0 else end
        if self._duration:
            self._duration = False
            return self._range()
        return self._in_braces() if self._brace else self._statement()

    def _skip_blanks(self) -> None:
        while self._at < len(self._text) and self._text[self._at] in _BLANK:
            self._at += 1

    def _take(self, kind: str, length: int) -> Token:
        token = Token(kind, self._text[self._at : self._at + length], self._at)
        self._at += length
        return token

    def _fail(self, words: str) -> ComplaintError:
        return ComplaintError(self._at, words)

    def _statement(self) -> Token:
        text, at = self._text, self._at
        char, two = text[at : at + 1], text[at : at + 2]
        if not char:
            if self._parentheses:
                raise self._fail("unclosed left parenthesis")
            if self._bracket:
                raise self._fail("unclosed left bracket")
            return Token("end", "", at)
        if two in _DOUBLE:
            return self._take("operator", 2)
        if two == "=~":
            raise self._fail("unexpected character after '=': '~'")
        if char == "!":
            raise self._fail(f"unexpected character after '!': {go_quote_rune(two[1:])}")
        if char in "*/%+-^<>@":
            return self._take("operator", 1)
        if char.isascii() and (char.isdigit() or (char == "." and two[1:].isascii() and two[1:].isdigit())):
            return self._number()
        if char in "\"'`":
            return self._string(char)
        if char == ":" or _IDENTIFIER.match(char):
            return self._colon_of_range(char) if self._bracket else self._name()
        return self._mark(char)

    def _colon_of_range(self, char: str) -> Token:
        if self._colon or (self._later and char != ":"):
            raise self._fail(f"unexpected colon {go_quote_rune(char)}")
        self._colon = True
        return self._take("mark", 1)

    def _mark(self, char: str) -> Token:
        match char:
            case "(":
                self._parentheses += 1
            case ")":
                self._parentheses -= 1
                if self._parentheses < 0:
                    self._at += 1
                    raise self._fail("unexpected right parenthesis ')'")
            case "{":
                self._brace = True
            case "[":
                if self._bracket:
                    raise self._fail("unexpected left bracket '['")
                self._bracket, self._colon, self._duration = True, False, not self._later
            case "]":
                if not self._bracket:
                    raise self._fail("unexpected right bracket ']'")
                self._bracket = False
            case "," | "=":
                pass
            case _:
                raise self._fail(f"unexpected character: {go_quote_rune(char)}")
        return self._take("mark", 1)

    def _name(self) -> Token:
        found = _WORD.match(self._text, self._at)
        length = len(found[0]) if found else 1
        word = self._text[self._at : self._at + length].lower()
        kind = (
            "operator" if word in _OPERATOR_WORDS
            else "aggregator" if word in AGGREGATORS
            else "keyword" if word in _KEYWORDS
            else "number" if word in _NUMBERS
            else "mark" if word in {"start", "end"}
            else "metric identifier" if ":" in word
            else "identifier"
        )  # fmt: skip
        return self._take(kind, length)

    def _is_end_of_word(self, at: int) -> bool:
        return not _ALPHANUMERIC.match(self._text, at)

    def _number(self) -> Token:
        end = self._end_of_number()
        if self._is_end_of_word(end):
            return self._take("number", end - self._at)
        return self._duration_from(end, "bad number or duration syntax")

    def _range(self) -> Token:
        """Return the duration after a bracket."""
        end = self._end_of_number()
        if self._is_end_of_word(end):
            raise self._fail("missing unit character in duration")
        return self._duration_from(end, "bad duration syntax")

    def _end_of_number(self) -> int:
        found = _NUMBER.match(self._text, self._at)
        return found.end() if found else self._at

    def _duration_from(self, end: int, what: str) -> Token:
        found = _UNITS.match(self._text, end)
        # As far as it was read: a number that has no unit belongs to it.
        far = _UNITS_BY_HALF.match(self._text, end)
        if found is None or far is None or far.end() != found.end():
            raise self._fail(f"{what}: {go_quote(self._text[self._at : far.end() if far else end])}")
        if not self._is_end_of_word(found.end()):
            raise self._fail(f"{what}: {go_quote(self._text[self._at : found.end() + 1])}")
        return self._take("duration", found.end() - self._at)

    def _in_braces(self) -> Token:
        text, at = self._text, self._at
        char, two = text[at : at + 1], text[at : at + 2]
        if not char:
            raise self._fail("unexpected end of input inside braces")
        if found := _IDENTIFIER.match(text, at):
            return self._take("identifier", len(found[0]))
        if char in "\"'`":
            return self._string(char)
        if two in {"=~", "!~", "!="}:
            return self._take("operator", 2)
        match char:
            case "=" | ",":
                return self._take("mark", 1)
            case "!":
                raise self._fail(f"unexpected character after '!' inside braces: {go_quote_rune(two[1:])}")
            case "{":
                raise self._fail("unexpected left brace '{'")
            case "}":
                self._brace = False
                return self._take("mark", 1)
        raise self._fail(f"unexpected character inside braces: {go_quote_rune(char)}")

    def _string(self, quote: str) -> Token:
        text, at = self._text, self._at + 1
        while True:
            char = text[at : at + 1]
            if not char or (char == "\n" and quote != "`"):
                raise self._fail(f"unterminated {'raw' if quote == '`' else 'quoted'} string")
            if char == quote:
                return self._take("string", at + 1 - self._at)
            at = self._after_escape(at + 1, quote) if char == "\\" and quote != "`" else at + 1

    def _after_escape(self, at: int, quote: str) -> int:
        """Return where a string goes on after what follows a backslash."""
        char = self._text[at : at + 1]
        if not char:
            raise self._fail("escape sequence not terminated")
        if char in f"abfnrtv\\{quote}":
            return at + 1
        if char in "01234567":
            count, base = 3, 8
        elif char in _ESCAPES:
            count, base = _ESCAPES[char]
            at += 1
        else:
            raise self._fail(f"unknown escape sequence {_rune(char)}")
        code = 0
        for digit in self._text[at : at + count].ljust(count, "\0"):
            value = "0123456789abcdef".find(digit.lower())
            if not 0 <= value < base:
                missing = at >= len(self._text) or digit == "\0"
                words = (
                    "escape sequence not terminated"
                    if missing
                    else f"illegal character {_rune(digit)} in escape sequence"
                )
                raise self._fail(words)
            code = code * base + value
        if code > (255 if char in "01234567x" else _LAST_RUNE) or code in _SURROGATES:
            raise self._fail("escape sequence is an invalid Unicode code point")
        return at + count


def _rune(char: str) -> str:
    """Return %#U of a character."""
    return f"U+{ord(char):04X}" + (f" '{char}'" if char.isprintable() else "")


def value_of(token: Token) -> str:
    """Return what a string says."""
    body = token.text[1:-1]
    if token.text[0] == "`" or "\\" not in body:
        return body
    return re.sub(r"\\(?:([0-7]{3})|x(..)|u(....)|U(.{8})|(.))", _unescaped, body, flags=re.DOTALL)


def _unescaped(found: re.Match[str]) -> str:
    octal, *hexadecimals, char = found.groups()
    if octal:
        return chr(int(octal, 8))
    for digits in hexadecimals:
        if digits:
            return chr(int(digits, 16))
    return {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}.get(char, char)
