"""What a definition says of itself: approval in Kubernetes' own groups, selectable fields, printer columns."""

from typing import Any

import pytest

from kubedyno.base import aio
from unit.cluster.apiserver.harness import NS, TOKEN, Api, running

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
FOOS = f"/apis/example.com/v1/namespaces/{NS}/foos"
TABLE = {"authorization": f"Bearer {TOKEN}", "accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
APPROVED = "api-approved.kubernetes.io"
SPEC = {
    "a": {"type": "string"}, "n": {"type": "number"}, "b": {"type": "boolean"}, "o": {"type": "object"},
    "at": {"type": "string"}, **{f"a{i}": {"type": "string"} for i in range(9)},
}  # fmt: skip


def definition(group: str = "example.com", annotations: dict[str, str] | None = None, **version: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": SPEC}}}
    entry = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}, **version}
    names = {"plural": "foos", "kind": "Foo"}
    return {
        "metadata": {"name": f"foos.{group}", "annotations": annotations or {}},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [entry]},
    }


async def defined(api: Api, body: dict[str, Any]) -> dict[str, Any]:
    answer = api.call("POST", CRDS, body)
    for _ in range(3000):
        if answer.status != 201:
            return answer.json
        found = api.call("GET", f"{CRDS}/{body['metadata']['name']}").json
        if found["status"].get("conditions"):
            return found
        await aio.sleep(0.01)
    raise AssertionError("nobody looks at definitions")


def asked(body: dict[str, Any]) -> dict[str, Any]:
    async def scene() -> dict[str, Any]:
        async with running() as api:
            return await defined(api, body)

    return aio.run(scene())


@pytest.mark.parametrize(
    ("annotation", "condition"),
    [
        ("https://example.com/pull/1", ("True", "ApprovedAnnotation", "approved in https://example.com/pull/1")),
        ("unapproved, a test", ("False", "UnapprovedAnnotation", 'not approved: "unapproved, a test"')),
    ],
)
def test_a_definition_in_a_protected_group_shows_its_approval(annotation, condition):
    conditions = asked(definition("x.k8s.io", {APPROVED: annotation}))["status"]["conditions"]
    (found,) = [c for c in conditions if c["type"] == "KubernetesAPIApprovalPolicyConformant"]
    assert (found["status"], found["reason"], found["message"]) == condition


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        ({}, f'Required value: protected groups must have approval annotation "{APPROVED}", see'),
        ({APPROVED: "yes"}, 'Invalid value: "yes": protected groups must have approval annotation'),
    ],
)
def test_a_protected_group_needs_an_approval(annotations, message):
    assert message in asked(definition("x.k8s.io", annotations))["message"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([".spec.none"], 'jsonPath: Invalid value: ".spec.none": is an invalid path: does not refer to a valid field'),
        ([".spec.o"], "must point to a field of type string, boolean or integer."),
        ([".metadata.name"], "is an invalid path: does not refer to a valid field"),
        (["spec.a"], 'jsonPath: Invalid value: "spec.a": is an invalid path: expected [ or . but got: spec'),
        ([".spec.a[0]"], "is an invalid path: array notation is not allowed"),
        ([""], "selectableFields[0].jsonPath: Required value"),
        ([".spec.a", ".spec.a"], 'selectableFields[1].jsonPath: Duplicate value: ".spec.a"'),
        ([f".spec.a{i}" for i in range(9)], "selectableFields: Too many: 9: must have at most 8 items"),
    ],
)
def test_selectable_fields_are_single_values_of_the_schema(fields, message):
    assert message in asked(definition(selectableFields=[{"jsonPath": path} for path in fields]))["message"]


