"""A pod that shares with others what it differs from them by name only: two KB less for each version.

Most pods are made from few templates: their bodies differ in the suffix of their token volume and in their node, and
most run as any other does. To readers it is a `StoredObject`; a change of anything but node and status puts a real one
in its place.
"""

from typing import Any, ClassVar, Protocol, cast

import msgspec

from kubedyno.cluster.registry.kinds.podfacts import PodFacts, PodSpecFacts
from kubedyno.cluster.storage.objects import OVERHEAD_BYTES, StoredObject

Shape = tuple[bytes, ...]
SPEC = b'"spec":{'
_TOKEN_VOLUME = b"kube-api-access-"
_SUFFIX_LENGTH = 5
_KNOWN_SHAPES = 4096


class Formed(Protocol):
    """A status that is written out when somebody reads it."""

    def text(self, uid: str, suffix: bytes) -> bytes:
        """Return the status of the pod with that uid and that suffix of its token volume."""


class LeanPod(msgspec.Struct, frozen=True, gc=False):
    """A pod; see `StoredObject` for what is not told here.

    Attributes:
        shape: The body without its node, cut where the suffix goes.
        suffix: Of its token volume, b"" when it has none.
        state: Its status, or what that is made of.
        facts: Their node is the body's.
    """

    key: str
    namespace: str
    name: str
    uid: str
    generation: int
    labels: Any
    owners: tuple[str, ...]
    meta: bytes
    managed: bytes
    shape: Shape
    suffix: bytes
    state: bytes | Any
    facts: PodFacts

    deletion_s: ClassVar[float] = 0.0
    finalizers: ClassVar[tuple[str, ...]] = ()

    @property
    def body(self) -> bytes:
        body = self.suffix.join(self.shape)
        node = self.facts.node_name
        return SPEC + b'"nodeName":"%b",%b' % (node.encode(), body[len(SPEC) :]) if node else body

    @property
    def status(self) -> bytes:
        state: bytes | Formed = self.state
        return state if isinstance(state, bytes) else state.text(self.uid, self.suffix)

    @property
    def size_bytes(self) -> int:
        return OVERHEAD_BYTES + len(self.meta) + (len(self.state) if isinstance(self.state, bytes) else 0)

    def with_status(self, state: bytes | Formed, facts: PodFacts) -> "LeanPod":
        """Return its next version."""
        return LeanPod(
            self.key, self.namespace, self.name, self.uid, self.generation, self.labels, self.owners, self.meta,
            self.managed, self.shape, self.suffix, state, facts,
        )  # fmt: skip


class Shapes:
    """Finds what pods share."""

    def __init__(self) -> None:
        self._known: dict[Shape, tuple[Shape, PodSpecFacts]] = {}

    def lean(self, obj: StoredObject) -> StoredObject:
        """Return the lean form of a new pod, or the pod itself when it is one of its own kind."""
        facts: PodFacts = obj.facts
        if obj.finalizers or facts.pinned_node or facts.node_name:
            return obj
        body, suffix = obj.body, b""
        at = body.find(_TOKEN_VOLUME)
        if at >= 0:
            at += len(_TOKEN_VOLUME)
            suffix = body[at : at + _SUFFIX_LENGTH]
        # Wherever else the same letters stand: joined again, it is the same text.
        shape = tuple(body.split(suffix)) if suffix else (body,)
        known = self._known.get(shape)
        if known is None:
            if len(self._known) >= _KNOWN_SHAPES:
                self._known.clear()
            known = self._known[shape] = (shape, facts.spec)
        # The same text has the same facts: who knows them knows all of it.
        shape, spec = known
        shared = PodFacts("", facts.phase, facts.ready, facts.pod_ip, spec, "")
        lean = LeanPod(
            obj.key, obj.namespace, obj.name, obj.uid, obj.generation, obj.labels, obj.owners, obj.meta, obj.managed,
            shape, suffix, obj.status, shared,
        )  # fmt: skip
        return cast("StoredObject", lean)
