"""Whatever discovery lists is what the real server lists, and answers."""

import asyncio
import json
from typing import Any

import pytest

from compat.apiserver.replay import rows
from unit.cluster.apiserver.harness import NS, TOKEN, running

_METHODS = {
    "create": "POST", "delete": "DELETE", "deletecollection": "DELETE", "get": "GET", "list": "GET", "patch": "PATCH",
    "update": "PUT", "watch": "GET",
}  # fmt: skip
# What nobody is there to answer: "the server does not allow this method", "could not find the requested resource".
_UNSERVED = {405, 501}
_NO_RESOURCE = {"the server could not find the requested resource", "404 page not found\n"}


def recorded() -> dict[str, dict[str, Any]]:
    """Return the recorded lists of resources by group and version."""
    return {
        row["body"]["json"]["groupVersion"]: {entry["name"]: entry for entry in row["body"]["json"]["resources"]}
        for row in rows("discovery")
        if row["body"].get("json", {}).get("kind") == "APIResourceList"
    }


RECORDED = recorded()


def served(group_version: str) -> dict[str, dict[str, Any]]:
    async def scene() -> Any:
        async with running() as api:
            root = "apis" if "/" in group_version else "api"
            return api.call("GET", f"/{root}/{group_version}").json

    return {entry["name"]: entry for entry in asyncio.run(scene())["resources"]}


@pytest.mark.parametrize("group_version", RECORDED)
def test_each_list_of_resources_is_the_recorded_one(group_version):
    ours, theirs = served(group_version), RECORDED[group_version]
    assert ours.keys() == theirs.keys()
    for name, entry in theirs.items():
        assert {**ours[name], "storageVersionHash": ""} == {**entry, "storageVersionHash": ""}, name


def _cases() -> list[Any]:
    return [
        pytest.param(version, name, verb, id=f"{version}-{name}-{verb}")
        for version, entries in RECORDED.items()
        for name, entry in entries.items()
        for verb in entry["verbs"]
    ]


@pytest.mark.parametrize(("group_version", "name", "verb"), _cases())
def test_each_verb_of_each_resource_answers(group_version, name, verb):
    plural, _, sub = name.partition("/")
    root = "apis" if "/" in group_version else "api"
    namespaced = RECORDED[group_version][name]["namespaced"]
    path = f"/{root}/{group_version}" + (f"/namespaces/{NS}" if namespaced else "") + f"/{plural}"
    if sub or verb in {"get", "delete", "patch", "update"}:
        path += f"/x/{sub}" if sub else "/x"
    if sub == "proxy":
        path += "/"
    if verb == "watch":
        path += "?watch=true&timeoutSeconds=1"
    headers = {"authorization": f"Bearer {TOKEN}"}
    if verb == "patch":
        headers["content-type"] = "application/merge-patch+json"
    body = {} if verb in {"create", "patch", "update"} else None

    async def scene() -> tuple[int, str]:
        async with running() as api:
            answer = api.call(_METHODS[verb], path, body, headers)
            for _ in range(3000):
                if answer.status:
                    break
                await asyncio.sleep(0.01)
            return answer.status, answer.body.decode()

    status, text = asyncio.run(scene())
    assert status
    assert status not in _UNSERVED
    assert text not in _NO_RESOURCE
    if status == 404:
        assert json.loads(text)["message"] not in _NO_RESOURCE
