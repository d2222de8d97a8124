"""node-exporter's series, from the tables: one page for the whole cluster."""

from collections.abc import AsyncIterator, Callable

from kubedyno.cluster.apiserver.exposition import Page
from kubedyno.cluster.apiserver.kubestate.page import in_turns
from kubedyno.cluster.apiserver.usage import Usage, machine_of
from kubedyno.cluster.storage.store import Store
from kubedyno.kube.resources import NODES

# How a node's CPU time is split, where only its sum is modelled.
_MODES = (("user", 0.7), ("system", 0.28), ("iowait", 0.02))
# No time is spent in these: the first CPU tells so, which is what sums and means over CPUs need.
_UNUSED_MODES = ("nice", "irq", "softirq", "steal")
# What is not modelled and yet every machine counts: it stays 0.
_TRAFFIC = tuple(
    f"node_network_{way}_{what}_total"
    for way in ("receive", "transmit")
    for what in ("bytes", "drop", "errs", "packets")
)
_DISK = tuple(
    f"node_disk_{what}_total"
    for what in (
        "read_bytes", "written_bytes", "reads_completed", "writes_completed", "read_time_seconds", "write_time_seconds",
        "io_time_seconds", "io_time_weighted_seconds",
    )
)  # fmt: skip

# Clients may write any capacity; no kernel has more than some thousands.
_MOST_CPUS = 1024


class NodeExporters:
    """Makes the page.

    Args:
        store: The nodes.
        usage: What pods and nodes use.
        now: Epoch seconds.
    """

    def __init__(self, store: Store, usage: Usage, now: Callable[[], float]) -> None:
        self._store = store
        self._usage = usage
        self._now = now

    async def page(self) -> AsyncIterator[bytes]:
        """Yield what node exporters say, each node's under its name as `instance`."""
        page = Page()
        now_s = self._now()
        async for record in in_turns(self._store.list(NODES)):
            machine = machine_of(self._store, record)
            node = self._usage.node(record, now_s)
            of = {"instance": node.name}
            cpus = min(max(1, machine.cpu_milli // 1000), _MOST_CPUS)
            alive_s = max(0.0, now_s - node.started_s)
            each = min(node.core_seconds / cpus, alive_s)
            for cpu in range(cpus):
                modes = [(mode, each * share) for mode, share in _MODES]
                unused = [(mode, 0.0) for mode in _UNUSED_MODES] if not cpu else []
                for mode, seconds in [*modes, ("idle", alive_s - each), *unused]:
                    page.add(
                        "node_cpu_seconds_total", "counter", "Seconds of each mode.",
                        {**of, "cpu": str(cpu), "mode": mode}, seconds,
                    )  # fmt: skip
            total, used = machine.memory_bytes, node.memory_bytes
            for name, value in (
                ("MemTotal", total),
                ("MemAvailable", max(0, total - used)),
                ("MemFree", max(0, total - used)),
                ("Active", used),
                ("Cached", 0),
                ("Buffers", 0),
                # Nodes have no swap.
                ("SwapTotal", 0),
                ("SwapFree", 0),
            ):
                page.add(f"node_memory_{name}_bytes", "gauge", "Memory.", of, value)
            for name in _TRAFFIC:
                page.add(name, "counter", "Traffic; not modelled.", {**of, "device": "eth0"}, 0)
            for name in _DISK:
                page.add(name, "counter", "Disks; not modelled.", {**of, "device": "vda"}, 0)
            if machine.disk_bytes:
                place = {**of, "device": "/dev/vda1", "device_error": "", "fstype": "ext4", "mountpoint": "/"}
                free = machine.disk_bytes - machine.image_bytes
                about = "The file system of images; containers write nothing."
                for name, value in (("size", machine.disk_bytes), ("free", free), ("avail", free)):
                    page.add(f"node_filesystem_{name}_bytes", "gauge", about, place, value)
                page.add("node_filesystem_readonly", "gauge", "1 for one that is.", place, 0)
            page.add("node_boot_time_seconds", "gauge", "Start, epoch seconds.", of, node.started_s)
            page.add("node_time_seconds", "gauge", "Now, epoch seconds.", of, now_s)
            system = machine.system
            kernel = {
                "sysname": "Linux",
                "machine": system.get("architecture", ""),
                "release": system.get("kernelVersion", ""),
            }
            page.add("node_uname_info", "gauge", "Its kernel.", {**of, **kernel, "nodename": node.name}, 1)
        yield page.text()
