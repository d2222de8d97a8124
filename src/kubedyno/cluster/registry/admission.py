"""What stands between a valid request and the store: namespaces that exist, and what objects are given on the way in."""

from typing import Any

from kubedyno.base.random import Random
from kubedyno.cluster.registry.accounts import PLAIN, TOKEN_VOLUME, Account, give, is_mirror
from kubedyno.cluster.registry.codec import meta_dict
from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.kinds.networking import CLASS_ANNOTATION
from kubedyno.cluster.registry.kinds.policy import SYSTEM_CLASSES
from kubedyno.cluster.registry.kinds.volumes import CLASS_ANNOTATION as STORAGE_ANNOTATION
from kubedyno.cluster.registry.kinds.volumes import class_of
from kubedyno.cluster.registry.kinds.volumesources import token_source
from kubedyno.cluster.storage.store import ObjectRecord, Store
from kubedyno.kube.quantity import value_of
from kubedyno.kube.resources import (
    CLAIMS,
    NAMESPACES,
    PODS,
    PRIORITYCLASSES,
    STORAGECLASSES,
    Resource,
    built_in,
)
from kubedyno.kube.status import forbidden, not_found

_TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105
_NOT_READY_SECONDS = 300
_PREEMPTION = "PreemptLowerPriority"


_RUNTIME_CLASSES = built_in("node.k8s.io", "runtimeclasses")
_INGRESS_CLASSES = built_in("networking.k8s.io", "ingressclasses")


class PodClasses:
    """What pods get by the name of a class: PriorityClasses and RuntimeClasses.

    Args:
        store: Whose objects.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._priorities = store.table(PRIORITYCLASSES)
        self._default: tuple[str, int, str] | None = None
        self._priorities.subscribe(self._changed)

    def _changed(self) -> None:
        self._default = None

    def priority(self, name: str) -> tuple[str, int, str] | None:
        """Return a class' name, priority and preemption policy; of the default one for "", None when there is none."""
        if not name:
            if self._default is None:
                self._default = self._find_default()
            return self._default
        record = self._priorities.get(name)
        if record is not None:
            value, policy, _ = record.obj.facts
            return name, value, policy
        # The two that every cluster has are known before their objects are there.
        return (name, SYSTEM_CLASSES[name], _PREEMPTION) if name in SYSTEM_CLASSES else None

    def _find_default(self) -> tuple[str, int, str]:
        found = [(r.obj.facts[0], r.obj.name, r.obj.facts[1]) for r in self._priorities.all() if r.obj.facts[2]]
        if not found:
            return "", 0, _PREEMPTION
        value, name, policy = min(found)
        return name, value, policy

    def check_default(self, name: str) -> None:
        """Check that a PriorityClass may be the default one.

        Raises:
            Forbidden: Another is.
        """
        default = self.priority("")
        if default is not None and default[0] not in {"", name}:
            why = f"PriorityClass {default[0]} is already marked as default. Only one default can exist"
            raise forbidden(PRIORITYCLASSES, name, why)

    def runtime(self, name: str) -> Object | None:
        """Return a RuntimeClass, None when there is none."""
        record = self._store.get(_RUNTIME_CLASSES, name)
        return None if record is None else self._store.encode_dict(_RUNTIME_CLASSES, record)


def _newest_default(store: Store, resource: Resource) -> str:
    """Return the name of the default class, the newest of several; "" for none."""
    found: list[ObjectRecord] = [record for record in store.list(resource) if record.obj.facts]
    if not found:
        return ""
    created = [(meta_dict(record.obj).get("creationTimestamp", ""), record.obj.name) for record in found]
    newest = max(time for time, _ in created)
    return min(name for time, name in created if time == newest)


def admit_claim(store: Store, claim: Object) -> None:
    """Give a PersistentVolumeClaim without a class the default StorageClass, in place."""
    if "storageClassName" in claim["spec"] or STORAGE_ANNOTATION in claim["metadata"].get("annotations", {}):
        return
    name = _newest_default(store, STORAGECLASSES)
    if name:
        claim["spec"]["storageClassName"] = name


def admit_ingress(store: Store, ingress: Object) -> None:
    """Give an Ingress without a class the default IngressClass, in place."""
    if "ingressClassName" in ingress["spec"] or CLASS_ANNOTATION in ingress["metadata"].get("annotations", {}):
        return
    name = _newest_default(store, _INGRESS_CLASSES)
    if name:
        ingress["spec"]["ingressClassName"] = name


def check_expansion(store: Store, new: Object, old: Object) -> None:
    """Check that a claim that asks for more may have it.

    Raises:
        Forbidden: Its class does not say that its volumes can grow.
    """
    amounts = [
        value_of(claim["spec"].get("resources", {}).get("requests", {}).get("storage", "0")) for claim in (new, old)
    ]
    if amounts[0] <= amounts[1] or old.get("status", {}).get("phase") != "Bound":
        return
    record = store.get(STORAGECLASSES, class_of(old))
    if record is None or not store.encode_dict(STORAGECLASSES, record).get("allowVolumeExpansion"):
        why = (
            "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support "
            "resize"
        )
        raise forbidden(CLAIMS, new["metadata"]["name"], why)


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


