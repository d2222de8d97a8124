"""Who owns which field of an object: kept up on each write, and decided on by server-side apply.

One `FieldManager` a served resource. It is given objects as they are after defaulting and before anything that the
server itself sets, and works on the bytes that `StoredObject.managed` holds. Ownership that a write doesn't change
costs one comparison of dicts; what a create owns depends on the object's structure alone and is remembered by it.

Only what clients write is tracked as it is written. The cluster's own parts write through `Trusted`, which leaves the
stored managedFields as they are; what they own is made out when somebody reads (`authors`), and is what a client's write
begins with.
"""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import orjson

from kubedyno.cluster.registry.managedfields import (
    APPLY,
    Entry,
    Managed,
    ManagerId,
    applier,
    capped,
    decode,
    encode,
    entry_bytes,
    parse,
    updater,
    without_fields,
)
from kubedyno.kube import fieldset
from kubedyno.kube.fieldset import Fields, FieldSetError
from kubedyno.kube.resources import Resource
from kubedyno.kube.shapes import Shape, shape_of_kind, skeleton
from kubedyno.kube.status import BadRequest, Conflict, StatusError
from kubedyno.kube.typed import (
    ABSENT,
    Comparison,
    compare,
    element_paths,
    element_step,
    field_set,
    merge,
    named_members,
    problems,
    remove,
    structure,
)

Object = dict[str, Any]
# What `status_keeps` names where a write of the status changes nothing but that.
METADATA = ("annotations", "finalizers", "labels", "ownerReferences")
BEFORE_FIRST_APPLY = "before-first-apply"
# The manager whose applies take over what `kubectl apply` without --server-side left in an annotation.
_KUBECTL = "kubectl"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_MAX_ANNOTATIONS = 256 * 1024
_UNKNOWN = "unknown"
_SYSTEM = (
    "name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation", "managedFields",
    "resourceVersion",
)  # fmt: skip
_SYSTEM_SET = frozenset(_SYSTEM)
_TYPE = frozenset({"apiVersion", "kind"})
# What nobody owns.
_STRIPPED: Fields = {
    "f:apiVersion": {},
    "f:kind": {},
    "f:metadata": {fieldset.SELF: {}, **{f"f:{name}": {} for name in _SYSTEM}},
}
_MAX_SETS = 256
_MAX_MEMORY = 4096
_NOTHING = b"{}"


