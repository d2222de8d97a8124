"""The command line as a user types it: whole processes, real files, exit codes, one clear line for each mistake."""

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STUDY = ROOT / "examples" / "study"
CONFIG = """
jobs:
  - name: job
    jobIterations: {iterations}
    qps: 1000
    burst: 1000
    namespace: work
    waitWhenFinished: {wait}
    preLoadImages: false
    objects:
      - objectTemplate: object.yaml
        replicas: 1
"""
OBJECT = """
apiVersion: v1
kind: Pod
metadata:
  name: pod-{{.Iteration}}-{{.Replica}}
spec:
  containers: [{name: c, image: nginx:alpine}]
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A user's home without a kubeconfig; its clusters go with it."""
    home = tmp_path_factory.mktemp("user")
    yield home
    kubedyno(home, home, "cluster", "down", "--all")


@pytest.fixture
def here(tmp_path):
    (tmp_path / "object.yaml").write_text(OBJECT)
    (tmp_path / "config.yaml").write_text(CONFIG.format(iterations=3, wait="true"))
    return tmp_path


def environment(home, **more):
    kept = {key: value for key, value in os.environ.items() if key not in {"KUBECONFIG", "KUBEDYNO_HOME"}}
    return {**kept, "HOME": str(home), "PYTHONPATH": str(ROOT / "src"), "NO_COLOR": "1", **more}


def kubedyno(home, folder, *words, timeout=180, **more):
    return subprocess.run(
        [sys.executable, "-m", "kubedyno", *words],
        cwd=folder, env=environment(home, **more), capture_output=True, text=True, timeout=timeout, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def one_line(done, code=1):
    """Return the one line that a mistake gets."""
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    return lines[-1]


def test_init_without_any_cluster_starts_one_says_so_and_leaves_it_up(world, here):
    done = kubedyno(world, here, "init", "-c", "config.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no kubeconfig found: started the embedded cluster kubedyno" in done.stdout
    assert re.search(r"export KUBECONFIG=\S+/clusters/kubedyno/kubeconfig", done.stdout)
    assert "kubedyno cluster down" in done.stdout
    (log,) = here.glob("kube-burner-*.log")
    uuid = log.stem.removeprefix("kube-burner-")
    assert (here / f"collected-metrics-{uuid}" / "jobSummary.json").is_file()
    report = (here / f"kubedyno-report-{uuid}.html").read_text()
    assert "<svg" in report
    assert "http://" not in report.replace("http://www.w3.org/2000/svg", "")
    again = kubedyno(world, here, "init", "-c", "config.yaml")
    assert "re-used the embedded cluster kubedyno" in again.stdout


def test_the_kubeconfig_is_its_owners_alone(world, here):
    kubedyno(world, here, "cluster", "up")
    path = Path(kubedyno(world, here, "cluster", "kubeconfig").stdout.strip())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_ephemeral_removes_the_cluster_and_down_leaves_nothing(world, here, tmp_path_factory):
    home = tmp_path_factory.mktemp("other")
    done = kubedyno(home, here, "init", "-c", "config.yaml", "--ephemeral")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "is down" in done.stdout
    # Of the cluster nothing is left; that there was a run stays known.
    assert [path.name for path in home.rglob("*") if path.is_file()] == ["runs.db"]


def test_the_study_s_own_file_runs_from_anywhere(world, tmp_path):
    done = kubedyno(world, tmp_path, "init", "-c", str(STUDY / "s1-config.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1/1" in done.stdout


def test_a_named_cluster_that_cannot_be_reached_is_an_error_never_a_fallback(world, here):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    config = here / "dead"
    config.write_text(
        f"apiVersion: v1\nkind: Config\nclusters: [{{name: a, cluster: {{server: 'http://127.0.0.1:{port}'}}}}]\n"
        "contexts: [{name: a, context: {cluster: a, user: a}}]\ncurrent-context: a\nusers: [{name: a, user: {}}]\n"
    )
    done = kubedyno(world, here, "init", "-c", "config.yaml", "--kubeconfig", str(config))
    line = one_line(done)
    assert str(port) in line
    missing = one_line(kubedyno(world, here, "init", "-c", "config.yaml", KUBECONFIG=str(here / "none")))
    assert "none" in missing


def test_a_real_cluster_is_never_loaded_without_a_word(world, here):
    kubedyno(world, here, "cluster", "up")
    text = Path(kubedyno(world, here, "cluster", "kubeconfig").stdout.strip()).read_text()
    (here / "copy").write_text(text)
    # In another home nobody knows that it is an embedded one.
    other = here / "elsewhere"
    other.mkdir()
    done = kubedyno(other, here, "init", "-c", "config.yaml", "--kubeconfig", str(here / "copy"))
    assert "--yes" in one_line(done)
    assert "1 node" in done.stderr
    done = kubedyno(other, here, "init", "-c", "config.yaml", "--kubeconfig", str(here / "copy"), "--yes")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("qps: 1000", "qsp: 1000"), r"line 5: .*qsp.*did you mean qps"),
        (("object.yaml", "missing.yaml"), r"missing\.yaml"),
        (("jobIterations: 3", "jobIterations: many"), r"line 4.*jobIterations"),
        (("jobs:", "jobs: ["), r"config\.yaml"),
    ],
)
def test_a_wrong_configuration_is_one_clear_line(world, here, change, expected):
    text = (here / "config.yaml").read_text()
    assert change[0] in text
    (here / "config.yaml").write_text(text.replace(*change))
    done = kubedyno(world, here, "init", "-c", "config.yaml")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert re.search(expected, done.stderr + done.stdout), done.stderr + done.stdout


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("{{.Iteration}}", "{{nosuch .Iteration}}"), r"object\.yaml.*5.*nosuch"),
        (("{{.Iteration}}", "{{.Iteration"), r"object\.yaml.*5"),
        (("kind: Pod", "kind: Pot"), r"Pot"),
    ],
)
def test_a_wrong_template_is_one_clear_line(world, here, change, expected):
    (here / "object.yaml").write_text(OBJECT.replace(*change))
    done = kubedyno(world, here, "init", "-c", "config.yaml", "--timeout", "20s")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert re.search(expected, done.stderr + done.stdout), done.stderr + done.stdout


