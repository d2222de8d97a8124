"""Discovery: which groups, versions and resources are served, in the plain and the aggregated form.

All documents are made once, from the kinds that the registry serves; nothing is listed that would not act.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from kubedyno.cluster.apiserver.encoding import value_bytes
from kubedyno.cluster.apiserver.negotiation import JSON, PROTOBUF, YAML, Form, check_routed, clauses
from kubedyno.kube.apiversions import priority
from kubedyno.kube.resources import Resource, Subresource
from kubedyno.kube.status import NotAcceptable

_ACCEPTED = (
    "only the following media types are accepted: "
    "application/json, application/yaml, application/vnd.kubernetes.protobuf"
)
_AGGREGATED = "APIGroupDiscoveryList"
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
        self._aggregated = {
            (root, version): self._aggregated_document(root, version)
            for root in ("/api", "/apis")
            for version in self._aggregated_versions
        }

    @property
    def group_versions(self) -> list[str]:
        """Return e.g. ["v1", "apps/v1"]."""
        return [f"{group}/{version}" if group else version for group, of in self._groups.items() for version in of]

    def document(self, path: str, headers: Mapping[str, str]) -> Document | None:
        """Return (content type, body, ETag or "") of a discovery path; None when it is not one of a served group.

        Raises:
            NotAcceptable: The client reads none of the forms.
        """
        body = self._plain.get(path.rstrip("/"))
        if body is None:
            return None
        accept = headers.get("accept", "")
        if not accept:
            return JSON, body, ""
        # /apis and the documents of groups have handlers of their own, the others are routes.
        if not path.startswith("/apis") or path.rstrip("/").count("/") > _GROUP_DEPTH:
            check_routed(headers, (JSON, YAML, PROTOBUF))
        for media, parameters in clauses(accept):
            if "as" not in parameters:
                if media in {YAML, PROTOBUF}:
                    return media, value_bytes(orjson.loads(body), Form(media)), ""
                if media in {JSON, "*/*", "application/*"}:
                    return JSON, body, ""
                continue
            if media != JSON:
                continue
            key = (path.rstrip("/"), parameters.get("v", ""))
            if (
                parameters["as"] == _AGGREGATED
                and parameters.get("g") == "apidiscovery.k8s.io"
                and key in self._aggregated
            ):
                return self._aggregated[key]
        raise NotAcceptable(_ACCEPTED)

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
        return {path: orjson.dumps(document) + b"\n" for path, document in documents.items()}

    def _aggregated_document(self, root: str, version: str) -> Document:
        items = [
            {
                "metadata": {"name": group} if group else {},
                "versions": [
                    {"version": v, "resources": [_aggregated(*entry) for entry in entries], "freshness": "Current"}
                    for v, entries in versions.items()
                ],
            }
            for group, versions in self._groups.items()
            if bool(group) is (root == "/apis")
        ]
        body = orjson.dumps(
            {"kind": _AGGREGATED, "apiVersion": f"apidiscovery.k8s.io/{version}", "metadata": {}, "items": items}
        )
        etag = f'"{hashlib.sha512(body).hexdigest().upper()}"'
        return f"application/json;g=apidiscovery.k8s.io;v={version};as={_AGGREGATED}", body + b"\n", etag


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


def _aggregated(resource: Resource, subresources: tuple[Subresource, ...]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "resource": resource.plural,
        "responseKind": {"group": "", "version": "", "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if subresources:
        entry["subresources"] = [_aggregated_part(resource, sub) for sub in subresources]
    return entry


def _aggregated_part(resource: Resource, sub: Subresource) -> dict[str, Any]:
    group, version = "", ""
    if sub.api_version != resource.api_version:
        group, _, version = sub.api_version.rpartition("/")
    return {
        "subresource": sub.name,
        "responseKind": {"group": group, "version": version, "kind": sub.kind},
        "verbs": list(sub.verbs),
    }
