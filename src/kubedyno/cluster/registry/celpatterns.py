"""CEL's find and findAll: matches of a pattern in a text, found by the evaluator's own engine in linear time."""

import re
from functools import cache
from importlib import import_module
from typing import Any

_MODULE = "cel_expr_python"
# What opens a group, and where parentheses are none: escapes, quoted text and sets.
_PART = re.compile(
    r"(?P<kept>\\Q.*?(?:\\E|\Z)|\\.|\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\])|(?P<group>\((?:\?P?<[^=!>]*>|(?!\?)))",
    re.DOTALL,
)


@cache
def _extract() -> Any:
    """Return what finds all matches of the first group."""
    cel = import_module(f"{_MODULE}.cel")
    optional = import_module(f"{_MODULE}.ext.ext_optional").ExtOptional()
    config = cel.NewEnvConfigFromYaml("extensions:\n- name: regex\n")
    strings = {"text": cel.Type.STRING, "pattern": cel.Type.STRING}
    environment = cel.NewEnv(variables=strings, config=config, extensions=[optional])
    return environment.compile("regex.extractAll(text, pattern)")


def find_all(text: str, pattern: str, most: int = -1) -> list[str]:
    """Return the matches of a pattern.

    Args:
        text: Where.
        pattern: In Go's syntax.
        most: So many at most; negative: all.

    Raises:
        ValueError: It is no pattern.
    """
    # Matches are whole ones, whatever groups the pattern has.
    whole = f"({_PART.sub(lambda part: part['kept'] or '(?:', pattern)})"
    found = _extract().eval(data={"text": text, "pattern": whole})
    if not str(found.type().name()).startswith("LIST"):
        raise ValueError(f"error parsing regexp: {pattern!r}")
    matches = [str(item.value()) for item in found.value()]
    return matches if most < 0 else matches[:most]


def find(text: str, pattern: str) -> str:
    """Return the first match of a pattern, "" when there is none."""
    return next(iter(find_all(text, pattern)), "")
