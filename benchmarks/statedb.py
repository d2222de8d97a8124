"""The store: inserts, reads, scans, fan-out, reconciling, memory and pauses, beside what else one might use.

Figures are per CPU second of this process. The comparisons do the same work on the same keys in the same run: a
dict with a lock (no snapshots, no order), sqlite3 in memory, `immutables.Map` and pyrsistent (snapshots, no order). The
recorded figures of Go's statedb come from another machine's runs of the same workload: read the ratio's order.
"""

import asyncio
import gc
import random
import sqlite3
import statistics
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from typing import Any

import immutables
import msgspec
import pyrsistent

from kubedyno.reconciler.reconciler import Reconciler
from kubedyno.reconciler.settings import ReconcilerSettings
from kubedyno.reconciler.status import Status, pending
from kubedyno.statedb.db import DB
from kubedyno.statedb.feed import Feed
from kubedyno.statedb.records import Index

PRELOADED = 100_000
WATCHERS = 1000
# Same workload, Go 1.26, two shared cores: the middle of what was recorded.
GO = {
    "insert_1_per_s": 49_000,
    "insert_100_per_s": 460_000,
    "get_per_s": 1_150_000,
    "list_100k_ms": 17,
    "prefix_1000_us": 170,
    "reconciled_per_s": 160_000,
    "index_bytes_per_object": 296,
}


@dataclass(slots=True)
class Row:
    """An object as cheap as they come."""

    key: str
    a: str
    b: str


class Item(msgspec.Struct, frozen=True, gc=False):
    """An object with a status."""

    key: str
    value: int
    status: Status


def names(count: int, offset: int = 0) -> list[str]:
    return [f"ns-{i // 1000:03}/pod-{i:06}" for i in range(offset, offset + count)]


