"""A priority level at work: seats, and queues that are fair to flows when the seats are taken.

In: requests with the seats they need, and the word when one is done. Out: which may go on. The idea of fair queuing
(Kubernetes 1.36, .../flowcontrol/fairqueuing): a virtual time that runs as fast as each queue in use gets seats, and for
each queue the virtual time at which its next request would be sent if all queues were served bit by bit; the queue with
the earliest end of that request goes first.
"""

from typing import Protocol

from kubedyno.cluster.apiserver.flowcontrol.borrowing import Demand
from kubedyno.cluster.apiserver.flowcontrol.configuration import LevelConfig, Schema, Seats, hand_of
from kubedyno.cluster.apiserver.flowcontrol.counts import Counts

# What a request is thought to take until it is known.
ESTIMATED_S = 0.003
_MOST_WIDTH_SHARE = 0.15
_MOST_WIDTH = 100
QUEUE_FULL, CONCURRENCY, TIME_OUT, CANCELLED = "queue-full", "concurrency-limit", "time-out", "cancelled"


class Waiting(Protocol):
    """A request, as a level sees it; a level keeps `queue` and `started_s`."""

    flow: "Flow"
    width: int
    arrived_s: float
    started_s: float
    queue: "Queue | None"


class Queue:
    """Requests that wait, of one or a few flows.

    Attributes:
        seats: That requests of this queue have taken.
        next_r: Virtual time (seat-seconds) at which the next request is sent.
    """

    __slots__ = ("executing", "index", "next_r", "requests", "seats", "waiting_seats")

    def __init__(self, index: int) -> None:
        self.index = index
        # A list: nearly all of some thousand queues are empty for ever, and an empty deque takes 0.7 KB.
        self.requests: list[Waiting] = []
        self.waiting_seats = 0
        self.executing = 0
        self.seats = 0
        self.next_r = 0.0


class Flow:
    """Requests of one schema that belong together.

    Attributes:
        headers: That each answer carries.
        hand: Queues that it may use, by index.
        seats: That its requests have taken.
        crowded: Enough of its requests have seats and are not begun yet, or it has more seats than it leaves to others:
            more of them wait in queues, whoever has room.
    """

    __slots__ = ("counts", "crowded", "distinguisher", "hand", "headers", "level", "schema", "seats")

    def __init__(self, schema: Schema, level: "Level", distinguisher: str, counts: "Counts") -> None:
        self.schema = schema
        self.level = level
        self.distinguisher = distinguisher
        self.counts = counts
        self.seats = 0
        self.crowded = False
        config = level.config
        self.headers = (
            ("X-Kubernetes-Pf-Flowschema-Uid", schema.uid),
            ("X-Kubernetes-Pf-Prioritylevel-Uid", config.uid),
        )
        self.hand = hand_of(schema.name, distinguisher, config.queues, config.hand_size) if config.queues else ()


