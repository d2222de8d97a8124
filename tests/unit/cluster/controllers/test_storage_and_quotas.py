"""Claims and volumes that are in use, and what quotas say."""

from kubedyno.kube.resources import CLAIMS, PODS, REPLICASETS, RESOURCEQUOTAS, VOLUMES

from .conftest import workload

NS = "ns"
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}


def add_claim(cluster, name: str = "data") -> None:
    cluster.registry.create(CLAIMS, NS, {"metadata": {"name": name}, "spec": CLAIM})


def add_pod(cluster, name: str, claim: str = "") -> None:
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}] if claim else []
    spec = {"containers": [{"name": "c", "image": "nginx"}], "volumes": volumes}
    cluster.registry.create(PODS, NS, {"metadata": {"name": name}, "spec": spec})


def test_a_claim_that_no_pod_needs_goes_when_it_is_deleted(cluster):
    add_claim(cluster)
    add_pod(cluster, "other", "another")
    cluster.registry.delete(CLAIMS, NS, "data")
    cluster.pump.drain()
    assert cluster.store.get(CLAIMS, f"{NS}/data") is None


def test_a_claim_stays_until_the_last_pod_that_needs_it_is_gone(cluster):
    add_claim(cluster)
    for name in ("a", "b"):
        add_pod(cluster, name, "data")
    cluster.pump.drain()
    cluster.registry.delete(CLAIMS, NS, "data")
    cluster.pump.drain()
    for name in ("a", "b"):
        assert cluster.store.get(CLAIMS, f"{NS}/data") is not None
        cluster.registry.delete(PODS, NS, name, {"gracePeriodSeconds": 0})
        cluster.pump.drain()
    assert cluster.store.get(CLAIMS, f"{NS}/data") is None


def test_a_pod_that_has_ended_needs_nothing(cluster):
    add_claim(cluster)
    add_pod(cluster, "a", "data")
    cluster.registry.delete(CLAIMS, NS, "data")
    cluster.pump.drain()
    pod = cluster.store.encode_dict(PODS, cluster.store.get(PODS, f"{NS}/a"))
    pod["status"]["phase"] = "Succeeded"
    cluster.registry.update(PODS, NS, "a", pod, subresource="status")
    cluster.pump.drain()
    assert cluster.store.get(CLAIMS, f"{NS}/data") is None


def test_a_bound_volume_stays(cluster):
    spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/d"}}
    for name in ("bound", "free"):
        cluster.registry.create(VOLUMES, "", {"metadata": {"name": name}, "spec": spec})
        if name == "bound":
            wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
            claim = {"metadata": {"name": "c"}, "spec": {"storageClassName": "", **wanted}}
            cluster.registry.create(CLAIMS, NS, claim)
            cluster.pump.drain()
        cluster.registry.delete(VOLUMES, "", name)
    cluster.pump.drain()
    assert cluster.store.get(VOLUMES, "free") is None
    assert cluster.store.get(VOLUMES, "bound") is not None


def test_a_quota_says_what_is_used_as_things_come_and_go(cluster):
    hard = {"pods": "3", "count/persistentvolumeclaims": "5"}
    add_pod(cluster, "before")
    cluster.registry.create(RESOURCEQUOTAS, NS, {"metadata": {"name": "q"}, "spec": {"hard": hard}})

    def used() -> dict[str, str]:
        cluster.pump.drain()
        quota = cluster.store.encode_dict(RESOURCEQUOTAS, cluster.store.get(RESOURCEQUOTAS, f"{NS}/q"))
        assert quota["status"]["hard"] == hard
        return quota["status"]["used"]

    assert used() == {"pods": "1", "count/persistentvolumeclaims": "0"}
    add_pod(cluster, "after")
    add_claim(cluster)
    assert used() == {"pods": "2", "count/persistentvolumeclaims": "1"}
    cluster.registry.delete(CLAIMS, NS, "data")
    assert used() == {"pods": "2", "count/persistentvolumeclaims": "0"}
    cluster.registry.delete(PODS, NS, "before", {"gracePeriodSeconds": 0})
    assert used() == {"pods": "1", "count/persistentvolumeclaims": "0"}


def test_a_quota_counts_each_of_the_pods_that_are_created_in_one_step(cluster):
    cluster.create(RESOURCEQUOTAS, {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "5"}}})
    cluster.create(REPLICASETS, workload(replicas=12))
    cluster.drain()
    assert len(cluster.pods()) == 5
    assert any("exceeded quota: q" in line for line in cluster.events("ReplicaSet", "FailedCreate"))
