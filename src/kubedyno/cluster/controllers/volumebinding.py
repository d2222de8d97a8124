"""Claims and volumes find each other: what is there is bound, what a class can make is made.

A class that waits for the first consumer is served when the scheduler has chosen a node for a pod that uses the claim:
it says so in the claim's annotation, or in the volume that it reserved. Volumes of kind's
local-path provisioner, and of provisioners below kubedyno.io, are made and deleted here, as objects only; for any other
provisioner the claim waits, as it does where no driver runs.
"""

from typing import Any

import orjson

from kubedyno.base.times import rfc3339
from kubedyno.cluster.controllers.feeds import Feeds
from kubedyno.cluster.controllers.podstates import metadata_of
from kubedyno.cluster.controllers.refusals import is_terminating
from kubedyno.cluster.controllers.volumeexpansion import PROVISIONED_BY, VolumeExpansion
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.kinds.podfacts import ENDED
from kubedyno.cluster.registry.kinds.volumes import VOLUME_FINALIZER, class_of
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.registry.volumematching import (
    BIND_COMPLETED,
    NO_PROVISIONER,
    SELECTED_NODE,
    claim_uid,
    claims_of,
    free_volumes,
    mismatch,
    reference_to,
    reserved_for,
)
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.resources import CLAIMS, PODS, STORAGECLASSES, VOLUMES
from kubedyno.kube.status import StatusError

_COMPONENT = "persistentvolume-controller"
_LOCAL_PATH = "rancher.io/local-path"
_OWN_PREFIX = "kubedyno.io/"
_LOCAL_DIRECTORY = "/var/local-path-provisioner"
_PROVISIONER = "volume.kubernetes.io/storage-provisioner"
_BETA_PROVISIONER = "volume.beta.kubernetes.io/storage-provisioner"
_BOUND_BY_US = "pv.kubernetes.io/bound-by-controller"
_HOST = "kubernetes.io/hostname"
# --pvclaimbinder-sync-period: what waits is looked at, and said, again.
SYNC_S = 15.0


