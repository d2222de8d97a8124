"""A process that floods an API server: as many writes under way as it is told, from the first to the end of standard input.

`python -m benchmarks.flood PORT CERTIFICATE TOKEN WINDOW CONNECTIONS` prints how many were answered, and how many refused.
It gives way to any other process that wants its core: what the flood does to the server is looked for, and not what this
process does to the one that looks.
"""

import asyncio
import itertools
import os
import sys
from pathlib import Path

from benchmarks.bodies import DEPLOYMENTS, deployment, headers_of
from kubedyno.base import aio
from kubedyno.http import tls
from kubedyno.http.client import Endpoint, Pool, PoolLimits
from kubedyno.http.exchange import Result


async def flood(port: int, certificate: bytes, token: str, window: int, connections: int) -> None:
    """Create Deployments, so many under way at a time on each connection."""
    limits = PoolLimits(max_streams=250, max_connections=1)
    endpoint = Endpoint("127.0.0.1", port, f"127.0.0.1:{port}", tls.client_context(certificate))
    pools = [Pool(endpoint, limits) for _ in range(connections)]
    headers = headers_of(token)
    numbers = itertools.count()
    counts = {"answered": 0, "refused": 0}
    stopped = False

    def send(pool: Pool) -> None:
        def answered(result: Result) -> None:
            counts["refused" if result.status == 429 else "answered"] += 1
            if stopped or result.error is not None:
                return
            if result.retry_after_s:
                # As client-go does.
                asyncio.get_running_loop().call_later(result.retry_after_s, send, pool)
            else:
                send(pool)

        pool.submit("POST", DEPLOYMENTS, headers, deployment(f"flood-{next(numbers)}"), answered)

    for pool in pools:
        for _ in range(window):
            send(pool)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    stopped = True
    for pool in pools:
        await pool.close()
    print(counts["answered"], counts["refused"], flush=True)


if __name__ == "__main__":
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    aio.run(flood(int(sys.argv[1]), Path(sys.argv[2]).read_bytes(), sys.argv[3], int(sys.argv[4]), int(sys.argv[5])))
