"""What answers look like: objects, lists and watch events as JSON, YAML, protobuf, Tables and bare metadata.

The common form (compact JSON) is cut together from stored bytes; every other form is made from the parsed object.
"""

from collections.abc import Sequence
from typing import Any

import orjson

from kubedyno.base.clock import Clock
from kubedyno.cluster.apiserver.messages import Messages
from kubedyno.cluster.apiserver.negotiation import (
    JSON,
    METADATA,
    METADATA_LIST,
    OBJECT,
    PROTOBUF,
    TABLE,
    YAML,
    Form,
    check_shape,
)
from kubedyno.cluster.registry.customresources import CustomResource
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.registry import Registry
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube import protobuf, yaml
from kubedyno.kube.protobuftypes import META, ProtobufError
from kubedyno.kube.protobufwriting import block, writer
from kubedyno.kube.shapes import skeleton
from kubedyno.kube.status import NotAcceptable, StatusError

NO_COLUMNS = b'"columnDefinitions":null'
_LIST_META = writer(f"{META}ListMeta")
_PARTIAL_METADATA = writer(f"{META}PartialObjectMetadata")
# What else is in an object that went through the real server's own structs: these hold numbers where v1 has pointers.
_NOTHING_OF_APPS: dict[str, Object] = {
    "daemonsets": {"selector": None},
    "deployments": {"selector": None, "replicas": 0},
    "replicasets": {"selector": None, "replicas": 0},
    "statefulsets": {"selector": None, "replicas": 0},
}
_NO_TIME = "0001-01-01T00:00:00Z"
# The number of every list's field.
_ITEMS = 2


