"""DaemonSets: a pod on each node that wants one, pinned to it; replaced node by node when the template changes.

A row knows each node's part in it, so that a change of one node or pod costs that node only. Pairs of set and node that
are to be looked at wait in the row; the row waits in the queue.
"""

from operator import attrgetter
from typing import Any

import msgspec

from kubedyno.cluster.controllers.feeds import Feeds
from kubedyno.cluster.controllers.hashes import REVISION_LABEL
from kubedyno.cluster.controllers.placement import daemon_tolerations, selects, untolerated
from kubedyno.cluster.controllers.podrows import PodRows
from kubedyno.cluster.controllers.podstates import available_in_s
from kubedyno.cluster.controllers.refusals import is_terminating
from kubedyno.cluster.controllers.revisions import Revisions, annotations_of
from kubedyno.cluster.controllers.rollout import amount_of
from kubedyno.cluster.controllers.workloadrows import WorkloadRows
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.kinds.podfacts import ENDED
from kubedyno.cluster.registry.kinds.workloads import TEMPLATE_GENERATION
from kubedyno.cluster.registry.templates import OwnerRef, PodTemplate, owner_reference
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.resources import DAEMONSETS, NODES, PODS
from kubedyno.kube.selectors import LabelSelector
from kubedyno.kube.status import StatusError

_COMPONENT = "daemonset-controller"
_GENERATION_LABEL = "pod-template-generation"


class _Rolling(msgspec.Struct):
    maxUnavailable: int | str = 1
    maxSurge: int | str = 0


class _Strategy(msgspec.Struct):
    type: str = "RollingUpdate"
    rollingUpdate: _Rolling = msgspec.field(default_factory=_Rolling)


class _Spec(msgspec.Struct):
    selector: dict[str, Any]
    template: dict[str, Any]
    updateStrategy: _Strategy = msgspec.field(default_factory=_Strategy)
    minReadySeconds: int = 0
    revisionHistoryLimit: int = 10


class _Body(msgspec.Struct):
    spec: _Spec


_decoder = msgspec.json.Decoder(_Body)


# A node's part in a DaemonSet's status; each is 0 or 1, and the status is their sums over the nodes.
_DESIRED, _CURRENT, _MISPLACED, _READY, _AVAILABLE, _UPDATED, _OUTDATED = range(7)
_NONE = (0, 0, 0, 0, 0, 0, 0)
_Part = tuple[int, int, int, int, int, int, int]


class Row:
    """A DaemonSet and its pods by node."""

    def __init__(self, sets: "DaemonSets", obj: StoredObject) -> None:
        self._sets = sets
        self.key, self.namespace, self.name, self.uid = obj.key, obj.namespace, obj.name, obj.uid
        self.owner = OwnerRef.of("apps/v1", "DaemonSet", obj.name, obj.uid)
        # Node → keys of the pods there; and pod → node.
        self.pods: dict[str, dict[str, None]] = {}
        self.nodes: dict[str, str] = {}
        self.parts: dict[str, _Part] = {}
        self.sums = list(_NONE)
        self.dirty: dict[str, None] = {}
        self.hash = ""
        # Revisions that are not needed have been deleted.
        self.is_clean = False
        self.template: PodTemplate | None = None
        self.read(obj)

    def read(self, obj: StoredObject) -> None:
        """Take over a new generation of the spec."""
        self.generation = obj.generation
        self.spec = _decoder.decode(b"{" + obj.body + b"}").spec
        self.pod_spec: dict[str, Any] = self.spec.template.get("spec", {})
        self.selector = LabelSelector.of(self.spec.selector)
        self.tolerations = daemon_tolerations(self.pod_spec)
        self.template = None

    def reference(self) -> dict[str, Any]:
        return owner_reference("apps/v1", "DaemonSet", self.name, self.uid)

    # --- as an owner of pods -----------------------------------------------------------------------------------

    def pod(self, record: ObjectRecord, *, gone: bool) -> None:
        facts = record.obj.facts
        node = facts.node_name or facts.pinned_node
        before = self.nodes.get(record.key)
        if before is not None and (gone or before != node):
            keys = self.pods.get(before, {})
            keys.pop(record.key, None)
            if not keys:
                self.pods.pop(before, None)
            del self.nodes[record.key]
            self._sets.touch(self, before)
        if not gone:
            self.nodes[record.key] = node
            self.pods.setdefault(node, {})[record.key] = None
            self._sets.touch(self, node)

    def owns(self, key: str) -> bool:
        return key in self.nodes

    def adopts(self, obj: StoredObject) -> bool:
        return obj.facts.phase not in ENDED and self._sets.rows.is_live(self) and self.selector.matches(obj.labels)


