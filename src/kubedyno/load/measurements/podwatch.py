"""The watches that feed a `PodTracker`: pods of a run, and (where events are asked for) events of pods."""

import asyncio
from collections.abc import Callable
from urllib.parse import quote

import orjson

from kubedyno.base.clock import Clock
from kubedyno.base.log import logger
from kubedyno.client.api import Client
from kubedyno.kube.status import StatusError
from kubedyno.load.measurements.pods import PodTracker

log = logger(__name__)

_Take = Callable[[str, bytes], None]


class PodWatch:
    """Watches the pods with a label until stopped.

    Args:
        client: Where to.
        selector: Label selector, e.g. "kube-burner.io/runid=…".
        events: Also read Events of pods: finer times of Scheduled and Started.
        clock: Stamps what is seen.
    """

    def __init__(self, client: Client, selector: str, clock: Clock, *, events: bool) -> None:
        self.tracker = PodTracker()
        self._client = client
        self._selector = selector
        self._clock = clock
        self._events = events
        self._tasks: list[asyncio.Task[None]] = []
        self.trouble: list[str] = []

    async def start(self) -> None:
        """Return once the watches have their starting point, so that nothing that is created later is missed."""
        starts = [self._begin("/api/v1/pods", f"labelSelector={quote(self._selector)}", self._on_pod)]
        if self._events:
            query = f"fieldSelector={quote('involvedObject.kind=Pod')}"
            starts.append(self._begin("/api/v1/events", query, self._on_event))
        await asyncio.gather(*starts)

    async def _begin(self, path: str, query: str, take: _Take) -> None:
        synced = asyncio.get_running_loop().create_future()
        self._tasks.append(asyncio.create_task(self._follow(path, query, take, synced)))
        await synced

    async def _follow(self, path: str, query: str, take: _Take, synced: "asyncio.Future[None]") -> None:
        try:
            async for kind, raw in self._client.list_watch(path, query, skip_list=True):
                if kind == "SYNCED":
                    if not synced.done():
                        synced.set_result(None)
                elif kind != "RELIST":
                    take(kind, raw)
        except StatusError as error:
            # Measuring must not end the load; what was not measured is said in the report.
            self.trouble.append(f"{path}: {error.message}")
            log.warning("Cannot watch %s: %s", path, error.message)
        finally:
            if not synced.done():
                synced.set_result(None)

    def _on_pod(self, kind: str, raw: bytes) -> None:
        self.tracker.pod_event(kind, raw, self._clock.now())

    def _on_event(self, kind: str, raw: bytes) -> None:
        # Most events are of no use here: look before parsing.
        if kind == "ADDED" and (b'"Scheduled"' in raw or b'"Started"' in raw):
            self.tracker.event_event(orjson.loads(raw))

    async def stop(self) -> None:
        """Stop watching; what was seen stays in `tracker`."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
