"""Bodies of subresources and reviews: their few members are of the types that Go's structs give them, or a 400."""

from collections.abc import Mapping
from typing import Any

from kubedyno.kube.status import BadRequest

_NAMES = {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object"}


def checked(kind: str, version: str, body: Any, types: Mapping[str, tuple[type, str]]) -> dict[str, Any]:
    """Return a body without the members that are null, once the others are of the types they should be.

    Args:
        kind: E.g. "Binding".
        version: E.g. "v1".
        body: A JSON value.
        types: Path of a member ("target.kind"; mappings before what is in them) → (type, Go's name of it). `[]` at its
            end means each value of a list or mapping.

    Raises:
        BadRequest: One is of another type.
    """
    what = f'{kind} in version "{version}" cannot be handled as a {kind}: json: cannot unmarshal '
    if not isinstance(body, dict):
        raise BadRequest(f"{what}{_NAMES.get(type(body), 'object')} into Go value of type {version}.{kind}")
    kept: dict[str, Any] = _without_null(body)
    for path, (wanted, go_type) in types.items():
        for value in _values(kept, path.split(".")):
            if not isinstance(value, wanted):
                found = _NAMES.get(type(value), "object")
                where = path.removesuffix("[]")
                raise BadRequest(f"{what}{found} into Go struct field {kind}.{where} of type {go_type}")
    return kept


def _without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_null(member) for name, member in value.items() if member is not None}
    return value


def _values(value: Any, path: list[str]) -> list[Any]:
    """Return what stands at a path: nothing or one, or many where it ends with `[]`."""
    for part in path:
        name, each = part.removesuffix("[]"), part.endswith("[]")
        if not isinstance(value, dict) or name not in value:
            return []
        value = value[name]
        if each:
            return list(value.values()) if isinstance(value, dict) else list(value)
    return [value]
