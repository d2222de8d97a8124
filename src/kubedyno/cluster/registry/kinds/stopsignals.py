"""Stop signals of containers: which there are on which operating system."""

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