class FieldManager:
    """Keeps one resource's managedFields.

    Args:
        resource: Whose.
        has_status: Its status is written through the subresource only.
        status_keeps: Members of the metadata that a write of the status leaves as they are.
        shape: Of a custom resource; built-in kinds have theirs.
        unowned: Subresource, "" for the object itself → what nobody comes to own by writing it, beyond these.
    """

    def __init__(
        self,
        resource: Resource,
        *,
        has_status: bool,
        status_keeps: tuple[str, ...],
        shape: Shape | None = None,
        unowned: Mapping[str, Fields] | None = None,
    ) -> None:
        self._resource = resource
        self._version = resource.api_version
        self._shape = shape_of_kind(resource.api_version, resource.kind) if shape is None else shape
        self._empty = _bare(skeleton(resource.api_version, resource.kind) if shape is None else {})
        self._zeros = _zero_paths(self._empty)
        self._nulls = [path for path in self._zeros if _value_at(self._empty, path) is None]
        status_only: Fields = {"f:spec": {}}
        if status_keeps == METADATA:
            status_only["f:metadata"] = {}
        elif status_keeps:
            status_only["f:metadata"] = {f"f:{name}": {} for name in status_keeps}
        self._reset: dict[str, Fields] = {"": {"f:status": {}} if has_status else {}, "status": status_only}
        for subresource, fields in (unowned or {}).items():
            self._reset[subresource] = self._reset_of(subresource) | fields
        # In another version of the API in which somebody owns something: its manager, and the object in its form.
        self.others: Callable[[str, Object], tuple[FieldManager, Object] | None] = lambda _, __: None
        # Structure of a new object → its set's JSON.
        self._forms: dict[tuple[Any, ...], _Form] = {}
        # What objects of one structure and with the same keys of lists' elements have set; as last asked for.
        self._sets: dict[Any, Fields] = {}

    # --- updates -----------------------------------------------------------------------------------------------

    def as_sent(self, new: Object, sent: Any) -> Object:
        """Return a decoded object with the empty lists that its client sent where Go has null: they are owned."""
        for path in self._nulls:
            if _value_at(sent, path) == [] and not _value_at(new, path):
                new = _with_empty(new, path)
        return new

    def created(self, new: Object, manager: str, now: str, subresource: str = "") -> bytes:
        """Return the managedFields of an object to be created.

        Args:
            new: Decoded and defaulted.
            manager: Who creates it.
            now: RFC 3339.
            subresource: Through which; "" for the object itself.
        """
        if subresource:
            return self._creators(fieldset.dumps(self._owned_at_first(new)), manager, now, subresource)
        parts: list[Any] = []
        elements: list[Any] = []
        structure(self._shape, new, parts, elements)
        if self._zeros:
            parts += [_value_at(new, path) in _ZERO_VALUES for path in self._zeros]
        if None in elements:
            # An element that has no keys of its own: such an object is none to remember, or not even valid.
            return self._creators(fieldset.dumps(self._owned_at_first(new)), manager, now)
        key = tuple(parts)
        form = self._forms.get(key)
        if form is None:
            if len(self._forms) >= _MAX_MEMORY:
                self._forms.clear()
            form = self._forms[key] = _Form(self._shape, new, self._owned_at_first(new))
        if form.last is not None and form.last[:3] == (manager, now, elements):
            return form.last[3]
        managed = self._creators(form.filled(elements), manager, now)
        form.last = manager, now, elements, managed
        return managed

    def _creators(self, fields: bytes, manager: str, now: str, subresource: str = "") -> bytes:
        if fields == _NOTHING:
            return b""
        identity = updater(manager or _UNKNOWN, self._version, subresource)
        return b"[" + entry_bytes(identity, self._version, now, fields) + b"]"

    def _owned_at_first(self, obj: Object) -> Fields:
        """Return what is set in an object to be created of what its creator may set."""
        return fieldset.without(self._set_of(obj), self._reset_of(""))

    def _set_of(self, obj: Object) -> Fields:
        """Return all that is set in an object: what sets it apart from an empty one."""
        found = compare(self._shape, _bare(self._empty), _bare(obj))
        return fieldset.union(found.added, found.modified)

    def set_in(self, obj: Object) -> Fields:
        """Return all that is set in an object, or in those parts of it that are given, in the order of printing."""
        bare = _bare(obj)
        parts: list[Any] = []
        elements: list[Any] = []
        structure(self._shape, bare, parts, elements)
        parts += [_value_at(bare, path) in _ZERO_VALUES for path in self._zeros]
        key = None if None in elements else (*parts, *elements)
        known = self._sets.pop(key, None)
        if known is None:
            empty = {name: value for name, value in _bare(self._empty).items() if name in obj}
            found = compare(self._shape, empty, bare)
            known = fieldset.ordered(fieldset.union(found.added, found.modified))
            if len(self._sets) >= _MAX_SETS:
                # The one that was asked for longest ago.
                del self._sets[next(iter(self._sets))]
        if key is not None:
            self._sets[key] = known
        return known

    def _reset_of(self, subresource: str) -> Fields:
        """Return the fields that a write may not change."""
        return self._reset.get(subresource, self._reset[""])

    def _compared(self, old: Object, new: Object, subresource: str) -> Comparison:
        """Return what a write changes of what it may change."""
        # Most writes leave most of an object as it is.
        kept = {name for name, value in new.items() if name in old and old[name] == value}
        found = compare(self._shape, _bare(old, kept), _bare(new, kept))
        reset = self._reset_of(subresource)
        if found.same or not reset:
            return found
        return Comparison(*(fieldset.without(part, reset) for part in found))

    def updated(self, old: Object, new: Object, managed: bytes, manager: str, subresource: str, now: str) -> bytes:
        """Return the managedFields after an update or a patch.

        Args:
            old: The stored version.
            new: The version wanted, decoded and defaulted; its managedFields count where they are valid.
            managed: The stored managedFields.
            manager: Who does it.
            subresource: Through which; "" for the object itself.
            now: RFC 3339.
        """
        given = new["metadata"].get("managedFields")
        entries: Managed | None = None
        if given is not None and not subresource:
            if not given or given == [{}]:
                return b""
            if orjson.dumps(given) != managed:
                entries = _parsed(given)
        if entries is None and not managed:
            return b""
        changes = self._compared(old, new, subresource)
        if changes.same and entries is None:
            return managed
        if entries is None:
            entries = self._understood(decode(managed))
            if not entries:
                return b""
        identity = updater(manager or _UNKNOWN, self._version, subresource)
        return encode(
            self._updated(entries, self._changes_by_version(entries, changes, old, new, subresource), identity, now)
        )

    def _changes_by_version(
        self, managed: Managed, changes: Comparison, old: Object, new: Object, subresource: str
    ) -> dict[str, Comparison]:
        """Return what a write changes, in each version in which somebody owns something."""
        found = {self._version: changes}
        for entry in managed.values():
            version = entry.api_version
            if version not in found:
                before, after = self.others(version, old), self.others(version, new)
                if before is None or after is None:
                    found[version] = changes
                else:
                    found[version] = before[0]._compared(before[1], after[1], subresource)
        return found

    def _understood(self, managed: Managed) -> Managed:
        """Return the entries without those of another group's form of the object, which nobody can convert."""
        group = self._resource.group
        other = [identity for identity, entry in managed.items() if entry.api_version.rpartition("/")[0] != group]
        return {identity: entry for identity, entry in managed.items() if identity not in other} if other else managed

    def _updated(self, managed: Managed, by_version: dict[str, Comparison], identity: ManagerId, now: str) -> Managed:
        changes = by_version[self._version]
        taken = fieldset.union(changes.modified, changes.added)
        result = _without_changed(managed, by_version)
        if taken:
            mine = result.get(identity)
            owned = taken if mine is None else fieldset.union(taken, mine.fields)
            before = managed.get(identity)
            if before is not None and before.in_order and before.fields == owned:
                # Whoever changes its own fields, as most do, owns the same ones: they need not be put in order again.
                result[identity] = Entry(self._version, now, before.fields, in_order=True)
            else:
                result[identity] = Entry(self._version, now, owned)
        return capped(result)

    # --- apply -------------------------------------------------------------------------------------------------

    def applied(
        self,
        live: Object | None,
        patch: Object,
        managed: bytes,
        manager: str,
        subresource: str,
        now: str,
        *,
        force: bool,
    ) -> tuple[Object, bytes]:
        """Return the object that an apply makes, and its managedFields.

        Args:
            live: The stored version, None when there is none.
            patch: What the client applies.
            managed: The stored managedFields.
            manager: Who applies.
            subresource: Through which; "" for the object itself.
            now: RFC 3339.
            force: Take fields that others own.

        Raises:
            BadRequest: It is no such object.
            StatusError: It does not fit the type.
            Conflict: Others own fields that would change.
        """
        self.check(patch)
        if live is None:
            owned = self._owned_by(patch, subresource)
            entry = {applier(manager, subresource): Entry(self._version, now, owned)} if owned else {}
            return patch, encode(entry)
        entries = self._understood(decode(managed))
        if not entries:
            owned = fieldset.without(self._set_of(live), self._reset_of(subresource))
            if owned:
                entries[updater(BEFORE_FIRST_APPLY, self._version, subresource)] = Entry(self._version, now, owned)
        try:
            wanted, result = self._applied(live, patch, entries, manager, subresource, now, force=force)
        except _ConflictsError as conflicts:
            if manager != _KUBECTL:
                raise conflicts.status() from None
            allowed = self._last_applied(live)
            left = conflicts.without(allowed)
            if left.found:
                raise left.status() from None
            wanted, result = self._applied(live, patch, entries, manager, subresource, now, force=True)
        if manager == _KUBECTL:
            wanted = _with_last_applied(wanted, patch)
        return wanted, encode(result)

    def check(self, patch: Object) -> None:
        """Refuse what cannot be applied.

        Raises:
            BadRequest: It is another kind, or brings managedFields.
            StatusError: It does not fit the type.
        """
        resource = self._resource
        api_version, kind = _text(patch.get("apiVersion")).removeprefix("/"), _text(patch.get("kind"))
        if api_version.count("/") > 1:
            # It is no version, and what cannot be read names no kind either.
            api_version = kind = ""
        if (api_version, kind) != (resource.api_version, resource.kind):
            raise BadRequest(f"invalid object type: {_gvk(api_version, kind)}")
        metadata = patch.get("metadata")
        if isinstance(metadata, dict) and metadata.get("managedFields") is not None:
            raise BadRequest("metadata.managedFields must be nil")
        found = problems(self._shape, patch)
        if found:
            named = metadata if isinstance(metadata, dict) else {}
            name, namespace = _text(named.get("name")), _text(named.get("namespace"))
            text = found[0] if len(found) == 1 else "\n  ".join(["errors:", *found])
            raise StatusError(
                f"failed to create typed patch object ({namespace}/{name}; {_gvk(api_version, kind)}): {text}",
                code=500,
                reason="",
            )

    def _owned_by(self, patch: Object, subresource: str) -> Fields:
        owned = fieldset.difference(field_set(self._shape, patch), _STRIPPED)
        return fieldset.without(owned, self._reset_of(subresource))

    def _applied(
        self, live: Object, patch: Object, managed: Managed, manager: str, subresource: str, now: str, *, force: bool
    ) -> tuple[Object, Managed]:
        identity = applier(manager, subresource)
        before = managed.get(identity)
        owned = self._owned_by(patch, subresource)
        entries = dict(managed)
        entries[identity] = Entry(self._version, before.time if before else "", owned)
        plain = {**live, "metadata": {k: v for k, v in live["metadata"].items() if k != "managedFields"}}
        wanted = merge(self._shape, plain, patch)
        if before is not None and before.fields:
            # What is stripped of what it owns, its name above all, is its own nonetheless.
            whole = Entry(self._version, "", field_set(self._shape, patch))
            wanted = self._pruned(wanted, {**entries, identity: whole}, before.fields)
        changes = self._compared(plain, wanted, subresource)
        by_version = self._changes_by_version(entries, changes, plain, wanted, subresource)
        conflicts = {
            other: shared
            for other, entry in entries.items()
            if other != identity
            and (shared := fieldset.intersection(entry.fields, _taken(by_version[entry.api_version])))
        }
        if conflicts and not force:
            raise _ConflictsError(conflicts)
        entries = _without_changed(entries, by_version, keep=(identity,))
        # Also another order makes it a change, and what is put back later: what this subresource may not change.
        same = bool(plain == wanted)
        if not owned:
            del entries[identity]
        elif not same:
            entries[identity] = Entry(self._version, now, owned)
        return plain if same else wanted, entries

    def _pruned(self, merged: Object, managed: Managed, last: Fields) -> Object:
        """Return a merged object without what its applier applied last time, but neither it nor others own now."""
        shape = self._shape
        pruned = remove(shape, merged, named_members(shape, last))
        owned: Fields = {}
        for entry in managed.values():
            owned = fieldset.union(owned, entry.fields)
        everything = named_members(shape, field_set(shape, merged))
        kept = fieldset.union(named_members(shape, field_set(shape, pruned)), named_members(shape, owned))
        pruned = remove(shape, merged, fieldset.difference(everything, kept))
        # What went along with something that the applier owned, but was not its own, stays.
        gone = fieldset.difference(everything, named_members(shape, field_set(shape, pruned)))
        left = remove(shape, merged, fieldset.intersection(gone, named_members(shape, last)))
        return dict(left or {})

    def _last_applied(self, live: Object) -> Fields:
        """Return the fields that a client-side apply owns: those that are still as it left them."""
        text = live["metadata"].get("annotations", {}).get(_LAST_APPLIED)
        try:
            applied = orjson.loads(text) if text else None
        except orjson.JSONDecodeError:
            return {}
        if not isinstance(applied, dict) or applied.get("apiVersion") != self._version:
            return {}
        if problems(self._shape, applied):
            return {}
        changes = compare(self._shape, applied, live)
        owned = field_set(self._shape, applied)
        for part in changes:
            owned = fieldset.difference(owned, part)
        return owned


