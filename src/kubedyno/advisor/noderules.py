"""Rules on nodes and kubelets: pods against addresses against size, node CIDRs, reservations, client rates, versions."""

import ipaddress

from kubedyno.advisor import walls
from kubedyno.advisor.clusterstate import ClusterState
from kubedyno.advisor.facts import ClusterFacts
from kubedyno.advisor.features import version_of
from kubedyno.advisor.ruleset import CLUSTER, shown
from kubedyno.advisor.tuning import Advice
from kubedyno.kube import quantity

KUBELET = "Kubernetes reference, KubeletConfiguration v1beta1"
RESERVE = "Kubernetes documentation, Reserve Compute Resources for System Daemons"
IPAM = "Kubernetes reference, kube-controller-manager"
SKEW = "Kubernetes documentation, Version Skew Policy"
THRESHOLDS = "Kubernetes scalability thresholds"
# Pods a node that the thresholds speak of.
PODS_PER_NODE = 110
# Pods a CPU at which the kubelet's and the runtime's own work shows: clusterloader2 loads 30 pods a node of 1-2 CPUs.
PODS_PER_CPU = 30
CONFIGZ = "kubectl get --raw /api/v1/nodes/NODE/proxy/configz"
KUBELET_APPLY = ("change /var/lib/kubelet/config.yaml on each node", "systemctl restart kubelet")
KUBELET_UNDO = ("put the old value back into /var/lib/kubelet/config.yaml", "systemctl restart kubelet")


@CLUSTER
def max_pods_addresses(state: ClusterState) -> Advice | None:
    """MaxPods beyond the addresses of a node's PodCIDR: pods are bound, and get no sandbox."""
    found, wanted = [], 0
    for fill in walls.node_fills(ClusterFacts(nodes=state.nodes, pods=state.pods)):
        if fill.addresses is None:
            continue
        host = fill.pods - fill.wanting
        if fill.max_pods > fill.addresses + host:
            found.append(
                f"{fill.name}: maxPods {fill.max_pods}, {fill.cidr} has {fill.addresses} pod addresses,"
                f" {host} pods are on the host network"
            )
            wanted = max(wanted, fill.max_pods)
    if not found:
        return None
    mask = walls.mask_for(wanted)
    return Advice(
        "max-pods-addresses",
        "error",
        f"maxPods exceeds the pod addresses of {len(found)} nodes",
        evidence=shown(found),
        effect="pods beyond it wait in ContainerCreating: FailedCreatePodSandBox, no IP addresses available in range",
        effect_source="host-local and Cilium IPAM hand out 2^(32-mask) - 3 addresses",
        requires=("new nodes: a node's PodCIDR is immutable",),
        conflicts=("a cluster CIDR that has too few networks of that size",),
        applying="new nodes, or a new cluster; lowering maxPods: restart of the kubelet",
        apply=(f"kube-controller-manager --node-cidr-mask-size={mask}", "or lower maxPods to what the PodCIDR holds"),
        check=("kubectl get nodes -o custom-columns=N:.metadata.name,C:.spec.podCIDR,P:.status.allocatable.pods",),
        undo=("kube-controller-manager with the old --node-cidr-mask-size; nodes keep what they have",),
        source=KUBELET,
    )


@CLUSTER
def max_pods_size(state: ClusterState) -> Advice | None:
    """MaxPods beyond what is tested, or out of proportion to a node's CPUs."""
    found = []
    for node in state.nodes:
        status = node.get("status") or {}
        pods = quantity.value_of(str((status.get("allocatable") or {}).get("pods", "0")))
        cpus = quantity.value_of(str((status.get("capacity") or {}).get("cpu", "0")))
        if pods > PODS_PER_NODE or (cpus and pods > PODS_PER_CPU * cpus):
            found.append(f"{node['metadata']['name']}: maxPods {pods}, {cpus} CPUs")
    if not found:
        return None
    return Advice(
        "max-pods-size",
        "note",
        f"maxPods of {len(found)} nodes is beyond {PODS_PER_NODE} pods, or {PODS_PER_CPU} a CPU",
        evidence=shown(found),
        effect="pod starts, probes and the kubelet's loops share the node's CPUs: start latency grows with density",
        effect_source=f"{THRESHOLDS}: no more than {PODS_PER_NODE} pods a node; {PODS_PER_CPU} a CPU is this tool's mark",
        applying="restart of the kubelet; running pods stay",
        apply=(f"maxPods: {PODS_PER_NODE} in /var/lib/kubelet/config.yaml", "systemctl restart kubelet"),
        check=(CONFIGZ,),
        undo=KUBELET_UNDO,
        source=KUBELET,
        kubelet=(("maxPods", str(PODS_PER_NODE)),),
    )


