"""Writes src/kubedyno/kube/data/vocabulary.json: every built-in resource and type of Kubernetes, compactly.

Sources: `lightkube-models` (resources, verbs, subresources) and `kubernetes-validate` (types, merge keys, list
types), both of the version pinned in pyproject.toml; short names and categories are a small table of our own,
because no package has them. Run it with the development environment: `python tools/vocabulary.py`.
"""

import importlib
import json
import pkgutil
import sys
import types as types_of
from pathlib import Path
from typing import Any

import kubernetes_validate

OUTPUT = Path(__file__).resolve().parents[1] / "src/kubedyno/kube/data/vocabulary.json"
DEFINITIONS = "kubernetes-json-schema/v1.36.0-local/_definitions.json"
VERBS = {
    "delete": "delete",
    "deletecollection": "deletecollection",
    "get": "get",
    "list": "list",
    "global_list": "list",
    "watch": "watch",
    "global_watch": "watch",
    "patch": "patch",
    "post": "create",
    "put": "update",
}
SHORT_NAMES = {
    "componentstatuses": ["cs"],
    "configmaps": ["cm"],
    "endpoints": ["ep"],
    "events": ["ev"],
    "limitranges": ["limits"],
    "namespaces": ["ns"],
    "nodes": ["no"],
    "persistentvolumeclaims": ["pvc"],
    "persistentvolumes": ["pv"],
    "pods": ["po"],
    "replicationcontrollers": ["rc"],
    "resourcequotas": ["quota"],
    "serviceaccounts": ["sa"],
    "services": ["svc"],
    "customresourcedefinitions": ["crd", "crds"],
    "daemonsets": ["ds"],
    "deployments": ["deploy"],
    "replicasets": ["rs"],
    "statefulsets": ["sts"],
    "horizontalpodautoscalers": ["hpa"],
    "cronjobs": ["cj"],
    "certificatesigningrequests": ["csr"],
    "ingresses": ["ing"],
    "networkpolicies": ["netpol"],
    "poddisruptionbudgets": ["pdb"],
    "priorityclasses": ["pc"],
    "storageclasses": ["sc"],
    "volumeattributesclasses": ["vac"],
    "ipaddresses": ["ip"],
}
IN_ALL = {
    "pods",
    "replicationcontrollers",
    "services",
    "daemonsets",
    "deployments",
    "replicasets",
    "statefulsets",
    "horizontalpodautoscalers",
    "cronjobs",
    "jobs",
}
API_EXTENSIONS = {
    "customresourcedefinitions",
    "apiservices",
    "mutatingwebhookconfigurations",
    "validatingwebhookconfigurations",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
}


def stand_in() -> None:
    """Stand in for `lightkube.core`, which the models refer to and which comes with another package."""

    class Info:
        def __init__(self, **values: Any) -> None:
            self.action = self.parent = None
            self.__dict__.update(values)

    class Definition:
        def __init__(self, group: str, version: str, kind: str) -> None:
            self.group, self.version, self.kind = group, version, kind

    core, resource = types_module("lightkube.core"), types_module("lightkube.core.resource")
    core.resource = resource  # type: ignore[attr-defined]
    resource.ApiInfo, resource.ResourceDef = Info, Definition  # type: ignore[attr-defined]

    def missing(name: str) -> type:
        return type(name, (), {})

    resource.__getattr__ = missing  # type: ignore[method-assign]
    # The models themselves are of no use here: only the resources' class names and ApiInfo are.
    models = types_module("lightkube.models")

    def model(name: str) -> types_of.ModuleType:
        module = types_of.ModuleType(name)
        module.__getattr__ = missing  # type: ignore[method-assign]
        return module

    models.__getattr__ = model  # type: ignore[method-assign]


def types_module(name: str) -> types_of.ModuleType:
    """Put an empty module of that name among those loaded, and return it."""
    module = sys.modules[name] = types_of.ModuleType(name)
    return module


