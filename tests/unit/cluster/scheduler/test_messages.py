"""The words of events and conditions, as real schedulers wrote them."""

import pytest

ONE_FULL = "0/1 nodes are available: 1 Too many pods. "
ONE_FULL_PREEMPTION = "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."


@pytest.mark.parametrize(
    ("version", "claims"),
    [
        ("1.33", ""),
        ("1.34", "no new claims to deallocate, "),
        ("1.35", "no new claims to deallocate, "),
        ("1.36", "no new claims to deallocate, "),
    ],
)
def test_a_full_node_is_told_with_the_words_of_the_version(simulate, version, claims):
    sim = simulate(version)
    sim.node(pods=1)
    sim.pods(2)
    message = ONE_FULL + claims + ONE_FULL_PREEMPTION
    assert sim.node_of("p0") == "n1"
    assert sim.condition("p1")["message"] == message
    assert [event["message"] for event in sim.events("p1")] == [message]


def test_the_condition_is_as_recorded(sim):
    sim.node(pods=0)
    sim.pod("p")
    condition = sim.condition("p")
    assert list(condition) == [
        "type", "observedGeneration", "status", "lastProbeTime", "lastTransitionTime", "reason", "message",
    ]  # fmt: skip
    assert (condition["status"], condition["reason"], condition["observedGeneration"]) == ("False", "Unschedulable", 1)
    assert list(sim.get("p")["status"]) == ["phase", "conditions", "qosClass"]


def test_before_1_34_conditions_have_no_observed_generation(simulate):
    sim = simulate("1.33")
    sim.node(pods=0)
    sim.pod("p")
    assert "observedGeneration" not in sim.condition("p")


def test_the_failed_scheduling_event_is_as_recorded(sim):
    sim.node(pods=0)
    sim.pod("p")
    (event,) = sim.events("p")
    shown = {key: event[key] for key in ("type", "action", "reportingComponent", "reportingInstance", "source")}
    assert shown == {
        "type": "Warning",
        "action": "Scheduling",
        "reportingComponent": "default-scheduler",
        "reportingInstance": "default-scheduler-kubedyno-control-plane",
        "source": {},
    }


def test_the_scheduled_event_is_as_recorded(sim):
    sim.node()
    sim.pod("p")
    (event,) = sim.events("p", "Scheduled")
    assert event["message"] == "Successfully assigned ns/p to n1"
    assert (event["type"], event["action"], event["reportingComponent"]) == ("Normal", "Binding", "default-scheduler")
    assert sim.condition("p")["status"] == "True"


def eleven_nodes(sim):
    sim.node("small-0", pods=1, cpu="1", memory="1Gi", labels={"size": "small"})
    for i in range(10):
        sim.node(f"big-{i}", cpu="4", memory="8Gi")
    sim.pod("first", nodeSelector={"size": "small"})


@pytest.mark.parametrize(
    ("pod", "message"),
    [
        (
            {"nodeSelector": {"size": "small"}},
            (
                "0/11 nodes are available: 1 Too many pods, 10 node(s) didn't match Pod's node affinity/selector. no new "
                "claims to deallocate, preemption: 0/11 nodes are available: 1 No preemption victims found for incoming "
                "pod, 10 Preemption is not helpful for scheduling."
            ),
        ),
        (
            {"cpu": "1000"},
            (
                "0/11 nodes are available: 1 Too many pods, 11 Insufficient cpu. no new claims to deallocate, preemption: "
                "0/11 nodes are available: 11 Preemption is not helpful for scheduling."
            ),
        ),
        (
            {"cpu": "1000", "memory": "10Ti"},
            (
                "0/11 nodes are available: 1 Too many pods, 11 Insufficient cpu, 11 Insufficient memory. no new claims to "
                "deallocate, preemption: 0/11 nodes are available: 11 Preemption is not helpful for scheduling."
            ),
        ),
        (
            {"nodeSelector": {"size": "none"}},
            (
                "0/11 nodes are available: 11 node(s) didn't match Pod's node affinity/selector. no new claims to "
                "deallocate, preemption: 0/11 nodes are available: 11 Preemption is not helpful for scheduling."
            ),
        ),
    ],
)
def test_reasons_of_eleven_nodes_add_up_as_recorded(sim, pod, message):
    eleven_nodes(sim)
    sim.pod("p", **pod)
    assert sim.condition("p")["message"] == message


