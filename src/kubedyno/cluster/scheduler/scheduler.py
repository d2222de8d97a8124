"""The scheduler: follows pods and nodes, and binds pods that have no node yet.

Changes of the tables come in, bindings, conditions and events go out. It reads all changes before it decides, and
counts its own bindings at once: since nothing awaits within a step, a decision is never made on old knowledge. What
it fails over, a pod or a change, is tried again after a back-off, shows in its health, and holds up nobody.
"""

from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice

import orjson

from kubedyno.base.log import logger
from kubedyno.cluster.pump import Pump, Timer
from kubedyno.cluster.registry.featuregates import POP_FROM_BACKOFF, gates_on
from kubedyno.cluster.registry.kinds.podfacts import ENDED, PodFacts
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.scheduler import claims, volumes
from kubedyno.cluster.scheduler import counts as results
from kubedyno.cluster.scheduler.claims import Claims
from kubedyno.cluster.scheduler.constraints import Parser
from kubedyno.cluster.scheduler.counts import ERROR, SCHEDULED, Counts
from kubedyno.cluster.scheduler.cycle import NOTHING, Cycle, Failure
from kubedyno.cluster.scheduler.hints import Hints, News, NodeChange
from kubedyno.cluster.scheduler.nodeinfo import Cluster, NodeInfo
from kubedyno.cluster.scheduler.podwrites import SCHEDULER_ERROR, UNSCHEDULABLE, PodWrites
from kubedyno.cluster.scheduler.preemption import Candidate
from kubedyno.cluster.scheduler.queue import Place, Queue, Waiting
from kubedyno.cluster.scheduler.volumewaits import Assumed, VolumeWaits
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.cluster.storage.store import ObjectRecord, ObjectTable
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.resources import CLAIMS, EVENTS, NAMESPACES, NODES, PODS, RESOURCECLAIMS, RESOURCESLICES, Resource
from kubedyno.kube.status import StatusError
from kubedyno.reconciler.execute import text_of
from kubedyno.reconciler.settings import REPORTED_ERRORS
from kubedyno.statedb.changes import Changes
from kubedyno.statedb.records import Tombstone

