"""What an embedded cluster is to be: frozen values that `kind` configurations and flags turn into."""

from dataclasses import dataclass, field

SUPPORTED_VERSIONS = ("1.33", "1.34", "1.35", "1.36")
# What `/version` and a node's kubeletVersion say for each minor; 1.33.2 is the study's.
GIT_VERSIONS = {"1.33": "v1.33.2", "1.34": "v1.34.1", "1.35": "v1.35.0", "1.36": "v1.36.0"}
DEFAULT_VERSION = "1.36"
DEFAULT_MAX_PODS = 110
MAX_NODES = 20_000
DEFAULT_NODE_CIDR_MASK = 24
DEFAULT_POD_SUBNET = "10.244.0.0/16"
DEFAULT_SERVICE_SUBNET = "10.96.0.0/16"
# That of kind for clusters of both families.
DEFAULT_SECOND_SERVICE_SUBNET = "fd00:10:96::/112"


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """One node.

    Attributes:
        name: e.g. "kubedyno-control-plane", "kubedyno-worker", "kubedyno-worker2" (kind's naming).
        control_plane: Runs the static control-plane pods.
        max_pods: The kubelet's maxPods at boot; None when its file does not say (110 then).
        cpu_milli: CPU capacity in thousandths of a core.
        memory_bytes: Memory capacity.
        labels: Extra node labels.
        port_mappings: (host port, container port) pairs of the kind configuration.
        kubelet: More of its KubeletConfiguration at boot: a mapping in JSON, "" for nothing.
    """

    name: str
    control_plane: bool = False
    max_pods: int | None = None
    cpu_milli: int = 8000
    memory_bytes: int = 16 << 30
    labels: tuple[tuple[str, str], ...] = ()
    port_mappings: tuple[tuple[int, int], ...] = ()
    kubelet: str = ""


