"""Custom resources over the API: definitions come, change and go, and their objects with them."""

import copy
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kubedyno.base import aio
from kubedyno.cluster.controllers.manager import ControllerManager
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.schemacel import available
from kubedyno.cluster.settings import ClusterSettings
from unit.cluster.apiserver.harness import NS, Api, running

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = f"/apis/example.com/v1/namespaces/{NS}/widgets"
AGGREGATED = {"accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}
MERGE = {"content-type": "application/merge-patch+json"}
TABLE = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "size": {"type": "integer", "minimum": 1},
                "color": {"type": "string", "default": "red"},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            },
        },
        "status": {"type": "object", "properties": {"size": {"type": "integer"}, "selector": {"type": "string"}}},
    },
}
SCALE = {
    "specReplicasPath": ".spec.size",
    "statusReplicasPath": ".status.size",
    "labelSelectorPath": ".status.selector",
}


def definition(plural: str = "widgets", kind: str = "Widget", **spec: Any) -> dict[str, Any]:
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": SCHEMA},
        "subresources": {"status": {}, "scale": SCALE},
    }
    names = {"plural": plural, "kind": kind, "shortNames": [plural[:2]], "categories": ["all"]}
    whole = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version], **spec}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.example.com"},
        "spec": copy.deepcopy(whole),
    }


