"""Objects whose operation has failed: when each is due again, and which revision is still owed.

Two heaps, one by due time and one by the revision that asked for the work; both forget lazily what was cleared.
"""

import heapq
from collections.abc import Hashable, Iterator
from itertools import islice
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Retry(Generic[T]):
    """One failed object."""

    __slots__ = ("attempts", "deleted", "due_s", "error", "failed_s", "item", "key", "revision")

    def __init__(self, key: Hashable, item: T, revision: int, *, deleted: bool) -> None:
        self.key = key
        self.item = item
        # Of what asked for it: a record's own grows with each status that is written back.
        self.revision = revision
        self.deleted = deleted
        self.attempts = 0
        # Monotonic seconds.
        self.failed_s = 0.0
        self.due_s = 0.0
        self.error = ""


class Retries(Generic[T]):
    """See the module."""

    def __init__(self) -> None:
        self._by_key: dict[Hashable, Retry[T]] = {}
        self._due: list[tuple[float, int, Retry[T]]] = []
        self._owed: list[tuple[int, int, Retry[T]]] = []
        self._number = 0

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Retry[T]]:
        return iter(self._by_key.values())

    def get(self, key: Hashable) -> Retry[T] | None:
        return self._by_key.get(key)

    def add(
        self,
        key: Hashable,
        item: T,
        revision: int,
        error: str,
        now_s: float,
        min_s: float,
        max_s: float,
        *,
        deleted: bool = False,
    ) -> Retry[T]:
        """Put a failed object in, or its next attempt: after `min_s`, twice that, and so on up to `max_s`.

        Args:
            key: Of the object.
            item: What to come back with: the record with its failed status, or its tombstone.
            revision: Of what asked for the work, for an object that is not in yet.
            error: Why it failed.
            now_s: Monotonic seconds.
            min_s: The first back-off.
            max_s: The longest.
            deleted: The operation was a deletion.
        """
        retry = self._by_key.get(key)
        if retry is None or retry.deleted is not deleted:
            retry = self._by_key[key] = Retry(key, item, revision, deleted=deleted)
            self._push(self._owed, retry.revision, retry)
        retry.item, retry.error, retry.failed_s = item, error, now_s
        # The exponent is bounded: 2 to the 1,000 is no float that one may multiply with.
        retry.due_s = now_s + min(min_s * 2.0 ** min(retry.attempts, 64), max_s)
        retry.attempts += 1
        self._push(self._due, retry.due_s, retry)
        self._trim()
        return retry

    def clear(self, key: Hashable) -> None:
        """Forget an object: it was done, or has a newer version."""
        self._by_key.pop(key, None)
        self._trim()

    def _trim(self) -> None:
        # What is only in the heaps must not outgrow what is alive.
        heaps: tuple[list[Any], ...] = (self._due, self._owed)
        for heap in heaps:
            if len(heap) > 2 * len(self._by_key) + 64:
                heap[:] = [entry for entry in heap if self._alive(heap, entry)]
                heapq.heapify(heap)

    def take_due(self, now_s: float, limit: int) -> list[Retry[T]]:
        """Return those that are due, the longest due first, at most `limit`; they stay owed."""
        found: list[Retry[T]] = []
        while len(found) < limit and (next_s := self.next_due_s()) is not None and next_s <= now_s:
            found.append(heapq.heappop(self._due)[2])
        return found

    def next_due_s(self) -> float | None:
        """Return when the next is due, None when there is none."""
        self._drop(self._due)
        return self._due[0][0] if self._due else None

    def low_watermark(self) -> int:
        """Return the lowest revision whose work still fails; 0 when there is none."""
        self._drop(self._owed)
        return self._owed[0][0] if self._owed else 0

    def errors(self, limit: int) -> list[str]:
        """Return the first errors, each with its key."""
        return [f"{key}: {retry.error}" for key, retry in islice(self._by_key.items(), limit)]

    def _push(self, heap: list[Any], order: float, retry: Retry[T]) -> None:
        self._number += 1
        heapq.heappush(heap, (order, self._number, retry))

    def _alive(self, heap: list[Any], entry: tuple[float, int, Retry[T]]) -> bool:
        retry = entry[2]
        return self._by_key.get(retry.key) is retry and (heap is self._owed or entry[0] == retry.due_s)

    def _drop(self, heap: list[Any]) -> None:
        while heap and not self._alive(heap, heap[0]):
            heapq.heappop(heap)
