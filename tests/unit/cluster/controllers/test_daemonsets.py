"""DaemonSets: which nodes get a pod, and how the pods are replaced."""

import pytest

from kubedyno.cluster.controllers.placement import selects, untolerated
from kubedyno.kube.resources import CONTROLLERREVISIONS, DAEMONSETS, NODES, PODS

from .conftest import Cluster, template, workload


@pytest.fixture
def cluster() -> Cluster:
    cluster = Cluster()
    for name in ("n1", "n2", "n3"):
        cluster.add_node(name, labels={"zone": name})
    cluster.drain()
    return cluster


def placed(cluster: Cluster) -> list[str]:
    return sorted(pod.obj.facts.node_name or pod.obj.facts.pinned_node for pod in cluster.pods())


def images(cluster: Cluster) -> dict[str, str]:
    pods = cluster.all(PODS)
    return {p["spec"]["nodeName"]: p["spec"]["containers"][0]["image"] for p in pods}


def test_each_node_gets_a_pod_and_the_status_counts_them(cluster):
    cluster.create(DAEMONSETS, workload())
    cluster.drain()
    assert placed(cluster) == ["n1", "n2", "n3"]
    assert cluster.get(DAEMONSETS, "w")["status"] == {
        "currentNumberScheduled": 3, "numberMisscheduled": 0, "desiredNumberScheduled": 3, "numberReady": 3,
        "observedGeneration": 1, "updatedNumberScheduled": 3, "numberAvailable": 3,
    }  # fmt: skip


def test_its_pods_are_pinned_labelled_and_tolerant_as_recorded(cluster):
    cluster.create(DAEMONSETS, workload())
    cluster.drain()
    (revision,) = cluster.all(CONTROLLERREVISIONS)
    pod = cluster.all(PODS)[0]
    hashed = revision["metadata"]["name"].removeprefix("w-")
    assert pod["metadata"]["labels"] == {"a": "b", "controller-revision-hash": hashed, "pod-template-generation": "1"}
    terms = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    field = {"key": "metadata.name", "operator": "In", "values": [pod["spec"]["nodeName"]]}
    assert terms == {"nodeSelectorTerms": [{"matchFields": [field]}]}
    assert [(t["key"].removeprefix("node.kubernetes.io/"), t["effect"]) for t in pod["spec"]["tolerations"]] == [
        ("not-ready", "NoExecute"), ("unreachable", "NoExecute"), ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"), ("pid-pressure", "NoSchedule"), ("unschedulable", "NoSchedule"),
    ]  # fmt: skip


def test_new_nodes_get_a_pod_and_nodes_that_go_lose_it(cluster):
    cluster.create(DAEMONSETS, workload())
    cluster.add_node("n4")
    cluster.drain()
    assert placed(cluster) == ["n1", "n2", "n3", "n4"]
    cluster.delete(NODES, "n1")
    cluster.drain()
    assert placed(cluster) == ["n2", "n3", "n4"]
    assert cluster.get(DAEMONSETS, "w")["status"]["desiredNumberScheduled"] == 3


def test_selector_and_taints_choose_nodes(cluster):
    cluster.create(DAEMONSETS, workload(template=template(nodeSelector={"zone": "n2"})))
    cluster.drain()
    assert placed(cluster) == ["n2"]
    cluster.apply(NODES, "n2", taints=[{"key": "k", "value": "v", "effect": "NoSchedule"}])
    cluster.drain()
    # A taint that only keeps pods away leaves those that are there.
    assert placed(cluster) == ["n2"]
    assert cluster.get(DAEMONSETS, "w")["status"]["numberMisscheduled"] == 1
    cluster.apply(NODES, "n2", taints=[{"key": "k", "value": "v", "effect": "NoExecute"}])
    cluster.drain()
    assert placed(cluster) == []


def test_a_node_that_is_not_ready_yet_gets_its_pod_when_it_is(cluster):
    cluster.create(DAEMONSETS, workload())
    cluster.add_node("n4", ready="False")
    cluster.drain()
    assert "n4" not in placed(cluster)
    cluster.set_node_ready("n4", "True")
    cluster.drain()
    assert "n4" in placed(cluster)


