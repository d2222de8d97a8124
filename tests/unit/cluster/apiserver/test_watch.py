import asyncio
from typing import Any

import pytest

from kubedyno.base import aio
from kubedyno.cluster.apiserver import watch, watchchannel
from kubedyno.kube.resources import CONFIGMAPS
from kubedyno.statedb.records import History
from unit.cluster.apiserver.harness import NS, Api, running

PATH = f"/api/v1/namespaces/{NS}/configmaps"
TABLE = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}


def create(api: Api, name: str, **parts: Any) -> int:
    metadata = {"name": name, **parts.pop("metadata", {})}
    return api.registry.create(CONFIGMAPS, NS, {"metadata": metadata, **parts}).revision


def label(api: Api, name: str, labels: dict[str, str]) -> None:
    def labelled(obj: dict[str, Any]) -> dict[str, Any]:
        return {**obj, "metadata": {**obj["metadata"], "labels": labels}}

    api.registry.modify(CONFIGMAPS, NS, name, labelled)


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def names(answer: Any) -> list[tuple[str, str]]:
    return [(kind, obj["metadata"].get("name", "")) for kind, obj in answer.events]


def test_changes_come_as_they_are_made():
    async def scene() -> None:
        async with running() as api:
            answer = api.call("GET", f"{PATH}?watch=true&resourceVersion={api.store.revision}")
            create(api, "a")
            label(api, "a", {"x": "y"})
            api.registry.delete(CONFIGMAPS, NS, "a")
            await turns()
            assert names(answer) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
            assert [int(obj["metadata"]["resourceVersion"]) for _, obj in answer.events] == [3, 4, 5]

    aio.run(scene())


def test_the_old_path_of_a_watch_is_watched_too():
    async def scene() -> None:
        async with running() as api:
            create(api, "a")
            every = api.call("GET", f"/api/v1/watch/namespaces/{NS}/configmaps")
            one = api.call("GET", f"/api/v1/watch/namespaces/{NS}/configmaps/b?timeoutSeconds=5")
            create(api, "b")
            await turns()
            assert names(every) == [("ADDED", "a"), ("ADDED", "b")]
            assert names(one) == [("ADDED", "b")]

    aio.run(scene())


def test_a_watch_without_a_revision_begins_with_what_is_there():
    async def scene() -> None:
        async with running() as api:
            create(api, "a")
            answer = api.call("GET", f"{PATH}?watch=true")
            create(api, "b")
            await turns()
            assert names(answer) == [("ADDED", "a"), ("ADDED", "b")]

    aio.run(scene())


def test_initial_events_end_with_a_bookmark():
    async def scene() -> None:
        async with running() as api:
            create(api, "a")
            query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
            kinds = api.call("GET", f"{PATH}?{query}").events
            assert [kind for kind, _ in kinds] == ["ADDED", "BOOKMARK"]
            assert kinds[1][1]["metadata"] == {
                "resourceVersion": "3",
                "annotations": {"k8s.io/initial-events-end": "true"},
            }

    aio.run(scene())


def test_what_enters_or_leaves_a_selection_is_added_or_deleted():
    async def scene() -> None:
        async with running() as api:
            answer = api.call("GET", f"{PATH}?watch=true&labelSelector=on&resourceVersion={api.store.revision}")
            create(api, "a")
            label(api, "a", {"on": "1"})
            label(api, "a", {"on": "2"})
            label(api, "a", {})
            label(api, "a", {"off": "1"})
            await turns()
            assert names(answer) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
            kind, gone = answer.events[2]
            # As it last was in the selection, at the revision at which it left.
            assert (kind, gone["metadata"]["labels"]) == ("DELETED", {"on": "2"})
            assert gone["metadata"]["resourceVersion"] == "6"

    aio.run(scene())


