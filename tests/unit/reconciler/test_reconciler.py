"""Rounds, retries, refresh, prune, waiting and health, on simulated time."""

import asyncio
import itertools
from dataclasses import replace
from operator import attrgetter

import pytest

from kubedyno.base import aio
from kubedyno.base.simulation import simulate
from kubedyno.reconciler.health import Health
from kubedyno.reconciler.reconciler import Reconciler
from kubedyno.reconciler.settings import ReconcilerSettings
from kubedyno.reconciler.status import DONE, ERROR, pending
from kubedyno.statedb.db import DB
from unit.reconciler.fakes import BatchTarget, Item, Target, set_status, shared, world


def fails(*names):
    return lambda _verb, name: name in names


def test_what_is_written_is_done_and_what_is_deleted_is_gone():
    async def main():
        async with world() as w:
            w.put("a", 1)
            w.put("b", 2)
            await w.reconciler.wait_until_done(5)
            assert w.target.state == {"a": 1, "b": 2}
            assert w.status("a").kind is DONE
            w.put("a", 3)
            w.remove("b")
            await w.reconciler.wait_until_done(5)
            assert w.target.state == {"a": 3}
            # Its own statuses are no work.
            assert len(w.target.calls) == 4

    simulate(main())


def test_one_bad_object_holds_up_nobody_and_is_tried_again_ever_later():
    async def main():
        async with world(Target(fail=fails("bad"))) as w:
            bad = w.put("bad", 1)
            good = w.put("good", 2)
            reached = await w.reconciler.wait_until_reconciled(good, 5)
            assert reached.revision >= good
            assert reached.failing == bad
            assert w.target.state == {"good": 2}
            assert (w.status("bad").kind, w.status("bad").error) == (ERROR, "no update of bad now")
            with pytest.raises(TimeoutError):
                await w.reconciler.wait_until_done(200)
            times = [at for _, name, at in w.target.calls if name == "bad"]
            gaps = [round(b - a, 3) for a, b in itertools.pairwise(times)]
            assert gaps[:11] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60.0]
            w.target.fail = fails()
            assert (await w.reconciler.wait_until_done(61)).failing == 0
            assert w.target.state == w.desired

    simulate(main())


def test_a_new_version_begins_with_a_clean_record():
    async def main():
        async with world(Target(fail=fails("a"))) as w:
            w.put("a", 1)
            await aio.sleep(10)
            before = len(w.target.calls)
            w.put("a", 2)
            await aio.sleep(0.35)
            # At once, after 0.1 and after 0.2 more.
            assert len(w.target.calls) == before + 3

    simulate(main())


def test_a_failed_deletion_is_retried_until_the_key_is_written_again():
    async def main():
        async with world(Target(fail=lambda verb, _: verb == "delete")) as w:
            w.put("a", 1)
            await w.reconciler.wait_until_done(5)
            w.remove("a")
            await aio.sleep(0.5)
            assert [verb for verb, _, _ in w.target.calls] == ["update", "delete", "delete", "delete"]
            assert w.reconciler.failing == 1
            w.put("a", 2)
            await w.reconciler.wait_until_done(5)
            await aio.sleep(100)
            assert [verb for verb, _, _ in w.target.calls][4:] == ["update"]
            assert w.target.state == {"a": 2}

    simulate(main())


def test_a_change_during_the_operation_is_not_lost():
    async def main():
        async with world(Target(slow_s=1.0)) as w:
            w.put("a", 1)
            await aio.sleep(0.5)
            w.put("a", 2)
            await aio.sleep(0.6)
            assert w.status("a").kind is not DONE
            await w.reconciler.wait_until_done(5)
            assert w.target.state == {"a": 2}
            assert w.status("a").kind is DONE
            w.put("a", 3)
            await aio.sleep(0.5)
            w.remove("a")
            await w.reconciler.wait_until_done(5)
            assert w.target.state == {}

    simulate(main())


def test_two_reconcilers_of_one_object_agree_without_work_done_twice():
    async def main():
        loop = asyncio.get_running_loop()
        db = DB(loop)
        table = db.table("items", attrgetter("name"))
        targets, tasks, reconcilers = {}, [], []
        for name, slow_s in (("fast", 0.2), ("slow", 1.0)):
            targets[name] = target = Target(slow_s=slow_s)
            reconciler = Reconciler(
                db, table, target,
                lambda obj, name=name: obj.statuses.get(name),
                lambda obj, status, name=name: replace(obj, statuses=obj.statuses.put(name, status)),
                name=name,
            )  # fmt: skip
            reconcilers.append(reconciler)
            tasks.append(asyncio.create_task(reconciler.run()))
        for name in "ab":
            db.put(table, shared(name, 1, loop.now()))
        for reconciler in reconcilers:
            await reconciler.wait_until_done(10)
        await aio.sleep(10)
        for target in targets.values():
            assert [name for _, name, _ in target.calls] == ["a", "b"]
        for record in table.all():
            assert record.obj.statuses.is_done(["fast", "slow"])
            assert not record.obj.statuses.is_done(["fast", "slow", "third"])
        for task in tasks:
            task.cancel()

    simulate(main())


