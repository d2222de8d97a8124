"""Deleting what jobs created: before a run, after a job, at the end, and when the run was interrupted."""

import asyncio
from collections.abc import Sequence

from kubedyno.base import aio
from kubedyno.base.clock import Clock
from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.kube.status import StatusError
from kubedyno.load.config.spec import JobSpec
from kubedyno.load.engine.cleanup import Removed, collect
from kubedyno.load.engine.context import Kinds
from kubedyno.load.engine.hooks import Hooks
from kubedyno.load.engine.mapping import Mapping
from kubedyno.load.engine.patience import PatientClient
from kubedyno.load.engine.record import JobRecord
from kubedyno.load.plan.plan import JobPlan, Plan
from kubedyno.load.result import EXIT_FAILED, EXIT_TIMEOUT, JobResult, Options, RunResult
from kubedyno.load.targets import Targets

log = logger(__name__)

# Clean-up after a run that was interrupted or timed out takes at most so long.
LAST_CLEANUP_S = 60.0
COLLECTION = "garbage-collection"


class Garbage:
    """The clean-up of one run; what goes wrong is told to its result."""

    def __init__(self, plan: Plan, options: Options, targets: Targets, clock: Clock, result: RunResult) -> None:
        self._plan = plan
        self._options = options
        self._targets = targets
        self._clock = clock
        self._result = result

    async def collect(self, plan: JobPlan, *, own: bool = False) -> Removed:
        """Delete what a job created.

        Args:
            plan: Of the job.
            own: Only what this run created; else what any run of the job did, as the original's clean-up does.

        Raises:
            KubedynoError: Something is still there when the time is up.
        """
        job = f"kube-burner.io/job={plan.spec.name}"
        async with self._targets.of(plan.spec) as (client, kinds):
            return await collect(
                PatientClient(client, self._options.silence_s),
                f"{job},kube-burner.io/runid={plan.runid}" if own else job,
                outside(plan, kinds),
                self._clock,
                self._options.timeout_s,
                gvr=self._plan.spec.global_.deletion_strategy == "gvr",
                told=job,
            )

    async def before(self, jobs: Sequence[JobPlan]) -> None:
        """Delete what earlier runs of create jobs left; raises as `collect`."""
        for job in jobs:
            if job.spec.cleanup:
                if self._options.compat == 2:
                    log.info("Cleaning up previous runs for job: %s", job.spec.name)
                hooks = Hooks(job.spec.hooks, self._clock, self._result.note)
                await hooks.run("beforeGC")
                await self.collect(job)
                await hooks.run("afterGC")
                await hooks.close()

    async def as_job(self) -> None:
        """Collect garbage now, and show it in summaries and metrics as a job of its own."""
        spec = JobSpec(COLLECTION, job_type="gc")
        plan = JobPlan(spec, (), (), {}, runid=self._options.runid, compat=self._options.compat)
        record = JobRecord(COLLECTION, "gc", 0.0, 0)
        record.started_s, record.started_at = self._clock.monotonic(), self._clock.now()
        self._result.jobs.append(JobResult(plan, record))
        try:
            log.info("Garbage collection metrics on, waiting for GC")
            for job in self._plan.jobs:
                await self.collect(job, own=True)
                hooks = Hooks(job.spec.hooks, self._clock, self._result.note)
                await hooks.run("afterCleanup")
                await hooks.close()
        finally:
            record.ended_s, record.ended_at = self._clock.monotonic(), self._clock.now()

    async def at_end(self, left_s: float) -> None:
        """Do what `global.gc` asks for, within what is left of the run's time."""
        if not self._plan.spec.global_.gc:
            return
        log.info("Waiting for garbage collection to finish")
        try:
            async with aio.timeout(max(left_s, 1.0)):
                for job in self._plan.jobs:
                    await self.collect(job, own=True)
        except TimeoutError:
            self._result.fail("garbage collection did not finish in time", self._result.exit_code or EXIT_TIMEOUT)
        except asyncio.CancelledError:
            self._result.interrupt()
        except (KubedynoError, StatusError) as error:
            self._result.fail(getattr(error, "message", str(error)), EXIT_FAILED)

    async def after_interrupt(self) -> None:
        """Delete what this run created, after it was interrupted; what could not be deleted is listed by the caller."""
        log.info("Cleaning up what this run created (interrupt again to leave at once)")
        try:
            async with aio.timeout(LAST_CLEANUP_S):
                for job in self._result.jobs:
                    selector = f"kube-burner.io/runid={job.plan.runid}"
                    async with self._targets.of(job.plan.spec) as (client, kinds):
                        await collect(
                            PatientClient(client, self._options.silence_s),
                            selector,
                            outside(job.plan, kinds),
                            self._clock,
                            LAST_CLEANUP_S,
                        )
        except TimeoutError:
            self._result.fail(f"what this run created is not gone after {LAST_CLEANUP_S:.0f}s", EXIT_FAILED)
        except (KubedynoError, StatusError, OSError) as error:
            self._result.fail(f"cleaning up: {getattr(error, 'message', error)}", EXIT_FAILED)


def outside(plan: JobPlan, kinds: Kinds) -> list[tuple[Mapping, str]]:
    """Return kind and namespace of what a job makes outside of its own namespaces."""
    return [
        (mapping, namespace)
        for kind, api_version, namespace in plan.outside
        if (mapping := kinds.known(api_version, kind)) is not None
    ]
