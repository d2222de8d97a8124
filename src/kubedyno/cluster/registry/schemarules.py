"""What a definition's schema must be like: structural, so that it can prune and fill in.

The texts are the real server's; what it refuses beyond these (defaults of embedded metadata)
is accepted.
"""

from collections.abc import Iterator
from typing import Any

from kubedyno.cluster.registry.schema import (
    EMBEDDED,
    INT_OR_STRING,
    LIST_KEYS,
    LIST_TYPE,
    MAP_TYPE,
    PRESERVE,
    RULES,
    Schema,
)
from kubedyno.cluster.registry.schemacel import pattern_problem, rule_causes
from kubedyno.cluster.registry.schemacosts import Bill, children_of
from kubedyno.cluster.registry.schemavalidation import validate, validate_lists
from kubedyno.kube.status import Cause, forbidden_field, invalid_value, not_supported, required

Object = dict[str, Any]
_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_UNSUPPORTED = ("$ref", "additionalItems", "definitions", "dependencies", "patternProperties", "$schema", "id")
# How a schema may say that a value is a number or a text.
_INT_OR_STRING_FORMS = [{"type": "integer"}, {"type": "string"}]
_MAP_TYPES = ("atomic", "granular")
_QUADRATIC = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
_JUNCTORS = ("allOf", "anyOf", "oneOf")
_STRUCTURAL = "to be structural"
# What a schema says once, outside of what is combined: member → what it must be there.
_ONLY_OUTSIDE = (
    ("type", "empty"), ("default", "undefined"), ("title", "empty"), ("description", "empty"), ("nullable", "false"),
    (PRESERVE, "false"), (EMBEDDED, "false"), (INT_OR_STRING, "false"), (LIST_KEYS, "empty"), (LIST_TYPE, "undefined"),
    (MAP_TYPE, "undefined"), (RULES, "empty"),
)  # fmt: skip
_MAP_KEYS = "must not be empty if x-kubernetes-list-type is map"


def schema_causes(raw: Object, path: str) -> list[Cause]:
    """Return what is wrong with a version's openAPIV3Schema at a path."""
    kind = raw.get("type", "")
    rooted: list[Cause] = []
    if not kind and not raw.get(INT_OR_STRING) and not raw.get(PRESERVE):
        rooted.append(required(f"{path}.type", "must not be empty at the root"))
    elif kind and kind != "object":
        rooted.append(invalid_value(f"{path}.type", kind, "must be object at the root"))
    causes: list[Cause] = []
    metadata = (raw.get("properties") or {}).get("metadata")
    if isinstance(metadata, dict):
        extra = set(metadata.get("properties") or ()) - {"name", "generateName"}
        if extra or set(metadata) - {"type", "properties", "description"}:
            text = "must not specify anything other than name and generateName, but metadata is implicitly specified"
            causes.append(forbidden_field(f"{path}.properties[metadata]", text))
    for name, kind in (("apiVersion", "string"), ("kind", "string"), ("metadata", "object")):
        node = (raw.get("properties") or {}).get(name)
        if isinstance(node, dict) and node.get("type") not in {None, "", kind}:
            causes.append(invalid_value(f"{path}.properties[{name}].type", node["type"], f"must be {kind}"))
    unsupported = _unsupported(raw, path)
    bill = Bill()
    return unsupported or causes + _node_causes(raw, path, bill, 1, root=True) + rooted + bill.causes(path)


def _unsupported(raw: Object, path: str) -> list[Cause]:
    """Return what no schema may have, anywhere in it: nothing else is then looked at."""
    causes = [forbidden_field(f"{path}.{name}", f"{name} is not supported") for name in _UNSUPPORTED if raw.get(name)]
    if isinstance(raw.get("items"), list):
        causes.append(forbidden_field(f"{path}.items", "items must be a schema object and not an array"))
    for place, node in _children(raw, path):
        causes += _unsupported(node, place)
    return causes


def _children(raw: Object, path: str) -> Iterator[tuple[str, Object]]:
    for name, node in (raw.get("properties") or {}).items():
        yield f"{path}.properties[{name}]", node if isinstance(node, dict) else {}
    for name in ("additionalProperties", "items"):
        if isinstance(raw.get(name), dict):
            yield f"{path}.{name}", raw[name]


