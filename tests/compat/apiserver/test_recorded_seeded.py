"""Answers that depend on what was there before: rows of a recording named "seed" make it, as its client did."""

import copy
from typing import Any

import pytest

from compat.apiserver.replay import Replay, Result, replaying, rows
from compat.apiserver.test_customresources import GW, served
from kubedyno.base import aio
from kubedyno.cluster.registry import schematypes
from kubedyno.cluster.registry.bootstrapobjects import bootstrap_objects
from kubedyno.cluster.registry.celfunctions import available
from kubedyno.cluster.registry.customresourcedefinitions import CUSTOMRESOURCEDEFINITIONS
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.kube.resources import by_kind

RECORDINGS = (
    "manners", "negotiation", "morelists", "moresteps", "oddities", "parts", "podrefusals", "readings", "refusals", "rulings",
    "authority", "expressions", "definitions", "costs",
)  # fmt: skip
# Needs the extra cel: what is written in CEL is compiled.
EXPRESSIONS = frozenset({"expressions", "costs"})
# The recorded server had service subnets of both families.
SETTINGS = ClusterSettings(second_service_subnet="fd00:10:96::/112")


async def furnish(replay: Replay) -> None:
    """Give the server what the recorded one began with."""
    for name in ("default", "kube-system", "kube-public"):
        await replay.namespace(name)
    for document in bootstrap_objects():
        resource = by_kind(document["apiVersion"], document["kind"])
        assert resource is not None
        replay.registry.create(resource, document["metadata"].get("namespace", ""), document)
    replay.registry.create(CUSTOMRESOURCEDEFINITIONS, "", copy.deepcopy(GW))
    await served(replay, "gws.gold.io")


async def replay_all(recording: str) -> dict[str, Result]:
    found = {}
    async with replaying(settings=SETTINGS) as replay:
        await furnish(replay)
        for row in rows(recording):
            if row["name"] != "seed":
                found[row["name"]] = await replay.run(row)
                continue
            made = await replay.run({"headers": [], "body": {"json": {}}, **row})
            assert made.status in {200, 201}, (row["request"], made.body)
            if made.body["json"]["kind"] == "CustomResourceDefinition":
                await served(replay, made.body["json"]["metadata"]["name"])
            if made.body["json"]["kind"] == "Namespace":
                await replay.namespace(made.body["json"]["metadata"]["name"])
    return found


def marks_of(recording: str) -> list[pytest.MarkDecorator]:
    missing = recording in EXPRESSIONS and not (available() and schematypes.available())
    return [pytest.mark.skip(reason="the extra cel is not installed")] if missing else []


_done: dict[str, dict[str, Result]] = {}
CASES: list[Any] = [
    pytest.param(recording, row["name"], id=f"{recording}-{row['name']}", marks=marks_of(recording))
    for recording in RECORDINGS
    for row in rows(recording)
    if row["name"] != "seed"
]


@pytest.mark.parametrize(("recording", "name"), CASES)
def test_the_answer_is_the_recorded_one(recording, name):
    if recording not in _done:
        _done[recording] = aio.run(replay_all(recording))
    assert not _done[recording][name].differences()