class Encoder:
    """Encodes one kind.

    Args:
        registry: Knows cells and metadata.
        kind: What to encode.
        clock: For ages in Tables.
    """

    def __init__(self, registry: Registry, kind: Kind, clock: Clock) -> None:
        self.kind = kind
        self._store = registry.store
        self._clock = clock
        resource = self._resource = kind.resource
        self._celled = kind.stored_as if kind.cells_of_stored and kind.stored_as is not None else resource
        self._type = {"kind": resource.kind, "apiVersion": resource.api_version}
        self._list_head = f'{{"kind":"{resource.kind}List","apiVersion":"{resource.api_version}",'.encode()
        self._columns = b""
        self._untyped = isinstance(kind, CustomResource)
        package = resource.group.partition(".")[0] or "core"
        self._go_type = f"{'core' if package == 'events' else package}.{resource.kind}"
        self._messages: Messages | None = None

    # --- one object ------------------------------------------------------------------------------------------

    def object(self, record: ObjectRecord, form: Form, include_object: str = "Metadata") -> bytes:
        """Return an answer that is one object.

        Raises:
            NotAcceptable: The kind has no such form.
        """
        if form.plain:
            return self._store.encode(self._resource, record) + b"\n"
        self.check(form)
        if form.shape is TABLE:
            head = self._table_head(form, list_meta(record.revision), columns=True)
            return document_bytes(head + self._row(record, form, include_object) + b"]}", form)
        if form.shape is METADATA:
            return document_bytes(self._metadata(record, form), form)
        if form.media is JSON:
            return document_bytes(self._store.encode(self._resource, record), form)
        if form.media is PROTOBUF:
            return self._enveloped(self._message(record, form), form)
        return value_bytes(self._store.encode_dict(self._resource, record, shown=True), form)

    def check(self, form: Form, *, listed: bool = False) -> None:
        """Check that metadata of an object is asked of an object, and that of a list of a list.

        Raises:
            StatusError: It is the other way round.
        """
        if not self._untyped:
            check_shape(form, f"{self._go_type}List" if listed else self._go_type, listed=listed)
        elif listed:
            check_shape(form, "unstructured.UnstructuredList", listed=True)
        elif form.wanted == METADATA_LIST:
            # What has no type is taken for a list till it shows that it is none.
            raise StatusError("content is not a list", code=500, reason="")

    # --- lists -----------------------------------------------------------------------------------------------

    def head(self, form: Form, revision: int, token: str = "", remaining: int | None = None) -> bytes:
        """Return a list's JSON up to its first item."""
        meta = list_meta(revision, token, remaining)
        if form.shape is TABLE:
            return self._table_head(form, meta, columns=True)
        if form.shape is METADATA:
            start = f'{{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/{form.version}",'.encode()
            return start + b'"metadata":' + meta + b',"items":['
        if self._untyped and not token:
            meta = b'{"continue":"",' + meta[1:] if len(meta) > 2 else b'{"continue":""}'
        return self._list_head + b'"metadata":' + meta + b',"items":['

    def items(self, records: Sequence[ObjectRecord], form: Form, include_object: str = "Metadata") -> bytes:
        """Return items of a list as JSON, joined by commas."""
        if form.shape is OBJECT:
            # What the real server knows no type of says in each item what it is.
            encode, resource = self._store.encode if self._untyped else self._store.encode_item, self._resource
            return b",".join([encode(resource, record) for record in records])
        if form.shape is TABLE:
            return b",".join([self._row(record, form, include_object) for record in records])
        return b",".join([self._metadata(record, form) for record in records])

    # --- protobuf --------------------------------------------------------------------------------------------

    def messages(self, records: Sequence[ObjectRecord], form: Form) -> bytes:
        """Return items of a list as protobuf."""
        number = 1 if _is_turned(form) else _ITEMS
        return b"".join([block(number, self._message(record, form)) for record in records])

    def list_ends(self, form: Form, page_meta: bytes, items_bytes: int) -> tuple[bytes, bytes]:
        """Return what stands before and after a list's items as protobuf.

        Args:
            form: Of the answer.
            page_meta: The list's metadata, see `list_meta`.
            items_bytes: All items together.
        """
        turned = _is_turned(form)
        meta = block(_ITEMS if turned else 1, _LIST_META(orjson.loads(page_meta)))
        api_version, kind = self._type["apiVersion"], f"{self._type['kind']}List"
        if form.shape is METADATA:
            api_version, kind = f"meta.k8s.io/{form.version}", "PartialObjectMetadataList"
        opening = protobuf.opening(api_version, kind, len(meta) + items_bytes)
        return (opening, meta + protobuf.CLOSING) if turned else (opening + meta, protobuf.CLOSING)

    def _message(self, record: ObjectRecord, form: Form) -> bytes:
        if form.shape is METADATA:
            return _PARTIAL_METADATA(orjson.loads(self._metadata(record, form)))
        if self._messages is None:
            self._messages = Messages(self._store, self._resource)
        return self._messages.message(record)

    def _enveloped(self, raw: bytes, form: Form) -> bytes:
        api_version, kind = self._type["apiVersion"], self._type["kind"]
        if form.shape is METADATA:
            api_version, kind = f"meta.k8s.io/{form.version}", METADATA
        return b"".join((protobuf.opening(api_version, kind, len(raw)), raw, protobuf.CLOSING))

    # --- events ----------------------------------------------------------------------------------------------

    def event(self, kind: bytes, record: ObjectRecord, form: Form, include_object: str = "Metadata") -> bytes:
        """Return one watch event; a Table's comes without columns, see `with_columns`."""
        if form.shape is OBJECT:
            if form.media is JSON:
                return b'{"type":"%b","object":%b}\n' % (kind, self._store.encode(self._resource, record))
            return _frame(kind, self._enveloped(self._message(record, form), form))
        if form.shape is METADATA:
            if form.media is PROTOBUF:
                return _frame(kind, self._enveloped(self._message(record, form), form))
            data = self._metadata(record, form)
        else:
            data = self._table_head(form, list_meta(record.revision), columns=False)
            data += self._row(record, form, include_object) + b"]}"
        return b'{"type":"%b","object":%b}\n' % (kind, data)

    def with_columns(self, piece: bytes) -> bytes:
        """Return Table events with the column definitions in the first one."""
        return piece.replace(NO_COLUMNS, b'"columnDefinitions":' + self._column_bytes(), 1)

    def bookmark(
        self, revision: int, form: Form, include_object: str = "Metadata", *, initial_end: bool = False
    ) -> bytes:
        """Return a BOOKMARK event.

        Args:
            revision: The watcher knows everything up to here.
            form: Of the watch.
            include_object: What a Table's rows carry.
            initial_end: It ends the initial events.
        """
        metadata: Object = {"resourceVersion": str(revision)}
        if initial_end:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        if form.shape is METADATA:
            value: Object = {"kind": METADATA, "apiVersion": f"meta.k8s.io/{form.version}", "metadata": metadata}
        elif form.shape is TABLE:
            shown: Object | None = None
            if include_object == "Object":
                shown = {**self._type, **self._nothing(), "metadata": metadata}
            elif include_object != "None":
                shown = {"kind": METADATA, "apiVersion": f"meta.k8s.io/{form.version}", "metadata": metadata}
            cells = [
                # Go prints a time that is not set.
                _NO_TIME if column["name"] == "Created At" and not cell else cell
                for column, cell in zip(
                    self.kind.columns(), self.kind.cells(self._nothing(), self._clock.now()), strict=False
                )
            ]
            value = {
                "kind": "Table",
                "apiVersion": f"meta.k8s.io/{form.version}",
                "metadata": {"resourceVersion": str(revision)},
                "columnDefinitions": None,
                "rows": [{"cells": cells, "object": shown}],
            }
        else:
            value = {**self._type, **self._nothing(), "metadata": metadata}
        if form.media is PROTOBUF:
            return _frame(b"BOOKMARK", protobuf.encode(value))
        return b'{"type":"BOOKMARK","object":%b}\n' % orjson.dumps(value)

    def _nothing(self) -> Object:
        """Return an object in which nothing is set: what a bookmark shows."""
        if self._untyped:
            return {"metadata": {"name": ""}}
        nothing: Object = {**skeleton(self._type["apiVersion"], self._type["kind"]), "metadata": {"name": ""}}
        if self._resource.group == "apps" and "spec" in nothing:
            nothing["spec"] |= _NOTHING_OF_APPS.get(self._resource.plural, {})
        return nothing

    def error_event(self, error: StatusError, form: Form) -> bytes:
        """Return an ERROR event."""
        if form.media is PROTOBUF:
            return _frame(b"ERROR", protobuf.encode(error.document()))
        return b'{"type":"ERROR","object":%b}\n' % error.body()

    # --- parts -----------------------------------------------------------------------------------------------

    def _metadata(self, record: ObjectRecord, form: Form) -> bytes:
        obj = record.obj
        meta = _unversioned(obj.meta, self.kind.versioned_annotations) if self.kind.versioned_annotations else obj.meta
        managed = self._store.managed_of(self._resource, obj)
        managed = managed and b',"managedFields":' + managed
        revision = b',"resourceVersion":"%d"' % record.revision if record.revision else b""
        head = f'{{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/{form.version}","metadata":{{'.encode()
        return b"%b%b%b%b}}" % (head, meta, revision, managed)

    def _table_head(self, form: Form, meta: bytes, *, columns: bool) -> bytes:
        definitions = b'"columnDefinitions":' + self._column_bytes() if columns else NO_COLUMNS
        return b'{"kind":"Table","apiVersion":"meta.k8s.io/%b","metadata":%b,%b,"rows":[' % (
            form.version.encode(),
            meta,
            definitions,
        )

    def _column_bytes(self) -> bytes:
        if not self._columns:
            self._columns = orjson.dumps(self.kind.columns())
        return self._columns

    def _row(self, record: ObjectRecord, form: Form, include_object: str) -> bytes:
        # A custom resource's column may show anything.
        parsed = self._store.encode_dict(self._celled, record, managed=self._untyped)
        cells = orjson.dumps(self.kind.cells(parsed, self._clock.now()))
        if include_object == "Object":
            shown = self._store.encode(self._resource, record)
        elif include_object == "None":
            shown = b"null"
        else:
            shown = self._metadata(record, form)
        conditions = self.kind.row_conditions(parsed)
        told = b',"conditions":' + orjson.dumps(conditions) if conditions else b""
        return b'{"cells":%b%b,"object":%b}' % (cells, told, shown)


