"""Waiting for a job's objects: which kinds, by which rule, how long, and what is said meanwhile."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kubedyno.base import aio
from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.load.config.spec import WaitSpec
from kubedyno.load.engine.context import JobContext, WaitTimeoutError
from kubedyno.load.engine.mapping import Mapping
from kubedyno.load.engine.readiness import RULES, Rule, WithStatus, decode_with_status
from kubedyno.load.engine.stuck import StuckWatch
from kubedyno.load.engine.wait import ReadyWait
from kubedyno.load.plan import jq

log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Awaited:
    """What is waited for: the objects of a kind with a label, wherever they are or in some namespaces."""

    mapping: Mapping
    selector: str
    rule: Rule | None
    everywhere: bool = False


async def awaited(mapping: Mapping, options: WaitSpec, selector: str, context: JobContext) -> Awaited | None:
    """Return what an entry of a job is waited for by; None when its kind has no rule.

    Args:
        mapping: The entry's own kind.
        options: Its `waitOptions`.
        selector: Label selector of the run's objects.
        context: Of the job.

    Raises:
        KubedynoError: `waitOptions` name a kind that is not served, or a path that is no jq.
    """
    everywhere = bool(options.kind)
    if options.kind:
        mapping = await context.kinds.find(options.api_version or _usual(options.kind), options.kind, "waitOptions")
    if options.label_selector:
        selector += "".join(f",{key}={value}" for key, value in sorted(options.label_selector.items()))
    rule = None
    if options.paths:
        for path in options.paths:
            try:
                jq.compiled(path.key)
            except jq.JqError as error:
                raise KubedynoError(f"waitOptions.customStatusPaths: {error}") from error

        def fits(subject: WithStatus) -> bool:
            status = subject.status
            return status is not None and all(jq.matches(path.key, status, path.value) for path in options.paths)

        rule = Rule(decode_with_status, fits)
    elif mapping.kind not in RULES:
        return None
    return Awaited(mapping, selector, rule, everywhere)


def _usual(kind: str) -> str:
    return {"Deployment": "apps/v1", "Job": "batch/v1", "ReplicaSet": "apps/v1"}.get(kind, "v1")


async def wait(
    wanted: Iterable[Awaited], context: JobContext, timeout_s: float, only: Sequence[str] | None = None
) -> None:
    """Wait until everything is ready.

    Args:
        wanted: What; the same thing twice is waited for once.
        context: Of the job.
        timeout_s: How long.
        only: Namespaces; None for wherever the objects are.

    Raises:
        WaitTimeoutError: Something is not ready in time.
        StuckError: Ended as `--fail-when-stuck` asked.
    """
    waits: list[ReadyWait] = []

    def tell() -> None:
        context.waiting(", ".join(f"{w.ready}/{w.total} {w.plural} ready" for w in waits if w.total))

    unique = {(w.mapping.path(), w.selector, w.rule and id(w.rule)): w for w in wanted}
    waits += [
        ReadyWait(
            context.client, w.mapping, w.selector, None if w.everywhere else only, tell, w.rule, context.gone_after_s
        )
        for w in unique.values()
    ]
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
