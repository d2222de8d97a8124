"""The pump: turns, timers, faults, on simulated time."""

import asyncio
import logging

import pytest

from kubedyno.base import aio
from kubedyno.base.simulation import simulate
from kubedyno.cluster.pump import TURN_ITEMS, Pump


def a_pump(in_use=lambda: False, slice_items=None):
    return Pump(asyncio.get_running_loop(), in_use, slice_items)


def test_workers_get_turns_round_robin_and_sleep_when_done():
    async def main():
        pump, log = a_pump(slice_items=TURN_ITEMS), []
        left = {"a": 3, "b": 1}

        def step(name):
            def turn(limit):
                assert limit == TURN_ITEMS
                log.append(name)
                left[name] -= 1
                return left[name] > 0

            return turn

        workers = [pump.worker(name, step(name)) for name in left]
        for worker in workers:
            worker.wake()
            worker.wake()
        while not pump.idle:
            await aio.sleep(0)
        assert log == ["a", "b", "a", "a"]
        workers[1].wake()
        await aio.sleep(0.01)
        assert log[4:] == ["b"]

    simulate(main())


def test_requests_are_served_between_two_slices():
    async def main():
        pump, turns = a_pump(slice_items=TURN_ITEMS), 0

        def step(_limit):
            nonlocal turns
            turns += 1
            return turns < 1000

        pump.worker("busy", step).wake()
        for _ in range(10):
            await aio.sleep(0)
        # One slice a turn of the loop, never all at once.
        assert 5 <= turns <= 11
        pump.stop()

    simulate(main())


@pytest.mark.parametrize(("used", "steps"), [(False, 10), (True, 2)])
def test_a_slice_is_short_while_somebody_asks(used, steps):
    class Clock:
        """Half a millisecond later with each look, as after a step of a worker."""

        def __init__(self):
            self.now_s = 0.0

        def monotonic(self):
            self.now_s += 0.0005
            return self.now_s

    async def main():
        pump, turns = Pump(Clock(), lambda: used), 0

        def step(_limit):
            nonlocal turns
            turns += 1
            return True

        pump.worker("busy", step).wake()
        await aio.sleep(0)
        assert steps - 1 <= turns <= steps + 1
        pump.stop()

    simulate(main())


def test_timers_run_in_their_order_never_early_and_may_be_cancelled():
    async def main():
        loop, log = asyncio.get_running_loop(), []
        pump = a_pump()
        for delay_s in (3.0, 1.0, 2.0, 1.0):
            pump.call_later(delay_s, lambda delay_s=delay_s: log.append((delay_s, loop.time() >= delay_s)))
        pump.call_later(1.5, lambda: log.append("cancelled")).cancel()
        await aio.sleep(1.7)
        assert [entry[0] for entry in log] == [1.0, 1.0]
        pump.call_at(1.8, lambda: log.append((1.8, True)))
        await aio.sleep(2)
        assert log == [(1.0, True), (1.0, True), (1.8, True), (2.0, True), (3.0, True)]
        pump.call_later(1.0, lambda: log.append("late"))
        pump.stop()
        await aio.sleep(2)
        assert "late" not in log

    simulate(main())


def test_one_fault_stops_neither_other_workers_nor_timers(caplog):
    async def main():
        pump, log = a_pump(), []

        def broken(_limit):
            raise RuntimeError("broken worker")

        def broken_timer():
            raise RuntimeError("broken timer")

        def good(_limit):
            log.append("good")
            return False

        bad, fine = pump.worker("bad", broken), pump.worker("good", good)
        pump.call_later(0.5, broken_timer)
        pump.call_later(0.6, lambda: log.append("timer"))
        for _ in range(2):
            bad.wake()
            fine.wake()
            await aio.sleep(1)
        assert log == ["good", "timer", "good"]

    with caplog.at_level(logging.ERROR):
        simulate(main())
    assert [record.getMessage() for record in caplog.records] == [
        "worker bad failed",
        "a timer of the pump failed",
        "worker bad failed",
    ]


@pytest.mark.parametrize("count", [1, 10_000])
def test_cancelled_timers_cost_nothing_later(count):
    async def main():
        pump, log = a_pump(), []
        for timer in [pump.call_later(5, lambda: log.append(1)) for _ in range(count)]:
            timer.cancel()
        await aio.sleep(10)
        assert log == []
        assert pump.idle

    simulate(main())