def shuffled(count: int) -> list[str]:
    """Return that many keys of preloaded objects in the order of a seed: what is asked for is in no cache."""
    keys = names(PRELOADED)
    random.Random(1).shuffle(keys)
    return (keys * (count // len(keys) + 1))[:count]


def per_s(count: int, body: Callable[[], Any]) -> float:
    """Return how many a CPU second."""
    gc.collect()
    began_s = time.process_time()
    body()
    return count / max(time.process_time() - began_s, 1e-9)


def best(repeats: int, measure: Callable[[], float]) -> float:
    """Return the best of some rates: what else runs here only makes them worse."""
    return max(measure() for _ in range(repeats))


def loaded(indexes: Iterable[Index[Row]] = ()) -> tuple[DB, Any]:
    db = DB()
    table = db.table("rows", attrgetter("key"), list(indexes))
    with db.write(table) as txn:
        txn.insert_many(table, [Row(key, key[:6], key[-2:]) for key in names(PRELOADED)])
    while db.compact():
        pass
    return db, table


def inserts(batch: int, count: int, indexes: Iterable[Index[Row]] = ()) -> float:
    db, table = loaded(indexes)
    rows = [Row(key, key[:6], key[-2:]) for key in names(count, PRELOADED)]

    def body() -> None:
        for start in range(0, count, batch):
            with db.write(table) as txn:
                insert = txn.insert
                for row in rows[start : start + batch]:
                    insert(table, row)

    return per_s(count, body)


def reads(figures: dict[str, float], count: int) -> None:
    db, table = loaded()
    wanted = shuffled(count)
    keys = wanted[:PRELOADED]
    snapshot = db.read()

    def get() -> None:
        get_one = snapshot.get
        for key in wanted:
            get_one(table, key)

    figures["get_per_s"] = best(3, lambda: per_s(count, get))
    # Warm: the order is there and one change is to be caught up with.
    db.read().all(table)
    lists, prefixes = [], []
    for i in range(7):
        db.put(table, Row(keys[i], "x", "y"))
        snapshot = db.read()
        snapshot.get(table, keys[0])
        lists.append(1000 / per_s(1, lambda s=snapshot: s.all(table)))
        prefixes.append(1e6 * 20 / per_s(20, lambda s=snapshot: [s.prefix(table, "ns-050/") for _ in range(20)]) / 20)
    figures["list_100k_ms"] = statistics.median(lists)
    figures["prefix_1000_us"] = statistics.median(prefixes)


def fan_out(events: int) -> float:
    """Return µs of CPU an event takes into the queues of 1,000 followers of one feed, 100 events a tick."""
    db, table = loaded()
    feed: Feed[Row] = Feed(table)
    followers = [feed.follow() for _ in range(WATCHERS)]
    keys = names(PRELOADED)
    spent_s, seen = 0.0, 0
    for start in range(0, events, 100):
        with db.write(table) as txn:
            for i in range(start, start + 100):
                txn.insert(table, Row(keys[i % PRELOADED], "x", "y"))
        began_s = time.process_time()
        feed.publish()
        spent_s += time.process_time() - began_s
        for follower in followers:
            for segment in follower.take():
                seen += len(segment)
    assert seen == events * WATCHERS
    return spent_s / events * 1e6


def idle_watchers(count: int) -> float:
    """Return by how many percent 1,000 watches on other keys make single inserts slower."""

    def once(watchers: int) -> float:
        db, table = loaded()
        held = [table.watch(key=f"zz/{i}", since=db.revision) for i in range(watchers)]
        rows = [Row(key, "a", "b") for key in names(count, PRELOADED)]
        rate = per_s(count, lambda: [db.put(table, row) for row in rows])
        assert not any(watch.closed for watch in held)
        return rate

    # In turns, so that what else runs on the machine meets both.
    pairs = [(once(0), once(WATCHERS)) for _ in range(5)]
    return (max(without for without, _ in pairs) / max(with_them for _, with_them in pairs) - 1) * 100


class Sink:
    """A target that only counts."""

    def __init__(self) -> None:
        self.updated = 0

    def update(self, _snapshot: Any, _record: Any) -> None:
        self.updated += 1

    def delete(self, _snapshot: Any, _record: Any) -> None:
        self.updated += 1

    def prune(self, _snapshot: Any, _records: Any) -> None:
        return


def reconciled(count: int) -> float:
    """Return objects a CPU second from insertion to Done."""

    async def main() -> float:
        db = DB()
        table = db.table("items", attrgetter("key"))
        sink = Sink()
        reconciler = Reconciler(
            db,
            table,
            sink,
            attrgetter("status"),
            lambda item, status: Item(item.key, item.value, status),
            settings=ReconcilerSettings(rounds_per_s=1e9),
        )
        items = [Item(key, 1, pending(0.0)) for key in names(count)]
        task = asyncio.create_task(reconciler.run())
        gc.collect()
        began_s = time.process_time()
        for start in range(0, count, 1000):
            with db.write(table) as txn:
                for item in items[start : start + 1000]:
                    txn.insert(table, item)
            await asyncio.sleep(0)
        await reconciler.wait_until_done(60)
        spent_s = time.process_time() - began_s
        task.cancel()
        assert sink.updated == count
        return count / spent_s

    return asyncio.run(main())


def memory(figures: dict[str, float]) -> None:
    """Measure bytes an object in a table takes beside itself and its key, and a secondary index beside its keys."""
    keys = names(PRELOADED)
    rows = [(key, key[:6]) for key in keys]
    found = []
    groups: dict[str, tuple[str]] = {}
    for indexes in ([], [Index("group", lambda row: groups.setdefault(row[1], (row[1],)))]):
        gc.collect()
        tracemalloc.start()
        db = DB()
        table = db.table("rows", itemgetter(0), indexes)
        with db.write(table) as txn:
            txn.insert_many(table, rows)
        while db.compact():
            pass
        gc.collect()
        found.append(tracemalloc.get_traced_memory()[0] / PRELOADED)
        tracemalloc.stop()
        del db, table, txn
    figures["index_bytes_per_object"] = found[0]
    figures["secondary_bytes_per_object"] = found[1] - found[0]


def pauses(figures: dict[str, float], rounds: int) -> None:
    """Find the longest slice of compaction, and how long a snapshot's read takes beside a large transaction."""
    db, table = loaded()
    longest_s = 0.0
    for _ in range(rounds):
        snapshot = db.read()
        with db.write(table) as txn:
            txn.insert_many(table, [Row(key, "x", "y") for key in names(50_000)])
        del snapshot
        gc.collect()
        gc.disable()
        more = True
        while more:
            # CPU of this thread: what else runs on the machine is no pause of ours.
            began_s = time.thread_time()
            more = db.compact()
            longest_s = max(longest_s, time.thread_time() - began_s)
        gc.enable()
    figures["compaction_pause_ms"] = longest_s * 1000
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            with db.write(table) as txn:
                for key in names(20_000):
                    txn.insert(table, Row(key, "x", "y"))

    thread = threading.Thread(target=write)
    keys, took_ms = names(100), []
    thread.start()
    end_s = time.monotonic() + 1.5
    while time.monotonic() < end_s:
        began_s = time.perf_counter()
        snapshot = db.read()
        for key in keys:
            snapshot.get(table, key)
        took_ms.append((time.perf_counter() - began_s) * 1000)
    stop.set()
    thread.join()
    took_ms.sort()
    figures["snapshot_read_p99_ms"] = took_ms[int(len(took_ms) * 0.99)]


# --- what else there is -------------------------------------------------------------------------------------------


def dict_and_lock(count: int) -> dict[str, float]:
    store = {key: Row(key, "a", "b") for key in names(PRELOADED)}
    lock = threading.RLock()
    wanted = shuffled(count)
    rows = [Row(key, "a", "b") for key in names(count, PRELOADED)]

    def one() -> None:
        for row in rows:
            with lock:
                store[row.key] = row

    def get() -> None:
        for key in wanted:
            with lock:
                store.get(key)

    def prefix() -> None:
        with lock:
            sorted(key for key in store if key.startswith("ns-050/"))

    found = {"insert_1_per_s": per_s(count, one), "get_per_s": per_s(count, get)}
    found["prefix_1000_us"] = 1e6 / per_s(1, prefix)
    found["list_100k_ms"] = 1e3 / per_s(1, lambda: [store[key] for key in sorted(store)])
    return found


def sqlite(count: int) -> dict[str, float]:
    store = sqlite3.connect(":memory:", isolation_level=None)
    store.execute("CREATE TABLE t (key TEXT PRIMARY KEY, revision INTEGER, obj TEXT) WITHOUT ROWID")
    store.execute("CREATE INDEX r ON t (revision)")
    store.executemany("INSERT INTO t VALUES (?, ?, ?)", ((key, i, "x") for i, key in enumerate(names(PRELOADED))))
    rows = [(key, i, "x") for i, key in enumerate(names(count, PRELOADED))]
    wanted = shuffled(count)

    def insert(batch: int) -> None:
        for start in range(0, count, batch):
            store.execute("BEGIN")
            for row in rows[start : start + batch]:
                store.execute("INSERT OR REPLACE INTO t VALUES (?, ?, ?)", row)
            store.execute("COMMIT")

    def get() -> None:
        for key in wanted:
            store.execute("SELECT obj FROM t WHERE key = ?", (key,)).fetchone()

    found = {"insert_1_per_s": per_s(count, lambda: insert(1)), "insert_100_per_s": per_s(count, lambda: insert(100))}
    found["get_per_s"] = per_s(count, get)
    select = "SELECT * FROM t WHERE key >= 'ns-050/' AND key < 'ns-0500' ORDER BY key"
    found["prefix_1000_us"] = 1e6 / per_s(1, lambda: store.execute(select).fetchall())
    found["list_100k_ms"] = 1e3 / per_s(1, lambda: store.execute("SELECT * FROM t ORDER BY key").fetchall())
    store.close()
    return found


def persistent(make: Callable[[dict[str, Row]], Any], count: int) -> dict[str, float]:
    """Measure a persistent map: each commit is a new one, and every old one is a snapshot."""
    store = make({key: Row(key, "a", "b") for key in names(PRELOADED)})
    rows = [Row(key, "a", "b") for key in names(count, PRELOADED)]
    mutable = "mutate" if hasattr(store, "mutate") else "evolver"

    def one() -> None:
        current = store
        for row in rows:
            current = current.set(row.key, row)

    def hundred() -> None:
        current = store
        for start in range(0, count, 100):
            change = getattr(current, mutable)()
            for row in rows[start : start + 100]:
                change[row.key] = row
            current = change.finish() if mutable == "mutate" else change.persistent()

    def get() -> None:
        for key in wanted:
            store.get(key)

    wanted = shuffled(count)
    found = {"insert_1_per_s": per_s(count, one), "insert_100_per_s": per_s(count, hundred)}
    found["get_per_s"] = per_s(count, get)
    found["list_100k_ms"] = 1e3 / per_s(1, lambda: [store[key] for key in sorted(store)])
    return found


def figures(*, quick: bool) -> dict[str, float]:
    """Return the figures, those of the comparisons under their name, and print the ratios."""
    count = 50_000 if quick else 200_000
    repeats = 2 if quick else 3
    found: dict[str, float] = {}
    group = Index[Row]("group", lambda row: (row.a,))
    tail = Index[Row]("tail", lambda row: (row.b,))
    found["insert_1_per_s"] = best(repeats, lambda: inserts(1, count))
    found["insert_100_per_s"] = best(repeats, lambda: inserts(100, count))
    found["insert_100_two_secondaries_per_s"] = best(repeats, lambda: inserts(100, count, (group, tail)))
    reads(found, count * 2)
    found["event_to_1000_watchers_us"] = fan_out(5_000 if quick else 20_000)
    found["idle_watchers_percent"] = idle_watchers(count)
    found["reconciled_per_s"] = best(repeats, lambda: reconciled(count))
    memory(found)
    pauses(found, 2 if quick else 5)
    others = {
        "dict_rlock": dict_and_lock(count),
        "sqlite": sqlite(count // 2),
        "immutables": persistent(immutables.Map, count),
        "pyrsistent": persistent(pyrsistent.pmap, count // 4),
        "go_recorded": {key: float(value) for key, value in GO.items()},
    }
    print(f"{'times as good as':<24}" + "".join(f"{name:>14}" for name in others))
    for key in GO:
        row = f"{key:<24}"
        for name, theirs in others.items():
            if key in theirs:
                found[f"{name}_{key}"] = theirs[key]
                ratio = found[key] / theirs[key] if key.endswith("per_s") else theirs[key] / found[key]
                row += f"{ratio:>14.2f}"
            else:
                row += f"{'-':>14}"
        print(row)
    return found