def test_other_namespaces_are_not_told():
    async def scene() -> None:
        async with running() as api:
            answer = api.call("GET", "/api/v1/namespaces/other/configmaps?watch=true&resourceVersion=2")
            everywhere = api.call("GET", "/api/v1/configmaps?watch=true&resourceVersion=2")
            create(api, "a")
            await turns()
            assert (names(answer), names(everywhere)) == ([], [("ADDED", "a")])

    aio.run(scene())


def test_an_old_revision_is_caught_up_with():
    async def scene() -> None:
        async with running() as api:
            start = create(api, "a")
            label(api, "a", {"x": "y"})
            create(api, "b")
            answer = api.call("GET", f"{PATH}?watch=true&resourceVersion={start}")
            create(api, "c")
            await turns()
            assert names(answer) == [("MODIFIED", "a"), ("ADDED", "b"), ("ADDED", "c")]

    aio.run(scene())


def test_a_revision_of_many_steps_ago_is_caught_up_with_while_writes_go_on():
    async def scene() -> None:
        async with running() as api:
            start = create(api, "first")
            made = [f"old-{i}" for i in range(5 * watch.RECORDS_A_STEP)]
            for name in made:
                create(api, name)
            answer = api.call("GET", f"{PATH}?watch=true&resourceVersion={start}")
            for i in range(20):
                made.append(f"new-{i}")
                create(api, made[-1])
                await turns(2)
            async with asyncio.timeout(60):
                while len(answer.events) < len(made):
                    await turns()
            assert names(answer) == [("ADDED", name) for name in made]
            assert api.server.watchers == 1

    aio.run(scene())


def test_thousands_of_writes_in_one_tick_lose_nothing_of_what_changed():
    """Compaction runs in commits; it must not take what a watch has not sent yet."""

    async def scene() -> None:
        async with running() as api:
            for i in range(300):
                create(api, f"cm-{i}", metadata={"labels": {"on": "1"}})
            answer = api.call("GET", f"{PATH}?watch=true&labelSelector=on&resourceVersion={api.store.revision}")
            plain = api.call("GET", f"{PATH}?watch=true&resourceVersion={api.store.revision}")
            for turn in range(10):
                for i in range(300):
                    label(api, f"cm-{i}", {"on": str(turn)} if turn < 9 else {})
            assert not answer.pieces
            await turns(200)
            kinds = [kind for kind, _ in answer.events]
            assert (kinds.count("MODIFIED"), kinds.count("DELETED"), len(kinds)) == (9 * 300, 300, 3000)
            assert [kind for kind, _ in plain.events] == ["MODIFIED"] * 3000

    aio.run(scene())


def test_who_falls_behind_the_history_has_to_list_again():
    """Records lose their predecessors in one tick: what they meant to a selection can no longer be said."""

    async def scene() -> None:
        async with running() as api:
            table = api.store.table(CONFIGMAPS)
            table.history = History(seconds=None, records=50)
            create(api, "a")
            start = api.store.revision
            behind = api.call("GET", f"{PATH}?watch=true&labelSelector=on&resourceVersion={start}")
            for i in range(3000):
                label(api, "a", {"on": str(i)})
            while api.store.db.compact():
                pass
            assert table.floor > start
            await turns(100)
            assert behind.closed
            late = api.call("GET", f"{PATH}?watch=true&resourceVersion={start}")
            await turns()
            kind, status = late.events[0]
            assert (kind, status["reason"], status["code"], late.closed) == ("ERROR", "Expired", 410, True)
            assert status["message"] == f"too old resource version: {start} ({table.floor})"

    aio.run(scene())


def test_what_left_a_selection_before_the_history_begins_is_not_passed_over():
    """The change is still in the log, but what it changed is not: silence would leave the watcher with an old object."""

    async def scene() -> None:
        async with running() as api:
            table = api.store.table(CONFIGMAPS)
            table.history = History(seconds=None, records=5)
            create(api, "a", metadata={"labels": {"on": "1"}})
            start = create(api, "b")
            label(api, "a", {})
            for i in range(20):
                create(api, f"cm-{i}")
            while api.store.db.compact():
                pass
            answer = api.call("GET", f"{PATH}?watch=true&labelSelector=on&resourceVersion={start}")
            await turns()
            assert [kind for kind, _ in answer.events] == ["ERROR"]

    aio.run(scene())


