"""Who owns which field, as a real server said: server-side apply, and the managedFields of every recorded create."""

import copy
from typing import Any

import pytest

from compat.apiserver.replay import Result, blanked, replaying, rows
from compat.apiserver.test_customresources import GW, served
from kubedyno.base import aio
from kubedyno.cluster.registry.customresourcedefinitions import CUSTOMRESOURCEDEFINITIONS


def definition() -> dict[str, Any]:
    """Return the definition that the recorded objects had."""
    found = copy.deepcopy(GW)
    spec = found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    spec.setdefault(
        "atom", {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "string"}}
    )
    return found


def _sort_causes(status: Any) -> None:
    """Sort the causes of a conflict: the real server tells them in the order of a Go map."""
    if status.get("reason") == "Conflict" and "details" in status:
        status["details"].get("causes", []).sort(key=lambda cause: (cause["message"], cause["field"]))


async def replay_all() -> dict[str, Result]:
    found = {}
    async with replaying() as replay:
        await replay.namespace("gold-d")
        replay.registry.create(CUSTOMRESOURCEDEFINITIONS, "", definition())
        await served(replay, "gws.gold.io")
        for row in rows("apply"):
            result = found[row["name"]] = await replay.run(row)
            _sort_causes(result.body["json"])
            _sort_causes(row["body"]["json"])
    return found


_done: dict[str, Result] = {}


@pytest.mark.parametrize(
    "name",
    [row["name"] for row in rows("apply")],
)
def test_an_apply_is_answered_as_recorded(name):
    if not _done:
        _done.update(aio.run(replay_all()))
    assert not _done[name].differences()


async def create_all() -> dict[str, Any]:
    found = {}
    async with replaying() as replay:
        for row in rows("managers"):
            found[row["name"]] = (await replay.run({**row, "headers": [], "body": {}})).body.get("json")
            if row["name"] == "001-ns-create":
                await replay.namespace("fx")
            elif row["name"] == "225-crd-create":
                await served(replay, "widgets.example.com")
    return found


_created: dict[str, Any] = {}


@pytest.mark.parametrize("row", rows("managers"), ids=lambda row: row["name"])
def test_a_creator_owns_what_it_owned_in_the_recording(row):
    if not _created:
        _created.update(aio.run(create_all()))
    created = _created[row["name"]]
    assert created["kind"] != "Status", created
    assert blanked(created["metadata"]["managedFields"]) == blanked(row["managedFields"])
