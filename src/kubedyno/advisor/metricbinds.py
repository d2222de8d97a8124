"""Which of a control plane's components refuse a Prometheus, and what makes them answer.

kubeadm binds controller manager, scheduler and etcd to 127.0.0.1, and kube-proxy is by default: a Prometheus that runs in a
pod asks the node's address, and its target is down with "connection refused". Pods and kube-proxy's file come in; lines
go out.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from kubedyno.advisor.facts import Json

# Component → its port, and the flag of its command that binds it.
_FLAGS = {
    "kube-controller-manager": (10257, "--bind-address="),
    "kube-scheduler": (10259, "--bind-address="),
    "etcd": (2381, "--listen-metrics-urls="),
}
_PROXY_PORT = 10249
_LOOPBACK = re.compile(r"(?:https?://)?(?:127\.\d+\.\d+\.\d+|\[?::1\]?|localhost)(?::\d+)?/?\Z")
_PROMETHEUS = ("app.kubernetes.io/name", "app", "k8s-app")


@dataclass(frozen=True, slots=True)
class Bound:
    """A component that listens on loopback only.

    Attributes:
        target: address:port that a Prometheus asks in vain.
    """

    component: str
    pod: str
    target: str
    setting: str


def has_prometheus(pods: Iterable[Json]) -> bool:
    """Say whether a Prometheus runs in the cluster: somebody cares for its targets."""
    return any(
        (pod["metadata"].get("labels") or {}).get(label) == "prometheus" for pod in pods for label in _PROMETHEUS
    )


def bound_to_loopback(pods: Iterable[Json], proxy_bind: str | None) -> list[Bound]:
    """Return the components that refuse who asks their node's address.

    Args:
        pods: Of the cluster.
        proxy_bind: metricsBindAddress of kube-proxy's file; None when it could not be read.
    """
    found = []
    for pod in pods:
        meta, spec = pod["metadata"], pod.get("spec") or {}
        labels, status = meta.get("labels") or {}, pod.get("status") or {}
        address = status.get("podIP") or status.get("hostIP")
        if meta.get("namespace") != "kube-system" or status.get("phase") != "Running" or not address:
            continue
        component = labels.get("component", "")
        if component in _FLAGS:
            port, flag = _FLAGS[component]
            values = _values(spec, flag)
            if values and all(_LOOPBACK.match(value) for value in values):
                found.append(Bound(component, meta["name"], f"{address}:{port}", f"{flag}{','.join(values)}"))
        elif labels.get("k8s-app") == "kube-proxy" and proxy_bind is not None and _is_loopback(proxy_bind):
            setting = f"metricsBindAddress: {proxy_bind}" if proxy_bind else 'metricsBindAddress: ""'
            found.append(Bound("kube-proxy", meta["name"], f"{address}:{_PROXY_PORT}", setting))
    return found


def _is_loopback(proxy_bind: str) -> bool:
    return not proxy_bind or _LOOPBACK.match(proxy_bind) is not None


def lines(bound: list[Bound]) -> list[str]:
    """Return the lesson: what is seen, why, and the patches that change it; nothing when nothing is bound so."""
    if not bound:
        return []
    components = {entry.component for entry in bound}
    first = bound[0]
    shown = [
        f"Prometheus targets are down: {', '.join(sorted(components))} listen on 127.0.0.1 only",
        f"  seen: dial tcp {first.target}: connect: connection refused ({first.pod} has {first.setting})",
        *([f"  and {len(bound) - 1} more targets of that kind"] if len(bound) > 1 else []),
        "  do: in the kind configuration, before the cluster is made:",
    ]
    patch = _patch(components)
    shown += [f"      {line}" for line in patch]
    if "kube-proxy" in components:
        shown.append(
            "  do: on a running cluster, kube-proxy: kubectl -n kube-system edit configmap kube-proxy "
            "(metricsBindAddress: 0.0.0.0:10249), then kubectl -n kube-system rollout restart daemonset kube-proxy"
        )
    if components != {"kube-proxy"}:
        shown.append(
            "  do: on a running real cluster, the others: the same flags in /etc/kubernetes/manifests of each "
            "control-plane node"
        )
    return shown


def _patch(components: set[str]) -> list[str]:
    patch = ["kubeadmConfigPatches:"]
    if components & _FLAGS.keys():
        patch += ["- |", "  kind: ClusterConfiguration"]
    if "kube-controller-manager" in components:
        patch += ["  controllerManager:", "    extraArgs:", "      bind-address: 0.0.0.0"]
    if "etcd" in components:
        patch += ["  etcd:", "    local:", "      extraArgs:", "        listen-metrics-urls: http://0.0.0.0:2381"]
    if "kube-scheduler" in components:
        patch += ["  scheduler:", "    extraArgs:", "      bind-address: 0.0.0.0"]
    if "kube-proxy" in components:
        patch += ["- |", "  kind: KubeProxyConfiguration", "  metricsBindAddress: 0.0.0.0"]
    return patch


def _values(spec: Json, flag: str) -> list[str]:
    """Return what a flag of a pod's containers is set to."""
    found: list[str] = []
    for container in spec.get("containers") or ():
        for word in (*(container.get("command") or ()), *(container.get("args") or ())):
            if str(word).startswith(flag):
                found += str(word)[len(flag) :].split(",")
    return found


def proxy_bind_of(config_map: Json) -> str | None:
    """Return metricsBindAddress of kube-proxy's ConfigMap, None when there is no such file in it."""
    text = (config_map.get("data") or {}).get("config.conf")
    if not isinstance(text, str):
        return None
    found = re.search(r"^metricsBindAddress:[ \t]*(\S*)", text, re.MULTILINE)
    return found[1].strip("\"'") if found else ""
