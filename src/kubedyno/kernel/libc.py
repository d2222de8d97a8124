"""The system calls that Python 3.11 has no function for, through the C library already in the process.

In: plain integers and buffers. Out: the call's result, or `OSError` with the kernel's errno.
"""

import ctypes
import os
import platform
import signal

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1
# The number of bpf(2), which the C library does not wrap. Only x86_64 was run; the others are the kernel's tables.
_BPF_NUMBERS = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351, "ppc64le": 361}
BPF_NUMBER = _BPF_NUMBERS.get(platform.machine())

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def unshare(flags: int) -> None:
    """Move the calling thread into new namespaces.

    Raises:
        OSError: EPERM without the right to, ENOSPC past the limit on namespaces, EINVAL for CLONE_NEWUSER in a
            process with threads.
    """
    _checked(_libc.unshare(flags), f"unshare({flags:#x})")


def setns(descriptor: int, flags: int) -> None:
    """Move the calling thread into the namespace behind a descriptor."""
    _checked(_libc.setns(descriptor, flags), "setns")


def bpf(command: int, attributes: "ctypes.Array[ctypes.c_char]") -> int:
    """Make the BPF system call: `attributes` is zero-filled up to its size and may be written to by the kernel.

    Raises:
        OSError: As the kernel says, ENOSYS on an architecture whose call number is not known here.
    """
    if BPF_NUMBER is None:
        raise OSError(38, f"bpf: no system call number known for {platform.machine()}")
    return _checked(_syscall(BPF_NUMBER, command, attributes, ctypes.sizeof(attributes)), "bpf")


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent (thread) ends; kept over exec, not over fork."""
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")
