"""A node as a row: what its kubelet knows."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kubedyno.cluster.kubelet.addresses import AddressPool
from kubedyno.cluster.kubelet.config import KubeletConfig
from kubedyno.cluster.kubelet.images import NodeImages
from kubedyno.cluster.kubelet.pullrecords import PullRecords
from kubedyno.cluster.settings import NodeSettings
from kubedyno.stats.histogram import Histogram

if TYPE_CHECKING:
    from kubedyno.cluster.kubelet.runs import PodRun

# Those of the real kubelet's kubelet_pod_start_duration_seconds.
START_BOUNDS_S = (
    0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0, 180.0, 240.0, 300.0, 360.0, 480.0,
    600.0, 900.0, 1200.0, 1800.0, 2700.0, 3600.0,
)  # fmt: skip


@dataclass(slots=True)
class StaticPod:
    """A static pod: its containers run whether its mirror is there or not.

    Attributes:
        mirror: The mirror pod as it is created.
        run: Its containers, once they were started.
    """

    mirror: dict[str, Any]
    run: "PodRun | None" = None


@dataclass(slots=True)
class VolumeCounts:
    """What a kubelet counts of image volumes since its start.

    Attributes:
        requested: Volumes that pods asked for.
        mounted: Mounts that succeeded.
        failed: Mounts that did not.
    """

    requested: int = 0
    mounted: int = 0
    failed: int = 0

    def counters(self) -> tuple[tuple[str, str, int], ...]:
        """Return (metric, help text, value)."""
        return (
            ("kubelet_image_volume_requested_total", "Number of requested image volumes.", self.requested),
            ("kubelet_image_volume_mounted_succeed_total", "Number of successful image volume mounts.", self.mounted),
            ("kubelet_image_volume_mounted_errors_total", "Number of failed image volume mounts.", self.failed),
        )


@dataclass(slots=True)
class NodeRow:
    """A node.

    Attributes:
        settings: What it is to be.
        index: Its place among the nodes.
        address: Its InternalIP.
        text: Of its configuration file.
        config: What the running kubelet read.
        error: Why the kubelet failed, "" while it runs.
        ids: machineID, systemUUID and bootID.
        off: Its machine is.
        trouble: Why it says that it is not ready, "" while nothing is wrong.
        pressures: The conditions of what it is short of.
        short_s: Epoch seconds when it last had less memory than it is to have; 0 while that was long ago.
        later: It came at run time, and goes with its Node.
        registered: Its Node was created.
        ready: Its status says Ready.
        pool: Pod addresses; None while it has no PodCIDR or no CNI.
        images: Container images.
        pulls: What its kubelet remembers of pulls.
        volumes: What it counts of image volumes.
        starts: Seconds from a pod's arrival at its kubelet until its containers run.
        pods: Pods that count against maxPods.
        cpu_milli: CPU requests of these.
        memory_bytes: Memory requests of these.
        static: Key of the mirror pod → static pod.
        waiting: Pods that wait for an address or for the network, in order.
        resizing: Pods whose resize has to wait for room.
        paused: What is due while the kubelet is down.
        lease_key: Of its lease once that is there.
        last_status_s: Epoch seconds of the last written status.
        slowness: Factor on how long what its pods wait for takes.
    """

    settings: NodeSettings
    index: int
    address: str
    text: str
    config: KubeletConfig
    ids: tuple[str, str, str]
    error: str = ""
    off: bool = False
    trouble: str = ""
    pressures: frozenset[str] = frozenset()
    short_s: float = 0.0
    later: bool = False
    registered: bool = False
    ready: bool = False
    pool: AddressPool | None = None
    images: NodeImages = field(default_factory=NodeImages)
    pulls: PullRecords = field(default_factory=PullRecords)
    volumes: VolumeCounts = field(default_factory=VolumeCounts)
    starts: Histogram = field(default_factory=lambda: Histogram(START_BOUNDS_S))
    pods: int = 0
    cpu_milli: int = 0
    memory_bytes: int = 0
    static: dict[str, StaticPod] = field(default_factory=dict)
    waiting: dict[str, "PodRun"] = field(default_factory=dict)
    resizing: dict[str, "PodRun"] = field(default_factory=dict)
    paused: list[Callable[[], None]] = field(default_factory=list)
    lease_key: str = ""
    last_status_s: float = 0.0
    slowness: float = 1.0

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def failed(self) -> bool:
        return bool(self.error)
