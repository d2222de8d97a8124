"""What those who look are told, from what a watch says."""

import asyncio

import orjson
import pytest

from kubedyno.base.simulation import simulate
from kubedyno.client.kubeconfig import Target
from kubedyno.web.feed import TICK_S, Feed
from kubedyno.web.rows import pod_row


class Clock:
    def __init__(self) -> None:
        self.at_s = 100.0

    def now(self):
        return self.at_s

    monotonic = now


class Events:
    """A list and a watch that say what a test wants."""

    def __init__(self, queue, decode, server) -> None:
        self.queue, self.decode, self.together, self.server = queue, decode, self, server
        self.came_s = 0.0

    def turn(self):
        self.server.turned()

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass

    def __aiter__(self):
        return self

    async def __anext__(self):
        kind, obj, *ago_s = await self.queue.get()
        self.came_s = self.server.clock.now() - sum(ago_s)
        return [(kind, None if obj is None else self.decode(orjson.dumps(obj)))]


class Server:
    def __init__(self, clock) -> None:
        self.clock = clock
        self.server = "https://cluster"
        self.target = Target(self.server)
        self.pods, self.nodes = asyncio.Queue(), asyncio.Queue()

    def list_watch(self, path, _, decode, **__):
        return Events(self.pods if path.endswith("pods") else self.nodes, decode, self)

    def turned(self):
        pass

    async def request(self, *_):
        pass


def pod(uid="1", *, node="", ready=False, labels=None):
    conditions = [{"type": "Ready", "status": "True"}] if ready else []
    meta = {"name": "p", "namespace": "n", "uid": uid, "labels": labels}
    return {"metadata": meta, "spec": {"nodeName": node}, "status": {"conditions": conditions}}


def told(*steps):
    """Return what is told after each step: events of pods that come before one tick."""

    async def run():
        clock, found, some = Clock(), [], asyncio.Event()
        server = Server(clock)

        def tell(message):
            found.append(orjson.loads(message))
            some.set()

        feed = Feed(server, clock)
        following = asyncio.create_task(feed.run())
        try:
            server.pods.put_nowait(("SYNCED", None))
            await asyncio.sleep(0.01)
            feed.subscribe(tell)
            for step in steps:
                found.clear()
                some.clear()
                for event in step:
                    server.pods.put_nowait(event)
                    await asyncio.sleep(0.005)
                    clock.at_s += 0.25
                async with asyncio.timeout(60):
                    await some.wait()
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        return found, feed

    return simulate(run())


def test_a_pod_is_told_with_when_it_was_seen_and_seen_ready():
    (message,), _ = told([("ADDED", pod()), ("MODIFIED", pod(node="x")), ("MODIFIED", pod(node="x", ready=True))])
    assert message["p"][0][13:] == [100.0, 100.5]
    assert "u" not in message


def test_a_pod_was_seen_when_it_came_however_late_that_is_read():
    steps = [("ADDED", pod(), 0.2), ("MODIFIED", pod(node="x", ready=True), 0.1)]
    (message,), _ = told(steps)
    assert message["p"][0][13:] == [99.8, 100.15]


def test_what_is_watched_is_read_with_each_tick():
    turns = []

    async def run():
        server, enough = Server(Clock()), asyncio.Event()

        def turned():
            turns.append(asyncio.get_running_loop().time())
            if len(turns) == 8:
                enough.set()

        server.turned = turned
        following = asyncio.create_task(Feed(server, server.clock).run())
        async with asyncio.timeout(60):
            await enough.wait()
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    simulate(run())
    # Two of each tick: of pods, and of nodes.
    assert turns[-1] - turns[0] == pytest.approx(3 * TICK_S)


def test_an_update_is_short_and_has_when_it_became_ready():
    (message,), _ = told([("ADDED", pod())], [("MODIFIED", pod(node="x", ready=True))])
    assert message["u"] == [[0, "x", 2, 0.0, 0, False, "", 100.25]]
    assert "p" not in message


def test_a_pod_whose_labels_change_is_told_whole_under_its_number():
    (message,), _ = told([("ADDED", pod())], [("MODIFIED", pod(labels={"a": "b"}))])
    assert (message["p"][0][0], message["p"][0][12]) == (0, {"a": "b"})
    assert not message.get("u")


def test_a_namesake_is_another_pod():
    (message,), _ = told([("ADDED", pod())], [("ADDED", pod("2"))])
    assert (message["g"], message["p"][0][0]) == ([0], 1)


def test_what_came_and_went_between_two_ticks_is_not_told():
    (message,), feed = told([("ADDED", pod()), ("DELETED", pod()), ("ADDED", pod("2"))])
    assert "g" not in message
    assert len(message["p"]) == 1
    assert feed.pods == 1


def test_what_a_pod_was_between_two_ticks_is_not_read(monkeypatch):
    read = []
    monkeypatch.setattr("kubedyno.web.feed.pod_row", lambda raw, before: read.append(raw) or pod_row(raw, before))
    steps = [("ADDED", pod()), ("MODIFIED", pod(node="x")), ("MODIFIED", pod(node="y"))]
    (message,), feed = told(steps)
    assert message["p"][0][3] == "y"
    assert message["p"][0][13] == 100.0
    assert (len(read), feed.events) == (1, 3)


def test_a_startup_that_ends_between_two_ticks_is_as_long_as_it_was():
    usual = pod(ready=True)
    steps = [("ADDED", pod()), ("MODIFIED", usual), ("MODIFIED", pod(node="x"))]
    (message,), _ = told(steps)
    assert message["p"][0][13:] == [100.0, 100.25]


def test_what_is_no_pod_is_said_and_the_rest_goes_on():
    wrong = {"metadata": {"name": "q", "namespace": "n"}, "status": {"conditions": 1}}
    (message,), feed = told([("ADDED", wrong), ("ADDED", pod())])
    assert "pod n/q: not what Kubernetes says of one" in message["trouble"]
    assert feed.pods == 1


def test_what_a_new_list_lacks_is_gone():
    (message,), _ = told([("ADDED", pod())], [("RELIST", None), ("SYNCED", None)])
    assert message["g"] == [0]


def test_another_cluster_is_told_whole_and_the_old_one_forgotten():
    async def run():
        found = []
        feed = Feed(Server(Clock()), Clock())
        feed._pod("n/p", pod_row(orjson.dumps(pod())), 0.0, 0.0)
        feed.subscribe(lambda message: found.append(orjson.loads(message)))
        other = Server(Clock())
        other.server = "https://other"
        feed.turn_to(other)
        return found

    first, second = simulate(run())
    assert (len(first["p"]), first["server"]) == (1, "https://cluster")
    assert (second["all"], second["p"], second["server"]) == (True, [], "https://other")


def test_history_is_what_was_told():
    (message,), feed = told([("ADDED", pod())], [("MODIFIED", pod(ready=True))])
    lines = [orjson.loads(line) for line in b"".join(feed.history.texts()).splitlines()]
    assert lines[0]["all"]
    assert lines[-1] == message


def test_a_server_that_does_not_say_what_it_answers_is_told_once():
    feed = Feed(Server(Clock()), Clock())
    told = []
    for answered in ([], [], [1.0, 0, 5.0], [1.0, 0, 5.0], []):
        feed._answered_changed = False
        feed.tell_answered(answered)
        told.append(feed._answered_changed)
    assert told == [True, False, True, True, True]
