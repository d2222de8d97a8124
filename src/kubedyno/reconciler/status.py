"""What became of an object: pending, refreshing, done, or failed with its error.

A status is part of the object and replaced with it. Its `id` is new for each request to reconcile: a reconciler
that finds another revision than the one it worked on, but the same pending id, knows that only somebody else's status
has changed. `StatusSet` holds the statuses of several reconcilers of one object.
"""

from collections.abc import Iterable
from enum import Enum
from itertools import count

import msgspec

_ids = count(1)


class Kind(Enum):
    """The states of an object; the values are keys for an index."""

    PENDING = "P"
    """Written, and not yet reconciled."""
    REFRESHING = "R"
    """Done before, and to be done again because it is long ago."""
    DONE = "D"
    ERROR = "E"


PENDING, REFRESHING, DONE, ERROR = Kind.PENDING, Kind.REFRESHING, Kind.DONE, Kind.ERROR


class Status(msgspec.Struct, frozen=True, gc=False):
    """The state of an object for one reconciler.

    Attributes:
        kind: Its state.
        updated_s: Wall time of the last change, seconds since the epoch.
        error: Why it failed; "" unless `kind` is ERROR.
        id: The number of the request.
    """

    kind: Kind
    updated_s: float
    error: str = ""
    id: int = 0

    def __str__(self) -> str:
        name = self.kind.name.capitalize()
        return f"{name}: {self.error}" if self.error else name


def pending(now_s: float) -> Status:
    """Return the status of an object that is to be reconciled: what every new version starts with."""
    return Status(PENDING, now_s, "", next(_ids))


def refreshing(now_s: float) -> Status:
    """Return the status of an object that is to be reconciled again."""
    return Status(REFRESHING, now_s, "", next(_ids))


class StatusSet(msgspec.Struct, frozen=True):
    """The statuses of several named reconcilers; a name that is not there is pending.

    Attributes:
        id: Of the request that all those names share.
        created_s: When that was.
        statuses: (name, status), in order of name.
    """

    id: int
    created_s: float
    statuses: tuple[tuple[str, Status], ...] = ()

    def get(self, name: str) -> Status:
        """Return a reconciler's status."""
        for other, status in self.statuses:
            if other == name:
                return status
        return Status(PENDING, self.created_s, "", self.id)

    def put(self, name: str, status: Status) -> "StatusSet":
        """Return the set with a reconciler's status in it."""
        others = [entry for entry in self.statuses if entry[0] != name]
        return StatusSet(self.id, self.created_s, tuple(sorted([*others, (name, status)], key=_name)))

    def remove(self, name: str) -> "StatusSet":
        """Return the set without a reconciler that is no more."""
        return StatusSet(self.id, self.created_s, tuple(entry for entry in self.statuses if entry[0] != name))

    def pending(self, now_s: float) -> "StatusSet":
        """Return the set of a new version of the object: all are pending again."""
        return pending_set(now_s)

    def is_done(self, required: Iterable[str]) -> bool:
        """True when all those reconcilers are done; who they are, only their registry knows."""
        return all(self.get(name).kind is DONE for name in required)

    def __str__(self) -> str:
        return ", ".join(f"{name} {status}" for name, status in self.statuses) or "Pending"


def pending_set(now_s: float) -> StatusSet:
    """Return the status set of a new object."""
    return StatusSet(next(_ids), now_s)


def _name(entry: tuple[str, Status]) -> str:
    return entry[0]
