"""Classes of nodes: what a node's labels say of its machine.

A label is the one place where it stands, whoever made the node: a flag, a kind configuration, a request at run time.
"""

from dataclasses import replace

from kubedyno.cluster.settings import NodeSettings
from kubedyno.kube.quantity import milli_of, value_of

CLASS = "kubedyno.io/node-class"
CPU = "kubedyno.io/cpu"
MEMORY = "kubedyno.io/memory"
PODS = "kubedyno.io/pods"
KERNEL = "kubedyno.io/kernel"
POD_CIDR_MASK = "kubedyno.io/pod-cidr-mask"
ZONE = "topology.kubernetes.io/zone"
# A key of a class as it is written → its label.
KEYS = {"cpu": CPU, "memory": MEMORY, "pods": PODS, "kernel": KERNEL, "mask": POD_CIDR_MASK, "zone": ZONE}
_MIN_MASK, _MAX_MASK = 16, 30
_MAX_PODS = 65_535


def classed(node: NodeSettings) -> NodeSettings:
    """Return a node as its labels say.

    Raises:
        ValueError: A label holds something else than what it is for; the text names it.
    """
    labels = dict(node.labels)
    changes: dict[str, int] = {}
    if CPU in labels:
        changes["cpu_milli"] = _amount(labels, CPU, 1, milli=True)
    if MEMORY in labels:
        changes["memory_bytes"] = _amount(labels, MEMORY, 1 << 20)
    if PODS in labels:
        changes["max_pods"] = _amount(labels, PODS, 1, _MAX_PODS)
    if POD_CIDR_MASK in labels:
        mask_of(labels)
    return replace(node, **changes) if changes else node  # type: ignore[arg-type]


def mask_of(labels: dict[str, str]) -> int | None:
    """Return the prefix length that a node's PodCIDR is to have, None for the cluster's.

    Raises:
        ValueError: The label holds no such number.
    """
    return _amount(labels, POD_CIDR_MASK, _MIN_MASK, _MAX_MASK) if POD_CIDR_MASK in labels else None


def _amount(labels: dict[str, str], name: str, least: int, most: int = 1 << 60, *, milli: bool = False) -> int:
    text = labels[name]
    try:
        amount = milli_of(text) if milli else value_of(text)
    except ValueError as error:
        raise ValueError(f"{name}: {text!r} is no amount") from error
    if not least <= amount <= most:
        raise ValueError(f"{name}: {text!r} is out of range")
    return amount
