"""exec, attach, logs and port-forward of pods that are processes: a client's streams joined to the runtime's.

What a client does not take fast enough waits in the process, whose pipe is not read meanwhile; what a process does not
take fast enough waits at the client, whose connection is not.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from kubedyno.base import aio
from kubedyno.base.times import rfc3339
from kubedyno.cluster.apiserver.remotecommand import BUFFER_BYTES, Channel, Session, failure, success
from kubedyno.cluster.runtime import STDOUT, Line, Process, Runtime, RuntimeRefusedError

_LOCALHOST = "127.0.0.1"
_READ_BYTES = 64 << 10
_CONNECT_TIMEOUT_S = 10.0
# Of input that a process has not taken yet; past this its client waits.
_AHEAD_BYTES = 256 << 10
# Bytes that a pod has not taken from a forwarded connection, or that came before there was one.
_MAX_UNREAD = 64 << 20
# Log lines that a follower has not taken yet; past this it is cut off.
_MAX_WAITING = 100_000


async def run(session: Session, runtime: Runtime, uid: str, container: str, words: list[str]) -> None:
    """Run a command in a container for a client."""
    try:
        process = runtime.exec(uid, container, words, stdin=session.wanted.stdin, tty=session.wanted.tty)
    except RuntimeRefusedError as error:
        await session.finish(_refused(error))
        return
    code = await _join(session, process)
    await session.finish(failure(words, code) if code else success())


async def attach(session: Session, runtime: Runtime, uid: str, container: str) -> None:
    """Join a client to a container's own process, until that ends."""
    try:
        process = runtime.attach(uid, container)
    except RuntimeRefusedError as error:
        await session.finish(_refused(error))
        return
    await _join(session, process)
    await session.finish(success())


def _refused(error: RuntimeRefusedError) -> dict[str, Any]:
    text = f"Internal error occurred: {error}"
    return {"metadata": {}, "status": "Failure", "message": text, "reason": "InternalError", "code": 500}


async def _join(session: Session, process: Process) -> int:
    """Pass everything on, both ways, until the process ends; returns its exit code."""
    changed = asyncio.Event()
    codes: list[int] = []

    def output(stream: int, data: bytes) -> None:
        session.write(Channel.STDOUT if stream == STDOUT else Channel.STDERR, data)
        if session.buffered > BUFFER_BYTES:
            process.pause()
            changed.set()

    def ended(code: int) -> None:
        codes.append(code)
        changed.set()

    def told(data: bytes) -> None:
        process.write(data)
        if process.unread > _AHEAD_BYTES:
            session.hold()
            process.when_read(session.release)

    process.on_output, process.on_exit = output, ended
    session.listen(told, process.close_input, process.resize)
    try:
        while not codes:
            await changed.wait()
            changed.clear()
            await session.drain()
            process.resume()
    finally:
        process.close()
    return codes[0]


def logged(runtime: Runtime, uid: str, container: str, *, previous: bool) -> list[tuple[str, str]]:
    """Return what a container has written, each line with its time.

    Raises:
        RuntimeRefusedError: There is no such log.
    """
    return [_shown(line) for line in runtime.log(uid, container, previous=previous).lines]


def _shown(line: Line) -> tuple[str, str]:
    return rfc3339(line.at_s), line.text.decode(errors="replace")


class Follower:
    """What a container goes on writing; begin it in the same turn of the loop in which `logged` was asked.

    Raises:
        RuntimeRefusedError: There is no such log.
    """

    def __init__(self, runtime: Runtime, uid: str, container: str) -> None:
        self._waiting: list[tuple[str, str]] = []
        self._changed = asyncio.Event()
        self._ended = False
        self._stop = runtime.log(uid, container).follow(self._take)

    def _take(self, line: Line | None) -> None:
        if line is None or len(self._waiting) >= _MAX_WAITING:
            self._ended = True
        else:
            self._waiting.append(_shown(line))
        self._changed.set()

    async def next(self) -> list[tuple[str, str]]:
        """Return the next lines once there are some, an empty list at the end."""
        while not self._waiting and not self._ended:
            self._changed.clear()
            await self._changed.wait()
        lines, self._waiting = self._waiting, []
        return lines

    def close(self) -> None:
        """Follow no more."""
        self._stop()


class Dialled:
    """One forwarded connection into a pod.

    Args:
        connection: Makes a socket in the pod's network.
        port: Where to connect to, on the pod's loopback.
        write: Takes what the pod says.
        end: Called when it says no more.
        drain: Waits until the client has taken most of that.
    """

    def __init__(
        self,
        connection: Callable[[], socket.socket],
        port: int,
        write: Callable[[bytes], None],
        end: Callable[[], None],
        drain: Callable[[], Any],
    ) -> None:
        self._connection = connection
        self._port = port
        self._write = write
        self._end = end
        self._drain = drain
        self._early = bytearray()
        self._overrun = False
        self._ended = False
        self._writer: asyncio.StreamWriter | None = None

    def received(self, data: bytes) -> None:
        """Pass on what the client says."""
        if self._writer is None:
            self._overrun = self._overrun or len(self._early) + len(data) > _MAX_UNREAD
            if self._overrun:
                self._early.clear()
            else:
                self._early += data
        elif not self._writer.is_closing():
            self._writer.write(data)
            if self._writer.transport.get_write_buffer_size() > _MAX_UNREAD:
                # Cut off, not held up: what it says to other ports comes by the same connection.
                self._writer.transport.abort()

    def ended(self) -> None:
        """The client says no more."""
        self._ended = True
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write_eof()

    async def run(self) -> str:
        """Connect and pass on until both have ended; returns "", or why there is no connection."""
        loop = asyncio.get_running_loop()
        end: socket.socket | None = None
        try:
            end = self._connection()
            await aio.wait_for(loop.sock_connect(end, (_LOCALHOST, self._port)), _CONNECT_TIMEOUT_S)
        except (OSError, RuntimeRefusedError) as error:
            if end is not None:
                end.close()
            why = "connect: connection refused" if isinstance(error, ConnectionRefusedError) else str(error)
            return (
                f"failed to connect to localhost:{self._port} inside the pod's network namespace, IPv4: dial tcp4 "
                f"{_LOCALHOST}:{self._port}: {why}"
            )
        reader, self._writer = await asyncio.open_connection(sock=end)
        if self._overrun:
            self._writer.close()
            return f"more than {_MAX_UNREAD} bytes came before port {self._port} was connected"
        self._writer.write(bytes(self._early))
        self._early.clear()
        if self._ended:
            self._writer.write_eof()
        try:
            while data := await reader.read(_READ_BYTES):
                self._write(data)
                await self._drain()
        except ConnectionError:
            # It was reset there: the client sees an end.
            pass
        finally:
            self._writer.close()
        self._end()
        return ""
