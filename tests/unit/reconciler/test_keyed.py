"""Keys that are reconciled in turns: order, failures, back-off, statuses, waiting, figures, health."""

import asyncio
import logging
from collections import Counter

import pytest

from kubedyno.base import aio
from kubedyno.base.simulation import simulate
from kubedyno.reconciler.health import Health, Level
from kubedyno.reconciler.keyed import KeyedReconciler
from kubedyno.reconciler.status import ERROR, PENDING


class RefusedError(Exception):
    """The target says no."""


class Timer:
    def __init__(self, loop, due_s, call):
        self.due_s = due_s
        self._handle = loop.call_at(due_s, call)

    def cancel(self):
        self._handle.cancel()


class Shop:
    """A reconciler with an event loop's turns; `bad` are the keys that fail."""

    def __init__(self, turn=4, **settings):
        self.loop = asyncio.get_running_loop()
        self.bad = {}
        self.calls = []
        self.health = Health()
        self.turn = turn
        self.reconciler = KeyedReconciler(
            "shop",
            self.reconcile,
            clock=self.loop,
            wake=self.wake,
            call_at=lambda due_s, call: Timer(self.loop, due_s, call),
            health=self.health,
            refusals=RefusedError,
            **settings,
        )

    def wake(self):
        self.loop.call_soon(self.step)

    def step(self):
        if self.reconciler.step(self.turn):
            self.wake()

    def reconcile(self, key, budget):
        assert 1 <= budget <= self.turn
        self.calls.append((round(self.loop.time(), 3), key))
        error = self.bad.get(key)
        if error is not None:
            raise error
        return 1

    def times_of(self, key):
        return [at for at, other in self.calls if other == key]


def shop_test(main):
    def test():
        simulate(main())

    return test


@shop_test
async def test_a_key_waits_once_and_keys_go_in_order():
    shop = Shop()
    for key in ("b", "a", "b", "c"):
        shop.reconciler.add(key)
    assert [(name, status.kind) for name, status in shop.reconciler.statuses()] == [
        ("b", PENDING), ("a", PENDING), ("c", PENDING),
    ]  # fmt: skip
    await shop.reconciler.wait_until_reconciled(1)
    assert [key for _, key in shop.calls] == ["b", "a", "c"]
    assert list(shop.reconciler.statuses()) == []


@shop_test
async def test_one_bad_key_holds_up_nobody():
    shop = Shop()
    shop.bad["x"] = RefusedError("no\n room")
    for key in ("a", "x", "b"):
        shop.reconciler.add(key)
    reached = await shop.reconciler.wait_until_reconciled(1)
    assert [key for _, key in shop.calls] == ["a", "x", "b"]
    # The second that was taken.
    assert (reached.revision, reached.failing) == (3, 2)
    status = shop.reconciler.status("x")
    assert (status.kind, status.error) == (ERROR, "no room")
    assert status.updated_s == shop.loop.now()
    assert shop.reconciler.status("a") is None
    assert list(shop.health.reports()) == [("shop", Level.DEGRADED, "1 error(s): x: no room")]
    with pytest.raises(TimeoutError):
        await shop.reconciler.wait_until_reconciled(5, success=True)
    del shop.bad["x"]
    await shop.reconciler.wait_until_reconciled(60, success=True)
    assert list(shop.health.reports()) == [("shop", Level.OK, "")]
    assert shop.reconciler.status("x") is None
    assert shop.reconciler.reached.failing == 0


@shop_test
async def test_back_off_doubles_up_to_its_limit_and_begins_anew_after_a_success():
    shop = Shop(retry_min_s=1.0, retry_max_s=5.0)
    shop.bad["x"] = RefusedError()
    shop.reconciler.add("x")
    await aio.sleep(20)
    assert shop.times_of("x") == [0.0, 1.0, 3.0, 7.0, 12.0, 17.0]
    shop.bad.clear()
    await aio.sleep(5)
    shop.bad["x"] = RefusedError()
    shop.calls.clear()
    shop.reconciler.add("x")
    await aio.sleep(1.5)
    assert shop.times_of("x") == [25.0, 26.0]


@shop_test
async def test_news_of_a_failing_key_does_not_wait_for_its_back_off():
    shop = Shop(retry_min_s=10.0)
    shop.bad["x"] = RefusedError()
    shop.reconciler.add("x")
    await aio.sleep(1)
    shop.bad.clear()
    shop.reconciler.add("x")
    await aio.sleep(30)
    # And its retry is off.
    assert shop.times_of("x") == [0.0, 1.0]


@shop_test
async def test_a_reconciliation_may_go_on_and_still_have_failed():
    shop = Shop()
    tries = Counter()

    def reconcile(key, _budget):
        tries[key] += 1
        if tries[key] < 3:
            shop.reconciler.retry(key, "half of it")
        return 1

    shop.reconciler._reconcile = reconcile
    shop.reconciler.add("x")
    await aio.sleep(0.05)
    assert shop.reconciler.status("x").error == "half of it"
    assert (shop.reconciler.failing, shop.reconciler.done) == (1, 0)
    await aio.sleep(10)
    assert tries["x"] == 3
    assert (shop.reconciler.failing, shop.reconciler.done, shop.reconciler.metrics.errors) == (0, 1, 2)


