"""Anonymous network namespaces: an open descriptor, no name, no mount.

Nothing has to be cleaned up: the kernel drops the namespace with its devices once the last descriptor and process
in it are gone, even after kill -9. setns(2) moves only the calling thread, and a child started meanwhile inherits it.
"""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Self

from kubedyno.kernel import libc
from kubedyno.kernel.nftables import Nftables
from kubedyno.kernel.rtnetlink import Rtnetlink


# /proc/net and /proc/self are the thread-group leader's; only thread-self follows a setns of this thread.
def _open_own() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


class Namespace:
    """A network namespace that lives as long as this object's descriptor (or a process in it).

    Args:
        descriptor: Of an existing one; None makes a new one, with nothing but a `lo` that is down.

    Raises:
        OSError: EPERM without CAP_SYS_ADMIN, ENOSPC past user.max_net_namespaces, EMFILE.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self.descriptor = self._made() if descriptor is None else descriptor
        self._rtnetlink: Rtnetlink | None = None
        self._nftables: Nftables | None = None

    @staticmethod
    def _made() -> int:
        home = _open_own()
        try:
            libc.unshare(libc.CLONE_NEWNET)  # on failure the thread has not moved: nothing to go back from
            try:
                return _open_own()
            finally:
                libc.setns(home, libc.CLONE_NEWNET)
        finally:
            os.close(home)

    @classmethod
    def current(cls) -> Self:
        """Return the calling thread's namespace."""
        return cls(_open_own())

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Run the body with the calling thread in this namespace. 40 µs both ways. Never across an await."""
        home = _open_own()
        try:
            libc.setns(self.descriptor, libc.CLONE_NEWNET)
            try:
                yield
            finally:
                libc.setns(home, libc.CLONE_NEWNET)
        finally:
            os.close(home)

    @property
    def rtnetlink(self) -> Rtnetlink:
        """The namespace's links, addresses, routes and neighbours (one socket, opened on first use)."""
        if self._rtnetlink is None:
            with self.inside():
                self._rtnetlink = Rtnetlink()
        return self._rtnetlink

    @property
    def nftables(self) -> Nftables:
        """The namespace's packet filter (one socket, opened on first use)."""
        if self._nftables is None:
            with self.inside():
                self._nftables = Nftables()
        return self._nftables

    def sysctl(self, name: str) -> str:
        """Return a setting below /proc/sys/net, e.g. "ipv4/ip_forward".

        Raises:
            FileNotFoundError: The kernel has none of that name.
        """
        with self.inside():
            return Path("/proc/sys/net", name).read_text(encoding="ascii").strip()

    def set_sysctl(self, name: str, value: str | int) -> None:
        """Write a setting below /proc/sys/net.

        Raises:
            OSError: EPERM, EINVAL, or ENOENT when the kernel has none of that name.
        """
        with self.inside():
            Path("/proc/sys/net", name).write_text(str(value), encoding="ascii")

    def proc_net(self, name: str) -> str:
        """Return a file of /proc/net as this namespace sees it."""
        with self.inside():
            return Path("/proc/thread-self/net", name).read_text(encoding="ascii")

    def spawn(
        self,
        command: Sequence[str],
        *,
        stdout: int | IO[bytes] | None = None,
        environment: dict[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a process in this namespace; its standard error goes where its output goes.

        Cheaper than nsenter, and than a preexec_fn, which would keep Python from using vfork.
        """
        with self.inside():
            return subprocess.Popen(  # noqa: S603 - the callers' own command lines
                command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.STDOUT, env=environment
            )

    def close(self) -> None:
        """Give the namespace up. Its devices go with it, in the kernel's own time."""
        for socket in (self._rtnetlink, self._nftables):
            if socket is not None:
                socket.close()
        self._rtnetlink = self._nftables = None
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def become_root_of_own_user_namespace() -> None:
    """Move this process into a user namespace of its own as its root, and into a network namespace owned by it.

    What follows may make namespaces, devices, addresses and routes, but no BPF programs. There is no way back.

    Raises:
        OSError: User namespaces are forbidden here (EPERM, ENOSPC), or the process has threads (EINVAL).
    """
    uid, gid = os.getuid(), os.getgid()
    libc.unshare(libc.CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1", encoding="ascii")
    libc.unshare(libc.CLONE_NEWNET)
