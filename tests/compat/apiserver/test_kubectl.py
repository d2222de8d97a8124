"""A real kubectl against the API server, over TLS: what people will type."""

import asyncio
import json
import os
import shutil
import sys
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from compat.apiserver.replay import TOKEN, Replay, replaying
from kubedyno.base import aio
from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.kube import yaml

_BINARY = Path(sys.executable).parent / "kubectl"
_KUBECTL = str(_BINARY) if _BINARY.exists() else shutil.which("kubectl")
pytestmark = [
    pytest.mark.kubectl,
    pytest.mark.slow,
    pytest.mark.skipif(_KUBECTL is None, reason="there is no kubectl here; the development requirements bring one"),
]

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: "nginx:1"}]}
"""


class Kubectl:
    """Runs kubectl with a home of its own."""

    def __init__(self, replay: Replay, folder: Path) -> None:
        self.replay = replay
        self.folder = folder
        endpoint = replay.pool.endpoint
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "x",
            "clusters": [
                {
                    "name": "x",
                    "cluster": {
                        "server": f"https://{endpoint.authority}",
                        "certificate-authority-data": b64encode(replay.authority).decode(),
                    },
                }
            ],
            "users": [{"name": "x", "user": {"token": TOKEN}}],
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x", "namespace": "ns"}}],
        }
        (folder / "config").write_text(json.dumps(config))

    def command(self, *arguments: str) -> list[str]:
        assert _KUBECTL is not None
        return [_KUBECTL, "--kubeconfig", str(self.folder / "config"), "--cache-dir", str(self.folder), *arguments]

    async def fails(self, *arguments: str, text: str = "") -> str:
        """Run and return standard error of a command that must fail."""
        code, _, err = await self._run(arguments, text)
        assert code, arguments
        return err

    async def __call__(self, *arguments: str, text: str = "") -> str:
        """Run and return standard output of a command that must succeed without a warning."""
        code, out, err = await self._run(arguments, text)
        assert (code, err) == (0, ""), (arguments, err)
        return out

    async def _run(self, arguments: tuple[str, ...], text: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            *self.command(*arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"HOME": str(self.folder), "PATH": os.environ["PATH"]},
        )
        async with aio.timeout(60):
            out, err = await process.communicate(text.encode())
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()


def scene(tmp_path: Path, play: Any) -> None:
    """Run a scene with a server of its own."""

    async def run() -> None:
        # What kubectl shows of ages, logs and waits needs a clock that goes.
        async with replaying(SYSTEM_CLOCK) as replay:
            for name in ("default", "ns"):
                await replay.namespace(name)
            await play(Kubectl(replay, tmp_path))

    aio.run(run())


def test_apply_patch_scale_and_delete(tmp_path):
    async def play(kubectl: Kubectl) -> None:
        assert await kubectl("apply", "-f", "-", text=DEPLOYMENT) == "deployment.apps/web created\n"
        assert await kubectl("apply", "-f", "-", text=DEPLOYMENT) == "deployment.apps/web unchanged\n"
        changed = DEPLOYMENT.replace("nginx:1", "nginx:2")
        assert "nginx:2" in (await kubectl._run(("diff", "-f", "-"), changed))[1]
        assert await kubectl("apply", "-f", "-", text=changed) == "deployment.apps/web configured\n"
        image = "jsonpath={.spec.template.spec.containers[0].image}"
        assert await kubectl("get", "deploy", "web", "-o", image) == "nginx:2"
        for kind, patch in (
            ("strategic", '{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"nginx:3"}]}}}}'),
            ("merge", '{"metadata":{"labels":{"merged":"yes"}}}'),
            ("json", '[{"op":"replace","path":"/spec/minReadySeconds","value":7},'
                     '{"op":"test","path":"/spec/replicas","value":2}]'.replace("replace", "add")),
        ):  # fmt: skip
            assert (
                await kubectl("patch", "deploy", "web", "--type", kind, "-p", patch) == "deployment.apps/web patched\n"
            )
        assert await kubectl("scale", "deploy/web", "--replicas=5") == "deployment.apps/web scaled\n"
        assert await kubectl("label", "deploy", "web", "x=y") == "deployment.apps/web labeled\n"
        assert await kubectl("annotate", "deploy", "web", "x=y") == "deployment.apps/web annotated\n"
        assert await kubectl("set", "image", "deploy/web", "c=nginx:4") == "deployment.apps/web image updated\n"
        web = json.loads(await kubectl("get", "deploy", "web", "-o", "json"))
        assert web["spec"]["replicas"] == 5
        assert web["spec"]["minReadySeconds"] == 7
        assert web["spec"]["template"]["spec"]["containers"][0]["image"] == "nginx:4"
        assert web["metadata"]["labels"] == {"app": "web", "merged": "yes", "x": "y"}
        assert await kubectl("delete", "deploy", "web") == 'deployment.apps "web" deleted from ns namespace\n'
        assert "not found" in await kubectl.fails("get", "deploy", "web")

    scene(tmp_path, play)


def test_get_in_its_forms(tmp_path):
    async def play(kubectl: Kubectl) -> None:
        await kubectl("apply", "-f", "-", text=DEPLOYMENT)
        lines = (await kubectl("get", "deploy", "-o", "wide")).splitlines()
        assert lines[0].split() == [
            "NAME",
            "READY",
            "UP-TO-DATE",
            "AVAILABLE",
            "AGE",
            "CONTAINERS",
            "IMAGES",
            "SELECTOR",
        ]
        assert lines[1].split()[:2] + lines[1].split()[5:] == ["web", "0/2", "c", "nginx:1", "app=web"]
        assert "kind: Deployment" in await kubectl("get", "deploy", "web", "-o", "yaml")
        for i in range(7):
            await kubectl("create", "configmap", f"cm-{i}", f"--from-literal=a={i}")
        listed = await kubectl("get", "cm", "--chunk-size=2", "--no-headers")
        assert [line.split()[:2] for line in listed.splitlines()] == [[f"cm-{i}", "1"] for i in range(7)]
        assert "deployment.apps/web" in await kubectl("get", "all")
        assert await kubectl("get", "deploy", "-A", "-l", "app=web", "-o", "name") == "deployment.apps/web\n"
        assert "No resources found" in (await kubectl._run(("get", "events"), ""))[2]
        names = await kubectl("get", "cm", "--field-selector", "metadata.name=cm-3", "-o", "name")
        assert names == "configmap/cm-3\n"
        assert await kubectl("get", "--raw", "/readyz") == "ok"
        described = await kubectl("describe", "deploy", "web")
        assert "2 desired | 0 updated | 0 total | 0 available | 0 unavailable" in described
        assert await kubectl("delete", "cm", "--all") == "".join(
            f'configmap "cm-{i}" deleted from ns namespace\n' for i in range(7)
        )

    scene(tmp_path, play)


def test_get_watch_shows_what_happens(tmp_path):
    async def play(kubectl: Kubectl) -> None:
        process = await asyncio.create_subprocess_exec(
            *kubectl.command("get", "cm", "-w", "--no-headers"), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        try:
            async with aio.timeout(60):
                while not kubectl.replay.watchers():
                    await aio.sleep(0.02)
                await kubectl("create", "configmap", "a", "--from-literal=x=1")
                assert (await process.stdout.readline()).split()[:2] == [b"a", b"1"]
                await kubectl("patch", "cm", "a", "--type=merge", "-p", '{"data":{"y":"2"}}')
                assert (await process.stdout.readline()).split()[:2] == [b"a", b"2"]
        finally:
            process.terminate()
            await process.wait()

    scene(tmp_path, play)


def test_a_rollout_is_waited_for(tmp_path):
    async def play(kubectl: Kubectl) -> None:
        await kubectl("apply", "-f", "-", text=DEPLOYMENT)
        waiting = asyncio.create_task(kubectl._run(("rollout", "status", "deploy/web", "--timeout=60s"), ""))
        async with aio.timeout(60):
            while not kubectl.replay.watchers():
                await aio.sleep(0.02)
        status = {
            "observedGeneration": 1,
            "replicas": 2,
            "updatedReplicas": 2,
            "availableReplicas": 2,
            "readyReplicas": 2,
        }
        patch = json.dumps({"status": status})
        await kubectl("patch", "deploy", "web", "--subresource=status", "--type=merge", "-p", patch)
        code, out, _ = await waiting
        assert code == 0
        assert out.endswith('deployment "web" successfully rolled out\n')

    scene(tmp_path, play)


def test_pods_run_log_and_go(tmp_path):
    async def play(kubectl: Kubectl) -> None:
        assert await kubectl("run", "p", "--image=busybox") == "pod/p created\n"
        state = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
        statuses = [{"name": "p", "state": state, "ready": True, "restartCount": 0, "image": "busybox", "imageID": ""}]
        patch = json.dumps({"status": {"phase": "Running", "containerStatuses": statuses}})
        await kubectl("patch", "pod", "p", "--subresource=status", "--type=merge", "-p", patch)
        assert await kubectl("logs", "p") == "container p started from image busybox\n"
        assert "is not valid for pod p" in await kubectl.fails("logs", "p", "-c", "zz")
        assert "Status:           Running" in await kubectl("describe", "pod", "p")
        await kubectl("delete", "pod", "p", "--now")
        assert "not found" in await kubectl.fails("get", "pod", "p")

    scene(tmp_path, play)


def test_what_the_server_is_asked_about_itself(tmp_path):
    async def play(kubectl: Kubectl) -> None:
        assert "Server Version: v1.36.0" in await kubectl("version")
        resources = await kubectl("api-resources", "--no-headers", "-o", "name")
        assert {"pods", "deployments.apps", "leases.coordination.k8s.io"} <= set(resources.splitlines())
        assert "apps/v1" in await kubectl("api-versions")
        assert "FIELD: replicas <integer>" in await kubectl("explain", "deploy.spec.replicas")
        assert await kubectl("auth", "can-i", "create", "pods") == "yes\n"
        assert "kubernetes-admin" in await kubectl("auth", "whoami")
        assert "is running at" in await kubectl("cluster-info")

    scene(tmp_path, play)


def test_server_side_apply_knows_owners_and_conflicts(tmp_path):
    async def play(kubectl: Kubectl) -> None:
        applied = ("apply", "--server-side", "-f", "-")
        assert await kubectl(*applied, text=DEPLOYMENT) == "deployment.apps/web serverside-applied\n"
        other = DEPLOYMENT.replace("replicas: 2", "replicas: 3")
        conflict = await kubectl.fails(*applied, "--field-manager=other", text=other)
        assert 'conflict with "kubectl": .spec.replicas' in conflict
        diff = await kubectl._run(("diff", "--server-side", "--force-conflicts", "-f", "-"), other)
        assert diff[0] == 1, diff[2]
        assert "-  replicas: 2" in diff[1]
        assert "+  replicas: 3" in diff[1]
        forced = await kubectl(*applied, "--field-manager=other", "--force-conflicts", text=other)
        assert forced == "deployment.apps/web serverside-applied\n"
        shown = yaml.load(await kubectl("get", "deploy", "web", "--show-managed-fields", "-o", "yaml"))
        owners = {entry["manager"]: entry["fieldsV1"]["f:spec"] for entry in shown["metadata"]["managedFields"]}
        assert shown["spec"]["replicas"] == 3
        assert "f:replicas" in owners["other"]
        assert "f:replicas" not in owners["kubectl"]
        assert "managedFields" not in await kubectl("get", "deploy", "web", "-o", "yaml")

    scene(tmp_path, play)


def test_a_client_side_apply_becomes_a_server_side_one_without_conflicts(tmp_path):
    async def play(kubectl: Kubectl) -> None:
        await kubectl("apply", "-f", "-", text=DEPLOYMENT)
        three = DEPLOYMENT.replace("replicas: 2", "replicas: 3")
        assert (
            await kubectl("apply", "--server-side", "-f", "-", text=three) == "deployment.apps/web serverside-applied\n"
        )
        shown = yaml.load(await kubectl("get", "deploy", "web", "--show-managed-fields", "-o", "yaml"))
        managers = {(entry["manager"], entry["operation"]) for entry in shown["metadata"]["managedFields"]}
        assert shown["spec"]["replicas"] == 3
        assert ("kubectl", "Apply") in managers
        assert ("kubectl-client-side-apply", "Update") not in managers

    scene(tmp_path, play)


def test_refusals_are_told_in_the_servers_words(tmp_path):
    async def play(kubectl: Kubectl) -> None:
        await kubectl("apply", "-f", "-", text=DEPLOYMENT)
        assert "AlreadyExists" in await kubectl.fails("create", "-f", "-", text=DEPLOYMENT)
        unknown = DEPLOYMENT.replace("replicas: 2", "replcas: 2")
        assert 'unknown field "spec.replcas"' in await kubectl.fails("apply", "-f", "-", text=unknown)
        code, out, err = await kubectl._run(("apply", "--validate=warn", "-f", "-"), unknown)
        assert (code, 'unknown field "spec.replcas"' in err) == (0, True), out
        dry = await kubectl("create", "deployment", "z", "--image=x", "--dry-run=server")
        assert dry == "deployment.apps/z created (server dry run)\n"
        assert "not found" in await kubectl.fails("get", "deploy", "z")
        assert "the server doesn't have a resource type" in await kubectl.fails("get", "nosuch")

    scene(tmp_path, play)
