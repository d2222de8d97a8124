"""Port forwarding to a simulated pod: connections that a script answers, or that are refused. Nothing is ever dialled.

Two protocols: pairs of SPDY streams (data and error for each connection), on an upgraded connection or inside of
WebSocket messages, as kubectl does; and pairs of WebSocket channels for each port of the query, as Python's client
does.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence

from kubedyno.base import aio
from kubedyno.base.aio import Spawn
from kubedyno.cluster.apiserver.execscript import SCRIPT, PortReply
from kubedyno.cluster.apiserver.realpods import Dialled
from kubedyno.cluster.apiserver.remotecommand import BUFFER_BYTES
from kubedyno.http.messages import Tunnel
from kubedyno.http.spdy import ResetCode, SpdyError
from kubedyno.http.spdy_streams import SpdyConnection, SpdyStream
from kubedyno.http.websocket import CloseCode, Message, Opcode, WebSocket, close_frame, frame

PORTFORWARD = "portforward.k8s.io"
TUNNELLED = f"SPDY/3.1+{PORTFORWARD}"
CHANNELS = "v4.channel.k8s.io"
# Connections of one session that wait for their second stream.
_MAX_HALF = 64
# Ports in one WebSocket session, two channels each.
MAX_PORTS = 100
# Between the last reply and the end of a session of channels.
_END_AFTER_S = 0.25

Listens = Callable[[int], PortReply | None]


class Pod:
    """What forwarding needs to know of a pod.

    Args:
        name: Its name.
        uid: Its uid.
        listens: What a port says; None when nothing listens there.
        speed: Factor on delays.
    """

    __slots__ = ("connection", "listens", "name", "speed", "uid")

    def __init__(self, name: str, uid: str, listens: Listens, speed: float) -> None:
        self.name = name
        self.uid = uid
        # Makes a socket in its network, where the pod is a process: then nothing is scripted.
        self.connection: Callable[[], socket.socket] | None = None
        self.listens = listens
        self.speed = speed

    def refusal(self, port: int) -> bytes:
        """Return what the error stream says of a port on which nothing listens."""
        return (
            f"error forwarding port {port} to pod {self.name}, uid {self.uid}: connection refused: nothing listens on "
            f"port {port} of a simulated pod; ports of {SCRIPT} may give it a reply"
        ).encode()


class _Connection:
    """One forwarded connection that a script answers: the reply once something came, a greeting at once."""

    def __init__(self, reply: PortReply, speed: float, write: Callable[[bytes], None], end: Callable[[], None]) -> None:
        self._reply = reply
        self._delay_s = reply.delay_s * speed
        self._write = write
        self._end = end
        self._asked = asyncio.Event()
        self.over = asyncio.Event()

    def received(self, data: bytes) -> None:
        if data:
            self._asked.set()

    def ended(self) -> None:
        """The client sends no more: one that said nothing gets nothing."""
        if not self._asked.is_set():
            self.over.set()
            self._asked.set()

    async def run(self) -> None:
        if not self._reply.greets:
            await self._asked.wait()
        if self._delay_s:
            await aio.sleep(self._delay_s)
        if not self.over.is_set():
            self._write(self._reply.reply)
        self.over.set()
        self._end()


class SpdyForwarding:
    """Forwarding by pairs of SPDY streams with the headers streamtype, port and requestid.

    Args:
        pod: Whose ports.
        tunnel: Carries the bytes.
        spawn: Runs what outlives a callback.
        wrapped: The bytes come in WebSocket messages.
    """

    def __init__(self, pod: Pod, tunnel: Tunnel, spawn: Spawn, *, wrapped: bool) -> None:
        self._pod = pod
        self._tunnel = tunnel
        self._spawn = spawn
        self._socket = WebSocket() if wrapped else None
        # Error streams by requestid, until their data stream comes.
        self._errors: dict[str, SpdyStream] = {}
        self._connection = SpdyConnection(self._send, self._on_stream)
        tunnel.on_close = self._connection.lost
        tunnel.on_data = self._on_data

    def _send(self, data: bytes) -> None:
        self._tunnel.write(data if self._socket is None else frame(Opcode.BINARY, data))

    def _on_data(self, data: bytes) -> None:
        if self._socket is None:
            self._feed(data)
            return
        messages, error = self._socket.receive(data)
        for message in messages:
            self._take(message)
        if error is not None:
            self._close(error.code, str(error))

    def _take(self, message: Message) -> None:
        match message.opcode:
            case Opcode.BINARY:
                self._feed(message.data)
            case Opcode.PING:
                self._tunnel.write(frame(Opcode.PONG, message.data))
            case Opcode.CLOSE:
                self._close(CloseCode.NORMAL if message.code == 1005 else message.code)
            case _:
                pass

    def _feed(self, data: bytes) -> None:
        try:
            self._connection.receive(data)
        except SpdyError as error:
            self._close(CloseCode.PROTOCOL_ERROR, str(error))

    def _close(self, code: int, reason: str = "") -> None:
        self._connection.go_away()
        if self._socket is not None:
            self._tunnel.write(close_frame(code, reason))
        self._tunnel.close()

    def _on_stream(self, stream: SpdyStream) -> bool:
        kind, request_id = stream.headers.get("streamtype", ""), stream.headers.get("requestid", "")
        if port_of(stream.headers.get("port", "")) is None:
            return False
        if kind == "error":
            self._errors = {key: known for key, known in self._errors.items() if not known.is_reset}
            if request_id in self._errors or len(self._errors) >= _MAX_HALF:
                return False
            self._errors[request_id] = stream
            return True
        error = self._errors.pop(request_id, None)
        if kind != "data" or error is None:
            return False
        # Its reply goes first: a stream that has not been accepted cannot be written to.
        self._spawn(self._serve(stream, error))
        return True

    async def _serve(self, data: SpdyStream, error: SpdyStream) -> None:
        port = port_of(data.headers["port"])
        assert port is not None
        if self._pod.connection is not None:
            await self._dial(self._pod.connection, port, data, error)
            return
        reply = self._pod.listens(port)
        if reply is None:
            error.write(self._pod.refusal(port))
            error.end()
            data.reset(ResetCode.CANCEL)
            return

        connection = _Connection(reply, self._pod.speed, data.write, data.end)
        data.on_data = connection.received
        data.on_end = connection.ended
        if data.ended_there:
            connection.ended()
        await connection.run()
        error.end()

    async def _dial(
        self, connection: Callable[[], socket.socket], port: int, data: SpdyStream, error: SpdyStream
    ) -> None:
        dialled = Dialled(connection, port, data.write, data.end, lambda: self._tunnel.drain(BUFFER_BYTES))
        data.on_data, data.on_end = dialled.received, dialled.ended
        if data.ended_there:
            dialled.ended()
        refusal = await dialled.run()
        if refusal:
            head = f"error forwarding port {port} to pod {self._pod.name}, uid {self._pod.uid}: "
            error.write(f"{head}{refusal}".encode())
            data.reset(ResetCode.CANCEL)
        error.end()


class ChannelForwarding:
    """Forwarding by WebSocket channels: port number n of the query has channel 2n for data and 2n + 1 for errors.

    Each channel begins with the port's number in two bytes, little end first.
    """

    def __init__(self, pod: Pod, tunnel: Tunnel, spawn: Spawn, ports: Sequence[int]) -> None:
        self._tunnel = tunnel
        self._socket = WebSocket()
        self._connections: dict[int, _Connection | Dialled] = {}
        tunnel.on_close = self._lost
        for at, port in enumerate(ports):
            head = port.to_bytes(2, "little")
            self._send(2 * at, head)
            self._send(2 * at + 1, head)
            reply = pod.listens(port)
            if pod.connection is not None:
                write = self._writer(2 * at)
                self._connections[2 * at] = Dialled(pod.connection, port, write, _nothing, self._drain)
            elif reply is None:
                self._send(2 * at + 1, pod.refusal(port))
            else:
                self._connections[2 * at] = _Connection(reply, pod.speed, self._writer(2 * at), _nothing)
        tunnel.on_data = self._on_data
        spawn(self._run())

    async def _run(self) -> None:
        """Serve the ports; a channel cannot be closed, so that the session ends with its last connection."""
        async with asyncio.TaskGroup() as group:
            for channel, connection in self._connections.items():
                group.create_task(self._serve(channel, connection))
        # Python's client forgets what it has not passed on yet when the end comes right behind it.
        await aio.sleep(_END_AFTER_S)
        self._close(CloseCode.NORMAL)

    async def _serve(self, channel: int, connection: "_Connection | Dialled") -> None:
        if isinstance(connection, _Connection):
            await connection.run()
        elif refusal := await connection.run():
            self._send(channel + 1, refusal.encode())

    async def _drain(self) -> None:
        await self._tunnel.drain(BUFFER_BYTES)

    def _writer(self, channel: int) -> Callable[[bytes], None]:
        return lambda data: self._send(channel, data)

    def _send(self, channel: int, data: bytes) -> None:
        self._tunnel.write(frame(Opcode.BINARY, bytes((channel,)) + data))

    def _lost(self) -> None:
        for connection in self._connections.values():
            connection.ended()

    def _close(self, code: int, reason: str = "") -> None:
        if not self._tunnel.closed:
            self._tunnel.write(close_frame(code, reason))
            self._tunnel.close()
            self._lost()

    def _on_data(self, data: bytes) -> None:
        messages, error = self._socket.receive(data)
        for message in messages:
            if message.opcode is Opcode.PING:
                self._tunnel.write(frame(Opcode.PONG, message.data))
            elif message.opcode is Opcode.CLOSE:
                self._close(CloseCode.NORMAL if message.code == 1005 else message.code)
            elif message.opcode is not Opcode.PONG and message.data:
                connection = self._connections.get(message.data[0])
                if connection is not None:
                    connection.received(message.data[1:])
        if error is not None:
            self._close(error.code, str(error))


def _nothing() -> None:
    """Do nothing: a channel cannot be closed."""


def port_of(text: str) -> int | None:
    """Return a port's number, None when the text is none."""
    if not (text.isascii() and text.isdigit()) or len(text) > 5:
        return None
    return port if 0 < (port := int(text)) < 65536 else None
