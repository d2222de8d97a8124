"""The store: one StateDB table a resource, one revision for all, and the JSON of what is in them.

Objects enter as `StoredObject`, leave as records or as bytes. The same object may be served under a second
group and version (Events): such a view shares the table and converts on output.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import orjson

from kubedyno.base.clock import Clock
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.cluster.storage.operations import BOUNDS_S, CREATE, DELETE, UPDATE, Operations
from kubedyno.kube.resources import EVENTS, Resource
from kubedyno.statedb.db import DB
from kubedyno.statedb.records import History, Index, Record, Tombstone
from kubedyno.statedb.table import Table
from kubedyno.statedb.txn import WriteTxn
from kubedyno.stats.histogram import Histogram

ObjectRecord = Record[StoredObject]
ObjectTable = Table[StoredObject]
ResourceKey = tuple[str, str, str]
Convert = Callable[[dict[str, Any]], dict[str, Any]]

_primary_key = attrgetter("key")
# What one table keeps of the past beside its live objects: enough for watches that resume and lists that are read
# by pages, bounded however fast objects change. A real API server's watch cache keeps 75 s at most.
HISTORY_BYTES = 16 << 20
# Nobody resumes a watch of events from far back, and they are the most frequent of all writes.
EVENT_HISTORY_RECORDS = 10_000
# The first bucket of durations.
_QUICK_S = BOUNDS_S[0]
OWNER_INDEX: Index[StoredObject] = Index("owner", attrgetter("owners"))


def _history_of(resource: Resource) -> History[StoredObject]:
    if resource is EVENTS:
        return History(records=EVENT_HISTORY_RECORDS)
    return History(bytes=HISTORY_BYTES, size=attrgetter("size_bytes"))


def resource_key(resource: Resource) -> ResourceKey:
    """Return what names a resource among those served."""
    return (resource.group, resource.version, resource.plural)


@dataclass(frozen=True, slots=True)
class _View:
    """How a resource's records become JSON."""

    table: ObjectTable
    head: bytes
    convert: Convert | None
    stored: Resource


