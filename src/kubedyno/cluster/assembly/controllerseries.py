"""What work queues tell, and single controllers beside them: zones of nodes, blocks for pods, slices, autoscalers.

The latter is looked up in the tables when the page is asked for.
"""

from collections import Counter
from collections.abc import Sequence
from ipaddress import ip_network

from kubedyno.cluster.apiserver.exposition import Page
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.storage.store import ObjectRecord, Store
from kubedyno.kube.resources import AUTOSCALERS, ENDPOINTSLICES, NODES
from kubedyno.reconciler.keyed import KeyedReconciler

_ZONE, _REGION = "topology.kubernetes.io/zone", "topology.kubernetes.io/region"
_MANAGED_BY, _CONTROLLER = "endpointslice.kubernetes.io/managed-by", "endpointslice-controller.k8s.io"

_UNFINISHED = (
    "[BETA] How many seconds of work has done that is in progress and hasn't been observed by work_duration. Large values "
    "indicate stuck threads. One can deduce the number of stuck threads by observing the rate at which this increases."
)


def add_controllers(page: Page, store: Store, settings: ClusterSettings) -> None:
    """Add the series to the controller manager's page."""
    nodes = store.list(NODES)
    _zones(page, nodes)
    if settings.allocate_node_cidrs:
        _blocks(page, nodes, settings)
    about = "[ALPHA] Current number of controlled HPA objects."
    name = "horizontal_pod_autoscaler_controller_num_horizontal_pod_autoscalers"
    page.add(name, "gauge", about, {}, store.table(AUTOSCALERS).count)
    slices = sum(record.obj.labels.get(_MANAGED_BY) == _CONTROLLER for record in store.list(ENDPOINTSLICES))
    about = "[BETA] Number of EndpointSlices"
    page.add("endpoint_slice_controller_num_endpoint_slices", "gauge", about, {}, slices)


def _zones(page: Page, nodes: Sequence[ObjectRecord]) -> None:
    sizes: Counter[str] = Counter()
    ready: Counter[str] = Counter()
    for record in nodes:
        zone = _zone_of(record)
        sizes[zone] += 1
        ready[zone] += record.obj.facts.ready
    for zone, size in sizes.items():
        for name, about, value in (
            ("zone_size", "[ALPHA] Gauge measuring number of registered Nodes per zones.", size),
            ("zone_health", "[ALPHA] Gauge measuring percentage of healthy nodes per zone.", 100 * ready[zone] / size),
            (
                "unhealthy_nodes_in_zone",
                "[ALPHA] Gauge measuring number of not Ready Nodes per zones.",
                size - ready[zone],
            ),
        ):
            page.add(f"node_collector_{name}", "gauge", about, {"zone": zone}, value)


def _zone_of(record: ObjectRecord) -> str:
    """Return a node's zone as Kubernetes' controllers name it, "" where none is known."""
    region, zone = (record.obj.labels.get(label, "") for label in (_REGION, _ZONE))
    return f"{region}:\0:{zone}" if region or zone else ""


def _blocks(page: Page, nodes: Sequence[ObjectRecord], settings: ClusterSettings) -> None:
    subnet = ip_network(settings.pod_subnet.split(",")[0])
    most = 2 ** max(0, settings.node_cidr_mask - subnet.prefixlen)
    taken = 0
    for record in nodes:
        given = record.obj.facts.pod_cidr
        if given and (network := ip_network(given, strict=False)).version == subnet.version:
            taken += 2 ** max(0, settings.node_cidr_mask - network.prefixlen) if network.overlaps(subnet) else 0
    labels = {"clusterCIDR": str(subnet)}
    about = "[ALPHA] Maximum number of CIDRs that can be allocated."
    page.add("node_ipam_controller_cirdset_max_cidrs", "gauge", about, labels, most)
    about = "[ALPHA] Gauge measuring percentage of allocated CIDRs."
    page.add("node_ipam_controller_cidrset_usage_cidrs", "gauge", about, labels, taken / most)


def add_queue(page: Page, name: str, queue: KeyedReconciler[object]) -> None:
    """Add a work queue's series."""
    labels, metrics = {"name": name}, queue.metrics
    page.add("workqueue_adds_total", "counter", "[BETA] Total number of adds handled by workqueue", labels, queue.asked)
    page.add("workqueue_depth", "gauge", "[BETA] Current depth of workqueue", labels, queue.pending)
    page.add(
        "workqueue_retries_total",
        "counter",
        "[BETA] Total number of retries handled by workqueue",
        labels,
        metrics.errors,
    )
    # A turn ends before anybody can ask: nothing is ever half done.
    for what, about in (
        ("unfinished_work_seconds", _UNFINISHED),
        (
            "longest_running_processor_seconds",
            "[BETA] How many seconds has the longest running processor for workqueue been running.",
        ),
    ):
        page.add(f"workqueue_{what}", "gauge", about, labels, 0)
    for what, about, spread in (
        ("queue", "[BETA] How long in seconds an item stays in workqueue before being requested.", metrics.waits),
        ("work", "[BETA] How long in seconds processing an item from workqueue takes.", metrics.works),
    ):
        # By keys of one turn, each as their mean.
        page.spread(f"workqueue_{what}_duration_seconds", about, labels, spread)
