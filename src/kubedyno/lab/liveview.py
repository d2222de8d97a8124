"""The live page of a run (`--view`): started before it, told how it goes, ended with it.

The page is a process of its own (`web.live`, which nothing below may import: its module is named, not imported), so that
drawing costs the load nothing but a line each half second. Lines of JSON go to its standard input: `look` names a cluster,
`run` says how a run goes; it answers each `look` with a line of its own, the page's URL or what is wrong. It ends when its
input does.
"""

import asyncio
import contextlib
import os
import select
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import orjson

from kubedyno.base import aio
from kubedyno.base.clock import Clock
from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.load.measurements.pods import PodStart
from kubedyno.load.result import JobResult
from kubedyno.load.run import Run
from kubedyno.stats.hdr import Hdr

log = logger(__name__)

_MODULE = "kubedyno.web.live"
SAMPLE_S = 0.5
# Latencies are told of the pods that became Ready within so many seconds, beside those of all.
_RECENT_S = 5.0
_START_S = 20.0
_STOP_S = 3.0
# A pipe takes a line of at most so much whole or not at all.
_MAX_LINE = 4096
_MAX_TEXT = 300


def phase_of(job: JobResult) -> str:
    """Return what a job does now: its type's verb, "churn", or "wait" once all its requests are answered."""
    record = job.record
    if record.churn_started_at and not record.churn_ended_at:
        return "churn"
    done = record.accepted + sum(record.failed.values())
    return "wait" if record.asked and done >= record.asked else record.kind


class Sampler:
    """Says how a run goes, as the page is told it; each call costs what has happened since the last.

    Args:
        run: The run.
        clock: Time.
    """

    def __init__(self, run: Run, clock: Clock) -> None:
        self._run = run
        self._clock = clock
        self._job: JobResult | None = None
        self._read = 0
        self._waiting: list[PodStart] = []
        self._took_us = Hdr()
        self._recent: deque[tuple[float, int]] = deque()
        self._sent = (0, 0.0)

    def sample(self, *, ended: bool = False) -> dict[str, object]:
        """Return the run's figures now; times and latencies in seconds, rates a second."""
        run = self._run
        # Between jobs and after them: what the last one left.
        job, now_s = run.current or self._job, self._clock.monotonic()
        common = {
            "uuid": run.options.uuid[:_MAX_TEXT],
            "throttled": sum(each.record.throttled for each in run.result.jobs),
            "ended": ended,
            "code": run.result.exit_code,
        }
        if job is None:
            nothing = dict.fromkeys(("done", "asked", "qps", "reached", "average", "pods", "ready", "failed"), 0)
            return {"job": "", "phase": "prepare", "waiting": run.waiting_for[:_MAX_TEXT], **nothing, **common}
        if job is not self._job:
            self._job, self._read = job, 0
            self._waiting, self._took_us = [], Hdr()
            self._recent.clear()
            self._sent = (job.record.sent, now_s)
        record = job.record
        self._follow_pods(job)
        sent, since_s = self._sent
        reached = (record.sent - sent) / (now_s - since_s) if now_s > since_s else 0.0
        if now_s > since_s:
            self._sent = (record.sent, now_s)
        tracker = job.pods.tracker if job.pods is not None else None
        return {
            "job": record.name[:_MAX_TEXT],
            "phase": phase_of(job) if run.current is not None else "clean up",
            "done": record.accepted + sum(record.failed.values()),
            "asked": record.asked,
            "qps": record.qps,
            "reached": round(reached, 2),
            "average": round(record.reached_qps, 2),
            "pods": sum(n for n in tracker.phases.values() if n > 0) if tracker is not None else 0,
            "ready": tracker.ready if tracker is not None else 0,
            "startup": _figures(self._took_us),
            "recent": _figures(Hdr(took for _, took in self._recent)),
            "failed": sum(record.failed.values()),
            "waiting": run.waiting_for[:_MAX_TEXT],
            **common,
        }

    def _follow_pods(self, job: JobResult) -> None:
        now_s = self._clock.now()
        while self._recent and self._recent[0][0] < now_s - _RECENT_S:
            self._recent.popleft()
        if job.pods is None:
            return
        pods = job.pods.tracker.pods
        waiting = self._waiting + list(islice(pods.values(), self._read, None))
        self._read = len(pods)
        self._waiting = []
        for pod in waiting:
            ready_s = pod.seen_s.get("Ready")
            if ready_s is not None:
                took_us = int((ready_s - pod.seen_created_s) * 1e6)
                self._took_us.add(took_us)
                self._recent.append((ready_s, took_us))
            elif not pod.deleted:
                self._waiting.append(pod)


