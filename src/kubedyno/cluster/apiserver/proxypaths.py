"""Paths through the API server to a pod, a Service or a kubelet: …/NAME/proxy, and all below."""

from dataclasses import dataclass
from urllib.parse import unquote

from kubedyno.kube.resources import NODES, PODS, SERVICES, Resource, Subresource
from kubedyno.kube.status import BadRequest

PROXY = "proxy"
_VERBS = ("create", "delete", "get", "patch", "update")
_BY_PLURAL = {resource.plural: resource for resource in (PODS, SERVICES, NODES)}
# By resource; they are in no vocabulary of types, as nobody sends or stores them.
SUBRESOURCES = {
    resource.plural: Subresource(PROXY, "v1", f"{resource.kind}ProxyOptions", _VERBS)
    for resource in (PODS, SERVICES, NODES)
}


@dataclass(frozen=True, slots=True)
class Target:
    """What a path leads to.

    Attributes:
        resource: Pods, services or nodes.
        namespace: "" for nodes.
        id: NAME, NAME:PORT or SCHEME:NAME:PORT, as the path has it.
        path: What is asked of it, as sent: "" when the path ends with "proxy".
        prefix: The path before that.
    """

    resource: Resource
    namespace: str
    id: str
    path: str
    prefix: str

    def parts(self) -> tuple[str, str, str]:
        """Return scheme, name and port of the id; "" for what it leaves out.

        Raises:
            BadRequest: It is no such thing.
        """
        found = self.id.split(":")
        scheme, name, port = {
            1: ("", found[0], ""),
            2: ("", *found),
            3: tuple(found),
        }.get(len(found), ("", "", ""))  # fmt: skip
        if not name or scheme not in {"", "http", "https"}:
            raise BadRequest(f'invalid {self.resource.singular} request "{self.id}"')
        return scheme, name, port


def target_of(path: str) -> Target | None:
    """Return what a path leads to, None when it is no path through a proxy."""
    if f"/{PROXY}" not in path or not path.startswith("/api/v1/"):
        return None
    parts = path.split("/")[3:]
    namespace, rest = (unquote(parts[1]), parts[2:]) if parts[0] == "namespaces" and len(parts) > 1 else ("", parts)
    if len(rest) < 3 or rest[2] != PROXY:
        return None
    resource = _BY_PLURAL.get(rest[0])
    if resource is None or resource.namespaced is not bool(namespace):
        return None
    below = "/".join(["", *rest[3:]]) if len(rest) > 3 else ""
    return Target(resource, namespace, unquote(rest[1]), below, path[: len(path) - len(below)])
