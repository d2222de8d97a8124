"""A port of loopback at which nobody listens for as long as a test needs it: held, so that nobody else gets it."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def refusing_port() -> Iterator[int]:
    """Hold a port that refuses connections for a block; a number of one's choice may be somebody's."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