def _node_causes(
    raw: Object, path: str, bill: Bill, count: int | None, *, root: bool = False, correlatable: bool = True
) -> list[Cause]:
    causes = _nested_causes(raw, path)
    kind = raw.get("type", "")
    if kind and kind not in _TYPES:
        causes.append(not_supported(f"{path}.type", kind, _TYPES))
    if raw.get("uniqueItems"):
        causes.append(forbidden_field(f"{path}.uniqueItems", _QUADRATIC))
    if raw.get("properties") and isinstance(raw.get("additionalProperties"), dict):
        text = "additionalProperties and properties are mutual exclusive"
        causes.append(forbidden_field(f"{path}.additionalProperties", text))
    if kind == "array" and not isinstance(raw.get("items"), dict):
        causes.append(required(f"{path}.items", "must be specified"))
    if raw.get(EMBEDDED) and kind != "object":
        text = f"must be object if {EMBEDDED} is true"
        causes.append(invalid_value(f"{path}.type", kind, text) if kind else required(f"{path}.type", text))
    if raw.get(EMBEDDED) and not raw.get(PRESERVE) and not raw.get("properties"):
        text = f"must not be empty if {EMBEDDED} is true without {PRESERVE}"
        causes.append(required(f"{path}.properties", text))
    if raw.get(PRESERVE) is False:
        causes.append(invalid_value(f"{path}.{PRESERVE}", False, "must be true or undefined"))
    causes += _map_causes(raw, kind, path)
    problem = pattern_problem(raw["pattern"]) if raw.get("pattern") else ""
    if problem:
        text = f"must be a valid regular expression, but isn't: {problem}"
        causes.append(invalid_value(f"{path}.pattern", raw["pattern"], text))
    causes += _list_causes(raw, kind, path)
    whole = root or bool(raw.get(EMBEDDED))
    causes += rule_causes(raw, path, bill, count, resource=whole, correlatable=correlatable)
    if raw.get("default") is not None and not causes:
        causes += _default_causes({**raw, EMBEDDED: True} if root else raw, path)
    for place, node in _children(raw, path):
        # What an item of a list was before is known of maps alone.
        told = correlatable and not (place.endswith(".items") and raw.get(LIST_TYPE) != "map")
        what = "array items" if place.endswith(".items") else "object fields"
        found = _node_causes(node, place, bill, children_of(count, raw), correlatable=told)
        causes += _with_type(node, place, f"must not be empty for specified {what}", found)
    return causes


def _with_type(node: Object, path: str, text: str, found: list[Cause]) -> list[Cause]:
    """Return what was found of a node, and that it has no type where it needs one."""
    if node.get("type") or node.get(INT_OR_STRING) or node.get(PRESERVE):
        return found
    missing = required(f"{path}.type", text)
    return [*found, missing] if any(cause.message.endswith(_STRUCTURAL) for cause in found) else [missing, *found]


def _nested_causes(raw: Object, path: str) -> list[Cause]:
    """Return what anyOf, allOf, oneOf and not say that only the schema itself may say."""
    causes: list[Cause] = []
    for junctor in _JUNCTORS:
        for i, nested in enumerate(raw.get(junctor) or ()):
            allowed = bool(raw.get(INT_OR_STRING)) and (junctor != "anyOf" or raw["anyOf"] == _INT_OR_STRING_FORMS)
            causes += _valued_causes(nested, f"{path}.{junctor}[{i}]", allowed=allowed)
    if isinstance(raw.get("not"), dict):
        causes += _valued_causes(raw["not"], f"{path}.not", allowed=False)
    return causes


def _valued_causes(nested: Object, path: str, *, allowed: bool) -> list[Cause]:
    causes = [
        forbidden_field(f"{path}.{name}", f"must be {what} {_STRUCTURAL}")
        for name, what in _ONLY_OUTSIDE
        if nested.get(name) and not (allowed and name == "type")
    ]
    for place, node in _children(nested, path):
        causes += _valued_causes(node, place, allowed=False)
    return causes + _nested_causes(nested, path)


