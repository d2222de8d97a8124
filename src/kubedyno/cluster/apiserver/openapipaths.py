"""The paths of the OpenAPI documents: a resource and its subresources in, path items out, in v3's words and v2's.

kubectl asks them which parameters a request takes; generated clients and fuzzers read what may be sent and what comes
back. Operation ids are the real server's, so that generated clients get the same names.
"""

import re
from collections.abc import Iterable
from typing import Any

from kubedyno.kube.resources import Resource, Subresource, vocabulary

Json = dict[str, Any]

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
_STATUS, _DELETE_OPTIONS = "meta.v1.Status", "meta.v1.DeleteOptions"
_PATCH_MEDIA = (
    "application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)  # fmt: skip
_PRODUCED = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
_WATCHED = ("application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch")
# Query parameters: type and what they mean.
_QUERY = {
    "allowWatchBookmarks": ("boolean", "Of a watch: send BOOKMARK events."),
    "container": ("string", "Which container; the only one by default."),
    "continue": ("string", "The token of the page before."),
    "dryRun": ("string", "When present, indicates that modifications should not be persisted."),
    "fieldManager": ("string", "The name associated with the actor or entity that is making these changes."),
    "fieldSelector": ("string", "Return only objects with these fields."),
    "fieldValidation": ("string", "How to handle objects with unknown or duplicate fields: Ignore, Warn or Strict."),
    "follow": ("boolean", "Go on with what is written from now on."),
    "force": ("boolean", "Of an apply request: take over fields that others own."),
    "gracePeriodSeconds": ("integer", "Seconds before the object is deleted; 0 is at once."),
    "labelSelector": ("string", "Return only objects with these labels."),
    "limit": ("integer", "At most so many objects on a page."),
    "limitBytes": ("integer", "At most so many bytes of the log."),
    "orphanDependents": ("boolean", "Deprecated: use propagationPolicy."),
    "previous": ("boolean", "The log of the run before the last restart."),
    "propagationPolicy": ("string", "What becomes of dependents: Orphan, Background or Foreground."),
    "resourceVersion": ("string", "How new the answer has to be."),
    "resourceVersionMatch": ("string", "How resourceVersion is meant: Exact or NotOlderThan."),
    "sendInitialEvents": ("boolean", "Of a watch: begin with what is there."),
    "sinceSeconds": ("integer", "Lines not older than so many seconds."),
    "tailLines": ("integer", "At most so many lines from the end."),
    "timeoutSeconds": ("integer", "Seconds after which a list or watch ends."),
    "timestamps": ("boolean", "Begin lines with their times."),
    "watch": ("boolean", "Send changes as they come."),
}
_PATH = {"name": "name of the {kind}", "namespace": "object name and auth scope, such as for teams and projects"}
_PRETTY = ("string", "If 'true', then the output is pretty printed.")
_OF_WRITE = ("dryRun", "fieldManager", "fieldValidation")
_OF_DELETE = ("dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy")
_OF_COLLECTION = (
    "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion", "resourceVersionMatch",
    "sendInitialEvents", "timeoutSeconds",
)  # fmt: skip
_OF_LIST = ("allowWatchBookmarks", *_OF_COLLECTION, "watch")
_OF_LOG = ("container", "follow", "limitBytes", "previous", "sinceSeconds", "tailLines", "timestamps")
_OF_VERB = {
    "list": _OF_LIST,
    "deletecollection": (*_OF_DELETE, *_OF_COLLECTION),
    "create": _OF_WRITE,
    "update": _OF_WRITE,
    "patch": (*_OF_WRITE, "force"),
    "delete": _OF_DELETE,
    "get": (),
}
_METHODS = {
    "list": "get", "deletecollection": "delete", "create": "post", "get": "get", "update": "put", "patch": "patch",
    "delete": "delete",
}  # fmt: skip
_ACTIONS = {"create": "post", "update": "put"}
_ID_VERBS = {"get": "read", "update": "replace", "deletecollection": "delete"}
_CODES = {
    "create": ("200", "201", "202"), "update": ("200", "201"), "patch": ("200", "201"), "delete": ("200", "202"),
}  # fmt: skip
_CODE_TEXTS = {"200": "OK", "201": "Created", "202": "Accepted"}
_UNAUTHORIZED = {"401": {"description": "Unauthorized"}}
_TEXT: Json = {"type": "string"}
_REFERENCE = "#/components/schemas/"
_WORD = re.compile(r"[^A-Za-z0-9]+")


def long_name(name: str) -> str:
    """Return e.g. io.k8s.api.apps.v1.Deployment for apps.v1.Deployment."""
    head, _, rest = name.partition(".")
    return f"{_LONG_PREFIXES.get(head, f'io.k8s.api.{head}')}.{rest}"


def schema_name(resource: Resource, kind: str = "") -> str:
    """Return e.g. io.k8s.api.apps.v1.Deployment, or com.example.v1.Widget for a custom resource."""
    kind = kind or resource.kind
    known = vocabulary()["kinds"].get(f"{resource.api_version}/{kind}")
    if known is not None:
        return long_name(str(known))
    return ".".join([*reversed(resource.group.split(".")), resource.version, kind])


def is_custom(resource: Resource) -> bool:
    """Say whether a resource is none of the built-in ones."""
    return f"{resource.api_version}/{resource.kind}" not in vocabulary()["kinds"]


def gvk_of(api_version: str, kind: str) -> dict[str, str]:
    """Return a kind as x-kubernetes-group-version-kind says it."""
    group, _, version = api_version.rpartition("/")
    return {"group": group, "kind": kind, "version": version}


def types_of(resource: Resource, subresources: Iterable[Subresource]) -> list[str]:
    """Return the types of the vocabulary that a resource's paths name besides its own."""
    kinds = vocabulary()["kinds"]
    names = [f"{resource.api_version}/{resource.kind}List"]
    names += [f"{sub.api_version}/{sub.kind}" for sub in subresources if sub.kind != resource.kind]
    return [_STATUS, _DELETE_OPTIONS, *(str(kinds[name]) for name in names if name in kinds)]


def path_items(resource: Resource, subresources: Iterable[Subresource]) -> dict[str, Json]:
    """Return the v3 path items of a resource by path."""
    middle = "/namespaces/{namespace}" if resource.namespaced else ""
    collection = f"{resource.base_path}{middle}/{resource.plural}"
    every = [
        (collection, ("list", "create", "deletecollection"), None),
        (f"{collection}/{{name}}", ("get", "update", "patch", "delete"), None),
        *((f"{collection}/{{name}}/{sub.name}", ("get", "create", "update", "patch"), sub) for sub in subresources),
    ]
    found: dict[str, Json] = {}
    if resource.namespaced and "list" in resource.verbs:
        item = {"get": _operation(resource, "list", None, everywhere=True)}
        found[f"{resource.base_path}/{resource.plural}"] = {**item, "parameters": _of_path(resource, ())}
    for path, verbs, sub in every:
        offered = resource.verbs if sub is None else sub.verbs
        item = {_METHODS[verb]: _operation(resource, verb, sub) for verb in verbs if verb in offered}
        if item:
            names = [name for name in ("name", "namespace") if f"{{{name}}}" in path]
            found[path] = {**item, "parameters": _of_path(resource, names)}
    return found


def _of_path(resource: Resource, names: Iterable[str]) -> list[Json]:
    """Return the parameters that all operations on a path take."""
    found = [
        {
            "name": name, "in": "path", "description": _PATH[name].format(kind=resource.kind), "required": True,
            "schema": {"type": "string", "uniqueItems": True},
        }
        for name in names
    ]  # fmt: skip
    return [*found, _query("pretty", _PRETTY)]


def _query(name: str, about: tuple[str, str]) -> Json:
    return {
        "name": name, "in": "query", "description": about[1], "schema": {"type": about[0], "uniqueItems": True},
    }  # fmt: skip


def _camel(text: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in _WORD.split(text))


def _tag(resource: Resource) -> tuple[str, str]:
    """Return the group's word in operation ids, and the tag."""
    group = resource.group.removesuffix(".k8s.io") or "core"
    word = _camel(group)
    return word + _camel(resource.version), f"{word[:1].lower()}{word[1:]}_{resource.version}"


def _operation(resource: Resource, verb: str, sub: Subresource | None, *, everywhere: bool = False) -> Json:
    word, tag = _tag(resource)
    connects = sub is not None and sub.kind.endswith("Options")
    scope = "Namespaced" if resource.namespaced and not everywhere else ""
    kind = (
        _camel(resource.kind) + ("" if sub is None else _camel(sub.name)) + ("ForAllNamespaces" if everywhere else "")
    )
    if verb == "deletecollection":
        scope = f"Collection{scope}"
    lead = f"{'connect' if connects else _ID_VERBS.get(verb, verb)}{word}"
    if connects:
        lead += _METHODS[verb].capitalize()
    api_version = resource.api_version if sub is None else sub.api_version
    operation: Json = {
        "tags": [tag],
        "description": f"{verb} {resource.kind}" + ("" if sub is None else f" {sub.name}"),
        "operationId": f"{lead}{scope}{kind}",
        "responses": _responses(resource, verb, sub),
        "x-kubernetes-action": "connect" if connects else _ACTIONS.get(verb, verb),
        "x-kubernetes-group-version-kind": gvk_of(api_version, resource.kind if sub is None else sub.kind),
    }
    names = _OF_LOG if sub is not None and sub.name == "log" else () if connects else _OF_VERB[verb]
    if names:
        operation["parameters"] = [_query(name, _QUERY[name]) for name in names]
    body = None if connects else _request(resource, verb, sub)
    if body is not None:
        operation["requestBody"] = body
    return operation


def _body_schema(resource: Resource, sub: Subresource | None) -> Json:
    if sub is None or sub.kind == resource.kind:
        return {"$ref": _REFERENCE + schema_name(resource)}
    name = vocabulary()["kinds"].get(f"{sub.api_version}/{sub.kind}")
    return {"type": "object"} if name is None else {"$ref": _REFERENCE + long_name(str(name))}


def _responses(resource: Resource, verb: str, sub: Subresource | None) -> Json:
    media: tuple[str, ...] = _PRODUCED
    if sub is not None and (sub.name == "log" or sub.kind.endswith("Options")):
        schema = _TEXT
        media = (*_PRODUCED, "text/plain") if sub.name == "log" else ("*/*",)
    elif verb == "list":
        schema = {"$ref": _REFERENCE + schema_name(resource, f"{resource.kind}List")}
        media = (*_PRODUCED, *_WATCHED)
    elif verb in {"delete", "deletecollection"}:
        schema = {"$ref": _REFERENCE + long_name(_STATUS)}
    else:
        schema = _body_schema(resource, sub)
    if is_custom(resource):
        media = tuple(name for name in media if "protobuf" not in name)
    content = {name: {"schema": schema} for name in media}
    codes = _CODES.get(verb, ("200",))
    return {code: {"description": _CODE_TEXTS[code], "content": content} for code in codes} | _UNAUTHORIZED


def _request(resource: Resource, verb: str, sub: Subresource | None) -> Json | None:
    if verb == "patch":
        media = tuple(m for m in _PATCH_MEDIA if not (is_custom(resource) and "strategic" in m))
        return {"content": {name: {"schema": {"type": "object"}} for name in media}, "required": True}
    if verb in {"delete", "deletecollection"}:
        return {"content": {"*/*": {"schema": {"$ref": _REFERENCE + long_name(_DELETE_OPTIONS)}}}}
    if verb in {"create", "update"}:
        return {"content": {"*/*": {"schema": _body_schema(resource, sub)}}, "required": True}
    return None


def as_v2(items: dict[str, Json]) -> dict[str, Json]:
    """Return v3 path items in v2's words."""
    return {
        path: {
            key: [_parameter_v2(p) for p in value] if key == "parameters" else _operation_v2(value)
            for key, value in item.items()
        }
        for path, item in items.items()
    }


def _parameter_v2(parameter: Json) -> Json:
    return {**{key: value for key, value in parameter.items() if key != "schema"}, **parameter["schema"]}


def _operation_v2(operation: Json) -> Json:
    found = {key: value for key, value in operation.items() if key not in {"parameters", "requestBody", "responses"}}
    body = operation.get("requestBody")
    parameters = []
    if body is not None:
        found["consumes"] = list(body["content"])
        schema = _schema_v2(next(iter(body["content"].values()))["schema"])
        parameters.append(
            {"name": "body", "in": "body", "schema": schema} | ({"required": True} if "required" in body else {})
        )
    parameters += [_parameter_v2(parameter) for parameter in operation.get("parameters", [])]
    if parameters:
        found["parameters"] = parameters
    found["responses"] = responses = {}
    for code, response in operation["responses"].items():
        content = response.get("content")
        responses[code] = {"description": response["description"]}
        if content:
            found["produces"] = list(content)
            responses[code]["schema"] = _schema_v2(next(iter(content.values()))["schema"])
    return found


def _schema_v2(schema: Json) -> Json:
    reference = schema.get("$ref")
    return schema if reference is None else {"$ref": reference.replace(_REFERENCE, "#/definitions/")}
