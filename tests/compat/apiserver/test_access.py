"""Who may, as a real server answered, with the roles that every cluster starts with."""

import pytest

from compat.apiserver.replay import Result, recorded, replaying, rows
from kubedyno.base import aio
from kubedyno.cluster.registry.bootstrapobjects import bootstrap_objects
from kubedyno.kube.resources import SERVICEACCOUNTS, by_kind

GAPS = {
    "218-ssrr": "the recorded server let everybody read all of /.well-known",
}


async def replay_all() -> dict[str, Result]:
    found = {}
    async with replaying() as replay:
        for name in ("default", "kube-system", "kube-public", "fx"):
            await replay.namespace(name)
        replay.registry.create(SERVICEACCOUNTS, "fx", {"metadata": {"name": "sa1"}})
        for document in bootstrap_objects():
            resource = by_kind(document["apiVersion"], document["kind"])
            assert resource is not None
            replay.registry.create(resource, document["metadata"].get("namespace", ""), document)
        for row in rows("access"):
            found[row["name"]] = await replay.run(recorded(row))
    return found


_done: dict[str, Result] = {}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(row["name"], marks=[pytest.mark.xfail(reason=GAPS[row["name"]], strict=True)])
        if row["name"] in GAPS
        else row["name"]
        for row in rows("access")
    ],
)
def test_the_answer_is_the_recorded_one(name):
    if not _done:
        _done.update(aio.run(replay_all()))
    assert not _done[name].differences()
