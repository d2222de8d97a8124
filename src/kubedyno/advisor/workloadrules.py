"""Rules on what runs: requests and limits, probes, pulls, services and their slices.

Sources: the Kubernetes documentation's pages that each rule names. What a rule cannot see it says nothing of.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from kubedyno.advisor.clusterstate import ClusterState, name_of
from kubedyno.advisor.ruleset import CLUSTER, shown
from kubedyno.advisor.tuning import Advice, Patch

Json = dict[str, Any]
RESOURCES = "Kubernetes documentation, Resource Management for Pods and Containers"
QOS = "Kubernetes documentation, Pod Quality of Service Classes"
PROBES = "Kubernetes documentation, Liveness, Readiness, and Startup Probes"
IMAGES = "Kubernetes documentation, Images"
SLICES = "Kubernetes documentation, EndpointSlices"
THRESHOLDS = "Kubernetes scalability thresholds"
PROXY = "Kubernetes documentation, Virtual IPs and Service Proxies"
# A rule of iptables a service and backend: from here on nftables' constant cost shows.
IPTABLES_SERVICES = 1_000
# Starts of processes by exec probes, a second on one node.
EXEC_PROBES_PER_S = 5.0
SLICE_SIZE = 100
BACKENDS = 250


def _owner(pod: Json) -> str:
    """Return who made a pod, as one line of evidence should name it; a Deployment's pods are one owner."""
    metadata = pod["metadata"]
    for owner in metadata.get("ownerReferences") or ():
        name = str(owner["name"])
        if owner["kind"] == "ReplicaSet" and (metadata.get("labels") or {}).get("pod-template-hash"):
            name = name.rpartition("-")[0]
            return f"{metadata.get('namespace')}/{name} (Deployment)"
        return f"{metadata.get('namespace')}/{name} ({owner['kind']})"
    return f"{metadata.get('namespace')}/{metadata['name']}"


def _static(pod: Json) -> bool:
    return "kubernetes.io/config.mirror" in (pod["metadata"].get("annotations") or {})


def _containers(state: ClusterState) -> Iterator[tuple[Json, Json]]:
    for pod in state.live_pods():
        if not _static(pod):
            for container in pod["spec"].get("containers") or ():
                yield pod, container


def _counted(found: list[str]) -> tuple[str, ...]:
    return shown([f"{name}: {count} containers" for name, count in sorted(Counter(found).items())])


@CLUSTER
def requests(state: ClusterState) -> Advice | None:
    """Containers without requests for CPU or memory: the scheduler counts nothing for them."""
    found = [
        _owner(pod)
        for pod, container in _containers(state)
        if not {"cpu", "memory"}
        <= ((container.get("resources") or {}).get("requests") or {}).keys()
        | ((container.get("resources") or {}).get("limits") or {}).keys()
    ]
    if not found:
        return None
    return Advice(
        "requests",
        "warning",
        f"{len(found)} containers request no CPU or no memory",
        evidence=_counted(found),
        effect="the scheduler places them as if they used nothing: nodes fill up to maxPods and not to their CPUs;"
        " pods without any are evicted first",
        effect_source=QOS,
        requires=("a measured usage: kubectl top pods, or a run with metrics",),
        conflicts=("a ResourceQuota or LimitRange that allows less",),
        applying="restart pods: a rollout of each workload",
        apply=("kubectl -n NS set resources deployment/NAME --requests=cpu=100m,memory=128Mi",),
        check=("kubectl get pods -A -o custom-columns=N:.metadata.name,Q:.status.qosClass | grep BestEffort",),
        undo=("kubectl -n NS rollout undo deployment/NAME",),
        source=RESOURCES,
        ready=False,
    )


@CLUSTER
def memory_limits(state: ClusterState) -> Advice | None:
    """Containers without a memory limit can take their node's."""
    found = [
        _owner(pod)
        for pod, container in _containers(state)
        if "memory" not in ((container.get("resources") or {}).get("limits") or {})
    ]
    if not found:
        return None
    return Advice(
        "memory-limits",
        "note",
        f"{len(found)} containers have no memory limit",
        evidence=_counted(found),
        effect="one that leaks takes the node's memory, and the kernel or the kubelet ends others",
        effect_source=QOS,
        requires=("a measured usage, with its peak",),
        conflicts=("limits below the peak end the container (OOMKilled)",),
        applying="restart pods: a rollout of each workload",
        apply=("kubectl -n NS set resources deployment/NAME --limits=memory=256Mi",),
        check=("kubectl get pods -A -o jsonpath='{..limits.memory}'",),
        undo=("kubectl -n NS rollout undo deployment/NAME",),
        source=RESOURCES,
        ready=False,
    )


