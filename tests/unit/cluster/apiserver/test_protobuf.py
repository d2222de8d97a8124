"""Answers in protobuf: what Go's typed clients ask for first, and read before JSON."""

from typing import Any

import orjson
import pytest

from kubedyno.base import aio
from kubedyno.cluster.apiserver import reads
from kubedyno.cluster.apiserver.messages import Messages, cut
from kubedyno.cluster.registry.leanpod import LeanPod
from kubedyno.cluster.storage.objects import key_of
from kubedyno.kube import protobuf
from kubedyno.kube.resources import CONFIGMAPS, EVENTS, PODS
from unit.cluster.apiserver.harness import NS, Api, running

PROTOBUF = "application/vnd.kubernetes.protobuf"
# As k8s.io/client-go's generated clients send it.
TYPED = {"accept": f"{PROTOBUF},application/json"}
CMS = f"/api/v1/namespaces/{NS}/configmaps"
PODS_PATH = f"/api/v1/namespaces/{NS}/pods"
WIDGETS = f"/apis/example.com/v1/namespaces/{NS}/widgets"
PARTIAL = "as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


def without_empty(value: Any) -> Any:
    """Return a JSON value without what is nothing: messages tell more of it, and JSON tells null."""
    if isinstance(value, dict):
        members = {key: without_empty(member) for key, member in value.items()}
        return {key: member for key, member in members.items() if member not in (None, "", 0, {}, [])}
    return [without_empty(item) for item in value] if isinstance(value, list) else value


def pod(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "nginx:1"}], **spec}}


def frames(raw: bytes) -> list[tuple[str, Any]]:
    events = []
    while raw:
        size = int.from_bytes(raw[:4], "big")
        frame, raw = raw[4 : 4 + size], raw[4 + size :]
        events.append((frame[2 : 2 + frame[1]].decode(), protobuf.decode(frame[frame.index(protobuf.MAGIC) :])))
    return events


async def define_widgets(api: Api) -> None:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "names": names, "scope": "Namespaced", "versions": [version]},
    }
    media = {"content-type": PROTOBUF}
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    answer = api.call("POST", path, protobuf.encode(definition), media)
    assert answer.json["spec"]["versions"][0]["schema"]["openAPIV3Schema"] == schema
    for _ in range(3000):
        if api.call("GET", WIDGETS).status == 200:
            break
        await aio.sleep(0.01)
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "x": 1}
    assert api.call("POST", WIDGETS, widget).status == 201


def test_what_is_preferred_is_sent(api):
    made = api.call("POST", CMS, {"metadata": {"name": "a"}, "data": {"x": "1"}}, TYPED)
    assert (made.status, made.media) == (201, PROTOBUF)
    assert protobuf.decode(made.body)["data"] == {"x": "1"}
    asked = {"accept": f"application/json;q=0.9,{PROTOBUF};q=0.5"}
    assert api.call("GET", f"{CMS}/a", headers=asked).json["data"] == {"x": "1"}
    assert api.call("GET", f"{CMS}/a", headers={"accept": f"{PROTOBUF}, */*"}).media == PROTOBUF


def test_errors_are_messages_too(api):
    answer = api.call("GET", f"{CMS}/none", headers=TYPED)
    assert (answer.status, answer.media) == (404, PROTOBUF)
    status = protobuf.decode(answer.body)
    assert (status["kind"], status["reason"], status["code"]) == ("Status", "NotFound", 404)
    refused = api.call("POST", PODS_PATH, {"metadata": {"name": "p"}, "spec": {"containers": []}}, TYPED)
    causes = protobuf.decode(refused.body)["details"]["causes"]
    assert causes == [{"reason": "FieldValueRequired", "message": "Required value", "field": "spec.containers"}]


def test_lists_are_the_same_in_both_forms(api):
    for i in range(3):
        api.call("POST", PODS_PATH, pod(f"p{i}"))
    for query in ("", "?limit=2", "?labelSelector=none"):
        answer = api.call("GET", f"{PODS_PATH}{query}", headers=TYPED)
        found, told = protobuf.decode(answer.body), api.call("GET", f"{PODS_PATH}{query}").json
        found.setdefault("items", [])
        assert without_empty(found) == without_empty(told)


async def long_list(api: Api, count: int) -> Any:
    for i in range(count):
        api.registry.create(CONFIGMAPS, NS, {"metadata": {"name": f"c{i:04}"}, "data": {"n": str(i)}})
    answer = api.call("GET", CMS, headers=TYPED)
    await answer.done.wait()
    return protobuf.decode(answer.body)


