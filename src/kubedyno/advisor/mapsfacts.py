"""What map sizing needs of a cluster: its nodes' memory and CPUs, its services' frontends and backends."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from kubedyno.advisor import maps
from kubedyno.client.api import Client
from kubedyno.kube import quantity
from kubedyno.kube.status import StatusError

Json = dict[str, Any]
# How the agent writes a node port's frontend; nothing is bound to it here.
_WILDCARD = "0.0.0.0"  # noqa: S104


@dataclass(frozen=True, slots=True)
class NodeSize:
    """A node's capacity."""

    name: str
    memory_b: int
    cpus: int


@dataclass(frozen=True, slots=True)
class ClusterSizes:
    """Nodes, and what services need; `missing` names what could not be read."""

    nodes: tuple[NodeSize, ...]
    demand: maps.Demand | None
    services: int
    missing: tuple[str, ...]


async def read(client: Client) -> ClusterSizes:
    """Read nodes, services and endpoint slices; what is forbidden is named in `missing`."""
    missing: list[str] = []

    async def items(path: str, what: str) -> list[Json] | None:
        try:
            return list(await client.list_all(path))
        except StatusError as error:
            if error.code not in {401, 403, 404}:
                raise
            missing.append(f"{what}: not read ({error.message})")
            return None

    nodes = await items("/api/v1/nodes", "nodes")
    services = await items("/api/v1/services", "services")
    slices = await items("/apis/discovery.k8s.io/v1/endpointslices", "endpoint slices")
    needed = demand_of(services, slices) if services is not None and slices is not None else None
    return ClusterSizes(tuple(map(_node, nodes or ())), needed, len(services or ()), tuple(missing))


def _node(node: Json) -> NodeSize:
    capacity = node.get("status", {}).get("capacity", {})
    return NodeSize(
        node["metadata"]["name"],
        quantity.value_of(str(capacity.get("memory", "0"))),
        quantity.value_of(str(capacity.get("cpu", "0"))),
    )


def demand_of(services: list[Json], slices: list[Json]) -> maps.Demand:
    """Return what services need of the load-balancing maps.

    A frontend is an address with a port: each cluster, load balancer and external IP, and for a node port the wildcard
    address and (one more) the node's own. Backends of a frontend are the ready addresses of the slices' port of that
    name. Headless services have no frontend.
    """
    ready: dict[tuple[str, str, str, str], set[tuple[str, int]]] = defaultdict(set)
    distinct: set[tuple[str, int, str]] = set()
    for entry in slices:
        metadata = entry["metadata"]
        name = (metadata.get("labels") or {}).get("kubernetes.io/service-name", "")
        for port in entry.get("ports") or ():
            protocol = port.get("protocol", "TCP")
            key = (metadata.get("namespace", ""), name, port.get("name") or "", entry["addressType"])
            for endpoint in entry.get("endpoints") or ():
                # No condition means ready.
                if (endpoint.get("conditions") or {}).get("ready") is False or "port" not in port:
                    continue
                for address in endpoint["addresses"]:
                    ready[key].add((address, port["port"]))
                    distinct.add((address, port["port"], protocol))
    frontends: dict[str, int] = {}
    for service in services:
        metadata, spec = service["metadata"], service.get("spec") or {}
        addresses = [ip for ip in spec.get("clusterIPs") or [spec.get("clusterIP")] if ip and ip != "None"]
        addresses += spec.get("externalIPs") or []
        balancer = (service.get("status") or {}).get("loadBalancer") or {}
        addresses += [entry["ip"] for entry in balancer.get("ingress") or () if entry.get("ip")]
        for port in spec.get("ports") or ():
            protocol = port.get("protocol", "TCP")
            node = [_WILDCARD, "node"] if port.get("nodePort") else []
            for address in addresses:
                family = "IPv6" if ":" in address else "IPv4"
                key = (metadata.get("namespace", ""), metadata["name"], port.get("name") or "", family)
                frontends[f"{address}:{port['port']}/{protocol}"] = len(ready[key])
            for address in node:
                key = (metadata.get("namespace", ""), metadata["name"], port.get("name") or "", "IPv4")
                frontends[f"{address}:{port['nodePort']}/{protocol}"] = len(ready[key])
    return maps.demand(frontends, len(distinct))
