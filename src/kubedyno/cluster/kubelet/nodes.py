"""All kubelets: registration, heartbeats, configuration files, and the news that they act on.

Nodes are rows. One worker of the pump follows the tables and puts what changed into queues: nodes, their leases, pods,
and the mirrors of static pods, each reconciled by key, so that one that fails is tried again and holds up no other.
One timer every tenth of a second at most renews the leases of the nodes whose turn it is.
"""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import orjson

from kubedyno.base.random import Random
from kubedyno.cluster.kubelet import config as configuration
from kubedyno.cluster.kubelet.addresses import CILIUM, PTP, AddressPool
from kubedyno.cluster.kubelet.config import ConfigError, KubeletConfig
from kubedyno.cluster.kubelet.desk import Desk
from kubedyno.cluster.kubelet.liveness import is_live, settings_of
from kubedyno.cluster.kubelet.machines import Machines
from kubedyno.cluster.kubelet.mirrors import Mirrors
from kubedyno.cluster.kubelet.nodeobject import START_EVENTS, ids_of, lease_body, lease_of, node_of, status_of
from kubedyno.cluster.kubelet.pods import Pods
from kubedyno.cluster.kubelet.rows import NodeRow
from kubedyno.cluster.kubelet.stagerules import Language
from kubedyno.cluster.kubelet.stages import Stages
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.nodeclasses import classed
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.runtime import Runtime
from kubedyno.cluster.settings import ClusterSettings, NodeSettings
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.resources import LEASES, NAMESPACES, NODES, SECRETS
from kubedyno.kube.status import StatusError
from kubedyno.reconciler.execute import text_of
from kubedyno.statedb.errors import ExpiredError
from kubedyno.statedb.records import Tombstone
from kubedyno.stats.histogram import Histogram

_LEASE_NAMESPACE = "kube-node-lease"
# Docker's network of kind; nodes take addresses from .2 on.
_NODE_NETWORK = IPv4Network("172.18.0.0/16")
_FIRST_ADDRESS = 2
_DNS_OFFSET = 10
# A lease is renewed after a quarter of its duration (kubelet: nodeLeaseRenewIntervalFraction).
_RENEWALS = 4
_LEASE_S = 40.0
# Turns that nodes share in a renewal's period: leases are spread, and cost one timer a turn.
_TURNS = 100
_MISSING_RETRY_S = 1.0
# The kubelet tries what failed again after 10 s at the latest (backOffPeriod).
_RETRY_MAX_S = 10.0
# Changes read in a turn; putting them into queues takes a microsecond each.
_CHANGES = 256
_GROUP = "kubelet"


