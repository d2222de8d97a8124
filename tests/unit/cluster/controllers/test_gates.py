"""Feature gates in controllers: what acts in which version, and when a gate says otherwise."""

import pytest

from kubedyno.kube.resources import DEPLOYMENTS, PODS, REPLICASETS, STATEFULSETS

from .conftest import NS, Cluster, template, workload

MANY = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2}}


def made(cluster, resource, **spec):
    cluster.create(resource, workload(**spec))
    cluster.advance(1)


def images(cluster):
    return [cluster.get(PODS, p.obj.name)["spec"]["containers"][0]["image"] for p in cluster.pods()]


@pytest.mark.parametrize(
    ("settings", "at_once"),
    [
        ({"version": "1.34"}, 1),
        ({"version": "1.35"}, 2),
        ({"version": "1.36"}, 1),
        ({"version": "1.36", "feature_gates": {"MaxUnavailableStatefulSet": True}}, 2),
        ({"version": "1.34", "feature_gates": {"MaxUnavailableStatefulSet": True}}, 2),
        ({"version": "1.36", "feature_gates": {"MaxUnavailableStatefulSet": False}}, 1),
    ],
)
def test_a_stateful_set_replaces_so_many_pods_at_once(settings, at_once):
    cluster = Cluster(kubelet=False, **settings)
    cluster.create(STATEFULSETS, workload(replicas=4, podManagementPolicy="Parallel", updateStrategy=MANY))
    cluster.drain()
    for pod in cluster.pods():
        cluster.run(pod)
    cluster.drain()
    cluster.apply(STATEFULSETS, "w", template=template(image="nginx:2"))
    cluster.drain()
    gone = [pod.obj.name for pod in cluster.pods() if pod.obj.deletion_s]
    assert gone == ["w-2", "w-3"][-at_once:]


def test_a_stateful_set_updates_whole_with_max_unavailable():
    cluster = Cluster(feature_gates={"MaxUnavailableStatefulSet": True})
    made(
        cluster,
        STATEFULSETS,
        replicas=5,
        updateStrategy={**MANY, "rollingUpdate": {"maxUnavailable": "40%", "partition": 1}},
    )
    cluster.advance(20)
    cluster.apply(STATEFULSETS, "w", template=template(image="nginx:2"))
    cluster.advance(60)
    assert sorted(images(cluster)) == ["nginx:1", *["nginx:2"] * 4]


def rolling(policy, gates=True, kind="RollingUpdate"):
    """Return a Deployment of two, its old pods on their way out."""
    cluster = Cluster(kubelet=False, feature_gates={"DeploymentPodReplacementPolicy": gates})
    strategy = {"type": kind}
    if kind == "RollingUpdate":
        strategy["rollingUpdate"] = {"maxSurge": 0, "maxUnavailable": 2}
    obj = workload(replicas=2, strategy=strategy)
    obj["metadata"]["annotations"] = {"kubedyno.io/pod-replacement-policy": policy} if policy else {}
    cluster.create(DEPLOYMENTS, obj)
    cluster.drain()
    for pod in cluster.pods():
        cluster.run(pod)
    cluster.drain()
    cluster.apply(DEPLOYMENTS, "w", template=template(image="nginx:2"))
    cluster.drain()
    return cluster


def sizes(cluster):
    return sorted(rs["spec"]["replicas"] for rs in cluster.all(REPLICASETS))


def let_go(cluster):
    for pod in cluster.pods():
        if pod.obj.deletion_s:
            cluster.trusted.finish_delete(PODS, pod.key, uid=pod.obj.uid)
    cluster.drain()


@pytest.mark.parametrize(("policy", "gates", "waits"), [
    ("", True, False), ("TerminationStarted", True, False), ("TerminationComplete", True, True),
    ("TerminationComplete", False, False),
])  # fmt: skip
def test_a_rolling_update_waits_for_terminating_pods_where_it_says_so(policy, gates, waits):
    cluster = rolling(policy, gates)
    assert sizes(cluster) == ([0, 0] if waits else [0, 2])
    let_go(cluster)
    assert sizes(cluster) == [0, 2]


@pytest.mark.parametrize(
    ("policy", "waits"), [("", True), ("TerminationComplete", True), ("TerminationStarted", False)]
)
def test_recreate_need_not_wait_where_it_says_so(policy, waits):
    cluster = rolling(policy, kind="Recreate")
    assert sizes(cluster) == ([0] if waits else [0, 2])
    let_go(cluster)
    assert sizes(cluster) == [0, 2]


@pytest.mark.parametrize(("settings", "counted"), [
    ({"version": "1.34"}, False), ({"version": "1.35"}, True),
    ({"version": "1.35", "feature_gates": {"DeploymentReplicaSetTerminatingReplicas": False}}, False),
    ({"version": "1.33", "feature_gates": {"DeploymentReplicaSetTerminatingReplicas": True}}, True),
])  # fmt: skip
def test_terminating_replicas_are_counted_by_version_and_gate(settings, counted):
    cluster = Cluster(kubelet=False, **settings)
    cluster.create(DEPLOYMENTS, workload(replicas=2))
    cluster.drain()
    for pod in cluster.pods():
        cluster.run(pod)
    cluster.drain()
    cluster.apply(DEPLOYMENTS, "w", replicas=1)
    cluster.drain()
    status = cluster.get(DEPLOYMENTS, "w", NS)["status"]
    assert status.get("terminatingReplicas") == (1 if counted else None)
