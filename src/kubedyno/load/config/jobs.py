"""`jobs` of a configuration: one mapping each to a `JobSpec`, with the keys of both versions of kube-burner."""

import difflib
from typing import Any

from kubedyno.base.errors import KubedynoError
from kubedyno.kube.names import problems_of_dns1123_subdomain
from kubedyno.load.config import measuring
from kubedyno.load.config.fields import Section
from kubedyno.load.config.spec import (
    ArrivalSpec,
    ChurnSpec,
    GlobalSpec,
    GroupSpec,
    HookSpec,
    IncrementalSpec,
    JobSpec,
    ObjectSpec,
    StatusPath,
    WaitSpec,
    WatcherSpec,
)

Path = tuple[str | int, ...]

MAX_NAMESPACE = 62
CUT_NAMESPACE = 57
JOB_TYPES = ("create", "delete", "patch", "read", "kubevirt")
PATCH_TYPES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
STAGES = (
    "beforeJobExecution", "afterJobExecution", "beforeChurn", "afterChurn", "onEachIteration", "beforeCleanup",
    "afterCleanup", "beforeGC", "afterGC",
)  # fmt: skip
KUBEVIRT_OPS = ("start", "stop", "restart", "pause", "unpause", "migrate", "add-volume", "remove-volume")
_JOB = dict.fromkeys(
    (
        "name", "jobType", "jobIterations", "jobIterationDelay", "jobPause", "namespace", "namespacedIterations",
        "iterationsPerNamespace", "cleanup", "podWait", "waitWhenFinished", "maxWaitTimeout", "qps", "burst",
        "verifyObjects", "errorOnVerify", "skipIndexing", "preLoadImages", "preLoadPeriod", "preLoadNodeLabels",
        "preloadNodeLabels", "namespaceLabels", "namespaceAnnotations", "defaultMissingKeysWithZero",
        "waitForDeletion", "gc", "metricsClosing", "measurements", "objects", "preCreateNamespaces", "watchers",
        "executionMode", "objectDelay", "objectWait", "metricsAggregate", "hooks", "churnConfig", "churn",
        "churnCycles", "churnPercent", "churnDuration", "churnDelay", "churnDeletionStrategy", "incrementalLoad",
        "beforeCleanup", "parallelWith", "arrival", "kubeconfig",
    )
)  # fmt: skip
_OBJECT = dict.fromkeys(
    (
        "objectTemplate", "replicas", "inputVars", "kind", "apiVersion", "labelSelector", "wait", "runOnce", "patchType",
        "waitOptions", "kubeVirtOp", "churn", "repeatEveryNIterations", "group",
    )
)  # fmt: skip


