"""The query engine against a real Prometheus on the same series, and what recording a large cluster costs.

Both are asked every query of the shipped profiles, alerts and dashboards over half an hour, and those of the YAML files in
the folder that KUBEDYNO_PROFILES names. Prometheus' time has its HTTP in it, ours has not.
"""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from benchmarks import measure

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from compat.promql import clusterdata
from compat.promql.conftest import Prometheus, started
from compat.promql.test_real_prometheus import differs
from kubedyno.client import kubeconfig
from kubedyno.client.api import Client
from kubedyno.kube import yaml
from kubedyno.lab import metrics
from kubedyno.promql.engine import Engine
from kubedyno.promql.mentions import queries_in

_STEP_MS = 30_000
_INTERVAL_S = 15.0


def _queries() -> list[str]:
    found = dict.fromkeys(clusterdata.queries())
    folder = os.environ.get("KUBEDYNO_PROFILES")
    if folder:
        found = {}
        for path in sorted(Path(folder).glob("*.y*ml")):
            for query in queries_in(list(yaml.load_all(path.read_text(), str(path)))):
                found[re.sub(r"\{\{\s*\.elapsed\s*\}\}", "5m", query)] = None
    return list(found)


def _compare(*, quick: bool) -> dict[str, float]:
    binary, promtool = shutil.which("prometheus"), shutil.which("promtool")
    if binary is None or promtool is None:
        print("no prometheus and promtool on this machine: queries are not compared", file=sys.stderr)
        return {}
    rounds = 40 if quick else 120
    with measure.cluster(nodes=2) as running:
        store = clusterdata.recorded(running, rounds)
    engine = Engine(store)
    start, end = clusterdata.span_ms(rounds)
    queries = _queries()
    ours_s = theirs_s = worst = 0.0
    unequal = answered = 0
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        clusterdata.write(store, directory)
        command = [promtool, "tsdb", "create-blocks-from", "openmetrics", "series.om", "data"]
        subprocess.run(command, cwd=directory, check=True, capture_output=True)
        (directory / "prometheus.yml").write_text("global: {evaluation_interval: 1m}\n")
        with started(binary, directory) as port, closing(Prometheus(port)) as prometheus:
            for query in queries:
                began_s = time.perf_counter()
                theirs = prometheus.ask(
                    "query_range", query=query, start=start / 1000, end=end / 1000, step=_STEP_MS / 1000
                )
                between_s = time.perf_counter()
                ours = engine.range(query, start, end, _STEP_MS)
                ended_s = time.perf_counter()
                theirs_s += between_s - began_s
                ours_s += ended_s - between_s
                worst = max(worst, ended_s - between_s)
                answered += bool(ours.series)
                if query.startswith("topk"):
                    unequal += clusterdata.values(ours) != clusterdata.values_of(theirs)
                else:
                    unequal += bool(differs(ours, theirs))
    return {
        "promql_series": len(store),
        "promql_queries": len(queries),
        "promql_queries_answered": answered,
        "promql_queries_unequal": unequal,
        "promql_ours_s": ours_s,
        "promql_prometheus_s": theirs_s,
        "promql_worst_query_s": worst,
        "promql_over_prometheus": ours_s / theirs_s,
    }


def _recording(*, quick: bool) -> dict[str, float]:
    """Return what a look at 1,000 nodes each 15 s costs, both processes together."""
    with measure.cluster(nodes=1000) as running:

        async def rounds() -> tuple[float, float, int]:
            async with Client(kubeconfig.load(running.kubeconfig, None)) as client:
                recorder = metrics.Recorder(client, metrics.Options(_INTERVAL_S), embedded=True)
                # The first two looks learn what there is.
                for _ in range(2):
                    await recorder.round()
                own, cluster = measure.cpu_s(), measure.cpu_s(running.pid)
                count = 3 if quick else 10
                for _ in range(count):
                    await recorder.round()
                ours = (measure.cpu_s() - own) / count
                return ours, (measure.cpu_s(running.pid) - cluster) / count, len(recorder.store)

        recorder_s, cluster_s, series = asyncio.run(rounds())
    return {
        "record_series": series,
        "record_1000_nodes_recorder_percent": recorder_s / _INTERVAL_S * 100,
        "record_1000_nodes_cluster_percent": cluster_s / _INTERVAL_S * 100,
        "record_1000_nodes_percent": (recorder_s + cluster_s) / _INTERVAL_S * 100,
    }


def figures(*, quick: bool) -> dict[str, float]:
    """Return the figures."""
    return _recording(quick=quick) | _compare(quick=quick)
