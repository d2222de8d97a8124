"""A measurement between iperf3 deployments of one's own, from its file to its end: create, wait, run, print, remove."""

from collections.abc import Mapping
from statistics import fmean

from kubedyno.base.clock import SYSTEM_CLOCK, Clock
from kubedyno.base.errors import KubedynoError
from kubedyno.client.api import Client
from kubedyno.datapath import iperf3
from kubedyno.datapath.iperf3 import Throughput
from kubedyno.netperf import manifest
from kubedyno.netperf.deployments import Object
from kubedyno.netperf.manifest import Manifest
from kubedyno.netperf.plan import Action
from kubedyno.netperf.results import of_iperf3
from kubedyno.netperf.runner import GRACE_S, closing_line, patiently
from kubedyno.netperf.tables import interval_of, resolved, values_of
from kubedyno.netperf.workspace import Say, Workspace

_CLIENT, _SERVER = "client", "server"
_HEADER = f"{'Test':<16} {'Through':<10} {'Mb/s':>12} {'95 % interval':>26} {'Sent again':>11} {'Lost %':>8} {'Jitter us':>10}"


class ManifestRun:
    """One measurement of one cluster.

    Args:
        client: Of the cluster.
        deployed: What is created.
        namespace: Where; it is made, and removed.
        samples: How often all is repeated.
        seconds: Of each run; None: the study's own.
        labels: Of the namespace.
        clock: For waits.
        say: Takes lines of progress; None: stderr.
    """

    def __init__(
        self,
        client: Client,
        deployed: Manifest,
        namespace: str,
        *,
        samples: int = 1,
        seconds: float | None = None,
        labels: Mapping[str, str] | None = None,
        clock: Clock = SYSTEM_CLOCK,
        say: Say | None = None,
    ) -> None:
        self._manifest = deployed
        self._samples = samples
        self._seconds = seconds
        self._space = Workspace(client, namespace, "net perf", clock, say, labels)
        self.results: dict[tuple[str, str], list[Throughput]] = {}
        self.passed = True

    async def run(self) -> list[str]:
        """Measure; returns the lines to print.

        Raises:
            KubedynoError: The cluster refuses, a pod does not become Ready, or iperf3 fails.
        """
        deployed = self._manifest
        async with self._space as space:
            for resource, body in deployed.objects:
                space.say(f"✨ [{space.namespace}] Creating {body['kind']} {body['metadata']['name']}...")
                metadata = {key: value for key, value in body["metadata"].items() if key != "namespace"}
                await space.create(resource, {**body, "metadata": metadata})
            pods = await space.ready_by({_CLIENT: deployed.client, _SERVER: deployed.server})
            ways = (
                ("service", deployed.service, deployed.port),
                ("pod", pods[_SERVER]["status"]["podIP"], manifest.PORT),
            )
            for _ in range(self._samples):
                for name, words in manifest.TESTS:
                    for way, address, port in ways:
                        command = manifest.command_of(words, address, port, self._seconds)
                        found = await self._measure(pods[_CLIENT], command)
                        self.results.setdefault((name, way), []).append(found)
        actions = sum(len(values) for values in self.results.values())
        return [_HEADER, *(self._line(*key) for key in self.results), closing_line(self._space.namespace, actions, 0)]

    def measured(self) -> list[tuple[Action, dict[str, float]]]:
        """Return what was measured until now; where the pods are is the cluster's choice."""
        found = []
        for (name, way), values in self.results.items():
            for sample, value in enumerate(values, 1):
                action = Action(name.replace(" ", "_"), _CLIENT, _SERVER, f"pod-to-{way}", "", sample, "iperf3")
                found.append((action, values_of(of_iperf3(value))))
        return found

    async def _measure(self, pod: Object, command: list[str]) -> Throughput:
        self._space.say(f"  [.] Action [{' '.join(command)}]")
        limit_s = manifest.seconds_of(command) + GRACE_S
        done = await patiently(
            lambda: self._space.run(pod, self._manifest.container, command, limit_s), first=not self.results
        )
        try:
            return iperf3.parse(done.stdout or done.stderr)
        except KubedynoError as error:
            raise KubedynoError(f"net perf: {' '.join(command)}: {error}") from error

    def _line(self, name: str, way: str) -> str:
        values = self.results[name, way]
        rates = [one.bps / 1e6 for one in values]
        interval = "one sample"
        if len(rates) > 1:
            low, high = interval_of(rates)
            interval = f"{low:.2f} to {high:.2f}" if resolved(low, high) else "not resolved"
        again = [one.retransmits for one in values if one.retransmits is not None]
        lost = [one.lost_percent for one in values if one.lost_percent is not None]
        jitter = [one.jitter_us for one in values if one.jitter_us is not None]
        cells = (
            f"{fmean(again):.0f}" if again else "-",
            f"{fmean(lost):.2f}" if lost else "-",
            f"{fmean(jitter):.1f}" if jitter else "-",
        )
        return f"{name:<16} {way:<10} {fmean(rates):>12.2f} {interval:>26} {cells[0]:>11} {cells[1]:>8} {cells[2]:>10}"
