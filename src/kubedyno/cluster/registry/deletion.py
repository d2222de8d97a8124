"""Deletion: preconditions, grace periods, finalizers and propagation, as one decision without effects."""

from dataclasses import dataclass

from kubedyno.base.times import rfc3339
from kubedyno.cluster.registry.codec import meta_dict
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube.resources import NAMESPACES
from kubedyno.kube.status import Conflict, Invalid, conflict

ORPHAN = "orphan"
FOREGROUND = "foregroundDeletion"
_POLICIES = ("Foreground", "Background", "Orphan", "nil")


@dataclass(frozen=True, slots=True)
class Deletion:
    """What a deletion does.

    Attributes:
        metadata: New metadata to store first; None when the object is to stay as it is.
        remove: The object goes at once, after `metadata` was stored.
    """

    metadata: Object | None
    remove: bool


def _invalid_options(field: str, text: str, reason: str) -> Invalid:
    return Invalid(
        f'DeleteOptions.meta.k8s.io "" is invalid: {field}: {text}',
        {
            "group": "meta.k8s.io",
            "kind": "DeleteOptions",
            "causes": [{"reason": reason, "message": text, "field": field}],
        },
    )


def check_options(options: Object) -> None:
    """Check DeleteOptions.

    Raises:
        Invalid: An unknown propagation policy, or one together with orphanDependents.
    """
    policy = options.get("propagationPolicy")
    if policy is not None and options.get("orphanDependents") is not None:
        text = f'Invalid value: "{policy}": orphanDependents and deletionPropagation cannot be both set'
        raise _invalid_options("propagationPolicy", text, "FieldValueInvalid")
    if policy is not None and policy not in _POLICIES[:3]:
        listed = ", ".join(f'"{p}"' for p in _POLICIES)
        text = f'Unsupported value: "{policy}": supported values: {listed}'
        raise _invalid_options("propagationPolicy", text, "FieldValueNotSupported")
    dry_run = options.get("dryRun") or []
    if any(value != "All" for value in dry_run):
        shown = "[" + ",".join(f'"{v}"' for v in dry_run) + "]"
        text = f'Unsupported value: {shown}: supported values: "All"'
        raise _invalid_options("dryRun", text, "FieldValueNotSupported")


def check_preconditions(kind: Kind, record: ObjectRecord, options: Object) -> None:
    """Check the uid and resourceVersion that the client expects.

    Raises:
        Conflict: Another object, or another version of it.
    """
    expected = options.get("preconditions") or {}
    uid, version = expected.get("uid"), expected.get("resourceVersion")
    name, resource = record.obj.name, (kind.stored_as or kind.resource)
    if resource is NAMESPACES:
        _check_namespace(record, uid, version)
        return
    why = ""
    if uid is not None and uid != record.obj.uid:
        why = (
            f"the UID in the precondition ({uid}) does not match the UID in record ({record.obj.uid}). "
            "The object might have been deleted and then recreated"
        )
    elif version is not None and version != str(record.revision):
        why = (
            f"the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record "
            f"({record.revision}). The object might have been modified"
        )
    if why:
        what = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
        details = {"name": name, "group": resource.group, "kind": resource.kind}
        if not resource.group:
            del details["group"]
        raise Conflict(f'Operation cannot be fulfilled on {what} "{name}": {why}', details)


def _check_namespace(record: ObjectRecord, uid: str | None, version: str | None) -> None:
    """Check what is expected of a namespace, whose deletion has its own words."""
    expected = (("UID", uid, record.obj.uid), ("ResourceVersion", version, str(record.revision)))
    for what, wanted, there in expected:
        if wanted is not None and wanted != there:
            why = f"Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {there}"
            raise conflict(NAMESPACES, record.obj.name, why)


def finalizers_of(kind: Kind, metadata: Object, options: Object) -> list[str]:
    """Return the finalizers that the propagation policy leaves."""
    existing: list[str] = metadata.get("finalizers", [])
    if not kind.collectable:
        return list(existing)
    policy, orphan = options.get("propagationPolicy"), options.get("orphanDependents")
    if orphan is not None:
        orphan, foreground = bool(orphan), False
    elif policy is not None:
        orphan, foreground = policy == "Orphan", policy == "Foreground"
    else:
        orphan = ORPHAN in existing
        foreground = not orphan and FOREGROUND in existing
        orphan = orphan or (kind.orphans and not foreground)
    kept = [f for f in existing if f not in {ORPHAN, FOREGROUND}]
    if orphan:
        kept.append(ORPHAN)
    if foreground:
        kept.append(FOREGROUND)
    # Where they are the same, they stay in their order.
    return list(existing) if set(kept) == set(existing) else kept


def decide(kind: Kind, record: ObjectRecord, options: Object, now_s: float, default_grace_s: int | None) -> Deletion:
    """Decide what a deletion does to an object.

    Args:
        kind: Its kind.
        record: Its newest version.
        options: Checked DeleteOptions.
        now_s: Epoch seconds.
        default_grace_s: Grace period when the options name none; None when nothing waits for this object to stop.
    """
    obj = record.obj
    metadata = meta_dict(obj)
    finalizers = finalizers_of(kind, metadata, options)
    if not obj.deletion_s:
        finalizers += [f for f in kind.deletion_finalizers if f not in finalizers]
    changed = finalizers != metadata.get("finalizers", [])
    if kind.graceful:
        return _graceful(metadata, finalizers, options, now_s, default_grace_s, changed=changed)
    if not finalizers and not changed:
        return Deletion(None, remove=True)
    if obj.deletion_s and not changed:
        return Deletion(None, remove=False)
    if kind.deletion_noted:
        mark(metadata, now_s, 0)
    else:
        metadata.setdefault("deletionTimestamp", rfc3339(now_s))
    _set_finalizers(metadata, finalizers)
    return Deletion(metadata, remove=not finalizers)


def _graceful(
    metadata: Object,
    finalizers: list[str],
    options: Object,
    now_s: float,
    default_grace_s: int | None,
    *,
    changed: bool,
) -> Deletion:
    asked = options.get("gracePeriodSeconds")
    grace = default_grace_s or 0
    if asked is not None:
        grace = 1 if asked < 0 else int(asked)
    if "deletionTimestamp" in metadata:
        before = metadata.get("deletionGracePeriodSeconds", 0)
        # Who asks for nothing waits on; only where nobody stops the pod any more, it goes.
        shorter = grace < before if asked is not None else default_grace_s is None and before > 0
        if not shorter:
            if before == 0 and not finalizers:
                return Deletion(None, remove=True)
            if not changed:
                return Deletion(None, remove=False)
            grace = before
        else:
            metadata["deletionTimestamp"] = rfc3339(now_s + grace)
            metadata["deletionGracePeriodSeconds"] = grace
    else:
        # Where nothing waits, nobody can ask for a wait.
        grace = 0 if default_grace_s is None else max(grace, 1 if grace < 0 else 0)
        mark(metadata, now_s, grace)
    _set_finalizers(metadata, finalizers)
    return Deletion(metadata, remove=grace == 0 and not finalizers)


def mark(metadata: Object, now_s: float, grace_s: int) -> None:
    """Set the members that say "being deleted", unless they are set."""
    if "deletionTimestamp" not in metadata:
        metadata["deletionTimestamp"] = rfc3339(now_s + grace_s)
        metadata["deletionGracePeriodSeconds"] = grace_s
        if metadata.get("generation"):
            metadata["generation"] += 1


def _set_finalizers(metadata: Object, finalizers: list[str]) -> None:
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)
