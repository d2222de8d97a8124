"""Whole clusters on simulated time: the scenarios that ship hold, runs repeat to the byte, planted faults are caught."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kubedyno.base import aio
from kubedyno.base.errors import KubedynoError
from kubedyno.base.simulation import simulate
from kubedyno.cli.main import main
from kubedyno.cluster.controllers.deployments import Deployments
from kubedyno.cluster.controllers.jobs import Jobs
from kubedyno.cluster.kubelet.addresses import AddressPool
from kubedyno.cluster.kubelet.endings import Endings
from kubedyno.cluster.kubelet.pods import Pods
from kubedyno.cluster.registry import eviction
from kubedyno.cluster.registry.namespacerules import NamespaceRules
from kubedyno.cluster.scheduler import filters
from kubedyno.cluster.settings import ClusterSettings, NodeSettings
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.kube.resources import PODS
from kubedyno.lab.simulation import scenario as scenarios
from kubedyno.lab.simulation import shipped
from kubedyno.lab.simulation.broken import Broken
from kubedyno.lab.simulation.checks import Checks
from kubedyno.lab.simulation.doors import HeldPump
from kubedyno.lab.simulation.run import Result, run
from kubedyno.lab.simulation.scenario import Scenario, parse
from kubedyno.lab.simulation.world import World

HEAD = "apiVersion: kubedyno.io/v1alpha1\nkind: Simulation\n"
ROOT = Path(__file__).parents[2]
# Few seeds of each here: all together take seconds. `kubedyno simulate NAME --seeds 0-200` runs more.
SEEDS = {"churn-1000-nodes": 1, "cron-week": 1, "trouble": 5}
DEPLOYMENT = """
  - apply:
      apiVersion: apps/v1
      kind: Deployment
      metadata: {name: web}
      spec:
        replicas: 12
        selector: {matchLabels: {app: web}}
        template:
          metadata: {labels: {app: web}}
          spec: {containers: [{name: web, image: "nginx:1.27"}]}
