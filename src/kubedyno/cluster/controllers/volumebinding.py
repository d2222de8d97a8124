"""Claims and volumes find each other: what is there is bound, what a class can make is made.

A class that waits for the first consumer is served when a pod that uses the claim has a node. Volumes of kind's
local-path provisioner, and of provisioners below kubedyno.io, are made and deleted here, as objects only; for any other
provisioner the claim waits, as it does where no driver runs.
"""

from typing import Any

import orjson

from kubedyno.base.times import rfc3339
from kubedyno.cluster.controllers.feeds import Feeds
from kubedyno.cluster.controllers.podstates import metadata_of
from kubedyno.cluster.controllers.refusals import is_terminating
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.admission import CLAIMS, VOLUMES
from kubedyno.cluster.registry.kinds.volumes import VOLUME_FINALIZER, class_of
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.quantity import value_of
from kubedyno.kube.resources import PODS, STORAGECLASSES
from kubedyno.kube.selectors import LabelSelector
from kubedyno.kube.status import StatusError

_COMPONENT = "persistentvolume-controller"
_LOCAL_PATH = "rancher.io/local-path"
_OWN_PREFIX = "kubedyno.io/"
_LOCAL_DIRECTORY = "/var/local-path-provisioner"
_SELECTED = "volume.kubernetes.io/selected-node"
_PROVISIONER = "volume.kubernetes.io/storage-provisioner"
_BETA_PROVISIONER = "volume.beta.kubernetes.io/storage-provisioner"
_BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
_BOUND_BY_US = "pv.kubernetes.io/bound-by-controller"
_PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
_NO_PROVISIONER = "kubernetes.io/no-provisioner"
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
        # Namespace → claims that wait for a pod to use them.
        self._waiting: dict[str, set[str]] = {}
        # Claims without a volume.
        self._unbound: dict[str, None] = {}
        feeds.follow(STORAGECLASSES, self._class_changed)
        feeds.follow(CLAIMS, self._claim_changed, self._claim_gone)
        feeds.follow(VOLUMES, self._volume_changed, self._volume_gone)
        feeds.follow(PODS, self._pod_changed)

    # --- news ------------------------------------------------------------------------------------------------------

    def _class_changed(self, record: ObjectRecord) -> None:
        _ = record
        for key in self._unbound:
            self._claims.add(key)

    def _claim_changed(self, record: ObjectRecord) -> None:
        self._claims.add(record.key)

    def _claim_gone(self, record: ObjectRecord) -> None:
        self._unbound.pop(record.key, None)
        self._stop_waiting(record.obj.namespace, record.key)
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
        if self._waiting and record.obj.facts.node_name and record.obj.namespace in self._waiting:
            for name in _claims_of(record):
                key = f"{record.obj.namespace}/{name}"
                if key in self._waiting[record.obj.namespace]:
                    self._claims.add(key)

    def _stop_waiting(self, namespace: str, key: str) -> None:
        waiting = self._waiting.get(namespace)
        if waiting is not None:
            waiting.discard(key)
            if not waiting:
                del self._waiting[namespace]

    # --- claims ----------------------------------------------------------------------------------------------------

    def _reconcile_claim(self, key: str, budget: int) -> int:
        _ = budget
        record = self._store.get(CLAIMS, key)
        if record is None:
            return 1
        claim = self._store.encode_dict(CLAIMS, record)
        name = claim["spec"].get("volumeName", "")
        if _BIND_COMPLETED in claim["metadata"].get("annotations", {}):
            self._unbound.pop(key, None)
            self._keep_bound(record, claim)
        elif not record.obj.deletion_s:
            self._unbound[key] = None
            volume = self._store.get(VOLUMES, name) if name else self._match(claim)
            if volume is not None and (not name or _is_for(volume, record)):
                self._bind(record, volume)
            elif not name:
                self._provide(record, claim)
        self._claims.forget(key)
        return 2

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
        self._resize(record, claim, volume)

    def _resize(self, record: ObjectRecord, claim: dict[str, Any], volume: ObjectRecord) -> None:
        """Give a claim that asks for more what it asks for, where its provisioner is one of ours."""
        wanted = claim["spec"].get("resources", {}).get("requests", {}).get("storage", "0")
        status = claim["status"]
        if value_of(wanted) <= value_of(status.get("capacity", {}).get("storage", "0")):
            return
        provisioner = metadata_of(volume.obj).get("annotations", {}).get(_PROVISIONED_BY, "")
        if not _is_ours(provisioner):
            return
        body = orjson.loads(b"{" + volume.obj.body + b"}")
        body["spec"]["capacity"]["storage"] = wanted
        self._trusted.replace(VOLUMES, volume, body=body)
        status["capacity"] = {**status.get("capacity", {}), "storage": wanted}
        self._trusted.replace_status(CLAIMS, record, status)
        text = f"Resize volume succeeded for volume {volume.obj.name}"
        self._event(record, "Normal", "VolumeResizeSuccessful", text, component=f"external-resizer {provisioner}")

    def _match(self, claim: dict[str, Any]) -> ObjectRecord | None:
        """Return the smallest volume that is free, or made for it, and is enough."""
        spec, metadata = claim["spec"], claim["metadata"]
        key = f"{metadata['namespace']}/{metadata['name']}"
        for volume in self._store.by_index(VOLUMES, "claim", key):
            if not volume.obj.deletion_s and _claim_uid(volume) in {"", metadata["uid"]}:
                return volume
        wanted = value_of(spec.get("resources", {}).get("requests", {}).get("storage", "0"))
        selector = LabelSelector.of(spec["selector"]) if "selector" in spec else LabelSelector()
        best: tuple[int, str, ObjectRecord] | None = None
        for volume in self._store.list(VOLUMES):
            if volume.obj.facts or volume.obj.deletion_s or not selector.matches(volume.obj.labels):
                continue
            found = self._store.encode_dict(VOLUMES, volume)
            own = found["spec"]
            size = value_of(own["capacity"]["storage"])
            if (
                found.get("status", {}).get("phase") in {"Available", "Pending"}
                and class_of(found) == class_of(claim)
                and size >= wanted
                and set(spec.get("accessModes", ())) <= set(own.get("accessModes", ()))
                and own.get("volumeMode", "Filesystem") == spec.get("volumeMode", "Filesystem")
                and (best is None or (size, volume.key) < best[:2])
            ):
                best = size, volume.key, volume
        if best is None or (self._waits(claim) and self._consumer(claim) is None):
            return None
        return best[2]

    def _class(self, claim: dict[str, Any]) -> dict[str, Any] | None:
        record = self._store.get(STORAGECLASSES, class_of(claim))
        return None if record is None else self._store.encode_dict(STORAGECLASSES, record)

    def _waits(self, claim: dict[str, Any]) -> bool:
        made = self._class(claim)
        return made is not None and made.get("volumeBindingMode") == "WaitForFirstConsumer"

    def _consumer(self, claim: dict[str, Any]) -> ObjectRecord | None:
        """Return a pod that uses a claim and has a node."""
        metadata = claim["metadata"]
        for pod in self._store.list(PODS, metadata["namespace"]):
            if pod.obj.facts.node_name and not pod.obj.deletion_s and metadata["name"] in _claims_of(pod):
                return pod
        return None

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
        pod = None
        if made.get("volumeBindingMode") == "WaitForFirstConsumer":
            namespace = record.obj.namespace
            pod = self._consumer(claim)
            if pod is None:
                self._waiting.setdefault(namespace, set()).add(record.key)
                text = "waiting for first consumer to be created before binding"
                self._event(record, "Normal", "WaitForFirstConsumer", text)
                self._claims.add_after(record.key, SYNC_S)
                return
            self._stop_waiting(namespace, record.key)
        provisioner = made["provisioner"]
        if provisioner == _NO_PROVISIONER:
            return
        record = self._annotate(record, provisioner, "" if pod is None else pod.obj.facts.node_name)
        text = (
            f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the "
            "system administrator. If volume creation is delayed, please verify that the provisioner is running and "
            "correctly registered."
        )
        self._event(record, "Normal", "ExternalProvisioning", text)
        if _is_ours(provisioner):
            self._provision(record, made, "" if pod is None else pod.obj.facts.node_name)
        else:
            self._claims.add_after(record.key, SYNC_S)

    def _annotate(self, record: ObjectRecord, provisioner: str, node: str) -> ObjectRecord:
        annotations = metadata_of(record.obj).get("annotations", {})
        wanted = {**annotations, _BETA_PROVISIONER: provisioner, _PROVISIONER: provisioner}
        if node:
            wanted[_SELECTED] = node
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
            "claimRef": _reference(record),
            "persistentVolumeReclaimPolicy": made.get("reclaimPolicy", "Delete"),
            "storageClassName": made["metadata"]["name"],
            "volumeMode": spec.get("volumeMode", "Filesystem"),
        }
        if made.get("mountOptions"):
            volume["mountOptions"] = made["mountOptions"]
        annotations = {_PROVISIONED_BY: provisioner}
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
            spec["claimRef"] = _reference(record)
            annotations = metadata_of(volume.obj).get("annotations", {})
            volume = self._trusted.replace(
                VOLUMES, volume, body=body, annotations={**annotations, _BOUND_BY_US: "yes"} if ours else None
            )
        self._phase(volume, "Bound")
        claim = orjson.loads(b"{" + record.obj.body + b"}")
        annotations = {**metadata_of(record.obj).get("annotations", {}), _BIND_COMPLETED: "yes"}
        if not claim["spec"].get("volumeName") or provisioned:
            annotations[_BOUND_BY_US] = "yes"
        claim["spec"]["volumeName"] = volume.obj.name
        record = self._trusted.replace(CLAIMS, record, body=claim, annotations=dict(sorted(annotations.items())))
        status = {"phase": "Bound", "accessModes": spec.get("accessModes", []), "capacity": spec["capacity"]}
        self._trusted.replace_status(CLAIMS, record, status)
        self._unbound.pop(record.key, None)
        self._stop_waiting(record.obj.namespace, record.key)

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
        if _is_ours(metadata_of(record.obj).get("annotations", {}).get(_PROVISIONED_BY, "")):
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
    body = pod.obj.body
    if b'"claimName"' not in body and b'"ephemeral"' not in body:
        return set()
    spec = orjson.loads(b"{" + body + b"}")["spec"]
    named = (v.get("persistentVolumeClaim", {}).get("claimName", "") for v in spec.get("volumes", ()))
    return {name for name in named if name}


def _claim_uid(volume: ObjectRecord) -> str:
    spec = orjson.loads(b"{" + volume.obj.body + b"}")["spec"]
    return str((spec.get("claimRef") or {}).get("uid", ""))


def _is_for(volume: ObjectRecord, claim: ObjectRecord) -> bool:
    return volume.obj.facts in {"", claim.key} and _claim_uid(volume) in {"", claim.obj.uid}


def _reference(claim: ObjectRecord) -> dict[str, Any]:
    return {
        "kind": "PersistentVolumeClaim", "namespace": claim.obj.namespace, "name": claim.obj.name,
        "uid": claim.obj.uid, "apiVersion": "v1", "resourceVersion": str(claim.revision),
    }  # fmt: skip