def _selects(service: Json, pod: Json) -> bool:
    selector = (service.get("spec") or {}).get("selector") or {}
    labels = pod["metadata"].get("labels") or {}
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())


@CLUSTER
def readiness_probes(state: ClusterState) -> Advice | None:
    """Pods behind a Service without a readiness probe get traffic before they can answer."""
    services: dict[str, list[Json]] = defaultdict(list)
    for service in state.services:
        services[service["metadata"].get("namespace", "")].append(service)
    found = set()
    for pod in state.live_pods():
        containers = pod["spec"].get("containers") or ()
        if _static(pod) or any("readinessProbe" in container for container in containers):
            continue
        if any(_selects(service, pod) for service in services[pod["metadata"].get("namespace", "")]):
            found.add(_owner(pod))
    if not found:
        return None
    return Advice(
        "readiness-probes",
        "warning",
        f"{len(found)} workloads behind a Service have no readiness probe",
        evidence=shown(sorted(found)),
        effect="their pods are endpoints as soon as the container runs: requests fail during each rollout, and a run's"
        " PodReady says nothing of the application",
        effect_source=PROBES,
        applying="restart pods: a rollout of each workload",
        apply=("add readinessProbe to the pod template: httpGet, tcpSocket or grpc",),
        check=("kubectl -n NS describe pod NAME | grep Readiness",),
        undo=("kubectl -n NS rollout undo deployment/NAME",),
        source=PROBES,
    )


@CLUSTER
def liveness_as_readiness(state: ClusterState) -> Advice | None:
    """A liveness probe that is no more patient than the readiness probe restarts what is only busy."""
    found = set()
    for pod, container in _containers(state):
        live, ready = container.get("livenessProbe"), container.get("readinessProbe")
        if live is None or ready is None:
            continue
        actions = ("httpGet", "tcpSocket", "exec", "grpc")
        if any(live.get(action) is not None and live.get(action) == ready.get(action) for action in actions) and (
            _patience_s(live) <= _patience_s(ready)
        ):
            found.add(f"{_owner(pod)}: container {container['name']}, {_patience_s(live):g} s")
    if not found:
        return None
    return Advice(
        "liveness-as-readiness",
        "warning",
        "the same check decides on traffic and on restarts, with the same patience",
        evidence=shown(sorted(found)),
        effect="under overload pods are restarted instead of left out, and the rest gets their load",
        effect_source=PROBES,
        applying="restart pods: a rollout of each workload",
        apply=("raise failureThreshold of livenessProbe, or let it ask something cheaper",),
        check=("kubectl -n NS describe pod NAME | grep -E 'Liveness|Readiness'",),
        undo=("kubectl -n NS rollout undo deployment/NAME",),
        source=PROBES,
    )


def _patience_s(probe: Json) -> float:
    return float(probe.get("periodSeconds", 10)) * float(probe.get("failureThreshold", 3))


@CLUSTER
def exec_probes(state: ClusterState) -> Advice | None:
    """Probes that start a process each time cost CPU on dense nodes."""
    rates: dict[str, float] = defaultdict(float)
    for pod in state.live_pods():
        for container in pod["spec"].get("containers") or ():
            for kind in ("livenessProbe", "readinessProbe"):
                probe = container.get(kind) or {}
                if "exec" in probe:
                    rates[pod["spec"].get("nodeName", "")] += 1 / float(probe.get("periodSeconds", 10))
    found = [
        f"{node}: {rate:.1f} a second" for node, rate in sorted(rates.items()) if node and rate > EXEC_PROBES_PER_S
    ]
    if not found:
        return None
    return Advice(
        "exec-probes",
        "improvement",
        f"exec probes start more than {EXEC_PROBES_PER_S:g} processes a second on {len(found)} nodes",
        evidence=shown(found),
        effect="less CPU of kubelet and runtime: each is a process in the container's namespaces",
        effect_source=f"{PROBES}: exec probes under Caution; no figure is published",
        applying="restart pods: a rollout of each workload",
        apply=("use httpGet, tcpSocket or grpc, or a longer periodSeconds",),
        check=("kubectl get --raw /api/v1/nodes/NODE/proxy/metrics | grep prober_probe_total",),
        undo=("kubectl -n NS rollout undo deployment/NAME",),
        source=PROBES,
    )


