"""The paths of the OpenAPI documents: a resource and its subresources in, path items out, in v3's words and v2's.

kubectl asks them which parameters a request takes; generated clients and fuzzers read what may be sent and what comes
back. Operation ids are the real server's, so that generated clients get the same names.
"""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import orjson

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
_PATCH, _WATCH_EVENT, _RESOURCES = "meta.v1.Patch", "meta.v1.WatchEvent", "meta.v1.APIResourceList"
_PATCH_MEDIA = (
    "application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)  # fmt: skip
PRODUCED = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
_WATCHED = ("application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch")
_PATH = {
    "name": "name of the {kind}",
    "namespace": "object name and auth scope, such as for teams and projects",
    "path": "path to the resource",
}
_OF_WRITE = ("dryRun", "fieldManager", "fieldValidation")
_OF_DELETE = (
    "dryRun", "gracePeriodSeconds", "ignoreStoreReadErrorWithClusterBreakingPotential", "orphanDependents",
    "propagationPolicy",
)  # fmt: skip
_OF_COLLECTION = (
    "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion", "resourceVersionMatch",
    "sendInitialEvents", "shardSelector", "timeoutSeconds",
)  # fmt: skip
_OF_LIST = ("allowWatchBookmarks", *_OF_COLLECTION, "watch")
_OF_VERB = {
    "list": _OF_LIST,
    "watch": _OF_LIST,
    "watchlist": _OF_LIST,
    "deletecollection": (*_OF_DELETE, *_OF_COLLECTION),
    "create": _OF_WRITE,
    "update": _OF_WRITE,
    "patch": (*_OF_WRITE, "force"),
    "delete": _OF_DELETE,
    "get": (),
}
_OF_PART: dict[str, tuple[str, ...]] = {
    "log": (
        "container", "follow", "insecureSkipTLSVerifyBackend", "limitBytes", "previous", "sinceSeconds", "stream",
        "tailLines", "timestamps",
    ),
    "attach": ("container", "stderr", "stdin", "stdout", "tty"),
    "exec": ("command", "container", "stderr", "stdin", "stdout", "tty"),
    "portforward": ("ports",),
    "proxy": ("path",),
}  # fmt: skip
# What proxies pass on, and how each is called where it stands for itself.
_PROXIED = ("get", "put", "post", "delete", "options", "head", "patch")
_METHODS = {
    "list": "get", "deletecollection": "delete", "create": "post", "get": "get", "update": "put", "patch": "patch",
    "delete": "delete", "watch": "get", "watchlist": "get",
}  # fmt: skip
_ACTIONS = {"create": "post", "update": "put"}
_ID_VERBS = {"get": "read", "update": "replace", "deletecollection": "delete", "watchlist": "watch"}
_DONE = {"get": "read", "update": "replace", "patch": "partially update"}
_DEPRECATED = "deprecated: use the 'watch' parameter with a list operation instead"
_CODES = {
    "create": ("200", "201", "202"), "update": ("200", "201"), "patch": ("200", "201"), "delete": ("200", "202"),
}  # fmt: skip
_CODE_TEXTS = {"200": "OK", "201": "Created", "202": "Accepted"}
_UNAUTHORIZED = {"401": {"description": "Unauthorized"}}
_TEXT: Json = {"type": "string"}
REFERENCE = "#/components/schemas/"
_DATA = Path(__file__).parent / "data" / "openapi.json"
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
    names = [f"{resource.api_version}/{resource.kind}List"] if "list" in resource.verbs else []
    names += [f"{sub.api_version}/{sub.kind}" for sub in subresources if sub.kind != resource.kind]
    found = [_RESOURCES] if not is_custom(resource) else []
    if not {"delete", "deletecollection"}.isdisjoint(resource.verbs):
        found += [_STATUS, _DELETE_OPTIONS]
    if "patch" in resource.verbs:
        found.append(_PATCH)
    if "watch" in resource.verbs and not is_custom(resource):
        found.append(_WATCH_EVENT)
    return [*found, *(str(kinds[name]) for name in names if name in kinds)]


def path_items(
    resource: Resource, subresources: Iterable[Subresource], *, returns_deleted: bool = False
) -> dict[str, Json]:
    """Return the v3 path items of a resource by path.

    Args:
        resource: Which.
        subresources: Those that act.
        returns_deleted: Who deletes one gets it, not a Status.
    """
    base = resource.base_path
    middle = "/namespaces/{namespace}" if resource.namespaced else ""
    collection = f"{middle}/{resource.plural}"
    found: dict[str, Json] = {}
    custom = is_custom(resource)
    if not custom:
        word, tag = _tag(resource)
        about = _answer({"$ref": REFERENCE + long_name(_RESOURCES)}, PRODUCED)
        operation = {"tags": [tag], "description": "get available resources", "operationId": f"get{word}APIResources"}
        found[f"{base}/"] = {"get": {**operation, "responses": {"200": about} | _UNAUTHORIZED}}
    everywhere = resource.namespaced and "list" in resource.verbs
    if everywhere:
        found |= _item(resource, f"{base}/{resource.plural}", ("list",), None, everywhere=True)
    found |= _item(resource, base + collection, ("list", "create", "deletecollection"), None)
    name = f"{collection}/{{name}}"
    found |= _item(resource, base + name, ("get", "update", "patch", "delete"), None, returns_deleted=returns_deleted)
    for sub in subresources:
        path = f"{base}{name}/{sub.name}"
        found |= _item(resource, path, ("get", "create", "update", "patch"), sub)
        if sub.name == "proxy":
            found |= _item(resource, f"{path}/{{path}}", (), sub)
    if "watch" in resource.verbs and not custom:
        watched = f"{base}/watch"
        if everywhere:
            found |= _item(resource, f"{watched}/{resource.plural}", ("watchlist",), None, everywhere=True)
        found |= _item(resource, watched + collection, ("watchlist",), None)
        found |= _item(resource, watched + name, ("watch",), None)
    return found


def _item(
    resource: Resource, path: str, verbs: tuple[str, ...], sub: Subresource | None, *, everywhere: bool = False,
    returns_deleted: bool = False,
) -> dict[str, Json]:  # fmt: skip
    """Return the item of a path with what can be done there; parameters that all of it takes stand once."""
    offered = {*resource.verbs, "watchlist"} if sub is None else {*sub.verbs}
    methods: dict[str, Json] = {}
    parameters: dict[str, dict[tuple[str, str], Json]] = {}
    proxied = sub is not None and sub.name == "proxy"
    for verb in _PROXIED if proxied else [verb for verb in verbs if verb in offered]:
        method = verb if proxied else _METHODS[verb]
        methods[method] = _operation(resource, verb, sub, path, everywhere=everywhere, returns_deleted=returns_deleted)
        parameters[method] = _parameters(resource, verb, sub, path)
    if not methods:
        return {}
    shared = set.intersection(*(set(each) for each in parameters.values()))
    first = next(iter(parameters.values()))
    shared = {key for key in shared if all(each[key] == first[key] for each in parameters.values())}
    for method, own in parameters.items():
        rest = [own[key] for key in sorted(own) if key not in shared]
        if rest:
            methods[method]["parameters"] = rest
    return {path: {**methods, "parameters": [first[key] for key in sorted(shared)]}}


def _parameters(resource: Resource, verb: str, sub: Subresource | None, path: str) -> dict[tuple[str, str], Json]:
    """Return the parameters of an operation by name and place."""
    connects = sub is not None and sub.kind.endswith("Options")
    names: tuple[str, ...] = _OF_PART.get(sub.name, ()) if sub is not None else ()
    if not names and not connects:
        names = _OF_VERB[verb]
    if is_custom(resource) and sub is None:
        # As definitions' own documents say it.
        names = _OF_LIST if verb == "deletecollection" else ("resourceVersion",) if verb == "get" else names
    kind_of_name = sub.kind if sub is not None else resource.kind
    found = {
        (name, "path"): {
            "name": name, "in": "path", "description": _PATH[name].format(kind=kind_of_name), "required": True,
            "schema": {"type": "string", "uniqueItems": True},
        }
        for name in _PATH if f"{{{name}}}" in path
    }  # fmt: skip
    known = _texts()["parameters"]
    for name in names if connects else (*names, "pretty"):
        keys = [f"{name}@{verb}"] + ([f"{name}@{sub.name}", f"{name}@{resource.kind}"] if sub is not None else [])
        kind, text = next((known[key] for key in keys if key in known), known.get(name))
        found[name, "query"] = {
            "name": name, "in": "query", "description": text, "schema": {"type": kind, "uniqueItems": True},
        }  # fmt: skip
    return found


@cache
def _texts() -> Json:
    """Return what of the documents follows from nothing: texts of parameters, defaults, some descriptions."""
    texts: Json = orjson.loads(_DATA.read_bytes())
    return texts


def schema_texts(name: str) -> Json:
    """Return what is to be said of a type beyond what the vocabulary and its documentation say: field → keywords."""
    found: Json = _texts()["schemas"].get(name, {})
    return found


def _camel(text: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in _WORD.split(text))


def _group_word(group: str) -> str:
    return _camel(group.removesuffix(".k8s.io") or "core")


def _tag(resource: Resource) -> tuple[str, str]:
    """Return the group's word in operation ids, and the tag."""
    word = _group_word(resource.group)
    return word + _camel(resource.version), f"{word[:1].lower()}{word[1:]}_{resource.version}"


def _operation(
    resource: Resource, verb: str, sub: Subresource | None, path: str, *, everywhere: bool, returns_deleted: bool
) -> Json:
    word, tag = _tag(resource)
    connects = sub is not None and sub.kind.endswith("Options")
    scope = "Namespaced" if resource.namespaced and not everywhere else ""
    kind = _camel(resource.kind) + ("" if sub is None else _camel(sub.name))
    kind += "List" if verb == "watchlist" else ""
    kind += "ForAllNamespaces" if everywhere else "WithPath" if path.endswith("{path}") else ""
    if verb == "deletecollection":
        scope = f"Collection{scope}"
    lead = f"{'connect' if connects else _ID_VERBS.get(verb, verb)}{word}"
    method = _METHODS.get(verb, verb)
    if connects:
        lead += method.capitalize()
    api_version = resource.api_version if sub is None else sub.api_version
    operation: Json = {
        "tags": [tag],
        "description": _description(resource, "connect" if connects else verb, sub, method),
        "operationId": f"{lead}{scope}{kind}",
        "responses": _responses(resource, verb, sub, returns_deleted=returns_deleted),
        "x-kubernetes-action": "connect" if connects else _ACTIONS.get(verb, verb),
        "x-kubernetes-group-version-kind": gvk_of(api_version, resource.kind if sub is None else sub.kind),
    }
    body = None if connects else _request(resource, verb, sub)
    if body is not None:
        operation["requestBody"] = body
    return operation


def _description(resource: Resource, verb: str, sub: Subresource | None, method: str) -> str:
    kind = resource.kind
    plural = kind.endswith("s") and not kind.endswith("ss")
    one = kind if plural else f"{'an' if kind[0] in 'AEIOU' else 'a'} {kind}"
    if verb == "connect":
        return f"connect {method.upper()} requests to {sub.name if sub else ''} of {kind}"
    if verb in _DONE:
        return f"{_DONE[verb]} {f'{sub.name} of ' if sub else ''}the specified {kind}"
    if verb == "list":
        return f"list {'or watch ' if 'watch' in resource.verbs else ''}objects of kind {kind}"
    if verb == "watchlist":
        return f"watch individual changes to a list of {kind}. {_DEPRECATED}."
    if verb == "watch":
        filtered = "filtered to a single item with the 'fieldSelector' parameter"
        return f"watch changes to an object of kind {kind}. {_DEPRECATED}, {filtered}."
    if verb == "deletecollection":
        return f"delete collection of {kind}"
    return f"{verb} {f'{sub.name} of ' if sub else ''}{one}"


def _body_schema(resource: Resource, sub: Subresource | None) -> Json:
    if sub is None or sub.kind == resource.kind:
        return {"$ref": REFERENCE + schema_name(resource)}
    name = vocabulary()["kinds"].get(f"{sub.api_version}/{sub.kind}")
    return {"type": "object"} if name is None else {"$ref": REFERENCE + long_name(str(name))}


def _answer(schema: Json, media: Iterable[str], code: str = "200") -> Json:
    return {"description": _CODE_TEXTS[code], "content": {name: {"schema": schema} for name in media}}


def _responses(resource: Resource, verb: str, sub: Subresource | None, *, returns_deleted: bool) -> Json:
    media: tuple[str, ...] = PRODUCED
    codes = _CODES.get(verb, ("200",))
    if sub is not None and (sub.name == "log" or sub.kind.endswith("Options")):
        schema, codes = _TEXT, ("200",)
        media = ("text/plain", *PRODUCED) if sub.name == "log" else ("*/*",)
    elif verb == "list":
        schema = {"$ref": REFERENCE + schema_name(resource, f"{resource.kind}List")}
        media = (*PRODUCED, *_WATCHED)
    elif verb in {"watch", "watchlist"}:
        schema = {"$ref": REFERENCE + long_name(_WATCH_EVENT)}
        media = (*PRODUCED, *_WATCHED)
    elif verb == "deletecollection" or (verb == "delete" and not returns_deleted):
        schema = {"$ref": REFERENCE + long_name(_STATUS)}
    else:
        schema = _body_schema(resource, sub)
    if is_custom(resource):
        media = ("application/json", "application/yaml")
    return {code: _answer(schema, media, code) for code in codes} | _UNAUTHORIZED


def _request(resource: Resource, verb: str, sub: Subresource | None) -> Json | None:
    if verb == "patch":
        media = tuple(m for m in _PATCH_MEDIA if not (is_custom(resource) and "strategic" in m))
        return {
            "content": {name: {"schema": {"$ref": REFERENCE + long_name(_PATCH)}} for name in media},
            "required": True,
        }
    if verb in {"delete", "deletecollection"}:
        if verb == "deletecollection" and is_custom(resource):
            return None
        return {"content": {"*/*": {"schema": {"$ref": REFERENCE + long_name(_DELETE_OPTIONS)}}}}
    if verb in {"create", "update"}:
        return {"content": {"*/*": {"schema": _body_schema(resource, sub)}}, "required": True}
    return None


def root_items(groups: Iterable[str]) -> dict[str, tuple[dict[str, Json], list[str]]]:
    """Return the documents of paths that are no resources: by name, their path items and the types that they answer with.

    Args:
        groups: The built-in ones, without the core's.
    """
    found = {
        "api": _root("api", "core", "get available API versions", "getCoreAPIVersions", "meta.v1.APIVersions"),
        "apis": _root("apis", "apis", "get available API versions", "getAPIVersions", "meta.v1.APIGroupList"),
        "version": _root(
            "version", "version", "get the version information for this server", "getCodeVersion", "version.Info"
        ),
        ".well-known/openid-configuration": _root(
            ".well-known/openid-configuration", "WellKnown",
            "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'",
            "getServiceAccountIssuerOpenIDConfiguration", "",
        ),
        "openid/v1/jwks": _root(
            "openid/v1/jwks", "openid",
            "get service account issuer OpenID JSON Web Key Set (contains public token verification keys)",
            "getServiceAccountIssuerOpenIDKeyset", "",
        ),
    }  # fmt: skip
    for group in groups:
        word = _group_word(group)
        tag = f"{word[:1].lower()}{word[1:]}"
        path = f"apis/{group}"
        found[path] = _root(path, tag, "get information of a group", f"get{word}APIGroup", "meta.v1.APIGroup")
    return found


def _root(path: str, tag: str, about: str, operation: str, answered: str) -> tuple[dict[str, Json], list[str]]:
    schema = {"$ref": REFERENCE + long_name(answered)} if answered else _TEXT
    media: tuple[str, ...] = PRODUCED if answered.startswith("meta.") else ("application/json",)
    if path.endswith("jwks"):
        media = ("application/jwk-set+json",)
    item = {
        "tags": [tag], "description": about, "operationId": operation,
        "responses": {"200": _answer(schema, media)} | _UNAUTHORIZED,
    }  # fmt: skip
    return {f"/{path}/": {"get": item}}, [answered] if answered else []
