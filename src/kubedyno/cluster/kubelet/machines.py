"""The machines that kubelets run on: switched off and on, shut down, out of order, short of something, taken away."""

from collections.abc import Callable

import orjson

from kubedyno.cluster.kubelet.configrules import threshold_bytes
from kubedyno.cluster.kubelet.desk import Desk
from kubedyno.cluster.kubelet.nodeobject import PRESSURE_TEXTS
from kubedyno.cluster.kubelet.pods import Pods
from kubedyno.cluster.kubelet.rows import NodeRow
from kubedyno.kube.resources import NODES

OFF = "the machine is off"
SHUTTING_DOWN = "node is shutting down"
BROKEN = "PLEG is not healthy: pleg was last seen active 3m0.5s ago; threshold is 3m0s"
# One pod at a time, and then a look whether that was enough (the eviction manager's monitoring interval).
_EVICTION_S = 10.0
# For so long a condition stays after the shortage (evictionPressureTransitionPeriod's default).
_TRANSITION_S = 300.0
_RESOURCES = {"MemoryPressure": "memory", "DiskPressure": "ephemeral-storage", "PIDPressure": "pids"}
PRESSURES = {"memory": "MemoryPressure", "disk": "DiskPressure", "pid": "PIDPressure"}


class Machines:
    """What operators do to machines; a name that there is not is a KeyError, what cannot be done now a ValueError.

    Args:
        desk: Timers, events.
        rows: Name → node.
        pods: Of all nodes.
        tell: Writes a node's status, with an event of the given type, reason and message before it.
        boot: Has a node's kubelet begin, after its machine has.
    """

    def __init__(
        self,
        desk: Desk,
        rows: dict[str, NodeRow],
        pods: Pods,
        tell: Callable[[NodeRow, str, str, str], None],
        boot: Callable[[NodeRow], None],
    ) -> None:
        self._desk = desk
        self._rows = rows
        self._pods = pods
        self._tell = tell
        self._boot = boot

    def watch_memory(self, of_node: Callable[[str], int], of_pod: Callable[[str], int]) -> None:
        """Evict pods where less memory is left than the kubelet's evictionHard asks for.

        Args:
            of_node: Name of a node → bytes that are used on it.
            of_pod: Key of a pod → bytes that it uses.
        """

        def look() -> None:
            for row in list(self._rows.values()):
                if row.config.memory_threshold and not row.failed and row.registered:
                    self._look(row, of_node, of_pod)
            self._desk.pump.call_later(self._desk.latency.paced(_EVICTION_S), look)

        self._desk.pump.call_later(self._desk.latency.paced(_EVICTION_S), look)

    def _look(self, row: NodeRow, of_node: Callable[[str], int], of_pod: Callable[[str], int]) -> None:
        capacity = row.settings.memory_bytes
        threshold = threshold_bytes(row.config.memory_threshold, capacity)
        available = max(capacity - of_node(row.name), 0)
        now_s, condition = self._desk.clock.now(), "MemoryPressure"
        if threshold and available < threshold:
            row.short_s = now_s
            if condition not in row.pressures:
                row.pressures |= {condition}
                reason = PRESSURE_TEXTS[condition][0][0]
                self._tell(row, "Normal", reason, f"Node {row.name} status is now: {reason}")
            more = f"Threshold quantity: {row.config.memory_threshold}, available: {available >> 10}Ki. "
            self._pods.evict_one(row, "memory", more, of_pod)
        elif row.short_s and now_s - row.short_s >= self._desk.latency.paced(_TRANSITION_S):
            row.short_s = 0.0
            row.pressures -= {condition}
            reason = PRESSURE_TEXTS[condition][1][0]
            self._tell(row, "Normal", reason, f"Node {row.name} status is now: {reason}")

    def _on(self, name: str) -> NodeRow:
        row = self._rows[name]
        if row.off:
            raise ValueError(f"node {name} is off: start it first")
        return row

    def kill(self, name: str) -> None:
        """Switch a machine off, without a word: its pods stop, nobody is told, and its lease runs out."""
        self._off(self._on(name))

    def _off(self, row: NodeRow) -> None:
        row.off, row.error = True, OFF
        row.trouble, row.pressures = "", frozenset()
        self._desk.pump.health.part("kubelet").part(row.name).stopped(OFF)
        self._pods.unplug(row)

    def start(self, name: str) -> None:
        """Switch a machine on: its pods' containers are started again, in new sandboxes."""
        row = self._rows[name]
        if not row.off:
            raise ValueError(f"node {name} is on")
        row.off, row.error = False, ""
        boot_id = self._desk.latency.random.uid()
        row.ids = (*row.ids[:2], boot_id)
        self._boot(row)
        if not row.failed:
            self._pods.reboot(row)
            was_known = self._says_ready(name)
            self._tell(row, "Warning", "Rebooted", f"Node {name} has been rebooted, boot id: {boot_id}")
            if row.ready and not was_known:
                self._tell(row, "Normal", "NodeReady", f"Node {name} status is now: NodeReady")

    def _says_ready(self, name: str) -> bool:
        """Say whether a node's stored status has it ready."""
        record = self._desk.trusted.store.get(NODES, name)
        status = orjson.loads(record.obj.status or b"{}") if record is not None else {}
        return any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", ()))

    def slow(self, name: str, factor: float) -> None:
        """Have everything that a node's pods wait for take so many times as long, from what begins now on."""
        self._rows[name].slowness = factor

    def not_ready(self, name: str, why: str = "") -> None:
        """Have a kubelet report that it is not ready."""
        row = self._on(name)
        row.trouble = why or BROKEN
        self._tell(row, "Normal", "NodeNotReady", f"Node {name} status is now: NodeNotReady")

    def ready(self, name: str) -> None:
        """End what makes a kubelet report that it is not ready, or short of something."""
        row = self._on(name)
        short, row.pressures = row.pressures, frozenset()
        row.trouble = ""
        for pressure in sorted(short):
            reason = PRESSURE_TEXTS[pressure][1][0]
            self._tell(row, "Normal", reason, f"Node {name} status is now: {reason}")
        self._tell(row, "Normal", "NodeReady", f"Node {name} status is now: NodeReady")

    def pressure(self, name: str, what: str) -> None:
        """Have a node be short of memory, disk or process ids: it evicts a pod every 10 s until it is `ready`.

        Raises:
            ValueError: It is none of these.
        """
        row = self._on(name)
        if what not in PRESSURES:
            raise ValueError(f"{what!r} is none of {', '.join(PRESSURES)}")
        condition = PRESSURES[what]
        if condition in row.pressures:
            return
        row.pressures |= {condition}
        reason = PRESSURE_TEXTS[condition][0][0]
        self._tell(row, "Normal", reason, f"Node {name} status is now: {reason}")
        self._evict(row, condition)

    def _evict(self, row: NodeRow, condition: str) -> None:
        if condition not in row.pressures or self._rows.get(row.name) is not row:
            return
        self._pods.evict_one(row, _RESOURCES[condition])
        self._desk.pump.call_later(self._desk.latency.paced(_EVICTION_S), lambda: self._evict(row, condition))

    def shut_down(self, name: str) -> None:
        """Shut a machine down: pods have the kubelet's shutdownGracePeriod to end, then it is off."""
        row = self._on(name)
        grace_s = row.config.shutdown_grace_s
        if grace_s <= 0:
            self._off(row)
            return
        row.trouble = SHUTTING_DOWN
        self._tell(row, "Normal", "NodeNotReady", f"Node {name} status is now: NodeNotReady")
        critical_s = row.config.shutdown_critical_s
        ends_s = self._pods.shut_down(row, grace_s - critical_s, critical_s)

        def off() -> None:
            if row.trouble == SHUTTING_DOWN and not row.off:
                self._off(row)

        self._desk.pump.call_later(ends_s, off)

    def remove(self, name: str) -> None:
        """Take a machine away, and its Node; the pods that it had are left to the cluster."""
        row = self._rows[name]
        record = self._desk.trusted.store.get(NODES, name)
        if record is not None:
            self._desk.trusted.delete(NODES, name)
        self.forget(row)

    def forget(self, row: NodeRow) -> None:
        """Let a node be no kubelet's any more."""
        if not row.off:
            self._off(row)
        self._pods.abandon_all(row)
        self._rows.pop(row.name, None)
        self._desk.pump.health.part("kubelet").remove(row.name)
