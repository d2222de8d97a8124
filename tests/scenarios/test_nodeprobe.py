"""`kubedyno probe --cluster` on simulated nodes: what they cannot do is told, scripted answers are read, nothing is left."""

import json
import os
import signal
import subprocess
import sys

import pytest

from kubedyno.advisor import nodeprobe
from kubedyno.cli.main import main

FACT = {"group": "kernel", "name": "release", "value": "6.8.0 on ${NODE}", "how": "uname", "sure": "read", "why": ""}
HIDDEN = {**FACT, "group": "machine", "name": "irqbalance", "value": "does not run"}
SHARED = {**FACT, "name": "BPF JIT", "value": "yes"}


@pytest.fixture(scope="module")
def cluster(up):
    return up("t", nodes=2).settled()


def scripted(cluster, namespace: str, **answer: object) -> None:
    script = [{"command": list(nodeprobe.COMMAND), **answer}]
    labels = {"kubedyno.io/exec": "true"}
    for thing in (
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "script", "namespace": namespace, "labels": labels},
            "data": {"script": json.dumps(script)},
        },
    ):
        cluster.kubectl("apply", "-f", "-", stdin=json.dumps(thing))


def left(cluster) -> list[str]:
    daemons = cluster.kubectl(
        "get", "daemonsets,configmaps", "-A", "-o", "name", "-l", "app.kubernetes.io/name=kubedyno-probe"
    )
    spaces = cluster.kubectl("get", "namespaces", "-o", "name", "-l", "app.kubernetes.io/name=kubedyno-probe")
    return [*daemons.split(), *spaces.split()] if "No resources" not in daemons + spaces else []


def test_simulated_nodes_say_that_they_cannot_and_all_is_removed(cluster, capsys) -> None:
    code = main(["probe", "--cluster", "--kubeconfig", str(cluster.running.kubeconfig)])
    out = capsys.readouterr().out
    assert code == 1
    assert out.count("cannot be probed, nothing runs there (exit code 127)") == 2
    cluster.until(lambda: left(cluster) == [])


def test_what_nodes_answer_is_told_once_where_they_agree(cluster, capsys) -> None:
    scripted(cluster, "told", stdout=json.dumps({"facts": [FACT, SHARED, HIDDEN]}))
    words = ["probe", "--cluster", "-n", "told", "--kubeconfig", str(cluster.running.kubeconfig)]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert out.startswith("on all 2 nodes that answered:")
    assert out.count("BPF JIT") == 1
    assert out.count("release") == 2
    assert "6.8.0 on t-worker" in out
    assert "irqbalance" in out
    assert "a pod does not see the host's processes" in out
    assert main([*words, "-o", "json"]) == 0
    assert [node["name"] for node in json.loads(capsys.readouterr().out)["nodes"]] == ["t-control-plane", "t-worker"]
    cluster.until(lambda: left(cluster) == [])


def test_output_that_is_no_probes_is_told(cluster, capsys) -> None:
    scripted(cluster, "odd", stdout="hello")
    assert main(["probe", "--cluster", "-n", "odd", "--kubeconfig", str(cluster.running.kubeconfig)]) == 1
    assert "its output is no probe's: b'hello'" in capsys.readouterr().out


def test_ctrl_c_removes_what_was_created(up) -> None:
    # At speed 1 a scripted command really takes as long as it says.
    cluster = up("slow", speed=1.0)
    scripted(cluster, "slow", stdout="{}", delay="50m")
    words = ["probe", "--cluster", "-n", "slow", "--kubeconfig", str(cluster.running.kubeconfig)]
    process = subprocess.Popen(
        [sys.executable, "-m", "kubedyno", *words],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        cluster.until(lambda: len(left(cluster)) == 2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, err) == (130, "kubedyno: probe: interrupted; what it had created is removed\n")
    assert left(cluster) == []


def test_a_namespace_that_is_not_there_is_one_line(cluster, capsys) -> None:
    assert main(["probe", "--cluster", "-n", "none", "--kubeconfig", str(cluster.running.kubeconfig)]) == 1
    err = capsys.readouterr().err
    assert 'namespaces "none" not found' in err
    assert err.count("\n") == 1
