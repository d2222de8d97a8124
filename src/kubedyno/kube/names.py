"""Names, labels and their rules, with Go's texts; and the hash in a ReplicaSet's name."""

import re

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_LABEL_RE = re.compile(rf"{_LABEL}\Z")
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_SUBDOMAIN_RE = re.compile(rf"{_SUBDOMAIN}\Z")
_SEARCH = r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SEARCH_RE = re.compile(rf"{_SEARCH}(\.{_SEARCH})*\Z")
_DNS1035_RE = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?\Z")
_QUALIFIED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_QUALIFIED_RE = re.compile(rf"{_QUALIFIED}\Z")
_VALUE = rf"({_QUALIFIED})?"
_VALUE_RE = re.compile(rf"{_VALUE}\Z")
_SAFE = "bcdfghjklmnpqrstvwxz2456789"

LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    f"an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL}')"
)
SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    f"'{_SUBDOMAIN}')"
)
_SEARCH_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    f"'{_SEARCH}(\\.{_SEARCH})*')"
)
DNS1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and "
    "end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
QUALIFIED_TEXT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end "
    "with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


# Names are counted in characters, all other texts in bytes.
_TOO_LONG_LABEL = "must be no more than 63 characters"
_TOO_LONG_SUBDOMAIN = "must be no more than 253 characters"


def _longer(limit: int) -> str:
    return f"must be no more than {limit} bytes"


def problems_of_dns1123_label(text: str) -> list[str]:
    """Return what is wrong with a DNS-1123 label (namespace names), [] when nothing."""
    problems = [_TOO_LONG_LABEL] if len(text) > 63 else []
    if _LABEL_RE.match(text):
        return problems
    return [*problems, "must not contain dots" if _SUBDOMAIN_RE.match(text) else LABEL_TEXT]


def problems_of_dns1123_subdomain(text: str) -> list[str]:
    """Return what is wrong with a DNS-1123 subdomain (most names), [] when nothing."""
    problems = [_TOO_LONG_SUBDOMAIN] if len(text) > 253 else []
    return problems if _SUBDOMAIN_RE.match(text) else [*problems, SUBDOMAIN_TEXT]


def problems_of_search_path(text: str) -> list[str]:
    """Return what is wrong with a domain in which names are searched: a subdomain that may have "_", [] when nothing."""
    problems = [_TOO_LONG_SUBDOMAIN] if len(text) > 253 else []
    return problems if _SEARCH_RE.match(text) else [*problems, _SEARCH_TEXT]


def problems_of_dns1035_label(text: str) -> list[str]:
    """Return what is wrong with a DNS-1035 label (Service names), [] when nothing."""
    problems = [_TOO_LONG_LABEL] if len(text) > 63 else []
    return problems if _DNS1035_RE.match(text) else [*problems, DNS1035_TEXT]


def problems_of_qualified_name(text: str) -> list[str]:
    """Return what is wrong with a label or annotation key, [] when nothing."""
    problems: list[str] = []
    parts = text.split("/")
    if len(parts) > 2:
        text = (
            "a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
            "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
            "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' "
            "(e.g. 'example.com/MyName')"
        )
        return [text]
    name = parts[-1]
    if len(parts) == 2:
        prefix = parts[0]
        if not prefix:
            problems.append("prefix part must be non-empty")
        else:
            problems += [f"prefix part {_longer(253)}"] if len(prefix) > 253 else []
            problems += [] if _SUBDOMAIN_RE.match(prefix) else [f"prefix part {SUBDOMAIN_TEXT}"]
    if not name:
        problems.append("name part must be non-empty")
    elif len(name) > 63:
        problems.append("name part must be no more than 63 bytes")
    if not _QUALIFIED_RE.match(name):
        problems.append(QUALIFIED_TEXT)
    return problems


def is_label_value(text: str) -> bool:
    """Say whether `problems_of_label_value` would find none: for what is nearly always so."""
    return len(text) <= 63 and _VALUE_RE.match(text) is not None


def problems_of_label_value(text: str) -> list[str]:
    """Return what is wrong with a label's value, [] when nothing."""
    problems = [_longer(63)] if len(text) > 63 else []
    return problems if _VALUE_RE.match(text) else [*problems, VALUE_TEXT]


def problems_of_path_segment(text: str) -> list[str]:
    """Return what is wrong with a name that becomes a part of a path, [] when nothing."""
    if text in {".", ".."}:
        return [f"may not be '{text}'"]
    return [f"may not contain '{illegal}'" for illegal in ("/", "%") if illegal in text]


def safe_encode(text: str) -> str:
    """Return a text with each character replaced by a safe one (rand.SafeEncodeString).

    Go fills a slice as long as the bytes of the text: what is not ASCII leaves NULs at its end.
    """
    return "".join(_SAFE[ord(c) % len(_SAFE)] for c in text).ljust(len(text.encode()), "\0")


_KEY_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._")
_KEY_TEXT = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or "
    "'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)


def problems_of_config_key(key: str) -> list[str]:
    """Return what is wrong with a key of a ConfigMap or Secret."""
    problems = ["must be no more than 253 characters"] if len(key) > 253 else []
    if not key or not _KEY_CHARACTERS.issuperset(key):
        problems.append(_KEY_TEXT)
    if key == ".":
        problems.append("must not be '.'")
    elif key == "..":
        problems.append("must not be '..'")
    elif key.startswith(".."):
        problems.append("must not start with '..'")
    return problems
