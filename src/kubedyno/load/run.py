"""One run of a configuration, from its Plan to its documents, in the order of kube-burner's, on one page.

Config errors are found before this; here only the cluster can disappoint. Whatever happens (a job fails, time is
up, somebody presses Ctrl-C) the documents of what was done are written.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kubedyno.base import aio
from kubedyno.base.clock import Clock
from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.base.random import Random
from kubedyno.base.times import go_duration, rfc3339_micro
from kubedyno.client.api import Client
from kubedyno.documents.local import LocalIndexer
from kubedyno.kube.status import StatusError
from kubedyno.load.engine import job as jobs
from kubedyno.load.engine.cleanup import collect
from kubedyno.load.engine.mapping import Mapping as ServedKind
from kubedyno.load.engine.mapping import Mappings, discover
from kubedyno.load.engine.preload import preload
from kubedyno.load.engine.record import JobRecord
from kubedyno.load.engine.stuck import Diagnose, Reason, StuckError, StuckWatch
from kubedyno.load.measurements import latency
from kubedyno.load.measurements.podwatch import PodWatch
from kubedyno.load.plan.plan import JobPlan, Plan

log = logger(__name__)

EXIT_OK, EXIT_FAILED, EXIT_TIMEOUT, EXIT_MEASUREMENT = 0, 1, 2, 4
# How often pods by phase are noted for the timeline.
SAMPLE_S = 0.25
# Clean-up after a run that was interrupted or timed out takes at most so long.
LAST_CLEANUP_S = 60.0


@dataclass(slots=True)
class JobResult:
    """What one job left behind."""

    plan: JobPlan
    record: JobRecord
    pods: PodWatch | None = None


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
        user_metadata: Merged into jobSummary (top level) and `metadata` of every document.
        cluster_metadata: k8sVersion and totalNodes, merged likewise (2.x).
    """

    uuid: str
    runid: str
    timeout_s: float
    compat: int
    version: str
    fail_when_stuck_s: float | None = None
    user_metadata: Mapping[str, Any] = field(default_factory=dict)
    cluster_metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def metadata(self) -> dict[str, Any]:
        return {**self.cluster_metadata, **self.user_metadata}


