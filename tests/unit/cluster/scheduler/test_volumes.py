"""Pods with volumes: where they may run, what is said when they may not, and what the choice of a node decides."""

import pytest

from kubedyno.kube.resources import CLAIMS, CSIDRIVERS, CSINODES, CSISTORAGECAPACITIES, PODS, STORAGECLASSES, VOLUMES
from kubedyno.kube.status import Forbidden

BIND = "pv.kubernetes.io/bind-completed"
NODE = "volume.kubernetes.io/selected-node"
ZONE = "topology.kubernetes.io/zone"
NOT_HELPFUL = "1 Preemption is not helpful for scheduling."


def storage_class(sim, name="later", mode="WaitForFirstConsumer", provisioner="kubedyno.io/disk", **more):
    obj = {"metadata": {"name": name}, "provisioner": provisioner, "volumeBindingMode": mode, **more}
    sim.do(sim.registry.create, STORAGECLASSES, "", obj)


def claim(sim, name="data", storage_class="later", size="1Gi", modes=("ReadWriteOnce",), volume=""):
    spec = {"accessModes": list(modes), "resources": {"requests": {"storage": size}}, "storageClassName": storage_class}
    if volume:
        spec["volumeName"] = volume
    sim.do(sim.registry.create, CLAIMS, "ns", {"metadata": {"name": name}, "spec": spec})


def volume(sim, name="v", storage_class="later", hosts=(), labels=None, claim="", **source):
    spec = {
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
        "storageClassName": storage_class, **(source or {"hostPath": {"path": "/x"}}),
    }  # fmt: skip
    if hosts:
        term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": list(hosts)}]}
        spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": [term]}}
    if claim:
        spec["claimRef"] = {"namespace": "ns", "name": claim}
    sim.do(sim.registry.create, VOLUMES, "", {"metadata": {"name": name, "labels": labels or {}}, "spec": spec})
    record = sim.store.get(VOLUMES, name)
    sim.do(sim.trusted.replace_status, VOLUMES, record, {"phase": "Bound" if claim else "Available"})


def bind(sim, name="data", to="v"):
    """Do what the controller does."""
    record = sim.store.get(CLAIMS, f"ns/{name}")
    obj = sim.store.encode_dict(CLAIMS, record)
    annotations = {**obj["metadata"].get("annotations", {}), BIND: "yes"}
    spec = {**obj["spec"], "volumeName": to}
    sim.do(sim.trusted.replace, CLAIMS, record, body={"spec": spec}, annotations=annotations)
    sim.do(sim.trusted.replace_status, CLAIMS, sim.store.get(CLAIMS, f"ns/{name}"), {"phase": "Bound"})


def bound(sim, name="data", to="v", **parts):
    claim(sim, name, volume=to)
    volume(sim, to, claim=name, **parts)
    bind(sim, name, to)


def pod(sim, name="p", *claims, **spec):
    volumes = [{"name": f"v{i}", "persistentVolumeClaim": {"claimName": c}} for i, c in enumerate(claims or ("data",))]
    sim.pod(name, volumes=volumes, **spec)


def said(sim, name="p"):
    return sim.condition(name).get("message")


def test_a_claim_that_is_missing(sim):
    sim.node()
    pod(sim)
    assert said(sim) == '0/1 nodes are available: persistentvolumeclaim "data" not found. not found'


@pytest.mark.parametrize(
    ("version", "tail"),
    [("1.33", f"preemption: 0/1 nodes are available: {NOT_HELPFUL}"), ("1.34", "not found"), ("1.36", "not found")],
)
def test_an_unbound_claim_of_a_class_that_does_not_wait(simulate, version, tail):
    sim = simulate(version)
    sim.node()
    storage_class(sim, "now", "Immediate", "example.com/none")
    claim(sim, storage_class="now")
    pod(sim)
    assert said(sim) == f"0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. {tail}"
    volume(sim, claim="data", storage_class="now")
    bind(sim)
    sim.advance(2)
    assert sim.node_of("p") == "n1"


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("1.34", "node(s) had volume node affinity conflict"),
        ("1.35", "node(s) didn't match PersistentVolume's node affinity"),
    ],
)
def test_a_bound_volume_chooses_the_node(simulate, version, words):
    sim = simulate(version)
    sim.node("n1")
    bound(sim, hosts=["n2"])
    pod(sim)
    assert said(sim) == (
        f"0/1 nodes are available: 1 {words}. no new claims to deallocate, preemption: 0/1 nodes are available: "
        f"{NOT_HELPFUL}"
    )
    sim.node("n2")
    sim.advance(2)
    assert sim.node_of("p") == "n2"


