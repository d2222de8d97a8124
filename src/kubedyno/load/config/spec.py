"""The configuration as frozen values: what a file says, with the defaults of the chosen version filled in."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ThresholdSpec:
    """`thresholds[]`: the allowed latency of a condition's quantile."""

    condition: str
    metric: str
    limit_ns: int


@dataclass(frozen=True, slots=True)
class MeasurementSpec:
    """`measurements[]`; `name` is "podLatency", or "none", which measures nothing."""

    name: str
    thresholds: tuple[ThresholdSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class IndexerSpec:
    """`indexer` of a metrics endpoint; only type "local" so far."""

    type: str
    metrics_directory: str


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """`metricsEndpoints[]`."""

    alias: str = ""
    indexer: IndexerSpec | None = None


@dataclass(frozen=True, slots=True)
class ObjectSpec:
    """`objects[]` of a job. Of a create job: `template`; of a delete job: `kind` and `label_selector`."""

    template: str = ""
    replicas: int = 1
    input_vars: dict[str, Any] = field(default_factory=dict)
    kind: str = ""
    api_version: str = "v1"
    label_selector: dict[str, str] = field(default_factory=dict)
    wait: bool = True
    run_once: bool = False


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One job; times in seconds, `given` is the job's mapping as it stood in the file."""

    name: str
    job_type: str = "create"
    job_iterations: int = 1
    job_iteration_delay_s: float = 0.0
    job_pause_s: float = 0.0
    namespace: str = ""
    namespaced_iterations: bool = True
    iterations_per_namespace: int = 1
    cleanup: bool = True
    pod_wait: bool = False
    wait_when_finished: bool = True
    max_wait_timeout_s: float = 4 * 3600.0
    qps: float = 5.0
    burst: int = 10
    verify_objects: bool = True
    error_on_verify: bool = True
    skip_indexing: bool = False
    pre_load_images: bool = True
    pre_load_period_s: float = 600.0
    pre_load_node_labels: dict[str, str] = field(default_factory=dict)
    namespace_labels: dict[str, str] = field(default_factory=dict)
    namespace_annotations: dict[str, str] = field(default_factory=dict)
    default_missing_keys_with_zero: bool = False
    wait_for_deletion: bool = True
    gc: bool = False
    metrics_closing: str = "afterJobPause"
    measurements: tuple[MeasurementSpec, ...] = ()
    objects: tuple[ObjectSpec, ...] = ()

    def summary_document(self, compat: int) -> dict[str, Any]:
        """Return `jobConfig` of a jobSummary: kube-burner's keys, zero values left out, durations in ns."""
        others: dict[str, Any] = {
            "name": self.name,
            "jobType": self.job_type,
            "jobIterations": self.job_iterations,
            "jobIterationDelay": _ns(self.job_iteration_delay_s),
            "jobPause": _ns(self.job_pause_s),
            "qps": self.qps if self.qps % 1 else int(self.qps),
            "burst": self.burst,
            "namespace": self.namespace,
            "maxWaitTimeout": _ns(self.max_wait_timeout_s),
            "podWait": self.pod_wait,
            "preLoadImages": self.pre_load_images,
            "preLoadPeriod": _ns(self.pre_load_period_s),
            "iterationsPerNamespace": self.iterations_per_namespace,
            "metricsClosing": self.metrics_closing,
            "skipIndexing": self.skip_indexing,
            "defaultMissingKeysWithZero": self.default_missing_keys_with_zero,
            "cleanup": self.cleanup,
            "errorOnVerify": self.error_on_verify,
            "namespacedIterations": self.namespaced_iterations,
            "verifyObjects": self.verify_objects,
            "waitForDeletion": self.wait_for_deletion,
            "waitWhenFinished": self.wait_when_finished,
            "executionMode": "sequential" if self.job_type == "delete" else "",
        }
        document = {key: value for key, value in others.items() if value} | {"gc": self.gc}
        if compat == 1:
            document |= {"churnCycles": 100, "churnDelay": _ns(300), "churnDuration": _ns(3600), "churnPercent": 10}
        else:
            document["churnConfig"] = {}
        return document


def _ns(seconds: float) -> int:
    return int(seconds * 1_000_000_000)


@dataclass(frozen=True, slots=True)
class GlobalSpec:
    """`global`."""

    measurements: tuple[MeasurementSpec, ...] = ()
    request_timeout_s: float = 60.0
    gc: bool = False
    wait_when_finished: bool = False


@dataclass(frozen=True, slots=True)
class Spec:
    """A whole configuration; `warnings` are said when the run starts."""

    global_: GlobalSpec
    metrics_endpoints: tuple[EndpointSpec, ...]
    jobs: tuple[JobSpec, ...]
    warnings: tuple[str, ...] = ()
