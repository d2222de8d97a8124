"""What happens to running containers: probes that fail, hooks, deadlines, restart rules, stop signals, resizes."""

from typing import Any

import pytest

from kubedyno.cluster.registry.featuregates import REDUCED_CRASH_LOOP, STOP_SIGNALS
from kubedyno.kube.resources import PODS

from .conftest import NS, Sim, condition
from .test_private_images import configured

PROBE = {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 10, "failureThreshold": 3}


def reasons(sim: Sim, name: str = "p") -> list[str]:
    return [reason for reason, _ in sim.events(name)]


def texts(sim: Sim, name: str = "p") -> list[str]:
    return [text for _, text in sim.events(name)]


def status(sim: Sim, name: str = "p") -> dict[str, Any]:
    found: dict[str, Any] = sim.pod(name)["containerStatuses"][0]
    return found


@pytest.mark.parametrize("speed", [0, 1])
def test_a_failing_liveness_probe_kills_the_container_at_its_threshold(make: Any, speed: float) -> None:
    sim = make(speed=speed)
    sim.create(container={"livenessProbe": PROBE}, annotations={"kubedyno.io/fail-liveness": "30s"})
    sim.run(45)
    assert status(sim)["restartCount"] == 0
    assert texts(sim).count("Liveness probe failed: HTTP probe failed with statuscode: 503") >= 1
    sim.run(20)
    assert "Container c failed liveness probe, will be restarted" in texts(sim)
    assert status(sim)["restartCount"] == 1
    # From the start of the new one it counts anew.
    sim.run(60)
    assert status(sim)["restartCount"] == 2


def test_one_that_is_not_restarted_ends_its_pod(sim: Sim) -> None:
    sim.create(
        container={"livenessProbe": PROBE}, annotations={"kubedyno.io/fail-liveness": "1s"}, restartPolicy="Never"
    )
    sim.run(40)
    assert "Container c failed liveness probe" in texts(sim)
    assert sim.pod()["phase"] == "Succeeded"


@pytest.mark.parametrize(
    ("policy", "code", "phase"), [("Never", 3, "Failed"), ("Never", 0, "Succeeded"), ("Always", 3, "Running")]
)
def test_a_program_that_waits_ends_when_it_is_told_to(make: Any, policy: str, code: int, phase: str) -> None:
    sim = make(speed=1)
    sim.create(container={"command": ["sh"], "stdin": True}, restartPolicy=policy)
    sim.run(10)
    assert sim.pod()["phase"] == "Running"
    uid = sim.get(PODS, "p")["metadata"]["uid"]
    sim.nodes.pods.end_program(f"{NS}/p", "another", "c", code)
    sim.nodes.pods.end_program(f"{NS}/p", uid, "c", code)
    sim.run(15)
    assert sim.pod()["phase"] == phase
    found = status(sim)
    assert found["restartCount"] == (policy == "Always")
    ended = found["lastState" if policy == "Always" else "state"]["terminated"]
    assert ended["exitCode"] == code
    # What has ended is not ended again.
    sim.nodes.pods.end_program(f"{NS}/p", uid, "c", 9)


def test_a_probes_own_grace_period_counts(make: Any) -> None:
    ended = {}
    for grace in (None, 2):
        sim = make(speed=1)
        probe = {**PROBE, "failureThreshold": 1, **({"terminationGracePeriodSeconds": grace} if grace else {})}
        # A shell as process 1 does not act on SIGTERM.
        sim.create(
            container={"livenessProbe": probe, "command": ["sh", "-c", "while true; do sleep 1; done"]},
            annotations={"kubedyno.io/fail-liveness": "1s"},
            terminationGracePeriodSeconds=20,
        )
        sim.run(15)
        ended[grace] = status(sim)["restartCount"]
    assert ended == {None: 0, 2: 1}


def test_readiness_comes_and_goes(sim: Sim) -> None:
    probe = {**PROBE, "failureThreshold": 1}
    sim.create(container={"readinessProbe": probe}, annotations={"kubedyno.io/fail-readiness": "20s-50s"})
    seen = []
    for _ in range(3):
        sim.run(15)
        seen.append(condition(sim.pod(), "Ready")["status"])
        sim.run(10)
    assert seen == ["True", "False", "True"]
    assert "Readiness probe failed: HTTP probe failed with statuscode: 503" in texts(sim)
    assert status(sim)["restartCount"] == 0


@pytest.mark.parametrize("member", ["readinessProbe", "startupProbe"])
def test_what_a_probe_was_to_find_of_a_container_is_nothing_to_the_one_after_it(make: Any, member: str) -> None:
    sim = make(speed=1)
    probe = {**PROBE, "initialDelaySeconds": 8, "periodSeconds": 1}
    sim.create(container={member: probe}, annotations={"kubedyno.io/run-seconds": "5", "kubedyno.io/exit-code": "1"})
    seen = set()
    for _ in range(26):
        sim.run(0.5)
        seen.add((status(sim)["restartCount"], "running" in status(sim)["state"], status(sim)["ready"]))
    # It came again while the first one's probe was due, and was never ready.
    assert (1, True, False) in seen
    assert not any(ready for _, _, ready in seen)


