"""Probes and hooks of real pods: commands in the container, requests and connections from the node, as a kubelet's.

In an action of a probe or a lifecycle hook as the pod's spec has it (exec, httpGet, tcpSocket, grpc, sleep), out "" or the
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
from kubedyno.cluster.processes import grpchealth
from kubedyno.cluster.runtime import Process, RuntimeRefusedError
from kubedyno.http.client import Endpoint, Pool, PoolLimits
from kubedyno.http.exchange import ConnectionLost
from kubedyno.kernel.netns import Namespace

# What is kept of an answer, and of a command's output (pkg/probe/exec: 10 KiB).
_MAX_OUTPUT = 10 << 10
_GOOD_STATUS = range(200, 400)
_AGENT = "kube-probe/1.36"
# One request; whoever asks bounds its time.
_LIMITS = PoolLimits(max_connections=1, max_http1=1, max_body=1 << 20)
_REFUSALS = {
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
        action: "exec", "httpGet", "tcpSocket", "grpc" or "sleep" with what belongs to it.
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
    elif "grpc" in action:
        await _health(space, address, int(action["grpc"]["port"]), action["grpc"].get("service") or "")
    elif "tcpSocket" in action:
        given = action["tcpSocket"]
        host, port = given.get("host") or address, _number(given["port"], ports)
        try:
            (await _dialled(space, host, port)).close()
        except OSError as error:
            raise ActionFailedError(_words(error, host, port)) from error
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
    if "grpc" in action:
        return f"timeout: health rpc did not complete within {timeout_s:g}s"
    given = action.get("tcpSocket", {})
    return f"dial tcp {given.get('host') or address}:{given.get('port', '')}: i/o timeout"


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
    headers = {"user-agent": _AGENT, "accept": "*/*"}
    headers |= {header["name"].lower(): header.get("value", "") for header in given.get("httpHeaders", ())}
    authority = headers.pop("host", f"{host}:{port}")
    context = _trusting() if scheme == "https" else None
    pool = Pool(Endpoint(host, port, authority, context, dial=lambda: _dialled(space, host, port)), _LIMITS)
    try:
        stream = await pool.open_stream("GET", path, tuple(headers.items()))
        status = stream.status
        stream.close()
    except OSError as error:
        raise ActionFailedError(f'Get "{scheme}://{host}:{port}{path}": {_words(error, host, port)}') from error
    finally:
        await pool.close()
    if status not in _GOOD_STATUS:
        raise ActionFailedError(f"HTTP probe failed with statuscode: {status}")


async def _health(space: Namespace, address: str, port: int, service: str) -> None:
    place = f"{address}:{port}"
    pool = Pool(Endpoint(address, port, place, dial=lambda: _dialled(space, address, port), speaks_h2=True), _LIMITS)
    try:
        failure = await grpchealth.check(pool, service, _AGENT)
    except OSError as error:
        words = _words(error, address, port)
        raise ActionFailedError(f'error: failed to connect service at "{place}": {words}') from error
    finally:
        await pool.close()
    if failure:
        raise ActionFailedError(failure)


async def _dialled(space: Namespace, host: str, port: int) -> socket.socket:
    """Return a socket that is connected from within a namespace.

    Raises:
        OSError: Nobody answers, or the host is no address: no name of a spec is looked up.
    """
    try:
        IPv4Address(host)
    except ValueError as error:
        raise OSError(f"dial tcp: lookup {host}: no such host") from error
    with space.inside():
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    client.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(client, (host, port))
    except BaseException:
        client.close()
        raise
    return client


def _words(error: OSError, host: str, port: int) -> str:
    """Return Go's words for a connection that did not come about, or ended before its answer."""
    if isinstance(error, ConnectionLost):
        return "EOF"
    if error.errno is None:
        return str(error)
    words = _REFUSALS.get(error.errno, (error.strerror or str(error)).lower())
    return f"dial tcp {host}:{port}: connect: {words}"


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