def test_a_revision_to_come_is_waited_for():
    async def scene() -> None:
        async with running() as api:
            answer = api.call("GET", f"{PATH}?watch=true&resourceVersion={api.store.revision + 1}")
            create(api, "a")
            create(api, "b")
            await turns()
            assert names(answer) == [("ADDED", "b")]

    aio.run(scene())


def test_table_events_have_columns_once():
    async def scene() -> None:
        async with running() as api:
            create(api, "a")
            answer = api.call("GET", f"{PATH}?watch=true", headers=TABLE)
            create(api, "b")
            await turns()
            columns = [obj["columnDefinitions"] for _, obj in answer.events]
            assert [c["name"] for c in columns[0]] == ["Name", "Data", "Age"]
            assert columns[1] is None
            assert [obj["rows"][0]["cells"][0] for _, obj in answer.events] == ["a", "b"]

    aio.run(scene())


def test_a_bookmark_in_a_table_shows_what_go_prints_of_nothing():
    async def scene() -> None:
        async with running() as api:
            for path, cells in (
                ("/apis/rbac.authorization.k8s.io/v1/roles", ["", "0001-01-01T00:00:00Z"]),
                (
                    "/apis/batch/v1/cronjobs",
                    ["", "", "<none>", "<unset>", 0, "<none>", "<unknown>", "", "", "<none>"],
                ),
            ):
                answer = api.call("GET", f"{path}?watch=1&allowWatchBookmarks=1", headers=TABLE)
                ((kind, table),) = answer.events
                assert (kind, table["rows"][0]["cells"]) == ("BOOKMARK", cells)

    aio.run(scene())


def test_a_bookmark_in_a_table_carries_what_its_rows_carry():
    async def scene() -> None:
        async with running() as api:
            for wanted, kind in (("Object", "ConfigMap"), ("Metadata", "PartialObjectMetadata"), ("None", None)):
                query = f"{PATH}?watch=1&allowWatchBookmarks=1&includeObject={wanted}"
                ((_, table),) = api.call("GET", query, headers=TABLE).events
                shown = table["rows"][0]["object"]
                assert (shown and shown["kind"]) == kind

    aio.run(scene())


def test_the_older_version_of_an_autoscaler_has_the_row_of_the_stored_one():
    def metric(name: str, **target: Any) -> dict[str, Any]:
        return {"type": "Resource", "resource": {"name": name, "target": target}}

    async def scene() -> None:
        async with running() as api:
            metrics = [
                metric("cpu", type="Utilization", averageUtilization=50),
                metric("memory", type="AverageValue", averageValue="1Mi"),
            ]
            scaled = {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}
            body = {"metadata": {"name": "h"}, "spec": {"maxReplicas": 2, "scaleTargetRef": scaled, "metrics": metrics}}
            path = f"/apis/autoscaling/%s/namespaces/{NS}/horizontalpodautoscalers"
            assert api.call("POST", path % "v2", body).status == 201
            for version in ("v1", "v2"):
                (row,) = api.call("GET", path % version, headers=TABLE).json["rows"]
                assert row["cells"][2] == "cpu: <unknown>/50%, memory: <unknown>/1Mi"

    aio.run(scene())


