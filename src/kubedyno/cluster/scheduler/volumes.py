"""Volumes of a pod as far as they say where it may run: bound to nodes and zones, still to be bound, and too many.

Semantics of pkg/scheduler/framework/plugins/{volumebinding,volumezone,volumerestrictions,nodevolumelimits}. Reads the
tables of claims, volumes and classes; `prepare` writes what the choice of a node decides.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from kubedyno.cluster.registry.kinds.volumes import class_of
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.registry.volumematching import (
    BIND_COMPLETED,
    NO_PROVISIONER,
    SELECTED_NODE,
    claims_of,
    free_volumes,
    reference_to,
    reserved_for,
)
from kubedyno.cluster.scheduler.constraints import NodeTerm, node_terms
from kubedyno.cluster.scheduler.filters import Rejection
from kubedyno.cluster.scheduler.nodeinfo import Cluster, NodeInfo
from kubedyno.cluster.scheduler.refusal import Refusal
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.cluster.storage.store import ObjectRecord, Store
from kubedyno.kube.quantity import value_of
from kubedyno.kube.resources import CLAIMS, CSIDRIVERS, CSINODES, CSISTORAGECAPACITIES, STORAGECLASSES, VOLUMES
from kubedyno.kube.selectors import LabelSelector

BINDING = "VolumeBinding"
ZONE = "VolumeZone"
RESTRICTIONS = "VolumeRestrictions"
LIMITS = "NodeVolumeLimits"
PLUGINS = (RESTRICTIONS, LIMITS, BINDING, ZONE)
# From this minor version on.
_NEW_AFFINITY_REASON_MINOR = 35
_ZONE_LABELS = (
    "topology.kubernetes.io/zone", "topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
)  # fmt: skip
# A volume that is in several zones.
_ZONES_DELIMITER = "__"

UNBOUND_IMMEDIATE = Refusal(BINDING, "pod has unbound immediate PersistentVolumeClaims", before_claims=True)
LOST = Rejection(
    BINDING, ("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)",), resolvable=False
)
_OTHER_NODES = {
    True: Rejection(BINDING, ("node(s) didn't match PersistentVolume's node affinity",), resolvable=False),
    False: Rejection(BINDING, ("node(s) had volume node affinity conflict",), resolvable=False),
}
NOT_FOUND = Rejection(BINDING, ("node(s) didn't find available persistent volumes to bind",), resolvable=False)
NO_SPACE = Rejection(BINDING, ("node(s) did not have enough free storage",), resolvable=False)
OTHER_ZONE = Rejection(ZONE, ("node(s) had no available volume zone",), resolvable=False)
IN_USE = Rejection(
    RESTRICTIONS,
    ("node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode",),
    resolvable=True,
)
TOO_MANY = Rejection(LIMITS, ("node(s) exceed max volume count",), resolvable=True)


# What may help a pod that its volumes keep from running.
WATCHED = (CLAIMS, VOLUMES, STORAGECLASSES, CSINODES, CSISTORAGECAPACITIES)


@dataclass(slots=True)
class _Delayed:
    """A claim that is bound when its pod's node is known."""

    record: ObjectRecord
    claim: dict[str, Any]
    volumes: list[tuple[ObjectRecord, tuple[NodeTerm, ...] | None]]
    provisioner: str
    topologies: list[dict[str, tuple[str, ...]]]
    storage_class: str
    counts_capacity: bool

    @property
    def judges(self) -> bool:
        """False when it can be provisioned for any node, and no volume is there that would be taken instead."""
        return bool(
            self.volumes
            or self.topologies
            or self.counts_capacity
            or self.provisioner in {"", NO_PROVISIONER}
            or SELECTED_NODE in self.claim["metadata"].get("annotations", {})
        )


