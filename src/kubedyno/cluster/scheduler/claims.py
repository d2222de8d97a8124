"""ResourceClaims of a pod: which nodes can satisfy them, and what is written when one is chosen.

Semantics of pkg/scheduler/framework/plugins/dynamicresources. `Devices` knows who has what and finds devices.
"""

from dataclasses import dataclass, field
from typing import Any

import orjson

from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.scheduler.constraints import NodeTerm, node_terms
from kubedyno.cluster.scheduler.devices import Devices
from kubedyno.cluster.scheduler.filters import Rejection
from kubedyno.cluster.scheduler.nodeinfo import NodeInfo
from kubedyno.cluster.scheduler.refusal import Refusal
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube.resources import DEVICECLASSES, RESOURCECLAIMS, RESOURCESLICES
from kubedyno.statedb.records import Tombstone

DYNAMIC_RESOURCES = "DynamicResources"
FINALIZER = "resource.kubernetes.io/delete-protection"
# Pods that may share a claim (resource/v1: ResourceClaimReservedForMaxSize).
_MAX_RESERVED = 256
# What may help a pod that its claims keep from running.
WATCHED = (RESOURCECLAIMS, RESOURCESLICES, DEVICECLASSES)

NOT_TRIED = Refusal(DYNAMIC_RESOURCES, "")
IN_USE = Refusal(DYNAMIC_RESOURCES, "resourceclaim in use")
CANNOT_ALLOCATE = Rejection(DYNAMIC_RESOURCES, ("cannot allocate all claims",), resolvable=False)
UNAVAILABLE = Rejection(DYNAMIC_RESOURCES, ("resourceclaim not available on the node",), resolvable=False)


@dataclass(slots=True)
class ClaimNeed:
    """What one pod's claims ask of a node."""

    pod: StoredObject
    claims: "Claims"
    # Those that have their devices, with where these can be reached; those that still need some.
    allocated: list[tuple[dict[str, Any], tuple[NodeTerm, ...] | None]] = field(default_factory=list)
    open: list[dict[str, Any]] = field(default_factory=list)
    # Claims that some node could not reach.
    unavailable: set[str] = field(default_factory=set)

    def check(self, node: NodeInfo) -> Rejection | None:
        """Return why a node is wrong for the pod, None when it is not.

        Raises:
            ClaimFault: A claim is wrong, whatever the node.
        """
        reachable = True
        for claim, terms in self.allocated:
            if terms is not None and not any(term.matches(node.name, node.labels) for term in terms):
                self.unavailable.add(_key(claim))
                reachable = False
        if self.open and self.claims.devices.allocate(self.open, node) is None:
            return CANNOT_ALLOCATE
        return None if reachable else UNAVAILABLE

    def to_deallocate(self) -> str:
        """Return the key of a claim in the wrong place that nobody uses, "" when there is none."""
        for claim, _ in self.allocated:
            reserved = claim.get("status", {}).get("reservedFor") or []
            if _key(claim) in self.unavailable and all(entry.get("uid") == self.pod.uid for entry in reserved):
                return _key(claim)
        return ""


class Claims:
    """Answers about claims on devices.

    Args:
        trusted: Store, and the door for writes.
    """

    def __init__(self, trusted: Trusted) -> None:
        self._trusted = trusted
        self._store = trusted.store
        self.devices = Devices(trusted.store)

    def slice_followed(self, record: ObjectRecord) -> None:
        """Take over a change of a ResourceSlice."""
        self.devices.slice_changed(record, gone=type(record) is Tombstone)

    def followed(self, record: ObjectRecord) -> bool:
        """Take over a change of a claim; returns whether a device came free."""
        gone = type(record) is Tombstone
        claim = None if gone else self._store.encode_dict(RESOURCECLAIMS, record)
        return self.devices.claim_changed(record.key, claim)

    def need_of(self, pod: StoredObject) -> ClaimNeed | Refusal:
        """Return what a pod's claims ask of nodes, or why it cannot run at all now."""
        need = ClaimNeed(pod, self)
        for key, generated in claim_keys(pod):
            record = self._store.get(RESOURCECLAIMS, key) if key else None
            if record is None or record.obj.deletion_s or (generated and pod.uid not in record.obj.owners):
                return NOT_TRIED
            claim = self._store.encode_dict(RESOURCECLAIMS, record)
            status = claim.get("status") or {}
            allocation = status.get("allocation")
            if allocation is None:
                missing = self.devices.missing_class(claim)
                if missing is not None:
                    return Refusal(DYNAMIC_RESOURCES, missing)
                need.open.append(claim)
                continue
            reserved = status.get("reservedFor") or []
            if len(reserved) >= _MAX_RESERVED and all(entry.get("uid") != pod.uid for entry in reserved):
                return IN_USE
            selector = allocation.get("nodeSelector")
            need.allocated.append((claim, None if selector is None else node_terms(selector)))
        return need

    def prepare(self, need: ClaimNeed, node: NodeInfo) -> None:
        """Give the pod its devices of a node, and reserve its claims for it."""
        allocations = self.devices.allocate(need.open, node) or []
        for claim, allocation in zip(need.open, allocations, strict=True):
            self._reserve(need.pod, claim, allocation)
        for claim, _ in need.allocated:
            self._reserve(need.pod, claim, None)

    def _reserve(self, pod: StoredObject, claim: dict[str, Any], allocation: dict[str, Any] | None) -> None:
        record = self._store.get(RESOURCECLAIMS, _key(claim))
        assert record is not None, "claims were looked up in this step"
        status = orjson.loads(record.obj.status or b"{}")
        reserved = status.get("reservedFor") or []
        if all(entry.get("uid") != pod.uid for entry in reserved):
            reserved = [*reserved, {"resource": "pods", "name": pod.name, "uid": pod.uid}]
        new: dict[str, Any] = {"allocation": allocation or status.get("allocation"), "reservedFor": reserved}
        new |= {name: value for name, value in status.items() if name not in new}
        if FINALIZER not in record.obj.finalizers:
            finalizers = [*record.obj.finalizers, FINALIZER]
            record = self._trusted.replace(RESOURCECLAIMS, record, finalizers=finalizers)
        self.followed(self._trusted.replace_status(RESOURCECLAIMS, record, new))

    def deallocate(self, key: str) -> None:
        """Take a claim's devices from it."""
        record = self._store.get(RESOURCECLAIMS, key)
        if record is not None:
            status = orjson.loads(record.obj.status or b"{}")
            left = {name: value for name, value in status.items() if name not in {"allocation", "reservedFor"}}
            self.followed(self._trusted.replace_status(RESOURCECLAIMS, record, left))


def _key(claim: dict[str, Any]) -> str:
    return f"{claim['metadata']['namespace']}/{claim['metadata']['name']}"


def claim_keys(pod: StoredObject) -> list[tuple[str, bool]]:
    """Return the keys of a pod's claims, "" for one that is not made yet; True for those that are made for it."""
    spec = orjson.loads(b"{" + pod.body + b"}")["spec"]
    made = {
        entry["name"]: entry.get("resourceClaimName")
        for entry in orjson.loads(pod.status or b"{}").get("resourceClaimStatuses") or ()
    }
    found = []
    for reference in spec.get("resourceClaims") or ():
        name = reference.get("resourceClaimName")
        if name:
            found.append((f"{pod.namespace}/{name}", False))
        elif reference["name"] not in made:
            found.append(("", True))
        elif made[reference["name"]]:
            found.append((f"{pod.namespace}/{made[reference['name']]}", True))
    return found
