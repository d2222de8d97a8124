"""A configuration file to a `Spec`: rendered as a template, `--set` applied, decoded strictly, checked.

Supported so far: create and delete jobs with what the study and kube-burner's everyday configurations use. Keys of
kube-burner that come later are refused by name when they are in use, never ignored.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kubedyno.base.errors import KubedynoError
from kubedyno.kube import yaml
from kubedyno.kube.names import problems_of_dns1123_subdomain
from kubedyno.load.config.fields import Section
from kubedyno.load.config.spec import (
    EndpointSpec,
    GlobalSpec,
    IndexerSpec,
    JobSpec,
    MeasurementSpec,
    ObjectSpec,
    Spec,
    ThresholdSpec,
)  # fmt: skip

Json = dict[str, Any]
# (template text, values, missing keys are errors) → text: the composition brings the template engine.
Render = Callable[[str, Mapping[str, Any], bool], str]

MAX_NAMESPACE = 62
CUT_NAMESPACE = 57
_LATENCY_CONDITIONS = ("PodScheduled", "Initialized", "ContainersReady", "Ready")
_LATENCY_METRICS = ("P99", "P95", "P50", "Avg", "Max")


def _truthy(value: Any) -> bool:
    return bool(value)


def _never(_value: Any) -> bool:
    return False


_TOP = dict.fromkeys(("global", "metricsEndpoints", "jobs"))
_GLOBAL = dict.fromkeys(("measurements", "requestTimeout", "gc", "waitWhenFinished", "timeout", "gcTimeout"))
_GLOBAL_LATER = {
    "gcMetrics": _truthy,
    "clusterHealth": _truthy,
    "functionTemplates": _truthy,
    "deletionStrategy": lambda value: value not in (None, "", "default"),
}
_ENDPOINT = dict.fromkeys(("indexer", "alias", "step", "skipTLSVerify"))
_ENDPOINT_LATER = dict.fromkeys(("endpoint", "metrics", "alerts", "token", "username", "password"), _truthy)
_INDEXER = dict.fromkeys(("type", "metricsDirectory"))
_INDEXER_LATER = dict.fromkeys(
    ("esServers", "defaultIndex", "insecureSkipVerify", "createTarball", "tarballName"), _truthy
)
_JOB = dict.fromkeys(
    (
        "name", "jobType", "jobIterations", "jobIterationDelay", "jobPause", "namespace", "namespacedIterations",
        "iterationsPerNamespace", "cleanup", "podWait", "waitWhenFinished", "maxWaitTimeout", "qps", "burst",
        "verifyObjects", "errorOnVerify", "skipIndexing", "preLoadImages", "preLoadPeriod", "preLoadNodeLabels",
        "preloadNodeLabels", "namespaceLabels", "namespaceAnnotations", "defaultMissingKeysWithZero",
        "waitForDeletion", "gc", "metricsClosing", "measurements", "objects", "preCreateNamespaces",
    )
)  # fmt: skip
_JOB_LATER: dict[str, Callable[[Any], bool]] = {
    "watchers": _truthy,
    "executionMode": lambda value: value not in (None, "", "sequential"),
    "objectDelay": lambda value: value not in (None, 0, "0", "0s"),
    "objectWait": _truthy,
    "metricsAggregate": _truthy,
    "hooks": _truthy,
    "churnConfig": lambda value: bool(value) and any(dict(value).get(k) for k in ("cycles", "duration")),
    "churn": _truthy,
    "churnCycles": _never,
    "churnPercent": _never,
    "churnDuration": _never,
    "churnDelay": _never,
    "churnDeletionStrategy": _never,
    "incrementalLoad": _truthy,
    "beforeCleanup": _truthy,
}
_OBJECT = dict.fromkeys(
    ("objectTemplate", "replicas", "inputVars", "kind", "apiVersion", "labelSelector", "wait", "runOnce")
)
_OBJECT_LATER: dict[str, Callable[[Any], bool]] = {
    "patchType": _truthy,
    "waitOptions": _truthy,
    "kubeVirtOp": _truthy,
    "churn": _never,
    "repeatEveryNIterations": lambda value: value not in (None, 0, 1),
    "group": _truthy,
}
_MEASUREMENT = dict.fromkeys(("name", "thresholds"))
_MEASUREMENT_LATER = dict.fromkeys(
    (
        "quantilesIndexer", "timeseriesIndexer", "pprofInterval", "pprofDirectory", "pprofTargets", "nodeAffinity",
        "svcTimeout", "esIndex", "config",
    ),
    _truthy,
)  # fmt: skip
_LATER_JOB_TYPES = ("read", "patch", "kubevirt")
_LATER_MEASUREMENTS = (
    "jobLatency", "nodeLatency", "pvcLatency", "serviceLatency", "netpolLatency", "vmiLatency", "vmimLatency",
    "dataVolumeLatency", "volumeSnapshotLatency", "pprof",
)  # fmt: skip


def load_config(
    path: str,
    *,
    render: Render,
    user_data: str | None = None,
    set_values: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    allow_missing: bool = False,
    compat: int = 2,
    uuid: str = "",
    timeout_s: float = 4 * 3600.0,
) -> Spec:
    """Read a configuration file.

    Args:
        path: The file.
        render: The template engine.
        user_data: File of template values; they win over the environment, as in the original.
        set_values: `a.b.c=v`, applied to the rendered file.
        env: Template values.
        allow_missing: A missing template value is no error.
        compat: 1 or 2: whose defaults.
        uuid: Template value `.UUID` (2.x).
        timeout_s: What a missing maxWaitTimeout means.

    Raises:
        KubedynoError: With file, line and path of the mistake.
    """
    text = _read(path, "config file")
    values: Json = dict(env or {})
    if user_data is not None:
        data = yaml.load(_read(user_data, "user data file"), user_data, words=False)
        if not isinstance(data, dict) or not data:
            raise KubedynoError(f"--user-data {user_data}: holds no mapping of values")
        values |= data
    if compat == 2:
        values["UUID"] = uuid
    try:
        text = render(text, values, not allow_missing)
    except ValueError as error:
        raise KubedynoError(f"error rendering configuration template: rendering error: {error}") from error
    try:
        document = yaml.load(text, strict=True, words=False)
    except yaml.YAMLError as error:
        raise KubedynoError(f"failed to parse config file: {path}: {error}") from error
    if document is None:
        document = {}
    for assignment in set_values:
        for one in assignment.split(","):
            _set(document, one)
    return _spec(document, compat, timeout_s)


def _read(path: str, what: str) -> str:
    if path.startswith(("http://", "https://")):
        raise KubedynoError(f"{path}: a {what} by URL is not supported yet; save it to a file")
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise KubedynoError(
            f"failed to open config file {path}: open {path}: no such file or directory; check the path"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise KubedynoError(f"{path}: cannot be read ({error})") from error


def _set(document: Any, assignment: str) -> None:
    path, equals, raw = assignment.partition("=")
    if not equals or not path:
        raise KubedynoError(f"--set {assignment}: write PATH=VALUE, for example jobs.0.qps=5")
    place = document
    steps = path.split(".")
    for position, step in enumerate(steps):
        last = position == len(steps) - 1
        if isinstance(place, list):
            if not step.isdigit() or int(step) >= len(place):
                raise KubedynoError(f"--set {assignment}: there is no item {step} at {'.'.join(steps[:position])}")
            if last:
                place[int(step)] = _set_value(raw)
            else:
                place = place[int(step)]
        elif isinstance(place, dict):
            if last:
                place[step] = _set_value(raw)
            else:
                place = place.setdefault(step, {})
        else:
            raise KubedynoError(f"--set {assignment}: {'.'.join(steps[:position])} holds no {step}")


def _set_value(raw: str) -> Any:
    for kind in (int, float):
        try:
            return kind(raw)
        except ValueError:
            continue
    if raw in {"true", "t", "T", "TRUE", "True"}:
        return True
    if raw in {"false", "f", "F", "FALSE", "False"}:
        return False
    return raw


def _spec(document: Any, compat: int, timeout_s: float) -> Spec:
    top = Section(document, (), "config.Spec", _TOP)
    warnings: list[str] = []
    general = GlobalSpec()
    if top.has("global"):
        section = Section(document, ("global",), "config.GlobalConfig", _GLOBAL, _GLOBAL_LATER)
        general = GlobalSpec(
            measurements=_measurements(document, ("global",), section, warnings),
            request_timeout_s=section.seconds("requestTimeout", 60.0),
            gc=section.boolean("gc", False),
            wait_when_finished=section.boolean("waitWhenFinished", False),
        )
        if section.has("gcTimeout") and compat == 2:
            warnings.append("global.gcTimeout is 1.x's: the run's --timeout bounds garbage collection")
    endpoints = tuple(_endpoint(document, i) for i in range(top.count("metricsEndpoints")))
    count = top.count("jobs")
    if not count:
        raise KubedynoError("failed to parse config file: configuration file: there are no jobs; list at least one")
    jobs = tuple(_job(document, i, general, compat, timeout_s, warnings) for i in range(count))
    names = [job.name for job in jobs]
    if len(set(names)) != len(names):
        raise KubedynoError("Job names must be unique")
    if general.wait_when_finished and any(job.gc for job in jobs):
        raise KubedynoError("jobs GC and global waitWhenFinished cannot be enabled at the same time; drop one of them")
    return Spec(general, endpoints, jobs, tuple(warnings))


def _endpoint(document: Any, index: int) -> EndpointSpec:
    path = ("metricsEndpoints", index)
    section = Section(document, path, "config.MetricsEndpoint", _ENDPOINT, _ENDPOINT_LATER)
    indexer = None
    if section.has("indexer"):
        inner = Section(document, (*path, "indexer"), "config.IndexerConfig", _INDEXER, _INDEXER_LATER)
        kind = inner.text("type")
        if kind != "local":
            known = kind in {"opensearch", "elastic", "tsdb"}
            raise inner.fail(
                ("type",),
                f"{kind!r} is not supported yet; use local" if known else f"{kind!r} is no indexer; use local",
            )
        indexer = IndexerSpec(kind, inner.text("metricsDirectory", "collected-metrics-{{.UUID}}"))
    return EndpointSpec(section.text("alias"), indexer)


def _measurements(
    document: Any, path: tuple[str | int, ...], section: Section, warnings: list[str]
) -> tuple[MeasurementSpec, ...]:
    found = []
    for index in range(section.count("measurements")):
        here = (*path, "measurements", index)
        entry = Section(document, here, "types.Measurement", _MEASUREMENT, _MEASUREMENT_LATER)
        name = entry.text("name")
        if name in _LATER_MEASUREMENTS:
            raise entry.fail(("name",), f"{name} is not supported yet; podLatency is")
        if name != "podLatency":
            warnings.append(f"Measurement [{name}] is not supported")
            continue
        thresholds = []
        for number in range(entry.count("thresholds")):
            inner = Section(
                document,
                (*here, "thresholds", number),
                "types.LatencyThreshold",
                dict.fromkeys(("conditionType", "metric", "threshold")),
            )
            condition, metric = inner.text("conditionType"), inner.text("metric")
            if condition not in _LATENCY_CONDITIONS:
                raise inner.fail(("conditionType",), f"{condition!r} must be one of {', '.join(_LATENCY_CONDITIONS)}")
            if metric not in _LATENCY_METRICS:
                raise inner.fail(("metric",), f"{metric!r} must be one of {', '.join(_LATENCY_METRICS)}")
            thresholds.append(ThresholdSpec(condition, metric, int(inner.seconds("threshold", 0.0) * 1e9)))
        found.append(MeasurementSpec(name, tuple(thresholds)))
    return tuple(found)


def _refuse_later_type(document: Any, index: int) -> None:
    """Refuse a kind of job that comes later by that, not by one of its keys."""
    job = document["jobs"][index]
    kind = job.get("jobType") if isinstance(job, dict) else None
    if kind in _LATER_JOB_TYPES:
        line = yaml.line_of(document, "jobs", index, "jobType")
        raise KubedynoError(
            f"failed to parse config file: configuration file: line {line}: jobs[{index}].jobType {kind} is not supported "
            "yet; create and delete are"
        )


def _job(document: Any, index: int, general: GlobalSpec, compat: int, timeout_s: float, warnings: list[str]) -> JobSpec:
    path = ("jobs", index)
    _refuse_later_type(document, index)
    section = Section(document, path, "config.rawJob", _JOB, _JOB_LATER)
    name = section.text("name")
    if not name:
        raise section.fail((), "needs a name")
    problems = problems_of_dns1123_subdomain(name)
    if problems:
        raise section.fail(("name",), f"{name!r} is no valid name: {problems[0]}")
    job_type = section.text("jobType", "create")
    if job_type not in {"create", "delete"}:
        near = difflib.get_close_matches(job_type, ("create", "delete", *_LATER_JOB_TYPES), 1, 0.6)
        hint = f"did you mean {near[0]}?" if near else "create and delete are known"
        raise section.fail(("jobType",), f"Unknown jobType: {job_type}; {hint}")
    creates = job_type == "create"
    namespace = section.text("namespace")
    if len(namespace) > MAX_NAMESPACE:
        warnings.append(f"Namespace {namespace} length has > 62 characters, truncating it")
        namespace = namespace[:CUT_NAMESPACE]
    if creates and namespace:
        problems = problems_of_dns1123_subdomain(namespace)
        if problems:
            raise section.fail(("namespace",), f"{namespace!r} is no valid name: {problems[0]}")
    iterations = section.integer("jobIterations", 1 if compat == 2 else 0)
    if not creates:
        iterations = 1
    if iterations < 1:
        raise KubedynoError(f"Job {name} has < 1 iterations")
    per_namespace = section.integer("iterationsPerNamespace", 1)
    if per_namespace < 1:
        raise section.fail(("iterationsPerNamespace",), f"must be at least 1, not {per_namespace}")
    qps, burst = section.number("qps", 0.0), section.integer("burst", 0)
    if qps <= 0:
        warnings.append(f"{name}: Invalid QPS ({qps:g}); using default: 5")
        qps = 5.0
    if burst <= 0:
        warnings.append(f"{name}: Invalid Burst ({burst}); using default: 10")
        burst = 10
    wait_s = section.seconds("maxWaitTimeout", 0.0)
    closing = section.text("metricsClosing", "afterJobPause")
    if closing not in {"afterJob", "afterJobPause", "afterMeasurements"}:
        raise section.fail(("metricsClosing",), f"{closing!r} must be afterJob, afterJobPause or afterMeasurements")
    own = _measurements(document, path, section, warnings)
    waits_at_the_end = general.wait_when_finished
    objects = tuple(_object(document, (*path, "objects", i), job_type, compat) for i in range(section.count("objects")))
    return JobSpec(
        name=name,
        job_type=job_type,
        job_iterations=iterations,
        job_iteration_delay_s=section.seconds("jobIterationDelay", 0.0),
        job_pause_s=section.seconds("jobPause", 0.0),
        namespace=namespace,
        namespaced_iterations=section.boolean("namespacedIterations", True),
        iterations_per_namespace=per_namespace,
        cleanup=section.boolean("cleanup", True),
        pod_wait=section.boolean("podWait", False) and not waits_at_the_end and creates,
        wait_when_finished=section.boolean("waitWhenFinished", True) and not waits_at_the_end and creates,
        max_wait_timeout_s=wait_s or timeout_s,
        qps=qps,
        burst=burst,
        verify_objects=section.boolean("verifyObjects", True),
        error_on_verify=section.boolean("errorOnVerify", True),
        skip_indexing=section.boolean("skipIndexing", False),
        pre_load_images=section.boolean("preLoadImages", True) and creates,
        pre_load_period_s=section.seconds("preLoadPeriod", 600.0 if compat == 2 else 60.0),
        pre_load_node_labels=section.strings("preLoadNodeLabels") or section.strings("preloadNodeLabels"),
        namespace_labels=section.strings("namespaceLabels"),
        namespace_annotations=section.strings("namespaceAnnotations"),
        default_missing_keys_with_zero=section.boolean("defaultMissingKeysWithZero", False),
        wait_for_deletion=section.boolean("waitForDeletion", True),
        gc=section.boolean("gc", False),
        metrics_closing=closing,
        measurements=own or general.measurements,
        objects=objects,
    )


def _object(document: Any, path: tuple[str | int, ...], job_type: str, compat: int) -> ObjectSpec:
    section = Section(document, path, "config.rawObject", _OBJECT, _OBJECT_LATER)
    template, kind = section.text("objectTemplate"), section.text("kind")
    selector = section.strings("labelSelector")
    if job_type == "create" and not template:
        raise section.fail((), "needs objectTemplate, the file that its objects are made from")
    if job_type == "delete":
        if not kind:
            raise section.fail((), "needs kind, what to delete")
        if not selector:
            raise KubedynoError(f"Empty labelSelectors not allowed with: {kind}")
    return ObjectSpec(
        template=template,
        replicas=section.integer("replicas", 1 if compat == 2 else 0),
        input_vars=section.mapping("inputVars"),
        kind=kind,
        api_version=section.text("apiVersion", "v1"),
        label_selector=selector,
        wait=section.boolean("wait", True),
        run_once=section.boolean("runOnce", False),
    )
