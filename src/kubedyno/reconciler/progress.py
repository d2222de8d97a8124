"""How far a reconciler has come, for those who wait for it."""

import asyncio
from dataclasses import dataclass

from kubedyno.base import aio


@dataclass(frozen=True, slots=True)
class Reached:
    """What was reached.

    Attributes:
        revision: All changes up to here were attempted.
        failing: The lowest revision whose object still fails; 0 when none does.
    """

    revision: int
    failing: int

    def succeeded(self, revision: int) -> bool:
        """True when all changes up to a revision were reconciled with success."""
        return self.revision >= revision and (not self.failing or self.failing > revision)


class Progress:
    """See the module. For the reconciler's own event loop."""

    def __init__(self) -> None:
        self.reached = Reached(0, 0)
        self._moved = asyncio.Event()

    def move(self, revision: int, failing: int) -> None:
        """Say what was reached, and wake who waits."""
        reached = Reached(max(revision, self.reached.revision), failing)
        if reached != self.reached:
            self.reached = reached
            self._moved.set()
            self._moved = asyncio.Event()

    async def wait(self, revision: int, timeout_s: float, *, success: bool) -> Reached:
        """Wait until all changes up to a revision were attempted, or reconciled with success.

        Raises:
            TimeoutError: It takes longer.
        """
        async with aio.timeout(timeout_s):
            while True:
                reached = self.reached
                if reached.succeeded(revision) if success else reached.revision >= revision:
                    return reached
                await self._moved.wait()
