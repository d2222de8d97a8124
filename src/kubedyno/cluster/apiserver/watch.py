"""The watch hub: commits in, event streams out.

Each resource that somebody watches has a `Channel` (`watchchannel`), which writes what is new to its watchers. The hub opens
watches and ends them: a watcher that comes with an old revision first catches up by itself, from the same log, and joins when it
stands where the channel does.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from kubedyno.base import aio
from kubedyno.cluster.apiserver import watchchannel
from kubedyno.cluster.apiserver.encoding import Encoder
from kubedyno.cluster.apiserver.negotiation import JSON, METADATA_LIST, PROTOBUF, TABLE, Form
from kubedyno.cluster.apiserver.queries import ListOptions, include_object_of
from kubedyno.cluster.apiserver.revisions import come
from kubedyno.cluster.apiserver.selection import AnyRecord, Selection
from kubedyno.cluster.apiserver.watchchannel import ADDED, Channel, Watcher, read
from kubedyno.cluster.apiserver.watchstreams import NothingShown
from kubedyno.cluster.registry.kind import Kind
from kubedyno.cluster.storage.store import Store
from kubedyno.http.messages import Stream
from kubedyno.kube.resources import Resource
from kubedyno.kube.status import Expired, too_large
from kubedyno.statedb.changes import Changes
from kubedyno.statedb.errors import ExpiredError
from kubedyno.stats.histogram import Histogram

# Records that one step takes of what a watcher has alone: bounds the pause of the loop.
RECORDS_A_STEP = 32
# A watcher that catches up is given more only when it has read down to this.
CATCH_UP_BYTES = 256 << 10
# As the real server: bookmarks once a minute, and one shortly before the end.
BOOKMARK_S = 60.0
BOOKMARK_BEFORE_END_S = 2.0
# Without timeoutSeconds a watch ends after 30 to 60 minutes, so that clients spread over servers.
MIN_TIMEOUT_S = 1800


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
        channel.made = len(records)
        self._write(channel, watcher, piece)

    def _write(self, channel: Channel, watcher: Watcher, piece: bytes) -> None:
        if piece:
            if watcher.wants_columns:
                watcher.wants_columns = False
                piece = channel.encoder.with_columns(piece)
            watcher.stream.write(piece)
            channel.sent.add(len(piece) / channel.made, channel.made)

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
        if channel.behind:
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
        if watcher in watcher.group.watchers and not channel.behind:
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
        if stream.buffered > watchchannel.MAX_UNREAD_BYTES:
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
        for watcher in channel.everybody():
            self._cut(channel, watcher)

    def close(self) -> None:
        """End all watches: the server stops."""
        for channel in self._channels.values():
            self._end_channel(channel)
        self._tasks.cancel()
