"""What pods and nodes use: CPU and memory from a stated model, as functions of time; of real pods, what was measured.

A running pod uses what its annotations `kubedyno.io/usage-cpu` and `kubedyno.io/usage-memory` say; without them, half of
the CPU and 60 % of the memory that it requests, and what a sleeping container takes where it requests nothing. CPU
swings by 10 % around that with a period of five minutes and a phase of the pod's own. Seconds of CPU are the exact
integral of this, so nothing has to be counted while nobody looks. A node uses the sum of its pods and what its kubelet
and container runtime take.
"""

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import orjson

from kubedyno.base.times import epoch_of
from kubedyno.cluster.runtime import Runtime
from kubedyno.cluster.storage.store import ObjectRecord, Store
from kubedyno.kube.quantity import Quantity, milli_of, value_of
from kubedyno.kube.resources import CLAIMS, NODES, PODS

CPU_ANNOTATION = "kubedyno.io/usage-cpu"
MEMORY_ANNOTATION = "kubedyno.io/usage-memory"
_CPU_SHARE = 0.5
_MEMORY_SHARE = 0.6
_IDLE_CORES = 0.001
_IDLE_BYTES = 8 << 20
_NODE_CORES = 0.05
_NODE_BYTES = 350 << 20
# Of these, the kubelet itself; the rest is the container runtime's and the system's.
KUBELET_CORES = 0.03
KUBELET_BYTES = 120 << 20
_SWING = 0.1
_PERIOD_S = 300.0
_TURN = 2 * math.pi / _PERIOD_S


@dataclass(frozen=True, slots=True)
class ContainerUsage:
    """A container of a running pod.

    Attributes:
        cores: On average.
        memory_bytes: Working set.
        image: As the pod names it.
        spent_s: Seconds of CPU since its start, as measured; negative where all is modelled.
        asked_cores: What it requests.
        most_cores: Its limit, 0 without one.
        most_bytes: Its limit, 0 without one.
    """

    name: str
    image: str
    cores: float
    memory_bytes: int
    spent_s: float = -1.0
    asked_cores: float = 0.0
    most_cores: float = 0.0
    most_bytes: int = 0


@dataclass(frozen=True, slots=True)
class PodUsage:
    """A pod that runs on a node.

    Attributes:
        phase: Where its swing stands at time 0, in radians.
        started_s: Epoch seconds of its start.
        claims: Names of the PersistentVolumeClaims that it mounts.
    """

    key: str
    namespace: str
    name: str
    uid: str
    node: str
    labels: dict[str, str]
    phase: float
    started_s: float
    containers: tuple[ContainerUsage, ...]
    claims: tuple[str, ...] = ()

    def cores(self, container: ContainerUsage, now_s: float) -> float:
        """Return what a container uses now."""
        if container.spent_s >= 0:
            return container.cores
        return container.cores * (1 + _SWING * math.sin(_TURN * now_s + self.phase))

    def core_seconds(self, container: ContainerUsage, now_s: float) -> float:
        """Return the CPU time that a container has used since the pod's start."""
        if container.spent_s >= 0:
            return container.spent_s
        start_s = self.started_s
        if now_s <= start_s:
            return 0.0
        swing = math.cos(_TURN * start_s + self.phase) - math.cos(_TURN * now_s + self.phase)
        return container.cores * (now_s - start_s + _SWING / _TURN * swing)


@dataclass(frozen=True, slots=True)
class NodeUsage:
    """A node and its running pods.

    Attributes:
        memory_bytes: Working set of all that runs there.
        cores: Used now.
        core_seconds: Since the node's start.
    """

    name: str
    labels: dict[str, str]
    pods: tuple[PodUsage, ...]
    started_s: float
    memory_bytes: int
    cores: float
    core_seconds: float


@dataclass(frozen=True, slots=True)
class Machine:
    """What a node's machine has, as its Node says.

    Attributes:
        cpu_milli: CPU in thousandths.
        memory_bytes: Memory.
        disk_bytes: Of the file system that images and containers are on; 0 where the Node has no such capacity.
        image_bytes: What images take of it; containers write nothing in the model.
        system: `nodeInfo`.
    """

    cpu_milli: int
    memory_bytes: int
    disk_bytes: int
    image_bytes: int
    system: dict[str, Any]


def machine_of(store: Store, record: ObjectRecord) -> Machine:
    """Return the machine of a node."""
    status = store.encode_dict(NODES, record, managed=False).get("status") or {}
    capacity = status.get("capacity") or {}
    images = sum(image.get("sizeBytes") or 0 for image in status.get("images") or ())
    disk = value_of(capacity.get("ephemeral-storage", "0"))
    return Machine(
        milli_of(capacity.get("cpu", "0")), value_of(capacity.get("memory", "0")), disk, min(images, disk),
        status.get("nodeInfo") or {},
    )  # fmt: skip


