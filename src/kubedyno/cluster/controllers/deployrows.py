"""What the Deployment controller knows of a Deployment and of its ReplicaSets, parsed once a version."""

import re
from typing import Any

import msgspec
import orjson

from kubedyno.cluster.controllers.conditions import Condition
from kubedyno.cluster.controllers.hashes import HASH_LABEL, fingerprint
from kubedyno.cluster.controllers.podstates import metadata_of
from kubedyno.cluster.controllers.rollout import Size, fenceposts
from kubedyno.cluster.registry.templates import owner_reference
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.kube.gohash import pod_template_hash
from kubedyno.kube.selectors import LabelSelector
from kubedyno.kube.strconv import whole

REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"
# A Deployment's annotations that its ReplicaSets don't get.
_OWN = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration", REVISION, REVISION_HISTORY, DESIRED, MAXIMUM,
        "deprecated.deployment.rollback.to",
    }
)  # fmt: skip
_REPLICAS = re.compile(rb'"spec":\{"replicas":\d+')


class _Rolling(msgspec.Struct):
    maxSurge: int | str = "25%"
    maxUnavailable: int | str = "25%"


class _Strategy(msgspec.Struct):
    type: str = "RollingUpdate"
    rollingUpdate: _Rolling | None = None


class DeploymentSpec(msgspec.Struct):
    """What is read of a Deployment's spec."""

    selector: dict[str, Any]
    template: dict[str, Any]
    replicas: int = 1
    strategy: _Strategy = msgspec.field(default_factory=_Strategy)
    minReadySeconds: int = 0
    revisionHistoryLimit: int = 10
    paused: bool = False
    progressDeadlineSeconds: int | None = None


class _DeploymentBody(msgspec.Struct):
    spec: DeploymentSpec


class _SetSpec(msgspec.Struct):
    replicas: int
    template: dict[str, Any]
    minReadySeconds: int = 0


class _SetBody(msgspec.Struct):
    spec: _SetSpec


class SetStatus(msgspec.Struct):
    """What is read of a ReplicaSet's status."""

    replicas: int = 0
    readyReplicas: int = 0
    availableReplicas: int = 0
    terminatingReplicas: int = 0
    observedGeneration: int = 0
    conditions: list[dict[str, Any]] = []


class Counts(msgspec.Struct):
    """The numbers of a Deployment's status."""

    replicas: int = 0
    updatedReplicas: int = 0
    readyReplicas: int = 0
    availableReplicas: int = 0


_deployment_decoder = msgspec.json.Decoder(_DeploymentBody)
_set_decoder = msgspec.json.Decoder(_SetBody)
_counts_decoder = msgspec.json.Decoder(Counts)
_status_decoder = msgspec.json.Decoder(SetStatus)
_NO_DEADLINE = 2147483647


class Child:
    """A ReplicaSet of a Deployment."""

    __slots__ = (
        "_obj", "annotations", "fingerprint", "key", "min_ready_s", "name", "pod_hash", "replicas", "status", "uid",
    )  # fmt: skip

    def __init__(self, obj: StoredObject) -> None:
        self.key, self.name, self.uid = obj.key, obj.name, obj.uid
        self._obj: StoredObject | None = None
        self.read(obj)

    def read(self, obj: StoredObject) -> None:
        """Take over a new version, parsing only what changed."""
        old = self._obj
        if old is None or old.body is not obj.body:
            spec = _set_decoder.decode(b"{" + obj.body + b"}").spec
            self.replicas, self.min_ready_s = spec.replicas, spec.minReadySeconds
            labels = spec.template.get("metadata", {}).get("labels", {})
            self.pod_hash: str = labels.pop(HASH_LABEL, "")
            self.fingerprint = fingerprint(spec.template)
        if old is None or old.meta is not obj.meta:
            self.annotations: dict[str, str] = metadata_of(obj).get("annotations", {})
        if old is None or old.status is not obj.status:
            self.status = _status_decoder.decode(obj.status or b"{}")
        self._obj = obj

    @staticmethod
    def made(obj: StoredObject, made: dict[str, Any], template_fingerprint: int) -> "Child":
        """Return a ReplicaSet that was just made of `DeploymentRow.new_set`'s answer, without parsing it."""
        child = Child.__new__(Child)
        child.key, child.name, child.uid = obj.key, obj.name, obj.uid
        child.replicas, child.min_ready_s = made["spec"]["replicas"], made["spec"].get("minReadySeconds", 0)
        child.pod_hash = made["metadata"]["labels"][HASH_LABEL]
        child.fingerprint = template_fingerprint
        child.annotations = made["metadata"]["annotations"]
        child.status = SetStatus()
        child._obj = obj
        return child

    @property
    def revision(self) -> int:
        return whole(self.annotations.get(REVISION, ""), 0)

    @property
    def size(self) -> Size:
        return Size(self.replicas, self.status.availableReplicas, whole(self.annotations.get(MAXIMUM, ""), 0))


