"""ReplicaSets: as many pods as are wanted, made from the template, and counted.

The hot path of the cluster. A row holds what is known of a ReplicaSet: its template ready for stamping and the state of
each of its pods, kept up to date from the pods' changes, so that nothing is parsed or scanned for a pod.
"""

from operator import attrgetter
from typing import Any

import msgspec
import orjson

from kubedyno.base.times import rfc3339
from kubedyno.cluster.controllers.feeds import Feeds
from kubedyno.cluster.controllers.podrows import PodRows
from kubedyno.cluster.controllers.podstates import ACTIVE, LABELLED, READY, TERMINATING, available_in_s, state_of
from kubedyno.cluster.controllers.refusals import is_terminating
from kubedyno.cluster.controllers.victims import victims
from kubedyno.cluster.controllers.workloadrows import WorkloadRows
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.featuregates import TERMINATING_REPLICAS, gates_on
from kubedyno.cluster.registry.templates import OwnerRef, PodTemplate
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.resources import EVENTS, PODS, REPLICASETS
from kubedyno.kube.selectors import LabelSelector
from kubedyno.kube.status import StatusError


class _Spec(msgspec.Struct):
    """What is read of a ReplicaSet's spec."""

    replicas: int
    template: dict[str, Any]
    selector: dict[str, Any]
    minReadySeconds: int = 0


class _Body(msgspec.Struct):
    spec: _Spec


_decoder = msgspec.json.Decoder(_Body)


class Row:
    """A ReplicaSet and its pods.

    Invariant: the counts are the sums over `pods`.
    """

    __slots__ = (
        "_sets", "active", "failure", "generate_name", "generation", "key", "labelled", "min_ready_s", "namespace",
        "owner", "pods", "raw", "ready", "replicas", "selector", "template", "template_labels", "terminating", "uid",
    )  # fmt: skip

    def __init__(self, sets: "ReplicaSets", obj: StoredObject) -> None:
        self._sets = sets
        self.key = obj.key
        self.namespace = obj.namespace
        self.uid = obj.uid
        self.owner = OwnerRef.of(sets.resource.api_version, sets.resource.kind, obj.name, obj.uid)
        self.generate_name = obj.name + "-"
        self.pods: dict[str, int] = {}
        self.active = self.ready = self.labelled = self.terminating = 0
        self.failure: dict[str, Any] | None = None
        if b'"ReplicaFailure"' in obj.status:
            conditions = orjson.loads(obj.status)["conditions"]
            self.failure = next((c for c in conditions if c["type"] == "ReplicaFailure"), None)
        self.read(obj)

    def read(self, obj: StoredObject) -> None:
        """Take over a new generation of the spec."""
        spec = _decoder.decode(b"{" + obj.body + b"}").spec
        self.generation = obj.generation
        self.replicas = spec.replicas
        self.min_ready_s = spec.minReadySeconds
        self.selector = self._sets.selector_of(spec.selector)
        self.template_labels: dict[str, str] = spec.template.get("metadata", {}).get("labels", {})
        # Kept only while pods are to be made: they weigh more than all the rest.
        self.raw: dict[str, Any] | None = spec.template if self.replicas > self.active else None
        self.template: PodTemplate | None = None

    # --- as an owner of pods -----------------------------------------------------------------------------------

    def pod(self, record: ObjectRecord, *, gone: bool) -> None:
        if self.note(record, gone=gone):
            self._sets.queue.add(self)

    def owns(self, key: str) -> bool:
        return key in self.pods

    def adopts(self, obj: StoredObject) -> bool:
        record = self._sets.table.get(self.key)
        if record is None or record.obj.uid != self.uid or record.obj.deletion_s:
            return False
        return bool(state_of(obj, self.template_labels) & ACTIVE) and self.selector.matches(obj.labels)

    def reference(self) -> dict[str, Any]:
        return dict(orjson.loads(self.owner.json)[0])

    def note(self, record: ObjectRecord, *, gone: bool = False) -> bool:
        """Take note of a pod's state; returns whether the ReplicaSet is to be looked at."""
        key = record.key
        old = self.pods.get(key, -1)
        if gone:
            if old < 0:
                return False
            del self.pods[key]
            new = 0
        else:
            new = state_of(record.obj, self.template_labels)
            if new == old:
                # It may have begun to be ready anew, which matters only where readiness must last.
                return bool(self.min_ready_s and new & READY)
            if not new & LABELLED and new and not self.selector.matches(record.obj.labels):
                self._sets.release(record)
            self.pods[key] = new
        old = max(old, 0)
        self.active += (new & ACTIVE) - (old & ACTIVE)
        self.ready += ((new & READY) - (old & READY)) >> 1
        self.terminating += ((new & TERMINATING) - (old & TERMINATING)) >> 2
        self.labelled += ((new & LABELLED) - (old & LABELLED)) >> 3
        return True


