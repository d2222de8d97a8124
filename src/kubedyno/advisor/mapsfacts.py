"""What map sizing needs of a cluster: its nodes' memory and CPUs, its services' frontends and backends."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from kubedyno.advisor import maps
from kubedyno.advisor.components import metrics_of
from kubedyno.base.errors import KubedynoError
from kubedyno.client.api import Client
from kubedyno.kube import quantity
from kubedyno.kube.status import StatusError
from kubedyno.promql.errors import ExpositionError

Json = dict[str, Any]
PRESSURE = "cilium_bpf_map_pressure"
# Where the chart lets agents serve metrics (prometheus.port); asked through the API server.
_AGENT_METRICS_PORT = 9962
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
    """Nodes, and what services need; `missing` names what could not be read.

    Attributes:
        ratio: Of `cilium-config`, None without one.
        distributed_lru: The same.
        pressures: Map → the highest pressure of any agent, and that agent's node; empty when none could be asked.
    """

    nodes: tuple[NodeSize, ...]
    demand: maps.Demand | None
    services: int
    missing: tuple[str, ...]
    ratio: float | None = None
    distributed_lru: bool = False
    pressures: tuple[tuple[str, float, str], ...] = ()


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
    config = await _config(client, missing)
    agents = await items("/api/v1/namespaces/kube-system/pods?labelSelector=k8s-app%3Dcilium", "Cilium's agents")
    pages = []
    for agent in agents or ():
        name = agent["metadata"]["name"]
        path = f"/api/v1/namespaces/kube-system/pods/{name}:{_AGENT_METRICS_PORT}/proxy/metrics"
        result = await client.request("GET", path)
        if result.status == 200:
            pages.append((agent["spec"].get("nodeName", name), result.body.decode(errors="replace")))
        else:
            missing.append(f"map pressure: {name}: port {_AGENT_METRICS_PORT} answered {result.status}")
    ratio = config.get("bpf-map-dynamic-size-ratio", "")
    return ClusterSizes(
        tuple(map(_node, nodes or ())),
        needed,
        len(services or ()),
        tuple(missing),
        float(ratio) if _is_number(ratio) else None,
        config.get("bpf-distributed-lru") == "true",
        pressures_of(pages),
    )


async def _config(client: Client, missing: list[str]) -> dict[str, str]:
    try:
        answer = await client.get("/api/v1/namespaces/kube-system/configmaps/cilium-config")
    except StatusError as error:
        if error.code != 404:
            missing.append(f"cilium-config: not read ({error.message})")
        return {}
    return dict(answer.get("data") or {})


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def pressures_of(pages: list[tuple[str, str]]) -> tuple[tuple[str, float, str], ...]:
    """Return map, its highest pressure and where, the fullest first, from agents' metrics.

    Args:
        pages: Node or file, and its page.

    Raises:
        KubedynoError: A page is none.
    """
    highest: dict[str, tuple[float, str]] = {}
    for where, page in pages:
        try:
            samples = metrics_of(page, [PRESSURE]).samples(PRESSURE)
        except ExpositionError as error:
            raise KubedynoError(f"{where}: {error}") from error
        for labels, value in samples:
            # Prometheus' federation adds the node or instance that a page of one agent has not.
            place = labels.get("node") or labels.get("instance") or where
            name = labels.get("map_name", "?")
            highest[name] = max(highest.get(name, (-1.0, "")), (value, place))
    return tuple(
        (name, value, place) for name, (value, place) in sorted(highest.items(), key=lambda entry: -entry[1][0])
    )


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
