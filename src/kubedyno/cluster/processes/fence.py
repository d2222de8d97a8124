"""The fence around a pod: what it sees of the machine, and what it may do.

Runs in a pod's init, after its fork and before anything of the pod's own. The root is a fresh tmpfs; of the machine only
its programs and libraries are bound into it, read-only, with a private /tmp, /run, /var, /root and /home. Of /dev there
are the harmless ones, /proc is the pod's own and read-only, /sys is empty. Capabilities that are not in `KEPT` are out of
reach for good, and no exec gives new ones.
"""

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from kubedyno.kernel import libc

# What containers keep.
KEPT = (libc.CAP_NET_BIND_SERVICE, libc.CAP_NET_RAW)
# What init needs beside: to become a container's user, and to signal it.
_INIT = (*KEPT, libc.CAP_KILL, libc.CAP_SETGID, libc.CAP_SETUID)
# Every system has it, and nothing of it is wanted inside: the new root is built over it, in this mount namespace alone.
_WORKPLACE = "/sys"
_PROGRAMS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt")
# Of /etc: what programs need to be found, to resolve names and to check certificates. No keys, no passwords.
_CONFIGURATION = (
    "alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "protocols", "services", "ssl/certs",
    "ssl/openssl.cnf", "terminfo",
)  # fmt: skip
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_PRIVATE = {
    "tmp": 0o1777,
    "run": 0o755,
    "var/tmp": 0o1777,
    "var/log": 0o755,
    "root": 0o700,
    "home": 0o755,
    "sys": 0o555,
}
_USERS = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
_GROUP = "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"
_NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\nprotocols: files\nservices: files\n"
_ROOT_SIZE = "256m"
_GROUP_READS = 0o440


def enter(plan: dict[str, Any]) -> None:
    """Close the calling process in; it must be single-threaded, and the first of its PID namespace.

    Args:
        plan: "hostname", "programs" (further folders to see, read-only), "files" (path → text, made in the new root),
            "volumes" (name → {path: [text, mode]}), "group" (that may read them, or None), "mounts" (list of
            [volume, path]).

    Raises:
        OSError: The kernel refused a step, which is named.
    """
    libc.unshare(libc.CLONE_NEWNS | libc.CLONE_NEWUTS | libc.CLONE_NEWIPC)
    socket.sethostname(plan["hostname"])
    libc.mount("", "/", flags=libc.MS_REC | libc.MS_PRIVATE)
    root = _WORKPLACE
    libc.mount("tmpfs", root, "tmpfs", libc.MS_NOSUID | libc.MS_NODEV, f"mode=755,size={_ROOT_SIZE}")
    for path in (*_PROGRAMS, *plan["programs"]):
        _show(path, root)
    for name in _CONFIGURATION:
        _show(f"/etc/{name}", root)
    for name, mode in _PRIVATE.items():
        place = Path(root, name)
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(mode)
    _devices(root)
    Path(root, "proc").mkdir()
    safe = libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC
    libc.mount("proc", f"{root}/proc", "proc", safe | libc.MS_RDONLY)
    files = {"/etc/passwd": _USERS, "/etc/group": _GROUP, "/etc/nsswitch.conf": _NSSWITCH, **plan["files"]}
    _write(root, files)
    _volumes(root, plan["volumes"], plan["mounts"], plan["group"])
    old = f"{root}/.old"
    Path(old).mkdir()
    libc.pivot_root(root, old)
    os.chdir("/")
    libc.detach_mount("/.old")
    Path("/.old").rmdir()
    libc.no_new_privileges()
    libc.drop_bounding_capabilities(KEPT)
    libc.set_capabilities(_INIT)


def drop(uid: int, gid: int, groups: list[int]) -> None:
    """Become a container's user, with what containers may do and nothing else; for the child that is to exec."""
    if Path("/proc/self/setgroups").read_text(encoding="ascii").strip() == "allow":
        os.setgroups(groups)
    os.setgid(gid)
    os.setuid(uid)
    if uid == 0:
        libc.set_capabilities(KEPT)


def _show(path: str, root: str) -> None:
    """Bind a file or folder of the machine into the new root, read-only; what isn't there is left out."""
    source, target = Path(path), Path(root + path)
    if source.is_symlink():
        if not target.exists() and not target.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(source.readlink())
        return
    if not source.exists() or target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        target.mkdir()
    else:
        target.touch()
    libc.mount(path, str(target), flags=libc.MS_BIND | libc.MS_REC)
    libc.limit_mounts(str(target), libc.MOUNT_ATTR_RDONLY | libc.MOUNT_ATTR_NOSUID | libc.MOUNT_ATTR_NODEV)


def _devices(root: str) -> None:
    place = f"{root}/dev"
    Path(place).mkdir()
    libc.mount("tmpfs", place, "tmpfs", libc.MS_NOSUID, "mode=755,size=64k")
    for name in _DEVICES:
        if Path("/dev", name).exists():
            Path(place, name).touch()
            libc.mount(f"/dev/{name}", f"{place}/{name}", flags=libc.MS_BIND)
            # A device is written to all the same; its owner and mode are the machine's.
            libc.limit_mounts(f"{place}/{name}", libc.MOUNT_ATTR_RDONLY | libc.MOUNT_ATTR_NOSUID)
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        Path(place, name).symlink_to(target)
    for name, kind, data in (("shm", "tmpfs", "mode=1777,size=64m"), ("pts", "devpts", "newinstance,ptmxmode=0666")):
        Path(place, name).mkdir()
        libc.mount(kind, f"{place}/{name}", kind, libc.MS_NOSUID | libc.MS_NOEXEC, data)
    Path(place, "ptmx").symlink_to("pts/ptmx")


def _write(root: str, files: dict[str, str]) -> None:
    for path, text in files.items():
        place = Path(root + path)
        place.parent.mkdir(parents=True, exist_ok=True)
        # Surrogates stand for bytes that are no text.
        place.write_bytes(text.encode(errors="surrogateescape"))


def _volumes(
    root: str, volumes: dict[str, dict[str, tuple[str, int]]], mounts: list[list[str]], group: int | None
) -> None:
    for name, files in volumes.items():
        place = Path(root, ".volumes", name)
        place.mkdir(parents=True)
        place.chmod(0o777)
        _write(f"{place}/", {path: text for path, (text, _) in files.items()})
        for path, (_, mode) in files.items():
            Path(place, path).chmod(mode if group is None else mode | _GROUP_READS)
            if group is not None:
                # A user namespace has root's group alone.
                with suppress(OSError):
                    os.chown(Path(place, path), -1, group)
    for name, path in mounts:
        target = Path(root + os.path.normpath(path))
        target.mkdir(parents=True, exist_ok=True)
        libc.mount(f"{root}/.volumes/{name}", str(target), flags=libc.MS_BIND)
