"""CEL's `format` library, and what Go says of texts that are no addresses, URLs or versions.

The evaluator takes no optional from a function of ours, so `format.NAME().validate(x)` is evaluated as an expression that
makes one: `k8sFormat("NAME", x) == [] ? optional.none() : optional.of(k8sFormat("NAME", x))`, and likewise `format.named(n)`.
"""

import base64
import binascii
import re
from collections.abc import Callable
from datetime import date
from urllib.parse import urlsplit

from kubedyno.base.times import epoch_of
from kubedyno.cluster.registry.celmaps import arguments
from kubedyno.kube.names import (
    problems_of_dns1035_label,
    problems_of_dns1123_label,
    problems_of_dns1123_subdomain,
    problems_of_label_value,
    problems_of_qualified_name,
)

_NAME = re.compile(r"\bformat\s*\.\s*(?P<name>\w+)\s*\(\s*\)\s*\.\s*validate\s*\(")
_NAMED = re.compile(r"\bformat\s*\.\s*named\s*\(")
_UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.IGNORECASE)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_MAX_OCTET, _OCTETS = 255, 4
_SEMVER_PARTS = 3


def _prefix(check: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    """Return a check of what a name begins with: a dash may be its end."""
    return lambda text: check(text[:-1] + "a" if len(text) > 1 and text.endswith("-") else text)


def _unless(problem: str, holds: Callable[[str], bool]) -> Callable[[str], list[str]]:
    return lambda text: [] if holds(text) else [problem]


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except binascii.Error:
        return False
    return bool(text)


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_time(text: str) -> bool:
    try:
        epoch_of(text)
    except ValueError:
        return False
    return _TIME.fullmatch(text) is not None


_CHECKS: dict[str, Callable[[str], list[str]]] = {
    "dns1123Label": problems_of_dns1123_label,
    "dns1123Subdomain": problems_of_dns1123_subdomain,
    "dns1035Label": problems_of_dns1035_label,
    "qualifiedName": problems_of_qualified_name,
    "dns1123LabelPrefix": _prefix(problems_of_dns1123_label),
    "dns1123SubdomainPrefix": _prefix(problems_of_dns1123_subdomain),
    "dns1035LabelPrefix": _prefix(problems_of_dns1035_label),
    "labelValue": problems_of_label_value,
    "uri": lambda text: [problem] if (problem := url_problem(text)) else [],
    "uuid": _unless("does not match the UUID format", lambda text: _UUID.fullmatch(text) is not None),
    "byte": _unless("invalid base64", _is_base64),
    "date": _unless("invalid date", _is_date),
    "datetime": _unless("invalid datetime", _is_time),
}


def problems(name: str, text: str) -> list[str]:
    """Return what is wrong with a text of a format."""
    return list(_CHECKS[name](text))


def is_format(name: str) -> bool:
    """Say whether there is such a format."""
    return name in _CHECKS


def written_out(text: str) -> str:
    """Return an expression without the library's calls."""
    if "format" not in text:
        return text
    position = 0
    while (found := _NAME.search(text, position)) is not None:
        parts, end = arguments(text, found.end())
        if len(parts) != 1 or found["name"] not in _CHECKS:
            position = found.end()
            continue
        call = f'k8sFormat("{found["name"]}", {written_out(parts[0])})'
        made = f"({call} == [] ? optional.none() : optional.of({call}))"
        text, position = text[: found.start()] + made + text[end:], found.start() + len(made)
    position = 0
    while (found := _NAMED.search(text, position)) is not None:
        parts, end = arguments(text, found.end())
        if len(parts) != 1:
            position = found.end()
            continue
        made = f"(k8sIsFormat({parts[0]}) ? optional.of({parts[0]}) : optional.none())"
        text, position = text[: found.start()] + made + text[end:], found.start() + len(made)
    return text


# --- Go's words ------------------------------------------------------------------------------------------------------


def address_problem(text: str) -> str:
    """Return what netip.ParseAddr says of a text that is no address."""
    if "." not in text or ":" in text:
        return f'ParseAddr("{text}"): unable to parse IP'
    return f'ParseAddr("{text}"): {_octets_problem(text)}'


def _octets_problem(text: str) -> str:
    value, digits, octets = 0, 0, 1
    for i, letter in enumerate(text):
        if letter.isascii() and letter.isdigit():
            if digits == 1 and not value:
                return "IPv4 field has octet with leading zero"
            value, digits = value * 10 + int(letter), digits + 1
            if value > _MAX_OCTET:
                return "IPv4 field has value >255"
        elif letter == ".":
            if i in {0, len(text) - 1} or text[i - 1] == ".":
                return f'IPv4 field must have at least one digit (at "{text[i:]}")'
            if octets == _OCTETS:
                return "IPv4 address too long"
            value, digits, octets = 0, 0, octets + 1
        else:
            return f'unexpected character (at "{text[i:]}")'
    return "IPv4 address too short"


def prefix_problem(text: str, is_address: Callable[[str], bool]) -> str:
    """Return what netip.ParsePrefix says of a text that is no network."""
    address, slash, bits = text.rpartition("/")
    if not slash:
        why = "no '/'"
    elif not is_address(address):
        why = address_problem(address)
    elif not (bits.isascii() and bits.isdigit()) or (len(bits) > 1 and bits[0] == "0"):
        why = f'bad bits after slash: "{bits}"'
    else:
        why = "prefix length out of range"
    return f'netip.ParsePrefix("{text}"): {why}'


def url_problem(text: str) -> str:
    """Return what url.ParseRequestURI says of a text that is no URL, "" of one that is."""
    said = f'parse "{text}": '
    if not text:
        return said + "empty url"
    if text.startswith(":"):
        return said + "missing protocol scheme"
    scheme, colon, rest = text.partition(":")
    if not text.startswith("/") and not (
        colon and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme) and rest[:1] == "/"
    ):
        return said + "invalid URI for request"
    host = rest[2:].partition("/")[0] if rest.startswith("//") else ""
    if host.startswith("[") and "]" not in host:
        return said + "missing ']' in host"
    if " " in host:
        return said + 'invalid character " " in host name'
    try:
        _ = urlsplit(text).port
    except ValueError:
        return said + f'invalid port ":{host.rpartition(":")[2]}" after host'
    return ""


def version_problem(text: str) -> str:
    """Return what is said of a text that is no semantic version."""
    if not text:
        return "Version string empty"
    parts = text.split(".", 2)
    if len(parts) != _SEMVER_PARTS:
        return "No Major.Minor.Patch elements found"
    numbers = [*parts[:2], re.split(r"[-+]", parts[2], maxsplit=1)[0]]
    for name, number in zip(("major", "minor", "patch"), numbers, strict=True):
        if not (number.isascii() and number.isdigit()):
            return f'Invalid character(s) found in {name} number "{number}"'
        if len(number) > 1 and number[0] == "0":
            return f'{name.capitalize()} number must not contain leading zeroes "{number}"'
    before = parts[2].partition("+")[0].partition("-")[2]
    for part in before.split("."):
        if part.isdigit() and len(part) > 1 and part[0] == "0":
            return f'Numeric PreRelease version must not contain leading zeroes "{part}"'
    return f'Invalid character(s) found in prerelease "{before}"'
