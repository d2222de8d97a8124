"""The configuration as frozen values: what a file says, with the defaults of the chosen version filled in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kubedyno.base.times import duration_ns_of


@dataclass(frozen=True, slots=True)
class ThresholdSpec:
    """`thresholds[]`: the allowed latency of a condition's quantile."""

    condition: str
    metric: str
    limit_ns: int


@dataclass(frozen=True, slots=True)
class ConditionSpec:
    """A moment of `conditionLatency`: reached when the jq path over the object gives the text `value`."""

    name: str
    path: str
    value: str


@dataclass(frozen=True, slots=True)
class MeasurementSpec:
    """`measurements[]`; times in seconds.

    Attributes:
        name: kube-burner's name of it, or "conditionLatency".
        quantiles_indexer: Alias of the only indexer for quantiles, "" for all.
        timeseries_indexer: Alias of the only indexer for latencies, "" for all.
        service_timeout_s: `svcTimeout`.
        options: The entry as it stood in the file.
        api_version: Of `conditionLatency`: what is watched.
        kind: Of `conditionLatency`.
        conditions: Of `conditionLatency`.
    """

    name: str
    thresholds: tuple[ThresholdSpec, ...] = ()
    quantiles_indexer: str = ""
    timeseries_indexer: str = ""
    service_timeout_s: float = 5.0
    options: dict[str, Any] = field(default_factory=dict)
    api_version: str = ""
    kind: str = ""
    conditions: tuple[ConditionSpec, ...] = ()

    def summary_document(self) -> dict[str, Any]:
        """Return it as a jobSummary has it: under the names of the original's fields, without secrets."""
        options = self.options
        targets = [
            {key: target.get(name) for key, name in _TARGET_KEYS.items()} | dict.fromkeys(_TARGET_SECRETS, "")
            for target in options.get("pprofTargets") or ()
        ]
        return {
            "Name": self.name,
            "LatencyThresholds": [
                {"ConditionType": t.condition, "Metric": t.metric, "Threshold": t.limit_ns} for t in self.thresholds
            ]
            or None,
            "PProfTargets": [{key: value or _ABSENT.get(key, "") for key, value in t.items()} for t in targets] or None,
            "PProfInterval": _duration_ns(options.get("pprofInterval")),
            "PProfDirectory": options.get("pprofDirectory") or "",
            "NodeAffinity": options.get("nodeAffinity") or None,
            "ServiceTimeout": _duration_ns(options.get("svcTimeout")),
            "QuantilesIndexer": self.quantiles_indexer,
            "TimeseriesIndexer": self.timeseries_indexer,
        }


# Of a pprof target in a jobSummary: the original's field, the key of the configuration.
_TARGET_KEYS = {
    "Name": "name", "Namespace": "namespace", "LabelSelector": "labelSelector", "URL": "url", "CertFile": "certFile",
    "KeyFile": "keyFile", "UnixSocketPath": "unixSocketPath",
}  # fmt: skip
# The original writes these, too.
_TARGET_SECRETS = ("BearerToken", "Cert", "Key")
_ABSENT: dict[str, Any] = {"LabelSelector": None}


def _duration_ns(value: Any) -> int:
    return duration_ns_of(value) if isinstance(value, str) else int(value or 0)


@dataclass(frozen=True, slots=True)
class IndexerSpec:
    """`indexer` of a metrics endpoint: type local, opensearch, elastic or tsdb."""

    type: str
    metrics_directory: str
    servers: tuple[str, ...] = ()
    index: str = ""
    insecure: bool = False
    create_tarball: bool = False
    tarball_name: str = "kube-burner-metrics.tgz"


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """`metricsEndpoints[]`; `ca`, PEM of whom to trust, is a flag's."""

    alias: str = ""
    indexer: IndexerSpec | None = None
    endpoint: str = ""
    metrics: tuple[str, ...] = ()
    alerts: tuple[str, ...] = ()
    step_s: float = 30.0
    skip_tls_verify: bool = True
    token: str = ""
    username: str = ""
    password: str = ""
    ca: bytes | None = None


