"""Ctrl-C in each phase of a run: exit code 130, "interrupted" in the store, documents and a report, nothing left behind."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = """
global: {gc: true, measurements: [{name: podLatency}]}
jobs:
  - name: job
    jobIterations: 20
    qps: 100
    burst: 100
    namespace: interrupted
    namespacedIterations: true
    iterationsPerNamespace: 10
    churnConfig: {cycles: 1, percent: 50, delay: 100ms}
    jobPause: 100ms
    objects:
      - objectTemplate: object.yaml
        replicas: 1
"""
POD = """
apiVersion: v1
kind: Pod
metadata: {name: "pod-{{.Iteration}}-{{.Replica}}"}
spec: {containers: [{name: c, image: "nginx:alpine"}]}
"""
# Presses Ctrl-C, by itself, when its log says certain things: each once, one after the other.
PRESSES = """
import logging, os, signal, sys
from kubedyno.cli.main import main

said = sys.argv[1].split("|")

class Presses(logging.Handler):
    def emit(self, record):
        if said and said[0] in record.getMessage():
            said.pop(0)
            os.kill(os.getpid(), signal.SIGINT)

logging.getLogger("kubedyno").addHandler(Presses())
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A user's home with a cluster, which goes with it."""
    home = tmp_path_factory.mktemp("user")
    subprocess.run(
        [sys.executable, "-m", "kubedyno", "cluster", "up"], env=environment(home), check=True, capture_output=True
    )
    yield home
    subprocess.run(
        [sys.executable, "-m", "kubedyno", "cluster", "down", "--all"], env=environment(home), check=True,
        capture_output=True,
    )  # fmt: skip


def environment(home):
    kept = {key: value for key, value in os.environ.items() if key not in {"KUBECONFIG", "KUBEDYNO_HOME"}}
    return {**kept, "HOME": str(home), "PYTHONPATH": str(ROOT / "src"), "NO_COLOR": "1"}


def run(home, folder, *words):
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment(home), capture_output=True, text=True, timeout=120,
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def interrupted(home, folder, said, pod=POD):
    """Run the configuration with a Ctrl-C where the log says something; returns the process and its row of the store."""
    (folder / "object.yaml").write_text(pod)
    (folder / "config.yaml").write_text(CONFIG)
    done = run(home, folder, "-c", PRESSES, said, "init", "-c", "config.yaml", "--uuid", folder.name)
    output = done.stdout + done.stderr
    assert "Traceback" not in output, output
    assert done.returncode == 130, output
    (row,) = json.loads(run(home, folder, "-m", "kubedyno", "runs", "show", folder.name, "-o", "json").stdout)
    assert (row["verdict"], row["exit_code"]) == ("interrupted", 130), output
    return output, row


def namespaces(home, folder):
    done = run(home, folder, "-m", "kubedyno", "statedb", "show", "namespaces")
    assert "kube-system" in done.stdout, done.stderr
    return done.stdout


def written(folder, name):
    path = folder / f"collected-metrics-{folder.name}" / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


@pytest.mark.parametrize(
    "said",
    [
        "Starting kube-burner",
        "Pre-load: Creating DaemonSet",
        "Pre-load: Waiting for images",
        "Cleaning up previous runs",
        "Initializing measurements",
        "Triggering job",
        "Waiting up to",
        "Verifying created objects",
        "Churn",
        "Pausing for",
        "Stopping measurement",
        "podLatencyQuantiles",
        "Indexing job summaries",
        "Finished execution",
        "Waiting for garbage collection",
        "Exiting kube-burner",
    ],
)
def test_one_ctrl_c_is_130_whatever_the_phase(home, tmp_path, said):
    output, _ = interrupted(home, tmp_path, said)
    assert len(list(tmp_path.glob("kubedyno-report-*.html"))) == 1, output
    (document,) = written(tmp_path, "kubedynoRun")
    assert (document["exit_code"], document["errors"]) == (130, ["interrupted"])
    if document["jobs"]:
        job, summary = document["jobs"][0], written(tmp_path, "jobSummary")
        assert summary is not None
        assert job["elapsed_s"] >= 0
        ready = job["start_ms"].get("Ready", {"count": 0})
        measured = written(tmp_path, "podLatencyMeasurement-job") or []
        assert len(measured) == ready["count"], output
    assert run(home, tmp_path, "-m", "kubedyno", "destroy", "-c", "config.yaml").stdout == (
        "nothing of these jobs was there\n"
    )
    until_s = time.monotonic() + 20
    while "preload-kube-burner" in (left := namespaces(home, tmp_path)):
        assert time.monotonic() < until_s, left


@pytest.mark.parametrize("said", ["Waiting up to|Cleaning up what this run created", "Triggering job|interrupted"])
def test_the_second_ctrl_c_leaves_at_once_and_the_store_knows_how_it_ended(home, tmp_path, said):
    output, row = interrupted(home, tmp_path, said)
    assert "left at once; remove what is left with: kubedyno destroy -c config.yaml" in output
    if "Cleaning up" in said:
        (document,) = written(tmp_path, "kubedynoRun")
        assert document["exit_code"] == 130
        assert row["figures"]
        reported = run(home, tmp_path, "-m", "kubedyno", "report", f"collected-metrics-{tmp_path.name}")
        assert reported.returncode == 0, reported.stderr
    run(home, tmp_path, "-m", "kubedyno", "destroy", "-c", "config.yaml")
