"""Objects by their types, as server-side apply sees them: which fields there are, which changed, how two merge.

A type is a `Shape`. Values are never changed: what is returned may share parts with the arguments.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, NamedTuple

import orjson

from kubedyno.kube.fieldset import SELF, Fields, is_member, key_step, node, step_text, value_step
from kubedyno.kube.shapes import ANY, DEDUCED_MAP, Form, Shape

Json = Any
_LEAF: Fields = {}


class _Absent(Enum):
    """Says that a value is not there, which null is not."""

    ABSENT = 0


ABSENT: Final = _Absent.ABSENT


# --- steps -----------------------------------------------------------------------------------------------------


class _StepError(ValueError):
    """A list element that has no step."""


def _step_of(shape: Shape, item: Any) -> str:
    """Return the step to an element of a set or of a list with keys.

    Raises:
        _StepError: Its keys are missing, or it is no scalar.
    """
    if shape.form is Form.SET:
        if isinstance(item, dict | list) or item is None:
            what = "a map" if isinstance(item, dict) else "a list" if isinstance(item, list) else "null"
            raise _StepError(f"associative list without keys has an element that's {what} type")
        return value_step(item)
    if not isinstance(item, dict):
        raise _StepError("associative list with keys may not have non-map elements")
    keys = {}
    for name in shape.keys:
        value = item.get(name, shape.defaults.get(name))
        if value is not None:
            # Without one of several keys it is another element than those that have it.
            keys[name] = value
    if not keys:
        listed = " ".join(f'"{name}"' for name in shape.keys)
        raise _StepError(
            f"associative list with keys has an element that omits all key fields [{listed}] (and doesn't have default "
            "values for any key fields)"
        )
    return key_step(keys)


def _indexed(shape: Shape, items: list[Any]) -> dict[str, list[Any]]:
    """Return the elements of a list by their steps; an element that has none is nobody's."""
    found: dict[str, list[Any]] = {}
    for item in items:
        try:
            found.setdefault(_step_of(shape, item), []).append(item)
        except _StepError:
            continue
    return found


# --- validation ------------------------------------------------------------------------------------------------


def problems(shape: Shape, value: Any, path: str = "", *, duplicates: bool = False) -> list[str]:
    """Return why a value does not fit its shape.

    Args:
        shape: What it must be.
        value: What it is.
        path: Where it is, for the texts.
        duplicates: Elements with the same step are fine.
    """
    if value is None or shape.form in {Form.ANY, Form.DEDUCED}:
        return []
    if shape.form is Form.SCALAR:
        text = _scalar_problem(shape.scalar, value)
        return [f"{path}: {text}"] if text else []
    if shape.form in {Form.STRUCT, Form.MAP}:
        return _mapping_problems(shape, value, path, duplicates=duplicates)
    if not isinstance(value, list):
        return [f"{path}: expected list, got &{{{_go_text(value)}}}"]
    found: list[str] = []
    seen: set[str] = set()
    element = shape.element or ANY
    for i, item in enumerate(value):
        step = f"i:{i}"
        if shape.form is not Form.LIST:
            try:
                step = _step_of(shape, item)
            except _StepError as error:
                found.append(f"{path}: element {i}: {error}")
                continue
            if step in seen and not duplicates:
                found.append(f"{path}: duplicate entries for key {step_text(step)}")
            seen.add(step)
        found += problems(element, item, path + step_text(step), duplicates=duplicates)
    return found


def _mapping_problems(shape: Shape, value: Any, path: str, *, duplicates: bool) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path}: expected map, got &{{{_go_text(value)}}}"]
    found: list[str] = []
    unknown = ""
    for name, member in value.items():
        if shape.form is Form.STRUCT and name not in shape.fields and shape.element is None:
            unknown = f"{path}.{name}: field not declared in schema"
        else:
            found += problems(shape.inside(name), member, f"{path}.{name}", duplicates=duplicates)
    # The first of them ends Go's reading of the members, which is in no order.
    return [*found, unknown] if unknown else found


def _scalar_problem(kind: str, value: Any) -> str:
    if kind == "string":
        return "" if isinstance(value, str) else f"expected string, got {_go_value(value)}"
    if kind == "boolean":
        return "" if isinstance(value, bool) else f"expected boolean, got {_go_value(value)}"
    if kind == "numeric":
        if isinstance(value, int | float) and not isinstance(value, bool):
            return ""
        names = {str: "string", bool: "bool", dict: "map[string]interface {}", list: "[]interface {}"}
        return f"expected numeric (int or float), got {names[type(value)]}"
    return f"expected any scalar, got {_go_value(value)}" if isinstance(value, dict | list) else ""


