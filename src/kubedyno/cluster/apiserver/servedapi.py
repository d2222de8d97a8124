"""What is served just now, and what follows from it: routes, subresources, discovery and OpenAPI.

All of it is made anew, when somebody asks, after the served kinds have changed.
"""

from kubedyno.cluster.apiserver.discovery import Discovery
from kubedyno.cluster.apiserver.openapi import OpenAPI, Served
from kubedyno.cluster.apiserver.proxypaths import SUBRESOURCES as PROXIED
from kubedyno.cluster.apiserver.resourcemetrics import GROUP as METRICS_GROUP
from kubedyno.cluster.apiserver.resourcemetrics import served_metric_kinds
from kubedyno.cluster.apiserver.routes import Route, Router
from kubedyno.cluster.apiserver.streams import SUBRESOURCES as STREAMED
from kubedyno.cluster.registry.customresources import CustomResource
from kubedyno.cluster.registry.kind import Kind
from kubedyno.cluster.registry.registry import Registry
from kubedyno.cluster.registry.runtimeconfig import RuntimeConfig
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.storage.store import ResourceKey, resource_key
from kubedyno.kube.resources import PODS, Resource, Subresource

_PARTS = frozenset(
    {
        "approval", "binding", "ephemeralcontainers", "eviction", "finalize", "log", "resize", "scale", "status", "token",
    }
)  # fmt: skip
# Of reviews and bindings, which are answered and never there.
_ONLY_POSTED = ("create",)


class ServedApi:
    """The kinds that a server answers for.

    Args:
        registry: Those that are stored.
        settings: Version, and what is switched off.
        answered: Those that are never stored.
        metrics: Those of metrics.k8s.io, served while there is an APIService for them.
        address: host:port for discovery.
    """

    def __init__(
        self, registry: Registry, settings: ClusterSettings, answered: dict[ResourceKey, Kind],
        metrics: dict[ResourceKey, Kind], address: str,
    ) -> None:  # fmt: skip
        self._registry = registry
        self._settings = settings
        self._answered = answered
        self._metrics = metrics
        self._address = address
        self._runtime_config = RuntimeConfig(settings.runtime_config)
        self._stale = True
        self._router: Router[Kind] = Router({})
        self._parts_of: dict[int, dict[str, Subresource]] = {}
        self._served: list[Served] = []
        self._discovery: Discovery | None = None
        self._openapi: OpenAPI | None = None

    def changed(self) -> None:
        """Take note that other kinds are served."""
        self._stale = True

    def _refresh(self) -> None:
        self._stale = False
        kinds = {**self._registry.kinds, **self._answered, **served_metric_kinds(self._registry.store, self._metrics)}
        kinds = {key: kind for key, kind in kinds.items() if not self._runtime_config.hides(kind.resource)}
        self._router = Router(kinds)
        self._served = [(kind.resource, _served_parts(kind.resource)) for kind in kinds.values()]
        self._parts_of = {id(resource): {sub.name: sub for sub in subs} for resource, subs in self._served}
        self._discovery = self._openapi = None

    def route(self, path: str) -> Route[Kind]:
        """Return what a path under /api/ or /apis/ names.

        Raises:
            UnknownGroupError: Nothing of its group is served.
            UnknownResourceError: The resource is not.
        """
        if self._stale:
            self._refresh()
        return self._router.find(path)

    def acts(self, route: Route[Kind]) -> bool:
        """Say whether what a route names is served: of what is only posted there are no objects, and not every subresource."""
        resource = route.kind.resource
        if route.name and resource.verbs == _ONLY_POSTED:
            return False
        return not route.subresource or route.subresource in self._parts_of[id(resource)]

    def verbs_of(self, route: Route[Kind]) -> tuple[str, ...]:
        """Return what can be done with what a route names."""
        resource = route.kind.resource
        return self._parts_of[id(resource)][route.subresource].verbs if route.subresource else resource.verbs

    @property
    def discovery(self) -> Discovery:
        """The documents of /api and /apis."""
        if self._stale:
            self._refresh()
        if self._discovery is None:
            self._discovery = Discovery(self._served, self._settings.minor, self._address)
        return self._discovery

    @property
    def openapi(self) -> OpenAPI:
        """The documents of /openapi."""
        if self._stale:
            self._refresh()
        if self._openapi is None:
            schemas = {
                resource_key(kind.resource): kind.schema.raw
                for kind in self._registry.kinds.values()
                if isinstance(kind, CustomResource)
            }
            # metrics.k8s.io has no schemas in the vocabulary.
            described = [entry for entry in self._served if entry[0].group != METRICS_GROUP]
            returning = {key for key, kind in self._registry.kinds.items() if kind.returns_deleted}
            self._openapi = OpenAPI(described, self._settings.git_version, schemas, returning)
        return self._openapi


def _served_parts(resource: Resource) -> tuple[Subresource, ...]:
    """Return the subresources of a resource that act."""
    parts = [sub for sub in resource.subresources if sub.name in _PARTS]
    if resource is PODS:
        parts += STREAMED
    if not resource.group and resource.plural in PROXIED:
        return tuple(sorted((*parts, PROXIED[resource.plural]), key=lambda sub: sub.name))
    return tuple(parts)
