"""What becomes of definitions: their names are accepted, their versions served, and on deletion their objects deleted.

It follows the table of definitions. An established definition has one table for its objects and a kind for each served
version; a change of the definition replaces the kinds. Whoever routes requests is told of both.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

from kubedyno.base.log import logger
from kubedyno.base.times import rfc3339
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.codec import meta_dict, with_parts
from kubedyno.cluster.registry.conversion import Conversion
from kubedyno.cluster.registry.customresourcedefinitions import CLEANUP, CUSTOMRESOURCEDEFINITIONS
from kubedyno.cluster.registry.customresources import CustomResource, deprecation_of, resource_of
from kubedyno.cluster.registry.groupapproval import CONFORMANT, approval_of
from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.registry import Registry
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube.resources import Resource
from kubedyno.statedb.errors import ExpiredError
from kubedyno.statedb.records import Tombstone

# Objects of a definition that is going away, deleted in one turn.
_DELETIONS_A_STEP = 64
_CHANGES_A_STEP = 16
_TRUE, _FALSE = "True", "False"


@dataclass(slots=True)
class _Served:
    """A definition that is served.

    Attributes:
        body: Spec as stored, to see changes.
        storage: The resource under which its objects are stored.
        kinds: Of its served versions.
    """

    body: bytes
    storage: Resource
    kinds: list[CustomResource] = field(default_factory=list)


class CustomResources:
    """Serves definitions.

    Args:
        registry: Gets the kinds.
        pump: Gives turns.
        changed: Called with the kinds that are served no more, after each change of what is served.
    """

    def __init__(self, registry: Registry, pump: Pump, changed: Callable[[list[CustomResource]], None]) -> None:
        self._registry = registry
        self._store = registry.store
        self._clock = pump.clock
        self._changed = changed
        self._table = self._store.table(CUSTOMRESOURCEDEFINITIONS)
        self._served: dict[str, _Served] = {}
        # Group resource → what its table was added for; tables stay when definitions go.
        self._tables: dict[str, Resource] = dict(registry.store.restored)
        self._terminating: dict[str, Callable[[], None]] = {}
        # (group, is it a kind, name) → the definition that has it; and what each definition has.
        self._owners: dict[tuple[str, bool, str], str] = {}
        self._owned: dict[str, list[tuple[str, bool, str]]] = {}
        self._changes = self._table.changes()
        self._worker = pump.worker("custom-resources", self._step)
        self._table.subscribe(self._worker.wake)
        if self._table.count:
            self._worker.wake()

    def _step(self, limit: int) -> bool:
        try:
            records = self._changes.next(max(limit, _CHANGES_A_STEP))
        except ExpiredError:
            # What is there is looked at again; what went meanwhile is found by its absence.
            self._changes = self._table.changes()
            for name in [name for name in self._served if self._table.get(name) is None]:
                self._withdraw(name)
            return True
        for record in records:
            try:
                self._attend(record)
            except Exception:  # noqa: BLE001 - logged with its traceback; the others go on
                logger(__name__).exception("definition %s failed", record.key)
        waiting = [self._empty(name) for name in list(self._terminating)]
        return self._changes.behind or any(waiting)

    def _attend(self, changed: ObjectRecord) -> None:
        name = changed.key
        record = self._table.get(name)
        if type(changed) is Tombstone or record is None:
            self._withdraw(name)
            self._look_at_others(name)
            return
        definition = self._store.encode_dict(CUSTOMRESOURCEDEFINITIONS, record)
        if record.obj.deletion_s:
            if CLEANUP in record.obj.finalizers and name not in self._terminating:
                self._terminate(record, definition)
            return
        status = self._status_of(definition)
        self._own(name, definition["spec"]["group"], status["acceptedNames"])
        if status != definition["status"]:
            self._write(record, status)
        established = any(c["type"] == "Established" and c["status"] == _TRUE for c in status["conditions"])
        if established:
            self._serve(record, definition["spec"], status["acceptedNames"])

    def _look_at_others(self, name: str) -> None:
        """Accept names that were another definition's: they may be free now."""
        group = name.partition(".")[2]
        for record in self._table.all():
            if record.key != name and record.key.partition(".")[2] == group and record.key not in self._served:
                self._attend(record)

    def _write(self, record: ObjectRecord, status: Object) -> ObjectRecord:
        obj = record.obj
        return self._store.put(CUSTOMRESOURCEDEFINITIONS, with_parts(obj, status=orjson.dumps(status), facts=obj.facts))

    # --- names -----------------------------------------------------------------------------------------------

    def _status_of(self, definition: Object) -> Object:
        """Return a definition's status with the names that it may have, and conditions that say so."""
        wanted, status = definition["spec"]["names"], definition["status"]
        accepted = dict(status["acceptedNames"])
        own, group = definition["metadata"]["name"], definition["spec"]["group"]
        problem: tuple[str, str] | None = None
        for name, reason, is_kind in (
            ("plural", "PluralConflict", False),
            ("singular", "SingularConflict", False),
            ("shortNames", "ShortNamesConflict", False),
            ("kind", "KindConflict", True),
            ("listKind", "ListKindConflict", True),
        ):
            value = wanted.get(name)
            texts = [value] if isinstance(value, str) else value or ()
            conflicts = [text for text in texts if self._owners.get((group, is_kind, text), own) != own]
            if conflicts:
                problem = (reason, ", ".join(f'"{text}" is already in use' for text in conflicts))
            elif value is None:
                accepted.pop(name, None)
            else:
                accepted[name] = value
        if "categories" in wanted:
            accepted["categories"] = wanted["categories"]
        else:
            accepted.pop("categories", None)
        conditions = [dict(c) for c in status.get("conditions") or ()]
        approval = approval_of(definition)
        if approval is not None:
            self._condition(conditions, CONFORMANT, *approval)
        if problem is None:
            self._condition(conditions, "NamesAccepted", _TRUE, "NoConflicts", "no conflicts found")
            if not _is_true(conditions, "Established"):
                text = "the initial names have been accepted"
                self._condition(conditions, "Established", _TRUE, "InitialNamesAccepted", text)
        else:
            self._condition(conditions, "NamesAccepted", _FALSE, *problem)
            if not _is_true(conditions, "Established"):
                self._condition(conditions, "Established", _FALSE, "NotAccepted", "not all names are accepted")
        return {**status, "conditions": conditions, "acceptedNames": accepted}

    def _own(self, name: str, group: str, names: Object) -> None:
        """Take note of the names that a definition has."""
        self._disown(name)
        texts = [(False, text) for text in (names.get("plural"), names.get("singular"), *names.get("shortNames", ()))]
        texts += [(True, text) for text in (names.get("kind"), names.get("listKind"))]
        owned = self._owned[name] = [(group, is_kind, text) for is_kind, text in texts if text]
        self._owners.update(dict.fromkeys(owned, name))

    def _disown(self, name: str) -> None:
        for key in self._owned.pop(name, ()):
            if self._owners.get(key) == name:
                del self._owners[key]

    def _condition(self, conditions: list[Object], kind: str, status: str, reason: str, message: str) -> None:
        """Set a condition, in place; its time changes with its status."""
        new = {"type": kind, "status": status, "lastTransitionTime": rfc3339(self._clock.now())}
        new |= {"reason": reason, "message": message}
        for i, old in enumerate(conditions):
            if old["type"] == kind:
                if old["status"] == status:
                    new["lastTransitionTime"] = old["lastTransitionTime"]
                conditions[i] = new
                return
        conditions.append(new)

    # --- serving -----------------------------------------------------------------------------------------------

    def _serve(self, record: ObjectRecord, spec: Object, names: Object) -> None:
        """Serve a definition's versions as they are now."""
        name = record.key
        body = record.obj.body + orjson.dumps(names)
        served = self._served.get(name)
        if served is not None and served.body == body:
            return
        dropped = served.kinds if served is not None else []
        for kind in dropped:
            self._registry.forget(kind)
            self._store.drop_view(kind.resource)
        list_kind = names.get("listKind") or names["kind"] + "List"
        stored = next(v for v in spec["versions"] if v["storage"])
        storage = self._storage(CustomResource(resource_of(spec, names, stored), stored, list_kind))
        served = self._served[name] = _Served(body, storage)
        conversion = _conversion(spec, names, stored)
        for version in spec["versions"]:
            if not version["served"]:
                continue
            kind = CustomResource(resource_of(spec, names, version), version, list_kind, conversion)
            kind.deprecation = deprecation_of(spec, names["kind"], version)
            # What was written by the schema as it still is has nothing to be pruned or filled in.
            as_stored = version is stored and record.obj.generation == 1
            self._store.add_view(kind.resource, storage, None if as_stored else kind.from_stored)
            self._registry.serve(kind)
            served.kinds.append(kind)
        self._changed(dropped)

    def _storage(self, kind: CustomResource) -> Resource:
        """Return what a definition's objects are stored as; their table is added the first time."""
        resource = kind.resource
        known = self._tables.get(resource.group_resource)
        if known is None:
            self._store.add(resource)
        elif known == resource:
            kind.resource = resource = known
        else:
            self._store.add_view(resource, known, None)
        self._tables[resource.group_resource] = resource
        self._registry.know(kind)
        return resource

    def _withdraw(self, name: str) -> None:
        """Serve a definition no more."""
        self._disown(name)
        unsubscribe = self._terminating.pop(name, None)
        if unsubscribe is not None:
            unsubscribe()
        served = self._served.pop(name, None)
        if served is None:
            return
        for kind in served.kinds:
            self._registry.forget(kind)
            self._store.drop_view(kind.resource)
        self._changed(served.kinds)

    # --- deletion ----------------------------------------------------------------------------------------------

    def _terminate(self, record: ObjectRecord, definition: Object) -> None:
        """Begin to delete the objects of a definition."""
        name = record.key
        conditions = [dict(c) for c in definition["status"].get("conditions") or ()]
        text = "CustomResource deletion is in progress"
        self._condition(conditions, "Terminating", _TRUE, "InstanceDeletionInProgress", text)
        self._write(record, {**definition["status"], "conditions": conditions})
        served = self._served.get(name)
        if served is None:
            self._terminating[name] = _nothing
            return
        for kind in served.kinds:
            kind.terminating = True
        self._terminating[name] = self._store.table(served.storage).subscribe(self._worker.wake)

    def _empty(self, name: str) -> bool:
        """Delete objects of a definition that goes; then let it go. Says whether more can be done at once."""
        served = self._served.get(name)
        if served is not None:
            table = self._store.table(served.storage)
            waiting = [record for record in table.all() if not record.obj.deletion_s]
            for record in waiting[:_DELETIONS_A_STEP]:
                self._registry.delete(served.storage, record.obj.namespace, record.obj.name, {})
            if table.count:
                return len(waiting) > _DELETIONS_A_STEP
        self._terminating.pop(name, _nothing)()
        current = self._table.get(name)
        if current is None:
            return False
        obj = current.obj
        status = orjson.loads(obj.status)
        conditions = [dict(c) for c in status.get("conditions") or ()]
        self._condition(conditions, "Terminating", _FALSE, "InstanceDeletionCompleted", "removed all instances")
        record = self._write(current, {**status, "conditions": conditions})
        metadata = meta_dict(record.obj)
        metadata["finalizers"] = [f for f in metadata.get("finalizers", ()) if f != CLEANUP]
        if metadata["finalizers"]:
            self._store.put(
                CUSTOMRESOURCEDEFINITIONS, with_parts(record.obj, metadata=metadata, facts=record.obj.facts)
            )
        else:
            self._registry.remove(self._registry.kind(CUSTOMRESOURCEDEFINITIONS), name)
        return False


def _conversion(spec: Object, names: Object, stored: Object) -> Conversion | None:
    """Return who converts between the versions of a definition, None when they differ by their apiVersion only."""
    conversion = spec.get("conversion") or {}
    if conversion.get("strategy") != "Webhook":
        return None
    group = spec["group"]
    served = [f"{group}/{version['name']}" for version in spec["versions"] if version["served"]]
    return Conversion(conversion.get("webhook") or {}, names["kind"], f"{group}/{stored['name']}", served)


def _nothing() -> None:
    """Unsubscribe from nothing."""


def _is_true(conditions: list[Object], kind: str) -> bool:
    return any(c["type"] == kind and c["status"] == _TRUE for c in conditions)
