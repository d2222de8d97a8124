"""The commands beside `init` on an embedded cluster: plan, measure, health-check, destroy, ConfigMaps, completion."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import pytest

from kubedyno.base import aio
from kubedyno.base.times import epoch_of
from kubedyno.cli.main import VERBS, main
from kubedyno.client import kubeconfig
from kubedyno.client.api import Client
from kubedyno.lab import embedded
from kubedyno.lab.settings import cluster_settings

CONFIG = """
jobs:
- name: {name}
  jobIterations: {iterations}
  qps: 50
  burst: 20
  namespace: {name}
  preLoadImages: false
  objects:
  - objectTemplate: t.yml
    replicas: 1
"""
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: "p-{{{{.Iteration}}}}"}}
spec: {{containers: [{{name: c, image: {image}}}]}}
"""
ROLE = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: 'role-{{.JobName}}'}\n"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    before = os.environ.get("KUBEDYNO_HOME")
    os.environ["KUBEDYNO_HOME"] = str(tmp_path_factory.mktemp("home"))
    running = embedded.up(cluster_settings(name="commands", speed=0.0)[0])
    yield running
    embedded.down("commands")
    os.environ.pop("KUBEDYNO_HOME")
    if before is not None:
        os.environ["KUBEDYNO_HOME"] = before


@pytest.fixture
def folder(tmp_path, monkeypatch, cluster):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    (tmp_path / "t.yml").write_text(POD.format(image="nginx"))
    return tmp_path


def config(folder, name, iterations=2, more=""):
    (folder / f"{name}.yml").write_text(CONFIG.format(name=name, iterations=iterations) + more)
    return f"{name}.yml"


def names(cluster, path):
    async def read():
        async with Client(kubeconfig.load(cluster.kubeconfig, None)) as client:
            return {item["metadata"]["name"] for item in await client.list_all(path)}

    return aio.run(read())


def create(cluster, path, body):
    async def send():
        async with Client(kubeconfig.load(cluster.kubeconfig, None)) as client:
            await client.create(path, body)

    aio.run(send())


