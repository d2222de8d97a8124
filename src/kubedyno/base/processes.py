"""Processes by what tells them from later ones with their number: who runs, and whether they still do."""

import os
import socket
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
# Of /proc/PID/stat after the name: its state, and the clock tick at which it began.
_STATE, _BEGAN = 0, 19


def identity() -> str:
    """Return what names this process for good: machine, its boot, number and start; "" where the kernel does not say."""
    try:
        return f"{socket.gethostname()} {_boot()} {os.getpid()} {_stat(os.getpid())[_BEGAN]}"
    except (OSError, IndexError):
        return ""


def has_ended(process: str) -> bool:
    """Say whether the process of an `identity` is known to have ended; one of another machine is not known of."""
    parts = process.split()
    try:
        host, boot, number, began = parts
        if host != socket.gethostname():
            return False
        if boot != _boot():
            return True
        stat = _stat(int(number))
        return stat[_BEGAN] != began or stat[_STATE] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True
    except (OSError, ValueError, IndexError):
        return False


def _boot() -> str:
    return _BOOT.read_text().strip()


def _stat(number: int) -> list[str]:
    return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
