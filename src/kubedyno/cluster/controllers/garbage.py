"""The garbage collector: what its owners leave behind goes with them, or before them, or stays, as was asked.

An owner's uid is looked up in each table's index of owners, so the cost is that of the dependants found. Background: the
dependants of what is gone are deleted. Foreground: a marked owner waits until those that block it are gone. Orphan: its
dependants first lose their reference to it.
"""

from typing import Any

from kubedyno.cluster.controllers.feeds import Feeds
from kubedyno.cluster.controllers.podstates import metadata_of
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.deletion import FOREGROUND, ORPHAN
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.storage.objects import key_of
from kubedyno.cluster.storage.store import ObjectRecord, ObjectTable
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.resources import DAEMONSETS, DEPLOYMENTS, EVENTS, NODES, REPLICASETS, STATEFULSETS, Resource

# Kinds whose objects are known to be there as soon as they are, because they will own many.
_OWNING = (DEPLOYMENTS, REPLICASETS, DAEMONSETS, STATEFULSETS, NODES)
# Dependants treated in one turn of one owner.
_BUDGET = 32


class GarbageCollector:
    """The garbage collector.

    Args:
        trusted: Where it writes.
        pump: Gives turns.
        feeds: Gives changes.
    """

    def __init__(self, trusted: Trusted, pump: Pump, feeds: Feeds) -> None:
        self._trusted = trusted
        # Uids of owners that are gone.
        self._absent: WorkQueue[str] = WorkQueue(pump, "garbage-absent", self._collect)
        # (table, key) of owners that are being deleted, and of dependants whose owners are unknown.
        self._marked: WorkQueue[tuple[int, str]] = WorkQueue(
            pump, "garbage-marked", self._attend, name_of=self._name_of
        )
        self._doubtful: WorkQueue[tuple[int, str]] = WorkQueue(
            pump, "garbage-doubtful", self._judge, name_of=self._name_of
        )
        # Events own nothing and are owned by nothing; other versions of a kind are the same objects.
        kinds = trusted.registry.kinds.values()
        self._resources: list[Resource] = [
            k.resource for k in kinds if k.stored_as is None and k.resource is not EVENTS
        ]
        self._tables: list[ObjectTable] = [trusted.store.table(resource) for resource in self._resources]
        # Uids of owners that are known to be there, and where those are that wait for their dependants.
        self._present: set[str] = set()
        self._blocked: dict[str, tuple[int, str]] = {}
        for i, resource in enumerate(self._resources):
            changed, gone = self._handlers(i)
            feeds.follow(resource, changed, gone)
        trusted.store.on_added(lambda resource: self._also(feeds, resource))

    def _also(self, feeds: Feeds, resource: Resource) -> None:
        """Look after one resource more."""
        self._resources.append(resource)
        self._tables.append(self._trusted.store.table(resource))
        changed, gone = self._handlers(len(self._resources) - 1)
        feeds.follow(resource, changed, gone)

    def _handlers(self, i: int) -> tuple[Any, Any]:
        owning = self._resources[i] in _OWNING

        def changed(record: ObjectRecord) -> None:
            obj = record.obj
            if owning:
                self._present.add(obj.uid)
            if obj.deletion_s and obj.finalizers and (FOREGROUND in obj.finalizers or ORPHAN in obj.finalizers):
                self._blocked[obj.uid] = (i, obj.key)
                self._marked.add((i, obj.key))
            for uid in obj.owners:
                if uid not in self._present:
                    self._doubtful.add((i, obj.key))
                elif uid in self._blocked:
                    self._marked.add(self._blocked[uid])

        def gone(record: ObjectRecord) -> None:
            obj = record.obj
            self._present.discard(obj.uid)
            self._blocked.pop(obj.uid, None)
            for table in self._tables:
                if table.index_count("owner", obj.uid):
                    self._absent.add(obj.uid)
                    break
            for uid in obj.owners:
                if uid in self._blocked:
                    self._marked.add(self._blocked[uid])

        return changed, gone

    def _dependants(self, uid: str) -> list[tuple[int, ObjectRecord]]:
        return [
            (i, record)
            for i, table in enumerate(self._tables)
            if table.index_count("owner", uid)
            for record in table.by_index("owner", uid)
        ]

    # --- owners that are gone ------------------------------------------------------------------------------------

    def _collect(self, uid: str, budget: int) -> int:
        """Delete what the owner with that uid left behind."""
        _ = budget
        left = _BUDGET
        for i, record in self._dependants(uid):
            if record.obj.deletion_s and not record.obj.finalizers:
                continue
            if left <= 0:
                self._absent.add(uid)
                break
            self._drop(i, record)
            left -= 1
        return 4

    def _drop(self, i: int, record: ObjectRecord) -> None:
        """Delete a dependant none of whose owners is there; one that has others only loses those that are gone."""
        resource, obj = self._resources[i], record.obj
        if len(obj.owners) > 1:
            references = metadata_of(obj).get("ownerReferences", [])
            solid = [r for r in references if self._is_there(obj.namespace, r)]
            if solid:
                if len(solid) < len(references):
                    self._trusted.replace(resource, record, owners=solid)
                return
        if not obj.deletion_s:
            policy = "Orphan" if ORPHAN in obj.finalizers else "Background"
            if FOREGROUND in obj.finalizers:
                policy = "Foreground"
            self._trusted.delete(resource, obj.key, uid=obj.uid, policy=policy)

    def _is_there(self, namespace: str, reference: dict[str, Any]) -> bool:
        """Say whether the owner that a reference names exists; kinds that are not served count as existing."""
        if reference["uid"] in self._present:
            return True
        resource = self._trusted.registry.resource_of(reference["apiVersion"], reference["kind"])
        if resource is None:
            return True
        record = self._trusted.store.get(
            resource, key_of(namespace if resource.namespaced else "", reference["name"])
        )  # fmt: skip
        if record is None or record.obj.uid != reference["uid"]:
            return False
        self._present.add(reference["uid"])
        return True

    def _name_of(self, where: tuple[int, str]) -> str:
        return f"{self._resources[where[0]].group_resource} {where[1]}"

    def _judge(self, where: tuple[int, str], budget: int) -> int:
        """Look for the owners of an object; delete it when there is none."""
        _ = budget
        i, key = where
        record = self._tables[i].get(key)
        if record is not None and record.obj.owners:
            references = metadata_of(record.obj).get("ownerReferences", [])
            there = [self._is_there(record.obj.namespace, reference) for reference in references]
            if not all(there):
                self._drop(i, record)
            for uid in record.obj.owners:
                if uid in self._blocked:
                    self._marked.add(self._blocked[uid])
        return 1

    # --- owners that are being deleted -----------------------------------------------------------------------------

    def _attend(self, where: tuple[int, str], budget: int) -> int:
        """Take the deletion of an owner on that waits for its dependants."""
        _ = budget
        i, key = where
        record = self._tables[i].get(key)
        if record is None or not record.obj.deletion_s:
            return 1
        if ORPHAN in record.obj.finalizers:
            self._orphan(i, record)
        elif FOREGROUND in record.obj.finalizers:
            self._foreground(i, record)
        else:
            self._blocked.pop(record.obj.uid, None)
        return 4

    def _orphan(self, i: int, record: ObjectRecord) -> None:
        left = _BUDGET
        for j, dependant in self._dependants(record.obj.uid):
            if left <= 0:
                self._marked.add((i, record.key))
                return
            references = metadata_of(dependant.obj).get("ownerReferences", [])
            kept = [r for r in references if r["uid"] != record.obj.uid]
            self._trusted.replace(self._resources[j], dependant, owners=kept)
            left -= 1
        self._release(i, record, ORPHAN)

    def _foreground(self, i: int, record: ObjectRecord) -> None:
        left = _BUDGET
        uid = record.obj.uid
        dependants = self._dependants(uid)
        for j, dependant in dependants:
            obj = dependant.obj
            if obj.deletion_s:
                continue
            if left <= 0:
                self._marked.add((i, record.key))
                return
            left -= 1
            references = metadata_of(obj).get("ownerReferences", [])
            others = [r for r in references if r["uid"] != uid]
            if any(self._is_there(obj.namespace, r) and r["uid"] not in self._blocked for r in others):
                # Somebody else still wants it.
                self._trusted.replace(self._resources[j], dependant, owners=others)
                continue
            nested = any(table.index_count("owner", obj.uid) for table in self._tables)
            policy = "Foreground" if nested else "Background"
            self._trusted.delete(self._resources[j], obj.key, uid=obj.uid, policy=policy)
        if any(self._blocks(dependant, uid) for _, dependant in self._dependants(uid)):
            return
        self._release(i, record, FOREGROUND)

    def _blocks(self, record: ObjectRecord, uid: str) -> bool:
        references = metadata_of(record.obj).get("ownerReferences", [])
        return any(r["uid"] == uid and r.get("blockOwnerDeletion") for r in references)

    def _release(self, i: int, record: ObjectRecord, finalizer: str) -> None:
        """Take a finalizer away; the object goes when it was the last."""
        current = self._tables[i].get(record.key)
        if current is None or current.obj.uid != record.obj.uid:
            return
        self._blocked.pop(record.obj.uid, None)
        kept = [f for f in current.obj.finalizers if f != finalizer]
        self._trusted.replace(self._resources[i], current, finalizers=kept)
