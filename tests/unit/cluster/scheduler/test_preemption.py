"""Room for the more important."""

from kubedyno.cluster.registry.kinds.podspec import default_pod_spec
from kubedyno.kube.resources import DISRUPTIONBUDGETS, NODES, PODS


def gone(sim, name):
    record = sim.store.get(PODS, f"ns/{name}")
    return record is None or bool(record.obj.deletion_s)


def test_the_least_important_pod_goes_and_its_place_is_kept(sim):
    sim.node(cpu="2")
    sim.pod("low", cpu="1", priority=1)
    sim.pod("mid", cpu="1", priority=5)
    sim.pod("high", cpu="1", priority=10)
    assert gone(sim, "low")
    assert not gone(sim, "mid")
    assert sim.get("high")["status"]["nominatedNodeName"] == "n1"
    assert sim.condition("high")["message"] == "0/1 nodes are available: 1 Insufficient cpu."
    (event,) = sim.events("low", "Preempted")
    uid = sim.get("high")["metadata"]["uid"]
    assert (event["message"], event["type"]) == (f"Preempted by pod {uid} on node n1", "Normal")
    disrupted = next(c for c in sim.get("low")["status"]["conditions"] if c["type"] == "DisruptionTarget")
    assert (disrupted["status"], disrupted["reason"]) == ("True", "PreemptionByScheduler")
    # The room that comes free is not for the next best.
    sim.pod("thief", cpu="1", priority=1)
    sim.do(sim.trusted.finish_delete, PODS, "ns/low")
    assert sim.node_of("high") == "n1"
    assert sim.node_of("thief") == ""


def test_no_more_victims_are_looked_for_while_the_first_leave(sim):
    sim.node(cpu="1")
    sim.pod("low", cpu="1", priority=1)
    sim.pod("high", cpu="1", priority=10)
    sim.node("n2", cpu="1", pods=0)
    sim.advance(301)
    sim.advance(30)
    assert sim.condition("high")["message"].endswith(
        "preemption: not eligible due to a terminating pod on the nominated node."
    )
    assert sim.get("high")["status"]["nominatedNodeName"] == "n1"


def test_the_node_with_the_least_important_victims_is_chosen(sim):
    sim.node("n1", cpu="1")
    sim.pod("a", cpu="1", priority=5)
    sim.node("n2", cpu="1")
    sim.pod("b", cpu="1", priority=3)
    sim.pod("high", cpu="1", priority=10)
    assert (gone(sim, "a"), gone(sim, "b")) == (False, True)


def test_equals_are_not_preempted(sim):
    sim.node(cpu="1")
    sim.pod("a", cpu="1", priority=5)
    sim.pod("b", cpu="1", priority=5)
    assert not gone(sim, "a")
    assert sim.condition("b")["message"].endswith("1 No preemption victims found for incoming pod.")


def test_what_preemption_cannot_help_is_left_in_peace(sim):
    sim.node(cpu="2")
    sim.pod("low", cpu="1", priority=1)
    sim.pod("huge", cpu="4", priority=10)
    assert not gone(sim, "low")
    assert sim.condition("huge")["message"].endswith("1 Preemption is not helpful for scheduling.")


def test_room_that_comes_free_piece_by_piece_is_kept(sim):
    sim.node(cpu="2")
    sim.pod("low0", cpu="1", priority=1)
    sim.pod("low1", cpu="1", priority=1)
    sim.pod("high", cpu="2", priority=10)
    sim.do(sim.trusted.finish_delete, PODS, "ns/low0")
    sim.pod("thief", cpu="1", priority=1)
    assert (sim.node_of("high"), sim.node_of("thief")) == ("", "")
    assert sim.get("high")["status"]["nominatedNodeName"] == "n1"
    sim.do(sim.trusted.finish_delete, PODS, "ns/low1")
    assert (sim.node_of("high"), sim.node_of("thief")) == ("n1", "")


def test_a_preemptor_takes_the_node_that_was_cleared_for_it(sim):
    sim.node("n1", cpu="1")
    sim.pod("low", cpu="1", priority=1)
    sim.pod("high", cpu="1", priority=10)

    def both() -> None:
        sim.trusted.finish_delete(PODS, "ns/low")
        allocatable = {"cpu": "64", "memory": "64Gi", "pods": "110"}
        sim.trusted.create(
            NODES, "", {"metadata": {"name": "n2"}, "spec": {"taints": []}, "status": {"allocatable": allocatable}}
        )

    sim.do(both)
    assert sim.node_of("high") == "n1"


def budget(sim, name, labels, allowed, namespace="ns"):
    status = {"disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}
    spec = {"minAvailable": 1, "selector": {"matchLabels": labels}}
    obj = {"metadata": {"name": name}, "spec": spec, "status": status}
    sim.do(sim.trusted.create, DISRUPTIONBUDGETS, namespace, obj)


def one_of_two_nodes_is_cleared(sim, allowed):
    """Have `high` come where either `guarded`, of a budget, or `free`, which matters more, has to go."""
    budget(sim, "b", {"app": "guarded"}, allowed)
    sim.node("n1", cpu="1")
    sim.pod("guarded", cpu="1", priority=1, labels={"app": "guarded"})
    sim.node("n2", cpu="1")
    sim.pod("free", cpu="1", priority=3, labels={"app": "free"})
    sim.pod("high", cpu="1", priority=10)


def test_the_node_where_no_budget_is_broken_is_chosen(sim):
    one_of_two_nodes_is_cleared(sim, allowed=0)
    assert (gone(sim, "guarded"), gone(sim, "free")) == (False, True)


def test_on_one_node_pods_under_a_budget_come_back_first(sim):
    budget(sim, "b", {"app": "guarded"}, 0)
    sim.node(cpu="2")
    sim.pod("guarded", cpu="1", priority=1, labels={"app": "guarded"})
    sim.pod("free", cpu="1", priority=5, labels={"app": "free"})
    sim.pod("high", cpu="1", priority=10)
    assert (gone(sim, "guarded"), gone(sim, "free")) == (False, True)


def test_a_budget_is_broken_when_there_is_no_other_way(sim):
    budget(sim, "b", {"app": "guarded"}, 0)
    sim.node(cpu="1")
    sim.pod("guarded", cpu="1", priority=1, labels={"app": "guarded"})
    sim.pod("high", cpu="1", priority=10)
    assert gone(sim, "guarded")


def test_disruptions_that_a_budget_allows_break_nothing(sim):
    one_of_two_nodes_is_cleared(sim, allowed=1)
    assert (gone(sim, "guarded"), gone(sim, "free")) == (True, False)


def test_a_node_that_was_nominated_before_is_kept_for_its_pod(sim):
    sim.node("n1", cpu="1")
    sim.pod("low", cpu="1", priority=1)
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}}
    status = {"phase": "Pending", "nominatedNodeName": "n1", "qosClass": "Burstable"}
    spec = {"containers": [container], "priority": 10, "preemptionPolicy": "Never"}

    def come_back() -> None:
        # As after a restart: the pod comes with its node, and the victim is on its way out.
        default_pod_spec(spec, pod=True)
        sim.trusted.create(PODS, "ns", {"metadata": {"name": "high"}, "spec": spec, "status": status})

    sim.do(come_back)
    assert sim.get("high")["status"]["nominatedNodeName"] == "n1"
    sim.do(sim.trusted.finish_delete, PODS, "ns/low")
    sim.pod("thief", cpu="1", priority=1)
    assert (sim.node_of("high"), sim.node_of("thief")) == ("n1", "")