@shop_test
async def test_a_failure_between_turns_is_a_failure_too():
    shop = Shop(retry_min_s=1.0)
    shop.reconciler.add("x")
    await aio.sleep(1)
    shop.reconciler.retry("x", "a timer of its own")
    assert shop.reconciler.is_failing("x")
    assert shop.reconciler.status("x").error == "a timer of its own"
    await aio.sleep(2)
    assert shop.times_of("x") == [0.0, 2.0]
    assert not shop.reconciler.is_failing("x")


@shop_test
async def test_a_key_that_is_gone_is_not_tried_again():
    shop = Shop()
    shop.bad["x"] = RefusedError()
    shop.reconciler.add("x")
    await aio.sleep(0.01)
    shop.reconciler.forget("x")
    await aio.sleep(100)
    assert len(shop.calls) == 1
    assert shop.health.parts["shop"].level is Level.OK


@shop_test
async def test_of_two_delays_the_earlier_counts():
    shop = Shop()
    for delay_s in (5.0, 1.0, 3.0):
        shop.reconciler.add_after("x", delay_s)
    await aio.sleep(10)
    assert shop.times_of("x") == [1.0]


@shop_test
async def test_a_turn_is_bounded_and_what_costs_more_takes_more_of_it():
    shop = Shop(turn=4)
    shop.reconciler._reconcile = lambda key, _budget: int(key)
    for key in ("1", "2", "3", "4"):
        shop.reconciler.add(key)
    assert shop.reconciler.step(4)
    # 1, 2 and 3 make more than four.
    assert shop.reconciler.pending == 1
    assert not shop.reconciler.step(4)


@shop_test
async def test_a_key_added_while_it_is_in_hand_comes_again():
    shop = Shop()
    seen = []

    def reconcile(key, _budget):
        seen.append(key)
        if len(seen) == 1:
            shop.reconciler.add(key)
        return 1

    shop.reconciler._reconcile = reconcile
    shop.reconciler.add("x")
    await shop.reconciler.wait_until_reconciled(1)
    await aio.sleep(0)
    assert seen == ["x", "x"]


@shop_test
async def test_figures_have_the_names_of_ciliums():
    shop = Shop(turn=100)
    shop.bad["x"] = RefusedError()
    for key in ("a", "b", "x"):
        shop.reconciler.add(key)
    await aio.sleep(0.01)
    figures = {sample.name: sample.value for sample in shop.reconciler.metrics.samples() if len(sample.labels) == 1}
    assert figures["reconciliation_count"] == 1
    assert figures["reconciliation_total_errors"] == figures["reconciliation_current_errors"] == 1
    assert figures["reconciliation_latency_seconds_count"] == 2
    assert shop.reconciler.metrics.update.count == 3


def test_latency_is_from_asking_to_done():
    async def main():
        shop = Shop()
        shop.reconciler._wake = lambda: None
        shop.reconciler.add("a")
        await aio.sleep(2)
        shop.reconciler.add("b")
        await aio.sleep(1)
        shop.reconciler.step(4)
        return shop.reconciler.metrics.latency

    latency = simulate(main())
    assert (latency.count, round(latency.seconds, 6)) == (2, 4.0)


def test_a_defect_is_logged_with_its_traceback_and_a_refusal_is_not(caplog):
    async def main():
        shop = Shop()
        shop.bad |= {"refused": RefusedError("no"), "broken": ZeroDivisionError("oh")}
        for key in shop.bad:
            shop.reconciler.add(key)
        await aio.sleep(0.01)
        return shop.health.parts["shop"].text

    with caplog.at_level(logging.INFO):
        text = simulate(main())
    assert [record.args[1] for record in caplog.records] == ["broken"]
    assert caplog.records[0].exc_info
    assert text == "2 error(s): refused: no; broken: oh"


@shop_test
async def test_a_thousand_failing_keys_are_counted_and_ten_are_named():
    shop = Shop(turn=64)
    for i in range(1000):
        shop.bad[f"k{i}"] = RefusedError("no")
        shop.reconciler.add(f"k{i}")
    await shop.reconciler.wait_until_reconciled(1)
    text = shop.health.parts["shop"].text
    assert text.startswith("1000 error(s): k0: no; ")
    assert text.count(";") == 9
    shop.bad.clear()
    await shop.reconciler.wait_until_reconciled(100, success=True)
    assert shop.reconciler.failing == 0
    # The heaps of the retries have not kept what they forgot.
    assert len(shop.reconciler._retries._due) < 200


@shop_test
async def test_a_key_that_fails_over_and_over_before_it_is_due_takes_no_more_memory():
    shop = Shop(retry_min_s=1000.0, retry_max_s=1000.0)
    shop.bad["x"] = RefusedError("no")
    for _ in range(1000):
        shop.reconciler.add("x")
        await aio.sleep(0.001)
    assert len(shop.times_of("x")) == 1000
    assert len(shop.reconciler._retries._due) < 100
    assert len(shop.reconciler._retries._owed) < 100
