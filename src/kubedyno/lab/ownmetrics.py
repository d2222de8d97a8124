"""kubedyno's own metrics on a loopback port (`--metrics-port`): what it does now, for a Prometheus of yours.

Served by a thread with a loop of its own, so that it answers however busy the command is, and however many loops it has
one after the other. It reads plain counters; nothing waits for it.
"""

import asyncio
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kubedyno import __version__
from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.base.errors import KubedynoError
from kubedyno.cluster.apiserver import processpage
from kubedyno.cluster.apiserver.exposition import Page
from kubedyno.http.onepage import OnePage
from kubedyno.load.run import Run

_START_S = 10.0

Part = Callable[[Page], None]


class OwnMetrics:
    """What a command tells of itself.

    Args:
        command: Its name.

    Attributes:
        parts: Add more to each page.
    """

    def __init__(self, command: str) -> None:
        self.parts: list[Part] = []
        self._command = command
        self._started_s = SYSTEM_CLOCK.now()
        self._runs = 0
        self._run: Run | None = None
        # (job, outcome) → requests of runs that have ended.
        self._ended: Counter[tuple[str, str]] = Counter()
        self._failed_runs = 0

    def follow(self, run: Run) -> None:
        """Tell of a run from now on."""
        self._runs += 1
        self._run = run

    def ended(self, run: Run) -> None:
        """Keep what a run has counted; it may go."""
        self._ended.update(_outcomes(run))
        self._failed_runs += run.result.exit_code != 0
        self._run = None

    def page(self) -> bytes:
        """Return the page."""
        page = Page()
        about = "What this is."
        page.add("kubedyno_build_info", "gauge", about, {"version": __version__, "command": self._command}, 1)
        page.add("process_cpu_seconds_total", "counter", "CPU used.", {}, processpage.process_cpu_s())
        page.add("process_resident_memory_bytes", "gauge", "Memory.", {}, processpage.resident_bytes())
        page.add("process_open_fds", "gauge", "Open files.", {}, processpage.open_files())
        page.add("process_start_time_seconds", "gauge", "Start, epoch seconds.", {}, self._started_s)
        if self._runs:
            self._load(page)
        for part in self.parts:
            part(page)
        return page.text()

    def _load(self, page: Page) -> None:
        run = self._run
        page.add("kubedyno_runs_total", "counter", "Runs that were begun.", {}, self._runs)
        page.add("kubedyno_runs_failed_total", "counter", "Runs that have ended otherwise.", {}, self._failed_runs)
        page.add("kubedyno_run_active", "gauge", "1 while one is under way.", {}, run is not None)
        # Not `+`: that would drop what is 0, and a series must not go and come.
        totals = self._ended.copy()
        if run is not None:
            totals.update(_outcomes(run))
        for (job, outcome), count in sorted(totals.items()):
            labels = {"job_name": job, "outcome": outcome}
            page.add("kubedyno_requests_total", "counter", "Requests of jobs by what came of them.", labels, count)
        current = run.current if run is not None else None
        if current is None:
            return
        record, of = current.record, {"job_name": current.record.name}
        page.add("kubedyno_requests_asked", "gauge", "Requests that the job is to send.", of, record.asked)
        page.add("kubedyno_qps_asked", "gauge", "Rate that was asked for.", of, record.qps)
        page.add("kubedyno_qps_reached", "gauge", "Rate that is reached.", of, record.reached_qps)
        if current.pods is not None:
            tracker = current.pods.tracker
            page.add("kubedyno_pods_ready", "gauge", "The job's pods that are Ready.", of, tracker.ready)
            for phase, count in list(tracker.phases.items()):
                page.add("kubedyno_pods", "gauge", "The job's pods by phase.", {**of, "phase": str(phase)}, count)


def _outcomes(run: Run) -> Counter[tuple[str, str]]:
    """Return a run's requests by job and outcome."""
    found: Counter[tuple[str, str]] = Counter()
    for job in list(run.result.jobs):
        record = job.record
        found[record.name, "accepted"] += record.accepted
        found[record.name, "retried"] += record.retried
        found[record.name, "failed"] += sum(list(record.failed.values()))
    return found


@contextmanager
def serving(port: int | None, command: str) -> Iterator[OwnMetrics]:
    """Serve a command's own metrics while the context is open; with None nothing is served, 0 is a free port and told.

    Raises:
        KubedynoError: The port is no port, or in use.
    """
    own = OwnMetrics(command)
    if port is None:
        yield own
        return
    if not 0 <= port <= 65535:
        raise KubedynoError(f"--metrics-port {port}: must be between 0 and 65535")
    door = _Door(own, port)
    door.start()
    if not port:
        print(f"own metrics: http://127.0.0.1:{door.port}/metrics", file=sys.stderr, flush=True)  # noqa: T201
    try:
        yield own
    finally:
        door.stop()


class _Door:
    """The thread that answers."""

    def __init__(self, own: OwnMetrics, port: int) -> None:
        self._own = own
        self.port = port
        self._up = threading.Event()
        self._error: KubedynoError | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Event | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="metrics-port", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._up.wait(_START_S)
        if self._error is not None:
            raise KubedynoError(f"--metrics-port: {self._error}")

    def stop(self) -> None:
        if self._loop is not None and self._stopped is not None:
            self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(_START_S)

    async def _serve(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        server = OnePage(self._own.page)
        try:
            self.port = await server.start(self.port)
        except KubedynoError as error:
            self._error = error
            return
        finally:
            self._up.set()
        await self._stopped.wait()
        await server.close()