def test_the_size_and_the_rate_of_rounds_are_kept():
    async def main():
        settings = ReconcilerSettings(round_size=3, rounds_per_s=2, refresh_interval_s=None)
        async with world(BatchTarget(), batch=True, settings=settings) as w:
            with w.db.write(w.table) as txn:
                for i in range(10):
                    txn.insert(w.table, Item(f"k{i}", i, pending(0.0)))
            started_s = w.db.clock.monotonic()
            await w.reconciler.wait_until_done(10)
            assert [count for verb, count, _ in w.target.calls if verb == "batch"] == [3, 3, 3, 1]
            assert w.db.clock.monotonic() - started_s == pytest.approx(1.5)
            assert w.reconciler.metrics.rounds == 4

    simulate(main())


def test_a_batch_fails_whole_or_in_part_and_deletes_first():
    async def main():
        async with world(BatchTarget(fail=fails("b")), batch=True) as w:
            for name in "abc":
                w.put(name, 1)
            await w.reconciler.wait_until_reconciled(3, 5)
            assert [w.status(name).kind for name in "abc"] == [DONE, ERROR, DONE]
            w.target.fail = lambda verb, _: verb == "batch"
            w.put("a", 2)
            w.remove("c")
            await w.reconciler.wait_until_reconciled(w.db.revision, 5)
            assert w.status("a").error == "no batch"
            assert w.reconciler.failing == 3
            w.target.calls.clear()
            w.target.fail = fails()
            await w.reconciler.wait_until_done(60)
            assert w.target.state == w.desired == {"a": 2, "b": 1}

    simulate(main())


def test_operations_may_be_plain_functions_and_may_tell_something():
    class Addresses:
        def update(self, _snapshot, record):
            return replace(record.obj, value=100 + record.obj.value)

        def delete(self, _snapshot, record):
            pass

        def prune(self, _snapshot, records):
            pass

    async def main():
        async with world() as w:
            table = w.db.table("other", attrgetter("name"))
            reconciler = Reconciler(w.db, table, Addresses(), attrgetter("status"), set_status)
            task = asyncio.create_task(reconciler.run())
            w.db.put(table, Item("a", 1, pending(0.0)))
            await reconciler.wait_until_done(5)
            assert table.get("a").obj.value == 101
            task.cancel()

    simulate(main())


def test_an_operation_that_hangs_is_given_up():
    async def main():
        settings = ReconcilerSettings(operation_timeout_s=5, refresh_interval_s=None)
        async with world(Target(slow_s=1e6), settings=settings) as w:
            revision = w.put("a", 1)
            await w.reconciler.wait_until_reconciled(revision, 6)
            assert w.status("a").error == "no answer within 5 s"

    simulate(main())


def test_waiting_operations_overlap_as_far_as_allowed():
    async def main():
        settings = ReconcilerSettings(concurrency=4, refresh_interval_s=None)
        async with world(Target(slow_s=1.0), settings=settings) as w:
            for i in range(8):
                w.put(f"k{i}", i)
            await w.reconciler.wait_until_done(10)
            assert w.db.clock.monotonic() == pytest.approx(2.0)

    simulate(main())


def test_pruning_waits_until_the_table_is_complete_and_gets_everything():
    async def main():
        async with world() as w:
            finish = w.table.initializer("all")
            w.target.state["stray"] = 9
            w.put("a", 1)
            w.reconciler.prune()
            await aio.sleep(7200)
            assert w.target.pruned == []
            finish()
            await aio.sleep(1)
            assert w.target.pruned == [["a"]]
            assert w.target.state == {"a": 1}
            w.reconciler.prune()
            await aio.sleep(1)
            assert len(w.target.pruned) == 2
            await aio.sleep(3600)
            assert len(w.target.pruned) == 3

    simulate(main())


def test_an_empty_table_is_pruned_too_and_a_failed_prune_is_tried_again():
    async def main():
        async with world(Target(fail=lambda verb, _: verb == "prune")) as w:
            w.target.state["stray"] = 9
            await aio.sleep(1.0)
            assert w.reconciler.metrics.prune_errors == 4
            assert {name: text for name, _, text in w.reconciler.health.reports()}["items"] == (
                "1 error(s): prune: no prune"
            )
            w.target.fail = fails()
            await aio.sleep(1.0)
            assert w.target.pruned == [[]]
            assert w.target.state == {}

    simulate(main())


