"""What flow control tells of itself: the apiserver_flowcontrol_* series, and the dumps under /debug.

Names, texts and columns are those of the real server.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from kubedyno.base.clock import Clock
from kubedyno.base.terminal import printable
from kubedyno.cluster.apiserver.exposition import Page
from kubedyno.cluster.apiserver.flowcontrol.gate import FlowControl, Ticket
from kubedyno.cluster.apiserver.flowcontrol.level import ESTIMATED_S, Level, Queue
from kubedyno.cluster.apiserver.flowcontrol.requestinfo import attributes_of
from kubedyno.cluster.apiserver.queries import parameters
from kubedyno.http.messages import Request

ROOT = "/debug/api_priority_and_fairness/"
_ZERO_TIME = "0001-01-01T00:00:00Z"
_LEVEL_SERIES: tuple[tuple[str, str, Callable[[Level], float]], ...] = (
    ("nominal_limit_seats", "Seats of its own.", lambda level: level.seats.nominal),
    ("lower_limit_seats", "Seats that are left to it.", lambda level: level.seats.least),
    ("upper_limit_seats", "Seats that it may come to.", lambda level: level.seats.most),
    ("current_limit_seats", "Seats that it may use now.", lambda level: level.limit),
    ("target_seats", "Seats that it would have.", lambda level: round(level.target)),
    ("current_r", "Virtual time, seat-seconds.", lambda level: level.virtual_time),
    ("demand_seats_average", "Seats that it could use, in the last period.", lambda level: level.demand.average),
    ("demand_seats_high_watermark", "The most of them.", lambda level: level.demand.most),
    ("demand_seats_smoothed", "The same, with a slow fall.", lambda level: level.demand.smoothed),
    ("demand_seats_stdev", "Their standard deviation.", lambda level: level.demand.spread),
)


def add_series(page: Page, control: FlowControl) -> None:
    """Add the series of a server's flow control to a page."""
    prefix = "apiserver_flowcontrol_"
    control.refresh_now()
    about = "[ALPHA] Maximal number of queued requests in this apiserver per request kind in last second."
    for kind, waiting in zip(("readOnly", "mutating"), control.in_queue(), strict=True):
        page.add("apiserver_current_inqueue_requests", "gauge", about, {"request_kind": kind}, waiting)
    for (schema, of_level), counts in sorted(control.counts.items()):
        labels = {"flow_schema": schema, "priority_level": of_level}
        for name, about, value in (
            ("current_executing_requests", "Requests that have seats.", counts.executing),
            ("current_executing_seats", "Seats that they have.", counts.executing_seats),
            ("current_inqueue_requests", "Requests in queues.", counts.waiting),
            ("current_inqueue_seats", "Seats that they need.", counts.waiting_seats),
        ):
            page.add(prefix + name, "gauge", about, labels, value)
        page.add(prefix + "dispatched_requests_total", "counter", "Got seats.", labels, counts.dispatched)
        for why, number in sorted(counts.rejected.items()):
            page.add(prefix + "rejected_requests_total", "counter", "Were refused.", {**labels, "reason": why}, number)
        for executed, waits in counts.waits.items():
            if any(waits.counts):
                page.spread(
                    prefix + "request_wait_duration_seconds", "Seconds in queues.",
                    {"execute": str(executed).lower(), **labels}, waits,
                )  # fmt: skip
        for watch, took in counts.executions.items():
            if any(took.counts):
                page.spread(
                    prefix + "request_execution_seconds", "Seconds with seats.",
                    {**labels, "type": "watch" if watch else "regular"}, took,
                )  # fmt: skip
        widths = counts.wider
        buckets = [widths.counts[0] + counts.single, *widths.counts[1:]]
        if any(buckets):
            page.histogram(
                prefix + "work_estimated_seats", "Seats that requests needed.", labels, widths.bounds, buckets,
                widths.total + counts.single,
            )  # fmt: skip
    for name, about, value_of in _LEVEL_SERIES:
        for level_name, level in sorted(control.levels.items()):
            page.add(prefix + name, "gauge", about, {"priority_level": level_name}, value_of(level))
    about = "Multiple of its target that each level gets."
    page.add(prefix + "seat_fair_frac", "gauge", about, {}, control.fair_multiple)


