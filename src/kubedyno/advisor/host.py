"""What this host has: memory and CPUs, as the kernel counts them."""

import re
from pathlib import Path

from kubedyno.base.errors import KubedynoError

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
