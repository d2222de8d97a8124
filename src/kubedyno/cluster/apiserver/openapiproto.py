"""The OpenAPI v2 document as the protobuf message that Go's clients ask for (`openapi.v2.Document` of gnostic-models).

client-go reads the v2 document in no other form, so kubectl needs it before it can say that a kind is not there. Tables
hold the field numbers; what a table does not know (x-…) goes in as an extension with its value as YAML, which JSON is.
"""

from collections.abc import Callable
from typing import Any

import orjson

from kubedyno.kube.protobufwriting import block, varint

MEDIA = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
# How the real server names it in its answers.
CONTENT_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"

Json = dict[str, Any]
Encoder = Callable[[Any], bytes]


def encode(document: Json) -> bytes:
    """Return an OpenAPI v2 document as a message; O(document)."""
    return _message(_DOCUMENT)(document)


def _text(value: Any) -> bytes:
    return str(value).encode()


def _yaml(value: Any) -> bytes:
    """Return an `Any` with its value as YAML."""
    return block(2, orjson.dumps(value))


def _message(fields: dict[str, tuple[int, Encoder | None]], extensions: int = 0) -> Encoder:
    """Return the encoder of a message by its table: name → number and encoder, None for a bool or an integer."""

    def encoded(value: Json) -> bytes:
        out = []
        for name, inner in value.items():
            known = fields.get(name)
            if known is None:
                if extensions and name.startswith("x-"):
                    out.append(block(extensions, block(1, name.encode()) + block(2, _yaml(inner))))
                continue
            at, encoder = known
            if encoder is None:
                out.append(varint(at << 3) + varint(int(inner)))
            else:
                out += [block(at, encoder(part)) for part in (inner if isinstance(inner, list) else [inner])]
        return b"".join(out)

    return encoded


def _named(at: int, encoder: Encoder) -> Encoder:
    """Return the encoder of a mapping as repeated pairs of name and value."""

    def encoded(value: Json) -> bytes:
        return b"".join(block(at, block(1, name.encode()) + block(2, encoder(inner))) for name, inner in value.items())

    return encoded


def _schema(value: Json) -> bytes:
    return _encode_schema(value)


def _additional(value: Any) -> bytes:
    return varint(2 << 3) + varint(int(value)) if isinstance(value, bool) else block(1, _schema(value))


def _parameter(value: Json) -> bytes:
    return block(1, _definition(value))


def _definition(value: Json) -> bytes:
    """Return a Parameter: a body, or a parameter of path or query within NonBodyParameter."""
    where = value["in"]
    if where == "body":
        return block(1, _BODY(value))
    at, encoder = (4, _PATH) if where == "path" else (3, _QUERY)
    return block(2, block(at, encoder(value)))


def _parameters_item(value: Json) -> bytes:
    """Return a ParametersItem: a parameter, or where it stands among those that are shared."""
    reference = value.get("$ref")
    return _parameter(value) if reference is None else block(2, block(1, reference.encode()))


def _response(value: Json) -> bytes:
    return block(1, _RESPONSE(value))


_encode_schema = _message(
    {
        "$ref": (1, _text), "format": (2, _text), "description": (4, _text), "default": (5, _yaml),
        "maxLength": (11, None), "minLength": (12, None), "pattern": (13, _text), "maxItems": (14, None),
        "minItems": (15, None), "uniqueItems": (16, None), "maxProperties": (17, None), "minProperties": (18, None),
        "required": (19, _text), "enum": (20, _yaml), "additionalProperties": (21, _additional),
        "type": (22, lambda value: block(1, _text(value))), "items": (23, lambda value: block(1, _schema(value))),
        "properties": (25, _named(1, _schema)), "example": (30, _yaml),
    },
    extensions=31,
)  # fmt: skip
_BODY = _message({"description": (1, _text), "name": (2, _text), "in": (3, _text), "required": (4, None),
                  "schema": (5, _schema)})  # fmt: skip
_QUERY = _message({"required": (1, None), "in": (2, _text), "description": (3, _text), "name": (4, _text),
                   "type": (6, _text), "uniqueItems": (21, None)})  # fmt: skip
_PATH = _message({"required": (1, None), "in": (2, _text), "description": (3, _text), "name": (4, _text),
                  "type": (5, _text), "uniqueItems": (20, None)})  # fmt: skip
_RESPONSE = _message({"description": (1, _text), "schema": (2, lambda value: block(1, _schema(value)))})
_OPERATION = _message(
    {
        "tags": (1, _text), "description": (3, _text), "operationId": (5, _text), "produces": (6, _text),
        "schemes": (10, _text),
        "consumes": (7, _text), "parameters": (8, _parameters_item), "responses": (9, _named(1, _response)),
    },
    extensions=13,
)  # fmt: skip
_API_KEY = _message({"type": (1, _text), "name": (2, _text), "in": (3, _text), "description": (4, _text)})
_ITEM = _message(
    {
        "get": (2, _OPERATION), "put": (3, _OPERATION), "post": (4, _OPERATION), "delete": (5, _OPERATION),
        "options": (6, _OPERATION), "head": (7, _OPERATION), "patch": (8, _OPERATION), "parameters": (9, _parameters_item),
    }
)  # fmt: skip
_DOCUMENT: dict[str, tuple[int, Encoder | None]] = {
    "swagger": (1, _text),
    "info": (2, _message({"title": (1, _text), "version": (2, _text)})),
    "paths": (8, _named(2, _ITEM)),
    "definitions": (9, _named(1, _schema)),
    "parameters": (10, _named(1, _definition)),
    "security": (12, _named(1, lambda scopes: b"".join(block(1, scope.encode()) for scope in scopes))),
    "securityDefinitions": (13, _named(1, lambda value: block(2, _API_KEY(value)))),
}
