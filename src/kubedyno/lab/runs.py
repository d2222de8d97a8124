"""The user's own run store: runs enter it as they begin, directories can be brought in, old ones go.

In: documents of runs. Out: rows of `documents.runstore`. A row says who runs, until the run's end replaces it; where that
process is gone, the run was killed, and its row says what its directory tells. What cannot be registered is told, and fails
no run: its directory has everything, and `kubedyno runs import` brings it in later.
"""

import hashlib
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import msgspec
import orjson

from kubedyno.base import processes
from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.base.errors import EXIT_INTERRUPTED, KubedynoError
from kubedyno.base.terminal import printable
from kubedyno.base.times import epoch_of, rfc3339
from kubedyno.documents import kubeburner, net, podnet, reconciler
from kubedyno.documents.net import NetLabRun
from kubedyno.documents.podnet import NetPerfRun, NetTestRun, PodNetRun
from kubedyno.documents.reconciler import ReconcilerRun
from kubedyno.documents.run import RunDocument
from kubedyno.documents.runstore import FILE_NAME, RunRecord, RunStore, named
from kubedyno.lab.embedded import state_root
from kubedyno.report.figures import Figure, figure_of, figures_of
from kubedyno.stats.comparison import ENOUGH_RUNS

KINDS = ("init", "study", "net lab", "net perf", "net test", "experiment", kubeburner.KIND)
RUNNING, KILLED, PASSED = "running", "killed", "passed"
TAG = "tag:"
# Of the network lab's figures those that are neither better nor worse: how much was measured, and how packets were made.
_CIRCUMSTANCES = frozenset({"count", "sent_bps", "mean_packet_bytes"})
_SECRET = re.compile(r"token|password|passwd|secret|bearer", re.IGNORECASE)
# Up to the last @ before a path: passwords have some.
_LOGIN = re.compile(r"(?<=://)[^/\s]+@")


def store() -> RunStore:
    """Return the store in the state directory; runs in it whose process is gone are told as killed from now on.

    Raises:
        KubedynoError: The file cannot be used.
    """
    found = RunStore(state_root() / FILE_NAME)
    for record in found.select(verdict=RUNNING):
        if processes.has_ended(record.process):
            found.add([_killed(record)], begun=record.id)
    return found


def beginning(
    uuid: str, kind: str, *, target: str, config: str, config_digest: str = "", directory: Path | None = None
) -> RunRecord:
    """Return the row of a run that begins now; see `RunRecord`."""
    now_s = SYSTEM_CLOCK.now()
    return RunRecord(
        uuid=uuid,
        kind=kind,
        started=rfc3339(now_s),
        started_s=now_s,
        took_s=0.0,
        config=config,
        config_digest=config_digest,
        target=target,
        verdict="",
        exit_code=0,
        directory="" if directory is None else str(directory.resolve()),
        figures={},
    )


@dataclass(slots=True)
class Entry:
    """A run's place in the store while it lasts.

    Attributes:
        record: What is known of it at its beginning.
        row: Number of its row while it runs; 0 where there is none.
        records: What comes there at its end.
    """

    record: RunRecord
    row: int = 0
    records: list[RunRecord] = field(default_factory=list)

    def end(self, code: int) -> None:
        """Have its end in the store: `records`, or how it ended where there are none."""
        if not self.records:
            took_s = SYSTEM_CLOCK.now() - self.record.started_s
            verdict = verdict_of(code, interrupted=code == EXIT_INTERRUPTED)
            self.records = [msgspec.structs.replace(self.record, took_s=took_s, verdict=verdict, exit_code=code)]
        if self.row:
            _register(self.records, begun=self.row)


@contextmanager
def entered(record: RunRecord) -> Iterator[Entry]:
    """Have a run in the store from its beginning, as running; its end replaces that, or the error that ends it does.

    A store that cannot be used is told in a line, once, and hides no result.

    Args:
        record: What is known of it at its beginning (`beginning`).
    """
    begun = _register([msgspec.structs.replace(record, verdict=RUNNING, process=processes.identity())])
    entry = Entry(record, begun[0] if begun else 0)
    code = EXIT_INTERRUPTED
    try:
        yield entry
        code = 0
    except KubedynoError as error:
        code = error.exit_code
        raise
    except Exception:
        code = 1
        raise
    finally:
        entry.end(code)


