"""One run of a configuration, from its Plan to its documents, in the order of kube-burner's, on one page.

Config errors are found before this; here only the cluster can disappoint. Whatever happens (a job fails, time is
up, somebody presses Ctrl-C) the documents of what was done are written.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from kubedyno.base import aio
from kubedyno.base.clock import Clock
from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.base.random import Random
from kubedyno.base.times import go_duration
from kubedyno.client.api import Client
from kubedyno.kube.status import StatusError
from kubedyno.load.config.sources import read_text
from kubedyno.load.config.spec import JobSpec
from kubedyno.load.engine import health
from kubedyno.load.engine import job as jobs
from kubedyno.load.engine.context import JobContext, Kinds
from kubedyno.load.engine.hooks import Hooks, hooked, script
from kubedyno.load.engine.preload import preload
from kubedyno.load.engine.record import JobRecord
from kubedyno.load.engine.steps import steps
from kubedyno.load.engine.stuck import Diagnose, Reason, StuckError, StuckWatch
from kubedyno.load.engine.watchers import watched
from kubedyno.load.garbage import Garbage
from kubedyno.load.observer import Observer
from kubedyno.load.outputs import Outputs
from kubedyno.load.plan.plan import JobPlan, Plan
from kubedyno.load.result import (
    EXIT_ALERT,
    EXIT_FAILED,
    EXIT_OK,
    EXIT_TIMEOUT,
    JobResult,
    Options,
    RunResult,
    window_of,
)
from kubedyno.load.summaries import summary
from kubedyno.load.targets import Targets

log = logger(__name__)

# Reasons of creates and deletes that failed by which a run does not fail.
_HARMLESS = {"AlreadyExists", "NotFound"}


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
        # Before the outlets are closed, and before anything is cleaned up at the end.
        self.before_close: Callable[[], Awaitable[None]] | None = None
        self.on_reasons: Callable[[Sequence[Reason], bool], None] = lambda _reasons, _stuck: None
        self._active: list[JobResult] = []
        self._client = client
        self._clock = clock
        self._random = random
        self._outputs = outputs
        self._diagnose = diagnose
        self._targets = Targets(client, connect)
        self._garbage = Garbage(plan, options, self._targets, clock, self.result)
        self._observer = Observer(options, clock, outputs, self.result)
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
            self.result.fail(f"{go_duration(int(self.options.timeout_s * 1e9))} timeout reached", EXIT_TIMEOUT)
        except StuckError as error:
            self.result.fail(str(error))
        except asyncio.CancelledError:
            # Ctrl-C: what is under way was stopped; the documents are still written below.
            result.interrupt()
        except (KubedynoError, StatusError) as error:
            self.result.fail(getattr(error, "message", str(error)))
        except OSError as error:
            self.result.fail(f"{self._client.server}: {error}")
        critical = False
        try:
            critical = await aio.finished(self._write())
        except asyncio.CancelledError:
            result.interrupt()
        except KubedynoError as error:
            self.result.fail(str(error))
        if result.exit_code != EXIT_TIMEOUT and not result.interrupted and not critical:
            # In the original this is the last line of a run that failed, too.
            log.info("Finished execution with UUID: %s", self.options.uuid)
            if not self.plan.spec.global_.gc_metrics:
                await self._garbage.at_end(self.options.timeout_s - (self._clock.monotonic() - self._started_s))
        for line in self._outputs.unstored:
            result.note(line, result.exit_code or EXIT_FAILED)
        if result.interrupted:
            await self._garbage.after_interrupt()
        if result.errors:
            log.error("%s", result.errors[0] if len(result.errors) == 1 else f"[{', '.join(result.errors)}]")
        else:
            log.info("👋 Exiting kube-burner %s", self.options.uuid)
        return result

    async def _write(self) -> bool:
        """Write what the jobs left behind: alerts, summaries, metrics; says whether an alert was critical."""
        result = self.result
        for current in list(self._active):
            await self._end_job(current, early=True)
        if self._observer.carried is not None:
            await self._observer.finish(self._observer.carried)
        result.ended_at = self._clock.now()
        critical = result.exit_code != EXIT_TIMEOUT and not result.interrupted and await self._alerts()
        if not critical:
            await self._index_summaries()
            for job in result.indexed():
                await self._outputs.scrape(window_of(job, self.options), job.plan.spec.metrics_closing)
        if self.before_close is not None:
            await self.before_close()
        await self._outputs.close()
        return critical

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

    async def measure(
        self, selector: str, duration_s: float, *, past: bool = False, namespaces: frozenset[str] = frozenset()
    ) -> RunResult:
        """Measure what others create for a while, or what there is (`past`), and write the documents.

        The plan's only job says what is measured and under which name. A violated threshold is told, and fails nothing.
        """
        plan = self.plan.jobs[0]
        self.result.started_at = self._clock.now()
        record = JobRecord(plan.spec.name, plan.spec.job_type, 0.0, 0)
        current = JobResult(plan, record, measured_as=plan.spec.name)
        record.started_s, record.started_at = self._clock.monotonic(), self._clock.now()
        await self._targets.kinds.refresh()
        log.info("Initializing measurements for job: %s", plan.spec.name)
        await self._observer.begin(
            current,
            plan.spec.measurements,
            self._client,
            self._targets.kinds,
            selector,
            past=past,
            namespaces=namespaces,
        )
        try:
            if not past:
                log.info("Running measurements for %s", go_duration(int(duration_s * 1e9)))
                await aio.sleep(duration_s)
        except asyncio.CancelledError:
            # Ctrl-C ends the measuring, not the writing.
            log.info("Stopped early")
        await self._observer.finish(current)
        await self._outputs.close()
        self.result.exit_code = EXIT_FAILED if self._outputs.unstored else EXIT_OK
        if self.result.exit_code == EXIT_OK:
            log.info("👋 Exiting kube-burner %s", self.options.uuid)
        return self.result

    # --- jobs --------------------------------------------------------------------------------------------------

    async def _all(self) -> None:
        await self._targets.kinds.refresh()
        await self._targets.check_kinds(self.plan.jobs)
        self._announce()
        creating = [job for job in self.plan.jobs if job.spec.job_type == "create"]
        for job in creating:
            if job.spec.pre_load_images:
                self.waiting_for = f"nodes pull the images of {job.spec.name}"
                async with self._targets.of(job.spec) as (client, _):
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
        self.waiting_for = ""
        await self._garbage.before(creating)
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
                    async with self._targets.of(job.spec) as (client, kinds):
                        await jobs.wait_ready(job, self._context(None, client, kinds), record)
                except jobs.WaitTimeoutError as error:
                    self.result.fail(str(error))
        if general.gc and general.gc_metrics:
            await self._garbage.as_job()

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
        """Run a job, or each step of one with incremental load: hooks and watchers go with the whole, as in the original."""
        spec, load = plan.spec, plan.spec.incremental
        if load is None:
            await self._job(plan)
            return
        uuid, name = self.options.uuid, spec.name
        began_s = self._clock.monotonic()
        before = self.result.frame(plan, self._clock)
        async with (
            self._targets.of(spec) as (client, kinds),
            hooked(spec.hooks, self._clock, self.result.note) as hooks,
        ):
            async with watched(spec.watchers, spec.name, client, kinds, self.result.fail):
                log.info("Triggering job: %s", name)
                await hooks.run("beforeJobExecution")
                last: JobResult | None = None
                for iterations in steps(load):
                    runid = self._random.uid()
                    log.info("Running incremental cumulative step: total iterations = %d", iterations)
                    log.info("Incremental Load UUID: %s (UUID: %s), Run_ID: %s", runid, uuid, runid)
                    step = self.plan.remade(plan, runid=runid, iterations=iterations)
                    if last is None:
                        before.end(self._clock)
                    last = await self._job(step, step=runid)
                    if last.record.stalled:
                        log.error("Incremental load ends with the step of %d iterations", iterations)
                        break
                    log.info("Running garbage collection for job %s (uuid=%s) after incremental step", name, uuid)
                    await self._garbage.collect(step, own=True)
                    # In the original, a step's window ends with its garbage.
                    last.end(self._clock)
                    if load.step_delay_s:
                        log.info("Sleeping %s before next step", go_duration(int(load.step_delay_s * 1e9)))
                        await aio.sleep(load.step_delay_s)
                else:
                    log.info("Incremental creation completed")
                after = self.result.frame(plan, self._clock)
                if last is not None:
                    after.record.started_s, after.record.started_at = last.record.ended_s, last.record.ended_at
                await hooks.run("afterJobExecution")
                await jobs.before_cleanup(plan, self._context(None, client, kinds), hooks)
                await self._pause(spec)
                after.end(self._clock)
                log.info("Job %s took %ds", name, round(self._clock.monotonic() - began_s))
            await self._own_garbage(plan if last is None else last.plan, hooks)

    async def _check_step(self, name: str) -> bool:
        """Say whether the user's script lets an incremental load go on; a cluster that is not healthy ends the run."""
        if name:
            words = name.split()
            code, output = await script(read_text(words[0], "script", [self.options.directory]), words[1:])
            if code:
                self.result.fail(f"health check script failed: exit status {code}; stderr: {output.strip()[-200:]}")
                return False
            log.info("Cluster health check script succeeded, proceeding to next step")
            return True
        await self._healthy()
        log.info("Proceeding to the next step")
        return True

    async def _pause(self, spec: JobSpec) -> None:
        if spec.job_pause_s:
            log.info("Pausing for %s before finishing job", go_duration(int(spec.job_pause_s * 1e9)))
            await aio.sleep(spec.job_pause_s)

    async def _own_garbage(self, plan: JobPlan, hooks: Hooks) -> None:
        if plan.spec.gc:
            await self._garbage.collect(plan, own=True)
            await hooks.run("afterCleanup")

    async def _job(self, plan: JobPlan, step: str = "") -> JobResult:
        """Run a job, or a step of an incremental load: of its hooks, only those of each iteration are the step's."""
        spec = plan.spec
        record = JobRecord(spec.name, spec.job_type, spec.qps, spec.burst)
        current = JobResult(plan, record, measured_as=spec.name, step=step)
        self._active.append(current)
        self.result.jobs.append(current)
        record.started_s = self._clock.monotonic()
        record.started_at = self._clock.now()
        own = [hook for hook in spec.hooks if not step or hook.when == "onEachIteration"]
        watchers = () if step else spec.watchers
        async with self._targets.of(spec) as (client, kinds), hooked(own, self._clock, self.result.note) as hooks:
            async with watched(watchers, spec.name, client, kinds, self.result.fail):
                await self._observer.start(current, client, kinds)
                sampler = asyncio.create_task(self._observer.sample(current))
                if not step:
                    log.info("Triggering job: %s", spec.name)
                context = self._context(current, client, kinds)
                try:
                    await jobs.execute(plan, context, record, hooks)
                    if not step:
                        await jobs.before_cleanup(plan, context, hooks)
                finally:
                    sampler.cancel()
                if spec.incremental is not None and not record.stalled:
                    record.stalled = not await self._check_step(spec.incremental.health_check_script)
                await self._observer.settle(current)
                if record.failed:
                    self._tell_failed(current)
                if spec.metrics_closing == "afterJob":
                    record.ended_at = self._clock.now()
                if not step:
                    await self._pause(spec)
                # What was measured is written, whoever wants the run to end meanwhile.
                await aio.finished(self._end_job(current))
            if not step:
                await self._own_garbage(plan, hooks)
        return current

    def _tell_failed(self, current: JobResult) -> None:
        """Say how many requests were given up.

        As in the original, the run does not fail by reads, patches and operations that failed, nor by what is there already or
        has no place: whether objects are missing, their verification says.
        """
        record = current.record
        line = f"{sum(record.failed.values())} of {record.asked} requests given up: {dict(record.failed)}"
        if current.plan.spec.job_type in {"create", "delete"} and record.failed.keys() - _HARMLESS:
            self.result.fail(line)
        else:
            log.warning("%s", line)

    async def _end_job(self, current: JobResult, *, early: bool = False) -> None:
        """Close a job's books; also called for the job in which a run ended early."""
        self._active.remove(current)
        record, spec = current.record, current.plan.spec
        record.ended_s = self._clock.monotonic()
        if spec.arrival is not None:
            # No rate with a burst was asked, but a schedule.
            record.qps = record.scheduled_qps
        if not record.ended_at:
            record.ended_at = self._clock.now()
        if not early and not current.step and not self.plan.spec.global_.wait_when_finished:
            log.info("Job %s took %ds", record.name, round(record.ended_s - record.started_s))
        if current.pods is not None:
            record.phases.append((record.ended_s - record.started_s, dict(current.pods.tracker.phases)))
        over = await self._observer.end(current, early=early, last=spec is self.plan.jobs[-1].spec)
        if over and spec.metrics_closing == "afterMeasurements" and not early:
            record.ended_at = self._clock.now()

    def _context(
        self, current: JobResult | None, client: Client | None = None, kinds: Kinds | None = None
    ) -> JobContext:
        def waiting(text: str) -> None:
            self.waiting_for = text

        return JobContext(
            client or self._client,
            self._clock,
            self._random,
            kinds or self._targets.kinds,
            self.options.uuid,
            self.options.compat,
            self.options.directory,
            lambda: self._stuck(current),
            waiting,
            self.result.fail,
            self.options.silence_s,
            current.sightings.sent if current is not None and current.sightings is not None else None,
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
            self.options.silence_s,
        )

    async def _alerts(self) -> bool:
        """Evaluate alerts job by job; says whether one was critical, after which nothing more is written."""
        for job in self.result.jobs:
            found = await self._outputs.alerts(window_of(job, self.options))
            job.alerts = found.errors
            for line in found.errors:
                self.result.fail(line, EXIT_ALERT)
            if found.critical:
                self.result.fail("critical alert", EXIT_ALERT)
                return True
        return False

    async def _index_summaries(self) -> None:
        documents = [summary(job, self.options, self.result) for job in self.result.indexed()]
        if documents and self._outputs.outlets:
            log.info("Indexing job summaries")
            await self._outputs.index("jobSummary", documents)


async def _together(work: Sequence[Any]) -> None:
    """Run coroutines at once; the first that raises stops the others."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
