"""Rules on how Cilium's agents and operator ask the API server: where it is, and how much at a time.

Sources: flags of Cilium 1.18's agent and operator, its chart's values, and its CiliumEndpointSlice controller.
"""

from typing import Any

from kubedyno.advisor.tuning import Advice, Setup, rule

CHART = "Cilium 1.18 chart, k8sClientRateLimit"
PROXY_FREE = "Cilium 1.18 documentation, Kubernetes Without kube-proxy"
_UPGRADE = "helm upgrade cilium cilium/cilium -n kube-system --reuse-values"
RESTART_AGENT = "kubectl -n kube-system rollout restart daemonset/cilium"
RESTART_OPERATOR = "kubectl -n kube-system rollout restart deployment/cilium-operator"
CONFIG = "kubectl -n kube-system get cm cilium-config -o yaml"
# Requests a second of an agent and, by the chart, of the operator.
AGENT_QPS, OPERATOR_QPS, OPERATOR_BURST = 10.0, 100.0, 200.0
# What all agents together may ask for, a second, before it is worth a word: our choice; an API server of two to four
# cores answers about as much.
FLEET_QPS = 5_000.0
# From here on an operator that is slower than the chart's default holds endpoints and identities up: our choice, the size
# from which the chart itself gave CiliumEndpointSlices a higher rate.
LARGE_NODES = 100
# The CiliumEndpointSlice controller takes no more, whatever its rateLimits say.
SLICES_LIMIT, SLICES_BURST = 50.0, 100.0


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


@rule
def client_rate_limits(setup: Setup) -> Advice | None:
    """Rates of Cilium's own API clients: agents that together ask too much, an operator that is held back."""
    values = setup.values
    qps = _number(values.get("k8sClientRateLimit.qps")) or AGENT_QPS
    operator = {
        "k8sClientRateLimit.operator.qps": OPERATOR_QPS,
        "k8sClientRateLimit.operator.burst": OPERATOR_BURST,
    }
    evidence: list[str] = []
    change: list[tuple[str, Any]] = []
    if setup.nodes is not None and qps > AGENT_QPS and qps * setup.nodes > FLEET_QPS:
        evidence.append(
            f"k8sClientRateLimit.qps={qps:g} on {setup.nodes} nodes: {qps * setup.nodes:g} requests a second"
        )
        change += [("k8sClientRateLimit.qps", int(AGENT_QPS)), ("k8sClientRateLimit.burst", int(2 * AGENT_QPS))]
    if setup.nodes is not None and setup.nodes >= LARGE_NODES:
        for path, default in operator.items():
            said = _number(values.get(path))
            if said is not None and 0 < said < default:
                evidence.append(f"{path}={said:g} on {setup.nodes} nodes; the chart has {default:g}")
                change.append((path, int(default)))
    limits = values.get("ciliumEndpointSlice.rateLimits")
    for entry in limits if isinstance(limits, list) and values.on("ciliumEndpointSlice.enabled") else ():
        over = isinstance(entry, dict) and (
            (_number(entry.get("limit")) or 0) > SLICES_LIMIT or (_number(entry.get("burst")) or 0) > SLICES_BURST
        )
        if over:
            evidence.append(
                f"ciliumEndpointSlice.rateLimits: {entry} is capped at {SLICES_LIMIT:g}, burst {SLICES_BURST:g}"
            )
    if not evidence:
        return None
    return Advice(
        "client-rate-limits",
        "warning" if change else "note",
        "client rates of Cilium are not what its size asks for",
        evidence=tuple(evidence),
        effect="agents that all start at once share the API server with everyone else; an operator at its rate lets"
        " endpoints and identities appear in time",
        effect_source=f"{CHART}: agents 10 a second, burst 20; operator 100, burst 200; the bound of"
        f" {FLEET_QPS:g} requests a second is this tool's choice",
        requires=("k8sClientExponentialBackoff.enabled=true, so that a struggling server is asked less",),
        applying="the agents restart, or the operator",
        values=tuple(change),
        apply=(RESTART_AGENT, RESTART_OPERATOR),
        check=(f"{CONFIG} | grep -E 'k8s-client-(qps|burst)'",),
        undo=(RESTART_AGENT, RESTART_OPERATOR),
        source=CHART,
        ready=values.on("k8sClientExponentialBackoff.enabled"),
    )


@rule
def kube_proxy_prerequisites(setup: Setup) -> Advice | None:
    """Kube-proxy replacement where neither kube-proxy nor an address leads agents to the API server."""
    values = setup.values
    told = values.get("k8sServiceHost") or values.get("k8s.apiServerURLs") or values.get("k8sServiceHostRef.name")
    if not setup.kube_proxy_replacement or setup.kube_proxy is not False or told or values.finds_server:
        return None
    return Advice(
        "kube-proxy-prerequisites",
        "error",
        "agents cannot find the API server: there is no kube-proxy, and no address is given",
        evidence=(
            f"kubeProxyReplacement={str(values.get('kubeProxyReplacement')).lower()}",
            "no kube-proxy is there",
            "k8sServiceHost and k8s.apiServerURLs are not set",
        ),
        effect="agents start: the address of Service kubernetes leads nowhere until an agent has programmed it",
        effect_source=PROXY_FREE,
        requires=("an address of the API server that nodes reach without Services", "Linux 5.10 or newer"),
        conflicts=("agents on addresses that change: use a load balancer's, or k8s.apiServerURLs (1.18)",),
        applying="the agents restart",
        apply=(
            f"{_UPGRADE} --set k8sServiceHost=ADDRESS --set k8sServicePort=6443",
            "or, where kubeadm wrote ConfigMap kube-public/cluster-info: --set k8sServiceHost=auto",
            RESTART_AGENT,
        ),
        check=(
            "kubectl -n kube-system exec ds/cilium -- cilium-dbg status | grep -E 'Kubernetes:|KubeProxyReplacement'",
        ),
        undo=(f"{_UPGRADE} --set k8sServiceHost=null --set k8sServicePort=null", RESTART_AGENT),
        source=PROXY_FREE,
        ready=False,
    )
