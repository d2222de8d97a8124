"""A create job: its objects in the order of the configuration, paced, and the waits between and after them."""

from collections.abc import Iterable, Sequence

from kubedyno.base import aio
from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.base.times import go_duration
from kubedyno.load.engine import waiting
from kubedyno.load.engine.arrival import pacing
from kubedyno.load.engine.cleanup import delete_collection
from kubedyno.load.engine.context import JobContext, WaitTimeoutError, noting
from kubedyno.load.engine.hooks import Hooks
from kubedyno.load.engine.mapping import Mapping
from kubedyno.load.engine.namespaces import LOOKAHEAD, Namespaces
from kubedyno.load.engine.record import JobRecord
from kubedyno.load.engine.sender import Sender
from kubedyno.load.engine.verify import count
from kubedyno.load.plan.plan import JobPlan, ObjectPlan

log = logger(__name__)

# What the API says no to for good: not found, there already, malformed, invalid. The original tries the last two again
# for an hour.
FINAL = frozenset({400, 404, 409, 422})


class CreateJob:
    """One create job under way.

    Args:
        job: What to make.
        context: Of the run.
        record: Counts what happens.
        hooks: Of the job.
    """

    def __init__(self, job: JobPlan, context: JobContext, record: JobRecord, hooks: Hooks) -> None:
        self.job = job
        self.context = context
        self.record = record
        self.hooks = hooks
        spec = job.spec
        self.namespaces = Namespaces(context.patient, job.namespace_labels, spec.namespace_annotations)
        self.sender = Sender(
            context.client,
            pacing(spec, context.directory),
            record,
            context.clock,
            retry_budget_s=spec.max_wait_timeout_s,
            final=lambda status: status in FINAL,
            on_error=noting(record),
            gone_after_s=context.gone_after_s,
            ideal=pacing(spec, context.directory),
            on_sent=context.sent,
        )
        # None: a kind that an object made before it will bring.
        self.mappings: list[Mapping | None] = []
        self._needs_namespaces = False

    async def prepare(self) -> None:
        """Find out what the target serves, and whether the job needs namespaces.

        Raises:
            KubedynoError: It needs namespaces and names none.
        """
        kinds, spec = self.context.kinds, self.job.spec
        found = [kinds.known(item.api_version, item.kind) for item in self.job.objects]
        if None in found:
            await kinds.refresh()
            found = [kinds.known(item.api_version, item.kind) for item in self.job.objects]
        # What the job itself brings is not there yet.
        own = bool(spec.hooks) or any("CustomResourceDefinition" in item.kind for item in self.job.objects)
        for number, item in enumerate(self.job.objects):
            if found[number] is None and not own:
                found[number] = await kinds.find(item.api_version, item.kind, item.template)
        self.mappings = found
        needed = any(
            (mapping is None or mapping.namespaced) and not item.namespace
            for item, mapping in zip(self.job.objects, found, strict=True)
        )
        if needed and not spec.namespace:
            raise KubedynoError(f"job {spec.name}: its objects need a namespace; set the job's namespace")
        self._needs_namespaces = needed

    @property
    def selector(self) -> str:
        """Label selector of what the job made."""
        label = self.context.label
        return f"{label('runid')}={self.job.runid},{label('job')}={self.job.spec.name}"

    async def run(self) -> None:
        """Make everything and wait as the configuration says.

        Raises:
            KubedynoError: It cannot go on.
            WaitTimeoutError: Objects were not ready in time, and 1.x ends there.
        """
        self.record.asked += self.job.requests
        if self.job.grouped:
            await self._groups()
            return
        iterations = range(self.job.spec.job_iterations)
        await self.create(iterations)

    async def create(self, iterations: Sequence[int]) -> None:
        """Make the objects of some iterations and wait for them; raises as `run`."""
        spec = self.job.spec
        if self._needs_namespaces and spec.pre_create_namespaces:
            await self._make_namespaces(iterations)
        await self._send(iterations, range(len(self.job.objects)))
        await self.sender.finish()
        if spec.wait_when_finished:
            log.info("Waiting up to %s for actions to be completed", go_duration(int(spec.max_wait_timeout_s * 1e9)))
            whole = len(iterations) == spec.job_iterations
            await self._settle(None if whole else self._namespaces_of(iterations))

    def close(self) -> None:
        """Forget what still waits to be tried again."""
        self.sender.close()

    # --- requests ----------------------------------------------------------------------------------------------

    def _namespaces_of(self, iterations: Iterable[int]) -> list[str]:
        return list(dict.fromkeys(self.job.namespace_of(iteration) for iteration in iterations))

    async def _make_namespaces(self, iterations: Iterable[int]) -> None:
        names = self._namespaces_of(iterations)
        for first in range(0, len(names), LOOKAHEAD):
            for name in names[first : first + LOOKAHEAD]:
                self.namespaces.begin(name)
            for name in names[first : first + LOOKAHEAD]:
                await self.namespaces.ensure(name)

    async def _mapping(self, number: int) -> Mapping:
        found = self.mappings[number]
        if found is None:
            item = self.job.objects[number]
            # What brings the kind must have arrived.
            await self.sender.finish()
            found = self.mappings[number] = await self.context.kinds.find(item.api_version, item.kind, item.template)
        return found

    async def _send(self, iterations: Sequence[int], numbers: Sequence[int]) -> None:
        job, context = self.job, self.context
        spec, namespaces, sender = job.spec, self.namespaces, self.sender
        total, ahead = len(iterations), 0
        debug = log.isEnabledFor(10)
        hooked = self.hooks.any("onEachIteration")
        needed = self._needs_namespaces
        objects = job.objects
        prefix = f"Group {objects[numbers[0]].group.id}: " if job.grouped else ""
        # As in the original: one iteration is told in 1.x alone, fewer than ten in no group.
        told = (spec.job_iterations > 1 or context.compat == 1) and not (job.grouped and total < _TENTHS)
        for position, iteration in enumerate(iterations):
            if hooked:
                await self.hooks.run("onEachIteration")
            if told and _tells(position, total):
                log.info("%s%d/%d iterations completed", prefix, position, total)
            namespace = job.namespace_of(iteration) if needed else None
            if namespace is not None and not namespaces.is_ready(namespace):
                while ahead < min(total, position + LOOKAHEAD):
                    namespaces.begin(job.namespace_of(iterations[ahead]))
                    ahead += 1
                await namespaces.ensure(namespace)
            if debug:
                log.debug("Creating object replicas from iteration %d", iteration)
            for number in numbers:
                item = objects[number]
                if not item.due(iteration):
                    continue
                mapping = self.mappings[number] or await self._mapping(number)
                for replica in range(1, item.replicas + 1):
                    rendered = item.render(iteration, replica)
                    target = (rendered.namespace or namespace) if mapping.namespaced else None
                    label = f"{rendered.kind}/{rendered.name}" + (f" in namespace {target}" if target else "")
                    await sender.send("POST", mapping.path(target), rendered.body, label)
            if spec.pod_wait and namespace is not None:
                # Once a namespace, its last iteration is the one that fills it; one that all share: after each.
                following = job.namespace_of(iterations[position + 1]) if position + 1 < total else None
                if not spec.namespaced_iterations or following != namespace:
                    await sender.finish()
                    log.info(
                        "Waiting up to %s for actions to be completed in namespace %s",
                        go_duration(int(spec.max_wait_timeout_s * 1e9)),
                        namespace,
                    )
                    await self._settle([namespace])
            if spec.job_iteration_delay_s:
                log.info("Sleeping for %s", go_duration(int(spec.job_iteration_delay_s * 1e9)))
                await aio.sleep(spec.job_iteration_delay_s)

    async def _settle(self, only: Sequence[str] | None, objects: Iterable[ObjectPlan] | None = None) -> None:
        """Wait as `wait_ready`; what is late fails the run and keeps nothing that follows, except in 1.x."""
        try:
            await self.wait_ready(only, objects)
        except WaitTimeoutError as error:
            self.context.timed_out(self.record, error)

    async def wait_ready(self, only: Sequence[str] | None, objects: Iterable[ObjectPlan] | None = None) -> None:
        """Wait until the objects that have a rule are ready, in some namespaces or wherever they are.

        Raises:
            WaitTimeoutError: They are not, in time.
        """
        job, context = self.job, self.context
        wanted = []
        chosen = job.objects if objects is None else tuple(objects)
        for number, item in enumerate(job.objects):
            if item not in chosen or not item.wait:
                continue
            mapping = self.mappings[number] or await self._mapping(number)
            found = await waiting.awaited(mapping, item.wait_options, self.selector, context)
            if found is not None:
                wanted.append(found)
        await waiting.wait(wanted, context, job.spec.max_wait_timeout_s, only)
        if only is None and not self._needs_namespaces:
            log.info("Actions completed")
            return
        for namespace in only or job.namespaces():
            log.info("Actions in namespace %s completed", namespace)

    # --- groups ------------------------------------------------------------------------------------------------

    async def _groups(self) -> None:
        """Make the groups one after another: each whole, waited for, and deleted where it says so."""
        job, spec = self.job, self.job.spec
        iterations = range(spec.job_iterations)
        if self._needs_namespaces:
            await self._make_namespaces(iterations)
        for group in sorted({item.group.id for item in job.objects}):
            numbers = [number for number, item in enumerate(job.objects) if item.group.id == group]
            items = [job.objects[number] for number in numbers]
            log.info("Starting group %d with %d object template(s)", group, len(items))
            await self._send(iterations, numbers)
            await self.sender.finish()
            if spec.pod_wait or spec.wait_when_finished:
                log.info("Group %d: Waiting for objects to be ready", group)
                await self._settle(None, items)
            gone = [number for number in numbers if job.objects[number].group.gc]
            before_s = max(item.group.pause_before_gc_s for item in items)
            after_s = max(item.group.pause_after_gc_s for item in items)
            if before_s:
                log.info("Group %d: pausing for %s before GC", group, go_duration(int(before_s * 1e9)))
                await aio.sleep(before_s)
            if gone:
                log.info("Group %d: garbage collecting objects", group)
            for number in gone:
                await self._delete_group(number, group)
            if after_s and gone:
                log.info("Group %d: pausing for %s after GC", group, go_duration(int(after_s * 1e9)))
                await aio.sleep(after_s)
            log.info("Group %d completed", group)

    async def _delete_group(self, number: int, group: int) -> None:
        job, context = self.job, self.context
        mapping = await self._mapping(number)
        selector = f"kube-burner.io/group={group},{self.selector}"
        log.debug("Deleting %s of group %d", mapping.plural, group)
        places: list[str | None] = [None]
        if mapping.namespaced:
            own = job.objects[number].namespace
            places = [own] if own else list(job.namespaces())
        for place in places:
            await delete_collection(
                context.patient, mapping, place, selector, context.clock, job.spec.max_wait_timeout_s,
                wait=job.spec.wait_for_deletion and mapping.namespaced,
            )  # fmt: skip

    # --- verification ------------------------------------------------------------------------------------------

    async def verify(self) -> list[str]:
        """Count what is there against what was asked for; returns an error line for each object that differs."""
        errors = []
        label = self.context.label
        for number, item in enumerate(self.job.objects):
            if item.group.gc:
                continue
            mapping = await self._mapping(number)
            selector = ",".join(
                f"{label(key)}={value}"
                for key, value in (
                    ("index", item.index),
                    ("job", self.job.spec.name),
                    ("runid", self.job.runid),
                    ("uuid", self.context.uuid),
                )
            )
            found = await count(self.context.patient, mapping, selector)
            line = f"{mapping.plural} found: {found} Expected: {item.expected}"
            if found == item.expected:
                log.debug("%s", line)
            else:
                log.error("%s", line)
                errors.append(line)
        return errors


# Progress is told in tenths.
_TENTHS = 10


def _tells(position: int, total: int) -> bool:
    """Say whether an iteration is one of those that progress is logged at: every tenth of them, or the first of few."""
    step = total // _TENTHS
    return position > 0 and position % step == 0 if step else position == 0
