"""One real cluster for the tests of a client: a process of its own, served over TLS."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kubedyno.base import aio
from kubedyno.lab import embedded
from kubedyno.lab.settings import cluster_settings

# As the study names it, so that its lines can be taken as they are.
NAME = "myk8s"


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Start a cluster of two nodes with the study's add-ons; its kubeconfig."""
    before = os.environ.get("KUBEDYNO_HOME")
    os.environ["KUBEDYNO_HOME"] = str(tmp_path_factory.mktemp("clients"))
    settings, _ = cluster_settings(name=NAME, speed=0.0, nodes=2, addons="study", idle_timeout="10m")
    try:
        yield embedded.up(settings).kubeconfig
    finally:
        embedded.down(NAME)
        if before is None:
            del os.environ["KUBEDYNO_HOME"]
        else:
            os.environ["KUBEDYNO_HOME"] = before


@pytest.fixture
def namespace(kubeconfig: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Make a namespace for one test, and delete it after it."""
    module = request.module.__name__.rpartition(".")[2].removeprefix("test_")
    test = request.node.name.removeprefix("test_")
    name = re.sub(r"[^a-z0-9]+", "-", f"{module}-{test}".lower())[:60].strip("-")
    kubectl(kubeconfig, "create", "namespace", name)
    yield name
    kubectl(kubeconfig, "delete", "namespace", name, "--wait=false")


def eventually(true: Callable[[], Any], wait_s: float = 60.0) -> Any:
    """Poll until something is true and return it; fails after a while."""

    async def poll() -> Any:
        async with aio.timeout(wait_s):
            while not (found := true()):
                await aio.sleep(0.05)
            return found

    return aio.run(poll())


def kubectl(kubeconfig: Path, *words: str) -> str:
    """Run a kubectl command that must succeed; returns what it printed."""
    command = [shutil.which("kubectl") or "kubectl", "--kubeconfig", str(kubeconfig), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
