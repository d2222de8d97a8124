"""What is true of every object's metadata: validation, and what an update may change."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.kube.names import is_label_value, problems_of_label_value, problems_of_qualified_name
from kubedyno.kube.status import Cause, forbidden_field, invalid_value, required, too_long

_MAX_ANNOTATIONS = 256 * 1024
# The longest key that is valid, prefix and all: longer ones are not remembered.
_MAX_KEY = 253 + 1 + 63
_STANDARD_FINALIZERS = frozenset({"orphan", "foregroundDeletion", "kubernetes"})
_FINALIZER_TEXT = "name is neither a standard finalizer name nor is it fully qualified"
_IMMUTABLE = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")


def label_causes(labels: dict[str, str], path: str) -> list[Cause]:
    """Return what is wrong with labels."""
    causes: list[Cause] = []
    for key, value in labels.items():
        problems = _remembered(key) if len(key) <= _MAX_KEY else problems_of_qualified_name(key)
        if problems or not is_label_value(value):
            causes += [invalid_value(path, key, p) for p in problems]
            causes += [invalid_value(path, value, p) for p in problems_of_label_value(value)]
    return causes


@lru_cache(maxsize=4096)
def _remembered(key: str) -> Sequence[str]:
    """Return what is wrong with a label's key: keys are few, their values are many."""
    return tuple(problems_of_qualified_name(key))


def annotation_causes(annotations: dict[str, str], path: str) -> list[Cause]:
    """Return what is wrong with annotations."""
    causes = []
    for key in annotations:
        causes += [invalid_value(path, key, p) for p in problems_of_qualified_name(key.lower())]
    if sum(len(k.encode()) + len(v.encode()) for k, v in annotations.items()) > _MAX_ANNOTATIONS:
        causes.append(too_long(path, _MAX_ANNOTATIONS))
    return causes