"""


def shipped_runs() -> list[tuple[str, int]]:
    return [(name, seed) for name in shipped.names() for seed in range(SEEDS.get(name, 3))]


def told(result: Result) -> str:
    return "" if result.broken is None else f"seed {result.seed}: {result.broken}\n" + "\n".join(result.around)


@pytest.mark.parametrize(("name", "seed"), shipped_runs())
def test_a_scenario_that_ships_holds(name: str, seed: int) -> None:
    wanted = scenarios.read(shipped.path_of(name))
    if name == "cron-week":
        # A day of the week; the expectation is that of all seven.
        wanted = replace(wanted, duration_s=86_400.0, steps=wanted.steps[:1], expectations=())
    result = run(wanted, seed)
    assert result.broken is None, told(result)
    assert result.simulated_s > wanted.duration_s


def test_a_run_repeats_to_the_byte_in_another_process_with_other_hashes(tmp_path: Path) -> None:
    found = []
    for number in ("1", "2"):
        log, dump = tmp_path / f"log{number}", tmp_path / f"dump{number}"
        words = ["simulate", "trouble", "--seed", "7", "--log", str(log), "--dump", str(dump), "--json"]
        done = subprocess.run(
            [sys.executable, "-m", "kubedyno", *words],
            env={**os.environ, "PYTHONHASHSEED": number, "PYTHONPATH": str(ROOT / "src")},
            capture_output=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        document = json.loads(done.stdout)
        del document["wall_s"]
        found.append((log.read_bytes(), dump.read_bytes(), document))
    assert found[0] == found[1]
    assert len(found[0][0].splitlines()) == found[0][2]["commits"] > 1000
    assert found[0][2]["restarts"] > 0


def test_another_seed_is_another_run() -> None:
    wanted = parse(f"{HEAD}cluster: {{nodes: 3}}\nsteps:{DEPLOYMENT}", "s.yaml")
    digests = {run(wanted, seed).log_digest for seed in (1, 2, 1)}
    assert len(digests) == 2


# --- planted faults: what must hold is seen not to --------------------------------------------------------------------


def scenario_of(more: str = "", *, cluster: str = "{nodes: 3, maxPods: 30}", settle: str = "1m") -> Scenario:
    return parse(f"{HEAD}cluster: {cluster}\nsettle: {settle}\nsteps:{DEPLOYMENT}{more}", "s.yaml")


def broken_by(wanted: Scenario, seed: int = 1) -> str:
    result = run(wanted, seed)
    assert result.broken is not None
    assert result.broken.message
    return result.broken.invariant


def test_a_scheduler_that_ignores_max_pods_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "fits", lambda spec, node: None)
    more = "  - scale: {object: deployment/web, replicas: 100}\n  - pause: 1m\n"
    assert broken_by(scenario_of(more)) == "max-pods"


def test_a_scheduler_that_ignores_requests_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "fits", lambda spec, node: None)
    wanted = scenario_of("  - pause: 1m\n", cluster="{nodes: 3}")
    template = wanted.steps[0].value["spec"]["template"]["spec"]["containers"][0]
    template["resources"] = {"requests": {"memory": "3Gi"}}
    assert broken_by(wanted) == "node-resources"


def test_a_scheduler_that_places_nothing_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    no = filters.Rejection("NodeResourcesFit", ("Insufficient cpu",), resolvable=False)
    monkeypatch.setattr(filters, "fits", lambda spec, node: no)
    wanted = replace(scenario_of("  - pause: 5m\n"), allow_pending=True)
    assert broken_by(wanted) == "pod-scheduled"


def test_a_kubelet_that_gives_an_address_twice_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AddressPool, "allocate", lambda pool: "10.244.1.77")
    assert broken_by(scenario_of("  - pause: 1m\n")) == "one-address"


def test_quotas_that_are_not_asked_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NamespaceRules, "check", lambda *_: None)
    quota = "{apiVersion: v1, kind: ResourceQuota, metadata: {name: q}, spec: {hard: {pods: '5'}}}"
    text = f"{HEAD}cluster: {{nodes: 2}}\nsteps:\n  - apply: {quota}\n{DEPLOYMENT.lstrip(chr(10))}  - pause: 1m\n"
    assert broken_by(parse(text, "s.yaml")) == "quota"


def test_evictions_past_their_budget_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eviction, "_take", lambda *_, **__: None)
    budget = "{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: b}, spec: {minAvailable: 12, selector: {matchLabels: {app: web}}}}"
    more = f"  - apply: {budget}\n  - wait: {{for: available}}\n  - drain: {{node: kubedyno-worker}}\n"
    assert broken_by(scenario_of(more)) == "disruption-budget"


JOB = """  - apply:
      apiVersion: batch/v1
      kind: Job
      metadata: {name: work}
      spec:
        parallelism: 3
        completions: 12
        template:
          metadata: {annotations: {kubedyno.io/run-seconds: "60"}}
          spec: {restartPolicy: Never, containers: [{name: work, image: "busybox:1"}]}
  - pause: 5m
