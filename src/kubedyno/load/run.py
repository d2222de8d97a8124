"""One run of a configuration, from its Plan to its documents, in the order of kube-burner's, on one page.

Config errors are found before this; here only the cluster can disappoint. Whatever happens (a job fails, time is
up, somebody presses Ctrl-C) the documents of what was done are written.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubedyno.base import aio
from kubedyno.base.clock import Clock
from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.base.random import Random
from kubedyno.base.times import go_duration, rfc3339_micro
from kubedyno.client.api import Client
from kubedyno.kube.status import StatusError
from kubedyno.load.config import measuring
from kubedyno.load.config.sources import read_text
from kubedyno.load.config.spec import JobSpec, MeasurementSpec
from kubedyno.load.engine import health
from kubedyno.load.engine import job as jobs
from kubedyno.load.engine.cleanup import Removed, collect
from kubedyno.load.engine.context import JobContext, Kinds
from kubedyno.load.engine.hooks import Hooks, script
from kubedyno.load.engine.mapping import Mapping as ServedKind
from kubedyno.load.engine.preload import preload
from kubedyno.load.engine.record import JobRecord
from kubedyno.load.engine.sender import GONE_S
from kubedyno.load.engine.steps import steps
from kubedyno.load.engine.stuck import Diagnose, Reason, StuckError, StuckWatch
from kubedyno.load.engine.watchers import Watchers
from kubedyno.load.measurements import latency
from kubedyno.load.measurements.kinds import KINDS, ConditionLatency
from kubedyno.load.measurements.measurement import ERROR_SHARE, Common, Measurement
from kubedyno.load.measurements.podlatency import PodLatency
from kubedyno.load.measurements.podwatch import PodWatch
from kubedyno.load.measurements.pprof import Pprof
from kubedyno.load.metrics.scrape import Window
from kubedyno.load.outputs import Outputs
from kubedyno.load.plan.plan import JobPlan, Plan

log = logger(__name__)

EXIT_OK, EXIT_FAILED, EXIT_TIMEOUT, EXIT_ALERT, EXIT_MEASUREMENT = 0, 1, 2, 3, 4
# How often pods by phase are noted for the timeline.
SAMPLE_S = 0.25
# What waits have seen, measurements see on watches of their own: at most so much later.
SETTLE_S = 0.5
# Clean-up after a run that was interrupted or timed out takes at most so long.
LAST_CLEANUP_S = 60.0
COLLECTION = "garbage-collection"
# Objects of these kinds make the cluster serve others.
BRINGING = frozenset({"CustomResourceDefinition", "APIService", "Subscription"})


@dataclass(slots=True)
class JobResult:
    """What one job left behind; `ended_at` of a window is where its queries end."""

    plan: JobPlan
    record: JobRecord
    pods: PodWatch | None = None
    measurements: list[Measurement] = field(default_factory=list)
    # Of a chain of jobs with metricsAggregate: the first one's name, which documents carry.
    measured_as: str = ""
    alerts: list[str] = field(default_factory=list)
    step: str = ""


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
        directory: Of the configuration: scripts are looked for there too.
    """

    uuid: str
    runid: str
    timeout_s: float
    compat: int
    version: str
    fail_when_stuck_s: float | None = None
    user_metadata: Mapping[str, Any] = field(default_factory=dict)
    cluster_metadata: Mapping[str, Any] = field(default_factory=dict)
    directory: Path = field(default_factory=Path)

    @property
    def metadata(self) -> dict[str, Any]:
        """Of every document: the cluster's in 2.x, and the user's."""
        return ({**self.cluster_metadata} if self.compat == 2 else {}) | dict(self.user_metadata)


