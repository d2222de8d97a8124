"""Loads as users run them: several clusters, what is there already, a cluster that dies or is away for a moment."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from kubedyno.cli.main import main
from kubedyno.lab import embedded
from ports import refusing_port

CONFIGMAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 'c-{{.Iteration}}-{{.Replica}}'}\n"
POD = """
apiVersion: v1
kind: Pod
metadata: {name: "p-{{.Iteration}}-{{.Replica}}"}
spec: {containers: [{name: c, image: nginx}]}
"""


def job(name, template, **more):
    return {
        "name": name, "namespace": name, "jobIterations": 2, "qps": 100, "burst": 100, "preLoadImages": False,
        "objects": [{"objectTemplate": template, "replicas": 2}], **more,
    }  # fmt: skip


def config(folder, jobs, measurements=()):
    (folder / "cm.yml").write_text(CONFIGMAP)
    (folder / "pod.yml").write_text(POD)
    endpoint = {"indexer": {"type": "local", "metricsDirectory": "out"}}
    whole = {"global": {"measurements": list(measurements)}, "metricsEndpoints": [endpoint], "jobs": jobs}
    (folder / "c.yml").write_text(yaml.safe_dump(whole))
    return str(folder / "c.yml")


@pytest.fixture(scope="module")
def clusters(up):
    return up("first").settled(), up("second").settled()


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def names(cluster):
    return {item["metadata"]["name"] for item in cluster.list("/api/v1/namespaces")}


def test_jobs_of_two_clusters_run_measure_and_are_destroyed_on_their_own(clusters, tmp_path, capsys):
    first, second = clusters
    jobs = [job("here", "pod.yml"), job("there", "pod.yml", kubeconfig=str(second.running.kubeconfig))]
    path = config(tmp_path, jobs, [{"name": "podLatency"}])
    flags = ["--kubeconfig", str(first.running.kubeconfig)]
    assert main(["init", "-c", path, *flags]) == 0
    assert {"here-0", "here-1"} <= names(first)
    assert {"there-0", "there-1"} <= names(second)
    assert not {"there-0"} & names(first)
    for name in ("here", "there"):
        assert len(json.loads(Path(f"out/podLatencyMeasurement-{name}.json").read_text())) == 4
    assert main(["destroy", "-c", path, *flags]) == 0
    assert "4 namespaces" in capsys.readouterr().out
    assert not {"here-0", "here-1"} & names(first)
    assert not {"there-0", "there-1"} & names(second)


def test_what_is_there_is_measured_in_the_namespaces_asked_for(clusters, tmp_path):
    first, _ = clusters
    path = config(tmp_path, [job("some", "pod.yml")])
    flags = ["--kubeconfig", str(first.running.kubeconfig)]
    assert main(["init", "-c", path, *flags]) == 0
    watching = config(tmp_path, [], [{"name": "podLatency"}, {"name": "jobLatency"}])
    # It ends once all that is there was seen, and is not told for how long to look.
    assert main(["measure", "-c", watching, "-n", "some-1,none", "-l", "kube-burner.io/job=some", *flags]) == 0
    found = json.loads(Path("out/podLatencyMeasurement-kube-burner-measure.json").read_text())
    assert [one["namespace"] for one in found] == ["some-1", "some-1"]
    assert main(["destroy", "-c", config(tmp_path, [job("some", "pod.yml")]), *flags]) == 0


def test_a_later_job_knows_when_the_pods_it_meets_were_started(clusters, tmp_path):
    first, _ = clusters
    target = {"kind": "Pod", "apiVersion": "v1", "labelSelector": {"kube-burner.io/job": "made"}}
    jobs = [
        job("made", "pod.yml"),
        {"name": "unmade", "jobType": "delete", "qps": 50, "burst": 50, "objects": [target]},
    ]
    path = config(tmp_path, jobs, [{"name": "podLatency"}])
    assert main(["init", "-c", path, "--kubeconfig", str(first.running.kubeconfig)]) == 0
    for name in ("made", "unmade"):
        found = json.loads(Path(f"out/podLatencyQuantilesMeasurement-{name}.json").read_text())
        assert {one["quantileName"] for one in found} == {
            "PodScheduled", "Initialized", "ContainersReady", "Ready", "ContainersStarted", "PodReadyToStartContainers",
        }  # fmt: skip
    first.send("DELETE", "/api/v1/namespaces/made-0", {})


def test_parallel_patches_are_about_what_there_was_before_any_of_them(clusters, tmp_path):
    first, _ = clusters
    (tmp_path / "label.yml").write_text("metadata: {labels: {moved: '{{.to}}'}}\n")

    def patch(selector, to):
        merge = "application/merge-patch+json"
        return {
            "kind": "ConfigMap", "apiVersion": "v1", "objectTemplate": "label.yml", "patchType": merge,
            "labelSelector": selector, "inputVars": {"to": to},
        }  # fmt: skip

    steps = [patch({"kube-burner.io/job": "patched"}, "once"), patch({"moved": "once"}, "twice")]
    ends = {}
    for mode in ("parallel", "sequential"):
        patching = {"name": mode, "jobType": "patch", "executionMode": mode, "qps": 50, "burst": 50, "objects": steps}
        path = config(tmp_path, [job("patched", "cm.yml"), patching])
        assert main(["init", "-c", path, "--kubeconfig", str(first.running.kubeconfig)]) == 0
        items = first.list("/api/v1/configmaps?labelSelector=kube-burner.io%2Fjob%3Dpatched")
        ends[mode] = {item["metadata"]["labels"]["moved"] for item in items}
    assert ends == {"parallel": {"once"}, "sequential": {"twice"}}


VOLUME = """
apiVersion: v1
kind: PersistentVolume
metadata: {name: "pv-{{.Iteration}}"}
spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], hostPath: {path: /x}, storageClassName: own}
"""
CLAIM = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: claim}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: own
  volumeName: "pv-{{.Iteration}}"
  resources: {requests: {storage: 1Gi}}
"""
USER = """
apiVersion: v1
kind: Pod
metadata: {name: user}
spec:
  containers: [{name: c, image: nginx}]
  volumes: [{name: v, persistentVolumeClaim: {claimName: claim}}]
"""


