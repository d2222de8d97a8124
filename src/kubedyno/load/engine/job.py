"""One job from its first request to its last: create and delete jobs, over a `JobPlan`.

What a job needs of the run stands in `JobContext`; what it did stands in its `JobRecord`.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from kubedyno.base import aio
from kubedyno.base.clock import Clock
from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.base.times import go_duration
from kubedyno.client.api import Client
from kubedyno.kube.status import StatusError
from kubedyno.load.engine.bucket import TokenBucket
from kubedyno.load.engine.mapping import Mapping, Mappings
from kubedyno.load.engine.namespaces import LOOKAHEAD, Namespaces
from kubedyno.load.engine.readiness import RULES
from kubedyno.load.engine.record import JobRecord
from kubedyno.load.engine.sender import Sender
from kubedyno.load.engine.stuck import StuckWatch
from kubedyno.load.engine.verify import count
from kubedyno.load.engine.wait import ReadyWait
from kubedyno.load.plan.plan import JobPlan, ObjectPlan

log = logger(__name__)

# The original polls a deletion every 2 s; a watch-like pace costs the API one small list.
DELETION_POLL_S = 0.25
ERROR_LINES = 20


class WaitTimeoutError(KubedynoError):
    """Objects were not ready in time."""


@dataclass(slots=True)
class JobContext:
    """What a job shares with its run.

    Attributes:
        labels: Of both families, for namespaces: job, uuid and runid.
        stuck: Makes the watch that runs beside a wait.
        compat: 1 or 2.
    """

    client: Client
    clock: Clock
    mappings: Mappings
    uuid: str
    runid: str
    compat: int
    stuck: Callable[[], StuckWatch]
    waiting: Callable[[str], None]


async def execute(job: JobPlan, context: JobContext, record: JobRecord) -> None:
    """Run one job.

    Raises:
        KubedynoError: It cannot go on.
        StuckError: Ended as `--fail-when-stuck` asked.
        WaitTimeoutError: Its objects were not ready within maxWaitTimeout (1.x: fatal; 2.x: the caller goes on).
    """
    if job.spec.job_type == "delete":
        await _delete(job, context, record)
    else:
        await _create(job, context, record)


def _bucket(job: JobPlan) -> TokenBucket:
    return TokenBucket(job.spec.qps, job.spec.burst)


def _errors(record: JobRecord) -> Callable[[str], None]:
    def note(line: str) -> None:
        if len(record.errors) < ERROR_LINES:
            record.errors.append(line)

    return note


# --- create ----------------------------------------------------------------------------------------------------


async def _create(job: JobPlan, context: JobContext, record: JobRecord) -> None:
    spec = job.spec
    record.asked = job.requests
    namespaces = Namespaces(context.client, job.namespace_labels, spec.namespace_annotations)
    sender = Sender(
        context.client,
        _bucket(job),
        record,
        context.clock,
        retry_budget_s=spec.max_wait_timeout_s,
        final=lambda status: status in {404, 409},
        on_error=_errors(record),
    )
    mappings = [_mapping(item, context) for item in job.objects]
    try:
        await _send_all(job, context, namespaces, sender, mappings)
        await sender.finish()
        if spec.wait_when_finished:
            log.info("Waiting up to %s for actions to be completed", go_duration(int(spec.max_wait_timeout_s * 1e9)))
            await _wait_ready(job, context, mappings, None)
    finally:
        sender.close()
        await namespaces.close()


def _mapping(item: ObjectPlan, context: JobContext) -> Mapping:
    found = context.mappings.find(item.api_version, item.kind)
    if found is None:
        raise KubedynoError(f"{item.template}: the cluster serves no {item.kind} of {item.api_version}")
    return found


def _needs_namespaces(job: JobPlan, mappings: list[Mapping]) -> bool:
    """Say whether any object lives in its iteration's namespace."""
    needed = any(mapping.namespaced and not item.namespace for item, mapping in zip(job.objects, mappings, strict=True))
    if needed and not job.spec.namespace:
        raise KubedynoError(f"job {job.spec.name}: its objects need a namespace; set the job's namespace")
    return needed


