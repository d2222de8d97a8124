"""asyncio's waits behind one door, so that a simulated clock can stand in, and event-loop start-up.

Outside `base` nobody calls `asyncio.sleep`, `asyncio.wait_for` or `asyncio.timeout`: they come from here.
"""

import asyncio
import gc
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

sleep = asyncio.sleep
wait_for = asyncio.wait_for
timeout = asyncio.timeout

# A full collection of a loaded cluster costs tens of ms; objects of the store opt out of the collector anyway.
_GC_THRESHOLDS = (50_000, 20, 100)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` on uvloop where it is installed, else on asyncio's own loop; tune the collector for a server."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    try:
        import uvloop  # noqa: PLC0415 - optional: the simulated clock runs without it
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
