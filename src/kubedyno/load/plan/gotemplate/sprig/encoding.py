"""Sprig on JSON, base64 and base32."""

import base64
import binascii
from collections.abc import Callable
from string import ascii_letters, ascii_uppercase, digits
from typing import Any

from kubedyno.load.plan.gotemplate import gojson
from kubedyno.load.plan.gotemplate.errors import FunctionError
from kubedyno.load.plan.gotemplate.gofmt import to_json
from kubedyno.load.plan.gotemplate.sprig.values import text_of


def _from_json(text: Any) -> Any:
    try:
        return gojson.decode(text_of(text))
    except FunctionError:
        return None


def _must_from_json(text: Any) -> Any:
    return gojson.decode(text_of(text))


def _illegal_byte(text: str, alphabet: str, quantum: int) -> int:
    """Return where Go's decoder stops: at what is no digit, or at the beginning of a last group that is too short."""
    body = text.replace("\n", "").replace("\r", "")
    for place, char in enumerate(body.rstrip("=")):
        if char not in alphabet:
            return place
    return len(body) // quantum * quantum


def _b64dec(text: Any) -> str:
    try:
        return base64.b64decode(text_of(text), validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return f"illegal base64 data at input byte {_illegal_byte(text, ascii_letters + digits + '+/', 4)}"


def _b32dec(text: Any) -> str:
    try:
        return base64.b32decode(text_of(text)).decode("utf-8", "replace")
    except binascii.Error:
        return f"illegal base32 data at input byte {_illegal_byte(text, ascii_uppercase + '234567', 8)}"


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "toJson": to_json,
    "mustToJson": to_json,
    "toPrettyJson": lambda v: to_json(v, indent=True),
    "mustToPrettyJson": lambda v: to_json(v, indent=True),
    "toRawJson": lambda v: to_json(v, escape_html=False),
    "mustToRawJson": lambda v: to_json(v, escape_html=False),
    "fromJson": _from_json,
    "mustFromJson": _must_from_json,
    "b64enc": lambda t: base64.b64encode(text_of(t).encode()).decode(),
    "b64dec": _b64dec,
    "b32enc": lambda t: base64.b32encode(text_of(t).encode()).decode(),
    "b32dec": _b32dec,
}
