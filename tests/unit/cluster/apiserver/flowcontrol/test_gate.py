import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest

from kubedyno.cluster.apiserver.authentication import AUTHENTICATED, Authenticator, User
from kubedyno.cluster.apiserver.exposition import Page
from kubedyno.cluster.apiserver.flowcontrol import turns
from kubedyno.cluster.apiserver.flowcontrol.gate import (
    FLOWSCHEMAS,
    GROUP,
    PRIORITYLEVELS,
    QUEUE_WAIT_S,
    FlowControl,
    Ticket,
)
from kubedyno.cluster.apiserver.flowcontrol.pages import ROOT, Dumps, add_series
from kubedyno.cluster.apiserver.flowcontrol.upkeep import Upkeep
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.bootstrapobjects import bootstrap_objects
from kubedyno.http.h2_exchange import ServerStream
from kubedyno.http.h2_server import ServerConnection
from kubedyno.http.messages import Limits, Peer, Request, Responder
from kubedyno.http.server import Server
from kubedyno.kube.resources import by_kind
from kubedyno.kube.status import Unauthorized
from unit.cluster.apiserver.harness import ADMIN, NS, Answer, Api, FakeClock
from unit.http.wire import FakeTransport, Requests

PODS = f"/api/v1/namespaces/{NS}/pods"
BASE = "/apis/flowcontrol.apiserver.k8s.io/v1"


class Bench:
    """Flow control over an API server's store, in front of an application that answers when it is told to."""

    def __init__(self, seats: int = 600) -> None:
        self.clock = FakeClock()
        self.api = Api(self.clock)
        for document in bootstrap_objects():
            resource = by_kind(document["apiVersion"], document["kind"])
            if resource is not None and resource.group == GROUP:
                self.api.registry.create(resource, "", document)
        self.kept: list[Any] = []
        self.served: list[str] = []
        self.at_once = False
        self.control = FlowControl(
            lambda: self.app, self.user_of, self.api.store, seats=seats, now_s=self.clock.monotonic
        )

    def app(self, request: Request, responder: Responder) -> None:
        self.served.append(request.headers.get("user", ""))
        if self.at_once:
            responder.send(200, "text/plain", b"ok")
        else:
            self.kept.append(responder)

    @staticmethod
    def user_of(request: Request) -> User:
        name = request.headers.get("user", "")
        if not name:
            raise Unauthorized("Unauthorized")
        return User(name, ("system:masters",) if name == "admin" else (AUTHENTICATED,))

    def ask(self, user: str, method: str = "POST", target: str = PODS, peer: int = 1) -> Answer:
        path, _, query = target.partition("?")
        answer = Answer()
        self.control.app(Request(method, path, query, {"user": user}, b"", Peer(peer, "")), answer)
        return answer

    def level(self, name: str, **limited: Any) -> None:
        """Make a level, and a schema that brings everybody but the administrators to it."""
        spec = {
            "type": "Limited",
            "limited": {"nominalConcurrencyShares": 100_000, "borrowingLimitPercent": 0, **limited},
        }
        self.api.registry.create(PRIORITYLEVELS, "", {"metadata": {"name": name}, "spec": spec})
        rule = {
            "subjects": [{"kind": "Group", "group": {"name": AUTHENTICATED}}],
            "resourceRules": [
                {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}
            ],
        }
        schema = {
            "priorityLevelConfiguration": {"name": name},
            "matchingPrecedence": 5,
            "distinguisherMethod": {"type": "ByUser"},
            "rules": [rule],
        }
        self.api.registry.create(FLOWSCHEMAS, "", {"metadata": {"name": f"to-{name}"}, "spec": schema})

    def series(self) -> dict[str, float]:
        page = Page()
        add_series(page, self.control)
        lines = page.text().decode().splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}

    def dump(self, name: str) -> list[list[str]]:
        body = Dumps(self.control, self.clock).page(Request("GET", ROOT + name, "", {}, b"", Peer(1, "")))
        assert body is not None
        return [[cell.strip() for cell in line.split(",")] for line in body.decode().splitlines()]