class Run:
    """Runs a plan once.

    Args:
        plan: What to do.
        options: How.
        client: The target.
        clock: Time.
        random: For names.
        outputs: Where documents go, and whom metrics are asked.
        diagnose: Says why pods do not run.
        connect: Makes a client of the kubeconfig that a job names.
    """

    def __init__(
        self,
        plan: Plan,
        options: Options,
        client: Client,
        clock: Clock,
        random: Random,
        outputs: Outputs,
        diagnose: Diagnose,
        connect: Callable[[str], Client] | None = None,
    ) -> None:
        self.plan = plan
        self.options = options
        self.result = RunResult()
        self.waiting_for = ""
        self.on_reasons: Callable[[Sequence[Reason], bool], None] = lambda _reasons, _stuck: None
        self._active: list[JobResult] = []
        self._carried: JobResult | None = None
        self._client = client
        self._clock = clock
        self._random = random
        self._outputs = outputs
        self._diagnose = diagnose
        self._connect = connect
        self._kinds = Kinds(client)
        self._started_s = 0.0

    @property
    def current(self) -> JobResult | None:
        """The job that began last, of those under way."""
        return self._active[-1] if self._active else None

    async def run(self) -> RunResult:
        """Do everything; never raises what a run may meet, the result says it."""
        result = self.result
        result.started_at = self._clock.now()
        self._started_s = self._clock.monotonic()
        for warning in self.plan.warnings:
            log.warning("%s", warning)
        try:
            async with aio.timeout(self.options.timeout_s):
                await self._outputs.open()
                await self._check_health()
                log.info("🔥 Starting kube-burner (%s) with UUID %s", self.options.version, self.options.uuid)
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
        try:
            await self._write()
        except KubedynoError as error:
            self._fail(str(error), EXIT_FAILED)
        if result.interrupted:
            await self._clean_up()
        if result.errors:
            log.error("%s", result.errors[0] if len(result.errors) == 1 else f"[{', '.join(result.errors)}]")
        else:
            log.info("👋 Exiting kube-burner %s", self.options.uuid)
        return result

    async def _write(self) -> None:
        """Write what the jobs left behind: alerts, summaries, metrics; then collect garbage."""
        result = self.result
        for current in list(self._active):
            await self._end_job(current, early=True)
        if self._carried is not None:
            await self._measure(self._carried)
        result.ended_at = self._clock.now()
        critical = result.exit_code != EXIT_TIMEOUT and not result.interrupted and await self._alerts()
        if not critical:
            await self._index_summaries()
            for job in self._windowed():
                await self._outputs.scrape(self._window(job), job.plan.spec.metrics_closing)
        await self._outputs.close()
        if result.exit_code != EXIT_TIMEOUT and not result.interrupted and not critical:
            # In the original this is the last line of a run that failed, too.
            log.info("Finished execution with UUID: %s", self.options.uuid)
            if not self.plan.spec.global_.gc_metrics:
                await self._collect_all()

    async def _clean_up(self) -> None:
        """Delete what this run created, after it was interrupted; what could not be deleted is listed by the caller."""
        log.info("Cleaning up what this run created (interrupt again to leave at once)")
        try:
            async with aio.timeout(LAST_CLEANUP_S):
                for job in self.result.jobs:
                    selector = f"kube-burner.io/runid={job.plan.runid}"
                    async with self._target_of(job.plan.spec) as (client, kinds):
                        await collect(client, selector, _outside(job.plan, kinds), self._clock, LAST_CLEANUP_S)
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
                    await self.collect(job, own=True)
        except TimeoutError:
            self._fail("garbage collection did not finish in time", self.result.exit_code or EXIT_TIMEOUT)
        except asyncio.CancelledError:
            self.result.interrupted = True
            self._fail("interrupted", EXIT_FAILED)
        except (KubedynoError, StatusError) as error:
            self._fail(getattr(error, "message", str(error)), EXIT_FAILED)

    def _fail(self, line: str, code: int = EXIT_FAILED) -> None:
        if line not in self.result.errors:
            log.error("%s", line)
            self.result.errors.append(line)
        self.result.exit_code = code

    async def _check_health(self) -> None:
        if self.plan.spec.global_.cluster_health:
            await self._healthy()

    async def _healthy(self) -> None:
        log.info("🏥 Checking for Cluster Health")
        wrong = await health.problems(self._client)
        for line in wrong:
            log.error("%s", line)
        if wrong:
            raise KubedynoError("Cluster is not healthy.")
        log.info("Cluster is healthy.")

    async def measure(self, selector: str, duration_s: float, *, past: bool = False) -> RunResult:
        """Measure what others create for a while, or what there is (`past`), and write the documents.

        The plan's only job says what is measured and under which name. A violated threshold is told, and fails nothing.
        """
        plan = self.plan.jobs[0]
        self.result.started_at = self._clock.now()
        record = JobRecord(plan.spec.name, plan.spec.job_type, 0.0, 0)
        current = JobResult(plan, record, measured_as=plan.spec.name)
        record.started_s, record.started_at = self._clock.monotonic(), self._clock.now()
        await self._kinds.refresh()
        await self._begin(current, plan.spec.measurements, self._client, self._kinds, selector, past=past)
        try:
            if not past:
                log.info("Measuring for %s", go_duration(int(duration_s * 1e9)))
                await aio.sleep(duration_s)
        except asyncio.CancelledError:
            # Ctrl-C ends the measuring, not the writing.
            log.info("Stopped early")
        await self._measure(current)
        await self._outputs.close()
        self.result.exit_code = EXIT_OK
        return self.result

    # --- jobs --------------------------------------------------------------------------------------------------

    async def _all(self) -> None:
        await self._kinds.refresh()
        await self._check_kinds()
        self._announce()
        creating = [job for job in self.plan.jobs if job.spec.job_type == "create"]
        for job in creating:
            if job.spec.pre_load_images:
                async with self._target_of(job.spec) as (client, _):
                    await preload(
                        client,
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
                hooks = self._hooks(job.spec)
                await hooks.run("beforeGC")
                await self.collect(job)
                await hooks.run("afterGC")
                await hooks.close()
        for batch in self._batches():
            if len(batch) == 1:
                await self._steps(batch[0])
            else:
                log.info("Running in parallel: %s", ", ".join(job.spec.name for job in batch))
                await _together([self._steps(job) for job in batch])
        await self._end_of_jobs(creating)

    async def _end_of_jobs(self, creating: Sequence[JobPlan]) -> None:
        general = self.plan.spec.global_
        if general.wait_when_finished:
            for job in creating:
                record = JobRecord(job.spec.name, "wait", job.spec.qps, job.spec.burst)
                try:
                    async with self._target_of(job.spec) as (client, kinds):
                        await jobs.wait_ready(job, self._context(None, client, kinds), record)
                except jobs.WaitTimeoutError as error:
                    self._fail(str(error))
        if general.gc and general.gc_metrics:
            await self._collection_as_job()

    async def _check_kinds(self) -> None:
        """Say which kinds of the jobs are not served, before anything is made.

        The first job's fail the run. Whatever came before a later one may still bring its kinds: a definition is
        trusted to, an operator that installs its own may, so of those there is a warning.
        """
        trusted = made = False
        for job in self.plan.jobs:
            spec = job.spec
            trusted = trusted or bool(spec.hooks) or any(item.kind in BRINGING for item in job.objects)
            wanted = [(item.api_version, item.kind, item.template) for item in job.objects]
            wanted += [(target.api_version, target.kind, f"job {spec.name}") for target in job.targets]
            async with self._target_of(spec) as (_, kinds):
                missing = [] if trusted else [one for one in wanted if kinds.known(one[0], one[1]) is None]
            for api_version, kind, what in missing:
                line = f"{what}: the cluster serves no {kind} of {api_version}"
                if not made:
                    raise KubedynoError(line)
                log.warning("%s; job %s fails unless an earlier one brings it", line, spec.name)
            made = made or bool(job.objects)

    def _announce(self) -> None:
        """Say what each job will do, as the original does when it makes its executors."""
        for plan in self.plan.jobs:
            spec = plan.spec
            if self.options.compat == 1:
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
            if spec.job_type == "read":
                log.info("Job %s: %d iterations", spec.name, spec.job_iterations)
            for target in plan.targets:
                if spec.job_type == "patch":
                    log.info("Job %s: patch %s with selector %s", spec.name, target.kind, target.selector)

    def _batches(self) -> list[list[JobPlan]]:
        """Return jobs in order, those that run beside an earlier one together with it."""
        batches: list[list[JobPlan]] = []
        for job in self.plan.jobs:
            beside = job.spec.parallel_with
            home = next((batch for batch in batches if any(other.spec.name == beside for other in batch)), None)
            if beside and home is not None:
                home.append(job)
            else:
                batches.append([job])
        return batches

    async def _steps(self, plan: JobPlan) -> None:
        """Run a job, or each step of one with incremental load."""
        load = plan.spec.incremental
        if load is None:
            await self._job(plan)
            return
        found = steps(load)
        uuid, name = self.options.uuid, plan.spec.name
        began_s = self._clock.monotonic()
        log.info("Triggering job: %s", name)
        for number, iterations in enumerate(found):
            runid = self._random.uid()
            log.info("Running incremental cumulative step: total iterations = %d", iterations)
            log.info("Incremental Load UUID: %s (UUID: %s), Run_ID: %s", runid, uuid, runid)
            step = self.plan.remade(plan, runid=runid, iterations=iterations)
            await self._job(step, step=runid)
            log.info("Running garbage collection for job %s (uuid=%s) after incremental step", name, uuid)
            await self.collect(step, own=True)
            if load.step_delay_s and number + 1 < len(found):
                log.info("Sleeping for %s", go_duration(int(load.step_delay_s * 1e9)))
                await aio.sleep(load.step_delay_s)
        log.info("Incremental creation completed")
        log.info("Job %s took %ds", name, round(self._clock.monotonic() - began_s))

    async def _check_step(self, name: str) -> None:
        """Stop an incremental load at the step after which the cluster, or the user's script, says no."""
        if name:
            words = name.split()
            code, output = await script(read_text(words[0], "script", [self.options.directory]), words[1:])
            if code:
                raise KubedynoError(f"healthCheckScript {name}: exit code {code}: {output.strip()[-200:]}")
            return
        await self._healthy()

    async def _job(self, plan: JobPlan, step: str = "") -> None:
        spec = plan.spec
        record = JobRecord(spec.name, spec.job_type, spec.qps, spec.burst)
        current = JobResult(plan, record, measured_as=spec.name, step=step)
        self._active.append(current)
        self.result.jobs.append(current)
        record.started_s = self._clock.monotonic()
        record.started_at = self._clock.now()
        async with self._target_of(spec) as (client, kinds):
            watchers = Watchers(self._fail)
            for watcher in spec.watchers:
                mapping = await kinds.find(watcher.api_version, watcher.kind, f"job {spec.name}: watchers")
                await watchers.start(watcher, mapping, client)
            if self.options.compat == 2 and self._carried is None:
                log.info("Initializing measurements for job: %s", spec.name)
            await self._start_measurements(current, client, kinds)
            sampler = asyncio.create_task(self._sample(current))
            hooks = self._hooks(spec)
            if not step:
                log.info("Triggering job: %s", spec.name)
            try:
                await jobs.execute(plan, self._context(current, client, kinds), record, hooks)
                await hooks.close()
            finally:
                sampler.cancel()
                await watchers.stop()
            if spec.incremental is not None:
                await self._check_step(spec.incremental.health_check_script)
                log.info("Proceeding to the next step")
            await self._settle(current)
            if record.failed:
                self._tell_failed(current)
            if spec.metrics_closing == "afterJob":
                record.ended_at = self._clock.now()
            if spec.job_pause_s:
                log.info("Pausing for %s before finishing job", go_duration(int(spec.job_pause_s * 1e9)))
                await aio.sleep(spec.job_pause_s)
            await self._end_job(current)
            if spec.gc and not step:
                await self.collect(plan, own=True)
                await hooks.run("afterCleanup")
                await hooks.close()

    async def _settle(self, current: JobResult) -> None:
        """Let the watches of a job catch up with what its waits have seen."""
        if not current.plan.spec.wait_when_finished:
            return
        until_s = self._clock.monotonic() + SETTLE_S
        while self._clock.monotonic() < until_s and not self._settled(current):
            await aio.sleep(0.01)

    @staticmethod
    def _settled(current: JobResult) -> bool:
        if current.pods is not None and current.plan.pods:
            tracker = current.pods.tracker
            live = sum(n for n in tracker.phases.values() if n > 0)
            # Lists run ahead of watches: pods that waits know of may not have been seen at all.
            if live < current.plan.pods or tracker.ready < live - tracker.phases["Succeeded"]:
                return False
        return all(subject.done or subject.deleted for m in current.measurements for subject in m.subjects.values())

    @asynccontextmanager
    async def _target_of(self, spec: JobSpec) -> AsyncIterator[tuple[Client, Kinds]]:
        """Yield the client of a job: the run's, or one of the kubeconfig that the job names."""
        if not spec.kubeconfig:
            yield self._client, self._kinds
            return
        if self._connect is None:
            raise KubedynoError(f"job {spec.name}: kubeconfig: only one target here")
        async with self._connect(spec.kubeconfig) as client:
            kinds = Kinds(client)
            await kinds.refresh()
            yield client, kinds

    def _tell_failed(self, current: JobResult) -> None:
        """Say how many requests were given up; reads, patches and operations that failed fail no run, as in the original."""
        record = current.record
        line = f"{sum(record.failed.values())} of {record.asked} requests given up: {dict(record.failed)}"
        if current.plan.spec.job_type in {"create", "delete"}:
            self._fail(line)
        else:
            log.warning("%s", line)

    async def _end_job(self, current: JobResult, *, early: bool = False) -> None:
        """Close a job's books; also called for the job in which a run ended early."""
        self._active.remove(current)
        record, spec = current.record, current.plan.spec
        record.ended_s = self._clock.monotonic()
        if not record.ended_at:
            record.ended_at = self._clock.now()
        if not early and not current.step and not self.plan.spec.global_.wait_when_finished:
            log.info("Job %s took %ds", record.name, round(record.ended_s - record.started_s))
        if current.pods is not None:
            record.phases.append((record.ended_s - record.started_s, dict(current.pods.tracker.phases)))
        carried = self._carried
        if spec.metrics_aggregate and not early and spec is not self.plan.jobs[-1].spec:
            # Measuring goes on through the next job.
            self._carried = current if carried is None else carried
            return
        if carried is not None:
            self._carried = None
            await self._measure(carried)
            if current.pods is not None and current.pods is not carried.pods:
                await current.pods.stop()
        else:
            await self._measure(current)
        if spec.metrics_closing == "afterMeasurements" and not early:
            record.ended_at = self._clock.now()

    def _hooks(self, spec: JobSpec) -> Hooks:
        return Hooks(spec.hooks, self._clock, self._fail)

    def _context(
        self, current: JobResult | None, client: Client | None = None, kinds: Kinds | None = None
    ) -> JobContext:
        def waiting(text: str) -> None:
            self.waiting_for = text

        return JobContext(
            client or self._client,
            self._clock,
            self._random,
            kinds or self._kinds,
            self.options.uuid,
            self.options.compat,
            self.options.directory,
            lambda: self._stuck(current),
            waiting,
            self._fail,
            min(GONE_S, self.options.fail_when_stuck_s or GONE_S),
        )

    def _stuck(self, current: JobResult | None) -> StuckWatch:
        pods = current.pods if current is not None else None

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

    # --- garbage -----------------------------------------------------------------------------------------------

    async def collect(self, plan: JobPlan, *, own: bool = False) -> Removed:
        """Delete what a job created.

        Args:
            plan: Of the job.
            own: Only what this run created; else what any run of the job did, as the original's clean-up does.
        """
        job = f"kube-burner.io/job={plan.spec.name}"
        async with self._target_of(plan.spec) as (client, kinds):
            return await collect(
                client,
                f"{job},kube-burner.io/runid={plan.runid}" if own else job,
                _outside(plan, kinds),
                self._clock,
                self.options.timeout_s,
                gvr=self.plan.spec.global_.deletion_strategy == "gvr",
                told=job,
            )

    async def _collection_as_job(self) -> None:
        """Collect garbage now, and show it in summaries and metrics as a job of its own."""
        spec = JobSpec(COLLECTION, job_type="gc")
        plan = JobPlan(spec, (), (), {}, runid=self.options.runid, compat=self.options.compat)
        record = JobRecord(COLLECTION, "gc", 0.0, 0)
        record.started_s, record.started_at = self._clock.monotonic(), self._clock.now()
        self.result.jobs.append(JobResult(plan, record))
        try:
            log.info("Garbage collection metrics on, waiting for GC")
            for job in self.plan.jobs:
                await self.collect(job, own=True)
                hooks = self._hooks(job.spec)
                await hooks.run("afterCleanup")
                await hooks.close()
        finally:
            record.ended_s, record.ended_at = self._clock.monotonic(), self._clock.now()

    # --- measurements and documents ----------------------------------------------------------------------------

    async def _start_measurements(self, current: JobResult, client: Client, kinds: Kinds) -> None:
        spec, runid = current.plan.spec, current.plan.runid
        wanted = []
        for m in spec.measurements:
            if not measuring.suits(m.name, spec.job_type):
                if self.options.compat == 2:
                    log.warning("Skipped measurement [%s] not compatible with job type %s", m.name, spec.job_type)
            else:
                wanted.append(m)
        if self._carried is not None:
            # Its measurements are still running, under the first job's name.
            current.pods = self._carried.pods
            return
        await self._begin(current, wanted, client, kinds, f"kube-burner.io/runid={runid}")

    async def _begin(
        self,
        current: JobResult,
        wanted: Sequence[MeasurementSpec],
        client: Client,
        kinds: Kinds,
        selector: str,
        *,
        past: bool = False,
    ) -> None:
        spec = current.plan.spec
        pods = next((m for m in wanted if m.name == "podLatency"), None)
        if spec.job_type == "create" or pods is not None:
            narrow = (
                f",kube-burner.io/job={spec.name}" if not spec.metrics_aggregate and spec.job_type == "create" else ""
            )
            current.pods = PodWatch(client, selector + narrow, self._clock, events=pods is not None, past=past)
        for m in wanted:
            made = await self._measurement(m, current, client, kinds, selector)
            if made is None:
                continue
            log.info("%sRegistered measurement: %s", "📈 " if self.options.compat == 1 else "", m.name)
            current.measurements.append(made)
        for made in current.measurements:
            using = f" using selector [{selector}]" if self.options.compat == 2 else ""
            log.info("Creating %s latency watcher for %s%s", made.resource, spec.name, using)
        if current.pods is not None:
            await current.pods.start()
        for made in current.measurements:
            made.past = past
            await made.start()

    async def _measurement(
        self, m: MeasurementSpec, current: JobResult, client: Client, kinds: Kinds, selector: str
    ) -> Measurement | None:
        if m.name == "podLatency":
            assert current.pods is not None, "podLatency has a pod watch"
            return PodLatency(m, client, self._clock, selector, current.pods.tracker, self.options.compat)
        if m.name == "conditionLatency":
            mapping = await kinds.find(m.api_version, m.kind, "measurement conditionLatency")
            return ConditionLatency(m, client, self._clock, selector, mapping.plural)
        if m.name == "pprof":
            return Pprof(m, client, self._clock, selector, current.plan.spec.name)
        known = KINDS.get(m.name)
        if known is None:
            log.warning("Measurement [%s] needs pods of its own inside the cluster: not measured", m.name)
            return None
        if kinds.known(known.api_version, known.kind) is None:
            log.warning("Measurement [%s]: the cluster serves no %s: not measured", m.name, known.kind)
            return None
        return known(m, client, self._clock, selector)

    async def _measure(self, current: JobResult) -> None:
        """Stop a job's measurements, judge them and write their documents."""
        if current.pods is not None:
            await current.pods.stop()
        for measurement in current.measurements:
            await measurement.stop()
        for measurement in current.measurements:
            await self._measured(measurement, current)

    async def _measured(self, measurement: Measurement, current: JobResult) -> None:
        options, spec = self.options, measurement.spec
        name, job = measurement.name, current.measured_as
        log.info("Stopping measurement: %s", name)
        summaries = measurement.summaries()
        if spec.thresholds:
            log.info("Evaluating latency thresholds")
        unit = (" ms" if measurement.unit_s == 0.001 else " ns") if options.compat == 2 else ""
        for condition, s in summaries.items():
            figures = f"99th: {int(s.p99)}{unit} max: {int(s.maximum)}{unit} avg: {int(s.average)}{unit}"
            log.info("%s: %s %s", job, condition, figures)
        label = measurement.quantiles_metric if options.compat == 2 else "podLatency"
        for line in latency.violations(summaries, spec.thresholds, label, measurement.unit_s):
            self._fail(line, EXIT_MEASUREMENT)
        share = measurement.error_share()
        if share > ERROR_SHARE:
            self._fail(
                f"something is wrong with system under test. {name} latencies error rate was: {share * 100:.2f}",
                EXIT_MEASUREMENT,
            )
        if current.plan.spec.skip_indexing or name == "pprof":
            return
        log.info("Indexing collected data from measurement: %s", name)
        metadata = options.metadata | ({"incrementalLoadUUID": current.step} if current.step else {})
        documents = measurement.documents(Common(job, options.uuid, metadata, current.record.churned))
        quantiles = latency.quantile_documents(
            summaries,
            metric=measurement.quantiles_metric,
            job=job,
            uuid=options.uuid,
            timestamp=rfc3339_micro(self._clock.now()),
            metadata=metadata,
        )
        for metric, made, only in (
            (measurement.metric, documents, spec.timeseries_indexer),
            (measurement.quantiles_metric, quantiles, spec.quantiles_indexer),
        ):
            await self._outputs.index(f"{metric}-{job}", made, announce=metric, only=only)

    def _windowed(self) -> list[JobResult]:
        return [job for job in self.result.jobs if not job.plan.spec.skip_indexing]

    def _window(self, job: JobResult) -> Window:
        record = job.record
        return Window(
            record.name, record.started_at, record.ended_at, self.options.uuid, self.options.metadata, record.churned
        )

    async def _alerts(self) -> bool:
        """Evaluate alerts job by job; says whether one was critical, after which nothing more is written."""
        for job in self.result.jobs:
            found = await self._outputs.alerts(self._window(job))
            job.alerts = found.errors
            for line in found.errors:
                self._fail(line, EXIT_ALERT)
            if found.critical:
                self._fail("critical alert", EXIT_ALERT)
                return True
        return False

    async def _index_summaries(self) -> None:
        documents = [self._summary(job) for job in self._windowed()]
        if documents and self._outputs.outlets:
            log.info("Indexing job summaries")
            await self._outputs.index("jobSummary", documents)

    def _summary(self, job: JobResult) -> dict[str, Any]:
        record, options = job.record, self.options
        document: dict[str, Any] = {"timestamp": rfc3339_micro(record.started_at)}
        document["endTimestamp"] = rfc3339_micro(record.ended_at)
        if record.churn_started_at:
            document["churnStartTimestamp"] = rfc3339_micro(record.churn_started_at)
            document["churnEndTimestamp"] = rfc3339_micro(record.churn_ended_at)
        document |= {
            "elapsedTime": round(record.ended_s - record.started_s),
            "uuid": options.uuid,
            "metricName": "jobSummary",
            "version": options.version,
            # One code for the whole run: one failing job fails every summary, as in the original.
            "passed": self.result.exit_code == EXIT_OK,
            "jobConfig": (
                {"name": COLLECTION, "churnConfig": {}, "gc": False}
                if job.plan.spec.job_type == "gc"
                else job.plan.spec.summary_document(options.compat)
            ),
        }
        if job.step:
            document["incrementalLoadUUID"] = job.step
        if self.result.exit_code == EXIT_TIMEOUT:
            document["executionErrors"] = ", ".join(self.result.errors)
        elif job.alerts:
            document["executionErrors"] = ", ".join(job.alerts)
        if options.compat == 1:
            elapsed_s = record.ended_s - record.started_s
            rate = round(record.accepted / elapsed_s, 3) if elapsed_s else 0
            if rate:
                document["achievedQps"] = rate
        return {**document, **options.metadata}


def _outside(plan: JobPlan, kinds: Kinds) -> list[tuple[ServedKind, str]]:
    return [
        (mapping, namespace)
        for kind, api_version, namespace in plan.outside
        if (mapping := kinds.known(api_version, kind)) is not None
    ]


async def _together(work: Sequence[Any]) -> None:
    """Run coroutines at once; the first that raises stops the others."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
