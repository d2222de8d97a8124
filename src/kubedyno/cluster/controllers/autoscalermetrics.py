"""What metrics say of how many replicas there should be.

Use of pods is said by their annotations kubedyno.io/usage-cpu and kubedyno.io/usage-memory, of one container with its
name behind (kubedyno.io/usage-cpu.app); of others it is what metrics.k8s.io tells. A pod's own metric is
kubedyno.io/metric-NAME on the pod, an object's on that object, and an external one is the key NAME of the ConfigMap
kubedyno-external-metrics in the autoscaler's namespace. Where nobody says anything of these three, that is told as in a
cluster without custom and external metrics APIs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Any

import orjson

from kubedyno.cluster.controllers.podstates import metadata_of
from kubedyno.cluster.registry.kinds.podfacts import ENDED, requests_of
from kubedyno.cluster.storage.store import ObjectRecord, Store
from kubedyno.kube.quantity import milli_of, value_of
from kubedyno.kube.resources import CONFIGMAPS, PODS, by_kind
from kubedyno.kube.selectors import LabelSelector

USAGE = "kubedyno.io/usage-"
METRIC = "kubedyno.io/metric-"
EXTERNAL = "kubedyno-external-metrics"
_NO_METRICS = "unable to get metrics for resource {}: no metrics returned from resource metrics API"
_NONE_READY = "did not receive metrics for targeted pods (pods might be unready)"
_NO_CUSTOM = (
    "unable to get metric {}: unable to fetch metrics from custom metrics API: no custom metrics API "
    "(custom.metrics.k8s.io) registered"
)


class NoMetricError(Exception):
    """A metric cannot be had: the reason of the condition, and why."""

    def __init__(self, reason: str, text: str, kind: str) -> None:
        super().__init__(text)
        self.reason, self.text, self.kind = reason, text, kind


@dataclass(frozen=True, slots=True)
class ContainerUse:
    """What a container of a running pod uses now: thousandths of a core, and bytes."""

    cpu: int
    memory: int


# A pod → its containers' use by name; {} when it does not run.
Uses = Callable[[ObjectRecord], dict[str, ContainerUse]]


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a metric asks for: replicas, its name, and its current value as the status has it."""

    replicas: int
    name: str
    current: dict[str, Any]


