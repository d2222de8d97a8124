"""What a server's tables tell: objects, changes, sizes, what Services were given, which APIs are there.

The tables are both what is stored and what is watched: there is no cache beside them that could lag behind.
"""

from collections import Counter
from collections.abc import Callable

from kubedyno.cluster.apiserver.exposition import Page
from kubedyno.cluster.apiserver.resourcemetrics import API_SERVICES
from kubedyno.cluster.registry.registry import Registry
from kubedyno.cluster.storage.store import ObjectTable, Store

# As the real server shows it: more digits would not be exact.
_REVISION_MOD = 10**15


def add_tables(page: Page, store: Store, mean_bytes: Callable[[ObjectTable], float]) -> None:
    """Add what tables hold, and the operations on them, as a real API server counts those on etcd.

    Args:
        page: Gets the series.
        store: The tables.
        mean_bytes: Returns the mean size of a table's objects.
    """
    revision = store.revision % _REVISION_MOD
    for table in store.tables():
        name, _, group = table.name.partition(".")
        count, labels = table.count, {"group": group, "resource": name}
        page.add("apiserver_storage_objects", "gauge", _OLDER, {"resource": table.name}, count)
        page.add("apiserver_resource_objects", "gauge", _OBJECTS, labels, count)
        page.add("etcd_object_counts", "gauge", "Stored objects, by the older name.", {"resource": table.name}, count)
        about = "[ALPHA] Estimated size of stored objects in database. Here by a sample of each table."
        size = round(mean_bytes(table) * count)
        page.add("apiserver_resource_size_estimate_bytes", "gauge", about, labels, size)
        page.add("apiserver_watch_cache_resource_version", "gauge", _VERSION, labels, revision)
    changes: Counter[str] = Counter()
    for (operation, table_name), cell in store.operations.cells.items():
        changes[table_name] += cell.count
        resource, _, group = table_name.partition(".")
        labels = {"group": group, "operation": operation, "resource": resource}
        about = "[ALPHA] Etcd request latency in seconds for each operation and object type."
        page.spread("etcd_request_duration_seconds", about, labels, cell)
        about = "[ALPHA] Etcd request counts for each operation and object type."
        page.add("etcd_requests_total", "counter", about, labels, cell.count)
    for table_name, count in changes.items():
        resource, _, group = table_name.partition(".")
        labels = {"group": group, "resource": resource}
        for name, about in _CHANGES:
            page.add(name, "counter", about, labels, count)


_STORED = "Number of stored objects at the time of last check split by kind. In case of a fetching error, the value will be -1."
_OBJECTS = f"[ALPHA] {_STORED}"
_OLDER = f"[STABLE] (Deprecated since 1.34.0) [DEPRECATED, consider using apiserver_resource_objects instead] {_STORED}"
_VERSION = (
    "[ALPHA] Current resource version of watch cache broken by resource type. This is truncated to the 15 least significant "
    "digits."
)
_CHANGES = (
    ("apiserver_storage_events_received_total", "[BETA] Number of etcd events received split by kind."),
    (
        "apiserver_watch_cache_events_received_total",
        "[ALPHA] Counter of events received in watch cache broken by resource type.",
    ),
    (
        "apiserver_watch_cache_events_dispatched_total",
        "[ALPHA] Counter of events dispatched in watch cache broken by resource type.",
    ),
)


def add_allocations(page: Page, registry: Registry) -> None:
    """Add what Services have of addresses and node ports."""
    allocator, prefix = registry.allocator, "kube_apiserver_clusterip_allocator_"
    first: dict[str, str] = {}
    for cidr, family, taken, usable in allocator.usage():
        first.setdefault(family, cidr)
        about = "[ALPHA] Gauge measuring the number of allocated IPs for Services"
        page.add(f"{prefix}allocated_ips", "gauge", about, {"cidr": cidr}, taken)
        about = "[ALPHA] Gauge measuring the number of available IPs for Services"
        page.add(f"{prefix}available_ips", "gauge", about, {"cidr": cidr}, usable - taken)
    for (family, scope), count in allocator.allocations.items():
        about = "[ALPHA] Number of Cluster IPs allocations"
        page.add(f"{prefix}allocation_total", "counter", about, {"cidr": first[family], "scope": scope}, count)
    taken, ports = allocator.node_ports
    prefix = "kube_apiserver_nodeport_allocator_"
    about = "[ALPHA] Gauge measuring the number of allocated NodePorts for Services"
    page.add(f"{prefix}allocated_ports", "gauge", about, {}, taken)
    about = "[ALPHA] Gauge measuring the number of available NodePorts for Services"
    page.add(f"{prefix}available_ports", "gauge", about, {}, ports - taken)


def add_services(page: Page, store: Store) -> None:
    """Add which APIs are not available."""
    about = "[ALPHA] Gauge of APIServices which are marked as unavailable broken down by APIService name."
    for record in store.list(API_SERVICES):
        status = store.encode_dict(API_SERVICES, record).get("status") or {}
        available = any(
            condition.get("type") == "Available" and condition.get("status") == "True"
            for condition in status.get("conditions") or ()
        )
        page.add("aggregator_unavailable_apiservice", "gauge", about, {"name": record.obj.name}, not available)
