"""Pods on eleven nodes, one of them with room for two, as a real scheduler (1.36) judged them."""

import json
from pathlib import Path
from typing import Any

import pytest

from kubedyno.kube.resources import PODS
from unit.cluster.scheduler.sim import Sim

GOLDEN = json.loads((Path(__file__).parents[3] / "golden/cluster/scheduling.json").read_text())["pods"]


@pytest.fixture(scope="module")
def recorded() -> Any:
    sim = Sim()
    for i in range(10):
        sim.node(f"kwok-{i}", pods=110, cpu="32", memory="256Gi")
    sim.node("small-0", pods=2, cpu="4", memory="8Gi", labels={"pool": "small"})
    # The node holds a DaemonSet's pod besides.
    sim.namespace("system")
    sim.pod("agent", namespace="system", nodeSelector={"pool": "small"})
    # In the order in which they were made.
    for pod in sorted(GOLDEN, key=lambda pod: not pod["name"].startswith("many")):
        volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": name}} for name in pod["claims"]]
        container: dict[str, Any] = {"name": "c", "image": "i"}
        if pod["requests"]:
            container["resources"] = {"requests": pod["requests"]}
        spec = {"containers": [container], **pod["spec"], **({"volumes": volumes} if volumes else {})}
        sim.do(sim.registry.create, PODS, "ns", {"metadata": {"name": pod["name"]}, "spec": spec})
    yield sim
    sim.close()


@pytest.mark.parametrize("pod", GOLDEN, ids=lambda pod: pod["name"])
def test_a_pod_is_judged_as_recorded(recorded: Sim, pod: dict[str, Any]) -> None:
    assert recorded.node_of(pod["name"]) == pod["node"]
    assert {event["message"] for event in recorded.events(pod["name"])} == set(pod["messages"])
    condition = recorded.condition(pod["name"])
    assert {key: condition[key] for key in ("status", "reason", "message") if condition.get(key)} == pod["condition"]


# Five pods for a node that takes two, recorded as well.
WALL = json.loads((Path(__file__).parents[3] / "golden/cluster/one_node.json").read_text())


def test_the_wall_of_one_node_is_as_recorded() -> None:
    sim = Sim()
    sim.namespace("one")
    capacity = WALL["capacity"]
    sim.node("kwok-0", pods=int(capacity["pods"]), cpu=capacity["cpu"], memory=capacity["memory"])
    for pod in WALL["pods"]:
        sim.pod(pod["name"], namespace="one")
    for pod in WALL["pods"]:
        name = pod["name"]
        conditions = sim.get(name, "one")["status"]["conditions"]
        condition = next(c for c in conditions if c["type"] == "PodScheduled")
        assert sim.node_of(name, "one") == pod["node"]
        assert {key: condition[key] for key in ("status", "reason", "message") if condition.get(key)} == pod[
            "condition"
        ]
        events = [event for reason in ("Scheduled", "FailedScheduling") for event in sim.events(name, reason)]
        said = [[event["type"], event["reason"], event.get("message") or event["note"]] for event in events]
        assert said == pod["events"]
    sim.close()
