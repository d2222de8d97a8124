"""Defaults of a pod's spec, as the real 1.36 fills them in; for pods and for the templates of workloads."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from kubedyno.cluster.registry.kinds.podresources import named_resources, together

Spec = dict[str, Any]

_VOLUME_SOURCES = (
    "awsElasticBlockStore", "azureDisk", "azureFile", "cephfs", "cinder", "configMap", "csi", "downwardAPI", "emptyDir",
    "ephemeral", "fc", "flexVolume", "flocker", "gcePersistentDisk", "gitRepo", "glusterfs", "hostPath", "image", "iscsi",
    "nfs", "persistentVolumeClaim", "photonPersistentDisk", "portworxVolume", "projected", "quobyte", "rbd", "scaleIO",
    "secret", "storageos", "vsphereVolume",
)  # fmt: skip
_FILE_MODE = 420
_TOKEN_EXPIRATION_S = 3600


# A reference to an image: where it is from, its path, tag and digest.
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_STEP = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?:(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?/)?{_STEP}(?:/{_STEP})*"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?P<digest>@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?\Z",
    re.ASCII,
)
_REMEMBERED_IMAGES, _MAX_IMAGE = 1024, 255


@lru_cache(maxsize=_REMEMBERED_IMAGES)
def pull_policy_of(image: str) -> str:
    """Return the default imagePullPolicy: Always for ":latest" or no tag, else IfNotPresent, also for what is no image."""
    found = _IMAGE.match(image) if len(image) <= _MAX_IMAGE else None
    if found is None or found["digest"]:
        return "Always" if found is not None and found["tag"] == "latest" else "IfNotPresent"
    return "IfNotPresent" if found["tag"] not in {None, "latest"} else "Always"


def default_pod_spec(spec: Spec, *, pod: bool) -> None:
    """Fill in a pod spec's defaults, in place.

    Args:
        spec: Decoded; changed.
        pod: A real pod: gets enableServiceLinks and its requests from its limits too.
    """
    # In the order of Go's SetDefaults_PodSpec, which is also what a reader of the YAML sees.
    if "restartPolicy" not in spec:
        spec["restartPolicy"] = "Always"
    if "terminationGracePeriodSeconds" not in spec:
        spec["terminationGracePeriodSeconds"] = 30
    elif pod and spec["terminationGracePeriodSeconds"] < 0:
        spec["terminationGracePeriodSeconds"] = 1
    if "dnsPolicy" not in spec:
        spec["dnsPolicy"] = "ClusterFirst"
    # The old name is kept equal to the new one.
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    if "securityContext" not in spec:
        spec["securityContext"] = {}
    if "schedulerName" not in spec:
        spec["schedulerName"] = "default-scheduler"
    if pod and "enableServiceLinks" not in spec:
        spec["enableServiceLinks"] = True
    host_network = bool(spec.get("hostNetwork"))
    for container in spec.get("initContainers", ()):
        _default_container(container, host_network=host_network, pod=pod)
    for container in spec.get("containers", ()):
        _default_container(container, host_network=host_network, pod=pod)
    for container in spec.get("ephemeralContainers", ()):
        _default_container(container, host_network=False, pod=False)
    for volume in spec.get("volumes", ()):
        _default_volume(volume)
    if pod and spec.get("resources"):
        _pod_requests(spec)


def _default_container(container: Spec, *, host_network: bool, pod: bool) -> None:
    if "imagePullPolicy" not in container:
        container["imagePullPolicy"] = pull_policy_of(container.get("image", ""))
    if "terminationMessagePath" not in container:
        container["terminationMessagePath"] = "/dev/termination-log"
    if "terminationMessagePolicy" not in container:
        container["terminationMessagePolicy"] = "File"
    resources = container.get("resources")
    if resources is None:
        container["resources"] = {}
    elif resources:
        _requests_from_limits(resources, pod=pod)
    for port in container.get("ports", ()):
        if "protocol" not in port:
            port["protocol"] = "TCP"
        if host_network and pod and "hostPort" not in port and "containerPort" in port:
            port["hostPort"] = port["containerPort"]
    for variable in container.get("env", ()):
        source = variable.get("valueFrom")
        if source:
            if "fieldRef" in source:
                source["fieldRef"].setdefault("apiVersion", "v1")
            if "resourceFieldRef" in source:
                source["resourceFieldRef"].setdefault("divisor", "0")
            if "fileKeyRef" in source:
                source["fileKeyRef"].setdefault("optional", False)
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if name in container:
            _default_probe(container[name])
    for hook in container.get("lifecycle", {}).values():
        if isinstance(hook, dict) and "httpGet" in hook:
            _default_http_get(hook["httpGet"])


def _requests_from_limits(resources: Spec, *, pod: bool) -> None:
    if pod and "limits" in resources:
        requests = dict(resources.get("requests", {}))
        for name, amount in resources["limits"].items():
            requests.setdefault(name, amount)
        resources["requests"] = requests


def _pod_requests(spec: Spec) -> None:
    """Give a pod that has resources of its own the requests that it lacks: its containers' sums, then its limits."""
    resources = spec["resources"]
    limits = dict(resources.get("limits", {}))
    requests = dict(resources.get("requests", {}))
    if not limits and not requests:
        return
    for name in sorted(named_resources(spec, "limits")):
        if name.startswith("hugepages-") and name not in requests and name not in limits:
            limits[name] = str(together(spec, "limits", name))
    if not limits:
        return
    resources["limits"] = limits
    for name in sorted(named_resources(spec, "requests") & {"cpu", "memory"}):
        requests.setdefault(name, str(together(spec, "requests", name)))
    for name, amount in limits.items():
        requests.setdefault(name, amount)
    if requests:
        resources["requests"] = requests


