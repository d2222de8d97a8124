"""When an object counts as ready, kind by kind, decoded no further than the rule needs.

The rules are kube-burner's, with its defects mended: no replicas wanted and none reported is ready, and a
Succeeded pod is done waiting.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec


class Condition(msgspec.Struct):
    """One of `status.conditions`."""

    type: str = ""
    status: str = ""
    reason: str = ""
    lastTransitionTime: str | None = None


class _Metadata(msgspec.Struct):
    name: str = ""
    namespace: str = ""
    resourceVersion: str = ""


class _Spec(msgspec.Struct):
    replicas: int | None = None


class _Status(msgspec.Struct):
    replicas: int = 0
    readyReplicas: int = 0
    desiredNumberScheduled: int = 0
    numberReady: int = 0
    observedGeneration: int = 0
    phase: str = ""
    conditions: list[Condition] | None = None
    readyToUse: bool = False


class Subject(msgspec.Struct):
    """The part of an object that readiness depends on."""

    metadata: _Metadata
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)

    def condition(self, kind: str) -> str:
        """Return a condition's status, "" when absent."""
        return next((c.status for c in self.status.conditions or () if c.type == kind), "")


decode_subject = msgspec.json.Decoder(Subject).decode


def _replicas(subject: Subject) -> bool:
    wanted = 1 if subject.spec.replicas is None else subject.spec.replicas
    return subject.status.readyReplicas == wanted


def _daemonset(subject: Subject) -> bool:
    # A DaemonSet that no controller has looked at yet wants 0 and has 0: that is not ready.
    status = subject.status
    return status.observedGeneration > 0 and status.desiredNumberScheduled == status.numberReady


def _pod(subject: Subject) -> bool:
    phase = subject.status.phase
    return phase == "Succeeded" or (phase == "Running" and subject.condition("Ready") != "False")


def _build(subject: Subject) -> bool:
    return subject.status.phase not in {"", "New", "Pending", "Running"}


def _with(condition: str) -> Callable[[Subject], bool]:
    return lambda subject: subject.condition(condition) == "True"


RULES: dict[str, Callable[[Subject], bool]] = {
    "Deployment": _replicas,
    "ReplicaSet": _replicas,
    "ReplicationController": _replicas,
    "StatefulSet": _replicas,
    "DaemonSet": _daemonset,
    "Pod": _pod,
    "VirtualMachineInstanceReplicaSet": _replicas,
    "VirtualMachine": _with("Ready"),
    "VirtualMachineInstance": _with("Ready"),
    "DataVolume": _with("Ready"),
    "DataSource": _with("Ready"),
    "Build": _build,
    "BuildConfig": _build,
    "Job": _with("Complete"),
    "PersistentVolumeClaim": lambda subject: subject.status.phase == "Bound",
    "VolumeSnapshot": lambda subject: subject.status.readyToUse,
}


@dataclass(frozen=True, slots=True)
class Rule:
    """How objects are decoded, and when one is ready. `decode` makes something with `metadata` as `Subject` has it."""

    decode: Callable[[bytes], Any]
    is_ready: Callable[[Any], bool]


class WithStatus(msgspec.Struct):
    """An object with the whole of its status."""

    metadata: _Metadata
    status: Any = None


decode_with_status = msgspec.json.Decoder(WithStatus).decode