@CLUSTER
def node_cidrs(state: ClusterState) -> Advice | None:
    """A cluster CIDR that has hardly a PodCIDR left for new nodes."""
    network = next((cidr for cidr in state.pod_networks() if ":" not in cidr), None)
    masks = [str((node.get("spec") or {}).get("podCIDR", "")).partition("/")[2] for node in state.nodes]
    known = [int(mask) for mask in masks if mask.isdigit() and int(mask) <= 32]
    if network is None or not known:
        return None
    try:
        prefix = ipaddress.ip_network(network, strict=False).prefixlen
    except ValueError:
        return None
    room = 2 ** (max(known) - prefix) if max(known) >= prefix else 0
    if len(state.nodes) < 0.8 * room:
        return None
    return Advice(
        "node-cidrs",
        "warning",
        f"{len(state.nodes)} of {room} PodCIDRs are taken",
        evidence=(f"cluster CIDR {network}", f"each node has a /{max(known)}"),
        effect="the next nodes stay NotReady: CIDRNotAvailable, there are no remaining CIDRs left to allocate",
        effect_source=IPAM,
        requires=("a CNI that takes several networks, or a new cluster",),
        applying="new nodes only",
        apply=("kube-controller-manager --cluster-cidr and --node-cidr-mask-size of a new cluster",),
        check=("kubectl get nodes -o jsonpath='{..podCIDR}'",),
        undo=("the old flags; nodes keep what they have",),
        source=IPAM,
    )


@CLUSTER
def kubelet_reservations(state: ClusterState) -> Advice | None:
    """Nodes that keep no memory for kubelet, runtime and kernel."""
    found = []
    for node in state.nodes:
        status = node.get("status") or {}
        capacity = (status.get("capacity") or {}).get("memory")
        if capacity is not None and capacity == (status.get("allocatable") or {}).get("memory"):
            found.append(f"{node['metadata']['name']}: memory {capacity} is all allocatable")
    if not found:
        return None
    return Advice(
        "kubelet-reservations",
        "warning",
        f"{len(found)} nodes reserve no memory for the system",
        evidence=shown(found),
        effect="a full node runs out of memory in kubelet or runtime first, and becomes NotReady under load",
        effect_source=RESERVE,
        conflicts=("pods that already fill the node: they stay, and new ones go elsewhere",),
        applying="restart of the kubelet; allocatable becomes less",
        apply=('kubeReserved: {cpu: 100m, memory: 512Mi}, evictionHard: {memory.available: "100Mi"}', *KUBELET_APPLY),
        check=("kubectl describe node NODE | grep -A7 Allocatable",),
        undo=KUBELET_UNDO,
        source=RESERVE,
        kubelet=(("kubeReserved.cpu", "100m"), ("kubeReserved.memory", "512Mi")),
    )


@CLUSTER
def kubelet_api_rate(state: ClusterState) -> Advice | None:
    """Kubelets that ask more slowly than today's default."""
    found = []
    for name, config in sorted(state.kubelets.items()):
        # 0 and absent are the default, 50 and 100 since 1.27.
        qps, burst = config.get("kubeAPIQPS") or 50, config.get("kubeAPIBurst") or 100
        if 0 < float(qps) < 50 or float(burst) < 100:
            found.append(f"{name}: kubeAPIQPS {qps}, kubeAPIBurst {burst}")
    if not found:
        return None
    return Advice(
        "kubelet-api-rate",
        "improvement",
        "kubelets' client rate is below the default of 50 a second",
        evidence=shown(found),
        effect="with many pods at once, status updates wait in the kubelet: Ready is seen late",
        effect_source=f"{KUBELET}: raised from 5/10 to 50/100 in 1.27",
        applying="restart of the kubelet; running pods stay",
        apply=("kubeAPIQPS: 50, kubeAPIBurst: 100", *KUBELET_APPLY),
        check=(CONFIGZ,),
        undo=KUBELET_UNDO,
        source=KUBELET,
        kubelet=(("kubeAPIQPS", "50"), ("kubeAPIBurst", "100")),
    )


