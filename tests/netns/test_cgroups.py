"""Control groups of this kernel: what a process in one gets, and that nothing is left of them."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kubedyno.kernel import cgroups
from kubedyno.kernel.cgroups import Groups, Limits

MIB = 1 << 20


@pytest.fixture
def groups():
    try:
        found = Groups.made(os.getpid())
    except OSError as error:
        pytest.skip(f"no control groups here: {error}")
    yield found
    cgroups.sweep(found.folders)
    assert not any(Path(folder).exists() for folder in found.folders)


def started(group, code):
    descriptors = group.open()

    def enter():
        for descriptor in descriptors:
            os.write(descriptor, b"0")

    process = subprocess.Popen([sys.executable, "-c", code], preexec_fn=enter, close_fds=False)  # noqa: PLW1509
    for descriptor in descriptors:
        os.close(descriptor)
    return process


def test_a_process_gets_no_more_cpu_than_its_limit(groups):
    group = groups.add("a", Limits(milli_cpu=200, milli_request=100))
    code = "import time\nbegun, own = time.time(), time.process_time()\nwhile time.time() < begun + 1.5: pass\n"
    code += "raise SystemExit(int((time.process_time() - own) * 100))"
    spent = started(group, code).wait(60) / 100
    # How much it gets below its limit is the machine's affair, and what its interpreter takes to start.
    assert spent <= 0.45
    assert spent <= group.use().cpu_s < spent + 1
    assert group.use().cpu_s > 0


def test_who_takes_more_memory_than_its_limit_is_killed_and_counted(groups):
    group = groups.add("a", Limits(memory_bytes=64 * MIB))
    assert started(group, "x = bytearray(16 << 20)").wait(60) == 0
    assert group.use().killed == 0
    assert started(group, "x = bytearray(200 << 20)").wait(60) == -9
    assert group.use().killed >= 1


def test_limits_change_both_ways_while_it_runs(groups):
    group = groups.add("a", Limits(milli_cpu=100, memory_bytes=32 * MIB))
    for limits in (Limits(milli_cpu=500, memory_bytes=256 * MIB), Limits(memory_bytes=48 * MIB), Limits()):
        group.limit(limits)
    assert started(group, "x = bytearray(100 << 20)").wait(60) == 0


def test_a_group_that_is_removed_takes_its_processes_with_it(groups):
    group = groups.add("a", Limits())
    process = started(group, "import time; time.sleep(60)")
    deadline_s = time.monotonic() + 60
    while not group.remove():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)
    assert process.wait(60) == -9
    with pytest.raises(FileNotFoundError):
        group.use()


def test_what_a_killed_owner_left_goes_with_the_next_one():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    try:
        left = Groups.made(process.pid)
    except OSError as error:
        pytest.skip(f"no control groups here: {error}")
    left.add("a", Limits())
    cgroups.sweep(Groups.made(os.getpid()).folders)
    assert not any(Path(folder).exists() for folder in left.folders)
