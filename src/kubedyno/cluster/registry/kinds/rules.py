"""Checks that many kinds share: numbers, percentages, names of other objects, enumerations."""

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, TypeVar

from kubedyno.kube.gostructs import shown
from kubedyno.kube.names import problems_of_dns1123_subdomain, problems_of_path_segment, problems_of_qualified_name
from kubedyno.kube.status import Cause, invalid_value, not_supported, required

Item = TypeVar("Item", bound=Hashable)
NOT_NEGATIVE = "must be greater than or equal to 0"
IMMUTABLE = "field is immutable"
_PERCENT = re.compile(r"[0-9]+%\Z")
_PERCENT_TEXT = (
    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', "
    "regex used for validation is '[0-9]+%')"
)
_DOMAIN_PATH_TEXT = 'must be a domain-prefixed path (such as "acme.io/foo")'
_PATH = re.compile(r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+\Z")
_PATH_TEXT = (
    "Invalid path (e.g. 'path', 'path/subpath', regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')"
)


def not_negative(field: str, value: Any) -> list[Cause]:
    """Return what is wrong with a number that may be absent."""
    return [invalid_value(field, value, NOT_NEGATIVE)] if isinstance(value, int) and value < 0 else []


def int_or_percent(field: str, value: Any) -> list[Cause]:
    """Return what is wrong with a number or a percentage."""
    if isinstance(value, str):
        return [] if _PERCENT.match(value) else [invalid_value(field, value, _PERCENT_TEXT)]
    return not_negative(field, value)


def not_over_100(field: str, value: Any) -> list[Cause]:
    """Return what is wrong with a percentage that is more than everything."""
    over = isinstance(value, str) and _PERCENT.match(value) is not None and int(value[:-1]) > 100
    return [invalid_value(field, value, "must not be greater than 100%")] if over else []


def repeated(items: Iterable[Item]) -> list[tuple[int, Item]]:
    """Return those of some names or numbers that were there before, each with its place."""
    seen: set[Item] = set()
    found = []
    for i, item in enumerate(items):
        if item in seen:
            found.append((i, item))
        seen.add(item)
    return found


def one_of(field: str, value: Any, values: Sequence[str], *, needed: bool = False) -> list[Cause]:
    """Return what is wrong with a value of an enumeration.

    Args:
        field: Its path.
        value: The value; "" or None when absent.
        values: Those that there are, in the order in which the real server lists them.
        needed: An absent one is "required" rather than "not supported".
    """
    if value in values:
        return []
    return [required(field)] if needed and not value else [not_supported(field, value or "", values)]


def named(
    field: str, value: str, problems: Callable[[str], list[str]] = problems_of_dns1123_subdomain, detail: str = ""
) -> list[Cause]:
    """Return what is wrong with a name that must be there."""
    if not value:
        return [required(field, detail)]
    return [invalid_value(field, value, problem) for problem in problems(value)]


def domain_path(field: str, value: str) -> list[Cause]:
    """Return what is wrong with a domain-prefixed path, e.g. "acme.io/foo"."""
    if not value:
        return [required(field)]
    domain, slash, path = value.partition("/")
    if not slash or not domain or not path:
        return [invalid_value(field, value, _DOMAIN_PATH_TEXT)]
    causes = [invalid_value(field, domain, p) for p in problems_of_dns1123_subdomain(domain)]
    if not _PATH.match(path):
        causes.append(invalid_value(field, path, _PATH_TEXT))
    return causes


def qualified(field: str, value: str) -> list[Cause]:
    """Return what is wrong with a qualified name, e.g. "acme.io/foo" or "foo"."""
    return [invalid_value(field, value, problem) for problem in problems_of_qualified_name(value)]


def unchanged(field: str, new: Any, old: Any) -> list[Cause]:
    """Return the cause of a changed field that may not change."""
    return [] if new == old else [invalid_value(field, new, IMMUTABLE)]


def unchanged_struct(field: str, struct: str, new: Any, old: Any) -> list[Cause]:
    """Return the cause of a changed struct that may not change; `struct` is its name in the vocabulary."""
    return [] if new == old else [invalid_value(field, shown(struct, new), IMMUTABLE)]


def local_reference(reference: dict[str, Any], path: str) -> list[Cause]:
    """Return what is wrong with a reference to an object by group, kind and name."""
    group = reference.get("apiGroup")
    causes: list[Cause] = []
    if group is not None:
        causes += [invalid_value(f"{path}.apiGroup", group, p) for p in problems_of_dns1123_subdomain(group)]
    for member in ("kind", "name"):
        causes += named(f"{path}.{member}", reference.get(member, ""), problems_of_path_segment)
    return causes
