"""One object that fails: it holds up no other, shows in health and statuses, and is done once the reason is gone."""

import re

import pytest

from kubedyno.kube.resources import DEPLOYMENTS, NODES, PODS, REPLICASETS
from kubedyno.kube.status import Forbidden
from kubedyno.reconciler.health import Level
from kubedyno.reconciler.status import ERROR

from .conftest import NS, Cluster, workload


class Fault:
    """Makes a method of the door fail for objects whose name begins with "bad"."""

    def __init__(self, monkeypatch, cluster, method, name_of):
        self.on = True
        self.error = Forbidden("not while the fault is planted")
        real = getattr(cluster.trusted, method)

        def faulty(*args, **kwargs):
            if self.on and name_of(args, kwargs).startswith("bad"):
                raise self.error
            return real(*args, **kwargs)

        monkeypatch.setattr(cluster.trusted, method, faulty)


def reconciler(cluster, name):
    return next(one for one in cluster.pump.reconcilers if one.name == name)


def levels(cluster):
    return {name: (level, text) for name, level, text in cluster.pump.health.reports() if level is not Level.OK}


def failing(cluster, name):
    return {key: status.error for key, status in reconciler(cluster, name).statuses() if status.kind is ERROR}


def heals(cluster, fault, name):
    fault.on = False
    cluster.advance(1100)
    assert failing(cluster, name) == {}
    assert levels(cluster) == {}


def name_of_created(args, _kwargs):
    resource, _, obj = args
    if resource is not REPLICASETS:
        return ""
    return obj["metadata"]["name"] if isinstance(obj, dict) else obj.name


def test_deployments(cluster, monkeypatch):
    fault = Fault(monkeypatch, cluster, "create", name_of_created)
    for name in ("a", "bad", "z"):
        cluster.create(DEPLOYMENTS, workload(name, replicas=2))
    cluster.drain()
    assert sorted({name.partition("-")[0] for name in cluster.names(REPLICASETS)}) == ["a", "z"]
    errors = failing(cluster, "deployment")
    assert set(errors) == {f"{NS}/bad"}
    assert re.fullmatch(
        r'Failed to create new replica set "bad-\w+": not while the fault is planted', errors[f"{NS}/bad"]
    )
    assert levels(cluster)["controllers.deployment"] == (
        Level.DEGRADED, f"1 error(s): {NS}/bad: {errors[f'{NS}/bad']}",
    )  # fmt: skip
    heals(cluster, fault, "deployment")
    assert len(cluster.pods()) == 6


def test_a_defect_of_ours_is_no_different_and_is_logged(cluster, monkeypatch, caplog):
    fault = Fault(monkeypatch, cluster, "create", name_of_created)
    fault.error = ZeroDivisionError("a defect")
    for name in ("bad", "z"):
        cluster.create(DEPLOYMENTS, workload(name))
    cluster.drain()
    assert failing(cluster, "deployment") == {f"{NS}/bad": "a defect"}
    assert len(cluster.pods()) == 1
    assert any(record.exc_info for record in caplog.records)
    heals(cluster, fault, "deployment")
    assert len(cluster.pods()) == 2


def test_replicasets(cluster, monkeypatch):
    fault = Fault(monkeypatch, cluster, "create_pod", lambda _args, kwargs: kwargs["generate_name"])
    for name in ("a", "bad", "z"):
        cluster.create(REPLICASETS, workload(name, replicas=3))
    cluster.drain()
    assert len(cluster.pods()) == 6
    assert failing(cluster, "replicaset") == {f"{NS}/bad": "not while the fault is planted"}
    assert cluster.get(REPLICASETS, "bad")["status"]["conditions"][0]["reason"] == "FailedCreate"
    heals(cluster, fault, "replicaset")
    assert len(cluster.pods()) == 9
    assert "conditions" not in cluster.get(REPLICASETS, "bad")["status"]


def test_node_ipam_names_the_nodes_that_found_no_block():
    cluster = Cluster(pod_subnet="10.1.0.0/23")
    for name in ("a", "b", "c"):
        cluster.add_node(name)
        cluster.drain()
    error = "CIDRNotAvailable: no PodCIDR is left in the pod subnet"
    assert failing(cluster, "node-ipam") == {"c": error}
    assert levels(cluster)["controllers.node-ipam"] == (Level.DEGRADED, f"1 error(s): c: {error}")
    cluster.delete(NODES, "a")
    cluster.drain()
    assert failing(cluster, "node-ipam") == {}
    assert "controllers.node-ipam" not in levels(cluster)


