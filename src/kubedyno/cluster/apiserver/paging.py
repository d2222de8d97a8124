"""Continue tokens: where a paged list goes on, and as of which revision.

The token has the real server's form, base64 of `{"v":"meta.k8s.io/v1","rv":N,"start":"/KEY"}`, KEY counted from the
namespace and ending in a NUL; revision -1 means "go on with what is there now".
"""

import base64
import re
from dataclasses import dataclass
from typing import Any

import orjson

from kubedyno.cluster.apiserver.bodies import json_error
from kubedyno.kube.status import BadRequest, Expired

_VERSION = "meta.k8s.io/v1"
NOW = -1
_BASE64 = re.compile(r"[A-Za-z0-9_-]*")
_TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list "
    "without the continue parameter, or use the continue token in this response to retrieve the remainder of the "
    "results. Continuing with the provided token results in an inconsistent list - objects that were created, "
    "modified, or deleted between the time the first chunk was returned and now may show up in the list."
)


@dataclass(frozen=True, slots=True)
class Position:
    """Where a list goes on.

    Attributes:
        revision: As of which revision; `NOW` for the head.
        start: First key that may come, without the namespace that the list is of.
    """

    revision: int
    start: str


def token_of(position: Position) -> str:
    """Return the opaque text of a position."""
    text = orjson.dumps({"v": _VERSION, "rv": position.revision, "start": f"/{position.start}"})
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def position_of(token: str) -> Position:
    """Return the position that a token names.

    Raises:
        BadRequest: It is no token of ours.
    """
    fine = _BASE64.match(token)
    assert fine is not None
    at = fine.end()
    if at < len(token) or at % 4 == 1:
        raise _invalid(f"illegal base64 data at input byte {at if at < len(token) else at - 1}")
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    try:
        fields = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise _invalid(json_error(error, raw)) from None
    if fields is not None and not isinstance(fields, dict):
        raise _invalid(f"json: cannot unmarshal {_called(fields)} into Go value of type storage.continueToken")
    version, revision, start = (_member(fields or {}, *member) for member in (("v", str), ("rv", int), ("start", str)))
    if version != _VERSION:
        raise _invalid(f"server does not recognize this encoded version {version}")
    if not revision:
        raise _invalid(f"incorrect encoded start resourceVersion (version {version})")
    if not start:
        raise _invalid(f"encoded start key empty (version {version})")
    key = start.removeprefix("/")
    if any(part in {"", ".", ".."} for part in key.split("/")):
        raise _invalid(start)
    return Position(revision, key)


def _member(fields: dict[str, Any], name: str, kind: type) -> Any:
    """Return a member as Go's decoder has it, its zero value where it is not there."""
    value = fields.get(name)
    if value is None:
        return kind()
    if type(value) is not kind:
        where = f"Go struct field continueToken.{name} of type {'int64' if kind is int else 'string'}"
        shown = f"{_called(value)} {value}" if kind is int and isinstance(value, float) else _called(value)
        raise _invalid(f"json: cannot unmarshal {shown} into {where}")
    return value


def _called(value: object) -> str:
    """Return what Go's decoder calls a value."""
    return {str: "string", bool: "bool", list: "array", dict: "object"}.get(type(value), "number")


def _invalid(why: str) -> BadRequest:
    return BadRequest(f"invalid continue token: continue key is not valid: {why}")


def after(key: str) -> str:
    """Return the smallest key after `key`."""
    return key + "\0"


class ContinueExpired(Expired):
    """410 for a token whose revision is gone; it carries a token that goes on from there with what is now."""

    def __init__(self, start: str) -> None:
        super().__init__(_TOO_OLD)
        self._token = token_of(Position(NOW, start))

    def document(self) -> dict[str, object]:
        return {**super().document(), "metadata": {"continue": self._token}}
