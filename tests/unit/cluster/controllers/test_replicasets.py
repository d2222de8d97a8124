"""ReplicaSets: how many pods, which, and what is said of them."""

import itertools

from kubedyno.kube.resources import NAMESPACES, PODS, REPLICASETS, SERVICEACCOUNTS

from .conftest import NS, START_S, Cluster, template, workload


def pod(name: str, **labels: str) -> dict:
    return {"metadata": {"name": name, "labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}


def test_a_pod_that_is_deleted_or_failed_is_replaced(cluster):
    cluster.create(REPLICASETS, workload(replicas=3))
    cluster.drain()
    first, second, third = cluster.pods()
    cluster.delete(PODS, first.obj.name)
    cluster.set_ready(second, ready=False, phase="Failed")
    cluster.drain()
    running = [p.obj.name for p in cluster.pods() if p.obj.facts.phase == "Running"]
    assert len(running) == 3
    assert third.obj.name in running
    assert first.obj.name not in running
    assert cluster.get(REPLICASETS, "w")["status"]["replicas"] == 3


def test_pods_come_with_an_event_each(cluster):
    cluster.create(REPLICASETS, workload(replicas=2))
    cluster.drain()
    assert cluster.events("ReplicaSet", "SuccessfulCreate") == [f"Created pod: {n}" for n in cluster.names(PODS)] or (
        sorted(cluster.events("ReplicaSet")) == sorted(f"Created pod: {n}" for n in cluster.names(PODS))
    )
    cluster.apply(REPLICASETS, "w", replicas=0)
    cluster.drain()
    assert len(cluster.events("ReplicaSet", "SuccessfulDelete")) == 2


def test_pods_that_are_not_ready_go_first_then_the_youngest(cluster):
    cluster.create(REPLICASETS, workload(replicas=2))
    cluster.drain()
    old = set(cluster.names(PODS))
    cluster.clock.now_s += 60
    cluster.apply(REPLICASETS, "w", replicas=4)
    cluster.drain()
    victim = next(p for p in cluster.pods() if p.obj.name in old)
    cluster.set_ready(victim, ready=False)
    cluster.apply(REPLICASETS, "w", replicas=3)
    cluster.drain()
    assert victim.obj.name not in cluster.names(PODS)
    cluster.apply(REPLICASETS, "w", replicas=1)
    cluster.drain()
    assert set(cluster.names(PODS)) == old - {victim.obj.name}


def test_the_deletion_cost_decides_between_equal_pods(cluster):
    cluster.create(REPLICASETS, workload(replicas=4))
    cluster.drain()
    cheap = cluster.pods()[2]
    cluster.trusted.replace(PODS, cheap, annotations={"controller.kubernetes.io/pod-deletion-cost": "-5"})
    cluster.apply(REPLICASETS, "w", replicas=3)
    cluster.drain()
    assert cheap.obj.name not in cluster.names(PODS)


def test_a_bare_pod_that_is_selected_is_adopted(cluster):
    cluster.create(PODS, pod("bare", a="b"))
    cluster.create(PODS, pod("other", a="c"))
    cluster.drain()
    cluster.create(REPLICASETS, workload(replicas=1))
    cluster.drain()
    assert cluster.names(PODS) == ["bare", "other"]
    assert cluster.get(PODS, "bare")["metadata"]["ownerReferences"][0]["name"] == "w"
    assert "ownerReferences" not in cluster.get(PODS, "other")["metadata"]
    cluster.create(PODS, pod("late", a="b"))
    cluster.drain()
    assert len(cluster.names(PODS)) == 2


def test_a_pod_whose_labels_change_is_let_go_and_replaced(cluster):
    cluster.create(REPLICASETS, workload(replicas=1))
    cluster.drain()
    (old,) = cluster.pods()
    cluster.trusted.replace(PODS, old, labels={"a": "other"})
    cluster.drain()
    assert "ownerReferences" not in cluster.get(PODS, old.obj.name)["metadata"]
    assert len(cluster.pods()) == 2
    assert cluster.get(REPLICASETS, "w")["status"]["replicas"] == 1


def test_without_its_service_account_it_says_why_and_tries_again(cluster):
    cluster.create(REPLICASETS, workload(template=template(serviceAccountName="robot")))
    cluster.drain()
    (condition,) = cluster.get(REPLICASETS, "w")["status"]["conditions"]
    assert (condition["type"], condition["reason"]) == ("ReplicaFailure", "FailedCreate")
    (message,) = cluster.events("ReplicaSet", "FailedCreate")
    assert message == (
        'Error creating: pods "w-" is forbidden: error looking up service account ns/robot: serviceaccount "robot" '
        "not found"
    )
    cluster.create(SERVICEACCOUNTS, {"metadata": {"name": "robot"}})
    cluster.advance(60)
    assert len(cluster.pods()) == 1
    assert "conditions" not in cluster.get(REPLICASETS, "w")["status"]


def test_a_missing_priority_class_is_told_too(cluster):
    cluster.create(REPLICASETS, workload(template=template(priorityClassName="gold")))
    cluster.drain()
    (message,) = cluster.events("ReplicaSet", "FailedCreate")
    assert message == 'Error creating: pods "" is forbidden: no PriorityClass with name gold was found'


def test_min_ready_seconds_delays_availability(cluster):
    cluster.clock.now_s = START_S + 7200 + 3600
    cluster.create(REPLICASETS, workload(replicas=1, minReadySeconds=10))
    # The node says since when a pod is ready: now.
    cluster._kubelet.step = lambda limit: False
    cluster.drain()
    (record,) = cluster.pods()
    bound = cluster.trusted.bind(record, "n1")
    status = cluster.store.encode_dict(PODS, bound)["status"]
    status["phase"] = "Running"
    from kubedyno.base.times import rfc3339

    now = rfc3339(cluster.clock.now())
    status["conditions"].append({"type": "Ready", "status": "True", "lastTransitionTime": now})
    cluster.trusted.replace_status(PODS, bound, status)
    cluster.drain()
    before = cluster.get(REPLICASETS, "w")["status"]
    cluster.advance(11)
    after = cluster.get(REPLICASETS, "w")["status"]
    assert (before.get("readyReplicas"), before.get("availableReplicas")) == (1, None)
    assert after["availableReplicas"] == 1


def test_a_terminating_namespace_is_no_failure(cluster):
    cluster.create(REPLICASETS, workload(replicas=3))
    cluster.delete(NAMESPACES, NS)
    cluster.drain()
    assert cluster.store.get(NAMESPACES, NS) is None
    assert cluster.events("ReplicaSet", "FailedCreate") == []


def test_counts_stay_those_of_the_pods_through_random_changes():
    cluster = Cluster(verify=False, kubelet=False)
    random = cluster.registry.random
    cluster.create(REPLICASETS, workload(replicas=6))
    for _ in range(200):
        cluster.drain()
        pods = cluster.pods()
        record = random.choice(pods)
        action = random.randrange(5)
        if action == 0:
            cluster.trusted.delete(PODS, record.key, 0)
            cluster.trusted.finish_delete(PODS, record.key)
        elif action == 1:
            cluster.apply(REPLICASETS, "w", replicas=random.randrange(1, 9))
        elif action == 2 and not record.obj.facts.node_name:
            cluster.run(record)
        elif action == 3:
            cluster.set_ready(record, ready=random.random() < 0.7)
        elif action == 4 and record.obj.facts.node_name:
            cluster.trusted.delete(PODS, record.key)
        for stopped in cluster.pods():
            if stopped.obj.deletion_s and random.random() < 0.5:
                cluster.trusted.finish_delete(PODS, stopped.key)
    cluster.drain()
    alive = [p.obj for p in cluster.pods() if not p.obj.deletion_s]
    status = cluster.get(REPLICASETS, "w")["status"]
    assert len(alive) == cluster.get(REPLICASETS, "w")["spec"]["replicas"] == status["replicas"]
    assert status.get("readyReplicas", 0) == sum(p.facts.ready for p in alive)
    assert status["terminatingReplicas"] == sum(bool(p.obj.deletion_s) for p in cluster.pods())


def test_pods_that_stop_are_replaced_at_once_and_counted():
    cluster = Cluster(kubelet=False)
    cluster.create(REPLICASETS, workload(replicas=3))
    cluster.drain()
    for record in cluster.pods():
        cluster.run(record)
    cluster.drain()
    for record in cluster.pods()[:2]:
        cluster.trusted.delete(PODS, record.key)
    cluster.drain()
    status = cluster.get(REPLICASETS, "w")["status"]
    assert (status["replicas"], status["readyReplicas"], status["terminatingReplicas"]) == (3, 1, 2)
    for record in cluster.pods():
        if record.obj.deletion_s:
            cluster.trusted.finish_delete(PODS, record.key)
    cluster.drain()
    assert cluster.get(REPLICASETS, "w")["status"]["terminatingReplicas"] == 0


def test_a_large_replica_set_takes_many_turns():
    cluster = Cluster(verify=False, kubelet=False)
    cluster.create(REPLICASETS, workload(replicas=500))
    counts = [0]
    cluster.store.table(REPLICASETS).subscribe(lambda: counts.append(cluster.store.table(PODS).count))
    cluster.drain()
    assert len(cluster.pods()) == 500
    assert max(later - earlier for earlier, later in itertools.pairwise(counts)) <= 16
