"""Where a node stops taking pods: maxPods, and the addresses of its PodCIDR.

Sources: the kubelet's maxPods is `status.allocatable.pods` (default 110). host-local never hands out the
network, gateway and broadcast address, so a PodCIDR of mask m holds 2^(32-m) - 3 pods (253 for /24); Cilium's
host-scope IPAM hands out 2^(32-m) - 2 and keeps one for its own router: the same figure. Pods with hostNetwork
count against maxPods and need no address.
"""

import ipaddress
from dataclasses import dataclass
from typing import Any

from kubedyno.advisor.facts import ClusterFacts, Json

RESERVED_ADDRESSES = 3


@dataclass(frozen=True, slots=True)
class NodeFill:
    """How full one node is.

    Attributes:
        pods: Pods bound to it that still count (not Succeeded or Failed).
        max_pods: Its allocatable pods.
        addressed: Those of `pods` that hold a pod address.
        wanting: Those of `pods` that need an address of the PodCIDR (all but hostNetwork ones).
        cidr: Its PodCIDR, "" when it has none.
        addresses: Addresses that pods can have, None without a PodCIDR.
    """

    name: str
    ready: bool
    pods: int
    max_pods: int
    addressed: int
    wanting: int
    cidr: str
    addresses: int | None

    @property
    def mask(self) -> int:
        return int(self.cidr.partition("/")[2] or 0)

    @property
    def limit(self) -> int:
        """Pods at which the node stops, whichever wall comes first."""
        if self.addresses is None:
            return self.max_pods
        return min(self.max_pods, self.addresses + self.pods - self.wanting)


def usable_addresses(cidr: str) -> int:
    """Return how many pods an IPv4 PodCIDR can address.

    Raises:
        ValueError: `cidr` is no network.
    """
    return max(0, int(ipaddress.ip_network(cidr).num_addresses) - RESERVED_ADDRESSES)


def host_network(pod: Json) -> bool:
    """Say whether a pod lives on its node's own address."""
    return bool(pod.get("spec", {}).get("hostNetwork"))


def _counts(pod: Json) -> bool:
    return pod.get("status", {}).get("phase") not in {"Succeeded", "Failed"}


def node_fills(facts: ClusterFacts) -> list[NodeFill]:
    """Return the fill of every node, in the cluster's order."""
    bound: dict[str, list[Json]] = {}
    for pod in facts.pods:
        node = pod.get("spec", {}).get("nodeName")
        if node and _counts(pod):
            bound.setdefault(node, []).append(pod)
    fills = []
    for node in facts.nodes:
        name = node["metadata"]["name"]
        pods = bound.get(name, [])
        wanting = [pod for pod in pods if not host_network(pod)]
        cidr = node.get("spec", {}).get("podCIDR", "")
        fills.append(
            NodeFill(
                name=name,
                ready=condition(node, "Ready").get("status") == "True",
                pods=len(pods),
                max_pods=int(node.get("status", {}).get("allocatable", {}).get("pods", "0")),
                addressed=sum(1 for pod in wanting if pod.get("status", {}).get("podIP")),
                wanting=len(wanting),
                cidr=cidr,
                addresses=usable_addresses(cidr) if cidr and ":" not in cidr else None,
            )
        )
    return fills


def condition(thing: Json, kind: str) -> dict[str, Any]:
    """Return a condition of an object's status, {} when it has none of that type."""
    for entry in thing.get("status", {}).get("conditions", ()):
        if entry.get("type") == kind:
            return dict(entry)
    return {}


def next_wall(fill: NodeFill, max_pods: int) -> str:
    """Say what stops the node next once its maxPods is `max_pods`."""
    if fill.addresses is None:
        return f"with maxPods {max_pods} {fill.name} stops at {max_pods} pods"
    without_address = fill.pods - fill.wanting
    if fill.addresses + without_address < max_pods:
        return (
            f"with maxPods {max_pods} {fill.name} stops at {fill.addresses} pod addresses (/{fill.mask}): "
            f"{fill.addresses + without_address} pods, {without_address} of them on the host network"
        )
    return (
        f"with maxPods {max_pods} {fill.name} stops at {max_pods} pods; its /{fill.mask} has {fill.addresses} addresses"
    )


def mask_for(pods: int) -> int:
    """Return the longest prefix length whose PodCIDR addresses that many pods."""
    for mask in range(30, 15, -1):
        if 2 ** (32 - mask) - RESERVED_ADDRESSES >= pods:
            return mask
    return 16
