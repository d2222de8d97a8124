"""Requests through the API server to pods, to Services' endpoints, and to kubelets (the subresource proxy).

A pod that is a process is dialled inside its own network namespace; a simulated one answers what its script maps to the
port (docs/simulated-exec.md), and refuses connections to others. No address that an object names is ever dialled: an
endpoint that is no pod cannot be reached. A kubelet's pages are made here (`kubeletproxy`).
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from kubedyno.base import aio
from kubedyno.base.aio import Spawn
from kubedyno.base.log import logger
from kubedyno.base.random import Random
from kubedyno.cluster.apiserver.call import Call
from kubedyno.cluster.apiserver.execscript import PortReply, Script
from kubedyno.cluster.apiserver.metricpages import MEDIA
from kubedyno.cluster.apiserver.proxypaths import Target
from kubedyno.cluster.apiserver.proxyupgrades import asks_to_switch, switch
from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.runtime import Runtime, RuntimeRefusedError
from kubedyno.cluster.storage.objects import key_of
from kubedyno.cluster.storage.store import ObjectRecord, Store
from kubedyno.http.client import Endpoint, Pool, PoolLimits
from kubedyno.http.exchange import StreamExchange
from kubedyno.http.messages import Headers
from kubedyno.kube.resources import ENDPOINTS, ENDPOINTSLICES, PODS, SERVICES
from kubedyno.kube.status import BadRequest, ServiceUnavailable, not_found

_LOOPBACK = "127.0.0.1"
_SERVICE_NAME = "kubernetes.io/service-name"
# What belongs to one connection, and what says who asks: neither is passed on.
_NOT_PASSED = frozenset(
    {
        "authorization", "connection", "content-length", "host", "keep-alive", "proxy-authenticate",
        "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
_IMPERSONATION = "impersonate-"
_DEFAULT_MEDIA = "text/plain; charset=utf-8"
# Of an answer: what its reader has not taken yet, and what is sent as one piece.
_BUFFER_BYTES = 256 << 10
_WHOLE_BYTES = 64 << 10
_READ_BYTES = 64 << 10
# How long a scripted port waits for its client to hang up.
_LINGER_S = 10.0
_LIMITS = PoolLimits(max_connections=1, max_http1=1, connect_timeout_s=10.0, timeout_s=60.0)


@dataclass(frozen=True, slots=True)
class Backend:
    """What a request goes to.

    Attributes:
        pod: The record of the pod.
        port: Where it listens.
        address: How errors name it.
        secure: It speaks TLS.
        reply: What a simulated pod's script says there; None when nobody listens.
    """

    pod: ObjectRecord
    port: int
    address: str
    secure: bool
    reply: PortReply | None


class Proxies:
    """Passes requests on.

    Args:
        store: The pods, Services and their endpoints.
        random: Picks one of several endpoints.
        spawn: Runs what outlives the call.
        fail: Answers a call with an error.
        script_of: What a simulated pod says.
        speed: Factor on a script's delays.
        runtime: Runs the pods that are processes.

    Attributes:
        component_page: Returns /metrics of a component that serves it without TLS: a pod's uid and port → page, None where
            nobody listens.
    """

    def __init__(
        self,
        store: Store,
        random: Random,
        spawn: Spawn,
        fail: Callable[[Call, Exception], None],
        script_of: Callable[[Object], Script],
        speed: float,
        runtime: Runtime | None,
    ) -> None:
        self._store = store
        self._random = random
        self._spawn = spawn
        self._fail = fail
        self._script_of = script_of
        self._speed = speed
        self._runtime = runtime
        self._context: ssl.SSLContext | None = None
        self.component_page: Callable[[str, int], bytes | None] = lambda _, __: None

    def answer(self, call: Call, target: Target) -> None:
        """Answer a request to a pod or a Service.

        Raises:
            StatusError: There is no such thing, or nothing behind it.
        """
        backend = self._pod(target) if target.resource is PODS else self._service(target)
        request = call.request
        if not target.path and request.method in {"GET", "HEAD"}:
            # Relative links of a page only work below a path that ends with a slash.
            location = f"{request.path}/" + (f"?{request.query}" if request.query else "")
            call.answer(301, _DEFAULT_MEDIA, b"", (("Location", location),))
            return
        if target.path.rstrip("/") == "/metrics" and request.method == "GET" and not backend.secure:
            page = self.component_page(backend.pod.obj.uid, backend.port)
            if page is not None:
                call.answer(200, MEDIA, page)
                return
        self._spawn(self._pass(call, target, backend))

    # --- what is behind a path ---------------------------------------------------------------------------------

    def _pod(self, target: Target) -> Backend:
        scheme, name, port = target.parts()
        record = self._store.get(PODS, key_of(target.namespace, name))
        if record is None:
            raise not_found(PODS, name)
        pod = self._store.encode_dict(PODS, record)
        if not port:
            first = next((c for c in pod["spec"]["containers"] if c.get("ports")), None)
            port = str(first["ports"][0]["containerPort"]) if first is not None else ""
        if not pod["status"].get("podIP"):
            raise BadRequest("address not allowed")
        secure = scheme == "https"
        number = int(port) if port.isdigit() else 443 if secure else 80
        return self._backend(record, number, f"{pod['status']['podIP']}:{number}", secure=secure)

    def _backend(self, record: ObjectRecord, port: int, address: str, *, secure: bool) -> Backend:
        reply = None
        if self._runtime is None or not self._runtime.has(record.obj.uid):
            reply = self._script_of(self._store.encode_dict(PODS, record)).port(port)
        return Backend(record, port, address, secure, reply)

    def _service(self, target: Target) -> Backend:
        scheme, name, port = target.parts()
        record = self._store.get(SERVICES, key_of(target.namespace, name))
        if record is None:
            raise not_found(SERVICES, name)
        if port.isdigit():
            ports = self._store.encode_dict(SERVICES, record)["spec"].get("ports", ())
            found = next((p for p in ports if p.get("port") == int(port)), None)
            if found is None:
                raise ServiceUnavailable(f'no service port {port} found for service "{name}"')
            port = found.get("name", "")
        slices = [
            self._store.encode_dict(ENDPOINTSLICES, piece)
            for piece in self._store.list(ENDPOINTSLICES, target.namespace)
            if piece.obj.labels.get(_SERVICE_NAME) == name
        ]
        ready = [
            (endpoint, number["port"])
            for piece in slices
            for number in piece.get("ports") or ()
            if (number.get("name") or "") == port and number.get("port")
            for endpoint in piece.get("endpoints") or ()
            if (endpoint.get("conditions") or {}).get("ready", True)
        ]
        if not ready and self._store.get(ENDPOINTS, key_of(target.namespace, name)) is None:
            raise not_found(SERVICES, name)
        if not ready:
            some = any(piece.get("endpoints") for piece in slices)
            raise ServiceUnavailable(f'no endpoints available for service "{target.id if some else name}"')
        endpoint, number = self._random.choice(ready)
        reference, address = endpoint.get("targetRef") or {}, (endpoint.get("addresses") or [""])[0]
        pod = None
        if reference.get("kind") == "Pod":
            pod = self._store.get(PODS, key_of(reference.get("namespace", ""), reference.get("name", "")))
        if pod is None:
            why = "only pods are dialled here, and this is none's address"
            raise ServiceUnavailable(f"error trying to reach service: dial tcp {address}:{number}: {why}")
        return self._backend(pod, number, f"{address}:{number}", secure=scheme == "https")

    def door(self, namespace: str, name: str, port: int) -> Callable[[], Awaitable[socket.socket]]:
        """Return what dials one of a Service's pods.

        Raises:
            StatusError: There is no such Service or port, or no pod behind it.
        """
        backend = self._service(Target(SERVICES, namespace, f"https:{name}:{port}", "", ""))
        return lambda: self._dial(backend)

    # --- the connection ----------------------------------------------------------------------------------------

    async def _dial(self, backend: Backend) -> socket.socket:
        """Return a connected socket to a backend.

        Raises:
            OSError: Nobody listens there.
        """
        runtime, loop = self._runtime, asyncio.get_running_loop()
        if runtime is not None and runtime.has(backend.pod.obj.uid):
            try:
                end = runtime.connection(backend.pod.obj.uid)
            except RuntimeRefusedError as error:
                raise ConnectionRefusedError(str(error)) from None
            try:
                await loop.sock_connect(end, (_LOOPBACK, backend.port))
            except BaseException:
                end.close()
                raise
            return end
        if backend.reply is None:
            raise ConnectionRefusedError
        near, far = socket.socketpair()
        near.setblocking(False)
        far.setblocking(False)
        self._spawn(_play(far, backend.reply, self._speed))
        return near

    def _tls(self) -> ssl.SSLContext:
        """Return what speaks TLS with pods: like a real API server, without asking who they are."""
        if self._context is None:
            context = self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return self._context

    async def _pass(self, call: Call, target: Target, backend: Backend) -> None:
        request = call.request
        host = request.headers.get("host") or request.headers.get(":authority") or backend.address
        endpoint = Endpoint(
            backend.address,
            backend.port,
            host,
            self._tls() if backend.secure else None,
            dial=lambda: self._dial(backend),
        )
        pool = Pool(endpoint, _LIMITS)
        path = (target.path or "/") + (f"?{request.query}" if request.query else "")
        stream: StreamExchange | None = None
        try:
            if asks_to_switch(request.headers):
                end = await self._dial(backend)
                await switch(call, end, endpoint.ssl_context, host, path, _passed(call))
                return
            stream = await pool.open_stream(request.method, path, _passed(call), request.body)
            await _answer(call, target, stream)
        except OSError as error:
            if stream is not None:
                # The answer had begun, and was broken off: so is this one.
                logger(__name__).debug("%s: %s", call.request.path, error)
                return
            why = f"dial tcp {backend.address}: connect: connection refused"
            if not isinstance(error, ConnectionRefusedError):
                why = str(error) or type(error).__name__
            self._fail(call, ServiceUnavailable(f"error trying to reach service: {why}"))
        finally:
            if stream is not None:
                stream.close()
            await pool.close()


def _passed(call: Call) -> Headers:
    """Return the headers that are passed on, and those that say for whom."""
    request = call.request
    dropped = {name.strip().lower() for name in request.headers.get("connection", "").split(",")}
    kept = [
        (name, value)
        for name, value in request.headers.items()
        if name not in _NOT_PASSED
        and name not in dropped
        and not name.startswith((":", _IMPERSONATION))
        and not name.startswith("x-forwarded-")
    ]
    client = request.peer.address.rpartition(":")[0]
    return (*kept, ("x-forwarded-for", client), ("x-forwarded-uri", request.path))


async def _answer(call: Call, target: Target, stream: StreamExchange) -> None:
    """Pass an answer on: a small one as a whole, others as they come."""
    headers = stream.headers
    media = headers.get("content-type", _DEFAULT_MEDIA)
    more = tuple(
        (name, _moved(value, target) if name == "location" else value)
        for name, value in headers.items()
        if name not in _NOT_PASSED and name != "content-type"
    )
    length = headers.get("content-length", "")
    if call.request.method == "HEAD" or stream.status in {204, 304}:
        call.answer(stream.status, media, b"", more)
        return
    if length.isdigit() and int(length) <= _WHOLE_BYTES:
        call.answer(stream.status, media, await stream.read(), more)
        return
    out = call.start(stream.status, media, more)
    out.on_close = stream.close
    try:
        async for piece in stream:
            if out.closed:
                return
            out.write(piece)
            await out.drain(_BUFFER_BYTES)
    except BaseException:
        # Nobody must take half an answer for a whole one.
        out.abort()
        raise
    out.close()


def _moved(location: str, target: Target) -> str:
    """Return a redirection's address as the client reaches it: below the proxy's path, unless it leads elsewhere."""
    parts = urlsplit(location)
    if parts.netloc or not parts.path.startswith("/") or parts.path.startswith(target.prefix):
        return location
    return urlunsplit(("", "", target.prefix + parts.path, parts.query, parts.fragment))


async def _play(end: socket.socket, reply: PortReply, speed: float) -> None:
    """Be a scripted port: say what the script says once something came, and wait for the other to hang up."""
    loop = asyncio.get_running_loop()
    try:
        async with aio.timeout(_LINGER_S + reply.delay_s * speed):
            if reply.greets or await loop.sock_recv(end, _READ_BYTES):
                if reply.delay_s:
                    await aio.sleep(reply.delay_s * speed)
                await loop.sock_sendall(end, reply.reply)
                end.shutdown(socket.SHUT_WR)
                while await loop.sock_recv(end, _READ_BYTES):
                    pass
    except (OSError, TimeoutError):
        # It hung up first, or never does.
        pass
    finally:
        end.close()