@pytest.mark.parametrize("strategy", ["default", "gvr"])
def test_volumes_that_claims_and_pods_hold_are_collected_with_them(clusters, tmp_path, strategy):
    first, _ = clusters
    for name, text in (("pv.yml", VOLUME), ("claim.yml", CLAIM), ("user.yml", USER)):
        (tmp_path / name).write_text(text)
    objects = [{"objectTemplate": name} for name in ("pv.yml", "claim.yml", "user.yml")]
    path = config(tmp_path, [job("held", "cm.yml", objects=objects, gc=True)])
    whole = yaml.safe_load(Path(path).read_text())
    whole["global"]["deletionStrategy"] = strategy
    Path(path).write_text(yaml.safe_dump(whole))
    assert main(["init", "-c", path, "--timeout", "120s", "--kubeconfig", str(first.running.kubeconfig)]) == 0
    assert not {"held-0", "held-1"} & names(first)
    assert first.list("/api/v1/persistentvolumes") == []


SHAPES = {
    "steps": {"shape": "steps", "startQps": 20, "endQps": 60, "steps": 2, "stepDuration": "500ms"},
    "ramp": {"shape": "ramp", "startQps": 20, "endQps": 60, "duration": "1s"},
    "poisson": {"shape": "poisson", "seed": 3},
    "replay": {"shape": "replay", "file": "times.txt"},
}


def test_arrivals_of_any_shape_leave_when_they_are_due_side_by_side(clusters, tmp_path, capsys):
    first, _ = clusters
    (tmp_path / "times.txt").write_text("0\n0.25\n0.25\n1\n")
    jobs = []
    for name, shape in SHAPES.items():
        one = job(name, "cm.yml", arrival=shape, qps=40, gc=True, **({"parallelWith": "steps"} if jobs else {}))
        jobs.append(one | {"objects": [{"objectTemplate": "cm.yml", "replicas": 2 if name == "replay" else 20}]})
        del one["burst"]
    assert main(["init", "-c", config(tmp_path, jobs), "--kubeconfig", str(first.running.kubeconfig)]) == 0
    summaries = json.loads(Path("out/jobSummary.json").read_text())
    assert max(one["timestamp"] for one in summaries) <= min(one["endTimestamp"] for one in summaries)
    rates = {one["name"]: one for one in json.loads(Path("out/kubedynoRun.json").read_text())[0]["jobs"]}
    # (n - 1) arrivals between the first and the last.
    assert rates["replay"]["qps"] == pytest.approx(3, rel=0.01)
    assert rates["steps"]["qps"] == pytest.approx(39 / 1.0, rel=0.1)
    assert rates["ramp"]["qps"] == pytest.approx(39 / 1.0, rel=0.1)
    for name, rate in rates.items():
        # Neither at once nor one by one; a machine that pauses for a moment changes much of a second.
        assert rate["qps"] / 3 < rate["reached_qps"] < rate["qps"] * 3, name
        assert sum(each["asked"] for each in rate["timeline"]) == sum(each["sent"] for each in rate["timeline"])
    said = capsys.readouterr().out
    assert "Invalid" not in said
    assert "fitted into the burst" not in said


