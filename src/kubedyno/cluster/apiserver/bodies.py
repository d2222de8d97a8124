"""Bodies of requests: JSON, YAML or protobuf, to one JSON value."""

import json
from collections.abc import Mapping
from typing import Any

import orjson

from kubedyno.kube import gojson, protobuf, yaml
from kubedyno.kube.protobuftypes import ProtobufError
from kubedyno.kube.status import BadRequest, UnsupportedMediaType
from kubedyno.kube.yaml import YAMLError

_ACCEPTED = (
    "the body of the request was in an unknown format - accepted media types include: "
    "application/json, application/yaml, application/vnd.kubernetes.protobuf"
)
# As k8s.io/apiserver summarizes data that it cannot decode.
_SHOWN_BYTES = 30
# Of a text that is no JSON: beyond this, where it is wrong is told roughly.
_SCANNED_BYTES = 256 << 10
_TYPE_META = r'struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }'
_INCOMPLETE = "incomplete UTF-8 octet sequence"
_JSON_NAMES = {list: "array", str: "string", bool: "bool"}


def media_of(headers: Mapping[str, str]) -> str:
    """Return the Content-Type without parameters, lower-case; "" when there is none, the whole when it is malformed."""
    given = headers.get("content-type", "")
    if ";" not in given:
        return given.strip().lower()
    media, *parameters = given.split(";")
    if not media.strip() or any(part and "=" not in part for part in map(str.strip, parameters)):
        return given
    return media.strip().lower()


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
            return _typed(kind, orjson.loads(body), body)
        except orjson.JSONDecodeError as error:
            value = _as_go_reads(body)
            if value is not None:
                return _typed(kind, value, body)
            raise _unrecognized(kind, f"json parse error: {json_error(error, body)}", body) from None
    if media == "application/yaml":
        try:
            # Plain containers: those of the YAML reader know their lines.
            value = orjson.loads(orjson.dumps(yaml.load(body.decode())))
        except (YAMLError, UnicodeDecodeError) as error:
            raise _unrecognized(kind, yaml_error(error), body, prefix="") from None
        return _typed(kind, value, body)
    if media == "application/vnd.kubernetes.protobuf":
        try:
            return protobuf.decode(body, api_version, kind)
        except ProtobufError as error:
            raise _unrecognized(kind, str(error), body, prefix="") from None
    raise UnsupportedMediaType(_ACCEPTED)


def duplicates(body: bytes, value: Any) -> list[str]:
    """Return the paths of members that a JSON text has twice; the last one counts.

    Args:
        body: The text.
        value: What it was parsed to.

    Raises:
        BadRequest: It is nested too deeply.
    """
    try:
        written = orjson.dumps(value)
    except TypeError as error:
        # The one thing that was read and cannot be written: it is nested deeper than 254 levels.
        raise BadRequest("the object provided is nested too deeply: at most 254 levels are taken") from error
    # What is as long when written out again has lost nothing: nearly every client sends compact JSON.
    if len(body) - len(written) in {0, 1}:
        return []
    found: dict[str, None] = {}
    _find_duplicates(json.loads(body.decode(errors="replace"), object_pairs_hook=_Pairs), "", found)
    return list(found)


class _Pairs(list[tuple[str, Any]]):
    """The members of a JSON object, each as often as it is there."""


def _find_duplicates(value: Any, path: str, found: dict[str, None]) -> None:
    if isinstance(value, _Pairs):
        seen = set()
        for key, member in value:
            where = f"{path}.{key}" if path else key
            if key in seen:
                found[where] = None
            seen.add(key)
            _find_duplicates(member, where, found)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            _find_duplicates(item, f"{path}[{i}]", found)


def in_order(body: bytes, doubled: list[str], unknown: list[str]) -> list[str]:
    """Return what strict decoding has against a JSON text, in the order in which it reads it.

    Args:
        body: The text.
        doubled: Paths of members that are there twice.
        unknown: Paths of members that the type has not; what is below them is not looked at.
    """
    places: dict[tuple[str, str], int] = {}
    _find_places(json.loads(body.decode(errors="replace"), object_pairs_hook=_Pairs), "", places)
    last = len(places)
    below = tuple(f"{path}{mark}" for path in unknown for mark in (".", "["))
    found = {("unknown", path) for path in unknown}
    found |= {("duplicate", path) for path in doubled if path not in unknown and not path.startswith(below)}
    texts = sorted(found, key=lambda one: (places.get(one, last), one))
    return [f'{what} field "{path}"' for what, path in texts]


