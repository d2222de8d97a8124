"""KWOK's Stage objects drive pods and nodes of an embedded cluster."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kubedyno.cluster.kubelet.stagerules import stage_of
from kubedyno.kube.resources import NODES, PODS, Resource
from kubedyno.lab.stagelanguage import StageLanguage

_PATH = Path(__file__).parents[1] / "cluster" / "kubelet" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("kubelet_harness", _PATH)
assert _SPEC is not None
assert _SPEC.loader is not None
harness: Any = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(harness)
NS = harness.NS

READY = """
{{ $now := Now }}
phase: Running
startTime: {{ $now | Quote }}
conditions:
- {lastTransitionTime: {{ $now | Quote }}, status: "True", type: Ready}
containerStatuses:
{{ range .spec.containers }}
- image: {{ .image | Quote }}
  name: {{ .name | Quote }}
  ready: true
  restartCount: 0
  state:
    running:
      startedAt: {{ $now | Quote }}
{{ end }}
{{ with PodIPsWith .spec.nodeName ( or .spec.hostNetwork false ) ( or .metadata.uid "" ) ( or .metadata.name "" ) ( or .metadata.namespace "" ) }}
podIP: {{ index . 0 | Quote }}
{{ end }}
hostIP: {{ NodeIPWith .spec.nodeName | Quote }}
"""


def stage(name: str, kind: str = "Pod", after: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    expressions = spec.pop("where", None)
    selector = {"selector": {"matchExpressions": expressions or []}}
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {"resourceRef": {"apiGroup": "v1", "kind": kind}, **selector, "next": after or {}, **spec},
    }


def key(text: str, operator: str, *values: str) -> dict[str, Any]:
    return {"key": text, "operator": operator, **({"values": list(values)} if values else {})}


NOT_READY = key('.status.conditions.[] | select( .type == "Ready" ) | .status', "NotIn", "True")
ALIVE, DELETED = key(".metadata.deletionTimestamp", "DoesNotExist"), key(".metadata.deletionTimestamp", "Exists")
PENDING, RUNNING = key(".status.phase", "In", "Pending"), key(".status.phase", "In", "Running")
POD_READY = stage("pod-ready", where=[ALIVE, PENDING, NOT_READY], after={"statusTemplate": READY})
POD_DELETE = stage("pod-delete", where=[DELETED], after={"delete": True})


class Staged(harness.Sim):  # type: ignore[misc, name-defined]
    """The kubelets' harness, with stages."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(language=StageLanguage(), **settings)
        self.resource = Resource("kwok.x-k8s.io", "v1alpha1", "stages", "Stage", namespaced=False)
        self.set_cidr()

    def serve_stages(self) -> None:
        from kubedyno.cluster.registry.kinds.passive import ConfigMaps

        kind = ConfigMaps(self.resource)
        self.store.add(self.resource, kind.indexes)
        self.registry.serve(kind)

    def put(self, *stages: dict[str, Any]) -> None:
        from kubedyno.cluster.registry.codec import stored_of

        for one in stages:
            whole = {**one, "metadata": {**one["metadata"], "uid": one["metadata"]["name"]}}
            self.store.put(self.resource, stored_of(self.registry.kind(self.resource), whole))
        self.run()


@pytest.fixture
def sim() -> Iterator[Staged]:
    made = Staged(speed=1)
    made.serve_stages()
    yield made
    made.close()


def test_pods_become_ready_and_go_as_the_fast_stages_say(sim: Staged) -> None:
    sim.put(POD_READY, POD_DELETE)
    sim.create()
    sim.run()
    status = sim.pod()
    assert (status["phase"], status["hostIP"]) == ("Running", "172.18.0.2")
    assert status["podIP"].startswith("10.244.0.")
    assert status["containerStatuses"][0]["name"] == "c"
    assert sim.events() == []
    assert sim.nodes.pods.runs == {}
    sim.delete()
    sim.run()
    assert sim.gone()
    # Its address is free again.
    sim.create("q")
    sim.run()
    assert sim.pod("q")["podIP"] != ""
    pool = sim.nodes._rows["n0"].pool
    assert pool is not None
    assert pool.free == pool.capacity - 1


def test_without_stages_the_kubelet_has_them(sim: Staged) -> None:
    sim.create()
    sim.run(30)
    assert sim.pod()["phase"] == "Running"
    assert len(sim.events()) > 3


