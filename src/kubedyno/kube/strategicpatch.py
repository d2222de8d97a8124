"""Strategic merge patches: merge keys, `$patch`, `$setElementOrder`, `$retainKeys` and `$deleteFromPrimitiveList`.

A patch is consumed as it is applied: directives and what they brought are gone from it, nulls of what was not there too.
The rest is what the real server shows when the result fits no type.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson

from kubedyno.kube.patch import PatchError
from kubedyno.kube.resources import Resource, vocabulary

Json = dict[str, Any]
_PATCH, _ORDER, _DELETE, _RETAIN = "$patch", "$setElementOrder", "$deleteFromPrimitiveList", "$retainKeys"
# In the place of a key that is not there.
_ABSENT = object()
# From here on Go writes an exponent.
_PLAIN_EXPONENT = 6


class MalformedPatchError(PatchError):
    """A directive that is malformed in itself: the client's fault."""


class UnprocessablePatchError(PatchError):
    """A patch that asks for what cannot be done."""


@dataclass(frozen=True, slots=True)
class _Schema:
    """What is known of a place in an object.

    Attributes:
        name: The struct's in the vocabulary, "" for maps and scalars.
        fields: JSON name → [container, type, more] of a struct.
        strategy: How it is patched: "merge", "replace" or "".
        merge_key: Of a list of structs that is merged.
    """

    name: str = ""
    fields: Mapping[str, Any] | None = None
    strategy: str = ""
    merge_key: str = ""

    def at(self, name: str) -> "_Schema":
        """Return the schema of a member; of its items when it is a list.

        Raises:
            PatchError: There is none: nothing says how to merge.
        """
        if self.fields is None and not self.name:
            raise PatchError("merging an object in json but data type is not struct, instead is: map")
        shape = (self.fields or {}).get(name)
        if shape is None:
            struct = self.name.rpartition(".")[2]
            raise PatchError(f'unable to find api field in struct {struct} for the json field "{name}"')
        more = shape[2] if len(shape) > 2 else {}
        strategies = [each for each in more.get("st", "").split(",") if each != "retainKeys"]
        below = shape[1] if isinstance(shape[1], str) and shape[1].startswith("#") and shape[0] in {"", "l"} else ""
        return _schema_of(below[1:], strategies[0] if strategies else "", more.get("mk", ""))


def _schema_of(struct: str, strategy: str = "", merge_key: str = "") -> _Schema:
    entry = vocabulary()["types"].get(struct)
    return _Schema(struct, None if entry is None else entry.get("f"), strategy, merge_key)


def strategic_merge_patch(document: Json, patch: Any, resource: Resource) -> Json:
    """Apply a strategic merge patch with the merge keys of a built-in kind.

    Raises:
        PatchError: A directive or a list element is malformed.
    """
    return strategic_of_kind(document, patch, resource.api_version, resource.kind)[0]


def strategic_of_kind(document: Json, patch: Any, api_version: str, kind: str) -> tuple[Json, Json]:
    """Apply a strategic merge patch to an object of a kind.

    Args:
        document: The object; it is not changed, nor is the patch.
        patch: JSON.
        api_version: Of the object.
        kind: Likewise.

    Returns:
        The patched object, and what is left of the patch.

    Raises:
        PatchError: A directive or a list element is malformed.
    """
    if patch is None:
        return document, {}
    if not isinstance(patch, dict):
        raise MalformedPatchError("invalid JSON document")
    name = vocabulary()["kinds"].get(f"{api_version}/{kind}", "")
    left = _copied(patch)
    return _merge_mapping(_copied(document), left, _schema_of(name)), left


def _copied(document: Json) -> Json:
    """Return a copy: through JSON, in a tenth of the time that deepcopy takes."""
    copied: Json = orjson.loads(orjson.dumps(document))
    return copied


def _merge_mapping(original: Json, patch: Json, schema: _Schema) -> Json:
    if _PATCH in patch:
        return _directed(patch)
    _retain(original, patch)
    _order_lists(original, patch, schema)
    for key, value in list(patch.items()):
        deletes = key.startswith(_DELETE)
        name = _field_of(key, _DELETE, "primitive list") if deletes else key
        if value is None:
            original.pop(name, None)
            continue
        before = original.get(name)
        if type(before) is not type(value):
            # Nothing to merge with.
            if not deletes:
                _discard_nulls(value)
                _put(original, name, value)
        elif isinstance(value, dict):
            below = schema.at(name)
            original[name] = value if below.strategy == "replace" else _merge_mapping(original[name], value, below)
        elif isinstance(value, list):
            original[name] = _patched_list(original[name], value, schema.at(name), deletes=deletes)
        else:
            original[name] = value
    return original


def _directed(patch: Json) -> Json:
    """Return what a mapping with a directive stands for."""
    directive = patch[_PATCH]
    if directive == "replace":
        del patch[_PATCH]
        return patch
    if directive == "delete":
        return {}
    raise PatchError(f"unknown patch type: {go_text(directive)} in map: {go_text(patch)}")


