"""The pages of a real embedded cluster, looked at again and again, on a clock of our own: one recording for two engines."""

import asyncio
from pathlib import Path
from typing import Any

import orjson

from kubedyno.client import kubeconfig
from kubedyno.client.api import Client
from kubedyno.lab import metrics
from kubedyno.lab.embedded import Running
from kubedyno.load.metrics import shipped
from kubedyno.load.metrics.profiles import alert_profile, metric_profile
from kubedyno.promql.dashboards import DASHBOARDS
from kubedyno.promql.engine import Answer
from kubedyno.promql.exposition import ACCEPT
from kubedyno.promql.scraping import Target
from kubedyno.promql.store import SeriesStore, StoreLimits

START_MS = 1_700_000_000_000
STEP_MS = 15_000


def queries() -> list[str]:
    """Return every query that comes with the package, once."""
    found: dict[str, None] = {}
    for name in shipped.names():
        if name == "kubedyno:alerts":
            found |= dict.fromkeys(rule.expr for rule in alert_profile(name, Path()))
        else:
            found |= dict.fromkeys(query.query for query in metric_profile(name, Path()))
    for board in DASHBOARDS:
        found |= dict.fromkeys(query.expr for panel in board.panels for query in panel.queries)
    return list(found)


def recorded(running: Running, rounds: int) -> SeriesStore:
    """Return a cluster's series, `STEP_MS` from one look to the next, with some load in between."""
    store = SeriesStore(StoreLimits(retention_ms=1 << 50, max_series=2_000_000))

    async def record() -> None:
        async with Client(kubeconfig.load(running.kubeconfig, None)) as client:
            listed = orjson.loads((await client.request("GET", "/kubedyno/metrics/targets")).body)
            targets = []
            for entry in listed:
                labels = {name: text for name, text in entry["labels"].items() if not name.startswith("__")}
                honor = labels["job"] in {"kube-state-metrics", "node-exporter"}
                targets.append((entry["labels"]["__metrics_path__"], Target(store, labels, honor_labels=honor)))
            for number in range(rounds):
                for copy in range(number % 4):
                    body = orjson.dumps({"metadata": {"name": f"c{number}-{copy}"}})
                    await client.request("POST", "/api/v1/namespaces/default/configmaps", body=body)
                    await client.request("GET", f"/api/v1/namespaces/default/configmaps/c{number}-{copy}")
                await client.request("GET", "/api/v1/pods")
                for index, (path, target) in enumerate(targets):
                    answer = await client.request("GET", path, headers=(("Accept", ACCEPT),))
                    # Each target at a moment of its own, as a Prometheus spreads them.
                    at_ms = START_MS + number * STEP_MS + index * 37
                    if answer.status == 200:
                        target.take(answer.body.decode(), at_ms, 0.01)
                    else:
                        target.lost("down", at_ms, 0.01)

    asyncio.run(record())
    return store


def span_ms(rounds: int) -> tuple[int, int]:
    """Return the first and the last moment of a recording."""
    return START_MS, START_MS + rounds * STEP_MS


def values(answer: Answer) -> dict[int, list[float]]:
    """Return an answer's values at each moment, whoever's they are."""
    found: dict[int, list[float]] = {}
    for series in answer.series:
        for at_ms, value in series.points:
            found.setdefault(at_ms, []).append(round(value, 9))
    return {at_ms: sorted(each) for at_ms, each in found.items()}


def values_of(document: dict[str, Any]) -> dict[int, list[float]]:
    """Return the same of what a Prometheus has answered."""
    found: dict[int, list[float]] = {}
    for entry in document["data"]["result"]:
        for at, text in entry["values"]:
            found.setdefault(round(at * 1000), []).append(round(float(text), 9))
    return {at_ms: sorted(each) for at_ms, each in found.items()}


def write(store: SeriesStore, directory: Path) -> Path:
    """Write a recording for promtool."""
    path = directory / "series.om"
    with path.open("w", encoding="utf-8") as file:
        file.writelines(metrics.dump.written(store))
    return path
