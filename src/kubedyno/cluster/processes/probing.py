"""Probes and hooks of real pods: commands in the container, requests and connections from the node, as a kubelet's.

In an action of a probe or a lifecycle hook as the pod's spec has it (exec, httpGet, tcpSocket, sleep), out "" or the
kubelet's words for what went wrong. Connections begin in the node's namespace, so they reach nothing of this machine.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any

from kubedyno.base import aio
from kubedyno.cluster.runtime import Process, RuntimeRefusedError
from kubedyno.kernel.netns import Namespace

# What is kept of an answer, and of a command's output (pkg/probe/exec: 10 KiB).
_MAX_OUTPUT = 10 << 10
_MAX_HEAD = 64 << 10
_GOOD_STATUS = range(200, 400)
_AGENT = "kube-probe/1.36"
_WORDS = {
    errno.ECONNREFUSED: "connection refused",
    errno.EHOSTUNREACH: "no route to host",
    errno.ENETUNREACH: "network is unreachable",
}

# (command line) → the process that runs it in the container.
Exec = Callable[[list[str]], Process]


class ActionFailedError(Exception):
    """An action failed; the text is the kubelet's."""


async def act(action: dict[str, Any], exec_: Exec, space: Namespace, address: str, ports: dict[str, int]) -> None:
    """Do an action; whoever calls bounds its time.

    Args:
        action: "exec", "httpGet", "tcpSocket" or "sleep" with what belongs to it.
        exec_: Starts a command in the container.
        space: The node's namespace.
        address: The pod's.
        ports: The container's named ports.

    Raises:
        ActionFailedError: It failed.
    """
    if "exec" in action:
        await _command(exec_, list(action["exec"].get("command", ())))
    elif "httpGet" in action:
        await _request(action["httpGet"], space, address, ports)
    elif "tcpSocket" in action:
        given = action["tcpSocket"]
        client = await _connected(space, given.get("host") or address, _number(given["port"], ports))
        client.close()
    else:
        await aio.sleep(float(action["sleep"].get("seconds", 0)))


def timed_out(action: dict[str, Any], address: str, timeout_s: float) -> str:
    """Return the kubelet's words for an action that took longer than it may."""
    if "exec" in action:
        return f'command timed out: "{" ".join(action["exec"].get("command", ()))}" timed out after {timeout_s:g}s'
    if "httpGet" in action:
        given = action["httpGet"]
        url = f"{given.get('scheme', 'HTTP').lower()}://{given.get('host') or address}:{given['port']}{given.get('path') or '/'}"
        return f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
    given = action.get("tcpSocket", {})
    return f"dial tcp {given.get('host') or address}:{given.get('port', '')}: i/o timeout"


def is_known(action: dict[str, Any]) -> bool:
    """Say whether an action is one that `act` does."""
    return any(kind in action for kind in ("exec", "httpGet", "tcpSocket", "sleep"))


async def _command(exec_: Exec, command: list[str]) -> None:
    ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    output = bytearray()
    try:
        process = exec_(command)
    except RuntimeRefusedError as error:
        raise ActionFailedError(str(error)) from error
    process.on_output = lambda _, data: output.extend(data[: _MAX_OUTPUT - len(output)])
    process.on_exit = lambda code: None if ended.done() else ended.set_result(code)
    try:
        code = await ended
    finally:
        process.close()
    if code:
        raise ActionFailedError(output.decode(errors="replace"))


async def _request(given: dict[str, Any], space: Namespace, address: str, ports: dict[str, int]) -> None:
    host, port = given.get("host") or address, _number(given["port"], ports)
    scheme = given.get("scheme", "HTTP").lower()
    path = given.get("path") or "/"
    path = path if path.startswith("/") else f"/{path}"
    url = f"{scheme}://{host}:{port}{path}"
    headers = {"Host": f"{host}:{port}", "User-Agent": _AGENT, "Accept": "*/*", "Connection": "close"}
    headers |= {header["name"]: header.get("value", "") for header in given.get("httpHeaders", ())}
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    try:
        client = await _connected(space, host, port)
        reader, writer = await _opened(client, host if scheme == "https" else "")
        try:
            writer.write("\r\n".join(lines).encode())
            status = await reader.readline()
        finally:
            writer.close()
    except (ActionFailedError, OSError, ValueError) as error:
        raise ActionFailedError(f'Get "{url}": {error}') from error
    words = status.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        raise ActionFailedError(f'Get "{url}": {"EOF" if not status else "malformed HTTP response"}')
    if int(words[1]) not in _GOOD_STATUS:
        raise ActionFailedError(f"HTTP probe failed with statuscode: {int(words[1])}")


async def _opened(client: socket.socket, tls_name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if not tls_name:
        return await asyncio.open_connection(sock=client, limit=_MAX_HEAD)
    return await asyncio.open_connection(sock=client, limit=_MAX_HEAD, ssl=_trusting(), server_hostname=tls_name)


async def _connected(space: Namespace, host: str, port: int) -> socket.socket:
    try:
        IPv4Address(host)
    except ValueError as error:
        raise ActionFailedError(f"dial tcp: lookup {host}: no such host") from error
    with space.inside():
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    client.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(client, (host, port))
    except OSError as error:
        client.close()
        words = _WORDS.get(error.errno or 0, (error.strerror or str(error)).lower())
        raise ActionFailedError(f"dial tcp {host}:{port}: connect: {words}") from error
    except BaseException:
        client.close()
        raise
    return client


def _trusting() -> ssl.SSLContext:
    """Return what takes any certificate, as probes do."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _number(port: int | str, ports: dict[str, int]) -> int:
    if isinstance(port, int):
        return port
    if port in ports:
        return ports[port]
    if port.isdigit():
        return int(port)
    raise ActionFailedError(f"couldn't find port: {port}")