class Nodes:
    """The nodes of a cluster.

    Args:
        trusted: Door to the registry.
        pump: Turns and timers.
        settings: What the cluster is to be.
        random: The cluster's generator.
        runtime: Runs the pods that it knows; None: all are modelled.
        language: What stages are written in; None: there are none.
    """

    def __init__(
        self,
        trusted: Trusted,
        pump: Pump,
        settings: ClusterSettings,
        random: Random,
        runtime: Runtime | None = None,
        language: Language | None = None,
    ) -> None:
        self._desk = Desk(trusted, pump, settings, random, runtime)
        self._trusted = trusted
        self._pump = pump
        self._settings = settings
        self._random = random
        self._clock = self._desk.clock
        self._store = trusted.store
        self._nodes = self._store.table(NODES)
        self._pod_table = self._desk.pods
        self._leases = self._store.table(LEASES)
        self._node_changes = self._nodes.changes()
        self._pod_changes = self._pod_table.changes()
        self._rows: dict[str, NodeRow] = {}
        # (maxPods, more) → the file of the nodes that have it so: all else is the same for all.
        self._texts: dict[tuple[int | None, str], str] = {}
        self._dns = str(IPv4Network(settings.service_subnet)[_DNS_OFFSET])
        self._not_ready = 0
        self._started = False
        # Of the kubelets; those that do not run are parts of it.
        self._health = pump.health.part(_GROUP)
        self._worker = pump.worker("kubelet", self._step)
        self._stages = Stages(self._desk, self._rows, language, self._worker.wake)
        more: dict[str, Any] = {"group": _GROUP, "retry_max_s": _RETRY_MAX_S}
        self._node_queue: WorkQueue[str] = WorkQueue(pump, "kubelet-nodes", self._reconcile_node, **more)
        self._lease_queue: WorkQueue[str] = WorkQueue(pump, "kubelet-leases", self._beat, **more)
        self._pod_queue: WorkQueue[str] = WorkQueue(pump, "kubelet-pods", self._reconcile_pod, **more)
        self.pods = Pods(self._desk)
        self.mirrors = Mirrors(self._desk, self._rows)
        self.machines = Machines(self._desk, self._rows, self.pods, self._tell, self._boot)
        self._count = 0
        self.pods.on_failure(lambda key, error: self._pod_queue.retry(key, text_of(error)))
        # Called once, when all nodes are Ready.
        self.on_all_ready: Callable[[], None] | None = None
        for node in settings.nodes:
            self.add(node)

    def add(self, node: NodeSettings, *, later: bool = False) -> None:
        """Add a node; it registers soon.

        Args:
            node: What it is to be, beside what its labels say.
            later: It goes with its Node.

        Raises:
            ValueError: There is one of that name, or a label is wrong.
        """
        if node.name in self._rows:
            raise ValueError(f"there is a node {node.name} already")
        node = classed(node)
        index, self._count = self._count, self._count + 1
        form = node.max_pods, node.kubelet
        text = self._texts.get(form)
        if text is None:
            text = self._texts[form] = configuration.render(self._settings, node, self._dns)
        ids = (self._random.hex(32), self._random.uid(), self._random.uid())
        address = str(IPv4Address(int(_NODE_NETWORK.network_address) + _FIRST_ADDRESS + index))
        row = NodeRow(node, index, address, text, KubeletConfig(), ids, later=later)
        self._read_config(row)
        self._rows[node.name] = row
        self._not_ready += 1
        if self._started:
            self._node_queue.add(row.name)

    def start(self) -> None:
        """Begin: register the nodes, follow the tables, keep the leases."""
        self._started = True
        for row in self._rows.values():
            self._node_queue.add(row.name)
        self.mirrors.start()
        self._nodes.subscribe(self._worker.wake)
        self._pod_table.subscribe(self._worker.wake)
        self._store.table(SECRETS).subscribe(self._worker.wake)
        turns = max(1, min(_TURNS, len(self._rows)))
        for turn in range(turns):
            self._pump.call_later(_LEASE_S / _RENEWALS * (turn + 1) / turns, self._turn(turn, turns))
        self._worker.wake()

    def drop_removed(self) -> None:
        """Take no notice of workers whose Node was removed before a restart."""
        for node in self._settings.nodes:
            if not node.control_plane and node.name in self._rows and self._nodes.get(node.name) is None:
                del self._rows[node.name]
                self._not_ready -= 1

    def close(self) -> None:
        """Send what kubelets have traced."""
        self._desk.spans.close()

    def restore(self) -> None:
        """Take up the nodes and pods that are there from before a restart: what ran goes on, with its addresses."""
        self._desk.registries.refresh()
        for known in self._nodes.all():
            if known.key not in self._rows and is_live(known.obj):
                self.add(settings_of(self._store.encode_dict(NODES, known)), later=True)
        for row in self._rows.values():
            record = self._nodes.get(row.name)
            if record is None or row.failed:
                continue
            row.ids = ids_of(orjson.loads(record.obj.status or b"{}")) or row.ids
            self._read_cidr(row, record)
            for pod in self._pod_table.by_index("node", row.name):
                self.pods.restore(pod, row)

    # --- what operators do -----------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Return the nodes' names, in the order of the settings."""
        return list(self._rows)

    def address(self, node: str) -> str:
        """Return a node's InternalIP.

        Raises:
            KeyError: There is no such node.
        """
        return self._rows[node].address

    def config_text(self, node: str) -> str:
        """Return a node's /var/lib/kubelet/config.yaml.

        Raises:
            KeyError: There is no such node.
        """
        return self._rows[node].text

    def write_config(self, node: str, text: str) -> None:
        """Write a node's /var/lib/kubelet/config.yaml; any text is taken, and nothing reads it before a restart.

        Raises:
            KeyError: There is no such node.
        """
        self._rows[node].text = text

    def restart(self, node: str) -> dict[str, Any]:
        """Restart a node's kubelet; its containers go on running.

        Returns:
            As `status`.

        Raises:
            KeyError: There is no such node.
        """
        row = self._rows[node]
        if row.off or not self._read_config(row):
            return self.status(node)
        if not row.registered:
            self._node_queue.add(node)
            return self.status(node)
        record = self._nodes.get(node)
        if record is None:
            # Its Node was deleted: a starting kubelet registers again.
            self._not_ready += row.ready
            row.registered = row.ready = False
            row.pool, row.lease_key = None, ""
            self._register(row)
        else:
            self._read_cidr(row, record)
            self._try_write_status(row, record)
            self._start_events(row)
        self._lease_queue.add(node)
        self.pods.resync(row)
        return self.status(node)

    def _read_config(self, row: NodeRow) -> bool:
        """Read a node's file; False when the kubelet fails over it."""
        try:
            row.config = configuration.parse(row.text, row.settings.cpu_milli, self._settings.minor)
        except ConfigError as error:
            row.error = str(error)
            self._health.part(row.name).stopped(row.error)
        else:
            row.error = ""
            self._health.remove(row.name)
        return not row.failed

    def status(self, node: str) -> dict[str, Any]:
        """Return a kubelet's state: {"state": "running" or "failed", "maxPods", "error", "warning"}.

        Raises:
            KeyError: There is no such node.
        """
        row = self._rows[node]
        return {
            "state": "off" if row.off else "failed" if row.failed else "running",
            "maxPods": row.config.max_pods,
            "error": row.error,
            "warning": row.config.warning,
        }

    def counters(self, node: str) -> tuple[tuple[str, str, int], ...]:
        """Return (metric, help text, value) of what a kubelet counts itself; none of a node that is no kubelet's."""
        row = self._rows.get(node)
        return row.volumes.counters() if row is not None else ()

    def starts(self, node: str) -> Histogram | None:
        """Return how long a kubelet's pods took to start; None of a node that is no kubelet's."""
        row = self._rows.get(node)
        return row.starts if row is not None else None

    def gates(self, node: str) -> frozenset[str] | None:
        """Return the feature gates that are on in a kubelet; None of a node that is no kubelet's."""
        row = self._rows.get(node)
        return row.config.gates if row is not None else None

    # --- the worker ------------------------------------------------------------------------------------------

    def _step(self, limit: int) -> bool:
        """Put what has changed into the queues."""
        _ = limit
        rows = self._rows
        # Before the pods that may need them.
        self._desk.registries.refresh()
        if self._stages.refresh():
            for name, known in rows.items():
                if known.later:
                    self._node_queue.add(name)
                for pod in self._pod_table.by_index("node", name):
                    self._pod_queue.add(pod.key)
        try:
            for record in self._node_changes.next(_CHANGES):
                row = rows.get(record.key)
                if type(record) is Tombstone:
                    self._stages.gone("Node", record.key)
                    if row is not None and row.later and row.registered:
                        self.machines.forget(row)
                elif row is None:
                    if is_live(record.obj):
                        self._node_queue.add(record.key)
                elif row.pool is None or (row.later and self._stages.drives("Node")):
                    self._node_queue.add(record.key)
            add = self._pod_queue.add
            for record in self._pod_changes.next(_CHANGES):
                if type(record) is Tombstone:
                    self.mirrors.gone(record)
                    add(record.key)
                elif record.obj.facts.node_name in rows:
                    add(record.key)
        except ExpiredError:
            # Too far behind to be told of deletions: look at everything, what is gone included.
            self._node_changes, self._pod_changes = self._nodes.changes(), self._pod_table.changes()
            for key in self.pods.runs:
                self._pod_queue.add(key)
            return True
        return self._node_changes.behind or self._pod_changes.behind

    def _reconcile_pod(self, key: str, budget: int) -> int:
        """Bring a node's containers to what its pod's newest version says."""
        _ = budget
        pods = self.pods
        record, run = self._pod_table.get(key), pods.runs.get(key)
        if run is not None and (record is None or record.obj.uid != run.uid):
            pods.removed(key, run.uid)
            run = None
        if record is None:
            self._stages.gone("Pod", key)
            return 1
        row = self._rows.get(record.obj.facts.node_name)
        if row is None or (run is None and self._is_staged(record, row)):
            return 1
        try:
            if self._pod_queue.is_failing(key):
                pods.again(record, row)
            else:
                pods.changed(record, row)
        except Exception:
            pods.abandon(key)
            raise
        return 1

    def _is_staged(self, record: ObjectRecord, row: NodeRow) -> bool:
        """Let the stages have a pod that they are for; True when it is theirs."""
        stages = self._stages
        if not (stages.drives("Pod") or stages.owns("Pod", record.key)) or record.key in row.static:
            return False
        return stages.consider("Pod", record)

    def _reconcile_node(self, name: str, budget: int) -> int:
        """Register a node, and make it ready as soon as it has a PodCIDR."""
        _ = budget
        row = self._rows.get(name)
        if row is None:
            record = self._nodes.get(name)
            if record is None or not is_live(record.obj):
                self._node_queue.forget(name)
                return 1
            self.add(settings_of(self._store.encode_dict(NODES, record)), later=True)
            row = self._rows[name]
        if row.failed:
            return 1
        if not row.registered:
            self._register(row)
            self._tell_ready()
            return 4
        record = self._nodes.get(name)
        if record is not None and row.later:
            if self._stages.drives("Node"):
                self._stages.consider("Node", record)
            elif self._stages.owns("Node", name):
                # There are none for nodes any more.
                self._stages.gone("Node", name)
                self._write_status(row, record)
                return 1
        if record is not None and (self._read_cidr(row, record) or self._node_queue.is_failing(name)):
            self._write_status(row, record)
            if row.pool is not None:
                self.pods.network_ready(row)
            self._tell_ready()
        return 1

    def _tell(self, row: NodeRow, kind: str, reason: str, message: str) -> None:
        """Say something about a node, and write its status."""
        record = self._nodes.get(row.name)
        if record is not None:
            self._node_event(row, reason, message, kind)
            self._try_write_status(row, record)

    def _try_write_status(self, row: NodeRow, record: ObjectRecord) -> None:
        """Write a node's status; what the API server refuses is tried again."""
        try:
            self._write_status(row, record)
        except StatusError as error:
            self._node_queue.retry(row.name, error.message)

    def _boot(self, row: NodeRow) -> None:
        """Have the kubelet of a machine that was off begin."""
        if self._read_config(row):
            self._start_events(row)
            self._lease_queue.add(row.name)

    def _tell_ready(self) -> None:
        if self._not_ready == 0 and self.on_all_ready is not None:
            call, self.on_all_ready = self.on_all_ready, None
            call()

    def _read_cidr(self, row: NodeRow, record: ObjectRecord) -> bool:
        """Take the PodCIDR as soon as it and a CNI are there; True when that makes the node ready."""
        cidr = record.obj.facts.pod_cidr
        if row.pool is not None or not cidr or self._settings.cni == "none":
            return False
        row.pool = AddressPool(cidr, CILIUM if self._settings.cni == "cilium" else PTP)
        row.ready = True
        self._not_ready -= 1
        self._node_event(row, "NodeReady", f"Node {row.name} status is now: NodeReady")
        return True

    # --- node and lease --------------------------------------------------------------------------------------

    def _register(self, row: NodeRow) -> None:
        existing = self._nodes.get(row.name)
        if existing is None:
            self._trusted.create(NODES, "", node_of(row, self._settings, self._clock.now()))
        row.registered = True
        row.last_status_s = self._clock.now()
        if existing is not None:
            self._read_cidr(row, existing)
            self._write_status(row, existing)
        self._start_events(row)
        self._lease_queue.add(row.name)

    def _start_events(self, row: NodeRow) -> None:
        for reason, message in START_EVENTS:
            self._node_event(row, reason, message or f"Node {row.name} status is now: {reason}")

    def _node_event(self, row: NodeRow, reason: str, message: str, kind: str = "Normal") -> None:
        record = self._nodes.get(row.name)
        if record is not None:
            self._trusted.event(
                NODES, record, type=kind, reason=reason, message=message, component="kubelet", host=row.name,
                uid=row.name,
            )  # fmt: skip

    def _write_status(self, row: NodeRow, record: ObjectRecord) -> None:
        now_s = self._clock.now()
        if row.later and self._stages.drives("Node"):
            # What its status is the stages say.
            row.last_status_s, row.images.news = now_s, False
            self._stages.consider("Node", record)
            return
        status = status_of(row, self._settings, now_s, orjson.loads(record.obj.status or b"{}"))
        row.last_status_s = now_s
        row.images.news = False
        self._trusted.replace_status(NODES, record, status)

    def _turn(self, turn: int, turns: int) -> Callable[[], None]:
        """Return what renews the leases of one share of the nodes, and comes again."""

        def beat() -> None:
            for row in list(self._rows.values())[turn::turns]:
                if row.registered:
                    self._lease_queue.add(row.name)
            self._pump.call_later(_LEASE_S / _RENEWALS, beat)

        return beat

    def _beat(self, name: str, budget: int) -> int:
        """Renew a node's lease; write its status when that is due."""
        _ = budget
        row = self._rows.get(name)
        record = None if row is None or row.failed else self._nodes.get(name)
        if row is None or record is None:
            return 1
        now_s = self._clock.now()
        lease = self._leases.get(row.lease_key) if row.lease_key else None
        if lease is not None:
            self._trusted.replace(LEASES, lease, body=lease_body(row, now_s))
        elif self._store.get(NAMESPACES, _LEASE_NAMESPACE) is None:
            self._lease_queue.add_after(name, _MISSING_RETRY_S)
        else:
            row.lease_key = f"{_LEASE_NAMESPACE}/{row.name}"
            lease = self._leases.get(row.lease_key)
            if lease is not None:
                self._trusted.replace(LEASES, lease, body=lease_body(row, now_s))
            else:
                self._trusted.create(LEASES, _LEASE_NAMESPACE, lease_of(row, record.obj.uid, now_s))
        if row.images.news or now_s - row.last_status_s >= row.config.status_report_s:
            self._write_status(row, record)
        return 1
