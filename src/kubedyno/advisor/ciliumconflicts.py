"""Rules for values that do not go together, or not with the cluster: one function a pair.

The agent refuses some of these, and silently does without the feature for others; the text it says is part of the
evidence where it is known. Source: the agent's configuration checks of Cilium 1.18, and its documentation.
"""

from typing import Any

from kubedyno.advisor.tuning import Advice, Setup, covers, rule

AGENT = "Cilium 1.18, the agent's checks at start"
DOCS = "Cilium 1.18 documentation"
RESTART_AGENT = "kubectl -n kube-system rollout restart daemonset/cilium"
STATUS = "kubectl -n kube-system exec ds/cilium -- cilium-dbg status --verbose"


def _conflict(
    name: str,
    title: str,
    evidence: tuple[str, ...],
    change: tuple[tuple[str, Any], ...],
    *,
    said: str = "",
    grep: str = "",
    source: str = AGENT,
    severity: str = "error",
    effect: str = "the feature that is asked for is there, instead of refused or left out in silence",
    applying: str = "the agents restart",
) -> Advice:
    return Advice(
        name,
        severity,
        title,
        evidence=(*evidence, *([f"the agent says: {said}"] if said else ())),
        effect=effect,
        effect_source=source,
        applying=applying,
        values=change,
        apply=(RESTART_AGENT,),
        check=(
            (f"{STATUS} | grep '{grep}'",) if grep else ("kubectl -n kube-system logs ds/cilium | grep level=fatal",)
        ),
        undo=(RESTART_AGENT,),
        source=source,
    )


def _shown(setup: Setup, *paths: str) -> tuple[str, ...]:
    return tuple(f"{path}={str(setup.values.get(path)).lower()}" for path in paths)


def _legacy(setup: Setup) -> tuple[tuple[str, ...], tuple[tuple[str, Any], ...]]:
    """Return why host routing is the legacy one, and what makes it eBPF."""
    evidence, change = [], []
    if setup.values.on("bpf.hostLegacyRouting"):
        evidence.append("bpf.hostLegacyRouting=true")
        change.append(("bpf.hostLegacyRouting", False))
    if not setup.kube_proxy_replacement:
        evidence.append("kubeProxyReplacement=false")
        change.append(("kubeProxyReplacement", True))
    if not setup.masquerade_in_bpf:
        evidence.append("bpf.masquerade=false")
        change.append(("bpf.masquerade", True))
    return tuple(evidence), tuple(change)


@rule
def netkit_legacy_routing(setup: Setup) -> Advice | None:
    """Netkit devices need eBPF host routing."""
    if not setup.netkit or setup.host_routing:
        return None
    evidence, change = _legacy(setup)
    return _conflict(
        "netkit-legacy-routing",
        "netkit does not work with legacy host routing",
        (*_shown(setup, "bpf.datapathMode"), *evidence),
        change,
        grep="Device Mode",
    )


@rule
def netkit_kernel(setup: Setup) -> Advice | None:
    """Netkit devices that the kernel cannot make."""
    if not setup.netkit or not (setup.host.netkit is False or setup.older_than(6, 7)):
        return None
    return _conflict(
        "netkit-kernel",
        "the kernel has no netkit devices",
        (*_shown(setup, "bpf.datapathMode"), f"kernel {setup.host.kernel or 'without CONFIG_NETKIT'}"),
        (("bpf.datapathMode", "veth"),),
        said="netkit devices need kernel 6.7.0 or newer and CONFIG_NETKIT",
        grep="Device Mode",
        effect="the agents start: with netkit they end at once",
    )


@rule
def big_tcp_tunnel(setup: Setup) -> Advice | None:
    """BIG TCP needs native routing."""
    if not setup.big_tcp or not setup.tunnel:
        return None
    return _conflict(
        "big-tcp-tunnel",
        "BIG TCP does not work with a tunnel",
        _shown(setup, "enableIPv4BIGTCP", "enableIPv6BIGTCP", "routingMode"),
        (("enableIPv4BIGTCP", False), ("enableIPv6BIGTCP", False)),
        said="BIG TCP is not supported in tunneling mode",
        grep="BIG TCP",
    )


@rule
def big_tcp_encryption(setup: Setup) -> Advice | None:
    """BIG TCP and encryption."""
    if not setup.big_tcp or not setup.values.on("encryption.enabled"):
        return None
    return _conflict(
        "big-tcp-encryption",
        "BIG TCP does not work with encryption",
        _shown(setup, "enableIPv4BIGTCP", "enableIPv6BIGTCP", "encryption.enabled", "encryption.type"),
        (("enableIPv4BIGTCP", False), ("enableIPv6BIGTCP", False)),
        said="BIG TCP is not supported with encryption enabled",
        grep="BIG TCP",
    )


