"""The kinds that are served: the versions that a real 1.36 serves unless told otherwise. A new one is a line here.

Alpha and beta versions are off by default there, and here (`runtimeconfig`). Custom resources, reviews and bindings are the API server's.
"""

from collections.abc import Sequence

from kubedyno.cluster.registry.customresourcedefinitions import CUSTOMRESOURCEDEFINITIONS, CustomResourceDefinitions
from kubedyno.cluster.registry.kind import Kind
from kubedyno.cluster.registry.kinds.admissionregistration import (
    AdmissionPolicies,
    AdmissionPolicyBindings,
    ValidatingAdmissionPolicies,
    WebhookConfigurations,
)
from kubedyno.cluster.registry.kinds.apiregistration import APIServices
from kubedyno.cluster.registry.kinds.autoscaling import HorizontalPodAutoscalers, HorizontalPodAutoscalersV1
from kubedyno.cluster.registry.kinds.batch import CronJobs, Jobs
from kubedyno.cluster.registry.kinds.certificates import CertificateSigningRequests
from kubedyno.cluster.registry.kinds.dynamicresources import (
    DeviceClasses,
    ResourceClaims,
    ResourceClaimTemplates,
    ResourceSlices,
)
from kubedyno.cluster.registry.kinds.endpoints import Endpoints, EndpointSlices
from kubedyno.cluster.registry.kinds.events import Events, EventsV1
from kubedyno.cluster.registry.kinds.flowcontrol import FlowSchemas, PriorityLevelConfigurations
from kubedyno.cluster.registry.kinds.limits import LimitRanges, ResourceQuotas
from kubedyno.cluster.registry.kinds.namespaces import Namespaces
from kubedyno.cluster.registry.kinds.networking import (
    IngressClasses,
    Ingresses,
    IPAddresses,
    NetworkPolicies,
    ServiceCIDRs,
)
from kubedyno.cluster.registry.kinds.nodes import Nodes
from kubedyno.cluster.registry.kinds.passive import ConfigMaps, ControllerRevisions, Leases, Secrets, ServiceAccounts
from kubedyno.cluster.registry.kinds.pods import Pods
from kubedyno.cluster.registry.kinds.policy import PodDisruptionBudgets, PriorityClasses, RuntimeClasses
from kubedyno.cluster.registry.kinds.rbac import RoleBindings, Roles
from kubedyno.cluster.registry.kinds.replication import PodTemplates, ReplicationControllers
from kubedyno.cluster.registry.kinds.services import Services
from kubedyno.cluster.registry.kinds.storageclasses import (
    CSIDrivers,
    CSINodes,
    CSIStorageCapacities,
    StorageClasses,
    VolumeAttachments,
    VolumeAttributesClasses,
)
from kubedyno.cluster.registry.kinds.volumes import PersistentVolumeClaims, PersistentVolumes
from kubedyno.cluster.registry.kinds.workloads import DaemonSets, Deployments, ReplicaSets, StatefulSets
from kubedyno.cluster.registry.runtimeconfig import deprecation_of
from kubedyno.kube.resources import AUTOSCALERS, EVENTS, Resource, built_in