class DeploymentRow:
    """A Deployment and its ReplicaSets by key."""

    __slots__ = (
        "annotations", "children", "collisions", "conditions", "counts", "fingerprint", "generation", "key", "meta", "name",
        "namespace", "selector", "spec", "status_bytes", "surge", "template", "uid", "unavailable",
    )  # fmt: skip

    def __init__(self, obj: StoredObject) -> None:
        self.key, self.name, self.namespace, self.uid = obj.key, obj.name, obj.namespace, obj.uid
        self.children: dict[str, Child] = {}
        self.conditions: list[Condition] = []
        self.counts = Counts()
        self.collisions = 0
        self.status_bytes = b""
        self.meta = b""
        self.annotations: dict[str, str] = {}
        self.read(obj)
        self.read_metadata(obj)

    def read_metadata(self, obj: StoredObject) -> None:
        """Take over annotations that somebody changed."""
        if obj.meta != self.meta:
            self.meta = obj.meta
            self.annotations = metadata_of(obj).get("annotations", {})

    def read(self, obj: StoredObject) -> None:
        """Take over a new generation of the spec."""
        self.generation = obj.generation
        self.spec = spec = _deployment_decoder.decode(b"{" + obj.body + b"}").spec
        self.fingerprint = fingerprint(spec.template)
        # Needed only for a new ReplicaSet, and heavy: kept until the next step has been taken.
        self.template: dict[str, Any] | None = spec.template
        spec.template = {}
        self.selector = LabelSelector.of(spec.selector)
        rolling = spec.strategy.rollingUpdate or _Rolling()
        self.surge, self.unavailable = fenceposts(rolling.maxSurge, rolling.maxUnavailable, spec.replicas)
        if not self.rolling:
            self.surge = 0
            self.unavailable = 0
        elif spec.replicas == 0:
            self.unavailable = 0
        self.unavailable = min(self.unavailable, spec.replicas)

    def read_status(self, status: bytes) -> None:
        """Take over a status that somebody else wrote."""
        if status != self.status_bytes:
            parsed = orjson.loads(status or b"{}")
            self.conditions = parsed.get("conditions", [])
            self.collisions = parsed.get("collisionCount", 0)
            self.counts = _counts_decoder.decode(status or b"{}")
            self.status_bytes = status

    @property
    def rolling(self) -> bool:
        return self.spec.strategy.type == "RollingUpdate"

    @property
    def deadline_s(self) -> int | None:
        """Seconds after which a rollout without progress has failed, None for never."""
        deadline_s = self.spec.progressDeadlineSeconds
        return None if deadline_s in {None, _NO_DEADLINE} else deadline_s

    def reference(self) -> dict[str, Any]:
        """Return the owner reference of its ReplicaSets."""
        return owner_reference("apps/v1", "Deployment", self.name, self.uid)

    def new_child(self) -> Child | None:
        """Return the ReplicaSet with the current template: of several the one with the highest revision."""
        found = [child for child in self.children.values() if child.fingerprint == self.fingerprint]
        return max(found, key=lambda child: child.revision) if found else None

    def old_children(self, new: Child | None) -> list[Child]:
        """Return the other ReplicaSets, the oldest revision first."""
        return sorted(
            (child for child in self.children.values() if child is not new), key=lambda c: (c.revision, c.name)
        )

    def new_set(self, obj: StoredObject, revision: int, replicas: int) -> dict[str, Any]:
        """Return the ReplicaSet of the current template.

        Args:
            obj: The Deployment.
            revision: The rollout's number.
            replicas: How many pods it begins with.
        """
        spec = self.spec
        template = self.template or _deployment_decoder.decode(b"{" + obj.body + b"}").spec.template
        pod_hash = pod_template_hash(template, self.collisions or None)
        metadata = template.get("metadata", {})
        labels = dict(sorted({**metadata.get("labels", {}), HASH_LABEL: pod_hash}.items()))
        selector = dict(spec.selector)
        selector["matchLabels"] = dict(sorted({**(selector.get("matchLabels") or {}), HASH_LABEL: pod_hash}.items()))
        new_spec: dict[str, Any] = {"replicas": replicas}
        if spec.minReadySeconds:
            new_spec["minReadySeconds"] = spec.minReadySeconds
        new_spec["selector"] = selector
        new_spec["template"] = {**template, "metadata": {**metadata, "labels": labels}}
        return {
            "metadata": {
                "name": f"{self.name}-{pod_hash}",
                "labels": labels,
                "annotations": self.set_annotations(revision),
                "ownerReferences": [self.reference()],
            },
            "spec": new_spec,
            "status": {"replicas": 0},
        }

    def set_annotations(self, revision: int, old: dict[str, str] | None = None) -> dict[str, str]:
        """Return the annotations of the ReplicaSet of the current template: the Deployment's, and of the rollout.

        Args:
            revision: The rollout's number.
            old: Those that the ReplicaSet has.
        """
        before = old or {}
        result = {**before, **{name: value for name, value in self.annotations.items() if name not in _OWN}}
        known = before.get(REVISION, "")
        if int(known or "0") < revision:
            if known and known != "0":
                history = before.get(REVISION_HISTORY, "")
                result[REVISION_HISTORY] = f"{history},{known}" if history else known
            result[REVISION] = str(revision)
        return dict(sorted((result | self.size_annotations()).items()))

    def size_annotations(self) -> dict[str, str]:
        """Return what each ReplicaSet is told of the Deployment's size."""
        wanted = self.spec.replicas
        return {DESIRED: str(wanted), MAXIMUM: str(wanted + self.surge)}


def with_replicas(body: bytes, replicas: int, min_ready_s: int | None = None) -> bytes:
    """Return a ReplicaSet's body with another number of replicas, and another minReadySeconds if given."""
    if min_ready_s is None and _REPLICAS.match(body):
        return _REPLICAS.sub(b'"spec":{"replicas":%d' % replicas, body, count=1)
    parsed = orjson.loads(b"{" + body + b"}")
    parsed["spec"]["replicas"] = replicas
    if min_ready_s is not None:
        parsed["spec"].pop("minReadySeconds", None)
        if min_ready_s:
            parsed["spec"]["minReadySeconds"] = min_ready_s
    return orjson.dumps(parsed)[1:-1]
