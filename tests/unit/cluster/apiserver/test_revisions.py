"""Reads that name a revision which is still to come: waited for, without a seat, and refused when it does not come."""

import asyncio

import pytest

from kubedyno.base import aio
from kubedyno.cluster.apiserver import revisions
from kubedyno.cluster.apiserver.flowcontrol.gate import GROUP, FlowControl
from kubedyno.cluster.registry.bootstrapobjects import bootstrap_objects
from kubedyno.http.messages import Peer, Request
from kubedyno.kube.resources import CONFIGMAPS, by_kind
from unit.cluster.apiserver.harness import ADMIN, NS, Answer, running

PATH = f"/api/v1/namespaces/{NS}/configmaps"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(revisions, "REVISION_WAIT_S", 0.3)


def create(api, name):
    api.registry.create(CONFIGMAPS, NS, {"metadata": {"name": name}})


@pytest.mark.parametrize("query", ["", "&resourceVersionMatch=NotOlderThan", "&limit=5&resourceVersionMatch=Exact"])
def test_a_list_is_answered_once_its_revision_has_come(query):
    async def scene():
        async with running() as api:
            answer = api.call("GET", f"{PATH}?resourceVersion={api.store.revision + 1}{query}")
            await aio.sleep(0.05)
            assert answer.status == 0
            create(api, "a")
            await aio.wait_for(answer.done.wait(), 5)
            assert answer.status == 200
            assert [item["metadata"]["name"] for item in answer.json["items"]] == ["a"]

    aio.run(scene())


def test_an_object_is_answered_as_it_is_by_then():
    async def scene():
        async with running() as api:
            there, never = (
                api.call("GET", f"{PATH}/a?resourceVersion={api.store.revision + ahead}") for ahead in (1, 9)
            )
            create(api, "a")
            await asyncio.gather(there.done.wait(), never.done.wait())
            assert (there.status, there.json["metadata"]["name"]) == (200, "a")
            assert never.status == 504
            assert never.header("retry-after") == ["1"]
            assert never.json["message"].endswith(f", current: {api.store.revision}")

    aio.run(scene())


def test_a_collection_is_deleted_as_it_is_by_then_or_not_at_all():
    async def scene():
        async with running() as api:
            create(api, "a")
            never = api.call("DELETE", f"{PATH}?resourceVersion={api.store.revision + 9}")
            there = api.call("DELETE", f"{PATH}?resourceVersion={api.store.revision + 1}")
            create(api, "b")
            await asyncio.gather(there.done.wait(), never.done.wait())
            assert (there.status, never.status) == (200, 504)
            assert [item["metadata"]["name"] for item in there.json["items"]] == ["a", "b"]

    aio.run(scene())


def test_events_have_no_cache_that_could_be_behind_and_are_refused_at_once():
    async def scene():
        async with running() as api:
            answer = api.call("GET", f"/api/v1/namespaces/{NS}/events?resourceVersion={api.store.revision + 1}")
            assert (answer.status, answer.header("retry-after")) == (504, [])

    aio.run(scene())


def test_nothing_is_read_for_a_client_that_has_gone():
    async def scene():
        async with running() as api:
            answer = api.call("GET", f"{PATH}?resourceVersion={api.store.revision + 1}")
            await aio.sleep(0.02)
            answer.closed = True
            await aio.sleep(0.4)
            assert (answer.status, answer.pieces) == (0, [])

    aio.run(scene())


def test_who_waits_has_no_seat():
    async def scene():
        async with running() as api:
            for document in bootstrap_objects():
                resource = by_kind(document["apiVersion"], document["kind"])
                if resource is not None and resource.group == GROUP:
                    api.registry.create(resource, "", document)
            gate = FlowControl(
                lambda: api.server.app, lambda _: ADMIN, api.store, seats=600, now_s=api.clock.monotonic
            )  # fmt: skip
            answer = Answer()
            target = Request("GET", PATH, f"resourceVersion={api.store.revision + 1}", {}, b"", Peer(1, ""))
            gate.app(target, answer)
            assert (len(gate.under_way), sum(level.taken for level in gate.levels.values())) == (1, 1)
            await aio.sleep(0.05)
            assert (answer.status, len(gate.under_way)) == (0, 0)
            assert all(level.taken == 0 for level in gate.levels.values())
            create(api, "a")
            await aio.wait_for(answer.done.wait(), 5)
            assert answer.status == 200
            assert all(level.taken == 0 for level in gate.levels.values())

    aio.run(scene())
