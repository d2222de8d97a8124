"""Protobuf messages to JSON values: one reader a message, made of its fields' once, driven by the bytes.

A reader is given the whole body and where its message lies in it, so that nothing is copied on the way down. Fields
that a message does not know are skipped.
"""

import struct
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import orjson

from kubedyno.kube.gostructs import json_members_of
from kubedyno.kube.protobuftypes import EXTENSIONS, FLATTENED, META, Field, ProtobufError, fields_of, struct_of

Json = dict[str, Any]
# (body, where the message begins, where it ends, how deep) → value
Read = Callable[[bytes, int, int, int], Any]
# What a field's value does to the message's result. A number is (result, value), bytes are (result, body, at, end, depth).
_TakeNumber = Callable[[Json, int], None]
_TakeBytes = Callable[[Json, bytes, int, int, int], None]

MAX_DEPTH = 64
_VARINT, _EIGHT_BYTES, _DELIMITED, _FOUR_BYTES = 0, 1, 2, 5
# Before year 1: Go's zero time.
_NO_TIME_S = -62135596800


def number_at(data: bytes, at: int) -> tuple[int, int]:
    """Return the varint at a place, and where it ends.

    Raises:
        ProtobufError: It has no end, or is too long.
    """
    value = shift = 0
    try:
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
            shift += 7
            if shift > 63:
                raise ProtobufError("a number of more than 64 bits")
    except IndexError:
        raise ProtobufError("truncated number") from None


def signed(value: int) -> int:
    """Return what a varint means as an int32 or int64."""
    return value - (1 << 64) if value >= 1 << 63 else value


def blocks(data: bytes, at: int, end: int) -> list[tuple[int, int | tuple[int, int]]]:
    """Return a message's fields by number: a number, or the (begin, end) of bytes.

    Raises:
        ProtobufError: It is no message.
    """
    found: list[tuple[int, int | tuple[int, int]]] = []
    while at < end:
        mark, at = number_at(data, at)
        wire = mark & 7
        if wire == _VARINT:
            value, at = number_at(data, at)
            found.append((mark >> 3, value))
        else:
            begin, at = _span(data, at, wire)
            found.append((mark >> 3, (begin, at)))
        if at > end:
            raise ProtobufError("truncated message")
    return found


def _span(data: bytes, at: int, wire: int) -> tuple[int, int]:
    """Return where a value that is no varint begins and ends."""
    if wire == _DELIMITED:
        size, at = number_at(data, at)
        return at, at + size
    if wire not in {_EIGHT_BYTES, _FOUR_BYTES}:
        raise ProtobufError(f"wire type {wire}")
    return at, at + (8 if wire == _EIGHT_BYTES else 4)


class _Message:
    """Reads one message type."""

    __slots__ = ("_bytes", "_numbers")

    def __init__(self) -> None:
        self._numbers: dict[int, _TakeNumber] = {}
        self._bytes: dict[int, _TakeBytes] = {}

    def fill(self, message: str) -> None:
        """Make the fields' readers; apart from construction, as messages hold themselves."""
        # A pointer to "" says something; any other text is sent even when nothing is set.
        members = json_members_of(struct_of(message))
        for field in fields_of(message):
            mark = field.number << 3
            member = members.get(field.name)
            if not field.mapped and field.scalar in {"bool", "int32", "int64"}:
                # What is no pointer is sent even when it is not set; JSON leaves it out.
                drops_zero = member is not None and member.omitempty and not member.pointer
                self._numbers[mark] = _number_taker(field, drops_zero=drops_zero)
                self._bytes[mark | _DELIMITED] = partial(_refuse, f"{field.name}: bytes where a number belongs")
            else:
                wire = _EIGHT_BYTES if field.scalar == "double" and not field.mapped else _DELIMITED
                keeps_empty = member is not None and member.pointer
                self._bytes[mark | wire] = _bytes_taker(field, keeps_empty=keeps_empty)
                self._numbers[mark] = partial(_refuse, f"{field.name}: a number where bytes belong")

    def __call__(self, data: bytes, at: int, end: int, depth: int) -> Json:
        if depth > MAX_DEPTH:
            raise ProtobufError("nested too deeply")
        result: Json = {}
        numbers, delimited = self._numbers, self._bytes
        while at < end:
            mark = data[at]
            at += 1
            if mark > 0x7F:
                mark, at = number_at(data, at - 1)
            wire = mark & 7
            if wire == _DELIMITED:
                size = data[at]
                at += 1
                if size > 0x7F:
                    size, at = number_at(data, at - 1)
                stop = at + size
                if stop > end:
                    raise ProtobufError("truncated message")
                take = delimited.get(mark)
                if take is not None:
                    take(result, data, at, stop, depth + 1)
                at = stop
            elif wire == _VARINT:
                value, at = number_at(data, at)
                take_number = numbers.get(mark)
                if take_number is not None:
                    take_number(result, value)
            else:
                begin, at = _span(data, at, wire)
                take = delimited.get(mark)
                if at <= end and take is not None:
                    take(result, data, begin, at, depth + 1)
        if at > end:
            raise ProtobufError("truncated message")
        return result


