"""Jobs over objects that are there already: patch, read, delete and kubevirt, one object after another or all at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from kubedyno.base import aio
from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.base.times import go_duration
from kubedyno.kube.status import StatusError
from kubedyno.load.engine import kubevirt, waiting
from kubedyno.load.engine.arrival import pacing
from kubedyno.load.engine.context import JobContext, WaitTimeoutError, noting
from kubedyno.load.engine.mapping import Mapping
from kubedyno.load.engine.record import JobRecord
from kubedyno.load.engine.sender import Sender, retry_delays_s
from kubedyno.load.plan import labels
from kubedyno.load.plan.plan import JobPlan, TargetPlan

log = logger(__name__)

# The original polls a deletion every 2 s; a watch-like pace costs the API one small list.
_DELETION_POLL_S = 0.25
_FIELD_MANAGER = "kube-controller-manager"
_TOO_SOON = 409
_VOLUME_TRIES_S = 15.0


@dataclass(slots=True)
class _Entry:
    """One entry of the job, with what the target calls its kind."""

    plan: TargetPlan
    mapping: Mapping


class ExistingJob:
    """One such job under way.

    Args:
        job: What to do.
        context: Of the run.
        record: Counts what happens.
    """

    def __init__(self, job: JobPlan, context: JobContext, record: JobRecord) -> None:
        self._job = job
        self._context = context
        self._record = record
        volumes = any(target.operation in {"add-volume", "remove-volume"} for target in job.targets)
        self._sender = Sender(
            context.client,
            pacing(job.spec, context.directory),
            record,
            context.clock,
            # A volume that another operation holds is tried again for a while.
            retry_budget_s=_VOLUME_TRIES_S if volumes else 0,
            final=lambda status: not volumes or status != _TOO_SOON,
            on_error=noting(record),
            gone_after_s=context.gone_after_s,
        )

    async def run(self) -> None:
        """Do it.

        Raises:
            KubedynoError: It cannot go on.
            WaitTimeoutError: Objects were not ready in time, and 1.x ends there.
        """
        entries = [
            _Entry(
                target, await self._context.kinds.find(target.api_version, target.kind, f"job {self._job.spec.name}")
            )
            for target in self._job.targets
        ]
        try:
            if self._job.spec.execution_mode == "parallel":
                await self._parallel(entries)
            else:
                await self._sequential(entries)
        finally:
            self._sender.close()

    async def _sequential(self, entries: Sequence[_Entry]) -> None:
        spec = self._job.spec
        for iteration in range(spec.job_iterations):
            began_s = self._context.clock.now()
            for entry in entries:
                items = await self._items(entry)
                self._record.asked += len(items)
                for item in items:
                    await self._act(entry, item, iteration)
                await self._sender.finish()
                if spec.object_wait:
                    await self._settle([entry], began_s)
                if spec.job_type == "delete" and spec.wait_for_deletion and items:
                    await self._wait_deleted(entry)
                if spec.object_delay_s:
                    log.info("Sleeping between objects for %s", go_duration(int(spec.object_delay_s * 1e9)))
                    await aio.sleep(spec.object_delay_s)
            if spec.wait_when_finished:
                await self._settle(entries, began_s)
            if spec.job_iteration_delay_s:
                shown = go_duration(int(spec.job_iteration_delay_s * 1e9))
                log.info("Sleeping between job iterations for %s", shown)
                await aio.sleep(spec.job_iteration_delay_s)
            if iteration and iteration % 10 == 0:
                log.info("%d/%d iterations completed", iteration, spec.job_iterations)

    async def _parallel(self, entries: Sequence[_Entry]) -> None:
        spec = self._job.spec
        began_s = self._context.clock.now()
        # All are looked up first: what one of them changes does not change what another one is about.
        found = [(entry, await self._items(entry)) for entry in entries]
        self._record.asked += sum(len(items) for _, items in found) * spec.job_iterations
        for entry, items in found:
            for iteration in range(spec.job_iterations):
                for item in items:
                    await self._act(entry, item, iteration)
        await self._sender.finish()
        await self._settle(entries, began_s)

    async def _items(self, entry: _Entry) -> list[dict[str, Any]]:
        """List what an entry names, again and again for maxWaitTimeout; an API that refuses skips it, with an error."""
        mapping, selector = entry.mapping, entry.plan.selector
        path = f"{mapping.path()}?labelSelector={quote(selector)}"
        for wait_s in (*retry_delays_s(self._job.spec.max_wait_timeout_s), None):
            try:
                items = await self._context.patient.list_all(path)
            except StatusError as error:
                line = f"Error listing {mapping.plural} with selector {selector}: {error.message}"
                log.error("%s", line)  # noqa: TRY400 - the API's answer, not a defect
                if wait_s is None or error.code < 500:
                    noting(self._record)(line)
                    return []
                await aio.sleep(wait_s)
                continue
            # The original's words, whatever the job does.
            log.info("Found %d %s with selector %s; patching them", len(items), mapping.plural, selector)
            return items
        return []

    async def _act(self, entry: _Entry, item: dict[str, Any], iteration: int) -> None:
        spec, plan, mapping = self._job.spec, entry.plan, entry.mapping
        meta = item["metadata"]
        namespace, name = meta.get("namespace"), meta["name"]
        path = mapping.path(namespace, name)
        label = f"{mapping.kind}/{name}" + (f" in namespace {namespace}" if namespace else "")
        if spec.job_type == "patch":
            if plan.patch_type == "application/apply-patch+yaml":
                path += f"?fieldManager={_FIELD_MANAGER}"
            headers = (("Content-Type", plan.patch_type),)
            await self._sender.send("PATCH", path, plan.patch(iteration), label, headers)
        elif spec.job_type == "read":
            await self._sender.send("GET", path, b"", label)
        elif spec.job_type == "delete":
            await self._sender.send("DELETE", path, b"", label)
        else:
            context = self._context
            own = labels.object_labels(spec.name, context.uuid, self._job.runid, 0)
            method, path, body = await kubevirt.request_of(
                context.client, plan.operation, item, plan.input_vars, spec.name, iteration, own
            )
            await self._sender.send(method, path, body, f"{plan.operation} of {label}")

    async def _settle(self, entries: Sequence[_Entry], began_s: float) -> None:
        """Wait for what was acted on; what is late fails the run and does not keep the next iteration, except in 1.x."""
        try:
            await self._wait(entries, began_s)
        except WaitTimeoutError as error:
            self._context.timed_out(self._record, error)
        else:
            log.info("Actions completed")

    async def _wait(self, entries: Sequence[_Entry], began_s: float) -> None:
        context = self._context
        selector = f"{context.label('runid')}={self._job.runid}"
        wanted = []
        for entry in entries:
            plan = entry.plan
            if not plan.wait:
                continue
            if plan.operation and not plan.wait_options.paths:
                found = kubevirt.rule_of(plan.operation, began_s)
                if found is not None:
                    mapping = await context.kinds.find(plan.api_version, found[0], plan.operation)
                    wanted.append(waiting.Awaited(mapping, plan.selector, found[1]))
                continue
            made = await waiting.awaited(entry.mapping, plan.wait_options, selector, context)
            if made is not None:
                wanted.append(made)
        await waiting.wait(wanted, context, self._job.spec.max_wait_timeout_s)

    async def _wait_deleted(self, entry: _Entry) -> None:
        """Wait until nothing matches; bounded by the run's own time limit."""
        context, mapping = self._context, entry.mapping
        path = f"{mapping.path()}?labelSelector={quote(entry.plan.selector)}"
        told = -1
        while True:
            try:
                left = len(await context.patient.list_all(path))
            except StatusError as error:
                raise KubedynoError(f"waiting for {mapping.plural} to be deleted: {error.message}") from error
            if not left:
                break
            if left != told:
                told = left
                log.debug("Waiting for %d %s labeled with %s to be deleted", left, mapping.plural, entry.plan.selector)
            context.waiting(f"{left} {mapping.plural} to be deleted")
            await aio.sleep(_DELETION_POLL_S)
        context.waiting("")
