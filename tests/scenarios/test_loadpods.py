"""Measurements that need pods of their own inside the cluster, on simulated pods."""

import orjson
import pytest

from kubedyno.base.errors import KubedynoError
from kubedyno.client import portforward
from kubedyno.client.exec import run_command
from kubedyno.lab import session
from kubedyno.lab.target import Choice

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: "d-{{.Replica}}"}
spec:
  replicas: 2
  selector: {matchLabels: {app: "d-{{.Replica}}"}}
  template:
    metadata: {labels: {app: "d-{{.Replica}}"}}
    spec: {containers: [{name: c, image: nginx}]}
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: "s-{{.Replica}}"}
spec: {selector: {app: "d-{{.Replica}}"}, type: "{{.type}}", ports: [{port: 80, targetPort: 8080}]}
"""
CONFIG = """
global: {measurements: [%s]}
metricsEndpoints: [{indexer: {type: local, metricsDirectory: %s}}]
jobs:
- name: job
  namespace: job
  jobIterations: 1
  qps: 100
  burst: 100
  preLoadImages: false
  objects:
  - {objectTemplate: d.yml, replicas: 3}
  - {objectTemplate: s.yml, replicas: 2, inputVars: {type: ClusterIP}}
"""
SCRIPT = """
commands:
- {command: "sh -c *10250/debug/pprof/heap", stdout: "heap of ${NODE}"}
- {command: "curl *--unix-socket /mnt/var/run/crio/crio.sock *", exitCode: 22, stderr: "no crio here"}
ports:
- {port: 9002, reply: "HTTP/1.0 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nhello and more"}
- {port: 9003, reply: "HTTP/1.0 404 Not Found\\r\\n\\r\\nno"}
- {port: 9004, greeting: "SSH-2.0"}
"""


@pytest.fixture(scope="module")
def cluster(up):
    return up("loadpods", nodes=3).settled()


def run(cluster, tmp_path, measurement):
    """Run the configuration with a measurement; returns the run's document and what was written."""
    (tmp_path / "d.yml").write_text(DEPLOYMENT)
    (tmp_path / "s.yml").write_text(SERVICE)
    (tmp_path / "c.yml").write_text(CONFIG % (orjson.dumps(measurement).decode(), tmp_path / "out"))
    request = session.Request(config=str(tmp_path / "c.yml"), directory=tmp_path, quiet=True)
    target = session.kubeconfig.load(cluster.running.kubeconfig, None)
    document = session.asyncio.run(session.run(request, Choice(target, cluster.running), yes=True))
    return document, {p.stem: orjson.loads(p.read_bytes()) for p in (tmp_path / "out").glob("*.json")}


def test_a_service_is_measured_from_a_pod_inside_the_cluster(cluster, tmp_path):
    document, written = run(cluster, tmp_path, {"name": "serviceLatency", "svcTimeout": "60s"})
    assert document.exit_code == 0
    found = written["svcLatencyMeasurement-job"]
    assert sorted(one["service"] for one in found) == ["s-1", "s-2"]
    assert all(0 < one["ready"] < 60e9 and "ipAssigned" not in one and "jobIteration" not in one for one in found)
    (quantiles,) = written["svcLatencyQuantilesMeasurement-job"]
    assert quantiles["quantileName"] == "Ready"
    assert not [line for line in document.not_measured if line.startswith("serviceLatency")]
    spaces = [space["metadata"]["name"] for space in cluster.list("/api/v1/namespaces")]
    assert "kube-burner-service-latency" not in spaces


def test_programs_of_nodes_are_profiled_through_a_daemonset_that_goes_again(cluster, tmp_path, monkeypatch):
    name = "kube-burner-pprof-collector"
    cluster.post("/api/v1/namespaces", {"metadata": {"name": name}})
    script = {"metadata": {"name": "script", "labels": {"kubedyno.io/exec": "true"}}, "data": {"s": SCRIPT}}
    cluster.post(f"/api/v1/namespaces/{name}/configmaps", script)
    nodes = [node["metadata"]["name"] for node in cluster.list("/api/v1/nodes")]
    measurement = {
        "name": "pprof",
        "pprofDirectory": str(tmp_path / "profiles"),
        "nodeAffinity": {"kubernetes.io/os": "linux", "kubernetes.io/hostname": nodes[-1]},
        "pprofTargets": [
            {"name": "kubelet", "url": "https://localhost:10250/debug/pprof/heap"},
            {"name": "crio", "url": "http://localhost/debug", "unixSocketPath": "/var/run/crio/crio.sock"},
        ],
    }
    document, _ = run(cluster, tmp_path, measurement)
    assert {path.name: path.read_text() for path in (tmp_path / "profiles").iterdir()} == {
        f"kubelet-{nodes[-1]}-job-{moment}.pprof": f"heap of {nodes[-1]}" for moment in ("start", "end")
    }
    assert any("crio" in line and "no crio here" in line for line in document.not_measured)
    assert not [item for item in cluster.list("/api/v1/namespaces") if item["metadata"]["name"] == name]
    path = "/apis/rbac.authorization.k8s.io/v1/clusterrole"
    kinds = (f"{path}s", f"{path}bindings")
    assert not [item for kind in kinds for item in cluster.list(kind) if item["metadata"]["name"] == name]


def test_nodes_that_no_label_chooses_are_told(cluster, tmp_path):
    target = {"name": "kubelet", "url": "https://localhost:10250/debug/pprof/heap"}
    measurement = {"name": "pprof", "pprofDirectory": str(tmp_path / "p"), "nodeAffinity": {"no": "node"}}
    document, _ = run(cluster, tmp_path, measurement | {"pprofTargets": [target]})
    assert "pprof: nodeAffinity: no node has no=node, or none takes the DaemonSet kube-burner-pprof-collector" in (
        document.not_measured
    )


def test_a_port_of_a_pod_is_asked_by_port_forward(cluster):
    labels = {"kubedyno.io/exec": SCRIPT}
    pod = {"metadata": {"name": "web", "annotations": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    cluster.post("/api/v1/namespaces/default/pods", pod)
    path = "/api/v1/namespaces/default/pods/web"
    cluster.until(lambda: cluster.get(path)["status"]["phase"] == "Running")

    def ask(port):
        return cluster.ask(lambda client: portforward.ask(client, "default", "web", port, "GET", "/", timeout_s=10))

    assert ask(9002).body.startswith(b"hello")
    assert (ask(9003).status, ask(9003).body) == (404, b"no")
    for port, said in ((9004, "its answer is no HTTP"), (9005, "connection refused: nothing listens on port 9005")):
        with pytest.raises(KubedynoError, match=f"port {port} of pod default/web: .*{said}"):
            ask(port)


def test_a_probe_from_a_simulated_pod_sees_a_service_come(cluster):
    pod = {"metadata": {"name": "probe"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    cluster.post("/api/v1/namespaces/default/pods", pod)
    cluster.until(lambda: cluster.get("/api/v1/namespaces/default/pods/probe")["status"]["phase"] == "Running")

    def run_in(*words):
        return cluster.ask(lambda client: run_command(client, "default", "probe", "c", list(words)))

    assert run_in("nc", "-z", "kubernetes.default.svc", "443").code == 0
    assert run_in("nc", "-z", "kubernetes", "444").code == 1
    assert run_in("nc", "-zv", "kubernetes", "443").code == 127
    address = cluster.get("/api/v1/namespaces/default/pods/probe")["status"]["podIP"]
    assert run_in("nc", "-z", address, "80").code == 127
