from dataclasses import dataclass

import pytest

from kubedyno.cluster.apiserver.flowcontrol.configuration import LevelConfig, Schema
from kubedyno.cluster.apiserver.flowcontrol.counts import Counts
from kubedyno.cluster.apiserver.flowcontrol.level import CONCURRENCY, QUEUE_FULL, Flow, Level, Queue

SCHEMA = Schema("s", "s-uid", 1, "l", "ByUser", ())


@dataclass(eq=False)
class Asked:
    flow: Flow
    width: int = 1
    arrived_s: float = 0.0
    started_s: float = 0.0
    queue: Queue | None = None


def level_of(limit: int, *, queues: int = 64, hand: int = 4, length: int = 5) -> Level:
    level = Level(LevelConfig("l", "l-uid", False, 1, 0, None, queues, hand, length), 0.0)
    level.limit = limit
    return level


def flow_of(level: Level, user: str) -> Flow:
    return Flow(SCHEMA, level, user, Counts())


def served(level: Level, seconds: float, count: int) -> list[str]:
    """Return whose requests go on, one finished after each so many seconds."""
    order, now_s = [], 0.0
    running = level.next(now_s)
    while running is not None and len(order) < count:
        order.append(running.flow.distinguisher)
        now_s += seconds
        level.finish(running, now_s)
        running = level.next(now_s)
    return order


def test_seats_are_given_while_they_last_and_then_queues_fill() -> None:
    level = level_of(2, queues=4, hand=2, length=3)
    flow = flow_of(level, "u")
    outcomes = [level.arrive(Asked(flow), 0.0) for _ in range(10)]
    assert outcomes == ["", "", *["wait"] * 6, QUEUE_FULL, QUEUE_FULL]
    assert (level.executing, level.waiting, level.rejected) == (2, 6, 2)


def test_a_level_without_queues_refuses() -> None:
    level = level_of(1, queues=0, hand=0)
    flow = flow_of(level, "u")
    assert [level.arrive(Asked(flow), 0.0) for _ in range(2)] == ["", CONCURRENCY]


def test_an_exempt_level_refuses_nobody() -> None:
    level = Level(LevelConfig("exempt", "", exempt=True, shares=0), 0.0)
    flow = flow_of(level, "u")
    assert {level.arrive(Asked(flow, width=5), 0.0) for _ in range(100)} == {""}
    assert level.demand.seats == 500


def test_a_calm_flow_is_served_beside_a_flood() -> None:
    level = level_of(1, length=100)
    flood, calm = flow_of(level, "flood"), flow_of(level, "calm")
    for _ in range(200):
        level.arrive(Asked(flood), 0.0)
    first = next(r for r in [*level.waiting_requests()])
    assert first.flow is flood
    for _ in range(3):
        level.arrive(Asked(calm), 0.0)
    level.taken = level.executing = 0
    order = served(level, 0.001, 40)
    # Six queues' turns at most between two of its requests, not two hundred.
    assert [i for i, who in enumerate(order) if who == "calm"][-1] < 20


def test_who_takes_long_waits_longer() -> None:
    level = level_of(1, queues=2, hand=1, length=100)
    users = iter(f"u{i}" for i in range(100))
    flows: dict[int, Flow] = {}
    while len(flows) < 2:
        flow = flow_of(level, next(users))
        flows.setdefault(flow.hand[0], flow)
    slow, quick = flows.values()
    running = Asked(slow)
    level.arrive(running, 0.0)
    for flow in flows.values():
        for _ in range(20):
            level.arrive(Asked(flow), 0.0)
    now_s, order = 0.0, []
    current = running
    while len(order) < 22:
        now_s += 0.010 if current.flow is slow else 0.001
        level.finish(current, now_s)
        found = level.next(now_s)
        assert isinstance(found, Asked)
        current = found
        order.append(current.flow)
    assert order.count(quick) > 3 * order.count(slow)


