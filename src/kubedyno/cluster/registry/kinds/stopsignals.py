"""Stop signals of containers: which there are on which operating system."""

import signal as numbers

from kubedyno.kube.status import Cause, forbidden_field, not_supported

_LINUX = tuple(
    sorted(
        {
            *(f"SIG{name}" for name in (
                "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE",
                "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU",
                "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
            )),
            *(f"SIGRTMIN+{number}" for number in range(1, 16)),
            *(f"SIGRTMAX-{number}" for number in range(1, 15)),
        }
    )
)  # fmt: skip
_WINDOWS = ("SIGKILL", "SIGTERM")
# What ends no process that does not say so itself (signal(7)).
_SURVIVED = frozenset(f"SIG{name}" for name in ("CHLD", "CLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "WINCH"))
_ALIASES = {"SIGCLD": "SIGCHLD", "SIGIO": "SIGPOLL", "SIGIOT": "SIGABRT"}
_STKFLT = 16


def stop_signal_causes(signal: str, path: str, system: str) -> list[Cause]:
    """Return what is wrong with a stop signal.

    Args:
        signal: E.g. "SIGUSR1".
        path: Of the field.
        system: spec.os.name, "" when the pod does not say.
    """
    if not system:
        return [forbidden_field(path, "may not be set for containers with empty `spec.os.name`")]
    known = _WINDOWS if system == "windows" else _LINUX
    return [] if signal in known else [not_supported(path, signal, known)]


def is_survived(signal: str) -> bool:
    """Say whether a process that does nothing about a signal goes on after it."""
    return signal in _SURVIVED


def number_of(signal: str) -> int:
    """Return a signal's number on Linux, e.g. 10 for "SIGUSR1", 36 for "SIGRTMIN+2"."""
    for base, sign in (("SIGRTMIN", 1), ("SIGRTMAX", -1)):
        if signal.startswith(base):
            offset = signal[len(base) + 1 :]
            return int(getattr(numbers, base)) + sign * int(offset or "0")
    if signal == "SIGSTKFLT":
        return _STKFLT
    return int(getattr(numbers, _ALIASES.get(signal, signal)))
