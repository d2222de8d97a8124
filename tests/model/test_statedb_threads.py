"""StateDB under threads: readers without a lock beside a writer that commits, aborts and compacts all the time."""

import asyncio
import sys
import threading
import time

import pytest

from kubedyno.base.random import Random
from kubedyno.statedb.db import DB
from kubedyno.statedb.observe import observe
from kubedyno.statedb.records import History, Index, Tombstone

KEYS = [f"{a}/{b:02}" for a in "abcd" for b in range(20)]
SECONDS = 1.5


@pytest.fixture
def fast_switches():
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(before)


class Bench:
    """Two tables that every commit leaves with the same sum: what one loses the other gains."""

    def __init__(self):
        self.db = DB()
        indexes = [Index("parity", lambda obj: ("odd" if obj[1] % 2 else "even",))]
        self.left = self.db.table("left", lambda obj: obj[0], indexes)
        self.right = self.db.table("right", lambda obj: obj[0], indexes, History(seconds=None, records=500))
        self.stop = threading.Event()
        self.failures = []
        self.rounds = {}

    def run(self, *bodies):
        threads = [threading.Thread(target=self.guarded, args=(body,), daemon=True) for body in bodies]
        for thread in threads:
            thread.start()
        time.sleep(SECONDS)
        # Each body has really run, however many others share the processors.
        names, end_s = [body.__name__ for body in bodies], time.monotonic() + 60
        while not self.failures and any(self.rounds.get(name, 0) <= 5 for name in names):
            assert time.monotonic() < end_s, self.rounds
            time.sleep(0.05)
        self.stop.set()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        if self.failures:
            raise self.failures[0]

    def guarded(self, body):
        try:
            while not self.stop.is_set():
                body()
                self.rounds[body.__name__] = self.rounds.get(body.__name__, 0) + 1
        except BaseException as error:
            self.failures.append(error)
            self.stop.set()

    def write(self, random):
        txn = self.db.write(self.left, self.right)
        for key in random.sample(KEYS, random.randint(1, 12)):
            amount = random.randint(1, 9)
            for table, sign in ((self.left, 1), (self.right, -1)):
                old = txn.get(table, key)
                if old is not None and random.random() < 0.2:
                    # The whole row goes, and its opposite with it.
                    continue
                txn.insert(table, (key, (old.obj[1] if old else 0) + sign * amount))
            if random.random() < 0.3:
                txn.delete(self.left, key)
                txn.delete(self.right, key)
        # Level out what the skipped rows left.
        total = sum(record.obj[1] for table in (self.left, self.right) for record in txn.all(table))
        old = txn.get(self.left, "level")
        txn.insert(self.left, ("level", (old.obj[1] if old else 0) - total))
        if random.random() < 0.25:
            txn.abort()
        else:
            txn.commit()


def consistent(snapshot, table):
    """Read a table in every way and compare the answers."""
    rows = [(r.key, r.obj, r.revision) for r in snapshot.all(table)]
    assert rows == sorted(rows)
    assert all(revision <= snapshot.revision for _, _, revision in rows)
    assert snapshot.count(table) == len(rows)
    for key, obj, revision in rows[::7]:
        record = snapshot.get(table, key)
        assert (record.obj, record.revision) == (obj, revision)
    assert [(r.key, r.obj, r.revision) for r in snapshot.prefix(table, "b/")] == [r for r in rows if r[0][:2] == "b/"]
    odd = [(r.key, r.obj, r.revision) for r in snapshot.by_index(table, "parity", "odd")]
    assert odd == [row for row in rows if row[1][1] % 2]
    assert [r.key for _, r in snapshot.scan(table, "parity", "f")] == [row[0] for row in odd]
    by_revision = [(r.key, r.obj, r.revision) for r in snapshot.by_revision(table)]
    assert by_revision == sorted(rows, key=lambda row: row[2])
    return sum(obj[1] for _, obj, _ in rows)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_readers_see_whole_commits_only(fast_switches, seed):
    bench = Bench()
    random = Random(seed)
    old = [bench.db.read()]

    def writer():
        bench.write(random)

    def compactor():
        bench.db.compact(50)
        time.sleep(0.001)

    def reader():
        snapshot = bench.db.read()
        assert consistent(snapshot, bench.left) + consistent(snapshot, bench.right) == 0

    def slow_reader():
        """Keep a snapshot for a while: its answers stay."""
        snapshot = bench.db.read()
        first = [(r.key, r.obj) for r in snapshot.all(bench.left)]
        time.sleep(0.02)
        assert consistent(snapshot, bench.left) + consistent(snapshot, bench.right) == 0
        assert [(r.key, r.obj) for r in snapshot.all(bench.left)] == first
        old[0] = snapshot

    bench.run(writer, compactor, reader, slow_reader)


