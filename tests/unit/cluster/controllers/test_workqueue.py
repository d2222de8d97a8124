"""The queue of a controller."""

import itertools

from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.status import Conflict

from .conftest import HandClock, HandPump


class Desk:
    """Reconciles by writing down when; fails for keys that begin with an x."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.pump = HandPump(self.clock, slice_items=1600)
        self.queue: WorkQueue[str] = WorkQueue(self.pump, "desk", self.reconcile)
        self.seen: list[tuple[float, str]] = []

    def reconcile(self, key: str, budget: int) -> int:
        assert budget > 0
        self.seen.append((round(self.clock.monotonic(), 3), key))
        if key[0] == "x":
            raise Conflict("no") if key == "x" else ZeroDivisionError
        return 1

    def pass_time(self, seconds: float) -> None:
        end_s = self.clock.now_s + seconds
        while self.clock.now_s < end_s:
            self.clock.now_s += 0.001
            self.pump.drain()


def test_a_key_is_reconciled_once_however_often_it_was_added():
    desk = Desk()
    for key in ("a", "b", "a"):
        desk.queue.add(key)
    desk.pump.drain()
    assert [key for _, key in desk.seen] == ["a", "b"]


def test_a_failing_key_comes_again_with_growing_pauses_and_stops_nobody(caplog):
    desk = Desk()
    for key in ("x", "xx", "a"):
        desk.queue.add(key)
    desk.pump.drain()
    assert [key for _, key in desk.seen] == ["x", "xx", "a"]
    desk.pass_time(0.1)
    times = [at for at, key in desk.seen if key == "x"]
    pauses = [round(later - earlier, 3) for earlier, later in itertools.pairwise(times)]
    assert pauses[0] >= 0.005
    assert all(1.5 < later / earlier < 2.5 for earlier, later in itertools.pairwise(pauses))
    assert len(pauses) == 4
    # What the API refuses is no defect; anything else is told.
    assert {record.args[1] for record in caplog.records} == {"xx"}


def test_of_two_delays_the_earlier_counts():
    desk = Desk()
    desk.queue.add_after("a", 0.05)
    desk.queue.add_after("a", 0.01)
    desk.queue.add_after("a", 0.03)
    desk.pass_time(0.1)
    assert [round(at, 2) for at, _ in desk.seen] == [0.01]
