"""Sprig on regular expressions: those of RE2, its replacements and its complaints, carried out by `re`."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from kubedyno.load.plan.gotemplate.errors import FunctionError
from kubedyno.load.plan.gotemplate.sprig.values import text_of, to_int

_MOST_REPEATS = 1000
_UNSUPPORTED = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|(\(\?(?:<?[=!]|>|#|\(|R|&))|(\(\?P[=>])|\{(\d+)(?:,(\d*))?\}", re.DOTALL
)


def _regex(pattern: Any) -> re.Pattern[str]:
    """Return a compiled expression; what RE2 does not have is refused as Go does."""
    text = text_of(pattern)
    for found in _UNSUPPORTED.finditer(text):
        if found[1] or found[2]:
            raise FunctionError(
                f"error parsing regexp: invalid or unsupported Perl syntax: `{(found[1] or found[2])[:3]}`"
            )
        if found[3] and (
            int(found[3]) > _MOST_REPEATS or (found[4] and not int(found[3]) <= int(found[4]) <= _MOST_REPEATS)
        ):
            raise FunctionError(f"error parsing regexp: invalid repeat count: `{found[0]}`")
        if re.match(r"\\[1-9]", found[0]):
            raise FunctionError(f"error parsing regexp: invalid escape sequence: `{found[0]}`")
    # Python's $ also matches before a last newline, Go's does not.
    ours = re.sub(r"\\z", r"\\Z", re.sub(r"\(\?<(?![=!])", "(?P<", text))
    try:
        return _compiled(ours)
    except re.error as error:
        raise FunctionError(f"error parsing regexp: {_complaint(text, error)}") from error


@lru_cache(maxsize=1024)
def _compiled(text: str) -> re.Pattern[str]:
    return re.compile(text)


def _complaint(text: str, error: re.error) -> str:
    said = error.msg
    if "unterminated subpattern" in said:
        return f"missing closing ): `{text}`"
    if "unbalanced parenthesis" in said:
        return f"unexpected ): `{text}`"
    if "unterminated character set" in said:
        return f"missing closing ]: `{text[error.pos or 0 :]}`"
    if "multiple repeat" in said:
        nested = re.search(r"(?:[*+?]|\{\d+(?:,\d*)?\})(?=[*+?{])(?:[*+?]\??|\{[^}]*\})", text)
        return f"invalid nested repetition operator: `{nested[0] if nested else text}`"
    if "nothing to repeat" in said or "multiple repeat" in said:
        return f"missing argument to repetition operator: `{text[error.pos or 0 : (error.pos or 0) + 1]}`"
    if "bad character range" in said:
        return f"invalid character class range: `{said.rpartition(' ')[2]}`"
    if "bad escape (end of pattern)" in said:
        return "trailing backslash at end of expression: ``"
    if "bad escape" in said:
        return f"invalid escape sequence: `{said.rpartition(' ')[2]}`"
    return f"{said}: `{text}`"


def _replacement(text: str) -> Callable[[re.Match[str]], str]:
    """Return what replaces a match: Go's $1 and ${name}, "" for a group that is not there."""

    def group(match: re.Match[str], name: str) -> str:
        try:
            return match[int(name) if name.isdigit() else name] or ""
        except IndexError:
            return ""

    return lambda match: re.sub(
        r"\$\{(\w+)\}|\$(\w+)|(\$\$)", lambda m: "$" if m[3] else group(match, m[1] or m[2]), text
    )


def _regex_match(pattern: Any, text: Any) -> bool:
    try:
        return _regex(pattern).search(text_of(text)) is not None
    except FunctionError:
        return False


def _regex_split(pattern: Any, text: Any, count: Any) -> list[str]:
    most = to_int(count)
    if most == 0:
        return []
    return [text_of(text)] if most == 1 else _regex(pattern).split(text_of(text), max(0, most - 1))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "regexMatch": _regex_match,
    "mustRegexMatch": lambda p, t: _regex(p).search(text_of(t)) is not None,
    "regexFind": lambda p, t: m[0] if (m := _regex(p).search(text_of(t))) else "",
    "regexFindAll": lambda p, t, n: [m[0] for m in _regex(p).finditer(text_of(t))][
        : None if to_int(n) < 0 else to_int(n)
    ],
    "regexReplaceAll": lambda p, t, r: _regex(p).sub(_replacement(text_of(r)), text_of(t)),
    "regexReplaceAllLiteral": lambda p, t, r: _regex(p).sub(lambda _m: text_of(r), text_of(t)),
    "regexSplit": _regex_split,
    "regexQuoteMeta": lambda t: re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", text_of(t)),
}
