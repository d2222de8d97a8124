"""The API as a real server answered it: status, headers and bodies of recorded requests, over TLS.

Each recording is replayed in its order against one server; what is known to differ stands in `GAPS` with the reason.
"""

import json
from typing import Any

import pytest

from compat.apiserver.replay import TOKEN, Replay, Result, Watching, recorded, replaying, rows
from kubedyno.base import aio
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.kube.resources import PODS

GAPS = {
    "objects": {},
    "lists": {
        "rv/resourceVersion=1&resourceVersionMatch=Exact": "history goes back to the beginning here",
    },
    "patches": {},
    "deletion": {},
    "discovery": {
        "001-version": "another patch version, built with nothing of Go",
    },
}  # fmt: skip


def configmap(name: str, labels: dict[str, str] | None = None, **parts: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "fx", **({"labels": labels} if labels else {}), **parts.pop("metadata", {})}
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, **parts}


# Of the recorded server.
ADDRESS = "192.0.2.10:16443"
# Watches that were open from one request to another.
LIVE = {
    "104-watch-cm-rv0", "105-watch-cm-norv", "106-watch-cm-table", "107-watch-cm-labelsel", "108-watch-cm-fieldsel",
    "109-watch-cm-partialmeta", "110-watch-cm-proto",
}  # fmt: skip
FIRST_WATCHED, AFTER_WATCHED = "008-cm-create", "070-list-continue"
# What other requests than the recorded ones had made by then.
BEFORE = {
    "069-list-limit3": [
        *(configmap(f"page-{i}", {"page": "y", "p": str(i % 2)}) for i in range(7)),
    ],
    "176-cm-delete-with-finalizer": [configmap("fin", metadata={"finalizers": ["example.com/hold"]})],
}
# What a scheduler had done by then.
BOUND = {"161-pod-exec": "fx/p1"}


async def replay_objects() -> list[tuple[str, Result]]:
    found = []
    recording = rows("objects")
    ca = next(row for row in recording if row["name"] == "006-cm-kube-root-ca")["body"]["json"]["data"]["ca.crt"]
    async with replaying() as replay:
        for name in ("default", "kube-system"):
            await replay.namespace(name)
        watches = [recorded(row) for row in recording if row["name"] in LIVE]
        watching: list[Watching] = []
        for row in recording:
            if row["name"] in LIVE:
                continue
            if row["name"] == FIRST_WATCHED:
                watching = [await replay.begin(watch) for watch in watches]
            for obj in BEFORE.get(row["name"], ()):
                replay.seed(obj)
            if row["name"] in BOUND:
                record = replay.registry.store.get(PODS, BOUND[row["name"]])
                assert record is not None
                Trusted(replay.registry).bind(record, "n1")
            if row["name"] == AFTER_WATCHED:
                found += [(watch.row["name"], await watch.end()) for watch in watching]
            result = await replay.run(recorded(row))
            found.append((row["name"], result))
            made = result.body.get("json") or {}
            if row["request"]["method"] == "POST" and result.status == 201 and made.get("kind") == "Namespace":
                await replay.namespace(made["metadata"]["name"], ca)
    return found


async def replay_steps(name: str, namespace: str) -> list[tuple[str, Result]]:
    found = []
    recording = rows(name)
    async with replaying(address=ADDRESS) as replay:
        for other in ("default", "kube-system", namespace):
            await replay.namespace(other)
        if name == "patches":
            seed_patches(replay, recording)
        elif name == "lists":
            seed_lists(replay, recording)
        for row in recording:
            found += [(row["name"], await replay.run(recorded(step))) for step in row.get("steps", [row])]
    return found


def seed_patches(replay: Replay, recording: list[dict[str, Any]]) -> None:
    answers = {row["name"]: row["steps"][0]["body"].get("json") for row in recording}
    for name in ("patch-json-empty", "patch-smp-delprim", "deploy-main-status-ignored"):
        replay.seed(answers[name])
    immutable = answers["imm-cm-label-ok"]
    labels = immutable["metadata"].pop("labels")
    replay.seed(immutable)
    immutable["metadata"]["labels"] = labels
    metadata = {"namespace": "gold-f"}
    replay.seed(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "s", **metadata},
            "spec": {"ports": [{"port": 80}]},
        }
    )
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    spec = {"serviceName": "s", "selector": {"matchLabels": {"a": "b"}}, "template": template}
    replay.seed({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "st", **metadata}, "spec": spec})


def seed_lists(replay: Replay, recording: list[dict[str, Any]]) -> None:
    """Store what some list or Table of the recording shows whole."""
    seen: dict[tuple[str, str], dict[str, Any]] = {}
    for row in recording:
        body = row["steps"][0]["body"].get("json") or {}
        kind = body.get("kind", "")
        objects = []
        if kind.endswith("List") and not kind.startswith("Partial") and body["apiVersion"] != "events.k8s.io/v1":
            objects = [{"kind": kind[:-4], "apiVersion": body["apiVersion"], **item} for item in body.get("items", ())]
        elif kind == "Table":
            shown = [entry.get("object") for entry in body["rows"]]
            objects = [obj for obj in shown if obj and not obj["kind"].startswith("Partial")]
        for obj in objects:
            seen.setdefault((obj["kind"], obj["metadata"]["name"]), obj)
    for obj in seen.values():
        if obj["kind"] not in {"Namespace", "Service"}:
            replay.seed(obj)


_NAMESPACES = {"deletion": "gold-e", "lists": "gold-c", "patches": "gold-f", "discovery": "other"}
_done: dict[str, list[tuple[str, Result]]] = {}


def replayed(name: str) -> list[tuple[str, Result]]:
    """Return the results of a recording, replayed once."""
    if name not in _done:
        _done[name] = aio.run(replay_objects() if name == "objects" else replay_steps(name, _NAMESPACES[name]))
    return _done[name]


def _cases() -> list[Any]:
    cases = []
    for recording, gaps in GAPS.items():
        names = [row["name"] for row in rows(recording)]
        assert not gaps.keys() - set(names), f"{recording}: gaps that are not recorded: {gaps.keys() - set(names)}"
        for name in names:
            marks = [pytest.mark.xfail(reason=gaps[name], strict=True)] if name in gaps else []
            cases.append(pytest.param(recording, name, marks=marks, id=f"{recording}-{name}"))
    return cases


@pytest.mark.parametrize(("recording", "name"), _cases())
def test_the_answer_is_the_recorded_one(recording, name):
    differences = [
        difference for other, result in replayed(recording) if other == name for difference in result.differences()
    ]
    assert not differences


def test_a_body_beyond_the_limit_is_refused_as_recorded():
    async def scene() -> tuple[int, Any]:
        async with replaying() as replay:
            await replay.namespace("ns")
            body = json.dumps({"metadata": {"name": "a"}, "data": {"x": "y" * (3 << 20)}}).encode()
            headers = (("authorization", f"Bearer {TOKEN}"), ("content-type", "application/json"))
            result = await replay.pool.request("POST", "/api/v1/namespaces/ns/configmaps", headers, body)
            return result.status, json.loads(result.body)

    assert aio.run(scene()) == (
        413,
        {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": "Request entity too large: limit is 3145728",
            "reason": "RequestEntityTooLarge",
            "code": 413,
        },
    )
