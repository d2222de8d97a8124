"""The API server in a flood: what a calm user's small requests take while another user does something as fast as it can.

Figures are P99 over P99 without the flood, the medians of rounds that alternate. Bodies of 3 MiB are decoded in one piece:
while such ones come, others wait for as long as that takes (a millisecond or two for one value, 40 for 60,000).
"""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import median

from benchmarks.apihost import CALM, FLOOD, TOKEN
from benchmarks.bodies import CONFIGMAPS, DEFINITIONS, PODS, configmap, definition, headers_of, pod
from benchmarks.hosted import Host, hosting
from kubedyno.base import aio
from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.stats.quantiles import percentile

_HEADERS = headers_of(TOKEN)
_PODS = 10_000


@dataclass(frozen=True, slots=True)
class Flood:
    """What the other user does.

    Attributes:
        kind: See `flood.KINDS`.
        window: How many are under way on each connection.
        connections: Of its own.
        listed: It is about 10,000 pods that are there.
    """

    kind: str
    window: int
    connections: int
    listed: bool = False


FLOODS = {
    "creates": Flood("creates", 100, 4),
    "creates_1_connection": Flood("creates", 100, 1),
    "creates_50_connections": Flood("creates", 8, 50),
    "custom_resources": Flood("customs", 100, 4),
    "lists": Flood("lists", 2, 4, listed=True),
    "lists_by_label": Flood("selected", 20, 4, listed=True),
    "watches_dropped": Flood("watches", 50, 4, listed=True),
    "slow_readers": Flood("slow", 50, 4, listed=True),
    "bodies_3mib": Flood("large", 4, 4),
    "bodies_3mib_60000_values": Flood("members", 1, 4),
}


@asynccontextmanager
async def _flooding(host: Host, flood: Flood) -> AsyncIterator[None]:
    """Let another process make a flood."""
    arguments = (str(host.pool.endpoint.port), host.certificate, FLOOD, flood.kind)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.flood",
        *arguments,
        str(flood.window),
        str(flood.connections),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    await aio.sleep(1.0)
    try:
        yield
    finally:
        process.stdin.close()
        await process.wait()


async def flooded(flood: Flood, count: int, rounds: int) -> dict[str, float]:
    """Ask for a small object now and then, alone and in a flood.

    Args:
        count: Requests of each round.
        rounds: By turns without and with a flood; a hiccup of the machine makes one P99, not the median of several.
    """
    async with hosting() as host:
        await host.all([("POST", CONFIGMAPS, configmap(1)), ("POST", DEFINITIONS, definition())], _HEADERS)
        if flood.listed:
            await host.all([("POST", PODS, pod(i)) for i in range(_PODS)], _HEADERS)
        headers = headers_of(CALM)

        async def p99_ms() -> float:
            took_ms = []
            for _ in range(count):
                await aio.sleep(0.002)
                begun_s = SYSTEM_CLOCK.monotonic()
                result = await host.pool.request("GET", f"{CONFIGMAPS}/cm-1", headers)
                assert result.status == 200, result.body
                took_ms.append((SYSTEM_CLOCK.monotonic() - begun_s) * 1e3)
            return percentile(sorted(took_ms), 99)

        calm_ms, flooded_ms = [], []
        for _ in range(rounds):
            calm_ms.append(await p99_ms())
            async with _flooding(host, flood):
                flooded_ms.append(await p99_ms())
        calm, busy = median(calm_ms), median(flooded_ms)
        return {"calm_p99_ms": calm, "flooded_p99_ms": busy, "flooded_over_calm": busy / calm}


def figures(*, quick: bool) -> dict[str, float]:
    """Return how often as long a calm user waits in each flood."""
    result: dict[str, float] = {}
    for name, flood in FLOODS.items():
        found = aio.run(flooded(flood, 300 if quick else 500, 1 if quick else 5))
        result[f"{name}_p99_ms"] = found["flooded_p99_ms"]
        result[f"{name}_over_calm"] = found["flooded_over_calm"]
    return result
