"""Profiles of both nodes' kernels while two pods talk: `perf` in privileged pods, by the commands of the original. Pure.

A profile leaves out the first and the last tenth of a run, so that it holds only what is under load. It is in the form of
`perf script`, which flame graphs are drawn from.
"""

from kubedyno.netperf.plan import Action

_NODE = ["nsenter", "--target=1", "--mount", "--"]
_DATA = "/tmp/perf.data"  # noqa: S108 - on the node, as the original's
_FREQUENCY_HZ = "99"


def record_command(duration_s: float) -> list[str]:
    """Return what records a node's profile during a run of `duration_s`."""
    delay_ms, seconds = str(int(duration_s * 1000) // 10), f"{duration_s * 0.8:.1f}"
    return [
        *_NODE, "perf", "record", "--freq", _FREQUENCY_HZ, "--all-cpus", "-g", "--delay", delay_ms, "-o", _DATA,
        "--", "sleep", seconds,
    ]  # fmt: skip


def script_command() -> list[str]:
    """Return what prints the recorded profile."""
    return [*_NODE, "perf", "script", "-i", _DATA]


def file_name(action: Action, end: str) -> str:
    """Return the name of the file of a run's profile; `end` is "client" or "server"."""
    return f"{action.name}_{action.sample}_{end}.perf"