@dataclass(frozen=True, slots=True)
class StatusPath:
    """`customStatusPaths[]`: a jq path over `.status` and the text that it must give."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class WaitSpec:
    """`waitOptions`: another kind or fewer objects to wait for, or another rule."""

    api_version: str = ""
    kind: str = ""
    label_selector: dict[str, str] = field(default_factory=dict)
    paths: tuple[StatusPath, ...] = ()


@dataclass(frozen=True, slots=True)
class GroupSpec:
    """`group` of an object: groups are made one after another; `gc` deletes this one's objects when it is done."""

    id: int = 0
    gc: bool = False
    pause_before_gc_s: float = 0.0
    pause_after_gc_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ObjectSpec:
    """`objects[]` of a job. Of a create job: `template`; of the others: `kind` and `label_selector`."""

    template: str = ""
    replicas: int = 1
    input_vars: dict[str, Any] = field(default_factory=dict)
    kind: str = ""
    api_version: str = "v1"
    label_selector: dict[str, str] = field(default_factory=dict)
    wait: bool = True
    run_once: bool = False
    patch_type: str = ""
    wait_options: WaitSpec = field(default_factory=WaitSpec)
    kubevirt_op: str = ""
    churn: bool = True
    repeat_every: int = 1
    group: GroupSpec = field(default_factory=GroupSpec)


@dataclass(frozen=True, slots=True)
class ChurnSpec:
    """Deleting and making again a share of a job's objects; 0 cycles or seconds is no bound of that sort."""

    cycles: int = 0
    percent: int = 0
    duration_s: float = 0.0
    delay_s: float = 0.0
    delete_delay_s: float = 0.0
    mode: str = ""

    @property
    def enabled(self) -> bool:
        """Whether there is any."""
        return self.cycles > 0 or self.duration_s > 0


@dataclass(frozen=True, slots=True)
class HookSpec:
    """A command that runs at a stage of a job."""

    cmd: tuple[str, ...]
    when: str
    background: bool = False


@dataclass(frozen=True, slots=True)
class WatcherSpec:
    """`watchers[]`: background watches of a kind, in all namespaces."""

    kind: str
    api_version: str = "v1"
    label_selector: dict[str, str] = field(default_factory=dict)
    replicas: int = 1


@dataclass(frozen=True, slots=True)
class IncrementalSpec:
    """`incrementalLoad`: the job again and again with more iterations."""

    start: int
    total: int
    step_delay_s: float = 0.0
    pattern: str = "linear"
    min_steps: int = 0
    step_size: int = 1
    base: float = 2.0
    max_increase: int = 0
    warmup_steps: int = 0
    health_check_script: str = ""


