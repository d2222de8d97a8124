"""Custom resources as a real server answered: definitions, objects judged by their schema, status, scale, Tables."""

from typing import Any

import pytest

from compat.apiserver.replay import Replay, Result, recorded, replaying, rows, without_managers
from kubedyno.base import aio
from kubedyno.cluster.registry.customresourcedefinitions import CUSTOMRESOURCEDEFINITIONS
from kubedyno.cluster.registry.schemacel import available

GAPS = (
    {}
    if available()
    else {
        "cr-transition": "validation rules are kept, not evaluated, without the extra cel",
        "crd-badcel": "validation rules are kept, not compiled, without the extra cel",
    }
)
# The definition that the recorded objects had; its own creation is not among the recordings.
GW: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "gws.gold.io"},
    "spec": {
        "group": "gold.io",
        "names": {"plural": "gws", "kind": "GW"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
                },
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "required": ["size"],
                                "x-kubernetes-validations": [
                                    {
                                        "rule": "!has(oldSelf.imm) || self.imm == oldSelf.imm",
                                        "message": "imm is immutable",
                                    }
                                ],
                                "properties": {
                                    "size": {"type": "integer", "minimum": 0, "maximum": 50},
                                    "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 5},
                                    "mode": {"type": "string", "enum": ["A", "B"], "default": "A"},
                                    "replicas": {"type": "integer", "default": 1},
                                    "imm": {"type": "string"},
                                    "set": {
                                        "type": "array",
                                        "items": {"type": "string"},
                                        "x-kubernetes-list-type": "set",
                                    },
                                    "list": {"type": "array", "items": {"type": "string"}},
                                    "map": {
                                        "type": "array",
                                        "maxItems": 4,
                                        "x-kubernetes-list-type": "map",
                                        "x-kubernetes-list-map-keys": ["k"],
                                        "items": {
                                            "type": "object",
                                            "required": ["k"],
                                            "properties": {"k": {"type": "string"}},
                                        },
                                    },
                                    "ios": {"x-kubernetes-int-or-string": True},
                                    "q": {"type": "string", "nullable": True},
                                    "atom": {
                                        "type": "object",
                                        "additionalProperties": {"type": "string"},
                                        "x-kubernetes-map-type": "atomic",
                                    },
                                },
                            },
                            "status": {
                                "type": "object",
                                "properties": {"msg": {"type": "string"}, "replicas": {"type": "integer"}},
                            },
                        },
                    }
                },
            }
        ],
    },
}
OBJECT = {
    "apiVersion": "gold.io/v1", "kind": "GW", "metadata": {"name": "g"}, "spec": {"size": 1, "imm": "x"},
}  # fmt: skip


async def served(replay: Replay, name: str) -> None:
    """Wait until a definition's names are accepted."""
    async with aio.timeout(60):
        while True:
            record = replay.registry.store.get(CUSTOMRESOURCEDEFINITIONS, name)
            if record is not None and b'"Established","status":"True"' in record.obj.status:
                return
            await aio.sleep(0.01)


async def replay_all() -> dict[str, Result]:
    found = {}
    async with replaying() as replay:
        for name in ("default", "fx", "gold-d", "gold-f"):
            await replay.namespace(name)
        replay.registry.create(CUSTOMRESOURCEDEFINITIONS, "", GW)
        await served(replay, "gws.gold.io")
        gws = replay.registry.resource_of("gold.io/v1", "GW")
        assert gws is not None
        replay.registry.create(gws, "gold-f", OBJECT)
        for row in rows("customresources"):
            result = found[row["name"]] = await replay.run(recorded(row))
            # Who owns which field is another recording's business.
            result.body = without_managers(result.body)
            if row["name"] == "225-crd-create":
                await served(replay, "widgets.example.com")
    return found


_done: dict[str, Result] = {}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(row["name"], marks=[pytest.mark.xfail(reason=GAPS[row["name"]], strict=True)])
        if row["name"] in GAPS
        else row["name"]
        for row in rows("customresources")
    ],
)
def test_the_answer_is_the_recorded_one(name):
    if not _done:
        _done.update(aio.run(replay_all()))
    assert not _done[name].differences()
