"""A bound claim that asks for more: its volume grows, then its file system, on the node where a pod uses it.

What the claim's status says on the way is external-resizer's: `Resizing`, then `FileSystemResizePending` until a pod of it
runs, with `allocatedResources` and `allocatedResourceStatuses`. A block volume has no file system to grow.
"""

from collections.abc import Callable
from typing import Any

import orjson

from kubedyno.base.times import rfc3339
from kubedyno.cluster.controllers.podstates import metadata_of
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.quantity import value_of
from kubedyno.kube.resources import CLAIMS, PODS, VOLUMES

# What a step of a driver takes.
STEP_S = 1.0
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
_CONTROLLER, _NODE = "ControllerResizeInProgress", "NodeResizePending"
_ON_NODE = "Waiting for user to (re-)start a pod to finish file system resize of volume on node."
_MEMBERS = ("allocatedResources", "allocatedResourceStatuses")

Object = dict[str, Any]


class VolumeExpansion:
    """Enlarges volumes of model provisioners.

    Args:
        trusted: Where it writes.
        pump: Gives turns and time.
        users: Key of a claim → the pods that use it.
    """

    def __init__(self, trusted: Trusted, pump: Pump, users: Callable[[str], list[ObjectRecord]]) -> None:
        self._trusted = trusted
        self._store = trusted.store
        self._clock = pump.clock
        self._users = users
        # Claims whose next step is due.
        self._queue: WorkQueue[str] = WorkQueue(pump, "volume-expander", self._reconcile)

    def consider(
        self, record: ObjectRecord, claim: Object, volume: ObjectRecord, provisioner: str, *, ours: bool
    ) -> None:
        """Begin with a bound claim that asks for more than it has."""
        wanted, status = _wanted(claim), claim["status"]
        if value_of(wanted) <= value_of(status.get("capacity", {}).get("storage", "0")):
            return
        if status.get("allocatedResourceStatuses"):
            self._queue.add_after(record.key, STEP_S)
            return
        text = "waiting for an external controller to expand this PVC"
        self._event(record, "ExternalExpanding", text, "volume_expand")
        if not ours:
            return
        text = f"External resizer is resizing volume {volume.obj.name}"
        self._event(record, "Resizing", text, f"external-resizer {provisioner}")
        status["allocatedResources"] = {"storage": wanted}
        self._write(record, status, _CONTROLLER, "Resizing", "")
        self._queue.add_after(record.key, STEP_S)

    def _reconcile(self, key: str, budget: int) -> int:
        _ = budget
        record = self._store.get(CLAIMS, key)
        if record is None:
            return 1
        claim = self._store.encode_dict(CLAIMS, record)
        volume = self._store.get(VOLUMES, claim["spec"].get("volumeName", ""))
        step = (claim.get("status", {}).get("allocatedResourceStatuses") or {}).get("storage")
        if volume is None or step is None:
            return 1
        if step == _CONTROLLER:
            self._grow(record, claim, volume)
        else:
            self._finish_on_node(record, claim, volume)
        return 2

    def _grow(self, record: ObjectRecord, claim: Object, volume: ObjectRecord) -> None:
        """Have the volume grow; a file system waits for its node."""
        body = orjson.loads(b"{" + volume.obj.body + b"}")
        allocated = claim["status"]["allocatedResources"]["storage"]
        body["spec"]["capacity"]["storage"] = allocated
        self._trusted.replace(VOLUMES, volume, body=body)
        component = f"external-resizer {metadata_of(volume.obj).get('annotations', {}).get(PROVISIONED_BY, '')}"
        if claim["spec"].get("volumeMode") == "Block":
            self._done(record, claim)
            text = f"Resize volume succeeded for volume {volume.obj.name}"
            self._event(record, "VolumeResizeSuccessful", text, component)
            return
        self._write(record, claim["status"], _NODE, "FileSystemResizePending", _ON_NODE)
        self._event(record, "FileSystemResizeRequired", "Require file system resize of volume on node", component)
        self._queue.add_after(record.key, STEP_S)

    def _finish_on_node(self, record: ObjectRecord, claim: Object, volume: ObjectRecord) -> None:
        """Have the file system grow where a pod uses it; without one it waits."""
        pod = next((pod for pod in self._users(record.key) if pod.obj.facts.phase == "Running"), None)
        if pod is None:
            self._queue.add_after(record.key, STEP_S)
            return
        self._done(record, claim)
        node = pod.obj.facts.node_name
        text = f'MountVolume.NodeExpandVolume succeeded for volume "{volume.obj.name}" {node}'
        for resource, about in ((CLAIMS, record), (PODS, pod)):
            self._trusted.event(
                resource, about, type="Normal", reason="FileSystemResizeSuccessful", message=text, component="kubelet",
                host=node,
            )  # fmt: skip

    def _done(self, record: ObjectRecord, claim: Object) -> None:
        status = {name: value for name, value in claim["status"].items() if name not in {*_MEMBERS, "conditions"}}
        status["capacity"] = {
            **status.get("capacity", {}), "storage": claim["status"]["allocatedResources"]["storage"]
        }  # fmt: skip
        self._trusted.replace_status(CLAIMS, record, status)

    def _write(self, record: ObjectRecord, status: Object, step: str, condition: str, message: str) -> None:
        now = rfc3339(self._clock.now())
        one = {"type": condition, "status": "True", "lastProbeTime": None, "lastTransitionTime": now}
        status["conditions"] = [{**one, "message": message} if message else one]
        status["allocatedResourceStatuses"] = {"storage": step}
        self._trusted.replace_status(CLAIMS, record, status)

    def _event(self, record: ObjectRecord, reason: str, message: str, component: str) -> None:
        self._trusted.event(CLAIMS, record, type="Normal", reason=reason, message=message, component=component)


def _wanted(claim: Object) -> str:
    return str(claim["spec"].get("resources", {}).get("requests", {}).get("storage", "0"))
