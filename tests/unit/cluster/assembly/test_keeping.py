"""A cluster in a process of its own that is killed at moments of a seeded generator, while a client writes."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from kubedyno.base.errors import KubedynoError
from kubedyno.client import kubeconfig
from kubedyno.client.api import Client
from kubedyno.cluster.settings import ClusterSettings, NodeSettings
from kubedyno.kube.status import Expired, Gone
from kubedyno.lab import embedded
from kubedyno.lab.embedded import Running

KILLS = 3
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
PODS = "/api/v1/pods"
WRITERS = 8


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClusterSettings]:
    monkeypatch.setenv("KUBEDYNO_HOME", str(tmp_path / "home"))
    nodes = (NodeSettings("kept-control-plane", control_plane=True), NodeSettings("kept-worker"))
    yield ClusterSettings(name="kept", nodes=nodes, speed=0, data_dir=str(tmp_path / "data"))
    embedded.down("kept")


def kill(cluster: Running) -> None:
    os.kill(cluster.pid, signal.SIGKILL)
    embedded._children.pop(cluster.pid).wait()


def deployment(name: str) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}
    return {
        "metadata": {"name": name},
        "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": template},
    }


class Load:
    """Writes until the server is gone, and remembers what was acknowledged."""

    def __init__(self) -> None:
        self.acknowledged: dict[str, str] = {}
        self.deleted: set[str] = set()
        # Deletions that were asked for: without an answer nobody knows whether they were done.
        self.asked: set[str] = set()
        self.newest = 0

    def heard(self, obj: dict[str, Any]) -> None:
        self.newest = max(self.newest, int(obj["metadata"]["resourceVersion"]))

    async def write(self, client: Client, prefix: str, random: Random) -> None:
        for number in range(100_000):
            name = f"{prefix}-{number}"
            path = DEPLOYMENTS if random.random() < 0.1 else CONFIGMAPS
            body = deployment(name) if path is DEPLOYMENTS else {"metadata": {"name": name}, "data": {"n": name}}
            obj = await client.create(path, body)
            self.heard(obj)
            self.acknowledged[f"{path}/{name}"] = obj["metadata"]["uid"]
            if path is CONFIGMAPS and random.random() < 0.2:
                obj = await client.patch(f"{path}/{name}", {"data": {"n": "patched"}})
                self.heard(obj)
                self.asked.add(f"{path}/{name}")
                await client.delete(f"{path}/{name}")
                self.deleted.add(f"{path}/{name}")

    async def until_killed(self, cluster: Running, round_: int, random: Random) -> None:
        async with Client(kubeconfig.load(cluster.kubeconfig, None)) as client:
            writers = [asyncio.ensure_future(self.write(client, f"r{round_}-{i}", random)) for i in range(WRITERS)]
            await asyncio.sleep(0.05 + random.random() * 0.5)
            kill(cluster)
            for writer in writers:
                with suppress(KubedynoError):
                    await writer


@pytest.mark.parametrize("seed", [1])
def test_killed_at_any_moment_nothing_that_was_acknowledged_is_lost(settings: ClusterSettings, seed: int) -> None:
    random, load = Random(seed), Load()
    text = ""

    async def check(cluster: Running, since: int) -> None:
        async with Client(kubeconfig.load(cluster.kubeconfig, None)) as client:
            found: dict[str, str] = {}
            for path in (CONFIGMAPS, DEPLOYMENTS):
                for item in await client.list_all(path):
                    found[f"{path}/{item['metadata']['name']}"] = item["metadata"]["uid"]
                    assert int(item["metadata"]["resourceVersion"]) >= 1
            lost = {p: u for p, u in load.acknowledged.items() if p not in load.asked and found.get(p) != u}
            assert not lost
            assert not load.deleted & set(found)
            now = await client.get("/api/v1/namespaces/default/configmaps?limit=1")
            assert int(now["metadata"]["resourceVersion"]) >= load.newest
            if since > 0:
                # What is kept has no history: who has not seen the last change has to list again, and misses nothing.
                with pytest.raises((Expired, Gone)):
                    await anext(aiter(client.watch(CONFIGMAPS, "", str(since))))
                # Who has seen all goes on.
                newest = now["metadata"]["resourceVersion"]
                following = aiter(client.watch(CONFIGMAPS, "", newest))
                made = await client.create(CONFIGMAPS, {"metadata": {"name": f"after-{since}"}})
                event = await anext(following)
                assert (event.type, orjson.loads(event.raw)["metadata"]["uid"]) == ("ADDED", made["metadata"]["uid"])

    for round_ in range(KILLS):
        before = load.newest - 1
        cluster = embedded.up(settings)
        assert not text or cluster.kubeconfig.read_text() == text
        text = cluster.kubeconfig.read_text()
        asyncio.run(check(cluster, before))
        written = len(load.acknowledged)
        asyncio.run(load.until_killed(cluster, round_, random))
        assert len(load.acknowledged) > written
    asyncio.run(check(embedded.up(settings), load.newest - 1))


def pods_of(items: list[dict[str, Any]]) -> dict[str, tuple[Any, ...]]:
    return {
        pod["metadata"]["uid"]: (
            pod["metadata"]["name"],
            pod["spec"]["nodeName"],
            pod["status"]["podIP"],
            pod["status"]["phase"],
            [(c["containerID"], c["restartCount"], c["state"]) for c in pod["status"]["containerStatuses"]],
        )
        for pod in items
    }


def test_pods_addresses_and_nodes_are_as_they_were(settings: ClusterSettings) -> None:
    service = {"metadata": {"name": "web"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}

    async def settled(client: Client, count: int) -> list[dict[str, Any]]:
        for _ in range(3000):
            items = await client.list_all(PODS)
            if len(items) >= count and all(pod["status"]["phase"] == "Running" for pod in items):
                return items
            await asyncio.sleep(0.02)
        raise AssertionError(f"{len(items)} pods, not all Running")

    async def before(cluster: Running) -> tuple[Any, ...]:
        async with Client(kubeconfig.load(cluster.kubeconfig, None)) as client:
            system = len(await settled(client, 8))
            await client.create(DEPLOYMENTS, deployment("web"))
            made = await client.create("/api/v1/namespaces/default/services", service)
            pods = pods_of(await settled(client, system + 2))
            nodes = await client.list_all("/api/v1/nodes")
            return pods, {n["metadata"]["uid"]: n["spec"]["podCIDR"] for n in nodes}, made["spec"]

    async def after(cluster: Running, expected: tuple[Any, ...]) -> None:
        pods, nodes, spec = expected
        async with Client(kubeconfig.load(cluster.kubeconfig, None)) as client:
            assert pods_of(await settled(client, len(pods))) == pods
            assert {n["metadata"]["uid"]: n["spec"]["podCIDR"] for n in await client.list_all("/api/v1/nodes")} == nodes
            # What is handed out from now on is nobody's yet.
            await client.patch(f"{DEPLOYMENTS}/web", {"spec": {"replicas": 40}})
            grown = await settled(client, len(pods) + 38)
            own = [pod["status"]["podIP"] for pod in grown if not pod["spec"].get("hostNetwork")]
            assert len(set(own)) == len(own)
            wanted = {**service, "metadata": {"name": "other"}}
            wanted["spec"] = {**service["spec"], "clusterIP": spec["clusterIP"]}
            answer = await client.request("POST", "/api/v1/namespaces/default/services", body=orjson.dumps(wanted))
            assert answer.status == 422
            assert b"already allocated" in answer.body

    cluster = embedded.up(settings)
    expected = asyncio.run(before(cluster))
    kill(cluster)
    asyncio.run(after(embedded.up(settings), expected))


def test_containers_that_restart_wait_or_end_go_on_where_they_were(settings: ClusterSettings) -> None:
    def pod(name: str, *containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
        return {"metadata": {"name": name}, "spec": {"containers": list(containers), **spec}}

    nginx = {"name": "c", "image": "nginx"}
    pods = [
        pod("multi", nginx, {"name": "s", "image": "nginx"}, initContainers=[{"name": "i", "image": "busybox"}]),
        pod("crash", {**nginx, "command": ["sh", "-c", "exit 1"]}),
        pod("unpulled", {"name": "x", "image": "registry.invalid/x:1"}, nginx),
    ]
    # 6 s at this speed: longer than a cluster takes to start again on a busy machine.
    ending = pod("ending", {**nginx, "command": ["sleep", "120"]}, restartPolicy="Never")
    path = "/api/v1/namespaces/default/pods"

    def shown(items: list[dict[str, Any]]) -> dict[str, Any]:
        found = {}
        for item in items:
            status = item["status"]
            each = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
            starts = [c["state"]["running"]["startedAt"] for c in each if "running" in c["state"]]
            found[item["metadata"]["name"]] = (status.get("podIP"), starts, [c["restartCount"] for c in each])
        return found

    async def until(client: Client, done: Any) -> dict[str, Any]:
        for _ in range(3000):
            found = shown(await client.list_all(path))
            if done(found):
                return found
            await asyncio.sleep(0.02)
        raise AssertionError(found)

    def begun(found: dict[str, Any]) -> bool:
        running = {name: len(starts) for name, (_, starts, _) in found.items() if name != "ending"}
        return running == {"multi": 2, "crash": 0, "unpulled": 1} and found["crash"][2][0] > 1

    async def before(cluster: Running) -> dict[str, Any]:
        async with Client(kubeconfig.load(cluster.kubeconfig, None)) as client:
            for one in pods:
                await client.create(path, one)
            await until(client, begun)
            # Last, as its time runs.
            await client.create(path, ending)
            return await until(client, lambda found: begun(found) and len(found["ending"][1]) == 1)

    async def after(cluster: Running, was: dict[str, Any]) -> None:
        async with Client(kubeconfig.load(cluster.kubeconfig, None)) as client:
            now = shown(await client.list_all(path))
            for name in ("multi", "unpulled", "ending"):
                assert now[name] == was[name]
            assert now["crash"][0] == was["crash"][0]
            # And each goes on: one crashes again, one comes to its end.
            again = await until(client, lambda found: found["crash"][2] > was["crash"][2] and not found["ending"][1])
            assert again["multi"] == was["multi"]
            # An image that did not come is not there because it was asked for.
            assert again["unpulled"] == was["unpulled"]

    slow = replace(settings, speed=20)
    cluster = embedded.up(slow)
    was = asyncio.run(before(cluster))
    kill(cluster)
    asyncio.run(after(embedded.up(slow), was))


def test_keys_are_their_owners_alone(settings: ClusterSettings) -> None:
    embedded.up(settings)
    folder = Path(settings.data_dir)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == dict.fromkeys(
        [path.name for path in folder.iterdir()], 0o600
    )


def test_a_folder_of_another_cluster_is_refused(settings: ClusterSettings) -> None:
    embedded.up(settings)
    embedded.down("kept")
    other = ClusterSettings(name="kept", speed=0, data_dir=settings.data_dir, pod_subnet="10.99.0.0/16")
    with pytest.raises(KubedynoError, match=r"was made with podSubnet 10\.244\.0\.0/16, not 10\.99\.0\.0/16"):
        embedded.up(other)


def test_a_worker_that_was_removed_stays_so(settings: ClusterSettings) -> None:
    path = "/api/v1/nodes/kept-worker"

    async def remove(cluster: Running) -> None:
        async with Client(kubeconfig.load(cluster.kubeconfig, None)) as client:
            assert (await client.request("DELETE", path)).status == 200

    async def is_there(cluster: Running) -> list[str]:
        async with Client(kubeconfig.load(cluster.kubeconfig, None)) as client:
            return [node["metadata"]["name"] for node in await client.list_all("/api/v1/nodes")]

    cluster = embedded.up(settings)
    asyncio.run(remove(cluster))
    kill(cluster)
    assert asyncio.run(is_there(embedded.up(settings))) == ["kept-control-plane"]
