"""The user's own run store: runs enter it at their end, directories can be brought in, old ones go.

In: documents of finished runs. Out: rows of `documents.runstore`. What cannot be registered is told, and fails no run:
its directory has everything, and `kubedyno runs import` brings it in later.
"""

import hashlib
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import orjson

from kubedyno.base.errors import KubedynoError
from kubedyno.base.terminal import printable
from kubedyno.base.times import epoch_of
from kubedyno.documents import net, podnet, reconciler
from kubedyno.documents import run as load
from kubedyno.documents.net import NetLabRun
from kubedyno.documents.opensearch import OpenSearchIndexer
from kubedyno.documents.podnet import NetPerfRun, NetTestRun
from kubedyno.documents.reconciler import ReconcilerRun
from kubedyno.documents.run import RunDocument
from kubedyno.documents.runstore import FILE_NAME, RunRecord, RunStore
from kubedyno.lab.embedded import state_root
from kubedyno.report.figures import Figure, figure_of, figures_of

KINDS = ("init", "study", "net lab", "net perf", "net test", "experiment")
EXIT_INTERRUPTED = 130
TAG = "tag:"
# What a run writes into its directory: arrays of documents. A directory that holds anything else is not ours to remove.
_OURS = (".json", ".json.part")
_SECRET = re.compile(r"token|password|passwd|secret|bearer", re.IGNORECASE)
_LOGIN = re.compile(r"(?<=://)[^/@\s]+@")


def store() -> RunStore:
    """Return the store in the state directory."""
    return RunStore(state_root() / FILE_NAME)


def register(*records: RunRecord) -> None:
    """Add finished runs; a store that cannot be used is told in a line, and hides no result."""
    try:
        store().add(records)
    except KubedynoError as error:
        print(f"kubedyno: warning: the run is not registered: {printable(str(error))}", file=sys.stderr)  # noqa: T201


def verdict_of(exit_code: int, *, interrupted: bool = False) -> str:
    """Return the word for how a run ended."""
    return "interrupted" if interrupted else "failed" if exit_code else "passed"


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
        verdict=verdict_of(document.exit_code, interrupted="interrupted" in document.errors),
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
    return _record_of_pods("net test", document, directory, {"failed": float(failed), "tests": float(len(run))})


def _record_of_pods(
    kind: str, document: NetPerfRun | NetTestRun, directory: Path, figures: dict[str, float]
) -> RunRecord:
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
    if (directory / f"{load.FILE_NAME}.json").exists():
        found += [record_of_load(document, directory) for document in load.read_runs(directory)]
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
    if not found:
        names = ", ".join(
            f"{name}.json" for name in (load.FILE_NAME, net.FILE_NAME, podnet.PERF_FILE_NAME, podnet.TEST_FILE_NAME)
        )
        names = f"{names} or {reconciler.FILE_NAME}"
        raise KubedynoError(f"{directory}: no run in it (no {names}); a run that was killed leaves none")
    return found


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


def indexed(server: str, index: str, *, insecure: bool) -> list[RunRecord]:
    """Return the rows of all runs whose documents an OpenSearch holds, oldest first.

    Raises:
        KubedynoError: It cannot be read, or holds documents that are no runs of this version's.
    """
    reader = OpenSearchIndexer([server], index, insecure=insecure, making=False)
    try:
        documents = msgspec.convert(reader.read(load.FILE_NAME), list[RunDocument])
    except msgspec.ValidationError as error:
        raise KubedynoError(f"index {index}: holds a run that cannot be read ({error})") from error
    finally:
        reader.close()
    return sorted((record_of_load(one, None) for one in documents), key=lambda record: record.started_s)


# --- for comparisons ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunFigures:
    """One run as comparisons see it; `started` tells runs of one uuid apart."""

    uuid: str
    started: str
    figures: tuple[Figure, ...]

    @property
    def key(self) -> tuple[str, str]:
        return self.uuid, self.started


def figures_for(word: str) -> list[RunFigures]:
    """Return the figures of what a word names: a metrics directory, `tag:NAME`, or a uuid of the store.

    Raises:
        KubedynoError: It names nothing.
    """
    if word.startswith(TAG):
        found = store().select(tags=[word.removeprefix(TAG)])
        if not found:
            raise KubedynoError(f"{word}: no run of the store has this tag; see: kubedyno runs list")
    elif Path(word).is_dir():
        found = records_in(Path(word))
    else:
        found = store().select(uuid=word) and store().find(word)
        if not found:
            raise KubedynoError(f"{word}: neither a directory nor a run of the store; see: kubedyno runs list")
    return [
        RunFigures(record.uuid, record.started, tuple(figure_of(*pair) for pair in record.figures.items()))
        for record in found
    ]


# --- going -------------------------------------------------------------------------------------------------------


def to_prune(
    records: Sequence[RunRecord], *, keep: int | None, older_than_s: float | None, now_s: float
) -> list[RunRecord]:
    """Return the runs that go; tagged ones stay, somebody wanted them.

    Args:
        records: All, oldest first.
        keep: So many of the latest stay, tagged ones not counted.
        older_than_s: Only runs that began longer ago.
        now_s: Epoch seconds.
    """
    going = [record for record in records if not record.tags]
    if keep is not None:
        going = going[: max(len(going) - keep, 0)]
    if older_than_s is not None:
        going = [record for record in going if now_s - record.started_s > older_than_s]
    return going


@dataclass(frozen=True, slots=True)
class Removal:
    """A directory that may go, or the reason why not."""

    directory: Path
    files: tuple[Path, ...] = ()
    why_not: str = ""


def removals(going: Sequence[RunRecord], all_records: Sequence[RunRecord]) -> list[Removal]:
    """Return what becomes of the directories of runs that go: only what a run wrote is removed, and no other run's."""
    ids = {record.id for record in going}
    needed = {record.directory for record in all_records if record.id not in ids}
    found = []
    for name in dict.fromkeys(record.directory for record in going if record.directory):
        directory = Path(name)
        if name in needed:
            found.append(Removal(directory, why_not="another run that stays has its documents there"))
        elif directory.is_symlink() or not directory.is_dir():
            found.append(Removal(directory, why_not="there is no such directory"))
        else:
            found.append(_removal(directory))
    return found


def _removal(directory: Path) -> Removal:
    try:
        entries = sorted(directory.iterdir())
        strange = [path.name for path in entries if not _ours(path)]
    except OSError as error:
        return Removal(directory, why_not=f"cannot be read ({error.strerror})")
    if Path.cwd().is_relative_to(directory.resolve()):
        return Removal(directory, why_not="is the working directory, or one above it")
    if strange:
        return Removal(directory, why_not=f"holds more than a run's documents ({printable(strange[0])})")
    return Removal(directory, tuple(entries))


def _ours(path: Path) -> bool:
    """Say whether a file is one of documents: an array, as `documents.local` writes it."""
    if path.is_symlink() or not path.is_file() or not path.name.endswith(_OURS):
        return False
    with path.open("rb") as file:
        return file.read(1) in {b"[", b""}


def remove(removal: Removal) -> None:
    """Remove a directory's documents and the directory.

    Raises:
        KubedynoError: Something cannot be removed.
    """
    try:
        for path in removal.files:
            path.unlink(missing_ok=True)
        removal.directory.rmdir()
    except OSError as error:
        raise KubedynoError(f"{removal.directory}: cannot be removed ({error.strerror})") from error
