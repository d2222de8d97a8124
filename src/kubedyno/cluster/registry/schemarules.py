"""What a definition's schema must be like: structural, so that it can prune and fill in.

The texts are the real server's; what it refuses beyond these (costs of validation rules, defaults of embedded
metadata) is accepted.
"""

from typing import Any

from kubedyno.cluster.registry.schema import EMBEDDED, INT_OR_STRING, LIST_KEYS, LIST_TYPE, PRESERVE, Schema
from kubedyno.cluster.registry.schemacel import rule_causes
from kubedyno.cluster.registry.schemavalidation import validate
from kubedyno.kube.status import Cause, forbidden_field, invalid_value, not_supported, required

Object = dict[str, Any]
_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_UNSUPPORTED = ("$ref", "additionalItems", "definitions", "dependencies", "patternProperties", "$schema", "id")
_QUADRATIC = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
_MAP_KEYS = "must not be empty if x-kubernetes-list-type is map"


def schema_causes(raw: Object, path: str) -> list[Cause]:
    """Return what is wrong with a version's openAPIV3Schema at a path."""
    kind = raw.get("type", "")
    causes: list[Cause] = []
    if not kind:
        causes.append(required(f"{path}.type", "must not be empty at the root"))
    elif kind != "object":
        causes.append(invalid_value(f"{path}.type", kind, "must be object at the root"))
    metadata = (raw.get("properties") or {}).get("metadata")
    if isinstance(metadata, dict):
        extra = set(metadata.get("properties") or ()) - {"name", "generateName"}
        if extra or set(metadata) - {"type", "properties", "description"}:
            text = "must not specify anything other than name and generateName, but metadata is implicitly specified"
            causes.append(forbidden_field(f"{path}.properties[metadata]", text))
    return causes + _node_causes(raw, path, typed=True)


def _node_causes(raw: Object, path: str, *, typed: bool) -> list[Cause]:
    causes = [forbidden_field(f"{path}.{name}", f"{name} is not supported") for name in _UNSUPPORTED if raw.get(name)]
    kind = raw.get("type", "")
    if kind and kind not in _TYPES:
        causes.append(not_supported(f"{path}.type", kind, _TYPES))
    if raw.get("uniqueItems"):
        causes.append(forbidden_field(f"{path}.uniqueItems", _QUADRATIC))
    if raw.get("properties") and isinstance(raw.get("additionalProperties"), dict):
        text = "additionalProperties and properties are mutual exclusive"
        causes.append(forbidden_field(f"{path}.additionalProperties", text))
    if typed and kind == "array" and not isinstance(raw.get("items"), dict):
        causes.append(required(f"{path}.items", "must be specified"))
    if raw.get(INT_OR_STRING) and kind:
        causes.append(forbidden_field(f"{path}.type", f"must be empty if {INT_OR_STRING} is true"))
    if raw.get(EMBEDDED) and kind != "object":
        text = f"must be object if {EMBEDDED} is true"
        causes.append(invalid_value(f"{path}.type", kind, text) if kind else required(f"{path}.type", text))
    causes += _list_causes(raw, kind, path)
    causes += rule_causes(raw, path)
    if raw.get("default") is not None and not causes:
        causes += _default_causes(raw, path)
    for name, node in (raw.get("properties") or {}).items():
        causes += _child_causes(node, f"{path}.properties[{name}]", "must not be empty for specified object fields")
    if isinstance(raw.get("additionalProperties"), dict):
        node = raw["additionalProperties"]
        causes += _child_causes(node, f"{path}.additionalProperties", "must not be empty for specified object fields")
    if isinstance(raw.get("items"), dict):
        causes += _child_causes(raw["items"], f"{path}.items", "must not be empty for specified array items")
    return causes


def _child_causes(node: Object, path: str, text: str) -> list[Cause]:
    causes = []
    if not node.get("type") and not node.get(INT_OR_STRING) and not node.get(PRESERVE):
        causes.append(required(f"{path}.type", text))
    return causes + _node_causes(node, path, typed=True)


def _list_causes(raw: Object, kind: str, path: str) -> list[Cause]:
    list_type = raw.get(LIST_TYPE)
    if list_type is None:
        return []
    causes: list[Cause] = []
    if list_type not in {"atomic", "map", "set"}:
        causes.append(not_supported(f"{path}.{LIST_TYPE}", list_type, ("atomic", "map", "set")))
    if kind != "array":
        text = f"must be array if {LIST_TYPE} is specified"
        causes.append(invalid_value(f"{path}.type", kind, text) if kind else required(f"{path}.type", text))
    if list_type == "map":
        keys = raw.get(LIST_KEYS) or ()
        if not keys:
            causes.append(required(f"{path}.{LIST_KEYS}", _MAP_KEYS))
        items = raw.get("items") or {}
        known = items.get("properties") or {}
        for i, key in enumerate(keys):
            if key not in known:
                text = "entries must all be names of item properties"
                causes.append(invalid_value(f"{path}.{LIST_KEYS}[{i}]", key, text))
            elif key not in (items.get("required") or ()) and "default" not in known[key]:
                text = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
                causes.append(required(f"{path}.items.properties[{key}].default", text))
    return causes


def _default_causes(raw: Object, path: str) -> list[Cause]:
    """Return what is wrong with a default: it must be a value that the node itself accepts."""
    unknown: list[str] = []
    schema = Schema(raw)
    if isinstance(raw["default"], dict | list):
        Schema(raw).prune(_copy(raw["default"]), "", unknown)
    if unknown:
        return [invalid_value(f"{path}.default", raw["default"], "must not have unknown fields")]
    found = validate(schema, raw["default"])
    return [
        Cause(cause.reason, f"{path}.default" + (f".{cause.field}" if cause.field != "<nil>" else ""), cause.message)
        for cause in found
    ]


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copy(member) for name, member in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value
