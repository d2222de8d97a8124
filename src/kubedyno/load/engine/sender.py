"""Paced requests: each leaves on its schedule, a bounded number is under way, and none is dropped silently.

The bucket gives every request its due time; a window bounds what waits for an answer, so an overloaded API
slows the sender down instead of filling its memory. Answers other than success are retried with kube-burner's
back-off until the retry budget is spent, and then counted by reason; those that say when to come back (429 and 503 with
Retry-After) first ten times as they say.

Two kinds of trouble are not waited through, unlike in the original, because waiting would hide the truth. What the
API refuses for good (malformed, invalid, or not this user's to create) is given up at once: the same bytes get the
same answer for the whole hour of retries. And when nobody answers any more, nothing is sent but one request now and
then, until the cluster is back or the run ends.
"""

import asyncio
import math
from collections import Counter, deque
from collections.abc import Callable
from typing import Protocol

from kubedyno.base import aio
from kubedyno.base.clock import Clock
from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.client.api import Client, Result
from kubedyno.http.exchange import AnswerTooLarge, ConnectionLost, Overloaded
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
# So often in a row, and no longer each time, a request comes back when it is told to: as in client-go.
ASKED_BACK = 10
_ASKED_BACK_S = 60.0
# So long nobody may answer before the run ends; meanwhile one request is tried after 0.5, 1, 2, 4, 5, 5 … s.
GONE_S = 60.0
_PROBE_FIRST_S = 0.5
_PROBE_MOST_S = 5.0
_LOST_QUIET_S = 1.0
# These say something of one connection or one answer, not of the cluster.
_OF_ONE = (ConnectionLost, Overloaded, AnswerTooLarge)
_DONE = {"POST": "Created", "DELETE": "Removed", "PATCH": "Patched", "GET": "Read"}
_DOING = {"POST": "creating object", "DELETE": "removing", "PATCH": "patching", "GET": "reading", "PUT": "operating"}