def test_a_cordoned_node_is_told_before_all_else(sim):
    eleven_nodes(sim)
    sim.change_node("small-0", spec={"unschedulable": True})
    sim.pod("p", nodeSelector={"size": "small"})
    assert sim.condition("p")["message"] == (
        "0/11 nodes are available: 1 node(s) were unschedulable, 10 node(s) didn't match Pod's node affinity/selector. "
        "no new claims to deallocate, preemption: 0/11 nodes are available: 11 Preemption is not helpful for "
        "scheduling."
    )


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("1.34", "node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }"),
        ("1.35", "node(s) had untolerated taint(s)"),
        ("1.36", "node(s) had untolerated taint(s)"),
    ],
)
def test_a_taint_is_told_with_the_words_of_the_version(simulate, version, reason):
    sim = simulate(version)
    sim.node(taints=[{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}])
    sim.pod("p")
    assert sim.condition("p")["message"] == (
        f"0/1 nodes are available: 1 {reason}. no new claims to deallocate, preemption: 0/1 nodes are available: "
        "1 Preemption is not helpful for scheduling."
    )


def test_without_nodes_that_is_said(sim):
    sim.pod("p")
    assert sim.condition("p")["message"] == "no nodes available to schedule pods"
    sim.node()
    assert sim.node_of("p") == "n1"


def test_a_pod_that_never_preempts_is_told_so(sim):
    sim.node(pods=0)
    sim.pod("p", priority=0, preemptionPolicy="Never")
    assert sim.condition("p")["message"] == (
        "0/1 nodes are available: 1 Too many pods. no new claims to deallocate, preemption: not eligible due to "
        "preemptionPolicy=Never."
    )


def test_a_pod_pinned_to_a_full_node_is_told_about_the_others(sim):
    sim.node("n1", pods=0)
    sim.node("n2")
    sim.pod("p", affinity=pinned("n1"))
    assert sim.condition("p")["message"] == (
        "0/2 nodes are available: 1 Too many pods, 1 node(s) didn't satisfy plugin(s) [NodeAffinity]. no new claims to "
        "deallocate, preemption: 0/2 nodes are available: 1 No preemption victims found for incoming pod, 1 Preemption "
        "is not helpful for scheduling."
    )


def pinned(node):
    field = {"key": "metadata.name", "operator": "In", "values": [node]}
    terms = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}


def test_the_same_failure_is_written_once_and_counted(sim):
    sim.node(pods=1)
    sim.pods(3)
    revision = sim.store.get(*pod_key("p1")).revision
    sim.delete("p2")
    for i in range(3):
        # Something goes, somebody else takes the place: tried again in vain.
        sim.pod(f"other{i}", nodeName="n1")
        sim.delete(f"other{i}")
        sim.advance(11)
    assert sim.store.get(*pod_key("p1")).revision == revision
    first, series = sim.events("p1")
    assert "series" not in first
    assert series["series"]["count"] >= 2


def pod_key(name):
    from kubedyno.kube.resources import PODS

    return PODS, f"ns/{name}"


def test_many_pods_that_wait_do_not_write_an_event_for_each_try(simulate):
    sim = simulate(verify=False)
    sim.node(pods=1)
    sim.pod("first")
    template = sim.trusted.pod_template({"spec": {"containers": [{"name": "c", "image": "i"}]}})

    def many() -> None:
        for i in range(4200):
            sim.trusted.create_pod("ns", template, name=f"p{i}")

    sim.do(many)
    for name in ("first", "p0", "p1"):
        sim.delete(name)
    assert [event.get("series", {}).get("count") for event in sim.events("p4000")] == [None, 2]
