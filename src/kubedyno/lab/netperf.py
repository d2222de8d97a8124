"""`kubedyno net perf` and `net test`: a cluster chosen, measured or checked, and left as it was."""

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from kubedyno import __version__
from kubedyno.base import aio
from kubedyno.base.clock import SYSTEM_CLOCK, Clock
from kubedyno.base.errors import EXIT_INTERRUPTED, KubedynoError
from kubedyno.base.random import Random
from kubedyno.base.terminal import printable_lines
from kubedyno.base.times import rfc3339
from kubedyno.client.api import Client
from kubedyno.documents import podnet
from kubedyno.documents.local import LocalIndexer, directory_of
from kubedyno.documents.podnet import NetPerfRun, NetTestRun, PerfRow, TestRow
from kubedyno.documents.runstore import RunRecord
from kubedyno.kube import yaml
from kubedyno.lab import runs, target
from kubedyno.lab.target import Choice
from kubedyno.load.config.sources import read_text
from kubedyno.netperf import connectivity
from kubedyno.netperf.checking import Checking
from kubedyno.netperf.manifest import Manifest, manifest_of
from kubedyno.netperf.manifestrun import ManifestRun
from kubedyno.netperf.outcome import junit_of
from kubedyno.netperf.plan import Action, Options, Tool
from kubedyno.netperf.run import Measurement, Outputs
from kubedyno.netperf.shapecheck import ShapeCheck
from kubedyno.netperf.shaping import Shaping


def run(
    options: Options,
    *,
    kubeconfig: str | None,
    context: str | None,
    yes: bool,
    outputs: Outputs,
    shaping: Shaping | None = None,
    manifest: str | None = None,
    directory: Path = Path(),
) -> int:
    """Measure and print; returns the exit code, 1 when shaping does not hold, or pods reach less than they have to.

    Raises:
        KubedynoError: There is no cluster, it refuses, a measurement fails, or it was interrupted.
    """
    choice = target.choose(kubeconfig, context)
    made: list[Measurement | ShapeCheck | ManifestRun] = []
    deployed = None if manifest is None else _manifest(manifest)
    if outputs.report_dir is not None:
        _writable("--report-dir", outputs.report_dir, made=True)
    if outputs.csv_file is not None:
        _writable("--csv", outputs.csv_file.parent)

    async def work(client: Client) -> list[str]:
        if deployed is not None:
            namespace, seconds = options.full_namespace, options.duration_s or None
            made.append(
                ManifestRun(
                    client,
                    deployed,
                    namespace,
                    samples=options.samples,
                    seconds=seconds,
                    labels=options.namespace_labels,
                )
            )
        elif shaping is not None:
            made.append(ShapeCheck(client, options, shaping))
        else:
            made.append(Measurement(client, options, outputs))
        return await made[0].run()

    def documented(ended: Ended) -> RunRecord:
        return _file_perf(options, made[0] if made else None, ended, directory)

    lines: list[str] = []
    with _registered("net perf", choice, directory, documented) as ended:
        lines += aio.run(_with(choice, work, verb="net perf", yes=yes))
        ended.exit_code, ended.lines = (0 if made[0].passed else 1), lines
    print(printable_lines("\n".join(lines)))  # noqa: T201 - the output
    print(f"documents: {ended.directory(directory)}")  # noqa: T201 - the output
    return ended.exit_code


@dataclass(slots=True)
class Ended:
    """How a measurement or a test ended, as its documents tell it.

    Attributes:
        uuid: Of the run.
        cluster: Its API server's address, or "embedded NAME".
        started_s: Epoch seconds.
        took_s: Seconds.
        exit_code: Of the command.
        error: Why it ended early, "" when it did not.
        lines: What is printed at the end.
    """

    uuid: str
    cluster: str
    started_s: float
    took_s: float = 0.0
    exit_code: int = 1
    error: str = ""
    lines: list[str] = field(default_factory=list)

    def directory(self, parent: Path) -> Path:
        """Return where its documents go."""
        return directory_of(parent, self.uuid)


@contextmanager
def _registered(
    kind: str, choice: Choice, directory: Path, documented: Callable[[Ended], RunRecord]
) -> Iterator[Ended]:
    """Write a run's documents and enter it into the run store at its end, however that came about.

    Raises:
        KubedynoError: They cannot be written; that is found out before anything is measured.
    """
    server = f"embedded {choice.running.name}" if choice.running is not None else choice.target.server
    ended, began_s = Ended(Random().uid(), server, SYSTEM_CLOCK.now()), SYSTEM_CLOCK.monotonic()
    LocalIndexer(ended.directory(directory))
    begun = runs.beginning(ended.uuid, kind, target=server, config=kind, directory=ended.directory(directory))
    with runs.entered(begun) as entry:
        try:
            yield ended
        except KubedynoError as error:
            ended.exit_code, ended.error = error.exit_code, str(error)
            raise
        finally:
            ended.took_s = SYSTEM_CLOCK.monotonic() - began_s
            entry.records.append(documented(ended))


