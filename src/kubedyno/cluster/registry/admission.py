"""What stands between a valid request and the store: namespaces that exist, and what pods are given on the way in."""

from typing import Any

from kubedyno.base.random import Random
from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.storage.store import Store
from kubedyno.kube.resources import NAMESPACES, PODS, SERVICEACCOUNTS, Resource
from kubedyno.kube.status import Forbidden, forbidden, not_found

TOKEN_VOLUME = "kube-api-access-"  # noqa: S105 - a name's beginning
_TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105
_TOKEN_EXPIRATION_S = 3607
_NOT_READY_SECONDS = 300
_MIRROR = "kubernetes.io/config.mirror"
# The classes that every cluster has; others come with their kind.
PRIORITY_CLASSES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
_PREEMPTION = "PreemptLowerPriority"


def check_namespace(store: Store, resource: Resource, namespace: str, name: str) -> None:
    """Check that something may be created in a namespace.

    Raises:
        NotFound: The namespace is not there.
        Forbidden: It is being deleted.
    """
    record = store.get(NAMESPACES, namespace)
    if record is None:
        raise not_found(NAMESPACES, namespace)
    if record.obj.deletion_s:
        error = forbidden(
            resource, name, f"unable to create new content in namespace {namespace} because it is being terminated"
        )
        assert error.details is not None
        error.details["causes"] = [
            {
                "reason": "NamespaceTerminating",
                "message": f"namespace {namespace} is being terminated",
                "field": "metadata.namespace",
            }
        ]
        raise error


def check_service_account(store: Store, namespace: str, account: str, pod: str) -> None:
    """Check that a pod's service account exists.

    Raises:
        Forbidden: It does not.
    """
    if store.get(SERVICEACCOUNTS, f"{namespace}/{account}") is None:
        raise no_service_account(namespace, account, pod)


def no_service_account(namespace: str, account: str, pod: str) -> Forbidden:
    """Return the error of a pod whose service account does not exist."""
    why = f'error looking up service account {namespace}/{account}: serviceaccount "{account}" not found'
    return forbidden(PODS, pod, why)


def admit_pod(pod: Object, random: Random, *, volume_suffix: str = "") -> None:
    """Change a defaulted pod as the real server's admission plugins do: priority, tolerations, token volume.

    Args:
        pod: Changed in place.
        random: Makes the volume's name.
        volume_suffix: Used instead of a random one.

    Raises:
        Forbidden: A priority that no class gives.
    """
    spec = pod["spec"]
    name = pod["metadata"].get("name", "")
    mirror = _MIRROR in pod["metadata"].get("annotations", {})
    if not mirror:
        if not spec.get("serviceAccountName"):
            spec["serviceAccountName"] = "default"
        spec["serviceAccount"] = spec["serviceAccountName"]
        if spec.get("automountServiceAccountToken") is not False:
            _mount_token(spec, volume_suffix or random.suffix())
    _tolerate(spec)
    _prioritise(spec, name)


def _mount_token(spec: Object, suffix: str) -> None:
    """Give each container the service account's token, unless it mounts something at that path."""
    volume = TOKEN_VOLUME + suffix
    for existing in spec.get("volumes", ()):
        if existing.get("name", "").startswith(TOKEN_VOLUME):
            return
    used = False
    for container in (*spec.get("containers", ()), *spec.get("initContainers", ())):
        mounts = container.setdefault("volumeMounts", [])
        if any(mount.get("mountPath") == _TOKEN_PATH for mount in mounts):
            continue
        mounts.append({"name": volume, "readOnly": True, "mountPath": _TOKEN_PATH})
        used = True
    if used:
        spec.setdefault("volumes", []).append(_token_volume(volume))


def _token_volume(name: str) -> Object:
    namespace: Object = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    return {
        "name": name,
        "projected": {
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": _TOKEN_EXPIRATION_S, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [namespace]}},
            ],
            "defaultMode": 420,
        },
    }


def _tolerate(spec: Object) -> None:
    """Let a pod stay on a node that is not ready or unreachable for five minutes."""
    tolerations: list[Any] = spec.get("tolerations", [])
    added = []
    for condition in ("not-ready", "unreachable"):
        key = f"node.kubernetes.io/{condition}"
        if not any(t.get("key", "") in {key, ""} and t.get("effect", "") in {"NoExecute", ""} for t in tolerations):
            added.append(
                {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _NOT_READY_SECONDS}
            )
    if added:
        spec["tolerations"] = [*tolerations, *added]


def _prioritise(spec: Object, pod: str) -> None:
    class_name = spec.get("priorityClassName", "")
    if class_name and class_name not in PRIORITY_CLASSES:
        raise forbidden(PODS, pod, f"no PriorityClass with name {class_name} was found")
    computed = PRIORITY_CLASSES.get(class_name, 0)
    given, policy = spec.get("priority"), spec.get("preemptionPolicy")
    source = "priority admission controller computed"
    if given is not None and given != computed:
        raise forbidden(
            PODS, pod,
            f"the integer value of priority ({given}) must not be provided in pod spec; {source} {computed} "
            "from the given PriorityClass name",
        )  # fmt: skip
    if policy is not None and policy != _PREEMPTION:
        raise forbidden(
            PODS, pod,
            f"the string value of PreemptionPolicy ({policy}) must not be provided in pod spec; {source} {_PREEMPTION} "
            "from the given PriorityClass name",
        )  # fmt: skip
    spec["priority"] = computed
    spec["preemptionPolicy"] = _PREEMPTION
    if "overhead" in spec:
        raise forbidden(PODS, pod, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
