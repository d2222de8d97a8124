"""A page for a chosen cluster, from its first list until Ctrl-C."""

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict

import orjson

from kubedyno.advisor import facts, why
from kubedyno.base import aio
from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.base.random import secret_token
from kubedyno.client.api import Client
from kubedyno.lab.target import Choice
from kubedyno.web.feed import Feed
from kubedyno.web.server import Page

# The first list of a large cluster takes a while; the page says so meanwhile.
_SYNC_S = 5.0


async def serve(choice: Choice, port: int, say: Callable[[str], None]) -> None:
    """Serve the page until SIGINT or SIGTERM.

    Args:
        choice: The cluster.
        port: 0 picks a free one.
        say: Prints a line.

    Raises:
        KubedynoError: The port is in use, or the cluster cannot be reached.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with Client(choice.target) as client:
        await client.get("/version")
        feed = Feed(client, SYSTEM_CLOCK)

        async def explain() -> bytes:
            seen = await facts.read(client, embedded=choice.running.name if choice.running else None)
            return orjson.dumps({"findings": [asdict(finding) for finding in why.explain(seen)]})

        page = Page(feed, secret_token(8), explain)
        following = asyncio.create_task(feed.run())
        try:
            url = await page.start(port)
            with suppress(TimeoutError):
                async with aio.timeout(_SYNC_S):
                    await feed.synced.wait()
            say(f"{feed.pods} pods of {choice.target.server}; open {url}")
            say("Ctrl-C ends it; the page's address is for this machine only")
            await stopped.wait()
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following
            await page.close()
