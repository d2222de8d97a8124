"""Deployments: rollouts, scaling, pause, history, conditions."""

import pytest

from kubedyno.kube.resources import DEPLOYMENTS, PODS, REPLICASETS

from .conftest import NS, Cluster, template, workload


def sizes(cluster: Cluster) -> dict[str, int]:
    """Return replicas by image."""
    found = {}
    for obj in cluster.all(REPLICASETS):
        image = obj["spec"]["template"]["spec"]["containers"][0]["image"]
        found[image] = obj["spec"]["replicas"]
    return found


def conditions(cluster: Cluster, name: str = "w") -> dict[str, tuple[str, str]]:
    found = cluster.get(DEPLOYMENTS, name)["status"]["conditions"]
    return {c["type"]: (c["status"], c["reason"]) for c in found}


def test_a_deployment_makes_a_replica_set_named_by_its_hash_and_the_pods_of_it(cluster):
    cluster.create(DEPLOYMENTS, workload(replicas=2))
    cluster.drain()
    (replica_set,) = cluster.all(REPLICASETS)
    pod_hash = replica_set["metadata"]["labels"]["pod-template-hash"]
    assert replica_set["metadata"]["name"] == f"w-{pod_hash}"
    assert set(pod_hash) <= set("bcdf456789")
    assert replica_set["metadata"]["annotations"] == {
        "deployment.kubernetes.io/desired-replicas": "2",
        "deployment.kubernetes.io/max-replicas": "3",
        "deployment.kubernetes.io/revision": "1",
    }
    for pod in cluster.all(PODS):
        assert pod["metadata"]["labels"] == {"a": "b", "pod-template-hash": pod_hash}
        assert pod["metadata"]["generateName"] == f"w-{pod_hash}-"
        assert pod["metadata"]["ownerReferences"][0]["uid"] == replica_set["metadata"]["uid"]
    assert cluster.events("Deployment") == [f"Scaled up replica set w-{pod_hash} from 0 to 2"]


