"""The page of a run: its ribbon while it lasts, its replay for whoever comes later, its end; clusters that go and come back."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ports import free_port

ROOT = Path(__file__).parents[2]

CONFIG = """
jobs:
  - name: page-load
    jobIterations: 30
    qps: 10
    burst: 1
    namespace: page-load
    namespacedIterations: true
    iterationsPerNamespace: 10
    waitWhenFinished: true
    churnConfig: {cycles: 1, percent: 50, delay: 1s}
    # Who looks at it from its first pod on has their browser open before that.
    hooks:
      - {when: beforeJobExecution, cmd: [sh, -c, "until [ -e go ]; do sleep 0.1; done"]}
    objects:
      - objectTemplate: pod.yml
        replicas: 2
"""
POD = """
apiVersion: v1
kind: Pod
metadata: {name: "p-{{.Iteration}}-{{.Replica}}"}
spec: {containers: [{name: c, image: nginx}]}
"""


class Command:
    """A kubedyno command of its own process; its lines are read as they come."""

    def __init__(self, cwd, *words) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kubedyno", *words],
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        )
        self.text = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.text += line
        self.process.stdout.close()

    def until(self, text, wait_s=120.0):
        """Return what follows a text on its line, once that is said."""
        deadline = time.monotonic() + wait_s
        while text not in self.text or "\n" not in self.text.split(text)[1]:
            assert time.monotonic() < deadline, self.text
            time.sleep(0.05)
        return self.text.split(text)[1].split("\n")[0]

    def wait(self, wait_s=120.0):
        code = self.process.wait(wait_s)
        self._reader.join(60)
        return code

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(60)
            self.process.kill()
        self.wait()


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBEDYNO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    (tmp_path / "config.yml").write_text(CONFIG)
    (tmp_path / "pod.yml").write_text(POD)
    yield tmp_path
    for name in ("kubedyno", "goes"):
        Command(tmp_path, "cluster", "down", "--name", name).wait()


def answers(url):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(url.split(":")[2].split("/")[0]))) == 0


def test_a_run_is_shown_live_and_replayed_to_whoever_comes_later(browser, home):
    Command(home, "cluster", "up", "--speed", "10").wait()
    command = Command(home, "init", "-c", "config.yml", "--stay")
    try:
        url = command.until("live page: ")
        browser.open(url)
        browser.until("return kubedyno.live.nodes.size > 0")
        (home / "go").touch()
        browser.until("return document.getElementById('run').textContent.includes('page-load create')")
        text = browser.until(
            "const t = document.getElementById('run').textContent; return t.includes('P99') && t.includes('reached') && t"
        )
        assert "asked 10/s" in text
        assert "429s 0" in text
        command.until("the page stays")
        assert "exit code 0" in browser.until(
            "const t = document.getElementById('run').textContent; return t.includes('ended') && t"
        )
        phases = "return [...new Set(kubedyno.ribbon.samples.map((s) => s.run?.phase))]"
        assert {"create", "churn"} <= set(browser.run(phases))
        # Somebody else, later: all of it is there.
        browser.open("about:blank")
        browser.open(url)
        assert browser.until("return window.kubedyno?.filled") > 10
        assert {"create", "churn"} <= set(browser.run(phases))
        assert browser.run("return Math.max(...kubedyno.ribbon.samples.map((s) => s.p99))") > 0
        browser.run("document.getElementById('time').value = 0; document.getElementById('time').oninput()")
        load = "[...kubedyno.drawing.model.pods.values()].filter((p) => p.namespace.startsWith('page-load')).length"
        browser.until(f"return kubedyno.drawing.model !== kubedyno.live && {load} === 0")
        browser.run("document.getElementById('speed').value = '16'; document.getElementById('play').click()")
        browser.until(f"return {load} >= 30")
        browser.until(
            "return kubedyno.drawing.model === kubedyno.live && document.getElementById('play').textContent === 'play'"
        )
        assert browser.console() == []
        command.process.send_signal(signal.SIGINT)
        assert command.wait() == 0
        assert not answers(url)
    finally:
        command.end()


def test_without_stay_the_page_ends_with_the_run(home):
    Command(home, "cluster", "up", "--speed", "10").wait()
    command = Command(home, "init", "-c", "config.yml", "--view", "--set", "jobs.0.jobIterations=2")
    try:
        url = command.until("live page: ")
        assert answers(url)
        (home / "go").touch()
        assert command.wait() == 0
        assert not answers(url)
        assert "the page stays" not in command.text
    finally:
        command.end()


@pytest.mark.parametrize("words", [("init", "-c", "config.yml", "--view-port"), ("view", "--port")])
def test_a_port_that_is_taken_is_one_line(home, words):
    Command(home, "cluster", "up").wait()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        command = Command(home, *words, str(port))
        try:
            assert command.wait() == 1
            line = next(line for line in command.text.splitlines() if "cannot listen" in line)
            assert f"127.0.0.1:{port}" in line
            assert "choose another port" in line
            assert "Traceback" not in command.text
        finally:
            command.end()


@pytest.mark.parametrize("words", [("init", "-c", "config.yml", "--view-port"), ("view", "--port")])
def test_a_port_that_is_none_is_one_line(home, words):
    Command(home, "cluster", "up").wait()
    command = Command(home, *words, "99999")
    try:
        assert command.wait() == 1
        assert "99999: must be between 0 and 65535" in command.text
        assert "Traceback" not in command.text
    finally:
        command.end()


def test_a_cluster_that_goes_away_and_comes_back_is_followed_on(browser, home):
    up = (
        "cluster",
        "up",
        "--name",
        "goes",
        "--port",
        str(free_port()),
        "--data-dir",
        str(home / "data"),
        "--speed",
        "0",
    )
    assert Command(home, *up).wait() == 0
    config = str(home / "home" / "clusters" / "goes" / "kubeconfig")
    view = Command(home, "view", "--kubeconfig", config)
    try:
        browser.open(view.until("; open "))
        browser.until("return window.kubedyno && kubedyno.live.pods.size > 5")
        Command(home, "cluster", "down", "--name", "goes").wait()
        browser.until("return document.getElementById('trouble').textContent.includes('what is shown is as it was')")
        assert browser.run("return kubedyno.live.pods.size") > 5
        assert Command(home, *up).wait() == 0
        browser.until("return document.getElementById('trouble').hidden")
        made = subprocess.run(
            ["kubectl", "--kubeconfig", config, "create", "deployment", "again", "--image=nginx"],
            capture_output=True,
            check=False,
        )
        assert made.returncode == 0, made.stderr
        browser.until("return [...kubedyno.live.pods.values()].some((p) => p.name.startsWith('again-'))")
    finally:
        view.end()


def test_a_page_whose_address_is_no_more_says_so(browser, home):
    assert Command(home, "cluster", "up").wait() == 0
    port = str(free_port())
    view = Command(home, "view", "--port", port)
    try:
        browser.open(view.until("; open "))
        browser.until("return window.kubedyno && kubedyno.live.pods.size > 5")
        view.end()
        browser.until("return document.getElementById('trouble').textContent.includes('trying again')")
        # With another secret.
        view = Command(home, "view", "--port", port)
        view.until("; open ")
        browser.until(
            "return document.getElementById('trouble').textContent.includes('open the one that it has printed last')"
        )
    finally:
        browser.open("about:blank")
        view.end()


def kubectl(config, *words):
    done = subprocess.run(["kubectl", "--kubeconfig", config, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_a_user_may_not_read_or_may_no_longer_is_said(browser, home):
    assert Command(home, "cluster", "up").wait() == 0
    admin = str(home / "home" / "clusters" / "kubedyno" / "kubeconfig")
    views = []
    try:
        for name in ("nobody", "reader"):
            kubectl(admin, "create", "serviceaccount", name)
            token = kubectl(admin, "create", "token", name)
            config = str(home / name)
            Path(config).write_bytes(Path(admin).read_bytes())
            kubectl(config, "config", "set-credentials", name, "--token", token)
            kubectl(config, "config", "set-context", "--current", "--user", name)
            if name == "reader":
                kubectl(
                    admin, "create", "clusterrolebinding", name, "--clusterrole=cluster-admin",
                    f"--serviceaccount=default:{name}",
                )  # fmt: skip
            views.append(Command(home, "view", "--kubeconfig", config))
        browser.open(views[0].until("; open "))
        browser.until("return document.getElementById('trouble').textContent.includes('forbidden')")
        browser.run("document.getElementById('why').click()")
        said = browser.until(
            "const t = document.getElementById('panel').innerText; return t.includes('cannot say') && t"
        )
        assert "pods: not read" in said
        assert "all pods run" not in said
        browser.open(views[1].until("; open "))
        browser.until("return window.kubedyno && kubedyno.live.pods.size > 5")
        kubectl(admin, "delete", "serviceaccount", "reader")
        browser.until("return document.getElementById('trouble').textContent.includes('credentials any more (401)')")
        assert browser.run("return kubedyno.live.pods.size") > 5
    finally:
        browser.open("about:blank")
        for view in views:
            view.end()