class Level:
    """A priority level.

    Args:
        config: What its object says.
        now_s: Of now.

    Attributes:
        seats: What it has of its own, and may have.
        limit: What it may use now.
        taken: Seats in use.
        removed: Its object is gone: it ends with its last request.
    """

    __slots__ = (
        "_r", "_r_s", "_used", "cancelled", "config", "demand", "dispatched", "executing", "limit", "queues", "rejected",
        "removed", "seats", "taken", "target", "timed_out", "waiting", "waiting_seats",
    )  # fmt: skip

    def __init__(self, config: LevelConfig, now_s: float) -> None:
        self.config = config
        self.seats = Seats(0, 0, 0)
        self.limit = 0
        self.target = 0.0
        self.taken = 0
        self.executing = 0
        self.waiting = 0
        self.waiting_seats = 0
        self.removed = False
        self.dispatched = self.rejected = self.timed_out = self.cancelled = 0
        self.demand = Demand(now_s)
        self.queues = [Queue(i) for i in range(config.queues)]
        # Queues with anything in them: few of many.
        self._used: dict[int, Queue] = {}
        self._r = 0.0
        self._r_s = now_s

    @property
    def idle(self) -> bool:
        """True when nothing is in it."""
        return not self.executing and not self.waiting

    @property
    def virtual_time(self) -> float:
        """Seat-seconds that each queue in use has been given, as of the last change."""
        return self._r

    @property
    def active_queues(self) -> int:
        """Queues in which requests wait."""
        return sum(bool(queue.requests) for queue in self._used.values())

    def width_limit(self) -> int:
        """Return how many seats one request may need at most."""
        return max(min(int(self.seats.nominal * _MOST_WIDTH_SHARE), _MOST_WIDTH), 1)

    def has_room(self, flow: Flow, width: int) -> bool:
        """Say whether a request of so many seats may begin at once."""
        if self.config.exempt:
            return True
        if self.waiting and (flow.crowded or self._first() is not None):
            # Others would have had the seats that are free.
            return False
        # What is wider than the whole level goes when it is empty.
        return not (self.queues and flow.crowded) and (self.taken + width <= self.limit or not self.taken)

    def hold(self, request: Waiting, now_s: float) -> None:
        """Give seats to a request that has begun already, as there was room, and stays."""
        self._advance(now_s)
        if self.queues:
            request.queue = min([self.queues[i] for i in request.flow.hand], key=_load)
        self.demand.change(request.width, now_s)
        self._start(request, request.queue)

    def arrive(self, request: Waiting, now_s: float) -> str:
        """Take a request in.

        Returns:
            "" when it has its seats, "wait" when `next` will give it out, else why it is refused.
        """
        if self.has_room(request.flow, request.width):
            request.started_s = now_s
            self.hold(request, now_s)
            return ""
        self._advance(now_s)
        queue = min([self.queues[i] for i in request.flow.hand], key=_load) if self.queues else None
        request.queue = queue
        if queue is None:
            self.rejected += 1
            return CONCURRENCY
        if len(queue.requests) >= self.config.queue_length:
            self.rejected += 1
            return QUEUE_FULL
        self._use(queue)
        queue.requests.append(request)
        queue.waiting_seats += request.width
        self.waiting += 1
        self.waiting_seats += request.width
        self.demand.change(request.width, now_s)
        return "wait"

    def next(self, now_s: float) -> Waiting | None:
        """Give seats to the request whose turn it is; None when none may have any, or there is no room for it."""
        queue = self._first()
        if queue is None:
            return None
        self._advance(now_s)
        request = queue.requests[0]
        if self.taken and self.taken + request.width > self.limit:
            return None
        del queue.requests[0]
        self._stop_waiting(request, queue)
        request.started_s = now_s
        self._start(request, queue)
        return request

    def give_up(self, request: Waiting, why: str, now_s: float) -> None:
        """Take a request out of its queue."""
        queue = request.queue
        assert queue is not None
        self._advance(now_s)
        queue.requests.remove(request)
        self._stop_waiting(request, queue)
        self.demand.change(-request.width, now_s)
        if why == TIME_OUT:
            self.timed_out += 1
        else:
            self.cancelled += 1
        self._leave(queue)

    def finish(self, request: Waiting, now_s: float) -> None:
        """Take a request's seats back."""
        self._advance(now_s)
        width = request.width
        self.taken -= width
        request.flow.seats -= width
        self.executing -= 1
        self.demand.change(-width, now_s)
        queue = request.queue
        if queue is not None:
            queue.executing -= 1
            queue.seats -= width
            # What it took, instead of what it was thought to take.
            queue.next_r -= width * (ESTIMATED_S - (now_s - request.started_s))
            self._leave(queue)

    def reconfigure(self, config: LevelConfig) -> list[Waiting]:
        """Take on what its object says now.

        Returns:
            Requests that waited in queues which are no more: they have to arrive anew.
        """
        same = (self.config.queues, self.config.hand_size) == (config.queues, config.hand_size)
        self.config = config
        self.removed = False
        if same:
            return []
        waiting = [request for queue in self.queues for request in queue.requests]
        for request in waiting:
            self.demand.change(-request.width, self._r_s)
        self.queues = [Queue(i) for i in range(config.queues)]
        self._used = {}
        self.waiting = self.waiting_seats = 0
        return waiting

    def waiting_requests(self) -> list[Waiting]:
        """Return what waits, queue by queue."""
        return [request for queue in self.queues for request in queue.requests]

    def _first(self) -> Queue | None:
        """Return the queue whose first request is the next."""
        queues = [queue for queue in self._used.values() if queue.requests and not queue.requests[0].flow.crowded]
        return min(queues, key=_end_r) if queues else None

    def _start(self, request: Waiting, queue: Queue | None) -> None:
        width = request.width
        self.taken += width
        request.flow.seats += width
        self.executing += 1
        if queue is not None:
            self._use(queue)
            queue.executing += 1
            queue.seats += width
            queue.next_r += width * ESTIMATED_S

    def _stop_waiting(self, request: Waiting, queue: Queue) -> None:
        queue.waiting_seats -= request.width
        self.waiting -= 1
        self.waiting_seats -= request.width

    def _use(self, queue: Queue) -> None:
        if queue.index not in self._used:
            # Nobody saves up for later; and whoever comes is not behind those who wait already, whose requests took longer
            # than was thought.
            first = min([other.next_r for other in self._used.values() if other.requests], default=self._r)
            queue.next_r = max(queue.next_r, min(self._r, first))
            self._used[queue.index] = queue

    def _leave(self, queue: Queue) -> None:
        if not queue.executing and not queue.requests and self._used.get(queue.index) is queue:
            del self._used[queue.index]

    def _advance(self, now_s: float) -> None:
        """Let the virtual time run: it is as fast as each queue in use gets seats."""
        used = self._used
        if used:
            self._r += (now_s - self._r_s) * min(self.taken + self.waiting_seats, self.limit) / len(used)
        self._r_s = now_s


def _load(queue: Queue) -> int:
    return queue.seats + queue.waiting_seats


def _end_r(queue: Queue) -> float:
    return queue.next_r + queue.requests[0].width * ESTIMATED_S
