"""StateDB read at every single line that a writer executes: every interleaving of whole reads with a write's steps.

Threads find such places by luck. Here a trace function runs the readers between any two lines of the writer.
"""

import sys
from pathlib import Path

import pytest

from kubedyno.base.random import Random
from kubedyno.statedb import log, txn, view
from kubedyno.statedb.db import DB
from kubedyno.statedb.errors import ExpiredError
from kubedyno.statedb.records import Index, Tombstone

PACKAGE = str(Path(txn.__file__).parent)
KEYS = [f"{a}{b}" for a in "ab" for b in range(4)]


def at_every_line(body, look):
    """Run `body`, and `look` before each line of it that lies in the database's package."""
    lines = 0

    def local(_frame, event, _argument):
        nonlocal lines
        if event == "line":
            lines += 1
            look()
        return local

    def trace(frame, _event, _argument):
        return local if frame.f_code.co_filename.startswith(PACKAGE) else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        body()
    finally:
        sys.settrace(before)
    return lines


class Twin:
    """A database and, by revision, what is in its two tables."""

    def __init__(self):
        self.db = DB()
        indexes = [Index("half", lambda obj: ("high",) if obj[1] > 5 else ("low", "any"))]
        self.tables = [self.db.table(name, lambda obj: obj[0], indexes) for name in ("one", "two")]
        self.states = {0: ({}, {})}
        self.kept = []

    def write(self, random, *, abort):
        """Write something to both tables; what will be there is known before anybody can see it."""
        state = tuple(dict(rows) for rows in self.states[self.db.revision])
        revision, steps = self.db.revision, []
        for _ in range(random.randint(2, 6)):
            which, key, value = random.randrange(2), random.choice(KEYS), random.randrange(10)
            deleted = random.random() < 0.3
            if deleted and key not in state[which]:
                continue
            revision += 1
            steps.append((which, None if deleted else (key, value), key))
            if deleted:
                del state[which][key]
            else:
                state[which][key] = ((key, value), revision)
        if not abort:
            self.states[revision] = state

        def body():
            with self.db.write(*self.tables) as transaction:
                for which, obj, key in steps:
                    if obj is None:
                        transaction.delete(self.tables[which], key)
                    else:
                        transaction.insert(self.tables[which], obj)
                if abort:
                    transaction.abort()

        return body

    def end_at(self, random, *, abort):
        """Open a transaction and write; return what ends it."""
        state = tuple(dict(rows) for rows in self.states[self.db.revision])
        transaction = self.db.write(*self.tables)
        for _ in range(4):
            which, key = random.randrange(2), random.choice(KEYS)
            if random.random() < 0.4:
                transaction.delete(self.tables[which], key)
                state[which].pop(key, None)
            else:
                record = transaction.insert(self.tables[which], (key, random.randrange(10)))
                state[which][key] = (record.obj, record.revision)
        if not abort:
            self.states[transaction.revision] = state
        return transaction.abort if abort else transaction.commit

    def look(self):
        snapshot = self.db.read()
        self.check(snapshot)
        for kept in self.kept:
            self.check(kept)
        for which, table in enumerate(self.tables):
            changes = table.changes().next()
            assert all(type(record) is not Tombstone for record in changes)
            expected = self.states[snapshot.revision][which].values()
            assert [(r.obj, r.revision) for r in changes] == sorted(expected, key=lambda row: row[1])

    def check(self, snapshot):
        for table, rows in zip(self.tables, self.states[snapshot.revision], strict=True):
            assert [(r.key, (r.obj, r.revision)) for r in snapshot.all(table)] == sorted(rows.items())
            for key in KEYS[::3]:
                record = snapshot.get(table, key)
                assert (record and (record.obj, record.revision)) == rows.get(key)
            high = sorted(key for key, (obj, _) in rows.items() if obj[1] > 5)
            assert [r.key for r in snapshot.by_index(table, "half", "high")] == high
            assert sorted(r.key for _, r in snapshot.scan(table, "half")) == sorted(rows)
            by_revision = sorted(revision for _, revision in rows.values())
            assert [r.revision for r in snapshot.by_revision(table)] == by_revision


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_no_reader_ever_sees_half_of_anything(seed, monkeypatch):
    monkeypatch.setattr(log, "SEGMENT_RECORDS", 4)
    monkeypatch.setattr(view, "CHUNK_RECORDS", 3)
    twin, random = Twin(), Random(seed)
    lines = 0
    for _ in range(8):
        abort = random.random() < 0.3
        lines += at_every_line(twin.write(random, abort=abort), twin.look)
        assert twin.db.revision == max(twin.states)
        if random.random() < 0.5:
            twin.kept.append(twin.db.read())
        if random.random() < 0.4:
            del twin.kept[:1]
        if random.random() < 0.6:
            lines += at_every_line(lambda: twin.db.compact(random.choice([1, 3, 100])), twin.look)
    # It has really looked in between.
    assert lines > 1000


