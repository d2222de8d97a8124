"""When a request was meant to leave, when it was accepted, when its object was seen."""

import asyncio
from types import SimpleNamespace

import orjson
import pytest

from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.base.simulation import simulate
from kubedyno.client.api import Result
from kubedyno.load.engine.bucket import TokenBucket
from kubedyno.load.engine.record import JobRecord
from kubedyno.load.engine.sender import Sender
from kubedyno.load.measurements.sightings import Sightings


class Slow:
    """Answers every request after so long."""

    def __init__(self, after_s):
        self.after_s = after_s

    def submit(self, _method, _path, _body, done, _headers=()):
        asyncio.get_running_loop().call_later(self.after_s, done, Result(201, b""))


def sent(after_s, count, window, ideal=True, pause_s=0.0):
    """Send requests at 100 a second to a server of so many turns, on simulated time; returns the record."""
    record = JobRecord("j", "create", 100, 1)

    async def run():
        sender = Sender(
            Slow(after_s), TokenBucket(100, 1), record, asyncio.get_running_loop(), retry_budget_s=1, final=lambda _s: True,
            on_error=print, window=window, ideal=TokenBucket(100, 1) if ideal else None,
        )  # fmt: skip
        record.started_s = asyncio.get_running_loop().time()
        for number in range(count):
            if number == count // 2 and pause_s:
                await asyncio.sleep(pause_s)
            await sender.send("POST", "/x", b"", "X/x")
        await sender.finish()

    simulate(run())
    return record


def test_waiting_for_a_slow_server_counts_from_when_an_open_loop_would_have_sent():
    # One at a time, 50 ms each: at 100 a second request n is due after 10·n ms and leaves after 50·n ms.
    record = sent(0.05, 8, 1)
    assert list(record.accept_ms) == pytest.approx([50] * 8)
    assert record.corrected_ms[-1] == pytest.approx(330)
    assert list(record.corrected_ms) == sorted(record.corrected_ms)


def test_a_fast_server_leaves_nothing_to_correct():
    record = sent(0.001, 30, 400)
    assert list(record.corrected_ms) == pytest.approx([1] * 30)
    timeline = record.timeline()
    assert sum(each["asked"] for each in timeline) == sum(each["sent"] for each in timeline) == 30


def test_a_pause_of_the_job_is_no_delay_of_the_server():
    record = sent(0.001, 10, 400, pause_s=0.3)
    assert list(record.corrected_ms) == pytest.approx([1] * 10)


def test_rates_tell_what_was_asked_apart_from_what_left():
    record = JobRecord("j", "create", 100, 1)
    record.on_sent(2.5, 2.4, 0.5)
    record.on_sent(2.6, 2.5, 1.5)
    assert [(each["asked"], each["sent"]) for each in record.timeline()] == [(1, 0), (1, 0), (0, 2)]


class Watching:
    """Gives one event to each watch."""

    def __init__(self, *events):
        self.events = events

    def list_watch(self, path, _query, *, skip_list):
        async def together():
            yield [("SYNCED", b"")]
            for kind, name, namespace in self.events:
                yield [(kind, orjson.dumps({"metadata": {"name": name, "namespace": namespace}}))]
            await asyncio.sleep(10)

        assert skip_list
        return SimpleNamespace(together=together())


def test_an_object_is_seen_once_by_its_kinds_watch():
    seen = []

    async def run():
        client = Watching(("ADDED", "a", "n"), ("ADDED", "a", "n"), ("MODIFIED", "b", "n"), ("ADDED", "c", ""))
        one = Sightings(client, SYSTEM_CLOCK, lambda kind, at_s, sent_s: seen.append((kind, at_s >= sent_s, sent_s)))
        one.expect("Pod")
        one.expect("ConfigMap")
        for label in (
            "ConfigMap/a in namespace n",
            "ConfigMap/b in namespace n",
            "ConfigMap/c",
            "Secret/a in namespace n",
        ):
            one.sent(label, 1.0)
        one.sent("Pod/p in namespace n", 2.0)
        await one.start([("ConfigMap", "/configmaps")], "")
        await asyncio.sleep(0.01)
        one.first("Pod", "p", "n")
        one.first("Pod", "q", "n")
        await one.stop()

    asyncio.run(run())
    assert seen == [("ConfigMap", True, 1.0), ("ConfigMap", True, 1.0), ("Pod", True, 2.0)]