@rule
def big_tcp_legacy_routing(setup: Setup) -> Advice | None:
    """BIG TCP needs eBPF host routing; IPv6 packets collapse in the kernel's own forwarding."""
    if not setup.big_tcp or setup.host_routing:
        return None
    evidence, change = _legacy(setup)
    return _conflict(
        "big-tcp-legacy-routing",
        "BIG TCP does not work with legacy host routing",
        (
            *_shown(setup, "enableIPv4BIGTCP", "enableIPv6BIGTCP"),
            *evidence,
            "IPv6 BIG TCP through the kernel's forwarding: throughput x0.18 (kubedyno net, Linux 6.18)",
        ),
        change,
        said="BIG TCP is not supported with legacy host routing",
        grep="BIG TCP",
    )


@rule
def big_tcp_netkit(setup: Setup) -> Advice | None:
    """BIG TCP with netkit, which 1.18 does not do."""
    if not setup.big_tcp or not setup.netkit or not setup.values.version.startswith("1.1") or _newer_than_118(setup):
        return None
    return _conflict(
        "big-tcp-netkit",
        "BIG TCP works only with veth devices in this version",
        (*_shown(setup, "enableIPv4BIGTCP", "enableIPv6BIGTCP", "bpf.datapathMode"), f"Cilium {setup.values.version}"),
        (("enableIPv4BIGTCP", False), ("enableIPv6BIGTCP", False)),
        said="BIG TCP is supported only in veth datapath mode",
        grep="BIG TCP",
    )


def _newer_than_118(setup: Setup) -> bool:
    parts = setup.values.version.split(".")
    return len(parts) > 1 and parts[1].isdigit() and (int(parts[0]), int(parts[1])) > (1, 18)


@rule
def big_tcp_nic(setup: Setup) -> Advice | None:
    """BIG TCP on NICs that cannot."""
    if not setup.big_tcp or setup.big_tcp_driver() is not False:
        return None
    return _conflict(
        "big-tcp-nic",
        "the NIC cannot do BIG TCP",
        (
            *_shown(setup, "enableIPv4BIGTCP", "enableIPv6BIGTCP"),
            f"NIC drivers {', '.join(setup.host.drivers or ())}; mlx4, mlx5 and ice can",
        ),
        (("enableIPv4BIGTCP", False), ("enableIPv6BIGTCP", False)),
        grep="BIG TCP",
        source=f"{DOCS}, Tuning Guide",
        severity="warning",
        effect="no limits that come back as 65536",
    )


@rule
def big_tcp_kernel(setup: Setup) -> Advice | None:
    """BIG TCP on kernels that are too old."""
    v4 = setup.values.on("enableIPv4BIGTCP") and setup.older_than(6, 3)
    v6 = setup.values.on("enableIPv6BIGTCP") and setup.older_than(5, 19)
    if not v4 and not v6:
        return None
    said = (
        "Cannot enable --enable-ipv4-big-tcp, needs kernel 6.3 or newer"
        if v4
        else "Cannot enable --enable-ipv6-big-tcp, needs kernel 5.19 or newer"
    )
    change = (*((("enableIPv4BIGTCP", False),) if v4 else ()), *((("enableIPv6BIGTCP", False),) if v6 else ()))
    return _conflict(
        "big-tcp-kernel",
        "the kernel is too old for BIG TCP",
        (*_shown(setup, "enableIPv4BIGTCP", "enableIPv6BIGTCP"), f"kernel {setup.host.kernel}"),
        change,
        said=said,
        grep="BIG TCP",
    )


@rule
def bbr_without_bandwidth_manager(setup: Setup) -> Advice | None:
    """BBR is part of the bandwidth manager."""
    if not setup.values.on("bandwidthManager.bbr") or setup.values.on("bandwidthManager.enabled"):
        return None
    change: tuple[tuple[str, Any], ...] = (("bandwidthManager.enabled", True),)
    if setup.ipsec:
        change = (("bandwidthManager.bbr", False),)
    return _conflict(
        "bbr-without-bandwidth-manager",
        "BBR is asked for without the bandwidth manager",
        _shown(setup, "bandwidthManager.bbr", "bandwidthManager.enabled"),
        change,
        grep="BandwidthManager",
    )