@CLUSTER
def kubelet_image_pulls(state: ClusterState) -> Advice | None:
    """One image pull at a time."""
    found = [
        f"{name}: serializeImagePulls true"
        for name, config in sorted(state.kubelets.items())
        if config.get("serializeImagePulls") is True
    ]
    if not found:
        return None
    return Advice(
        "kubelet-image-pulls",
        "improvement",
        "kubelets pull one image at a time",
        evidence=shown(found),
        effect="a large image holds up all others of the node; with limits, pulls run beside each other",
        effect_source=KUBELET,
        requires=("maxParallelImagePulls, so that disk and registry are not overrun",),
        applying="restart of the kubelet; running pods stay",
        apply=("serializeImagePulls: false, maxParallelImagePulls: 5", *KUBELET_APPLY),
        check=(CONFIGZ,),
        undo=KUBELET_UNDO,
        source=KUBELET,
        kubelet=(("serializeImagePulls", "false"), ("maxParallelImagePulls", "5")),
    )


@CLUSTER
def version_skew(state: ClusterState) -> Advice | None:
    """Kubelets newer than the API server, or more than three minors older."""
    if state.version == (0, 0):
        return None
    found = []
    for node in state.nodes:
        said = str(((node.get("status") or {}).get("nodeInfo") or {}).get("kubeletVersion") or "")
        if not said:
            continue
        version = version_of(said)
        if version > state.version or state.version[1] - version[1] > 3:
            found.append(f"{node['metadata']['name']}: kubelet {said}")
    if not found:
        return None
    server = ".".join(map(str, state.version))
    return Advice(
        "version-skew",
        "error",
        f"{len(found)} kubelets do not go with an API server of {server}",
        evidence=shown(found),
        effect="unsupported: fields are dropped or not understood",
        effect_source=SKEW,
        applying="drain each node, upgrade its kubelet",
        apply=("kubectl drain NODE --ignore-daemonsets", "install the kubelet of the API server's version"),
        check=("kubectl get nodes",),
        undo=("install the old kubelet",),
        source=SKEW,
    )


@CLUSTER
def proxy_beside_cilium(state: ClusterState) -> Advice | None:
    """Cilium replaces kube-proxy, which runs all the same."""
    config = state.config_maps.get("cilium-config", {})
    proxies = [one for one in state.daemonsets if one["metadata"]["name"] == "kube-proxy"]
    if config.get("kube-proxy-replacement") not in {"true", "strict"} or not proxies:
        return None
    return Advice(
        "proxy-beside-cilium",
        "warning",
        "kube-proxy runs beside its replacement",
        evidence=("kube-proxy-replacement=true in cilium-config", "DaemonSet kube-system/kube-proxy"),
        effect="every Service is programmed twice; the rules in iptables cost CPU at each change of an endpoint",
        effect_source="Cilium 1.18 documentation, Kubernetes Without kube-proxy",
        requires=(
            "k8sServiceHost or k8s.apiServerURLs: without kube-proxy agents must find the API server themselves",
        ),
        applying="connections through kube-proxy's rules drop",
        apply=(
            "kubectl -n kube-system get ds,cm kube-proxy -o yaml > kube-proxy.yaml",
            "kubectl -n kube-system delete ds,cm kube-proxy",
            "iptables-save | grep -v KUBE | iptables-restore   # on each node",
        ),
        check=("kubectl -n kube-system exec ds/cilium -- cilium-dbg status | grep KubeProxyReplacement",),
        undo=("kubectl apply -f kube-proxy.yaml",),
        source="Cilium 1.18 documentation, Kubernetes Without kube-proxy",
    )
