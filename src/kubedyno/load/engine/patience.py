"""Asking again while nobody answers: a server that restarts, or a connection that is lost, ends no wait.

Only silence is waited through, and no longer than requests wait for a cluster that is gone; what the API says no to is the
caller's.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from kubedyno.base import aio
from kubedyno.base.log import logger
from kubedyno.client.api import Client, Result, Unreachable
from kubedyno.http.messages import Headers
from kubedyno.load.engine.sender import GONE_S

T = TypeVar("T")
log = logger(__name__)

_FIRST_S, _MOST_S = 0.25, 5.0


class PatientClient:
    """A client whose requests are made again while nobody answers.

    Args:
        client: Where to.
        silence_s: After so long without any answer the trouble is the caller's.
    """

    def __init__(self, client: Client, silence_s: float = GONE_S) -> None:
        self._client = client
        self._silence_s = silence_s

    async def request(self, method: str, path: str, *, body: bytes = b"", headers: Headers = ()) -> Result:
        """Return an answer, whatever its status; see `Client.request`."""
        return await patiently(lambda: self._client.request(method, path, body=body, headers=headers), self._silence_s)

    async def get(self, path: str) -> dict[str, Any]:
        """Return an object; see `Client.get`."""
        return await patiently(lambda: self._client.get(path), self._silence_s)

    async def list_all(self, path: str) -> list[dict[str, Any]]:
        """Return all items of a list; see `Client.list_all`."""
        return await patiently(lambda: self._client.list_all(path), self._silence_s)


async def patiently(ask: Callable[[], Awaitable[T]], silence_s: float, *, lasting: bool = False) -> T:
    """Return what a call returns, made again while there is no answer.

    Args:
        ask: Makes the call anew; what a broken one left behind is its own to forget.
        silence_s: After so long without any answer the trouble is the caller's. Whoever has less time puts a limit
            around it.
        lasting: The call goes on for as long as it is answered, as a watch does: one that broke late was answered before.
            A single request that took long was not: it waited for its answer all the time.

    Raises:
        Unreachable: Nobody answered for so long.
    """
    loop = asyncio.get_running_loop()
    since_s: float | None = None
    wait_s = _FIRST_S
    while True:
        began_s = loop.time()
        try:
            return await ask()
        except Unreachable as error:
            now_s = loop.time()
            if since_s is None or (lasting and now_s - began_s > _MOST_S + wait_s):
                since_s, wait_s = now_s, _FIRST_S
                log.warning("no answer (%s): asking again for up to %.0fs", error, silence_s)
            if now_s - since_s >= silence_s:
                raise
        await aio.sleep(wait_s)
        wait_s = min(2 * wait_s, _MOST_S)