def _figures(took_us: Hdr) -> tuple[float, float, int] | None:
    """Return P50 and P99 in seconds, and of how many; None of none."""
    if not took_us.total:
        return None
    return round(took_us.quantile(50) / 1e6, 4), round(took_us.quantile(99) / 1e6, 4), took_us.total


class LiveView:
    """The page's process and what it is told.

    Args:
        port: 0 picks a free one.
        say: Prints a line.
    """

    def __init__(self, port: int, say: Callable[[str], None]) -> None:
        self._port = port
        self._say = say
        self._process: subprocess.Popen[bytes] | None = None
        self._looks_at: tuple[str, str | None] | None = None
        self._url = ""
        self._sampler: Sampler | None = None
        self._telling: asyncio.Task[None] | None = None

    def look(self, kubeconfig: Path | str | None, context: str | None = None) -> None:
        """Show a cluster from now on; the first call starts the page and says its URL.

        Args:
            kubeconfig: Path; None: as other commands find it.
            context: None: the kubeconfig's own.

        Raises:
            KubedynoError: The port is in use, or the page does not start.
        """
        wanted = (str(kubeconfig) if kubeconfig else "", context)
        if wanted == self._looks_at:
            return
        if self._process is None:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", _MODULE, str(self._port)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # Ctrl-C is the run's: the page ends when its input does.
                start_new_session=True,
            )
            assert self._process.stdin is not None, "it is a pipe"
            os.set_blocking(self._process.stdin.fileno(), False)
        self._looks_at = wanted
        self._write({"look": {"kubeconfig": wanted[0], "context": context}})
        answer = self._answer()
        if "url" not in answer:
            self.close()
            raise KubedynoError(f"--view: {answer.get('error', 'the page did not start')}")
        if not self._url:
            self._url = str(answer["url"])
            self._say(f"live page: {self._url}")

    def _answer(self) -> dict[str, object]:
        process = self._process
        assert process is not None, "it was started"
        assert process.stdout is not None, "it is a pipe"
        if not select.select([process.stdout], [], [], _START_S)[0]:
            return {"error": f"the page did not answer within {_START_S:g} s"}
        line = process.stdout.readline()
        try:
            found = orjson.loads(line)
        except orjson.JSONDecodeError:
            return {}
        return found if isinstance(found, dict) else {}

    def _write(self, message: dict[str, object]) -> None:
        """Tell the page; what it has no room for is not told, the next line says as much."""
        line = orjson.dumps(message) + b"\n"
        process = self._process
        if process is None or len(line) > _MAX_LINE:
            return
        assert process.stdin is not None, "it is a pipe"
        try:
            os.write(process.stdin.fileno(), line)
        except BlockingIOError:
            pass
        except BrokenPipeError:
            log.warning("the live page has ended")
            self._process = None

    def follow(self, run: Run, clock: Clock) -> None:
        """Tell of a run from now on; on the loop that it runs on."""
        self._sampler = Sampler(run, clock)
        self._telling = asyncio.get_running_loop().create_task(self._tell(self._sampler))

    async def _tell(self, sampler: Sampler) -> None:
        while True:
            self._write({"run": sampler.sample()})
            await aio.sleep(SAMPLE_S)

    def ended(self) -> None:
        """Tell that the run is over."""
        if self._telling is not None:
            self._telling.cancel()
        if self._sampler is not None:
            self._write({"run": self._sampler.sample(ended=True)})
        self._telling = self._sampler = None

    def stay(self) -> None:
        """Keep the page until Ctrl-C, or until it ends."""
        if self._process is None:
            return
        self._say(f"the page stays, with the run to replay: {self._url} (Ctrl-C ends it)")
        with contextlib.suppress(KeyboardInterrupt):
            self._process.wait()

    def close(self) -> None:
        """End the page."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None, "it is a pipe"
        assert process.stdout is not None, "it is a pipe"
        process.stdin.close()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


@contextmanager
def opened(port: int | None, say: Callable[[str], None]) -> Iterator[LiveView | None]:
    """Have a live page while the context is open; with None there is none.

    Args:
        port: 0 picks a free one; None: no page.
        say: Prints a line.

    Raises:
        KubedynoError: The port is no port.
    """
    if port is None:
        yield None
        return
    if not 0 <= port <= 65535:
        raise KubedynoError(f"--view-port {port}: must be between 0 and 65535")
    live = LiveView(port, say)
    try:
        yield live
    finally:
        live.close()


def port_of(*, view: bool, port: int | None, stay: bool) -> int | None:
    """Return the port that `--view`, `--view-port` and `--stay` ask for, None for no page."""
    return port or 0 if view or port is not None or stay else None
