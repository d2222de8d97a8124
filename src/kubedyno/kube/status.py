"""The API's answer "no": Status objects, one class per reason, with the real server's texts."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from kubedyno.base.terminal import excerpt
from kubedyno.kube.resources import Resource

# Of an answer that is no Status: bytes that are looked at, and characters that are shown.
_LOOKED_AT, _SHOWN = 2_000, 200
_TITLE = re.compile(rb"<title>([^<]*)</title>", re.IGNORECASE)


class StatusError(Exception):
    """The API answered no.

    Attributes:
        code: HTTP status.
        reason: E.g. "NotFound"; "" where the server gives none.
        message: For people.
        details: The Status' details, None when it has none.
        headers: More headers of the answer, e.g. Retry-After.
    """

    code = 500
    reason = "InternalError"

    def __init__(
        self,
        message: str,
        details: dict[str, Any] | None = None,
        *,
        code: int | None = None,
        reason: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.headers = headers
        if code is not None:
            self.code = code
        if reason is not None:
            self.reason = reason

    def document(self) -> dict[str, Any]:
        """Return the Status object."""
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details is not None:
            status["details"] = self.details
        status["code"] = self.code
        return status

    def body(self) -> bytes:
        """Return the Status object as JSON."""
        return orjson.dumps(self.document())

    @staticmethod
    def from_response(code: int, body: bytes) -> "StatusError":
        """Return the error that an answer carries, whatever its body is."""
        try:
            status = orjson.loads(body)
        except orjson.JSONDecodeError:
            status = None
        if not isinstance(status, dict) or status.get("kind") != "Status":
            return StatusError(_line_of(body) or f"the server answered {code}", code=code, reason="")
        reason = status.get("reason", "")
        kind = _BY_REASON.get(reason, StatusError)
        return kind(
            status.get("message", f"the server answered {code}"), status.get("details"), code=code, reason=reason
        )


def _line_of(body: bytes) -> str:
    """Return one line for an answer that is no Status: its words, or of a page in HTML its title."""
    start = bytes(body[:_LOOKED_AT])
    if not start.lstrip().startswith(b"<"):
        return excerpt(start, _SHOWN)
    title = _TITLE.search(start)
    return f"a web page: {excerpt(title[1], _SHOWN)}" if title else "a web page"


class BadRequest(StatusError):
    """400."""

    code, reason = 400, "BadRequest"


class Unauthorized(StatusError):
    """401."""

    code, reason = 401, "Unauthorized"


class Forbidden(StatusError):
    """403."""

    code, reason = 403, "Forbidden"


class NotFound(StatusError):
    """404."""

    code, reason = 404, "NotFound"


class MethodNotAllowed(StatusError):
    """405."""

    code, reason = 405, "MethodNotAllowed"


class NotAcceptable(StatusError):
    """406."""

    code, reason = 406, "NotAcceptable"


class AlreadyExists(StatusError):
    """409 of a create."""

    code, reason = 409, "AlreadyExists"


class Conflict(StatusError):
    """409 of an update."""

    code, reason = 409, "Conflict"


class Gone(StatusError):
    """410 of what is no more."""

    code, reason = 410, "Gone"


class Expired(StatusError):
    """410 of a revision or continue token that is too old."""

    code, reason = 410, "Expired"


class RequestEntityTooLarge(StatusError):
    """413."""

    code, reason = 413, "RequestEntityTooLarge"


class UnsupportedMediaType(StatusError):
    """415."""

    code, reason = 415, "UnsupportedMediaType"


class Invalid(StatusError):
    """422."""

    code, reason = 422, "Invalid"


class TooManyRequests(StatusError):
    """429."""

    code, reason = 429, "TooManyRequests"


class InternalError(StatusError):
    """500."""

    code, reason = 500, "InternalError"


class ServiceUnavailable(StatusError):
    """503."""

    code, reason = 503, "ServiceUnavailable"


class Timeout(StatusError):
    """504."""

    code, reason = 504, "Timeout"


_BY_REASON = {
    kind.reason: kind
    for kind in (
        BadRequest, Unauthorized, Forbidden, NotFound, MethodNotAllowed, NotAcceptable, AlreadyExists, Conflict, Gone,
        Expired, RequestEntityTooLarge, UnsupportedMediaType, Invalid, TooManyRequests, InternalError,
        ServiceUnavailable, Timeout,
    )
}  # fmt: skip


def _details(resource: Resource, name: str) -> dict[str, Any]:
    details: dict[str, Any] = {"name": name} if name else {}
    if resource.group:
        details["group"] = resource.group
    details["kind"] = resource.plural
    return details


def not_found(resource: Resource, name: str) -> NotFound:
    """`pods "x" not found`."""
    return NotFound(f'{resource.group_resource} "{name}" not found', _details(resource, name))


def too_large(revision: int, current: int, *, retry: bool = True) -> Timeout:
    """`Timeout: Too large resource version: 7, current: 5`: a revision that is still to come.

    Args:
        revision: What was asked for.
        current: What there is.
        retry: Tell the client to ask again.
    """
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    return Timeout(
        f"Timeout: Too large resource version: {revision}, current: {current}",
        {"causes": [cause], **({"retryAfterSeconds": 1} if retry else {})},
        headers=(("Retry-After", "1"),) if retry else (),
    )


def already_exists(resource: Resource, name: str) -> AlreadyExists:
    """`pods "x" already exists`."""
    return AlreadyExists(f'{resource.group_resource} "{name}" already exists', _details(resource, name))


def conflict(resource: Resource, name: str, message: str | None = None) -> Conflict:
    """`Operation cannot be fulfilled on pods "x": …`."""
    why = message or "the object has been modified; please apply your changes to the latest version and try again"
    return Conflict(
        f'Operation cannot be fulfilled on {resource.group_resource} "{name}": {why}', _details(resource, name)
    )


def forbidden(resource: Resource, name: str, why: str) -> Forbidden:
    """`pods "x" is forbidden: …`."""
    return Forbidden(f'{resource.group_resource} "{name}" is forbidden: {why}', _details(resource, name))


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that is wrong with an object: a line of a 422."""

    reason: str
    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