def on_loop(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    def run() -> None:
        asyncio.run(test())  # type: ignore[arg-type]

    run.__name__ = test.__name__
    return run


async def all_turns() -> None:
    """Let everything that has seats be done, however busy the machine."""
    for _ in range(1000):
        await asyncio.sleep(0)


QUEUES = {"limitResponse": {"type": "Queue", "queuing": {"queues": 8, "handSize": 2, "queueLengthLimit": 3}}}


@on_loop
async def test_every_answer_says_schema_and_level() -> None:
    bench = Bench()
    bench.at_once = True
    answer = bench.ask("u")
    uids = [
        bench.api.store.get(resource, "global-default").obj.uid  # type: ignore[union-attr]
        for resource in (FLOWSCHEMAS, PRIORITYLEVELS)
    ]
    assert [answer.header(f"x-kubernetes-pf-{part}-uid") for part in ("flowschema", "prioritylevel")] == [
        [uid] for uid in uids
    ]


@on_loop
async def test_who_is_nobody_is_told_so_without_headers() -> None:
    bench = Bench()
    bench.ask("")
    assert not isinstance(bench.kept[0], Ticket)


@on_loop
async def test_what_is_too_much_is_refused_with_the_real_words() -> None:
    bench = Bench(seats=2)
    bench.level("small", **QUEUES)
    refused: list[int] = []
    bench.control.on_refused = lambda _, status: refused.append(status)
    answers = [bench.ask("u") for _ in range(2 + 2 * 3 + 1)]
    assert [answer.status for answer in answers] == [0] * 8 + [429]
    assert refused == [429]
    assert sum(bench.control.in_queue()) == 6
    assert answers[-1].body == b"Too many requests, please try again later.\n"
    assert answers[-1].header("retry-after") == ["1"]
    assert answers[-1].header("x-kubernetes-pf-prioritylevel-uid")
    assert len(bench.kept) == 2
    series = bench.series()
    labels = 'flow_schema="to-small",priority_level="small"'
    assert series[f"apiserver_flowcontrol_current_executing_requests{{{labels}}}"] == 2
    assert series[f"apiserver_flowcontrol_current_inqueue_requests{{{labels}}}"] == 6
    assert series[f'apiserver_flowcontrol_rejected_requests_total{{{labels},reason="queue-full"}}'] == 1
    assert series[f"apiserver_flowcontrol_dispatched_requests_total{{{labels}}}"] == 2


@on_loop
async def test_who_waits_gets_the_seat_of_who_is_done() -> None:
    bench = Bench(seats=1)
    bench.level("small", **QUEUES)
    answers = [bench.ask("u") for _ in range(3)]
    bench.kept[0].send(200, "text/plain", b"")
    await asyncio.sleep(0)
    assert [answer.status for answer in answers] == [200, 0, 0]
    assert len(bench.kept) == 2
    rows = {row[0]: row for row in bench.dump("dump_priority_levels")}
    assert rows["small"][1:] == ["1", "false", "false", "1", "1", "2", "0", "0", "0"]
    requests = bench.dump("dump_requests")
    assert [(row[1], row[3], row[4]) for row in requests[1:]] == [("to-small", "-1", "u"), ("to-small", "0", "u")]
    assert len([row for row in bench.dump("dump_queues") if row[0] == "small"]) == 8


@on_loop
async def test_a_level_that_refuses_says_so() -> None:
    bench = Bench(seats=1)
    bench.level("small", limitResponse={"type": "Reject"})
    assert [bench.ask("u").status for _ in range(2)] == [0, 429]
    labels = 'flow_schema="to-small",priority_level="small",reason="concurrency-limit"'
    assert bench.series()[f"apiserver_flowcontrol_rejected_requests_total{{{labels}}}"] == 1


@on_loop
async def test_administrators_are_never_refused() -> None:
    bench = Bench(seats=1)
    bench.level("small", **QUEUES)
    answers = [bench.ask("admin") for _ in range(2000)]
    assert {answer.status for answer in answers} == {0}
    bench.ask("u")
    assert bench.served[-1] == "u"


@on_loop
async def test_who_goes_away_leaves_its_seat_and_its_queue() -> None:
    bench = Bench(seats=1)
    bench.level("small", **QUEUES)
    served, gone, waiting = (bench.ask("u") for _ in range(3))
    assert gone.on_close is not None
    gone.closed = True
    gone.on_close()
    assert served.on_close is not None
    served.closed = True
    served.on_close()
    await asyncio.sleep(0)
    assert len(bench.kept) == 2
    assert bench.kept[1]._inner is waiting
    labels = 'flow_schema="to-small",priority_level="small",reason="cancelled"'
    assert bench.series()[f"apiserver_flowcontrol_rejected_requests_total{{{labels}}}"] == 1


@on_loop
async def test_who_waits_too_long_is_refused() -> None:
    bench = Bench(seats=1)
    bench.level("small", **QUEUES)
    bench.ask("u")
    late = bench.ask("u")
    alarm = bench.control._alarm
    assert alarm is not None
    bench.clock.now_s += 1
    later = bench.ask("u")
    # One alarm is for all.
    assert bench.control._alarm is alarm
    bench.clock.now_s += QUEUE_WAIT_S - 1
    bench.control.time_out()
    assert (late.status, later.status) == (429, 0)
    assert bench.control._alarm is not None
    bench.clock.now_s += 1
    bench.control.time_out()
    assert later.status == 429
    assert bench.control._alarm is None
    labels = 'flow_schema="to-small",priority_level="small",reason="time-out"'
    assert bench.series()[f"apiserver_flowcontrol_rejected_requests_total{{{labels}}}"] == 2


@on_loop
async def test_who_waits_in_other_queues_than_before_waits_no_longer_for_it() -> None:
    bench = Bench(seats=1)
    bench.level("small", **QUEUES)
    bench.ask("u")
    late = bench.ask("u")
    bench.clock.now_s += QUEUE_WAIT_S - 1
    more = {"limitResponse": {"type": "Queue", "queuing": {"queues": 1, "handSize": 1, "queueLengthLimit": 100}}}
    bench.api.registry.modify(
        PRIORITYLEVELS, "", "small", lambda now: {**now, "spec": {**now["spec"], "limited": {**now["spec"]["limited"], **more}}}
    )  # fmt: skip
    later = bench.ask("u")
    bench.clock.now_s += 1
    bench.control.time_out()
    assert (late.status, later.status) == (429, 0)


@on_loop
async def test_a_request_that_waited_leaves_nothing_to_the_garbage_collector() -> None:
    bench = Bench(seats=1)
    bench.level("small", **QUEUES)
    bench.at_once = True

    def app(request: Request, responder: Responder) -> None:
        bench.clock.now_s += turns.TURN_S
        Bench.app(bench, request, responder)

    bench.control._app = lambda: app
    connection = ServerConnection(Server(bench.control.app, Limits()), Peer(1, ""))
    connection.connection_made(FakeTransport())
    client = Requests()
    connection.data_received(client.opening())
    gc.collect()
    gc.disable()
    try:
        sent = [client.request(i, "POST", PODS, b"{}", [("user", "u")]) for i in range(1, 11, 2)]
        connection.data_received(b"".join(sent))
        assert bench.control._patient
        await all_turns()
        assert bench.served == ["u"] * 5
        assert [found for found in gc.get_objects() if type(found) in {Ticket, ServerStream}] == []
    finally:
        gc.enable()


@on_loop
async def test_the_api_server_shows_what_happened() -> None:
    bench = Bench()
    api = bench.api.server
    bench.control._app = lambda: api.app
    assert bench.ask("admin", "GET", f"{ROOT}dump_queues").status == 404
    api.show(bench.control)
    assert bench.ask("admin", "GET", f"{ROOT}dump_queues").body.startswith(b"PriorityLevelName, Index,")
    assert bench.ask("admin", "GET", f"{ROOT}dump").status == 404
    assert bench.ask("u", "GET", f"{ROOT}dump_queues").status == 403
    labels = b'{flow_schema="exempt",priority_level="exempt"}'
    assert (
        b"apiserver_flowcontrol_dispatched_requests_total%b 4\n" % labels in bench.ask("admin", "GET", "/metrics").body
    )


@on_loop
async def test_a_watch_gives_its_seat_back_and_a_list_keeps_it_to_its_end() -> None:
    bench = Bench(seats=2)
    bench.level("small", **QUEUES)
    watch = bench.ask("u", "GET", f"{PODS}?watch=1&resourceVersion=5")
    stream = bench.kept[0].start(200, "application/json")
    assert stream is watch
    level = bench.control.levels["small"]
    assert level.executing == 0
    bench.ask("u", "GET", PODS)
    listed = bench.kept[1].start(200, "application/json")
    listed.write(b"{}")
    assert level.executing == 1
    listed.close()
    assert level.idle


@on_loop
async def test_a_long_list_takes_more_seats() -> None:
    bench = Bench()
    for i in range(350):
        bench.api.registry.create(
            by_kind("v1", "ConfigMap"),
            NS,
            {"metadata": {"name": f"c{i}"}},  # type: ignore[arg-type]
        )
    target = f"/api/v1/namespaces/{NS}/configmaps"
    for query, width in (("", 4), ("?limit=200", 2), ("?limit=200&labelSelector=a", 4), ("?watch=1", 4),
                         ("?watch=1&resourceVersion=9", 1), ("?fieldSelector=metadata.name=c1", 1)):  # fmt: skip
        bench.ask("u", "GET", target + query)
        assert bench.kept[-1].width == width, query


@on_loop
async def test_changed_objects_act_at_once() -> None:
    bench = Bench(seats=3)
    bench.level("small", **QUEUES)
    answers = [bench.ask("u") for _ in range(10)]
    assert sum(answer.status == 429 for answer in answers) == 1
    more = {"limitResponse": {"type": "Queue", "queuing": {"queues": 1, "handSize": 1, "queueLengthLimit": 100}}}
    bench.api.registry.modify(
        PRIORITYLEVELS, "", "small", lambda now: {**now, "spec": {**now["spec"], "limited": {**now["spec"]["limited"], **more}}}
    )  # fmt: skip
    assert {bench.ask("u").status for _ in range(50)} == {0}
    assert bench.control.levels["small"].waiting == 56
    bench.api.registry.delete(PRIORITYLEVELS, "", "small", {})
    bench.ask("u")
    assert bench.kept[-1].flow.schema.name == "global-default"
    assert [level.removed for level in bench.control.ending] == [True]
    while bench.control.ending and not bench.control.ending[0].idle:
        for ticket in bench.kept:
            if not ticket.done:
                ticket.send(200, "text/plain", b"")
        await asyncio.sleep(0)
    assert bench.control.counts["to-small", "small"].executing == 0


@on_loop
async def test_a_fault_of_the_application_is_an_answer() -> None:
    bench = Bench()

    def broken(request: Request, responder: Responder) -> None:
        raise ValueError("a fault")

    bench.app = broken  # type: ignore[method-assign]
    answer = bench.ask("u")
    assert (answer.status, answer.json["message"]) == (500, "Internal error occurred: a fault")
    assert bench.control.levels["global-default"].idle


@on_loop
async def test_a_flood_lets_others_have_their_turn() -> None:
    bench = Bench()
    bench.at_once = True

    def app(request: Request, responder: Responder) -> None:
        # Each request takes a third of the longest turn.
        bench.clock.now_s += turns.TURN_S / 3
        Bench.app(bench, request, responder)

    bench_app = app
    bench.control._app = lambda: bench_app
    for _ in range(50):
        bench.ask("flood")
    before = len(bench.served)
    assert before <= 4
    for _ in range(3):
        bench.ask("calm")
    await all_turns()
    order = bench.served[before:]
    assert [i for i, user in enumerate(order) if user == "calm"][-1] <= 6
    assert order.count("flood") + before == 50


@on_loop
async def test_an_administrators_connections_do_not_wait_for_each_other() -> None:
    bench = Bench()
    bench.at_once = True

    def app(request: Request, responder: Responder) -> None:
        bench.clock.now_s += turns.TURN_S / 3
        bench.served.append(str(request.peer.id))
        responder.send(200, "text/plain", b"")

    bench.control._app = lambda: app
    for _ in range(50):
        bench.ask("admin", peer=1)
    bench.ask("admin", peer=2)
    before = len(bench.served)
    await all_turns()
    assert "2" in bench.served[before : before + 3]


@on_loop
async def test_schemas_say_whether_their_level_is_there() -> None:
    bench = Bench()
    pump = Pump(bench.clock)
    upkeep = Upkeep(bench.api.registry, pump, bench.clock)
    bench.level("small", **QUEUES)
    upkeep.tell()

    def condition(name: str) -> dict[str, str]:
        record = bench.api.store.get(FLOWSCHEMAS, name)
        assert record is not None
        (found,) = orjson.loads(record.obj.status)["conditions"]
        return found  # type: ignore[no-any-return]

    assert condition("to-small") | {"lastTransitionTime": ""} == {
        "type": "Dangling",
        "status": "False",
        "lastTransitionTime": "",
        "reason": "Found",
        "message": 'This FlowSchema references the PriorityLevelConfiguration object named "small" and it exists',
    }
    revision = bench.api.store.revision
    upkeep.tell()
    assert bench.api.store.revision == revision
    bench.api.registry.delete(PRIORITYLEVELS, "", "small", {})
    upkeep.tell()
    assert (condition("to-small")["status"], condition("to-small")["reason"]) == ("True", "NotFound")
    pump.stop()


@on_loop
async def test_the_servers_own_objects_come_back() -> None:
    bench = Bench()
    pump = Pump(bench.clock)
    upkeep = Upkeep(bench.api.registry, pump, bench.clock)
    revision = bench.api.store.revision
    upkeep.ensure()
    assert bench.api.store.revision == revision
    bench.api.registry.delete(FLOWSCHEMAS, "", "service-accounts", {})
    for name in ("exempt", "probes"):
        bench.api.registry.modify(
            FLOWSCHEMAS, "", name, lambda now: {**now, "metadata": {**now["metadata"], "annotations": {}},
                                                "spec": {**now["spec"], "rules": []}},
        )  # fmt: skip
    upkeep.ensure()
    found = {name: bench.api.store.get(FLOWSCHEMAS, name) for name in ("service-accounts", "exempt", "probes")}
    assert [record is not None and b'"rules":[{' in record.obj.body for record in found.values()] == [True, True, False]
    pump.stop()


@pytest.mark.parametrize("verb", ["GET", "POST"])
def test_the_api_server_takes_the_gates_word_for_who_asks(verb: str) -> None:
    async def run() -> None:
        bench = Bench()
        api = bench.api.server
        api._authenticator = Authenticator({})
        bench.control._app = lambda: api.app
        bench.control._user_of = lambda _request: ADMIN
        answer = bench.ask("admin", verb, f"/api/v1/namespaces/{NS}/configmaps")
        # Not 401: the token is known to nobody.
        assert answer.status in {200, 422, 400}

    asyncio.run(run())


@on_loop
async def test_turns_are_short_as_soon_as_a_second_user_asks_even_when_all_seats_are_taken() -> None:
    bench = Bench(seats=1)
    bench.level("small", **QUEUES)
    for user in ("flood", "flood", "calm"):
        bench.ask(user)
    line = bench.control._turns
    assert line._shared_until_s > bench.clock.monotonic()
    line._begin(0.0)
    assert line._end_s == turns.SHARED_TURN_S


@on_loop
async def test_requests_that_wait_for_their_turn_take_no_seats_from_other_users() -> None:
    bench = Bench(seats=50)
    bench.at_once = True
    bench.level(
        "small", limitResponse={"type": "Queue", "queuing": {"queues": 64, "handSize": 4, "queueLengthLimit": 50}}
    )

    def app(request: Request, responder: Responder) -> None:
        bench.clock.now_s += turns.SHARED_TURN_S
        Bench.app(bench, request, responder)

    bench.control._app = lambda: app
    asked = 0

    async def turn() -> None:
        """Let something be done, and the flood refill what it had under way."""
        nonlocal asked
        await asyncio.sleep(0)
        while asked - bench.served.count("flood") < 200:
            bench.ask("flood")
            asked += 1

    bench.ask("calm")
    waits = []
    for _ in range(50):
        for _ in range(3):
            await turn()
        before = len(bench.served)
        bench.ask("calm")
        while "calm" not in bench.served[before:]:
            await turn()
        waits.append(bench.served[before:].index("calm"))
    # Its turn is the next one.
    assert max(waits) == 0
    await all_turns()
    assert bench.served.count("flood") == asked
    assert (bench.control.levels["small"].taken, bench.control.under_way) == (0, {})


@on_loop
async def test_who_comes_late_in_a_turn_is_served_at_once_but_one_a_turn() -> None:
    bench = Bench()
    bench.at_once = True

    def app(request: Request, responder: Responder) -> None:
        bench.clock.now_s += turns.TURN_S
        Bench.app(bench, request, responder)

    bench.control._app = lambda: app
    bench.ask("calm")
    for _ in range(10):
        bench.ask("flood")
    await asyncio.sleep(0)
    before = len(bench.served)
    # Longer than a turn may be.
    bench.clock.now_s += 2 * turns.SHARED_TURN_S
    assert bench.ask("calm").status == 200
    assert bench.ask("another").status == bench.ask("flood").status == 0
    await asyncio.sleep(0)
    assert bench.served[before : before + 2] == ["calm", "another"]


@on_loop
async def test_what_a_turn_has_answered_is_sent_at_its_end() -> None:
    bench = Bench()
    bench.at_once = True
    server = Server(bench.control.app, Limits())
    sent: list[int] = []
    bench.control.join(server)
    assert server.most_put_off() > 2
    bench.control._turns.after = lambda: sent.append(len(bench.served))

    def app(request: Request, responder: Responder) -> None:
        bench.clock.now_s += turns.TURN_S
        Bench.app(bench, request, responder)

    bench.control._app = lambda: app
    bench.ask("calm")
    for _ in range(5):
        bench.ask("flood")
    assert server.most_put_off() <= 2
    await all_turns()
    # One request a turn, and its answer leaves with it.
    assert sent == list(range(len(bench.served) - len(sent) + 1, 7))
    assert len(sent) >= 4


class Streaming(Bench):
    """GETs are answered in parts, for as long as somebody waits for them; each part takes a while."""

    def __init__(self, seats: int = 600) -> None:
        super().__init__(seats)
        self.tasks: list[asyncio.Task[None]] = []
        self.parts: list[str] = []

    def app(self, request: Request, responder: Responder) -> None:
        self.clock.now_s += turns.SHARED_TURN_S
        if request.method == "GET":
            self.tasks.append(asyncio.ensure_future(self._write(request.headers["user"], responder)))
        else:
            super().app(request, responder)

    async def _write(self, user: str, responder: Responder) -> None:
        stream = responder.start(200, "text/plain")
        while not stream.closed:
            self.parts.append(user)
            self.clock.now_s += turns.SHARED_TURN_S
            await stream.drain(0)

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@on_loop
async def test_of_long_answers_one_part_is_made_in_a_turn_of_the_loop_and_others_have_theirs() -> None:
    bench = Streaming()
    bench.at_once = True
    for user in ("flood", "calm"):
        bench.ask(user)
    lists = [bench.ask("flood", "GET") for _ in range(8)]
    await asyncio.sleep(0)
    for _ in range(20):
        before = len(bench.parts)
        await asyncio.sleep(0)
        assert len(bench.parts) - before <= 1
    assert bench.ask("calm").status == 200
    # Each of the answers goes on, and so do other requests of the same user.
    writes = [bench.ask("flood") for _ in range(3)]
    await all_turns()
    assert {answer.status for answer in writes} == {200}
    assert {answer.status for answer in lists} == {200}
    assert len(bench.parts) > 100
    await bench.end()


@on_loop
async def test_long_answers_of_two_users_take_the_same_time() -> None:
    bench = Streaming()
    for user in ("one", "two", "one", "one", "one"):
        bench.ask(user, "GET")
    await all_turns()
    counts = [bench.parts.count(user) for user in ("one", "two")]
    assert max(counts) - min(counts) <= 8 < min(counts)
    await bench.end()


@on_loop
async def test_who_is_alone_has_all_answers_made_at_once() -> None:
    bench = Streaming()
    for _ in range(8):
        bench.ask("flood", "GET")
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(bench.parts) >= 8 * 4
    await bench.end()


@on_loop
async def test_in_company_nobody_has_more_seats_than_are_left_to_others() -> None:
    bench = Streaming(seats=16)
    bench.at_once = True
    bench.level("small", **QUEUES)
    bench.ask("calm")
    lists = [bench.ask("flood", "GET") for _ in range(12)]
    await all_turns()
    assert [answer.status for answer in lists].count(200) == 9
    assert bench.control.levels["small"].taken == 9
    asked = [bench.ask("calm", "GET"), bench.ask("calm")]
    await all_turns()
    assert [answer.status for answer in asked] == [200, 200]
    # Whoever is done lets another one in, where others leave room.
    for done in lists[:3]:
        assert done.on_close is not None
        done.closed = True
        done.on_close()
    await all_turns()
    assert [answer.status for answer in lists].count(200) == 11
    await bench.end()


@on_loop
async def test_who_is_alone_has_all_seats() -> None:
    bench = Streaming(seats=16)
    bench.level("small", **QUEUES)
    lists = [bench.ask("flood", "GET") for _ in range(20)]
    await all_turns()
    assert [answer.status for answer in lists].count(200) == 16
    await bench.end()
