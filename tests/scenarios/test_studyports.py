"""The study's ports: a kind configuration's port mappings lead to the page, to Prometheus' read API, to Grafana or our dashboards."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kubedyno.base.errors import KubedynoError
from kubedyno.lab import embedded
from kubedyno.lab.settings import cluster_settings
from kubedyno.promql.dashboards import DASHBOARDS
from ports import free_ports

pytestmark = [pytest.mark.slow, pytest.mark.kubectl]
KUBECTL = shutil.which("kubectl", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
DATA = Path(__file__).parent / "data"
VALUES = Path(__file__).parents[2] / "examples" / "study" / "monitor-values.yaml"
CONFIG = """
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
- role: control-plane
  extraPortMappings: [{mappings}]
  kubeadmConfigPatches:
  - |
    kind: ClusterConfiguration
    controllerManager: {{extraArgs: {{bind-address: 0.0.0.0}}}}
    etcd: {{local: {{extraArgs: {{listen-metrics-urls: "http://0.0.0.0:2381"}}}}}}
    scheduler: {{extraArgs: {{bind-address: 0.0.0.0}}}}
  - |
    kind: KubeProxyConfiguration
    metricsBindAddress: 0.0.0.0
- role: worker
"""


@dataclass
class Cluster:
    running: embedded.Running
    ports: dict[int, int]

    def get(self, node_port: int, path: str = "/", host: str = "", **form: str) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.ports[node_port]}{path}"
        data = urllib.parse.urlencode(form).encode() if form else None
        request = urllib.request.Request(url, data, {"host": host} if host else {})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def query(self, query: str, node_port: int = 30001) -> list[dict[str, Any]]:
        status, text = self.get(node_port, "/api/v1/query", query=query)
        assert status == 200, text
        return json.loads(text)["data"]["result"]

    def kubectl(self, *words: str, stdin: str = "") -> str:
        assert KUBECTL is not None
        command = [KUBECTL, "--kubeconfig", str(self.running.kubeconfig), *words]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, input=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def node_port(self, namespace: str, service: str, port: int, target: int, node_port: int) -> None:
        ports = [{"port": port, "targetPort": target, "nodePort": node_port}]
        patch = json.dumps({"spec": {"type": "NodePort", "ports": ports}})
        self.kubectl("patch", "svc", "-n", namespace, service, "-p", patch)

    def until(self, true: Callable[[], bool], within_s: float = 90.0) -> None:
        deadline = time.monotonic() + within_s
        while not true():
            assert time.monotonic() < deadline, "not in time"
            time.sleep(0.2)


def started(directory: Path, name: str, *, addons: str | None = None, values: str = "") -> Cluster:
    node_ports = (30000, 30001, 30002, 30003)
    ports = dict(zip(node_ports, free_ports(4), strict=True))
    config = directory / f"{name}.yaml"
    mappings = ", ".join(f"{{containerPort: {inner}, hostPort: {outer}}}" for inner, outer in ports.items())
    config.write_text(CONFIG.format(mappings=mappings))
    file = None
    if values:
        file = directory / f"{name}-values.yaml"
        file.write_text(values)
    settings, warnings = cluster_settings(name=name, config=config, addons=addons, addon_values=file, speed=0.0)
    assert warnings == []
    return Cluster(embedded.up(settings), ports)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if KUBECTL is None:
        pytest.skip("there is no kubectl here; the development requirements bring one")
    directory = tmp_path_factory.mktemp("ports")
    kept = {name: os.environ.get(name) for name in ("KUBEDYNO_HOME", "PATH")}
    os.environ["KUBEDYNO_HOME"] = str(directory / "home")
    (directory / "bin").mkdir()
    os.environ["PATH"] = f"{directory / 'bin'}{os.pathsep}{os.environ['PATH']}"
    try:
        yield directory
    finally:
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@pytest.fixture(scope="module")
def study(home: Path) -> Iterator[Cluster]:
    values = VALUES.read_text().replace('"15s"', '"1s"')
    cluster = started(home, "ports", addons="study", values=values)
    try:
        cluster.until(lambda: cluster.get(30003)[0] == 200)
        cluster.kubectl("create", "deployment", "load", "--image=i:1", "--replicas=5")
        cluster.kubectl("rollout", "status", "deployment", "load", "--timeout=60s")
        yield cluster
    finally:
        embedded.down("ports")


def test_the_page_prometheus_and_dashboards_are_at_the_study_s_ports(study):
    assert "<title>kubedyno view</title>" in study.get(30003)[1]
    assert "<title>kubedyno metrics</title>" in study.get(30001)[1]
    assert "<title>kubedyno dashboards</title>" in study.get(30002)[1]
    status, text = study.get(30000)
    assert (status, text) == (503, "no Service has NodePort 30000.\n")


def test_only_this_machine_s_names_are_answered_at_a_mapped_port(study):
    for port in (30001, 30002, 30003):
        assert study.get(port, host="evil.example")[0] == 421
        assert study.get(port, host=f"evil.example:{study.ports[port]}")[0] == 421
        assert study.get(port, host=f"localhost:{study.ports[port]}")[0] == 200


def test_all_targets_are_up_where_the_configuration_binds_them(study):
    study.until(lambda: len(study.query("up == 1")) == 12)
    jobs = {entry["metric"]["job"] for entry in study.query("up == 1")}
    assert {"kube-controller-manager", "kube-scheduler", "kube-etcd", "kube-proxy"} <= jobs
    assert study.query("up == 0") == []


def test_values_of_the_monitoring_chart_act(study):
    study.until(lambda: len(study.query("count_over_time(up{job='apiserver'}[1m]) > 3")) == 1)
    assert json.loads(study.get(30002, "/dashboards.json")[1])["timezone"] == "Asia/Seoul"


def test_every_query_of_our_dashboards_has_data_except_cilium_s(study):
    study.until(lambda: len(study.query("count_over_time(scheduler_schedule_attempts_total[1m]) > 3")) > 0)
    command = [str(KUBECTL), "--kubeconfig", str(study.running.kubeconfig), "get", "pods", "--watch"]
    # Requests that last are there while somebody watches.
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as watching:
        study.until(lambda: len(study.query("apiserver_longrunning_requests")) > 0)
        empty = {
            board.uid: [
                query.expr
                for panel in board.panels
                for query in panel.queries
                if not study.query(query.expr, node_port=30002)
            ]
            for board in DASHBOARDS
        }
        watching.terminate()
    cilium = empty.pop("kubedyno-cilium")
    assert {uid: queries for uid, queries in empty.items() if queries} == {}
    # Said in its note: these come with a real Cilium.
    (board,) = (board for board in DASHBOARDS if board.uid == "kubedyno-cilium")
    assert len(cilium) == sum(len(panel.queries) for panel in board.panels)
    assert "does not have them" in board.note


def test_a_service_s_nodeport_moves_what_is_behind_a_port(study):
    study.node_port("monitoring", "kube-prometheus-stack-prometheus", 9090, 9090, 30000)
    assert "kubedyno metrics" in study.get(30000)[1]
    assert study.get(30001)[0] == 503
    study.node_port("monitoring", "kube-prometheus-stack-prometheus", 9090, 9090, 30001)
    assert "kubedyno metrics" in study.get(30001)[1]


def test_a_port_without_a_running_pod_says_so(study):
    study.kubectl("scale", "-n", "kube-system", "deployment", "kube-ops-view", "--replicas=0")
    study.until(lambda: "none of its pods runs" in study.get(30003)[1])
    study.kubectl("scale", "-n", "kube-system", "deployment", "kube-ops-view", "--replicas=1")
    study.until(lambda: study.get(30003)[0] == 200)


def test_two_on_one_port_are_one_line(study, home):
    other = home / "taken.yaml"
    port = study.ports[30001]
    other.write_text(CONFIG.format(mappings=f"{{containerPort: 30001, hostPort: {port}}}"))
    settings, _ = cluster_settings(name="taken", config=other, speed=0.0)
    with pytest.raises(KubedynoError, match=f"cannot listen on 127.0.0.1:{port} .*; stop what uses it"):
        embedded.up(settings)


GRAFANA = """#!{python}
import http.server, json, os, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        folder = os.environ["GF_PATHS_PROVISIONING"]
        said = {{"grafana": sys.argv, "source": open(folder + "/datasources/kubedyno.yaml").read(),
                "password": os.environ["GF_SECURITY_ADMIN_PASSWORD"], "host": self.headers["host"]}}
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.HTTPServer((os.environ["GF_SERVER_HTTP_ADDR"], int(os.environ["GF_SERVER_HTTP_PORT"])), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def bare(home: Path) -> Iterator[Cluster]:
    script = home / "bin" / "grafana-server"
    script.write_text(GRAFANA.format(python=sys.executable))
    script.chmod(0o755)
    try:
        yield started(home, "bare")
    finally:
        embedded.down("bare")
        script.unlink()


def test_a_manifest_like_cilium_s_example_applies_as_it_is_and_its_nodeports_lead_somewhere(bare):
    bare.kubectl("apply", "-f", str(DATA / "cilium-monitoring.yaml"))
    bare.kubectl("rollout", "status", "-n", "cilium-monitoring", "deployment", "prometheus", "--timeout=60s")
    assert bare.get(30001) == (503, "no Service has NodePort 30001.\n")
    bare.node_port("cilium-monitoring", "prometheus", 9090, 9090, 30001)
    bare.node_port("cilium-monitoring", "grafana", 3000, 3000, 30002)
    bare.until(lambda: bare.get(30001)[0] == 200)
    bare.until(lambda: len(bare.query("up == 1")) > 5)
    assert "does not have them" in bare.get(30001, "/query.js")[1]
    # A Grafana of this machine, with our dashboards and its source.
    bare.until(lambda: bare.get(30002)[1].startswith('{"grafana"'))
    said = json.loads(bare.get(30002)[1])
    assert "type: prometheus" in said["source"]
    assert said["password"] == "prom-operator"


def test_the_applications_end_with_the_cluster(home):
    cluster = started(home, "ends", addons="study")
    cluster.until(lambda: cluster.get(30001)[0] == 200)
    children = Path(f"/proc/{cluster.running.pid}/task/{cluster.running.pid}/children").read_text().split()
    assert children
    embedded.down("ends")
    cluster.until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))
