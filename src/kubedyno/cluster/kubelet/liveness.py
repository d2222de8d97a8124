"""Nodes that somebody else made: which of them get a kubelet, and what machine they have."""

from typing import Any

from kubedyno.cluster.kubelet.nodeobject import LATER
from kubedyno.cluster.settings import NodeSettings
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.kube.quantity import milli_of, value_of

# The annotation by which KWOK knows its nodes.
FAKE = "kwok.x-k8s.io/node"
_MARKS = (f'"{FAKE}":"fake"'.encode(), f'"{LATER}":"true"'.encode())
# What a node's labels are beside what its kubelet gives it.
_FAMILIES = ("beta.kubernetes.io/", "kubernetes.io/")
_LARGEST_PODS = 65_535


def is_live(node: StoredObject) -> bool:
    """Say whether a Node is one that is to have a kubelet."""
    return any(mark in node.meta for mark in _MARKS)


def settings_of(node: dict[str, Any]) -> NodeSettings:
    """Return the machine that a Node says it is: by its status, as KWOK's users write it, else a machine as usual.

    Its labels may say more (`nodeclasses`).
    """
    metadata, status = node["metadata"], node.get("status") or {}
    amounts = {**(status.get("capacity") or {}), **(status.get("allocatable") or {})}
    labels = tuple(
        (name, value) for name, value in (metadata.get("labels") or {}).items() if not name.startswith(_FAMILIES)
    )
    usual = NodeSettings(metadata["name"])
    return NodeSettings(
        usual.name,
        max_pods=min(value_of(amounts["pods"]), _LARGEST_PODS) if "pods" in amounts else None,
        cpu_milli=milli_of(amounts["cpu"]) if "cpu" in amounts else usual.cpu_milli,
        memory_bytes=value_of(amounts["memory"]) if "memory" in amounts else usual.memory_bytes,
        labels=labels,
    )
