"""Machines switched off and on, shut down, short of something; nodes that come and go at run time."""

from typing import Any

import pytest

from kubedyno.cluster.settings import NodeSettings
from kubedyno.kube.resources import NODES

from .conftest import Sim, condition
from .test_private_images import configured


def ready(sim: Sim, name: str = "n0") -> tuple[str, str]:
    found = condition(sim.node(name)["status"], "Ready")
    return found["status"], found["message"]


@pytest.mark.parametrize("speed", [0, 1])
def test_a_machine_that_is_off_says_nothing_and_starts_its_pods_again(make: Any, speed: float) -> None:
    sim = make(speed=speed)
    sim.create(container={"image": "registry.k8s.io/pause:3.10", "imagePullPolicy": "IfNotPresent"})
    sim.create("done", restartPolicy="Never", container={"command": ["true"]})
    sim.run(30)
    before = sim.pod()["containerStatuses"][0]["containerID"]
    boot_id = sim.node()["status"]["nodeInfo"]["bootID"]
    sim.nodes.machines.kill("n0")
    revision = sim.store.revision
    sim.run(120)
    assert sim.store.revision == revision
    assert sim.nodes.status("n0")["state"] == "off"
    assert sim.nodes.restart("n0")["state"] == "off"
    with pytest.raises(ValueError, match="node n0 is off"):
        sim.nodes.machines.ready("n0")
    sim.nodes.machines.start("n0")
    sim.run(30)
    status = sim.pod()["containerStatuses"][0]
    assert sim.pod()["phase"] == "Running"
    assert (status["restartCount"], status["lastState"]["terminated"]["exitCode"]) == (1, 255)
    assert status["containerID"] != before
    assert sim.pod("done")["phase"] == "Succeeded"
    assert sim.node()["status"]["nodeInfo"]["bootID"] != boot_id
    assert "Rebooted" in [reason for reason, _ in sim.events("n0", "default")]
    assert sim.nodes._rows["n0"].pods == 1
    with pytest.raises(ValueError, match="node n0 is on"):
        sim.nodes.machines.start("n0")


def test_a_pod_deleted_while_its_machine_is_off_goes_when_it_is_on(sim: Sim) -> None:
    sim.create()
    sim.run()
    sim.nodes.machines.kill("n0")
    sim.delete()
    sim.run(60)
    assert not sim.gone()
    sim.nodes.machines.start("n0")
    sim.run(1)
    assert sim.gone()
    assert sim.nodes._rows["n0"].pods == 0


def test_a_kubelet_reports_that_it_is_not_ready(sim: Sim) -> None:
    sim.nodes.machines.not_ready("n0")
    assert ready(sim)[0] == "False"
    assert ready(sim)[1].startswith("PLEG is not healthy")
    sim.nodes.machines.not_ready("n0", "the disk is on fire")
    assert ready(sim) == ("False", "the disk is on fire")
    sim.nodes.machines.ready("n0")
    assert ready(sim) == ("True", "kubelet is posting ready status")


def test_a_node_short_of_memory_evicts_one_pod_after_the_other(sim: Sim) -> None:
    memory = {"resources": {"requests": {"memory": "1Mi"}}}
    sim.create("burstable", container=memory)
    sim.create("best-effort")
    sim.create("critical", priorityClassName="system-node-critical")
    sim.run()
    sim.nodes.machines.pressure("n0", "memory")
    sim.run(1)
    pod = sim.pod("best-effort")
    assert (pod["phase"], pod["reason"], pod["message"]) == (
        "Failed",
        "Evicted",
        "The node was low on resource: memory. ",
    )
    assert condition(pod, "DisruptionTarget")["reason"] == "TerminationByKubelet"
    assert ("Evicted", "The node was low on resource: memory. ") in sim.events("best-effort")
    assert condition(sim.node()["status"], "MemoryPressure")["status"] == "True"
    assert sim.pod("burstable")["phase"] == "Running"
    # A pod that requests nothing is not taken meanwhile.
    sim.create("late")
    sim.run(1)
    assert sim.pod("late")["message"] == "Pod was rejected: The node had condition: [MemoryPressure]. "
    sim.run(10)
    assert sim.pod("burstable")["reason"] == "Evicted"
    sim.run(30)
    assert sim.pod("critical")["phase"] == "Running"
    sim.nodes.machines.ready("n0")
    sim.create("later")
    sim.run(30)
    assert sim.pod("later")["phase"] == "Running"
    assert condition(sim.node()["status"], "MemoryPressure")["status"] == "False"


