"""Our own traffic: request/response latency, streams and paced datagrams, one process on each end.

In: an `Order`, the same for both ends. Out: one JSON object from each, with the CPU that it used in it. `run_end` is what
a forked child runs: blocking sockets, no threads, no collector; a round trip costs 3 to 6 µs more than with both ends
written in C.
"""

import array
import gc
import json
import os
import resource
import select
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from kubedyno.base.clock import elapsed_ns
from kubedyno.kernel.libc import die_with_parent
from kubedyno.stats.quantiles import percentile

WARM_UP_TRIPS = 200
# One stream's write: fewer system calls than with iperf3's 128 KiB, and the stack fills its largest packets.
STREAM_BYTES = 1 << 20
_RECEIVE_BYTES = 1 << 20
_TIMEOUT_S = 5
_UDP_RESPONSE_TIMEOUT_S = 1
_DATAGRAM = struct.Struct("=QQ")
_LAST = (1 << 64) - 1
_LAST_REPEATS = 5
_FORWARD, _REVERSE = b"f", b"r"
# Ready before it is told to begin: the first bytes of a stream tell its direction.
_BACKLOG = 512


@dataclass(frozen=True, slots=True)
class Order:
    """What both ends are told.

    Attributes:
        mode: "tcp-rr", "tcp-crr", "udp-rr", "stream" or "datagrams".
        address: The server's own, or for the client the one to connect to.
        port: TCP or UDP.
        seconds: How long the client drives.
        bytes: A request's and a response's, or a datagram's.
        forward: Streams from client to server.
        reverse: Streams from server to client.
        rate_bps: Datagrams' rate in bits of payload a second.
        congestion_control: Of TCP sockets, "" for the system's.
    """

    mode: str
    address: str
    port: int
    seconds: float
    bytes: int = 1
    forward: int = 1
    reverse: int = 0
    rate_bps: float = 0.0
    congestion_control: str = ""


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _tcp(order: Order) -> socket.socket:
    made = socket.socket(_family(order.address), socket.SOCK_STREAM)
    if order.congestion_control:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, order.congestion_control.encode())
    return made


def _connected(order: Order) -> socket.socket:
    made = _tcp(order)
    made.connect((order.address, order.port))
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def _udp(order: Order) -> socket.socket:
    made = socket.socket(_family(order.address), socket.SOCK_DGRAM)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        made.setsockopt(socket.SOL_SOCKET, option, 4 << 20)
    return made


def latency_of(nanoseconds: "array.array[int]", seconds: float, lost: int) -> dict[str, float]:
    """Return a latency sample's figures in µs, and transactions a second."""
    ordered = sorted(nanoseconds)
    if not ordered:
        raise ValueError("no transaction was completed")

    def at(percent: float) -> float:
        return percentile(ordered, percent) / 1000 if len(ordered) > 100 / percent else ordered[0] / 1000

    return {
        "count": len(ordered),
        "lost": lost,
        "min_us": ordered[0] / 1000,
        "mean_us": sum(ordered) / len(ordered) / 1000,
        "max_us": ordered[-1] / 1000,
        "p50_us": at(50),
        "p90_us": at(90),
        "p99_us": at(99),
        "per_s": len(ordered) / seconds,
    }


