"""Nodes and pods as the page draws them: API objects in, short rows out.

Only the few fields that are drawn are decoded: a cluster of 100,000 pods is read as fast as it is sent.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from ipaddress import ip_network
from typing import NamedTuple

import msgspec

from kubedyno.base.times import epoch_of
from kubedyno.kube.quantity import milli_of, value_of

# Addresses of a PodCIDR that no pod gets: network, gateway, broadcast.
_RESERVED = 3
# Waiting reasons of a container on its way; all others are trouble.
_ON_THE_WAY = frozenset({"", "ContainerCreating", "PodInitializing"})
_KEEPS_OFF = frozenset({"NoSchedule", "NoExecute"})


class State(IntEnum):
    """How a pod is drawn; the numbers are the page's too."""

    PENDING = 0
    STARTING = 1
    READY = 2
    SUCCEEDED = 3
    FAILED = 4
    TERMINATING = 5
    TROUBLE = 6


class _Meta(msgspec.Struct):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    creationTimestamp: str | None = None
    deletionTimestamp: str | None = None
    labels: dict[str, str] | None = None


class _Condition(msgspec.Struct):
    type: str = ""
    status: str = ""
    message: str = ""
    lastTransitionTime: str | None = None


class _Waiting(msgspec.Struct):
    reason: str = ""
    message: str = ""


class _ContainerState(msgspec.Struct):
    waiting: _Waiting | None = None


class _ContainerStatus(msgspec.Struct):
    restartCount: int = 0
    state: _ContainerState = msgspec.field(default_factory=_ContainerState)


class _Resources(msgspec.Struct):
    requests: dict[str, str | int | float] | None = None


class _Container(msgspec.Struct):
    resources: _Resources = msgspec.field(default_factory=_Resources)
    restartPolicy: str = ""


class _PodSpec(msgspec.Struct):
    nodeName: str = ""
    hostNetwork: bool = False
    containers: list[_Container] = []
    initContainers: list[_Container] | None = None
    overhead: dict[str, str | int | float] | None = None


class _PodStatus(msgspec.Struct):
    phase: str = "Pending"
    podIP: str = ""
    conditions: list[_Condition] | None = None
    initContainerStatuses: list[_ContainerStatus] | None = None
    containerStatuses: list[_ContainerStatus] | None = None


class _Pod(msgspec.Struct):
    metadata: _Meta
    spec: _PodSpec = msgspec.field(default_factory=_PodSpec)
    status: _PodStatus = msgspec.field(default_factory=_PodStatus)


class _Named(msgspec.Struct):
    metadata: _Meta


class _Taint(msgspec.Struct):
    key: str = ""
    value: str = ""
    effect: str = ""


class _NodeSpec(msgspec.Struct):
    podCIDR: str = ""
    unschedulable: bool = False
    taints: list[_Taint] | None = None


class _NodeStatus(msgspec.Struct):
    allocatable: dict[str, str | int | float] = {}
    conditions: list[_Condition] | None = None


class _Node(msgspec.Struct):
    metadata: _Meta
    spec: _NodeSpec = msgspec.field(default_factory=_NodeSpec)
    status: _NodeStatus = msgspec.field(default_factory=_NodeStatus)


@dataclass(frozen=True, slots=True)
class PodRow:
    """A pod.

    Attributes:
        uid: Tells a pod from its namesake before it.
        node: Node name, "" while unscheduled.
        created_s: Epoch seconds.
        ready_s: Epoch seconds of the Ready condition's last change to True, 0 when it is not Ready.
        restarts: Of all containers.
        cpu_milli: What the scheduler counts it for, in thousandths of a core.
        memory_bytes: What the scheduler counts it for.
        addressed: Has an address of its own.
        why: What keeps it from running, "" when nothing does.
        labels: metadata.labels.
        key: "namespace/name".
    """

    namespace: str
    name: str
    uid: str
    node: str
    state: State
    created_s: float
    ready_s: float
    restarts: int
    cpu_milli: int
    memory_bytes: int
    addressed: bool
    why: str
    labels: dict[str, str]
    key: str


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node.

    Attributes:
        addresses: How many pods its PodCIDR addresses, 0 when it has none.
        created_s: Epoch seconds.
        taints: Those that keep pods off, as "key=value:effect".
    """

    name: str
    ready: bool
    control_plane: bool
    unschedulable: bool
    cpu_milli: int
    memory_bytes: int
    max_pods: int
    pod_cidr: str
    addresses: int
    why: str
    labels: dict[str, str]
    created_s: float
    taints: list[str]

    @property
    def key(self) -> str:
        return self.name


_decode_pod = msgspec.json.Decoder(_Pod).decode
_decode_named = msgspec.json.Decoder(_Named).decode
# The order in which API servers write a pod.
_USUAL_POD = re.compile(
    rb'\{"kind":"Pod","apiVersion":"v1","metadata":\{"name":"([^"\\]+)",'
    rb'(?:"generateName":"[^"\\]*",)?"namespace":"([^"\\]+)"'
).match
# As is the condition: its type, the generation that it was observed at, its status.
_READY, _TRUE, _READY_WITHIN = b'"type":"Ready"', b'"status":"True"', 70
_decode_node = msgspec.json.Decoder(_Node).decode


@lru_cache(8192)
def _seconds(text: str | None) -> float:
    # Whole seconds: those of many pods are the same.
    return epoch_of(text) if text else 0.0


def _milli(text: str | float) -> int:
    try:
        return milli_of(str(text))
    except ValueError:
        return 0


def _bytes(text: str | float) -> int:
    try:
        return value_of(str(text))
    except ValueError:
        return 0


def _requested(spec: _PodSpec, name: str, number: Callable[[str | float], int]) -> int:
    """Return what the scheduler counts a pod for: containers and sidecars, or a larger init container; and overhead."""

    def of(container: _Container) -> int:
        requests = container.resources.requests
        return number(requests[name]) if requests and name in requests else 0

    total = sum([of(container) for container in spec.containers])
    if spec.initContainers:
        # Sidecars stay beside what starts after them.
        beside = largest = 0
        for container in spec.initContainers:
            if container.restartPolicy == "Always":
                beside += of(container)
                largest = max(largest, beside)
            else:
                largest = max(largest, beside + of(container))
        total = max(total + beside, largest)
    return total + (number(spec.overhead[name]) if spec.overhead and name in spec.overhead else 0)


class PodText(NamedTuple):
    """A pod that is not read yet: its "namespace/name" and its JSON."""

    key: str
    raw: bytes


def pod_text(raw: bytes) -> PodText:
    """Return a pod's JSON with its key, found without reading the rest where it is written as usual.

    Raises:
        msgspec.DecodeError: It is no object.
    """
    found = _USUAL_POD(raw)
    if found is not None:
        return PodText(f"{found[2].decode()}/{found[1].decode()}", raw)
    meta = _decode_named(raw).metadata
    return PodText(f"{meta.namespace}/{meta.name}", raw)


def may_be_ready(raw: bytes) -> bool:
    """Say whether a pod's JSON, written as usual, has the Ready condition as True; True may be wrong, False may be late."""
    at = raw.find(_READY)
    return at >= 0 and raw.find(_TRUE, at, at + _READY_WITHIN) >= 0


