"""The life of pods on nodes: what becomes of each version of a pod that its kubelet is told of.

A pod goes through `runs.Stage` by calls that follow each other after modelled durations: admission here, then
`sandboxes`, `containers` and `endings`. At speed 0 they follow at once; a simple pod (no init containers, programs
that run until they are stopped, images that exist) then even takes one step, `quickstart`. A real kubelet writes
Pending with ContainerCreating before; both have the same second there, and nothing that is measured (transition times,
events) lies between.
"""

from collections.abc import Callable
from typing import Any

import orjson

from kubedyno.base.times import epoch_of, rfc3339
from kubedyno.cluster.kubelet.containers import Containers
from kubedyno.cluster.kubelet.desk import Desk
from kubedyno.cluster.kubelet.endings import Endings, grace_of
from kubedyno.cluster.kubelet.plan import ContainerPlan, Plans, PodPlan, suffix_of
from kubedyno.cluster.kubelet.podstatus import OBSERVED_GENERATION, terminated
from kubedyno.cluster.kubelet.quickstart import QuickStart
from kubedyno.cluster.kubelet.resumption import is_as_started
from kubedyno.cluster.kubelet.rows import NodeRow, StaticPod
from kubedyno.cluster.kubelet.runs import PodRun, Stage, State
from kubedyno.cluster.kubelet.sandboxes import Sandboxes
from kubedyno.cluster.kubelet.texts import rejected
from kubedyno.cluster.registry.kinds.podfacts import ENDED, PodFacts, PodSpecFacts
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube.resources import PODS

_SHUTDOWN = "Pod was terminated in response to imminent node shutdown."
# The first to go comes first.
_QOS_RANK = {"BestEffort": 0, "Burstable": 1, "Guaranteed": 2}
_CRITICAL_PRIORITY = 2_000_000_000
_UNKNOWN_CODE, _SIGKILLED = 255, 137
_AMOUNTS = ("requests", "limits")
# What the runtime takes for a container's new limits.
_RESIZE_S = 0.5
_WITH_SANDBOX = frozenset({Stage.INITIALIZING, Stage.STARTING, Stage.RUNNING})


