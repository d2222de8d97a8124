"""JSON patch, merge patch and strategic merge patch, with the directives and texts of the real server.

Documents are never changed: each function returns a new one that may share parts with the old.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from kubedyno.kube.resources import Resource, vocabulary

Json = dict[str, Any]


class PatchError(ValueError):
    """A patch that does not apply; the text is the library's that the real server uses."""


# --- JSON merge patch (RFC 7386) -------------------------------------------------------------------------------


def merge_patch(document: Any, patch: Any) -> Any:
    """Apply a merge patch: null removes, mappings merge, all else replaces.

    Raises:
        PatchError: It is neither a mapping nor a list.
    """
    if not isinstance(patch, dict | list):
        raise PatchError("Invalid JSON Patch")
    return _merged(document, patch)


def _merged(document: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    result = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            result[key] = _merged(result.get(key), value)
        else:
            result[key] = _without_nulls(value)
    return result


def _without_nulls(value: Any) -> Any:
    """The library prunes nulls of mappings inside lists too."""
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return value


# --- JSON patch (RFC 6902) -------------------------------------------------------------------------------------


def json_patch(document: Any, operations: Any) -> Any:
    """Apply a JSON patch.

    Raises:
        PatchError: An operation is malformed, or does not apply.
    """
    if not isinstance(operations, list):
        kind = "object" if isinstance(operations, dict) else "string" if isinstance(operations, str) else "number"
        raise PatchError(f"json: cannot unmarshal {kind} into Go value of type jsonpatch.Patch")
    result = deepcopy(document)
    for operation in operations:
        result = _operate(result, operation)
    return result


_APPEND = "-"


def _operate(document: Any, operation: Any) -> Any:
    name = operation.get("op") if isinstance(operation, dict) else None
    path = operation.get("path") if isinstance(operation, dict) else None
    if not isinstance(name, str):
        raise PatchError("Unexpected kind: unknown")
    if not isinstance(path, str):
        raise PatchError(f"{name} operation failed to decode path: missing value")
    if name in {"add", "replace", "test"} and "value" not in operation and name != "test":
        operation = {**operation, "value": None}
    if name == "add":
        return _add(document, path, deepcopy(operation["value"]))
    if name == "remove":
        return _remove(document, path, "remove")
    if name == "replace":
        return _replace(document, path, deepcopy(operation["value"]))
    if name == "test":
        found, value = _lookup(document, path)
        if (found or operation.get("value") is not None) and (not found or not _equal(value, operation.get("value"))):
            raise PatchError(f"testing value {path} failed: test failed")
        return document
    if name in {"move", "copy"}:
        source = operation.get("from")
        if not isinstance(source, str):
            raise PatchError(f"{name} operation does not apply: missing from")
        found, value = _lookup(document, source)
        if not found and name == "move":
            token = _tokens(source)[-1] if _tokens(source) else ""
            raise PatchError(
                f"error in move for path: '{source[1:]}': Unable to remove nonexistent key: {token}: missing value"
            )
        value = deepcopy(value)
        if name == "move":
            document = _remove(document, source, "move")
        return _add(document, path, value, name)
    raise PatchError(f"Unexpected kind: {name}")


def _equal(a: Any, b: Any) -> bool:
    return type(a) is type(b) and a == b if isinstance(a, bool) or isinstance(b, bool) else bool(a == b)


def _tokens(path: str) -> list[str]:
    if path == "":
        return []
    return [token.replace("~1", "/").replace("~0", "~") for token in path.split("/")[1:]]


def _step(place: Any, token: str) -> tuple[bool, Any]:
    if isinstance(place, dict):
        return token in place, place.get(token)
    if isinstance(place, list):
        try:
            return True, place[_index(place, token, len(place) - 1)]
        except PatchError:
            return False, None
    return False, None


def _lookup(document: Any, path: str) -> tuple[bool, Any]:
    found, place = True, document
    for token in _tokens(path):
        found, place = _step(place, token)
        if not found:
            return False, None
    return found, place


def _index(place: list[Any], token: str, last: int) -> int:
    try:
        index = int(token)
    except ValueError:
        raise PatchError(
            f"value was not a proper array index: '{token}': strconv.Atoi: parsing \"{token}\": invalid syntax"
        ) from None
    if index < 0:
        index += len(place) if last == len(place) - 1 else len(place) + 1
    if not 0 <= index <= last:
        raise PatchError(f"Unable to access invalid index: {token}: invalid index referenced")
    return index


def _parent(document: Any, path: str, operation: str) -> tuple[Any, str]:
    tokens = _tokens(path)
    place = document
    for token in tokens[:-1]:
        _, place = _step(place, token)
    if not tokens or not isinstance(place, dict | list):
        shown = path if operation == "replace" else f'"{path}"'
        raise PatchError(f"{operation} operation does not apply: doc is missing path: {shown}: missing value")
    return place, tokens[-1]


def _add(document: Any, path: str, value: Any, operation: str = "add") -> Any:
    if path == "":
        return value
    place, token = _parent(document, path, operation)
    if isinstance(place, dict):
        place[token] = value
    elif token == _APPEND:
        place.append(value)
    else:
        try:
            place.insert(_index(place, token, len(place)), value)
        except PatchError as error:
            raise PatchError(f"error in {operation} for path: '{path}': {error}") from None
    return document


def _remove(document: Any, path: str, operation: str) -> Any:
    place, token = _parent(document, path, operation)
    if isinstance(place, dict):
        if token not in place:
            raise PatchError(
                f"error in {operation} for path: '{path}': Unable to remove nonexistent key: {token}: missing value"
            )
        del place[token]
    else:
        del place[_index(place, token, len(place) - 1)]
    return document


def _replace(document: Any, path: str, value: Any) -> Any:
    if path == "":
        return value
    place, token = _parent(document, path, "replace")
    if isinstance(place, dict):
        # The library does not mind that the member is not there yet.
        place[token] = value
    else:
        if not _step(place, token)[0]:
            raise PatchError(f"replace operation does not apply: doc is missing key: {path}: missing value")
        place[_index(place, token, len(place) - 1)] = value
    return document


# --- strategic merge patch -------------------------------------------------------------------------------------

_PATCH, _ORDER, _DELETE, _RETAIN = "$patch", "$setElementOrder/", "$deleteFromPrimitiveList/", "$retainKeys"


def strategic_merge_patch(document: Json, patch: Any, resource: Resource) -> Json:
    """Apply a strategic merge patch with the merge keys of a built-in kind.

    Raises:
        PatchError: A directive or a list element is malformed.
    """
    return strategic_of_kind(document, patch, resource.api_version, resource.kind)


def strategic_of_kind(document: Json, patch: Any, api_version: str, kind: str) -> Json:
    """Apply a strategic merge patch to an object of a kind; see `strategic_merge_patch`."""
    if patch is None:
        return document
    if not isinstance(patch, dict):
        raise PatchError("invalid JSON document")
    words = vocabulary()
    name = words["kinds"].get(f"{api_version}/{kind}")
    return _merge_mapping(document, patch, words["types"].get(name))


def _fields(type_of: Json | None, key: str) -> list[Any] | None:
    found = (type_of or {}).get("f", {}).get(key)
    return list(found) if found is not None else None


def _type_of(shape: Any) -> Json | None:
    """Return the type that a shape's elements or values have."""
    name = shape[1] if isinstance(shape, list) and len(shape) > 1 else None
    if isinstance(name, list):
        return {"element": name}
    if isinstance(name, str) and name.startswith("#"):
        found = vocabulary()["types"].get(name[1:])
        return dict(found) if found is not None else None
    return None


def _merge_mapping(original: Json, patch: Json, type_of: Json | None) -> Json:
    directive = patch.get(_PATCH)
    if directive is not None:
        rest = {key: value for key, value in patch.items() if key != _PATCH}
        if directive == "replace":
            return rest
        if directive == "delete":
            return {}
        raise PatchError(f"unknown patch type: {_go(directive)} in map: {_go(patch)}")
    original = dict(original)
    for key, value in patch.items():
        if key.startswith(_ORDER) and not isinstance(value, list):
            raise PatchError(f"expected a []interface {{}}, but received a {_go_type(value)}")
    keep = patch.get(_RETAIN)
    if keep is not None:
        if not isinstance(keep, list):
            raise PatchError("invalid patch format of retainKeys")
        extra = [k for k in patch if not k.startswith("$") and patch[k] is not None and k not in keep]
        if extra:
            raise PatchError("invalid patch format of retainKeys")
        original = {key: value for key, value in original.items() if key in keep}
    for key, value in patch.items():
        if key == _RETAIN or key.startswith(_ORDER):
            continue
        if key.startswith(_DELETE):
            field = key.removeprefix(_DELETE)
            if isinstance(original.get(field), list) and field not in patch:
                original[field] = [item for item in original[field] if item not in value]
            continue
        original = _merge_field(original, patch, key, value, type_of)
    for key in patch:
        # An order may be given without a change of the list itself.
        if key.startswith(_ORDER) and key.removeprefix(_ORDER) not in patch:
            field = key.removeprefix(_ORDER)
            if isinstance(original.get(field), list):
                shape = _fields(type_of, field)
                merge_key = _extra(shape).get("mk")
                original[field] = _ordered(original[field], original[field], patch[key], merge_key)
    return original


def _extra(shape: Any) -> Json:
    return shape[2] if isinstance(shape, list) and len(shape) > 2 else {}


def _merge_field(original: Json, patch: Json, key: str, value: Any, type_of: Json | None) -> Json:
    if value is None:
        original.pop(key, None)
        return original
    shape = _fields(type_of, key)
    if isinstance(value, dict):
        before = original.get(key)
        strategy = _extra(shape).get("st", "")
        if "replace" in strategy.split(","):
            original[key] = {k: v for k, v in value.items() if k != _PATCH}
            return original
        inner = _type_of(shape) if shape is not None and shape[0] == "" else None
        if not isinstance(before, dict):
            if value.get(_PATCH) == "delete":
                original.pop(key, None)
                return original
            before = {}
        merged = _merge_mapping(before, value, inner)
        if value.get(_PATCH) == "delete":
            original.pop(key, None)
        else:
            original[key] = merged
        return original
    if isinstance(value, list):
        extra = _extra(shape)
        if "merge" not in extra.get("st", "").split(","):
            original[key] = _plain(value)
            return original
        there = original.get(key)
        original[key] = _merge_list(
            there if isinstance(there, list) else [],
            value,
            extra.get("mk"),
            _type_of(shape),
            patch.get(_ORDER + key),
            patch.get(_DELETE + key),
        )
        return original
    original[key] = value
    return original


def _plain(value: Any) -> Any:
    """Return a value without the directives of a patch."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if not k.startswith("$") and v is not None}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _merge_list(
    original: list[Any], patch: list[Any], merge_key: str | None, type_of: Json | None, order: Any, delete: Any
) -> list[Any]:
    if not merge_key or (patch and not all(isinstance(item, dict) for item in patch)):
        if merge_key and patch and any(isinstance(item, dict) for item in patch):
            raise PatchError("list element types are not identical: map string")
        kept = [item for item in original if item not in (delete or ())]
        merged = (
            list(dict.fromkeys([*kept, *patch]))
            if all(not isinstance(i, dict | list) for i in [*kept, *patch])
            else [*kept, *patch]
        )
        return _ordered(merged, original, patch if order is None else order, None)
    if any(item.get(_PATCH) == "replace" for item in patch):
        return [_plain(item) for item in patch if _PATCH not in item]
    result = list(original)
    for item in patch:
        directive = item.get(_PATCH)
        if merge_key not in item:
            raise PatchError(f"map: {_go(item)} does not contain declared merge key: {merge_key}")
        key = item[merge_key]
        if directive == "delete":
            result = [entry for entry in result if entry.get(merge_key) != key]
            continue
        if directive is not None:
            raise PatchError(f"unknown patch type: {_go(directive)} in map: {_go(item)}")
        for position, entry in enumerate(result):
            if merge_key not in entry:
                raise PatchError(f"map: {_go(entry)} does not contain declared merge key: {merge_key}")
            if entry[merge_key] == key:
                result[position] = _merge_mapping(entry, item, type_of)
                break
        else:
            result.append(_merge_mapping({}, item, type_of))
    kept = [item for item in patch if item.get(_PATCH) != "delete"]
    if order is not None:
        return _ordered(result, original, order, merge_key, kept)
    # The patch's order; only it decides where new elements stand.
    return _ordered(result, original, kept, merge_key)


def _ordered(
    merged: list[Any], original: list[Any], order: Any, merge_key: str | None, patch: list[Any] | None = None
) -> list[Any]:
    """Sort as `$setElementOrder` says; elements that only the server has keep their place among the others."""
    wanted = [entry.get(merge_key) if merge_key and isinstance(entry, dict) else entry for entry in order]

    def key_of(item: Any) -> Any:
        return item.get(merge_key) if merge_key and isinstance(item, dict) else item

    if patch:
        keys = [key_of(item) for item in patch]
        positions = [wanted.index(key) if key in wanted else -1 for key in keys]
        if -1 in positions or positions != sorted(positions):
            shown = " ".join(_go(item) for item in patch)
            listed = " ".join(_go(entry) for entry in order)
            raise PatchError(
                f"The order in patch list:\n[{shown}]\n doesn't match $setElementOrder list:\n[{listed}]\n"
            )
    known = {repr(key): position for position, key in enumerate(wanted)}
    inside = sorted((i for i in merged if repr(key_of(i)) in known), key=lambda i: known[repr(key_of(i))])
    outside = [i for i in merged if repr(key_of(i)) not in known]
    if not outside:
        return inside
    before = {repr(key_of(item)): position for position, item in enumerate(original)}
    result: list[Any] = []
    waiting = list(outside)
    for item in inside:
        place = before.get(repr(key_of(item)))
        while waiting and place is not None and before.get(repr(key_of(waiting[0])), 1 << 30) < place:
            result.append(waiting.pop(0))
        result.append(item)
    return result + waiting


def _go_type(value: Any) -> str:
    """Return Go's %T of a decoded JSON value."""
    if isinstance(value, dict):
        return "map[string]interface {}"
    if value is None:
        return "<nil>"
    return {bool: "bool", str: "string", int: "int64"}.get(type(value), "float64")


def _go(value: Any) -> str:
    """Return Go's %v of a decoded JSON value."""
    if isinstance(value, Mapping):
        return "map[" + " ".join(f"{key}:{_go(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(_go(item) for item in value) + "]"
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
