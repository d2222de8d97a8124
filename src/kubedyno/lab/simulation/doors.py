"""Where faults get in: a pump whose workers may be held, and doors that refuse writes.

Both are the cluster's own classes with one look more; without a fault in force they do what those do.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from kubedyno.base.clock import Clock
from kubedyno.base.random import Random
from kubedyno.cluster.pump import Pump, Worker
from kubedyno.cluster.registry.kinds.podfacts import PodFacts
from kubedyno.cluster.registry.leanpod import Formed
from kubedyno.cluster.registry.registry import Registry
from kubedyno.cluster.registry.templates import OwnerRef, PodTemplate
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube.resources import PODS, Resource
from kubedyno.kube.status import StatusError, Timeout, TooManyRequests, conflict

T = TypeVar("T")

# Items a slice may do; time moves on between slices only.
SLICE_ITEMS = 1600
_CHANGES = frozenset({"update", "bind", "delete"})


class HeldPump(Pump):
    """A pump in which some workers get no turns: they are told nothing, as by a watch that has been lost."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, slice_items=SLICE_ITEMS)
        self._held: dict[str, int] = {}
        self._waiting: dict[str, list[Worker]] = {}

    def enqueue(self, worker: Worker) -> None:
        if self._held and worker.name in self._held:
            self._waiting.setdefault(worker.name, []).append(worker)
        else:
            super().enqueue(worker)

    def hold(self, name: str) -> None:
        """Give the workers of a name no turns, until as many calls of `release`."""
        self._held[name] = self._held.get(name, 0) + 1

    def release(self, name: str) -> None:
        """Give them turns again."""
        self._held[name] -= 1
        if not self._held[name]:
            del self._held[name]
            for worker in self._waiting.pop(name, ()):
                super().enqueue(worker)


class WriteFault:
    """Writes that go wrong while it is in force.

    Args:
        kind: "conflict" (409), "reject" (429) or "lost" (done, and the answer lost).
        probability: Of each write's being hit.
        parts: Of the cluster; empty: all.
        resources: Plurals; empty: all.
        verbs: "create", "update", "bind", "delete"; empty: all.
        random: Decides.
    """

    def __init__(
        self, kind: str, probability: float, parts: list[str], resources: list[str], verbs: list[str], random: Random
    ) -> None:
        self.kind = kind
        self.hits = 0
        self._probability = probability
        self._parts = frozenset(parts)
        self._resources = frozenset(resources)
        self._verbs = frozenset(verbs)
        self._random = random

    def hit(self, part: str, verb: str, resource: Resource) -> bool:
        """Say whether a write goes wrong."""
        if self.kind == "conflict" and verb not in _CHANGES:
            return False
        for wanted, name in ((self._parts, part), (self._resources, resource.plural), (self._verbs, verb)):
            if wanted and name not in wanted:
                return False
        if self._random.random() >= self._probability:
            return False
        self.hits += 1
        return True


class Gate:
    """The write faults in force, for all doors and clients."""

    def __init__(self) -> None:
        self.faults: list[WriteFault] = []

    def write(self, part: str, verb: str, resource: Resource, name: str, do: Callable[[], T]) -> T:
        """Do a write, or have it go wrong.

        Raises:
            StatusError: As a server that has trouble answers.
        """
        for fault in self.faults:
            if fault.hit(part, verb, resource):
                if fault.kind == "lost":
                    do()
                    raise Timeout("the answer was lost, on purpose")
                raise _refusal(fault.kind, resource, name)
        return do()


def _refusal(kind: str, resource: Resource, name: str) -> StatusError:
    if kind == "conflict":
        return conflict(resource, name)
    return TooManyRequests("too many requests, on purpose", {"retryAfterSeconds": 1}, headers=(("Retry-After", "1"),))


class GatedDoor(Trusted):
    """The door of one part of the cluster, behind a gate."""

    def __init__(self, registry: Registry, gate: Gate, *, verify: bool) -> None:
        super().__init__(registry, verify=verify)
        self._gate = gate
        # Whose door it is.
        self.part = "kubelets"

    def create(self, resource: Resource, namespace: str, obj: dict[str, Any] | StoredObject) -> ObjectRecord:
        call = super().create
        return self._gate.write(self.part, "create", resource, "", lambda: call(resource, namespace, obj))

    def create_pod(
        self, namespace: str, template: PodTemplate, owner: OwnerRef | None = None, **more: Any
    ) -> ObjectRecord:
        call = super().create_pod
        return self._gate.write(self.part, "create", PODS, "", lambda: call(namespace, template, owner, **more))

    def form_status(self, record: ObjectRecord, status: Formed, facts: PodFacts) -> ObjectRecord:
        call = super().form_status
        return self._gate.write(self.part, "update", PODS, record.obj.name, lambda: call(record, status, facts))

    def replace_status(
        self, resource: Resource, record: ObjectRecord, status: bytes | dict[str, Any], facts: Any = None
    ) -> ObjectRecord:
        call, name = super().replace_status, record.obj.name
        return self._gate.write(self.part, "update", resource, name, lambda: call(resource, record, status, facts))

    def replace(self, resource: Resource, record: ObjectRecord, **more: Any) -> ObjectRecord:
        call, name = super().replace, record.obj.name
        return self._gate.write(self.part, "update", resource, name, lambda: call(resource, record, **more))

    def bind(self, record: ObjectRecord, node: str) -> ObjectRecord:
        call = super().bind
        return self._gate.write(self.part, "bind", PODS, record.obj.name, lambda: call(record, node))

    def delete(self, resource: Resource, key: str, grace_s: int | None = None, **more: Any) -> ObjectRecord | None:
        call = super().delete
        return self._gate.write(self.part, "delete", resource, key, lambda: call(resource, key, grace_s, **more))

    def finish_delete(self, resource: Resource, key: str, *, uid: str | None = None) -> ObjectRecord | None:
        call = super().finish_delete
        return self._gate.write(self.part, "delete", resource, key, lambda: call(resource, key, uid=uid))
