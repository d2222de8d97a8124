"""storage.k8s.io: classes, drivers, nodes' drivers, capacities, attachments."""

from collections.abc import Iterable
from typing import Any

from kubedyno.cluster.registry.cells import NONE, age
from kubedyno.cluster.registry.fieldmanager import METADATA
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.kinds.claimvalidation import access_mode_causes
from kubedyno.cluster.registry.kinds.rules import (
    named,
    not_negative,
    one_of,
    qualified,
    repeated,
    unchanged,
    unchanged_struct,
)
from kubedyno.cluster.registry.metadata import selector_causes
from kubedyno.kube.names import problems_of_dns1123_subdomain, problems_of_qualified_name
from kubedyno.kube.quantity import value_of
from kubedyno.kube.status import Cause, duplicate, forbidden_field, invalid_value, required, too_long

DEFAULT_ANNOTATION = "storageclass.kubernetes.io/is-default-class"
_BETA_DEFAULT_ANNOTATION = "storageclass.beta.kubernetes.io/is-default-class"
_UNSET = "<unset>"
_FS_GROUP_POLICIES = ("File", "None", "ReadWriteOnceWithFSType")
_LIFECYCLES = ("Persistent", "Ephemeral")
_MAX_PARAMETERS = 512
_MAX_PARAMETERS_SIZE = 256 * 1024
_MAX_DRIVER_NAME, _MAX_NODE_ID = 63, 256
_MAX_ATTACHMENT_METADATA = 256 * 1024
_MAX_ERROR = 1024
_MIN_TOKEN_S, _MAX_TOKEN_S = 600, 1 << 32
_MIN_UPDATE_S = 10
_TOKENS_TEXT = (
    "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging "
    "of tokens in volume attributes"
)
_PROTECTION = "kubernetes.io/vac-protection"


def is_default_class(storage_class: Object) -> bool:
    """Say whether claims without a class get this one."""
    annotations = storage_class["metadata"].get("annotations", {})
    return "true" in {annotations.get(DEFAULT_ANNOTATION), annotations.get(_BETA_DEFAULT_ANNOTATION)}


def _driver_name(field: str, name: str) -> list[Cause]:
    if not name:
        return [required(field)]
    causes = [too_long(field, _MAX_DRIVER_NAME)] if len(name) > _MAX_DRIVER_NAME else []
    return causes + [invalid_value(field, name, p) for p in problems_of_dns1123_subdomain(name.lower())]


def _driver_and_parameters(field: str, driver: str, parameters: Object, *, may_be_empty: bool) -> list[Cause]:
    """Return what is wrong with who makes the volumes of a class, and what it is told."""
    causes = named(field, driver.lower(), problems_of_qualified_name)
    if len(parameters) > _MAX_PARAMETERS:
        return [*causes, too_long("parameters", _MAX_PARAMETERS)]
    causes += [invalid_value("parameters", key, "field can not be empty.") for key in parameters if not key]
    if sum(len(key.encode()) + len(value.encode()) for key, value in parameters.items()) > _MAX_PARAMETERS_SIZE:
        causes.append(too_long("parameters", _MAX_PARAMETERS_SIZE))
    if not parameters and not may_be_empty:
        causes.append(required("parameters", "must contain at least one key/value pair"))
    return causes


def _topologies(terms: Iterable[Object]) -> list[Cause]:
    """Return what is wrong with the places where a class has volumes."""
    causes = []
    places: list[dict[str, set[str]]] = []
    for i, term in enumerate(terms):
        place: dict[str, set[str]] = {}
        for j, expression in enumerate(term.get("matchLabelExpressions", ())):
            path = f"allowedTopologies[{i}].matchLabelExpressions[{j}]"
            key, values = expression.get("key", ""), expression.get("values", ())
            if not values:
                causes.append(required(f"{path}.values"))
            causes += [duplicate(f"{path}.values[{k}]", value) for k, value in repeated(values)]
            causes += [invalid_value(f"{path}.key", key, p) for p in problems_of_qualified_name(key)]
            if key in place:
                causes.append(duplicate(f"{path}.key", key))
            place[key] = set(values)
        # Nowhere is taken for a place that is there already.
        if not place or place in places:
            causes.append(duplicate(f"allowedTopologies[{i}].matchLabelExpressions", ""))
        places.append(place)
    return causes


