"""StatefulSets: pods with names and places of their own, started, stopped and replaced in order.

Each reconciliation looks at all pods of the set, in order, and does what may be done now: everything where pods are
managed in parallel, one thing where they are ordered.
"""

from operator import attrgetter
from typing import Any

import msgspec
import orjson

from kubedyno.cluster.controllers.feeds import Feeds
from kubedyno.cluster.controllers.hashes import REVISION_LABEL
from kubedyno.cluster.controllers.podrows import PodRows
from kubedyno.cluster.controllers.podstates import available_in_s
from kubedyno.cluster.controllers.refusals import is_terminating
from kubedyno.cluster.controllers.revisions import Revisions, template_of
from kubedyno.cluster.controllers.rollout import amount_of
from kubedyno.cluster.controllers.setclaims import SetClaims
from kubedyno.cluster.controllers.workloadrows import WorkloadRows
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.featuregates import SET_MAX_UNAVAILABLE, gates_on
from kubedyno.cluster.registry.kinds.podfacts import ENDED
from kubedyno.cluster.registry.templates import OwnerRef, owner_reference
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.resources import CONTROLLERREVISIONS, PODS, STATEFULSETS
from kubedyno.kube.selectors import LabelSelector
from kubedyno.kube.status import StatusError
from kubedyno.kube.strconv import whole

_COMPONENT = "statefulset-controller"
_HASH_LABEL = "controller.kubernetes.io/hash"
_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
_INDEX_LABEL = "apps.kubernetes.io/pod-index"


class _Rolling(msgspec.Struct):
    partition: int = 0
    maxUnavailable: int | str | None = None


class _Strategy(msgspec.Struct):
    type: str = "RollingUpdate"
    rollingUpdate: _Rolling = msgspec.field(default_factory=_Rolling)


class _Ordinals(msgspec.Struct):
    start: int = 0


class _Retention(msgspec.Struct):
    whenDeleted: str = "Retain"
    whenScaled: str = "Retain"


class _Spec(msgspec.Struct):
    selector: dict[str, Any]
    template: dict[str, Any]
    replicas: int = 1
    serviceName: str = ""
    podManagementPolicy: str = "OrderedReady"
    updateStrategy: _Strategy = msgspec.field(default_factory=_Strategy)
    ordinals: _Ordinals = msgspec.field(default_factory=_Ordinals)
    minReadySeconds: int = 0
    revisionHistoryLimit: int = 10
    volumeClaimTemplates: list[dict[str, Any]] = []
    persistentVolumeClaimRetentionPolicy: _Retention = msgspec.field(default_factory=_Retention)


class _Body(msgspec.Struct):
    spec: _Spec


_decoder = msgspec.json.Decoder(_Body)


class Row:
    """A StatefulSet."""

    def __init__(self, sets: "StatefulSets", obj: StoredObject) -> None:
        self._sets = sets
        self.key, self.namespace, self.name, self.uid = obj.key, obj.namespace, obj.name, obj.uid
        self.owner = OwnerRef.of("apps/v1", "StatefulSet", obj.name, obj.uid)
        self.pods: dict[str, None] = {}
        self.read(obj)

    def read(self, obj: StoredObject) -> None:
        """Take over a new generation of the spec."""
        self.generation = obj.generation
        self.spec = _decoder.decode(b"{" + obj.body + b"}").spec
        self.selector = LabelSelector.of(self.spec.selector)

    @property
    def ordered(self) -> bool:
        return self.spec.podManagementPolicy != "Parallel"

    def reference(self) -> dict[str, Any]:
        return owner_reference("apps/v1", "StatefulSet", self.name, self.uid)

    def ordinal_of(self, name: str) -> int:
        """Return the ordinal of a pod's name, -1 when it is not one of this set's."""
        head, _, tail = name.rpartition("-")
        return whole(tail, -1) if head == self.name else -1

    # --- as an owner of pods -----------------------------------------------------------------------------------

    def pod(self, record: ObjectRecord, *, gone: bool) -> None:
        if gone:
            self.pods.pop(record.key, None)
        else:
            self.pods[record.key] = None
        self._sets.queue.add(self)

    def owns(self, key: str) -> bool:
        return key in self.pods

    def adopts(self, obj: StoredObject) -> bool:
        if self.ordinal_of(obj.name) < 0 or not self.selector.matches(obj.labels):
            return False
        return self._sets.rows.is_live(self)


