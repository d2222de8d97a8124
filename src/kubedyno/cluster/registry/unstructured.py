"""What the result of a strategic merge patch has that does not fit its type, in the words of Go's converter.

The real server makes a typed object of the patched mapping without writing JSON on the way, so that it words a wrong type
otherwise than a decoder of JSON.
"""

from functools import cache
from typing import Any

from kubedyno.cluster.registry.structure import base64_fault
from kubedyno.kube.gostructs import OWN_JSON, Member, members_of
from kubedyno.kube.quantity import Quantity
from kubedyno.kube.resources import vocabulary

_KINDS: dict[type, str] = {str: "string", bool: "bool", int: "int64", float: "float64", list: "slice", dict: "map"}
_JSON: dict[type, str] = {str: "string", bool: "bool", int: "number", float: "number", list: "array", dict: "object"}
_NUMBERS = frozenset({"int32", "int64", "float64"})


def misfit(api_version: str, kind: str, obj: dict[str, Any], patch: dict[str, Any]) -> str:
    """Return what is wrong with the types in an object of a built-in kind, "" when nothing is.

    Args:
        api_version: Of the object.
        kind: Likewise.
        obj: What a patch made of an object that fitted.
        patch: The patch: what it says nothing of is not looked at.
    """
    return _of_struct(vocabulary()["kinds"].get(f"{api_version}/{kind}", ""), obj, patch)


def whole_numbers(value: Any) -> Any:
    """Return JSON with whole numbers for those that were written with a fraction of nothing, as the converter does."""
    if isinstance(value, dict):
        return {name: whole_numbers(member) for name, member in value.items()}
    if isinstance(value, list):
        return [whole_numbers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _of_struct(struct: str, value: Any, patch: Any = None) -> str:
    """Return what is wrong with a struct: with all of it where a patch has directives, or is none."""
    chosen = isinstance(patch, dict) and not any(name.startswith("$") for name in patch)
    if not isinstance(value, dict):
        return f"cannot restore struct from: {_KINDS[type(value)]}"
    members = _placed(struct)
    faults = [
        (members[name][0], wrong)
        for name, given in value.items()
        if given is not None
        and name in members
        and (not chosen or name in patch)
        and (wrong := _of_member(members[name][1], given, patch[name] if chosen else None))
    ]
    return min(faults)[1] if faults else ""


@cache
def _placed(struct: str) -> dict[str, tuple[int, Member]]:
    """Return a struct's members by name, those of structs embedded in it too, each with its place: the first is told."""
    placed: dict[str, tuple[int, Member]] = {}
    for member in members_of(struct):
        found = [each for _, each in _placed(member.struct).values()] if not member.name else [member]
        for each in found:
            placed.setdefault(each.name, (len(placed), each))
    return placed


def _of_member(member: Member, value: Any, patch: Any) -> str:
    if member.container == "l":
        if not isinstance(value, list):
            return f"cannot restore slice from {_KINDS[type(value)]}"
        return next(filter(None, (_of_item(member, item) for item in value if item is not None)), "")
    if member.container == "m":
        if not isinstance(value, dict):
            return f"cannot restore map from {_KINDS[type(value)]}"
        return next(filter(None, (_of_item(member, item) for item in value.values() if item is not None)), "")
    return _of_item(member, value, patch)


def _of_item(member: Member, value: Any, patch: Any = None) -> str:
    if member.struct in OWN_JSON:
        return _of_own(member.struct, value)
    if member.struct:
        return _of_struct(member.struct, value, patch)
    found, wanted = _KINDS[type(value)], member.scalar
    if wanted == "bytes":
        fault = base64_fault(value) if found == "string" else ""
        if fault:
            return f"error decoding from json: {fault}"
        return "" if found in {"string", "slice"} else f"cannot restore slice from {found}"
    if wanted not in {*_NUMBERS, "string", "bool"} or found == wanted:
        return ""
    if wanted in _NUMBERS and found in _NUMBERS:
        whole = found != "float64" or value.is_integer() or wanted == "float64"
        return "" if whole else f"cannot convert float64 to {_type_text(member)}"
    if found == "int64" and wanted == "string":
        return f"cannot convert int64 to {_type_text(member)}"
    return f"unrecognized type: {wanted}"


def _type_text(member: Member) -> str:
    text = member.text
    return text[text.index("]") + 1 :] if member.container and "]" in text else text


def _of_own(struct: str, value: Any) -> str:
    """Return what is wrong with a value that reads its JSON itself."""
    found = _JSON[type(value)]
    if struct == "util.intstr.IntOrString":
        whole = found == "number" and not (isinstance(value, float) and not value.is_integer())
        if found == "string" or whole:
            return ""
        return f"json: cannot unmarshal {found if found != 'number' else f'number {value}'} into Go value of type int32"
    if struct in {"meta.v1.Time", "meta.v1.MicroTime"} and found != "string":
        return f"json: cannot unmarshal {found} into Go value of type string"
    if struct == "api.resource.Quantity":
        try:
            Quantity.parse(str(value) if found in {"string", "number"} else "")
        except ValueError as error:
            return str(error)
    return ""
