"""Writes of the kubelet that fail at random for a while: then all pods are what they should be, and nothing is lost."""

from random import Random

import pytest

from kubedyno.kube.resources import PODS
from kubedyno.kube.status import Conflict, Forbidden
from kubedyno.reconciler.health import Level

from .conftest import NS

METHODS = ("create", "replace", "replace_status", "form_status", "finish_delete", "event")


@pytest.fixture
def stormy(make, monkeypatch, caplog):
    caplog.set_level("CRITICAL")

    def start(seed, **settings):
        sim = make(**settings)
        random, weather = Random(seed), {"share": 0.0, "hits": 0}

        def plant(method):
            real = getattr(sim.trusted, method)

            def faulty(*args, **kwargs):
                if random.random() < weather["share"]:
                    weather["hits"] += 1
                    raise random.choice((Conflict("storm"), Forbidden("storm"), ZeroDivisionError("storm")))
                return real(*args, **kwargs)

            monkeypatch.setattr(sim.trusted, method, faulty)

        for method in METHODS:
            plant(method)
        return sim, weather

    return start


def check(sim, living):
    assert [report for report in sim.pump.health.reports() if report[1] is not Level.OK] == []
    statuses = {name: sim.pod(name) for name in living}
    assert {name: status["phase"] for name, status in statuses.items()} == dict.fromkeys(living, "Running")
    assert len({status["podIP"] for status in statuses.values()}) == len(living)
    assert {record.obj.name for record in sim.store.list(PODS, NS)} == living
    row = sim.nodes._rows["n0"]
    assert row.pods == len(living)
    assert set(sim.nodes.pods.runs) == {f"{NS}/{name}" for name in living}
    # Addresses that are taken: those of the pods that live.
    taken = [row.pool.allocate() for _ in range(254)]
    assert sum(bool(address) for address in taken) == 254 - 1 - len(living)


@pytest.mark.parametrize("speed", [0, 1])
@pytest.mark.parametrize("seed", range(10))
def test_pods_come_and_go_whatever_fails(stormy, seed, speed):
    sim, weather = stormy(seed, speed=speed)
    weather["share"] = 0.3
    names = {f"p{i}" for i in range(20)}
    for name in sorted(names):
        sim.create(name, container={"image": "nginx:1" if name[-1] in "02468" else "busybox:1"})
    sim.run(20)
    gone = {f"p{i}" for i in range(8)}
    for name in sorted(gone):
        sim.delete(name, grace_s=1)
    sim.run(20)
    weather["share"] = 0.0
    sim.run(120)
    assert weather["hits"] > 20
    check(sim, names - gone)


@pytest.mark.parametrize("seed", range(5))
def test_pods_deleted_under_their_kubelet(stormy, seed):
    sim, weather = stormy(seed, speed=1)
    for i in range(10):
        sim.create(f"p{i}")
    weather["share"] = 0.5
    sim.run(10)
    for i in range(5):
        sim.store.remove(PODS, f"{NS}/p{i}")
    sim.run(5)
    for i in range(5):
        # A new pod under an old name.
        sim.create(f"p{i}")
    sim.run(10)
    weather["share"] = 0.0
    sim.run(120)
    check(sim, {f"p{i}" for i in range(10)})
