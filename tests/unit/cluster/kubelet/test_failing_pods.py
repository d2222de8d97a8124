"""A pod or node that fails: the others go on, it is seen, and it is done once the reason is gone."""

import pytest

from kubedyno.kube.resources import LEASES, NODES, PODS
from kubedyno.kube.status import Forbidden
from kubedyno.reconciler.health import Level
from kubedyno.reconciler.status import ERROR

from .conftest import NS


class Fault:
    """Makes writes of what is named "bad" fail."""

    def __init__(self, monkeypatch, sim, methods, resource, names=("bad",)):
        self.on = True
        self.hits = 0
        for method in methods:
            self.plant(monkeypatch, sim.trusted, method, resource, names)

    def plant(self, monkeypatch, trusted, method, resource, names):
        real = getattr(trusted, method)

        def faulty(*args, **kwargs):
            first = args[0]
            target, what = (PODS, args[0]) if method == "form_status" else (first, args[1])
            key = what if isinstance(what, str) else what.key
            if self.on and target is resource and key.rpartition("/")[2] in names:
                self.hits += 1
                raise Forbidden("not while the fault is planted")
            return real(*args, **kwargs)

        monkeypatch.setattr(trusted, method, faulty)


def reconciler(sim, name):
    return next(one for one in sim.pump.reconcilers if one.name == name)


def failing(sim, name="kubelet-pods"):
    return {key: status.error for key, status in reconciler(sim, name).statuses() if status.kind is ERROR}


def degraded(sim):
    return {name for name, level, _ in sim.pump.health.reports() if level is Level.DEGRADED}


STATUSES = ["replace_status", "form_status"]


@pytest.mark.parametrize("speed", [0, 1])
def test_a_pod_whose_status_cannot_be_written(make, monkeypatch, speed):
    sim = make(speed=speed)
    fault = Fault(monkeypatch, sim, STATUSES, PODS)
    for name in ("a", "bad", "z"):
        sim.create(name)
    sim.run(30)
    assert sim.pod("a")["phase"] == sim.pod("z")["phase"] == "Running"
    assert failing(sim) == {f"{NS}/bad": "not while the fault is planted"}
    assert degraded(sim) == {"kubelet.kubelet-pods"}
    assert fault.hits > 1
    fault.on = False
    sim.run(30)
    assert sim.pod("bad")["phase"] == "Running"
    assert failing(sim) == {}
    assert degraded(sim) == set()
    # What the failed beginnings had taken was given back.
    node = sim.nodes._rows["n0"]
    assert node.pods == 3
    addresses = {sim.pod(name)["podIP"] for name in ("a", "bad", "z")}
    assert len(addresses) == 3


def test_a_pod_that_cannot_be_removed(make, monkeypatch):
    sim = make()
    for name in ("a", "bad", "z"):
        sim.create(name)
    sim.run()
    fault = Fault(monkeypatch, sim, ["finish_delete"], PODS)
    for name in ("a", "bad", "z"):
        sim.delete(name)
    sim.run(5)
    assert sim.gone("a")
    assert sim.gone("z")
    assert not sim.gone("bad")
    assert set(failing(sim)) == {f"{NS}/bad"}
    fault.on = False
    sim.run(30)
    assert sim.gone("bad")
    assert failing(sim) == {}
    assert sim.nodes._rows["n0"].pods == 0


def test_a_pod_whose_last_status_cannot_be_written(make, monkeypatch):
    sim = make(speed=1)
    sim.create("bad")
    sim.run(30)
    fault = Fault(monkeypatch, sim, STATUSES, PODS)
    sim.delete("bad", grace_s=1)
    sim.run(30)
    assert not sim.gone("bad")
    assert set(failing(sim)) == {f"{NS}/bad"}
    fault.on = False
    sim.run(60)
    assert sim.gone("bad")
    assert failing(sim) == {}
    assert sim.nodes._rows["n0"].pods == 0


def test_a_failing_pod_that_is_gone_is_forgotten(make, monkeypatch):
    sim = make()
    Fault(monkeypatch, sim, STATUSES, PODS)
    sim.create("bad")
    sim.run(1)
    assert failing(sim)
    sim.trusted.finish_delete(PODS, f"{NS}/bad")
    sim.run(30)
    assert failing(sim) == {}
    assert sim.nodes.pods.runs == {}