class Metrics:
    """Metrics for one autoscaler.

    Args:
        store: Where pods and objects are.
        namespace: Of the autoscaler.
        tolerance: How far use may be from its target, upwards (True) or downwards.
        uses: What pods use that do not say so themselves.
    """

    def __init__(self, store: Store, namespace: str, tolerance: Callable[[bool], float], uses: Uses) -> None:
        self._store = store
        self._uses = uses
        self._namespace = namespace
        self._tolerance = tolerance

    def proposal(self, metric: dict[str, Any], current: int, selector: LabelSelector) -> Proposal:
        """Return what a metric asks for.

        Args:
            metric: A member of spec.metrics.
            current: Replicas now.
            selector: Of the pods.

        Raises:
            NoMetricError: It cannot be had.
        """
        kind = metric["type"]
        source = metric.get(kind[0].lower() + kind[1:], {})
        if kind == "Resource":
            return self._resource(source, current, selector)
        if kind == "ContainerResource":
            return self._resource(source, current, selector, source["container"])
        if kind == "Pods":
            return self._of_pods(source, current, selector)
        return self._of_value(kind, source, current, selector)

    # --- of pods -------------------------------------------------------------------------------------------------

    def _pods(self, selector: LabelSelector) -> list[ObjectRecord]:
        return [
            pod
            for pod in self._store.list(PODS, self._namespace)
            if selector.matches(pod.obj.labels) and not pod.obj.deletion_s and pod.obj.facts.phase not in ENDED
        ]

    def _resource(self, source: dict[str, Any], current: int, selector: LabelSelector, container: str = "") -> Proposal:
        """Return what the use of a resource asks for, of whole pods or of one of their containers."""
        name, target = source["name"], source["target"]
        kind = "ContainerResource" if container else "Resource"
        percent = target.get("averageUtilization")
        what = "utilization" if percent is not None else "value"
        pods = self._pods(selector)
        used = {pod.key: use for pod in pods if (use := self._use_of(pod, name, container)) is not None}
        ready = [pod.key for pod in pods if pod.key in used and (name != "cpu" or pod.obj.facts.ready)]
        if not ready:
            why = _NONE_READY if used else _NO_METRICS.format(name)
            what = "container metric value" if container else what
            text = f"failed to get {name} {what}: {why}"
            raise NoMetricError(f"FailedGet{kind}Metric", text, f"{name} {'container' if container else 'resource'}")
        wanted = {pod.key: _request_of(pod, name, container) for pod in pods} if percent is not None else {}
        if percent is not None and not all(wanted.values()):
            pod = next(pod for pod in pods if not wanted[pod.key])
            text = (
                f"failed to get {name} utilization: missing request for {name} in container "
                f"{container or pod.obj.facts.spec.containers[0][0]} of Pod {pod.obj.name}"
            )
            raise NoMetricError(f"FailedGet{kind}Metric", text, f"{name} {'container' if container else 'resource'}")
        average = -1 if percent is not None else _amount(name, target["averageValue"])
        limits = {pod.key: wanted[pod.key] * percent / 100 if percent is not None else average for pod in pods}
        replicas = self._count(used, limits, ready, [pod.key for pod in pods], current)
        value = sum(used[key] for key in ready) // max(len(ready), 1)
        now: dict[str, Any] = {}
        if percent is not None:
            asked = sum(wanted[key] for key in ready)
            now["averageUtilization"] = int(sum(used[key] for key in ready) * 100 / asked) if asked else 0
        now["averageValue"] = f"{value}m" if name == "cpu" else str(value)
        suffix = "utilization (percentage of request)" if percent is not None else ""
        text = f"{name} {'container ' if container else ''}resource {suffix}".rstrip()
        shown = {"name": name, "current": now, **({"container": container} if container else {})}
        return Proposal(replicas, text, {"type": kind, kind[0].lower() + kind[1:]: shown})

    def _of_pods(self, source: dict[str, Any], current: int, selector: LabelSelector) -> Proposal:
        name, target = source["metric"]["name"], milli_of(source["target"]["averageValue"])
        pods = self._pods(selector)
        used = {pod.key: value for pod in pods if (value := _own_metric(pod, name)) is not None}
        if not used:
            raise NoMetricError("FailedGetPodsMetric", _NO_CUSTOM.format(name), f"{name} pods")
        known = [pod.key for pod in pods if pod.key in used]
        limits = {pod.key: float(target) for pod in pods}
        replicas = self._count(used, limits, known, [pod.key for pod in pods], current)
        average = sum(used.values()) // len(used)
        shown = {"metric": source["metric"], "current": {"averageValue": _milli_text(average)}}
        return Proposal(replicas, f"pods metric {name}", {"type": "Pods", "pods": shown})

    def _use_of(self, pod: ObjectRecord, name: str, container: str) -> int | None:
        if pod.obj.facts.phase != "Running":
            return None
        said = _said_use_of(pod, name, container)
        if said is not None or name not in {"cpu", "memory"}:
            return said
        found = self._uses(pod)
        known = [getattr(use, name) for own, use in found.items() if container in {"", own}]
        return sum(known) if known else None

    # --- of objects, and from elsewhere --------------------------------------------------------------------------

    def _of_value(self, kind: str, source: dict[str, Any], current: int, selector: LabelSelector) -> Proposal:
        """Return what one value for all pods asks for: an object's metric, or an external one."""
        name, target = source["metric"]["name"], source["target"]
        value = self._of_object(source) if kind == "Object" else self._external(name)
        if value is None and kind == "Object":
            raise NoMetricError("FailedGetObjectMetric", _NO_CUSTOM.format(name), f"{name} object")
        if value is None:
            text = (
                f"unable to get external metric {self._namespace}/{name}/nil: unable to fetch metrics from external "
                f"metrics API: the server could not find the requested resource (get {name}.external.metrics.k8s.io)"
            )
            raise NoMetricError("FailedGetExternalMetric", text, f"{name} external")
        now: dict[str, Any] = {}
        if "averageValue" in target:
            wanted = milli_of(target["averageValue"])
            ratio = value / (wanted * current) if current else 0.0
            replicas = current if current and self._near(ratio) else ceil(value / wanted)
            now["averageValue"] = _milli_text(ceil(value / current) if current else value)
        else:
            wanted = milli_of(target["value"])
            ratio = value / wanted
            ready = sum(bool(pod.obj.facts.ready) for pod in self._pods(selector)) if current else 1
            replicas = current if current and self._near(ratio) else ceil(ratio * ready)
            now["value"] = _milli_text(value)
        member = kind.lower()
        shown: dict[str, Any] = {"metric": source["metric"], "current": now}
        text = f"external metric {name}(nil)"
        if kind == "Object":
            shown["describedObject"] = source["describedObject"]
            text = f"{source['describedObject']['kind']} metric {name}"
        return Proposal(replicas, text, {"type": kind, member: shown})

    def _of_object(self, source: dict[str, Any]) -> int | None:
        described = source["describedObject"]
        resource = by_kind(described.get("apiVersion", "v1"), described["kind"])
        if resource is None:
            return None
        name = described["name"]
        record = self._store.get(resource, f"{self._namespace}/{name}" if resource.namespaced else name)
        return None if record is None else _own_metric(record, source["metric"]["name"])

    def _external(self, name: str) -> int | None:
        record = self._store.get(CONFIGMAPS, f"{self._namespace}/{EXTERNAL}")
        text = None if record is None else self._store.encode_dict(CONFIGMAPS, record).get("data", {}).get(name)
        return None if text is None else _milli(text)

    # --- arithmetic ----------------------------------------------------------------------------------------------

    def _count(
        self, used: dict[str, int], limits: dict[str, float], ready: list[str], pods: list[str], current: int
    ) -> int:
        """Return how many replicas bring the use per pod to what it may be.

        Pods of which nothing is known are taken for idle when more are wanted, and for busy when fewer are.
        """
        ratio = sum(used[key] for key in ready) / sum(limits[key] for key in ready)
        others = [key for key in pods if key not in ready]
        if not others:
            return current if self._near(ratio) else ceil(ratio * len(ready))
        assumed = sum(limits[key] for key in others if key not in used) if ratio < 1 else 0.0
        new = (sum(used[key] for key in ready) + assumed) / sum(limits[key] for key in pods)
        if self._near(new) or (ratio < 1 < new) or (ratio > 1 > new):
            return current
        count = ceil(new * len(pods))
        return current if (new < 1 and count > current) or (new > 1 and count < current) else count

    def _near(self, ratio: float) -> bool:
        return abs(ratio - 1) <= self._tolerance(ratio > 1)


