"""JSON values to protobuf messages: one writer a message, made of its fields' once, driven by the value.

A writer is a function from a value to bytes. It goes through the members that are there, not through the hundred that
there might be, and leaves out what the message does not know. The order of fields on the wire is the JSON's.
"""

import struct
from base64 import b64decode
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any

import orjson

from kubedyno.kube.protobuftypes import EXTENSIONS, FLATTENED, META, Field, fields_of

Write = Callable[[Any], bytes]


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


# Lengths and small numbers, which nearly all are.
_KNOWN = 2048
_VARINTS = tuple(_varint(value) for value in range(_KNOWN))


def varint(value: int) -> bytes:
    """Return an integer as a varint; a negative one in ten bytes, as two's complement."""
    return _VARINTS[value] if 0 <= value < _KNOWN else _varint(value)


def tag(field: int, wire: int = 2) -> bytes:
    """Return what stands before a field's value: its number and wire type, length-delimited when none is given."""
    return varint(field << 3 | wire)


def block(field: int, data: bytes) -> bytes:
    """Return a length-delimited field: a text, bytes or a message."""
    return tag(field) + varint(len(data)) + data


class _Message:
    """Writes one message type."""

    __slots__ = ("_fields", "_inlined")

    def __init__(self) -> None:
        self._fields: dict[str, Write] = {}
        self._inlined: list[tuple[int, Write]] = []

    def fill(self, message: str) -> None:
        """Make the fields' writers; apart from construction, as messages hold themselves."""
        for field in fields_of(message):
            if field.inline:
                self._inlined.append((field.number, writer(field.message)))
            else:
                self._fields[field.name] = _field_writer(field)

    def __call__(self, value: Any) -> bytes:
        fields = self._fields
        parts = [fields[name](entry) for name, entry in value.items() if entry is not None and name in fields]
        for number, write in self._inlined:
            raw = write(value)
            if raw:
                parts.append(block(number, raw))
        return b"".join(parts)


_writers: dict[str, Write] = {}


def writer(message: str) -> Write:
    """Return what writes values of a message type, without tag and length.

    Raises:
        ProtobufError: There is no such message.
    """
    known = _writers.get(message) or _SPECIAL.get(message)
    if known is not None:
        return known
    if message in FLATTENED:
        inner, name = _Message(), FLATTENED[message]
        inner.fill(message)
        return _writers.setdefault(message, lambda value: inner({name: value}))
    made = _Message()
    _writers[message] = made
    try:
        made.fill(message)
    except BaseException:
        del _writers[message]
        raise
    return made


def _field_writer(field: Field) -> Write:
    if field.mapped:
        return _map_writer(field)
    one = _one(field.number, field)
    if field.repeated:
        return lambda items: b"".join([one(item) for item in items])
    return one


def _map_writer(field: Field) -> Write:
    entry, value = tag(field.number), _one(2, field)

    def write(members: Any) -> bytes:
        parts: list[bytes] = []
        for key in sorted(members):
            data = block(1, key.encode()) + value(members[key])
            parts += (entry, varint(len(data)), data)
        return b"".join(parts)

    return write


def _one(number: int, field: Field) -> Write:
    """Return what writes one value under a field's number."""
    if field.message:
        return _delimited(tag(number), writer(field.message))
    if field.scalar == "string":
        return _delimited(tag(number), str.encode)
    if field.scalar == "bytes":
        return _delimited(tag(number), b64decode)
    if field.scalar == "bool":
        yes, no = tag(number, 0) + b"\1", tag(number, 0) + b"\0"
        return lambda value: yes if value else no
    if field.scalar == "double":
        eight = tag(number, 1)
        return lambda value: eight + struct.pack("<d", value)
    start = tag(number, 0)
    return lambda value: start + varint(int(value))


def _delimited(start: bytes, inner: Callable[[Any], bytes]) -> Write:
    # Bound here: this is what runs most.
    known, varints = _KNOWN, _VARINTS

    def write(value: Any) -> bytes:
        data = inner(value)
        size = len(data)
        return start + (varints[size] if size < known else _varint(size)) + data

    return write


@lru_cache(maxsize=4096)
def _time(value: str) -> bytes:
    moment = datetime.fromisoformat(value)
    nanos = moment.microsecond * 1000
    return b"\x08" + varint(int(moment.timestamp())) + (b"\x10" + varint(nanos) if nanos else b"")


def _int_or_string(value: int | str) -> bytes:
    if isinstance(value, str):
        return b"\x08\x01\x10\0" + block(3, value.encode())
    return b"\x08\0\x10" + varint(value) + block(3, b"")


def _raw(value: Any) -> bytes:
    return block(1, orjson.dumps(value))


def _schema(value: Any) -> bytes:
    return block(1, writer(f"{EXTENSIONS}JSONSchemaProps")(value))


def _schema_or_bool(value: Any) -> bytes:
    # Field 1 says "allowed", which a schema implies.
    if isinstance(value, bool):
        return b"\x08\1" if value else b"\x08\0"
    return b"\x08\1" + block(2, writer(f"{EXTENSIONS}JSONSchemaProps")(value))


def _schema_or_array(value: Any) -> bytes:
    if isinstance(value, list):
        write = writer(f"{EXTENSIONS}JSONSchemaProps")
        return b"".join([block(2, write(item)) for item in value])
    return _schema(value)


def _schema_or_strings(value: Any) -> bytes:
    return b"".join([block(2, item.encode()) for item in value]) if isinstance(value, list) else _schema(value)


_SPECIAL: dict[str, Write] = {
    f"{META}Time": _time,
    f"{META}MicroTime": _time,
    f"{META}FieldsV1": _raw,
    "k8s.io.apimachinery.pkg.api.resource.Quantity": lambda value: block(1, str(value).encode()),
    "k8s.io.apimachinery.pkg.util.intstr.IntOrString": _int_or_string,
    "k8s.io.apimachinery.pkg.runtime.RawExtension": _raw,
    f"{EXTENSIONS}JSON": _raw,
    f"{EXTENSIONS}JSONSchemaPropsOrBool": _schema_or_bool,
    f"{EXTENSIONS}JSONSchemaPropsOrArray": _schema_or_array,
    f"{EXTENSIONS}JSONSchemaPropsOrStringArray": _schema_or_strings,
}
