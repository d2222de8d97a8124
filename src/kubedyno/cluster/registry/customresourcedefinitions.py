"""apiextensions.k8s.io: definitions of custom resources. What becomes of them is in `customresourceserving`."""

from typing import Any

from kubedyno.cluster.registry import customresourcepaths as paths
from kubedyno.cluster.registry.customresources import AGE_TEXT, NAME_COLUMN
from kubedyno.cluster.registry.groupapproval import approval_causes
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.kinds.admissionregistration import client_causes, review_version_causes
from kubedyno.cluster.registry.kinds.rules import one_of
from kubedyno.cluster.registry.schemacel import rule_warnings
from kubedyno.cluster.registry.schemarules import schema_causes
from kubedyno.cluster.registry.schemavalidation import KNOWN_FORMATS
from kubedyno.cluster.registry.selectablefields import selectable_causes
from kubedyno.kube.gostructs import shown
from kubedyno.kube.names import problems_of_dns1035_label, problems_of_dns1123_subdomain
from kubedyno.kube.resources import built_in
from kubedyno.kube.status import Cause, forbidden_field, invalid_value, not_supported, required

CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
_SCOPES = ("Cluster", "Namespaced")
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_VERSION = "apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinitionVersion"
_OFTEN_SHARED = ("schema", "subresources", "additionalPrinterColumns", "selectableFields")
_SCHEMA_MEMBERS = frozenset({"additionalItems", "additionalProperties", "allOf", "anyOf", "items", "not", "oneOf"})


CUSTOMRESOURCEDEFINITIONS = built_in("apiextensions.k8s.io", "customresourcedefinitions")


