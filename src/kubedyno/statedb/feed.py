"""One cursor for many followers: each commit's changes are read once and handed to all by reference.

A follower that wants every object of a table through a cursor of its own pays for each change; a thousand of them
share a feed instead. What they get is the same list, so nobody may change it.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import Generic, TypeVar

from kubedyno.statedb.errors import ExpiredError
from kubedyno.statedb.records import Record
from kubedyno.statedb.table import Table

T = TypeVar("T")

# Segments that a follower may be behind, and how many are published between two looks at that.
MAX_SEGMENTS = 1000
LOOK_EVERY = 64
# Records in a segment at most.
SEGMENT_RECORDS = 1000


class Follower(Generic[T]):
    """One that follows; `take` what has come, or iterate over it.

    Attributes:
        since: Everything after this revision comes.
        segments: What has come and was not taken.
    """

    __slots__ = ("_feed", "expired", "segments", "since")

    def __init__(self, feed: "Feed[T]", since: int) -> None:
        self.since = since
        self.expired = False
        self.segments: deque[list[Record[T]]] = deque()
        self._feed = feed

    def take(self) -> list[list[Record[T]]]:
        """Return the segments that have come since the last call.

        Raises:
            ExpiredError: It was too far behind and was left out: begin anew.
        """
        if self.expired:
            raise ExpiredError(f"table {self._feed.table.name}: a follower is more than {MAX_SEGMENTS} segments behind")
        taken = list(self.segments)
        self.segments.clear()
        return taken

    async def follow(self) -> AsyncGenerator[list[Record[T]], None]:
        """Yield segments as they come, until closed; raises as `take`."""
        news = asyncio.Event()
        while True:
            taken = self.take()
            for segment in taken:
                yield segment
            if not taken:
                news.clear()
                self._feed.wake(news)
                await news.wait()

    def close(self) -> None:
        """Stop following."""
        self._feed.drop(self)


class Feed(Generic[T]):
    """See the module. All its calls belong to one thread.

    Args:
        table: What to follow.
        full: Every version, as far as the table's history goes, instead of the newest of each key.
    """

    def __init__(self, table: Table[T], *, full: bool = False) -> None:
        self.table = table
        self._full = full
        self._cursor = table.changes(table.revision)
        self._followers: dict[int, Follower[T]] = {}
        # The `append` of each follower's queue: all that publishing does for it.
        self._puts: list[Callable[[list[Record[T]]], None]] = []
        self._waiting: list[asyncio.Event] = []
        self._published = 0

    def __len__(self) -> int:
        return len(self._followers)

    def follow(self) -> Follower[T]:
        """Return a new follower of all that changes after what was published last."""
        follower: Follower[T] = Follower(self, self._cursor.revision)
        self._followers[id(follower)] = follower
        self._puts.append(follower.segments.append)
        return follower

    def drop(self, follower: Follower[T]) -> None:
        """Forget a follower. O(followers)."""
        if self._followers.pop(id(follower), None) is not None:
            self._puts = [other.segments.append for other in self._followers.values()]

    def wake(self, news: asyncio.Event) -> None:
        """Have an event set with the next segment, once."""
        self._waiting.append(news)

    def publish(self) -> int:
        """Hand what has changed to all followers; returns how many records. Call it from a subscription, or a tick.

        Raises:
            ExpiredError: Changes were given up before they were read: followers must begin anew.
        """
        cursor, total = self._cursor, 0
        while True:
            segment = cursor.next_full(SEGMENT_RECORDS) if self._full else cursor.next(SEGMENT_RECORDS)
            if segment:
                total += len(segment)
                for put in self._puts:
                    put(segment)
                self._published += 1
                if not self._published % LOOK_EVERY:
                    self._leave_out()
            elif not cursor.behind:
                break
        if total:
            self._wake()
        return total

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for news in waiting:
            news.set()

    def _leave_out(self) -> None:
        for follower in list(self._followers.values()):
            if len(follower.segments) > MAX_SEGMENTS:
                follower.expired = True
                follower.segments.clear()
                self.drop(follower)

    def close(self) -> None:
        """Stop reading the table; who waits is left waiting."""
        self._cursor.close()
        self._followers.clear()
        self._puts.clear()