@rule
def bbr_legacy_routing(setup: Setup) -> Advice | None:
    """BBR needs eBPF host routing, else packets lose their time stamps."""
    if not setup.values.on("bandwidthManager.bbr") or setup.host_routing:
        return None
    evidence, change = _legacy(setup)
    return _conflict(
        "bbr-legacy-routing",
        "BBR does not work with legacy host routing",
        (*_shown(setup, "bandwidthManager.bbr"), *evidence),
        change,
        said="BPF bandwidth manager's BBR setup requires BPF host routing.",
        grep="BandwidthManager",
    )


@rule
def bbr_kernel(setup: Setup) -> Advice | None:
    """BBR for pods needs Linux 5.18."""
    if not setup.values.on("bandwidthManager.bbr") or not setup.older_than(5, 18):
        return None
    return _conflict(
        "bbr-kernel",
        "the kernel is too old for BBR in pods",
        (*_shown(setup, "bandwidthManager.bbr"), f"kernel {setup.host.kernel}"),
        (("bandwidthManager.bbr", False),),
        said="cannot enable --enable-bbr, needs kernel 5.18 or newer",
        grep="BandwidthManager",
    )


@rule
def bandwidth_manager_ipsec(setup: Setup) -> Advice | None:
    """IPsec takes the bandwidth manager away."""
    if not setup.values.on("bandwidthManager.enabled") or not setup.ipsec:
        return None
    return _conflict(
        "bandwidth-manager-ipsec",
        "the bandwidth manager does not work with IPsec",
        _shown(setup, "bandwidthManager.enabled", "encryption.enabled", "encryption.type"),
        (("bandwidthManager.enabled", False), ("bandwidthManager.bbr", False)),
        said="The bandwidth manager cannot be used with IPSec. Disabling the bandwidth manager.",
        grep="BandwidthManager",
    )


@rule
def no_conntrack_tunnel(setup: Setup) -> Advice | None:
    """NOTRACK rules need direct routing."""
    if not setup.values.on("installNoConntrackIptablesRules") or not setup.tunnel:
        return None
    return _conflict(
        "no-conntrack-tunnel",
        "NOTRACK rules do not go with a tunnel",
        _shown(setup, "installNoConntrackIptablesRules", "routingMode"),
        (("installNoConntrackIptablesRules", False),),
    )


@rule
def distributed_lru_without_ratio(setup: Setup) -> Advice | None:
    """The distributed LRU needs dynamic sizing."""
    if not setup.values.on("bpf.distributedLRU.enabled") or setup.ratio:
        return None
    return _conflict(
        "distributed-lru-without-ratio",
        "the distributed LRU needs a map size ratio above 0",
        _shown(setup, "bpf.distributedLRU.enabled", "bpf.mapDynamicSizeRatio"),
        (("bpf.mapDynamicSizeRatio", 0.01),),
        said="distributed LRU is only valid with a specified dynamic map size ratio",
        grep="dynamic sizing",
        applying="the maps are made anew: connections drop",
    )


@rule
def map_ratio(setup: Setup) -> Advice | None:
    """A ratio outside of (0, 1]."""
    if setup.ratio is not None and 0 <= setup.ratio <= 1:
        return None
    return _conflict(
        "map-ratio",
        "the map size ratio is no number between 0 and 1",
        _shown(setup, "bpf.mapDynamicSizeRatio"),
        (("bpf.mapDynamicSizeRatio", 0.0025),),
        said="specified dynamic map size ratio must be > 0.0 and ≤ 1.0",
        grep="dynamic sizing",
    )


@rule
def slices_egress_gateway(setup: Setup) -> Advice | None:
    """CiliumEndpointSlices and the egress gateway."""
    if not setup.values.on("ciliumEndpointSlice.enabled") or not setup.values.on("egressGateway.enabled"):
        return None
    return _conflict(
        "slices-egress-gateway",
        "CiliumEndpointSlices do not go with the egress gateway",
        _shown(setup, "ciliumEndpointSlice.enabled", "egressGateway.enabled"),
        (("ciliumEndpointSlice.enabled", False),),
        source=f"{DOCS}, CiliumEndpointSlice",
        effect="egress policies see the pods",
        applying="agents first, then the operator",
    )


@rule
def slices_without_endpoints(setup: Setup) -> Advice | None:
    """Slices are made of CiliumEndpoints."""
    if not setup.values.on("ciliumEndpointSlice.enabled") or not setup.values.on("disableEndpointCRD"):
        return None
    return _conflict(
        "slices-without-endpoints",
        "CiliumEndpointSlices are made of CiliumEndpoints, which are turned off",
        _shown(setup, "ciliumEndpointSlice.enabled", "disableEndpointCRD"),
        (("disableEndpointCRD", False),),
        source=f"{DOCS}, CiliumEndpointSlice",
    )


