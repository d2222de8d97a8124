"""The way through flow control: each request gets seats, a turn on the loop, and a ticket that gives the seats back.

`FlowControl.app` stands in front of the application. What it lets through sees the ticket as its responder.
"""

import asyncio
from collections.abc import Callable, Hashable, Iterable

import orjson

from kubedyno.base import aio
from kubedyno.base.log import logger
from kubedyno.cluster.apiserver.authentication import User
from kubedyno.cluster.apiserver.authorization import Attributes
from kubedyno.cluster.apiserver.flowcontrol.borrowing import PERIOD_S, Need, allocate
from kubedyno.cluster.apiserver.flowcontrol.configuration import LevelConfig, Schema, seats_of
from kubedyno.cluster.apiserver.flowcontrol.counts import Counts
from kubedyno.cluster.apiserver.flowcontrol.level import CANCELLED, TIME_OUT, Flow, Level, Queue
from kubedyno.cluster.apiserver.flowcontrol.requestinfo import is_long_running, sort_of
from kubedyno.cluster.apiserver.flowcontrol.retryafter import RetryAfter
from kubedyno.cluster.apiserver.flowcontrol.turns import Turns
from kubedyno.cluster.apiserver.queries import is_true, parameters
from kubedyno.cluster.storage.store import ObjectRecord, Store
from kubedyno.http.messages import App, Headers, Request, Responder, Stream, Tunnel
from kubedyno.http.server import Server
from kubedyno.kube.resources import built_in
from kubedyno.kube.status import InternalError, StatusError
from kubedyno.kube.strconv import whole

GROUP = "flowcontrol.apiserver.k8s.io"
# A quarter of a request's minute.
QUEUE_WAIT_S = 15.0
_OBJECTS_A_SEAT = 100
# Requests that are begun and wait in one turn of the loop: each takes 20 µs to read, in which nobody else is heard.
_SHARED_BURST, _BURST = 2, 64
# Flows that are remembered; forgotten all at once.
_FLOWS = 16_384
_TEXT = "text/plain; charset=utf-8"
_REFUSAL = b"Too many requests, please try again later.\n"


FLOWSCHEMAS, PRIORITYLEVELS = built_in(GROUP, "flowschemas"), built_in(GROUP, "prioritylevelconfigurations")


class Ticket:
    """A request under way, and the way back that its application sees.

    Attributes:
        request: What came.
        asked: What it is about; the name of one object is left out, mostly (`sort_of`).
        user: Who asks.
        width: Seats that it needs.
        arrived_s: When it came, monotonic.
        started_s: When it got its seats; negative before.
        woken_s: When the part of its answer was begun that is being made; negative when none is.
        passing: It is being done for the first time, and holds its seats only if that is not all.
        done: It has none any more.
    """

    __slots__ = (
        "_gate", "_inner", "_stream", "arrived_s", "asked", "done", "flow", "on_close", "passing", "queue", "request",
        "started_s", "user", "width", "woken_s",
    )  # fmt: skip

    def __init__(
        self,
        gate: "FlowControl",
        request: Request,
        responder: Responder,
        user: User,
        asked: Attributes,
        flow: Flow,
        width: int,
        now_s: float,
    ) -> None:
        self._gate = gate
        self._inner = responder
        self._stream: Stream | None = None
        self.on_close: Callable[[], None] | None = None
        self.request = request
        self.user = user
        self.asked = asked
        self.flow = flow
        self.width = width
        self.arrived_s = now_s
        self.started_s = self.woken_s = -1.0
        self.queue: Queue | None = None
        self.passing = False
        self.done = False

    # --- the responder -----------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        return self._inner.closed

    def send(self, status: int, content_type: bytes | str, body: bytes, headers: Headers = ()) -> None:
        self._inner.send(status, content_type, body, headers + self.flow.headers)
        self._gate.finish(self)

    def start(self, status: int, content_type: bytes | str, headers: Headers = ()) -> Stream:
        stream = self._inner.start(status, content_type, headers + self.flow.headers)
        if self.asked.verb == "watch" or stream.closed:
            # It is set up, and stays for as long as its client likes.
            stream.on_close = self.on_close
            self._gate.finish(self)
            return stream
        self._stream = stream
        stream.on_close = self.lost
        return self

    def upgrade(self, headers: Headers) -> Tunnel | None:
        tunnel = self._inner.upgrade(headers)
        if tunnel is not None:
            self._gate.finish(self)
        return tunnel

    def release(self) -> None:
        """Give the seats back before there is an answer: what it waits for may be others' work."""
        self._gate.finish(self)

    # --- the stream --------------------------------------------------------------------------------------------

    @property
    def buffered(self) -> int:
        return self._stream.buffered if self._stream is not None else 0

    def write(self, data: bytes) -> None:
        if self._stream is not None:
            self._stream.write(data)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._gate.finish(self)

    def abort(self) -> None:
        if self._stream is not None:
            self._stream.abort()
            self._gate.finish(self)

    async def drain(self, limit: int) -> None:
        if self._stream is not None:
            spent_s = self._gate.spent_s(self)
            await self._stream.drain(limit)
            await self._gate.turn(self, spent_s)

    async def turn(self) -> None:
        """Let the loop turn, and come again when it is this request's turn to go on with its answer."""
        spent_s = self._gate.spent_s(self)
        await aio.sleep(0)
        await self._gate.turn(self, spent_s)

    # --- the gate's side ---------------------------------------------------------------------------------------

    def follow(self) -> None:
        """Hear of it when the client goes before it has its answer."""
        (self._stream or self._inner).on_close = self.lost

    def lost(self) -> None:
        """The client is gone."""
        self._gate.finish(self)
        if self.on_close is not None:
            self.on_close()


