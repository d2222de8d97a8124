"""When pods are tried: places, hints, back-off, gates, other schedulers."""

import orjson
import pytest

from kubedyno.cluster.scheduler.queue import backoff_s
from kubedyno.kube.resources import NODES, PODS


def test_110_of_116_pods_get_a_place(sim):
    sim.node()
    sim.pods(116)
    assert sim.bound() == 110
    assert sim.scheduler.pending == 6


def test_a_freed_place_goes_to_exactly_one_more(sim):
    sim.node(pods=2)
    sim.pods(5)
    sim.delete("p0")
    assert sim.bound() == 2
    assert [sim.node_of(f"p{i}") for i in (1, 2, 3, 4)] == ["n1", "n1", "", ""]
    assert sim.scheduler.pending == 2


def test_a_pod_being_deleted_keeps_its_place_until_it_is_gone(sim):
    sim.node(pods=1)
    sim.pods(2)
    sim.do(sim.trusted.delete, PODS, "ns/p0", 30)
    assert sim.node_of("p1") == ""
    sim.do(sim.trusted.finish_delete, PODS, "ns/p0")
    assert sim.node_of("p1") == "n1"


def test_a_finished_pod_gives_its_place_back(sim):
    sim.node(pods=1)
    sim.pods(2)
    record = sim.store.get(PODS, "ns/p0")
    status = {**sim.get("p0")["status"], "phase": "Succeeded"}
    sim.do(sim.trusted.replace_status, PODS, record, status)
    assert sim.node_of("p1") == "n1"


def test_more_max_pods_place_all_that_wait_at_once(sim):
    sim.node()
    sim.pods(116)
    sim.change_node(pods=150)
    assert sim.bound() == 116
    assert sim.scheduler.pending == 0


def test_without_early_pops_the_back_off_is_waited_for(simulate):
    sim = simulate(feature_gates={"SchedulerPopFromBackoffQ": False})
    sim.node(pods=0)
    sim.pod("p")
    sim.change_node(pods=1)
    sim.advance(0.9)
    assert sim.node_of("p") == ""
    sim.advance(0.2)
    assert sim.node_of("p") == "n1"


def test_back_off_doubles_up_to_ten_seconds():
    assert [backoff_s(n) for n in range(1, 7)] == [1, 2, 4, 8, 10, 10]


def attempts(sim, name):
    return sim.scheduler._queue.pods[f"ns/{name}"].attempts


def test_unrelated_changes_do_not_try_a_pod_again(sim):
    sim.node(pods=1)
    sim.pods(2)
    record = sim.store.get(NODES, "n1")
    sim.do(sim.trusted.replace, NODES, record, labels={"a": "b"})
    sim.node("n2", pods=0)
    sim.pod("gated", schedulingGates=[{"name": "g"}])
    assert attempts(sim, "p1") == 1


def test_a_new_node_takes_what_waits(sim):
    sim.node(pods=0)
    sim.pods(3)
    sim.node("n2")
    assert [sim.node_of(f"p{i}") for i in range(3)] == ["n2"] * 3


def test_unschedulable_pods_are_tried_again_after_five_minutes(sim):
    sim.node(pods=0)
    sim.pod("p")
    for _ in range(9):
        sim.advance(30)
    assert attempts(sim, "p") == 1
    sim.advance(30)
    sim.advance(30)
    assert attempts(sim, "p") == 2


def test_a_gated_pod_waits_for_its_gates(sim):
    sim.node()
    sim.pod("p", schedulingGates=[{"name": "g"}])
    assert sim.node_of("p") == ""
    assert sim.events("p") == []
    obj = sim.get("p")
    del obj["spec"]["schedulingGates"]
    sim.do(sim.registry.update, PODS, "ns", "p", obj)
    assert sim.node_of("p") == "n1"


def test_another_schedulers_pods_are_left_alone(sim):
    sim.node(pods=1)
    sim.pod("other", schedulerName="mine")
    assert "conditions" not in sim.get("other")["status"]
    sim.pod("p")
    assert sim.node_of("p") == "n1"


def test_pods_that_name_their_node_count_there(sim):
    sim.node(pods=1)
    sim.pod("static", nodeName="n1")
    sim.pod("p")
    assert sim.node_of("p") == ""
    sim.delete("static")
    assert sim.node_of("p") == "n1"


