"""What a template hands to a function, read as Go reads it: numbers, texts, lists and mappings, or a refusal in its words."""

import re
from collections.abc import Iterable
from typing import Any

from kubedyno.base.random import Random
from kubedyno.load.plan.gotemplate.errors import FunctionError
from kubedyno.load.plan.gotemplate.gofmt import show, type_name

RANDOM = Random()


def to_int(value: Any) -> int:
    """Return cast.ToInt64: anything that is no number is 0."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        return int(value) if -(2.0**63) <= value < 2.0**63 else -(1 << 63)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str):
        text = value.strip()
        try:
            return (
                int(text, 0)
                if re.fullmatch(r"[+-]?(0[xXbBoO][0-9a-fA-F]+|0|[1-9]\d*)", text)
                else int(text.lstrip("0") or "0", 10)
            )
        except ValueError:
            return 0
    return 0


def to_float(value: Any) -> float:
    """Return cast.ToFloat64: anything that is no number is 0."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, int | float):
        return float(value)
    try:
        return float(value) if isinstance(value, str) else 0.0
    except ValueError:
        return 0.0


def strval(value: Any) -> str:
    """Return a value's text."""
    return value if isinstance(value, str) else show(value)


def text_of(value: Any) -> str:
    """Return a string; raises FunctionError when it is none."""
    if not isinstance(value, str):
        raise FunctionError(f"wrong type for value; expected string; got {type_name(value)}")
    return value


def list_of(value: Any, name: str) -> list[Any]:
    """Return a list of a function's own; raises FunctionError when it is none."""
    if isinstance(value, list | tuple):
        return list(value)
    if name == "concat":
        raise FunctionError(f"Cannot concat type {kind_of(value)} as list")
    if name == "slice":
        raise FunctionError(f"list should be type of slice or array but {kind_of(value)}")
    raise FunctionError(f"Cannot {name} on type {kind_of(value)}")


def kind_of(value: Any) -> str:
    """Return the name of reflect.Kind."""
    return {"map[string]interface {}": "map", "[]interface {}": "slice", "<nil>": "invalid"}.get(
        type_name(value), type_name(value)
    )


def empty(value: Any) -> bool:
    """Say whether a value is its type's zero."""
    return not value


def same(a: Any, b: Any) -> bool:
    """Say what reflect.DeepEqual says: values of different types differ, 1 and 1.0 or true among them."""
    if type_name(a) != type_name(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(value, b[key]) for key, value in a.items())
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def among(value: Any, others: Iterable[Any]) -> bool:
    """Say whether one of the others is the `same`."""
    return any(same(value, other) for other in others)


def mapping_of(value: Any) -> dict[str, Any]:
    """Return a mapping itself; raises FunctionError when it is none."""
    if isinstance(value, dict):
        return value
    raise FunctionError(f"wrong type for value; expected map[string]interface {{}}; got {type_name(value)}")
