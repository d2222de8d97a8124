"""The objects that measurements and checks deploy alike: a Deployment of one pinned pod with its own account, a Service. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

Object = dict[str, Any]


def pinned(
    name: str,
    node: str,
    container: Object,
    *,
    labels: Mapping[str, str],
    selector: Mapping[str, str],
    pod_labels: Mapping[str, str],
    tolerations: Sequence[str],
    host: bool,
    host_processes: bool = False,
    annotations: Mapping[str, str] | None = None,
) -> Object:
    """Return a Deployment of one pod that is pinned to a node and runs as the ServiceAccount of its name.

    Args:
        name: Its own.
        node: The node's host name label.
        container: The pod's one container.
        labels: The Deployment's.
        selector: Labels that choose its pod.
        pod_labels: The pod's.
        tolerations: Keys of taints with the effect NoSchedule that are tolerated.
        host: The pod is on the node's network.
        host_processes: It is among the node's processes too.
        annotations: The pod's.
    """
    metadata: Object = {"labels": dict(pod_labels)}
    if annotations:
        metadata["annotations"] = dict(annotations)
    spec = {
        "serviceAccountName": name,
        "nodeSelector": {"kubernetes.io/hostname": node},
        "hostNetwork": host,
        **({"hostPID": True} if host_processes else {}),
        "terminationGracePeriodSeconds": 1,
        "tolerations": [{"key": key, "operator": "Exists", "effect": "NoSchedule"} for key in tolerations],
        "containers": [container],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": dict(labels)},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": dict(selector)},
            "template": {"metadata": metadata, "spec": spec},
        },
    }


def account(name: str) -> Object:
    """Return a ServiceAccount."""
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}


def service(name: str, selector: Mapping[str, str], ports: Sequence[Object], **spec: Any) -> Object:
    """Return a Service; `spec` has more members of its spec."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": dict(selector), "ports": list(ports), **spec},
    }