def test_plan_counts_objects_requests_pods_and_what_cannot_be_held(folder, cluster, capsys):
    assert main(["plan", "-c", config(folder, "small", 30), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    (job,) = answer["jobs"]
    assert (job["objects"], job["namespaces"], job["pods"], answer["cannotHold"]) == ({"Pod": 30}, 30, 30, [])
    # Twenty at once, then one every 20 ms.
    assert (job["per_second"], job["seconds"]) == ([30], pytest.approx(0.2))
    assert "create Namespace" in job["rights"]
    assert main(["plan", "-c", config(folder, "large", 150)]) == 1
    room = 110 - len(names(cluster, "/api/v1/pods"))
    line = f"cannot be held: maxPods: 150 pods asked, room for {room} on 1 nodes: {150 - room} would stay Pending"
    assert line in capsys.readouterr().out


def test_plan_names_a_kind_that_the_cluster_does_not_serve(folder, capsys):
    path = folder / config(folder, "strange", 1)
    path.write_text(
        path.read_text() + "- {name: later, jobType: delete, objects: [{kind: Poodle, labelSelector: {a: b}}]}\n"
    )
    first = {
        "jobs": [{"name": "gone", "jobType": "delete", "objects": [{"kind": "Poodle", "labelSelector": {"a": "b"}}]}]
    }
    (folder / "gone.yml").write_text(json.dumps(first))
    assert main(["plan", "-c", str(folder / "gone.yml")]) == 1
    assert "cannot be held: job gone: the cluster serves no Poodle of v1" in capsys.readouterr().out
    # What comes before a job may bring its kinds.
    assert main(["plan", "-c", str(path)]) == 0


def test_plan_finds_what_goes_wrong_late(folder, capsys):
    (folder / "t.yml").write_text(POD.format(image='"{{ if gt .Iteration 6 }}{{ .Missing }}{{ else }}nginx{{ end }}"'))
    assert main(["plan", "-c", config(folder, "late", 9), "--offline"]) == 1
    assert "error: Template error in t.yml" in capsys.readouterr().out
    (folder / "t.yml").write_text(POD.format(image="nginx").replace("p-{{.Iteration}}", "p-{{ div .Iteration 2 }}"))
    shared = config(folder, "twice", 4, "").replace(".yml", "")
    text = (folder / f"{shared}.yml").read_text().replace("  qps", "  namespacedIterations: false\n  qps")
    (folder / f"{shared}.yml").write_text(text)
    assert main(["plan", "-c", f"{shared}.yml", "--offline"]) == 1
    assert "Pod p-0 would be made twice in twice" in capsys.readouterr().out


def test_destroy_by_uuid_leaves_other_runs_of_the_same_job(folder, cluster):
    (folder / "r.yml").write_text(ROLE)
    one, two = (config(folder, name, 1, "  - objectTemplate: r.yml\n") for name in ("one", "two"))
    assert main(["init", "-c", one, "--uuid", "u1", "--skip-log-file"]) == 0
    assert main(["init", "-c", two, "--uuid", "u2", "--skip-log-file"]) == 0
    assert main(["destroy", "--uuid", "u1"]) == 0
    assert {"two-0"} == names(cluster, "/api/v1/namespaces") & {"one-0", "two-0"}
    roles = names(cluster, "/apis/rbac.authorization.k8s.io/v1/clusterroles")
    assert {"role-two"} == roles & {"role-one", "role-two"}
    assert main(["destroy", "-c", two]) == 0
    assert not names(cluster, "/api/v1/namespaces") & {"one-0", "two-0"}


def test_a_configuration_comes_from_a_configmap(folder, cluster, monkeypatch):
    data = {"config.yml": CONFIG.format(name="fromcm", iterations=1), "t.yml": POD.format(image="nginx")}
    create(
        cluster, "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "load"}, "data": data}
    )  # fmt: skip
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    assert main(["init", "--configmap", "load", "-n", "default", "--skip-log-file"]) == 0
    assert "fromcm-0" in names(cluster, "/api/v1/namespaces")
    assert (folder / "elsewhere" / "t.yml").read_text() == data["t.yml"]


def test_a_configmap_without_a_configuration_or_with_a_path_is_refused(folder, cluster, capsys):
    create(cluster, "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "none"}, "data": {"a": "b"}})
    assert main(["init", "--configmap", "none"]) == 1
    assert "has no key config.yml; it holds a" in capsys.readouterr().err
    assert main(["init", "--configmap", "missing"]) == 1


def test_a_configuration_and_its_template_come_by_url(folder, cluster):
    files = {"/c.yml": "", "/t.yml": POD.format(image="nginx")}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = files.get(self.path)
            self.send_response(404 if body is None else 200)
            self.end_headers()
            self.wfile.write((body or "").encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    files["/c.yml"] = CONFIG.format(name="byurl", iterations=1).replace("t.yml", f"{url}/t.yml")
    (folder / "t.yml").unlink()
    try:
        assert main(["init", "-c", f"{url}/c.yml", "--skip-log-file"]) == 0
        assert main(["init", "-c", f"{url}/none.yml", "--skip-log-file"]) == 1
    finally:
        server.shutdown()
        server.server_close()
    assert "byurl-0" in names(cluster, "/api/v1/namespaces")


def test_measure_of_the_past_and_health_check(folder, cluster):
    assert main(["init", "-c", config(folder, "past", 3), "--uuid", "u3", "--skip-log-file"]) == 0
    (folder / "m.yml").write_text("global: {measurements: [{name: podLatency}]}\n")
    arguments = ["measure", "-c", "m.yml", "--past", "-l", "kube-burner.io/job=past", "--uuid", "u4", "-j", "seen"]
    assert main([*arguments, "--skip-log-file"]) == 0
    found = json.loads((folder / "collected-metrics-u4" / "podLatencyMeasurement-seen.json").read_text())
    assert sorted(document["podName"] for document in found) == ["p-0", "p-1", "p-2"]
    assert main(["health-check"]) == 0
    (log,) = [path for path in folder.glob("kube-burner-*.log") if "👋 Exiting" in path.read_text()]
    assert "Cluster is healthy." in log.read_text()
    log.unlink()
    assert main(["health-check", "--skip-log-file=true"]) == 0
    assert not list(folder.glob("kube-burner-*.log"))


def test_incremental_load_collects_each_step_and_two_jobs_run_beside_each_other(folder, cluster):
    more = "  incrementalLoad: {startIterations: 1, totalIterations: 3}\n"
    assert main(["init", "-c", config(folder, "grow", 1, more), "--uuid", "u5", "--skip-log-file"]) == 0
    summaries = json.loads((folder / "collected-metrics-u5" / "jobSummary.json").read_text())
    # Before the first step and after the last one is a time of the job's own, as in the original.
    assert [s["jobConfig"]["jobIterations"] for s in summaries] == [1, 1, 2, 3, 1]
    assert len({s["incrementalLoadUUID"] for s in summaries[1:4]}) == 3
    assert "incrementalLoadUUID" not in summaries[0] | summaries[4]
    for before, after in pairwise(summaries):
        assert epoch_of(before["endTimestamp"]) <= epoch_of(after["timestamp"])
    assert not any(name.startswith("grow") for name in names(cluster, "/api/v1/namespaces"))
    second = (
        CONFIG.format(name="right", iterations=2)
        .replace("\njobs:\n", "")
        .replace("  qps", "  parallelWith: left\n  qps")
    )
    # Each pauses for a second: one after the other, two would take two.
    text = (CONFIG.format(name="left", iterations=2) + second).replace("  qps", "  jobPause: 1s\n  qps")
    (folder / "both.yml").write_text(text)
    assert main(["init", "-c", "both.yml", "--uuid", "u6", "--skip-log-file"]) == 0
    left, right = json.loads((folder / "collected-metrics-u6" / "jobSummary.json").read_text())
    assert right["timestamp"] < left["endTimestamp"]


def test_an_incremental_load_has_its_hooks_and_watchers_once_and_those_of_each_iteration_in_each_step(folder, cluster):
    stages = ("beforeJobExecution", "onEachIteration", "afterJobExecution", "beforeCleanup", "afterCleanup")
    hooks = "".join(f"  - {{cmd: [sh, -c, echo {stage} >> stages], when: {stage}}}\n" for stage in stages)
    more = (
        f"  gc: true\n  watchers: [{{kind: Pod, apiVersion: v1, replicas: 2}}]\n  hooks:\n{hooks}"
        "  incrementalLoad: {startIterations: 1, totalIterations: 2}\n"
    )
    assert main(["init", "-c", config(folder, "grow-hooks", 1, more), "--uuid", "u11"]) == 0
    assert (folder / "stages").read_text().split() == [stages[0], *[stages[1]] * 3, *stages[2:]]
    log = logged("u11")
    assert log.count("Started pod_watcher_1_replica_2") == log.count("Stopping pod_watcher_1_replica_2") == 1
    assert log.index("Started pod_watcher") < log.index("Triggering job") < log.index("Running incremental")
    assert log.index("Incremental creation completed") < log.index("Stopping pod_watcher")


def test_an_incremental_load_ends_with_the_step_that_the_users_script_refuses(folder, cluster):
    (folder / "check.sh").write_text('test "$(cat stages | wc -l)" -lt 3 || { echo enough >&2; exit 7; }\n')
    more = (
        "  hooks:\n  - {cmd: [sh, -c, echo x >> stages], when: onEachIteration}\n"
        "  - {cmd: [touch, after], when: afterJobExecution}\n"
        "  incrementalLoad: {startIterations: 1, totalIterations: 9, healthCheckScript: check.sh}\n"
    )
    assert main(["init", "-c", config(folder, "grow-check", 1, more), "--uuid", "u12"]) == 1
    log = logged("u12")
    assert "health check script failed: exit status 7; stderr: enough" in log
    assert "total iterations = 2" in log
    assert "total iterations = 3" not in log
    assert (folder / "after").exists()


def test_a_wait_that_timed_out_fails_the_run_and_the_next_iteration_goes_on(folder, cluster):
    pod = POD.format(image="nginx").replace("spec: {", "spec: {nodeSelector: {no: where}, ")
    (folder / "t.yml").write_text(pod)
    (folder / "patch.json").write_text('{"metadata": {"annotations": {"turn": "{{.Iteration}}"}}}')
    patch = """
- {name: late-patch, jobType: patch, executionMode: sequential, jobIterations: 2, qps: 50, burst: 50, maxWaitTimeout: 2s, objects: [
    {kind: Pod, apiVersion: v1, objectTemplate: patch.json, labelSelector: {kube-burner.io/job: late},
     patchType: application/merge-patch+json}]}
"""
    text = Path(config(folder, "late", 1, "  waitWhenFinished: false\n")).read_text() + patch
    (folder / "late.yml").write_text(text)
    assert main(["init", "-c", "late.yml", "--uuid", "u13"]) == 1
    log = logged("u13")
    assert log.count("Found 1 pods with selector kube-burner.io/job=late; patching them") == 2
    assert "timeout occurred while waiting for objects" in log


def test_pod_wait_in_a_shared_namespace_comes_after_each_iteration_and_a_late_one_keeps_none(folder, cluster):
    (folder / "t.yml").write_text(POD.format(image="nginx").replace("spec: {", "spec: {nodeSelector: {no: where}, "))
    more = "  podWait: true\n  waitWhenFinished: false\n  namespacedIterations: false\n  maxWaitTimeout: 2s\n"
    assert main(["init", "-c", config(folder, "shared", 3, more), "--uuid", "u14"]) == 1
    log = logged("u14")
    assert log.count("Waiting up to 2s for actions to be completed in namespace shared") == 3
    assert names(cluster, "/api/v1/namespaces/shared/pods") == {"p-0", "p-1", "p-2"}
    assert "timeout occurred while waiting for objects in namespace shared" in log


def test_a_group_that_is_late_does_not_keep_the_next_one(folder, cluster):
    (folder / "t.yml").write_text(POD.format(image="nginx").replace("spec: {", "spec: {nodeSelector: {no: where}, "))
    (folder / "c.yml").write_text('apiVersion: v1\nkind: ConfigMap\nmetadata: {name: "c-{{.Iteration}}"}\n')
    more = "    group: {id: 1}\n  - {objectTemplate: c.yml, group: {id: 2}}\n  maxWaitTimeout: 2s\n"
    assert main(["init", "-c", config(folder, "groups", 1, more), "--uuid", "u15"]) == 1
    assert "c-0" in names(cluster, "/api/v1/namespaces/groups-0/configmaps")


def test_a_flag_that_is_on_or_off_takes_its_value_as_in_kube_burner(folder, cluster, capsys):
    name = config(folder, "flags", 1)
    flags = ["--skip-tls-verify=false", "--allow-missing=f", "--skip-log-file=0"]
    assert main(["init", "-c", name, "--uuid", "u16", *flags]) == 0
    assert logged("u16")
    with pytest.raises(SystemExit) as refused:
        main(["init", "-c", name, "--skip-log-file=perhaps"])
    assert refused.value.code == 1
    assert "'perhaps' is neither true nor false" in capsys.readouterr().err
    assert main(["destroy", "-c", name]) == 0
    (log,) = [path for path in folder.glob("kube-burner-*.log") if path.name != "kube-burner-u16.log"]
    assert "Deleting 1 namespaces with label: kube-burner.io/job=flags" in log.read_text()


def logged(uuid):
    return Path(f"kube-burner-{uuid}.log").read_text()


def test_what_churn_finds_in_place_is_no_failure_and_verification_has_the_last_word(folder, cluster):
    fixed = POD.format(image="nginx").replace('"p-{{.Iteration}}"', '"stays-{{.Iteration}}", namespace: default')
    (folder / "fixed.yml").write_text(fixed)
    more = "  - objectTemplate: fixed.yml\n  churnConfig: {cycles: 1, percent: 50}\n"
    assert main(["init", "-c", config(folder, "again", 2, more), "--uuid", "u7"]) == 0
    assert "in namespace default already exists" in logged("u7")
    (folder / "t.yml").write_text(fixed)
    assert main(["init", "-c", config(folder, "taken"), "--uuid", "u8"]) == 1
    assert "object verification failed" in logged("u8")


def test_objects_of_all_kinds_are_deleted_before_any_is_made_again(folder, cluster):
    (folder / "c.yml").write_text('apiVersion: v1\nkind: ConfigMap\nmetadata: {name: "c-{{.Iteration}}"}\n')
    more = "  - objectTemplate: c.yml\n  churnConfig: {cycles: 1, percent: 100, mode: objects}\n"
    assert main(["init", "-c", config(folder, "kinds", 2, more), "--uuid", "u9"]) == 0
    log = logged("u9")
    places = [
        log.index(f'"{line}"') for line in ("Deleting 2 pods", "Deleting 2 configmaps", "Re-creating 4 deleted objects")
    ]
    assert places == sorted(places)


def test_a_hook_that_fails_is_told_as_by_the_original(folder, cluster):
    more = "  hooks:\n  - {cmd: [sh, -c, exit 3], when: beforeJobExecution}\n  - {cmd: [sh, -c, exit 4], when: afterJobExecution, background: true}\n"
    assert main(["init", "-c", config(folder, "hooked", 1, more), "--uuid", "u10"]) == 1
    log = logged("u10")
    assert (
        "Error executing hooks for beforeJobExecution: foreground hook execution failed at 'beforeJobExecution': hook failed"
        in log
    )
    assert "Background hook failed: exit status 4 (duration: " in log


def test_measurements_go_on_through_the_next_job_under_the_first_ones_name(folder, cluster):
    first = CONFIG.format(name="sum-a", iterations=2).replace("  qps", "  metricsAggregate: true\n  qps")
    text = first + CONFIG.format(name="sum-b", iterations=3).replace("\njobs:\n", "")
    (folder / "sum.yml").write_text("global: {gc: true, gcMetrics: true, measurements: [{name: podLatency}]}\n" + text)
    assert main(["init", "-c", "sum.yml", "--uuid", "u7", "--skip-log-file"]) == 0
    made = folder / "collected-metrics-u7"
    assert [path.name for path in made.glob("podLatencyM*")] == ["podLatencyMeasurement-sum-a.json"]
    pods = json.loads((made / "podLatencyMeasurement-sum-a.json").read_text())
    assert len(pods) == 5
    assert {pod["jobName"] for pod in pods} == {"sum-a"}
    summaries = json.loads((made / "jobSummary.json").read_text())
    assert [s["jobConfig"]["name"] for s in summaries] == ["sum-a", "sum-b", "garbage-collection"]
    assert not any(name.startswith("sum-") for name in names(cluster, "/api/v1/namespaces"))


def test_a_job_runs_and_is_collected_on_the_cluster_that_it_names(folder, cluster):
    other = embedded.up(cluster_settings(name="other", speed=0.0)[0])
    try:
        text = CONFIG.format(name="here", iterations=1)
        text += (
            CONFIG.format(name="there", iterations=1)
            .replace("\njobs:\n", "")
            .replace("  qps", f"  kubeconfig: {other.kubeconfig}\n  qps")
        )
        (folder / "two.yml").write_text(text)
        assert main(["init", "-c", "two.yml", "--skip-log-file"]) == 0
        both = {"here-0", "there-0"}
        assert names(cluster, "/api/v1/namespaces") & both == {"here-0"}
        assert names(other, "/api/v1/namespaces") & both == {"there-0"}
        (folder / "two.yml").write_text("global: {gc: true}\n" + text)
        assert main(["init", "-c", "two.yml", "--skip-log-file"]) == 0
        assert not names(other, "/api/v1/namespaces") & both
    finally:
        embedded.down("other")


def test_completion_scripts_name_every_verb_and_bash_takes_its_own(capsys, tmp_path):
    for shell in ("bash", "zsh", "fish"):
        assert main(["completion", shell]) == 0
        script = capsys.readouterr().out
        assert all(verb in script for verb in VERBS)
        assert "kube-context" in script
        (tmp_path / shell).write_text(script)
    words = ["kubedyno", "init", "--us"]
    ask = f"source {tmp_path / 'bash'}; COMP_WORDS=({' '.join(words)}); COMP_CWORD=2; _kubedyno; echo ${{COMPREPLY[@]}}"
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["--user-data", "--user-metadata"]


def test_a_wrong_template_is_told_before_a_cluster_is_started(tmp_path):
    (tmp_path / "c.yml").write_text(CONFIG.format(name="none", iterations=1))
    home = tmp_path / "home"
    environment = {**os.environ, "KUBEDYNO_HOME": str(home), "HOME": str(tmp_path)}
    environment.pop("KUBECONFIG", None)
    done = subprocess.run(
        [sys.executable, "-m", "kubedyno", "init", "-c", "c.yml"], cwd=tmp_path, env=environment, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "t.yml" in done.stderr
    assert not home.exists()