_readers: dict[str, Read] = {}


def reader(message: str) -> Read:
    """Return what reads a message type.

    Raises:
        ProtobufError: There is no such message.
    """
    known = _readers.get(message) or _SPECIAL.get(message)
    if known is not None:
        return known
    made = _Message()
    name = FLATTENED.get(message)
    _readers[message] = made if name is None else lambda *where: made(*where).get(name, [])
    try:
        made.fill(message)
    except BaseException:
        del _readers[message]
        raise
    return _readers[message]


# --- fields ----------------------------------------------------------------------------------------------------


def _refuse(why: str, *_: Any) -> None:
    raise ProtobufError(why)


def _number_taker(field: Field, *, drops_zero: bool) -> _TakeNumber:
    name, meaning = field.name, bool if field.scalar == "bool" else signed

    def take(result: Json, value: int) -> None:
        if value or not drops_zero:
            result[name] = meaning(value)

    def append(result: Json, value: int) -> None:
        result.setdefault(name, []).append(meaning(value))

    return append if field.repeated else take


def _bytes_taker(field: Field, *, keeps_empty: bool) -> _TakeBytes:
    name, read = field.name, _value_reader(field)
    if field.mapped:
        return _map_taker(name, read, field)
    if field.repeated:

        def append(result: Json, data: bytes, at: int, end: int, depth: int) -> None:
            result.setdefault(name, []).append(read(data, at, end, depth))

        return append
    if field.inline:

        def merge(result: Json, data: bytes, at: int, end: int, depth: int) -> None:
            result.update(read(data, at, end, depth))

        return merge
    drops_empty = field.scalar == "string" and not keeps_empty

    def take(result: Json, data: bytes, at: int, end: int, depth: int) -> None:
        if at == end and drops_empty:
            return
        value = read(data, at, end, depth)
        if value is not None:
            result[name] = value

    return take


def _map_taker(name: str, read: Read, field: Field) -> _TakeBytes:
    numeric = field.scalar in {"bool", "int32", "int64"}

    def take(result: Json, data: bytes, at: int, end: int, depth: int) -> None:
        key, value = "", None
        for number, where in blocks(data, at, end):
            if number == 2 and isinstance(where, int):
                if not numeric:
                    raise ProtobufError(f"{name}: a number where bytes belong")
                value = bool(where) if field.scalar == "bool" else signed(where)
            elif isinstance(where, int):
                raise ProtobufError(f"{name}: a number for a key")
            elif number == 1:
                key = _string(data, *where, depth)
            elif number == 2:
                value = read(data, *where, depth)
        result.setdefault(name, {})[key] = (0 if numeric else read(b"", 0, 0, depth)) if value is None else value

    return take


def _value_reader(field: Field) -> Read:
    if field.message:
        return reader(field.message)
    return {"string": _string, "bytes": _base64, "double": _double}.get(field.scalar, _no_number)


def _string(data: bytes, at: int, end: int, _: int) -> str:
    return data[at:end].decode()


def _base64(data: bytes, at: int, end: int, _: int) -> str:
    return b64encode(data[at:end]).decode()