def _map_causes(raw: Object, kind: str, path: str) -> list[Cause]:
    map_type = raw.get(MAP_TYPE)
    if map_type is None:
        return []
    causes: list[Cause] = []
    if kind != "object":
        text = f"must be object if {MAP_TYPE} is specified"
        causes.append(invalid_value(f"{path}.type", kind, text) if kind else required(f"{path}.type", text))
    if map_type not in _MAP_TYPES:
        causes.append(not_supported(f"{path}.{MAP_TYPE}", map_type, _MAP_TYPES))
    return causes


def _list_causes(raw: Object, kind: str, path: str) -> list[Cause]:
    list_type = raw.get(LIST_TYPE)
    if list_type is None:
        text = f"must be map if {LIST_KEYS} is non-empty"
        return [required(f"{path}.{LIST_TYPE}", text)] if raw.get(LIST_KEYS) else []
    causes: list[Cause] = []
    if list_type not in {"atomic", "map", "set"}:
        causes.append(not_supported(f"{path}.{LIST_TYPE}", list_type, ("atomic", "set", "map")))
    if kind != "array":
        text = f"must be array if {LIST_TYPE} is specified"
        causes.append(invalid_value(f"{path}.type", kind, text) if kind else required(f"{path}.type", text))
    if list_type != "map" and raw.get(LIST_KEYS):
        text = f"must be map if {LIST_KEYS} is non-empty"
        causes.append(invalid_value(f"{path}.{LIST_TYPE}", list_type, text))
    items = raw["items"] if isinstance(raw.get("items"), dict) else {}
    if list_type == "set":
        member, atomic = {"object": (MAP_TYPE, items.get(MAP_TYPE)), "array": (LIST_TYPE, items.get(LIST_TYPE))}.get(
            items.get("type", ""), ("", "atomic")
        )
        if atomic != "atomic":
            text = f"must be atomic as item of a list with {LIST_TYPE}=set"
            causes.append(invalid_value(f"{path}.items.{member}", atomic, text))
    if list_type == "map":
        keys = raw.get(LIST_KEYS) or ()
        if not keys:
            causes.append(required(f"{path}.{LIST_KEYS}", _MAP_KEYS))
        if not isinstance(raw.get("items"), dict):
            return [*causes, required(f"{path}.items", f"must have a schema if {LIST_TYPE} is map")]
        if items.get("type") != "object":
            text = f"must be object if parent array's {LIST_TYPE} is map"
            return [*causes, invalid_value(f"{path}.items.type", items.get("type", ""), text)]
        known = items.get("properties") or {}
        if len(set(keys)) != len(keys):
            causes.append(invalid_value(f"{path}.{LIST_KEYS}", keys, "must not contain duplicates"))
        for key in keys:
            if key not in known:
                text = "entries must all be names of item properties"
                causes.append(invalid_value(f"{path}.{LIST_KEYS}", keys, text))
                continue
            if not isinstance(known[key], dict):
                continue
            if key not in (items.get("required") or ()) and "default" not in known[key]:
                text = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
                causes.append(required(f"{path}.items.properties[{key}].default", text))
            if known[key].get("type") in {"array", "object"}:
                text = f"must be a scalar type if parent array's {LIST_TYPE} is map"
                causes.append(invalid_value(f"{path}.items.properties[{key}].type", known[key]["type"], text))
    return causes


def _default_causes(raw: Object, path: str) -> list[Cause]:
    """Return what is wrong with a default: it must be a value that the node itself accepts."""
    unknown: list[str] = []
    schema = Schema(raw)
    if isinstance(raw["default"], dict | list):
        Schema(raw).prune(_copy(raw["default"]), "", unknown)
    if unknown:
        return [invalid_value(f"{path}.default", raw["default"], "must not have unknown fields")]
    value, where = raw["default"], f"{path}.default"
    if schema.embedded and isinstance(value, dict):
        texts = [name for name in ("apiVersion", "kind") if name in value and not isinstance(value[name], str)]
        if texts:
            return [invalid_value(f"{where}.{name}", value[name], "must be a string") for name in texts]
    found = validate(schema, value)
    if not found:
        return validate_lists(schema, value, where)
    return [
        Cause(cause.reason, where + (f".{cause.field}" if cause.field != "<nil>" else ""), cause.message)
        for cause in found
    ]


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copy(member) for name, member in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value
