"""Paths that name no object: discovery, OpenAPI, health, metrics, keys of tokens, what /debug dumps, and the root's list."""

from collections.abc import Callable
from urllib.parse import parse_qs

from kubedyno.base.clock import Clock
from kubedyno.cluster.apiserver.authentication import User
from kubedyno.cluster.apiserver.call import HEADERS, NO_SNIFF
from kubedyno.cluster.apiserver.componentpages import ComponentPages
from kubedyno.cluster.apiserver.encoding import value_bytes
from kubedyno.cluster.apiserver.flowcontrol.pages import ROOT as DUMPS
from kubedyno.cluster.apiserver.flowcontrol.pages import Dumps
from kubedyno.cluster.apiserver.health import HEALTH_PATHS, Health, checks_of, version_document
from kubedyno.cluster.apiserver.metricpages import MEDIA as METRICS_MEDIA
from kubedyno.cluster.apiserver.metricpages import MetricPages
from kubedyno.cluster.apiserver.negotiation import JSON, Form, check_routed
from kubedyno.cluster.apiserver.openapipages import OpenAPIPages
from kubedyno.cluster.apiserver.queries import parameters
from kubedyno.cluster.apiserver.servedapi import ServedApi
from kubedyno.cluster.apiserver.tokens import CONFIGURATION_PATH, JWKS_PATH, ServiceAccountTokens
from kubedyno.cluster.apiserver.writes import not_allowed
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.http.messages import Headers, Request, Responder
from kubedyno.kube.resources import ALL
from kubedyno.kube.status import NotFound

_TEXT = "text/plain; charset=utf-8"
_NOT_FOUND = b"404 page not found\n"
_PUBLIC: Headers = (("Cache-Control", "public, max-age=3600"),)
# What / lists besides groups and versions.
_LISTED = {
    CONFIGURATION_PATH, JWKS_PATH, "/api", "/apis", "/apis/", "/metrics", "/metrics/slis", "/openapi/v2", "/openapi/v3",
    "/openapi/v3/", "/version", *HEALTH_PATHS,
    *(f"{path}/{check}" for path in HEALTH_PATHS for check in checks_of(path[1:])),
}  # fmt: skip

Control = Callable[[Request, Responder, User], bool]


# Definitions' groups have no place of their own for what they have not.
_BUILT_IN_GROUPS = frozenset(resource.group for resource in ALL)
# Segments of a path up to a group under /apis, with the empty one in front.
_BELOW_GROUP = 3


_KEYS = "application/jwk-set+json"


def _check_method(request: Request, methods: tuple[str, ...]) -> None:
    if request.method not in methods:
        raise not_allowed()


def root_of(path: str) -> str:
    """Return a path's first part, e.g. "/livez"."""
    return "/" + path.removeprefix("/").partition("/")[0]


