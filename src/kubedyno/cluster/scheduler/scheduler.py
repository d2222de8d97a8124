"""The scheduler: follows pods and nodes, and binds pods that have no node yet.

Changes of the tables come in, bindings, conditions and events go out. It reads all changes before it decides, and
counts its own bindings at once: since nothing awaits within a step, a decision is never made on old knowledge. What
it fails over, a pod or a change, is tried again after a back-off, shows in its health, and holds up nobody.
"""

from collections.abc import Mapping
from itertools import islice
from typing import Any

import orjson

from kubedyno.base.log import logger
from kubedyno.base.times import rfc3339
from kubedyno.cluster.pump import Pump, Timer
from kubedyno.cluster.registry.kinds.podfacts import PodFacts
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.scheduler.constraints import Parser
from kubedyno.cluster.scheduler.counts import ERROR, SCHEDULED, UNSCHEDULABLE, Counts
from kubedyno.cluster.scheduler.cycle import Cycle, Failure
from kubedyno.cluster.scheduler.hints import Hints, News, NodeChange
from kubedyno.cluster.scheduler.nodeinfo import Cluster, NodeInfo
from kubedyno.cluster.scheduler.preemption import Candidate
from kubedyno.cluster.scheduler.queue import Place, Queue, Waiting
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.resources import EVENTS, NAMESPACES, NODES, PODS
from kubedyno.kube.status import StatusError
from kubedyno.reconciler.execute import text_of
from kubedyno.reconciler.settings import REPORTED_ERRORS
from kubedyno.statedb.records import Tombstone

NAME = "default-scheduler"
# Changes read in one turn: a fraction of a millisecond.
_CHANGES = 256
# Nodes to look at that count as one item of a turn.
_NODES_AN_ITEM = 30
# How often pods are looked for that have been unschedulable for too long (flushUnschedulablePodsLeftover).
_FLUSH_S = 30.0
_DONE = frozenset({"Succeeded", "Failed"})
_EARLY_GATE = "SchedulerPopFromBackoffQ"
_GENERATION_GATE = "PodObservedGenerationTracking"
_GENERATION_MINOR = 34
_NO_LABELS: Mapping[str, str] = {}
_GROUP = "scheduler"
_PREEMPTING = f"{NAME}: preempting to accommodate a higher priority pod"