# --- what creators own ------------------------------------------------------------------------------------------------


class _Form:
    """The JSON of the set of all new objects with one structure, which differ in the keys of their lists' elements.

    Attributes:
        last: The last managedFields made of it, with what they were made for: objects alike share them.
    """

    __slots__ = ("_order", "_text", "last")

    def __init__(self, shape: Shape, new: Object, owned: Fields) -> None:
        places = {path: i for i, path in enumerate(element_paths(shape, new))}
        pieces: list[bytes] = []
        self._order: list[int] = []
        self._print(fieldset.ordered(owned), (), places, pieces)
        self._text = b"".join(pieces)
        self.last: tuple[str, str, list[Any], bytes] | None = None

    def _print(
        self, fields: Fields, path: tuple[str, ...], places: dict[tuple[str, ...], int], pieces: list[bytes]
    ) -> None:
        """Print a set with a gap for each element."""
        pieces.append(b"{")
        for i, (step, below) in enumerate(fields.items()):
            here = (*path, step)
            place = places.get(here)
            pieces.append(b"," if i else b"")
            if place is None:
                pieces.append(orjson.dumps(step).replace(b"%", b"%%"))
            else:
                pieces.append(b"%b")
                self._order.append(place)
            pieces.append(b":")
            self._print(below, here, places, pieces)
        pieces.append(b"}")

    def filled(self, elements: list[Any]) -> bytes:
        """Return the set of an object with these elements."""
        steps = [orjson.dumps(element_step(*elements[place])) for place in self._order]
        return self._text % tuple(steps)