def test_a_shutdown_ends_pods_within_the_kubelets_grace_and_then_the_machine(make: Any) -> None:
    sim = make(speed=1)
    more = {"shutdownGracePeriod": "20s", "shutdownGracePeriodCriticalPods": "5s"}
    assert configured(sim, **more)["state"] == "running"
    sim.create(container={"command": ["sleep", "inf"]})
    sim.create("critical", priorityClassName="system-node-critical")
    sim.run(30)
    sim.nodes.machines.shut_down("n0")
    assert ready(sim) == ("False", "node is shutting down")
    sim.run(10)
    assert sim.pod()["phase"] == "Running"
    sim.run(7)
    why = "Pod was terminated in response to imminent node shutdown."
    assert (sim.pod()["phase"], sim.pod()["reason"], sim.pod()["message"]) == ("Failed", "Terminated", why)
    sim.run(10)
    assert sim.pod("critical")["phase"] == "Failed"
    assert sim.nodes.status("n0")["state"] == "off"


def test_without_a_grace_period_a_shutdown_is_a_plug_pulled(sim: Sim) -> None:
    sim.create()
    sim.run()
    sim.nodes.machines.shut_down("n0")
    sim.run(5)
    assert sim.pod()["phase"] == "Running"
    assert sim.nodes.status("n0")["state"] == "off"


def test_a_node_is_taken_away_with_its_object(sim: Sim) -> None:
    sim.nodes.add(NodeSettings("more"), later=True)
    sim.run()
    sim.set_cidr("10.244.1.0/24", "more")
    sim.create(node="more")
    sim.run()
    assert sim.pod()["phase"] == "Running"
    sim.nodes.machines.remove("more")
    sim.run(30)
    assert sim.store.get(NODES, "more") is None
    assert sim.nodes.names() == ["n0"]
    # Its pod is no kubelet's any more: the pod garbage collector takes it.
    assert sim.nodes.pods.runs == {}
    with pytest.raises(KeyError):
        sim.nodes.machines.kill("more")


