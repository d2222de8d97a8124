"""Admission beyond the built-in plug-ins: what the registry asks about a write before it is stored."""

from typing import Protocol

from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.storage.store import ObjectRecord


class OwnGate(Protocol):
    """The way of a write of the cluster's own parts through admission."""

    def passed(self, kind: Kind, new: Object | None, old: ObjectRecord | None) -> Object:
        """Return an object that is to be stored, or deleted when `new` is None, as policies and webhooks want it.

        Raises:
            StatusError: It may not be.
            Postponed: Webhooks have yet to answer: who writes within a turn of a queue comes again.
        """
        ...


class Gate(Protocol):
    """One request's way through admission.

    A request whose webhooks have yet to answer is begun anew when they have. What would be random or a time is therefore
    the gate's, the same each time.

    Attributes:
        uid: Of an object that is created.
        suffix: End of a generated name.
        now_s: When it is created, epoch seconds.
        annotations: Of the request's audit event, to be added to.
    """

    uid: str
    suffix: str
    now_s: float
    annotations: dict[str, str]

    def mutated(self, kind: Kind, subresource: str, new: Object, old: ObjectRecord | None) -> Object:
        """Return a defaulted object as mutating policies and webhooks want it, before it is validated.

        Raises:
            StatusError: It may not be written.
        """
        ...

    def check(self, kind: Kind, subresource: str, new: Object | None, old: ObjectRecord | None) -> None:
        """Let a valid object pass that is to be stored, or deleted when `new` is None.

        Raises:
            StatusError: It may not be.
        """
        ...
