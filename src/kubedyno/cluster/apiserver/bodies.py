"""Bodies of requests: JSON, YAML or protobuf, to one JSON value."""

from collections.abc import Mapping
from typing import Any

import orjson

from kubedyno.kube import protobuf, yaml
from kubedyno.kube.protobuf import ProtobufError
from kubedyno.kube.status import BadRequest, UnsupportedMediaType
from kubedyno.kube.yaml import YAMLError

_ACCEPTED = (
    "the body of the request was in an unknown format - accepted media types include: "
    "application/json, application/yaml, application/vnd.kubernetes.protobuf"
)
_SHOWN_BYTES = 1024


def media_of(headers: Mapping[str, str]) -> str:
    """Return the Content-Type without parameters, lower-case; "" when there is none."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def decode(headers: Mapping[str, str], body: bytes, api_version: str, kind: str) -> Any:
    """Return a request's object.

    Args:
        headers: Of the request.
        body: Of the request.
        api_version: What the path takes, for messages without a type.
        kind: Likewise, and for error texts.

    Raises:
        UnsupportedMediaType: Another medium.
        BadRequest: It is no such thing.
    """
    content_type = headers.get("content-type", "")
    media = content_type if content_type == "application/json" else media_of(headers)
    if media in {"", "application/json"}:
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise _unrecognized(kind, json_error(error, body), body) from None
    if media in {"application/yaml", "application/x-yaml"}:
        try:
            return yaml.load(body.decode())
        except (YAMLError, UnicodeDecodeError) as error:
            raise _unrecognized(kind, f"yaml parse error: {error}", body, "") from None
    if media == "application/vnd.kubernetes.protobuf":
        try:
            return protobuf.decode(body, api_version, kind)
        except ProtobufError as error:
            raise BadRequest(f"the object provided is unrecognized (must be of type {kind}): {error}") from None
    raise UnsupportedMediaType(_ACCEPTED)


def json_error(error: orjson.JSONDecodeError, body: bytes) -> str:
    """Return Go's words for what is wrong with a JSON text."""
    text = body.decode(errors="replace")
    if error.pos >= len(text.rstrip()) or not text.strip():
        return "unexpected end of JSON input"
    return f"invalid character '{text[error.pos]}' looking for beginning of value"


def _unrecognized(kind: str, why: str, body: bytes, form: str = "json parse error: ") -> BadRequest:
    shown = body[:_SHOWN_BYTES].decode(errors="replace") or "<empty>"
    return BadRequest(
        f"the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; {form}{why} ({shown})"
    )
