"""JSON patch and merge patch, with the texts of the real server; strategic ones are in `strategicpatch`.

Documents are never changed: each function returns a new one that may share parts with the old.
"""

from copy import deepcopy
from typing import Any


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