def test_a_volume_that_is_gone(sim):
    sim.node()
    bound(sim)
    sim.do(sim.trusted.replace, VOLUMES, sim.store.get(VOLUMES, "v"), finalizers=[])
    sim.do(sim.trusted.delete, VOLUMES, "v")
    pod(sim)
    assert "1 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)." in said(sim)


def test_a_lost_claim(sim):
    sim.node()
    bound(sim)
    sim.do(sim.trusted.replace_status, CLAIMS, sim.store.get(CLAIMS, "ns/data"), {"phase": "Lost"})
    pod(sim)
    assert 'persistentvolumeclaim "data" bound to non-existent persistentvolume "v"' in said(sim)


def test_a_provisioner_is_told_the_node_and_the_pod_waits_for_it(sim):
    sim.node("n1")
    storage_class(sim)
    claim(sim)
    pod(sim)
    annotations = sim.store.encode_dict(CLAIMS, sim.store.get(CLAIMS, "ns/data"))["metadata"]["annotations"]
    assert annotations[NODE] == "n1"
    assert (sim.node_of("p"), sim.events("p", "Scheduled"), sim.events("p")) == ("", [], [])
    volume(sim, claim="data", hosts=["n1"])
    bind(sim)
    assert sim.node_of("p") == "n1"
    assert len(sim.events("p", "Scheduled")) == 1


def test_a_policy_that_refuses_the_claim_puts_the_pod_back(sim):
    class Refusing:
        def passed(self, *_):
            raise Forbidden("no such node")

    sim.node("n1")
    storage_class(sim)
    claim(sim)
    sim.registry.own_gate = lambda resource, _: Refusing() if resource is CLAIMS else None
    pod(sim)
    (event,) = sim.events("p")
    assert event["message"] == 'running PreBind plugin "VolumeBinding": no such node'
    sim.registry.own_gate = lambda _, __: None
    sim.advance(11)
    assert sim.store.encode_dict(CLAIMS, sim.store.get(CLAIMS, "ns/data"))["metadata"]["annotations"][NODE] == "n1"


def test_room_of_a_pod_that_waits_for_its_volume_is_taken(sim):
    sim.node(cpu="1")
    storage_class(sim)
    claim(sim)
    pod(sim, cpu="1")
    sim.pod("other", cpu="1")
    assert "1 Insufficient cpu" in said(sim, "other")
    sim.delete("p")
    sim.advance(2)
    assert sim.node_of("other") == "n1"


def test_volumes_that_are_not_bound_in_time(sim):
    sim.node()
    storage_class(sim)
    claim(sim)
    pod(sim)
    sim.advance(601)
    (event,) = sim.events("p")
    assert event["message"] == 'running PreBind plugin "VolumeBinding": binding volumes: context deadline exceeded'
    assert sim.condition("p")["reason"] == "SchedulerError"
    volume(sim, claim="data")
    bind(sim)
    sim.advance(11)
    assert sim.node_of("p") == "n1"


def test_a_free_volume_on_the_right_node_is_reserved(sim):
    sim.node("n1")
    sim.node("n2", cpu="1")
    storage_class(sim, provisioner="kubernetes.io/no-provisioner")
    claim(sim)
    volume(sim, "local", hosts=["n2"])
    pod(sim)
    spec = sim.store.encode_dict(VOLUMES, sim.store.get(VOLUMES, "local"))["spec"]
    assert (spec["claimRef"]["name"], spec["claimRef"]["namespace"]) == ("data", "ns")
    bind(sim, to="local")
    assert sim.node_of("p") == "n2"