# Score plugins and their weights (pkg/scheduler/apis/config/v1/default_plugins.go).
DEFAULT_SCORES = (
    ("TaintToleration", 3), ("NodeAffinity", 2), ("PodTopologySpread", 2), ("InterPodAffinity", 2),
    ("NodeResourcesFit", 1), ("NodeResourcesBalancedAllocation", 1), ("ImageLocality", 1),
)  # fmt: skip
# Plugins that can say no to a node, in their order.
FILTER_PLUGINS = (
    "NodeUnschedulable", "NodeName", "TaintToleration", "NodeAffinity", "NodePorts", "NodeResourcesFit",
    "VolumeRestrictions", "NodeVolumeLimits", "VolumeBinding", "VolumeZone", "PodTopologySpread", "InterPodAffinity",
    "DynamicResources",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SchedulerProfile:
    """One profile of the scheduler: what pods with its name as schedulerName are placed by.

    Attributes:
        name: schedulerName.
        filters_off: Plugins that say no to no node.
        scores: (plugin, weight) of those that prefer nodes.
        strategy: Of NodeResourcesFit: "LeastAllocated", "MostAllocated" or "RequestedToCapacityRatio".
        resources: (resource, weight) that the strategy looks at.
        balanced: Resources that NodeResourcesBalancedAllocation looks at.
        shape: (utilization in percent, score 0 … 10), ascending, of RequestedToCapacityRatio.
        percentage: Of nodes to find feasible before scores decide; 0: as the cluster's size asks for.
        added_affinity: A NodeAffinity in JSON that all pods have besides their own; "" for none.
        hard_pod_affinity_weight: What a required term of another pod counts in scores.
        preempts: Pods make room for more important ones.
        min_candidates_percent: Share of nodes that preemption looks at before it chooses,
        min_candidates: at least so many.
    """

    name: str = "default-scheduler"
    filters_off: tuple[str, ...] = ()
    scores: tuple[tuple[str, int], ...] = DEFAULT_SCORES
    strategy: str = "LeastAllocated"
    resources: tuple[tuple[str, int], ...] = (("cpu", 1), ("memory", 1))
    balanced: tuple[str, ...] = ("cpu", "memory")
    shape: tuple[tuple[int, int], ...] = ()
    percentage: int = 0
    added_affinity: str = ""
    hard_pod_affinity_weight: int = 1
    preempts: bool = True
    min_candidates_percent: int = 10
    min_candidates: int = 100


@dataclass(frozen=True, slots=True)
class SchedulerSettings:
    """A KubeSchedulerConfiguration, as far as it acts here.

    Attributes:
        profiles: At least one, of different names.
        initial_backoff_s: podInitialBackoffSeconds.
        max_backoff_s: podMaxBackoffSeconds.
        bind_timeout_s: For how long a pod waits for its volumes to be bound.
    """

    profiles: tuple[SchedulerProfile, ...] = (SchedulerProfile(),)
    initial_backoff_s: float = 1.0
    max_backoff_s: float = 10.0
    bind_timeout_s: float = 600.0


@dataclass(frozen=True, slots=True)
class MonitoringSettings:
    """What the study's monitoring add-ons are to be: the values of their chart that act here.

    Attributes:
        scrape_interval_s: Between two looks at a target.
        evaluation_interval_s: Of subqueries that name no step.
        prometheus_port: NodePort of Prometheus.
        grafana_port: NodePort of Grafana.
        timezone: Of dashboards: "browser", "utc" or a name such as Asia/Seoul.
        admin_password: Of Grafana's user admin.
    """

    scrape_interval_s: float = 15.0
    evaluation_interval_s: float = 15.0
    prometheus_port: int = 30001
    grafana_port: int = 30002
    timezone: str = "browser"
    admin_password: str = "prom-operator"  # noqa: S105 - the chart's own default, of a server on loopback


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """The whole cluster.

    Attributes:
        name: Cluster name; node names and the kubeconfig context are made from it.
        nodes: At least one, the first a control plane.
        version: "1.33" … "1.36": version, gate defaults and message texts.
        pod_subnet: CIDR that node PodCIDRs are cut from.
        service_subnet: CIDR of ClusterIPs.
        second_service_subnet: CIDR of the ClusterIPs of the other family, "" for none: Services may then have two.
        node_cidr_mask: Prefix length of a node's PodCIDR.
        allocate_node_cidrs: False: nodes get no PodCIDR.
        cni: "kindnet", "cilium" (its IPAM only), or "none" (nodes stay NotReady).
        kube_proxy_mode: "iptables", "ipvs", "nftables" or "none" (no kube-proxy pods then).
        addons: Names of add-on sets to deploy; "study" is known.
        speed: Factor on every modelled duration of a node: 1 real time, 2 half the time, 0 at once.
        seed: Of all randomness in the cluster.
        idle_timeout_s: Ends itself after so long without a request; 0 never.
        port: API port on 127.0.0.1; 0 picks a free one.
        metrics_port: Of kubedyno's own metrics on 127.0.0.1; None: none.
        bind_addresses: component ("controller-manager", "scheduler", "etcd", "kube-proxy") → metrics bind address.
        authorization: "Node,RBAC", "RBAC" (kubelets are users like any other), or "AlwaysAllow": whoever is known may do
            everything.
        feature_gates: Gate → on/off, over the version's defaults.
        runtime_config: Versions of APIs that are served or not, beyond the defaults: kube-apiserver's key → on/off.
        scheduler: Profiles and times of the scheduler.
        runtime: "model" (pods have a life, no processes) or "netns" (pods of known images are processes).
        datapath: Between pods that are processes: "route", "bridge" or "ebpf".
        images: Image pattern → command line, beside those known (`processes.images`).
        private_registries: (host with an optional path, user, password) of registries that give images only to these.
        monitoring: Of the study's monitoring add-ons.
        data_dir: Absolute path of the folder in which the cluster is kept; "" keeps it in memory only.
        max_inflight: Requests that read and may be under way at once; 0: no limit.
        max_mutating_inflight: The same of those that write.
        priority_and_fairness: The two limits together are the seats of priority levels, instead of limits of their own.
        audit_log: File of the audit log, "" for none; a relative path is one in the cluster's folder.
        audit_policy: File of an audit policy; "" writes metadata of everything.
        audit_maxsize_mb: Size at which the audit log begins another file, in MiB; 0: 100.
        audit_maxage_days: Files put aside longer ago are removed; 0: none for its age.
        audit_maxbackup: How many files put aside are kept; 0: all.
        tracing: File of the API server's TracingConfiguration, "" for none.
    """

    name: str = "kubedyno"
    nodes: tuple[NodeSettings, ...] = (NodeSettings("kubedyno-control-plane", control_plane=True),)
    version: str = DEFAULT_VERSION
    pod_subnet: str = DEFAULT_POD_SUBNET
    service_subnet: str = DEFAULT_SERVICE_SUBNET
    second_service_subnet: str = ""
    node_cidr_mask: int = DEFAULT_NODE_CIDR_MASK
    allocate_node_cidrs: bool = True
    cni: str = "kindnet"
    kube_proxy_mode: str = "iptables"
    addons: tuple[str, ...] = ()
    speed: float = 1.0
    seed: int = 1
    idle_timeout_s: float = 1800.0
    port: int = 0
    metrics_port: int | None = None
    bind_addresses: dict[str, str] = field(default_factory=dict)
    authorization: str = "Node,RBAC"
    feature_gates: dict[str, bool] = field(default_factory=dict)
    runtime_config: dict[str, bool] = field(default_factory=dict)
    scheduler: SchedulerSettings = SchedulerSettings()
    runtime: str = "model"
    datapath: str = "route"
    images: dict[str, list[str]] = field(default_factory=dict)
    private_registries: tuple[tuple[str, str, str], ...] = ()
    monitoring: MonitoringSettings = MonitoringSettings()
    data_dir: str = ""
    max_inflight: int = 400
    max_mutating_inflight: int = 200
    priority_and_fairness: bool = True
    audit_log: str = ""
    audit_policy: str = ""
    audit_maxsize_mb: int = 0
    audit_maxage_days: int = 0
    audit_maxbackup: int = 0
    tracing: str = ""

    @property
    def minor(self) -> int:
        """The minor version as a number, e.g. 33."""
        return int(self.version.split(".")[1])

    @property
    def service_subnets(self) -> tuple[str, ...]:
        """The subnets of ClusterIPs, the first the one of Services that do not say."""
        return tuple(subnet for subnet in (self.service_subnet, self.second_service_subnet) if subnet)

    @property
    def git_version(self) -> str:
        return GIT_VERSIONS[self.version]


def node_names(cluster: str, control_planes: int, workers: int) -> tuple[str, ...]:
    """Return kind's node names: NAME-control-plane, NAME-control-plane2 and on, NAME-worker, NAME-worker2 and on."""
    planes = [f"{cluster}-control-plane{i if i > 1 else ''}" for i in range(1, control_planes + 1)]
    return (*planes, *(f"{cluster}-worker{i if i > 1 else ''}" for i in range(1, workers + 1)))
