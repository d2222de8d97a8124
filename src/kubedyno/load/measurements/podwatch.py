"""The watches that feed a `PodTracker`: pods of a run, and (where events are asked for) events of pods."""

import asyncio
import contextlib
from urllib.parse import quote

from kubedyno.base import aio
from kubedyno.base.clock import Clock
from kubedyno.base.errors import KubedynoError
from kubedyno.client.api import Client
from kubedyno.kube.status import StatusError
from kubedyno.load.measurements.follow import Follower
from kubedyno.load.measurements.pods import PodTracker

# How long the events of the last pods may be behind; pods that cannot start cost a run this much once.
SETTLE_S = 0.3
_POLL_S = 0.01
# What a last look at the pods may take, where some were not seen to be through.
LOOK_S = 15.0
_PODS = "/api/v1/pods"


class PodWatch:
    """Watches the pods with a label until stopped.

    Args:
        client: Where to.
        selector: Label selector, e.g. "kube-burner.io/runid=…".
        events: Also read Events of pods: finer times of Scheduled and Started.
        clock: Stamps what is seen.
        past: Also what there is already when it starts.
        older: Events of pods that are there already, too: they tell when those were started.
        own: All pods with the label come after the start.

    Attributes:
        expected: How many pods will be seen at least, where nothing goes wrong.
    """

    def __init__(
        self,
        client: Client,
        selector: str,
        clock: Clock,
        *,
        events: bool,
        past: bool = False,
        older: bool = False,
        own: bool = False,
    ) -> None:
        self._older = older or past
        self._own = own or past
        self.expected = 0
        self._client = client
        self.tracker = PodTracker()
        self._selector = selector
        self._clock = clock
        self._events = events
        self._past = past
        self._follower = Follower(client)

    async def start(self) -> None:
        """Return once the watches have their starting point, so that nothing that is created later is missed."""
        selector = f"labelSelector={quote(self._selector)}"
        starts = [self._follower.begin(_PODS, selector, self._on_pod, skip_list=not self._past)]
        if self._events:
            # One watch a reason: the server leaves out the events of pulling and creating, most of them.
            for reason in ("Scheduled", "Started"):
                query = f"fieldSelector={quote(f'involvedObject.kind=Pod,reason={reason}')}"
                starts.append(self._follower.begin("/api/v1/events", query, self._on_event, skip_list=not self._older))
        await asyncio.gather(*starts)

    def _on_pod(self, kind: str, raw: bytes) -> None:
        self.tracker.pod_event(kind, raw, self._clock.now())

    def _on_event(self, kind: str, raw: bytes) -> None:
        if kind == "ADDED":
            self.tracker.event_event(raw)

    async def stop(self) -> None:
        """Stop watching, once what was on its way is read; what was seen stays in `tracker`.

        On a busy machine, or at the early end of a run, a watch may be behind: where pods are on their way by what it has told,
        or were not seen at all, the API is asked once more, so that no pod that is Ready by now goes unmeasured.
        """
        # The wait that ended a job followed other objects by another watch: the pods' last events may be a moment behind.
        with contextlib.suppress(TimeoutError):
            async with aio.timeout(SETTLE_S):
                while self._behind:
                    await aio.sleep(_POLL_S)
        if not self._follower.following:
            return
        await self._follower.stop()
        # Only now: what the watch would still tell is older than this.
        if self._behind:
            await self._look()

    @property
    def _behind(self) -> bool:
        """Whether there may be more to see: pods on their way, or fewer than there will be."""
        phases = self.tracker.phases
        return phases["Pending"] + phases["Starting"] > 0 or len(self.tracker.pods) < self.expected

    async def _look(self) -> None:
        """Take the pods as they are now."""
        try:
            async with aio.timeout(LOOK_S):
                async for items, _ in self._client.list_pages(f"{_PODS}?labelSelector={quote(self._selector)}"):
                    for raw in items:
                        self.tracker.pod_event("MODIFIED", bytes(raw), self._clock.now(), new=self._own)
        except TimeoutError:
            self._follower.trouble.append(f"{_PODS}: a last look at the pods took more than {LOOK_S:g} s")
        except (StatusError, KubedynoError, OSError) as error:
            self._follower.trouble.append(f"{_PODS}: a last look at the pods: {getattr(error, 'message', error)}")

    @property
    def trouble(self) -> list[str]:
        """What could not be followed."""
        return self._follower.trouble
