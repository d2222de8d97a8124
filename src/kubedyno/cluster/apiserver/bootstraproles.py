"""The roles and bindings that every cluster has, for people, kubelets and the control plane's own users.

Names and rules are Kubernetes' defaults (its documentation: "Using RBAC Authorization", default roles). The roles of
single controllers are left out: the controllers here are part of the process, and no one else acts as they.
"""

from typing import Any

from kubedyno.cluster.apiserver.authorization import (
    CLUSTERROLEBINDINGS,
    CLUSTERROLES,
    GROUP,
)
from kubedyno.cluster.registry.registry import Registry

Object = dict[str, Any]
Rules = tuple[tuple[str, str, str], ...]

_AGGREGATE = "rbac.authorization.k8s.io/aggregate-to-"
_METADATA: Object = {
    "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
    "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
}
_READ = "get list watch"
_WRITE = "create delete deletecollection patch update"
_ALL = "create delete deletecollection get list patch update watch"
# The word for the core group, whose name is empty.
_CORE = "core"

_VIEW: Rules = (
    ("core", ("configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers "
     "replicationcontrollers/scale serviceaccounts services services/status"), _READ),
    ("core", ("bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status "
     "resourcequotas resourcequotas/status"), _READ),
    ("core", "namespaces", _READ),
    ("discovery.k8s.io", "endpointslices", _READ),
    ("apps", ("controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status "
     "replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status"), _READ),
    ("autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status", _READ),
    ("batch", "cronjobs cronjobs/status jobs jobs/status", _READ),
    ("extensions", ("daemonsets daemonsets/status deployments deployments/scale deployments/status ingresses "
     "ingresses/status networkpolicies replicasets replicasets/scale replicasets/status "
     "replicationcontrollers/scale"), _READ),
    ("policy", "poddisruptionbudgets poddisruptionbudgets/status", _READ),
    ("networking.k8s.io", "ingresses ingresses/status networkpolicies", _READ),
    ("resource.k8s.io", "resourceclaims resourceclaims/status resourceclaimtemplates", _READ),
)  # fmt: skip
_EDIT: Rules = (
    ("core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy", _READ),
    ("core", "serviceaccounts", "impersonate"),
    ("core", "pods pods/attach pods/exec pods/portforward pods/proxy", _WRITE),
    ("core", "pods/eviction", "create"),
    ("core", ("configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets "
     "serviceaccounts services services/proxy"), _WRITE),
    ("core", "serviceaccounts/token", "create"),
    ("apps", ("daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale "
     "statefulsets statefulsets/scale"), _WRITE),
    ("autoscaling", "horizontalpodautoscalers", _WRITE),
    ("batch", "cronjobs jobs", _WRITE),
    ("extensions", ("daemonsets deployments deployments/rollback deployments/scale ingresses networkpolicies "
     "replicasets replicasets/scale replicationcontrollers/scale"), _WRITE),
    ("policy", "poddisruptionbudgets", _WRITE),
    ("networking.k8s.io", "ingresses networkpolicies", _WRITE),
    ("coordination.k8s.io", "leases", _ALL),
    ("resource.k8s.io", "resourceclaims resourceclaimtemplates", _WRITE),
)  # fmt: skip
_ADMIN: Rules = (
    ("authorization.k8s.io", "localsubjectaccessreviews", "create"),
    (GROUP, "rolebindings roles", _ALL),
)
_EVENTS: Rules = (("core events.k8s.io", "events", "create patch update"),)
_REVIEWS: Rules = (
    ("authentication.k8s.io", "tokenreviews", "create"),
    ("authorization.k8s.io", "subjectaccessreviews", "create"),
)
_NODE: Rules = (
    *_REVIEWS,
    ("authorization.k8s.io", "localsubjectaccessreviews", "create"),
    ("core", "services", _READ),
    ("core", "nodes", "create get list watch"),
    ("core", "nodes/status", "patch update"),
    ("core", "nodes", "patch update"),
    ("core", "events", "create patch update"),
    ("core", "pods", _READ),
    ("core", "pods", "create delete"),
    ("core", "pods/status", "patch update"),
    ("core", "pods/eviction", "create"),
    ("core", "configmaps secrets", _READ),
    ("core", "persistentvolumeclaims persistentvolumes", "get"),
    ("core", "endpoints", "get"),
    ("certificates.k8s.io", "certificatesigningrequests", "create get list watch"),
    ("coordination.k8s.io", "leases", "create delete get patch update"),
    ("storage.k8s.io", "volumeattachments", "get"),
    ("core", "serviceaccounts/token", "create"),
    ("core", "persistentvolumeclaims/status", "get patch update"),
    ("storage.k8s.io", "csidrivers", _READ),
    ("storage.k8s.io", "csinodes", "create delete get patch update"),
    ("node.k8s.io", "runtimeclasses", _READ),
    ("resource.k8s.io", "resourceclaims", "get"),
    ("resource.k8s.io", "resourceslices", "create delete deletecollection get list patch update watch"),
)
_SCHEDULER: Rules = (
    *_EVENTS,
    ("coordination.k8s.io", "leases", "create get list update watch"),
    ("core", "nodes", _READ),
    ("core", "pods", "delete get list watch"),
    ("core", "bindings pods/binding", "create"),
    ("core", "pods/status", "patch update"),
    ("core", "replicationcontrollers services", _READ),
    ("apps extensions", "replicasets", _READ),
    ("apps", "statefulsets", _READ),
    ("policy", "poddisruptionbudgets", _READ),
    ("core", "persistentvolumeclaims persistentvolumes", _READ),
    *_REVIEWS,
    ("storage.k8s.io", "csinodes csidrivers csistoragecapacities volumeattachments", _READ),
    ("core", "namespaces", _READ),
    ("resource.k8s.io", "deviceclasses resourceclaims resourceslices", _READ),
    ("resource.k8s.io", "resourceclaims resourceclaims/status", "patch update"),
)
_MANAGER: Rules = (
    *_EVENTS,
    ("coordination.k8s.io", "leases", "create get list update watch"),
    ("core", "secrets serviceaccounts", "create"),
    ("core", "secrets", "delete"),
    ("core", "configmaps namespaces secrets serviceaccounts", "get"),
    ("core", "secrets serviceaccounts", "update"),
    *_REVIEWS,
    ("*", "*", "list watch"),
    ("core", "serviceaccounts/token", "create"),
)
# Name → rules.
_ROLES: dict[str, Rules] = {
    "cluster-admin": (("*", "*", "*"),),
    "system:auth-delegator": _REVIEWS,
    "system:basic-user": (
        ("authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews", "create"),
        ("authentication.k8s.io", "selfsubjectreviews", "create"),
    ),
    "system:heapster": (("core", "events namespaces nodes pods", _READ), ("extensions", "deployments", _READ)),
    "system:kube-aggregator": (("core", "endpoints services", _READ),),
    "system:kube-controller-manager": _MANAGER,
    "system:kube-dns": (("core", "endpoints services", "list watch"), ("discovery.k8s.io", "endpointslices", _READ)),
    "system:kube-scheduler": _SCHEDULER,
    "system:kubelet-api-admin": (
        ("core", "nodes", "get list watch"),
        ("core", "nodes", "proxy"),
        ("core", "nodes/configz nodes/healthz nodes/log nodes/metrics nodes/pods nodes/proxy nodes/stats", "*"),
    ),
    "system:node": _NODE,
    "system:node-bootstrapper": (("certificates.k8s.io", "certificatesigningrequests", "create get list watch"),),
    "system:node-problem-detector": (("core", "nodes", "get"), ("core", "nodes/status", "patch"), *_EVENTS),
    "system:node-proxier": (
        ("core", "endpoints services", "list watch"),
        ("core", "nodes", "get list watch"),
        *_EVENTS,
        ("discovery.k8s.io", "endpointslices", "list watch"),
        ("networking.k8s.io", "servicecidrs", "list watch"),
    ),
    "system:persistent-volume-provisioner": (
        ("core", "persistentvolumes", "create delete get list watch"),
        ("core", "persistentvolumeclaims", "get list update watch"),
        ("storage.k8s.io", "storageclasses", _READ),
        ("core", "events", "watch"),
        *_EVENTS,
    ),
    "system:volume-scheduler": (
        ("core", "persistentvolumes", "get list patch update watch"),
        ("storage.k8s.io", "storageclasses", _READ),
        ("core", "persistentvolumeclaims", "get list patch update watch"),
    ),
}
_URLS = {
    "cluster-admin": ("*", "*"),
    "system:discovery": (
        "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/",
        "get",
    ),
    "system:monitoring": (
        "/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*",
        "get",
    ),
    "system:public-info-viewer": ("/healthz /livez /readyz /version /version/", "get"),
    "system:service-account-issuer-discovery": (
        "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/",
        "get",
    ),
}
# Aggregated role → (what it is made of, where it goes in its turn).
_AGGREGATED = {"admin": "", "edit": "admin", "view": "edit"}
_PARTS = {"admin": _ADMIN, "edit": _EDIT, "view": _VIEW}
# Binding → (role, subjects as kind:name, or Account:namespace/name).
_BINDINGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "cluster-admin": ("cluster-admin", ("Group:system:masters",)),
    "kubeadm:cluster-admins": ("cluster-admin", ("Group:kubeadm:cluster-admins",)),
    "system:basic-user": ("system:basic-user", ("Group:system:authenticated",)),
    "system:discovery": ("system:discovery", ("Group:system:authenticated",)),
    "system:kube-controller-manager": ("system:kube-controller-manager", ("User:system:kube-controller-manager",)),
    "system:kube-dns": ("system:kube-dns", ("Account:kube-system/kube-dns",)),
    "system:kube-scheduler": ("system:kube-scheduler", ("User:system:kube-scheduler",)),
    "system:monitoring": ("system:monitoring", ("Group:system:monitoring",)),
    "system:node-proxier": ("system:node-proxier", ("User:system:kube-proxy",)),
    "system:public-info-viewer": (
        "system:public-info-viewer",
        ("Group:system:authenticated", "Group:system:unauthenticated"),
    ),
    "system:service-account-issuer-discovery": (
        "system:service-account-issuer-discovery",
        ("Group:system:serviceaccounts",),
    ),
    "system:volume-scheduler": ("system:volume-scheduler", ("User:system:kube-scheduler",)),
}