class FlowControl:
    """Priority levels in front of an application.

    Args:
        app: What comes behind; looked up for each request, so that it may change.
        user_of: Whose a request is; raises StatusError.
        store: Where FlowSchemas and PriorityLevelConfigurations are.
        seats: Requests that may be under way at once, all levels together.
        now_s: Monotonic seconds.

    Attributes:
        on_refused: Told of each request that is not served, and of its status.
    """

    def __init__(
        self,
        app: Callable[[], App],
        user_of: Callable[[Request], User],
        store: Store,
        *,
        seats: int,
        now_s: Callable[[], float],
    ) -> None:
        self._app = app
        self._user_of = user_of
        self._store = store
        self._seats = seats
        self._now_s = now_s
        self._turns: Turns[Ticket | asyncio.Future[None]] = Turns(self._take_turn, now_s)
        self._schemas: list[Schema] = []
        self.levels: dict[str, Level] = {}
        # Levels without an object, until their last request is done.
        self.ending: list[Level] = []
        self.counts: dict[tuple[str, str], Counts] = {}
        self.fair_multiple = 0.0
        self._retries: dict[str, RetryAfter] = {}
        self._flows: dict[tuple[str, str], Flow] = {}
        self._found: dict[tuple[Hashable, ...], Flow | None] = {}
        self._stale = True
        self._adjust_s = 0.0
        # Requests in queues, in the order in which they came: one alarm is for all of them, set for the first.
        self._patient: dict[Ticket, None] = {}
        self._alarm: asyncio.TimerHandle | None = None
        # Requests that have seats, for whoever wants to see them.
        self.under_way: dict[Ticket, None] = {}
        self.on_refused: Callable[[Request, int], None] = lambda _, __: None
        for resource in (FLOWSCHEMAS, PRIORITYLEVELS):
            store.table(resource).subscribe(self._changed)

    def join(self, server: Server) -> None:
        """Take turns with what a server reads and sends."""
        self._turns.after = server.flush
        server.most_put_off = lambda: _SHARED_BURST if self._turns.shared() else _BURST

    def in_queue(self) -> tuple[int, int]:
        """Return how many requests that read, and that write, are in queues."""
        reading = sum(ticket.request.method in {"GET", "HEAD"} for ticket in self._patient)
        return reading, len(self._patient) - reading

    # --- requests ----------------------------------------------------------------------------------------------

    def app(self, request: Request, responder: Responder) -> None:
        """Answer a request, now or later, or refuse it."""
        try:
            user = self._user_of(request)
        except StatusError:
            # Who may not come in at all is told so.
            self._app()(request, responder)
            return
        asked = sort_of(request)
        now_s = self._now_s()
        if self._stale or now_s >= self._adjust_s:
            self.refresh(now_s)
        flow = self._flow_of(user, asked)
        if flow is None or (asked.subresource and is_long_running(asked)):
            self._app()(request, responder)
            return
        level = flow.level
        width = self._width(request, asked, level) if asked.verb in {"list", "watch"} else 1
        ticket = Ticket(self, request, responder, user, asked, flow, width, now_s)
        self._turns.note(user.name, now_s)
        # Nobody holds up others who are exempt as well: there each connection is a line of its own.
        line = request.peer.id if level.config.exempt else flow
        if level.has_room(flow, width) and self._turns.free(line, now_s):
            self._pass(ticket, now_s)
            return
        outcome = level.arrive(ticket, now_s)
        if not outcome:
            self._dispatch(ticket, now_s)
        elif outcome == "wait":
            flow.counts.waiting += 1
            flow.counts.waiting_seats += ticket.width
            ticket.follow()
            self._patient[ticket] = None
            if self._alarm is None:
                self._set_alarm(QUEUE_WAIT_S)
        else:
            flow.counts.reject(outcome)
            if level.queues:
                flow.counts.waits[False].add(0.0)
            ticket.done = True
            self._refuse(ticket)

    def _pass(self, ticket: Ticket, now_s: float) -> None:
        """Do a request at once: nobody waits, and nearly all are answered when this returns."""
        ticket.started_s = now_s
        ticket.passing = True
        self._count_dispatch(ticket, now_s)
        self._run(ticket)
        if not ticket.done:
            ticket.passing = False
            ticket.flow.level.hold(ticket, self._now_s())
            ticket.flow.crowded = self._is_crowded(ticket.flow)

    def finish(self, ticket: Ticket) -> None:
        """Take note that a request is answered, or that nobody waits for its answer any more."""
        if ticket.done:
            return
        ticket.done = True
        level = ticket.flow.level
        counts = ticket.flow.counts
        now_s = self._now_s()
        if ticket.started_s < 0:
            self._stop_waiting(ticket, CANCELLED, now_s)
            return
        if ticket.passing:
            self._turns.ended_s = now_s
            level.demand.passing(ticket.width, now_s - ticket.started_s)
        else:
            level.finish(ticket, now_s)
            self.under_way.pop(ticket, None)
            if ticket.flow.crowded:
                ticket.flow.crowded = self._is_crowded(ticket.flow)
        counts.executing -= 1
        counts.executing_seats -= ticket.width
        counts.executions[ticket.asked.verb == "watch"].add(now_s - ticket.started_s)
        if level.waiting:
            self._admit(level, now_s)

    def _admit(self, level: Level, now_s: float) -> None:
        """Let those who wait take the seats that are free."""
        while (ticket := level.next(now_s)) is not None:
            assert isinstance(ticket, Ticket)
            ticket.flow.counts.waiting -= 1
            ticket.flow.counts.waiting_seats -= ticket.width
            self._patient.pop(ticket, None)
            self._dispatch(ticket, now_s)

    def _count_dispatch(self, ticket: Ticket, now_s: float) -> None:
        counts, level = ticket.flow.counts, ticket.flow.level
        width = ticket.width
        counts.dispatched += 1
        level.dispatched += 1
        counts.executing += 1
        counts.executing_seats += width
        if width == 1:
            counts.single += 1
        else:
            counts.wider.add(width)
        if level.queues:
            counts.waits[True].add(now_s - ticket.arrived_s)

    def _dispatch(self, ticket: Ticket, now_s: float) -> None:
        """Let a request that has its seats have its turn."""
        self._count_dispatch(ticket, now_s)
        self.under_way[ticket] = None
        ticket.follow()
        flow = ticket.flow
        if flow.level.config.exempt:
            self._turns.add(ticket.request.peer.id, ticket)
        else:
            self._turns.add(flow, ticket)
            flow.crowded = self._is_crowded(flow)

    def _is_crowded(self, flow: Flow) -> bool:
        """Say whether more seats are of no use to a flow now, or are others'."""
        level, turns = flow.level, self._turns
        return turns.crowded(flow) or (flow.seats > level.limit - level.taken and turns.shared())

    def _take_turn(self, item: "Ticket | asyncio.Future[None]") -> bool:
        """Do a request whose turn it is, another one of its flow may then have seats; or let one go on."""
        if not isinstance(item, Ticket):
            if not item.done():
                item.set_result(None)
            return False
        flow = item.flow
        if flow.crowded:
            flow.crowded = self._is_crowded(flow)
        self._run(item)
        if flow.level.waiting:
            self._admit(flow.level, self._now_s())
        return True

    def spent_s(self, ticket: Ticket) -> float:
        """Return what the part of an answer has taken that is made now, once."""
        woken_s, ticket.woken_s = ticket.woken_s, -1.0
        return self._now_s() - woken_s if woken_s >= 0 else 0.0

    async def turn(self, ticket: Ticket, spent_s: float) -> None:
        """Wait until a request may go on with its answer: there is nothing to wait for while one user asks alone.

        A flow's answers have a line of their own, so that its other requests are not behind them.

        Args:
            spent_s: What its last part took.
        """
        if self._turns.shared():
            flow = ticket.flow
            woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            line = ticket.request.peer.id if flow.level.config.exempt else flow
            self._turns.add((line, "answers"), woken, spent_s)
            await woken
        ticket.woken_s = self._now_s()

    def _run(self, ticket: Ticket) -> None:
        if ticket.done:
            return
        request = ticket.request
        try:
            self._app()(request, ticket)
        except Exception as error:  # noqa: BLE001 - logged with its traceback
            # The application's fault must not end the other requests.
            logger(__name__).exception("%s %s failed", request.method, request.path)
            if not ticket.closed and not ticket.done:
                failure = InternalError(f"Internal error occurred: {error}")
                ticket.send(failure.code, "application/json", failure.body())
            return
        if not ticket.done:
            self.under_way[ticket] = None
            ticket.follow()

    def _set_alarm(self, delay_s: float) -> None:
        self._alarm = asyncio.get_running_loop().call_later(delay_s, self.time_out)

    def time_out(self) -> None:
        """Refuse who has waited too long; come again when the next one has."""
        self._alarm = None
        now_s = self._now_s()
        while self._patient:
            ticket = next(iter(self._patient))
            left_s = ticket.arrived_s + QUEUE_WAIT_S - now_s
            if left_s > 0:
                self._set_alarm(left_s)
                return
            ticket.done = True
            self._stop_waiting(ticket, TIME_OUT, now_s)
            self._refuse(ticket)

    def _stop_waiting(self, ticket: Ticket, why: str, now_s: float) -> None:
        counts = ticket.flow.counts
        counts.waiting -= 1
        counts.waiting_seats -= ticket.width
        counts.reject(why)
        counts.waits[False].add(now_s - ticket.arrived_s)
        self._patient.pop(ticket, None)
        ticket.flow.level.give_up(ticket, why, now_s)

    def _refuse(self, ticket: Ticket) -> None:
        self.on_refused(ticket.request, 429)
        seconds = self._retries.setdefault(ticket.flow.level.config.name, RetryAfter()).refuse(self._now_s())
        headers: Headers = (("Retry-After", str(seconds)), ("X-Content-Type-Options", "nosniff"))
        ticket.send(429, _TEXT, _REFUSAL, headers)

    def _width(self, request: Request, asked: Attributes, level: Level) -> int:
        """Return how many seats a list needs, or a watch that begins with one: by how much has to be looked at."""
        given = parameters(request.query)
        if "metadata.name=" in given.get("fieldSelector", ""):
            return 1
        begins = given.get("resourceVersion", "") in {"", "0"} or is_true(given.get("sendInitialEvents"))
        if asked.verb == "watch" and not begins:
            return 1
        name = f"{asked.resource}.{asked.group}" if asked.group else asked.resource
        table = self._store.db.tables.get(name)
        objects = table.count if table is not None else 0
        limit = whole(given.get("limit", ""), 0)
        if limit and not {"labelSelector", "fieldSelector"} & given.keys():
            objects = min(objects, limit)
        return max(min(-(-objects // _OBJECTS_A_SEAT), level.width_limit()), 1)

    # --- flows -------------------------------------------------------------------------------------------------

    def _flow_of(self, user: User, asked: Attributes) -> Flow | None:
        """Return a request's flow; None when no schema is for it, or none is left."""
        key = (
            user.name, user.groups, asked.verb, asked.group, asked.resource, asked.subresource, asked.namespace, asked.path,
        )  # fmt: skip
        try:
            return self._found[key]
        except KeyError:
            pass
        schema = next((schema for schema in self._schemas if schema.match(user, asked)), None)
        flow = None
        if schema is not None:
            distinguisher = schema.distinguished(user, asked)
            flow = self._flows.get((schema.name, distinguisher))
            if flow is None:
                counts = self.counts.setdefault((schema.name, schema.level), Counts())
                flow = self._flows[schema.name, distinguisher] = Flow(
                    schema, self.levels[schema.level], distinguisher, counts
                )
        if len(self._found) >= _FLOWS:
            self._found.clear()
            self._flows.clear()
        self._found[key] = flow
        return flow

    # --- configuration -----------------------------------------------------------------------------------------

    def _changed(self) -> None:
        self._stale = True

    def refresh(self, now_s: float) -> None:
        """Bring levels up to date: with their objects, and every ten seconds with what they have needed."""
        if self._stale:
            self._stale = False
            self._reconfigure(now_s)
        elif now_s < self._adjust_s:
            return
        for level in self.levels.values():
            level.demand.end_period(now_s)
        self._adjust_s = now_s + PERIOD_S
        self._divide(now_s)
        self.ending = [level for level in self.ending if not level.idle]

    def refresh_now(self) -> None:
        """Bring levels up to date for somebody who looks at them."""
        self.refresh(self._now_s())

    def _reconfigure(self, now_s: float) -> None:
        configs = {config.name: config for config in map(_level_of, self._store.table(PRIORITYLEVELS).all())}
        waiting: list[Ticket] = []
        for name, level in list(self.levels.items()):
            if name not in configs:
                level.removed = True
                self.ending.append(self.levels.pop(name))
        for name, config in configs.items():
            known = self.levels.get(name)
            if known is None:
                self.levels[name] = Level(config, now_s)
            elif known.config != config:
                waiting += [ticket for ticket in known.reconfigure(config) if isinstance(ticket, Ticket)]
        seats = seats_of(configs.values(), self._seats)
        for name, level in self.levels.items():
            level.seats = seats[name]
        schemas = map(_schema_of, self._store.table(FLOWSCHEMAS).all())
        self._schemas = sorted(
            (schema for schema in schemas if schema.level in self.levels),
            key=lambda schema: (schema.precedence, schema.name),
        )
        self._flows.clear()
        self._found.clear()
        self._divide(now_s)
        self._queue_anew(waiting, now_s)

    def _queue_anew(self, tickets: Iterable[Ticket], now_s: float) -> None:
        """Let those wait in other queues whose queues are gone."""
        for ticket in tickets:
            counts, level = ticket.flow.counts, ticket.flow.level
            counts.waiting -= 1
            counts.waiting_seats -= ticket.width
            ticket.flow = Flow(ticket.flow.schema, level, ticket.flow.distinguisher, counts)
            outcome = level.arrive(ticket, now_s)
            if outcome == "wait":
                counts.waiting += 1
                counts.waiting_seats += ticket.width
                continue
            self._patient.pop(ticket, None)
            if not outcome:
                self._dispatch(ticket, now_s)
            else:
                counts.reject(outcome)
                ticket.done = True
                self._refuse(ticket)

    def _divide(self, now_s: float) -> None:
        """Say how many seats each level may use until the next time."""
        needs, limited = [], []
        for level in self.levels.values():
            demand, seats = level.demand, level.seats
            if level.config.exempt:
                level.limit = max(seats.least, demand.most)
                level.target = max(level.limit, demand.smoothed)
                continue
            least = max(seats.least, min(seats.nominal, demand.most))
            level.target = max(least, demand.smoothed)
            needs.append(Need(least, level.target, seats.most))
            limited.append(level)
        found, self.fair_multiple = allocate(needs, sum(level.seats.nominal for level in self.levels.values()))
        for level, limit in zip(limited, found, strict=True):
            level.limit = limit
            if level.waiting:
                self._admit(level, now_s)

    def stop(self) -> None:
        """Let nothing run any more."""
        self._turns.stop()
        if self._alarm is not None:
            self._alarm.cancel()


def _level_of(record: ObjectRecord) -> LevelConfig:
    return LevelConfig.of(record.obj.uid, _object(record))


def _schema_of(record: ObjectRecord) -> Schema:
    return Schema.of(record.obj.uid, _object(record))


def _object(record: ObjectRecord) -> dict[str, object]:
    obj: dict[str, object] = orjson.loads(b"{" + record.obj.body + b"}")
    obj["metadata"] = {"name": record.obj.name}
    return obj
