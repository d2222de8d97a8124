"""What every component says of its process, under the names of Go's and Prometheus' client libraries.

The cluster is one process: memory, files and pauses of the collector are the same on each component's page, and its help
says so; CPU is the component's own, counted in its turns.
"""

import gc
import os
import re
import resource
import sys
import threading
from collections import deque
from pathlib import Path
from typing import Any

from kubedyno.base.clock import elapsed_ns
from kubedyno.cluster.apiserver.exposition import Page
from kubedyno.cluster.apiserver.health import build_of
from kubedyno.cluster.registry.featuregates import ACTING, GATES, gates_on, stage_of
from kubedyno.cluster.settings import ClusterSettings

# Pauses that quantiles are made of: the newest.
_PAUSES = 512
_QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
_UPPER = re.compile("[A-Z]")
_BUILD = (
    "[BETA] A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree state, build date, "
    "Go version, and compiler from which Kubernetes was built, and platform on which it is running."
)
_COMPATIBILITY = (
    "[ALPHA] Provides the compatibility version info of the component. The component label is the name of the component, "
    "usually kube, but is relevant for aggregated-apiservers."
)
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
    page.add(
        "process_cpu_seconds_total",
        "counter",
        "Total user and system CPU time spent in seconds. Of this component alone.",
        {},
        cpu_s,
    )
    page.add(
        "process_start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds.", {}, started_s
    )
    page.add(
        "process_resident_memory_bytes", "gauge", f"Resident memory size in bytes {_SHARED}.", {}, resident_bytes()
    )
    shared(page, pauses)


def shared(page: Page, pauses: Pauses | None) -> None:
    """Add what all components have together, but for their memory: files, threads, heap, pauses."""
    resident = resident_bytes()
    page.add("process_virtual_memory_bytes", "gauge", f"Virtual memory size in bytes {_SHARED}.", {}, virtual_bytes())
    page.add("process_open_fds", "gauge", f"Number of open file descriptors {_SHARED}.", {}, open_files())
    page.add("process_max_fds", "gauge", "Maximum number of open file descriptors.", {}, most_files())
    about = "Maximum amount of virtual memory available in bytes."
    page.add("process_virtual_memory_max_bytes", "gauge", about, {}, _limit(resource.RLIMIT_AS))
    page.add("go_goroutines", "gauge", f"Threads {_SHARED}; there are no goroutines.", {}, threading.active_count())
    page.add("go_threads", "gauge", f"Number of OS threads {_SHARED}.", {}, threading.active_count())
    page.add(
        "go_info",
        "gauge",
        "Information about the Go environment. Here Python's version.",
        {"version": f"python{sys.version.split()[0]}"},
        1,
    )
    for name in ("go_memstats_heap_alloc_bytes", "go_memstats_heap_inuse_bytes", "go_memstats_alloc_bytes"):
        page.add(name, "gauge", f"Resident memory {_SHARED}; Python does not tell its heap apart.", {}, resident)
    if pauses is not None:
        name = "go_gc_duration_seconds"
        lines = page.family(name, "summary", f"Pauses of the garbage collector {_SHARED}.")
        for quantile, seconds in pauses.quantiles():
            lines.append(f'{name}{{quantile="{quantile:g}"}} {seconds!r}\n')
        lines.append(f"{name}_sum {pauses.seconds!r}\n{name}_count {pauses.count}\n")


def version(page: Page, settings: ClusterSettings) -> None:
    """Add the version, as /version has it."""
    build = build_of(settings)
    names = (
        "buildDate",
        "compiler",
        "gitCommit",
        "gitTreeState",
        "gitVersion",
        "goVersion",
        "major",
        "minor",
        "platform",
    )
    labels = {_UPPER.sub(r"_\g<0>", name).lower(): build[name] for name in names}
    page.add("kubernetes_build_info", "gauge", _BUILD, labels, 1)
    emulated, oldest = (f"{build[f'{of}Major']}.{build[f'{of}Minor']}" for of in ("emulation", "minCompatibility"))
    labels = {
        "binary": settings.git_version.removeprefix("v"), "component": "kube", "emulation": emulated, "min_compat": oldest,
    }  # fmt: skip
    page.add("version_info", "gauge", _COMPATIBILITY, labels, 1)


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
        page.add(
            "kubernetes_feature_enabled",
            "gauge",
            "[BETA] This metric records the data about the stage and enablement of a k8s feature.",
            labels,
            value,
        )


def process_cpu_s() -> float:
    """Return the CPU time of the whole process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def open_files() -> int:
    """Return how many files are open; 0 where /proc does not say."""
    directory = Path("/proc/self/fd")
    return sum(1 for _ in directory.iterdir()) if directory.is_dir() else 0


def most_files() -> int:
    """Return how many files may be open."""
    return _limit(resource.RLIMIT_NOFILE)


def _limit(what: int) -> int:
    """Return a limit of the process; 2^64-1 where there is none, as Go's client has it."""
    soft = resource.getrlimit(what)[0]
    return soft if soft != resource.RLIM_INFINITY else 2**64 - 1


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
