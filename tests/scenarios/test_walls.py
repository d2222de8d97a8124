"""Each wall planted on a real cluster, and what `explain` says of it."""

import pytest

from kubedyno.lab import control

GRACE_S = 180.0
PODS = "/api/v1/namespaces/default/pods"


def pod(name, **spec):
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "nginx:alpine"}], **spec}}


@pytest.fixture(scope="module")
def cluster(up):
    return up("walls").settled()


def cause(cluster, name):
    """Return the finding about one pod of the default namespace, once there is one that waiting does not mend."""

    def look():
        for finding in cluster.findings("default"):
            if finding.permanent and any(p.endswith(f"/{name}") for p in finding.pods):
                return finding
        return None

    return cluster.until(look)


def test_too_large_a_request_is_insufficient_cpu(cluster):
    container = {"name": "c", "image": "nginx:alpine", "resources": {"requests": {"cpu": "999"}}}
    cluster.post(PODS, pod("large", containers=[container]))
    finding = cause(cluster, "large")
    assert finding.cause == "insufficient"
    assert "1 Insufficient cpu" in finding.evidence[0]


def test_a_selector_that_no_node_has_is_named(cluster):
    cluster.post(PODS, pod("picky", nodeSelector={"disk": "ssd"}))
    finding = cause(cluster, "picky")
    assert "node affinity/selector" in finding.title


def test_a_gated_pod_is_told_to_lose_its_gates(cluster):
    cluster.post(PODS, pod("gated", schedulingGates=[{"name": "x"}]))
    assert "schedulingGates" in cause(cluster, "gated").remedy[0]


def test_a_host_port_is_given_once(cluster):
    container = {"name": "c", "image": "nginx:alpine", "ports": [{"containerPort": 80, "hostPort": 8080}]}
    cluster.post(PODS, pod("first", containers=[container]))
    cluster.post(PODS, pod("second", containers=[container]))
    assert "free ports" in cause(cluster, "second").title


def test_an_image_that_cannot_be_pulled_is_named(cluster):
    cluster.post(PODS, pod("noimage", containers=[{"name": "c", "image": "registry.invalid/nothing:1"}]))
    finding = cause(cluster, "noimage")
    assert finding.cause == "image-pull"
    assert "registry.invalid/nothing:1" in finding.remedy[0]


def test_without_a_pod_network_the_node_stays_not_ready_and_that_is_said(up):
    cluster = up("bare", cni="none")
    finding = cluster.until(lambda: cluster.finding("node-not-ready"))
    assert any("cni plugin not initialized" in line for line in finding.evidence)
    assert any("--cni cilium" in line for line in finding.remedy)


@pytest.mark.parametrize("version", ["1.33", "1.36"])
def test_pods_that_a_not_ready_node_keeps_out_are_told_to_mend_the_node_not_its_taint(up, version):
    cluster = up(f"bare{version[-2:]}", cni="none", version=version)
    cluster.post(PODS, pod("out"))
    finding = cause(cluster, "out")
    assert finding.cause == "node-not-ready"
    assert "had untolerated taint" in finding.evidence[0]
    assert [line for line in finding.remedy if "--cni cilium" not in line] == []


def test_pods_on_the_host_s_network_do_not_wait_for_a_pod_network(up):
    cluster = up("hosted", cni="none", speed=0.01)
    assert all(not finding.permanent for finding in cluster.findings("kube-system") if "etcd" in str(finding.pods))
    assert any("etcd" in str(finding.pods) for finding in cluster.findings("kube-system"))


def test_a_taint_that_somebody_put_is_to_be_taken_off_or_tolerated(up):
    cluster = up("tainted").settled()
    taint = {"spec": {"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]}}
    cluster.send("PATCH", f"/api/v1/nodes/{cluster.node}", taint, content_type="application/merge-patch+json")
    cluster.post(PODS, pod("plain"))
    cluster.post(PODS, pod("fitting", tolerations=[{"key": "gpu", "operator": "Exists"}]))
    finding = cause(cluster, "plain")
    assert "remove the taint" in finding.remedy[0]
    assert finding.pods == ("default/plain",)


def test_with_cilium_the_node_becomes_ready(up):
    cluster = up("ciliated", cni="cilium").settled()
    assert list(cluster.findings()) == []


def test_changing_only_the_config_map_changes_nothing(cluster):
    path = "/api/v1/namespaces/kube-system/configmaps/kubelet-config"
    text = cluster.get(path)["data"]["kubelet"]
    cluster.send(
        "PATCH", path, {"data": {"kubelet": text + "maxPods: 7\n"}}, content_type="application/merge-patch+json"
    )
    control.call("walls", "POST", f"/kubedyno/nodes/{cluster.node}/kubelet/restart")
    assert cluster.get(f"/api/v1/nodes/{cluster.node}")["status"]["capacity"]["pods"] == "110"


@pytest.mark.slow
def test_a_broken_kubelet_file_leaves_the_kubelet_failed_and_the_node_not_ready(up):
    cluster = up("broken").settled()
    path = f"/kubedyno/nodes/{cluster.node}/kubelet"
    good = control.text("broken", f"{path}/config")
    control.call("broken", "PUT", f"{path}/config", b"maxPods: many\n", "application/yaml")
    status = control.call("broken", "POST", f"{path}/restart")
    assert status["state"] == "failed"
    assert status["error"]
    # As long as the node lifecycle controller's grace period, which no speed shortens.
    finding = cluster.until(lambda: cluster.finding("node-not-ready"), GRACE_S)
    assert any("NodeStatusUnknown" in line or "stopped posting" in line for line in finding.evidence)
    control.call("broken", "PUT", f"{path}/config", good.encode(), "application/yaml")
    assert control.call("broken", "POST", f"{path}/restart")["state"] == "running"
    cluster.until(lambda: not cluster.findings())
