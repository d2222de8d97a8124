"""The third clock: when what a job sends is first seen by a watch, of every kind but pods, which have a watch of their own.

In what left ("Kind/name in namespace N", when) and the watches' ADDED events; out the time between, by kind. Of an event
only the name is read, and what was seen is forgotten at once.
"""

import asyncio
from collections.abc import Callable, Iterable

import msgspec

from kubedyno.base.clock import Clock
from kubedyno.client.api import Client
from kubedyno.load.measurements.follow import Follower

# Objects that were sent and are not seen yet; with more, a watch does not keep up, and what is sent meanwhile is left out.
MOST_WAITING = 50_000


class _Meta(msgspec.Struct):
    name: str = ""
    namespace: str = ""


class _Named(msgspec.Struct):
    metadata: _Meta


_decode = msgspec.json.Decoder(_Named).decode


class Sightings:
    """Watches the kinds that a job makes.

    Args:
        client: Where to.
        clock: Whose monotonic time senders use.
        seen: Told of each first sight: kind, when seen, when sent.
    """

    def __init__(self, client: Client, clock: Clock, seen: Callable[[str, float, float], None]) -> None:
        self._follower = Follower(client)
        self._clock = clock
        self._seen = seen
        self._sent: dict[str, float] = {}
        self._kinds: set[str] = set()

    async def start(self, kinds: Iterable[tuple[str, str]], query: str) -> None:
        """Watch kinds, each with the path of its collection, from now on."""
        await asyncio.gather(*(self._begin(kind, path, query) for kind, path in kinds))

    async def _begin(self, kind: str, path: str, query: str) -> None:
        self._kinds.add(kind)

        def take(event: str, raw: bytes) -> None:
            if event == "ADDED":
                meta = _decode(raw).metadata
                self.first(kind, meta.name, meta.namespace)

        await self._follower.begin(path, query, take)

    def expect(self, kind: str) -> None:
        """Take a kind whose first sights somebody else tells by `first`."""
        self._kinds.add(kind)

    def sent(self, label: str, now_s: float) -> None:
        """Note that an object left."""
        if len(self._sent) < MOST_WAITING and label.partition("/")[0] in self._kinds:
            self._sent[label] = now_s

    def first(self, kind: str, name: str, namespace: str) -> None:
        """Note that an object was seen."""
        label = f"{kind}/{name} in namespace {namespace}" if namespace else f"{kind}/{name}"
        sent_s = self._sent.pop(label, None)
        if sent_s is not None:
            self._seen(kind, self._clock.monotonic(), sent_s)

    @property
    def waiting(self) -> int:
        """How many objects have left and were not seen; those that were refused among them."""
        return len(self._sent)

    @property
    def trouble(self) -> list[str]:
        """What could not be followed."""
        return self._follower.trouble

    async def stop(self) -> None:
        """Stop watching."""
        await self._follower.stop()
        self._sent.clear()
