import asyncio
from dataclasses import dataclass
from pathlib import Path
from random import Random as PlainRandom
from shutil import copytree
from threading import Lock
from typing import Any

import pytest

from kubedyno.base.errors import KubedynoError
from kubedyno.base.random import Random
from kubedyno.cluster.registry.recovery import restore
from kubedyno.cluster.registry.registry import Registry
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.storage import journal as journal_module
from kubedyno.cluster.storage.journal import Journal
from kubedyno.cluster.storage.store import Store
from kubedyno.kube.resources import CONFIGMAPS, EVENTS, NAMESPACES, PODS, SERVICEACCOUNTS
from kubedyno.statedb.errors import ExpiredError
from kubedyno.statedb.records import Tombstone

NS = "ns"


class FakeClock:
    now_s = 1_795_000_000.0

    def now(self) -> float:
        return self.now_s

    def monotonic(self) -> float:
        return self.now_s


@dataclass
class Kept:
    """A registry over what a folder keeps."""

    path: Path

    def __post_init__(self) -> None:
        self.journal = Journal(self.path)
        kept = self.journal.kept
        assert kept is not None
        self.note, self.revision = kept.note, kept.revision
        self.store = Store(FakeClock())
        self.registry = Registry(self.store, self.store.db.clock, Random(kept.revision), ClusterSettings())
        restore(self.registry, kept)
        self.trusted = Trusted(self.registry)
        self.journal.follow(self.store)

    def create(self, name: str, value: str = "v") -> None:
        self.registry.create(CONFIGMAPS, NS, {"metadata": {"name": name}, "data": {"k": value}})

    def all(self) -> dict[tuple[str, str], tuple[int, bytes]]:
        """Return revision and JSON of every object."""
        return {
            (resource.plural, record.key): (record.revision, self.store.encode(resource, record))
            for resource in self.registry.store.resources
            for record in self.store.table(resource).all()
        }

    def close(self) -> None:
        asyncio.run(self.journal.close())


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    made = Kept(tmp_path / "data")
    made.registry.create(NAMESPACES, "", {"metadata": {"name": NS}})
    made.registry.create(SERVICEACCOUNTS, NS, {"metadata": {"name": "default"}})
    return made


def again(kept: Kept) -> Kept:
    kept.close()
    return Kept(kept.path)


def segments(kept: Kept) -> list[Path]:
    return sorted(kept.path.glob("journal-*"))


def pod(kept: Kept, name: str, node: str = "") -> Any:
    spec = {"containers": [{"name": "c", "image": "nginx"}], **({"nodeName": node} if node else {})}
    return kept.registry.create(PODS, NS, {"metadata": {"name": name, "labels": {"a": "b"}}, "spec": spec})


def test_what_was_written_is_there_again_at_its_revisions(kept: Kept) -> None:
    for i in range(20):
        kept.create(f"c{i}")
    kept.registry.delete(CONFIGMAPS, NS, "c3", {})
    lean = pod(kept, "lean")
    pod(kept, "bound", "node")
    kept.trusted.event(PODS, lean, type="Normal", reason="R", message="m", component="test")
    kept.registry.bind(NS, "lean", {"metadata": {"name": "lean"}, "target": {"name": "node"}})
    before, revision = kept.all(), kept.store.revision
    after = again(kept)
    assert after.all() == before
    assert after.store.revision == revision
    assert after.note == ""
    assert [r.obj.name for r in after.store.by_index(PODS, "node", "node")] == ["bound", "lean"]
    assert after.store.table(EVENTS).count == 1


def test_a_deletion_is_the_last_word_on_the_revision(kept: Kept) -> None:
    kept.create("c")
    kept.registry.delete(CONFIGMAPS, NS, "c", {})
    revision = kept.store.revision
    after = again(kept)
    assert after.store.revision == revision
    after.create("d")
    assert after.store.get(CONFIGMAPS, f"{NS}/d").revision == revision + 1  # type: ignore[union-attr]


def test_a_watch_from_before_the_restart_expires_and_one_from_its_end_goes_on(kept: Kept) -> None:
    kept.create("c")
    old = kept.store.revision
    kept.registry.delete(CONFIGMAPS, NS, "c", {})
    table = again(kept).store.table(CONFIGMAPS)
    with pytest.raises(ExpiredError):
        table.changes(old).next_full()
    assert table.floor == table.revision
    assert table.changes(table.floor).next_full() == []


def test_cut_anywhere_the_journal_gives_a_state_that_once_was(kept: Kept, tmp_path: Path) -> None:
    states = [kept.all()]
    for i in range(6):
        kept.create(f"c{i % 4}x{i}", "v" * i)
        kept.journal.flush()
        states.append(kept.all())
    kept.registry.delete(CONFIGMAPS, NS, "c0x0", {})
    states.append(kept.all())
    kept.close()
    whole = segments(kept)[0].read_bytes()
    random = PlainRandom(1)
    begun = whole.index(b"c0x0") + 200
    for number in range(60):
        folder = tmp_path / str(number)
        folder.mkdir()
        damaged = bytearray(whole)
        at = random.randrange(begun, len(whole))
        if number % 2:
            damaged[at] ^= 1 << random.randrange(8)
        else:
            del damaged[at:]
        (folder / segments(kept)[0].name).write_bytes(damaged)
        cut = Kept(folder)
        assert cut.all() in states
        assert cut.all() != states[-1]
        if number % 2:
            assert "checksum" in cut.note or "within a record" in cut.note or "length" in cut.note
        # And it goes on from there.
        cut.create("more")
        state = cut.all()
        after = again(cut)
        assert after.note == ""
        assert after.all() == state
        after.close()