FAKE: dict[str, Any] = {
    "metadata": {
        "name": "fake-0",
        "annotations": {"kwok.x-k8s.io/node": "fake", "node.alpha.kubernetes.io/ttl": "0"},
        "labels": {"type": "kwok", "kubernetes.io/role": "agent"},
    },
    "spec": {"taints": [{"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}]},
    "status": {"allocatable": {"cpu": "32", "memory": "256Gi", "pods": "200"}, "capacity": {"cpu": "32"}},
}


def test_a_node_with_kwoks_annotation_is_live(sim: Sim) -> None:
    sim.registry.create(NODES, "", FAKE)
    sim.registry.create(NODES, "", {"metadata": {"name": "dead"}})
    sim.run()
    sim.set_cidr("10.244.7.0/24", "fake-0")
    node = sim.node("fake-0")
    assert ready(sim, "fake-0")[0] == "True"
    assert {name: node["status"]["capacity"][name] for name in ("cpu", "memory", "pods")} == {
        "cpu": "32",
        "memory": "268435456Ki",
        "pods": "200",
    }
    assert node["metadata"]["labels"]["type"] == "kwok"
    assert node["spec"]["taints"][0]["key"] == "kwok.x-k8s.io/node"
    sim.create(node="fake-0")
    sim.run()
    assert sim.pod()["podIP"].startswith("10.244.7.")
    assert "conditions" not in sim.node("dead").get("status", {})
    sim.trusted.delete(NODES, "fake-0")
    sim.run()
    assert sim.nodes.names() == ["n0"]
    # One that comes again begins anew.
    sim.registry.create(NODES, "", FAKE)
    sim.run()
    assert sim.nodes.names() == ["n0", "fake-0"]


def test_labels_say_what_a_machine_is(sim: Sim) -> None:
    labels = (("kubedyno.io/cpu", "64"), ("kubedyno.io/memory", "256Gi"), ("kubedyno.io/pods", "250"))
    sim.nodes.add(NodeSettings("big", labels=(*labels, ("kubedyno.io/kernel", "6.12.1"))), later=True)
    sim.run()
    node = sim.node("big")
    assert {name: node["status"]["allocatable"][name] for name in ("cpu", "memory", "pods")} == {
        "cpu": "64",
        "memory": "268435456Ki",
        "pods": "250",
    }
    assert node["status"]["nodeInfo"]["kernelVersion"] == "6.12.1"


@pytest.mark.parametrize(
    ("label", "value", "why"),
    [
        ("kubedyno.io/cpu", "many", "kubedyno.io/cpu: 'many' is no amount"),
        ("kubedyno.io/memory", "1", "kubedyno.io/memory: '1' is out of range"),
        ("kubedyno.io/pod-cidr-mask", "8", "kubedyno.io/pod-cidr-mask: '8' is out of range"),
    ],
)
def test_a_label_that_says_nothing_is_told(sim: Sim, label: str, value: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        sim.nodes.add(NodeSettings("x", labels=((label, value),)))
    assert sim.nodes.names() == ["n0"]


def test_addresses_of_machines_are_never_the_same(sim: Sim) -> None:
    for number in range(3):
        sim.nodes.add(NodeSettings(f"m{number}"), later=True)
    sim.run()
    sim.nodes.machines.remove("m1")
    sim.nodes.add(NodeSettings("m3"), later=True)
    assert len({sim.nodes.address(name) for name in sim.nodes.names()}) == 4


def test_pods_go_where_less_memory_is_left_than_the_kubelet_asks_for(sim: Sim) -> None:
    assert configured(sim, evictionHard={"memory.available": "4Gi"})["state"] == "running"
    gib = 1 << 30
    uses = {"ns/small": 1 * gib, "ns/large": 8 * gib, "ns/within": 5 * gib}
    live = lambda: {key: uses[key] for key, run in sim.nodes.pods.runs.items() if run.stage.name == "RUNNING"}  # noqa: E731
    sim.nodes.machines.watch_memory(lambda _: sum(live().values()), lambda key: uses[key])
    sim.create("small")
    sim.create("large")
    sim.create("within", container={"resources": {"requests": {"memory": "6Gi"}}})
    sim.run(11)
    # 14 of 16 GiB are used: 2 are left.
    message = "The node was low on resource: memory. Threshold quantity: 4Gi, available: 2097152Ki. "
    assert (sim.pod("large")["reason"], sim.pod("large")["message"]) == ("Evicted", message)
    assert condition(sim.node()["status"], "MemoryPressure")["status"] == "True"
    sim.run(100)
    assert sim.pod("small")["phase"] == sim.pod("within")["phase"] == "Running"
    assert condition(sim.node()["status"], "MemoryPressure")["status"] == "True"
    sim.run(250)
    assert condition(sim.node()["status"], "MemoryPressure")["status"] == "False"


@pytest.mark.parametrize("text", ["lots", "x%"])
def test_a_threshold_that_is_none_keeps_the_kubelet_down(sim: Sim, text: str) -> None:
    state = configured(sim, evictionHard={"memory.available": text})
    assert "is neither a quantity nor a percentage" in state["error"]


def test_what_is_reserved_is_not_allocatable(sim: Sim) -> None:
    reserved = {"kubeReserved": {"cpu": "100m", "memory": "512Mi"}, "systemReserved": {"memory": "256Mi"}}
    assert configured(sim, evictionHard={"memory.available": "256Mi"}, **reserved)["state"] == "running"
    sim.run(1)
    status = sim.node()["status"]
    assert (status["capacity"]["cpu"], status["capacity"]["memory"]) == ("8", "16777216Ki")
    assert (status["allocatable"]["cpu"], status["allocatable"]["memory"]) == ("7900m", "15728640Ki")


@pytest.mark.parametrize(
    ("reserved", "said"),
    [
        ({"memory": "lots"}, 'failed to parse quantity "lots" for "memory" resource: '),
        ({"memory": "-1Gi"}, 'resource quantity for "memory" cannot be negative: -1Gi'),
        ({"nvidia.com/gpu": "1"}, 'cannot reserve "nvidia.com/gpu" resource'),
    ],
)
def test_a_reservation_that_is_none_keeps_the_kubelet_down(sim: Sim, reserved: dict[str, str], said: str) -> None:
    assert said in configured(sim, kubeReserved=reserved)["error"]
