"""The values that tables are made of: records, tombstones, and the descriptions of indexes and history."""

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")

# What a table with history keeps unless told otherwise: a Kubernetes API server compacts after five minutes.
DEFAULT_HISTORY_S = 300.0
DEFAULT_HISTORY_RECORDS = 60_000


class Record(msgspec.Struct, Generic[T], gc=False):
    """One version of an object; never changed once committed, except that compaction cuts `prev`.

    `prev` is the version before it, None for the first; it is for the writer, right after the write. The garbage
    collector does not see records: objects must not refer to records in a cycle.
    """

    key: str
    obj: T
    revision: int
    prev: "Record[T] | None"


class Tombstone(Record[T], Generic[T], gc=False):
    """The version that says "deleted"; `obj` is the last live object."""


# `prev` of a record that compaction gave up: nothing can reach it through a chain, its segment may drop it.
# Its revision lies below any reader's and its type says "not there", so a reader that meets it stops.
DEAD: Record[Any] = Tombstone("", None, -1, None)


class Index(msgspec.Struct, Generic[T], frozen=True):
    """A secondary index.

    Attributes:
        name: Unique in its table.
        keys: Object → its keys in this index: none (partial), one or many. Must depend on the object alone.
        unique: Two live objects may never share a key.
    """

    name: str
    keys: Callable[[T], Iterable[str]]
    unique: bool = False


class History(msgspec.Struct, Generic[T], frozen=True):
    """How much of the past a table keeps for cursors that want every version: whichever limit is met first.

    A table without history keeps superseded versions only while a snapshot needs them, and tombstones only until
    every open cursor has passed.

    Attributes:
        seconds: Age, measured in steps of a second.
        records: Number of newest records kept.
        bytes: Sum of `size` over the newest records, in steps of a log segment; needs `size`.
        size: Object → its bytes.
    """

    seconds: float | None = DEFAULT_HISTORY_S
    records: int | None = DEFAULT_HISTORY_RECORDS
    bytes: int | None = None
    size: Callable[[T], int] | None = None

    def __post_init__(self) -> None:
        if self.bytes is not None and self.size is None:
            raise ValueError("history limited by bytes needs a size function")