def _go_text(value: Any) -> str:
    """Return Go's %v of a decoded JSON value."""
    if isinstance(value, dict):
        return f"map[{' '.join(f'{name}:{_go_text(value[name])}' for name in sorted(value))}]"
    if isinstance(value, list):
        return f"[{' '.join(map(_go_text, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return "<nil>" if value is None else str(value)


def _go_value(value: Any) -> str:
    return f"&value.valueUnstructured{{Value:{_go_literal(value)}}}"


def _go_literal(value: Any) -> str:
    """Return Go's %#v of a decoded JSON value."""
    if isinstance(value, dict):
        inside = ", ".join(f"{_go_literal(name)}:{_go_literal(value[name])}" for name in sorted(value))
        return f"map[string]interface {{}}{{{inside}}}"
    if isinstance(value, list):
        return f"[]interface {{}}{{{', '.join(map(_go_literal, value))}}}"
    if value is None:
        return "interface {}(nil)"
    return orjson.dumps(value).decode()


# --- which fields there are --------------------------------------------------------------------------------------


def field_set(shape: Shape, value: Any) -> Fields:
    """Return the fields that an applied object sets: its leaves, and the elements of its maps and lists."""
    result: Fields = {}
    shape = shape.of(value)
    if isinstance(value, dict) and shape.form in {Form.STRUCT, Form.MAP}:
        struct = shape.form is Form.STRUCT
        fields = shape.fields if struct else {}
        for name, member in value.items():
            inner = shape.inside(name)
            below, self_leaf = _below(inner, member)
            member_ = self_leaf or member is None or member == {} or not (struct and name in fields)
            found = node(member=member_, below=below)
            if found is not None:
                result[f"f:{name}"] = found
    elif isinstance(value, list) and shape.form in {Form.SET, Form.KEYED}:
        for step, items in _indexed(shape, value).items():
            below, _ = _below(shape.element or ANY, items[-1])
            found = node(member=True, below=below)
            assert found is not None
            result[step] = found
    return result


def _below(shape: Shape, value: Any) -> tuple[Fields, bool]:
    """Return the fields below a value, and whether the value is a leaf itself."""
    shape = shape.of(value)
    return (_LEAF, True) if shape.leaf else (field_set(shape, value), False)


def named_members(shape: Shape, fields: Fields) -> Fields:
    """Return a set with the struct fields in it that only lead to its members, e.g. `.spec` for `.spec.replicas`."""
    result: Fields = {}
    for step, below in fields.items():
        if step == SELF:
            continue
        named = step[0] == "f" and shape.form is Form.STRUCT and step[2:] in shape.fields
        if step[0] == "f":
            inner = shape.inside(step[2:]) if shape.form in {Form.STRUCT, Form.MAP} else shape
        else:
            inner = shape.element or ANY
        found = node(member=is_member(below) or named, below=named_members(inner, below))
        assert found is not None
        result[step] = found
    return result


# --- what changed --------------------------------------------------------------------------------------------------


class Comparison(NamedTuple):
    """The fields in which two versions of an object differ."""

    added: Fields
    modified: Fields
    removed: Fields

    @property
    def same(self) -> bool:
        return not (self.added or self.modified or self.removed)


_SAME = Comparison({}, {}, {})


@dataclass(slots=True)
class _Difference:
    """The parts of a comparison below one step; None where there is nothing."""

    added: Fields | None = None
    modified: Fields | None = None
    removed: Fields | None = None


_NO_DIFFERENCE = _Difference()


def compare(shape: Shape, old: Any, new: Any) -> Comparison:
    """Return in which fields two versions differ.

    Args:
        shape: Of both.
        old: One version.
        new: The other version.
    """
    if old == new:
        return _SAME
    found = _differences(shape, old, new)
    return Comparison(found.added or {}, found.modified or {}, found.removed or {})


def _leaf_difference(old: Any, new: Any) -> _Difference:
    if old is ABSENT:
        return _Difference(added=_LEAF)
    if new is ABSENT:
        return _Difference(removed=_LEAF)
    if old != new or (type(old) is bool) != (type(new) is bool):
        return _Difference(modified=_LEAF)
    return _NO_DIFFERENCE


def _difference(shape: Shape, old: Any, new: Any) -> _Difference:
    """Return the difference at one step, the step itself included."""
    open_ = shape.form is Form.DEDUCED
    shape = shape.of(old, new)
    if shape.leaf:
        return _leaf_difference(old, new)
    if type(old) is type(new) and old == new:
        return _NO_DIFFERENCE
    if (old is ABSENT or not old) and (new is ABSENT or not new):
        return _leaf_difference(old, new)
    found = _differences(shape, old, new)
    if old is ABSENT:
        found.added = node(member=True, below=found.added or {})
    elif new is ABSENT:
        found.removed = node(member=True, below=found.removed or {})
    elif open_ and isinstance(old, dict) is not isinstance(new, dict):
        # What was one value has parts now, or the other way round, be there none.
        found.modified = node(member=True, below=found.modified or {})
    return found