def test_a_pod_that_the_kubelet_has_begun_with_stays_its_own(sim: Staged) -> None:
    sim.create()
    sim.run(30)
    sim.put(POD_READY, POD_DELETE)
    sim.delete()
    sim.run(31)
    assert sim.gone()
    assert any(reason == "Killing" for reason, _ in sim.events())


def test_a_delay_with_jitter_and_annotations_that_say_it(sim: Staged) -> None:
    delay = {
        "durationMilliseconds": 10_000,
        "durationFrom": {"expressionFrom": '.metadata.annotations["x/delay"]'},
        "jitterDurationMilliseconds": 20_000,
    }
    sim.put(stage("ready", where=[PENDING], after={"statusTemplate": READY}, delay=delay))
    sim.create()
    sim.create("soon", annotations={"x/delay": "1s"})
    sim.run(9.9)
    assert sim.pod()["phase"] == "Pending"
    sim.run(10.2)
    assert sim.pod()["phase"] == sim.pod("soon")["phase"] == "Running"


def test_weights_choose_among_those_that_fit(sim: Staged) -> None:
    for name, weight in (("a", 3), ("b", 1), ("never", 0)):
        after = {"statusTemplate": f"phase: Running\nreason: {name}"}
        sim.put(stage(name, where=[PENDING], after=after, weight=weight))
    for number in range(80):
        sim.create(f"p{number}")
    sim.run()
    taken = [sim.pod(f"p{number}")["reason"] for number in range(80)]
    assert 45 <= taken.count("a") <= 75
    assert taken.count("never") == 0


def test_events_finalizers_and_labels(sim: Staged) -> None:
    after = {
        "event": {"type": "Normal", "reason": "Made", "message": "so it is"},
        "finalizers": {"add": [{"value": "kwok.x-k8s.io/fake"}]},
        "statusTemplate": "phase: Running",
    }
    made = stage("made", where=[PENDING], after=after)
    made["spec"]["selector"] = {"matchLabels": {"app": "x"}, "matchExpressions": [PENDING]}
    gone = stage("gone", where=[DELETED], after={"finalizers": {"empty": True}, "delete": True})
    sim.put(made, gone)
    sim.registry.create(
        PODS,
        NS,
        {
            "metadata": {"name": "p", "labels": {"app": "x"}},
            "spec": {"containers": [{"name": "c", "image": "x"}], "nodeName": "n0"},
        },
    )
    sim.run()
    assert sim.events() == [("Made", "so it is")]
    assert sim.get(PODS, "p")["metadata"]["finalizers"] == ["kwok.x-k8s.io/fake"]
    sim.delete()
    sim.run()
    assert sim.gone()


def test_steps_with_patches_of_another_kind(sim: Staged) -> None:
    patch = {"subresource": "status", "root": "status", "template": "phase: Succeeded", "type": "merge"}
    one = stage("steps", where=[PENDING])
    one["spec"].pop("next")
    one["spec"]["steps"] = [{"patch": patch}, {"event": {"reason": "Done"}}]
    sim.put(one)
    sim.create()
    sim.run()
    assert sim.pod()["phase"] == "Succeeded"
    assert sim.events() == [("Done", "")]


NODE_READY = """
{{ $now := Now }}
conditions:
{{ range NodeConditions }}
- lastHeartbeatTime: {{ $now | Quote }}
  message: {{ .message | Quote }}
  reason: {{ .reason | Quote }}
  status: {{ .status | Quote }}
  type: {{ .type | Quote }}
{{ end }}
addresses:
- {address: {{ NodeIP | Quote }}, type: InternalIP}
allocatable:
{{ with .status.allocatable }}
{{ YAML . 1 }}
{{ else }}
  cpu: 1k
{{ end }}
phase: Running
"""


