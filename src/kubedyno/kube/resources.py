"""The built-in resources of Kubernetes 1.36, from the generated vocabulary file.

`tools/vocabulary.py` writes the file. Types (fields, merge keys) are read only when somebody asks.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson

_FILE = Path(__file__).parent / "data" / "vocabulary.json"


@dataclass(frozen=True, slots=True)
class Subresource:
    """A part of an object with a path of its own; `api_version` and `kind` are those of its body."""

    name: str
    api_version: str
    kind: str
    verbs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Resource:
    """One served resource, e.g. deployments of apps/v1."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    subresources: tuple[Subresource, ...] = ()

    @property
    def singular(self) -> str:
        return self.kind.lower()

    @property
    def api_version(self) -> str:
        """E.g. "v1" or "apps/v1"."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_resource(self) -> str:
        """E.g. "pods" or "deployments.apps", as error messages have it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def group_kind(self) -> str:
        """E.g. "Pod" or "Deployment.apps"."""
        return f"{self.kind}.{self.group}" if self.group else self.kind

    @property
    def base_path(self) -> str:
        """E.g. "/api/v1" or "/apis/apps/v1"."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str = "", name: str = "") -> str:
        """Return the path of a collection or of one object."""
        middle = f"/namespaces/{namespace}" if namespace and self.namespaced else ""
        return f"{self.base_path}{middle}/{self.plural}" + (f"/{name}" if name else "")


@cache
def vocabulary() -> dict[str, Any]:
    """Return the whole file: "resources", "types", "kinds"; see the generator for its shape."""
    return dict(orjson.loads(_FILE.read_bytes()))


def _split(api_version_kind: str) -> tuple[str, str]:
    api_version, _, kind = api_version_kind.rpartition("/")
    return api_version, kind


def _resource(entry: dict[str, Any]) -> Resource:
    return Resource(
        entry["group"],
        entry["version"],
        entry["plural"],
        entry["kind"],
        entry["namespaced"],
        tuple(entry["short"]),
        tuple(entry["categories"]),
        tuple(entry["verbs"]),
        tuple(
            Subresource(name, *_split(sub["kind"]), tuple(sub["verbs"])) for name, sub in sorted(entry["sub"].items())
        ),
    )


ALL: tuple[Resource, ...] = tuple(_resource(entry) for entry in vocabulary()["resources"])
_BY_PLURAL = {(r.group, r.version, r.plural): r for r in ALL}
_BY_KIND = {(r.api_version, r.kind): r for r in ALL}


def by_plural(group: str, version: str, plural: str) -> Resource | None:
    """Return e.g. deployments for ("apps", "v1", "deployments")."""
    return _BY_PLURAL.get((group, version, plural))


def by_kind(api_version: str, kind: str) -> Resource | None:
    """Return e.g. deployments for ("apps/v1", "Deployment")."""
    return _BY_KIND.get((api_version, kind))


NAMESPACES = _BY_PLURAL["", "v1", "namespaces"]
PODS = _BY_PLURAL["", "v1", "pods"]
NODES = _BY_PLURAL["", "v1", "nodes"]
EVENTS = _BY_PLURAL["", "v1", "events"]
SERVICES = _BY_PLURAL["", "v1", "services"]
ENDPOINTS = _BY_PLURAL["", "v1", "endpoints"]
CONFIGMAPS = _BY_PLURAL["", "v1", "configmaps"]
SECRETS = _BY_PLURAL["", "v1", "secrets"]
SERVICEACCOUNTS = _BY_PLURAL["", "v1", "serviceaccounts"]
LEASES = _BY_PLURAL["coordination.k8s.io", "v1", "leases"]
DEPLOYMENTS = _BY_PLURAL["apps", "v1", "deployments"]
REPLICASETS = _BY_PLURAL["apps", "v1", "replicasets"]
DAEMONSETS = _BY_PLURAL["apps", "v1", "daemonsets"]
STATEFULSETS = _BY_PLURAL["apps", "v1", "statefulsets"]
CONTROLLERREVISIONS = _BY_PLURAL["apps", "v1", "controllerrevisions"]
JOBS = _BY_PLURAL["batch", "v1", "jobs"]
CRONJOBS = _BY_PLURAL["batch", "v1", "cronjobs"]
REPLICATIONCONTROLLERS = _BY_PLURAL["", "v1", "replicationcontrollers"]
ENDPOINTSLICES = _BY_PLURAL["discovery.k8s.io", "v1", "endpointslices"]
DISRUPTIONBUDGETS = _BY_PLURAL["policy", "v1", "poddisruptionbudgets"]
STORAGECLASSES = _BY_PLURAL["storage.k8s.io", "v1", "storageclasses"]
CERTIFICATESIGNINGREQUESTS = _BY_PLURAL["certificates.k8s.io", "v1", "certificatesigningrequests"]
CSINODES = _BY_PLURAL["storage.k8s.io", "v1", "csinodes"]
CSIDRIVERS = _BY_PLURAL["storage.k8s.io", "v1", "csidrivers"]
CSISTORAGECAPACITIES = _BY_PLURAL["storage.k8s.io", "v1", "csistoragecapacities"]
DEVICECLASSES = _BY_PLURAL["resource.k8s.io", "v1", "deviceclasses"]
RESOURCECLAIMS = _BY_PLURAL["resource.k8s.io", "v1", "resourceclaims"]
RESOURCECLAIMTEMPLATES = _BY_PLURAL["resource.k8s.io", "v1", "resourceclaimtemplates"]
RESOURCESLICES = _BY_PLURAL["resource.k8s.io", "v1", "resourceslices"]
AUTOSCALERS = _BY_PLURAL["autoscaling", "v2", "horizontalpodautoscalers"]
CLUSTERROLES = _BY_PLURAL["rbac.authorization.k8s.io", "v1", "clusterroles"]
