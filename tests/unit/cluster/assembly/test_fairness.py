"""Priority and fairness of a whole cluster, on and off."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from kubedyno.client import kubeconfig
from kubedyno.client.api import Client
from kubedyno.cluster.apiserver.flowcontrol.pages import ROOT
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.http.exchange import Result
from kubedyno.lab import embedded

SCHEMAS = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"
LEVELS = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations"
HEADERS = ("x-kubernetes-pf-flowschema-uid", "x-kubernetes-pf-prioritylevel-uid")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClusterSettings]:
    monkeypatch.setenv("KUBEDYNO_HOME", str(tmp_path / "home"))
    yield ClusterSettings(name="fair", speed=0)
    embedded.down("fair")


def answers(settings: ClusterSettings, *paths: str) -> list[Result]:
    cluster = embedded.up(settings)

    async def ask() -> list[Result]:
        async with Client(kubeconfig.load(cluster.kubeconfig, None)) as client:
            return [await client.request("GET", path) for path in paths]

    return asyncio.run(ask())


def test_a_cluster_sorts_requests_and_says_how(settings: ClusterSettings) -> None:
    schemas, levels, dump, metrics = answers(settings, SCHEMAS, LEVELS, f"{ROOT}dump_priority_levels", "/metrics")
    uids = []
    for listed in (schemas, levels):
        items = orjson.loads(listed.body)["items"]
        uids.append({item["metadata"]["name"]: item["metadata"]["uid"] for item in items}["exempt"])
    assert [schemas.headers.get(name) for name in HEADERS] == uids
    told = [condition for item in orjson.loads(schemas.body)["items"] for condition in item["status"]["conditions"]]
    assert {(each["type"], each["status"], each["reason"]) for each in told} == {("Dangling", "False", "Found")}
    assert len(told) == 11
    assert [line.split(b",")[0] for line in dump.body.splitlines()[1:3]] == [b"catch-all", b"exempt"]
    assert b'apiserver_flowcontrol_nominal_limit_seats{priority_level="workload-low"} 245' in metrics.body


@pytest.mark.parametrize("off", [{"priority_and_fairness": False}, {"max_inflight": 0, "max_mutating_inflight": 0}])
def test_without_it_nothing_is_said(settings: ClusterSettings, off: dict[str, bool]) -> None:
    schemas, dump, metrics = answers(replace(settings, **off), SCHEMAS, f"{ROOT}dump_queues", "/metrics")
    assert schemas.status == 200
    assert not set(HEADERS) & set(schemas.headers)
    assert dump.status == 404
    assert b"apiserver_flowcontrol_" not in metrics.body