def test_a_rollout_replaces_one_node_at_a_time(cluster):
    cluster.create(DAEMONSETS, workload())
    cluster.drain()
    least = []
    cluster.store.table(PODS).subscribe(lambda: least.append(sum(p.obj.facts.ready for p in cluster.pods())))
    cluster.apply(DAEMONSETS, "w", template=template(image="nginx:2"))
    cluster.drain()
    assert images(cluster) == dict.fromkeys(("n1", "n2", "n3"), "nginx:2")
    assert min(least) == 2
    labels = {p["metadata"]["labels"]["pod-template-generation"] for p in cluster.all(PODS)}
    assert labels == {"2"}
    assert len(cluster.all(CONTROLLERREVISIONS)) == 2


def test_a_rollout_with_surge_never_lacks_a_pod(cluster):
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    cluster.create(DAEMONSETS, workload(updateStrategy=strategy))
    cluster.drain()
    ready, total = [], []

    def look() -> None:
        ready.append(len({p.obj.facts.node_name for p in cluster.pods() if p.obj.facts.ready}))
        total.append(sum(not p.obj.deletion_s for p in cluster.pods()))

    cluster.store.table(PODS).subscribe(look)
    cluster.apply(DAEMONSETS, "w", template=template(image="nginx:2"))
    cluster.drain()
    assert images(cluster) == dict.fromkeys(("n1", "n2", "n3"), "nginx:2")
    assert (min(ready), max(total)) == (3, 4)
    assert len(cluster.pods()) == 3


def test_on_delete_waits_for_somebody_to_delete_the_pods(cluster):
    cluster.create(DAEMONSETS, workload(updateStrategy={"type": "OnDelete"}))
    cluster.drain()
    cluster.apply(DAEMONSETS, "w", template=template(image="nginx:2"))
    cluster.drain()
    assert set(images(cluster).values()) == {"nginx:1"}
    victim = next(p for p in cluster.pods() if p.obj.facts.node_name == "n2")
    cluster.delete(PODS, victim.obj.name)
    cluster.drain()
    assert images(cluster)["n2"] == "nginx:2"


def test_a_failed_pod_is_replaced_with_an_event(cluster):
    cluster.create(DAEMONSETS, workload())
    cluster.drain()
    failed = cluster.pods()[0]
    cluster.set_ready(failed, ready=False, phase="Failed")
    cluster.drain()
    assert failed.obj.name not in cluster.names(PODS)
    assert placed(cluster) == ["n1", "n2", "n3"]
    (message,) = cluster.events("DaemonSet", "FailedDaemonPod")
    assert message.startswith(f"Found failed daemon pod ns/{failed.obj.name} on node n")


def test_affinity_terms_are_alternatives_of_all_their_requirements():
    def spec(*terms):
        required = {"nodeSelectorTerms": list(terms)}
        return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}

    def term(key, operator, *values):
        return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}

    labels = {"z": "a", "n": "5"}
    assert selects(spec(term("z", "In", "b"), term("n", "Gt", "4")), "x", labels)
    assert not selects(spec(term("z", "NotIn", "a")), "x", labels)
    assert not selects(spec(term("n", "Lt", "5")), "x", labels)
    assert selects(spec(term("q", "DoesNotExist")), "x", labels)
    assert not selects(spec(), "x", labels)
    assert not selects(spec({}), "x", labels)


def test_a_toleration_without_key_tolerates_everything():
    taint = ("k", "v", "NoSchedule")
    assert not untolerated([{"operator": "Exists"}], [taint], evicting=False)
    assert untolerated([{"key": "k", "value": "w"}], [taint], evicting=False)
    assert not untolerated([], [taint], evicting=True)


def test_a_pod_that_succeeded_is_told_and_made_again():
    cluster = Cluster()
    cluster.add_node("n1")
    cluster.create(DAEMONSETS, workload())
    cluster.drain()
    (pod,) = cluster.pods()
    cluster.set_ready(pod, ready=False, phase="Succeeded")
    cluster.drain()
    assert cluster.events("DaemonSet", "SucceededDaemonPod") == [
        f"Found succeeded daemon pod {pod.key} on node n1, will try to delete it"
    ]
    (again,) = cluster.pods()
    assert again.obj.uid != pod.obj.uid
