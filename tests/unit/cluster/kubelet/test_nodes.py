from typing import Any

import pytest

from kubedyno.cluster.settings import NodeSettings
from kubedyno.kube.resources import LEASES, NODES

from .conftest import Sim, condition


def test_a_registered_node_says_what_a_kind_node_says(make: Any) -> None:
    sim = make(cidr=None)
    node = sim.node()
    assert node["metadata"]["labels"] == {
        "beta.kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": "n0",
        "kubernetes.io/os": "linux",
        "node-role.kubernetes.io/control-plane": "",
    }
    assert node["spec"]["providerID"] == "kind://docker/kubedyno/n0"
    assert node["status"]["addresses"][0] == {"type": "InternalIP", "address": "172.18.0.2"}
    assert node["status"]["capacity"]["pods"] == node["status"]["allocatable"]["pods"] == "110"
    assert node["status"]["nodeInfo"]["kubeletVersion"] == sim.settings.git_version


def test_the_only_node_takes_pods_and_a_control_plane_among_others_does_not(make: Any) -> None:
    alone, several = make(cidr=None), make(cidr=None, nodes=2)
    assert [t["key"] for t in alone.node()["spec"]["taints"]] == ["node.kubernetes.io/not-ready"]
    assert "node-role.kubernetes.io/control-plane" in {t["key"] for t in several.node()["spec"]["taints"]}
    assert [t["key"] for t in several.node("n1")["spec"]["taints"]] == ["node.kubernetes.io/not-ready"]


def test_a_node_is_ready_once_it_has_a_pod_cidr(make: Any) -> None:
    sim = make(cidr=None)
    ready: list[bool] = []
    sim.nodes.on_all_ready = lambda: ready.append(True)
    assert condition(sim.node()["status"], "Ready")["reason"] == "KubeletNotReady"
    sim.set_cidr()
    assert condition(sim.node()["status"], "Ready") | {"lastHeartbeatTime": "", "lastTransitionTime": ""} == {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": "kubelet is posting ready status",
        "lastHeartbeatTime": "",
        "lastTransitionTime": "",
    }
    assert ready == [True]
    assert [reason for reason, _ in sim.events("n0", "default")] == [
        "Starting",
        "NodeHasSufficientMemory",
        "NodeHasNoDiskPressure",
        "NodeHasSufficientPID",
        "NodeAllocatableEnforced",
        "NodeReady",
    ]


def test_without_a_cni_a_node_stays_not_ready_and_says_why(make: Any) -> None:
    sim = make(cni="none")
    ready = condition(sim.node()["status"], "Ready")
    assert (ready["status"], ready["message"]) == (
        "False",
        (
            "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network "
            "plugin returns error: cni plugin not initialized"
        ),
    )


def test_a_lease_is_renewed_every_ten_seconds_and_the_status_every_five_minutes(make: Any) -> None:
    sim = make(nodes=3)
    first = sim.get(LEASES, "n2", "kube-node-lease")["spec"]["renewTime"]
    beat = condition(sim.node("n2")["status"], "Ready")["lastHeartbeatTime"]
    sim.run(11)
    assert sim.get(LEASES, "n2", "kube-node-lease")["spec"]["renewTime"] > first
    assert condition(sim.node("n2")["status"], "Ready")["lastHeartbeatTime"] == beat
    since = condition(sim.node("n2")["status"], "Ready")["lastTransitionTime"]
    sim.run(305)
    ready = condition(sim.node("n2")["status"], "Ready")
    assert ready["lastHeartbeatTime"] > beat
    assert ready["lastTransitionTime"] == since


