"""The API server: creates, patches, lists, watch fan-out, and answers while controllers are busy.

The server runs in a process of its own, over TLS, without controllers; its CPU time is read from /proc.
"""

import asyncio

from benchmarks.apihost import TOKEN
from benchmarks.bodies import CONFIGMAPS, DEPLOYMENTS, PODS, configmap, deployment, headers_of, pod
from benchmarks.floods import FLOODS, flooded
from benchmarks.hosted import Host, hosting
from benchmarks.measure import cpu_s, peak_mb, rss_mb
from kubedyno.base import aio
from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.http.client import Pool
from kubedyno.http.exchange import StreamExchange
from kubedyno.stats.quantiles import percentile

_HEADERS = headers_of(TOKEN)
_PATCH_HEADERS = headers_of(TOKEN, "application/strategic-merge-patch+json")
_WATCHERS = 1000
# Objects that come while they watch.
_DELIVERED = 200
_CONNECTIONS = 100
_ROUNDS = 5


async def _writes(count: int) -> dict[str, float]:
    async with hosting() as host:
        bodies = [("POST", DEPLOYMENTS, deployment(f"deployment-{i}")) for i in range(count)]
        await host.all(bodies[:500], _HEADERS)
        before_s, wall_s = cpu_s(host.pid), SYSTEM_CLOCK.monotonic()
        await host.all(bodies[500:], _HEADERS)
        used_s, wall_s = cpu_s(host.pid) - before_s, SYSTEM_CLOCK.monotonic() - wall_s
        patch = b'{"spec":{"template":{"spec":{"containers":[{"name":"nginx","image":"nginx:%d"}]}}}}'
        patches = [("PATCH", f"{DEPLOYMENTS}/deployment-{i}", patch % i) for i in range(count)]
        before_patch_s = cpu_s(host.pid)
        await host.all(patches, _PATCH_HEADERS)
        patched_s = cpu_s(host.pid) - before_patch_s
        return {
            "cpu_us_per_create": used_s / (count - 500) * 1e6,
            "creates_per_s_tls": (count - 500) / wall_s,
            "cpu_us_per_patch": patched_s / count * 1e6,
        }


async def _lists(count: int, rounds: int) -> dict[str, float]:
    async with hosting() as host:
        await host.all([("POST", PODS, pod(i)) for i in range(count)], _HEADERS)
        rss_before_mb, before_s = rss_mb(host.pid), cpu_s(host.pid)
        for _ in range(rounds):
            stream = await host.pool.open_stream("GET", PODS, _HEADERS)
            size = 0
            async for piece in stream:
                size += len(piece)
            stream.close()
        used_s = cpu_s(host.pid) - before_s
        return {
            "list_10k_ms": used_s / rounds / count * 10_000 * 1e3,
            "list_growth_mb": max(peak_mb(host.pid) - rss_before_mb, 0.0),
            "list_mb": size / 1e6,
        }


