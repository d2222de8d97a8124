"""A kubelet's pages of metrics, as the node's proxy path gives them: /metrics, /metrics/resource, /metrics/cadvisor.

Made from the node's pods and the model of their use (`usage`) when somebody asks. Traffic and disks are not modelled:
their counters are there and stay 0.
"""

from collections.abc import Mapping

from kubedyno.cluster.apiserver import processpage
from kubedyno.cluster.apiserver.exposition import Page, escaped
from kubedyno.cluster.apiserver.usage import KUBELET_BYTES, KUBELET_CORES, ContainerUsage, Machine, NodeUsage, PodUsage
from kubedyno.cluster.settings import ClusterSettings

_PAUSE_BYTES = 256 << 10
# The kubelet's period of a quota, and the shares of a whole core and of next to none.
_PERIOD_US = 100_000
_SHARES_A_CORE = 1024
_LEAST_SHARES = 2
_RSS_SHARE = 0.9
_CPU = "Seconds of CPU used."
_MEMORY = "Working set."
_NETWORK = tuple(
    f"container_network_{way}_{what}_total"
    for way in ("receive", "transmit")
    for what in ("bytes", "errors", "packets_dropped", "packets")
)
# What a pod's sandbox runs. Its name is built as Docker's are: by that, dashboards find a pod's traffic.
_SANDBOX_IMAGE = "registry.k8s.io/pause:3.10"
_FS_LIMIT = "container_fs_limit_bytes"
_FS_LIMIT_IS = "Bytes of the file system: the node's, which its containers share."
_DISK = (
    "container_fs_reads_bytes_total", "container_fs_reads_total", "container_fs_writes_bytes_total",
    "container_fs_writes_total",
)  # fmt: skip


def kubelet(node: NodeUsage, settings: ClusterSettings, now_s: float, volumes: Mapping[tuple[str, str], int]) -> Page:
    """Return /metrics.

    Args:
        node: With its pods.
        settings: Version.
        now_s: Epoch seconds.
        volumes: (namespace, claim) → bytes of each file system that pods have mounted and write nothing to.
    """
    page = Page()
    containers = sum(len(pod.containers) for pod in node.pods)
    page.add("kubelet_running_pods", "gauge", "Pods that have a sandbox.", {}, len(node.pods))
    page.add("kubelet_running_containers", "gauge", "Containers by state.", {"container_state": "running"}, containers)
    page.add("kubelet_node_name", "gauge", "The node's name.", {"node": node.name}, 1)
    for (namespace, claim), size in volumes.items():
        of = {"namespace": namespace, "persistentvolumeclaim": claim}
        for name, about, value in (
            ("capacity", "[ALPHA] Capacity in bytes of the volume", size),
            ("available", "[ALPHA] Number of available bytes in the volume", size),
            ("used", "[ALPHA] Number of used bytes in the volume; modelled pods write nothing", 0),
        ):
            page.add(f"kubelet_volume_stats_{name}_bytes", "gauge", about, of, value)
    age_s = max(0.0, now_s - node.started_s)
    page.add("process_cpu_seconds_total", "counter", "CPU of the kubelet; a model.", {}, KUBELET_CORES * age_s)
    page.add("process_resident_memory_bytes", "gauge", "Memory of the kubelet; a model.", {}, KUBELET_BYTES)
    page.add("process_start_time_seconds", "gauge", "Start, epoch seconds.", {}, node.started_s)
    processpage.version(page, settings)
    return page


def resource(node: NodeUsage, now_s: float) -> Page:
    """Return /metrics/resource: what metrics-server reads."""
    page = Page()
    page.add("node_cpu_usage_seconds_total", "counter", _CPU, {}, node.core_seconds)
    page.add("node_memory_working_set_bytes", "gauge", _MEMORY, {}, node.memory_bytes)
    for pod in node.pods:
        of = {"namespace": pod.namespace, "pod": pod.name}
        seconds = memory = 0.0
        for container in pod.containers:
            labels = {"container": container.name, **of}
            used = pod.core_seconds(container, now_s)
            seconds += used
            memory += container.memory_bytes
            page.add("container_cpu_usage_seconds_total", "counter", _CPU, labels, used)
            page.add("container_memory_working_set_bytes", "gauge", _MEMORY, labels, container.memory_bytes)
            page.add("container_start_time_seconds", "gauge", "Start, epoch seconds.", labels, pod.started_s)
        page.add("pod_cpu_usage_seconds_total", "counter", _CPU, of, seconds)
        page.add("pod_memory_working_set_bytes", "gauge", _MEMORY, of, memory)
    page.add("resource_scrape_error", "gauge", "1 when something could not be read.", {}, 0)
    return page


