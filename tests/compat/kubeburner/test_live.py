"""Recorded runs of kube-burner, run again on an embedded cluster: same exit codes, log lines and documents."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from kubedyno.base import aio
from kubedyno.client import kubeconfig
from kubedyno.client.api import Client
from kubedyno.kube import yaml
from kubedyno.lab import embedded, session
from kubedyno.lab.settings import cluster_settings
from kubedyno.lab.target import Choice

RUNS = Path(__file__).parent / "runs"
NAMES = (
    "churn-namespaces",
    "churn-objects-debug",
    "churn-v1",
    "hooks",
    "job-latency",
    "patch-json",
    "patch-mode-parallel",
    "patch-mode-sequential",
    "patch-strategic-v1",
    "read-job",
    "read-job-v1",
    "repeat-every-n",
    "verify-failing-no-error",
    "create-1x1-v1",
    "create-3x2",
    "delete-job",
    "gc-true",
    "global-wait",
    "iterations-per-namespace",
    "job-pause",
    "max-wait-timeout-v1",
    "measurement-none-v1",
    "multi-document",
    "namespaced-false-v1",
    "no-wait",
    "pod-latency-met-v1",
    "pod-latency-violated",
    "pod-wait",
    "precedence-set",
    "run-once-v1",
    "sprig",
    "timeout-reached-v1",
    "two-create-jobs",
    "two-kinds-v1",
    "user-metadata",
)
# Lines that tell of this cluster's own state, or of something that the original does not do.
OURS = re.compile(
    r"pods? (still|of|cannot|wait)|^  |taints|stuck|node selector|didn't match|unavailable|is not ready", re.IGNORECASE
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    before = os.environ.get("KUBEDYNO_HOME")
    os.environ["KUBEDYNO_HOME"] = str(home)
    running = embedded.up(cluster_settings(name="compat", speed=8.0)[0])
    yield running
    embedded.down("compat")
    os.environ.pop("KUBEDYNO_HOME")
    if before is not None:
        os.environ["KUBEDYNO_HOME"] = before


def played(name, cluster, tmp_path, monkeypatch):
    """Run a recorded configuration; returns what was recorded, its documents, and ours with exit code and log."""
    recorded = json.loads((RUNS / name / "run.json").read_text())
    documents = json.loads((RUNS / name / "documents.json").read_text())
    folder = tmp_path / "run"
    shutil.copytree(RUNS / name, folder)
    monkeypatch.chdir(folder)
    # A hook calls kubectl.
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    for key, value in recorded["environment"].items():
        monkeypatch.setenv(key, value)
    options = dict(zip(recorded["arguments"][::2], recorded["arguments"][1::2], strict=True))
    metadata = options.get("--user-metadata")
    request = session.Request(
        config="config.yaml",
        uuid=recorded["uuid"],
        user_data=options.get("--user-data"),
        set_values=[options["--set"]] if "--set" in options else [],
        user_metadata=yaml.load(Path(metadata).read_text()) if metadata else {},
        user_metadata_file=metadata or None,
        timeout_s=2.0 if "--timeout" in options else 4 * 3600.0,
        compat=1 if recorded["version"].startswith("1.") else 2,
        directory=Path(),
        quiet=True,
    )
    # Nobody has to wait, and pods that are ready within one second of the API's clock violate this, too.
    text = Path("config.yaml").read_text().replace("maxWaitTimeout: 5s", "maxWaitTimeout: 2s")
    Path("config.yaml").write_text(text.replace("threshold: 100ms", "threshold: -1s"))
    if name == "job-latency":
        # The recorded cluster ended its pods by itself; here the container does.
        job = Path("job.yml").read_text()
        Path("job.yml").write_text(job.replace("image: nginx:alpine", 'image: busybox\n        command: [sleep, "1"]'))
    target = kubeconfig.load(cluster.kubeconfig, None)
    document = aio.run(session.run(request, Choice(target), yes=True))
    log = (folder / f"kube-burner-{recorded['uuid']}.log").read_text().splitlines()
    made = {path.stem: json.loads(path.read_text()) for path in (folder / "indexer").glob("*.json")}
    made = {metric: content for metric, content in made.items() if not metric.startswith("kubedyno")}
    there = aio.run(objects(target, name))
    return recorded, documents, document.exit_code, lines_of(log), made, there


async def objects(target, name):
    """Return what of the recorded objects is on the cluster now, as far as the recording goes."""
    paths = {
        "Namespace": "/api/v1/namespaces",
        "ConfigMap": "/api/v1/configmaps",
        "Deployment": "/apis/apps/v1/deployments",
        "Job": "/apis/batch/v1/jobs",
        "Service": "/api/v1/services",
        "Pod": "/api/v1/pods",
        "Secret": "/api/v1/secrets",
        "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    }
    wanted = [json.loads(line) for line in (RUNS / name / "created.jsonl").read_text().splitlines()]
    found = {}
    async with Client(target) as client:
        for kind in {item["kind"] for item in wanted}:
            for item in await client.list_all(paths[kind]):
                found[kind, item["metadata"].get("namespace", ""), item["metadata"]["name"]] = item
    return found


def lines_of(log):
    found = [re.search(r'level=(\w+) msg="((?:[^"\\]|\\.)*)"', line) for line in log]
    return [[match[1], match[2].replace('\\"', '"')] for match in found if match]


def comparable(lines, *, churned=False):
    """Leave out what may differ: versions, times, ids, the order of namespaces and conditions."""
    made = []
    begun = False
    for level, message in lines:
        text = re.sub(r"\d+(\.\d+)?(s|ms|µs)\b|(?<=: )\d+(?= )|\d+ ms", "N", message)
        text = re.sub(r"\(v[^)]*\)|\(kubedyno[^)]*\)", "(V)", text)
        text = re.sub(r"runid=[0-9a-f-]+(,kube-burner.io/job=\S+)?\]", "runid=R]", text)
        text = re.sub(r"(99th: |max: |avg: )[\d.]+", r"\1N", text)
        if churned:
            # Which namespaces a cycle takes is chance.
            text = re.sub(r"(Actions in namespace .*-)\d+ completed", r"\1N completed", text)
        text = re.sub(r"\dh0mN", "N", text).replace("-N", "N")
        begun = begun or text.startswith("Triggering")
        if text.startswith("📁") or OURS.search(text) or (not begun and text.startswith("Deleting")):
            # The indexer is made before the log file here; earlier runs of a job differ.
            continue
        made.append(f"{level}: {text}")
    return sorted(made)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_run_ends_logs_and_documents_as_the_original_did(name, cluster, tmp_path, monkeypatch):
    recorded, theirs, code, log, ours, there = played(name, cluster, tmp_path, monkeypatch)
    assert code == recorded["exitCode"]
    if name not in GONE:
        same_objects(name, there)
    if name == "max-wait-timeout-v1":
        # 1.x ends on the spot; here what was done is still written down.
        assert recorded["log"][-1][1] == log[-1][1]
        return
    churned = "churn" in name
    assert comparable(log, churned=churned) == comparable(recorded["log"], churned=churned)
    assert sorted(ours) == sorted(theirs)
    for metric, documents in theirs.items():
        made = {key_of(document): document for document in ours[metric]}
        assert sorted(made) == sorted(key_of(document) for document in documents)
        for document in documents:
            same_document(made[key_of(document)], document)


# Runs whose objects are collected when they end, or made of random values.
GONE = {"gc-true", "hooks", "delete-job", "sprig", "verify-failing-no-error"}
VARYING_LABELS = re.compile(r"runid|controller-uid|kubernetes.io/metadata.name")


def same_objects(name, there):
    """What the original left on its cluster is on ours: same names, labels and data."""
    lines = (RUNS / name / "created.jsonl").read_text().splitlines()
    for item in map(json.loads, lines):
        meta = item["metadata"]
        ours = there.get((item["kind"], meta.get("namespace", ""), meta["name"]))
        assert ours is not None, meta["name"]
        labels = {k: v for k, v in (meta.get("labels") or {}).items() if not VARYING_LABELS.search(k)}
        if "churn" in name:
            # Which window a cycle takes is chance.
            labels = {k: v for k, v in labels.items() if "churn" not in k}
        assert labels.items() <= ours["metadata"]["labels"].items()
        if item["kind"] == "ConfigMap":
            data = ours.get("data")
            if name == "patch-mode-parallel":
                # All iterations at once: which is the last is chance.
                assert data.pop("key") in {"it-0", "it-1", "it-2"}
                item["data"].pop("key")
            assert data == item.get("data")


def key_of(document):
    config = document.get("jobConfig", {})
    return str(
        [config.get("name"), document.get("quantileName"), document.get("jobIteration"), document.get("replica")]
    )


VARYING = {
    "churnStartTimestamp", "churnEndTimestamp", "timestamp", "endTimestamp", "elapsedTime", "achievedQps", "version", "k8sVersion", "totalNodes", "podName",
    "nodeName", "executionErrors", "P99", "P95", "P50", "min", "max", "avg", "metadata",
}  # fmt: skip


def same_document(ours, theirs):
    """Same fields of the same types, and the same values where they do not depend on the cluster or the time."""
    optional = {"achievedQps", "executionErrors"}
    assert ours.keys() - optional == theirs.keys() - optional
    for key, value in theirs.items():
        if key in optional and key not in ours:
            continue
        assert type(ours[key]) is type(value), key
        if key == "metadata" and value:
            assert ours[key].keys() == value.keys()
        if key == "jobConfig":
            left_out = {"measurements", "maxWaitTimeout"}
            assert {k: v for k, v in ours[key].items() if k not in left_out} == {
                k: v for k, v in value.items() if k not in left_out
            }
            continue
        if key not in VARYING and not key.endswith("Latency"):
            assert ours[key] == value, key
