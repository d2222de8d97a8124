"""Following tables: initializers, derived tables, observers, watch sets."""

import asyncio
from collections import deque
from operator import itemgetter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubedyno.statedb.db import DB
from kubedyno.statedb.errors import ExpiredError
from kubedyno.statedb.feed import Feed
from kubedyno.statedb.observe import Derived, Verb, observe
from kubedyno.statedb.records import History, Tombstone
from kubedyno.statedb.watch import WatchSet


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 60))


def two_tables():
    db = DB()
    return db, db.table("in", itemgetter(0)), db.table("out", itemgetter(0))


def test_a_table_is_complete_from_the_commit_on_that_completed_it():
    db, table, _ = two_tables()
    finish, other = table.initializer("first"), table.initializer("second")
    with pytest.raises(ValueError, match="first is pending"):
        table.initializer("first")
    before = db.read()
    db.put(table, ("a", 1))
    assert table.initializers.pending == ("first", "second")
    watch = table.initializers.watch()
    finish()
    assert not watch.closed
    assert not db.read().initialized(table)
    other()
    other()
    assert watch.closed
    assert table.initializers.watch().closed
    assert db.read().initialized(table)
    assert not before.initialized(table)


ACTIONS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.integers(-9, 9), st.sampled_from(["put", "put", "delete", "step", "part"])),
    max_size=30,
)


@given(ACTIONS)
def test_a_derived_table_is_what_its_function_makes_of_the_input(actions):
    db, source, target = two_tables()

    def make(obj, deleted):
        key, value = obj
        if deleted or value < 0:
            return (key, None), Verb.DELETE
        return ((key, value * 10), Verb.INSERT) if value else (None, Verb.DELETE)

    finish = source.initializer("all")
    derived = Derived(db, source, target, make)
    # What 0 leaves alone depends on what came before it in each step, so the model steps too.
    expected, pending = {}, {}
    for key, value, what in actions:
        if what == "put":
            db.put(source, (key, value))
            pending.pop(key, None)
            pending[key] = value
        elif what == "delete":
            if db.remove(source, key) is not None:
                pending.pop(key, None)
                pending[key] = -1
        else:
            limit = 2 if what == "part" else 1000
            more = derived.step(limit)
            for ready in list(pending)[:limit]:
                newest = pending.pop(ready)
                if newest < 0:
                    expected.pop(ready, None)
                elif newest:
                    expected[ready] = newest * 10
            assert more == bool(pending)
            assert {r.key: r.obj[1] for r in target.all()} == expected
    assert not target.initialized
    finish()
    while derived.step():
        pass
    assert target.initialized


def test_an_update_of_a_derived_object_that_is_not_there_does_nothing():
    db, source, target = two_tables()
    db.put(target, ("b", 0))
    derived = Derived(db, source, target, lambda obj, _: (obj, Verb.UPDATE if obj[1] < 9 else Verb.SKIP))
    for obj in (("a", 1), ("b", 2), ("c", 9)):
        db.put(source, obj)
    derived.step()
    assert [r.obj for r in target.all()] == [("b", 2)]


def test_a_derived_table_follows_in_the_background_and_tells_when_it_is_complete():
    async def main():
        db, source, target = two_tables()
        finish = source.initializer("all")
        derived = Derived(db, source, target, lambda obj, deleted: (obj, Verb.DELETE if deleted else Verb.INSERT))
        task = asyncio.create_task(derived.run())
        db.put(source, ("a", 1))
        db.put(source, ("b", 1))
        snapshot = db.read()
        while len(snapshot.all(target)) < 2:
            await snapshot.watch(target).wait()
            snapshot = db.read()
        assert not snapshot.initialized(target)
        finish()
        await target.initializers.watch().wait()
        db.remove(source, "a")
        while len(db.read().all(target)) > 1:
            await db.read().watch(target).wait()
        task.cancel()
        derived.close()
        assert source.trackers == 0

    run(main())


def test_an_observer_gets_everything_then_changes_and_resumes_by_a_revision():
    async def main():
        db, table, _ = two_tables()
        for i in range(5):
            db.put(table, (f"k{i}", i))
        seen, stream = [], observe(table, limit=2)
        async for records in stream:
            assert len(records) <= 2
            seen += [(r.key, type(r) is Tombstone) for r in records]
            if len(seen) == 5:
                asyncio.get_running_loop().call_soon(db.remove, table, "k1")
            if len(seen) == 6:
                break
        await stream.aclose()
        assert seen == [(f"k{i}", False) for i in range(5)] + [("k1", True)]
        assert table.trackers == 0
        db.put(table, ("new", 0))
        later = observe(table, since=records[-1].revision)
        assert [r.key for r in await anext(later)] == ["new"]
        await later.aclose()

    run(main())


def test_an_observer_of_every_version_is_told_when_history_is_gone():
    async def main():
        db = DB()
        table = db.table("t", itemgetter(0), history=History(seconds=None, records=3))
        for i in range(10):
            db.put(table, ("k", i))
        stream = observe(table, since=8, full=True)
        assert [r.obj[1] for r in await anext(stream)] == [8, 9]
        while db.compact():
            pass
        with pytest.raises(ExpiredError):
            await anext(observe(table, since=2, full=True))
        await stream.aclose()

    run(main())


def test_a_watch_set_waits_for_the_first_and_keeps_the_rest():
    async def main():
        db, table, _ = two_tables()
        watches = {key: table.watch(key=key, since=0) for key in "abc"}
        together = WatchSet(watches.values())
        for key in "ab":
            asyncio.get_running_loop().call_soon(db.put, table, (key, 1))
            assert await together.wait() == {watches[key]}
        assert len(together) == 1
        assert watches["c"] in together
        assert watches["c"]._callbacks == []

    run(main())


def test_a_watch_that_nobody_holds_is_forgotten():
    db, table, _ = two_tables()
    kept = table.watch(prefix="a", since=0)
    table.watch(prefix="a/b", since=0)
    for i in range(100):
        table.watch(key=f"k{i}", since=0)
    assert table._watches.exact == {}
    assert table._watches._by_prefix[3] == {}
    db.put(table, ("ab", 1))
    assert kept.closed


def test_followers_of_a_feed_share_what_they_get():
    async def main():
        db, table, _ = two_tables()
        db.put(table, ("before", 0))
        feed = Feed(table)
        table.subscribe(feed.publish)
        first, second = feed.follow(), feed.follow()
        assert len(feed) == 2
        db.put(table, ("a", 1))
        late = feed.follow()
        with db.write(table) as txn:
            txn.insert(table, ("b", 1))
            txn.delete(table, "a")
        got = first.take()
        assert [[r.key for r in segment] for segment in got] == [["a"], ["b", "a"]]
        assert all(mine is other for mine, other in zip(got, second.take(), strict=True))
        assert [[r.key for r in segment] for segment in late.take()] == [["b", "a"]]
        assert late.since == 2
        first.close()
        stream = second.follow()
        asyncio.get_running_loop().call_soon(db.put, table, ("c", 1))
        assert [r.key for r in await anext(stream)] == ["c"]
        assert first.take() == []
        await stream.aclose()
        feed.close()
        assert table.trackers == 0

    run(main())


def test_a_follower_that_sleeps_too_long_is_left_out():
    db, table, _ = two_tables()
    feed = Feed(table, full=True)
    table.subscribe(feed.publish)
    sleeper, reader = feed.follow(), feed.follow()
    for i in range(1200):
        db.put(table, ("k", i))
        reader.take()
    with pytest.raises(ExpiredError):
        sleeper.take()
    assert sleeper.segments == deque()
    assert len(feed) == 1