class Pods:
    """All pods that are on nodes.

    Args:
        desk: Timers, events, statuses.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._plans = Plans()
        self.runs: dict[str, PodRun] = {}
        self._endings = Endings(
            desk, self.runs, lambda node: self._sandboxes.wake_waiting(node, 1), self._retry_resizes
        )
        self._containers = Containers(desk, self._endings.container_over)
        self._sandboxes = Sandboxes(desk, self._containers, self._endings, self._sandbox_lost)
        self._quick = QuickStart(desk)

    # --- news ------------------------------------------------------------------------------------------------

    def changed(self, record: ObjectRecord, node: NodeRow) -> None:
        """Take note of a live pod that is bound to a node."""
        obj = record.obj
        run = self.runs.get(record.key)
        if run is not None:
            if run.written == record.revision and run.generation == obj.generation:
                return
            if run.uid != obj.uid:
                self._endings.gone(run)
                run = None
        if node.failed:
            return
        if run is not None:
            run.generation = obj.generation
        if run is None:
            self._added(record, node)
        elif obj.deletion_s:
            if run.stage is not Stage.TERMINATING or grace_of(record) < run.grace_s:
                self._endings.terminate(run, record)
        elif run.containers is not None or self._plans.of(obj) is not run.plan or _is_contradicted(run, obj):
            self._updated(run, record)
        self._desk.flush()

    def again(self, record: ObjectRecord, node: NodeRow) -> None:
        """Take a pod on after an attempt that failed: its status is written anew, its end tried again.

        Of a pod whose step was left half done nothing is kept: its containers are killed and it begins anew.
        """
        run = self.runs.get(record.key)
        broken = record.key in self._desk.broken and not node.failed
        if broken:
            self._desk.broken.discard(record.key)
        if run is not None and broken and run.stage < Stage.COMPLETED and not record.obj.deletion_s:
            if run.static:
                # What it has goes with it: else its next mirror would take over a pod that does not go on.
                node.static[run.key].run, run.static = None, False
            self._endings.gone(run)
            run = None
        if run is None or run.uid != record.obj.uid or node.failed:
            self.changed(record, node)
            return
        run.generation = record.obj.generation
        if record.obj.deletion_s:
            if broken and run.stage is Stage.RUNNING:
                # Its status may never have been written: no format is filled in from it.
                run.expand()
            self._endings.terminate(run, record)
        else:
            self._updated(run, record)
        self._desk.flush()

    def abandon(self, key: str) -> None:
        """Say that what `changed` or `again` began with a pod has failed, so that the next attempt begins anew."""
        if key in self.runs:
            self._desk.broken.add(key)

    def on_failure(self, call: Callable[[str, Exception], None]) -> None:
        """Have a function called with the key of each pod that failed in its own time, and why."""
        self._desk.on_failure = call

    def removed(self, key: str, uid: str) -> None:
        """Take note of a pod that is gone: what still runs of it is killed."""
        run = self.runs.get(key)
        if run is not None and run.uid == uid:
            self._desk.spans.gone(key, self._desk.clock.now())
            self._endings.gone(run)
            self._desk.flush()

    def end_program(self, key: str, uid: str, container: str, code: int) -> None:
        """Let a container's simulated program end: somebody typed so, or typed all there was."""
        run = self.runs.get(key)
        if run is not None and run.uid == uid and not run.real:
            self._containers.end_program(run, container, code)
            self._desk.flush()

    def resync(self, node: NodeRow) -> None:
        """Look at all pods of a node again: its kubelet was down."""
        due, node.paused = node.paused, []
        for call in due:
            call()
        self._look(node)
        for run in [run for run in self.runs.values() if run.node is node and run.containers is not None]:
            self._desk.try_publish(run)
        self._desk.flush()

    def _look(self, node: NodeRow) -> None:
        """Look at all pods that are bound to a node; one that fails comes again, and holds up no other."""
        for record in self._desk.pods.by_index("node", node.name):
            try:
                self.changed(record, node)
            except Exception as error:  # noqa: BLE001 - told with its pod
                self.abandon(record.key)
                self._desk.on_failure(record.key, error)

    # --- the machine -----------------------------------------------------------------------------------------

    def _on(self, node: NodeRow) -> list[PodRun]:
        return [run for run in self.runs.values() if run.node is node]

    def unplug(self, node: NodeRow) -> None:
        """Let nothing go on on a node whose machine is off; its pods' objects stay as they are."""
        node.paused.clear()
        for run in self._on(node):
            run.epoch += 1
            if run.real and self._desk.runtime is not None:
                self._desk.runtime.remove(run.uid)

    def reboot(self, node: NodeRow) -> None:
        """Begin with a node's pods after its machine has started: what ran runs again, what had ended has ended."""
        for run in self._on(node):
            if run.stage is Stage.COMPLETED:
                continue
            self._begin_again(run, _UNKNOWN_CODE, "Unknown")
        self._look(node)
        self._desk.flush()

    def _begin_again(self, before: PodRun, code: int, reason: str) -> None:
        """Begin with a pod whose sandbox is gone; what ran in it has ended with a code and for a reason."""
        record, node = self._desk.pods.get(before.key), before.node
        before.expand()
        if before.static:
            node.static[before.key].run, before.static = None, False
        self._endings.gone(before)
        if record is not None and record.obj.uid == before.uid and not record.obj.deletion_s:
            again = self._enter(record, node, node.static.get(record.key), self._desk.clock.now())
            again.real, again.note = before.real, before.note
            again.expand()
            _take_over(again, before, self._desk.clock.now(), code, reason)
            self._desk.try_publish(again)
            self._sandboxes.mount(again)

    def _sandbox_lost(self, run: PodRun) -> None:
        """A real pod's first process was killed, and all others with it."""
        if self.runs.get(run.key) is not run or run.stage >= Stage.COMPLETED:
            return
        self._desk.event(run, "Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
        # One whose containers are never started again ends with them.
        if run.plan.facts.restart_policy != "Never":
            self._begin_again(run, _SIGKILLED, "Error")
        self._desk.flush()

    def abandon_all(self, node: NodeRow) -> None:
        """Forget all pods of a node that is no more."""
        for run in self._on(node):
            self._endings.gone(run)
        node.static.clear()

    def evict_one(self, node: NodeRow, resource: str, more: str = "", use: Callable[[str], int] | None = None) -> None:
        """Evict the pod that has the least right to what a node is short of.

        Args:
            node: The node.
            resource: What it is short of.
            more: More of the message.
            use: Key of a pod → bytes of memory that it uses; None: as many as its class lets expect.
        """
        candidates = [run for run in self._on(node) if run.stage < Stage.COMPLETED and not _is_critical(run)]
        if not candidates:
            return

        def rank(run: PodRun) -> tuple[float, float, float]:
            facts = run.plan.facts
            if use is None:
                return _QOS_RANK[run.plan.qos], facts.priority, -run.start_s
            # Who uses more than it requests comes first, then by priority, then by how much more.
            beyond = use(run.key) - facts.memory_bytes
            return beyond <= 0, facts.priority, -beyond

        run = min(candidates, key=rank)
        message = f"The node was low on resource: {resource}. {more}"
        self._desk.event(run, "Warning", "Evicted", message)
        run.disrupted = message
        self._endings.fail(run, "Evicted", message)
        self._desk.flush()

    def shut_down(self, node: NodeRow, grace_s: float, critical_s: float) -> float:
        """End a node's pods for its shutdown, critical ones last; return after how many seconds all are."""
        waits = [0.0]
        for run in self._on(node):
            if run.stage >= Stage.COMPLETED:
                continue
            critical = _is_critical(run)
            own_s = min(run.plan.facts.grace_s, critical_s if critical else grace_s)
            stops = (
                self._desk.latency.stop(own_s, hook_s=plan.pre_stop_s or 0.0, ignores_term=plan.ignores_term)
                for plan in run.plan.containers
            )
            delay_s = max(stops, default=0.0) + (self._desk.latency.scaled(grace_s) if critical else 0.0)
            waits.append(delay_s)
            run.epoch += 1
            self._desk.after(run, delay_s, self._shut)
        self._desk.flush()
        return max(waits)

    def _shut(self, run: PodRun) -> None:
        run.disrupted = _SHUTDOWN
        self._endings.fail(run, "Terminated", _SHUTDOWN)
        # Later its machine is off.
        self._desk.publish(run)

    def network_ready(self, node: NodeRow) -> None:
        """Try the pods again that waited for the network or an address."""
        self._sandboxes.wake_waiting(node, len(node.waiting))
        self._desk.flush()

    def _added(self, record: ObjectRecord, node: NodeRow) -> None:
        obj = record.obj
        facts: PodFacts = obj.facts
        static = node.static.get(record.key)
        if obj.deletion_s:
            self._desk.trusted.finish_delete(PODS, record.key, uid=obj.uid)
            return
        if facts.phase in ENDED:
            return
        if static is not None and static.run is not None:
            self._adopt(static.run, record)
            return
        if static is None and not self._admit(record, node, facts.spec):
            return
        run = self._enter(record, node, static, self._desk.clock.now())
        plan = run.plan
        if self._desk.runtime is not None:
            self._sandboxes.choose(self._desk.runtime, run, record)
        elif plan.simple and self._desk.latency.instant and self._quick.start(run, record):
            return
        run.expand()
        if not self._desk.latency.instant:
            self._desk.publish(run)
        self._sandboxes.mount(run)

    def _enter(self, record: ObjectRecord, node: NodeRow, static: StaticPod | None, start_s: float) -> PodRun:
        """Return the row of a pod that its node takes."""
        obj, spec = record.obj, record.obj.facts.spec
        run = PodRun(record.key, obj.uid, node, self._plans.of(obj), start_s, suffix_of(obj))
        run.generation = obj.generation
        self.runs[record.key] = run
        node.pods += 1
        node.cpu_milli += spec.cpu_milli
        node.memory_bytes += spec.memory_bytes
        if static is not None:
            self._make_static(run, static)
        self._endings.await_deadline(run)
        if node.config.tracing is not None:
            self._desk.spans.began(run, start_s)
        return run

    def restore(self, record: ObjectRecord, node: NodeRow) -> None:
        """Take up a pod that had its sandbox when the cluster ended: it goes on as its status says.

        Others begin anew when the kubelet first looks at them, and so do processes: those are gone.
        """
        obj = record.obj
        facts: PodFacts = obj.facts
        own_network = not facts.spec.host_network
        # In the host's network a pod has an address before it has anything.
        begun = facts.phase == "Running" or (facts.phase == "Pending" and own_network)
        if own_network and not facts.pod_ip:
            # Its machine was started again, and it waits for a sandbox.
            begun = False
        if self._desk.runtime is not None or obj.deletion_s or not begun:
            return
        status = orjson.loads(obj.status)
        shown = status.get("containerStatuses", ())
        if "startTime" not in status or {c["name"] for c in shown} != {c[0] for c in facts.spec.containers}:
            # Not a kubelet's word.
            return
        if own_network and (node.pool is None or not node.pool.take(facts.pod_ip)):
            return
        run = self._enter(record, node, node.static.get(record.key), epoch_of(status["startTime"]))
        run.address = facts.pod_ip if own_network else ""
        run.written = record.revision
        self._containers.pulls.note_images(run, status)
        if run.plan.simple and all(is_as_started(one, status["startTime"]) for one in shown):
            run.go(Stage.RUNNING)
            if not facts.ready:
                # Somebody gave its node up meanwhile.
                self._updated(run, record)
        else:
            self._containers.resume(run, status)
            if not facts.ready:
                self._desk.request_publish(run)
        self._desk.flush()

    def _admit(self, record: ObjectRecord, node: NodeRow, spec: PodSpecFacts) -> bool:
        """Refuse a pod that doesn't fit (lifecycle/predicate.go, PodFitsResources), or that a shortage keeps out."""
        settings = node.settings
        if node.pressures and (short := _kept_out(node, spec, self._plans.of(record.obj).qos)):
            self._refuse(record, node, "Evicted", f"The node had condition: [{', '.join(short)}]. ")
            return False
        lacking = next(
            (
                wanted
                for wanted in (
                    ("pods", 1, node.pods, node.config.max_pods),
                    ("cpu", spec.cpu_milli, node.cpu_milli, settings.cpu_milli),
                    ("memory", spec.memory_bytes, node.memory_bytes, settings.memory_bytes),
                )
                if wanted[1] and wanted[1] + wanted[2] > wanted[3]
            ),
            None,
        )
        if lacking is None:
            return True
        self._refuse(record, node, f"OutOf{lacking[0]}", rejected(*lacking))
        return False

    def _refuse(self, record: ObjectRecord, node: NodeRow, reason: str, message: str) -> None:
        status: dict[str, Any] = {}
        if self._desk.minor >= OBSERVED_GENERATION:
            status["observedGeneration"] = record.obj.generation
        status |= {
            "phase": "Failed",
            "message": f"Pod was rejected: {message}",
            "reason": reason,
            "startTime": rfc3339(self._desk.clock.now()),
            "qosClass": self._plans.of(record.obj).qos,
        }
        self._desk.event_of(record, node, "Warning", reason, message)
        old: PodFacts = record.obj.facts
        facts = PodFacts(old.node_name, "Failed", False, "", old.spec, old.pinned_node)
        self._desk.trusted.replace_status(PODS, record, status, facts)

    def _updated(self, run: PodRun, record: ObjectRecord) -> None:
        """A pod's spec or another's part of its status changed."""
        plan = self._plans.of(record.obj)
        run.expand()
        if plan is not run.plan and len(plan.containers) == len(run.plan.containers):
            run.resize = self._too_large(run, plan) if run.stage < Stage.COMPLETED else None
            if run.resize is None:
                if run.real and self._desk.runtime is not None:
                    self._desk.runtime.update(run.uid, self._desk.trusted.store.encode_dict(PODS, record))
                before = run.plan.facts
                self._replan(run, plan)
                if (before.cpu_milli, before.memory_bytes) != (plan.facts.cpu_milli, plan.facts.memory_bytes):
                    self._show_resize(run)
            else:
                run.node.resizing[run.key] = run
            if run.stage in _WITH_SANDBOX:
                self._containers.begin_ephemeral(run)
        self._desk.request_publish(run)

    def _show_resize(self, run: PodRun) -> None:
        """Say that a resize is under way, for as long as the runtime takes."""
        if run.stage is not Stage.RUNNING or self._desk.latency.instant:
            return
        run.resizes = self._desk.clock.now()

        def done(run: PodRun) -> None:
            run.resizes = 0.0
            self._desk.request_publish(run)

        self._desk.publish(run)
        self._desk.after(run, self._desk.latency.scaled(_RESIZE_S), done)

    def _too_large(self, run: PodRun, plan: PodPlan) -> tuple[str, str] | None:
        """Return (reason, message) when a node cannot give a pod what it now asks for."""
        node, old, new = run.node, run.plan.facts, plan.facts
        for name, asked, has, used, capacity in (
            ("cpu", new.cpu_milli, old.cpu_milli, node.cpu_milli, node.settings.cpu_milli),
            ("memory", new.memory_bytes, old.memory_bytes, node.memory_bytes, node.settings.memory_bytes),
        ):
            if asked <= has:
                continue
            if asked > capacity:
                text = f"Node didn't have enough capacity: {name}, requested: {asked}, capacity: {capacity}"
                return "Infeasible", text
            if used - has + asked > capacity:
                return "Deferred", f"Node didn't have enough resource: {name}"
        return None

    def _replan(self, run: PodRun, plan: PodPlan) -> None:
        """Have a pod's containers be what its new spec says."""
        node, old = run.node, run.plan
        if run.stage < Stage.COMPLETED:
            node.cpu_milli += plan.facts.cpu_milli - old.facts.cpu_milli
            node.memory_bytes += plan.facts.memory_bytes - old.facts.memory_bytes
        node.resizing.pop(run.key, None)
        run.plan = plan
        if plan.deadline_s != old.deadline_s:
            self._endings.await_deadline(run)
        assert run.containers is not None
        for containers, wanted_plans in ((run.init, plan.init), (run.containers, plan.containers)):
            for container, wanted in zip(containers, wanted_plans, strict=True):
                before, container.plan = container.plan, wanted
                if container.state is State.RUNNING and (why := _restart_reason(before, wanted)):
                    text = f"Container {wanted.name} {why}"
                    self._desk.event(run, "Normal", "Killing", text, wanted.field_path)
                    self._containers.end(container, wanted.stopped_code)
                    self._containers.restart(run, container)

    def _retry_resizes(self, node: NodeRow) -> None:
        """Look again at what could not be resized: something has been given back."""
        for key, run in list(node.resizing.items()):
            record = self._desk.pods.get(key)
            if self.runs.get(key) is not run or record is None or record.obj.uid != run.uid:
                del node.resizing[key]
            elif run.stage < Stage.COMPLETED:
                self._updated(run, record)

    # --- static pods -----------------------------------------------------------------------------------------

    def _make_static(self, run: PodRun, static: StaticPod) -> None:
        run.static = True
        run.id_base = static.mirror["metadata"]["annotations"]["kubernetes.io/config.hash"]
        static.run = run

    def _adopt(self, run: PodRun, record: ObjectRecord) -> None:
        """A mirror pod was made again for containers that run."""
        run.uid, run.generation = record.obj.uid, record.obj.generation
        run.suffix = suffix_of(record.obj)
        run.expand()
        self.runs[record.key] = run
        self._desk.publish(run)


def _kept_out(node: NodeRow, spec: PodSpecFacts, qos: str) -> list[str]:
    """Return the shortages of a node for which it takes no such pod (eviction manager: Admit)."""
    if spec.priority >= _CRITICAL_PRIORITY:
        return []
    if node.pressures == {"MemoryPressure"} and qos != "BestEffort":
        return []
    return sorted(node.pressures)


def _is_critical(run: PodRun) -> bool:
    return run.static or run.plan.facts.priority >= _CRITICAL_PRIORITY


def _take_over(again: PodRun, before: PodRun, now_s: float, code: int, reason: str) -> None:
    """Have a pod's containers know what they were before their sandbox went, and how they ended then."""
    pairs = [*zip(again.init, before.init, strict=True)]
    pairs += zip(again.containers or (), before.containers or (), strict=True)
    for new, old in pairs:
        new.restarts, new.last, new.backoff_s = old.restarts, old.last, old.backoff_s
        if old.state is State.RUNNING:
            old.state, old.exit_code, old.reason, old.finished_s = State.TERMINATED, code, reason, now_s
            new.last = terminated(before, old)
            new.restarts += 1
            new.shown = True
    again.conditions.update({name: list(value) for name, value in before.conditions.items()})


def _restart_reason(before: ContainerPlan, wanted: ContainerPlan) -> str:
    """Say why a running container has to be started anew for its new spec, "" when it need not."""
    if before.image is not wanted.image:
        return "definition changed, will be restarted"
    old, new = before.tail["resources"], wanted.tail["resources"]
    for resource in wanted.restart_on_resize:
        if any((old.get(kind) or {}).get(resource) != (new.get(kind) or {}).get(resource) for kind in _AMOUNTS):
            return "resize requires restart"
    return ""


def _is_contradicted(run: PodRun, obj: StoredObject) -> bool:
    """Say whether somebody else (the node lifecycle controller) called a pod not ready that is."""
    return run.stage is Stage.RUNNING and not obj.facts.ready
