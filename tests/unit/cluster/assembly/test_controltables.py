"""Streams of changes that expire, slow readers, pages whose revision is gone: with little history and no server."""

import asyncio

import orjson
import pytest

from kubedyno.base import aio
from kubedyno.base.simulation import simulate
from kubedyno.cluster.assembly import controltables
from kubedyno.cluster.assembly.controlmodules import Modules
from kubedyno.cluster.assembly.controltables import Tables
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.cluster.storage.store import Store
from kubedyno.http.messages import Peer, Request
from kubedyno.kube.resources import CONFIGMAPS
from kubedyno.kube.status import BadRequest, Expired, NotFound
from kubedyno.statedb.records import History


class Answer:
    """A responder and its stream."""

    def __init__(self):
        self.status, self.body, self.data = 0, b"", b""
        self.ended = False
        self.on_close = None
        self.closed = False
        self.buffered = 0
        self.drained = asyncio.Event()
        self.drained.set()

    def send(self, status, _type, body, _headers=()):
        self.status, self.body = status, body

    def start(self, status, _type, _headers=()):
        self.status = status
        return self

    def write(self, data):
        self.data += data

    def close(self):
        self.ended = True

    async def drain(self, _limit):
        await self.drained.wait()

    @property
    def lines(self):
        return [orjson.loads(line) for line in self.data.splitlines()]

    @property
    def json(self):
        return orjson.loads(self.body)


class Desk:
    def __init__(self):
        clock = asyncio.get_running_loop()
        self.store = Store(clock)
        self.store.add(CONFIGMAPS, history=History(seconds=None, records=10))
        self.pump = Pump(clock)
        self.modules = Modules(clock, self.pump)
        self.tables = Tables(self.store, self.modules)

    def put(self, name, body=b""):
        meta = f'"name":"{name}"'.encode()
        obj = StoredObject(f"ns/{name}", "ns", name, "", 0, {}, (), 0.0, (), meta, b"", body, b"", None)
        return self.store.put(CONFIGMAPS, obj).revision

    def churn(self, count):
        for i in range(count):
            self.put("churned", b'"data":{"i":"%d"}' % i)
        while self.store.db.compact():
            pass

    def get(self, path, query=""):
        answer = Answer()
        request = Request("GET", "/kubedyno/statedb/" + path, query, {}, b"", Peer(1, "x"))
        assert self.tables.answer(request, answer, path.split("/") if path else [])
        return answer


def desk_test(main):
    def test():
        async def run():
            desk = Desk()
            await main(desk)
            desk.tables._tasks.cancel()
            await asyncio.gather(*desk.tables._tasks._running, return_exceptions=True)

        simulate(run())

    return test


@desk_test
async def test_a_revision_that_is_gone_is_a_410_before_the_stream_begins(desk):
    first = desk.put("a")
    desk.churn(9000)
    with pytest.raises(Expired, match="older than the history") as caught:
        desk.get("configmaps/changes", f"since={first}&full=true")
    assert caught.value.code == 410
    # From the start it always goes: that is the newest of each key.
    answer = desk.get("configmaps/changes", "follow=false")
    await aio.sleep(0.1)
    assert [line["key"] for line in answer.lines[:-1]] == ["ns/a", "ns/churned"]
    assert answer.ended


@desk_test
async def test_a_reader_too_slow_for_the_history_is_told_and_ended(desk):
    answer = desk.get("configmaps/changes", "full=true")
    answer.drained.clear()
    desk.put("a")
    await aio.sleep(0.1)
    desk.churn(9000)
    answer.drained.set()
    await aio.sleep(0.1)
    last = answer.lines[-1]
    assert (last["type"], last["code"], last["reason"]) == ("ERROR", 410, "Expired")
    assert answer.ended
    assert desk.store.table(CONFIGMAPS).trackers == 0


