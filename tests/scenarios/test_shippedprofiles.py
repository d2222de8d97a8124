"""The profiles that come with the package: every query answers on an embedded cluster that was loaded."""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubedyno.base import aio
from kubedyno.base.errors import KubedynoError
from kubedyno.cli.main import main
from kubedyno.client import kubeconfig
from kubedyno.client.api import Client
from kubedyno.cluster.settings import ClusterSettings, NodeSettings
from kubedyno.lab import embedded, metrics
from kubedyno.load.metrics import shipped
from kubedyno.load.metrics.profiles import alert_profile, metric_profile
from kubedyno.promql.engine import Engine

pytestmark = pytest.mark.slow
OPEN = dict.fromkeys(("controller-manager", "scheduler", "etcd", "kube-proxy"), "0.0.0.0")
NODES = (NodeSettings("shipped-control-plane", control_plane=True), NodeSettings("shipped-worker"))
PROFILES = [name for name in shipped.names() if name != "kubedyno:alerts"]


def deployment(name: str) -> dict[str, object]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
    return {"metadata": {"name": name}, "spec": {"selector": {"matchLabels": labels}, "template": template}}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, int]]:
    """A cluster that is loaded while it is recorded."""
    before = os.environ.get("KUBEDYNO_HOME")
    os.environ["KUBEDYNO_HOME"] = str(tmp_path_factory.mktemp("home"))
    settings = ClusterSettings(name="shipped", nodes=NODES, speed=0.0, bind_addresses=OPEN, addons=("study",))
    running = embedded.up(settings)

    async def record() -> tuple[Engine, int]:
        async with Client(kubeconfig.load(running.kubeconfig, None)) as client:
            recorder = metrics.Recorder(client, metrics.Options(1.0), embedded=True)
            watching = asyncio.create_task(watch(client))
            for number in range(5):
                for copy in range(3):
                    body = json.dumps({"metadata": {"name": f"c{number}-{copy}"}}).encode()
                    await client.request("POST", "/api/v1/namespaces/default/configmaps", body=body)
                    pod = {"containers": [{"name": "c", "image": "i:1"}]}
                    body = json.dumps({"metadata": {"name": f"p{number}-{copy}"}, "spec": pod}).encode()
                    await client.request("POST", "/api/v1/namespaces/default/pods", body=body)
                await client.create("/apis/apps/v1/namespaces/default/deployments", deployment(f"d{number}"))
                await client.get("/api/v1/namespaces/default/configmaps/c0-0")
                for path in ("/api/v1/namespaces/default/pods", "/api/v1/pods"):
                    await client.get(path)
                await recorder.round()
                await aio.sleep(1.0)
            watching.cancel()
            return Engine(recorder.store), metrics._now_ms()

    async def watch(client: Client) -> None:
        async with client.list_watch("/api/v1/pods") as events:
            async for _ in events:
                pass

    try:
        yield asyncio.run(record())
    finally:
        embedded.down("shipped")
        if before is None:
            del os.environ["KUBEDYNO_HOME"]
        else:
            os.environ["KUBEDYNO_HOME"] = before


@pytest.mark.parametrize("name", PROFILES)
def test_every_query_of_a_shipped_profile_answers(name, recorded):
    engine, at_ms = recorded
    queries = metric_profile(name, Path())
    assert len(queries) > 5
    assert len({query.name for query in queries}) == len(queries)
    assert [query.name for query in queries if not engine.instant(query.query, at_ms).series] == []


def test_every_alert_can_be_evaluated_and_none_fires_on_a_cluster_that_is_well(recorded):
    engine, at_ms = recorded
    rules = alert_profile("kubedyno:alerts", Path())
    assert [rule.expr for rule in rules if engine.instant(rule.expr, at_ms).series] == []
    # Their left sides have something to compare.
    sides = {rule.expr: rule.expr.replace("[5m:15s]", "[5m:1s]").rpartition(" > ")[0] or "up" for rule in rules}
    empty = [expr for expr, side in sides.items() if not engine.instant(side, at_ms).series]
    assert empty == [rule.expr for rule in rules if "5.." in rule.expr]


def test_a_wrong_name_says_which_there_are():
    with pytest.raises(KubedynoError, match="kubedyno:nothing: there is no such profile; there are kubedyno:alerts, "):
        metric_profile("kubedyno:nothing", Path())


def test_profiles_are_listed_and_printed(capsys):
    assert main(["metrics", "profiles"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in shipped.names())
    assert main(["metrics", "profiles", "kubedyno:api"]) == 0
    assert "metricName: API99thLatency" in capsys.readouterr().out
