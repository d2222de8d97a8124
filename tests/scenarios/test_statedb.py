"""StateDB's tables of a running cluster: over HTTP with its credentials, and as `kubedyno statedb` shows them."""

import json
import ssl
import threading
import urllib.error
import urllib.request

import pytest
import yaml

from kubedyno.cli.main import main
from kubedyno.kube.resources import PODS
from kubedyno.lab import control, statedb


@pytest.fixture(scope="module")
def cluster(up):
    found = up("tables", nodes=2).settled()
    for name in ("a", "b", "c"):
        data = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"shown-{name}"}, "data": {"k": name}}
        found.post("/api/v1/namespaces/default/configmaps", data)
    return found


@pytest.fixture
def shell(cluster, capsys):
    def run(*words):
        code = main(["statedb", *words, "--name", "tables"])
        out, err = capsys.readouterr()
        assert code == 0, err
        return out

    return run


def test_all_tables_are_listed_with_their_figures(cluster):
    listed = statedb.overview("tables")
    tables = {table["name"]: table for table in listed["tables"]}
    assert {"pods", "deployments.apps", "health", "reconcilers", "reconciler-statuses"} <= set(tables)
    assert tables["nodes"]["objects"] == 2
    assert {"name": "node", "unique": False} in tables["pods"]["indexes"]
    assert tables["pods"]["trackers"] >= 2
    assert tables["pods"]["initialized"]
    assert {database["name"] for database in listed["databases"]} == {"objects", "modules"}


def test_the_list_as_text(shell):
    out = shell("list")
    assert out.startswith("Name ")
    row = next(line.split() for line in out.splitlines() if line.startswith("nodes "))
    assert row[1:3] == ["objects", "2"]


def test_an_object_is_what_the_api_says_it_is(cluster, shell):
    shown = json.loads(shell("get", "configmaps", "default/shown-a", "-o", "json"))["objects"][0]
    assert shown["object"] == cluster.get("/api/v1/namespaces/default/configmaps/shown-a")
    assert str(shown["revision"]) == shown["object"]["metadata"]["resourceVersion"]


def test_a_prefix_as_table_and_as_yaml(shell):
    lines = shell("prefix", "configmaps", "default/shown-").splitlines()
    assert [line.split()[0] for line in lines] == ["Key", "default/shown-a", "default/shown-b", "default/shown-c"]
    document = yaml.safe_load(shell("prefix", "configmaps", "default/shown-", "-o", "yaml"))
    assert [entry["object"]["data"]["k"] for entry in document["objects"]] == ["a", "b", "c"]


def test_limits_lower_bounds_and_reverse(shell):
    out = shell("show", "configmaps", "--lower-bound", "default/shown-b", "--limit", "1")
    assert out.splitlines()[1].startswith("default/shown-b ")
    assert out.splitlines()[2] == "(there is more: raise --limit)"
    out = shell("prefix", "configmaps", "default/shown-", "--reverse", "--limit", "2")
    assert [line.split()[0] for line in out.splitlines()[1:3]] == ["default/shown-c", "default/shown-b"]


def test_pages_are_joined_as_of_one_revision(cluster, shell, monkeypatch):
    monkeypatch.setattr(statedb, "PAGE", 2)
    everything = json.loads(shell("show", "serviceaccounts", "-o", "json"))
    keys = [entry["key"] for entry in everything["objects"]]
    assert len(keys) > 4
    assert keys == sorted(set(keys))
    assert "continue" not in everything


def test_questions_by_index(cluster, shell):
    pods = {(p["metadata"]["namespace"], p["metadata"]["name"]): p for p in cluster.list("/api/v1/pods")}
    node = "tables-control-plane"
    shown = json.loads(shell("get", "pods", node, "--index", "node", "-o", "json"))["objects"]
    wanted = {f"{ns}/{name}" for (ns, name), pod in pods.items() if pod["spec"]["nodeName"] == node}
    assert {entry["key"] for entry in shown} == wanted
    shown = json.loads(shell("prefix", "pods", "tables-", "--index", "node", "-o", "json"))["objects"]
    assert [entry["indexKey"] for entry in shown] == sorted(pod["spec"]["nodeName"] for pod in pods.values())