class DaemonSets:
    """The DaemonSet controller.

    Args:
        trusted: Where it writes.
        pump: Gives turns.
        feeds: Gives changes.
        rows: Hands it its pods.
    """

    def __init__(self, trusted: Trusted, pump: Pump, feeds: Feeds, rows: PodRows) -> None:
        self._queue: WorkQueue[Row] = WorkQueue(pump, "daemonset", self._reconcile, name_of=attrgetter("key"))
        self._trusted = trusted
        self._clock = pump.clock
        self._revisions = Revisions(trusted, REVISION_LABEL, of_data=False)
        self._table = trusted.store.table(DAEMONSETS)
        self._nodes = trusted.store.table(NODES)
        self._pods = trusted.store.table(PODS)
        self.rows: WorkloadRows[Row] = WorkloadRows(self._table, rows, self._queue)
        # Node → what of it decides where daemons run.
        self._seen: dict[str, tuple[Any, Any]] = {}
        feeds.follow(DAEMONSETS, self._changed, self._gone)
        feeds.follow(NODES, self._node_changed, self._node_gone)

    # --- news ----------------------------------------------------------------------------------------------------

    def _changed(self, record: ObjectRecord) -> None:
        obj = record.obj
        row = self.rows.get(obj.uid)
        if row is None:
            row = Row(self, obj)
            self.rows.add(row)
            row.dirty = dict.fromkeys(self._seen)
        elif row.generation != obj.generation:
            row.read(obj)
            row.dirty = dict.fromkeys([*self._seen, *row.pods])
        elif not obj.deletion_s:
            return
        self._queue.add(row)

    def _gone(self, record: ObjectRecord) -> None:
        self.rows.gone(record)

    def _node_changed(self, record: ObjectRecord) -> None:
        seen = (record.obj.labels, record.obj.facts.taints)
        if self._seen.get(record.key) != seen:
            self._seen[record.key] = seen
            for row in self.rows.values():
                self.touch(row, record.key)

    def _node_gone(self, record: ObjectRecord) -> None:
        self._seen.pop(record.key, None)
        for row in self.rows.values():
            self.touch(row, record.key)

    def touch(self, row: Row, node: str) -> None:
        """Have a set look at one of its nodes."""
        row.dirty[node] = None
        self._queue.add(row)

    # --- reconciling ---------------------------------------------------------------------------------------------

    def _reconcile(self, row: Row, budget: int) -> int:
        record = self.rows.newest(row)
        if record is None:
            return 1
        if row.generation != record.obj.generation:
            row.read(record.obj)
            row.dirty = dict.fromkeys([*self._seen, *row.pods])
        live = not record.obj.deletion_s
        if live and row.template is None:
            self._make_template(row, record)
        nodes = list(row.dirty)[: max(budget, 1)]
        for node in nodes:
            del row.dirty[node]
            try:
                if live:
                    self._manage(row, record, node)
                self._take_part(row, node)
            except Exception:
                row.dirty[node] = None
                raise
        if row.dirty:
            self._queue.add(row)
            return budget
        if live:
            self._roll(row, record)
        self._write_status(row, record)
        self._queue.forget(row)
        return max(len(nodes), 1)

    def _make_template(self, row: Row, record: ObjectRecord) -> None:
        """Make the template of the pods, and the revision that it is."""
        annotations = annotations_of(record.obj)
        template = row.spec.template
        revision = self._revisions.current(record.obj, template, row.reference())
        row.hash = self._revisions.hash_of(revision)
        metadata = template.get("metadata", {})
        labels = {
            **metadata.get("labels", {}),
            REVISION_LABEL: row.hash,
            _GENERATION_LABEL: annotations.get(TEMPLATE_GENERATION, str(row.generation)),
        }
        made = {
            "metadata": {**metadata, "labels": dict(sorted(labels.items()))},
            "spec": {**row.pod_spec, "tolerations": row.tolerations},
        }
        row.template = self._trusted.pod_template(made, pinned=True)

    def _wanted(self, row: Row, node: str) -> tuple[bool, bool]:
        """Return whether a pod should start on a node, and whether one that is there should stay."""
        record = self._nodes.get(node)
        if record is None or not selects(row.pod_spec, node, record.obj.labels):
            return False, False
        taints = record.obj.facts.taints
        stays = not untolerated(row.tolerations, taints, evicting=True)
        return stays and not untolerated(row.tolerations, taints, evicting=False), stays

    def _pods_on(self, row: Row, node: str) -> list[ObjectRecord]:
        found = (self._pods.get(key) for key in row.pods.get(node, ()))
        return [record for record in found if record is not None]

    def _manage(self, row: Row, record: ObjectRecord, node: str) -> None:
        """Start or stop the pods of one node."""
        starts, stays = self._wanted(row, node)
        pods = self._pods_on(row, node)
        if not pods:
            if starts:
                self._create(row, record, node)
            return
        alive = [pod for pod in pods if not pod.obj.deletion_s]
        if not stays:
            for pod in alive:
                self._delete(record, pod, grace_s=None if self._nodes.get(node) is not None else 0)
            return
        for pod in alive:
            if pod.obj.facts.phase == "Failed":
                text = f"Found failed daemon pod {pod.key} on node {node}, will try to kill it"
                self._event(record, "Warning", "FailedDaemonPod", text)
                self._delete(record, pod)
            elif pod.obj.facts.phase == "Succeeded":
                text = f"Found succeeded daemon pod {pod.key} on node {node}, will try to delete it"
                self._event(record, "Normal", "SucceededDaemonPod", text)
                self._delete(record, pod)
        running = [pod for pod in alive if pod.obj.facts.phase not in ENDED]
        if len(running) > 1 and not self._surge(row):
            running.sort(
                key=lambda pod: (not pod.obj.facts.node_name, pod.obj.meta.partition(b'"creationTimestamp"')[2])
            )
            for pod in running[1:]:
                self._delete(record, pod)

    def _surge(self, row: Row) -> int:
        return amount_of(row.spec.updateStrategy.rollingUpdate.maxSurge, row.sums[_DESIRED], up=True)

    def _create(self, row: Row, record: ObjectRecord, node: str) -> None:
        assert row.template is not None
        try:
            pod = self._trusted.create_pod(
                row.namespace, row.template, row.owner, generate_name=row.name + "-", node=node
            )  # fmt: skip
        except StatusError as error:
            if not is_terminating(error):
                row.dirty[node] = None
                self._event(record, "Warning", "FailedCreate", f"Error creating: {error.message}")
                raise
            return
        row.pod(pod, gone=False)
        row.dirty.pop(node, None)
        self._event(record, "Normal", "SuccessfulCreate", f"Created pod: {pod.obj.name}")

    def _delete(self, record: ObjectRecord, pod: ObjectRecord, grace_s: int | None = None) -> None:
        if self._trusted.delete(PODS, pod.key, grace_s, uid=pod.obj.uid) is not None:
            self._event(record, "Normal", "SuccessfulDelete", f"Deleted pod: {pod.obj.name}")

    # --- rolling update --------------------------------------------------------------------------------------------

    def _roll(self, row: Row, record: ObjectRecord) -> None:
        """Replace pods of older templates, as many at once as may be missing."""
        if row.spec.updateStrategy.type != "RollingUpdate":
            return
        if not row.sums[_OUTDATED]:
            if not row.is_clean:
                self._revisions.clean(row.uid, {f"{row.name}-{row.hash}"}, row.spec.revisionHistoryLimit)
                row.is_clean = True
            return
        row.is_clean = False
        surge = self._surge(row)
        if surge:
            self._roll_with_surge(row, record, [node for node, part in row.parts.items() if part[_DESIRED]], surge)
            return
        wanted = row.sums[_DESIRED]
        allowed = amount_of(row.spec.updateStrategy.rollingUpdate.maxUnavailable, wanted, up=True)
        missing = wanted - row.sums[_AVAILABLE]
        for available in (0, 1):
            # Old pods that are not available anyway go first, and cost nothing more.
            for node in sorted(row.parts):
                part = row.parts[node]
                if not part[_OUTDATED] or part[_AVAILABLE] != available:
                    continue
                if available and missing >= allowed:
                    return
                for pod in self._pods_on(row, node):
                    if not pod.obj.deletion_s and not self._is_updated(row, pod):
                        self._delete(record, pod)
                missing += available

    def _roll_with_surge(self, row: Row, record: ObjectRecord, wanted: list[str], surge: int) -> None:
        """Start new pods beside the old ones, and stop an old one when its successor is available."""
        under_way = 0
        for node in wanted:
            pods = [pod for pod in self._pods_on(row, node) if not pod.obj.deletion_s]
            old = [pod for pod in pods if not self._is_updated(row, pod)]
            new = [pod for pod in pods if self._is_updated(row, pod)]
            if not old:
                continue
            if new:
                if self._available(row, new[0]):
                    for pod in old:
                        self._delete(record, pod)
                else:
                    under_way += 1
            elif not self._available(row, old[0]):
                for pod in old:
                    self._delete(record, pod)
            elif under_way < surge:
                under_way += 1
                self._create(row, record, node)

    def _is_updated(self, row: Row, pod: ObjectRecord) -> bool:
        return bool(pod.obj.labels.get(REVISION_LABEL) == row.hash)

    # --- status --------------------------------------------------------------------------------------------------

    def _available(self, row: Row, pod: ObjectRecord) -> bool:
        wait_s = available_in_s(pod.obj, row.spec.minReadySeconds, self._clock.now())
        if wait_s:
            self._queue.add_after(row, wait_s)
            row.dirty[pod.obj.facts.node_name] = None
        return wait_s == 0

    def _take_part(self, row: Row, node: str) -> None:
        """Note what a node contributes to the status."""
        pods = [pod for pod in self._pods_on(row, node) if not pod.obj.deletion_s or pod.obj.facts.node_name]
        starts, _ = self._wanted(row, node)
        first = next((pod for pod in pods if not pod.obj.deletion_s), None)
        outdated = any(not self._is_updated(row, pod) for pod in pods)
        part: _Part = (
            int(starts),
            int(starts and bool(pods)),
            int(not starts and bool(pods)),
            int(starts and first is not None and first.obj.facts.ready),
            int(starts and first is not None and self._available(row, first)),
            int(starts and bool(pods) and not outdated),
            int(outdated),
        )
        before = row.parts.get(node, _NONE)
        if part != before:
            row.sums = [total + new - old for total, new, old in zip(row.sums, part, before, strict=True)]
            if part == _NONE:
                del row.parts[node]
            else:
                row.parts[node] = part

    def _write_status(self, row: Row, record: ObjectRecord) -> None:
        desired, current, misplaced, ready, available, updated, _ = row.sums
        text = (
            f'{{"currentNumberScheduled":{current},"numberMisscheduled":{misplaced},'
            f'"desiredNumberScheduled":{desired},"numberReady":{ready},"observedGeneration":{row.generation}'
        )
        if updated:
            text += f',"updatedNumberScheduled":{updated}'
        if available:
            text += f',"numberAvailable":{available}'
        if desired > available:
            text += f',"numberUnavailable":{desired - available}'
        self._trusted.replace_status(DAEMONSETS, record, (text + "}").encode())

    def _event(self, record: ObjectRecord, type: str, reason: str, message: str) -> None:
        self._trusted.event(
            DAEMONSETS, record, type=type, reason=reason, message=message, component=_COMPONENT
        )  # fmt: skip
