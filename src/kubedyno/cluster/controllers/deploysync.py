"""One step of a Deployment: make or resize ReplicaSets as far as is allowed now, then write its status."""

import orjson

from kubedyno.base.clock import Clock
from kubedyno.base.times import epoch_of, rfc3339
from kubedyno.cluster.controllers import conditions, rollout
from kubedyno.cluster.controllers.deployrows import DESIRED, REVISION, Child, Counts, DeploymentRow, with_replicas
from kubedyno.cluster.controllers.refusals import is_terminating
from kubedyno.cluster.registry.featuregates import DEPLOYMENT_POD_REPLACEMENT, TERMINATING_REPLICAS, gates_on
from kubedyno.cluster.registry.kinds.podfacts import ENDED
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube.resources import DEPLOYMENTS, PODS, REPLICASETS
from kubedyno.kube.status import StatusError

_COMPONENT = "deployment-controller"
_PROGRESSING, _AVAILABLE, _FAILURE = "Progressing", "Available", "ReplicaFailure"
_COMPLETE = "NewReplicaSetAvailable"
_TIMED_OUT = "ProgressDeadlineExceeded"
_PAUSED, _RESUMED = "DeploymentPaused", "DeploymentResumed"
# Stands for spec.podReplacementPolicy, which no release's API has; acts behind its gate.
REPLACEMENT = "kubedyno.io/pod-replacement-policy"