class Store:
    """Tables of API objects.

    Args:
        clock: Stamps records, for the age of history.

    Attributes:
        operations: What was written, and how long it took.
        shown: Returns an object's managedFields as they are read: (resource that it is stored as, object) → JSON.
    """

    def __init__(self, clock: Clock) -> None:
        self.db = DB(clock)
        self.operations = Operations()
        self.shown: Callable[[Resource, StoredObject], bytes] = lambda _, obj: obj.managed
        self._monotonic = clock.monotonic
        # Cells of `operations`, so that a write looks for its own only once.
        self._creations: dict[ObjectTable, Histogram] = {}
        self._updates: dict[ObjectTable, Histogram] = {}
        self.resources: list[Resource] = []
        self._by_key: dict[ResourceKey, _View] = {}
        # By identity of the (frozen, module-level) Resource: hashing its fields costs more than a put.
        self._views: dict[int, _View] = {}
        # What `together` has begun.
        self._together: Together | None = None
        # Called with each resource that gets a table later on.
        self._followers: list[Callable[[Resource], None]] = []
        # Group resource → custom resource whose table was there before its definition is served (see `recovery`).
        self.restored: dict[str, Resource] = {}

    @property
    def revision(self) -> int:
        return self.db.revision

    def add(
        self,
        resource: Resource,
        indexes: Iterable[Index[StoredObject]] = (),
        history: History[StoredObject] | None = None,
    ) -> ObjectTable:
        """Add a resource's table; every table has the index "owner" (by owner uid).

        Raises:
            ValueError: It is there already.
        """
        table: ObjectTable = self.db.table(
            resource.group_resource, _primary_key, (OWNER_INDEX, *indexes), history or _history_of(resource)
        )
        self._register(resource, table, None, resource)
        for follow in self._followers:
            follow(resource)
        return table

    def tables(self) -> list[ObjectTable]:
        """Return all tables."""
        return list(self.db.tables.values())

    def on_added(self, call: Callable[[Resource], None]) -> None:
        """Have a function called with each resource that gets a table from now on."""
        self._followers.append(call)

    def drop_view(self, resource: Resource) -> None:
        """Serve a resource no more; its table stays, as tables do."""
        self.resources = [other for other in self.resources if other is not resource]
        self._views.pop(id(resource), None)
        self._by_key.pop(resource_key(resource), None)

    def add_view(self, resource: Resource, of: Resource, convert: Convert | None) -> None:
        """Serve the objects of another resource's table under this one.

        Args:
            resource: The second name, e.g. events of events.k8s.io/v1.
            of: The resource that was added.
            convert: Stored object as a dict → the same in this version; may change its argument. None: they differ
                by their apiVersion only.
        """
        self._register(resource, self.table(of), convert, self._view(of).stored)

    def _register(self, resource: Resource, table: ObjectTable, convert: Convert | None, stored: Resource) -> None:
        head = f'{{"kind":"{resource.kind}","apiVersion":"{resource.api_version}","metadata":{{'.encode()
        self.resources.append(resource)
        self._views[id(resource)] = self._by_key[resource_key(resource)] = _View(table, head, convert, stored)

    def _view(self, resource: Resource) -> _View:
        view = self._views.get(id(resource))
        return view if view is not None else self._by_key[resource_key(resource)]

    def table(self, resource: Resource) -> ObjectTable:
        """Return a resource's table.

        Raises:
            KeyError: It is not stored here.
        """
        return self._view(resource).table

    def get(self, resource: Resource, key: str) -> ObjectRecord | None:
        """Return an object's newest record by "ns/name" or "name", None when there is none."""
        return self._view(resource).table.get(key)

    def list(self, resource: Resource, namespace: str = "") -> Sequence[ObjectRecord]:
        """Return the records of all namespaces or of one, in key order."""
        table = self.table(resource)
        return table.prefix(namespace + "/") if namespace and resource.namespaced else table.all()

    def span(self, resource: Resource, namespace: str = "") -> Sequence[ObjectRecord]:
        """Return the same as `list` without copying it, for who goes through it in slices."""
        view = self.table(resource).newest_view()
        return view.span(namespace + "/" if namespace and resource.namespaced else "")

    def by_index(self, resource: Resource, index: str, key: str) -> Sequence[ObjectRecord]:
        """Return the records with that key in that index, in key order."""
        return self.table(resource).by_index(index, key)

    def put(self, resource: Resource, obj: StoredObject) -> ObjectRecord:
        """Insert or replace an object, in a transaction of its own unless within `together`."""
        return self.put_in(self._view(resource).table, obj)

    def put_in(self, table: ObjectTable, obj: StoredObject) -> ObjectRecord:
        """Insert or replace an object by its table."""
        together, began_s = self._together, self._monotonic()
        record = self.db.put(table, obj) if together is None else together.of(table).insert(table, obj)
        took_s, old = self._monotonic() - began_s, record.prev
        new = old is None or type(old) is Tombstone
        cells = self._creations if new else self._updates
        cell = cells.get(table)
        if cell is None:
            cell = cells[table] = self.operations.cell(CREATE if new else UPDATE, table.name)
        if took_s <= _QUICK_S:
            # As `add` does, for nearly all: six writes a pod.
            cell.counts[0] += 1
            cell.total += took_s
        else:
            cell.add(took_s)
        return record

    def remove(self, resource: Resource, key: str) -> ObjectRecord | None:
        """Delete an object, in a transaction of its own unless within `together`.

        Returns:
            Its tombstone, None when it was not there.
        """
        table, together, began_s = self._view(resource).table, self._together, self._monotonic()
        gone = self.db.remove(table, key) if together is None else together.of(table).delete(table, key)
        if gone is not None:
            self.operations.cell(DELETE, table.name).add(self._monotonic() - began_s)
        return gone

    def together(self, *resources: Resource) -> "Together":
        """Return a context, to be used as often as one likes, in which writes of those resources are told at its end.

        Each write stands for itself, also when the block ends with an exception: this is no transaction, only fewer
        commits. A write of another resource tells what was written before it.
        """
        return Together(self, tuple(self.table(resource) for resource in resources))

    def tell(self) -> None:
        """Within `together`, commit what was written so far: for who reads by cursors, and must know of it now."""
        if self._together is not None:
            self._together.tell()

    # --- output ----------------------------------------------------------------------------------------------

    def encode(self, resource: Resource, record: ObjectRecord) -> bytes:
        """Return an object's JSON, with kind and apiVersion, and its record's revision as resourceVersion."""
        view = self._view(resource)
        if view.convert is not None:
            return orjson.dumps(self.encode_dict(resource, record, shown=True))
        return view.head + members_of(record.obj, record.revision, self.shown(view.stored, record.obj))

    def is_converted(self, resource: Resource) -> bool:
        """Say whether objects are stored in the form of another version."""
        return self._view(resource).convert is not None

    def encode_item(self, resource: Resource, record: ObjectRecord) -> bytes:
        """Return an object's JSON without kind and apiVersion, as lists have it."""
        view = self._view(resource)
        if view.convert is not None:
            converted = self.encode_dict(resource, record, shown=True)
            del converted["kind"], converted["apiVersion"]
            return orjson.dumps(converted)
        return b'{"metadata":{' + members_of(record.obj, record.revision, self.shown(view.stored, record.obj))

    def managed_of(self, resource: Resource, obj: StoredObject) -> bytes:
        """Return an object's managedFields as they are read, b"" for none."""
        return self.shown(self._view(resource).stored, obj)

    def encode_dict(
        self, resource: Resource, record: ObjectRecord, *, managed: bool = True, shown: bool = False
    ) -> dict[str, Any]:
        """Return an object as a fresh dict.

        Args:
            resource: Under which it is served.
            record: The object.
            managed: With managedFields, which are often the half of it.
            shown: These are as they are read, and not as they are stored.
        """
        view = self._view(resource)
        fields = (self.shown(view.stored, record.obj) if shown else record.obj.managed) if managed else b""
        obj = dict(orjson.loads(view.head + members_of(record.obj, record.revision, fields)))
        if view.convert is not None:
            obj = view.convert(obj)
            obj["kind"], obj["apiVersion"] = resource.kind, resource.api_version
        return obj

    def dict_of(self, resource: Resource, obj: StoredObject) -> dict[str, Any]:
        """Return an object that is not stored (yet) as a fresh dict, without resourceVersion."""
        return dict(orjson.loads(self._view(resource).head + members_of(obj, 0, obj.managed)))


