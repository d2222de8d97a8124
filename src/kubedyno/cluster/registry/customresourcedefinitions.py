"""apiextensions.k8s.io: definitions of custom resources. What becomes of them is in `customresourceserving`."""

from typing import Any

from kubedyno.cluster.registry import customresourcepaths as paths
from kubedyno.cluster.registry.customresources import AGE_TEXT, NAME_COLUMN
from kubedyno.cluster.registry.groupapproval import approval_causes
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.schemacel import rule_warnings
from kubedyno.cluster.registry.schemarules import schema_causes
from kubedyno.cluster.registry.selectablefields import selectable_causes
from kubedyno.kube.names import problems_of_dns1035_label, problems_of_dns1123_subdomain
from kubedyno.kube.resources import built_in
from kubedyno.kube.status import Cause, forbidden_field, invalid_value, not_supported, required

CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
_SCOPES = ("Cluster", "Namespaced")
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")


CUSTOMRESOURCEDEFINITIONS = built_in("apiextensions.k8s.io", "customresourcedefinitions")


class CustomResourceDefinitions(Kind):
    """apiextensions.k8s.io/v1 CustomResourceDefinition."""

    has_status = True
    has_generation = True
    unconditional_update = False
    deletion_finalizers = (CLEANUP,)

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
        if name != f"{names.get('plural', '')}.{group}":
            causes.append(invalid_value("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
        causes += approval_causes(obj)
        if not group:
            causes.append(required("spec.group"))
        else:
            causes += [invalid_value("spec.group", group, p) for p in problems_of_dns1123_subdomain(group)]
            if len(group.split(".")) < 2:
                causes.append(invalid_value("spec.group", group, "should be a domain with at least one dot"))
        scope = spec.get("scope", "")
        if scope not in _SCOPES:
            causes.append(not_supported("spec.scope", scope, _SCOPES) if scope else required("spec.scope"))
        causes += self._version_causes(spec)
        causes += _name_causes(names)
        causes += self._conversion_causes(spec)
        if not obj.get("status", {}).get("storedVersions"):
            text = "must have at least one stored version"
            causes.append(invalid_value("status.storedVersions", None, text))
        else:
            known = [v.get("name") for v in spec.get("versions", ())]
            for i, version in enumerate(obj["status"]["storedVersions"]):
                if version not in known:
                    text = (
                        f"missing from spec.versions; {version} was previously a storage version, and must remain in "
                        f"spec.versions until a storage migration ensures no data remains persisted in {version} and "
                        f"removes {version} from status.storedVersions"
                    )
                    causes.append(invalid_value(f"status.storedVersions[{i}]", version, text))
        return causes

    def _version_causes(self, spec: Object) -> list[Cause]:
        versions = spec.get("versions", [])
        causes: list[Cause] = []
        seen: set[str] = set()
        schemas = [(v.get("schema") or {}).get("openAPIV3Schema") for v in versions]
        # One schema for all versions is told as if it stood beside them, as it once did.
        shared = all(schema == schemas[0] for schema in schemas)
        for i, version in enumerate(versions):
            path, name = f"spec.versions[{i}]", version.get("name", "")
            if name in seen:
                causes.append(invalid_value("spec.versions", versions, "must contain unique version names"))
            seen.add(name)
            causes += [invalid_value(f"{path}.name", name, p) for p in problems_of_dns1035_label(name)]
            if version.get("deprecationWarning") and not version.get("deprecated"):
                text = "can only be set for deprecated versions"
                causes.append(invalid_value(f"{path}.deprecationWarning", version["deprecationWarning"], text))
            schema = schemas[i]
            if schema is None:
                causes.append(required(f"{path}.schema.openAPIV3Schema"))
            elif not shared or i == 0:
                place = "spec.validation.openAPIV3Schema" if shared else f"{path}.schema.openAPIV3Schema"
                causes += schema_causes(schema, place)
            causes += _column_causes(version, path)
            causes += _scale_causes(version, path)
            causes += selectable_causes(version, schema, path)
        if sum(bool(v.get("storage")) for v in versions) != 1:
            text = "must have exactly one version marked as storage version"
            causes.append(invalid_value("spec.versions", versions, text))
        return causes

    def _conversion_causes(self, spec: Object) -> list[Cause]:
        conversion = spec["conversion"]
        strategy = conversion.get("strategy", "")
        if strategy not in {"None", "Webhook"}:
            return [not_supported("spec.conversion.strategy", strategy, ("None", "Webhook"))]
        if strategy == "Webhook" and not conversion.get("webhook", {}).get("clientConfig"):
            text = "required when strategy is set to Webhook"
            return [required("spec.conversion.webhookClientConfig", text)]
        if strategy == "None" and conversion.get("webhook"):
            text = "should not be set when strategy is not set to Webhook"
            return [forbidden_field("spec.conversion.webhookClientConfig", text)]
        if spec.get("preserveUnknownFields"):
            text = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
            return [invalid_value("spec.preserveUnknownFields", True, text)]
        return []

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        causes = self.validate(obj)
        spec, before = obj["spec"], old["spec"]
        for name in ("group", "scope"):
            if spec.get(name) != before.get(name):
                causes.append(invalid_value(f"spec.{name}", spec.get(name), "field is immutable"))
        for name in ("plural", "kind"):
            established = any(
                c["type"] == "Established" and c["status"] == "True" for c in old["status"].get("conditions") or ()
            )
            if established and spec["names"].get(name) != before["names"].get(name):
                causes.append(invalid_value(f"spec.names.{name}", spec["names"].get(name), "field is immutable"))
        return causes

    def warnings(self, obj: Object) -> list[str]:
        found = []
        spec = obj["spec"]
        for version in spec.get("versions", ()):
            found += rule_warnings(version.get("schema"))
        return found

    def columns(self) -> list[Object]:
        created = {"name": "Created At", "type": "date", "format": "", "description": AGE_TEXT, "priority": 0}
        return [NAME_COLUMN, created]

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        _ = now_s
        return [obj["metadata"]["name"], obj["metadata"].get("creationTimestamp", "")]


def _name_causes(names: Object) -> list[Cause]:
    causes: list[Cause] = []
    for name in ("plural", "singular"):
        text = names.get(name, "")
        if name == "plural" and not text:
            causes.append(required("spec.names.plural"))
        elif text:
            causes += [invalid_value(f"spec.names.{name}", text, p) for p in problems_of_dns1035_label(text)]
    if not names.get("kind"):
        causes.append(required("spec.names.kind"))
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
    for i, column in enumerate(version.get("additionalPrinterColumns", ())):
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
        path_of = column.get("jsonPath", "")
        if not path_of:
            causes.append(required(f"{where}.jsonPath"))
            continue
        try:
            paths.parse(path_of)
        except ValueError:
            text = "must be a simple json path starting with ."
            causes.append(invalid_value(f"{where}.jsonPath", path_of, text))
    return causes


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
            causes.append(invalid_value(where, text, "array notation is not supported by the scale path"))
            continue
        if root and not text.startswith(root):
            causes.append(invalid_value(where, text, f"should be a json path under {root[:-1]}"))
        elif not text.startswith((".spec.", ".status.")):
            causes.append(invalid_value(where, text, "should be a json path under either .spec or .status"))
    return causes
