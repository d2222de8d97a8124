"""A WebSocket of its own beside the pool's connections, for what a pod's streams are: exec, port-forward.

In a path and the protocols that are spoken; out a stream of messages, each of one channel.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import orjson

from kubedyno.base import aio
from kubedyno.base.errors import KubedynoError
from kubedyno.base.random import secret_token
from kubedyno.client.api import Client
from kubedyno.http.websocket import Opcode, WebSocket, accept_key, close_frame, frame

_CONNECT_TIMEOUT_S = 30.0
_CLOSE_TIMEOUT_S = 1.0
_READ_BYTES = 64 << 10
_MAX_HEAD = 64 << 10
_SWITCHING = 101


class Channels:
    """An open connection; made by `channels`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, where: str) -> None:
        self._reader = reader
        self._writer = writer
        self._where = where

    async def messages(self) -> AsyncIterator[tuple[int, bytes]]:
        """Yield channel and data until the other side ends it.

        Raises:
            KubedynoError: The connection breaks.
        """
        socket = WebSocket(server=False)
        try:
            while data := await self._reader.read(_READ_BYTES):
                found, error = socket.receive(data)
                for message in found:
                    if message.opcode is Opcode.PING:
                        self._writer.write(frame(Opcode.PONG, message.data, mask=_mask()))
                    elif message.opcode is Opcode.CLOSE:
                        return
                    elif message.data:
                        yield message.data[0], message.data[1:]
                if error is not None:
                    raise KubedynoError(f"{self._where}: {error}")
        except (OSError, asyncio.IncompleteReadError) as error:
            raise KubedynoError(f"{self._where}: the connection broke ({error})") from error

    def send(self, channel: int, data: bytes) -> None:
        """Send data on a channel."""
        self._writer.write(frame(Opcode.BINARY, bytes((channel,)) + data, mask=_mask()))

    def end(self) -> None:
        """Say that no more will come."""
        self._writer.write(close_frame(1000, mask=_mask()))


@asynccontextmanager
async def channels(client: Client, path: str, protocols: Sequence[str], where: str) -> AsyncIterator[Channels]:
    """Connect to a path; leaving it hangs up.

    Args:
        client: Whose server and credentials.
        path: Below the server's base.
        protocols: WebSocket protocols, the best first.
        where: Begins the errors.

    Raises:
        KubedynoError: The server cannot be reached, or refuses.
    """
    target = client.target
    context = client.own_context()
    try:
        async with aio.timeout(_CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(
                target.host, target.port, ssl=context, server_hostname=target.server_name if context else None,
                limit=_MAX_HEAD,
            )  # fmt: skip
    except (OSError, TimeoutError) as error:
        raise KubedynoError(f"{where}: {client.unreachable(error)}") from error
    try:
        try:
            await _shake_hands(client, reader, writer, target.base_path + path, protocols, where)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise KubedynoError(f"{where}: the connection broke ({error})") from error
        yield Channels(reader, writer, where)
    finally:
        writer.close()
        with suppress(OSError, TimeoutError):
            async with aio.timeout(_CLOSE_TIMEOUT_S):
                await writer.wait_closed()


async def _shake_hands(
    client: Client,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    path: str,
    protocols: Sequence[str],
    where: str,
) -> None:
    key = base64.b64encode(secret_token(16)[:16].encode()).decode()
    headers = [
        ("Host", client.target.authority),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", key),
        ("Sec-WebSocket-Protocol", ", ".join(protocols)),
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
