"""Paced requests: each leaves on its schedule, a bounded number is under way, and none is dropped silently.

The bucket gives every request its due time; a window bounds what waits for an answer, so an overloaded API
slows the sender down instead of filling its memory. Answers other than success are retried with kube-burner's
back-off until the retry budget is spent, and then counted by reason.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Protocol

from kubedyno.base import aio
from kubedyno.base.clock import Clock
from kubedyno.base.log import logger
from kubedyno.client.api import Client, Result
from kubedyno.http.messages import Headers
from kubedyno.kube.status import StatusError
from kubedyno.load.engine.record import JobRecord

log = logger(__name__)

# Requests that may wait for an answer: two connections' worth of streams, and as many queued behind them.
WINDOW = 400
# A tick later than this is a stall, whose tokens are lost; an earlier one is a busy machine, and loses nothing.
STALL_S = 0.1
# Sleeping for less than this costs more than it gains: uvloop's timers have a grain of 1 ms.
GRAIN_S = 0.0005
RETRY_BASE_S = 1.0
RETRY_FACTOR = 3.0
_DONE = {"POST": "Created", "DELETE": "Removed", "PATCH": "Patched", "GET": "Read"}
_DOING = {"POST": "creating object", "DELETE": "removing", "PATCH": "patching", "GET": "reading", "PUT": "operating"}


class Pacing(Protocol):
    """When requests are due."""

    def reserve(self, now_s: float) -> float:
        """Take one turn and say when its request may be sent, not before `now_s`."""
        ...


def retry_delays_s(budget_s: float) -> list[float]:
    """Return the waits between the tries that fit the budget: 1, 3, 9, 27 … s, ceil(ln(budget)/ln 3) of them.

    A budget of a second or less still allows the first try, unlike the original's.
    """
    tries = max(1, math.ceil(math.log(budget_s) / math.log(RETRY_FACTOR))) if budget_s > 1 else 1
    return [RETRY_BASE_S * RETRY_FACTOR**n for n in range(tries - 1)]


class _Request:
    """One request under way; called with its result."""

    __slots__ = ("body", "due_s", "headers", "label", "method", "path", "sender", "sent_s", "tries")

    def __init__(
        self, sender: "Sender", method: str, path: str, body: bytes, label: str, due_s: float, headers: Headers
    ) -> None:
        self.sender = sender
        self.method = method
        self.path = path
        self.body = body
        self.label = label
        self.due_s = due_s
        self.headers = headers
        self.sent_s = 0.0
        self.tries = 0

    def __call__(self, result: Result) -> None:
        if result.error is None and 200 <= result.status < 300:
            self.sender.accepted(self)
        else:
            self.sender.refused(self, result)


class Sender:
    """Sends one job's requests.

    Args:
        client: Where to.
        bucket: When requests are due: the job's rate limit, or another schedule.
        record: Counts what happens.
        clock: Its `monotonic` is the event loop's time.
        retry_budget_s: How long a refused create may be tried again.
        final: Statuses that are never tried again; 409 and 404 for creates, every one for deletes.
        on_error: Called once for each request given up, with its line.
    """

    def __init__(
        self,
        client: Client,
        bucket: Pacing,
        record: JobRecord,
        clock: Clock,
        *,
        retry_budget_s: float,
        final: Callable[[int], bool],
        on_error: Callable[[str], None],
        window: int = WINDOW,
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._record = record
        self._clock = clock
        self._delays_s = retry_delays_s(retry_budget_s)
        self._final = final
        self._on_error = on_error
        self._window = window
        self._under_way = 0
        self._wanted_s = 0.0
        self._room: asyncio.Future[None] | None = None
        self._retries: set[asyncio.TimerHandle] = set()
        self._closed = False

    async def send(self, method: str, path: str, body: bytes, label: str, headers: Headers = ()) -> None:
        """Send one request when its turn comes; returns once it left, not once it is answered.

        Args:
            label: "Kind/name in namespace N", for messages.
            headers: Instead of the usual ones of the same names.
        """
        if self._under_way >= self._window:
            await self._wait_room(self._window)
        now_s = self._clock.monotonic()
        # A request is wanted when the one before it was due: the timer's grain then costs no tokens.
        wanted_s = self._wanted_s if now_s - self._wanted_s < STALL_S else now_s
        due_s = self._bucket.reserve(wanted_s)
        self._wanted_s = max(due_s, wanted_s)
        if due_s - now_s > GRAIN_S:
            await aio.sleep(due_s - now_s)
        request = _Request(self, method, path, body, label, due_s, headers)
        self._under_way += 1
        request.sent_s = self._clock.monotonic()
        self._record.on_sent(request.sent_s, due_s)
        self._client.submit(method, path, body, request, headers)

    async def finish(self) -> None:
        """Wait until every request has been answered or given up."""
        await self._wait_room(1)

    def close(self) -> None:
        """Forget what still waits to be tried again, counting it as failed."""
        self._closed = True
        for handle in self._retries:
            handle.cancel()
            self._record.on_failed(self._clock.monotonic(), "Interrupted")
        self._retries.clear()

    @property
    def under_way(self) -> int:
        return self._under_way

    async def _wait_room(self, below: int) -> None:
        while self._under_way >= below:
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    def _done(self) -> None:
        self._under_way -= 1
        room = self._room
        if room is not None and not room.done():
            room.set_result(None)

    def accepted(self, request: _Request) -> None:
        self._record.on_accepted(self._clock.monotonic(), request.sent_s)
        if log.isEnabledFor(10):
            log.debug("%s %s", _DONE.get(request.method, "Sent"), request.label)
        self._done()

    def refused(self, request: _Request, result: Result) -> None:
        if result.error is not None:
            reason, message, wait_s = type(result.error).__name__, str(result.error), 0.0
        else:
            error = StatusError.from_response(result.status, result.body)
            reason, message, wait_s = error.reason or str(result.status), error.message, result.retry_after_s
        if result.error is None and self._final(result.status):
            if result.status == 409 and request.method == "POST":
                message = f"{request.label} already exists"
            elif result.status == 404 and request.method == "DELETE":
                # Gone already is what a delete wants.
                self.accepted(request)
                return
            else:
                message = f"{request.label}: {message}"
            self._give_up(reason, message)
            return
        if request.tries >= len(self._delays_s) or self._closed:
            self._give_up(reason, f"Error {_DOING.get(request.method, 'sending')} {request.label}: {message}; given up")
            return
        delay_s = max(self._delays_s[request.tries], wait_s)
        request.tries += 1
        log.error("Error creating object %s: %s", request.label, message)
        log.error("Retrying object creation")
        loop = asyncio.get_running_loop()

        def again() -> None:
            self._retries.discard(handle)
            self._record.retried += 1
            request.sent_s = self._clock.monotonic()
            self._client.submit(request.method, request.path, request.body, request, request.headers)

        handle = loop.call_later(delay_s, again)
        self._retries.add(handle)

    def _give_up(self, reason: str, line: str) -> None:
        self._record.on_failed(self._clock.monotonic(), reason)
        log.error("%s", line)
        self._on_error(line)
        self._done()