"""


def test_a_job_over_its_parallelism_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    create = Jobs._create

    def twice(jobs: Jobs, row: Any, look: Any, missing: int, budget: int) -> str:
        return create(jobs, row, look, missing * 2, budget)

    monkeypatch.setattr(Jobs, "_create", twice)
    assert broken_by(scenario_of(JOB)) == "job-parallelism"


@pytest.mark.parametrize(
    ("worker", "more", "invariant"),
    [
        ("deployment", "  - pause: 5m\n", "deployment-converges"),
        ("replicaset", "  - pause: 5m\n", "replicaset-converges"),
        ("job", JOB, "job-converges"),
        ("namespace", ("  - apply: {apiVersion: v1, kind: Namespace, metadata: {name: leaving}}\n"
         "  - delete: {object: namespace/leaving}\n  - pause: 5m\n"), "no-finalizer-left"),
        ("garbage-absent", "  - wait: {for: available}\n  - delete: {object: deployment/web}\n  - pause: 5m\n", "owner-gone"),
        ("endpointslice", ("  - apply: {apiVersion: v1, kind: Service, metadata: {name: web}, "
         "spec: {selector: {app: web}, ports: [{port: 80}]}}\n  - pause: 5m\n"), "slices-match"),
        ("kubelet-pods", "  - pause: 5m\n", "pod-starts"),
    ],
)  # fmt: skip
def test_a_part_that_stands_still_is_caught(
    monkeypatch: pytest.MonkeyPatch, worker: str, more: str, invariant: str
) -> None:
    class Stuck(HeldPump):
        def __init__(self, clock: Any) -> None:
            super().__init__(clock)
            clock_s = clock.monotonic
            # The system's own pods come up first.
            self.call_at(clock_s() + 0.5, lambda: self.hold(worker))

    monkeypatch.setattr("kubedyno.lab.simulation.world.HeldPump", Stuck)
    wanted = scenario_of(more)
    found = broken_by(wanted)
    # What stands still has several consequences; which is seen first is the order of looking.
    assert found == invariant or (found, invariant) in {
        ("deployment-converges", "replicaset-converges"), ("deployment-converges", "pod-starts"),
    }  # fmt: skip


def test_a_reconciler_that_goes_on_failing_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise KeyError("planted")

    monkeypatch.setattr(Deployments, "_reconcile", fail)
    assert broken_by(scenario_of("  - pause: 5m\n")) in {"reconciled", "deployment-converges"}


def test_work_without_end_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubedyno.base.simulation.MAX_TURNS", 500)

    class Busy(HeldPump):
        def __init__(self, clock: Any) -> None:
            super().__init__(clock)
            self.call_at(clock.monotonic() + 30, self.worker("busy", lambda _: True).wake)

    monkeypatch.setattr("kubedyno.lab.simulation.world.HeldPump", Busy)
    assert broken_by(scenario_of("  - pause: 5m\n")) == "time-goes-on"


def test_containers_that_outlive_their_pods_object_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def at_once(self: Endings, run: Any, record: Any) -> None:
        self._desk.trusted.finish_delete(PODS, record.key, uid=run.uid)

    monkeypatch.setattr(Endings, "terminate", at_once)
    more = "  - wait: {for: available}\n  - scale: {object: deployment/web, replicas: 2}\n  - pause: 1m\n"
    assert broken_by(scenario_of(more)) == "one-ordinal"


def test_containers_that_nobody_stops_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pods, "removed", lambda *_: None)
    more = "  - wait: {for: available}\n  - delete: {object: deployment/web, propagation: Orphan}\n"
    more += "  - delete: {object: replicaset, selector: app=web, propagation: Orphan}\n"
    more += "  - delete: {object: pod, selector: app=web, grace: 0}\n  - pause: 5m\n"
    assert broken_by(scenario_of(more)) == "no-leak"


def rogue(act: Any) -> list[Broken]:
    """Run a small cluster, do something to its store that nobody may do, and return what was said of it."""
    found: list[Broken] = []

    async def go() -> None:
        settings = ClusterSettings(nodes=(NodeSettings("a", control_plane=True), NodeSettings("b")))
        world = World(settings)
        Checks(world, found.append)
        world.start()
        await aio.sleep(60)
        assert not found
        pod = next(r for r in world.store.table(PODS).all() if r.obj.facts.node_name == "b")
        act(world, pod)
        world.pump.stop()

    simulate(go())
    return found


def changed(world: World, pod: Any, **facts: Any) -> None:
    obj = pod.obj
    parts = {name: getattr(obj, name) for name in StoredObject.__struct_fields__}
    names = obj.facts.__struct_fields__
    parts["facts"] = type(obj.facts)(**{**{name: getattr(obj.facts, name) for name in names}, **facts})
    world.store.put(PODS, StoredObject(**parts))


def test_a_pod_that_changes_its_node_is_caught() -> None:
    assert rogue(lambda world, pod: changed(world, pod, node_name="a"))[0].invariant == "one-node"


def test_a_kubelet_that_runs_anothers_pod_is_caught() -> None:
    async def go() -> list[Broken]:
        found: list[Broken] = []
        settings = ClusterSettings(nodes=(NodeSettings("a", control_plane=True), NodeSettings("b")))
        world = World(settings)
        checks = Checks(world, found.append)
        world.start()
        await aio.sleep(60)
        checks.look()
        assert not found
        runs = world.cluster.nodes.pods.runs.values()
        stray = next(run for run in runs if run.node.name == "b" and not run.static)
        stray.node = next(run.node for run in runs if run.node.name == "a")
        checks.look()
        world.pump.stop()
        return found

    assert [one.invariant for one in simulate(go())] == ["one-node"]


def test_a_pod_that_lives_again_is_caught() -> None:
    def act(world: World, pod: Any) -> None:
        changed(world, pod, phase="Failed")
        changed(world, pod, phase="Running")

    assert rogue(act)[0].invariant == "ended-for-good"


def test_a_revision_that_goes_back_is_caught() -> None:
    found: list[Broken] = []
    calls: list[Any] = []
    world = SimpleNamespace(now_s=1.0, listen=calls.append)
    Checks(world, found.append)  # type: ignore[arg-type]
    for revision in (5, 7, 6):
        calls[0]("configmaps", SimpleNamespace(key="n/c", revision=revision))
    assert [one.invariant for one in found] == ["revision-monotone"]


# --- the command ---------------------------------------------------------------------------------------------------


def test_a_broken_run_ends_with_code_1_and_says_how_to_repeat_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"{HEAD}steps:{DEPLOYMENT}expect:\n  - {{pods: app=web, is: 11}}\n")
    assert main(["simulate", str(path), "--seed", "5"]) == 1
    text = capsys.readouterr().out
    assert "BROKEN" in text
    assert f"{path}:15: pods app=web: 12, not 11" in text
    assert f"repeat it: kubedyno simulate {path} --seed 5" in text


def test_many_seeds_are_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "rolling-update", "--seeds", "3-5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [f"rolling-update seed {seed}" for seed in (3, 4, 5)]


def test_the_scenarios_that_ship_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--list"]) == 0
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines()} == set(shipped.names())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: Simulation\n", "must begin with"),
        (HEAD + "steps:\n  - aply: x.yaml\n", "s.yaml:4: steps[0].aply is unknown; did you mean apply?"),
        (HEAD + "steps:\n  - pause: soon\n", "s.yaml:4: steps[0].pause must be a duration"),
        (HEAD + "steps:\n  - scale: {object: deployment/web}\n", "steps[0].scale needs replicas"),
        (HEAD + "steps:\n  - wait: {for: godot}\n", "must be one of available"),
        (HEAD + "faults:\n  - {kind: flood}\n", "faults[0] needs a kind"),
        (HEAD + "faults:\n  - {kind: conflict, probability: 2}\n", "must be a number between 0 and 1"),
        (HEAD + "expect:\n  - {pods: ''}\n", "must say how many"),
        (HEAD + "cluster: {nodes: 0}\n", "cluster.nodes must be a whole number"),
        (HEAD + "cluster: {maxPods: many}\n", "cluster.maxPods must be a whole number"),
        ("[1, 2]", "holds no scenario"),
    ],
)
def test_a_scenario_that_is_wrong_is_one_line_with_its_place(text: str, said: str) -> None:
    with pytest.raises(KubedynoError) as caught:
        parse(text, "s.yaml")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("apply: there-is-none.yaml", "there-is-none.yaml: cannot be read"),
        ("apply: {apiVersion: v1, kind: Pood, metadata: {name: x}}", "there is no kind 'Pood' in 'v1'"),
        ("scale: {object: web, replicas: 1}", "'web' is no KIND/NAME"),
        ("scale: {object: deployment/none, replicas: 1}", "answers 404"),
        ("cordon: {node: nowhere}", "there is no node nowhere"),
        ("wait: {for: gone, object: namespace/default, timeout: 5s}", "for gone in vain for 5 s"),
        ("create: {template: {apiVersion: v1, kind: ConfigMap, metadata: {name: '{{.Nothing}}'}}}", "Nothing"),
    ],
)  # fmt: skip
def test_a_step_that_cannot_be_done_breaks_the_run_with_its_place(step: str, said: str) -> None:
    result = run(parse(f"{HEAD}steps:\n  - {step}\n", "s.yaml"), 1)
    assert result.broken is not None
    assert result.broken.invariant == "step"
    assert result.broken.message.startswith("s.yaml:4: ")
    assert said in result.broken.message