@pytest.mark.slow
def test_a_cursor_beside_a_writer_folds_to_what_is_there(monkeypatch):
    monkeypatch.setattr(log, "SEGMENT_RECORDS", 4)
    twin, random = Twin(), Random(9)
    cursors = [table.changes() for table in twin.tables]
    folds = [{}, {}]

    def follow():
        for which, cursor in enumerate(cursors):
            try:
                records = cursor.next(random.choice([1, 2, None]))
            except ExpiredError as error:
                raise AssertionError("an open cursor that reads all the time never expires") from error
            for record in records:
                assert record.revision <= twin.db.revision
                if type(record) is Tombstone:
                    folds[which].pop(record.key, None)
                else:
                    folds[which][record.key] = (record.obj, record.revision)

    for _ in range(25):
        at_every_line(twin.write(random, abort=random.random() < 0.2), follow)
        at_every_line(lambda: twin.db.compact(100), follow)
    for _ in range(100):
        follow()
    assert tuple(folds) == twin.states[twin.db.revision]


READERS = {
    "get": lambda twin, snapshot: [snapshot.get(table, key) for table in twin.tables for key in KEYS[:3]],
    "all": lambda twin, snapshot: snapshot.all(twin.tables[0]),
    "index": lambda twin, snapshot: snapshot.by_index(twin.tables[0], "half", "low"),
    "scan": lambda twin, snapshot: snapshot.scan(twin.tables[0], "half", limit=5),
    "revision": lambda twin, snapshot: snapshot.by_revision(twin.tables[0]),
    "changes": lambda twin, _: twin.cursor.next(3),
    "open": lambda twin, _: twin.db.read().all(twin.tables[1]),
}


def prepared(seed, monkeypatch):
    """Return a twin with a past: versions superseded, rows deleted, an order that is behind."""
    monkeypatch.setattr(log, "SEGMENT_RECORDS", 4)
    monkeypatch.setattr(view, "CHUNK_RECORDS", 3)
    twin, random = Twin(), Random(seed)
    twin.cursor = twin.tables[0].changes()
    for _ in range(3):
        twin.write(random, abort=False)()
    twin.look()
    for _ in range(2):
        twin.write(random, abort=False)()
    return twin, random


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ending", ["commit", "abort", "compact", "commit and compact"])
@pytest.mark.parametrize("reader", READERS)
def test_a_whole_write_at_any_line_of_a_reader_changes_nothing_for_it(reader, ending, seed, monkeypatch):
    read = READERS[reader]
    line, last = 0, 1
    while line < last:
        twin, random = prepared(seed, monkeypatch)
        end = (lambda: None) if ending == "compact" else twin.end_at(random, abort=ending == "abort")
        snapshot = twin.db.read()
        seen, got = 0, []

        def look(twin=twin, end=end, at=line):
            nonlocal seen
            if seen == at:
                end()
                while "compact" in ending and twin.db.compact(100):
                    pass
            seen += 1

        def body(twin=twin, snapshot=snapshot, got=got):
            got += read(twin, snapshot) or []

        at_every_line(body, look)
        last = seen
        twin.check(snapshot)
        twin.look()
        if reader == "all":
            rows = twin.states[snapshot.revision][0]
            assert [(r.key, (r.obj, r.revision)) for r in got] == sorted(rows.items())
        elif reader == "index":
            rows = twin.states[snapshot.revision][0]
            assert [r.key for r in got] == sorted(key for key, (obj, _) in rows.items() if obj[1] <= 5)
        elif reader == "get":
            expected = [rows.get(key) for rows in twin.states[snapshot.revision] for key in KEYS[:3]]
            assert [record and (record.obj, record.revision) for record in got] == expected
        elif reader == "open":
            shown = [(r.key, (r.obj, r.revision)) for r in got]
            assert shown in [sorted(rows[1].items()) for rows in twin.states.values()][-2:]
        # A stride: all lines over the seeds.
        line += 1 + seed
    assert last > 5


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_what_was_given_up_in_the_middle_of_a_read_is_told_never_left_out(reader, monkeypatch):
    """A flood at any line: the answer is right, or the reader has expired."""
    read, expired, right = READERS[reader], 0, 0
    line, last = 0, 1
    while line < last:
        twin, random = prepared(5, monkeypatch)
        twin.db.max_pinned = 3
        twin.cursor = twin.tables[0].changes(twin.db.revision)
        snapshot = twin.db.read()
        before = twin.states[snapshot.revision]
        seen, got = 0, []

        def look(twin=twin, random=random, at=line):
            nonlocal seen
            if seen == at:
                for _ in range(3):
                    for key in KEYS:
                        twin.db.put(twin.tables[0], (key, random.randrange(10)))
                        twin.db.remove(twin.tables[0], key)
                        twin.db.put(twin.tables[1], (key, 1))
                    while twin.db.compact(100):
                        pass
            seen += 1

        def body(twin=twin, snapshot=snapshot, got=got):
            got += read(twin, snapshot) or []

        try:
            at_every_line(body, look)
        except ExpiredError:
            expired += 1
        else:
            right += 1
            if reader == "all":
                assert [(r.key, (r.obj, r.revision)) for r in got] == sorted(before[0].items())
            elif reader == "index":
                assert [r.key for r in got] == sorted(key for key, (obj, _) in before[0].items() if obj[1] <= 5)
            elif reader == "scan":
                assert {r.key for _, r in got} <= set(before[0])
                assert len(got) == min(5, len(before[0]))
            elif reader == "revision":
                assert [r.revision for r in got] == sorted(revision for _, revision in before[0].values())
            elif reader == "get":
                expected = [rows.get(key) for rows in before for key in KEYS[:3]]
                assert [record and (record.obj, record.revision) for record in got] == expected
        last = seen
        line += 1
    assert expired or reader in {"open", "changes"}
    assert right