def test_node_ipam_goes_on_beside_a_node_that_it_cannot_write(cluster, monkeypatch):
    fault = Fault(
        monkeypatch,
        cluster,
        "replace",
        lambda args, kwargs: args[1].key if args[0] is NODES and "body" in kwargs else "",
    )
    for name in ("bad", "n1", "n2"):
        cluster.add_node(name)
    cluster.drain()
    specs = {name: cluster.get(NODES, name)["spec"].get("podCIDR", "") for name in ("bad", "n1", "n2")}
    assert specs["bad"] == ""
    assert all(specs[name] for name in ("n1", "n2"))
    assert set(failing(cluster, "node-ipam")) == {"bad"}
    heals(cluster, fault, "node-ipam")
    assert cluster.get(NODES, "bad")["spec"]["podCIDR"]


def test_a_change_that_a_follower_fails_over_comes_again(cluster, monkeypatch, caplog):
    from kubedyno.cluster.controllers import deployments

    fault = {"on": True}
    real = deployments.DeploymentRow

    def row(obj):
        if fault["on"] and obj.name == "bad":
            raise ZeroDivisionError
        return real(obj)

    monkeypatch.setattr(deployments, "DeploymentRow", row)
    for name in ("bad", "z"):
        cluster.create(DEPLOYMENTS, workload(name))
    cluster.drain()
    assert [pod.obj.namespace for pod in cluster.pods()] == [NS]
    assert set(failing(cluster, "feeds")) == {f"deployments.apps {NS}/bad"}
    assert levels(cluster)["controllers.feeds"][0] is Level.DEGRADED
    fault["on"] = False
    cluster.advance(1100)
    assert failing(cluster, "feeds") == {}
    assert len(cluster.pods()) == 2
    assert any(record.exc_info for record in caplog.records)


def test_a_failed_change_of_what_is_gone_is_forgotten(cluster, monkeypatch):
    from kubedyno.cluster.controllers import deployments

    monkeypatch.setattr(deployments, "DeploymentRow", lambda _obj: 1 / 0)
    cluster.create(DEPLOYMENTS, workload("bad"))
    cluster.drain()
    cluster.delete(DEPLOYMENTS, "bad")
    cluster.advance(1100)
    assert failing(cluster, "feeds") == {}


def test_a_worker_whose_turn_fails_is_degraded_until_one_goes_well(cluster, caplog):
    fault = {"on": True}

    def step(_limit):
        if fault["on"]:
            raise ZeroDivisionError("oh")
        return False

    worker = cluster.pump.worker("clerk", step)
    worker.wake()
    cluster.drain()
    assert levels(cluster) == {"workers.clerk": (Level.DEGRADED, "oh")}
    fault["on"] = False
    worker.wake()
    cluster.drain()
    assert levels(cluster) == {}
    assert len(caplog.records) == 1


def test_all_parts_stop_with_the_pump(cluster):
    cluster.pump.stop()
    reports = list(cluster.pump.health.reports())
    assert len(reports) > 10
    assert {level for _, level, _ in reports} == {Level.STOPPED}


@pytest.mark.parametrize(
    "name",
    ["deployment", "replicaset", "node-ipam", "daemonset", "statefulset", "namespace", "garbage-absent", "feeds"],
)
def test_each_controller_is_among_the_reconcilers(cluster, name):
    assert reconciler(cluster, name).metrics.name == name
    assert (f"controllers.{name}", Level.OK, "") in list(cluster.pump.health.reports())


def test_names_of_reconcilers_are_unique(cluster):
    names = [one.name for one in cluster.pump.reconcilers]
    assert len(set(names)) == len(names)


def test_a_pod_that_fails_to_be_deleted_does_not_stop_the_others(cluster, monkeypatch):
    for name in ("bad", "z"):
        cluster.create(REPLICASETS, workload(name, replicas=2))
    cluster.drain()
    fault = Fault(
        monkeypatch, cluster, "delete", lambda args, _kwargs: args[1].partition("/")[2] if args[0] is PODS else ""
    )
    for name in ("bad", "z"):
        cluster.apply(REPLICASETS, name, replicas=0)
    cluster.drain()
    assert {pod.obj.name.partition("-")[0] for pod in cluster.pods()} == {"bad"}
    heals(cluster, fault, "replicaset")
    assert cluster.pods() == []