def test_a_port_in_use_is_one_clear_line(world, here):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = one_line(kubedyno(world, here, "cluster", "up", "--name", "second", "--port", str(port)))
    assert f"127.0.0.1:{port}" in line
    assert "second" not in kubedyno(world, here, "cluster", "list").stdout


def test_unknown_verbs_and_flags_are_told_with_what_is_near(world, here):
    assert "did you mean 'init'" in one_line(kubedyno(world, here, "inti"))
    assert "--no-such-flag" in one_line(kubedyno(world, here, "init", "-c", "x", "--no-such-flag"))


def test_a_stuck_run_ends_with_its_report_and_what_it_made_is_destroyed(world, here):
    kubedyno(world, here, "cluster", "up", "--name", "kubedyno")
    (here / "object.yaml").write_text(OBJECT + "  nodeSelector: {no: where}\n")
    path = kubedyno(world, here, "cluster", "kubeconfig").stdout.strip()
    done = kubedyno(world, here, "init", "-c", "config.yaml", "--fail-when-stuck", "1s", "--kubeconfig", path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "node affinity/selector" in done.stdout
    assert list(here.glob("kubedyno-report-*.html"))
    # The command names the cluster that was named, or it would look on another.
    command = ["destroy", "-c", "config.yaml", "--kubeconfig", path]
    assert f"remove it with: kubedyno {' '.join(command)}\n" in done.stdout
    gone = kubedyno(world, here, *command)
    assert gone.returncode == 0, gone.stdout + gone.stderr
    assert re.search(r"\b3\b", gone.stdout), gone.stdout


def test_a_cluster_that_goes_away_is_said_once_and_ends_the_run_with_its_report(world, here):
    kubedyno(world, here, "cluster", "up", "--name", "fleeting")
    path = kubedyno(world, here, "cluster", "kubeconfig", "--name", "fleeting").stdout.strip()
    config = (
        CONFIG.format(iterations=5000, wait="true").replace("qps: 1000", "qps: 50").replace("burst: 1000", "burst: 1")
    )
    (here / "config.yaml").write_text(
        config.replace("namespace: work", "namespace: work\n    namespacedIterations: false")
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "kubedyno", "init", "-c", "config.yaml", "--kubeconfig", path, "--fail-when-stuck", "2s"],
        cwd=here, env=environment(world), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not any("0/5000 iterations" in path.read_text() for path in here.glob("kube-burner-*.log")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        kubedyno(world, here, "cluster", "down", "--name", "fleeting")
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 1, out
    assert "Traceback" not in out
    # Once when it happens, and at the end as what ended the run.
    assert out.count("Requests wait until it answers again") == 1
    assert "no answer for 2s" in out
    assert out.count("Retrying object creation") <= 1
    assert list(here.glob("kubedyno-report-*.html"))


WIDGET = """
apiVersion: example.com/v1
kind: Widget
metadata: {name: "widget-{{.Iteration}}"}
"""
DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  names: {kind: Widget, plural: widgets}
  scope: Namespaced
  versions:
    - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
"""


def test_an_unserved_kind_is_said_before_anything_is_made_unless_an_earlier_job_brings_it(world, here):
    job = CONFIG.format(iterations=1, wait="true")
    pods = "objects:\n      - objectTemplate: pod.yaml\n        replicas: 1"
    (here / "pod.yaml").write_text(OBJECT)
    (here / "object.yaml").write_text(WIDGET)
    (here / "config.yaml").write_text(
        job.replace("objects:", pods).replace("preLoadImages: false", "preLoadImages: true")
    )
    done = kubedyno(world, here, "init", "-c", "config.yaml")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "object.yaml: the cluster serves no Widget of example.com/v1" in done.stdout
    assert "Pre-load" not in done.stdout
    assert "Triggering job" not in done.stdout
    (here / "definition.yaml").write_text(DEFINITION)
    first = job.replace("name: job", "name: define").replace("object.yaml", "definition.yaml")
    (here / "config.yaml").write_text(first + job.replace("\njobs:\n", ""))
    done = kubedyno(world, here, "init", "-c", "config.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    kubedyno(world, here, "destroy", "-c", "config.yaml")


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_stops_the_run_and_cleans_up_twice_leaves_at_once(world, here, times):
    held = OBJECT.replace("metadata:\n", "metadata:\n  finalizers: [example.com/hold]\n") if times == 2 else OBJECT
    (here / "object.yaml").write_text(held + "  nodeSelector: {no: where}\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "kubedyno", "init", "-c", "config.yaml"],
        cwd=here, env=environment(world), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        for said in ("Waiting up to", "Cleaning up what this run created")[:times]:
            deadline = time.monotonic() + 60
            while not any(said in path.read_text() for path in here.glob("kube-burner-*.log")):
                assert process.poll() is None, process.stdout.read()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode != 0
    assert "Traceback" not in out
    if times == 1:
        assert list(here.glob("kubedyno-report-*.html")), out
        assert list(here.glob("collected-metrics-*/jobSummary.json"))
        # Once: what it made is deleted. Twice: no time for that, so what is to be done is said.
        assert "left on the cluster" not in out
        gone = kubedyno(world, here, "destroy", "-c", "config.yaml")
        assert gone.stdout == "nothing of these jobs was there\n"
    else:
        assert "kubedyno destroy -c config.yaml" in out


def test_a_run_whose_reader_goes_away_goes_on_and_writes_its_report(here):
    command = f"{sys.executable} -m kubedyno init -c config.yaml --ephemeral | head -1"
    done = subprocess.run(
        command, shell=True, cwd=here, env=environment(here), capture_output=True, text=True, timeout=90, check=False
    )
    assert len(done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert len(list(here.glob("kubedyno-report-*.html"))) == 1


def test_a_terminal_without_arrows_gets_question_marks(here):
    done = kubedyno(here, here, "init", "-c", "config.yaml", "--ephemeral", LC_ALL="C", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "job: created ? Ready" in done.stdout


def test_a_full_disk_is_one_clear_line(world, here):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "kubedyno", "version"],
            cwd=here, env=environment(world), stdout=full, stderr=subprocess.PIPE, text=True, timeout=90, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "kubedyno: output: cannot be written (No space left on device)\n"


def test_a_killed_run_is_found_in_the_store_with_what_it_left(world, here):
    # Slow enough to be killed in its second job.
    second = CONFIG.format(iterations=500, wait="true").replace("jobs:", "").replace("job\n", "slow\n")
    (here / "config.yaml").write_text(
        CONFIG.format(iterations=3, wait="true") + second.replace("qps: 1000", "qps: 2").replace("burst: 1000", "burst: 1")
        + "global:\n  measurements: [{name: podLatency}]\nmetricsEndpoints:\n- indexer: {type: local}\n"
    )  # fmt: skip
    # A cluster of its own: what others left on one may fill its node.
    kubedyno(world, here, "cluster", "up", "--name", "killed")
    path = kubedyno(world, here, "cluster", "kubeconfig", "--name", "killed").stdout.strip()
    words = [sys.executable, "-m", "kubedyno", "init", "-c", "config.yaml", "--uuid", "killed-1", "--kubeconfig", path]
    process = subprocess.Popen(
        words, cwd=here, env=environment(world), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while not any("Triggering job: slow" in path.read_text() for path in here.glob("kube-burner-*.log")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        listed = kubedyno(world, here, "runs", "list").stdout
        assert re.search(r"killed-1 +init .* running ", listed)
        until = time.monotonic() + 60
        while not list(here.glob("*/podLatencyQuantilesMeasurement-job.json")) and time.monotonic() < until:
            time.sleep(0.1)
    finally:
        process.kill()
        process.wait()
    kubedyno(world, here, "cluster", "down", "--name", "killed")
    shown = kubedyno(world, here, "runs", "show", "killed-1").stdout
    assert re.search(r"verdict +killed \(exit code 137\)", shown)
    assert re.search(r"job\.Ready\.p99_ms +\d", shown)
    (directory,) = here.glob("collected-metrics-*")
    assert (directory / "kubedynoConfig.json").is_file()
    done = kubedyno(world, here, "report", str(directory), "-o", "text")
    assert "job: created → Ready" in done.stdout, done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_a_null_one_and_no_sockets_number(world, here, closed):
    """A loop closes its sockets at the end, and one with the number of a standard stream aborted the process."""
    words = f"{sys.executable} -m kubedyno cluster up --name closed --nodes 1"
    done = subprocess.run(
        ["sh", "-c", f"exec {words} {closed}"], cwd=here, env=environment(world), timeout=60, check=False
    )
    kubedyno(world, here, "cluster", "down", "--name", "closed")
    assert done.returncode == 0


def test_whoever_comes_while_a_cluster_starts_waits_and_uses_it(world, here):
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "kubedyno", "cluster", "up", "--name", "shared", "--speed", "0"],
            cwd=here, env=environment(world), stdout=subprocess.PIPE, text=True,
        )
        for _ in range(3)
    ]  # fmt: skip
    told = [process.communicate(timeout=180)[0] for process in started]
    kubedyno(world, here, "cluster", "down", "--name", "shared")
    assert [process.returncode for process in started] == [0, 0, 0]
    assert sorted("was up already" in text for text in told) == [False, True, True]
    assert len({re.search(r"https://127.0.0.1:\d+", text)[0] for text in told}) == 1


def test_a_state_folder_that_cannot_be_is_one_clear_line(here):
    (here / "file").write_text("")
    line = one_line(kubedyno(here, here, "cluster", "up", KUBEDYNO_HOME=str(here / "file")))
    assert "cannot be made (Not a directory); set KUBEDYNO_HOME" in line
