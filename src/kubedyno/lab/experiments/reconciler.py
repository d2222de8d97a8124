"""`kubedyno experiment reconciler`: a full BPF map, and how a reconciler gets over it.

In: a `Request`. Out: a table, a document, a report. Desired services in StateDB are reconciled onto a hash map of a chosen
size; the map fills past it, lookups drop, services are deleted, the retries drain. Every figure is read from the tables,
the map and the reconciler while it happens.
"""

import asyncio
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from kubedyno import __version__
from kubedyno.base import aio
from kubedyno.base.clock import SYSTEM_CLOCK, Clock
from kubedyno.base.errors import KubedynoError
from kubedyno.base.random import Random
from kubedyno.base.times import rfc3339
from kubedyno.documents.reconciler import FILE_NAME, Phase, ReconcilerRun, Sample
from kubedyno.lab import runs
from kubedyno.lab.experiments import servicemap
from kubedyno.lab.experiments.servicemap import Service, ServiceMap
from kubedyno.reconciler.health import Health, Level
from kubedyno.reconciler.reconciler import Reconciler
from kubedyno.reconciler.settings import ReconcilerSettings
from kubedyno.reconciler.status import DONE, ERROR, pending
from kubedyno.report import reconciler as report
from kubedyno.statedb.db import DB
from kubedyno.statedb.table import Table

REPORT_NAME = "reconciler-experiment.html"
MAX_MAP_SIZE = 1 << 20
MAX_SERVICES = 200_000
MAX_BACKENDS = 64
EVERY_S = 0.05
# A phase's services are written over so many samples, so that the plot shows a slope.
_SLOPE = 16
# Samples after a phase has settled: what its probes are counted over.
_SETTLED = 16
_PROBES = 200
# Cilium's load balancer waits 1 s to a minute; here nobody should.
_SETTINGS = ReconcilerSettings(
    round_size=500, retry_min_s=0.05, retry_max_s=0.5, refresh_interval_s=None, prune_interval_s=None
)
_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Request:
    """What to do.

    Attributes:
        map_size: Entries of the map.
        services: Desired at the height of it.
        backends: Of each service.
        model: Take a modelled map even where the kernel's may be had.
        json: Print the document, not a table.
        directory: Where document and report go.
        seed: Of the probes.
    """

    map_size: int = 4096
    services: int = 1500
    backends: int = 3
    model: bool = False
    json: bool = False
    directory: Path = Path()
    seed: int = 1

    def __post_init__(self) -> None:
        for flag, value, most in (
            ("--map-size", self.map_size, MAX_MAP_SIZE),
            ("--services", self.services, MAX_SERVICES),
            ("--backends", self.backends, MAX_BACKENDS),
        ):
            if not 1 <= value <= most:
                raise KubedynoError(f"{flag} {value}: write a number from 1 to {most}")


def run(request: Request) -> int:
    """Do the experiment, print and write what came of it; returns the exit code."""
    if not request.directory.is_dir():
        raise KubedynoError(f"--directory {request.directory}: there is no such directory")
    if not os.access(request.directory, os.W_OK):
        raise KubedynoError(f"--directory {request.directory}: cannot be written to")
    begun = runs.beginning(Random().uid(), "experiment", target="this machine", config="experiment reconciler")
    with runs.entered(begun) as entry:
        outcome = aio.run(experiment(request, SYSTEM_CLOCK))
        encoded = _written(outcome, request.directory)
        entry.records.append(runs.record_of_experiment(outcome, request.directory))
    if request.json:
        print(encoded.decode())  # noqa: T201 - the command's output
    else:
        print("\n".join(report.lines(outcome)))  # noqa: T201
        print(f"report: {request.directory / REPORT_NAME}")  # noqa: T201
    return 0


def _written(outcome: ReconcilerRun, directory: Path) -> bytes:
    """Write document and report, and return the document."""
    encoded = msgspec.json.format(msgspec.json.encode(outcome), indent=1)
    try:
        (directory / FILE_NAME).write_bytes(encoded)
        (directory / REPORT_NAME).write_text(report.page(outcome))
    except OSError as error:
        raise KubedynoError(f"{directory}: cannot be written to ({error.strerror})") from error
    return encoded


async def experiment(request: Request, clock: Clock) -> ReconcilerRun:
    """Do the experiment.

    Raises:
        KubedynoError: The kernel refuses a map of that size, or the reconciler does not come to an end.
    """
    try:
        rows, why_model = servicemap.open_map(request.map_size, model=request.model)
    except OSError as error:
        raise KubedynoError(f"--map-size {request.map_size}: the kernel refuses such a map ({error})") from error
    try:
        return await _Experiment(request, clock, ServiceMap(rows), why_model).run()
    finally:
        rows.close()


