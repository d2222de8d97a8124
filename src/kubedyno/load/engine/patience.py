"""Asking again while nobody answers: a server that restarts, or a connection that is lost, ends no wait.

Only silence is waited through, and no longer than requests wait for a cluster that is gone; what the API says no to is the
caller's.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TypeVar

from kubedyno.base import aio
from kubedyno.base.log import logger
from kubedyno.client.api import Unreachable
from kubedyno.load.engine.sender import GONE_S

# What a run, and whatever it starts, waits through.
_silence_s: ContextVar[float] = ContextVar("silence_s", default=GONE_S)
T = TypeVar("T")
log = logger(__name__)

_FIRST_S, _MOST_S = 0.25, 5.0


def allow(silence_s: float) -> None:
    """Say how long silence is waited through from here on, by this task and those that it starts."""
    _silence_s.set(silence_s)


async def patiently(ask: Callable[[], Awaitable[T]], silence_s: float | None = None) -> T:
    """Return what a call returns, made again while there is no answer.

    Args:
        ask: Makes the call anew; what a broken one left behind is its own to forget.
        silence_s: After so long without any answer the trouble is the caller's; None: as `allow` has said. Whoever has
            less time puts a limit around it.

    Raises:
        Unreachable: Nobody answered for so long.
    """
    loop = asyncio.get_running_loop()
    silence_s = _silence_s.get() if silence_s is None else silence_s
    since_s: float | None = None
    wait_s = _FIRST_S
    while True:
        began_s = loop.time()
        try:
            return await ask()
        except Unreachable as error:
            now_s = loop.time()
            if since_s is None or now_s - began_s > _MOST_S + wait_s:
                # The call went well for a while: a new silence.
                since_s, wait_s = now_s, _FIRST_S
                log.warning("no answer (%s): asking again for up to %.0fs", error, silence_s)
            if now_s - since_s >= silence_s:
                raise
        await aio.sleep(wait_s)
        wait_s = min(2 * wait_s, _MOST_S)
