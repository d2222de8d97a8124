"""What a run is told and what it leaves behind: options, the results of its jobs, and kube-burner's exit codes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubedyno.base.clock import Clock
from kubedyno.base.errors import EXIT_INTERRUPTED
from kubedyno.base.log import logger
from kubedyno.load.engine.record import JobRecord
from kubedyno.load.engine.sender import GONE_S
from kubedyno.load.engine.stuck import Reason
from kubedyno.load.measurements.measurement import Measurement
from kubedyno.load.measurements.podwatch import PodWatch
from kubedyno.load.measurements.sightings import Sightings
from kubedyno.load.metrics.scrape import Window
from kubedyno.load.plan.plan import JobPlan

log = logger(__name__)

EXIT_OK, EXIT_FAILED, EXIT_TIMEOUT, EXIT_ALERT, EXIT_MEASUREMENT = 0, 1, 2, 3, 4


@dataclass(slots=True)
class JobResult:
    """What one job left behind; `ended_at` of a window is where its queries end."""

    plan: JobPlan
    record: JobRecord
    pods: PodWatch | None = None
    measurements: list[Measurement] = field(default_factory=list)
    sightings: Sightings | None = None
    # Of a chain of jobs with metricsAggregate: the first one's name, which documents carry.
    measured_as: str = ""
    alerts: list[str] = field(default_factory=list)
    step: str = ""
    # What is before the first and after the last step of an incremental load: a window, without requests.
    frame: bool = False

    def end(self, clock: Clock) -> None:
        """Let its window end now."""
        self.record.ended_s, self.record.ended_at = clock.monotonic(), clock.now()

    @property
    def troubles(self) -> list[str]:
        """What of it could not be measured."""
        found = [] if self.pods is None else list(self.pods.trouble)
        found += [line for measurement in self.measurements for line in measurement.followed.trouble]
        return found + ([] if self.sightings is None else self.sightings.trouble)


@dataclass(slots=True)
class Options:
    """How to run; what to run is the Plan.

    Attributes:
        uuid: Benchmark id, any text.
        runid: Fresh for each process: labels, waits and watches key on it.
        timeout_s: Of the whole run.
        compat: 1 or 2: whose defaults, log lines and fields.
        version: What documents say of the program.
        fail_when_stuck_s: End after being stuck for so long; None never.
        gone_after_s: End after nobody answered for so long.
        user_metadata: Merged into jobSummary (top level) and `metadata` of every document.
        cluster_metadata: k8sVersion and totalNodes, merged likewise (2.x).
        directory: Of the configuration: scripts are looked for there too.
    """

    uuid: str
    runid: str
    timeout_s: float
    compat: int
    version: str
    fail_when_stuck_s: float | None = None
    gone_after_s: float = GONE_S
    user_metadata: Mapping[str, Any] = field(default_factory=dict)
    cluster_metadata: Mapping[str, Any] = field(default_factory=dict)
    directory: Path = field(default_factory=Path)

    @property
    def silence_s(self) -> float:
        """How long nobody may answer: a standstill, too."""
        return min(self.gone_after_s, self.fail_when_stuck_s or self.gone_after_s)

    @property
    def metadata(self) -> dict[str, Any]:
        """Of every document: the cluster's in 2.x, and the user's."""
        return ({**self.cluster_metadata} if self.compat == 2 else {}) | dict(self.user_metadata)


@dataclass(slots=True)
class RunResult:
    """What a run left behind; `exit_code` is kube-burner's, `reasons` are (seconds since start, cause) of waits."""

    jobs: list[JobResult] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    exit_code: int = EXIT_OK
    started_at: float = 0.0
    ended_at: float = 0.0
    reasons: list[tuple[float, Reason]] = field(default_factory=list)
    interrupted: bool = False

    def fail(self, line: str, code: int = EXIT_FAILED) -> None:
        """Note what makes the run fail, and tell it once; the last code counts, as in the original."""
        if line not in self.errors:
            log.error("%s", line)
        self.note(line, code)

    def frame(self, plan: JobPlan, clock: Clock) -> JobResult:
        """Begin a time of an incremental load that is none of its steps': it has a summary of its own, as in the original."""
        record = JobRecord(plan.spec.name, plan.spec.job_type, plan.spec.qps, plan.spec.burst)
        record.started_s, record.started_at = clock.monotonic(), clock.now()
        found = JobResult(plan, record, frame=True)
        found.end(clock)
        self.jobs.append(found)
        return found

    def note(self, line: str, code: int = EXIT_FAILED) -> None:
        """Note what makes the run fail and has been told."""
        if line not in self.errors:
            self.errors.append(line)
        self.exit_code = EXIT_INTERRUPTED if self.interrupted else code

    def interrupt(self) -> None:
        """Note that somebody wants it to end: whatever else goes wrong, that is how it ended."""
        self.interrupted = True
        self.fail("interrupted", EXIT_INTERRUPTED)

    def indexed(self) -> list[JobResult]:
        """Return the jobs whose documents are written."""
        return [job for job in self.jobs if not job.plan.spec.skip_indexing]


def window_of(job: JobResult, options: Options) -> Window:
    """Return the time of a job that queries ask about."""
    record = job.record
    metadata = options.metadata | ({"incrementalLoadUUID": job.step} if job.step else {})
    return Window(record.name, record.started_at, record.ended_at, options.uuid, metadata, record.churned)
