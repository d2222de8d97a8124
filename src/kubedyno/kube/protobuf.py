r"""Kubernetes' protobuf, driven by a table: decode requests of typed clients, encode answers for them.

An object travels as `k8s\0` and an envelope (`runtime.Unknown`): its type, and the message itself. Field numbers
and types come from `data/protobuf.json`: message → number → [name, type, "o" optional | "r" repeated | "m" map].
A few messages have a JSON form of their own: times, quantities, int-or-string, raw JSON.
"""

import struct
from base64 import b64decode, b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import orjson

Json = dict[str, Any]

MAGIC = b"k8s\0"
_FILE = Path(__file__).parent / "data" / "protobuf.json"
_META = "k8s.io.apimachinery.pkg.apis.meta.v1."
_MAX_DEPTH = 64


class ProtobufError(ValueError):
    """Bytes that are no message of that type, or an object that has no protobuf form."""


@cache
def _messages() -> dict[str, dict[str, list[str]]]:
    messages: dict[str, dict[str, list[str]]] = orjson.loads(_FILE.read_bytes())
    for fields in messages.values():
        for field in fields.values():
            field[0] = _JSON_NAMES.get(field[0], field[0])
    return messages


@cache
def _message_of(api_version: str, kind: str) -> str:
    """Return the message of a kind.

    Raises:
        ProtobufError: The kind has none.
    """
    group, _, version = api_version.rpartition("/")
    package = group.partition(".")[0] or "core"
    for name in (
        f"k8s.io.api.{package}.{version}.{kind}",
        f"{_META}{kind}",
        f"k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.{version}.{kind}",
        f"k8s.io.kube_aggregator.pkg.apis.apiregistration.{version}.{kind}",
    ):
        if name in _messages():
            return name
    raise ProtobufError(f"no protobuf message for {kind} of {api_version}")


@cache
def _resolve(inside: str, name: str) -> str | None:
    """Return the full name of a message that a message's field names, None for a scalar."""
    if name.startswith("."):
        return name[1:]
    if name in _SCALARS:
        return None
    package = inside.rpartition(".")[0]
    return f"{package}.{name}"


