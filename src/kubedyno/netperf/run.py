"""One measurement from its options to its end: deploy, wait, run, print, remove."""

from pathlib import Path

import orjson

from kubedyno.base import aio
from kubedyno.base.clock import SYSTEM_CLOCK, Clock
from kubedyno.base.errors import KubedynoError
from kubedyno.base.times import go_duration, rfc3339
from kubedyno.client.api import Client
from kubedyno.client.exec import Done
from kubedyno.netperf import plan, tables
from kubedyno.netperf.plan import Action, Options
from kubedyno.netperf.results import figures_of, law_error_percent
from kubedyno.netperf.tables import Result
from kubedyno.netperf.workspace import Object, Say, Workspace

_GRACE_S = 60.0
# Between transactions a second and the mean latency, past which a result is doubted.
_LAW_PERCENT = 5.0
_REPORT_MODE = 0o600
# A server's process listens a moment after its pod is Ready.
_ATTEMPTS, _RETRY_S = 10, 0.5


class Measurement:
    """One measurement of one cluster.

    Args:
        client: Of the cluster.
        options: What to do.
        report_dir: Gets perfdash's JSON; None: nothing.
        clock: For waits and names.
        say: Takes lines of progress; None: stderr.
    """

    def __init__(
        self,
        client: Client,
        options: Options,
        report_dir: Path | None = None,
        clock: Clock = SYSTEM_CLOCK,
        say: Say | None = None,
    ) -> None:
        self._client = client
        self._options = options
        self._report_dir = report_dir
        self._clock = clock
        self._space = Workspace(client, options.full_namespace, "net perf", clock, say)
        self._say = self._space.say
        self.results: list[Result] = []
        self.warnings: list[str] = []

    async def run(self) -> list[str]:
        """Measure; returns the lines to print.

        Raises:
            KubedynoError: The cluster refuses, a pod does not become Ready, or a generator fails.
        """
        options = self._options
        if self._report_dir is not None:
            self._report_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        server, client = await self._nodes()
        deployments = plan.deployments_of(options, server, client)
        actions = plan.actions_of(options, deployments)
        if not actions:
            raise KubedynoError("net perf: nothing to measure: every test or every scenario is switched off")
        async with self._space as space:
            for one in deployments:
                await space.deploy(one.name, plan.account_of(one), plan.manifest_of(options, one))
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

    def _summary(self, actions: int) -> list[str]:
        lines = tables.lines_of(self._space.namespace, self.results, self._options.duration_s)
        lines += tables.intervals_of(self.results)
        lines += [f"⚠️  {warning}" for warning in self.warnings]
        skipped = plan.skipped_tests(self._options)
        if skipped:
            lines.append(f"[-] {self._options.tool} cannot run {', '.join(skipped)}: skipped")
        if self._report_dir is not None:
            lines.append(f"report: {self._file(tables.perfdash_of(self.results))}")
        lines.append(
            f"✅ [{self._space.namespace}] All 1 tests ({actions} actions) successful, 0 tests skipped, "
            f"{len(skipped)} scenarios skipped."
        )
        return lines

    def _file(self, document: bytes) -> Path:
        assert self._report_dir is not None
        path = self._report_dir / f"NetworkPerformance_benchmark_{rfc3339(self._clock.now())}.json"
        try:
            path.touch(mode=_REPORT_MODE)
            path.write_bytes(document)
        except OSError as error:
            raise KubedynoError(f"{path}: cannot be written ({error.strerror})") from error
        return path

    async def _nodes(self) -> tuple[str, str]:
        options = self._options
        nodes = await self._client.list_all("/api/v1/nodes")
        servers = plan.candidates(nodes, options.server_selector, options.tolerations)
        clients = plan.candidates(nodes, options.client_selector, options.tolerations)
        chosen = plan.nodes_of(options, list(servers), list(clients))
        zones = {**servers, **clients}
        self._say("Nodes used for performance testing:")
        for name in chosen:
            self._say(f"* Node name: {name}, zone: {zones[name]}")
        if len({zones[name] for name in chosen}) > 1:
            self._say("Selected nodes have different zones, tweak nodeSelector if that's not what you intended")
        return chosen

    async def _act(self, action: Action, pods: dict[str, Object], services: dict[str, str]) -> None:
        options = self._options
        client, server = pods[action.client], pods[action.server]
        through_service = action.scenario.endswith("-service")
        address = services[action.server] if through_service else server["status"]["podIP"]
        command = plan.command_of(options, action.test, address)
        self._say(f"  [.] Action [network-perf/{action.name}: {action.client} -> {action.server} ({address})]")
        limit_s = options.duration_s + _GRACE_S
        done = await self._space.run(client, plan.CONTAINER, command, limit_s)
        # The first contact only: later on a failure is one.
        for _ in range(0 if self.results else _ATTEMPTS):
            if not done.code:
                break
            await aio.sleep(_RETRY_S)
            done = await self._space.run(client, plan.CONTAINER, command, limit_s)
        if done.code:
            raise KubedynoError(f"net perf: {action.name}: exit code {done.code}: {_said(done)}")
        figures = figures_of(options.tool, action.test, options.streams, done.stdout)
        off = law_error_percent(figures)
        if off is not None and off > _LAW_PERCENT:
            self.warnings.append(f"{action.name}: its rate and its mean latency differ by {off:.0f} %: doubt both")
        self.results.append(Result(action, figures))


def _said(done: Done) -> str:
    try:
        return str(orjson.loads(done.stdout)["error"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return (done.stderr or done.stdout).decode(errors="replace").strip()[-300:]
