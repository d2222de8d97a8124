"""Namespace deletion: everything in a terminating namespace is deleted, then its finalizer goes, and it with it.

A namespace is one key of the queue. Each turn deletes at most a budget of objects; what is left or waits (pods that
stop, objects with finalizers) is said in the status' conditions, and the deletions of it bring the namespace up again.
"""

from typing import Any

import orjson

from kubedyno.base.times import rfc3339
from kubedyno.cluster.controllers.feeds import Feeds
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.kinds.namespaces import FINALIZER
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.resources import NAMESPACES, Resource

# What remains is looked at again after so long, whatever was heard meanwhile (the real controller's estimate for content
# whose grace it does not know).
_AGAIN_S = 15.0
# Objects deleted in one turn; each costs some ten microseconds.
_BUDGET = 64
# Type → (reason, message) when all is well, in the order in which the real controller writes them.
_FINE = {
    "NamespaceDeletionDiscoveryFailure": ("ResourcesDiscovered", "All resources successfully discovered"),
    "NamespaceDeletionGroupVersionParsingFailure": ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
    "NamespaceDeletionContentFailure": (
        "ContentDeleted", "All content successfully deleted, may be waiting on finalization",
    ),
    "NamespaceContentRemaining": ("ContentRemoved", "All content successfully removed"),
    "NamespaceFinalizersRemaining": ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
}  # fmt: skip


class Namespaces:
    """The namespace controller.

    Args:
        trusted: Where it writes.
        pump: Gives turns.
        feeds: Gives changes.
    """

    def __init__(self, trusted: Trusted, pump: Pump, feeds: Feeds) -> None:
        self._queue: WorkQueue[str] = WorkQueue(pump, "namespace", self._reconcile)
        self._trusted = trusted
        self._clock = pump.clock
        self._namespaces = trusted.store.table(NAMESPACES)
        kinds = trusted.registry.kinds.values()
        self._contents: list[Resource] = [
            kind.resource for kind in kinds if kind.resource.namespaced and kind.stored_as is None
        ]
        # Namespaces that wait for something in them to go → how much of it.
        self._waiting: dict[str, int] = {}
        feeds.follow(NAMESPACES, self._changed, self._gone)
        for resource in self._contents:
            feeds.follow(resource, gone=self._content_gone)
        trusted.store.on_added(lambda resource: self._also(feeds, resource))

    def _also(self, feeds: Feeds, resource: Resource) -> None:
        """Empty namespaces of one resource more."""
        if resource.namespaced:
            self._contents.append(resource)
            feeds.follow(resource, gone=self._content_gone)

    def _changed(self, record: ObjectRecord) -> None:
        if record.obj.deletion_s and record.obj.name not in self._waiting:
            self._queue.add(record.obj.name)

    def _gone(self, record: ObjectRecord) -> None:
        self._waiting.pop(record.obj.name, None)
        self._queue.forget(record.obj.name)

    def _content_gone(self, record: ObjectRecord) -> None:
        namespace = record.obj.namespace
        left = self._waiting.get(namespace)
        if left is not None:
            self._waiting[namespace] = left - 1
            if left <= 1:
                self._queue.add(namespace)

    def _reconcile(self, name: str, budget: int) -> int:
        _ = budget
        record = self._namespaces.get(name)
        if record is None or not record.obj.deletion_s:
            self._waiting.pop(name, None)
            return 1
        self._waiting.pop(name, None)
        prefix = name + "/"
        tables = ((r, self._trusted.store.table(r).prefix(prefix)) for r in self._contents)
        contents = [(resource, records) for resource, records in tables if records]
        left = _BUDGET
        for resource, records in contents:
            for content in records:
                if left <= 0:
                    self._queue.add(name)
                    return 4
                left -= self._delete(resource, content)
        get = self._trusted.store.get
        remaining = {}
        for resource, records in contents:
            stay = [now for old in records if (now := get(resource, old.key)) is not None]
            if stay:
                remaining[resource] = stay
        self._write(record, remaining)
        self._queue.forget(name)
        if remaining:
            self._queue.add_after(name, _AGAIN_S)
        return 4

    def _delete(self, resource: Resource, record: ObjectRecord) -> int:
        """Delete an object unless that was done; returns what it cost."""
        obj = record.obj
        if obj.deletion_s:
            return 0
        if obj.finalizers or self._trusted.registry.kind(resource).graceful:
            self._trusted.delete(resource, obj.key, uid=obj.uid, policy="Background")
        else:
            self._trusted.finish_delete(resource, obj.key, uid=obj.uid)
        return 1

    def _write(self, record: ObjectRecord, remaining: dict[Resource, list[ObjectRecord]]) -> None:
        """Write the conditions, and let the namespace go when nothing remains."""
        name = record.obj.name
        before = orjson.loads(record.obj.status)
        conditions = self._conditions(before.get("conditions", []), remaining)
        if conditions != before.get("conditions"):
            status = {"conditions": conditions, **{k: v for k, v in before.items() if k != "conditions"}}
            record = self._trusted.replace_status(NAMESPACES, record, _in_order(status), "Terminating")
        if remaining:
            self._waiting[name] = sum(len(records) for records in remaining.values())
            return
        body = orjson.loads(b"{" + record.obj.body + b"}")
        before_it = body["spec"].get("finalizers", ())
        if before_it and FINALIZER not in before_it:
            # Done here; others have to let go yet.
            return
        kept = [f for f in before_it if f != FINALIZER]
        body["spec"] = {**body["spec"], "finalizers": kept} if kept else {}
        self._trusted.replace(NAMESPACES, record, body=body, finalizers=list(record.obj.finalizers))

    def _conditions(
        self, before: list[dict[str, Any]], remaining: dict[Resource, list[ObjectRecord]]
    ) -> list[dict[str, Any]]:
        now = rfc3339(self._clock.now())
        known = {condition["type"]: condition for condition in before}
        result = []
        for type_, (reason, message) in _FINE.items():
            status = "False"
            text = _remaining_text(type_, remaining)
            if text:
                status, message = "True", text  # noqa: PLW2901 - the other message of the same condition
                reason = "SomeResourcesRemain" if type_ == "NamespaceContentRemaining" else "SomeFinalizersRemain"  # noqa: PLW2901
            old = known.get(type_)
            if old is not None and old["status"] == status and old["message"] == message:
                result.append(old)
                continue
            result.append(
                {"type": type_, "status": status, "lastTransitionTime": now, "reason": reason, "message": message}
            )
        return result


def _in_order(status: dict[str, Any]) -> dict[str, Any]:
    return {"phase": status.get("phase", "Terminating"), "conditions": status["conditions"]}


def _remaining_text(type: str, remaining: dict[Resource, list[ObjectRecord]]) -> str:
    """Return what a condition has to say of contents that remain, "" for nothing."""
    if type == "NamespaceContentRemaining" and remaining:
        parts = sorted(f"{r.plural}.{r.group} has {len(found)} resource instances" for r, found in remaining.items())
        return "Some resources are remaining: " + ", ".join(parts)
    if type == "NamespaceFinalizersRemaining":
        counts: dict[str, int] = {}
        for records in remaining.values():
            for record in records:
                for finalizer in record.obj.finalizers:
                    counts[finalizer] = counts.get(finalizer, 0) + 1
        if counts:
            parts = sorted(f"{finalizer} in {count} resource instances" for finalizer, count in counts.items())
            return "Some content in the namespace has finalizers remaining: " + ", ".join(parts)
    return ""
