"""The pages of metrics of controller manager, scheduler, etcd and kube-proxy, under the real names.

What they say is counted where it happens: work queues in their turns, writes at the door through which the component
writes, the scheduler's attempts, the store's operations, the journal's bytes.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from kubedyno.base.clock import Clock
from kubedyno.cluster.apiserver import processpage
from kubedyno.cluster.apiserver.exposition import Page
from kubedyno.cluster.assembly.cluster import Cluster
from kubedyno.cluster.assembly.controllerseries import add_controllers, add_queue
from kubedyno.cluster.assembly.serviceproxy import ServiceProxy
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.scheduler.scheduler import NAME, Scheduler
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.storage.journal import DISK_BOUNDS_S, Journal
from kubedyno.cluster.storage.operations import CREATE, DELETE, UPDATE
from kubedyno.cluster.storage.store import ObjectTable, Store
from kubedyno.reconciler.keyed import KeyedReconciler
from kubedyno.statedb.records import Tombstone
from kubedyno.stats.histogram import Histogram

# Ours → the real work queue's name; others are ours with underscores.
_QUEUES = {
    "endpoints": "endpoint",
    "endpointslice": "endpoint_slice",
    "endpointslice-mirroring": "endpoint_slice_mirroring",
    "horizontal-pod-autoscaler": "horizontalpodautoscaler",
    "claim-protection": "pvcprotection",
    "volume-protection": "pvprotection",
    "certificates": "certificate",
    "claim-binder": "claims",
    "ephemeral-volumes": "ephemeral_volume",
    "node-ipam": "cidrallocator_node",
    "node-ttl": "ttlcontroller",
    "policy-status": "validatingadmissionpolicy-status",
    "resourceclaims": "resource_claim",
    "volume-expander": "volume_expand",
    "volume-binder": "volumes",
    "garbage-marked": "garbage_collector_graph_changes",
    "garbage-absent": "garbage_collector_attempt_to_orphan",
    "garbage-doubtful": "garbage_collector_attempt_to_delete",
    "job-orphans": "job_orphan_pod",
    "load-balancer": "service",
    "namespace-defaults": "serviceaccount",
    "node-lifecycle": "node_lifecycle_controller",
    "node-pods": "node_lifecycle_controller_pods",
    "pod-garbage": "orphaned_pods_nodes",
    "replication": "replicationmanager",
    "resource-quota": "resourcequota_primary",
    "role-aggregation": "ClusterRoleAggregator",
    "taint-eviction": "noexec_taint_pod",
    "token-secrets": "serviceaccount_tokens_secret",
}
_OF_SCHEDULER = "scheduler-changes"
_OF_KUBELET = "kubelet-"
# Whose events are not the controllers'.
_OTHERS = frozenset({NAME, "kubelet", "kube-proxy"})
# etcd's histogram of round trips between members.
_TRIP_BOUNDS_S = tuple(0.0001 * 2**power for power in range(16))
# etcd's default --quota-backend-bytes.
_QUOTA_BYTES = 2 << 30
# Objects of a table whose size stands for all of it.
_SAMPLE = 200
_REQUESTS = "[ALPHA] Number of HTTP requests, partitioned by status code, method, and host."
_LEADER = (
    "[ALPHA] Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 indicates master. 'name' "
    "is the string used to identify the lease. Please make sure to group by name."
)
_ATTEMPTS = (
    "[STABLE] Number of attempts to schedule pods, by the result. 'unschedulable' means a pod could not be scheduled, while "
    "'error' means an internal scheduler problem."
)
_WAITED = (
    "[BETA] E2e latency for a pod being scheduled, from the time the pod enters the scheduling queue and might involve "
    "multiple scheduling attempts."
)
_PENDING = (
    "[STABLE] Number of pending pods, by the queue type. 'active' means number of pods in activeQ; 'backoff' means number of "
    "pods in backoffQ; 'unschedulable' means number of pods in unschedulablePods that the scheduler attempted to schedule and "
    "failed; 'gated' is the number of unschedulable pods that the scheduler never attempted to schedule because they are "
    "gated."
)
_REJECTED = (
    "[BETA] The number of unschedulable pods broken down by plugin name. A pod will increment the gauge for all plugins that "
    "caused it to not schedule and so this metric have meaning only when broken down by plugin."
)
_INCOMING = "[STABLE] Number of pods added to scheduling queues by event and queue type."
_SLOW_READS = (
    "The total number of pending read indexes not in sync with leader's or timed out read index requests. Reads are never put "
    "off."
)
_VERSION = "Which version is running. 1 for 'server_version' label with current version."
_CODES = {"POST": "201", "PUT": "200", "PATCH": "200", "DELETE": "200"}


@dataclass(frozen=True, slots=True)
class Parts:
    """What the pages are made of.

    Attributes:
        kcm: The door of the controllers.
        host: host:port of the API server.
    """

    settings: ClusterSettings
    store: Store
    pump: Pump
    clock: Clock
    kcm: Trusted
    scheduling: Trusted
    scheduler: Scheduler
    proxy: ServiceProxy
    journal: Journal | None
    host: str


def parts_of(cluster: Cluster, host: str, journal: Journal | None = None) -> Parts:
    """Return the parts of a cluster whose API server is at host:port."""
    return Parts(
        cluster.settings,
        cluster.store,
        cluster.pump,
        cluster.trusted.registry.clock,
        kcm=cluster.controllers_door,
        scheduling=cluster.scheduler_door,
        scheduler=cluster.scheduler,
        proxy=cluster.proxy,
        journal=journal,
        host=host,
    )


class ComponentPages:
    """Makes the pages.

    Args:
        parts: What they are made of.
        pauses: Of the garbage collector.
    """

    def __init__(self, parts: Parts, pauses: processpage.Pauses) -> None:
        self._parts = parts
        self._pauses = pauses
        self._started_s = parts.clock.now()
        # Bytes that clients sent to the store, and the operations that are in them.
        self._sent: dict[tuple[str, str], tuple[int, float]] = {}
        self.of: dict[str, Callable[[], Page]] = {
            "kube-controller-manager": self.controller_manager,
            "kube-scheduler": self.scheduler,
            "kube-etcd": self.etcd,
            "kube-proxy": self.proxy,
        }

    def process(self, page: Page) -> None:
        """Add the whole process to a page."""
        cpu_s = processpage.process_cpu_s()
        processpage.write(page, cpu_s=cpu_s, started_s=self._started_s, pauses=self._pauses)

    def busy_s(self) -> float:
        """Return the CPU of all these components, which is not the API server's."""
        parts = self._parts
        return sum(
            (
                sum(queue.metrics.works.total for queue in self._controllers()),
                parts.scheduler.counts.busy_s,
                parts.store.operations.seconds,
                parts.proxy.rounds.total,
            )
        )

    def _controllers(self) -> Iterator[KeyedReconciler[object]]:
        for queue in self._parts.pump.reconcilers:
            if queue.name != _OF_SCHEDULER and not queue.name.startswith(_OF_KUBELET):
                yield queue

    def _base(self, page: Page, name: str, cpu_s: float) -> Page:
        """Add what every component has."""
        processpage.write(page, cpu_s=cpu_s, started_s=self._started_s, pauses=self._pauses)
        if name == "etcd":
            return page
        processpage.version(page, self._parts.settings)
        processpage.gates(page, self._parts.settings)
        return page

    def _client(self, page: Page, doors: Iterable[Trusted], components: tuple[str, ...]) -> None:
        """Add the requests that a component has sent: its writes; what it reads it follows in the store."""
        methods = dict.fromkeys(_CODES, 0)
        host = self._parts.host
        for door in doors:
            for method, took in door.writes.items():
                methods[method] += took.count
                if took.count:
                    labels = {"host": host, "verb": method}
                    about = (
                        "[ALPHA] Request latency in seconds. Broken down by verb, and host. That of the store; events are not "
                        "measured."
                    )
                    page.spread("rest_client_request_duration_seconds", about, labels, took)
                    # Nothing holds them up.
                    at_once = Histogram(took.bounds)
                    at_once.add(0.0, took.count)
                    about = "[ALPHA] Client side rate limiter latency in seconds. Broken down by verb, and host. There is no limit."
                    page.spread("rest_client_rate_limiter_duration_seconds", about, labels, at_once)
        for (component, method), count in self._parts.kcm.events.written.items():
            if component in components or (not components and component not in _OTHERS):
                methods[method] += count
        for method, count in methods.items():
            page.add(
                "rest_client_requests_total", "counter", _REQUESTS,
                {"code": _CODES[method], "host": host, "method": method}, count,
            )  # fmt: skip

    # --- pages -------------------------------------------------------------------------------------------------

    def controller_manager(self) -> Page:
        """Return the controller manager's page."""
        page = Page()
        busy_s = 0.0
        for queue in self._controllers():
            busy_s += queue.metrics.works.total
            add_queue(page, _QUEUES.get(queue.name, queue.name.replace("-", "_")), queue)
        add_controllers(page, self._parts.store, self._parts.settings)
        self._client(page, (self._parts.kcm,), ())
        page.add("leader_election_master_status", "gauge", _LEADER, {"name": "kube-controller-manager"}, 1)
        return self._base(page, "kube-controller-manager", busy_s)

    def scheduler(self) -> Page:
        """Return the scheduler's page."""
        page, scheduler = Page(), self._parts.scheduler
        counts = scheduler.counts
        for result, histogram in counts.attempts.items():
            labels = {"profile": NAME, "result": result}
            page.add("scheduler_schedule_attempts_total", "counter", _ATTEMPTS, labels, histogram.count)
            page.spread(
                "scheduler_scheduling_attempt_duration_seconds", "[STABLE] Scheduling attempt latency in seconds (scheduling algorithm + binding)",
                labels, histogram,
            )  # fmt: skip
        about = (
            "[STABLE] Latency for running all plugins of a specific extension point. Filters and scores are kept by shape of "
            "pod, and not timed."
        )
        bind = {"extension_point": "Bind", "profile": NAME, "status": "Success"}
        page.spread("scheduler_framework_extension_point_duration_seconds", about, bind, counts.binds)
        for what, count in scheduler.cached().items():
            page.add(
                "scheduler_cache_size",
                "gauge",
                "[ALPHA] Number of nodes, pods, and assumed (bound) pods in the scheduler cache.",
                {"type": what},
                count,
            )
        scheduled = counts.attempts["scheduled"]
        for name, about in (
            (
                "scheduler_scheduling_algorithm_duration_seconds",
                "[ALPHA] Scheduling algorithm latency in seconds. The binding is part of it.",
            ),
            ("scheduler_e2e_scheduling_duration_seconds", "The same, by the older name."),
        ):
            page.spread(name, about, {}, scheduled)
        for tries, waits in counts.waits.items():
            page.spread(
                "scheduler_pod_scheduling_sli_duration_seconds", _WAITED,
                {"attempts": tries}, waits,
            )  # fmt: skip
        page.spread(
            "scheduler_pod_scheduling_attempts",
            "[STABLE] Number of attempts to successfully schedule a pod.",
            {},
            counts.tries,
        )
        for queue, pods in scheduler.waiting().items():
            page.add("scheduler_pending_pods", "gauge", _PENDING, {"queue": queue}, pods)
        for plugin, pods in scheduler.rejected().items():
            labels = {"plugin": plugin, "profile": NAME}
            page.add("scheduler_unschedulable_pods", "gauge", _REJECTED, labels, pods)
        for (queue, event), pods in counts.incoming.items():
            page.add(
                "scheduler_queue_incoming_pods_total", "counter", _INCOMING,
                {"event": event, "queue": queue}, pods,
            )  # fmt: skip
        page.add(
            "scheduler_preemption_attempts_total",
            "counter",
            "[STABLE] Total preemption attempts in the cluster till now",
            {},
            counts.preemptions,
        )
        page.spread(
            "scheduler_preemption_victims", "[STABLE] Number of selected preemption victims", {}, counts.victims
        )
        for own in self._parts.pump.reconcilers:
            if own.name == _OF_SCHEDULER:
                add_queue(page, "scheduler_changes", own)
        self._client(page, (self._parts.scheduling,), (NAME,))
        page.add("leader_election_master_status", "gauge", _LEADER, {"name": "kube-scheduler"}, 1)
        return self._base(page, "kube-scheduler", counts.busy_s)

    def etcd(self) -> Page:
        """Return etcd's page: the store's, as one member that leads."""
        page, parts = Page(), self._parts
        operations, journal = parts.store.operations, parts.journal
        writes = operations.count()
        keys = sum(table.count for table in parts.store.tables())
        for name, value, about in (
            ("etcd_server_has_leader", 1, "Whether or not a leader exists. 1 is existence, 0 is not."),
            ("etcd_server_is_leader", 1, "Whether or not this member is a leader. 1 if is, 0 otherwise."),
            ("etcd_server_proposals_pending", 0, "The current number of pending proposals to commit."),
            (
                "etcd_server_quota_backend_bytes",
                _QUOTA_BYTES,
                "Current backend storage quota size in bytes. The store has no such limit.",
            ),
            (
                "etcd_mvcc_db_total_size_in_use_in_bytes",
                self.stored_bytes(),
                "Total size of the underlying database logically in use in bytes. By a sample of each table.",
            ),
            ("etcd_server_proposals_committed_total", writes, "The total number of consensus proposals committed."),
            ("etcd_server_proposals_applied_total", writes, "The total number of consensus proposals applied."),
            (
                "etcd_disk_wal_write_bytes_total",
                journal.written_bytes if journal else 0,
                "Total number of bytes written in WAL.",
            ),
            ("etcd_server_is_learner", 0, "Whether or not this member is a learner. 1 if is, 0 otherwise."),
            ("etcd_debugging_mvcc_keys_total", keys, "Total number of keys."),
            ("etcd_debugging_mvcc_current_revision", parts.store.revision, "The current revision of store."),
            ("os_fd_used", processpage.open_files(), "The number of used file descriptors."),
            ("os_fd_limit", processpage.most_files(), "The file descriptor limit."),
            (
                "etcd_mvcc_db_total_size_in_bytes",
                self.stored_bytes(),
                "Total size of the underlying database physically allocated in bytes.",
            ),
        ):
            if name.endswith("total_size_in_bytes") and journal is not None:
                value = journal.size_bytes  # noqa: PLW2901 - the file's own
            page.add(name, "gauge", about, {}, value)
        for name, value, about in (
            ("etcd_server_leader_changes_seen_total", 0, "The number of leader changes seen."),
            ("etcd_server_proposals_failed_total", 0, "The total number of failed proposals seen."),
            (
                "etcd_server_slow_apply_total",
                operations.slow,
                "The total number of slow apply requests. Here of more than 5 ms.",
            ),
            ("etcd_server_slow_read_indexes_total", 0, _SLOW_READS),
            ("etcd_mvcc_txn_total", writes, "Total number of txns seen by this member."),
            ("etcd_mvcc_put_total", operations.count(CREATE, UPDATE), "Total number of puts seen by this member."),
            ("etcd_mvcc_delete_total", operations.count(DELETE), "Total number of deletes seen by this member."),
            (
                "etcd_network_client_grpc_received_bytes_total",
                self._received(),
                "The total number of bytes received from grpc clients. By a sample.",
            ),
            (
                "etcd_network_client_grpc_sent_bytes_total",
                writes * 64,
                "The total number of bytes sent to grpc clients. Of writes.",
            ),
            ("etcd_network_peer_received_bytes_total", 0, "There is one member."),
            ("etcd_network_peer_sent_bytes_total", 0, "There is one member."),
        ):
            page.add(name, "counter", about, {}, value)
        page.add(
            "etcd_cluster_version",
            "gauge",
            "Which version is running. 1 for 'cluster_version' label with current cluster version",
            {"cluster_version": "3.6"},
            1,
        )
        page.add("etcd_server_version", "gauge", _VERSION, {"server_version": "3.6.0"}, 1)
        for name, about in (
            (
                "grpc_server_handled_total",
                "Total number of RPCs completed on the server, regardless of success or failure.",
            ),
            ("grpc_server_started_total", "Total number of RPCs started on the server."),
        ):
            labels = {"grpc_method": "Txn", "grpc_service": "etcdserverpb.KV", "grpc_type": "unary"}
            if "handled" in name:
                labels["grpc_code"] = "OK"
            page.add(name, "counter", about, labels, writes)
        none = Histogram(DISK_BOUNDS_S)
        about = "The latency distributions of fsync called by WAL. Of a cluster in memory there are none."
        page.spread("etcd_disk_wal_fsync_duration_seconds", about, {}, journal.syncs if journal else none)
        about = "The latency distributions of commit called by backend. Of a cluster in memory there are none."
        page.spread("etcd_disk_backend_commit_duration_seconds", about, {}, journal.writes if journal else none)
        about = "Between members; there is one."
        page.spread("etcd_network_peer_round_trip_time_seconds", about, {"To": ""}, Histogram(_TRIP_BOUNDS_S))
        return self._base(page, "etcd", operations.seconds)

    def proxy(self) -> Page:
        """Return the page of one node's kube-proxy; all have seen the same."""
        page, proxy = Page(), self._parts.proxy
        about = "Rounds; no rules are written."
        page.spread("kubeproxy_sync_proxy_rules_duration_seconds", about, {}, proxy.rounds)
        about = "From an endpoint's change to its round."
        page.spread("kubeproxy_network_programming_duration_seconds", about, {}, proxy.programmed)
        for name, singular in (("services", "service"), ("endpoints", "endpoint")):
            page.add(
                f"kubeproxy_sync_proxy_rules_{singular}_changes_total", "counter", "Changes followed.", {},
                proxy.changes[name],
            )  # fmt: skip
            page.add(
                f"kubeproxy_sync_proxy_rules_{singular}_changes_pending", "gauge", "Changes of the next round.", {},
                proxy.pending[name],
            )  # fmt: skip
        for name, value in (("", proxy.last_s), ("_queued", proxy.asked_s)):
            page.add(f"kubeproxy_sync_proxy_rules_last{name}_timestamp_seconds", "gauge", "Epoch seconds.", {}, value)
        self._client(page, (), ("kube-proxy",))
        return self._base(page, "kube-proxy", proxy.rounds.total)

    # --- the store ---------------------------------------------------------------------------------------------

    def stored_bytes(self) -> int:
        """Return the size of what is stored, by a sample of each table."""
        return round(sum(mean_bytes(table) * table.count for table in self._parts.store.tables()))

    def _received(self) -> int:
        """Return the bytes of what was written; never less than before."""
        means: dict[str, float] = {}
        for (operation, table), cell in self._parts.store.operations.cells.items():
            if operation == DELETE:
                continue
            known, sent = self._sent.get((operation, table), (0, 0.0))
            if cell.count > known:
                if table not in means:
                    means[table] = mean_bytes(self._parts.store.db.tables[table])
                self._sent[operation, table] = (cell.count, sent + (cell.count - known) * means[table])
        return round(sum(sent for _, sent in self._sent.values()))


def mean_bytes(table: ObjectTable) -> float:
    """Return the mean size of some objects' JSON, 0 without any."""
    some = [record.obj for record in islice(table.head.values(), _SAMPLE) if type(record) is not Tombstone]
    sizes = [len(obj.meta) + len(obj.managed) + len(obj.body) + len(obj.status) for obj in some]
    return sum(sizes) / len(sizes) if sizes else 0.0