async def _send_all(
    job: JobPlan,
    context: JobContext,
    namespaces: Namespaces,
    sender: Sender,
    mappings: list[Mapping],
) -> None:
    spec = job.spec
    iterations = spec.job_iterations
    ahead = 0
    waited: set[str] = set()
    debug = log.isEnabledFor(10)
    needed = _needs_namespaces(job, mappings)
    for iteration in range(iterations):
        if _tells(iteration, iterations) and (iterations > 1 or context.compat == 1):
            log.info("%d/%d iterations completed", iteration, iterations)
        namespace = job.namespace_of(iteration) if needed else None
        if namespace is not None and not namespaces.is_ready(namespace):
            while ahead < min(iterations, iteration + LOOKAHEAD):
                namespaces.begin(job.namespace_of(ahead))
                ahead += 1
            await namespaces.ensure(namespace)
        if debug:
            log.debug("Creating object replicas from iteration %d", iteration)
        for item, mapping in zip(job.objects, mappings, strict=True):
            if not item.due(iteration):
                continue
            for replica in range(1, item.replicas + 1):
                rendered = item.render(iteration, replica)
                target = (rendered.namespace or namespace) if mapping.namespaced else None
                label = f"{rendered.kind}/{rendered.name}" + (f" in namespace {target}" if target else "")
                await sender.send("POST", mapping.path(target), rendered.body, label)
        if spec.pod_wait and namespace is not None and namespace not in waited:
            # Once a namespace: its last iteration is the one that fills it.
            following = job.namespace_of(iteration + 1) if iteration + 1 < iterations else None
            if following != namespace:
                waited.add(namespace)
                await sender.finish()
                log.info(
                    "Waiting up to %s for actions to be completed in namespace %s",
                    go_duration(int(spec.max_wait_timeout_s * 1e9)),
                    namespace,
                )
                await _wait_ready(job, context, mappings, [namespace])
        if spec.job_iteration_delay_s:
            log.info("Sleeping for %s", go_duration(int(spec.job_iteration_delay_s * 1e9)))
            await aio.sleep(spec.job_iteration_delay_s)


def _tells(iteration: int, iterations: int) -> bool:
    """Say whether an iteration is one of those that progress is logged at: the first, and every tenth of them."""
    step = iterations // 10
    return iteration % step == 0 and iteration // step < 10 if step else iteration == 0


async def wait_ready(job: JobPlan, context: JobContext) -> None:
    """Wait for everything that a create job made: what `global.waitWhenFinished` does at the end of a run."""
    log.info("Waiting up to %s for actions to be completed", go_duration(int(job.spec.max_wait_timeout_s * 1e9)))
    await _wait_ready(job, context, [_mapping(item, context) for item in job.objects], None)


async def _wait_ready(job: JobPlan, context: JobContext, mappings: list[Mapping], only: list[str] | None) -> None:
    """Wait until all objects of this run that have a rule are ready, or the job's time is up."""
    family = "kube-burner.io/runid" if context.compat == 2 else "kube-burner-runid"
    selector = f"{family}={context.runid},{family.replace('runid', 'job')}={job.spec.name}"
    kinds: dict[str, Mapping] = {}
    for item, mapping in zip(job.objects, mappings, strict=True):
        if item.wait and mapping.kind in RULES:
            kinds[mapping.path()] = mapping
    waits: list[ReadyWait] = []

    def tell() -> None:
        context.waiting(", ".join(f"{w.ready}/{w.total} {w.plural} ready" for w in waits if w.total))

    waits += [ReadyWait(context.client, mapping, selector, only, tell) for mapping in kinds.values()]
    timeout_s = job.spec.max_wait_timeout_s
    try:
        async with aio.timeout(timeout_s):
            await _beside(context.stuck(), waits)
    except TimeoutError:
        missing = sorted({namespace for wait in waits for namespace in wait.waiting}) or ["all"]
        what = "timeout" if context.compat == 2 else "Timeout"
        raise WaitTimeoutError(
            f"{what} occurred while waiting for objects in namespace {missing[0]}: context deadline exceeded"
        ) from None
    finally:
        context.waiting("")
    if only is None and not _needs_namespaces(job, mappings):
        log.info("Actions completed")
        return
    for namespace in only or job.namespaces():
        log.info("Actions in namespace %s completed", namespace)