@rule
def kube_proxy_needed(setup: Setup) -> Advice | None:
    """What needs kube-proxy replacement: BIG TCP, the bandwidth manager, XDP."""
    needing = [
        name
        for name, on in (
            ("BIG TCP", setup.big_tcp),
            ("bandwidthManager.enabled=true", setup.values.on("bandwidthManager.enabled")),
            ("loadBalancer.acceleration", setup.xdp),
        )
        if on
    ]
    if setup.kube_proxy_replacement or not needing:
        return None
    return _conflict(
        "kube-proxy-needed",
        f"without kube-proxy replacement there is no {', '.join(needing)}",
        (*_shown(setup, "kubeProxyReplacement"), *needing),
        (("kubeProxyReplacement", True),),
        grep="KubeProxyReplacement",
        source=f"{DOCS}, Tuning Guide",
    )


@rule
def masquerade_host_routing(setup: Setup) -> Advice | None:
    """Kube-proxy replacement with masquerading by iptables: host routing falls back."""
    if not setup.kube_proxy_replacement or setup.masquerade_in_bpf or setup.values.on("bpf.hostLegacyRouting"):
        return None
    return _conflict(
        "masquerade-host-routing",
        "masquerading by iptables keeps host routing on the legacy path",
        _shown(setup, "kubeProxyReplacement", "bpf.masquerade", "enableIPv4Masquerade"),
        (("bpf.masquerade", True),),
        said="BPF host routing requires enable-bpf-masquerade. Falling back to legacy host routing",
        grep="Routing:",
        severity="warning",
    )


@rule
def native_routing_cidr(setup: Setup) -> Advice | None:
    """A native-routing CIDR that does not hold the pods: traffic between them is masqueraded."""
    if setup.tunnel or not setup.values.on("ipv4.enabled") or not setup.values.on("enableIPv4Masquerade"):
        return None
    stated = str(setup.values.get("ipv4NativeRoutingCIDR") or "")
    networks, whence = setup.pod_networks()
    pods = [network for network in networks if ":" not in network]
    if not stated:
        return _conflict(
            "native-routing-cidr",
            "native routing with masquerading needs a native-routing CIDR",
            (*_shown(setup, "routingMode", "ipam.mode"), "ipv4NativeRoutingCIDR is not set"),
            tuple(("ipv4NativeRoutingCIDR", network) for network in pods[:1]),
            said="native routing cidr must be configured with option --ipv4-native-routing-cidr",
            grep="Masquerading",
            effect="the agents start",
        )
    outside = [network for network in pods if covers(stated, network) is False]
    malformed = covers(stated, stated) is None
    if not outside and not malformed:
        return None
    title = (
        f"ipv4NativeRoutingCIDR={stated} is no network"
        if malformed
        else f"ipv4NativeRoutingCIDR={stated} does not cover the pod CIDR {', '.join(outside)}"
    )
    nodes = "harmless on the one node that there is" if setup.nodes == 1 else "harmless on one node"
    return _conflict(
        "native-routing-cidr",
        title,
        (
            *_shown(setup, "routingMode", "ipam.mode"),
            f"pod CIDR {', '.join(pods)} ({whence})",
            f"packets between pods of different nodes leave with the node's address, which policies and logs see; {nodes}",
        ),
        tuple(("ipv4NativeRoutingCIDR", network) for network in pods[:1]),
        grep="Masquerading",
        source=f"{DOCS}, Masquerading",
        severity="error" if malformed or setup.nodes != 1 else "warning",
        effect="no address translation between pods",
        applying="the agents restart; connections between nodes that were masqueraded end",
    )


@rule
def endpoint_slices(setup: Setup) -> Advice | None:
    """Batched endpoints for large clusters."""
    if setup.values.on("ciliumEndpointSlice.enabled") or setup.nodes is None or setup.nodes < 100:
        return None
    if setup.values.on("egressGateway.enabled") or setup.values.on("disableEndpointCRD"):
        return None
    changes = 100
    return Advice(
        "endpoint-slices",
        "improvement",
        f"each of {setup.nodes} agents watches every CiliumEndpoint",
        evidence=("ciliumEndpointSlice.enabled=false", f"{setup.nodes} nodes"),
        effect=f"{changes} endpoint changes in one namespace: {setup.nodes} watch events at best instead of"
        f" {changes * setup.nodes}; API server latency -87 % at 1,000 nodes",
        effect_source="events: changes x nodes, slices of up to 100; latency: KubeCon talk on 1,000 nodes and 20,000 pods",
        requires=("no egress gateway", "CiliumEndpoints not turned off"),
        conflicts=("egressGateway.enabled=true", "disableEndpointCRD=true"),
        applying="the operator first, then the agents; changes arrive at least 500 ms later",
        values=(("ciliumEndpointSlice.enabled", True),),
        apply=(
            "kubectl -n kube-system rollout restart deployment/cilium-operator",
            "kubectl get ciliumendpointslices   # wait until they are there",
            RESTART_AGENT,
        ),
        check=("kubectl get ciliumendpointslices | wc -l",),
        undo=(RESTART_AGENT, "kubectl -n kube-system rollout restart deployment/cilium-operator"),
        source=f"{DOCS}, CiliumEndpointSlice",
    )


