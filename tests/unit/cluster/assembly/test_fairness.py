"""Priority and fairness of a whole cluster, on and off."""

import asyncio
import base64
import ssl
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
import yaml

from kubedyno.client import kubeconfig
from kubedyno.client.api import Client
from kubedyno.cluster.apiserver.flowcontrol.pages import ROOT
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.http.exchange import Result
from kubedyno.lab import embedded
from kubedyno.promql.exposition import Sample, labels_of, read

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


class Plain:
    """A client that tries nothing again: what it counts is what has gone over the wire.

    Args:
        path: Of the kubeconfig.
    """

    def __init__(self, path: Path) -> None:
        document = yaml.safe_load(path.read_text())
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        self._context = ssl.create_default_context(
            cadata=base64.b64decode(cluster["certificate-authority-data"]).decode()
        )
        self._host = urlsplit(cluster["server"]).netloc
        self._token = user["token"]
        self.codes: Counter[str] = Counter()

    def ask(self, method: str, path: str, body: Any = None, *, as_user: str = "") -> tuple[int, bytes]:
        headers = {"authorization": f"Bearer {self._token}", "content-type": "application/json"}
        if as_user:
            headers["impersonate-user"] = as_user
        connection = HTTPSConnection(self._host, context=self._context, timeout=20)
        try:
            connection.request(method, path, orjson.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            found = answer.status, answer.read()
        finally:
            connection.close()
        self.codes[str(found[0])] += 1
        return found

    def counted(self) -> Counter[str]:
        """Return what the server says that it has answered, by code; this answer is not among them yet."""
        counts: Counter[str] = Counter()
        for item in read(self.ask("GET", "/metrics")[1].decode()):
            if isinstance(item, Sample):
                labels = labels_of(item.series)
                if labels["__name__"] == "apiserver_request_total":
                    counts[labels["code"]] += int(item.value)
        return counts


def narrowed(user: str) -> list[tuple[str, dict[str, Any]]]:
    """Return a level that serves one at a time and keeps nobody waiting, and what sends a user there."""
    level = {"type": "Limited", "limited": {"nominalConcurrencyShares": 0, "limitResponse": {"type": "Reject"},
             "lendablePercent": 0, "borrowingLimitPercent": 0}}  # fmt: skip
    rule = {
        "subjects": [{"kind": "User", "user": {"name": user}}],
        "resourceRules": [
            {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}
        ],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    }
    schema = {"priorityLevelConfiguration": {"name": "narrow"}, "matchingPrecedence": 50, "rules": [rule]}
    return [
        (LEVELS, {"metadata": {"name": "narrow"}, "spec": level}),
        (SCHEMAS, {"metadata": {"name": "narrow"}, "spec": schema}),
    ]


def difference(client: Plain, requests: list[tuple[str, str, Any]], user: str) -> tuple[Counter[str], Counter[str]]:
    """Return how many answers a client got in the meantime and how many the server has counted, by code."""
    before, mine = client.counted(), client.codes.copy()
    # Side by side, so that limits of what is under way are met too.
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda request: client.ask(*request, as_user=user), requests))
    sent = client.codes - mine
    told = client.counted() - before
    # The first page was counted when it had been sent.
    told["200"] -= 1
    return +sent, +told


@pytest.mark.parametrize("fair", [True, False])
def test_what_is_refused_is_counted_once_with_its_code(settings: ClusterSettings, fair: bool) -> None:
    limits = {} if fair else {"priority_and_fairness": False, "max_inflight": 1, "max_mutating_inflight": 1}
    client = Plain(embedded.up(replace(settings, **limits)).kubeconfig)
    for path, body in narrowed("bob") if fair else []:
        assert client.ask("POST", path, body)[0] == 201
    # Whoever is let through is under way for a while.
    assert client.ask("POST", "/kubedyno/chaos", {"fault": "latency", "latency_ms": 50})[0] == 200
    pods, configmap = "/api/v1/namespaces/default/pods", {"metadata": {"name": "c"}}
    requests = [
        ("GET", pods, None),
        ("GET", f"{pods}/none", None),
        ("POST", "/api/v1/namespaces/default/configmaps", configmap),
        ("GET", "/version", None),
        ("GET", "/api/v1/namespaces/default/nothing", None),
    ] * 20
    sent, told = difference(client, requests, "bob")
    assert sent.total() == len(requests)
    assert told == sent
    assert 0 < sent["429"] < len(requests)
    # And nobody else's are taken for refused ones.
    sent, told = difference(client, [("GET", pods, None), ("GET", f"{pods}/none", None)] * 5, "")
    assert told == sent == {"200": 5, "404": 5}
