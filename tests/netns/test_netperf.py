"""`net perf` between pods that are processes: real figures, nothing left behind, also after an interruption."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from kubedyno.base import aio
from kubedyno.cli.main import main
from kubedyno.client import kubeconfig
from kubedyno.client.api import Client
from kubedyno.client.exec import run_command
from kubedyno.lab import embedded
from kubedyno.lab.settings import cluster_settings

pytestmark = pytest.mark.slow
needs_iperf3 = pytest.mark.skipif(shutil.which("iperf3") is None, reason="needs iperf3")


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    before = {name: os.environ.get(name) for name in ("KUBEDYNO_HOME", "KUBECONFIG")}
    os.environ["KUBEDYNO_HOME"] = str(tmp_path_factory.mktemp("home"))
    settings, _ = cluster_settings(name="perf", nodes=3, speed=0.0, idle_timeout="5m", runtime="netns")
    made = embedded.up(settings)
    os.environ["KUBECONFIG"] = str(made.kubeconfig)
    yield made
    embedded.down("perf")
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


def asked(running, work):
    async def ask():
        async with Client(kubeconfig.load(running.kubeconfig, None)) as client:
            return await work(client)

    return aio.run(ask())


def namespaces(running):
    found = asked(running, lambda client: client.list_all("/api/v1/namespaces"))
    return [one["metadata"]["name"] for one in found]


def test_the_whole_matrix_is_measured_filed_and_removed(running, tmp_path, capsys):
    words = "net perf --tool kubedyno --duration 200ms --udp --crr --pod-to-host --host-to-pod --service --streams 2"
    assert main([*words.split(), "--report-dir", str(tmp_path / "new")]) == 0
    output = capsys.readouterr()
    actions = output.err.count("[.] Action")
    assert f"All 1 tests ({actions} actions) successful" in output.out
    assert "doubt both" not in output.out
    [report] = (tmp_path / "new").iterdir()
    assert report.stat().st_mode & 0o777 == 0o600
    items = json.loads(report.read_text())["dataItems"]
    found = {(i["labels"]["scenario"], i["labels"]["node"], i["labels"]["test_type"]) for i in items}
    # Seven tests; four kinds of pairs and two through a service; on one node and on two.
    assert len(found) == actions == 7 * 6 * 2
    assert all(value > 0 for item in items for value in item["data"].values())
    assert "cilium-test-1" not in namespaces(running)


def test_hosts_and_pods_are_compared_and_filed_as_k8s_netperf_does(running, tmp_path, capsys):
    file = tmp_path / "results.csv"
    words = "net perf --tool kubedyno --duration 200ms --samples 2 --rr=false --throughput-multi=false --tcp-tolerance"
    assert main([*words.split(), "199", "--csv", str(file)]) == 0
    output = capsys.readouterr().out
    assert output.count("within 199 %") == 2
    rows = file.read_text().splitlines()
    assert len(rows) == 1 + 4
    assert all(row.startswith("kubedyno,TCP_STREAM,") for row in rows[1:])
    assert main([*words.split(), "-199"]) == 1
    assert "beyond -199 %" in capsys.readouterr().out


@needs_iperf3
def test_the_studys_deployments_are_measured_as_they_are_and_removed(running, capsys):
    assert main(["net", "perf", "--manifest", "examples/study/iperf3.yaml", "--duration", "1s"]) == 0
    output = capsys.readouterr().out
    for name in ("TCP", "UDP at 20G", "TCP both ways", "TCP, 2 streams"):
        rows = [line for line in output.splitlines() if line.startswith(f"{name}  ")]
        assert ["service" in rows[0], "pod" in rows[1], len(rows)] == [True, True, 2], output
    assert "All 1 tests (8 actions) successful" in output
    assert "cilium-test-1" not in namespaces(running)


def test_a_limit_of_bandwidth_is_found_enforced(running, capsys):
    assert main(["net", "perf", "--bandwidth", "--tool", "kubedyno", "--duration", "4s"]) == 0
    output = capsys.readouterr().out
    # The limit is 10 Mb/s: a busy machine may reach a little less, and nothing reaches much more.
    rates = dict(re.findall(r"(perf-client-(?:egress|ingress)) : (\d+) Mb/s", output))
    assert set(rates) == {"perf-client-egress", "perf-client-ingress"}
    assert all(5 <= int(rate) <= 11 for rate in rates.values()), rates
    assert "✅" in output
    assert "cilium-test-1" not in namespaces(running)


def test_priorities_that_nobody_enforces_are_found(running, capsys):
    assert main(["net", "perf", "--net-qos", "--tool", "kubedyno", "--duration", "2s"]) == 1
    output = capsys.readouterr().out
    assert "QoS ratio not enforced between high and low priority traffic" in output
    assert "✅" not in output
    assert "cilium-test-1" not in namespaces(running)


@needs_iperf3
def test_one_node_and_iperf3_are_enough(running, capsys):
    words = "net perf --tool iperf3 --duration 1s --other-node=false --host-net=false --throughput-multi=false"
    assert main(words.split()) == 0
    output = capsys.readouterr().out
    assert "pod-to-pod      | same-node  | TCP_STREAM " in output
    assert "iperf3 cannot run TCP_RR: skipped" in output


def test_a_program_that_is_not_there_is_told_and_all_is_removed(running, capsys):
    assert main(["net", "perf", "--tool", "netperf", "--image", "busybox", "--host-net=false"]) == 1
    if shutil.which("netserver") is None:
        # The client may ask before the server's end is known.
        assert re.search('"(netserver|netperf)": executable file not found', capsys.readouterr().err)
    assert "cilium-test-1" not in namespaces(running)


def test_modelled_pods_are_refused(running, capsys):
    assert main(["net", "perf", "--image", "unknown/thing", "--host-net=false"]) == 1
    assert "image unknown/thing stands for no local command" in capsys.readouterr().err
    assert "cilium-test-1" not in namespaces(running)


def test_a_namespace_of_somebody_else_is_left_alone(running, capsys):
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "others-1"}}
    asked(running, lambda client: client.create("/api/v1/namespaces", body))
    assert main(["net", "perf", "--test-namespace", "others"]) == 1
    assert "is there already" in capsys.readouterr().err
    assert "others-1" in namespaces(running)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_removes_all(running, number):
    process = subprocess.Popen(
        [sys.executable, "-m", "kubedyno", "net", "perf", "--tool", "kubedyno", "--duration", "20s"],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    for line in process.stderr:
        if "[.] Action" in line:
            break
    time.sleep(0.5)
    process.send_signal(number)
    rest = process.stderr.read()
    assert process.wait(60) == 130
    process.stderr.close()
    assert "what it had created is removed" in rest
    assert "cilium-test-1" not in namespaces(running)


def test_a_command_in_a_pod_brings_output_and_exit_code(running):
    container = {"name": "c", "image": "busybox", "command": ["sleep", "inf"]}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [container]}}

    async def work(client):
        path = "/api/v1/namespaces/default/pods"
        await client.create(path, body)
        while (await client.get(f"{path}/p"))["status"]["phase"] != "Running":
            await aio.sleep(0.02)
        done = await run_command(client, "default", "p", "c", ["sh", "-c", "echo out; echo err >&2; exit 5"])
        big = await run_command(client, "default", "p", "c", ["head", "-c", "5000000", "/dev/zero"])
        return done, len(big.stdout)

    done, size = asked(running, work)
    assert (done.code, done.stdout, done.stderr, size) == (5, b"out\n", b"err\n", 5_000_000)
