"""storage.k8s.io: classes, drivers, nodes' drivers, capacities, attachments."""

from collections.abc import Iterable
from typing import Any

from kubedyno.cluster.registry.cells import NONE, age
from kubedyno.cluster.registry.fieldmanager import METADATA
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.kinds.rules import named, one_of, unchanged
from kubedyno.kube.names import problems_of_dns1123_subdomain, problems_of_qualified_name
from kubedyno.kube.quantity import value_of
from kubedyno.kube.status import Cause, duplicate, forbidden_field, invalid_value, required

DEFAULT_ANNOTATION = "storageclass.kubernetes.io/is-default-class"
_BETA_DEFAULT_ANNOTATION = "storageclass.beta.kubernetes.io/is-default-class"
_UNSET = "<unset>"
_FS_GROUP_POLICIES = ("File", "None", "ReadWriteOnceWithFSType")
_LIFECYCLES = ("Ephemeral", "Persistent")


def is_default_class(storage_class: Object) -> bool:
    """Say whether claims without a class get this one."""
    annotations = storage_class["metadata"].get("annotations", {})
    return "true" in {annotations.get(DEFAULT_ANNOTATION), annotations.get(_BETA_DEFAULT_ANNOTATION)}


def _driver_name(field: str, name: str) -> list[Cause]:
    if not name:
        return [required(field)]
    if len(name) > 63:
        return [Cause("FieldValueTooLong", field, "Too long: may not be more than 63 bytes")]
    return [invalid_value(field, name, p) for p in problems_of_dns1123_subdomain(name.lower())]


def _topologies(terms: Iterable[Object]) -> list[Cause]:
    """Return what is wrong with the places where a class has volumes."""
    causes = []
    for i, term in enumerate(terms):
        keys: set[str] = set()
        for j, expression in enumerate(term.get("matchLabelExpressions", ())):
            path = f"allowedTopologies[{i}].matchLabelExpressions[{j}]"
            key, values = expression.get("key", ""), expression.get("values", ())
            if not values:
                causes.append(required(f"{path}.values"))
            causes += [duplicate(f"{path}.values[{k}]", value) for k, value in enumerate(values) if value in values[:k]]
            causes += [invalid_value(f"{path}.key", key, p) for p in problems_of_qualified_name(key)]
            if key in keys:
                causes.append(duplicate(f"{path}.key", key))
            keys.add(key)
    return causes


class StorageClasses(Kind):
    """storage.k8s.io/v1 StorageClass; its fact says whether it is the default."""

    returns_deleted = True

    def default(self, obj: Object) -> None:
        obj.setdefault("provisioner", "")
        obj.setdefault("reclaimPolicy", "Delete")
        obj.setdefault("volumeBindingMode", "Immediate")

    def validate(self, obj: Object) -> list[Cause]:
        causes = named("provisioner", obj["provisioner"].lower(), problems_of_qualified_name)
        for key in obj.get("parameters", {}):
            if not key:
                causes.append(invalid_value("parameters", key, "field can not be empty"))
        causes += one_of("reclaimPolicy", obj["reclaimPolicy"], ("Delete", "Retain"), needed=True)
        causes += one_of(
            "volumeBindingMode", obj["volumeBindingMode"], ("Immediate", "WaitForFirstConsumer"), needed=True
        )
        return causes + _topologies(obj.get("allowedTopologies", ()))

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        causes = self.validate(obj)
        for name in ("parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"):
            causes += unchanged(name, obj.get(name), old.get(name))
        return causes

    def facts(self, obj: Object) -> bool:
        """Say whether it is the default class."""
        return is_default_class(obj)

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        name = obj["metadata"]["name"]
        return [
            f"{name} (default)" if is_default_class(obj) else name,
            obj.get("provisioner", ""),
            obj.get("reclaimPolicy", "Delete"),
            obj.get("volumeBindingMode", "Immediate"),
            bool(obj.get("allowVolumeExpansion")),
            age(obj, now_s),
        ]


class CSIDrivers(Kind):
    """storage.k8s.io/v1 CSIDriver."""

    unconditional_update = False
    returns_deleted = True

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("attachRequired", True)
        for name in ("podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"):
            spec.setdefault(name, False)
        spec.setdefault("fsGroupPolicy", "ReadWriteOnceWithFSType")
        spec.setdefault("volumeLifecycleModes", ["Persistent"])

    def validate(self, obj: Object) -> list[Cause]:
        spec = obj["spec"]
        causes = _driver_name("name", obj["metadata"].get("name", ""))
        for mode in spec["volumeLifecycleModes"]:
            causes += one_of("spec.volumeLifecycleModes", mode, _LIFECYCLES)
        causes += one_of("spec.fsGroupPolicy", spec["fsGroupPolicy"], _FS_GROUP_POLICIES)
        seen: set[str] = set()
        for i, request in enumerate(spec.get("tokenRequests", ())):
            where, audience = f"spec.tokenRequests[{i}]", request.get("audience", "")
            if audience in seen:
                causes.append(duplicate(f"{where}.audience", audience))
            seen.add(audience)
            seconds = request.get("expirationSeconds")
            if seconds is not None and seconds < 600:
                text = "may not specify a duration less than 10 minutes"
                causes.append(invalid_value(f"{where}.expirationSeconds", seconds, text))
        return causes

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        causes = self.validate(obj)
        for name in ("attachRequired", "fsGroupPolicy", "volumeLifecycleModes"):
            causes += unchanged(f"spec.{name}", obj["spec"].get(name), old["spec"].get(name))
        return causes

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        spec = obj.get("spec", {})
        audiences = [r.get("audience") or '""' for r in spec.get("tokenRequests", ())]
        return [
            obj["metadata"]["name"],
            spec.get("attachRequired", True),
            spec.get("podInfoOnMount", False),
            spec.get("storageCapacity", False),
            ",".join(audiences) or _UNSET,
            spec.get("requiresRepublish", False),
            ",".join(spec.get("volumeLifecycleModes", ())) or NONE,
            age(obj, now_s),
        ]


