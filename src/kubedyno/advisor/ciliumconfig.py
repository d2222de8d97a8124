"""A running Cilium as Helm values: its ConfigMap `cilium-config`, its DaemonSet's image and environment.

The agent's flags are what the chart made of values; the other way round each flag here has one value. Flags that the
chart makes of several values stay out. Source: the chart of Cilium 1.18, templates/cilium-configmap.yaml.
"""

import re
from typing import Any

from kubedyno.advisor.ciliumvalues import checked, nested
from kubedyno.advisor.clusterstate import ClusterState
from kubedyno.advisor.hostfacts import Host
from kubedyno.advisor.tuning import Setup
from kubedyno.kube import quantity

Json = dict[str, Any]
_FLAGS = {
    "bpf-distributed-lru": "bpf.distributedLRU.enabled",
    "bpf-events-default-burst-limit": "bpf.events.default.burstLimit",
    "bpf-events-default-rate-limit": "bpf.events.default.rateLimit",
    "bpf-lb-acceleration": "loadBalancer.acceleration",
    "bpf-lb-map-max": "bpf.lbMapMax",
    "bpf-map-dynamic-size-ratio": "bpf.mapDynamicSizeRatio",
    "datapath-mode": "bpf.datapathMode",
    "debug": "debug.enabled",
    "disable-endpoint-crd": "disableEndpointCRD",
    "enable-bandwidth-manager": "bandwidthManager.enabled",
    "enable-bbr": "bandwidthManager.bbr",
    "enable-bpf-clock-probe": "bpfClockProbe",
    "enable-bpf-masquerade": "bpf.masquerade",
    "enable-cilium-endpoint-slice": "ciliumEndpointSlice.enabled",
    "enable-egress-gateway": "egressGateway.enabled",
    "enable-host-legacy-routing": "bpf.hostLegacyRouting",
    "enable-hubble": "hubble.enabled",
    "enable-ipv4": "ipv4.enabled",
    "enable-ipv4-big-tcp": "enableIPv4BIGTCP",
    "enable-ipv4-egress-gateway": "egressGateway.enabled",
    "enable-ipv4-masquerade": "enableIPv4Masquerade",
    "enable-ipv6": "ipv6.enabled",
    "enable-ipv6-big-tcp": "enableIPv6BIGTCP",
    "hubble-event-queue-size": "hubble.eventQueueSize",
    "install-no-conntrack-iptables-rules": "installNoConntrackIptablesRules",
    "ipam": "ipam.mode",
    "ipv4-native-routing-cidr": "ipv4NativeRoutingCIDR",
    "k8s-api-server-urls": "k8s.apiServerURLs",
    "k8s-client-burst": "k8sClientRateLimit.burst",
    "k8s-client-qps": "k8sClientRateLimit.qps",
    "kube-proxy-replacement": "kubeProxyReplacement",
    "monitor-aggregation-interval": "bpf.monitorInterval",
    "mtu": "MTU",
    "routing-mode": "routingMode",
}
_SERVICE_HOST = "KUBERNETES_SERVICE_HOST"
# Switches that the chart leaves out of the ConfigMap when they are off.
_OFF_WHEN_ABSENT = ("debug.enabled", "hubble.enabled", "k8sClientExponentialBackoff.enabled")


def setup_of(state: ClusterState) -> Setup | None:
    """Return what the rules of Cilium judge by, None without a `cilium-config` that could be read."""
    config = state.config_maps.get("cilium-config")
    host = host_of(state)
    if config is None:
        return None
    agent = next((one for one in state.daemonsets if one["metadata"]["name"] == "cilium"), None)
    paths: dict[str, Any] = dict.fromkeys(_OFF_WHEN_ABSENT, False)
    paths |= {path: _typed(config[flag]) for flag, path in _FLAGS.items() if flag in config}
    if "cluster-pool-ipv4-cidr" in config:
        paths["ipam.operator.clusterPoolIPv4PodCIDRList"] = config["cluster-pool-ipv4-cidr"].split()
    if "hubble-metrics" in config:
        paths["hubble.metrics.enabled"] = config["hubble-metrics"].split()
    for flag, kind in (("enable-ipsec", "ipsec"), ("enable-wireguard", "wireguard")):
        if config.get(flag) == "true":
            paths |= {"encryption.enabled": True, "encryption.type": kind}
    version = ""
    if agent is not None:
        template = agent["spec"]["template"]["spec"]
        affinity = (template.get("affinity") or {}).get("podAntiAffinity")
        paths["scheduling.mode"] = "anti-affinity" if affinity else "kube-scheduler"
        container = template["containers"][0]
        # The chart writes the host that it was given there, and nothing without one.
        hosts = [one.get("value") for one in container.get("env") or () if one.get("name") == _SERVICE_HOST]
        if hosts and hosts[0]:
            paths["k8sServiceHost"] = hosts[0]
        paths["k8sClientExponentialBackoff.enabled"] = any(
            entry.get("name") == "KUBE_CLIENT_BACKOFF_BASE" for entry in container.get("env") or ()
        )
        found = re.search(r":v(\d+\.\d+\.\d+[\w.-]*)", container.get("image", ""))
        version = found[1] if found else ""
    return Setup(
        checked(nested(paths), "cilium-config", version),
        host,
        state.pod_networks(),
        len(state.nodes) or None,
        len(state.pods) or None,
        any(one["metadata"]["name"] == "kube-proxy" for one in state.daemonsets) if state.daemonsets else None,
    )


def host_of(state: ClusterState) -> Host:
    """Return what the Node objects tell of the nodes: the oldest kernel, the least memory, the most CPUs."""
    infos = [(node.get("status") or {}).get("nodeInfo") or {} for node in state.nodes]
    kernels = [str(info["kernelVersion"]) for info in infos if info.get("kernelVersion")]
    capacities = [(node.get("status") or {}).get("capacity") or {} for node in state.nodes]
    memories = [quantity.value_of(str(one["memory"])) for one in capacities if "memory" in one]
    cpus = [quantity.value_of(str(one["cpu"])) for one in capacities if "cpu" in one]
    return Host(
        kernel=min(kernels, key=lambda text: [int(part) for part in re.findall(r"\d+", text)[:3]], default=None),
        memory_b=min(memories, default=None),
        cpus=max(cpus, default=None),
    )


def _typed(text: str) -> Any:
    lowered = text.strip().lower()
    if lowered in {"true", "false"}:
        return lowered == "true"
    return int(lowered) if lowered.isdigit() else text.strip()
