"""The watch hub: commits in, event streams out.

Each resource that somebody watches has a `Channel`, a cursor over its table. A commit only arms it; once a loop
tick the channel reads what is new, encodes each event once for each form, and writes one piece to each watcher.
Watchers that want the same (namespace, selectors, form) are a `Group` and share that piece. A watcher that comes
with an old revision first catches up by itself, from the same log, and joins when it stands where the channel does.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kubedyno.base import aio
from kubedyno.base.log import logger
from kubedyno.cluster.apiserver.encoding import Encoder
from kubedyno.cluster.apiserver.negotiation import JSON, METADATA_LIST, PROTOBUF, TABLE, Form
from kubedyno.cluster.apiserver.queries import ListOptions, include_object_of
from kubedyno.cluster.apiserver.revisions import come
from kubedyno.cluster.apiserver.selection import AnyRecord, Selection
from kubedyno.cluster.apiserver.watchstreams import NothingShown
from kubedyno.cluster.registry.kind import Kind
from kubedyno.cluster.storage.store import Store
from kubedyno.http.messages import Stream
from kubedyno.kube.resources import Resource
from kubedyno.kube.status import Expired, too_large
from kubedyno.statedb.changes import Changes
from kubedyno.statedb.errors import ExpiredError
from kubedyno.statedb.records import Record, Tombstone
from kubedyno.statedb.table import Table
from kubedyno.stats.histogram import Histogram

# Records that one flush takes at most, which everybody who watches waits for, and one step of what a watcher has alone:
# bounds the pause of the loop.
MAX_RECORDS_A_TICK = 512
RECORDS_A_STEP = 32
# What a watcher may leave unread before it is cut; it then resumes from the last revision that it saw.
MAX_UNREAD_BYTES = 4 << 20
# Those of the real server.
_SIZE_BOUNDS = tuple(1024.0 * 2**power for power in range(8))
# A watcher that catches up is given more only when it has read down to this.
CATCH_UP_BYTES = 256 << 10
# As the real server: bookmarks once a minute, and one shortly before the end.
BOOKMARK_S = 60.0
BOOKMARK_BEFORE_END_S = 2.0
# Without timeoutSeconds a watch ends after 30 to 60 minutes, so that clients spread over servers.
MIN_TIMEOUT_S = 1800

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
    """All watches of one resource."""

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
        # Bytes of the events written to watchers, and how many events are in the piece that was made last.
        self.sent = Histogram(_SIZE_BOUNDS)
        self._made = 0
        self.close = self.table.subscribe(self._arm)

    @property
    def watchers(self) -> int:
        """How many watches are open."""
        return sum(len(group.watchers) for group in self._groups.values()) + len(self._early)

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
                sent += self._made
            else:
                stream.write(piece)
                sent += self._made
        self.sent.add(len(piece) / self._made, sent)

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
        self._made = len(pieces)
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
                self.sent.add(len(piece) / self._made, self._made)
                watcher.wants_columns = False
            if watcher.since <= self._changes.revision:
                self._early.remove(watcher)
                self._enter(watcher)


class WatchHub:
    """Opens watches and ends them.

    Args:
        store: Whose tables are watched.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._channels: dict[str, Channel] = {}
        self._tasks = aio.Tasks("a watch")
        self._spawn = self._tasks.spawn
        self._opened = 0

    @property
    def watchers(self) -> int:
        """How many watches are open."""
        return sum(channel.watchers for channel in self._channels.values())

    def events(self) -> dict[Resource, Histogram]:
        """Return the sizes of the events that were sent, by resource, all watches together."""
        return {channel.encoder.kind.resource: channel.sent for channel in self._channels.values()}

    def open_watches(self) -> dict[tuple[Resource, str], int]:
        """Return how many watches are open, by resource and scope: of an object, of a namespace, or of the whole cluster."""
        found: dict[tuple[Resource, str], int] = {}
        for channel in self._channels.values():
            for scope, count in channel.open().items():
                found[channel.encoder.kind.resource, scope] = count
        return found

    def open(
        self,
        encoder: Encoder,
        selection: Selection,
        options: ListOptions,
        form: Form,
        start: Callable[[int, str], Stream | None],
        turn: Callable[[], Awaitable[None]],
    ) -> None:
        """Answer a watch request; returns at once.

        Args:
            encoder: Of the kind to watch.
            selection: What to watch of it.
            options: Revision, time-out, bookmarks.
            form: How events look.
            start: Begins the answer, or refuses.
            turn: Waits for this request's turn, between two steps of what it has alone.
        """
        resource = encoder.kind.resource
        # Versions of one table look different.
        key = f"{resource.group_resource}/{resource.version}"
        channel = self._channels.get(key)
        if channel is None:
            channel = self._channels[key] = Channel(self._store, encoder, self._cut)
        media = JSON if form.media is JSON else f"{PROTOBUF};stream=watch"
        stream = start(200, media)
        if stream is None:
            return
        from_start = options.initial_events or (options.initial_events is None and not options.revision)
        since = options.revision
        if not from_start and not since:
            since = self._store.revision
        if not from_start and since < channel.table.floor:
            error = Expired(f"too old resource version: {since} ({channel.table.floor})")
            stream.write(encoder.error_event(error, form))
            stream.close()
            return
        timeout_s = float(options.timeout_s or 0)
        if timeout_s < 0:
            # Its time was over before it began.
            stream.close()
            return
        if form.wanted == METADATA_LIST:
            stream = NothingShown(stream)
        if not timeout_s:
            # Spread without randomness: the same sequence of requests gives the same sequence of ends.
            timeout_s = MIN_TIMEOUT_S + (self._opened * 397) % MIN_TIMEOUT_S
        self._opened += 1
        watcher = Watcher(
            stream,
            channel.group(selection, form, include_object_of(options.include_object) if form.shape is TABLE else ""),
            since,
            wants_columns=form.shape is TABLE,
            bookmarks=options.bookmarks,
            end_s=asyncio.get_running_loop().time() + timeout_s,
        )
        stream.on_close = lambda: self._gone(channel, watcher)
        self._set_timer(channel, watcher)
        if not from_start:
            if not self._catch_up(channel, watcher):
                self._spawn(self._follow(channel, watcher, turn))
            return
        announce = options.bookmarks and bool(options.initial_events)
        if since > self._store.revision:
            self._spawn(self._begin_later(channel, watcher, turn, announce=announce))
        else:
            self._begin(channel, watcher, turn, announce=announce)

    def _begin(
        self, channel: Channel, watcher: Watcher, turn: Callable[[], Awaitable[None]], *, announce: bool
    ) -> None:
        """Begin with what is there."""
        records = watcher.group.selection.candidates(self._store)
        watcher.since = self._store.revision
        if len(records) <= RECORDS_A_STEP:
            self._write_initial(channel, watcher, records)
            self._initial_done(channel, watcher, announce=announce)
            if not self._catch_up(channel, watcher):
                self._spawn(self._follow(channel, watcher, turn))
        else:
            self._spawn(self._replay(channel, watcher, records, turn, announce=announce))

    async def _begin_later(
        self, channel: Channel, watcher: Watcher, turn: Callable[[], Awaitable[None]], *, announce: bool
    ) -> None:
        """Begin with what is there once a revision has come that was asked for; say so when it does not."""
        there = await come(self._store, watcher.since, lambda: watcher.timer is None)
        if watcher.timer is None:
            return
        if there:
            self._begin(channel, watcher, turn, announce=announce)
            return
        error = too_large(watcher.since, self._store.revision)
        watcher.stream.write(channel.encoder.error_event(error, watcher.group.form))
        self._cut(channel, watcher)

    def _write_initial(self, channel: Channel, watcher: Watcher, records: Sequence[AnyRecord]) -> None:
        encoder, group = channel.encoder, watcher.group
        if group.selection.selective:
            records = list(filter(group.selection.matches, records))
        piece = b"".join([encoder.event(ADDED, record, group.form, group.include_object) for record in records])
        channel._made = len(records)
        self._write(channel, watcher, piece)

    def _write(self, channel: Channel, watcher: Watcher, piece: bytes) -> None:
        if piece:
            if watcher.wants_columns:
                watcher.wants_columns = False
                piece = channel.encoder.with_columns(piece)
            watcher.stream.write(piece)
            channel.sent.add(len(piece) / channel._made, channel._made)

    def _initial_done(self, channel: Channel, watcher: Watcher, *, announce: bool) -> None:
        if announce:
            self._write_bookmark(channel, watcher, watcher.since, initial_end=True)

    def _write_bookmark(self, channel: Channel, watcher: Watcher, revision: int, *, initial_end: bool = False) -> None:
        group = watcher.group
        bookmark = channel.encoder.bookmark(revision, group.form, group.include_object, initial_end=initial_end)
        if watcher.wants_columns:
            watcher.wants_columns = False
            bookmark = channel.encoder.with_columns(bookmark)
        watcher.stream.write(bookmark)

    async def _replay(
        self,
        channel: Channel,
        watcher: Watcher,
        records: Sequence[AnyRecord],
        turn: Callable[[], Awaitable[None]],
        *,
        announce: bool,
    ) -> None:
        """Write the initial events of a large collection in pieces, as fast as they are read."""
        try:
            for start in range(0, len(records), RECORDS_A_STEP):
                if watcher.timer is None:
                    return
                self._write_initial(channel, watcher, records[start : start + RECORDS_A_STEP])
                await self._pace(watcher, turn)
        except Exception:
            self._cut(channel, watcher)
            raise
        if watcher.timer is not None:
            self._initial_done(channel, watcher, announce=announce)
            await self._follow(channel, watcher, turn)

    async def _follow(self, channel: Channel, watcher: Watcher, turn: Callable[[], Awaitable[None]]) -> None:
        """Catch up in pieces, as fast as they are read, then join."""
        try:
            while watcher.timer is not None and not self._catch_up(channel, watcher):
                await self._pace(watcher, turn)
        except Exception:
            self._cut(channel, watcher)
            raise

    async def _pace(self, watcher: Watcher, turn: Callable[[], Awaitable[None]]) -> None:
        """Let a watcher read, and others have their turns."""
        if watcher.stream.buffered > CATCH_UP_BYTES:
            await watcher.stream.drain(CATCH_UP_BYTES)
        await turn()

    def _catch_up(self, channel: Channel, watcher: Watcher) -> bool:
        """Take one step towards the head; True when the watcher has joined the channel (or is gone)."""
        # The others first, so that the channel stands at the head when the watcher does.
        channel.flush()
        if channel._changes.behind:
            return False
        changes: Changes[Any] = Changes(channel.table, watcher.since)
        try:
            records = read(changes, channel.table, RECORDS_A_STEP)
        except ExpiredError:
            error = Expired(f"too old resource version: {watcher.since} ({channel.table.floor})")
            watcher.stream.write(channel.encoder.error_event(error, watcher.group.form))
            self._cut(channel, watcher)
            return True
        selection = watcher.group.selection
        self._write(
            channel,
            watcher,
            channel.piece(watcher.group, [record for record in records if selection.in_namespace(record)]),
        )
        watcher.since = max(watcher.since, changes.revision)
        if changes.behind:
            return False
        channel.join(watcher)
        return True

    def _set_timer(self, channel: Channel, watcher: Watcher) -> None:
        loop = asyncio.get_running_loop()
        left_s = watcher.end_s - loop.time()
        delay_s = left_s
        if watcher.bookmarks and left_s > BOOKMARK_BEFORE_END_S:
            delay_s = min(BOOKMARK_S, left_s - BOOKMARK_BEFORE_END_S)
        watcher.timer = loop.call_later(max(delay_s, 0.0), self._ring, channel, watcher)

    def _ring(self, channel: Channel, watcher: Watcher) -> None:
        """A watcher's timer: its end, or a bookmark and the next timer."""
        left_s = watcher.end_s - asyncio.get_running_loop().time()
        if left_s <= 0.001:
            self._cut(channel, watcher)
            return
        channel.flush()
        if watcher in watcher.group.watchers and not channel._changes.behind:
            self._write_bookmark(channel, watcher, self._store.revision)
        if left_s <= BOOKMARK_BEFORE_END_S + 0.001:
            watcher.timer = asyncio.get_running_loop().call_later(left_s, self._ring, channel, watcher)
        else:
            self._set_timer(channel, watcher)

    def _cut(self, channel: Channel, watcher: Watcher) -> None:
        """End a watch from our side, after what is queued; a slow reader's connection is not waited for."""
        stream = watcher.stream
        self._gone(channel, watcher)
        stream.on_close = None
        if stream.buffered > MAX_UNREAD_BYTES:
            stream.abort()
        else:
            stream.close()

    def _gone(self, channel: Channel, watcher: Watcher) -> None:
        if watcher.timer is not None:
            watcher.timer.cancel()
            watcher.timer = None
        channel.leave(watcher)

    def drop(self, kind: Kind) -> None:
        """End the watches of a kind that is served no more, or not as it was."""
        for key in [key for key, channel in self._channels.items() if channel.encoder.kind is kind]:
            channel = self._channels.pop(key)
            channel.flush()
            self._end_channel(channel)
            channel.close()

    def _end_channel(self, channel: Channel) -> None:
        for group in list(channel._groups.values()):
            for watcher in list(group.watchers):
                self._cut(channel, watcher)
        for watcher in list(channel._early):
            self._cut(channel, watcher)

    def close(self) -> None:
        """End all watches: the server stops."""
        for channel in self._channels.values():
            self._end_channel(channel)
        self._tasks.cancel()
