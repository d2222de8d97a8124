"""What a reconciler does to its target. All operations must be idempotent: any may come again.

An operation is a plain function, or a coroutine function when it waits for something. It fails by raising.
"""

from collections.abc import Awaitable, Sequence
from typing import Generic, Protocol, TypeVar

from kubedyno.statedb.records import Record
from kubedyno.statedb.snapshot import Snapshot

T = TypeVar("T")


class Operations(Protocol[T]):
    """A target, one object at a time."""

    def update(self, snapshot: Snapshot, record: Record[T]) -> T | Awaitable[T | None] | None:
        """Bring the target to an object, whether it is there or not.

        Returns:
            None, or the object as it is to be written back, with what the target has told (an address, an id).
        """
        ...

    def delete(self, snapshot: Snapshot, record: Record[T]) -> Awaitable[None] | None:
        """Remove an object from the target; it may never have been there."""
        ...

    def prune(self, snapshot: Snapshot, records: Sequence[Record[T]]) -> Awaitable[None] | None:
        """Remove from the target whatever is not among these, which are all there are."""
        ...


class Entry(Generic[T]):
    """One object of a batch; the operation sets `error` where it failed, and `obj` to have another written back."""

    __slots__ = ("deleted", "error", "obj", "record")

    def __init__(self, record: Record[T], *, deleted: bool) -> None:
        self.record = record
        self.deleted = deleted
        self.error: BaseException | None = None
        self.obj: T | None = None


class BatchOperations(Protocol[T]):
    """A target that takes many objects at once. In each round the deletions go first, to make room."""

    def update_batch(self, snapshot: Snapshot, entries: Sequence[Entry[T]]) -> Awaitable[None] | None:
        """Bring the target to objects, in order; raising fails all of them."""
        ...

    def delete_batch(self, snapshot: Snapshot, entries: Sequence[Entry[T]]) -> Awaitable[None] | None:
        """Remove objects from the target, in order; raising fails all of them."""
        ...
