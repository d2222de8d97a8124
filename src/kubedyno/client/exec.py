"""A command in a container, as `kubectl exec` runs it: over a WebSocket of its own, beside the pool's connections.

In a pod, a container and words; out what the command wrote and its exit code. Kubernetes 1.30 and later speak the
v5.channel.k8s.io of this, older ones v4.
"""

import asyncio
import base64
from dataclasses import dataclass
from urllib.parse import quote

import orjson

from kubedyno.base import aio
from kubedyno.base.errors import KubedynoError
from kubedyno.base.random import secret_token
from kubedyno.client.api import Client
from kubedyno.http.websocket import Opcode, WebSocket, accept_key, close_frame, frame

_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_STDOUT, _STDERR, _ERROR = 1, 2, 3
_CONNECT_TIMEOUT_S = 30.0
_READ_BYTES = 64 << 10
_MAX_OUTPUT = 64 << 20
_MAX_HEAD = 64 << 10
_SWITCHING = 101


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended.

    Attributes:
        code: Its exit code.
        stdout: What it wrote, up to 64 MiB with stderr.
        stderr: The same.
    """

    code: int
    stdout: bytes
    stderr: bytes


async def run_command(client: Client, namespace: str, pod: str, container: str, words: list[str]) -> Done:
    """Run a command in a container and wait for its end. Cancelling it hangs up, which ends the command.

    Raises:
        KubedynoError: The server refuses, the connection breaks, or the command cannot be run.
    """
    query = "&".join(f"command={quote(word, safe='')}" for word in words)
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/exec?container={container}&stdout=true&stderr=true&{query}"
    where = f"exec in pod {namespace}/{pod}"
    target = client.target
    context = client.own_context()
    try:
        async with aio.timeout(_CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(
                target.host, target.port, ssl=context, server_hostname=target.server_name if context else None,
                limit=_MAX_HEAD,
            )  # fmt: skip
    except (OSError, TimeoutError) as error:
        raise KubedynoError(f"{where}: {target.server} cannot be reached ({error})") from error
    try:
        await _shake_hands(client, reader, writer, target.base_path + path, where)
        return await _output(reader, writer, where)
    except (OSError, asyncio.IncompleteReadError) as error:
        raise KubedynoError(f"{where}: the connection broke ({error})") from error
    finally:
        writer.close()


async def _shake_hands(
    client: Client, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, where: str
) -> None:
    key = base64.b64encode(secret_token(16)[:16].encode()).decode()
    headers = [
        ("Host", client.target.authority),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", key),
        ("Sec-WebSocket-Protocol", ", ".join(_PROTOCOLS)),
        *client.own_headers(),
    ]
    head = f"GET {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers) + "\r\n"
    writer.write(head.encode())
    try:
        async with aio.timeout(_CONNECT_TIMEOUT_S):
            answer = await reader.readuntil(b"\r\n\r\n")
    except TimeoutError:
        raise KubedynoError(f"{where}: no answer within {_CONNECT_TIMEOUT_S:.0f} s") from None
    lines = answer.decode("latin-1").split("\r\n")
    status = int(lines[0].split(" ", 2)[1])
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if status != _SWITCHING:
        size = int(fields.get("content-length", "0") or "0")
        text = (await reader.readexactly(min(size, _MAX_HEAD))).decode(errors="replace") if size else lines[0]
        raise KubedynoError(f"{where}: refused ({status}: {_message_of(text)})")
    if fields.get("sec-websocket-accept") != accept_key(key):
        raise KubedynoError(f"{where}: its answer is no WebSocket's")


def _mask() -> bytes:
    """Return the four bytes that a client's frame has to be masked with."""
    return secret_token(4)[:4].encode()


def _message_of(text: str) -> str:
    try:
        return str(orjson.loads(text)["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return text.strip()


async def _output(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, where: str) -> Done:
    socket = WebSocket(server=False)
    outputs = {_STDOUT: bytearray(), _STDERR: bytearray()}
    while True:
        data = await reader.read(_READ_BYTES)
        if not data:
            raise KubedynoError(f"{where}: the connection ended before the command did")
        messages, error = socket.receive(data)
        for message in messages:
            if message.opcode is Opcode.PING:
                writer.write(frame(Opcode.PONG, message.data, mask=_mask()))
            elif message.opcode is Opcode.CLOSE:
                raise KubedynoError(f"{where}: closed before the command's end ({message.code})")
            elif message.data and message.data[0] in outputs:
                kept = outputs[message.data[0]]
                if sum(map(len, outputs.values())) < _MAX_OUTPUT:
                    kept += message.data[1:]
            elif message.data and message.data[0] == _ERROR and len(message.data) > 1:
                writer.write(close_frame(1000, mask=_mask()))
                code = _code_of(message.data[1:], where)
                return Done(code, bytes(outputs[_STDOUT]), bytes(outputs[_STDERR]))
        if error is not None:
            raise KubedynoError(f"{where}: {error}")


def _code_of(data: bytes, where: str) -> int:
    status = orjson.loads(data)
    if status.get("status") == "Success":
        return 0
    if status.get("reason") == "NonZeroExitCode":
        causes = (status.get("details") or {}).get("causes") or ()
        code = next((cause["message"] for cause in causes if cause.get("reason") == "ExitCode"), "1")
        return int(code)
    raise KubedynoError(f"{where}: {status.get('message', 'it failed')}")
