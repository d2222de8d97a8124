"""All kubelets: registration, heartbeats, configuration files, and the news that they act on.

Nodes are rows; one worker of the pump follows the tables, and one timer every tenth of a second at most renews the
leases of the nodes whose turn it is.
"""

from collections import deque
from collections.abc import Callable
from hashlib import md5
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import orjson

from kubedyno.base.log import logger
from kubedyno.base.random import Random
from kubedyno.base.times import rfc3339
from kubedyno.cluster.kubelet import config as configuration
from kubedyno.cluster.kubelet.addresses import CILIUM, PTP, AddressPool
from kubedyno.cluster.kubelet.config import ConfigError, KubeletConfig
from kubedyno.cluster.kubelet.nodeobject import START_EVENTS, lease_body, lease_of, node_of, status_of
from kubedyno.cluster.kubelet.pods import Pods
from kubedyno.cluster.kubelet.rows import NodeRow, StaticPod
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.settings import ClusterSettings, NodeSettings
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube.resources import LEASES, NAMESPACES, NODES, PODS
from kubedyno.kube.status import StatusError
from kubedyno.statedb.records import Tombstone

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


class Nodes:
    """The nodes of a cluster.

    Args:
        trusted: Door to the registry.
        pump: Turns and timers.
        settings: What the cluster is to be.
        random: The cluster's generator.
    """

    def __init__(self, trusted: Trusted, pump: Pump, settings: ClusterSettings, random: Random) -> None:
        self._trusted = trusted
        self._pump = pump
        self._settings = settings
        self._random = random
        self._clock = trusted.registry.clock
        self._store = trusted.store
        self._nodes = self._store.table(NODES)
        self._pod_table = self._store.table(PODS)
        self._leases = self._store.table(LEASES)
        self._node_changes = self._nodes.changes()
        self._pod_changes = self._pod_table.changes()
        self._rows: dict[str, NodeRow] = {}
        # maxPods → the file of the nodes that have it so: all else is the same for all.
        self._texts: dict[int | None, str] = {}
        self._dns = str(IPv4Network(settings.service_subnet)[_DNS_OFFSET])
        self._new: deque[NodeRow] = deque()
        self._due: deque[NodeRow] = deque()
        self._mirrors: deque[tuple[NodeRow, str]] = deque()
        self._not_ready = 0
        self._started = False
        self._worker = pump.worker("kubelet", self._step)
        self.pods = Pods(trusted, pump, settings, random)
        # Called once, when all nodes are Ready.
        self.on_all_ready: Callable[[], None] | None = None
        for node in settings.nodes:
            self.add(node)

    def add(self, node: NodeSettings) -> None:
        """Add a node; it registers with the worker's next turn."""
        index = len(self._rows)
        text = self._texts.get(node.max_pods)
        if text is None:
            text = self._texts[node.max_pods] = configuration.render(self._settings, node, self._dns)
        ids = (self._random.hex(32), self._random.uid(), self._random.uid())
        address = str(IPv4Address(int(_NODE_NETWORK.network_address) + _FIRST_ADDRESS + index))
        row = NodeRow(node, index, address, text, KubeletConfig(), ids)
        if node.max_pods is not None:
            self._read_config(row)
        self._rows[node.name] = row
        self._new.append(row)
        self._not_ready += 1
        if self._started:
            self._worker.wake()

    def start(self) -> None:
        """Begin: register the nodes, follow the tables, keep the leases."""
        self._started = True
        self._nodes.subscribe(self._worker.wake)
        self._pod_table.subscribe(self._worker.wake)
        turns = max(1, min(_TURNS, len(self._rows)))
        for turn in range(turns):
            self._pump.call_later(_LEASE_S / _RENEWALS * (turn + 1) / turns, self._turn(turn, turns))
        self._worker.wake()

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
        if not self._read_config(row):
            return self.status(node)
        if not row.registered:
            self._new.append(row)
            self._worker.wake()
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
            self._write_status(row, record)
            self._start_events(row)
        self._due.append(row)
        self._worker.wake()
        self.pods.resync(row)
        return self.status(node)

    def _read_config(self, row: NodeRow) -> bool:
        """Read a node's file; False when the kubelet fails over it."""
        try:
            row.config = configuration.parse(row.text, row.settings.cpu_milli)
        except ConfigError as error:
            row.error = str(error)
        else:
            row.error = ""
        return not row.failed

    def status(self, node: str) -> dict[str, Any]:
        """Return a kubelet's state: {"state": "running" or "failed", "maxPods", "error", "warning"}.

        Raises:
            KeyError: There is no such node.
        """
        row = self._rows[node]
        return {
            "state": "failed" if row.failed else "running",
            "maxPods": row.config.max_pods,
            "error": row.error,
            "warning": row.config.warning,
        }

    def add_static_pod(self, node: str, manifest: dict[str, Any]) -> None:
        """Put a manifest into a node's /etc/kubernetes/manifests: its pod runs, and is mirrored to the API.

        Args:
            node: The node.
            manifest: A Pod; its name gets the node's appended. Not changed.

        Raises:
            KeyError: There is no such node.
        """
        row = self._rows[node]
        pod: dict[str, Any] = orjson.loads(orjson.dumps(manifest))
        metadata, spec = pod.setdefault("metadata", {}), pod["spec"]
        metadata["name"] = f"{metadata['name']}-{node}"
        namespace = metadata.setdefault("namespace", "default")
        digest = md5(orjson.dumps(manifest, option=orjson.OPT_SORT_KEYS) + node.encode(), usedforsecurity=False)
        config_hash = digest.hexdigest()
        metadata.setdefault("annotations", {}).update(
            {
                "kubernetes.io/config.hash": config_hash,
                "kubernetes.io/config.mirror": config_hash,
                "kubernetes.io/config.seen": rfc3339(self._clock.now())[:-1] + ".000000000Z",
                "kubernetes.io/config.source": "file",
            }
        )
        spec["nodeName"] = node
        # The kubelet has static pods tolerate whatever comes (pkg/kubelet/config: applyDefaults).
        spec.setdefault("tolerations", []).append({"operator": "Exists", "effect": "NoExecute"})
        key = f"{namespace}/{metadata['name']}"
        row.static[key] = StaticPod({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        self._mirrors.append((row, key))
        if self._started:
            self._worker.wake()

    # --- the worker ------------------------------------------------------------------------------------------

    def _step(self, limit: int) -> bool:
        """Do at most about `limit` things."""
        left = limit
        while self._new and left > 0:
            left -= 4
            row = self._new.popleft()
            if not row.failed and not row.registered:
                self._register(row)
        while self._mirrors and left > 0:
            left -= 1
            self._make_mirror(*self._mirrors.popleft())
        while self._due and left > 0:
            left -= 1
            self._beat(self._due.popleft())
        if left > 0 and self._node_changes.behind:
            for record in self._node_changes.next(left):
                left -= 1
                self._node_changed(record)
        if left > 0 and self._pod_changes.behind:
            rows = self._rows
            for record in self._pod_changes.next(left):
                obj = record.obj
                if type(record) is Tombstone:
                    self.pods.removed(record.key, obj.uid)
                    self._mirror_gone(record)
                else:
                    place = rows.get(obj.facts.node_name)
                    # A later version may have come since: then that one counts, now.
                    newest = self._pod_table.get(record.key)
                    if place is not None and newest is not None:
                        self.pods.changed(newest, place)
        return bool(self._new or self._mirrors or self._due or self._node_changes.behind or self._pod_changes.behind)

    def _node_changed(self, record: ObjectRecord) -> None:
        row = self._rows.get(record.key)
        if row is None or type(record) is Tombstone:
            return
        if row.pool is None and not row.failed:
            newest = self._nodes.get(record.key)
            if newest is not None and self._read_cidr(row, newest):
                self._write_status(row, newest)
                self.pods.network_ready(row)
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
        self._due.append(row)

    def _start_events(self, row: NodeRow) -> None:
        for reason, message in START_EVENTS:
            self._node_event(row, reason, message or f"Node {row.name} status is now: {reason}")

    def _node_event(self, row: NodeRow, reason: str, message: str) -> None:
        record = self._nodes.get(row.name)
        if record is not None:
            self._trusted.event(
                NODES, record, type="Normal", reason=reason, message=message, component="kubelet", host=row.name,
                uid=row.name,
            )  # fmt: skip

    def _write_status(self, row: NodeRow, record: ObjectRecord) -> None:
        now_s = self._clock.now()
        status = status_of(row, self._settings, now_s, orjson.loads(record.obj.status or b"{}"))
        row.last_status_s = now_s
        row.images.news = False
        self._trusted.replace_status(NODES, record, status)

    def _turn(self, turn: int, turns: int) -> Callable[[], None]:
        """Return what renews the leases of one share of the nodes, and comes again."""

        def beat() -> None:
            self._due.extend(row for row in list(self._rows.values())[turn::turns] if row.registered)
            if self._due:
                self._worker.wake()
            self._pump.call_later(_LEASE_S / _RENEWALS, beat)

        return beat

    def _beat(self, row: NodeRow) -> None:
        """Renew a node's lease; write its status when that is due."""
        if row.failed:
            return
        now_s = self._clock.now()
        record = self._nodes.get(row.name)
        if record is None:
            return
        lease = self._leases.get(row.lease_key) if row.lease_key else None
        if lease is not None:
            self._trusted.replace(LEASES, lease, body=lease_body(row, now_s))
        elif self._store.get(NAMESPACES, _LEASE_NAMESPACE) is None:
            self._pump.call_later(_MISSING_RETRY_S, lambda: self._later(row))
        else:
            row.lease_key = f"{_LEASE_NAMESPACE}/{row.name}"
            if self._leases.get(row.lease_key) is None:
                self._trusted.create(LEASES, _LEASE_NAMESPACE, lease_of(row, record.obj.uid, now_s))
        if row.images.news or now_s - row.last_status_s >= row.config.status_report_s:
            self._write_status(row, record)

    def _later(self, row: NodeRow) -> None:
        self._due.append(row)
        self._worker.wake()

    # --- static pods -----------------------------------------------------------------------------------------

    def _make_mirror(self, row: NodeRow, key: str) -> None:
        """Create a mirror pod; later when the node or the namespace isn't there yet."""
        node = self._nodes.get(row.name)
        static = row.static[key]
        namespace = static.mirror["metadata"]["namespace"]
        place = self._store.get(NAMESPACES, namespace)
        if self._pod_table.get(key) is not None or (place is not None and place.obj.deletion_s):
            return
        if node is None or place is None or row.failed:
            self._pump.call_later(_MISSING_RETRY_S / 10, lambda: self._mirror_later(row, key))
            return
        pod: dict[str, Any] = orjson.loads(orjson.dumps(static.mirror))
        owner = {"apiVersion": "v1", "kind": "Node", "name": row.name, "uid": node.obj.uid, "controller": True}
        pod["metadata"]["ownerReferences"] = [owner]
        try:
            self._trusted.registry.create(PODS, namespace, pod)
        except StatusError as error:
            # As the kubelet does: the static pod runs on, and its mirror is tried again.
            logger(__name__).warning("mirror pod %s: %s", key, error)
            self._pump.call_later(_MISSING_RETRY_S, lambda: self._mirror_later(row, key))

    def _mirror_later(self, row: NodeRow, key: str) -> None:
        self._mirrors.append((row, key))
        self._worker.wake()

    def _mirror_gone(self, record: ObjectRecord) -> None:
        row = self._rows.get(record.obj.facts.node_name)
        if row is not None and record.key in row.static:
            self._mirrors.append((row, record.key))
