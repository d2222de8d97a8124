"""The command, whole: documents and report written, nothing left behind, and what is left without root."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kubedyno.cli.main import main
from kubedyno.kernel.bpf import BpfError, Map, MapType
from kubedyno.kernel.netns import Namespace
from kubedyno.kernel.probe import configuration_line, has_helper


def test_a_run_prints_its_document_and_writes_files(tmp_path, capsys):
    words = "net lab --json --datapath route,netkit --tests tcp-rr,tcp --rounds 2 --seconds 0.1 --generator own --big-tcp none"
    assert main([*words.split(), "--directory", str(tmp_path)]) == 0
    document = json.loads(capsys.readouterr().out)
    rows = [(row["datapath"], row["test"], row["place"], len(row["rounds"])) for row in document["rows"]]
    assert ("route", "tcp-rr", "other-node", 2) in rows
    assert ("host", "tcp", "same-node", 2) in rows
    assert all(proof["held"] for row in document["rows"] for one in row["rounds"] for proof in one["proofs"])
    [route] = [
        row
        for row in document["rows"]
        if rows.index(("route", "tcp-rr", "other-node", 2)) == document["rows"].index(row)
    ]
    assert route["ratios"]["p50_us"][0]["to"] == "host"
    metrics = tmp_path / f"collected-metrics-{document['uuid']}"
    assert json.loads((metrics / "kubedynoNetLab.json").read_text())[0]["uuid"] == document["uuid"]
    assert len(json.loads((metrics / "netLab.json").read_text())) == len(rows)
    page = (tmp_path / f"kubedyno-report-{document['uuid']}.html").read_text()
    assert "<svg" in page
    assert "forwarded by the nodes" in page


def test_a_datapath_that_is_not_there_is_said_and_is_exit_code_1(tmp_path, capsys, features):
    if features["netkit"].works:
        return
    words = ["net", "lab", "--datapath", "netkit", "--tests", "tcp-rr", "--rounds", "1", "--seconds", "0.1"]
    assert main([*words, "--directory", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "not measured: datapath netkit\n  netkit: ENOTSUP: Unknown device type" in said
    assert '"netkit devices need kernel 6.7.0 or newer and CONFIG_NETKIT"' in said


def test_a_run_without_a_figure_is_exit_code_1_and_a_place_that_takes_no_files_is_told_first(tmp_path, capsys):
    line = "net lab --datapath route --tests tcp --rounds 1 --seconds 0.1 --generator own --big-tcp none"
    words = line.split()
    assert main([*words, "--congestion-control", "nosuch", "--directory", str(tmp_path)]) == 1
    assert "1 of 1 rounds failed" in capsys.readouterr().out
    (tmp_path / "file").touch()
    assert main([*words, "--directory", str(tmp_path / "file")]) == 1
    said = capsys.readouterr()
    assert "cannot make the metrics directory (Not a directory)" in said.err
    assert "round 1" not in said.err + said.out


def _children(process: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == process and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def _family(process: int) -> list[int]:
    children = _children(process)
    return children + [found for child in children for found in _family(child)]


def _until(condition, limit_s=30.0):
    end = time.monotonic() + limit_s
    while not (value := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
    return value


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_reports_its_rounds_and_leaves_no_process(how, tmp_path):
    words = ["net", "lab", "--datapath", "route", "--tests", "tcp-rr", "--rounds", "200", "--seconds", "0.3"]
    lab = subprocess.Popen(
        [sys.executable, "-m", "kubedyno", *words, "--big-tcp", "none", "--directory", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")},
    )
    try:
        assert lab.stderr is not None
        for line in lab.stderr:
            if line.startswith("round 1 of"):
                break
        children = _until(lambda: _family(lab.pid))
        lab.send_signal(how)
        output, _ = lab.communicate(timeout=60)
    finally:
        lab.kill()
        lab.wait()
    assert lab.returncode == 130
    assert "warning: interrupted: the rounds so far are reported" in output
    assert "host" in output
    assert len(list(tmp_path.glob("kubedyno-report-*.html"))) == 1
    _until(lambda: not any(Path(f"/proc/{child}/exe").exists() for child in children))


@pytest.mark.parametrize("generator", ["auto", "own"])
def test_kill_9_leaves_no_process_and_no_namespace(generator, tmp_path):
    words = [
        "net",
        "lab",
        "--datapath",
        "route",
        "--tests",
        "tcp",
        "--rounds",
        "9",
        "--seconds",
        "60",
        "--big-tcp",
        "none",
    ]
    words += ["--generator", generator]
    lab = subprocess.Popen(
        [sys.executable, "-m", "kubedyno", *words, "--directory", str(tmp_path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")},
    )
    try:
        # Both ends at work; our own have a child for each stream.
        wanted = 4 if generator == "own" or not shutil.which("iperf3") else 2
        children = _until(lambda: found if len(found := _family(lab.pid)) >= wanted else None)
        spaces = {str(Path(f"/proc/{child}/ns/net").readlink()) for child in children}
        assert str(Path("/proc/self/ns/net").readlink()) not in spaces
    finally:
        lab.send_signal(signal.SIGKILL)
        lab.wait()

    def gone() -> bool:
        for path in Path("/proc").glob("[0-9]*/ns/net"):
            try:
                if str(path.readlink()) in spaces:
                    return False
            except OSError:
                continue
        return True

    _until(gone)
    assert not any(Path(f"/proc/{child}/exe").exists() for child in children)


# In a process of its own: only one without other threads may make a user namespace, and libraries that other tests
# use begin some in each child.
WITHOUT_ROOT = """
import json
from kubedyno.datapath import measure, tests
from kubedyno.datapath.findings import missing_of
from kubedyno.datapath.topology import Path, Place, Topology, Variant
from kubedyno.kernel.netns import become_root_of_own_user_namespace
from kubedyno.kernel.probe import Features, probe