def cadvisor(node: NodeUsage, now_s: float, machine: Machine) -> Page:
    """Return /metrics/cadvisor.

    Args:
        node: With its pods.
        now_s: Epoch seconds.
        machine: The node's.
    """
    page = Page()
    page.add("machine_cpu_cores", "gauge", "Cores.", {}, machine.cpu_milli / 1000)
    page.add("machine_memory_bytes", "gauge", "Memory.", {}, machine.memory_bytes)
    root = _identity("/", "", "", "", "", "")
    _used(page, root, node.core_seconds, node.memory_bytes, machine.image_bytes)
    page.add(_FS_LIMIT, "gauge", _FS_LIMIT_IS, {"device": "/dev/vda1", "id": "/"}, machine.disk_bytes)
    for pod in node.pods:
        _pod(page, pod, now_s, machine.disk_bytes)
    return page


def _pod(page: Page, pod: PodUsage, now_s: float, disk_bytes: int) -> None:
    slice_id = f"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{pod.uid.replace('-', '_')}.slice"
    seconds = 0.0
    memory = _PAUSE_BYTES
    for container in pod.containers:
        used = pod.core_seconds(container, now_s)
        seconds += used
        memory += container.memory_bytes
        identity = _identity(
            f"{slice_id}/cri-containerd-{container.name}.scope",
            container.name, container.image, f"{pod.uid}-{container.name}", pod.namespace, pod.name,
        )  # fmt: skip
        _used(page, identity, used, container.memory_bytes)
        _allowed(page, identity, container)
        page.family(_FS_LIMIT, "gauge", _FS_LIMIT_IS).append(
            f'{_FS_LIMIT}{identity},device="/dev/vda1"}} {disk_bytes}\n'
        )
    whole = _identity(slice_id, "", "", "", pod.namespace, pod.name)
    _used(page, whole, seconds, memory)
    sandbox = f"k8s_POD_{pod.name}_{pod.namespace}_{pod.uid}_0"
    network = (
        f'{{id="{slice_id}",image="{_SANDBOX_IMAGE}",interface="eth0",name="{sandbox}",namespace="{pod.namespace}",'
        f'pod="{pod.name}"}}'
    )
    for name in _NETWORK:
        page.family(name, "counter", "Traffic; not modelled.").append(f"{name}{network} 0\n")


def _allowed(page: Page, identity: str, container: ContainerUsage) -> None:
    """Add what the container's cgroup would hold: a quota with a limit of CPU only, a memory limit of 0 for none."""
    specs = [
        ("cpu_period", _PERIOD_US),
        ("cpu_shares", max(_LEAST_SHARES, int(container.asked_cores * _SHARES_A_CORE))),
        ("memory_limit_bytes", container.most_bytes),
    ]
    if container.most_cores:
        specs.append(("cpu_quota", round(container.most_cores * _PERIOD_US)))
    for name, value in specs:
        family = f"container_spec_{name}"
        page.family(family, "gauge", "Of the container's cgroup.").append(f"{family}{identity}}} {value}\n")


def _identity(id: str, container: str, image: str, name: str, namespace: str, pod: str) -> str:
    return (
        f'{{container="{container}",id="{id}",image="{escaped(image)}",name="{name}",namespace="{namespace}",'
        f'pod="{pod}"'
    )


def _used(page: Page, identity: str, seconds: float, memory: float, disk_bytes: int = 0) -> None:
    page.family("container_cpu_usage_seconds_total", "counter", _CPU).append(
        f'container_cpu_usage_seconds_total{identity},cpu="total"}} {seconds!r}\n'
    )
    for name, share in (
        ("container_memory_working_set_bytes", 1.0),
        ("container_memory_usage_bytes", 1.0),
        ("container_memory_rss", _RSS_SHARE),
        ("container_memory_cache", 1.0 - _RSS_SHARE),
        # Nodes have no swap.
        ("container_memory_swap", 0.0),
    ):
        page.family(name, "gauge", "Memory of the container.").append(f"{name}{identity}}} {int(memory * share)}\n")
    name, about = "container_fs_usage_bytes", "Bytes on disks: images on the node's; containers write nothing."
    page.family(name, "gauge", about).append(f'{name}{identity},device="/dev/vda1"}} {disk_bytes}\n')
    for name in _DISK:
        about = "What is done on disks; not modelled."
        page.family(name, "counter", about).append(f'{name}{identity},device="/dev/vda1"}} 0\n')
