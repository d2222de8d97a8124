"""Runs as kube-burner's own documents tell them: what the original has written, and what a killed run of ours has left.

In: a metrics directory with `jobSummary.json`, `…QuantilesMeasurement-JOB.json`, `…Measurement-JOB.json`. Out: run documents
as far as these say it: no requests, no walls, latencies by the API's stamps.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from kubedyno.base.errors import KubedynoError
from kubedyno.base.times import epoch_of
from kubedyno.documents import circumstances
from kubedyno.documents.circumstances import ConfigDocument
from kubedyno.documents.run import FILE_NAME, Figures, JobDocument, RunDocument, Target, read_runs

KIND = "kube-burner"
SUMMARY = "jobSummary"
_QUANTILES = "QuantilesMeasurement"
_PODS = "podLatency"
# As a shell tells of a process that SIGKILL has ended.
EXIT_KILLED = 137
KILLED = "it was killed, or is still running: there is no jobSummary of it"
_NOT_MEASURED = (
    "requests, their rates and latencies: kube-burner's documents do not tell them",
    "startup by watch: latencies are by the API's own stamps, whole seconds where it has no finer ones",
)


class _Job(msgspec.Struct):
    name: str = ""
    jobType: str = "create"
    jobIterations: int = 0
    qps: float = 0.0
    burst: int = 0


class _Summary(msgspec.Struct):
    uuid: str
    timestamp: str
    endTimestamp: str = ""
    elapsedTime: float = 0.0
    version: str = ""
    passed: bool = True
    executionErrors: str = ""
    jobConfig: _Job = msgspec.field(default_factory=_Job)
    achievedQps: float = 0.0
    k8sVersion: str = ""
    totalNodes: int = 0


class _Quantile(msgspec.Struct):
    uuid: str
    quantileName: str
    timestamp: str
    P99: float
    P95: float
    P50: float
    max: float
    avg: float
    min: float = 0.0
    metricName: str = ""
    jobName: str = ""


class _Object(msgspec.Struct):
    uuid: str = ""
    jobName: str = ""


def runs_in(directory: Path) -> list[RunDocument]:
    """Return the runs of a metrics directory, oldest first: kubedyno's own documents, and of others what kube-burner's say.

    Raises:
        KubedynoError: There is no run in it, or a damaged one.
    """
    own = read_runs(directory) if (directory / f"{FILE_NAME}.json").exists() else []
    known = {run.uuid for run in own}
    others = [run for run in _told(directory) if run.uuid not in known]
    if not own and not others:
        if (directory / f"{circumstances.CONFIG}.json").exists():
            raise KubedynoError(
                f"{directory}: the run was killed before its first job had ended, or runs still: it has left its configuration alone"
            )
        raise KubedynoError(
            f"{directory}: no run in it (no {FILE_NAME}.json, {SUMMARY}.json or …{_QUANTILES}-JOB.json); "
            "name the metrics directory of a run"
        )
    return sorted([*own, *others], key=lambda run: run.started)


def has_any(directory: Path) -> bool:
    """Say whether a directory has a run's own document or kube-burner's."""
    names = (f"{FILE_NAME}.json", f"{SUMMARY}.json", f"*{_QUANTILES}-*.json")
    return any(_named(directory, name) for name in names)


def as_kube_burner(directory: Path) -> list[RunDocument]:
    """Return all runs of a directory as kube-burner's documents tell them, kubedyno's, too: these can be compared with its.

    Raises:
        KubedynoError: There is none, or a document cannot be read.
    """
    found = _told(directory)
    if not found:
        raise KubedynoError(f"{directory}: no {SUMMARY}.json of kube-burner in it")
    return found


def _told(directory: Path) -> list[RunDocument]:
    summaries = _read(directory / f"{SUMMARY}.json", _Summary)
    quantiles: list[_Quantile] = []
    for path in _named(directory, f"*{_QUANTILES}-*.json"):
        quantiles += _read(path, _Quantile)
    if not summaries and not quantiles:
        return []
    counts = _counts(directory)
    uuids = dict.fromkeys([*(each.uuid for each in summaries), *(each.uuid for each in quantiles)])
    found = []
    for uuid in uuids:
        mine = [each for each in summaries if each.uuid == uuid]
        measured = [each for each in quantiles if each.uuid == uuid]
        of_config = [each for each in _configs(directory) if each.uuid == uuid]
        found.append(_run(uuid, mine, measured, counts, of_config[-1] if of_config else None, directory))
    return sorted(found, key=lambda run: run.started)


def _named(directory: Path, pattern: str) -> list[Path]:
    try:
        return sorted(directory.glob(pattern))
    except OSError as error:
        raise KubedynoError(f"{directory}: cannot be read ({error.strerror})") from error


def _read(path: Path, kind: type[Any]) -> list[Any]:
    try:
        return list(msgspec.json.decode(path.read_bytes(), type=list[kind]))  # type: ignore[valid-type]
    except FileNotFoundError:
        return []
    except (OSError, msgspec.DecodeError) as error:
        raise KubedynoError(f"{path}: cannot be read as documents of kube-burner ({error})") from error


def _configs(directory: Path) -> list[ConfigDocument]:
    """Return the configurations that kubedyno wrote; a damaged file says nothing."""
    try:
        return _read(directory / f"{circumstances.CONFIG}.json", ConfigDocument)
    except KubedynoError:
        return []


def _counts(directory: Path) -> dict[tuple[str, str, str], int]:
    """Return how many objects were measured, by uuid, job and measurement."""
    found: dict[tuple[str, str, str], int] = {}
    for path in _named(directory, "*Measurement-*.json"):
        kind, _, _ = path.name.partition("Measurement-")
        if kind.endswith("Quantiles"):
            continue
        for each in _read(path, _Object):
            key = (each.uuid, each.jobName, kind)
            found[key] = found.get(key, 0) + 1
    return found


def _run(
    uuid: str,
    summaries: list[_Summary],
    quantiles: list[_Quantile],
    counts: dict[tuple[str, str, str], int],
    config: ConfigDocument | None,
    directory: Path,
) -> RunDocument:
    stamps = _ordered([*(each.timestamp for each in summaries), *(each.timestamp for each in quantiles)])
    ends = _ordered([each.endTimestamp for each in summaries if each.endTimestamp]) or stamps
    errors = [each.executionErrors for each in summaries if each.executionErrors]
    killed = not summaries
    first = summaries[0] if summaries else None
    by_job: dict[str, list[_Quantile]] = {}
    for each in quantiles:
        by_job.setdefault(each.jobName, []).append(each)
    # A summary of a job's later step or repetition is the one that counts.
    told = {each.jobConfig.name: each for each in summaries}
    names = [*told, *(name for name in by_job if name not in told)]
    return RunDocument(
        uuid=uuid,
        kubedyno="",
        target=Target("", "", first.k8sVersion if first else "", first.totalNodes if first else 0),
        started=stamps[0],
        ended=ends[-1],
        exit_code=EXIT_KILLED if killed else 0 if all(each.passed for each in summaries) else 1,
        errors=[KILLED] if killed else list(dict.fromkeys(errors)),
        jobs=[_job(name, told.get(name), by_job.get(name, []), counts, uuid) for name in names],
        findings=[],
        not_measured=list(_NOT_MEASURED),
        kind=KIND if config is None else "init",
        config="" if config is None else config.path,
        config_digest="" if config is None else config.digest,
        directory=str(directory.resolve()),
    )


def _ordered(stamps: Iterable[str]) -> list[str]:
    """Return times, the earliest first; what is no time is none."""
    found = {}
    for stamp in stamps:
        try:
            found[stamp] = epoch_of(stamp)
        except ValueError as error:
            raise KubedynoError(f"a document of kube-burner has the time {stamp!r}, which is none") from error
    return sorted(found, key=lambda stamp: found[stamp])


def _job(
    name: str,
    summary: _Summary | None,
    quantiles: list[_Quantile],
    counts: dict[tuple[str, str, str], int],
    uuid: str,
) -> JobDocument:
    latencies = {}
    for each in quantiles:
        kind = each.metricName.removesuffix(_QUANTILES)
        # Those of pods are what everybody looks at; the others' are told apart by what is measured.
        label = each.quantileName if kind == _PODS else f"{kind}.{each.quantileName}"
        count = counts.get((uuid, name, kind), 0)
        latencies[label] = Figures(count, each.P50, each.P95, each.P99, each.min, each.max, each.avg)
    pods = counts.get((uuid, name, _PODS), 0)
    config = summary.jobConfig if summary is not None else _Job(name, "?")
    return JobDocument(
        name=name,
        type=config.jobType,
        iterations=config.jobIterations,
        qps=config.qps,
        burst=config.burst,
        asked=0,
        sent=0,
        accepted=0,
        retried=0,
        failed={},
        reached_qps=0.0 if summary is None else summary.achievedQps,
        elapsed_s=0.0 if summary is None else summary.elapsedTime,
        # kube-burner has documents of finished pods alone.
        pods_seen=pods,
        pods_ready=pods,
        accept_ms=None,
        late_ms=None,
        start_ms={},
        start_server_ms=latencies,
        timeline=[],
        counted=False,
    )
