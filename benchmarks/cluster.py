"""The embedded cluster over TLS: from the command to Ready nodes, from POST to Ready pods, memory, longest pause.

Nodes' modelled durations are off (`--speed 0`), everything else is on: events, controllers, scheduler, kubelets.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from benchmarks.measure import cluster, median, rss_mb
from kubedyno.base import aio
from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.client import kubeconfig
from kubedyno.client.api import Client
from kubedyno.http.client import Result
from kubedyno.lab.embedded import Running

NAME = "bench"
POD_SUBNET = "100.64.0.0/10"
PODS = "/api/v1/namespaces/{}/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/{}/deployments"
# Requests on their way at a time: what one HTTP/2 connection carries.
WINDOW = 100
LIMIT_S = 240.0
# The server writes its longest garbage collection here, in CPU time; loaded by its interpreter at start, through PYTHONPATH.
_PAUSES = """
import atexit, gc, os, time
_longest, _start = 0.0, 0.0
def _note(phase, info):
    global _longest, _start
    if phase == "start":
        _start = time.thread_time()
    elif time.thread_time() - _start > _longest:
        _longest = time.thread_time() - _start
        with open(os.environ["KUBEDYNO_BENCH_PAUSES"], "w") as file:
            file.write(str(_longest * 1000))
gc.callbacks.append(_note)
# Not the last one, of an interpreter that ends.
atexit.register(gc.callbacks.clear)
"""


class _Condition(msgspec.Struct):
    type: str
    status: str


class _Status(msgspec.Struct):
    conditions: list[_Condition] = []


class _Metadata(msgspec.Struct):
    name: str
    resourceVersion: str = ""


class _Object(msgspec.Struct):
    metadata: _Metadata
    status: _Status = msgspec.field(default_factory=_Status)

    @property
    def ready(self) -> bool:
        return any(c.type == "Ready" and c.status == "True" for c in self.status.conditions)


_decode = msgspec.json.Decoder(_Object).decode


def kind_config(folder: Path, nodes: int) -> Path:
    """Write a kind configuration of so many nodes: kind's own podSubnet ends at 256 of them."""
    path = folder / f"kind-{nodes}.yaml"
    roles = ["control-plane", *["worker"] * (nodes - 1)]
    lines = [
        "kind: Cluster",
        "apiVersion: kind.x-k8s.io/v1alpha4",
        "networking:",
        f"  podSubnet: {POD_SUBNET}",
        "nodes:",
    ]
    path.write_text("\n".join([*lines, *(f"- role: {role}" for role in roles)]) + "\n")
    return path


def pod_spec() -> dict[str, object]:
    """Return the spec that all pods have."""
    requests = {"cpu": "10m", "memory": "10Mi"}
    return {"containers": [{"name": "nginx", "image": "nginx:alpine", "resources": {"requests": requests}}]}


def bare(name: str) -> bytes:
    """Return a pod."""
    return json.dumps({"metadata": {"name": name, "labels": {"app": name}}, "spec": pod_spec()}).encode()


def deployment(replicas: int) -> Callable[[str], bytes]:
    """Return the maker of Deployments of so many replicas."""

    def body(name: str) -> bytes:
        labels = {"app": name}
        template = {"metadata": {"labels": labels}, "spec": pod_spec()}
        spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
        return json.dumps({"metadata": {"name": name, "labels": labels}, "spec": spec}).encode()

    return body


@dataclass
class Sending:
    """POSTs with a window; the first refusal ends it."""

    client: Client
    path: str
    room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(WINDOW))
    failures: list[str] = field(default_factory=list)

    def _done(self, result: Result) -> None:
        self.room.release()
        if result.status != 201:
            self.failures.append(f"{self.path}: {result.status} {result.body[:200]!r} {result.error}")

    async def send(self, bodies: list[bytes]) -> None:
        for body in bodies:
            await self.room.acquire()
            if self.failures:
                raise SystemExit(self.failures[0])
            self.client.submit("POST", self.path, body, self._done)
        for _ in range(WINDOW):
            await self.room.acquire()
        if self.failures:
            raise SystemExit(self.failures[0])


async def _all_ready(client: Client, path: str, version: str, count: int) -> None:
    """Follow a watch until so many objects are Ready."""
    ready: set[str] = set()
    async for event in client.watch(path, version=version):
        if event.type in {"ADDED", "MODIFIED"}:
            obj = _decode(event.raw)
            if obj.ready:
                ready.add(obj.metadata.name)
                if len(ready) == count:
                    return