class StatefulSets:
    """The StatefulSet controller.

    Args:
        trusted: Where it writes.
        pump: Gives turns.
        feeds: Gives changes.
        rows: Hands it its pods.
        settings: Of the cluster.
    """

    def __init__(
        self, trusted: Trusted, pump: Pump, feeds: Feeds, rows: PodRows, settings: ClusterSettings
    ) -> None:  # fmt: skip
        self._takes_many = SET_MAX_UNAVAILABLE in gates_on(settings.minor, settings.feature_gates)
        self.queue: WorkQueue[Row] = WorkQueue(pump, "statefulset", self._reconcile, name_of=attrgetter("key"))
        self._trusted = trusted
        self._clock = pump.clock
        self._revisions = Revisions(trusted, _HASH_LABEL, of_data=True)
        self._claims = SetClaims(trusted)
        self._table = trusted.store.table(STATEFULSETS)
        self._pods = trusted.store.table(PODS)
        self.rows: WorkloadRows[Row] = WorkloadRows(self._table, rows, self.queue)
        feeds.follow(STATEFULSETS, self._changed, self._gone)

    def _changed(self, record: ObjectRecord) -> None:
        obj = record.obj
        row = self.rows.get(obj.uid)
        if row is None:
            row = Row(self, obj)
            self.rows.add(row)
        elif row.generation == obj.generation and not obj.deletion_s:
            return
        self.queue.add(row)

    def _gone(self, record: ObjectRecord) -> None:
        self.rows.gone(record)

    # --- reconciling ---------------------------------------------------------------------------------------------

    def _reconcile(self, row: Row, budget: int) -> int:
        record = self.rows.newest(row)
        if record is None:
            return 1
        if row.generation != record.obj.generation:
            row.read(record.obj)
        update = self._revisions.current(record.obj, row.spec.template, row.reference())
        status = orjson.loads(record.obj.status or b"{}")
        current = self._trusted.store.get(
            CONTROLLERREVISIONS, f"{row.namespace}/{status.get('currentRevision', '')}"
        )  # fmt: skip
        done = 1
        if not record.obj.deletion_s:
            done += self._manage(row, record, update, update if current is None else current, budget)
        self._write_status(row, record, update.obj.name, update.obj.name if current is None else current.obj.name)
        self.queue.forget(row)
        return done

    def _by_ordinal(self, row: Row) -> dict[int, ObjectRecord]:
        found = (self._pods.get(key) for key in row.pods)
        return {row.ordinal_of(pod.obj.name): pod for pod in found if pod is not None and pod.obj.owners}

    def _manage(self, row: Row, record: ObjectRecord, update: ObjectRecord, current: ObjectRecord, budget: int) -> int:
        """Start, stop or replace pods as far as may be done now; returns how many."""
        spec, ordered = row.spec, row.ordered
        pods = self._by_ordinal(row)
        wanted = range(spec.ordinals.start, spec.ordinals.start + spec.replicas)
        rolling = spec.updateStrategy.type == "RollingUpdate"
        partition = spec.ordinals.start + spec.updateStrategy.rollingUpdate.partition if rolling else wanted.start
        done = 0
        for ordinal in wanted:
            if done >= budget:
                self.queue.add(row)
                return done
            pod = pods.get(ordinal)
            if pod is not None and pod.obj.facts.phase in ENDED and not pod.obj.deletion_s:
                self._tell_ended(row, record, pod)
                self._delete(row, record, pod)
                done += 1
                pod = self._pods.get(pod.key)
            if pod is None:
                self._create(row, record, ordinal, current if ordinal < partition else update)
                done += 1
                if ordered:
                    return done
            else:
                self._own_claims(row, ordinal, None)
                if ordered and not self._is_healthy(row, pod):
                    return done
        condemned = sorted((ordinal for ordinal in pods if ordinal not in wanted), reverse=True)
        for ordinal in condemned:
            if done >= budget:
                self.queue.add(row)
                return done
            pod = pods[ordinal]
            if not pod.obj.deletion_s:
                self._own_claims(row, ordinal, pod)
                self._delete(row, record, pod)
                done += 1
            if ordered:
                return done
        if rolling and self._takes_many and spec.updateStrategy.rollingUpdate.maxUnavailable is not None:
            return done + self._replace_many(
                row, record, [(o, pods[o]) for o in wanted if o in pods], partition, update
            )
        if rolling:
            for ordinal in reversed(wanted):
                pod = pods.get(ordinal)
                if ordinal < partition or pod is None:
                    break
                if pod.obj.labels.get(REVISION_LABEL) != update.obj.name and not pod.obj.deletion_s:
                    self._delete(row, record, pod)
                    return done + 1
                if not self._is_healthy(row, pod):
                    break
        return done

    def _replace_many(
        self, row: Row, record: ObjectRecord, pods: list[tuple[int, ObjectRecord]], partition: int, update: ObjectRecord
    ) -> int:
        """Replace old pods from the last one down, as many as may be missing at once; returns how many.

        Args:
            row: The set.
            record: Its newest version.
            pods: Those with their ordinals that the set wants, in order.
            partition: The first ordinal that is updated.
            update: The revision that they shall have.
        """
        replicas = row.spec.replicas
        allowed = row.spec.updateStrategy.rollingUpdate.maxUnavailable
        assert allowed is not None
        room = max(amount_of(allowed, replicas, up=False), 1) - (replicas - len(pods))
        room -= sum(not self._is_healthy(row, pod) for _, pod in pods)
        done = 0
        for ordinal, pod in reversed(pods):
            if ordinal < partition or done >= room:
                break
            if pod.obj.labels.get(REVISION_LABEL) != update.obj.name and not pod.obj.deletion_s:
                self._delete(row, record, pod)
                done += 1
        return done

    def _is_healthy(self, row: Row, pod: ObjectRecord) -> bool:
        if pod.obj.deletion_s or pod.obj.facts.phase != "Running":
            return False
        wait_s = available_in_s(pod.obj, row.spec.minReadySeconds, self._clock.now())
        if wait_s:
            self.queue.add_after(row, wait_s)
        return wait_s == 0

    def _create(self, row: Row, record: ObjectRecord, ordinal: int, revision: ObjectRecord) -> None:
        name = f"{row.name}-{ordinal}"
        template = template_of(revision)
        spec = dict(template.get("spec", {}))
        if row.spec.serviceName:
            spec["subdomain"] = row.spec.serviceName
        claims = row.spec.volumeClaimTemplates
        if claims:
            names = {claim["metadata"]["name"] for claim in claims}
            own = [volume for volume in spec.get("volumes", ()) if volume["name"] not in names]
            mounted = [
                {"name": claim, "persistentVolumeClaim": {"claimName": f"{claim}-{name}"}} for claim in sorted(names)
            ]
            spec["volumes"] = [*own, *mounted]
        labels = {
            **template.get("metadata", {}).get("labels", {}),
            REVISION_LABEL: revision.obj.name,
        }
        own_labels = {_NAME_LABEL: name, _INDEX_LABEL: str(ordinal)}
        made = {"metadata": {**template.get("metadata", {}), "labels": labels}, "spec": spec}
        try:
            for claim in self._claims.create(row.namespace, row.name, ordinal, claims, row.spec.selector):
                self._event(
                    record,
                    "Normal",
                    "SuccessfulCreate",
                    f"Create Claim {claim} Pod {name} in StatefulSet {row.name} success",
                )
            self._trusted.create_pod(
                row.namespace,
                self._trusted.pod_template(made),
                row.owner,
                name=name,
                generate_name=f"{row.name}-",
                labels=own_labels,
                hostname=name,
            )
        except StatusError as error:
            if is_terminating(error):
                return
            text = f"Create Pod {name} in StatefulSet {row.name} failed error: {error.message}"
            self._event(record, "Warning", "FailedCreate", text)
            raise
        row.pods[f"{row.namespace}/{name}"] = None
        self._event(record, "Normal", "SuccessfulCreate", f"Create Pod {name} in StatefulSet {row.name} successful")

    def _tell_ended(self, row: Row, record: ObjectRecord, pod: ObjectRecord) -> None:
        if pod.obj.facts.phase == "Failed":
            text = f"StatefulSet {row.key} is recreating failed Pod {pod.obj.name}"
            self._event(record, "Warning", "RecreatingFailedPod", text)
        else:
            text = f"StatefulSet {row.key} is recreating terminated Pod {pod.obj.name}"
            self._event(record, "Normal", "RecreatingTerminatedPod", text)

    def _own_claims(self, row: Row, ordinal: int, condemned: ObjectRecord | None) -> None:
        """Let the claims of a pod go with the set, or with the pod that is scaled away, as the policy has it."""
        templates, policy = row.spec.volumeClaimTemplates, row.spec.persistentVolumeClaimRetentionPolicy
        if templates:
            owner = row.reference() if policy.whenDeleted == "Delete" else None
            if condemned is not None and policy.whenScaled == "Delete":
                owner = owner_reference("v1", "Pod", condemned.obj.name, condemned.obj.uid)
            self._claims.own(row.namespace, row.name, ordinal, templates, owner)

    def _delete(self, row: Row, record: ObjectRecord, pod: ObjectRecord) -> None:
        if self._trusted.delete(PODS, pod.key, uid=pod.obj.uid) is not None:
            text = f"Delete Pod {pod.obj.name} in StatefulSet {row.name} successful"
            self._event(record, "Normal", "SuccessfulDelete", text)

    # --- status --------------------------------------------------------------------------------------------------

    def _write_status(self, row: Row, record: ObjectRecord, update: str, current: str) -> None:
        pods = list(self._by_ordinal(row).values())
        alive = [pod for pod in pods if not pod.obj.deletion_s]
        ready = [pod for pod in pods if pod.obj.facts.phase == "Running" and pod.obj.facts.ready]
        available = sum(self._is_healthy(row, pod) for pod in ready)
        counts = {
            revision: sum(pod.obj.labels.get(REVISION_LABEL) == revision for pod in alive)
            for revision in (current, update)
        }
        spec = row.spec
        if spec.updateStrategy.type == "RollingUpdate" and counts[update] == len(pods) == len(ready) == spec.replicas:
            current = update
            live = {pod.obj.labels.get(REVISION_LABEL, "") for pod in pods} | {update}
            self._revisions.clean(row.uid, live, spec.revisionHistoryLimit)
        text = f'{{"observedGeneration":{row.generation},"replicas":{len(pods)}'
        if ready:
            text += f',"readyReplicas":{len(ready)}'
        if counts[current]:
            text += f',"currentReplicas":{counts[current]}'
        if counts[update]:
            text += f',"updatedReplicas":{counts[update]}'
        text += f',"currentRevision":"{current}","updateRevision":"{update}","collisionCount":0'
        text += f',"availableReplicas":{available}}}'
        self._trusted.replace_status(STATEFULSETS, record, text.encode())

    def _event(self, record: ObjectRecord, type: str, reason: str, message: str) -> None:
        self._trusted.event(
            STATEFULSETS, record, type=type, reason=reason, message=message, component=_COMPONENT
        )  # fmt: skip
