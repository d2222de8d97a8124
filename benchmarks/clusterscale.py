"""The embedded cluster at size: KWOK's own CI bar, 100,000 pods on 5,000 nodes, and runs that a real control plane did.

KWOK's bar: 5,000 nodes in 60 s, 10,000 pods in 60 s, deleted in 90 s. Pods are POSTed over TLS and Ready, events on.
"""

import tempfile
from pathlib import Path

from benchmarks.cluster import DEPLOYMENTS, PODS, bare, deployment, kind_config, pods_per_s
from benchmarks.measure import cluster, cpu_s, rss_mb
from kubedyno.base import aio
from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.client import kubeconfig
from kubedyno.client.api import Client
from kubedyno.lab.embedded import Running

NODES = 5000
PODS_AT_ONCE = 10_000
PODS_IN_ALL = 100_000
FIRST = 1000
# Over which idleness is measured, after the last garbage of a load has gone.
SETTLE_S, IDLE_S = 15.0, 30.0
LIMIT_S = 240.0


async def _cost(client: Client, running: Running, namespace: str, count: int) -> tuple[float, float]:
    """Create so many bare pods; return the seconds until all are Ready, and the cluster's CPU microseconds a pod."""
    before_s = cpu_s(running.pid)
    rate = await pods_per_s(client, PODS, namespace, bare, count, count)
    return count / rate, (cpu_s(running.pid) - before_s) / count * 1e6


async def _deleted_s(client: Client, namespace: str) -> float:
    """Delete a namespace's pods with one request; return the seconds until none is left."""
    path, start_s = PODS.format(namespace), SYSTEM_CLOCK.monotonic()
    answer = await client.request("DELETE", path)
    if answer.status != 200:
        raise SystemExit(f"DELETE {path}: {answer.status} {answer.body[:200]!r}")
    async with aio.timeout(LIMIT_S):
        while (await client.get(f"{path}?limit=1"))["items"]:
            await aio.sleep(0.05)
    return SYSTEM_CLOCK.monotonic() - start_s


async def _large(running: Running, *, quick: bool) -> dict[str, float]:
    result: dict[str, float] = {}
    async with Client(kubeconfig.load(running.kubeconfig, None)) as client:
        await _cost(client, running, "warm", FIRST)
        _, first_us = await _cost(client, running, "first", FIRST)
        result["kwok_10000_pods_s"], _ = await _cost(client, running, "kwok", PODS_AT_ONCE)
        result["kwok_10000_pods_deleted_s"] = await _deleted_s(client, "kwok")
        if quick:
            return result
        there, last_us = 2 * FIRST, 0.0
        while there < PODS_IN_ALL:
            count = min(PODS_AT_ONCE, PODS_IN_ALL - there)
            _, last_us = await _cost(client, running, f"more{there}", count)
            there += count
        result["cpu_us_per_pod_first"], result["cpu_us_per_pod_last"] = first_us, last_us
        result["pod_cost_last_over_first"] = last_us / first_us
        result["rss_100000_pods_mb"] = rss_mb(running.pid)
    await aio.sleep(SETTLE_S)
    before_s = cpu_s(running.pid)
    await aio.sleep(IDLE_S)
    result["idle_5000_nodes_percent"] = (cpu_s(running.pid) - before_s) / IDLE_S * 100
    return result


async def _beside_real(running: Running) -> dict[str, float]:
    """Do what was recorded on a real control plane."""
    result: dict[str, float] = {}
    async with Client(kubeconfig.load(running.kubeconfig, None)) as client:
        for count in (100, 300):
            rate = await pods_per_s(client, DEPLOYMENTS, f"deployments{count}", deployment(1), count, count)
            result[f"deployments_{count}_s"] = count / rate
        result["pods_1000_s"] = FIRST / await pods_per_s(client, PODS, "thousand", bare, FIRST, FIRST)
    return result


def figures(*, quick: bool) -> dict[str, float]:
    """Return figures of clusters at size; `quick` leaves out those of 100,000 pods."""
    with tempfile.TemporaryDirectory(prefix="kubedyno-bench-") as folder:
        with cluster(config=kind_config(Path(folder), 20)) as running:
            result = aio.run(_beside_real(running))
        with cluster(config=kind_config(Path(folder), NODES)) as running:
            return result | aio.run(_large(running, quick=quick))
