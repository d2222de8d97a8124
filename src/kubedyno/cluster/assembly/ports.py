"""Port mappings of a kind configuration: a host port on 127.0.0.1 that leads to a NodePort of the cluster.

Who is behind a NodePort is looked up with each connection: the Service that has it now, and the pods it selects. Where
pods are processes, the connection is carried on into the nodes' network. Modelled pods have no process that listens; but a
Prometheus, a Grafana or a kube-ops-view is stood in for by an application of this machine, on a loopback port of its own,
to which the bytes are passed. Every other connection is told who would be asked.
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, cast

import orjson

from kubedyno.base import aio
from kubedyno.base.errors import KubedynoError
from kubedyno.cluster.runtime import Runtime
from kubedyno.cluster.storage.store import ObjectRecord, Store
from kubedyno.kube.resources import PODS, SERVICES

_HEAD_BYTES = 16 << 10
# What a peer has not read yet before the other side is no longer read.
_HIGH_BYTES = 1 << 20
_CONNECT_S, _SILENT_S = 3.0, 1.0
PROMETHEUS, GRAFANA, VIEW = "prometheus", "grafana", "view"
# What an image's name ends with, without registry and tag → what stands in for it.
_IMAGES = {
    "prometheus/prometheus": PROMETHEUS,
    "prom/prometheus": PROMETHEUS,
    "grafana/grafana": GRAFANA,
    "grafana/grafana-oss": GRAFANA,
    "hjacobs/kube-ops-view": VIEW,
}


class Doors:
    """The mapped ports of a cluster.

    Args:
        store: The Services and pods.
        mappings: (host port, container port); host port 0 opens none.
        apps: What stands in → its port on 127.0.0.1; may change at any time.
        runtime: Runs pods that are processes; None: all are modelled.
    """

    def __init__(
        self,
        store: Store,
        mappings: Iterable[tuple[int, int]],
        apps: Mapping[str, int],
        runtime: Runtime | None = None,
    ) -> None:
        self.runtime = runtime
        self._store = store
        self._mappings = [pair for pair in mappings if pair[0]]
        self.apps = apps
        self._servers: list[asyncio.Server] = []

    async def open(self, host: str) -> None:
        """Listen on every mapped host port.

        Raises:
            KubedynoError: A port is in use; those opened before are closed again.
        """
        loop = asyncio.get_running_loop()
        for host_port, container_port in self._mappings:
            try:
                self._servers.append(await loop.create_server(self._maker(container_port), host, host_port))
            except OSError as error:
                self.close()
                raise KubedynoError(
                    f"extraPortMappings: cannot listen on {host}:{host_port} ({error.strerror or error}); "
                    "stop what uses it, or change hostPort"
                ) from error

    def _maker(self, container_port: int) -> Callable[[], asyncio.Protocol]:
        return lambda: _Door(self, container_port)

    def close(self) -> None:
        """Listen no more."""
        for server in self._servers:
            server.close()
        self._servers.clear()

    def wanted(self) -> bool:
        """Say whether a mapped port leads to something that is stood in for."""
        return any(self.behind(port)[0] for _, port in self._mappings)

    def behind(self, node_port: int) -> tuple[str, str]:
        """Return what stands in for the pods behind a NodePort, "" for nothing; and who has the port, in words."""
        record = self._service_of(node_port)
        if record is None:
            return "", f"no Service has NodePort {node_port}"
        named = f"service {record.obj.namespace}/{record.obj.name} has NodePort {node_port}"
        selector = (self._store.encode_dict(SERVICES, record).get("spec") or {}).get("selector") or {}
        if not selector:
            return "", f"{named}, but selects no pods"
        selected = [
            pod
            for pod in self._store.list(PODS, record.obj.namespace)
            if all(pod.obj.labels.get(key) == value for key, value in selector.items())
        ]
        running = [pod for pod in selected if pod.obj.facts.phase == "Running"]
        if not running:
            return "", f"{named}, but none of its pods runs ({len(selected)} selected)"
        app = next((app for pod in running if (app := _app_of(pod))), "")
        return app, f"{named}, but its pods are simulated: no process listens behind it"

    def _service_of(self, node_port: int) -> ObjectRecord | None:
        needle = b'"nodePort":%d' % node_port
        for record in self._store.table(SERVICES).all():
            if needle in record.obj.body:
                ports = (self._store.encode_dict(SERVICES, record).get("spec") or {}).get("ports") or ()
                if any(port.get("nodePort") == node_port for port in ports):
                    return record
        return None


def _app_of(pod: ObjectRecord) -> str:
    spec = orjson.loads(b"{" + pod.obj.body + b"}").get("spec") or {}
    for container in spec.get("containers") or ():
        name = str(container.get("image", "")).partition("@")[0]
        path, colon, tag = name.rpartition(":")
        if colon and "/" not in tag:
            name = path
        for image, app in _IMAGES.items():
            if name == image or name.endswith("/" + image):
                return app
    return ""


class _Door(asyncio.Protocol):
    """One connection to a mapped port: passed on, or answered here."""

    def __init__(self, doors: Doors, node_port: int) -> None:
        self._doors = doors
        self._node_port = node_port
        # What came before the other side was there, or before the request was whole.
        self._early = b""
        self._other: asyncio.Transport | None = None
        self._why = ""
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        transport = self._transport = cast("asyncio.Transport", transport)
        transport.set_write_buffer_limits(_HIGH_BYTES)
        app, self._why = self._doors.behind(self._node_port)
        port = self._doors.apps.get(app, 0)
        if app and not port:
            named = self._why.partition(",")[0]
            self._why = f"{named}, and what stands in for its pods is starting; try again in a moment"
        node = self._doors.runtime.node_socket() if self._doors.runtime is not None and not port else None
        if port:
            self._task = asyncio.get_running_loop().create_task(self._pass_on(port))
        elif node is not None:
            self._task = asyncio.get_running_loop().create_task(self._into_network(*node))

    async def _pass_on(self, port: int) -> None:
        loop = asyncio.get_running_loop()
        await self._join(
            loop.create_connection(lambda: _Back(self._transport), "127.0.0.1", port),
            "what stands in for it does not answer",
        )

    async def _into_network(self, client: socket.socket, address: str) -> None:
        loop = asyncio.get_running_loop()

        async def connected() -> tuple[asyncio.Transport, asyncio.Protocol]:
            try:
                await loop.sock_connect(client, (address, self._node_port))
            except OSError:
                client.close()
                raise
            return await loop.create_connection(lambda: _Back(self._transport), sock=client)

        await self._join(connected(), self._why)

    async def _join(
        self, connecting: Coroutine[Any, Any, tuple[asyncio.Transport, asyncio.Protocol]], why: str
    ) -> None:
        """Carry both sides on to each other, or tell the client why there is no other side."""
        try:
            async with aio.timeout(_CONNECT_S):
                other, _ = await connecting
        except (OSError, TimeoutError):
            self._why = why
            self._task = None
            self.data_received(b"")
            # Who speaks no HTTP is told by the connection's end.
            asyncio.get_running_loop().call_later(_SILENT_S, self._transport.close)
            return
        self._other = other
        other.set_write_buffer_limits(_HIGH_BYTES)
        other.write(self._early)
        self._transport.resume_reading()

    def pause_writing(self) -> None:
        if self._other is not None:
            self._other.pause_reading()

    def resume_writing(self) -> None:
        if self._other is not None and not self._other.is_closing():
            self._other.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self._other is not None:
            self._other.write(data)
            return
        self._early += data
        if self._task is not None:
            if len(self._early) >= _HEAD_BYTES:
                self._transport.pause_reading()
            return
        if b"\r\n\r\n" not in self._early and len(self._early) < _HEAD_BYTES:
            return
        body = f"{self._why}.\n".encode()
        head = (
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self._transport.write(head.encode() + body)
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        _ = exc
        if self._task is not None:
            self._task.cancel()
        if self._other is not None:
            self._other.close()


class _Back(asyncio.Protocol):
    """The way back from what stands in."""

    def __init__(self, peer: asyncio.Transport) -> None:
        self._peer = peer

    def data_received(self, data: bytes) -> None:
        self._peer.write(data)

    def pause_writing(self) -> None:
        self._peer.pause_reading()

    def resume_writing(self) -> None:
        if not self._peer.is_closing():
            self._peer.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        _ = exc
        self._peer.close()
