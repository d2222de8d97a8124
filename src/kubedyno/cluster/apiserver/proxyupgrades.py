"""Requests through a proxy that switch protocols (WebSocket, SPDY): asked of the backend as they came, then piped.

What the backend says to the request decides: after a 101 bytes go both ways untouched until one side ends, any other
answer is passed on as it is.
"""

import asyncio
import re
import ssl
from collections.abc import Mapping
from socket import socket

from kubedyno.base import aio
from kubedyno.cluster.apiserver.call import Call
from kubedyno.http.messages import Headers, Tunnel

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})(?: [^\r\n]*)?")
_HEAD_END, _LINE_END = b"\r\n\r\n", b"\r\n"
_MAX_HEAD = 64 << 10
# Of an answer that is no 101.
_MAX_BODY = 1 << 20
_READ_BYTES = 64 << 10
_ANSWER_TIMEOUT_S = 30.0
# What the client has not taken yet while more is read, and what the backend may leave unread before it is cut off.
_BUFFER_BYTES, _MAX_UNREAD = 256 << 10, 64 << 20
_DEFAULT_MEDIA = "text/plain; charset=utf-8"
_OF_THE_CONNECTION = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding"})


def asks_to_switch(headers: Mapping[str, str]) -> bool:
    """Say whether a request asks for another protocol on its connection."""
    named = headers.get("connection", "").lower().split(",")
    return bool(headers.get("upgrade")) and "upgrade" in {name.strip() for name in named}


async def switch(
    call: Call, end: socket, context: ssl.SSLContext | None, host: str, path: str, passed: Headers
) -> None:
    """Pass a request on that asks for another protocol, and whatever follows.

    Args:
        call: The request.
        end: Connected to the backend; is closed.
        context: Speaks TLS with it, None for plain TCP.
        host: For the backend.
        path: As the backend knows it, with query.
        passed: Headers that are passed on, without those of the connection.

    Raises:
        OSError: The backend speaks no HTTP, or nothing in time.
    """
    name = host.rpartition(":")[0] if context is not None else None
    reader, writer = await asyncio.open_connection(sock=end, ssl=context, server_hostname=name, limit=_MAX_HEAD)
    try:
        request = call.request
        lines = [f"{request.method} {path} HTTP/1.1", f"host: {host}"]
        lines += [f"{field}: {value}" for field, value in passed]
        lines += ["connection: Upgrade", f"upgrade: {request.headers['upgrade']}"]
        if request.body:
            lines.append(f"content-length: {len(request.body)}")
        writer.write("\r\n".join(lines).encode("latin-1") + _HEAD_END + request.body)
        try:
            async with aio.timeout(_ANSWER_TIMEOUT_S):
                status, headers = _parsed(await reader.readuntil(_HEAD_END))
                body = b"" if status == 101 else await _body(reader, dict(headers), request.method)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
            raise OSError("malformed HTTP response") from error
        except TimeoutError:
            raise OSError("timeout awaiting response headers") from None
        if status != 101:
            media = dict(headers).get("content-type", _DEFAULT_MEDIA)
            more = [(field, value) for field, value in headers if field not in {*_OF_THE_CONNECTION, "content-type"}]
            call.answer(status, media, body, tuple(more))
            return
        tunnel = call.upgrade(headers)
        if tunnel is not None:
            await _pipe(tunnel, reader, writer)
    finally:
        writer.close()


def _parsed(head: bytes) -> tuple[int, Headers]:
    """Return an answer's status and headers.

    Raises:
        ValueError: It is no head of an answer.
    """
    first, *lines = head.removesuffix(_HEAD_END).split(_LINE_END)
    found = _STATUS_LINE.fullmatch(first)
    if found is None:
        raise ValueError("no status line")
    headers = []
    for line in lines:
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or not name.strip():
            raise ValueError("no header line")
        headers.append((name.strip().lower(), value.strip()))
    return int(found[1]), tuple(headers)


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str], method: str) -> bytes:
    """Return the body of an answer, of a length that was told, in chunks, or until the connection ends.

    Raises:
        ValueError: It is too long, or malformed.
    """
    if method == "HEAD":
        return b""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = b""
        while size := _within(int((await reader.readuntil(_LINE_END)).partition(b";")[0], 16), len(body)):
            body += (await reader.readexactly(size + 2))[:-2]
        return body
    if "content-length" in headers:
        return await reader.readexactly(_within(int(headers["content-length"]), 0))
    body = b""
    while data := await reader.read(_READ_BYTES):
        _within(len(data), len(body))
        body += data
    return body


def _within(size: int, before: int) -> int:
    if not 0 <= size <= _MAX_BODY - before:
        raise ValueError("a body beyond the limit")
    return size


async def _pipe(tunnel: Tunnel, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes on, both ways, until either side has ended."""

    def received(data: bytes) -> None:
        if not writer.is_closing():
            writer.write(data)
            if writer.transport.get_write_buffer_size() > _MAX_UNREAD:
                # Cut off, not held up: of a client that is not read, the end would not be seen.
                writer.transport.abort()

    tunnel.on_close = writer.close
    tunnel.on_data = received
    try:
        while not tunnel.closed and (data := await reader.read(_READ_BYTES)):
            tunnel.write(data)
            await tunnel.drain(_BUFFER_BYTES)
    except ConnectionError:
        # It was reset there: the client sees an end.
        pass
    finally:
        tunnel.close()
