"""PersistentVolume and PersistentVolumeClaim."""

from typing import Any

from kubedyno.cluster.registry.cells import age
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.kinds.claimvalidation import (
    VOLUME_MODES,
    access_mode_causes,
    claim_causes,
    positive,
)
from kubedyno.cluster.registry.kinds.gostruct import difference, go_claim_spec, go_volume_source
from kubedyno.cluster.registry.kinds.podspec import default_volume_source
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
_SHORT = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
_NOT_SOURCES = frozenset({
    "capacity", "accessModes", "claimRef", "persistentVolumeReclaimPolicy", "storageClassName", "mountOptions",
    "volumeMode", "nodeAffinity", "volumeAttributesClassName",
})  # fmt: skip
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


def _share_data_source(spec: Object) -> None:
    """Keep dataSource and dataSourceRef equal, and drop a source that nothing understands."""
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    if source is not None and not source.get("apiGroup") and source.get("kind") != "PersistentVolumeClaim":
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
        _share_data_source(obj["spec"])
        finalizers = obj["metadata"].setdefault("finalizers", [])
        if CLAIM_FINALIZER not in finalizers:
            finalizers.append(CLAIM_FINALIZER)

    def prepare_update(self, obj: Object, old: Object) -> None:
        super().prepare_update(obj, old)
        _share_data_source(obj["spec"])

    def prepare_status(self, obj: Object, old: Object) -> Object:
        new = super().prepare_status(obj, old)
        new["status"].setdefault("phase", "Pending")
        return new

    def validate(self, obj: Object) -> list[Cause]:
        return claim_causes(obj["spec"], "spec")

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        new, before = dict(obj["spec"]), dict(old["spec"])
        causes = claim_causes(new, "spec")
        bound = old.get("status", {}).get("phase") == "Bound"
        amounts = [s.get("resources", {}).get("requests", {}).get("storage", "0") for s in (new, before)]
        compared = dict(new)
        # What binding sets, and what a bound claim may ask for later.
        if not before.get("volumeName"):
            compared["volumeName"] = before.get("volumeName", "")
        if "storageClassName" not in before and CLASS_ANNOTATION not in old["metadata"].get("annotations", {}):
            compared.pop("storageClassName", None)
        if bound:
            compared["resources"] = before.get("resources", {})
            compared["volumeAttributesClassName"] = before.get("volumeAttributesClassName")
        shown, was = go_claim_spec(compared), go_claim_spec(before)
        if shown != was:
            causes.append(forbidden_field("spec", f"{_CLAIM_TEXT}\n{difference(was, shown)}"))
        capacity = old.get("status", {}).get("capacity", {}).get("storage", "0")
        wanted, earlier = Quantity.parse(amounts[0]), Quantity.parse(amounts[1])
        if bound and wanted < earlier and wanted < Quantity.parse(capacity):
            text = "field can not be less than status.capacity"
            causes.append(forbidden_field("spec.resources.requests.storage", text))
        return causes + unchanged("spec.volumeMode", new.get("volumeMode"), before.get("volumeMode"))

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
        causes += one_of("spec.persistentVolumeReclaimPolicy", policy, ("Delete", "Recycle", "Retain"))
        if "nodeAffinity" in spec:
            causes += _affinity(spec["nodeAffinity"])
        sources = [name for name in spec if name not in _NOT_SOURCES]
        if not sources:
            causes.append(required("spec", "must specify a volume type"))
        for name in sources[1:]:
            causes.append(forbidden_field(f"spec.{name}", "may not specify more than 1 volume type"))
        if sources:
            causes += source_causes(sources[0], spec[sources[0]], f"spec.{sources[0]}", pod=False, persistent=True)
        if "local" in spec and "nodeAffinity" not in spec:
            causes.append(required("spec.nodeAffinity", "Local volume requires node affinity"))
        if policy == "Recycle" and spec.get("hostPath", {}).get("path", "").rstrip("/") == "" and "hostPath" in spec:
            text = "may not be 'recycle' for a hostPath mount of '/'"
            causes.append(forbidden_field("spec.persistentVolumeReclaimPolicy", text))
        if spec.get("storageClassName"):
            causes += named("spec.storageClassName", spec["storageClassName"])
        return causes + one_of("spec.volumeMode", spec["volumeMode"], VOLUME_MODES)

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
        if "nodeAffinity" in before and affinity != before["nodeAffinity"]:
            text = "field is immutable, except for updating from beta label to GA"
            causes.append(invalid_value("nodeAffinity", shown("core.v1.VolumeNodeAffinity", affinity), text))
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


def _affinity(affinity: Object) -> list[Cause]:
    if "required" not in affinity:
        return [required("spec.nodeAffinity.required", "must specify required node constraints")]
    return node_selector_causes(affinity["required"], "spec.nodeAffinity.required")
