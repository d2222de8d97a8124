"""What this host has, as the kernel tells it: memory, CPUs, devices, and what the tuning rules ask for."""

import os
import re
from pathlib import Path

from kubedyno.advisor.hostfacts import Host
from kubedyno.base.errors import KubedynoError
from kubedyno.kernel import probe
from kubedyno.kernel.probe import configuration_line

# Number of bpf_jiffies64.
_JIFFIES64 = 118
_MEMINFO = Path("/proc/meminfo")
_POSSIBLE = Path("/sys/devices/system/cpu/possible")


def memory_b(path: Path = _MEMINFO) -> int:
    """Return the total memory, bytes.

    Raises:
        KubedynoError: The kernel does not say.
    """
    try:
        found = re.search(r"^MemTotal:\s+(\d+) kB", path.read_text(), re.MULTILINE)
    except OSError as error:
        raise KubedynoError(f"{path}: {error.strerror}; give --memory") from error
    if found is None:
        raise KubedynoError(f"{path}: has no MemTotal; give --memory")
    return int(found[1]) * 1024


def possible_cpus(path: Path = _POSSIBLE) -> int:
    """Return the number of possible CPUs, by which per-CPU maps are sized; more than are online on some machines.

    Raises:
        KubedynoError: The kernel does not say.
    """
    try:
        text = path.read_text().strip()
    except OSError as error:
        raise KubedynoError(f"{path}: {error.strerror}; give --cpus") from error
    return cpus_of(text)


def cpus_of(ranges: str) -> int:
    """Return how many CPUs a list of ranges such as "0-3,8" names."""
    count = 0
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        count += int(last or first) - int(first) + 1
    return count


def _first_line(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def drivers(root: Path = Path("/sys/class/net")) -> tuple[str, ...]:
    """Return the drivers of the physical network devices."""
    found = set()
    for device in sorted(root.glob("*/device/driver")):
        found.add(device.resolve().name)
    return tuple(sorted(found))


def mtus(root: Path = Path("/sys/class/net")) -> tuple[tuple[str, int], ...]:
    """Return the MTU of each physical network device, bytes."""
    found = []
    for device in sorted(root.glob("*/device")):
        size = _first_line(device.parent / "mtu")
        if size and size.isdigit():
            found.append((device.parent.name, int(size)))
    return tuple(found)


# Options of the kernel's configuration, and the model that each makes the default.
_PREEMPT_OPTIONS = (
    ("CONFIG_PREEMPT_RT", "rt"),
    ("CONFIG_PREEMPT_NONE", "none"),
    ("CONFIG_PREEMPT_VOLUNTARY", "voluntary"),
    ("CONFIG_PREEMPT_LAZY", "lazy"),
    ("CONFIG_PREEMPT", "full"),
)


def preemption(command_line: Path = Path("/proc/cmdline")) -> str | None:
    """Return the preemption model: what debugfs says is active, else the boot parameter, else what was built in."""
    active = _first_line(Path("/sys/kernel/debug/sched/preempt"))
    if active:
        chosen = re.search(r"\((\w+)\)", active)
        return chosen[1] if chosen else active
    parameter = re.search(r"(?:^|\s)preempt=(\w+)", _first_line(command_line) or "")
    if parameter:
        return parameter[1]
    return next((name for option, name in _PREEMPT_OPTIONS if configuration_line(option) == f"{option}=y"), None)


def governor(root: Path = Path("/sys/devices/system/cpu")) -> str:
    """Return the frequency governors in use, "" where frequencies cannot be set."""
    seen = {_first_line(path) or "" for path in root.glob("cpu[0-9]*/cpufreq/scaling_governor")}
    return ", ".join(sorted(seen - {""}))


def tuned_profile(path: Path = Path("/etc/tuned/active_profile")) -> str:
    """Return tuned's active profile, "" without tuned."""
    return _first_line(path) or ""


def runs(name: str, root: Path = Path("/proc")) -> bool:
    """Say whether a process of that name runs here."""
    return any(_first_line(path) == name for path in root.glob("[0-9]*/comm"))


def facts() -> Host:
    """Return what this host tells the rules; what needs privileges it does not have stays unknown."""
    netkit = fq = jiffies = None
    try:
        found = probe.probe()
    except OSError:
        found = None  # not root: versions have to do, and rules that need more say so
    if found is not None:
        netkit, fq = found["netkit"].works, found["fq"].works
        if found["bpf"].works:
            jiffies = probe.has_helper(_JIFFIES64).works
    return Host(
        kernel=os.uname().release,
        drivers=drivers() or None,
        preempt=preemption(),
        governor=governor(),
        tuned=tuned_profile(),
        irqbalance=runs("irqbalance"),
        netkit=netkit,
        fq=fq,
        jiffies=jiffies,
        memory_b=memory_b(),
        cpus=possible_cpus(),
        mtus=mtus() or None,
    )
