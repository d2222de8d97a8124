"""The controller manager: makes all controllers, in the order in which they must learn of things, and starts them."""

from kubedyno.cluster.controllers.autoscalermetrics import Uses
from kubedyno.cluster.controllers.autoscalers import Autoscalers
from kubedyno.cluster.controllers.certificates import CertificateRequests
from kubedyno.cluster.controllers.cronjobs import CronJobs
from kubedyno.cluster.controllers.daemonsets import DaemonSets
from kubedyno.cluster.controllers.deployments import Deployments
from kubedyno.cluster.controllers.disruptions import Disruptions
from kubedyno.cluster.controllers.endpoints import ApiEndpoints, EndpointsController, SliceMirroring
from kubedyno.cluster.controllers.endpointslices import EndpointSlices
from kubedyno.cluster.controllers.ephemeralvolumes import EphemeralVolumes
from kubedyno.cluster.controllers.feeds import Feeds
from kubedyno.cluster.controllers.garbage import GarbageCollector
from kubedyno.cluster.controllers.jobs import Jobs
from kubedyno.cluster.controllers.loadbalancers import LoadBalancers
from kubedyno.cluster.controllers.namespacedefaults import NamespaceDefaults
from kubedyno.cluster.controllers.namespaces import Namespaces
from kubedyno.cluster.controllers.nodeipam import NodeIpam
from kubedyno.cluster.controllers.nodelifecycle import NodeLifecycle
from kubedyno.cluster.controllers.nodettl import NodeTTL
from kubedyno.cluster.controllers.podgc import PodGarbage
from kubedyno.cluster.controllers.podrows import PodRows
from kubedyno.cluster.controllers.policystatus import PolicyStatus
from kubedyno.cluster.controllers.replicasets import ReplicaSets
from kubedyno.cluster.controllers.replicationcontrollers import ReplicationControllers
from kubedyno.cluster.controllers.resourceclaims import ResourceClaimsController
from kubedyno.cluster.controllers.resourcequotas import ResourceQuotas
from kubedyno.cluster.controllers.roleaggregation import RoleAggregation
from kubedyno.cluster.controllers.servicecidrs import ServiceCIDRs
from kubedyno.cluster.controllers.serviceendpoints import ServiceEndpoints
from kubedyno.cluster.controllers.statefulsets import StatefulSets
from kubedyno.cluster.controllers.tainteviction import TaintEviction
from kubedyno.cluster.controllers.tokensecrets import TokenSecrets
from kubedyno.cluster.controllers.volumebinding import VolumeBinding
from kubedyno.cluster.controllers.volumeprotection import VolumeProtection
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.featuregates import DYNAMIC_RESOURCES, gates_on
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.http.signing import Signer

# How often events that are due are looked for, and how many go in one turn.
_EXPIRY_PERIOD_S = 10.0
_EXPIRY_TURN = 64


class ControllerManager:
    """All controllers of a cluster.

    Args:
        trusted: Where they write.
        pump: Gives turns and time.
        settings: Of the cluster.
        ca_pem: The certificate authority that each namespace's `kube-root-ca.crt` holds.
        ca_key: Its private key, PEM; b"": certificates are not signed.
        uses: What pods use, for autoscalers.

    Raises:
        ValueError: The pod subnet cannot be cut into blocks for nodes.
    """

    def __init__(
        self,
        trusted: Trusted,
        pump: Pump,
        settings: ClusterSettings,
        *,
        ca_pem: bytes,
        ca_key: bytes = b"",
        uses: Uses = lambda _: {},
    ) -> None:
        self._events = trusted.events
        self._pump = pump
        self._expirer = pump.worker("event-expiry", self._expire)
        self._feeds = feeds = Feeds(trusted.store, pump)
        self._defaults = NamespaceDefaults(trusted, pump, feeds, ca_pem=ca_pem)
        if settings.allocate_node_cidrs:
            NodeIpam(trusted, pump, feeds, settings)
        self._lifecycle = NodeLifecycle(trusted, pump, feeds)
        NodeTTL(trusted, pump, feeds)
        PodGarbage(trusted, pump, feeds)
        pods = PodRows(trusted, feeds)
        Deployments(trusted, pump, feeds, settings)
        ReplicaSets(trusted, pump, feeds, pods, settings)
        ReplicationControllers(trusted, pump, feeds, pods, settings)
        DaemonSets(trusted, pump, feeds, pods)
        StatefulSets(trusted, pump, feeds, pods, settings)
        Jobs(trusted, pump, feeds, pods, settings)
        CronJobs(trusted, pump, feeds)
        pods.follow()
        services = ServiceEndpoints(trusted, feeds)
        EndpointSlices(trusted, pump, feeds, services, settings)
        EndpointsController(trusted, pump, feeds, services)
        SliceMirroring(trusted, pump, feeds)
        ApiEndpoints(trusted, pump, feeds)
        Autoscalers(trusted, pump, feeds, settings, uses)
        Disruptions(trusted, pump, feeds)
        TaintEviction(trusted, pump, feeds)
        RoleAggregation(trusted, pump, feeds)
        LoadBalancers(trusted, pump, feeds)
        TokenSecrets(trusted, pump, feeds)
        ServiceCIDRs(trusted, pump, feeds)
        PolicyStatus(trusted, pump, feeds)
        VolumeProtection(trusted, pump, feeds)
        VolumeBinding(trusted, pump, feeds)
        EphemeralVolumes(trusted, pump, feeds)
        if DYNAMIC_RESOURCES in gates_on(settings.minor, settings.feature_gates):
            ResourceClaimsController(trusted, pump, feeds)
        ResourceQuotas(trusted, pump, feeds)
        if ca_key:
            CertificateRequests(trusted, pump, feeds, Signer(ca_pem, ca_key))
        Namespaces(trusted, pump, feeds)
        GarbageCollector(trusted, pump, feeds)

    def start(self) -> None:
        """Begin to act on what is there and on what changes."""
        self._defaults.start()
        self._feeds.start()
        self._lifecycle.start()
        self._pump.call_later(_EXPIRY_PERIOD_S, self._look_for_expired)

    def _look_for_expired(self) -> None:
        self._expirer.wake()
        self._pump.call_later(_EXPIRY_PERIOD_S, self._look_for_expired)

    def _expire(self, limit: int) -> bool:
        return self._events.expire(max(limit, _EXPIRY_TURN))
