"""What nodes and pods use, on any cluster: from metrics.k8s.io, else from the kubelets themselves.

Without a metrics-server each kubelet's /metrics/resource is read twice through its node's proxy, and CPU is what the
counters grew by in between, as metrics-server would have done it.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kubedyno.base import aio
from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.client.api import Client
from kubedyno.kube.quantity import Quantity
from kubedyno.kube.status import StatusError
from kubedyno.lab.target import Choice
from kubedyno.promql.exposition import Sample, labels_of, read

log = logger(__name__)

METRICS = "/apis/metrics.k8s.io/v1beta1"
CONCURRENCY = 16
# Not installed, not up, or not for us: the kubelets may still say it.
_NOBODY = frozenset({403, 404, 503})
# metrics-server itself looks every 15 s. Large clusters are asked more rarely: the answer has every node.
_ASK_S = 5.0
_ASK_S_PER_NODE = 0.02


@dataclass(frozen=True, slots=True)
class Use:
    """What one node or container uses.

    Attributes:
        namespace: "" for a node.
        name: Of the node or pod.
        container: "" for a node.
        cores: CPU.
        memory_bytes: Working set.
        cores_of: What the node has to give; 0 for a container.
        memory_bytes_of: What the node has to give; 0 for a container.
    """

    namespace: str
    name: str
    container: str
    cores: float
    memory_bytes: float
    cores_of: float = 0.0
    memory_bytes_of: float = 0.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found.

    Attributes:
        uses: Nodes, or containers.
        source: "metrics.k8s.io" or "kubelets".
        missing: Nodes that did not say anything, each with the reason.
    """

    uses: list[Use]
    source: str
    missing: list[str]


async def nodes(choice: Choice, span_s: float) -> Seen:
    """Return what each node uses.

    Args:
        choice: The cluster.
        span_s: Between two looks at a kubelet, where there is no metrics.k8s.io.

    Raises:
        KubedynoError: The cluster cannot be asked.
    """
    async with Client(choice.target) as client:
        given = {}
        for node in await client.list_all("/api/v1/nodes"):
            amounts = (node.get("status") or {}).get("allocatable") or {}
            given[str(node["metadata"]["name"])] = (_amount(amounts.get("cpu")), _amount(amounts.get("memory")))
        items = await listed(client, "nodes")
        missing: list[str] = []
        if items is not None:
            found = [("", item["metadata"]["name"], "", *used(item["usage"])) for item in items]
        else:
            pages, missing = await _kubelets(client, given, span_s)
            found = [use for use in pages if not use[0] and use[1]]
        uses = [Use(*use, *given.get(use[1], (0.0, 0.0))) for use in found]
        return Seen(uses, "kubelets" if items is None else "metrics.k8s.io", missing)


async def pods(choice: Choice, namespace: str, span_s: float) -> Seen:
    """Return what each container of a namespace's pods uses, "" for all; otherwise as `nodes`."""
    async with Client(choice.target) as client:
        items = await listed(client, f"namespaces/{namespace}/pods" if namespace else "pods")
        if items is not None:
            uses = [
                Use(item["metadata"]["namespace"], item["metadata"]["name"], each["name"], *used(each["usage"]))
                for item in items
                for each in item["containers"]
            ]
            return Seen(uses, "metrics.k8s.io", [])
        names = [str(node["metadata"]["name"]) for node in await client.list_all("/api/v1/nodes")]
        found, missing = await _kubelets(client, names, span_s)
        uses = [Use(*use) for use in found if use[0] and (not namespace or use[0] == namespace)]
        return Seen(uses, "kubelets", missing)


async def listed(client: Client, what: str) -> list[dict[str, Any]] | None:
    """Return the items of a collection of metrics.k8s.io ("nodes", "pods", …); None when nobody answers for it."""
    try:
        return await client.list_all(f"{METRICS}/{what}")
    except StatusError as error:
        if error.code in _NOBODY:
            return None
        raise


async def node_uses(client: Client) -> dict[str, tuple[int, int]] | None:
    """Return what each node uses by metrics.k8s.io, thousandths of a core and bytes; None when nobody answers for it.

    What cannot be read of an item leaves it out: it is somebody else's server.
    """
    items = await listed(client, "nodes")
    if items is None:
        return None
    found = {}
    for item in items:
        try:
            found[str(item["metadata"]["name"])] = milli(item["usage"])
        except (KeyError, TypeError, ValueError):
            log.debug("metrics.k8s.io: no node's usage: %s", item)
    return found


def pause_s(nodes: int) -> float:
    """Return how long to wait before such a cluster's nodes are asked for again."""
    return max(_ASK_S, nodes * _ASK_S_PER_NODE)


_Key = tuple[str, str, str]


async def _kubelets(
    client: Client, names: Iterable[str], span_s: float
) -> tuple[list[tuple[str, str, str, float, float]], list[str]]:
    turns = asyncio.Semaphore(CONCURRENCY)
    missing: list[str] = []

    async def page(name: str) -> tuple[float, dict[_Key, float], dict[_Key, float]] | None:
        async with turns:
            answer = await client.request("GET", f"/api/v1/nodes/{name}/proxy/metrics/resource")
            at_s = SYSTEM_CLOCK.monotonic()
        if answer.status != 200:
            try:
                error: Exception = StatusError.from_response(answer.status, answer.body)
            except ValueError as unreadable:
                error = unreadable
            missing.append(f"{name}: {error}")
            return None
        cpu: dict[_Key, float] = {}
        memory: dict[_Key, float] = {}
        for item in read(answer.body.decode(errors="replace")):
            if not isinstance(item, Sample):
                continue
            labels = labels_of(item.series)
            key = (labels.get("namespace", ""), labels.get("pod", ""), labels.get("container", ""))
            metric = labels["__name__"]
            if metric.startswith("node_"):
                key = ("", name, "")
            elif not metric.startswith("container_"):
                continue
            if metric.endswith("_cpu_usage_seconds_total"):
                cpu[key] = item.value
            elif metric.endswith("_memory_working_set_bytes"):
                memory[key] = item.value
        return at_s, cpu, memory

    names = list(names)
    first = await asyncio.gather(*map(page, names))
    if all(one is None for one in first):
        raise KubedynoError(
            f"no metrics.k8s.io, and no kubelet says what it uses ({missing[0] if missing else 'no nodes'}); "
            "install metrics-server, or ask as somebody who may get nodes/proxy"
        )
    await aio.sleep(span_s)
    missing.clear()
    found: list[tuple[str, str, str, float, float]] = []
    for one, two in zip(first, await asyncio.gather(*map(page, names)), strict=True):
        if one is None or two is None:
            continue
        (began_s, before, _), (ended_s, after, memory) = one, two
        for key, seconds in after.items():
            if key in before and seconds >= before[key]:
                cores = (seconds - before[key]) / (ended_s - began_s)
                found.append((*key, cores, memory.get(key, 0.0)))
    return found, missing


def used(usage: dict[str, Any]) -> tuple[float, float]:
    """Return cores and bytes of a `usage` of metrics.k8s.io."""
    return _amount(usage.get("cpu")), _amount(usage.get("memory"))


def milli(usage: dict[str, Any]) -> tuple[int, int]:
    """Return thousandths of a core and bytes of a `usage` of metrics.k8s.io."""
    cores, size = used(usage)
    return round(cores * 1000), round(size)


def _amount(text: Any) -> float:
    return 0.0 if text is None else float(Quantity.parse(str(text)).amount)
