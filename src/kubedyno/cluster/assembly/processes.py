"""Whether this machine can run pods as processes, and the helper that forks them."""

import os

from kubedyno.base.errors import KubedynoError
from kubedyno.cluster.processes.link import Helper
from kubedyno.cluster.processes.network import EBPF
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.kernel.bpf import BpfError
from kubedyno.kernel.hostrouting import Maps
from kubedyno.kernel.netns import Namespace

NETNS = "netns"


def started(settings: ClusterSettings) -> Helper | None:
    """Return the helper of a cluster whose pods are processes, None for any other. Before the event loop only.

    Raises:
        KubedynoError: The machine does not allow it; the line says what is missing.
    """
    if settings.runtime != NETNS:
        return None
    if os.geteuid() != 0:
        raise KubedynoError("--runtime netns: needs root, for namespaces, devices and mounts; start it with sudo")
    try:
        Namespace().close()
    except OSError as error:
        raise KubedynoError(f"--runtime netns: no network namespace can be made here ({error.strerror})") from error
    if settings.datapath == EBPF:
        try:
            Maps.made().close()
        except BpfError as error:
            raise KubedynoError(f"--datapath ebpf: no eBPF map can be made here ({error}); take route") from error
    return Helper()