def _field_of(key: str, prefix: str, what: str) -> str:
    before, slash, name = key.partition("/")
    if not slash or before != prefix:
        raise MalformedPatchError(f"invalid patch format of {what}")
    return name


def _retain(original: Json, patch: Json) -> None:
    """Take away what a patch does not want to be retained."""
    if _RETAIN not in patch:
        return
    keep = patch.pop(_RETAIN)
    malformed = MalformedPatchError("invalid patch format of retainKeys")
    if not isinstance(keep, list):
        raise malformed
    for key, value in patch.items():
        if value is not None and not key.startswith((_DELETE, _ORDER)) and key not in keep:
            raise malformed
    for key in [key for key in original if key not in keep]:
        del original[key]


def _put(original: Json, name: str, value: Any) -> None:
    """Set a member to what a patch brings, without directives."""
    kept, plain = _without_directives(value)
    if kept:
        original[name] = plain
    else:
        original.pop(name, None)


def _without_directives(value: Any) -> tuple[bool, Any]:
    """Return whether anything stays of a value, and what."""
    if isinstance(value, dict):
        if _PATCH in value:
            return False, None
        for key in list(value):
            kept, value[key] = _without_directives(value[key])
            if not kept:
                del value[key]
        return True, value
    if isinstance(value, list):
        return True, [plain for kept, plain in map(_without_directives, value) if kept]
    return True, value


def _discard_nulls(value: Any) -> None:
    if isinstance(value, dict):
        for key in list(value):
            if value[key] is None:
                del value[key]
            else:
                _discard_nulls(value[key])
    elif isinstance(value, list):
        for item in value:
            _discard_nulls(item)


# --- lists -----------------------------------------------------------------------------------------------------


def _order_lists(original: Json, patch: Json, schema: _Schema) -> None:
    """Merge and sort the lists that a patch gives the order of."""
    for key in [key for key in patch if key.startswith(_ORDER)]:
        order = patch.pop(key)
        _check_list(order)
        name = _field_of(key, _ORDER, "setElementOrder list")
        there, given = original.get(name, ()), patch.get(name, ())
        for values, found in ((there, name in original), (given, name in patch)):
            if found:
                _check_list(values)
        below = schema.at(name)
        _check_order(given, order, below.merge_key)
        if name not in original and name not in patch:
            continue
        if name not in patch:
            merged = list(there)
        elif name not in original:
            merged = _without_directives(given)[1]
        else:
            merged = _patched_list(there, given, below, deletes=False)
        _check_elements(there, given)
        original[name] = _sorted(merged, order, list(there), below.merge_key)
        patch.pop(name, None)


def _check_list(value: Any) -> None:
    if not isinstance(value, list):
        raise PatchError(f"expected a []interface {{}}, but received a {_go_type(value)}")


def _check_order(given: Any, order: list[Any], merge_key: str) -> None:
    """Check that a patch's list has only what its order names, in this order."""
    if not order or not given:
        return
    left = [item for item in given if not _directive_of(item)] if merge_key else list(given)
    at = 0
    for wanted in order:
        while at < len(left) and merge_key and _directive_of(left[at]):
            at += 1
        if at < len(left) and _same(_key(left[at], merge_key), _key(wanted, merge_key)):
            at += 1
    if at < len(left):
        raise PatchError(
            f"The order in patch list:\n{go_text(given)}\n doesn't match {_ORDER} list:\n{go_text(order)}\n"
        )


def _directive_of(item: Any) -> Any:
    if not isinstance(item, dict):
        raise PatchError(f"expected a map[string]interface {{}}, but received a {_go_type(item)}")
    return item.get(_PATCH)


def _key(item: Any, merge_key: str) -> Any:
    """Return what tells an item of a list from the others."""
    if not merge_key:
        return item
    if not isinstance(item, dict):
        raise PatchError(f"expected a map[string]interface {{}}, but received a {_go_type(item)}")
    if merge_key not in item:
        raise PatchError(f"map: {go_text(item)} does not contain declared merge key: {merge_key}")
    return item[merge_key]


def _check_elements(*lists: Any) -> bool:
    """Check that the items of lists are of one type; return whether they are mappings."""
    items = [item for values in lists for item in values]
    if not items:
        raise PatchError("no elements in any of the given slices")
    if isinstance(items[0], list):
        raise UnprocessablePatchError("lists of lists are not supported")
    if any(type(item) is not type(items[0]) for item in items):
        raise PatchError(f"list element types are not identical: {go_text([list(values) for values in lists])}")
    return isinstance(items[0], dict)