def test_a_startup_probe_that_never_succeeds(sim: Sim) -> None:
    probe = {"tcpSocket": {"port": 80}, "periodSeconds": 5, "failureThreshold": 2}
    sim.create(container={"startupProbe": probe}, annotations={"kubedyno.io/fail-startup": "true"})
    sim.run(4)
    assert (status(sim)["started"], status(sim)["ready"]) == (False, False)
    sim.run(4)
    assert "Container c failed startup probe, will be restarted" in texts(sim)
    assert status(sim)["restartCount"] == 1


@pytest.mark.parametrize("speed", [0, 1])
def test_a_pod_past_its_deadline_fails(make: Any, speed: float) -> None:
    sim = make(speed=speed)
    sim.create(activeDeadlineSeconds=20)
    sim.run(19)
    assert sim.pod()["phase"] == "Running"
    sim.run(3)
    pod = sim.pod()
    why = "Pod was active on the node longer than the specified deadline"
    assert (pod["phase"], pod["reason"], pod["message"]) == ("Failed", "DeadlineExceeded", why)
    assert ("DeadlineExceeded", why) in sim.events()
    assert sim.nodes._rows["n0"].pods == 0


def test_a_pod_that_ended_before_its_deadline_stays_as_it_ended(sim: Sim) -> None:
    sim.create(activeDeadlineSeconds=20, restartPolicy="Never", container={"command": ["true"]})
    sim.run(30)
    assert sim.pod()["phase"] == "Succeeded"
    assert "reason" not in sim.pod()


def test_killed_for_its_memory(sim: Sim) -> None:
    sim.create(annotations={"kubedyno.io/exit-reason": "OOMKilled", "kubedyno.io/run-seconds": "5"})
    sim.run(6)
    last = status(sim)["lastState"]["terminated"]
    assert (last["reason"], last["exitCode"]) == ("OOMKilled", 137)


def test_a_post_start_hook_is_waited_for(make: Any) -> None:
    sim = make(speed=1)
    hook = {"lifecycle": {"postStart": {"exec": {"command": ["sleep", "10"]}}}}
    sim.create(containers=[{"name": "c", "image": "nginx:1", **hook}, {"name": "d", "image": "nginx:1"}])
    sim.run(12)
    assert "running" not in status(sim)["state"]
    assert texts(sim).count("Container started") == 1
    sim.run(10)
    assert sim.pod()["phase"] == "Running"


def test_a_post_start_hook_that_fails_kills_the_container(sim: Sim) -> None:
    hook = {"lifecycle": {"postStart": {"exec": {"command": ["true"]}}}}
    sim.create(container=hook, annotations={"kubedyno.io/fail-hook": "postStart"})
    sim.run(2)
    assert reasons(sim)[4:6] == ["FailedPostStartHook", "Killing"]
    assert status(sim)["restartCount"] == 1
    assert status(sim)["state"]["waiting"]["reason"] == "CrashLoopBackOff"


def test_a_pre_stop_hook_that_fails_is_told_and_the_pod_goes(sim: Sim) -> None:
    hook = {"lifecycle": {"preStop": {"sleep": {"seconds": 0}}}}
    sim.create(container=hook, annotations={"kubedyno.io/fail-hook": "preStop"})
    sim.run()
    sim.delete()
    sim.run(1)
    assert sim.gone()
    assert "FailedPreStopHook" in reasons(sim)


RULES = [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]


@pytest.mark.parametrize(("code", "again"), [(42, True), (1, False)])
def test_a_rule_has_a_container_started_again(sim: Sim, code: int, again: bool) -> None:
    command = {"command": ["sh", "-c", f"sleep 1; exit {code}"]}
    sim.create(container={**command, "restartPolicy": "Never", "restartPolicyRules": RULES}, restartPolicy="Never")
    sim.run(5)
    assert (status(sim)["restartCount"] > 0) is again
    assert (sim.pod()["phase"] == "Failed") is not again


def test_a_containers_own_policy_counts_before_the_pods(sim: Sim) -> None:
    ends = {"image": "nginx:1", "command": ["sh", "-c", "exit 1"]}
    sim.create(containers=[{"name": "c", "restartPolicy": "Never", **ends}, {"name": "d", "image": "nginx:1"}])
    sim.run(5)
    assert status(sim)["state"]["terminated"]["exitCode"] == 1
    assert sim.pod()["phase"] == "Running"


