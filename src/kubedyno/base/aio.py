"""asyncio's waits behind one door, so that a simulated clock can stand in, and event-loop start-up.

Outside `base` nobody calls `asyncio.sleep`, `asyncio.wait_for` or `asyncio.timeout`: they come from here.
"""

import asyncio
import gc
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from kubedyno.base.log import logger

T = TypeVar("T")
# Begins work that nobody waits for.
Spawn = Callable[[Coroutine[Any, Any, None]], object]

sleep = asyncio.sleep
wait_for = asyncio.wait_for
timeout = asyncio.timeout

# A collection looks at every container it is about, and at what lies in them: of the young ones 5,000 are 4 ms, all of
# a loaded cluster 100 ms and more. Full ones are therefore left to `collect_idle`, when nobody waits.
_GC_THRESHOLDS = (5_000, 5, 4_000)
# Ctrl-C and `kill`: somebody wants it to end.
_ENDING = (signal.SIGINT, signal.SIGTERM)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` on uvloop where it is installed, else on asyncio's own loop; tune the collector for a server."""
    # What was imported stays: not even a first look at it.
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    gc.enable()
    try:
        import uvloop  # noqa: PLC0415 - optional: the simulated clock runs without it
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.get_loop().set_exception_handler(_handle)
        return runner.run(main)


def _handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Report what nobody caught, except that uvloop had something to send on a connection that was gone by then.

    Whoever used the connection learns that by its `connection_lost`; uvloop's own report of it tells nothing more.
    """
    error = context.get("exception")
    late = isinstance(error, RuntimeError) and "the handler is closed" in str(error)
    if not (late and str(context.get("message", "")).startswith("Fatal error on SSL protocol")):
        loop.default_exception_handler(context)


def collect_idle() -> None:
    """Collect all garbage and look at what is left never again; for moments in which nobody waits for an answer."""
    gc.collect()
    gc.freeze()


async def end(*tasks: "asyncio.Task[Any] | None") -> None:
    """Cancel tasks, one after the other, and wait for their end; what else ended one is raised."""
    for task in tasks:
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def finished(work: Coroutine[Any, Any, T]) -> T:
    """Wait for work that has to be done to its end: who is cancelled meanwhile waits on, and is cancelled then.

    An error of the work comes before that; who is cancelled twice ends it.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.done():
            await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()) is not None:
            logger(__name__).error("%s", error)
        raise
    finally:
        task.cancel()


class Tasks:
    """Tasks that nobody waits for: kept until they end, as the loop alone does not; what one failed with is logged.

    Args:
        what: What one of them does, for the log, e.g. "an answer".
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._running: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Begin one more."""
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._done)
        return task

    def cancel(self) -> None:
        """Cancel all of them."""
        for task in list(self._running):
            task.cancel()

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger(__name__).error("%s failed", self._what, exc_info=error)


def until_signalled() -> asyncio.Event:
    """Return what SIGINT and SIGTERM set from now on, as long as the loop runs."""
    stopped, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in _ENDING:
        loop.add_signal_handler(number, stopped.set)
    return stopped


@contextmanager
def on_signal(act: Callable[[], object]) -> Iterator[None]:
    """Have SIGINT and SIGTERM call `act` while the context is open."""
    loop = asyncio.get_running_loop()
    for number in _ENDING:
        loop.add_signal_handler(number, act)
    try:
        yield
    finally:
        for number in _ENDING:
            loop.remove_signal_handler(number)


@contextmanager
def interrupted_later() -> Iterator[None]:
    """Have the first SIGINT or SIGTERM of a piece of work, outside of any loop, be a KeyboardInterrupt at its end; the next is one at once."""
    told = False

    def note(_number: int, _frame: object) -> None:
        nonlocal told
        if told:
            raise KeyboardInterrupt
        told = True

    before = {number: signal.signal(number, note) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if told:
        raise KeyboardInterrupt
