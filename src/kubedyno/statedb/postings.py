"""One secondary index: index key → primary keys, exact for the newest versions, committed or not.

What an index key lost since some reader's revision is kept beside, until compaction passes: a reader in the past
looks at both and verifies each, so its cost is the result plus what left it, never the whole table.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from kubedyno.statedb.errors import UniqueIndexError
from kubedyno.statedb.records import Index

T = TypeVar("T")

# A lone primary key is stored bare: a dictionary for each would take 200 bytes.
Entry = str | dict[str, None]


class Postings(Generic[T]):
    """See the module. Writers hold the database's lock; `candidates` needs none."""

    __slots__ = ("_leaves", "_left", "keys", "name", "post", "unique")

    def __init__(self, index: Index[T]) -> None:
        self.name = index.name
        self.keys: Callable[[T], Iterable[str]] = index.keys
        self.unique = index.unique
        self.post: dict[str, Entry] = {}
        # Index key → primary keys that left it, with the revision at which they did last.
        self._left: dict[str, dict[str, int]] = {}
        # The same in order: (revision, index key, primary key, revision of its leave before that or 0).
        self._leaves: deque[tuple[int, str, str, int]] = deque()

    def at_head(self, index_key: str) -> Sequence[str]:
        """Return the primary keys in order, the open transaction's writes included. O(result)."""
        entry = self.post.get(index_key)
        if entry is None:
            return ()
        return (entry,) if type(entry) is str else sorted(entry)

    def candidates(self, index_key: str) -> list[str]:
        """Return, in order, all primary keys that may have had the index key since the last compaction."""
        # First what is there, then what left: a row that moves between the two looks is then seen in one of them.
        entry = self.post.get(index_key)
        found = [] if entry is None else [entry] if type(entry) is str else list(entry)
        left = self._left.get(index_key)
        return sorted({*found, *list(left)} if left else found)

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