def test_a_table_may_be_named_without_its_group(shell):
    assert shell("show", "deployments") == shell("show", "deployments.apps")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "pod"], r"there is no table pod; did you mean pods"),
        (["show", "frobnicate-xyz"], "`kubedyno statedb list` shows them"),
        (["get", "pods", "default/none"], "table pods has no 'default/none'"),
        (["get", "pods", "x", "--index", "phase"], r"index=phase: table pods has no such index; it has: owner, node"),
        (["show", "pods", "--limit", "0"], "--limit 0: write a number above zero"),
        (["watch", "pods", "--since", "999999999"], "since=999999999: the database is at revision"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(cluster, capsys, words, said):
    assert main(["statedb", *words, "--name", "tables"]) == 1
    out, err = capsys.readouterr()
    assert said in err
    assert err.count("\n") == 1
    assert not out


def test_reconcilers_and_health_are_tables(shell):
    rows = {row["key"]: row["object"] for row in json.loads(shell("show", "reconcilers", "-o", "json"))["objects"]}
    assert {"deployment", "replicaset", "node-ipam", "kubelet-nodes", "kubelet-pods"} <= set(rows)
    assert rows["node-ipam"]["done"] >= 2
    assert rows["kubelet-pods"]["latencySeconds"] > 0
    assert all(row["failing"] == 0 for row in rows.values())
    out = shell("get", "health", "OK", "--index", "level")
    assert "controllers.replicaset" in out


def test_a_failing_object_shows_in_health_statuses_and_cluster_status(cluster, shell, capsys):
    quota = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "tight"}}
    cluster.post("/api/v1/namespaces", quota)
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": {"a": "b"}},
        "template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"serviceAccountName": "nobody", "containers": [{"name": "c", "image": "i"}]},
        },
    }
    body = {"kind": "ReplicaSet", "apiVersion": "apps/v1", "metadata": {"name": "bad"}, "spec": spec}
    cluster.post("/apis/apps/v1/namespaces/tight/replicasets", body)

    def statuses():
        found = json.loads(shell("get", "reconciler-statuses", "Error", "--index", "status", "-o", "json"))
        return {row["key"]: row["object"] for row in found["objects"]}

    cluster.until(lambda: "replicaset/tight/bad" in statuses())
    assert 'serviceaccount "nobody" not found' in statuses()["replicaset/tight/bad"]["error"]
    assert main(["cluster", "status", "--name", "tables"]) == 0
    out = capsys.readouterr().out
    assert "Modules Health: Stopped(0) Degraded(1) OK(" in out
    assert "  [DEGRADED] controllers.replicaset: 1 error(s): tight/bad: " in out
    assert main(["cluster", "status", "--name", "tables", "-o", "json"]) == 0
    health = json.loads(capsys.readouterr().out)["health"]
    assert health["modules"]["Degraded"] == 1
    assert health["troubles"][0]["module"] == "controllers.replicaset"
    account = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "nobody"}}
    cluster.post("/api/v1/namespaces/tight/serviceaccounts", account)
    cluster.until(lambda: not statuses())
    assert control.call("tables", "GET", "/kubedyno/status")["health"]["modules"]["Degraded"] == 0


def test_changes_are_told_from_a_revision_on_with_deletions(cluster, capsys):
    since = statedb.overview("tables")["databases"][0]["revision"]
    path = "/api/v1/namespaces/default/configmaps"
    told = []

    def follow():
        words = ["statedb", "watch", "configmaps", "default/followed", "--since", str(since), "--limit", "3"]
        told.append(main([*words, "-o", "json", "--full", "--name", "tables"]))

    thread = threading.Thread(target=follow)
    thread.start()
    body = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "followed"}}
    cluster.post(path, body)
    cluster.send("PUT", f"{path}/followed", {**body, "data": {"k": "v"}})
    cluster.send("DELETE", f"{path}/followed", {})
    thread.join(20)
    assert told == [0]
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["type"] for line in lines] == ["PUT", "PUT", "DELETE"]
    assert [line["revision"] for line in lines] == sorted(line["revision"] for line in lines)
    assert lines[2]["object"]["data"] == {"k": "v"}
    assert lines[0]["revision"] > since