@dataclass(frozen=True, slots=True)
class ArrivalSpec:
    """`arrival`: when requests leave, instead of at `qps` with a `burst`; times in seconds.

    Attributes:
        shape: constant, steps, ramp, poisson or replay.
        start_qps: Rate at the start of a ramp or of steps.
        end_qps: Rate at its end.
        duration_s: Of a ramp; it stays at its end afterwards.
        steps: How many.
        step_s: Length of each step.
        file: Of a replay: one offset in seconds a line.
        seed: Of poisson.
    """

    shape: str
    start_qps: float = 0.0
    end_qps: float = 0.0
    duration_s: float = 0.0
    steps: int = 1
    step_s: float = 0.0
    file: str = ""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One job; times in seconds."""

    name: str
    job_type: str = "create"
    job_iterations: int = 1
    job_iteration_delay_s: float = 0.0
    job_pause_s: float = 0.0
    namespace: str = ""
    namespaced_iterations: bool = True
    iterations_per_namespace: int = 1
    pre_create_namespaces: bool = False
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
    metrics_aggregate: bool = False
    metrics_closing: str = "afterJobPause"
    # With the global ones, and those of its own entry alone.
    measurements: tuple[MeasurementSpec, ...] = ()
    own_measurements: tuple[MeasurementSpec, ...] = ()
    objects: tuple[ObjectSpec, ...] = ()
    execution_mode: str = ""
    object_delay_s: float = 0.0
    object_wait: bool = False
    churn: ChurnSpec = field(default_factory=ChurnSpec)
    hooks: tuple[HookSpec, ...] = ()
    watchers: tuple[WatcherSpec, ...] = ()
    incremental: IncrementalSpec | None = None
    before_cleanup: str = ""
    parallel_with: str = ""
    kubeconfig: str = ""
    arrival: ArrivalSpec | None = None

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
            "preCreateNamespaces": self.pre_create_namespaces,
            "metricsAggregate": self.metrics_aggregate,
            "metricsClosing": self.metrics_closing,
            "skipIndexing": self.skip_indexing,
            "defaultMissingKeysWithZero": self.default_missing_keys_with_zero,
            "cleanup": self.cleanup,
            "errorOnVerify": self.error_on_verify,
            "namespacedIterations": self.namespaced_iterations,
            "verifyObjects": self.verify_objects,
            "waitForDeletion": self.wait_for_deletion,
            "waitWhenFinished": self.wait_when_finished,
            "executionMode": self.execution_mode,
            "objectDelay": _ns(self.object_delay_s),
            "objectWait": self.object_wait,
            "beforeCleanup": self.before_cleanup,
            "hooks": [
                {"cmd": list(hook.cmd), "when": hook.when} | ({"background": True} if hook.background else {})
                for hook in self.hooks
            ],
        }
        if compat != 1:
            others["measurements"] = [measurement.summary_document() for measurement in self.own_measurements]
        if self.incremental is not None:
            others["incrementalLoad"] = _incremental_document(self.incremental)
        document = {key: value for key, value in others.items() if value} | {"gc": self.gc}
        churn = self.churn
        if compat == 1:
            on = churn.enabled
            document |= {"churn": True} if on else {}
            values = {
                "churnCycles": churn.cycles if on else 100,
                "churnDelay": _ns(churn.delay_s if on else 300),
                "churnDuration": _ns(churn.duration_s if on else 3600),
                "churnPercent": churn.percent if on else 10,
            }
            document |= {key: value for key, value in values.items() if value}
        else:
            own: dict[str, Any] = {
                "cycles": churn.cycles,
                "percent": churn.percent,
                "duration": _ns(churn.duration_s),
                "delay": _ns(churn.delay_s),
                "deleteDelay": _ns(churn.delete_delay_s),
                "mode": churn.mode,
            }  # fmt: skip
            document["churnConfig"] = {key: value for key, value in own.items() if value}
        return document


def _incremental_document(load: IncrementalSpec) -> dict[str, Any]:
    shape: dict[str, Any] = {"base": load.base, "maxIncrease": load.max_increase, "warmupSteps": load.warmup_steps}
    if load.pattern == "linear":
        shape = {"minSteps": load.min_steps, "stepSize": load.step_size}
    pattern = {"type": load.pattern, load.pattern: {key: value for key, value in shape.items() if value}}
    document = {
        "startIterations": load.start,
        "totalIterations": load.total,
        "stepDelay": _ns(load.step_delay_s),
        "pattern": pattern,
        "healthCheckScript": load.health_check_script,
    }
    return {key: value for key, value in document.items() if value}


def _ns(seconds: float) -> int:
    return int(seconds * 1_000_000_000)


@dataclass(frozen=True, slots=True)
class GlobalSpec:
    """`global`."""

    measurements: tuple[MeasurementSpec, ...] = ()
    request_timeout_s: float = 60.0
    gc: bool = False
    gc_metrics: bool = False
    wait_when_finished: bool = False
    cluster_health: bool = False
    function_templates: tuple[str, ...] = ()
    deletion_strategy: str = "default"


@dataclass(frozen=True, slots=True)
class Spec:
    """A whole configuration; `warnings` are said when the run starts.

    `effective` is the document that it was read from: rendered, with what `--set` changed.
    """

    global_: GlobalSpec
    metrics_endpoints: tuple[EndpointSpec, ...]
    jobs: tuple[JobSpec, ...]
    warnings: tuple[str, ...] = ()
    effective: Mapping[str, Any] = field(default_factory=dict, compare=False)
