"""Sprig on dictionaries; `set`, `unset` and `merge` change them in place, as the original."""

import copy
from collections.abc import Callable
from typing import Any

from kubedyno.load.plan.gotemplate.errors import FunctionError
from kubedyno.load.plan.gotemplate.gofmt import type_name
from kubedyno.load.plan.gotemplate.sprig.values import empty, mapping_of, strval, text_of


def _dict(*pairs: Any) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for position in range(0, len(pairs), 2):
        key = strval(pairs[position])
        result[key] = pairs[position + 1] if position + 1 < len(pairs) else ""
    return result


def _set(mapping: Any, key: Any, value: Any) -> dict[str, Any]:
    place = mapping_of(mapping)
    place[text_of(key)] = value
    return place


def _unset(mapping: Any, key: Any) -> dict[str, Any]:
    place = mapping_of(mapping)
    place.pop(key, None)
    return place


def _merge(target: Any, *sources: Any, overwrite: bool = False) -> dict[str, Any]:
    place = mapping_of(target)
    for source in sources:
        for key, value in mapping_of(source).items():
            if key in place and isinstance(place[key], dict) and isinstance(value, dict):
                _merge(place[key], value, overwrite=overwrite)
            elif overwrite or key not in place or empty(place[key]):
                place[key] = value
    return place


def _dig(*arguments: Any) -> Any:
    if len(arguments) < 3:
        raise FunctionError("dig needs at least three arguments")
    *keys, default, place = arguments
    for key in keys:
        if not isinstance(place, dict):
            kind = "nil" if place is None else type_name(place)
            raise FunctionError(f"interface conversion: interface {{}} is {kind}, not map[string]interface {{}}")
        if not isinstance(key, str):
            raise FunctionError(f"interface conversion: interface {{}} is {type_name(key)}, not string")
        if key not in place:
            return default
        place = place[key]
    return place


def _pluck(key: Any, *mappings: Any) -> list[Any]:
    return [mapping[key] for mapping in mappings if key in mapping_of(mapping)]


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "dict": _dict,
    "get": lambda m, k: mapping_of(m).get(k, ""),
    "set": _set,
    "unset": _unset,
    "hasKey": lambda m, k: k in mapping_of(m),
    "pluck": _pluck,
    "keys": lambda *m: [k for mapping in m for k in mapping_of(mapping)],
    "values": lambda m: list(mapping_of(m).values()),
    "pick": lambda m, *k: {key: value for key, value in mapping_of(m).items() if key in k},
    "omit": lambda m, *k: {key: value for key, value in mapping_of(m).items() if key not in k},
    "merge": _merge,
    "mergeOverwrite": lambda t, *s: _merge(t, *s, overwrite=True),
    "deepCopy": copy.deepcopy,
    "dig": _dig,
}