class CustomResourceDefinitions(Kind):
    """apiextensions.k8s.io/v1 CustomResourceDefinition."""

    standard_finalizers = False
    has_status = True
    has_generation = True
    unconditional_update = False
    deletion_finalizers = (CLEANUP,)
    deletion_noted = False

    def decode(self, obj: Any, field_validation: str = "Warn", warnings: list[str] | None = None) -> Object:
        new = super().decode(obj, field_validation, warnings)
        if isinstance(obj.get("spec"), dict) and obj["spec"].get("versions") == []:
            # Kept as JSON: an empty list is no absent one here.
            new["spec"]["versions"] = []
        return new

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        names = spec.setdefault("names", {})
        if names.get("kind"):
            names.setdefault("singular", names["kind"].lower())
            names.setdefault("listKind", names["kind"] + "List")
        spec.setdefault("conversion", {"strategy": "None"})
        conversion = spec["conversion"]
        config = conversion.get("webhook", {}).get("clientConfig", {})
        if conversion.get("strategy") == "Webhook" and "service" in config:
            config["service"].setdefault("port", 443)
        for version in spec.get("versions", ()):
            version.setdefault("served", False)
            version.setdefault("storage", False)
        if "status" in obj and not obj["status"].get("storedVersions"):
            stored = [version.get("name", "") for version in spec.get("versions", ()) if version["storage"]]
            obj["status"]["storedVersions"] = stored[:1]

    def prepare_create(self, obj: Object) -> None:
        stored = [v.get("name", "") for v in obj["spec"].get("versions", ()) if v["storage"]]
        obj["status"] = {
            "conditions": None,
            "acceptedNames": {"plural": "", "kind": ""},
            "storedVersions": stored[:1] or None,
        }

    def prepare_update(self, obj: Object, old: Object) -> None:
        status = dict(old.get("status", {}))
        versions = list(status.get("storedVersions") or ())
        versions += [v["name"] for v in obj["spec"].get("versions", ()) if v["storage"] and v["name"] not in versions]
        obj["status"] = {**status, "storedVersions": versions}

    # --- validation ------------------------------------------------------------------------------------------

    def validate(self, obj: Object) -> list[Cause]:
        spec, name = obj["spec"], obj["metadata"].get("name", "")
        names, group = spec["names"], spec.get("group", "")
        causes: list[Cause] = []
        if name and name != f"{names.get('plural', '')}.{group}":
            causes.append(invalid_value("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
        return causes + self._causes(obj)

    def _causes(self, obj: Object) -> list[Cause]:
        spec = obj["spec"]
        names, group = spec["names"], spec.get("group", "")
        causes = approval_causes(obj)
        if not group:
            causes.append(required("spec.group"))
        else:
            problems = problems_of_dns1123_subdomain(group)
            if problems:
                causes.append(invalid_value("spec.group", group, ",".join(problems)))
            elif len(group.split(".")) < 2:
                causes.append(invalid_value("spec.group", group, "should be a domain with at least one dot"))
        scope = spec.get("scope", "")
        if scope not in _SCOPES:
            causes.append(not_supported("spec.scope", scope, _SCOPES) if scope else required("spec.scope"))
        causes += self._version_causes(spec)
        causes += _name_causes(names)
        causes += _shared_causes(spec.get("versions", ()))
        causes += self._conversion_causes(spec)
        if not obj.get("status", {}).get("storedVersions"):
            text = "must have at least one stored version"
            causes.append(invalid_value("status.storedVersions", None, text))
        else:
            causes += _stored_causes(obj["status"]["storedVersions"], spec.get("versions", ()))
        return causes

    def _version_causes(self, spec: Object) -> list[Cause]:
        versions = spec.get("versions", [])
        seen: set[str] = set()
        schemas = [_schema_of(v) for v in versions]
        shared = all(schema == schemas[0] for schema in schemas)
        causes = [
            required(f"spec.versions[{i}].schema.openAPIV3Schema") for i, schema in enumerate(schemas) if schema is None
        ]
        for i, version in enumerate(versions):
            path, name = f"spec.versions[{i}]", version.get("name", "")
            if name in seen:
                listed = [_shown_version(v, shared=shared) for v in versions]
                causes.append(invalid_value("spec.versions", listed, "must contain unique version names"))
            seen.add(name)
            problems = problems_of_dns1035_label(name)
            causes += [invalid_value(f"{path}.name", name, ",".join(problems))] if problems else []
            if version.get("deprecationWarning") and not version.get("deprecated"):
                text = "can only be set for deprecated versions"
                causes.append(invalid_value(f"{path}.deprecationWarning", version["deprecationWarning"], text))
            own = {member: version.get(member) for member in _OFTEN_SHARED if not _is_shared(versions, member)}
            causes += _described_causes({**own, "name": name}, path, f"{path}.schema")
            if "selectableFields" in own:
                causes += selectable_causes(version, _schema_of(own), path)
        if sum(bool(v.get("storage")) for v in versions) != 1:
            text = "must have exactly one version marked as storage version"
            causes.append(
                invalid_value(
                    "spec.versions",
                    [_shown_version(v, shared=shared) for v in versions] if "versions" in spec else None,
                    text,
                )
            )
        problems = problems_of_dns1035_label(versions[0].get("name", "")) if versions else []
        if problems and versions[0].get("name"):
            causes.append(invalid_value("spec.version", versions[0]["name"], ",".join(problems)))
        return causes

    def _conversion_causes(self, spec: Object) -> list[Cause]:
        conversion = spec["conversion"]
        path, client_path = "spec.conversion", "spec.conversion.webhookClientConfig"
        webhook = conversion.get("webhook", {})
        client, reviews = webhook.get("clientConfig"), webhook.get("conversionReviewVersions") or []
        causes = one_of(f"{path}.strategy", conversion.get("strategy"), ("None", "Webhook"), needed=True)
        if conversion.get("strategy") == "Webhook":
            if client is None:
                causes.append(required(client_path, "required when strategy is set to Webhook"))
            else:
                causes += client_causes(client, client_path)
            if reviews:
                causes += review_version_causes(reviews, f"{path}.conversionReviewVersions")
            else:
                causes.append(required(f"{path}.conversionReviewVersions"))
        else:
            text = "should not be set when strategy is not set to Webhook"
            causes += [forbidden_field(client_path, text)] if client is not None else []
            causes += [forbidden_field(f"{path}.conversionReviewVersions", text)] if reviews else []
        if causes:
            return causes
        if spec.get("preserveUnknownFields"):
            text = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
            return [invalid_value("spec.preserveUnknownFields", True, text)]
        return []

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        causes = self._causes(obj)
        spec, before = obj["spec"], old["spec"]
        causes += [
            invalid_value(f"spec.{name}", spec.get(name), "field is immutable")
            for name in ("group", "scope")
            if spec.get(name) != before.get(name)
        ]
        for name in ("plural", "kind"):
            established = any(
                c["type"] == "Established" and c["status"] == "True" for c in old["status"].get("conditions") or ()
            )
            if established and spec["names"].get(name) != before["names"].get(name):
                causes.append(invalid_value(f"spec.names.{name}", spec["names"].get(name), "field is immutable"))
        return causes

    def warnings(self, obj: Object) -> list[str]:
        found = []
        for version in obj["spec"].get("versions", ()):
            found += rule_warnings(version.get("schema"))
        return found + [f'unrecognized format "{name}"' for name in _unknown_formats(obj)]

    def warnings_of_change(self, obj: Object, old: Object) -> list[str]:
        known = {f'unrecognized format "{name}"' for name in _unknown_formats(old)}
        return [text for text in self.warnings(obj) if text not in known]

    def columns(self) -> list[Object]:
        created = {"name": "Created At", "type": "date", "format": "", "description": AGE_TEXT, "priority": 0}
        return [NAME_COLUMN, created]

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        _ = now_s
        return [obj["metadata"]["name"], obj["metadata"].get("creationTimestamp", "")]


def _stored_causes(stored: list[str], versions: list[Object]) -> list[Cause]:
    """Return what is wrong with what a definition says of the versions that its objects were stored in."""
    path, causes = "status.storedVersions", []
    left = {name: i for i, name in enumerate(stored)}
    for version in versions:
        name = version.get("name", "")
        if version.get("storage") and name not in left:
            causes.append(invalid_value(path, stored, f"must have the storage version {name}"))
        left.pop(name, None)
    for name, i in left.items():
        text = (
            f"missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until "
            f"a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
        )
        causes.append(invalid_value(f"{path}[{i}]", name, text))
    return causes


def _schema_of(version: Object) -> Object | None:
    found: Object | None = (version.get("schema") or {}).get("openAPIV3Schema")
    return found


def _is_shared(versions: list[Object], member: str) -> bool:
    """Say whether all versions have the same of something: then it is told of as if it stood beside them, as it once did."""
    first = versions[0].get(member)
    return all(version.get(member) == first for version in versions)


def _shared_causes(versions: list[Object]) -> list[Cause]:
    """Return what is wrong with what all versions have in common."""
    if not versions:
        return []
    common = {member: versions[0].get(member) for member in _OFTEN_SHARED if _is_shared(versions, member)}
    causes = _described_causes(common, "spec", "spec.validation")
    return causes + selectable_causes(common, _schema_of(common), "spec")


def _described_causes(version: Object, path: str, schema_path: str) -> list[Cause]:
    """Return what is wrong with a schema, subresources and columns."""
    causes: list[Cause] = []
    schema = _schema_of(version)
    if schema is not None:
        if "status" in (version.get("subresources") or {}) and schema.get("type", "object") != "object":
            text = 'only "object" is allowed as the type at the root of the schema if the status subresource is enabled'
            causes.append(invalid_value(f"{schema_path}.openAPIV3Schema.type", schema["type"], text))
        causes += schema_causes(schema, f"{schema_path}.openAPIV3Schema")
    return causes + _scale_causes(version, path) + _column_causes(version, path)


def _shown_version(version: Object, *, shared: bool) -> Object:
    """Return a version as the internal struct: what all have in common stands beside them there."""
    members = {name: value for name, value in version.items() if name not in {"schema", "subresources"}}
    found = shown(_VERSION, members) or {}
    schema = version.get("schema")
    if schema is not None and not shared:
        found["Schema"] = {"OpenAPIV3Schema": schema.get("openAPIV3Schema")}
    return found


def _unknown_formats(obj: Object) -> list[str]:
    """Return the formats of texts that are told of, each as often as there is one."""
    found: list[str] = []

    def look(node: Any) -> None:
        if isinstance(node, list):
            for item in node:
                look(item)
        elif isinstance(node, dict):
            name = node.get("format")
            if isinstance(name, str) and name and name not in KNOWN_FORMATS:
                found.append(name)
            for member, inner in node.items():
                if member in {"properties", "definitions", "patternProperties", "dependencies"}:
                    look(list(inner.values()) if isinstance(inner, dict) else None)
                elif member in _SCHEMA_MEMBERS:
                    look(inner)

    versions = obj["spec"].get("versions", ())
    schemas = [(version.get("schema") or {}).get("openAPIV3Schema") for version in versions]
    for schema in schemas[:1] if all(schema == schemas[0] for schema in schemas) else schemas:
        look(schema)
    return list(dict.fromkeys(found))


def _name_causes(names: Object) -> list[Cause]:
    causes: list[Cause] = []
    causes += [required(f"spec.names.{n}") for n in ("plural", "singular", "kind", "listKind") if not names.get(n)]
    for name in ("plural", "singular"):
        problems = problems_of_dns1035_label(names[name]) if names.get(name) else []
        causes += [invalid_value(f"spec.names.{name}", names[name], ",".join(problems))] if problems else []
    for name in ("kind", "listKind"):
        text = names.get(name, "")
        if text:
            causes += [
                invalid_value(f"spec.names.{name}", text, f"may have mixed case, but should otherwise match: {p}")
                for p in problems_of_dns1035_label(text.lower())
            ]
    if names.get("kind") and names.get("kind") == names.get("listKind"):
        causes.append(invalid_value("spec.names.listKind", names["listKind"], "kind and listKind may not be the same"))
    for name in ("shortNames", "categories"):
        for i, text in enumerate(names.get(name, ())):
            causes += [invalid_value(f"spec.names.{name}[{i}]", text, p) for p in problems_of_dns1035_label(text)]
    return causes


def _column_causes(version: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for i, column in enumerate(version.get("additionalPrinterColumns") or ()):
        where = f"{path}.additionalPrinterColumns[{i}]"
        if not column.get("name"):
            causes.append(required(f"{where}.name"))
        if column.get("type", "") not in _COLUMN_TYPES:
            text = f"must be one of {','.join(_COLUMN_TYPES)}"
            causes.append(
                invalid_value(f"{where}.type", column["type"], text)
                if column.get("type")
                else required(f"{where}.type", text)
            )
        if column.get("format") and column["format"] not in _COLUMN_FORMATS:
            text = f"must be one of {','.join(_COLUMN_FORMATS)}"
            causes.append(invalid_value(f"{where}.format", column["format"], text))
        path_of = column.get("jsonPath", "")
        if not path_of:
            causes.append(required(f"{where}.JSONPath"))
        elif not _is_simple(path_of):
            causes.append(invalid_value(f"{where}.JSONPath", path_of, "must be a simple json path starting with ."))
    return causes


def _is_simple(path: str) -> bool:
    try:
        paths.parse(path)
    except ValueError:
        return path.startswith(".") and path.endswith("[")
    return True


def _scale_causes(version: Object, path: str) -> list[Cause]:
    scale = (version.get("subresources") or {}).get("scale")
    causes: list[Cause] = []
    if scale is None:
        return causes
    for name, root in (("specReplicasPath", ".spec."), ("statusReplicasPath", ".status."), ("labelSelectorPath", "")):
        text, where = scale.get(name, ""), f"{path}.subresources.scale.{name}"
        if not text:
            if root:
                causes.append(required(where))
            continue
        try:
            paths.members(text)
        except ValueError:
            if not text.startswith("."):
                causes.append(invalid_value(where, text, "must be a simple json path starting with ."))
                continue
            causes.append(invalid_value(where, text, "array notation is not supported by the scale path"))
            continue
        if root and not text.startswith(root):
            causes.append(invalid_value(where, text, f"should be a json path under {root[:-1]}"))
        elif not text.startswith((".spec.", ".status.")):
            causes.append(invalid_value(where, text, "should be a json path under either .spec or .status"))
    return causes
