"""Port mappings of a kind configuration: a host port on 127.0.0.1 that leads to a NodePort of the cluster.

Simulated pods have no process behind a port, so the port answers that it is there and who would be asked.
"""

import asyncio
from collections.abc import Iterable

from kubedyno.base.errors import KubedynoError
from kubedyno.cluster.storage.store import Store
from kubedyno.kube.resources import SERVICES

_HEAD_BYTES = 16 << 10


class _Door(asyncio.Protocol):
    """Answers one request on a mapped port."""

    def __init__(self, store: Store, container_port: int) -> None:
        self._store = store
        self._port = container_port
        self._seen = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._seen += len(data)
        if b"\r\n\r\n" not in data and self._seen < _HEAD_BYTES:
            return
        service = _service_of(self._store, self._port)
        if service:
            text = f"{service} has NodePort {self._port}, but its pods are simulated: no process listens behind it.\n"
        else:
            text = f"no Service has NodePort {self._port}.\n"
        body = text.encode()
        head = (
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        transport = self._transport
        transport.write(head.encode() + body)  # type: ignore[attr-defined]
        transport.close()


def _service_of(store: Store, port: int) -> str:
    needle = b'"nodePort":%d' % port
    for record in store.table(SERVICES).all():
        if needle in record.obj.body:
            return f"service {record.obj.namespace}/{record.obj.name}"
    return ""


async def open_ports(store: Store, mappings: Iterable[tuple[int, int]], host: str) -> list[asyncio.Server]:
    """Listen on every mapped host port; port 0 picks none.

    Raises:
        KubedynoError: A port is in use; those opened before are closed again.
    """
    loop = asyncio.get_running_loop()
    opened: list[asyncio.Server] = []
    for host_port, container_port in mappings:
        if not host_port:
            continue
        try:
            opened.append(await loop.create_server(lambda port=container_port: _Door(store, port), host, host_port))  # type: ignore[misc]
        except OSError as error:
            for server in opened:
                server.close()
            raise KubedynoError(
                f"extraPortMappings: cannot listen on {host}:{host_port} ({error.strerror or error}); "
                "stop what uses it, or change hostPort"
            ) from error
    return opened
