"""Definitions whose versions a webhook converts: a real server on loopback does."""

from contextlib import asynccontextmanager

import orjson

from kubedyno.base import aio
from ports import refusing_port
from unit.cluster.apiserver.harness import NS, Answer, running
from unit.cluster.apiserver.hooks import hooks

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
V1, V2 = (f"/apis/example.com/{version}/namespaces/{NS}/widgets" for version in ("v1", "v2"))
MERGE = {"content-type": "application/merge-patch+json"}
_LIMIT_S = 20.0


def convert(request):
    """v1 has spec.size "3cm", v2 has spec.length 3 and spec.unit "cm"."""
    converted = []
    for obj in request["objects"]:
        new = {**obj, "apiVersion": request["desiredAPIVersion"]}
        spec = obj["spec"]
        if request["desiredAPIVersion"].endswith("v2"):
            new["spec"] = {"length": int(spec["size"][:-2]), "unit": spec["size"][-2:]}
        else:
            new["spec"] = {"size": f"{spec['length']}{spec['unit']}"}
        converted.append(new)
    return {"result": {"status": "Success"}, "convertedObjects": converted}


def definition(client, storage="v1"):
    def version(name, **spec):
        schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": spec}}}
        return {"name": name, "served": True, "storage": name == storage, "schema": {"openAPIV3Schema": schema}}

    return {
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "conversion": {
                "strategy": "Webhook", "webhook": {"clientConfig": client, "conversionReviewVersions": ["v1"]},
            },
            "versions": [
                version("v1", size={"type": "string"}),
                version("v2", length={"type": "integer"}, unit={"type": "string"}),
            ],
        },
    }  # fmt: skip


class World:
    def __init__(self, api, server):
        self.api = api
        self.hooks = server

    async def call(self, *given, **named):
        answer = self.api.call(*given, **named)
        async with aio.timeout(_LIMIT_S):
            await answer.done.wait()
        return answer

    async def define(self, **client):
        whole = definition({**self.hooks.client("/convert"), **client})
        answer = await self.call("POST", CRDS, whole)
        assert answer.status == 201, answer.json
        assert not answer.header("warning")
        # The pump has to take note of the definition.
        for _ in range(20_000):
            if (await self.call("GET", V1)).status == 200:
                return
            await aio.sleep(0.002)
        raise AssertionError("widgets are not served")


def run(test):
    def plain():
        async def inside():
            async with hooks() as server, running() as api:
                server.replies["/convert"] = convert
                await test(World(api, server))

        aio.run(inside())

    plain.__name__ = test.__name__
    return plain


async def until(holds):
    for _ in range(20_000):
        if holds():
            return
        await aio.sleep(0.002)
    raise AssertionError("that did not come true in time")


@asynccontextmanager
async def watching(w, path):
    answer: Answer = w.api.call("GET", f"{path}?watch=true")
    await until(lambda: answer.status)
    yield answer
    if answer.on_close is not None:
        answer.on_close()


@run
async def test_each_version_reads_what_another_wrote(w):
    await w.define()
    made = await w.call(
        "POST",
        V2,
        {
            "apiVersion": "example.com/v2",
            "kind": "Widget",
            "metadata": {"name": "a"},
            "spec": {"length": 3, "unit": "cm"},
        },
    )
    assert (made.status, made.json["spec"], made.json["apiVersion"]) == (
        201,
        {"length": 3, "unit": "cm"},
        "example.com/v2",
    )
    assert (await w.call("GET", f"{V1}/a")).json["spec"] == {"size": "3cm"}
    changed = await w.call("PATCH", f"{V1}/a", {"spec": {"size": "4mm"}}, MERGE)
    assert changed.json["spec"] == {"size": "4mm"}
    got = (await w.call("GET", f"{V2}/a")).json
    assert (got["spec"], got["metadata"]["generation"]) == ({"length": 4, "unit": "mm"}, 2)
    review = w.hooks.seen[0]
    assert (review["apiVersion"], review["kind"]) == ("apiextensions.k8s.io/v1", "ConversionReview")
    assert w.hooks.queries[0] == "timeout=30s"


@run
async def test_a_list_is_converted_in_one_call(w):
    await w.define()
    for i in range(5):
        body = {
            "apiVersion": "example.com/v1",
            "kind": "Widget",
            "metadata": {"name": f"w{i}"},
            "spec": {"size": f"{i}cm"},
        }
        assert (await w.call("POST", V1, body)).status == 201
    kind = w.api.registry.resource_of("example.com/v2", "Widget")
    conversion = w.api.registry.kind(kind).conversion
    conversion._known.clear()
    conversion._seen.clear()
    before = len(w.hooks.seen)
    items = (await w.call("GET", V2)).json["items"]
    assert [item["spec"]["length"] for item in items] == [0, 1, 2, 3, 4]
    assert len(w.hooks.seen) == before + 1
    await w.call("GET", V2)
    assert len(w.hooks.seen) == before + 1, "what is converted is kept"


@run
async def test_a_watch_has_events_in_its_version(w):
    await w.define()
    body = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"}, "spec": {"size": "1cm"}}
    await w.call("POST", V1, body)
    async with watching(w, V2) as answer:
        await w.call("PATCH", f"{V1}/a", {"spec": {"size": "2cm"}}, MERGE)
        await w.call("DELETE", f"{V1}/a")
        await until(lambda: len(answer.events) >= 3)
        found = [(kind, obj["apiVersion"], obj["spec"]["length"]) for kind, obj in answer.events]
    assert found == [
        ("ADDED", "example.com/v2", 1),
        ("MODIFIED", "example.com/v2", 2),
        ("DELETED", "example.com/v2", 2),
    ]


@run
async def test_failures_are_said_and_hit_only_who_needs_the_conversion(w):
    with refusing_port() as port:
        await w.define(url=f"https://127.0.0.1:{port}/convert")
        body = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"}, "spec": {"size": "1cm"}}
        assert (await w.call("POST", V1, body)).status == 201, "the stored version needs none"
        assert (await w.call("GET", V1)).status == 200
        text = (
            "conversion webhook for example.com/v1, Kind=Widget failed: "
            f'Post "https://127.0.0.1:{port}/convert?timeout=30s": '
            f"dial tcp 127.0.0.1:{port}: connect: connection refused"
        )
        for path in (V2, f"{V2}/a"):
            answer = await w.call("GET", path)
            assert (answer.status, answer.json["message"]) == (500, text)


@run
async def test_answers_that_are_none_are_said(w):
    await w.define()
    cases = [
        ({"result": {"status": "Failed", "message": "no such unit"}}, "failed: no such unit"),
        ({"result": {"status": "Success"}, "convertedObjects": []}, "webhook returned 0 objects, expected 1"),
        ({"uid": "x", "result": {"status": "Success"}}, "expected response.uid="),
    ]
    body = {
        "apiVersion": "example.com/v2",
        "kind": "Widget",
        "metadata": {"name": "a"},
        "spec": {"length": 1, "unit": "cm"},
    }
    for reply, text in cases:
        w.hooks.replies["/convert"] = lambda _, reply=reply: reply
        answer = await w.call("POST", V2, body)
        assert answer.status == 500
        assert text in answer.json["message"], orjson.dumps(answer.json)

    def renamed(request):
        whole = convert(request)
        whole["convertedObjects"][0]["metadata"]["name"] = "b"
        return whole

    w.hooks.replies["/convert"] = renamed
    assert "metadata.name must be 'a', got 'b'" in (await w.call("POST", V2, body)).json["message"]
    assert (await w.call("GET", V1)).json["items"] == []
