"""The OpenAPI documents beside a real server's, of which digests are kept: paths whole, schemas without descriptions.

Descriptions come from a package of models whose text was wrapped: some have other white space.
"""

import hashlib
import json
from typing import Any

import pytest

from compat.apiserver.replay import DATA, replaying
from kubedyno.base import aio

DIGESTS: dict[str, dict[str, str]] = json.loads((DATA / "openapi.json").read_text())


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def without_descriptions(value: Any) -> Any:
    """Return schemas without their texts; a property may be called so as well."""
    if isinstance(value, dict):
        return {k: without_descriptions(v) for k, v in value.items() if k != "description" or isinstance(v, dict)}
    return [without_descriptions(item) for item in value] if isinstance(value, list) else value


def digests(document: dict[str, Any]) -> dict[str, str]:
    """Return the digests of a document's parts."""
    schemas = document["definitions"] if "swagger" in document else document["components"].get("schemas", {})
    found = {"paths": digest(document["paths"]), "schemas": digest(without_descriptions(schemas))}
    return {**found, "parameters": digest(document["parameters"])} if "swagger" in document else found


async def documents() -> dict[str, Any]:
    async with replaying() as replay:
        headers = (("authorization", "Bearer t0ken"), ("accept", "application/json"))
        found = {}
        for name in DIGESTS:
            path = "/openapi/v2" if name == "v2" else f"/openapi/v3/{name}"
            found[name] = json.loads((await replay.pool.request("GET", path, headers, b"", timeout_s=30)).body)
        return found


_served: dict[str, Any] = {}


@pytest.mark.parametrize("name", DIGESTS)
def test_the_document_is_the_recorded_one(name):
    if not _served:
        _served.update(aio.run(documents()))
    assert digests(_served[name]) == DIGESTS[name]