def job(document: Any, index: int, general: GlobalSpec, compat: int, timeout_s: float, warnings: list[str]) -> JobSpec:
    """Return one job.

    Args:
        document: The whole configuration.
        index: Which of its jobs.
        general: `global`.
        compat: 1 or 2: whose defaults.
        timeout_s: What a missing maxWaitTimeout means.
        warnings: Added to.

    Raises:
        KubedynoError: With line and path of the mistake.
    """
    path = ("jobs", index)
    section = Section(document, path, "config.rawJob", _JOB)
    name = section.text("name")
    if not name:
        raise section.fail((), "needs a name")
    problems = problems_of_dns1123_subdomain(name)
    if problems:
        raise section.fail(("name",), f"{name!r} is no valid name: {problems[0]}")
    job_type = section.text("jobType", "create")
    if job_type not in JOB_TYPES:
        near = difflib.get_close_matches(job_type, JOB_TYPES, 1, 0.6)
        hint = f"did you mean {near[0]}?" if near else f"{', '.join(JOB_TYPES)} are known"
        raise section.fail(("jobType",), f"Unknown jobType: {job_type}; {hint}")
    creates, deletes = job_type == "create", job_type == "delete"
    namespace = section.text("namespace")
    if len(namespace) > MAX_NAMESPACE:
        warnings.append(f"Namespace {namespace} length has > 62 characters, truncating it")
        namespace = namespace[:CUT_NAMESPACE]
    if creates and namespace:
        problems = problems_of_dns1123_subdomain(namespace)
        if problems:
            raise section.fail(("namespace",), f"{namespace!r} is no valid name: {problems[0]}")
    incremental = _incremental(document, path, section)
    iterations = section.integer("jobIterations", 1 if compat == 2 or incremental else 0)
    if deletes:
        iterations = 1
    if iterations < 1:
        raise KubedynoError(f"Job {name} has < 1 iterations")
    per_namespace = section.integer("iterationsPerNamespace", 1)
    if per_namespace < 1:
        raise section.fail(("iterationsPerNamespace",), f"must be at least 1, not {per_namespace}")
    qps, burst = section.number("qps", 0.0), section.integer("burst", 0)
    arrival = _arrival(document, path, section, qps if qps > 0 else 5.0)
    if arrival is not None:
        # Another schedule than a rate with a burst: its shape says what is asked.
        qps, burst = qps if qps > 0 else 5.0, 1
    if qps <= 0:
        warnings.append(f"{name}: Invalid QPS ({qps:g}); using default: 5")
        qps = 5.0
    if burst <= 0:
        warnings.append(f"{name}: Invalid Burst ({burst}); using default: 10")
        burst = 10
    closing = section.text("metricsClosing", "afterJobPause")
    if closing not in {"afterJob", "afterJobPause", "afterMeasurements"}:
        raise section.fail(("metricsClosing",), f"{closing!r} must be afterJob, afterJobPause or afterMeasurements")
    own = measuring.measurements(document, path, section, warnings)
    waits_at_the_end = general.wait_when_finished
    churn = _churn(document, path, section, compat)
    namespaced = section.boolean("namespacedIterations", True)
    if compat == 1 and churn.enabled and not namespaced:
        raise KubedynoError("Cannot have Churn enabled without Namespaced Iterations also enabled")
    objects = tuple(_object(document, (*path, "objects", i), job_type, compat) for i in range(section.count("objects")))
    for number, item in enumerate(objects):
        if item.run_once and item.repeat_every > 1:
            raise section.fail(("objects", number), "runOnce and repeatEveryNIterations exclude each other")
    return JobSpec(
        name=name,
        job_type=job_type,
        job_iterations=iterations,
        job_iteration_delay_s=section.seconds("jobIterationDelay", 0.0),
        job_pause_s=section.seconds("jobPause", 0.0),
        namespace=namespace,
        namespaced_iterations=namespaced,
        iterations_per_namespace=per_namespace,
        pre_create_namespaces=section.boolean("preCreateNamespaces", False),
        cleanup=section.boolean("cleanup", True),
        pod_wait=section.boolean("podWait", False) and not waits_at_the_end and creates,
        wait_when_finished=section.boolean("waitWhenFinished", True) and not waits_at_the_end and not deletes,
        max_wait_timeout_s=section.seconds("maxWaitTimeout", 0.0) or timeout_s,
        qps=qps,
        burst=burst,
        verify_objects=section.boolean("verifyObjects", True),
        error_on_verify=section.boolean("errorOnVerify", True),
        skip_indexing=section.boolean("skipIndexing", False),
        pre_load_images=section.boolean("preLoadImages", True) and not deletes,
        pre_load_period_s=section.seconds("preLoadPeriod", 600.0 if compat == 2 else 60.0),
        pre_load_node_labels=section.strings("preLoadNodeLabels") or section.strings("preloadNodeLabels"),
        namespace_labels=section.strings("namespaceLabels"),
        namespace_annotations=section.strings("namespaceAnnotations"),
        default_missing_keys_with_zero=section.boolean("defaultMissingKeysWithZero", False),
        wait_for_deletion=section.boolean("waitForDeletion", True),
        gc=section.boolean("gc", False),
        metrics_aggregate=section.boolean("metricsAggregate", False),
        metrics_closing=closing,
        measurements=measuring.merged(general.measurements, own),
        own_measurements=own,
        objects=objects,
        execution_mode=_execution_mode(section, job_type),
        object_delay_s=section.seconds("objectDelay", 0.0),
        object_wait=section.boolean("objectWait", False),
        churn=churn,
        hooks=_hooks(document, path, section),
        watchers=_watchers(document, path, section),
        incremental=incremental,
        before_cleanup=section.text("beforeCleanup"),
        parallel_with=section.text("parallelWith"),
        kubeconfig=section.text("kubeconfig"),
        arrival=arrival,
    )


def _execution_mode(section: Section, job_type: str) -> str:
    """Return what a job of a type does with the key: only patch and kubevirt jobs have the choice."""
    given = section.text("executionMode")
    if job_type == "create":
        return given
    if job_type in {"delete", "read"}:
        return "sequential"
    mode = given or ("parallel" if job_type == "patch" else "sequential")
    if mode not in {"parallel", "sequential"}:
        raise section.fail(("executionMode",), f"Unsupported Execution Mode: {mode}; parallel and sequential are known")
    return mode


