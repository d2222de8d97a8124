"""What the type checker of validation rules knows of a schema: each object is a message type, each member a field.

The checker takes types as protobuf descriptors; they are made from the schema and never have instances, so rules are checked
against them and evaluated over plain JSON. What cannot be said that way (a list of lists, int-or-string) is of any type.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from itertools import count
from typing import Any

import orjson

from kubedyno.cluster.registry.celfunctions import environment, module
from kubedyno.cluster.registry.celnames import escaped
from kubedyno.cluster.registry.schema import EMBEDDED, INT_OR_STRING

Object = dict[str, Any]
# Of FieldDescriptorProto: types and labels.
_DOUBLE, _INT64, _BOOL, _STRING, _MESSAGE, _BYTES = 1, 3, 8, 9, 11, 12
_OPTIONAL, _REPEATED = 1, 3
_SCALARS = {"boolean": _BOOL, "integer": _INT64, "number": _DOUBLE, "string": _STRING}
_NAMED_TYPES = {"bool": "boolean", "int": "integer", "double": "number", "string": "string"}
_FORMATS = {"date": "Timestamp", "date-time": "Timestamp", "duration": "Duration"}
_WELL_KNOWN = "google.protobuf."
# No message has so many fields that their numbers reach those that protobuf keeps.
_MAX_FIELDS = 10_000
_KEPT = 256
_root_numbers = count(1)


@dataclass(frozen=True, slots=True)
class _Kind:
    """A type: a scalar, a message, a list or a map of one, or anything at all.

    Attributes:
        number: Of FieldDescriptorProto.
        name: Of a message.
        shape: "" for one value, "list" or "map".
        item: Of a list or a map.
    """

    number: int = _MESSAGE
    name: str = _WELL_KNOWN + "Value"
    shape: str = ""
    item: "_Kind | None" = None


_ANYTHING = _Kind()


def available() -> bool:
    """Say whether types can be described: protobuf is installed, as the extra `cel` has it."""
    return find_spec("google") is not None and find_spec("google.protobuf") is not None


def checker(raw: Object, *, resource: bool, optional_old: bool) -> Any:
    """Return an environment in which rules about values of a schema are compiled to check them.

    Args:
        raw: One node of a schema.
        resource: The node is a whole resource.
        optional_old: `oldSelf` is an optional.
    """
    return _checker(orjson.dumps(raw, option=orjson.OPT_SORT_KEYS), resource, optional_old)


@lru_cache(maxsize=_KEPT)
def _checker(raw: bytes, resource: bool, optional_old: bool) -> Any:
    types = _Types()
    root = types.of(orjson.loads(raw), types.root, resource=resource)
    own = types.cel_type(root or _ANYTHING)
    # The evaluator has no name for the type of an optional variable.
    old = module().Type.DYN if optional_old else own
    return environment({"self": own, "oldSelf": old}, pool=types.pool())


def described(schemas: Mapping[str, Object]) -> tuple[dict[str, Any], Any]:
    """Return the types of variables that schemas describe, and the pool of their messages."""
    types = _Types()
    return {
        name: types.cel_type(types.of(raw, f"type_{name}") or _ANYTHING) for name, raw in schemas.items()
    }, types.pool()


def schema_of(type_name: str) -> Object:
    """Return a schema of the values of a type, as Go writes it; of one that is none of JSON's: of any value."""
    if type_name in _NAMED_TYPES:
        return {"type": _NAMED_TYPES[type_name]}
    if type_name.startswith("list("):
        return {"type": "array", "items": schema_of(type_name[len("list(") : -1])}
    if type_name.startswith("map(string, "):
        return {"type": "object", "additionalProperties": schema_of(type_name[len("map(string, ") : -1])}
    return {INT_OR_STRING: True}


def readable(problem: str) -> str:
    """Return a checker's complaint with types as Go names them."""
    return re.sub(r"\b(selfType\d+)((?:\.\w+_)+)", lambda m: m[1] + m[2].replace("_.", ".")[:-1], problem)