def _register(records: Sequence[RunRecord], *, begun: int = 0) -> list[int]:
    try:
        return store().add(records, begun=begun)
    except KubedynoError as error:
        print(f"kubedyno: warning: the run is not registered: {printable(str(error))}", file=sys.stderr)  # noqa: T201
        return []


def _killed(record: RunRecord) -> RunRecord:
    """Return the row of a run that never told its end: what kube-burner's documents in its directory say of it."""
    directory = Path(record.directory) if record.directory else None
    ended_s, figures = record.started_s, dict[str, float]()
    if directory is not None:
        try:
            ended_s = max([path.stat().st_mtime for path in directory.iterdir()], default=ended_s)
            figures = {
                figure.name: figure.value
                for document in kubeburner.runs_in(directory)
                if document.uuid == record.uuid
                for figure in figures_of(document)
            }
        except (OSError, KubedynoError):
            # There may be nothing yet, and half a file is what a killed run may leave; how long it took is not known.
            ended_s, figures = record.started_s, {}
    return msgspec.structs.replace(
        record,
        took_s=max(ended_s - record.started_s, 0.0),
        verdict=KILLED,
        exit_code=kubeburner.EXIT_KILLED,
        figures=figures,
        process="",
    )


def verdict_of(exit_code: int, *, interrupted: bool = False) -> str:
    """Return the word for how a run ended."""
    if exit_code == kubeburner.EXIT_KILLED:
        return KILLED
    return "interrupted" if interrupted else "failed" if exit_code else PASSED


# --- configuration -----------------------------------------------------------------------------------------------


def without_secrets(value: Any, key: str = "") -> Any:
    """Return a configuration whose passwords and tokens are blotted out, logins in URLs too."""
    if isinstance(value, Mapping):
        return {str(name): without_secrets(inner, str(name)) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(inner, key) for inner in value]
    if isinstance(value, str):
        return "REDACTED" if value and _SECRET.search(key) else _LOGIN.sub("REDACTED@", value)
    return value


def digest_of(effective: Any, uuid: str) -> str:
    """Return the SHA-256 of a configuration; the run's own uuid in it does not count."""
    text = orjson.dumps(effective, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS).decode()
    return hashlib.sha256((text.replace(uuid, "{{.UUID}}") if uuid else text).encode()).hexdigest()


# --- documents to rows -------------------------------------------------------------------------------------------


def record_of_load(document: RunDocument, directory: Path | None) -> RunRecord:
    """Return the row of a run of a configuration; without a directory its documents went to a server alone."""
    target = document.target
    return RunRecord(
        uuid=document.uuid,
        kind=document.kind,
        started=document.started,
        started_s=epoch_of(document.started),
        took_s=epoch_of(document.ended) - epoch_of(document.started),
        config=document.config,
        config_digest=document.config_digest,
        target=f"embedded {target.embedded}" if target.embedded else target.server,
        verdict=verdict_of(document.exit_code, interrupted=document.interrupted),
        exit_code=document.exit_code,
        directory=str(directory.resolve()) if directory is not None else "",
        figures={figure.name: figure.value for figure in figures_of(document)},
    )


def record_of_net_lab(document: NetLabRun, directory: Path, *, exit_code: int = 0) -> RunRecord:
    """Return the row of a run of the network lab."""
    figures = {
        f"{row.variant}.{row.place}.v{row.family}.{row.test}.{name}": value
        for row in document.rows
        for name, value in row.median.items()
        if name not in _CIRCUMSTANCES
    }
    return RunRecord(
        uuid=document.uuid,
        kind="net lab",
        started=document.started,
        started_s=epoch_of(document.started),
        took_s=epoch_of(document.ended) - epoch_of(document.started),
        config="net lab",
        config_digest="",
        target=f"this machine, Linux {document.kernel}",
        verdict=verdict_of(exit_code, interrupted=exit_code == EXIT_INTERRUPTED),
        exit_code=exit_code,
        directory=str(directory.resolve()),
        figures=figures,
    )