def _amount(name: str, text: str) -> int:
    return milli_of(text) if name == "cpu" else value_of(text)


def _milli(text: str) -> int | None:
    """Return thousandths of what somebody wrote, None when it is no amount."""
    try:
        return milli_of(text.strip())
    except ValueError:
        return None


def _milli_text(milli: int) -> str:
    return f"{milli}m" if milli % 1000 else str(milli // 1000)


def _annotation(record: ObjectRecord, name: str) -> str | None:
    if name.encode() not in record.obj.meta:
        return None
    text = metadata_of(record.obj).get("annotations", {}).get(name)
    return None if text is None else str(text)


def _own_metric(record: ObjectRecord, name: str) -> int | None:
    text = _annotation(record, METRIC + name)
    return None if text is None else _milli(text)


def _said_use_of(pod: ObjectRecord, name: str, container: str = "") -> int | None:
    """Return what a pod, or one of its containers, says that it uses of a resource: thousandths of a core, or bytes."""
    text = _annotation(pod, f"{USAGE}{name}.{container}") if container else None
    containers = pod.obj.facts.spec.containers
    if text is None and (not container or [c[0] for c in containers] == [container]):
        text = _annotation(pod, USAGE + name)
    try:
        return None if text is None else _amount(name, text)
    except ValueError:
        return None


def _request_of(pod: ObjectRecord, name: str, container: str = "") -> int:
    spec = orjson.loads(b"{" + pod.obj.body + b"}")["spec"]
    if container:
        spec = {"containers": [c for c in spec.get("containers", ()) if c["name"] == container]}
    return requests_of(spec).get(name, 0)