def widget(name: str = "w", kind: str = "Widget", **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "example.com/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


async def turn() -> None:
    """Let the pump do what it has."""
    for _ in range(20):
        await aio.sleep(0.002)


async def define(api: Api, document: dict[str, Any] | None = None) -> None:
    answer = api.call("POST", CRDS, document or definition())
    assert answer.status == 201, answer.json
    await turn()


def scene(play: Callable[[Api], Awaitable[None]], *, defined: bool = True) -> None:
    async def run() -> None:
        async with running() as api:
            if defined:
                await define(api)
            await play(api)

    aio.run(run())


def test_names_are_accepted_and_versions_served():
    async def play(api: Api) -> None:
        assert api.call("GET", WIDGETS).status == 404
        await define(api)
        status = api.call("GET", f"{CRDS}/widgets.example.com").json["status"]
        assert {c["type"]: c["status"] for c in status["conditions"]} == {
            "NamesAccepted": "True",
            "Established": "True",
        }
        assert status["acceptedNames"]["listKind"] == "WidgetList"
        assert status["storedVersions"] == ["v1"]
        assert api.call("GET", WIDGETS).json["kind"] == "WidgetList"

    scene(play, defined=False)


def test_discovery_and_openapi_follow_at_once():
    async def play(api: Api) -> None:
        before = api.call("GET", "/apis", headers=AGGREGATED).header("etag")
        index = api.call("GET", "/openapi/v3").json["paths"]
        assert "apis/example.com/v1" not in index
        await define(api)
        answer = api.call("GET", "/apis", headers=AGGREGATED)
        assert answer.header("etag") != before
        group = next(item for item in answer.json["items"] if item["metadata"]["name"] == "example.com")
        (resource,) = group["versions"][0]["resources"]
        assert [sub["subresource"] for sub in resource["subresources"]] == ["status", "scale"]
        assert resource["shortNames"] == ["wi"]
        assert resource["categories"] == ["all"]
        url = api.call("GET", "/openapi/v3").json["paths"]["apis/example.com/v1"]["serverRelativeURL"]
        document = api.call("GET", url).json
        one = document["paths"]["/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"]
        assert not any("strategic" in media for media in one["patch"]["requestBody"]["content"])
        schemas = document["components"]["schemas"]
        assert schemas["com.example.v1.Widget"]["properties"]["spec"]["properties"]["size"]["minimum"] == 1
        assert "com.example.v1.Widget" in api.call("GET", "/openapi/v2").json["definitions"]
        assert api.call("GET", "/openapi/v3").json["paths"]["apis/apps/v1"] == index["apis/apps/v1"]

    scene(play, defined=False)


def test_objects_are_pruned_filled_in_and_judged():
    async def play(api: Api) -> None:
        answer = api.call("POST", WIDGETS, {**widget(size=2, other=1, free={"a": {"b": 1}}), "status": {"size": 9}})
        assert answer.status == 201
        assert answer.json["spec"] == {"size": 2, "color": "red", "free": {"a": {"b": 1}}}
        assert "status" not in answer.json
        assert answer.header("warning") == ['299 - "unknown field \\"spec.other\\""']
        strict = api.call("POST", f"{WIDGETS}?fieldValidation=Strict", widget("x", size=2, other=1))
        assert strict.status == 400
        assert strict.json["message"].endswith('strict decoding error: unknown field "spec.other"')
        bad = api.call("POST", WIDGETS, widget("x", size=0))
        assert bad.status == 422
        assert "spec.size in body should be greater than or equal to 1" in bad.json["message"]

    scene(play)


def test_the_generation_counts_changes_of_the_spec_alone():
    async def play(api: Api) -> None:
        assert api.call("POST", WIDGETS, widget(size=1)).json["metadata"]["generation"] == 1
        path = f"{WIDGETS}/w"
        changes = [({"metadata": {"labels": {"a": "b"}}}, 1), ({"spec": {"size": 2}}, 2), ({"spec": {"size": 2}}, 2)]
        for change, generation in changes:
            assert api.call("PATCH", path, change, MERGE).json["metadata"]["generation"] == generation
        answer = api.call("PATCH", f"{path}/status", {"status": {"size": 1}, "spec": {"size": 7}}, MERGE)
        assert answer.json["metadata"]["generation"] == 2
        assert (answer.json["spec"]["size"], answer.json["status"]) == (2, {"size": 1})

    scene(play)


def test_scale_goes_by_the_paths_of_the_definition():
    async def play(api: Api) -> None:
        api.call("POST", WIDGETS, widget(size=1))
        api.call("PATCH", f"{WIDGETS}/w/status", {"status": {"size": 3, "selector": "a=b"}}, MERGE)
        scale = api.call("GET", f"{WIDGETS}/w/scale").json
        assert (scale["spec"], scale["status"]) == ({"replicas": 1}, {"replicas": 3, "selector": "a=b"})
        assert api.call("PATCH", f"{WIDGETS}/w/scale", {"spec": {"replicas": 5}}, MERGE).json["spec"] == {"replicas": 5}
        assert api.call("GET", f"{WIDGETS}/w").json["spec"]["size"] == 5

    scene(play)


def test_what_custom_resources_refuse():
    async def play(api: Api) -> None:
        api.call("POST", WIDGETS, widget(size=1))
        put = api.call("PUT", f"{WIDGETS}/w", widget(size=2))
        assert put.status == 422
        assert "metadata.resourceVersion" in put.json["message"]
        strategic = {"content-type": "application/strategic-merge-patch+json"}
        assert api.call("PATCH", f"{WIDGETS}/w", {"spec": {}}, strategic).status == 415
        assert api.call("POST", WIDGETS, widget("x", kind="Gadget", size=1)).status == 422

    scene(play)


def test_columns_are_json_paths():
    columns = [
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
        {"name": "Color", "type": "string", "jsonPath": ".spec.color", "priority": 1},
        {"name": "None", "type": "string", "jsonPath": ".spec.none"},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]

    async def play(api: Api) -> None:
        document = definition()
        document["spec"]["versions"][0]["additionalPrinterColumns"] = columns
        await define(api, document)
        api.call("POST", WIDGETS, widget(size=4))
        table = api.call("GET", WIDGETS, headers=TABLE).json
        assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Size", "Color", "None", "Age"]
        assert table["rows"][0]["cells"] == ["w", 4, "red", None, "0s"]

    scene(play, defined=False)


def test_versions_share_their_objects():
    async def play(api: Api) -> None:
        document = definition()
        first = document["spec"]["versions"][0]
        document["spec"]["versions"] += [
            {**first, "name": "v2", "storage": False},
            {**first, "name": "v1beta1", "storage": False, "deprecated": True},
            {**first, "name": "v0", "storage": False, "served": False},
        ]
        await define(api, document)
        api.call("POST", WIDGETS, widget(size=1))
        other = api.call("GET", WIDGETS.replace("/v1/", "/v2/") + "/w").json
        assert (other["apiVersion"], other["spec"]["size"]) == ("example.com/v2", 1)
        old = api.call(
            "POST", WIDGETS.replace("/v1/", "/v1beta1/"), {**widget("x", size=1), "apiVersion": "example.com/v1beta1"}
        )
        assert old.header("warning") == ['299 - "example.com/v1beta1 Widget is deprecated; use example.com/v2 Widget"']
        assert len(api.call("GET", WIDGETS).json["items"]) == 2
        assert api.call("GET", WIDGETS.replace("/v1/", "/v0/")).status == 404
        group = api.call("GET", "/apis/example.com").json
        assert [v["version"] for v in group["versions"]] == ["v2", "v1", "v1beta1"]

    scene(play, defined=False)


def test_a_name_of_a_built_in_resource_in_another_group_is_no_such_resource():
    async def play(api: Api) -> None:
        document = definition("statefulsets", "StatefulSet")
        (version,) = document["spec"]["versions"]
        del version["subresources"]
        properties = version["schema"]["openAPIV3Schema"]["properties"]
        properties["spec"]["x-kubernetes-preserve-unknown-fields"] = True
        properties["status"]["default"] = {"size": 3}
        await define(api, document)
        sent = widget(kind="StatefulSet", podManagementPolicy="Parallel", volumes="none", template={"spec": "x"})
        answer = api.call("POST", WIDGETS.replace("widgets", "statefulsets"), sent)
        assert (answer.status, answer.json["spec"]["volumes"], answer.json["status"]) == (201, "none", {"size": 3})
        # No controller of ours has written its status.
        assert len(answer.json["metadata"]["managedFields"]) == 1

    scene(play, defined=False)


def test_a_changed_schema_counts_for_what_is_there():
    async def play(api: Api) -> None:
        api.call("POST", WIDGETS, widget(size=1))
        watch = api.call("GET", f"{WIDGETS}?watch=true")
        path = f"{CRDS}/widgets.example.com"
        document = api.call("GET", path).json
        properties = document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        properties["weight"] = {"type": "integer", "default": 7}
        del properties["color"]
        assert api.call("PUT", path, document).status == 200
        await turn()
        assert api.call("GET", f"{WIDGETS}/w").json["spec"] == {"size": 1, "weight": 7}
        assert api.call("GET", WIDGETS).json["items"][0]["spec"] == {"size": 1, "weight": 7}
        assert [event for event, _ in watch.events] == ["ADDED"]
        assert watch.closed

    scene(play)


def test_two_definitions_cannot_have_one_name():
    async def play(api: Api) -> None:
        await define(api, definition("gadgets", "Widget"))
        status = api.call("GET", f"{CRDS}/gadgets.example.com").json["status"]
        conditions = {c["type"]: (c["status"], c["reason"], c["message"]) for c in status["conditions"]}
        assert conditions["NamesAccepted"] == ("False", "ListKindConflict", '"WidgetList" is already in use')
        assert conditions["Established"][:2] == ("False", "NotAccepted")
        assert api.call("GET", WIDGETS.replace("widgets", "gadgets")).status == 404
        assert api.call("DELETE", f"{CRDS}/widgets.example.com").status == 200
        await turn()
        assert api.call("GET", WIDGETS.replace("widgets", "gadgets")).status == 200

    scene(play)


def test_a_definition_takes_its_objects_with_it():
    async def play(api: Api) -> None:
        for i in range(150):
            api.call("POST", WIDGETS, widget(f"w{i}", size=1))
        held = widget("held", size=1)
        held["metadata"]["finalizers"] = ["example.com/hold"]
        api.call("POST", WIDGETS, held)
        gone = api.call("DELETE", f"{CRDS}/widgets.example.com").json
        assert gone["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
        await turn()
        assert [item["metadata"]["name"] for item in api.call("GET", WIDGETS).json["items"]] == ["held"]
        assert api.call("POST", WIDGETS, widget("new", size=1)).status == 405
        terminating = api.call("GET", f"{CRDS}/widgets.example.com").json["status"]["conditions"][-1]
        assert (terminating["type"], terminating["status"]) == ("Terminating", "True")
        api.call("PATCH", f"{WIDGETS}/held", {"metadata": {"finalizers": None}}, MERGE)
        await turn()
        assert api.call("GET", f"{CRDS}/widgets.example.com").status == 404
        assert api.call("GET", WIDGETS).status == 404
        assert api.call("GET", "/apis/example.com/v1").status == 404

    scene(play)


def test_a_definition_may_come_back():
    async def play(api: Api) -> None:
        api.call("POST", WIDGETS, widget(size=1))
        api.call("DELETE", f"{CRDS}/widgets.example.com")
        await turn()
        await define(api)
        assert api.call("GET", WIDGETS).json["items"] == []
        assert api.call("POST", WIDGETS, widget(size=1)).status == 201

    scene(play)


@pytest.mark.parametrize("kind", ["configmaps", "widgets"])
def test_owners_and_dependants_may_be_custom(kind):
    async def play(api: Api) -> None:
        manager = ControllerManager(api.trusted, Pump(api.clock), ClusterSettings(), ca_pem=b"")
        manager.start()
        await define(api)
        owner = api.call("POST", WIDGETS, widget("owner", size=1)).json["metadata"]["uid"]
        reference = {"apiVersion": "example.com/v1", "kind": "Widget", "name": "owner", "uid": owner}
        path = WIDGETS if kind == "widgets" else f"/api/v1/namespaces/{NS}/configmaps"
        child = widget("child", size=1) if kind == "widgets" else {"metadata": {"name": "child"}}
        child["metadata"]["ownerReferences"] = [reference]
        assert api.call("POST", path, child).status == 201
        await turn()
        assert api.call("GET", f"{path}/child").status == 200
        assert api.call("DELETE", f"{WIDGETS}/owner").status == 200
        await turn()
        assert api.call("GET", f"{path}/child").status == 404

    scene(play, defined=False)


def test_an_orphan_keeps_what_it_is():
    async def play(api: Api) -> None:
        manager = ControllerManager(api.trusted, Pump(api.clock), ClusterSettings(), ca_pem=b"")
        manager.start()
        await define(api)
        uids = [api.call("POST", WIDGETS, widget(name, size=1)).json["metadata"]["uid"] for name in ("one", "two")]
        child = widget("child", size=3, free={"x": 1})
        child["metadata"]["ownerReferences"] = [
            {"apiVersion": "example.com/v1", "kind": "Widget", "name": name, "uid": uid}
            for name, uid in zip(("one", "two"), uids, strict=True)
        ]
        assert api.call("POST", WIDGETS, child).status == 201
        await turn()
        api.call("DELETE", f"{WIDGETS}/one", {"propagationPolicy": "Orphan"})
        await turn()
        left = api.call("GET", f"{WIDGETS}/child").json
        assert [owner["name"] for owner in left["metadata"]["ownerReferences"]] == ["two"]
        assert left["spec"] == {"size": 3, "color": "red", "free": {"x": 1}}
        assert api.call("GET", f"{WIDGETS}/one").status == 404

    scene(play, defined=False)


def test_a_namespace_takes_custom_resources_with_it():
    async def play(api: Api) -> None:
        manager = ControllerManager(api.trusted, Pump(api.clock), ClusterSettings(), ca_pem=b"")
        manager.start()
        await define(api)
        api.call("POST", WIDGETS, widget(size=1))
        assert api.call("DELETE", f"/api/v1/namespaces/{NS}").status == 200
        await turn()
        assert api.call("GET", f"/api/v1/namespaces/{NS}").status == 404
        assert api.call("GET", "/apis/example.com/v1/widgets").json["items"] == []

    scene(play, defined=False)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"type": "array"}, "must be object at the root"),
        (
            {"properties": {"a": {}}},
            "properties[a].type: Required value: must not be empty for specified object fields",
        ),
        ({"properties": {"a": {"type": "array"}}}, "properties[a].items: Required value: must be specified"),
        ({"properties": {"a": {"type": "bird"}}}, 'Unsupported value: "bird"'),
        ({"properties": {"a": {"type": "integer", "default": "x"}}}, "properties[a].default"),
        ({"properties": {"a": {"type": "string", "uniqueItems": True}}}, "uniqueItems cannot be set to true"),
        ({"properties": {"metadata": {"type": "object", "properties": {"labels": {}}}}}, "metadata is implicitly"),
    ],
)
def test_schemas_must_be_structural(api, change, text):
    document = definition()
    document["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = {"type": "object", **change}
    answer = api.call("POST", f"{CRDS}?dryRun=All", document)
    assert answer.status == 422
    assert text in answer.json["message"]


def test_rules_that_are_not_evaluated_are_said_to_be():
    async def play(api: Api) -> None:
        document = definition()
        schema = document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        schema["x-kubernetes-validations"] = [{"rule": "self.spec.size > 1"}]
        answer = api.call("POST", CRDS, document)
        text = "x-kubernetes-validations: rules are kept, and not evaluated here: install the extra cel"
        assert answer.header("warning") == ([] if available() else [f'299 - "{text}"'])

    scene(play, defined=False)


def test_a_quota_counts_custom_resources():
    async def play(api: Api) -> None:
        quota = {"metadata": {"name": "q"}, "spec": {"hard": {"count/widgets.example.com": "1"}}}
        api.call("POST", f"/api/v1/namespaces/{NS}/resourcequotas", quota)
        assert api.call("POST", WIDGETS, widget("a")).status == 201
        answer = api.call("POST", WIDGETS, widget("b"))
        assert answer.status == 403
        assert answer.json["message"] == (
            'widgets.example.com "b" is forbidden: exceeded quota: q, requested: count/widgets.example.com=1, '
            "used: count/widgets.example.com=1, limited: count/widgets.example.com=1"
        )

    scene(play)
