"""`measurements` of a configuration, global or a job's own, and which of them a type of job has."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from kubedyno.load.config.fields import Section
from kubedyno.load.config.spec import ConditionSpec, MeasurementSpec, ThresholdSpec

_KEYS = dict.fromkeys(
    (
        "name", "thresholds", "quantilesIndexer", "timeseriesIndexer", "pprofInterval", "pprofDirectory", "pprofTargets",
        "nodeAffinity", "svcTimeout", "esIndex", "config", "kind", "apiVersion", "conditions", "image",
    )
)  # fmt: skip
_METRICS = ("P99", "P95", "P50", "Avg", "Max")
_PODS = ("PodScheduled", "Initialized", "ContainersReady", "Ready", "PodReadyToStartContainers", "ContainersStarted")
_VMIM = ("Pending", "Scheduling", "Scheduled", "PreparingTarget", "TargetReady", "Running", "Succeeded")
# Measurement → conditions whose quantiles may have a threshold. The original lists fewer than it measures.
CONDITIONS: dict[str, tuple[str, ...]] = {
    "podLatency": _PODS,
    "jobLatency": ("StartTime", "Complete"),
    "nodeLatency": ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready"),
    "pvcLatency": ("Pending", "Bound", "Lost", "Resize", "Resized"),
    "serviceLatency": ("Ready", "IPAssigned"),
    "netpolLatency": ("Ready", "MinReady"),
    "vmiLatency": ("VMIPending", "VMIScheduling", "VMIScheduled", "VMIRunning", "VMICreated", "VMReady"),
    "vmimLatency": (*_VMIM, *(f"VirtualMachineInstanceMigration{name}" for name in _VMIM)),
    "dataVolumeLatency": ("Bound", "Running", "Ready"),
    "volumeSnapshotLatency": ("Ready",),
    "pprof": (),
    "conditionLatency": (),
}
# The job that `measure` makes up: it sends nothing.
WATCHING = "measure"
# Measurement → types of job that have it; absent: all.
_JOB_TYPES = {
    "podLatency": ("create", "patch", "delete"),
    "jobLatency": ("create", "patch"),
    "pvcLatency": ("create", "patch", "delete"),
    "serviceLatency": ("create", "patch"),
    "netpolLatency": ("create", "patch", "delete"),
    "vmiLatency": ("create", "kubevirt", "delete"),
    "vmimLatency": ("create", "kubevirt", "delete"),
    "dataVolumeLatency": ("create", "patch", "kubevirt"),
    "volumeSnapshotLatency": ("create", "patch", "kubevirt"),
}


def suits(measurement: str, job_type: str) -> bool:
    """Say whether a type of job has a measurement."""
    types = _JOB_TYPES.get(measurement)
    return types is None or job_type in types or job_type == WATCHING


def measurements(
    document: Any, path: tuple[str | int, ...], section: Section, warnings: list[str]
) -> tuple[MeasurementSpec, ...]:
    """Return the measurements listed in a section; unknown ones are warnings, as in the original.

    Raises:
        KubedynoError: One is wrong.
    """
    found = []
    for index in range(section.count("measurements")):
        here = (*path, "measurements", index)
        entry = Section(document, here, "types.Measurement", _KEYS)
        name = entry.text("name")
        if name not in CONDITIONS:
            warnings.append(f"Measurement [{name}] is not supported")
            continue
        conditions = _conditions(document, here, entry) if name == "conditionLatency" else ()
        if name == "conditionLatency" and not (entry.has("kind") and conditions):
            raise entry.fail((), "needs kind and conditions: what to watch, and which moments of it")
        names = tuple(c.name for c in conditions) or CONDITIONS[name]
        found.append(
            MeasurementSpec(
                name,
                _thresholds(document, here, entry, names),
                entry.text("quantilesIndexer"),
                entry.text("timeseriesIndexer"),
                entry.seconds("svcTimeout", 5.0),
                dict(entry.values),
                entry.text("apiVersion", "v1"),
                entry.text("kind"),
                conditions,
            )
        )
    return tuple(found)


def merged(general: Sequence[MeasurementSpec], own: Sequence[MeasurementSpec]) -> tuple[MeasurementSpec, ...]:
    """Return global measurements with a job's own merged over those of the same name."""
    by_name = {m.name: m for m in general if m.name != "conditionLatency"}
    others = [m for m in (*general, *own) if m.name == "conditionLatency"]
    for m in own:
        if m.name == "conditionLatency":
            continue
        known = by_name.get(m.name)
        by_name[m.name] = (
            m
            if known is None
            else replace(
                known,
                thresholds=m.thresholds or known.thresholds,
                quantiles_indexer=m.quantiles_indexer or known.quantiles_indexer,
                timeseries_indexer=m.timeseries_indexer or known.timeseries_indexer,
                service_timeout_s=m.service_timeout_s if "svcTimeout" in m.options else known.service_timeout_s,
                options=known.options | m.options,
            )
        )
    return (*by_name.values(), *others)


def _thresholds(
    document: Any, path: tuple[str | int, ...], entry: Section, names: Sequence[str]
) -> tuple[ThresholdSpec, ...]:
    found = []
    for number in range(entry.count("thresholds")):
        keys = dict.fromkeys(("conditionType", "metric", "threshold"))
        inner = Section(document, (*path, "thresholds", number), "types.LatencyThreshold", keys)
        condition, metric = inner.text("conditionType"), inner.text("metric")
        if condition not in names:
            raise inner.fail(("conditionType",), f"{condition!r} must be one of {', '.join(names)}")
        if metric not in _METRICS:
            raise inner.fail(("metric",), f"{metric!r} must be one of {', '.join(_METRICS)}")
        found.append(ThresholdSpec(condition, metric, int(inner.seconds("threshold", 0.0) * 1e9)))
    return tuple(found)


def _conditions(document: Any, path: tuple[str | int, ...], entry: Section) -> tuple[ConditionSpec, ...]:
    found = []
    for number in range(entry.count("conditions")):
        keys = dict.fromkeys(("name", "path", "value"))
        inner = Section(document, (*path, "conditions", number), "types.Condition", keys)
        if not inner.text("name") or not inner.text("path"):
            raise inner.fail((), "needs name and path, e.g. {name: Ready, path: '.status.phase', value: Bound}")
        found.append(ConditionSpec(inner.text("name"), inner.text("path"), inner.text("value", "true")))
    return tuple(found)
