"""How far a server's clock is from ours, from stamps of whole seconds: each narrows the interval, and the next is timed to halve it.

A server that stamps s between our times t0 and t1 is ahead of us by at least s - t1 and less than s + 1 - t0. Stamps come
from the Date header, else from the creationTimestamp of an object that is made as a dry run.
"""

import math
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import orjson

from kubedyno.base import aio
from kubedyno.base.clock import Clock
from kubedyno.base.errors import KubedynoError
from kubedyno.base.times import epoch_of
from kubedyno.client.api import Client

# Narrower than this is of no use: an answer takes about as long.
_ENOUGH_S = 0.004
_MOST_STAMPS = 16
_DRY_RUN = "/api/v1/namespaces/default/configmaps?dryRun=All"
_PROBE = orjson.dumps({"metadata": {"generateName": "clock-"}})


@dataclass(slots=True)
class Gap:
    """The server's clock is ahead of ours by `low_s` to `high_s`; negative when it is behind."""

    low_s: float = -math.inf
    high_s: float = math.inf

    @property
    def known(self) -> bool:
        """Whether there was a stamp."""
        return math.isfinite(self.low_s) and math.isfinite(self.high_s)

    @property
    def middle_s(self) -> float:
        """The best guess."""
        return (self.low_s + self.high_s) / 2

    @property
    def half_s(self) -> float:
        """How much it may be off."""
        return (self.high_s - self.low_s) / 2

    def narrow(self, stamp_s: float, sent_s: float, answered_s: float) -> None:
        """Take a stamp of whole seconds, and our times around it; one that contradicts earlier ones begins anew."""
        low_s, high_s = stamp_s - answered_s, stamp_s + 1 - sent_s
        if low_s > self.high_s or high_s < self.low_s:
            # One of the clocks was set.
            self.low_s, self.high_s = low_s, high_s
        else:
            self.low_s, self.high_s = max(self.low_s, low_s), min(self.high_s, high_s)

    def wait_s(self, now_s: float) -> float:
        """Return after how long a stamp tells most: when the server's second is about to change, by the best guess."""
        server_s = now_s + self.middle_s
        return math.ceil(server_s) - server_s


async def measure(client: Client, clock: Clock, gap: Gap) -> None:
    """Narrow a gap until that is no use any more; may be cancelled at any time, with what is known by then."""
    path, from_body = "/version", False
    for _ in range(_MOST_STAMPS):
        sent_s = clock.now()
        method, body = ("POST", _PROBE) if from_body else ("GET", b"")
        try:
            answer = await client.request(method, path, body=body)
            answered_s = clock.now()
            if from_body:
                stamp_s = epoch_of(str(orjson.loads(answer.body)["metadata"]["creationTimestamp"]))
            elif "date" in answer.headers:
                stamp_s = parsedate_to_datetime(answer.headers["date"]).timestamp()
            else:
                path, from_body = _DRY_RUN, True
                continue
        except (KubedynoError, OSError, ValueError, KeyError, TypeError):
            # No stamp to be had: forbidden, or no server any more.
            return
        gap.narrow(stamp_s, sent_s, answered_s)
        if gap.high_s - gap.low_s < _ENOUGH_S:
            return
        await aio.sleep(max(gap.wait_s(clock.now()), _ENOUGH_S))
