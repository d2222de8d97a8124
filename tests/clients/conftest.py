"""One real cluster for all tests of clients: a process of its own, served over TLS."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubedyno.lab import embedded
from kubedyno.lab.settings import cluster_settings

# As the study names it, so that its lines can be taken as they are.
NAME = "myk8s"


@pytest.fixture(scope="session")
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
def namespace(kubeconfig: Path, request: pytest.FixtureRequest) -> str:
    """Make a namespace for one test."""
    name = request.node.name.replace("_", "-").replace("[", "-").replace("]", "").lower()[:60].strip("-")
    kubectl(kubeconfig, "create", "namespace", name)
    return name


def kubectl(kubeconfig: Path, *words: str) -> str:
    """Run a kubectl command that must succeed; returns what it printed."""
    command = [shutil.which("kubectl") or "kubectl", "--kubeconfig", str(kubeconfig), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