def test_watchers_of_one_view_share_what_is_encoded(monkeypatch):
    async def scene() -> None:
        async with running() as api:
            answers = [api.call("GET", f"{PATH}?watch=true&resourceVersion=2") for _ in range(5)]
            other = api.call("GET", "/api/v1/configmaps?watch=true&resourceVersion=2")
            encoder = api.server.encoder_of(api.registry.kind(CONFIGMAPS))
            made = []
            event = encoder.event
            monkeypatch.setattr(encoder, "event", lambda *args: made.append(args) or event(*args), raising=False)
            create(api, "a")
            await turns()
            assert len(made) == 1
            assert all(names(answer) == [("ADDED", "a")] for answer in (*answers, other))
            assert len({id(answer.pieces[0]) for answer in answers}) == 1

    aio.run(scene())


def test_a_reader_who_does_not_read_is_cut():
    async def scene() -> None:
        async with running() as api:
            answer = api.call("GET", f"{PATH}?watch=true&resourceVersion=2")
            answer.buffered = watchchannel.MAX_UNREAD_BYTES + 1
            create(api, "a")
            await turns()
            assert answer.aborted
            assert api.server.watchers == 0

    aio.run(scene())


def test_a_watch_ends_at_its_time_out_and_is_forgotten_when_the_client_goes():
    async def scene() -> None:
        async with running() as api:
            timed = api.call("GET", f"{PATH}?watch=true&resourceVersion=2&timeoutSeconds=1")
            gone = api.call("GET", f"{PATH}?watch=true&resourceVersion=2")
            assert api.server.watchers == 2
            assert gone.on_close is not None
            gone.on_close()
            assert api.server.watchers == 1
            await aio.wait_for(timed.done.wait(), 60)
            assert api.server.watchers == 0
            assert timed.body == b""

    aio.run(scene())


def test_a_large_collection_is_replayed_as_it_is_read():
    async def scene() -> None:
        async with running() as api:
            for i in range(1200):
                create(api, f"cm-{i:04}")
            answer = api.call("GET", f"{PATH}?watch=true")
            assert not answer.pieces
            answer.buffered = watch.CATCH_UP_BYTES + 1
            await turns()
            first = len(answer.events)
            create(api, "late")
            assert first == watch.RECORDS_A_STEP
            answer.buffered = 0
            answer.read.set()
            await turns(50)
            assert names(answer) == [*(("ADDED", f"cm-{i:04}") for i in range(1200)), ("ADDED", "late")]

    aio.run(scene())


@pytest.mark.parametrize("count", [10, 100])
def test_a_watch_begins_with_what_it_selects(count):
    async def scene() -> None:
        async with running() as api:
            for i in range(count):
                create(api, f"cm-{i:04}")
            answer = api.call("GET", f"{PATH}?watch=true&fieldSelector=metadata.name!%3Dcm-0007")
            await turns(50)
            create(api, "late")
            await turns()
            others = [("ADDED", f"cm-{i:04}") for i in range(count) if i != 7]
            assert names(answer) == [*others, ("ADDED", "late")]

    aio.run(scene())


@pytest.mark.parametrize("query", ["watch=true&resourceVersion=x", "watch=true&sendInitialEvents=true"])
def test_what_makes_no_sense_is_refused_before_the_stream_begins(api, query):
    answer = api.call("GET", f"{PATH}?{query}")
    assert answer.status in {422, 500}
    assert answer.json["kind"] == "Status"


def test_a_fault_in_one_view_leaves_the_others_their_events(monkeypatch, caplog):
    async def scene() -> None:
        async with running() as api:
            well = [api.call("GET", f"{PATH}?watch=true&resourceVersion=2")]
            ill = api.call("GET", f"{PATH}?watch=true&resourceVersion=2", headers=TABLE)
            well.append(api.call("GET", f"{PATH}?watch=true&resourceVersion=2&labelSelector=!none"))
            kind = api.registry.kind(CONFIGMAPS)
            monkeypatch.setattr(kind, "cells", lambda *_: 1 / 0, raising=False)
            create(api, "a")
            await turns()
            assert [names(answer) for answer in well] == [[("ADDED", "a")]] * 2
            assert ill.closed
            assert api.server.watchers == 2

    aio.run(scene())
    assert "ZeroDivisionError" in caplog.text
