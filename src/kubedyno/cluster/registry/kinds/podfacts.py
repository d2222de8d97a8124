"""What indexes, scheduler and kubelet ask of pods most, taken out of the JSON once.

The facts of a spec are shared by all pods of a template.
"""

from typing import Any

import msgspec

from kubedyno.kube.quantity import milli_of, value_of

# Phases of pods whose containers have all ended for good.
ENDED = frozenset({"Succeeded", "Failed"})
Toleration = tuple[str, str, str, str, int | None]


class PodSpecFacts(msgspec.Struct, frozen=True, gc=False):
    """A pod spec's facts.

    Attributes:
        cpu_milli: CPU request of the pod as the scheduler counts it: containers together or the largest init step.
        memory_bytes: Memory request, counted the same way.
        extra_requests: (resource name, amount) of other requests, e.g. ephemeral-storage.
        host_network: hostNetwork.
        host_ports: (protocol, host IP, port) of each host port.
        node_selector: nodeSelector as pairs.
        has_affinity: Has affinity or topologySpreadConstraints, beyond `PodFacts.pinned_node`.
        tolerations: (key, operator, value, effect, seconds) each.
        priority: priority.
        scheduler_name: schedulerName.
        gated: Has schedulingGates.
        grace_s: terminationGracePeriodSeconds.
        containers: (name, image, imagePullPolicy) each.
        init_containers: The same of init containers.
        restart_policy: restartPolicy.
        service_account: serviceAccountName.
        attached: Has volumes of claims, its own ones too.
        claims_devices: Has resourceClaims.
    """

    cpu_milli: int
    memory_bytes: int
    extra_requests: tuple[tuple[str, int], ...]
    host_network: bool
    host_ports: tuple[tuple[str, str, int], ...]
    node_selector: tuple[tuple[str, str], ...]
    has_affinity: bool
    tolerations: tuple[Toleration, ...]
    priority: int
    scheduler_name: str
    gated: bool
    grace_s: int
    containers: tuple[tuple[str, str, str], ...]
    init_containers: tuple[tuple[str, str, str], ...]
    restart_policy: str
    service_account: str
    attached: bool = False
    claims_devices: bool = False


class PodFacts(msgspec.Struct, frozen=True, gc=False):
    """A pod's facts.

    Attributes:
        node_name: spec.nodeName, "" while unscheduled.
        phase: status.phase.
        ready: Its Ready condition is True.
        pod_ip: status.podIP, "" when it has none.
        spec: The facts of its spec.
        pinned_node: The one node that its required affinity names by metadata.name, as a DaemonSet's pods do.
    """

    node_name: str
    phase: str
    ready: bool
    pod_ip: str
    spec: PodSpecFacts
    pinned_node: str = ""


def _amounts(container: dict[str, Any]) -> dict[str, int]:
    requests = container.get("resources", {}).get("requests")
    if not requests:
        return {}
    return {name: milli_of(text) if name == "cpu" else value_of(text) for name, text in requests.items()}


def requests_of(spec: dict[str, Any]) -> dict[str, int]:
    """Return what the scheduler reserves: cpu in thousandths, the rest in units.

    The larger of (all containers and sidecars together) and (each init container with the sidecars before it),
    plus overhead; a pod-level request replaces it. Rule: k8s.io/component-helpers resource.PodRequests.
    """
    total: dict[str, int] = {}
    for container in spec.get("containers", ()):
        for name, amount in _amounts(container).items():
            total[name] = total.get(name, 0) + amount
    sidecars: dict[str, int] = {}
    largest: dict[str, int] = {}
    for container in spec.get("initContainers", ()):
        amounts = _amounts(container)
        if container.get("restartPolicy") == "Always":
            for name, amount in amounts.items():
                total[name] = total.get(name, 0) + amount
                sidecars[name] = sidecars.get(name, 0) + amount
            amounts = dict(sidecars)
        else:
            amounts = {name: amounts.get(name, 0) + sidecars.get(name, 0) for name in amounts | sidecars}
        for name, amount in amounts.items():
            largest[name] = max(largest.get(name, 0), amount)
    for name, amount in largest.items():
        total[name] = max(total.get(name, 0), amount)
    total.update(_amounts(spec))
    for name, text in spec.get("overhead", {}).items():
        total[name] = total.get(name, 0) + (milli_of(text) if name == "cpu" else value_of(text))
    return total


def spec_facts(spec: dict[str, Any]) -> PodSpecFacts:
    """Return the facts of a complete pod spec."""
    requests = requests_of(spec)
    affinity = spec.get("affinity")
    if affinity and pinned_node_of(spec) and set(affinity) == {"nodeAffinity"}:
        affinity = None
    return PodSpecFacts(
        requests.pop("cpu", 0),
        requests.pop("memory", 0),
        tuple(sorted(requests.items())),
        bool(spec.get("hostNetwork")),
        tuple(
            (port.get("protocol", "TCP"), port.get("hostIP", ""), port["hostPort"])
            for container in spec.get("containers", ())
            for port in container.get("ports", ())
            if port.get("hostPort")
        ),
        tuple(spec.get("nodeSelector", {}).items()),
        bool(affinity or spec.get("topologySpreadConstraints")),
        tuple(
            (
                t.get("key", ""),
                t.get("operator", "Equal"),
                t.get("value", ""),
                t.get("effect", ""),
                t.get("tolerationSeconds"),
            )
            for t in spec.get("tolerations", ())
        ),
        spec.get("priority", 0),
        spec.get("schedulerName", "default-scheduler"),
        bool(spec.get("schedulingGates")),
        spec.get("terminationGracePeriodSeconds", 30),
        _containers(spec, "containers"),
        _containers(spec, "initContainers"),
        spec.get("restartPolicy", "Always"),
        spec.get("serviceAccountName", ""),
        any("persistentVolumeClaim" in v or "ephemeral" in v for v in spec.get("volumes") or ()),
        bool(spec.get("resourceClaims")),
    )


def _containers(spec: dict[str, Any], name: str) -> tuple[tuple[str, str, str], ...]:
    return tuple(
        (c.get("name", ""), c.get("image", ""), c.get("imagePullPolicy", "IfNotPresent")) for c in spec.get(name, ())
    )


def pinned_node_of(spec: dict[str, Any]) -> str:
    """Return the node that the required node affinity names by metadata.name alone, "" when it is not of that form."""
    node_affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = node_affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if not required or "preferredDuringSchedulingIgnoredDuringExecution" in node_affinity:
        return ""
    terms = required.get("nodeSelectorTerms", ())
    if len(terms) != 1 or terms[0].get("matchExpressions"):
        return ""
    fields = terms[0].get("matchFields", ())
    if len(fields) == 1 and fields[0].get("key") == "metadata.name" and fields[0].get("operator") == "In":
        values = fields[0].get("values", ())
        return str(values[0]) if len(values) == 1 else ""
    return ""


def pod_facts(pod: dict[str, Any], spec: PodSpecFacts | None = None) -> PodFacts:
    """Return the facts of a pod.

    Args:
        pod: The whole object.
        spec: The facts of its spec where they are known.
    """
    status = pod.get("status") or {}
    raw = pod.get("spec", {})
    return PodFacts(
        raw.get("nodeName", ""),
        status.get("phase", "Pending"),
        is_ready(status),
        status.get("podIP", ""),
        spec_facts(raw) if spec is None else spec,
        pinned_node_of(raw),
    )


def is_ready(status: dict[str, Any]) -> bool:
    """Tell whether a pod's Ready condition is True."""
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in status.get("conditions", ()))
