from dataclasses import dataclass, field
from typing import Any

import pytest

from kubedyno.base.random import Random
from kubedyno.cluster.registry.registry import Registry
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.storage.store import Store
from kubedyno.kube.resources import NAMESPACES, SERVICEACCOUNTS, Resource

START_S = 1_795_000_000.0
NS = "ns"


class FakeClock:
    def __init__(self) -> None:
        self.now_s = START_S

    def now(self) -> float:
        return self.now_s

    def monotonic(self) -> float:
        return self.now_s - START_S


@dataclass
class Cluster:
    """A registry over an empty store with one namespace, on a clock that stands."""

    verify: bool = True
    clock: FakeClock = field(default_factory=FakeClock)
    settings: ClusterSettings = field(default_factory=ClusterSettings)

    def __post_init__(self) -> None:
        self.store = Store(self.clock)
        self.registry = Registry(self.store, self.clock, Random(1), self.settings)
        self.trusted = Trusted(self.registry, verify=self.verify)
        self.add_namespace(NS)

    def add_namespace(self, name: str) -> None:
        self.registry.create(NAMESPACES, "", {"metadata": {"name": name}})
        self.registry.create(SERVICEACCOUNTS, name, {"metadata": {"name": "default"}})

    def create(self, resource: Resource, name: str = "x", namespace: str = NS, **parts: Any) -> Any:
        metadata = {"name": name, **parts.pop("metadata", {})}
        return self.registry.create(resource, namespace, {"metadata": metadata, **parts})

    def get(self, resource: Resource, name: str = "x", namespace: str = NS) -> dict[str, Any]:
        record = self.store.get(resource, f"{namespace}/{name}" if namespace else name)
        assert record is not None
        return self.store.encode_dict(resource, record)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def pod_spec(**spec: Any) -> dict[str, Any]:
    return {"containers": [{"name": "c", "image": "nginx:1"}], **spec}


def deployment(name: str = "d", **spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": pod_spec()}
    return {"metadata": {"name": name}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template, **spec}}
