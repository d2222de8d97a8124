"""Noticing that a wait cannot end: no progress, and a reason that nothing but a change resolves.

What the reasons are is not known here: the composition root brings a `Diagnose` that looks at the cluster.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from kubedyno.base import aio
from kubedyno.base.clock import Clock
from kubedyno.base.log import logger
from kubedyno.load.engine.patience import patiently
from kubedyno.load.engine.sender import GONE_S

log = logger(__name__)

# Without any change for so long, the cluster is asked why; and again at least so often while nothing changes.
QUIET_S = 2.0
AGAIN_S = 5.0
# Asking lists pods: it may take at most this share of the time.
_SHARE = 0.1


class Reason(Protocol):
    """One cause of waiting, as far as a wait is concerned."""

    @property
    def cause(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def pods(self) -> tuple[str, ...]: ...

    @property
    def permanent(self) -> bool: ...

    def lines(self) -> list[str]: ...


Diagnose = Callable[[], Awaitable[Sequence[Reason]]]


class StuckError(Exception):
    """The wait was ended because nothing changes by itself."""


@dataclass(slots=True)
class StuckWatch:
    """Runs beside a wait.

    Attributes:
        progress: A number that changes whenever anything of the run's pods does.
        diagnose: Says why pods do not run.
        fail_after_s: End the wait after being stuck for so long; None never.
        on_reasons: Told of every new set of reasons.
        silence_s: How long nobody may answer.
    """

    clock: Clock
    progress: Callable[[], int]
    diagnose: Diagnose
    fail_after_s: float | None = None
    on_reasons: Callable[[Sequence[Reason], bool], None] = lambda _reasons, _stuck: None
    silence_s: float = GONE_S
    reasons: tuple[Reason, ...] = field(default=())

    async def run(self) -> None:
        """Watch until cancelled.

        Raises:
            StuckError: Stuck for `fail_after_s`.
        """
        now_s = self.clock.monotonic()
        seen, changed_s, asked_s, next_s = self.progress(), now_s, 0.0, 0.0
        stuck_since_s: float | None = None
        said: tuple[tuple[str, str], ...] = ()

        async def ask() -> Sequence[Reason]:
            nonlocal asked_s
            asked_s = self.clock.monotonic()
            return await self.diagnose()

        while True:
            await aio.sleep(0.25)
            now_s = self.clock.monotonic()
            current = self.progress()
            if current != seen:
                seen, changed_s, stuck_since_s = current, now_s, None
                continue
            if now_s - changed_s >= QUIET_S and now_s >= next_s:
                self.reasons = tuple(await patiently(ask, self.silence_s))
                now_s = self.clock.monotonic()
                next_s = now_s + max(AGAIN_S, (now_s - asked_s) / _SHARE)
                stuck = bool(self.reasons) and all(reason.permanent for reason in self.reasons)
                if stuck and stuck_since_s is None:
                    stuck_since_s = changed_s
                elif not stuck:
                    stuck_since_s = None
                key = tuple((reason.cause, reason.title) for reason in self.reasons)
                if key != said:
                    said = key
                    for reason in self.reasons:
                        level = log.warning if reason.permanent else log.info
                        for line in reason.lines():
                            level("%s", line)
                    self.on_reasons(self.reasons, stuck)
            if self.fail_after_s is not None and stuck_since_s is not None:
                stuck_s = now_s - stuck_since_s
                if stuck_s >= self.fail_after_s:
                    raise StuckError(f"nothing changes by itself any more: stuck for {stuck_s:.0f}s, ended as asked")
