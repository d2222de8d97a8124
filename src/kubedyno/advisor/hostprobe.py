"""What this host can do for a datapath, each with how it was found and how sure that is.

Found by trying, in network namespaces and a cgroup of its own that are gone afterwards; nothing of the host is
changed. Versions and names of drivers decide only where trying would disturb the host, and then it says so.
"""

import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import cast

from kubedyno.advisor import host
from kubedyno.advisor.hostfacts import XDP_DRIVERS
from kubedyno.base.errors import KubedynoError
from kubedyno.kernel import bpf, probe
from kubedyno.kernel.assembler import R0, Assembler
from kubedyno.kernel.bpf import AttachType, MapType, Program, ProgramType
from kubedyno.kernel.netns import Namespace
from kubedyno.kernel.rtnetlink import DEFAULT_SETTINGS, veth_body

TRIED, READ, GUESSED = "tried", "read", "by name"
_NET = Path("/sys/class/net")
_CPUS = Path("/sys/devices/system/cpu")
_NOT_ALLOWED = frozenset({errno.EPERM, errno.EACCES, errno.EROFS})
_SYS = Path("/proc/sys")

_HELPERS = {
    "fib_lookup": 69, "redirect": 23, "redirect_peer": 155, "redirect_neigh": 152, "jiffies64": 118, "sk_assign": 124,
    "get_netns_cookie": 122, "ktime_get_boot_ns": 125, "skb_set_tstamp": 192, "skc_lookup_tcp": 99,
}  # fmt: skip
# Name → number, bytes of key and value, entries, flags.
_MAPS = {
    "hash": (1, 4, 4, 1, 0), "array": (2, 4, 4, 1, 0), "prog_array": (3, 4, 4, 1, 0), "perf_event_array": (4, 4, 4, 1, 0),
    "percpu_hash": (5, 4, 4, 1, 0), "percpu_array": (6, 4, 4, 1, 0), "lru_hash": (9, 4, 4, 1024, 0),
    "lru_hash, lists by CPU": (9, 4, 4, 1024, 2), "lru_percpu_hash": (10, 4, 4, 1024, 0),
    "lpm_trie": (11, 8, 4, 1, 1), "devmap": (14, 4, 4, 1, 0), "sockmap": (15, 4, 4, 1, 0), "cpumap": (16, 4, 4, 1, 0),
    "sockhash": (18, 4, 4, 1, 0), "queue": (22, 0, 4, 1, 0), "ringbuf": (27, 0, 0, 65_536, 0),
}  # fmt: skip
# Name → number, expected attach type.
_PROGRAMS = {
    "sched_cls": (3, 0), "xdp": (6, 0), "cgroup_skb": (8, 0), "cgroup_sock": (9, 2), "sock_ops": (13, 0),
    "sk_skb": (14, 0), "cgroup_sock_addr": (18, 10), "sk_lookup": (30, 36),
}  # fmt: skip
_SYSCTLS = (
    "net/core/somaxconn", "net/core/netdev_max_backlog", "net/core/default_qdisc", "net/core/rmem_max",
    "net/core/wmem_max", "net/core/bpf_jit_harden", "net/ipv4/ip_forward", "net/ipv4/ip_local_port_range",
    "net/ipv4/tcp_congestion_control", "net/ipv4/tcp_max_syn_backlog", "net/ipv4/tcp_slow_start_after_idle",
    "net/ipv4/tcp_tw_reuse", "net/ipv4/conf/all/rp_filter", "net/ipv6/conf/all/disable_ipv6",
    "kernel/unprivileged_bpf_disabled", "fs/file-max", "fs/inotify/max_user_instances", "vm/max_map_count",
)  # fmt: skip


