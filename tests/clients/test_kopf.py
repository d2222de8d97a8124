"""A controller written by others: a kopf operator runs against a real cluster."""

import asyncio
import contextlib

import orjson
import pytest

from clients.conftest import kubectl
from clients.manifests import GROUP, definition
from kubedyno.base import aio

kopf = pytest.importorskip("kopf", reason="kopf is not installed here")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
RESOURCE = (GROUP, "v1", "engines")


def operator(log):
    """Return the handlers of an operator that makes a ConfigMap for each Engine."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def login(**known):
        return kopf.login_with_kubeconfig(**known)

    @kopf.on.startup(registry=registry)
    def configure(settings, **_):
        settings.persistence.finalizer = f"{GROUP}/finalizer"
        settings.peering.standalone = True
        settings.posting.enabled = True
        settings.scanning.disabled = False

    @kopf.on.create(*RESOURCE, id="creation", registry=registry)
    def created(spec, name, body, **_):
        log.append(("created", name))
        kopf.info(body, reason="Built", message=f"{name} is built")
        return {"built": spec["size"]}

    @kopf.on.field(*RESOURCE, field="spec.size", registry=registry)
    def resized(old, new, patch, **_):
        if old is not None:
            log.append(("resized", old, new))
            patch.status["size"] = new

    @kopf.timer(*RESOURCE, interval=0.3, registry=registry)
    def ticked(name, **_):
        if ("ticked", name) not in log:
            log.append(("ticked", name))

    @kopf.on.delete(*RESOURCE, registry=registry)
    def deleted(name, **_):
        log.append(("deleted", name))

    @kopf.on.event("configmaps", labels={"watched": "yes"}, registry=registry)
    def seen(name, type, **_):
        log.append(("event", type, name))

    return registry


async def until(true):
    async with aio.timeout(60):
        while not true():
            await aio.sleep(0.05)


def test_an_operator_creates_follows_ticks_and_finalizes(kubeconfig, namespace, tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    crd, engine = tmp_path / "crd.json", tmp_path / "engine.json"
    crd.write_bytes(orjson.dumps(definition("Engine")))
    engine.write_bytes(
        orjson.dumps({"apiVersion": f"{GROUP}/v1", "kind": "Engine", "metadata": {"name": "e"}, "spec": {"size": 2}})
    )
    log: list[tuple[object, ...]] = []

    def on(*words):
        return asyncio.to_thread(kubectl, kubeconfig, "-n", namespace, *words)

    async def scene():
        stop = asyncio.Event()
        running = asyncio.create_task(
            kopf.operator(registry=operator(log), namespaces=[namespace], stop_flag=stop, standalone=True)
        )
        try:
            # The definition comes while the operator watches already; between its scan and its watch it would miss it.
            await on("create", "configmap", "c")
            await on("label", "configmap", "c", "watched=yes")
            await until(lambda: ("event", "ADDED", "c") in log or ("event", "MODIFIED", "c") in log)
            await on("apply", "-f", str(crd))
            await on("wait", "--for=condition=established", f"crd/engines.{GROUP}")
            await on("apply", "-f", str(engine))
            await until(lambda: ("created", "e") in log and ("ticked", "e") in log)
            finalizers = await on("get", "engine", "e", "-o", "jsonpath={.metadata.finalizers}")
            assert finalizers == f'["{GROUP}/finalizer"]'
            await on("patch", "engine", "e", "--type=merge", "-p", '{"spec":{"size":5}}')
            await until(lambda: ("resized", 2, 5) in log)
            await on("wait", "--for=jsonpath={.status.size}=5", "engine/e", "--timeout=60s")
            assert await on("get", "engine", "e", "-o", "jsonpath={.status.creation.built}") == "2"
            assert "e is built" in await on("get", "events", "-o", "jsonpath={.items[*].message}")
            await on("delete", "engine", "e", "--timeout=60s")
            assert ("deleted", "e") in log
        finally:
            stop.set()
            with contextlib.suppress(asyncio.CancelledError):
                await aio.wait_for(running, 60)

    try:
        aio.run(scene())
    finally:
        kubectl(kubeconfig, "delete", "-f", str(crd), "--ignore-not-found", "--wait=false")