become_root_of_own_user_namespace()
features = probe()
missing = missing_of(Features(features.kernel, root=False, found=features.found), list(Path))
held = []
for path in Path:
    if path not in missing:
        with Topology(Variant(path)) as topology:
            tools = measure.Tools("", "", None)
            done = measure.run(topology, tests.TESTS["tcp-rr"], Place.OTHER, 6, 0.05, tools, 0)
            held.append((str(path), done.error or all(proof.held for proof in done.proofs)))
print(json.dumps([held, missing[Path.EBPF].why]))
"""


def test_a_user_namespace_does_all_but_ebpf_and_says_why():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_ROOT],
        capture_output=True, text=True, timeout=120, check=False,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    held, why = json.loads(done.stdout)
    assert [name for name, good in held if good is True] == ["host", "bridge", "route", "route-nft", "vxlan"]
    assert why[0] == "bpf: load program probe: EPERM Operation not permitted"
    assert "eBPF needs root" in why[-1]


def test_a_namespace_is_gone_with_its_descriptor():
    space = Namespace()
    with space.inside():
        name = str(Path("/proc/thread-self/ns/net").readlink())
    assert name != str(Path("/proc/thread-self/ns/net").readlink())
    space.close()
    space.close()  # twice is once
    assert space.descriptor == -1


def test_an_error_inside_a_namespace_comes_back_out():
    home = str(Path("/proc/thread-self/ns/net").readlink())
    space = Namespace()
    try:
        with space.inside():
            raise KeyError("planted")
    except KeyError:
        pass
    assert str(Path("/proc/thread-self/ns/net").readlink()) == home
    space.close()


def test_maps_hold_what_was_put_in_and_refuse_more():
    with Map(MapType.HASH, 4, 8, 2, name="test") as one:
        one.update(b"aaaa", b"12345678")
        one.update(b"bbbb", b"22345678")
        assert one.lookup(b"aaaa") == b"12345678"
        assert one.lookup(b"cccc") is None
        with pytest.raises(BpfError, match="E2BIG"):
            one.update(b"cccc", b"32345678")
        with pytest.raises(ValueError, match="key of 1 bytes"):
            one.lookup(b"c")


def test_helpers_are_told_from_what_is_no_helper():
    assert has_helper(1).works
    absent = has_helper(9999)
    assert not absent.works
    assert "func" in absent.why


def test_the_configuration_explains_an_option():
    line = configuration_line("CONFIG_NET")
    assert line in {"", "CONFIG_NET=y"}
