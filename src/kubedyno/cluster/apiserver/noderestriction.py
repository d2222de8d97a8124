"""What kubelets may write about nodes and pods: the admission plug-in NodeRestriction."""

from kubedyno.cluster.apiserver.admissionrequests import CREATE, DELETE, UPDATE, Asked, Object
from kubedyno.cluster.storage.store import Store
from kubedyno.kube.resources import PODS
from kubedyno.kube.status import Forbidden, forbidden

_MIRROR = "kubernetes.io/config.mirror"
_LEASE_NAMESPACE = "kube-node-lease"
# Labels of these domains are the cluster's; kubelets may set some.
_DOMAINS = ("kubernetes.io", "k8s.io")
_OWN_PREFIXES = ("kubelet.kubernetes.io", "node.kubernetes.io")
_OWN_LABELS = frozenset({
    "kubernetes.io/hostname", "kubernetes.io/arch", "kubernetes.io/os", "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type", "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/region", "topology.kubernetes.io/zone",
    "beta.kubernetes.io/arch", "beta.kubernetes.io/os",
})  # fmt: skip
_RESTRICTED = "node-restriction.kubernetes.io"


def check(asked: Asked, node: str, store: Store) -> None:
    """Let a kubelet's write pass.

    Args:
        asked: The write.
        node: Whose kubelet.
        store: The pods.

    Raises:
        Forbidden: It is not its to write.
    """
    what = (asked.resource.group, asked.resource.plural)
    problem = ""
    if what == ("", "pods"):
        problem = _pod(asked, node, store)
    elif what == ("", "nodes"):
        problem = _node(asked, node)
    elif what == ("coordination.k8s.io", "leases"):
        problem = _lease(asked, node)
    elif what == ("storage.k8s.io", "csinodes") and _name(asked) != node:
        problem = "can only access CSINode with the same name as the requesting node"
    if problem:
        raise _refused(asked, problem)


def _refused(asked: Asked, why: str) -> Forbidden:
    return forbidden(asked.resource, _name(asked), why)


def _name(asked: Asked) -> str:
    return asked.name or str((asked.new or asked.old or {}).get("metadata", {}).get("name", ""))


def _pod(asked: Asked, node: str, store: Store) -> str:
    if asked.subresource == "status":
        old, new = asked.old or {}, asked.new or {}
        if old.get("spec", {}).get("nodeName", "") != node:
            return f'node "{node}" can only update pod status for pods with spec.nodeName set to itself'  # noqa: S608
        if (old["metadata"].get("labels") or {}) != (new.get("metadata", {}).get("labels") or {}):
            return f'node "{node}" cannot update labels through pod status'
        return ""
    if asked.subresource == "eviction":
        record = store.get(PODS, f"{asked.namespace}/{asked.name}")
        if record is not None and record.obj.facts.node_name != node:
            return f'node "{node}" can only evict pods with spec.nodeName set to itself'
        return ""
    if asked.subresource:
        return f"unexpected pod subresource \"{asked.subresource}\", only 'status' and 'eviction' are allowed"
    if asked.operation == CREATE:
        return _mirror(asked.new or {}, node)
    if asked.operation == DELETE:
        if (asked.old or {}).get("spec", {}).get("nodeName", "") != node:
            return f'node "{node}" can only delete pods with spec.nodeName set to itself'
        return ""
    return f'unexpected operation "{asked.operation}", node "{node}" can only create and delete mirror pods'


def _mirror(pod: Object, node: str) -> str:
    spec = pod.get("spec", {})
    if _MIRROR not in (pod["metadata"].get("annotations") or {}):
        return f'pod does not have "{_MIRROR}" annotation, node "{node}" can only create mirror pods'
    if spec.get("nodeName", "") != node:
        return f'node "{node}" can only create pods with spec.nodeName set to itself'
    owners = pod["metadata"].get("ownerReferences") or []
    if len(owners) > 1 or any(owner.get("kind") != "Node" or owner.get("name") != node for owner in owners):
        return f'node "{node}" can only create pods with a single owner reference set to itself'
    if spec.get("serviceAccountName"):
        return f'node "{node}" can not create pods that reference a service account'
    volumes = spec.get("volumes", ())
    for kind, text in (
        ("secret", "secrets"),
        ("configMap", "configmaps"),
        ("persistentVolumeClaim", "persistentvolumeclaims"),
    ):
        if any(kind in volume for volume in volumes):
            return f'node "{node}" can not create pods that reference {text}'
    return ""


def _node(asked: Asked, node: str) -> str:
    name = _name(asked)
    if name != node:
        return f'node "{node}" is not allowed to modify node "{name}"'
    if asked.subresource or asked.operation not in {CREATE, UPDATE}:
        return ""
    new, old = asked.new or {}, asked.old or {}
    if asked.operation == CREATE:
        if (new.get("spec") or {}).get("configSource"):
            return f'node "{node}" is not allowed to create pods with a non-nil configSource'
        labels = set(new["metadata"].get("labels") or {})
        wrong = sorted(label for label in labels if not _may_set(label))
        return f"is not allowed to set the following labels: {', '.join(wrong)}" if wrong else ""
    if (new.get("spec", {}).get("taints") or []) != (old.get("spec", {}).get("taints") or []):
        return f'node "{node}" is not allowed to modify taints'
    before, after = old["metadata"].get("labels") or {}, new["metadata"].get("labels") or {}
    changed = {label for label in {*before, *after} if before.get(label) != after.get(label)}
    wrong = sorted(label for label in changed if not _may_set(label))
    if wrong:
        return f"is not allowed to modify labels: {', '.join(wrong)}"
    if (new["metadata"].get("ownerReferences") or []) != (old["metadata"].get("ownerReferences") or []):
        return f'node "{node}" is not allowed to modify ownerReferences'
    return ""


def _may_set(label: str) -> bool:
    domain = label.partition("/")[0] if "/" in label else ""
    if domain == _RESTRICTED or domain.endswith("." + _RESTRICTED):
        return False
    if not any(domain == each or domain.endswith("." + each) for each in _DOMAINS):
        return True
    if label in _OWN_LABELS:
        return True
    return any(domain == each or domain.endswith("." + each) for each in _OWN_PREFIXES)


def _lease(asked: Asked, node: str) -> str:
    if asked.namespace != _LEASE_NAMESPACE:
        return f'can only access leases in the "{_LEASE_NAMESPACE}" system namespace'
    if _name(asked) != node:
        return "can only access node lease with the same name as the requesting node"
    return ""
