"""A store with the scheduler alone, on a clock that only moves when told to."""

import asyncio
from collections.abc import Callable
from typing import Any

from kubedyno.base.random import Random
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.registry import Registry
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.scheduler.scheduler import Scheduler
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.storage.store import Store
from kubedyno.kube.resources import EVENTS, NAMESPACES, NODES, PODS, SERVICEACCOUNTS

START_S = 1_795_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now_s = START_S

    def now(self) -> float:
        return self.now_s

    def monotonic(self) -> float:
        return self.now_s - START_S


class Loop(asyncio.SelectorEventLoop):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.time = clock.monotonic


class Sim:
    """The cluster; each call settles all work that is due."""

    def __init__(self, version: str = "1.36", *, verify: bool = True, **settings: Any) -> None:
        self.clock = Clock()
        self.loop = Loop(self.clock)
        self.settings = ClusterSettings(version=version, **settings)
        self.store = Store(self.clock)
        self.registry = Registry(self.store, self.clock, Random(1), self.settings)
        self.trusted = Trusted(self.registry, verify=verify)
        self.pump = Pump(self.clock, slice_items=1 << 16)
        self.scheduler = Scheduler(self.trusted, self.pump, self.settings)
        self.do(self.scheduler.start)
        self.namespace("ns")

    def close(self) -> None:
        self.pump.stop()
        self.loop.close()

    def do(self, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        async def inside() -> Any:
            return call(*args, **named)

        result = self.loop.run_until_complete(inside())
        self.settle()
        return result

    def settle(self) -> None:
        for _ in range(500):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
            if self.pump.idle and not self.pump._armed:
                return
        raise AssertionError("the pump never came to rest")

    def advance(self, seconds: float) -> None:
        self.clock.now_s += seconds
        self.settle()
        self.settle()

    # --- objects -------------------------------------------------------------------------------------------------

    def namespace(self, name: str, **labels: str) -> None:
        self.do(self.registry.create, NAMESPACES, "", {"metadata": {"name": name, "labels": labels}})
        self.do(self.registry.create, SERVICEACCOUNTS, name, {"metadata": {"name": "default"}})

    def node(
        self,
        name: str = "n1",
        *,
        pods: int = 110,
        cpu: str = "8",
        memory: str = "16Gi",
        labels: dict[str, str] | None = None,
        taints: list[dict[str, str]] | None = None,
        **spec: Any,
    ) -> None:
        obj = {
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
            "spec": {"taints": taints or [], **spec},
            "status": {"allocatable": {"cpu": cpu, "memory": memory, "pods": str(pods)}},
        }
        self.do(self.trusted.create, NODES, "", obj)

    def change_node(self, name: str = "n1", *, spec: dict[str, Any] | None = None, **allocatable: Any) -> None:
        record = self.store.get(NODES, name)
        assert record is not None
        whole = self.store.encode_dict(NODES, record)
        whole["status"]["allocatable"].update({key: str(value) for key, value in allocatable.items()})
        self.do(
            self.trusted.replace,
            NODES,
            record,
            body={"spec": {**whole["spec"], **(spec or {})}},
            status=whole["status"],
        )

    def pod(
        self,
        name: str,
        *,
        namespace: str = "ns",
        cpu: str = "",
        memory: str = "",
        port: int = 0,
        labels: dict[str, str] | None = None,
        **spec: Any,
    ) -> None:
        container: dict[str, Any] = {"name": "c", "image": "nginx:1"}
        if port:
            container["ports"] = [{"containerPort": port, "hostPort": port}]
        requests = {key: value for key, value in (("cpu", cpu), ("memory", memory)) if value}
        if requests:
            container["resources"] = {"requests": requests}
        priority = spec.pop("priority", None)
        obj: dict[str, Any] = {
            "metadata": {"name": name, "labels": labels or {}},
            "spec": {"containers": [container], **spec},
        }
        if priority is None:
            self.do(self.registry.create, PODS, namespace, obj)
        else:
            # Priority classes are not served: the number comes from a template, as the admission would leave it.
            obj["spec"]["priority"] = priority
            self.do(self._create_with_priority, namespace, name, obj)

    def _create_with_priority(self, namespace: str, name: str, obj: dict[str, Any]) -> None:
        from kubedyno.cluster.registry.kinds.podspec import default_pod_spec

        default_pod_spec(obj["spec"], pod=True)
        obj["spec"].setdefault("priority", 0)
        self.trusted.create(PODS, namespace, obj)

    def pods(self, count: int, prefix: str = "p", **parts: Any) -> None:
        for i in range(count):
            self.pod(f"{prefix}{i}", **parts)

    def delete(self, name: str, namespace: str = "ns") -> None:
        self.do(self.trusted.delete, PODS, f"{namespace}/{name}", 0)

    def get(self, name: str, namespace: str = "ns") -> dict[str, Any]:
        record = self.store.get(PODS, f"{namespace}/{name}")
        assert record is not None
        return self.store.encode_dict(PODS, record)

    def node_of(self, name: str, namespace: str = "ns") -> str:
        record = self.store.get(PODS, f"{namespace}/{name}")
        return "" if record is None else record.obj.facts.node_name

    def bound(self) -> int:
        return sum(bool(record.obj.facts.node_name) for record in self.store.list(PODS))

    def condition(self, name: str) -> dict[str, Any]:
        conditions = self.get(name)["status"].get("conditions", [])
        return next((c for c in conditions if c["type"] == "PodScheduled"), {})

    def events(self, name: str, reason: str = "FailedScheduling") -> list[dict[str, Any]]:
        found = [self.store.encode_dict(EVENTS, record) for record in self.store.list(EVENTS)]
        return [e for e in found if e["involvedObject"]["name"] == name and e["reason"] == reason]
