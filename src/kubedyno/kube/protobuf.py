r"""Kubernetes' protobuf, driven by a table: decode requests of typed clients, encode answers for them.

An object travels as `k8s\0` and an envelope (`runtime.Unknown`): its type, and the message itself. Most messages say in
fields what the JSON says in members; a few have a JSON form of their own: times, quantities, int-or-string, raw JSON.
"""

from typing import Any

from kubedyno.kube.protobufreading import blocks, reader
from kubedyno.kube.protobuftypes import ProtobufError, message_of
from kubedyno.kube.protobufwriting import block, tag, varint, writer

Json = dict[str, Any]

MAGIC = b"k8s\0"
# What follows a message in its envelope: contentEncoding and contentType, both empty.
CLOSING = block(3, b"") + block(4, b"")
_CANNOT = (TypeError, ValueError, AttributeError, KeyError)


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
        raise ProtobufError("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    raw = (0, 0)
    try:
        for number, where in blocks(body, 4, len(body)):
            if isinstance(where, int):
                if number in {1, 2}:
                    raise ProtobufError("a number where bytes belong")
            elif number == 1:
                for inner, text in blocks(body, *where):
                    if isinstance(text, int):
                        raise ProtobufError("a number where bytes belong")
                    if inner == 1:
                        api_version = body[slice(*text)].decode() or api_version
                    elif inner == 2:
                        kind = body[slice(*text)].decode() or kind
            elif number == 2:
                raw = where
        document = reader(message_of(api_version, kind))(body, *raw, 0)
    except ProtobufError:
        raise
    except (ValueError, TypeError, IndexError, OverflowError, OSError, RecursionError) as error:
        # Texts that are none, times that never were, numbers without an end.
        raise ProtobufError(str(error)) from error
    return {"apiVersion": api_version, "kind": kind, **document}


def encode(document: Json) -> bytes:
    """Return an object as an enveloped message.

    Raises:
        ProtobufError: Its kind has no message, or a value does not fit.
    """
    api_version, kind = document.get("apiVersion", ""), document.get("kind", "")
    try:
        raw = writer(message_of(api_version, kind))(document)
    except ProtobufError:
        raise
    except _CANNOT as error:
        raise ProtobufError(f"{kind}: {error}") from error
    return b"".join((opening(api_version, kind, len(raw)), raw, CLOSING))


def opening(api_version: str, kind: str, raw_bytes: int) -> bytes:
    """Return what stands before a message of that many bytes; `CLOSING` follows it."""
    about = block(1, api_version.encode()) + block(2, kind.encode())
    return MAGIC + block(1, about) + tag(2) + varint(raw_bytes)
