"""Paths to resources: what a request's path names, nothing about what to do with it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar
from urllib.parse import unquote

from kubedyno.kube.resources import Resource


class HasResource(Protocol):
    """What the router needs to know of a kind."""

    @property
    def resource(self) -> Resource: ...


K = TypeVar("K", bound=HasResource)

# Namespaces have subresources of their own, so /namespaces/x/status is not a resource "status" in x.
_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})


@dataclass(frozen=True, slots=True)
class Route(Generic[K]):
    """A resource, one object of it, or a part of one.

    Attributes:
        kind: What is served there.
        namespace: "" for all namespaces, or a resource without them.
        name: "" for the collection.
        subresource: "" for the object itself.
    """

    kind: K
    namespace: str
    name: str
    subresource: str


class UnknownGroupError(LookupError):
    """No such group and version: the real server answers in plain text."""


class UnknownResourceError(LookupError):
    """A known group and version has no such resource: a Status."""


class Router(Generic[K]):
    """Finds the kind that a path under /api or /apis names.

    Args:
        kinds: By (group, version, plural); may grow later.
    """

    __slots__ = ("_kinds", "_known")

    def __init__(self, kinds: Mapping[tuple[str, str, str], K]) -> None:
        self._kinds = kinds
        self._known = frozenset((group, version) for group, version, _ in kinds)

    def find(self, path: str) -> Route[K]:
        """Return what a path names.

        Raises:
            UnknownGroupError: Nothing of that group and version is served.
            UnknownResourceError: The group has no such resource, or not at that place.
        """
        if "%" in path:
            path = "/".join(unquote(part) for part in path.split("/"))
        parts = path.rstrip("/").split("/")
        if parts[1] == "api":
            group, rest = "", parts[2:]
        else:
            group, rest = parts[2] if len(parts) > 2 else "", parts[3:]
        version, rest = (rest[0], rest[1:]) if rest else ("", rest)
        namespace = ""
        size = len(rest)
        if (
            size > 2
            and rest[0] == "namespaces"
            and not (size == 3 and not group and rest[2] in _NAMESPACE_SUBRESOURCES)
        ):
            namespace, rest = rest[1], rest[2:]
        if not rest:
            raise UnknownResourceError(path)
        kind = self._kinds.get((group, version, rest[0]))
        if kind is None:
            if (group, version) in self._known:
                raise UnknownResourceError(path)
            raise UnknownGroupError(path)
        if namespace and not kind.resource.namespaced:
            raise UnknownResourceError(path)
        size = len(rest)
        name = rest[1] if size > 1 else ""
        if name and not namespace and kind.resource.namespaced:
            raise UnknownResourceError(path)
        return Route(kind, namespace, name, "/".join(rest[2:]) if size > 2 else "")