def _differences(shape: Shape, old: Any, new: Any) -> _Difference:
    """Return the differences below a value."""
    parts: list[tuple[str, _Difference]] = []
    if shape.form in {Form.STRUCT, Form.MAP}:
        before = old if isinstance(old, dict) else {}
        after = new if isinstance(new, dict) else {}
        for name, value in after.items():
            was = before.get(name, ABSENT)
            if type(was) is not type(value) or was != value:
                parts.append((f"f:{name}", _difference(shape.inside(name), was, value)))
        for name, value in before.items():
            if name not in after:
                parts.append((f"f:{name}", _difference(shape.inside(name), value, ABSENT)))
    else:
        element = shape.element or ANY
        left = _indexed(shape, old if isinstance(old, list) else [])
        right = _indexed(shape, new if isinstance(new, list) else [])
        steps = [*left, *(step for step in right if step not in left)]
        parts = [(step, _element_difference(element, left.get(step, []), right.get(step, []))) for step in steps]
    added: Fields = {}
    modified: Fields = {}
    removed: Fields = {}
    for step, part in parts:
        if part.added is not None:
            added[step] = part.added
        if part.modified is not None:
            modified[step] = part.modified
        if part.removed is not None:
            removed[step] = part.removed
    return _Difference(added or None, modified or None, removed or None)


def _element_difference(element: Shape, left: list[Any], right: list[Any]) -> _Difference:
    """Return the difference of the elements with one step: usually one on each side."""
    if len(left) <= 1 and len(right) <= 1:
        return _difference(element, left[0] if left else ABSENT, right[0] if right else ABSENT)
    if len(left) > 1 and len(right) > 1:
        return _NO_DIFFERENCE if left == right else _Difference(modified=_LEAF)
    if len(left) > 1:
        # They are counted as one thing that goes; what remains is new.
        found = _difference(element, ABSENT, right[0]) if right else _Difference()
        return _Difference(found.added, found.modified, node(member=True, below=found.removed or {}))
    found = _difference(element, left[0], ABSENT) if left else _Difference()
    return _Difference(node(member=True, below=found.added or {}), found.modified, found.removed)


# --- merging -------------------------------------------------------------------------------------------------------


def merge(shape: Shape, live: Any, patch: Any) -> Any:
    """Return an object with an applied one merged into it; what the applied one leaves out stays."""
    if patch is ABSENT:
        return live
    # What was one value and has parts now, or the other way round, is another one.
    if shape.form is Form.DEDUCED and isinstance(live, dict) is not isinstance(patch, dict):
        return patch
    shape = shape.of(live, patch)
    if live is ABSENT or shape.leaf:
        return patch
    if not live and not patch:
        return patch
    if shape.form in {Form.STRUCT, Form.MAP}:
        merged = dict(live) if isinstance(live, dict) else {}
        for name, value in patch.items() if isinstance(patch, dict) else ():
            merged[name] = merge(shape.inside(name), merged.get(name, ABSENT), value)
        return merged
    return _merge_list(shape, live if isinstance(live, list) else [], patch if isinstance(patch, list) else [])


def _merge_list(shape: Shape, live: list[Any], patch: list[Any]) -> list[Any]:
    """Merge lists by their steps: in the patch's order, with what only the live one has kept in its place."""
    wanted = {_step_of(shape, item): item for item in patch}
    there = [(_step_or_none(shape, item), item) for item in live]
    live_by_step: dict[str | None, Any] = {}
    for step, item in there:
        # Of elements that are there twice none is merged into.
        live_by_step[step] = ABSENT if step in live_by_step else item
    shared = [step for step in wanted if step in live_by_step]
    element = shape.element or ANY
    merged: list[Any] = []
    done: set[str | None] = set()
    position, next_shared = 0, 0
    for step, item in wanted.items():
        while position < len(there):
            head, kept = there[position]
            if head is None or head not in wanted:
                merged.append(kept)
            elif head not in done and next_shared < len(shared) and head == shared[next_shared]:
                break
            position += 1
        merged.append(merge(element, live_by_step.get(step, ABSENT), item))
        done.add(step)
        if position < len(there) and there[position][0] == step:
            position += 1
        if next_shared < len(shared) and shared[next_shared] == step:
            next_shared += 1
    merged += [kept for head, kept in there[position:] if head is None or head not in wanted]
    return merged