@pytest.mark.parametrize(
    ("config", "gates", "restarts"),
    [
        ({}, {}, 3),
        ({"crashLoopBackOff": {"maxContainerRestartPeriod": "5s"}}, {}, 12),
        ({}, {REDUCED_CRASH_LOOP: True}, 6),
    ],
)
def test_the_pauses_between_crashes_are_those_of_the_configuration(
    make: Any, config: dict[str, Any], gates: dict[str, bool], restarts: int
) -> None:
    sim = make(feature_gates=gates)
    if config:
        assert configured(sim, **config)["state"] == "running"
    sim.create(container={"command": ["false"]})
    sim.run(60)
    assert status(sim)["restartCount"] == restarts


def test_a_longest_pause_out_of_range_keeps_the_kubelet_down(sim: Sim) -> None:
    state = configured(sim, crashLoopBackOff={"maxContainerRestartPeriod": "400s"})
    assert "(got: 400 seconds) must be set between 1s and 300s" in state["error"]


def test_a_stop_signal_is_shown_and_sigkill_is_final(make: Any) -> None:
    sim = make(feature_gates={STOP_SIGNALS: True}, speed=1)
    for name, signal in (("p", "SIGUSR1"), ("k", "SIGKILL")):
        command = {"command": ["sleep", "inf"]} if name == "k" else {}
        container = {**command, "lifecycle": {"stopSignal": signal}}
        sim.create(name, container=container, os={"name": "linux"})
    sim.run(30)
    assert [status(sim, name)["stopSignal"] for name in ("p", "k")] == ["SIGUSR1", "SIGKILL"]
    sim.history("k")
    sim.delete("k", 30)
    sim.run(2)
    assert sim.gone("k")
    ended = sim.history("k")[-1]["containerStatuses"][0]["state"]["terminated"]
    assert ended["exitCode"] == 137


def resize(sim: Sim, cpu: str, name: str = "p") -> None:
    record = sim.store.get(PODS, f"{NS}/{name}")
    assert record is not None
    pod = sim.store.encode_dict(PODS, record)
    spec = pod["spec"]
    spec["containers"][0]["resources"]["requests"]["cpu"] = cpu
    sim.trusted.replace(PODS, record, body={"spec": spec})
    sim.run(1)


def requesting(cpu: str, **more: Any) -> dict[str, Any]:
    return {"resources": {"requests": {"cpu": cpu}}, **more}


def test_a_resize_is_allocated_and_counts_on_the_node(sim: Sim) -> None:
    sim.create(container=requesting("1"))
    sim.run()
    resize(sim, "3")
    assert status(sim)["allocatedResources"] == {"cpu": "3"}
    assert status(sim)["resources"] == {"requests": {"cpu": "3"}}
    assert status(sim)["restartCount"] == 0
    assert sim.nodes._rows["n0"].cpu_milli == 3000
    sim.delete()
    sim.run(1)
    assert sim.nodes._rows["n0"].cpu_milli == 0


def test_a_resize_is_in_progress_until_the_runtime_has_done_it(make: Any) -> None:
    sim = make(speed=1)
    sim.create(container=requesting("1"))
    sim.run(30)
    sim.history("p")
    resize(sim, "3")
    sim.run(5)
    shown = [{c["type"]: c["status"] for c in seen["conditions"]} for seen in sim.history("p")]
    assert any(seen.get("PodResizeInProgress") == "True" for seen in shown)
    assert "PodResizeInProgress" not in shown[-1]


def test_a_resize_that_no_node_could_give_stays_pending(sim: Sim) -> None:
    sim.create(container=requesting("1"))
    sim.run()
    resize(sim, "9")
    pending = condition(sim.pod(), "PodResizePending")
    why = "Node didn't have enough capacity: cpu, requested: 9000, capacity: 8000"
    assert (pending["reason"], pending["message"]) == ("Infeasible", why)
    assert status(sim)["allocatedResources"] == {"cpu": "1"}


def test_a_deferred_resize_comes_when_there_is_room(sim: Sim) -> None:
    for name in ("p", "q"):
        sim.create(name, container=requesting("3"))
    sim.run()
    resize(sim, "6")
    assert condition(sim.pod(), "PodResizePending")["reason"] == "Deferred"
    sim.delete("q")
    sim.run(1)
    assert all(one["type"] != "PodResizePending" for one in sim.pod()["conditions"])
    assert status(sim)["allocatedResources"] == {"cpu": "6"}
    assert sim.nodes._rows["n0"].cpu_milli == 6000


def test_a_resize_restarts_what_says_so(sim: Sim) -> None:
    policy = {"resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]}
    sim.create(container=requesting("1", **policy))
    sim.run()
    resize(sim, "2")
    assert "Container c resize requires restart" in texts(sim)
    assert status(sim)["restartCount"] == 1
    assert "running" in status(sim)["state"]
