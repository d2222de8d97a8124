"""OpenAPI v3 and v2 documents of what is served, made from the vocabulary when somebody asks.

kubectl reads them to see which parameters a PATCH takes (so whether the server validates fields), how lists merge,
and for `explain`. Descriptions are read from the text of the `lightkube-models` package, which is not imported.
"""

import hashlib
import importlib.util
import re
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from kubedyno.cluster.apiserver import openapiproto
from kubedyno.cluster.apiserver.openapipaths import (
    gvk_of,
    is_custom,
    long_name,
    path_items,
    root_items,
    schema_name,
    schema_texts,
    types_of,
)
from kubedyno.cluster.apiserver.openapiv2 import as_v2, schema_v2
from kubedyno.cluster.storage.store import ResourceKey, resource_key
from kubedyno.kube.gostructs import OWN_JSON, Member, json_members_of
from kubedyno.kube.resources import Resource, Subresource, vocabulary

# Types that are a text or a number on the wire.
_SCALARS: dict[str, dict[str, Any]] = {
    "meta.v1.Time": {"type": "string", "format": "date-time"},
    "meta.v1.MicroTime": {"type": "string", "format": "date-time"},
    "meta.v1.Patch": {"type": "object"},
    "api.resource.Quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
    "util.intstr.IntOrString": {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
}
_METADATA, _LIST_METADATA = "meta.v1.ObjectMeta", "meta.v1.ListMeta"
# Whose texts for what every object has those of custom resources share.
_TYPICAL, _TYPICAL_LIST = "core.v1.ConfigMap", "core.v1.ConfigMapList"
_CONVENTIONS = "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md"
_BEARER = {"description": "Bearer Token authentication", "type": "apiKey", "name": "authorization", "in": "header"}
_FORMATS = {"int32": "int32", "int64": "int64", "float64": "double", "bytes": "byte"}
_ZEROS: dict[str, Any] = {"string": "", "bool": False, "int32": 0, "int64": 0, "float64": 0}
_TYPED_ZEROS: dict[str, Any] = {"string": ""}
# Structs whose JSON may be anything.
_JSON_TYPES = "apiextensions-apiserver.pkg.apis.apiextensions.v1."
_SHAPELESS = frozenset(
    {
        f"{_JSON_TYPES}{name}"
        for name in ("JSON", "JSONSchemaPropsOrArray", "JSONSchemaPropsOrBool", "JSONSchemaPropsOrStringArray")
    }
)
_ENUMS = Path(__file__).parent / "data" / "enums.json"
_CLASS = re.compile(r'^class (\w+)\(.*?\):\n    r?"""(.*?)"""', re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^ *\* \*\*(\S+)\*\* ``.*?`` - (.*?)(?=^ *\* \*\*|\Z)", re.MULTILINE | re.DOTALL)
# How the package's text is laid out.
_WRAPPED_AT, _TYPE_INDENT, _FIELD_INDENT = 78, 6, 8

Served = tuple[Resource, tuple[Subresource, ...]]


class OpenAPI:
    """The documents under /openapi.

    Args:
        served: Each resource with the subresources of it that act.
        git_version: For the documents' info.
        schemas: Of custom resources, by resource.
        returning: Those of which who deletes one gets it, not a Status.
    """

    def __init__(
        self,
        served: Iterable[Served],
        git_version: str,
        schemas: Mapping[ResourceKey, dict[str, Any]] | None = None,
        returning: Collection[ResourceKey] = (),
    ) -> None:
        self._returning = returning
        self._git_version = git_version
        self._schemas = {} if schemas is None else schemas
        self._by_path: dict[str, list[Served]] = {}
        for resource, subresources in served:
            self._by_path.setdefault(resource.base_path.lstrip("/"), []).append((resource, subresources))
        groups = {entry[0].group for entry in self._served() if not is_custom(entry[0])}
        self._roots = root_items(sorted(groups - {""}))
        self._made: dict[str, bytes] = {}
        # The documents follow from these alone, so that the index need not make them.
        self._hashes = {path: self._hash(entries) for path, entries in self._by_path.items()}
        self._hashes |= {path: self._hash([], path) for path in self._roots}
        self._hashes["v2"] = self._hash(list(self._served()))

    def _hash(self, entries: list[Served], name: str = "") -> str:
        seed: list[Any] = [self._git_version, name]
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
        paths = {
            path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={self._hashes[path]}"}
            for path in sorted({*self._by_path, *self._roots})
        }
        return orjson.dumps({"paths": paths})

    def etag(self, path: str) -> str:
        """Return the ETag of a document: "api/v1", …, or "v2"."""
        return f'"{self._hashes[path]}"'

    def document(self, path: str) -> bytes | None:
        """Return the v3 document of e.g. "apis/apps/v1"; None when that is not served."""
        entries = self._by_path.get(path)
        if entries is None and path not in self._roots:
            return None
        if path not in self._made:
            document = self._root(*self._roots[path]) if entries is None else self._v3(entries)
            self._made[path] = orjson.dumps(document)
        return self._made[path]

    def v2(self) -> bytes:
        """Return the one v2 document."""
        if "v2" not in self._made:
            self._made["v2"] = orjson.dumps(self._v2())
        return self._made["v2"]

    def v2_protobuf(self) -> bytes:
        """Return the one v2 document as `openapiproto.CONTENT_TYPE`."""
        if "v2 protobuf" not in self._made:
            self._made["v2 protobuf"] = openapiproto.encode(self._v2())
        return self._made["v2 protobuf"]

    def _v2(self) -> dict[str, Any]:
        entries = list(self._served())
        definitions = {name: schema_v2(schema) for name, schema in self._components(entries).items()}
        for _, types in self._roots.values():
            definitions |= {long_name(name): schema_v2(_schema(name)) for name in _closure(types)}
        items = self._paths(entries)
        for root, _ in self._roots.values():
            items |= root
        paths, parameters = as_v2(items)
        return {
            "swagger": "2.0",
            "info": self._info(),
            "paths": paths,
            "definitions": definitions,
            "parameters": parameters,
            "securityDefinitions": {"BearerToken": _BEARER},
            "security": [{"BearerToken": []}],
        }

    def _paths(self, entries: list[Served]) -> dict[str, Any]:
        paths: dict[str, Any] = {}
        for resource, subresources in entries:
            paths |= path_items(resource, subresources, returns_deleted=resource_key(resource) in self._returning)
        return paths

    def _v3(self, entries: list[Served]) -> dict[str, Any]:
        components = {
            "schemas": self._components(entries, entries[0][0].api_version),
            "securitySchemes": {"BearerToken": _BEARER},
        }
        return {"openapi": "3.0.0", "info": self._info(), "paths": self._paths(entries), "components": components}

    def _root(self, items: dict[str, Any], types: list[str]) -> dict[str, Any]:
        """Return the document of a path that is no resource."""
        components: dict[str, Any] = {"securitySchemes": {"BearerToken": _BEARER}}
        if types:
            components["schemas"] = {long_name(name): _schema(name) for name in _closure(types)}
        return {"openapi": "3.0.0", "info": self._info(), "paths": items, "components": components}

    def _info(self) -> dict[str, str]:
        return {"title": "Kubernetes", "version": self._git_version.removeprefix("v").rpartition(".")[0]}

    def _components(self, entries: list[Served], within: str = "") -> dict[str, Any]:
        """Return the schemas of resources and of what they are made of, by name.

        Args:
            entries: The resources.
            within: The group version whose document it is; "" for all of them.
        """
        roots: list[str] = []
        customs: dict[str, Any] = {}
        for resource, subresources in entries:
            roots += types_of(resource, subresources)
            schema = self._schemas.get(resource_key(resource))
            if schema is None:
                roots.append(_type_of(resource))
            else:
                roots += [_METADATA, _LIST_METADATA]
                customs[schema_name(resource)] = _whole(schema)
                customs[schema_name(resource, f"{resource.kind}List")] = _list_of(resource)
        schemas = {long_name(name): _schema(name) for name in _closure(roots)}
        if within:
            for schema in schemas.values():
                _keep_kinds(schema, within)
        schemas |= customs
        for resource, _ in entries:
            for kind in (resource.kind, f"{resource.kind}List"):
                known = schemas.get(schema_name(resource, kind))
                if known is not None and "x-kubernetes-group-version-kind" not in known:
                    known["x-kubernetes-group-version-kind"] = [gvk_of(resource.api_version, kind)]
        return schemas


def _type_of(resource: Resource) -> str:
    return str(vocabulary()["kinds"][f"{resource.api_version}/{resource.kind}"])


def _whole(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a custom resource's schema with what every resource has."""
    properties = {name: _text_property(name) for name in ("apiVersion", "kind")}
    properties["metadata"] = {**_told(_TYPICAL, "metadata"), **_element(f"#{_METADATA}")}
    own = {name: node for name, node in (schema.get("properties") or {}).items() if name not in properties}
    return {**schema, "type": "object", "properties": {**properties, **own}}


def _list_of(resource: Resource) -> dict[str, Any]:
    """Return the schema of a list of custom resources."""
    properties = {name: _text_property(name) for name in ("apiVersion", "kind")}
    about = f"List of {resource.plural}. More info: {_CONVENTIONS}"
    element = {"$ref": f"#/components/schemas/{schema_name(resource)}"}
    metadata = {**_told(_TYPICAL_LIST, "metadata"), **_element(f"#{_LIST_METADATA}")}
    properties |= {"metadata": metadata, "items": {"description": about, "type": "array", "items": element}}
    about = f"{resource.kind}List is a list of {resource.kind}"
    return {"description": about, "type": "object", "required": ["items"], "properties": properties}


def _told(type_name: str, field: str) -> dict[str, str]:
    """Return the description of a type's field, where there is one."""
    text = _descriptions(type_name)[1].get(field)
    return {"description": text} if text else {}


def _text_property(name: str) -> dict[str, Any]:
    return {**_told(_TYPICAL, name), "type": "string"}


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
    more = schema_texts(name)
    if name in _SCALARS:
        return {**_SCALARS[name], **({"description": about} if about else {}), **more.get("", {})}
    definition = vocabulary()["types"].get(name)
    schema: dict[str, Any] = {"description": about} if about else {}
    if name not in _SHAPELESS:
        schema["type"] = "object"
    kinds = _kinds_of().get(name)
    if kinds:
        schema["x-kubernetes-group-version-kind"] = [gvk_of(*kind) for kind in kinds]
    if definition is None:
        return {**schema, **more.get("", {})}
    if definition.get("r"):
        schema["required"] = definition["r"]
    properties = {}
    enums = _enums().get(name, {})
    members = json_members_of(name)
    for field, shape in definition["f"].items():
        prop = _property(shape)
        if field in members:
            _specify(prop, members[field])
        text = of_fields.get(field, "")
        values = enums.get(field)
        if values:
            # What a list may hold is told by its elements alone.
            prop.get("items", prop)["enum"] = list(values)
        if values and "items" not in prop:
            listed = "".join(f'\n - `"{value}"`{" " + about if about else ""}' for value, about in values.items())
            text = f"{text}\n\nPossible enum values:{listed}".strip()
        prop = {**({"description": text} if text else {}), **prop, **more.get(field, {})}
        composed = prop.get("allOf")
        # What says nothing beside its $ref needs no allOf around it.
        properties[field] = composed[0] if composed and len(prop) == 1 else prop
    schema |= {"properties": properties, **more.get("", {})}
    if definition.get("a"):
        schema["x-kubernetes-map-type"] = "atomic"
    return schema


def _specify(prop: dict[str, Any], member: Member) -> None:
    """Say of a property what its member in Go says: its format, and the zero value of what is no pointer."""
    element = prop
    while "items" in element or "additionalProperties" in element:
        element = element.get("items") or element["additionalProperties"]
    form = _FORMATS.get(member.scalar)
    if form is not None and "allOf" not in element:
        element["format"] = form
    if member.struct in OWN_JSON or member.struct in _SHAPELESS or member.scalar == "bytes":
        pass
    elif member.struct:
        if member.container or not member.pointer:
            element["default"] = {}
    elif (element is not prop or not (member.pointer or member.omitempty or member.omitzero)) and (
        member.scalar in _ZEROS or element.get("type") in _TYPED_ZEROS
    ):
        element["default"] = _ZEROS.get(member.scalar, _TYPED_ZEROS.get(element.get("type", "")))
    if element is not prop and list(element) == ["allOf"]:
        element["$ref"] = element.pop("allOf")[0]["$ref"]


def _keep_kinds(schema: dict[str, Any], within: str) -> None:
    """Leave of a type that every group has, as options of deletions, the kinds of the core and of one group version."""
    kinds = schema.get("x-kubernetes-group-version-kind", [])
    if len(kinds) > 1:
        near = [gvk_of(version, kinds[0]["kind"]) for version in ("v1", within)]
        schema["x-kubernetes-group-version-kind"] = [kind for kind in kinds if kind in near]


@cache
def _kinds_of() -> dict[str, list[tuple[str, str]]]:
    """Return type → the (version, kind) under which it is known, in order."""
    found: dict[str, list[tuple[str, str]]] = {}
    for key, name in vocabulary()["kinds"].items():
        version, _, kind = key.rpartition("/")
        found.setdefault(str(name), []).append((version, kind))
    return {name: sorted(kinds, key=lambda kind: ("/" in kind[0], kind[0])) for name, kinds in found.items()}


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
        return {"allOf": [{"$ref": f"#/components/schemas/{long_name(name[1:])}"}]}
    return {} if name == "any" else {"type": name}


@cache
def _enums() -> dict[str, dict[str, dict[str, str]]]:
    """Return type → field → value → what it means, of the fields that have a few values only."""
    return dict(orjson.loads(_ENUMS.read_bytes()))


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
        fields = {field: _unwrapped(words, _FIELD_INDENT) for field, words in _FIELD.findall(parameters)}
        found[kind] = (_unwrapped(about, _TYPE_INDENT), fields)
    return found


def _unwrapped(text: str, indent: int) -> str:
    """Return a text as it was before it was wrapped and indented.

    A line with room for the next word ended there; where no line is indented, an empty one stood between the two.
    """
    first, *others = text.strip().split("\n")
    lines = [first, *(line[indent:] if not line[:indent].strip() else line.lstrip() for line in others)]
    before, *lines = map(str.rstrip, lines)
    result = before
    for line in lines:
        word = line.split(" ", 1)[0]
        if word and before and len(before) + 1 + len(word) > _WRAPPED_AT:
            result += f" {line}"
        else:
            plain = before and line and not line[0].isspace() and not result.rpartition("\n")[2][:1].isspace()
            result += f"\n\n{line}" if plain else f"\n{line}"
        before = line
    return result
