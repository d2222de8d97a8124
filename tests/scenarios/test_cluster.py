"""An embedded cluster's life: versions, nodes, ports, idleness, control endpoint, and who may use it."""

import ssl
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from kubedyno.base.errors import KubedynoError
from kubedyno.client import kubeconfig
from kubedyno.lab import control, embedded
from kubedyno.lab.settings import cluster_settings
from ports import free_port

KIND = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n"


@pytest.fixture(scope="module")
def cluster(up):
    return up("life")


@pytest.mark.parametrize(("version", "git"), [("1.33", "v1.33.2"), ("1.34", "v1.34.1"), ("1.35", "v1.35.0")])
def test_each_version_says_what_it_is(up, version, git):
    cluster = up(f"v{version.replace('.', '')}", version=version)
    assert cluster.get("/version")["gitVersion"] == git
    assert cluster.list("/api/v1/nodes")[0]["status"]["nodeInfo"]["kubeletVersion"] == git
    embedded.down(cluster.running.name)


def test_several_nodes_are_ready_when_up_returns_each_with_its_own_cidr(up):
    nodes = up("many", nodes=12).list("/api/v1/nodes")
    assert len(nodes) == 12
    assert all(c["status"] == "True" for n in nodes for c in n["status"]["conditions"] if c["type"] == "Ready")
    assert len({node["spec"]["podCIDR"] for node in nodes}) == 12
    embedded.down("many")


def test_status_shows_nodes_and_pods(cluster):
    cluster.settled()
    status = control.call("life", "GET", "/kubedyno/status")
    assert status["pods"] == {"Running": 9}
    assert status["nodes"][0] == {
        "name": "life-control-plane", "state": "Ready", "pods": "9/110", "podCIDR": "10.244.0.0/24", "kubelet": "running",
    }  # fmt: skip


def test_a_node_that_is_not_there_is_named_with_those_that_are(cluster):
    with pytest.raises(KubedynoError, match="no node nope; nodes are: life-control-plane"):
        control.call("life", "GET", "/kubedyno/nodes/nope/kubelet")


def test_nobody_without_credentials_reaches_more_than_health_and_version(cluster):
    context = ssl.create_default_context(cadata=kubeconfig.load(cluster.running.kubeconfig, None).ca.decode())
    base = f"https://127.0.0.1:{cluster.running.port}"

    def status(path, token=None):
        request = urllib.request.Request(base + path, headers={"authorization": f"Bearer {token}"} if token else {})
        try:
            with urllib.request.urlopen(request, context=context, timeout=60) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            error.close()
            return error.code

    assert [status(path) for path in ("/healthz", "/livez", "/readyz", "/version")] == [200] * 4
    assert [status(path) for path in ("/api/v1/pods", "/kubedyno/status", "/metrics")] == [403] * 3
    assert status("/api/v1/pods", token="wrong") == 401


def test_it_listens_on_loopback_only(cluster):
    port = f":{cluster.running.port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    listening = [row[1] for row in rows if row[3] == "0A" and row[1].endswith(port)]
    assert [address.partition(":")[0] for address in listening] == ["0100007F"]


def test_a_mapped_port_answers_for_the_service_behind_it(up, tmp_path):
    port = free_port()
    config = tmp_path / "kind.yaml"
    config.write_text(f"{KIND}nodes:\n- extraPortMappings: [{{containerPort: 30004, hostPort: {port}}}]\n")
    up("mapped", config=config, addons="study")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60)
    assert caught.value.read() == b"no Service has NodePort 30004.\n"
    caught.value.close()
    settings, _ = cluster_settings(name="clash", config=config)
    with pytest.raises(KubedynoError, match=f"127.0.0.1:{port}"):
        embedded.up(settings)
    assert "clash" not in embedded.names()
    embedded.down("mapped")


def test_an_idle_cluster_ends_itself_and_leaves_nothing(up):
    cluster = up("idle", idle_timeout="1s")
    pid = cluster.running.pid
    cluster.until(lambda: not cluster.running.directory.exists())
    # Who started it may still run: the process is collected with whatever is started or stopped next.
    cluster.until(lambda: not embedded.down("idle") and not Path(f"/proc/{pid}").exists())
    assert embedded.find("idle") is None
