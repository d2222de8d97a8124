"""StateDB against a dict and a list: whatever the order of writes, aborts, compactions and readers."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kubedyno.statedb import log, view
from kubedyno.statedb.db import DB
from kubedyno.statedb.errors import ExpiredError, ObjectNotFoundError, RevisionNotEqualError, UniqueIndexError
from kubedyno.statedb.records import DEAD, History, Index, Tombstone

KEYS = [f"{a}/{b}" for a in "abc" for b in "0123456"] + ["", "a", "b" + chr(0x10FFFF)]
PREFIXES = ["", "a", "a/", "b", "b" + chr(0x10FFFF), "c/3", "d"]
GROUPS = "xyz"
keys = st.sampled_from(KEYS)
# An object is (key, groups, mark): groups are a multi-valued index, the mark a unique one.
objects = st.tuples(keys, st.frozensets(st.sampled_from(GROUPS)), st.sampled_from(["", "", "", "m1", "m2"]))
operations = st.lists(
    st.one_of(
        st.tuples(st.just("put"), objects),
        st.tuples(st.just("put"), objects),
        st.tuples(st.just("delete"), keys),
        st.tuples(st.just("swap"), objects, st.booleans()),
        st.tuples(st.just("cut"), keys, st.booleans()),
    ),
    max_size=8,
)


def by_revision(entry):
    return entry[1]


class Model:
    """Key → (object, revision), and every version ever committed: (revision, key, object or None)."""

    def __init__(self, other=None):
        self.live = dict(other.live) if other else {}
        self.log = list(other.log) if other else []

    def marked(self, mark):
        return {key for key, (obj, _) in self.live.items() if mark and obj[2] == mark}


class StateDBMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.sizes = log.SEGMENT_RECORDS, view.CHUNK_RECORDS
        log.SEGMENT_RECORDS, view.CHUNK_RECORDS = 8, 4
        self.db = DB()
        indexes = [
            Index("group", lambda obj: sorted(obj[1])),
            Index("mark", lambda obj: (obj[2],) if obj[2] else (), unique=True),
        ]
        self.plain = self.db.table("plain", lambda obj: obj[0], indexes)
        self.kept = self.db.table("kept", lambda obj: obj[0], indexes, History(seconds=None, records=12))
        self.models = {self.plain: Model(), self.kept: Model()}
        self.revision = 0
        self.snapshots = []
        self.watches = []
        # Cursor, its table, what folding its changes gave.
        self.coalesced = []
        self.full = []

    def teardown(self):
        log.SEGMENT_RECORDS, view.CHUNK_RECORDS = self.sizes

    # --- writes ---

    def apply(self, txn, table_, model, operation):
        kind, what, *rest = operation
        if kind == "put":
            self.put(txn, table_, model, what)
        elif kind == "delete":
            self.delete(txn, table_, model, what)
        else:
            key = what if kind == "cut" else what[0]
            known = model.live.get(key)
            good = rest[0] and known is not None
            revision = known[1] if good else self.revision + 100
            if kind == "cut":
                if known is not None and not good:
                    with pytest.raises(RevisionNotEqualError):
                        txn.compare_and_delete(table_, revision, key)
                else:
                    self.delete(txn, table_, model, key, revision)
            elif good:
                self.put(txn, table_, model, what, revision)
            else:
                with pytest.raises(ObjectNotFoundError if known is None else RevisionNotEqualError):
                    txn.compare_and_swap(table_, revision, what)

    def put(self, txn, table_, model, obj, revision=None):
        def write():
            return txn.insert(table_, obj) if revision is None else txn.compare_and_swap(table_, revision, obj)

        if model.marked(obj[2]) - {obj[0]}:
            with pytest.raises(UniqueIndexError):
                write()
            return
        old = model.live.get(obj[0])
        record = write()
        self.revision += 1
        assert record.revision == self.revision
        assert (None if record.prev is None or type(record.prev) is Tombstone else record.prev.obj) == (old and old[0])
        model.live[obj[0]] = (obj, self.revision)
        model.log.append((self.revision, obj[0], obj))

    def delete(self, txn, table_, model, key, revision=None):
        old = model.live.pop(key, None)
        grave = txn.delete(table_, key) if revision is None else txn.compare_and_delete(table_, revision, key)
        if old is None:
            assert grave is None
        else:
            self.revision += 1
            assert (grave.obj, grave.revision) == (old[0], self.revision)
            model.log.append((self.revision, key, None))

    @rule(first=operations, second=operations, abort=st.booleans(), many=st.booleans(), look=st.booleans())
    def transaction(self, first, second, abort, many, look):
        before = self.revision, {table_: Model(model) for table_, model in self.models.items()}
        with_view = {table_: self.db.read().all(table_) for table_ in self.models} if look else {}
        txn = self.db.write(self.plain, self.kept)
        for table_, operations_ in ((self.plain, first), (self.kept, second)):
            for operation in operations_:
                self.apply(txn, table_, self.models[table_], operation)
        if many:
            batch = [(key, frozenset("x"), "") for key in KEYS[:5]]
            model = self.models[self.plain]
            for record, obj in zip(txn.insert_many(self.plain, batch), batch, strict=True):
                self.revision += 1
                assert record.revision == self.revision
                model.live[obj[0]] = (obj, self.revision)
                model.log.append((self.revision, obj[0], obj))
        for table_, model in self.models.items():
            self.check_answers(txn, table_, model)
            if look:
                assert self.db.read().all(table_) == with_view[table_]
                # Nor does a cursor see what is not committed.
                changes = table_.changes(0).next()
                assert [(r.obj, r.revision) for r in changes] == sorted(
                    before[1][table_].live.values(), key=by_revision
                )
        self.check_committed(*before)
        if abort:
            txn.abort()
            self.revision, self.models = before
        else:
            snapshot = txn.commit()
            self.snapshots.append((snapshot, {table_: Model(model) for table_, model in self.models.items()}))
        txn.abort()

    @rule(operations_=operations)
    def single_table(self, operations_):
        """Transactions that leave the other table alone."""
        with self.db.write(self.plain) as txn:
            for one in operations_:
                self.apply(txn, self.plain, self.models[self.plain], one)

    @rule(objs=st.lists(objects, max_size=4), gaps=st.lists(st.integers(1, 3), min_size=5, max_size=5))
    def follow_an_outside_store(self, objs, gaps):
        model = self.models[self.plain]
        with self.db.write(self.plain) as txn:
            for obj, gap in zip(objs, gaps, strict=False):
                revision = self.revision + gap
                with pytest.raises(ValueError, match="is not above"):
                    txn.apply(self.plain, self.revision, obj)
                if model.marked(obj[2]) - {obj[0]}:
                    with pytest.raises(UniqueIndexError):
                        txn.apply(self.plain, revision, obj)
                    continue
                if not obj[1]:
                    txn.apply_delete(self.plain, revision, obj[0])
                    if model.live.pop(obj[0], None) is not None:
                        model.log.append((revision, obj[0], None))
                else:
                    assert txn.apply(self.plain, revision, obj).revision == revision
                    model.live[obj[0]] = (obj, revision)
                    model.log.append((revision, obj[0], obj))
                self.revision = revision
            self.revision += gaps[4]
            txn.advance(self.revision)

    # --- watches ---

    @rule(back=st.integers(0, 3))
    def watch(self, back):
        """Kept with the answer of their query: they may only stay open while that is the same."""
        old = self.snapshots[-back:][:1] if back else []
        snapshot, models = old[0] if old else (self.db.read(), self.models)
        live = models[self.plain].live
        queries = [{"key": key} for key in KEYS[::4]] + [{"prefix": prefix} for prefix in PREFIXES]
        queries += [{"index": ("group", group)} for group in GROUPS] + [{}]
        self.watches += [(snapshot.watch(self.plain, **query), query, self.answer(query, live)) for query in queries]

    def answer(self, query, live):
        if "key" in query:
            return live.get(query["key"])
        if "index" in query:
            return sorted((key, live[key]) for key in live if query["index"][1] in live[key][0][1])
        return sorted((key, entry) for key, entry in live.items() if key.startswith(query.get("prefix", "")))

    @invariant()
    def watches_close_when_their_answer_changes(self):
        kept = []
        for watch, query, before in self.watches:
            if watch.closed:
                # For a key: never without a write of that key.
                written = {key for _, key, _ in self.models[self.plain].log}
                assert "key" not in query or query["key"] in written
            else:
                assert self.answer(query, self.models[self.plain].live) == before
                kept.append((watch, query, before))
        self.watches = kept

    # --- readers and compaction ---

    @rule()
    def take_snapshot(self):
        self.snapshots.append((self.db.read(), {table_: Model(model) for table_, model in self.models.items()}))

    @rule(n=st.integers(0, 20))
    def drop_snapshots(self, n):
        del self.snapshots[:n]

    @rule(items=st.sampled_from([1, 3, 10, 1000]))
    def compact(self, items):
        self.db.compact(items)

    @rule()
    def compact_fully(self):
        while self.db.compact(1000):
            pass
        if not self.snapshots and not self.coalesced:
            for table_, keep in ((self.plain, 0), (self.kept, 12)):
                reachable = sum(record.prev is not DEAD for s in table_.log.segments for record in s.records)
                graves = sum(type(record) is Tombstone for record in table_.head.values())
                assert reachable <= table_.count + keep + (graves if table_._view else 0)
                assert len(table_.log) <= 2 * reachable + 1

    @rule(table_=st.sampled_from(["plain", "kept"]))
    def open_cursor(self, table_):
        table_ = self.db.tables[table_]
        self.coalesced.append((table_.changes(0), table_, {}))

    @rule()
    def open_full_cursor(self):
        self.full.append((self.kept.changes(self.revision), self.revision))

    @rule()
    def resume_from_revision(self):
        """A number is enough to go on, or to be told that it is too old."""
        for table_, model in self.models.items():
            for since in range(0, self.revision + 1, 3):
                then = {key: obj for revision, key, obj in model.log if revision <= since}
                try:
                    news = table_.changes(since).next()
                except ExpiredError:
                    assert since
                    assert since < table_._grave_floor
                    continue
                for record in news:
                    then[record.key] = None if type(record) is Tombstone else record.obj
                assert {k: o for k, o in then.items() if o is not None} == {k: o for k, (o, _) in model.live.items()}

    @rule(limit=st.sampled_from([None, 1, 2, 5]))
    def follow(self, limit):
        for cursor, table_, fold in self.coalesced:
            seen, before = set(), cursor.revision
            for record in cursor.next(limit):
                # No deletions from before it began.
                assert type(record) is not Tombstone or record.revision > cursor.born
                assert record.revision > before
                before = record.revision
                assert record.key not in seen
                seen.add(record.key)
                if type(record) is Tombstone:
                    fold.pop(record.key, None)
                else:
                    fold[record.key] = (record.obj, record.revision)
            if limit is None:
                assert fold == self.models[table_].live
                assert not cursor.behind

    @rule(limit=st.sampled_from([None, 1, 4]))
    def follow_fully(self, limit):
        kept = []
        for cursor, since in self.full:
            try:
                records = cursor.next_full(limit)
            except ExpiredError:
                # Never while all after it is within the history.
                assert sum(revision > since for revision, _, _ in self.models[self.kept].log) > 12
                continue
            expected = [entry for entry in self.models[self.kept].log if entry[0] > since][:limit]
            got = [(r.revision, r.key, None if type(r) is Tombstone else r.obj) for r in records]
            assert got == expected
            kept.append((cursor, cursor.revision))
        self.full = kept

    @rule(gone=st.lists(keys, min_size=2, max_size=4, unique=True), obj=objects, limit=st.sampled_from([1, 1, 2]))
    def lag_while_all_is_compacted(self, gone, obj, limit):
        """Cursors that are behind hold back what they need and nothing else does."""
        self.open_cursor("plain")
        self.single_table([("put", (key, frozenset(), "")) for key in gone])
        self.follow(None)
        self.single_table([("delete", key) for key in gone])
        self.follow(limit)
        self.single_table([("put", obj), ("put", obj)])
        self.snapshots.clear()
        while self.db.compact(1000):
            pass
        self.follow(limit)

    @rule()
    def close_cursors(self):
        for cursor, _, _ in self.coalesced:
            cursor.close()
        self.coalesced = []

    # --- what always holds ---

    def check_answers(self, reader, table_, model):
        live = model.live
        expected = [live[key] for key in sorted(live)]
        assert [(r.obj, r.revision) for r in reader.all(table_)] == expected
        for prefix in PREFIXES:
            assert [r.key for r in reader.prefix(table_, prefix)] == [k for k in sorted(live) if k.startswith(prefix)]
        for key in KEYS[::4]:
            record = reader.get(table_, key)
            assert (record and (record.obj, record.revision)) == live.get(key)
        for group in GROUPS:
            expected_keys = sorted(key for key, (obj, _) in live.items() if group in obj[1])
            assert [r.key for r in reader.by_index(table_, "group", group)] == expected_keys
        for mark in ("m1", "m2"):
            assert {r.key for r in reader.by_index(table_, "mark", mark)} == model.marked(mark)
        for lo, hi in (("", None), ("x", "z"), ("y", None), ("z", "x")):
            for reverse in (False, True):
                self.check_scan(reader, table_, live, lo, hi, reverse)

    def check_scan(self, reader, table_, live, lo, hi, reverse):
        pick = max if reverse else min
        expected = sorted(
            (
                (pick(groups), key)
                for key, (obj, _) in live.items()
                if (groups := [g for g in obj[1] if lo <= g and (hi is None or g < hi)])
            ),
            reverse=reverse,
        )
        assert [(g, r.key) for g, r in reader.scan(table_, "group", lo, hi, reverse=reverse)] == expected
        pages, after = [], None
        while page := reader.scan(table_, "group", lo, hi, 2, reverse=reverse, after=after):
            assert len(page) <= 2
            pages += [(group, record.key) for group, record in page]
            after = pages[-1]
        assert pages == expected

    def check_snapshot(self, snapshot, models):
        for table_, model in models.items():
            self.check_answers(snapshot, table_, model)
            live = sorted(model.live)
            assert snapshot.count(table_) == len(live)
            for lo, hi, limit in (("a/3", "b/2", None), ("b", None, 3), ("a/1", "a/1", 1), ("z", "a", None)):
                expected = [key for key in live if lo <= key and (hi is None or key < hi)]
                assert [r.key for r in snapshot.range(table_, lo, hi, limit)] == expected[:limit]
                got = [r.key for r in snapshot.range(table_, lo, hi, limit, reverse=True)]
                assert got == expected[::-1][:limit]
            by_revision = sorted(revision for _, revision in model.live.values())
            assert [r.revision for r in snapshot.by_revision(table_)] == by_revision
            middle = self.revision // 2
            assert [r.revision for r in snapshot.by_revision(table_, middle)] == [r for r in by_revision if r >= middle]

    def check_committed(self, revision, models):
        """A reader that opens in the middle of a transaction sees the state before it."""
        snapshot = self.db.read()
        assert snapshot.revision == revision
        self.check_snapshot(snapshot, models)

    @invariant()
    def every_snapshot_answers_as_on_its_day(self):
        assert self.db.revision == self.revision
        self.check_committed(self.revision, self.models)
        for snapshot, models in self.snapshots[:3]:
            self.check_snapshot(snapshot, models)
        for table_, model in self.models.items():
            self.check_heads(table_, model)

    def check_heads(self, table_, model):
        for postings in table_.postings:
            revisions = [leave[0] for leave in postings._leaves]
            assert revisions == sorted(revisions)
            assert all(revision <= self.revision for revision in revisions)
        assert table_.count == len(model.live)
        assert [r.key for r in table_.all()] == sorted(model.live)
        for group in GROUPS:
            there = [r.key for r in table_.by_index("group", group)]
            assert there == sorted(key for key, (obj, _) in model.live.items() if group in obj[1])
            assert table_.index_count("group", group) == len(there)


StateDBMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=25)
TestStateDB = StateDBMachine.TestCase
