"""A kind's records as protobuf messages, made part by part as they are stored.

Metadata, body and status are each JSON of their own. What pods share of their specs is written once for all of them and
joined like its text: the suffix that tells two of them apart is of one length, and their nodes stand at one place.
"""

from functools import lru_cache
from typing import Any

import orjson

from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.leanpod import SPEC, LeanPod, Shape
from kubedyno.cluster.storage.store import ObjectRecord, Store
from kubedyno.kube.protobuftypes import ProtobufError, fields_of, message_of
from kubedyno.kube.protobufwriting import block, writer
from kubedyno.kube.resources import Resource
from kubedyno.kube.status import NotAcceptable

_OBJECT_META = writer("k8s.io.apimachinery.pkg.apis.meta.v1.ObjectMeta")
_POD_SPEC = writer("k8s.io.api.core.v1.PodSpec")
_KNOWN_SHAPES = 1024
_POD_STATUS = writer("k8s.io.api.core.v1.PodStatus")
_METADATA, _SPEC, _STATUS = 1, 2, 3
_NODE_NAME = next(field.number for field in fields_of("k8s.io.api.core.v1.PodSpec") if field.name == "nodeName")
# They stand for a pod's own suffix and node while its shape is written; no text of a client holds them.
_MARK = b"\x7f\x01\x7f\x01\x7f"
_NODE_MARK = b"\x7f\x02\x7f\x02\x7f"
Cut = tuple[tuple[bytes, ...], tuple[bytes, ...]]
_CANNOT = (TypeError, ValueError, AttributeError, KeyError)


class Messages:
    """Writes the records of one resource.

    Args:
        store: Where they are.
        resource: Of which kind.
    """

    def __init__(self, store: Store, resource: Resource) -> None:
        self._store = store
        self._resource = resource
        self._write = writer(message_of(resource.api_version, resource.kind))
        self._shapes: dict[Shape, Cut | None] = {}

    def message(self, record: ObjectRecord) -> bytes:
        """Return an object's message, without envelope.

        Raises:
            NotAcceptable: A value has no protobuf form: somebody stored what its type has not.
        """
        try:
            if self._store.is_converted(self._resource):
                return self._write(self._store.encode_dict(self._resource, record, shown=True))
            return self._joined(record)
        except _CANNOT as error:
            raise NotAcceptable(f"406: Not Acceptable\n\nNo protobuf form: {error}", {}) from None

    def _joined(self, record: ObjectRecord) -> bytes:
        obj: Any = record.obj
        metadata = orjson.loads(b"{%b}" % obj.meta)
        metadata["resourceVersion"] = str(record.revision)
        managed = self._store.managed_of(self._resource, obj)
        if managed:
            metadata["managedFields"] = orjson.loads(managed)
        shared = self._cut_of(obj.shape) if type(obj) is LeanPod else None
        if shared is not None:
            before, behind = shared
            spec = b"".join(
                (
                    obj.suffix.join(before),
                    block(_NODE_NAME, obj.facts.node_name.encode()),
                    obj.suffix.join(behind),
                )
            )
            status = _POD_STATUS(orjson.loads(obj.status or b"{}"))
            return block(_METADATA, _OBJECT_META(metadata)) + block(_SPEC, spec) + block(_STATUS, status)
        whole: Object = orjson.loads(b"{%b}" % obj.body)
        whole["metadata"] = metadata
        if obj.status:
            whole["status"] = orjson.loads(obj.status)
        return self._write(whole)

    def _cut_of(self, shape: Shape) -> Cut | None:
        """Return the message of what pods of a shape share of their specs; see `cut`."""
        if shape not in self._shapes:
            if len(self._shapes) >= _KNOWN_SHAPES:
                self._shapes.clear()
            self._shapes[shape] = cut(shape)
        return self._shapes[shape]


def cut(shape: Shape) -> Cut | None:
    """Return the message of a PodSpec before its node and behind it, each cut where the suffix goes.

    Args:
        shape: The spec's JSON, cut in the same way.

    Returns:
        None where the suffix stands in what is no text, or more often in the message.
    """
    members = orjson.dumps(_MARK.decode())[1:-1].join(shape).removeprefix(SPEC)
    try:
        message = _POD_SPEC({**orjson.loads(b"{" + members), "nodeName": _NODE_MARK.decode()})
    except orjson.JSONDecodeError:
        return None
    before, _, behind = message.partition(block(_NODE_NAME, _NODE_MARK))
    found = tuple(before.split(_MARK)), tuple(behind.split(_MARK))
    return found if sum(map(len, found)) == len(shape) + 1 else None


@lru_cache(maxsize=1024)
def has_messages(api_version: str, kind: str) -> bool:
    """Say whether a kind has a protobuf form: built-in ones have, custom resources do not."""
    try:
        message_of(api_version, kind)
    except ProtobufError:
        return False
    return True
