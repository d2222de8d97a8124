"""The system calls that Python 3.11 has no function for, through the C library already in the process.

In: plain integers and buffers. Out: the call's result, or `OSError` with the kernel's errno.
"""

import ctypes
import os
import platform
import signal
import struct
from collections.abc import Iterable

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 1 << 12, 1 << 14, 1 << 18
_MNT_DETACH = 2
# Of mount_setattr(2); its number is the same on every architecture.
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE = 442, -100, 0x8000
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV = 1, 2, 4
_PIVOT_ROOT_NUMBERS = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "s390x": 217, "ppc64le": 203}
_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 24, 38, 47, 4
_CAPABILITY_VERSION_3 = 0x20080522
_MAX_CAPABILITY = 63
CAP_KILL, CAP_SETGID, CAP_SETUID, CAP_NET_BIND_SERVICE, CAP_NET_RAW = 5, 6, 7, 10, 13
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


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Mount, bind, or change a mount's propagation, in the calling thread's mount namespace.

    Raises:
        OSError: As the kernel says; the target is named.
    """
    words = [word.encode() or None for word in (source, target, kind, data)]
    _checked(_libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]), f"mount on {target}")


def detach_mount(target: str) -> None:
    """Take a mount and all below it out of the tree; it goes when nobody uses it any more."""
    _checked(_libc.umount2(target.encode(), _MNT_DETACH), f"umount {target}")


def limit_mounts(target: str, attributes: int) -> None:
    """Set attributes (MOUNT_ATTR_*) on a mount and on all mounts below it.

    Raises:
        OSError: ENOSYS before Linux 5.12.
    """
    block = ctypes.create_string_buffer(struct.pack("=4Q", attributes, 0, 0, 0))
    result = _syscall(
        _MOUNT_SETATTR, _AT_FDCWD, target.encode(), _AT_RECURSIVE, block, ctypes.c_size_t(32)
    )  # fmt: skip
    _checked(result, f"mount_setattr on {target}")


def pivot_root(new: str, old: str) -> None:
    """Make the mount at `new` the root; the old root is then at `old`, a folder below it.

    Raises:
        OSError: ENOSYS where the call's number is not known here, EINVAL where the root is an initial ramdisk.
    """
    number = _PIVOT_ROOT_NUMBERS.get(platform.machine())
    if number is None:
        raise OSError(38, f"pivot_root: no system call number known for {platform.machine()}")
    _checked(_syscall(number, new.encode(), old.encode()), "pivot_root")


def no_new_privileges() -> None:
    """Let no exec of this process or its children give it more than it has."""
    _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")


def drop_bounding_capabilities(kept: Iterable[int]) -> None:
    """Take all capabilities but these out of what any exec from here on may give."""
    keep = frozenset(kept)
    for number in range(_MAX_CAPABILITY + 1):
        if number not in keep and _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) < 0:
            if ctypes.get_errno() == 22:  # past the kernel's last one
                break
            _checked(-1, f"prctl(PR_CAPBSET_DROP, {number})")


def set_capabilities(kept: Iterable[int]) -> None:
    """Have exactly these capabilities, effective and permitted; none is inheritable or ambient.

    Raises:
        OSError: EPERM for one that the process does not have.
    """
    _checked(_libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "prctl(PR_CAP_AMBIENT)")
    bits = sum(1 << number for number in frozenset(kept))
    low, high = bits & 0xFFFFFFFF, bits >> 32
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0))
    data = ctypes.create_string_buffer(struct.pack("=6I", low, low, 0, high, high, 0))
    _checked(_libc.capset(header, data), "capset")