class Together:
    """See `Store.together`."""

    __slots__ = ("_store", "_tables", "_txn")

    def __init__(self, store: Store, tables: tuple[ObjectTable, ...]) -> None:
        self._store = store
        self._tables = tables
        self._txn: WriteTxn | None = None

    def __enter__(self) -> None:
        store = self._store
        self._txn = WriteTxn(store.db, self._tables)
        store._together = self

    def of(self, table: ObjectTable) -> WriteTxn:
        """Return the transaction in which a table is written now."""
        txn = self._txn
        assert txn is not None
        if table not in self._tables:
            self._tables = (*self._tables, table)
            txn = self.tell()
        return txn

    def tell(self) -> WriteTxn:
        """Commit what was written, and go on in another transaction."""
        assert self._txn is not None
        self._txn.commit()
        txn = self._txn = WriteTxn(self._store.db, self._tables)
        return txn

    def __exit__(self, *_: object) -> None:
        self._store._together = None
        txn, self._txn = self._txn, None
        assert txn is not None
        txn.__exit__(None, None, None)


def members_of(obj: StoredObject, revision: int, managed: bytes) -> bytes:
    """Return an object's JSON from inside metadata's opening brace to the end.

    Args:
        obj: The object.
        revision: 0 leaves that member out.
        managed: Its managedFields, b"" for none.
    """
    parts = [obj.meta]
    if revision:
        parts.append(b',"resourceVersion":"%d"' % revision)
    if managed:
        parts += (b',"managedFields":', managed)
    parts.append(b"}")
    if obj.body:
        parts += (b",", obj.body)
    if obj.status:
        parts += (b',"status":', obj.status)
    parts.append(b"}")
    return b"".join(parts)