@dataclass(slots=True)
class VolumeNeed:
    """What one pod's volumes ask of a node."""

    pod: StoredObject
    volumes: "Volumes"
    lost: bool = False
    # Required node affinity of each bound volume; labels of those in zones.
    affinities: list[tuple[NodeTerm, ...]] = field(default_factory=list)
    zones: list[tuple[str, frozenset[str]]] = field(default_factory=list)
    delayed: list[_Delayed] = field(default_factory=list)
    # Claims that one pod alone may use.
    exclusive: set[str] = field(default_factory=set)
    # Driver → handles of its volumes.
    attached: dict[str, set[str]] = field(default_factory=dict)

    @property
    def judges(self) -> bool:
        """False when any node will do."""
        return bool(self.lost or self.affinities or self.zones or self.exclusive or self._limited_drivers()) or any(
            delayed.judges for delayed in self.delayed
        )

    def _limited_drivers(self) -> bool:
        return bool(self.attached) and self.volumes.has_limits

    def check(self, node: NodeInfo) -> Rejection | None:
        """Return why a node is wrong for the pod, None when it is not."""
        off = self.volumes.off
        if self.exclusive and RESTRICTIONS not in off and self.volumes.in_use(self.pod, self.exclusive, node):
            return IN_USE
        if self.attached and LIMITS not in off and self.volumes.exceeds(self.attached, node):
            return TOO_MANY
        if BINDING not in off:
            if self.lost:
                return LOST
            for terms in self.affinities:
                if not any(term.matches(node.name, node.labels) for term in terms):
                    return _OTHER_NODES[self.volumes.minor >= _NEW_AFFINITY_REASON_MINOR]
            if self.delayed:
                plan = self.plan(node)
                if isinstance(plan, Rejection):
                    return plan
        if self.zones and ZONE not in off and any(label in node.labels for label in _ZONE_LABELS):
            for label, values in self.zones:
                if node.labels.get(label) not in values:
                    return OTHER_ZONE
        return None

    def plan(self, node: NodeInfo) -> list[tuple[_Delayed, ObjectRecord | None]] | Rejection:
        """Return for each claim that waits the volume to bind on a node, None to have one made; or what is missing."""
        taken: set[str] = set()
        plan: list[tuple[_Delayed, ObjectRecord | None]] = []
        for delayed in self.delayed:
            chosen = delayed.claim["metadata"].get("annotations", {}).get(SELECTED_NODE)
            if chosen and chosen != node.name:
                return _OTHER_NODES[self.volumes.minor >= _NEW_AFFINITY_REASON_MINOR]
            volume = next(
                (
                    record
                    for record, terms in delayed.volumes
                    if record.key not in taken
                    and (terms is None or any(term.matches(node.name, node.labels) for term in terms))
                ),
                None,
            )
            if volume is not None and not chosen:
                taken.add(volume.key)
                plan.append((delayed, volume))
                continue
            if delayed.provisioner in {"", NO_PROVISIONER} or not _in_topology(delayed.topologies, node):
                return NOT_FOUND
            if delayed.counts_capacity and not self.volumes.has_capacity(delayed.claim, delayed.storage_class, node):
                return NO_SPACE
            plan.append((delayed, None))
        return plan


