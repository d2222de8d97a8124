"""Label matchers, with patterns that cannot be made to run for long.

Prometheus' patterns are RE2's: matched in linear time. Python's matcher goes back and forth, so a pattern is taken apart
first: alternations of literals and literal prefixes and suffixes, which are nearly all there is, never reach it, and one
whose repetitions could multiply is refused.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from math import comb
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any, Literal

from kubedyno.promql.errors import BadQueryError
from kubedyno.promql.rows import NAME, Labels

Operator = Literal["=", "!=", "=~", "!~"]
MAX_PATTERN = 4096
EMPTY_SELECTOR = "vector selector must contain at least one non-empty matcher"
# Unbounded repetitions of a pattern: each can multiply the work by a value's length.
_MAX_OPEN_REPEATS = 24
_MAX_REPEAT = 1000
# Of a label: one function within another makes it longer by a factor each time.
MAX_VALUE = 1 << 20
# A step takes 4 ns.
_MAX_STEPS = 20_000_000
_STEPWISE = 100
_SPECIAL = re.compile(r"[\\.^$*+?{}\[\]()]")
_MEMO_VALUES = 50_000
# RE2's classes are ASCII; a dot stands for a newline too since Prometheus 3.
_FLAGS = re.DOTALL | re.ASCII
_REPEAT = re.compile(r"\{\d+(?:,\d*)?\}|[*+?]\??")
# As much as Go shows of it.
_LOOK_AROUND = re.compile(r"\(\?(?:[=!]|<)")
_NAMED_CLASS = re.compile(r"\[:(\w+):\]")
_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": r"\t ",
    "digit": "0-9",
    "lower": "a-z",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}

Test = Callable[[str], bool]


@lru_cache(maxsize=512)
def pattern_of(text: str) -> re.Pattern[str]:
    """Return an RE2 pattern compiled; it has to match whole values.

    Raises:
        BadQueryError: It is none, is too long, or could take too long.
    """
    if len(text) > MAX_PATTERN:
        raise BadQueryError(f"a pattern of {len(text)} characters: at most {MAX_PATTERN} are taken")
    # Go has \z, \Q…\E and named classes, Python has not.
    source = _NAMED_CLASS.sub(_class_of, text)
    if "\\Q" in source:
        source = re.sub(r"\\Q(.*?)(?:\\E|$)", lambda found: re.escape(found[1]), source, flags=re.DOTALL)
    source = source.replace("\\z", "\\Z")
    try:
        tree = _parser.parse(source, _FLAGS)
        _check(tree, 0, [0], text)
        return re.compile(source, _FLAGS)
    except (re.error, OverflowError, RecursionError) as error:
        raise BadQueryError(f"error parsing regexp: {_in_its_words(text, error)}") from error


def _in_its_words(text: str, error: Exception) -> str:
    """Return what Go's package says of a pattern that Python's refuses; it names what it matches whole."""
    at = getattr(error, "pos", None) or 0
    whole, rest = f"`^(?:{text})$`", text[at:]
    repeat = _REPEAT.match(rest)
    said = {
        "missing ), unterminated subpattern": f"missing closing ): {whole}",
        "bad escape (end of pattern)": f"missing closing ): {whole}",
        "unbalanced parenthesis": f"unexpected ): {whole}",
        "unterminated character set": f"missing closing ]: `{rest})$`",
        "nothing to repeat": f"missing argument to repetition operator: `{repeat[0] if repeat else rest[:1]}`",
        "multiple repeat": f"invalid nested repetition operator: `{text[max(at - 1, 0) : at + 1]}`",
        "min repeat greater than max repeat": f"invalid repeat count: `{text[max(at - 1, 0) :].partition('}')[0]}}}`",
        "missing >, unterminated name": f"invalid named capture: `{text[max(at - 4, 0) :]})$`",
    }
    message = str(getattr(error, "msg", error))
    if message.startswith("bad escape "):
        return said.get(message, f"invalid escape sequence: `{message.removeprefix('bad escape ')}`")
    if message.startswith("bad character range "):
        return f"invalid character class range: `{message.removeprefix('bad character range ')}`"
    return said.get(message, f"{message}: `{text}`")


def _class_of(found: re.Match[str]) -> str:
    name = found[1]
    if name not in _CLASSES:
        raise BadQueryError(f"error parsing regexp: invalid character class range: `[:{name}:]`")
    return _CLASSES[name]


def _check(tree: Any, open_above: int, found: list[int], text: str) -> None:
    """Refuse what could go back and forth for long, and what RE2 has not."""
    for op, argument in tree:
        if op in {_constants.ASSERT, _constants.ASSERT_NOT, _constants.GROUPREF, _constants.GROUPREF_EXISTS}:
            found_at = _LOOK_AROUND.search(text)
            shown = (
                f"invalid or unsupported Perl syntax: `{found_at[0]}`" if found_at else "back-references are not taken"
            )
            raise BadQueryError(f"error parsing regexp: {shown}")
        if op in {_constants.MAX_REPEAT, _constants.MIN_REPEAT, _constants.POSSESSIVE_REPEAT}:
            _, most, inner = argument
            unbounded = most is _constants.MAXREPEAT
            if unbounded:
                found[0] += 1
                if open_above or found[0] > _MAX_OPEN_REPEATS:
                    raise BadQueryError("a pattern with a repetition within a repetition could take too long")
            _check(inner, open_above + (1 if unbounded or most > 1 else 0), found, text)
            _copies([(op, argument)], text)
        elif op is _constants.SUBPATTERN:
            _check(argument[3], open_above, found, text)
        elif op is _constants.BRANCH:
            # Only one of the branches is taken.
            for branch in argument[1]:
                _check(branch, open_above, [0], text)
        elif op is _constants.ATOMIC_GROUP:
            _check(argument, open_above, found, text)


def _copies(tree: Any, text: str) -> int:
    """Return how many times a counted repetition within counted ones is written out; Go takes 1,000."""
    most = 1
    for op, argument in tree:
        if op in {_constants.MAX_REPEAT, _constants.MIN_REPEAT, _constants.POSSESSIVE_REPEAT}:
            least, last, inner = argument
            count = max(1, least if last is _constants.MAXREPEAT else last)
            copies = count * _copies(inner, text)
            if copies > _MAX_REPEAT:
                shown = next((one[0] for one in _REPEAT.finditer(text) if str(count) in one[0]), text)
                raise BadQueryError(f"error parsing regexp: invalid repeat count: `{shown}`")
            most = max(most, copies)
        elif op is _constants.SUBPATTERN:
            most = max(most, _copies(argument[3], text))
        elif op is _constants.BRANCH:
            most = max([most, *(_copies(branch, text) for branch in argument[1])])
    return most


def _open_repeats(tree: Any) -> int:
    """Count the unbounded repetitions that one way through a pattern meets."""
    count = 0
    for op, argument in tree:
        if op in {_constants.MAX_REPEAT, _constants.MIN_REPEAT}:
            count += (argument[1] is _constants.MAXREPEAT) + _open_repeats(argument[2])
        elif op is _constants.SUBPATTERN:
            count += _open_repeats(argument[3])
        elif op is _constants.BRANCH:
            count += max((_open_repeats(branch) for branch in argument[1]), default=0)
    return count


@lru_cache(maxsize=512)
def test_of(text: str) -> Test:
    """Return whether a whole value matches a pattern, as a function.

    Raises:
        BadQueryError: As `pattern_of`.
    """
    pattern = pattern_of(text)
    branches = text.split("|")
    if not any(_SPECIAL.search(branch) for branch in branches):
        return frozenset(branches).__contains__
    if text == ".*":
        return lambda _value: True
    if text == ".+":
        return bool
    for ending, least in ((".*", 0), (".+", 1)):
        if text.endswith(ending) and not _SPECIAL.search(text[:-2]) and "|" not in text:
            prefix = text[:-2]
            return lambda value: value.startswith(prefix) and len(value) >= len(prefix) + least
        if text.startswith(ending) and not _SPECIAL.search(text[2:]) and "|" not in text:
            suffix = text[2:]
            return lambda value: value.endswith(suffix) and len(value) >= len(suffix) + least
    memo: dict[str, bool] = {}

    def test(value: str) -> bool:
        known = memo.get(value)
        if known is None:
            if len(memo) >= _MEMO_VALUES:
                memo.clear()
            known = memo[value] = matched(text, pattern, value) is not None
        return known

    return test


@lru_cache(maxsize=512)
def _longest(text: str) -> tuple[int, int]:
    """Return how long a value may be that a pattern is tried on, and how many open repetitions the pattern has.

    k of them stand in a value of n characters in (n+k over k) ways; each way is a step.
    """
    repeats = _open_repeats(_parser.parse(pattern_of(text).pattern, _FLAGS))
    longest = MAX_VALUE
    while longest > 1 and repeats > 1 and comb(longest + repeats, repeats) > _MAX_STEPS:
        longest -= 1 if longest < _STEPWISE else longest // 10
    return longest, repeats


def matched(text: str, pattern: re.Pattern[str], value: str) -> re.Match[str] | None:
    """Match a whole value with a pattern, made of a text by `pattern_of`, in a bounded time.

    Raises:
        BadQueryError: It could take too long.
    """
    longest, repeats = _longest(text)
    if len(value) > longest:
        raise BadQueryError(
            f"the pattern {text!r} has {repeats} open repetitions: too many for a value of {len(value)} characters"
        )
    return pattern.fullmatch(value)


@dataclass(frozen=True, slots=True)
class Matcher:
    """A condition on one label; a label that is missing counts as empty.

    Raises:
        BadQueryError: A pattern that is not taken.
    """

    name: str
    op: Operator
    value: str
    test: Test = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        value = self.value
        if self.op == "=":
            test: Test = value.__eq__
        elif self.op == "!=":
            test = value.__ne__
        else:
            matches = test_of(value)
            test = matches if self.op == "=~" else lambda given: not matches(given)
        object.__setattr__(self, "test", test)


def matches_all(matchers: Iterable[Matcher], labels: Labels) -> bool:
    """Say whether labels meet all conditions."""
    return all(matcher.test(labels.get(matcher.name, "")) for matcher in matchers)


def check_selective(matchers: Iterable[Matcher]) -> None:
    """Refuse a selector that asks for everything.

    Raises:
        BadQueryError: Each of its conditions also holds for a label that is missing.
    """
    if all(matcher.test("") for matcher in matchers):
        raise BadQueryError(EMPTY_SELECTOR)


__all__ = ["EMPTY_SELECTOR", "MAX_VALUE", "NAME", "Matcher", "check_selective", "matches_all", "pattern_of", "test_of"]