def metadata_of(document: Object, form: Form, go_type: str) -> Object:
    """Return a document, or its metadata alone where those are asked for.

    Args:
        document: What is answered.
        form: What is asked for.
        go_type: What it is in Go.

    Raises:
        NotAcceptable: Metadata of a list are asked for.
    """
    if form.shape is not METADATA:
        return document
    check_shape(form, go_type)
    return {"kind": METADATA, "apiVersion": f"meta.k8s.io/{form.version}", "metadata": document["metadata"]}


def _unversioned(meta: bytes, annotations: Sequence[str]) -> bytes:
    """Return metadata's members without some annotations."""
    members = orjson.loads(b"{" + meta + b"}")
    members["annotations"] = {k: v for k, v in members.get("annotations", {}).items() if k not in annotations}
    if not members["annotations"]:
        del members["annotations"]
    return orjson.dumps(members)[1:-1]


def _is_turned(form: Form) -> bool:
    """Say whether a list's items go before its metadata: that of the beta has their numbers the other way round."""
    return form.shape is METADATA and form.version == "v1beta1"


def list_meta(revision: int, token: str = "", remaining: int | None = None) -> bytes:
    """Return a list's metadata as JSON."""
    meta: Object = {"resourceVersion": str(revision)} if revision else {}
    if token:
        meta["continue"] = token
    if remaining is not None:
        meta["remainingItemCount"] = remaining
    return orjson.dumps(meta)


