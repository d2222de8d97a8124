"""One stored object: the JSON of its parts as bytes, and what indexes and controllers ask for most."""

from typing import Any

import msgspec
import orjson

# Of an object beside its texts, more or less.
OVERHEAD_BYTES = 400


class StoredObject(msgspec.Struct, frozen=True, gc=False):
    """An API object, cut where it is joined again on output. Nothing in it ever changes.

    Attributes:
        key: "ns/name", or "name" when cluster-scoped.
        namespace: "" when cluster-scoped.
        name: metadata.name.
        uid: metadata.uid.
        generation: metadata.generation, 0 when the kind has none.
        labels: dict[str, str], shared and never mutated; {} when there are none.
        owners: Uids of the owners, the controller's first.
        deletion_s: Epoch seconds of the deletionTimestamp, 0.0 when it is not being deleted.
        finalizers: metadata.finalizers.
        meta: JSON members of metadata without braces, without resourceVersion and managedFields.
        managed: JSON array of managedFields, b"" when there are none.
        body: JSON members between metadata and status, without braces; b"" when there are none.
        status: JSON of status, b"" when the kind has none.
        facts: Frozen Struct of the kind (PodFacts …) for indexes, field selectors and scheduler, or None.
    """

    key: str
    namespace: str
    name: str
    uid: str
    generation: int
    labels: Any
    owners: tuple[str, ...]
    deletion_s: float
    finalizers: tuple[str, ...]
    meta: bytes
    managed: bytes
    body: bytes
    status: bytes
    facts: Any

    @property
    def size_bytes(self) -> int:
        """How much memory it takes, more or less."""
        return OVERHEAD_BYTES + len(self.meta) + len(self.body) + len(self.status) + len(self.managed)


def key_of(namespace: str, name: str) -> str:
    """Return the key under which an object is stored."""
    return f"{namespace}/{name}" if namespace else name


def packed(value: Any) -> bytes:
    """Return a value's JSON in no more memory than it takes: orjson's own result keeps the KB it was written in."""
    return memoryview(orjson.dumps(value)).tobytes()
