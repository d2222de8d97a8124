"""A cluster without loop, server, scheduler and kubelet: a store, controllers, and a pump that is turned by hand."""

from math import inf, nextafter
from typing import Any

import pytest

from kubedyno.base.random import Random
from kubedyno.cluster.controllers.manager import ControllerManager
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.registry import Registry
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.registry.volumematching import SELECTED_NODE, claims_of
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.storage.store import ObjectRecord, Store
from kubedyno.kube.resources import CLAIMS, EVENTS, NAMESPACES, NODES, PODS, Resource

START_S = 1_795_000_000.0
NS = "ns"


class HandClock:
    def __init__(self) -> None:
        self.now_s = START_S

    def now(self) -> float:
        return self.now_s

    def monotonic(self) -> float:
        return self.now_s - START_S


class HandPump(Pump):
    """A pump that needs no loop: `drain` runs all that is ready, time moves when the test says so."""

    def _arm(self) -> None:
        pass

    def _set_alarm(self) -> None:
        pass

    def drain(self) -> None:
        for _ in range(500):
            if self.idle and not (self._timers and self._timers[0][0] <= self.clock.monotonic()):
                return
            self._slice()
        raise AssertionError("the pump never came to rest")


class Cluster:
    def __init__(
        self, *, verify: bool = True, kubelet: bool = True, ca: tuple[bytes, bytes] = (b"CA", b""), **settings: Any
    ) -> None:
        self.clock = HandClock()
        self.pump = HandPump(self.clock, slice_items=1600)
        self.settings = ClusterSettings(**settings)
        self.store = Store(self.clock)
        self.registry = Registry(self.store, self.clock, Random(1), self.settings)
        self.trusted = Trusted(self.registry, verify=verify)
        self.manager = ControllerManager(self.trusted, self.pump, self.settings, ca_pem=ca[0], ca_key=ca[1])
        self.manager.start()
        for name in ("default", "kube-node-lease", NS):
            self.registry.create(NAMESPACES, "", {"metadata": {"name": name}})
        if kubelet:
            self._start_kubelet()
        self.drain()

    # --- time --------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        self.pump.drain()

    def advance(self, seconds: float) -> None:
        self.drain()
        end_s = self.clock.now_s + seconds
        while self.pump._timers and self.pump._timers[0][0] + START_S <= end_s:
            due_s = self.pump._timers[0][0]
            self.clock.now_s = max(due_s + START_S, self.clock.now_s)
            # What the sum rounds off must not leave the timer for ever just ahead.
            while self.clock.monotonic() < due_s:
                self.clock.now_s = nextafter(self.clock.now_s, inf)
            self.drain()
        self.clock.now_s = end_s
        self.drain()

    # --- a node that runs everything at once ----------------------------------------------------------------------

    def _start_kubelet(self) -> None:
        table = self.store.table(PODS)
        changes = table.changes()

        def step(limit: int) -> bool:
            _ = limit
            for record in changes.next():
                current = table.get(record.key)
                if current is None:
                    continue
                obj = current.obj
                if obj.deletion_s:
                    self.trusted.finish_delete(PODS, obj.key, uid=obj.uid)
                elif not obj.facts.node_name:
                    self.run(current, obj.facts.pinned_node or "n1")
            return False

        self._kubelet = self.pump.worker("kubelet", step)
        table.subscribe(self._kubelet.wake)

    def choose(self, pod: ObjectRecord, node: str) -> None:
        """Tell a pod's claims of its node, as the scheduler does."""
        spec = self.store.encode_dict(PODS, pod)["spec"]
        for name, _ in claims_of(pod.obj.name, spec):
            claim = self.store.get(CLAIMS, f"{pod.obj.namespace}/{name}")
            if claim is not None:
                annotations = self.store.encode_dict(CLAIMS, claim)["metadata"].get("annotations", {})
                self.trusted.replace(CLAIMS, claim, annotations={**annotations, SELECTED_NODE: node})

    def run(self, pod: ObjectRecord, node: str = "n1") -> None:
        """Bind a pod and make it ready, as scheduler and kubelet do."""
        self.choose(pod, node)
        bound = self.trusted.bind(pod, node) if not pod.obj.facts.node_name else pod
        self.set_ready(bound)

    def set_ready(self, pod: ObjectRecord, *, ready: bool = True, phase: str = "Running") -> None:
        status = self.store.encode_dict(PODS, pod)["status"]
        status["phase"] = phase
        status["conditions"] = [c for c in status.get("conditions", []) if c["type"] != "Ready"]
        now = "2026-11-18T14:06:40Z"
        status["conditions"].append({"type": "Ready", "status": str(ready), "lastTransitionTime": now})
        self.trusted.replace_status(PODS, pod, status)

    # --- objects -----------------------------------------------------------------------------------------------

    def create(self, resource: Resource, obj: dict[str, Any], namespace: str = NS) -> ObjectRecord:
        return self.registry.create(resource, namespace if resource.namespaced else "", obj)

    def apply(self, resource: Resource, name: str, namespace: str = NS, **spec: Any) -> ObjectRecord:
        """Change members of an object's spec."""

        def change(obj: dict[str, Any]) -> dict[str, Any]:
            obj["spec"].update(spec)
            return obj

        return self.registry.modify(resource, namespace if resource.namespaced else "", name, change)

    def get(self, resource: Resource, name: str, namespace: str = NS) -> dict[str, Any]:
        record = self.store.get(resource, f"{namespace}/{name}" if resource.namespaced else name)
        assert record is not None, f"no {resource.plural} {name}"
        return self.store.encode_dict(resource, record)

    def all(self, resource: Resource, namespace: str = NS) -> list[dict[str, Any]]:
        records = self.store.list(resource, namespace if resource.namespaced else "")
        return [self.store.encode_dict(resource, record) for record in records]

    def names(self, resource: Resource, namespace: str = NS) -> list[str]:
        return [obj["metadata"]["name"] for obj in self.all(resource, namespace)]

    def pods(self, namespace: str = NS) -> list[ObjectRecord]:
        return list(self.store.list(PODS, namespace))

    def delete(self, resource: Resource, name: str, namespace: str = NS, policy: str | None = None) -> None:
        options = {"propagationPolicy": policy} if policy else {}
        self.registry.delete(resource, namespace if resource.namespaced else "", name, options)

    def events(self, kind: str, reason: str = "", namespace: str = NS) -> list[str]:
        return [
            event["message"]
            for event in sorted(self.all(EVENTS, namespace), key=lambda e: e["metadata"]["name"].rpartition(".")[2])
            if event["involvedObject"]["kind"] == kind and reason in {"", event["reason"]}
        ]

    def add_node(self, name: str, *, ready: str = "True", labels: dict[str, str] | None = None) -> None:
        condition = {"type": "Ready", "status": ready, "reason": "KubeletReady", "message": "m"}
        status = {"capacity": {"cpu": "8", "memory": "16Gi", "pods": "110"}, "conditions": [condition]}
        self.create(NODES, {"metadata": {"name": name, "labels": labels or {}}, "status": status})

    def set_node_ready(self, name: str, ready: str) -> None:
        record = self.store.get(NODES, name)
        assert record is not None
        status = self.store.encode_dict(NODES, record)["status"]
        status["conditions"][0]["status"] = ready
        self.trusted.replace_status(NODES, record, status)


def template(labels: dict[str, str] | None = None, image: str = "nginx:1", **spec: Any) -> dict[str, Any]:
    containers = [{"name": "c", "image": image}]
    return {"metadata": {"labels": labels or {"a": "b"}}, "spec": {"containers": containers, **spec}}


def workload(name: str = "w", **spec: Any) -> dict[str, Any]:
    """Return a Deployment, ReplicaSet, DaemonSet or StatefulSet."""
    return {
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template(), **spec},
    }


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()
