import asyncio
import selectors
from collections.abc import Iterator
from typing import Any

import pytest

from kubedyno.base.random import Random
from kubedyno.cluster.kubelet.nodes import Nodes
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.registry import Registry
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.settings import ClusterSettings, NodeSettings
from kubedyno.cluster.storage.store import Store
from kubedyno.kube.resources import EVENTS, NAMESPACES, NODES, PODS, SERVICEACCOUNTS, Resource
from kubedyno.statedb.records import Tombstone

START_S = 1_795_000_000.0
NS = "ns"


class JumpClock:
    """Time that passes only when everybody waits."""

    def __init__(self) -> None:
        self.passed_s = 0.0

    def now(self) -> float:
        return START_S + self.passed_s

    def monotonic(self) -> float:
        return self.passed_s


class JumpSelector(selectors.DefaultSelector):
    def __init__(self, clock: JumpClock) -> None:
        super().__init__()
        self.clock = clock

    def select(self, timeout: float | None = None) -> Any:
        if timeout:
            self.clock.passed_s += timeout
        return super().select(0)


class Sim:
    """Nodes over an empty store, on a clock that jumps to the next timer."""

    def __init__(
        self, *, verify: bool = True, nodes: int = 1, max_pods: int | None = None, language: Any = None, **settings: Any
    ) -> None:
        self.clock = JumpClock()
        self.loop = asyncio.SelectorEventLoop(JumpSelector(self.clock))
        self.loop.time = self.clock.monotonic  # type: ignore[method-assign]
        rows = tuple(NodeSettings(f"n{i}", control_plane=i == 0, max_pods=max_pods) for i in range(nodes))
        self.settings = ClusterSettings(nodes=rows, **settings)
        self.store = Store(self.clock)
        self.registry = Registry(self.store, self.clock, Random(1), self.settings)
        self.trusted = Trusted(self.registry, verify=verify)
        for name in (NS, "kube-system", "kube-node-lease", "default"):
            self.registry.create(NAMESPACES, "", {"metadata": {"name": name}})
            self.registry.create(SERVICEACCOUNTS, name, {"metadata": {"name": "default"}})
        asyncio._set_running_loop(self.loop)
        self.pump = Pump(self.clock)
        self.nodes = Nodes(self.trusted, self.pump, self.settings, Random(2), language=language)
        self.nodes.start()
        self.changes = self.store.table(PODS).changes(self.store.revision)
        self.run()

    def close(self) -> None:
        self.pump.stop()
        asyncio._set_running_loop(None)
        self.loop.close()

    def run(self, seconds: float = 0.0) -> None:
        """Let that much time pass, and all that is due happen."""
        for step in (seconds, 0.0, 0.0, 0.0):
            self.loop.call_later(step, self.loop.stop)
            asyncio._set_running_loop(None)
            self.loop.run_forever()
            asyncio._set_running_loop(self.loop)

    def set_cidr(self, cidr: str = "10.244.0.0/24", node: str = "n0") -> None:
        record = self.store.get(NODES, node)
        assert record is not None
        spec = {**self.store.encode_dict(NODES, record)["spec"], "podCIDR": cidr, "podCIDRs": [cidr]}
        self.trusted.replace(NODES, record, body={"spec": spec})
        self.run()

    def get(self, resource: Resource, name: str, namespace: str = NS) -> dict[str, Any]:
        record = self.store.get(resource, f"{namespace}/{name}" if resource.namespaced else name)
        assert record is not None, f"no {name}"
        return self.store.encode_dict(resource, record)

    def node(self, name: str = "n0") -> dict[str, Any]:
        return self.get(NODES, name)

    def pod(self, name: str = "p", namespace: str = NS) -> dict[str, Any]:
        return self.get(PODS, name, namespace)["status"]

    def gone(self, name: str = "p") -> bool:
        return self.store.get(PODS, f"{NS}/{name}") is None

    def create(
        self, name: str = "p", *, annotations: dict[str, str] | None = None, node: str = "n0", **spec: Any
    ) -> None:
        """Create a bound pod; `container` members go into its one container."""
        container = {"name": "c", "image": "nginx:1", **spec.pop("container", {})}
        whole = {"containers": [container], "nodeName": node, **spec}
        metadata: dict[str, Any] = {"name": name}
        if annotations:
            metadata["annotations"] = annotations
        self.registry.create(PODS, NS, {"metadata": metadata, "spec": whole})

    def delete(self, name: str = "p", grace_s: int | None = None) -> None:
        self.trusted.delete(PODS, f"{NS}/{name}", grace_s)

    def events(self, name: str = "p", namespace: str = NS) -> list[tuple[str, str]]:
        """Return (reason, message) of the events about an object, in order."""
        found = [self.store.encode_dict(EVENTS, r) for r in self.store.list(EVENTS, namespace)]
        found = [e for e in found if e["involvedObject"]["name"] == name]
        found.sort(key=lambda e: int(e["metadata"]["name"].rpartition(".")[2], 16))
        return [(e["reason"], e["message"]) for e in found]

    def history(self, name: str = "p") -> list[dict[str, Any]]:
        """Return all statuses that a pod has had since the last call, in order."""
        records = self.changes.next_full()
        return [
            self.store.encode_dict(PODS, r)["status"]
            for r in records
            if r.key == f"{NS}/{name}" and type(r) is not Tombstone
        ]


def condition(status: dict[str, Any], name: str) -> dict[str, Any]:
    return next(c for c in status["conditions"] if c["type"] == name)


@pytest.fixture
def make() -> Iterator[Any]:
    made: list[Sim] = []

    def new(*, cidr: str | None = "10.244.0.0/24", **settings: Any) -> Sim:
        sim = Sim(**{"speed": 0, **settings})
        made.append(sim)
        if cidr:
            sim.set_cidr(cidr)
        return sim

    yield new
    for sim in made:
        sim.close()


@pytest.fixture
def sim(make: Any) -> Sim:
    """A ready node at speed 0."""
    return make()
