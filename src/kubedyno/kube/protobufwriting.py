"""JSON values to protobuf messages: one writer a message, made of its fields' once, driven by the value.

A writer is a function from a value to bytes, the very bytes that Go's server would write: fields in the order of their
numbers, and zero values of those that are no pointers, which JSON leaves out. What a value with certain members needs is
worked out once, so that a writer goes through the members that are there, not through the hundred that there might be.
"""

import struct
from base64 import b64decode
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any

import orjson

from kubedyno.kube.gostructs import json_members_of
from kubedyno.kube.protobuftypes import EXTENSIONS, FLATTENED, META, Field, fields_of, struct_of

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


# Messages written with a value that has the same members are of one plan; forgotten all at once.
_KNOWN_PLANS = 512
# What stands before a member, its name, its writer, and what there is of it when it is null.
_Step = tuple[bytes, str, Write, bytes]


class _Message:
    """Writes one message type."""

    __slots__ = ("_fields", "_message", "_plans", "_zeros")

    def __init__(self, message: str) -> None:
        self._message = message
        self._fields: list[tuple[Field, Write]] = []
        self._zeros: dict[str, bytes] | None = None
        self._plans: dict[tuple[str, ...], tuple[tuple[_Step, ...], bytes]] = {}

    def fill(self) -> None:
        """Make the fields' writers; apart from construction, as messages hold themselves."""
        for field in fields_of(self._message):
            write = _delimited(tag(field.number), writer(field.message)) if field.inline else _field_writer(field)
            self._fields.append((field, write))

    def __call__(self, value: Any) -> bytes:
        names = tuple(value)
        steps, end = self._plans.get(names) or self._plan(names)
        parts: list[bytes] = []
        for before, name, write, zero in steps:
            # An inline member is made of those around it.
            entry = value[name] if name else value
            parts += (before, zero if entry is None else write(entry))
        parts.append(end)
        return b"".join(parts)

    def _plan(self, names: tuple[str, ...]) -> tuple[tuple[_Step, ...], bytes]:
        """Return what to do for values with members of these names, and what stands at the end."""
        if self._zeros is None:
            self._zeros = _zeros_of(self._message, self._fields)
        steps: list[_Step] = []
        before = b""
        for field, write in self._fields:
            zero = self._zeros.get(field.name, b"")
            if field.inline:
                steps.append((before, "", write, b""))
            elif field.name in names:
                steps.append((before, field.name, write, zero))
            else:
                before += zero
                continue
            before = b""
        if len(self._plans) >= _KNOWN_PLANS:
            self._plans.clear()
        plan = self._plans[names] = tuple(steps), before
        return plan


def _zeros_of(message: str, fields: list[tuple[Field, Write]]) -> dict[str, bytes]:
    """Return what is written of each member of a message when nothing is set: of those that are no pointers in Go."""
    members = json_members_of(struct_of(message))
    zeros = {}
    for field, write in fields:
        member = members.get(field.name)
        if member is None or member.pointer or member.container or field.repeated or field.mapped:
            continue
        if field.message in _NO_VALUE:
            zeros[field.name] = block(field.number, _NO_VALUE[field.message])
        elif field.message and field.message not in _SPECIAL and field.message not in FLATTENED:
            zeros[field.name] = write({})
        elif field.scalar in _SCALAR_ZEROS:
            zeros[field.name] = write(_SCALAR_ZEROS[field.scalar])
    return zeros


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
        inner, name = _Message(message), FLATTENED[message]
        inner.fill()
        return _writers.setdefault(message, lambda value: inner({name: value}))
    made = _Message(message)
    _writers[message] = made
    try:
        made.fill()
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
    return b"\x08%b\x10%b" % (varint(int(moment.timestamp())), varint(moment.microsecond * 1000))


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
_SCALAR_ZEROS: dict[str, Any] = {"string": "", "bool": False, "int32": 0, "int64": 0, "double": 0.0}
# Messages of their own making: what they hold when nothing is set.
_NO_VALUE = {
    f"{META}Time": b"",
    f"{META}MicroTime": b"",
    "k8s.io.apimachinery.pkg.api.resource.Quantity": block(1, b"0"),
    "k8s.io.apimachinery.pkg.util.intstr.IntOrString": b"\x08\0\x10\0" + block(3, b""),
    "k8s.io.apimachinery.pkg.runtime.RawExtension": b"",
}