@pytest.mark.parametrize("kept_bytes", [1 << 20, 1])
def test_a_long_list_is_whole_whether_kept_or_made_twice(monkeypatch, kept_bytes):
    monkeypatch.setattr(reads, "KEPT_BYTES", kept_bytes)

    async def scene() -> Any:
        async with running() as api:
            return await long_list(api, 300)

    items = aio.run(scene())["items"]
    assert [item["data"]["n"] for item in items] == [str(i) for i in range(300)]


def test_tables_stay_json(api):
    table = "application/json;as=Table;g=meta.k8s.io;v=v1"
    asked = {"accept": f"{PROTOBUF};as=Table;g=meta.k8s.io;v=v1,{table}"}
    assert api.call("GET", CMS, headers=asked).json["kind"] == "Table"
    refused = api.call("GET", CMS, headers={"accept": f"{PROTOBUF};as=Table;g=meta.k8s.io;v=v1"})
    assert refused.status == 406


def test_custom_resources_have_their_metadata_only():
    async def scene() -> None:
        async with running() as api:
            await define_widgets(api)
            assert api.call("GET", f"{WIDGETS}/w", headers=TYPED).json["x"] == 1
            assert api.call("GET", WIDGETS, headers=TYPED).json["items"][0]["x"] == 1
            answer = api.call(
                "GET", f"{WIDGETS}/w", headers={"accept": f"{PROTOBUF};{PARTIAL},application/json;{PARTIAL}"}
            )
            shown = protobuf.decode(answer.body)
            assert (shown["kind"], shown["metadata"]["name"]) == ("PartialObjectMetadata", "w")
            refused = api.call("GET", f"{WIDGETS}/w", headers={"accept": PROTOBUF})
            status = protobuf.decode(refused.body)
            assert (refused.status, status["reason"]) == (406, "NotAcceptable")
            assert status["message"].startswith("only the following media types are accepted: application/json")

    aio.run(scene())


def test_watches_are_framed():
    async def scene() -> list[tuple[str, Any]]:
        async with running() as api:
            answer = api.call("GET", f"{CMS}?watch=1&allowWatchBookmarks=1", headers=TYPED)
            assert answer.media == f"{PROTOBUF};stream=watch"
            api.call("POST", CMS, {"metadata": {"name": "a"}, "data": {"x": "1"}})
            api.call("DELETE", f"{CMS}/a")
            for _ in range(5):
                await aio.sleep(0)
            return frames(answer.body)

    events = aio.run(scene())
    assert [kind for kind, _ in events] == ["BOOKMARK", "ADDED", "DELETED"]
    assert events[1][1]["data"] == {"x": "1"}


def test_events_are_the_same_in_both_of_their_versions(api):
    event = {"metadata": {"name": "e"}, "involvedObject": {"namespace": NS, "name": "x"}, "count": 3, "type": "Normal"}
    api.registry.create(EVENTS, NS, event)
    for path in (f"/api/v1/namespaces/{NS}/events", f"/apis/events.k8s.io/v1/namespaces/{NS}/events"):
        found = protobuf.decode(api.call("GET", path, headers=TYPED).body)
        assert without_empty(found) == without_empty(api.call("GET", path).json)


def test_pods_that_share_their_spec_have_their_own_names_and_nodes(api):
    for name, node in (("a", ""), ("b", "n1")):
        created = api.registry.create(PODS, NS, pod(name))
        if node:
            api.trusted.bind(created, node)
    written = Messages(api.store, PODS)
    for name in ("a", "b"):
        record = api.store.get(PODS, key_of(NS, name))
        assert record is not None
        assert type(record.obj) is LeanPod
        message = written.message(record)
        found = protobuf.decode(protobuf.opening("v1", "Pod", len(message)) + message + protobuf.CLOSING)
        assert without_empty(found) == without_empty(orjson.loads(api.store.encode(PODS, record)))


def test_a_suffix_that_is_no_text_of_its_own_is_not_shared():
    assert cut((b'"spec":{"priority":1', b"0}")) is None
    whole = cut((b'"spec":{"hostname":"a-', b'"}'))
    assert whole is not None
    before, behind = whole
    # The host's name has a number behind the node's.
    assert len(before) == 1
    assert [behind[0][-5:], behind[1][:2]] == [b"\x82\x01\x07a-", b"\x8a\x01"]