def _double(data: bytes, at: int, end: int, _: int) -> float:
    if end - at != 8:
        raise ProtobufError("bytes where a number belongs")
    number: float = struct.unpack_from("<d", data, at)[0]
    return number


def _no_number(*_: Any) -> Any:
    raise ProtobufError("bytes where a number belongs")


# --- messages with a JSON form of their own ----------------------------------------------------------------------


def _moment(data: bytes, at: int, end: int) -> tuple[datetime, int] | None:
    seconds = nanos = 0
    for number, value in blocks(data, at, end):
        if not isinstance(value, int):
            raise ProtobufError("a time: bytes where a number belongs")
        if number == 1:
            seconds = signed(value)
        elif number == 2:
            nanos = value
    if (seconds == 0 and nanos == 0) or seconds <= _NO_TIME_S:
        return None
    return datetime.fromtimestamp(seconds, UTC), nanos


def _time(data: bytes, at: int, end: int, _: int) -> str | None:
    found = _moment(data, at, end)
    return None if found is None else found[0].strftime("%Y-%m-%dT%H:%M:%SZ")


def _micro_time(data: bytes, at: int, end: int, _: int) -> str | None:
    found = _moment(data, at, end)
    return None if found is None else found[0].strftime("%Y-%m-%dT%H:%M:%S") + f".{found[1] // 1000:06d}Z"


def _only_bytes(data: bytes, at: int, end: int, number: int = 1) -> bytes | None:
    for found, where in blocks(data, at, end):
        if found == number:
            if isinstance(where, int):
                raise ProtobufError("a number where bytes belong")
            return data[slice(*where)]
    return None


def _quantity(data: bytes, at: int, end: int, _: int) -> str:
    found = _only_bytes(data, at, end)
    return "0" if found is None else found.decode()


def _int_or_string(data: bytes, at: int, end: int, _: int) -> int | str:
    kind, value, text = 0, 0, ""
    for number, found in blocks(data, at, end):
        if not isinstance(found, int):
            text = data[slice(*found)].decode()
        elif number == 1:
            kind = found
        elif number == 2:
            value = signed(found)
    return text if kind else value


def _raw_json(data: bytes, at: int, end: int, _: int) -> Any:
    raw = _only_bytes(data, at, end)
    if raw is None:
        return None
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ProtobufError(f"raw JSON: {error}") from error


def _schema_or(others: Callable[[Any], Any], *, schema: int) -> Read:
    """Return what reads a schema, or something else in its place.

    Args:
        others: Makes the value of what stands in the other field.
        schema: The number of the field with the schema; the other one is 3 less that.
    """

    def read(data: bytes, at: int, end: int, depth: int) -> Any:
        found: list[Any] = []
        inner = reader(f"{EXTENSIONS}JSONSchemaProps")
        for number, where in blocks(data, at, end):
            if number == schema and not isinstance(where, int):
                return inner(data, *where, depth + 1)
            if isinstance(where, int):
                found.append(where)
            else:
                found.append((data, *where, depth + 1))
        return others(found)

    return read


_SPECIAL: dict[str, Read] = {
    f"{META}Time": _time,
    f"{META}MicroTime": _micro_time,
    f"{META}FieldsV1": _raw_json,
    "k8s.io.apimachinery.pkg.api.resource.Quantity": _quantity,
    "k8s.io.apimachinery.pkg.util.intstr.IntOrString": _int_or_string,
    "k8s.io.apimachinery.pkg.runtime.RawExtension": _raw_json,
    f"{EXTENSIONS}JSON": _raw_json,
    f"{EXTENSIONS}JSONSchemaPropsOrBool": _schema_or(lambda found: bool(found and found[0]), schema=2),
    f"{EXTENSIONS}JSONSchemaPropsOrArray": _schema_or(
        lambda found: [reader(f"{EXTENSIONS}JSONSchemaProps")(*where) for where in found], schema=1
    ),
    f"{EXTENSIONS}JSONSchemaPropsOrStringArray": _schema_or(
        lambda found: [_string(*where) for where in found], schema=1
    ),
}