def resources() -> list[dict[str, Any]]:
    """Read lightkube's resource classes."""
    stand_in()
    package = importlib.import_module("lightkube.resources")
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    subresources: list[tuple[tuple[str, str, str], str, list[str], str]] = []
    for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
        for thing in vars(importlib.import_module(f"lightkube.resources.{module}")).values():
            info = getattr(thing, "_api_info", None)
            if info is None or not isinstance(thing, type):
                continue
            verbs = sorted({VERBS[v] for v in info.verbs})
            if info.action:
                parent = info.parent
                key = (parent.group, parent.version, info.plural)
                kind = f"{info.resource.group}/{info.resource.version}/{info.resource.kind}".lstrip("/")
                subresources.append((key, info.action, verbs, kind))
                continue
            definition = info.resource
            namespaced = any("Namespaced" in base.__name__ for base in thing.__mro__)
            found[definition.group, definition.version, info.plural] = {
                "group": definition.group,
                "version": definition.version,
                "plural": info.plural,
                "kind": definition.kind,
                "namespaced": namespaced,
                "verbs": verbs,
                "short": SHORT_NAMES.get(info.plural, []) if definition.group != "events.k8s.io" else ["ev"],
                "categories": (["all"] if info.plural in IN_ALL else [])
                + (["api-extensions"] if info.plural in API_EXTENSIONS else []),
                "sub": {},
            }
    for key, action, verbs, kind in subresources:
        if key in found:
            found[key]["sub"][action] = {"verbs": verbs, "kind": kind}
    return [found[key] for key in sorted(found)]


def types() -> tuple[dict[str, Any], dict[str, str]]:
    """Read the type definitions: type → {"f": fields, "r": required, "a": atomic}, and api version/kind → type."""
    path = Path(kubernetes_validate.__file__).parent / DEFINITIONS
    definitions = json.loads(path.read_text())["$defs"]
    result: dict[str, Any] = {}
    kinds: dict[str, str] = {}
    for name, definition in definitions.items():
        short = shorten(name)
        for gvk in definition.get("x-kubernetes-group-version-kind", ()):
            kinds["/".join(part for part in (gvk["group"], gvk["version"], gvk["kind"]) if part)] = short
        if "properties" not in definition:
            continue
        fields = {field: shape(schema) for field, schema in definition["properties"].items()}
        result[short] = {"f": fields}
        if definition.get("required"):
            result[short]["r"] = definition["required"]
        if definition.get("x-kubernetes-map-type") == "atomic":
            result[short]["a"] = True
    return result, kinds


def shorten(name: str) -> str:
    """Return a definition's name without the packages that all have."""
    for prefix in ("io.k8s.api.", "io.k8s.apimachinery.pkg.apis.", "io.k8s.apimachinery.pkg.", "io.k8s."):
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def shape(schema: dict[str, Any]) -> list[Any]:
    """Return [form, type, …]: form "" plain, "l" list, "m" map; then merge key, strategy, list type, map keys, map type."""
    kind = schema.get("type")
    kind = next((k for k in kind if k != "null"), "object") if isinstance(kind, list) else kind
    if kind == "array":
        element = shape(schema.get("items", {}))
        entry: list[Any] = ["l", element[1] if element[0] == "" else element]
        extra = {
            key: schema[source]
            for key, source in (
                ("mk", "x-kubernetes-patch-merge-key"),
                ("st", "x-kubernetes-patch-strategy"),
                ("lt", "x-kubernetes-list-type"),
                ("lk", "x-kubernetes-list-map-keys"),
            )
            if source in schema
        }
        return [*entry, extra] if extra else entry
    if "$ref" in schema:
        entry = ["", "#" + shorten(schema["$ref"].rpartition("/")[2])]
    elif kind == "object" and "additionalProperties" in schema:
        element = shape(schema["additionalProperties"])
        entry = ["m", element[1] if element[0] == "" else element]
    else:
        entry = ["", kind or "any"]
    extra = {
        key: schema[source]
        for key, source in (("st", "x-kubernetes-patch-strategy"), ("mt", "x-kubernetes-map-type"))
        if source in schema
    }
    return [*entry, extra] if extra else entry


def main() -> int:
    """Write the file."""
    fields, kinds = types()
    document = {"resources": resources(), "types": fields, "kinds": kinds}
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(document, separators=(",", ":"), sort_keys=True) + "\n")
    print(f"{len(document['resources'])} resources, {len(fields)} types, {OUTPUT.stat().st_size // 1024} KB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
