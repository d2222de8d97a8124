"""Watch channels: one-shot news that what a query saw has changed, for asyncio, threads and callbacks.

A watch is closed once, after the commit is visible, so who wakes up reads at least the state that woke it. Channels are
kept beside the tables, weakly, and only while somebody holds one: a table that nobody watches pays nothing.
A watch on a key closes for that key alone; one on a prefix or an index key for rows in or leaving it.
"""

import asyncio
import contextlib
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import Any

from kubedyno.base import aio
from kubedyno.statedb.postings import Postings
from kubedyno.statedb.records import Record, Tombstone

AnyRecord = Record[Any]
Waker = tuple[asyncio.AbstractEventLoop, "asyncio.Future[None]"]


class Watch:
    """One channel. Hold it: a watch that nobody refers to is forgotten."""

    __slots__ = ("__weakref__", "_callbacks", "_futures", "closed")

    def __init__(self, closed: bool = False) -> None:
        self.closed = closed
        self._callbacks: list[Callable[[], None]] = []
        self._futures: list[Waker] = []

    def on_close(self, call: Callable[[], None]) -> None:
        """Have `call` called when it closes, in the writer's thread; at once if it has."""
        self._callbacks.append(call)
        if self.closed:
            self._run_callbacks()

    async def wait(self) -> None:
        """Wait on the running loop until it closes; cancel it freely."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._futures.append((loop, future))
        if self.closed:
            return
        try:
            await future
        finally:
            with contextlib.suppress(ValueError):
                self._futures.remove((loop, future))

    def wait_thread(self, timeout_s: float | None = None) -> bool:
        """Block this thread until it closes; False when the time is over first. Not for a loop's thread."""
        event = threading.Event()
        # Appended before it is looked at: a close in between is seen by one of the two.
        self._callbacks.append(event.set)
        return self.closed or event.wait(timeout_s)

    def _run_callbacks(self) -> None:
        # The closer's thread and that of `on_close` may both be here.
        while True:
            try:
                call = self._callbacks.pop()
            except IndexError:
                return
            call()


def close_all(watches: Iterable[Watch]) -> None:
    """Close watches and wake who waits: one call into each event loop, however many wait there."""
    by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for watch in watches:
        watch.closed = True
        watch._run_callbacks()
        for loop, future in watch._futures:
            by_loop.setdefault(loop, []).append(future)
    for loop, futures in by_loop.items():
        # A loop that was closed meanwhile has nobody left to wake.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_wake, futures)


def _wake(futures: list["asyncio.Future[None]"]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


class _Channel(weakref.ref[Watch]):
    """A weak reference that knows where it is registered."""

    __slots__ = ("home", "key")

    home: "dict[str, _Channel]"
    key: str


_MAKING = threading.RLock()


def _forget(channel: weakref.ref[Watch]) -> None:
    assert isinstance(channel, _Channel)
    with _MAKING:
        if channel.home.get(channel.key) is channel:
            channel.home.pop(channel.key, None)


class Registry:
    """The channels of one table."""

    __slots__ = ("_by_index", "_by_prefix", "_whole", "broad", "exact")

    def __init__(self) -> None:
        # False: there are channels of single keys only, and a commit of another key has nothing to do.
        self.broad = False
        self.exact: dict[str, _Channel] = {}
        # The whole table, under the key "".
        self._whole: dict[str, _Channel] = {}
        # Length of the prefix → prefix → channel; index → index key → channel.
        self._by_prefix: dict[int, dict[str, _Channel]] = {}
        self._by_index: dict[str, dict[str, _Channel]] = {}

    def whole(self) -> Watch:
        return self._channel(self._whole, "", broad=True)

    def key(self, key: str) -> Watch:
        return self._channel(self.exact, key)

    def prefix(self, prefix: str) -> Watch:
        if not prefix:
            return self.whole()
        return self._channel(self._by_prefix.setdefault(len(prefix), {}), prefix, broad=True)

    def index(self, name: str, index_key: str) -> Watch:
        return self._channel(self._by_index.setdefault(name, {}), index_key, broad=True)

    def _channel(self, home: dict[str, _Channel], key: str, *, broad: bool = False) -> Watch:
        """Return the channel registered there, or a new one."""
        # Two who make one at the same time would lose each other's; a writer only takes them out and needs no lock.
        with _MAKING:
            channel = home.get(key)
            watch = None if channel is None else channel()
            if watch is None:
                watch = Watch()
                channel = _Channel(watch, _forget)
                channel.home, channel.key = home, key
                home[key] = channel
            self.broad |= broad
            return watch

    def _narrow(self) -> None:
        with _MAKING:
            self.broad = bool(self._whole) or any(self._by_prefix.values()) or any(self._by_index.values())

    def take(self, records: list[AnyRecord], postings: Iterable[Postings[Any]]) -> list[Watch]:
        """Remove and return the channels that these new records close. O(records), not O(channels)."""
        # A copy: readers add to it without a lock.
        homes = [(len_, home) for len_, home in list(self._by_prefix.items()) if home]
        indexes = [(p.keys, self._by_index[p.name]) for p in postings if self._by_index.get(p.name)]
        exact, taken = self.exact, []
        if records and self._whole:
            taken.append(self._whole.pop("", None))
        if self.broad and not (homes or indexes):
            self._narrow()
        if not (exact or homes or indexes):
            return [watch for channel in taken if channel is not None and (watch := channel()) is not None]
        for record in records:
            key = record.key
            if key in exact:
                taken.append(exact.pop(key, None))
            for length, home in homes:
                if key[:length] in home:
                    taken.append(home.pop(key[:length], None))
            for keys_of, home in indexes:
                before = record.prev
                index_keys = set() if type(record) is Tombstone else set(keys_of(record.obj))
                if before is not None and type(before) is not Tombstone:
                    index_keys.update(keys_of(before.obj))
                taken.extend(home.pop(index_key, None) for index_key in sorted(index_keys) if index_key in home)
        return [watch for channel in taken if channel is not None and (watch := channel()) is not None]


class WatchSet:
    """Several watches to wait for together."""

    def __init__(self, watches: Iterable[Watch] = ()) -> None:
        self._watches = set(watches)

    def __len__(self) -> int:
        return len(self._watches)

    def __contains__(self, watch: Watch) -> bool:
        return watch in self._watches

    def add(self, *watches: Watch) -> None:
        self._watches.update(watches)

    async def wait(self, settle_s: float = 0.0) -> set[Watch]:
        """Wait for the first to close, then `settle_s` for more; take the closed ones out and return them."""
        if not self._watches:
            return set()
        first = asyncio.get_running_loop().create_future()
        news = Watch()
        news._futures.append((asyncio.get_running_loop(), first))

        def tell() -> None:
            close_all((news,))

        waited = list(self._watches)
        for watch in waited:
            watch.on_close(tell)
        try:
            await first
        finally:
            for watch in waited:
                with contextlib.suppress(ValueError):
                    watch._callbacks.remove(tell)
        if settle_s > 0:
            await aio.sleep(settle_s)
        closed = {watch for watch in self._watches if watch.closed}
        self._watches -= closed
        return closed
