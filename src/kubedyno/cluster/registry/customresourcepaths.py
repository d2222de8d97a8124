"""The JSONPaths that definitions may use: members, indexes, `[*]` and one kind of filter.

Printer columns take the first match; scale and field selectors take plain members only.
"""

import re
from functools import lru_cache
from typing import Any

_STEP = re.compile(
    r"""\.(?P<name>(?:\\.|[^.\[\\])+)"""
    r"""|\[\s*'(?P<quoted>[^']*)'\s*\]|\[\s*"(?P<double>[^"]*)"\s*\]"""
    r"""|\[\s*(?P<index>-?\d+)\s*\]|\[\s*(?P<all>\*)\s*\]"""
    r"""|\[\s*\?\(\s*@\.(?P<of>(?:\\.|[\w/.-])+)\s*(?P<operator>==|!=)\s*(?P<text>'[^']*'|"[^"]*"|[\w.-]+)\s*\)\s*\]"""
)
_ESCAPED = re.compile(r"\\(.)")

Step = tuple[str, Any]


@lru_cache(maxsize=4096)
def parse(path: str) -> tuple[Step, ...]:
    """Return the steps of a path such as `.status.conditions[?(@.type=="Ready")].status`.

    Raises:
        ValueError: It is none of those that are understood.
    """
    steps: list[Step] = []
    at = 0
    while at < len(path):
        found = _STEP.match(path, at)
        if found is None:
            raise ValueError(f"{path}: not understood from {path[at:]!r} on")
        at = found.end()
        if found["name"] is not None:
            name = _ESCAPED.sub(r"\1", found["name"])
            steps.append(("all", None) if name == "*" else ("name", name))
        elif found["index"] is not None:
            steps.append(("index", int(found["index"])))
        elif found["all"] is not None:
            steps.append(("all", None))
        elif found["of"] is not None:
            names = tuple(_ESCAPED.sub(r"\1", part) for part in re.split(r"(?<!\\)\.", found["of"]))
            steps.append(("filter", (names, found["operator"] == "==", found["text"].strip("'\""))))
        else:
            steps.append(("name", found["quoted"] if found["quoted"] is not None else found["double"]))
    return tuple(steps)


def find(path: str, value: Any) -> list[Any]:
    """Return all that a path leads to, in order."""
    found = [value]
    for kind, argument in parse(path):
        found = [reached for one in found for reached in _follow(kind, argument, one)]
    return found


def _follow(kind: str, argument: Any, value: Any) -> list[Any]:
    if kind == "name":
        return [value[argument]] if isinstance(value, dict) and argument in value else []
    if kind == "all":
        return list(value.values()) if isinstance(value, dict) else list(value) if isinstance(value, list) else []
    if not isinstance(value, list):
        return []
    if kind == "index":
        return [value[argument]] if -len(value) <= argument < len(value) else []
    names, wanted, text = argument
    return [item for item in value if (_text_of(item, names) == text) is wanted]


def _text_of(value: Any, names: tuple[str, ...]) -> str:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return ("true" if value else "false") if isinstance(value, bool) else "" if value is None else str(value)


def members(path: str) -> tuple[str, ...]:
    """Return the names that a path of plain members goes through.

    Raises:
        ValueError: It is no such path.
    """
    steps = parse(path)
    if not path.startswith(".") or not all(kind == "name" for kind, _ in steps):
        raise ValueError(f"{path}: only plain members are allowed")
    return tuple(name for _, name in steps)
