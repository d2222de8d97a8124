"""Claims of a pod's own volumes (`ephemeral`): made for it, deleted with it. As pkg/controller/volume/ephemeral."""

import orjson

from kubedyno.cluster.controllers.feeds import Feeds
from kubedyno.cluster.controllers.refusals import is_terminating
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.templates import owner_reference
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.resources import CLAIMS, PODS
from kubedyno.kube.status import StatusError

_COMPONENT = "ephemeral_volume"


class EphemeralVolumes:
    """The controller of ephemeral volumes.

    Args:
        trusted: Where it writes.
        pump: Gives turns and time.
        feeds: Gives changes.
    """

    def __init__(self, trusted: Trusted, pump: Pump, feeds: Feeds) -> None:
        self._trusted = trusted
        self._store = trusted.store
        self._queue: WorkQueue[str] = WorkQueue(pump, "ephemeral-volumes", self._reconcile)
        feeds.follow(CLAIMS, None, self._claim_gone)
        feeds.follow(PODS, self._pod_changed, self._pod_gone)

    def _claim_gone(self, record: ObjectRecord) -> None:
        for uid in record.obj.owners:
            for pod in self._store.list(PODS, record.obj.namespace):
                if pod.obj.uid == uid:
                    self._queue.add(pod.key)

    def _pod_changed(self, record: ObjectRecord) -> None:
        if record.obj.facts.spec.attached and not record.obj.facts.node_name and not record.obj.deletion_s:
            self._queue.add(record.key)

    def _pod_gone(self, record: ObjectRecord) -> None:
        if record.obj.facts.spec.attached:
            self._queue.forget(record.key)

    def _reconcile(self, key: str, budget: int) -> int:
        _ = budget
        record = self._store.get(PODS, key)
        if record is None or record.obj.deletion_s:
            self._queue.forget(key)
            return 1
        pod = record.obj
        for volume in orjson.loads(b"{" + pod.body + b"}")["spec"].get("volumes") or ():
            if "ephemeral" not in volume:
                continue
            name = f"{pod.name}-{volume['name']}"
            claim = self._store.get(CLAIMS, f"{pod.namespace}/{name}")
            if claim is not None and pod.uid in claim.obj.owners:
                continue
            try:
                if claim is not None:
                    raise StatusError(f"PVC {pod.namespace}/{name} was not created for pod {key} (pod is not owner)")
                self._create(record, name, volume["ephemeral"].get("volumeClaimTemplate") or {})
            except StatusError as error:
                if is_terminating(error):
                    break
                text = f"ephemeral volume {volume['name']}: {error.message}"
                self._trusted.event(
                    PODS, record, type="Warning", reason="FailedBinding", message=text, component=_COMPONENT
                )
                self._queue.retry(key, text)
                return 2
        self._queue.forget(key)
        return 1

    def _create(self, pod: ObjectRecord, name: str, template: dict[str, object]) -> None:
        own = template.get("metadata")
        metadata = {
            "name": name,
            **({k: v for k, v in own.items() if k in {"labels", "annotations"}} if isinstance(own, dict) else {}),
            "ownerReferences": [owner_reference("v1", "Pod", pod.obj.name, pod.obj.uid)],
        }
        # The front door: classes and quotas are for these claims as for anyone's.
        self._trusted.registry.create(
            CLAIMS, pod.obj.namespace, {"metadata": metadata, "spec": template.get("spec") or {}}
        )