def pod_row(raw: bytes) -> PodRow:
    """Return a pod's row from its JSON.

    Raises:
        msgspec.DecodeError: It is no pod.
    """
    pod = _decode_pod(raw)
    meta, spec, status = pod.metadata, pod.spec, pod.status
    ready: _Condition | None = None
    why = ""
    for condition in status.conditions or ():
        if condition.type == "Ready":
            ready = condition if condition.status == "True" else None
        elif condition.type == "PodScheduled" and condition.status == "False":
            why = condition.message
    restarts = 0
    waiting: _Waiting | None = None
    for container in (*(status.initContainerStatuses or ()), *(status.containerStatuses or ())):
        restarts += container.restartCount
        found = container.state.waiting
        if waiting is None and found is not None and found.reason not in _ON_THE_WAY:
            waiting = found
    if waiting is not None:
        why = f"{waiting.reason}: {waiting.message}" if waiting.message else waiting.reason
    return PodRow(
        meta.namespace,
        meta.name,
        meta.uid,
        spec.nodeName,
        _state(pod, ready=ready is not None, trouble=waiting is not None),
        _seconds(meta.creationTimestamp),
        _seconds(ready.lastTransitionTime) if ready is not None else 0.0,
        restarts,
        _requested(spec, "cpu", _milli),
        _requested(spec, "memory", _bytes),
        bool(status.podIP) and not spec.hostNetwork,
        why,
        meta.labels or {},
        f"{meta.namespace}/{meta.name}",
    )


def _state(pod: _Pod, *, ready: bool, trouble: bool) -> State:
    phase = pod.status.phase
    if pod.metadata.deletionTimestamp:
        return State.TERMINATING
    if phase in {"Succeeded", "Failed"}:
        return State.SUCCEEDED if phase == "Succeeded" else State.FAILED
    if trouble:
        return State.TROUBLE
    if ready:
        return State.READY
    return State.STARTING if pod.spec.nodeName else State.PENDING


def node_row(raw: bytes) -> NodeRow:
    """Return a node's row from its JSON.

    Raises:
        msgspec.DecodeError: It is no node.
    """
    node = _decode_node(raw)
    meta, spec, status = node.metadata, node.spec, node.status
    ready = next((c for c in status.conditions or () if c.type == "Ready"), None)
    allocatable, labels = status.allocatable, meta.labels or {}
    taints = [taint for taint in spec.taints or () if taint.effect in _KEEPS_OFF]
    return NodeRow(
        meta.name,
        ready is not None and ready.status == "True",
        "node-role.kubernetes.io/control-plane" in labels,
        spec.unschedulable,
        _milli(allocatable.get("cpu", "0")),
        _bytes(allocatable.get("memory", "0")),
        _bytes(allocatable.get("pods", "0")),
        spec.podCIDR,
        _addresses(spec.podCIDR),
        "" if ready is None or ready.status == "True" else ready.message,
        labels,
        _seconds(meta.creationTimestamp),
        [f"{t.key}{'=' if t.value else ''}{t.value}:{t.effect}" for t in taints],
    )


def _addresses(cidr: str) -> int:
    try:
        network = ip_network(cidr)
    except ValueError:
        return 0
    return max(network.num_addresses - _RESERVED, 0) if network.version == 4 else 0
