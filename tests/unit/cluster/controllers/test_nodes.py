"""Nodes: PodCIDRs, taints by condition, silence."""

import pytest

from kubedyno.cluster.controllers.nodeipam import CidrBlocks
from kubedyno.kube.resources import EVENTS, LEASES, NODES, PODS, REPLICASETS

from .conftest import Cluster, workload


def taints(cluster: Cluster, name: str = "n1") -> set[tuple[str, str]]:
    found = cluster.get(NODES, name)["spec"].get("taints", [])
    return {(t["key"].removeprefix("node.kubernetes.io/"), t["effect"]) for t in found}


def cidrs(cluster: Cluster) -> dict[str, str]:
    return {n["metadata"]["name"]: n["spec"].get("podCIDR", "") for n in cluster.all(NODES)}


def node_events(cluster: Cluster, reason: str) -> list[str]:
    return [e["message"] for e in cluster.all(EVENTS, "default") if e["reason"] == reason]


def test_nodes_get_their_blocks_in_order(cluster):
    for name in ("b", "a", "c"):
        cluster.add_node(name)
        cluster.drain()
    assert cidrs(cluster) == {"b": "10.244.0.0/24", "a": "10.244.1.0/24", "c": "10.244.2.0/24"}
    assert cluster.get(NODES, "a")["spec"]["podCIDRs"] == ["10.244.1.0/24"]


def test_a_freed_block_comes_back_only_after_the_others(cluster):
    cluster = Cluster(pod_subnet="10.1.0.0/22", node_cidr_mask=24)
    for name in ("a", "b", "c"):
        cluster.add_node(name)
        cluster.drain()
    cluster.delete(NODES, "a")
    for name in ("d", "e"):
        cluster.add_node(name)
        cluster.drain()
    assert cidrs(cluster) == {"b": "10.1.1.0/24", "c": "10.1.2.0/24", "d": "10.1.3.0/24", "e": "10.1.0.0/24"}


def test_without_a_free_block_the_node_says_so_until_one_is_free():
    cluster = Cluster(pod_subnet="10.1.0.0/23")
    for name in ("a", "b", "c"):
        cluster.add_node(name)
        cluster.drain()
    assert cidrs(cluster)["c"] == ""
    assert node_events(cluster, "CIDRNotAvailable") == ["Node c status is now: CIDRNotAvailable"]
    cluster.delete(NODES, "a")
    cluster.drain()
    assert cidrs(cluster)["c"] == "10.1.0.0/24"


def test_no_blocks_are_handed_out_when_that_is_off():
    cluster = Cluster(allocate_node_cidrs=False)
    cluster.add_node("a")
    cluster.drain()
    assert cidrs(cluster) == {"a": ""}


