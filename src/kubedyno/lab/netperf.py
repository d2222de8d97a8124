"""`kubedyno net perf` and `net test`: a cluster chosen, measured or checked, and left as it was."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from kubedyno.base import aio
from kubedyno.base.clock import SYSTEM_CLOCK, Clock
from kubedyno.base.errors import KubedynoError
from kubedyno.base.random import Random
from kubedyno.base.times import rfc3339
from kubedyno.client.api import Client
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
from kubedyno.netperf.plan import Options
from kubedyno.netperf.run import Measurement, Outputs
from kubedyno.netperf.shapecheck import ShapeCheck
from kubedyno.netperf.shaping import Shaping
from kubedyno.netperf.tables import Result

_INTERRUPTED = 130


def run(
    options: Options,
    *,
    kubeconfig: str | None,
    context: str | None,
    yes: bool,
    outputs: Outputs,
    shaping: Shaping | None = None,
    manifest: str | None = None,
) -> int:
    """Measure and print; returns the exit code, 1 when shaping does not hold, or pods reach less than they have to.

    Raises:
        KubedynoError: There is no cluster, it refuses, a measurement fails, or it was interrupted.
    """
    choice = target.choose(kubeconfig, context)
    made: list[Measurement | ShapeCheck | ManifestRun] = []
    deployed = None if manifest is None else _manifest(manifest)

    async def work(client: Client) -> list[str]:
        if deployed is not None:
            namespace, seconds = options.full_namespace, options.duration_s or None
            made.append(ManifestRun(client, deployed, namespace, samples=options.samples, seconds=seconds))
        elif shaping is not None:
            made.append(ShapeCheck(client, options, shaping))
        else:
            made.append(Measurement(client, options, outputs))
        return await made[0].run()

    def figures() -> dict[str, float]:
        return _figures(made[0].results) if made and isinstance(made[0], Measurement) else {}

    with _registered("net perf", choice, outputs.report_dir, figures, lambda: bool(made) and made[0].passed):
        print("\n".join(aio.run(_with(choice, work, verb="net perf", yes=yes))))  # noqa: T201 - the output
    return 0 if made[0].passed else 1


def _figures(results: Sequence[Result]) -> dict[str, float]:
    """Return the medians over samples, by test and way."""
    values: dict[str, list[float]] = {}
    for result in results:
        action = result.action
        for name, value in msgspec.structs.asdict(result.figures).items():
            if value is not None:
                values.setdefault(f"{action.test}.{action.scenario}.{action.node}.{name}", []).append(value)
    return {name: median(found) for name, found in values.items()}


@contextmanager
def _registered(
    kind: str,
    choice: Choice,
    directory: Path | None,
    figures: Callable[[], dict[str, float]],
    passed: Callable[[], bool],
) -> Iterator[None]:
    """Enter a measurement into the run store at its end, however that came about."""
    began_s, began_mono_s = SYSTEM_CLOCK.now(), SYSTEM_CLOCK.monotonic()
    code = 1
    try:
        yield
        code = 0 if passed() else 1
    except KubedynoError as error:
        code = error.exit_code
        raise
    finally:
        runs.register(
            RunRecord(
                uuid=Random().uid(),
                kind=kind,
                started=rfc3339(began_s),
                started_s=began_s,
                took_s=SYSTEM_CLOCK.monotonic() - began_mono_s,
                config=kind,
                config_digest="",
                target=f"embedded {choice.running.name}" if choice.running is not None else choice.target.server,
                verdict=runs.verdict_of(code, interrupted=code == _INTERRUPTED),
                exit_code=code,
                directory="" if directory is None else str(directory.resolve()),
                figures=figures(),
            )
        )


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
    clock: Clock = SYSTEM_CLOCK,
) -> int:
    """Check and print; returns the exit code, 1 when a test failed.

    Raises:
        KubedynoError: There is no cluster, it refuses, or it was interrupted.
    """
    choice = target.choose(kubeconfig, context)
    if choice.running is not None:
        options = replace(options, no_world="pods of the embedded cluster reach nothing outside of it")
    made: list[Checking] = []

    async def work(client: Client) -> list[str]:
        made.append(Checking(client, options, clock))
        return await made[0].run()

    def figures() -> dict[str, float]:
        failed = sum(bool(one.failures) for checking in made for one in checking.outcomes)
        return {"failed": float(failed), "tests": float(sum(len(checking.outcomes) for checking in made))}

    started = rfc3339(clock.now()).removesuffix("Z")
    with _registered("net test", choice, None, figures, lambda: bool(made) and made[0].passed):
        print("\n".join(aio.run(_with(choice, work, verb="net test", yes=yes))))  # noqa: T201 - the output
    if junit is not None:
        try:
            junit.write_text(junit_of(made[0].outcomes, properties, started), encoding="utf-8")
        except OSError as error:
            raise KubedynoError(f"{junit}: cannot be written ({error.strerror})") from error
    return 0 if made[0].passed else 1


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
            raise KubedynoError(f"{verb}: interrupted; what it had created is removed", _INTERRUPTED) from None
