"""An API server in a process of its own (`apihost`), for benchmarks that are its clients."""

import asyncio
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from kubedyno.http import tls
from kubedyno.http.client import Endpoint, Pool, PoolLimits
from kubedyno.http.exchange import Result


class Host:
    """The server's process, and a client of it.

    Attributes:
        pid: Of the process.
        pool: The client.
        certificate: Path of the authority's certificate.
    """

    def __init__(self, process: asyncio.subprocess.Process, pool: Pool, certificate: str) -> None:
        self.pid = process.pid
        self.pool = pool
        self.certificate = certificate

    async def all(self, requests: list[tuple[str, str, bytes]], headers: tuple[tuple[str, str], ...]) -> None:
        """Send requests, 100 under way at a time."""
        done = asyncio.get_running_loop().create_future()
        left = len(requests)
        waiting = iter(requests)
        failed: list[Result] = []

        def send() -> None:
            request = next(waiting, None)
            if request is not None:
                self.pool.submit(request[0], request[1], headers, request[2], answered)

        def answered(result: Result) -> None:
            nonlocal left
            left -= 1
            if result.status >= 300 or result.error is not None:
                failed.append(result)
            if left:
                send()
            elif not done.done():
                done.set_result(None)

        for _ in range(100):
            send()
        await done
        if failed:
            raise SystemExit(f"{len(failed)} failed: {failed[0].status} {failed[0].body[:200]!r} {failed[0].error}")


def _trust(path: str) -> ssl.SSLContext:
    return tls.client_context(Path(path).read_bytes())


@asynccontextmanager
async def hosting(*arguments: str) -> AsyncIterator[Host]:
    """Run a server for a block; the arguments are `apihost`'s."""
    with tempfile.TemporaryDirectory() as folder:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "benchmarks.apihost",
            folder,
            *arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stdin is not None
        port, path = (await process.stdout.readline()).decode().split()
        context = _trust(path)
        limits = PoolLimits(max_streams=250, max_connections=8)
        pool = Pool(Endpoint("127.0.0.1", int(port), f"127.0.0.1:{port}", context), limits)
        try:
            yield Host(process, pool, path)
        finally:
            await pool.close()
            process.stdin.close()
            await process.wait()
