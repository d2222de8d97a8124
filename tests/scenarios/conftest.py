"""Real clusters for scenarios: processes of their own, served over TLS, loaded and asked as a user would."""

import asyncio
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from kubedyno.advisor import facts, why
from kubedyno.base import aio
from kubedyno.client import kubeconfig
from kubedyno.client.api import Client
from kubedyno.lab import control, embedded, session
from kubedyno.lab.settings import cluster_settings
from kubedyno.lab.target import Choice

STUDY = Path(__file__).parents[2] / "examples" / "study"
WAIT_S = 60.0


@dataclass
class Cluster:
    """A running cluster and the ways to talk to it."""

    running: embedded.Running
    directory: Path
    documents: list[Any] = field(default_factory=list)

    @property
    def node(self) -> str:
        return f"{self.running.name}-control-plane"

    def ask(self, call: Callable[[Client], Any]) -> Any:
        """Run one coroutine function on a client of the cluster."""

        async def asked() -> Any:
            async with Client(kubeconfig.load(self.running.kubeconfig, None)) as client:
                return await call(client)

        return asyncio.run(asked())

    def get(self, path: str) -> Any:
        return self.ask(lambda client: client.get(path))

    def list(self, path: str) -> list[dict[str, Any]]:
        return self.ask(lambda client: client.list_all(path))

    def post(self, path: str, body: Any, status: int = 201) -> Any:
        return self.send("POST", path, body, status)

    def send(self, method: str, path: str, body: Any, status: int = 200, content_type: str = "application/json") -> Any:
        data = orjson.dumps(body)
        headers = (("content-type", content_type),)
        answer = self.ask(lambda client: client.request(method, path, body=data, headers=headers))
        assert answer.status == status, answer.body
        return orjson.loads(answer.body)

    def until(self, true: Callable[[], Any], wait_s: float = WAIT_S) -> Any:
        """Poll until something is true and return it; fails after a while."""

        async def poll() -> Any:
            async with aio.timeout(wait_s):
                while not (found := await asyncio.to_thread(true)):
                    await aio.sleep(0.05)
                return found

        return asyncio.run(poll())

    def findings(self, namespace: str | None = None) -> Sequence[why.Finding]:
        seen = self.ask(lambda client: facts.read(client, embedded=self.running.name))
        return why.explain(seen, namespace)

    def finding(self, cause: str) -> why.Finding | None:
        return next((finding for finding in self.findings() if finding.cause == cause), None)

    def run(self, config: str | Path, **changes: Any) -> Any:
        """Run a configuration as `kubedyno init` does."""
        path = config if isinstance(config, Path) else STUDY / config
        request = session.Request(config=str(path), directory=self.directory, quiet=True, fail_when_stuck_s=3.0)
        choice = Choice(kubeconfig.load(self.running.kubeconfig, None), self.running)
        document = asyncio.run(session.run(replace(request, **changes), choice, yes=True))
        self.documents.append(document)
        return document

    def set_max_pods(self, value: int) -> None:
        path = f"/kubedyno/nodes/{self.node}/kubelet"
        text = control.set_key(control.text(self.running.name, f"{path}/config"), f"maxPods={value}")
        control.call(self.running.name, "PUT", f"{path}/config", text.encode(), "application/yaml")
        assert control.call(self.running.name, "POST", f"{path}/restart")["state"] == "running"

    def kubectl(self, *words: str, stdin: str | None = None, code: int = 0) -> str:
        """Run the real kubectl; returns what it printed, stderr after stdout."""
        done = subprocess.run(
            ["kubectl", *words],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "KUBECONFIG": str(self.running.kubeconfig), "HOME": str(self.directory)},
        )
        assert done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def settled(self) -> "Cluster":
        """Return once all pods of the fresh cluster run."""
        self.until(lambda: all(p["status"]["phase"] == "Running" for p in self.list("/api/v1/pods")))
        return self


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("home")
    before = os.environ.get("KUBEDYNO_HOME")
    os.environ["KUBEDYNO_HOME"] = str(folder)
    yield folder
    for name in embedded.names():
        embedded.down(name)
    if before is None:
        del os.environ["KUBEDYNO_HOME"]
    else:
        os.environ["KUBEDYNO_HOME"] = before


@pytest.fixture(scope="module")
def up(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Cluster]:
    """Start a cluster; the module's end takes it down."""

    def start(name: str = "t", **settings: Any) -> Cluster:
        made, _ = cluster_settings(name=name, **{"speed": 0.0, "idle_timeout": "5m", **settings})
        return Cluster(embedded.up(made), tmp_path_factory.mktemp(name))

    return start
