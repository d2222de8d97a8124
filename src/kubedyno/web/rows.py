"""Nodes and pods as the page draws them: API objects in, short rows out.

Only the few fields that are drawn are decoded: a cluster of 100,000 pods is read as fast as it is sent.
"""

from dataclasses import dataclass
from enum import IntEnum
from ipaddress import ip_network

import msgspec

from kubedyno.base.times import epoch_of
from kubedyno.kube.quantity import milli_of, value_of

# Addresses of a PodCIDR that no pod gets: network, gateway, broadcast.
_RESERVED = 3
# Waiting reasons of a container on its way; all others are trouble.
_ON_THE_WAY = frozenset({"", "ContainerCreating", "PodInitializing"})


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
    labels: dict[str, str] = {}


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
    requests: dict[str, str] = {}


class _Container(msgspec.Struct):
    resources: _Resources = msgspec.field(default_factory=_Resources)


class _PodSpec(msgspec.Struct):
    nodeName: str = ""
    hostNetwork: bool = False
    containers: list[_Container] = []


class _PodStatus(msgspec.Struct):
    phase: str = "Pending"
    podIP: str = ""
    conditions: list[_Condition] = []
    containerStatuses: list[_ContainerStatus] = []


class _Pod(msgspec.Struct):
    metadata: _Meta
    spec: _PodSpec = msgspec.field(default_factory=_PodSpec)
    status: _PodStatus = msgspec.field(default_factory=_PodStatus)


class _NodeSpec(msgspec.Struct):
    podCIDR: str = ""
    unschedulable: bool = False


class _NodeStatus(msgspec.Struct):
    allocatable: dict[str, str] = {}
    conditions: list[_Condition] = []


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
        cpu_milli: Requests of all containers, in thousandths of a core.
        memory_bytes: Requests of all containers.
        addressed: Has an address of its own.
        why: What keeps it from running, "" when nothing does.
        labels: metadata.labels.
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

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node; `addresses` is how many pods its PodCIDR addresses, 0 when it has none."""

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

    @property
    def key(self) -> str:
        return self.name


_decode_pod = msgspec.json.Decoder(_Pod).decode
_decode_node = msgspec.json.Decoder(_Node).decode


def _seconds(text: str | None) -> float:
    return epoch_of(text) if text else 0.0


def _milli(text: str) -> int:
    try:
        return milli_of(text)
    except ValueError:
        return 0


def _bytes(text: str) -> int:
    try:
        return value_of(text)
    except ValueError:
        return 0


def pod_row(raw: bytes) -> PodRow:
    """Return a pod's row from its JSON.

    Raises:
        msgspec.DecodeError: It is no pod.
    """
    pod = _decode_pod(raw)
    meta, spec, status = pod.metadata, pod.spec, pod.status
    ready = next((c for c in status.conditions if c.type == "Ready" and c.status == "True"), None)
    unscheduled = next((c for c in status.conditions if c.type == "PodScheduled" and c.status == "False"), None)
    waiting = next(
        (
            c.state.waiting
            for c in status.containerStatuses
            if c.state.waiting and c.state.waiting.reason not in _ON_THE_WAY
        ),
        None,
    )
    why = unscheduled.message if unscheduled is not None else ""
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
        sum(c.restartCount for c in status.containerStatuses),
        sum(_milli(c.resources.requests.get("cpu", "0")) for c in spec.containers),
        sum(_bytes(c.resources.requests.get("memory", "0")) for c in spec.containers),
        bool(status.podIP) and not spec.hostNetwork,
        why,
        meta.labels,
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
    ready = next((c for c in status.conditions if c.type == "Ready"), None)
    allocatable = status.allocatable
    return NodeRow(
        meta.name,
        ready is not None and ready.status == "True",
        "node-role.kubernetes.io/control-plane" in meta.labels,
        spec.unschedulable,
        _milli(allocatable.get("cpu", "0")),
        _bytes(allocatable.get("memory", "0")),
        _bytes(allocatable.get("pods", "0")),
        spec.podCIDR,
        _addresses(spec.podCIDR),
        "" if ready is None or ready.status == "True" else ready.message,
        meta.labels,
    )


def _addresses(cidr: str) -> int:
    try:
        network = ip_network(cidr)
    except ValueError:
        return 0
    return max(network.num_addresses - _RESERVED, 0) if network.version == 4 else 0
