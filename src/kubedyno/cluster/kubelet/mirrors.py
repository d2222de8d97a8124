"""Static pods: they run because of a file on their node, and the API shows their mirrors."""

from hashlib import md5
from typing import Any

import orjson

from kubedyno.base.times import rfc3339
from kubedyno.cluster.kubelet.desk import Desk
from kubedyno.cluster.kubelet.rows import NodeRow, StaticPod
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.resources import NAMESPACES, NODES, PODS

_MISSING_RETRY_S = 1.0
# The kubelet tries what failed again after 10 s at the latest (backOffPeriod).
_RETRY_MAX_S = 10.0


class Mirrors:
    """The mirrors of all static pods.

    Args:
        desk: Where they are made.
        rows: Name → node.
    """

    def __init__(self, desk: Desk, rows: dict[str, NodeRow]) -> None:
        self._desk = desk
        self._rows = rows
        self._store = desk.trusted.store
        self._started = False
        # (node, key of the pod).
        self._queue: WorkQueue[tuple[str, str]] = WorkQueue(
            desk.pump, "kubelet-mirrors", self._make, name_of=" ".join, retry_min_s=_MISSING_RETRY_S, group="kubelet",
            retry_max_s=_RETRY_MAX_S,
        )  # fmt: skip

    def start(self) -> None:
        """Begin to make them."""
        self._started = True
        for row in self._rows.values():
            for key in row.static:
                self._queue.add((row.name, key))

    def add(self, node: str, manifest: dict[str, Any]) -> None:
        """Put a manifest into a node's /etc/kubernetes/manifests: its pod runs, and is mirrored to the API.

        Args:
            node: The node.
            manifest: A Pod; its name gets the node's appended. Not changed.

        Raises:
            KeyError: There is no such node.
        """
        row = self._rows[node]
        pod: dict[str, Any] = orjson.loads(orjson.dumps(manifest))
        metadata, spec = pod.setdefault("metadata", {}), pod["spec"]
        metadata["name"] = f"{metadata['name']}-{node}"
        namespace = metadata.setdefault("namespace", "default")
        digest = md5(orjson.dumps(manifest, option=orjson.OPT_SORT_KEYS) + node.encode(), usedforsecurity=False)
        config_hash = digest.hexdigest()
        metadata.setdefault("annotations", {}).update(
            {
                "kubernetes.io/config.hash": config_hash,
                "kubernetes.io/config.mirror": config_hash,
                "kubernetes.io/config.seen": rfc3339(self._desk.clock.now())[:-1] + ".000000000Z",
                "kubernetes.io/config.source": "file",
            }
        )
        spec["nodeName"] = node
        # The kubelet has static pods tolerate whatever comes (pkg/kubelet/config: applyDefaults).
        spec.setdefault("tolerations", []).append({"operator": "Exists", "effect": "NoExecute"})
        key = f"{namespace}/{metadata['name']}"
        row.static[key] = StaticPod({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        if self._started:
            self._queue.add((node, key))

    def _make(self, where: tuple[str, str], budget: int) -> int:
        """Create a mirror pod; later when the node or the namespace isn't there yet.

        While the API refuses it, the static pod runs on, and its mirror is tried again, as the kubelet does.
        """
        _ = budget
        name, key = where
        row, node = self._rows.get(name), self._store.get(NODES, name)
        if row is None or key not in row.static:
            return 1
        static = row.static[key]
        namespace = static.mirror["metadata"]["namespace"]
        place = self._store.get(NAMESPACES, namespace)
        if self._desk.pods.get(key) is not None or (place is not None and place.obj.deletion_s):
            return 1
        if node is None or place is None or row.failed:
            self._queue.add_after(where, _MISSING_RETRY_S / 10)
            return 1
        pod: dict[str, Any] = orjson.loads(orjson.dumps(static.mirror))
        owner = {"apiVersion": "v1", "kind": "Node", "name": row.name, "uid": node.obj.uid, "controller": True}
        pod["metadata"]["ownerReferences"] = [owner]
        self._desk.trusted.registry.create(PODS, namespace, pod)
        return 1

    def gone(self, record: ObjectRecord) -> None:
        """Take note of a pod that is gone: the mirror of a static pod comes back."""
        row = self._rows.get(record.obj.facts.node_name)
        if row is not None and record.key in row.static:
            self._queue.add((row.name, record.key))