def test_a_node_that_cannot_be_written_holds_up_no_other(make, monkeypatch):
    sim = make(nodes=3, cidr=None)
    fault = Fault(monkeypatch, sim, ["replace_status"], NODES, names=("n1",))
    for i in range(3):
        sim.set_cidr(f"10.244.{i}.0/24", f"n{i}")
    ready = {f"n{i}": [c["status"] for c in sim.node(f"n{i}")["status"]["conditions"]][-1] for i in range(3)}
    assert ready == {"n0": "True", "n1": "False", "n2": "True"}
    assert set(failing(sim, "kubelet-nodes")) == {"n1"}
    told = []
    sim.nodes.on_all_ready = lambda: told.append(True)
    fault.on = False
    sim.run(30)
    assert failing(sim, "kubelet-nodes") == {}
    assert sim.node("n1")["status"]["conditions"][-1]["status"] == "True"
    assert told == [True]


def test_a_lease_that_cannot_be_renewed_holds_up_no_other(make, monkeypatch):
    sim = make(nodes=2)
    fault = Fault(monkeypatch, sim, ["replace"], LEASES, names=("n0",))
    before = {name: sim.store.get(LEASES, f"kube-node-lease/{name}").revision for name in ("n0", "n1")}
    sim.run(15)
    now = {name: sim.store.get(LEASES, f"kube-node-lease/{name}").revision for name in ("n0", "n1")}
    assert now["n0"] == before["n0"]
    assert now["n1"] > before["n1"]
    assert set(failing(sim, "kubelet-leases")) == {"n0"}
    fault.on = False
    sim.run(15)
    assert failing(sim, "kubelet-leases") == {}


def test_a_mirror_that_the_api_refuses_is_tried_again(make, monkeypatch):
    sim = make()
    real, fault = sim.registry.create, {"on": True}

    def create(resource, namespace, obj, *args, **kwargs):
        if fault["on"] and resource is PODS:
            raise Forbidden("no mirrors today")
        return real(resource, namespace, obj, *args, **kwargs)

    monkeypatch.setattr(sim.registry, "create", create)
    manifest = {
        "metadata": {"name": "etcd", "namespace": "kube-system"},
        "spec": {"containers": [{"name": "c", "image": "e"}]},
    }
    sim.nodes.mirrors.add("n0", manifest)
    sim.run(5)
    assert failing(sim, "kubelet-mirrors") == {"n0 kube-system/etcd-n0": "no mirrors today"}
    fault["on"] = False
    sim.run(15)
    assert sim.pod("etcd-n0", "kube-system")["phase"] == "Running"
    assert failing(sim, "kubelet-mirrors") == {}


def test_a_kubelet_too_far_behind_looks_at_everything_again(make):
    sim = make()
    sim.create("a")
    sim.run()
    from kubedyno.statedb.errors import ExpiredError

    class Expired:
        behind = True

        def next(self, _limit):
            raise ExpiredError("too far behind")

    sim.nodes._pod_changes = Expired()
    sim.trusted.finish_delete(PODS, f"{NS}/a")
    sim.create("b")
    sim.run(1)
    assert set(sim.nodes.pods.runs) == {f"{NS}/b"}
    assert sim.pod("b")["phase"] == "Running"


def test_a_kubelet_that_does_not_start_is_a_stopped_part(make):
    sim = make(nodes=2)
    good = sim.nodes.config_text("n1")
    sim.nodes.write_config("n1", "maxPods: [")
    assert sim.nodes.restart("n1")["state"] == "failed"
    stopped = [(name, text) for name, level, text in sim.pump.health.reports() if level is Level.STOPPED]
    assert [name for name, _ in stopped] == ["kubelet.n1"]
    assert stopped[0][1] == sim.nodes.status("n1")["error"]
    sim.nodes.write_config("n1", good)
    sim.nodes.restart("n1")
    assert all(level is Level.OK for _, level, _ in sim.pump.health.reports())