class Volumes:
    """Answers about volumes.

    Args:
        trusted: Store, and the door for writes.
        cluster: Nodes and the pods on them.
        minor: Kubernetes' minor version.
        off: Plugins of the profile that say no to nothing.
    """

    def __init__(self, trusted: Trusted, cluster: Cluster, minor: int, off: frozenset[str] = frozenset()) -> None:
        self._trusted = trusted
        self._store: Store = trusted.store
        self._cluster = cluster
        self.minor = minor
        self.off = off

    @property
    def has_limits(self) -> bool:
        """True when a driver on some node says how many volumes it can attach."""
        return bool(self._store.list(CSINODES))

    # --- what a pod needs ----------------------------------------------------------------------------------------

    def need_of(self, pod: StoredObject) -> VolumeNeed | Refusal | None:
        """Return what a pod's volumes ask of nodes, why it cannot run at all now, or None when any node will do."""
        spec = orjson.loads(b"{" + pod.body + b"}")["spec"]
        need = VolumeNeed(pod, self)
        for name, ephemeral in claims_of(pod.name, spec):
            record = self._store.get(CLAIMS, f"{pod.namespace}/{name}")
            refusal = self._refusal(pod, name, record, ephemeral=ephemeral)
            if refusal is not None:
                return refusal
            assert record is not None
            claim = self._store.encode_dict(CLAIMS, record)
            refusal = self._add(need, record, claim)
            if refusal is not None:
                return refusal
        return need if need.delayed or need.judges else None

    def _refusal(self, pod: StoredObject, name: str, record: ObjectRecord | None, *, ephemeral: bool) -> Refusal | None:
        if record is None:
            text = f'persistentvolumeclaim "{name}" not found'
            if ephemeral:
                text = f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"'
            return Refusal(BINDING, text, before_claims=True)
        if ephemeral and pod.uid not in record.obj.owners:
            text = f"PVC {record.key} was not created for pod {pod.key} (pod is not owner)"
            return Refusal(BINDING, text, before_claims=True)
        if record.obj.deletion_s:
            return Refusal(BINDING, f'persistentvolumeclaim "{name}" is being deleted', before_claims=True)
        return None

    def _add(self, need: VolumeNeed, record: ObjectRecord, claim: dict[str, Any]) -> Refusal | None:
        """Add what one claim asks for; returns why that cannot be had."""
        name, phase = claim["spec"].get("volumeName", ""), claim.get("status", {}).get("phase")
        if phase == "Lost":
            text = f'persistentvolumeclaim "{record.obj.name}" bound to non-existent persistentvolume "{name}"'
            return Refusal(BINDING, text, before_claims=True)
        if "ReadWriteOncePod" in claim["spec"].get("accessModes", ()):
            need.exclusive.add(record.obj.name)
        made = self._class(claim)
        bound = bool(name) and BIND_COMPLETED in claim["metadata"].get("annotations", {})
        if bound:
            volume = self._store.get(VOLUMES, name)
            if volume is None:
                need.lost = True
                return None
            self._add_bound(need, self._store.encode_dict(VOLUMES, volume))
            return None
        if made is None or made.get("volumeBindingMode") != "WaitForFirstConsumer" or name:
            return UNBOUND_IMMEDIATE
        self._add_delayed(need, record, claim, made)
        return None

    def _add_bound(self, need: VolumeNeed, volume: dict[str, Any]) -> None:
        required = (volume["spec"].get("nodeAffinity") or {}).get("required")
        if required is not None:
            need.affinities.append(node_terms(required))
        for label, value in volume["metadata"].get("labels", {}).items():
            if label in _ZONE_LABELS:
                need.zones.append((label, frozenset(value.split(_ZONES_DELIMITER))))
        csi = volume["spec"].get("csi")
        if csi is not None:
            need.attached.setdefault(csi.get("driver", ""), set()).add(csi.get("volumeHandle", ""))

    def _add_delayed(self, need: VolumeNeed, record: ObjectRecord, claim: dict[str, Any], made: dict[str, Any]) -> None:
        volumes: list[tuple[ObjectRecord, tuple[NodeTerm, ...] | None]] = []
        reserved = reserved_for(self._store, record.key, record.obj.uid)
        found = (
            free_volumes(self._store, claim)
            if reserved is None
            else [(reserved, self._store.encode_dict(VOLUMES, reserved))]
        )
        for volume, obj in found:
            required = (obj["spec"].get("nodeAffinity") or {}).get("required")
            volumes.append((volume, None if required is None else node_terms(required)))
        provisioner = made.get("provisioner", "")
        driver = self._store.get(CSIDRIVERS, provisioner)
        counts = driver is not None and bool(self._store.encode_dict(CSIDRIVERS, driver)["spec"].get("storageCapacity"))
        topologies = [
            {e["key"]: tuple(e.get("values") or ()) for e in term.get("matchLabelExpressions") or ()}
            for term in made.get("allowedTopologies") or ()
        ]
        name = made["metadata"]["name"]
        need.delayed.append(_Delayed(record, claim, volumes, provisioner, topologies, name, counts))
        need.attached.setdefault(provisioner, set()).add(record.key)

    def _class(self, claim: dict[str, Any]) -> dict[str, Any] | None:
        record = self._store.get(STORAGECLASSES, class_of(claim))
        return None if record is None else self._store.encode_dict(STORAGECLASSES, record)

    # --- what nodes have -----------------------------------------------------------------------------------------

    def in_use(self, pod: StoredObject, names: set[str], node: NodeInfo) -> bool:
        """Say whether another pod uses a claim that is for one pod alone; `node` stands for the one of its name."""
        for other, place in self._cluster.pods_in((pod.namespace,)):
            if not other.facts.spec.attached or other.key == pod.key:
                continue
            if place.name == node.name and other.key not in node.pods:
                continue
            spec = orjson.loads(b"{" + other.body + b"}")["spec"]
            if any(name in names for name, _ in claims_of(other.name, spec)):
                return True
        return False

    def exceeds(self, attached: dict[str, set[str]], node: NodeInfo) -> bool:
        """Say whether a node's drivers cannot attach so many more."""
        record = self._store.get(CSINODES, node.name)
        if record is None:
            return False
        limits = {
            driver["name"]: driver["allocatable"]["count"]
            for driver in self._store.encode_dict(CSINODES, record)["spec"].get("drivers") or ()
            if (driver.get("allocatable") or {}).get("count") is not None
        }
        wanted = {driver: handles for driver, handles in attached.items() if driver in limits}
        if not wanted:
            return False
        used: dict[str, set[str]] = {}
        for driver, handle in self._attached_on(node):
            used.setdefault(driver, set()).add(handle)
        for driver, handles in wanted.items():
            there = used.get(driver, set())
            new = handles - there
            if new and len(there) + len(new) > limits[driver]:
                return True
        return False

    def _attached_on(self, node: NodeInfo) -> Iterator[tuple[str, str]]:
        """Yield (driver, handle) of the volumes of a node's pods."""
        for pod in node.pods.values():
            if not pod.facts.spec.attached:
                continue
            spec = orjson.loads(b"{" + pod.body + b"}")["spec"]
            for name, _ in claims_of(pod.name, spec):
                record = self._store.get(CLAIMS, f"{pod.namespace}/{name}")
                if record is None:
                    continue
                claim = self._store.encode_dict(CLAIMS, record)
                volume = self._store.get(VOLUMES, claim["spec"].get("volumeName", ""))
                if volume is None:
                    made = self._class(claim)
                    if made is not None:
                        yield made.get("provisioner", ""), record.key
                    continue
                csi = self._store.encode_dict(VOLUMES, volume)["spec"].get("csi")
                if csi is not None:
                    yield csi.get("driver", ""), csi.get("volumeHandle", "")

    def has_capacity(self, claim: dict[str, Any], storage_class: str, node: NodeInfo) -> bool:
        """Say whether a driver that counts its storage has enough of it where a node is."""
        wanted = value_of(claim["spec"].get("resources", {}).get("requests", {}).get("storage", "0"))
        for record in self._store.list(CSISTORAGECAPACITIES):
            obj = self._store.encode_dict(CSISTORAGECAPACITIES, record)
            if obj.get("storageClassName") != storage_class or "nodeTopology" not in obj:
                continue
            limit = obj.get("maximumVolumeSize") or obj.get("capacity")
            if limit is None or value_of(limit) < wanted:
                continue
            if LabelSelector.of(obj["nodeTopology"]).matches(node.labels):
                return True
        return False

    # --- what the choice of a node decides -----------------------------------------------------------------------

    def prepare(self, need: VolumeNeed, node: NodeInfo) -> list[str]:
        """Have a pod's claims bound for a node: reserve volumes, ask provisioners. Returns the claims to wait for."""
        plan = need.plan(node)
        assert not isinstance(plan, Rejection), "the node that was chosen was checked"
        waiting = []
        for delayed, volume in plan:
            current = self._store.get(CLAIMS, delayed.record.key)
            if current is None:
                continue
            waiting.append(current.key)
            metadata = orjson.loads(b"{" + current.obj.meta + b"}")
            if volume is not None:
                newest = self._store.get(VOLUMES, volume.key)
                if newest is None:
                    continue
                body = orjson.loads(b"{" + newest.obj.body + b"}")
                if (body["spec"].get("claimRef") or {}).get("uid") == current.obj.uid:
                    continue
                theirs = orjson.loads(b"{" + newest.obj.meta + b"}").get("annotations", {})
                if not body["spec"].get("claimRef"):
                    theirs = {**theirs, "pv.kubernetes.io/bound-by-controller": "yes"}
                body["spec"]["claimRef"] = reference_to(current)
                self._trusted.replace(VOLUMES, newest, body=body, annotations=theirs)
            elif metadata.get("annotations", {}).get(SELECTED_NODE) != node.name:
                annotations = {**metadata.get("annotations", {}), SELECTED_NODE: node.name}
                self._trusted.replace(CLAIMS, current, annotations=annotations)
        return waiting

    def bound(self, keys: Iterable[str]) -> bool:
        """Say whether all those claims are bound."""
        return all(self._is_bound(key) for key in keys)

    def _is_bound(self, key: str) -> bool:
        record = self._store.get(CLAIMS, key)
        if record is None:
            return False
        claim = self._store.encode_dict(CLAIMS, record)
        return bool(claim["spec"].get("volumeName")) and BIND_COMPLETED in claim["metadata"].get("annotations", {})


def _in_topology(topologies: list[dict[str, tuple[str, ...]]], node: NodeInfo) -> bool:
    return not topologies or any(
        all(node.labels.get(key) in values for key, values in term.items()) for term in topologies
    )
