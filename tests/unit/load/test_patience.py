"""Silence is waited through, refusals are not."""

import asyncio
from types import SimpleNamespace

import pytest

from kubedyno.base import aio
from kubedyno.base.errors import KubedynoError
from kubedyno.base.simulation import simulate
from kubedyno.client.api import Unreachable
from kubedyno.kube.status import StatusError
from kubedyno.load.config.spec import WatcherSpec
from kubedyno.load.engine import patience
from kubedyno.load.engine.stuck import StuckWatch
from kubedyno.load.engine.watchers import watched


def asked(*answers, silence_s=5.0):
    """Ask until the answers are used up; returns what came, and how often was asked."""
    pending = list(answers)

    async def ask():
        found = pending.pop(0) if len(pending) > 1 else pending[0]
        if isinstance(found, Exception):
            raise found
        return found

    return asyncio.run(patience.patiently(ask, silence_s)), len(answers) - len(pending)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(patience, "_FIRST_S", 0.001)


def test_what_comes_after_a_silence_is_the_answer():
    assert asked(Unreachable("a"), Unreachable("b"), "here") == ("here", 2)


def test_silence_has_an_end():
    with pytest.raises(Unreachable, match="gone"):
        asked(Unreachable("gone"), silence_s=0.02)


def test_requests_that_each_wait_long_for_an_answer_are_one_silence_and_what_lasted_begins_another():
    async def asked_of_one_who_says_nothing(lasting):
        calls = []

        async def ask():
            calls.append(None)
            await aio.sleep(60)
            if len(calls) == 10:
                return "here"
            raise Unreachable("does not answer")

        try:
            return await patience.patiently(ask, 180, lasting=lasting), len(calls)
        except Unreachable:
            return "gone", len(calls)

    assert simulate(asked_of_one_who_says_nothing(lasting=False)) == ("gone", 4)
    assert simulate(asked_of_one_who_says_nothing(lasting=True)) == ("here", 10)


def test_a_refusal_is_the_callers():
    with pytest.raises(StatusError):
        asked(StatusError("no"), "never")


def test_a_patient_client_asks_again_for_its_own_time_and_no_other():
    class Gone:
        async def list_all(self, _):
            raise Unreachable("gone")

        request = get = list_all

    async def waited_s(silence_s, ask):
        began_s = asyncio.get_running_loop().time()
        with pytest.raises(Unreachable):
            await ask(patience.PatientClient(Gone(), silence_s))
        return asyncio.get_running_loop().time() - began_s

    async def all_of(silence_s):
        return [
            await waited_s(silence_s, lambda client: client.list_all("/api/v1/pods")),
            await waited_s(silence_s, lambda client: client.get("/api/v1/pods/p")),
        ]

    async def both():
        return await asyncio.gather(all_of(0.02), all_of(0.3))

    short, long = simulate(both())
    assert all(0.02 <= s < 0.1 for s in short)
    assert all(0.3 <= s < 1 for s in long)


def test_a_patient_client_passes_on_what_it_is_asked_for():
    class There:
        async def request(self, *what, **more):
            return what, more

    async def run():
        return await patience.PatientClient(There()).request("PUT", "/x", body=b"1", headers=(("a", "b"),))

    assert asyncio.run(run()) == (("PUT", "/x"), {"body": b"1", "headers": (("a", "b"),)})


def test_who_asks_why_a_run_waits_waits_through_silence_too():
    answers = [Unreachable("gone"), []]

    async def diagnose():
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(found, Exception):
            raise found
        return found

    async def run():
        loop = asyncio.get_running_loop()
        clock = SimpleNamespace(monotonic=loop.time)
        with pytest.raises(TimeoutError):
            async with aio.timeout(30):
                await StuckWatch(clock, lambda: 0, diagnose).run()

    simulate(run())
    assert answers == [[]]


def test_a_watcher_of_a_kind_that_is_not_served_is_warned_of(caplog):
    class Kinds:
        async def find(self, *_):
            raise KubedynoError("example.com/v1 has no Thing")

    async def run():
        async with watched([WatcherSpec("Thing", "example.com/v1", {}, 1)], "j", None, Kinds(), pytest.fail):
            return "ran"

    assert asyncio.run(run()) == "ran"
    assert "has no Thing" in caplog.text
