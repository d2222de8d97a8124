"""The measurements of single kinds: Jobs, Nodes, claims, Services, and the kinds of KubeVirt, CDI and snapshots."""

import asyncio
from typing import Any
from urllib.parse import quote

import orjson

from kubedyno.base.clock import Clock
from kubedyno.base.log import logger
from kubedyno.base.times import epoch_of
from kubedyno.client.api import Client
from kubedyno.load.config.spec import MeasurementSpec
from kubedyno.load.measurements.measurement import Measurement, Subject, conditions, first, transition
from kubedyno.load.measurements.services import ServiceLatency
from kubedyno.load.plan import jq

Json = dict[str, Any]
log = logger(__name__)


class JobLatency(Measurement):
    """From a Job's creation to its start and its completion."""

    name, metric = "jobLatency", "jobLatencyMeasurement"
    api_version, kind, plural = "batch/v1", "Job", "jobs"
    fields = {"StartTime": "startTimeLatency", "Complete": "completionLatency"}  # noqa: RUF012 - never changed

    def names_of(self, obj: Json) -> Json:
        return {"k8sJobName": obj["metadata"]["name"]}

    def take(self, subject: Subject, obj: Json, now_s: float) -> None:
        del now_s
        started = (obj.get("status") or {}).get("startTime")
        if started:
            first(subject, "StartTime", epoch_of(started))
        for entry in conditions(obj):
            at_s = transition(entry)
            if entry.get("type") == "Complete" and entry.get("status") == "True" and at_s is not None:
                first(subject, "Complete", at_s)
                subject.done = True


class NodeLatency(Measurement):
    """From a Node's creation to its conditions as they are; nodes that were there before are measured, too."""

    name, metric = "nodeLatency", "nodeLatencyMeasurement"
    kind, plural = "Node", "nodes"
    fields = {  # noqa: RUF012 - never changed
        "MemoryPressure": "nodeMemoryPressureLatency",
        "DiskPressure": "nodeDiskPressureLatency",
        "PIDPressure": "nodePIDPressureLatency",
        "Ready": "nodeReadyLatency",
    }
    placed = False

    async def start(self) -> None:
        # No node carries a label of the run: all are followed, from the first list on.
        await self.followed.begin(self.path, "", self.event, skip_list=False)

    def names_of(self, obj: Json) -> Json:
        labels = {key.replace(".", "_"): value for key, value in (obj["metadata"].get("labels") or {}).items()}
        return {"nodeName": obj["metadata"]["name"], "labels": labels}

    def take(self, subject: Subject, obj: Json, now_s: float) -> None:
        del now_s
        for entry in conditions(obj):
            name, at_s = str(entry.get("type")), transition(entry)
            if at_s is None or name not in self.fields:
                continue
            if name == "Ready":
                if entry.get("status") == "True":
                    first(subject, name, at_s)
                    subject.done = True
            elif entry.get("status") == "False":
                first(subject, name, at_s)
                subject.zero_s = min(subject.zero_s, at_s)


class PvcLatency(Measurement):
    """From the first sight of a claim to its phases, by the local clock; and of a resize to its end."""

    name, metric = "pvcLatency", "pvcLatencyMeasurement"
    kind, plural = "PersistentVolumeClaim", "persistentvolumeclaims"
    fields = {  # noqa: RUF012 - never changed
        "Pending": "pendingLatency",
        "Bound": "bindingLatency",
        "Lost": "lostLatency",
        "Resize": "resizeLatency",
    }

    def __init__(self, spec: MeasurementSpec, client: Client, clock: Clock, selector: str) -> None:
        super().__init__(spec, client, clock, selector)
        # uid → (size asked for, when a larger one was first seen).
        self._asked: dict[str, tuple[str, float]] = {}

    def names_of(self, obj: Json) -> Json:
        spec = obj.get("spec") or {}
        return {
            "pvcName": obj["metadata"]["name"],
            "size": _storage(spec.get("resources", {}).get("requests")),
            "storageClass": spec.get("storageClassName") or "",
        }

    def take(self, subject: Subject, obj: Json, now_s: float) -> None:
        if not subject.moments:
            subject.zero_s = now_s
        phase = (obj.get("status") or {}).get("phase")
        if phase in {"Pending", "Bound", "Lost"}:
            first(subject, phase, now_s)
        if phase in {"Bound", "Lost"}:
            subject.done = True
        uid = obj["metadata"]["uid"]
        asked = _storage((obj.get("spec") or {}).get("resources", {}).get("requests"))
        capacity = _storage((obj.get("status") or {}).get("capacity"))
        before = self._asked.get(uid)
        if before is None:
            self._asked[uid] = (asked, 0.0)
        elif before[0] != asked:
            self._asked[uid] = (asked, now_s)
        elif before[1] and capacity == asked and "Resize" not in subject.moments:
            subject.moments["Resize"] = subject.zero_s + (now_s - before[1])
            subject.extra["resizedCapacity"] = capacity


