"""CPU and memory of a process, and an embedded cluster to measure."""

import os
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kubedyno.cluster.settings import ClusterSettings
from kubedyno.lab import embedded
from kubedyno.lab.embedded import Running
from kubedyno.lab.settings import cluster_settings

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int | None = None) -> float:
    """Return user and system CPU seconds of a process."""
    fields = Path(f"/proc/{pid or 'self'}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def rss_mb(pid: int | None = None) -> float:
    """Return the resident memory of a process."""
    pages = int(Path(f"/proc/{pid or 'self'}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def peak_mb(pid: int | None = None) -> float:
    """Return the largest resident memory that a process had."""
    for line in Path(f"/proc/{pid or 'self'}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def settings(**changes: object) -> ClusterSettings:
    """Return settings of a cluster for a benchmark."""
    return cluster_settings(**{"name": "bench", "speed": 0.0, **changes})[0]  # type: ignore[arg-type]


@contextmanager
def cluster(**changes: object) -> Iterator[Running]:
    """Start an embedded cluster with a state folder of its own, and stop it."""
    home = tempfile.mkdtemp(prefix="kubedyno-bench-")
    os.environ["KUBEDYNO_HOME"] = home
    try:
        yield embedded.up(settings(**changes))
    finally:
        embedded.down("bench")
        shutil.rmtree(home, ignore_errors=True)


def median(values: list[float]) -> float:
    """Return the median."""
    return statistics.median(values)