def test_refresh_takes_only_what_was_done_long_enough_ago_at_its_rate():
    async def main():
        settings = ReconcilerSettings(refresh_interval_s=100, refresh_per_s=2, prune_interval_s=None)
        async with world(Target(fail=fails("bad")), settings=settings) as w:
            for i in range(6):
                w.put(f"k{i}", i)
            w.put("bad", 1)
            await aio.sleep(50)
            w.put("late", 1)
            await aio.sleep(49)
            assert len([call for call in w.target.calls if call[1] != "bad"]) == 7
            await aio.sleep(1.5)
            assert len([call for call in w.target.calls if call[1] != "bad"]) == 9
            await aio.sleep(10)
            again = [name for _, name, at in w.target.calls if at > 90 and name != "bad"]
            assert again == [f"k{i}" for i in range(6)]
            w.target.state.clear()
            await aio.sleep(300)
            assert set(w.target.state) == {f"k{i}" for i in range(6)} | {"late"}

    simulate(main())


def test_settings_may_change_while_it_runs():
    async def main():
        async with world(Target(fail=fails("a"))) as w:
            w.put("a", 1)
            await aio.sleep(30)
            w.reconciler.settings = replace(w.reconciler.settings, retry_max_s=1.0)
            await aio.sleep(60)
            calls = len(w.target.calls)
            await aio.sleep(10)
            assert len(w.target.calls) == calls + 10

    simulate(main())


def test_health_and_metrics_say_what_fails():
    async def main():
        health = Health()
        async with world(Target(fail=fails("bad")), health=health, name="lb") as w:
            await w.reconciler.wait_until_done(5)
            w.put("good", 1)
            w.put("bad", 1)
            await w.reconciler.wait_until_reconciled(2, 5)
            assert health.summary() == "Modules Health: Stopped(0) Degraded(1) OK(0)"
            assert [text for _, _, text in health.reports()] == ["1 error(s): bad: no update of bad now"]
            found = {(s.name, dict(s.labels).get("op")): s.value for s in w.reconciler.metrics.samples()}
            assert found["reconciliation_current_errors", None] == 1
            assert found["reconciliation_duration_seconds_count", "update"] >= 2
            assert found["prune_count", None] == 1
            w.target.fail = fails()
            await w.reconciler.wait_until_done(5)
            assert health.summary() == "Modules Health: Stopped(0) Degraded(0) OK(1)"
            assert [(name, text) for name, _, text in health.reports()] == [("lb", "2 object(s)")]
        assert health.summary() == "Modules Health: Stopped(1) Degraded(0) OK(0)"

    simulate(main())


def test_a_reconciler_that_was_left_behind_begins_anew_and_prunes():
    async def main():
        async with world() as w:
            w.db.max_pinned = 50
            w.put("a", 1)
            await w.reconciler.wait_until_done(5)
            for i in range(500):
                w.put(f"k{i}", i)
                w.remove(f"k{i}")
            w.remove("a")
            while w.db.compact():
                pass
            w.put("b", 2)
            await w.reconciler.wait_until_done(5)
            await aio.sleep(1)
            assert w.target.state == {"b": 2}
            # Of all the deletions it has seen none.
            assert {verb for verb, _, _ in w.target.calls} == {"update"}
            assert w.target.pruned[-1] == ["b"]

    simulate(main())


def test_a_fault_of_ours_ends_it_and_its_health_says_why():
    async def main():
        health = Health()
        db = DB(asyncio.get_running_loop())
        table = db.table("items", attrgetter("name"))
        reconciler = Reconciler(db, table, Target(), attrgetter("no_such"), set_status, health=health)
        db.put(table, Item("a", 1, pending(0.0)))
        with pytest.raises(AttributeError):
            await reconciler.run()
        assert health.summary() == "Modules Health: Stopped(1) Degraded(0) OK(0)"
        assert "no_such" in next(health.reports())[2]
        assert table.trackers == 0

    simulate(main())


def test_settings_that_make_no_sense_are_refused():
    for wrong in ({"round_size": 0}, {"rounds_per_s": 0}, {"retry_min_s": 5, "retry_max_s": 1}):
        with pytest.raises(ValueError, match=r"above zero|does not hold"):
            ReconcilerSettings(**wrong)


def test_a_simulation_in_which_everybody_waits_says_so():
    async def main():
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="nothing will ever happen"):
        simulate(main())