def _churn(document: Any, path: Path, section: Section, compat: int) -> ChurnSpec:
    keys = dict.fromkeys(("cycles", "percent", "duration", "delay", "deleteDelay", "mode"))
    if section.has("churnConfig"):
        inner = Section(document, (*path, "churnConfig"), "config.ChurnConfig", keys)
        mode = inner.text("mode", "namespaces")
        if mode not in {"", "namespaces", "objects"}:
            raise inner.fail(("mode",), f"{mode!r} must be namespaces or objects")
        churn = ChurnSpec(
            inner.integer("cycles", 0),
            inner.integer("percent", 0),
            inner.seconds("duration", 0.0),
            inner.seconds("delay", 0.0),
            inner.seconds("deleteDelay", 0.0),
            mode,
        )
        if not 0 <= churn.percent <= 100:
            raise inner.fail(("percent",), f"must be between 0 and 100, not {churn.percent}")
        return churn
    if not section.boolean("churn", False):
        return ChurnSpec()
    percent = section.integer("churnPercent", 10)
    if not 0 <= percent <= 100:
        raise section.fail(("churnPercent",), f"must be between 0 and 100, not {percent}")
    return ChurnSpec(
        section.integer("churnCycles", 100),
        percent,
        section.seconds("churnDuration", 3600.0),
        section.seconds("churnDelay", 300.0),
        0.0,
        "" if compat == 1 else "namespaces",
    )


def _hooks(document: Any, path: Path, section: Section) -> tuple[HookSpec, ...]:
    found = []
    for number in range(section.count("hooks")):
        keys = dict.fromkeys(("cmd", "when", "background"))
        inner = Section(document, (*path, "hooks", number), "config.Hook", keys)
        when, cmd = inner.text("when"), inner.texts("cmd")
        if when not in STAGES:
            raise inner.fail(("when",) if inner.has("when") else (), f"{when!r} must be one of {', '.join(STAGES)}")
        if not cmd:
            raise inner.fail((), "needs cmd, the command as a list of words")
        found.append(HookSpec(cmd, when, inner.boolean("background", False)))
    return tuple(found)


def _watchers(document: Any, path: Path, section: Section) -> tuple[WatcherSpec, ...]:
    found = []
    for number in range(section.count("watchers")):
        keys = dict.fromkeys(("kind", "apiVersion", "labelSelector", "replicas"))
        inner = Section(document, (*path, "watchers", number), "config.Watcher", keys)
        if not inner.text("kind"):
            raise inner.fail((), "needs kind, what to watch")
        found.append(
            WatcherSpec(
                inner.text("kind"),
                inner.text("apiVersion", "v1"),
                inner.strings("labelSelector"),
                inner.integer("replicas", 1),
            )
        )
    return tuple(found)


def _incremental(document: Any, path: Path, section: Section) -> IncrementalSpec | None:
    if not section.has("incrementalLoad"):
        return None
    here = (*path, "incrementalLoad")
    keys = dict.fromkeys(("startIterations", "totalIterations", "stepDelay", "pattern", "healthCheckScript"))
    inner = Section(document, here, "config.IncrementalLoad", keys)
    start = inner.integer("startIterations", section.integer("jobIterations", 1))
    total = inner.integer("totalIterations", start)
    if start < 1 or total < start:
        raise inner.fail((), f"needs 1 <= startIterations <= totalIterations, not {start} and {total}")
    pattern, min_steps, step_size, base, increase, warm = "linear", 0, 1, 2.0, 0, 0
    if inner.has("pattern"):
        form = Section(
            document, (*here, "pattern"), "config.LoadPattern", dict.fromkeys(("type", "linear", "exponential"))
        )
        pattern = form.text("type", "linear")
        if pattern not in {"linear", "exponential"}:
            raise form.fail(("type",), f"{pattern!r} must be linear or exponential")
        if form.has("linear"):
            keys = dict.fromkeys(("minSteps", "stepSize"))
            part = Section(document, (*here, "pattern", "linear"), "config.LinearConfig", keys)
            min_steps, step_size = part.integer("minSteps", 0), part.integer("stepSize", 1)
        if form.has("exponential"):
            keys = dict.fromkeys(("base", "maxIncrease", "warmupSteps"))
            part = Section(document, (*here, "pattern", "exponential"), "config.ExponentialConfig", keys)
            base, increase = part.number("base", 2.0), part.integer("maxIncrease", 0)
            warm = part.integer("warmupSteps", 0)
    if step_size < 1 or base <= 1:
        raise inner.fail((), "needs a stepSize of at least 1 and a base above 1")
    return IncrementalSpec(
        start, total, inner.seconds("stepDelay", 0.0), pattern, min_steps, step_size, base, increase, warm,
        inner.text("healthCheckScript"),
    )  # fmt: skip


