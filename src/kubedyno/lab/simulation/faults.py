"""What goes wrong, when: each fault of a scenario is a task with a generator of its own, derived from the seed."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from kubedyno.base import aio
from kubedyno.base.random import Random
from kubedyno.lab.simulation.checks import Checks
from kubedyno.lab.simulation.doors import WriteFault
from kubedyno.lab.simulation.scenario import WRITE_FAULTS, Fault
from kubedyno.lab.simulation.steps import Steps
from kubedyno.lab.simulation.world import World

# Times between two faults are drawn from half to one and a half of their mean.
_SPREAD = 0.5
# Stands for "as long as steps run" where a timer needs a time.
_LONGEST_S = 1e8
# Part → names of the workers that hear for it; controllers hear by one worker a table.
_FOLLOWERS = {"scheduler": ("scheduler-changes",), "kubelets": ("kubelet",)}
_FEED = "feed-"


class Faults:
    """The faults of one run.

    Args:
        world: In which they happen.
        steps: Does to nodes what faults want.
        checks: Told when followers are held back.
        tell: Gets a line a fault.
    """

    def __init__(self, world: World, steps: Steps, checks: Checks, tell: Callable[[str], None]) -> None:
        self._world = world
        self._steps = steps
        self._checks = checks
        self._tell = tell
        self._over = asyncio.Event()
        self._blind = 0
        # Monotonic seconds of the last thing that went wrong, or that was put right.
        self.last_s = 0.0

    def end(self) -> None:
        """Begin nothing new; what is under way ends in its time."""
        self._over.set()

    async def run(self, number: int, fault: Fault, zero_s: float) -> None:
        """Have one fault come and go.

        Args:
            number: Its place in the scenario.
            fault: What.
            zero_s: Simulated seconds that its times count from.
        """
        random = Random((self._world.settings.seed << 16) + number)
        await self._until(zero_s + fault.from_s)
        until_s = zero_s + fault.until_s if fault.until_s is not None else float("inf")
        while not self._over.is_set() and self._world.now_s < until_s:
            await self._once(fault, random, until_s)
            self.last_s = self._world.now_s
            if not fault.every_s:
                return
            await self._pause(fault.every_s * (1 - _SPREAD + 2 * _SPREAD * random.random()))

    async def _pause(self, seconds: float) -> None:
        """Wait, unless nothing new is to begin any more."""
        with suppress(TimeoutError):
            async with aio.timeout(seconds):
                await self._over.wait()

    async def _until(self, at_s: float) -> None:
        wait_s = at_s - self._world.now_s
        if wait_s > 0:
            await self._pause(wait_s)

    async def _once(self, fault: Fault, random: Random, until_s: float) -> None:
        if fault.kind in WRITE_FAULTS:
            await self._writes(fault, random, until_s)
        elif fault.kind == "watch":
            await self._watch(fault, random)
        elif fault.kind == "node":
            await self._steps.node({**fault.value, "for": f"{fault.for_s:g}s"} if fault.for_s else fault.value)
        elif fault.kind == "skew":
            await self._steps.skew({"by": fault.value.get("by", "30s"), "for": f"{fault.for_s:g}s"})
        else:
            self._world.restart()
            self._tell("the cluster was killed and has started again from its journal")

    async def _writes(self, fault: Fault, random: Random, until_s: float) -> None:
        """Have writes go wrong for a while: `for` of each `every`, or the whole time."""
        value = fault.value
        active = WriteFault(
            fault.kind,
            float(value.get("probability", 0.1)),
            list(value.get("of", ())),
            list(value.get("resources", ())),
            list(value.get("verbs", ())),
            random,
        )
        gate = self._world.gate
        gate.faults.append(active)
        self._tell(f"writes begin to go wrong ({fault.kind})")
        if fault.every_s:
            await aio.sleep(fault.for_s)
        else:
            while not self._over.is_set() and self._world.now_s < until_s:
                await self._pause(min(until_s - self._world.now_s, _LONGEST_S))
        gate.faults.remove(active)
        self._tell(f"{active.hits} writes went wrong ({fault.kind})")

    async def _watch(self, fault: Fault, random: Random) -> None:
        """Have followers hear nothing for a while; with `forget` their place in the history is gone by then."""
        names = self._followers(fault, random)
        pump = self._world.pump
        for name in names:
            pump.hold(name)
        self._blind += 1
        self._checks.informed = False
        self._tell(f"watches are lost: {', '.join(names)}")
        await aio.sleep(fault.for_s)
        if fault.value.get("forget", True):
            self._forget()
        if self._world.pump is pump:
            for name in names:
                pump.release(name)
        self._blind -= 1
        # What came meanwhile is heard within the second.
        await aio.sleep(1.0)
        if not self._blind:
            self._checks.informed = True

    def _followers(self, fault: Fault, random: Random) -> list[str]:
        """Return the workers that hear nothing: all of those that are named, else one of all."""
        parts, resources = fault.value.get("of") or (), fault.value.get("resources") or ()
        feeds = [_FEED + table.name.partition(".")[0] for table in self._world.store.tables()]
        if not parts and not resources:
            return [random.choice(["scheduler-changes", "kubelet", "feed-pods", "feed-nodes", "feed-replicasets"])]
        found = [name for part in parts if part in _FOLLOWERS for name in _FOLLOWERS[part]]
        if resources:
            found += [_FEED + resource for resource in resources]
        elif "controllers" in parts:
            found += feeds
        return found

    def _forget(self) -> None:
        """Give up all history that only followers who are behind would need: they have to list again."""
        db = self._world.store.db
        most, db.max_pinned = db.max_pinned, 0
        try:
            while db.compact(100_000):
                pass
        finally:
            db.max_pinned = most
