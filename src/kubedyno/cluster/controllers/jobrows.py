"""What is known of a Job: its row, kept from change to change, and what one reconciliation finds and does."""

from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from kubedyno.cluster.controllers.jobindexes import parse
from kubedyno.cluster.controllers.jobspec import INDEX_KEY, TRACKING, spec_of
from kubedyno.cluster.controllers.podstates import metadata_of
from kubedyno.cluster.controllers.workloadrows import WorkloadRows
from kubedyno.cluster.registry.kinds.podfacts import ENDED
from kubedyno.cluster.registry.templates import OwnerRef, PodTemplate
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube.selectors import LabelSelector
from kubedyno.kube.strconv import whole

BACKOFF_S = 10.0
MAX_BACKOFF_S = 600.0


class Controller(Protocol):
    """What a row tells and asks."""

    rows: "WorkloadRows[Row]"

    def pods_changed(self, row: "Row") -> None:
        """Have a Job looked at once more of its pods may have changed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a Job ends: `type` is the interim condition's."""

    type: str
    reason: str
    message: str

    @property
    def good(self) -> bool:
        return self.type == "SuccessCriteriaMet"


@dataclass(slots=True)
class Look:
    """What a reconciliation finds and does."""

    record: ObjectRecord
    status: dict[str, Any]
    now_s: float
    active: list[ObjectRecord] = field(default_factory=list)
    terminating: int = 0
    # Pods to be counted; those that go without being counted; why the Job fails by its policy.
    succeeded: list[ObjectRecord] = field(default_factory=list)
    failed: list[ObjectRecord] = field(default_factory=list)
    uncounted: list[ObjectRecord] = field(default_factory=list)
    policy: str = ""
    done: int = 1

    def waiting(self, name: str) -> list[str]:
        """Return the uids of pods to be counted: those that the status has named already, and those found now."""
        named = self.status.get("uncountedTerminatedPods", {}).get(name, ())
        found = self.succeeded if name == "succeeded" else self.failed
        return list(dict.fromkeys([*named, *(pod.obj.uid for pod in found)]))


class Row:
    """A Job: its pods that are not counted yet or not gone yet, and its indexes."""

    __slots__ = (
        "_jobs", "failed_indexes", "failures", "failures_s", "generation", "index_failures", "key", "name",
        "namespace", "owner", "pods", "selector", "spec", "succeeded_indexes", "template", "uid",
    )  # fmt: skip

    def __init__(self, jobs: Controller, obj: StoredObject) -> None:
        self._jobs = jobs
        self.key, self.namespace, self.name, self.uid = obj.key, obj.namespace, obj.name, obj.uid
        self.owner = OwnerRef.of("batch/v1", "Job", obj.name, obj.uid)
        self.pods: dict[str, None] = {}
        # In a row since the last success; index → (counted, ignored, when) of its last failure.
        self.failures, self.failures_s = 0, 0.0
        self.index_failures: dict[int, tuple[int, int, float]] = {}
        self.read(obj)
        status = orjson.loads(obj.status or b"{}")
        completions = self.spec.completions or 0
        self.succeeded_indexes = parse(status.get("completedIndexes"), completions)
        self.failed_indexes = parse(status.get("failedIndexes"), completions)

    def read(self, obj: StoredObject) -> None:
        """Take over a new generation of the spec."""
        self.generation = obj.generation
        self.spec = spec_of(obj.body)
        self.selector = LabelSelector.of(self.spec.selector)
        self.template: PodTemplate | None = None

    # --- as an owner of pods -----------------------------------------------------------------------------------

    def pod(self, record: ObjectRecord, *, gone: bool) -> None:
        if gone:
            self.pods.pop(record.key, None)
        elif record.obj.facts.phase in ENDED and TRACKING not in record.obj.finalizers:
            if self.pods.pop(record.key, self) is self:
                return
        else:
            self.pods[record.key] = None
        self._jobs.pods_changed(self)

    def owns(self, key: str) -> bool:
        return key in self.pods

    def adopts(self, obj: StoredObject) -> bool:
        if obj.facts.phase in ENDED or not self.selector.matches(obj.labels):
            return False
        return self._jobs.rows.is_live(self)

    def reference(self) -> dict[str, Any]:
        return dict(orjson.loads(self.owner.json)[0])


def is_final(condition: dict[str, Any]) -> bool:
    """Say whether a condition is one of a Job that has ended."""
    return condition["type"] in {"Complete", "Failed"} and condition["status"] == "True"


def condition_of(type: str, reason: str, message: str, now: str, *, status: str = "True") -> dict[str, Any]:
    """Return a new condition."""
    return {
        "type": type, "status": status, "lastProbeTime": now, "lastTransitionTime": now, "reason": reason,
        "message": message,
    }  # fmt: skip


def index_of(pod: ObjectRecord) -> int:
    """Return a pod's completion index, -1 when it has none."""
    text = pod.obj.labels.get(INDEX_KEY) or metadata_of(pod.obj).get("annotations", {}).get(INDEX_KEY, "")
    return whole(text, -1)


def backoff_s(failures: int) -> float:
    """Return how long after the last failure the next pod may come."""
    return float(min(BACKOFF_S * 2 ** min(failures - 1, 10), MAX_BACKOFF_S))


def victims(active: list[ObjectRecord], count: int) -> list[ObjectRecord]:
    """Return which pods go when fewer may run: those that are not there yet first, and the newest first."""

    def rank(pod: ObjectRecord) -> tuple[bool, bool, bool, int]:
        facts = pod.obj.facts
        return bool(facts.node_name), facts.phase == "Running", bool(facts.ready), -pod.revision

    return sorted(active, key=rank)[:count]
