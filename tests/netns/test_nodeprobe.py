"""`kubedyno probe --cluster` where pods are processes: it runs on the nodes, and all that was made is removed."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from kubedyno.cli.main import main
from kubedyno.client import kubeconfig as files
from kubedyno.client.api import Client

pytestmark = pytest.mark.slow


@pytest.fixture
def kubeconfig(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KUBEDYNO_HOME", str(tmp_path))
    assert main(["cluster", "up", "--name", "probed", "--nodes", "2", "--speed", "0", "--runtime", "netns"]) == 0
    capsys.readouterr()
    yield str(Path(tmp_path, "clusters", "probed", "kubeconfig"))
    main(["cluster", "down", "--name", "probed"])


def _probed(kubeconfig, capsys, *more):
    code = main(["probe", "--cluster", "-o", "json", "--kubeconfig", kubeconfig, *more])
    return code, json.loads(capsys.readouterr().out)["nodes"]


def test_pods_without_capabilities_answer_what_can_be_read(kubeconfig, capsys):
    code, nodes = _probed(kubeconfig, capsys, "--unprivileged")
    assert code == 0
    assert [node["name"] for node in nodes] == ["probed-control-plane", "probed-worker"]
    for node in nodes:
        assert node["error"] == ""
        facts = {(fact["group"], fact["name"]): fact["value"] for fact in node["facts"]}
        assert facts["kernel", "release"] == Path("/proc/sys/kernel/osrelease").read_text().strip()
        assert facts["sysctls", "fs.file-max"] == Path("/proc/sys/fs/file-max").read_text().strip()
        # What takes rights, and what the fence hides, is unknown and no guess.
        assert facts["kernel", "trying"] == "unknown"
        assert facts["devices", "network devices"] == "unknown"
        assert facts["machine", "CPU governor"] == "unknown"


def test_pods_that_are_modelled_say_why_and_all_is_removed(kubeconfig, capsys):
    code, nodes = _probed(kubeconfig, capsys)
    assert code == 1
    for node in nodes:
        assert "capability BPF is not given to real pods" in node["error"]
        assert node["error"].endswith("(see --unprivileged)")
    end = time.monotonic() + 60
    while _left(kubeconfig) and time.monotonic() < end:
        time.sleep(0.2)
    assert _left(kubeconfig) == ""


def _left(kubeconfig):
    async def ask():
        async with Client(files.load(Path(kubeconfig), None)) as client:
            spaces = await client.list_all("/api/v1/namespaces")
            return " ".join(one["metadata"]["name"] for one in spaces if "probe" in one["metadata"]["name"])

    return asyncio.run(ask())
