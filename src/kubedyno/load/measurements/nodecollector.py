"""The DaemonSet through which `pprof` reaches programs of nodes: kubelet and container runtime, on the host's network.

In: which nodes. Out: its pods, one a node. Names, rights and mounts are the original's.
"""

from collections.abc import Mapping
from typing import Any

from kubedyno.base import aio
from kubedyno.base.clock import Clock
from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.client.api import Client
from kubedyno.load.measurements.helperpods import READY_S, HelperNamespace

Json = dict[str, Any]
log = logger(__name__)

NAME = "kube-burner-pprof-collector"
IMAGE = "quay.io/kube-burner/fedora-nc:latest"
# Where the node's /var/run is in its pods: "/mnt" before the path of a socket.
MOUNTED = "/mnt"
_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_POLL_S = 0.1
# A new DaemonSet wants no pods for a moment.
_SETTLE_S = 1.0


def cluster_role() -> Json:
    """Return what its pods may do: read the kubelet's profiles."""
    return {
        "metadata": {"name": NAME},
        "rules": [
            {"nonResourceURLs": ["/debug/pprof", "/debug/pprof/*"], "verbs": ["get"]},
            {
                "apiGroups": [""],
                "resources": ["nodes", "nodes/proxy", "nodes/stats", "nodes/metrics"],
                "verbs": ["get", "list"],
            },
            {
                "apiGroups": ["security.openshift.io"],
                "resources": ["securitycontextconstraints"],
                "resourceNames": ["hostaccess"],
                "verbs": ["use"],
            },
        ],
    }


def daemonset(affinity: Mapping[str, str], image: str) -> Json:
    """Return the DaemonSet on the nodes that have all of some labels."""
    terms = [{"key": key, "operator": "In", "values": [value]} for key, value in sorted(affinity.items())]
    node = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": terms}]}}
    volume = "pprof-data-directory"
    return {
        "metadata": {"name": NAME},
        "spec": {
            "selector": {"matchLabels": {"app": NAME}},
            "template": {
                "metadata": {"labels": {"app": NAME}},
                "spec": {
                    "serviceAccountName": NAME,
                    "hostNetwork": True,
                    "affinity": {"nodeAffinity": node},
                    "containers": [
                        {
                            "name": "pprof-collector",
                            "image": image,
                            "command": ["sleep", "inf"],
                            "volumeMounts": [{"name": volume, "mountPath": f"{MOUNTED}/var/run"}],
                        }
                    ],
                    "volumes": [{"name": volume, "hostPath": {"path": "/var/run", "type": "DirectoryOrCreate"}}],
                },
            },
        },
    }


class NodeCollector:
    """The DaemonSet, while it is there."""

    def __init__(self, client: Client, clock: Clock, affinity: Mapping[str, str], image: str) -> None:
        self._client = client
        self._clock = clock
        self._affinity = affinity
        self._image = image
        self._place = HelperNamespace(client, NAME, clock)

    async def open(self) -> None:
        """Make it and wait for its pods.

        Raises:
            StatusError: The API refuses a part of it.
            KubedynoError: No node is chosen, or its pods do not run in time.
        """
        await self._place.open({"pod-security.kubernetes.io/enforce": "privileged"})
        subject = {"kind": "ServiceAccount", "name": NAME, "namespace": NAME}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": NAME}
        binding = {"metadata": {"name": NAME}, "roleRef": role, "subjects": [subject]}
        await self._place.add(f"/api/v1/namespaces/{NAME}/serviceaccounts", {"metadata": {"name": NAME}})
        await self._place.add(f"{_RBAC}/clusterroles", cluster_role(), beside=True)
        await self._place.add(f"{_RBAC}/clusterrolebindings", binding, beside=True)
        path = f"/apis/apps/v1/namespaces/{NAME}/daemonsets"
        await self._place.add(path, daemonset(self._affinity, self._image))
        log.info("pprof-collector: DaemonSet %s deployed in namespace %s", NAME, NAME)
        log.info("Waiting for DaemonSet/%s to be ready", NAME)
        began_s = self._clock.monotonic()
        while True:
            status = (await self._client.get(f"{path}/{NAME}")).get("status") or {}
            wanted, waited_s = status.get("desiredNumberScheduled", 0), self._clock.monotonic() - began_s
            if wanted and status.get("numberReady", 0) == wanted:
                return
            if not wanted and waited_s > _SETTLE_S:
                labels = ",".join(f"{key}={value}" for key, value in sorted(self._affinity.items()))
                raise KubedynoError(f"nodeAffinity: no node has {labels}, or none takes the DaemonSet {NAME}")
            if waited_s > READY_S:
                raise KubedynoError(
                    f"DaemonSet {NAME}: {status.get('numberReady', 0)} of {wanted} pods are ready after {READY_S:.0f}s"
                )
            await aio.sleep(_POLL_S)

    async def close(self) -> None:
        """Take it away again, with its rights."""
        await self._place.close()
