"""A kubelet's own paths, as …/nodes/NAME/proxy gives them: health, configuration, pods, statistics and logs.

Metrics are `kubeletpages`'. Nothing is asked of the node: the tables and the model of use (`usage`) say it all. What
enters a pod there (exec, attach, portForward) does what the pods' own subresources do, by a kubelet's names.
"""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

import orjson

from kubedyno.base.clock import Clock
from kubedyno.base.times import rfc3339
from kubedyno.cluster.apiserver.call import Call
from kubedyno.cluster.apiserver.kubeletdefaults import effective
from kubedyno.cluster.apiserver.proxypaths import Target
from kubedyno.cluster.apiserver.routes import Route
from kubedyno.cluster.apiserver.usage import KUBELET_BYTES, KUBELET_CORES, NodeUsage, PodUsage, Usage
from kubedyno.cluster.registry.kind import Kind
from kubedyno.cluster.storage.store import ObjectRecord, Store
from kubedyno.kube.resources import NODES, PODS
from kubedyno.kube.status import MethodNotAllowed, NotFound, ServiceUnavailable, StatusError, not_found

Object = dict[str, Any]
_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"
_PORT = "10250"
_LOGS = "/containerLogs/"
_WITH_CONTAINER = 3
# Where pods are entered → the subresource that does it, and how many parts the path behind has without a uid.
_ENTRANCES = {
    "exec": ("exec", _WITH_CONTAINER),
    "attach": ("attach", _WITH_CONTAINER),
    "portForward": ("portforward", 2),
}
# How a kubelet calls what the API server calls otherwise.
_FLAGS = {"input": "stdin", "output": "stdout", "error": "stderr", "port": "ports"}
_NANO = 1_000_000_000
# Of a modelled node's file system.
_DISK_BYTES = 64 << 30
_INODES = 4_000_000


