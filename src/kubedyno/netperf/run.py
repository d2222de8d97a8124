"""One measurement from its options to its end: deploy, wait, run, print, remove."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from kubedyno.base import aio
from kubedyno.base.clock import SYSTEM_CLOCK, Clock
from kubedyno.base.errors import KubedynoError
from kubedyno.base.times import go_duration, rfc3339
from kubedyno.client.api import Client
from kubedyno.netperf import comparison, plan, profiles, tables
from kubedyno.netperf.deployments import Object
from kubedyno.netperf.plan import CLIENT_PROFILER, SERVER_PROFILER, Action, Options
from kubedyno.netperf.results import law_error_percent
from kubedyno.netperf.runner import GRACE_S, Runner, choose_nodes, closing_line, written
from kubedyno.netperf.tables import Result
from kubedyno.netperf.workspace import Say, Workspace

# Between transactions a second and the mean latency, past which a result is doubted.
_LAW_PERCENT = 5.0


@dataclass(frozen=True, slots=True)
class Outputs:
    """What becomes of a measurement beside the printed tables.

    Attributes:
        report_dir: Gets perfdash's JSON, and profiles; it is there; None: nothing.
        csv_file: Gets k8s-netperf's CSV; None: nothing.
        tolerance_percent: How much less pods may reach than hosts; None: they are not compared.
    """

    report_dir: Path | None = None
    csv_file: Path | None = None
    tolerance_percent: float | None = None


class Measurement:
    """One measurement of one cluster.

    Args:
        client: Of the cluster.
        options: What to do.
        outputs: What becomes of it.
        clock: For waits and names.
        say: Takes lines of progress; None: stderr.

    Attributes:
        results: What was measured.
        warnings: What makes results doubtful.
        passed: Pods reach what hosts reach, where that was asked for.
    """

    def __init__(
        self,
        client: Client,
        options: Options,
        outputs: Outputs = Outputs(),
        clock: Clock = SYSTEM_CLOCK,
        say: Say | None = None,
    ) -> None:
        self._client = client
        self._options = options
        self._outputs = outputs
        self._clock = clock
        self._space = Workspace(client, options.full_namespace, "net perf", clock, say, options.namespace_labels)
        self._runner = Runner(self._space, options)
        self._say = self._space.say
        self.results: list[Result] = []
        self.warnings: list[str] = []
        self.passed = True

    async def run(self) -> list[str]:
        """Measure; returns the lines to print.

        Raises:
            KubedynoError: The cluster refuses, a pod does not become Ready, or a generator fails.
        """
        options = self._options
        server, client = await choose_nodes(self._client, options, self._say)
        deployments = plan.deployments_of(options, server, client)
        actions = plan.actions_of(options, deployments)
        if not actions:
            raise KubedynoError("net perf: nothing to measure: every test or every scenario is switched off")
        async with self._space as space:
            for one in deployments:
                await space.deploy(plan.manifest_of(options, one))
            pods = await space.ready(one.name for one in deployments)
            services = {
                one.name: (await space.create("/api/v1|services", plan.service_of(options, one)))["spec"]["clusterIP"]
                for one in deployments
                if options.service and one.server and not one.host
            }
            if options.setup_delay_s:
                delay = go_duration(round(options.setup_delay_s * 1e9))
                self._say(f"⌛ Waiting {delay} before starting performance tests")
                await aio.sleep(options.setup_delay_s)
            self._say(f"🏃[{space.namespace}] Running 1 tests ...")
            for action in actions:
                await self._act(action, pods, services)
        return self._summary(len(actions))

    def measured(self) -> list[tuple[Action, dict[str, float]]]:
        """Return what was measured until now."""
        return [(action, tables.values_of(figures)) for action, figures in self.results]

    async def _act(self, action: Action, pods: dict[str, Object], services: dict[str, str]) -> None:
        through_service = action.scenario.endswith("-service")
        address = services[action.server] if through_service else pods[action.server]["status"]["podIP"]
        profiled = self._options.kernel_profiles and action.node == "other-node"
        ends = (("client", CLIENT_PROFILER), ("server", SERVER_PROFILER)) if profiled else ()
        recording = [asyncio.ensure_future(self._profile(action, pods[name], end)) for end, name in ends]
        try:
            figures = await self._runner.run(action, pods[action.client], address)
            await asyncio.gather(*recording)
        finally:
            for task in recording:
                task.cancel()
        off = law_error_percent(figures)
        if off is not None and off > _LAW_PERCENT:
            self.warnings.append(f"{action.name}: its rate and its mean latency differ by {off:.0f} %: doubt both")
        self.results.append(Result(action, figures))

    async def _profile(self, action: Action, pod: Object, end: str) -> None:
        """Record a node's profile during a run, and file it."""
        assert self._outputs.report_dir is not None
        seconds = self._options.duration_s
        done = await self._space.run(pod, plan.PROFILER, profiles.record_command(seconds), seconds + GRACE_S)
        if not done.code:
            done = await self._space.run(pod, plan.PROFILER, profiles.script_command(), GRACE_S)
        if done.code:
            said = done.stderr.decode(errors="replace").strip()[-300:]
            self.warnings.append(f"{action.name}: no profile of the {end}'s node: {said}")
            return
        written(self._outputs.report_dir / profiles.file_name(action, end), done.stdout)

    def _summary(self, actions: int) -> list[str]:
        outputs = self._outputs
        lines = tables.lines_of(self._space.namespace, self.results, self._options.duration_s)
        lines += tables.intervals_of(self.results)
        verdicts: list[tuple[bool, str]] = []
        if outputs.tolerance_percent is not None:
            verdicts = comparison.verdicts_of(self.results, outputs.tolerance_percent)
            if not verdicts:
                self.warnings.append("nothing to compare: TCP_STREAM between hosts and between pods are both needed")
        lines += [line for _, line in verdicts]
        lines += [f"⚠️  {warning}" for warning in self.warnings]
        skipped = plan.skipped_tests(self._options)
        if skipped:
            lines.append(f"[-] {self._options.tool} cannot run {', '.join(skipped)}: skipped")
        if outputs.report_dir is not None:
            name = f"NetworkPerformance_benchmark_{rfc3339(self._clock.now())}.json"
            lines.append(f"report: {written(outputs.report_dir / name, tables.perfdash_of(self.results))}")
        if outputs.csv_file is not None:
            csv = comparison.csv_of(self._options, self.results)
            lines.append(f"CSV: {written(outputs.csv_file, csv.encode())}")
        self.passed = all(passed for passed, _ in verdicts)
        if self.passed:
            lines.append(closing_line(self._space.namespace, actions, len(skipped)))
        return lines
