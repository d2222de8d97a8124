"""One run: a scenario and a seed → a result. Two runs of the same are alike to the last byte.

The cluster comes up, faults and steps begin, invariants are looked at all the while; when the steps are over the
faults end, and then everything has to converge. The first thing that does not hold ends the run.
"""

import asyncio
import logging
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TextIO

from kubedyno.base import aio
from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.base.simulation import simulate
from kubedyno.kube.resources import EVENTS, PODS
from kubedyno.lab.simulation.broken import Broken
from kubedyno.lab.simulation.checks import Checks
from kubedyno.lab.simulation.client import StepError
from kubedyno.lab.simulation.convergence import Patience, View
from kubedyno.lab.simulation.expectations import unmet
from kubedyno.lab.simulation.faults import Faults
from kubedyno.lab.simulation.scenario import Expectation, Scenario
from kubedyno.lab.simulation.steps import Steps
from kubedyno.lab.simulation.world import World, clock_text

# Nodes have to be Ready within this.
_READY_S = 300.0
# Between two looks at what has to converge, while something goes on.
_LOOK_S = 5.0
# Commits and events around what broke.
_AROUND, _ABOUT = 25, 15


@dataclass(frozen=True, slots=True)
class Result:
    """What a run has shown.

    Attributes:
        seed: Of the run.
        broken: What does not hold; None: everything does.
        timeline: (simulated seconds, line) of what was done and what went wrong.
        around: Lines of commits and events around what broke.
        simulated_s: How long it was, on the simulated clock.
        wall_s: How long it took.
        commits: How many writes there were.
        pods: How many pods were there at the end.
        restarts: How often the cluster was restarted.
        log_digest: Of all commits.
        store_digest: Of the store at the end.
    """

    seed: int
    broken: Broken | None
    timeline: tuple[tuple[float, str], ...]
    around: tuple[str, ...]
    simulated_s: float
    wall_s: float
    commits: int
    pods: int
    restarts: int
    log_digest: str
    store_digest: str


def run(scenario: Scenario, seed: int, *, log: TextIO | None = None, dump: list[bytes] | None = None) -> Result:
    """Run a scenario once.

    Args:
        scenario: What is to happen.
        seed: Of all randomness.
        log: Gets a line a commit.
        dump: Gets the store's objects at the end, as one text.
    """
    began_s = SYSTEM_CLOCK.monotonic()
    # What the cluster's parts log about faults is what is wanted of them here; a defect shows as what does not hold.
    logging.getLogger("kubedyno").setLevel(logging.CRITICAL)
    stage = _Stage(scenario, seed, log)
    try:
        simulate(stage.main())
    except RuntimeError as error:
        if not str(error).startswith("simulation:"):
            raise
        stage.broke(Broken("time-goes-on", str(error).partition(": ")[2], stage.world.now_s))
    finally:
        logging.getLogger("kubedyno").setLevel(logging.NOTSET)
    return stage.result(SYSTEM_CLOCK.monotonic() - began_s, dump)


