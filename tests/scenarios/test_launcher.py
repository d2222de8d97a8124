"""The launcher of a checkout: what it makes on first use, and what it says when it cannot."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# A Python that makes an environment of itself, writes down each installation and takes its time for it.
PYTHON = """#!/bin/sh
case "$*" in
*sys.version_info*) exit 0 ;;
*ensurepip*) exit "${ENSUREPIP:-0}" ;;
"-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && cp "$0" "$3/bin/pip" ;;
"-m pip "*) sleep 0.3; echo installed >>"$LOG" ;;
"-m kubedyno "*) echo "runs $3" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path):
    """A checkout in a folder with a space in its name, and a PATH with nothing but the system's tools and that Python."""
    here = tmp_path / "a checkout"
    (here / "requirements").mkdir(parents=True)
    shutil.copy(ROOT / "kubedyno", here)
    shutil.copy(ROOT / "requirements" / "venv.sh", here / "requirements")
    (here / "requirements" / "run.lock").write_text("orjson==3\n")
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("sh", "dirname", "readlink", "cmp", "cp", "mkdir", "flock", "sleep"):
        (tools / tool).symlink_to(shutil.which(tool))
    (tools / "python3").write_text(PYTHON)
    (tools / "python3").chmod(0o755)
    return here


def launch(path, log, **more):
    tools = log.parent / "bin"
    return subprocess.Popen(
        [path, "version"], env={"PATH": str(tools), "LOG": str(log), **more}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def done(process):
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_the_first_use_sets_up_once_and_a_changed_lock_again(checkout, tmp_path):
    log = tmp_path / "log"
    assert done(launch(checkout / "kubedyno", log)) == (0, "runs version\n", "kubedyno: setting up .venv (once)\n")
    assert done(launch(checkout / "kubedyno", log)) == (0, "runs version\n", "")
    (checkout / "requirements" / "run.lock").write_text("orjson==4\n")
    assert done(launch(checkout / "kubedyno", log))[0] == 0
    assert log.read_text() == "installed\n" * 2


def test_two_first_uses_at_once_install_once(checkout, tmp_path):
    log = tmp_path / "log"
    started = [launch(checkout / "kubedyno", log) for _ in range(3)]
    assert [done(process)[:2] for process in started] == [(0, "runs version\n")] * 3
    assert log.read_text() == "installed\n"


def test_a_link_to_the_launcher_finds_the_checkout(checkout, tmp_path):
    link = tmp_path / "kd"
    link.symlink_to(checkout / "kubedyno")
    assert done(launch(link, tmp_path / "log"))[:2] == (0, "runs version\n")


def test_a_python_without_ensurepip_is_one_clear_line(checkout, tmp_path):
    code, out, err = done(launch(checkout / "kubedyno", tmp_path / "log", ENSUREPIP="1"))
    assert (code, out) == (1, "")
    assert err.splitlines()[-1].endswith(
        "has no ensurepip: install your system's python3-venv package, or uv, and run again"
    )


def test_a_named_python_that_is_none_is_told_and_no_other_taken(checkout, tmp_path):
    code, _, err = done(launch(checkout / "kubedyno", tmp_path / "log", KUBEDYNO_PYTHON="/no/python"))
    assert (code, err) == (1, "kubedyno: KUBEDYNO_PYTHON=/no/python is no Python 3.11 or later\n")
