"""What a journal kept becomes the store's objects again, each at the revision that it had.

The texts are taken as they were; what else a stored object has (labels, owners, facts) is worked out of them. Custom
resources get their tables before their definitions are served.
"""

from typing import Any, cast

import msgspec
import orjson

from kubedyno.base.log import logger
from kubedyno.base.times import epoch_of
from kubedyno.cluster.registry.codec import owner_uids
from kubedyno.cluster.registry.customresourcedefinitions import CUSTOMRESOURCEDEFINITIONS
from kubedyno.cluster.registry.customresources import resource_of
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.kinds.podfacts import PodFacts, PodSpecFacts
from kubedyno.cluster.registry.leanpod import SPEC, LeanPod, Shapes
from kubedyno.cluster.registry.registry import Registry
from kubedyno.cluster.storage.journalfiles import Kept
from kubedyno.cluster.storage.journalframes import Entry
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.cluster.storage.store import Store
from kubedyno.kube.resources import PODS

_NO_LABELS: dict[str, str] = {}


def restore(registry: Registry, kept: Kept) -> None:
    """Fill an empty store with what was kept; it goes on at the last revision. 20 µs an object, more or less.

    Args:
        registry: Of the store.
        kept: What the journal's folder holds.
    """
    store = registry.store
    _add_custom_tables(store, kept)
    kinds = {kind.resource.group_resource: kind for kind in registry.kinds.values() if kind.stored_as is None}
    tables = {table.name: table for table in store.tables()}
    objects = _Objects(registry.shapes)
    lost: dict[str, int] = {}
    with store.db.write(*tables.values()) as txn:
        for entry in sorted(kept.entries.values(), key=_revision):
            table = tables.get(entry.table)
            if table is None:
                lost[entry.table] = lost.get(entry.table, 0) + 1
            else:
                txn.apply(table, entry.revision, objects.of(kinds.get(entry.table), entry))
    store.db.begin_at(max(kept.revision, store.revision))
    for name, count in lost.items():
        logger(__name__).warning("%d objects of %s were not taken over: nothing defines them", count, name)


def _revision(entry: Entry) -> int:
    return entry.revision


def _add_custom_tables(store: Store, kept: Kept) -> None:
    """Add the tables of custom resources whose names were accepted."""
    definitions = CUSTOMRESOURCEDEFINITIONS.group_resource
    for entry in [entry for entry in kept.entries.values() if entry.table == definitions]:
        spec = orjson.loads(b"{%b}" % entry.body)["spec"]
        names = orjson.loads(entry.status or b"{}").get("acceptedNames") or {}
        if names.get("plural") and names.get("kind"):
            stored = next(version for version in spec["versions"] if version["storage"])
            resource = resource_of(spec, names, stored)
            store.add(resource)
            store.restored[resource.group_resource] = resource


class _Objects:
    """Makes objects; what many share is made once."""

    def __init__(self, shapes: Shapes) -> None:
        self._shapes = shapes
        self._specs: dict[PodSpecFacts, PodSpecFacts] = {}

    def of(self, kind: Kind | None, entry: Entry) -> StoredObject:
        metadata = orjson.loads(b"{%b}" % entry.meta)
        facts = None
        if kind is not None and kind.has_facts:
            obj: Object = {"metadata": metadata, **orjson.loads(b"{%b}" % entry.body)}
            if entry.status:
                obj["status"] = orjson.loads(entry.status)
            facts = kind.facts(obj)
        deletion = metadata.get("deletionTimestamp")
        stored = StoredObject(
            entry.key,
            metadata.get("namespace", ""),
            metadata["name"],
            metadata["uid"],
            metadata.get("generation", 0),
            metadata.get("labels") or _NO_LABELS,
            owner_uids(metadata["ownerReferences"]) if "ownerReferences" in metadata else (),
            epoch_of(deletion) if deletion else 0.0,
            tuple(metadata.get("finalizers", ())),
            entry.meta,
            entry.managed,
            entry.body,
            entry.status,
            facts,
        )
        return self._pod(stored) if entry.table == PODS.group_resource else stored

    def _pod(self, pod: StoredObject) -> StoredObject:
        """Return a pod that shares with others what it can."""
        facts: PodFacts = pod.facts
        spec = self._specs.setdefault(facts.spec, facts.spec)
        node = facts.node_name
        facts = PodFacts(node, facts.phase, facts.ready, facts.pod_ip, spec, facts.pinned_node)
        changed: dict[str, Any] = {"facts": facts}
        pod = msgspec.structs.replace(pod, **changed)
        begin = SPEC + b'"nodeName":"%b",' % node.encode()
        if pod.deletion_s or (node and not pod.body.startswith(begin)):
            return pod
        unbound = PodFacts("", facts.phase, facts.ready, facts.pod_ip, spec, facts.pinned_node)
        body = SPEC + pod.body[len(begin) :] if node else pod.body
        lean: Any = self._shapes.lean(msgspec.structs.replace(pod, body=body, facts=unbound))
        if not isinstance(lean, LeanPod):
            return pod
        spec = lean.facts.spec
        lean = lean.with_status(pod.status, PodFacts(node, facts.phase, facts.ready, facts.pod_ip, spec, ""))
        return cast("StoredObject", lean)
