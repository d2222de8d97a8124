"""The kinds that are served. A kind is listed when it acts; a new one is a line here."""

from kubedyno.cluster.registry.kind import Kind
from kubedyno.cluster.registry.kinds.events import Events, EventsV1
from kubedyno.cluster.registry.kinds.namespaces import Namespaces
from kubedyno.cluster.registry.kinds.nodes import Nodes
from kubedyno.cluster.registry.kinds.passive import ConfigMaps, ControllerRevisions, Leases, Secrets, ServiceAccounts
from kubedyno.cluster.registry.kinds.pods import Pods
from kubedyno.cluster.registry.kinds.services import Services
from kubedyno.cluster.registry.kinds.workloads import DaemonSets, Deployments, ReplicaSets, StatefulSets
from kubedyno.kube import resources
from kubedyno.kube.resources import Resource, by_plural


def _resource(group: str, version: str, plural: str) -> Resource:
    resource = by_plural(group, version, plural)
    assert resource is not None
    return resource


EVENTS_V1 = _resource("events.k8s.io", "v1", "events")


def kinds() -> list[Kind]:
    """Return one strategy a served resource, in the order of discovery."""
    return [
        ConfigMaps(resources.CONFIGMAPS),
        Events(resources.EVENTS),
        Namespaces(resources.NAMESPACES),
        Nodes(resources.NODES),
        Pods(resources.PODS),
        Secrets(resources.SECRETS),
        ServiceAccounts(resources.SERVICEACCOUNTS),
        Services(resources.SERVICES),
        ControllerRevisions(resources.CONTROLLERREVISIONS),
        DaemonSets(resources.DAEMONSETS),
        Deployments(resources.DEPLOYMENTS),
        ReplicaSets(resources.REPLICASETS),
        StatefulSets(resources.STATEFULSETS),
        Leases(resources.LEASES),
        EventsV1(EVENTS_V1),
    ]
