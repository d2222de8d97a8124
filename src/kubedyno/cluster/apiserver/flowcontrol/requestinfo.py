"""What a request is about, by its method, path and query alone: before anybody looks up whether there is such a thing."""

from dataclasses import replace
from functools import lru_cache

from kubedyno.cluster.apiserver.authorization import Attributes
from kubedyno.cluster.apiserver.queries import asks_for
from kubedyno.http.messages import Request

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "GET": "get", "HEAD": "get", "DELETE": "delete"}
_NAMESPACE_PARTS = frozenset({"status", "finalize"})
_LONG_PARTS = frozenset({"attach", "exec", "log", "portforward", "proxy"})
_REMEMBERED = 2048
# (method, path to the last slash) of requests for one object.
_sorts: dict[tuple[str, str], Attributes] = {}


def attributes_of(request: Request) -> Attributes:
    """Return verb, resource and place of a request; for what is no resource, the method and the path."""
    # The query matters for a watch alone: other requests of one path are one.
    query = request.query
    if query and asks_for(query, "watch"):
        return _attributes(request.method, request.path, "watch")
    return _attributes(request.method, request.path, "list")


def sort_of(request: Request) -> Attributes:
    """Return the same but for the object's name: requests for objects of one collection share it, however many there are."""
    method, path, query = request.method, request.path, request.query
    if method == "POST":
        return _attributes(method, path, "list")
    place = path[: path.rfind("/") + 1]
    if place == path or (query and "watch" in query):
        return attributes_of(request)
    found = _sorts.get((method, place))
    if found is None:
        found = _attributes(method, path, "list")
        # Below a namespace there are collections, and below an object its parts.
        if found.name and path == place + found.name and not found.subresource and found.resource != "namespaces":
            if len(_sorts) >= _REMEMBERED:
                _sorts.clear()
            found = _sorts[method, place] = replace(found, name="")
    return found


def is_long_running(asked: Attributes) -> bool:
    """Say whether a request stays for as long as its client likes: no watch, but a log, a stream or a proxied one."""
    return asked.subresource in _LONG_PARTS


@lru_cache(maxsize=_REMEMBERED)
def _attributes(method: str, path: str, collected: str) -> Attributes:
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) > 2:
        group, rest = "", parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, rest = parts[1], parts[3:]
    else:
        return Attributes(method.lower(), path=path)
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        # A namespace is in itself, as the real server has it.
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in _NAMESPACE_PARTS:
            rest = rest[2:]
    name = rest[1] if len(rest) > 1 else ""
    verb = _VERBS.get(method, method.lower())
    if verb == "get" and not name:
        verb = collected
    elif verb == "delete" and not name:
        verb = "deletecollection"
    return Attributes(verb, group, rest[0], rest[2] if len(rest) > 2 else "", namespace, name)
