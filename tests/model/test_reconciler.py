"""The reconciler under faults: any schedule of writes, failures, slow calls and foreign statuses that ends."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from kubedyno.base import aio
from kubedyno.base.simulation import simulate
from kubedyno.reconciler.settings import ReconcilerSettings
from kubedyno.reconciler.status import DONE, ERROR, PENDING, pending
from unit.reconciler.fakes import BatchTarget, Target, world

NAMES = "abcd"
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(NAMES)),
        st.tuples(st.just("put"), st.sampled_from(NAMES)),
        st.tuples(st.just("remove"), st.sampled_from(NAMES)),
        # Somebody else writes the object and leaves its status as it is.
        st.tuples(st.just("touch"), st.sampled_from(NAMES)),
        st.tuples(st.just("sleep"), st.sampled_from([0.001, 0.05, 0.3, 3.0])),
        st.tuples(st.just("fail"), st.frozensets(st.sampled_from(NAMES))),
        st.tuples(st.just("slow"), st.sampled_from([0.0, 0.02, 0.2])),
        st.tuples(st.just("prune"), st.none()),
    ),
    max_size=40,
)


class Checked:
    """Wraps a target's calls: for one key they never overlap, and never go back to an older version."""

    def __init__(self, target):
        self.target = target
        self.call = target.call
        target.call = self.checked
        self.running = set()
        self.newest = {}
        self.succeeded = set()

    async def checked(self, verb, record):
        key, obj = record.key, record.obj
        assert key not in self.running
        # A tombstone carries the last live object, so its value is that of the version it ends.
        assert obj.value >= self.newest.get(key, -1)
        self.newest[key] = obj.value
        self.running.add(key)
        try:
            await self.call(verb, record)
            if verb == "update":
                self.succeeded.add(obj.status.id)
        finally:
            self.running.discard(key)


async def live(script, *, batch, concurrency, round_size):
    pace = ReconcilerSettings(
        round_size=round_size, concurrency=concurrency, refresh_interval_s=20.0, retry_max_s=5.0, prune_interval_s=30.0
    )
    async with world(BatchTarget() if batch else Target(), batch=batch, settings=pace) as w:
        checked = Checked(w.target)
        value, failing = 0, frozenset()
        w.target.fail = lambda _verb, name: name in failing
        for what, argument in script:
            if what == "put":
                value += 1
                w.put(argument, value)
            elif what == "remove":
                w.remove(argument)
            elif what == "touch":
                record = w.table.get(argument)
                if record is not None:
                    w.db.put(w.table, replace(record.obj))
            elif what == "sleep":
                await aio.sleep(argument)
            elif what == "fail":
                failing = argument
            elif what == "slow":
                w.target.slow_s = argument
            else:
                w.reconciler.prune()
            for record in w.table.all():
                status = record.obj.status
                # Done is only said of what an operation has done.
                assert status.kind is not DONE or status.id in checked.succeeded
                assert status.kind is not ERROR or status.error
        failing = frozenset()
        await w.reconciler.wait_until_done(60)
        assert w.target.state == w.desired
        assert all(record.obj.status.kind is not PENDING for record in w.table.all())
        assert w.reconciler.failing == 0
        before = w.db.revision
        await aio.sleep(3)
        # It comes to rest, but for refreshes.
        assert w.db.revision - before <= 2 * len(NAMES)
        return w.target.state


@settings(max_examples=150)
@given(steps, st.booleans(), st.sampled_from([1, 3]), st.sampled_from([1, 2, 1000]))
def test_the_target_ends_as_desired_whatever_failed_before(script, batch, concurrency, round_size):
    simulate(live(script, batch=batch, concurrency=concurrency, round_size=round_size))


@settings(max_examples=40)
@given(steps)
def test_a_batch_target_ends_as_a_single_one(script):
    single = simulate(live(script, batch=False, concurrency=1, round_size=1000))
    assert simulate(live(script, batch=True, concurrency=1, round_size=1000)) == single


@settings(max_examples=60)
@given(steps, st.integers(0, 40))
def test_who_waits_for_a_revision_is_woken_when_all_before_it_was_tried(script, at):
    async def main():
        async with world() as w:
            Checked(w.target)
            failing = frozenset()
            w.target.fail = lambda _verb, name: name in failing
            asked = None
            for number, (what, argument) in enumerate(script):
                if what == "put":
                    w.put(argument, number)
                elif what == "remove":
                    w.remove(argument)
                elif what == "sleep":
                    await aio.sleep(argument)
                elif what == "fail":
                    failing = argument
                if number == at:
                    asked = w.db.revision, dict(w.desired)
            asked = asked or (w.db.revision, dict(w.desired))
            reached = await w.reconciler.wait_until_reconciled(asked[0], 60)
            assert reached.revision >= min(asked[0], w.table.revision)
            tried = {(verb, name) for verb, name, _ in w.target.calls}
            for name in asked[1]:
                # Each was tried, in this version or a later one.
                assert ("update", name) in tried or ("delete", name) in tried
            if reached.failing:
                assert w.reconciler.failing

    simulate(main())


def test_statuses_of_requests_differ():
    assert len({pending(0.0).id for _ in range(1000)}) == 1000
