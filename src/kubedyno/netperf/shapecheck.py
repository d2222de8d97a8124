"""A check of traffic shaping from its options to its end: deploy, let all clients send at once, judge, remove."""

import asyncio
from statistics import fmean

from kubedyno.base.clock import SYSTEM_CLOCK, Clock
from kubedyno.client.api import Client
from kubedyno.netperf import plan, shaping
from kubedyno.netperf.plan import Action, Options
from kubedyno.netperf.runner import Runner, choose_nodes, closing_line
from kubedyno.netperf.shaping import Shaping
from kubedyno.netperf.tables import values_of
from kubedyno.netperf.workspace import Say, Workspace


class ShapeCheck:
    """One check of one cluster.

    Args:
        client: Of the cluster.
        options: Samples, nodes, tool; the rest of the matrix is not looked at.
        kind: What is checked.
        clock: For waits.
        say: Takes lines of progress; None: stderr.

    Attributes:
        passed: What came of it.
    """

    def __init__(
        self, client: Client, options: Options, kind: Shaping, clock: Clock = SYSTEM_CLOCK, say: Say | None = None
    ) -> None:
        self._client = client
        self._options = shaping.options_of(options)
        self._kind = kind
        self._space = Workspace(client, options.full_namespace, "net perf", clock, say, options.namespace_labels)
        self.passed = False
        self._reached: list[tuple[Action, dict[str, float]]] = []

    def measured(self) -> list[tuple[Action, dict[str, float]]]:
        """Return what was measured until now."""
        return self._reached

    async def run(self) -> list[str]:
        """Check; returns the lines to print.

        Raises:
            KubedynoError: The cluster refuses, a pod does not become Ready, or a generator fails.
        """
        options, kind = self._options, self._kind
        server, client = await choose_nodes(self._client, options, self._space.say)
        pairs = shaping.pairs_of(kind, options.tool)
        async with self._space as space:
            deployments = shaping.deployments_of(kind, options.tool, server, client)
            for one in deployments:
                await space.deploy(plan.manifest_of(options, one))
            pods = await space.ready(one.name for one in deployments)
            space.say(f"🏃[{space.namespace}] Running 1 tests ...")
            runner = Runner(space, options)
            for sample in range(1, options.samples + 1):
                runs = [
                    asyncio.ensure_future(
                        runner.run(
                            shaping.action_of(kind, pair, sample),
                            pods[pair.client],
                            pods[pair.server]["status"]["podIP"],
                        )
                    )
                    for pair in pairs
                ]
                try:
                    for pair, figures in zip(pairs, await asyncio.gather(*runs), strict=True):
                        self._reached.append((shaping.action_of(kind, pair, sample), values_of(figures)))
                finally:
                    for run in runs:
                        run.cancel()
        bps = {
            pair.client: fmean(found.get("bps", 0.0) for action, found in self._reached if action.client == pair.client)
            for pair in pairs
        }
        lines = [f"{name} : {value / 1e6:.0f} Mb/s" for name, value in bps.items()]
        failure = shaping.failure_of(kind, bps)
        self.passed = not failure
        if failure:
            return [*lines, f"❌ [{self._space.namespace}] 1/1 tests failed: {failure}"]
        return [*lines, closing_line(self._space.namespace, len(pairs) * options.samples, 0)]