def test_two_claims_do_not_share_a_volume(sim):
    sim.node("n1")
    storage_class(sim, provisioner="kubernetes.io/no-provisioner")
    claim(sim, "a")
    claim(sim, "b")
    volume(sim, "one", hosts=["n1"])
    pod(sim, "p", "a", "b")
    assert "1 node(s) didn't find available persistent volumes to bind." in said(sim)


def test_a_class_is_for_some_topology(sim):
    sim.node("n1", labels={ZONE: "a"})
    topology = [{"matchLabelExpressions": [{"key": ZONE, "values": ["b"]}]}]
    storage_class(sim, allowedTopologies=topology)
    claim(sim)
    pod(sim)
    assert "1 node(s) didn't find available persistent volumes to bind." in said(sim)
    sim.node("n2", labels={ZONE: "b"})
    sim.advance(2)
    annotations = sim.store.encode_dict(CLAIMS, sim.store.get(CLAIMS, "ns/data"))["metadata"]["annotations"]
    assert annotations[NODE] == "n2"


def test_a_driver_that_counts_its_storage(sim):
    sim.node("n1")
    storage_class(sim, provisioner="csi.example.com")
    sim.do(sim.registry.create, CSIDRIVERS, "", {
        "metadata": {"name": "csi.example.com"}, "spec": {"storageCapacity": True},
    })  # fmt: skip
    claim(sim)
    pod(sim)
    assert "1 node(s) did not have enough free storage." in said(sim)
    sim.do(sim.registry.create, CSISTORAGECAPACITIES, "ns", {
        "metadata": {"name": "c"}, "storageClassName": "later", "capacity": "5Gi", "nodeTopology": {},
    })  # fmt: skip
    sim.advance(2)
    assert NODE in sim.store.encode_dict(CLAIMS, sim.store.get(CLAIMS, "ns/data"))["metadata"]["annotations"]


def test_a_volume_of_another_zone(sim):
    sim.node("n1", labels={ZONE: "a"})
    bound(sim, labels={ZONE: "b"})
    pod(sim)
    assert "1 node(s) had no available volume zone." in said(sim)


def test_a_claim_for_one_pod_alone(sim):
    sim.node("n1")
    sim.node("n2")
    claim(sim, modes=["ReadWriteOncePod"], volume="v")
    volume(sim, claim="data")
    bind(sim)
    pod(sim, "first")
    pod(sim, "second")
    assert "2 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode." in said(
        sim, "second"
    )
    sim.do(sim.trusted.finish_delete, PODS, "ns/first")
    sim.advance(2)
    assert sim.node_of("second")


def test_a_driver_attaches_so_many_and_no_more(sim):
    sim.node("n1")
    driver = {"name": "csi.example.com", "nodeID": "n1", "allocatable": {"count": 1}}
    sim.do(sim.registry.create, CSINODES, "", {"metadata": {"name": "n1"}, "spec": {"drivers": [driver]}})
    for name in ("a", "b"):
        bound(sim, name, f"v{name}", csi={"driver": "csi.example.com", "volumeHandle": name})
    pod(sim, "one", "a")
    pod(sim, "again", "a")
    pod(sim, "two", "b")
    assert (sim.node_of("one"), sim.node_of("again")) == ("n1", "n1")
    assert "1 node(s) exceed max volume count." in said(sim, "two")
    sim.do(sim.trusted.finish_delete, PODS, "ns/one")
    sim.do(sim.trusted.finish_delete, PODS, "ns/again")
    sim.advance(2)
    assert sim.node_of("two") == "n1"


def test_a_claim_that_its_controller_has_not_made_yet(sim):
    sim.node()
    template = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
    sim.pod("p", volumes=[{"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}])
    words = 'waiting for ephemeral volume controller to create the persistentvolumeclaim "p-scratch"'
    assert words in said(sim)


def test_a_claim_that_any_node_can_have_costs_no_look_at_all_of_them(sim):
    for i in range(50):
        sim.node(f"n{i}")
    storage_class(sim)
    claim(sim)
    pod(sim)
    assert sim.scheduler._cycles["default-scheduler"].looked_at == 1
    assert NODE in sim.store.encode_dict(CLAIMS, sim.store.get(CLAIMS, "ns/data"))["metadata"]["annotations"]
