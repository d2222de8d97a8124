"""Our own generators between two machines or pods: `python -m kubedyno.datapath.remote serve PORT`, and `drive`.

One order at a time: a client sends it as a line of JSON on a control connection, the server forks an end that says when
it is ready, and both ends' figures come back on that connection. Data flows on the next port.
"""

import json
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec

from kubedyno.base.errors import KubedynoError
from kubedyno.datapath.traffic import Order, run_end

CONTROL_PORT = 12_866
_ANY = "0.0.0.0"  # noqa: S104 - a pod's server is there for all that reach the pod
_CONNECT_TIMEOUT_S = 10.0
_MAX_LINE = 64 << 10
_GRACE_S = 30.0
_MAX_SECONDS = 3600.0


def serve(port: int) -> None:
    """Serve orders until this process is ended.

    Raises:
        OSError: The port is taken.
    """
    with socket.create_server((_ANY, port), reuse_port=False) as listening:
        print(f"listening on {port}", flush=True)  # noqa: T201 - a container's log
        while True:
            client, address = listening.accept()
            with client:
                try:
                    client.settimeout(_CONNECT_TIMEOUT_S)
                    _serve_one(client, port + 1)
                except (OSError, ValueError, msgspec.MsgspecError) as error:
                    print(f"{address[0]}: {error}", flush=True)  # noqa: T201 - a container's log


def _serve_one(client: socket.socket, port: int) -> None:
    lines = client.makefile("rwb")
    order = msgspec.json.decode(lines.readline(_MAX_LINE), type=Order)
    if not 0 < order.seconds <= _MAX_SECONDS:
        raise ValueError(f"no test takes {order.seconds:g} s")
    # Datagrams come from the address that the client knows, also where the machine has several.
    order = replace(order, address=client.getsockname()[0], port=port)
    client.settimeout(order.seconds + _GRACE_S)
    for line in _answers("serve", order):
        lines.write(line)
        lines.flush()


def _answers(end: str, order: Order) -> Iterator[bytes]:
    """Fork an end and yield its lines as they come."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        run_end(end, order, write)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        yield from file
    os.waitpid(child, 0)


def drive(address: str, control: int, order: Order) -> dict[str, Any]:
    """Run a test against a server; returns {"drive": …, "serve": …}, both ends' figures.

    Raises:
        KubedynoError: The server cannot be reached, or an end failed.
    """
    where = f"{address}:{control}"
    try:
        with socket.create_connection((address, control), _CONNECT_TIMEOUT_S) as server:
            lines = server.makefile("rwb")
            lines.write(msgspec.json.encode(order) + b"\n")
            lines.flush()
            first = lines.readline(_MAX_LINE)
            if json.loads(first or b"null") != "ready":
                raise KubedynoError(f"{where}: {first.decode(errors='replace').strip() or 'it hung up'}")
            driven = list(_answers("drive", order))
            server.settimeout(_GRACE_S)
            served = lines.readline()
    except OSError as error:
        raise KubedynoError(f"{where}: {error}") from error
    found = {"drive": json.loads(driven[-1] if driven else b"{}"), "serve": json.loads(served or b"{}")}
    for end in found.values():
        if "error" in end:
            raise KubedynoError(str(end["error"]))
    return found


def main(arguments: list[str]) -> int:
    """`serve PORT`, or `drive ADDRESS PORT ORDER` with the order as JSON; returns the exit code."""
    if arguments[0] == "serve":
        serve(int(arguments[1]))
        return 0
    order = msgspec.json.decode(arguments[3], type=Order)
    try:
        print(json.dumps(drive(arguments[1], int(arguments[2]), order)))  # noqa: T201 - the output
    except KubedynoError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the output
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
