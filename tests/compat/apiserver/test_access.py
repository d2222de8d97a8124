"""Who may, as a real server answered, with the roles that every cluster starts with."""

import pytest

from compat.apiserver.replay import Result, recorded, replaying, rows
from kubedyno.base import aio
from kubedyno.cluster.registry.bootstrapobjects import bootstrap_objects
from kubedyno.kube.resources import SERVICEACCOUNTS, by_kind

# What the recorded server let everybody do beyond Kubernetes' own roles.
WELL_KNOWN = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRole",
    "metadata": {"name": "well-known"},
    "rules": [{"verbs": ["get"], "nonResourceURLs": ["/.well-known", "/.well-known/*"]}],
}
EVERYBODY = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "well-known"},
    "subjects": [{"kind": "Group", "name": "system:authenticated", "apiGroup": "rbac.authorization.k8s.io"}],
    "roleRef": {"kind": "ClusterRole", "name": "well-known", "apiGroup": "rbac.authorization.k8s.io"},
}


async def replay_all() -> dict[str, Result]:
    found = {}
    async with replaying() as replay:
        for name in ("default", "kube-system", "kube-public", "fx"):
            await replay.namespace(name)
        replay.registry.create(SERVICEACCOUNTS, "fx", {"metadata": {"name": "sa1"}})
        for document in (*bootstrap_objects(), WELL_KNOWN, EVERYBODY):
            resource = by_kind(document["apiVersion"], document["kind"])
            assert resource is not None
            replay.registry.create(resource, document["metadata"].get("namespace", ""), document)
        for row in rows("access"):
            found[row["name"]] = await replay.run(recorded(row))
    return found


_done: dict[str, Result] = {}


@pytest.mark.parametrize("name", [row["name"] for row in rows("access")])
def test_the_answer_is_the_recorded_one(name):
    if not _done:
        _done.update(aio.run(replay_all()))
    assert not _done[name].differences()
