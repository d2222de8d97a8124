"""An embedded cluster, seen by kubectl top, by our recorder, and by a real Prometheus that scrapes it too."""

import asyncio
import itertools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import orjson
import pytest

from compat.promql.conftest import Prometheus, started
from kubedyno.cli.main import main
from kubedyno.client import kubeconfig
from kubedyno.client.api import Client
from kubedyno.cluster.settings import ClusterSettings, NodeSettings
from kubedyno.lab import embedded, metrics, top
from kubedyno.lab.embedded import Running
from kubedyno.lab.target import Choice
from kubedyno.load.metrics.prometheus import Login
from kubedyno.promql.engine import Engine
from kubedyno.promql.readapi import ReadAPI
from kubedyno.web.prometheus import Door

pytestmark = pytest.mark.slow
NODES = tuple(NodeSettings(f"m-{name}", control_plane=name == "control-plane") for name in ("control-plane", "worker"))
KUBECTL = shutil.which("kubectl", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    before = os.environ.get("KUBEDYNO_HOME")
    os.environ["KUBEDYNO_HOME"] = str(tmp_path_factory.mktemp("home"))
    cluster = embedded.up(ClusterSettings(name="metrics", nodes=NODES, speed=0.0))
    try:
        yield cluster
    finally:
        embedded.down("metrics")
        if before is None:
            del os.environ["KUBEDYNO_HOME"]
        else:
            os.environ["KUBEDYNO_HOME"] = before


def choice(running: Running) -> Choice:
    return Choice(kubeconfig.load(running.kubeconfig, None), running)


def recorder(client: Client, interval_s: float = 1.0) -> metrics.Recorder:
    return metrics.Recorder(client, metrics.Options(interval_s), embedded=True)


@pytest.mark.kubectl
@pytest.mark.skipif(KUBECTL is None, reason="there is no kubectl here; the development requirements bring one")
def test_kubectl_top_sorts_by_cpu_and_memory(running):
    def kubectl(*words: str) -> list[list[str]]:
        assert KUBECTL is not None
        command = [KUBECTL, "--kubeconfig", str(running.kubeconfig), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        return [line.split() for line in done.stdout.splitlines()]

    head, *rows = kubectl("top", "node")
    assert head[0] == "NAME"
    assert {row[0] for row in rows} == {"m-control-plane", "m-worker"}
    assert all(row[1].endswith("m") and row[2].endswith("%") and row[3].endswith("Mi") for row in rows)
    for column, what in ((2, "cpu"), (3, "memory")):
        _, *rows = kubectl("top", "pod", "-A", f"--sort-by={what}")
        amounts = [int(row[column].rstrip("mMi")) for row in rows]
        assert len(amounts) > 5
        assert amounts == sorted(amounts, reverse=True)


def test_top_says_the_same_with_and_without_metrics_k8s_io(running):
    served = asyncio.run(top.nodes(choice(running), 1.0))
    assert served.source == "metrics.k8s.io"
    path = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io"

    async def without() -> top.Seen:
        async with Client(choice(running).target) as client:
            service = await client.get(path)
            await client.delete(path)
        try:
            return await top.nodes(choice(running), 1.0)
        finally:
            async with Client(choice(running).target) as client:
                del service["metadata"]["resourceVersion"], service["metadata"]["uid"]
                await client.create(path.rpartition("/")[0], service)

    asked = asyncio.run(without())
    assert (asked.source, asked.missing) == ("kubelets", [])
    by_name = {use.name: use for use in asked.uses}
    for use in served.uses:
        assert by_name[use.name].cores == pytest.approx(use.cores, rel=0.1)
        assert by_name[use.name].memory_bytes == use.memory_bytes


def test_top_shows_one_by_its_name_and_says_where_there_is_none(running, capsys):
    flags = ["--kubeconfig", str(running.kubeconfig)]
    assert main(["top", "node", "m-worker", *flags]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["NAME", "m-worker"]
    assert main(["top", "node", "m-none", *flags]) == 1
    assert "node m-none: there is none" in capsys.readouterr().err
    assert main(["top", "pod", "-n", "empty", *flags]) == 0
    assert capsys.readouterr().err == "No resources found in empty namespace.\n"


def test_requests_of_clients_are_counted_exactly(running):
    async def count() -> tuple[float, float, int]:
        async with Client(choice(running).target) as client:
            seen = recorder(client)

            async def total() -> float:
                answer = await client.request("GET", "/metrics")
                target = metrics.Target(seen.store, {})
                target.take(answer.body.decode(), round(time.time() * 1000), 0.0)
                found = Engine(seen.store).instant("sum(apiserver_request_total)", round(time.time() * 1000))
                return found.series[0].points[0][1]

            before = await total()
            sent = 0
            for number in range(40):
                body = orjson.dumps({"metadata": {"name": f"c{number % 30}"}})
                await client.request("POST", "/api/v1/namespaces/default/configmaps", body=body)
                await client.request("GET", f"/api/v1/namespaces/default/configmaps/c{number}")
                await client.request("GET", "/version")
                sent += 3
            await asyncio.sleep(0.01)
            return before, await total(), sent

    before, after, sent = asyncio.run(count())
    # The first page is counted when it has been sent.
    assert after - before == sent + 1


def test_the_read_api_is_served_on_loopback(running):
    async def ask() -> list[tuple[int, dict[str, object]]]:
        async with Client(choice(running).target) as client:
            seen = recorder(client)
            await seen.round()
            door = Door(ReadAPI(Engine(seen.store), seen.targets))
            url = await door.start(0)
            try:
                answers = [
                    await metrics.ask(Login(url), "query", {"query": query})
                    for query in ("count(up == 1)", "count(kube_node_info)", "sum(", "count(up == 0)")
                ]
            finally:
                await door.close()
        return [(status, dict(orjson.loads(body))) for status, body in answers]

    up, nodes, wrong, down = asyncio.run(ask())
    # The API server, two pages of each of two kubelets, and the two exporters; what listens on loopback only is down.
    assert up[1]["data"]["result"][0]["value"][1] == "7"
    assert nodes[1]["data"]["result"][0]["value"][1] == "2"
    assert (wrong[0], wrong[1]["errorType"]) == (400, "bad_data")
    # Controller manager, scheduler, etcd, and kube-proxy on two nodes.
    assert down[1]["data"]["result"][0]["value"][1] == "5"


CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
- job_name: node-exporter
  honor_labels: true
  scheme: https
  metrics_path: /kubedyno/metrics/nodes
  tls_config: {{ca_file: ca.crt, cert_file: client.crt, key_file: client.key}}
  static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
- job_name: kube-state-metrics
  honor_labels: true
  scheme: https
  metrics_path: /kubedyno/metrics/kube-state
  tls_config: {{ca_file: ca.crt, cert_file: client.crt, key_file: client.key}}
  static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
- job_name: kubelet
  scheme: https
  metrics_path: /api/v1/nodes/m-worker/proxy/metrics/cadvisor
  tls_config: {{ca_file: ca.crt, cert_file: client.crt, key_file: client.key}}
  static_configs: [{{targets: ["127.0.0.1:{port}"], labels: {{node: m-worker}}}}]
- job_name: apiserver
  scheme: https
  tls_config: {{ca_file: ca.crt, cert_file: client.crt, key_file: client.key}}
  static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""
# What does not depend on the moment of the scrape.
SAME = (
    'count by (__name__) ({__name__=~"kube_.*"})',
    "sum by (resource, node) (kube_pod_container_resource_requests)",
    'sum by (pod) (container_memory_working_set_bytes{container!="",node="m-worker"})',
    "count by (mode) (node_cpu_seconds_total)",
    'max by (resource) (apiserver_storage_objects{resource=~"nodes|namespaces|deployments.apps"})',
    'node_memory_MemTotal_bytes * on (instance) group_left (role) label_replace(kube_node_role{role!="master"}, "instance", "$1", "node", "(.*)")',
)
# Rates of the model: equal to what it swings in some seconds, and to how long a busy machine's scrapes take of eight. That
# both compute the same of the same samples is held elsewhere, to the last digit.
NEAR = (
    'sum by (pod) (rate(container_cpu_usage_seconds_total{container!="",node="m-worker"}[8s]))',
    'sum(rate(node_cpu_seconds_total{mode!="idle"}[8s])) by (instance)',
)


def comparable(result: list[dict[str, object]]) -> dict[frozenset[tuple[str, str]], float]:
    hidden = {"job", "instance"}
    found = {}
    for entry in result:
        metric = entry["metric"]
        labels = frozenset(
            (k, v) for k, v in metric.items() if k not in hidden or len(metric) == 1 or str(v).startswith("m-")
        )
        found[labels] = float(entry["value"][1])
    return found


def test_a_real_prometheus_scrapes_the_cluster_and_agrees(running, tmp_path):
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("no prometheus on this machine")
    target = choice(running).target
    assert target.ca is not None
    (tmp_path / "ca.crt").write_bytes(target.ca)
    pair = target.user.pair
    assert pair is not None
    (tmp_path / "client.crt").write_bytes(pair.certificate)
    (tmp_path / "client.key").write_bytes(pair.key)
    (tmp_path / "prometheus.yml").write_text(CONFIG.format(port=running.port))

    async def record() -> tuple[dict[str, object], dict[str, object]]:
        async with Client(target) as client:
            seen = recorder(client)
            with started(binary, tmp_path) as port, closing(Prometheus(port)) as prometheus:
                # Prometheus takes five seconds to find its targets; rates are over eight.
                async with asyncio.timeout(120):
                    for number in itertools.count():
                        await seen.round()
                        await asyncio.sleep(1)
                        query = "count(count_over_time(up[8s]) > 5)"
                        found = (await asyncio.to_thread(prometheus.ask, "query", query=query))["data"]["result"]
                        if number > 10 and [one["value"][1] for one in found] == ["4"]:
                            break
                api = ReadAPI(Engine(seen.store))
                ours, theirs = {}, {}
                for query in (*SAME, *NEAR):
                    now = f"{time.time():.3f}"
                    theirs[query] = await asyncio.to_thread(prometheus.ask, "query", query=query, time=now)
                    ours[query] = orjson.loads(api.answer("query", {"query": [query], "time": [now]})[1])
                return ours, theirs

    ours, theirs = asyncio.run(record())
    for query in (*SAME, *NEAR):
        mine, other = (comparable(each[query]["data"]["result"]) for each in (ours, theirs))
        assert mine, query
        tolerance = 1e-9 if query in SAME else 0.25
        assert mine == pytest.approx(other, rel=tolerance), query


DISCOVERY = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
- job_name: kubedyno
  honor_labels: true
  tls_config: {{ca_file: ca.crt, cert_file: client.crt, key_file: client.key}}
  http_sd_configs:
  - url: https://127.0.0.1:{port}/kubedyno/metrics/targets
    refresh_interval: 5s
    tls_config: {{ca_file: ca.crt, cert_file: client.crt, key_file: client.key}}
"""


def test_a_real_prometheus_finds_all_targets_by_discovery(running, tmp_path):
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("no prometheus on this machine")
    target = choice(running).target
    pair = target.user.pair
    assert target.ca is not None
    assert pair is not None
    (tmp_path / "ca.crt").write_bytes(target.ca)
    (tmp_path / "client.crt").write_bytes(pair.certificate)
    (tmp_path / "client.key").write_bytes(pair.key)
    (tmp_path / "prometheus.yml").write_text(DISCOVERY.format(port=running.port))
    with started(binary, tmp_path) as port, closing(Prometheus(port)) as prometheus:
        deadline = time.monotonic() + 60
        while True:
            data = prometheus.ask("query", query="sum by (job) (up)")["data"]
            up = {entry["metric"]["job"]: entry["value"][1] for entry in data["result"]}
            if len(up) == 8 and up["kubelet"] == "4":
                break
            assert time.monotonic() < deadline, up
            time.sleep(0.5)
        assert up["kube-scheduler"] == up["kube-etcd"] == up["kube-controller-manager"] == "0"
        targets = prometheus.ask("targets")["data"]["activeTargets"]
        (scheduler,) = (each for each in targets if each["labels"]["job"] == "kube-scheduler")
        assert scheduler["labels"]["instance"] == "172.18.0.2:10259"
        assert "503" in scheduler["lastError"]
