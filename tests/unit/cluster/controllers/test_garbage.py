"""The garbage collector: background, foreground, orphan, and owners that never were."""

from kubedyno.kube.resources import CONFIGMAPS, DEPLOYMENTS, NODES, PODS, REPLICASETS

from .conftest import NS, Cluster, workload


def owned(name: str, *owners, **metadata) -> dict:
    references = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": o.obj.name, "uid": o.obj.uid, "blockOwnerDeletion": True}
        for o in owners
    ]
    return {"metadata": {"name": name, "ownerReferences": references, **metadata}}


def config(cluster: Cluster, name: str):
    return cluster.create(CONFIGMAPS, {"metadata": {"name": name}})


def test_background_takes_everything_below(cluster):
    cluster.create(DEPLOYMENTS, workload(replicas=3))
    cluster.drain()
    cluster.delete(DEPLOYMENTS, "w", policy="Background")
    assert cluster.names(DEPLOYMENTS) == []
    assert len(cluster.names(REPLICASETS)) == 1
    cluster.drain()
    assert cluster.names(REPLICASETS) == cluster.names(PODS) == []


def test_foreground_waits_for_the_pods():
    cluster = Cluster(kubelet=False)
    cluster.create(DEPLOYMENTS, workload(replicas=2))
    cluster.drain()
    for pod in cluster.pods():
        cluster.run(pod)
    cluster.drain()
    cluster.delete(DEPLOYMENTS, "w", policy="Foreground")
    cluster.drain()
    assert cluster.get(DEPLOYMENTS, "w")["metadata"]["finalizers"] == ["foregroundDeletion"]
    assert cluster.all(REPLICASETS)[0]["metadata"]["finalizers"] == ["foregroundDeletion"]
    pods = cluster.pods()
    assert [bool(pod.obj.deletion_s) for pod in pods] == [True, True]
    cluster.trusted.finish_delete(PODS, pods[0].key)
    cluster.drain()
    assert cluster.names(DEPLOYMENTS) == ["w"]
    cluster.trusted.finish_delete(PODS, pods[1].key)
    cluster.drain()
    assert cluster.names(DEPLOYMENTS) == cluster.names(REPLICASETS) == cluster.names(PODS) == []


def test_orphans_stay_without_their_owner(cluster):
    cluster.create(DEPLOYMENTS, workload(replicas=2))
    cluster.drain()
    cluster.delete(DEPLOYMENTS, "w", policy="Orphan")
    cluster.drain()
    assert cluster.names(DEPLOYMENTS) == []
    (replica_set,) = cluster.all(REPLICASETS)
    assert "ownerReferences" not in replica_set["metadata"]
    assert len(cluster.pods()) == 2


def test_an_object_whose_owner_never_was_is_deleted(cluster):
    ghost = config(cluster, "ghost")
    cluster.delete(CONFIGMAPS, "ghost")
    cluster.create(CONFIGMAPS, owned("child", ghost))
    cluster.drain()
    assert cluster.names(CONFIGMAPS) == ["kube-root-ca.crt"]


def test_an_object_with_another_owner_stays_and_loses_the_dead_one(cluster):
    one, two = config(cluster, "one"), config(cluster, "two")
    cluster.create(CONFIGMAPS, owned("child", one, two))
    cluster.drain()
    cluster.delete(CONFIGMAPS, "one")
    cluster.drain()
    (reference,) = cluster.get(CONFIGMAPS, "child")["metadata"]["ownerReferences"]
    assert reference["name"] == "two"
    cluster.delete(CONFIGMAPS, "two")
    cluster.drain()
    assert "child" not in cluster.names(CONFIGMAPS)


def test_foreground_leaves_what_somebody_else_owns(cluster):
    one, two = config(cluster, "one"), config(cluster, "two")
    cluster.create(CONFIGMAPS, owned("child", one, two))
    cluster.drain()
    cluster.delete(CONFIGMAPS, "one", policy="Foreground")
    cluster.drain()
    assert cluster.names(CONFIGMAPS) == ["child", "kube-root-ca.crt", "two"]


def test_an_owner_without_dependants_is_not_held_up(cluster):
    config(cluster, "lonely")
    config(cluster, "single")
    cluster.delete(CONFIGMAPS, "lonely", policy="Foreground")
    cluster.delete(CONFIGMAPS, "single", policy="Orphan")
    cluster.drain()
    assert cluster.names(CONFIGMAPS) == ["kube-root-ca.crt"]


def test_an_owner_of_another_name_with_the_same_uid_does_not_count(cluster):
    real = config(cluster, "real")
    child = owned("child", real)
    child["metadata"]["ownerReferences"][0]["uid"] = "00000000-0000-4000-8000-000000000000"
    cluster.create(CONFIGMAPS, child)
    cluster.drain()
    assert cluster.names(CONFIGMAPS) == ["kube-root-ca.crt", "real"]


def test_hundreds_of_dependants_go_with_one_owner(cluster):
    top = config(cluster, "top")
    for i in range(200):
        cluster.create(CONFIGMAPS, owned(f"c{i}", top))
    cluster.drain()
    cluster.delete(CONFIGMAPS, "top", policy="Foreground")
    cluster.drain()
    assert cluster.names(CONFIGMAPS) == ["kube-root-ca.crt"]


def test_a_kind_that_is_not_served_counts_as_there(cluster):
    reference = {"apiVersion": "example.io/v1", "kind": "Thing", "name": "t", "uid": "u"}
    cluster.create(CONFIGMAPS, {"metadata": {"name": "child", "ownerReferences": [reference]}})
    cluster.drain()
    assert "child" in cluster.names(CONFIGMAPS)


def test_what_a_node_owns_goes_with_it(cluster):
    cluster.add_node("n9")
    node = cluster.store.get(NODES, "n9")
    reference = {"apiVersion": "v1", "kind": "Node", "name": "n9", "uid": node.obj.uid}
    cluster.create(CONFIGMAPS, {"metadata": {"name": "child", "ownerReferences": [reference]}}, NS)
    cluster.drain()
    assert "child" in cluster.names(CONFIGMAPS)
    cluster.delete(NODES, "n9")
    cluster.drain()
    assert "child" not in cluster.names(CONFIGMAPS)
