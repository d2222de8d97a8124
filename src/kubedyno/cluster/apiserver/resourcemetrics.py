"""metrics.k8s.io/v1beta1: what nodes and pods use now, as metrics-server says it. Answered, never stored."""

from typing import Any

from kubedyno.base.clock import Clock
from kubedyno.base.times import rfc3339
from kubedyno.cluster.apiserver.call import Call
from kubedyno.cluster.apiserver.encoding import value_bytes
from kubedyno.cluster.apiserver.negotiation import COLLECTION_MEDIA, METADATA, TABLE, Form
from kubedyno.cluster.apiserver.queries import list_options
from kubedyno.cluster.apiserver.usage import NodeUsage, PodUsage, Usage, created_of
from kubedyno.cluster.registry.kind import Kind
from kubedyno.cluster.storage.objects import key_of
from kubedyno.cluster.storage.store import ObjectRecord, ResourceKey, Store, resource_key
from kubedyno.kube.resources import NODES, PODS, Resource, built_in
from kubedyno.kube.status import BadRequest, not_found

GROUP, VERSION = "metrics.k8s.io", "v1beta1"
_VERBS = ("get", "list")
NODE_METRICS = Resource(GROUP, VERSION, "nodes", "NodeMetrics", namespaced=False, verbs=_VERBS)
POD_METRICS = Resource(GROUP, VERSION, "pods", "PodMetrics", namespaced=True, verbs=_VERBS)
_API_SERVICES = built_in("apiregistration.k8s.io", "apiservices")
API_SERVICES: Resource = _API_SERVICES
# metrics-server's resolution: what it says is an average over so long.
_WINDOW_S = 15.0
_FIELDS = ("metadata.name", "metadata.namespace")
Object = dict[str, Any]


def metric_kinds() -> dict[ResourceKey, Kind]:
    """Return the kinds that are answered here."""
    return {resource_key(resource): Kind(resource) for resource in (NODE_METRICS, POD_METRICS)}


def served_metric_kinds(store: Store, kinds: dict[ResourceKey, Kind]) -> dict[ResourceKey, Kind]:
    """Return those kinds while an APIService says that somebody answers for them."""
    return kinds if store.get(API_SERVICES, f"{VERSION}.{GROUP}") is not None else {}


class ResourceMetrics:
    """Answers GET of nodes' and pods' metrics.

    Args:
        store: The nodes and pods.
        usage: What they use.
        clock: For the time that an answer is of.
    """

    def __init__(self, store: Store, usage: Usage, clock: Clock) -> None:
        self._store = store
        self._usage = usage
        self._clock = clock

    def answer(self, call: Call) -> None:
        """Answer GET of one or of a list."""
        (self.get if call.route.name else self.list)(call)

    def get(self, call: Call) -> None:
        """Answer with the metrics of one node or pod.

        Raises:
            NotFound: There is none, or it does not run.
        """
        route = call.route
        resource = route.kind.resource
        form = call.form()
        record = self._store.get(_source(resource), key_of(route.namespace, route.name))
        found = None if record is None else self._object(resource, record)
        if found is None:
            raise not_found(resource, key_of(route.namespace, route.name))
        found = {"kind": resource.kind, "apiVersion": resource.api_version, **found}
        call.answer(200, form.media, value_bytes(_shaped(resource, [found], found, form), form))

    def list(self, call: Call) -> None:
        """Answer with the metrics of all nodes, or of a namespace's or all pods.

        Raises:
            StatusError: The query is wrong.
        """
        route, request = call.route, call.request
        resource = route.kind.resource
        options = list_options(request.query)
        form = call.form(options.pretty, route=COLLECTION_MEDIA)
        unknown = [field for field, _, _ in options.fields.terms if field not in _FIELDS]
        if unknown:
            raise BadRequest(f"field label not supported: {unknown[0]}")
        found: list[Object] = []
        for record in self._store.list(_source(resource), route.namespace):
            obj = record.obj
            by_field = {"metadata.name": obj.name, "metadata.namespace": obj.namespace}
            if options.labels.matches(obj.labels) and options.fields.matches(by_field.__getitem__):
                item = self._object(resource, record)
                if item is not None:
                    found.append(item)
        whole = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version, "metadata": {}, "items": found}
        call.answer(200, form.media, value_bytes(_shaped(resource, found, whole, form), form))

    def _object(self, resource: Resource, record: ObjectRecord) -> Object | None:
        now_s = self._clock.now()
        if resource is NODE_METRICS:
            return _node_object(self._usage.node(record, now_s), record, now_s)
        pod = self._usage.pod(record)
        return None if pod is None else _pod_object(pod, record, now_s)


def _source(resource: Resource) -> Resource:
    return NODES if resource is NODE_METRICS else PODS


def _node_object(node: NodeUsage, record: ObjectRecord, now_s: float) -> Object:
    metadata: Object = {"name": node.name, "creationTimestamp": rfc3339(created_of(record))}
    if node.labels:
        metadata["labels"] = node.labels
    return {**_head(metadata, now_s), "usage": _usage(node.cores, node.memory_bytes)}


def _pod_object(pod: PodUsage, record: ObjectRecord, now_s: float) -> Object:
    metadata: Object = {"name": pod.name, "namespace": pod.namespace, "creationTimestamp": rfc3339(created_of(record))}
    if pod.labels:
        metadata["labels"] = pod.labels
    containers = [
        {"name": container.name, "usage": _usage(pod.cores(container, now_s), container.memory_bytes)}
        for container in pod.containers
    ]
    return {**_head(metadata, now_s), "containers": containers}


def _head(metadata: Object, now_s: float) -> Object:
    return {"metadata": metadata, "timestamp": rfc3339(now_s), "window": f"{_WINDOW_S:g}s"}


def _usage(cores: float, memory_bytes: int) -> dict[str, str]:
    return {"cpu": f"{round(cores * 1e9)}n", "memory": f"{memory_bytes // 1024}Ki"}


def _shaped(resource: Resource, items: list[Object], whole: Object, form: Form) -> Object:
    """Return an answer as a Table or as metadata, where that is asked for."""
    if form.shape == METADATA:
        kind = "PartialObjectMetadata"
        version = f"meta.k8s.io/{form.version}"
        parts = [{"kind": kind, "apiVersion": version, "metadata": item["metadata"]} for item in items]
        if "items" not in whole:
            return parts[0]
        return {"kind": f"{kind}List", "apiVersion": version, "metadata": {}, "items": parts}
    if form.shape != TABLE:
        return whole
    columns = [
        {"name": name, "type": "string", "format": "name" if name == "Name" else "", "description": "", "priority": 0}
        for name in ("Name", "cpu", "memory", "Window")
    ]
    rows = []
    for item in items:
        used = [item["usage"]] if "usage" in item else [container["usage"] for container in item["containers"]]
        cpu = sum(int(usage["cpu"][:-1]) for usage in used)
        memory = sum(int(usage["memory"][:-2]) for usage in used)
        part = {
            "kind": "PartialObjectMetadata",
            "apiVersion": f"meta.k8s.io/{form.version}",
            "metadata": item["metadata"],
        }
        rows.append({"cells": [item["metadata"]["name"], f"{cpu}n", f"{memory}Ki", item["window"]], "object": part})
    _ = resource
    head = {"kind": "Table", "apiVersion": f"meta.k8s.io/{form.version}", "metadata": {}}
    return {**head, "columnDefinitions": columns, "rows": rows}
