"""A pod whose spec is shared with the pods that differ from it by name only: a KB less for each version.

Most pods are made from few templates; their bodies differ in the suffix of their token volume and in their node. To
readers it is a `StoredObject`; a change of anything but node and status puts a real one in its place.
"""

from typing import Any, ClassVar

import msgspec

from kubedyno.cluster.registry.kinds.podfacts import PodFacts, PodSpecFacts
from kubedyno.cluster.storage.objects import StoredObject

Shape = tuple[bytes, ...]
SPEC = b'"spec":{'
_TOKEN_VOLUME = b"kube-api-access-"
_SUFFIX_LENGTH = 5
_KNOWN_SHAPES = 4096


class LeanPod(msgspec.Struct, frozen=True, gc=False):
    """A pod; see `StoredObject` for what is not told here.

    Attributes:
        shape: The body without its node, cut where the suffix goes.
        suffix: Of its token volume, b"" when it has none.
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
    status: bytes
    facts: PodFacts

    deletion_s: ClassVar[float] = 0.0
    finalizers: ClassVar[tuple[str, ...]] = ()

    @property
    def body(self) -> bytes:
        body = self.suffix.join(self.shape)
        node = self.facts.node_name
        return SPEC + b'"nodeName":"%b",%b' % (node.encode(), body[len(SPEC) :]) if node else body

    def with_status(self, status: bytes, facts: PodFacts) -> "LeanPod":
        """Return its next version."""
        return LeanPod(
            self.key, self.namespace, self.name, self.uid, self.generation, self.labels, self.owners, self.meta,
            self.managed, self.shape, self.suffix, status, facts,
        )  # fmt: skip


class Shapes:
    """Finds what pods share."""

    def __init__(self) -> None:
        self._known: dict[Shape, tuple[Shape, PodSpecFacts]] = {}

    def lean(self, obj: StoredObject, node: str, status: bytes) -> LeanPod | None:
        """Return the lean form of a pod that was just bound; None when it is one of its own kind.

        Args:
            obj: The pod before that.
            node: Its node from now on.
            status: Its status from now on.
        """
        facts: PodFacts = obj.facts
        if obj.deletion_s or obj.finalizers or facts.pinned_node or facts.node_name:
            return None
        if isinstance(obj, LeanPod):
            shape, suffix, spec = obj.shape, obj.suffix, facts.spec
        else:
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
        new = PodFacts(node, facts.phase, facts.ready, facts.pod_ip, spec, facts.pinned_node)
        return LeanPod(
            obj.key, obj.namespace, obj.name, obj.uid, obj.generation, obj.labels, obj.owners, obj.meta, obj.managed,
            shape, suffix, status, new,
        )  # fmt: skip