def record_of_net_perf(document: NetPerfRun, directory: Path) -> RunRecord:
    """Return the row of measurements between pods: the medians over samples, by test and way."""
    values: dict[str, list[float]] = {}
    for row in document.rows:
        for name, value in row.figures.items():
            key = ".".join(filter(None, (row.test, row.scenario, row.node, name)))
            values.setdefault(key, []).append(value)
    return _record_of_pods("net perf", document, directory, {name: median(found) for name, found in values.items()})


def record_of_net_test(document: NetTestRun, directory: Path) -> RunRecord:
    """Return the row of a connectivity test."""
    run = [row for row in document.rows if not row.skipped]
    failed = sum(bool(row.failures) for row in run)
    return _record_of_pods(
        "net test", document, directory, {"failed": float(failed), "passed": float(len(run) - failed)}
    )


def _record_of_pods(kind: str, document: PodNetRun, directory: Path, figures: dict[str, float]) -> RunRecord:
    return RunRecord(
        uuid=document.uuid,
        kind=kind,
        started=document.started,
        started_s=epoch_of(document.started),
        took_s=document.took_s,
        config=kind,
        config_digest="",
        target=document.cluster,
        verdict=verdict_of(document.exit_code, interrupted=document.exit_code == EXIT_INTERRUPTED),
        exit_code=document.exit_code,
        directory=str(directory.resolve()),
        figures=figures,
    )


def record_of_experiment(document: ReconcilerRun, directory: Path) -> RunRecord:
    """Return the row of the reconciler experiment."""
    figures = {f"{phase.name}.took_s": phase.took_s for phase in document.phases}
    figures |= {f"{phase.name}.drops": float(phase.drops) for phase in document.phases}
    failed = [name for name, held in document.checks.items() if not held]
    return RunRecord(
        # Documents of older versions have none.
        uuid=document.uuid or f"experiment-{document.started}",
        kind="experiment",
        started=document.started,
        started_s=epoch_of(document.started),
        took_s=document.samples[-1].at_s if document.samples else 0.0,
        config="experiment reconciler",
        config_digest="",
        target=f"this machine, Linux {document.kernel}" if document.kernel else "a modelled map",
        verdict=verdict_of(len(failed)),
        exit_code=0,
        directory=str(directory.resolve()),
        figures=figures,
    )


def records_in(directory: Path) -> list[RunRecord]:
    """Return the rows of all runs whose documents lie in a directory.

    Raises:
        KubedynoError: There are none, or one cannot be read.
    """
    found: list[RunRecord] = []
    for path, decoder in (
        (directory / f"{net.FILE_NAME}.json", msgspec.json.Decoder(list[NetLabRun])),
        (directory / f"{podnet.PERF_FILE_NAME}.json", msgspec.json.Decoder(list[NetPerfRun])),
        (directory / f"{podnet.TEST_FILE_NAME}.json", msgspec.json.Decoder(list[NetTestRun])),
        (directory / reconciler.FILE_NAME, msgspec.json.Decoder(ReconcilerRun)),
    ):
        if not path.exists():
            continue
        try:
            content: Any = decoder.decode(path.read_bytes())
        except (OSError, msgspec.DecodeError) as error:
            raise KubedynoError(f"{path}: cannot be read as a run ({error})") from error
        found += [_record_of(one, directory) for one in (content if isinstance(content, list) else [content])]
    # Those of the lab and the experiment need none beside them.
    loads = kubeburner.runs_in(directory) if not found or kubeburner.has_any(directory) else []
    return [*(record_of_load(document, directory) for document in loads), *found]


def _record_of(document: NetLabRun | NetPerfRun | NetTestRun | ReconcilerRun, directory: Path) -> RunRecord:
    match document:
        case ReconcilerRun():
            return record_of_experiment(document, directory)
        case NetPerfRun():
            return record_of_net_perf(document, directory)
        case NetTestRun():
            return record_of_net_test(document, directory)
        case NetLabRun():
            return record_of_net_lab(document, directory)


