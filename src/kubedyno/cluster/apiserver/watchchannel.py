"""One resource's watches: a cursor over its table, and those who see what it reads.

A commit only arms a `Channel`; once a loop tick it reads what is new, encodes each event once for each form, and writes one
piece to each watcher. Watchers that want the same (namespace, selectors, form) are a `Group` and share that piece.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kubedyno.base.log import logger
from kubedyno.cluster.apiserver.encoding import Encoder
from kubedyno.cluster.apiserver.negotiation import Form
from kubedyno.cluster.apiserver.selection import AnyRecord, Selection
from kubedyno.cluster.storage.store import Store
from kubedyno.http.messages import Stream
from kubedyno.statedb.changes import Changes
from kubedyno.statedb.errors import ExpiredError
from kubedyno.statedb.records import Record, Tombstone
from kubedyno.statedb.table import Table
from kubedyno.stats.histogram import Histogram

# Records that one flush takes at most, which everybody who watches waits for: bounds the pause of the loop.
MAX_RECORDS_A_TICK = 512
# What a watcher may leave unread before it is cut; it then resumes from the last revision that it saw.
MAX_UNREAD_BYTES = 4 << 20
# Those of the real server.
_SIZE_BOUNDS = tuple(1024.0 * 2**power for power in range(8))

ADDED, MODIFIED, DELETED = b"ADDED", b"MODIFIED", b"DELETED"


@dataclass(slots=True, eq=False)
class Watcher:
    """One open watch.

    Attributes:
        stream: Where its events go.
        group: The group whose pieces it gets.
        since: Revision up to which it knows everything.
        wants_columns: A Table watcher that has not had the column definitions yet.
        bookmarks: It asked for BOOKMARK events.
        end_s: Loop time at which it ends.
        timer: For its next bookmark or its end.
    """

    stream: Stream
    group: "Group"
    since: int
    wants_columns: bool
    bookmarks: bool
    end_s: float
    timer: asyncio.TimerHandle | None = None


class Group:
    """Watchers that see the same bytes."""

    __slots__ = ("form", "include_object", "key", "selection", "view", "watchers")

    def __init__(self, selection: Selection, form: Form, include_object: str) -> None:
        self.selection = selection
        self.form = form
        self.include_object = include_object
        # How an event looks, whatever is selected: groups with one view share encoded events.
        self.view = (form, include_object)
        self.key = (selection.key, self.view)
        self.watchers: dict[Watcher, None] = {}


def event_of(record: AnyRecord, selection: Selection) -> tuple[bytes, AnyRecord] | None:
    """Return what a record means to whoever watches a selection: (type, object as of that revision), or nothing.

    An object that enters the selection by a change is ADDED, one that leaves it DELETED as it last was.
    """
    dead = type(record) is Tombstone
    prev = record.prev
    lived = prev is not None and type(prev) is not Tombstone
    if not selection.selective:
        return (DELETED if dead else MODIFIED if lived else ADDED), record
    was = prev is not None and lived and selection.matches(prev)
    if dead:
        return (DELETED, record) if was else None
    if selection.matches(record):
        return (MODIFIED if was else ADDED), record
    if was and prev is not None:
        return DELETED, Record(record.key, prev.obj, record.revision, None)
    return None


def read(changes: Changes[Any], table: Table[Any], most: int) -> list[AnyRecord]:
    """Return a cursor's next records, so many at most, each with the one that it replaced.

    Raises:
        ExpiredError: Compaction has been there: what a change meant can no longer be said.
    """
    if changes.revision < table.floor:
        table.expired(changes.revision)
    return changes.next_full(most)


class Channel:
    """All watches of one resource.

    Attributes:
        sent: Bytes of the events written to watchers.
        made: How many events are in the piece that was made last.
    """

    def __init__(self, store: Store, encoder: Encoder, end: "Callable[[Channel, Watcher], None]") -> None:
        self.encoder = encoder
        self.table = store.table(encoder.kind.resource)
        self._store = store
        self._end = end
        self._changes: Changes[Any] = Changes(self.table, store.revision)
        self._groups: dict[tuple[Any, ...], Group] = {}
        self._everywhere: list[Group] = []
        self._by_namespace: dict[str, list[Group]] = {}
        # Watchers that named a revision which is still to come.
        self._early: list[Watcher] = []
        self._armed = False
        self.sent = Histogram(_SIZE_BOUNDS)
        self.made = 0
        self.close = self.table.subscribe(self._arm)

    @property
    def watchers(self) -> int:
        """How many watches are open."""
        return sum(len(group.watchers) for group in self._groups.values()) + len(self._early)

    @property
    def behind(self) -> bool:
        """Whether there is more to read than was."""
        return self._changes.behind

    def everybody(self) -> list[Watcher]:
        """Return all who watch."""
        return [*(watcher for group in self._groups.values() for watcher in group.watchers), *self._early]

    def open(self) -> dict[str, int]:
        """Return how many watches are open by their scope: "resource", "namespace" or "cluster"."""
        found: dict[str, int] = {}
        for group in (*self._groups.values(), *(watcher.group for watcher in self._early)):
            selection = group.selection
            scope = "resource" if selection.table_key else "namespace" if selection.namespace else "cluster"
            found[scope] = found.get(scope, 0) + (len(group.watchers) or 1)
        return found

    def group(self, selection: Selection, form: Form, include_object: str) -> Group:
        """Return the group of that view, a new one when it is the first."""
        group = self._groups.get((selection.key, (form, include_object)))
        return group or self._add(Group(selection, form, include_object))

    def _add(self, group: Group) -> Group:
        self._groups[group.key] = group
        self._place(group.selection.namespace).append(group)
        return group

    def _place(self, namespace: str) -> list[Group]:
        return self._by_namespace.setdefault(namespace, []) if namespace else self._everywhere

    def join(self, watcher: Watcher) -> None:
        """Let a watcher that knows everything up to the channel's revision take part."""
        if watcher.since > self._store.revision:
            self._early.append(watcher)
        else:
            self._enter(watcher)

    def _enter(self, watcher: Watcher) -> None:
        # The group that it was opened with may have been dropped with its last watcher meanwhile.
        group = self._groups.get(watcher.group.key) or self._add(watcher.group)
        watcher.group = group
        group.watchers[watcher] = None

    def leave(self, watcher: Watcher) -> None:
        """Forget a watcher, and its group with the last one."""
        group = watcher.group
        group.watchers.pop(watcher, None)
        if watcher in self._early:
            self._early.remove(watcher)
        if not group.watchers and self._groups.get(group.key) is group:
            del self._groups[group.key]
            namespace = group.selection.namespace
            place = self._place(namespace)
            place.remove(group)
            if namespace and not place:
                del self._by_namespace[namespace]

    def _arm(self) -> None:
        if not self._armed:
            self._armed = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Send what was committed since the last flush."""
        self._armed = False
        try:
            records = read(self._changes, self.table, MAX_RECORDS_A_TICK)
        except ExpiredError:
            # More was written at once than the history keeps: everybody has to list again.
            logger(__name__).warning("watch of %s fell behind its history", self.table.name)
            self._changes.revision = self._store.revision
            for group in list(self._groups.values()):
                for watcher in list(group.watchers):
                    self._end(self, watcher)
            return
        if not records:
            return
        if self._changes.behind:
            self._arm()
        encoded: dict[Any, dict[Any, bytes]] = {}
        for group in tuple(self._everywhere):
            self._send_safely(group, records, encoded)
        if self._by_namespace:
            parted: dict[str, list[AnyRecord]] = {}
            for record in records:
                parted.setdefault(record.obj.namespace, []).append(record)
            for namespace, part in parted.items():
                for group in tuple(self._by_namespace.get(namespace, ())):
                    self._send_safely(group, part, encoded)
        if self._early:
            self._admit_early(records)

    def _send_safely(self, group: Group, records: Sequence[AnyRecord], encoded: dict[Any, dict[Any, bytes]]) -> None:
        try:
            self._send(group, records, encoded)
        except Exception:  # noqa: BLE001 - logged with its traceback
            # The others must have their events; these have missed some, and have to list again.
            logger(__name__).exception("events of %s could not be sent", self.table.name)
            for watcher in list(group.watchers):
                self._end(self, watcher)

    def _send(self, group: Group, records: Sequence[AnyRecord], encoded: dict[Any, dict[Any, bytes]]) -> None:
        if not group.watchers:
            return
        piece = self.piece(group, records, encoded)
        if not piece:
            return
        sent = 0
        for watcher in tuple(group.watchers):
            stream = watcher.stream
            if stream.buffered > MAX_UNREAD_BYTES:
                self._end(self, watcher)
            elif watcher.wants_columns:
                watcher.wants_columns = False
                stream.write(self.encoder.with_columns(piece))
                sent += self.made
            else:
                stream.write(piece)
                sent += self.made
        self.sent.add(len(piece) / self.made, sent)

    def piece(
        self, group: Group, records: Sequence[AnyRecord], encoded: dict[Any, dict[Any, bytes]] | None = None
    ) -> bytes:
        """Return the events that some records mean to a group, one after the other.

        Args:
            group: For whom.
            records: In revision order.
            encoded: Events made already for other groups of this flush, by view; is added to.
        """
        memo: dict[Any, bytes] = {} if encoded is None else encoded.setdefault(group.view, {})
        selection, form, include_object = group.selection, group.form, group.include_object
        encode = self.encoder.event
        pieces = []
        for record in records:
            event = event_of(record, selection)
            if event is None:
                continue
            kind, shown = event
            key = (shown.revision, kind)
            data = memo.get(key)
            if data is None:
                data = memo[key] = encode(kind, shown, form, include_object)
            pieces.append(data)
        self.made = len(pieces)
        return b"".join(pieces)

    def _admit_early(self, records: Sequence[AnyRecord]) -> None:
        for watcher in list(self._early):
            piece = self.piece(
                watcher.group,
                [
                    record
                    for record in records
                    if record.revision > watcher.since and watcher.group.selection.in_namespace(record)
                ],
            )
            if piece:
                watcher.stream.write(self.encoder.with_columns(piece) if watcher.wants_columns else piece)
                self.sent.add(len(piece) / self.made, self.made)
                watcher.wants_columns = False
            if watcher.since <= self._changes.revision:
                self._early.remove(watcher)
                self._enter(watcher)
