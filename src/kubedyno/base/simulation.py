"""Simulated time: an event loop whose clock jumps to the next timer, so that an hour of back-off passes at once.

For tests and simulations. uvloop's clock cannot be replaced, so this is asyncio's own loop.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

# 2026-01-01, what the wall clock shows when a simulation begins.
EPOCH_S = 1_767_225_600.0
# Turns of the loop at one instant after which nothing but a circle can be the reason.
MAX_TURNS = 100_000


class _Selector(selectors.DefaultSelector):
    """Never sleeps: what would have been waited for is added to the time."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self._turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("simulation: everybody waits, and nothing will ever happen")
            if timeout > 0:
                self.now_s += timeout
                self._turns = 0
            elif (turns := self._turns + 1) > MAX_TURNS:
                # Who ends it by that has as many turns to tidy up.
                self._turns = 0
                raise RuntimeError(f"simulation: time stands still at {self.now_s:.3f} s: work makes work, without end")
            else:
                self._turns = turns
        return ready


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop on simulated time; also the `Clock` that agrees with it."""

    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now_s

    def monotonic(self) -> float:
        """Return simulated seconds, from 0 on."""
        return self._clock.now_s

    def now(self) -> float:
        """Return simulated wall time."""
        return EPOCH_S + self._clock.now_s


def simulate(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` on simulated time; inside, the running loop is the clock.

    Raises:
        RuntimeError: Everybody waits and no timer is left, or nobody ever waits.
    """
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(main)
