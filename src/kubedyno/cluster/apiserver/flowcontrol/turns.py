"""Turns on the one event loop: a little between two looks at the sockets, first for whom least has been done.

Seats alone would not do: a client that sends a hundred requests in one packet would have them all done before anybody
else's socket is read. Each line of items has a virtual time, the seconds that were spent on it; one that begins to wait
stands beside the one that is being served (start-time fair queuing).
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Hashable
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T")

# A turn: one request while several ask; while one alone does as much as makes up for what each turn costs
# of its own (some 30 µs: a read, a TLS record, a write).
SHARED_TURN_S = 0.0001
TURN_S = 0.004
# What is done in one turn follows each other more closely than this.
_GAP_S = 0.0002
# Items of one line that may wait for their turns: what keeps the loop busy, and no more, as each holds a seat.
_SHARED_LENGTH = 1
_LENGTH = 64
# For so long after somebody else has asked that one is reckoned with.
_COMPANY_S = 1.0


class _Line(Generic[T]):
    """Items of one key; `owed_s` was spent on it out of turn."""

    __slots__ = ("items", "key", "owed_s")

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.items: deque[T] = deque()
        self.owed_s = 0.0


class Turns(Generic[T]):
    """Lines of items to run.

    Args:
        run: Does an item, and says whether it was done; else it has only been woken, and is done before the loop looks at
            its sockets once more. Must not raise.
        now_s: Monotonic seconds.

    Attributes:
        after: Called when a turn has ended, before the loop looks at its sockets: what was answered is sent.
        ended_s: When something was done last that did not wait; kept by whoever does it.
    """

    def __init__(self, run: Callable[[T], bool], now_s: Callable[[], float]) -> None:
        self._run = run
        self._now_s = now_s
        self._lines: dict[Hashable, _Line[T]] = {}
        # (virtual time, order of arrival, line) of each line.
        self._heap: list[tuple[float, int, _Line[T]]] = []
        self._order = count()
        self._virtual_s = 0.0
        self._armed = False
        self._end_s = 0.0
        self._one_more = False
        self._served: Hashable = None
        self.after: Callable[[], None] | None = None
        self.ended_s = float("-inf")
        self._stopped = False
        # Who asked last, and until when turns are short.
        self._last = ""
        self._shared_until_s = 0.0

    @property
    def waiting(self) -> int:
        """Items that wait."""
        return sum(len(line.items) for line in self._lines.values())

    def note(self, who: str, now_s: float) -> None:
        """Take note of who asks: turns are short while there are several."""
        if who != self._last:
            if self._last:
                self._shared_until_s = now_s + _COMPANY_S
            self._last = who

    def free(self, key: Hashable, now_s: float) -> bool:
        """Say whether an item may be done at once: nothing of its line waits, and this turn has been short so far.

        One item a turn may be however long it has been, of another line than was served last: it would be the next
        anyhow, and need not wait for whatever else has been read.
        """
        if self._lines and key in self._lines:
            return False
        if now_s >= self._end_s:
            if not self._armed and now_s - self.ended_s >= _GAP_S:
                # Nothing was done for a while: the loop has looked at its sockets meanwhile.
                self._begin(now_s)
            elif not self._one_more or key == self._served:
                return False
            else:
                self._one_more = False
        self._served = key
        return True

    def shared(self) -> bool:
        """Say whether several have asked of late."""
        return self._now_s() < self._shared_until_s

    def crowded(self, key: Hashable) -> bool:
        """Say whether as many items of a line wait as are of any use."""
        line = self._lines.get(key)
        most = _SHARED_LENGTH if self.shared() else _LENGTH
        return line is not None and len(line.items) >= most

    def add(self, key: Hashable, item: T, owed_s: float = 0.0) -> None:
        """Let an item wait for its turn, behind others of the same key.

        Args:
            owed_s: What was spent on the line's items that were woken, and not counted yet.
        """
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line(key)
            heapq.heappush(self._heap, (self._virtual_s + owed_s, next(self._order), line))
        else:
            line.owed_s += owed_s
        line.items.append(item)
        if not self._armed:
            self._arm()

    def stop(self) -> None:
        """Drop all items; nothing runs after this."""
        self._stopped = True
        self._lines.clear()
        self._heap.clear()

    def _begin(self, now_s: float) -> None:
        self._end_s = now_s + (SHARED_TURN_S if now_s < self._shared_until_s else TURN_S)

    def _arm(self, *, late: bool = False) -> None:
        self._armed = True
        loop = asyncio.get_running_loop()
        if late:
            loop.call_soon(loop.call_soon, self._turn)
        else:
            loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._armed = False
        heap = self._heap
        if not heap or self._stopped:
            return
        before_s = self._now_s()
        self._begin(before_s)
        end_s = self._end_s
        # Whatever comes meanwhile waits.
        self._armed = True
        self._end_s = 0.0
        now_s = before_s
        done = True
        while heap:
            # What is added meanwhile has no earlier time than the first, and comes after it.
            virtual_s, order, line = heap[0]
            self._virtual_s = virtual_s
            self._served = line.key
            done = self._run(line.items.popleft())
            now_s = self._now_s()
            if line.items:
                heapq.heapreplace(heap, (virtual_s + now_s - before_s + line.owed_s, order, line))
                line.owed_s = 0.0
            else:
                heapq.heappop(heap)
                del self._lines[line.key]
                # Its answers leave before others' work is done.
                break
            before_s = now_s
            if now_s >= end_s or not done:
                break
        self._armed = False
        self._one_more = True
        if heap:
            self._arm(late=not done)
        if self.after is not None:
            self.after()
        self._begin(self._now_s())