def test_objects_are_chosen_by_selectable_fields_and_by_no_others():
    async def scene() -> None:
        async with running() as api:
            await defined(api, definition(selectableFields=[{"jsonPath": ".spec.a"}, {"jsonPath": ".spec.b"}]))
            for name, spec in (("x", {"a": "q", "b": True}), ("y", {"a": "r"})):
                body = {"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": name}, "spec": spec}
                assert api.call("POST", FOOS, body).status == 201
            for selector in ("spec.a%3Dq", "spec.b%3Dtrue", "spec.a!%3Dr"):
                items = api.call("GET", f"{FOOS}?fieldSelector={selector}").json["items"]
                assert [item["metadata"]["name"] for item in items] == ["x"], selector
            refused = api.call("GET", f"{FOOS}?fieldSelector=spec.n%3D1")
            assert (refused.status, refused.json["message"]) == (400, "field label not supported: spec.n")

    aio.run(scene())


def test_columns_of_every_type_show_their_values():
    columns = [
        {"name": "At", "type": "date", "jsonPath": ".spec.at"},
        {"name": "Whole", "type": "number", "jsonPath": ".spec.n"},
        {"name": "Text", "type": "string", "jsonPath": ".spec.a"},
        {"name": "Yes", "type": "boolean", "jsonPath": ".spec.b", "priority": 1},
        {"name": "None", "type": "integer", "jsonPath": ".spec.none"},
    ]

    async def scene() -> None:
        async with running() as api:
            await defined(api, definition(additionalPrinterColumns=columns))
            spec = {"at": "2026-11-18T10:06:40Z", "n": 5.0, "a": "t", "b": False}
            body = {"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": "x"}, "spec": spec}
            assert api.call("POST", FOOS, body).status == 201
            answer = api.call("GET", FOOS, headers=TABLE)
            assert answer.json["rows"][0]["cells"] == ["x", "60m", 5, "t", False, None]
            assert b"5.0" not in answer.body.split(b'"object"')[0]

    aio.run(scene())


@pytest.mark.parametrize(
    ("default", "message"),
    [
        ({}, "[{0}.apiVersion: Required value, {0}.kind: Required value]"),
        ({"kind": "Foo"}, "{0}.apiVersion: Required value"),
        ({"apiVersion": 1, "kind": "Foo"}, "{0}.apiVersion: Invalid value: 1: must be a string"),
        ({"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": "q"}}, ""),
    ],
)
def test_the_default_of_a_whole_object_has_a_version_and_a_kind(default, message):
    schema = {"type": "object", "default": default, "properties": {"spec": {"type": "object"}}}
    found = asked(definition(schema={"openAPIV3Schema": schema}))
    where = "spec.validation.openAPIV3Schema.default"
    assert found.get("message", "").partition(" is invalid: ")[2] == message.format(where)


def test_a_definition_that_goes_keeps_its_generation_and_has_no_grace_period():
    async def scene() -> None:
        async with running() as api:
            body = definition()
            body["metadata"]["finalizers"] = ["example.com/f"]
            await defined(api, body)
            metadata = api.call("DELETE", f"{CRDS}/foos.example.com").json["metadata"]
            assert (metadata["generation"], "deletionTimestamp" in metadata) == (1, True)
            assert "deletionGracePeriodSeconds" not in metadata

    aio.run(scene())


def test_emptied_stored_versions_are_the_one_that_is_stored():
    async def scene() -> None:
        async with running() as api:
            await defined(api, definition())
            headers = {"content-type": "application/merge-patch+json", "user-agent": "pair/1"}
            for given in ({"storedVersions": []}, {"storedVersions": None}):
                changed = api.call("PATCH", f"{CRDS}/foos.example.com/status", {"status": given}, headers)
                assert (changed.status, changed.json["status"]["storedVersions"]) == (200, ["v1"])
                assert b"pair" not in changed.body, "nothing has changed hands"

    aio.run(scene())


def test_what_a_custom_resource_has_no_part_for_is_said_of_the_resource():
    async def scene() -> None:
        async with running() as api:
            await defined(api, definition(subresources={"status": {}}))
            gone = api.call("GET", f"{FOOS}/x/scale")
            assert (gone.status, gone.json["message"]) == (404, 'foos.example.com "x" not found')
            refused = api.call("POST", f"{FOOS}/x/status", {})
            text = 'create is not supported on resources of kind "foos.example.com"'
            assert (refused.status, refused.json["message"]) == (405, text)

    aio.run(scene())