def admit_pod(
    pod: Object, random: Random, classes: PodClasses, *, volume_suffix: str = "", account: Account | None = None
) -> None:
    """Change a defaulted pod as the real server's admission plugins do: priority, tolerations, token volume.

    Args:
        pod: Changed in place.
        random: Makes the volume's name.
        classes: The cluster's classes.
        volume_suffix: Used instead of a random one.
        account: Its service account; None: not known yet.

    Raises:
        Forbidden: A class that there is not, or what a class would not give.
    """
    spec = pod["spec"]
    name = pod["metadata"].get("name", "")
    if not is_mirror(pod):
        if not spec.get("serviceAccountName"):
            spec["serviceAccountName"] = "default"
        spec["serviceAccount"] = spec["serviceAccountName"]
        if spec.get("automountServiceAccountToken") is not False:
            _mount_token(spec, volume_suffix or random.suffix())
        if account is not None and account is not PLAIN:
            give(pod, account)
    _tolerate(spec)
    _prioritise(spec, name, classes)
    _set_runtime(spec, name, classes)


def admit_pod_change(new: Object, old: Object) -> None:
    """Change a new version of a pod as the real server's admission plugins do.

    Args:
        new: Changed in place.
        old: The pod as it is.
    """
    spec = new["spec"]
    _tolerate(spec)
    for name in ("priority", "preemptionPolicy"):
        if name not in spec and name in old["spec"]:
            spec[name] = old["spec"][name]


def _mount_token(spec: Object, suffix: str) -> None:
    """Give each container the service account's token, unless it mounts something at that path."""
    names = (existing.get("name", "") for existing in spec.get("volumes", ()))
    given = next((name for name in names if name.startswith(TOKEN_VOLUME)), "")
    volume = given or TOKEN_VOLUME + suffix
    used = False
    for container in (*spec.get("containers", ()), *spec.get("initContainers", ())):
        mounts = container.setdefault("volumeMounts", [])
        if any(mount.get("mountPath") == _TOKEN_PATH for mount in mounts):
            continue
        mounts.append({"name": volume, "readOnly": True, "mountPath": _TOKEN_PATH})
        used = True
    if used and not given:
        spec.setdefault("volumes", []).append(_token_volume(volume))


def _token_volume(name: str) -> Object:
    return {"name": name, "projected": token_source()}


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


def _prioritise(spec: Object, pod: str, classes: PodClasses) -> None:
    class_name = spec.get("priorityClassName", "")
    found = classes.priority(class_name)
    if found is None:
        raise forbidden(PODS, pod, f"no PriorityClass with name {class_name} was found")
    name, computed, preemption = found
    given, policy = spec.get("priority"), spec.get("preemptionPolicy")
    source = "priority admission controller computed"
    if given is not None and given != computed:
        raise forbidden(
            PODS, pod,
            f"the integer value of priority ({given}) must not be provided in pod spec; {source} {computed} "
            "from the given PriorityClass name",
        )  # fmt: skip
    if policy is not None and policy != preemption:
        raise forbidden(
            PODS, pod,
            f"the string value of PreemptionPolicy ({policy}) must not be provided in pod spec; {source} {preemption} "
            "from the given PriorityClass name",
        )  # fmt: skip
    if name:
        spec["priorityClassName"] = name
    spec["priority"] = computed
    spec["preemptionPolicy"] = preemption


def _set_runtime(spec: Object, pod: str, classes: PodClasses) -> None:
    """Give a pod what its RuntimeClass costs, and where it may run."""
    name = spec.get("runtimeClassName", "")
    runtime: Object = {}
    if name:
        found = classes.runtime(name)
        if found is None:
            raise forbidden(PODS, pod, f'pod rejected: RuntimeClass "{name}" not found')
        runtime = found
    fixed = runtime.get("overhead", {}).get("podFixed")
    if "overhead" in spec and spec["overhead"] != fixed:
        text = "Pod Overhead set without corresponding RuntimeClass defined Overhead"
        if fixed:
            text = "Pod's Overhead doesn't match RuntimeClass's defined Overhead"
        raise forbidden(PODS, pod, f"pod rejected: {text}")
    if fixed:
        spec["overhead"] = dict(fixed)
    place = runtime.get("scheduling", {})
    for key, value in place.get("nodeSelector", {}).items():
        if spec.setdefault("nodeSelector", {}).setdefault(key, value) != value:
            raise forbidden(PODS, pod, f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; "
                            f"pod.spec.nodeSelector[{key}] = {spec['nodeSelector'][key]}")  # fmt: skip
    more = [toleration for toleration in place.get("tolerations", ()) if toleration not in spec.get("tolerations", ())]
    if more:
        spec["tolerations"] = [*spec.get("tolerations", ()), *more]
