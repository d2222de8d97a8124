"""Commands of the user at the stages of a job: background ones are started first, then the others run one by one."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from kubedyno.base.clock import Clock
from kubedyno.base.log import logger
from kubedyno.base.times import go_duration
from kubedyno.load.config.spec import HookSpec

log = logger(__name__)

# A background hook that does not end by itself is not waited for longer after its job: the original waits for ever.
_LAST_S = 10.0
# Characters of a failed hook's output that the log has, the last ones.
_SHOWN = 200


class Hooks:
    """The hooks of one job.

    Args:
        hooks: The configuration's.
        clock: For how long they took.
        failed: Given each fault, which the log has already.
    """

    def __init__(self, hooks: Sequence[HookSpec], clock: Clock, failed: Callable[[str], None]) -> None:
        self._hooks = tuple(hooks)
        self._clock = clock
        self._failed = failed
        # With what waits for it, and says how long it took.
        self._background: list[tuple[HookSpec, asyncio.subprocess.Process, asyncio.Task[float]]] = []

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
                    self._background.append((hook, process, asyncio.ensure_future(self._took_s(process))))
        for hook in here:
            if not hook.background and not await self._foreground(hook):
                # As in the original, the rest of the stage is left out.
                return

    async def close(self) -> None:
        """Wait for background hooks; one that does not end is stopped, and said to be."""
        for hook, process, ending in self._background:
            done, _ = await asyncio.wait([ending], timeout=_LAST_S)
            if not done:
                log.warning("Background hook [%s] still runs after its job: stopped", " ".join(hook.cmd))
                process.kill()
                await ending
                continue
            took = go_duration(int(ending.result() * 1e9))
            wrong = _status(process.returncode or 0)
            if wrong:
                log.error("Background hook failed: %s (duration: %s)", wrong, took)
                self._failed(wrong)
            else:
                log.info("Background hook completed successfully (duration: %s)", took)
        self._background.clear()

    async def stop(self) -> None:
        """Stop what `close` did not wait for: the run ended early."""
        for hook, process, ending in self._background:
            if process.returncode is None:
                log.warning("Background hook [%s] stopped", " ".join(hook.cmd))
                process.kill()
            await ending
        self._background.clear()

    async def _took_s(self, process: asyncio.subprocess.Process) -> float:
        began_s = self._clock.monotonic()
        await process.wait()
        return self._clock.monotonic() - began_s

    async def _foreground(self, hook: HookSpec) -> bool:
        log.info("Executing foreground hook: [%s]", " ".join(hook.cmd))
        began_s = self._clock.monotonic()
        process = await self._start(hook)
        if process is None:
            return False
        wrong, output = await _ended(process)
        took = go_duration(int((self._clock.monotonic() - began_s) * 1e9))
        if wrong:
            if output:
                log.error("Hook output: %s", output[-_SHOWN:])
            self._fail(hook, f"hook failed at '{hook.when}' after {took}: {wrong}")
            return False
        if output:
            log.debug("Hook output: %s", output)
        log.info("Hook completed at '%s' in %s", hook.when, took)
        return True

    async def _start(self, hook: HookSpec) -> asyncio.subprocess.Process | None:
        pipe = asyncio.subprocess.PIPE if not hook.background else asyncio.subprocess.DEVNULL
        try:
            return await asyncio.create_subprocess_exec(
                *hook.cmd, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=asyncio.subprocess.STDOUT
            )
        except OSError as error:
            self._fail(hook, f"{hook.cmd[0]}: {error.strerror or error}")
            return None

    def _fail(self, hook: HookSpec, why: str) -> None:
        doing = "failed to start background hook" if hook.background else "foreground hook execution failed"
        line = f"{doing} at '{hook.when}': {why}"
        log.error("Error executing hooks for %s: %s", hook.when, line)
        self._failed(line)


@asynccontextmanager
async def hooked(hooks: Sequence[HookSpec], clock: Clock, failed: Callable[[str], None]) -> AsyncIterator[Hooks]:
    """Yield the hooks of a job, which then end: waited for after a job that went through, else stopped."""
    made = Hooks(hooks, clock, failed)
    try:
        yield made
        await made.close()
    finally:
        await made.stop()


async def _ended(process: asyncio.subprocess.Process) -> tuple[str, str]:
    """Wait for the end of a process; returns what is wrong with it, "" for nothing, and what it wrote."""
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    return _status(process.returncode or 0), output.decode(errors="replace").strip()


def _status(code: int) -> str:
    if code < 0:
        return f"signal: {signal.strsignal(-code) or -code}".lower()
    return f"exit status {code}" if code else ""


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