def running(path, home):
    """Start `init` without any kubeconfig."""
    env = {**os.environ, "KUBEDYNO_HOME": str(home), "HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
    env.pop("KUBECONFIG", None)
    command = [sys.executable, "-m", "kubedyno", "init", "-c", path, "--fail-when-stuck", "2s"]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_cluster_that_dies_in_a_run_is_said_to_be_gone_not_how_to_reach_it(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    path = config(tmp_path, [job("long", "cm.yml", jobIterations=2000, qps=20, burst=1)])
    process = running(path, home)
    monkeypatch.setenv("KUBEDYNO_HOME", str(home))
    deadline = time.monotonic() + 60
    while not any("/2000 iterations" in log.read_text() for log in tmp_path.glob("kube-burner-*.log")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (name,) = embedded.names()
    os.kill(embedded.find(name).pid, signal.SIGKILL)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "is gone: it ended during the run" in said
    assert "stays up" not in said
    assert "export KUBECONFIG" not in said


CRD = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: GROUP-things.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {kind: Thing, plural: things, singular: thing}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
"""
THING = "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: 't-{{.Iteration}}-{{.Replica}}'}\n"


@pytest.mark.parametrize("by", ["job", "hook"])
def test_a_kind_that_is_brought_just_before_is_made_and_seen(clusters, tmp_path, by):
    first, _ = clusters
    (tmp_path / "crd.yml").write_text(CRD.replace("GROUP-", ""))
    (tmp_path / "thing.yml").write_text(THING)
    kubeconfig = str(first.running.kubeconfig)
    things = job("things", "thing.yml", gc=True)
    jobs = [things]
    if by == "job":
        definitions = {"objectTemplate": "crd.yml", "replicas": 1}
        jobs.insert(0, job("definitions", "crd.yml", jobIterations=1, objects=[definitions]))
    else:
        apply = ["kubectl", "--kubeconfig", kubeconfig, "apply", "-f", str(tmp_path / "crd.yml")]
        things["hooks"] = [{"when": "beforeJobExecution", "cmd": apply}]
    path = config(tmp_path, jobs)
    try:
        assert main(["init", "-c", path, "--kubeconfig", kubeconfig]) == 0
        done = json.loads(Path("out/kubedynoRun.json").read_text())[0]["jobs"][-1]
        assert done["accepted"] == 4
        if by == "job":
            assert done["seen_ms"]["Thing"]["count"] == 4
    finally:
        subprocess.run(["kubectl", "--kubeconfig", kubeconfig, "delete", "crd", "things.example.com"], check=True)


def test_pods_that_churn_deleted_had_come_up(clusters, tmp_path):
    first, _ = clusters
    churned = job("churned", "pod.yml", churnConfig={"cycles": 1, "percent": 50, "mode": "objects"}, gc=True)
    path = config(tmp_path, [churned])
    assert main(["init", "-c", path, "--kubeconfig", str(first.running.kubeconfig)]) == 0
    done = json.loads(Path("out/kubedynoRun.json").read_text())[0]["jobs"][0]
    assert (done["pods_seen"], done["pods_ready"]) == (6, 6)


ACCOUNT = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: NAME, namespace: default}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: NAME}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: NAME}
subjects: [{kind: ServiceAccount, name: NAME, namespace: default}]
"""


def account(cluster, folder, name, rules):
    """Return the flags of a user who may do what the rules of a ClusterRole say."""
    own = ["kubectl", "--kubeconfig", str(cluster.running.kubeconfig)]
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}}
    text = yaml.safe_dump(role | {"rules": rules}) + "---" + ACCOUNT.replace("NAME", name)
    subprocess.run([*own, "apply", "-f", "-"], input=text, text=True, check=True)
    made = subprocess.run([*own, "create", "token", name], capture_output=True, text=True, check=True)
    limited = yaml.safe_load(cluster.running.kubeconfig.read_text())
    limited["users"][0]["user"] = {"token": made.stdout.strip()}
    (folder / f"{name}.yml").write_text(yaml.safe_dump(limited))
    return ["--kubeconfig", str(folder / f"{name}.yml")]


def test_who_may_not_read_nodes_plans_loads_and_measures_all_the_same(clusters, tmp_path, capsys):
    first, _ = clusters
    rules = [{"apiGroups": [""], "resources": ["pods", "namespaces", "events"], "verbs": ["*"]}]
    flags = account(first, tmp_path, "limited", rules)
    jobs = [job("limited", "pod.yml", preLoadImages=True)]
    path = config(tmp_path, jobs, [{"name": "podLatency"}, {"name": "nodeLatency"}])
    assert main(["plan", "-c", path, *flags]) == 0
    told = capsys.readouterr().out
    assert "creates 4 Pod in 2 namespaces" in told
    assert "not compared: maxPods and PodCIDR: nodes is forbidden" in told
    assert "not compared: ResourceQuotas: resourcequotas is forbidden" in told
    assert "the cluster can hold it, as far as was compared" in told
    assert main(["init", "-c", path, "--yes", *flags]) == 0
    log = next(Path().glob("kube-burner-*.log")).read_text()
    assert "Pre-load: daemonsets.apps is forbidden" in log
    assert "continuing without" in log
    assert "Cannot watch /api/v1/nodes: nodes is forbidden" in log
    assert len(json.loads(Path("out/podLatencyMeasurement-limited.json").read_text())) == 4
    assert "totalNodes" not in json.loads(Path("out/jobSummary.json").read_text())[0]
    assert main(["measure", "-c", path, "--duration", "100ms", *flags]) == 0
    assert main(["destroy", "-c", path, "--yes", *flags]) == 0
    assert not {"limited-0", "limited-1"} & names(first)


def test_a_plan_is_told_also_where_its_cluster_does_not_answer(clusters, tmp_path, capsys):
    first, _ = clusters
    gone = yaml.safe_load(first.running.kubeconfig.read_text())
    path = config(tmp_path, [job("planned", "pod.yml")])
    with refusing_port() as port:
        gone["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
        (tmp_path / "gone.yml").write_text(yaml.safe_dump(gone))
        assert main(["plan", "-c", path, "--kubeconfig", str(tmp_path / "gone.yml")]) == 1
    told = capsys.readouterr()
    assert "creates 4 Pod in 2 namespaces" in told.out
    assert "what the cluster can hold is not known" in told.out
    assert "nothing listens there" in told.err


ROLE = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: 'r-{{.Iteration}}-{{.Replica}}'}\nrules: []\n"
GROUPS = {"DaemonSet": "apps", "ClusterRole": "rbac.authorization.k8s.io"}


@pytest.mark.parametrize("mode", ["namespaces", "objects", "groups", "patch"])
def test_the_rights_that_a_plan_names_are_enough(clusters, tmp_path, capsys, mode):
    first, _ = clusters
    name = f"rights-{mode}"
    mine = job(name, "pod.yml", gc=True, preLoadImages=True)
    for template in ("cm.yml", "role.yml"):
        mine["objects"].append({"objectTemplate": template, "replicas": 1, "churn": template == "cm.yml"})
    (tmp_path / "role.yml").write_text(ROLE.replace("r-", f"{name}-"))
    jobs = [mine]
    if mode == "groups":
        mine["objects"][1]["group"] = {"id": 1, "gc": True}
    elif mode == "patch":
        mine["gc"] = False
        (tmp_path / "patch.yml").write_text("metadata: {annotations: {a: b}}\n")
        selected = {"kind": "ConfigMap", "apiVersion": "v1", "labelSelector": {"kube-burner.io/job": name}}
        patch = {"objectTemplate": "patch.yml", "patchType": "application/merge-patch+json"}
        more = {"jobIterations": 1, "qps": 100, "burst": 100, "executionMode": "sequential"}
        jobs += [
            {"name": "patched", "jobType": "patch", "objects": [selected | patch], **more},
            {"name": "read", "jobType": "read", "objects": [selected], **more},
            {"name": "deleted", "jobType": "delete", "objects": [selected], **more},
        ]
    else:
        mine["churnConfig"] = {"cycles": 1, "percent": 50, "mode": mode}
    path = config(tmp_path, jobs, [{"name": "podLatency"}, {"name": "nodeLatency"}])
    assert main(["plan", "-c", path, "--offline", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)["jobs"]
    rules = []
    for verb, kind in (right.split() for one in planned for right in one["rights"]):
        rules.append({"apiGroups": [GROUPS.get(kind, "")], "resources": [f"{kind.lower()}s"], "verbs": [verb]})
    flags = account(first, tmp_path, name, rules)
    code = main(["init", "-c", path, "--yes", "--uuid", "u", *flags])
    log = Path("kube-burner-u.log").read_text()
    assert "forbidden" not in log.lower()
    assert code == 0


def test_a_sweep_says_how_long_it_takes_how_each_run_goes_and_went(clusters, tmp_path, capsys):
    first, _ = clusters
    path = config(tmp_path, [job("swept", "cm.yml", jobIterations=7, burst=1)])
    flags = ["--kubeconfig", str(first.running.kubeconfig)]
    assert (
        main(["init", "-c", path, *flags, "--sweep", "jobs.0.objects.0.replicas=1", "--sweep", "jobs.0.qps=1,7"]) == 0
    )
    told = capsys.readouterr()
    assert told.out.startswith("2 runs; to send their requests alone takes 7s\nrun 1 of 2: ")
    assert "\n  7 requests, 1.0 of 1 q/s reached, took " in told.out
    assert "swept " in told.err
    assert "/1 q/s" in told.err
    assert not [name for name in names(first) if name.startswith("swept")]
