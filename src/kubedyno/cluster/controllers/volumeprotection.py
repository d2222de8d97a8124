"""Volumes in use stay: claims that are being deleted go when no pod needs them, volumes when no claim is bound to them."""

from typing import Any

import orjson

from kubedyno.cluster.controllers.feeds import Feeds
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.kinds.podfacts import ENDED
from kubedyno.cluster.registry.kinds.volumes import CLAIM_FINALIZER, VOLUME_FINALIZER
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.resources import CLAIMS, PODS, VOLUMES, Resource


class VolumeProtection:
    """The protection controllers of claims and volumes.

    Args:
        trusted: Where it writes.
        pump: Gives turns.
        feeds: Gives changes.
    """

    def __init__(self, trusted: Trusted, pump: Pump, feeds: Feeds) -> None:
        self._trusted = trusted
        self._store = trusted.store
        self._claims: WorkQueue[str] = WorkQueue(pump, "claim-protection", self._release_claim)
        self._volumes: WorkQueue[str] = WorkQueue(pump, "volume-protection", self._release_volume)
        # Namespace → keys of claims that wait for a pod to go.
        self._waiting: dict[str, set[str]] = {}
        feeds.follow(CLAIMS, self._claim_changed, self._claim_gone)
        feeds.follow(VOLUMES, self._volume_changed, self._volume_gone)
        feeds.follow(PODS, self._pod_changed, self._pod_gone)

    def _claim_changed(self, record: ObjectRecord) -> None:
        if record.obj.deletion_s and CLAIM_FINALIZER in record.obj.finalizers:
            self._claims.add(record.key)

    def _claim_gone(self, record: ObjectRecord) -> None:
        self._waiting.get(record.obj.namespace, set()).discard(record.key)
        self._claims.forget(record.key)

    def _volume_changed(self, record: ObjectRecord) -> None:
        if record.obj.deletion_s and VOLUME_FINALIZER in record.obj.finalizers:
            self._volumes.add(record.key)

    def _volume_gone(self, record: ObjectRecord) -> None:
        self._volumes.forget(record.key)

    def _pod_changed(self, record: ObjectRecord) -> None:
        if self._waiting and record.obj.facts.phase in ENDED:
            self._pod_gone(record)

    def _pod_gone(self, record: ObjectRecord) -> None:
        for key in self._waiting.get(record.obj.namespace, ()):
            self._claims.add(key)

    def _release_claim(self, key: str, budget: int) -> int:
        _ = budget
        record = self._store.get(CLAIMS, key)
        if record is None or not record.obj.deletion_s or CLAIM_FINALIZER not in record.obj.finalizers:
            return 1
        namespace = record.obj.namespace
        pods = self._store.list(PODS, namespace)
        if any(self._uses(pod, record.obj.name) for pod in pods):
            self._waiting.setdefault(namespace, set()).add(key)
        else:
            self._waiting.get(namespace, set()).discard(key)
            self._release(CLAIMS, record, CLAIM_FINALIZER)
        return 1 + len(pods) // 64

    def _uses(self, pod: ObjectRecord, claim: str) -> bool:
        """Say whether a pod that has not ended needs a claim."""
        if pod.obj.facts.phase in ENDED or b'"claimName"' not in pod.obj.body:
            return False
        spec: Any = self._store.dict_of(PODS, pod.obj)["spec"]
        return any(v.get("persistentVolumeClaim", {}).get("claimName") == claim for v in spec.get("volumes", ()))

    def _release_volume(self, key: str, budget: int) -> int:
        _ = budget
        record = self._store.get(VOLUMES, key)
        if record is None or not record.obj.deletion_s or VOLUME_FINALIZER not in record.obj.finalizers:
            return 1
        if orjson.loads(record.obj.status or b"{}").get("phase") != "Bound":
            self._release(VOLUMES, record, VOLUME_FINALIZER)
        return 1

    def _release(self, resource: Resource, record: ObjectRecord, finalizer: str) -> None:
        left = [name for name in record.obj.finalizers if name != finalizer]
        self._trusted.replace(resource, record, finalizers=left)
