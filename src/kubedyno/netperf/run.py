"""One measurement from its options to its end: deploy, wait, run, print, remove.

What was created goes with its namespace, also after an error or Ctrl-C; only a namespace that this run made is removed.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from kubedyno.base import aio
from kubedyno.base.clock import SYSTEM_CLOCK, Clock
from kubedyno.base.errors import KubedynoError
from kubedyno.base.times import go_duration, rfc3339
from kubedyno.client.api import Client
from kubedyno.client.exec import Done, run_command
from kubedyno.kube.status import StatusError
from kubedyno.netperf import plan, tables
from kubedyno.netperf.plan import Action, Deployment, Options
from kubedyno.netperf.results import figures_of, law_error_percent
from kubedyno.netperf.tables import Result

_READY_TIMEOUT_S = 300.0
_GONE_TIMEOUT_S = 120.0
_POLL_S = 0.1
_GRACE_S = 60.0
# Between transactions a second and the mean latency, past which a result is doubted.
_LAW_PERCENT = 5.0
_REPORT_MODE = 0o600
# A server's process listens a moment after its pod is Ready.
_ATTEMPTS, _RETRY_S = 10, 0.5
_HOPELESS = frozenset({"ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "CrashLoopBackOff", "StartError"})
_CONFLICT, _NOT_FOUND = 409, 404

Say = Callable[[str], None]


class Measurement:
    """One measurement of one cluster.

    Args:
        client: Of the cluster.
        options: What to do.
        report_dir: Gets perfdash's JSON; None: nothing.
        clock: For waits and names.
        say: Takes lines of progress.
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
        self._say = say or _to_stderr
        self._namespace = options.full_namespace
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
        await self._create_namespace()
        try:
            await self._deploy(deployments)
            pods = await self._ready(deployments)
            services = await self._services(deployments)
            if options.setup_delay_s:
                self._say(
                    f"⌛ Waiting {go_duration(round(options.setup_delay_s * 1e9))} before starting performance tests"
                )
                await aio.sleep(options.setup_delay_s)
            self._say(f"🏃[{self._namespace}] Running 1 tests ...")
            for action in actions:
                await self._act(action, pods, services)
        finally:
            await self._remove()
        return self._summary(len(actions))

    def _summary(self, actions: int) -> list[str]:
        lines = tables.lines_of(self._namespace, self.results, self._options.duration_s)
        lines += tables.intervals_of(self.results)
        lines += [f"⚠️  {warning}" for warning in self.warnings]
        skipped = plan.skipped_tests(self._options)
        if skipped:
            lines.append(f"[-] {self._options.tool} cannot run {', '.join(skipped)}: skipped")
        if self._report_dir is not None:
            lines.append(f"report: {self._file(tables.perfdash_of(self.results))}")
        lines.append(
            f"✅ [{self._namespace}] All 1 tests ({actions} actions) successful, 0 tests skipped, "
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

    # --- objects ---------------------------------------------------------------------------------------------

    async def _nodes(self) -> tuple[str, str]:
        options = self._options
        nodes = await self._client.list_all("/api/v1/nodes")
        tolerated = {*options.tolerations}

        def matching(selector: str) -> list[str]:
            wanted = dict(pair.split("=", 1) for pair in selector.split(",") if "=" in pair)
            found = []
            for node in nodes:
                taints = {t["key"] for t in node["spec"].get("taints", ()) if t.get("effect") == "NoSchedule"}
                labels = node["metadata"].get("labels", {})
                if taints <= tolerated and wanted.items() <= labels.items():
                    found.append(labels.get("kubernetes.io/hostname", node["metadata"]["name"]))
            return found

        server, client = plan.nodes_of(options, matching(options.server_selector), matching(options.client_selector))
        zones = {
            node["metadata"].get("labels", {}).get("kubernetes.io/hostname", node["metadata"]["name"]): node["metadata"]
            .get("labels", {})
            .get("topology.kubernetes.io/zone", "")
            for node in nodes
        }
        self._say("Nodes used for performance testing:")
        for name in (server, client):
            self._say(f"* Node name: {name}, zone: {zones[name]}")
        if zones[server] != zones[client]:
            self._say("Selected nodes have different zones, tweak nodeSelector if that's not what you intended")
        return server, client

    async def _create_namespace(self) -> None:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self._namespace}}
        try:
            await self._client.create("/api/v1/namespaces", body)
        except StatusError as error:
            if error.code == _CONFLICT:
                raise KubedynoError(
                    f"net perf: namespace {self._namespace} is there already; delete it, or give --test-namespace"
                ) from error
            raise

    async def _deploy(self, deployments: list[Deployment]) -> None:
        for one in deployments:
            self._say(f"✨ [{self._namespace}] Deploying {one.name} deployment...")
            await self._client.create(f"/api/v1/namespaces/{self._namespace}/serviceaccounts", plan.account_of(one))
            await self._client.create(
                f"/apis/apps/v1/namespaces/{self._namespace}/deployments", plan.manifest_of(self._options, one)
            )

    async def _services(self, deployments: list[Deployment]) -> dict[str, str]:
        """Create the servers' Services; returns their addresses by deployment."""
        found = {}
        for one in deployments:
            if self._options.service and one.server and not one.host:
                path = f"/api/v1/namespaces/{self._namespace}/services"
                made = await self._client.create(path, plan.service_of(self._options, one))
                found[one.name] = made["spec"]["clusterIP"]
        return found

    async def _ready(self, deployments: list[Deployment]) -> dict[str, dict[str, Any]]:
        """Wait until each deployment has a Ready pod; returns these pods by deployment."""
        end_s = self._clock.monotonic() + _READY_TIMEOUT_S
        while True:
            pods = await self._client.list_all(f"/api/v1/namespaces/{self._namespace}/pods")
            found = {pod["metadata"]["labels"]["name"]: pod for pod in pods if _is_ready(pod)}
            for pod in pods:
                _refuse_failed(pod)
            waiting = [one.name for one in deployments if one.name not in found]
            if not waiting:
                self._warn_of_modelled(list(found.values()))
                return found
            if self._clock.monotonic() > end_s:
                raise KubedynoError(f"net perf: not Ready after {_READY_TIMEOUT_S:.0f} s: {', '.join(waiting)}")
            await aio.sleep(_POLL_S)

    def _warn_of_modelled(self, pods: list[dict[str, Any]]) -> None:
        for pod in pods:
            for condition in pod["status"].get("conditions", ()):
                if condition["type"] == "kubedyno.io/Processes" and condition["status"] == "False":
                    raise KubedynoError(f"net perf: pod {pod['metadata']['name']}: {condition.get('message', '')}")

    async def _remove(self) -> None:
        """Remove the namespace, and wait until it is gone."""
        self._say(f"🧹 [{self._namespace}] Deleting namespace...")
        path = f"/api/v1/namespaces/{self._namespace}"
        try:
            await self._client.delete(path)
            end_s = self._clock.monotonic() + _GONE_TIMEOUT_S
            while self._clock.monotonic() < end_s:
                await self._client.get(path)
                await aio.sleep(_POLL_S)
        except StatusError as error:
            if error.code != _NOT_FOUND:
                raise
            return
        raise KubedynoError(f"net perf: namespace {self._namespace} is still there; delete it by hand")

    # --- runs ------------------------------------------------------------------------------------------------

    async def _act(self, action: Action, pods: dict[str, dict[str, Any]], services: dict[str, str]) -> None:
        options = self._options
        client, server = pods[action.client], pods[action.server]
        through_service = action.scenario.endswith("-service")
        address = services[action.server] if through_service else server["status"]["podIP"]
        command = plan.command_of(options, action.test, address)
        self._say(f"  [.] Action [network-perf/{action.name}: {action.client} -> {action.server} ({address})]")
        done = await self._executed(client["metadata"]["name"], command, action)
        # The first contact only: later on a failure is one.
        for _ in range(0 if self.results else _ATTEMPTS):
            if not done.code:
                break
            await aio.sleep(_RETRY_S)
            done = await self._executed(client["metadata"]["name"], command, action)
        if done.code:
            raise KubedynoError(f"net perf: {action.name}: exit code {done.code}: {_said(done.stdout, done.stderr)}")
        figures = figures_of(options.tool, action.test, options.streams, done.stdout)
        off = law_error_percent(figures)
        if off is not None and off > _LAW_PERCENT:
            self.warnings.append(f"{action.name}: its rate and its mean latency differ by {off:.0f} %: doubt both")
        self.results.append(Result(action, figures))

    async def _executed(self, pod: str, command: list[str], action: Action) -> Done:
        try:
            async with aio.timeout(self._options.duration_s + _GRACE_S):
                return await run_command(self._client, self._namespace, pod, plan.CONTAINER, command)
        except TimeoutError:
            raise KubedynoError(f"net perf: {action.name} did not end in time") from None


def _said(stdout: bytes, stderr: bytes) -> str:
    text = stderr or stdout
    try:
        return str(orjson.loads(stdout)["error"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return text.decode(errors="replace").strip()[-300:]


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _refuse_failed(pod: dict[str, Any]) -> None:
    """Say at once what no waiting mends.

    Raises:
        KubedynoError: The image cannot be pulled, or the program in it cannot be executed or ends again and again.
    """
    for status in pod.get("status", {}).get("containerStatuses", ()):
        for state in (status.get("lastState") or {}, status.get("state") or {}):
            what = state.get("waiting") or state.get("terminated") or {}
            if what.get("reason") in _HOPELESS:
                text = what.get("message") or what["reason"]
                raise KubedynoError(f"net perf: pod {pod['metadata']['name']}: {what['reason']}: {text}")


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - progress