class KubeletProxy:
    """Answers a node's paths.

    Args:
        store: The nodes and pods.
        usage: What they use.
        clock: Of statistics.
        metrics: Answers /metrics and what is below: (node, path, call).
        log: Answers a call for a pod's log.
        enter: Subresource → answers a call that enters a pod by it.
        pods: The kind of pods.

    Attributes:
        configuration: Returns a node's configuration file; raises KeyError.
    """

    def __init__(
        self,
        store: Store,
        usage: Usage,
        clock: Clock,
        metrics: Callable[[str, str, Call], None],
        log: Callable[[Call], None],
        enter: Mapping[str, Callable[[Call], None]],
        pods: Kind,
    ) -> None:
        self._store = store
        self._usage = usage
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._enter = enter
        self._pods = pods
        self.configuration: Callable[[str], str] | None = None

    def answer(self, call: Call, target: Target) -> None:
        """Answer a request to a node.

        Raises:
            StatusError: There is no such node, port or path.
        """
        _, name, port = target.parts()
        record = self._store.get(NODES, name)
        if record is None:
            raise not_found(NODES, name)
        addresses = self._store.encode_dict(NODES, record)["status"].get("addresses")
        if not addresses:
            raise StatusError("no preferred addresses found; known addresses: []", code=500, reason="")
        if port not in {"", _PORT}:
            where = f"{addresses[0].get('address', '')}:{port}"
            raise ServiceUnavailable(f"error trying to reach service: dial tcp {where}: connect: connection refused")
        path = target.path.rstrip("/")
        _, first, *parts = (*path.split("/"), "")
        if first in _ENTRANCES and call.request.method in {"GET", "POST"}:
            self._entered(call, name, first, parts[:-1])
            return
        if call.request.method not in {"GET", "HEAD"}:
            raise MethodNotAllowed("the server does not allow this method on the requested resource", {})
        if path in {"/healthz", "/livez", "/healthz/ping", "/healthz/syncloop", "/healthz/log"}:
            call.answer(200, _TEXT, b"ok")
        elif path == "/configz":
            self._json(call, {"kubeletconfig": self._effective(name)})
        elif path == "/pods":
            self._json(call, self._pod_list(name, lambda _: True))
        elif path == "/runningpods":
            self._json(call, self._pod_list(name, lambda pod: pod["status"].get("phase") == "Running"))
        elif path == "/stats/summary":
            self._json(call, _summary(self._usage.node(record, self._clock.now()), record, self._clock.now()))
        elif path.startswith(_LOGS):
            self._container_log(call, name, path[len(_LOGS) :].split("/"))
        elif path.startswith("/metrics"):
            self._metrics(name, path, call)
        else:
            raise NotFound("the server could not find the requested resource", {})

    def _json(self, call: Call, value: Any) -> None:
        call.answer(200, _JSON, orjson.dumps(value))

    def _effective(self, node: str) -> Object:
        if self.configuration is None:
            raise NotFound("the server could not find the requested resource", {})
        try:
            return effective(self.configuration(node))
        except KeyError:
            raise NotFound("the server could not find the requested resource", {}) from None

    def _pod_list(self, node: str, shown: Callable[[Object], bool]) -> Object:
        items = [self._store.encode_dict(PODS, record) for record in self._store.by_index(PODS, "node", node)]
        for item in items:
            del item["kind"], item["apiVersion"]
        return {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": [pod for pod in items if shown(pod)]}

    def _container_log(self, call: Call, node: str, parts: list[str]) -> None:
        """Answer /containerLogs/NAMESPACE/POD/CONTAINER as the pod's log would be."""
        if len(parts) != 3:
            raise NotFound("the server could not find the requested resource", {})
        self._turn_to(call, node, (parts[0], parts[1], ""), parts[2], "log")
        self._log(call)

    def _entered(self, call: Call, node: str, entrance: str, parts: list[str]) -> None:
        """Answer /exec/NAMESPACE/POD/CONTAINER, or another entrance, with or without the pod's uid before the container."""
        part, least = _ENTRANCES[entrance]
        if not least <= len(parts) <= least + 1:
            raise NotFound("the server could not find the requested resource", {})
        container = parts[-1] if least == _WITH_CONTAINER else ""
        self._turn_to(call, node, (parts[0], parts[1], parts[2] if len(parts) > least else ""), container, part)
        query = parse_qsl(call.request.query, keep_blank_values=True)
        call.request.query = urlencode([(_FLAGS.get(name, name), value) for name, value in query])
        self._enter[part](call)

    def _turn_to(self, call: Call, node: str, pod: tuple[str, str, str], container: str, part: str) -> None:
        """Make a call one to a part of a pod of the node (namespace, name, uid or ""), and of its container.

        Raises:
            NotFound: The node has no such pod.
        """
        namespace, name, uid = pod
        record = self._store.get(PODS, f"{namespace}/{name}")
        if record is None or record.obj.facts.node_name != node or uid not in {"", record.obj.uid}:
            raise NotFound(f'pod "{name}" does not exist', {})
        call.route = Route(self._pods, namespace, name, part)
        query = call.request.query
        if container:
            call.request.query = f"container={container}" + (f"&{query}" if query else "")


def _summary(node: NodeUsage, record: ObjectRecord, now_s: float) -> Object:
    """Return /stats/summary. Use of CPU and memory is modelled, traffic and disks are not: they stay 0."""
    at = rfc3339(now_s)
    memory = int(record.obj.facts.memory_bytes)
    whole = {
        "nodeName": node.name,
        "systemContainers": [
            {
                "name": "kubelet",
                "startTime": rfc3339(node.started_s),
                "cpu": _cpu(at, KUBELET_CORES, KUBELET_CORES * max(0.0, now_s - node.started_s)),
                "memory": _memory(at, KUBELET_BYTES),
            }
        ],
        "startTime": rfc3339(node.started_s),
        "cpu": _cpu(at, node.cores, node.core_seconds),
        "memory": {**_memory(at, node.memory_bytes), "availableBytes": max(0, memory - node.memory_bytes)},
        "network": _network(at),
        "fs": _disk(at),
        "runtime": {"imageFs": _disk(at), "containerFs": _disk(at)},
    }
    return {"node": whole, "pods": [_pod(pod, at, now_s) for pod in node.pods]}


def _pod(pod: PodUsage, at: str, now_s: float) -> Object:
    started = rfc3339(pod.started_s)
    containers = [
        {
            "name": container.name,
            "startTime": started,
            "cpu": _cpu(at, pod.cores(container, now_s), pod.core_seconds(container, now_s)),
            "memory": _memory(at, container.memory_bytes),
            "rootfs": _disk(at),
            "logs": _disk(at),
        }
        for container in pod.containers
    ]
    cores = sum(pod.cores(container, now_s) for container in pod.containers)
    seconds = sum(pod.core_seconds(container, now_s) for container in pod.containers)
    return {
        "podRef": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
        "startTime": started,
        "containers": containers,
        "cpu": _cpu(at, cores, seconds),
        "memory": _memory(at, sum(container.memory_bytes for container in pod.containers)),
        "network": _network(at),
        "ephemeral-storage": _disk(at),
    }


def _cpu(at: str, cores: float, seconds: float) -> Object:
    return {"time": at, "usageNanoCores": int(cores * _NANO), "usageCoreNanoSeconds": int(seconds * _NANO)}


def _memory(at: str, size: float) -> Object:
    return {"time": at, "usageBytes": int(size), "workingSetBytes": int(size), "rssBytes": int(size * 0.9)}


def _network(at: str) -> Object:
    counters = {"rxBytes": 0, "rxErrors": 0, "txBytes": 0, "txErrors": 0}
    return {"time": at, "name": "eth0", **counters, "interfaces": [{"name": "eth0", **counters}]}


def _disk(at: str) -> Object:
    return {
        "time": at, "availableBytes": _DISK_BYTES, "capacityBytes": _DISK_BYTES, "usedBytes": 0,
        "inodesFree": _INODES, "inodes": _INODES, "inodesUsed": 0,
    }  # fmt: skip