def _patched_list(original: list[Any], patch: list[Any], schema: _Schema, *, deletes: bool) -> list[Any]:
    if schema.strategy != "merge" and not deletes:
        return patch
    if not original and not patch:
        return original
    if not _check_elements(original, patch):
        if deletes:
            gone = _Places(patch)
            return [item for item in original if gone.of(item) < 0]
        merged: list[Any] = []
        there = _Places()
        for item in [*original, *patch]:
            if there.of(item) < 0:
                there.add(item)
                merged.append(item)
        return _sorted(merged, patch, original, schema.merge_key)
    if not schema.merge_key:
        raise PatchError(f"cannot merge lists without merge key for {schema.name.rpartition('.')[2]}")
    original, plain = _special(original, patch, schema.merge_key)
    merged = list(original)
    places = _Places(item.get(schema.merge_key, _ABSENT) for item in merged)
    for item in plain:
        key = _key(item, schema.merge_key)
        place = places.of(key)
        if place < 0:
            places.add(key)
            merged.append(item)
        else:
            merged[place] = _merge_mapping(merged[place], item, schema)
    return _sorted(merged, plain, original, schema.merge_key)


def _special(original: list[Any], patch: list[Any], merge_key: str) -> tuple[list[Any], list[Any]]:
    """Return a list without what a patch deletes of it, and the patch without directives."""
    plain, replaces, gone = [], False, _Places()
    for item in patch:
        directive = item.get(_PATCH)
        if _PATCH not in item:
            plain.append(item)
        elif directive == "delete":
            gone.add(_key(item, merge_key))
        elif directive == "replace":
            replaces = True
        elif directive == "merge":
            raise PatchError("merging lists cannot yet be specified in the patch")
        else:
            raise PatchError(f"unknown patch type: {go_text(directive)} in map: {go_text(item)}")
    if replaces:
        return plain, []
    return [entry for entry in original if gone.of(entry.get(merge_key, _ABSENT)) < 0], plain


def _sorted(merged: list[Any], order: list[Any], original: list[Any], merge_key: str) -> list[Any]:
    """Return a list in the order that is asked for; what only the server has keeps its place among the others."""
    wanted = _Places(_key(item, merge_key) for item in order)
    known = _Places(_lenient(item, merge_key) for item in original)
    inside: list[tuple[int, Any]] = []
    outside: list[tuple[int, Any]] = []
    for item in merged:
        key = _key(item, merge_key)
        place = wanted.of(key)
        if place < 0:
            outside.append((known.of(key), item))
        else:
            inside.append((place, item))
    inside.sort(key=lambda each: each[0])
    outside.sort(key=lambda each: each[0])
    result: list[Any] = []
    waiting = iter(outside)
    own = next(waiting, None)
    for _, item in inside:
        place = known.of(_key(item, merge_key))
        while own is not None and place >= 0 and 0 <= own[0] < place:
            result.append(own[1])
            own = next(waiting, None)
        result.append(item)
    if own is not None:
        result.append(own[1])
    return result + [item for _, item in waiting]


def _lenient(item: Any, merge_key: str) -> Any:
    return item.get(merge_key) if merge_key and isinstance(item, dict) else item


class _Places:
    """The first place of each key in a list, found at once however long a client makes it.

    Args:
        keys: Of the list; those that are lists or maps themselves are looked for one by one.
    """

    def __init__(self, keys: Iterable[Any] = ()) -> None:
        self._first: dict[tuple[type, Any], int] = {}
        self._nested: list[tuple[int, Any]] = []
        self._count = 0
        for key in keys:
            self.add(key)

    def add(self, key: Any) -> None:
        """Add a key at the end."""
        if isinstance(key, dict | list):
            self._nested.append((self._count, key))
        else:
            self._first.setdefault((type(key), key), self._count)
        self._count += 1

    def of(self, key: Any) -> int:
        """Return the place of a key, -1 when it is not there."""
        if isinstance(key, dict | list):
            return next((place for place, each in self._nested if _same(each, key)), -1)
        return self._first.get((type(key), key), -1)


def _same(a: Any, b: Any) -> bool:
    """Say whether two values are one in Go: 1, 1.0 and true are three."""
    return type(a) is type(b) and bool(a == b)


# --- Go's texts ------------------------------------------------------------------------------------------------


def _go_type(value: Any) -> str:
    """Return Go's %T of a decoded JSON value."""
    if isinstance(value, dict):
        return "map[string]interface {}"
    if isinstance(value, list):
        return "[]interface {}"
    if value is None:
        return "%!s(<nil>)"
    return {bool: "bool", str: "string", int: "int64"}.get(type(value), "float64")


def go_text(value: Any) -> str:
    """Return Go's %v of a decoded JSON value."""
    if isinstance(value, Mapping):
        return "map[" + " ".join(f"{key}:{go_text(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list | tuple):
        return "[" + " ".join(go_text(item) for item in value) + "]"
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _float_text(value) if isinstance(value, float) else str(value)


def _float_text(value: float) -> str:
    digits = Decimal(repr(value)).normalize()
    exponent = digits.adjusted()
    if -4 <= exponent < _PLAIN_EXPONENT:
        return f"{digits:f}"
    sign, figures, _ = digits.as_tuple()
    mantissa = "".join(map(str, figures))
    mantissa = mantissa[0] + ("." + mantissa[1:] if len(mantissa) > 1 else "")
    return f"{'-' if sign else ''}{mantissa}e{'-' if exponent < 0 else '+'}{abs(exponent):02}"
