"""Indexers that are refused, busy, wrongly certified or gone in the middle of a run: nothing is lost, and all is told."""

import json
import tarfile
from pathlib import Path

import pytest
import yaml

from kubedyno.base.errors import KubedynoError
from kubedyno.cli.main import main
from kubedyno.documents.opensearch import OpenSearchIndexer
from kubedyno.http.tls import Authority, server_context
from searchserver import CUT, SearchServer, refusal

pytest.importorskip("opensearchpy", reason="opensearch-py is an extra")

CONFIGMAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 'c-{{.Iteration}}-{{.Replica}}'}\n"


def documents(count):
    return [{"metricName": "m", "n": n} for n in range(count)]


def test_an_index_that_is_not_there_is_made_and_one_that_may_not_be_asked_for_is_told():
    store = SearchServer(absent=["runs"])
    with store.serving() as url:
        OpenSearchIndexer([url], "Runs", insecure=False)
        assert store.mappings[0][0] == "/runs"
        assert not store.absent
    with SearchServer(login=401).serving() as url, pytest.raises(KubedynoError, match="the indexer cannot use it"):
        OpenSearchIndexer([url], "runs", insecure=False)


@pytest.mark.parametrize("which", ["document", "request"])
def test_a_busy_server_is_asked_again_until_it_takes_all(which):
    store = SearchServer()
    if which == "document":
        store.refusing = lambda document: refusal(429) if store.bulks == 1 and document["n"] < 2 else None
    else:
        store.failing = lambda: refusal(429) if store.bulks == 1 else None
    with store.serving() as url:
        line = OpenSearchIndexer([url], "runs", insecure=False).write("m", documents(5))
    assert "created=5" in line
    assert len(store.documents) == 5
    assert store.bulks == 2


def test_a_certificate_is_trusted_when_the_users_file_says_so(tmp_path, monkeypatch):
    authority = Authority()
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    with SearchServer().serving(server_context(authority.server(["127.0.0.1"]))) as url:
        with pytest.raises(KubedynoError, match="CERTIFICATE_VERIFY_FAILED"):
            OpenSearchIndexer([url], "runs", insecure=False)
        assert "created=1" in OpenSearchIndexer([url], "runs", insecure=True).write("m", documents(1))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.crt"))
        assert "created=2" in OpenSearchIndexer([url], "runs", insecure=False).write("m", documents(3)[1:])


def job(name):
    return {
        "name": name, "namespace": name, "jobIterations": 2, "qps": 100, "burst": 100, "preLoadImages": False,
        "objects": [{"objectTemplate": "cm.yml", "replicas": 2}], "gc": True,
    }  # fmt: skip


@pytest.mark.parametrize("how", ["refused", "gone"])
def test_what_a_server_does_not_take_is_kept_told_and_can_be_stored_later(up, tmp_path, monkeypatch, capsys, how):
    monkeypatch.chdir(tmp_path)
    cluster = up("indexed").settled()
    Path("cm.yml").write_text(CONFIGMAP)
    store = SearchServer()
    store.refusing = lambda document: refusal(400) if how == "refused" and "jobConfig" in document else None
    store.failing = lambda: CUT if how == "gone" else None
    measured = {"name": "conditionLatency", "kind": "ConfigMap", "apiVersion": "v1"}
    measured["conditions"] = [{"name": "Named", "path": ".metadata.name != null", "value": "true"}]
    with store.serving() as url:
        endpoint = {"indexer": {"type": "opensearch", "esServers": [url], "defaultIndex": "runs"}}
        whole = {"global": {"measurements": [measured]}, "metricsEndpoints": [endpoint], "jobs": [job("a"), job("b")]}
        Path("c.yml").write_text(yaml.safe_dump(whole))
        flags = ["--kubeconfig", str(cluster.running.kubeconfig), "--uuid", "u"]
        assert main(["init", "-c", "c.yml", *flags]) == 1
        told = capsys.readouterr().out
        assert "the documents are kept in not-indexed-u/jobSummary.json" in told
        assert "kubedyno import --tarball not-indexed-u.tgz" in told
        summaries = json.loads(Path("not-indexed-u/jobSummary.json").read_text())
        # The load itself went on to its end.
        assert [one["jobConfig"]["name"] for one in summaries] == ["a", "b"]
        measurements = sum(one["metricName"] == "conditionLatencyMeasurement" for one in store.documents.values())
        if how == "refused":
            assert measurements == 8
            assert not Path("not-indexed-u/kubedynoRun.json").exists()
        else:
            assert measurements == 0
            assert json.loads(Path("not-indexed-u/kubedynoRun.json").read_text())[0]["uuid"] == "u"
        store.refusing, store.failing = (lambda _document: None), (lambda: None)
        assert main(["import", "--tarball", "not-indexed-u.tgz", "--es-server", url, "--es-index", "runs"]) == 0
    names = [one["metricName"] for one in store.documents.values()]
    assert names.count("jobSummary") == 2
    assert names.count("conditionLatencyMeasurement") == 8
    assert names.count("kubedynoRun") == 1


def test_what_is_known_only_after_the_end_is_in_the_tarball_too_and_so_is_that_it_was_refused(
    up, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    cluster = up("archived").settled()
    Path("cm.yml").write_text(CONFIGMAP)
    store = SearchServer()
    store.refusing = lambda document: refusal(400) if document["metricName"] == "kubedynoRun" else None
    with store.serving() as url:
        endpoints = [
            {"indexer": {"type": "local", "metricsDirectory": "m", "createTarball": True, "tarballName": "m.tgz"}},
            {"indexer": {"type": "opensearch", "esServers": [url], "defaultIndex": "runs"}},
        ]
        Path("c.yml").write_text(yaml.safe_dump({"metricsEndpoints": endpoints, "jobs": [job("a")]}))
        assert main(["init", "-c", "c.yml", "--kubeconfig", str(cluster.running.kubeconfig), "--uuid", "u"]) == 1
    assert "1 documents of kubedynoRun refused: refused: because 400" in capsys.readouterr().out
    with tarfile.open("m.tgz") as archive:
        assert sorted(archive.getnames()) == sorted(path.name for path in Path("m").iterdir())
        told = json.load(archive.extractfile("kubedynoRun.json"))[0]
    assert {"kubedynoRun.json", "kubedynoNodes.json"} <= {path.name for path in Path("m").iterdir()}
    assert told["exit_code"] == 1
    assert "kubedynoRun refused" in told["errors"][-1]