# --- for comparisons ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunFigures:
    """One run as comparisons see it; `started` tells runs of one uuid apart, `verdict` how it ended."""

    uuid: str
    started: str
    figures: tuple[Figure, ...]
    kind: str = ""
    directory: str = ""
    verdict: str = ""

    @property
    def key(self) -> tuple[str, str]:
        return self.uuid, self.started


class Runs(Protocol):
    """What a comparison asks of a run store."""

    def select(self, *, tags: Sequence[str] = (), uuid: str | None = None) -> list[RunRecord]:
        """Return runs: see `RunStore.select`."""
        ...


def directories_for(word: str) -> list[Path]:
    """Return the metrics directories of what a word names, as for `figures_for`.

    Raises:
        KubedynoError: It names nothing, or a run of which no directory is kept.
    """
    if Path(word).is_dir():
        return [Path(word)]
    found = []
    for record in records_for(word):
        if not record.directory or not Path(record.directory).is_dir():
            where = f"its directory {record.directory} is gone" if record.directory else "it has kept no directory"
            raise KubedynoError(f"{record.uuid}: {where}; the store has its figures: kubedyno runs show {record.uuid}")
        found.append(Path(record.directory))
    return list(dict.fromkeys(found))


def figures_for(word: str, kept: Callable[[], Runs] = store) -> list[RunFigures]:
    """Return the figures of what a word names, see `records_for`."""
    return [
        RunFigures(
            record.uuid,
            record.started,
            tuple(figure_of(*pair) for pair in record.figures.items()),
            record.kind,
            record.directory,
            record.verdict,
        )
        for record in records_for(word, kept)
    ]


def records_for(word: str, kept: Callable[[], Runs] = store) -> list[RunRecord]:
    """Return the runs that a word names: a metrics directory, `tag:NAME`, or a uuid of the store.

    Args:
        word: The word.
        kept: The store; asked for where the word is no directory.

    Raises:
        KubedynoError: It names nothing.
    """
    if word.startswith(TAG):
        found = kept().select(tags=[word.removeprefix(TAG)])
        if not found:
            raise KubedynoError(f"{word}: no run of the store has this tag; see: kubedyno runs list")
    elif Path(word).is_dir():
        found = records_in(Path(word))
    else:
        found = kept().select(uuid=word)
        found = found and named(found, word, "the run store")
        if not found:
            raise KubedynoError(f"{word}: neither a directory nor a run of the store; see: kubedyno runs list")
    return found


def comparable(sides: Sequence[Sequence[RunFigures]]) -> list[list[RunFigures]]:
    """Return both sides by one clock: where kube-burner's runs stand beside ours, ours as kube-burner's documents tell them.

    Raises:
        KubedynoError: A run of ours has no directory with such documents.
    """
    kinds = {one.kind == kubeburner.KIND for side in sides for one in side}
    return [[_as_kube_burner(one) if len(kinds) > 1 else one for one in side] for side in sides]


def doubts(sides: Sequence[Sequence[RunFigures]]) -> list[str]:
    """Return what to know of both sides before a difference is believed."""
    found = [
        f"run {one.uuid} is {one.verdict}: its figures may be those of half a run"
        for side in sides
        for one in side
        if one.verdict != PASSED
    ]
    if {one.key for one in sides[0]} & {one.key for one in sides[1]}:
        found.append("a run stands on both sides")
    if (fewest := min(map(len, sides))) < ENOUGH_RUNS:
        found.append(f"not enough data: {fewest} runs on a side, at least {ENOUGH_RUNS} are needed for a verdict")
    return found


def _as_kube_burner(one: RunFigures) -> RunFigures:
    if one.kind == kubeburner.KIND:
        return one
    if not one.directory:
        raise KubedynoError(
            f"run {one.uuid}: cannot be compared with runs of kube-burner: its documents are in no directory; name that instead"
        )
    try:
        documents = [d for d in kubeburner.as_kube_burner(Path(one.directory)) if d.uuid == one.uuid]
    except KubedynoError as error:
        raise KubedynoError(f"run {one.uuid}: cannot be compared with runs of kube-burner: {error}") from error
    if not documents:
        raise KubedynoError(
            f"run {one.uuid}: cannot be compared with runs of kube-burner: its directory has no jobSummary of it"
        )
    return replace(one, figures=tuple(figures_of(documents[-1])))