class StorageClasses(Kind):
    """storage.k8s.io/v1 StorageClass; its fact says whether it is the default."""

    metadata_checks = "wu"
    returns_deleted = True

    def default(self, obj: Object) -> None:
        obj.setdefault("provisioner", "")
        obj.setdefault("reclaimPolicy", "Delete")
        obj.setdefault("volumeBindingMode", "Immediate")

    def validate(self, obj: Object) -> list[Cause]:
        causes = _driver_and_parameters("provisioner", obj["provisioner"], obj.get("parameters", {}), may_be_empty=True)
        if obj["reclaimPolicy"]:
            causes += one_of("reclaimPolicy", obj["reclaimPolicy"], ("Delete", "Retain"))
        causes += one_of("volumeBindingMode", obj["volumeBindingMode"], ("Immediate", "WaitForFirstConsumer"))
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

    has_generation = True
    born_with_generation = False

    unconditional_update = False
    returns_deleted = True

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("attachRequired", True)
        for name in ("podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"):
            spec.setdefault(name, False)
        spec.setdefault("fsGroupPolicy", "ReadWriteOnceWithFSType")
        spec.setdefault("volumeLifecycleModes", ["Persistent"])

    def prepare_create(self, obj: Object) -> None:
        # Limits of volumes that the scheduler counts by driver are off.
        obj["spec"].pop("preventPodSchedulingIfMissing", None)

    def prepare_update(self, obj: Object, old: Object) -> None:
        _ = old
        self.prepare_create(obj)

    def validate(self, obj: Object) -> list[Cause]:
        spec = obj["spec"]
        causes = one_of("spec.fsGroupPolicy", spec["fsGroupPolicy"], _FS_GROUP_POLICIES)
        seen: set[str] = set()
        for i, request in enumerate(spec.get("tokenRequests", ())):
            where, audience = f"spec.tokenRequests[{i}]", request.get("audience", "")
            if audience in seen:
                causes.append(duplicate(f"{where}.audience", audience))
                continue
            seen.add(audience)
            seconds = request.get("expirationSeconds")
            if seconds is not None and seconds < _MIN_TOKEN_S:
                text = "may not specify a duration less than 10 minutes"
                causes.append(invalid_value(f"{where}.expirationSeconds", seconds, text))
            elif seconds is not None and seconds > _MAX_TOKEN_S:
                text = "may not specify a duration larger than 2^32 seconds"
                causes.append(invalid_value(f"{where}.expirationSeconds", seconds, text))
        for mode in spec["volumeLifecycleModes"]:
            causes += one_of("spec.volumeLifecycleModes", mode, _LIFECYCLES)
        period = spec.get("nodeAllocatableUpdatePeriodSeconds")
        if period is not None and period < _MIN_UPDATE_S:
            text = f"must be greater than or equal to {_MIN_UPDATE_S} seconds"
            causes.append(invalid_value("spec.nodeAllocatableUpdatePeriodSeconds", period, text))
        in_secrets = spec.get("serviceAccountTokenInSecrets")
        if in_secrets is not None and not spec.get("tokenRequests"):
            text = "serviceAccountTokenInSecrets is set but no tokenRequests are specified"
            causes.append(invalid_value("spec.serviceAccountTokenInSecrets", in_secrets, text))
        return causes

    def warnings(self, obj: Object) -> list[str]:
        spec = obj["spec"]
        return [_TOKENS_TEXT] if spec.get("tokenRequests") and "serviceAccountTokenInSecrets" not in spec else []

    def warnings_of_change(self, obj: Object, old: Object) -> list[str]:
        changed = obj["spec"].get("tokenRequests") != old["spec"].get("tokenRequests")
        return self.warnings(obj) if changed else []

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        causes = self.validate(obj)
        # The first one's path is misspelt by the real server.
        for name, field in (("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")):
            causes += unchanged(f"spec.{field}", obj["spec"].get(name), old["spec"].get(name))
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

    metadata_checks = "w"
    unconditional_update = False
    returns_deleted = True

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        for driver in spec.setdefault("drivers", None) or ():
            driver.setdefault("topologyKeys", None)

    def validate(self, obj: Object) -> list[Cause]:
        causes: list[Cause] = []
        seen: set[str] = set()
        for i, driver in enumerate(obj["spec"]["drivers"] or ()):
            where, name = f"spec.drivers[{i}]", driver.get("name", "")
            causes += _driver_name(f"{where}.name", name)
            node = driver.get("nodeID", "")
            if not node:
                causes.append(required(f"{where}.nodeID"))
            elif len(node.encode()) > _MAX_NODE_ID:
                causes.append(invalid_value(f"{where}.nodeID", node, f"must be {_MAX_NODE_ID} characters or less"))
            causes += not_negative(f"{where}.allocatable.count", driver.get("allocatable", {}).get("count"))
            if name in seen:
                causes.append(duplicate(f"{where}.name", name))
            seen.add(name)
            keys = driver.get("topologyKeys") or []
            again = {j for j, _ in repeated(keys)}
            for j, key in enumerate(keys):
                if not key:
                    causes.append(required(where))
                if j in again:
                    causes.append(duplicate(where, key))
                causes += qualified(where, key)
        return causes

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        causes = self.validate(obj)
        for before in old["spec"]["drivers"] or ():
            for driver in obj["spec"]["drivers"] or ():
                if driver.get("name") == before.get("name"):
                    new, kept = ({**each, "allocatable": None} for each in (driver, before))
                    causes += unchanged_struct("spec.drivers", "storage.v1.CSINodeDriver", new, kept)
        return causes

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        return [obj["metadata"]["name"], len(obj.get("spec", {}).get("drivers") or ()), age(obj, now_s)]