def test_a_new_flow_is_not_behind_one_whose_requests_take_longer_than_thought() -> None:
    level = level_of(4, length=100)
    flood, calm = flow_of(level, "flood"), flow_of(level, "calm")
    running = [request for _ in range(100) if level.arrive(request := Asked(flood), 0.0) == ""]
    for step in range(1, 7):
        level.finish(running.pop(0), step * 0.05)
        found = level.next(step * 0.05)
        assert isinstance(found, Asked)
        running.append(found)
    asked = Asked(calm)
    assert level.arrive(asked, 0.3) == "wait"
    assert asked.queue is not None
    others = [queue.next_r for queue in level.queues if queue.requests and queue is not asked.queue]
    assert min(others) < level.virtual_time
    assert asked.queue.next_r <= min(others)


def test_wide_requests_take_as_many_seats_and_go_alone_when_wider_than_the_level() -> None:
    level = level_of(4)
    flow = flow_of(level, "u")
    wide, narrow = Asked(flow, width=10), Asked(flow)
    assert level.arrive(wide, 0.0) == ""
    assert level.arrive(narrow, 0.0) == "wait"
    assert level.next(0.0) is None
    level.finish(wide, 1.0)
    assert level.next(1.0) is narrow
    assert level.taken == 1


def test_who_gives_up_leaves_its_queue() -> None:
    level = level_of(1)
    flow = flow_of(level, "u")
    running, gone, waiting = Asked(flow), Asked(flow), Asked(flow)
    for request in (running, gone, waiting):
        level.arrive(request, 0.0)
    level.give_up(gone, "cancelled", 0.0)
    level.finish(running, 0.5)
    assert level.next(0.5) is waiting
    assert (level.cancelled, level.waiting, level.demand.seats) == (1, 0, 1)


def test_nothing_is_left_when_all_is_done() -> None:
    level = level_of(3, length=50)
    flows = [flow_of(level, f"u{i}") for i in range(10)]
    running = [request for i in range(60) if level.arrive(request := Asked(flows[i % 10]), 0.0) == ""]
    now_s = 0.0
    while running:
        now_s += 0.002
        level.finish(running.pop(), now_s)
        while (found := level.next(now_s)) is not None:
            assert isinstance(found, Asked)
            running.append(found)
    assert level.idle
    assert (level.taken, level.demand.seats, level.active_queues, level.dispatched) == (0, 0, 0, 0)
    assert all(not queue.requests and not queue.seats and not queue.executing for queue in level.queues)


def test_other_queues_are_filled_anew() -> None:
    level = level_of(1)
    flow = flow_of(level, "u")
    for _ in range(3):
        level.arrive(Asked(flow), 0.0)
    moved = level.reconfigure(LevelConfig("l", "l-uid", False, 1, 0, None, 2, 1, 50))
    assert len(moved) == 2
    assert (level.waiting, level.demand.seats, len(level.queues)) == (0, 1, 2)
    assert level.reconfigure(LevelConfig("l", "l-uid", False, 5, 0, None, 2, 1, 60)) == []


@pytest.mark.parametrize(("nominal", "most"), [(1, 1), (49, 7), (245, 36), (10_000, 100)])
def test_one_request_takes_a_small_part_of_a_level(nominal: int, most: int) -> None:
    level = level_of(1)
    level.seats = level.seats.__class__(nominal, nominal, nominal)
    assert level.width_limit() == most


def test_a_crowded_flow_waits_and_holds_up_nobody() -> None:
    level = level_of(3)
    flood, calm = flow_of(level, "flood"), flow_of(level, "calm")
    level.arrive(Asked(flood), 0.0)
    flood.crowded = True
    second = Asked(flood)
    assert level.arrive(second, 0.0) == "wait"
    assert level.next(0.0) is None
    assert level.arrive(Asked(calm), 0.0) == ""
    flood.crowded = False
    # There is a seat, and who waits has it before who comes.
    assert level.arrive(Asked(calm), 0.0) == "wait"
    assert level.next(0.0) is second