# --- conflicts -----------------------------------------------------------------------------------------------------


class _ConflictsError(Exception):
    """Fields that an apply would change and others own."""

    def __init__(self, found: dict[ManagerId, Fields]) -> None:
        super().__init__()
        self.found = found

    def without(self, allowed: Fields) -> "_ConflictsError":
        left = {identity: fieldset.difference(fields, allowed) for identity, fields in self.found.items()}
        return _ConflictsError({identity: fields for identity, fields in left.items() if fields})

    def status(self) -> Conflict:
        """Return the 409."""
        by_manager = {
            _printed(identity): [fieldset.path_text(path) for path in fieldset.paths(fields)]
            for identity, fields in sorted(self.found.items(), key=_conflict_order)
        }
        count = sum(map(len, by_manager.values()))
        if count == 1:
            manager, (path,) = next(iter(by_manager.items()))
            message = f"Apply failed with 1 conflict: conflict with {manager}: {path}"
        else:
            lines = []
            for manager, texts in by_manager.items():
                lines += [f"conflicts with {manager}:", *(f"- {text}" for text in texts)]
            message = f"Apply failed with {count} conflicts: " + "\n".join(lines)
        causes = [
            {"reason": "FieldManagerConflict", "message": f"conflict with {manager}", "field": text}
            for manager, texts in by_manager.items()
            for text in texts
        ]
        return Conflict(message, {"causes": causes})