class Dumps:
    """The three tables under `ROOT`.

    Args:
        control: What they tell of.
        clock: Of the times in them.
    """

    def __init__(self, control: FlowControl, clock: Clock) -> None:
        self._control = control
        self._clock = clock

    def page(self, request: Request) -> bytes | None:
        """Return a dump; None when the path is none."""
        self._control.refresh_now()
        name = request.path.removeprefix(ROOT)
        if name == "dump_priority_levels":
            return _table(self._levels())
        if name == "dump_queues":
            return _table(self._queues())
        if name == "dump_requests":
            return _table(self._requests(details=bool(parameters(request.query).get("includeRequestDetails"))))
        return None

    def _all(self) -> list[Level]:
        levels = [*self._control.levels.values(), *self._control.ending]
        return sorted(levels, key=lambda level: level.config.name)

    def _levels(self) -> Iterator[list[str]]:
        yield [
            "PriorityLevelName", "ActiveQueues", "IsIdle", "IsQuiescing", "WaitingRequests", "ExecutingRequests",
            "DispatchedRequests", "RejectedRequests", "TimedoutRequests", "CancelledRequests",
        ]  # fmt: skip
        for level in self._all():
            numbers = (
                level.waiting, level.executing, level.dispatched, level.rejected, level.timed_out, level.cancelled,
            )  # fmt: skip
            yield [
                level.config.name,
                str(level.active_queues),
                str(level.idle).lower(),
                str(level.removed).lower(),
                *map(str, numbers),
            ]

    def _queues(self) -> Iterator[list[str]]:
        yield [
            "PriorityLevelName", "Index", "PendingRequests", "ExecutingRequests", "SeatsInUse", "NextDispatchR",
            "InitialSeatsSum", "MaxSeatsSum", "TotalWorkSum",
        ]  # fmt: skip
        for level in self._all():
            for queue in level.queues:
                yield _queue_row(level, queue)

    def _requests(self, *, details: bool) -> Iterator[list[str]]:
        more = ["UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource"]
        yield [
            "PriorityLevelName", "FlowSchemaName", "QueueIndex", "RequestIndexInQueue", "FlowDistingsher", "ArriveTime",
            "InitialSeats", "FinalSeats", "AdditionalLatency", "StartTime", *(more if details else ()),
        ]  # fmt: skip
        for ticket in self._control.under_way:
            yield self._request_row(ticket, -1, details=details)
        for level in self._all():
            for queue in level.queues:
                for index, waiting in enumerate(queue.requests):
                    if isinstance(waiting, Ticket):
                        yield self._request_row(waiting, index, details=details)

    def _request_row(self, ticket: Ticket, index: int, *, details: bool) -> list[str]:
        flow = ticket.flow
        row = [
            flow.level.config.name,
            flow.schema.name,
            str(ticket.queue.index if ticket.queue is not None else -1),
            str(index),
            flow.distinguisher,
            self._time(ticket.arrived_s),
            str(ticket.width),
            "0",
            "0s",
            self._time(ticket.started_s) if ticket.started_s >= 0 else _ZERO_TIME,
        ]
        if details:
            path, asked = ticket.request.path, attributes_of(ticket.request)
            parts = path.split("/")
            version = parts[2] if path.startswith("/api/") else "/".join(parts[2:4]) if asked.resource else ""
            row += [
                ticket.user.name, asked.verb, path, asked.namespace, asked.name, version, asked.resource,
                asked.subresource,
            ]  # fmt: skip
        return row

    def _time(self, monotonic_s: float) -> str:
        at_s = self._clock.now() - (self._clock.monotonic() - monotonic_s)
        return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _queue_row(level: Level, queue: Queue) -> list[str]:
    return [
        level.config.name,
        str(queue.index),
        str(len(queue.requests)),
        str(queue.executing),
        str(queue.seats),
        f"{queue.next_r:.8f}ss",
        str(queue.waiting_seats),
        str(queue.waiting_seats),
        f"{queue.waiting_seats * ESTIMATED_S:.8f}ss",
    ]


def _table(rows: Iterator[list[str]]) -> bytes:
    """Return rows as comma-separated values whose columns stand below each other."""
    # User names and paths are others' words: no line of theirs is to look like one of ours.
    cells = [[f"{printable(cell)}," for cell in row[:-1]] + [printable(row[-1])] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]) - 1)]
    lines = [
        " ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in cells
    ]
    return "".join(f"{line.rstrip()}\n" for line in lines).encode()
