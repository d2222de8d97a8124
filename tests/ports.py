"""Ports of loopback by what a test needs of them: nobody listening, or free for a process that is told its number."""

import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST, _HIGHEST = 10_000, 65_535


@contextmanager
def refusing_port() -> Iterator[int]:
    """Hold a port that refuses connections for a block; a number of one's choice may be somebody's."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def free_ports(count: int) -> list[int]:
    """Find ports that are free, and that the kernel gives nobody who asks for any or connects to somewhere."""
    low, high = map(int, _RANGE.read_text().split())
    ours = [port for port in range(_LOWEST, _HIGHEST + 1) if not low <= port <= high]
    found = []
    with ExitStack() as held:
        for port in random.SystemRandom().sample(ours, len(ours)):
            probe = held.enter_context(socket.socket())
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
            if len(found) == count:
                break
    return found


def free_port() -> int:
    """Find one such port."""
    (port,) = free_ports(1)
    return port
