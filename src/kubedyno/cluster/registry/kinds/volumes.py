"""PersistentVolume and PersistentVolumeClaim."""

from copy import deepcopy
from typing import Any

from kubedyno.cluster.registry.cells import age
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.kinds.claimstatusvalidation import claim_status_causes
from kubedyno.cluster.registry.kinds.claimvalidation import (
    VOLUME_MODES,
    access_mode_causes,
    claim_causes,
    claim_warnings,
    positive,
)
from kubedyno.cluster.registry.kinds.gostruct import difference, go_claim_spec, go_volume_source
from kubedyno.cluster.registry.kinds.podspec import default_volume_source
from kubedyno.cluster.registry.kinds.podwarnings import NEW_LABELS, volume_warnings
from kubedyno.cluster.registry.kinds.rules import named, one_of, unchanged
from kubedyno.cluster.registry.kinds.schedulingvalidation import node_selector_causes
from kubedyno.cluster.registry.kinds.volumesources import source_causes
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.kube.gostructs import shown
from kubedyno.kube.quantity import Quantity
from kubedyno.kube.status import Cause, forbidden_field, invalid_value, not_supported, required
from kubedyno.statedb.records import Index

CLAIM_FINALIZER = "kubernetes.io/pvc-protection"
VOLUME_FINALIZER = "kubernetes.io/pv-protection"
_OLD_DATA_SOURCES = frozenset({("", "PersistentVolumeClaim"), ("snapshot.storage.k8s.io", "VolumeSnapshot")})
_SHORT = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
_NOT_SOURCES = frozenset({
    "capacity", "accessModes", "claimRef", "persistentVolumeReclaimPolicy", "storageClassName", "mountOptions",
    "volumeMode", "nodeAffinity", "volumeAttributesClassName",
})  # fmt: skip
# In the order in which they are looked at.
_SOURCES = (
    "hostPath", "gcePersistentDisk", "awsElasticBlockStore", "glusterfs", "flocker", "nfs", "rbd", "quobyte", "cephfs",
    "iscsi", "cinder", "fc", "flexVolume", "azureFile", "vsphereVolume", "photonPersistentDisk", "portworxVolume",
    "azureDisk", "scaleIO", "local", "storageos", "csi",
)  # fmt: skip
CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
_CLAIM_TEXT = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
)
_UNSET = "<unset>"


def class_of(obj: Object) -> str:
    """Return the storage class of a claim or volume, "" for none."""
    annotated = obj["metadata"].get("annotations", {}).get(CLASS_ANNOTATION)
    return str(annotated if annotated is not None else obj.get("spec", {}).get("storageClassName", ""))


def access_modes_text(modes: Any) -> str:
    """Return access modes as kubectl prints them, e.g. "RWO,RWX"."""
    given = set(modes or ())
    return ",".join(short for mode, short in _SHORT.items() if mode in given)


def default_claim_spec(spec: Object) -> None:
    """Fill in a claim's spec: its mode, and the two spellings of its data source."""
    spec.setdefault("volumeMode", "Filesystem")
    spec.setdefault("resources", {})


def _share_data_source(spec: Object, before: Object) -> None:
    """Keep dataSource and dataSourceRef equal, and drop a new source that nothing understood once."""
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    if (
        reference is not None
        and reference.get("namespace")
        and "dataSource" not in before
        and "dataSourceRef" not in before
    ):
        # Sources in other namespaces come with a gate that is off.
        del spec["dataSourceRef"]
        reference = None
    if source is not None and reference is None and "dataSource" not in before and "dataSourceRef" not in before:
        kind = (source.get("apiGroup") or "", source.get("kind"))
        if kind not in _OLD_DATA_SOURCES:
            del spec["dataSource"]
            source = None
    if source is not None and reference is None:
        spec["dataSourceRef"] = dict(source)
    elif reference is not None and source is None and not reference.get("namespace"):
        spec["dataSource"] = {k: v for k, v in reference.items() if k != "namespace"}
    for name in ("dataSource", "dataSourceRef"):
        if name in spec:
            spec[name].setdefault("apiGroup", None)