class _Hook(IntEnum):
    """Where programs are attached, beside what a datapath of ours uses."""

    CGROUP_INET4_CONNECT, CGROUP_INET6_CONNECT = 10, 11
    CGROUP_UDP4_SENDMSG, CGROUP_UDP6_SENDMSG = 14, 15
    XDP = 37


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that was found.

    Attributes:
        group: Heading.
        name: Of the thing.
        value: "yes", "no", "unknown", or a value with its unit.
        how: How it was found.
        sure: TRIED, READ or GUESSED.
        why: The kernel's words when it refused.
    """

    group: str
    name: str
    value: str
    how: str
    sure: str
    why: str = ""


def facts() -> list[Fact]:
    """Return everything; what may not be tried by this user is "unknown" with the reason."""
    found = list(_kernel())
    found += _tries()
    found += _devices()
    found += _machine()
    return found


def _tries() -> list[Fact]:
    try:
        features = probe.probe()
    except OSError as error:
        return [Fact("kernel", "trying", "unknown", "a network namespace", TRIED, f"{error.strerror}: run as root")]
    how = "done in a throw-away network namespace"
    found = [
        Fact("datapath", name, "yes" if feature.works else "no", how, TRIED, feature.why)
        for name, feature in features.found.items()
        if name not in _HELPERS
    ]
    if features["bpf"].works:
        found += _bpf()
    return found


def _bpf() -> Iterator[Fact]:
    for name, number in _HELPERS.items():
        feature = probe.has_helper(number)
        how = "loaded a classifier that calls it"
        yield Fact("BPF helpers", name, "yes" if feature.works else "no", how, TRIED, feature.why)
        if name == "jiffies64":
            yield clock_of(probe.configuration_line("CONFIG_HZ"), works=feature.works)
    for name, (number, key, value, entries, flags) in _MAPS.items():

        def make(
            number: int = number, key: int = key, value: int = value, entries: int = entries, flags: int = flags
        ) -> None:
            bpf.Map(cast("MapType", number), key, value, entries, flags, "probe").close()

        yield _tried("BPF maps", name, "created one", make)
    for name, (number, attach) in _PROGRAMS.items():

        def load(number: int = number, attach: int = attach) -> None:
            Program(_returns(1), cast("ProgramType", number), "probe", attach).close()

        yield _tried("BPF programs", name, "loaded one", load)
    yield _tried("BPF links", "XDP on veth", "attached one in a throw-away network namespace", _xdp)
    for hook in (
        _Hook.CGROUP_INET4_CONNECT, _Hook.CGROUP_INET6_CONNECT, _Hook.CGROUP_UDP4_SENDMSG, _Hook.CGROUP_UDP6_SENDMSG,
    ):  # fmt: skip

        def attach_hook(hook: _Hook = hook) -> None:
            _cgroup(hook)

        yield _tried("socket load balancing", hook.name.lower(), "attached one to a cgroup of its own", attach_hook)


def clock_of(line: str, *, works: bool) -> Fact:
    """Return what BPF programs can read the time of connections from: jiffies, a cheap counter, or the clock.

    Args:
        line: CONFIG_HZ of the kernel's configuration, "" without one.
        works: Whether there is the helper jiffies64.
    """
    rate = line.partition("=")[2]
    value = "ktime" if not works else f"jiffies, {rate} Hz" if rate.isdigit() else "jiffies"
    return Fact("BPF helpers", "clock source", value, "the helper jiffies64, and CONFIG_HZ", TRIED)


def _returns(value: int) -> bytes:
    return Assembler().mov(R0, value).exit().code()


def _tried(group: str, name: str, how: str, attempt: Callable[[], None]) -> Fact:
    try:
        attempt()
    except OSError as error:
        said = error.strerror or str(error)
        log = error.log.strip().splitlines() if isinstance(error, bpf.BpfError) else []
        # What this process may not try may work for one that may.
        value = "unknown" if error.errno in _NOT_ALLOWED else "no"
        return Fact(group, name, value, how, TRIED, f"{said}{f' ({log[-1]})' if log else ''}")
    return Fact(group, name, "yes", how, TRIED)


def _xdp() -> None:
    space, peer = Namespace(), Namespace()
    try:
        space.rtnetlink.create(veth_body("probe0", "probe1", peer.descriptor, DEFAULT_SETTINGS))
        index = space.rtnetlink.link("probe0").index
        # 2 lets the packet pass.
        with Program(_returns(2), ProgramType.XDP, "probe") as program, space.inside():
            bpf.Attachment(program, index, cast("AttachType", _Hook.XDP)).close()
    finally:
        space.close()
        peer.close()


def _cgroup(hook: _Hook) -> None:
    root = cgroup2_mount()
    if root is None:
        raise OSError(2, "no cgroup2 is mounted")
    child = root / f"kubedyno-probe-{os.getpid()}"
    child.mkdir()
    try:
        descriptor = os.open(child, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with Program(_returns(1), cast("ProgramType", 18), "probe", hook) as program:
                bpf.Attachment(program, descriptor, cast("AttachType", hook)).close()
        finally:
            os.close(descriptor)
    finally:
        child.rmdir()


def cgroup2_mount(mounts: Path = Path("/proc/self/mounts")) -> Path | None:
    """Return where the unified cgroup hierarchy is mounted, None if nowhere."""
    with suppress(OSError):
        for line in mounts.read_text().splitlines():
            fields = line.split()
            if len(fields) > 2 and fields[2] == "cgroup2":
                return Path(fields[1])
    return None


def _kernel() -> Iterator[Fact]:
    yield Fact("kernel", "release", os.uname().release, "uname", READ)
    preempt = host.preemption()
    yield Fact(
        "kernel", "preemption", preempt or "unknown", "debugfs, else the kernel's banner and configuration", READ
    )
    jit = _read(_SYS / "net/core/bpf_jit_enable")
    value = {"0": "no", "1": "yes", "2": "yes, with traces"}.get(jit or "", "unknown")
    yield Fact("kernel", "BPF JIT", value, "/proc/sys/net/core/bpf_jit_enable", READ)
    btf = Path("/sys/kernel/btf/vmlinux")
    shown = "yes" if btf.exists() else "no" if btf.parents[1].is_dir() else "unknown"
    yield Fact("kernel", "BTF", shown, str(btf), READ)
    mount = cgroup2_mount()
    unified = mount is not None and _read(mount / "cgroup.controllers")
    state = "no" if mount is None else "yes" if unified else "yes, without controllers"
    yield Fact("kernel", "cgroup v2", state, str(mount or "/proc/self/mounts"), READ)
    controls = _read(_SYS / "net/ipv4/tcp_available_congestion_control")
    yield Fact(
        "kernel", "congestion controls", controls or "unknown", "net.ipv4.tcp_available_congestion_control", READ
    )
    for name in ("nf_conntrack_max", "nf_conntrack_count", "nf_conntrack_buckets"):
        size = _read(_SYS / "net/netfilter" / name)
        shown = f"{size} entries" if size else "not loaded"
        yield Fact("kernel", name, shown, f"net.netfilter.{name}", READ)
    for path in _SYSCTLS:
        value_ = _read(_SYS / path)
        shown = " ".join(value_.split()) if value_ is not None else "not there"
        yield Fact("sysctls", path.replace("/", "."), shown, f"/proc/sys/{path}", READ)


def _devices() -> Iterator[Fact]:
    if not _NET.is_dir():
        yield Fact("devices", "network devices", "unknown", str(_NET), READ, "is not to be seen from here")
        return
    space = Namespace.current()
    try:
        for path in sorted(_NET.iterdir()):
            name = path.name
            driver = path / "device" / "driver"
            physical = driver.exists()
            if not physical and name != "lo":
                continue
            group = f"device {name}"
            mtu = _read(path / "mtu")
            yield Fact(group, "MTU", f"{mtu} bytes" if mtu else "unknown", str(path / "mtu"), READ)
            yield from _limits(space, group, name)
            if physical:
                kind = driver.resolve().name
                yield Fact(group, "driver", kind, str(driver), READ)
                receive = len(list(path.glob("queues/rx-*")))
                send = len(list(path.glob("queues/tx-*")))
                yield Fact(group, "queues", f"{receive} receive, {send} send", str(path / "queues"), READ)
                known = XDP_DRIVERS.get(kind)
                shown = "yes" if known else "unknown"
                how = (
                    f"the driver's name (native XDP since Linux {known[0]}.{known[1]})"
                    if known
                    else "the driver's name"
                )
                yield Fact(group, "native XDP", shown, f"{how}; attaching would disturb the device", GUESSED)
    finally:
        space.close()


def _limits(space: Namespace, group: str, name: str) -> Iterator[Fact]:
    """Yield the sizes of packets that a device takes, which bound BIG TCP."""
    try:
        link = space.rtnetlink.link(name)
    except OSError as error:
        yield Fact(group, "packet sizes", "unknown", "rtnetlink", READ, error.strerror or str(error))
        return
    sizes = {
        "gso_max_size": link.gso_max_size,
        "gro_max_size": link.gro_max_size,
        "gso_ipv4_max_size": link.gso_ipv4_max_size,
        "gro_ipv4_max_size": link.gro_ipv4_max_size,
        "tso_max_size": link.tso_max_size,
    }
    for field, limit in sizes.items():
        # This kernel does not know the attribute.
        yield Fact(group, field, f"{limit} bytes" if limit else "unknown", "rtnetlink", READ)


def _machine() -> Iterator[Fact]:
    for name, unit, path, read in (
        ("possible CPUs", "", "/sys/devices/system/cpu/possible", host.possible_cpus),
        ("memory", " bytes", "/proc/meminfo", host.memory_b),
    ):
        try:
            yield Fact("machine", name, f"{read()}{unit}", path, READ)
        except KubedynoError:
            yield Fact("machine", name, "unknown", path, READ, "is not to be seen from here")
    governor = host.governor() or ("none: frequencies cannot be set" if _CPUS.is_dir() else "unknown")
    how = "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
    yield Fact("machine", "CPU governor", governor, how, READ)
    yield Fact("machine", "irqbalance", "runs" if host.runs("irqbalance") else "does not run", "/proc/*/comm", READ)
    tuned = host.tuned_profile()
    yield Fact("machine", "tuned profile", tuned or "none", "/etc/tuned/active_profile", READ)
    interrupts = _read(Path("/proc/interrupts"))
    if interrupts:
        yield from _interrupts(interrupts)


def _interrupts(text: str) -> Iterator[Fact]:
    """Yield how network interrupts are spread over CPUs."""
    header, *lines = text.splitlines()
    cpus = len(header.split())
    sums = [0] * cpus
    for line in lines:
        if not re.search(r"eth|ens|enp|mlx|virtio.*(input|output)|ena|ice|ixgbe|i40e", line):
            continue
        counts = line.split()[1 : cpus + 1]
        for number, count in enumerate(counts):
            if count.isdigit():
                sums[number] += int(count)
    total = sum(sums)
    if total:
        busiest = max(sums)
        share = f"{busiest / total * 100:.0f} % on CPU {sums.index(busiest)} of {cpus}"
        yield Fact("machine", "network interrupts", f"{total} since boot, {share}", "/proc/interrupts", READ)


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
