"""What a write does to a table beside its dictionary and log: secondary indexes follow it, an abort takes it back."""

from typing import Any, TypeVar

from kubedyno.statedb.records import Record, Tombstone
from kubedyno.statedb.table import AnyTable, Table

T = TypeVar("T")
AnyRecord = Record[Any]


def move(table: Table[T], key: str, obj: T, prev: Record[T] | None, revision: int) -> None:
    """Bring the secondary indexes to an object's new version.

    Raises:
        UniqueIndexError: A unique key is taken; nothing was changed.
        TypeError: An index key is not text; nothing was changed.
    """
    fresh = prev is None or type(prev) is Tombstone
    moves = []
    for postings in table.postings:
        keys = postings.keys
        new = tuple(keys(obj))
        old = () if fresh else tuple(keys(prev.obj))  # type: ignore[union-attr]
        if new != old:
            for index_key in new:
                if type(index_key) is not str:
                    raise TypeError(f"table {table.name}, index {postings.name}: {index_key!r} is not a str")
            if postings.unique:
                postings.check(new, key)
            moves.append((postings, new, old))
    for postings, new, old in moves:
        for index_key in new:
            postings.add(index_key, key)
        for index_key in old:
            if index_key not in new:
                postings.leave(index_key, key, revision)


def undo(table: AnyTable, length: int, count: int, revision: int) -> None:
    """Take back every write after that length of the log's last segment and that revision."""
    tail, head = table.log.tail, table.head
    undone = tail[length:]
    before: dict[str, AnyRecord | None] = {}
    for record in reversed(undone):
        prev = before[record.key] = record.prev
        if prev is None:
            head.pop(record.key, None)
        else:
            head[record.key] = prev
    for postings in table.postings:
        keys = postings.keys
        restored = {
            key: () if record is None or type(record) is Tombstone else tuple(keys(record.obj))
            for key, record in before.items()
        }
        postings.undos += 1
        # First in, then out: a reader without a lock finds each row in one place or the other.
        for key, index_keys in restored.items():
            for index_key in index_keys:
                postings.add(index_key, key)
        for record in undone:
            if type(record) is not Tombstone:
                for index_key in keys(record.obj):
                    if index_key not in restored[record.key]:
                        postings.remove(index_key, record.key)
        postings.undo(revision)
        postings.undos += 1
    del tail[length:]
    table._count = count
    for record in undone:
        record.prev = None
