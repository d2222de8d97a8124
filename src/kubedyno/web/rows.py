"""Nodes and pods as the page draws them: API objects in, short rows out.

Only the few fields that are drawn are decoded: a cluster of 100,000 pods is read as fast as it is sent.
"""

import re
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


_ENDS = {"Succeeded": State.SUCCEEDED, "Failed": State.FAILED}


class _Meta(msgspec.Struct, gc=False):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    creationTimestamp: str | None = None
    deletionTimestamp: str | None = None
    labels: dict[str, str] | None = None


class _Condition(msgspec.Struct, gc=False):
    type: str = ""
    status: str = ""
    message: str = ""
    lastTransitionTime: str | None = None


class _Waiting(msgspec.Struct, gc=False):
    reason: str = ""
    message: str = ""


class _ContainerState(msgspec.Struct, gc=False):
    waiting: _Waiting | None = None


class _ContainerStatus(msgspec.Struct, gc=False):
    restartCount: int = 0
    state: _ContainerState = msgspec.field(default_factory=_ContainerState)


class _Resources(msgspec.Struct, gc=False):
    requests: dict[str, str | int | float] | None = None


class _Container(msgspec.Struct, gc=False):
    resources: _Resources = msgspec.field(default_factory=_Resources)
    restartPolicy: str = ""


class _PodSpec(msgspec.Struct, gc=False):
    nodeName: str = ""
    hostNetwork: bool = False
    containers: list[_Container] = []
    initContainers: list[_Container] | None = None
    overhead: dict[str, str | int | float] | None = None


class _PodStatus(msgspec.Struct, gc=False):
    phase: str = "Pending"
    podIP: str = ""
    conditions: list[_Condition] | None = None
    initContainerStatuses: list[_ContainerStatus] | None = None
    containerStatuses: list[_ContainerStatus] | None = None


class _Pod(msgspec.Struct, gc=False):
    metadata: _Meta
    spec: _PodSpec = msgspec.field(default_factory=_PodSpec)
    status: _PodStatus = msgspec.field(default_factory=_PodStatus)


class _PodAgain(msgspec.Struct, gc=False):
    """A pod without its spec, which is read over."""

    metadata: _Meta
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


class PodRow(msgspec.Struct, frozen=True, gc=False):
    """A pod.

    Attributes:
        uid: Tells a pod from its namesake before it.
        generation: Of its spec; 0 by servers that do not count it.
        node: Node name, "" while unscheduled.
        created_s: Epoch seconds.
        ready_s: Epoch seconds of the Ready condition's last change to True, 0 when it is not Ready.
        restarts: Of all containers.
        cpu_milli: What the scheduler counts it for, in thousandths of a core.
        memory_bytes: What the scheduler counts it for.
        host_network: Shares its node's addresses.
        addressed: Has an address of its own.
        why: What keeps it from running, "" when nothing does.
        labels: metadata.labels.
        key: "namespace/name".
    """

    namespace: str
    name: str
    uid: str
    generation: int
    node: str
    state: State
    created_s: float
    ready_s: float
    restarts: int
    cpu_milli: int
    memory_bytes: int
    host_network: bool
    addressed: bool
    why: str
    labels: dict[str, str]
    key: str


class NodeRow(msgspec.Struct, frozen=True):
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
_decode_again = msgspec.json.Decoder(_PodAgain).decode
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


def _requested(spec: _PodSpec) -> tuple[int, int]:
    """Return CPU and memory that the scheduler counts a pod for.

    That is what containers and sidecars ask for, or what a larger init container does; and overhead.
    """
    cpu = memory = 0
    for container in spec.containers:
        if container.resources.requests:
            more = _asked(container.resources.requests)
            cpu += more[0]
            memory += more[1]
    if spec.initContainers:
        cpu, memory = (
            _with_init(total, [(_asked(c.resources.requests)[at], c.restartPolicy) for c in spec.initContainers])
            for at, total in enumerate((cpu, memory))
        )
    if spec.overhead:
        more = _asked(spec.overhead)
        cpu, memory = cpu + more[0], memory + more[1]
    return cpu, memory


def _asked(requests: dict[str, str | int | float] | None) -> tuple[int, int]:
    return (_milli(requests.get("cpu", 0)), _bytes(requests.get("memory", 0))) if requests else (0, 0)


def _with_init(total: int, before: list[tuple[int, str]]) -> int:
    """Return what containers ask for, beside or after init containers, each given with its restart policy."""
    # Sidecars stay beside what starts after them.
    beside = largest = 0
    for asked, policy in before:
        if policy == "Always":
            beside += asked
            largest = max(largest, beside)
        else:
            largest = max(largest, beside + asked)
    return max(total + beside, largest)


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
    # A status is written last.
    at = raw.rfind(_READY)
    return at >= 0 and raw.find(_TRUE, at, at + _READY_WITHIN) >= 0


def pod_row(raw: bytes, before: PodRow | None = None) -> PodRow:
    """Return a pod's row from its JSON.

    Args:
        raw: As an API server writes it.
        before: The row of the same name until now. What comes of a spec is taken from there while that is the same.

    Raises:
        msgspec.DecodeError: It is no pod.
    """
    # Before a pod is bound, its node is written without a new generation.
    if before is not None and before.generation and before.node:
        again = _decode_again(raw)
        meta, status = again.metadata, again.status
        if meta.uid == before.uid and meta.generation == before.generation:
            return _row(
                meta, status, before.node, before.created_s, before.cpu_milli, before.memory_bytes,
                before.host_network, before.key,
            )  # fmt: skip
    pod = _decode_pod(raw)
    meta, spec = pod.metadata, pod.spec
    cpu_milli, memory_bytes = _requested(spec)
    return _row(
        meta, pod.status, spec.nodeName, _seconds(meta.creationTimestamp), cpu_milli, memory_bytes,
        spec.hostNetwork, f"{meta.namespace}/{meta.name}",
    )  # fmt: skip


def _row(
    meta: _Meta,
    status: _PodStatus,
    node: str,
    created_s: float,
    cpu_milli: int,
    memory_bytes: int,
    host_network: bool,
    key: str,
) -> PodRow:
    ready: _Condition | None = None
    why = ""
    for condition in status.conditions or ():
        if condition.type == "Ready":
            ready = condition if condition.status == "True" else None
        elif condition.type == "PodScheduled" and condition.status == "False":
            why = condition.message
    restarts = 0
    waiting: _Waiting | None = None
    for containers in (status.initContainerStatuses, status.containerStatuses):
        for container in containers or ():
            restarts += container.restartCount
            found = container.state.waiting
            if waiting is None and found is not None and found.reason not in _ON_THE_WAY:
                waiting = found
    if waiting is not None:
        why = f"{waiting.reason}: {waiting.message}" if waiting.message else waiting.reason
    if meta.deletionTimestamp:
        state = State.TERMINATING
    elif status.phase in _ENDS:
        state = _ENDS[status.phase]
    elif waiting is not None:
        state = State.TROUBLE
    elif ready is not None:
        state = State.READY
    else:
        state = State.STARTING if node else State.PENDING
    return PodRow(
        meta.namespace, meta.name, meta.uid, meta.generation, node, state, created_s,
        _seconds(ready.lastTransitionTime) if ready is not None else 0.0, restarts, cpu_milli, memory_bytes,
        host_network, bool(status.podIP) and not host_network, why, meta.labels or {}, key,
    )  # fmt: skip


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
