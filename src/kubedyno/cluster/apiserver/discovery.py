"""Discovery: which groups, versions and resources are served, in the plain and the aggregated form.

The documents are made from the kinds that the registry serves, aggregated ones when somebody asks; nothing is listed
that would not act.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from kubedyno.cluster.apiserver.encoding import document_bytes, value_bytes
from kubedyno.cluster.apiserver.negotiation import (
    MEDIA,
    Choice,
    Form,
    check_routed,
    choose,
    document_form,
    form_of_error,
    not_acceptable,
)
from kubedyno.cluster.apiserver.openapipaths import is_custom
from kubedyno.kube.apiversions import priority
from kubedyno.kube.resources import Resource, Subresource

_AGGREGATED, _AGGREGATED_GROUP = "APIGroupDiscoveryList", "apidiscovery.k8s.io"
# Where it is served: "/apis/" is another path.
_AGGREGATING = frozenset({"/api", "/api/", "/apis"})
# Slashes of e.g. /apis/apps.
_GROUP_DEPTH = 2
# The last version whose server spoke the beta form of aggregated discovery.
_LAST_BETA_MINOR = 35
# The order in which the real server lists groups; others follow by name.
_GROUP_ORDER = (
    "apiregistration.k8s.io", "apps", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io", "autoscaling",
    "batch", "certificates.k8s.io", "networking.k8s.io", "policy", "rbac.authorization.k8s.io", "storage.k8s.io",
    "admissionregistration.k8s.io", "apiextensions.k8s.io", "scheduling.k8s.io", "coordination.k8s.io", "node.k8s.io",
    "discovery.k8s.io", "resource.k8s.io", "flowcontrol.apiserver.k8s.io",
)  # fmt: skip


Document = tuple[str, bytes, str]


class Discovery:
    """The documents under /api and /apis.

    Args:
        served: Each resource with the subresources of it that act.
        minor: Kubernetes' minor version.
        address: host:port to name as the server's address.
    """

    def __init__(
        self, served: Iterable[tuple[Resource, tuple[Subresource, ...]]], minor: int, address: str = "127.0.0.1"
    ) -> None:
        self.address = address
        self._aggregated_versions = ("v2", "v2beta1") if minor <= _LAST_BETA_MINOR else ("v2",)
        by_group: dict[str, dict[str, list[tuple[Resource, tuple[Subresource, ...]]]]] = {}
        for resource, subresources in sorted(served, key=lambda entry: entry[0].plural):
            versions = by_group.setdefault(resource.group, {})
            versions.setdefault(resource.version, []).append((resource, subresources))
        # The vocabulary has the versions of built-in groups in their order, definitions have not.
        self._groups = {
            group: versions if group in _GROUP_ORDER else dict(sorted(versions.items(), key=lambda e: priority(e[0])))
            for group, versions in sorted(by_group.items(), key=lambda entry: _rank(entry[0]))
        }
        self._plain = self._plain_documents()
        self._made: dict[tuple[str, str, Form], Document] = {}
        self._etags: dict[tuple[str, str], str] = {}

    @property
    def group_versions(self) -> list[str]:
        """Return e.g. ["v1", "apps/v1"]."""
        return [f"{group}/{version}" if group else version for group, of in self._groups.items() for version in of]

    def document(self, path: str, headers: Mapping[str, str], pretty: str | None = None) -> Document | None:
        """Return (content type, body, ETag or "") of a discovery path; None when it is not one of a served group.

        Args:
            path: As it is asked for.
            headers: Of the request.
            pretty: The query parameter, None when not given.

        Raises:
            NotAcceptable: The client reads none of the forms.
        """
        name = path.rstrip("/")
        document = self._plain.get(name)
        if document is None:
            return None
        accept = headers.get("accept", "")
        if path in _AGGREGATING:
            choice = choose(accept, MEDIA, self._is_aggregated)
            if choice is not None and choice.convert is not None:
                return self._aggregated(name, choice, document_form(choice, headers, pretty))
        if self.is_route(path):
            check_routed(headers, MEDIA)
        form = form_of_error(headers, pretty)
        if form is None:
            raise not_acceptable()
        return form.media, document_bytes(document, form), ""

    def is_route(self, path: str) -> bool:
        """Say whether a path of discovery is a route, which takes GET alone: /apis, groups and definitions have handlers."""
        if not path.startswith("/apis"):
            return True
        name = path.rstrip("/")
        return name.count("/") > _GROUP_DEPTH and name.split("/")[2] in _GROUP_ORDER

    def _is_aggregated(self, choice: Choice) -> bool:
        group, version, kind = choice.convert or ("", "", "")
        return group == _AGGREGATED_GROUP and kind == _AGGREGATED and version in self._aggregated_versions

    def _aggregated(self, root: str, choice: Choice, form: Form) -> Document:
        group, version, kind = choice.convert or ("", "", "")
        key = root, version, form
        found = self._made.get(key)
        if found is None:
            document = self._aggregated_document(root, version)
            if (root, version) not in self._etags:
                self._etags[root, version] = f'"{hashlib.sha512(orjson.dumps(document)).hexdigest().upper()}"'
            media = f"{choice.media};g={group};v={version};as={kind}"
            found = self._made[key] = media, value_bytes(document, form), self._etags[root, version]
        return found

    def _plain_documents(self) -> dict[str, bytes]:
        documents: dict[str, Any] = {
            "/api": {
                "kind": "APIVersions",
                "versions": list(self._groups.get("", {})),
                "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": self.address}],
            },
            "/apis": {
                "kind": "APIGroupList",
                "apiVersion": "v1",
                "groups": [_group(group, list(of)) for group, of in self._groups.items() if group],
            },
        }
        for group, versions in self._groups.items():
            if group:
                documents[f"/apis/{group}"] = {"kind": "APIGroup", "apiVersion": "v1", **_group(group, list(versions))}
            for version, resources in versions.items():
                path = f"/apis/{group}/{version}" if group else f"/api/{version}"
                documents[path] = _resource_list(f"{group}/{version}" if group else version, resources)
        return {path: orjson.dumps(document) for path, document in documents.items()}

    def _aggregated_document(self, root: str, version: str) -> dict[str, Any]:
        items = [
            {
                "metadata": {"name": group} if group else {},
                "versions": [
                    {"version": v, "resources": [_described(*entry) for entry in entries], "freshness": "Current"}
                    for v, entries in versions.items()
                ],
            }
            for group, versions in self._groups.items()
            if bool(group) is (root == "/apis")
        ]
        return {"kind": _AGGREGATED, "apiVersion": f"{_AGGREGATED_GROUP}/{version}", "metadata": {}, "items": items}


def _rank(group: str) -> tuple[int, str]:
    if not group:
        return -1, ""
    return (_GROUP_ORDER.index(group) if group in _GROUP_ORDER else len(_GROUP_ORDER)), group


def _group(name: str, versions: list[str]) -> dict[str, Any]:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _storage_version_hash(resource: Resource) -> str:
    text = f"{resource.group}/{resource.version}/{resource.kind}"
    return base64.b64encode(hashlib.sha256(text.encode()).digest()[:8]).decode()


def _resource_list(group_version: str, resources: list[tuple[Resource, tuple[Subresource, ...]]]) -> dict[str, Any]:
    entries: list[dict[str, Any]] = []
    for resource, subresources in resources:
        entry: dict[str, Any] = {
            "name": resource.plural,
            "singularName": resource.singular,
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": list(resource.verbs),
        }
        if resource.short_names:
            entry["shortNames"] = list(resource.short_names)
        if resource.categories:
            entry["categories"] = list(resource.categories)
        if "delete" in resource.verbs:
            # What is only answered is not stored.
            entry["storageVersionHash"] = _storage_version_hash(resource)
        entries.append(entry)
        for sub in subresources:
            part: dict[str, Any] = {
                "name": f"{resource.plural}/{sub.name}",
                "singularName": "",
                "namespaced": resource.namespaced,
            }
            if sub.api_version != resource.api_version:
                group, _, version = sub.api_version.rpartition("/")
                part |= {"group": group, "version": version}
            entries.append({**part, "kind": sub.kind, "verbs": list(sub.verbs)})
    # The core group's list is older than the rule that every document has its version.
    head = {"kind": "APIResourceList", "apiVersion": "v1"} if "/" in group_version else {"kind": "APIResourceList"}
    return {**head, "groupVersion": group_version, "resources": entries}


def _described(resource: Resource, subresources: tuple[Subresource, ...]) -> dict[str, Any]:
    # Only definitions say whose kind it is where it is that of the path.
    own = (resource.group, resource.version) if is_custom(resource) else ("", "")
    entry: dict[str, Any] = {
        "resource": resource.plural,
        "responseKind": {"group": own[0], "version": own[1], "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if subresources:
        entry["subresources"] = [_described_part(resource, sub, own) for sub in subresources]
    return entry


def _described_part(resource: Resource, sub: Subresource, own: tuple[str, str]) -> dict[str, Any]:
    group, version = own
    if sub.api_version != resource.api_version:
        group, _, version = sub.api_version.rpartition("/")
    return {
        "subresource": sub.name,
        "responseKind": {"group": group, "version": version, "kind": sub.kind},
        "verbs": list(sub.verbs),
    }
