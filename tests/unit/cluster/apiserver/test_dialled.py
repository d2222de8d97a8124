"""What is forwarded into a pod before its port is connected."""

import asyncio
import socket

from kubedyno.base import aio
from kubedyno.cluster.apiserver import realpods
from kubedyno.cluster.apiserver.realpods import Dialled


def told(data: bytes) -> tuple[str, bytes]:
    """Say something before there is a connection; returns why there is none, and what a port that echoes said."""
    said = bytearray()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())
        writer.close()

    def connection() -> socket.socket:
        end = socket.socket()
        end.setblocking(False)
        return end

    async def scene() -> str:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        async with aio.timeout(60), server:
            port = server.sockets[0].getsockname()[1]
            dialled = Dialled(connection, port, said.extend, lambda: None, lambda: aio.sleep(0))
            dialled.received(data[:3])
            dialled.received(data[3:])
            dialled.ended()
            return await dialled.run()

    return aio.run(scene()), bytes(said)


def test_what_comes_early_is_passed_on():
    assert told(b"hello") == ("", b"hello")


def test_too_much_of_it_is_refused_and_not_kept(monkeypatch):
    monkeypatch.setattr(realpods, "_MAX_UNREAD", 4)
    why, said = told(b"hello")
    assert "more than 4 bytes came before port" in why
    assert said == b""