class _Types:
    """Messages that are made of one schema; each is in the message of what holds it."""

    def __init__(self) -> None:
        self._descriptors = import_module("google.protobuf.descriptor_pb2")
        self._file = self._descriptors.FileDescriptorProto(name="schema.proto", syntax="proto2")
        self._file.dependency.extend(f"google/protobuf/{name}.proto" for name in ("struct", "timestamp", "duration"))
        self.root = f"selfType{next(_root_numbers)}"
        self._messages: dict[str, Any] = {}

    def pool(self) -> Any:
        """Return the pool of all messages."""
        pool = import_module("google.protobuf.descriptor_pool").DescriptorPool()
        for name in ("struct", "timestamp", "duration"):
            known = self._descriptors.FileDescriptorProto()
            import_module(f"google.protobuf.{name}_pb2").DESCRIPTOR.CopyToProto(known)
            pool.Add(known)
        pool.Add(self._file)
        return pool

    def of(self, raw: Object, name: str, *, resource: bool = False) -> _Kind | None:
        """Return the type of a node whose message, if it has one, gets a name; None: rules cannot name it."""
        kind = raw.get("type", "")
        if raw.get(INT_OR_STRING):
            return _ANYTHING
        if kind == "array":
            item = self.of(raw["items"], f"{name}_idx") if isinstance(raw.get("items"), dict) else None
            return None if item is None else _Kind(shape="list", item=item)
        if kind == "object":
            more = raw.get("additionalProperties")
            if isinstance(more, dict):
                item = self.of(more, f"{name}_elem")
                return None if item is None else _Kind(shape="map", item=item)
            return self._object(raw, name, resource=resource or bool(raw.get(EMBEDDED)))
        if kind == "string":
            form = raw.get("format", "")
            if form in _FORMATS:
                return _Kind(name=_WELL_KNOWN + _FORMATS[form])
            return _Kind(_BYTES if form == "byte" else _STRING)
        return _Kind(_SCALARS[kind]) if kind in _SCALARS else None

    def _object(self, raw: Object, name: str, *, resource: bool) -> _Kind:
        message = self._message(name)
        members = dict(raw.get("properties") or {})
        if resource:
            text = {"type": "string"}
            named = {"type": "object", "properties": {"name": text, "generateName": text}}
            members |= {"apiVersion": text, "kind": text, "metadata": named}
        for member, node in sorted(members.items())[:_MAX_FIELDS]:
            field = escaped(member)
            kind = self.of(node, f"{name}.{field}_") if field and isinstance(node, dict) else None
            if kind is None:
                continue
            self._add(message, field, kind, name)
            if field == f"__{member}__":
                # A word that CEL keeps for itself names a member, too.
                self._add(message, member, kind, name)
        return _Kind(name=name)

    def _message(self, name: str) -> Any:
        outer, _, own = name.rpartition(".")
        home = self._messages[outer].nested_type if outer in self._messages else self._file.message_type
        message = self._messages[name] = home.add(name=own)
        return message

    def _add(self, message: Any, name: str, kind: _Kind, place: str) -> None:
        field = message.field.add(name=name, number=len(message.field) + 1, label=_OPTIONAL)
        if kind.shape:
            field.label = _REPEATED
        item = kind.item or kind
        if item.shape:
            item = _ANYTHING
        if kind.shape == "map":
            entry = message.nested_type.add(name=_entry_of(name))
            entry.options.map_entry = True
            entry.field.add(name="key", number=1, type=_STRING, label=_OPTIONAL)
            _typed(entry.field.add(name="value", number=2, label=_OPTIONAL), item)
            item = _Kind(name=f"{place}.{entry.name}")
        _typed(field, item)

    def cel_type(self, kind: _Kind) -> Any:
        """Return a type as the evaluator has it."""
        cel = module()
        if kind.item is not None:
            item = self.cel_type(kind.item)
            return cel.Type.List(item) if kind.shape == "list" else cel.Type.Map(cel.Type.STRING, item)
        scalars = {
            _BOOL: cel.Type.BOOL, _INT64: cel.Type.INT, _DOUBLE: cel.Type.DOUBLE, _STRING: cel.Type.STRING,
            _BYTES: cel.Type.BYTES,
        }  # fmt: skip
        if kind.number in scalars:
            return scalars[kind.number]
        known = {"Value": cel.Type.DYN, "Timestamp": cel.Type.TIMESTAMP, "Duration": cel.Type.DURATION}
        found = known.get(kind.name.removeprefix(_WELL_KNOWN)) if kind.name.startswith(_WELL_KNOWN) else None
        return found or cel.Type(kind.name)


def _typed(field: Any, kind: _Kind) -> None:
    field.type = kind.number
    if kind.number == _MESSAGE:
        field.type_name = f".{kind.name}"


def _entry_of(name: str) -> str:
    """Return the name that protobuf wants a map's entries to have."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_")) + "Entry"