def test_its_status_is_that_of_a_finished_rollout(cluster):
    cluster.create(DEPLOYMENTS, workload(replicas=2))
    cluster.drain()
    status = cluster.get(DEPLOYMENTS, "w")["status"]
    messages = {c["type"]: c["message"] for c in status.pop("conditions")}
    name = cluster.names(REPLICASETS)[0]
    assert status == {
        "observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2,
        "terminatingReplicas": 0,
    }  # fmt: skip
    assert messages == {
        "Available": "Deployment has minimum availability.",
        "Progressing": f'ReplicaSet "{name}" has successfully progressed.',
    }
    assert cluster.get(DEPLOYMENTS, "w")["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"


def test_versions_before_1_35_do_not_count_terminating_pods():
    cluster = Cluster(version="1.33")
    cluster.create(DEPLOYMENTS, workload())
    cluster.drain()
    assert "terminatingReplicas" not in cluster.get(DEPLOYMENTS, "w")["status"]
    assert "terminatingReplicas" not in cluster.all(REPLICASETS)[0]["status"]


def test_while_no_pod_is_ready_it_is_not_available(cluster):
    quiet = Cluster(kubelet=False)
    quiet.create(DEPLOYMENTS, workload(replicas=2))
    quiet.drain()
    status = quiet.get(DEPLOYMENTS, "w")["status"]
    assert status["unavailableReplicas"] == 2
    assert conditions(quiet)["Available"] == ("False", "MinimumReplicasUnavailable")
    assert conditions(quiet)["Progressing"] == ("True", "ReplicaSetUpdated")


@pytest.mark.parametrize(("surge", "unavailable"), [(1, 0), (0, 1), (2, 2), ("25%", "25%"), ("100%", 0)])
def test_a_rollout_keeps_to_its_bounds_at_every_revision(cluster, surge, unavailable):
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    cluster.create(DEPLOYMENTS, workload(replicas=8, strategy=strategy))
    cluster.drain()
    most = 8 + (surge if isinstance(surge, int) else 8 * int(surge[:-1]) // 100)
    least = 8 - (unavailable if isinstance(unavailable, int) else 2)
    seen = []

    def look() -> None:
        pods = [pod.obj for pod in cluster.pods() if not pod.obj.deletion_s]
        seen.append((len(pods), sum(pod.facts.ready for pod in pods)))

    cluster.store.table(PODS).subscribe(look)
    cluster.apply(DEPLOYMENTS, "w", template=template(image="nginx:2"))
    cluster.drain()
    assert max(total for total, _ in seen) <= most
    assert min(ready for _, ready in seen) >= least
    assert sizes(cluster) == {"nginx:1": 0, "nginx:2": 8}
    assert conditions(cluster)["Progressing"] == ("True", "NewReplicaSetAvailable")


def test_a_rollout_whose_pods_do_not_become_ready_stops_at_its_bounds(cluster):
    cluster.create(DEPLOYMENTS, workload(replicas=4))
    cluster.drain()
    cluster._kubelet.step = lambda limit: False
    cluster.apply(DEPLOYMENTS, "w", template=template(image="bad"))
    cluster.drain()
    assert sizes(cluster) == {"nginx:1": 3, "bad": 2}
    cluster.advance(602)
    assert conditions(cluster)["Progressing"] == ("False", "ProgressDeadlineExceeded")
    assert conditions(cluster)["Available"][0] == "True"


def test_undoing_a_rollout_takes_the_old_replica_set_with_a_new_revision(cluster):
    cluster.create(DEPLOYMENTS, workload(replicas=2))
    cluster.drain()
    for image in ("nginx:2", "nginx:1"):
        cluster.apply(DEPLOYMENTS, "w", template=template(image=image))
        cluster.drain()
    assert sizes(cluster) == {"nginx:1": 2, "nginx:2": 0}
    annotations = {
        o["spec"]["template"]["spec"]["containers"][0]["image"]: o["metadata"]["annotations"]
        for o in cluster.all(REPLICASETS)
    }
    assert annotations["nginx:1"]["deployment.kubernetes.io/revision"] == "3"
    assert annotations["nginx:1"]["deployment.kubernetes.io/revision-history"] == "1"
    assert cluster.get(DEPLOYMENTS, "w")["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"


def test_recreate_stops_the_old_pods_before_it_starts_new_ones(cluster):
    cluster.create(DEPLOYMENTS, workload(replicas=3, strategy={"type": "Recreate"}))
    cluster.drain()
    images = []

    def look() -> None:
        bodies = {pod.obj.body.partition(b'"image":"')[2].partition(b'"')[0] for pod in cluster.pods()}
        images.append(bodies)

    cluster.store.table(PODS).subscribe(look)
    cluster.apply(DEPLOYMENTS, "w", template=template(image="nginx:2"))
    cluster.drain()
    assert {b"nginx:1", b"nginx:2"} not in images
    assert sizes(cluster) == {"nginx:1": 0, "nginx:2": 3}
    assert len(cluster.pods()) == 3


def test_a_paused_deployment_scales_but_does_not_roll(cluster):
    cluster.create(DEPLOYMENTS, workload(replicas=2))
    cluster.drain()
    cluster.apply(DEPLOYMENTS, "w", paused=True, template=template(image="nginx:2"), replicas=3)
    cluster.drain()
    assert sizes(cluster) == {"nginx:1": 3}
    assert conditions(cluster)["Progressing"] == ("Unknown", "DeploymentPaused")
    cluster.apply(DEPLOYMENTS, "w", paused=False)
    cluster.drain()
    assert sizes(cluster) == {"nginx:1": 0, "nginx:2": 3}


def test_scaling_is_told_in_events(cluster):
    cluster.create(DEPLOYMENTS, workload(replicas=2))
    cluster.drain()
    cluster.apply(DEPLOYMENTS, "w", replicas=5)
    cluster.drain()
    cluster.apply(DEPLOYMENTS, "w", replicas=0)
    cluster.drain()
    name = cluster.names(REPLICASETS)[0]
    assert cluster.events("Deployment") == [
        f"Scaled up replica set {name} from 0 to 2",
        f"Scaled up replica set {name} from 2 to 5",
        f"Scaled down replica set {name} from 5 to 0",
    ]
    assert cluster.pods() == []


def test_scaling_in_the_middle_of_a_rollout_is_shared_in_proportion(cluster):
    cluster.create(DEPLOYMENTS, workload(replicas=10, strategy={"rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}))
    cluster.drain()
    cluster._kubelet.step = lambda limit: False
    cluster.apply(DEPLOYMENTS, "w", template=template(image="bad"))
    cluster.drain()
    assert sizes(cluster) == {"nginx:1": 8, "bad": 5}
    cluster.apply(DEPLOYMENTS, "w", replicas=15)
    cluster.drain()
    # The example of Kubernetes' documentation: of 5 more, 3 go to the larger and 2 to the smaller one.
    assert sizes(cluster) == {"nginx:1": 11, "bad": 7}


def test_old_replica_sets_beyond_the_history_are_deleted(cluster):
    cluster.create(DEPLOYMENTS, workload(revisionHistoryLimit=2))
    cluster.drain()
    for number in range(2, 7):
        cluster.apply(DEPLOYMENTS, "w", template=template(image=f"nginx:{number}"))
        cluster.drain()
    assert sizes(cluster) == {"nginx:4": 0, "nginx:5": 0, "nginx:6": 1}


def test_a_name_that_is_taken_gives_another_hash(cluster):
    cluster.create(DEPLOYMENTS, workload("x"))
    cluster.drain()
    taken = cluster.names(REPLICASETS)[0].replace("x-", "w-")
    cluster.create(
        REPLICASETS, workload(taken, replicas=0, selector={"matchLabels": {"o": "p"}}, template=template({"o": "p"}))
    )
    cluster.create(DEPLOYMENTS, workload())
    cluster.drain()
    status = cluster.get(DEPLOYMENTS, "w")["status"]
    assert status["collisionCount"] == 1
    assert status["readyReplicas"] == 1


def test_a_replica_set_that_nobody_owns_is_adopted(cluster):
    cluster.create(DEPLOYMENTS, workload(replicas=2))
    cluster.drain()
    name = cluster.names(REPLICASETS)[0]
    cluster.delete(DEPLOYMENTS, "w", policy="Orphan")
    cluster.drain()
    assert "ownerReferences" not in cluster.get(REPLICASETS, name)["metadata"]
    created = cluster.create(DEPLOYMENTS, workload(replicas=2))
    cluster.drain()
    assert cluster.names(REPLICASETS) == [name]
    assert cluster.get(REPLICASETS, name)["metadata"]["ownerReferences"][0]["uid"] == created.obj.uid
    assert len(cluster.pods()) == 2


def test_many_deployments_converge_with_few_status_writes(cluster):
    quick = Cluster(verify=False)
    for i in range(50):
        quick.create(DEPLOYMENTS, workload(f"w{i}", replicas=10, template=template({"a": "b", "i": str(i)})))
    quick.drain()
    assert len(quick.pods()) == 500
    assert all(d["status"]["readyReplicas"] == 10 for d in quick.all(DEPLOYMENTS))
    assert len(quick.store.table(DEPLOYMENTS).changes().next_full()) < 50 * 6
    assert len(quick.store.table(REPLICASETS).changes().next_full()) < 50 * 6


def test_a_progress_deadline_of_never_has_no_progressing_condition(cluster):
    cluster.create(DEPLOYMENTS, workload(progressDeadlineSeconds=2147483647))
    cluster.drain()
    assert set(conditions(cluster)) == {"Available"}
    assert cluster.get(DEPLOYMENTS, "w", NS)["status"]["readyReplicas"] == 1


def test_a_change_cause_given_later_is_that_of_the_current_replica_set(cluster):
    cluster.create(DEPLOYMENTS, workload(replicas=1))
    cluster.drain()
    cluster.apply(DEPLOYMENTS, "w", template=template(image="nginx:2"))
    cluster.drain()

    def explain(obj):
        obj["metadata"]["annotations"]["kubernetes.io/change-cause"] = "image 2"
        return obj

    cluster.registry.modify(DEPLOYMENTS, NS, "w", explain)
    cluster.drain()
    causes = {
        obj["spec"]["template"]["spec"]["containers"][0]["image"]: obj["metadata"]["annotations"].get(
            "kubernetes.io/change-cause"
        )
        for obj in cluster.all(REPLICASETS)
    }
    assert causes.pop("nginx:2") == "image 2"
    assert list(causes.values()) == [None]
