"""What every component says of its process, under the names of Go's and Prometheus' client libraries.

The cluster is one process: memory, files and pauses of the collector are the same on each component's page, and its help
says so; CPU is the component's own, counted in its turns.
"""

import gc
import os
import resource
import sys
import threading
from collections import deque
from pathlib import Path
from typing import Any

from kubedyno.base.clock import elapsed_ns
from kubedyno.cluster.apiserver.exposition import Page
from kubedyno.cluster.registry.featuregates import ACTING, GATES, gates_on, stage_of
from kubedyno.cluster.settings import ClusterSettings

# Pauses that quantiles are made of: the newest.
_PAUSES = 512
_QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
# Of the gates that are on by default, those that are no beta any more.
_SHARED = "of the whole cluster, which is one process"


class Pauses:
    """The garbage collector's pauses since it was made; `close` ends that."""

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0
        self._last: deque[float] = deque(maxlen=_PAUSES)
        self._began_ns = 0
        gc.callbacks.append(self._tell)

    def close(self) -> None:
        """Listen no more."""
        if self._tell in gc.callbacks:
            gc.callbacks.remove(self._tell)

    def _tell(self, phase: str, _info: dict[str, Any]) -> None:
        if phase == "start":
            self._began_ns = elapsed_ns()
            return
        seconds = (elapsed_ns() - self._began_ns) / 1e9
        self.count += 1
        self.seconds += seconds
        self._last.append(seconds)

    def quantiles(self) -> list[tuple[float, float]]:
        """Return (quantile, seconds) of the newest pauses."""
        ordered = sorted(self._last) or [0.0]
        return [(q, ordered[round(q * (len(ordered) - 1))]) for q in _QUANTILES]


def write(page: Page, *, cpu_s: float, started_s: float, pauses: Pauses | None) -> None:
    """Add a component's process to its page.

    Args:
        page: Whose.
        cpu_s: CPU that the component has used.
        started_s: Epoch seconds of its start.
        pauses: Of the garbage collector.
    """
    page.add("process_cpu_seconds_total", "counter", "CPU that the component has used.", {}, cpu_s)
    page.add("process_start_time_seconds", "gauge", "Start, epoch seconds.", {}, started_s)
    page.add("process_resident_memory_bytes", "gauge", f"Memory {_SHARED}.", {}, resident_bytes())
    shared(page, pauses)


def shared(page: Page, pauses: Pauses | None) -> None:
    """Add what all components have together, but for their memory: files, threads, heap, pauses."""
    resident = resident_bytes()
    page.add("process_virtual_memory_bytes", "gauge", f"Address space {_SHARED}.", {}, virtual_bytes())
    page.add("process_open_fds", "gauge", f"Open files {_SHARED}.", {}, open_files())
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    page.add("process_max_fds", "gauge", "Files that it may open.", {}, limit)
    page.add("go_goroutines", "gauge", f"Threads {_SHARED}; there are no goroutines.", {}, threading.active_count())
    page.add("go_threads", "gauge", f"Threads {_SHARED}.", {}, threading.active_count())
    page.add("go_info", "gauge", "The language's version.", {"version": f"python{sys.version.split()[0]}"}, 1)
    for name in ("go_memstats_heap_alloc_bytes", "go_memstats_heap_inuse_bytes", "go_memstats_alloc_bytes"):
        page.add(name, "gauge", f"Resident memory {_SHARED}; Python does not tell its heap apart.", {}, resident)
    if pauses is not None:
        name = "go_gc_duration_seconds"
        lines = page.family(name, "summary", f"Pauses of the garbage collector {_SHARED}.")
        for quantile, seconds in pauses.quantiles():
            lines.append(f'{name}{{quantile="{quantile:g}"}} {seconds!r}\n')
        lines.append(f"{name}_sum {pauses.seconds!r}\n{name}_count {pauses.count}\n")


def version(page: Page, settings: ClusterSettings) -> None:
    """Add the version."""
    git = settings.git_version
    labels = {"git_version": git, "major": "1", "minor": git.split(".")[1], "platform": "linux/amd64"}
    page.add("kubernetes_build_info", "gauge", "Which version this is.", labels, 1)


def gates(page: Page, settings: ClusterSettings, kubelet_on: frozenset[str] | None = None) -> None:
    """Add the feature gates that act here, and those that were set.

    Args:
        page: Gets them.
        settings: Of the cluster.
        kubelet_on: Those that are on in a kubelet, whose file may differ; None: not a kubelet's page.
    """
    chosen = settings.feature_gates
    on = gates_on(settings.minor, chosen) if kubelet_on is None else kubelet_on
    for name in sorted({*GATES, *chosen}):
        value = name in on or (name not in ACTING and chosen.get(name, False))
        labels = {"name": name, "stage": stage_of(name, settings.minor)}
        page.add("kubernetes_feature_enabled", "gauge", "1 for a gate that is on.", labels, value)


def process_cpu_s() -> float:
    """Return the CPU time of the whole process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def open_files() -> int:
    """Return how many files are open; 0 where /proc does not say."""
    directory = Path("/proc/self/fd")
    return sum(1 for _ in directory.iterdir()) if directory.is_dir() else 0


def resident_bytes() -> int:
    """Return the memory in use; the most there ever was where /proc does not say."""
    try:
        return _pages(1)
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def virtual_bytes() -> int:
    """Return the size of the address space; 0 where /proc does not say."""
    try:
        return _pages(0)
    except OSError:
        return 0


def _pages(column: int) -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[column]) * os.sysconf("SC_PAGE_SIZE")