def _file_perf(
    options: Options, made: Measurement | ShapeCheck | ManifestRun | None, ended: Ended, directory: Path
) -> RunRecord:
    timestamp = rfc3339(ended.started_s + ended.took_s)
    document = NetPerfRun(
        uuid=ended.uuid,
        kubedyno=__version__,
        cluster=ended.cluster,
        tool=Tool.IPERF3 if isinstance(made, ManifestRun) else options.tool,
        duration_s=options.duration_s,
        started=rfc3339(ended.started_s),
        took_s=ended.took_s,
        exit_code=ended.exit_code,
        rows=[] if made is None else [_row(ended.uuid, timestamp, *measured) for measured in made.measured()],
        lines=ended.lines,
        error=ended.error,
    )
    written = ended.directory(directory)
    _file(written, podnet.PERF_FILE_NAME, podnet.PERF_ROW_FILE_NAME, document)
    return runs.record_of_net_perf(document, written)


def _row(uuid: str, timestamp: str, action: Action, figures: dict[str, float]) -> PerfRow:
    return PerfRow(
        uuid=uuid,
        timestamp=timestamp,
        test=action.test,
        scenario=action.scenario,
        node=action.node,
        sample=action.sample,
        client=action.client,
        server=action.server,
        figures=figures,
    )


def _file_test(made: Checking | None, ended: Ended, directory: Path) -> RunRecord:
    timestamp = rfc3339(ended.started_s + ended.took_s)
    document = NetTestRun(
        uuid=ended.uuid,
        kubedyno=__version__,
        cluster=ended.cluster,
        started=rfc3339(ended.started_s),
        took_s=ended.took_s,
        exit_code=ended.exit_code,
        rows=[
            TestRow(ended.uuid, timestamp, one.name, one.status, one.actions, one.seconds, one.failures, one.skipped)
            for one in (made.outcomes if made is not None else ())
        ],
        error=ended.error,
    )
    written = ended.directory(directory)
    _file(written, podnet.TEST_FILE_NAME, podnet.TEST_ROW_FILE_NAME, document)
    return runs.record_of_net_test(document, written)


def _file(directory: Path, name: str, row_name: str, document: NetPerfRun | NetTestRun) -> None:
    indexer = LocalIndexer(directory)
    indexer.index(name, [msgspec.to_builtins(document)])
    if document.rows:
        indexer.index(row_name, [msgspec.to_builtins(row) for row in document.rows])


def _writable(flag: str, directory: Path, *, made: bool = False) -> None:
    """Find out before anything is measured whether results can be written; the folder is made where that is asked for."""
    try:
        if made:
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise KubedynoError(f"{flag} {directory}: cannot be made ({error.strerror})") from error
    if not directory.is_dir() or not os.access(directory, os.W_OK):
        raise KubedynoError(f"{flag}: nothing can be written into {directory}")


def _manifest(path: str) -> Manifest:
    try:
        documents = yaml.load_all(read_text(path, "manifest"), path)
    except yaml.YAMLError as error:
        raise KubedynoError(f"--manifest {path}: {error}") from error
    return manifest_of([one for one in documents if one is not None], path)


def check(
    options: connectivity.Options,
    *,
    kubeconfig: str | None,
    context: str | None,
    yes: bool,
    junit: Path | None,
    properties: dict[str, str],
    directory: Path = Path(),
    clock: Clock = SYSTEM_CLOCK,
) -> int:
    """Check and print; returns the exit code, 1 when a test failed.

    Raises:
        KubedynoError: There is no cluster, it refuses, or it was interrupted.
    """
    if junit is not None:
        _writable("--junit-file", junit.parent)
    choice = target.choose(kubeconfig, context)
    if choice.running is not None:
        options = replace(options, no_world="pods of the embedded cluster reach nothing outside of it")
    made: list[Checking] = []

    async def work(client: Client) -> list[str]:
        made.append(Checking(client, options, clock))
        return await made[0].run()

    def documented(ended: Ended) -> RunRecord:
        return _file_test(made[0] if made else None, ended, directory)

    started = rfc3339(clock.now()).removesuffix("Z")
    lines: list[str] = []
    with _registered("net test", choice, directory, documented) as ended:
        lines += aio.run(_with(choice, work, verb="net test", yes=yes))
        ended.exit_code = 0 if made[0].passed else 1
    print(printable_lines("\n".join(lines)))  # noqa: T201 - the output
    print(f"documents: {ended.directory(directory)}")  # noqa: T201 - the output
    if junit is not None:
        try:
            junit.write_text(junit_of(made[0].outcomes, properties, started), encoding="utf-8")
        except OSError as error:
            raise KubedynoError(f"{junit}: cannot be written ({error.strerror})") from error
    return ended.exit_code


async def _with(
    choice: Choice, work: Callable[[Client], Coroutine[Any, Any, list[str]]], *, verb: str, yes: bool
) -> list[str]:
    """Work on a cluster; the first Ctrl-C or SIGTERM ends it and removes all, a second one ends that too."""
    async with Client(choice.target) as client:
        target.confirm(await target.describe(client, choice), yes=yes, quiet=True)
        task = asyncio.ensure_future(work(client))
        try:
            with aio.on_signal(task.cancel):
                return await task
        except asyncio.CancelledError:
            raise KubedynoError(f"{verb}: interrupted; what it had created is removed", EXIT_INTERRUPTED) from None