def test_a_watch_begins_with_what_is_there(shell):
    lines = shell("watch", "nodes", "--limit", "2").splitlines()
    assert [line.split()[1:3] for line in lines] == [["PUT", "tables-control-plane"], ["PUT", "tables-worker"]]


def test_a_stream_that_does_not_follow_ends_with_how_far_it_came(cluster):
    body = cluster.ask(lambda c: c.request("GET", "/kubedyno/statedb/nodes/changes?follow=false")).body
    *changes, last = [json.loads(line) for line in body.splitlines()]
    assert [change["key"] for change in changes] == ["tables-control-plane", "tables-worker"]
    assert (last["type"], last["initialized"]) == ("BOOKMARK", True)
    assert last["revision"] >= changes[-1]["revision"]


def test_metrics_of_tables_and_reconcilers(cluster):
    text = cluster.ask(lambda c: c.request("GET", "/kubedyno/metrics")).body.decode()
    assert 'statedb_object_count{table="nodes"} 2\n' in text
    assert 'reconciliation_current_errors{module="replicaset"} 0\n' in text


def test_nobody_without_the_cluster_s_credentials_reads_a_table(cluster):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    url = f"https://127.0.0.1:{cluster.running.port}/kubedyno/statedb/secrets"
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url, context=context, timeout=60)
    assert caught.value.code in {401, 403}
    caught.value.close()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_tables_are_read_only(cluster, method):
    answer = cluster.ask(lambda c: c.request(method, "/kubedyno/statedb/pods", body=b"{}"))
    assert answer.status == 405


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("limit=0", "limit=0: write a number from 1 to 2000"),
        ("limit=x", "limit=x: write a number"),
        ("continue=%21", "this is no token of ours"),
        ("format=xml", "format=xml: there are json, table, yaml"),
        ("frob=1", "has no parameter frob"),
        ("format=yaml&limit=500", "from 1 to 50"),
    ],
)
def test_a_malformed_question_is_refused(cluster, query, said):
    answer = cluster.ask(lambda c: c.request("GET", f"/kubedyno/statedb/pods?{query}"))
    assert answer.status == 400
    assert said in json.loads(answer.body)["message"]


def test_yaml_and_text_for_curl(cluster):
    answer = cluster.ask(lambda c: c.request("GET", "/kubedyno/statedb/nodes?format=yaml"))
    assert [entry["key"] for entry in yaml.safe_load(answer.body)["objects"]] == [
        "tables-control-plane",
        "tables-worker",
    ]
    answer = cluster.ask(lambda c: c.request("GET", "/kubedyno/statedb/nodes?format=table"))
    assert answer.body.decode().splitlines()[1].startswith("tables-control-plane ")
    assert answer.body.decode().splitlines()[0].startswith("Key ")


def test_a_table_is_shown_as_of_one_revision_while_it_changes(cluster):
    first = json.loads(cluster.ask(lambda c: c.request("GET", "/kubedyno/statedb/configmaps?limit=1")).body)
    body = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "zz-later"}}
    cluster.post("/api/v1/namespaces/tight/configmaps", body)
    path = f"/kubedyno/statedb/configmaps?limit=2000&continue={first['continue']}"
    rest = json.loads(cluster.ask(lambda c: c.request("GET", path)).body)
    assert rest["revision"] == first["revision"]
    assert "tight/zz-later" not in {entry["key"] for entry in rest["objects"]}


def test_the_object_tables_hold_all_resources(cluster):
    tables = {table["name"] for table in statedb.overview("tables")["tables"]}
    assert PODS.group_resource in tables
    served = cluster.get("/apis/apps/v1")["resources"]
    assert {f"{r['name']}.apps" for r in served if "/" not in r["name"]} <= tables