class Usage:
    """Says what uses how much.

    Args:
        store: The pods and nodes.
        runtime: Has measured what real pods use.
    """

    def __init__(self, store: Store, runtime: Runtime | None = None) -> None:
        self._store = store
        self._runtime = runtime
        # By key: a pod's revision, and what was made of it.
        self._known: dict[str, tuple[int, PodUsage | None]] = {}

    def pod(self, record: ObjectRecord) -> PodUsage | None:
        """Return a pod's use, None when it does not run."""
        known = self._known.get(record.key)
        if known is None or known[0] != record.revision:
            known = self._known[record.key] = (record.revision, _pod_usage(record))
        found = known[1]
        if found is None or self._runtime is None or not (measured := self._runtime.uses(found.uid)):
            return found
        containers = (
            replace(c, cores=use.cores, memory_bytes=use.memory_bytes, spent_s=use.cpu_s)
            if (use := measured.get(c.name)) is not None
            else c
            for c in found.containers
        )
        return replace(found, containers=tuple(containers))

    def pods(self) -> list[PodUsage]:
        """Return all running pods, by namespace and name."""
        records = self._store.list(PODS)
        if len(self._known) > 2 * len(records) + 1000:
            self._known.clear()
        return [usage for record in records if (usage := self.pod(record)) is not None]

    def pods_of(self, node: str) -> list[PodUsage]:
        """Return the running pods of a node."""
        records = self._store.by_index(PODS, "node", node)
        return [usage for record in records if (usage := self.pod(record)) is not None]

    def node(self, record: ObjectRecord, now_s: float) -> NodeUsage:
        """Return a node's use."""
        pods = tuple(self.pods_of(record.obj.name))
        started_s = created_of(record)
        cores, memory = _NODE_CORES, _NODE_BYTES
        seconds = _NODE_CORES * max(0.0, now_s - started_s)
        for pod in pods:
            for container in pod.containers:
                cores += pod.cores(container, now_s)
                memory += container.memory_bytes
                seconds += pod.core_seconds(container, now_s)
        return NodeUsage(record.obj.name, record.obj.labels, pods, started_s, memory, cores, seconds)

    def volumes_of(self, node: NodeUsage) -> dict[tuple[str, str], int]:
        """Return the file systems of volumes that modelled pods of a node have mounted.

        Returns:
            (namespace, claim) → bytes; a pod writes nothing there. Those of real pods are not measured.
        """
        found: dict[tuple[str, str], int] = {}
        for pod in node.pods:
            if not pod.claims or any(container.spent_s >= 0 for container in pod.containers):
                continue
            for name in pod.claims:
                record = self._store.get(CLAIMS, f"{pod.namespace}/{name}")
                if record is None:
                    continue
                claim = self._store.encode_dict(CLAIMS, record, managed=False)
                size = ((claim.get("status") or {}).get("capacity") or {}).get("storage")
                # A block device has no file system that could be filled.
                if size is not None and claim["spec"].get("volumeMode", "Filesystem") == "Filesystem":
                    found[pod.namespace, name] = value_of(size)
        return found

    def memory_of_node(self, name: str) -> int:
        """Return the bytes of memory that a node's pods and its system use."""
        return _NODE_BYTES + sum(container.memory_bytes for pod in self.pods_of(name) for container in pod.containers)

    def memory_of_pod(self, key: str) -> int:
        """Return the bytes of memory that a pod uses, 0 when it does not run."""
        record = self._store.get(PODS, key)
        usage = self.pod(record) if record is not None else None
        return sum(container.memory_bytes for container in usage.containers) if usage is not None else 0


def created_of(record: ObjectRecord) -> float:
    """Return an object's creation, epoch seconds."""
    meta = orjson.loads(b"{" + record.obj.meta + b"}")
    return epoch_of(meta["creationTimestamp"])


def _pod_usage(record: ObjectRecord) -> PodUsage | None:
    obj = record.obj
    if b'"phase":"Running"' not in obj.status:
        return None
    status = orjson.loads(obj.status)
    spec = orjson.loads(b"{" + obj.body + b"}")["spec"]
    node = spec.get("nodeName", "")
    if not node or status.get("phase") != "Running":
        return None
    meta = orjson.loads(b"{" + obj.meta + b"}")
    annotations = meta.get("annotations") or {}
    given = spec["containers"]
    cpu = _amount(annotations.get(CPU_ANNOTATION))
    memory = _amount(annotations.get(MEMORY_ANNOTATION))
    containers = []
    for container in given:
        requests = (container.get("resources") or {}).get("requests") or {}
        asked_cpu, asked_memory = _amount(requests.get("cpu")), _amount(requests.get("memory"))
        # An annotation is the whole pod's: each container has an equal part of it.
        cores = cpu / len(given) if cpu is not None else _CPU_SHARE * asked_cpu if asked_cpu else _IDLE_CORES
        size = (
            memory / len(given) if memory is not None else _MEMORY_SHARE * asked_memory if asked_memory else _IDLE_BYTES
        )
        limits = (container.get("resources") or {}).get("limits") or {}
        most_cpu, most_memory = _amount(limits.get("cpu")) or 0.0, _amount(limits.get("memory")) or 0.0
        containers.append(
            ContainerUsage(
                container["name"],
                container.get("image", ""),
                cores,
                int(size),
                asked_cores=asked_cpu or 0.0,
                most_cores=most_cpu,
                most_bytes=int(most_memory),
            )
        )
    started = status.get("startTime") or meta["creationTimestamp"]
    return PodUsage(
        obj.key,
        obj.namespace,
        obj.name,
        obj.uid,
        node,
        obj.labels,
        zlib.crc32(obj.uid.encode()) / 2**32 * 2 * math.pi,
        epoch_of(started),
        tuple(containers),
        tuple(_claims(obj.name, spec)),
    )


def _claims(pod: str, spec: dict[str, Any]) -> Iterator[str]:
    """Yield the names of the claims that a pod mounts, those that were made for it too."""
    for volume in spec.get("volumes") or ():
        if (claim := volume.get("persistentVolumeClaim")) is not None:
            yield claim["claimName"]
        elif "ephemeral" in volume:
            yield f"{pod}-{volume['name']}"


def _amount(text: Any) -> float | None:
    """Return a quantity as a float; None when there is none, or it is none."""
    if text is None:
        return None
    try:
        amount = float(Quantity.parse(str(text)).amount)
    except ValueError:
        return None
    return amount if amount >= 0 else None
