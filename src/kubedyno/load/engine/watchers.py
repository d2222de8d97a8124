"""Background watches as load: each replica lists and watches a kind over connections of its own, keeping nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from urllib.parse import quote

from kubedyno.base import aio
from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.client.api import Client
from kubedyno.http.client import PoolLimits
from kubedyno.kube.status import StatusError
from kubedyno.load.config.spec import WatcherSpec
from kubedyno.load.engine.context import Kinds
from kubedyno.load.engine.mapping import Mapping

log = logger(__name__)

_SYNC_S = 60.0


class Watchers:
    """The watchers of one job; `events` counts what they received."""

    def __init__(self, failed: Callable[[str], None]) -> None:
        self.events = 0
        self._failed = failed
        self._tasks: list[asyncio.Task[None]] = []
        self._names: list[str] = []
        self._watchers = 0

    async def start(self, spec: WatcherSpec, mapping: Mapping, client: Client) -> None:
        """Start the replicas of one watcher and return when each has its first list, or a minute has passed."""
        selector = ",".join(f"{key}={value}" for key, value in sorted(spec.label_selector.items()))
        query = f"labelSelector={quote(selector)}" if selector else ""
        synced = []
        self._watchers += 1
        for replica in range(1, spec.replicas + 1):
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            synced.append(future)
            self._tasks.append(asyncio.create_task(self._follow(mapping, query, client, future)))
            self._names.append(f"{spec.kind.lower()}_watcher_{self._watchers}_replica_{replica}")
            log.info("Started %s", self._names[-1])
        try:
            async with aio.timeout(_SYNC_S):
                await asyncio.gather(*synced)
        except TimeoutError:
            self._failed(f"watchers of {spec.kind}: no complete list within {_SYNC_S:.0f}s")

    async def _follow(self, mapping: Mapping, query: str, client: Client, synced: "asyncio.Future[None]") -> None:
        try:
            async with Client(client.target, PoolLimits(max_connections=1)) as own:
                async for kind, _ in own.list_watch(mapping.path(), query):
                    if kind == "SYNCED":
                        if not synced.done():
                            synced.set_result(None)
                    else:
                        self.events += 1
        except (StatusError, KubedynoError) as error:
            log.warning("Watcher of %s: %s", mapping.plural, getattr(error, "message", error))
        finally:
            if not synced.done():
                synced.set_result(None)

    async def stop(self) -> None:
        """End them all."""
        for name, task in zip(self._names, self._tasks, strict=True):
            log.info("Stopping %s", name)
            task.cancel()
        self._names.clear()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._tasks:
            log.debug("Watchers received %d events", self.events)
        self._tasks.clear()


@asynccontextmanager
async def watched(
    wanted: Sequence[WatcherSpec], job: str, client: Client, kinds: Kinds, failed: Callable[[str], None]
) -> AsyncIterator[None]:
    """Run a job's watchers meanwhile; one of a kind that is not served is warned of, and the job runs, as in the original."""
    watchers = Watchers(failed)
    try:
        for spec in wanted:
            try:
                mapping = await kinds.find(spec.api_version, spec.kind, f"job {job}: watchers")
            except KubedynoError as error:
                log.warning("No watcher is started: %s", error)
                continue
            await watchers.start(spec, mapping, client)
        yield
    finally:
        await watchers.stop()