def test_a_restart_applies_the_file_and_pods_stay(sim: Sim) -> None:
    sim.create()
    sim.run()
    before = sim.pod()
    text = sim.nodes.config_text("n0")
    assert "maxPods" not in text
    sim.nodes.write_config("n0", text + "maxPods: 150\n")
    assert sim.node()["status"]["capacity"]["pods"] == "110"
    assert sim.nodes.restart("n0") == {"state": "running", "maxPods": 150, "error": "", "warning": ""}
    sim.run()
    assert sim.node()["status"]["capacity"]["pods"] == sim.node()["status"]["allocatable"]["pods"] == "150"
    assert sim.pod() == before


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (
            'maxPods: "150"',
            "json: cannot unmarshal string into Go struct field KubeletConfiguration.maxPods of type int32",
        ),
        ("maxPods: -1", "invalid configuration: maxPods (--max-pods) -1 must not be a negative number"),
        ("maxPods: [", "error converting YAML to JSON"),
    ],
)
def test_a_broken_file_leaves_the_kubelet_failed(sim: Sim, line: str, why: str) -> None:
    good = sim.nodes.config_text("n0")
    sim.nodes.write_config("n0", f"{good}{line}\n")
    state = sim.nodes.restart("n0")
    assert state["state"] == "failed"
    assert why in state["error"]
    assert "/var/lib/kubelet/config.yaml" in state["error"]
    renewed = sim.get(LEASES, "n0", "kube-node-lease")["spec"]["renewTime"]
    sim.create()
    sim.run(60)
    # No heartbeat, no pod: the node lifecycle controller will call the node's state unknown.
    assert sim.get(LEASES, "n0", "kube-node-lease")["spec"]["renewTime"] == renewed
    assert sim.pod()["phase"] == "Pending"
    sim.nodes.write_config("n0", good)
    assert sim.nodes.restart("n0")["state"] == "running"
    sim.run()
    assert sim.pod()["phase"] == "Running"
    assert sim.get(LEASES, "n0", "kube-node-lease")["spec"]["renewTime"] > renewed


def test_an_unknown_field_is_only_logged(sim: Sim) -> None:
    sim.nodes.write_config("n0", sim.nodes.config_text("n0") + "maxPod: 150\n")
    state = sim.nodes.restart("n0")
    assert (state["state"], state["maxPods"]) == ("running", 110)
    assert 'unknown field \\"maxPod\\"' in state["warning"] or 'unknown field "maxPod"' in state["warning"]


def test_an_unknown_node_is_a_key_error(sim: Sim) -> None:
    with pytest.raises(KeyError):
        sim.nodes.config_text("nobody")


def test_a_restarted_kubelet_ends_the_unknown_state(sim: Sim) -> None:
    record = sim.store.get(NODES, "n0")
    assert record is not None
    status = sim.node()["status"]
    for entry in status["conditions"]:
        entry |= {"status": "Unknown", "reason": "NodeStatusUnknown"}
    sim.trusted.replace_status(NODES, record, status)
    sim.run(1)
    sim.nodes.restart("n0")
    ready = condition(sim.node()["status"], "Ready")
    assert (ready["status"], ready["reason"]) == ("True", "KubeletReady")
    assert ready["lastTransitionTime"] == ready["lastHeartbeatTime"]


def test_a_node_can_come_later(sim: Sim) -> None:
    sim.nodes.add(NodeSettings("late", max_pods=7))
    sim.run()
    assert sim.node("late")["status"]["capacity"]["pods"] == "7"
    sim.set_cidr("10.244.1.0/24", "late")
    sim.create(node="late")
    sim.run()
    assert sim.pod()["podIP"] == "10.244.1.2"


def test_what_a_kubelet_was_at_waits_while_it_is_down(make: Any) -> None:
    sim = make(speed=1)
    sim.create()
    sim.run(1)
    good = sim.nodes.config_text("n0")
    sim.nodes.write_config("n0", "maxPods: [")
    sim.nodes.restart("n0")
    before, events = sim.pod(), sim.events()
    sim.run(60)
    assert (sim.pod(), sim.events()) == (before, events)
    sim.nodes.write_config("n0", good)
    sim.nodes.restart("n0")
    sim.run(10)
    assert sim.pod()["phase"] == "Running"


def test_a_pod_deleted_while_its_kubelet_is_down_goes_when_it_is_back(sim: Sim) -> None:
    sim.create()
    sim.run()
    good = sim.nodes.config_text("n0")
    sim.nodes.write_config("n0", "")
    assert sim.nodes.restart("n0")["state"] == "failed"
    sim.delete()
    sim.run(60)
    assert not sim.gone()
    sim.nodes.write_config("n0", good)
    sim.nodes.restart("n0")
    sim.run()
    assert sim.gone()
