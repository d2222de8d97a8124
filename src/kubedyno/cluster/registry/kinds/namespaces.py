"""Namespaces: Active until deleted, Terminating until their finalizers are gone."""

from typing import Any

from kubedyno.cluster.registry import podsecurity
from kubedyno.cluster.registry.cells import age
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.kube.names import problems_of_dns1123_label, problems_of_qualified_name
from kubedyno.kube.status import Cause, invalid_value

NAME_LABEL = "kubernetes.io/metadata.name"
FINALIZER = "kubernetes"
_STANDARD = frozenset({FINALIZER, "orphan", "foregroundDeletion"})
_STANDARD_TEXT = "name is neither a standard finalizer name nor is it fully qualified"
# Deleting these would take the cluster down with them.
PROTECTED = frozenset({"default", "kube-system", "kube-public"})


class Namespaces(Kind):
    """core/v1 Namespace."""

    metadata_checks = "wu"
    selects_namespace = False
    has_status = True
    legacy_fields = True
    field_paths = ("status.phase",)
    name_problems = staticmethod(problems_of_dns1123_label)

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {})
        name = obj["metadata"].get("name")
        if name:
            obj["metadata"].setdefault("labels", {})[NAME_LABEL] = name

    def prepare_create(self, obj: Object) -> None:
        obj["status"] = {"phase": "Active"}
        finalizers = obj["spec"].setdefault("finalizers", [])
        if FINALIZER not in finalizers:
            finalizers.append(FINALIZER)
        # A generated name is known only now.
        obj["metadata"].setdefault("labels", {})[NAME_LABEL] = obj["metadata"]["name"]

    def prepare_status(self, obj: Object, old: Object) -> Object:
        new = super().prepare_status(obj, old)
        new["status"].setdefault("phase", "Active")
        return new

    def prepare_update(self, obj: Object, old: Object) -> None:
        obj["status"] = old.get("status", {})
        obj["spec"] = {**obj["spec"], "finalizers": old.get("spec", {}).get("finalizers", [])}
        if not obj["spec"]["finalizers"]:
            del obj["spec"]["finalizers"]

    def validate(self, obj: Object) -> list[Cause]:
        causes = podsecurity.label_causes(obj["metadata"].get("labels", {}))
        for finalizer in obj["spec"].get("finalizers", ()):
            causes += [invalid_value("spec.finalizers", finalizer, p) for p in problems_of_qualified_name(finalizer)]
            if "/" not in finalizer and finalizer not in _STANDARD:
                causes.append(invalid_value("spec.finalizers", finalizer, _STANDARD_TEXT))
        return causes

    def validate_status(self, obj: Object, old: Object) -> list[Cause]:
        finalizers = obj.get("spec", {}).get("finalizers", [])
        if finalizers == old.get("spec", {}).get("finalizers", []):
            wanted = "Terminating" if obj["metadata"].get("deletionTimestamp") else "Active"
            phase = obj.get("status", {}).get("phase", "")
            if phase == wanted:
                return []
            is_empty = "is not empty" if wanted == "Terminating" else "is empty"
            text = f"may only be '{wanted}' if `deletionTimestamp` {is_empty}"
            return [invalid_value("status.Phase", phase, text)]
        return [
            invalid_value(f"spec.finalizers[{i}]", finalizer, _STANDARD_TEXT)
            for i, finalizer in enumerate(finalizers)
            if "/" not in finalizer and finalizer not in _STANDARD
        ]

    def facts(self, obj: Object) -> str:
        """Return the phase."""
        return str((obj.get("status") or {}).get("phase", ""))

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        return [obj["metadata"]["name"], obj.get("status", {}).get("phase", ""), age(obj, now_s)]