@CLUSTER
def image_pull_always(state: ClusterState) -> Advice | None:
    """A fixed tag that is asked for again at each start."""
    patches, found = [], []
    for deployment in state.deployments:
        metadata = deployment["metadata"]
        for index, container in enumerate(deployment["spec"]["template"]["spec"].get("containers") or ()):
            image = str(container.get("image", ""))
            if container.get("imagePullPolicy") != "Always" or "@" in image or not _fixed_tag(image):
                continue
            place = f"/spec/template/spec/containers/{index}/imagePullPolicy"
            found.append(f"{name_of(deployment)}: {image}")
            patches.append(
                Patch(
                    f"deployment/{metadata['name']}",
                    metadata["namespace"],
                    f"/apis/apps/v1/namespaces/{metadata['namespace']}/deployments/{metadata['name']}",
                    ({"op": "replace", "path": place, "value": "IfNotPresent"},),
                    ({"op": "replace", "path": place, "value": "Always"},),
                )
            )
    if not found:
        return None
    return Advice(
        "image-pull-always",
        "improvement",
        f"{len(found)} containers with a fixed tag ask the registry at each start",
        evidence=shown(found),
        effect="one round trip to the registry less at each container start, and none of its limits",
        effect_source=IMAGES,
        conflicts=(
            "private images on shared nodes before KubeletEnsureSecretPulledImages: Always checks each pod's own right",
        ),
        applying="restart pods: a rollout of each Deployment",
        check=("kubectl get deployments -A -o jsonpath='{..imagePullPolicy}'",),
        source=IMAGES,
        patches=tuple(patches),
    )


def _fixed_tag(image: str) -> bool:
    tag = image.rpartition("/")[2].partition(":")[2]
    return bool(tag) and tag != "latest"


@CLUSTER
def service_backends(state: ClusterState) -> Advice | None:
    """Services with more backends than proxies were measured with."""
    found = [
        f"{namespace}/{name}: {ends} endpoints"
        for (namespace, name), (ends, _) in sorted(state.endpoints().items())
        if ends > BACKENDS
    ]
    if not found:
        return None
    return Advice(
        "service-backends",
        "warning",
        f"{len(found)} Services have more than {BACKENDS} backends",
        evidence=shown(found),
        effect="each change of an endpoint is programmed on every node; iptables rules are looked through one by one",
        effect_source=THRESHOLDS,
        applying="connections to moved backends drop",
        apply=("split the Service, or use nftables or eBPF for services",),
        check=("kubectl get endpointslices -A -l kubernetes.io/service-name=NAME",),
        undo=("join them again",),
        source=THRESHOLDS,
    )


@CLUSTER
def slices_half_empty(state: ClusterState) -> Advice | None:
    """Services with many more EndpointSlices than their endpoints need."""
    found = [
        f"{namespace}/{name}: {slices} slices for {ends} endpoints, {max(1, -(-ends // SLICE_SIZE))} would do"
        for (namespace, name), (ends, slices) in sorted(state.endpoints().items())
        # Families and port sets have slices of their own: twice as many is not yet much.
        if slices > 4 and slices > 3 * max(1, -(-ends // SLICE_SIZE))
    ]
    if not found:
        return None
    return Advice(
        "slices-half-empty",
        "note",
        "EndpointSlices are far from full",
        evidence=shown(found),
        effect="fewer objects to watch and list for each node",
        effect_source=SLICES,
        applying="the slices are made anew; proxies see all endpoints again",
        apply=(
            "kubectl -n NS delete endpointslices -l kubernetes.io/service-name=NAME   # the controller refills them",
        ),
        check=("kubectl -n NS get endpointslices -l kubernetes.io/service-name=NAME",),
        undo=("none needed: the controller owns them",),
        source=SLICES,
    )


@CLUSTER
def services_on_iptables(state: ClusterState) -> Advice | None:
    """Many Services by kube-proxy's iptables rules."""
    config = state.kube_proxy()
    if config is None or len(state.services) < IPTABLES_SERVICES:
        return None
    mode = str(config.get("mode") or "iptables")
    if mode != "iptables" or state.version < (1, 31):
        return None
    return Advice(
        "services-on-iptables",
        "improvement",
        f"{len(state.services)} Services by iptables: use nftables",
        evidence=(f"mode: {mode} in ConfigMap kube-proxy", f"{len(state.services)} Services"),
        effect="the first packet's lookup does not grow with the number of Services; updates change only what differs",
        effect_source=f"{PROXY}; GA in 1.33",
        requires=("Linux 5.13 or newer on all nodes",),
        conflicts=("a CNI or host firewall that looks for kube-proxy's iptables chains",),
        applying="new connections take the new rules; restart kube-proxy on each node",
        apply=(
            "kubectl -n kube-system edit configmap kube-proxy   # mode: nftables",
            "kubectl -n kube-system rollout restart daemonset/kube-proxy",
        ),
        check=("nft list tables | grep kube-proxy",),
        undo=(
            "kubectl -n kube-system edit configmap kube-proxy   # mode: iptables",
            "kubectl -n kube-system rollout restart daemonset/kube-proxy",
        ),
        source=PROXY,
    )
