"""A server that answers 201 to everything, over TLS: what a load's own rate is measured against.

`python -m benchmarks.sink` prints its port and the file of its certificate authority, and serves until terminated.
"""

import asyncio
import tempfile
from pathlib import Path

from kubedyno.base import aio
from kubedyno.http import tls
from kubedyno.http.messages import Request, Responder
from kubedyno.http.server import serve


def answer(_request: Request, responder: Responder) -> None:
    responder.send(201, "application/json", b"{}")


async def main() -> None:
    authority = tls.Authority()
    context = tls.server_context(authority.server(["127.0.0.1"]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ca.crt"
        path.write_bytes(authority.certificate)
        server = await serve(answer, "127.0.0.1", 0, context)
        print(server.port, path, flush=True)
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    aio.run(main())