# --- wire ------------------------------------------------------------------------------------------------------


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ProtobufError("truncated number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _fields(data: memoryview) -> Iterator[tuple[int, int, Any]]:
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield tag >> 3, wire, value
        elif wire == 2:
            size, at = _varint(data, at)
            if at + size > end:
                raise ProtobufError("truncated message")
            yield tag >> 3, wire, data[at : at + size]
            at += size
        elif wire in {1, 5}:
            size = 8 if wire == 1 else 4
            if at + size > end:
                raise ProtobufError("truncated number")
            yield tag >> 3, wire, data[at : at + size]
            at += size
        else:
            raise ProtobufError(f"wire type {wire}")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


_SCALARS = frozenset(
    ("string", "bytes", "bool", "int32", "int64", "uint32", "uint64", "double", "float", "sint32", "sint64")
)


def _bytes(value: Any) -> memoryview:
    if isinstance(value, int):
        raise ProtobufError("a number where bytes belong")
    return value if isinstance(value, memoryview) else memoryview(value)


def _string(value: Any) -> str:
    return bytes(_bytes(value)).decode()


def _scalar(kind: str, value: Any) -> Any:
    if kind == "string":
        return _string(value)
    if kind == "bytes":
        return b64encode(_bytes(value)).decode()
    if kind in {"double", "float"}:
        size, form = (8, "<d") if kind == "double" else (4, "<f")
        if len(_bytes(value)) != size:
            raise ProtobufError("bytes where a number belongs")
        return struct.unpack(form, value)[0]
    if not isinstance(value, int):
        raise ProtobufError("bytes where a number belongs")
    if kind == "bool":
        return bool(value)
    if kind in {"int32", "int64"}:
        return _signed(value)
    return value


# --- decode ----------------------------------------------------------------------------------------------------


def decode(body: bytes, api_version: str = "", kind: str = "") -> Json:
    r"""Return the object of an enveloped message.

    Args:
        body: Begins with `k8s\0`.
        api_version: Used when the envelope names no type.
        kind: Likewise.

    Raises:
        ProtobufError: It is no message, or of an unknown type.
    """
    if body[:4] != MAGIC:
        raise ProtobufError("no k8s envelope")
    raw = memoryview(b"")
    try:
        for number, _, value in _fields(memoryview(body)[4:]):
            if number == 1:
                for inner, _, text in _fields(_bytes(value)):
                    if inner == 1:
                        api_version = _string(text) or api_version
                    elif inner == 2:
                        kind = _string(text) or kind
            elif number == 2:
                raw = _bytes(value)
        document = _decode(_message_of(api_version, kind), raw, 0)
    except ProtobufError:
        raise
    except (ValueError, TypeError, OverflowError, OSError, RecursionError) as error:
        # Texts that are none, times that never were, fields of another type than they should be.
        raise ProtobufError(str(error)) from error
    return {"apiVersion": api_version, "kind": kind, **document}


def _decode(message: str, data: memoryview, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise ProtobufError("nested too deeply")
    special = _SPECIAL.get(message)
    if special is not None:
        return special(data)
    table = _messages().get(message)
    if table is None:
        raise ProtobufError(f"unknown message {message}")
    result: Json = {}
    for number, _, value in _fields(data):
        field = table.get(str(number))
        if field is None:
            continue
        name, kind, label = field
        if label == "m":
            key, entry = _map_entry(message, kind, _bytes(value), depth)
            result.setdefault(name, {})[key] = entry
            continue
        inner = _resolve(message, kind)
        if inner is None:
            decoded = _scalar(kind, value)
        elif isinstance(value, int):
            raise ProtobufError(f"{name}: a number where a message belongs")
        else:
            decoded = _decode(inner, value, depth + 1)
        if name in _INLINE and isinstance(decoded, dict):
            result.update(decoded)
        elif label == "r":
            result.setdefault(name, []).append(decoded)
        elif message == _OBJECT_META and decoded == 0:
            # Go writes every plain number; in metadata 0 means "not set".
            continue
        elif decoded is not None and not (decoded == "" and kind == "string"):
            result[name] = decoded
    if message in _FLATTEN:
        return result.get(_FLATTEN[message], [])
    return result


_OBJECT_META = f"{_META}ObjectMeta"
# Messages whose JSON stands among the fields of the message that holds them.
_INLINE = frozenset({
    "volumeSource", "persistentVolumeSource", "handler", "ephemeralContainerCommon", "localObjectReference",
    "ingressRuleValue", "ruleWithOperations", "rule", "deviceConfiguration",
})  # fmt: skip
# Wire names that are not the JSON's.
_JSON_NAMES = {"Webhooks": "webhooks", "Expression": "expression", "Name": "name", "uID": "uid", "aPIGroup": "apiGroup"}
# Types whose JSON is the list inside them.
_FLATTEN = {
    "k8s.io.api.authentication.v1.ExtraValue": "items",
    "k8s.io.api.authorization.v1.ExtraValue": "items",
    "k8s.io.api.certificates.v1.ExtraValue": "items",
}


def _map_entry(message: str, kind: str, data: memoryview, depth: int) -> tuple[str, Any]:
    value_kind = kind[4:-1].partition(",")[2].strip()
    inner = _resolve(message, value_kind)
    key, value = "", None
    for number, _, part in _fields(data):
        if number == 1:
            key = _string(part)
        elif inner is None:
            value = _scalar(value_kind, part)
        else:
            value = _decode(inner, _bytes(part), depth + 1)
    if value is None:
        value = "" if inner is None else _decode(inner, memoryview(b""), depth + 1)
    return key, value


def _time(data: memoryview) -> str | None:
    seconds = nanos = 0
    for number, _, value in _fields(data):
        if number == 1:
            seconds = _signed(value)
        else:
            nanos = value
    if (seconds == 0 and nanos == 0) or seconds <= -62135596800:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _micro_time(data: memoryview) -> str | None:
    seconds = nanos = 0
    for number, _, value in _fields(data):
        if number == 1:
            seconds = _signed(value)
        else:
            nanos = value
    if (seconds == 0 and nanos == 0) or seconds <= -62135596800:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{nanos // 1000:06d}Z"


def _text(data: memoryview) -> str:
    return next((_string(value) for number, _, value in _fields(data) if number == 1), "0")


def _int_or_string(data: memoryview) -> int | str:
    kind, number_value, text = 0, 0, ""
    for number, _, value in _fields(data):
        if number == 1:
            kind = value
        elif number == 2:
            number_value = _signed(value)
        else:
            text = _string(value)
    return text if kind else number_value


def _raw_json(data: memoryview) -> Any:
    for number, _, value in _fields(data):
        if number == 1:
            try:
                return orjson.loads(_bytes(value))
            except orjson.JSONDecodeError as error:
                raise ProtobufError(f"raw JSON: {error}") from error
    return None


_SPECIAL: dict[str, Any] = {
    f"{_META}Time": _time,
    f"{_META}MicroTime": _micro_time,
    f"{_META}FieldsV1": _raw_json,
    f"{_META}Duration": lambda data: f"{next((v for _, _, v in _fields(data)), 0) / 1e9:g}s",
    "k8s.io.apimachinery.pkg.api.resource.Quantity": _text,
    "k8s.io.apimachinery.pkg.util.intstr.IntOrString": _int_or_string,
    "k8s.io.apimachinery.pkg.runtime.RawExtension": _raw_json,
    "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1.JSON": _raw_json,
}


# --- encode ----------------------------------------------------------------------------------------------------


def varint(value: int) -> bytes:
    """Return an integer as a varint; a negative one in ten bytes, as two's complement."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def block(field: int, data: bytes) -> bytes:
    """Return a length-delimited field: a text, bytes or a message."""
    return varint(field << 3 | 2) + varint(len(data)) + data


def encode(document: Json) -> bytes:
    """Return an object as an enveloped message.

    Raises:
        ProtobufError: Its kind has no message, or a value does not fit.
    """
    api_version, kind = document.get("apiVersion", ""), document.get("kind", "")
    try:
        raw = _encode(_message_of(api_version, kind), document)
    except (TypeError, ValueError, AttributeError) as error:
        raise ProtobufError(f"{kind}: {error}") from error
    head = block(1, api_version.encode()) + block(2, kind.encode())
    return MAGIC + block(1, head) + block(2, raw) + block(3, b"") + block(4, b"")


def _encode(message: str, value: Any) -> bytes:
    special = _ENCODERS.get(message)
    if special is not None:
        return bytes(special(value))
    table = _messages().get(message)
    if table is None:
        raise ProtobufError(f"unknown message {message}")
    if message in _FLATTEN:
        value = {_FLATTEN[message]: value}
    parts = []
    for number, (name, kind, label) in sorted((int(n), field) for n, field in table.items()):
        inner = _resolve(message, kind)
        if name in _INLINE and inner is not None:
            raw = _encode(inner, value)
            if raw:
                parts.append(block(number, raw))
            continue
        entry = value.get(name)
        if entry is None:
            continue
        if label == "m":
            value_kind = kind[4:-1].partition(",")[2].strip()
            inner = _resolve(message, value_kind)
            for key in sorted(entry):
                coded = _coded(2, value_kind, inner, entry[key])
                parts.append(block(number, block(1, key.encode()) + coded))
        elif label == "r":
            parts += [_coded(number, kind, inner, item) for item in entry]
        else:
            parts.append(_coded(number, kind, inner, entry))
    return b"".join(parts)


def _coded(number: int, kind: str, inner: str | None, value: Any) -> bytes:
    if inner is not None:
        return block(number, _encode(inner, value))
    if kind == "string":
        return block(number, value.encode())
    if kind == "bytes":
        return block(number, b64decode(value))
    if kind == "bool":
        return varint(number << 3) + (b"\x01" if value else b"\0")
    if kind == "double":
        return varint(number << 3 | 1) + struct.pack("<d", value)
    if kind == "float":
        return varint(number << 3 | 5) + struct.pack("<f", value)
    return varint(number << 3) + varint(int(value))


def _encode_time(value: str) -> bytes:
    moment = datetime.fromisoformat(value)
    nanos = moment.microsecond * 1000
    return b"\x08" + varint(int(moment.timestamp())) + (b"\x10" + varint(nanos) if nanos else b"")


def _encode_int_or_string(value: int | str) -> bytes:
    if isinstance(value, str):
        return b"\x08\x01\x10\0" + block(3, value.encode())
    return b"\x08\0\x10" + varint(value) + block(3, b"")


_ENCODERS: dict[str, Any] = {
    f"{_META}Time": _encode_time,
    f"{_META}MicroTime": _encode_time,
    f"{_META}FieldsV1": lambda value: block(1, orjson.dumps(value)),
    "k8s.io.apimachinery.pkg.api.resource.Quantity": lambda value: block(1, str(value).encode()),
    "k8s.io.apimachinery.pkg.util.intstr.IntOrString": _encode_int_or_string,
    "k8s.io.apimachinery.pkg.runtime.RawExtension": lambda value: block(1, orjson.dumps(value)),
    "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1.JSON": lambda value: block(1, orjson.dumps(value)),
}
