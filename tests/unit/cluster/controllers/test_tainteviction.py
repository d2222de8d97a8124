"""Taints that evict: at once, later, not at all."""

import pytest

from kubedyno.cluster.controllers.tainteviction import tolerated_s
from kubedyno.kube.resources import NODES, PODS

from .conftest import Cluster

KEY = "gone"


def pod(name, *tolerations):
    containers = [{"name": "c", "image": "i"}]
    spec = {"containers": containers, "nodeName": "n1", "tolerations": list(tolerations)}
    return {"metadata": {"name": name}, "spec": spec}


@pytest.mark.parametrize(
    ("tolerations", "seconds"),
    [
        ([], 0.0),
        ([("gone", "Exists", "", "NoExecute", None)], None),
        ([("gone", "Exists", "", "NoExecute", 30)], 30.0),
        ([("gone", "Equal", "v", "", 30), ("", "Exists", "", "", 10)], 10.0),
        ([("gone", "Equal", "w", "", 30)], 0.0),
        ([("gone", "Exists", "", "NoSchedule", None)], 0.0),
    ],
)
def test_how_long_a_pod_stays(tolerations, seconds):
    assert tolerated_s(tolerations, [("gone", "v", "NoExecute")]) == seconds


def taint(cluster, *taints):
    cluster.apply(NODES, "n1", taints=[{"key": key, "effect": effect} for key, effect in taints])
    cluster.drain()


def make():
    cluster = Cluster()
    cluster.add_node("n1")
    forever = {"key": KEY, "operator": "Exists", "effect": "NoExecute"}
    cluster.create(PODS, pod("now"))
    cluster.create(PODS, pod("later", {**forever, "tolerationSeconds": 20}))
    cluster.create(PODS, pod("never", forever))
    cluster.drain()
    return cluster


def test_pods_leave_when_what_they_tolerate_is_over():
    cluster = make()
    taint(cluster, (KEY, "NoExecute"))
    assert cluster.names(PODS) == ["later", "never"]
    cluster.advance(19)
    assert cluster.names(PODS) == ["later", "never"]
    cluster.advance(2)
    assert cluster.names(PODS) == ["never"]
    assert cluster.events("Pod", "TaintManagerEviction") == [
        "Marking for deletion Pod ns/now", "Marking for deletion Pod ns/later"
    ]  # fmt: skip


def test_a_taint_that_goes_in_time_spares_the_pod():
    cluster = make()
    taint(cluster, (KEY, "NoExecute"))
    cluster.advance(10)
    taint(cluster)
    cluster.advance(20)
    assert cluster.names(PODS) == ["later", "never"]
    assert cluster.events("Pod", "TaintManagerEviction")[-1] == "Cancelling deletion of Pod ns/later"


def test_a_taint_that_only_repels_evicts_nobody():
    cluster = make()
    taint(cluster, (KEY, "NoSchedule"))
    assert cluster.names(PODS) == ["later", "never", "now"]