def _storage(place: Any) -> str:
    return str(place.get("storage", "")) if isinstance(place, dict) else ""


class DataVolumeLatency(Measurement):
    """From a DataVolume's creation to its conditions."""

    name, metric = "dataVolumeLatency", "dvLatencyMeasurement"
    api_version, kind, plural = "cdi.kubevirt.io/v1beta1", "DataVolume", "datavolumes"
    fields = {  # noqa: RUF012 - never changed
        "Bound": "dvBoundLatency",
        "Running": "dvRunningLatency",
        "Ready": "dvReadyLatency",
    }

    def names_of(self, obj: Json) -> Json:
        return {"dvName": obj["metadata"]["name"]}

    def take(self, subject: Subject, obj: Json, now_s: float) -> None:
        for entry in conditions(obj):
            name = str(entry.get("type"))
            if name in self.fields and entry.get("status") == "True":
                at_s = transition(entry)
                first(subject, name, now_s if at_s is None else at_s)
                subject.done = subject.done or name == "Ready"


class VolumeSnapshotLatency(Measurement):
    """From a VolumeSnapshot's creation to its being ready to use, by the local clock."""

    name, metric = "volumeSnapshotLatency", "volumeSnapshotLatencyMeasurement"
    api_version, kind, plural = "snapshot.storage.k8s.io/v1", "VolumeSnapshot", "volumesnapshots"
    fields = {"Ready": "vsReadyLatency"}  # noqa: RUF012 - never changed

    def names_of(self, obj: Json) -> Json:
        return {"vsName": obj["metadata"]["name"]}

    def take(self, subject: Subject, obj: Json, now_s: float) -> None:
        if (obj.get("status") or {}).get("readyToUse"):
            first(subject, "Ready", now_s)
            subject.done = True


def _phases(subject: Subject, obj: Json, prefix: str = "") -> set[str]:
    """Note the moments of `status.phaseTransitionTimestamps`; returns the phases."""
    seen = set()
    for entry in (obj.get("status") or {}).get("phaseTransitionTimestamps") or ():
        stamp = entry.get("phaseTransitionTimestamp")
        if stamp:
            seen.add(entry.get("phase"))
            first(subject, f"{prefix}{entry.get('phase')}", epoch_of(stamp))
    return seen


class VmimLatency(Measurement):
    """From a migration's creation through its phases."""

    name, metric = "vmimLatency", "vmimLatencyMeasurement"
    api_version, kind = "kubevirt.io/v1", "VirtualMachineInstanceMigration"
    plural = "virtualmachineinstancemigrations"
    fields = {  # noqa: RUF012 - never changed
        "Pending": "pendingLatency",
        "Scheduling": "schedulingLatency",
        "Scheduled": "scheduledLatency",
        "PreparingTarget": "preparingTargetLatency",
        "TargetReady": "targetReadyLatency",
        "Running": "runningLatency",
        "Succeeded": "succeededLatency",
    }

    def names_of(self, obj: Json) -> Json:
        return {"vmimName": obj["metadata"]["name"], "vmiName": (obj.get("spec") or {}).get("vmiName", "")}

    def take(self, subject: Subject, obj: Json, now_s: float) -> None:
        del now_s
        if "Succeeded" in _phases(subject, obj):
            subject.done = True


_POD_CONDITIONS = {
    "PodScheduled": "PodPodScheduled",
    "Initialized": "PodInitialized",
    "ContainersReady": "PodContainersReady",
    "Ready": "PodReady",
    "PodReadyToStartContainers": "PodPodReadyToStartContainers",
}


