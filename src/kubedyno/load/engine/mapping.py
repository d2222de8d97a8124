"""Kinds to paths: what the target serves, from its discovery documents."""

from dataclasses import dataclass

import orjson

from kubedyno.client.api import Client
from kubedyno.kube.status import StatusError

_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


@dataclass(frozen=True, slots=True)
class Mapping:
    """One served kind."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool
    verbs: frozenset[str]

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """Return the collection's path, all namespaces when `namespace` is None, or one object's."""
        prefix = "/apis/" if "/" in self.api_version else "/api/"
        path = prefix + self.api_version
        if namespace and self.namespaced:
            path += f"/namespaces/{namespace}"
        path += f"/{self.plural}"
        return f"{path}/{name}" if name else path


class Mappings:
    """What a cluster serves. Preferred versions come first."""

    def __init__(self, mappings: list[Mapping]) -> None:
        self._by_version = {(m.api_version, m.kind): m for m in reversed(mappings)}
        self._by_group: dict[tuple[str, str], Mapping] = {}
        for mapping in reversed(mappings):
            self._by_group[_group(mapping.api_version), mapping.kind] = mapping

    def all(self) -> list[Mapping]:
        """Return one mapping a kind and group, of the preferred version."""
        return list(self._by_group.values())

    def find(self, api_version: str, kind: str) -> Mapping | None:
        """Return the mapping of a kind: of the version asked for if it is served, else of its group's preferred one."""
        return self._by_version.get((api_version, kind)) or self._by_group.get((_group(api_version), kind))


def _group(api_version: str) -> str:
    return api_version.rpartition("/")[0]


async def discover(client: Client) -> Mappings:
    """Read the discovery documents: aggregated where the server has them, else one a group.

    Raises:
        StatusError: The server refuses to say what it serves.
    """
    found: list[Mapping] = []
    for root in ("/api", "/apis"):
        answer = await client.request("GET", root, headers=(("accept", _AGGREGATED),))
        if answer.status != 200:
            raise StatusError.from_response(answer.status, answer.body)
        document = orjson.loads(answer.body)
        if document.get("kind") == "APIGroupDiscoveryList":
            found += _aggregated(document)
        else:
            versions = document.get("versions") or [
                version["groupVersion"]
                for group in document.get("groups", ())
                for version in sorted(group["versions"], key=lambda v: v != group.get("preferredVersion"))
            ]
            for version in versions:
                resources = await client.get(f"{root}/{version}")
                found += _plain(version, resources)
    return Mappings(found)


def _aggregated(document: dict[str, object]) -> list[Mapping]:
    found = []
    for group in document.get("items", ()):  # type: ignore[attr-defined]
        name = group["metadata"].get("name", "")
        for version in group["versions"]:
            api_version = f"{name}/{version['version']}" if name else version["version"]
            for resource in version.get("resources", ()):
                kind = resource.get("responseKind", {}).get("kind", "")
                found.append(
                    Mapping(
                        api_version,
                        kind,
                        resource["resource"],
                        resource["scope"] == "Namespaced",
                        frozenset(resource.get("verbs", ())),
                    )
                )
    return found


def _plain(version: str, document: dict[str, object]) -> list[Mapping]:
    return [
        Mapping(version, r["kind"], r["name"], r["namespaced"], frozenset(r.get("verbs", ())))
        for r in document.get("resources", ())  # type: ignore[attr-defined]
        if "/" not in r["name"]
    ]