def test_the_line_about_damage_says_where_and_what_is_kept(kept: Kept) -> None:
    kept.create("c")
    kept.close()
    path = segments(kept)[0]
    with path.open("ab") as file:
        file.write(b"\0" * 100)
    size = path.stat().st_size
    after = Kept(kept.path)
    assert after.note == (
        f"{path}: a record has no sensible length at byte {size - 100} of {size}; "
        f"kept is what was written before it, up to revision {after.revision}"
    )


def test_a_snapshot_takes_the_place_of_the_segments_before_it(kept: Kept) -> None:
    for i in range(1000):
        kept.create(f"c{i}")
    kept.registry.delete(CONFIGMAPS, NS, "c5", {})

    async def scenario() -> None:
        task = asyncio.ensure_future(kept.journal.snapshot())
        await asyncio.sleep(0)
        # While it is being written the cluster goes on.
        kept.registry.delete(CONFIGMAPS, NS, "c7", {})
        kept.create("late")
        kept.journal.flush()
        await task

    asyncio.run(scenario())
    before, revision = kept.all(), kept.store.revision
    assert len(segments(kept)) == 1
    assert len(list(kept.path.glob("snapshot-*"))) == 1
    after = again(kept)
    assert after.all() == before
    assert after.store.revision == revision


def test_ended_at_any_moment_of_a_snapshot_everything_is_there(kept: Kept, tmp_path: Path) -> None:
    for i in range(700):
        kept.create(f"c{i}")
    copies: list[tuple[Path, dict[tuple[str, str], tuple[int, bytes]]]] = []
    folder, lock = kept.journal._folder, Lock()
    publish, sync = folder.publish, folder._sync

    def copy() -> None:
        copies.append((tmp_path / f"copy{len(copies)}", kept.all()))
        copytree(kept.path, copies[-1][0])

    def publish_locked(revision: int) -> None:
        with lock:
            publish(revision)

    def sync_and_copy() -> None:
        sync()
        # After the snapshot has its name, and after what it makes needless is gone.
        if lock.locked():
            copy()

    folder.publish, folder._sync = publish_locked, sync_and_copy  # type: ignore[method-assign]

    async def scenario() -> None:
        task = asyncio.ensure_future(kept.journal.snapshot())
        while not task.done():
            with lock:
                kept.registry.delete(CONFIGMAPS, NS, f"c{len(copies)}", {})
                kept.journal.flush()
                copy()
            await asyncio.sleep(0.0005)

    asyncio.run(scenario())
    copy()
    seen = set()
    for path, state in copies:
        seen.add((len(list(path.glob("snapshot-*[0-9]"))), len(list(path.glob("journal-*")))))
        found = Kept(path)
        assert found.all() == state
        assert found.note == ""
        found.close()
    assert {(0, 2), (1, 2), (1, 1)} <= seen


def test_a_damaged_snapshot_is_put_aside(kept: Kept) -> None:
    kept.create("c")
    asyncio.run(kept.journal.snapshot())
    kept.close()
    (path,) = kept.path.glob("snapshot-*")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert "snapshot is damaged" in Kept(kept.path).note


def test_segments_are_bounded(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "SEGMENT_BYTES", 3_000)
    for i in range(100):
        kept.create(f"c{i}")
        kept.journal.flush()
    sizes = [path.stat().st_size for path in segments(kept)]
    assert len(sizes) > 3
    assert max(sizes) < 4_000
    before = kept.all()
    assert again(kept).all() == before


def test_two_clusters_cannot_have_one_folder(kept: Kept) -> None:
    with pytest.raises(KubedynoError, match="another cluster is using"):
        Journal(kept.path)


def test_nothing_is_acknowledged_after_a_write_has_failed(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[str] = []
    kept.journal.on_failure = failures.append
    kept.create("c")

    def full(_descriptor: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal_module.os, "write", full)
    for _ in range(2):
        with pytest.raises(OSError, match="space"):
            kept.journal.flush()
    assert len(failures) == 1
    assert failures[0].endswith("cannot be written (No space left on device)")


def test_a_change_is_told_once_and_in_the_order_of_revisions(kept: Kept) -> None:
    kept.create("c")
    kept.journal.flush()
    size = segments(kept)[0].stat().st_size
    kept.journal.flush()
    assert segments(kept)[0].stat().st_size == size
    record = kept.store.get(CONFIGMAPS, f"{NS}/c")
    assert record is not None
    assert type(record) is not Tombstone