def _step_or_none(shape: Shape, item: Any) -> str | None:
    try:
        return _step_of(shape, item)
    except _StepError:
        return None


def remove(shape: Shape, value: Any, fields: Fields) -> Any:
    """Return a value without the fields of a set; null where nothing remains of a list, or there was nothing."""
    shape = shape.of(value)
    if shape.form is Form.SCALAR or shape.form is Form.ANY:
        return value
    if shape.leaf or not value:
        return None
    if shape.form in {Form.STRUCT, Form.MAP}:
        if not isinstance(value, dict):
            return None
        kept: dict[str, Any] = {}
        for name, member in value.items():
            below = fields.get(f"f:{name}")
            if below is None:
                kept[name] = member
            elif not is_member(below):
                kept[name] = remove(shape.inside(name), member, below)
        # A map that had members is an empty one without them.
        return kept
    items = []
    for item in value if isinstance(value, list) else ():
        step = _step_or_none(shape, item)
        below = fields.get(step) if step is not None else None
        if below is None:
            items.append(item)
        elif not is_member(below):
            items.append(remove(shape.element or ANY, item, below))
    return items or None


# --- structure -----------------------------------------------------------------------------------------------------


def structure(shape: Shape, value: Any, into: list[Any], elements: list[Any]) -> None:
    """Tell what tells the field sets of two objects apart: names, and how many elements lists have in which order.

    Args:
        shape: Of the value.
        value: A struct, map or list that is no leaf.
        into: Receives hashable parts.
        elements: Receives the keys of each element of a list with keys, in the order of `element_paths`, each as the
            arguments of `element_step`. None stands for one that has none of its own.
    """
    if type(value) is dict:
        names = tuple(value)
        into.append(names)
        for name, inner in (shape if shape.form is not Form.DEDUCED else DEDUCED_MAP).descents(names):
            structure(inner, value[name], into, elements)
    elif shape.form is Form.DEDUCED:
        into.append(value is None)
    elif type(value) is not list:
        into.append(value)
    elif shape.form is not Form.KEYED:
        if any(type(item) in _NO_KEYS for item in value):
            # No set: none to remember.
            elements.append(None)
            return
        into.extend(value)
        into.append(len(value))
    else:
        keys = [_key_values(shape, item) for item in value]
        into.append(len(keys))
        if len(keys) > 1:
            known = None not in keys and len(set(keys)) == len(keys)
            into.append(_order(keys) if known else None)
            if not known:
                elements.append(None)
        element, names = shape.element or ANY, shape.keys
        for key, item in zip(keys, value, strict=True):
            elements.append(None if key is None else (names, key))
            structure(element, item, into, elements)


def _order(keys: list[Any]) -> tuple[int, ...]:
    """Return the places of elements in the order of their keys."""
    try:
        return tuple(sorted(range(len(keys)), key=keys.__getitem__))
    except TypeError:  # Keys of several types: of an object that is not valid.
        return tuple(sorted(range(len(keys)), key=lambda place: repr(keys[place])))


def _key_values(shape: Shape, item: Any) -> tuple[Any, ...] | None:
    """Return an element's keys in the order of their names, None when it lacks one."""
    if type(item) is not dict:
        return None
    if len(shape.keys) == 1:
        value = item.get(shape.keys[0])
        return None if value is None or type(value) in _NO_KEYS else (value,)
    found = tuple(item.get(name, shape.defaults.get(name)) for name in shape.keys)
    return None if None in found or any(type(value) in _NO_KEYS for value in found) else found


# What a client may give for a key though it can be none.
_NO_KEYS = frozenset({dict, list})


def element_step(names: tuple[str, ...], values: tuple[Any, ...]) -> str:
    """Return the step to an element of a list with keys."""
    return key_step(dict(zip(names, values, strict=True)))


def element_paths(shape: Shape, value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the paths of the elements of lists with keys, in the order in which `structure` meets them.

    Args:
        shape: Of the value.
        value: A struct, map or list whose elements all have keys of their own.
        path: Of the value.
    """
    found: list[tuple[str, ...]] = []
    if isinstance(value, dict):
        for name, inner in (shape if shape.form is not Form.DEDUCED else DEDUCED_MAP).descents(tuple(value)):
            found += element_paths(inner, value[name], (*path, f"f:{name}"))
    elif isinstance(value, list) and shape.form is Form.KEYED:
        for item in value:
            here = (*path, _step_of(shape, item))
            found.append(here)
            found += element_paths(shape.element or ANY, item, here)
    return found