class _Experiment:
    def __init__(self, request: Request, clock: Clock, target: ServiceMap, why_model: str) -> None:
        self._request = request
        self._clock = clock
        self._target = target
        self._why_model = why_model
        self._random = Random(request.seed)
        self._db = DB(clock)
        self._table: Table[Service] = self._db.table("services", lambda service: service.key)
        self._health = Health()
        self._reconciler = Reconciler(
            self._db, self._table, target, servicemap.status_of, servicemap.with_status, settings=_SETTINGS,
            health=self._health,
        )  # fmt: skip
        self._task: asyncio.Task[None] | None = None
        self._began_s = clock.monotonic()
        self._samples: list[Sample] = []
        self._phases: list[Phase] = []

    async def run(self) -> ReconcilerRun:
        request, started = self._request, rfc3339(self._clock.now())
        each = 1 + request.backends
        room = request.map_size // each
        half = min(request.services, max(room // 2, 1))
        self._task = asyncio.create_task(self._reconciler.run())
        try:
            await self._write("half full", range(half), success=True)
            # What fails here is what the experiment is about: attempted is enough.
            name = "filled past its size" if request.services > room else "filled"
            await self._write(name, range(half, request.services), success=False)
            # A tenth more than what has no room, so that the map is not full to the last row again.
            surplus = max(request.services - room, 0)
            await self._delete("services deleted", range(min(surplus + surplus // 10 + 1, request.services)))
        finally:
            await aio.end(self._task)
        metrics = self._reconciler.metrics
        return ReconcilerRun(
            started=started,
            kubedyno=__version__,
            kernel="" if self._why_model else platform.release(),
            why_model=self._why_model,
            map_size=request.map_size,
            backends=request.backends,
            # Sleeps end late and looking takes time.
            every_s=self._samples[-1].at_s / len(self._samples),
            phases=self._phases,
            samples=self._samples,
            attempts=metrics.update.count + metrics.delete.count,
            errors=metrics.errors,
            checks=_checks(self._phases, request.map_size),
            uuid=Random().uid(),
        )

    # --- phases -------------------------------------------------------------------------------------------------

    async def _write(self, name: str, numbers: Sequence[int], *, success: bool) -> None:
        began_s, step = self._clock.monotonic(), -(-len(numbers) // _SLOPE) or 1
        for start in range(0, len(numbers), step):
            with self._db.write(self._table, handle="desired") as txn:
                for number in numbers[start : start + step]:
                    backends = tuple(number * self._request.backends + i + 1 for i in range(self._request.backends))
                    txn.insert(self._table, Service(number, backends, pending(self._clock.now())))
            await self._tick()
        await self._settle(name, began_s, success=success)

    async def _delete(self, name: str, numbers: Sequence[int]) -> None:
        began_s, step = self._clock.monotonic(), -(-len(numbers) // _SLOPE) or 1
        for start in range(0, len(numbers), step):
            with self._db.write(self._table, handle="desired") as txn:
                for number in numbers[start : start + step]:
                    txn.delete(self._table, Service(number, (), pending(0.0)).key)
            await self._tick()
        await self._settle(name, began_s, success=True)

    async def _settle(self, name: str, began_s: float, *, success: bool) -> None:
        """Go on until all was attempted, or done; then probe for a while and note the phase."""
        revision = self._table.revision
        while True:
            reached = self._reconciler.reached
            if reached.succeeded(revision) if success else reached.revision >= revision:
                break
            if self._clock.monotonic() - began_s > _TIMEOUT_S:
                raise KubedynoError(f"the reconciler has not come to an end within {_TIMEOUT_S:.0f} s: {name}")
            await self._tick()
        took_s = self._clock.monotonic() - began_s
        # The last round's report comes with its end.
        settled = [await self._tick() for _ in range(_SETTLED)][1:]
        records = self._table.all()
        errors = [record.obj.status.error for record in records if record.obj.status.kind is ERROR]
        wanted = sum(record.obj.rows for record in records)
        health = self._reconciler.health
        self._phases.append(
            Phase(
                name=name,
                services=len(records),
                wanted_rows=wanted,
                pressure=wanted / self._request.map_size,
                rows=self._target.count(),
                done=sum(record.obj.status.kind is DONE for record in records),
                failing=len(errors),
                torn=self._target.torn(record.obj for record in records),
                error=errors[0] if errors else "",
                health=f"{health.level.value}: {health.text}" if health.level is not None else "",
                probes=sum(sample.probes for sample in settled),
                drops=sum(sample.drops for sample in settled),
                took_s=took_s,
            )
        )

    # --- looking ------------------------------------------------------------------------------------------------

    async def _tick(self) -> Sample:
        """Let the reconciler work for a moment, look services up, and note how things stand."""
        await aio.sleep(EVERY_S)
        if self._task is not None and self._task.done():
            # It never ends by itself: its error is ours.
            self._task.result()
        records = self._table.all()
        probes = drops = 0
        if records:
            for _ in range(_PROBES):
                service = records[self._random.randrange(len(records))].obj
                probes += 1
                drops += not self._target.finds_backend(service.number, self._random.randrange(1 << 16))
        sample = Sample(
            at_s=round(self._clock.monotonic() - self._began_s, 3),
            wanted_rows=sum(record.obj.rows for record in records),
            rows=self._target.held,
            failing=self._reconciler.failing,
            probes=probes,
            drops=drops,
            degraded=self._reconciler.health.level is Level.DEGRADED,
        )
        self._samples.append(sample)
        return sample


def _checks(phases: Sequence[Phase], map_size: int) -> dict[str, bool]:
    """Return what the experiment shows, and whether it did; without an overflow only what then remains."""
    half, full, healed = phases
    checks = {
        "all services work while there is room": half.failing == 0 and half.drops == 0,
        "no service is in the map in part": not any(phase.torn for phase in phases),
    }
    if full.wanted_rows > map_size:
        checks |= {
            "the services that found no room say E2BIG": full.failing > 0 and "E2BIG" in full.error,
            "the reconciler is Degraded": full.health.startswith(Level.DEGRADED.value),
            "map pressure is above 1": full.pressure > 1,
            'lookups drop: "Service backend not found"': full.drops > 0,
        }
    checks["after the deletion the retries drain: healthy, no drops"] = (
        healed.failing == 0 and healed.drops == 0 and healed.health.startswith(Level.OK.value)
    )
    return checks
