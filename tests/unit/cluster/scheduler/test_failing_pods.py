"""A pod or node that the scheduler fails over: it holds up no other, is seen, and is done once the reason is gone."""

import pytest

from kubedyno.reconciler.health import Level


def degraded(sim):
    return {name: text for name, level, text in sim.pump.health.reports() if level is not Level.OK}


class Fault:
    """Makes a method fail for what is named "bad"."""

    def __init__(self, monkeypatch, owner, method, key_of):
        self.on = True
        real = getattr(owner, method)

        def faulty(*args, **kwargs):
            if self.on and key_of(*args).endswith("bad"):
                raise ZeroDivisionError("a fault")
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, method, faulty)


def nodes(sim):
    return {name: sim.node_of(name) for name in ("a", "bad", "z")}


@pytest.mark.parametrize(
    ("owner", "method", "key_of"),
    [
        (lambda scheduler: scheduler._cycles["default-scheduler"], "node_for", lambda obj: obj.key),
        (lambda scheduler: scheduler._trusted, "bind", lambda record, _node: record.key),
    ],
)
def test_a_pod_whose_scheduling_fails(sim, monkeypatch, caplog, owner, method, key_of):
    sim.node("n1")
    fault = Fault(monkeypatch, owner(sim.scheduler), method, key_of)
    for name in ("a", "bad", "z"):
        sim.pod(name)
    sim.advance(1)
    assert nodes(sim) == {"a": "n1", "bad": "", "z": "n1"}
    assert degraded(sim) == {"scheduler.pods": "1 error(s): ns/bad: a fault"}
    assert caplog.records[0].exc_info
    sim.advance(30)
    fault.on = False
    sim.advance(30)
    assert nodes(sim) == dict.fromkeys(("a", "bad", "z"), "n1")
    assert degraded(sim) == {}


def test_a_change_of_a_pod_that_cannot_be_followed(sim, monkeypatch, caplog):
    sim.node("n1")
    fault = Fault(monkeypatch, sim.scheduler, "_follow_waiting", lambda obj: obj.key)
    for name in ("a", "bad", "z"):
        sim.pod(name)
    assert nodes(sim) == {"a": "n1", "bad": "", "z": "n1"}
    assert degraded(sim) == {"scheduler.scheduler-changes": "1 error(s): pods ns/bad: a fault"}
    fault.on = False
    sim.advance(10)
    assert nodes(sim)["bad"] == "n1"
    assert degraded(sim) == {}
    assert len(caplog.records) >= 1


def test_a_node_that_cannot_be_read(sim, monkeypatch, caplog):
    fault = Fault(monkeypatch, sim.scheduler._cluster, "put_node", lambda obj: obj.key)
    sim.node("bad")
    sim.node("n1", pods=1)
    sim.pod("a")
    sim.pod("z")
    assert (sim.node_of("a"), sim.node_of("z")) == ("n1", "")
    assert set(degraded(sim)) == {"scheduler.scheduler-changes"}
    fault.on = False
    sim.advance(30)
    assert sim.node_of("z") == "bad"
    assert degraded(sim) == {}
    assert len(caplog.records) >= 1


def test_a_failing_pod_that_goes_is_forgotten(sim, monkeypatch, caplog):
    sim.node("n1")
    Fault(monkeypatch, sim.scheduler._cycles["default-scheduler"], "node_for", lambda obj: obj.key)
    sim.pod("bad")
    assert degraded(sim)
    sim.delete("bad")
    assert degraded(sim) == {}
    assert len(caplog.records) >= 1
