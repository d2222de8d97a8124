"""Several runs of one configuration: a grid of values (`--sweep`), or one value raised until an SLO breaks.

Each run is cleaned up, by its own uuid, before the next one begins.
"""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from kubedyno.base import aio
from kubedyno.base.errors import EXIT_INTERRUPTED, KubedynoError
from kubedyno.base.times import epoch_of, go_duration
from kubedyno.documents.run import Chart, JobDocument, RunDocument
from kubedyno.lab import destroy, dryrun, flags, session
from kubedyno.lab.target import Choice

MAX_RUNS = 500
# Of Student's distribution, two-sided 95 %, by degrees of freedom; the normal one's beyond.
_T95 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)
_T95_MANY = 1.96
# A load side that reaches less of the asked rate than this measures something else than was asked.
_REACHED = 0.95
_BISECTIONS = 4
_CLEANUP_S = 600.0


@dataclass(frozen=True, slots=True)
class Trial:
    """One run of a series: which values it had, and its document."""

    values: tuple[tuple[str, str], ...]
    document: RunDocument


@dataclass(frozen=True, slots=True)
class Slo:
    """What a run must keep; rates as shares, times in seconds."""

    pod_startup_p99_s: float = 5.0
    api_p99_s: float = 1.0
    errors: float = 0.01


def slo_of(text: str | None) -> Slo:
    """Return the SLO of `pod-startup-p99=5s,api-p99=1s,errors=1%`; what is not named keeps its default.

    Raises:
        KubedynoError: A part is unknown or wrong.
    """
    found = Slo()
    for part in (text or "").split(","):
        if not part.strip():
            continue
        name, _, value = part.strip().partition("=")
        if name == "pod-startup-p99":
            found = replace(found, pod_startup_p99_s=flags.seconds("--slo", value))
        elif name == "api-p99":
            found = replace(found, api_p99_s=flags.seconds("--slo", value))
        elif name == "errors" and value.endswith("%") and value[:-1].replace(".", "", 1).isdigit():
            found = replace(found, errors=float(value[:-1]) / 100)
        else:
            raise KubedynoError(f"--slo {part}: write for example pod-startup-p99=5s,api-p99=1s,errors=1%")
    return found


def grid(sweeps: Sequence[str], repeat: int) -> list[tuple[tuple[str, str], ...]]:
    """Return the assignments of all runs: every combination, each `repeat` times.

    Raises:
        KubedynoError: A sweep is no `PATH=V1,V2,…`, or there are too many runs.
    """
    axes = []
    for text in sweeps:
        path, equals, values = text.partition("=")
        chosen = [value for value in values.split(",") if value]
        if not equals or not path or not chosen:
            raise KubedynoError(f"--sweep {text}: write PATH=V1,V2, for example jobs.0.qps=1,10,100")
        axes.append([(path, value) for value in chosen])
    if repeat < 1:
        raise KubedynoError(f"--repeat {repeat}: must be at least 1")
    combinations = [point for point in itertools.product(*axes) for _ in range(repeat)]
    if len(combinations) > MAX_RUNS:
        raise KubedynoError(f"--sweep: {len(combinations)} runs are more than {MAX_RUNS}")
    return combinations


def sweep(
    request: session.Request, choice: Choice, sweeps: Sequence[str], repeat: int, tell: Callable[[str], None]
) -> list[Trial]:
    """Run a grid; every configuration of it is checked before the first run.

    Raises:
        KubedynoError: The grid or a configuration of it is wrong, or a run cannot begin.
    """
    points = grid(sweeps, repeat)
    sending_s = 0.0
    for point, times in Counter(points).items():
        jobs = dryrun.forecast(session.prepare(_with(request, point)))
        sending_s += times * sum(job.seconds for job in jobs)
    tell(f"{len(points)} runs; to send their requests alone takes {go_duration(round(sending_s) * 10**9)}")
    found = []
    for number, point in enumerate(points):
        tell(f"run {number + 1} of {len(points)}: {_text(point)}")
        trial = _trial(request, choice, point)
        found.append(trial)
        tell(f"  {_outcome(trial)}")
        if trial.document.interrupted:
            break
    return found


