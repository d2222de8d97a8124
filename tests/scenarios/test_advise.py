"""`kubedyno advise` on a live cluster: findings, what may not be read, and a change that is applied and undone."""

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from kubedyno.advisor import advice
from kubedyno.base import aio
from kubedyno.base.errors import KubedynoError
from kubedyno.cli.main import main
from kubedyno.kube import yaml
from kubedyno.lab import advise as lab
from kubedyno.lab import target

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "registry.example/web:1", "imagePullPolicy": "Always"}]},
        },
    },
}


@pytest.fixture(scope="module")
def cluster(up):
    return up("t", nodes=2, max_pods=400).settled()


def advise(cluster, capsys, *words: str) -> tuple[int, str, str]:
    code = main(["advise", "--kubeconfig", str(cluster.running.kubeconfig), *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def policy(cluster) -> str:
    return cluster.kubectl("get", "deployment", "web", "-o", "jsonpath={..imagePullPolicy}")


def test_the_wall_before_it_is_hit(cluster, capsys) -> None:
    code, out, _ = advise(cluster, capsys, "-o", "json")
    found = {one["rule"]: one for one in json.loads(out)["findings"]}
    assert code == 2
    assert "10.244.0.0/24 has 253 pod addresses" in " ".join(found["max-pods-addresses"]["evidence"])
    assert "--node-cidr-mask-size=23" in found["max-pods-addresses"]["apply"][0]
    assert len(found["bind-addresses"]["evidence"]) == 4


def test_nothing_changes_without_a_confirmation_and_a_change_is_undone_by_what_was_printed(cluster, capsys) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(DEPLOYMENT))
    code, out, err = advise(cluster, capsys, "--apply", "image-pull-always")
    assert (code, out) == (1, "")
    assert "confirm with --yes; nothing was changed" in err
    assert policy(cluster) == "Always"
    code, out, err = advise(cluster, capsys, "--apply", "image-pull-always", "--yes")
    assert code == 0, err
    assert policy(cluster) == "IfNotPresent"
    undo = next(line.strip() for line in out.splitlines() if line.startswith("  kubectl "))
    assert undo in err
    subprocess.run(
        ["sh", "-c", undo], check=True, env={**__import__("os").environ, "KUBECONFIG": str(cluster.running.kubeconfig)}
    )
    assert policy(cluster) == "Always"


def test_an_object_that_has_changed_since_is_left_alone(cluster) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(DEPLOYMENT))
    choice = target.choose(str(cluster.running.kubeconfig), None)
    change = lab.plan(advice.all_findings(None, aio.run(lab.read(choice))), ["image-pull-always"], None)
    path = "/spec/template/spec/containers/0/imagePullPolicy"
    step = json.dumps([{"op": "replace", "path": path, "value": "Never"}])
    cluster.kubectl("patch", "deployment", "web", "--type", "json", "-p", step)
    with pytest.raises(KubedynoError, match="nothing was changed"):
        lab.apply(choice, change, kubeconfig=None, context=None)
    assert policy(cluster) == "Never"
    cluster.kubectl("delete", "deployment", "web")


@pytest.mark.parametrize("rule", ["nothing", "bind-addresses"])
def test_what_cannot_be_applied_is_one_line(cluster, capsys, rule: str) -> None:
    code, _, err = advise(cluster, capsys, "--apply", rule, "--yes")
    assert code == 1
    assert err.startswith(f"kubedyno: --apply {rule}: ")
    assert err.count("\n") == 1


def test_a_probe_that_is_none_is_one_line(capsys, tmp_path: Path) -> None:
    file = tmp_path / "p.json"
    file.write_text("[]")
    assert main(["advise", "--probe", str(file)]) == 1
    assert "no facts in it" in capsys.readouterr().err


OPEN = """
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
kubeadmConfigPatches:
- |
  kind: ClusterConfiguration
  etcd: {local: {extraArgs: {listen-metrics-urls: "http://0.0.0.0:2381"}}}
"""


def test_etcd_is_asked_through_its_pod_where_it_listens_for_others(up, capsys, tmp_path: Path) -> None:
    config = tmp_path / "kind.yaml"
    config.write_text(OPEN)
    lonely, open_ = up("lonely").settled(), up("open", config=config).settled()
    assert (
        "not read: metrics of etcd: GET /api/v1/namespaces/kube-system/pods/etcd-lonely-control-plane:2381/proxy/metrics answered 503 (error trying to reach service: dial tcp"
        in advise(lonely, capsys)[1]
    )
    assert "metrics of etcd" not in advise(open_, capsys)[1]
    page = open_.kubectl(
        "get", "--raw", "/api/v1/namespaces/kube-system/pods/etcd-open-control-plane:2381/proxy/metrics"
    )
    assert "etcd_mvcc_db_total_size_in_bytes " in page


