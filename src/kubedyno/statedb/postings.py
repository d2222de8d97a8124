"""One secondary index: index key → primary keys, exact for the newest versions, committed or not.

What an index key lost since some reader's revision is kept beside, until compaction passes: a reader in the past
looks at both and verifies each, so its cost is the result plus what left it, never the whole table.

Index keys are put in order when somebody first asks for a range of them, and from then on caught up by who asks.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from kubedyno.statedb.errors import UniqueIndexError
from kubedyno.statedb.records import Index, Record, Tombstone

T = TypeVar("T")

# A lone primary key is stored bare: a dictionary for each would take 200 bytes.
Entry = str | dict[str, None]
# The order is made anew when so many index keys in it, and as many as there are live ones, may be gone.
STALE_KEYS = 1024


class Postings(Generic[T]):
    """See the module. Writers hold the database's lock; `candidates` needs none."""

    __slots__ = ("_fresh", "_leaves", "_left", "_ordered", "keys", "name", "post", "undos", "unique")

    def __init__(self, index: Index[T]) -> None:
        self.name = index.name
        self.keys: Callable[[T], Iterable[str]] = index.keys
        self.unique = index.unique
        self.post: dict[str, Entry] = {}
        # Index key → primary keys that left it, with the revision at which they did last.
        self._left: dict[str, dict[str, int]] = {}
        # The same in order: (revision, index key, primary key, revision of its leave before that or 0).
        self._leaves: deque[tuple[int, str, str, int]] = deque()
        # Counts the beginnings and the ends of aborts: odd while one puts rows back.
        self.undos = 0
        # Index keys that came since somebody asked for an order; None while nobody has.
        self._fresh: list[str] | None = None
        # Index keys in order (never changed in place), the list of those that came since, and how many of it are in.
        self._ordered: tuple[list[str], list[str], int] | None = None

    def at_head(self, index_key: str) -> Sequence[str]:
        """Return the primary keys in order, the open transaction's writes included. O(result)."""
        entry = self.post.get(index_key)
        if entry is None:
            return ()
        return (entry,) if type(entry) is str else sorted(entry)

    def candidates(self, index_key: str) -> list[str]:
        """Return, in order, all primary keys that may have had the index key since the last compaction."""
        # First what is there, then what left: a row that leaves between the two looks is then seen in one of them.
        # Rows come back when a transaction is aborted: hence the third look, and a new try when that began or ended.
        while True:
            undos = self.undos
            found = self._there(index_key)
            left = self._left.get(index_key)
            if left:
                found = sorted({*found, *list(left), *self._there(index_key)})
            elif undos & 1:
                found = sorted({*found, *self._there(index_key)})
            else:
                found.sort()
            if self.undos == undos:
                return found

    def _there(self, index_key: str) -> list[str]:
        entry = self.post.get(index_key)
        return [] if entry is None else [entry] if type(entry) is str else list(entry)

    def ordered(self) -> list[str]:
        """Return all index keys that a reader may still see, in order, and perhaps some that nobody has any more.

        Not to be changed. O(index keys since the last call), O(n log n) for the first.
        """
        fresh = self._fresh
        if fresh is None:
            fresh = self._fresh = []
        cached = self._ordered
        if cached is not None and cached[1] is fresh:
            keys, _, known = cached
            if known == len(fresh):
                return keys
            if len(keys) < 2 * (len(self.post) + len(self._left)) + STALE_KEYS:
                upto = len(fresh)
                # Two runs in order: the sort merges them.
                keys = list(dict.fromkeys(sorted([*keys, *sorted(fresh[known:upto])])))
                self._ordered = (keys, fresh, upto)
                return keys
        fresh = self._fresh = []
        present, gone = list(self.post), list(self._left)
        # An abort puts keys back while this looks: it has told so before it took them out of what left.
        upto = len(fresh)
        keys = sorted({*present, *gone, *fresh[:upto]})
        self._ordered = (keys, fresh, upto)
        return keys

    def check(self, index_keys: Iterable[str], key: str) -> None:
        """Refuse an index key that another object holds.

        Raises:
            UniqueIndexError: One is taken.
        """
        for index_key in index_keys:
            entry = self.post.get(index_key)
            if entry is not None and entry != key:
                raise UniqueIndexError(f"index {self.name}: {index_key!r} of {key!r} is taken by {entry!r}")

    def add(self, index_key: str, key: str) -> None:
        post = self.post
        entry = post.get(index_key)
        if entry is None:
            post[index_key] = key
            # After the store: who begins to keep an order copies the keys after it has asked for this list.
            if self._fresh is not None:
                self._fresh.append(index_key)
        elif type(entry) is str:
            if entry != key:
                post[index_key] = {entry: None, key: None}
        else:
            entry[key] = None  # type: ignore[index]

    def leave(self, index_key: str, key: str, revision: int) -> None:
        """Take a row out at a revision, and remember that it was there."""
        left = self._left.get(index_key)
        if left is None:
            left = self._left[index_key] = {}
        self._leaves.append((revision, index_key, key, left.get(key, 0)))
        left[key] = revision
        self.remove(index_key, key)

    def remove(self, index_key: str, key: str) -> None:
        """Take a row out for good."""
        entry = self.post.get(index_key)
        if type(entry) is dict:
            entry.pop(key, None)
            if not entry:
                del self.post[index_key]
        elif entry == key:
            del self.post[index_key]

    def undo(self, revision: int) -> None:
        """Take back all leaves after a revision. The rows themselves are put back by the caller, before."""
        leaves = self._leaves
        while leaves and leaves[-1][0] > revision:
            _, index_key, key, before = leaves.pop()
            if before:
                self._left[index_key][key] = before
            else:
                self._drop(index_key, key)

    def forget(self, until: int, limit: int) -> int:
        """Forget what left at or before a revision, at most `limit` rows; returns how many."""
        leaves = self._leaves
        done = 0
        while leaves and leaves[0][0] <= until and done < limit:
            revision, index_key, key, _ = leaves.popleft()
            if self._left.get(index_key, {}).get(key) == revision:
                self._drop(index_key, key)
            done += 1
        return done

    def _drop(self, index_key: str, key: str) -> None:
        left = self._left[index_key]
        del left[key]
        if not left:
            del self._left[index_key]


