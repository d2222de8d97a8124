"""What is known of a host, and of drivers by name. Standard library only: a probe carries this module into a pod."""

import re
from dataclasses import dataclass

# First kernel with native XDP of each driver, as the kube-proxy-free guide lists them.
XDP_DRIVERS = {
    "ena": (5, 6), "bnxt_en": (4, 11), "thunderx": (4, 12), "dpaa2": (5, 0), "ixgbe": (4, 12), "ixgbevf": (4, 17),
    "i40e": (4, 13), "ice": (5, 5), "mvneta": (5, 5), "mlx4_en": (4, 8), "mlx4_core": (4, 8), "mlx5_core": (4, 9),
    "hv_netvsc": (5, 6), "nfp": (4, 10), "virtio_net": (4, 10), "tun": (4, 14), "bonding": (5, 15), "qede": (4, 10),
    "netsec": (5, 3), "sfc": (5, 5), "cpsw": (5, 3),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Host:
    """What is known of the nodes; None where nobody looked.

    Attributes:
        kernel: Release such as "6.8.0-45-generic".
        drivers: Of the network devices.
        preempt: Preemption model: "none", "voluntary", "full", ….
        governor: CPU frequency governors in use, "" where frequencies cannot be set.
        tuned: Active tuned profile, "" without tuned.
        irqbalance: Whether it runs.
        netkit: Whether the kernel makes such devices.
        fq: Whether the kernel has the qdisc.
        memory_b: Total, bytes.
        cpus: Possible ones.
        jiffies: Whether BPF programs have the helper jiffies64.
        mtus: Device → MTU of physical devices.
    """

    kernel: str | None = None
    drivers: tuple[str, ...] | None = None
    preempt: str | None = None
    governor: str | None = None
    tuned: str | None = None
    irqbalance: bool | None = None
    netkit: bool | None = None
    fq: bool | None = None
    memory_b: int | None = None
    cpus: int | None = None
    jiffies: bool | None = None
    mtus: tuple[tuple[str, int], ...] | None = None

    @property
    def version(self) -> tuple[int, int] | None:
        """Major and minor of the kernel, None when not known."""
        found = re.match(r"(\d+)\.(\d+)", self.kernel or "")
        return (int(found[1]), int(found[2])) if found else None