def _find_places(value: Any, path: str, places: dict[tuple[str, str], int]) -> None:
    """Note when each member is read for the first time, and when again."""
    if isinstance(value, _Pairs):
        for key, member in value:
            where = f"{path}.{key}" if path else key
            what = "duplicate" if ("unknown", where) in places else "unknown"
            places.setdefault((what, where), len(places))
            _find_places(member, where, places)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            _find_places(item, f"{path}[{i}]", places)


def check_duplicates(body: bytes, value: Any, validation: str, warnings: list[str]) -> None:
    """Warn of members that are there twice in a patch, unless told to ignore them.

    Args:
        body: The JSON text.
        value: What it was parsed to.
        validation: "Warn" or "Ignore"; under "Strict" they are told with what is wrong with the result.
        warnings: Receives warnings.
    """
    if validation != "Ignore":
        warnings += [f'duplicate field "{path}"' for path in duplicates(body, value)]


def json_error(error: orjson.JSONDecodeError, body: bytes) -> str:
    """Return Go's words for what is wrong with a JSON text."""
    found = gojson.fault(body) if len(body) <= _SCANNED_BYTES else ""
    if found:
        return found
    text = body.decode(errors="replace")
    if error.pos >= len(text.rstrip()) or not text.strip():
        return "unexpected end of JSON input"
    return f"invalid character '{text[error.pos]}' looking for beginning of value"


def yaml_error(error: YAMLError | UnicodeDecodeError) -> str:
    """Return Go's words for what is wrong with a YAML text."""
    if isinstance(error, UnicodeDecodeError):
        where = {"invalid start byte": "invalid leading UTF-8 octet", "unexpected end of data": _INCOMPLETE}
        return f"yaml: {where.get(error.reason, 'invalid trailing UTF-8 octet')}"
    text = str(error)
    return "yaml: control characters are not allowed" if "control characters are not allowed" in text else text


def _as_go_reads(body: bytes) -> Any:
    """Return the value of a text whose only fault is bytes that are no UTF-8, which Go replaces; else None."""
    try:
        body.decode()
    except UnicodeDecodeError:
        try:
            return orjson.loads(body.decode(errors="replace"))
        except orjson.JSONDecodeError:
            pass
    return None


def _typed(kind: str, value: Any, body: bytes) -> Any:
    """Return an object as it was sent: what is none has neither kind nor version, and null says nothing.

    Raises:
        BadRequest: It is a list, a text or a number.
    """
    if isinstance(value, dict):
        for name in ("kind", "apiVersion"):
            member = value.get(name)
            if member is not None and type(member) is not str:
                found = _JSON_NAMES.get(type(member), "object" if isinstance(member, dict) else "number")
                why = f"json: cannot unmarshal {found} into Go struct field .{name} of type string"
                raise _unrecognized(kind, f"json parse error: {why}", body)
        version = value.get("apiVersion")
        if version is not None and "/" in version:
            if version.count("/") > 1:
                raise _unrecognized(kind, f"unexpected GroupVersion string: {version}", body, prefix="")
            if version.startswith("/"):
                # The core's group has no name.
                value["apiVersion"] = version[1:]
        return value
    if value is None:
        return {}
    found = _JSON_NAMES.get(type(value), "number")
    raise _unrecognized(
        kind, f"json parse error: json: cannot unmarshal {found} into Go value of type {_TYPE_META}", body
    )


def _unrecognized(kind: str, why: str, body: bytes, prefix: str = "couldn't get version/kind; ") -> BadRequest:
    why = prefix + why
    if kind == "DeleteOptions":
        return BadRequest(why)
    return BadRequest(f"the object provided is unrecognized (must be of type {kind}): {why} ({_shown(body)})")


def _shown(body: bytes) -> str:
    """Return the beginning of a body: of what looks like an object its text, else in hexadecimal."""
    if not body:
        return "<empty>"
    start = body[:_SHOWN_BYTES]
    shown = start.decode(errors="replace") if body.startswith(b"{") else start.hex()
    return f"{shown} ..." if len(body) > _SHOWN_BYTES else shown
