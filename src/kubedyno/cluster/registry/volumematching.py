"""Which volumes are free for a claim: one rule for the controller that binds them and the scheduler that plans with them."""

from typing import Any

from kubedyno.cluster.registry.kinds.volumes import class_of
from kubedyno.cluster.storage.store import ObjectRecord, Store
from kubedyno.kube.quantity import value_of
from kubedyno.kube.resources import VOLUMES
from kubedyno.kube.selectors import LabelSelector

SELECTED_NODE = "volume.kubernetes.io/selected-node"
BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
NO_PROVISIONER = "kubernetes.io/no-provisioner"


def claim_uid(volume: dict[str, Any]) -> str:
    """Return the uid of the claim that a volume is for, "" while it names none."""
    return str((volume["spec"].get("claimRef") or {}).get("uid", ""))


def reserved_for(store: Store, key: str, uid: str) -> ObjectRecord | None:
    """Return the volume that names a claim already."""
    for volume in store.by_index(VOLUMES, "claim", key):
        if not volume.obj.deletion_s and claim_uid(store.encode_dict(VOLUMES, volume)) in {"", uid}:
            return volume
    return None


def mismatch(claim: dict[str, Any], volume: dict[str, Any]) -> str:
    """Return why a volume is not for a claim whoever asks for it, "" when it may be."""
    spec, own = claim["spec"], volume["spec"]
    wanted = value_of(spec.get("resources", {}).get("requests", {}).get("storage", "0"))
    if value_of(own["capacity"]["storage"]) < wanted:
        return "requested PV is too small"
    if class_of(volume) != class_of(claim):
        return "storageClassName does not match"
    if own.get("volumeMode", "Filesystem") != spec.get("volumeMode", "Filesystem"):
        return "incompatible volumeMode"
    if not set(spec.get("accessModes", ())) <= set(own.get("accessModes", ())):
        return "incompatible accessMode"
    if (own.get("volumeAttributesClassName") or "") != (spec.get("volumeAttributesClassName") or ""):
        return "volumeAttributesClassName does not match"
    return ""


def free_volumes(store: Store, claim: dict[str, Any]) -> list[tuple[ObjectRecord, dict[str, Any]]]:
    """Return the volumes that nobody has and that are enough for a claim, the smallest first. O(volumes)."""
    spec = claim["spec"]
    selector = LabelSelector.of(spec["selector"]) if "selector" in spec else LabelSelector()
    found: list[tuple[int, str, ObjectRecord, dict[str, Any]]] = []
    for record in store.list(VOLUMES):
        if record.obj.facts or record.obj.deletion_s or not selector.matches(record.obj.labels):
            continue
        volume = store.encode_dict(VOLUMES, record)
        own = volume["spec"]
        if volume.get("status", {}).get("phase") in {"Available", "Pending"} and not mismatch(claim, volume):
            found.append((value_of(own["capacity"]["storage"]), record.key, record, volume))
    found.sort(key=lambda entry: entry[:2])
    return [(record, volume) for _, _, record, volume in found]


def reference_to(claim: ObjectRecord) -> dict[str, Any]:
    """Return what a volume's claimRef says of its claim."""
    return {
        "kind": "PersistentVolumeClaim", "namespace": claim.obj.namespace, "name": claim.obj.name,
        "uid": claim.obj.uid, "apiVersion": "v1", "resourceVersion": str(claim.revision),
    }  # fmt: skip


def claims_of(name: str, spec: dict[str, Any]) -> list[tuple[str, bool]]:
    """Return the names of the claims of a pod, True for those that are made for it (ephemeral volumes).

    Args:
        name: The pod's.
        spec: Its spec.
    """
    found = []
    for volume in spec.get("volumes") or ():
        claimed = volume.get("persistentVolumeClaim")
        if claimed is not None:
            found.append((str(claimed.get("claimName", "")), False))
        elif "ephemeral" in volume:
            found.append((f"{name}-{volume['name']}", True))
    return found
