"""The process of a run's page (`lab.liveview`): orders come in as lines of JSON, and end it.

`{"look": {"kubeconfig": …, "context": …}}` shows a cluster, the first one starts the page; it is answered with a line
`{"url": …}` or `{"error": …}`. `{"run": {…}}` says how the run goes.
"""

import asyncio
import contextlib
import logging
import sys
from typing import Any

import orjson

from kubedyno.base import aio
from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.base.random import secret_token
from kubedyno.client.api import Client
from kubedyno.lab import target
from kubedyno.web.view import View

log = logger(__name__)


class Live:
    """One page, over one cluster after the other.

    Args:
        port: 0 picks a free one.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._url = ""
        self._view: View | None = None
        self._open = contextlib.AsyncExitStack()

    async def look(self, given: dict[str, Any]) -> str:
        """Show a cluster; returns the page's URL.

        Raises:
            KubedynoError: The port is in use, or the kubeconfig is wrong.
        """
        choice = target.choose(given.get("kubeconfig") or None, given.get("context"))
        entered = contextlib.AsyncExitStack()
        client = await entered.enter_async_context(Client(choice.target))
        try:
            if self._view is None:
                view = View(choice, client)
                self._url = await view.start(self._port, secret_token(8), lazily=False)
                self._view = view
            else:
                await self._view.turn_to(choice, client)
                await self._open.aclose()
        except KubedynoError:
            await entered.aclose()
            raise
        self._open = entered
        return self._url

    def tell(self, run: dict[str, object]) -> None:
        """Tell those who look how the run goes."""
        if self._view is not None:
            self._view.feed.tell_run(run)

    async def close(self) -> None:
        """Serve no more."""
        if self._view is not None:
            await self._view.close()
        await self._open.aclose()


async def serve(port: int) -> None:
    """Obey standard input until it ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    live = Live(port)
    try:
        while line := await reader.readline():
            order = orjson.loads(line)
            if "run" in order:
                live.tell(order["run"])
            if "look" in order:
                answer = {}
                try:
                    answer["url"] = await live.look(order["look"])
                except KubedynoError as error:
                    answer["error"] = str(error)
                sys.stdout.write(orjson.dumps(answer).decode() + "\n")
                sys.stdout.flush()
    finally:
        await live.close()


def main(arguments: list[str]) -> int:
    """Serve a page on a port until standard input ends."""
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    aio.run(serve(int(arguments[0])))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
