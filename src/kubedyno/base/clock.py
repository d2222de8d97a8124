"""Time. The only module that may ask the operating system for it.

Everything else takes a `Clock`, or calls `SYSTEM_CLOCK` at a composition root, so that the same code can
run on a simulated clock.
"""

import time
from typing import Protocol


class Clock(Protocol):
    """Where time comes from. Both readings are float seconds."""

    def now(self) -> float:
        """Return wall time as seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back, on the event loop's own scale."""
        ...


class SystemClock:
    """The machine's clocks. `monotonic` agrees with `loop.time()` of asyncio and uvloop."""

    __slots__ = ()

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


SYSTEM_CLOCK = SystemClock()

# For durations of microseconds measured in a hot loop, where a method call would count: integer nanoseconds.
elapsed_ns = time.perf_counter_ns