def selector_causes(selector: Object, path: str) -> list[Cause]:
    """Return what is wrong with a metav1.LabelSelector."""
    causes = label_causes(selector.get("matchLabels", {}), f"{path}.matchLabels")
    for i, expression in enumerate(selector.get("matchExpressions", ())):
        where = f"{path}.matchExpressions[{i}]"
        operator, values = expression.get("operator", ""), expression.get("values", [])
        if operator in {"In", "NotIn"}:
            if not values:
                causes.append(required(f"{where}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
        elif operator in {"Exists", "DoesNotExist"}:
            if values:
                text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                causes.append(forbidden_field(f"{where}.values", text))
        else:
            causes.append(invalid_value(f"{where}.operator", operator, "not a valid selector operator"))
        key = expression.get("key", "")
        causes += [invalid_value(f"{where}.key", key, p) for p in problems_of_qualified_name(key)]
        for j, value in enumerate(values):
            causes += [invalid_value(f"{where}.values[{j}]", value, p) for p in problems_of_label_value(value)]
    return causes


# Of these come too many for anything to belong to one.
_EVENTS = frozenset({"v1", "events.k8s.io/v1"})


def _owner_causes(references: list[Any], path: str) -> list[Cause]:
    causes, controllers = [], []
    for owner in references:
        api_version = owner.get("apiVersion", "")
        if not api_version.rpartition("/")[2]:
            causes.append(invalid_value(f"{path}.apiVersion", api_version, "version must not be empty"))
        causes += [
            invalid_value(f"{path}.{name}", "", "must not be empty")
            for name in ("kind", "name", "uid")
            if not owner.get(name)
        ]
        if owner.get("kind") == "Event" and api_version in _EVENTS:
            kind = f"{api_version.rpartition('/')[0]}/{api_version.rpartition('/')[2]}, Kind=Event"
            causes.append(invalid_value(path, owner, f"{kind} is disallowed from being an owner"))
        if owner.get("controller"):
            controllers.append(owner)
    if len(controllers) > 1:
        text = (
            "Only one reference can have Controller set to true. "
            f'Found "true" in references for {controllers[0]["kind"]}/{controllers[0]["name"]} and '
            f"{controllers[1]['kind']}/{controllers[1]['name']}"
        )
        causes.append(invalid_value(path, references, text))
    return causes


def _finalizer_names(finalizers: list[str], path: str) -> list[Cause]:
    where = f"{path}.finalizers"
    causes = [
        invalid_value(where, each, problem) for each in finalizers for problem in problems_of_qualified_name(each)
    ]
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        text = "finalizer orphan and foregroundDeletion cannot be both set"
        causes.append(invalid_value(where, finalizers, text))
    return causes


def _finalizer_places(finalizers: list[str], path: str) -> list[Cause]:
    return [
        invalid_value(f"{path}.finalizers[{i}]", finalizer, _FINALIZER_TEXT)
        for i, finalizer in enumerate(finalizers)
        if "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS
    ]


def deduplicate_owners(metadata: Object, warnings: list[str] | None) -> None:
    """Keep one of equal owner references, in place."""
    references = metadata.get("ownerReferences", [])
    if len(references) < 2:
        return
    # By what they say, in any order.
    kept: dict[frozenset[tuple[str, Any]], Object] = {}
    repeated = [
        reference.get("uid", "")
        for reference in references
        if kept.setdefault(frozenset(reference.items()), reference) is not reference
    ]
    metadata["ownerReferences"] = list(kept.values())
    if repeated and warnings is not None:
        warnings.append(
            ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may "
            "reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: "
            + ", ".join(dict.fromkeys(repeated))
        )


def metadata_causes(kind: Kind, metadata: Object, path: str = "metadata") -> list[Cause]:
    """Return what is wrong with an object's metadata (ValidateObjectMeta)."""
    causes: list[Cause] = []
    prefix, name = metadata.get("generateName", ""), metadata.get("name", "")
    if prefix and kind.checks_prefix:
        # A trailing dash is fine: a suffix follows.
        masked = prefix[:-1] + "a" if prefix.endswith("-") and len(prefix) > 1 else prefix
        causes += [invalid_value(f"{path}.generateName", prefix, p) for p in kind.name_problems(masked)]
    if not name:
        causes.append(required(f"{path}.name", "name or generateName is required"))
    else:
        causes += [invalid_value(f"{path}.name", name, p) for p in kind.name_problems(name)]
    namespace = metadata.get("namespace", "")
    if kind.resource.namespaced and not namespace:
        causes.append(required(f"{path}.namespace"))
    elif not kind.resource.namespaced and namespace:
        causes.append(forbidden_field(f"{path}.namespace", "not allowed on this type"))
    generation = metadata.get("generation", 0)
    if generation < 0:
        causes.append(invalid_value(f"{path}.generation", generation, "must be greater than or equal to 0"))
    causes += _list_causes(metadata, path)
    if "finalizers" in metadata:
        causes += _finalizer_names(metadata["finalizers"], path)
        if kind.standard_finalizers:
            causes += _finalizer_places(metadata["finalizers"], path)
    return causes


def metadata_update_causes(kind: Kind, metadata: Object, old: Object, checks: str) -> list[Cause]:
    """Return what is wrong with a new version's metadata, each thing as often as the real server lists it.

    It looks at all metadata and at what may not change for every kind; each kind looks again, in its way.

    Args:
        kind: Of the object.
        metadata: The new one.
        old: What is stored.
        checks: See `Kind.metadata_checks`.
    """
    changes, whole = _change_causes(metadata, old), metadata_causes(kind, metadata)
    if not changes and not whole:
        return []
    path = "metadata"
    lists = _list_causes(metadata, path)
    finalizers = metadata.get("finalizers", [])
    causes = [*lists, *_finalizer_names(finalizers, path), *changes, *lists]
    for check in checks:
        causes += changed_metadata_causes(kind, metadata, old) if check == "u" else whole
    return causes


def changed_metadata_causes(kind: Kind, metadata: Object, old: Object) -> list[Cause]:
    """Return what is wrong with what is new in an object's metadata (ValidateObjectMetaUpdate)."""
    path = "metadata"
    places = _finalizer_places(metadata.get("finalizers", []), path) if kind.standard_finalizers else []
    return [*_change_causes(metadata, old), *_list_causes(metadata, path), *places]


def _change_causes(metadata: Object, old: Object) -> list[Cause]:
    causes: list[Cause] = []
    if old.get("deletionTimestamp"):
        added = [f for f in metadata.get("finalizers", ()) if f not in old.get("finalizers", ())]
        if added:
            listed = ", ".join(f'"{f}"' for f in sorted(added))
            text = (
                "no new finalizers can be added if the object is being deleted, found new finalizers "
                f"[]string{{{listed}}}"
            )
            causes.append(forbidden_field("metadata.finalizers", text))
    return causes + [
        invalid_value(f"metadata.{name}", metadata.get(name), "field is immutable")
        for name in _IMMUTABLE
        if metadata.get(name) != old.get(name)
    ]


def _list_causes(metadata: Object, path: str) -> list[Cause]:
    causes = label_causes(metadata["labels"], f"{path}.labels") if "labels" in metadata else []
    if "annotations" in metadata:
        causes += annotation_causes(metadata["annotations"], f"{path}.annotations")
    if "ownerReferences" in metadata:
        causes += _owner_causes(metadata["ownerReferences"], f"{path}.ownerReferences")
    return causes