def _cpu_s() -> float:
    """Return the CPU seconds of this process and its ended children; the interpreter's start counts for neither."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


# --- server ------------------------------------------------------------------------------------------------------


def serve(order: Order, ready: Callable[[], None]) -> dict[str, Any]:
    """Serve one test, calling `ready` once it may begin; return what there is to say once its client has gone."""
    if order.mode in {"udp-rr", "datagrams"}:
        with _udp(order) as ours:
            ours.bind((order.address, order.port))
            ready()
            if order.mode == "udp-rr":
                _echo_datagrams(ours)
                return {}
            return _serve_datagrams(ours, order)
    with _tcp(order) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((order.address, order.port))
        listening.listen(_BACKLOG)
        ready()
        if order.mode == "tcp-rr":
            _echo(listening, order.bytes)
        elif order.mode == "tcp-crr":
            _echo_once_each(listening, order.bytes)
        else:
            return _serve_streams(listening, order)
    return {}


def _echo(listening: socket.socket, size: int) -> None:
    one, _ = listening.accept()
    with one:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request, response = bytearray(size), bytes(size)
        receive, send, flags = one.recv_into, one.send, socket.MSG_WAITALL if size > 1 else 0
        while receive(request, size, flags) == size:
            send(response)


def _echo_once_each(listening: socket.socket, size: int) -> None:
    buffer = bytearray(size)
    while True:
        one, _ = listening.accept()
        with one:
            if not one.recv_into(buffer, size):
                return  # a connection without a request is the client's goodbye
            one.send(buffer)
            one.recv_into(buffer, size)  # until the client closes: TIME_WAIT is then its own


def _echo_datagrams(ours: socket.socket) -> None:
    buffer = bytearray(1 << 16)
    view = memoryview(buffer)
    while True:
        size, sender = ours.recvfrom_into(buffer)
        if size == 0:
            return
        ours.sendto(view[:size], sender)


def _serve_streams(listening: socket.socket, order: Order) -> dict[str, Any]:
    workers = []
    for _ in range(order.forward + order.reverse):
        one, _ = listening.accept()
        workers.append(_forked(_stream_end, one, order, sends=one.recv(1) == _REVERSE))
        one.close()
    return {"streams": _collected(workers)}


def _serve_datagrams(ours: socket.socket, order: Order) -> dict[str, Any]:
    ours.settimeout(_TIMEOUT_S)
    hello, sender = ours.recvfrom(1)
    ours.connect(sender)
    ours.send(hello)
    if hello == _REVERSE:
        return {"sent": _send_datagrams(ours, order)}
    return {"received": _receive_datagrams(ours)}


# --- client ------------------------------------------------------------------------------------------------------


def drive(order: Order) -> dict[str, Any]:
    """Drive one test and return its figures."""
    if order.mode == "stream":
        workers = []
        for number in range(order.forward + order.reverse):
            one = _connected(order)
            sends = number < order.forward
            one.send(_FORWARD if sends else _REVERSE)
            workers.append(_forked(_stream_end, one, order, sends=sends))
            one.close()
        return {"streams": _collected(workers)}
    if order.mode == "datagrams":
        with _udp(order) as ours:
            ours.connect((order.address, order.port))
            ours.settimeout(_TIMEOUT_S)
            hello = _REVERSE if order.reverse else _FORWARD
            ours.send(hello)
            ours.recv(1)
            if order.reverse:
                return {"received": _receive_datagrams(ours)}
            return {"sent": _send_datagrams(ours, order)}
    return {"latency": _connect_request_close(order) if order.mode == "tcp-crr" else _request_response(order)}


def _request_response(order: Order) -> dict[str, float]:
    datagrams = order.mode == "udp-rr"
    with _udp(order) if datagrams else _connected(order) as ours:
        if datagrams:
            ours.connect((order.address, order.port))
            # A time-out of Python's own would poll before each call.
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", _UDP_RESPONSE_TIMEOUT_S, 0))
        size = order.bytes
        request, response = bytes(size), bytearray(size)
        send, receive, flags = ours.send, ours.recv_into, socket.MSG_WAITALL if size > 1 and not datagrams else 0
        for _ in range(WARM_UP_TRIPS):
            send(request)
            receive(response, size, flags)
        sample = array.array("q", bytes(8 * int(order.seconds * 400_000 + 1000)))
        now, count, lost = elapsed_ns, 0, 0
        start = before = now()
        end = start + int(order.seconds * 1e9)
        while before < end:
            send(request)
            try:
                receive(response, size, flags)
            except BlockingIOError:
                lost += 1
                before = now()
                continue
            after = now()
            sample[count] = after - before
            count += 1
            before = after
        if datagrams:
            ours.send(b"")
        return latency_of(sample[:count], (before - start) / 1e9, lost)


def _connect_request_close(order: Order) -> dict[str, float]:
    sample = array.array("q")
    request, response = bytes(order.bytes), bytearray(order.bytes)
    now = elapsed_ns
    start = before = now()
    end = start + int(order.seconds * 1e9)
    while before < end:
        with _tcp(order) as one:
            one.connect((order.address, order.port))
            one.send(request)
            one.recv_into(response)
        after = now()
        sample.append(after - before)
        before = after
    _connected(order).close()
    return latency_of(sample, (before - start) / 1e9, 0)


# --- either end --------------------------------------------------------------------------------------------------


def _forked(work: Any, one: socket.socket, order: Order, *, sends: bool) -> tuple[int, int]:
    """Run a stream's end in a child of its own; returns its process and the pipe of its answer."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        code = 1
        try:
            die_with_parent()
            os.write(writing, json.dumps(work(one, order, sends=sends)).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    return process, reading


def _collected(workers: list[tuple[int, int]]) -> list[dict[str, Any]]:
    found = []
    for process, reading in workers:
        with os.fdopen(reading, "rb") as pipe:
            data = pipe.read()
        os.waitpid(process, 0)
        if not data:
            raise ValueError("a stream ended without a figure")
        found.append(json.loads(data))
    return found


def _stream_end(one: socket.socket, order: Order, *, sends: bool) -> dict[str, Any]:
    total, start = 0, elapsed_ns()
    if sends:
        data, end = memoryview(bytes(STREAM_BYTES)), start + int(order.seconds * 1e9)
        while elapsed_ns() < end:
            total += one.send(data)
        one.shutdown(socket.SHUT_WR)
        last = elapsed_ns()
        one.recv(1)  # the other end has taken it all
        return {"sends": True, "bytes": total, "seconds": (last - start) / 1e9}
    buffer, receive, last = bytearray(_RECEIVE_BYTES), one.recv_into, start
    first = 0
    while size := receive(buffer):
        if not first:
            first = elapsed_ns()
        total += size
    last = elapsed_ns()
    one.close()
    return {"sends": False, "bytes": total, "seconds": (last - (first or start)) / 1e9}


def _send_datagrams(ours: socket.socket, order: Order) -> dict[str, float]:
    payload = bytearray(max(order.bytes, _DATAGRAM.size))
    gap_ns = len(payload) * 8 / order.rate_bps * 1e9 if order.rate_bps else 0.0
    start = elapsed_ns()
    end, number, refused = start + int(order.seconds * 1e9), 0, 0
    ours.settimeout(None)
    while True:
        now = elapsed_ns()
        if now >= end:
            break
        due = start + int(number * gap_ns)
        if due - now > 50_000:
            select.select([], [], [], (due - now) / 1e9)
            continue
        _DATAGRAM.pack_into(payload, 0, number, now)
        try:
            ours.send(payload)
        except OSError:
            # A full queue (ENOBUFS) or the other end gone (ECONNREFUSED): a datagram lost like any other.
            refused += 1
        number += 1
    seconds = (elapsed_ns() - start) / 1e9
    for _ in range(_LAST_REPEATS):
        select.select([], [], [], 0.01)
        _DATAGRAM.pack_into(payload, 0, _LAST, number)
        try:
            ours.send(payload[: _DATAGRAM.size])
        except ConnectionRefusedError:
            break  # it has heard the first and left
    return {"datagrams": number, "refused": refused, "bytes": number * len(payload), "seconds": seconds}


def _receive_datagrams(ours: socket.socket) -> dict[str, float]:
    """Count what arrives; jitter as RFC 3550 smooths it, over both ends' one clock."""
    buffer = bytearray(1 << 16)
    received = total = 0
    jitter = 0.0
    transit = last = first = 0
    sent = 0
    while True:
        try:
            size = ours.recv_into(buffer)
        except TimeoutError:
            break
        number, stamp = _DATAGRAM.unpack_from(buffer)
        if number == _LAST:
            sent = stamp
            break
        last = elapsed_ns()
        new = last - stamp
        if received:
            jitter += (abs(new - transit) - jitter) / 16
        else:
            first = last
        transit = new
        received += 1
        total += size
    return {
        "datagrams": received,
        "asked": sent,
        "lost": max(0, sent - received),
        "bytes": total,
        "seconds": (last - first) / 1e9,
        "jitter_us": jitter / 1000,
    }


def run_end(end: str, order: Order, answers: int) -> NoReturn:
    """Be one end in a process of its own, and exit.

    Args:
        end: "serve" or "drive".
        order: What to do.
        answers: A pipe: a server writes a line "ready"; both write a last line with their figures or an "error".
    """
    code = 1
    try:
        die_with_parent()
        gc.disable()
        before_s = _cpu_s()
        found = serve(order, lambda: _line(answers, "ready")) if end == "serve" else drive(order)
        _line(answers, found | {"cpu_s": _cpu_s() - before_s})
        code = 0
    except (OSError, ValueError) as error:
        _line(answers, {"error": f"{end} {order.mode}: {error}"})
    finally:
        os._exit(code)  # nothing of the parent's may be run or flushed here


def _line(answers: int, value: object) -> None:
    os.write(answers, json.dumps(value).encode() + b"\n")
