"""A Node as its kubelet writes it: registration, status, lease, and the events of a start."""

from typing import Any

from kubedyno.base.times import rfc3339, rfc3339_micro
from kubedyno.cluster.kubelet.configrules import threshold_bytes
from kubedyno.cluster.kubelet.rows import NodeRow
from kubedyno.cluster.kubelet.texts import NETWORK_NOT_READY
from kubedyno.cluster.registry.nodeclasses import KERNEL as KERNEL_LABEL
from kubedyno.cluster.settings import ClusterSettings

Object = dict[str, Any]

# On a Node that came at run time, so that a cluster that is kept has it again.
LATER = "kubedyno.io/node-added"
_ROLE = "node-role.kubernetes.io/control-plane"
_NO_LOAD_BALANCER = "node.kubernetes.io/exclude-from-external-load-balancers"
_EPHEMERAL_STORAGE_KI = 61_202_244
_KUBELET_PORT = 10250
_KERNEL = "6.8.0-64-generic"
_OS_IMAGE = "Debian GNU/Linux 12 (bookworm)"
# What kind's node images of the minor bring along.
_CONTAINERD = {33: "2.1.3", 34: "2.1.4", 35: "2.2.0", 36: "2.2.1"}
_KI = 1024
# kubeadm stops writing the CRI socket's annotation with the gate NodeLocalCRISocket, on from this minor.
_NO_SOCKET_ANNOTATION = 34
# Type, reason and message of the conditions that are False on a healthy node.
PRESSURES = (
    ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
)
# Condition → (reason, message) while it is True, and while it is False.
PRESSURE_TEXTS = {
    "MemoryPressure": (("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
                       ("NodeHasSufficientMemory", "")),
    "DiskPressure": (("KubeletHasDiskPressure", "kubelet has disk pressure"), ("NodeHasNoDiskPressure", "")),
    "PIDPressure": (("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
                    ("NodeHasSufficientPID", "")),
}  # fmt: skip
# What a starting kubelet says about its node: (type, reason, message without the node's name).
START_EVENTS = (
    ("Starting", "Starting kubelet."),
    ("NodeHasSufficientMemory", ""),
    ("NodeHasNoDiskPressure", ""),
    ("NodeHasSufficientPID", ""),
    ("NodeAllocatableEnforced", "Updated Node Allocatable limit across pods"),
)


def node_of(row: NodeRow, settings: ClusterSettings, now_s: float) -> Object:
    """Return the Node that a kubelet registers, with what kubeadm and kind add to it."""
    name = row.name
    labels = {
        "beta.kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
    }
    annotations = {"volumes.kubernetes.io/controller-managed-attach-detach": "true"}
    if row.later:
        annotations[LATER] = "true"
    if settings.minor < _NO_SOCKET_ANNOTATION:
        annotations["kubeadm.alpha.kubernetes.io/cri-socket"] = "unix:///run/containerd/containerd.sock"
    taints = [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]
    single = len(settings.nodes) == 1
    if row.settings.control_plane:
        labels[_ROLE] = ""
        # On a cluster of one node kind takes the taint and this label away: all has to run there.
        if not single:
            labels[_NO_LOAD_BALANCER] = ""
            taints.insert(0, {"key": _ROLE, "effect": "NoSchedule"})
    labels.update(row.settings.labels)
    return {
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
        "spec": {"providerID": f"kind://docker/{settings.name}/{name}", "taints": taints},
        "status": status_of(row, settings, now_s, None),
    }


def ids_of(status: Object) -> tuple[str, str, str] | None:
    """Return machineID, systemUUID and bootID of a stored status, None when it has none."""
    info = status.get("nodeInfo") or {}
    machine, system, boot = (str(info.get(name, "")) for name in ("machineID", "systemUUID", "bootID"))
    return (machine, system, boot) if machine and system and boot else None


def resources_of(row: NodeRow) -> Object:
    """Return capacity."""
    return {
        "cpu": _cpu(row.settings.cpu_milli),
        "ephemeral-storage": f"{_EPHEMERAL_STORAGE_KI}Ki",
        "hugepages-1Gi": "0",
        "hugepages-2Mi": "0",
        "memory": f"{row.settings.memory_bytes // _KI}Ki",
        "pods": str(row.config.max_pods),
    }


def _cpu(milli: int) -> str:
    return str(milli // 1000) if milli % 1000 == 0 else f"{milli}m"


def allocatable_of(row: NodeRow, capacity: Object) -> Object:
    """Return what pods may have: capacity without kubeReserved, systemReserved and evictionHard's memory."""
    reserved = dict(row.config.reserved)
    memory = row.settings.memory_bytes
    kept = reserved.get("memory", 0) + threshold_bytes(row.config.memory_threshold, memory)
    found = dict(capacity)
    if "cpu" in reserved:
        found["cpu"] = _cpu(max(0, row.settings.cpu_milli - reserved["cpu"]))
    if kept:
        found["memory"] = f"{max(0, memory - kept) // _KI}Ki"
    if "ephemeral-storage" in reserved:
        found["ephemeral-storage"] = f"{max(0, _EPHEMERAL_STORAGE_KI - reserved['ephemeral-storage'] // _KI)}Ki"
    return found


def status_of(row: NodeRow, settings: ClusterSettings, now_s: float, old: Object | None) -> Object:
    """Return a node's status.

    Args:
        row: The node; `ready` says which condition it shows.
        settings: The cluster's.
        now_s: Epoch seconds.
        old: The stored status: conditions that don't change keep their transition time.
    """
    now = rfc3339(now_s)
    before = {c["type"]: c for c in (old or {}).get("conditions", ())}
    conditions = []
    verdicts = [
        (name, "True", *PRESSURE_TEXTS[name][0]) if name in row.pressures else (name, "False", reason, message)
        for name, reason, message in PRESSURES
    ]
    if row.ready and row.trouble:
        verdicts.append(("Ready", "False", "KubeletNotReady", row.trouble))
    elif row.ready:
        verdicts.append(("Ready", "True", "KubeletReady", "kubelet is posting ready status"))
    else:
        verdicts.append(("Ready", "False", "KubeletNotReady", NETWORK_NOT_READY))
    for name, value, reason, message in verdicts:
        known = before.pop(name, None)
        # A client may have written conditions without a time.
        since = (known.get("lastTransitionTime") if known is not None and known["status"] == value else None) or now
        conditions.append(
            {
                "type": name,
                "status": value,
                "lastHeartbeatTime": now,
                "lastTransitionTime": since,
                "reason": reason,
                "message": message,
            }
        )
    # Other parts' conditions (NetworkUnavailable …) come first, as they were there before.
    conditions = [*before.values(), *conditions]
    resources = resources_of(row)
    machine, system, boot = row.ids
    version = settings.git_version
    features = {"recursiveReadOnlyMounts": True, "userNamespaces": True}
    return {
        "capacity": resources,
        "allocatable": allocatable_of(row, resources),
        "conditions": conditions,
        "addresses": [
            {"type": "InternalIP", "address": row.address},
            {"type": "Hostname", "address": row.name},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": _KUBELET_PORT}},
        "nodeInfo": {
            "machineID": machine,
            "systemUUID": system,
            "bootID": boot,
            "kernelVersion": dict(row.settings.labels).get(KERNEL_LABEL, _KERNEL),
            "osImage": _OS_IMAGE,
            "containerRuntimeVersion": f"containerd://{_CONTAINERD[settings.minor]}",
            "kubeletVersion": version,
            # Not set any more: DisableNodeKubeProxyVersion is on since 1.31.
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": "amd64",
        },
        "images": row.images.listed(),
        "runtimeHandlers": [
            {"name": "", "features": features},
            {"name": "runc", "features": dict(features)},
        ],
        "features": {"supplementalGroupsPolicy": True},
    }


def lease_of(row: NodeRow, node_uid: str, now_s: float) -> Object:
    """Return a node's lease."""
    owner = {"apiVersion": "v1", "kind": "Node", "name": row.name, "uid": node_uid}
    return {
        "metadata": {"name": row.name, "ownerReferences": [owner]},
        "spec": {
            "holderIdentity": row.name,
            "leaseDurationSeconds": row.config.lease_duration_s,
            "renewTime": rfc3339_micro(now_s),
        },
    }


def lease_body(row: NodeRow, now_s: float) -> bytes:
    """Return the body of a renewed lease."""
    return (
        f'"spec":{{"holderIdentity":"{row.name}","leaseDurationSeconds":{row.config.lease_duration_s},'
        f'"renewTime":"{rfc3339_micro(now_s)}"}}'
    ).encode()
