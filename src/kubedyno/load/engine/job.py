"""One job from its first request to its last, whatever its type; churn, verification and hooks in their places."""

from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.base.times import go_duration
from kubedyno.load.config.sources import read_text
from kubedyno.load.engine import churn
from kubedyno.load.engine.context import JobContext, WaitTimeoutError
from kubedyno.load.engine.create import CreateJob
from kubedyno.load.engine.existing import ExistingJob
from kubedyno.load.engine.hooks import Hooks, script
from kubedyno.load.engine.record import JobRecord
from kubedyno.load.plan.plan import JobPlan

log = logger(__name__)

__all__ = ["WaitTimeoutError", "execute", "wait_ready"]


async def execute(job: JobPlan, context: JobContext, record: JobRecord, hooks: Hooks) -> None:
    """Run one job up to its end, clean-up excepted.

    Raises:
        KubedynoError: It cannot go on.
        StuckError: Ended as `--fail-when-stuck` asked.
        WaitTimeoutError: Its objects were not ready within maxWaitTimeout; 2.x goes on after telling.
    """
    if job.spec.job_type != "create":
        await hooks.run("beforeJobExecution")
        await ExistingJob(job, context, record).run()
        await hooks.run("afterJobExecution")
    else:
        await _create(job, context, record, hooks)


async def before_cleanup(job: JobPlan, context: JobContext, hooks: Hooks) -> None:
    """Run what comes after a job's execution and before its clean-up: 1.x's script, and hooks."""
    if job.spec.before_cleanup:
        await _cleanup_script(job, context)
    await hooks.run("beforeCleanup")


async def _create(job: JobPlan, context: JobContext, record: JobRecord, hooks: Hooks) -> None:
    spec = job.spec
    work = CreateJob(job, context, record, hooks)
    churns = spec.churn.enabled
    try:
        await work.prepare()
        if churns:
            churn.announce(work)
        await hooks.run("beforeJobExecution")
        await work.run()
        # Churn comes after what the original calls the execution.
        await hooks.run("afterJobExecution")
        if context.compat == 1:
            await _verify(work, context)
        if churns:
            await hooks.run("beforeChurn")
            record.churn_started_at = context.clock.now()
            try:
                await churn.churn(work)
            except WaitTimeoutError as error:
                context.timed_out(record, error)
            finally:
                record.churn_ended_at = context.clock.now()
            await hooks.run("afterChurn")
        if context.compat == 2:
            await _verify(work, context)
    finally:
        work.close()
        await work.namespaces.close()


async def _verify(work: CreateJob, context: JobContext) -> None:
    spec = work.job.spec
    if not spec.verify_objects:
        return
    log.info("Verifying created objects")
    if await work.verify():
        work.record.stalled = True
        step = f" at total iterations: {spec.job_iterations}" if spec.incremental is not None else ""
        if spec.error_on_verify:
            context.failed(f"object verification failed{step}")
        else:
            log.error("object verification failed%s", step)


async def _cleanup_script(job: JobPlan, context: JobContext) -> None:
    """Run 1.x's script that comes before clean-up."""
    name, *arguments = job.spec.before_cleanup.split()
    log.info("Executing beforeCleanup script: %s", job.spec.before_cleanup)
    try:
        code, output = await script(read_text(name, "script", [context.directory]), arguments)
    except KubedynoError as error:
        context.failed(f"beforeCleanup: {error}")
        return
    if output:
        log.debug("%s", output.rstrip())
    if code:
        context.failed(f"beforeCleanup script {name}: exit code {code}: {output.strip()[-200:]}")


async def wait_ready(job: JobPlan, context: JobContext, record: JobRecord) -> None:
    """Wait for everything that a create job made: what `global.waitWhenFinished` does at the end of a run."""
    log.info("Waiting up to %s for actions to be completed", go_duration(int(job.spec.max_wait_timeout_s * 1e9)))
    work = CreateJob(job, context, record, Hooks((), context.clock, context.failed))
    try:
        await work.prepare()
        await work.wait_ready(None)
    finally:
        work.close()
