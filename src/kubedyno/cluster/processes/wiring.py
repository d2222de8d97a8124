"""What is between real pods: their nodes' networks, and on them services, names, policies and the way to the API server.

In the cluster's Services, EndpointSlices, NetworkPolicies and pods, out rules in the kernel. One timer of the pump brings
them up to date some milliseconds after a change; `runtime` adds the pods' own devices.
"""

from collections.abc import Callable, Collection
from ipaddress import IPv4Network
from typing import Protocol

from kubedyno.base.log import logger
from kubedyno.cluster.processes import policies, services
from kubedyno.cluster.processes.apirelay import ApiRelay
from kubedyno.cluster.processes.directory import Directory
from kubedyno.cluster.processes.names import Resolver
from kubedyno.cluster.processes.network import ROUTE, Network, NodeNetwork
from kubedyno.cluster.processes.policies import FREE, Verdicts, verdicts_of
from kubedyno.cluster.processes.services import HostPort, Node, ServicePort
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.runtime import Place
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.storage.store import Store
from kubedyno.kernel.netns import Namespace
from kubedyno.kernel.rtnetlink import LOOPBACK_INDEX
from kubedyno.kube.resources import NAMESPACES, PODS, SERVICES

_DNS_OFFSET = 10
# Changes of services and pods that come together are one change of rules.
_SETTLE_S = 0.02


class Filtered(Protocol):
    """A pod, as far as policies are about it; `verdicts` is kept here.

    Attributes:
        node: None on the node's own network.
    """

    uid: str
    space: Namespace
    node: NodeNetwork | None
    verdicts: Verdicts

    @property
    def key(self) -> str:
        """Its namespace and name."""
        ...


class Wiring:
    """Nodes' networks and their rules.

    Args:
        store: Services, slices, policies, pods.
        pump: For changes of rules.
        settings: Datapath, addresses.
        pods: Returns those that are there.
    """

    def __init__(
        self, store: Store, pump: Pump, settings: ClusterSettings, pods: Callable[[], Collection[Filtered]]
    ) -> None:
        self._pump = pump
        self._pods = pods
        self.dns_address = str(IPv4Network(settings.service_subnet)[_DNS_OFFSET])
        self._service_subnet = settings.service_subnet
        self.network = Network(settings.datapath)
        self.directory = Directory(store, self.dns_address)
        self._resolvers: list[Resolver] = []
        self._ports: list[ServicePort] = []
        self._host_ports: list[HostPort] = []
        self._relays: list[ApiRelay] = []
        self._server_port = 0
        self._due = False
        for kind in (SERVICES, PODS, NAMESPACES, self.directory.slices, self.directory.policies):
            if kind is not None:
                store.table(kind).subscribe(self._changed)

    def serve_api(self, port: int) -> None:
        """Lead what is for the API server to its port on this machine."""
        self._server_port = port

    def close(self) -> None:
        """Give everything up, once all pods are gone."""
        for resolver in self._resolvers:
            resolver.close()
        for relay in self._relays:
            relay.close()
        self.network.close()

    def node(self, place: Place) -> NodeNetwork:
        """Return a node's network; its first pod makes it.

        Raises:
            OSError: The kernel refuses a part.
        """
        node, fresh = self.network.node(place.node, place.node_address, place.pod_cidr)
        if fresh:
            netlink = node.space.rtnetlink
            netlink.add_address(LOOPBACK_INDEX, f"{self.dns_address}/32")
            assert node.wire is not None
            # Where the node itself looks for a service's address, before the rules send it elsewhere.
            netlink.add_route(self._service_subnet, node.wire.index)
            self._resolvers.append(Resolver(node.space, self.dns_address, self.directory))
            try:
                services.refuse_unserved(node.space, self._service_subnet)
            except OSError as error:
                logger(__name__).error("node %s does not refuse what no service serves: %s", node.name, error)
            self._ports, self._host_ports = self.directory.ports(), self.directory.host_ports()
            self._install(node)
            self._changed()
        return node

    def _relay_api(self) -> None:
        """Let the API server be reached where it is said to be, once that node has its range; makes the node."""
        if self._relays or not self._server_port:
            return
        for address, port in self.directory.api_endpoints():
            place = self.directory.place_of(address)
            if place is None:
                continue
            try:
                self._relays.append(ApiRelay(self.node(place).space, address, port, self._server_port))
            except OSError as error:
                logger(__name__).error("pods do not reach the API server at %s:%d: %s", address, port, error)

    def _changed(self) -> None:
        if not self._due and self.network.nodes:
            self._due = True
            self._pump.call_later(_SETTLE_S, self._update)

    def _update(self) -> None:
        self._due = False
        self._relay_api()
        ports, host_ports = self.directory.ports(), self.directory.host_ports()
        if (ports, host_ports) != (self._ports, self._host_ports):
            self._ports, self._host_ports = ports, host_ports
            for node in self.network.nodes.values():
                self._install(node)
        self.enforce(self._pods())

    def enforce(self, pods: Collection[Filtered]) -> None:
        """Bring pods' filters up to date with the policies."""
        specs = self.directory.policy_specs()
        if not specs and all(pod.verdicts is FREE for pod in pods):
            return
        around = self.directory.surroundings(self._ports)
        for pod in pods:
            obj = self.directory.pod(pod.key)
            # Policies don't apply to pods on the node's network.
            if pod.node is None or obj is None or obj.uid != pod.uid:
                continue
            verdicts = verdicts_of(obj, specs, around) if specs else FREE
            if verdicts != pod.verdicts:
                try:
                    policies.install(pod.space, verdicts, pod.node.address, pod.node.gateway)
                    pod.verdicts = verdicts
                except OSError as error:
                    logger(__name__).error("policies of pod %s are not enforced: %s", pod.key, error)

    def _install(self, node: NodeNetwork) -> None:
        try:
            services.install(
                node.space,
                self._ports,
                self._host_ports,
                Node(node.name, node.address, node.cidr),
                masquerade_all=self.network.datapath != ROUTE,
            )
        except OSError as error:
            logger(__name__).error("services of node %s are not up to date: %s", node.name, error)