class Scheduler:
    """Binds pods to nodes; `start` it once.

    Args:
        trusted: The door for writes.
        pump: Gives turns.
        settings: Version, gates, and the node it runs on.

    Attributes:
        counts: What it has done.
    """

    def __init__(self, trusted: Trusted, pump: Pump, settings: ClusterSettings) -> None:
        self.counts = Counts()
        self._trusted = trusted
        self._store = trusted.store
        self._pump = pump
        self._health = pump.health.part(_GROUP).part("pods")
        self._health.ok()
        self._worker = pump.worker("scheduler", self._step)
        # Pods whose scheduling has failed, as the scheduler's fault, and why.
        self._errors: dict[str, str] = {}
        # Changes that it has failed over, by resource and key.
        self._missed: dict[tuple[str, str], ObjectRecord] = {}
        self._again: WorkQueue[tuple[str, str]] = WorkQueue(
            pump, "scheduler-changes", self._follow_again, group=_GROUP, name_of=" ".join
        )
        self._pods = self._store.table(PODS)
        self._together = self._store.together(PODS, EVENTS)
        self._nodes = self._store.table(NODES)
        self._pod_changes = self._pods.changes()
        self._node_changes = self._nodes.changes()
        parser = self._parser = Parser()
        self._cluster = Cluster(parser)
        gates = settings.feature_gates
        self._cycle = Cycle(self._cluster, parser, settings.minor, gates, self._namespace_labels)
        self._queue = Queue(pops_early=gates.get(_EARLY_GATE, True))
        self._observes_generation = gates.get(_GENERATION_GATE, settings.minor >= _GENERATION_MINOR)
        self._host = settings.nodes[0].name
        self._news = News()
        self._timer: Timer | None = None
        self._timer_due_s = 0.0

    def start(self) -> None:
        """Follow the tables from now on; all that is there counts as news."""
        self._pods.subscribe(self._worker.wake)
        self._nodes.subscribe(self._worker.wake)
        self._worker.wake()

    @property
    def pending(self) -> int:
        """How many pods wait for a node."""
        return len(self._queue.pods)

    def waiting(self) -> dict[str, int]:
        """Return how many pods wait in each of its queues; O(pods that wait)."""
        found = {"active": 0, "backoff": 0, "unschedulable": len(self._queue.pool), "gated": 0}
        for waiting in self._queue.pods.values():
            if waiting.place is Place.READY or waiting.place is Place.TAKEN:
                found["active"] += 1
            elif waiting.place is not Place.POOL:
                found["backoff"] += 1
        return found

    def _namespace_labels(self, name: str) -> Mapping[str, str]:
        record = self._store.get(NAMESPACES, name)
        return _NO_LABELS if record is None else record.obj.labels

    # --- turns ---------------------------------------------------------------------------------------------------

    def _step(self, limit: int) -> bool:
        for record in self._node_changes.next(_CHANGES):
            try:
                self._follow_node(record)
            except Exception as error:  # noqa: BLE001 - logged; one pod or node holds up no other
                self._miss("nodes", record, error)
        for record in self._pod_changes.next(_CHANGES):
            try:
                self._follow_pod(record)
            except Exception as error:  # noqa: BLE001 - logged; one pod or node holds up no other
                self._miss("pods", record, error)
        now_s = self._pump.clock.monotonic()
        if self._news:
            self._spread_news(now_s)
        if self._node_changes.behind or self._pod_changes.behind:
            return True
        queue, counts, monotonic, began_s = self._queue, self.counts, self._pump.clock.monotonic, now_s
        while limit > 0:
            waiting = queue.take(now_s)
            if waiting is None:
                break
            result: str | None = ERROR
            try:
                result = self._schedule(waiting, now_s)
            except Exception as error:  # noqa: BLE001 - logged; one pod or node holds up no other
                self._failed(waiting, now_s, error)
            else:
                if self._errors and self._errors.pop(waiting.obj.key, None) is not None:
                    self._report()
            ended_s = monotonic()
            if result is not None:
                counts.tried(result, ended_s - began_s)
            if result is SCHEDULED:
                counts.bound(waiting.attempts + 1, ended_s - waiting.added_s)
            began_s = ended_s
            limit -= 1 + self._cycle.looked_at // _NODES_AN_ITEM
        if queue.has_ready(now_s):
            return True
        self._set_timer(now_s)
        return False

    def _spread_news(self, now_s: float) -> None:
        news, self._news = self._news, News()
        if self._queue.pool:
            before = len(self._queue.pool)
            self._queue.move(now_s, Hints(news, self._parser, self._namespace_labels).may_help)
            self.counts.came("active", "ClusterEvent", before - len(self._queue.pool))

    def _set_timer(self, now_s: float) -> None:
        due_s = self._queue.next_due_s()
        if self._queue.pool:
            flush_s = now_s + _FLUSH_S
            due_s = flush_s if due_s is None else min(due_s, flush_s)
        if due_s is None or (self._timer is not None and self._timer_due_s <= due_s):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due_s = due_s
        self._timer = self._pump.call_at(due_s, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._queue.flush(self._pump.clock.monotonic())
        self._worker.wake()

    # --- what fails ----------------------------------------------------------------------------------------------

    def _failed(self, waiting: Waiting, now_s: float, error: Exception) -> None:
        """Have a pod tried again after its back-off."""
        key = waiting.obj.key
        logger(__name__).exception("pod %s: scheduling failed", key)
        if waiting.place is Place.TAKEN:
            self._queue.put_back_after_error(waiting, now_s)
        self._errors[key] = text_of(error)
        self._report()

    def _report(self) -> None:
        if not self._errors:
            self._health.ok()
            return
        named = "; ".join(f"{key}: {error}" for key, error in islice(self._errors.items(), REPORTED_ERRORS))
        self._health.degraded(f"{len(self._errors)} error(s): {named}")

    def _miss(self, plural: str, record: ObjectRecord, error: Exception) -> None:
        """Have a change followed again."""
        logger(__name__).exception("%s %s: a change could not be followed", plural, record.key)
        where = plural, record.key
        self._missed[where] = record
        self._again.retry(where, text_of(error))

    def _follow_again(self, where: tuple[str, str], budget: int) -> int:
        _ = budget
        plural, key = where
        table = self._nodes if plural == "nodes" else self._pods
        # As it is now; of what is gone its last version.
        record = table.get(key) or self._missed[where]
        if type(record) is not Tombstone and table.get(key) is None:
            # Its deletion was followed.
            del self._missed[where]
            return 1
        if plural == "nodes":
            self._follow_node(record)
        else:
            self._follow_pod(record)
        del self._missed[where]
        self._worker.wake()
        return 1

    # --- following -----------------------------------------------------------------------------------------------

    def _follow_node(self, record: ObjectRecord) -> None:
        if type(record) is Tombstone:
            self._cluster.remove_node(record.obj.name)
            self._news.node_gone = True
            return
        change = self._cluster.put_node(record.obj)
        if change is not None:
            self._news.nodes.append(NodeChange(*change))

    def _follow_pod(self, record: ObjectRecord) -> None:
        obj = record.obj
        facts: PodFacts = obj.facts
        node = self._cluster.node_of(obj)
        if node is not None:
            counted = node.pods[obj.key]
            if (
                counted.uid == obj.uid
                and facts.node_name == node.name
                and type(record) is not Tombstone
                and facts.phase not in _DONE
            ):
                self._follow_counted(node, counted, obj)
                return
            self._cluster.remove_pod(counted)
            self._news.freed.append(counted)
        if type(record) is Tombstone:
            self._forget(obj.key)
        elif facts.node_name:
            self._forget(obj.key)
            if facts.phase not in _DONE:
                self._cluster.add_pod(obj, facts.node_name)
                self._placed(obj)
        elif obj.deletion_s or facts.phase in _DONE or facts.spec.gated or facts.spec.scheduler_name != NAME:
            self._forget(obj.key)
        else:
            self._follow_waiting(obj)

    def _follow_counted(self, node: NodeInfo, counted: StoredObject, obj: StoredObject) -> None:
        same_spec = counted.facts.spec is obj.facts.spec or counted.facts.spec == obj.facts.spec
        if same_spec and (counted.labels is obj.labels or counted.labels == obj.labels):
            node.pods[obj.key] = obj
            return
        self._cluster.remove_pod(counted)
        self._cluster.add_pod(obj, node.name)
        if same_spec:
            self._placed(obj)
        else:
            # Resized in place: what it gave back may be enough for another one.
            self._news.freed.append(counted)

    def _follow_waiting(self, obj: StoredObject) -> None:
        queue = self._queue
        waiting = queue.pods.get(obj.key)
        if waiting is not None and waiting.obj.uid != obj.uid:
            self._forget(obj.key)
            waiting = None
        if waiting is None:
            queue.add(obj, self._pump.clock.monotonic())
            self.counts.came("active", "UnscheduledPodAdd")
            return
        old, waiting.obj = waiting.obj, obj
        if old.labels != obj.labels or (old.facts.spec is not obj.facts.spec and old.facts.spec != obj.facts.spec):
            queue.updated(waiting, self._pump.clock.monotonic())

    def _forget(self, key: str) -> None:
        if self._errors and self._errors.pop(key, None) is not None:
            self._report()
        waiting = self._queue.pods.get(key)
        if waiting is not None:
            self._queue.remove(key)
            if key in self._cluster.nominations:
                self._cluster.nominate(waiting.obj, None)
                self._news.freed.append(waiting.obj)

    def _placed(self, obj: StoredObject) -> None:
        if self._queue.pool:
            self._news.placed.append(obj)

    # --- scheduling ----------------------------------------------------------------------------------------------

    def _schedule(self, waiting: Waiting, now_s: float) -> str | None:
        """Try a pod; returns what became of it, None when it is gone."""
        key = waiting.obj.key
        record = self._pods.get(key)
        if record is None or record.obj.uid != waiting.obj.uid:
            self._forget(key)
            return None
        result = self._cycle.node_for(record.obj)
        if type(result) is NodeInfo:
            return self._bind(waiting, record, result, now_s)
        assert isinstance(result, Failure)
        self._fail(waiting, record, result, now_s)
        return UNSCHEDULABLE

    def _bind(self, waiting: Waiting, record: ObjectRecord, node: NodeInfo, now_s: float) -> str:
        obj = record.obj
        try:
            with self._together:
                bound = self._trusted.bind(record, node.name)
                text = f"Successfully assigned {obj.key} to {node.name}"
                self._write_event(record, "Normal", "Scheduled", text, "Binding")
        except StatusError as error:
            # It is being deleted, or somebody else was faster: its next version says so.
            self._queue.put_back_after_error(waiting, now_s)
            self._write_event(record, "Warning", "FailedScheduling", f"binding rejected: {error.message}", "Scheduling")
            return ERROR
        cluster = self._cluster
        self._queue.remove(obj.key)
        if cluster.nominations:
            cluster.nominate(obj, None)
        cluster.add_pod(bound.obj, node.name)
        self._placed(bound.obj)
        return SCHEDULED

    def _fail(self, waiting: Waiting, record: ObjectRecord, failure: Failure, now_s: float) -> None:
        self._queue.put_back(waiting, failure.plugins, now_s)
        self.counts.came("unschedulable", "ScheduleAttemptFailure")
        self._write_event(record, "Warning", "FailedScheduling", failure.message, "Scheduling")
        message, status = waiting.told
        if (
            failure.preempt is None
            and status is record.obj.status
            and message == failure.message
            and not self._cluster.nominations
        ):
            return
        nominated = ""
        if failure.preempt is not None:
            nominated = failure.preempt.node.name
            self._cluster.nominate(record.obj, failure.preempt.node)
        elif failure.keeps_nomination:
            nominated = self._cluster.nominations[record.key].name
        elif record.key in self._cluster.nominations:
            self._cluster.nominate(record.obj, None)
        written = self._write_condition(record, failure.message, nominated)
        waiting.told = (failure.message, written.obj.status)
        if failure.preempt is not None:
            self._evict(record, failure.preempt)

    def _evict(self, preemptor: ObjectRecord, candidate: Candidate) -> None:
        self.counts.preemptions += 1
        self.counts.victims.add(len(candidate.victims))
        for victim in candidate.victims:
            record = self._pods.get(victim.key)
            if record is None or record.obj.uid != victim.uid:
                continue
            if not record.obj.deletion_s:
                record = self._mark_disrupted(record)
                self._trusted.delete(PODS, victim.key, uid=victim.uid)
            message = f"Preempted by pod {preemptor.obj.uid} on node {candidate.node.name}"
            self._write_event(record, "Normal", "Preempted", message, "Preempting")

    # --- writes --------------------------------------------------------------------------------------------------

    def _write_event(self, record: ObjectRecord, type: str, reason: str, message: str, action: str) -> None:
        self._trusted.event(
            PODS, record, type=type, reason=reason, message=message, component=NAME, host=self._host, action=action
        )

    def _condition(self, obj: StoredObject, fields: dict[str, Any], old: dict[str, Any] | None) -> dict[str, Any]:
        """Return a condition as the scheduler writes it; its transition is the old one's while its status stays."""
        stamp = rfc3339(self._trusted.registry.clock.now())
        if old is not None and old.get("status") == fields["status"]:
            stamp = old.get("lastTransitionTime") or stamp
        generation = {"observedGeneration": obj.generation} if self._observes_generation else {}
        return {
            "type": fields["type"],
            **generation,
            "status": fields["status"],
            "lastProbeTime": None,
            "lastTransitionTime": stamp,
            "reason": fields["reason"],
            "message": fields["message"],
        }

    def _write_condition(self, record: ObjectRecord, message: str, nominated: str) -> ObjectRecord:
        fields = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        return self._write_status(record, fields, nominated)

    def _mark_disrupted(self, record: ObjectRecord) -> ObjectRecord:
        fields = {
            "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": _PREEMPTING,
        }  # fmt: skip
        return self._write_status(record, fields, None)

    def _write_status(self, record: ObjectRecord, fields: dict[str, Any], nominated: str | None) -> ObjectRecord:
        """Set a condition, and the nominated node unless None; nothing is written when nothing changes."""
        obj = record.obj
        status: dict[str, Any] = orjson.loads(obj.status)
        conditions: list[dict[str, Any]] = status.get("conditions", [])
        at = next((i for i, c in enumerate(conditions) if c.get("type") == fields["type"]), len(conditions))
        old = conditions[at] if at < len(conditions) else None
        new = self._condition(obj, fields, old)
        if old == new and (nominated is None or status.get("nominatedNodeName", "") == nominated):
            return record
        kept = status.pop("nominatedNodeName", "") if nominated is None else nominated
        # Members in the API's order, as far as a pod without a node has them.
        changed: dict[str, Any] = {"phase": status.pop("phase", "Pending")}
        changed["conditions"] = [*conditions[:at], new, *conditions[at + 1 :]]
        changed |= {name: value for name, value in status.items() if name not in {"conditions", "nominatedNodeName"}}
        if kept:
            changed["nominatedNodeName"] = kept
        return self._trusted.replace_status(PODS, record, changed, obj.facts)
