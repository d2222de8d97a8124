"""One embedded cluster in a process: its parts, wired on one loop, without sockets."""

from collections.abc import Callable

from kubedyno.base.clock import Clock
from kubedyno.base.random import Random
from kubedyno.cluster.apiserver.usage import Usage
from kubedyno.cluster.assembly import bootstrap
from kubedyno.cluster.assembly.serviceproxy import ServiceProxy
from kubedyno.cluster.controllers.autoscalermetrics import ContainerUse
from kubedyno.cluster.controllers.manager import ControllerManager
from kubedyno.cluster.kubelet.nodes import Nodes
from kubedyno.cluster.kubelet.stagerules import Language
from kubedyno.cluster.processes.link import Helper
from kubedyno.cluster.processes.runtime import PodProcesses
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.recovery import restore
from kubedyno.cluster.registry.registry import Registry
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.scheduler.scheduler import Scheduler
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.storage.journal import Journal
from kubedyno.cluster.storage.journalfiles import Kept
from kubedyno.cluster.storage.store import ObjectRecord, Store


class Cluster:
    """The parts of a cluster; `start` brings it to life.

    Args:
        settings: What it is to be.
        clock: Of everything in it; `monotonic` is the event loop's time.
        ca_pem: The certificate that signs the API server's.
        ca_key: Its private key, PEM; b"": requests for certificates are not signed.
        in_use: Says whether somebody waits for an answer, or may ask again soon.
        verify: Validate each write of the cluster's own parts.
        helper: Forks pods that are processes; None: all are modelled.
        journal: What keeps it; filled from that first, then followed.
        language: What stages of pods and nodes are written in; None: there are none.
        kept: Where it goes on from without a journal, as a simulation's restarts do.
        pump: Runs its parts; None: one of its own, on the clock.
        door: Makes the door of its own parts' writes; None: one that lets all through.
    """

    def __init__(
        self,
        settings: ClusterSettings,
        clock: Clock,
        *,
        ca_pem: bytes,
        ca_key: bytes = b"",
        in_use: Callable[[], bool] = lambda: False,
        verify: bool = False,
        helper: Helper | None = None,
        journal: Journal | None = None,
        language: Language | None = None,
        kept: Kept | None = None,
        pump: Pump | None = None,
        door: Callable[[Registry], Trusted] | None = None,
    ) -> None:
        self.settings = settings
        self._ca_pem = ca_pem
        kept = journal.kept if journal is not None else kept
        # Never the same ids again after a restart.
        random = Random(settings.seed + ((kept.revision << 64) if kept is not None else 0))
        self.store = Store(clock)
        self.registry = Registry(self.store, clock, random, settings)
        if kept is not None:
            restore(self.registry, kept)
        if journal is not None:
            journal.follow(self.store)
        self.trusted = door(self.registry) if door is not None else Trusted(self.registry, verify=verify)
        self.pump = pump if pump is not None else Pump(clock, in_use)
        # A door for each, so that what each has sent can be told.
        self.controllers_door, self.scheduler_door = self.trusted.of_its_own(), self.trusted.of_its_own()
        self.controllers = ControllerManager(
            self.controllers_door, self.pump, settings, ca_pem=ca_pem, ca_key=ca_key,
            uses=lambda pod: _use_now(self._usage, pod, clock.now()),
        )  # fmt: skip
        self.scheduler = Scheduler(self.scheduler_door, self.pump, settings)
        self.proxy = ServiceProxy(self.store, self.pump)
        self.processes: PodProcesses | None = None
        if helper is not None:
            self.processes = PodProcesses(helper, self.store, self.pump, clock, settings)
        self.nodes = Nodes(self.trusted, self.pump, settings, random, self.processes, language)
        self._usage = usage = Usage(self.store, self.processes)
        self.nodes.machines.watch_memory(usage.memory_of_node, usage.memory_of_pod)

    def start(self, server: str, *, made: bool = False) -> None:
        """Create what a fresh cluster holds and let its parts work.

        Args:
            server: The API server's URL.
            made: It was up before: what is gone of its system and add-ons was deleted, and stays so.
        """
        settings = self.settings
        bootstrap.create_foundation(self.registry, settings, ca_pem=self._ca_pem, server=server)
        self.controllers.start()
        self.scheduler.start()
        if made:
            self.nodes.drop_removed()
        self.nodes.start()
        if settings.kube_proxy_mode != "none":
            self.proxy.start()
        bootstrap.create_kubelet_config(self.registry, self.nodes.config_text(settings.nodes[0].name))
        for node in settings.nodes:
            if node.control_plane:
                for manifest in bootstrap.static_pods(settings, node.name, self.nodes.address(node.name)):
                    self.nodes.mirrors.add(node.name, manifest)
        self.nodes.restore()
        if not made:
            bootstrap.create_system(self.registry, settings)

    def stop(self) -> None:
        """Let nothing run any more."""
        self.pump.stop()
        self.nodes.close()
        if self.processes is not None:
            self.processes.close()


def _use_now(usage: Usage, record: ObjectRecord, now_s: float) -> dict[str, ContainerUse]:
    pod = usage.pod(record)
    if pod is None:
        return {}
    return {
        container.name: ContainerUse(round(pod.cores(container, now_s) * 1000), container.memory_bytes)
        for container in pod.containers
    }