async def _watches(events: int) -> dict[str, float]:
    async with hosting() as host:
        await host.all([("POST", CONFIGMAPS, configmap(0))], _HEADERS)
        streams = [
            await host.pool.open_stream("GET", f"{CONFIGMAPS}?watch=true&resourceVersion=3", _HEADERS)
            for _ in range(_WATCHERS)
        ]
        seen = [asyncio.Event() for _ in streams]
        counts = [0] * len(streams)
        wanted = 0

        async def follow(number: int, stream: StreamExchange) -> None:
            async for piece in stream:
                counts[number] += piece.count(b"\n")
                if counts[number] >= wanted:
                    seen[number].set()

        readers = [asyncio.create_task(follow(i, stream)) for i, stream in enumerate(streams)]

        async def deliver(start: int, size: int) -> float:
            """Create that many objects together; return the CPU seconds until all watchers have them."""
            nonlocal wanted
            wanted += size
            for event in seen:
                event.clear()
            before_s = cpu_s(host.pid)
            await host.all([("POST", CONFIGMAPS, configmap(start + i)) for i in range(size)], _HEADERS)
            async with aio.timeout(60):
                await asyncio.gather(*(event.wait() for event in seen))
            return cpu_s(host.pid) - before_s

        await deliver(1, 50)
        used_s = sum([await deliver(1000 + 100 * i, 100) for i in range(events // 100)]) / (events // 100 * 100)
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        return {"watch_us_per_delivery": used_s / _WATCHERS * 1e6}


async def _growth(sizes: tuple[int, ...]) -> dict[str, float]:
    """List all objects, and deliver new ones to 1,000 watchers, while the number of objects grows."""
    result: dict[str, float] = {}
    async with hosting() as host:
        there = 0
        for size in sizes:
            await host.all([("POST", CONFIGMAPS, configmap(i)) for i in range(there, size)], _HEADERS)
            there = size
            rounds = max(100_000 // size, 3)
            before_s = cpu_s(host.pid)
            for _ in range(rounds):
                stream = await host.pool.open_stream("GET", CONFIGMAPS, _HEADERS)
                await stream.read()
            listed_s = cpu_s(host.pid) - before_s
            watched_s = await _delivered_s(host, there)
            there += _DELIVERED
            name = f"{size // 1000}k"
            result[f"list_us_per_object_of_{name}"] = listed_s / rounds / size * 1e6
            result[f"watch_us_per_delivery_of_{name}"] = watched_s / _DELIVERED / _WATCHERS * 1e6
    return result


async def _delivered_s(host: Host, first: int) -> float:
    """Return the CPU seconds of new objects that 1,000 watchers get, who came when the others were there."""
    listed = await host.pool.request("GET", f"{CONFIGMAPS}?limit=1", _HEADERS)
    version = listed.body.partition(b'"resourceVersion":"')[2].partition(b'"')[0].decode()
    path = f"{CONFIGMAPS}?watch=true&resourceVersion={version}"
    streams = [await host.pool.open_stream("GET", path, _HEADERS) for _ in range(_WATCHERS)]

    async def follow(stream: StreamExchange) -> None:
        seen = 0
        async for piece in stream:
            seen += piece.count(b"\n")
            if seen >= _DELIVERED:
                return

    readers = [asyncio.create_task(follow(stream)) for stream in streams]
    before_s = cpu_s(host.pid)
    await host.all([("POST", CONFIGMAPS, configmap(first + i)) for i in range(_DELIVERED)], _HEADERS)
    async with aio.timeout(60):
        await asyncio.gather(*readers)
    used_s = cpu_s(host.pid) - before_s
    for stream in streams:
        stream.close()
    return used_s


async def _wakeups(events: int) -> dict[str, float]:
    """Send single events to watchers that have a connection each: every one costs a TLS record and a system call."""
    async with hosting() as host:
        await host.all([("POST", CONFIGMAPS, configmap(0))], _HEADERS)
        pools = [Pool(host.pool.endpoint) for _ in range(_CONNECTIONS)]
        path = f"{CONFIGMAPS}?watch=true&resourceVersion=3"
        streams = [await pool.open_stream("GET", path, _HEADERS) for pool in pools]
        before_s = cpu_s(host.pid)
        for i in range(events):
            await host.all([("POST", CONFIGMAPS, configmap(1 + i))], _HEADERS)
            async with aio.timeout(10):
                for stream in streams:
                    assert await anext(stream)
        used_s = cpu_s(host.pid) - before_s
        for pool in pools:
            await pool.close()
        return {"watch_us_per_wakeup": used_s / events / _CONNECTIONS * 1e6}


async def _under_load(count: int) -> dict[str, float]:
    async with hosting("--busy") as host:
        await host.all([("POST", CONFIGMAPS, configmap(1))], _HEADERS)
        took_ms = []
        for _ in range(count):
            begun_s = SYSTEM_CLOCK.monotonic()
            result = await host.pool.request("GET", f"{CONFIGMAPS}/cm-1", _HEADERS)
            assert result.status == 200
            took_ms.append((SYSTEM_CLOCK.monotonic() - begun_s) * 1e3)
        return {"p99_ms_under_load": percentile(sorted(took_ms), 99)}


def figures(*, quick: bool) -> dict[str, float]:
    """Return the API budget's figures."""
    result = aio.run(_writes(4000 if quick else 20_000))
    result |= aio.run(_lists(10_000, 3 if quick else 10))
    result |= aio.run(_watches(500 if quick else 2000))
    result |= aio.run(_growth((1_000, 10_000, 100_000)))
    result |= aio.run(_wakeups(100 if quick else 500))
    result |= aio.run(_under_load(500 if quick else 2000))
    return result | aio.run(flooded(FLOODS["creates"], 500, _ROUNDS))