async def _beside(stuck: StuckWatch, waits: list[ReadyWait]) -> None:
    """Run the waits, and the look-out for a standstill beside them."""
    lookout = asyncio.create_task(stuck.run())
    work: asyncio.Future[Any] = asyncio.gather(*(wait.run() for wait in waits))
    try:
        await asyncio.wait([lookout, work], return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
        else:
            lookout.result()
    finally:
        lookout.cancel()
        work.cancel()
        await asyncio.gather(lookout, work, return_exceptions=True)


async def verify(job: JobPlan, context: JobContext) -> list[str]:
    """Count what is there against what was asked for; returns an error line for each object that differs."""
    errors = []
    for item in job.objects:
        mapping = _mapping(item, context)
        family = "kube-burner.io/" if context.compat == 2 else "kube-burner-"
        selector = ",".join(
            f"{family}{key}={value}"
            for key, value in (
                ("index", item.index),
                ("job", job.spec.name),
                ("runid", context.runid),
                ("uuid", context.uuid),
            )
        )
        found = await count(context.client, mapping, selector)
        line = f"{mapping.plural} found: {found} Expected: {item.expected}"
        if found == item.expected:
            log.debug("%s", line)
        else:
            log.error("%s", line)
            errors.append(line)
    return errors


# --- delete ----------------------------------------------------------------------------------------------------


async def _delete(job: JobPlan, context: JobContext, record: JobRecord) -> None:
    spec = job.spec
    for target in job.deletions:
        mapping = context.mappings.find(target.api_version, target.kind)
        if mapping is None:
            raise KubedynoError(f"job {spec.name}: the cluster serves no {target.kind} of {target.api_version}")
        path = f"{mapping.path()}?labelSelector={quote(target.selector)}"
        try:
            items = await context.client.list_all(path)
        except StatusError as error:
            line = f"cannot list {mapping.plural} with {target.selector}: {error.message}"
            log.error("%s", line)  # noqa: TRY400 - the API's answer, not a defect
            record.errors.append(line)
            continue
        # The original's words, whatever the job does.
        log.info("Found %d %s with selector %s; patching them", len(items), mapping.plural, target.selector)
        record.asked += len(items)
        sender = Sender(
            context.client,
            _bucket(job),
            record,
            context.clock,
            retry_budget_s=0,
            final=lambda _status: True,
            on_error=_errors(record),
        )
        for item in items:
            meta = item["metadata"]
            namespace = meta.get("namespace")
            where = f" from namespace {namespace}" if namespace else ""
            label = f"{mapping.kind}/{meta['name']}{where}"
            await sender.send("DELETE", mapping.path(namespace, meta["name"]), b"", label)
        await sender.finish()
        if spec.wait_for_deletion:
            await _wait_deleted(context, mapping, target.selector, path)


async def _wait_deleted(context: JobContext, mapping: Mapping, selector: str, path: str) -> None:
    """Wait until nothing matches; bounded by the run's own time limit."""
    told = -1
    while left := len(await context.client.list_all(path)):
        if left != told:
            told = left
            log.debug("Waiting for %d %s labeled with %s to be deleted", left, mapping.plural, selector)
        context.waiting(f"{left} {mapping.plural} to be deleted")
        await aio.sleep(DELETION_POLL_S)
    context.waiting("")
