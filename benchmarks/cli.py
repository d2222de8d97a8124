"""The command line's start: CPU of `kubedyno --help`, the median of several."""

import os
import resource
import subprocess
import sys

from benchmarks.measure import median


def figures(*, quick: bool) -> dict[str, float]:
    """Return help_ms."""
    samples = []
    for _ in range(5 if quick else 15):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "kubedyno", "--help"], check=True, stdout=subprocess.DEVNULL, env=dict(os.environ)
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        samples.append(used * 1000)
    return {"help_ms": median(samples)}
