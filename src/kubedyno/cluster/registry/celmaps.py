"""CEL's transformMap and transformMapEntry: the evaluator checks them and lacks the function that they are written out as.

So what it has compiled is given ours in that one's place, by a name as long; and since it hands a function no value of any
type beside a map, `transformMap(k, v, t)` is evaluated as `transformMapEntry(k, v, {k: t})`.
"""

import re
from typing import Any

_NAMES = ((b"cel.@mapInsert", b"k8s_map_insert"), (b"@mapInsert_map_map", b"kmapInsert_map_map"))
_CALL = re.compile(r"\.\s*transformMap(?P<entry>Entry)?\s*\(")
# What parentheses do not count in: text and comments.
_SKIPPED = re.compile(
    r'[rRbB]{0,2}(?:"""(?:.|\n)*?"""|\'\'\'(?:.|\n)*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\')|//[^\n]*'
)


def named_in(text: str) -> bool:
    """Say whether an expression has such a macro."""
    return _CALL.search(text) is not None


def declaration(cel: Any) -> Any:
    """Return our function's declaration; `cel` is the evaluator's module."""
    any_map = cel.Type.Map(cel.Type.DYN, cel.Type.DYN)
    return cel.FunctionDecl(
        _NAMES[0][1].decode(), [cel.Overload(_NAMES[1][1].decode(), any_map, [any_map, any_map], False, _inserted)]
    )


def _inserted(into: dict[Any, Any], entry: dict[Any, Any]) -> dict[Any, Any]:
    if any(key in into for key in entry):
        raise ValueError(f"insert failed: key {next(iter(entry))} already exists")
    return {**into, **entry}


def compiled(environment: Any, text: str) -> Any:
    """Return an expression, compiled in an environment with our function.

    Raises:
        RuntimeError: It is none.
    """
    expression = environment.compile(text)
    if not named_in(text):
        return expression
    raw = environment.compile(as_entries(text)).serialize()
    for theirs, ours in _NAMES:
        raw = raw.replace(theirs, ours)
    return environment.deserialize(raw)


def as_entries(text: str) -> str:
    """Return an expression with `transformMapEntry` in place of `transformMap`."""
    position = 0
    while (found := _next_call(text, position)) is not None:
        start, inner = found.start(), found.end()
        parts, end = arguments(text, inner)
        if found["entry"] is None and len(parts) in {3, 4}:
            parts[-1] = f"{{{parts[0].strip()}: {parts[-1]}}}"
            call = f".transformMapEntry({','.join(parts)})"
            # What is inside may have one, too.
            text, position = text[:start] + call + text[end:], start + len(".transformMapEntry(")
        else:
            position = inner
    return text


def _next_call(text: str, position: int) -> re.Match[str] | None:
    while position < len(text):
        skipped, found = _SKIPPED.search(text, position), _CALL.search(text, position)
        if found is None or skipped is None or found.start() < skipped.start():
            return found
        position = skipped.end()
    return None


def arguments(text: str, position: int) -> tuple[list[str], int]:
    """Return a call's arguments, and where it ends; `position` is behind its parenthesis. None when it does not end."""
    parts: list[str] = []
    begun, depth = position, 0
    while position < len(text):
        skipped = _SKIPPED.match(text, position)
        if skipped is not None:
            position = skipped.end()
            continue
        letter = text[position]
        if letter in ")]}" and not depth:
            return [*parts, text[begun:position]], position + 1
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and not depth:
            parts.append(text[begun:position])
            begun = position + 1
        position += 1
    return [], position
