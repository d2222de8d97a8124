"""Dumps, text tables and metrics."""

import json
from dataclasses import dataclass, field
from operator import attrgetter

import pytest
import yaml

from kubedyno.statedb import dump
from kubedyno.statedb.db import DB
from kubedyno.statedb.metrics import Metrics, samples, text
from kubedyno.statedb.records import Index


class Clock:
    def __init__(self):
        self.now_s = 100.0

    def now(self):
        return self.now_s

    def monotonic(self):
        return self.now_s


@dataclass(frozen=True, slots=True)
class Service:
    name: str
    port: int
    note: bytes = b""
    tags: frozenset[str] = field(default_factory=frozenset)


@pytest.fixture
def db():
    db = DB(Clock(), metrics=Metrics())
    table = db.table("services", attrgetter("name"), [Index("port", lambda s: (str(s.port),), unique=True)])
    with db.write(table, handle="seed") as txn:
        db.clock.now_s += 0.25
        txn.insert(table, Service("web", 80, b"caf\xc3\xa9 \xff", frozenset({"b", "a"})))
        txn.insert(table, Service("dns", 53))
    return db


def test_json_and_yaml_are_the_same_document(db):
    document = dump.dump(db.read(), db.tables.values())
    assert json.loads(dump.to_json(document)) == yaml.safe_load(dump.to_yaml(document)) == document
    services = document["services"]
    assert (services["revision"], services["initialized"]) == (2, True)
    assert [(entry["key"], entry["revision"]) for entry in services["objects"]] == [("dns", 2), ("web", 1)]
    assert services["objects"][1]["object"] == {"name": "web", "port": 80, "note": "café \\xff", "tags": ["a", "b"]}


def test_a_text_table_aligns_its_columns_and_cuts_long_cells(db):
    table = db.tables["services"]
    assert dump.text_table(db.read(), table, ["port", "tags"]) == (
        'Key   port   tags        Revision\ndns   53     []          2\nweb   80     ["a","b"]   1\n'
    )
    db.put(table, Service("x" * 100, 1))
    rows = dump.text_table(db.read(), table, ["Name"], row=lambda s: (s.name,), prefix="x").splitlines()
    assert rows == ["Name", "x" * 59 + "…"]


def test_objects_without_a_plain_form_are_refused():
    with pytest.raises(TypeError):
        dump.plain(object())


def test_the_overview_names_what_is_pending_and_who_wrote_last(db):
    table = db.tables["services"]
    table.initializer("load")
    cursor = table.changes()
    db.clock.now_s += 2
    lines = dump.overview(db).splitlines()
    assert lines[0].split()[:4] == ["Name", "Objects", "Zombies", "Trackers"]
    for part in ("services", "2", "1", "port (unique)", "load", "seed (2.0 s ago, 250.00 ms)"):
        assert part in lines[1]
    cursor.close()


def test_metrics_have_the_names_of_the_original(db):
    table = db.tables["services"]
    cursor = table.changes()
    cursor.next()
    db.remove(table, "dns")
    snapshot = db.read()
    db.clock.now_s += 3
    found = {(s.name, dict(s.labels).get("table", dict(s.labels).get("handle"))): s.value for s in samples(db)}
    assert found["write_txn_duration_seconds_sum", "seed"] == 0.25
    assert found["write_txn_duration_seconds_count", ""] == 1
    assert found["write_txn_acquisition_seconds_count", "seed"] == 1
    assert found["object_count", "services"] == 1
    assert found["revision", "services"] == 3
    assert found["delete_tracker_count", "services"] == 1
    assert found["graveyard_low_watermark", "services"] == 2
    assert found["oldest_snapshot_age_seconds", None] == 3
    del snapshot
    while db.compact():
        pass
    cleaned = {s.name: s.value for s in samples(db)}
    assert cleaned["graveyard_object_count"] == 1
    assert cleaned["graveyard_cleaning_duration_seconds_count"] >= 1
    cursor.close()
    assert 'statedb_object_count{table="services"} 1\n' in text(samples(db))