def document_bytes(data: bytes, form: Form) -> bytes:
    """Return a JSON document in the medium of a form."""
    if form.media is JSON and not form.pretty:
        return data + b"\n"
    return value_bytes(orjson.loads(data), form)


def value_bytes(value: Any, form: Form) -> bytes:
    """Return a JSON value in the medium of a form.

    Raises:
        NotAcceptable: It has no protobuf form.
    """
    if form.media is YAML:
        return yaml.dump(value).encode()
    if form.media is PROTOBUF:
        try:
            return protobuf.encode(value)
        except ProtobufError as error:
            raise NotAcceptable(f"406: Not Acceptable\n\nNo protobuf form: {error}", {}) from None
    if form.pretty:
        return orjson.dumps(value, option=orjson.OPT_INDENT_2)
    return orjson.dumps(value) + b"\n"


def text_around(listed: dict[str, Any], form: Form) -> tuple[bytes, bytes]:
    """Return what stands before and after the items of a list for readers (YAML, or JSON with indents) that has some.

    Args:
        listed: The list, without its items.
        form: Of the answer.
    """
    name = "rows" if form.shape is TABLE else "items"
    text = value_bytes({**listed, name: []}, form)
    if form.media is YAML:
        before, _, after_all = (b"\n" + text).partition(b"\n%b: []\n" % name.encode())
        return before[1:] + b"\n%b:\n" % name.encode(), after_all
    before, _, after_all = text.partition(b'\n  "%b": []' % name.encode())
    return before + b'\n  "%b": [' % name.encode(), b"\n  ]" + after_all


def text_of(items: list[Any], form: Form, *, first: bool) -> bytes:
    """Return some items of a list for readers, as they stand in the whole; the first ones, or those behind others."""
    if form.media is YAML:
        return value_bytes(items, form)
    # In an object, for the indents that they have in the list.
    inner = value_bytes({"": items}, form)[len(b'{\n  "": [') : -len(b"\n  ]\n}")]
    return inner if first else b"," + inner


def _frame(kind: bytes, message: bytes) -> bytes:
    """Return a WatchEvent message behind its length: how events travel as protobuf."""
    event = block(1, kind) + block(2, block(1, message))
    return len(event).to_bytes(4, "big") + event