@pytest.mark.slow
def test_followers_end_with_what_is_there(fast_switches):
    bench = Bench()
    random = Random(3)
    folds = {}
    cursors = {name: bench.db.tables[name].changes() for name in ("left", "right")}

    def writer():
        bench.write(random)

    def fold(name, limit):
        known = folds.setdefault(name, {})
        cursor = cursors[name]
        before = cursor.revision
        for record in cursor.next(limit):
            assert before < record.revision <= bench.db.revision
            before = record.revision
            if type(record) is Tombstone:
                known.pop(record.key, None)
            else:
                known[record.key] = (record.obj, record.revision)

    def follower():
        fold("left", 7)

    def other_follower():
        fold("right", None)

    bench.run(writer, follower, other_follower)
    for name in ("left", "right"):
        table = bench.db.tables[name]
        while cursors[name].behind:
            fold(name, None)
        assert folds[name] == {r.key: (r.obj, r.revision) for r in bench.db.read().all(table)}


@pytest.mark.slow
def test_no_wake_is_missed_by_threads_or_tasks(fast_switches):
    bench = Bench()
    seen = {}
    done = threading.Event()

    def wait_in_thread(key):
        snapshot = bench.db.read()
        while not done.is_set():
            watch = snapshot.watch(bench.left, key=key)
            assert watch.wait_thread(5)
            snapshot = bench.db.read()
            record = snapshot.get(bench.left, key)
            seen[key] = record.obj[1]
            if record.obj[1] == 500:
                return

    async def wait_in_task():
        async for records in observe(bench.left):
            for record in records:
                seen["task"] = record.obj[1]
                if record.obj == ("last", 500):
                    return

    def writer():
        for number in range(501):
            for key in ("a", "b", "last"):
                bench.db.put(bench.left, (key, number))

    threads = [threading.Thread(target=wait_in_thread, args=(key,), daemon=True) for key in ("a", "b", "last")]
    threads.append(threading.Thread(target=lambda: asyncio.run(asyncio.wait_for(wait_in_task(), 60)), daemon=True))
    for thread in threads:
        thread.start()
    writer()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    done.set()
    assert seen == {"a": 500, "b": 500, "last": 500, "task": 500}


@pytest.mark.slow
def test_writers_of_any_tables_never_wait_for_each_other_forever(fast_switches):
    db = DB()
    tables = [db.table(name, lambda obj: obj[0]) for name in "abcd"]
    random = Random(5)
    counts = [0] * 4

    def writer(mine):
        for _ in range(200):
            chosen = random.sample(range(4), random.randint(1, 4))
            with db.write(*(tables[i] for i in chosen)) as txn:
                for i in chosen:
                    old = txn.get(tables[i], "n")
                    txn.insert(tables[i], ("n", (old.obj[1] if old else 0) + 1))
                    mine[i] += 1

    mines = [[0] * 4 for _ in range(6)]
    threads = [threading.Thread(target=writer, args=(mine,), daemon=True) for mine in mines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    counts = [sum(mine[i] for mine in mines) for i in range(4)]
    assert [db.read().get(table, "n").obj[1] for table in tables] == counts
    assert db.revision == sum(counts)
