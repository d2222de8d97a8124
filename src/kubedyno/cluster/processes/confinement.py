"""The control group of a container: made anew for each start, read while it runs, removed with all that is left in it.

In a container's limits, out what it uses, and whether it was killed for want of memory.
"""

import asyncio

from kubedyno.base.clock import Clock
from kubedyno.base.log import logger
from kubedyno.cluster.runtime import Use
from kubedyno.kernel.cgroups import Group, Groups, Limits

# Processes that are killed take a moment to end; those that a device or a debugger holds may take for ever.
_DISSOLVE_S, _DISSOLVE_TRIES = 0.05, 200
# Between two looks at what a container uses.
_LOOK_S = 1.0


class Confinement:
    """What one container is held to.

    Args:
        clock: For how many cores it uses.

    Attributes:
        group: Of its latest start; None before that, and where there are no control groups.
    """

    __slots__ = ("_clock", "_cores", "_looked_s", "_spent_s", "group")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.group: Group | None = None
        # When it was looked at how much it uses, what it had used by then, and how many cores that was.
        self._looked_s = self._spent_s = self._cores = 0.0

    def begin(self, groups: Groups | None, name: str, limits: Limits) -> None:
        """Make a group for a start; none where there are no control groups.

        Raises:
            OSError: It cannot be made.
        """
        self.end()
        if groups is not None:
            self.group = groups.add(name, limits)
        self._looked_s, self._spent_s, self._cores = self._clock.monotonic(), 0.0, 0.0

    def end(self) -> None:
        """End what still runs in its group."""
        dissolve(self.group)
        self.group = None

    def use(self) -> Use | None:
        """Return what it uses, None where that cannot be measured."""
        if self.group is None:
            return None
        try:
            used = self.group.use()
        except OSError:
            # It is just ending.
            return None
        now_s = self._clock.monotonic()
        if now_s - self._looked_s >= _LOOK_S or not self._spent_s:
            self._cores = (used.cpu_s - self._spent_s) / max(now_s - self._looked_s, _LOOK_S)
            self._looked_s, self._spent_s = now_s, used.cpu_s
        return Use(self._cores, used.cpu_s, used.memory_bytes)


def dissolve(group: Group | None, tries: int = _DISSOLVE_TRIES) -> None:
    """End what still runs in a group, e.g. for a client's exec, and remove it."""
    if group is None or group.remove():
        return
    if tries:
        asyncio.get_running_loop().call_later(_DISSOLVE_S, dissolve, group, tries - 1)
    else:
        logger(__name__).error("a control group is left: what runs in it does not end")


def is_out_of_memory(group: Group | None) -> bool:
    """Say whether a process in a group was killed for want of memory."""
    try:
        return group is not None and group.use().killed > 0
    except OSError:
        return False