def required(field: str, detail: str = "") -> Cause:
    """`spec.x: Required value: …`."""
    return Cause("FieldValueRequired", field, "Required value" + (f": {detail}" if detail else ""))


# As Go quotes what would not be seen.
_QUOTED = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": "\\x00"})


def _shown(value: Any) -> str:
    """Return a value as Go's field errors print it: strings quoted, the rest as JSON."""
    if isinstance(value, str):
        return '"' + value.translate(_QUOTED) + '"'
    if value is None:
        return "null"
    return orjson.dumps(value).decode()


def invalid_value(field: str, value: Any, detail: str) -> Cause:
    """`spec.x: Invalid value: "v": …`."""
    return Cause("FieldValueInvalid", field, f"Invalid value: {_shown(value)}" + (f": {detail}" if detail else ""))


def not_supported(field: str, value: Any, valid: Sequence[str]) -> Cause:
    """`spec.x: Unsupported value: "v": supported values: "a", "b"`."""
    listed = ", ".join(f'"{v}"' for v in valid)
    return Cause("FieldValueNotSupported", field, f"Unsupported value: {_shown(value)}: supported values: {listed}")


def duplicate(field: str, value: Any) -> Cause:
    """`spec.x: Duplicate value: "v"`."""
    return Cause("FieldValueDuplicate", field, f"Duplicate value: {_shown(value)}")


def forbidden_field(field: str, detail: str) -> Cause:
    """`spec.x: Forbidden: …`."""
    return Cause("FieldValueForbidden", field, f"Forbidden: {detail}")


def not_found_field(field: str, value: Any) -> Cause:
    """`spec.x: Not found: "v"`."""
    return Cause("FieldValueNotFound", field, f"Not found: {_shown(value)}")


def too_long(field: str, limit: int) -> Cause:
    """`x: Too long: may not be more than N bytes`."""
    return Cause("FieldValueTooLong", field, f"Too long: may not be more than {limit} bytes")


def too_many(field: str, count: int, limit: int) -> Cause:
    """`x: Too many: N: must have at most M items`."""
    items = "item" if limit == 1 else "items"
    return Cause("FieldValueTooMany", field, f"Too many: {count}: must have at most {limit} {items}")


def invalid(resource: Resource, name: str, causes: Sequence[Cause]) -> Invalid:
    """The 422 for an object with those causes."""
    texts = list(dict.fromkeys(str(cause) for cause in causes))
    joined = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details: dict[str, Any] = {"name": name} if name else {}
    if resource.group:
        details["group"] = resource.group
    details["kind"] = resource.kind
    details["causes"] = [{"reason": c.reason, "message": c.message, "field": c.field} for c in causes]
    return Invalid(f'{resource.group_kind} "{name}" is invalid: {joined}', details)
