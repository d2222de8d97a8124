"""The status of a simple pod that has just started, as what tells it from others; most pods stay so for life."""

import msgspec

from kubedyno.cluster.kubelet.plan import StartForm
from kubedyno.cluster.kubelet.runs import container_id


class Started(msgspec.Struct, frozen=True, gc=False):
    """A pod's status.

    Attributes:
        form: What it shares.
        host: The node's address.
        ip: The pod's.
        bound: When it was bound to its node.
        start: When it was started.
        generation: The one that was started.
    """

    form: StartForm
    host: str
    ip: str
    bound: bytes
    start: bytes
    generation: int

    def text(self, uid: str, suffix: bytes) -> bytes:
        """Return the JSON.

        Args:
            uid: What the containers' ids are made of.
            suffix: Of the token volume.
        """
        form = self.form
        holes: dict[bytes, object] = {
            b"host": self.host.encode(), b"ip": self.ip.encode(), b"bound": self.bound, b"start": self.start,
            b"now": self.start, b"suffix": suffix, b"generation": b"%d" % self.generation,
        }  # fmt: skip
        for i, name in enumerate(form.names):
            holes[b"id%d" % i] = container_id(uid, name, 0).encode()
        return form.text % holes
