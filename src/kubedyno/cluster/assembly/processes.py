"""Whether this machine can run pods as processes, and what has to be there before the event loop: their helper, sockets.

As root, namespaces are made as they are. Without it, this process becomes root of a user namespace of its own, which owns
the network namespace that it moves into and all that it makes from there: everything works but eBPF. The API server's
socket is made before that, so that it still is the machine's; another one is where pods' connections are carried on to.
"""

import os
import socket
from dataclasses import dataclass

from kubedyno.base.errors import KubedynoError
from kubedyno.cluster.assembly.access import HOST
from kubedyno.cluster.processes.link import Helper
from kubedyno.cluster.processes.network import EBPF
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.kernel import netns
from kubedyno.kernel.bpf import BpfError
from kubedyno.kernel.cgroups import Groups
from kubedyno.kernel.hostrouting import Maps
from kubedyno.kernel.netns import Namespace
from kubedyno.kernel.rtnetlink import LOOPBACK_INDEX

NETNS = "netns"


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a cluster begins with.

    Attributes:
        helper: Forks pods that are processes; None: all are modelled.
        sockets: What the API server listens on; () for a port of its own choice.
    """

    helper: Helper | None = None
    sockets: tuple[socket.socket, ...] = ()


def started(settings: ClusterSettings) -> Beginning:
    """Return what a cluster begins with. Before the event loop and any thread only.

    Raises:
        KubedynoError: The machine does not allow it; the line says what is missing.
    """
    if settings.runtime != NETNS:
        return Beginning()
    sockets: tuple[socket.socket, ...] = ()
    try:
        Namespace().close()
    except PermissionError:
        sockets = _become_root(settings)
    except OSError as error:
        raise KubedynoError(f"--runtime netns: no network namespace can be made here ({error.strerror})") from error
    if settings.datapath == EBPF:
        try:
            Maps.made().close()
        except BpfError as error:
            raise KubedynoError(f"--datapath ebpf: no eBPF map can be made here ({error}); take route") from error
    try:
        return Beginning(Helper(Groups.made(os.getpid())), sockets)
    except OSError as error:
        return Beginning(Helper(why_none=error.strerror or str(error)), sockets)


def _become_root(settings: ClusterSettings) -> tuple[socket.socket, ...]:
    """Move into a user and a network namespace; returns sockets of one port, the machine's and the namespace's."""
    if settings.datapath == EBPF:
        raise KubedynoError("--datapath ebpf: needs root, no user namespace may load programs; take route or bridge")
    if any(host_port for node in settings.nodes for host_port, _ in node.port_mappings):
        raise KubedynoError("--runtime netns: extraPortMappings need root; leave them out, or start it with sudo")
    try:
        ours = socket.create_server((HOST, settings.port), backlog=1024)
    except OSError as error:
        raise KubedynoError(
            f"{HOST}:{settings.port}: cannot listen ({error.strerror}); choose another port, or 0 for a free one"
        ) from error
    try:
        netns.become_root_of_own_user_namespace()
        Namespace.current().rtnetlink.set_link(LOOPBACK_INDEX, up=True)
        inner = socket.create_server((HOST, ours.getsockname()[1]))
    except OSError as error:
        ours.close()
        raise KubedynoError(
            f"--runtime netns: needs root, or user namespaces, which are not to be had here ({error.strerror})"
        ) from error
    return ours, inner
