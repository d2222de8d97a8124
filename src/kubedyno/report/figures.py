"""The figures of a run that runs are compared by, and limits on them: names, units, which way is better."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kubedyno.base.errors import KubedynoError
from kubedyno.documents.run import JobDocument, RunDocument
from kubedyno.kube import yaml
from kubedyno.report.jobs import startup, within_burst

_LARGER_IS_BETTER = ("reached_qps", ".bps", ".per_s", "passed")
# Of the quantiles that a document has.
_QUANTILES = ("p50", "p95", "p99", "max")


# Of an SLO file: a line a figure is some kilobytes.
_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of one job of one run; `name` is e.g. "create.Ready.p99_ms"."""

    name: str
    value: float
    lower_is_better: bool = True


def figures_of(run: RunDocument) -> list[Figure]:
    """Return all figures of a run, job by job."""
    return [figure for job in run.jobs for figure in _of_job(job)]


def figure_of(name: str, value: float) -> Figure:
    """Return a figure by its name alone, as the run store keeps it: rates and throughputs are better when larger."""
    return Figure(name, value, lower_is_better=not name.endswith(_LARGER_IS_BETTER))


def _of_job(job: JobDocument) -> list[Figure]:
    # kube-burner has whole seconds, and none where the job was not told of: 0 says nothing then.
    found = [Figure(f"{job.name}.elapsed_s", job.elapsed_s)] if job.counted or job.elapsed_s else []
    if job.counted:
        found.append(Figure(f"{job.name}.failed", float(sum(job.failed.values()))))
        found.append(Figure(f"{job.name}.retried", float(job.retried)))
    if job.reached_qps and not within_burst(job):
        found.append(Figure(f"{job.name}.reached_qps", job.reached_qps, lower_is_better=False))
    if job.pods_seen and job.counted:
        found.append(Figure(f"{job.name}.not_ready", float(job.pods_seen - job.pods_ready)))
    samples = startup(job)
    if job.accept_ms is not None:
        samples["accepted"] = job.accept_ms
    for name, sample in samples.items():
        found += [Figure(f"{job.name}.{name}.{q}_ms", getattr(sample, q)) for q in _QUANTILES]
    return found


@dataclass(frozen=True, slots=True)
class Breach:
    """A limit that a run does not keep."""

    uuid: str
    name: str
    value: float
    limit: float

    @property
    def line(self) -> str:
        return f"{self.name} is {self.value:g}, the limit is {self.limit:g} (run {self.uuid})"


def read_limits(path: Path) -> dict[str, float]:
    """Return the limits of an SLO file: a mapping of figure names, or of their ends, to the largest value allowed.

    `create.Ready.p99_ms: 5000` is one job's, `Ready.p99_ms: 5000` every job's.

    Raises:
        KubedynoError: It cannot be read, or holds something else.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
        documents = yaml.load_all(raw.decode(), strict=True)
    except OSError as error:
        raise KubedynoError(f"{path}: cannot be read ({error.strerror})") from error
    except yaml.YAMLError as error:
        raise KubedynoError(f"{path}: {' '.join(str(error).removeprefix('yaml: ').split())}") from error
    except UnicodeDecodeError as error:
        raise KubedynoError(f"{path}: is no text; write for example `Ready.p99_ms: 5000`") from error
    if len(raw) > _MOST_BYTES or len(documents) > 1:
        what = f"more than {_MOST_BYTES >> 20} MiB" if len(raw) > _MOST_BYTES else f"{len(documents)} documents"
        raise KubedynoError(f"{path}: holds {what}; one mapping of figures to limits is taken")
    content = documents[0] if documents else None
    if not isinstance(content, dict) or not content:
        raise KubedynoError(f"{path}: holds no limits; write for example `Ready.p99_ms: 5000`")
    for name, value in content.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            line = yaml.line_of(content, name)
            raise KubedynoError(f"{path}:{line}: the limit of {name} must be a number, not {value!r}")
    return {str(name): float(value) for name, value in content.items()}


def breaches(runs: Sequence[RunDocument], limits: Mapping[str, float], source: str) -> list[Breach]:
    """Return the limits that runs do not keep.

    Raises:
        KubedynoError: A limit names a figure that no run has.
    """
    return breaches_of([(run.uuid, figures_of(run)) for run in runs], limits, source)


def breaches_of(runs: Sequence[tuple[str, Sequence[Figure]]], limits: Mapping[str, float], source: str) -> list[Breach]:
    """Return the limits that runs, each a uuid and its figures, do not keep; raises as `breaches`."""
    found = []
    met: set[str] = set()
    for uuid, figures in runs:
        for figure in figures:
            for name, limit in limits.items():
                if figure.name == name or figure.name.endswith(f".{name}"):
                    met.add(name)
                    over = figure.value > limit if figure.lower_is_better else figure.value < limit
                    if over:
                        found.append(Breach(uuid, figure.name, figure.value, limit))
    for name in limits:
        if name not in met:
            known = sorted({figure.name for _, figures in runs for figure in figures})
            raise KubedynoError(f"{source}: no run has a figure {name}; there are: {', '.join(known)}")
    return found