class _Stage:
    """What a run has in hand."""

    world: World

    def __init__(self, scenario: Scenario, seed: int, log: TextIO | None) -> None:
        self._scenario = scenario
        self._seed = seed
        self._log = log
        self._timeline: list[tuple[float, str]] = []
        self._broken: Broken | None = None
        self._stop: asyncio.Event | None = None
        self._disturbed_s = 0.0

    def tell(self, line: str) -> None:
        now_s = self.world.now_s
        self._disturbed_s = now_s
        self._timeline.append((now_s, line))

    def broke(self, broken: Broken) -> None:
        if self._broken is None:
            self._broken = broken
            if self._stop is not None:
                self._stop.set()

    async def main(self) -> None:
        scenario = self._scenario
        self._stop = asyncio.Event()
        settings = replace(scenario.settings, seed=self._seed)
        world = self.world = World(settings, verify=scenario.verify, log=self._log)
        checks = Checks(world, self.broke)
        steps = Steps(scenario, world, self.tell)
        faults = Faults(world, steps, checks, self.tell)
        patience = Patience(scenario.settle_s)
        world.start()
        tasks = [asyncio.ensure_future(self._act(steps, faults))]
        tasks.append(asyncio.ensure_future(self._watch(checks, patience, faults)))
        stop = asyncio.ensure_future(self._stop.wait())
        try:
            done, _ = await asyncio.wait([tasks[0], stop], return_when=asyncio.FIRST_COMPLETED)
            if tasks[0] in done:
                tasks[0].result()
            elif tasks[1].done():
                tasks[1].result()
        finally:
            for task in (*tasks, stop):
                task.cancel()
            await asyncio.gather(*tasks, stop, return_exceptions=True)
            # The commits of the instant at which it broke are part of its story.
            world.pump.stop()

    # --- what happens ------------------------------------------------------------------------------------------

    async def _act(self, steps: Steps, faults: Faults) -> None:
        scenario, world = self._scenario, self.world
        await self._until_ready()
        zero_s = world.now_s
        self.tell(f"the cluster is up: {len(world.cluster.nodes.names())} nodes")
        running = [
            asyncio.ensure_future(faults.run(number, fault, zero_s)) for number, fault in enumerate(scenario.faults)
        ]
        timed = [
            asyncio.ensure_future(self._expect_at(one, zero_s + one.at_s, steps))
            for one in scenario.expectations
            if one.at_s is not None
        ]
        try:
            for step in scenario.steps:
                if step.at_s is not None:
                    await aio.sleep(max(zero_s + step.at_s - world.now_s, 0.0))
                await steps.do(step)
            await aio.sleep(max(zero_s + scenario.duration_s - world.now_s, 0.0))
            faults.end()
            await asyncio.gather(*running, *timed)
            if scenario.faults:
                self.tell("faults have ended")
            await self._converge()
            for one in scenario.expectations:
                found = unmet(world, steps.client, one) if one.at_s is None else None
                if found is not None:
                    self.broke(found)
        except StepError as error:
            self.broke(Broken("step", str(error), world.now_s))
        finally:
            for task in (*running, *timed):
                task.cancel()
            await asyncio.gather(*running, *timed, return_exceptions=True)

    async def _expect_at(self, expectation: Expectation, at_s: float, steps: Steps) -> None:
        await aio.sleep(max(at_s - self.world.now_s, 0.0))
        found = unmet(self.world, steps.client, expectation)
        if found is not None:
            self.broke(found)

    async def _until_ready(self) -> None:
        world = self.world
        end_s = world.now_s + _READY_S
        up = asyncio.Event()
        world.cluster.nodes.on_all_ready = up.set
        if world.settings.cni == "none" or not world.settings.allocate_node_cidrs:
            await aio.sleep(5.0)
            return
        while not up.is_set() and world.now_s < end_s:
            await aio.sleep(1.0)

    async def _converge(self) -> None:
        """Go on until nothing changes and nothing is wrong, or something has been wrong for too long (see `_watch`)."""
        scenario, world = self._scenario, self.world
        calm = 0
        while calm < 2:
            await aio.sleep(_LOOK_S)
            wrong = View(world, allow_pending=scenario.allow_pending).problems()
            calm = 0 if wrong else calm + 1
        self._timeline.append((world.now_s, "everything has converged"))

    async def _watch(self, checks: Checks, patience: Patience, faults: Faults) -> None:
        """Look at what has to hold once in a while: soon after something changed, and when patience runs out."""
        scenario, world = self._scenario, self.world
        looked_s = -1.0
        while True:
            await aio.sleep(_LOOK_S)
            if world.busy_s < looked_s and not patience.pending:
                continue
            looked_s = world.now_s
            checks.look()
            if world.gate.faults or (scenario.faults and faults.last_s > self._disturbed_s):
                self._disturbed_s = world.now_s
            broken = patience.judge(
                View(world, allow_pending=scenario.allow_pending).problems(), world.now_s, self._disturbed_s
            )
            if broken is not None:
                self.broke(broken)

    # --- the result --------------------------------------------------------------------------------------------

    def result(self, wall_s: float, dump: list[bytes] | None) -> Result:
        world = self.world
        text = world.dump()
        if dump is not None:
            dump.append(text)
        return Result(
            seed=self._seed,
            broken=self._broken,
            timeline=tuple(self._timeline),
            around=tuple(self._around()) if self._broken is not None else (),
            simulated_s=world.now_s,
            wall_s=wall_s,
            commits=world.commits,
            pods=world.store.table(PODS).count,
            restarts=world.restarts,
            log_digest=world.digest(),
            store_digest=sha256(text).hexdigest(),
        )

    def _around(self) -> list[str]:
        """Return the commits of what broke and those just before, and the events about it."""
        assert self._broken is not None
        world, keys = self.world, set(self._broken.keys)
        commits = list(world.recent)
        about = [one for one in commits if f"{one.table} {one.key}" in keys][-_ABOUT:]
        lines = [str(one) for one in sorted({*about, *commits[-_AROUND:]}, key=lambda one: one.revision)]
        names = {key.partition(" ")[2].rpartition("/")[2] for key in keys}
        store = world.store
        events = [store.encode_dict(EVENTS, record, managed=False) for record in store.table(EVENTS).all()]
        told = [
            f"event  {one.get('lastTimestamp') or one.get('eventTime')}  {one.get('reason')}  "
            f"{one['involvedObject'].get('kind')} {one['involvedObject'].get('name')}: {one.get('message')}"
            for one in events
            if one["involvedObject"].get("name") in names
        ]
        return [*lines, *told[-_ABOUT:]]


__all__ = ["Result", "clock_text", "run"]
