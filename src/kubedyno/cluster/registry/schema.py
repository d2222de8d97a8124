"""Structural schemas of custom resources, compiled: what is kept of an object, and what is filled in.

A schema is compiled once per version of a definition; objects then pass through `prune` and `fill`, which change
them in place. Validation of what remains is in `schemavalidation`.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from kubedyno.cluster.registry.celnames import escaped

Object = dict[str, Any]
PRESERVE = "x-kubernetes-preserve-unknown-fields"
INT_OR_STRING = "x-kubernetes-int-or-string"
EMBEDDED = "x-kubernetes-embedded-resource"
LIST_TYPE = "x-kubernetes-list-type"
LIST_KEYS = "x-kubernetes-list-map-keys"
MAP_TYPE = "x-kubernetes-map-type"
RULES = "x-kubernetes-validations"
# What every resource has, whatever its schema says.
_TYPE_META = frozenset({"apiVersion", "kind", "metadata"})
_ABSENT = object()
# Formats of texts that CEL has types for.
FORMATS = {"date": "timestamp", "date-time": "timestamp", "duration": "duration", "byte": "byte"}
# There was no such value before.
NOTHING: Any = object()


class Schema:
    """One node of a structural schema.

    Args:
        raw: The node as a definition has it (openAPIV3Schema).
        resource: The node is a whole resource: its type and metadata are not the schema's business.

    Attributes:
        raw: As given; never changed.
        properties: Name → node.
        additional: The node of all other members; True: any; False or None: none.
        items: The node of a list's items.
        preserve: Unknown members stay.
        nullable: null is a value.
        has_default: `default` is what an absent member gets.
        ruled: It or some node below has validation rules.
        embeds: It or some node below is a whole resource.
        timed: There are times or durations below it.
        translated: Expressions see a value of it otherwise than JSON has it.
    """

    __slots__ = (
        "additional", "default", "embedded", "embeds", "has_default", "int_or_string", "items", "nullable", "preserve",
        "properties", "raw", "resource", "ruled", "timed", "translated",
    )  # fmt: skip

    def __init__(self, raw: Object, *, resource: bool = False) -> None:
        self.raw = raw
        self.embedded = bool(raw.get(EMBEDDED))
        self.resource = resource or self.embedded
        self.preserve = bool(raw.get(PRESERVE))
        self.int_or_string = bool(raw.get(INT_OR_STRING))
        self.nullable = bool(raw.get("nullable"))
        self.has_default = raw.get("default") is not None
        self.default = raw.get("default")
        self.properties = {name: Schema(node) for name, node in (raw.get("properties") or {}).items()}
        more = raw.get("additionalProperties")
        self.additional: Schema | bool | None = Schema(more) if isinstance(more, dict) else more
        items = raw.get("items")
        self.items = Schema(items) if isinstance(items, dict) else None
        self.ruled: bool = bool(raw.get(RULES)) or any(node.ruled for node in self._nodes())
        self.embeds: bool = self.embedded or any(node.embeds for node in self._nodes())
        self.timed: bool = any(node.timed or node.raw.get("format") in FORMATS for node in self._nodes())
        kind, named = raw.get("type"), any(escaped(name) != name for name in self.properties)
        self.translated: bool = (
            named or kind == "number" or (kind == "string" and raw.get("format") == "byte")
        ) or any(node.translated for node in self._nodes())

    def _nodes(self) -> Iterator["Schema"]:
        yield from self.properties.values()
        if isinstance(self.additional, Schema):
            yield self.additional
        if self.items is not None:
            yield self.items

    # --- pruning -----------------------------------------------------------------------------------------------

    def prune(self, value: Any, path: str, unknown: list[str]) -> None:
        """Take out of a value what the schema does not know, in place.

        Args:
            value: JSON.
            path: Its place: "" for the whole object, else e.g. "spec".
            unknown: Receives the paths of what was taken out.
        """
        if isinstance(value, dict):
            self._prune_members(value, path, unknown)
        elif isinstance(value, list) and self.items is not None:
            for i, item in enumerate(value):
                self.items.prune(item, f"{path}[{i}]", unknown)
        elif isinstance(value, list) and not self.preserve:
            for i, item in enumerate(value):
                _EMPTY.prune(item, f"{path}[{i}]", unknown)

    def _prune_members(self, value: Object, path: str, unknown: list[str]) -> None:
        dot = f"{path}." if path else ""
        for name in list(value):
            if self.resource and name in _TYPE_META:
                continue
            node = self.properties.get(name)
            if node is not None:
                node.prune(value[name], dot + name, unknown)
            elif isinstance(self.additional, Schema):
                self.additional.prune(value[name], dot + name, unknown)
            elif not self.preserve and self.additional is not True:
                unknown.append(dot + name)
                del value[name]

    # --- defaults ----------------------------------------------------------------------------------------------

    def fill(self, value: Any) -> None:
        """Fill in defaults, in place; null where null is no value becomes the default, or goes."""
        if isinstance(value, dict):
            for name, node in self.properties.items():
                if node.has_default and (name not in value or (value[name] is None and not node.nullable)):
                    value[name] = copy.deepcopy(node.default)
            for name in list(value):
                if self.resource and name in _TYPE_META:
                    continue
                self._fill_member(value, name)
        elif isinstance(value, list) and self.items is not None:
            for i, item in enumerate(value):
                if item is None and not self.items.nullable and self.items.has_default:
                    value[i] = copy.deepcopy(self.items.default)
                self.items.fill(value[i])

    def _fill_member(self, value: Object, name: str) -> None:
        node = self.properties.get(name)
        if node is None and isinstance(self.additional, Schema):
            node = self.additional
        if node is None:
            return
        if value[name] is None and not node.nullable:
            if node.has_default:
                value[name] = copy.deepcopy(node.default)
            elif node.raw.get("type") or node.int_or_string or node.preserve:
                del value[name]
                return
        node.fill(value[name])


_EMPTY = Schema({})


def counterparts(schema: Schema, old: Any) -> Callable[[Any], Any]:
    """Return what tells of an item of a list what it was before, `NOTHING` where items cannot be told apart."""
    if schema.raw.get(LIST_TYPE) != "map" or not isinstance(old, list):
        return lambda _: NOTHING
    known: dict[bytes, Any] = {}
    for item in old:
        if isinstance(item, dict):
            known.setdefault(_mark(schema, item), item)
    return lambda item: known.get(_mark(schema, item), NOTHING) if isinstance(item, dict) else NOTHING


def _mark(schema: Schema, item: Object) -> bytes:
    told = [item.get(key) for key in schema.raw.get(LIST_KEYS) or ()]
    return orjson.dumps(told, option=orjson.OPT_SORT_KEYS)


def unchanged(schema: Schema, value: Any, old: Any) -> bool:
    """Say whether a value is what it was before; the order of a list that is a map does not count."""
    if type(value) is not type(old):
        return False
    if value == old:
        return True
    if isinstance(value, dict):
        if value.keys() != old.keys():
            return False
        for name, member in value.items():
            node = schema.properties.get(name) or schema.additional
            if not (unchanged(node, member, old[name]) if isinstance(node, Schema) else bool(member == old[name])):
                return False
        return True
    if isinstance(value, list) and schema.items is not None:
        if len(value) != len(old):
            return False
        items = schema.items
        if schema.raw.get(LIST_TYPE) != "map":
            return all(unchanged(items, a, b) for a, b in zip(value, old, strict=True))
        before = counterparts(schema, old)
        return all((found := before(item)) is not NOTHING and unchanged(items, item, found) for item in value)
    return False
