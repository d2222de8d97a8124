"""The API server for real pods: a socket in a node's namespace whose connections are carried on by this process.

In connections of pods, out connections to the API server's own port on loopback, byte by byte: pods still reach nothing of
this machine but what that port answers, under TLS and by their own tokens.
"""

import asyncio
import socket

from kubedyno.base import aio
from kubedyno.base.log import logger
from kubedyno.kernel.netns import Namespace

_HOST = "127.0.0.1"
_CHUNK = 64 << 10
_CONNECT_S = 5.0
# Of one node; what comes beyond them is closed at once.
_MAX_CONNECTIONS = 1024


class ApiRelay:
    """Listens until it is closed, on the running loop.

    Args:
        space: The namespace whose pods and node ask.
        address: Where, as the endpoints of the service `kubernetes` say.
        port: As they say.
        server_port: The API server's on loopback.

    Raises:
        OSError: The address is not there, or its port is taken.
    """

    def __init__(self, space: Namespace, address: str, port: int, server_port: int) -> None:
        with space.inside():
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((address, port))
        self._socket.listen(128)
        self._port = server_port
        self._tasks = aio.Tasks("a pod's connection to the API server")
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._accept)

    def _accept(self) -> None:
        try:
            client, _ = self._socket.accept()
        except OSError:
            # It went away again.
            return
        if len(self._tasks) >= _MAX_CONNECTIONS:
            client.close()
            return
        self._tasks.spawn(self._carry(client))

    async def _carry(self, client: socket.socket) -> None:
        writers: list[asyncio.StreamWriter] = []
        try:
            reader, writer = await asyncio.open_connection(sock=client)
            writers.append(writer)
            async with aio.timeout(_CONNECT_S):
                back, on = await asyncio.open_connection(_HOST, self._port)
            writers.append(on)
            await asyncio.gather(_pump(reader, on), _pump(back, writer))
        except OSError as error:
            logger(__name__).debug("a pod's connection to the API server ended: %s", error)
        finally:
            for one in writers:
                one.close()
            client.close()

    def close(self) -> None:
        """Listen no more, and end what is open."""
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self._tasks.cancel()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
