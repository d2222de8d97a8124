"""One HTTP request to a port of a pod, by port-forward: what a tool asks a helper of its own inside the cluster.

In a pod, a port and a request; out status and body. HTTP/1.0, so that an answer ends with its connection, or where its
Content-Length says.
"""

from dataclasses import dataclass

from kubedyno.base import aio
from kubedyno.base.errors import KubedynoError
from kubedyno.client.api import Client
from kubedyno.client.channels import Channels, channels

_PROTOCOLS = ("v4.channel.k8s.io",)
_DATA, _ERROR = 0, 1
# Each channel begins with the port's number.
_PORT_BYTES = 2
_MAX_ANSWER = 256 << 20
_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What a pod answered."""

    status: int
    body: bytes


async def ask(
    client: Client,
    namespace: str,
    pod: str,
    port: int,
    method: str,
    path: str,
    body: bytes = b"",
    *,
    timeout_s: float = _TIMEOUT_S,
) -> Reply:
    """Send a request of JSON to a port of a pod and return the answer.

    Raises:
        KubedynoError: Nothing listens there, the answer is no HTTP, or none comes in time.
    """
    where = f"port {port} of pod {namespace}/{pod}"
    url = f"/api/v1/namespaces/{namespace}/pods/{pod}/portforward?ports={port}"
    head = f"{method} {path} HTTP/1.0\r\nHost: {pod}:{port}\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    try:
        async with aio.timeout(timeout_s), channels(client, url, _PROTOCOLS, where) as connection:
            connection.send(_DATA, request)
            return _reply(await _answer(connection, where), where)
    except TimeoutError:
        raise KubedynoError(f"{where}: no answer within {timeout_s:g} s") from None


async def _answer(connection: Channels, where: str) -> bytes:
    said = {_DATA: bytearray(), _ERROR: bytearray()}
    needed = 0
    async for channel, data in connection.messages():
        if channel in said:
            said[channel] += data
        if len(said[_ERROR]) > _PORT_BYTES:
            raise KubedynoError(f"{where}: {said[_ERROR][_PORT_BYTES:].decode(errors='replace').strip()}")
        if len(said[_DATA]) > _MAX_ANSWER:
            raise KubedynoError(f"{where}: answers with more than {_MAX_ANSWER >> 20} MiB")
        needed = needed or _size_of(said[_DATA])
        if needed and len(said[_DATA]) >= needed:
            break
    return bytes(said[_DATA][_PORT_BYTES:])


def _size_of(said: bytearray) -> int:
    """Return the size of an answer with what goes before it, 0 while its head does not say it."""
    end = said.find(b"\r\n\r\n")
    size = _fields(bytes(said[:end])).get("content-length", "") if end >= 0 else ""
    return end + 4 + int(size) if size.isdigit() else 0


def _fields(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _reply(answer: bytes, where: str) -> Reply:
    head, found, body = answer.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    if not found or len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        raise KubedynoError(f"{where}: its answer is no HTTP")
    size = _fields(head).get("content-length", "")
    if size.isdigit() and len(body) < int(size):
        raise KubedynoError(f"{where}: the connection ended within the answer")
    return Reply(int(words[1]), body)
