"""This host's probe against what the kernel's configuration says, and against what cannot be there."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kubedyno.advisor import host, hostprobe, nodeprobe
from kubedyno.base.errors import KubedynoError
from kubedyno.kernel import probe

root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces and bpf(2)")


@pytest.fixture(scope="module")
def found() -> dict[tuple[str, str], hostprobe.Fact]:
    return {(fact.group, fact.name): fact for fact in hostprobe.facts()}


@root
@pytest.mark.parametrize(
    ("name", "option"),
    [
        (("datapath", "veth"), "CONFIG_VETH"), (("datapath", "netkit"), "CONFIG_NETKIT"),
        (("datapath", "vxlan"), "CONFIG_VXLAN"), (("datapath", "fq"), "CONFIG_NET_SCH_FQ"),
        (("BPF programs", "sched_cls"), "CONFIG_BPF_SYSCALL"),
        (("socket load balancing", "cgroup_inet4_connect"), "CONFIG_CGROUP_BPF"),
    ],
)  # fmt: skip
def test_what_was_tried_is_what_the_configuration_says(
    found: dict[tuple[str, str], hostprobe.Fact], name: tuple[str, str], option: str
) -> None:
    line = probe.configuration_line(option)
    if not line:
        pytest.skip("this kernel publishes no configuration")
    if line == f"{option}=m":
        pytest.skip("a module may be there or not")
    assert found[name].value == ("yes" if line == f"{option}=y" else "no")
    assert bool(found[name].why) == (found[name].value == "no")


@root
def test_what_no_kernel_has_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostprobe, "_HELPERS", {"none": 9999})
    monkeypatch.setattr(hostprobe, "_MAPS", {"none": (9999, 4, 4, 1, 0)})
    monkeypatch.setattr(hostprobe, "_PROGRAMS", {"none": (9999, 0)})
    missing = {fact.group: fact.value for fact in hostprobe._bpf() if fact.name == "none"}
    assert missing == {"BPF helpers": "no", "BPF maps": "no", "BPF programs": "no"}


def test_the_clock_of_programs_follows_from_helper_and_configuration() -> None:
    assert hostprobe.clock_of("CONFIG_HZ=250", works=True).value == "jiffies, 250 Hz"
    assert hostprobe.clock_of("", works=True).value == "jiffies"
    assert hostprobe.clock_of("CONFIG_HZ=1000", works=False).value == "ktime"


@root
def test_the_probe_leaves_no_cgroup() -> None:
    mount = hostprobe.cgroup2_mount()
    if mount is None:
        pytest.skip("no cgroup2 is mounted")
    list(hostprobe._bpf())
    assert list(mount.glob("kubedyno-probe-*")) == []


def test_every_fact_says_how_it_was_found(found: dict[tuple[str, str], hostprobe.Fact]) -> None:
    assert found
    for fact in found.values():
        assert fact.value
        assert fact.how
        assert fact.sure in {hostprobe.TRIED, hostprobe.READ, hostprobe.GUESSED}


def test_the_probe_of_a_node_needs_python_alone(tmp_path: Path) -> None:
    path = tmp_path / "probe.pyz"
    path.write_bytes(nodeprobe.program())
    # As in a pod: no site packages, no working directory, no environment.
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(path)], capture_output=True, check=True, cwd=tmp_path, env={}
    )
    facts = {(fact.group, fact.name): fact.value for fact in nodeprobe.facts_of(done.stdout)}
    assert facts["kernel", "release"] == os.uname().release
    assert facts["machine", "irqbalance"] == "unknown"


def test_what_may_not_be_tried_is_unknown() -> None:
    def refused() -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    fact = hostprobe._tried("g", "n", "how", refused)
    assert (fact.value, fact.why) == ("unknown", "Operation not permitted")


def test_pods_of_the_probe_have_no_more_rights_than_it_needs() -> None:
    _, daemon = nodeprobe.manifests("ns", "image", make_namespace=False)[-1]
    pod = daemon["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostPID", "hostIPC", "serviceAccountName"} & pod.keys()
    security = container["securityContext"]
    assert "privileged" not in security
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"], "add": ["BPF", "NET_ADMIN", "PERFMON", "SYS_ADMIN"]}
    assert [list(volume) for volume in pod["volumes"]] == [["name", "configMap"]]


def test_without_a_cgroup2_mount_there_is_none(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text("cgroup /a cgroup rw 0 0\n")
    assert hostprobe.cgroup2_mount(mounts) is None
    mounts.write_text("cgroup2 /b cgroup2 rw 0 0\n")
    assert hostprobe.cgroup2_mount(mounts) == Path("/b")


def test_possible_cpus_are_counted_by_ranges() -> None:
    assert host.cpus_of("0-3,8") == 5
    assert host.cpus_of("0") == 1


def test_memory_that_the_kernel_does_not_state_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemFree: 1 kB\n")
    with pytest.raises(KubedynoError, match="has no MemTotal; give --memory"):
        host.memory_b(tmp_path / "meminfo")


def test_interrupts_of_the_network_are_summed_by_cpu() -> None:
    text = "     CPU0 CPU1\n 24:  10   30  PCI eth0-rx\n 25:  5  5  PCI nvme\n"
    (fact,) = hostprobe._interrupts(text)
    assert fact.value == "40 since boot, 75 % on CPU 1 of 2"
