"""`kubedyno watch` in a terminal of its own, against a real cluster."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest


def read_until(fd, wanted, limit_s=60.0):
    seen, until = b"", time.monotonic() + limit_s
    while wanted.encode() not in seen and time.monotonic() < until:
        if select.select([fd], [], [], 0.1)[0]:
            seen += os.read(fd, 65536)
    assert wanted.encode() in seen, seen.decode(errors="replace")
    return seen.decode(errors="replace")


@pytest.fixture
def terminal():
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


def words(cluster, *more):
    return [sys.executable, "-m", "kubedyno", "watch", "--kubeconfig", str(cluster.running.kubeconfig), *more]


@pytest.mark.parametrize("end", ["q", "\x03"])
def test_it_draws_filters_resizes_and_leaves_the_terminal_as_it_was(up, terminal, end):
    cluster = up()
    ours, theirs = terminal
    before = termios.tcgetattr(theirs)
    env = os.environ | {"TERM": "xterm-256color"}
    # A session of its own, so that Ctrl-C comes from the terminal, as a user's does.
    own = lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # noqa: E731
    process = subprocess.Popen(
        words(cluster),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=env,
        start_new_session=True,
        preexec_fn=own,  # noqa: PLW1509
    )
    try:
        first = read_until(ours, "q quit")
        assert first.startswith("\x1b[?1049h")
        assert cluster.node[:20] in first
        os.write(ours, b"/")
        read_until(ours, "filter: ")
        os.write(ours, b"nothing-is-called-so")
        assert "0 pods" in read_until(ours, "filter: nothing-is-called-so")
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 8, 30, 0, 0))
        assert read_until(ours, "\x1b[J").split("\x1b[H")[-1].count("\n") <= 7
        os.write(ours, b"\r")
        read_until(ours, "filter: nothing-is-called-so\x1b")
        os.write(ours, end.encode())
        assert read_until(ours, "\x1b[?1049l").endswith("\x1b[?25h\x1b[?1049l")
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    assert termios.tcgetattr(theirs) == before


def test_once_prints_one_frame_without_escapes_and_a_pipe_without_it_is_told(up):
    cluster = up()
    done = subprocess.run(words(cluster, "--once"), capture_output=True, text=True, timeout=60, check=True)
    assert cluster.node[:20] in done.stdout
    assert "\x1b" not in done.stdout
    assert done.stdout.endswith("\ncpu, mem: █ used (metrics.k8s.io) / ▒ requested\n")
    cluster.kubectl("delete", "apiservice", "v1beta1.metrics.k8s.io")
    without = subprocess.run(words(cluster, "--once"), capture_output=True, text=True, timeout=60, check=True)
    assert without.stdout.endswith("\ncpu, mem: █ requested (no metrics.k8s.io)\n")
    refused = subprocess.run(
        words(cluster), capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=False
    )
    assert (refused.returncode, refused.stderr.strip()) == (
        1, "kubedyno: watch: this is no terminal; print one frame with --once"
    )  # fmt: skip


def test_a_server_that_hangs_is_told_and_what_was_seen_stays(up, terminal):
    cluster = up("hangs")
    ours, theirs = terminal
    environment = os.environ | {"TERM": "xterm-256color"}
    process = subprocess.Popen(words(cluster), stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    try:
        read_until(ours, "q quit")
        os.kill(cluster.running.pid, signal.SIGSTOP)
        told = read_until(ours, "what is shown is as it was", 120.0)
        assert "not followed: " in told
        os.kill(cluster.running.pid, signal.SIGCONT)
        shown = told
        until = time.monotonic() + 60
        while "not followed" in shown.split("\x1b[H")[-1] and time.monotonic() < until:
            shown = read_until(ours, "\x1b[J")
        assert "not followed" not in shown.split("\x1b[H")[-1]
        assert cluster.node[:20] in shown
    finally:
        os.kill(cluster.running.pid, signal.SIGCONT)
        process.kill()
        process.wait()