def test_what_is_printed_for_kubelets_of_an_embedded_cluster_does_it_and_undoes_it(up, capsys) -> None:
    cluster = up("kubelets").settled()
    for rule in ("kubelet-image-pulls", "kubelet-reservations"):
        code = main(["advise", "-o", "json", "--kubeconfig", str(cluster.running.kubeconfig)])
        one = next(entry for entry in json.loads(capsys.readouterr().out)["findings"] if entry["rule"] == rule)
        assert code in {0, 2}
        for line, found in ((one["apply"][0], False), (one["undo"][0], True)):
            words = shlex.split(line.replace("NODE", cluster.node), comments=True)
            assert words[:3] == ["kubedyno", "cluster", "kubelet"]
            assert main(words[1:]) == 0
            cluster.until(lambda f=found, r=rule: (f"[{r}]" in advise(cluster, capsys)[1]) is f)


def two_pods(up, name: str, version: str):
    """Return a cluster with a private registry: tenant-a's pod has its login, tenant-b's on the same node has none."""
    cluster = up(name, version=version, private_registries=("private.example=puller:secret",)).settled()
    spec = {"containers": [{"name": "c", "image": "private.example/app:1", "imagePullPolicy": "IfNotPresent"}]}
    for namespace, more, seen in (
        ("tenant-a", {"imagePullSecrets": [{"name": "pull"}]}, "Running"),
        ("tenant-b", {}, "Running" if version == "1.34" else "ErrImagePull"),
    ):
        cluster.kubectl("create", "namespace", namespace)
        cluster.until(lambda n=namespace: "default" in cluster.kubectl("-n", n, "get", "serviceaccounts", "-o", "name"))
        if more:
            login = ("--docker-server=private.example", "--docker-username=puller", "--docker-password=secret")
            cluster.kubectl("-n", namespace, "create", "secret", "docker-registry", "pull", *login)
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "app", "namespace": namespace},
            "spec": {**spec, **more, "nodeName": f"{name}-control-plane"},
        }
        cluster.kubectl("apply", "-f", "-", stdin=json.dumps(pod))
        cluster.until(lambda n=namespace, s=seen: s in cluster.kubectl("-n", n, "get", "pod", "app"))
    return cluster


def test_two_pods_show_who_uses_a_private_image(up, capsys) -> None:
    # Before 1.35 kubelets do not ask again for an image that is there.
    cluster = two_pods(up, "u", "1.34")
    _, out, _ = advise(cluster, capsys)
    assert "[private-images]" in out
    assert (
        "private.example/app:1 on u-control-plane: pulled with the secret of tenant-a/app; without one,"
        " tenant-b/app does use it"
    ) in out


def test_where_kubelets_ask_again_the_stranger_does_not_run_and_nothing_is_found(up, capsys) -> None:
    cluster = two_pods(up, "v", "1.36")
    assert "no basic auth credentials" in cluster.kubectl("-n", "tenant-b", "get", "events")
    assert "[private-images]" not in advise(cluster, capsys)[1]


def test_what_may_not_be_read_is_told_and_the_rest_is_answered(cluster, capsys, tmp_path: Path) -> None:
    cluster.kubectl("create", "serviceaccount", "reader", "-n", "default")
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "nodes-and-pods"},
        "rules": [{"apiGroups": [""], "resources": ["nodes", "pods"], "verbs": ["get", "list"]}],
    }
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(role))
    cluster.kubectl(
        "create", "clusterrolebinding", "r", "--clusterrole=nodes-and-pods", "--serviceaccount=default:reader"
    )
    config = yaml.load(cluster.running.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": cluster.kubectl("create", "token", "reader", "-n", "default").strip()}
    path = tmp_path / "reader"
    path.write_text(json.dumps(config))
    code = main(["advise", "--kubeconfig", str(path)])
    out = capsys.readouterr().out
    assert code == 2
    assert "[max-pods-addresses]" in out
    assert "not read: endpoint slices: not read (endpointslices.discovery.k8s.io is forbidden" in out
    assert "not read: ConfigMap kube-proxy: not read (" in out


def test_a_live_ciliums_configuration_is_judged_as_values(up, capsys) -> None:
    cluster = up("c", nodes=2, cni="cilium").settled()
    data = {"routing-mode": "native", "ipv4-native-routing-cidr": "172.20.0.0/16", "bpf-map-dynamic-size-ratio": "0.01"}
    cluster.kubectl("-n", "kube-system", "patch", "configmap", "cilium-config", "-p", json.dumps({"data": data}))
    code, out, _ = advise(cluster, capsys)
    assert code == 2
    assert "does not cover the pod CIDR 10.244.0.0/16  [native-routing-cidr]" in out
    assert "\nipv4NativeRoutingCIDR: 10.244.0.0/16\n" in out
    assert main(["maps", "--cluster", "--kubeconfig", str(cluster.running.kubeconfig), "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {node["ratio"] for node in found["nodes"]} == {0.01}
    assert any(line.startswith("map pressure: ") for line in found["missing"])