class NonResourcePaths:
    """Answers for them, once somebody has let the request pass.

    Args:
        api: What is served.
        settings: Version.
        tokens: Whose keys are published.
        pages: The metrics.
        control: Asked first for paths under /kubedyno/; says whether it took the request.
        address: host:port of this server.
        under_way: Says how many answers are under way.
        clock: Tells how long the server is up.

    Attributes:
        health: Its `ready` is what /readyz says.
        dumps: What /debug says of flow control.
    """

    def __init__(
        self, api: ServedApi, settings: ClusterSettings, tokens: ServiceAccountTokens, pages: MetricPages,
        control: Control, address: str, under_way: Callable[[], int], clock: Clock,
    ) -> None:  # fmt: skip
        self.health = Health()
        self._described = OpenAPIPages(api, clock)
        self._components = ComponentPages(settings, address, clock)
        self.dumps: Dumps | None = None
        self._api = api
        self._version = version_document(settings)
        self._tokens = tokens
        self._pages = pages
        self._control = control
        self._address = address
        self._under_way = under_way

    def discover(self, request: Request, responder: Responder) -> None:
        """Answer a path under /api or /apis that names no object."""
        pretty = parameters(request.query).get("pretty")
        found = self._api.discovery.document(request.path, request.headers, pretty)
        if found is None:
            self._missing(request, responder)
            return
        if self._api.discovery.is_route(request.path):
            _check_method(request, ("GET",))
        media, body, etag = found
        if not etag:
            responder.send(200, media, body, HEADERS)
            return
        headers: Headers = (("Cache-Control", "public"), ("Etag", etag), ("Vary", "Accept"))
        if request.headers.get("if-none-match") == etag:
            responder.send(304, b"", b"", headers)
        else:
            responder.send(200, media, body, headers)

    def _missing(self, request: Request, responder: Responder) -> None:
        """Answer a path that names nothing: in text, or as a Status where the group is known."""
        parts = request.path.split("/")
        if parts[1] == "api" or (len(parts) > _BELOW_GROUP and parts[2] in _BUILT_IN_GROUPS):
            raise NotFound("the server could not find the requested resource", {})
        responder.send(404, _TEXT, _NOT_FOUND, HEADERS + NO_SNIFF)

    def answer(self, request: Request, responder: Responder, user: User) -> None:
        """Answer a request that its user may make.

        Raises:
            StatusError: It is not answered here.
        """
        path = request.path
        root = root_of(path)
        if path.startswith("/kubedyno/") and (
            self._pages.exporter(path, responder) or self._control(request, responder, user)
        ):
            return
        if path in {"/version", "/version/"}:
            _check_method(request, ("GET",))
            check_routed(request.headers, (JSON,))
            responder.send(200, JSON, self._version, HEADERS)
        elif root in HEALTH_PATHS and not path.endswith("/"):
            asked = parse_qs(request.query, keep_blank_values=True)
            status, text = self.health.text(path, verbose="verbose" in asked, excluded=asked.get("exclude", ()))
            # One check's answer is written by hand.
            sniffing = HEADERS if path != root and status != NotFound.code else HEADERS + NO_SNIFF
            responder.send(status, _TEXT, text, sniffing)
        elif root in {"/api", "/apis"}:
            self.discover(request, responder)
        elif root == "/openapi":
            self._described.answer(request, responder)
        elif path.rstrip("/") == CONFIGURATION_PATH:
            _check_method(request, ("GET",))
            check_routed(request.headers, (JSON,))
            responder.send(200, JSON, self._tokens.configuration(self._address), _PUBLIC)
        elif path.rstrip("/") == JWKS_PATH:
            _check_method(request, ("GET",))
            check_routed(request.headers, (_KEYS,))
            responder.send(200, _KEYS, self._tokens.jwks(), _PUBLIC)
        elif path == "/metrics/slis":
            responder.send(200, METRICS_MEDIA, self.health.slis(), HEADERS)
        elif path == "/metrics":
            responder.send(200, METRICS_MEDIA, self._pages.own(self._under_way()), HEADERS)
        elif self.dumps is not None and path.startswith(DUMPS) and (dump := self.dumps.page(request)) is not None:
            responder.send(200, _TEXT, dump, HEADERS)
        elif (
            page := self._components.page(path, request.headers, parameters(request.query).get("pretty"))
        ) is not None:
            responder.send(200, *page, HEADERS)
        elif path in {"/", "/index.html"}:
            responder.send(200, JSON, value_bytes({"paths": self._paths()}, Form(pretty=True)), HEADERS)
        else:
            responder.send(404, _TEXT, _NOT_FOUND, HEADERS + NO_SNIFF)

    def _paths(self) -> list[str]:
        """Return what / lists."""
        known = self._api.discovery.group_versions
        groups = {f"/apis/{name.partition('/')[0]}" for name in known if "/" in name}
        versions = {f"/apis/{name}" if "/" in name else f"/api/{name}" for name in known}
        return sorted(groups | versions | _LISTED | self._components.paths)
