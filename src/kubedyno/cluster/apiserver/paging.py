"""Continue tokens: where a paged list goes on, and as of which revision.

The token has the real server's form, base64 of `{"v":"meta.k8s.io/v1","rv":N,"start":"/KEY"}`, KEY counted from the
namespace and ending in a NUL; revision -1 means "go on with what is there now".
"""

import base64
import binascii
from dataclasses import dataclass

import orjson

from kubedyno.kube.status import BadRequest, Expired

_VERSION = "meta.k8s.io/v1"
NOW = -1
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
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except (binascii.Error, ValueError):
        raise BadRequest(f"invalid continue token: continue key is not valid: illegal base64 data: {token}") from None
    try:
        fields = orjson.loads(raw)
        version, revision, start = fields["v"], fields["rv"], fields.get("start", "")
    except (orjson.JSONDecodeError, TypeError, KeyError):
        first = raw.decode(errors="replace")[:1]
        raise BadRequest(
            "invalid continue token: continue key is not valid: "
            + (
                f"invalid character '{first}' looking for beginning of value"
                if first
                else "unexpected end of JSON input"
            )
        ) from None
    if version != _VERSION or not isinstance(revision, int) or not isinstance(start, str) or not start:
        raise BadRequest(
            f"invalid continue token: continue key is not valid: encoded start key empty (version {version})"
        )
    key = start.removeprefix("/")
    if any(part in {"", ".", ".."} for part in key.split("/")):
        raise BadRequest(f"invalid continue token: continue key is not valid: {start}")
    return Position(revision, key)


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
