"""Nodes of a running embedded cluster: what kubectl does to them, and what happens to their machines."""

from typing import Any
from urllib.parse import quote

import orjson

from kubedyno.base import aio
from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.base.errors import KubedynoError
from kubedyno.client import kubeconfig
from kubedyno.client.api import Client
from kubedyno.kube.status import StatusError
from kubedyno.lab import control
from kubedyno.lab.embedded import Running
from kubedyno.lab.settings import class_of

_MIRROR = "kubernetes.io/config.mirror"
_POLL_S = 0.2
# kubectl tries an eviction that a budget forbids again after so long.
_FORBIDDEN_S = 1.0
_DONE = ("Succeeded", "Failed")

Json = dict[str, Any]


def machine(cluster: str, node: str, verb: str, **told: str) -> None:
    """Have something happen to a node's machine: kill, start, shutdown, not-ready, ready, pressure.

    Raises:
        KubedynoError: There is no such node, or it cannot be done now.
    """
    body = {name: text for name, text in told.items() if text}
    control.call(cluster, "POST", f"/kubedyno/nodes/{quote(node, safe='')}/{verb}", orjson.dumps(body))


def add(cluster: str, node: str, settings: str) -> None:
    """Add a node.

    Args:
        cluster: Its cluster.
        node: Its name.
        settings: As for `class_of`, without name and count.
    """
    name, count, labels = class_of("--class", settings)
    if name or count != 1:
        raise KubedynoError(f"--class {settings}: name and count are not for a single node")
    control.call(cluster, "PUT", f"/kubedyno/nodes/{quote(node, safe='')}", orjson.dumps({"labels": dict(labels)}))


def remove(cluster: str, node: str) -> None:
    """Take a node away."""
    control.call(cluster, "DELETE", f"/kubedyno/nodes/{quote(node, safe='')}")


def cordon(cluster: str, node: str, *, on: bool) -> bool:
    """Let no new pods onto a node, or let them again; False when it was so already."""

    async def work(client: Client) -> bool:
        return await _cordon(client, node, on=on)

    return bool(_with_client(control.running(cluster), work))


def drain(cluster: str, node: str, timeout_s: float) -> tuple[int, int]:
    """Cordon a node and evict its pods, as kubectl drain --ignore-daemonsets --delete-emptydir-data --force does.

    Returns:
        How many pods were evicted, and how many stay: those of DaemonSets and static ones.

    Raises:
        KubedynoError: There is no such node, or pods were still there after `timeout_s`.
    """

    async def work(client: Client) -> tuple[int, int]:
        await _cordon(client, node, on=True)
        path = f"/api/v1/pods?fieldSelector=spec.nodeName%3D{quote(node, safe='')}"
        pods = await client.list_all(path)
        leaving = {one["metadata"]["uid"]: one for one in pods if not _stays(one)}
        waiting, end_s = dict(leaving), SYSTEM_CLOCK.monotonic() + timeout_s
        while leaving:
            forbidden = {uid: pod for uid, pod in waiting.items() if not await _evict(client, pod)}
            await aio.sleep(_FORBIDDEN_S if forbidden else _POLL_S)
            there = {one["metadata"]["uid"] for one in await client.list_all(path)}
            leaving = {uid: one for uid, one in leaving.items() if uid in there}
            waiting = {uid: one for uid, one in forbidden.items() if uid in there}
            if leaving and SYSTEM_CLOCK.monotonic() >= end_s:
                names = sorted(f"{one['metadata']['namespace']}/{one['metadata']['name']}" for one in leaving.values())
                why = "a disruption budget forbids some" if waiting else "they have not ended"
                more = f" and {len(names) - 3} more" if len(names) > 3 else ""
                raise KubedynoError(
                    f"node {node}: {len(names)} pods are still there after {timeout_s:g} s ({why}): "
                    f"{', '.join(names[:3])}{more}"
                )
        return sum(not _stays(one) for one in pods), sum(_stays(one) for one in pods)

    evicted, staying = _with_client(control.running(cluster), work)
    return int(evicted), int(staying)


def _with_client(cluster: Running, work: Any) -> Any:
    async def run() -> Any:
        async with Client(kubeconfig.load(cluster.kubeconfig, None)) as client:
            try:
                return await work(client)
            except StatusError as error:
                raise KubedynoError(f"cluster {cluster.name}: {error.message}") from error

    return aio.run(run())


async def _cordon(client: Client, node: str, *, on: bool) -> bool:
    path = f"/api/v1/nodes/{quote(node, safe='')}"
    if bool((await client.get(path))["spec"].get("unschedulable")) is on:
        return False
    await client.patch(path, {"spec": {"unschedulable": True if on else None}}, "application/merge-patch+json")
    return True


def _stays(pod: Json) -> bool:
    metadata = pod["metadata"]
    owners = metadata.get("ownerReferences") or ()
    of_daemon_set = any(one.get("controller") and one.get("kind") == "DaemonSet" for one in owners)
    done = (pod.get("status") or {}).get("phase") in _DONE
    return _MIRROR in (metadata.get("annotations") or {}) or (of_daemon_set and not done)


async def _evict(client: Client, pod: Json) -> bool:
    """Ask for a pod's eviction; False when its budget forbids it for now."""
    metadata = pod["metadata"]
    path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/eviction"
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
        "deleteOptions": {"preconditions": {"uid": metadata["uid"]}},
    }
    try:
        await client.create(path, eviction)
    except StatusError as error:
        if error.code == 429:
            return False
        # Another pod has its name by now, or none has.
        if error.code not in {404, 409}:
            raise
    return True
