"""Writes that fail at random for a while: once they work again, everything is as it is wanted, whatever failed when."""

from random import Random

import pytest

from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.kube.resources import DAEMONSETS, DEPLOYMENTS, NAMESPACES, NODES, PODS, REPLICASETS, STATEFULSETS
from kubedyno.kube.status import Conflict, Forbidden

from .conftest import NS, Cluster, template, workload
from .test_failing_objects import levels

METHODS = ("create", "create_pod", "replace", "replace_status", "delete", "finish_delete")


class Weather:
    """Makes each write of the controllers fail with some probability."""

    def __init__(self, monkeypatch, trusted, seed):
        self.random = Random(seed)
        self.share = 0.0
        self.hits = dict.fromkeys(METHODS, 0)
        for method in METHODS:
            self.plant(monkeypatch, trusted, method)

    def plant(self, monkeypatch, trusted, method):
        real = getattr(trusted, method)

        def stormy(*args, **kwargs):
            if self.random.random() < self.share:
                self.hits[method] += 1
                raise self.random.choice((Conflict("storm"), Forbidden("storm"), ZeroDivisionError("storm")))
            return real(*args, **kwargs)

        monkeypatch.setattr(trusted, method, stormy)


@pytest.fixture
def stormy(monkeypatch, caplog):
    def make(seed):
        caplog.set_level("CRITICAL")
        cluster = Cluster(kubelet=False)
        weather = Weather(monkeypatch, cluster.trusted, seed)
        # What plays the kubelet has a door of its own, without weather.
        cluster.trusted = Trusted(cluster.registry, verify=True)
        cluster._start_kubelet()
        return cluster, weather

    return make


def calm(cluster, nodes):
    """Let time pass until the longest back-off is over, with nodes that are heard of."""
    for step in range(60):
        for node in nodes:
            record = cluster.store.get(NODES, node)
            status = cluster.store.encode_dict(NODES, record)["status"]
            status["conditions"][0]["lastHeartbeatTime"] = f"2026-11-18T15:{step:02}:00Z"
            cluster.trusted.replace_status(NODES, record, status)
        cluster.advance(20)


def replicas(cluster, resource, name):
    status = cluster.get(resource, name)["status"]
    return status.get("replicas", 0), status.get("readyReplicas", 0), status.get("updatedReplicas", 0)


@pytest.mark.parametrize("seed", range(12))
def test_workloads_come_to_what_is_wanted(stormy, seed):
    cluster, weather = stormy(seed)
    weather.share = 0.3
    for i in range(3):
        cluster.add_node(f"n{i}")
        cluster.advance(1)
    cluster.create(DEPLOYMENTS, workload("d", replicas=4))
    cluster.create(STATEFULSETS, {**workload("s", replicas=3, serviceName="s")})
    cluster.create(DAEMONSETS, workload("ds"))
    cluster.advance(5)
    cluster.apply(DEPLOYMENTS, "d", replicas=6)
    cluster.advance(2)
    cluster.apply(DEPLOYMENTS, "d", replicas=5, template=template(image="nginx:2"))
    cluster.apply(STATEFULSETS, "s", replicas=2)
    cluster.advance(5)
    weather.share = 0.0
    calm(cluster, ["n0", "n1", "n2"])
    assert sum(weather.hits.values()) > 20
    assert levels(cluster) == {}
    assert replicas(cluster, DEPLOYMENTS, "d") == (5, 5, 5)
    assert replicas(cluster, STATEFULSETS, "s") == (2, 2, 2)
    images = [
        cluster.get(PODS, pod.obj.name)["spec"]["containers"][0]["image"]
        for pod in cluster.pods()
        if pod.obj.name.startswith("d-")
    ]
    assert images == ["nginx:2"] * 5
    daemons = cluster.get(DAEMONSETS, "ds")["status"]
    assert (daemons["desiredNumberScheduled"], daemons["numberReady"]) == (3, 3)
    cidrs = [cluster.get(NODES, f"n{i}")["spec"].get("podCIDR") for i in range(3)]
    assert len(set(cidrs)) == 3
    assert None not in cidrs


@pytest.mark.parametrize("seed", range(8))
def test_what_is_deleted_goes_with_all_that_it_owns(stormy, seed):
    cluster, weather = stormy(seed)
    cluster.add_node("n1")
    cluster.create(NAMESPACES, {"metadata": {"name": "gone"}, "spec": {"finalizers": ["kubernetes"]}})
    for i in range(4):
        cluster.create(DEPLOYMENTS, workload(f"d{i}", replicas=2), namespace="gone")
        cluster.create(DEPLOYMENTS, workload(f"d{i}", replicas=2))
    cluster.advance(5)
    assert len(cluster.pods()) == 8
    weather.share = 0.4
    cluster.delete(NAMESPACES, "gone")
    for i, policy in enumerate(("Background", "Foreground", "Orphan", "Background")):
        cluster.delete(DEPLOYMENTS, f"d{i}", policy=policy)
    cluster.advance(5)
    weather.share = 0.0
    calm(cluster, ["n1"])
    assert levels(cluster) == {}
    assert cluster.names(DEPLOYMENTS) == []
    assert [name.partition("-")[0] for name in cluster.names(REPLICASETS)] == ["d2"]
    assert {pod.obj.name.partition("-")[0] for pod in cluster.pods()} == {"d2"}
    assert cluster.store.get(NAMESPACES, "gone") is None
    assert cluster.pods("gone") == []
    assert cluster.pods(NS)