class DeploymentSync:
    """Takes steps.

    Args:
        trusted: Where to write.
        clock: Stamps conditions.
        settings: Of the cluster.

    Attributes:
        refused: Why the last step could not be taken whole; "" when it was.
    """

    def __init__(self, trusted: Trusted, clock: Clock, settings: ClusterSettings) -> None:
        self.refused = ""
        self._trusted = trusted
        self._clock = clock
        on = gates_on(settings.minor, settings.feature_gates)
        self._counts_terminating = TERMINATING_REPLICAS in on
        self._has_policy = DEPLOYMENT_POD_REPLACEMENT in on
        self._sets = trusted.store.table(REPLICASETS)
        self._pods = trusted.store.table(PODS)

    def run(self, row: DeploymentRow, record: ObjectRecord) -> float | None:
        """Take a Deployment one step on.

        Args:
            row: What is known of it, up to date.
            record: Its newest version.

        Returns:
            Seconds after which to look again though nothing changed, None for never.
        """
        self.refused = ""
        new = row.new_child()
        revision = ""
        if not record.obj.deletion_s:
            self._note_pause(row)
            if row.spec.paused or self._is_scaled(row):
                self._scale(row, record, new)
            else:
                new, revision = self._roll(row, record, new)
        return self._finish(row, record, new, revision)

    # --- ReplicaSets ---------------------------------------------------------------------------------------------

    def _is_scaled(self, row: DeploymentRow) -> bool:
        """Say whether an active ReplicaSet knows another size of the Deployment than it has now."""
        wanted = str(row.spec.replicas)
        return any(
            child.replicas > 0 and child.annotations.get(DESIRED, wanted) != wanted for child in row.children.values()
        )

    def _scale(self, row: DeploymentRow, record: ObjectRecord, new: Child | None) -> None:
        """Bring a Deployment to another size without rolling it on."""
        wanted = row.spec.replicas
        old = row.old_children(new)
        children = [*old, new] if new is not None else old
        active = [child for child in children if child.replicas > 0]
        if len(active) <= 1:
            only = active[0] if active else new or (old[-1] if old else None)
            if only is not None:
                self._resize(row, record, only, wanted)
            return
        if new is not None and _is_saturated(new, wanted):
            for child in old:
                self._resize(row, record, child, 0)
            return
        if not row.rolling:
            return
        allowed = wanted + row.surge if wanted else 0
        grows = allowed >= sum(child.replicas for child in active)
        if grows:
            active.sort(key=lambda c: (-c.replicas, -c.revision))
        else:
            active.sort(key=lambda c: (-c.replicas, c.revision))
        sizes = rollout.proportional(wanted, row.surge, [child.size for child in active], row.counts.replicas)
        for child, size in zip(active, sizes, strict=True):
            self._resize(row, record, child, size)

    def _roll(self, row: DeploymentRow, record: ObjectRecord, new: Child | None) -> tuple[Child | None, str]:
        """Take a step of the rollout; returns the new ReplicaSet and the revision."""
        old = row.old_children(new)
        wanted = row.spec.replicas
        policy = row.annotations.get(REPLACEMENT, "") if self._has_policy else ""
        if not row.rolling:
            for child in old:
                self._resize(row, record, child, 0)
            gone = policy == "TerminationStarted"
            if any(child.status.replicas > 0 or (not gone and self._has_pods(child)) for child in old):
                return new, ""
        revision = max((child.revision for child in old), default=0) + 1
        total = sum(child.replicas for child in old)
        if policy == "TerminationComplete":
            # Pods that are going, or have yet to, hold their places.
            total = sum(self._held(child) for child in old)
        if new is None:
            size = rollout.new_replicas(wanted, row.surge, rollout.Size(0), total) if row.rolling else wanted
            new = self._create(row, record, revision, size)
            return new, str(revision) if new is not None else ""
        shown = self._keep_annotations(row, new, revision)
        size = wanted
        if row.rolling:
            held = self._held(new) if policy == "TerminationComplete" else new.replicas
            size = rollout.new_replicas(wanted, row.surge, new.size, total + held)
        if new.replicas != size:
            self._resize(row, record, new, size)
        elif row.rolling and any(child.replicas for child in old):
            sizes = rollout.old_replicas(wanted, row.unavailable, new.size, [child.size for child in old])
            for child, replicas in zip(old, sizes, strict=True):
                self._resize(row, record, child, replicas)
        return new, shown

    def _has_pods(self, child: Child) -> bool:
        """Say whether a ReplicaSet has pods that have not ended."""
        return any(pod.obj.facts.phase not in ENDED for pod in self._pods.by_index("owner", child.uid))

    def _held(self, child: Child) -> int:
        """Return how many places a ReplicaSet's pods hold, those that are going too."""
        pods = self._pods.by_index("owner", child.uid)
        return max(child.replicas, sum(pod.obj.facts.phase not in ENDED for pod in pods))

    def _create(self, row: DeploymentRow, record: ObjectRecord, revision: int, replicas: int) -> Child | None:
        """Make the ReplicaSet of the current template; another hash where its name is taken."""
        wanted = row.new_set(record.obj, revision, replicas)
        while self._sets.get(f"{row.namespace}/{wanted['metadata']['name']}") is not None:
            row.collisions += 1
            wanted = row.new_set(record.obj, revision, replicas)
        try:
            created = self._trusted.create(REPLICASETS, row.namespace, wanted)
        except StatusError as error:
            if is_terminating(error):
                return None
            message = f'Failed to create new replica set "{wanted["metadata"]["name"]}": {error.message}'
            if row.deadline_s is not None:
                self._put(row, _PROGRESSING, "False", "ReplicaSetCreateError", message)
            self._event(record, "ReplicaSetCreateError", message, type="Warning")
            self.refused = message
            return None
        child = row.children[created.key] = Child.made(created.obj, wanted, row.fingerprint)
        if replicas > 0:
            self._event(record, "ScalingReplicaSet", f"Scaled up replica set {child.name} from 0 to {replicas}")
        if row.deadline_s is not None:
            self._put(row, _PROGRESSING, "True", "NewReplicaSetCreated", f'Created new replica set "{child.name}"')
        return child

    def _keep_annotations(self, row: DeploymentRow, new: Child, revision: int) -> str:
        """Bring the new ReplicaSet's annotations and minReadySeconds up to date; returns its revision."""
        wanted = row.set_annotations(revision, new.annotations)
        if wanted != new.annotations or new.min_ready_s != row.spec.minReadySeconds:
            current = self._sets.get(new.key)
            if current is not None:
                body = None
                if new.min_ready_s != row.spec.minReadySeconds:
                    body = with_replicas(current.obj.body, new.replicas, row.spec.minReadySeconds)
                new.read(self._trusted.replace(REPLICASETS, current, annotations=wanted, body=body).obj)
        if row.deadline_s is not None and conditions.find(row.conditions, _PROGRESSING) is None:
            self._put(row, _PROGRESSING, "True", "FoundNewReplicaSet", f'Found new replica set "{new.name}"')
        return wanted[REVISION]

    def _resize(self, row: DeploymentRow, record: ObjectRecord, child: Child, replicas: int) -> None:
        """Give a ReplicaSet another number of replicas, and tell it the Deployment's size."""
        annotations = child.annotations | row.size_annotations()
        before = child.replicas
        if before == replicas and (not replicas or annotations == child.annotations):
            return
        current = self._sets.get(child.key)
        if current is None or current.obj.uid != child.uid:
            return
        body = None if before == replicas else with_replicas(current.obj.body, replicas)
        child.read(self._trusted.replace(REPLICASETS, current, body=body, annotations=annotations).obj)
        if before != replicas:
            direction = "up" if replicas > before else "down"
            message = f"Scaled {direction} replica set {child.name} from {before} to {replicas}"
            self._event(record, "ScalingReplicaSet", message)

    def _clean(self, row: DeploymentRow, new: Child | None) -> None:
        """Delete old ReplicaSets beyond the history that is to be kept."""
        old = row.old_children(new)
        surplus = len(old) - row.spec.revisionHistoryLimit
        for child in old[: max(surplus, 0)]:
            current = self._sets.get(child.key)
            if current is None or current.obj.deletion_s or child.replicas or child.status.replicas:
                continue
            if child.status.observedGeneration >= current.obj.generation:
                self._trusted.delete(REPLICASETS, child.key, uid=child.uid, policy="Background")

    # --- status --------------------------------------------------------------------------------------------------

    def _put(self, row: DeploymentRow, type: str, status: str, reason: str, message: str) -> None:
        old = conditions.find(row.conditions, type)
        if old is not None and old["status"] == status and old.get("reason") == reason:
            return
        new = conditions.made(type, status, reason, message, rfc3339(self._clock.now()))
        row.conditions = conditions.put(row.conditions, new)

    def _note_pause(self, row: DeploymentRow) -> None:
        """Say in the conditions that the Deployment was paused or resumed."""
        if row.deadline_s is None:
            return
        condition = conditions.find(row.conditions, _PROGRESSING)
        reason = condition.get("reason") if condition is not None else ""
        if reason == _TIMED_OUT:
            return
        if row.spec.paused and reason != _PAUSED:
            self._put(row, _PROGRESSING, "Unknown", _PAUSED, "Deployment is paused")
        elif not row.spec.paused and reason == _PAUSED:
            self._put(row, _PROGRESSING, "Unknown", _RESUMED, "Deployment is resumed")

    def _counts(self, row: DeploymentRow, new: Child | None) -> Counts:
        counts = Counts(updatedReplicas=new.status.replicas if new is not None else 0)
        for child in row.children.values():
            counts.replicas += child.status.replicas
            counts.readyReplicas += child.status.readyReplicas
            counts.availableReplicas += child.status.availableReplicas
        return counts

    def _finish(self, row: DeploymentRow, record: ObjectRecord, new: Child | None, revision: str) -> float | None:
        """Write the status, and the revision where it is given; returns when to look again."""
        counts = self._counts(row, new)
        wanted = row.spec.replicas
        if counts.availableReplicas >= wanted - row.unavailable:
            self._put(row, _AVAILABLE, "True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
        else:
            text = "Deployment does not have minimum availability."
            self._put(row, _AVAILABLE, "False", "MinimumReplicasUnavailable", text)
        complete = counts.updatedReplicas == counts.replicas == counts.availableReplicas == wanted
        if not row.spec.paused:
            self._note_progress(row, new, counts, complete=complete)
        self._note_failure(row)
        status = self._status(row, counts)
        annotations = None
        if revision and row.annotations.get(REVISION) != revision:
            annotations = dict(sorted({**row.annotations, REVISION: revision}.items()))
        if annotations is not None:
            written = self._trusted.replace(DEPLOYMENTS, record, annotations=annotations, status=status)
            row.meta, row.annotations = written.obj.meta, annotations
        elif status != record.obj.status:
            self._trusted.replace_status(DEPLOYMENTS, record, status)
        row.template = None
        row.status_bytes = status
        row.counts = counts
        if complete and not record.obj.deletion_s:
            self._clean(row, new)
        return self._deadline_in_s(row)

    def _note_progress(self, row: DeploymentRow, new: Child | None, counts: Counts, *, complete: bool) -> None:
        """Say in the Progressing condition how the rollout goes."""
        if row.deadline_s is None:
            row.conditions = conditions.without(row.conditions, _PROGRESSING)
            return
        current = conditions.find(row.conditions, _PROGRESSING)
        reason = current.get("reason") if current is not None else ""
        if counts.replicas == counts.updatedReplicas and reason == _COMPLETE:
            return
        what = f'ReplicaSet "{new.name}"' if new is not None else f'Deployment "{row.name}"'
        old = row.counts
        if complete:
            self._put(row, _PROGRESSING, "True", _COMPLETE, f"{what} has successfully progressed.")
        elif (
            counts.updatedReplicas > old.updatedReplicas
            or counts.replicas - counts.updatedReplicas < old.replicas - old.updatedReplicas
            or counts.readyReplicas > old.readyReplicas
            or counts.availableReplicas > old.availableReplicas
        ):
            now = rfc3339(self._clock.now())
            condition = conditions.made(_PROGRESSING, "True", "ReplicaSetUpdated", f"{what} is progressing.", now)
            row.conditions = conditions.put(row.conditions, condition, refresh=True)
        elif current is not None and self._is_late(row, current):
            self._put(row, _PROGRESSING, "False", _TIMED_OUT, f"{what} has timed out progressing.")

    def _is_late(self, row: DeploymentRow, condition: conditions.Condition) -> bool:
        if condition.get("reason") in {_COMPLETE, _TIMED_OUT, _PAUSED}:
            return False
        return epoch_of(condition["lastUpdateTime"]) + (row.deadline_s or 0) < self._clock.now()

    def _deadline_in_s(self, row: DeploymentRow) -> float | None:
        """Return in how many seconds a rollout that goes on would be late."""
        condition = conditions.find(row.conditions, _PROGRESSING)
        if row.deadline_s is None or condition is None:
            return None
        if condition.get("reason") in {_COMPLETE, _TIMED_OUT, _PAUSED}:
            return None
        return max(epoch_of(condition["lastUpdateTime"]) + row.deadline_s - self._clock.now(), 0.0) + 1.0

    def _note_failure(self, row: DeploymentRow) -> None:
        """Take over the ReplicaSets' failure, or take it away."""
        for child in row.children.values():
            for condition in child.status.conditions:
                if condition.get("type") == _FAILURE:
                    self._put(row, _FAILURE, condition["status"], condition["reason"], condition["message"])
                    return
        row.conditions = conditions.without(row.conditions, _FAILURE)

    def _status(self, row: DeploymentRow, counts: Counts) -> bytes:
        """Return the status; members that are zero are left out, as Go does."""
        text = f'{{"observedGeneration":{row.generation}'
        if counts.replicas:
            text += f',"replicas":{counts.replicas}'
        if counts.updatedReplicas:
            text += f',"updatedReplicas":{counts.updatedReplicas}'
        if counts.readyReplicas:
            text += f',"readyReplicas":{counts.readyReplicas}'
        if counts.availableReplicas:
            text += f',"availableReplicas":{counts.availableReplicas}'
        unavailable = sum(child.replicas for child in row.children.values()) - counts.availableReplicas
        if unavailable > 0:
            text += f',"unavailableReplicas":{unavailable}'
        if self._counts_terminating:
            terminating = sum(child.status.terminatingReplicas for child in row.children.values())
            text += f',"terminatingReplicas":{terminating}'
        status = text.encode() + b',"conditions":' + orjson.dumps(row.conditions)
        if row.collisions:
            status += b',"collisionCount":%d' % row.collisions
        return status + b"}"

    def _event(self, record: ObjectRecord, reason: str, message: str, *, type: str = "Normal") -> None:
        self._trusted.event(
            DEPLOYMENTS, record, type=type, reason=reason, message=message, component=_COMPONENT
        )  # fmt: skip


def _is_saturated(child: Child, wanted: int) -> bool:
    """Say whether a ReplicaSet has all the pods that the Deployment wants, available."""
    full = child.replicas == wanted == child.status.availableReplicas
    return full and child.annotations.get(DESIRED) == str(wanted)