@rule
def api_server_urls(setup: Setup) -> Advice | None:
    """More than one API server, which agents can change between."""
    host = setup.values.get("k8sServiceHost")
    if not setup.kube_proxy_replacement or not host or host == "auto" or setup.values.get("k8s.apiServerURLs"):
        return None
    return Advice(
        "api-server-urls",
        "note",
        "agents know one API server address only",
        evidence=(f"k8sServiceHost={host}",),
        effect="agents start while one control plane node is down",
        effect_source=f"{DOCS}, since 1.18",
        requires=("more than one API server without a load balancer before them",),
        conflicts=("k8sServiceHost",),
        applying="the agents restart",
        apply=("helm upgrade … --set k8s.apiServerURLs='https://CP1:6443 https://CP2:6443'", RESTART_AGENT),
        check=("kubectl -n kube-system logs ds/cilium | grep 'Rotated api server'",),
        undo=(RESTART_AGENT,),
        source=f"{DOCS}, Helm values",
        ready=False,
    )


@rule
def client_backoff(setup: Setup) -> Advice | None:
    """Agents that ask a struggling API server without a pause."""
    environment = setup.values.get("extraEnv") or []
    named = [
        str(entry.get("name"))
        for entry in environment
        if isinstance(entry, dict) and str(entry.get("name", "")).startswith("KUBE_CLIENT_BACKOFF_")
    ]
    enabled = setup.values.on("k8sClientExponentialBackoff.enabled")
    if enabled and named:
        return _conflict(
            "client-backoff",
            "the API client's backoff is set twice",
            (*_shown(setup, "k8sClientExponentialBackoff.enabled"), *(f"extraEnv has {name}" for name in named)),
            (("k8sClientExponentialBackoff.enabled", False),),
            said="k8sClientExponentialBackoff cannot be enabled when extraEnv contains KUBE_CLIENT_BACKOFF_BASE or"
            " KUBE_CLIENT_BACKOFF_DURATION",
            source="Cilium 1.18, the chart's checks",
            effect="the chart installs",
        )
    if enabled or named:
        return None
    return _conflict(
        "client-backoff",
        "agents do not back off when the API server answers 429 or 5xx",
        _shown(setup, "k8sClientExponentialBackoff.enabled"),
        (("k8sClientExponentialBackoff.enabled", True),),
        source="Cilium 1.18 chart: base 1 s, at most 120 s",
        severity="warning",
        effect="1, 2, 4, … 120 s between requests while the server struggles",
    )


@rule
def debug_log(setup: Setup) -> Advice | None:
    """Debug logging costs CPU in the agent."""
    if not setup.values.on("debug.enabled"):
        return None
    return _conflict(
        "debug-log",
        "debug logging is on",
        _shown(setup, "debug.enabled"),
        (("debug.enabled", False),),
        source=f"{DOCS}, Helm values",
        severity="warning",
        effect="less CPU and disk for logs; no figure is published",
    )


@rule
def hubble_metric_labels(setup: Setup) -> Advice | None:
    """Workload labels on HTTP metrics multiply the series."""
    enabled = setup.values.get("hubble.metrics.enabled") or []
    wide = [str(one) for one in enabled if "labelsContext=" in str(one)] if isinstance(enabled, list) else []
    if not wide or not setup.values.on("hubble.enabled"):
        return None
    labels = max(one.partition("labelsContext=")[2].count(",") + 1 for one in wide)
    return Advice(
        "hubble-metric-labels",
        "note",
        f"a Hubble metric has {labels} context labels",
        evidence=tuple(f"hubble.metrics.enabled: {one}" for one in wide),
        effect="series grow with sources x destinations",
        effect_source=f"{DOCS}, Hubble metrics; {labels} labels multiply",
        applying="the agents restart",
        check=("count by (__name__) ({__name__=~'hubble_.*'})   # in Prometheus",),
        source=f"{DOCS}, Hubble metrics",
        ready=False,
    )