async def pods_per_s(
    client: Client, collection: str, namespace: str, body: Callable[[str], bytes], count: int, pods: int
) -> float:
    """Create objects in a new namespace and return the pods a second from the first POST to the last Ready one."""
    await client.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
    while (await client.request("GET", f"/api/v1/namespaces/{namespace}/serviceaccounts/default")).status != 200:
        await aio.sleep(0.01)
    path = PODS.format(namespace)
    version = (await client.get(path))["metadata"]["resourceVersion"]
    bodies = [body(f"{namespace}-{i}") for i in range(count)]
    start_s = SYSTEM_CLOCK.monotonic()
    async with aio.timeout(LIMIT_S):
        following = asyncio.ensure_future(_all_ready(client, path, version, pods))
        await Sending(client, collection.format(namespace)).send(bodies)
        await following
    return pods / (SYSTEM_CLOCK.monotonic() - start_s)


async def _ready_nodes(client: Client) -> int:
    nodes = await client.list_all("/api/v1/nodes")
    return sum(
        any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", ()))
        for node in nodes
    )


def ready_s(nodes: int) -> float:
    """Return the seconds from the command until the API says that all nodes are Ready."""
    with tempfile.TemporaryDirectory(prefix="kubedyno-bench-") as home:
        environment = {**os.environ, "KUBEDYNO_HOME": home}
        command = [sys.executable, "-m", "kubedyno", "cluster"]
        which = [] if nodes == 1 else ["--config", str(kind_config(Path(home), nodes))]
        start_s = SYSTEM_CLOCK.monotonic()
        up = [*command, "up", "--name", NAME, *which, "--speed", "0"]
        started = subprocess.run(up, check=False, capture_output=True, text=True, env=environment)
        if started.returncode:
            raise SystemExit(started.stderr)
        try:

            async def ask() -> int:
                target = kubeconfig.load(Path(home, "clusters", NAME, "kubeconfig"), None)
                async with Client(target) as client:
                    return await _ready_nodes(client)

            ready = aio.run(ask())
            used_s = SYSTEM_CLOCK.monotonic() - start_s
        finally:
            subprocess.run([*command, "down", "--name", NAME], check=True, capture_output=True, env=environment)
    if ready != nodes:
        raise SystemExit(f"{ready} of {nodes} nodes are Ready")
    return used_s


async def _pods(running: Running, *, quick: bool) -> dict[str, float]:
    scale = 1 if quick else 3
    result: dict[str, float] = {}
    async with Client(kubeconfig.load(running.kubeconfig, None)) as client:
        count = 3000 * scale
        before_mb = rss_mb(running.pid)
        result["bare_pods_per_s"] = await pods_per_s(client, PODS, "bare", bare, count, count)
        # With the versions that watches may still ask for, and all events.
        result["kb_per_pod"] = (rss_mb(running.pid) - before_mb) * 1000 / count
        result["deployment10_pods_per_s"] = await pods_per_s(
            client, DEPLOYMENTS, "ten", deployment(10), 300 * scale, 3000 * scale
        )
        result["deployment1_pods_per_s"] = await pods_per_s(
            client, DEPLOYMENTS, "one", deployment(1), 1500 * scale, 1500 * scale
        )
    return result


def figures(*, quick: bool) -> dict[str, float]:
    """Return the cluster budget's figures."""
    result = {"ready_s": median([ready_s(1) for _ in range(3 if quick else 5)])}
    result["ready_1000_nodes_s"] = ready_s(1000)
    result["ready_5000_nodes_s"] = ready_s(5000)
    with cluster() as running:
        result["rss_empty_mb"] = rss_mb(running.pid)
    with tempfile.TemporaryDirectory(prefix="kubedyno-bench-") as folder:
        Path(folder, "sitecustomize.py").write_text(_PAUSES)
        pauses = Path(folder, "pauses")
        before = os.environ.get("PYTHONPATH", "")
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (folder, before)))
        os.environ["KUBEDYNO_BENCH_PAUSES"] = str(pauses)
        try:
            with cluster(config=kind_config(Path(folder), 100 if quick else 300)) as running:
                result |= aio.run(_pods(running, quick=quick))
        finally:
            os.environ["PYTHONPATH"] = before
        result["gc_pause_ms"] = float(pauses.read_text())
    return result