class VmiLatency(Measurement):
    """From a VirtualMachine's creation (an instance's own, where there is none) to a running instance with its pod."""

    name, metric = "vmiLatency", "vmiLatencyMeasurement"
    api_version, kind, plural = "kubevirt.io/v1", "VirtualMachineInstance", "virtualmachineinstances"
    fields = {  # noqa: RUF012 - never changed
        "PodCreated": "podCreatedLatency",
        "PodPodScheduled": "podScheduledLatency",
        "PodInitialized": "podInitializedLatency",
        "PodContainersReady": "podContainersReadyLatency",
        "PodReady": "podReadyLatency",
        "PodPodReadyToStartContainers": "podReadyToStartContainersLatency",
        "VMICreated": "vmiCreatedLatency",
        "VMIPending": "vmiPendingLatency",
        "VMIScheduling": "vmiSchedulingLatency",
        "VMIScheduled": "vmiScheduledLatency",
        "VMIRunning": "vmiRunningLatency",
        "VMReady": "vmReadyLatency",
    }

    def __init__(self, spec: MeasurementSpec, client: Client, clock: Clock, selector: str) -> None:
        super().__init__(spec, client, clock, selector)
        # Found by uid, in whatever order a machine, its instance and its pod are seen.
        self._machines: dict[str, tuple[float, dict[str, float], str]] = {}
        self._instance_of: dict[str, str] = {}
        self._early_pods: dict[str, Json] = {}

    async def start(self) -> None:
        selector = f"labelSelector={quote(self._selector)}"
        await asyncio.gather(
            self.followed.begin("/apis/kubevirt.io/v1/virtualmachines", selector, self.machine),
            self.followed.begin(self.path, selector, self.event),
            self.followed.begin("/api/v1/pods", f"labelSelector={quote('kubevirt.io=virt-launcher')}", self.pod),
        )

    def names_of(self, obj: Json) -> Json:
        owner = _owner(obj, "VirtualMachine")
        return {
            "podName": "",
            "vmName": owner["name"] if owner else "",
            "vmiName": obj["metadata"]["name"],
            "nodeName": (obj.get("status") or {}).get("nodeName", ""),
        }

    def machine(self, kind: str, raw: bytes) -> None:
        """Take an event of a VirtualMachine."""
        if kind == "DELETED":
            return
        obj = orjson.loads(raw)
        meta = obj["metadata"]
        created_s, moments, name = self._machines.setdefault(
            meta["uid"], (epoch_of(meta["creationTimestamp"]), {}, meta["name"])
        )
        for entry in conditions(obj):
            at_s = transition(entry)
            if entry.get("type") == "Ready" and entry.get("status") == "True" and at_s is not None:
                moments.setdefault("VMReady", at_s)
        uid = self._instance_of.get(meta["uid"])
        if uid in self.subjects:
            self._join(self.subjects[uid], created_s, moments, name)

    @staticmethod
    def _join(subject: Subject, created_s: float, moments: dict[str, float], name: str) -> None:
        subject.zero_s = created_s
        subject.names["vmName"] = name
        for condition, at_s in moments.items():
            first(subject, condition, at_s)

    def take(self, subject: Subject, obj: Json, now_s: float) -> None:
        del now_s
        meta = obj["metadata"]
        first(subject, "VMICreated", epoch_of(meta["creationTimestamp"]))
        owner = _owner(obj, "VirtualMachine")
        if owner:
            self._instance_of[owner["uid"]] = meta["uid"]
            machine = self._machines.get(owner["uid"])
            if machine is not None:
                self._join(subject, *machine)
        subject.names["nodeName"] = (obj.get("status") or {}).get("nodeName", "")
        pod = self._early_pods.pop(meta["uid"], None)
        if pod is not None:
            self._pod(subject, pod)
        if "Running" in _phases(subject, obj, "VMI"):
            subject.done = True

    def pod(self, kind: str, raw: bytes) -> None:
        """Take an event of a virt-launcher pod."""
        if kind == "DELETED":
            return
        obj = orjson.loads(raw)
        owner = _owner(obj, "VirtualMachineInstance")
        if not owner:
            return
        subject = self.subjects.get(owner["uid"])
        if subject is None:
            self._early_pods[owner["uid"]] = obj
        else:
            self._pod(subject, obj)

    @staticmethod
    def _pod(subject: Subject, obj: Json) -> None:
        meta = obj["metadata"]
        subject.names["podName"] = meta["name"]
        first(subject, "PodCreated", epoch_of(meta["creationTimestamp"]))
        for entry in conditions(obj):
            at_s = transition(entry)
            name = _POD_CONDITIONS.get(str(entry.get("type")))
            if name and entry.get("status") == "True" and at_s is not None:
                first(subject, name, at_s)


def _owner(obj: Json, kind: str) -> Json | None:
    owners: list[Json] = obj["metadata"].get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("kind") == kind), None)


class ConditionLatency(Measurement):
    """From the first sight of any object to moments that the configuration declares, by the local clock."""

    name, metric = "conditionLatency", "conditionLatencyMeasurement"

    def __init__(self, spec: MeasurementSpec, client: Client, clock: Clock, selector: str, plural: str) -> None:
        super().__init__(spec, client, clock, selector)
        self.api_version, self.kind, self.plural = spec.api_version, spec.kind, plural
        self.fields = {c.name: f"{c.name[:1].lower()}{c.name[1:]}Latency" for c in spec.conditions}

    def names_of(self, obj: Json) -> Json:
        return {"kind": obj.get("kind", self.kind), "name": obj["metadata"]["name"]}

    def subject(self, obj: Json, kind: str) -> Subject | None:
        known = obj["metadata"].get("uid", "") in self.subjects
        found = super().subject(obj, kind)
        if found is not None and not known:
            found.zero_s = self._clock.now()
        return found

    def take(self, subject: Subject, obj: Json, now_s: float) -> None:
        for wanted in self.spec.conditions:
            if wanted.name not in subject.moments and jq.matches(wanted.path, obj, wanted.value):
                first(subject, wanted.name, now_s)
        # The last declared moment is the one that completes it.
        subject.done = self.spec.conditions[-1].name in subject.moments


KINDS: dict[str, type[Measurement]] = {
    measurement.name: measurement
    for measurement in (
        JobLatency, NodeLatency, PvcLatency, ServiceLatency, DataVolumeLatency, VolumeSnapshotLatency, VmimLatency,
        VmiLatency,
    )
}  # fmt: skip
