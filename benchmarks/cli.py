"""The command line's start: CPU of `kubedyno --help` and `kubedyno version`, as whole processes."""

import os
import resource
import subprocess
import sys
from pathlib import Path
from statistics import median

_ROOT = Path(__file__).parents[1]


def _cpu_ms(*words: str) -> float:
    """Return user and system time of one command in a process of its own."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(_ROOT / "src")}
    subprocess.run([sys.executable, "-m", "kubedyno", *words], check=True, capture_output=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000


def figures(*, quick: bool) -> dict[str, float]:
    """Return the medians of several runs each."""
    runs = 5 if quick else 15
    return {
        "help_ms": median(_cpu_ms("--help") for _ in range(runs)),
        "version_ms": median(_cpu_ms("version") for _ in range(runs)),
        "bare_python_ms": median(_bare_ms() for _ in range(runs)),
    }


def _bare_ms() -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", ""], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000