def _arrival(document: Any, path: Path, section: Section, qps: float) -> ArrivalSpec | None:
    if not section.has("arrival"):
        return None
    keys = dict.fromkeys(
        ("shape", "startQps", "endQps", "duration", "steps", "stepDuration", "file", "seed")
    )  # fmt: skip
    inner = Section(document, (*path, "arrival"), "config.Arrival", keys)
    shape = inner.text("shape", "constant")
    if shape not in {"constant", "steps", "ramp", "poisson", "replay"}:
        raise inner.fail(("shape",), f"{shape!r} must be constant, steps, ramp, poisson or replay")
    found = ArrivalSpec(
        shape,
        inner.number("startQps", qps),
        inner.number("endQps", qps),
        inner.seconds("duration", 0.0),
        inner.integer("steps", 1),
        inner.seconds("stepDuration", 0.0),
        inner.text("file"),
        inner.integer("seed", 0),
    )
    if found.start_qps <= 0 or found.end_qps <= 0:
        raise inner.fail((), "needs rates above 0")
    if shape == "ramp" and found.duration_s <= 0:
        raise inner.fail((), "a ramp needs duration, how long it rises")
    if shape == "steps" and (found.steps < 1 or found.step_s <= 0):
        raise inner.fail((), "steps need steps and stepDuration")
    if shape == "replay" and not found.file:
        raise inner.fail((), "a replay needs file: one offset in seconds a line")
    return found


def _object(document: Any, path: Path, job_type: str, compat: int) -> ObjectSpec:
    section = Section(document, path, "config.rawObject", _OBJECT)
    template, kind = section.text("objectTemplate"), section.text("kind")
    selector = section.strings("labelSelector")
    if job_type == "kubevirt":
        kind = kind or "VirtualMachine"
    patch_type, operation = section.text("patchType"), section.text("kubeVirtOp")
    if job_type in {"create", "patch"} and not template:
        made = "its objects are" if job_type == "create" else "its patches are"
        raise section.fail((), f"needs objectTemplate, the file that {made} made from")
    if job_type != "create":
        if not kind:
            raise section.fail((), f"needs kind, what to {job_type}")
        if not selector:
            raise KubedynoError(f"Empty labelSelectors not allowed with: {kind}")
    if job_type == "patch":
        if patch_type not in PATCH_TYPES:
            place = ("patchType",) if section.has("patchType") else ()
            raise section.fail(place, f"needs a patchType, one of {', '.join(PATCH_TYPES)}, not {patch_type!r}")
        if patch_type == PATCH_TYPES[3] and template.endswith("json"):
            raise section.fail(("objectTemplate",), f"{patch_type} needs a YAML template")
    if job_type == "kubevirt" and operation not in KUBEVIRT_OPS:
        raise section.fail(("kubeVirtOp",) if operation else (), f"needs kubeVirtOp, one of {', '.join(KUBEVIRT_OPS)}")
    repeat = section.integer("repeatEveryNIterations", 1)
    if repeat < 1:
        raise section.fail(("repeatEveryNIterations",), f"must be at least 1, not {repeat}")
    return ObjectSpec(
        template=template,
        replicas=section.integer("replicas", 1 if compat == 2 else 0),
        input_vars=section.mapping("inputVars"),
        kind=kind,
        api_version=section.text("apiVersion", "kubevirt.io/v1" if job_type == "kubevirt" else "v1"),
        label_selector=selector,
        wait=section.boolean("wait", True),
        run_once=section.boolean("runOnce", False),
        patch_type=patch_type,
        wait_options=_wait(document, path, section),
        kubevirt_op=operation,
        churn=section.boolean("churn", True),
        repeat_every=repeat,
        group=_group(document, path, section),
    )


def _wait(document: Any, path: Path, section: Section) -> WaitSpec:
    if not section.has("waitOptions"):
        return WaitSpec()
    here = (*path, "waitOptions")
    keys = dict.fromkeys(("apiVersion", "kind", "labelSelector", "customStatusPaths"))
    inner = Section(document, here, "config.WaitOptions", keys)
    paths = []
    for number in range(inner.count("customStatusPaths")):
        entry = Section(
            document, (*here, "customStatusPaths", number), "config.StatusPath", dict.fromkeys(("key", "value"))
        )
        if not entry.text("key"):
            raise entry.fail((), "needs key, a jq path over .status")
        paths.append(StatusPath(entry.text("key"), entry.text("value")))
    return WaitSpec(inner.text("apiVersion"), inner.text("kind"), inner.strings("labelSelector"), tuple(paths))


def _group(document: Any, path: Path, section: Section) -> GroupSpec:
    if not section.has("group"):
        return GroupSpec()
    keys = dict.fromkeys(("id", "gc", "pauseBeforeGC", "pauseAfterGC"))
    inner = Section(document, (*path, "group"), "config.Group", keys)
    number = inner.integer("id", 0)
    if number < 0:
        raise inner.fail(("id",), f"must not be negative, not {number}")
    return GroupSpec(
        number, inner.boolean("gc", False), inner.seconds("pauseBeforeGC", 0.0), inner.seconds("pauseAfterGC", 0.0)
    )