def test_nodes_of_kwok_are_driven_too(sim: Staged) -> None:
    sim.put(stage("node-initialize", "Node", where=[NOT_READY], after={"statusTemplate": NODE_READY}))
    annotations = {"kwok.x-k8s.io/node": "fake"}
    status = {"allocatable": {"cpu": "32", "pods": "10"}}
    sim.registry.create(NODES, "", {"metadata": {"name": "fake", "annotations": annotations}, "status": status})
    sim.run(1)
    node = sim.node("fake")["status"]
    assert {one["type"]: one["status"] for one in node["conditions"]}["Ready"] == "True"
    assert node["allocatable"] == {"cpu": "32", "pods": "10"}
    assert node["addresses"] == [{"address": "172.18.0.3", "type": "InternalIP"}]
    assert "nodeInfo" not in node or not node["nodeInfo"].get("kubeletVersion")
    # The cluster's own node keeps its kubelet.
    assert sim.node("n0")["status"]["nodeInfo"]["kubeletVersion"] == "v1.36.0"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"resourceRef": {}}, "spec.resourceRef.kind: is missing"),
        ({"selector": {"matchExpressions": [{"key": ".a | | .b", "operator": "Exists"}]}}, "matchExpressions[0].key: "),
        ({"selector": {"matchExpressions": [{"key": ".a", "operator": "Is"}]}}, "operator: 'Is' is none of In, NotIn"),
        ({"selector": {"matchExpressions": [{"cel": {"expression": "true"}}]}}, "only jq expressions"),
        ({"steps": [{"apply": {"template": "x"}}]}, "spec.steps[0].apply: other objects are not made here"),
    ],
)
def test_a_stage_that_is_none_is_told(change: dict[str, Any], why: str) -> None:
    one = stage("x", where=[PENDING])
    one["spec"].update(change)
    with pytest.raises(ValueError, match=re.escape(why)):
        stage_of(one, StageLanguage())


def test_one_that_cannot_be_read_shows_in_health_and_holds_up_no_other(sim: Staged) -> None:
    bad = stage("bad", where=[PENDING], after={"statusTemplate": "{{ .x"})
    sim.put(bad, POD_READY)
    sim.create()
    sim.run()
    assert sim.pod()["phase"] == "Running"
    reports = {name: text for name, _, text in sim.pump.health.reports()}
    assert reports["kubelet.stages"].startswith("stage bad: ")


def test_a_template_that_fails_shows_in_health(sim: Staged) -> None:
    sim.put(stage("bad", where=[PENDING], after={"statusTemplate": "phase: {{ index .spec.containers 7 }}"}))
    sim.create()
    sim.run()
    reports = {name: text for name, _, text in sim.pump.health.reports()}
    assert "stage bad: Pod ns/p: " in reports["kubelet.stages"]


def test_a_change_has_the_next_stage_chosen_anew(sim: Staged) -> None:
    labelled = [RUNNING, key('.metadata.labels["bad"]', "Exists")]
    later = stage(
        "later", where=[RUNNING], after={"statusTemplate": "reason: late"}, delay={"durationMilliseconds": 60_000}
    )
    sim.put(POD_READY, later, stage("bad", where=labelled, after={"statusTemplate": "phase: Failed"}, weight=1))
    sim.create()
    sim.run(5)
    assert sim.pod()["phase"] == "Running"
    pod = sim.get(PODS, "p")
    pod["metadata"]["labels"] = {"bad": "yes"}
    sim.registry.update(PODS, NS, "p", pod)
    sim.run()
    assert sim.pod()["phase"] == "Failed"
    sim.run(60)
    assert "reason" not in sim.pod()


def test_without_stages_for_nodes_the_kubelet_has_them_again(sim: Staged) -> None:
    sim.put(stage("node-initialize", "Node", where=[NOT_READY], after={"statusTemplate": NODE_READY}))
    annotations = {"kwok.x-k8s.io/node": "fake"}
    sim.registry.create(NODES, "", {"metadata": {"name": "fake", "annotations": annotations}})
    sim.run(1)
    sim.set_cidr("10.244.9.0/24", "fake")
    assert sim.node("fake")["status"]["allocatable"] == {"cpu": "1k"}
    sim.store.remove(sim.resource, "node-initialize")
    sim.run(1)
    assert sim.node("fake")["status"]["nodeInfo"]["kubeletVersion"] == "v1.36.0"
    assert harness.condition(sim.node("fake")["status"], "Ready")["status"] == "True"


def test_the_pause_begins_anew_with_each_change(sim: Staged) -> None:
    after = {"statusTemplate": "phase: Running"}
    sim.put(stage("later", where=[PENDING], after=after, delay={"durationMilliseconds": 60_000}))
    sim.create()
    sim.run(30)
    pod = sim.get(PODS, "p")
    pod["metadata"]["labels"] = {"a": "b"}
    sim.registry.update(PODS, NS, "p", pod)
    sim.run(40)
    assert sim.pod()["phase"] == "Pending"
    sim.run(30)
    assert sim.pod()["phase"] == "Running"