class VolumeBinding:
    """The binder and a provisioner.

    Args:
        trusted: Where it writes.
        pump: Gives turns and time.
        feeds: Gives changes.
    """

    def __init__(self, trusted: Trusted, pump: Pump, feeds: Feeds) -> None:
        self._trusted = trusted
        self._store = trusted.store
        self._clock = pump.clock
        self._claims: WorkQueue[str] = WorkQueue(pump, "claim-binder", self._reconcile_claim)
        self._volumes: WorkQueue[str] = WorkQueue(pump, "volume-binder", self._reconcile_volume)
        self._expansion = VolumeExpansion(trusted, pump, self._pods_of)
        # Claims without a volume.
        self._unbound: dict[str, None] = {}
        feeds.follow(STORAGECLASSES, self._class_changed)
        feeds.follow(CLAIMS, self._claim_changed, self._claim_gone)
        # Claim → keys of the pods that use it; and pod → its claims.
        self._users: dict[str, set[str]] = {}
        self._used: dict[str, tuple[str, ...]] = {}
        feeds.follow(VOLUMES, self._volume_changed, self._volume_gone)
        feeds.follow(PODS, self._pod_changed, self._pod_gone)

    # --- news ------------------------------------------------------------------------------------------------------

    def _class_changed(self, record: ObjectRecord) -> None:
        _ = record
        for key in self._unbound:
            self._claims.add(key)

    def _claim_changed(self, record: ObjectRecord) -> None:
        self._claims.add(record.key)

    def _claim_gone(self, record: ObjectRecord) -> None:
        self._unbound.pop(record.key, None)
        self._claims.forget(record.key)
        for volume in self._store.by_index(VOLUMES, "claim", record.key):
            self._volumes.add(volume.key)

    def _volume_changed(self, record: ObjectRecord) -> None:
        self._volumes.add(record.key)

    def _volume_gone(self, record: ObjectRecord) -> None:
        self._volumes.forget(record.key)
        if record.obj.facts:
            self._claims.add(record.obj.facts)

    def _pod_changed(self, record: ObjectRecord) -> None:
        if record.obj.facts.spec.attached and record.key not in self._used:
            used = self._used[record.key] = tuple(f"{record.obj.namespace}/{name}" for name in _claims_of(record))
            for claim in used:
                self._users.setdefault(claim, set()).add(record.key)

    def _pod_gone(self, record: ObjectRecord) -> None:
        if not record.obj.facts.spec.attached:
            return
        for claim in self._used.pop(record.key, ()):
            users = self._users[claim]
            users.discard(record.key)
            if not users:
                del self._users[claim]

    # --- claims ----------------------------------------------------------------------------------------------------

    def _reconcile_claim(self, key: str, budget: int) -> int:
        _ = budget
        record = self._store.get(CLAIMS, key)
        if record is None:
            return 1
        claim = self._store.encode_dict(CLAIMS, record)
        name = claim["spec"].get("volumeName", "")
        if BIND_COMPLETED in claim["metadata"].get("annotations", {}):
            self._unbound.pop(key, None)
            self._keep_bound(record, claim)
        elif not record.obj.deletion_s:
            self._unbound[key] = None
            volume = self._store.get(VOLUMES, name) if name else self._match(claim)
            if volume is not None and (not name or _is_for(volume, record)):
                self._bind_asked(record, claim, volume)
            elif volume is not None:
                text = f'volume "{name}" already bound to a different claim.'
                self._event(record, "Warning", "FailedBinding", text)
                self._claims.add_after(key, SYNC_S)
            elif not name:
                self._provide(record, claim)
        self._claims.forget(key)
        return 2

    def _bind_asked(self, record: ObjectRecord, claim: dict[str, Any], volume: ObjectRecord) -> None:
        """Bind a claim to the volume that one of the two asks for, unless they do not go together."""
        wrong = mismatch(claim, self._store.encode_dict(VOLUMES, volume))
        if wrong:
            text = f'Cannot bind to requested volume "{volume.obj.name}": {wrong}'
            self._event(record, "Warning", "VolumeMismatch", text)
            self._claims.add_after(record.key, SYNC_S)
        else:
            self._bind(record, volume)

    def _keep_bound(self, record: ObjectRecord, claim: dict[str, Any]) -> None:
        volume = self._store.get(VOLUMES, claim["spec"].get("volumeName", ""))
        phase = claim.get("status", {}).get("phase")
        if volume is None or not _is_for(volume, record):
            if phase != "Lost":
                self._trusted.replace_status(CLAIMS, record, {"phase": "Lost"})
                text = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
                self._event(record, "Warning", "ClaimLost", text)
            return
        if phase != "Bound":
            self._bind(record, volume)
            return
        provisioner = metadata_of(volume.obj).get("annotations", {}).get(PROVISIONED_BY, "")
        self._expansion.consider(record, claim, volume, provisioner, ours=_is_ours(provisioner))

    def _match(self, claim: dict[str, Any]) -> ObjectRecord | None:
        """Return the volume that was reserved for a claim, or the smallest free one that is enough."""
        metadata = claim["metadata"]
        reserved = reserved_for(self._store, f"{metadata['namespace']}/{metadata['name']}", metadata["uid"])
        if reserved is not None or self._waits(claim):
            return reserved
        free = free_volumes(self._store, claim)
        return free[0][0] if free else None

    def _class(self, claim: dict[str, Any]) -> dict[str, Any] | None:
        record = self._store.get(STORAGECLASSES, class_of(claim))
        return None if record is None else self._store.encode_dict(STORAGECLASSES, record)

    def _waits(self, claim: dict[str, Any]) -> bool:
        made = self._class(claim)
        return made is not None and made.get("volumeBindingMode") == "WaitForFirstConsumer"

    def _consumers(self, claim: ObjectRecord) -> list[str]:
        """Return the names of the pods that use a claim and have not ended."""
        return [pod.obj.name for pod in self._pods_of(claim.key)]

    def _pods_of(self, claim: str) -> list[ObjectRecord]:
        pods = (self._store.get(PODS, key) for key in sorted(self._users.get(claim, ())))
        return [pod for pod in pods if pod is not None and pod.obj.facts.phase not in ENDED]

    def _provide(self, record: ObjectRecord, claim: dict[str, Any]) -> None:
        """Have a volume made, or say why none is."""
        name, made = class_of(claim), self._class(claim)
        if not name:
            text = "no persistent volumes available for this claim and no storage class is set"
            self._event(record, "Normal", "FailedBinding", text)
            self._claims.add_after(record.key, SYNC_S)
            return
        if made is None:
            text = f'storageclass.storage.k8s.io "{name}" not found'
            self._event(record, "Warning", "ProvisioningFailed", text)
            self._claims.add_after(record.key, SYNC_S)
            return
        node = claim["metadata"].get("annotations", {}).get(SELECTED_NODE, "")
        if made.get("volumeBindingMode") == "WaitForFirstConsumer" and not node:
            pods = self._consumers(record)
            reason, text = "WaitForFirstConsumer", "waiting for first consumer to be created before binding"
            if pods:
                reason, text = "WaitForPodScheduled", f"waiting for pod {','.join(pods)} to be scheduled"
            self._event(record, "Normal", reason, text)
            self._claims.add_after(record.key, SYNC_S)
            return
        provisioner = made["provisioner"]
        if provisioner == NO_PROVISIONER:
            return
        record = self._annotate(record, provisioner)
        text = (
            f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the "
            "system administrator. If volume creation is delayed, please verify that the provisioner is running and "
            "correctly registered."
        )
        self._event(record, "Normal", "ExternalProvisioning", text)
        if _is_ours(provisioner):
            self._provision(record, made, node)
        else:
            self._claims.add_after(record.key, SYNC_S)

    def _annotate(self, record: ObjectRecord, provisioner: str) -> ObjectRecord:
        annotations = metadata_of(record.obj).get("annotations", {})
        wanted = {**annotations, _BETA_PROVISIONER: provisioner, _PROVISIONER: provisioner}
        if wanted == annotations:
            return record
        return self._trusted.replace(CLAIMS, record, annotations=wanted)

    def _provision(self, record: ObjectRecord, made: dict[str, Any], node: str) -> None:
        obj = record.obj
        spec = orjson.loads(b"{" + obj.body + b"}")["spec"]
        name, provisioner = f"pvc-{obj.uid}", made["provisioner"]
        component = provisioner
        text = f'External provisioner is provisioning volume for claim "{obj.key}"'
        self._event(record, "Normal", "Provisioning", text, component=component)
        path = f"{_LOCAL_DIRECTORY}/{name}_{obj.namespace}_{obj.name}"
        volume: dict[str, Any] = {
            "capacity": {"storage": spec.get("resources", {}).get("requests", {}).get("storage", "0")},
            "hostPath": {"path": path, "type": "DirectoryOrCreate"},
            "accessModes": spec.get("accessModes", []),
            "claimRef": reference_to(record),
            "persistentVolumeReclaimPolicy": made.get("reclaimPolicy", "Delete"),
            "storageClassName": made["metadata"]["name"],
            "volumeMode": spec.get("volumeMode", "Filesystem"),
        }
        if made.get("mountOptions"):
            volume["mountOptions"] = made["mountOptions"]
        annotations = {PROVISIONED_BY: provisioner}
        if node:
            annotations = {"local.path.provisioner/selected-node": node, **annotations}
            expression = {"key": _HOST, "operator": "In", "values": [node]}
            volume["nodeAffinity"] = {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}
        metadata = {"name": name, "annotations": annotations, "finalizers": [VOLUME_FINALIZER]}
        if self._store.get(VOLUMES, name) is None:
            self._trusted.create(VOLUMES, "", {"metadata": metadata, "spec": volume})
        text = f"Successfully provisioned volume {name}"
        self._event(record, "Normal", "ProvisioningSucceeded", text, component=component)
        current, made_volume = self._store.get(CLAIMS, record.key), self._store.get(VOLUMES, name)
        if current is not None and made_volume is not None:
            self._bind(current, made_volume, provisioned=True)

    def _bind(self, record: ObjectRecord, volume: ObjectRecord, *, provisioned: bool = False) -> None:
        """Write both sides: the volume's reference and phase, the claim's volume, phase and capacity."""
        body = orjson.loads(b"{" + volume.obj.body + b"}")
        spec = body["spec"]
        if spec.get("claimRef", {}).get("uid") != record.obj.uid:
            ours = not spec.get("claimRef")
            spec["claimRef"] = reference_to(record)
            annotations = metadata_of(volume.obj).get("annotations", {})
            volume = self._trusted.replace(
                VOLUMES, volume, body=body, annotations={**annotations, _BOUND_BY_US: "yes"} if ours else None
            )
        self._phase(volume, "Bound")
        claim = orjson.loads(b"{" + record.obj.body + b"}")
        annotations = {**metadata_of(record.obj).get("annotations", {}), BIND_COMPLETED: "yes"}
        if not claim["spec"].get("volumeName") or provisioned:
            annotations[_BOUND_BY_US] = "yes"
        claim["spec"]["volumeName"] = volume.obj.name
        record = self._trusted.replace(CLAIMS, record, body=claim, annotations=dict(sorted(annotations.items())))
        status = {"phase": "Bound", "accessModes": spec.get("accessModes", []), "capacity": spec["capacity"]}
        self._trusted.replace_status(CLAIMS, record, status)
        self._unbound.pop(record.key, None)

    # --- volumes ---------------------------------------------------------------------------------------------------

    def _reconcile_volume(self, key: str, budget: int) -> int:
        _ = budget
        record = self._store.get(VOLUMES, key)
        if record is None:
            return 1
        spec = orjson.loads(b"{" + record.obj.body + b"}")["spec"]
        claim = self._store.get(CLAIMS, record.obj.facts) if record.obj.facts else None
        uid = _claim_uid(record)
        if not record.obj.facts or not uid:
            self._phase(record, "Available")
            for waiting in self._unbound:
                self._claims.add(waiting)
        elif claim is None or claim.obj.uid != uid:
            self._reclaim(self._phase(record, "Released"), spec)
        elif orjson.loads(b"{" + claim.obj.body + b"}")["spec"].get("volumeName") in {None, "", key}:
            self._claims.add(claim.key)
        self._volumes.forget(key)
        return 1

    def _reclaim(self, record: ObjectRecord, spec: dict[str, Any]) -> None:
        if spec.get("persistentVolumeReclaimPolicy") != "Delete" or record.obj.deletion_s:
            return
        if _is_ours(metadata_of(record.obj).get("annotations", {}).get(PROVISIONED_BY, "")):
            self._trusted.delete(VOLUMES, record.key, uid=record.obj.uid)

    def _phase(self, record: ObjectRecord, phase: str) -> ObjectRecord:
        status = orjson.loads(record.obj.status or b"{}")
        if status.get("phase") == phase:
            return record
        new = {"phase": phase, "lastPhaseTransitionTime": rfc3339(self._clock.now())}
        return self._trusted.replace_status(VOLUMES, record, new)

    def _event(self, record: ObjectRecord, type: str, reason: str, message: str, component: str = _COMPONENT) -> None:
        try:
            self._trusted.event(CLAIMS, record, type=type, reason=reason, message=message, component=component)
        except StatusError as error:
            if not is_terminating(error):
                raise


def _is_ours(provisioner: str) -> bool:
    return provisioner == _LOCAL_PATH or provisioner.startswith(_OWN_PREFIX)


def _claims_of(pod: ObjectRecord) -> set[str]:
    """Return the names of the claims that a pod uses."""
    spec = orjson.loads(b"{" + pod.obj.body + b"}")["spec"]
    return {name for name, _ in claims_of(pod.obj.name, spec)}


def _claim_uid(volume: ObjectRecord) -> str:
    return claim_uid(orjson.loads(b"{" + volume.obj.body + b"}"))


def _is_for(volume: ObjectRecord, claim: ObjectRecord) -> bool:
    return volume.obj.facts in {"", claim.key} and _claim_uid(volume) in {"", claim.obj.uid}