@desk_test
async def test_a_stream_goes_on_and_says_how_far_it_is_while_nothing_happens(desk):
    answer = desk.get("configmaps/changes")
    await aio.sleep(controltables.BOOKMARK_S * 2.5)
    assert [line["type"] for line in answer.lines] == ["BOOKMARK"] * 3
    revision = desk.put("a")
    await aio.sleep(0.1)
    assert answer.lines[3]["revision"] == revision
    assert answer.lines[4] == {"type": "BOOKMARK", "revision": revision, "initialized": True}


@desk_test
async def test_a_stream_whose_reader_leaves_lets_go_of_everything(desk):
    answer = desk.get("configmaps/changes")
    await aio.sleep(0.1)
    assert desk.store.table(CONFIGMAPS).trackers == 1
    answer.on_close()
    await aio.sleep(0.1)
    assert desk.store.table(CONFIGMAPS).trackers == 0
    assert not desk.tables._tasks


@desk_test
async def test_more_than_a_batch_comes_whole_and_in_order(desk):
    count = controltables.BATCH_RECORDS * 2 + 7
    for i in range(count):
        desk.put(f"k{i:05}")
    answer = desk.get("configmaps/changes", "follow=false&prefix=ns/k")
    await aio.sleep(0.1)
    assert [line["key"] for line in answer.lines[:-1]] == [f"ns/k{i:05}" for i in range(count)]


@desk_test
async def test_a_page_whose_revision_is_gone_is_a_410(desk):
    for name in "abc":
        desk.put(name)
    token = desk.get("configmaps", "limit=1").json["continue"]
    desk.churn(9000)
    with pytest.raises(Expired, match="begin the list anew, without continue"):
        desk.get("configmaps", f"limit=1&continue={token}")


@desk_test
async def test_pages_in_reverse_and_by_index_cover_everything_once(desk):
    for name in "abcde":
        desk.put(name)

    def pages(query):
        found, token = [], ""
        while True:
            page = desk.get("configmaps", f"{query}&limit=2{token}").json
            found += [entry["key"][3:] for entry in page["objects"]]
            if "continue" not in page:
                return "".join(found)
            token = f"&continue={page['continue']}"

    assert pages("prefix=ns/") == "abcde"
    assert pages("reverse=true") == "edcba"
    assert pages("prefix=ns/&lowerbound=ns/c") == "cde"
    assert pages("lowerbound=ns/b&reverse=true") == "edcb"


@desk_test
async def test_watching_what_the_parts_say_asks_them_now_and_then(desk):
    answer = desk.get("health/changes")
    await aio.sleep(1)
    desk.pump.health.part("clerk").degraded("paper jam")
    await aio.sleep(1)
    desk.pump.health.part("clerk").ok()
    await aio.sleep(1)
    told = [line["object"] for line in answer.lines if line["type"] == "PUT"]
    assert [(row["module"], row["level"], row["message"]) for row in told] == [
        ("clerk", "Degraded", "paper jam"),
        ("clerk", "OK", ""),
    ]


@desk_test
async def test_a_part_that_is_taken_away_leaves_the_table(desk):
    desk.pump.health.part("clerk").ok()
    assert len(desk.get("health").json["objects"]) == 1
    desk.pump.health.remove("clerk")
    assert desk.get("health").json["objects"] == []


@desk_test
async def test_looking_twice_writes_nothing(desk):
    desk.pump.health.part("clerk").ok()
    revisions = {desk.get("health").json["revision"] for _ in range(3)}
    assert revisions == {1}


@desk_test
async def test_questions_that_make_no_sense(desk):
    desk.put("a")
    token = desk.get("configmaps", "limit=1")
    desk.put("b")
    token = desk.get("configmaps", "limit=1").json["continue"]
    with pytest.raises(BadRequest, match="the token is of a list without an index"):
        desk.get("configmaps", f"index=owner&continue={token}")
    with pytest.raises(NotFound, match="did you mean configmaps"):
        desk.get("configmap")
    assert not desk.tables.answer(Request("GET", "", "", {}, b"", Peer(1, "x")), Answer(), ["configmaps", "x", "y"])