# Changes read in one turn: a fraction of a millisecond.
_CHANGES = 256
# Nodes to look at that count as one item of a turn.
_NODES_AN_ITEM = 30
# How often pods are looked for that have been unschedulable for too long (flushUnschedulablePodsLeftover).
_FLUSH_S = 30.0
_NOMINATED = b'"nominatedNodeName"'
_CLAIMS_MADE = b'"resourceClaimStatuses"'
_NO_LABELS: Mapping[str, str] = {}
_GROUP = "scheduler"
NAME = "default-scheduler"


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
        times, self._claims = settings.scheduler, Claims(trusted)
        # By schedulerName; pods of any other name are somebody else's.
        self._cycles = {
            profile.name: Cycle(
                trusted, self._cluster, parser, settings, profile, self._claims, self._namespace_labels
            )
            for profile in times.profiles
        }  # fmt: skip
        self._queue = Queue(
            pops_early=POP_FROM_BACKOFF in gates_on(settings.minor, settings.feature_gates),
            initial_backoff_s=times.initial_backoff_s,
            max_backoff_s=times.max_backoff_s,
        )
        self._writes = PodWrites(trusted, settings)
        self._waits = VolumeWaits(pump, times.bind_timeout_s, self._volumes_bound, self._volumes_late)
        # Tables and who follows their changes, by plural.
        self._follows: dict[str, tuple[ObjectTable, Callable[[ObjectRecord], None]]] = {
            "pods": (self._pods, self._follow_pod),
            "nodes": (self._nodes, self._follow_node),
        }
        # Of what volumes and devices depend on.
        self._others: list[tuple[str, Changes[StoredObject]]] = []
        for watched, plugins in ((volumes.WATCHED, volumes.PLUGINS), (claims.WATCHED, (claims.DYNAMIC_RESOURCES,))):
            for resource in watched:
                table = self._store.table(resource)
                self._follows[resource.plural] = table, partial(self._follow_other, resource, plugins)
                self._others.append((resource.plural, table.changes()))
        # They are a dozen and change rarely: to ask each of them would take as long as to place a pod.
        self._others_behind = True
        self._news = News()
        # Pods with scheduling gates, which are not even queued.
        self._gated: set[str] = set()
        self._looked_at = 0
        self._timer: Timer | None = None
        self._timer_due_s = 0.0

    def start(self) -> None:
        """Follow the tables from now on; all that is there counts as news."""
        self._pods.subscribe(self._worker.wake)
        self._nodes.subscribe(self._worker.wake)
        for plural, _ in self._others:
            self._follows[plural][0].subscribe(self._other_changed)
        self._worker.wake()

    def _other_changed(self) -> None:
        self._others_behind = True
        self._worker.wake()

    @property
    def pending(self) -> int:
        """How many pods wait for a node."""
        return len(self._queue.pods)

    def waiting(self) -> dict[str, int]:
        """Return how many pods wait in each of its queues; O(pods that wait)."""
        found = {"active": 0, "backoff": 0, "unschedulable": len(self._queue.pool), "gated": len(self._gated)}
        for waiting in self._queue.pods.values():
            if waiting.place is Place.READY or waiting.place is Place.TAKEN:
                found["active"] += 1
            elif waiting.place is not Place.POOL:
                found["backoff"] += 1
        return found

    def rejected(self) -> dict[str, int]:
        """Return how many waiting pods each plugin has rejected; O(pods that wait)."""
        found: dict[str, int] = {}
        for waiting in self._queue.pods.values():
            for plugin in waiting.plugins:
                found[plugin] = found.get(plugin, 0) + 1
        return found

    def cached(self) -> dict[str, int]:
        """Return how many nodes and pods on them it decides by; O(nodes)."""
        nodes = self._cluster.nodes.values()
        pods = sum(len(node.pods) for node in nodes)
        return {"nodes": len(nodes), "pods": pods, "assumed_pods": len(self._waits.pods)}

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
        if self._others_behind:
            self._follow_others()
        now_s = self._pump.clock.monotonic()
        if self._news:
            self._spread_news(now_s)
        if self._node_changes.behind or self._pod_changes.behind or self._others_behind:
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
            limit -= 1 + self._looked_at // _NODES_AN_ITEM
        if queue.has_ready(now_s):
            return True
        self._set_timer(now_s)
        return False

    def _follow_others(self) -> None:
        for plural, changes in self._others:
            for record in changes.next(_CHANGES):
                try:
                    self._follows[plural][1](record)
                except Exception as error:  # noqa: BLE001 - logged; one object holds up no other
                    self._miss(plural, record, error)
        self._others_behind = any(changes.behind for _, changes in self._others)

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
        table, follow = self._follows[plural]
        # As it is now; of what is gone its last version.
        record = table.get(key) or self._missed[where]
        if type(record) is not Tombstone and table.get(key) is None:
            # Its deletion was followed.
            del self._missed[where]
            return 1
        follow(record)
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
                and (facts.node_name == node.name or (obj.key in self._waits.pods and not facts.node_name))
                and type(record) is not Tombstone
                and facts.phase not in ENDED
                and (facts.node_name or not obj.deletion_s)
            ):
                self._follow_counted(node, counted, obj)
                return
            self._cluster.remove_pod(counted)
            self._waits.forget(obj.key)
            self._news.freed.append(counted)
        if type(record) is Tombstone:
            self._forget(obj.key)
        elif facts.node_name:
            self._forget(obj.key)
            if facts.phase not in ENDED:
                self._cluster.add_pod(obj, facts.node_name)
                self._placed(obj)
        elif (
            obj.deletion_s or facts.phase in ENDED or facts.spec.gated or facts.spec.scheduler_name not in self._cycles
        ):
            self._forget(obj.key)
            if facts.spec.gated and not obj.deletion_s and facts.spec.scheduler_name in self._cycles:
                self._gated.add(obj.key)
        else:
            self._gated.discard(obj.key)
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
            if _NOMINATED in obj.status:
                # Room was made for it before a restart, or somebody else chose a node.
                name = orjson.loads(obj.status).get("nominatedNodeName", "")
                self._cluster.nominate(obj, self._cluster.nodes.get(name))
            return
        old, waiting.obj = waiting.obj, obj
        if (
            old.labels != obj.labels
            or (old.facts.spec is not obj.facts.spec and old.facts.spec != obj.facts.spec)
            or (obj.facts.spec.claims_devices and (_CLAIMS_MADE in obj.status) is not (_CLAIMS_MADE in old.status))
        ):
            queue.updated(waiting, self._pump.clock.monotonic())

    def _follow_other(self, resource: Resource, plugins: tuple[str, ...], record: ObjectRecord) -> None:
        """Follow a change of what volumes and devices depend on."""
        # A claim matters to pods of its namespace; a device that comes free to all.
        namespace = record.obj.namespace
        if resource is RESOURCECLAIMS:
            namespace = "" if self._claims.followed(record) else namespace
        elif resource is RESOURCESLICES:
            self._claims.slice_followed(record)
        elif resource is CLAIMS:
            self._waits.claim_changed(record.key)
        if self._queue.pool:
            for plugin in plugins:
                self._news.others.setdefault(plugin, set()).add(namespace)

    def _forget(self, key: str) -> None:
        if self._gated:
            self._gated.discard(key)
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
        cycle = self._cycles[record.obj.facts.spec.scheduler_name]
        result = cycle.node_for(record.obj)
        self._looked_at = cycle.looked_at
        if type(result) is NodeInfo:
            try:
                if cycle.needs is not NOTHING and not self._prepare(cycle, record, result):
                    return SCHEDULED
            except StatusError as error:
                # A policy refuses what its claims or volumes would be.
                text = f'running PreBind plugin "VolumeBinding": {error.message}'
                return self._put_back(waiting, record, text, now_s)
            return self._bind(waiting, record, result, now_s)
        assert isinstance(result, Failure)
        self._fail(waiting, record, result, now_s)
        return results.UNSCHEDULABLE

    def _prepare(self, cycle: Cycle, record: ObjectRecord, node: NodeInfo) -> bool:
        """Have volumes and devices made ready for a pod on its node; False when it has to wait for its volumes."""
        needs = cycle.needs
        if needs.devices is not None:
            cycle.claims.prepare(needs.devices, node)
        if needs.volumes is None:
            return True
        names = cycle.volumes.prepare(needs.volumes, node)
        if not names or cycle.volumes.bound(names):
            return True
        self._queue.remove(record.key)
        self._cluster.nominate(record.obj, None)
        self._cluster.add_pod(record.obj, node.name)
        self._waits.add(Assumed(record.key, record.obj.uid, node.name, tuple(names), cycle.volumes))
        return False

    def _volumes_bound(self, assumed: Assumed) -> None:
        """Bind a pod whose volumes are there."""
        record = self._assumed(assumed)
        if record is None:
            return
        node = self._cluster.info(assumed.node)
        self._cluster.remove_pod(record.obj)
        now_s = self._pump.clock.monotonic()
        self._queue.add(record.obj, now_s)
        waiting = self._queue.pods[record.key]
        waiting.place = Place.TAKEN
        self._bind(waiting, record, node, now_s)

    def _volumes_late(self, assumed: Assumed) -> None:
        """Try a pod again whose volumes were not bound in time."""
        record = self._assumed(assumed)
        if record is None:
            return
        self._cluster.remove_pod(record.obj)
        self._news.freed.append(record.obj)
        now_s = self._pump.clock.monotonic()
        self._queue.add(record.obj, now_s)
        self._queue.put_back_after_error(self._queue.pods[record.key], now_s)
        message = 'running PreBind plugin "VolumeBinding": binding volumes: context deadline exceeded'
        self._writes.event(record, "Warning", "FailedScheduling", message, "Scheduling")
        self._writes.unscheduled(record, SCHEDULER_ERROR, message, "")
        self._worker.wake()

    def _assumed(self, assumed: Assumed) -> ObjectRecord | None:
        """Return the pod that waited for its volumes, None when it is not what it was."""
        record = self._pods.get(assumed.key)
        if record is None or record.obj.uid != assumed.uid or record.obj.facts.node_name or record.obj.deletion_s:
            return None
        return record

    def _bind(self, waiting: Waiting, record: ObjectRecord, node: NodeInfo, now_s: float) -> str:
        obj, began_s = record.obj, self._pump.clock.monotonic()
        try:
            with self._together:
                bound = self._trusted.bind(record, node.name)
                text = f"Successfully assigned {obj.key} to {node.name}"
                self._writes.event(record, "Normal", "Scheduled", text, "Binding")
        except StatusError as error:
            # It is being deleted, or somebody else was faster: its next version says so.
            return self._put_back(waiting, record, f"binding rejected: {error.message}", now_s)
        self.counts.binds.add(self._pump.clock.monotonic() - began_s)
        cluster = self._cluster
        self._queue.remove(obj.key)
        if cluster.nominations:
            cluster.nominate(obj, None)
        cluster.add_pod(bound.obj, node.name)
        self._placed(bound.obj)
        return SCHEDULED

    def _put_back(self, waiting: Waiting, record: ObjectRecord, text: str, now_s: float) -> str:
        self._queue.put_back_after_error(waiting, now_s)
        self._writes.event(record, "Warning", "FailedScheduling", text, "Scheduling")
        return ERROR

    def _fail(self, waiting: Waiting, record: ObjectRecord, failure: Failure, now_s: float) -> None:
        if failure.is_error:
            self._queue.put_back_after_error(waiting, now_s)
        else:
            self._queue.put_back(waiting, failure.plugins, now_s)
        if not failure.message:
            # Not tried yet: what was not tried backs off from nothing.
            waiting.attempts -= 1
            waiting.backoff_until_s = 0.0
            return
        self.counts.came("unschedulable", "ScheduleAttemptFailure")
        self._writes.event(record, "Warning", "FailedScheduling", failure.message, "Scheduling")
        if failure.deallocate:
            self._claims.deallocate(failure.deallocate)
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
            node = self._cluster.nominations.get(record.key)
            nominated = "" if node is None else node.name
        elif record.key in self._cluster.nominations:
            self._cluster.nominate(record.obj, None)
        reason = SCHEDULER_ERROR if failure.is_error else UNSCHEDULABLE
        written = self._writes.unscheduled(record, reason, failure.message, nominated)
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
                record = self._writes.disrupted(record, preemptor.obj.facts.spec.scheduler_name)
                self._trusted.delete(PODS, victim.key, uid=victim.uid)
            message = f"Preempted by pod {preemptor.obj.uid} on node {candidate.node.name}"
            self._writes.event(record, "Normal", "Preempted", message, "Preempting")