def test_blocks_that_nodes_have_already_are_not_given_again(cluster):
    node = {"metadata": {"name": "old"}, "spec": {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24"]}}
    cluster.create(NODES, node)
    cluster.add_node("new")
    cluster.drain()
    assert cidrs(cluster)["new"] == "10.244.1.0/24"


def test_a_subnet_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="smaller than a node's block of /24"):
        CidrBlocks("10.0.0.0/26", 24)
    with pytest.raises(ValueError, match="the node CIDR size is too big"):
        CidrBlocks("10.0.0.0/8", 28)
    assert CidrBlocks("fd00::/48", 64).allocate() == "fd00::/64"


def test_a_node_is_registered_and_untainted_once_it_is_ready(cluster):
    cluster.add_node("n1", ready="False")
    cluster.drain()
    assert taints(cluster) == {("not-ready", "NoSchedule")}
    assert node_events(cluster, "RegisteredNode") == ["Node n1 event: Registered Node n1 in Controller"]
    cluster.set_node_ready("n1", "True")
    cluster.drain()
    assert taints(cluster) == set()
    cluster.delete(NODES, "n1")
    cluster.drain()
    assert node_events(cluster, "RemovingNode") == ["Node n1 event: Removing Node n1 from Controller"]


def test_conditions_and_cordons_become_taints(cluster):
    cluster.add_node("n1")
    record = cluster.store.get(NODES, "n1")
    status = cluster.store.encode_dict(NODES, record)["status"]
    status["conditions"].append({"type": "DiskPressure", "status": "True"})
    cluster.trusted.replace_status(NODES, record, status)
    cluster.apply(NODES, "n1", unschedulable=True)
    cluster.drain()
    assert taints(cluster) == {("disk-pressure", "NoSchedule"), ("unschedulable", "NoSchedule")}
    cluster.apply(
        NODES,
        "n1",
        unschedulable=False,
        taints=[*cluster.get(NODES, "n1")["spec"]["taints"], {"key": "own", "effect": "NoSchedule"}],
    )
    cluster.drain()
    assert taints(cluster) == {("disk-pressure", "NoSchedule"), ("own", "NoSchedule")}


def test_a_node_that_stays_not_ready_evicts_unless_all_are_so(cluster):
    cluster.add_node("n1", ready="False")
    cluster.advance(6)
    assert taints(cluster) == {("not-ready", "NoSchedule")}
    cluster.add_node("n2")
    cluster.advance(6)
    assert taints(cluster) == {("not-ready", "NoSchedule"), ("not-ready", "NoExecute")}
    cluster.set_node_ready("n1", "True")
    cluster.drain()
    assert taints(cluster) == set()


def lease(cluster: Cluster, name: str) -> None:
    cluster.create(LEASES, {"metadata": {"name": name}, "spec": {"holderIdentity": name}}, "kube-node-lease")


def renew(cluster: Cluster, name: str) -> None:
    record = cluster.store.get(LEASES, f"kube-node-lease/{name}")
    body = {"spec": {"holderIdentity": name, "leaseTransitions": record.revision}}
    cluster.trusted.replace(LEASES, record, body=body)


def test_a_node_that_falls_silent_becomes_unknown_and_its_pods_not_ready(cluster):
    for name in ("n1", "n2"):
        cluster.add_node(name)
        lease(cluster, name)
    cluster.create(REPLICASETS, workload())
    cluster.drain()
    for _ in range(8):
        cluster.advance(8)
        renew(cluster, "n2")
    ready = next(c for c in cluster.get(NODES, "n1")["status"]["conditions"] if c["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("Unknown", "NodeStatusUnknown")
    assert ready["message"] == "Kubelet stopped posting node status."
    assert taints(cluster) == {("unreachable", "NoSchedule"), ("unreachable", "NoExecute")}
    assert taints(cluster, "n2") == set()
    assert [pod.obj.facts.ready for pod in cluster.pods()] == [False]
    assert cluster.events("Pod", "NodeNotReady") == ["Node is not ready"]
    assert node_events(cluster, "NodeNotReady") == ["Node n1 status is now: NodeNotReady"]


def test_leases_keep_a_node_from_being_thought_silent(cluster):
    cluster.add_node("n1")
    lease(cluster, "n1")
    for _ in range(20):
        cluster.advance(10)
        renew(cluster, "n1")
    assert taints(cluster) == set()


def test_a_process_that_stood_still_blames_no_node(cluster):
    cluster.add_node("n1")
    cluster.drain()
    cluster.clock.now_s += 3600
    cluster.drain()
    cluster.advance(20)
    assert taints(cluster) == set()


def test_a_node_that_never_posted_a_status_becomes_unknown_later(cluster):
    cluster.create(NODES, {"metadata": {"name": "n1"}})
    cluster.advance(55)
    assert taints(cluster) == {("not-ready", "NoSchedule")}
    cluster.advance(15)
    ready = next(c for c in cluster.get(NODES, "n1")["status"]["conditions"] if c["type"] == "Ready")
    assert ready["reason"] == "NodeStatusNeverUpdated"
    assert taints(cluster) == {("unreachable", "NoSchedule")}


def test_events_go_after_an_hour(cluster):
    cluster.create(REPLICASETS, workload())
    cluster.drain()
    assert cluster.events("ReplicaSet") != []
    cluster.advance(3620)
    assert cluster.events("ReplicaSet") == []
    assert len(cluster.store.list(PODS, "ns")) == 1


def test_pods_of_a_node_that_stays_away_are_removed(cluster):
    cluster.add_node("n1")
    cluster.create(REPLICASETS, workload(replicas=40))
    cluster.drain()
    cluster._kubelet.step = lambda limit: False
    before = {pod.obj.name for pod in cluster.pods()}
    cluster.delete(NODES, "n1")
    cluster.advance(39)
    assert {pod.obj.name for pod in cluster.pods()} == before
    cluster.advance(2)
    after = {pod.obj.name for pod in cluster.pods()}
    assert (len(after), after & before) == (40, set())


def test_pods_of_a_node_that_comes_back_stay(cluster):
    cluster.add_node("n1")
    cluster.create(REPLICASETS, workload(replicas=2))
    cluster.drain()
    before = cluster.names(PODS)
    cluster.delete(NODES, "n1")
    cluster.advance(20)
    cluster.add_node("n1")
    cluster.advance(60)
    assert cluster.names(PODS) == before
