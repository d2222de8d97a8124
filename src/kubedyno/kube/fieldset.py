"""Sets of field paths, as managedFields keeps them (FieldsV1).

A set is the nested mapping that FieldsV1 is: each key is one step of a path ("f:name" a field, `k:{"name":"c"}` a list
element by its keys, `v:"x"` an element of a set, "i:0" an index), each value the paths below. A step is itself in the
set when nothing is below it, or when "." is. Sets are never changed: each function returns a new one that may share
parts with its arguments.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import orjson

Fields = dict[str, Any]
SELF = "."
_LEAF: Fields = {}
_KINDS = {"f": 0, "k": 1, "v": 2, "i": 3}


class FieldSetError(ValueError):
    """Not FieldsV1."""


# --- text ------------------------------------------------------------------------------------------------------


def key_step(keys: Fields) -> str:
    """Return the step to a list element with those keys."""
    return "k:" + orjson.dumps(keys, option=orjson.OPT_SORT_KEYS).decode()


def value_step(value: Any) -> str:
    """Return the step to an element of a set."""
    return "v:" + orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _rank(value: Any) -> tuple[int, Any]:
    """Return what JSON values are sorted by: numbers, then text, then truth."""
    if isinstance(value, bool):
        return 2, value
    if isinstance(value, int | float):
        return 0, value
    return (1, value) if isinstance(value, str) else (3, orjson.dumps(value))


@lru_cache(maxsize=4096)
def _order(step: str) -> tuple[int, Any]:
    kind = step[0]
    if kind == "f":
        return 0, step
    value = orjson.loads(step[2:])
    if kind == "k":
        return 1, [(name, _rank(value[name])) for name in sorted(value)]
    return _KINDS[kind], _rank(value)


@lru_cache(maxsize=4096)
def _step(step: str) -> str:
    """Return a step in its one spelling.

    Raises:
        FieldSetError: It is none.
    """
    kind, rest = step[:2], step[2:]
    try:
        if kind == "f:":
            return step
        if kind == "k:":
            keys = orjson.loads(rest)
            if isinstance(keys, dict):
                return key_step(keys)
        elif kind == "v:":
            return value_step(orjson.loads(rest))
        elif kind == "i:":
            return f"i:{int(rest)}"
    except ValueError:
        pass
    raise FieldSetError(f"not a step of a field path: {step!r}")


def parse(value: Any) -> Fields:
    """Return the set that a FieldsV1 value is.

    Raises:
        FieldSetError: It is none.
    """
    if not isinstance(value, dict):
        raise FieldSetError("FieldsV1 is an object")
    found: Fields = {}
    for step, below in value.items():
        if step == SELF:
            found[SELF] = _LEAF
        else:
            found[_step(step)] = parse(below)
    if len(found) == 1 and SELF in found:
        return {}
    return found


def ordered(fields: Fields) -> Fields:
    """Return the same set with its members in the order in which they are printed."""
    if not fields:
        return fields
    steps = [step for step in fields if step != SELF]
    steps.sort(key=_order)
    result: Fields = {SELF: _LEAF} if SELF in fields else {}
    for step in steps:
        result[step] = ordered(fields[step])
    return result


def dumps(fields: Fields) -> bytes:
    """Return FieldsV1 as the real server prints it."""
    return orjson.dumps(ordered(fields))


def step_text(step: str) -> str:
    """Return a step as error texts have it, e.g. `.spec`, `[name="c"]`, `[="x"]`, `[0]`."""
    kind, rest = step[0], step[2:]
    if kind == "f":
        return f".{rest}"
    if kind == "i":
        return f"[{rest}]"
    value = orjson.loads(rest)
    if kind == "v":
        return f"[={_value_text(value)}]"
    return "[" + ",".join(f"{name}={_value_text(value[name])}" for name in sorted(value)) + "]"


def _value_text(value: Any) -> str:
    return orjson.dumps(value).decode()


# --- membership ------------------------------------------------------------------------------------------------


def is_member(below: Fields) -> bool:
    """Say whether the step with this below it is itself in the set."""
    return not below or SELF in below


def node(*, member: bool, below: Fields) -> Fields | None:
    """Return what stands below a step, None when neither it nor anything below is in the set."""
    if not below:
        return _LEAF if member else None
    return {SELF: _LEAF, **below} if member else below


def paths(fields: Fields, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the paths in a set: of each level first what ends there, then what goes on."""
    steps = sorted((step for step in fields if step != SELF), key=_order)
    for step in steps:
        if is_member(fields[step]):
            yield (*before, step)
    for step in steps:
        if fields[step]:
            yield from paths(fields[step], (*before, step))


def has(fields: Fields, path: tuple[str, ...]) -> bool:
    """Say whether a path is in a set."""
    below = fields
    for step in path:
        if step not in below:
            return False
        below = below[step]
    return is_member(below)


def of_path(path: tuple[str, ...]) -> Fields:
    """Return the set of one path."""
    fields: Fields = {}
    for step in reversed(path):
        fields = {step: fields}
    return fields


def path_text(path: tuple[str, ...]) -> str:
    """Return a path as error texts have it, e.g. `.spec.containers[name="c"].image`."""
    return "".join(map(step_text, path))


# --- algebra ---------------------------------------------------------------------------------------------------


def union(a: Fields, b: Fields) -> Fields:
    """Return what is in either."""
    if not a or not b:
        return a or b
    result: Fields = {}
    for step, below in a.items():
        if step == SELF:
            continue
        other = b.get(step)
        if other is None or other is below:
            result[step] = below
        else:
            result[step] = _joined(below, other)
    for step, below in b.items():
        if step not in result and step != SELF:
            result[step] = below
    return result


def _joined(below: Fields, other: Fields) -> Fields:
    joined = node(member=is_member(below) or is_member(other), below=union(_inner(below), _inner(other)))
    assert joined is not None
    return joined


def _inner(below: Fields) -> Fields:
    return {step: deeper for step, deeper in below.items() if step != SELF} if SELF in below else below


def intersection(a: Fields, b: Fields) -> Fields:
    """Return what is in both."""
    if len(b) < len(a):
        a, b = b, a
    result: Fields = {}
    for step, below in a.items():
        other = b.get(step)
        if step == SELF or other is None:
            continue
        shared = node(member=is_member(below) and is_member(other), below=intersection(below, other))
        if shared is not None:
            result[step] = shared
    return result


def difference(a: Fields, b: Fields) -> Fields:
    """Return what is in the first but not in the second; what is below a path that goes stays.

    Where nothing goes, it is the first set itself.
    """
    result = a
    for step, other in b.items():
        below = a.get(step)
        if below is None or step == SELF:
            continue
        left = _less(below, other)
        if left is below:
            continue
        if result is a:
            result = dict(a)
        if left is None:
            del result[step]
        else:
            result[step] = left
    return result


def _less(below: Fields, other: Fields) -> Fields | None:
    """Return what stands below a step when other paths below it, and perhaps the step itself, go."""
    inner = difference(below, other)
    if not is_member(below):
        return inner or None
    if is_member(other):
        return {step: deeper for step, deeper in inner.items() if step != SELF} or None
    if inner is below:
        return below
    return inner if len(inner) > 1 else _LEAF


def without(a: Fields, b: Fields) -> Fields:
    """Return what is in the first, but neither in the second nor below a path of it."""
    if not a or not b:
        return a
    result: Fields = {}
    for step, below in a.items():
        if step == SELF:
            continue
        other = b.get(step)
        if other is None:
            result[step] = below
        elif not is_member(other):
            left = node(member=is_member(below), below=without(_inner(below), other))
            if left is not None:
                result[step] = left
    return result
