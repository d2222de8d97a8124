"""The files of control groups of version 2, which are written and read without a kernel behind them."""

import pytest

from kubedyno.kernel.cgroups import Group, Limits


@pytest.fixture
def folder(tmp_path):
    for name in ("cpu.weight", "cpu.max", "memory.max", "memory.swap.max", "memory.oom.group"):
        (tmp_path / name).write_text("")
    return tmp_path


def text_of(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_limits_are_written_as_the_kubelet_writes_them(folder):
    Group(dict.fromkeys(("cpu", "memory"), folder), unified=True).limit(Limits(500, 250, 64 << 20))
    assert text_of(folder) == {
        "cpu.weight": "10",
        "cpu.max": "50000 100000",
        "memory.max": "67108864",
        "memory.swap.max": "0",
        "memory.oom.group": "1",
    }


def test_no_limits_are_written_as_such(folder):
    Group(dict.fromkeys(("cpu", "memory"), folder), unified=True).limit(Limits())
    found = text_of(folder)
    assert (found["cpu.weight"], found["cpu.max"], found["memory.max"], found["memory.swap.max"]) == (
        "1", "max 100000", "max", "max",
    )  # fmt: skip


def test_use_is_the_working_set_and_what_was_killed(folder):
    (folder / "memory.current").write_text("5000\n")
    (folder / "memory.stat").write_text("anon 3000\ninactive_file 1500\n")
    (folder / "memory.events").write_text("low 0\noom 2\noom_kill 1\n")
    (folder / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\n")
    use = Group(dict.fromkeys(("cpu", "memory"), folder), unified=True).use()
    assert (use.cpu_s, use.memory_bytes, use.killed) == (2.5, 3500, 1)


@pytest.mark.parametrize(
    ("limits", "shares", "weight", "quota_us"),
    [
        (Limits(), 2, 1, 0),
        (Limits(milli_cpu=1, milli_request=1), 2, 1, 1000),
        (Limits(milli_cpu=2500, milli_request=1000), 1024, 39, 250_000),
        (Limits(milli_request=1_000_000), 262_144, 10_000, 0),
    ],
)
def test_requests_and_limits_have_the_kernels_bounds(limits, shares, weight, quota_us):
    assert (limits.shares, limits.weight, limits.quota_us) == (shares, weight, quota_us)
