"""What a request is about, by its method, path and query alone: before anybody looks up whether there is such a thing."""

from dataclasses import replace
from functools import lru_cache
from urllib.parse import unquote

from kubedyno.cluster.apiserver.authorization import Attributes
from kubedyno.cluster.apiserver.queries import asks_for, decoded_list_options
from kubedyno.http.messages import Request
from kubedyno.kube.status import StatusError

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "GET": "get", "HEAD": "get", "DELETE": "delete"}
# Verbs of collections that are read.
COLLECTED = frozenset({"list", "watch"})
# Verbs that stood in paths once; there is still a resource behind them.
_VERBS_OF_PATHS = frozenset({"proxy", "watch"})
_NAMESPACE_PARTS = frozenset({"status", "finalize"})
_LONG_PARTS = frozenset({"attach", "exec", "log", "portforward", "proxy"})
_REMEMBERED = 2048
# (method, path to the last slash) of requests for one object.
_sorts: dict[tuple[str, str], Attributes] = {}


def attributes_of(request: Request) -> Attributes:
    """Return verb, resource and place of a request; for what is no resource, the method and the path."""
    # The query matters for a watch and for the name in a field selector alone: other requests of one path are one.
    query = request.query
    found = _attributes(request.method, request.path, "watch" if query and asks_for(query, "watch") else "list")
    if query and found.verb in COLLECTED and not _watch_at(request.path.split("/")) and (name := named_by(query)):
        found = replace(found, name=name)
    return found


def named_by(query: str) -> str:
    """Return the name of the one object that a list or watch is about, by its field selector; "" when there is none."""
    if "metadata.name" not in query:
        return ""
    try:
        name = decoded_list_options(query).fields.value_of("metadata.name")
    except StatusError:
        # What cannot be read as options has no selector either.
        return ""
    return "" if name in {".", ".."} or "/" in name or "%" in name else name


def watch_of(request: Request) -> tuple[Request, str] | None:
    """Return what a request for a path below /api/v1/watch or /apis/GROUP/VERSION/watch is about.

    Returns:
        The request with the path of the collection that is watched, and the name of the one object that is meant, "" for
        all of them; None for any other request.
    """
    parts = request.path.split("/")
    at = _watch_at(parts)
    if not at or request.method not in {"GET", "HEAD"} or len(parts) == at + 1:
        return None
    below = [unquote(part) for part in parts[at + 1 :]]
    in_namespace = below[0] == "namespaces" and len(below) > 2
    collection = 3 if in_namespace else 1
    name = below[collection] if len(below) > collection else ""
    path = "/".join((*parts[:at], *parts[at + 1 : at + 1 + collection]))
    return Request(request.method, path, request.query, request.headers, request.body, request.peer), name


def _watch_at(parts: list[str]) -> int:
    """Return where "watch" stands in a path of that form, 0 when it does not."""
    at = 3 if parts[1:2] == ["api"] else 4 if parts[1:2] == ["apis"] else 0
    return at if at and parts[at : at + 1] == ["watch"] else 0


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
    parts = unquote(path).strip("/").split("/")
    if parts[0] == "api" and len(parts) > 2:
        group, rest = "", parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, rest = parts[1], parts[3:]
    else:
        return Attributes(method.lower(), path=path)
    # As in Kubernetes: a method that is none of its verbs has none, and empty segments count.
    verb = _VERBS.get(method, "")
    if rest[0] in _VERBS_OF_PATHS and len(rest) > 1:
        verb, rest = rest[0], rest[1:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        # A namespace is in itself, as the real server has it.
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in _NAMESPACE_PARTS:
            rest = rest[2:]
    name = rest[1] if len(rest) > 1 else ""
    if verb == "get" and not name:
        verb = collected
    elif verb == "delete" and not name:
        verb = "deletecollection"
    return Attributes(verb, group, rest[0], rest[2] if len(rest) > 2 else "", namespace, name)
