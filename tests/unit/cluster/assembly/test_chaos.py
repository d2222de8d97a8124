import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import wraps
from typing import Any

import orjson
import pytest

from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.base.random import Random
from kubedyno.client.api import Client
from kubedyno.client.kubeconfig import Target, User
from kubedyno.cluster.apiserver.authentication import Authenticator
from kubedyno.cluster.apiserver.server import LIMITS, ApiServer
from kubedyno.cluster.assembly.chaos import Chaos, Rule, SkewedClock, asked_of
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.registry import Registry
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.storage.store import Store
from kubedyno.http import server as http_server
from kubedyno.http.messages import Peer, Request, Responder
from kubedyno.kube.resources import NAMESPACES
from kubedyno.kube.status import AlreadyExists, BadRequest, InternalError, NotFound, StatusError, TooManyRequests
from unit.cluster.apiserver.harness import ADMIN, TOKEN

PATH = "/api/v1/namespaces/ns/configmaps"


def looped(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test on a loop of its own."""

    @wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run


@dataclass
class Served:
    """An API server behind its faults on a socket, and a client of it."""

    store: Store
    chaos: Chaos
    client: Client

    def keys(self) -> set[str]:
        return {record.obj.key for record in self.store.db.tables["configmaps"].all()}


@asynccontextmanager
async def served() -> AsyncIterator[Served]:
    clock = SkewedClock(SYSTEM_CLOCK)
    store = Store(clock)
    registry = Registry(store, clock, Random(1), ClusterSettings())
    registry.create(NAMESPACES, "", {"metadata": {"name": "ns"}})
    api = ApiServer(
        registry,
        Pump(clock),
        ClusterSettings(),
        Authenticator({TOKEN: ADMIN}),
        address="127.0.0.1:6443",
        control=lambda _request, _responder, _user: False,
    )
    chaos = Chaos(api.app, store, clock)

    def app(request: Request, responder: Responder) -> None:
        chaos.app(request, responder)

    server = await http_server.serve(app, "127.0.0.1", 0, None, LIMITS)
    try:
        target = Target(f"http://127.0.0.1:{server.port}", user=User(token=TOKEN))
        async with Client(target) as client:
            yield Served(store, chaos, client)
    finally:
        chaos.close()
        api.close()
        await server.close(0.05)


def config_map(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}}


def request(method: str, target: str) -> Request:
    path, _, query = target.partition("?")
    return Request(method, path, query, {}, b"", Peer(1, ""))


@pytest.mark.parametrize(
    ("method", "target", "verb", "names"),
    [
        ("GET", "/api/v1/pods", "list", {"pods"}),
        ("GET", "/api/v1/namespaces/ns/pods?watch=true", "watch", {"pods"}),
        ("GET", "/api/v1/namespaces/ns/pods?watch=false", "list", {"pods"}),
        ("GET", "/api/v1/namespaces/ns/pods/p/log", "get", {"pods/log"}),
        ("PATCH", "/apis/apps/v1/namespaces/ns/deployments/d", "patch", {"deployments", "deployments.apps"}),
        ("DELETE", "/api/v1/namespaces/ns/pods", "deletecollection", {"pods"}),
        ("DELETE", "/api/v1/namespaces/ns", "delete", {"namespaces"}),
        ("PUT", "/api/v1/namespaces/ns/finalize", "update", {"namespaces/finalize"}),
    ],
)
def test_a_rule_knows_what_a_request_is_about(method: str, target: str, verb: str, names: set[str]) -> None:
    asked = asked_of(request(method, target))
    assert asked is not None
    assert (asked.verb, asked.names) == (verb, names)


@pytest.mark.parametrize("path", ["/livez", "/version", "/api", "/apis/apps/v1", "/kubedyno/chaos", "/openapi/v2"])
def test_documents_are_left_alone(path: str) -> None:
    assert asked_of(request("GET", path)) is None


@looped
async def test_without_rules_nothing_stands_between() -> None:
    async with served() as s:
        direct = s.chaos.app
        s.chaos.add(Rule(fault="error"))
        assert s.chaos.app != direct
        s.chaos.clear()
        assert s.chaos.app == direct


@looped
async def test_a_rule_hits_its_verb_and_resource_only() -> None:
    async with served() as s:
        s.chaos.add(Rule(fault="error", code=503, verbs=["create"], resources=["secrets"]))
        await s.client.create(PATH, config_map("c"))
        with pytest.raises(StatusError, match="on purpose") as error:
            await s.client.create("/api/v1/namespaces/ns/secrets", config_map("c"))
        assert error.value.code == 503
        assert s.chaos.listed()[0]["hits"] == 1


@looped
async def test_a_lost_answer_is_of_a_request_that_was_acted_on() -> None:
    async with served() as s:
        s.chaos.add(Rule(fault="error", applied=True))
        with pytest.raises(InternalError):
            await s.client.create(PATH, config_map("c"))
        assert s.keys() == {"ns/c"}


@looped
async def test_a_rejection_says_when_to_come_back() -> None:
    async with served() as s:
        s.chaos.add(Rule(fault="reject", retry_after_s=7))
        answer = await s.client.pool.request("GET", PATH, (("Authorization", f"Bearer {TOKEN}"),), b"", None)
        assert (answer.status, answer.retry_after_s) == (429, 7)
        assert orjson.loads(answer.body)["details"] == {"retryAfterSeconds": 7}


@looped
async def test_what_waits_is_acted_on_after_the_wait() -> None:
    async with served() as s:
        s.chaos.add(Rule(fault="latency", latency_ms=80))
        began_s, acted_s = SYSTEM_CLOCK.monotonic(), 0.0
        create = asyncio.ensure_future(s.client.create(PATH, config_map("c")))
        async with asyncio.timeout(60):
            while not acted_s:
                await asyncio.sleep(0.001)
                acted_s = SYSTEM_CLOCK.monotonic() if s.keys() else 0.0
        assert acted_s - began_s >= 0.08
        await create
        assert s.keys() == {"ns/c"}


@looped
async def test_a_list_is_of_the_past_and_a_watch_from_it_brings_the_rest() -> None:
    async with served() as s:
        await s.client.create(PATH, config_map("old"))
        s.chaos.add(Rule(fault="stale", lag_s=60))
        await s.client.create(PATH, config_map("new"))
        page = await s.client.get(PATH)
        assert [item["metadata"]["name"] for item in page["items"]] == ["old"]
        events = s.client.watch(PATH, "", page["metadata"]["resourceVersion"])
        event = await anext(aiter(events))
        assert orjson.loads(event.raw)["metadata"]["name"] == "new"
        await events.aclose()  # type: ignore[attr-defined]


@looped
async def test_the_clock_is_off_until_the_rule_is_gone() -> None:
    async with served() as s:
        before = SYSTEM_CLOCK.now()
        number = s.chaos.add(Rule(fault="skew", skew_s=-3600))
        made = await s.client.create(PATH, config_map("c"))
        assert abs(s.chaos._clock.now() - before + 3600) < 60
        s.chaos.clear(str(number))
        later = await s.client.create(PATH, config_map("d"))
        assert made["metadata"]["creationTimestamp"] < later["metadata"]["creationTimestamp"]


@looped
async def test_a_rule_goes_by_itself() -> None:
    async with served() as s:
        s.chaos.add(Rule(fault="error", duration_s=0.02))
        await asyncio.sleep(0.05)
        assert s.chaos.listed() == []
        await s.client.create(PATH, config_map("c"))


@looped
async def test_the_same_seed_hits_the_same_requests() -> None:
    async def hits(seed: int) -> list[bool]:
        async with served() as s:
            s.chaos.add(Rule(fault="error", probability=0.5, seed=seed))
            found = []
            for i in range(24):
                try:
                    await s.client.create(PATH, config_map(f"c{i}"))
                except InternalError:
                    found.append(True)
                else:
                    found.append(False)
            return found

    assert await hits(1) == await hits(1)
    assert await hits(1) != await hits(2)


@pytest.mark.parametrize(
    "rule",
    [
        Rule(fault="error", code=404),
        Rule(fault="latency", probability=2),
        Rule(fault="latency", latency_ms=-1),
        Rule(fault="skew", verbs=["get"]),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(rule: Rule) -> None:
    with pytest.raises(BadRequest):
        rule.check()


@looped
async def test_one_who_follows_and_writers_account_for_every_object() -> None:
    """Lists and watches fail, are cut and are stale; writes are lost before and after they were acted on."""
    wanted: set[str] = set()
    changes: list[tuple[str, bool]] = []

    async def until_done(call: Any, *done: type[StatusError]) -> None:
        for _ in range(200):
            try:
                await call()
            except done:
                return
            except (InternalError, TooManyRequests):
                await asyncio.sleep(0.001)
            else:
                return
        raise AssertionError("never done")

    async def write(client: Client, prefix: str) -> None:
        for i in range(80):
            name = f"{prefix}{i}"
            # An answer that was lost is told from one that never was by trying again.
            await until_done(lambda name=name: client.create(PATH, config_map(name)), AlreadyExists)
            wanted.add(f"ns/{name}")
            if i % 3 == 0:
                await until_done(lambda name=name: client.delete(f"{PATH}/{name}"), NotFound)
                wanted.discard(f"ns/{name}")

    async with served() as s:
        s.chaos.add(Rule(fault="latency", latency_ms=2, jitter_ms=4, seed=2))
        s.chaos.add(Rule(fault="error", verbs=["create", "delete"], probability=0.2, seed=3))
        s.chaos.add(Rule(fault="error", applied=True, verbs=["create", "delete"], probability=0.2, seed=4))
        s.chaos.add(Rule(fault="error", code=503, verbs=["watch"], probability=0.3, seed=5))
        s.chaos.add(Rule(fault="drop", after_ms=15, probability=0.7, seed=6))
        s.chaos.add(Rule(fault="drop", after_ms=25, clean=True, seed=7))
        s.chaos.add(Rule(fault="stale", lag_s=0.1, seed=8))

        there: set[str] = set()

        def seen(key: str, *, here: bool) -> None:
            if here is not (key in there):
                (there.add if here else there.discard)(key)
                changes.append((key, here))

        async def follow() -> None:
            listed: set[str] = set()
            async with s.client.list_watch(PATH, "", orjson.loads) as events:
                async for kind, item in events:
                    if kind == "RELIST":
                        listed = set()
                    elif kind == "SYNCED":
                        for key in there - listed:
                            seen(key, here=False)
                    else:
                        key = f"ns/{item['metadata']['name']}"
                        listed.add(key)
                        seen(key, here=kind != "DELETED")

        following = asyncio.ensure_future(follow())
        await asyncio.gather(*(write(s.client, prefix) for prefix in "abcd"))
        assert s.keys() == wanted
        for _ in range(6000):
            if there == wanted:
                break
            await asyncio.sleep(0.01)
        assert there == wanted
        assert [rule["id"] for rule in s.chaos.listed() if not rule["hits"]] == []
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
        # Each was told of as often as it came and went.
        for key in wanted:
            assert [here for name, here in changes if name == key].count(True) == 1
