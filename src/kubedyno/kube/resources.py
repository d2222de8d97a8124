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


def built_in(group: str, plural: str, version: str = "v1") -> Resource:
    """Return a resource that is there.

    Raises:
        KeyError: It is not.
    """
    return _BY_PLURAL[group, version, plural]


NAMESPACES = built_in("", "namespaces")
PODS = built_in("", "pods")
NODES = built_in("", "nodes")
EVENTS = built_in("", "events")
SERVICES = built_in("", "services")
ENDPOINTS = built_in("", "endpoints")
CONFIGMAPS = built_in("", "configmaps")
SECRETS = built_in("", "secrets")
SERVICEACCOUNTS = built_in("", "serviceaccounts")
CLAIMS = built_in("", "persistentvolumeclaims")
VOLUMES = built_in("", "persistentvolumes")
RESOURCEQUOTAS = built_in("", "resourcequotas")
LIMITRANGES = built_in("", "limitranges")
LEASES = built_in("coordination.k8s.io", "leases")
DEPLOYMENTS = built_in("apps", "deployments")
REPLICASETS = built_in("apps", "replicasets")
DAEMONSETS = built_in("apps", "daemonsets")
STATEFULSETS = built_in("apps", "statefulsets")
CONTROLLERREVISIONS = built_in("apps", "controllerrevisions")
JOBS = built_in("batch", "jobs")
CRONJOBS = built_in("batch", "cronjobs")
REPLICATIONCONTROLLERS = built_in("", "replicationcontrollers")
ENDPOINTSLICES = built_in("discovery.k8s.io", "endpointslices")
DISRUPTIONBUDGETS = built_in("policy", "poddisruptionbudgets")
INGRESSES = built_in("networking.k8s.io", "ingresses")
PRIORITYCLASSES = built_in("scheduling.k8s.io", "priorityclasses")
STORAGECLASSES = built_in("storage.k8s.io", "storageclasses")
NETWORKPOLICIES = built_in("networking.k8s.io", "networkpolicies")
VOLUMEATTACHMENTS = built_in("storage.k8s.io", "volumeattachments")
CERTIFICATESIGNINGREQUESTS = built_in("certificates.k8s.io", "certificatesigningrequests")
CSINODES = built_in("storage.k8s.io", "csinodes")
CSIDRIVERS = built_in("storage.k8s.io", "csidrivers")
CSISTORAGECAPACITIES = built_in("storage.k8s.io", "csistoragecapacities")
DEVICECLASSES = built_in("resource.k8s.io", "deviceclasses")
RESOURCECLAIMS = built_in("resource.k8s.io", "resourceclaims")
RESOURCECLAIMTEMPLATES = built_in("resource.k8s.io", "resourceclaimtemplates")
RESOURCESLICES = built_in("resource.k8s.io", "resourceslices")
AUTOSCALERS = built_in("autoscaling", "horizontalpodautoscalers", "v2")
CLUSTERROLES = built_in("rbac.authorization.k8s.io", "clusterroles")