class PersistentVolumeClaims(Kind):
    """core/v1 PersistentVolumeClaim."""

    metadata_checks = "uw"
    has_status = True
    returns_deleted = True

    def default(self, obj: Object) -> None:
        default_claim_spec(obj.setdefault("spec", {}))

    def prepare_create(self, obj: Object) -> None:
        obj["status"] = {"phase": "Pending"}
        _share_data_source(obj["spec"], {})
        finalizers = obj["metadata"].setdefault("finalizers", [])
        if CLAIM_FINALIZER not in finalizers:
            finalizers.append(CLAIM_FINALIZER)

    def prepare_update(self, obj: Object, old: Object) -> None:
        super().prepare_update(obj, old)
        _share_data_source(obj["spec"], old["spec"])

    def prepare_status(self, obj: Object, old: Object) -> Object:
        new = super().prepare_status(obj, old)
        new["status"].setdefault("phase", "Pending")
        return new

    def warnings(self, obj: Object) -> list[str]:
        annotated = CLASS_ANNOTATION in obj["metadata"].get("annotations", {})
        text = 'deprecated since v1.8; use "storageClassName" attribute instead'
        return [f"metadata.annotations[{CLASS_ANNOTATION}]: {text}"] * annotated + claim_warnings(obj["spec"], "spec")

    def warnings_of_status(self, obj: Object, old: Object) -> list[str]:
        _ = old
        return self.warnings(obj)

    def validate_status(self, obj: Object, old: Object) -> list[Cause]:
        _ = old
        return claim_status_causes(obj.get("status", {}))

    def validate(self, obj: Object) -> list[Cause]:
        return claim_causes(obj["spec"], "spec")

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        new, before = obj["spec"], old["spec"]
        grouped = any(before.get(name, {}).get("apiGroup") is not None for name in ("dataSource", "dataSourceRef"))
        causes = claim_causes(new, "spec", any_group=grouped) + self._class_causes(obj, old)
        compared, earlier = dict(new), dict(before)
        # What binding sets, and what a bound claim may ask for later.
        if not before.get("volumeName"):
            earlier["volumeName"] = new.get("volumeName", "")
        if self._takes_class(obj, old):
            compared.pop("storageClassName", None)
            if "storageClassName" in before:
                compared["storageClassName"] = before["storageClassName"]
        resized = [spec.get("resources", {}).get("requests", {}).get("storage", "0") for spec in (new, before)]
        if old.get("status", {}).get("phase") == "Bound":
            requests = new.get("resources", {}).get("requests")
            if requests is not None:
                compared["resources"] = {**new["resources"], "requests": {**requests, "storage": resized[1]}}
            compared["volumeAttributesClassName"] = before.get("volumeAttributesClassName")
        told, was = go_claim_spec(compared), go_claim_spec(earlier)
        if told != was:
            causes.append(forbidden_field("spec", f"{_CLAIM_TEXT}\n{difference(was, told)}"))
        capacity = Quantity.parse(old.get("status", {}).get("capacity", {}).get("storage", "0"))
        wanted = Quantity.parse(resized[0])
        if wanted < Quantity.parse(resized[1]) and not capacity < wanted:
            text = "field can not be less than status.capacity"
            causes.append(forbidden_field("spec.resources.requests.storage", text))
        causes += unchanged("volumeMode", new.get("volumeMode"), before.get("volumeMode"))
        name = "volumeAttributesClassName"
        if old.get("status", {}).get("currentVolumeAttributesClassName") is not None and new.get(name) != before.get(
            name
        ):
            for value, word in ((None, "nil"), ("", "empty string")):
                if new.get(name) == value:
                    text = f"update to {word} is forbidden when status.currentVolumeAttributesClassName is not nil"
                    causes.append(forbidden_field(f"spec.{name}", text))
        return causes

    @staticmethod
    def _takes_class(obj: Object, old: Object) -> bool:
        """Say whether a new version may give the class that none was given of until now, or only by an annotation."""
        given = obj["spec"].get("storageClassName")
        annotated = old["metadata"].get("annotations", {}).get(CLASS_ANNOTATION)
        return given is not None and "storageClassName" not in old["spec"] and annotated in {None, given}

    def _class_causes(self, obj: Object, old: Object) -> list[Cause]:
        """Return the cause of a changed annotation that gives the class."""
        new, before = (each["metadata"].get("annotations", {}).get(CLASS_ANNOTATION) for each in (obj, old))
        if before is not None and self._takes_class(obj, old) and new in {None, before}:
            return []
        path = f"metadata.annotations[{CLASS_ANNOTATION}]"
        return unchanged(path, new or "", before or "")

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        spec, status = obj.get("spec", {}), obj.get("status", {})
        volume = spec.get("volumeName", "")
        phase = "Terminating" if obj["metadata"].get("deletionTimestamp") else status.get("phase", "")
        return [
            obj["metadata"]["name"],
            phase,
            volume,
            status.get("capacity", {}).get("storage", "0") if volume else "",
            access_modes_text(status.get("accessModes")) if volume else "",
            class_of(obj),
            spec.get("volumeAttributesClassName") or _UNSET,
            age(obj, now_s),
            spec.get("volumeMode", _UNSET),
        ]


