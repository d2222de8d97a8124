"""Rendered text to an object's JSON, by the whole way: YAML parsed by Go's rules, labels added, JSON written."""

import math
from collections.abc import Iterator
from typing import Any

import orjson

from kubedyno.base.errors import KubedynoError
from kubedyno.kube import yaml

Json = dict[str, Any]


def documents(text: str, path: str) -> list[Json]:
    """Return the objects of a rendered template: its documents up to the first empty one, as in the original.

    Args:
        text: YAML or JSON.
        path: Named in errors.

    Raises:
        KubedynoError: A document is no YAML or no mapping; the line is the rendered text's.
    """
    found: list[Json] = []
    for number, document in enumerate(_parsed(text, path)):
        if document is None:
            break
        if not isinstance(document, dict):
            raise KubedynoError(f"Error decoding YAML ({path}): document {number} is no mapping")
        found.append(document)
    return found


def _parsed(text: str, path: str) -> Iterator[Any]:
    try:
        yield from yaml.load_all(text)
    except yaml.YAMLError as error:
        lines = text.split("\n")
        line = lines[error.line - 1].strip() if 0 < error.line <= len(lines) else ""
        shown = f"; line {error.line} of the rendered text is: {line[:80]}" if line else ""
        raise KubedynoError(f"Error decoding YAML ({path}): {error}{shown}") from error


def json_of(value: Any) -> bytes:
    """Return JSON as Go writes it: a float without a fraction is a whole number.

    Raises:
        ValueError: Infinities and NaN have no JSON.
    """
    return orjson.dumps(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        if math.isinf(value) or math.isnan(value):
            raise ValueError(f"json: unsupported value: {value}")
        # Beyond 2^63 the shortest text of the float is not its value as a whole number.
        if value.is_integer() and abs(value) < 2**63 and not (value == 0 and math.copysign(1, value) < 0):
            return int(value)
    return value
