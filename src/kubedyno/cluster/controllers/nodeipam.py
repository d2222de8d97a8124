"""Node IPAM: each node gets a PodCIDR cut from the cluster's pod subnet, in the order of kube-controller-manager.

The allocator is a row of bits and a pointer: the next free block after the one that was handed out last, round and
round. A node that is deleted gives its block back.
"""

from ipaddress import ip_network
from typing import Any

import orjson

from kubedyno.cluster.controllers.feeds import Feeds
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.nodeclasses import mask_of
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.resources import NODES

_COMPONENT = "cidrAllocator"
_EMPTY_SPEC = b'"spec":{}'
_SPEC = b'"spec":{'
# More blocks than this kube-controller-manager refuses to manage.
_MAX_BLOCK_BITS = 16


class CidrBlocks:
    """The blocks of a subnet.

    Args:
        subnet: E.g. "10.244.0.0/16".
        mask: Prefix length of a block.

    Raises:
        ValueError: The subnet is no network, or does not divide into blocks of that size.
    """

    def __init__(self, subnet: str, mask: int) -> None:
        self._network = ip_network(subnet, strict=False)
        bits = mask - self._network.prefixlen
        if not 0 <= bits <= _MAX_BLOCK_BITS:
            raise ValueError(
                f"pod subnet {subnet} cannot be cut into /{mask} blocks: New CIDR set failed; the node CIDR size is "
                "too big"
                if bits > _MAX_BLOCK_BITS
                else f"pod subnet {subnet} is smaller than a node's block of /{mask}"
            )
        self._mask = mask
        self.count = 1 << bits
        self._block_bits = self._network.max_prefixlen - mask
        self._used = bytearray(self.count)
        self._next = 0

    def allocate(self, mask: int | None = None) -> str | None:
        """Return the next free block, None when there is none.

        Args:
            mask: Another prefix length: a larger network is made of several blocks, a smaller one takes a whole block.
        """
        if mask is not None and mask < self._mask:
            return self._allocate_several(mask)
        index = self._used.find(0, self._next)
        if index < 0:
            index = self._used.find(0)
        if index < 0:
            return None
        self._used[index] = 1
        self._next = (index + 1) % self.count
        return f"{self._network[0] + (index << self._block_bits)}/{mask or self._mask}"

    def _allocate_several(self, mask: int) -> str | None:
        count = 1 << (self._mask - mask)
        for index in range(0, self.count - count + 1, count):
            if not any(self._used[index : index + count]):
                self._used[index : index + count] = b"\1" * count
                return f"{self._network[0] + (index << self._block_bits)}/{mask}"
        return None

    def occupy(self, cidr: str) -> None:
        """Take the blocks that a network covers, if they are of this subnet."""
        for index in self._indexes(cidr):
            self._used[index] = 1

    def release(self, cidr: str) -> None:
        """Give back what `occupy` or `allocate` took."""
        for index in self._indexes(cidr):
            self._used[index] = 0

    def _indexes(self, cidr: str) -> range:
        network = ip_network(cidr, strict=False)
        if network.version != self._network.version or not self._network.overlaps(network):
            return range(0)
        base = int(self._network[0])
        first = max(int(network[0]) - base, 0) >> self._block_bits
        last = min(int(network[-1]) - base, int(self._network[-1]) - base) >> self._block_bits
        return range(first, last + 1)


class NodeIpam:
    """The RangeAllocator; made only where nodes get their PodCIDRs from here.

    Args:
        trusted: Where it writes.
        pump: Gives turns.
        feeds: Gives changes.
        settings: Pod subnet and block size.
    """

    def __init__(self, trusted: Trusted, pump: Pump, feeds: Feeds, settings: ClusterSettings) -> None:
        self._trusted = trusted
        self._nodes = trusted.store.table(NODES)
        self._blocks = CidrBlocks(settings.pod_subnet.split(",")[0], settings.node_cidr_mask)
        self._queue: WorkQueue[str] = WorkQueue(pump, "node-ipam", self._reconcile)
        # Node → its block; and nodes that found none.
        self._held: dict[str, str] = {}
        self._starved: dict[str, None] = {}
        for record in self._nodes.all():
            if record.obj.facts.pod_cidr:
                self._note(record)
        feeds.follow(NODES, self._changed, self._gone)

    def _note(self, record: ObjectRecord) -> None:
        self._held[record.key] = record.obj.facts.pod_cidr
        self._blocks.occupy(record.obj.facts.pod_cidr)

    def _changed(self, record: ObjectRecord) -> None:
        if record.key not in self._held:
            if record.obj.facts.pod_cidr:
                self._note(record)
            elif record.key not in self._starved:
                self._queue.add(record.key)

    def _gone(self, record: ObjectRecord) -> None:
        self._starved.pop(record.key, None)
        held = self._held.pop(record.key, None)
        if held is not None:
            self._blocks.release(held)
            for key in self._starved:
                self._queue.add(key)

    def _reconcile(self, key: str, budget: int) -> int:
        _ = budget
        record = self._nodes.get(key)
        if record is None or record.obj.deletion_s or key in self._held:
            self._starved.pop(key, None)
            self._queue.forget(key)
            return 1
        if record.obj.facts.pod_cidr:
            self._note(record)
            return 1
        try:
            mask = mask_of(record.obj.labels)
        except ValueError:
            # No node of ours has such a label; one that a client has changed keeps the cluster's size.
            mask = None
        cidr = self._blocks.allocate(mask)
        if cidr is None:
            self._starved[key] = None
            self._trusted.event(
                NODES, record, type="Normal", reason="CIDRNotAvailable",
                message=f"Node {key} status is now: CIDRNotAvailable", component=_COMPONENT,
            )  # fmt: skip
            self._queue.retry(key, "CIDRNotAvailable: no PodCIDR is left in the pod subnet")
            return 1
        self._starved.pop(key, None)
        try:
            self._trusted.replace(NODES, record, body=_with_cidr(record.obj.body, cidr))
        except Exception:
            self._blocks.release(cidr)
            raise
        self._held[key] = cidr
        self._queue.forget(key)
        return 2


def _with_cidr(body: bytes, cidr: str) -> bytes:
    members = b'"podCIDR":"%b","podCIDRs":["%b"]' % (cidr.encode(), cidr.encode())
    if body.startswith(_EMPTY_SPEC):
        return b'"spec":{%b}%b' % (members, body[len(_EMPTY_SPEC) :])
    if body.startswith(_SPEC) and b'"podCIDR' not in body:
        return b"%b%b,%b" % (_SPEC, members, body[len(_SPEC) :])
    parsed: dict[str, Any] = orjson.loads(b"{" + body + b"}")
    parsed["spec"] = {**parsed.get("spec", {}), "podCIDR": cidr, "podCIDRs": [cidr]}
    return orjson.dumps(parsed)[1:-1]
