"""The entries of metadata.managedFields: who set which fields, and how entries are read, printed and kept few."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
import orjson

from kubedyno.kube import fieldset
from kubedyno.kube.fieldset import Fields, FieldSetError

APPLY, UPDATE = "Apply", "Update"
# More updating managers than this, and the oldest become one.
MAX_UPDATERS = 10
ANCIENT = "ancient-changes"
# In `time`, as the real server prints it.
_NO_TIME = ""


class ManagerId(NamedTuple):
    """What tells entries apart. An applier has one entry whatever version it applied: its `api_version` is "" here."""

    manager: str
    operation: str
    api_version: str
    subresource: str


def updater(manager: str, api_version: str, subresource: str) -> ManagerId:
    """Return the id of one who creates, updates or patches."""
    return ManagerId(manager, UPDATE, api_version, subresource)


def applier(manager: str, subresource: str) -> ManagerId:
    """Return the id of one who applies."""
    return ManagerId(manager, APPLY, "", subresource)


class Entry(msgspec.Struct, frozen=True):
    """What one manager owns.

    Attributes:
        api_version: Whose field names these are.
        time: Of its last change, "" when unknown.
        fields: The set, never empty.
        in_order: The set's members stand in the order in which they are printed.
    """

    api_version: str
    time: str
    fields: Fields
    in_order: bool = False


Managed = dict[ManagerId, Entry]


def decode(managed: bytes) -> Managed:
    """Return the entries of stored managedFields, which were printed here."""
    found: Managed = {}
    for entry in orjson.loads(managed or b"[]"):
        operation, version = entry["operation"], entry["apiVersion"]
        identity = ManagerId(
            entry["manager"], operation, "" if operation == APPLY else version, entry.get("subresource", "")
        )
        found[identity] = Entry(version, entry.get("time", _NO_TIME), entry["fieldsV1"], in_order=True)
    return found


def parse(entries: Any) -> Managed:
    """Return the entries of managedFields.

    Raises:
        FieldSetError: They are none.
    """
    found: Managed = {}
    for entry in entries:
        operation = entry.get("operation", "")
        if operation not in {APPLY, UPDATE}:
            raise FieldSetError(f"operation {operation!r} is not known")
        if entry.get("fieldsType", "FieldsV1") != "FieldsV1":
            raise FieldSetError(f"fields type {entry['fieldsType']!r} is not known")
        version = entry.get("apiVersion", "")
        identity = ManagerId(
            entry.get("manager", ""), operation, "" if operation == APPLY else version, entry.get("subresource", "")
        )
        fields = fieldset.parse(entry.get("fieldsV1") or {})
        found[identity] = Entry(version, entry.get("time") or _NO_TIME, fields)
    return found


def _print_order(item: tuple[ManagerId, Entry]) -> tuple[str, ...]:
    identity, entry = item
    return identity.operation, entry.time, identity.manager, entry.api_version, identity.subresource


def encode(managed: Managed) -> bytes:
    """Return managedFields as they are stored, b"" for none."""
    return printed(managed.items()) if managed else b""


def printed(entries: Iterable[tuple[ManagerId, Entry]]) -> bytes:
    """Return managedFields as they are stored, b"" for none; of entries of which some may be those of one manager."""
    ordered = sorted(entries, key=_print_order)
    return b"[" + b",".join(_entry_bytes(*item) for item in ordered) + b"]" if ordered else b""


def _entry_bytes(identity: ManagerId, entry: Entry) -> bytes:
    fields = orjson.dumps(entry.fields) if entry.in_order else fieldset.dumps(entry.fields)
    return entry_bytes(identity, entry.api_version, entry.time, fields)


def entry_bytes(identity: ManagerId, api_version: str, time: str, fields: bytes) -> bytes:
    """Return one entry's JSON, its members in the order of Go's struct."""
    head: dict[str, str] = {"manager": identity.manager, "operation": identity.operation, "apiVersion": api_version}
    if time:
        head["time"] = time
    tail = b',"subresource":' + orjson.dumps(identity.subresource) if identity.subresource else b""
    return b'%b,"fieldsType":"FieldsV1","fieldsV1":%b%b}' % (orjson.dumps(head)[:-1], fields, tail)


def same_but_for_times(a: bytes, b: bytes) -> bool:
    """Say whether two stored managedFields name the same owners of the same fields."""
    if a == b:
        return True
    if not a or not b:
        return False
    left, right = decode(a), decode(b)
    if left.keys() != right.keys():
        return False
    return all(
        entry.fields == right[identity].fields and entry.api_version == right[identity].api_version
        for identity, entry in left.items()
    )


def without_fields(managed: Managed, fields: Fields, *, keep: Iterable[ManagerId] = ()) -> Managed:
    """Return the entries with fields taken from all but some; whoever has nothing left goes."""
    kept = set(keep)
    result: Managed = {}
    for identity, entry in managed.items():
        if identity in kept:
            result[identity] = entry
            continue
        left = fieldset.difference(entry.fields, fields)
        if left:
            # What is taken away leaves the others in their order.
            result[identity] = entry if left is entry.fields else msgspec.structs.replace(entry, fields=left)
    return result


def capped(managed: Managed) -> Managed:
    """Return the entries with the oldest updaters of each version joined until there are `MAX_UPDATERS` at most."""
    updaters = [identity for identity in managed if identity.operation == UPDATE]
    surplus = len(updaters) - MAX_UPDATERS
    if surplus <= 0:
        return managed
    result = dict(managed)
    updaters.sort(key=lambda identity: (managed[identity].time, identity))
    first_of: dict[str, ManagerId] = {}
    for identity in updaters:
        if surplus <= 0:
            break
        entry = managed[identity]
        first = first_of.setdefault(entry.api_version, identity)
        if first == identity:
            continue
        bucket = ManagerId(ANCIENT, UPDATE, entry.api_version, "")
        if bucket not in result:
            result[bucket] = result.pop(first)
        joined = fieldset.union(entry.fields, result[bucket].fields)
        result[bucket] = Entry(entry.api_version, entry.time, joined)
        del result[identity]
        surplus -= 1
    return result