def match_label_keys(spec: Spec, labels: dict[str, str]) -> None:
    """Turn matchLabelKeys and mismatchLabelKeys of pod affinity into expressions, as a new pod's strategy does."""
    affinity = spec.get("affinity")
    if not affinity:
        return
    for name in ("podAffinity", "podAntiAffinity"):
        part = affinity.get(name, {})
        terms = list(part.get("requiredDuringSchedulingIgnoredDuringExecution", ()))
        terms += [
            weighted.get("podAffinityTerm", {})
            for weighted in part.get("preferredDuringSchedulingIgnoredDuringExecution", ())
        ]
        for term in terms:
            for member, operator in (("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")):
                for key in term.get(member, ()):
                    if key in labels and "labelSelector" in term:
                        expression = {"key": key, "operator": operator, "values": [labels[key]]}
                        term["labelSelector"].setdefault("matchExpressions", []).append(expression)


def _default_http_get(get: Spec) -> None:
    get.setdefault("path", "/")
    get.setdefault("scheme", "HTTP")


def _default_probe(probe: Spec) -> None:
    if "httpGet" in probe:
        _default_http_get(probe["httpGet"])
    if "grpc" in probe:
        probe["grpc"].setdefault("service", "")
    probe.setdefault("timeoutSeconds", 1)
    probe.setdefault("periodSeconds", 10)
    probe.setdefault("successThreshold", 1)
    probe.setdefault("failureThreshold", 3)


def _default_volume(volume: Spec) -> None:
    if not any(source in volume for source in _VOLUME_SOURCES):
        volume["emptyDir"] = {}
    for name, source in volume.items():
        if name != "name":
            default_volume_source(name, source)


def default_volume_source(name: str, source: Spec) -> None:
    """Fill in a volume source's defaults, in place."""
    if name in {"secret", "configMap", "downwardAPI", "projected"}:
        source.setdefault("defaultMode", _FILE_MODE)
    elif name == "image":
        source.setdefault("pullPolicy", pull_policy_of(source.get("reference", "")))
    default = _BY_SOURCE.get(name)
    if default is not None:
        default(source)


def _default_projected(source: Spec) -> None:
    for part in source.get("sources", ()):
        if "serviceAccountToken" in part:
            part["serviceAccountToken"].setdefault("expirationSeconds", _TOKEN_EXPIRATION_S)
        for item in part.get("downwardAPI", {}).get("items", ()):
            _default_downward_item(item)


def _default_downward_item(item: Spec) -> None:
    if "fieldRef" in item:
        item["fieldRef"].setdefault("apiVersion", "v1")
    if "resourceFieldRef" in item:
        item["resourceFieldRef"].setdefault("divisor", "0")


def _default_downward(source: Spec) -> None:
    for item in source.get("items", ()):
        _default_downward_item(item)


def _default_ephemeral(source: Spec) -> None:
    claim = source.get("volumeClaimTemplate")
    if claim is not None:
        claim.setdefault("metadata", {})
        claim.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")


def _filler(defaults: Spec) -> Callable[[Spec], None]:
    """Return what fills in members that are absent."""

    def fill(source: Spec) -> None:
        for name, value in defaults.items():
            source.setdefault(name, value)

    return fill


_BY_SOURCE: dict[str, Callable[[Spec], None]] = {
    "projected": _default_projected,
    "downwardAPI": _default_downward,
    "ephemeral": _default_ephemeral,
    "hostPath": _filler({"type": ""}),
    "iscsi": _filler({"iscsiInterface": "default"}),
    "rbd": _filler({"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"}),
    "azureDisk": _filler({"cachingMode": "ReadWrite", "fsType": "ext4", "readOnly": False, "kind": "Shared"}),
    "scaleIO": _filler({"storageMode": "ThinProvisioned", "fsType": "xfs"}),
}
