"""Watches that feed measurements: each begins at a known point, and its trouble never ends the load."""

import asyncio
from collections.abc import Callable

from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.client.api import Client
from kubedyno.kube.status import StatusError

log = logger(__name__)

# Told of ADDED, MODIFIED or DELETED, and the object's JSON.
Take = Callable[[str, bytes], None]


class Follower:
    """Some watches, until stopped; `trouble` says which could not be followed."""

    def __init__(self, client: Client) -> None:
        self.trouble: list[str] = []
        self._client = client
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def following(self) -> bool:
        """Whether there is a watch that was not stopped."""
        return bool(self._tasks)

    async def begin(self, path: str, query: str, take: Take, *, skip_list: bool = True) -> None:
        """Follow a collection; returns once the watch has its starting point, so that nothing later is missed."""
        synced = asyncio.get_running_loop().create_future()
        self._tasks.append(asyncio.create_task(self._follow(path, query, take, synced, skip_list=skip_list)))
        await synced

    async def _follow(
        self, path: str, query: str, take: Take, synced: "asyncio.Future[None]", *, skip_list: bool
    ) -> None:
        try:
            async for events in self._client.list_watch(path, query, skip_list=skip_list).together:
                for kind, raw in events:
                    if kind == "SYNCED":
                        if not synced.done():
                            synced.set_result(None)
                    elif kind != "RELIST":
                        take(kind, raw)
        except (StatusError, KubedynoError) as error:
            # Measuring must not end the load; what was not measured is said in the report.
            text = getattr(error, "message", str(error))
            self.trouble.append(f"{path}: {text}")
            log.warning("Cannot watch %s: %s", path, text)
        finally:
            if not synced.done():
                synced.set_result(None)

    async def stop(self) -> None:
        """Stop watching."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
