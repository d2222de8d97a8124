"""Objects as dicts to stored objects: the one place that cuts an object into segments."""

from typing import Any

import orjson

from kubedyno.base.times import epoch_of
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.storage.objects import StoredObject, key_of, packed

# The order of Go's ObjectMeta, without what is joined on output.
META_ORDER = (
    "name", "generateName", "namespace", "selfLink", "uid", "generation", "creationTimestamp", "deletionTimestamp",
    "deletionGracePeriodSeconds", "labels", "annotations", "ownerReferences", "finalizers",
)  # fmt: skip
_NOT_BODY = frozenset({"kind", "apiVersion", "metadata", "status"})
_NO_LABELS: dict[str, str] = {}


def meta_bytes(metadata: Object) -> bytes:
    """Return the members of metadata as they are stored."""
    return orjson.dumps({name: metadata[name] for name in META_ORDER if name in metadata})[1:-1]


def meta_dict(obj: StoredObject) -> Object:
    """Return the members of a stored object's metadata, without resourceVersion and managedFields."""
    return dict(orjson.loads(b"{" + obj.meta + b"}"))


def owner_uids(references: list[Any]) -> tuple[str, ...]:
    """Return the owners' uids, the controller's first."""
    if len(references) == 1:
        return (references[0].get("uid", ""),)
    return tuple(r.get("uid", "") for r in sorted(references, key=lambda r: not r.get("controller")))


def _status_bytes(kind: Kind, obj: Object) -> bytes:
    if kind.status_optional and obj.get("status") is None:
        return b""
    return packed(obj.get("status") or {})


def stored_of(kind: Kind, obj: Object, facts: Any = None, managed: bytes = b"") -> StoredObject:
    """Return the stored form of a complete object.

    Args:
        kind: Its kind.
        obj: With final metadata; not kept.
        facts: The kind's facts where the caller has them already.
        managed: JSON array of managedFields.
    """
    metadata = obj["metadata"]
    namespace, name = metadata.get("namespace", ""), metadata["name"]
    deletion = metadata.get("deletionTimestamp")
    return StoredObject(
        key_of(namespace, name),
        namespace,
        name,
        metadata["uid"],
        metadata.get("generation", 0),
        metadata.get("labels") or _NO_LABELS,
        owner_uids(metadata["ownerReferences"]) if "ownerReferences" in metadata else (),
        epoch_of(deletion) if deletion else 0.0,
        tuple(metadata.get("finalizers", ())),
        meta_bytes(metadata),
        managed,
        orjson.dumps({key: value for key, value in obj.items() if key not in _NOT_BODY})[1:-1],
        _status_bytes(kind, obj) if kind.has_status else b"",
        kind.facts(obj) if facts is None else facts,
    )


def with_parts(
    obj: StoredObject,
    *,
    metadata: Object | None = None,
    body: bytes | None = None,
    status: bytes | None = None,
    facts: Any,
) -> StoredObject:
    """Return a stored object with some parts replaced.

    Args:
        obj: The old one.
        metadata: New metadata as `meta_dict` gave it, changed.
        body: New body.
        status: New status.
        facts: The facts of the new version.
    """
    if metadata is None:
        return StoredObject(
            obj.key, obj.namespace, obj.name, obj.uid, obj.generation, obj.labels, obj.owners, obj.deletion_s,
            obj.finalizers, obj.meta, obj.managed, obj.body if body is None else body,
            obj.status if status is None else status, facts,
        )  # fmt: skip
    deletion = metadata.get("deletionTimestamp")
    labels = metadata.get("labels") or _NO_LABELS
    return StoredObject(
        obj.key, obj.namespace, obj.name, obj.uid, metadata.get("generation", 0),
        obj.labels if labels == obj.labels else labels,
        owner_uids(metadata["ownerReferences"]) if "ownerReferences" in metadata else (),
        epoch_of(deletion) if deletion else 0.0, tuple(metadata.get("finalizers", ())),
        meta_bytes(metadata), obj.managed, obj.body if body is None else body,
        obj.status if status is None else status, facts,
    )  # fmt: skip


def same_version(new: StoredObject, old: StoredObject) -> bool:
    """Say whether two versions are the same apart from the order of members."""
    return (
        _alike(b"{%b}" % new.meta, b"{%b}" % old.meta)
        and _alike(b"{%b}" % new.body, b"{%b}" % old.body)
        and _alike(new.status or b"null", old.status or b"null")
    )


def _alike(a: bytes, b: bytes) -> bool:
    return a == b or orjson.loads(a) == orjson.loads(b)
