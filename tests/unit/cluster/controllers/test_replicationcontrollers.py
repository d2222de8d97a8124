"""ReplicationControllers: as many pods as are wanted, by a selector that is a plain map."""

from kubedyno.kube.resources import PODS, REPLICATIONCONTROLLERS

from .conftest import Cluster, template


def make(**spec):
    return {"metadata": {"name": "rc"}, "spec": {"replicas": 2, "template": template(), **spec}}


def test_pods_and_status_are_as_a_real_ones():
    cluster = Cluster()
    cluster.create(REPLICATIONCONTROLLERS, make())
    cluster.drain()
    owner = cluster.all(PODS)[0]["metadata"]["ownerReferences"][0]
    assert (owner["apiVersion"], owner["kind"], owner["controller"]) == ("v1", "ReplicationController", True)
    assert cluster.get(REPLICATIONCONTROLLERS, "rc")["status"] == {
        "replicas": 2, "fullyLabeledReplicas": 2, "readyReplicas": 2, "availableReplicas": 2, "observedGeneration": 1,
    }  # fmt: skip
    names = cluster.names(PODS)
    assert sorted(cluster.events("ReplicationController", "SuccessfulCreate")) == [f"Created pod: {n}" for n in names]


def test_it_scales_and_replaces():
    cluster = Cluster()
    cluster.create(REPLICATIONCONTROLLERS, make())
    cluster.drain()
    cluster.delete(PODS, cluster.names(PODS)[0])
    cluster.drain()
    assert len(cluster.pods()) == 2
    cluster.apply(REPLICATIONCONTROLLERS, "rc", replicas=1)
    cluster.drain()
    assert len(cluster.pods()) == 1
    cluster.delete(REPLICATIONCONTROLLERS, "rc", policy="Background")
    cluster.drain()
    assert cluster.pods() == []


def test_it_adopts_what_it_selects():
    cluster = Cluster()
    cluster.create(PODS, {"metadata": {"name": "p", "labels": {"a": "b"}}, "spec": template()["spec"]})
    cluster.drain()
    cluster.create(REPLICATIONCONTROLLERS, make())
    cluster.drain()
    assert len(cluster.pods()) == 2
    assert "p" in cluster.names(PODS)


def test_what_it_does_not_select_is_left_alone():
    cluster = Cluster()
    cluster.create(PODS, {"metadata": {"name": "p", "labels": {"a": "c"}}, "spec": template()["spec"]})
    cluster.drain()
    cluster.create(REPLICATIONCONTROLLERS, make())
    cluster.drain()
    assert "ownerReferences" not in cluster.get(PODS, "p")["metadata"]
    assert len(cluster.pods()) == 3
