"""Commands of the user at the stages of a job: background ones are started first, then the others run one by one."""

import asyncio
from collections.abc import Callable, Sequence

from kubedyno.base.clock import Clock
from kubedyno.base.log import logger
from kubedyno.base.times import go_duration
from kubedyno.load.config.spec import HookSpec

log = logger(__name__)

# A background hook that does not end by itself is not waited for longer after its job: the original waits for ever.
_LAST_S = 10.0


class Hooks:
    """The hooks of one job.

    Args:
        hooks: The configuration's.
        clock: For how long they took.
        failed: Told of each that failed.
    """

    def __init__(self, hooks: Sequence[HookSpec], clock: Clock, failed: Callable[[str], None]) -> None:
        self._hooks = tuple(hooks)
        self._clock = clock
        self._failed = failed
        # With the time at which each was started.
        self._background: list[tuple[HookSpec, asyncio.subprocess.Process, float]] = []

    def any(self, stage: str) -> bool:
        """Say whether a stage has hooks."""
        return any(hook.when == stage for hook in self._hooks)

    async def run(self, stage: str) -> None:
        """Run what a stage has."""
        here = [hook for hook in self._hooks if hook.when == stage]
        for hook in here:
            if hook.background:
                log.info("Starting Background hook at %s , [%s]", stage, " ".join(hook.cmd))
                process = await self._start(hook)
                if process is not None:
                    self._background.append((hook, process, self._clock.monotonic()))
        for hook in here:
            if not hook.background:
                log.info("Executing foreground hook: [%s]", " ".join(hook.cmd))
                began_s = self._clock.monotonic()
                process = await self._start(hook)
                if process is not None:
                    await self._end(hook, process)
                took_ns = int((self._clock.monotonic() - began_s) * 1e9)
                log.info("Hook completed at '%s' in %s", stage, go_duration(took_ns))

    async def close(self) -> None:
        """Wait for background hooks; one that does not end is stopped, and said to be."""
        for hook, process, began_s in self._background:
            if process.returncode is None:
                done, _ = await asyncio.wait([asyncio.ensure_future(process.wait())], timeout=_LAST_S)
                if not done:
                    log.warning("Background hook [%s] still runs after its job: stopped", " ".join(hook.cmd))
                    process.kill()
                    await process.wait()
                    continue
            await self._end(hook, process)
            if not process.returncode:
                took_ns = int((self._clock.monotonic() - began_s) * 1e9)
                log.info("Background hook completed successfully (duration: %s)", go_duration(took_ns))
        self._background.clear()

    async def _start(self, hook: HookSpec) -> asyncio.subprocess.Process | None:
        pipe = asyncio.subprocess.PIPE if not hook.background else asyncio.subprocess.DEVNULL
        try:
            return await asyncio.create_subprocess_exec(
                *hook.cmd, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=asyncio.subprocess.STDOUT
            )
        except OSError as error:
            self._failed(f"hook [{' '.join(hook.cmd)}] at {hook.when}: {error.strerror or error}")
            return None

    async def _end(self, hook: HookSpec, process: asyncio.subprocess.Process) -> None:
        try:
            output, _ = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        if output:
            log.debug("%s", output.decode(errors="replace").rstrip())
        if process.returncode:
            self._failed(
                f"hook [{' '.join(hook.cmd)}] at {hook.when}: exit code {process.returncode}"
                + (f": {output.decode(errors='replace').strip()[-200:]}" if output else "")
            )


async def script(text: str, arguments: Sequence[str]) -> tuple[int, str]:
    """Run a shell script by `/bin/sh` on its standard input; returns the exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        "/bin/sh", "-s", "-", *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        output, _ = await process.communicate(text.encode())
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    return process.returncode or 0, output.decode(errors="replace")