class GoneError(KubedynoError):
    """Nobody answers any more."""


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

    __slots__ = ("asked_back", "body", "headers", "intended_s", "label", "method", "path", "sender", "sent_s", "tries")

    def __init__(
        self, sender: "Sender", method: str, path: str, body: bytes, label: str, intended_s: float, headers: Headers
    ) -> None:
        self.sender = sender
        self.method = method
        self.path = path
        self.body = body
        self.label = label
        self.intended_s = intended_s
        self.headers = headers
        self.sent_s = 0.0
        self.tries = 0
        self.asked_back = 0

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
        window: Requests that may be under way.
        gone_after_s: How long nobody may answer.
        ideal: The same schedule as `bucket` once more, for what an open loop would have sent; None: `bucket`'s own times.
        on_sent: Told of each request that leaves: label, and when.
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
        gone_after_s: float = GONE_S,
        ideal: Pacing | None = None,
        on_sent: Callable[[str, float], None] | None = None,
    ) -> None:
        self._ideal = ideal
        self._intended_s = 0.0
        self._left_s = 0.0
        self._on_sent = on_sent
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
        self._hopeless: Counter[str] = Counter()
        # While the cluster is gone: since when, what waits for it, and who looks for it.
        self._gone_after_s = gone_after_s
        self._answered_s = 0.0
        self._lost_told_s = -_LOST_QUIET_S
        self._gone_s: float | None = None
        self._held: deque[_Request] = deque()
        self._probe_s = 0.0
        self._probe: asyncio.TimerHandle | None = None
        self._end: asyncio.TimerHandle | None = None
        self._back = asyncio.Event()
        self._ended = ""

    async def send(self, method: str, path: str, body: bytes, label: str, headers: Headers = ()) -> None:
        """Send one request when its turn comes; returns once it left, not once it is answered.

        Args:
            label: "Kind/name in namespace N", for messages.
            headers: Instead of the usual ones of the same names.

        Raises:
            GoneError: Nobody answered for too long.
        """
        asked_s = self._clock.monotonic()
        if self._gone_s is not None:
            await self._wait_back()
        if self._under_way >= self._window:
            await self._wait_room(self._window)
        now_s = self._clock.monotonic()
        # A request is wanted when the one before it was due: the timer's grain then costs no tokens.
        wanted_s = self._wanted_s if now_s - self._wanted_s < STALL_S else now_s
        due_s = self._bucket.reserve(wanted_s)
        self._wanted_s = max(due_s, wanted_s)
        intended_s = due_s if self._ideal is None else self._open_loop(self._ideal, asked_s)
        if due_s - now_s > GRAIN_S:
            await aio.sleep(due_s - now_s)
        request = _Request(self, method, path, body, label, intended_s, headers)
        self._under_way += 1
        self._left_s = request.sent_s = self._clock.monotonic()
        self._record.on_sent(request.sent_s, due_s, intended_s)
        if self._on_sent is not None:
            self._on_sent(label, request.sent_s)
        self._client.submit(method, path, body, request, headers)

    def _open_loop(self, ideal: Pacing, asked_s: float) -> float:
        """Return when a request would leave if nobody ever waited for room: only the job's own pauses move the schedule."""
        paused = asked_s - self._left_s >= STALL_S
        wanted_s = max(asked_s, self._intended_s) if paused else self._intended_s
        due_s = ideal.reserve(wanted_s)
        self._intended_s = max(due_s, wanted_s)
        return due_s

    async def finish(self) -> None:
        """Wait until every request has been answered or given up; raises as `send`."""
        await self._wait_room(1)

    def close(self) -> None:
        """Forget what still waits to be tried again, counting it as failed."""
        self._closed = True
        for timer in (self._probe, self._end):
            if timer is not None:
                timer.cancel()
        for _ in self._held:
            self._record.on_failed(self._clock.monotonic(), "Interrupted")
        self._held.clear()
        for handle in self._retries:
            handle.cancel()
            self._record.on_failed(self._clock.monotonic(), "Interrupted")
        self._retries.clear()

    @property
    def under_way(self) -> int:
        return self._under_way

    async def _wait_room(self, below: int) -> None:
        while self._under_way >= below:
            if self._ended:
                raise GoneError(self._ended)
            self._room = asyncio.get_running_loop().create_future()
            await self._room
        if self._ended:
            raise GoneError(self._ended)

    async def _wait_back(self) -> None:
        while self._gone_s is not None:
            if self._ended:
                raise GoneError(self._ended)
            self._back.clear()
            await self._back.wait()

    def _done(self) -> None:
        self._under_way -= 1
        self._wake()

    def _wake(self) -> None:
        room = self._room
        if room is not None and not room.done():
            room.set_result(None)

    def accepted(self, request: _Request) -> None:
        now_s = self._answered_s = self._clock.monotonic()
        if self._gone_s is not None:
            self._is_back(now_s)
        self._record.on_accepted(now_s, request.sent_s, request.intended_s)
        if log.isEnabledFor(10):
            log.debug("%s %s", _DONE.get(request.method, "Sent"), request.label)
        self._done()

    def refused(self, request: _Request, result: Result) -> None:
        if result.error is None:
            self._answered_s = self._clock.monotonic()
            self._record.throttled += result.status == 429
            if self._gone_s is not None:
                self._is_back(self._answered_s)
        elif not self._closed and self._is_gone(request, result.error):
            self._hold(request, result.error)
            return
        if result.error is not None:
            reason, message, wait_s = type(result.error).__name__, str(result.error), 0.0
        else:
            error = StatusError.from_response(result.status, result.body)
            reason, message, wait_s = error.reason or str(result.status), error.message, result.retry_after_s
        if result.error is None and (self._final(result.status) or _no_rights(result.status, message)):
            if result.status == 409 and request.method == "POST":
                message = f"{request.label} already exists"
            elif result.status == 404 and request.method == "DELETE":
                # Gone already is what a delete wants.
                self.accepted(request)
                return
            else:
                message = f"{request.label}: {message}"
                if request.method == "POST":
                    self._tell_hopeless(reason)
            self._give_up(reason, message)
            return
        if wait_s and request.asked_back < ASKED_BACK and not self._closed:
            # "Come back later" is no failed try; `throttled` counts it.
            request.asked_back += 1
            log.debug("%s: to come back in %gs (%s)", request.label, wait_s, message)
            self._later(request, min(wait_s, _ASKED_BACK_S))
            return
        if request.tries >= len(self._delays_s) or self._closed:
            self._give_up(reason, f"Error {_DOING.get(request.method, 'sending')} {request.label}: {message}; given up")
            return
        delay_s = max(self._delays_s[request.tries], wait_s)
        request.tries += 1
        request.asked_back = 0
        if result.error is None or self._tells_lost():
            log.error("Error creating object %s: %s", request.label, message)
            log.error("Retrying object creation")
        self._later(request, delay_s)

    def _later(self, request: _Request, delay_s: float) -> None:
        """Send a request again after some time; once the cluster is back, if it is gone by then."""

        def again() -> None:
            self._retries.discard(handle)
            if self._gone_s is not None:
                self._held.append(request)
            else:
                self._resend(request)

        handle = asyncio.get_running_loop().call_later(delay_s, again)
        self._retries.add(handle)

    def _resend(self, request: _Request) -> None:
        self._record.retried += 1
        request.sent_s = self._clock.monotonic()
        self._client.submit(request.method, request.path, request.body, request, request.headers)

    def _tells_lost(self) -> bool:
        """Say whether to tell of a lost request: one connection takes hundreds with it, and one line is enough."""
        now_s = self._clock.monotonic()
        tells = now_s - self._lost_told_s >= _LOST_QUIET_S
        if tells:
            self._lost_told_s = now_s
        return tells

    def _tell_hopeless(self, reason: str) -> None:
        self._hopeless[reason] += 1
        if self._hopeless[reason] == 1:
            log.warning(
                "%s: trying again cannot help: each request so refused is given up at once, and counted", reason
            )

    # --- a cluster that is gone --------------------------------------------------------------------------------

    def _is_gone(self, request: _Request, error: OSError) -> bool:
        """Say whether an error means that nobody is there, rather than that one connection was lost."""
        if self._gone_s is not None or isinstance(error, ConnectionRefusedError):
            return True
        return not isinstance(error, _OF_ONE) and self._answered_s <= request.sent_s

    def _hold(self, request: _Request, error: OSError) -> None:
        if self._ended:
            self._drop(request)
            return
        loop = asyncio.get_running_loop()
        line = str(self._client.unreachable(error))
        if self._gone_s is None:
            self._gone_s = self._clock.monotonic()
            self._probe_s = _PROBE_FIRST_S
            log.error("the cluster is gone: %s", line)
            log.error("Requests wait until it answers again, for %gs at most", self._gone_after_s)
            self._end = loop.call_later(self._gone_after_s, self._end_gone, line)
        self._held.appendleft(request)
        if self._probe is None:
            self._probe = loop.call_later(self._probe_s, self._try_one)
            self._probe_s = min(self._probe_s * 2, _PROBE_MOST_S)

    def _try_one(self) -> None:
        self._probe = None
        if self._held:
            self._resend(self._held.popleft())

    def _is_back(self, now_s: float) -> None:
        if self._ended or self._gone_s is None:
            return
        log.info("The cluster answers again after %.1fs", now_s - self._gone_s)
        self._gone_s = None
        for timer in (self._probe, self._end):
            if timer is not None:
                timer.cancel()
        self._probe = self._end = None
        self._back.set()
        held, self._held = self._held, deque()
        for request in held:
            self._resend(request)

    def _end_gone(self, line: str) -> None:
        self._ended = f"the cluster is gone: {line}; no answer for {self._gone_after_s:g}s"
        if self._probe is not None:
            self._probe.cancel()
        waiting, self._held = self._held, deque()
        for request in waiting:
            self._drop(request)
        self._on_error(self._ended)
        self._back.set()
        self._wake()

    def _drop(self, request: _Request) -> None:
        """Count a request that found nobody; the one line about it was said."""
        log.debug("%s: given up", request.label)
        self._record.on_failed(self._clock.monotonic(), "ClusterGone")
        self._done()

    def _give_up(self, reason: str, line: str) -> None:
        self._record.on_failed(self._clock.monotonic(), reason)
        log.error("%s", line)
        self._on_error(line)
        self._done()


def _no_rights(status: int, message: str) -> bool:
    """Say whether a 403 is about the user's rights: other 403s (a quota, a namespace that goes) pass with time."""
    return status == 403 and ": User " in message and " cannot " in message and " resource " in message
