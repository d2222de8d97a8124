"""The run store: concurrent writers, tags, filters, and files that are none."""

import sqlite3
import stat
import threading

import pytest

from kubedyno.base.errors import KubedynoError
from kubedyno.documents.runstore import RunRecord, RunStore


def record(uuid, started_s=1.0, kind="init", **more):
    return RunRecord(
        uuid,
        kind,
        "1970-01-01T00:00:01Z",
        started_s,
        2.0,
        "c.yml",
        "d",
        "t",
        "passed",
        0,
        "/tmp/x",
        {"a.b_ms": 1.5},
        **more,
    )


def test_what_goes_in_comes_out_and_the_file_is_private(tmp_path):
    store = RunStore(tmp_path / "deep" / "runs.db")
    assert store.add([record("a"), record("b", 2.0)]) == [1, 2]
    a, b = store.select()
    assert (a.uuid, a.figures, b.started_s) == ("a", {"a.b_ms": 1.5}, 2.0)
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700


def test_a_run_that_comes_again_is_replaced_and_keeps_its_tags(tmp_path):
    store = RunStore(tmp_path / "runs.db")
    store.add([record("a")])
    store.tag(store.find("a"), ["main", "v1"])
    store.add([record("a", tags=("new",))])
    (only,) = store.select()
    assert only.tags == ("main", "new", "v1")
    store.tag([only], ["v1"], remove=True)
    assert [one.uuid for one in store.select(tags=["main", "new"])] == ["a"]
    assert store.select(tags=["v1"]) == []


def test_filters_and_beginnings_of_uuids(tmp_path):
    store = RunStore(tmp_path / "runs.db")
    store.add([record("ab1"), record("ab2", 5.0, "net lab"), record("c%_", 9.0)])
    assert [one.uuid for one in store.select(kind="net lab")] == ["ab2"]
    assert [one.uuid for one in store.select(since_s=5.0)] == ["ab2", "c%_"]
    assert store.find("c")[0].uuid == "c%_"
    with pytest.raises(KubedynoError, match="2 runs begin so"):
        store.find("ab")
    with pytest.raises(KubedynoError, match="no run 'x'"):
        store.find("x")


def test_many_writers_at_once_lose_nothing(tmp_path):
    store = RunStore(tmp_path / "runs.db")
    failed = []

    def write(number):
        try:
            for i in range(10):
                RunStore(store.path).add([record(f"{number}-{i}")])
        except KubedynoError as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(store.select()) == 60


def test_a_foreign_a_damaged_and_a_later_file_are_a_line_each_and_stay_as_they_are(tmp_path):
    foreign = tmp_path / "foreign.db"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE t (a)")
    connection.close()
    with pytest.raises(KubedynoError, match="another program's database"):
        RunStore(foreign).add([record("a")])
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"no database at all, but long enough to be looked at as one" * 20)
    before = damaged.read_bytes()
    with pytest.raises(KubedynoError, match=r"cannot be used .*move it away"):
        RunStore(damaged).select()
    assert damaged.read_bytes() == before
    later = RunStore(tmp_path / "later.db")
    later.add([record("a")])
    with sqlite3.connect(later.path) as connection:
        connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(KubedynoError, match="version 9"):
        later.select()