def _conflict_order(item: tuple[ManagerId, Fields]) -> bytes:
    """Return what managers in conflict are sorted by: the JSON of their ids."""
    manager, operation, api_version, subresource = item[0]
    members = {"manager": manager, "operation": operation, "apiVersion": api_version, "subresource": subresource}
    return orjson.dumps({name: value for name, value in members.items() if value})


def _printed(identity: ManagerId) -> str:
    text = orjson.dumps(identity.manager).decode()
    if identity.subresource:
        text += f' with subresource "{identity.subresource}"'
    return text if identity.operation == APPLY else f"{text} using {identity.api_version}"


# --- helpers -------------------------------------------------------------------------------------------------------


def _bare(obj: Object, kept: AbstractSet[str] = frozenset()) -> Object:
    """Return an object without what nobody owns, and without some members."""
    bare = {name: value for name, value in obj.items() if name not in _TYPE and name not in kept}
    if "metadata" not in kept:
        metadata = obj.get("metadata") or {}
        bare["metadata"] = {name: value for name, value in metadata.items() if name not in _SYSTEM_SET}
    return bare


_ZERO_VALUES: tuple[Any, ...] = ("", 0, False, None, {})


def _zero_paths(value: Object, before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the paths of the leaves of an empty object: a new object that has these values owns nothing there."""
    found: list[tuple[str, ...]] = []
    for name, member in value.items():
        if isinstance(member, dict) and member:
            found += _zero_paths(member, (*before, name))
        else:
            found.append((*before, name))
    return found


def _value_at(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        value = value.get(name, ABSENT) if isinstance(value, dict) else ABSENT
    return value


def _taken(changes: Comparison) -> Fields:
    """Return what whoever writes comes to own."""
    return fieldset.union(changes.modified, changes.added)


def _without_changed(managed: Managed, by_version: dict[str, Comparison], keep: tuple[ManagerId, ...] = ()) -> Managed:
    """Return the entries without what a write changes, each in its own version."""
    if len(by_version) == 1:
        (changes,) = by_version.values()
        return without_fields(managed, fieldset.union(_taken(changes), changes.removed), keep=keep)
    result: Managed = {}
    for identity, entry in managed.items():
        changes = by_version[entry.api_version]
        gone = fieldset.union(_taken(changes), changes.removed)
        result |= without_fields({identity: entry}, gone, keep=keep)
    return result


def _with_empty(value: Object, path: tuple[str, ...]) -> Object:
    """Return an object with an empty list at a path."""
    name, *rest = path
    return {**value, name: _with_empty(value.get(name) or {}, tuple(rest)) if rest else []}


def _text(value: Any) -> str:
    """Return a member that is text, "" for any other."""
    return value if isinstance(value, str) else ""


def _parsed(given: Any) -> Managed | None:
    """Return the entries that a client sent, None when they are not valid."""
    try:
        return parse(given) or None
    except (FieldSetError, AttributeError, TypeError):
        return None


def _gvk(api_version: str, kind: str) -> str:
    group, _, version = api_version.rpartition("/")
    return f"{group}/{version}, Kind={kind}"


def _with_last_applied(wanted: Object, patch: Object) -> Object:
    """Return an object whose annotation of the client-side apply, if it has one, says what was applied now."""
    annotations = wanted["metadata"].get("annotations")
    if not annotations or _LAST_APPLIED not in annotations:
        return wanted
    metadata = dict(patch.get("metadata") or {})
    if isinstance(metadata.get("annotations"), dict):
        metadata["annotations"] = {k: v for k, v in metadata["annotations"].items() if k != _LAST_APPLIED}
    text = orjson.dumps({**patch, "metadata": metadata}, option=orjson.OPT_SORT_KEYS).decode() + "\n"
    changed = {**annotations, _LAST_APPLIED: text}
    if sum(len(k.encode()) + len(v.encode()) for k, v in changed.items()) > _MAX_ANNOTATIONS:
        del changed[_LAST_APPLIED]
    return {**wanted, "metadata": {**wanted["metadata"], "annotations": changed}}