def create_roles(registry: Registry) -> None:
    """Create the roles and bindings of a cluster that has none."""
    for name in sorted({*_ROLES, *_URLS}):
        _role(registry, name, [_rule(*rule) for rule in _ROLES.get(name, ())] + _url_rules(name))
    for name, goes_to in _AGGREGATED.items():
        selector = {"matchLabels": {_AGGREGATE + name: "true"}}
        rule = {"clusterRoleSelectors": [selector]}
        _role(registry, name, [], labels=(goes_to,) if goes_to else (), aggregationRule=rule)
        parts = [_rule(*part) for part in _PARTS[name]]
        _role(registry, f"system:aggregate-to-{name}", parts, labels=(name,))
    for name, (role, subjects) in _BINDINGS.items():
        binding = {
            "metadata": {"name": name, **_METADATA},
            "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role},
            "subjects": [_subject(text) for text in subjects],
        }
        registry.create(CLUSTERROLEBINDINGS, "", binding)


def _role(registry: Registry, name: str, rules: list[Object], *, labels: tuple[str, ...] = (), **more: Any) -> None:
    metadata = {"name": name, **_METADATA}
    metadata["labels"] = {**metadata["labels"], **{_AGGREGATE + label: "true" for label in labels}}
    registry.create(CLUSTERROLES, "", {"metadata": metadata, "rules": rules, **more})


def _rule(groups: str, resources: str, verbs: str) -> Object:
    return {
        "verbs": verbs.split(),
        "apiGroups": ["" if group == _CORE else group for group in groups.split()],
        "resources": resources.split(),
    }


def _url_rules(name: str) -> list[Object]:
    if name not in _URLS:
        return []
    urls, verbs = _URLS[name]
    return [{"verbs": verbs.split(), "nonResourceURLs": urls.split()}]


def _subject(text: str) -> Object:
    kind, _, name = text.partition(":")
    if kind == "Account":
        namespace, _, name = name.partition("/")
        return {"kind": "ServiceAccount", "namespace": namespace, "name": name}
    return {"apiGroup": GROUP, "kind": kind, "name": name}
