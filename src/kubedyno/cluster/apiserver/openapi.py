"""OpenAPI v3 and v2 documents of what is served, made from the vocabulary when somebody asks.

kubectl reads them to see which parameters a PATCH takes (so whether the server validates fields), how lists merge,
and for `explain`. Descriptions are read from the text of the `lightkube-models` package, which is not imported.
"""

import hashlib
import importlib.util
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from kubedyno.cluster.storage.store import ResourceKey, resource_key
from kubedyno.kube.resources import Resource, Subresource, vocabulary

# Type prefixes of the vocabulary that do not live under io.k8s.api.
_LONG_PREFIXES = {
    "meta": "io.k8s.apimachinery.pkg.apis.meta",
    "api": "io.k8s.apimachinery.pkg.api",
    "util": "io.k8s.apimachinery.pkg.util",
    "runtime": "io.k8s.apimachinery.pkg.runtime",
    "version": "io.k8s.apimachinery.pkg.version",
    "apiextensions-apiserver": "io.k8s.apiextensions-apiserver",
    "kube-aggregator": "io.k8s.kube-aggregator",
}
# Types that are a text or a number on the wire.
_SCALARS: dict[str, dict[str, Any]] = {
    "meta.v1.Time": {"type": "string", "format": "date-time"},
    "meta.v1.MicroTime": {"type": "string", "format": "date-time"},
    "meta.v1.Patch": {"type": "object"},
    "api.resource.Quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
    "util.intstr.IntOrString": {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
}
_PATCH_MEDIA = (
    "application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)  # fmt: skip
_QUERY = {
    "dryRun": "When present, indicates that modifications should not be persisted.",
    "fieldManager": "The name associated with the actor or entity that is making these changes.",
    "fieldValidation": "How to handle objects with unknown or duplicate fields: Ignore, Warn or Strict.",
    "force": "Of an apply request: take over fields that others own.",
}
_METADATA = "meta.v1.ObjectMeta"
_TYPE_TEXTS = {
    "apiVersion": "The version of the schema that this object follows.",
    "kind": "What this object is.",
}
_CLASS = re.compile(r'^class (\w+)\(.*?\):\n    r?"""(.*?)"""', re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^ *\* \*\*(\S+)\*\* ``.*?`` - (.*?)(?=^ *\* \*\*|\Z)", re.MULTILINE | re.DOTALL)
_SPACE = re.compile(r"\s+")

Served = tuple[Resource, tuple[Subresource, ...]]


class OpenAPI:
    """The documents under /openapi.

    Args:
        served: Each resource with the subresources of it that act.
        git_version: For the documents' info.
        schemas: Of custom resources, by resource.
    """

    def __init__(
        self, served: Iterable[Served], git_version: str, schemas: Mapping[ResourceKey, dict[str, Any]] | None = None
    ) -> None:
        self._git_version = git_version
        self._schemas = {} if schemas is None else schemas
        self._by_path: dict[str, list[Served]] = {}
        for resource, subresources in served:
            self._by_path.setdefault(resource.base_path.lstrip("/"), []).append((resource, subresources))
        self._made: dict[str, bytes] = {}
        # The documents follow from these alone, so that the index need not make them.
        self._hashes = {path: self._hash(entries) for path, entries in self._by_path.items()}
        self._hashes["v2"] = self._hash(list(self._served()))

    def _hash(self, entries: list[Served]) -> str:
        seed: list[Any] = [self._git_version]
        for resource, subresources in sorted(entries, key=lambda entry: resource_key(entry[0])):
            seed += (resource.group_resource, resource.version, repr(subresources))
            schema = self._schemas.get(resource_key(resource))
            if schema is not None:
                seed.append(schema)
        return hashlib.sha512(orjson.dumps(seed)).hexdigest().upper()

    def _served(self) -> Iterable[Served]:
        return (entry for entries in self._by_path.values() for entry in entries)

    def index(self) -> bytes:
        """Return /openapi/v3: where each group version's document is, with its hash."""
        paths = {path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={self._hashes[path]}"} for path in self._by_path}
        return orjson.dumps({"paths": paths})

    def etag(self, path: str) -> str:
        """Return the ETag of a document: "api/v1", …, or "v2"."""
        return f'"{self._hashes[path]}"'

    def document(self, path: str) -> bytes | None:
        """Return the v3 document of e.g. "apis/apps/v1"; None when that is not served."""
        entries = self._by_path.get(path)
        if entries is None:
            return None
        if path not in self._made:
            self._made[path] = orjson.dumps(self._v3(entries))
        return self._made[path]

    def v2(self) -> bytes:
        """Return the one v2 document."""
        if "v2" not in self._made:
            schemas = self._components(list(self._served()))
            definitions = {name: _v2_of(schema) for name, schema in schemas.items()}
            document = {"swagger": "2.0", "info": self._info(), "paths": {}, "definitions": definitions}
            self._made["v2"] = orjson.dumps(document)
        return self._made["v2"]

    def _info(self) -> dict[str, str]:
        return {"title": "Kubernetes", "version": self._git_version}

    def _v3(self, entries: list[Served]) -> dict[str, Any]:
        paths: dict[str, Any] = {}
        for resource, subresources in entries:
            middle = "/namespaces/{namespace}" if resource.namespaced else ""
            collection = f"{resource.base_path}{middle}/{resource.plural}"
            paths[collection] = _operations(resource, {"list": "get", "create": "post", "deletecollection": "delete"})
            paths[f"{collection}/{{name}}"] = _operations(
                resource, {"get": "get", "update": "put", "patch": "patch", "delete": "delete"}
            )
            for sub in subresources:
                part = _subresource_operations(resource, sub)
                if part:
                    paths[f"{collection}/{{name}}/{sub.name}"] = part
        schemas = self._components(entries)
        return {"openapi": "3.0.0", "info": self._info(), "paths": paths, "components": {"schemas": schemas}}

    def _components(self, entries: list[Served]) -> dict[str, Any]:
        """Return the schemas of resources and of what they are made of, by name."""
        roots: list[str] = []
        customs: dict[str, Any] = {}
        for resource, _ in entries:
            schema = self._schemas.get(resource_key(resource))
            if schema is None:
                roots.append(_type_of(resource))
            else:
                roots.append(_METADATA)
                customs[_schema_name(resource)] = _whole(resource, schema)
        schemas = {_long(name): _schema(name) for name in _closure(roots)}
        schemas |= customs
        for resource, _ in entries:
            schemas[_schema_name(resource)]["x-kubernetes-group-version-kind"] = [_gvk(resource)]
        return schemas


def _gvk(resource: Resource) -> dict[str, str]:
    return {"group": resource.group, "kind": resource.kind, "version": resource.version}


def _type_of(resource: Resource) -> str:
    return str(vocabulary()["kinds"][f"{resource.api_version}/{resource.kind}"])


def _schema_name(resource: Resource) -> str:
    """Return e.g. io.k8s.api.apps.v1.Deployment, or com.example.v1.Widget for a custom resource."""
    known = vocabulary()["kinds"].get(f"{resource.api_version}/{resource.kind}")
    if known is not None:
        return _long(str(known))
    return ".".join([*reversed(resource.group.split(".")), resource.version, resource.kind])


def _is_custom(resource: Resource) -> bool:
    return f"{resource.api_version}/{resource.kind}" not in vocabulary()["kinds"]


def _whole(resource: Resource, schema: dict[str, Any]) -> dict[str, Any]:
    """Return a custom resource's schema with what every resource has."""
    properties = {name: _text_property(name) for name in ("apiVersion", "kind")}
    properties["metadata"] = {
        "description": "Standard object's metadata.",
        **_element(f"#{_METADATA}"),
    }
    own = {name: node for name, node in (schema.get("properties") or {}).items() if name not in properties}
    about = {} if "description" in schema else {"description": f"{resource.kind} of {resource.api_version}."}
    return {**about, **schema, "type": "object", "properties": {**properties, **own}}


def _text_property(name: str) -> dict[str, Any]:
    return {"description": _TYPE_TEXTS[name], "type": "string"}


def _long(name: str) -> str:
    """Return e.g. io.k8s.api.apps.v1.Deployment for apps.v1.Deployment."""
    head, _, rest = name.partition(".")
    return f"{_LONG_PREFIXES.get(head, f'io.k8s.api.{head}')}.{rest}"


def _operations(resource: Resource, methods: dict[str, str]) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{_schema_name(resource)}"}
    return {method: _operation(resource, verb, schema) for verb, method in methods.items() if verb in resource.verbs}


def _subresource_operations(resource: Resource, sub: Subresource) -> dict[str, Any]:
    if sub.kind != resource.kind:
        return {}
    schema = {"$ref": f"#/components/schemas/{_schema_name(resource)}"}
    methods = {"get": "get", "update": "put", "patch": "patch"}
    return {method: _operation(resource, verb, schema) for verb, method in methods.items() if verb in sub.verbs}


def _operation(resource: Resource, verb: str, schema: dict[str, Any]) -> dict[str, Any]:
    action = {"create": "post", "update": "put"}.get(verb, verb)
    operation: dict[str, Any] = {
        "description": f"{verb} {resource.kind}",
        "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": schema}}}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": _gvk(resource),
    }
    if verb in {"create", "update", "patch"}:
        names = ["dryRun", "fieldManager", "fieldValidation", *(["force"] if verb == "patch" else [])]
        operation["parameters"] = [
            {
                "name": name,
                "in": "query",
                "description": _QUERY[name],
                "schema": {"type": "string", "uniqueItems": True},
            }
            for name in names
        ]
        media: tuple[str, ...] = _PATCH_MEDIA if verb == "patch" else ("*/*",)
        if verb == "patch" and _is_custom(resource):
            media = tuple(m for m in media if "strategic" not in m)
        operation["requestBody"] = {
            "content": {m: {"schema": {"type": "object"} if verb == "patch" else schema} for m in media},
            "required": True,
        }
    return operation


def _closure(roots: list[str]) -> list[str]:
    """Return the types that some types need, themselves included, by name."""
    types = vocabulary()["types"]
    seen: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for field in types.get(name, {}).get("f", {}).values():
            element = field[1]
            while isinstance(element, list):
                element = element[1]
            if element.startswith("#"):
                waiting.append(element[1:])
    return sorted(seen)


def _schema(name: str) -> dict[str, Any]:
    """Return the schema of a type of the vocabulary."""
    about, of_fields = _descriptions(name)
    if name in _SCALARS:
        return {**_SCALARS[name], **({"description": about} if about else {})}
    definition = vocabulary()["types"].get(name)
    schema: dict[str, Any] = {"description": about} if about else {}
    schema["type"] = "object"
    if definition is None:
        return schema
    if definition.get("r"):
        schema["required"] = definition["r"]
    properties = {}
    for field, shape in definition["f"].items():
        prop = _property(shape)
        text = of_fields.get(field)
        properties[field] = {"description": text, **prop} if text else prop
    schema["properties"] = properties
    return schema


def _property(shape: list[Any]) -> dict[str, Any]:
    form, element = shape[0], shape[1]
    extra = shape[2] if len(shape) > 2 else {}
    inner = _property(element) if isinstance(element, list) else _element(element)
    if form == "l":
        prop: dict[str, Any] = {"type": "array", "items": inner}
    elif form == "m":
        prop = {"type": "object", "additionalProperties": inner}
    else:
        prop = inner
    if "lk" in extra:
        prop["x-kubernetes-list-map-keys"] = extra["lk"]
    if "lt" in extra:
        prop["x-kubernetes-list-type"] = extra["lt"]
    if "mk" in extra:
        prop["x-kubernetes-patch-merge-key"] = extra["mk"]
    if "st" in extra:
        prop["x-kubernetes-patch-strategy"] = extra["st"]
    return prop


def _element(name: str) -> dict[str, Any]:
    if name.startswith("#"):
        # A bare $ref allows no sibling such as a description, hence allOf.
        return {"allOf": [{"$ref": f"#/components/schemas/{_long(name[1:])}"}]}
    return {} if name == "any" else {"type": name}


def _v2_of(schema: Any) -> Any:
    """Return a v3 schema in v2's words."""
    if isinstance(schema, list):
        return [_v2_of(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _v2_of(value) for key, value in schema.items() if key not in {"allOf", "oneOf"}}
    composed = schema.get("allOf")
    if isinstance(composed, list) and "$ref" in composed[0]:
        found["$ref"] = composed[0]["$ref"].replace("#/components/schemas/", "#/definitions/")
    if isinstance(schema.get("oneOf"), list):
        found["type"] = "string"
    return found


def _descriptions(name: str) -> tuple[str, dict[str, str]]:
    """Return a type's description and its fields'."""
    group, _, rest = name.partition(".")
    version, _, kind = rest.partition(".")
    return _documentation(f"{group}_{version}").get(kind, ("", {}))


@cache
def _documentation(module: str) -> dict[str, tuple[str, dict[str, str]]]:
    """Return what a module of `lightkube-models` says of its types: type → (description, field → description)."""
    spec = importlib.util.find_spec("lightkube.models")
    if spec is None or not spec.submodule_search_locations:
        return {}
    path = Path(next(iter(spec.submodule_search_locations))) / f"{module}.py"
    if not path.is_file():
        return {}
    found = {}
    for kind, text in _CLASS.findall(path.read_text(encoding="utf-8")):
        about, _, parameters = text.partition("**parameters**")
        fields = {field: _SPACE.sub(" ", words).strip() for field, words in _FIELD.findall(parameters)}
        found[kind] = (_SPACE.sub(" ", about).strip(), fields)
    return found
