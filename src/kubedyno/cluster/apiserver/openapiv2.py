"""OpenAPI v3 in v2's words: schemas, operations, and parameters that many operations share.

v2 has no `oneOf`, tells no zero values, and names a body among the parameters.
"""

from base64 import urlsafe_b64encode
from functools import lru_cache
from typing import Any

import orjson

from kubedyno.cluster.apiserver.openapipaths import PRODUCED, REFERENCE

Json = dict[str, Any]

DEFINITION = "#/definitions/"
_GENERIC = f"{DEFINITION}io.k8s.apimachinery"
# Never shared: their texts or schemas are of one kind, or clients look for them where they are.
_OWN_PARAMETERS = frozenset({"name", "fieldValidation", "dryRun"})
_ORDER = ("uniqueItems", "type", "description", "name", "in", "required", "schema")
_HTML = str.maketrans({"&": "\\u0026", "<": "\\u003c", ">": "\\u003e"})
_FNV_OFFSET, _FNV_PRIME = 14695981039346656037, 1099511628211


def as_v2(items: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    """Return v3 path items in v2's words, and the parameters that many of them share, by the names that they have there."""
    shared: dict[str, Json] = {}
    paths = {
        path: {
            key: [_shared(_parameter_v2(p), shared) for p in value]
            if key == "parameters"
            else _operation_v2(value, shared)
            for key, value in item.items()
        }
        for path, item in items.items()
    }
    return paths, dict(sorted(shared.items()))


def _shared(parameter: Json, shared: dict[str, Json]) -> Json:
    """Return a reference to a parameter among those that are shared, or the parameter itself."""
    generic = parameter.get("schema", {}).get("$ref", _GENERIC)
    if parameter["name"] in _OWN_PARAMETERS or not generic.startswith(_GENERIC):
        return parameter
    name = _shared_name(orjson.dumps({key: parameter[key] for key in _ORDER if key in parameter}).decode())
    shared[f"{parameter['name']}-{name}"] = parameter
    return {"$ref": f"#/parameters/{parameter['name']}-{name}"}


@lru_cache(maxsize=1024)
def _shared_name(text: str) -> str:
    """Return the beginning of the FNV-1 hash of a parameter's JSON, as Go writes it: part of its name."""
    value = _FNV_OFFSET
    for byte in text.translate(_HTML).encode():
        value = (value * _FNV_PRIME & (1 << 64) - 1) ^ byte
    return urlsafe_b64encode(value.to_bytes(8, "big")[:6]).decode()


def _parameter_v2(parameter: Json) -> Json:
    return {**{key: value for key, value in parameter.items() if key != "schema"}, **parameter["schema"]}


def _operation_v2(operation: Json, shared: dict[str, Json]) -> Json:
    found = {key: value for key, value in operation.items() if key not in {"parameters", "requestBody", "responses"}}
    body = operation.get("requestBody")
    parameters = []
    if body is not None:
        schema = _schema_v2(next(iter(body["content"].values()))["schema"])
        parameters.append(
            {"name": "body", "in": "body", "schema": schema} | ({"required": True} if "required" in body else {})
        )
    parameters += [_parameter_v2(parameter) for parameter in operation.get("parameters", [])]
    parameters = [_shared(parameter, shared) for parameter in parameters]
    if parameters:
        found["parameters"] = parameters
    found["responses"] = responses = {}
    for code, response in operation["responses"].items():
        content = response.get("content")
        responses[code] = {"description": response["description"]}
        if content:
            found |= {"produces": list(content), "schemes": ["https"]}
            responses[code]["schema"] = _schema_v2(next(iter(content.values()))["schema"])
    produces = found["produces"]
    action = found.get("x-kubernetes-action")
    if action == "patch" and body is not None:
        found["consumes"] = list(body["content"])
    elif action is not None:
        # Custom resources come in no protobuf, and their paths say so.
        custom = not {PRODUCED[-1], "*/*"}.intersection(produces)
        found["consumes"] = produces if custom else ["*/*"]
    elif "$ref" in found["responses"]["200"]["schema"]:
        found["consumes"] = produces
    return found


def _schema_v2(schema: Json) -> Json:
    reference = schema.get("$ref")
    return schema if reference is None else {"$ref": reference.replace(REFERENCE, DEFINITION)}


def schema_v2(schema: Any) -> Any:
    """Return a v3 schema in v2's words."""
    if isinstance(schema, list):
        return [schema_v2(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    # Those are names of properties too; zero values are told in v3 alone.
    composing = {key for key in ("allOf", "oneOf") if isinstance(schema.get(key), list)}
    if isinstance(schema.get("type"), str) or composing:
        composing.add("default")
    found = {key: schema_v2(value) for key, value in schema.items() if key not in composing}
    composed = schema.get("allOf")
    if isinstance(found.get("$ref"), str):
        found["$ref"] = found["$ref"].replace(REFERENCE, DEFINITION)
    if isinstance(composed, list) and "$ref" in composed[0]:
        found["$ref"] = composed[0]["$ref"].replace(REFERENCE, DEFINITION)
    if isinstance(schema.get("oneOf"), list):
        found["type"] = "string"
    return found