def _claim_keys(obj: StoredObject) -> tuple[str, ...]:
    return (obj.facts,) if obj.facts else ()


class PersistentVolumes(Kind):
    """core/v1 PersistentVolume; its fact is the "ns/name" of the claim it is for."""

    metadata_checks = "ww"
    has_status = True
    returns_deleted = True
    indexes = (Index("claim", _claim_keys),)

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
        spec.setdefault("volumeMode", "Filesystem")
        for name in spec:
            if name not in _NOT_SOURCES:
                default_volume_source(name, spec[name])

    def prepare_create(self, obj: Object) -> None:
        obj["status"] = {"phase": "Pending", "lastPhaseTransitionTime": obj["metadata"].get("creationTimestamp")}
        finalizers = obj["metadata"].setdefault("finalizers", [])
        if VOLUME_FINALIZER not in finalizers:
            finalizers.append(VOLUME_FINALIZER)

    def prepare_status(self, obj: Object, old: Object) -> Object:
        new = super().prepare_status(obj, old)
        before = old.get("status", {})
        new["status"].setdefault("phase", "Pending")
        if new["status"]["phase"] == before.get("phase") and "lastPhaseTransitionTime" in before:
            new["status"].setdefault("lastPhaseTransitionTime", before["lastPhaseTransitionTime"])
        return new

    def stamp(self, obj: Object, old: Object, now: str) -> None:
        status, before = obj.get("status", {}), old.get("status", {})
        if status.get("phase") == before.get("phase"):
            return
        if status.get("lastPhaseTransitionTime") in {None, before.get("lastPhaseTransitionTime")}:
            obj["status"] = {**status, "lastPhaseTransitionTime": now}

    def warnings(self, obj: Object) -> list[str]:
        return volume_warnings(obj["spec"], obj["metadata"].get("annotations", {}))

    def warnings_of_status(self, obj: Object, old: Object) -> list[str]:
        _ = old
        return self.warnings(obj)

    def validate(self, obj: Object) -> list[Cause]:
        spec = obj["spec"]
        causes = access_mode_causes(spec.get("accessModes", []), "spec.accessModes")
        capacity = spec.get("capacity", {})
        if not capacity:
            causes.append(required("spec.capacity"))
        if "storage" not in capacity or len(capacity) > 1:
            causes.append(not_supported("spec.capacity", spec.get("capacity"), ("storage",)))
        for name, amount in capacity.items():
            causes += positive(f"spec.capacity[{name}]", amount)
        policy = spec["persistentVolumeReclaimPolicy"]
        if policy:
            causes += one_of("spec.persistentVolumeReclaimPolicy", policy, ("Delete", "Recycle", "Retain"))
        if "nodeAffinity" in spec:
            causes += _affinity(spec["nodeAffinity"])
        sources = [name for name in _SOURCES if name in spec]
        for name in sources:
            if name != sources[0] and name != "flexVolume":
                shown_name = "cephFS" if name == "cephfs" else name
                causes.append(forbidden_field(f"spec.{shown_name}", "may not specify more than 1 volume type"))
                continue
            causes += source_causes(name, spec[name], f"spec.{name}", pod=False, persistent=True)
            if name == "local" and "nodeAffinity" not in spec:
                causes.append(required("spec.nodeAffinity", "Local volume requires node affinity"))
        if not sources:
            causes.append(required("spec", "must specify a volume type"))
        if policy == "Recycle" and spec.get("hostPath", {}).get("path", "").rstrip("/") == "" and "hostPath" in spec:
            text = "may not be 'recycle' for a hostPath mount of '/'"
            causes.append(forbidden_field("spec.persistentVolumeReclaimPolicy", text))
        if spec.get("storageClassName"):
            causes += named("spec.storageClassName", spec["storageClassName"])
        causes += one_of("spec.volumeMode", spec["volumeMode"], VOLUME_MODES)
        if "volumeAttributesClassName" in spec:
            path = "spec.volumeAttributesClassName"
            causes += named(path, spec["volumeAttributesClassName"], detail="an empty string is disallowed")
            if "csi" not in spec:
                causes.append(required("spec.csi", "has to be specified when using volumeAttributesClassName"))
        return causes

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        # All of it is looked at twice.
        causes = 2 * self.validate(obj)
        new, before = obj["spec"], old["spec"]
        sources = [{k: v for k, v in spec.items() if k not in _NOT_SOURCES} for spec in (new, before)]
        if "controllerExpandSecretRef" not in sources[1].get("csi", {}) and "csi" in sources[0]:
            # It may come later.
            sources[0]["csi"] = {k: v for k, v in sources[0]["csi"].items() if k != "controllerExpandSecretRef"}
        if sources[0] != sources[1]:
            changes = difference(go_volume_source(sources[1]), go_volume_source(sources[0]))
            text = f"spec.persistentvolumesource is immutable after creation\n{changes}"
            causes.append(forbidden_field("spec.persistentvolumesource", text))
        causes += unchanged("volumeMode", new.get("volumeMode"), before.get("volumeMode"))
        affinity = new.get("nodeAffinity")
        if "nodeAffinity" in before and not _same_affinity(affinity or {}, before["nodeAffinity"]):
            text = "field is immutable, except for updating from beta label to GA"
            causes.append(invalid_value("nodeAffinity", shown("core.v1.VolumeNodeAffinity", affinity), text))
        name = "volumeAttributesClassName"
        if name in before and name not in new:
            causes.append(forbidden_field(f"spec.{name}", "update from non-nil value to nil is forbidden"))
        return causes

    def facts(self, obj: Object) -> str:
        """Return the claim's key."""
        claim = obj.get("spec", {}).get("claimRef") or {}
        return f"{claim.get('namespace', '')}/{claim['name']}" if claim.get("name") else ""

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        spec, status = obj.get("spec", {}), obj.get("status", {})
        phase = "Terminating" if obj["metadata"].get("deletionTimestamp") else status.get("phase", "")
        return [
            obj["metadata"]["name"],
            spec.get("capacity", {}).get("storage", "0"),
            access_modes_text(spec.get("accessModes")),
            spec.get("persistentVolumeReclaimPolicy", ""),
            phase,
            self.facts(obj),
            class_of(obj),
            spec.get("volumeAttributesClassName") or _UNSET,
            status.get("reason", ""),
            age(obj, now_s),
            spec.get("volumeMode", _UNSET),
        ]


def _same_affinity(new: Object, old: Object) -> bool:
    """Say whether a node affinity is the one before, but for labels that have other names now."""
    if new == old:
        return True
    renamed = deepcopy(old)
    terms = [of.get("required", {}).get("nodeSelectorTerms", []) for of in (new, renamed)]
    for after, before in zip(*terms, strict=False):
        for name in ("matchExpressions", "matchFields"):
            for wanted, known in zip(after.get(name, ()), before.get(name, ()), strict=False):
                # No name at all passes for the new one of a label that has none.
                if wanted.get("key", "") == NEW_LABELS.get(known.get("key", ""), ""):
                    known["key"] = wanted.get("key", "")
    return new == renamed


def _affinity(affinity: Object) -> list[Cause]:
    if "required" not in affinity:
        return [required("spec.nodeAffinity.required", "must specify required node constraints")]
    return node_selector_causes(affinity["required"], "spec.nodeAffinity.required")