class ReplicaSets:
    """The ReplicaSet controller.

    Args:
        trusted: Where it writes.
        pump: Gives turns.
        feeds: Gives changes.
        rows: Hands it its pods.
        settings: Of the cluster.
    """

    resource = REPLICASETS
    component = "replicaset-controller"

    def __init__(self, trusted: Trusted, pump: Pump, feeds: Feeds, rows: PodRows, settings: ClusterSettings) -> None:
        name = self.component.removesuffix("-controller")
        self.queue: WorkQueue[Row] = WorkQueue(pump, name, self._reconcile, name_of=attrgetter("key"))
        self._trusted = trusted
        self._clock = pump.clock
        self._counts_terminating = (
            TERMINATING_REPLICAS in gates_on(settings.minor, settings.feature_gates) and self.resource is REPLICASETS
        )
        self.table = trusted.store.table(self.resource)
        self._pods = trusted.store.table(PODS)
        self._together = trusted.store.together(PODS, EVENTS)
        self._rows: WorkloadRows[Row] = WorkloadRows(self.table, rows, self.queue)
        feeds.follow(self.resource, self._changed, self._gone)

    def selector_of(self, selector: dict[str, Any]) -> LabelSelector:
        """Return the selector in a spec, as the kind has it."""
        return LabelSelector.of(selector)

    def _changed(self, record: ObjectRecord) -> None:
        obj = record.obj
        row = self._rows.get(obj.uid)
        if row is None:
            row = Row(self, obj)
            self._rows.add(row)
            self.queue.add(row)
        elif row.generation != obj.generation:
            row.read(obj)
            self._recount(row)
            self.queue.add(row)

    def _gone(self, record: ObjectRecord) -> None:
        self._rows.gone(record)

    def _recount(self, row: Row) -> None:
        """Note the states of all pods again: the template's labels may have changed."""
        for key in list(row.pods):
            record = self._pods.get(key)
            if record is not None:
                row.note(record)

    def release(self, record: ObjectRecord) -> None:
        """Let go of a pod whose labels the selector no longer selects."""
        if self._pods.get(record.key) is record:
            self._trusted.replace(PODS, record, owners=[])

    # --- reconciling ---------------------------------------------------------------------------------------------

    def _reconcile(self, row: Row, budget: int) -> int:
        record = self._rows.newest(row)
        if record is None:
            return 1
        if row.generation != record.obj.generation:
            row.read(record.obj)
            self._recount(row)
        done = 1
        error = ""
        missing = row.replicas - row.active
        if record.obj.deletion_s:
            missing = 0
        elif missing > 0:
            created, error = self._create(row, record, min(missing, budget))
            done += created
            if created < missing and not error:
                self.queue.add(row)
        elif missing < 0:
            deleted = self._delete(row, record, min(-missing, budget))
            done += deleted
            if deleted < -missing:
                self.queue.add(row)
        if row.active >= row.replicas:
            row.raw = row.template = None
        if error:
            self.queue.retry(row, error)
            self._fail(row, "FailedCreate", error)
        else:
            self.queue.forget(row)
            row.failure = None
        self._write_status(row, record)
        return done

    def _create(self, row: Row, record: ObjectRecord, count: int) -> tuple[int, str]:
        """Create pods; returns how many, and why not more."""
        trusted, event = self._trusted, self._trusted.event
        created = 0
        try:
            template = row.template
            if template is None:
                raw = row.raw or _decoder.decode(b"{" + record.obj.body + b"}").spec.template
                template = row.template = trusted.pod_template(raw)
                row.template_labels = template.labels
            with self._together:
                while created < count:
                    pod = trusted.create_pod(row.namespace, template, row.owner, generate_name=row.generate_name)
                    created += 1
                    row.note(pod)
                    event(
                        self.resource, record, type="Normal", reason="SuccessfulCreate",
                        message=f"Created pod: {pod.obj.name}", component=self.component,
                    )  # fmt: skip
        except StatusError as error:
            if is_terminating(error):
                # The ReplicaSet goes with its namespace: as if all were made, so that it is not tried again.
                return count, ""
            event(
                self.resource, record, type="Warning", reason="FailedCreate",
                message=f"Error creating: {error.message}", component=self.component,
            )  # fmt: skip
            return created, error.message
        return created, ""

    def _delete(self, row: Row, record: ObjectRecord, count: int) -> int:
        """Delete pods; returns how many."""
        pods = self._active_pods(row)
        for victim in victims(pods, self._related(row, record), count):
            deleted = self._trusted.delete(PODS, victim.key, uid=victim.obj.uid)
            if deleted is None:
                continue
            current = self._pods.get(victim.key)
            row.note(victim if current is None else current, gone=current is None)
            self._trusted.event(
                self.resource, record, type="Normal", reason="SuccessfulDelete",
                message=f"Deleted pod: {victim.obj.name}", component=self.component,
            )  # fmt: skip
        return count

    def _active_pods(self, row: Row) -> list[ObjectRecord]:
        get = self._pods.get
        found = (get(key) for key, state in row.pods.items() if state & ACTIVE)
        return [record for record in found if record is not None and not record.obj.deletion_s]

    def _related(self, row: Row, record: ObjectRecord) -> list[ObjectRecord]:
        """Return the active pods of all ReplicaSets of the same Deployment."""
        if not record.obj.owners:
            return self._active_pods(row)
        siblings = self.table.by_index("owner", record.obj.owners[0])
        rows = (self._rows.get(sibling.obj.uid) for sibling in siblings)
        return [pod for other in rows if other is not None for pod in self._active_pods(other)]

    # --- status --------------------------------------------------------------------------------------------------

    def _fail(self, row: Row, reason: str, message: str) -> None:
        if row.failure is None:
            now = rfc3339(self._clock.now())
            row.failure = {
                "type": "ReplicaFailure", "status": "True", "lastTransitionTime": now, "reason": reason,
                "message": message,
            }  # fmt: skip

    def _write_status(self, row: Row, record: ObjectRecord) -> None:
        available = self._available(row) if row.min_ready_s else row.ready
        text = f'{{"replicas":{row.active}'
        if row.labelled:
            text += f',"fullyLabeledReplicas":{row.labelled}'
        if row.ready:
            text += f',"readyReplicas":{row.ready}'
        if available:
            text += f',"availableReplicas":{available}'
        if self._counts_terminating:
            text += f',"terminatingReplicas":{row.terminating}'
        text += f',"observedGeneration":{row.generation}'
        status = text.encode()
        if row.failure is not None:
            status += b',"conditions":' + orjson.dumps([row.failure])
        status += b"}"
        if status != record.obj.status:
            current = self.table.get(row.key)
            if current is not None and current.obj.uid == row.uid:
                self._trusted.replace_status(self.resource, current, status)

    def _available(self, row: Row) -> int:
        """Count the pods that have been ready for long enough, and come back when the next one will have been."""
        now_s = self._clock.now()
        waits = [available_in_s(pod.obj, row.min_ready_s, now_s) for pod in self._active_pods(row)]
        later = [wait_s for wait_s in waits if wait_s]
        if later:
            self.queue.add_after(row, min(later))
        return sum(wait_s == 0 for wait_s in waits)
