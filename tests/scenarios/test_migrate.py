"""`kubedyno migrate endpoints` on an embedded cluster: what mirrors, who asks (roles, metric, audit log), what is made."""

import json

import pytest

from kubedyno.cli.main import main
from kubedyno.kube import yaml

SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "ext"}, "spec": {"ports": [{"port": 80}]}}
ENDPOINTS = {
    "apiVersion": "v1",
    "kind": "Endpoints",
    "metadata": {"name": "ext", "labels": {"team": "x"}},
    "subsets": [
        {"addresses": [{"ip": "192.0.2.1"}], "notReadyAddresses": [{"ip": "192.0.2.2"}], "ports": [{"port": 80}]}
    ],
}
ROLE = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "Role",
    "metadata": {"name": "reader"},
    "rules": [{"apiGroups": [""], "resources": ["endpoints"], "verbs": ["get"]}],
}


@pytest.fixture(scope="module")
def audited(up, tmp_path_factory):
    path = tmp_path_factory.mktemp("audit") / "audit.log"
    cluster = up("audited", nodes=1, audit_log=path).settled()
    for thing in (SERVICE, ENDPOINTS, ROLE):
        cluster.kubectl("apply", "-f", "-", stdin=json.dumps(thing))
    return cluster, path


def migrate(cluster, *words: str) -> int:
    return main(["migrate", "endpoints", "--cluster", *words, "--kubeconfig", str(cluster.running.kubeconfig)])


def test_slices_are_made_of_what_nobody_else_makes_slices_of_and_the_api_takes_them(audited, capsys) -> None:
    cluster, _ = audited
    assert migrate(cluster) == 0
    said = capsys.readouterr()
    made = list(yaml.load_all(said.out))
    assert [(one["metadata"]["name"], one["metadata"]["labels"]["team"]) for one in made] == [("ext", "x")]
    assert [end["conditions"]["ready"] for end in made[0]["endpoints"]] == [True, False]
    # The API server makes those of Service kubernetes itself.
    assert "default/kubernetes: Endpoints kubernetes has endpointslice.kubernetes.io/skip-mirror=true" in said.err
    assert "created (server dry run)" in cluster.kubectl("create", "--dry-run=server", "-f", "-", stdin=said.out)


def test_what_may_not_be_read_is_told_and_the_rest_is_answered(audited, capsys, tmp_path) -> None:
    cluster, _ = audited
    cluster.kubectl("create", "serviceaccount", "reader")
    cluster.kubectl("create", "clusterrole", "ends", "--verb=list", "--resource=endpoints")
    cluster.kubectl("create", "clusterrolebinding", "ends", "--clusterrole=ends", "--serviceaccount=default:reader")
    config = yaml.load(cluster.running.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": cluster.kubectl("create", "token", "reader").strip()}
    path = tmp_path / "reader"
    path.write_text(json.dumps(config))
    assert main(["migrate", "endpoints", "--find", "--cluster", "--kubeconfig", str(path)]) == 2
    said = capsys.readouterr()
    assert "default/ext: Endpoints ext" in said.out
    for kind in ("ClusterRole: not read (", "Role: not read (", "Service: not read (", "/metrics: not read ("):
        assert f"kubedyno: {kind}" in said.err
    assert main(["migrate", "endpoints", "--cluster", "--kubeconfig", str(path)]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "without Services nobody knows whose slices are made already" in said.err
    for words in (["features", "demo", "sleep-zero"], ["probe", "--cluster"]):
        assert main([*words, "--yes", "--kubeconfig", str(path)]) == 1
        assert 'cannot create resource "namespaces"' in capsys.readouterr().err


def test_who_asks_is_found_by_roles_metric_and_audit_log(audited, capsys) -> None:
    cluster, path = audited
    assert migrate(cluster, "--find", "--audit-log", str(path)) == 2
    said = capsys.readouterr()
    assert "default/reader: Role reader allows get of endpoints" in said.out
    assert "ClusterRole system:" not in said.out
    assert "Kubernetes' own roles allow endpoints: they come with its version" in said.err
    assert "/metrics: someone asked for v1 Endpoints since the API server began" in said.out
    assert "(kubectl/" in said.out
    assert ": create of endpoints, once" in said.out
    marked = [json.loads(line) for line in path.read_text().splitlines() if '"k8s.io/deprecated":"true"' in line]
    assert {event["objectRef"]["resource"] for event in marked} == {"endpoints"}
