"""Latency documents: one a pod, one a quantile, and the verdict on thresholds, as kube-burner writes them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kubedyno.base.times import go_duration, rfc3339
from kubedyno.load.config.spec import ThresholdSpec
from kubedyno.load.measurements.pods import PodStart, PodTracker
from kubedyno.stats.quantiles import Summary, summary_of

# Quantile name → document field, in the order of kube-burner's documents.
_FIELDS_2 = {
    "PodScheduled": "schedulingLatency",
    "Initialized": "initializedLatency",
    "ContainersReady": "containersReadyLatency",
    "Ready": "podReadyLatency",
    "ContainersStarted": "containersStartedLatency",
    "PodReadyToStartContainers": "readyToStartContainersLatency",
}
_FIELDS_1 = {name: field for name, field in _FIELDS_2.items() if name != "ContainersStarted"}


def latencies_ms(pod: PodStart, compat: int) -> dict[str, int]:
    """Return quantile name → latency in ms of one Ready pod, by the server's stamps as kube-burner takes them.

    Absent moments are left out. Negative values (a clock that went back) become 0, as in the original.
    """
    result: dict[str, int] = {}
    for condition in ("PodScheduled", "Initialized", "ContainersReady", "Ready", "PodReadyToStartContainers"):
        at_s = pod.server_s.get(condition)
        if condition == "PodScheduled" and compat == 2 and pod.scheduled_event_s is not None:
            at_s = pod.scheduled_event_s
        if at_s is not None:
            result[condition] = max(0, int(round((at_s - pod.created_s) * 1000, 3)))
    if compat == 2 and pod.started_event_s is not None:
        result["ContainersStarted"] = max(0, int(round((pod.started_event_s - pod.created_s) * 1000, 3)))
    return result


def pod_document(
    pod: PodStart, *, job: str, uuid: str, metadata: Mapping[str, Any] | None, compat: int
) -> dict[str, Any]:
    """Return the `podLatencyMeasurement` document of a pod that became Ready."""
    latency = latencies_ms(pod, compat)
    document: dict[str, Any] = {"timestamp": rfc3339(pod.created_s)}
    for name, field in (_FIELDS_2 if compat == 2 else _FIELDS_1).items():
        # kube-burner writes 0 for a moment that it does not know; the quantiles below leave it out.
        document[field] = latency.get(name, 0)
    return document | {
        "metricName": "podLatencyMeasurement",
        "uuid": uuid,
        "jobName": job,
        "jobIteration": pod.iteration,
        "replica": pod.replica,
        "namespace": pod.namespace,
        "podName": pod.name,
        "nodeName": pod.node,
        "metadata": dict(metadata) if metadata else None,
    }


def quantiles(pods: Iterable[PodStart], compat: int) -> dict[str, Summary]:
    """Return quantile name → summary in ms over the pods that became Ready and have that moment."""
    samples: dict[str, list[int]] = {}
    for pod in pods:
        if "Ready" in pod.seen_s:
            for name, value in latencies_ms(pod, compat).items():
                samples.setdefault(name, []).append(value)
    return {name: summary_of(values) for name, values in samples.items()}


def quantile_documents(
    summaries: Mapping[str, Summary],
    *,
    metric: str,
    job: str,
    uuid: str,
    timestamp: str,
    metadata: Mapping[str, Any] | None,
) -> list[dict[str, Any]]:
    """Return `…QuantilesMeasurement` documents; figures are truncated to whole ms as in the original."""
    return [
        {
            "quantileName": name,
            "uuid": uuid,
            "P99": int(s.p99),
            "P95": int(s.p95),
            "P50": int(s.p50),
            "min": int(s.minimum),
            "max": int(s.maximum),
            "avg": int(s.average),
            "timestamp": timestamp,
            "metricName": metric,
            "jobName": job,
            "metadata": dict(metadata) if metadata else None,
        }
        for name, s in summaries.items()
    ]


def violations(
    summaries: Mapping[str, Summary], thresholds: Sequence[ThresholdSpec], label: str, unit_s: float = 0.001
) -> list[str]:
    """Return one line for each threshold that was exceeded, in kube-burner's words.

    Args:
        label: What stands before the colon: the metric name in 2.x, "podLatency" in 1.x.
        unit_s: What the summaries count in, in seconds.
    """
    lines = []
    for threshold in thresholds:
        # The original lists conditions of migrations under longer names than it measures them.
        name = threshold.condition.removeprefix("VirtualMachineInstanceMigration")
        summary = summaries.get(threshold.condition) or summaries.get(name)
        if summary is None:
            continue
        value = {
            "P99": summary.p99,
            "P95": summary.p95,
            "P50": summary.p50,
            "Avg": summary.average,
            "Max": summary.maximum,
        }[threshold.metric]
        if int(value) * round(unit_s * 1e9) > threshold.limit_ns:
            lines.append(
                f"{label}: {threshold.metric} {threshold.condition} latency ({int(value) * unit_s:.2f}s) "
                f"higher than configured threshold: {go_duration(threshold.limit_ns)}"
            )
    return lines


def watched_summary(tracker: PodTracker) -> dict[str, Summary]:
    """Return condition → ms from a pod's first sight to the condition's first sight, by the watch's own clock.

    Finer than the API's whole-second stamps; includes the watch's delay on both ends.
    """
    samples: dict[str, list[float]] = {}
    for pod in tracker.pods.values():
        for condition, at_s in pod.seen_s.items():
            samples.setdefault(condition, []).append((at_s - pod.seen_created_s) * 1000)
    return {name: summary_of(values) for name, values in samples.items()}
