"""The API server's application: a request to its handler, an error to a Status.

`ApiServer.app` is what an HTTP server calls. It finds out who asks and what the path names, and leaves the rest to
`reads`, `writes`, `parts` and `reviews`, or, where the path names no object, to `nonresource`; what is served is
`servedapi`'s matter.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from socket import socket
from typing import Any

from kubedyno.base import aio
from kubedyno.base.log import logger
from kubedyno.cluster.apiserver.accesscounts import AccessCounts
from kubedyno.cluster.apiserver.admission import Admission, connected
from kubedyno.cluster.apiserver.admissionwebhooks import ReviewsNeeded
from kubedyno.cluster.apiserver.aggregation import Aggregation
from kubedyno.cluster.apiserver.authentication import PUBLIC_PATHS, Authenticator, User
from kubedyno.cluster.apiserver.authorization import Attributes, Authorizer
from kubedyno.cluster.apiserver.call import HEADERS, NO_SNIFF, Call
from kubedyno.cluster.apiserver.componentstatuses import (
    BINDINGS,
    COMPONENTS,
    answer_binding,
    answer_components,
    oldest_kinds,
)
from kubedyno.cluster.apiserver.compression import GATE as COMPRESSION
from kubedyno.cluster.apiserver.conversions import Conversions
from kubedyno.cluster.apiserver.encoding import Encoder, value_bytes
from kubedyno.cluster.apiserver.escalation import Escalation
from kubedyno.cluster.apiserver.flowcontrol.gate import FlowControl, Ticket
from kubedyno.cluster.apiserver.flowcontrol.pages import Dumps, add_series
from kubedyno.cluster.apiserver.flowcontrol.requestinfo import COLLECTED, attributes_of, named_by, watch_of
from kubedyno.cluster.apiserver.impersonation import (
    CONSTRAINED_MINOR,
    Impersonated,
    Impersonation,
    forbidden,
    is_impersonation,
)
from kubedyno.cluster.apiserver.kubeletproxy import KubeletProxy
from kubedyno.cluster.apiserver.metricpages import MetricPages
from kubedyno.cluster.apiserver.metrics import READING, Counted, RequestCounts
from kubedyno.cluster.apiserver.negotiation import JSON, Form, form_of_error
from kubedyno.cluster.apiserver.nodeauthorization import ROLE as NODE_ROLE
from kubedyno.cluster.apiserver.nodeauthorization import NodeAuthorizer
from kubedyno.cluster.apiserver.nonresource import Control, NonResourcePaths
from kubedyno.cluster.apiserver.ownadmission import OwnAdmission
from kubedyno.cluster.apiserver.parts import Parts, unknown_part
from kubedyno.cluster.apiserver.proxies import Proxies
from kubedyno.cluster.apiserver.proxypaths import PROXY, Target, target_of
from kubedyno.cluster.apiserver.queries import asks_for, parameters
from kubedyno.cluster.apiserver.reads import Reads
from kubedyno.cluster.apiserver.resourcemetrics import (
    API_SERVICES,
    ResourceMetrics,
    metric_kinds,
)
from kubedyno.cluster.apiserver.reviews import Reviews, review_kinds
from kubedyno.cluster.apiserver.revisions import RevisionToCome, come
from kubedyno.cluster.apiserver.routes import Route, UnknownGroupError, UnknownResourceError
from kubedyno.cluster.apiserver.servedapi import ServedApi
from kubedyno.cluster.apiserver.storagepage import add_allocations
from kubedyno.cluster.apiserver.streams import SUBRESOURCES as STREAMED
from kubedyno.cluster.apiserver.streams import Streams
from kubedyno.cluster.apiserver.tokenrequests import TokenRequests
from kubedyno.cluster.apiserver.tokens import ServiceAccountTokens
from kubedyno.cluster.apiserver.usage import Usage
from kubedyno.cluster.apiserver.watch import WatchHub
from kubedyno.cluster.apiserver.webhookclient import WebhookClient
from kubedyno.cluster.apiserver.writes import Writes, not_allowed
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.conversion import ConversionNeeded
from kubedyno.cluster.registry.customresources import CustomResource
from kubedyno.cluster.registry.customresourceserving import CustomResources
from kubedyno.cluster.registry.kind import Kind
from kubedyno.cluster.registry.registry import Registry
from kubedyno.cluster.runtime import Runtime
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.storage.objects import key_of
from kubedyno.cluster.storage.store import resource_key
from kubedyno.http.messages import Limits, Peer, Request, Responder
from kubedyno.kube.names import problems_of_path_segment
from kubedyno.kube.resources import NAMESPACES, NODES, PODS
from kubedyno.kube.status import (
    BadRequest,
    Forbidden,
    InternalError,
    RequestEntityTooLarge,
    StatusError,
    Timeout,
    Unauthorized,
    too_large,
)

_ENTERED = frozenset(part.name for part in STREAMED)
# The first minor version in which "get" alone does not let anybody enter a pod.
_CREATE_TO_ENTER_MINOR = 35
# Paths whose route is remembered; forgotten all at once.
_MEMO_ROUTES = 8192
_OBJECT, _COLLECTION = "", "[]"
# How refusals of media types begin that come before any handler.
_UNROUTED = ("406: ", "415: ")
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "GET": "get", "HEAD": "get"}
# Methods of single objects whose names are looked at before anything else.
_NAMING = frozenset({"GET", "PATCH", "DELETE"})
_PROXIED = frozenset({*_VERBS, "OPTIONS"})

# What an HTTP server in front of it should grant: bodies as the real server takes them, and a Status beyond.
LIMITS = Limits(
    too_large=(
        JSON,
        RequestEntityTooLarge(f"Request entity too large: limit is {Limits().max_body}").body() + b"\n",
    )
)

Handler = Callable[[Call], None]


class ApiServer:
    """The application of an API server.

    Args:
        registry: What is served.
        pump: Whose clock it goes by.
        settings: Version.
        authenticator: Knows the users.
        address: host:port for discovery.
        control: Asked first for paths under /kubedyno/; says whether it took the request.
        runtime: Runs the pods that are processes.
        signing_key: PEM of the key of ServiceAccount tokens; b"" makes a fresh one.

    Attributes:
        paths: What names no object; its `health.ready` is what /readyz says.
        pages: Its metrics, and those of kubelets and exporters.
        kubelets: The kubelets' other pages.
        proxies: Pass requests on to pods and Services.
        streams: exec, attach and port-forward.
    """

    def __init__(
        self,
        registry: Registry,
        pump: Pump,
        settings: ClusterSettings,
        authenticator: Authenticator,
        *,
        address: str,
        control: Control,
        runtime: Runtime | None = None,
        signing_key: bytes = b"",
    ) -> None:
        self._registry = registry
        self._settings = settings
        self._authenticator = authenticator
        self._clock = registry.clock
        self._hub = WatchHub(registry.store)
        self._counts = RequestCounts(self._clock.monotonic)
        self._access = AccessCounts(modes=settings.minor >= CONSTRAINED_MINOR)
        self._encoders: dict[int, Encoder] = {}
        self._routes: dict[str, Route[Kind]] = {}
        self._tasks = aio.Tasks("an answer")
        self._spawn = self._tasks.spawn
        # The gate is on in the real server: here only where somebody says so.
        zips = settings.feature_gates.get(COMPRESSION, False)
        reads = Reads(
            registry, self._hub, self.encoder_of, self._spawn, self._fail, self._counts.listed, zips=zips
        )  # fmt: skip
        modes = settings.authorization.split(",")
        self._authorizer = authorizer = Authorizer(registry.store, always="AlwaysAllow" in modes)
        if "Node" in modes:
            rules = lambda: authorizer.rules_of("ClusterRole", "", NODE_ROLE)  # noqa: E731
            authorizer.kubelets = NodeAuthorizer(registry.store, rules).objection
        self._impersonation = Impersonation(authorizer, constrained=settings.minor >= CONSTRAINED_MINOR)
        self._webhooks = WebhookClient(self._door)
        self._conversions = Conversions(self._webhooks, registry.random)
        self._admission = admission = Admission(registry, self._authorizer, self._webhooks)
        self._own_admission = OwnAdmission(admission)
        writes = Writes(registry, reads, self.encoder_of, self._spawn, self._fail, self._admit, admission)
        self.streams = streams = Streams(registry, reads, self._spawn, runtime)
        parts = Parts(registry, reads, self._spawn, streams.script_of, runtime, admission.gate)
        self._answered = {**review_kinds(), **oldest_kinds()}
        self._escalation = Escalation(registry.store, self._authorizer)
        self._tokens = ServiceAccountTokens(registry.store, self._clock, registry.random, signing_key)
        authenticator.other_tokens = self._tokens.user_of
        if runtime is not None:
            runtime.serve_api(int(address.rpartition(":")[2]), self._tokens.for_pod)
        self._review = Reviews(self._clock.now, self._user_of_token, self._tokens, self._authorizer)
        self._metric_kinds = metric_kinds()
        self._usage = Usage(registry.store, runtime)
        self.pages = MetricPages(
            registry.store, self._usage, self._counts, self._hub, settings, self._clock, self._spawn
        )
        self.pages.more += [
            self._access.write,
            lambda page: admission.counts.write(page, registry.admission_times),
            lambda page: add_allocations(page, registry),
        ]
        registry.store.table(API_SERVICES).subscribe(lambda: self._served_otherwise([]))
        self.proxies = Proxies(
            registry.store, registry.random, self._spawn, self._fail, streams.script_of, settings.speed, runtime
        )
        self.kubelets = KubeletProxy(
            registry.store,
            self._usage,
            self._clock,
            self.pages.node,
            parts.log,
            {"exec": streams.exec, "attach": streams.attach, "portforward": streams.port_forward},
            registry.kind(PODS),
        )
        self._resource_metrics = ResourceMetrics(registry.store, self._usage, self._clock)
        self._own_handlers = self._handlers_of_answered(parts)
        self._api = ServedApi(registry, settings, self._answered, self._metric_kinds, address)
        self.paths = NonResourcePaths(
            self._api, settings, self._tokens, self.pages, control, address, self._tasks.__len__, self._clock
        )
        self._customs = CustomResources(registry, pump, self._served_otherwise)
        Aggregation(registry, pump).run()
        self._handlers: dict[tuple[str, str], tuple[str, Handler]] = {
            ("GET", _OBJECT): ("get", reads.get),
            ("PUT", _OBJECT): ("update", writes.update),
            ("PATCH", _OBJECT): ("patch", writes.patch),
            ("DELETE", _OBJECT): ("delete", writes.delete),
            ("GET", _COLLECTION): ("list", reads.list),
            ("POST", _COLLECTION): ("create", writes.create),
            ("DELETE", _COLLECTION): ("deletecollection", writes.delete_collection),
            ("GET", "status"): ("get", reads.get),
            ("PUT", "status"): ("update", writes.update),
            ("PATCH", "status"): ("patch", writes.patch),
            ("PUT", "finalize"): ("update", writes.update),
            ("GET", "ephemeralcontainers"): ("get", reads.get),
            ("PUT", "ephemeralcontainers"): ("update", writes.update),
            ("PATCH", "ephemeralcontainers"): ("patch", writes.patch),
            ("GET", "resize"): ("get", reads.get),
            ("PUT", "resize"): ("update", writes.update),
            ("PATCH", "resize"): ("patch", writes.patch),
            ("GET", "approval"): ("get", reads.get),
            ("PUT", "approval"): ("update", writes.update),
            ("PATCH", "approval"): ("patch", writes.patch),
            ("GET", "scale"): ("get", parts.get_scale),
            ("PUT", "scale"): ("update", parts.put_scale),
            ("PATCH", "scale"): ("patch", parts.patch_scale),
            ("POST", "binding"): ("create", parts.bind),
            ("POST", "eviction"): ("create", parts.evict),
            ("GET", "log"): ("get", parts.log),
            ("GET", "exec"): ("get", self._admitted(streams.exec)),
            ("POST", "exec"): ("create", self._admitted(streams.exec)),
            ("GET", "attach"): ("get", self._admitted(streams.attach)),
            ("POST", "attach"): ("create", self._admitted(streams.attach)),
            ("GET", "portforward"): ("get", self._admitted(streams.port_forward)),
            ("POST", "portforward"): ("create", self._admitted(streams.port_forward)),
            ("POST", "token"): ("create", TokenRequests(registry, reads, self._tokens, admission.gate).create),
        }

    def _handlers_of_answered(self, parts: Parts) -> dict[int, Handler]:
        """Return who answers for the kinds that are never stored."""
        handlers: dict[int, Handler] = dict.fromkeys(map(id, self._answered.values()), self._review.create)
        handlers |= dict.fromkeys(map(id, self._metric_kinds.values()), self._resource_metrics.answer)
        handlers[id(self._answered[resource_key(COMPONENTS)])] = answer_components
        handlers[id(self._answered[resource_key(BINDINGS)])] = lambda call: answer_binding(call, parts.bind)
        return handlers

    # --- what is served ----------------------------------------------------------------------------------------

    def _served_otherwise(self, dropped: list[CustomResource]) -> None:
        """Take note that definitions have changed; their watchers have to begin anew."""
        for kind in dropped:
            self._hub.drop(kind)
            self._encoders.pop(id(kind), None)
        self._routes.clear()
        self._admission.served_otherwise()
        self._api.changed()

    @property
    def watchers(self) -> int:
        """How many watches are open."""
        return self._hub.watchers

    def encoder_of(self, kind: Kind) -> Encoder:
        """Return a kind's encoder."""
        encoder = self._encoders.get(id(kind))
        if encoder is None:
            encoder = self._encoders[id(kind)] = Encoder(self._registry, kind, self._clock)
        return encoder

    def show(self, control: FlowControl) -> None:
        """Tell of the flow control in front of this server: in its metrics, and in what /debug dumps."""
        self.paths.dumps = Dumps(control, self._clock)
        self.pages.more.append(lambda page: add_series(page, control))

    def close(self) -> None:
        """End watches and answers under way."""
        self._hub.close()
        self._tasks.cancel()
        self._own_admission.close()
        self._webhooks.close()

    # --- requests ----------------------------------------------------------------------------------------------

    def app(self, request: Request, responder: Responder) -> None:
        """Answer a request, now or later."""
        call: Call | None = None
        found: tuple[str, Handler] | None = None
        user: User | None = None
        try:
            user = responder.user if type(responder) is Ticket else self.user_of(request)
            if type(user) is Impersonated:
                self._access.known(user.asker)
                self._access.acted(True, user.mode, user.checks)
            else:
                self._access.known(user)
            route = self._routes.get(request.path)
            if route is None and (target := target_of(request.path)) is not None:
                route = Route(self._registry.kind(target.resource), target.namespace, target.id, PROXY)
                verb = _VERBS.get(request.method, request.method.lower())
                call = Call(request, responder, user, route, verb, self._counts)
                self._proxy(call, target)
                return
            watch = watch_of(request) if route is None else None
            if watch is not None:
                request = watch[0]
                route = self._routes.get(request.path)
            if route is None:
                counted = Counted(responder, self._counts, request.method, request.path)
                route = self._find(request, counted, user)
                if route is None:
                    return
            named = bool(route.name)
            key = (request.method, route.subresource if named else _COLLECTION)
            found = self._handlers.get(key)
            verb = found[0] if found is not None else _VERBS.get(request.method, request.method.lower())
            call = Call(request, responder, user, route, verb, self._counts)
            if watch is not None:
                call.verb, call.watched = "watch", watch[1]
            if route.kind.deprecation:
                self._admission.annotations_of(request)["k8s.io/deprecated"] = "true"
            if not user.superuser:
                self._authorize(call)
            if found is None or verb not in self._api.verbs_of(route):
                # The real one has no handler there that could warn.
                call.warnings.clear()
                raise not_allowed(route.kind, verb)
            own = self._own_handlers.get(id(route.kind))
            if own is not None:
                own(call)
            else:
                found[1](call)
        except (ReviewsNeeded, ConversionNeeded, RevisionToCome) as needed:
            assert call is not None
            assert found is not None
            self._spawn(self._answer_later(call, found[1], needed))
        except StatusError as error:
            if user is None:
                self._count_refused(request, error)
            self._refuse(request, responder, error, call)
        except Exception as error:  # noqa: BLE001 - logged with its traceback; the server goes on
            logger(__name__).exception("%s %s failed", request.method, request.path)
            self._refuse(request, responder, InternalError(f"Internal error occurred: {error}"), call)

    def user_of(self, request: Request) -> User:
        """Return who asks, or whom that one acts as.

        Raises:
            Unauthorized: Nobody known.
            Forbidden: Somebody who may not act as another.
        """
        user = self._authenticator.user_of(request.headers, request.peer)
        if is_impersonation(request.headers):
            user = self._impersonation.impersonated(user, request)
        return user

    def _count_refused(self, request: Request, error: StatusError) -> None:
        """Count a request of nobody known, or of somebody who may not act as another."""
        try:
            asker = self._authenticator.user_of(request.headers, request.peer)
        except Unauthorized:
            self._access.unknown += 1
            return
        self._access.known(asker)
        self._access.unasked += 1
        if isinstance(error, Forbidden):
            # What it was refused for is asked once more, and answered as before.
            self._access.acted(False, "", self._impersonation.decision(asker, request)[1])

    def identities(self, request: Request) -> tuple[User, User | None]:
        """Return who asks, and whom that one acts as, None when as nobody else.

        Raises:
            StatusError: Nobody known, or somebody who may not act as another.
        """
        user = self._authenticator.user_of(request.headers, request.peer)
        if not is_impersonation(request.headers):
            return user, None
        acted = self._impersonation.impersonated(user, request)
        return user, None if acted is user else acted

    def decision(self, user: User, asked: Attributes) -> tuple[bool, str]:
        """Say whether a user may do something, and why."""
        reason = self._authorizer.reason(user, asked)
        return bool(reason) or asked.path.partition("?")[0] in PUBLIC_PATHS, reason

    def ended(self, request: Request, status: int) -> None:
        """Count a request that was refused or ended in place of its handler."""
        path = request.path
        route = self._routes.get(path)
        if route is None and path.startswith(("/api/", "/apis/")):
            with suppress(StatusError, UnknownGroupError, UnknownResourceError):
                route = self._api.route(path)
        if route is None:
            self._counts.add_path(request.method, path, status, 0.0)
            return
        if status == Timeout.code:
            self._counts.forget(request)
        asked = attributes_of(request)
        # What has no sense is no danger.
        count = self._counts.add if status == BadRequest.code else self._counts.end
        count(asked.verb, route, status, named=asked.verb in COLLECTED and bool(asked.name))

    @property
    def annotations_of(self) -> Callable[[Request], dict[str, str]]:
        """Gives the annotations of a request's audit event; set where there is an audit log."""
        return self._admission.annotations_of

    @annotations_of.setter
    def annotations_of(self, find: Callable[[Request], dict[str, str]]) -> None:
        self._admission.annotations_of = find
        self._admission.audited = True

    async def _answer_later(
        self, call: Call, handler: Handler, needed: ReviewsNeeded | ConversionNeeded | RevisionToCome
    ) -> None:
        """Answer a request that something comes before: webhooks say what they have to, or a revision has come; it is begun anew."""
        while not call.responder.closed:
            try:
                if isinstance(needed, ConversionNeeded):
                    await self._conversions.settle(needed)
                elif isinstance(needed, RevisionToCome):
                    await self._await(call, needed.revision)
                else:
                    await self._admission.settle(needed, call.gate)
                call.begin_anew()
                handler(call)
            except (ReviewsNeeded, ConversionNeeded, RevisionToCome) as more:
                needed = more
                continue
            except StatusError as error:
                self._fail(call, error)
            except Exception as error:  # noqa: BLE001 - logged with its traceback; the server goes on
                logger(__name__).exception("%s %s failed", call.request.method, call.request.path)
                self._fail(call, error)
            return

    async def _await(self, call: Call, revision: int) -> None:
        """Wait for a revision, which needs no seat: what is read then is read at once.

        Raises:
            Timeout: It does not come.
        """
        if call.verb in READING and type(call.responder) is Ticket:
            call.responder.release()
        store = self._registry.store
        if not await come(store, revision, lambda: call.responder.closed) and not call.responder.closed:
            raise too_large(revision, store.revision)

    def _door(self, namespace: str, name: str, port: int) -> Callable[[], Awaitable[socket]]:
        return self.proxies.door(namespace, name, port)

    def _admitted(self, handler: Handler) -> Handler:
        """Return a handler of requests that enter a pod, before which policies and webhooks are asked."""

        def does(call: Call) -> None:
            _check_not_dry(call)
            gate = self._admission.gate(call)
            if gate is not None:
                connected(gate, call)
            handler(call)

        return does

    def _proxy(self, call: Call, target: Target) -> None:
        """Pass a request on to a pod, a Service or a kubelet."""
        if not call.user.superuser:
            self._authorize(call)
        if call.request.method not in _PROXIED:
            raise not_allowed()
        _check_not_dry(call)
        (self.kubelets if target.resource is NODES else self.proxies).answer(call, target)

    def _authorize(self, call: Call) -> None:
        """Let a request pass that its user may make.

        Raises:
            Forbidden: The user may not.
        """
        route = call.route
        resource = route.kind.resource
        verb = call.verb
        if verb == "list" and asks_for(call.request.query, "watch"):
            verb = "watch"
        name = route.name or call.watched or ""
        if verb in COLLECTED and call.watched is None:
            # A path that asks for a watch says itself what it is about.
            name = named_by(call.request.query)
        # A namespace is in itself: a role there may be about it.
        namespace = route.name if resource is NAMESPACES else route.namespace
        verbs = [verb]
        if verb == "get" and route.subresource in _ENTERED and self._settings.minor >= _CREATE_TO_ENTER_MINOR:
            # A WebSocket's handshake is a GET, and yet whoever enters a pod has to be let to.
            verbs.append("create")
        for each in verbs:
            asked = Attributes(each, resource.group, resource.plural, route.subresource, namespace, name)
            if call.user.node and verb in {"list", "watch"}:
                asked = replace(asked, selector=parameters(call.request.query).get("fieldSelector", ""))
            try:
                self._let(call.user, asked)
            except Forbidden:
                # It reaches no handler that could warn.
                call.warnings.clear()
                raise

    def _let(self, user: User, asked: Attributes) -> None:
        """Let pass what a user may do, and count it.

        Raises:
            Forbidden: The user may not.
        """
        reason = self._authorizer.reason(user, asked)
        if not reason:
            self._access.unallowed += 1
            raise forbidden(user, asked, self._authorizer.objection(user, asked))
        if not user.superuser:
            self._access.decided[reason.partition(":")[0]] += 1

    def _admit(self, call: Call, obj: Any) -> None:
        """Let an object pass that its author may write, beyond writing such objects at all.

        Raises:
            Forbidden: It would give what the author has not.
        """
        if not call.user.superuser:
            route = call.route
            self._authorize_creation(call)
            if route.subresource == "approval":
                self._escalation.check_approval(call.user, route.kind.resource, route.name)
            metadata = obj.get("metadata") if isinstance(obj, dict) else None
            given = metadata.get("name", "") if isinstance(metadata, dict) else ""
            self._escalation.check(call.user, route.kind.resource, route.namespace, route.name or str(given), obj)

    def _authorize_creation(self, call: Call) -> None:
        """Ask for "create" too where a write of another verb makes an object.

        Raises:
            Forbidden: The user may not create such.
        """
        route = call.route
        kind, resource = route.kind, route.kind.resource
        if call.verb not in {"update", "patch"} or (call.verb == "update" and not kind.create_on_update):
            return
        if self._registry.store.get(resource, key_of(route.namespace, route.name)) is None:
            asked = Attributes(
                "create", resource.group, resource.plural, route.subresource, route.namespace, route.name
            )
            if not self._authorizer.allows(call.user, asked):
                call.warnings.clear()
                raise forbidden(call.user, asked)

    def _authorize_path(self, request: Request, user: User) -> None:
        """Let a request pass for what is no resource that is served.

        Raises:
            Forbidden: The user may not.
        """
        self._let(user, attributes_of(request))

    def _find(self, request: Request, responder: Responder, user: User) -> Route[Kind] | None:
        """Return the route of a path seen for the first time; None when it was answered here."""
        path = request.path
        if path.startswith(("/api/", "/apis/")):
            try:
                route = self._api.route(path)
            except (UnknownGroupError, UnknownResourceError):
                self._authorize_path(request, user)
                self.paths.discover(request, responder)
                return None
            if not self._api.acts(route):
                self._authorize_path(request, user)
                raise unknown_part(route)
            if request.method in _NAMING and (problems := problems_of_path_segment(route.name)):
                self._authorize_path(request, user)
                raise BadRequest(f'Name parameter invalid: "{route.name}": {problems[0]}')
            if len(self._routes) >= _MEMO_ROUTES:
                self._routes.clear()
            self._routes[path] = route
            return route
        if path not in PUBLIC_PATHS:
            self._authorize_path(request, user)
        self.paths.answer(request, responder, user)
        return None

    # --- errors ------------------------------------------------------------------------------------------------

    def _fail(self, call: Call, error: Exception) -> None:
        """Answer a call that failed after its handler had returned."""
        if not isinstance(error, StatusError):
            error = InternalError(f"Internal error occurred: {error}")
        self._refuse(call.request, call.responder, error, call)

    def _refuse(self, request: Request, responder: Responder, error: StatusError, call: Call | None) -> None:
        form = form_of_error(request.headers, parameters(request.query).get("pretty"))
        if form is None:
            # Nobody can say how such a client wants to be told; the real server guesses so.
            form = Form(pretty=True)
        if call is not None and error.message.startswith(_UNROUTED):
            # The real server has found no handler yet that could warn.
            call.warnings.clear()
        body = value_bytes(error.document(), form)
        headers = error.headers
        if isinstance(error, Forbidden) and not call and NO_SNIFF[0] not in headers:
            headers += NO_SNIFF
        if call is not None:
            call.answer(error.code, form.media, body, headers)
        else:
            self._counts.add_path(request.method, request.path, error.code, 0.0)
            responder.send(error.code, form.media, body, HEADERS + headers)

    def _user_of_token(self, token: str) -> User:
        return self._authenticator.user_of({"authorization": f"Bearer {token}"}, Peer(0, ""))


def _check_not_dry(call: Call) -> None:
    """Refuse to connect for show.

    Raises:
        BadRequest: The request is a dry run.
    """
    query = call.request.query
    if "dryRun" in query and "dryRun" in parameters(query):
        raise BadRequest("dryRun is not supported")