class CSINodes(Kind):
    """storage.k8s.io/v1 CSINode."""

    unconditional_update = False
    returns_deleted = True
    metadata_checks = 1

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {}).setdefault("drivers", None)

    def validate(self, obj: Object) -> list[Cause]:
        causes: list[Cause] = []
        seen: set[str] = set()
        for i, driver in enumerate(obj["spec"]["drivers"] or ()):
            where, name = f"spec.drivers[{i}]", driver.get("name", "")
            causes += _driver_name(f"{where}.name", name)
            if not driver.get("nodeID"):
                causes.append(required(f"{where}.nodeID"))
            if name in seen:
                causes.append(duplicate(f"{where}.name", name))
            seen.add(name)
            count = driver.get("allocatable", {}).get("count")
            if count is not None and count < 0:
                causes.append(invalid_value(f"{where}.allocatable.count", count, "must be greater than or equal to 0"))
            for j, key in enumerate(driver.get("topologyKeys", ())):
                causes += named(f"{where}.topologyKeys[{j}]", key, problems_of_qualified_name)
        return causes

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        return [obj["metadata"]["name"], len(obj.get("spec", {}).get("drivers") or ()), age(obj, now_s)]


class CSIStorageCapacities(Kind):
    """storage.k8s.io/v1 CSIStorageCapacity."""

    unconditional_update = False

    def default(self, obj: Object) -> None:
        obj.setdefault("storageClassName", "")

    def validate(self, obj: Object) -> list[Cause]:
        causes = named("storageClassName", obj["storageClassName"])
        for name in ("capacity", "maximumVolumeSize"):
            if name in obj and value_of(obj[name]) < 0:
                causes.append(invalid_value(name, obj[name], "must be greater than or equal to 0"))
        return causes

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        causes = self.validate(obj)
        causes += unchanged("nodeTopology", obj.get("nodeTopology"), old.get("nodeTopology"))
        return causes + unchanged("storageClassName", obj["storageClassName"], old["storageClassName"])

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        _ = now_s
        return [obj["metadata"]["name"], obj["metadata"].get("creationTimestamp", "")]


class VolumeAttachments(Kind):
    """storage.k8s.io/v1 VolumeAttachment."""

    status_keeps = METADATA
    unconditional_update = False
    metadata_checks = 1
    returns_deleted = True
    has_status = True

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        for name, empty in (("attacher", ""), ("nodeName", ""), ("source", {})):
            spec.setdefault(name, empty)

    def prepare_create(self, obj: Object) -> None:
        obj["status"] = {"attached": False}

    def validate(self, obj: Object) -> list[Cause]:
        spec = obj["spec"]
        source = spec["source"]
        causes = _driver_name("spec.attacher", spec["attacher"])
        given = [n for n in ("persistentVolumeName", "inlineVolumeSpec") if source.get(n) is not None]
        if not given:
            causes.append(
                required("spec.source", "must specify exactly one of inlineVolumeSpec and persistentVolumeName")
            )
        elif len(given) > 1:
            text = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
            causes.append(forbidden_field("spec.source", text))
        elif given == ["persistentVolumeName"]:
            causes += named("spec.source.persistentVolumeName", source["persistentVolumeName"])
        return causes + named("spec.nodeName", spec["nodeName"])

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        changed = obj["spec"] != old["spec"]
        causes = self.validate(obj)
        return [*causes, invalid_value("spec", obj["spec"], "field is immutable")] if changed else causes

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        spec = obj.get("spec", {})
        return [
            obj["metadata"]["name"],
            spec.get("attacher", ""),
            spec.get("source", {}).get("persistentVolumeName", ""),
            spec.get("nodeName", ""),
            bool(obj.get("status", {}).get("attached")),
            age(obj, now_s),
        ]


class VolumeAttributesClasses(Kind):
    """storage.k8s.io/v1 VolumeAttributesClass."""

    returns_deleted = True

    def default(self, obj: Object) -> None:
        obj.setdefault("driverName", "")

    def validate(self, obj: Object) -> list[Cause]:
        causes = _driver_name("driverName", obj["driverName"])
        if not obj.get("parameters"):
            causes.append(required("parameters", "must contain at least one key/value pair"))
        return causes

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        causes = self.validate(obj)
        causes += unchanged("driverName", obj["driverName"], old["driverName"])
        if obj.get("parameters") != old.get("parameters"):
            causes.append(forbidden_field("parameters", "updates to parameters are forbidden."))
        return causes

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        name = obj["metadata"]["name"]
        return [name, obj.get("driverName", ""), age(obj, now_s)]
