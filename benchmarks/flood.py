"""A process that floods an API server: as much under way as it is told, from the first to the end of standard input.

`python -m benchmarks.flood PORT CERTIFICATE TOKEN KIND WINDOW CONNECTIONS` prints how many were answered, and how many
refused. It gives way to any other process that wants its core: what the flood does to the server is looked for, and not
what this process does to the one that looks.
"""

import asyncio
import itertools
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import orjson

from benchmarks.bodies import CONFIGMAPS, CUSTOMS, DEPLOYMENTS, PODS, custom, deployment, headers_of
from kubedyno.base import aio
from kubedyno.http import tls
from kubedyno.http.client import Endpoint, Pool, PoolLimits
from kubedyno.http.exchange import Result

# How long a slow reader looks at the first piece of what it gets.
_LOOKS_S = 0.2
_NUMBERS = itertools.count()
# Nearly the largest bodies that are taken: one value, and 60,000 of them. Both are refused once they are decoded.
_LARGE = orjson.dumps({"value": "x" * 3_000_000})
_MEMBERS = orjson.dumps({f"key-{i}": "some value that is kept in a map" for i in range(60_000)})

Headers = tuple[tuple[str, str], ...]
One = Callable[[Pool, Headers], Coroutine[Any, Any, int]]


async def _created(pool: Pool, headers: Headers) -> int:
    return await _waited(await pool.request("POST", DEPLOYMENTS, headers, deployment(f"flood-{next(_NUMBERS)}")))


async def _custom(pool: Pool, headers: Headers) -> int:
    return await _waited(await pool.request("POST", CUSTOMS, headers, custom(next(_NUMBERS))))


async def _large(pool: Pool, headers: Headers, data: bytes = _LARGE) -> int:
    body = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"flood-%d"},"data":%b}' % (next(_NUMBERS), data)
    return await _waited(await pool.request("POST", CONFIGMAPS, headers, body))


async def _members(pool: Pool, headers: Headers) -> int:
    return await _large(pool, headers, _MEMBERS)


async def _listed(pool: Pool, headers: Headers) -> int:
    return await _waited(await pool.request("GET", PODS, headers))


async def _selected(pool: Pool, headers: Headers) -> int:
    return await _waited(await pool.request("GET", f"{PODS}?labelSelector=app%3Dapp-7", headers))


async def _watched(pool: Pool, headers: Headers) -> int:
    """Begin to watch everything, and stop with the first piece."""
    return await _looked(pool, f"{PODS}?watch=true&resourceVersion=0", headers, 0.0)


async def _slow(pool: Pool, headers: Headers) -> int:
    """Have everything listed, and read the first piece."""
    return await _looked(pool, PODS, headers, _LOOKS_S)


async def _looked(pool: Pool, target: str, headers: Headers, looks_s: float) -> int:
    stream = await pool.open_stream("GET", target, headers)
    try:
        async for _ in stream:
            await aio.sleep(looks_s)
            break
    finally:
        stream.close()
    return stream.status


async def _waited(result: Result) -> int:
    """Wait as a refusal asks for, as client-go does."""
    if result.retry_after_s:
        await aio.sleep(result.retry_after_s)
    return result.status


KINDS: dict[str, One] = {
    "creates": _created,
    "customs": _custom,
    "large": _large,
    "members": _members,
    "lists": _listed,
    "selected": _selected,
    "watches": _watched,
    "slow": _slow,
}


async def flood(port: int, certificate: bytes, token: str, kind: str, window: int, connections: int) -> None:
    """Do the same again and again, so many under way at a time on each connection."""
    limits = PoolLimits(max_streams=250, max_connections=1)
    endpoint = Endpoint("127.0.0.1", port, f"127.0.0.1:{port}", tls.client_context(certificate))
    pools = [Pool(endpoint, limits) for _ in range(connections)]
    headers = headers_of(token)
    one = KINDS[kind]
    counts = {"answered": 0, "refused": 0, "lost": 0}
    stopped = False

    async def again(pool: Pool) -> None:
        while not stopped:
            try:
                status = await one(pool, headers)
            except OSError:
                counts["lost"] += 1
                await aio.sleep(0.1)
            else:
                counts["refused" if status == 429 else "answered"] += 1

    tasks = [asyncio.create_task(again(pool)) for pool in pools for _ in range(window)]
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    stopped = True
    for pool in pools:
        await pool.close()
    await asyncio.gather(*tasks)
    print(*counts.values(), flush=True)


if __name__ == "__main__":
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    port_text, path, *words, window_text, connections_text = sys.argv[1:]
    aio.run(flood(int(port_text), Path(path).read_bytes(), words[0], words[1], int(window_text), int(connections_text)))