def test_pods_on_a_node_that_is_not_there_yet_count_when_it_comes(sim):
    sim.pod("static", nodeName="n1")
    sim.node(pods=1)
    sim.pod("p")
    assert sim.node_of("p") == ""


def test_a_removed_node_takes_no_more_pods(sim):
    sim.node("n1")
    sim.node("n2", pods=0)
    sim.do(sim.trusted.delete, NODES, "n1")
    sim.pod("p")
    assert sim.node_of("p") == ""


def test_higher_priority_goes_first(sim):
    sim.pod("low", priority=0)
    sim.pod("high", priority=10)
    sim.pod("middle", priority=5)
    sim.node(pods=1)
    assert sim.scheduler._queue.pods["ns/middle"].attempts == 2
    assert (sim.node_of("high"), sim.node_of("low")) == ("n1", "")
    assert sim.bound() == 1


def test_a_pod_that_went_while_it_waited_is_forgotten(sim):
    sim.node(pods=0)
    sim.pod("p")
    sim.delete("p")
    sim.change_node(pods=1)
    assert sim.scheduler.pending == 0
    assert sim.bound() == 0


def test_a_pod_of_the_same_name_is_another_one(sim):
    sim.node(pods=1)
    sim.pod("p")

    def replace() -> None:
        sim.trusted.delete(PODS, "ns/p", 0)
        pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        sim.registry.create(PODS, "ns", pod)

    sim.do(replace)
    assert sim.node_of("p") == "n1"
    assert len(sim.scheduler._cluster.nodes["n1"].pods) == 1


@pytest.mark.parametrize("change", ["delete", "bind"])
def test_a_pod_that_changes_after_it_was_read_is_no_fault(sim, change):
    sim.node("n1")

    def both() -> None:
        pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        record = sim.registry.create(PODS, "ns", pod)
        scheduler = sim.scheduler
        scheduler._step(0)
        if change == "delete":
            sim.trusted.delete(PODS, "ns/p", 0)
        else:
            sim.trusted.bind(record, "n1")
        # Without reading what changed: as if the record were stale.
        scheduler._schedule(scheduler._queue.take(0.0), 0.0)

    sim.do(both)
    assert sim.scheduler.pending == 0


def test_an_uncordoned_node_takes_what_waits(sim):
    sim.node(unschedulable=True)
    sim.pod("p")
    assert "1 node(s) were unschedulable." in sim.condition("p")["message"]
    sim.change_node(spec={"unschedulable": False})
    assert sim.node_of("p") == "n1"


def test_a_toleration_added_to_a_waiting_pod_helps_it(sim):
    sim.node(taints=[{"key": "k", "effect": "NoSchedule"}])
    sim.pod("p")
    obj = sim.get("p")
    obj["spec"]["tolerations"].append({"key": "k", "operator": "Exists"})
    sim.do(sim.registry.update, PODS, "ns", "p", obj)
    assert sim.node_of("p") == "n1"


def test_what_only_a_pod_named_is_forgotten_with_it(sim):
    sim.pod("static", nodeName="nowhere")
    assert "nowhere" in sim.scheduler._cluster.infos
    sim.delete("static")
    assert sim.scheduler._cluster.infos == {}
    assert sim.scheduler._cluster.places == {}


def test_gated_pods_are_counted_by_themselves(sim):
    sim.node(pods=1)
    gates = [{"name": "example.com/g"}]
    sim.pod("a", schedulingGates=gates)
    sim.pod("b", schedulingGates=gates)
    sim.pod("other", schedulingGates=gates, schedulerName="other")
    sim.pod("c")
    sim.pod("d")
    assert sim.scheduler.waiting() == {"active": 0, "backoff": 0, "unschedulable": 1, "gated": 2}
    sim.delete("a")
    record = sim.store.get(PODS, "ns/b")
    body = orjson.loads(b"{" + record.obj.body + b"}")
    del body["spec"]["schedulingGates"]
    sim.do(sim.trusted.replace, PODS, record, body=body)
    assert sim.scheduler.waiting() == {"active": 0, "backoff": 0, "unschedulable": 2, "gated": 0}
    assert sim.scheduler.rejected() == {"NodeResourcesFit": 2}