class CSIStorageCapacities(Kind):
    """storage.k8s.io/v1 CSIStorageCapacity."""

    metadata_checks = "wu"
    rows_null = True
    unconditional_update = False

    def default(self, obj: Object) -> None:
        obj.setdefault("storageClassName", "")

    def validate(self, obj: Object) -> list[Cause]:
        causes = selector_causes(obj["nodeTopology"], "nodeTopology") if "nodeTopology" in obj else []
        name = obj["storageClassName"]
        causes += [invalid_value("storageClassName", name, p) for p in problems_of_dns1123_subdomain(name)]
        if "capacity" in obj and value_of(obj["capacity"]) < 0:
            causes.append(invalid_value("capacity", obj["capacity"], "must be greater than or equal to 0"))
        return causes

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        causes = self.validate(obj)
        causes += unchanged("nodeTopology", obj.get("nodeTopology"), old.get("nodeTopology"))
        return causes + unchanged("storageClassName", obj["storageClassName"], old["storageClassName"])

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        _ = now_s
        return [obj["metadata"]["name"], obj["metadata"].get("creationTimestamp", "")]


def _inline_volume(spec: Object, path: str) -> list[Cause]:
    """Return what is wrong with a volume that is described where it is attached, not by an object of its own."""
    inline = "in the context of inline volumes"
    causes = [
        forbidden_field(f"{path}.{name}", f"may not be specified {inline}")
        for name in ("claimRef", "capacity")
        if spec.get(name)
    ]
    driver = spec.get("csi")
    if driver is None:
        causes.append(required(f"{path}.csi", f"has to be specified {inline}"))
    causes += access_mode_causes(spec.get("accessModes", []), f"{path}.accessModes")
    if spec.get("persistentVolumeReclaimPolicy", "Retain") != "Retain":
        causes.append(forbidden_field(f"{path}.persistentVolumeReclaimPolicy", f"may only be Retain {inline}"))
    if "nodeAffinity" in spec:
        causes.append(forbidden_field(f"{path}.nodeAffinity", f"may not be specified {inline}"))
    if driver is None:
        return [*causes, required(path, "must specify a volume type")]
    causes += _driver_name(f"{path}.csi.driver", driver.get("driver", ""))
    return causes if driver.get("volumeHandle") else [*causes, required(f"{path}.csi.volumeHandle")]


def _volume_error(error: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    if len(error.get("message", "").encode()) > _MAX_ERROR:
        # The limit that is told is another one than the limit.
        causes.append(too_long(f"{path}.message", _MAX_ATTACHMENT_METADATA))
    code = error.get("errorCode", 0)
    if code < 0:
        causes.append(invalid_value(f"{path}.errorCode", code, f"must be between 0 and {(1 << 31) - 1}, inclusive"))
    return causes


class VolumeAttachments(Kind):
    """storage.k8s.io/v1 VolumeAttachment."""

    metadata_checks = "w"
    status_keeps = METADATA
    unconditional_update = False
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
        elif given == ["persistentVolumeName"] and not source["persistentVolumeName"]:
            text = "must specify non empty persistentVolumeName"
            causes.append(required("spec.source.persistentVolumeName", text))
        elif given == ["inlineVolumeSpec"]:
            causes += _inline_volume(source["inlineVolumeSpec"], "spec.source.inlineVolumeSpec")
        node = spec["nodeName"]
        causes += [invalid_value("spec.nodeName", node, p) for p in problems_of_dns1123_subdomain(node)]
        status = obj.get("status", {})
        metadata = status.get("attachmentMetadata", {})
        if sum(len(key.encode()) + len(value.encode()) for key, value in metadata.items()) > _MAX_ATTACHMENT_METADATA:
            causes.append(too_long("status.attachmentMetadata", _MAX_ATTACHMENT_METADATA))
        for name in ("attachError", "detachError"):
            causes += _volume_error(status.get(name, {}), f"status.{name}")
        volume = source.get("persistentVolumeName")
        if volume is not None:
            path = "spec.source.persistentVolumeName"
            causes += [invalid_value(path, volume, p) for p in problems_of_dns1123_subdomain(volume)]
        return causes

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        causes = self.validate(obj)
        return causes + unchanged_struct("spec", "storage.v1.VolumeAttachmentSpec", obj["spec"], old["spec"])

    def validate_status(self, obj: Object, old: Object) -> list[Cause]:
        return self.validate_update(obj, old)

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

    metadata_checks = "uw"
    returns_deleted = True

    def default(self, obj: Object) -> None:
        obj.setdefault("driverName", "")

    def prepare_create(self, obj: Object) -> None:
        # What keeps a class from going while a volume has it.
        finalizers = obj["metadata"].setdefault("finalizers", [])
        if _PROTECTION not in finalizers:
            finalizers.append(_PROTECTION)

    def validate(self, obj: Object) -> list[Cause]:
        return _driver_and_parameters("driverName", obj["driverName"], obj.get("parameters", {}), may_be_empty=False)

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        causes = [
            forbidden_field(name, f"updates to {name} are forbidden.")
            for name in ("driverName", "parameters")
            if obj.get(name) != old.get(name)
        ]
        return causes + self.validate(obj)

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        name = obj["metadata"]["name"]
        return [name, obj.get("driverName", ""), age(obj, now_s)]