class Run:
    """Runs a plan once.

    Args:
        plan: What to do.
        options: How.
        client: The target.
        clock: Time.
        random: For names.
        indexers: Where documents go.
        diagnose: Says why pods do not run.
    """

    def __init__(
        self,
        plan: Plan,
        options: Options,
        client: Client,
        clock: Clock,
        random: Random,
        indexers: Sequence[LocalIndexer],
        diagnose: Diagnose,
    ) -> None:
        self.plan = plan
        self.options = options
        self.result = RunResult()
        self.waiting_for = ""
        self.current: JobResult | None = None
        self.on_reasons: Callable[[Sequence[Reason], bool], None] = lambda _reasons, _stuck: None
        self._client = client
        self._clock = clock
        self._random = random
        self._indexers = indexers
        self._diagnose = diagnose
        self._mappings = Mappings([])
        self._started_s = 0.0

    async def run(self) -> RunResult:
        """Do everything; never raises what a run may meet, the result says it."""
        result = self.result
        result.started_at = self._clock.now()
        self._started_s = self._clock.monotonic()
        for warning in self.plan.warnings:
            log.warning("%s", warning)
        log.info("🔥 Starting kube-burner (%s) with UUID %s", self.options.version, self.options.uuid)
        try:
            async with aio.timeout(self.options.timeout_s):
                await self._all()
        except TimeoutError:
            self._fail(f"{go_duration(int(self.options.timeout_s * 1e9))} timeout reached", EXIT_TIMEOUT)
        except StuckError as error:
            self._fail(str(error), EXIT_FAILED)
        except asyncio.CancelledError:
            # Ctrl-C: what is under way was stopped; the documents are still written below.
            result.interrupted = True
            self._fail("interrupted", EXIT_FAILED)
        except (KubedynoError, StatusError) as error:
            self._fail(getattr(error, "message", str(error)), EXIT_FAILED)
        except OSError as error:
            self._fail(f"{self._client.server}: {error}", EXIT_FAILED)
        if self.current is not None:
            await self._end_job(self.current, early=True)
        result.ended_at = self._clock.now()
        self._index_summaries()
        if result.exit_code != EXIT_TIMEOUT and not result.interrupted:
            # In the original this is the last line of a run that failed, too.
            log.info("Finished execution with UUID: %s", self.options.uuid)
            await self._collect_all()
        if result.interrupted:
            await self._clean_up()
        if result.errors:
            log.error("%s", result.errors[0] if len(result.errors) == 1 else f"[{', '.join(result.errors)}]")
        else:
            log.info("👋 Exiting kube-burner %s", self.options.uuid)
        return result

    async def _clean_up(self) -> None:
        """Delete what this run created, after it was interrupted; what could not be deleted is listed by the caller."""
        log.info("Cleaning up what this run created (interrupt again to leave at once)")
        selector = f"kube-burner.io/runid={self.options.runid}"
        try:
            async with aio.timeout(LAST_CLEANUP_S):
                for job in self.result.jobs:
                    await collect(self._client, selector, self._outside(job.plan), self._clock, LAST_CLEANUP_S)
        except TimeoutError:
            self._fail(f"what this run created is not gone after {LAST_CLEANUP_S:.0f}s", EXIT_FAILED)
        except (KubedynoError, StatusError, OSError) as error:
            self._fail(f"cleaning up: {getattr(error, 'message', error)}", EXIT_FAILED)

    async def _collect_all(self) -> None:
        """Do what `global.gc` asks for, within what is left of the run's time."""
        if not self.plan.spec.global_.gc:
            return
        log.info("Waiting for garbage collection to finish")
        left_s = self.options.timeout_s - (self._clock.monotonic() - self._started_s)
        try:
            async with aio.timeout(max(left_s, 1.0)):
                for job in self.plan.jobs:
                    await self.collect(job)
        except TimeoutError:
            self._fail("garbage collection did not finish in time", self.result.exit_code or EXIT_TIMEOUT)
        except asyncio.CancelledError:
            self.result.interrupted = True
            self._fail("interrupted", EXIT_FAILED)
        except (KubedynoError, StatusError) as error:
            self._fail(getattr(error, "message", str(error)), EXIT_FAILED)

    def _fail(self, line: str, code: int) -> None:
        if line not in self.result.errors:
            log.error("%s", line)
            self.result.errors.append(line)
        self.result.exit_code = code

    async def _all(self) -> None:
        self._mappings = await discover(self._client)
        creating = [job for job in self.plan.jobs if job.spec.job_type == "create"]
        for job in creating:
            if job.spec.pre_load_images:
                await preload(
                    self._client,
                    job.spec.name,
                    job.images,
                    period_s=job.spec.pre_load_period_s,
                    fixed_sleep=self.options.compat == 1,
                    node_labels=job.spec.pre_load_node_labels,
                    namespace_labels=job.spec.namespace_labels if self.options.compat == 1 else {},
                    clock=self._clock,
                    random=self._random,
                )
        for job in creating:
            if job.spec.cleanup:
                if self.options.compat == 2:
                    log.info("Cleaning up previous runs for job: %s", job.spec.name)
                await self.collect(job)
        for job in self.plan.jobs:
            await self._job(job)
        if self.plan.spec.global_.wait_when_finished:
            for job in creating:
                with_context = self._context()
                try:
                    await jobs.wait_ready(job, with_context)
                except jobs.WaitTimeoutError as error:
                    self._fail(str(error), EXIT_FAILED)

    async def _job(self, plan: JobPlan) -> None:
        spec = plan.spec
        if self.options.compat == 2:
            log.info("Initializing measurements for job: %s", spec.name)
        else:
            log.info("QPS: %g", spec.qps)
            log.info("Burst: %d", spec.burst)
            for item in plan.objects:
                log.info(
                    "Job %s: %d iterations with %d %s replicas",
                    spec.name,
                    spec.job_iterations,
                    item.replicas,
                    item.kind,
                )
        record = JobRecord(spec.name, spec.job_type, spec.qps, spec.burst)
        current = self.current = JobResult(plan, record)
        self.result.jobs.append(current)
        record.started_s = self._clock.monotonic()
        record.started_at = self._clock.now()
        if spec.job_type == "create":
            measured = any(m.name == "podLatency" for m in spec.measurements)
            selector = f"kube-burner.io/runid={self.options.runid},kube-burner.io/job={spec.name}"
            if measured:
                log.info("%sRegistered measurement: podLatency", "📈 " if self.options.compat == 1 else "")
                using = f" using selector [{selector}]" if self.options.compat == 2 else ""
                log.info("Creating /v1, Resource=pods latency watcher for %s%s", spec.name, using)
            current.pods = PodWatch(self._client, selector, self._clock, events=measured)
            await current.pods.start()
        sampler = asyncio.create_task(self._sample(current))
        log.info("Triggering job: %s", spec.name)
        try:
            await jobs.execute(plan, self._context(), record)
            if spec.job_type == "create" and spec.verify_objects:
                log.info("Verifying created objects")
                if await jobs.verify(plan, self._context()):
                    log.error("object verification failed")
                    if spec.error_on_verify:
                        self._fail("object verification failed", EXIT_FAILED)
        except jobs.WaitTimeoutError as error:
            if self.options.compat == 1:
                raise
            self._fail(str(error), EXIT_FAILED)
        finally:
            sampler.cancel()
        if record.failed:
            given_up = sum(record.failed.values())
            self._fail(f"{given_up} of {record.asked} requests given up: {dict(record.failed)}", EXIT_FAILED)
        if spec.job_pause_s:
            log.info("Pausing for %s before finishing job", go_duration(int(spec.job_pause_s * 1e9)))
            await aio.sleep(spec.job_pause_s)
        await self._end_job(current)
        if spec.gc:
            await self.collect(plan)

    async def _end_job(self, current: JobResult, *, early: bool = False) -> None:
        """Close a job's books; also called for the job in which a run ended early."""
        self.current = None
        record = current.record
        record.ended_s = self._clock.monotonic()
        record.ended_at = self._clock.now()
        if not early and not self.plan.spec.global_.wait_when_finished:
            log.info("Job %s took %ds", record.name, round(record.ended_s - record.started_s))
        if current.pods is not None:
            record.phases.append((record.ended_s - record.started_s, dict(current.pods.tracker.phases)))
            await current.pods.stop()
            self._measure(current)

    def _context(self) -> jobs.JobContext:
        def waiting(text: str) -> None:
            self.waiting_for = text

        return jobs.JobContext(
            self._client,
            self._clock,
            self._mappings,
            self.options.uuid,
            self.options.runid,
            self.options.compat,
            self._stuck,
            waiting,
        )

    def _stuck(self) -> StuckWatch:
        pods = self.current.pods if self.current is not None else None

        def told(reasons: Sequence[Reason], stuck: bool) -> None:
            at_s = self._clock.monotonic() - self._started_s
            self.result.reasons += [(at_s, reason) for reason in reasons]
            self.on_reasons(reasons, stuck)

        return StuckWatch(
            self._clock,
            (lambda: pods.tracker.changes) if pods is not None else (lambda: 0),
            self._diagnose,
            self.options.fail_when_stuck_s,
            told,
        )

    async def _sample(self, current: JobResult) -> None:
        last: dict[str, int] | None = None
        while current.pods is not None:
            phases = {name: n for name, n in current.pods.tracker.phases.items() if n}
            if phases != last:
                last = phases
                current.record.phases.append((self._clock.monotonic() - current.record.started_s, phases))
            await aio.sleep(SAMPLE_S)

    async def collect(self, plan: JobPlan) -> int:
        """Delete what runs of a job created, whatever their uuid, as the original does."""
        selector = f"kube-burner.io/job={plan.spec.name}"
        return await collect(self._client, selector, self._outside(plan), self._clock, self.options.timeout_s)

    def _outside(self, plan: JobPlan) -> list[tuple[ServedKind, str]]:
        return [
            (mapping, namespace)
            for kind, api_version, namespace in plan.outside
            if (mapping := self._mappings.find(api_version, kind)) is not None
        ]

    # --- documents ---------------------------------------------------------------------------------------------

    def _measure(self, current: JobResult) -> None:
        spec = current.plan.spec
        measurement = next((m for m in spec.measurements if m.name == "podLatency"), None)
        if measurement is None or current.pods is None:
            return
        log.info("Stopping measurement: podLatency")
        options = self.options
        metadata = options.metadata if options.compat == 2 else dict(options.user_metadata)
        pods = list(current.pods.tracker.pods.values())
        summaries = latency.quantiles(pods, options.compat)
        if measurement.thresholds:
            log.info("Evaluating latency thresholds")
        unit = " ms" if options.compat == 2 else ""
        for name, s in summaries.items():
            figures = f"99th: {int(s.p99)}{unit} max: {int(s.maximum)}{unit} avg: {int(s.average)}{unit}"
            log.info("%s: %s %s", spec.name, name, figures)
        label = "podLatencyQuantilesMeasurement" if options.compat == 2 else "podLatency"
        for line in latency.violations(summaries, measurement.thresholds, label):
            self._fail(line, EXIT_MEASUREMENT)
        if spec.skip_indexing:
            return
        log.info("Indexing collected data from measurement: podLatency")
        documents = latency.pod_documents(
            pods, job=spec.name, uuid=options.uuid, metadata=metadata, compat=options.compat
        )
        quantiles = latency.quantile_documents(
            summaries,
            measurement="podLatency",
            job=spec.name,
            uuid=options.uuid,
            timestamp=rfc3339_micro(self._clock.now()),
            metadata=metadata,
        )
        self.index(f"podLatencyMeasurement-{spec.name}", documents, announce="podLatencyMeasurement")
        self.index(f"podLatencyQuantilesMeasurement-{spec.name}", quantiles, announce="podLatencyQuantilesMeasurement")

    def _index_summaries(self) -> None:
        documents = [self._summary(job) for job in self.result.jobs if not job.plan.spec.skip_indexing]
        if documents and self._indexers:
            log.info("Indexing job summaries")
            self.index("jobSummary", documents)

    def _summary(self, job: JobResult) -> dict[str, Any]:
        record, options = job.record, self.options
        document: dict[str, Any] = {
            "timestamp": rfc3339_micro(record.started_at),
            "endTimestamp": rfc3339_micro(record.ended_at),
            "elapsedTime": round(record.ended_s - record.started_s),
            "uuid": options.uuid,
            "metricName": "jobSummary",
            "version": options.version,
            # One code for the whole run: one failing job fails every summary, as in the original.
            "passed": self.result.exit_code == EXIT_OK,
            "jobConfig": job.plan.spec.summary_document(options.compat),
        }
        if self.result.exit_code == EXIT_TIMEOUT:
            document["executionErrors"] = ", ".join(self.result.errors)
        if options.compat == 1:
            elapsed_s = record.ended_s - record.started_s
            rate = round(record.accepted / elapsed_s, 3) if elapsed_s else 0
            if rate:
                document["achievedQps"] = rate
            return {**document, **options.user_metadata}
        return {**document, **options.metadata}

    def index(self, metric: str, documents: Sequence[Mapping[str, Any]], announce: str = "") -> None:
        """Write documents to every indexer; none is an error line, as in the original."""
        for indexer in self._indexers:
            if announce:
                log.info("Indexing metric %s", announce)
            if not documents:
                log.error("empty document list in %s", metric)
                continue
            path, count = indexer.index(metric, documents)
            verb = "created with" if self.options.compat == 1 else "now contains"
            log.info("File %s %s %d documents", path, verb, count)