_KINDS: dict[str, dict[str, type[Kind]]] = {
    "v1": {
        "configmaps": ConfigMaps,
        "endpoints": Endpoints,
        "events": Events,
        "limitranges": LimitRanges,
        "namespaces": Namespaces,
        "nodes": Nodes,
        "persistentvolumeclaims": PersistentVolumeClaims,
        "persistentvolumes": PersistentVolumes,
        "pods": Pods,
        "podtemplates": PodTemplates,
        "replicationcontrollers": ReplicationControllers,
        "resourcequotas": ResourceQuotas,
        "secrets": Secrets,
        "serviceaccounts": ServiceAccounts,
        "services": Services,
    },
    "admissionregistration.k8s.io/v1": {
        "mutatingadmissionpolicies": AdmissionPolicies,
        "mutatingadmissionpolicybindings": AdmissionPolicyBindings,
        "mutatingwebhookconfigurations": WebhookConfigurations,
        "validatingadmissionpolicies": ValidatingAdmissionPolicies,
        "validatingadmissionpolicybindings": AdmissionPolicyBindings,
        "validatingwebhookconfigurations": WebhookConfigurations,
    },
    "apiregistration.k8s.io/v1": {"apiservices": APIServices},
    "apps/v1": {
        "controllerrevisions": ControllerRevisions,
        "daemonsets": DaemonSets,
        "deployments": Deployments,
        "replicasets": ReplicaSets,
        "statefulsets": StatefulSets,
    },
    "autoscaling/v2": {"horizontalpodautoscalers": HorizontalPodAutoscalers},
    "batch/v1": {"cronjobs": CronJobs, "jobs": Jobs},
    "certificates.k8s.io/v1": {"certificatesigningrequests": CertificateSigningRequests},
    "coordination.k8s.io/v1": {"leases": Leases},
    "discovery.k8s.io/v1": {"endpointslices": EndpointSlices},
    "flowcontrol.apiserver.k8s.io/v1": {
        "flowschemas": FlowSchemas,
        "prioritylevelconfigurations": PriorityLevelConfigurations,
    },
    "networking.k8s.io/v1": {
        "ingressclasses": IngressClasses,
        "ingresses": Ingresses,
        "ipaddresses": IPAddresses,
        "networkpolicies": NetworkPolicies,
        "servicecidrs": ServiceCIDRs,
    },
    "node.k8s.io/v1": {"runtimeclasses": RuntimeClasses},
    "policy/v1": {"poddisruptionbudgets": PodDisruptionBudgets},
    "rbac.authorization.k8s.io/v1": {
        "clusterrolebindings": RoleBindings,
        "clusterroles": Roles,
        "rolebindings": RoleBindings,
        "roles": Roles,
    },
    "resource.k8s.io/v1": {
        "deviceclasses": DeviceClasses,
        "resourceclaims": ResourceClaims,
        "resourceclaimtemplates": ResourceClaimTemplates,
        "resourceslices": ResourceSlices,
    },
    "scheduling.k8s.io/v1": {"priorityclasses": PriorityClasses},
    "storage.k8s.io/v1": {
        "csidrivers": CSIDrivers,
        "csinodes": CSINodes,
        "csistoragecapacities": CSIStorageCapacities,
        "storageclasses": StorageClasses,
        "volumeattachments": VolumeAttachments,
        "volumeattributesclasses": VolumeAttributesClasses,
    },
}


def _resource(api_version: str, plural: str) -> Resource:
    group, _, version = api_version.rpartition("/")
    return built_in(group, plural, version)


EVENTS_V1 = _resource("events.k8s.io/v1", "events")
AUTOSCALERS_V1 = _resource("autoscaling/v1", "horizontalpodautoscalers")


# Since when a resize may lower memory limits without a restart.
_MEMORY_SHRINKS_MINOR = 34


def kinds(more: Sequence[tuple[Resource, Resource]] = (), minor: int = 0) -> list[Kind]:
    """Return one strategy a served resource; those that are other versions of one come after it.

    Args:
        more: Other versions with the fields of v1, each with the resource of v1 whose objects it shows.
        minor: Kubernetes' minor version, by which these are deprecated, and some rules are others; 0: the newest.
    """
    own = [make(_resource(version, plural)) for version, of in _KINDS.items() for plural, make in of.items()]
    for kind in own:
        if isinstance(kind, Pods):
            kind.memory_shrinks = not minor or minor >= _MEMORY_SHRINKS_MINOR
    others = []
    for resource, of in more:
        other = _KINDS[of.api_version][of.plural](resource, stored_as=of)
        other.deprecation = deprecation_of(resource, minor)
        others.append(other)
    return [
        *own,
        EventsV1(EVENTS_V1, stored_as=EVENTS),
        HorizontalPodAutoscalersV1(AUTOSCALERS_V1, stored_as=AUTOSCALERS),
        CustomResourceDefinitions(CUSTOMRESOURCEDEFINITIONS),
        *others,
    ]