def scan(
    postings: Postings[T],
    get: Callable[[str], Record[T] | None],
    lo: str,
    hi: str | None,
    limit: int | None,
    *,
    reverse: bool = False,
    after: tuple[str, str] | None = None,
    past: bool = False,
) -> list[tuple[str, Record[T]]]:
    """Return (index key, record) of a range of index keys; see `Snapshot.scan`.

    Args:
        postings: The index.
        get: Primary key → record as the reader sees it.
        lo: The lower bound.
        hi: The upper bound, not included.
        limit: How many at most.
        reverse: From the high end.
        after: Where to continue.
        past: Also look at what has left the index.
    """
    ordered = postings.ordered()
    start, end = bisect_left(ordered, lo), len(ordered) if hi is None else bisect_left(ordered, hi)
    if after is not None:
        at = bisect_left(ordered, after[0])
        if reverse:
            end = min(end, at + 1)
        else:
            start = max(start, at)
    keys_of = postings.keys
    found: list[tuple[str, Record[T]]] = []
    for index_key in reversed(ordered[start:end]) if reverse else ordered[start:end]:
        keys = postings.candidates(index_key) if past else postings.at_head(index_key)
        for key in reversed(keys) if reverse else keys:
            if after is not None and ((index_key, key) >= after if reverse else (index_key, key) <= after):
                continue
            record = get(key)
            if record is None or type(record) is Tombstone:
                continue
            mine = [other for other in keys_of(record.obj) if lo <= other and (hi is None or other < hi)]
            # Once only: with the first of its keys in the range; and only if it has this one in this state.
            if not mine or index_key != (max(mine) if reverse else min(mine)):
                continue
            found.append((index_key, record))
            if len(found) == limit:
                return found
    return found