def _with(request: session.Request, point: Sequence[tuple[str, str]]) -> session.Request:
    more = [f"{path}={value}" for path, value in point]
    return replace(request, uuid=None, set_values=[*request.set_values, *more], quiet=True, progress=True)


def _outcome(trial: Trial) -> str:
    """Return how a run went, e.g. "10 requests, 9.8 of 10 q/s reached, Ready P99 1520 ms, took 3.1 s"; its errors if it failed."""
    parts = []
    if trial.document.jobs:
        job = trial.document.jobs[0]
        rate = f"{job.reached_qps:.1f} of {job.qps:g} q/s reached" if job.asked > job.burst else "in the burst"
        parts += [f"{job.asked} requests", rate]
        if ready := job.start_ms.get("Ready"):
            parts.append(f"Ready P99 {ready.p99:.0f} ms")
        parts.append(f"took {job.elapsed_s:.1f} s")
    if trial.document.exit_code:
        parts.append(f"exit code {trial.document.exit_code}: {'; '.join(trial.document.errors)}")
    return ", ".join(parts)


def _text(point: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{path}={value}" for path, value in point)


def _trial(request: session.Request, choice: Choice, point: tuple[tuple[str, str], ...]) -> Trial:
    one = _with(request, point)
    document = aio.run(session.run(one, choice, yes=True))
    aio.run(destroy.by_uuid(document.uuid, choice, _CLEANUP_S, yes=True, quiet=True))
    return Trial(point, document)


# --- the table of a sweep --------------------------------------------------------------------------------------


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and half the width of its 95 % interval, 0 for a single value."""
    count = len(values)
    mean = sum(values) / count
    if count < 2:
        return mean, 0.0
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1))
    factor = _T95[count - 2] if count - 2 < len(_T95) else _T95_MANY
    return mean, factor * deviation / math.sqrt(count)


def table(trials: Sequence[Trial]) -> list[list[str]]:
    """Return a head and one row a combination: rates, use of the burst, time to Ready, and how runs ended."""
    groups = _groups(trials)
    paths = [path for path, _ in trials[0].values] if trials else []
    rows = [
        [*paths, "requests", "asked q/s", "reached q/s", "in burst", "Ready P50 ms", "Ready P99 ms", "took s", "ok"]
    ]
    for values, documents in groups.items():
        firsts = _firsts(documents)
        if not firsts:
            continue
        requests = firsts[0].asked
        rows.append(
            [
                *(value for _, value in values),
                str(requests),
                f"{firsts[0].qps:g}",
                _cell([job.reached_qps for job in firsts if job.asked > job.burst]) or "burst only",
                f"{min(firsts[0].burst, requests) / requests:.0%}" if requests else "-",
                _cell([ready.p50 for job in firsts if (ready := job.start_ms.get("Ready"))]) or "-",
                _cell([ready.p99 for job in firsts if (ready := job.start_ms.get("Ready"))]) or "-",
                _cell([job.elapsed_s for job in firsts]),
                f"{sum(document.exit_code == 0 for document in documents)}/{len(documents)}",
            ]
        )
    return rows


def charts(trials: Sequence[Trial]) -> list[Chart]:
    """Return the pictures of a sweep: rates asked and reached, and time to Ready, of each combination with 95 % intervals."""
    groups = _groups(trials)
    labels = [f"{number}: {_text(values)}" for number, values in enumerate(groups, 1)]
    asked: list[tuple[float, float] | None] = []
    reached: list[tuple[float, float] | None] = []
    ready: dict[str, list[tuple[float, float] | None]] = {"P50": [], "P99": []}
    for documents in groups.values():
        firsts = _firsts(documents)
        asked.append((firsts[0].qps, 0.0) if firsts else None)
        rates = [job.reached_qps for job in firsts if job.asked > job.burst]
        reached.append(interval(rates) if rates else None)
        figures = [found for job in firsts if (found := job.start_ms.get("Ready"))]
        ready["P50"].append(interval([found.p50 for found in figures]) if figures else None)
        ready["P99"].append(interval([found.p99 for found in figures]) if figures else None)
    made = [Chart("Rates asked and reached", "1/s", labels, {"asked": asked, "reached": reached})]
    if any(ready["P50"]):
        made.append(Chart("Time to Ready", "ms", labels, {f"Ready {name}": values for name, values in ready.items()}))
    return made


def effects(trials: Sequence[Trial]) -> list[str]:
    """Return what each value that has two alternatives changes, all others being equal: preLoadImages, waitWhenFinished, ….

    A line compares the means of the combinations that differ in that value alone; the interval is over those pairs.
    """
    groups = _groups(trials)
    paths = [path for path, _ in trials[0].values] if trials else []
    lines = []
    for place, path in enumerate(paths):
        found = list(dict.fromkeys(values[place][1] for values in groups))
        if len(found) != 2:
            continue
        before, after = found
        pairs = [
            (documents, groups[other])
            for values, documents in groups.items()
            if values[place][1] == before
            and (other := (*values[:place], (path, after), *values[place + 1 :])) in groups
        ]
        parts = []
        for name, unit, figure in _COMPARED:
            changes = [
                interval(new)[0] - interval(old)[0]
                for one, two in pairs
                if (old := figure(one)) and (new := figure(two))
            ]
            if changes:
                mean, half = interval(changes)
                parts.append(f"{name} {mean:+.4g}" + (f" ± {_short(half)}" if len(changes) > 1 else "") + f" {unit}")
        if parts:
            count = f"{len(pairs)} pair{'s' if len(pairs) > 1 else ''}"
            lines.append(f"{path}: {before} → {after}: {', '.join(parts)} ({count})")
    return lines


def _groups(trials: Sequence[Trial]) -> dict[tuple[tuple[str, str], ...], list[RunDocument]]:
    groups: dict[tuple[tuple[str, str], ...], list[RunDocument]] = {}
    for trial in trials:
        groups.setdefault(trial.values, []).append(trial.document)
    return groups


def _firsts(documents: Sequence[RunDocument]) -> list[JobDocument]:
    """Return each run's first job that creates."""
    creating = [[job for job in document.jobs if job.type == "create"] for document in documents]
    return [jobs[0] for jobs in creating if jobs]


def _ready_ms(documents: Sequence[RunDocument]) -> list[float]:
    return [found.p50 for job in _firsts(documents) if (found := job.start_ms.get("Ready"))]


def _job_s(documents: Sequence[RunDocument]) -> list[float]:
    return [job.elapsed_s for job in _firsts(documents)]


def _run_s(documents: Sequence[RunDocument]) -> list[float]:
    # With preload and clean-up, which are before the job's first second.
    return [epoch_of(one.ended) - epoch_of(one.started) for one in documents if one.ended and one.started]


_COMPARED: tuple[tuple[str, str, Callable[[Sequence[RunDocument]], list[float]]], ...] = (
    ("Ready P50", "ms", _ready_ms), ("job", "s", _job_s), ("whole run", "s", _run_s),
)  # fmt: skip


def _short(width: float) -> str:
    return f"{width:.0f}" if width >= 10 else f"{width:.2g}"


def _cell(values: Sequence[float]) -> str:
    if not values:
        return ""
    mean, half = interval(values)
    return f"{mean:.4g}" + (f" ± {_short(half)}" if len(values) > 1 else "")


# --- the limit -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Limit:
    """What a search found: the highest value that kept the SLO (None: none did), the lowest that broke it, and why."""

    path: str
    kept: int | None
    broke: int | None
    why: tuple[str, ...]


def broken(document: RunDocument, slo: Slo) -> list[str]:
    """Return what of an SLO a run did not keep, one line each."""
    lines = []
    for job in document.jobs:
        if job.type == "create":
            lines += _broken(job, slo)
    if document.exit_code and not lines:
        lines += document.errors or [f"exit code {document.exit_code}"]
    if lines:
        lines += [f"because: {finding.title}" for finding in document.findings]
    return list(dict.fromkeys(lines))


def _broken(job: JobDocument, slo: Slo) -> list[str]:
    lines = []
    ready = job.start_ms.get("Ready")
    if ready is not None and ready.p99 > slo.pod_startup_p99_s * 1000:
        lines.append(f"{job.name}: pod startup P99 {ready.p99 / 1000:.2f}s is above {slo.pod_startup_p99_s:g}s")
    if job.accept_ms is not None and job.accept_ms.p99 > slo.api_p99_s * 1000:
        lines.append(f"{job.name}: API P99 {job.accept_ms.p99 / 1000:.2f}s is above {slo.api_p99_s:g}s")
    failed = sum(job.failed.values())
    if job.asked and failed / job.asked > slo.errors:
        lines.append(f"{job.name}: {failed} of {job.asked} requests failed, more than {slo.errors:.1%}: {job.failed}")
    if job.asked > 2 * job.burst and job.reached_qps < _REACHED * job.qps:
        who = "the API" if job.late_ms and job.accept_ms and job.accept_ms.p50 > job.late_ms.p50 else "the load side"
        lines.append(f"{job.name}: {job.reached_qps:.0f} of {job.qps:g} q/s reached; {who} was the limit")
    if job.pods_ready < job.pods_seen:
        lines.append(f"{job.name}: {job.pods_seen - job.pods_ready} of {job.pods_seen} pods are not Ready")
    return lines


def span_of(text: str) -> tuple[str, int, int]:
    """Return path, first and last value of `PATH=FIRST..LAST`.

    Raises:
        KubedynoError: It is no such text.
    """
    path, _, span = text.partition("=")
    low, dots, high = span.partition("..")
    if not path or not dots or not low.isdigit() or not high.isdigit() or not 0 < int(low) <= int(high):
        raise KubedynoError(f"--find-limit {text}: write PATH=FIRST..LAST, for example jobs.0.qps=10..10000")
    return path, int(low), int(high)


def search(
    low: int, high: int, attempt: Callable[[int], Sequence[str]]
) -> tuple[int | None, int | None, tuple[str, ...]]:
    """Double from `low` until an attempt says what broke, then halve the gap.

    Returns:
        The highest value without a fault, the lowest with one, and its faults.
    """
    kept: int | None = None
    broke: int | None = None
    why: tuple[str, ...] = ()
    value = low
    while True:
        faults = tuple(attempt(value))
        if faults:
            broke, why = value, faults
            break
        kept = value
        if value == high:
            return kept, None, ()
        value = min(2 * value, high)
    for _ in range(_BISECTIONS):
        if kept is None or broke - kept <= max(kept // 20, 1):
            break
        middle = (kept + broke) // 2
        faults = tuple(attempt(middle))
        if faults:
            broke, why = middle, faults
        else:
            kept = middle
    return kept, broke, why


# A run of a search that does not move by itself for so long has found the limit.
LIMIT_STUCK_S = 30.0


def find_limit(
    request: session.Request, choice: Choice, text: str, slo: Slo, tell: Callable[[str], None]
) -> tuple[Limit, list[Trial]]:
    """Raise a value of the configuration until the SLO breaks, and say where and why.

    Raises:
        KubedynoError: The search or the configuration is wrong, or a run cannot begin.
    """
    path, low, high = span_of(text)
    if request.fail_when_stuck_s is None:
        # What is too much for a cluster waits for ever, or for the four hours of a run.
        request = replace(request, fail_when_stuck_s=LIMIT_STUCK_S)
    trials: list[Trial] = []

    def attempt(value: int) -> Sequence[str]:
        trial = _trial(request, choice, ((path, str(value)),))
        trials.append(trial)
        if trial.document.interrupted:
            raise KubedynoError(f"--find-limit: interrupted at {path}={value}", EXIT_INTERRUPTED)
        faults = broken(trial.document, slo)
        tell(f"{path}={value}: " + ("; ".join(faults) if faults else "kept"))
        return faults

    session.prepare(_with(request, ((path, str(high)),)))
    kept, broke, why = search(low, high, attempt)
    return Limit(path, kept, broke, why), trials


def limit_lines(limit: Limit) -> list[str]:
    """Return what a search found, as text."""
    if limit.broke is None:
        return [f"no limit up to {limit.path}={limit.kept}"]
    held = f"{limit.path}={limit.kept} holds" if limit.kept is not None else "no value held"
    return [f"{held}, {limit.path}={limit.broke} breaks:", *(f"  {line}" for line in limit.why)]
