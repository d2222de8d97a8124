"""StatefulSets: names, order, partitions, revisions."""

from kubedyno.kube.resources import CONTROLLERREVISIONS, PODS, STATEFULSETS

from .conftest import NS, Cluster, template, workload


def images(cluster: Cluster) -> list[str]:
    return [p["spec"]["containers"][0]["image"] for p in cluster.all(PODS)]


def test_pods_are_numbered_and_the_status_is_as_recorded(cluster):
    cluster.create(STATEFULSETS, workload(replicas=2, serviceName="svc"))
    cluster.drain()
    (revision,) = cluster.names(CONTROLLERREVISIONS)
    assert cluster.names(PODS) == ["w-0", "w-1"]
    pod = cluster.get(PODS, "w-1")
    assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("w-1", "svc")
    assert pod["metadata"]["labels"] == {
        "a": "b", "apps.kubernetes.io/pod-index": "1", "controller-revision-hash": revision,
        "statefulset.kubernetes.io/pod-name": "w-1",
    }  # fmt: skip
    assert cluster.get(STATEFULSETS, "w")["status"] == {
        "observedGeneration": 1, "replicas": 2, "readyReplicas": 2, "currentReplicas": 2, "updatedReplicas": 2,
        "currentRevision": revision, "updateRevision": revision, "collisionCount": 0, "availableReplicas": 2,
    }  # fmt: skip
    assert cluster.events("StatefulSet") == [
        "Create Pod w-0 in StatefulSet w successful",
        "Create Pod w-1 in StatefulSet w successful",
    ]


def test_ordered_pods_wait_for_the_one_before():
    cluster = Cluster(kubelet=False)
    cluster.create(STATEFULSETS, workload(replicas=3))
    cluster.drain()
    assert cluster.names(PODS) == ["w-0"]
    cluster.run(cluster.pods()[0])
    cluster.drain()
    assert cluster.names(PODS) == ["w-0", "w-1"]


def test_parallel_pods_come_at_once():
    cluster = Cluster(kubelet=False)
    cluster.create(STATEFULSETS, workload(replicas=30, podManagementPolicy="Parallel"))
    cluster.drain()
    assert len(cluster.pods()) == 30


def test_scaling_down_takes_the_highest_first(cluster):
    cluster.create(STATEFULSETS, workload(replicas=4))
    cluster.drain()
    cluster.apply(STATEFULSETS, "w", replicas=1)
    cluster.drain()
    assert cluster.names(PODS) == ["w-0"]
    assert cluster.events("StatefulSet", "SuccessfulDelete") == [
        f"Delete Pod w-{i} in StatefulSet w successful" for i in (3, 2, 1)
    ]


def test_a_rollout_goes_from_the_highest_down_to_the_partition(cluster):
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
    cluster.create(STATEFULSETS, workload(replicas=4, updateStrategy=strategy))
    cluster.drain()
    before = cluster.get(STATEFULSETS, "w")["status"]["updateRevision"]
    cluster.apply(STATEFULSETS, "w", template=template(image="nginx:2"))
    cluster.drain()
    assert images(cluster) == ["nginx:1", "nginx:1", "nginx:2", "nginx:2"]
    status = cluster.get(STATEFULSETS, "w")["status"]
    assert (status["currentRevision"], status["currentReplicas"], status["updatedReplicas"]) == (before, 2, 2)
    # A pod below the partition that dies comes back as it was.
    cluster.delete(PODS, "w-0")
    cluster.drain()
    assert images(cluster) == ["nginx:1", "nginx:1", "nginx:2", "nginx:2"]
    cluster.apply(STATEFULSETS, "w", updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 0}})
    cluster.drain()
    assert images(cluster) == ["nginx:2"] * 4
    status = cluster.get(STATEFULSETS, "w")["status"]
    assert status["currentRevision"] == status["updateRevision"] != before


def test_at_most_one_pod_is_missing_during_a_rollout(cluster):
    cluster.create(STATEFULSETS, workload(replicas=3))
    cluster.drain()
    ready = []
    cluster.store.table(PODS).subscribe(lambda: ready.append(sum(p.obj.facts.ready for p in cluster.pods())))
    cluster.apply(STATEFULSETS, "w", template=template(image="nginx:2"))
    cluster.drain()
    assert images(cluster) == ["nginx:2"] * 3
    assert min(ready) == 2


def test_a_failed_pod_comes_back_under_its_name(cluster):
    cluster.create(STATEFULSETS, workload(replicas=2))
    cluster.drain()
    old = cluster.pods()[0]
    cluster.set_ready(old, ready=False, phase="Failed")
    cluster.drain()
    new = cluster.pods()[0]
    assert new.obj.name == old.obj.name
    assert new.obj.uid != old.obj.uid
    assert cluster.get(STATEFULSETS, "w")["status"]["readyReplicas"] == 2


def test_ordinals_may_start_elsewhere(cluster):
    cluster.create(STATEFULSETS, workload(replicas=2, ordinals={"start": 5}))
    cluster.drain()
    assert cluster.names(PODS) == ["w-5", "w-6"]


def test_claims_of_the_template_are_named_after_the_pod():
    cluster = Cluster(kubelet=False)
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    cluster.create(STATEFULSETS, workload(volumeClaimTemplates=[claim]))
    cluster.drain()
    volumes = cluster.get(PODS, "w-0")["spec"]["volumes"]
    assert volumes[0] == {"name": "data", "persistentVolumeClaim": {"claimName": "data-w-0"}}


def test_revisions_beyond_the_history_are_deleted(cluster):
    cluster.create(STATEFULSETS, workload(revisionHistoryLimit=1))
    cluster.drain()
    for number in range(2, 6):
        cluster.apply(STATEFULSETS, "w", template=template(image=f"nginx:{number}"))
        cluster.drain()
    assert sorted(r["revision"] for r in cluster.all(CONTROLLERREVISIONS)) == [4, 5]


def test_what_ended_is_told_and_made_again():
    cluster = Cluster()
    cluster.create(STATEFULSETS, workload(replicas=1))
    cluster.drain()
    for phase in ("Failed", "Succeeded"):
        cluster.set_ready(cluster.store.get(PODS, f"{NS}/w-0"), ready=False, phase=phase)
        cluster.drain()
    assert cluster.events("StatefulSet", "RecreatingFailedPod") == [f"StatefulSet {NS}/w is recreating failed Pod w-0"]
    assert cluster.events("StatefulSet", "RecreatingTerminatedPod") == [
        f"StatefulSet {NS}/w is recreating terminated Pod w-0"
    ]
    assert cluster.get(PODS, "w-0")["status"]["phase"] == "Running"
